"""Sparse tensors of a TensorFlow Lite file as the dense ones that they stand for.

The format is that of TACO (arXiv 1804.10112) with dense blocks: the axes of the tensor, and after them those of a
block, are levels of a tree, outermost first. A dense level has every index below each node, a sparse one those of a
list.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError
from .flatbuffer import Table

Indices = npt.NDArray[np.int64]
MOST_ZEROS, SPARSEST = 1 << 20, 256  # a tensor is as large as this, or as so many times what is stored of it
_VECTORS = {1: "<i4", 2: "<u2", 3: "u1"}  # a union's number: what lists of indices are of


def densified(table: Table, shape: tuple[int, ...], values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """The tensor of `shape` whose stored numbers are `values`."""
    try:
        return _densified(table, shape, values)
    except (IndexError, ValueError) as error:
        raise FormatError(f"the sparse tensor '{name}' of shape {shape} makes no sense: {error}") from error


def _densified(table: Table, shape: tuple[int, ...], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    order, blocked = table.array(0, "<i4").tolist(), table.array(1, "<i4").tolist()
    levels, rank = table.tables(2), len(shape)
    if sorted(order) != list(range(rank + len(blocked))) or len(levels) != len(order):
        raise ValueError(f"levels {order} of {len(levels)} for {rank} axes and {len(blocked)} of blocks")
    if any(not 0 <= axis < rank for axis in blocked) or len(set(blocked)) < len(blocked):
        raise ValueError(f"blocks of the axes {blocked}")
    if math.prod(shape) > max(MOST_ZEROS, SPARSEST * len(values)):
        raise ValueError(f"{len(values)} numbers for so many zeros")
    # A level has at most as many nodes as numbers, or as a later one has bounds of their children.
    lists = [levels[i] for i in range(len(levels)) if not _is_dense(levels[i])]
    most = max(len(values), *(len(_indices(level, 2)) for level in lists), 1)
    coordinates: dict[int, Indices] = {}  # by axis, of each node of the level at hand
    sizes, count = {}, 1
    for level, axis in enumerate(order):
        parents, below, sizes[axis] = _children(levels[level], count, most)
        coordinates = {known: found[parents] for known, found in coordinates.items()}
        coordinates[axis], count = below, len(below)
    if count != len(values):
        raise ValueError(f"{len(values)} numbers for {count} places")
    for block, axis in enumerate(blocked, rank):
        coordinates[axis] = coordinates[axis] * sizes[block] + coordinates[block]
    places = [coordinates[axis] for axis in range(rank)]
    if any(len(at) and not 0 <= at.min() <= at.max() < size for at, size in zip(places, shape)):
        raise ValueError("places outside of it")
    dense = np.zeros(shape, values.dtype)
    dense[tuple(places)] = values
    return dense


def _is_dense(level: Table) -> bool:
    return level.number(0, "b") == 0


def _children(level: Table, count: int, most: int) -> tuple[Indices, Indices, int]:
    """Below `count` nodes, `most` at most: the node that each is below, its index, and the size of a dense level."""
    if _is_dense(level):
        size = level.number(1, "i")
        if size < 0 or count * size > most:
            raise ValueError(f"a level of {count} times {size}")
        return np.repeat(np.arange(count), size), np.tile(np.arange(size), count), size
    segments, indices = (_indices(level, field) for field in (2, 4))
    lengths = np.diff(segments)
    if len(segments) != count + 1 or segments[0] or (lengths < 0).any() or segments[-1] != len(indices):
        raise ValueError(f"{len(segments)} bounds of {len(indices)} indices below {count} nodes")
    return np.repeat(np.arange(count), lengths), indices, 0


def _indices(level: Table, field: int) -> Indices:
    """A union: which of the lists it is, and the list."""
    kind, vector = level.number(field, "B"), level.table(field + 1)
    if kind not in _VECTORS or vector is None:
        raise ValueError(f"a list of kind {kind}")
    return vector.array(0, _VECTORS[kind]).astype(np.int64)
