"""Patterns that TensorFlow's converter makes of a network: axes packed and taken apart, convolutions with gaps dealt
into a batch, products with a constant matrix, and operators that only move numbers. Against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_models import RELU, SAME, VALID, TfliteBuilder, Values, run_litert, schema

import mbinfer
from mbinfer import errors, model
from mbinfer.importers import import_model

SHAPE = (1, 6, 8, 4)


def network(dtype: str) -> tuple[TfliteBuilder, Values]:
    """A builder, and what a convolution makes of its input, so that there is something to move."""
    net = TfliteBuilder(np.random.default_rng(0), dtype)
    return net, net.conv(net.input((1, 6, 8, 3)), SHAPE[3], (3, 3))


def agree(net: TfliteBuilder, *outputs: Values, tolerance: float = 1e-6, off: int = 0) -> list[str]:
    """The operators of the graph; `off`: how far integers may be from LiteRT's."""
    net.outputs = [values.index for values in outputs]
    shape = (1, 6, 8, 3)
    picture = net.rng.standard_normal(shape).astype(np.float32)
    if net.dtype != "float32":
        picture = net.rng.integers(-128, 128, shape).astype(np.int8)
    graph = import_model(net.model())
    session = mbinfer.Session(model.encode(graph))
    found = session.run(x=picture)
    found = found if isinstance(found, dict) else {session.outputs[0].name: found}
    for name, expected in run_litert(net.model(), {"x": picture}).items():
        assert found[name].shape == expected.shape and len(np.unique(expected)) > 3
        difference = np.abs(found[name].astype(np.float64) - expected).max()
        assert difference <= (off if net.dtype != "float32" else tolerance * np.abs(expected).max())
    return [node.op for node in graph.nodes]


BOTH = pytest.mark.parametrize("dtype", ["float32", "int8"])


@BOTH
@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("crop", [0, 1])
def test_a_convolution_of_a_batch_of_dealt_pixels_is_one_with_gaps(op, crop, dtype):
    net, x = network(dtype)
    block, pads, crops = [2, 2], [[2, 2], [2, 2]], [[0, crop], [crop, 0]]
    dealt = net.like(x, (4, 5, 6, 4))
    net.operator("SPACE_TO_BATCH_ND", [x.index, net.constant(block), net.constant(pads)], dealt.index)
    made = net.conv(dealt, 5, (3, 3), padding=VALID, act=RELU) if op == "CONV_2D" else None
    made = made or net.depthwise(dealt, (3, 3), padding=VALID, act=RELU)
    net.tensors[made.index].shape[0] = 4
    whole = net.like(made, (1, 6 - crop, 8 - crop, made.shape[3]))
    net.operator("BATCH_TO_SPACE_ND", [made.index, net.constant(block), net.constant(crops)], whole.index)
    assert agree(net, whole).count("conv" if op == "CONV_2D" else "depthwise") == 1 + (op == "CONV_2D")


def test_dealt_pixels_of_a_file_of_float16():
    """DEQUANTIZE stands between the weights and their convolution."""
    net, x = network("float32")
    dealt = net.like(x, (4, 5, 6, 4))
    amounts = net.constant([2, 2]), net.constant([[2, 2], [2, 2]])
    net.operator("SPACE_TO_BATCH_ND", [x.index, *amounts], dealt.index)
    made = net.conv(dealt, 5, (3, 3), padding=VALID)
    conv, stored = net.operators[-1], net.constant(net.rng.standard_normal((5, 3, 3, 4)) / 6, "float16")
    conv.inputs[1] = net.values((5, 3, 3, 4)).index
    net.operator("DEQUANTIZE", [stored], conv.inputs[1], "DequantizeOptions")
    net.operators[-2:] = net.operators[:-3:-1]  # which is written in front of it
    net.tensors[made.index].shape[0] = 4
    whole = net.like(made, (1, 6, 8, 5))
    net.operator("BATCH_TO_SPACE_ND", [made.index, net.constant([2, 2]), net.constant([[0, 0]] * 2)], whole.index)
    assert agree(net, whole).count("conv") == 2


