"""What a plan looks like: sizes, tables and whole plans as text, and the memory timeline as an SVG picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Iterable, Sequence

if TYPE_CHECKING:
    from . import Session

# Light enough for dark labels; told apart by lightness too, for those who do not see the hues.
COLORS = {"value": "#8fb8de", "ring": "#f3b562", "scratch": "#d9d6cf"}
MEANING = {"value": "whole value", "ring": "ring of rows", "scratch": "scratch of a stage"}
LEFT, TOP, RIGHT, HEIGHT = 86, 84, 30, 420  # margins and height of the plot, in pixels
INK, FAINT, PEAK = "#2b2b2b", "#e4e4e4", "#c0392b"
FONT = "font-family='Helvetica, Arial, sans-serif'"


def size(count: int) -> str:
    """Bytes for people: ``512 B``, ``81.3 KiB``, ``5.74 MiB``."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.2f} MiB"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Text columns: numbers and sizes to the right, a column of words to the left, None as nothing."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    right = [all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        columns = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right))
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def plan_text(session: Session, title: str) -> str:
    """A plan in words and tables: what it costs, its segments and stages, and which buffer lies where and when."""
    plan = session.plan
    sizes = [
        ("arena", plan.peak_bytes, "the peak, and all that a run will use"),
        ("input", plan.input_bytes, "held by the caller, not in the arena"),
        ("weights", plan.weight_bytes, "mapped from the file, used in place"),
        ("naive", plan.naive_bytes, "every value in a buffer of its own"),
        ("layerwise", plan.layerwise_bytes, "one node at a time, buffers shared"),
        ("fused", plan.fused_bytes, "one block at a time"),
        ("lower bound", plan.lower_bound_bytes, "no placement of these buffers needs less"),
    ]
    header = f"{title}: schedule {plan.schedule}, threads {session.threads}, {session.isa}"
    rows = [(name, size(count), f"{count:,} bytes", meaning) for name, count, meaning in sizes]
    rows.append(("work", "", f"{plan.macs:,} MACs", f"and {plan.extra_macs:,} repeated"))
    stages = [_stage_row(plan, i, stage) for i, segment in enumerate(plan.segments) for stage in segment["stages"]]
    columns = ("segment", "stage", "kind", "output", "strip", "chunk", "expanded", "scratch", "ring")
    reasons = [
        f"  {stage['name']}: {stage['why']}"
        for segment in plan.segments
        for stage in segment["stages"]
        if stage["why"] and stage["kind"] != "bottleneck"
    ]
    buffers = []
    for index, segment in enumerate(plan.timeline):
        for number, buffer in enumerate(segment["buffers"]):
            first = (index, segment["name"], size(segment["live_bytes"])) if number == 0 else ("", "", "")
            end = buffer["offset"] + buffer["bytes"]
            buffers.append((*first, buffer["name"], buffer["kind"], buffer["offset"], end, size(buffer["bytes"])))
    parts = [
        f"{header}\n\n{table(('memory', 'size', 'exactly', ''), rows)}",
        table(columns, stages),
        *(["not fused into a bottleneck stage:\n" + "\n".join(reasons)] if reasons else []),
        table(("segment", "ends with", "live", "buffer", "kind", "from", "to", "size"), buffers),
    ]
    return "\n\n".join(parts)


def _stage_row(plan: Any, index: int, stage: dict[str, Any]) -> tuple[Any, ...]:
    rings = [b for b in plan.timeline[index]["buffers"] if b["kind"] == "ring" and b["name"] == stage["output"]]
    expanded = "keep" if stage["keep"] else "recompute" if stage["rows"] < stage["output_shape"][0] else "whole"
    return (
        index,
        stage["name"],
        stage["kind"],
        "x".join(map(str, stage["output_shape"])),
        f"{stage['rows']} rows",
        f"{stage['chunk']} x {stage['chunks']}" if stage["chunk"] else "",
        expanded if stage["chunk"] else "",
        size(stage["scratch_bytes"]),
        f"{rings[0]['rows']} rows" if rings else "",
    )


