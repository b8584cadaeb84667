"""Functions of one number: activations of float32 values, tables of 256 of quantised ones; changes of type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import functions
from ..arithmetic import elementwise
from ..arithmetic import prelu as prelu_of
from ..emitting import SourceNode
from ..layout import Tensor
from .fixed_point import clamped_table, hard_swish_table, prelu_table, scaled_table
from .lowering import BOUNDS, Lowering, lowers

Reals = npt.NDArray[Any]


def apply_table(low: Lowering, node: SourceNode, function: Callable[[Reals], Reals]) -> Tensor:
    """`function` of the real numbers that the input's 256 numbers stand for, rounded to the output's type."""
    x, given, made = low.tensor(node), low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    if given is None or made is None:
        raise low.unsupported(node, "a quantised tensor on one side only", "QUANTIZE and DEQUANTIZE between them")
    reals = (np.arange(256) - given.zero_point) * given.scale
    numbers = np.rint(function(reals) / made.scale) + made.zero_point
    return with_table(low, node, x, np.clip(numbers, 0, 255).astype(np.uint8))


def with_table(low: Lowering, node: SourceNode, x: Tensor, table: npt.NDArray[np.uint8]) -> Tensor:
    return replace(x, value=low.typed(node, "lookup", [x.value], weight=table))


def _gelu_tanh(x: Reals) -> Reals:
    return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _gelu(x: Reals) -> Reals:
    return np.asarray(x / 2 * (1 + np.array([math.erf(number) for number in x / math.sqrt(2)])))


@lowers("HARD_SWISH")
def hard_swish(low: Lowering, node: SourceNode) -> Tensor:
    given, made = low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    if given is None or made is None:
        return low.affine(node, low.tensor(node), activation="hard_swish")
    return with_table(low, node, low.tensor(node), hard_swish_table(given, made))


@lowers("LEAKY_RELU")
def leaky_relu(low: Lowering, node: SourceNode) -> Tensor:
    x, alpha = low.tensor(node), float(node.attrs["alpha"])
    given, made = low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    if given is None or made is None:
        return low.affine(node, x, activation="prelu", slopes=np.full(x.dims[2], alpha))
    return with_table(low, node, x, scaled_table(given, made, alpha))


# An operator's function, and the activation of float32 nodes that computes it.
_CURVES: dict[str, tuple[Callable[[Reals], Reals], str]] = {
    "LOGISTIC": (lambda x: 1 / (1 + np.exp(-x)), "sigmoid"),
    "TANH": (np.tanh, "tanh"),
    "EXP": (np.exp, "exp"),
    "ELU": (lambda x: np.where(x < 0, np.expm1(x), x), "elu"),
}


@lowers(*_CURVES, "GELU")
def curve(low: Lowering, node: SourceNode) -> Tensor:
    function: Callable[[Reals], Reals]
    if node.op == "GELU":
        function, activation = (_gelu_tanh, "gelu_tanh") if node.attrs["approximate"] else (_gelu, "gelu")
    else:
        function, activation = _CURVES[node.op]
    if low.type_of(node, node.inputs[0]) is not None:
        return apply_table(low, node, function)
    x = low.tensor(node)
    fields: dict[str, Any] = {"slopes": np.ones(x.dims[2])} if activation == "elu" else {}
    return low.affine(node, x, activation=activation, **fields)


@lowers("LOG", "SQRT", "RSQRT", "SQUARE", "ABS", "NEG", "POW", "SQUARED_DIFFERENCE", reals=True)
def function(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node) if node.op != "POW" or isinstance(low.env[node.inputs[0]], Tensor) else None
    if node.op == "SQUARED_DIFFERENCE":
        return functions.square(low, node, elementwise(low, node, "Sub"))
    if node.op == "POW":
        numbers = [low.env[name] for name in node.inputs]
        constant = next((np.asarray(number) for number in numbers if not isinstance(number, Tensor)), np.zeros(0))
        if constant.size != 1:
            raise low.unsupported(node, "two computed tensors, or many constants", "one constant")
        if x is None:
            return functions.exponential(low, node, low.tensor(node, 1), float(constant.item()))
        return functions.power(low, node, x, float(constant.item()))
    assert x is not None
    if node.op == "NEG":
        return low.affine(node, x, -1.0)
    if node.op in ("LOG", "SQRT"):
        return low.affine(node, x, activation="log" if node.op == "LOG" else "root")
    return {"RSQRT": functions.reciprocal_root, "SQUARE": functions.square, "ABS": functions.absolute}[node.op](
        low, node, x
    )


@lowers("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def clamp(low: Lowering, node: SourceNode) -> Tensor:
    lo, hi = BOUNDS[node.op]
    given, made = low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    if given is not None and made is not None:
        return with_table(low, node, low.tensor(node), clamped_table(given, made, lo, hi))
    return low.affine(node, low.tensor(node), activation="clamp", clamp=(lo, hi))


@lowers("PRELU")
def prelu(low: Lowering, node: SourceNode) -> Tensor:
    x, slopes = low.tensor(node), low.constant(node, 1)
    if low.type_of(node, node.inputs[0]) is None:
        return prelu_of(low, node, x, slopes)
    found = x.per_channel(slopes)
    if found is None or found[1] != x.shape:  # of each element
        return low.in_reals(node, prelu)
    return _prelu_of_integers(low, node, x, found[0])


def _prelu_of_integers(low: Lowering, node: SourceNode, x: Tensor, slopes: Reals) -> Tensor:
    """Of one slope a table. Else one of what is not below 0, and to it, which is 0 then, is added what each channel's
    slope makes of the others: that is rounded once, where TensorFlow Lite rounds twice."""
    given, made = low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    stored = low.source.tensors[node.inputs[1]]
    if given is None or made is None or stored.kind not in ("i1", "u1") or len(stored.scale) != 1:
        return low.in_reals(node, prelu)
    held = low.held(stored, node)
    distances = slopes.astype(np.int64) - held.zero_point
    if (distances == distances[0]).all():
        return with_table(low, node, x, prelu_table(given, made, int(distances[0]), held.scale))
    if np.abs(distances).max() > 127:
        return low.in_reals(node, prelu)
    positive = low.typed(node, "lookup", [x.value], "positive", weight=prelu_table(given, made, 0, held.scale))
    least = np.minimum(np.arange(256), given.zero_point).astype(np.uint8)
    below = low.emit(node, "lookup", [x.value], "below", weight=least)
    low.graph.types[below] = given
    weight = distances.astype(np.int8).reshape(1, 1, -1)
    scales = np.full(len(distances), held.scale, np.float32)
    negative = low.typed(node, "depthwise", [below], "negative", weight=weight, weight_scale=scales)
    return replace(x, value=low.typed(node, "add", [positive, negative]))


@lowers("QUANTIZE", "DEQUANTIZE")
def convert(low: Lowering, node: SourceNode) -> Tensor:
    x, given, made = low.tensor(node), low.type_of(node, node.inputs[0]), low.type_of(node, node.outputs[0])
    if given == made:
        return x
    if given is not None and made is not None:
        return with_table(low, node, x, scaled_table(given, made))
    return replace(x, value=low.typed(node, "convert", [x.value]))
