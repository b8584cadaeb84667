"""What several read is held in between, or made again for each of them: pictures that are multiplied by a gate made of
their means, and maps inside of blocks that a detector's heads read, too."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_graphs import quantised
from oracle import assert_close, random_inputs, run_graph

import mbinfer
from mbinfer import model, zoo
from mbinfer.build import LINEAR, GraphBuilder

SILU, SIGMOID = ("silu", LINEAR[1]), ("sigmoid", LINEAR[1])


def gated(net, value, expansion, channels, kernel, stride):
    """An inverted residual with squeeze and excitation, as in MobileNetV3 and EfficientNet."""
    x = net.add("conv", [value], net.dims(value)[2] * expansion, SILU) if expansion else value
    fields = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": (kernel // 2,) * 4}
    x = net.add("depthwise", [x], act=SILU, **fields)
    gate = net.add("conv", [net.add("global_avg_pool", [x])], 8, SILU)
    x = net.add("mul", [x, net.add("conv", [gate], net.dims(x)[2], SIGMOID)])
    x = net.add("conv", [x], channels)
    return net.add("add", [value, x]) if net.dims(x) == net.dims(value) else x


@st.composite
def gated_network(draw):
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    net = GraphBuilder(rng, (draw(st.integers(5, 17)), draw(st.integers(3, 14)), 3))
    value = net.add("conv", ["input"], draw(st.sampled_from([8, 12, 16])), SILU, kernel=(3, 3), pads=(1, 1, 1, 1))
    for _ in range(draw(st.integers(1, 3))):
        channels = draw(st.sampled_from([net.dims(value)[2], 8, 20]))
        window = draw(st.sampled_from([3, 5])), draw(st.sampled_from([1, 1, 2]))
        value = gated(net, value, draw(st.sampled_from([0, 2, 5])), channels, *window)
    net.output(value)
    return net.graph


@st.composite
def forked_network(draw):
    """Expansions that depthwise convolutions read: of their block, and of heads, whose outputs are the network's."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    net = GraphBuilder(rng, (draw(st.integers(3, 15)), draw(st.integers(3, 12)), 3))
    value = net.add("conv", ["input"], draw(st.sampled_from([8, 12])), SILU, kernel=(3, 3), pads=(1, 1, 1, 1))
    for _ in range(draw(st.integers(1, 2))):
        block = value
        expanded = net.add("conv", [block], draw(st.sampled_from([24, 36, 64])), SILU)
        for _ in range(draw(st.integers(2, 3))):
            kernel, stride = draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 2]))
            fields = {"kernel": (kernel, kernel), "stride": (stride, stride), "pads": (kernel // 2,) * 4}
            value = net.add("depthwise", [expanded], act=SILU, **fields)
            if draw(st.integers(0, 3)):
                value = net.add("conv", [value], draw(st.sampled_from([8, 13])))
                value = net.add("add", [block, value]) if net.dims(block) == net.dims(value) else value
            net.output(value)
    return quantised(net.graph, rng) if draw(st.booleans()) else net.graph


@settings(
    max_examples=24,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(graph=st.one_of(gated_network(), forked_network()), threads=st.integers(1, 3))
def test_what_is_made_again_has_the_bits_of_what_is_held(tmp_path, graph, threads):
    path, inputs = tmp_path / "graph.bin", random_inputs(graph)
    model.save(graph, path)

    def run(session):
        results = session.run(**inputs)
        return results if isinstance(results, dict) else {session.outputs[0].name: results}

    expected = run(mbinfer.Session(path, schedule="naive"))
    if not graph.types:  # test_int8.py has the oracle of the others
        assert_close(expected, run_graph(graph, inputs), 1e-4)
    least = mbinfer.Session(path, memory_limit="least", threads=threads).plan.peak_bytes
    for limit in (least, least * 5 // 4, least * 2):
        session = mbinfer.Session(path, memory_limit=limit, threads=threads)
        assert hooks.check(session) == ""
        for name, values in run(session).items():
            assert values.tobytes() == expected[name].tobytes()
        assert hooks.canaries_intact(session)
    with pytest.raises(mbinfer.MemoryLimitError) as refused:
        mbinfer.Session(path, memory_limit=least - 1, threads=threads)
    assert refused.value.needed == least


def test_what_is_made_twice_is_counted_and_may_be_refused(tmp_path):
    net = GraphBuilder(np.random.default_rng(0), (32, 32, 3))
    value = net.add("conv", ["input"], 16, SILU, kernel=(3, 3), pads=(1, 1, 1, 1))
    net.output(gated(net, value, 6, 16, 3, 1))
    model.save(net.graph, tmp_path / "net.bin")
    least, once = (
        mbinfer.Session(tmp_path / "net.bin", memory_limit="least", recompute=share).plan for share in (True, False)
    )
    held = 32 * 32 * 96 * 4
    assert once.extra_macs == 0 and once.peak_bytes >= held > 2 * least.peak_bytes
    block = 32 * 32 * 96 * (16 + 9)  # the expansion and the filter
    assert least.extra_macs >= block and least.macs == once.macs


def test_rows_that_are_read_twice_are_held(tmp_path):
    graph = zoo.efficientnet_b0(resolution=64, classes=10)
    model.save(graph, tmp_path / "net.bin")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    session = mbinfer.Session(tmp_path / "net.bin", memory_limit="least")
    assert session.plan.extra_macs > 0
    assert session.run_rows(iter(image)).tobytes() == session.run(image).tobytes()


@pytest.mark.parametrize("name, share", [("mobilenet_v3_large", 0.015), ("efficientnet_b0", 0.0225)])
def test_the_frontier_of_gated_networks(tmp_path, name, share):
    model.save(getattr(zoo, name)(), tmp_path / "net.bin")
    plan = mbinfer.Session(tmp_path / "net.bin", memory_limit="least", plan_only=True).plan
    assert plan.peak_bytes <= share * plan.naive_bytes


def test_the_least_arena_of_a_detector_and_a_segmenter(tmp_path):
    """The map inside of a block that heads read is made by each of them; the mean of a picture before what is large."""
    for graph, kib in (zoo.ssdlite_v2(boxes=True), 640), (zoo.deeplab_v3(mask=True), 1536):
        model.save(graph, tmp_path / "net.bin")
        least, once = (
            mbinfer.Session(tmp_path / "net.bin", memory_limit="least", recompute=share, plan_only=True).plan
            for share in (True, False)
        )
        assert least.peak_bytes <= kib << 10 and least.peak_bytes < once.peak_bytes
        assert least.macs == once.macs and once.extra_macs == 0


def test_more_memory_than_the_least_saves_work_where_a_search_is_cut_short(tmp_path):
    model.save(zoo.deeplab_v3(mask=True), tmp_path / "net.bin")
    for limit in ("2MiB", "1536KiB"):
        plan = mbinfer.Session(tmp_path / "net.bin", memory_limit=limit, plan_only=True).plan
        assert "segments" in plan.shortcuts and plan.extra_macs <= 0.05 * plan.macs, limit
