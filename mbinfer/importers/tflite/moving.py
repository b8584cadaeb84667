"""Operators of TensorFlow Lite that move numbers: resized pictures, slices, splits, blocks, transposed convolutions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..emitting import SourceNode
from ..layout import Tensor, nhwc
from ..moving import blocks, cut, largest, pixels, positions, space_to_blocks, transposed_convolution
from ..picking import picked
from ..walking import Array
from .lowering import Lowering, lowers
from .pointwise import negative
from .spatial import same_type
from .weights import reals_of


@lowers("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(low: Lowering, node: SourceNode) -> Tensor:
    """Bytes as XNNPACK weighs them, by multiples of 1/2048, halves being rounded up."""
    x, size = low.image(node), low.numbers(node, 1)
    corners, middles = node.attrs["align_corners"], node.attrs["half_pixel_centers"]
    nearest = node.op == "RESIZE_NEAREST_NEIGHBOR"
    if len(size) != 2 or min(size) < 1 or (corners and middles):
        raise low.unsupported(node, f"to {size}, corners and middles of pixels aligned", "one of the two")
    half = "tf_half_pixel_for_nn" if nearest else "half_pixel"
    way = "align_corners" if corners else half if middles else "asymmetric"
    rounding = "" if not nearest else "round_prefer_ceil" if corners else "floor"
    rows, columns = (positions(Fraction(old, new), old, new, way, rounding) for old, new in zip(x.dims, size))
    assert rows is not None and columns is not None  # of these ways there are positions
    taps, (height, width) = 1 if nearest else 2, size
    if low.type_of(node, node.inputs[0]) is None:
        made = pixels(low, node, x, rows, columns, (height, width), taps)
        return nhwc(made.value, made.dims)  # a picture of one pixel names no axis that grows
    same_type(low, node)
    halves = "even" if nearest else "up"
    fields = {"kernel": (taps, taps), "rows": rows, "columns": columns, "size": (height, width), "halves": halves}
    return low.picture(node, "resize", x, **fields)


@lowers("ARG_MIN")
def argmin(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node)
    if low.type_of(node, node.inputs[0]) is None:
        x = low.affine(node, x, -1.0, part="negative")
    else:
        x = replace(x, value=negative(low, node, x.value))
    return largest(low, node, x, low.number(node, 1) % len(x.shape), keeps=False)


@lowers("ARG_MAX")
def argmax(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node)
    return largest(low, node, x, low.number(node, 1) % len(x.shape), keeps=False)


@lowers("DEPTH_TO_SPACE")
def depth_to_space(low: Lowering, node: SourceNode) -> Tensor:
    x, size = low.image(node), node.attrs["block_size"]
    if size < 1 or x.dims[2] % size**2:
        raise low.unsupported(node, f"blocks of {size} of {x.dims[2]} channels", "channels that fill the blocks")
    height, width, channels = x.dims
    return blocks(low, node, x, (size, size), "HWC", (1, height * size, width * size, channels // size**2))


@lowers("SPACE_TO_DEPTH")
def space_to_depth(low: Lowering, node: SourceNode) -> Tensor:
    x, size = low.image(node), node.attrs["block_size"]
    if size < 1 or x.dims[0] % size or x.dims[1] % size:
        raise low.unsupported(node, f"blocks of {size} of {x.dims}", "pictures that blocks fill")
    return space_to_blocks(low, node, x, size, 3)


@lowers("TRANSPOSE_CONV", reals=True)
def transpose_conv(low: Lowering, node: SourceNode) -> Tensor:
    x, shape = low.tensor(node, 2), tuple(low.numbers(node, 0))
    return _transposed(low, node, x, reals_of(low, node, 1), low.constant(node, 3), shape, node.attrs["padding"] == 0)


@lowers("custom operator Convolution2DTransposeBias")
def transpose_conv_bias(low: Lowering, node: SourceNode) -> Tensor:
    """MediaPipe's own: as large as its window makes it, "SAME" being 1 and "VALID" 2."""
    x, weight = low.tensor(node), low.constant(node, 1)
    stride, padding = (node.attrs["stride_h"], node.attrs["stride_w"]), node.attrs["padding"]
    if padding not in (1, 2) or weight.ndim != 4:
        raise low.unsupported(node, f"padding {padding}, weights {weight.shape}", "padding 1 or 2, four axes")
    height, width = (
        size * step + (max(k - step, 0) if padding == 2 else 0)
        for size, step, k in zip(x.dims, stride, weight.shape[1:3])
    )
    shape = (1, height, width, len(weight))
    return _transposed(low, node, x, weight, low.constant(node, 2), shape, padding == 1)


