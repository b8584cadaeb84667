"""Arithmetic of computed tensors and constants, and the gates recognised in it that make an activation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from ..graph import Node
from .emitting import SourceNode
from .given import given
from .joining import MOST_PIECES, as_groups
from .layout import Tensor, layouts_of, split_of_channels
from .moving import cut
from .picking import broadcast, each_repeated
from .unfolding import as_picture, with_whole_channels
from .walking import Array, Walk

_RELU6_GATE = (1 / 6, 1 / 2)  # hard sigmoid: clip(x / 6 + 1 / 2, 0, 1)


def elementwise(low: Walk, node: SourceNode, op: str) -> Tensor:
    """`op` is one of Add, Sub, Mul, Div, Min, Max. Two inputs, or any number of Add, Min and Max: the constants become
    one, the tensors are taken pair by pair."""
    inputs = [low.env.get(name) for name in node.inputs]
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    constants = [x.astype(np.float64) for x in inputs if isinstance(x, np.ndarray)]
    if len(tensors) + len(constants) != len(inputs) or (len(inputs) != 2 and op not in ("Add", "Min", "Max")):
        raise low.unsupported(node, f"{len(inputs)} inputs, some not available", "two inputs, first outputs of nodes")
    if len(inputs) == 1:
        return tensors[0]
    if len(constants) > 1:
        constants = [reduce({"Add": np.add, "Min": np.minimum, "Max": np.maximum}[op], constants)]
    x = tensors[0]
    for count, other in enumerate(tensors[1:], 2):
        x = two_values(low, node, op, x, other, "" if count == len(tensors) and not constants else f"{count}")
    return _with_constant(low, node, op, x, constants[0], not isinstance(inputs[0], Tensor)) if constants else x


def add_constant(low: Walk, node: SourceNode, x: Tensor, constant: Array) -> Tensor:
    """``x + constant``, where that is one number per channel."""
    found = x.per_channel(constant)
    if found is None:
        return _with_constant_pixels(low, node, "Add", x, constant, False)
    return low.affine(node, x, bias=found[0], shape=found[1])


def prelu(low: Walk, node: SourceNode, x: Tensor, slopes: Array) -> Tensor:
    """Numbers below zero times a slope: one for all, for each channel, or, as Keras' PReLU has it, for each element."""
    found = x.per_channel(slopes)
    if found is not None and found[1] == x.shape:
        return low.affine(node, x, activation="prelu", slopes=found[0])
    other = given(low, node, x, slopes)
    if other is None:
        raise low.unsupported(node, f"slopes of {slopes.shape} on {x.shape}", "one, or one for each channel or element")
    above = low.affine(node, x, part="above", activation="clamp", clamp=(0.0, np.inf))
    below = low.affine(node, x, part="below", activation="clamp", clamp=(-np.inf, 0.0))
    return two_values(low, node, "Add", above, two_values(low, node, "Mul", below, other, "slopes"), "")


def _with_constant(low: Walk, node: SourceNode, op: str, x: Tensor, constant: Array, first: bool) -> Tensor:
    if op == "Add":
        return add_constant(low, node, x, constant)
    if op == "Div" and first:
        x, op = low.affine(node, x, part="reciprocal", activation="reciprocal"), "Mul"
    found = x.per_channel(constant)
    if found is None or (op in ("Min", "Max") and constant.size != 1):
        return _with_constant_pixels(low, node, op, x, constant, first)
    number, shape = found
    if op in ("Min", "Max"):
        bounds = (-np.inf, constant.item()) if op == "Min" else (constant.item(), np.inf)
        return low.affine(node, x, shape=shape, activation="clamp", clamp=bounds)
    if op == "Sub":
        return low.affine(node, x, *((-1.0, number) if first else (1.0, -number)), shape=shape)
    if op == "Div" and not number.all():
        raise low.unsupported(node, "division by zero", "constants other than zero")
    return low.affine(node, x, number if op == "Mul" else 1 / number, shape=shape)


def _with_constant_pixels(low: Walk, node: SourceNode, op: str, x: Tensor, constant: Array, first: bool) -> Tensor:
    """A constant of a number for each element, or for each pixel, or of more elements than x, which is repeated."""
    shape = np.broadcast_shapes(x.shape, constant.shape)
    if math.prod(shape) > math.prod(x.shape):
        return _with_constant(low, node, op, broadcast(low, node, x, shape, "repeated"), constant, first)
    other = given(low, node, x, constant)
    if other is None:
        raise low.unsupported(node, f"a constant of shape {constant.shape} on {x.shape}", "a number for each element")
    return two_values(low, node, op, *((other, x) if first else (x, other)), "")


