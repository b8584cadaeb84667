"""Weights and biases as integers, and the correction of what rounding the weights does to a mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..graph import Node
from ..ops import OPS
from .rounding import LARGEST, rounded
from .samples import Float64

SUM = 2.0**30  # most of a bias, and of the products without it, so that an int32 holds both


def other_axes(node: Node) -> tuple[int, ...]:
    """The axes of a node's weight that do not count output channels."""
    return (0, 1) if OPS[node.op].keeps_channels else (1, 2, 3)


def by_channel(node: Node, numbers: Float64) -> Float64:
    """One number for each output channel, shaped so that it broadcasts over the weight."""
    return numbers if OPS[node.op].keeps_channels else numbers[:, None, None, None]


def weight_scales(node: Node, per_channel: bool) -> Float64:
    """The step of each output channel's weights: the largest one is 127 steps; the same for all if not per channel."""
    weight = np.abs(np.asarray(node.weight, np.float64))
    largest = weight.max(other_axes(node))
    if not per_channel:
        largest[:] = largest.max()
    return np.where(largest > 0, largest, 1.0) / LARGEST


def integers(
    node: Node,
    scale_in: float,
    per_channel: bool,
    lost: Callable[[Float64], Float64] | None,
    covariance: Float64 | None = None,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Weight, weight scales and bias of an int8 node whose input has the scale `scale_in`.

    The bias takes back what each output channel has `lost` with the rounded weights, which that function is given as
    real numbers (`biases.Biases.lost`). With `covariance`, that of an output's inputs, weights are not rounded one by
    one (`rounding.rounded`).
    """
    scales = weight_scales(node, per_channel)
    bias = np.zeros(len(scales)) if node.bias is None else np.asarray(node.bias, np.float64)
    real = np.asarray(node.weight, np.float64)
    products = np.abs(real).sum(other_axes(node)) * 255
    scales = np.maximum(scales, np.maximum(products, np.abs(bias) / scale_in) / SUM)
    scales = scales.astype(np.float32).astype(np.float64)
    steps = np.clip(real / by_channel(node, scales), -LARGEST, LARGEST)
    weight = np.rint(steps) if covariance is None else rounded(node, steps, covariance)
    if lost is not None:
        bias = bias + lost(weight * by_channel(node, scales))
    bias = np.clip(np.rint(bias / (scale_in * scales)), -SUM, SUM)
    return weight.astype(np.int8), scales.astype(np.float32), bias.astype(np.int32)


def mean_shift(node: Node, weight: Float64, means: Float64) -> Float64:
    """What a convolution with `weight`, shaped as the node's, makes of an input whose channels are `means`."""
    shift: Float64
    if OPS[node.op].keeps_channels:
        shift = weight.sum((0, 1)) * means
        return shift
    outputs, _, _, per_group = weight.shape
    group = np.arange(outputs) // (outputs // node.groups)
    read = means[group[:, None] * per_group + np.arange(per_group)]  # [out, in / groups]
    shift = np.einsum("oyxi,oi->o", weight, read)
    return shift
