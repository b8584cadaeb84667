"""Pools of any source that the format has no window for: largest numbers of windows with gaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .emitting import SourceNode
from .layout import Tensor
from .moving import pixels
from .padding import with_number
from .walking import Walk


def dilated_max(low: Walk, node: SourceNode, x: Tensor, window: dict[str, Any]) -> str:
    """The largest number of windows with gaps: of a few rows for each row, then of a few columns."""
    lowest = float(np.finfo(np.float32).min)
    if any(window["pads"]):
        x = with_number(low, node, x, window["pads"], lowest)
    for axis, letter in enumerate("HW"):
        kernel, stride, gap = (window[name][axis] for name in ("kernel", "stride", "dilation"))
        made = (x.dims[axis] - gap * (kernel - 1) - 1) // stride + 1
        if kernel == 1 and stride == 1:
            continue
        size = (made, x.dims[1]) if axis == 0 else (x.dims[0], made)
        taps = []
        for tap in range(kernel):
            ways = [(1, 1, 0), (1, 1, 0)]
            ways[axis] = (stride, 1, gap * tap)
            taps.append(pixels(low, node, x, ways[0], ways[1], size, part=f"{letter}{tap}"))
        most = taps[0]
        for count, other in enumerate(taps[1:], 1):
            most = replace(most, value=low.emit(node, "max", [most.value, other.value], f"{letter}most{count}"))
        x = most
    return x.value
