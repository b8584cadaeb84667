"""Reductions of any source over height, width or channels: pools as large as the picture, convolutions of ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .emitting import SourceNode
from .functions import absolute, square
from .layout import AXES, Tensor, split_of_channels
from .moving import channels as channels_of
from .moving import cut
from .unfolding import with_whole_channels
from .walking import Walk

MOST_GROUPS = 64  # pictures of a stack that are added up
KINDS = ("mean", "sum", "max", "min", "l1", "l2", "sum_square", "log_sum", "log_sum_exp", "product")


def reduced(low: Walk, node: SourceNode, x: Tensor, axes: Iterable[int], keep: bool, kind: str) -> Tensor:
    """One of KINDS over axes of the source's tensor; `keep` leaves sizes of 1 in their place."""
    rank = len(x.shape)
    axes = {axis % rank for axis in axes}
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
    groups = [x.order] * rank if len(axes) == rank else x.groups()
    if groups is None:
        return replace(_of_groups(low, node, x, axes, kind), shape=shape)
    over = {axis for i in axes for axis in groups[i]}
    if kind in ("sum_square", "l2"):
        x = square(low, node, x, "square")
    elif kind == "l1":
        x = absolute(low, node, x, "absolute")
    elif kind == "min":
        x = low.affine(node, x, -1.0, part="negative")
    if kind == "log_sum_exp":
        return replace(_log_sum_exp(low, node, x, over), shape=shape)
    if kind == "product":
        return replace(_product(low, node, x, over), shape=shape)
    if kind == "max":
        return replace(_largest(low, node, x, over, ""), shape=shape)
    if kind == "min":
        return low.affine(node, _largest(low, node, x, over, "most"), -1.0, shape=shape)
    if kind == "mean":
        return replace(_mean(low, node, x, over, ""), shape=shape)
    count = math.prod(x.size(axis) for axis in over)
    root_or_log = {"l2": "root", "log_sum": "log"}.get(kind)
    total = low.affine(node, _mean(low, node, x, over, "mean"), float(count), part="sum" if root_or_log else "")
    total = replace(total, shape=shape)
    return low.affine(node, total, activation=root_or_log) if root_or_log else total


def _of_groups(low: Walk, node: SourceNode, x: Tensor, axes: set[int], kind: str) -> Tensor:
    """Of a tensor two of whose dimensions share the channels, such as a stack of pictures: over the first of the two,
    over none of them, or means over the second, too (group normalisation of Keras)."""
    split = split_of_channels(x)
    if split is not None and split[1] in axes and split[0] not in axes and kind in ("mean", "sum"):
        return _mean_of_parts(low, node, x, axes, kind)
    if split is not None and not axes & set(split):
        return reduced(low, node, with_whole_channels(x), axes, True, kind)
    op = {"sum": "add", "mean": "add", "max": "max", "min": "min"}.get(kind)
    if split is None or axes != {split[0]} or op is None or x.shape[split[0]] > MOST_GROUPS:
        raise low.unsupported(node, f"over axes {sorted(axes)} of {x.shape}", "whole axes, and pictures of a stack")
    count, each = (x.shape[i] for i in split)
    whole = replace(x, order=_all_axes(x), shape=(1, *x.dims))
    value = ""
    for i in range(count):
        part = channels_of(low, node, whole, i * each, each, 3, f"picture {i}").value
        name = "" if i == count - 1 and kind != "mean" else f"{i}"
        value = low.emit(node, op, [value, part], name) if value else part
    found = Tensor(value, low.builder.dims(value), x.order, x.shape)
    return low.affine(node, found, 1 / count) if kind == "mean" else found


def _mean_of_parts(low: Walk, node: SourceNode, x: Tensor, axes: set[int], kind: str) -> Tensor:
    """Of each part of the channels: of every channel first, where other axes are among those."""
    first, last = split_of_channels(x) or (-1, -1)
    count, each = x.shape[first], x.shape[last]
    groups = with_whole_channels(x).groups()
    if groups is None:
        raise low.unsupported(node, f"over axes {sorted(axes)} of {x.shape}", "whole axes, and pictures of a stack")
    over = {letter for i in axes - {last} for letter in groups[i]}
    pooled = _mean(low, node, x, over, "pool") if over else x
    factor = math.prod(x.size(letter) for letter in over) if kind == "sum" else 1 / each
    weight = np.kron(np.eye(count), np.full((1, each), factor))[:, None, None]
    value = low.emit(node, "conv", [pooled.value], weight=weight)
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    return Tensor(value, low.builder.dims(value), pooled.order if count > 1 else pooled.order.replace("C", ""), shape)


