"""Convolutions with gaps as TensorFlow once wrote them: the picture dealt into a batch, convolved, and put together.

SPACE_TO_BATCH_ND deals the pixels of a padded picture to ``b x b`` pictures, of which each holds every b-th pixel. A
window of each without gaps is one of the picture with a gap of b. BATCH_TO_SPACE_ND puts them together, less a border.
Sequences are dealt along their one axis, and are pictures one pixel high or wide around the convolution alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..emitting import SourceNode
from .reading import TfliteSource

Chain = tuple[SourceNode, list[SourceNode], SourceNode, list[SourceNode], SourceNode]

CONVOLUTIONS = frozenset(("CONV_2D", "DEPTHWISE_CONV_2D"))
VIEWS = frozenset(("RESHAPE", "EXPAND_DIMS", "SQUEEZE"))


def with_gaps(source: TfliteSource) -> list[SourceNode]:
    """The nodes, with each such three as one convolution of dilation b."""
    merged: dict[int, SourceNode | None] = {}  # by id of a node: what it becomes
    for first in source.nodes:
        chain = _chain(source, first) if first.op == "SPACE_TO_BATCH_ND" else None
        found = None if chain is None else _fields(source, chain)
        if chain is None or found is None:
            continue
        _, before, conv, behind, last = chain
        fields, single = found
        merged.update(dict.fromkeys(map(id, (first, *before, conv, *behind, last))))
        inputs, outputs = [first.inputs[0], *conv.inputs[1:]], last.outputs
        if before:  # the sequence as a picture and back
            shape = [1, -1, source.tensors[first.inputs[0]].shape[-1]]
            shape.insert(1 + single, 1)
            merged[id(before[0])] = SourceNode(
                before[0].name, "RESHAPE", inputs[:1], before[0].outputs, {"shape": shape}
            )
            merged[id(last)] = SourceNode(last.name, "SQUEEZE", conv.outputs, outputs, {"axes": [1 + single]})
            inputs[0], outputs = before[0].outputs[0], conv.outputs
            for name in (inputs[0], *outputs):  # whose sizes in the file are those of a part
                source.tensors[name] = replace(source.tensors[name], open_axes=frozenset(range(4)))
        merged[id(conv if before else last)] = SourceNode(
            conv.name if before else last.name, conv.op, inputs, outputs, {**conv.attrs, **fields}
        )
    return [made for node in source.nodes if (made := merged.get(id(node), node)) is not None]


def _chain(source: TfliteSource, first: SourceNode) -> Chain | None:
    """The node, its only reader and the only reader of that, if they are such three, with views between them."""
    found: list[SourceNode] = [first]
    views: list[list[SourceNode]] = []
    for wanted in (CONVOLUTIONS, ("BATCH_TO_SPACE_ND",)):
        views.append([])
        following = _reader(source, found[-1])
        if following is not None and following.op in VIEWS:
            views[-1].append(following)
            following = _reader(source, following)
        if following is None or following.op not in wanted:
            return None
        found.append(following)
    return (found[0], views[0], found[1], views[1], found[2]) if len(views[0]) == len(views[1]) else None


def _reader(source: TfliteSource, node: SourceNode) -> SourceNode | None:
    """The only reader of what a node makes, as its first input."""
    (name,) = node.outputs
    following = [source.nodes[i] for i in source.readers.get(name, ())]
    if len(following) != 1 or name in source.outputs or following[0].inputs[0] != name:
        return None
    return following[0]


def _fields(source: TfliteSource, chain: Chain) -> tuple[dict[str, Any], int] | None:
    """Dilation and pads of the one convolution; for a sequence also which axis of its picture has one pixel."""
    first, before, conv, _, last = chain
    arrays = [source.tensors[name].array for name in (*first.inputs[1:3], *last.inputs[1:3])]
    if any(array is None or array.size > 4 for array in arrays):
        return None
    block, pads, blocks, crops = (np.asarray(array) for array in arrays)
    size = source.tensors[first.inputs[0]].shape
    axes = 1 if before else 2
    if block.shape != (axes,) or pads.shape != (axes, 2) or crops.shape != (axes, 2) or len(size) != 2 + axes:
        return None
    steps = [conv.attrs[name] for name in ("stride_h", "stride_w", "dilation_h", "dilation_w")]
    plain = conv.attrs["padding"] == 1 and steps == [1] * 4
    if not plain or (block != blocks).any() or block.min() < 1:
        return None
    whole = [[int(pads[i, side] - crops[i, side]) for i in range(axes)] for side in (0, 1)]
    if np.min(whole) < 0 or any((size[1 + i] + pads[i].sum()) % block[i] for i in range(axes)):
        return None
    gaps, single = block.tolist(), 0
    if before:
        picture = source.tensors[before[0].outputs[0]].shape
        if len(picture) != 4 or 1 not in picture[1:3]:
            return None
        single = picture[1:3].index(1)
        for numbers, none in ((gaps, 1), (whole[0], 0), (whole[1], 0)):
            numbers.insert(single, none)
    return {"dilation_h": gaps[0], "dilation_w": gaps[1], "pads": (*whole[0], *whole[1])}, single
