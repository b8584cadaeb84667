"""What an ONNX tensor shows of an NHWC value: the order of its axes and how they are grouped into dimensions.

A value has the axes H, W, C. Its ONNX tensor has the same elements, listed in some order of those axes, under some
shape. So Transpose changes `order`, Reshape and its kin change `shape`, and neither costs an operation:

    value (7, 7, 64)    NCHW  (1, 64, 7, 7)  order "CHW"
                        NHWC  (1, 7, 7, 64)  order "HWC"
                        flat  (1, 3136)      order "CHW" or "HWC"

`order` leaves out axes of size 1: they do not change the order of elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

AXES = "HWC"


@dataclass(frozen=True)
class Tensor:
    value: str  # name in the Graph
    dims: tuple[int, int, int]  # height, width, channels of that value
    order: str  # axes larger than 1, as the ONNX tensor lists them
    shape: tuple[int, ...]  # of the ONNX tensor

    def size(self, axis: str) -> int:
        return self.dims[AXES.index(axis)]

    def groups(self) -> list[str] | None:
        """The axes that each dimension of `shape` holds ("" for size 1), or None where a dimension splits an axis."""
        rest, groups = self.order, []
        for size in self.shape:
            group = ""
            while math.prod(self.size(axis) for axis in group) < size and rest:
                group, rest = group + rest[0], rest[1:]
            if math.prod(self.size(axis) for axis in group) != size:
                return None
            groups.append(group)
        return groups

    def shows(self, layout: str) -> bool:
        """Whether this is a tensor of `layout`, "NCHW" or "NHWC": each dimension holds its own axis or has size 1."""
        groups = self.groups()
        return (
            groups is not None
            and len(groups) == len(layout)
            and all(group in ("", axis) for group, axis in zip(groups, layout))
        )

    def sequence_axis(self) -> str:
        """Along which axis of its value a tensor (1, channels, length) runs; "" for any other tensor."""
        groups = self.groups()
        if groups is None or len(groups) != 3 or groups[1] not in ("", "C") or self.size("C") != self.shape[1]:
            return ""
        return groups[2] if groups[2] in ("H", "W") else "H" if groups[2] == "" else ""

    def is_image(self) -> bool:
        """Whether it is an NCHW picture or a sequence."""
        return self.shows("NCHW") if len(self.shape) == 4 else bool(self.sequence_axis())

    def is_picture(self) -> bool:
        """Whether it has four dimensions, each of one axis at most, in the order of NCHW or of NHWC."""
        groups = self.groups()
        ordered = self.order in (order_of("CHW", self.dims), order_of(AXES, self.dims))
        return len(self.shape) == 4 and ordered and groups is not None and all(len(group) <= 1 for group in groups)

    def can_end(self) -> bool:
        """Whether it can be an output: a picture, or numbers in the order of the value."""
        return self.is_picture() or self.order == "".join(axis for axis in AXES if axis in self.order)

    def letters_of(self, axis: int) -> str | None:
        """The axes that one dimension of `shape` holds, whatever the others split; None where it splits one."""
        before, at = math.prod(self.shape[:axis]), 0
        while math.prod(self.size(letter) for letter in self.order[:at]) < before:
            at += 1
        if math.prod(self.size(letter) for letter in self.order[:at]) != before:
            return None
        group = ""
        for letter in self.order[at:]:
            if math.prod(self.size(name) for name in group) == self.shape[axis]:
                break
            group += letter
        return group if math.prod(self.size(name) for name in group) == self.shape[axis] else None

    def transposed(self, perm: Sequence[int]) -> Tensor | None:
        """After a Transpose by `perm`, or None where that would move part of an axis."""
        shape = tuple(self.shape[i] for i in perm)
        kept = [i for i, size in enumerate(self.shape) if size > 1]
        moved = [kept.index(i) for i in perm if self.shape[i] > 1]
        runs: list[list[int]] = []  # of dimensions that stay beside one another
        for i in moved:
            if runs and runs[-1][-1] == i - 1:
                runs[-1].append(i)
            else:
                runs.append([i])
        if len(runs) <= 1:
            return replace(self, shape=shape)
        places = sorted(range(len(runs)), key=lambda k: runs[k])
        whole = replace(self, shape=tuple(math.prod(self.shape[kept[i]] for i in runs[k]) for k in places))
        groups = whole.groups()
        if groups is None:
            return None
        return replace(self, shape=shape, order="".join(groups[places.index(k)] for k in range(len(runs))))

    def per_channel(self, constant: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]] | None:
        """The constant as one float64 per channel ``[C]``, and the shape that the two broadcast to.

        None where the constant enlarges the tensor, or differs between two pixels.
        """
        try:
            shape = np.broadcast_shapes(self.shape, constant.shape)
        except ValueError:
            return None
        if math.prod(shape) != math.prod(self.shape):
            return None
        if constant.size == 1:
            return np.full(self.dims[2], constant.item(), np.float64), shape
        constant = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
        groups = replace(self, shape=shape).groups() or [self.order] * len(shape)
        for axis, group in enumerate(groups):  # one number for each of many pixels is one number
            first = constant.take([0], axis)
            if "C" not in group and (constant == first).all():
                constant = first
        if all(constant.shape[axis] == 1 for axis, group in enumerate(groups) if group != "C"):
            return np.broadcast_to(constant.ravel(), self.dims[2]).astype(np.float64), shape
        pixels = self.to_hwc(np.broadcast_to(constant, shape)).reshape(-1, self.dims[2])
        return (pixels[0].astype(np.float64), shape) if (pixels == pixels[0]).all() else None

    def to_hwc(self, array: np.ndarray) -> np.ndarray:
        """An array in this tensor's element order, with as many elements, as ``[H, W, C]``."""
        array = array.reshape([self.size(axis) for axis in self.order])
        return array.transpose([self.order.index(axis) for axis in AXES if axis in self.order]).reshape(self.dims)


def split_of_channels(x: Tensor) -> tuple[int, int] | None:
    """The two dimensions of its shape that share the channels of `x`; None where there are not two."""
    if "C" not in x.order:
        return None
    before = math.prod(x.size(axis) for axis in x.order[: x.order.index("C")])
    sizes = [(i, size) for i, size in enumerate(x.shape) if size > 1]
    for at, ((first, groups), (second, each)) in enumerate(zip(sizes, sizes[1:])):
        if groups * each == x.dims[2] and math.prod(size for _, size in sizes[:at]) == before:
            return first, second
    return None


def layouts_of(x: Tensor) -> list[str]:
    """The layouts that a picture or a sequence shows, channels first where both are possible."""
    axis = "W" if x.dims[0] == 1 and x.dims[1] > 1 else "H"
    names = {4: ("NCHW", "NHWC"), 3: (f"NC{axis}", f"N{axis}C")}.get(len(x.shape), ())
    return [name for name in names if x.shows(name)]


def nchw(value: str, dims: tuple[int, int, int]) -> Tensor:
    """The NCHW tensor of a value of ``(height, width, channels)``."""
    return Tensor(value, dims, order_of("CHW", dims), (1, dims[2], dims[0], dims[1]))


def nhwc(value: str, dims: tuple[int, int, int], shape: tuple[int, ...] | None = None) -> Tensor:
    """The NHWC tensor of a value of ``(height, width, channels)``, or one of another shape in the same order."""
    return Tensor(value, dims, order_of(AXES, dims), (1, *dims) if shape is None else shape)


def order_of(axes: str, dims: tuple[int, int, int]) -> str:
    """`axes` without those of size 1."""
    return "".join(axis for axis in axes if dims[AXES.index(axis)] > 1)
