"""The least arena for a bound on repeated work, from real plans, beside the goals that were set on paper.

    python benchmarks/frontier.py [--dtype int8] [--json] [--readme] [--step PERCENT]

For no repeated work it is the least plan of recompute=False. For the other bounds plans are made for limits from the
least arena up to there, each a small step above the arena before it, with finer steps near the smallest plan of a
bound. The planner gives the fastest plan within a limit, not the one of the fewest multiply-adds, so that a plan of
fewer may exist in the same bytes: the figures are what a user gets who gives that limit. Arena bytes only; the caller
holds the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator

from memory import DTYPES, program_of, save_network, write_readme

import mbinfer
from mbinfer import zoo
from mbinfer.progress import progress
from mbinfer.show.text import size, table

BOUNDS = (0, 5, 12, 25)  # per cent of the network's multiply-adds
NETWORKS = {  # name: architecture, width, resolution, goals in KiB: of float32, of int8
    "MobileNetV2 1.0@224": (zoo.mobilenet_v2, 1.0, 224, (490, 330, 255, 200), (125, 82, 56, 50)),
    "MobileNetV2 1.4@224": (zoo.mobilenet_v2, 1.4, 224, (680, 435, 360, None), (175, 116, 82, 72)),
    "MobileNetV2 0.35@144": (zoo.mobilenet_v2, 0.35, 144, (105, 76, 70, None), (27, 18.5, 15.7, 13.7)),
    "MobileNetV2 0.35@96": (zoo.mobilenet_v2, 0.35, 96, (61, 43, 43, None), (15.8, 10.4, 9.2, 8.5)),
    "MobileNetV1 1.0@224": (zoo.mobilenet_v1, 1.0, 224, (880, None, None, None), (None,) * 4),
}
FINE = 0.002  # step of the limit near the smallest plan of a bound


def describe(plan) -> dict:
    return {
        "peak_bytes": plan.peak_bytes,
        "fused_bytes": plan.fused_bytes,
        "extra_macs": plan.extra_macs,
        "extra_percent": 100 * plan.extra_macs / plan.macs,
        "cycles": plan.cycles,
        "segments": [len(segment.stages) for segment in plan.segments],
    }


def plan_within(path: str, limit: int | str | None, **options) -> dict:
    return describe(mbinfer.Session(path, memory_limit=limit, **options).plan)


def plans_up(path: str, start: int, step: float, end: float) -> Iterator[dict]:
    """Plans for limits that rise by at least the share `step`."""
    limit = start
    while limit <= end:
        plan = plan_within(path, limit)
        yield plan
        limit = int(max(limit * (1 + step), plan["peak_bytes"] * (1 + step / 4)) + 64)


def frontier(path: str, step: float) -> dict:
    """Every plan that was made, and the smallest for each bound of BOUNDS."""
    least, without, fastest = (
        plan_within(path, "least"),
        plan_within(path, "least", recompute=False),
        plan_within(path, None),
    )
    plans = [least, *plans_up(path, least["peak_bytes"] + 64, step, without["peak_bytes"]), without, fastest]

    def smallest(bound: float) -> dict | None:
        return min((p for p in plans if p["extra_percent"] <= bound), key=lambda p: p["peak_bytes"], default=None)

    for bound in BOUNDS:
        found = smallest(bound)
        if found is not None and found is not least:
            start = max(least["peak_bytes"], int(found["peak_bytes"] * (1 - 1.5 * step)))
            plans += plans_up(path, start, FINE, found["peak_bytes"] - 64)
    return {
        "plans": sorted(plans, key=lambda p: p["peak_bytes"]),
        "least": least,
        "fastest": fastest,
        "smallest": {bound: smallest(bound) for bound in BOUNDS},
    }


def measure_all(step: float, dtype: str) -> dict[str, dict]:
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.bin")
        for name in progress(list(NETWORKS), str):
            make, width, resolution, *_ = NETWORKS[name]
            save_network(make, width, resolution, dtype, path)
            results[name] = frontier(path, step)
    return results


def text(results: dict[str, dict], dtype: str) -> str:
    rows = []
    for name, found in results.items():
        for bound, goal in zip(BOUNDS, NETWORKS[name][3 + DTYPES.index(dtype)]):
            plan = found["smallest"][bound]
            if plan is None:
                continue
            met = "" if goal is None else "yes" if plan["peak_bytes"] <= goal * 1024 else "no"
            rows.append(
                (
                    name,
                    f"{bound} %",
                    size(plan["peak_bytes"]),
                    plan["peak_bytes"],
                    f"{plan['extra_percent']:.2f} %",
                    None if goal is None else f"{goal} KiB",
                    met,
                    f"{plan['cycles'] / found['fastest']['cycles']:.3f}",
                    "+".join(map(str, plan["segments"])),
                )
            )
        least = found["least"]
        rows.append(
            (
                name,
                "least",
                size(least["peak_bytes"]),
                least["peak_bytes"],
                f"{least['extra_percent']:.2f} %",
                None,
                "",
                f"{least['cycles'] / found['fastest']['cycles']:.3f}",
                "+".join(map(str, least["segments"])),
            )
        )
    return table(
        ("network", "extra at most", "arena", "bytes", "extra", "goal", "met", "times fastest", "stages of segments"),
        rows,
    )


def readme_table(results: dict[str, dict], dtype: str) -> str:
    """Markdown: arena of the fused schedule, of the smallest plan for each bound, and of the least and its repeats."""
    lines = [
        f"| {dtype}, arena | fused | "
        + " | ".join(f"{'no' if not b else f'<= {b} %'} extra MACs" for b in BOUNDS)
        + " | least |",
        "|---|" + "---:|" * (len(BOUNDS) + 2),
    ]
    for name, found in results.items():
        smallest, least = (found["smallest"][bound] for bound in BOUNDS), found["least"]
        cells = [size(plan["peak_bytes"]) if plan else "" for plan in smallest]
        lines.append(
            f"| {name} | {size(least['fused_bytes'])} | {' | '.join(cells)} | {size(least['peak_bytes'])} "
            f"(+{least['extra_percent']:.0f} %) |"
        )
    lines += [
        "",
        "Bytes of the arena alone, one thread, of real plans, by"
        f" `python benchmarks/{program_of('frontier.py', dtype)} --readme`. Extra MACs"
        " are multiply-adds that the plan does again, as a share of the network's.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    parser.add_argument("--json", action="store_true", help="print JSON, every plan in it")
    parser.add_argument("--readme", action="store_true", help="write a table into README.md, between its markers")
    parser.add_argument("--step", type=float, default=2.0, metavar="PERCENT", help="from limit to limit (default 2)")
    options = parser.parse_args()
    results = measure_all(options.step / 100, options.dtype)
    if options.readme:
        write_readme(program_of("frontier.py", options.dtype), readme_table(results, options.dtype))
    print(json.dumps(results, indent=1) if options.json else text(results, options.dtype))


if __name__ == "__main__":
    main()