def _transposed(
    low: Lowering,
    node: SourceNode,
    x: Tensor,
    weight: Array,
    bias: Array | None,
    shape: tuple[int, ...],
    same: bool,
) -> Tensor:
    if weight.dtype.kind != "f" or not x.shows("NHWC") or len(shape) != 4 or weight.shape[3:] != (x.dims[2],):
        raise low.unsupported(node, f"weights {weight.shape} of {weight.dtype} on {x.shape}", "real weights, pictures")
    stride, size = (node.attrs["stride_h"], node.attrs["stride_w"]), (shape[1], shape[2])
    if min(stride) < 1:
        raise low.unsupported(node, f"stride {stride}", "strides from 1 on")
    spare = [max(0, (x.dims[i] - 1) * stride[i] + weight.shape[1 + i] - size[i]) for i in (0, 1)]
    before = [total // 2 if same else 0 for total in spare]
    pads = (before[0], before[1], spare[0] - before[0], spare[1] - before[1])
    result = transposed_convolution(
        low, node, x, weight.transpose(3, 1, 2, 0), bias, stride, pads, size, 1, "HWC", shape
    )
    fields = low.activation(node)
    return low.affine(node, result, **fields) if fields else result


@lowers("SLICE")
def slice_(low: Lowering, node: SourceNode) -> Tensor:
    x, begins, sizes = low.tensor(node), *(low.numbers(node, i) for i in (1, 2))
    ends = [length if size == -1 else begin + size for begin, size, length in zip(begins, sizes, x.shape)]
    return _cut(low, node, x, begins, ends, [1] * len(begins))


@lowers("STRIDED_SLICE")
def strided_slice(low: Lowering, node: SourceNode) -> Tensor:
    x, attrs = low.tensor(node), node.attrs
    begins, ends, steps = (low.numbers(node, i) for i in (1, 2, 3))
    if attrs["offset"]:
        raise low.unsupported(node, "ends that are lengths (offset)", "ends that are positions")
    if not len(begins) == len(ends) == len(steps) or 0 in steps:
        raise low.unsupported(node, f"from {begins} to {ends} in steps of {steps}", "one of each, steps other than 0")
    bounds: list[tuple[int, int, int]] = []  # of each axis of x
    kept: list[int | None] = []  # the axes of the result: those of x, None for one that appears
    for i in _places(low, node, len(begins), len(x.shape)):
        axis = len(bounds)
        if i == NEW:
            kept.append(None)
        elif i is not None and attrs["shrink_axis_mask"] >> i & 1:  # one element, whatever the end
            first = 0 if attrs["begin_mask"] >> i & 1 else begins[i] % x.shape[axis]
            bounds.append((first, first + 1, 1))
        else:
            kept.append(axis)
            first = None if i is None or attrs["begin_mask"] >> i & 1 else begins[i]
            last = None if i is None or attrs["end_mask"] >> i & 1 else ends[i]
            bounds.append(slice(first, last, 1 if i is None else steps[i]).indices(x.shape[axis]))
    made = _cut(low, node, x, *([bound[k] for bound in bounds] for k in range(3)))
    return replace(made, shape=tuple(1 if axis is None else made.shape[axis] for axis in kept))


NEW = -1


def _places(low: Lowering, node: SourceNode, count: int, rank: int) -> list[int | None]:
    """What each axis of a STRIDED_SLICE has of its `count` bounds: a number, None where it is whole, or NEW."""
    ellipsis, new = node.attrs["ellipsis_mask"], node.attrs["new_axis_mask"]
    taken = [i for i in range(count) if not (ellipsis | new) >> i & 1]
    if len(taken) + bin(ellipsis).count("1") > rank or bin(ellipsis).count("1") > 1:  # LiteRT leaves one axis for it
        raise low.unsupported(node, f"{count} bounds of {rank} axes", "one for each axis, an ellipsis for those left")
    places: list[int | None] = []
    whole: list[int | None] = [None] * (rank - len(taken))
    for i in range(count):
        places += whole if ellipsis >> i & 1 else [NEW] if new >> i & 1 else [i]
    return places if ellipsis else places + whole


@lowers("REVERSE_V2")
def reverse(low: Lowering, node: SourceNode) -> Tensor:
    x, axes = low.tensor(node), low.numbers(node, 1)
    for axis in axes:
        numbers = [*range(x.shape[axis])][::-1]
        x = picked(low, node, x, axis % len(x.shape), numbers, "" if axis == axes[-1] else f"axis{axis}")
    return x


def _cut(low: Lowering, node: SourceNode, x: Tensor, begins: list[int], ends: list[int], steps: list[int]) -> Tensor:
    wanted = [i for i, size in enumerate(x.shape) if (begins[i], ends[i], steps[i]) != (0, size, 1)]
    for i in wanted:
        part = "" if i == wanted[-1] else f"axis{i}"
        if steps[i] < 0:
            x = picked(low, node, x, i, range(begins[i], ends[i], steps[i]), part)
        else:
            x = cut(low, node, x, i, begins[i], min(ends[i], x.shape[i]), steps[i], part)
    return x


@lowers("SPLIT", "SPLIT_V", many=True)
def split(low: Lowering, node: SourceNode) -> Tensor:
    """Every output but the first is noted here; the walk notes the first one."""
    x = low.tensor(node, 1 if node.op == "SPLIT" else 0)
    axis = low.number(node, 0 if node.op == "SPLIT" else 2) % len(x.shape)
    count, length = len(node.outputs), x.shape[axis]
    sizes = [length // count] * count if node.op == "SPLIT" else low.numbers(node, 1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = length - sum(sizes) - 1
    if len(sizes) != count or sum(sizes) != length or min(sizes) < 1:
        raise low.unsupported(node, f"parts of {sizes} of {x.shape}", "parts that are the whole axis")
    begins = np.cumsum([0, *sizes]).tolist()
    parts = [cut(low, node, x, axis, begins[i], begins[i + 1], 1, f"part{i}" if i else "") for i in range(count)]
    low.env.update(zip(node.outputs[1:], parts[1:]))
    return parts[0]
