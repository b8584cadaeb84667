"""ONNX ops that move numbers: resized pictures, slices, concatenations, blocks, transposed convolutions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...graph import Positions
from ..given import beside
from ..joining import join
from ..layout import Tensor, layouts_of
from ..moving import (
    blocks,
    cut,
    factor_of,
    largest,
    pixels,
    positions,
    shuffled,
    space_to_blocks,
    transposed_convolution,
)
from ..picking import broadcast, gathered, picked, repeated
from ..unfolding import alike
from .lowering import Lowering, lowers
from .reading import OnnxNode
from .windows import spread


@lowers("Concat")
def concat(low: Lowering, node: OnnxNode) -> Tensor:
    axis, found = node.attrs["axis"], [low.env.get(name) for name in node.inputs]
    first = next((x for x in found if isinstance(x, Tensor)), None)
    tensors = [
        beside(low, node, first, x, axis, f"{i}") if isinstance(x, np.ndarray) and first else low.tensor(node, i)
        for i, x in enumerate(found)
    ]
    return join(low, node, alike(low, node, tensors, axis), axis)


@lowers("Gather")
def gather(low: Lowering, node: OnnxNode) -> Tensor:
    return gathered(low, node, low.tensor(node), node.attrs.get("axis", 0), low.constant(node, 1))


@lowers("Tile", "Expand")
def tile(low: Lowering, node: OnnxNode) -> Tensor:
    x, numbers = low.tensor(node), low.option(node, "repeats" if node.op == "Tile" else "shape", 1)
    return repeated(low, node, x, numbers) if node.op == "Tile" else broadcast(low, node, x, numbers)


@lowers("ArgMax", "ArgMin")
def argmax(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    if node.op == "ArgMin":
        x = low.affine(node, x, -1.0, part="negative")
    if node.attrs.get("select_last_index", 0):
        raise low.unsupported(node, "the last of several largest", "the first of them")
    return largest(low, node, x, node.attrs.get("axis", 0) % len(x.shape), bool(node.attrs.get("keepdims", 1)))


@lowers("Resize", "Upsample")
def resize(low: Lowering, node: OnnxNode) -> Tensor:
    x, old = low.tensor(node), node.op == "Upsample" or low.opset < 11
    rank = len(x.shape)
    layout = next(iter(layouts_of(x)), None)
    mode = node.attrs.get("mode", "nearest")
    ways = "asymmetric" if old else node.attrs.get("coordinate_transformation_mode", "half_pixel")
    rounding = "" if mode == "linear" else "floor" if old else node.attrs.get("nearest_mode", "round_prefer_floor")
    sizes, size, found = _sizes(low, node, x, old), [], []
    for axis in [layout.find(letter) for letter in "HW"] if layout else ():
        (made, step), length = (sizes[axis], x.shape[axis]) if axis >= 0 else ((1, Fraction(1)), 1)
        way = ways if ways != "half_pixel_symmetric" or step * made == length else ""
        if old and rounding and step > 1 and step.denominator > 1:
            way = ""  # PyTorch takes the position before, onnxruntime the one behind
        size.append(made)
        position = positions(step, length, made, way.replace("_symmetric", ""), rounding)
        changes = made != length or step != 1
        found.append(position if changes or _stays(position, length, rounding) else None)
    kept = all(sizes[i] == (x.shape[i], Fraction(1)) for i in range(rank) if layout is None or layout[i] not in "HW")
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    smooth = node.attrs.get("antialias", 0) and any(made < x.size(axis) for made, axis in zip(size, "HW"))
    plain = mode in ("nearest", "linear") and kept and policy == "stretch" and not smooth
    if not plain or len(found) != 2 or found[0] is None or found[1] is None:
        raise low.unsupported(
            node,
            f"mode {mode}, {ways}{', antialias' if smooth else ''}, of {x.shape} to {size}",
            "nearest and linear, over height and width; before opset 11 nearest only to whole factors where it shrinks",
        )
    resized = pixels(low, node, x, found[0], found[1], (size[0], size[1]), 2 if mode == "linear" else 1)
    # Height and width of 1 have no place in the order of x, and have one once they are longer.
    order = "".join(axis for axis in layout or "" if axis != "N" and resized.size(axis) > 1)
    return replace(resized, order=order, shape=tuple(length for length, _ in sizes))


def _stays(position: Positions | None, length: int, rounding: str) -> bool:
    """Whether an axis that keeps its size stays as it is: onnxruntime leaves it alone, the formulas may shift it."""
    if position is None or length == 1:
        return True
    numerator, denominator, term = position
    return numerator == denominator and 0 <= term < (denominator if rounding else 1)


def _sizes(low: Lowering, node: OnnxNode, x: Tensor, old: bool) -> list[tuple[int, Fraction]]:
    """How long each axis becomes, and how far an output is from the next one in the input."""
    rank = len(x.shape)
    axes = [axis % rank for axis in node.attrs.get("axes", range(rank))]
    found = [(length, Fraction(1)) for length in x.shape]
    sizes = None if old else low.constant(node, 3)
    if sizes is not None and np.size(sizes):
        for axis, size in zip(axes, np.ravel(sizes)):
            found[axis] = int(size), Fraction(x.shape[axis], int(size))
        return found
    scales = node.attrs["scales"] if "scales" in node.attrs else low.constant(node, 1 if old else 2)
    for axis, scale in zip(axes, np.ravel(scales)):
        found[axis] = int(np.floor(np.float32(x.shape[axis]) * np.float32(scale))), factor_of(float(scale))
    return found


@lowers("ConvTranspose")
def conv_transpose(low: Lowering, node: OnnxNode) -> Tensor:
    x, weight, bias = low.image(node), low.constant(node, 1), low.constant(node, 2)
    rank, groups = len(x.shape) - 2, node.attrs.get("group", 1)
    if weight.ndim != len(x.shape) or weight.shape[0] != x.dims[2] or weight.shape[0] % groups:
        raise low.unsupported(
            node, f"weight {weight.shape}, {groups} groups of {x.shape}", "weights [channels, out / groups, kh, kw]"
        )
    auto = node.attrs.get("auto_pad", "NOTSET")
    pads = tuple(node.attrs.get("pads", (0,) * 2 * rank)) if auto == "NOTSET" else (0,) * 2 * rank
    given = (weight.shape[2:], node.attrs.get("strides", (1,) * rank), node.attrs.get("dilations", (1,) * rank))
    taps, stride, dilation = (spread(x, tuple(numbers), 1) for numbers in given)
    pads, extra = (spread(x, tuple(n), 0) for n in (pads, node.attrs.get("output_padding", (0,) * rank)))
    weight = _dilated(weight.reshape(*weight.shape[:2], *taps), dilation)
    kernel = weight.shape[2:]
    full = [stride[i] * (x.dims[i] - 1) + extra[i] + kernel[i] for i in (0, 1)]
    size = [full[i] - pads[i] - pads[i + 2] for i in (0, 1)]
    if "output_shape" in node.attrs or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(node.attrs.get("output_shape", ()))[-rank:]
        size = [*spread(x, wanted, 1)] if wanted else [x.dims[i] * stride[i] for i in (0, 1)]
        total = [full[i] - size[i] for i in (0, 1)]
        if min(total) < 0:
            raise low.unsupported(
                node, f"output_shape {size}", f"at most {full}, which is as far as the kernel reaches"
            )
        before = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        pads = (*before, *(t - b for t, b in zip(total, before)))
    made = (1, weight.shape[1] * groups, *(size if rank == 2 else [size[0] * size[1]]))
    whole, top, left, bottom, right = (size[0], size[1]), *pads
    return transposed_convolution(
        low, node, x, weight.transpose(0, 2, 3, 1), bias, stride, (top, left, bottom, right), whole, groups, "CHW", made
    )


def _dilated(weight: np.ndarray, dilation: tuple[int, ...]) -> np.ndarray:
    """With zeros between its taps."""
    if dilation == (1, 1):
        return weight
    size = [dilation[i] * (weight.shape[2 + i] - 1) + 1 for i in (0, 1)]
    wide = np.zeros((*weight.shape[:2], *size), weight.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


@lowers("DepthToSpace")
def depth_to_space(low: Lowering, node: OnnxNode) -> Tensor:
    x, size = low.square_image(node), node.attrs["blocksize"]
    made = x.dims[2] // size**2
    if node.attrs.get("mode", "DCR") == "CRD":
        x = shuffled(low, node, x, made, "order")
    return blocks(low, node, x, (size, size), "CHW", (1, made, x.dims[0] * size, x.dims[1] * size))


@lowers("SpaceToDepth")
def space_to_depth(low: Lowering, node: OnnxNode) -> Tensor:
    x, size = low.square_image(node), node.attrs["blocksize"]
    if node.attrs.get("mode", "DCR") != "DCR" or x.dims[0] % size or x.dims[1] % size:
        raise low.unsupported(
            node,
            f"blocks of {size} of {x.shape}, mode {node.attrs.get('mode', 'DCR')}",
            "DCR, pictures that blocks fill",
        )
    return space_to_blocks(low, node, x, size, 1)


@lowers("Slice")
def slice_(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    rank = len(x.shape)
    starts, ends = low.option(node, "starts", 1), low.option(node, "ends", 2)
    axes, steps = low.option(node, "axes", 3), low.option(node, "steps", 4)
    wanted = list(zip(axes or range(len(starts)), starts, ends, steps or [1] * len(starts)))
    for count, (axis, start, end, step) in enumerate(wanted, 1):
        begin, stop, step = slice(start, end, step).indices(x.shape[axis % rank])
        part = "" if count == len(wanted) else f"{count}"
        if step < 0:
            x = picked(low, node, x, axis % rank, range(begin, stop, step), part)
        else:
            x = cut(low, node, x, axis % rank, begin, stop, step, part)
    return x


@lowers("Split", sees_all_outputs=True)
def split(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    axis = node.attrs.get("axis", 0) % len(x.shape)
    count = len(node.outputs)
    each = -(-x.shape[axis] // count)
    sizes = low.option(node, "split", 1) or [min(each, x.shape[axis] - i * each) for i in range(count)]
    begins = [0, *np.cumsum(sizes).tolist()]
    if begins[-1] != x.shape[axis] or len(sizes) != count:
        raise low.unsupported(node, f"parts of {sizes} of {x.shape}", "parts that are the whole axis")
    parts = []
    for i, name in enumerate(node.outputs):
        part = "" if not i else f"part{i}"
        parts.append(cut(low, node, x, axis, begins[i], begins[i + 1], 1, part) if low.is_read(name) or not i else x)
        if i and name:
            low.env[name] = parts[i]
    return parts[0]