@BOTH
def test_one_pixel_is_resized_to_a_picture(dtype):
    """The branch of the whole picture in an atrous pyramid."""
    net, x = network(dtype)
    pixel = net.conv(net.mean(x, True), 6, (1, 1), act=RELU)
    made = net.like(pixel, (1, 6, 8, 6))
    net.operator("RESIZE_BILINEAR", [pixel.index, net.constant([6, 8])], made.index, "ResizeBilinearOptions")
    agree(net, made)


@BOTH
def test_axes_are_packed_and_taken_apart(dtype):
    net, x = network(dtype)
    parts = [net.like(x, (1, 6, 4)) for _ in range(8)]
    net.operator("UNPACK", [x.index], parts[0].index, "UnpackOptions", num=8, axis=2)
    net.operators[-1].outputs = [part.index for part in parts]
    packed = net.like(x, (1, 6, 3, 4))
    net.operator("PACK", [parts[i].index for i in (5, 0, 3)], packed.index, "PackOptions", valuesCount=3, axis=2)
    agree(net, packed)


@BOTH
def test_one_element_of_an_axis_takes_the_axis_away(dtype):
    net, x = network(dtype)
    made = net.like(x, (1, 6, 4))
    bounds = [net.constant(c) for c in ([0, 0, -2], [0, 0, 0], [1, 1, 1])]
    masks = {"beginMask": 3, "endMask": 3, "shrinkAxisMask": 4}
    net.operator("STRIDED_SLICE", [x.index, *bounds], made.index, "StridedSliceOptions", **masks)
    agree(net, made)


@pytest.mark.parametrize("turned", [False, True])
def test_a_product_with_a_constant_matrix_is_a_dense_layer(turned):
    net, x = network("float32")
    numbers = net.rng.standard_normal((5, 4) if turned else (4, 5))
    made = net.values((1, 6, 8, 5))
    matrix = net.constant(numbers, "float32")
    net.operator("BATCH_MATMUL", [x.index, matrix], made.index, "BatchMatMulOptions", adjX=False, adjY=turned)
    assert agree(net, made) == ["conv", "conv"]


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_a_map_is_pooled_with_the_numbers_of_another(turned):
    """``pixels^T @ weights``: one number for each pixel, times its channels."""
    net, x = network("float32")
    weights = net.conv(x, 1, (1, 1))
    shapes = ((1, 48, 4) if turned[0] else (1, 4, 48)), ((1, 1, 48) if turned[1] else (1, 48, 1))
    rows = [net.values(shape) for shape in ((1, 48, 4), shapes[1])]
    for before, row in zip((x, weights), rows):
        net.operator("RESHAPE", [before.index, net.constant(row.shape)], row.index, "ReshapeOptions")
    if not turned[0]:
        rows[0], before = net.values(shapes[0]), rows[0]
        net.operator("TRANSPOSE", [before.index, net.constant([0, 2, 1])], rows[0].index, "TransposeOptions")
    made = net.values((1, 4, 1))
    factors = [row.index for row in rows]
    net.operator("BATCH_MATMUL", factors, made.index, "BatchMatMulOptions", adjX=turned[0], adjY=turned[1])
    assert "mul" in agree(net, made)


MOVES = {
    "REVERSE_V2": ([2], SHAPE, ""),
    "BROADCAST_TO": ([1, 6, 8, 4], SHAPE, "BroadcastToOptions"),
    "TRANSPOSE": ([0, 2, 1, 3], (1, 8, 6, 4), "TransposeOptions"),
}


