"""Dense layers of ONNX: a matrix is a 1x1 convolution over pixels, or a convolution as large as its input."""

from __future__ import annotations

import numpy as np

from ..arithmetic import add_constant
from ..layout import Tensor, order_of
from ..products import product
from .lowering import Lowering, lowers
from .reading import OnnxNode


@lowers("Gemm")
def gemm(low: Lowering, node: OnnxNode) -> Tensor:
    weight, bias, alpha = low.constant(node, 1), low.constant(node, 2), node.attrs.get("alpha", 1.0)
    if node.attrs.get("transA", 0):
        raise low.unsupported(node, "transA is set", "a row of features times a constant matrix")
    weight = weight if node.attrs.get("transB", 0) else weight.T
    weight = weight if alpha == 1 else weight * np.float64(alpha)
    if bias is None:
        return _dense(low, node, weight)
    x = _dense(low, node, weight, part="product")
    return add_constant(low, node, x, bias * np.float64(node.attrs.get("beta", 1.0)))


@lowers("MatMul")
def matmul(low: Lowering, node: OnnxNode) -> Tensor:
    if isinstance(low.env.get(node.inputs[0]), np.ndarray):
        return _mixed(low, node)
    if isinstance(low.env.get(node.inputs[1]), Tensor):
        return product(low, node, low.tensor(node), low.tensor(node, 1))
    weight = low.constant(node, 1)
    if weight.ndim < 2 or weight.size != weight.shape[-2] * weight.shape[-1]:
        raise low.unsupported(node, f"a weight of shape {weight.shape}", "one constant matrix [in, out]")
    return _dense(low, node, weight.reshape(weight.shape[-2:]).T)


def _dense(low: Lowering, node: OnnxNode, weight: np.ndarray, part: str = "") -> Tensor:
    """The last dimension of the first input times ``weight[out, in]``: a 1x1 convolution over the pixels where that
    dimension is the channels, a convolution as large as its input where it is everything."""
    x, outputs = low.tensor(node), len(weight)
    groups = x.groups()
    last = None if groups is None else groups[-1]
    if last is None or x.shape[-1] != weight.shape[1]:
        raise low.unsupported(node, f"{x.shape} times a matrix of {weight.T.shape}", "features in the last dimension")
    shape = (*x.shape[:-1], outputs)
    if last == "C" or (last == "" and x.dims[2] == 1):
        dims = (*x.dims[:2], outputs)
        value = low.emit(node, "conv", [x.value], part, weight=weight[:, None, None, :])
        return Tensor(value, dims, order_of(x.order.replace("C", "") + "C", dims), shape)
    if last != x.order:
        raise low.unsupported(node, f"the last of {x.shape} mixes channels and pixels", "channels alone, or everything")
    dims = (1, 1, outputs)
    columns = np.stack([x.to_hwc(row) for row in weight])  # [out, H, W, C], whatever order the source flattened
    value = low.emit(node, "conv", [x.value], part, weight=columns, kernel=x.dims[:2])
    return Tensor(value, dims, order_of("C", dims), shape)


def _mixed(low: Lowering, node: OnnxNode) -> Tensor:
    """A matrix times a tensor whose last dimension but one is the channels: a 1x1 convolution."""
    weight, x = low.constant(node, 0), low.tensor(node, 1)
    plain = weight.ndim >= 2 and weight.size == weight.shape[-2] * weight.shape[-1] and len(x.shape) >= 2
    if not plain or x.letters_of(len(x.shape) - 2) != "C" or x.dims[2] != weight.shape[-1]:
        raise low.unsupported(node, f"a matrix of {weight.shape} times {x.shape}", "one constant matrix, of channels")
    value = low.emit(node, "conv", [x.value], weight=weight.reshape(weight.shape[-2:])[:, None, None, :])
    dims = low.builder.dims(value)
    return Tensor(value, dims, order_of(x.order, dims), (*x.shape[:-2], dims[2], x.shape[-1]))
