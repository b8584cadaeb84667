"""The least arena for a bound on repeated work, from real plans, beside the goals that were set on paper.

    python benchmarks/frontier.py [--dtype int8] [--json] [--readme]

Each figure is the arena of `Session(path, memory_limit="least", recompute=BOUND)`: the smallest plan that does at most
so many of the network's multiply-adds twice. Arena bytes only; the caller holds the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from functools import partial

from markers import program_of, write_table
from memory import DTYPES, save_network

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


def describe(plan) -> dict:
    return {
        "peak_bytes": plan.peak_bytes,
        "fused_bytes": plan.fused_bytes,
        "extra_macs": plan.extra_macs,
        "extra_percent": 100 * plan.extra_macs / plan.macs,
        "cycles": plan.cycles,
        "segments": [len(segment.stages) for segment in plan.segments],
    }


def frontier(path: str) -> dict:
    def plan(**options) -> dict:
        return describe(mbinfer.Session(path, plan_only=True, **options).plan)

    return {
        "least": plan(memory_limit="least"),
        "fastest": plan(),
        "smallest": {bound: plan(memory_limit="least", recompute=bound / 100) for bound in BOUNDS},
    }


def measure_all(dtype: str) -> dict[str, dict]:
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.bin")
        for name in progress(list(NETWORKS), str):
            make, width, resolution, *_ = NETWORKS[name]
            save_network(partial(make, width), resolution, dtype, path)
            results[name] = frontier(path)
    return results


def text(results: dict[str, dict], dtype: str) -> str:
    rows = []
    for name, found in results.items():
        for bound, goal in zip(BOUNDS, NETWORKS[name][3 + DTYPES.index(dtype)]):
            plan = found["smallest"][bound]
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
        cells = [size(plan["peak_bytes"]) for plan in smallest]
        lines.append(
            f"| {name} | {size(least['fused_bytes'])} | {' | '.join(cells)} | {size(least['peak_bytes'])} "
            f"(+{least['extra_percent']:.0f} %) |"
        )
    lines += [
        "",
        "Bytes of the arena alone, one thread, of real plans, by"
        f" `python benchmarks/{program_of('frontier.py', dtype)} --readme`. Extra MACs"
        ' are multiply-adds that the plan does again, as a share of the network\'s: a plan of `memory_limit="least",'
        " recompute=0.05` for 5 %.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--readme", action="store_true", help="write a table into README.md, between its markers")
    options = parser.parse_args()
    results = measure_all(options.dtype)
    if options.readme:
        write_table(program_of("frontier.py", options.dtype), readme_table(results, options.dtype))
    print(json.dumps(results, indent=1) if options.json else text(results, options.dtype))


if __name__ == "__main__":
    main()
