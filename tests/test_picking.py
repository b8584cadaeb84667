"""Elements picked, repeated, mirrored and cut, columns joined, pads of other numbers: beside onnxruntime, on every
schedule, each made of slices and sums that there are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import agree, make, node, normal, refuse
from oracle import run_onnx

import mbinfer
from mbinfer import model as model_file
from mbinfer.importers import import_onnx, import_tflite

W = normal(8, 3, 1, 1)
CONV = node("Conv", "x", "w", to="a")
SHAPE = (1, 3, 6, 5)


def same(*nodes, opset=17, oracle_lacks=False, **constants):
    """The graph agrees, and a session has one result on every plan."""
    model = make(CONV, *nodes, shape=SHAPE, opset=opset, w=W, **constants)
    graph = import_onnx(model) if oracle_lacks else agree(model)
    picture = normal(*SHAPE)
    encoded, nhwc = model_file.encode(graph), np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    (expected,) = run_onnx(model, {"x": picture}).values()
    found = [mbinfer.Session(encoded, **plan).run(nhwc) for plan in ({}, {"memory_limit": "least"}, {"threads": 2})]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
    assert found[0].shape == expected.shape and np.abs(found[0] - expected).max() < 1e-4 * np.abs(expected).max()
    return graph


PADS = [0, 0, 1, 2, 0, 0, 3, 1]


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_pads_that_repeat_the_picture(mode):
    same(node("Pad", "a", "pads", mode=mode), pads=PADS, opset=19)


@pytest.mark.parametrize("number", [1.5, -1e30])
def test_pads_of_a_number(number):
    same(node("Pad", "a", "pads", "number"), pads=PADS, number=np.float32(number))


@pytest.mark.parametrize("pads", [[0, 0, -1, -2, 0, 0, 0, -1], [0, 0, -1, 2, 0, 0, 3, -1], [0, -2, 0, 0, 0, -1, 0, 0]])
def test_pads_below_zero_cut(pads):
    same(node("Pad", "a", "pads"), pads=pads)


@pytest.mark.parametrize(
    "axis, indexes",
    [(1, [3, 1, 5]), (1, [2, 1, 0]), (1, 3), (1, [-1, 0, 2, 4]), (2, [4, 0, 1, 2]), (2, [1, 3, 5]), (3, [4, 3, 0]),
     (3, 2)],
)  # fmt: skip
def test_elements_of_known_numbers(axis, indexes):
    if np.ndim(indexes) or axis == 1:
        same(node("Gather", "a", "i", axis=axis, to="g"), node("Relu", "g"), i=indexes)
    else:  # rows that are left are no picture, until they are one again
        same(node("Gather", "a", "i", axis=axis, to="g"), node("Unsqueeze", "g", "back"), i=indexes, back=[axis])


def test_elements_in_another_shape():
    same(
        node("Gather", "a", "i", axis=1, to="g"),
        node("Reshape", "g", "s"),
        i=[[0, 1], [3, 2]],
        s=np.array([1, 4, 6, 5]),
    )


@pytest.mark.parametrize("first, step", [(0, 2), (1, 4), (3, 4)])
def test_every_second_or_fourth_channel(first, step):
    same(node("Slice", "a", "from", "to", "axis", "step"), **{"from": [first], "to": [8], "axis": [1], "step": [step]})


@pytest.mark.parametrize("repeats", [(1, 1, 2, 3), (1, 2, 1, 1)])
def test_copies(repeats):
    same(node("Tile", "a", "repeats"), repeats=repeats)


@pytest.mark.parametrize("times", [(1, 1, 1, 2, 1, 3), (1, 1, 1, 1, 1, 2), (1, 1, 3, 1, 1, 1)], ids=str)
def test_each_channel_row_or_column_beside_itself(times):
    """PyTorch's repeat_interleave."""
    split = [1, 8, 1, 6, 5, 1] if times[2] > 1 else [1, 8, 6, 1, 5, 1]
    wide = [size * count for size, count in zip(split, times)]
    whole = [1, 8 * times[2], 6 * times[3], 5 * times[5]]
    views = (
        node("Reshape", "a", "split", to="s"),
        node("Expand", "s", "wide", to="e"),
        node("Reshape", "e", "whole", name=""),
    )
    graph = same(*views, split=split, wide=wide, whole=whole)
    assert len(graph.nodes) == 1 + sum(count > 1 for count in times)


@pytest.mark.parametrize("shape", [(8, 6, 5), (1, 6, 5), (8, 6, 1)], ids=str)
def test_slopes_of_each_element(shape):
    same(node("PRelu", "a", "slopes"), slopes=normal(*shape))


def test_a_pooled_picture_is_as_large_as_it_was():
    pooled, size = node("GlobalAveragePool", "a", to="p"), [1, 8, 6, 5]
    graph = same(pooled, node("Expand", "p", "size", to="e"), node("Concat", "a", "e", axis=1), size=size)
    assert "resize" in [made.op for made in graph.nodes]


