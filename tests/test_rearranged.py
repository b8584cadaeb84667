"""Reshapes and transposes that make an axis of a part of the channels, and what stands behind: against onnxruntime.

Distances of YOLO's boxes by softmax, anchors as an axis of their own, pixel shuffles as exporters write them out, and
constants that differ from pixel to pixel.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import agree, make, node, normal, ops, refuse

import mbinfer
from mbinfer import model as model_file
from mbinfer.build import GraphBuilder
from mbinfer.graph import Type
from mbinfer.quantize import quantize

W8 = normal(8, 3, 3, 3)


def chain(*steps):
    """Nodes one after another, behind a convolution: an operator, its other inputs, its attributes."""
    made, before = [node("Conv", "x", "w", to="a")], "a"
    for i, (op, *others, attrs) in enumerate(steps):
        name = "y" if i == len(steps) - 1 else f"t{i}"
        made.append(node(op, before, *others, to=name, name=f"{op}{i}", **attrs))
        before = name
    return made


@pytest.mark.parametrize("perm, axis", [([0, 2, 1, 3], 1), ([0, 3, 1, 2], 3), ([0, 1, 2, 3], 2), ([0, 1, 2, 3], 1)])
@pytest.mark.parametrize("width", [8, 3], ids=["picture", "column"])
def test_softmax_over_a_part_of_the_channels_agrees(perm, axis, width):
    parts = np.array([1, 2, 4, 6 * (width - 2)])
    steps = [("Reshape", "s", {}), ("Transpose", {"perm": perm}), ("Softmax", {"axis": axis})]
    steps += [("Mul", "factors", {}), ("ReduceSum", "axis", {"keepdims": 1}), ("Reshape", "flat", {})]
    factors = normal(*[size if i == axis else 1 for i, size in enumerate(parts[perm])])
    constants = {"s": parts, "factors": factors, "axis": np.array([axis]), "flat": np.array([1, -1, parts[3]])}
    if perm == [0, 3, 1, 2]:
        constants["flat"] = np.array([1, parts[3], -1])
    graph = agree(make(*chain(*steps), w=W8, shape=(1, 3, 8, width), **constants))
    assert "softmax" in ops(graph)


def yolo(width: int = 8):
    """The head of YOLOv8: distances of four sides by softmax over 4 steps each, classes, boxes around a grid."""
    count = 6 * (width - 2)
    grid = np.stack(np.meshgrid(np.arange(width - 2), np.arange(6)), 0).reshape(1, 2, count) + 0.5
    nodes = [
        node("Conv", "x", "w", to="c"),
        node("Reshape", "c", "s19", to="heads"),
        node("Split", "heads", "parts", to=["sides", "classes"], axis=1, name="split"),
        node("Reshape", "sides", "s", to="r"),
        node("Transpose", "r", to="t", perm=[0, 2, 1, 3]),
        node("Softmax", "t", to="p", axis=1),
        node("Conv", "p", "steps", to="e", strides=[1, 1], pads=[0, 0, 0, 0], name="expected"),
        node("Reshape", "e", "s4", to="d", name="distances"),
        node("Slice", "d", "zero", "two", "one", to="lt", name="lt"),
        node("Slice", "d", "two", "four", "one", to="rb", name="rb"),
        node("Sub", "grid", "lt", to="low", name="low"),
        node("Add", "grid", "rb", to="high", name="high"),
        node("Add", "low", "high", to="sum", name="sum"),
        node("Div", "sum", "half", to="middle", name="middle"),
        node("Sub", "high", "low", to="size", name="size"),
        node("Concat", "middle", "size", to="boxes", axis=1, name="boxes"),
        node("Mul", "boxes", "strides", to="scaled", name="scaled"),
        node("Sigmoid", "classes", to="scores"),
        node("Concat", "scaled", "scores", axis=1, name="all"),
    ]
    constants = {"w": normal(19, 3, 3, 3), "s19": np.array([1, 19, count]), "parts": np.array([16, 3])}
    constants |= {"s": np.array([1, 4, 4, count]), "steps": np.arange(4.0).reshape(1, 4, 1, 1), "grid": grid}
    constants |= {name: np.array([i]) for i, name in ((0, "zero"), (1, "one"), (2, "two"), (4, "four"))}
    constants |= {"s4": np.array([1, 4, count]), "half": np.array([2.0]), "strides": np.full((1, count), 8.0)}
    constants["strides"][:, ::2] = 16  # as those of several maps that were joined
    return make(*nodes, shape=(1, 3, 8, width), **constants)


@pytest.mark.parametrize("width", [8, 3])
def test_the_whole_head_of_yolo_agrees(width):
    graph = agree(yolo(width))
    assert graph.outputs[0].shape == (1, 7, 6 * (width - 2))
    encoded, picture = model_file.encode(graph), normal(1, 8, width, 3)
    found = [mbinfer.Session(encoded, schedule=s).run(picture) for s in ("naive", "layerwise", "fused", "streamed")]
    assert all(a.tobytes() == found[0].tobytes() for a in found)
    pictures = [normal(8, width, 3) for _ in range(4)]
    encoded = model_file.encode(quantize(graph, pictures))
    expected = mbinfer.Session(model_file.encode(graph)).run(pictures[0])
    found = [mbinfer.Session(encoded, schedule=s).run(pictures[0]) for s in ("naive", "layerwise", "fused", "streamed")]
    assert all(a.tobytes() == found[0].tobytes() for a in found)
    assert np.corrcoef(found[0].ravel(), expected.ravel())[0, 1] > 0.999


def test_anchors_as_an_axis_of_their_own_agree():
    """YOLOv5: (1, anchors * numbers, h, w) to (1, anchors, h, w, numbers), decoded by pixel and by anchor."""
    steps = [("Reshape", "s", {}), ("Transpose", {"perm": [0, 1, 3, 4, 2]}), ("Sigmoid", {})]
    steps += [("Add", "grid", {}), ("Mul", "anchors", {}), ("Reshape", "flat", {})]
    constants = {"s": np.array([1, 2, 4, 6, 5]), "flat": np.array([1, 60, 4]), "grid": normal(1, 1, 6, 5, 4)}
    graph = agree(make(*chain(*steps), w=W8, shape=(1, 3, 8, 7), anchors=normal(1, 2, 1, 1, 4), **constants))
    assert graph.outputs[0].shape == (1, 60, 4)


@pytest.mark.parametrize(
    "split, perm, whole",
    [
        ((1, 2, 2, 2, 6, 6), (0, 1, 4, 2, 5, 3), (1, 2, 12, 12)),
        ((1, 2, 2, 2, 6, 6), (0, 3, 4, 1, 5, 2), (1, 2, 12, 12)),
        ((1, 8, 3, 2, 3, 2), (0, 1, 3, 5, 2, 4), (1, 32, 3, 3)),
        ((1, 8, 3, 2, 3, 2), (0, 3, 5, 1, 2, 4), (1, 32, 3, 3)),
    ],
)
def test_pixel_shuffles_written_out_agree(split, perm, whole):
    steps = [("Reshape", "s", {}), ("Transpose", {"perm": perm}), ("Reshape", "to", {}), ("Conv", "v", {})]
    weight = normal(3, whole[1], 3, 3)
    agree(make(*chain(*steps), w=W8, s=np.array(split), to=np.array(whole), v=weight))


@pytest.mark.parametrize(
    "split, perm, whole",
    [
        ((1, 6, 6, 2, 2, 2), (0, 1, 3, 2, 4, 5), (1, 12, 12, 2)),
        ((1, 3, 2, 3, 2, 8), (0, 1, 3, 2, 4, 5), (1, 3, 3, 32)),
    ],
)
def test_pixel_shuffles_of_channels_last_agree(split, perm, whole):
    steps = [("Transpose", {"perm": [0, 2, 3, 1]}), ("Reshape", "s", {}), ("Transpose", {"perm": perm})]
    steps += [("Reshape", "to", {}), ("MatMul", "v", {}), ("Transpose", {"perm": [0, 3, 1, 2]})]
    agree(make(*chain(*steps), w=W8, s=np.array(split), to=np.array(whole), v=normal(whole[3], 3)))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max"])
@pytest.mark.parametrize("shape", [(1, 8, 6, 6), (6, 6), (8, 1, 6), (1, 1, 6, 1)], ids=str)
def test_constants_of_a_number_for_each_pixel_agree(op, shape):
    constant = normal(*shape)
    constant += np.sign(constant)
    agree(make(*chain((op, "c", {})), w=W8, c=constant))
    agree(make(node("Conv", "x", "w", to="a"), node(op, "c", "a"), w=W8, c=constant)) if op == "Sub" else None


def test_rows_of_a_constant_that_one_convolution_cannot_make_are_made_by_several(monkeypatch):
    monkeypatch.setattr("mbinfer.importers.given.MAX_SIDE", 100)
    agree(make(*chain(("Add", "c", {})), w=W8, c=normal(1, 8, 6, 6)))


@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_shape": [3, 2], "dilations": [2, 1]},
        {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 2, 0, 1], "strides": [2, 1]},
        {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [3, 2], "ceil_mode": 1},
    ],
    ids=str,
)
def test_pools_with_gaps_agree(attrs):
    agree(make(*chain(("MaxPool", attrs)), w=W8))


@pytest.mark.parametrize(
    "attrs",
    [
        {"group": 2},
        {"group": 4, "output_padding": [1, 0]},
        {"dilations": [2, 3]},
        {"group": 2, "dilations": [2, 1], "pads": [1, 0, 2, 1]},
    ],
    ids=str,
)
def test_transposed_convolutions_in_groups_and_with_gaps_agree(attrs):
    weight = normal(8, 3, 3, 2)
    agree(
        make(
            *chain(("ConvTranspose", "v", "b", {"strides": [2, 3], **attrs})),
            w=W8,
            v=weight,
            b=normal(3 * attrs.get("group", 1)),
        )
    )


@pytest.mark.parametrize("op", ["ReduceLogSumExp", "ReduceProd"])
@pytest.mark.parametrize("axes", [[1], [2, 3], [1, 2, 3]], ids=str)
def test_reductions_agree(op, axes):
    agree(make(*chain((op, {"axes": axes, "keepdims": 1})), w=W8 * 0.3, opset=17))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_softmax_over_any_axis_agrees(op, axis):
    agree(make(*chain((op, {"axis": axis})), w=W8))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 8])
def test_channels_of_groups_take_turns(groups, dtype):
    rng = np.random.default_rng(groups)
    for each in (1, 5, 33):
        shape = (3, 5, groups * each)
        net = GraphBuilder()
        value = net.input("x", shape)
        made = net.add("shuffle", [value], groups=groups)
        if dtype == "uint8":
            net.graph.types |= dict.fromkeys((value, made), Type("uint8", 1.0, 3))
        net.output(made, (1, *shape), "y")
        x = rng.integers(0, 256, (1, *shape)).astype(dtype)
        found = mbinfer.Session(model_file.encode(net.graph)).run(x)
        assert np.array_equal(found, x.reshape(1, 3, 5, groups, each).swapaxes(3, 4).reshape(x.shape))


@pytest.mark.parametrize("pads", [[0, 0, 2, 0, 0, 1, 3, 0], [0, 1, 0, 0, 0, 0, 2, 0]])
def test_pads_around_axes_of_any_arrangement_agree(pads):
    """Features that became an axis of their own: (1, frames, features, 1)."""
    steps = [("Transpose", {"perm": [0, 2, 3, 1]}), ("Reshape", "s", {}), ("Pad", "pads", {}), ("Reshape", "flat", {})]
    constants = {"s": np.array([1, 6, 8, 1]), "pads": np.array(pads), "flat": np.array([1, -1])}
    agree(make(*chain(*steps), w=normal(8, 3, 3, 3), shape=(1, 3, 8, 3), **constants))


def test_frames_that_are_stacked_become_channels():
    """Harmonic stacking (Basic Pitch, arXiv 2203.09893): spectra moved along their bins, joined as channels."""
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("Transpose", "a", to="t", perm=[0, 2, 3, 1]),
        node("Reshape", "t", "s", to="b", name="bins"),
        node("Pad", "b", "right", to="c", name="right"),
        node("Slice", "c", "three", "eleven", "two", to="d", name="cut"),
        node("Concat", "b", "d", to="e", axis=3),
        node("Transpose", "e", to="f", perm=[0, 3, 1, 2], name="first"),
        node("Conv", "f", "k", name="conv", pads=[1, 1, 1, 1]),
    ]
    constants = {"s": np.array([1, 6, 8, 1]), "right": np.array([0, 0, 0, 0, 0, 0, 3, 0]), "two": np.array([2])}
    constants |= {"three": np.array([3]), "eleven": np.array([11]), "k": normal(5, 2, 3, 3), "w": normal(8, 3, 3, 3)}
    agree(make(*nodes, shape=(1, 3, 8, 3), **constants))


@pytest.mark.parametrize("bounds", [(0, 7), (1, 8), (2, 3)])
def test_frames_of_a_vector_are_rows(bounds):
    """A sound by frames, of which some are joined to others along their numbers, or cut."""
    nodes = [
        node("Reshape", "x", "s", to="a"),
        node("Slice", "a", "from", "to", "one", to="b", name="first"),
        node("Slice", "a", "zero", "count", "one", to="c", name="second"),
        node("Concat", "b", "c", to="d", axis=2),
        node("MatMul", "d", "m"),
    ]
    constants = {"s": np.array([1, 8, 10]), "from": np.array([bounds[0]]), "to": np.array([bounds[1]])}
    constants |= {"zero": np.array([0]), "count": np.array([bounds[1] - bounds[0]]), "one": np.array([1])}
    agree(make(*nodes, shape=(1, 80), m=normal(20, 5), **constants))


@pytest.mark.parametrize("turned", [False, True], ids=["a column", "a row"])
def test_a_map_is_pooled_with_the_softmax_of_another(turned):
    """Global context (arXiv 1904.11492): all channels of the pixels, added up with weights that another map gives."""
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("Conv", "a", "one", to="b", name="map"),
        node("Reshape", "b", "row", to="c", name="row"),
        node("Softmax", "c", to="d", axis=2),
        node("Reshape", "d", "row" if turned else "column", to="e", name="weights"),
        node("Reshape", "a", "pixels", to="f", name="pixels"),
        node("Transpose", "f", to="g", perm=[0, 2, 1]),
        node("MatMul", *("eg" if turned else "fe"), to="h"),
        node("Reshape", "h", "pixel", to="i", name="pooled"),
        node("Add", "a", "i"),
    ]
    shapes = {"row": [1, 1, 24], "column": [1, 24, 1], "pixels": [1, 8, 24], "pixel": [1, 8, 1, 1]}
    constants = {name: np.array(shape) for name, shape in shapes.items()}
    nodes = [n for n in nodes if turned or n.op_type != "Transpose"]
    agree(make(*nodes, shape=(1, 3, 6, 8), w=W8, one=normal(1, 8, 1, 1), **constants))


@pytest.mark.parametrize("tokens", [False, True], ids=["channels", "tokens"])
def test_a_norm_that_is_repeated_divides_without_copies(tokens):
    """PyTorch's `normalize` repeats what it divides by; of one number for each pixel, as SwiftFormer's (arXiv
    2303.15446), the copies have another layout than the pixels."""
    steps = [("Reshape", "rows", {}), ("Transpose", {"perm": [0, 2, 1]}), ("MatMul", "m", {})] if tokens else []
    nodes = chain(*steps)
    nodes[-1].output[0] = "b"
    nodes.append(node("ReduceL2", "b", to="n", axes=[1], keepdims=1))
    nodes += [node("Clip", "n", "least", to="c"), node("Expand", "c", "whole", to="e"), node("Div", "b", "e")]
    whole = np.array([1, 36, 1] if tokens else [1, 8, 6, 6])
    graph = agree(make(*nodes, w=W8, m=normal(8, 1), rows=np.array([1, 8, 36]), least=1e-12, whole=whole))
    (made,) = [n for n in graph.nodes if n.op == "div"]
    assert graph.values[made.inputs[1]] == ((1, 1, 1) if tokens else (6, 6, 1))


@pytest.mark.parametrize("shape", [(1, 8, 36), (8, 36)], ids=str)
def test_a_product_of_two_matrices_that_are_computed_is_refused(shape):
    turned = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    steps = chain(("Reshape", "s", {}), ("Transpose", {"perm": turned}))
    model = make(*steps, node("MatMul", "t0", "y", to="z"), w=W8, s=np.array(shape), outputs=("z",))
    refuse(model, "MatMul", "two computed tensors", "(attention)", "outputs=")
