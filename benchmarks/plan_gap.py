"""How far the planner is from the exact optimum, over families of small problems.

    python benchmarks/plan_gap.py [--json] [--instances N] [--chains N]

Placement: random sets of 4 to 12 blocks with lifetimes, with and without slides, against OR-Tools CP-SAT, which proves
its arena to be the smallest.

Segments: chains of up to six stages, at several limits, against every choice of cut points, strips and rows kept. The
exhaustive search takes rings and slides from the row replay (`SegmentNeeds`), not from the formulas of the planner's
own search, and cycles from the same cost model. It counts bytes without placing them: no plan can be cheaper than its
result, so that a plan of the same cycles is optimal.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph
from mbinfer.progress import progress
from mbinfer.show.text import table

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import hooks

ALIGN = 64  # kArenaAlign
HEIGHTS, STEPS, CHUNKS = (1, 2, 3, 4, 7, 8, 14), (1, 2, 4, 7), (8, 16, 32, 64, 96, 192, 384, 1 << 20)  # of the planner
SHARES = (0.0, 0.1, 0.3, 0.6, 0.9)  # of the way from the least arena to the largest that is asked for


def aligned(count: int) -> int:
    return -(-count // ALIGN) * ALIGN


# --- placement -----------------------------------------------------------------------------------------------------


def random_blocks(rng: random.Random, sliding: bool) -> tuple[list, list]:
    """Blocks (bytes, first, last) and slides (below, above, distance), as make_plan gives them to place().

    Values of a chain, one for each segment and alive until the next or longer, with scratch and rings of one segment;
    in one third of the sets all lifetimes are arbitrary.
    """
    count = rng.randint(4, 12)
    blocks, slides = [], []
    if rng.random() < 1 / 3:
        segments = rng.randint(2, count)
        for _ in range(count):
            first, last = sorted(rng.choices(range(segments), k=2))
            blocks.append((ALIGN * rng.randint(1, 200), first, last))
        ends = [
            (a, b) for a, b in itertools.permutations(range(count), 2) if blocks[a][1] == blocks[b][2] > blocks[b][1]
        ]
        pairs = [] if not sliding else rng.sample(ends, min(len(ends), rng.randint(0, 3)))
    else:
        values = rng.randint(2, max(2, count // 2 + 1))
        for v in range(values):
            last = min(values, v + 1 if rng.random() < 0.8 else v + rng.randint(2, 3))
            blocks.append((ALIGN * rng.randint(1, 200), v, last))
        for _ in range(count - values):
            segment = rng.randint(0, values)
            blocks.append((ALIGN * rng.randint(1, 80), segment, segment))
        chain = [(v, v - 1) for v in range(1, values) if blocks[v - 1][2] == v]
        pairs = [pair for pair in chain if sliding and rng.random() < 0.8]
    for below, above in pairs:
        # From "rows are overwritten as soon as they are read" up to hardly any overlap.
        most = blocks[below][0] // ALIGN
        slides.append((below, above, ALIGN * rng.randint(min(most, most - blocks[above][0] // ALIGN), most)))
    return blocks, slides


def exact_placement(blocks: list, slides: list, seconds: float = 20.0) -> tuple[int, bool]:
    """Bytes of the smallest arena for place()'s problem, and whether it is proven to be that."""
    from ortools.sat.python import cp_model

    problem = cp_model.CpModel()
    sizes = [aligned(count) // ALIGN for count, _, _ in blocks]
    offsets = [problem.new_int_var(0, sum(sizes), f"offset{i}") for i in range(len(blocks))]
    top = problem.new_int_var(0, sum(sizes), "top")
    nearer = {(below, above): aligned(distance) // ALIGN for below, above, distance in slides}
    for i, offset in enumerate(offsets):
        problem.add(offset + sizes[i] <= top)
    for i, j in itertools.combinations(range(len(blocks)), 2):
        if blocks[i][1] > blocks[j][2] or blocks[j][1] > blocks[i][2]:
            continue
        i_below = problem.new_bool_var(f"{i}_below_{j}")
        problem.add(offsets[i] + nearer.get((i, j), sizes[i]) <= offsets[j]).only_enforce_if(i_below)
        problem.add(offsets[j] + nearer.get((j, i), sizes[j]) <= offsets[i]).only_enforce_if(i_below.Not())
    problem.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(problem)
    return ALIGN * int(solver.objective_value), status == cp_model.OPTIMAL


def placement_gaps(instances: int) -> list[dict]:
    results = []
    for seed in progress(range(instances), lambda seed: f"placement {seed}"):
        sliding = seed % 2 == 1
        blocks, slides = random_blocks(random.Random(seed), sliding)
        _, size = hooks.place(blocks, slides)
        best, proven = exact_placement(blocks, slides)
        results.append(
            {
                "seed": seed,
                "blocks": blocks,
                "slides": slides,
                "planner": size,
                "optimum": best,
                "proven": proven,
                "gap": size / best - 1,
            }
        )
    return results


# --- segments ------------------------------------------------------------------------------------------------------


def chain(kinds: str, height: int, width: int, channels: int) -> Graph:
    """A chain of stages: c convolution 3x3, s of stride 2, d depthwise-separable pair, i inverted residual with its
    addition, e expansion without one, r such of stride 2, p pool, h head (1x1, global pool, dense)."""
    net = GraphBuilder(np.random.default_rng(0), (height, width, channels))

    def window(kernel: int, stride: int = 1) -> dict:
        return {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": (kernel // 2,) * 4}

    value = "input"
    for kind in kinds:
        before, c = value, net.dims(value)[2]
        if kind in "cs":
            value = net.add("conv", [value], max(8, c), **window(3, 1 + (kind == "s")))
        elif kind == "d":
            value = net.add("conv", [net.add("depthwise", [value], **window(3))], c + 8)
        elif kind in "ier":
            value = net.add("depthwise", [net.add("conv", [value], 3 * c)], **window(3, 1 + (kind == "r")))
            value = net.add("conv", [value], c if kind == "i" else c + 8)
            if kind == "i":
                value = net.add("add", [before, value])
        elif kind == "p":
            value = net.add("max_pool", [value], **window(3, 2))
        elif kind == "h":
            value = net.add("global_avg_pool", [net.add("conv", [value], 2 * c)])
            value = net.add("conv", [value], 10)
    net.output(value)
    return net.graph


class Exhaustive:
    """All segments of a session's stages, a chain, with every choice of strip, rows kept, step and chunk."""

    def __init__(self, session, graph: Graph):
        self.session = session
        self.graph = graph
        self.stages = [stage for segment in session.plan.segments for stage in segment.stages]
        self.nodes = {node.name: node for node in graph.nodes}
        self.bytes = [aligned(self._row_bytes(s.output) * s.output_shape[0]) for s in self.stages]
        self.in_arena = [
            any(s.output == stage.inputs[0] for s in self.stages[:i]) for i, stage in enumerate(self.stages)
        ]
        self.options = [self._options(i) for i in range(len(self.stages))]

    def _row_bytes(self, value: str) -> int:
        _, width, channels = self.graph.values[value]
        return width * -(-channels // 8) * 8 * 4

    def _options(self, index: int) -> dict[tuple[int, bool, int], list[tuple]]:
        """By strip rows, keep and what that keeps: (split, kept bytes, scratch bytes, cycles)."""
        stage = self.stages[index]
        ops = [self.nodes[name].op for name in stage.nodes if name in self.nodes]
        height = stage.output_shape[0]
        first, is_global = ops[0] if ops else "load", "global_avg_pool" in ops
        spatial = next((name for name in stage.nodes if self.nodes[name].op in ("depthwise", "global_avg_pool")), None)
        block = spatial is not None and "conv" in ops
        channels = -(-self.graph.values[self.nodes[spatial].output][2] // 8) * 8 if block else 0
        counts = {-(-channels // -(-channels // min(chunk, channels))) for chunk in CHUNKS} if block else {0}
        chunks = sorted({-(-count // 8) * 8 for count in counts})
        most = self.graph.values[self.nodes[spatial].inputs[0]][0] if is_global else height
        found: dict[tuple[int, bool, int], list[tuple]] = {}
        for rows in sorted({*[h for h in HEIGHTS if h < height], height}):
            for keep in (False, True):
                if keep and (not block or first != "conv" or is_global or rows >= height):
                    continue
                reach = most if is_global else rows
                for step, chunk in itertools.product(
                    [s for s in STEPS if s <= reach or s == 1] if block else [rows], chunks
                ):
                    needs = hooks.measure(self.session, index, [(rows, step, chunk, keep)])
                    option = (
                        (rows, step, chunk, keep),
                        aligned(needs["kept_bytes"][0]),
                        aligned(needs["transient_bytes"][0]),
                        needs["cycles"][0],
                    )
                    found.setdefault((rows, keep, option[1]), []).append(option)
        return found

    def segments(self, a: int, b: int) -> list[tuple[int, float, list]]:
        """(bytes, cycles, splits) of stages a to b as one segment, by every choice of each, Pareto-optimal ones."""
        around = self.bytes[a - 1] if self.in_arena[a] else 0
        out = self.bytes[b]
        slides = self.in_arena[a]
        found: dict[int, tuple[float, list]] = {}
        for strips in itertools.product(*(self.options[i] for i in range(a, b + 1))):
            ways = [self.options[a + i][strip] for i, strip in enumerate(strips)]
            kept = sum(way[0][1] for way in ways)
            # Rings follow from the strips. How far the output slides depends on the last stage's step and chunk too.
            for last in ways[-1]:
                needs = hooks.measure(self.session, a, [*(way[0][0] for way in ways[:-1]), last[0]])
                rings = sum(
                    aligned(needs["ring_rows"][i] * self._row_bytes(self.stages[a + i].output)) for i in range(b - a)
                )
                overlap = max(0, min(around, out - aligned(needs["slide"]))) if slides else 0
                base = around + out - min(overlap, out) + rings + kept - ways[-1][0][1] + last[1]
                for cap in {last[2], *(o[2] for way in ways[:-1] for o in way if o[2] >= last[2])}:
                    fitting = [[o for o in way if o[2] <= cap] for way in ways[:-1]]
                    if not all(fitting):
                        continue
                    chosen = [*(min(way, key=lambda o: o[3]) for way in fitting), last]
                    cycles = sum(o[3] for o in chosen)
                    if cycles < found.get(base + cap, (math.inf,))[0]:
                        found[base + cap] = (cycles, [o[0] for o in chosen])
        front: list[tuple[int, float, list]] = []
        for count, (cycles, splits) in sorted(found.items()):
            if not front or cycles < front[-1][1]:
                front.append((count, cycles, splits))
        return front

    def all_segments(self) -> dict[tuple[int, int], list[tuple[int, float, list]]]:
        count = len(self.stages)
        return {(a, b): self.segments(a, b) for a in range(count) for b in range(a, count)}


def all_cuts(count: int) -> list[list[tuple[int, int]]]:
    """Every way to cut stages 0 to count - 1 into segments (first, last)."""
    ways = []
    for cuts in itertools.product((False, True), repeat=count - 1):
        ends = [*(i for i, cut in enumerate(cuts) if cut), count - 1]
        ways.append([(a, b) for a, b in zip([0, *(end + 1 for end in ends)], ends)])
    return ways


def cheapest(front: dict, count: int, limit: int) -> tuple[float, list]:
    """Cycles of the cheapest plan within the limit, and its segments' splits, over every set of cut points."""
    best: tuple[float, list] = (math.inf, [])
    for segments in all_cuts(count):
        fitting = [[c for c in front[segment] if c[0] <= limit] for segment in segments]
        if all(fitting):  # the last that fits is the cheapest
            cycles = sum(some[-1][1] for some in fitting)
            if cycles < best[0]:
                best = (cycles, [some[-1][2] for some in fitting])
    return best


def family(chains: int) -> list[tuple[str, int, int, int]]:
    """Every chain of up to two stages, and a sample of longer ones; smaller maps the longer the chain."""
    rng = random.Random(0)
    every = [(kinds, 8, 8, 8) for n in (1, 2) for kinds in map("".join, itertools.product("csdierp", repeat=n))]
    longer = []
    while len(longer) < chains:
        n = 3 + len(longer) % 4
        kinds = "".join(rng.choice("csdierp") for _ in range(n - 1)) + rng.choice("csdierph")
        longer.append((kinds, (8, 7, 4, 4)[n - 3], rng.choice((5, 8, 16)), rng.choice((3, 8, 16))))
    return every + longer


def segment_gaps(chains: int) -> list[dict]:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "chain.bin")
        for case in progress(family(chains), str):
            graph = chain(*case)
            model.save(graph, path)
            least = mbinfer.Session(path, schedule="streamed", memory_limit="least")
            exhaustive = Exhaustive(least, graph)
            front = exhaustive.all_segments()
            count = len(exhaustive.stages)
            smallest = min(max(front[segment][0][0] for segment in segments) for segments in all_cuts(count))
            record = {
                "chain": case,
                "stages": count,
                "least": least.plan.peak_bytes,
                "optimal_least": smallest,
                "limits": [],
            }
            for share in SHARES:
                limit = int(least.plan.peak_bytes + share * max(0, least.plan.fused_bytes - least.plan.peak_bytes))
                plan = mbinfer.Session(path, schedule="streamed", memory_limit=limit).plan
                cycles, splits = cheapest(front, count, limit)
                chosen = [[(s.rows, s.step, s.chunk, s.keep) for s in g.stages] for g in plan.segments]
                record["limits"].append(
                    {
                        "limit": limit,
                        "planner": plan.cycles,
                        "optimum": cycles,
                        "gap": plan.cycles / cycles - 1,
                        "splits": chosen,
                        "optimal_splits": splits,
                    }
                )
            results.append(record)
    return results


# --- report --------------------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def placement_text(results: list[dict]) -> str:
    rows = []
    for name, some in (("without slides", results[::2]), ("with slides", results[1::2]), ("all", results)):
        gaps = [r["gap"] for r in some]
        if gaps:
            rows.append(
                (
                    name,
                    len(gaps),
                    sum(gap <= 0 for gap in gaps),
                    percent(statistics.mean(gaps)),
                    percent(max(gaps)),
                    sum(r["proven"] for r in some),
                )
            )
    lines = [
        "Placement: the planner's arena over the smallest (CP-SAT)",
        "",
        table(("blocks", "sets", "equal", "mean gap", "worst", "proven"), rows),
    ]
    worst = max(results, key=lambda r: (r["gap"], -len(r["blocks"])))
    if worst["gap"] > 0:
        lines += [
            "",
            f"worst: seed {worst['seed']}, {worst['planner']} for {worst['optimum']}: blocks {worst['blocks']}, "
            f"slides {worst['slides']}",
        ]
    return "\n".join(lines)


def segments_text(results: list[dict]) -> str:
    rows = []
    for count in sorted({r["stages"] for r in results}):
        some = [r for r in results if r["stages"] == count]
        limits = [limit for r in some for limit in r["limits"]]
        least = [r["least"] / r["optimal_least"] - 1 for r in some]
        gaps = [limit["gap"] for limit in limits]
        rows.append(
            (
                count,
                len(some),
                sum(gap <= 0 for gap in least),
                percent(max(least)),
                len(gaps),
                sum(gap <= 1e-9 for gap in gaps),
                percent(statistics.mean(gaps)),
                percent(max(gaps)),
            )
        )
    columns = ("stages", "chains", "least equal", "worst", "limits", "cycles equal", "mean gap", "worst ")
    lines = ["Segments: the planner's least arena and cycles over the exhaustive search", "", table(columns, rows)]
    lost = [r for r in results if r["least"] > r["optimal_least"] or any(limit["gap"] > 1e-9 for limit in r["limits"])]
    for r in sorted(lost, key=lambda r: r["stages"])[:5]:
        lines += ["", f"{r['chain']}: least {r['least']} for {r['optimal_least']}"]
        for limit in r["limits"]:
            if limit["gap"] > 1e-9:
                lines += [
                    f"  limit {limit['limit']}: {limit['planner']:.0f} for {limit['optimum']:.0f} cycles"
                    f" ({percent(limit['gap'])})",
                    f"    segments of (rows, step, chunk, keep) {limit['splits']}",
                    f"    for                                   {limit['optimal_splits']}",
                ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--instances", type=int, default=200, metavar="N", help="sets of blocks (default 200)")
    parser.add_argument(
        "--chains", type=int, default=40, metavar="N", help="chains of three to six stages (default 40)"
    )
    options = parser.parse_args()
    placement = placement_gaps(options.instances) if options.instances else []
    segments = segment_gaps(options.chains) if options.chains else []
    if options.json:
        print(json.dumps({"placement": placement, "segments": segments}, indent=1))
    else:
        print(
            "\n\n\n".join(
                [*([placement_text(placement)] if placement else []), *([segments_text(segments)] if segments else [])]
            )
        )


if __name__ == "__main__":
    main()
