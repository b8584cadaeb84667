"""Pictures of the arena: over the segments of a plan, and within one segment row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable

from mbinfer.show.canvas import FAINT, GREY, INK, Canvas
from mbinfer.show.text import size

if TYPE_CHECKING:
    from mbinfer.plan import Buffer, Plan, Segment, TimelineStep, TracedValue, TraceStep
    from mbinfer.session import Session

# Light enough for dark labels; told apart by lightness too, for those who do not see the hues.
COLORS = {"value": "#8fb8de", "ring": "#f3b562", "expanded": "#c9a7dd", "scratch": "#d9d6cf"}
MEANING = {"value": "whole value", "ring": "ring of rows", "expanded": "kept expanded rows", "scratch": "scratch"}
SLIDE, MOVE, PEAK = "#1f4e79", "#b03060", "#c0392b"
# Of the values of one segment, in the order in which they are made.
ROWS = ("#4c78a8", "#f2a541", "#6aa84f", "#c8553d", "#8e6bbf", "#3aa6a0", "#d783a6", "#8c6d46", "#9aa53a", "#5f7f95")
LEFT, RIGHT, TOP = 86, 24, 92  # margins of the plots, in pixels


def timeline(session: Session, title: str) -> Canvas:
    """The arena over time: segments on x, offsets in bytes on y, a rectangle for each buffer.

    Where a segment's output slides over its input, what both have is hatched; an arrow leads from the old to the new
    place of a value that is moved.
    """
    plan = session.plan
    steps, segments = plan.timeline, plan.segments
    labels = [_label(segment) for segment in segments]
    column = min(170.0, max(34.0, 1180 / len(steps)))
    height = 460
    width = max(LEFT + column * len(steps), 800) + RIGHT
    canvas = Canvas(width, TOP + height + 40 + 4.1 * max(map(len, labels)), title)
    y = _arena_axis(canvas, plan.peak_bytes, LEFT + column * len(steps), TOP, height)
    canvas.text(LEFT, 28, f"{title}: {plan.schedule}, {size(plan.peak_bytes)} of arena", 17)
    canvas.text(LEFT, 47, _comparison(plan), color=GREY)
    drawn = rectangles(steps)
    overlaps, moves = _overlaps(drawn, segments), _moves(drawn)
    legend = [(COLORS[kind], MEANING[kind], False) for kind in COLORS if any(b.kind == kind for b in drawn)]
    legend += [(SLIDE, "output sliding over input", True)] if overlaps else []
    _legend(canvas, legend, 60, moves=bool(moves))

    def x(segment: float) -> float:
        return LEFT + column * segment

    for b in drawn:
        _buffer(canvas, b, x(b.first) + 0.5, x(b.last + 1) - 0.5, y)
    for _, after, low, high in overlaps:
        canvas.rect(x(after.first) + 1, y(high), column - 2, y(low) - y(high), SLIDE, hatch=True)
    outputs = [after for _, after, _, _ in overlaps]
    inputs = [before for before, after, _, _ in overlaps if before.first == after.first]
    for b in drawn:
        # In its first segment. Where two share a place, the output's name goes to the bottom, the input's to the top.
        at = 0.0 if b in outputs else 1.0 if b in inputs else 0.5
        last = b.last if at == 0.5 and not any(before is b for before, _, _, _ in overlaps) else b.first
        _words(canvas, b, x(b.first) + 0.5, x(last + 1) - 0.5, y, at)
    for old, new in moves:
        middles = [y(b.offset + b.bytes / 2) for b in (old, new)]
        canvas.line([(x(new.first) - 7, middles[0]), (x(new.first) + 8, middles[1])], MOVE, 1.8, arrow=True)
    for index, label in enumerate(labels):
        canvas.text(x(index) + column / 2 + 3, TOP + height + 16, label, 10, anchor="end", angle=45)
    _peak(canvas, plan.peak_bytes, x(len(steps)), y)
    return canvas


def _makers(
    canvas: Canvas,
    steps: Sequence[TraceStep],
    makers: dict[str, str],
    colors: dict[str, str],
    bottom: float,
    width: float,
) -> None:
    """Below a segment's arena: whose rows each step makes, and the steps' numbers."""
    step_width = width / len(steps)
    for number, step in enumerate(steps):
        output = makers[step.stage]
        hint = f"{output}: rows {step.first} to {step.end - 1}"
        left = LEFT + step_width * number
        canvas.rect(left, bottom + 8, step_width + 0.05, 14, colors.get(output, GREY), hint=hint)
    canvas.text(LEFT - 8, bottom + 19, "makes", color=GREY, anchor="end")
    for number in range(0, len(steps), _round_step(len(steps) / 10)):
        canvas.text(LEFT + step_width * number, bottom + 38, str(number), color=GREY, anchor="middle")
    canvas.text(LEFT + width / 2, bottom + 58, "step", color=GREY, anchor="middle")


def _segment_legend(
    canvas: Canvas,
    values: Sequence[TracedValue],
    order: Sequence[str],
    colors: dict[str, str],
    inputs: int,
    width: float,
) -> None:
    """The values of a segment in their colours, the first `inputs` of which it reads only."""
    named = {value.name: value for value in values}
    for i, name in enumerate(order):
        v = named[name]
        what = "input" if i < inputs else "output" if i + 1 == len(order) else "kept whole"
        what = f"ring of {v.rows} rows" if v.rows < v.height else f"{what}, {v.height} rows"
        px, py = LEFT + i % 3 * width / 3, 62 + 18 * (i // 3)
        canvas.rect(px, py, 12, 12, colors[name])
        canvas.text(px + 18, py + 10, f"{name}: {what} of {size(v.row_bytes)}")


def _kinds(canvas: Canvas, kinds: Sequence[str], y: float) -> None:
    for i, kind in enumerate(kinds):
        canvas.rect(LEFT + 170 * i, y, 12, 12, COLORS[kind], INK)
        words = "value that waits" if kind == "value" else MEANING[kind]
        canvas.text(LEFT + 170 * i + 18, y + 10, words)


def segment(session: Session, index: int, title: str) -> Canvas:
    """One segment step by step: every row of every value at its place in the arena for as long as it lives.

    On x the steps in which rows are made, on y offsets in bytes; a row is a bar from the step that makes it to the last
    that reads it, coloured by its value. Below, whose rows each step makes.
    """
    plan = session.plan
    trace, buffers = plan.trace(index), plan.timeline[index].buffers
    stages = {stage.name: stage for stage in plan.segments[index].stages}
    steps, values = trace.steps, {value.name: value for value in trace.values}
    order = [
        *(name for name in values if name not in {s.output for s in stages.values()}),
        *(s.output for s in stages.values()),
    ]
    colors = {name: ROWS[i % len(ROWS)] for i, name in enumerate(order)}
    height, width, lines = 520, 1100, -(-len(order) // 3)
    top = TOP + 18 * lines
    canvas = Canvas(LEFT + width + RIGHT, top + height + 86, title)
    canvas.text(LEFT, 28, f"{title}: segment {index}, {_label(plan.segments[index])}", 17)
    canvas.text(
        LEFT,
        47,
        f"{len(steps)} steps; a bar is a row of a value, from the step that makes it to the last that reads it",
        color=GREY,
    )
    y = _arena_axis(canvas, plan.peak_bytes, LEFT + width, top, height)
    step_width = width / len(steps)

    def x(step: float) -> float:
        return LEFT + step_width * step

    others = [b for b in buffers if b.kind in ("scratch", "expanded") or b.name not in values]
    for b in others:
        _buffer(canvas, b, x(0), x(len(steps)), y)
        _words(canvas, b, x(0), x(len(steps)), y)
    for name, row, begin, end in row_lives(steps):
        v = values[name]
        low = v.offset + row % v.rows * v.row_bytes
        tall = y(low) - y(low + v.row_bytes)
        hint = f"row {row} of {name}: steps {begin} to {end - 1}"
        canvas.rect(
            x(begin),
            y(low + v.row_bytes),
            max(x(end) - x(begin), 0.6),
            max(tall - min(0.7, tall / 4), 0.3),
            colors[name],
            hint=hint,
        )
    makers = {name: stage.output for name, stage in stages.items()}
    _makers(canvas, steps, makers, colors, top + height, width)
    _segment_legend(canvas, trace.values, order, colors, len(values) - len(stages), width)
    _kinds(canvas, sorted({b.kind for b in others}), 62 + 18 * lines)
    _peak(canvas, plan.peak_bytes, x(len(steps)), y)
    return canvas


def rectangles(steps: Sequence[TimelineStep]) -> list[Buffer]:
    """The buffers of a plan's timeline, each once."""
    return list(dict.fromkeys(b for step in steps for b in step.buffers))


