"""ONNX ops that look at the axes of a picture: convolution, padding, pools, dense layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .layout import Tensor, order_of
from .lowering import Lowering, lowers
from .reading import OnnxNode


@lowers("Conv")
def conv(low: Lowering, node: OnnxNode) -> Tensor:
    x, weight, bias = low.image(node), low.constant(node, 1), low.constant(node, 2)
    if weight.ndim != 4:
        raise low.unsupported(node, f"weight of shape {weight.shape}", "two dimensions of space")
    outputs, _, *kernel = weight.shape
    channels, groups = x.dims[2], node.attrs.get("group", 1)
    if weight.shape[1] * groups != channels or outputs % groups:
        raise low.unsupported(
            node,
            f"weight {weight.shape} and {groups} groups on {channels} channels",
            "weights [out, channels / groups, kh, kw]",
        )
    window = _window(low, node, x, tuple(kernel))
    dims = (*_output_size(x, window), outputs)
    if groups == channels == outputs:
        return low.picture(node, "depthwise", x, dims, weight=weight[:, 0].transpose(1, 2, 0), bias=bias, **window)
    return low.picture(node, "conv", x, dims, weight=weight.transpose(0, 2, 3, 1), bias=bias, groups=groups, **window)


@lowers("MaxPool", "AveragePool", sees_all_outputs=True)
def pool(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.image(node)
    if any(low.is_read(output) for output in node.outputs[1:] if output):
        raise low.unsupported(node, "the indices of its maxima are read", "its first output alone")
    window = _window(low, node, x, tuple(node.attrs["kernel_shape"]))
    if window["dilation"] != (1, 1):
        raise low.unsupported(node, f"dilation {window['dilation']}", "pools without dilation")
    counts_padding = node.op == "AveragePool" and bool(node.attrs.get("count_include_pad", 0)) and any(window["pads"])
    if node.attrs.get("ceil_mode", 0):
        floor = window["pads"]
        window["pads"] = _ceil_pads(x, window)
        if counts_padding and window["pads"] != floor:
            raise low.unsupported(
                node,
                "ceil_mode adds windows that count_include_pad counts only in part",
                "one of the two, or sizes where ceil_mode changes nothing",
            )
    op = "max_pool" if node.op == "MaxPool" else "avg_pool"
    return low.picture(node, op, x, (*_output_size(x, window), x.dims[2]), counts_padding=counts_padding, **window)


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.image(node)
    dims = (1, 1, x.dims[2])
    if node.op == "GlobalMaxPool":
        return low.picture(node, "max_pool", x, dims, kernel=x.dims[:2])
    return low.picture(node, "global_avg_pool", x, dims)


@lowers("ReduceMean")
def reduce_mean(low: Lowering, node: OnnxNode) -> Tensor:
    x, rank = low.tensor(node), len(low.tensor(node).shape)
    axes = low.option(node, "axes", 1, [])
    if not axes and not node.attrs.get("noop_with_empty_axes", 0):
        axes = range(rank)
    axes = {axis % rank for axis in axes}
    groups = x.groups() or [x.order] * rank
    reduced = {axis for i in axes for axis in groups[i]}
    if node.attrs.get("keepdims", 1):
        shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    else:
        shape = tuple(size for i, size in enumerate(x.shape) if i not in axes)
    if not reduced:
        return replace(x, shape=shape)
    if reduced != set(x.order) - {"C"}:
        raise low.unsupported(node, f"mean over axes {sorted(axes)} of {x.shape}", "the mean over height and width")
    dims = (1, 1, x.dims[2])
    return Tensor(low.emit(node, "global_avg_pool", [x.value], dims), dims, order_of("C", dims), shape)


@lowers("Pad")
def pad(low: Lowering, node: OnnxNode) -> Tensor:
    x, rank = low.tensor(node), len(low.tensor(node).shape)
    mode = node.attrs.get("mode", "constant")
    value = node.attrs.get("value", 0.0) if "pads" in node.attrs else low.constant(node, 2, 0.0)
    given = low.option(node, "pads", 1)
    axes = [axis % rank for axis in low.option(node, "axes", 3, list(range(rank)))]
    pads = np.zeros((rank, 2), np.int64)
    pads[axes] = np.reshape(given, (2, len(axes))).T
    shape = tuple(int(size) for size in np.add(x.shape, pads.sum(axis=1)))
    if not pads.any():
        return x
    layout = next(
        (
            layout
            for layout in ("NCHW", "NHWC")
            if x.shows(layout) and not pads[[layout.index("N"), layout.index("C")]].any()
        ),
        None,
    )
    if mode != "constant" or np.any(value) or pads.min() < 0 or layout is None:
        raise low.unsupported(
            node,
            f"pads {pads.T.tolist()} of {x.shape}, mode {mode}, value {value}",
            "zeros around height and width of a rank-4 tensor",
        )
    (top, bottom), (left, right) = pads[layout.index("H")].tolist(), pads[layout.index("W")].tolist()
    height, width, channels = x.dims
    dims = (height + top + bottom, width + left + right, channels)
    # Taps outside the input are skipped, so a 1x1 depthwise convolution of weight 1 with pads makes zeros there.
    padded = low.emit(
        node,
        "depthwise",
        [x.value],
        dims,
        weight=np.ones((1, 1, channels)),
        bias=np.zeros(channels),
        pads=(top, left, bottom, right),
    )
    return Tensor(padded, dims, order_of(layout[1:], dims), shape)


@lowers("Gemm")
def gemm(low: Lowering, node: OnnxNode) -> Tensor:
    weight, bias = low.constant(node, 1).astype(np.float64), low.constant(node, 2)
    if node.attrs.get("transA", 0):
        raise low.unsupported(node, "transA is set", "a row of features times a constant matrix")
    weight = (weight if node.attrs.get("transB", 0) else weight.T) * node.attrs.get("alpha", 1.0)
    if bias is None:
        return _dense(low, node, weight)
    x = _dense(low, node, weight, part="product")
    return add_constant(low, node, x, bias * np.float64(node.attrs.get("beta", 1.0)))


@lowers("MatMul")
def matmul(low: Lowering, node: OnnxNode) -> Tensor:
    weight = low.constant(node, 1)
    if weight.ndim < 2 or weight.size != weight.shape[-2] * weight.shape[-1]:
        raise low.unsupported(node, f"a weight of shape {weight.shape}", "one constant matrix [in, out]")
    return _dense(low, node, weight.reshape(weight.shape[-2:]).T)


def add_constant(low: Lowering, node: OnnxNode, x: Tensor, constant: np.ndarray) -> Tensor:
    """``x + constant``, where that is one number per channel."""
    found = x.per_channel(constant)
    if found is None:
        raise low.unsupported(node, f"a constant of shape {constant.shape} on {x.shape}", "one number for each channel")
    return low.affine(node, x, bias=found[0], shape=found[1])


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
        value = low.emit(node, "conv", [x.value], dims, part, weight=weight[:, None, None, :])
        return Tensor(value, dims, order_of(x.order.replace("C", "") + "C", dims), shape)
    if last != x.order:
        raise low.unsupported(node, f"the last of {x.shape} mixes channels and pixels", "channels alone, or everything")
    dims = (1, 1, outputs)
    columns = np.stack([x.to_hwc(row) for row in weight])  # [out, H, W, C], whatever order the source flattened
    value = low.emit(node, "conv", [x.value], dims, part, weight=columns, kernel=x.dims[:2])
    return Tensor(value, dims, order_of("C", dims), shape)


def _window(low: Lowering, node: OnnxNode, x: Tensor, kernel: tuple[int, ...]) -> dict:
    """kernel, stride, dilation and pads (top, left, bottom, right) of a sliding window over a picture."""
    stride = tuple(node.attrs.get("strides", (1, 1)))
    dilation = tuple(node.attrs.get("dilations", (1, 1)))
    if not len(kernel) == len(stride) == len(dilation) == 2:
        raise low.unsupported(
            node, f"kernel {kernel}, strides {stride}, dilations {dilation}", "two dimensions of space"
        )
    auto = node.attrs.get("auto_pad", "NOTSET")
    pads = tuple(node.attrs.get("pads", (0, 0, 0, 0))) if auto == "NOTSET" else (0, 0, 0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for size, k, s, d in zip(x.dims, kernel, stride, dilation):
            total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            half = total // 2 if auto == "SAME_UPPER" else -(-total // 2)
            before.append(half)
            after.append(total - half)
        pads = (*before, *after)
    elif auto not in ("NOTSET", "VALID"):
        raise low.unsupported(node, f"auto_pad {auto}", "NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    if min(pads) < 0:
        raise low.unsupported(node, f"negative pads {pads}", "pads from 0 on")
    return {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads}


def _output_size(x: Tensor, window: dict) -> tuple[int, int]:
    kernel, stride, dilation, pads = (window[key] for key in ("kernel", "stride", "dilation", "pads"))
    height, width = (
        (x.dims[i] + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    )
    return height, width


def _ceil_pads(x: Tensor, window: dict) -> tuple[int, int, int, int]:
    """pads with as much more at the bottom and right as ceil_mode's last window hangs over."""
    pads = list(window["pads"])
    for i in (0, 1):
        size, kernel, stride = x.dims[i] + pads[i], window["kernel"][i], window["stride"][i]
        last = -(-(size + pads[i + 2] - kernel) // stride) * stride  # where the last window starts
        if last >= size:  # wholly in the padding: it is left out
            last -= stride
        pads[i + 2] = max(pads[i + 2], last + kernel - size)
    return tuple(pads)
