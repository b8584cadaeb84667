"""Products of two computed tensors of which one is a vector: numbers added up with weights that are computed, too.

Global context (arXiv 1904.11492) pools a map so: channels by pixels times the softmax of one map of the same pixels.
"""

from __future__ import annotations

from dataclasses import replace

from .arithmetic import two_values
from .emitting import SourceNode
from .layout import Tensor
from .reducing import reduced
from .walking import Walk


def product(low: Walk, node: SourceNode, a: Tensor, b: Tensor) -> Tensor:
    """``a @ b``, where `a` has one row or `b` one column."""
    column = b.shape[-1] == 1
    if min(len(a.shape), len(b.shape)) < 2 or a.shape[-1] != b.shape[-2] or not (column or a.shape[-2] == 1):
        raise low.unsupported(
            node, f"a product of two computed tensors, {a.shape} and {b.shape}", "a constant matrix, or one vector"
        )
    a, b = (a, _turned(b)) if column else (_turned(a), b)
    weighed = two_values(low, node, "Mul", a, b, "weighed")
    return reduced(low, node, weighed, [-1 if column else -2], True, "sum")


def _turned(x: Tensor) -> Tensor:
    """A row as a column, or a column as a row."""
    return replace(x, shape=(*x.shape[:-2], x.shape[-1], x.shape[-2]))
