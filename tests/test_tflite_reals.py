"""TensorFlow Lite operators of quantised values that are computed in real numbers, custom operators, sparse weights."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_models import SAME, TfliteBuilder, run_litert, schema

import mbinfer
from mbinfer import errors, model
from mbinfer.importers import import_model

SHAPE = (1, 6, 7, 8)


def builder(dtype: str = "int8", seed: int = 0) -> TfliteBuilder:
    return TfliteBuilder(np.random.default_rng(seed), dtype)


def ours(net: TfliteBuilder, inputs: dict) -> dict[str, np.ndarray]:
    session = mbinfer.Session(model.encode(import_model(net.model())))
    result = session.run(**inputs)
    return result if isinstance(result, dict) else {session.outputs[0].name: result}


def nearly_equal(net: TfliteBuilder, inputs: dict, share: float = 0.999) -> None:
    """Integers are off by one at most, and hardly ever."""
    found, expected = ours(net, inputs), run_litert(net.model(), inputs)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        off = np.abs(found[name].astype(int) - array)
        assert off.max() <= 1 and (off == 0).mean() >= share
        assert len(np.unique(array)) > 8


def integers(net: TfliteBuilder, shape=SHAPE) -> dict[str, np.ndarray]:
    info = np.iinfo(net.dtype)
    return {"x": net.rng.integers(info.min, info.max + 1, shape).astype(net.dtype)}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op", ["MUL", "SUB", "gate", "constant"])
def test_arithmetic_of_quantised_values(op, dtype):
    net = builder(dtype)
    x = net.input(SHAPE, scale=0.02)
    if op == "gate":
        other = net.unary("LOGISTIC", net.mean(x, True), scale=1 / 256, zero_point=-128 if dtype == "int8" else 0)
    elif op == "constant":
        numbers = net.rng.integers(0, 100, SHAPE[3:])
        other = type(x)(net.tensor("c", SHAPE[3:], dtype, numbers, 0.01, 3), SHAPE[3:])
    else:
        other = net.unary("RELU", x, scale=0.015)
    y = net.values(SHAPE, 0.0407, 2 if dtype == "int8" else 130)
    name = "SUB" if op == "SUB" else "MUL"
    net.operator(name, [x.index, other.index], y.index, f"{name.title()}Options", fusedActivationFunction=0)
    net.outputs.append(y.index)
    nearly_equal(net, integers(net))


def test_prelu_of_quantised_values():
    net = builder()
    x = net.input(SHAPE, scale=0.02)
    slopes = net.tensor("slopes", (1, 1, 8), "int8", net.rng.integers(-100, 100, (1, 1, 8)), 0.004, 0)
    y = net.values(SHAPE, 0.02, 3)
    net.operator("PRELU", [x.index, slopes], y.index)
    net.outputs.append(y.index)
    nearly_equal(net, integers(net), 0.99)  # LiteRT rounds products of fixed point twice


@pytest.mark.parametrize("dtype, offset", [("int8", 0), ("uint8", 128)])
@pytest.mark.parametrize("scale, zero_point", [(0.02, -7), (0.0147, 11), (0.0391, 90), (0.0199, -128)])
@pytest.mark.parametrize("slope", [-100, 3, 25, 120])
def test_prelu_of_one_slope_equals_litert_for_all_256_numbers(slope, scale, zero_point, dtype, offset):
    """And of many slopes, for those that are not below 0."""
    numbers = np.arange(256).repeat(8).reshape(1, 16, 16, 8) + offset - 128
    for shape in ((1, 1, 1), (1, 1, 8)):
        net = builder(dtype)
        x = net.input((1, 16, 16, 8), scale=0.02, zero_point=offset - 7)
        slopes = np.full(shape, slope + offset)
        slopes[..., 1:] = offset  # not of one channel
        tensor = net.tensor("slopes", shape, dtype, slopes, 0.0041, offset + 3)
        y = net.values(x.shape, scale, zero_point + offset)
        net.operator("PRELU", [x.index, tensor], y.index)
        net.outputs.append(y.index)
        given = {"x": numbers.astype(dtype)}
        ((name, expected),) = run_litert(net.model(), given).items()
        differs = ours(net, given)[name] != expected
        assert not differs[numbers >= offset - 7].any() and (shape[2] > 1 or not differs.any())


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("zero_point", [3, 31, 183])
@pytest.mark.parametrize(
    "axes, size",
    [([1, 2], (4, 4)), ([1, 2], (2, 3)), ([1], (6, 3)), ([2], (3, 10)), ([1, 2], (5, 6)), ([1, 2], (2, 7))],
)
def test_means_round_halves_as_litert(axes, size, zero_point, ratio, dtype):
    """Every mean is a number and a half, and the zero point odd: of 14 and 30 what zero points add decides."""
    net = builder(dtype)
    shape, first = (1, *size, 40), -128 if dtype == "int8" else 0
    x = net.input(shape, zero_point=first + zero_point)
    made = [1 if axis in axes else length for axis, length in enumerate(shape)]
    y = net.values(made, x.scale * ratio, first + (zero_point if ratio == 1 else 90))
    net.operator("MEAN", [x.index, net.constant(axes)], y.index, "ReducerOptions", keepDims=True)
    net.outputs.append(y.index)
    places = np.indices(shape)
    numbers = (places[3] * 6 + first + sum(places[axis] for axis in axes) % 2).astype(dtype)
    ((name, expected),) = run_litert(net.model(), {"x": numbers}).items()
    np.testing.assert_array_equal(ours(net, {"x": numbers})[name], expected)
    if size in ((4, 4), (2, 3)) and ratio == 1:
        assert (expected % 2 == 0).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("scale", [0.05, 0.0213])
@pytest.mark.parametrize("channels", [8, 14])
def test_means_over_channels(channels, scale, dtype):
    """Of one scale an eighth of them are a number and a half, and the zero point is odd."""
    net, first, shape = builder(dtype), -128 if dtype == "int8" else 0, (*SHAPE[:3], channels)
    x = net.input(shape, scale=0.05, zero_point=first + 121)
    y = net.values((*SHAPE[:3], 1), scale, first + 121)
    net.operator("MEAN", [x.index, net.constant([3])], y.index, "ReducerOptions", keepDims=True)
    net.outputs.append(y.index)
    for _ in range(5):
        given = integers(net, shape)
        ((name, expected),) = run_litert(net.model(), given).items()
        np.testing.assert_array_equal(ours(net, given)[name], expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("way", ["halfPixelCenters", "alignCorners", ""])
@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_resizing_of_quantised_values(op, way, dtype):
    """XNNPACK's weights have 11 bits, and halves are rounded up."""
    options = "ResizeBilinearOptions" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    shape = (1, 5, 9, 16)
    for size in ((10, 18), (20, 9), (80, 144), (1, 3), (9, 17), (7, 20)):
        net = builder(dtype)
        x = net.input(shape, scale=0.0217, zero_point=-7 if dtype == "int8" else 121)
        y = net.like(x, (1, *size, 16))
        flags = {name: name == way for name in ("alignCorners", "halfPixelCenters")}
        net.operator(op, [x.index, net.constant(size)], y.index, options, **flags)
        net.outputs.append(y.index)
        short = op == "RESIZE_NEAREST_NEIGHBOR" or size == (9, 17) and way == "alignCorners"
        exact = short or way != "alignCorners" and size in ((10, 18), (20, 9), (80, 144))
        nearly_equal(net, integers(net, shape), 1 if exact else 0.999)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("other", ["map", "gate", "number"])