def row_lives(steps: Sequence[TraceStep]) -> Iterator[tuple[str, int, int, int]]:
    """Of a segment's trace: value, row, the first step in which the row lives, and the step after the last."""
    since: dict[tuple[str, int], int] = {}
    for number, live in enumerate([*(step.live for step in steps), ()]):
        now = {(rows.value, row) for rows in live for row in range(rows.first, rows.end)}
        for name, row in sorted(since.keys() - now):
            yield name, row, since.pop((name, row)), number
        for key in now - since.keys():
            since[key] = number


def _overlaps(buffers: Sequence[Buffer], segments: Sequence[Segment]) -> list[tuple[Buffer, Buffer, int, int]]:
    """A segment's input and output where they share a range of the arena, and that range."""
    found = []
    values = [b for b in buffers if b.kind == "value"]
    for after in values:
        if after.name != segments[after.first].stages[-1].output:
            continue
        for before in values:
            low = max(after.offset, before.offset)
            high = min(after.offset + after.bytes, before.offset + before.bytes)
            if before.last == after.first and before is not after and low < high:
                found.append((before, after, low, high))
    return found


def _moves(buffers: Sequence[Buffer]) -> list[tuple[Buffer, Buffer]]:
    values = [b for b in buffers if b.kind == "value"]
    return [
        (old, new)
        for old in values
        for new in values
        if old.name == new.name and old.last + 1 == new.first and old.offset != new.offset
    ]


