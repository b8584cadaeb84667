"""Rounding weights one input after the other, the inputs still to come taking back what is lost.

Rounding every weight to the nearest step makes the weights' errors least, not those of the sums. The error of an output
is (w - q) C (w - q)', where C is the covariance of what the node reads on the samples. When an input's weight has been
rounded, the best change of those that follow comes from the inverse of C (GPTQ, arXiv 2210.17323, after Optimal Brain
Quantization, arXiv 2208.11580). It is the covariance and not the second moment, as the bias takes back the mean.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..graph import Graph, Node
from ..ops import OPS
from .observe import progress_values
from .samples import Array, Float64, Samples

LARGEST = 127  # of a weight, either sign
PIXELS = 512  # of a sample whose windows are counted
DAMPING = 0.01  # of the mean variance, added to each: inputs that hardly vary must not take large changes
BLOCK = 64  # inputs that are rounded before the others hear of it
MOST_INPUTS = 4096  # of an output; the covariance of more is not kept, and their weights are rounded one by one


class Covariance:
    """Of the inputs of one node's outputs: for each group of channels a matrix [inputs, inputs]."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._count, self._sums, self._products = 0, np.zeros(()), np.zeros(())
        self._middle: Array | None = None  # of the first sample: what is near to the mean loses fewer digits

    def add(self, values: Array) -> None:
        rows = _windows(self.node, values)  # [groups, pixels, inputs]
        if self._middle is None:
            self._middle = rows.mean(1, keepdims=True)
        rows = (rows - self._middle).astype(np.float64)
        self._count += rows.shape[1]
        self._sums = self._sums + rows.sum(1)
        self._products = self._products + np.matmul(rows.transpose(0, 2, 1), rows)

    def matrix(self) -> Float64:
        means = self._sums / self._count
        found: Float64 = self._products / self._count - means[:, :, None] * means[:, None, :]
        return found


def observe_inputs(graph: Graph, samples: Samples, nodes: Iterable[Node]) -> dict[str, Float64]:
    """The covariance of the inputs of each of `nodes`, by the node's name."""
    found: dict[str, list[Covariance]] = {}
    for node in nodes:
        if _inputs(node) <= MOST_INPUTS:
            found.setdefault(node.inputs[0], []).append(Covariance(node))
    for values in progress_values(graph, samples, "correlations"):
        for name, array in values:
            for covariance in found.get(name, ()):
                covariance.add(array)
    return {each.node.name: each.matrix() for readers in found.values() for each in readers}


def rounded(node: Node, steps: Float64, covariance: Float64) -> Float64:
    """`steps`, a node's weights as real numbers of steps, as integers of at most LARGEST."""
    weights = _by_group(node, steps)  # [groups, outputs of a group, inputs]
    size = covariance.shape[-1]
    variance = np.einsum("gii->gi", covariance)
    damping = np.where(variance.max(-1) > 0, DAMPING * variance.mean(-1), 1.0)
    order = np.argsort(-variance.mean(0), kind="stable")  # what varies most is rounded first
    weights = weights[:, :, order].copy()
    matrix = covariance[:, order][:, :, order] + damping[:, None, None] * np.eye(size)
    factor = np.linalg.cholesky(np.linalg.inv(matrix)).transpose(0, 2, 1)  # upper triangular
    for begin in range(0, size, BLOCK):
        block = slice(begin, min(begin + BLOCK, size))
        lost = np.empty_like(weights[:, :, block])
        for i in range(begin, block.stop):
            whole = np.clip(np.rint(weights[:, :, i]), -LARGEST, LARGEST)
            lost[:, :, i - begin] = (weights[:, :, i] - whole) / factor[:, i, i, None]
            inside = slice(i + 1, block.stop)
            weights[:, :, inside] -= lost[:, :, i - begin, None] * factor[:, None, i, inside]
            weights[:, :, i] = whole
        weights[:, :, block.stop :] -= lost @ factor[:, block, block.stop :]
    back = np.empty_like(weights)
    back[:, :, order] = weights
    return back[:, 0].T.reshape(steps.shape) if OPS[node.op].keeps_channels else back.reshape(steps.shape)


def _inputs(node: Node) -> int:
    """How many numbers one output of a node reads."""
    weight = np.asarray(node.weight)
    return node.kernel[0] * node.kernel[1] * (1 if OPS[node.op].keeps_channels else weight.shape[3])


def _by_group(node: Node, weight: Float64) -> Float64:
    """A node's weight as a matrix for each group of channels: [groups, outputs of the group, inputs]."""
    if OPS[node.op].keeps_channels:
        return weight.reshape(-1, weight.shape[-1]).T[:, None, :]
    return weight.reshape(node.groups, weight.shape[0] // node.groups, -1)


def _windows(node: Node, values: Array) -> Array:
    """What some pixels of a node's output read: [groups, pixels, inputs], inputs as the node's weight has them."""
    top, left, bottom, right = node.pads
    padded = np.pad(values.reshape(values.shape[-3:]), ((top, bottom), (left, right), (0, 0)))
    size = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(node.kernel, node.dilation)]
    views = np.lib.stride_tricks.sliding_window_view(padded, size, (0, 1))  # [rows, columns, channels, size]
    views = views[:: node.stride[0], :: node.stride[1], :, :: node.dilation[0], :: node.dilation[1]]
    rows, columns, channels = views.shape[:3]
    every = max(rows * columns // PIXELS, 1)
    places = np.arange(0, rows * columns, every)
    chosen = views[places // columns, places % columns]  # [pixels, channels, kernel]
    groups = channels if OPS[node.op].keeps_channels else node.groups
    split = chosen.reshape(len(places), groups, channels // groups, -1)
    found: Array = split.transpose(1, 0, 3, 2).reshape(groups, len(places), -1)
    return found
