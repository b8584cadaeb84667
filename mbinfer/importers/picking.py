"""Elements of an axis picked by number, repeated or mirrored, of any source: slices of the picture, joined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from .emitting import SourceNode
from .joining import MOST_PIECES, join, stacked
from .layout import AXES, Tensor, order_of
from .moving import cut, pixels, positions
from .walking import Walk


def picked(low: Walk, node: SourceNode, x: Tensor, axis: int, indexes: Sequence[int], part: str = "") -> Tensor:
    """Those elements of an axis, in that order; numbers below 0 count from the end."""
    length = x.shape[axis]
    numbers = [int(i) + length if i < 0 else int(i) for i in indexes]
    if not numbers or min(numbers) < 0 or max(numbers) >= length:
        raise low.unsupported(node, f"elements {list(indexes)[:9]} of axis {axis} of {x.shape}", "those that there are")
    steps = np.diff(numbers)
    if len(numbers) > 2 and len(set(steps.tolist())) == 1 and steps[0] > 1:
        return cut(low, node, x, axis, numbers[0], numbers[-1] + 1, int(steps[0]), part)
    starts = [0, *(int(i) + 1 for i in np.flatnonzero(steps != 1)), len(numbers)]
    if len(starts) - 1 > MOST_PIECES:
        raise low.unsupported(
            node,
            f"{len(starts) - 1} pieces of axis {axis} of {x.shape}",
            f"up to {MOST_PIECES} that follow one another",
        )
    pieces: dict[tuple[int, int], Tensor] = {}
    found = []
    for begin, end in zip(starts, starts[1:]):
        first, last = numbers[begin], numbers[end - 1] + 1
        if (first, last) not in pieces:
            name = part if len(starts) == 2 else f"{part}{'/' if part else ''}from{first}to{last}"
            pieces[first, last] = cut(low, node, x, axis, first, last, 1, name)
        found.append(pieces[first, last])
    return join(low, node, found, axis, part)


def turned(low: Walk, node: SourceNode, x: Tensor) -> Tensor:
    """A tensor whose first axis is not the first of its value, in the order of memory: slices, one after the other.

    `x` itself where that takes too many of them, or where the rest is not in that order.
    """
    first, rest = x.order[:1], x.order[1:]
    count = x.size(first) if first else 1
    if rest != order_of(AXES.replace(first, ""), x.dims) or count > MOST_PIECES or x.order == order_of(AXES, x.dims):
        return x
    whole = replace(x, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    parts = [cut(low, node, whole, 1 + AXES.index(first), i, i + 1, 1, f"turned {i}") for i in range(count)]
    value = stacked(low, node, parts)
    dims = low.builder.dims(value)
    return Tensor(value, dims, order_of(AXES, dims), x.shape)


def gathered(low: Walk, node: SourceNode, x: Tensor, axis: int, indexes: npt.NDArray[Any]) -> Tensor:
    """Elements of known numbers, in the shape of `indexes`; one of them, not in a list, takes its axis away."""
    axis %= len(x.shape)
    made = picked(low, node, x, axis, np.ravel(indexes).tolist())
    return replace(made, shape=(*made.shape[:axis], *indexes.shape, *made.shape[axis + 1 :]))


def broadcast(low: Walk, node: SourceNode, x: Tensor, shape: Sequence[int], part: str = "") -> Tensor:
    """As many copies along axes of one element as `shape` asks for."""
    wanted = np.broadcast_shapes(x.shape, tuple(shape))
    given = (1,) * (len(wanted) - len(x.shape)) + x.shape
    made = repeated(low, node, x, [made if size == 1 else 1 for size, made in zip(given, wanted)], part)
    low.once[made.value] = made, x
    return made


def repeated(low: Walk, node: SourceNode, x: Tensor, counts: Sequence[int], part: str = "") -> Tensor:
    """As many copies along each axis, one after the other; of a single row or column without joining any."""
    counts = [int(count) for count in counts]
    x = replace(x, shape=(1,) * (len(counts) - len(x.shape)) + x.shape)
    groups = x.groups()
    if groups is None or len(counts) != len(x.shape) or min(counts) < 1 or counts[0] != 1:
        raise low.unsupported(node, f"{counts} copies of {x.shape}", "copies along height, width and channels")
    wanted = [i for i, count in enumerate(counts) if count > 1]
    for axis in wanted:
        named = part if axis == wanted[-1] else f"{part}axis{axis}"
        letter, behind = groups[axis] or _letter(low, groups, x, axis), "".join(groups[:axis])[-1:]
        order = "".join([*groups[:axis], letter, *groups[axis + 1 :]])
        if x.shape[axis] == 1 and letter in ("H", "W") and order in (_sorted(order, "CHW"), _sorted(order, AXES)):
            x = _stretched(low, node, x, axis, letter, counts[axis], named)
        elif x.shape[axis] == 1 and behind and x.dims[2] > 1:
            x = each_repeated(low, node, x, axis, behind, counts[axis], named)
            continue  # each dimension is still of the axes that it was of
        elif x.shape[axis] == x.dims[2] == 1:
            x = _widened(low, node, x, axis, counts[axis], named)
        else:
            x = picked(low, node, x, axis, [*range(x.shape[axis])] * counts[axis], named)
        groups = x.groups() or groups
    return x


def _sorted(order: str, axes: str) -> str:
    """The axes of `order`, each once, as `axes` has them."""
    return "".join(axis for axis in axes if axis in order)


def each_repeated(low: Walk, node: SourceNode, x: Tensor, axis: int, letter: str, count: int, part: str) -> Tensor:
    """Each row, column or channel `count` times, one beside the other: what an axis of one element behind theirs says,
    as Keras' UpSampling2D and PyTorch's repeat_interleave are written."""
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if letter == "C":
        weight = np.repeat(np.eye(x.dims[2]), count, 0)[:, None, None]
        return Tensor(*_ones(low, node, x, weight, part), x.order, shape)
    height, width = size = [old * count if name == letter else old for name, old in zip(AXES, x.dims[:2])]
    ways = [positions(Fraction(old, new), old, new, "asymmetric", "floor") for old, new in zip(x.dims, size)]
    assert ways[0] is not None and ways[1] is not None  # of this way there are positions
    return replace(pixels(low, node, x, ways[0], ways[1], (height, width), part=part), order=x.order, shape=shape)


def _letter(low: Walk, groups: list[str], x: Tensor, axis: int) -> str:
    """Which axis of the value an axis of one element is taken for: that between the others, as of NCHW or NHWC."""
    if len(groups) != 4:
        return ""
    return next((layout for layout in (low.layout, "NCHW", "NHWC") if x.shows(layout)), low.layout)[axis]


def _stretched(low: Walk, node: SourceNode, x: Tensor, axis: int, letter: str, count: int, part: str) -> Tensor:
    """A single row or column, `count` times."""
    once, all_of = (0, 1, 0), (1, 1, 0)
    if letter == "H":
        made = pixels(low, node, x, once, all_of, (count, x.dims[1]), part=part)
    else:
        made = pixels(low, node, x, all_of, once, (x.dims[0], count), part=part)
    groups = x.groups() or []
    order = "".join([*groups[:axis], letter, *groups[axis + 1 :]])
    return replace(made, order=order, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _widened(low: Walk, node: SourceNode, x: Tensor, axis: int, count: int, part: str) -> Tensor:
    """A single channel, `count` times: a convolution by ones."""
    groups = x.groups() or []
    value, dims = _ones(low, node, x, np.ones((count, 1, 1, 1)), part)
    order = "".join([*groups[:axis], "C", *groups[axis + 1 :]])
    return Tensor(value, dims, order, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _ones(
    low: Walk, node: SourceNode, x: Tensor, weight: npt.NDArray[Any], part: str
) -> tuple[str, tuple[int, int, int]]:
    """A convolution whose outputs are each an input, of the type of `x`; the value and what it is as large as."""
    inside, count = low.graph.types.get(x.value), len(weight)
    fields: dict[str, Any] = {"weight": weight, "bias": np.zeros(count)}
    if inside is not None:
        fields = {"weight": weight.astype(np.int8), "weight_scale": np.ones(count, np.float32)}
    value = low.emit(node, "conv", [x.value], part, **fields)
    if inside is not None:
        low.graph.types[value] = inside
    return value, low.builder.dims(value)