@BOTH
@pytest.mark.parametrize("op", MOVES)
def test_moves(op, dtype):
    numbers, shape, options = MOVES[op]
    net, x = network(dtype)
    if op == "BROADCAST_TO":
        x = net.pool("MAX_POOL_2D", x, (6, 1), (6, 1), VALID)
    if op == "TRANSPOSE":
        x = net.pool("MAX_POOL_2D", x, (1, 1), (1, 1), VALID)
    made = net.like(x, shape)
    net.operator(op, [x.index, net.constant(numbers)], made.index, options)
    if op == "TRANSPOSE":  # a picture again, so that it can be an output
        x, made = made, net.like(x, SHAPE)
        net.operator(op, [x.index, net.constant(numbers)], made.index, options)
    agree(net, made)


# Begins, ends and steps, the masks, and what numpy calls the same.
SLICES = {
    "backwards": ([0, -1, 7, 0], [1, 0, 1, 4], [1, -1, -2, 1], {"endMask": 2}, np.s_[:, ::-1, 7:1:-2]),
    "some channels": ([0, 0, 0, 1], [1, 6, 8, 4], [1, 1, 1, 2], {}, np.s_[..., 1::2]),
    "some of channels that steps do not divide": ([0, 0, 0, 0], [1, 6, 8, 4], [1, 1, 1, 3], {}, np.s_[..., ::3]),
    "an ellipsis": ([0, 9, 1], [1, 9, 3], [1, 1, 1], {"ellipsisMask": 2}, np.s_[:, ..., 1:3]),
    "an axis that appears": ([0, 9, 2], [1, 9, 4], [1, 1, 1], {"newAxisMask": 2}, np.s_[:, None, 2:4]),
    "a column": ([0, 0, -2], [1, 6, 9], [1, 2, 1], {"shrinkAxisMask": 4}, np.s_[:, ::2, -2]),
}


@BOTH
@pytest.mark.parametrize("what", SLICES)
def test_slices_by_masks(what, dtype):
    *bounds, masks, index = SLICES[what]
    net, x = network(dtype)
    made = net.like(x, np.empty(SHAPE)[index].shape)
    inputs = [x.index, *(net.constant(numbers) for numbers in bounds)]
    net.operator("STRIDED_SLICE", inputs, made.index, "StridedSliceOptions", **masks)
    agree(net, made)


@pytest.mark.parametrize(
    "bounds, masks",
    [
        (([0, 0], [1, 6], [1, 0]), {}),
        (([0, 0], [1], [1, 1]), {}),
        (([0] * 5, [1] * 5, [1] * 5), {}),
        (([0, 0, 0], [1, 1, 1], [1, 1, 1]), {"ellipsisMask": 3}),
        (([0] * 5, [1] * 5, [1] * 5), {"ellipsisMask": 4}),
    ],
)
def test_slices_that_are_none(bounds, masks):
    net, x = network("float32")
    made = net.like(x, SHAPE)
    inputs = [x.index, *(net.constant(numbers) for numbers in bounds)]
    net.operator("STRIDED_SLICE", inputs, made.index, "StridedSliceOptions", **masks)
    net.outputs = [made.index]
    with pytest.raises(errors.UnsupportedError, match="STRIDED_SLICE"):
        import_model(net.model())


@BOTH
def test_the_number_of_the_least_channel(dtype):
    net, x = network(dtype)
    made = Values(net.tensor("least", SHAPE[:3], "int32"), SHAPE[:3])
    net.operator("ARG_MIN", [x.index, net.constant(3)], made.index, "ArgMinOptions", outputType=schema.TensorType.INT32)
    agree(net, made)


@pytest.mark.parametrize("op", ["ADD_N", "REDUCE_PROD", "SUM"])
def test_sums_and_products(op):
    net, x = network("float32")
    if op == "ADD_N":
        other, made = net.unary("RELU", x), net.values(SHAPE)
        net.operator(op, [x.index, other.index, x.index], made.index, "AddNOptions")
    else:
        made = net.values((1, 1, 1, 4))
        net.operator(op, [x.index, net.constant([1, 2])], made.index, "ReducerOptions", keepDims=True)
    agree(net, made, tolerance=1e-5)


