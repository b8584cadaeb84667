"""Comparisons, logic and choices of any source. Answers are numbers: 1 for true, 0 for false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Union

import numpy as np

from . import functions
from .arithmetic import elementwise
from .emitting import SourceNode
from .layout import Tensor
from .walking import Array, Walk

STEEP = 2.0**100  # of what is below 0: smaller differences than 1 / STEEP are none
UNBOUNDED = ("log", "root", "reciprocal")  # which may make what is no number

Operand = Union[Tensor, Array]

# Which input is less than the other one, and whether the answer is turned round.
ORDERS = {
    "less": (0, 1, False),
    "greater": (1, 0, False),
    "greater_or_equal": (0, 1, True),
    "less_or_equal": (1, 0, True),
}


def operands(low: Walk, node: SourceNode) -> list[Operand]:
    """What the inputs of a node are, each a tensor or a constant."""
    found = [low.env.get(name) for name in node.inputs]
    return [x if isinstance(x, np.ndarray) else low.tensor(node, i) for i, x in enumerate(found)]


def combined(low: Walk, node: SourceNode, op: str, given: Sequence[Operand], part: str = "") -> Tensor:
    """`elementwise` of tensors and constants that are no inputs of a node."""
    names = [low.fresh(f"{node.outputs[0]}/{part or op} {i}") for i in range(len(given))]
    low.env.update(zip(names, given))
    name, output = (f"{kept}/{part}" if part else kept for kept in (node.name, node.outputs[0]))
    return elementwise(low, replace(node, name=name, inputs=names, outputs=[output]), op)


def compared(low: Walk, node: SourceNode, kind: str, given: Sequence[Operand], part: str = "") -> Tensor:
    """`kind` is "equal", "not_equal" or one of ORDERS."""
    first, last, turned = ORDERS.get(kind, (0, 1, kind == "equal"))
    below = combined(low, node, "Sub", [given[first], given[last]], f"{part}difference")
    if kind not in ORDERS:
        below = low.affine(node, functions.absolute(low, node, below, f"{part}size"), -1.0, part=f"{part}below")
    least = low.affine(node, below, part=f"{part}least", activation="clamp", clamp=(-np.inf, 0.0))
    slopes = np.full(below.dims[2], -STEEP)
    steep = low.affine(node, least, part=f"{part}steep", activation="prelu", slopes=slopes)
    answer: dict[str, Any] = {"activation": "clamp", "clamp": (0.0, 1.0)}
    if not turned:
        return low.affine(node, steep, part=part.strip(), **answer)
    return opposite(low, node, low.affine(node, steep, part=f"{part}answer", **answer), part.strip())


def opposite(low: Walk, node: SourceNode, answer: Tensor, part: str = "") -> Tensor:
    return low.affine(node, answer, -1.0, 1.0, part=part)


def logic(low: Walk, node: SourceNode, kind: str) -> Tensor:
    """`kind` is "not", "and", "or" or "xor"."""
    given = operands(low, node)
    if kind == "not":
        return opposite(low, node, low.tensor(node))
    if kind == "xor":
        return functions.absolute(low, node, combined(low, node, "Sub", given, "difference"))
    return combined(low, node, {"and": "Mul", "or": "Max"}[kind], given)


def chosen(low: Walk, node: SourceNode, condition: Tensor, given: Sequence[Operand]) -> Tensor:
    """The first of `given` where `condition` is 1, the second one where it is 0: each times 1 or 0, added up."""
    other = opposite(low, node, condition, "otherwise")
    answers = (condition, other), (other, condition)
    given = [_guarded(low, node, x, taken, left) for x, (taken, left) in zip(given, answers)]
    for x in given:
        writer = low.writer.get(x.value) if isinstance(x, Tensor) else None
        if writer is not None and writer.activation in UNBOUNDED:
            raise low.unsupported(
                node, "a choice of what may be no number (a logarithm, a root, a quotient)", "choices of real numbers"
            )
        if isinstance(x, np.ndarray) and not np.isfinite(x).all():
            raise low.unsupported(node, "a choice of a constant that is not finite", "choices of real numbers")
    pairs = [(condition, given[0], "first"), (other, given[1], "second")]
    nothing = [isinstance(x, np.ndarray) and x.size == 1 and not x.any() for x in given]
    parts = [
        combined(low, node, "Mul", [answer, x], "" if any(nothing) else part)
        for (answer, x, part), none in zip(pairs, nothing)
        if not none
    ]
    if not parts:
        return low.affine(node, condition, 0.0)
    return parts[0] if len(parts) == 1 else combined(low, node, "Add", parts)


def _guarded(low: Walk, node: SourceNode, x: Operand, taken: Tensor, left: Tensor) -> Operand:
    """A quotient whose divisor is 1 where the quotient is not taken, so that it is a number there too."""
    writer = low.writer.get(x.value) if isinstance(x, Tensor) else None
    if not isinstance(x, Tensor) or writer is None or writer.op != "div":
        return x
    dividend, divisor = writer.inputs
    if low.builder.dims(divisor) != taken.dims or taken.order != "".join(a for a in x.order if taken.size(a) > 1):
        raise low.unsupported(node, "a choice of a quotient, by other numbers than its divisor", "one for each divisor")
    kept = low.emit(node, "mul", [divisor, taken.value], "divisor taken")
    kept = low.emit(node, "add", [kept, left.value], "divisor")
    return replace(x, value=low.emit(node, "div", [dividend, kept], "quotient"))


def thresholded(low: Walk, node: SourceNode, x: Tensor, least: float) -> Tensor:
    """`x` where it is more than `least`, else 0."""
    above = compared(low, node, "greater", [x, np.array(least)], "above ")
    return combined(low, node, "Mul", [x, above])


def sign(low: Walk, node: SourceNode, x: Tensor) -> Tensor:
    """1 above 0, -1 below, 0 itself."""
    zero = np.zeros(())
    sides = [compared(low, node, kind, [x, zero], f"{kind} ") for kind in ("greater", "less")]
    return combined(low, node, "Sub", sides)
