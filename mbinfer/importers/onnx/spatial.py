"""ONNX ops that look at the axes of a picture: convolution, padding, pools, means."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layout import Tensor, order_of
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
    if groups == channels == outputs:
        return low.picture(node, "depthwise", x, weight=weight[:, 0].transpose(1, 2, 0), bias=bias, **window)
    return low.picture(node, "conv", x, weight=weight.transpose(0, 2, 3, 1), bias=bias, groups=groups, **window)


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
    return low.picture(node, op, x, counts_padding=counts_padding, **window)


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.image(node)
    if node.op == "GlobalMaxPool":
        return low.picture(node, "max_pool", x, kernel=x.dims[:2])
    return low.picture(node, "global_avg_pool", x)


@lowers("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(low: Lowering, node: OnnxNode) -> Tensor:
    """Over height, width or both a pool as large as the picture; a mean or sum over channels is a 1x1 convolution."""
    x, rank = low.tensor(node), len(low.tensor(node).shape)
    axes = low.option(node, "axes", 1, [])
    if not axes and not node.attrs.get("noop_with_empty_axes", 0):
        axes = range(rank)
    axes = {axis % rank for axis in axes}
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape))
    if not node.attrs.get("keepdims", 1):
        shape = tuple(size for i, size in enumerate(x.shape) if i not in axes)
    groups = [x.order] * rank if len(axes) == rank else x.groups()
    reduced = None if groups is None else {axis for i in axes for axis in groups[i]}
    if reduced is None or (node.op == "ReduceMax" and "C" in reduced):
        raise low.unsupported(
            node, f"over axes {sorted(axes)} of {x.shape}", "mean and sum over whole axes; maxima over height and width"
        )
    kernel = tuple(size if axis in reduced else 1 for size, axis in zip(x.dims, "HW"))
    value, dims = x.value, x.dims
    if kernel != (1, 1):
        op = "max_pool" if node.op == "ReduceMax" else "global_avg_pool" if kernel == dims[:2] else "avg_pool"
        window = {} if op == "global_avg_pool" else {"kernel": kernel}
        value = low.emit(node, op, [value], "pool" if node.op == "ReduceSum" or "C" in reduced else "", **window)
    if "C" in reduced:
        weight = np.full((1, 1, 1, dims[2]), 1 / dims[2])
        value = low.emit(node, "conv", [value], "channels" if node.op == "ReduceSum" else "", weight=weight)
    dims = low.builder.dims(value)
    result = Tensor(value, dims, "".join(axis for axis in x.order if axis not in reduced), shape)
    if node.op != "ReduceSum" or not reduced:
        return result
    return low.affine(node, result, float(np.prod([x.size(axis) for axis in reduced])))


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
        weight=np.ones((1, 1, channels)),
        bias=np.zeros(channels),
        pads=(top, left, bottom, right),
    )
    return Tensor(padded, dims, order_of(layout[1:], dims), shape)


def _window(low: Lowering, node: OnnxNode, x: Tensor, kernel: tuple[int, ...]) -> dict[str, Any]:
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


def _ceil_pads(x: Tensor, window: dict[str, Any]) -> tuple[int, int, int, int]:
    """pads with as much more at the bottom and right as ceil_mode's last window hangs over."""
    pads = list(window["pads"])
    for i in (0, 1):
        size, kernel, stride = x.dims[i] + pads[i], window["kernel"][i], window["stride"][i]
        last = -(-(size + pads[i + 2] - kernel) // stride) * stride  # where the last window starts
        if last >= size:  # wholly in the padding: it is left out
            last -= stride
        pads[i + 2] = max(pads[i + 2], last + kernel - size)
    return tuple(pads)
