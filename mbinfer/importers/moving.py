"""Operators of any source that move numbers: resized pictures, slices, shuffles, concatenations, blocks of pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..check_types import MAX_TOLD_APART
from ..graph import Positions, Type
from .emitting import SourceNode
from .joining import join
from .layout import AXES, Tensor, order_of, split_of_channels
from .walking import Array, Walk

LARGEST_FRACTION = 1 << 12  # numerator and denominator of a factor that a source gives as a float


def factor_of(scale: float) -> Fraction:
    """An input position for each output position, of a picture made `scale` times as large."""
    return 1 / Fraction(scale).limit_denominator(LARGEST_FRACTION)


def positions(step: Fraction, size: int, made: int, coordinates: str, rounding: str = "") -> Positions | None:
    """Where the `made` outputs along an axis lie in an input of `size`, in ONNX's words; None for other ways.

    `rounding` says how a position becomes the nearest whole one; without it the numbers on both sides are weighed.
    """
    n, d = step.numerator, step.denominator
    if coordinates == "align_corners":
        numerator, denominator, term = (size - 1, made - 1, 0) if made > 1 else (0, 1, 0)
    elif coordinates == "asymmetric":
        numerator, denominator, term = n, d, 0
    elif coordinates == "pytorch_half_pixel" and made == 1:
        numerator, denominator, term = 0, 1, 0
    elif coordinates in ("half_pixel", "pytorch_half_pixel"):
        numerator, denominator, term = 2 * n, 2 * d, n - d
    elif coordinates == "tf_half_pixel_for_nn":
        numerator, denominator, term = 2 * n, 2 * d, n
    else:
        return None
    if rounding in ("", "floor"):
        return numerator, denominator, term
    if rounding == "ceil":
        return numerator, denominator, term + denominator - 1
    if rounding in ("round_prefer_floor", "round_prefer_ceil"):
        up = denominator if rounding == "round_prefer_ceil" else denominator - 1
        return 2 * numerator, 2 * denominator, 2 * term + up
    return None


def pixels(
    low: Walk,
    node: SourceNode,
    x: Tensor,
    rows: Positions,
    columns: Positions,
    size: tuple[int, int],
    taps: int = 1,
    part: str = "",
) -> Tensor:
    """The picture of `size` that lies at these positions of `x`; of two taps weighed between its numbers."""
    kernel, kind = (taps, taps), low.graph.types.get(x.value)
    if kind is not None and taps > 1:  # by way of real numbers
        real = low.emit(node, "convert", [x.value], f"{part}real")
        moved = pixels(low, node, replace(x, value=real), rows, columns, size, taps, f"{part}moved")
        value = low.emit(node, "convert", [moved.value], part)
        low.graph.types[value] = kind
        return replace(moved, value=value)
    value = _moved(low, node, "resize", x, part, kernel=kernel, rows=rows, columns=columns, size=size)
    dims = low.builder.dims(value)
    groups = x.groups() or [""] * len(x.shape)  # whoever has another shape says it
    shape = tuple(dims[AXES.index(group)] if len(group) == 1 else length for group, length in zip(groups, x.shape))
    return Tensor(value, dims, "".join(axis for axis in x.order if dims[AXES.index(axis)] > 1), shape)


def channels(low: Walk, node: SourceNode, x: Tensor, first: int, count: int, axis: int, part: str = "") -> Tensor:
    """`count` channels from `first` on, zeros where `x` has none; `axis` of its shape is that of the channels."""
    value = _moved(low, node, "slice", x, part, channels=count, first_channel=first)
    order = x.order if "C" in x.order else _with_channels(x, axis)
    order = order if count > 1 else order.replace("C", "")
    return Tensor(value, low.builder.dims(value), order, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _moved(low: Walk, node: SourceNode, op: str, x: Tensor, part: str, **fields: Any) -> str:
    """A node whose output has the type of its input."""
    value = low.emit(node, op, [x.value], part, **fields)
    if x.value in low.graph.types:
        low.graph.types[value] = low.graph.types[x.value]
    return value


def cut(low: Walk, node: SourceNode, x: Tensor, axis: int, begin: int, end: int, step: int, part: str = "") -> Tensor:
    """Every `step`-th element from `begin` up to `end` of an axis that is height, width or channels."""
    made = max(0, -(-(end - begin) // step))
    letter = x.letters_of(axis)
    if begin == 0 and made == x.shape[axis] and (step == 1 or made == 1):
        return x
    if letter is None:
        rows = framed(low, node, x, axis, f"{part}/" if part else "")
        if rows is not x:
            return cut(low, node, rows, axis, begin, end, step, part)
    if letter == "C" and step > 1:  # every step-th channel, put first
        each = -(-x.dims[2] // step)
        if x.dims[2] % step:
            x = channels(low, node, x, 0, each * step, axis, f"{part}/filled" if part else "filled")
        dealt = shuffled(low, node, x, each, f"{part}/dealt" if part else "dealt")
        return channels(low, node, dealt, begin % step * each + begin // step, made, axis, part)
    if letter is None or len(letter) != 1 or step < 1 or not made:
        raise low.unsupported(
            node,
            f"elements {begin} to {end} in steps of {step} of axis {axis} of {x.shape}",
            "rows, columns, and channels that follow one another",
        )
    if letter == "C":
        return channels(low, node, x, begin, made, axis, part)
    shape = (*x.shape[:axis], made, *x.shape[axis + 1 :])
    here, all_of = (step, 1, begin), (1, 1, 0)
    height, width, _ = x.dims
    size = (made, width) if letter == "H" else (height, made)
    ways = (here, all_of) if letter == "H" else (all_of, here)
    return replace(pixels(low, node, x, *ways, size, part=part), shape=shape)


def framed(low: Walk, node: SourceNode, x: Tensor, axis: int, part: str) -> Tensor:
    """A vector two of whose dimensions share the channels, `axis` being one of them, such as the frames of a sound: a
    row for each element of the first one. `x` itself where it is none."""
    split = split_of_channels(x)
    if split is None or axis not in split or x.dims[:2] != (1, 1):
        return x
    return blocks(low, node, x, (x.shape[split[0]], 1), AXES, x.shape, f"{part}frames")


def shuffled(low: Walk, node: SourceNode, x: Tensor, groups: int, part: str = "") -> Tensor:
    """Output channel c is channel c // groups of group c % groups. Two that undo each other are none."""
    before = low.writer.get(x.value)
    if before is not None and before.op == "shuffle" and before.groups * groups == x.dims[2]:
        return replace(x, value=before.inputs[0])
    return x if groups in (1, x.dims[2]) else replace(x, value=_moved(low, node, "shuffle", x, part, groups=groups))


