"""ONNX ops that look at the axes of a picture: convolution, padding, pools, means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..functions import absolute, square
from ..layout import Tensor, layouts_of, order_of
from ..moving import channels as channels_of
from ..padding import around_axes, cropped, mirrored, with_number
from ..pooling import dilated_max
from ..reducing import reduced
from .lowering import Lowering, lowers, neighbours
from .reading import OnnxNode
from .windows import ceil_pads, window_of


@lowers("Conv")
def conv(low: Lowering, node: OnnxNode) -> Tensor:
    weight, bias = low.constant(node, 1), low.constant(node, 2)
    numbers = {*node.attrs.get("strides", ()), *(number + 1 for number in node.attrs.get("pads", ()))}
    plain = weight.size == weight.shape[0] * weight.shape[1] and numbers <= {1} and node.attrs.get("group", 1) == 1
    if plain and not low.tensor(node).is_image():
        return _of_channels(low, node, low.tensor(node), weight, bias)
    if neighbours(low.tensor(node), weight.shape):
        return _across_channels(low, node, low.tensor(node), weight, bias)
    x = low.image(node)
    if weight.ndim != len(x.shape):
        raise low.unsupported(node, f"weight of shape {weight.shape} on {x.shape}", "as many dimensions of both")
    outputs, _, *kernel = weight.shape
    channels, groups = x.dims[2], node.attrs.get("group", 1)
    if weight.shape[1] * groups != channels or outputs % groups:
        raise low.unsupported(
            node,
            f"weight {weight.shape} and {groups} groups on {channels} channels",
            "weights [out, channels / groups, kh, kw]",
        )
    window = window_of(low, node, x, tuple(kernel))
    weight = weight.reshape(*weight.shape[:2], *window["kernel"])
    if groups == channels == outputs:
        return low.picture(node, "depthwise", x, weight=weight[:, 0].transpose(1, 2, 0), bias=bias, **window)
    return low.picture(node, "conv", x, weight=weight.transpose(0, 2, 3, 1), bias=bias, groups=groups, **window)


def _of_channels(low: Lowering, node: OnnxNode, x: Tensor, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """A 1x1 convolution looks at no other pixel, in whatever order those come."""
    shape = (1, len(weight), *x.shape[2:])
    if x.letters_of(1) not in ("C", "") or x.dims[2] != x.shape[1] or weight.shape[1] != x.dims[2]:
        return low.image(node)  # says what is wrong
    value = low.emit(
        node, "conv", [x.value], weight=weight.reshape(*weight.shape[:2], 1, 1).transpose(0, 2, 3, 1), bias=bias
    )
    dims = low.builder.dims(value)
    return Tensor(value, dims, ("C" if dims[2] > 1 else "") + x.order.replace("C", ""), shape)


def _across_channels(low: Lowering, node: OnnxNode, x: Tensor, weight: np.ndarray, bias: np.ndarray | None) -> Tensor:
    """A window over the channels of a vector (efficient channel attention, arXiv 1910.03151): slices of them, each
    times its weight. Beyond the channels there are zeros."""
    window = window_of(low, node, replace(x, dims=(x.dims[2], 1, 1), order="H"), (weight.shape[2],))
    before, behind, step = window["pads"][0], window["pads"][2], window["dilation"][0]
    length = x.dims[2] + before + behind - step * (weight.shape[2] - 1)
    if window["stride"][0] != 1 or node.attrs.get("group", 1) != 1 or length < 1:
        raise low.unsupported(node, f"strides {window['stride']} over a vector", "strides of 1, and no groups")
    total = ""
    for i, factor in enumerate(np.ravel(weight)):
        moved = low.emit(node, "slice", [x.value], f"from {i}", channels=length, first_channel=i * step - before)
        term = 0.0 if bias is None or i else float(bias[0])
        part = Tensor(moved, (1, 1, length), "C" if length > 1 else "", (1, 1, length))
        part = low.affine(node, part, float(factor), term, part=f"times {i}" if weight.shape[2] > 1 else "")
        total = (
            low.emit(node, "add", [total, part.value], "" if i == weight.shape[2] - 1 else f"sum {i}")
            if total
            else part.value
        )
    return Tensor(total, (1, 1, length), "C" if length > 1 else "", (1, 1, length))


@lowers("MaxPool", "AveragePool", sees_all_outputs=True)
def pool(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.image(node)
    if any(low.is_read(output) for output in node.outputs[1:] if output):
        raise low.unsupported(node, "the indices of its maxima are read", "its first output alone")
    window = window_of(low, node, x, tuple(node.attrs["kernel_shape"]))
    counts_padding = node.op == "AveragePool" and bool(node.attrs.get("count_include_pad", 0)) and any(window["pads"])
    if node.attrs.get("ceil_mode", 0):
        floor = window["pads"]
        window["pads"] = ceil_pads(x, window)
        if counts_padding and window["pads"] != floor:
            raise low.unsupported(
                node,
                "ceil_mode adds windows that count_include_pad counts only in part",
                "one of the two, or sizes where ceil_mode changes nothing",
            )
    if window["dilation"] != (1, 1):
        return _dilated_pool(low, node, x, window, counts_padding)
    op = "max_pool" if node.op == "MaxPool" else "avg_pool"
    return low.picture(node, op, x, counts_padding=counts_padding, **window)


def _dilated_pool(low: Lowering, node: OnnxNode, x: Tensor, window: dict[str, Any], counts_padding: bool) -> Tensor:
    """A mean is a convolution of equal weights; the largest numbers of rows, then of columns, are each one of a few."""
    if "SAME" in node.attrs.get("auto_pad", ""):  # which runtimes take for different sizes
        raise low.unsupported(node, "gaps in windows that auto_pad fits", "pads in numbers")
    if node.op == "MaxPool":
        return low.shaped(x, dilated_max(low, node, x, window))
    if any(window["pads"]) and not counts_padding:
        raise low.unsupported(
            node, "means of windows that are partly padding, dilated", "count_include_pad=1, or no pads"
        )
    weight = np.full((*window["kernel"], x.dims[2]), 1 / np.prod(window["kernel"]))
    return low.picture(node, "depthwise", x, weight=weight, **window)


@lowers("LpPool", "GlobalLpPool")
def lp_pool(low: Lowering, node: OnnxNode) -> Tensor:
    """The root of the sum of squares, or the sum of absolute values; beyond the picture there are zeros."""
    x, p = low.image(node), node.attrs.get("p", 2)
    if p not in (1, 2):
        raise low.unsupported(node, f"p {p}", "p 1 and 2")
    if node.op == "GlobalLpPool":
        return reduced(low, node, x, range(2, len(x.shape)), True, f"l{p}")
    window = window_of(low, node, x, tuple(node.attrs["kernel_shape"]))
    if node.attrs.get("ceil_mode", 0):
        window["pads"] = ceil_pads(x, window)
    powers = square(low, node, x, "square") if p == 2 else absolute(low, node, x, "absolute")
    ones = np.ones((*window["kernel"], x.dims[2]))
    total = low.picture(node, "depthwise", powers, weight=ones, part="sum" if p == 2 else "", **window)
    return low.affine(node, total, activation="root") if p == 2 else total


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
    "ReduceLogSumExp": "log_sum_exp",
    "ReduceProd": "product",
}
NOTHING_ALONE = ("mean", "sum", "max", "min", "product")  # of one number itself; onnx once called the others so, too


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
    layout = next((name for name in layouts_of(x) if not pads[name.index("N")].any()), None)
    rows, columns = (pads[layout.index(a)].tolist() if layout and a in layout else [0, 0] for a in "HW")
    if layout is not None and mode == "edge" and pads.min() >= 0 and not pads[layout.index("C")].any():
        return _edge_padded(low, node, x, rows, columns, layout)
    number = float(np.asarray(value).item())
    made = around_axes(low, node, x, pads) if mode == "constant" and layout is None and not number else None
    if made is not None:
        return made
    if mode != "constant" or layout is None or (number and pads[layout.index("C")].any()):
        raise low.unsupported(
            node,
            f"pads {pads.T.tolist()} of {x.shape}, mode {mode}, value {value}",
            "zeros around a picture or a sequence, other numbers, mirrored and edge pads around height and width",
        )
    axis = layout.index("C")
    if pads[axis].any():
        before, count = int(pads[axis][0]), shape[axis]
        rest = any(rows + columns)
        x = channels_of(low, node, x, -before, count, axis, "channels" if rest else "")
        if not rest:
            return x
    (top, bottom), (left, right) = rows, columns
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
