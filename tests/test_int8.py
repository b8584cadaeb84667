"""int8 networks: the integers of docs/quantization.md, by numpy, on every schedule, limit and thread count."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_graphs import evaluate, quantised

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph, Recipe, Type

VARIANTS = [
    {"schedule": "naive"},
    {"schedule": "layerwise"},
    {"schedule": "fused"},
    {"schedule": "fused", "chunks": 3},
    {"schedule": "streamed", "threads": 2},
    {"memory_limit": "least"},
]


def input_of(graph: Graph, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = {}
    for name in graph.inputs:
        dtype = np.dtype(graph.types.get(name, Type()).dtype)
        if dtype == np.float32:
            arrays[name] = rng.normal(0, 2, graph.values[name]).astype(np.float32)
        else:
            arrays[name] = rng.integers(0, 256, graph.values[name]).astype(np.uint8).view(dtype)
    return arrays


def results(session: mbinfer.Session, graph: Graph, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = session.run(**arrays) if len(arrays) > 1 else session.run(*arrays.values())
    return found if isinstance(found, dict) else {graph.outputs[0].name: found}


def check(graph: Graph, rng: np.random.Generator, variants=VARIANTS) -> None:
    data, arrays = model.encode(graph), input_of(graph, rng)
    values = evaluate(graph, arrays)
    soft = {node.output for node in graph.nodes if node.op == "softmax"}
    soft |= {node.output for node in graph.nodes if node.inputs[0] in soft}
    first = None
    for options in variants:
        session = mbinfer.Session(data, **options)
        found = results(session, graph, arrays)
        for output in graph.outputs:
            if values[output.value] is None:
                continue
            expected = values[output.value].reshape(output.shape)
            assert found[output.name].dtype == expected.dtype
            if output.value in soft:
                step = graph.types.get(output.value, Type()).scale and 1
                assert np.allclose(found[output.name], expected, atol=step or 0.1001, rtol=0), options
            else:
                assert np.array_equal(found[output.name], expected), (options, output.name)
        again = {name: array.tobytes() for name, array in found.items()}
        first = first or again
        assert again == first, options


def runs_on_integers(graph):
    """Norms and logarithms of softmax run in float32 between conversions."""
    return not any(node.op == "norm" or node.logarithm for node in graph.nodes)


@settings(max_examples=80, deadline=None)
@given(
    random_graph().filter(runs_on_integers),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.sampled_from(["float32", "uint8", "int8"]),
)
def test_integers_are_those_of_numpy(graph, seed, extreme, outside):
    rng = np.random.default_rng(seed)
    check(quantised(graph, rng, extreme, outside), rng)


def test_least_plan_and_one_byte_less():
    rng = np.random.default_rng(0)
    graph = quantised(mbinfer.zoo.mobilenet_v2(0.35, 64, 10, seed=0), rng)
    data = model.encode(graph)
    least = mbinfer.Session(data, memory_limit="least").plan.peak_bytes
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    expected = mbinfer.Session(data, schedule="naive").run(image)
    assert np.array_equal(mbinfer.Session(data, memory_limit=least).run(image), expected)
    with pytest.raises(mbinfer.MemoryLimitError):
        mbinfer.Session(data, memory_limit=least - 1)


def test_a_picture_goes_straight_to_uint8():
    """By the recipe and the first conversion, whatever the caller holds: bytes, or what the recipe makes of them."""
    net = GraphBuilder(np.random.default_rng(0))
    recipe = Recipe((120.0, 110.0, 100.0), (1 / 58, 1 / 57, 1 / 60))
    net.input("image", (9, 11, 3), recipe)
    net.output(net.add("conv", ["image"], 8, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1)), name="out")
    rng = np.random.default_rng(1)
    graph = quantised(net.graph, rng)
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    x = (image.astype(np.float32) - np.float32(recipe.mean)) * np.float32(recipe.scale)
    expected = evaluate(graph, {"image": x})[graph.outputs[0].value]
    session = mbinfer.Session(model.encode(graph))
    assert session.inputs[0].dtype == "uint8"
    assert np.array_equal(session.run(image)[0], expected) and np.array_equal(session.run(x)[0], expected)
    assert np.array_equal(session.run_rows(iter(image))[0], expected)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_number_of_a_picture_becomes_its_byte(channels, ties):
    """Whether a product by scale / step makes the same bytes as a product and a quotient, or, at ties, does not."""
    rng = np.random.default_rng(channels)
    differ = 0
    for width in range(1, 80, 3):
        step = float(np.float32(rng.uniform(0.004, 0.03)))
        scale = step / 2 if ties else rng.uniform(0.004, 0.03)
        color = "RGB" if channels == 3 else "grey"
        recipe = Recipe((float(rng.integers(0, 256)),) * channels, (scale,) * channels, color)
        net = GraphBuilder(rng)
        net.input("image", (9, width, channels), recipe)
        net.output(net.add("conv", ["image"], 8, kernel=(3, 3), stride=(1, 2), pads=(1, 1, 1, 1)), name="out")
        graph = quantised(net.graph, rng)
        for name in graph.nodes[0].output, *(v for v, kind in graph.types.items() if kind != Type() and "image" in v):
            graph.types[name] = Type("uint8", step, int(rng.integers(100, 156)))
        image = rng.integers(0, 256, (9, width, channels)).astype(np.uint8)
        x = (image.astype(np.float32) - np.float32(recipe.mean)) * np.float32(recipe.scale)
        expected = evaluate(graph, {"image": x})[graph.outputs[0].value]
        assert np.array_equal(mbinfer.Session(model.encode(graph)).run(image)[0], expected), width
        numbers = np.arange(256, dtype=np.float32) - np.float32(recipe.mean[0])
        product = numbers * (np.float32(scale) / np.float32(step))
        differ += bool((np.rint(product) != np.rint(numbers * np.float32(scale) / np.float32(step))).any())
    assert bool(differ) == ties


@pytest.mark.parametrize("first, channels", [(0, 12), (-3, 4), (-9, 20), (5, 8)])
def test_channels_that_the_input_has_not_are_its_zero_point(first, channels):
    net = GraphBuilder(np.random.default_rng(0), (5, 7, 8))
    net.output(net.add("slice", [net.convolve("input", 8)], channels, first_channel=first))
    rng = np.random.default_rng(1)
    for outside in ("uint8", "int8", "float32"):
        check(quantised(net.graph, rng, outside=outside), rng)


@pytest.mark.parametrize("width", [1, 3, 5, 31, 34, 70])
@pytest.mark.parametrize("outside", ["int8", "float32"])
def test_padding_of_an_input_that_is_converted(width, outside):
    """A patch of it holds padding too, and rows that the next row of a narrow map reads again."""
    for kernel, stride, dilation, pads in (
        ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((5, 3), (2, 2), (1, 1), (2, 2, 1, 0)),
        ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
        ((1, 2), (3, 1), (1, 1), (0, 1, 0, 1)),
        ((9, 1), (1, 1), (1, 1), (4, 0, 4, 0)),
    ):
        net = GraphBuilder(np.random.default_rng(0), (23, width, 3))
        options = {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads}
        net.output(net.add("conv", ["input"], 11, **options), name="out")
        rng = np.random.default_rng(width)
        check(quantised(net.graph, rng, False, outside), rng, [{}, {"threads": 2}, {"memory_limit": "least"}])


@pytest.mark.parametrize("groups", [1, 2])
def test_windows_of_more_taps_than_a_call_takes(groups):
    """Sums wait between calls of a kernel, where the output cannot hold them."""
    net = GraphBuilder(np.random.default_rng(0), (13, 17, 6))
    net.output(net.add("conv", ["input"], 20, kernel=(7, 9), pads=(3, 4, 3, 4), groups=groups), name="out")
    rng = np.random.default_rng(2)
    check(quantised(net.graph, rng), rng)


def test_what_the_caller_learns():
    rng = np.random.default_rng(3)
    net = GraphBuilder(rng, (5, 6, 4))
    net.output(net.add("conv", ["input"], 8), name="out")
    graph = quantised(net.graph, rng, outside="int8")
    session = mbinfer.Session(model.encode(graph))
    given, made = graph.types["input"], graph.types["out out"]
    assert session.inputs[0] == ("input", (1, 5, 6, 4), "int8", np.float32(given.scale), given.zero_point)
    assert session.outputs[0] == ("out", (1, 5, 6, 8), "int8", np.float32(made.scale), made.zero_point)
    with pytest.raises(mbinfer.ShapeError, match="dtype is uint8, give float32 .* or int8"):
        session.run(np.zeros((5, 6, 4), np.uint8))
    numbers = np.random.default_rng(0).integers(-128, 128, (5, 6, 4)).astype(np.int8)
    numbers_as_floats = (numbers.astype(np.float32) - np.float32(given.zero_point)) * np.float32(given.scale)
    assert np.array_equal(session.run(numbers), session.run(numbers_as_floats))
