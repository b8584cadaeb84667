"""Concatenations of any source: of channels, of rows or columns of pictures, and of pictures that were laid flat."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .emitting import SourceNode
from .layout import AXES, Tensor, order_of
from .walking import Walk

MOST_PIECES = 1024  # that a picture is joined of


def join(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str = "", across: bool = False) -> Tensor:
    """Tensors of one type, one after the other along `axis`. Those of one row become a column, or, `across`, a row."""
    x = tensors[0]
    axis %= len(x.shape)
    if len(tensors) == 1:
        return x
    across = across and all(t.dims[0] == 1 for t in tensors)
    for way in (_channels, _columns, _rows, _flat) if across else (_channels, _rows, _flat, _columns, as_groups):
        joined = way(low, node, tensors, axis, part)
        if joined is not None:
            return joined
    raise low.unsupported(
        node,
        f"shapes {', '.join(str(t.shape) for t in tensors)} on axis {axis}",
        "channels of equal pictures, rows and columns of pictures, and pixels one after the other",
    )


def _channels(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str) -> Tensor | None:
    x = tensors[0]
    layouts = [t.groups() for t in tensors]
    joined = all(
        groups is not None and groups[axis] in ("C", "") and t.size("C") == t.shape[axis] and t.dims[:2] == x.dims[:2]
        for t, groups in zip(tensors, layouts)
    )
    if not joined or len({t.order.replace("C", "") for t in tensors}) > 1:
        return None
    value = _emit(low, node, "concat", tensors, part)
    names = [group.replace("C", "") for group in layouts[0] or []]
    order = "".join(names[:axis]) + "C" + "".join(names[axis:])
    return Tensor(value, low.builder.dims(value), order, _shape(tensors, axis))


def _rows(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str) -> Tensor | None:
    """`axis` holds rows, or all pixels row by row, and those of the tensors become one column."""
    x, layouts = tensors[0], [t.groups() or [] for t in tensors]
    rest = [groups[:axis] + groups[axis + 1 :] for groups in layouts]
    wide = "W" in "".join(rest[0])
    for t, groups, other in zip(tensors, layouts, rest):
        if not groups or other != rest[0] or "H" in "".join(other) or t.dims[2] != x.dims[2]:
            return None
        if groups[axis] not in (("H", "") if wide else ("HW", "H", "W", "")) or (wide and t.dims[1] != x.dims[1]):
            return None
    shape = _shape(tensors, axis)
    value = _emit(low, node, "stack", tensors, part, size=(shape[axis], x.dims[1] if wide else 1))
    order = "".join([*rest[0][:axis], "H", *rest[0][axis:]])
    return Tensor(value, low.builder.dims(value), order, shape)


def _flat(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str) -> Tensor | None:
    """Numbers in the order of memory, those of all tensors one after the other: pixels of fewer channels."""
    for t in tensors:
        if math.prod(t.shape[:axis]) != 1 or t.order != order_of(AXES, t.dims):
            return None
    # Those of the last axis, where there is one behind the pixels; any that divide all will do otherwise.
    last = tensors[0].shape[-1] if axis < len(tensors[0].shape) - 1 else 1
    channels = last if last > 1 else math.gcd(*(t.dims[2] for t in tensors))
    if any(t.dims[2] % channels for t in tensors):
        return None
    parts = []
    for i, t in enumerate(tensors):
        across = t.dims[2] // channels
        if across > 1:
            value = _emit(low, node, "depth_to_space", [t], f"{part}pixels {i}", rows=(1, 1, 0), columns=(1, across, 0))
            t = replace(t, value=value)
        parts.append(t)
    value = _emit(low, node, "stack", parts, part)
    dims = low.builder.dims(value)
    return Tensor(value, dims, order_of(AXES, dims), _shape(tensors, axis))


def _columns(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str) -> Tensor | None:
    """`axis` holds columns: pictures as wide as the whole, zeros where the others are, added up."""
    x, layouts = tensors[0], [t.groups() or [] for t in tensors]
    rest = [groups[:axis] + groups[axis + 1 :] for groups in layouts]
    for t, groups, other in zip(tensors, layouts, rest):
        if not groups or other != rest[0] or groups[axis] not in ("W", "") or t.size("W") != t.shape[axis]:
            return None
        if t.dims[::2] != x.dims[::2]:
            return None
    shape = _shape(tensors, axis)
    if x.dims[0] == 1:
        total = _emit(low, node, "stack", tensors, part, size=(1, shape[axis]))
    else:
        total = _beside_one_another(low, node, tensors, shape[axis], part)
    order = "".join([*rest[0][:axis], "W", *rest[0][axis:]])
    return Tensor(total, low.builder.dims(total), order, shape)


def as_groups(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int, part: str) -> Tensor | None:
    """`axis` is before the channels, and those of the tensors become groups: a stack of pictures."""
    x = tensors[0]
    first = next((i for i, size in enumerate(x.shape) if i > axis and size > 1), -1)
    before = math.prod(x.size(letter) for letter in x.order.partition("C")[0])
    known = first > 0 and x.shape[axis] == 1 and x.letters_of(first) == "C" and math.prod(x.shape[:axis]) == before
    if not known or any((t.dims, t.order, t.shape) != (x.dims, x.order, x.shape) for t in tensors):
        return None
    value = _emit(low, node, "concat", tensors, part)
    return Tensor(value, low.builder.dims(value), x.order, _shape(tensors, axis))


def _beside_one_another(low: Walk, node: SourceNode, tensors: list[Tensor], width: int, part: str) -> str:
    channels, at, total = tensors[0].dims[2], 0, ""
    fields: dict[str, Any] = {"weight": np.ones((1, 1, channels)), "bias": np.zeros(channels)}
    if tensors[0].value in low.graph.types:  # the zero point stands for zero
        fields = {"weight": np.ones((1, 1, channels), np.int8), "weight_scale": np.ones(channels, np.float32)}
    for i, t in enumerate(tensors):
        pads = (0, at, 0, width - at - t.dims[1])
        wide = replace(t, value=_emit(low, node, "depthwise", [t], f"{part}wide{i}", pads=pads, **fields))
        last = part if i == len(tensors) - 1 else f"{part}sum{i}"
        total = _emit(low, node, "add", [replace(t, value=total), wide], last) if total else wide.value
        at += t.dims[1]
    return total


def _emit(low: Walk, node: SourceNode, op: str, tensors: list[Tensor], part: str = "", **fields: Any) -> str:
    """A node whose output has the type of its inputs, which all have the same."""
    value = low.emit(node, op, [t.value for t in tensors], part, **fields)
    if tensors[0].value in low.graph.types:
        low.graph.types[value] = low.graph.types[tensors[0].value]
    return value


def stacked(
    low: Walk, node: SourceNode, tensors: list[Tensor], part: str = "", size: tuple[int, int] | None = None
) -> str:
    """The value that has the pixels of all tensors one after the other: their rows, or a picture of `size`."""
    rows = sum(t.dims[0] for t in tensors), tensors[0].dims[1]
    return _emit(low, node, "stack", tensors, part, size=size or rows)


def _shape(tensors: list[Tensor], axis: int) -> tuple[int, ...]:
    x = tensors[0]
    return (*x.shape[:axis], sum(t.shape[axis] for t in tensors), *x.shape[axis + 1 :])
