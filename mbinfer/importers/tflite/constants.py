"""Operators whose inputs are all known, evaluated; what they make is bounded before it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...messages import told
from ..emitting import SourceNode, unsupported
from .tensors import TfliteTensor

Array = npt.NDArray[Any]
MOST_ELEMENTS = 1 << 26  # of one constant
MOST_MADE = 1 << 22  # of one that is larger than what it is made of
MOST_KEPT, TIMES_STORED = 1 << 24, 16  # of all together, beside so many for each byte of the file
TOO_LARGE = "constants that are too large together"

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": lambda a, b: np.fix(a / b).astype(a.dtype) if a.dtype.kind in "iu" else np.divide(a, b),
    "FLOOR_DIV": np.floor_divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
}
SUPPORTED = "constants that are reshaped, transposed, sliced, packed, cast, dequantised, and arithmetic of shapes"


def evaluate(node: SourceNode, arrays: Sequence[Array], tensors: Sequence[TfliteTensor | None]) -> Array:
    """The result of a node; `tensors` are what the file says of its inputs and, last, of its output.

    Raises `UnsupportedError`.
    """
    if node.op not in (*_FUNCTIONS, *ARITHMETIC):
        raise unsupported(node, "an operator whose inputs are all constants", SUPPORTED)
    if node.attrs.get("activation", 0):
        raise unsupported(node, "a fused activation of constants", SUPPORTED)
    if sum(array.size for array in arrays if array is not None) > MOST_ELEMENTS:
        raise unsupported(node, "a constant that is too large", f"constants of up to {MOST_ELEMENTS} elements")
    try:
        if node.op in ARITHMETIC:
            a, b = arrays
            made = math.prod(np.broadcast_shapes(a.shape, b.shape))
            if made > max(a.size, b.size, MOST_MADE) or any(t and len(t.scale) for t in tensors):
                raise ValueError("large or quantised")
            with np.errstate(all="ignore"):
                return np.asarray(ARITHMETIC[node.op](a, b))
        return np.asarray(_FUNCTIONS[node.op](node, arrays, tensors))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise unsupported(node, f"inputs that make no sense together: {told(error)}", SUPPORTED) from error


class Budget:
    """What is made of a file of so many bytes may have so many elements, all together."""

    def __init__(self, stored: int):
        self.stored, self._left = stored, MOST_KEPT + TIMES_STORED * stored

    def spend(self, elements: int) -> bool:
        """Whether there is room for so many more, which are taken."""
        self._left -= elements
        return self._left >= 0

    def evaluate(self, node: SourceNode, arrays: Sequence[Array], tensors: Sequence[TfliteTensor | None]) -> Array:
        """`evaluate`; what is read counts too, as many nodes may read one large constant. Views cost nothing."""
        if self._left >= 0:
            made, read = evaluate(node, arrays, tensors), [array for array in arrays if array is not None]
            is_view = any(np.may_share_memory(made, array) for array in read)
            if is_view or self.spend(max(made.size, sum(array.size for array in read))):
                return made
        raise unsupported(node, TOO_LARGE, f"some {TIMES_STORED} times what the file stores")


def dequantized(array: Array, tensor: TfliteTensor) -> npt.NDArray[np.float64]:
    """The real numbers that the integers `array` of `tensor` stand for."""
    shape = [1] * array.ndim
    if len(tensor.scale) > 1:
        shape[tensor.axis] = len(tensor.scale)
    difference = array.astype(np.float64) - tensor.zero_point.reshape(shape)
    return np.asarray(difference * tensor.scale.reshape(shape), np.float64)


def _dequantize(node: SourceNode, arrays: Sequence[Array], tensors: Sequence[TfliteTensor | None]) -> Array:
    (array,), tensor = arrays, tensors[0]
    if array.dtype.kind == "f":  # float16
        return array.astype(np.float32)
    if tensor is None or not len(tensor.scale):
        raise ValueError("no scale")
    return dequantized(array, tensor).astype(np.float32)


def _reshape(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    return arrays[0].reshape(arrays[1].tolist() if len(arrays) > 1 else node.attrs["shape"])


def _strided_slice(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    array, begin, end, step = arrays
    if node.attrs["ellipsis_mask"] or node.attrs["new_axis_mask"] or node.attrs["offset"]:
        raise ValueError("an ellipsis, a new axis, or ends that are lengths")
    index: list[int | slice] = []
    for axis, (first, last, by) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist())):
        bit = 1 << axis
        if node.attrs["shrink_axis_mask"] & bit:
            index.append(0 if node.attrs["begin_mask"] & bit else first)
        else:
            start = None if node.attrs["begin_mask"] & bit else first
            index.append(slice(start, None if node.attrs["end_mask"] & bit else last, by))
    return np.asarray(array[tuple(index)])


def _cast(node: SourceNode, arrays: Sequence[Array], tensors: Sequence[TfliteTensor | None]) -> Array:
    made = tensors[-1]
    assert made is not None
    if made.kind not in ("<f4", "<i4", "<i8"):
        raise ValueError(f"a cast to {made.kind}")
    return arrays[0].astype(made.kind)


def _pack(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    return np.stack(arrays, node.attrs["axis"])


def _concatenate(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    return np.concatenate(arrays, node.attrs["axis"])


def _gather(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    if arrays[0].size * arrays[1].size > MOST_MADE or node.attrs["batch_dims"]:
        raise ValueError("a large gather")
    return arrays[0].take(arrays[1], node.attrs["axis"])


def _bounded(shape: Array) -> list[int]:
    sizes = [int(size) for size in np.ravel(shape)]
    if min(sizes, default=0) < 0 or math.prod(sizes) > MOST_MADE:
        raise ValueError(f"a shape of {sizes[:9]}")
    return sizes


def _range(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    first, last, step = (array.item() for array in arrays)
    _bounded(np.array([math.ceil((last - first) / step)]))
    return np.asarray(np.arange(first, last, step)).astype(arrays[0].dtype)


def _product(node: SourceNode, arrays: Sequence[Array], _: Any) -> Array:
    axes = tuple(np.ravel(arrays[1]).tolist())
    return np.asarray(arrays[0].prod(axes, keepdims=bool(node.attrs["keep_dims"]), dtype=arrays[0].dtype))


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "DEQUANTIZE": _dequantize,
    "DENSIFY": lambda node, arrays, _: arrays[0],  # a sparse tensor is dense once it is read
    "RESHAPE": _reshape,
    "SQUEEZE": lambda node, arrays, _: arrays[0].squeeze(tuple(node.attrs["axes"]) or None),
    "EXPAND_DIMS": lambda node, arrays, _: np.expand_dims(arrays[0], int(arrays[1].item())),
    "TRANSPOSE": lambda node, arrays, _: arrays[0].transpose(arrays[1].tolist()),
    "STRIDED_SLICE": _strided_slice,
    "CAST": _cast,
    "PACK": _pack,
    "CONCATENATION": _concatenate,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "READ_VARIABLE": lambda node, arrays, _: arrays[0],
    "RANK": lambda node, arrays, _: np.array(arrays[0].ndim, np.int32),
    "FILL": lambda node, arrays, _: np.full(_bounded(arrays[0]), arrays[1].item(), arrays[1].dtype),
    "ZEROS_LIKE": lambda node, arrays, _: np.zeros_like(arrays[0]),
    "RANGE": _range,
    "SHAPE": lambda node, arrays, _: np.array(arrays[0].shape, np.int64),
}
