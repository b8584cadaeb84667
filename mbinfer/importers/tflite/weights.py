"""Weights and biases as a file stores them: real numbers, or int8 with scales where the node computes in integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..emitting import SourceNode, unsupported
from .constants import dequantized
from .lowering import Lowering
from .tensors import TfliteTensor

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
    centred = _centred(array, tensor, axis)
    return Weight(centred.astype(np.int8), np.broadcast_to(tensor.scale, array.shape[axis]).astype(np.float32))


def reals_of(low: Lowering, node: SourceNode, index: int) -> npt.NDArray[np.float64]:
    """The constant input `index` as the real numbers that it stands for."""
    array, tensor = low.constant(node, index), low.source.tensors[node.inputs[index]]
    quantised = array.dtype.kind in "iu" and len(tensor.scale)
    return dequantized(array, tensor) if quantised else np.asarray(array, np.float64)


def fits(low: Lowering, node: SourceNode, index: int, axis: int) -> bool:
    """Whether the constant input `index` of a node of integers is at most 8 bits from its zero point.

    uint8 weights, as of files from before int8 ones, need 9 bits where they lie far on one side of it.
    """
    array, tensor = low.env.get(node.inputs[index]), low.source.tensors[node.inputs[index]]
    if low.type_of(node, node.inputs[0]) is None or not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        return True
    if len(tensor.zero_point) not in (0, 1, array.shape[axis] if axis < array.ndim else 0):
        return True  # refused by `weight_of`
    centred = _centred(array, tensor, axis)
    return not centred.size or bool(SMALLEST <= centred.min() and centred.max() <= LARGEST)


def _centred(array: npt.NDArray[Any], tensor: TfliteTensor, axis: int) -> npt.NDArray[np.int64]:
    shape = [1] * array.ndim
    shape[axis] = len(tensor.zero_point)
    return np.asarray(array.astype(np.int64) - tensor.zero_point.reshape(shape), np.int64)


def bias_of(low: Lowering, node: SourceNode, index: int, outputs: int) -> npt.NDArray[Any] | None:
    """The bias of so many channels, float64 or int32 as the node computes; None where there is none."""
    array = low.constant(node, index)
    if array is None:
        return None
    if array.size != outputs:
        raise unsupported(node, f"a bias of {array.size} numbers for {outputs} channels", "one for each")
    quantized = low.type_of(node, node.inputs[0]) is not None
    if array.dtype.kind == "f" and not quantized:  # or dequantised, where integers are computed in real numbers
        return np.asarray(array, np.float64)
    if array.dtype == np.int32 and quantized:
        return np.asarray(array)
    raise unsupported(node, f"a bias of {array.dtype}", "float32, or int32 where values are quantised")