def two_values(low: Walk, node: SourceNode, op: str, a: Tensor, b: Tensor, part: str) -> Tensor:
    """`op` of two computed tensors, one of which may be repeated to match the other."""
    if op == "Mul":
        for x, gate in ((a, b), (b, a)):
            found = _gated(low, x, gate)
            if found is not None:
                return low.affine(node, low.affine(node, x, activation=found[0], part=found[0]), found[1])
    shape = np.broadcast_shapes(a.shape, b.shape)
    a = _once(low, a, b)
    b = _once(low, b, a)
    a, b = _grouped(low, node, a, b, f"{part}first "), _grouped(low, node, b, a, f"{part}second ")
    split = split_of_channels(a)
    if split is not None and split == split_of_channels(b):
        whole = two_values(low, node, op, with_whole_channels(a), with_whole_channels(b), part)
        return replace(whole, shape=shape)
    a, b = _upright(low, node, a, b), _upright(low, node, b, a)
    a, b = _repeated(low, node, a, b, shape, part)
    if _gates(b, a):
        if op in ("Sub", "Div"):  # a - b = -b + a, a / b = 1 / b * a
            inverse: dict[str, Any] = {"activation": "reciprocal"} if op == "Div" else {}
            b = low.affine(node, b, -1.0 if op == "Sub" else 1.0, part="inverse", **inverse)
            op = "Add" if op == "Sub" else "Mul"
        a, b = b, a
    if op == "Add" and _gates(a, b):
        b, op = low.affine(node, b, -1.0, part="negative"), "Sub"
    if not (_alike(a, b) or _gates(a, b)) or math.prod(shape) != math.prod(a.shape):
        raise low.unsupported(
            node,
            f"tensors of {a.shape} and {b.shape} that hold (height, width, channels) = "
            f"{a.dims} in order {a.order} and {b.dims} in order {b.order}",
            "equal shapes and layouts, or such as repeat one of them along an axis",
        )
    return replace(a, value=low.emit(node, op.lower(), [a.value, b.value], part), shape=shape)


def _grouped(low: Walk, node: SourceNode, x: Tensor, other: Tensor, part: str) -> Tensor:
    """`x` with a group of channels for each picture of the stack `other`, where it has a row or a number for each, or
    is for all of them alike."""
    split, groups = split_of_channels(other), x.groups()
    if split is None or groups is None or len(x.shape) != len(other.shape):
        return x
    (axis, last), count, each = split, *(other.shape[i] for i in split)
    letter = groups[axis]
    if letter == "C" and x.dims[2] == count and x.shape[last] == 1:
        return each_repeated(low, node, x, last, "C", each, f"{part}for all channels")
    if groups[last] != "C" or x.dims[2] != each or count > MOST_PIECES:
        return x
    if letter in ("H", "W") and x.shape[axis] == count and set(x.order) == {letter, "C"}:
        pictures = [cut(low, node, x, axis, i, i + 1, 1, f"{part}picture {i}") for i in range(count)]
    elif x.shape[axis] == 1:
        pictures = [x] * count
    else:
        return x
    return as_groups(low, node, pictures, axis, f"{part}groups") or x


def _once(low: Walk, x: Tensor, other: Tensor) -> Tensor:
    """`x` before the source repeated it (PyTorch's `normalize` does), where `other` repeats it anyway."""
    made, before = low.once.get(x.value, (None, x))
    repeats = np.broadcast_shapes(before.shape, other.shape) == np.broadcast_shapes(x.shape, other.shape)
    return before if made == x and repeats else x


def _upright(low: Walk, node: SourceNode, x: Tensor, other: Tensor) -> Tensor:
    """`x` in the layout of `other`, which is no smaller, where both have four dimensions and it is a column that was
    turned to a row."""
    alike = len(x.shape) == len(other.shape) == 4 and math.prod(x.shape) <= math.prod(other.shape)
    layouts = layouts_of(other) if alike else []
    if not layouts or any(x.shows(layout) for layout in layouts):
        return x
    return as_picture(low, node, x, layouts[0]) or x


def _repeated(
    low: Walk, node: SourceNode, a: Tensor, b: Tensor, shape: tuple[int, ...], part: str
) -> tuple[Tensor, Tensor]:
    """Both, each repeated along axes that only the other one has, until kernels take them."""
    for first in (True, False):
        x = a if first else b
        if _alike(a, b) or _gates(a, b) or _gates(b, a) or math.prod(shape) == math.prod(x.shape):
            continue
        x = broadcast(low, node, x, shape, f"{part}{'first' if first else 'second'}")
        a, b = (x, b) if first else (a, x)
    return a, b


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.dims == b.dims and a.order == b.order


