"""What a plan looks like in words: sizes, tables, plans, sweeps and measurements as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..messages import printable, shorten

if TYPE_CHECKING:
    from mbinfer.plan import Stage, TimelineStep, Trace
    from mbinfer.session import Session


WIDEST_NAME = 60  # in a table; exporters make names of hundreds of characters


def size(count: int) -> str:
    """Bytes for people: ``512 B``, ``81.3 KiB``, ``5.74 MiB``."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.2f} MiB"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Text columns: numbers and sizes to the right, words to the left, None as nothing, long names without their
    middle."""
    header = [printable(cell) for cell in header]
    cells = [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    right = [all(row[i][:1].isdigit() or row[i] in ("", "-") for row in cells) for i in range(len(header))]
    lines = []
    for row in [list(header), *cells]:
        columns = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right))
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else printable(str(value))
    return text if " " in text else shorten(text, WIDEST_NAME, WIDEST_NAME // 2, "...")


def _memory_rows(session: Session) -> list[tuple[str, str, str, str]]:
    """What a plan costs, a row for each size: name, rounded, exactly, meaning."""
    plan = session.plan
    sizes = [
        ("arena", plan.peak_bytes, "the peak, and all that a run will use"),
        ("input", plan.input_bytes, "held by the caller of run, not in the arena"),
        *(
            [
                (
                    "input rows",
                    _rows_bytes(session),
                    f"{plan.input_rows[0]} rows, held by run_rows beside the arena instead",
                )
            ]
            if len(session.inputs) == 1
            else []
        ),
        ("weights", plan.weight_bytes, "mapped from the file, used in place"),
        ("naive", plan.naive_bytes, "every value in a buffer of its own"),
        ("layerwise", plan.layerwise_bytes, "one node at a time, buffers shared"),
        ("fused", plan.fused_bytes, "one block at a time"),
        ("lower bound", plan.lower_bound_bytes, "no placement of these buffers needs less"),
    ]
    rows = [(name, size(count), f"{count:,} bytes", meaning) for name, count, meaning in sizes]
    repeated = f"and {plan.extra_macs:,} again, {100 * plan.extra_macs / max(plan.macs, 1):.1f} %"
    rows.append(("work", "", f"{plan.macs:,} MACs", repeated))
    rows.append(("moved", size(plan.moved_bytes), f"{plan.moved_bytes:,} bytes", "of values that change their place"))
    if plan.state_bytes:
        rows.append(
            ("states", size(plan.state_bytes), f"{plan.state_bytes:,} bytes", "of the arena, kept from run to run")
        )
    if plan.shortcuts:
        meaning = f"{', '.join(plan.shortcuts)}: a longer one might find a smaller plan"
        rows.append(("cut short", "", f"{len(plan.shortcuts)} searches", meaning))
    return rows


def plan_text(session: Session, title: str) -> str:
    """A plan in words and tables: what it costs, its segments and stages, and which buffer lies where and when."""
    plan = session.plan
    header = f"{title}: schedule {plan.schedule}, threads {session.threads}, {session.isa}"
    segments, timeline = plan.segments, plan.timeline
    stages = [
        _stage_row(step, stage, session.threads)
        for step, segment in zip(timeline, segments)
        for stage in segment.stages
    ]
    columns = (
        "segment",
        "stage",
        "kind",
        "output",
        "strip",
        "step",
        "chunk",
        "expanded",
        "extra MACs",
        "scratch",
        "ring",
        *(["threads cut"] if session.threads > 1 else []),
    )
    reasons = [
        printable(f"  {stage.name}: {stage.why}")
        for segment in segments
        for stage in segment.stages
        if stage.why and stage.kind != "bottleneck"
    ]
    buffers = []
    for step in timeline:
        for number, buffer in enumerate(step.buffers):
            first = (step.segment, step.name, size(step.live_bytes)) if number == 0 else ("", "", "")
            end = buffer.offset + buffer.bytes
            buffers.append((*first, buffer.name, buffer.kind, buffer.offset, end, size(buffer.bytes)))
    parts = [
        f"{header}\n\n{table(('memory', 'size', 'exactly', ''), _memory_rows(session))}",
        table(columns, stages),
        *(["not fused into a bottleneck stage:\n" + "\n".join(reasons)] if reasons else []),
        table(("segment", "ends with", "live", "buffer", "kind", "from", "to", "size"), buffers),
    ]
    return "\n\n".join(parts)


def _rows_bytes(session: Session) -> int:
    _, _, width, channels = session.inputs[0].shape
    return session.plan.input_rows[0] * width * channels * np.dtype(session.inputs[0].dtype).itemsize


def _stage_row(step: TimelineStep, stage: Stage, threads: int) -> tuple[Any, ...]:
    ring = any(b.kind == "ring" and b.name == stage.output for b in step.buffers)
    expanded = "keep" if stage.keep else "recompute" if stage.extra_macs else "once"
    return (
        step.segment,
        stage.name,
        stage.kind,
        "x".join(map(str, stage.output_shape)),
        f"{stage.rows} rows",
        f"{stage.step} rows" if stage.chunk else "",
        f"{stage.chunk} x {stage.chunks}" if stage.chunk else "",
        expanded if stage.chunk else "",
        f"{100 * stage.extra_macs / stage.macs:.1f} %" if stage.extra_macs else "",
        size(stage.scratch_bytes),
        f"{stage.ring_rows} rows" if ring else "",
        *([", ".join(f"{'+'.join(p.operators)} by {p.axis}" for p in stage.passes)] if threads > 1 else []),
    )


def info_text(record: dict[str, Any], recipe: Any) -> str:
    """What `mbinfer info` knows of a model file."""
    rows = [("file", f"{size(record['bytes'])}, of it weights {size(record['weight_bytes'])}")]
    for kind in ("inputs", "outputs"):
        for i in record[kind]:
            stands = f", (number - {i['zero_point']}) * {i['scale']:g}" if i["scale"] else ""
            rows.append((kind[:-1], f"{i['name']} {list(i['shape'])} {i['dtype']}{stands}"))
    for state in record["states"]:
        rows.append(("state", f"{state['name']} {list(state['shape'])} {state['dtype']}, {size(state['bytes'])}"))
    if recipe:
        mean, scale = (", ".join(f"{n:g}" for n in numbers) for numbers in (recipe.mean, recipe.scale))
        rows.append(("pictures", f"{recipe.color}, crop {recipe.crop:g}, (pixel - [{mean}]) * [{scale}]"))
    labels = record["labels"]
    if labels:
        rows.append(("labels", f"{len(labels)}: {', '.join(labels[:5])}" + ", ..." * (len(labels) > 5)))
    rows.append(("work", f"{record['macs']:,} MACs"))
    rows += [(f"arena {name}", f"{size(count)}") for name, count in record["arena_bytes"].items()]
    rows += list(record["metadata"].items())
    rows = [(printable(name), printable(value)) for name, value in rows]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def trace_text(trace: Trace, title: str) -> str:
    """A segment step by step: the rows that each step makes, and those of every value that are alive meanwhile."""
    rows = []
    for number, step in enumerate(trace.steps):
        live = {rows.value: f"{rows.first}..{rows.end - 1}" for rows in step.live}
        alive = (live.get(value.name, "-") for value in trace.values)
        rows.append((number, step.stage, f"{step.first}..{step.end - 1}", *alive))
    places = [(v.name, v.height, v.rows, v.row_bytes, v.offset) for v in trace.values]
    return "\n\n".join(
        [
            title,
            table(("value", "rows", "in the arena", "bytes of a row", "from"), places),
            table(("step", "stage", "makes", *(value.name for value in trace.values)), rows),
        ]
    )


def sweep_text(result: dict[str, Any], title: str) -> str:
    """The plans of `sweep.sweep`, with the marked ones beside them by name."""
    names = {p["peak_bytes"]: name for name, p in reversed(result["marked"].items())}
    plans = {p["peak_bytes"]: p for p in (*result["marked"].values(), *result["points"])}
    rows = [
        (
            size(count),
            count,
            p["schedule"],
            f"{p['times_fastest']:.3f}",
            f"{p['extra_percent']:.2f} %",
            size(p["moved_bytes"]),
            "+".join(map(str, p["segments"])) if len(p["segments"]) <= 16 else f"{len(p['segments'])} segments",
            names.get(count),
        )
        for count, p in sorted(plans.items())
    ]
    columns = ("arena", "bytes", "schedule", "times fastest", "extra MACs", "moved", "stages of each segment", "")
    planned = (
        f"{len(result['points'])} plans of {len(result['limits'])} limits that no other one beats, and the marked ones"
    )
    note = "times fastest: estimated cycles over those of the fastest plan"
    return f"{title}: {planned}\n\n{table(columns, rows)}\n\n{note}"


def _profile_text(result: dict[str, Any]) -> str:
    """A row for each stage and one for all, with the rate as a share of the measured peak; two FLOP a multiply-add."""
    stages, peak = result["profile"], result["peak"]
    total = {key: sum(stage[key] for stage in stages) for key in ("seconds", "macs", "bytes")}
    rows = []
    for stage in (*stages, {"stage": "all", "kind": "", **total}):
        rate = stage["macs"] / max(stage["seconds"], 1e-9)
        rows.append(
            (
                stage["stage"],
                stage["kind"],
                f"{1000 * stage['seconds']:.3f}",
                f"{stage['macs']:,}",
                f"{2e-9 * rate:.1f}",
                f"{100 * rate / peak:.0f} %",
                size(stage["bytes"]),
            )
        )
    title = (
        f"{result['schedule']}, {result['isa']}, threads {result['threads']}, arena {size(result['arena'])};"
        f" peak {2e-9 * peak:.1f} GFLOP/s"
    )
    return f"{title}\n{table(('stage', 'kind', 'ms', 'MACs', 'GFLOP/s', 'of peak', 'moved'), rows)}"


def bench_text(results: Sequence[dict[str, Any]]) -> str:
    """One row for each result of `measure.measure`, times in milliseconds; then their profiles, where there are any.

    Results of points of a sweep hold ``predicted`` and ``measured`` too, times relative to the fastest plan.
    """
    swept = any("predicted" in result for result in results)
    columns = (
        "schedule",
        "isa",
        "threads",
        *(("extra MACs", "predicted", "measured") if swept else ()),
        "min ms",
        "median",
        "p90",
        "p99",
        "runs",
        "arena",
        "weights",
        "observed",
        "anonymous",
        "file",
    )
    rows = []
    for result in results:
        seen = (result["observed"][name] for name in ("growth", "anonymous", "file"))
        times = (f"{1000 * result['latency'][name]:.3f}" for name in ("min", "median", "p90", "p99"))
        ratios = (
            (f"{result['extra_percent']:.2f} %", f"{result['predicted']:.3f}", f"{result['measured']:.3f}")
            if swept
            else ()
        )
        rows.append(
            (
                result["schedule"],
                result["isa"],
                result["threads"],
                *ratios,
                *times,
                result["runs"],
                size(result["arena"]),
                size(result["weights"]),
                *("-" if count is None else size(count) for count in seen),
            )
        )
    parts = [table(columns, rows), "observed: growth of the most that was resident; file: its part in mapped files"]
    if swept:
        parts.append("predicted, measured: cycles by the cost model and median time, over those of the fastest plan")
    if not all(result["observed"]["reset"] for result in results):
        parts.append("the kernel did not let VmHWM start afresh, so observed memory may be too low")
    for result in results:
        if "profile" in result:
            parts.append(_profile_text(result))
    return "\n\n".join(parts)
