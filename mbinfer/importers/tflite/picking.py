"""Operators of TensorFlow Lite that pick, repeat or mirror elements: GATHER, TILE, BROADCAST_TO, MIRROR_PAD."""

from __future__ import annotations

import numpy as np

from ..emitting import SourceNode
from ..layout import Tensor
from ..padding import mirrored
from ..picking import broadcast, gathered, repeated
from .lowering import Lowering, lowers
from .spatial import same_type


@lowers("GATHER")
def gather(low: Lowering, node: SourceNode) -> Tensor:
    x, indexes = low.tensor(node), low.constant(node, 1)
    if node.attrs["batch_dims"]:
        raise low.unsupported(node, f"indexes of shape {indexes.shape}", "a list of them, or one")
    same_type(low, node)
    return gathered(low, node, x, node.attrs["axis"], indexes)


@lowers("TILE", "BROADCAST_TO")
def tile(low: Lowering, node: SourceNode) -> Tensor:
    x, numbers = low.tensor(node), low.numbers(node, 1)
    same_type(low, node)
    return repeated(low, node, x, numbers) if node.op == "TILE" else broadcast(low, node, x, numbers)


@lowers("MIRROR_PAD")
def mirror_pad(low: Lowering, node: SourceNode) -> Tensor:
    x, pads = low.tensor(node), low.constant(node, 1).astype(np.int64)
    if pads.shape != (len(x.shape), 2) or pads.min() < 0 or node.attrs["mode"] not in (0, 1):
        raise low.unsupported(node, f"pads {pads.tolist()}, mode {node.attrs['mode']}", "pads from 0 on, modes 0 and 1")
    same_type(low, node)
    return mirrored(low, node, x, pads, "symmetric" if node.attrs["mode"] else "reflect")
