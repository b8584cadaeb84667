"""The TensorFlow Lite importer against LiteRT, and files that hold what cannot run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tflite_graphs import random_tflite
from tflite_models import KINDS, NONE, RELU, RELU6, TfliteBuilder, run_litert, schema

import mbinfer
from mbinfer import errors
from mbinfer.importers.tflite import import_tflite
from mbinfer.importers.tflite import schema as ours
from mbinfer.importers.tflite.reading import read_tflite


def builder(dtype="float32") -> TfliteBuilder:
    return TfliteBuilder(np.random.default_rng(0), dtype)


def run_ours(model: bytes, inputs: dict, folder, **options) -> dict[str, np.ndarray]:
    mbinfer.convert(model, folder / "m.bin")
    session = mbinfer.Session(folder / "m.bin", **options)
    result = session.run(**{info.name: inputs[info.name].reshape(info.shape) for info in session.inputs})
    return result if isinstance(result, dict) else {session.outputs[0].name: result}


def agree(net: TfliteBuilder, inputs: dict, folder) -> None:
    model = net.model()
    close(run_ours(model, inputs, folder), run_litert(model, inputs))


def close(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert np.abs(found[name] - array).max() <= 1e-5 * max(np.abs(array).max(), 1e-3), name


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=random_tflite())
def test_float32_networks_agree_with_litert(case, tmp_path):
    close(run_ours(case.model, case.inputs, tmp_path), run_litert(case.model, case.inputs))


# The schema, which is written down here by number.


def test_operators_are_those_of_the_schema():
    for number, name in enumerate(ours.OPERATORS):
        assert getattr(schema.BuiltinOperator, name) == number
    for names, kind in ((ours.ACTIVATIONS, "ActivationFunctionType"), (ours.PADDINGS, "Padding")):
        for number, name in enumerate(names):
            assert getattr(getattr(schema, kind), name) == number
    for name in KINDS:
        number = getattr(schema.TensorType, KINDS[name])
        assert np.dtype(ours.TENSOR_TYPES[number]) == np.dtype(name)


# Our name of an option, and the schema's where it is not the same in camel case.
NAMES = {
    "activation": "fusedActivationFunction",
    "multiplier": "depthMultiplier",
    "dilation_w": "dilationWFactor",
    "dilation_h": "dilationHFactor",
    "filter_w": "filterWidth",
    "filter_h": "filterHeight",
    "shape": "newShape",
    "axes": "squeezeDims",
}
TABLES = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    "L2_NORMALIZATION": "L2NormOptions",
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "ReducerOptions"),
    "SPLIT_V": "SplitVOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
}


@pytest.mark.parametrize("op", ours.OPTIONS)
def test_options_are_those_of_the_schema(op):
    table = TABLES.get(op, "".join(map(str.title, op.split("_"))) + "Options")
    names = {**NAMES, "count": "numSplits" if op.startswith("SPLIT") else "num" if op == "UNPACK" else "valuesCount"}
    net, wanted = builder(), {}
    for number, (name, _, kind, _) in enumerate(ours.OPTIONS[op], 2):
        camel = name.split("_")[0] + "".join(map(str.title, name.split("_")[1:]))
        options = getattr(schema, f"{table}T")()
        value = {"[": [number, 7], "f": 0.5, "s": f"text {number}"}.get(
            kind, 1 if isinstance(getattr(options, names.get(name, camel)), bool) else number
        )
        wanted[name] = names.get(name, camel), value
    x = net.input((1, 4, 4, 4))
    y = net.values((1, 4, 4, 4))
    net.operator(op, [x.index], y.index, table, **dict(wanted.values()))
    net.outputs.append(y.index)
    (node,) = read_tflite(net.model()).nodes
    assert (node.op, node.attrs) == (op, {name: value for name, (_, value) in wanted.items()})
    net.operators[0].builtinOptions = None
    net.operators[0].builtinOptionsType = 0
    (node,) = read_tflite(net.model()).nodes
    defaults = getattr(schema, f"{table}T")()
    assert node.attrs == {
        name: getattr(defaults, key) or (type(value)() if isinstance(value, (list, str)) else 0)
        for name, (key, value) in wanted.items()
    }


# What exporters do beside operators.


def picture(shape=(1, 8, 8, 3)) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_weights_that_are_stored_small(dtype, tmp_path):
    """float16 or int8 weights behind DEQUANTIZE are the float32 numbers that they stand for."""
    net = builder()
    x = net.input((1, 8, 8, 3))
    real = net.rng.standard_normal((4, 3, 3, 3))
    if dtype == "float16":
        stored = net.constant(real, "float16")
    else:
        scale = np.float32([0.01, 0.02, 0.03, 0.04])
        stored = net.tensor("w", real.shape, "int8", np.clip(real / 0.03, -127, 127), scale, 0, 0)
    weight, bias = net.values(real.shape), net.constant(np.ones(4), "float32")
    net.operator("DEQUANTIZE", [stored], weight.index, "DequantizeOptions")
    y = net.values((1, 8, 8, 4))
    window = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    net.operator("CONV_2D", [x.index, weight.index, bias], y.index, "Conv2DOptions", **window)
    net.outputs.append(y.index)
    agree(net, picture(), tmp_path)
    if dtype == "float16":  # and are kept as such, if they are to be
        mbinfer.convert(net.model(), tmp_path / "kept.bin", dtype="float16")
        kept, plain = (mbinfer.Session(tmp_path / name).run(**picture()) for name in ("kept.bin", "m.bin"))
        assert kept.tobytes() == plain.tobytes()


def test_shape_arithmetic_of_keras(tmp_path):
    net = builder()
    x = net.conv(net.input((1, 4, 4, 3)), 6, (3, 3))
    shape, batch, packed = (net.values(s, dtype="float32") for s in ((4,), (), (2,)))
    for made in (shape, batch, packed):
        net.tensors[made.index].type = schema.TensorType.INT32
    net.operator("SHAPE", [x.index], shape.index, "ShapeOptions", outType=schema.TensorType.INT32)
    ends = [net.constant([at]) for at in (0, 1, 1)]
    net.operator("STRIDED_SLICE", [shape.index, *ends], batch.index, "StridedSliceOptions", shrinkAxisMask=1)
    options = {"valuesCount": 2, "axis": 0}
    net.operator("PACK", [batch.index, net.constant(96)], packed.index, "PackOptions", **options)
    flat = net.values((1, 96))
    net.operator("RESHAPE", [x.index, packed.index], flat.index)
    net.outputs.append(net.dense(flat, 7).index)
    agree(net, picture((1, 4, 4, 3)), tmp_path)


CONSTANTS = {
    "a cast to float32": ("CAST", "CastOptions", [[1, 2, 3]], "float32", {}),
    "a cast that cuts": ("CAST", "CastOptions", [[1.7, -2.2, 3.5]], "int32", {}),
    "a quotient of whole numbers": ("DIV", "DivOptions", [[7, -7, 9], [2, 2, -4]], "int32", {}),
    "a sum that is clamped": ("ADD", "AddOptions", [[7, -7, 9], [2, 2, -4]], "int32", {"fusedActivationFunction": 1}),
}


@pytest.mark.parametrize("what", CONSTANTS)
def test_constants_are_what_litert_makes_of_them(what, tmp_path):
    op, options, arrays, made, fields = CONSTANTS[what]
    net = builder()
    x, y = net.input((1, 3)), net.values((1, 3))
    dtype = "float32" if isinstance(arrays[0][0], float) else "int32"
    constant = net.tensor("made", (3,), made)
    net.operator(op, [net.constant(array, dtype) for array in arrays], constant, options, **fields)
    if made == "int32":
        real = net.tensor("real", (3,), "float32")
        net.operator("CAST", [constant], real, "CastOptions")
        constant = real
    net.operator("MUL", [x.index, constant], y.index, "MulOptions")
    net.outputs.append(y.index)
    if fields:
        with pytest.raises(errors.UnsupportedError, match="fused activation"):
            import_tflite(net.model())
    else:
        agree(net, picture((1, 3)), tmp_path)


@pytest.mark.parametrize("computed", [True, False])
def test_ranges_whose_ends_are_lengths_are_refused(computed):
    net = builder()
    x, y, part = net.input((1, 2, 4, 3)), net.values((1, 2, 4, 3)), net.values((1, 2, 4, 3))
    whole = (
        net.conv(net.pad(x, (1, 1, 0, 0)), 3, (1, 1)).index
        if computed
        else net.constant(np.ones((1, 4, 4, 3)), "float32")
    )
    bounds = [net.constant(numbers) for numbers in ([0, 1, 0, 0], [1, 2, 4, 3], [1, 1, 1, 1])]
    net.operator("STRIDED_SLICE", [whole, *bounds], part.index, "StridedSliceOptions", offset=True)
    net.operator("ADD", [x.index, part.index], y.index, "AddOptions")
    net.outputs.append(y.index)
    with pytest.raises(errors.UnsupportedError, match="lengths"):
        import_tflite(net.model())


def test_inputs_of_another_batch_are_refused():
    net = builder()
    net.outputs.append(net.dense(net.reshape(net.input((2, 6)), (1, 12)), 3).index)
    with pytest.raises(errors.UnsupportedError, match="batch 1"):
        import_tflite(net.model())


@pytest.mark.parametrize("shape", [(1, 12), (1, 6, 5), (1, 30), (12,), (30,), (1, 3, 2, 5)])
def test_inputs_of_any_rank(shape, tmp_path):
    net = builder()
    x = net.input(shape)
    if np.prod(shape) == 30:
        x = net.conv(net.reshape(x, (1, 3, 2, 5)), 4, (2, 2))
    net.outputs.append(net.dense(net.reshape(x, (1, int(np.prod(x.shape)))), 3).index)
    agree(net, picture(shape), tmp_path)


def test_grouped_convolution(tmp_path):
    net = builder()
    net.outputs.append(net.conv(net.input((1, 5, 5, 8)), 16, (3, 3), groups=4).index)
    agree(net, picture((1, 5, 5, 8)), tmp_path)


def test_outputs_and_input_shape(tmp_path):
    net = builder()
    x = net.conv(net.input((1, 8, 8, 3)), 8, (3, 3), (2, 2))
    inner = net.mean(x, True)
    net.outputs.append(net.softmax(net.dense(inner, 5)).index)
    name = net.tensors[inner.index].name
    graph = import_tflite(net.model(), input_shape=(1, 20, 12, 3), outputs=[name])
    assert graph.values["x"] == (20, 12, 3) and [output.name for output in graph.outputs] == [name]
    with pytest.raises(errors.ArgumentError, match=name):
        import_tflite(net.model(), outputs=[name + "x"])
    with pytest.raises(errors.ShapeError, match="input_shape"):
        import_tflite(net.model(), input_shape=(2, 8, 8, 3))
    mbinfer.convert(net.model(), tmp_path / "m.bin", outputs=[name], input_shape={"x": (1, 9, 9, 3)})
    assert mbinfer.Session(tmp_path / "m.bin").run(np.zeros((9, 9, 3), np.float32)).shape == (1, 1, 1, 8)


# Refusals.


def test_a_refusal_names_all_that_stands_in_the_way():
    net = builder()
    x = net.conv(net.input((1, 8, 8, 3)), 8, (3, 3))
    y = net.unary("COS", net.unary("COS", x))
    net.operator("TRANSPOSE_CONV", [y.index], net.values((1, 8, 8, 8)).index, "TransposeConvOptions")
    net.outputs.append(len(net.tensors) - 1)
    with pytest.raises(errors.UnsupportedError) as caught:
        import_tflite(net.model())
    message, cut = str(caught.value), net.tensors[x.index].name
    assert caught.value.op == "COS" and "2 COS" in message and f"outputs=['{cut}']" in message
    assert import_tflite(net.model(), outputs=[cut]).nodes[-1].op == "conv"


def test_state_and_custom_operators_are_named():
    net = builder()
    x = net.input((1, 4, 4, 4))
    state = net.values((1, 4, 4, 4))
    net.tensors[state.index].isVariable = True
    net.outputs.append(net.add(x, state).index)
    with pytest.raises(errors.UnsupportedError, match="ADD.*streaming"):
        import_tflite(net.model())
    net = builder()
    y = net.unary("CUSTOM", net.conv(net.input((1, 4, 4, 4)), 4, (1, 1)))
    net.outputs.append(y.index)
    with pytest.raises(errors.UnsupportedError, match="custom operator without a name"):
        import_tflite(net.model())


# Integers.


def integers(shape, dtype="int8") -> dict[str, np.ndarray]:
    info = np.iinfo(dtype)
    return {"x": np.random.default_rng(1).integers(info.min, info.max + 1, shape).astype(dtype)}


@pytest.mark.parametrize("dtype", ["int8"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_integer_networks_equal_litert(dtype, data, tmp_path):
    case = data.draw(random_tflite(dtype))
    found, expected = run_ours(case.model, case.inputs, tmp_path), run_litert(case.model, case.inputs)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype == dtype
        np.testing.assert_array_equal(found[name], array)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    op=st.sampled_from(["HARD_SWISH", "LEAKY_RELU", "QUANTIZE", "LOGISTIC", "TANH", "GELU", "RELU6", "RELU"]),
    scales=st.tuples(*[st.floats(0.002, 0.2)] * 2),
    zero_points=st.tuples(*[st.integers(-128, 127)] * 2),
)
def test_functions_of_all_256_numbers_equal_litert(op, scales, zero_points, tmp_path):
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(op, (scales[1], zero_points[1]))
    net = builder("int8")
    x = net.input((1, 1, 32, 8), scale=scales[0], zero_point=zero_points[0])
    y = net.values(x.shape, *fixed)
    options = {"LEAKY_RELU": ("LeakyReluOptions", {"alpha": 0.2}), "GELU": ("GeluOptions", {"approximate": False})}
    table, fields = options.get(op, ("", {}))
    net.operator(op, [x.index], y.index, table, **fields)
    net.outputs.append(y.index)
    inputs = {"x": np.arange(-128, 128).astype(np.int8).reshape(x.shape)}
    found, expected = run_ours(net.model(), inputs, tmp_path), run_litert(net.model(), inputs)
    (found,), (expected,) = found.values(), expected.values()
    assert np.abs(found.astype(int) - expected).max() <= (1 if op == "GELU" else 0)


# Numbers that move.


def moved(tmp_path, op, shape, made, constants, options="", first=True, **fields) -> None:
    """One operator on a picture, its constants behind (or before) it."""
    net = builder()
    x = net.input(shape)
    y = net.like(x, made)
    constants = [net.constant(c, np.asarray(c).dtype.name if isinstance(c, np.ndarray) else "int32") for c in constants]
    net.operator(op, [x.index, *constants] if first else [*constants, x.index], y.index, options, **fields)
    net.outputs = [y.index]
    agree(net, {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}, tmp_path)


@pytest.mark.parametrize("dtype, offset", [("int8", 0), ("uint8", 128)])
@pytest.mark.parametrize("act", [NONE, RELU, RELU6])
@pytest.mark.parametrize("op, first", list(itertools.product(["ADD", "SUB", "MUL"], [False, True])))
def test_arithmetic_with_one_number_is_a_table_that_equals_litert(op, first, act, dtype, offset, tmp_path):
    """Of all 256 numbers, with the number as either input: as hard-swish that was written in parts has them."""
    rng = np.random.default_rng(len(op) + act)
    net = TfliteBuilder(rng, dtype)
    x = net.values((1, 8, 32, 1), 0.0313, offset - 17, name="x")
    number = net.tensor("number", (), dtype, [int(rng.integers(-128, 128)) + offset], 0.0191, offset + 9)
    y = net.values((1, 8, 32, 1), 0.0471 if op == "MUL" else 0.0235, offset + 5)
    net.inputs.append(x.index)
    inputs = [number, x.index] if first else [x.index, number]
    net.operator(op, inputs, y.index, f"{op.title()}Options", fusedActivationFunction=act)
    net.outputs.append(y.index)
    numbers = (np.arange(256) + offset - 128).astype(dtype).reshape(1, 8, 32, 1)
    assert {n.op for n in import_tflite(net.model()).nodes} <= {"lookup", "convert"}
    (expected,) = run_litert(net.model(), {"x": numbers}).values()
    (found,) = run_ours(net.model(), {"x": numbers}, tmp_path).values()
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("way", ["alignCorners", "halfPixelCenters", ""])
def test_resizing_agrees_with_litert(op, way, tmp_path):
    options = "ResizeBilinearOptions" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    for size in ((9, 14), (3, 5), (5, 7)):
        flags = {name: name == way for name in ("alignCorners", "halfPixelCenters")}
        moved(tmp_path, op, (1, 5, 7, 6), (1, *size, 6), [list(size)], options, **flags)


def test_what_only_moves_numbers_agrees_with_litert(tmp_path):
    picture = (1, 5, 7, 12)
    moved(tmp_path, "DEPTH_TO_SPACE", picture, (1, 10, 14, 3), [], "DepthToSpaceOptions", blockSize=2)
    moved(tmp_path, "SLICE", picture, (1, 3, 7, 4), [[0, 1, 0, 5], [1, 3, -1, 4]], "SliceOptions")
    strided = {"beginMask": 4, "endMask": 8}
    bounds = [[0, 1, 3, 2], [1, 5, 6, 0], [1, 2, 2, 1]]
    moved(tmp_path, "STRIDED_SLICE", picture, (1, 2, 3, 10), bounds, "StridedSliceOptions", **strided)
    moved(tmp_path, "PAD", picture, (1, 7, 7, 15), [[[0, 0], [1, 1], [0, 0], [1, 2]]], "PadOptions")
    moved(tmp_path, "PAD", picture, (1, 5, 7, 24), [[[0, 0], [0, 0], [0, 0], [0, 12]]], "PadOptions")


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 0), (4, 2, 0), (2, 2, 1), (3, 2, 1), (3, 1, 0)])
def test_transposed_convolutions_agree_with_litert(kernel, stride, padding, tmp_path):
    size = [n * stride if padding == 0 else (n - 1) * stride + kernel for n in (4, 5)]
    weight = np.random.default_rng(2).standard_normal((6, kernel, kernel, 3)).astype(np.float32)
    window = {"padding": padding, "strideH": stride, "strideW": stride}
    made = (1, *size, 6)
    moved(tmp_path, "TRANSPOSE_CONV", (1, 4, 5, 3), made, [list(made), weight], "TransposeConvOptions", False, **window)


def test_int8_weights_of_a_transposed_convolution_of_reals(tmp_path):
    """As the converter's dynamic range has them: they are the real numbers that they stand for."""
    numbers = np.random.default_rng(2).integers(-127, 128, (6, 2, 2, 3))
    scale = np.float32([0.01, 0.02, 0.03, 0.01, 0.02, 0.03])
    found, expected = [], []
    for held in (True, False):
        net = builder()
        x, y = net.input((1, 4, 5, 3)), net.values((1, 8, 10, 6))
        real = numbers * scale.reshape(-1, 1, 1, 1)
        weight = net.tensor("w", real.shape, "int8", numbers, scale) if held else net.constant(real, "float32")
        inputs = [net.constant(y.shape), weight, x.index]
        net.operator("TRANSPOSE_CONV", inputs, y.index, "TransposeConvOptions", padding=0, strideH=2, strideW=2)
        net.outputs = [y.index]
        found.append(run_ours(net.model(), picture(x.shape), tmp_path).popitem()[1])
        expected.append(run_litert(net.model(), picture(x.shape)).popitem()[1])
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0] - expected[1]).max() <= 1e-5 * np.abs(expected[1]).max()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_pictures_of_a_quantised_network(dtype, tmp_path):
    """With mean= and scale= it takes pictures; real numbers and the file's own integers go in without."""
    net = builder("int8")
    x = net.input((1, 8, 8, 3), scale=0.02, zero_point=-3)
    if dtype == "uint8":
        net = builder("int8")
        outer = net.input((1, 8, 8, 3), scale=0.02, zero_point=125, dtype="uint8")
        x = net.values((1, 8, 8, 3), 0.02, -3)
        net.operator("QUANTIZE", [outer.index], x.index)
    net.outputs.append(net.softmax(net.dense(net.conv(x, 8, (3, 3), (2, 2)), 5)).index)
    mbinfer.convert(net.model(), tmp_path / "own.bin")
    mbinfer.convert(net.model(), tmp_path / "pictures.bin", mean=127.5, scale=1 / 64)
    own, pictures = mbinfer.Session(tmp_path / "own.bin"), mbinfer.Session(tmp_path / "pictures.bin")
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    real = (image - np.float32(127.5)) * np.float32(1 / 64)
    zero = -3 if dtype == "int8" else 125
    held = np.clip(np.rint(real / np.float32(0.02)) + zero, *(np.iinfo(dtype).min, np.iinfo(dtype).max)).astype(dtype)
    (info,) = own.inputs
    assert (info.dtype, info.zero_point) == (dtype, zero) and pictures.inputs[0].dtype == "uint8"
    expected = own.run(held)
    assert expected.dtype == np.int8
    np.testing.assert_array_equal(own.run(real), expected)
    np.testing.assert_array_equal(pictures.run(image), expected)
    np.testing.assert_array_equal(pictures.run(real), expected)
    with pytest.raises(errors.ShapeError, match=dtype):
        own.run(held.astype(np.int16))
