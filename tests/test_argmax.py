"""The number of the largest channel: numpy's on every plan, what importers make of it, and masks of pictures."""

from __future__ import annotations

import json

import hooks
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from oracle import random_inputs, run_onnx
from PIL import Image
from tflite_models import TfliteBuilder, run_litert

import mbinfer
from mbinfer import cli, errors, model, zoo
from mbinfer.build import GraphBuilder
from mbinfer.graph import Recipe, Type
from mbinfer.importers.onnx import import_onnx
from mbinfer.importers.tflite import import_tflite

NUMBER = Type("uint8", 1.0, 0)
PLANS = [{}, {"schedule": "naive"}, {"memory_limit": "least"}, {"memory_limit": "least", "threads": 3}]


def numbers_of(graph, inputs, **options):
    session = mbinfer.Session(model.encode(graph), **options)
    assert hooks.check(session) == ""
    return session.run(**inputs)


@settings(max_examples=25, deadline=None)
@given(
    dims=st.tuples(st.integers(1, 9), st.integers(1, 19), st.sampled_from([1, 2, 7, 8, 21, 256, 300])),
    kind=st.sampled_from([Type(), Type("uint8", 0.5, 3)]),
    seed=st.integers(0, 99),
)
def test_the_first_of_the_largest_on_every_plan(dims, kind, seed):
    net = GraphBuilder(dims=dims)
    if kind.scale:
        net.graph.types["input"] = kind
    value = net.add("max_pool", ["input"], kernel=(2, 1), pads=(1, 0, 0, 0))
    found = net.add("argmax", [value])
    if kind.scale:
        net.graph.types[value] = kind
    if dims[2] <= 256:
        net.graph.types[found] = NUMBER
    net.output(found, (1, *dims[:2]), "numbers")
    few = np.random.default_rng(seed).integers(0, 9, (1, *dims))  # numbers that are often the same
    few = few.astype(np.float32 if not kind.scale else np.uint8)
    pooled = np.maximum(few, np.concatenate([few[:, :1], few[:, :-1]], axis=1))
    for plan in PLANS:
        numbers = numbers_of(net.graph, {"input": few}, **plan)
        assert numbers.dtype == (np.uint8 if dims[2] <= 256 else np.float32)
        assert np.array_equal(numbers, pooled.argmax(axis=3)), plan


def test_numbers_that_are_none_and_infinities():
    net = GraphBuilder(dims=(1, 5, 3))
    net.output(net.add("argmax", ["input"]), (1, 1, 5), "numbers")
    nan, inf = np.nan, np.inf
    pixels = np.float32([[nan, 1, 2], [0, nan, 1], [-inf, -inf, inf], [-inf, -inf, -inf], [-0.0, 0.0, -1]])
    assert numbers_of(net.graph, {"input": pixels[None, None]}).ravel().tolist() == [0, 2, 2, 0, 0]


def test_scores_of_all_pixels_never_exist():
    """Scores that are made larger, and the largest of them, a few rows at a time."""
    graph = zoo.deeplab_v3(resolution=129, mask=True)
    least = mbinfer.Session(model.encode(graph), memory_limit="least", plan_only=True).plan
    assert "argmax" in {stage.kind for stage in least.segments[-1].stages} and len(least.segments[-1].stages) > 1
    assert least.peak_bytes < least.naive_bytes / 8
    logits = zoo.deeplab_v3(resolution=129)
    before = mbinfer.Session(model.encode(logits), memory_limit="least", plan_only=True).plan
    assert least.peak_bytes < before.peak_bytes + 129 * 136 + 32 * 1024


def onnx_model(channels, nhwc=False, cast=None, **attrs):
    axis = 3 if nhwc else 1
    kept = attrs.get("keepdims", 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["scores"], pads=[1] * 4)]
    if nhwc:
        nodes.append(helper.make_node("Transpose", ["scores"], ["turned"], perm=[0, 2, 3, 1]))
    nodes.append(helper.make_node("ArgMax", ["turned" if nhwc else "scores"], ["numbers"], axis=axis, **attrs))
    shape = [1, 6, 7]
    if kept:
        shape.insert(axis, 1)
    name = "numbers"
    if cast:
        nodes.append(helper.make_node("Cast", ["numbers"], ["cast"], to=cast))
        name = "cast"
    weight = np.random.default_rng(1).standard_normal((channels, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [1, 3, 6, 7])],
        [helper.make_tensor_value_info(name, cast or onnx.TensorProto.INT64, shape)],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])


