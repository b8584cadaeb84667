"""Convolutions with gaps as TensorFlow once wrote them: the picture dealt into a batch, convolved, and put together.

SPACE_TO_BATCH_ND deals the pixels of a padded picture to ``b x b`` pictures, of which each holds every b-th pixel. A
window of each without gaps is one of the picture with a gap of b. BATCH_TO_SPACE_ND puts them together, less a border.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..emitting import SourceNode
from .reading import TfliteSource

CONVOLUTIONS = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D"))


def with_gaps(source: TfliteSource) -> list[SourceNode]:
    """The nodes, with each such three as one convolution of dilation b."""
    merged: dict[int, SourceNode | None] = {}  # by id of a node: what it becomes
    for first in source.nodes:
        if first.op != "SPACE_TO_BATCH_ND":
            continue
        chain = _chain(source, first)
        fields = None if chain is None else _fields(source, *chain)
        if chain is None or fields is None:
            continue
        conv, last = chain[1:]
        inputs = [first.inputs[0], *conv.inputs[1:]]
        merged[id(first)] = merged[id(conv)] = None
        merged[id(last)] = SourceNode(last.name, conv.op, inputs, last.outputs, {**conv.attrs, **fields})
    return [made for node in source.nodes if (made := merged.get(id(node), node)) is not None]


def _chain(source: TfliteSource, first: SourceNode) -> tuple[SourceNode, SourceNode, SourceNode] | None:
    """The node, its only reader and the only reader of that, if they are such three."""
    found = [first]
    for wanted in (CONVOLUTIONS, ("BATCH_TO_SPACE_ND",)):
        (name,) = found[-1].outputs
        following = [source.nodes[i] for i in source.readers.get(name, ())]
        if len(following) != 1 or following[0].op not in wanted or name in source.outputs:
            return None
        if following[0].inputs[0] != name:
            return None
        found.append(following[0])
    return found[0], found[1], found[2]


def _fields(source: TfliteSource, first: SourceNode, conv: SourceNode, last: SourceNode) -> dict[str, Any] | None:
    """Dilation and pads of the one convolution."""
    arrays = [source.tensors[name].array for name in (*first.inputs[1:3], *last.inputs[1:3])]
    if any(array is None or array.size > 4 for array in arrays):
        return None
    block, pads, blocks, crops = (np.asarray(array) for array in arrays)
    steps = [conv.attrs[name] for name in ("stride_h", "stride_w", "dilation_h", "dilation_w")]
    plain = conv.attrs["padding"] == 1 and steps == [1] * 4 and block.size == 2
    if not plain or pads.shape != (2, 2) or crops.shape != (2, 2) or (block != blocks).any() or block.min() < 1:
        return None
    whole = [int(pads[i, 0] - crops[i, 0]) for i in (0, 1)] + [int(pads[i, 1] - crops[i, 1]) for i in (0, 1)]
    size = source.tensors[first.inputs[0]].shape
    if min(whole) < 0 or len(size) != 4 or any((size[1 + i] + pads[i].sum()) % block[i] for i in (0, 1)):
        return None
    return {"dilation_h": int(block[0]), "dilation_w": int(block[1]), "pads": tuple(whole)}