@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
def test_larger_and_smaller_integers_whatever_their_scales(op, other, dtype):
    net, zero = builder(dtype), 128 if dtype == "uint8" else 0
    x = net.input(SHAPE, scale=0.02, zero_point=zero - 7)
    if other == "number":
        second = net.tensor("number", (), dtype, zero + 20, 0.01, zero + 3)
    else:
        second = (net.unary("RELU", x, scale=0.03) if other == "map" else net.mean(x, True)).index
    y = net.values(SHAPE, 0.0407, zero + 2)
    net.operator(op, [x.index, second], y.index, "MaximumMinimumOptions")
    net.outputs.append(y.index)
    nearly_equal(net, integers(net), 1)


@pytest.mark.parametrize("axis", [1, 3])
def test_bytes_of_other_scales_joined(axis):
    net = builder("uint8")
    x = net.input(SHAPE, scale=0.0517, zero_point=121)
    other = net.unary("RELU", x, scale=0.0317, zero_point=9)
    y = net.values([2 * size if i == axis else size for i, size in enumerate(SHAPE)], 0.0407, 128)
    net.operator("CONCATENATION", [x.index, other.index], y.index, "ConcatenationOptions", axis=axis)
    net.outputs.append(y.index)
    nearly_equal(net, integers(net), 1)


