"""Constants of a few numbers by numpy: hundreds of nodes compute shapes, and asking onnx takes long for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..emitting import SourceNode

Array = npt.NDArray[Any]
SMALL = 1 << 10  # elements that go in, and that come out

# The types of TensorProto that numpy casts between as onnx does.
_CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


def small_constant(node: SourceNode, arrays: Sequence[Array | None]) -> Array | None:
    """The only output of `node`, or None where onnx has to be asked: of what is large, rare, or makes no sense."""
    function = _FUNCTIONS.get(node.op)
    given = [array for array in arrays if array is not None]
    if function is None or sum(array.size for array in given) > SMALL:
        return None
    if len(given) < len(arrays) and node.op != "Slice" or any(array.dtype.kind not in "biuf" for array in given):
        return None
    try:
        with np.errstate(all="ignore"):
            made = function(node, arrays)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return None if made is None else np.asarray(made)


def _fits(arrays: Sequence[Any]) -> bool:
    """Whether arrays make no more than few elements if each element of one meets each of the others."""
    return bool(math.prod(array.size for array in arrays) <= SMALL)


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(node: SourceNode, arrays: Sequence[Any]) -> Any:
        a, b = arrays
        known = a.dtype == b.dtype and a.dtype.kind != "b" and not node.attrs
        return function(a, b) if known and _fits(arrays) else None

    return run


def _divided(a: Any, b: Any) -> Any:
    if a.dtype.kind == "f":
        return np.divide(a, b)
    if not b.all() or (a < 0).any() or (b < 0).any():  # of whole numbers, rounded towards zero
        return None
    return np.floor_divide(a, b)


def _stated(node: SourceNode, _: Any) -> Any:
    ((name, value),) = node.attrs.items()
    kind = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    return np.array(value, kind[name]) if np.size(value) <= SMALL else None


def _cast(node: SourceNode, arrays: Sequence[Any]) -> Any:
    kind = _CASTS.get(node.attrs["to"])
    return None if kind is None else arrays[0].astype(kind)


def _concatenated(node: SourceNode, arrays: Sequence[Any]) -> Any:
    if any(array.dtype != arrays[0].dtype for array in arrays):
        return None
    return np.concatenate(arrays, node.attrs["axis"])


def _gathered(node: SourceNode, arrays: Sequence[Any]) -> Any:
    data, indices = arrays
    return data.take(indices, node.attrs.get("axis", 0)) if _fits(arrays) else None


def _sliced(node: SourceNode, arrays: Sequence[Any]) -> Any:
    data, starts, ends, axes, steps = (*arrays, None, None)[:5]
    index = [slice(None)] * data.ndim
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    if not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps):
        index[axis] = slice(start, end, step)
    return data[tuple(index)]


def _reshaped(node: SourceNode, arrays: Sequence[Any]) -> Any:
    data, shape = arrays
    return data.reshape(shape.tolist()) if shape.all() else None


def _expanded(node: SourceNode, arrays: Sequence[Any]) -> Any:
    data, shape = arrays
    sizes = shape.tolist()
    return data * np.ones(sizes, data.dtype) if data.size * math.prod(sizes) <= SMALL else None


def _chosen(node: SourceNode, arrays: Sequence[Any]) -> Any:
    condition, a, b = arrays
    return np.where(condition, a, b) if condition.dtype == bool and a.dtype == b.dtype and _fits(arrays) else None


_FUNCTIONS: dict[str, Callable[[SourceNode, Sequence[Any]], Any]] = {
    "Add": _numeric(np.add),
    "Sub": _numeric(np.subtract),
    "Mul": _numeric(np.multiply),
    "Div": _numeric(_divided),
    "Equal": _numeric(np.equal),
    "Less": _numeric(np.less),
    "Greater": _numeric(np.greater),
    "Cast": _cast,
    "Concat": _concatenated,
    "Constant": _stated,
    "Expand": _expanded,
    "Gather": _gathered,
    "Identity": lambda node, arrays: arrays[0],
    "Reshape": _reshaped,
    "Shape": lambda node, arrays: None if node.attrs else np.array(arrays[0].shape, np.int64),
    "Slice": _sliced,
    "Squeeze": lambda node, arrays: arrays[0].squeeze(tuple(arrays[1].tolist())),
    "Unsqueeze": lambda node, arrays: np.expand_dims(arrays[0], tuple(arrays[1].tolist())),
    "Where": _chosen,
}