@pytest.mark.parametrize(
    "source",
    [
        onnx_model(5),
        onnx_model(5, keepdims=0),
        onnx_model(300, nhwc=True, keepdims=0),
        onnx_model(9, nhwc=True, cast=onnx.TensorProto.INT32),
        onnx_model(9, cast=onnx.TensorProto.FLOAT),
    ],
)
def test_onnx(source):
    graph = import_onnx(source)
    picture = random_inputs(graph)["x"]
    (expected,) = run_onnx(source, {"x": np.ascontiguousarray(picture.transpose(0, 3, 1, 2))}).values()
    found = numbers_of(graph, {"x": picture})
    if expected.ndim == 4 and expected.shape[1] == 1:
        expected = expected.transpose(0, 2, 3, 1)
    assert found.shape == expected.shape and np.array_equal(found, expected)


@pytest.mark.parametrize("attrs", [{"select_last_index": 1}, {"axis": 2}])
def test_onnx_of_another_kind_is_refused(attrs):
    source = onnx_model(5)
    node = source.graph.node[1]
    for name, number in attrs.items():
        del node.attribute[:]
        node.attribute.extend([helper.make_attribute(name, number)])
    del source.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(errors.UnsupportedError, match="ArgMax"):
        import_onnx(source)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_tflite(dtype):
    net = TfliteBuilder(np.random.default_rng(0), dtype)
    scores = net.conv(net.input((1, 9, 6, 3)), 21, (3, 3))
    numbers = net.tensor("numbers", (1, 9, 6), "int64")
    net.operator("ARG_MAX", [scores.index, net.constant(-1)], numbers, "ArgMaxOptions", outputType=4)
    net.outputs.append(numbers)
    source = net.model()
    picture = np.random.default_rng(2).uniform(-90, 90, (1, 9, 6, 3)).astype(dtype)
    expected = run_litert(source, {"x": picture})["numbers"]
    assert np.array_equal(numbers_of(import_tflite(source), {"x": picture}), expected)


def segmenter(argmax: bool, labels=("nothing", "dark", "light")):
    """Which of three levels a pixel is nearest to."""
    net = GraphBuilder()
    net.input("image", (8, 6, 1), Recipe((0.0,), (1 / 255,), "grey"))
    levels = np.array([0, 0.5, 1])
    value = net.add("conv", ["image"], weight=levels.reshape(3, 1, 1, 1), bias=-(levels**2) / 2)
    if argmax:
        value = net.add("argmax", [value])
        net.graph.types[value] = NUMBER
    net.output(value, (1, 8, 6) if argmax else None, "classes")
    net.graph.labels = list(labels)
    return net.graph


@pytest.mark.parametrize("argmax", [True, False])
def test_segment(argmax, tmp_path, capsys):
    picture = np.repeat(np.repeat(np.uint8([[0, 100, 255], [120, 250, 10]]), 8, 0), 4, 1)  # twice as large
    Image.fromarray(picture).save(tmp_path / "in.png")
    model.save(segmenter(argmax), tmp_path / "net.bin")
    session = mbinfer.Session(tmp_path / "net.bin")
    found = mbinfer.segment(session, picture[::2, ::2, None])
    assert found.dtype == np.uint8 and found.tolist() == np.rint(picture[::2, ::2] / 127.5).tolist()
    arguments = ["segment", str(tmp_path / "net.bin"), str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
    assert cli.main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["height"], told["width"]) == (8, 6)
    shares = {one["label"]: one["share"] for one in told["classes"]}
    assert shares.keys() == {"nothing", "dark", "light"} and sum(shares.values()) == pytest.approx(1)
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.mode == "P" and drawn.size == (12, 16)
        numbers = np.asarray(drawn)
        colors = np.asarray(drawn.convert("RGB"))
    inside = np.rint(picture / 127.5)
    assert (numbers == inside).mean() > 0.9  # but for the borders, which resizing blurs
    assert colors[numbers == 1].tolist() == [[128, 0, 0]] * int((numbers == 1).sum())
    assert cli.main(arguments) == 0
    assert f"{100 * shares['dark']:.2f} %  dark" in capsys.readouterr().out


def test_what_does_not_segment(tmp_path, net, capsys):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "in.png")
    for arguments in ([], ["-o", str(tmp_path / "out.jpg")]):
        if arguments:
            model.save(segmenter(True), net := tmp_path / "net.bin")
        assert cli.main(["segment", str(net), str(tmp_path / "in.png"), *arguments]) == 1
        assert ("has no classes of pixels", "in a .png file")[bool(arguments)] in capsys.readouterr().err