def test_rows_and_padded_channels_of_quantised_values():
    net = builder()
    x = net.input(SHAPE, scale=0.02, zero_point=-7)
    y = net.like(x, (1, 3, 7, 8))
    bounds = [net.constant(c) for c in ([0, 1, 0, 0], [1, 6, 7, 8], [1, 2, 1, 1])]
    net.operator("STRIDED_SLICE", [x.index, *bounds], y.index, "StridedSliceOptions")
    z = net.like(x, (1, 3, 7, 11))
    net.operator("PAD", [y.index, net.constant([[0, 0], [0, 0], [0, 0], [1, 2]])], z.index, "PadOptions")
    net.outputs.append(z.index)
    nearly_equal(net, integers(net), 1)


@pytest.mark.parametrize("layer", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_uint8_weights_that_need_9_bits(layer):
    """Files from before int8: weights of uint8 with a zero point anywhere."""
    net = builder("uint8")
    x = net.input(SHAPE, scale=0.02, zero_point=120)
    shape = {"CONV_2D": (5, 3, 3, 8), "DEPTHWISE_CONV_2D": (1, 3, 3, 8), "FULLY_CONNECTED": (5, 336)}[layer]
    numbers = net.rng.integers(0, 256, shape)
    numbers.flat[:2] = 0, 255
    weight = net.tensor("w", shape, "uint8", numbers, 0.003, 151)
    outputs = shape[-1] if layer.startswith("DEPTH") else shape[0]
    bias = net.tensor("b", (outputs,), "int32", net.rng.integers(-999, 999, outputs), 0.02 * 0.003, 0)
    made = (1, outputs) if layer == "FULLY_CONNECTED" else (1, 6, 7, outputs)
    y = net.values(made, 0.3 if layer == "FULLY_CONNECTED" else 0.1, 127)
    window = {"padding": SAME, "strideH": 1, "strideW": 1, "fusedActivationFunction": 0}
    options = {
        "CONV_2D": ("Conv2DOptions", {**window, "dilationHFactor": 1, "dilationWFactor": 1}),
        "DEPTHWISE_CONV_2D": (
            "DepthwiseConv2DOptions",
            {**window, "depthMultiplier": 1, "dilationHFactor": 1, "dilationWFactor": 1},
        ),
        "FULLY_CONNECTED": ("FullyConnectedOptions", {"fusedActivationFunction": 0}),
    }[layer]
    source = x if layer != "FULLY_CONNECTED" else net.reshape(x, (1, 336))
    net.operator(layer, [source.index, weight, bias], y.index, options[0], **options[1])
    net.outputs.append(y.index)
    found, expected = ours(net, integers(net)), run_litert(net.model(), integers(builder("uint8")))
    assert found.keys() == expected.keys()
    for seed in range(3):
        inputs = {"x": np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)}
        found, expected = (
            list(run.values())[0].astype(int) for run in (ours(net, inputs), run_litert(net.model(), inputs))
        )
        assert np.abs(found - expected).max() <= 1 and (found == expected).mean() >= 0.99
        assert layer == "FULLY_CONNECTED" or len(np.unique(expected)) > 40


# Sparse weights.


def sparse(shape, order, blocked, levels):
    """`levels`: the size of a dense one, or (bounds, indices, class of the vectors) of a sparse one."""
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap, made.dimMetadata = order, blocked, []
    for level in levels:
        metadata = schema.DimensionMetadataT()
        metadata.format = 0 if isinstance(level, int) else 1
        if isinstance(level, int):
            metadata.denseSize = level
        else:
            bounds, indices, kind = level
            for name, values in (("arraySegments", bounds), ("arrayIndices", indices)):
                vector = getattr(schema, f"{kind}VectorT")()
                vector.values = values
                setattr(metadata, name, vector)
                setattr(metadata, f"{name}Type", getattr(schema.SparseIndexVector, f"{kind}Vector"))
        made.dimMetadata.append(metadata)
    return made