def _without(low: Walk, x: Tensor, value: str, over: set[str]) -> Tensor:
    order = "".join(axis for axis in x.order if axis not in over)
    return Tensor(value, low.builder.dims(value), order, x.shape)


def _kernel(x: Tensor, over: set[str]) -> tuple[int, int]:
    height, width = (size if axis in over else 1 for size, axis in zip(x.dims, "HW"))
    return height, width


def _mean(low: Walk, node: SourceNode, x: Tensor, over: set[str], part: str) -> Tensor:
    value, kernel, channels = x.value, _kernel(x, over), x.dims[2]
    if kernel == x.dims[:2] and kernel != (1, 1):
        value = low.emit(node, "global_avg_pool", [value], "pool" if "C" in over else part)
    elif kernel != (1, 1):
        value = low.emit(node, "avg_pool", [value], "pool" if "C" in over else part, kernel=kernel)
    if "C" in over:
        value = low.emit(node, "conv", [value], part, weight=np.full((1, 1, 1, channels), 1 / channels))
    return _without(low, x, value, over)


def _largest(low: Walk, node: SourceNode, x: Tensor, over: set[str], part: str) -> Tensor:
    """Of channels by halves, which may have one in common."""
    value, kernel = x.value, _kernel(x, over)
    if kernel != (1, 1):
        value = low.emit(node, "max_pool", [value], "pool" if "C" in over else part, kernel=kernel)
    found = _without(low, x, value, over - {"C"})
    while "C" in over and found.dims[2] > 1:
        count = found.dims[2]
        half = -(-count // 2)
        name, whole = f"of{half}", replace(found, shape=(1, *found.dims), order=_all_axes(found))
        first = channels_of(low, node, whole, 0, half, 3, f"{name}/first")
        last = channels_of(low, node, whole, count - half, half, 3, f"{name}/last")
        value = low.emit(node, "max", [first.value, last.value], name if half > 1 else part)
        found = replace(found, value=value, dims=low.builder.dims(value))
    return _without(low, x, found.value, over)


def _log_sum_exp(low: Walk, node: SourceNode, x: Tensor, over: set[str]) -> Tensor:
    """Less the largest number, so that no power is infinite; pixels are one number for each channel, or all alone."""
    if over and not over <= {"C"} and not {axis for axis in x.order if axis != "C"} <= over:
        raise low.unsupported(node, f"over the axes {''.join(sorted(over))}", "over channels, all pixels, or both")
    most = _largest(low, node, x, over, "most")
    below = replace(x, value=low.emit(node, "sub", [x.value, most.value], "below"))
    powers = low.affine(node, below, part="powers", activation="exp")
    total = _mean(low, node, powers, over, "mean")
    total = low.affine(node, total, float(math.prod(x.size(axis) for axis in over)), part="sum")
    total = low.affine(node, total, part="log", activation="log")
    return replace(total, value=low.emit(node, "add", [total.value, most.value]))


def _product(low: Walk, node: SourceNode, x: Tensor, over: set[str]) -> Tensor:
    """One half times the other until one is left, and what was left over of odd numbers."""
    found = replace(x, order=_all_axes(x), shape=(1, *x.dims))

    def times(a: Tensor, b: Tensor, name: str) -> Tensor:
        made = low.emit(node, "mul", [a.value, b.value], name)
        return Tensor(made, a.dims, a.order, a.shape)

    for letter in sorted(over):
        axis, spare = 1 + AXES.index(letter), []
        while (count := found.size(letter)) > 1:
            half, name = count // 2, f"{letter}{count}"
            if count % 2:
                spare.append(cut(low, node, found, axis, count - 1, count, 1, f"{name}/one"))
            first, last = (cut(low, node, found, axis, i * half, (i + 1) * half, 1, f"{name}/{i}") for i in (0, 1))
            found = times(first, last, name)
        for i, one in enumerate(spare):
            found = times(found, one, f"{letter}{i}")
    return _without(low, x, found.value, over)


def _all_axes(x: Tensor) -> str:
    return "".join(axis for axis, size in zip("HWC", x.dims) if size > 1)
