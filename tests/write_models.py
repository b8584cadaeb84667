"""Writes the model files that the native tests run: `python tests/write_models.py FOLDER`. Always the same files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from graphs import GraphBuilder, random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_graphs import quantised
from streams import streamed

from mbinfer import model, zoo
from mbinfer.graph import Recipe
from mbinfer.quantize import noise, quantize

ROOT = Path(__file__).resolve().parents[1]
COUNT = 40


def write_models(folder: Path) -> None:
    """The golden files, the example's model, small MobileNets, some of int8 or with float16 weights, a network of its
    own, and COUNT random graphs, some of them with a recipe."""
    for path in [*ROOT.glob("tests/data/*.bin"), *ROOT.glob("examples/*.bin")]:
        shutil.copy(path, folder)
    model.save(zoo.mobilenet_v1(width=0.25, resolution=32, classes=10, seed=1), folder / "v1.bin")
    model.save(zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=2), folder / "v2.bin")
    half = zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=5)
    model.save(half, folder / "v2_float16.bin", "float16")
    model.save(sliding_expansion(), folder / "sliding.bin")
    model.save(streaming(), folder / "states.bin")
    model.save(streaming(7), folder / "states_int8.bin")
    for extreme in (False, True):
        small = zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=3)
        model.save(
            quantised(small, np.random.default_rng(4), extreme),
            folder / f"int8 extreme {extreme}.bin".replace(" ", "_"),
        )
    gated = zoo.mobilenet_v3_small(resolution=96, classes=10, seed=6)  # tables in blocks that are run twice
    model.save(quantize(gated, noise(gated, 1), equalise=False, compensate=False), folder / "v3_int8.bin")
    written = 0

    @settings(
        max_examples=COUNT, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(random_graph() | random_graph(channels=st.sampled_from([1, 3])))
    def write(graph):
        nonlocal written
        channels = graph.values["input"][2]
        if channels in (1, 3):
            graph.inputs["input"] = Recipe(
                (127.5,) * channels, (1 / 64,) * channels, "RGB" if channels == 3 else "grey"
            )
        half = any(node.weight is not None and node.weight.dtype == np.float16 for node in graph.nodes)
        model.save(graph, folder / f"random{written:02}{'_float16' if half else ''}.bin")
        written += 1

    write()


def sliding_expansion():
    """An expansion whose depthwise result is written over its input: every thread has to wait for all of it."""
    net = GraphBuilder(np.random.default_rng(0), (16, 16, 16))
    value = net.convolve(net.add("max_pool", ["input"], kernel=(2, 2), stride=(2, 2)), 32)
    net.output(net.add("depthwise", [value], kernel=(5, 5)))
    return net.graph


def streaming(seed: int | None = None):
    """Two convolutions that keep rows from one run to the next; of int8 where there is a seed."""
    net = GraphBuilder(np.random.default_rng(8), (4, 10, 3))
    value = net.convolve("input", 12, kernel=(3, 3), pads=(2, 1, 0, 1))
    value = net.add("depthwise", [value], kernel=(5, 3), pads=(4, 1, 0, 1))
    net.output(net.convolve(value, 8))
    graph = net.graph
    if seed is not None:
        graph = quantised(graph, np.random.default_rng(seed), outside="uint8")
    return streamed(graph, 2)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    write_models(Path(sys.argv[1]))