def with_sparse_weights(kind: str) -> TfliteBuilder:
    net = builder("float32")
    x = net.input((1, 4, 4, 8))
    numbers = net.rng.standard_normal((6, 1, 1, 8)) * (net.rng.random((6, 1, 1, 8)) < 0.4)
    if kind == "Blocks":  # two by two: those with anything in them
        parts = numbers.reshape(3, 2, 4, 2).transpose(0, 2, 1, 3)
        filled = np.abs(parts).max((2, 3)) > 0
        stored = parts[filled]
        bounds = [0, *np.cumsum(filled.sum(1)).tolist()]
        levels = [3, 1, 1, (bounds, np.nonzero(filled)[1].tolist(), "Uint8"), 2, 2]
        parameters = sparse(numbers.shape, [0, 1, 2, 3, 4, 5], [0, 3], levels)
    else:
        filled = numbers.reshape(6, 8) != 0
        stored = numbers.reshape(6, 8)[filled]
        bounds = [0, *np.cumsum(filled.sum(1)).tolist()]
        levels = [6, 1, 1, (bounds, np.nonzero(filled)[1].tolist(), kind)]
        parameters = sparse(numbers.shape, [0, 1, 2, 3], [], levels)
    weight = net.tensor("w", numbers.shape, "float32", stored)
    net.tensors[weight].sparsity = parameters
    dense, bias = net.values(numbers.shape), net.constant(np.ones(6), "float32")
    net.operator("DENSIFY", [weight], dense.index)
    y = net.values((1, 4, 4, 6))
    window = {"padding": 0, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    net.operator("CONV_2D", [x.index, dense.index, bias], y.index, "Conv2DOptions", **window)
    net.outputs.append(y.index)
    return net


@pytest.mark.parametrize("kind", ["Int32", "Uint16", "Uint8", "Blocks"])
def test_sparse_weights_agree_with_litert(kind):
    net = with_sparse_weights(kind)
    inputs = {"x": net.rng.standard_normal((1, 4, 4, 8)).astype(np.float32)}
    (found,), (expected,) = ours(net, inputs).values(), run_litert(net.model(), inputs).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_damaged_sparse_weights():
    for damage in ("order", "size", "indices", "bounds", "blocks"):
        net = with_sparse_weights("Int32")
        (tensor,) = (t for t in net.tensors if t.sparsity)
        levels = tensor.sparsity.dimMetadata
        if damage == "order":
            tensor.sparsity.traversalOrder = [0, 1, 2, 2]
        elif damage == "size":
            levels[0].denseSize = 2**31 - 1
        elif damage == "indices":
            levels[3].arrayIndices.values[0] = 8
        elif damage == "bounds":
            levels[3].arraySegments.values[1] = -1
        else:
            tensor.sparsity.blockMap = [7]
        with pytest.raises(errors.FormatError, match="sparse tensor 'w'"):
            import_model(net.model())


# MediaPipe's operator.


@pytest.mark.parametrize("padding", [1, 2])
def test_transposed_convolution_with_a_bias(padding):
    """The same numbers as TRANSPOSE_CONV and a sum, which LiteRT knows."""
    size = (1, 8, 10, 4) if padding == 1 else (1, 9, 11, 4)
    models = []
    for custom in (True, False):
        net = builder("float32")
        x = net.input((1, 4, 5, 3))
        weight = net.constant(net.rng.standard_normal((4, 3, 3, 3)), "float32")
        bias = net.constant(net.rng.standard_normal(4), "float32")
        y = net.values(size)
        if custom:
            net.operator("CUSTOM", [x.index, weight, bias], y.index)
            net.operators[-1].customOptions = np.frombuffer(np.int32([padding, 2, 2]).tobytes(), np.uint8)
            net.custom_code = "Convolution2DTransposeBias"
        else:
            window = {"padding": padding - 1, "strideH": 2, "strideW": 2}
            plain = net.values(size)
            inputs = [net.constant(list(size)), weight, x.index]
            net.operator("TRANSPOSE_CONV", inputs, plain.index, "TransposeConvOptions", **window)
            net.operator("ADD", [plain.index, bias], y.index, "AddOptions")
        net.outputs.append(y.index)
        models.append(net)
    inputs = {"x": models[0].rng.standard_normal((1, 4, 5, 3)).astype(np.float32)}
    (found,), (expected,) = ours(models[0], inputs).values(), run_litert(models[1].model(), inputs).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


FUNCTIONS = {
    **dict.fromkeys(("EXP", "LOG", "SQRT", "RSQRT", "SQUARE", "ABS", "NEG", "ELU", "LOG_SOFTMAX"), ("", {})),
    "L2_NORMALIZATION": ("L2NormOptions", {"fusedActivationFunction": 0}),
    "LOCAL_RESPONSE_NORMALIZATION": (
        "LocalResponseNormalizationOptions",
        {"radius": 2, "bias": 1.0, "alpha": 0.4, "beta": 0.75},
    ),
    "SPACE_TO_DEPTH": ("SpaceToDepthOptions", {"blockSize": 2}),
    "REDUCE_MIN": ("ReducerOptions", {"keepDims": True}),
    "REDUCE_MAX": ("ReducerOptions", {"keepDims": True}),
    "SUM": ("ReducerOptions", {"keepDims": True}),
}


@pytest.mark.parametrize("op", [*FUNCTIONS, "POW", "SQUARED_DIFFERENCE"])
def test_functions_and_norms_of_real_numbers(op):
    net, shape = builder("float32"), (1, 6, 8, 8)
    x = net.input(shape)
    options, fields = FUNCTIONS.get(op, ("", {}))
    inputs, made = [x.index], shape
    if options == "ReducerOptions":
        inputs.append(net.constant([3]))
        made = (1, 6, 8, 1)
    elif op == "SPACE_TO_DEPTH":
        made = (1, 3, 4, 32)
    elif op in ("POW", "SQUARED_DIFFERENCE"):
        inputs.append(net.tensor("c", (), "float32", np.float32(1.7)))
    y = net.values(made)
    net.operator(op, inputs, y.index, *([options] if options else []), **fields)
    net.outputs.append(y.index)
    picture = np.abs(net.rng.standard_normal(shape)).astype(np.float32) + np.float32(0.1)
    found, expected = ours(net, {"x": picture}), run_litert(net.model(), {"x": picture})
    for name, array in expected.items():
        assert found[name].shape == array.shape and array.std() > 1e-3
        assert np.abs(found[name] - array).max() <= 2e-6 * np.abs(array).max()


@pytest.mark.parametrize("op", ["EXP", "RSQRT", "L2_NORMALIZATION"])
def test_functions_and_norms_of_quantised_values(op):
    net = builder()
    x = net.input(SHAPE, scale=0.02, zero_point=-128 if op == "RSQRT" else -7)
    y = net.values(SHAPE, 1 / 128 if op == "L2_NORMALIZATION" else 0.05, 0 if op == "L2_NORMALIZATION" else -128)
    options, fields = FUNCTIONS[op]
    net.operator(op, [x.index], y.index, *([options] if options else []), **fields)
    net.outputs.append(y.index)
    inputs = integers(net)
    inputs["x"] = np.maximum(inputs["x"], -127)  # LiteRT refuses the root of 0
    nearly_equal(net, inputs, 0.9)  # LiteRT's fixed point


@pytest.mark.parametrize("shape, order", [((1, 4, 5, 2, 3), [0, 1, 2, 4, 3]), ((1, 7, 6), [0, 2, 1])])
def test_outputs_of_int8_that_lie_in_another_order(shape, order):
    """They are rearranged as uint8, before they become int8, which nothing moves."""
    net = builder()
    given = (*shape[:3], 6) if len(shape) == 5 else shape
    x = net.input(given)
    x = x if given == shape else net.reshape(x, shape)
    y = net.like(x, [shape[axis] for axis in order])
    net.operator("TRANSPOSE", [x.index, net.constant(order)], y.index, "TransposeOptions")
    net.outputs.append(y.index)
    nearly_equal(net, integers(net, given), 1)