@pytest.mark.parametrize("count", [3, 300])
def test_a_single_channel_many_times(count):
    """As PyTorch exports `functional.normalize`."""
    wide = normal(count, 8, 1, 1)
    norm = [node("Conv", "a", "wide", to="b", name="wide"), node("ReduceL2", "b", to="n", axes=[1], keepdims=1)]
    graph = same(*norm, node("Expand", "n", "size", to="e"), node("Div", "b", "e"), wide=wide, size=[1, count, 6, 5])
    assert [made.op for made in graph.nodes][-2:] == ["conv", "div"]
    flat = [node("Reshape", "n", "flat", to="f"), node("Tile", "f", "times")]
    same(*norm, *flat, wide=wide, flat=[1, 30, 1], times=[1, 1, count])


def test_columns_one_after_the_other():
    same(node("Relu", "a", to="b"), node("Concat", "a", "b", "a", axis=3))


@pytest.mark.parametrize("first", [True, False])
def test_a_known_choice_by_channel(first):
    mask = np.arange(8).reshape(1, 8, 1, 1) % 3 == 0
    inputs = ("mask", "a", "other") if first else ("mask", "other", "a")
    same(node("Where", *inputs), mask=mask, other=np.float32(2))


def test_means_of_tensors():
    same(node("Relu", "a", to="b"), node("Sigmoid", "a", to="c"), node("Mean", "a", "b", "c"))


def test_the_number_of_the_least_channel():
    same(node("ArgMin", "a", axis=1, to="n"), onnx.helper.make_node("Cast", ["n"], ["y"], to=1), oracle_lacks=True)


def test_what_no_slices_make_is_refused():
    refuse(
        make(CONV, node("Pad", "a", "pads", mode="reflect"), shape=SHAPE, w=W, pads=[0, 0, 6, 0, 0, 0, 0, 0]), "reflect"
    )
    assert import_onnx(make(CONV, node("Gather", "a", "i", axis=2), shape=SHAPE, w=W, i=[1]))


# TensorFlow Lite.

PADDED = (1, 6 + 1 + 2, 5 + 2 + 1, 8)
AMOUNTS = [[0, 0], [1, 2], [2, 1], [0, 0]]
LITE = {
    "mirror_pad reflect": ("MIRROR_PAD", AMOUNTS, PADDED, "MirrorPadOptions", {"mode": 0}),
    "mirror_pad symmetric": ("MIRROR_PAD", AMOUNTS, PADDED, "MirrorPadOptions", {"mode": 1}),
    "tile": ("TILE", [1, 2, 3, 1], (1, 12, 15, 8), "TileOptions", {}),
    "gather of channels": ("GATHER", [3, 1, 7], (1, 6, 5, 3), "GatherOptions", {"axis": 3}),
    "gather of rows": ("GATHER", [5, 0, 1], (1, 3, 5, 8), "GatherOptions", {"axis": 1}),
}


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("case", LITE)
def test_tensorflow_lite_picks_repeats_and_mirrors(case, dtype):
    lite = pytest.importorskip("tflite_models")
    op, numbers, shape, options, fields = LITE[case]
    net = lite.TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.conv(net.input((1, 6, 5, 3)), 8, (1, 1))
    made = net.like(x, shape)
    net.operator(op, [x.index, net.constant(numbers)], made.index, options, **fields)
    assert_litert_agrees(lite, net, made, dtype)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_tensorflow_lite_repeats_a_single_channel(dtype):
    lite = pytest.importorskip("tflite_models")
    net = lite.TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.conv(net.input((1, 6, 5, 3)), 1, (1, 1))
    made = net.like(x, (1, 6, 5, 300))
    net.operator("TILE", [x.index, net.constant([1, 1, 1, 300])], made.index, "TileOptions")
    assert_litert_agrees(lite, net, made, dtype)


@pytest.mark.parametrize("dtype", ["float32"])
def test_tensorflow_lite_pads_a_number_and_pools_squares(dtype):
    lite = pytest.importorskip("tflite_models")
    net = lite.TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.conv(net.input((1, 6, 5, 3)), 8, (1, 1))
    padded = net.like(x, PADDED)
    net.operator("PADV2", [x.index, net.constant(AMOUNTS), net.constant(1.5, "float32")], padded.index, "PadV2Options")
    made = net.pool("L2_POOL_2D", padded, (3, 2), (2, 2))
    assert_litert_agrees(lite, net, made, dtype)


def assert_litert_agrees(lite, net, made, dtype):
    net.outputs = [made.index]
    shape = (1, 6, 5, 3)
    picture = normal(*shape) if dtype == "float32" else net.rng.integers(-128, 128, shape).astype(np.int8)
    (expected,) = lite.run_litert(net.model(), {"x": picture}).values()
    encoded = model_file.encode(import_tflite(net.model()))
    found = [mbinfer.Session(encoded, **plan).run(picture) for plan in ({}, {"memory_limit": "least"})]
    assert found[0].dtype == expected.dtype and np.array_equal(found[0], found[1])
    if dtype == "float32":
        np.testing.assert_allclose(found[0], expected, 1e-5, 1e-5)
    else:
        assert np.array_equal(found[0], expected)