@BOTH
def test_softmax_over_a_part_of_the_channels(dtype):
    net, x = network(dtype)
    parts = net.reshape(x, (1, 48, 2, 2))
    made = net.values(parts.shape, 1 / 256, -128)
    net.operator("SOFTMAX", [parts.index], made.index, "SoftmaxOptions", beta=1.0)
    agree(net, made, off=1)


@BOTH
def test_pixel_shuffles_written_out(dtype):
    net, x = network(dtype)
    split = net.reshape(x, (1, 6, 8, 2, 2, 1))
    turned = net.like(x, (1, 6, 2, 8, 2, 1))
    net.operator("TRANSPOSE", [split.index, net.constant([0, 1, 3, 2, 4, 5])], turned.index, "TransposeOptions")
    assert "depth_to_space" in agree(net, net.reshape(turned, (1, 12, 16, 1)))


@BOTH
@pytest.mark.parametrize("times", [(2, 2), (3, 1), (1, 2)])
def test_rows_and_columns_are_repeated_each_beside_itself(times, dtype):
    """Keras 3 writes its nearest UpSampling2D so."""
    net, x = network(dtype)
    rows = net.like(x, (1, 6, times[0], 8, 4))
    net.operator("TILE", [net.reshape(x, (1, 6, 1, 8, 4)).index, net.constant([1, 1, times[0], 1, 1])], rows.index)
    tall = net.reshape(rows, (1, 6 * times[0], 8, 1, 4))
    columns = net.like(x, (1, 6 * times[0], 8, times[1], 4))
    net.operator("TILE", [tall.index, net.constant([1, 1, 1, times[1], 1])], columns.index)
    made = agree(net, net.reshape(columns, (1, 6 * times[0], 8 * times[1], 4)))
    assert made[1:] == ["resize"] * sum(count > 1 for count in times) or dtype == "int8"


@BOTH
def test_norms_of_groups_of_channels(dtype):
    """Keras' GroupNormalization, whose groups and channels are two axes."""
    net, x = network(dtype)
    split, single = net.reshape(x, (1, 6, 8, 2, 2)), (1, 1, 1, 2, 1)
    mean, below, squares = net.values(single), net.values(split.shape), net.values(split.shape)
    net.operator("MEAN", [split.index, net.constant([1, 2, 4])], mean.index, "ReducerOptions", keepDims=True)
    net.operator("SUB", [split.index, mean.index], below.index, "SubOptions", fusedActivationFunction=0)
    if dtype == "int8":  # squares and roots are computed in real numbers
        agree(net, net.reshape(below, SHAPE), off=1)
        return
    net.operator("SQUARE", [below.index], squares.index, "SquareOptions")
    variance, root, gain = net.values(single), net.values(single), net.values((1, 1, 1, 2, 2))
    net.operator("MEAN", [squares.index, net.constant([1, 2, 4])], variance.index, "ReducerOptions", keepDims=True)
    net.operator("RSQRT", [variance.index], root.index)
    gamma = net.constant(net.rng.standard_normal((1, 1, 1, 2, 2)), "float32")
    net.operator("MUL", [root.index, gamma], gain.index, "MulOptions", fusedActivationFunction=0)
    made = net.values(split.shape)
    net.operator("MUL", [below.index, gain.index], made.index, "MulOptions", fusedActivationFunction=0)
    agree(net, net.reshape(made, SHAPE), tolerance=3e-6)


def test_one_number_times_a_map_is_a_picture_of_the_map():
    """Of Keras' LayerNormalization over a whole picture: which axis is which, a single number does not say."""
    net, x = network("float32")
    mean, wide, made = net.values((1, 1, 1, 1)), net.values(SHAPE), net.values(SHAPE)
    net.operator("MEAN", [x.index, net.constant([1, 2, 3])], mean.index, "ReducerOptions", keepDims=True)
    gamma = net.constant(net.rng.standard_normal(SHAPE), "float32")
    net.operator("MUL", [mean.index, gamma], wide.index, "MulOptions", fusedActivationFunction=0)
    net.operator("MUL", [x.index, wide.index], made.index, "MulOptions", fusedActivationFunction=0)
    agree(net, made)


