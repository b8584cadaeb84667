"""Operators of TensorFlow Lite that work element by element: arithmetic, softmax."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...graph import Type
from ..arithmetic import elementwise
from ..emitting import SourceNode
from ..layout import Tensor
from ..norms import normalised, over_channels
from ..softmax import softmax_over
from .fixed_point import product_table, sum_table
from .lowering import Lowering, lowers
from .tables import with_table

_ARITHMETIC = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MINIMUM": "Min", "MAXIMUM": "Max"}


@lowers("ADD_N", reals=True)
def add_all(low: Lowering, node: SourceNode) -> Tensor:
    return elementwise(low, node, "Add")


@lowers("ADD", "SUB", "MUL", "DIV")
def arithmetic(low: Lowering, node: SourceNode) -> Tensor:
    found = [low.env[name] for name in node.inputs]
    if any(low.type_of(node, name) for x, name in zip(found, node.inputs) if isinstance(x, Tensor)):
        return _of_integers(low, node)
    result = elementwise(low, node, _ARITHMETIC[node.op])
    fields = low.activation(node)
    return low.affine(node, result, **fields) if fields else result


def _of_integers(low: Lowering, node: SourceNode) -> Tensor:
    """Sums of two quantised tensors have their own arithmetic, with one stored number all is a table; everything else
    is computed in real numbers."""
    found = [low.env[name] for name in node.inputs]
    if node.op != "DIV" and len(found) == 2 and sum(isinstance(x, np.ndarray) and x.size == 1 for x in found) == 1:
        made = _with_one_number(low, node, [isinstance(x, Tensor) for x in found].index(True))
        if made is not None:
            return made
    if node.op in ("ADD", "SUB") and len(found) == 2 and all(isinstance(x, Tensor) for x in found):
        a, b = low.tensor(node), low.tensor(node, 1)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.dims == b.dims and a.order == b.order and math.prod(shape) == math.prod(a.shape):
            other = b.value if node.op == "ADD" else negative(low, node, b.value)
            return replace(a, value=low.typed(node, "add", [a.value, other], **low.activation(node)), shape=shape)
    return low.in_reals(node, arithmetic)


def _with_one_number(low: Lowering, node: SourceNode, computed: int) -> Tensor | None:
    """A quantised tensor, the input `computed`, plus, minus or times a stored number, or that minus it."""
    x, (number,) = low.tensor(node, computed), low.numbers(node, 1 - computed)
    name, stored = node.inputs[computed], low.source.tensors[node.inputs[1 - computed]]
    given, made = low.type_of(node, name), low.type_of(node, node.outputs[0])
    if given is None or made is None or stored.kind not in ("i1", "u1") or len(stored.scale) != 1:
        return None
    if len(stored.shape) > len(x.shape):
        return None
    held, bounds = low.held(stored, node), low.activation(node).get("clamp", (-math.inf, math.inf))
    scales, distance = [given.scale, held.scale], number - held.zero_point
    if node.op == "SUB":
        scales[0 if computed else 1] *= -1
    if node.op == "MUL":
        return with_table(low, node, x, product_table(given, distance, held.scale, made, bounds))
    table = sum_table(replace(given, scale=scales[0]), distance, scales[1], made, bounds)
    return None if table is None else with_table(low, node, x, table)


@lowers("MINIMUM", "MAXIMUM")
def extreme(low: Lowering, node: SourceNode) -> Tensor:
    """Of quantised tensors TensorFlow Lite compares the integers, whatever their scales are: they are taken for numbers
    of the result's scale."""
    made = low.type_of(node, node.outputs[0])
    if made is None:
        return arithmetic(low, node)
    held, before = low.held(low.source.tensors[node.outputs[0]]), {name: low.env[name] for name in node.inputs}
    for i, (name, found) in enumerate(before.items()):
        if isinstance(found, np.ndarray):
            low.env[name] = np.asarray((found.astype(np.float32) - held.zero_point) * np.float32(held.scale))
        elif low.type_of(node, name) != made:
            low.env[name] = low.reread(node, found, made, f"input {i}")
    try:
        return low.in_reals(node, arithmetic)
    finally:
        low.env.update(before)


def negative(low: Lowering, node: SourceNode, value: str) -> str:
    """255 minus a number, with the zero point 255 - z, stands for the negative of what the number stands for."""
    given = low.graph.types[value]
    made = low.emit(node, "lookup", [value], "negative", weight=np.arange(256, dtype=np.uint8)[::-1].copy())
    low.graph.types[made] = Type("uint8", given.scale, 255 - given.zero_point)
    return made


@lowers("L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION", reals=True)
def norm(low: Lowering, node: SourceNode) -> Tensor:
    x, attrs = low.tensor(node), node.attrs
    if not over_channels(x, {len(x.shape) - 1}):
        raise low.unsupported(node, f"over the last axis of {x.shape}", "over the channels")
    if node.op == "L2_NORMALIZATION":
        result, fields = normalised(low, node, x, least=1e-12), low.activation(node)
        return low.affine(node, result, **fields) if fields else result
    numbers = {"factor": attrs["alpha"], "offset": attrs["bias"], "exponent": attrs["beta"]}
    if attrs["radius"] < 0 or min(numbers.values()) < 0:
        raise low.unsupported(node, f"radius {attrs['radius']}, {numbers}", "numbers from 0 on")
    return normalised(low, node, x, window=2 * attrs["radius"] + 1, **numbers)


@lowers("LOG_SOFTMAX", reals=True)
def log_softmax(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node)
    return softmax_over(low, node, x, [len(x.shape) - 1], logarithm=True)


@lowers("SOFTMAX")
def softmax(low: Lowering, node: SourceNode) -> Tensor:
    x, beta = low.tensor(node), node.attrs["beta"]
    of_channels = over_channels(x, {len(x.shape) - 1})
    if beta != 1 or not of_channels:
        if low.type_of(node, node.inputs[0]) is not None:
            return low.in_reals(node, softmax)
        x = x if beta == 1 else low.affine(node, x, beta, part="beta")
    if not of_channels:
        return softmax_over(low, node, x, [len(x.shape) - 1])
    return replace(x, value=low.typed(node, "softmax", [x.value]))
