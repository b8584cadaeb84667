"""The sliding windows of ONNX operators: over pictures, and over sequences, which are pictures a pixel high or wide."""

from __future__ import annotations

from typing import Any, TypeVar

from ..layout import Tensor
from .lowering import Lowering
from .reading import OnnxNode

Number = TypeVar("Number")


def spread(x: Tensor, numbers: tuple[Number, ...], other: Number) -> tuple[Number, ...]:
    """One number for each axis of space, or one for its beginning and end, as those of height and width: a sequence has
    `other` along the axis that it lacks."""
    if len(x.shape) != 3:
        return numbers
    pairs = [(number, other) if x.sequence_axis() == "H" else (other, number) for number in numbers]
    return tuple(number for pair in pairs for number in pair)


def window_of(low: Lowering, node: OnnxNode, x: Tensor, kernel: tuple[int, ...]) -> dict[str, Any]:
    """kernel, stride, dilation and pads (top, left, bottom, right) of a sliding window over a picture or a sequence."""
    rank = len(x.shape) - 2
    stride = tuple(node.attrs.get("strides", (1,) * rank))
    dilation = tuple(node.attrs.get("dilations", (1,) * rank))
    auto = node.attrs.get("auto_pad", "NOTSET")
    pads = tuple(node.attrs.get("pads", (0,) * 2 * rank)) if auto == "NOTSET" else (0,) * 2 * rank
    if not rank == len(kernel) == len(stride) == len(dilation) == len(pads) / 2:
        raise low.unsupported(
            node, f"kernel {kernel}, strides {stride}, dilations {dilation}, pads {pads}", f"{rank} dimensions of space"
        )
    kernel, stride, dilation, pads = (
        spread(x, numbers, other) for numbers, other in ((kernel, 1), (stride, 1), (dilation, 1), (pads, 0))
    )
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


def ceil_pads(x: Tensor, window: dict[str, Any]) -> tuple[int, int, int, int]:
    """pads with as much more at the bottom and right as ceil_mode's last window hangs over."""
    pads = list(window["pads"])
    for i in (0, 1):
        reach = window["dilation"][i] * (window["kernel"][i] - 1) + 1
        size, stride = x.dims[i] + pads[i], window["stride"][i]
        last = -(-(size + pads[i + 2] - reach) // stride) * stride  # where the last window starts
        if last >= size:  # wholly in the padding: it is left out
            last -= stride
        pads[i + 2] = max(pads[i + 2], last + reach - size)
    return pads[0], pads[1], pads[2], pads[3]