@BOTH
def test_slopes_of_each_element(dtype):
    """Keras' PReLU has a slope for each, if nobody says otherwise."""
    net, x = network(dtype)
    slopes = net.rng.uniform(-0.5, 1, (6, 8, 4))
    if dtype == "int8":
        stored = net.tensor("slopes", slopes.shape, dtype, np.rint(slopes * 127), 1 / 127, 0)
    else:
        stored = net.constant(slopes, "float32")
    made = net.values(SHAPE)
    net.operator("PRELU", [x.index, stored], made.index)
    agree(net, made, off=1)


@BOTH
def test_a_gate_that_was_a_sequence(dtype):
    """Efficient channel attention: the means of the channels are a sequence, convolved, and a gate again."""
    net, x = network(dtype)
    gate = net.conv(net.reshape(net.mean(x, False), (1, 1, 4, 1)), 1, (1, 3))
    gate, made = net.reshape(gate, (1, 1, 1, 4)), net.values(SHAPE)
    net.operator("MUL", [x.index, gate.index], made.index, "MulOptions", fusedActivationFunction=0)
    agree(net, made)


@BOTH
def test_a_dense_layer_of_whole_rows_or_columns(dtype):
    for turned in (False, True):
        net, x = network(dtype)
        columns, size = net.like(x, (1, 8, 6, 4)), (8, 24) if turned else (6, 32)
        if turned:
            net.operator("TRANSPOSE", [x.index, net.constant([0, 2, 1, 3])], columns.index, "TransposeOptions")
        rows, made = net.reshape(columns if turned else x, size), net.values((size[0], 5))
        weight, bias = net.weights((5, size[1]), 0, x, size[1])
        net.operator("FULLY_CONNECTED", [rows.index, weight, bias], made.index, "FullyConnectedOptions")
        agree(net, made)


@BOTH
@pytest.mark.parametrize("read", [False, True])
def test_pads_of_the_least_number_are_those_of_the_pool(read, dtype):
    """PyTorch's padded max pools, by litert-torch; who else reads the padded picture would read infinity."""
    net, x = network(dtype)
    padded = net.like(x, (1, 9, 10, 4))
    numbers = (-128, x.scale, x.zero_point) if dtype == "int8" else (-np.inf,)
    least = net.tensor("least", (), dtype, *numbers)
    amounts = net.constant([[0, 0], [1, 2], [1, 1], [0, 0]])
    net.operator("PADV2", [x.index, amounts, least], padded.index, "PadV2Options")
    made = net.pool("MAX_POOL_2D", padded, (3, 3), (2, 2), VALID)
    if not read:
        assert set(agree(net, made)) <= {"conv", "max_pool", "convert"}
    elif dtype == "float32":
        net.outputs = [made.index, padded.index]
        with pytest.raises(errors.UnsupportedError, match="pads of -inf"):
            import_model(net.model())
    else:
        agree(net, made, padded)


@BOTH
def test_softmax_over_the_classes_of_each_anchor(dtype):
    """Of a detector with one map."""
    net, x = network(dtype)
    classes = net.reshape(net.conv(x, 6, (1, 1)), (1, 96, 3))
    agree(net, net.softmax(classes), off=1)


def _dealt(net: TfliteBuilder, x: Values, upright: bool, block: int = 4) -> tuple[Values, int]:
    """`x` as a sequence of 48, dealt and made a picture; the constant with the block."""
    deal, length = net.constant([block]), 48 // block + 1
    dealt = net.like(x, (block, length, 4))
    line = net.reshape(x, (1, 48, 4))
    net.operator("SPACE_TO_BATCH_ND", [line.index, deal, net.constant([[block, 0]])], dealt.index)
    return net.reshape(dealt, (block, length, 1, 4) if upright else (block, 1, length, 4)), deal


