"""Pads of the least number before a maximum, as converters from PyTorch write its pools: pads of the pool itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ..emitting import SourceNode
from .reading import TfliteSource


def with_pads(source: TfliteSource, nodes: Iterable[SourceNode]) -> Iterator[SourceNode]:
    """The nodes, with such pads, where only pools read them, in the pools."""
    padded: dict[str, tuple[str, tuple[int, ...]]] = {}  # by name: what was padded, and how
    for node in nodes:
        pads = _pads(source, node) if node.op == "PADV2" else None
        if pads is not None:
            padded[node.outputs[0]] = node.inputs[0], pads
        elif node.op == "MAX_POOL_2D" and node.inputs[0] in padded:
            name, pads = padded[node.inputs[0]]
            yield SourceNode(node.name, node.op, [name], node.outputs, {**node.attrs, "pads": pads})
        else:
            yield node


def _pads(source: TfliteSource, node: SourceNode) -> tuple[int, ...] | None:
    """Above, left, below and right, if all readers are pools in which each window has some of the picture."""
    pads, number = (source.tensors[name].array for name in node.inputs[1:3])
    readers = [source.nodes[i] for i in source.readers.get(node.outputs[0], ())]
    if pads is None or number is None or pads.shape != (4, 2) or number.size != 1 or node.outputs[0] in source.outputs:
        return None
    least = -np.inf if number.dtype.kind == "f" else np.iinfo(number.dtype).min
    if number.item() > max(least, -3.4e38) or pads[[0, 3]].any() or pads.min() < 0:
        return None
    for reader in readers:
        attrs = reader.attrs
        if reader.op != "MAX_POOL_2D" or attrs["padding"] != 1:
            return None
        if max(pads[1]) >= attrs["filter_h"] or max(pads[2]) >= attrs["filter_w"]:
            return None
    (top, bottom), (left, right) = pads[1].tolist(), pads[2].tolist()
    return top, left, bottom, right