def bench_text(results: Sequence[dict[str, Any]]) -> str:
    """One row for each result of `measure.measure`, times in milliseconds; then their profiles, where there are any."""
    columns = ("schedule", "isa", "threads", "min ms", "median", "p90", "p99", "runs", "arena", "weights",
               "observed", "anonymous", "file")  # fmt: skip
    rows = []
    for result in results:
        seen = (result["observed"][name] for name in ("growth", "anonymous", "file"))
        times = (f"{1000 * result['latency'][name]:.3f}" for name in ("min", "median", "p90", "p99"))
        rows.append((result["schedule"], result["isa"], result["threads"], *times, result["runs"],
                     size(result["arena"]), size(result["weights"]),
                     *("-" if count is None else size(count) for count in seen)))  # fmt: skip
    parts = [table(columns, rows), "observed: growth of the most that was resident; file: its part in mapped files"]
    if not all(result["observed"]["reset"] for result in results):
        parts.append("the kernel did not let VmHWM start afresh, so observed memory may be too low")
    for result in results:
        if "profile" in result:
            rows = [(stage["stage"], stage["kind"], f"{1000 * stage['seconds']:.3f}", f"{stage['macs']:,}",
                     f"{stage['macs'] / max(stage['seconds'], 1e-9) / 1e9:.2f}", size(stage["bytes"]))
                    for stage in result["profile"]]  # fmt: skip
            title = f"{result['schedule']}, {result['isa']}, threads {result['threads']}"
            parts.append(f"{title}\n{table(('stage', 'kind', 'ms', 'MACs', 'GMAC/s', 'moved'), rows)}")
    return "\n\n".join(parts)


def rectangles(timeline: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The buffers of a plan's timeline, each once: with `first` and `last`, the segments over which it lies still."""
    merged: list[dict[str, Any]] = []
    open_now: dict[tuple, dict[str, Any]] = {}
    for column, segment in enumerate(timeline):
        still_open = {}
        for buffer in segment["buffers"]:
            key = (buffer["name"], buffer["kind"], buffer["offset"], buffer["bytes"])
            # Scratch and rings end with their segment, even where the next one has alike at the same place.
            rectangle = open_now.get(key) if buffer["kind"] == "value" else None
            if rectangle is None:
                rectangle = {**buffer, "first": column}
                merged.append(rectangle)
            rectangle["last"] = column
            still_open[key] = rectangle
        open_now = still_open
    return merged


def timeline_svg(session: Session, title: str) -> str:
    """The arena over time as an SVG document: segments on x, offsets in bytes on y, a rectangle for each buffer."""
    plan = session.plan
    count = len(plan.timeline)
    column = min(160.0, max(30.0, 1180 / max(count, 1)))
    width = max(LEFT + column * count, 760) + RIGHT
    whole = TOP + HEIGHT + 34 + 4 * max((len(segment["name"]) for segment in plan.timeline), default=0)
    step, unit, unit_name = _tick(plan.peak_bytes)
    top = max(plan.peak_bytes * 1.06, 1)

    def x(segment: int) -> float:
        return LEFT + segment * column

    def y(offset: float) -> float:
        return TOP + HEIGHT * (1 - offset / top)

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {whole}' "
        f"width='{width:.0f}' height='{whole}' {FONT} font-size='11' fill='{INK}'>",
        f"<title>{escape(title)}</title>",
        "<rect width='100%' height='100%' fill='white'/>",
        _text(LEFT, 28, f"{title}: {plan.schedule}, {size(plan.peak_bytes)} of arena", "font-size='17'"),
        _text(LEFT, 47, _comparison(plan), "fill='#666'"),
        *_legend(),
    ]
    right = x(max(count, 1))
    for tick in range(0, int(top) + 1, step):
        parts.append(f"<path d='M{LEFT} {y(tick):.1f}H{right:.1f}' stroke='{FAINT}'/>")
        parts.append(_text(LEFT - 8, y(tick) + 4, f"{tick // unit} {unit_name}" if tick else "0", "text-anchor='end' fill='#666'"))
    for buffer in rectangles(plan.timeline):
        parts += _rectangle(buffer, x(buffer["first"]), x(buffer["last"] + 1), y)
    for index, segment in enumerate(plan.timeline):
        place = f"translate({x(index) + column / 2 + 3:.1f} {TOP + HEIGHT + 14}) rotate(-45)"
        parts.append(_text(0, 0, segment["name"], f"text-anchor='end' font-size='10' transform='{place}'"))
    parts.append(f"<path d='M{LEFT} {y(plan.peak_bytes):.1f}H{right:.1f}' stroke='{PEAK}' stroke-dasharray='6 4'/>")
    parts.append(_text(right, y(plan.peak_bytes) - 5, f"peak {plan.peak_bytes:,} bytes",
                       f"text-anchor='end' fill='{PEAK}'"))  # fmt: skip
    parts.append(f"<path d='M{LEFT} {TOP}V{y(0):.1f}H{right:.1f}' fill='none' stroke='{INK}'/>")
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' {attributes}>{escape(words)}</text>"