def _gates(x: Tensor, gate: Tensor) -> bool:
    """Whether `gate` broadcasts to `x` as one number for each channel, for each pixel, or for all."""
    groups, held = x.groups(), {axis for axis in x.order if gate.size(axis) > 1}
    if groups is None or gate.dims == x.dims or len(gate.shape) > len(x.shape):
        return False
    if gate.dims[:2] not in (x.dims[:2], (1, 1)) or gate.dims[2] not in (x.dims[2], 1):
        return False
    shape = (1,) * (len(x.shape) - len(gate.shape)) + gate.shape
    kept = ["".join(axis for axis in group if axis in held) for group in groups]
    if any(part not in ("", group) for part, group in zip(kept, groups)) or "".join(kept) != gate.order:
        return False
    return all(size == math.prod(x.size(axis) for axis in part) for size, part in zip(shape, kept))


def _gated(low: Walk, x: Tensor, gate: Tensor) -> tuple[str, float] | None:
    """The activation and `f` where ``x * gate`` is ``f * activation(x)``; None where it is something else.

    Follows the gate's writers back to `x` through affine maps, clamps and curves of one number for all channels.
    """
    chain: list[_Map] = []
    value = gate.value
    while value != x.value:
        writer = low.writer.get(value)
        step = None if writer is None else _Map.of(writer)
        if writer is None or step is None:
            return None
        chain.insert(0, step)
        value = writer.inputs[0]
    if (gate.order, gate.shape) != (x.order, x.shape):
        return None
    curves = [i for i, step in enumerate(chain) if step.activation not in ("none", "clamp")]
    if not curves:
        factor = _relu6_factor(chain)
        return None if factor is None else ("hard_swish", factor)
    at = curves[0]
    before, behind = _Map.composed(chain[: at + 1]), _Map.composed(chain[at + 1 :])
    bent = any(step.activation != "none" for step in chain[at + 1 :])
    if before is None or behind is None or not behind[0] or bent:
        return None
    for curve, activation, inner, outer in (("sigmoid", "silu", 1.0, 0.0), ("erf", "gelu", math.sqrt(0.5), 1.0)):
        if chain[at].activation == curve and np.allclose((*before, behind[1] / behind[0]), (inner, 0, outer), 1e-5):
            return activation, behind[0] * (1 + outer)
    return None


@dataclass
class _Map:
    """``activation(x * factor + term)``, the same for every channel."""

    factor: float
    term: float
    activation: str
    clamp: tuple[float, float]

    @staticmethod
    def of(node: Node) -> _Map | None:
        if node.op != "depthwise" or node.kernel != (1, 1) or any(node.pads) or node.stride != (1, 1):
            return None
        if node.activation not in ("none", "clamp", "sigmoid", "erf"):
            return None
        assert node.weight is not None
        factor, term = float(np.ravel(node.weight)[0]), 0.0 if node.bias is None else float(node.bias[0])
        if np.any(node.weight != factor) or (node.bias is not None and np.any(node.bias != term)):
            return None
        return _Map(factor, term, node.activation, node.clamp)

    @staticmethod
    def composed(steps: list[_Map]) -> tuple[float, float] | None:
        """Factor and term of affine maps one after another, the last one's activation aside."""
        factor, term = 1.0, 0.0
        for step in steps:
            factor, term = step.factor * factor, step.factor * term + step.term
        return (factor, term) if all(step.activation == "none" for step in steps[:-1]) else None


def _relu6_factor(chain: list[_Map]) -> float | None:
    """`f` where affine maps and clamps compose to ``f * clip(x / 6 + 1 / 2, 0, 1)``, or None."""
    scale, bias, lo, hi = 1.0, 0.0, -np.inf, np.inf
    for step in chain:
        factor, term = step.factor, step.term
        if factor <= 0:
            return None
        scale, bias, lo, hi = factor * scale, factor * bias + term, factor * lo + term, factor * hi + term
        lo, hi = (min(max(bound, step.clamp[0]), step.clamp[1]) for bound in (lo, hi))
    if lo != 0 or not 0 < hi < np.inf:
        return None
    return hi if np.allclose((scale / hi, bias / hi), _RELU6_GATE, rtol=1e-5, atol=0) else None