def _together(net: TfliteBuilder, made: Values, deal: int, block: int = 4) -> Values:
    net.tensors[made.index].shape[0] = block
    line, whole = net.reshape(made, (block, 48 // block, made.shape[3])), net.like(made, (1, 48, made.shape[3]))
    net.operator("BATCH_TO_SPACE_ND", [line.index, deal, net.constant([[0, 0]])], whole.index)
    return whole


@BOTH
@pytest.mark.parametrize("upright", [False, True])
def test_a_sequence_that_is_dealt_and_convolved_as_a_picture(upright, dtype):
    """Keras' Conv1D with gaps, of a batch that is open."""

    net, x = network(dtype)
    picture, deal = _dealt(net, x, upright)
    made = net.conv(picture, 5, (2, 1) if upright else (1, 2), padding=VALID, act=RELU)
    assert agree(net, _together(net, made, deal)).count("conv") == 2


@pytest.mark.parametrize("read", [False, True])
def test_a_sequence_that_is_dealt_once_for_two_convolutions(read):
    """A gated unit of WaveNet; who else reads the dealt sequence would read another one."""
    net, x = network("float32")
    picture, deal = _dealt(net, x, False)
    made = [_together(net, net.conv(picture, 5, (1, 2), padding=VALID), deal) for _ in range(2)]
    if read:
        net.outputs = [net.unary("RELU", picture).index]
        with pytest.raises(errors.UnsupportedError, match="SPACE_TO_BATCH_ND"):
            import_model(net.model())
    else:
        assert agree(net, *made).count("conv") == 3


def test_constants_that_are_filled_and_counted():
    """A grid of positions, which Keras's layers of positions make by RANGE and FILL."""
    net, x = network("float32")
    count, filled = net.tensor("count", (8,), "float32"), net.tensor("filled", (6, 8, 1), "float32")
    scalars = [net.tensor(f"s{i}", (), "float32", np.float32(i)) for i in (0, 8, 1)]
    net.operator("RANGE", scalars, count, "RangeOptions")
    net.operator("FILL", [net.constant([6, 8, 1]), scalars[2]], filled, "FillOptions")
    column = net.tensor("column", (8, 1), "float32")
    net.operator("RESHAPE", [count, net.constant([8, 1])], column, "ReshapeOptions", newShape=[8, 1])
    grid, made = net.tensor("grid", (6, 8, 1), "float32"), net.values(SHAPE)
    net.operator("MUL", [filled, column], grid, "MulOptions", fusedActivationFunction=0)
    net.operator("ADD", [x.index, grid], made.index, "AddOptions", fusedActivationFunction=0)
    agree(net, made)


@pytest.mark.parametrize("op, word", [("CONV_3D", "convolution of volumes"), ("WHILE", "recurrent network")])
def test_what_does_not_run_is_named_as_users_do(op, word):
    net, x = network("float32")
    made = net.like(x, SHAPE)
    net.operator(op, [x.index, x.index, x.index], made.index)
    net.outputs = [made.index]
    with pytest.raises(errors.UnsupportedError, match=word):
        import_model(net.model())


def test_inputs_of_integers_are_no_tensors_to_end_at():
    net = TfliteBuilder(np.random.default_rng(0), "int8")
    x, made = net.input((1, 9)), net.values((1, 3))
    net.operator("TOPK_V2", [x.index, net.constant(3)], made.index, "TopKV2Options")
    net.outputs = [made.index]
    with pytest.raises(errors.UnsupportedError, match="largest of many") as refusal:
        import_model(net.model())
    assert "outputs=" not in str(refusal.value)


def test_values_of_16_bits_are_named():
    net = TfliteBuilder(np.random.default_rng(0), "int8")
    x = net.input((1, 6, 8, 3))
    made = net.conv(x, 4, (3, 3), padding=SAME)
    for index in (x.index, made.index):
        net.tensors[index].type = schema.TensorType.INT16
    net.outputs = [made.index]
    with pytest.raises(errors.UnsupportedError, match="16x8"):
        import_model(net.model())
