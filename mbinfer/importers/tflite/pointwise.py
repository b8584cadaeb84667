"""Operators of TensorFlow Lite that work element by element: arithmetic, softmax."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..arithmetic import elementwise
from ..emitting import SourceNode
from ..layout import Tensor
from .lowering import Lowering, lowers

_ARITHMETIC = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MINIMUM": "Min", "MAXIMUM": "Max"}


@lowers(*_ARITHMETIC)
def arithmetic(low: Lowering, node: SourceNode) -> Tensor:
    found = [low.env[name] for name in node.inputs]
    if any(low.type_of(node, name) for x, name in zip(found, node.inputs) if isinstance(x, Tensor)):
        return _of_integers(low, node)
    result = elementwise(low, node, _ARITHMETIC[node.op])
    fields = low.activation(node)
    return low.affine(node, result, **fields) if fields else result


def _of_integers(low: Lowering, node: SourceNode) -> Tensor:
    found = [low.env[name] for name in node.inputs]
    if node.op == "ADD" and all(isinstance(x, Tensor) for x in found):
        a, b = found
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.dims != b.dims or a.order != b.order or math.prod(shape) != math.prod(a.shape):
            raise low.unsupported(node, f"tensors of {a.shape} and {b.shape}", "equal shapes")
        return replace(a, value=low.typed(node, "add", [a.value, b.value], **low.activation(node)), shape=shape)
    raise low.unsupported(
        node, f"{node.op} of quantised tensors" + ("" if len(found) == 2 else f", {len(found)} of them"), "ADD of two"
    )


@lowers("SOFTMAX")
def softmax(low: Lowering, node: SourceNode) -> Tensor:
    x, beta = low.tensor(node), node.attrs["beta"]
    groups = x.groups()
    if groups is None or groups[-1] != ("C" if x.dims[2] > 1 else ""):
        raise low.unsupported(node, f"softmax over the last axis of {x.shape}", "over the channels")
    if beta != 1:
        if low.type_of(node, node.inputs[0]) is not None:
            raise low.unsupported(node, f"beta {beta} on quantised values", "beta 1 there")
        x = low.affine(node, x, beta, part="beta")
    return replace(x, value=low.typed(node, "softmax", [x.value]))