def _label(segment: Segment) -> str:
    names = [stage.name for stage in segment.stages]
    if len(names) == 1:
        return names[0]
    first, last = (name.rsplit(".", 1)[0] for name in (names[0], names[-1]))
    return f"{first} to {last} ({len(names)})"


def _arena_axis(canvas: Canvas, peak: int, right: float, top: float, height: float) -> Callable[[float], float]:
    """Draws the axis of the arena's offsets with its grid; returns the y of an offset."""
    most = max(peak * 1.06, 1)
    step, unit, name = _tick(peak)

    def y(offset: float) -> float:
        return top + height * (1 - offset / most)

    for tick in range(0, int(most) + 1, step):
        canvas.line([(LEFT, y(tick)), (right, y(tick))], FAINT)
        canvas.text(LEFT - 8, y(tick) + 4, f"{tick // unit} {name}" if tick else "0", color=GREY, anchor="end")
    canvas.line([(LEFT, top), (LEFT, y(0)), (right, y(0))])
    return y


def _peak(canvas: Canvas, peak: int, right: float, y: Callable[[float], float]) -> None:
    canvas.line([(LEFT, y(peak)), (right, y(peak))], PEAK, dashed=True)
    canvas.text(right, y(peak) - 5, f"peak {peak:,} bytes", color=PEAK, anchor="end")


def _comparison(plan: Plan) -> str:
    others = [("naive", plan.naive_bytes), ("layerwise", plan.layerwise_bytes), ("fused", plan.fused_bytes)]
    known = [f"{name} {size(count)}" for name, count in others if name != plan.schedule]
    return ", ".join([*known, f"lower bound {size(plan.lower_bound_bytes)}"])


def _legend(canvas: Canvas, entries: Sequence[tuple[str, str, bool]], top: float, moves: bool) -> None:
    x = float(LEFT)
    for color, words, hatched in entries:
        canvas.rect(x, top, 12, 12, color, None if hatched else INK, hatch=hatched)
        canvas.text(x + 18, top + 10, words)
        x += 44 + 6 * len(words)
    if moves:
        canvas.line([(x, top + 11), (x + 14, top + 2)], MOVE, 1.8, arrow=True)
        canvas.text(x + 20, top + 10, "value moved")


def _buffer(canvas: Canvas, b: Buffer, left: float, right: float, y: Callable[[float], float]) -> None:
    upper, lower = y(b.offset + b.bytes), y(b.offset)
    hint = f"{b.name} ({b.kind}): {b.bytes:,} bytes at {b.offset:,}"
    # A little see-through, because an output that slides over its input shares its place.
    canvas.rect(left, upper, right - left, max(lower - upper, 0.5), COLORS[b.kind], INK, opacity=0.85, hint=hint)


def _words(canvas: Canvas, b: Buffer, left: float, right: float, y: Callable[[float], float], at: float = 0.5) -> None:
    """Name and size in a buffer's rectangle, as far as they fit: at its bottom (0), middle or top (1)."""
    upper, lower = y(b.offset + b.bytes) + 2, y(b.offset) - 2
    rows = f", {b.rows} rows" if b.kind == "ring" else ""
    names = [name for name in (b.name + rows, b.name) if 5.6 * len(name) < right - left - 4]
    lines = [*names[:1], *([size(b.bytes)] if 5.6 * len(size(b.bytes)) < right - left - 4 else [])]
    lines = lines[: max(int((lower - upper) // 12), 0)]
    middle, top = (left + right) / 2, upper + (1 - at) * (lower - upper - 12 * len(lines))
    if at != 0.5 and lines:
        half = 2.9 * max(map(len, lines)) + 2
        canvas.rect(middle - half, top, 2 * half, 12 * len(lines), "white", opacity=0.75)
    for index, line in enumerate(lines):
        canvas.text(middle, top + 9.5 + 12 * index, line, 10, anchor="middle")


def _tick(peak: int) -> tuple[int, int, str]:
    """The distance of the grid lines, 1, 2 or 5 times a power of ten of a unit; the bytes and the name of that unit."""
    unit, name = (1024**2, "MiB") if peak >= 4 * 1024**2 else (1024, "KiB") if peak >= 4 * 1024 else (1, "B")
    return unit * _round_step(peak / unit / 8), unit, name


def _round_step(least: float) -> int:
    """The first of 1, 2, 5, 10, 20 ... that is at least `least`."""
    step = 1
    for factor in (2, 2.5, 2) * 6:
        if step >= least:
            break
        step = int(step * factor)
    return step
