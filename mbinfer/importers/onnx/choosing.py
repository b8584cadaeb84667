"""ONNX ops that compare, and that choose by what was compared."""

from __future__ import annotations

import numpy as np

from ..choosing import chosen, compared, logic, operands, sign, thresholded
from ..layout import Tensor
from .lowering import Lowering, lowers
from .reading import OnnxNode

COMPARISONS = {
    "Less": "less",
    "LessOrEqual": "less_or_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_or_equal",
    "Equal": "equal",
}


@lowers(*COMPARISONS)
def comparison(low: Lowering, node: OnnxNode) -> Tensor:
    return compared(low, node, COMPARISONS[node.op], operands(low, node))


@lowers("Not", "And", "Or", "Xor")
def logical(low: Lowering, node: OnnxNode) -> Tensor:
    return logic(low, node, node.op.lower())


@lowers("Sign")
def sign_of(low: Lowering, node: OnnxNode) -> Tensor:
    return sign(low, node, low.tensor(node))


@lowers("ThresholdedRelu")
def thresholded_relu(low: Lowering, node: OnnxNode) -> Tensor:
    return thresholded(low, node, low.tensor(node), node.attrs.get("alpha", 1.0))


@lowers("Where")
def where(low: Lowering, node: OnnxNode) -> Tensor:
    """Of a known mask by channel and a constant: zeros and ones times the tensor, plus the constant where it counts."""
    condition, *given = operands(low, node)
    if isinstance(condition, Tensor):
        return chosen(low, node, condition, given)
    kept = 0 if isinstance(given[0], Tensor) else 1
    x, other = low.tensor(node, 1 + kept), given[1 - kept]
    mask = condition if kept == 0 else ~condition
    if not isinstance(other, np.ndarray) or not np.isfinite(other).all():
        raise low.unsupported(node, "two computed tensors, or what is not finite", "a known mask, and one constant")
    factor, term = x.per_channel(mask.astype(np.float64)), x.per_channel(np.where(mask, 0.0, other))
    if factor is None or term is None or factor[1] != term[1]:
        raise low.unsupported(node, f"a mask of shape {mask.shape} on {x.shape}", "one answer for each channel")
    return low.affine(node, x, factor[0], term[0], shape=factor[1])
