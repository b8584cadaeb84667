"""ONNX ops that compute nothing: tensors renamed, reshaped, transposed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..blocks import space_and_depth
from ..choosing import compared
from ..layout import Tensor
from ..unfolding import rearranged
from .lowering import Lowering, lowers
from .reading import OnnxNode

_FLOAT32 = 1  # onnx.TensorProto.FLOAT
_BOOL = 9
_INTEGERS = (2, 4, 5, 6, 7, 12, 13)  # of any size: numbers of channels fit


@lowers("Identity", "Dropout", "Cast", "CastLike", sees_all_outputs=True)
def same(low: Lowering, node: OnnxNode) -> Tensor:
    if any(low.is_read(output) for output in node.outputs[1:] if output):
        raise low.unsupported(node, "its mask is read", "its first output alone")
    if node.op == "Cast" and node.attrs["to"] in _INTEGERS and low.is_number(low.tensor(node)):
        return low.tensor(node)
    if node.op == "Cast" and node.attrs["to"] == _BOOL and low.tensor(node).value not in low.graph.types:
        return compared(low, node, "not_equal", [low.tensor(node), np.zeros(())])
    if node.op == "Cast" and node.attrs["to"] != _FLOAT32:
        raise low.unsupported(node, "cast of a computed tensor to another type", "casts to float32")
    if node.op == "Dropout" and bool(np.any(low.constant(node, 2, False))):
        raise low.unsupported(node, "training mode", "models exported for inference")
    x = low.tensor(node)
    if node.op != "Cast" or x.value not in low.graph.types:
        return x
    if x.value not in low.plain and not low.is_number(x):
        raise low.unsupported(node, "a quantised tensor", "DequantizeLinear between them")
    return replace(x, value=low.emit(node, "convert", [x.value]))


@lowers("Transpose")
def transpose(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    perm = node.attrs.get("perm", list(range(len(x.shape)))[::-1])
    result = x.transposed(perm) or space_and_depth(low, node, x, perm) or rearranged(low, node, x, perm)
    if result is None:
        raise low.unsupported(
            node,
            f"perm {perm} moves part of an axis of {x.shape}, which holds (height, width, channels) = {x.dims}",
            "whole axes",
        )
    return result


@lowers("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    rank = len(x.shape)
    if node.op == "Flatten":
        axis = node.attrs.get("axis", 1)
        axis += rank if axis < 0 else 0
        shape = [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])]
    elif node.op == "Reshape":
        shape = low.option(node, "shape", 1)
        if not node.attrs.get("allowzero", 0):
            shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
        if -1 in shape:
            shape[shape.index(-1)] = math.prod(x.shape) // -math.prod(shape)
    elif node.op == "Squeeze":
        axes = low.option(node, "axes", 1, [i for i, size in enumerate(x.shape) if size == 1])
        axes = {axis % rank for axis in axes}
        shape = [size for i, size in enumerate(x.shape) if i not in axes]
    else:
        axes = low.option(node, "axes", 1, [])
        axes = {axis % (rank + len(axes)) for axis in axes}
        rest = iter(x.shape)
        shape = [1 if i in axes else next(rest) for i in range(rank + len(axes))]
    if math.prod(shape) != math.prod(x.shape):
        raise low.unsupported(node, f"{x.shape} to {tuple(shape)}", "the same number of elements")
    return replace(x, shape=tuple(shape))
