"""The MobileNetV2 paper's memory claims (Sandler et al. 2018, arXiv 1801.04381), repeated on our graphs and kernels.

    python benchmarks/chunks.py [--json] [--rounds N] [--threads N]

First section 5: every block's expanded tensor is split t ways and only n/t channels of it exist at a time. Memory falls
with t; the paper found t from 2 to 5 about as fast as t = 1, and t = n slow. All t run in one process in turn, round by
round, so that a slow spell of the machine hits all alike.

Then its table 3: the largest tensor that has to exist at each resolution, with 16 bits an element.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time

import numpy as np

import mbinfer
from mbinfer import model, zoo
from mbinfer.progress import progress
from mbinfer.show.text import size, table

SPLITS = (1, 2, 3, 4, 5, 8)

# Channels and kilobytes of 16-bit elements, as the paper prints them.
PAPER_TABLE_3 = {
    "MobileNetV1": {112: (64, 1600), 56: (128, 800), 28: (256, 400), 14: (512, 200), 7: (1024, 199)},
    "MobileNetV2": {112: (16, 400), 56: (32, 200), 28: (64, 100), 14: (160, 62), 7: (320, 32)},
}
SCHEDULES = {"MobileNetV1": "layerwise", "MobileNetV2": "fused"}  # the paper counts V1 without its blocks fused


def measure_splits(path: str, rounds: int, threads: int) -> list[dict]:
    """One dict for each t, and one for the planner's own choice (t None): arena, largest scratch, median time."""
    automatic = mbinfer.Session(path, schedule="fused", threads=threads)
    widest = max(stage.chunk * stage.chunks for stage in stages(automatic))
    sessions = {t: mbinfer.Session(path, schedule="fused", threads=threads, chunks=t) for t in (*SPLITS, widest)}
    sessions[None] = automatic
    picture = np.random.default_rng(0).integers(0, 256, automatic.inputs[0].shape, dtype=np.uint8)
    wanted = automatic.run(picture)
    for t, session in sessions.items():
        if session.run(picture).tobytes() != wanted.tobytes():
            raise SystemExit(f"t = {t} changes the result")
    seconds: dict = {t: [] for t in sessions}
    for round_number in progress(range(rounds), lambda r: f"round {r + 1}"):
        order, first = list(sessions), round_number % len(sessions)  # none always comes first
        for t in order[first:] + order[:first]:
            start = time.perf_counter()
            sessions[t].run(picture)
            seconds[t].append(time.perf_counter() - start)
    results = []
    for t, session in sessions.items():
        ratio = statistics.median(mine / first for mine, first in zip(seconds[t], seconds[1]))  # of the same round
        scratch = max(stage.scratch_bytes for stage in stages(session))
        results.append(
            {
                "t": t,
                "is_n": t == widest,
                "arena": session.plan.peak_bytes,
                "scratch": scratch,
                "seconds": statistics.median(seconds[t]),
                "ratio": ratio,
            }
        )
    return results


def stages(session: mbinfer.Session) -> list[dict]:
    return [stage for segment in session.plan.segments for stage in segment.stages]


def largest_tensors(path: str, schedule: str) -> dict[int, tuple[int, int]]:
    """By resolution: the channels of the widest whole value there, and its bytes with 16 bits an element."""
    session = mbinfer.Session(path, schedule=schedule)
    whole = {b.name for segment in session.plan.timeline for b in segment.buffers if b.kind == "value"}
    largest: dict[int, int] = {}
    for stage in stages(session):
        height, _, channels = stage.output_shape
        if stage.output in whole:
            largest[height] = max(channels, largest.get(height, 0))
    return {side: (channels, side * side * channels * 2) for side, channels in largest.items()}


def splits_text(results: list[dict]) -> str:
    def name(result: dict) -> str:
        return "planner's" if result["t"] is None else "n" if result["is_n"] else str(result["t"])

    rows = [
        (name(r), size(r["arena"]), size(r["scratch"]), f"{1000 * r['seconds']:.2f}", f"{r['ratio']:.3f}")
        for r in results
    ]
    columns = ("t", "arena", "largest scratch of a block", "median ms", "times t = 1")
    by_t = {r["t"]: r for r in results}
    free = [t for t in SPLITS[1:] if by_t[t]["ratio"] <= 1.1]
    last = next(r for r in results if r["is_n"])
    return "\n".join(
        [
            "MobileNetV2 1.0@224, float32, fused: every block split t ways over its whole map, as in section 5",
            "",
            table(columns, rows),
            "",
            f"t within 10 % of t = 1 or faster: {', '.join(map(str, free)) or 'none'}."
            f" t = n takes {last['ratio']:.2f} times t = 1.",
            "Where this differs from the paper:",
            "- Chunks are whole panels of 8 channels, the width of the kernels' vectors: n / 8 chunks at most, and",
            "  t = n means that. The paper's t = n means single channels.",
            "- The arena stops falling at t = 4: the first block has 32 channels, which are four panels, and nothing",
            "  later in the network takes as much as this block's input and output.",
            "- The planner's own choice splits rows too: a block holds a few rows of a chunk, the paper's all.",
        ]
    )


def table_3_text(ours: dict[str, dict[int, tuple[int, int]]]) -> str:
    rows = []
    for side in PAPER_TABLE_3["MobileNetV1"]:
        row = [f"{side}x{side}"]
        for network, paper in PAPER_TABLE_3.items():
            channels, count = ours[network][side]
            row += [f"{paper[side][0]}/{paper[side][1]}", f"{channels}/{count / 1000:.1f}"]
        rows.append(row)
    most = ["max"]
    for network, paper in PAPER_TABLE_3.items():
        most += [f"{max(k for _, k in paper.values())}", f"{max(c for _, c in ours[network].values()) / 1000:.1f}"]
    columns = ("resolution", "V1 paper", "V1 ours (layerwise)", "V2 paper", "V2 ours (fused)")
    return "\n".join(
        [
            "Table 3 of the paper: channels / kB of the largest tensor at each resolution, 16 bits an element",
            "",
            table(columns, [*rows, most]),
            "",
            "Where ours differs:",
            "- V1 7x7: 1024 channels are 100.4 kB at 16 bits; the paper prints twice that.",
            "- V2 112x112: the paper fuses the first convolution into the first block (its caption says so).",
            "  `fused` runs it as a stage of its own, so that its 32 channels exist.",
            "- V2 56x56, 28x28 and 14x14: the paper prints 32, 64 and 160 channels, the blocks' widths at the next",
            "  lower resolution. By its own table 2 these resolutions have 24, 32 and 96 channels, and so have ours.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="runs of each t (default 30)")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, f"{name}.bin") for name in PAPER_TABLE_3}
        model.save(zoo.mobilenet_v1(), paths["MobileNetV1"])
        model.save(zoo.mobilenet_v2(), paths["MobileNetV2"])
        ours = {name: largest_tensors(path, SCHEDULES[name]) for name, path in paths.items()}
        splits = measure_splits(paths["MobileNetV2"], options.rounds, options.threads)
    if options.json:
        record = {"splits": splits, "table_3": {"paper": PAPER_TABLE_3, "ours": ours}}
        print(json.dumps(record, indent=1))
    else:
        print(splits_text(splits), table_3_text(ours), sep="\n\n\n")


if __name__ == "__main__":
    main()
