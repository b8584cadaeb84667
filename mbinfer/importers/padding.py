"""Padding of any source with other numbers than zeros: mirrored, around to the other side, one number; and less than
none, which cuts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .emitting import SourceNode
from .layout import Tensor
from .moving import channels, cut
from .picking import picked
from .walking import Array, Walk


def cropped(low: Walk, node: SourceNode, x: Tensor, pads: npt.NDArray[np.int64]) -> Tensor:
    """Without what pads below 0 cut; they become 0, in place."""
    negative = [axis for axis in range(len(pads)) if pads[axis].min() < 0]
    for axis in negative:
        before, after = np.minimum(pads[axis], 0).tolist()
        part = "" if axis == negative[-1] and not (pads > 0).any() else f"cut{axis}"
        x = cut(low, node, x, axis, -before, x.shape[axis] + after, 1, part)
    np.maximum(pads, 0, out=pads)
    return x


def mirrored(low: Walk, node: SourceNode, x: Tensor, pads: npt.NDArray[np.int64], mode: str) -> Tensor:
    """`mode`: "reflect" leaves the edge itself out, "symmetric" repeats it, "wrap" begins at the other side."""
    wanted = [axis for axis in range(len(pads)) if pads[axis].any()]
    for axis in wanted:
        length, (before, after) = x.shape[axis], pads[axis].tolist()
        if max(before, after) > length - (mode == "reflect"):
            raise low.unsupported(
                node, f"pads of {before} and {after} of {length} elements, mode {mode}", "pads that the picture fills"
            )
        numbers = np.pad(np.arange(length), (before, after), mode=mode).tolist()  # type: ignore[call-overload]
        x = picked(low, node, x, axis, numbers, "" if axis == wanted[-1] else f"axis{axis}")
    return x


def with_number(low: Walk, node: SourceNode, x: Tensor, pads: tuple[int, int, int, int], number: float) -> Tensor:
    """`number` around height and width: what zeros pad, plus a picture of `number` at the border and zeros within."""
    if not np.isfinite(np.float32(number)):
        raise low.unsupported(node, f"pads of {number}", "pads of numbers")
    channels = x.dims[2]
    ones, nothing = np.ones((1, 1, channels)), np.zeros(channels)
    zeros = low.emit(node, "depthwise", [x.value], "zeros", weight=ones, bias=nothing, pads=pads)
    inside = low.affine(node, x, 0.0, 1.0, part="inside")
    fields = {"weight": -number * ones, "bias": np.full(channels, number), "pads": pads}
    border = low.emit(node, "depthwise", [inside.value], "border", **fields)
    value = low.emit(node, "add", [zeros, border])
    return replace(x, value=value, dims=low.builder.dims(value))


def around_axes(low: Walk, node: SourceNode, x: Tensor, pads: Array) -> Tensor | None:
    """Zeros ``[axis, before and behind]`` around a tensor of any shape; None where one of those axes is not height,
    width or channels alone."""
    wanted = {axis: x.letters_of(axis) or "" for axis in range(len(x.shape)) if pads[axis].any()}
    if not set(wanted.values()) <= {"H", "W", "C"} or pads.min() < 0:
        return None
    around = {letter: pads[axis].tolist() for axis, letter in wanted.items() if letter != "C"}
    for axis in (axis for axis, letter in wanted.items() if letter == "C"):
        before, behind = pads[axis].tolist()
        x = channels(low, node, x, -before, before + x.dims[2] + behind, axis, "channels" if around else "")
    if not around:
        return x
    (top, bottom), (left, right) = (around.get(letter, (0, 0)) for letter in "HW")
    fields: dict[str, Any] = {
        "weight": np.ones((1, 1, x.dims[2])),
        "bias": np.zeros(x.dims[2]),
        "pads": (top, left, bottom, right),
    }
    value = low.emit(node, "depthwise", [x.value], **fields)
    shape = tuple(int(size) + int(sum(pads[i])) if wanted.get(i) in around else size for i, size in enumerate(x.shape))
    return Tensor(value, low.builder.dims(value), x.order, shape)
