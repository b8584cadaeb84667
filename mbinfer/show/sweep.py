"""The frontier of memory against work: plans for many limits, those that no other one beats, and their picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np

from mbinfer import measure
from mbinfer.show.canvas import FAINT, GREY, INK, Canvas
from mbinfer.show.text import size

POINTS = 48  # limits between the least and the fastest plan
MARKED = ("fused", "layerwise", "naive")  # fused: the paper's schedule
LINE, DOT, MARKS = "#4c78a8", "#1f4e79", {"fused": "#c8553d", "layerwise": "#8e6bbf", "naive": "#6b6b6b"}
LEFT, TOP, WIDTH, HEIGHT, GAP = 78, 84, 900, 240, 34  # of the two plots, in pixels


def sweep(
    model: str | os.PathLike[str],
    points: int = POINTS,
    threads: int = 1,
    progress: Callable[[Sequence[int], Callable[[int], str]], Any] = lambda items, label: items,
) -> dict[str, Any]:
    """Plans `model` for limits from its least arena to that of its fastest plan, in equal ratios.

    Returns ``points``, the plans that no other one beats in both bytes and cycles, in rising bytes, and ``marked``, by
    name the plans of MARKED and the least and fastest one, and ``limits``. A plan is a dict: ``limit`` (bytes, None
    without one), ``schedule``, ``peak_bytes``, ``extra_macs``, ``extra_percent`` of the network's, ``cycles`` by the
    cost model, ``times_fastest`` (cycles over those of the fastest plan), ``moved_bytes``, and ``segments``, the number
    of stages of each.

    Raises what `Session` does. `progress` may wrap the limits, as `cli.progress` does.
    """
    import mbinfer

    def plan(limit: int | str | None, schedule: str = "auto") -> dict[str, Any]:
        made = mbinfer.Session(model, threads=threads, memory_limit=limit, schedule=schedule).plan
        return {
            "limit": made.peak_bytes if limit == "least" else limit,
            "schedule": made.schedule,
            "peak_bytes": made.peak_bytes,
            "extra_macs": made.extra_macs,
            "extra_percent": 100 * made.extra_macs / max(made.macs, 1),
            "cycles": made.cycles,
            "moved_bytes": made.moved_bytes,
            "segments": [len(segment.stages) for segment in made.segments],
        }

    least, fastest = plan("least"), plan(None)
    low, high = least["peak_bytes"], max(fastest["peak_bytes"], least["peak_bytes"])
    limits = sorted({round(limit) for limit in np.geomspace(low, high, points).tolist()})
    found = [plan(limit) for limit in progress(limits, lambda limit: f"limit {size(limit)}")]
    marked = {"least": least, **{name: plan(None, name) for name in MARKED}, "fastest": fastest}
    for made in (*found, *marked.values()):
        made["times_fastest"] = made["cycles"] / fastest["cycles"]
    return {"points": pareto([least, *found, fastest]), "marked": marked, "limits": limits}


def pareto(plans: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The plans that no other one beats in both bytes and cycles, each once, in rising bytes and falling cycles."""
    best: list[dict[str, Any]] = []
    for made in sorted(plans, key=lambda p: (p["peak_bytes"], p["cycles"])):
        if not best or made["cycles"] < best[-1]["cycles"]:
            best.append(made)
    return best