def swapped_groups(x: Tensor, perm: Sequence[int]) -> int:
    """The groups of channels that a transpose of `x` swaps with the channels of a group; 0 where it does not."""
    sizes = [(i, size) for i, size in enumerate(x.shape) if size > 1]
    moved = [i for i in perm if x.shape[i] > 1]
    for at in range(len(sizes) - 1):
        (i, groups), (k, each) = sizes[at], sizes[at + 1]
        expected = [j for j, _ in sizes]
        expected[at : at + 2] = [k, i]
        before = math.prod(size for _, size in sizes[:at])
        position = x.order.find("C")
        outer = math.prod(x.size(axis) for axis in x.order[:position]) if position >= 0 else -1
        if moved == expected and groups * each == x.dims[2] and before == outer:
            return groups
    return 0


def largest(low: Walk, node: SourceNode, x: Tensor, axis: int, keeps: bool, part: str = "") -> Tensor:
    """The number of the largest channel of each pixel, as a byte where that tells them apart; `axis` is the channels'.

    Its value has a pixel for each row, and in that a number for each of the row's pixels.
    """
    groups, channels = x.groups(), x.dims[2]
    of_pixels = x.order.replace("C", "") == order_of("HW", x.dims)
    if groups is None or groups[axis] != ("C" if channels > 1 else "") or not of_pixels:
        raise low.unsupported(node, f"along axis {axis} of {x.shape}", "over the channels of a picture")
    value = low.emit(node, "argmax", [x.value], part)
    if channels <= MAX_TOLD_APART:
        low.graph.types[value] = Type("uint8", 1.0, 0)
    shape = (*x.shape[:axis], *((1,) if keeps else ()), *x.shape[axis + 1 :])
    return Tensor(value, low.builder.dims(value), order_of("HWC", low.builder.dims(value)), shape)


def blocks(
    low: Walk, node: SourceNode, x: Tensor, size: tuple[int, int], axes: str, shape: tuple[int, ...], part: str = ""
) -> Tensor:
    """Each pixel is a block of `size` pixels, row by row, whose channels follow one another; `axes` of the result."""
    value = _moved(low, node, "depth_to_space", x, part, rows=(1, size[0], 0), columns=(1, size[1], 0))
    dims = low.builder.dims(value)
    return Tensor(value, dims, order_of(axes, dims), shape)


