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
    """The nodes, with each such three as one convolution of dilation b. Several may begin with one dealt picture."""
    makers = {name: node for node in source.nodes for name in node.outputs}
    chains: dict[str, list[Chain]] = {}  # by dealt picture
    for last in source.nodes:
        chain = _chain(source, makers, last) if last.op == "BATCH_TO_SPACE_ND" else None
        if chain is not None:
            chains.setdefault(chain[0].outputs[0], []).append(chain)
    merged: dict[int, SourceNode | None] = {}  # by id of a node: what it becomes
    for beginning_alike in chains.values():
        fields = [_fields(source, chain) for chain in beginning_alike]
        if _all_readers(source, beginning_alike):
            for chain, found in zip(beginning_alike, fields):
                if found is not None and None not in fields:
                    _merge(source, merged, chain, *found)
    return [made for node in source.nodes if (made := merged.get(id(node), node)) is not None]


def _all_readers(source: TfliteSource, chains: list[Chain]) -> bool:
    """Whether nobody else reads their dealt picture, or a view of it."""
    nodes = {id(node) for _, before, conv, *_ in chains for node in (*before, conv)}
    names = {node.outputs[0] for first, before, *_ in chains for node in (first, *before)}
    read = all(id(source.nodes[i]) in nodes for name in names for i in source.readers.get(name, ()))
    return read and not names & set(source.outputs)


def _merge(
    source: TfliteSource, merged: dict[int, SourceNode | None], chain: Chain, fields: dict[str, Any], single: int
) -> None:
    """Note what the nodes of one chain become."""
    first, before, conv, behind, last = chain
    merged.update(dict.fromkeys(map(id, (first, *before, conv, *behind, last))))
    inputs, attrs = [first.inputs[0], *conv.inputs[1:]], {**conv.attrs, **fields}
    if not before:
        merged[id(last)] = SourceNode(last.name, conv.op, inputs, last.outputs, attrs)
        return
    (view,) = before  # the sequence as a picture, and back
    shape = [1, -1, source.tensors[first.inputs[0]].shape[-1]]
    shape.insert(1 + single, 1)
    merged[id(view)] = SourceNode(view.name, "RESHAPE", inputs[:1], view.outputs, {"shape": shape})
    merged[id(conv)] = SourceNode(conv.name, conv.op, [*view.outputs, *inputs[1:]], conv.outputs, attrs)
    merged[id(last)] = SourceNode(last.name, "SQUEEZE", conv.outputs, last.outputs, {"axes": [1 + single]})
    for name in (*view.outputs, *conv.outputs):  # whose sizes in the file are those of a part
        source.tensors[name] = replace(source.tensors[name], open_axes=frozenset(range(4)))


def _chain(source: TfliteSource, makers: dict[str, SourceNode], last: SourceNode) -> Chain | None:
    """The node and what made its input, if they are such three, with views between them. Nobody else reads what the
    convolution makes."""
    found: list[SourceNode] = [last]
    views: list[list[SourceNode]] = []
    for wanted in (CONVOLUTIONS, ("SPACE_TO_BATCH_ND",)):
        views.append([])
        maker = makers.get(found[-1].inputs[0])
        if maker is not None and maker.op in VIEWS:
            views[-1].append(maker)
            maker = makers.get(maker.inputs[0])
        if maker is None or maker.op not in wanted:
            return None
        found.append(maker)
    _, conv, first = found
    behind, before = views
    if len(before) != len(behind) or not all(_alone(source, node) for node in (conv, *behind)):
        return None
    return first, before, conv, behind, last


def _alone(source: TfliteSource, node: SourceNode) -> bool:
    """Whether what a node makes has one reader and is no output."""
    (name,) = node.outputs
    return len(source.readers.get(name, ())) == 1 and name not in source.outputs


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
