"""Operators of TensorFlow Lite that compare, and that choose by what was compared."""

from __future__ import annotations

from ..choosing import chosen, compared, logic, operands, sign
from ..emitting import SourceNode
from ..layout import Tensor
from .lowering import Lowering, lowers

COMPARISONS = {
    "LESS": "less",
    "LESS_EQUAL": "less_or_equal",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_or_equal",
    "EQUAL": "equal",
    "NOT_EQUAL": "not_equal",
}


@lowers(*COMPARISONS, reals=True)
def comparison(low: Lowering, node: SourceNode) -> Tensor:
    return compared(low, node, COMPARISONS[node.op], operands(low, node))


@lowers("LOGICAL_NOT", "LOGICAL_AND", "LOGICAL_OR")
def logical(low: Lowering, node: SourceNode) -> Tensor:
    return logic(low, node, node.op[len("LOGICAL_") :].lower())


@lowers("SIGN", reals=True)
def sign_of(low: Lowering, node: SourceNode) -> Tensor:
    return sign(low, node, low.tensor(node))


@lowers("SELECT", "SELECT_V2", reals=True)
def select(low: Lowering, node: SourceNode) -> Tensor:
    condition, *given = operands(low, node)
    if not isinstance(condition, Tensor):
        raise low.unsupported(node, "a choice that is known", "choices by what the network computes")
    return chosen(low, node, condition, given)
