"""Dense layers of TensorFlow Lite: a matrix is a 1x1 convolution over pixels, or one as large as its input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..emitting import SourceNode
from ..layout import Tensor, nhwc, order_of
from ..products import product
from .lowering import Lowering, lowers
from .weights import Weight, bias_of, fits, reals_of, weight_of


@lowers("FULLY_CONNECTED")
def fully_connected(low: Lowering, node: SourceNode) -> Tensor:
    """A 1x1 convolution over the pixels where a row is a pixel, one as large as its input where it is everything."""
    if not fits(low, node, 1, 0):
        return low.in_reals(node, fully_connected)
    x, weight = low.tensor(node), weight_of(low, node, 1, 0)
    if weight.array.ndim != 2 or node.attrs["weights_format"]:
        raise low.unsupported(
            node, f"weights of shape {weight.array.shape}, format {node.attrs['weights_format']}", "a matrix [out, in]"
        )
    outputs, inputs = weight.array.shape
    count = math.prod(x.shape)
    shape = (*x.shape[:-1], outputs) if node.attrs["keep_num_dims"] else (count // max(inputs, 1), outputs)
    return _dense(low, node, x, weight, shape, {"bias": bias_of(low, node, 2, outputs), **low.activation(node)})


def _dense(
    low: Lowering, node: SourceNode, x: Tensor, weight: Weight, shape: tuple[int, ...], fields: dict[str, Any]
) -> Tensor:
    outputs, inputs = weight.array.shape
    count = math.prod(x.shape)
    if (read := x if count == inputs else _line(x, inputs)) is not None:
        columns = np.stack([read.to_hwc(row) for row in weight.array])  # [out, H, W, C]
        value = low.typed(node, "conv", [x.value], kernel=read.dims[:2], **weight.fields(columns), **fields)
    elif inputs == x.dims[2] and x.order.endswith("C"):
        value = low.typed(node, "conv", [x.value], **weight.fields(weight.array[:, None, None]), **fields)
    else:
        raise low.unsupported(node, f"{x.shape} times a matrix of {(inputs, outputs)}", "all of it, or its channels")
    dims = low.builder.dims(value)
    return nhwc(value, dims, shape) if count == inputs else Tensor(value, dims, order_of(x.order, dims), shape)


def _line(x: Tensor, inputs: int) -> Tensor | None:
    """A row or a column of `x`, with its channels, where that is what a row of its tensor has: so many numbers."""
    for letter, dims in (("W", (1, *x.dims[1:])), ("H", (x.dims[0], 1, x.dims[2]))):
        if math.prod(dims) == inputs and set(x.order[-2:]) == {letter, "C"}:
            return Tensor(x.value, dims, x.order[-2:], (inputs,))
    return None


@lowers("BATCH_MATMUL", reals=True)
def batch_matmul(low: Lowering, node: SourceNode) -> Tensor:
    """Times one constant matrix it is a dense layer, times a vector that is computed a sum."""
    x, weight = low.tensor(node), low.env.get(node.inputs[1])
    if isinstance(weight, Tensor):
        factors = [_turned(low, node, y) if node.attrs[adj] else y for y, adj in ((x, "adj_x"), (weight, "adj_y"))]
        return product(low, node, *factors)
    matrix = reals_of(low, node, 1) if isinstance(weight, np.ndarray) else np.zeros(0)
    if matrix.ndim < 2 or matrix.size != matrix.shape[-2] * matrix.shape[-1] or node.attrs["adj_x"]:
        raise low.unsupported(node, "a product of several matrices, or of a turned one", "one constant matrix")
    matrix = matrix.reshape(*matrix.shape[-2:])
    matrix = matrix if node.attrs["adj_y"] else matrix.T
    if x.shape[-1] != matrix.shape[1]:
        raise low.unsupported(node, f"{x.shape} times a matrix of {matrix.T.shape}", "features in the last dimension")
    return _dense(low, node, x, Weight(matrix, None), (*x.shape[:-1], len(matrix)), {})


def _turned(low: Lowering, node: SourceNode, x: Tensor) -> Tensor:
    """Its last two axes in the other order."""
    rank = len(x.shape)
    found = x.transposed([*range(rank - 2), rank - 1, rank - 2])
    if found is None:
        raise low.unsupported(node, f"{x.shape} turned, of order {x.order}", "whole axes")
    return found
