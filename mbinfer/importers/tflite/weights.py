"""Weights and biases as a file stores them: real numbers, or int8 with scales where the node computes in integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..emitting import SourceNode, unsupported
from .constants import dequantized
from .lowering import Lowering

SMALLEST, LARGEST = -128, 127


@dataclass
class Weight:
    """`scale`: of int8 numbers, one for each output channel; None for float64 numbers."""

    array: npt.NDArray[Any]
    scale: npt.NDArray[np.float32] | None

    def fields(self, array: npt.NDArray[Any]) -> dict[str, Any]:
        """The fields of a graph's node, with `array` being these numbers in the graph's order."""
        return {"weight": array} if self.scale is None else {"weight": array, "weight_scale": self.scale}


def weight_of(low: Lowering, node: SourceNode, index: int, axis: int) -> Weight:
    """The constant input `index` of a node, `axis` being that of its output channels.

    Integers stay integers where the node's first input is quantised; otherwise they are weights that were made small
    only (dynamic-range quantisation), and become the real numbers that they stand for.
    """
    array, tensor = low.constant(node, index), low.source.tensors[node.inputs[index]]
    quantized = low.type_of(node, node.inputs[0]) is not None
    if array.dtype.kind == "f":
        if quantized:
            raise unsupported(node, f"weights of {array.dtype} on quantised values", "int8 weights there")
        return Weight(array.astype(np.float64), None)
    if not len(tensor.scale) or len(tensor.scale) > 1 and tensor.axis != axis:
        raise unsupported(
            node,
            f"{array.dtype} weights with {len(tensor.scale)} scales on axis {tensor.axis}",
            f"a scale, or one for each of axis {axis}",
        )
    if len(tensor.scale) not in (1, array.shape[axis]):
        raise unsupported(node, f"{len(tensor.scale)} scales for {array.shape[axis]} channels", "one for each")
    if not quantized:
        return Weight(dequantized(array, tensor), None)
    shape = [1] * array.ndim
    shape[axis] = len(tensor.zero_point)
    centred = array.astype(np.int64) - tensor.zero_point.reshape(shape)
    if centred.min() < SMALLEST or centred.max() > LARGEST:
        raise unsupported(
            node,
            f"{array.dtype} weights with the zero point {tensor.zero_point[0]}, which reach from {centred.min()} to "
            f"{centred.max()} from it and need 9 bits",
            "weights from -128 to 127 from their zero point; convert the model again with int8 weights",
        )
    return Weight(centred.astype(np.int8), np.broadcast_to(tensor.scale, array.shape[axis]).astype(np.float32))


def bias_of(low: Lowering, node: SourceNode, index: int) -> npt.NDArray[Any] | None:
    """The bias, float64 or int32 as the node computes; None where there is none."""
    array = low.constant(node, index)
    if array is None:
        return None
    quantized = low.type_of(node, node.inputs[0]) is not None
    if array.dtype.kind == "f" and not quantized:
        return np.asarray(array, np.float64)
    if array.dtype == np.int32 and quantized:
        return np.asarray(array)
    raise unsupported(node, f"a bias of {array.dtype}", "float32, or int32 where values are quantised")
