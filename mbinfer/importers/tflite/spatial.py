"""Operators of TensorFlow Lite that look at the axes of a picture: convolutions, pools, means, padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...check_types import MAX_HALVED
from ...graph import Type
from ..emitting import SourceNode
from ..functions import square
from ..layout import Tensor, nhwc
from ..moving import channels as channels_of
from ..padding import around_axes, with_number
from ..reducing import reduced
from .lowering import Lowering, lowers
from .weights import bias_of, fits, weight_of


@lowers("CONV_2D")
def conv(low: Lowering, node: SourceNode) -> Tensor:
    if not fits(low, node, 1, 0):
        return low.in_reals(node, conv)
    x, weight = low.image(node), weight_of(low, node, 1, 0)
    channels, outputs = x.dims[2], weight.array.shape[0]
    per_group = weight.array.shape[-1]
    if weight.array.ndim != 4 or per_group < 1 or channels % per_group or outputs % (channels // per_group):
        raise low.unsupported(
            node, f"weights {weight.array.shape} on {channels} channels", "weights [out, kh, kw, channels / groups]"
        )
    groups, window = channels // per_group, _window(low, node, x, weight.array.shape[1:3])
    bias = bias_of(low, node, 2, outputs)
    if groups == channels == outputs > 1:
        array = weight.array[..., 0].transpose(1, 2, 0)
        return low.picture(node, "depthwise", x, bias=bias, **weight.fields(array), **window)
    return low.picture(node, "conv", x, bias=bias, groups=groups, **weight.fields(weight.array), **window)


@lowers("DEPTHWISE_CONV_2D")
def depthwise(low: Lowering, node: SourceNode) -> Tensor:
    """With a multiplier it is a grouped convolution: output channel c reads input channel c // multiplier."""
    if not fits(low, node, 1, 3):
        return low.in_reals(node, depthwise)
    x, weight = low.image(node), weight_of(low, node, 1, 3)
    channels, array = x.dims[2], weight.array
    if array.ndim != 4 or array.shape[0] != 1 or array.shape[3] % channels:
        raise low.unsupported(
            node, f"weights {array.shape} on {channels} channels", "weights [1, kh, kw, n x channels]"
        )
    window, bias = _window(low, node, x, array.shape[1:3]), bias_of(low, node, 2, array.shape[3])
    if array.shape[3] == channels:
        return low.picture(node, "depthwise", x, bias=bias, **weight.fields(array[0]), **window)
    fields = weight.fields(array.transpose(3, 1, 2, 0))
    return low.picture(node, "conv", x, bias=bias, groups=channels, **fields, **window)


