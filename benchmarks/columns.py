"""Maps of one column: what a network of height x 1 takes of the time of the same network laid as 1 x height.

    python benchmarks/columns.py [--rounds N]

Audio networks convolve over time alone. Both layouts have the same weights, values and bits; they run in turns in one
process; the ratio is the median over their rounds. The wide one has a single row, which no schedule can cut.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph
from mbinfer.quantize import quantize
from mbinfer.show.text import table

BLOCKS, STRIDES = 6, {1: 2, 3: 2}
INPUTS = 8  # channels
RELU = ("clamp", (0, np.inf))
NETWORKS = ((490, 64, 3), (250, 24, 3), (980, 160, 5), (490, 64, 9))  # length, channels, kernel


def laid(tall: bool, length: int, channels: int, kernel: int) -> Graph:
    """A convolution and depthwise-separable blocks, down a column or along a row."""

    def turn(along: int, across: int) -> tuple[int, int]:
        return (along, across) if tall else (across, along)

    net = GraphBuilder(np.random.default_rng(0), (*turn(length, 1), INPUTS))
    window = {"kernel": turn(kernel, 1), "pads": turn(kernel // 2, 0) * 2, "act": RELU}
    value = net.add("conv", ["input"], channels, **window)
    for block in range(BLOCKS):
        value = net.add("depthwise", [value], stride=turn(STRIDES.get(block, 1), 1), **window)
        value = net.add("conv", [value], channels, act=RELU)
    net.output(net.add("conv", [net.add("global_avg_pool", [value])], 10), name="out")
    return net.graph


def opened(tall: bool, network: tuple[int, int, int], dtype: str, schedule: str) -> mbinfer.Session:
    graph = laid(tall, *network)
    if dtype == "int8":
        rng = np.random.default_rng(1)
        graph = quantize(graph, [drawn(rng, tall, network[0]) for _ in range(8)])
    return mbinfer.Session(model.encode(graph), schedule=schedule)


def drawn(rng: np.random.Generator, tall: bool, length: int) -> np.ndarray:
    return rng.normal(size=(length, 1, INPUTS) if tall else (1, length, INPUTS)).astype(np.float32)


def measured(network: tuple[int, int, int], dtype: str, schedule: str, rounds: int) -> tuple[str, ...]:
    sessions = [opened(tall, network, dtype, schedule) for tall in (True, False)]
    arrays = [drawn(np.random.default_rng(2), tall, network[0]) for tall in (True, False)]
    if sessions[0].run(arrays[0]).tobytes() != sessions[1].run(arrays[1]).tobytes():
        raise SystemExit("the layouts differ in bits")
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for session, array, times in zip(sessions, arrays, seconds):
            start = time.process_time()
            session.run(array)
            times.append(time.process_time() - start)
    ratio = statistics.median(tall / wide for tall, wide in zip(*seconds))
    length, channels, kernel = network
    return (
        f"{length} x {channels} channels, kernels of {kernel}",
        dtype,
        schedule,
        f"{statistics.median(seconds[1]) * 1e6:.0f}",
        f"{ratio:.2f}",
        *(f"{session.plan.peak_bytes:,}" for session in sessions),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    head = ("network", "dtype", "schedule", "row, us", "column / row", "arena of the column", "of the row")
    ways = [(n, d, s) for n in NETWORKS for d in ("float32", "int8") for s in ("auto", "layerwise")]
    print(table(head, [measured(*way, rounds) for way in ways]))


if __name__ == "__main__":
    main()
