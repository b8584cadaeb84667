"""Tensors that become larger or pictures on their way, against onnxruntime and LiteRT: repeated along axes that another
one has, and vectors that a model reshapes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import agree, make, node, normal, ops, refuse
from oracle import run_onnx

import mbinfer
from mbinfer import model as model_file
from mbinfer.importers import import_onnx, import_tflite

CONV = node("Conv", "x", "w", to="a")
W1, W5 = normal(1, 3, 3, 3), normal(5, 3, 3, 3)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (1, 5, 6, 6), (5, 6, 6)])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_a_constant_of_more_channels(op, shape, first):
    inputs = ("k", "a") if first else ("a", "k")
    agree(make(CONV, node(op, *inputs), w=W1, k=np.abs(normal(*shape)) + 1))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 6, 6), (6, 6), (1, 1, 6, 1)])
def test_a_constant_of_more_pixels(shape, first):
    inputs = ("k", "p") if first else ("p", "k")
    agree(make(CONV, node("GlobalAveragePool", "a", to="p"), node("Sub", *inputs), w=W5, k=normal(*shape)))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Max"])
def test_two_tensors_that_make_each_other_larger(op, first):
    """A map of one channel and a pixel of all (CBAM, arXiv 1807.06521)."""
    pixel = [node("Conv", "x", "v", to="b", name="wide"), node("GlobalAveragePool", "b", to="p")]
    inputs = ("p", "a") if first else ("a", "p")
    agree(make(CONV, *pixel, node(op, *inputs), w=W1, v=W5))


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_means_of_rows_and_of_columns(op):
    """Coordinate attention (arXiv 2103.02907): a factor for each row, and one for each column."""
    rows = node("ReduceMean", "a", to="r", axes=[3], keepdims=1)
    columns = node("ReduceMean", "a", to="c", axes=[2], keepdims=1, name="columns")
    agree(make(CONV, rows, columns, node(op, "a", "r", to="b"), node(op, "c", "b", name="second"), w=W5))
    agree(make(CONV, rows, columns, node(op, "r", "c"), w=W5))


@pytest.mark.parametrize("turned", [False, True])
def test_a_factor_for_each_column_that_was_a_row(turned):
    """Means of columns that were turned beside means of rows, as coordinate attention joins both."""
    means = [node("ReduceMean", "a", to="r", axes=[3], keepdims=1)]
    means += [node("ReduceMean", "a", to="c", axes=[2], keepdims=1, name="columns")]
    joined = [
        node("Transpose", "c", to="t", perm=[0, 1, 3, 2]),
        node("Concat", "r", "t", to="j", axis=2),
        node("Conv", "j", "m", to="k", name="small"),
        node("Split", "k", to=["s0", "s1"], axis=2),
        node("Transpose", "s1", to="s2", perm=[0, 1, 3, 2], name="back"),
    ]
    pair = ("s2", "a") if turned else ("a", "s2")
    products = [node("Mul", *pair, to="p"), node("Mul", "p", "s0", name="rows")]
    agree(make(CONV, *means, *joined, *products, w=W5, m=normal(5, 5, 1, 1)))


@pytest.mark.parametrize(
    "attrs", [{"pads": [1, 1]}, {"pads": [2, 2], "dilations": [2]}, {"auto_pad": "SAME_UPPER"}, {}]
)
def test_a_window_over_the_channels_of_a_vector(attrs):
    """Efficient channel attention (arXiv 1910.03151)."""
    mean = [node("GlobalAveragePool", "a", to="p"), node("Reshape", "p", "flat", to="v")]
    seen = [node("Conv", "v", "k", "b", to="n", name="window", **attrs)]
    constants = {"w": W5, "flat": [1, 1, 5], "k": normal(1, 1, 3), "b": normal(1)}
    if attrs:
        seen += [node("Sigmoid", "n", to="g"), node("Reshape", "g", "one", to="f"), node("Mul", "a", "f")]
        constants["one"] = [1, 5, 1, 1]
    else:
        seen += [node("Relu", "n")]
    graph = agree(make(CONV, *mean, *seen, **constants))
    assert ops(graph).count("slice") == 3


@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
def test_a_stack_of_pictures_is_reduced(op, axis):
    stack = [node("Relu", "a", to="b"), node("Tanh", "a", to="c")]
    stack += [node("Unsqueeze", x, "axis", to=f"{x}1", name=f"un{x}") for x in "abc"]
    stack += [node("Concat", "a1", "b1", "c1", to="s", axis=axis)]
    by = {"axes": [axis]} if op != "ReduceSum" else {}
    inputs = ("s", "axis") if op == "ReduceSum" else ("s",)
    agree(make(CONV, *stack, node(op, *inputs, keepdims=0, **by), w=W5, axis=np.array([axis])))


def test_means_of_each_picture_of_a_stack():
    stack = [
        node("Relu", "a", to="b"),
        node("Unsqueeze", "a", "axis", to="a1"),
        node("Unsqueeze", "b", "axis", to="b1"),
    ]
    stack[2].name = "second"
    joined = [*stack, node("Concat", "a1", "b1", to="s", axis=1), node("ReduceMean", "s", axes=[3, 4], keepdims=0)]
    agree(make(CONV, *joined, w=W5, axis=[1]))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_picture_backwards(axis):
    ends = {"from": [-1], "to": [-100], "axis": [axis], "step": [-1]}
    agree(make(CONV, node("Slice", "a", *ends), w=W5, **ends))


def test_coordinates_beside_a_picture():
    """CoordConv (arXiv 1807.03247)."""
    across = np.broadcast_to(np.linspace(-1, 1, 6), (1, 1, 6, 6))
    both = np.stack([across[0, 0], across[0, 0].T])[None]
    for constant in (across, both, np.ones((1, 2, 6, 6))):
        agree(make(CONV, node("Concat", "a", "k", axis=1), w=W5, k=constant))
        agree(make(CONV, node("Concat", "k", "a", axis=1), w=W5, k=constant))
    refuse(make(CONV, node("Concat", "a", "k", axis=1), w=W5, k=normal(1, 9, 6, 6)), "no longer")


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (1, 1, 3, 5)])
def test_a_matrix_times_the_channels(shape):
    flat = [node("Reshape", "a", "s", to="f"), node("MatMul", "k", "f", to="m"), node("Reshape", "m", "t", name="back")]
    sizes = {"s": [1, 5, 36] if len(shape) == 2 else [1, 1, 5, 36], "t": [1, shape[-2], 6, 6]}
    agree(make(CONV, *flat, w=W5, k=normal(*shape), **sizes))


def test_a_picture_read_as_a_sequence():
    agree(
        make(
            CONV,
            node("Reshape", "a", "s", to="f"),
            node("Conv", "f", "k", name="q"),
            w=W5,
            s=[1, 5, 36],
            k=normal(4, 5, 3),
        )
    )


DECODERS = {  # what follows a vector that was reshaped
    "transposed convolution": [node("ConvTranspose", "p", "k", strides=[2, 2])],
    "convolution": [node("Relu", "p", to="q"), node("Conv", "q", "m")],
    "resize": [
        node("Resize", "p", "", "", "sizes", to="q", mode="nearest", coordinate_transformation_mode="asymmetric"),
        node("Conv", "q", "m"),
    ],
    "batch norm": [
        node("BatchNormalization", "p", "scale", "bias", "mean", "variance", to="q"),
        node("Conv", "q", "m"),
    ],
    "pool": [node("MaxPool", "p", kernel_shape=[1, 1])],
}


@pytest.mark.parametrize("channels, height, width", [(8, 3, 4), (5, 3, 3), (1, 4, 6), (20, 1, 1), (7, 1, 5), (6, 4, 1)])
@pytest.mark.parametrize("what", DECODERS)
def test_a_vector_becomes_a_picture(what, channels, height, width):
    """As decoders and generators begin."""
    count = channels * height * width
    dense = [node("Gemm", "x", "g", to="a", transB=1), node("Relu", "a", to="b"), node("Reshape", "b", "s", to="p")]
    per_channel = {name: normal(channels) for name in ("scale", "bias", "mean")}
    per_channel["variance"] = np.abs(normal(channels)) + 1
    numbers = {
        "g": normal(count, 20),
        "s": [1, channels, height, width],
        "sizes": [1, channels, 2 * height, 3 * width],
        "k": normal(channels, 4, 2, 2),
        "m": normal(4, channels, 1, 1),
    }
    used = {name for made in DECODERS[what] for name in made.input}
    constants = {name: array for name, array in {**numbers, **per_channel}.items() if name in used | {"g", "s"}}
    agree(make(*dense, *DECODERS[what], shape=(1, 20), **constants))


@pytest.mark.parametrize("shape", [(1, 1, 1, 48), (1, 1, 6, 8), (1, 1, 48, 1)])
def test_a_sequence_becomes_a_picture(shape):
    nodes = [node("Conv", "x", "j", to="a", name="first"), node("Reshape", "a", "s", to="p"), node("Conv", "p", "k")]
    agree(make(*nodes, shape=(1, 1, 50), j=normal(1, 1, 3), s=list(shape), k=normal(4, 1, 1, 1)))


def test_numbers_in_another_order_are_refused():
    nodes = [CONV, node("Reshape", "a", "s", to="p"), node("Conv", "p", "k", name="second")]
    refuse(make(*nodes, w=W5, s=[1, 12, 5, 3], k=normal(4, 12, 1, 1)), "vectors that the model reshapes")


@pytest.mark.parametrize("shape", [(), (26,)])
def test_inputs_of_a_number_or_a_list(shape):
    nodes = [node("Reshape", "n", "s", to="v"), node("Conv", "x", "w", to="a"), node("Mul", "a", "v")]
    count = 26 if shape else 1
    model = make(*nodes, inputs=("x", "n"), infer=False, w=normal(count, 3, 1, 1), s=[1, count, 1, 1])
    del model.graph.input[1].type.tensor_type.shape.dim[:]
    for size in shape:
        model.graph.input[1].type.tensor_type.shape.dim.add().dim_value = size
    session = mbinfer.Session(model_file.encode(import_onnx(model)))
    picture, numbers = normal(1, 3, 8, 8), normal(*shape)
    (expected,) = run_onnx(model, {"x": picture, "n": numbers}).values()
    shapes = {info.name: info.shape for info in session.inputs}
    found = session.run(x=np.ascontiguousarray(picture.transpose(0, 2, 3, 1)), n=numbers.reshape(shapes["n"]))
    assert np.abs(found.transpose(0, 3, 1, 2) - expected).max() < 1e-5


def test_the_example_of_a_size_is_the_models_own():
    model = make(node("Conv", "x", "w"), w=W5, infer=False)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    refuse(model, "input_shape=(1, 3, 224, 8)")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_tensorflow_lite_vectors_become_pictures(dtype):
    lite = pytest.importorskip("tflite_models")
    net = lite.TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.conv(net.input((1, 6, 5, 3)), 60, (6, 5), (1, 1), 1)
    made = net.like(x, (1, 3, 4, 5))
    net.operator("RESHAPE", [x.index, net.constant([1, 3, 4, 5])], made.index, "ReshapeOptions")
    made = net.conv(made, 4, (2, 2))
    net.outputs = [made.index]
    shape = (1, 6, 5, 3)
    picture = normal(*shape) if dtype == "float32" else net.rng.integers(-128, 128, shape).astype(np.int8)
    (expected,) = lite.run_litert(net.model(), {"x": picture}).values()
    graph = import_tflite(net.model())
    assert "depth_to_space" in ops(graph)
    found = mbinfer.Session(model_file.encode(graph)).run(picture)
    assert found.shape == expected.shape
    if dtype == "float32":
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    else:
        assert np.array_equal(found, expected)
