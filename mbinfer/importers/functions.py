"""Functions of one number that are made of activations and arithmetic: powers, absolute values, softsign."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .emitting import SourceNode
from .layout import Tensor
from .walking import Walk

MOST_PRODUCTS = 8  # of a whole power


def square(low: Walk, node: SourceNode, x: Tensor, part: str = "") -> Tensor:
    return replace(x, value=low.emit(node, "mul", [x.value, x.value], part))


def absolute(low: Walk, node: SourceNode, x: Tensor, part: str = "") -> Tensor:
    """Negative numbers times -1."""
    return low.affine(node, x, part=part, activation="prelu", slopes=np.full(x.dims[2], -1.0))


def elu(low: Walk, node: SourceNode, x: Tensor, below: float, above: float = 1.0, inner: float = 1.0) -> Tensor:
    """``above * x`` for positive numbers, ``below * (e^(inner * x) - 1)`` for negative ones."""
    slopes = np.full(x.dims[2], below * inner / above)
    if inner != 1:
        x = low.affine(node, x, inner, part="inner")
    outer = above / inner
    made = low.affine(node, x, part="" if outer == 1 else "elu", activation="elu", slopes=slopes)
    return made if outer == 1 else low.affine(node, made, outer)


def softsign(low: Walk, node: SourceNode, x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    size = low.affine(node, absolute(low, node, x, "absolute"), 1.0, 1.0, part="more")
    return replace(x, value=low.emit(node, "div", [x.value, size.value]))


def reciprocal_root(low: Walk, node: SourceNode, x: Tensor) -> Tensor:
    return low.affine(node, low.affine(node, x, part="root", activation="root"), activation="reciprocal")


def power(low: Walk, node: SourceNode, x: Tensor, exponent: float) -> Tensor:
    """``x ^ exponent``: whole ones as products, the root with a root, others as ``e ^ (exponent * log(x))``."""
    if exponent == 1:
        return x
    if exponent < 0:
        size = power_of(low, node, x, -exponent, "power")
        return low.affine(node, size, activation="reciprocal")
    return power_of(low, node, x, exponent, "")


def power_of(low: Walk, node: SourceNode, x: Tensor, exponent: float, part: str) -> Tensor:
    whole = int(exponent) if exponent <= MOST_PRODUCTS else 0
    if exponent == 0:
        raise low.unsupported(node, "the power of 0", "powers other than 0")
    if exponent > MOST_PRODUCTS and exponent.is_integer():  # of which negative numbers have no logarithm
        raise low.unsupported(
            node, f"the power of {exponent:g}", f"whole powers up to {MOST_PRODUCTS}, which are products"
        )
    if exponent == 0.5:
        return low.affine(node, x, part=part, activation="root")
    if exponent != whole:
        logarithm = low.affine(node, x, part="log", activation="log")
        return low.affine(node, low.affine(node, logarithm, float(exponent), part="times"), part=part, activation="exp")
    result = x
    for count in range(2, whole + 1):
        name = part if count == whole else f"power{count}"
        result = replace(x, value=low.emit(node, "mul", [result.value, x.value], name))
    return result


def exponential(low: Walk, node: SourceNode, x: Tensor, base: float) -> Tensor:
    """``base ^ x``."""
    if base <= 0:
        raise low.unsupported(node, f"powers of {base}", "powers of positive numbers")
    return low.affine(node, low.affine(node, x, float(np.log(base)), part="times"), activation="exp")
