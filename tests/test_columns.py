"""Maps of one column: a height x 1 network has the bits of the same network laid as 1 x height, on every schedule."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import ACTIVATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_graphs import quantised

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder

VARIANTS = [
    {},
    {"schedule": "layerwise"},
    {"schedule": "fused", "chunks": 2},
    {"schedule": "streamed", "threads": 2},
    {"memory_limit": "least"},
]


def laid(layers: list[tuple], length: int, channels: int, tall: bool, seed: int):
    """A network of `layers`: operator, kernel, stride, dilation, pads, channels, activation."""

    def turn(along: int, across: int = 1) -> tuple[int, int]:
        return (along, across) if tall else (across, along)

    net = GraphBuilder(np.random.default_rng(seed), (*turn(length), channels))
    value = "input"
    for op, kernel, stride, dilation, pads, made, act in layers:
        left = max(net.dims(value)[:2])
        if left + sum(pads) < dilation * (kernel - 1) + 1:
            continue
        fields = {"act": act} if op != "max_pool" else {}
        if op == "max_pool" and (dilation > 1 or max(pads) >= kernel):
            dilation, pads = 1, (0, 0)
            if left < kernel:
                continue
        before, after = turn(pads[0], 0), turn(pads[1], 0)
        fields |= {"kernel": turn(kernel), "stride": turn(stride), "pads": (*before, *after)}
        if op != "max_pool":
            fields["dilation"] = turn(dilation)
        value = net.add(op, [value], made if op == "conv" else None, **fields)
    net.output(net.add("global_avg_pool", [value]) if seed % 2 else value, name="out")
    return net.graph


LAYERS = st.lists(
    st.tuples(
        st.sampled_from(["conv", "depthwise", "depthwise", "max_pool"]),
        st.sampled_from([1, 2, 3, 5, 9]),
        st.integers(1, 3),
        st.sampled_from([1, 1, 2]),
        st.tuples(st.integers(0, 5), st.integers(0, 5)),
        st.integers(1, 20),
        st.sampled_from(ACTIVATIONS[:4]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(LAYERS, st.integers(2, 60), st.integers(1, 20), st.integers(0, 99), st.booleans())
def test_a_column_has_the_bits_of_a_row(layers, length, channels, seed, bytes):
    graphs = [laid([("conv", 1, 1, 1, (0, 0), 8, ACTIVATIONS[0]), *layers], length, channels, t, seed) for t in (1, 0)]
    if bytes:
        graphs = [quantised(graph, np.random.default_rng(seed)) for graph in graphs]
    tall, wide = (model.encode(graph) for graph in graphs)
    x = np.random.default_rng(seed).normal(0, 2, (length, channels)).astype(np.float32)
    expected = mbinfer.Session(wide, schedule="naive").run(x[None])
    for options in VARIANTS:
        found = mbinfer.Session(tall, **options).run(x[:, None])
        assert found.tobytes() == expected.tobytes(), options


@pytest.mark.parametrize("kernel", [3, 9])
def test_a_column_is_filtered_in_one_call(kernel):
    """As fast as a row, within a wide margin: a call for each pixel took twice as long."""
    layers = [("depthwise", kernel, 1, 1, (kernel // 2, kernel // 2), 64, ACTIVATIONS[1])] * 6
    sessions = [
        mbinfer.Session(model.encode(laid(layers, 512, 64, tall, 0)), schedule="layerwise") for tall in (True, False)
    ]
    x = np.zeros((512, 64), np.float32)
    best = [np.inf, np.inf]
    for _ in range(60):
        for i, image in enumerate((x[:, None], x[None])):
            times = sum(stage["seconds"] for stage in sessions[i].profile(image))
            best[i] = min(best[i], times)
    assert best[0] < 1.6 * best[1]


@pytest.mark.parametrize("bytes", [False, True])
def test_a_column_is_planned_as_fast_as_a_row(bytes):
    """By default; the least memory is of few rows at a time."""
    layers = [("depthwise", 3, 1, 1, (1, 1), 24, ACTIVATIONS[1]), ("conv", 1, 1, 1, (0, 0), 24, ACTIVATIONS[1])] * 6
    graphs = [laid([("conv", 3, 1, 1, (1, 1), 24, ACTIVATIONS[1]), *layers], 250, 8, tall, 1) for tall in (True, False)]
    if bytes:
        graphs = [quantised(graph, np.random.default_rng(0)) for graph in graphs]
    tall, wide = (model.encode(graph) for graph in graphs)
    fast, least = (mbinfer.Session(tall, memory_limit=limit).plan for limit in (None, "least"))
    assert fast.cycles <= 1.1 * mbinfer.Session(wide).plan.cycles
    assert least.peak_bytes < fast.peak_bytes and least.cycles > 1.5 * fast.cycles