@lowers("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(low: Lowering, node: SourceNode) -> Tensor:
    x = low.image(node)
    window = _window(low, node, x, (node.attrs["filter_h"], node.attrs["filter_w"]))
    del window["dilation"]
    if node.op == "MAX_POOL_2D":
        same_type(low, node)
        return low.picture(node, "max_pool", x, **window)
    window |= _halves(low, node, math.prod(window["kernel"]))
    if window["kernel"] == x.dims[:2] and not any(window["pads"]):
        fields = {name: value for name, value in window.items() if name in ("activation", "clamp", "halves")}
        return low.picture(node, "global_avg_pool", x, **fields)
    return low.picture(node, "avg_pool", x, **window)


def _halves(low: Lowering, node: SourceNode, count: int) -> dict[str, str]:
    """Where an average pool of integers rounds halves: away from 0, which is 128 of the uint8 values of an int8 one."""
    if same_type(low, node) is None or count > MAX_HALVED:
        return {}
    return {"halves": "away" if low.source.tensors[node.outputs[0]].kind == "i1" else "up"}


@lowers("L2_POOL_2D", reals=True)
def l2_pool(low: Lowering, node: SourceNode) -> Tensor:
    """The root of the mean of squares."""
    x = low.image(node)
    window = _window(low, node, x, (node.attrs["filter_h"], node.attrs["filter_w"]))
    fields = {name: window[name] for name in ("kernel", "stride", "pads")}
    mean = low.emit(node, "avg_pool", [square(low, node, x, "square").value], "mean", **fields)
    root = low.affine(node, nhwc(mean, low.builder.dims(mean)), activation="root")
    activation = low.activation(node)
    return low.affine(node, root, **activation) if activation else root


REDUCTIONS = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max", "REDUCE_MIN": "min", "REDUCE_PROD": "product"}


@lowers(*REDUCTIONS)
def reduce(low: Lowering, node: SourceNode) -> Tensor:
    """Means and maxima of quantised values over height and width have arithmetic of their own."""
    x, axes = low.tensor(node), {int(axis) for axis in low.numbers(node, 1)}
    rank, keep = len(x.shape), bool(node.attrs["keep_dims"])
    if low.type_of(node, node.inputs[0]) is None:
        return reduced(low, node, x, axes, keep, REDUCTIONS[node.op])
    axes = {axis % rank for axis in axes}
    groups = [x.order] * rank if len(axes) == rank else x.groups()
    if groups is None:  # parts of the channels
        return low.in_reals(node, reduce)
    over = {axis for i in axes for axis in groups[i]}
    same = low.type_of(node, node.inputs[0]) == low.type_of(node, node.outputs[0])
    if over == {"C"} and node.op == "MEAN":
        value = _mean_of_channels(low, node, x, same)
        shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
        return Tensor(value, low.builder.dims(value), x.order.replace("C", ""), shape)
    if "C" in over or node.op in ("SUM", "REDUCE_MIN", "REDUCE_PROD") or (node.op == "REDUCE_MAX" and not same):
        return low.in_reals(node, reduce)
    kernel = tuple(size if axis in over else 1 for size, axis in zip(x.dims, "HW"))
    value = x.value
    if kernel != (1, 1) or not same:
        op = "max_pool" if node.op == "REDUCE_MAX" else "global_avg_pool" if kernel == x.dims[:2] else "avg_pool"
        fields: dict[str, Any] = {} if op == "global_avg_pool" else {"kernel": kernel}
        if op != "max_pool":  # XNNPACK adds zero points before it rounds
            fields["halves"] = "even_from_128" if low.source.tensors[node.outputs[0]].kind == "i1" else "even_from_0"
        value = low.typed(node, op, [value], **fields)
    shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
    return Tensor(value, low.builder.dims(value), "".join(a for a in x.order if a not in over), shape)


def _mean_of_channels(low: Lowering, node: SourceNode, x: Tensor, same: bool) -> str:
    """Their whole sum, rounded once: a convolution of ones.

    Between values of one type XNNPACK's halves go to the even number, and not to an even number of steps: numbers stand
    for themselves meanwhile. Where what zero points add decides halves, channels become pixels, which have such a mean.
    """
    channels, made = x.dims[2], low.type_of(node, node.outputs[0])
    assert made is not None
    signed = low.source.tensors[node.outputs[0]].kind == "i1"
    itself, share = Type("uint8", 1.0, 128 if signed else 0), np.float32(1) / np.float32(channels)
    zero_point = np.float32(made.zero_point - itself.zero_point)
    if same and zero_point * np.float32(channels) * share != zero_point:
        fields: dict[str, Any] = {"rows": (1, 1, 0), "columns": (1, channels, 0)}
        pixels, across = low.typed(node, "depth_to_space", [x.value], "pixels", **fields), (1, channels)
        halves = "even_from_128" if signed else "even_from_0"
        return low.typed(node, "avg_pool", [pixels], kernel=across, stride=across, halves=halves)
    x = low.reread(node, x, itself, "numbers") if same else x
    fields = {"weight": np.ones((1, 1, 1, channels), np.int8), "weight_scale": np.array([share])}
    value = low.emit(node, "conv", [x.value], "mean" if same else "", **fields)
    low.graph.types[value] = itself if same else made
    return low.reread(node, Tensor(value, x.dims, x.order, x.shape), made).value if same else value


@lowers("PAD", "PADV2")
def pad(low: Lowering, node: SourceNode) -> Tensor:
    """Zeros around height and width; of quantised values it is the zero point, which stands for zero."""
    x, pads = low.tensor(node), low.constant(node, 1).astype(np.int64)
    value, held = low.constant(node, 2, None), low.type_of(node, node.inputs[0])
    zero = 0 if held is None else low.held(low.source.tensors[node.inputs[0]], node).zero_point
    if pads.shape == (len(x.shape), 2) and not x.shows("NHWC") and (value is None or not np.any(value != zero)):
        if held is not None:
            return low.in_reals(node, pad)
        made = around_axes(low, node, x, pads)
        if made is not None:
            return made
    if pads.shape != (len(x.shape), 2) or not x.shows("NHWC") or pads[0].any() or pads.min() < 0:
        raise low.unsupported(node, f"pads {pads.tolist()} of {x.shape}", "pads around a picture, and of its channels")
    if value is not None and np.any(value != zero):
        if held is not None:
            return low.in_reals(node, pad)
        if pads[3].any():
            raise low.unsupported(node, f"pads of {value.item()} of channels", "zeros there")
        (top, bottom), (left, right) = pads[1].tolist(), pads[2].tolist()
        made = with_number(low, node, x, (top, left, bottom, right), float(value.item()))
        return nhwc(made.value, made.dims)
    if not pads.any():
        return x
    same_type(low, node)
    if pads[3].any():
        if held is not None and zero:
            return low.in_reals(node, pad)
        before, after = pads[3].tolist()
        x = channels_of(low, node, x, -before, before + x.dims[2] + after, 3, "channels" if pads[1:3].any() else "")
        if not pads[1:3].any():
            return x
    channels = x.dims[2]
    (top, bottom), (left, right) = pads[1].tolist(), pads[2].tolist()
    # Taps outside the input are skipped, so a 1x1 depthwise convolution of weight 1 with pads makes zeros there.
    fields: dict[str, Any] = {"weight": np.ones((1, 1, channels)), "bias": np.zeros(channels)}
    if held is not None:
        fields = {"weight": np.ones((1, 1, channels), np.int8), "weight_scale": np.ones(channels, np.float32)}
    return low.picture(node, "depthwise", x, pads=(top, left, bottom, right), **fields)


def same_type(low: Lowering, node: SourceNode) -> Type | None:
    """The type of a node's input, which its output has to have too."""
    given, made = (low.type_of(node, name) for name in (node.inputs[0], node.outputs[0]))
    if given != made:
        raise low.unsupported(node, f"an input of {given} and an output of {made}", "the same scale and zero point")
    return given


def _window(low: Lowering, node: SourceNode, x: Tensor, kernel: tuple[int, ...]) -> dict[str, Any]:
    """kernel, stride, dilation, pads (top, left, bottom, right) and the activation of a sliding window."""
    attrs = node.attrs
    stride = attrs["stride_h"], attrs["stride_w"]
    dilation = attrs.get("dilation_h", 1), attrs.get("dilation_w", 1)
    kernel = int(kernel[0]), int(kernel[1])
    if min(*stride, *dilation, *kernel) < 1 or attrs["padding"] not in (0, 1):
        raise low.unsupported(
            node,
            f"kernel {kernel}, stride {stride}, dilation {dilation}, padding {attrs['padding']}",
            "sizes from 1 on",
        )
    before, after = list(attrs.get("pads", (0, 0))[:2]), list(attrs.get("pads", (0, 0))[-2:])
    for i in (0, 1) if attrs["padding"] == 0 else ():  # "SAME": the least that makes size / stride, the odd one after
        total = max(0, (-(-x.dims[i] // stride[i]) - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - x.dims[i])
        before[i], after[i] = total // 2, total - total // 2
    return {
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "pads": (*before, *after),
        **low.activation(node),
    }
