"""Normalisation at run time of any source: over the channels of a pixel, or over the pixels of each channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..limits import MAX_WINDOW_CHANNELS
from ..ops import NORM_FACTORS
from .emitting import SourceNode
from .functions import square
from .layout import Tensor
from .walking import Array, Walk

NORMAL = float(np.finfo(np.float32).tiny)


def normalised(low: Walk, node: SourceNode, x: Tensor, part: str = "", *, window: int = 0, **given: Any) -> Tensor:
    """``x / max(offset + factor * sum of squares, least) ^ exponent`` over a window of channels, or over all."""
    numbers = {"factor": 1.0, "offset": 0.0, "exponent": 0.5, "least": NORMAL, **given}
    centred = numbers.pop("centred", False)
    if window > MAX_WINDOW_CHANNELS:
        if window < 2 * x.dims[2]:
            raise low.unsupported(node, f"a window of {window} channels", f"windows of up to {MAX_WINDOW_CHANNELS}")
        window = 0
    if "C" not in x.order and x.dims[2] > 1:
        raise low.unsupported(node, f"channels of {x.shape}", "a tensor that has channels")
    weight = np.array([numbers[name] for name in NORM_FACTORS], np.float32)
    weight[3] = max(weight[3], np.float32(NORMAL))
    value = low.emit(node, "norm", [x.value], part, weight=weight, window_channels=window, centred=centred)
    return replace(x, value=value)


def over_channels(x: Tensor, axes: set[int]) -> bool:
    """Whether `axes` of the source's tensor are the channels of a pixel, all of them and nothing else."""
    groups = x.groups()
    held = "" if groups is None else "".join(groups[axis] for axis in sorted(axes))
    return groups is not None and held == ("C" if x.dims[2] > 1 else "")


def scaled(low: Walk, node: SourceNode, x: Tensor, scale: Array | None, bias: Array | None, axis: int) -> Tensor:
    """Times `scale`, plus `bias`, constants that begin at axis `axis` of x."""
    factors: list[Any] = []
    for array, nothing in ((scale, 1.0), (bias, 0.0)):
        shape = () if array is None else (*array.shape, *[1] * (len(x.shape) - axis - array.ndim))
        found = (nothing,) if array is None else x.per_channel(array.reshape(shape))
        if found is None:
            raise low.unsupported(node, f"scale or bias of {shape} on {x.shape}", "one number for each channel")
        factors.append(found[0])
    return low.affine(node, x, *factors)


def of_pixels(low: Walk, node: SourceNode, x: Tensor, groups: int, epsilon: float, part: str = "") -> Tensor:
    """Each group of channels less its mean over all pixels, by its deviation: a group for each channel or fewer."""
    centred = _with_mean(low, node, x, x, groups, "sub", "mean", "centred", 0.0)
    squares = square(low, node, centred, "square")
    return _with_mean(low, node, centred, squares, groups, "div", "deviation", part, epsilon)


def _with_mean(
    low: Walk,
    node: SourceNode,
    x: Tensor,
    seen: Tensor,
    groups: int,
    op: str,
    name: str,
    part: str,
    epsilon: float,
) -> Tensor:
    """`x` and the means of `seen`, subtracted, or roots of them as divisors."""
    channels = x.dims[2]
    each = channels // groups
    value = low.emit(node, "global_avg_pool", [seen.value], f"{name}/pixels")
    if each > 1:
        blocks = np.kron(np.eye(groups), np.full((each, each), 1 / each))
        value = low.emit(node, "conv", [value], f"{name}/groups", weight=blocks[:, None, None, :])
    if op == "div":
        fields: dict[str, Any] = {"weight": np.ones((1, 1, channels)), "bias": np.full(channels, epsilon)}
        value = low.emit(node, "depthwise", [value], name, activation="root", **fields)
    return replace(x, value=low.emit(node, op, [x.value, value], part))


def softmax_of_pixels(low: Walk, node: SourceNode, x: Tensor, over: set[str], logarithm: bool = False) -> Tensor:
    """``e^(x - m) / sum of e^(x - m)`` over the axes `over` of each channel, m its largest number; or its logarithm."""
    kernel = (x.dims[0] if "H" in over else 1, x.dims[1] if "W" in over else 1)
    whole = kernel == x.dims[:2]

    def spread(value: str, part: str) -> str:
        """The one row or column that is left as often as there were some."""
        ways = [(0, 1, 0) if axis in over else (1, 1, 0) for axis in "HW"]
        if whole:
            return value
        return low.emit(node, "resize", [value], part, rows=ways[0], columns=ways[1], size=x.dims[:2])

    largest = spread(low.emit(node, "max_pool", [x.value], "largest", kernel=kernel), "most")
    below = replace(x, value=low.emit(node, "sub", [x.value, largest], "below"))
    powers = low.affine(node, below, part="powers", activation="exp")
    op, window = ("global_avg_pool", {}) if whole else ("avg_pool", {"kernel": kernel})
    mean = low.emit(node, op, [powers.value], "mean", **window)
    total = replace(x, value=mean, dims=low.builder.dims(mean))
    total = low.affine(node, total, float(np.prod(kernel)), part="sum")
    if logarithm:
        total = low.affine(node, total, part="log", activation="log")
    made, op = (below, "sub") if logarithm else (powers, "div")
    return replace(x, value=low.emit(node, op, [made.value, spread(total.value, "all")]))