def space_to_blocks(low: Walk, node: SourceNode, x: Tensor, size: int, axis: int) -> Tensor:
    """Each block of pixels as one pixel, the channels of its pixels following one another; `axis` has the channels."""
    made = x.dims[0] // size, x.dims[1] // size
    parts = [
        pixels(low, node, x, (size, 1, y), (size, 1, z), made, part=f"{y}{z}") for y in range(size) for z in range(size)
    ]
    return join(low, node, parts, axis)


def transposed_convolution(
    low: Walk,
    node: SourceNode,
    x: Tensor,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    size: tuple[int, int],
    groups: int,
    axes: str,
    shape: tuple[int, ...],
) -> Tensor:
    """A convolution that makes a block of `stride` pixels for each pixel, and those blocks as a picture of `size`.

    `weight` is ``[in, kh, kw, out / groups]``. Output row o reads input row i where ``o + pad - stride * i`` is
    a row of the kernel: for the rows ``stride * q + p`` of all blocks q that is a convolution of its own for each p.
    """
    spans = [_span(weight.shape[1 + i], stride[i], pads[i]) for i in (0, 1)]
    inputs, _, _, each = weight.shape
    blocks_made = [-(-size[i] // stride[i]) for i in (0, 1)]
    before = [last for _, last in spans]
    kernel = (spans[0][1] - spans[0][0] + 1, spans[1][1] - spans[1][0] + 1)
    after = [blocks_made[i] - x.dims[i] - before[i] + kernel[i] - 1 for i in (0, 1)]
    if min(*before, *after) < 0:
        raise low.unsupported(node, f"a kernel of {weight.shape[1:3]}, stride {stride}, pads {pads}", "less padding")
    per_group = inputs // groups
    parts = np.zeros((*stride, groups, each, *kernel, per_group), weight.dtype)
    by_group = weight.reshape(groups, per_group, *weight.shape[1:])
    for py, px, j, i in np.ndindex(*stride, *kernel):
        ky, kx = py + pads[0] + stride[0] * (before[0] - j), px + pads[1] + stride[1] * (before[1] - i)
        if 0 <= ky < weight.shape[1] and 0 <= kx < weight.shape[2]:
            parts[py, px, :, :, j, i] = by_group[:, :, ky, kx].transpose(0, 2, 1)
    area = stride[0] * stride[1]
    # Groups come first in a convolution's channels, blocks in those that are spread.
    wide = parts.transpose(2, 0, 1, 3, 4, 5, 6).reshape(groups * area * each, *kernel, per_group)
    wide_bias = None if bias is None else np.tile(bias.reshape(groups, 1, each), (1, area, 1)).ravel()
    fields = {"kernel": kernel, "pads": (before[0], before[1], after[0], after[1]), "weight": wide, "bias": wide_bias}
    if groups == inputs == len(wide):
        fields["weight"] = wide[..., 0].transpose(1, 2, 0)
        value = low.emit(node, "depthwise", [x.value], "blocks", **fields)
    else:
        value = low.emit(node, "conv", [x.value], "blocks", groups=groups, **fields)
    made = replace(x, value=value, dims=low.builder.dims(value), order=axes)
    mixed = groups > 1 and area > 1
    if mixed:  # [group, block, channel] to [block, channel, group]
        made = shuffled(low, node, made, groups, "order")
    size_made = (blocks_made[0] * stride[0], blocks_made[1] * stride[1])
    whole, ordered = size_made == size, not mixed or each == 1
    spread = blocks(low, node, made, stride, axes, shape, part="" if whole and ordered else "whole")
    if not whole:
        value = low.emit(
            node, "resize", [spread.value], "" if ordered else "cut", rows=(1, 1, 0), columns=(1, 1, 0), size=size
        )
        dims = low.builder.dims(value)
        spread = replace(spread, value=value, dims=dims, order=order_of(axes, dims))
    return spread if ordered else shuffled(low, node, spread, each)


def _span(kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """How far the inputs of the rows of a block lie before it, at least and at most."""
    least = min(-((p + pad) // stride) for p in range(stride))
    most = max((kernel - 1 - p - pad) // stride for p in range(stride))
    return least, most


def _with_channels(x: Tensor, axis: int) -> str:
    """The order of axes once `axis` of the shape holds channels."""
    before, at = math.prod(x.shape[:axis]), 0
    while math.prod(x.size(letter) for letter in x.order[:at]) < before:
        at += 1
    return x.order[:at].replace("C", "") + "C" + x.order[at:].replace("C", "")
