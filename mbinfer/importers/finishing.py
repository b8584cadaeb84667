"""The end of every import: outputs are named, nodes are folded, and every node gets a name of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..check_types import MAX_SUM, largest_sums
from ..errors import UnsupportedError
from ..graph import Graph, Output
from ..ops import OPS
from .emitting import SourceNode, refuse_what_cannot_run
from .fusing import fuse
from .layout import AXES, Tensor
from .picking import turned
from .states import Tie, add_nexts, tie
from .unfolding import with_columns_as_channels
from .walking import Walk


def finish(walk: Walk, nodes: Sequence[SourceNode], outputs: Sequence[str], ties: Sequence[Tie] = ()) -> Graph:
    """The graph of a walk over `nodes`, which ends at the source's tensors `outputs`."""
    graph = walk.graph
    writers = {name: node for node in reversed(nodes) for name in node.outputs}
    graph.outputs = [_output(walk, writers.get(name), name) for name in outputs]
    add_nexts(walk, ties)
    fuse(graph)
    tie(walk, ties)
    _still(graph)
    refuse_what_cannot_run(graph)
    _make_names_unique(graph)
    return graph


def _output(walk: Walk, writer: SourceNode | None, name: str) -> Output:
    found = walk.env.get(name)
    node, op = (writer.name, writer.op) if writer else ("", "")
    if isinstance(found, UnsupportedError):
        raise found
    if not isinstance(found, Tensor):
        reason = "is a constant" if isinstance(found, np.ndarray) else "is not the first output of its node"
        raise UnsupportedError(
            f"output '{name}' {reason}; supported: outputs that the network computes; choose them with "
            "convert(..., outputs=[names])",
            node,
            op,
        )
    if found.value in walk.graph.inputs:  # an output needs a value of its own
        copy = walk.fresh(f"{name}/copy")
        kind = walk.graph.types.get(found.value)
        fields: dict[str, Any] = {"weight": np.ones((1, 1, found.dims[2]))} if kind is None else {}
        op = "depthwise" if kind is None else "convert"
        value = walk.builder.add(op, [found.value], name=copy, output=copy, **fields)
        if kind is not None:
            walk.graph.types[value] = kind
        found = replace(found, value=value)
    if len(found.shape) == 4 and walk.is_number(found):
        return Output(name, found.value, (1, found.dims[0], found.dims[2], 1))
    if found.is_picture():
        return Output(name, found.value, (1, *found.dims))
    found = listed(walk, SourceNode(node or name, op, [], [name]), found)
    if not found.can_end():
        raise UnsupportedError(
            f"output '{name}' of node '{node}' ({op}): shape {found.shape} lists (height, width, channels) = "
            f"{found.dims} in the order {found.order}, and values here are stored {AXES}; supported: the rank-4 tensor "
            "itself as output, which convert(..., outputs=[its name]) chooses, flattening after a global pool, or a "
            "dense layer after the flattening",
            node,
            op,
        )
    return Output(name, found.value, found.shape)


def listed(walk: Walk, node: SourceNode, x: Tensor) -> Tensor:
    """The same tensor of a value that lists its elements, where it does not and something moves them there."""
    if x.is_picture() or x.can_end():
        return x
    return with_columns_as_channels(walk, node, turned(walk, node, x) if len(x.shape) == 3 else x)


def _still(graph: Graph) -> None:
    """Channels whose sums may overflow, but stay below half a step of what is made, become zeros: the same bytes.

    A channel that training has switched off gets a weight scale near 0, and a bias that its maker cut to int32.
    """
    for node in graph.nodes:
        if node.weight_scale is None or node.weight is None or node.weight.dtype != np.int8:
            continue
        given, made = graph.types[node.inputs[0]], graph.types[node.output]
        largest = largest_sums(node, given.zero_point)
        steps = largest * (np.float64(given.scale) * np.float64(node.weight_scale) / made.scale)
        still = (largest > MAX_SUM) & (steps < 0.25)
        if still.any():
            along = still if OPS[node.op].keeps_channels else still[:, None, None, None]
            node.weight = np.where(along, np.int8(0), node.weight)
            node.bias = None if node.bias is None else np.where(still, np.int32(0), node.bias)


def _make_names_unique(graph: Graph) -> None:
    seen: Counter[str] = Counter()
    taken = {node.name for node in graph.nodes}
    for node in graph.nodes:
        base = node.name
        seen[base] += 1
        if seen[base] > 1:
            count = seen[base]
            while f"{base}_{count}" in taken:
                count += 1
            node.name = f"{base}_{count}"
            taken.add(node.name)
