"""Softmax of any source, over the channels, over pixels, rows or columns, or over a part of the channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .emitting import SourceNode
from .layout import AXES, Tensor, order_of, split_of_channels
from .moving import channels, shuffled
from .norms import softmax_of_pixels
from .unfolding import of_anchors, unfolded
from .walking import Walk

MOST_PATHS = 8  # groups of a vector that are weighed number by number


def softmax_over(low: Walk, node: SourceNode, x: Tensor, dimensions: Iterable[int], logarithm: bool = False) -> Tensor:
    """Over those dimensions of the shape of `x` together."""
    dimensions = [i for i in dimensions if x.shape[i] > 1]
    groups = x.groups()
    if groups is None and len(dimensions) == 1:
        split, count = split_of_channels(x), x.shape[dimensions[0]]
        if split is not None and dimensions[0] in split and x.dims[:2] == (1, 1) and count <= MOST_PATHS:
            if dimensions[0] == split[0]:
                return _of_groups(low, node, x, count, logarithm)
            turned = _of_groups(
                low, node, shuffled(low, node, x, x.dims[2] // count, "dealt"), count, logarithm, "shares"
            )
            return shuffled(low, node, turned, count)
        x = unfolded(low, node, x, dimensions[0]) or of_anchors(low, node, x, dimensions[0]) or x
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


def _of_groups(low: Walk, node: SourceNode, x: Tensor, count: int, logarithm: bool, part: str = "") -> Tensor:
    """Over `count` groups of the channels, number by number: which picture of a stack counts how much, as selective
    kernels (arXiv 1903.06586) tell."""
    each, whole = x.dims[2] // count, replace(x, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    parts = [channels(low, node, whole, i * each, each, 3, f"group {i}") for i in range(count)]

    def all_of(op: str, tensors: list[Tensor], name: str) -> str:
        value = tensors[0].value
        for i, other in enumerate(tensors[1:], 1):
            value = low.emit(node, op, [value, other.value], f"{name} {i}")
        return value

    def each_with(op: str, tensors: list[Tensor], value: str, name: str) -> list[Tensor]:
        made = [low.emit(node, op, [t.value, value], f"{name} {i}") for i, t in enumerate(tensors)]
        return [replace(t, value=value) for t, value in zip(tensors, made)]

    below = each_with("sub", parts, all_of("max", parts, "most"), "below")
    powers = [low.affine(node, t, part=f"power {i}", activation="exp") for i, t in enumerate(below)]
    total = replace(powers[0], value=all_of("add", powers, "sum"))
    if logarithm:
        total = low.affine(node, total, part="log", activation="log")
    made = each_with("sub" if logarithm else "div", below if logarithm else powers, total.value, "share")
    return replace(x, value=low.emit(node, "concat", [t.value for t in made], part))
