"""ONNX ops that look at the axes of a picture: convolution, padding, pools, means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..layout import Tensor, order_of
from ..moving import channels as channels_of
from ..padding import cropped, mirrored, with_number
from ..reducing import reduced
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


REDUCTIONS = {
    **{f"Reduce{kind.capitalize()}": kind for kind in ("mean", "sum", "max", "min", "l1", "l2")},
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
}
NOTHING_ALONE = ("mean", "sum", "max", "min")  # of one number itself; onnx once called the others so, too


@lowers(*REDUCTIONS)
def reduce(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    axes = low.option(node, "axes", 1, [])
    if not axes and node.attrs.get("noop_with_empty_axes", 0):
        if REDUCTIONS[node.op] not in NOTHING_ALONE:
            raise low.unsupported(node, "noop_with_empty_axes", "axes, or noop_with_empty_axes=0")
        return x
    keep = bool(node.attrs.get("keepdims", 1))
    return reduced(low, node, x, axes or range(len(x.shape)), keep, REDUCTIONS[node.op])


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
    if pads.min() < 0 and mode == "constant":
        x = cropped(low, node, x, pads)
        if not pads.any():
            return x
    if mode in ("reflect", "wrap") and pads.min() >= 0:
        return mirrored(low, node, x, pads, mode)
    layout = next((name for name in ("NCHW", "NHWC") if x.shows(name) and not pads[name.index("N")].any()), None)
    if layout is not None and mode == "edge" and pads.min() >= 0 and not pads[layout.index("C")].any():
        return _edge_padded(low, node, x, pads[layout.index("H")].tolist(), pads[layout.index("W")].tolist(), layout)
    number = float(np.asarray(value).item())
    if mode != "constant" or layout is None or (number and pads[layout.index("C")].any()):
        raise low.unsupported(
            node,
            f"pads {pads.T.tolist()} of {x.shape}, mode {mode}, value {value}",
            "zeros around a rank-4 tensor, other numbers, mirrored and edge pads around height and width",
        )
    axis = layout.index("C")
    if pads[axis].any():
        before, count = int(pads[axis][0]), shape[axis]
        rest = pads[[layout.index("H"), layout.index("W")]].any()
        x = channels_of(low, node, x, -before, count, axis, "channels" if rest else "")
        if not rest:
            return x
    (top, bottom), (left, right) = pads[layout.index("H")].tolist(), pads[layout.index("W")].tolist()
    if number:
        made = with_number(low, node, x, (top, left, bottom, right), number)
        return replace(made, order=order_of(layout[1:], made.dims), shape=shape)
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


def _edge_padded(low: Lowering, node: OnnxNode, x: Tensor, rows: list[int], columns: list[int], layout: str) -> Tensor:
    """Positions outside of the picture are cut to it, which is what copies its edge."""
    size = (x.dims[0] + sum(rows), x.dims[1] + sum(columns))
    value = low.emit(node, "resize", [x.value], rows=(1, 1, -rows[0]), columns=(1, 1, -columns[0]), size=size)
    dims = low.builder.dims(value)
    named = dict(zip("HWC", dims), N=1)
    return Tensor(value, dims, order_of(layout[1:], dims), tuple(named[axis] for axis in layout))


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
