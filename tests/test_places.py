"""Concatenations and slices of channels: values inside of others, with the bits of copies, and in fewer bytes."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_close, random_inputs, run_graph

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Type

RELU = ("clamp", (0.0, np.inf))
SAME = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}


def dense(net, value, growth, count):
    """A dense block (arXiv 1608.06993), every layer of which reads all before it."""
    made = [value]
    for _ in range(count):
        value = net.add("conv", [net.add("conv", [value], 2 * growth, RELU)], growth, RELU, **SAME)
        made.append(value)
        value = net.add("concat", list(made))
    return value


def fire(net, value, channels):
    """SqueezeNet's module (arXiv 1602.07360)."""
    squeezed = net.add("conv", [value], channels // 2, RELU)
    return net.add("concat", [net.add("conv", [squeezed], channels, RELU, **SAME) for _ in range(2)])


def split(net, value, groups):
    """A ShuffleNetV2 unit (arXiv 1807.11164) in which both halves are worked on."""
    half = net.dims(value)[2] // 2
    left, right = (net.add("slice", [value], half, first_channel=first) for first in (0, half))
    right = net.add("depthwise", [right], act=RELU, **SAME)
    return net.add("shuffle", [net.add("concat", [net.add("conv", [left], half), right])], groups=groups)


def wide(net, value, count, last):
    """So many values that their concatenation is one place and no pairs; the last fills no panel."""
    made = [net.add("conv", [value], 8, RELU) for _ in range(count - 2)]
    made.append(net.add("max_pool", [made[0]], kernel=(3, 3), pads=(1, 1, 1, 1)))
    return net.add("concat", [*made, net.add("conv", [made[1]], last)])


def many(net, value, count, channels):
    """So many values that their concatenation is no pairs, though they fit no panels, and some are there twice."""
    made = [net.add("conv", [value], channels + i % 2, RELU) for i in range(3)]
    return net.add("concat", [made[2 * i % 3] for i in range(count)])


@st.composite
def branching(draw):
    net = GraphBuilder(
        np.random.default_rng(draw(st.integers(0, 99))), (draw(st.integers(3, 9)), draw(st.integers(1, 9)), 3)
    )
    value = net.add("conv", ["input"], draw(st.sampled_from([8, 16, 12, 24])), RELU, **SAME)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["dense", "fire", "split", "wide", "many"]))
        if kind == "dense":
            value = dense(net, value, draw(st.sampled_from([8, 16, 4])), draw(st.integers(1, 3)))
        elif kind == "fire":
            value = fire(net, value, draw(st.sampled_from([8, 16, 12])))
        elif kind == "wide":
            value = wide(net, value, draw(st.integers(9, 12)), draw(st.sampled_from([8, 4])))
        elif kind == "many":
            value = net.add("conv", [many(net, value, draw(st.integers(65, 80)), draw(st.integers(1, 4)))], 12)
        elif net.dims(value)[2] % 2 == 0:
            value = split(net, value, 2)
    net.output(net.add("conv", [value], 8))
    for extra in draw(st.lists(st.sampled_from([node.output for node in net.graph.nodes[:-1]]), max_size=1)):
        net.output(extra)
    return net.graph


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=branching(), threads=st.integers(1, 3), seed=st.integers(0, 99))
def test_values_inside_of_others_have_the_bits_of_plain_loops(tmp_path, graph, threads, seed):
    path, inputs = tmp_path / "graph.bin", random_inputs(graph, seed)
    model.save(graph, path)
    expected = None
    for options in [
        *({"schedule": name} for name in ("naive", "layerwise", "fused", "streamed", "auto")),
        {"memory_limit": "least"},
    ]:
        session = mbinfer.Session(path, threads=threads, **options)
        assert hooks.check(session) == "", options
        outputs = session.run(**inputs)
        outputs = outputs if isinstance(outputs, dict) else {session.outputs[0].name: outputs}
        assert hooks.canaries_intact(session), options
        if expected is None:
            expected = {name: array.tobytes() for name, array in outputs.items()}
            assert_close(outputs, run_graph(graph, inputs), 1e-4)
        assert {name: array.tobytes() for name, array in outputs.items()} == expected, options


def plan_of(tmp_path, net, value, **options):
    net.output(value)
    model.save(net.graph, tmp_path / "net.bin")
    return mbinfer.Session(tmp_path / "net.bin", **options).plan


def kinds(plan):
    return [stage.kind for segment in plan.segments for stage in segment.stages]


@pytest.mark.parametrize("schedule", ["naive", "layerwise", "fused"])
def test_a_dense_block_is_one_value_that_nobody_copies(tmp_path, schedule):
    net = GraphBuilder(np.random.default_rng(0), (16, 16, 8))
    stem = net.add("conv", ["input"], 16, RELU, **SAME)
    block = dense(net, stem, 8, 4)
    plan = plan_of(tmp_path, net, net.add("conv", [block], 8), schedule=schedule)
    assert "concat" not in kinds(plan)
    pixels = 16 * 16 * 4  # bytes of a channel
    # The block, what its first layers make of it, and the output.
    layers = 4 * 16 if schedule == "naive" else 16
    assert plan.peak_bytes <= pixels * (48 + layers + 8)


def test_a_split_of_channels_reads_where_they_are(tmp_path):
    net = GraphBuilder(np.random.default_rng(0), (16, 16, 8))
    stem = net.add("conv", ["input"], 32, RELU, **SAME)
    left, right = (net.add("slice", [stem], 16, first_channel=first) for first in (0, 16))
    joined = net.add("concat", [net.add("conv", [left], 16), net.add("depthwise", [right], **SAME)])
    plan = plan_of(tmp_path, net, net.add("conv", [joined], 8), schedule="layerwise")
    assert not {"slice", "concat"} & set(kinds(plan))
    assert plan.peak_bytes <= 16 * 16 * 4 * 64


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_network_of_thousands_joins_and_stacks_without_pairs_and_copies(tmp_path, dtype, threads):
    net = GraphBuilder(dims=(2, 3, 3))
    kind = Type() if dtype == "float32" else Type("uint8", 0.5, 3)
    values = [net.add("max_pool", ["input"])]
    for _ in range(700):
        joined = net.add("concat", [values[-1], values[0], values[-1]])
        values.append(net.add("slice", [joined], 3, first_channel=len(values) % 5))
        values.append(net.add("max_pool", values[-1:]))
    stacked = net.add("stack", [values[-1], values[0], values[0], values[-1]], size=(3, 8))
    net.output(net.add("concat", values[:80]))
    net.output(net.add("concat", values[-2:] + values[:1]))
    net.output(stacked)
    net.graph.types = dict.fromkeys(net.graph.values, kind)
    model.save(net.graph, tmp_path / "net.bin")
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3)).astype(dtype)
    expected = [image]
    for _ in range(700):
        first = len(expected) % 5
        expected += [np.concatenate([expected[-1], image, expected[-1]], 2)[..., first : first + 3]] * 2
    rows = [array.reshape(-1, 3) for array in (expected[-1], image, image, expected[-1])]
    wanted = [np.concatenate(expected[:80], 2), np.concatenate([*expected[-2:], image], 2), np.concatenate(rows)]
    for options in ({}, {"memory_limit": "least"}, {"schedule": "naive"}):
        session = mbinfer.Session(tmp_path / "net.bin", threads=threads, **options)
        assert hooks.check(session) == ""
        assert {"concat", "stack"} <= set(kinds(session.plan))
        for found, want in zip(session.run(image).values(), wanted):
            assert np.array_equal(found.reshape(-1), want.reshape(-1))
