"""Constants that differ from pixel to pixel, as values: grids of a detector, position embeddings.

There is no constant among the values of a graph. A convolution of one pixel that is zero makes all numbers as its bias,
and a block for that pixel lays them out.
"""

from __future__ import annotations

import math

import numpy as np

from ..limits import MAX_SIDE
from .emitting import SourceNode
from .joining import stacked
from .layout import AXES, Tensor, order_of
from .moving import blocks, cut
from .picking import broadcast
from .walking import Array, Walk


def given(low: Walk, node: SourceNode, x: Tensor, constant: Array) -> Tensor | None:
    """The constant as a value beside `x`: a number for each element, or for each pixel. None where it enlarges `x`."""
    try:
        shape = np.broadcast_shapes(x.shape, constant.shape)
    except ValueError:
        return None
    if math.prod(shape) != math.prod(x.shape):
        return None
    array = x.to_hwc(np.broadcast_to(constant, shape))
    each = array.shape[2] > 1 and bool((array == array[..., :1]).all())
    if each:  # the same for all channels
        array = array[..., :1]
    height, width, channels = array.shape
    rows = MAX_SIDE // (width * channels)  # that one convolution makes
    if not rows:
        return None
    parts = []
    for first in range(0, height, rows):
        part = array[first : first + rows]
        parts.append(_made(low, node, x, part, f"{first}" if height > rows else ""))
    value = parts[0].value if len(parts) == 1 else stacked(low, node, parts, "constant")
    kept = x.order.replace("C", "") if each else x.order
    sizes = [1 if each and size == x.dims[2] and _holds_channels(x, i) else size for i, size in enumerate(x.shape)]
    return Tensor(value, (height, width, channels), kept, tuple(sizes))


def _holds_channels(x: Tensor, axis: int) -> bool:
    return x.letters_of(axis) == "C"


def _made(low: Walk, node: SourceNode, x: Tensor, array: Array, part: str) -> Tensor:
    height, width, channels = array.shape
    corner = low.emit(node, "resize", [x.value], f"corner{part}", rows=(0, 1, 0), columns=(0, 1, 0), size=(1, 1))
    zero = low.emit(node, "slice", [corner], f"zeros{part}", channels=2, first_channel=x.dims[2] - 1)
    zero = low.emit(node, "slice", [zero], f"zero{part}", channels=1, first_channel=1)
    numbers = np.ascontiguousarray(array, np.float64).ravel()
    fields = {"weight": np.zeros((numbers.size, 1, 1, 1), np.float32), "bias": numbers}
    value = low.emit(node, "conv", [zero], f"numbers{part}", **fields)
    one = Tensor(value, low.builder.dims(value), order_of(AXES, low.builder.dims(value)), (1, 1, 1, numbers.size))
    if (height, width) == (1, 1):
        return one
    return blocks(low, node, one, (height, width), AXES, (1, height, width, channels), f"laid{part}")


def beside(low: Walk, node: SourceNode, x: Tensor, constant: Array, axis: int, part: str) -> Tensor:
    """A constant that is joined to `x` along an axis, such as coordinates of pixels, as a tensor."""
    count = constant.shape[axis % len(x.shape)] if len(constant.shape) == len(x.shape) else 0
    if not 0 < count <= x.shape[axis]:
        raise low.unsupported(node, f"a constant of {constant.shape} beside {x.shape}", "one that is no longer")
    alike = cut(low, node, x, axis % len(x.shape), 0, count, 1, f"like {part}")
    made = given(low, node, alike, constant)
    if made is None:
        raise low.unsupported(node, f"a constant of {constant.shape} beside {x.shape}", "one that is as large")
    return broadcast(low, node, made, alike.shape, f"constant {part} ")
