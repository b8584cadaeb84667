"""Concatenations of any source: of channels, of the rows of pictures, and of pictures that were laid flat."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .emitting import SourceNode
from .layout import AXES, Tensor, order_of
from .walking import Walk


def join(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int) -> Tensor:
    """Tensors of one type, one after the other along `axis`."""
    x = tensors[0]
    axis %= len(x.shape)
    if len(tensors) == 1:
        return x
    joined = _channels(low, node, tensors, axis) or _rows(low, node, tensors, axis) or _flat(low, node, tensors, axis)
    if joined is None:
        raise low.unsupported(
            node,
            f"shapes {', '.join(str(t.shape) for t in tensors)} on axis {axis}",
            "channels of equal pictures, rows of pictures, and pixels one after the other, height before width",
        )
    return joined


def _channels(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int) -> Tensor | None:
    x = tensors[0]
    layouts = [t.groups() for t in tensors]
    joined = all(
        groups is not None and groups[axis] in ("C", "") and t.size("C") == t.shape[axis] and t.dims[:2] == x.dims[:2]
        for t, groups in zip(tensors, layouts)
    )
    if not joined or len({t.order.replace("C", "") for t in tensors}) > 1:
        return None
    value = _emit(low, node, "concat", tensors)
    names = [group.replace("C", "") for group in layouts[0] or []]
    order = "".join(names[:axis]) + "C" + "".join(names[axis:])
    return Tensor(value, low.builder.dims(value), order, _shape(tensors, axis))


def _rows(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int) -> Tensor | None:
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
    value = _emit(low, node, "stack", tensors, size=(shape[axis], x.dims[1] if wide else 1))
    order = "".join([*rest[0][:axis], "H", *rest[0][axis:]])
    return Tensor(value, low.builder.dims(value), order, shape)


def _flat(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int) -> Tensor | None:
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
            value = _emit(low, node, "depth_to_space", [t], f"pixels {i}", rows=(1, 1, 0), columns=(1, across, 0))
            t = replace(t, value=value)
        parts.append(t)
    value = _emit(low, node, "stack", parts)
    dims = low.builder.dims(value)
    return Tensor(value, dims, order_of(AXES, dims), _shape(tensors, axis))


def _emit(low: Walk, node: SourceNode, op: str, tensors: list[Tensor], part: str = "", **fields: Any) -> str:
    """A node whose output has the type of its inputs, which all have the same."""
    value = low.emit(node, op, [t.value for t in tensors], part, **fields)
    if tensors[0].value in low.graph.types:
        low.graph.types[value] = low.graph.types[tensors[0].value]
    return value


def _shape(tensors: list[Tensor], axis: int) -> tuple[int, ...]:
    x = tensors[0]
    return (*x.shape[:axis], sum(t.shape[axis] for t in tensors), *x.shape[axis + 1 :])