def _comparison(plan: Any) -> str:
    others = [("naive", plan.naive_bytes), ("layerwise", plan.layerwise_bytes), ("fused", plan.fused_bytes)]
    known = [f"{name} {size(count)}" for name, count in others if name != plan.schedule]
    return ", ".join([*known, f"lower bound {size(plan.lower_bound_bytes)}"])


def _legend() -> list[str]:
    parts, x = [], float(LEFT)
    for kind, color in COLORS.items():
        parts.append(f"<rect x='{x}' y='58' width='12' height='12' fill='{color}' stroke='{INK}' stroke-width='.5'/>")
        parts.append(_text(x + 18, 68, MEANING[kind]))
        x += 42 + 6 * len(MEANING[kind])
    return parts


def _rectangle(buffer: dict[str, Any], left: float, right: float, y: Any) -> list[str]:
    upper, lower = y(buffer["offset"] + buffer["bytes"]), y(buffer["offset"])
    wide, tall = right - left, lower - upper
    what = f"{buffer['name']} ({buffer['kind']}): {buffer['bytes']:,} bytes at {buffer['offset']:,}"
    # A little see-through, because an output that slides over its input shares its place.
    parts = [
        f"<rect x='{left + 0.5:.1f}' y='{upper:.1f}' width='{wide - 1:.1f}' height='{max(tall, 0.5):.1f}' "
        f"fill='{COLORS[buffer['kind']]}' fill-opacity='.85' stroke='{INK}' stroke-width='.5'>"
        f"<title>{escape(what)}</title></rect>"
    ]
    lines = [line for line in (buffer["name"], size(buffer["bytes"])) if 5.6 * len(line) < wide - 4]
    lines = lines[: max(int((tall - 2) // 12), 0)]
    for index, line in enumerate(lines):
        baseline = (upper + lower) / 2 + 3.5 + 12 * (index - (len(lines) - 1) / 2)
        parts.append(_text((left + right) / 2, baseline, line, "text-anchor='middle' font-size='10' "
                           "pointer-events='none'"))  # fmt: skip
    return parts


def _tick(peak: int) -> tuple[int, int, str]:
    """The distance of the grid lines, 1, 2 or 5 times a power of ten of a unit; the bytes and the name of that unit."""
    unit, name = (1024**2, "MiB") if peak >= 4 * 1024**2 else (1024, "KiB") if peak >= 4 * 1024 else (1, "B")
    step = unit
    for factor in (2, 2.5, 2) * 6:  # 1, 2, 5, 10, 20 ...
        if peak / step <= 8:
            break
        step = int(step * factor)
    return step, unit, name