def spread(points: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most `count` of the points, the fastest always among them, spread evenly in the logarithm of their bytes."""
    logs = np.log([p["peak_bytes"] for p in points])
    wanted = np.linspace(logs[-1], logs[0], count)
    return [points[i] for i in sorted({int(np.abs(logs - w).argmin()) for w in wanted})]


def measure_points(
    model: str | os.PathLike[str],
    inputs: list[dict[str, Any]],
    count: int,
    isas: Sequence[str],
    threads: Sequence[int],
    runs: int | None,
    profile: bool,
    progress: Callable[[Sequence[Any], Callable[[Any], str]], Any] = lambda items, label: items,
) -> list[dict[str, Any]]:
    """Runs `count` points of the sweep on every ISA and number of threads, each in a process of its own.

    Returns the results of `measure.measure`, with ``limit``, and ``predicted`` and ``measured``: the estimated and the
    median time over those of the fastest plan.
    """
    points = {n: spread(sweep(model, threads=n, progress=progress)["points"], count) for n in threads}
    wanted = [(isa, n, p) for isa in isas for n in threads for p in points[n]]
    results = []
    for isa, n, p in progress(wanted, lambda w: f"{size(w[2]['peak_bytes'])}, {w[0]}, threads {w[1]}"):
        result = measure.measure(model, inputs, isa, runs, profile, memory_limit=p["limit"], threads=n)
        results.append({**result, "limit": p["limit"], "predicted": p["times_fastest"]})
        if p is points[n][-1]:  # the fastest
            for mine in results[-len(points[n]) :]:
                mine["measured"] = mine["latency"]["median"] / result["latency"]["median"]
    return results


def _axes(
    canvas: Canvas,
    x: Callable[[float], float],
    y: Callable[[float], float],
    top: float,
    sizes: Sequence[int],
    values: Sequence[float],
    unit: str,
    named: bool,
) -> None:
    """Lines at sizes and values; the sizes are named below the last panel."""
    bottom = top + HEIGHT
    for count in sizes:
        canvas.line([(x(count), top), (x(count), bottom)], FAINT)
        if named:
            name = size(count).replace(".00", "").replace(".0", "")
            canvas.text(x(count), bottom + 18, name, color=GREY, anchor="middle")
    for at in values:
        canvas.line([(LEFT, y(at)), (LEFT + WIDTH, y(at))], FAINT)
        canvas.text(LEFT - 8, y(at) + 4, f"{at:g}{unit}", color=GREY, anchor="end")
    canvas.line([(LEFT, top), (LEFT, bottom), (LEFT + WIDTH, bottom)])


def _frontier(
    canvas: Canvas, x: Callable[[float], float], y: Callable[[float], float], result: dict[str, Any], field: str
) -> None:
    """A staircase of plans: a limit between two dots gets the plan of the left one."""
    points = result["points"]
    stairs = []
    for p, after in zip(points, [*points[1:], None]):
        stairs += [(x(p["peak_bytes"]), y(p[field])), *([(x(after["peak_bytes"]), y(p[field]))] if after else [])]
    canvas.line(stairs, LINE, 1.6)
    for p in points:
        hint = f"{p['peak_bytes']:,} bytes: {p['times_fastest']:.3f} times the fastest"
        hint += f", {p['extra_percent']:.1f} % MACs again"
        canvas.dot(x(p["peak_bytes"]), y(p[field]), 2.8, DOT, hint=hint)
    for name in MARKED:
        p = result["marked"][name]
        hint = f"{name}: {p['peak_bytes']:,} bytes"
        canvas.dot(x(p["peak_bytes"]), y(p[field]), 4.5, MARKS[name], INK, hint=hint)
        words = f"{name}{' (the paper)' if name == 'fused' else ''}"
        canvas.text(x(p["peak_bytes"]), y(p[field]) - 10, words, 11, MARKS[name], anchor="middle")


def picture(result: dict[str, Any], title: str) -> Canvas:
    """Arena bytes on x (logarithmic); above the time relative to the fastest plan, below the repeated MACs."""
    points, marked = result["points"], result["marked"]
    canvas = Canvas(LEFT + WIDTH + 30, TOP + 2 * HEIGHT + GAP + 60, title)
    canvas.text(LEFT, 28, f"{title}: memory against work", 17)
    least, fastest, naive = marked["least"], marked["fastest"], marked["naive"]
    canvas.text(
        LEFT,
        47,
        f"least {size(least['peak_bytes'])}, fastest {size(fastest['peak_bytes'])}, "
        f"naive {size(naive['peak_bytes'])}; one dot for each plan",
        color=GREY,
    )
    every = [*points, *marked.values()]
    low = 2 ** math.floor(math.log2(min(p["peak_bytes"] for p in every)) - 0.05)
    high = 2 ** math.ceil(math.log2(max(p["peak_bytes"] for p in every)) + 0.05)

    def x(count: float) -> float:
        return LEFT + WIDTH * math.log(count / low) / math.log(high / low)

    panels = (
        ("estimated time, relative to the fastest plan", "times_fastest", 1.0, "x", 0.01),
        ("multiply-adds done again, of the network's", "extra_percent", 0.0, " %", 1.0),
    )
    for number, (words, field, first, unit, fewest) in enumerate(panels):
        top = TOP + number * (HEIGHT + GAP)
        base = min(first, *(p[field] for p in every))
        most = max(max(p[field] for p in every) - base, fewest) * 1.08

        def y(value: float, bottom: float = top + HEIGHT, base: float = base, most: float = most) -> float:
            return bottom - HEIGHT * (value - base) / most

        sizes = [2**i for i in range(int(math.log2(low)), int(math.log2(high)) + 1)]
        tick = _tick(most)
        values = [first + i * tick for i in range(int((base + most - first) / tick) + 1)]
        _axes(canvas, x, y, top, sizes, values, unit, named=number > 0)
        canvas.text(LEFT + WIDTH, top + 12, words, 12, anchor="end")
        _frontier(canvas, x, y, result, field)
    canvas.text(LEFT + WIDTH / 2, TOP + 2 * HEIGHT + GAP + 42, "bytes of arena", color=GREY, anchor="middle")
    return canvas


def _tick(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that three to six lie below `most`."""
    power = 10.0 ** math.floor(math.log10(most / 6))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= most / 6)
