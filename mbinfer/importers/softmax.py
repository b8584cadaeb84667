"""Softmax of any source, over the channels, over pixels, rows or columns, or over a part of the channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .emitting import SourceNode
from .layout import Tensor
from .norms import softmax_of_pixels
from .unfolding import unfolded
from .walking import Walk


def softmax_over(low: Walk, node: SourceNode, x: Tensor, dimensions: Iterable[int], logarithm: bool = False) -> Tensor:
    """Over those dimensions of the shape of `x` together."""
    dimensions = [i for i in dimensions if x.shape[i] > 1]
    groups = x.groups()
    if groups is None and len(dimensions) == 1:
        x = unfolded(low, node, x, dimensions[0]) or x
        groups = x.groups()
    over = {letter for i in dimensions for letter in groups[i]} if groups is not None else set()
    if groups is not None and not over:  # of one number
        return low.affine(node, x, 0.0, 0.0 if logarithm else 1.0)
    if over == {"C"}:
        return replace(x, value=low.emit(node, "softmax", [x.value], logarithm=logarithm))
    if "C" in over or not over:
        raise low.unsupported(
            node,
            f"softmax over axes {dimensions} of {x.shape} that hold (height, width, channels) = {x.dims}",
            "over the channels, over one of two groups of them, over rows, columns, or all pixels",
        )
    return softmax_of_pixels(low, node, x, over, logarithm)
