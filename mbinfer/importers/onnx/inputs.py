"""The shape that an input of an ONNX model gets, and the picture that it is: NCHW, NHWC, or a view of another shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import Error, ShapeError, UnsupportedError
from ...limits import MAX_ELEMENTS, MAX_SIDE
from ..arguments import shapes_by_name
from ..emitting import TALLEST
from ..layout import AXES, Tensor, nchw, order_of
from .loading import require_onnx

MOST_SEEN = 1 << 16  # elements of an input whose places are compared to tell its layout; of larger ones a sample

# What leaves the layout of a tensor open, and passes it on.
OPEN = frozenset(
    "Identity Cast Dropout QuantizeLinear DequantizeLinear "
    "Add Sub Mul Div Min Max Sum Clip Relu HardSwish HardSigmoid Sigmoid Tanh Neg".split()
)
RESHAPES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))
PICTURE_OPS = frozenset(  # take NCHW by their specification
    "Conv ConvTranspose MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool BatchNormalization "
    "InstanceNormalization LRN DepthToSpace SpaceToDepth PRelu Upsample Resize".split()
)

SEQUENCE_OPS = PICTURE_OPS - {"DepthToSpace", "SpaceToDepth", "PRelu", "Upsample", "Resize"}

# The shape.


def dims_of(value: Any) -> tuple[int | None, ...] | None:
    """Sizes of a ValueInfoProto, None where open; None for an unknown rank."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim)  # 0 where there is none


def integer_kinds(values: Iterable[Any]) -> dict[str, str]:
    """Which ValueInfoProtos are of "int8" or "uint8", by name."""
    onnx = require_onnx()
    kinds = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return {name: kinds[number] for name, number in types.items() if number in kinds}


def fix_inputs(values: Sequence[Any], input_shape: Any) -> tuple[dict[str, tuple[int, ...] | Error], str]:
    """Give every ValueInfoProto a fixed shape, in place: batch 1, the rest as stored or as `input_shape` says.

    Returns the shapes by name, or the error that whoever reads the input is to raise, and what was overridden.
    """
    wanted = shapes_by_name([value.name for value in values], input_shape)
    fixed: dict[str, tuple[int, ...] | Error] = {}
    overridden = []
    for value in values:
        try:
            shape = _fix(value, wanted.get(value.name))
            fixed[value.name] = shape
        except UnsupportedError as error:
            if value.name in wanted:
                raise
            fixed[value.name] = error
            continue
        stored = dims_of(value)
        if stored is not None and any(a not in (None, b) for a, b in zip(stored, shape)):
            overridden.append(f"input '{value.name}' of {shape} in place of the stored {_show(stored)}")
        value.type.tensor_type.shape.ClearField("dim")
        for size in shape:
            value.type.tensor_type.shape.dim.add().dim_value = size
    return fixed, ", ".join(overridden)


def _fix(value: Any, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    onnx = require_onnx()
    where, dims = f"input '{value.name}'", dims_of(value)
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT and not integer_kinds([value]):
        raise UnsupportedError(
            f"{where} is not float32; supported are float32, float16, and int8 and uint8 that are dequantised or cast"
        )
    if wanted is not None:
        if dims is not None and len(dims) != len(wanted):
            raise ShapeError(f"{where}: input_shape {wanted} has another rank than the model's {_show(dims)}")
        dims = wanted
    elif dims:
        dims = (1 if dims[0] is None else dims[0], *dims[1:])
    sizes = tuple(size for size in dims or () if size is not None)
    if dims is None or len(sizes) < len(dims):
        example = tuple(224 if size is None else size for size in dims or (1, 3, None, None))
        raise UnsupportedError(
            f"{where} has no fixed size: {_show(dims)}; give it, in the model's own axis order, "
            f"with convert(..., input_shape={example}), or export with a fixed size"
        )
    if len(dims) > 1 and dims[0] != 1 and len(dims) != 3:
        raise _batch(value.name, sizes)
    if math.prod(sizes) > MAX_ELEMENTS:
        raise UnsupportedError(f"{where} has shape {dims}; supported are at most {MAX_ELEMENTS} elements")
    return sizes


def _batch(name: str, shape: tuple[int, ...]) -> UnsupportedError:
    return UnsupportedError(
        f"input '{name}' has batch {shape[0]}; supported is batch 1: give convert(..., input_shape={(1, *shape[1:])}), "
        "or export the model with batch 1 or with a dynamic batch dimension"
    )


def _show(dims: tuple[int | None, ...] | None) -> str:
    return "unknown rank" if dims is None else "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"


# The picture.


@dataclass
class _View:
    """A tensor that shows an input's elements: `back` tells where in the input its elements (by place) lie, -1 for
    those that a Pad added. Of pads that no Reshape has mixed with the rest, `pads` are before and behind each axis."""

    shape: tuple[int, ...]
    back: Callable[[np.ndarray], np.ndarray]
    pads: tuple[tuple[int, int], ...] = ()

    def padded(self, given: Any) -> _View:
        """With pads ``[before each axis, behind each axis]`` more; as it is where they are not known."""
        rank = len(self.shape)
        if given is None or len(given) != 2 * rank or min(given) < 0:
            return self
        before = self.pads or ((0, 0),) * rank
        return _View(
            self.shape,
            self.back,
            tuple((a + int(given[i]), b + int(given[rank + i])) for i, (a, b) in enumerate(before)),
        )

    def whole(self) -> _View:
        """The same with what pads added among its elements."""
        if not self.pads:
            return self
        shape = tuple(size + sum(pads) for size, pads in zip(self.shape, self.pads))

        def back(places: np.ndarray) -> np.ndarray:
            at = [where - pads[0] for where, pads in zip(np.unravel_index(places, shape), self.pads)]
            inside = np.all([(where >= 0) & (where < size) for where, size in zip(at, self.shape)], axis=0)
            found = np.full(places.shape, -1, np.int64)
            found[inside] = self.back(np.ravel_multi_index([where[inside] for where in at], self.shape))
            return found

        return _View(shape, back)

    def transposed(self, perm: Sequence[int]) -> _View:
        shape = tuple(self.shape[i] for i in perm)

        def back(places: np.ndarray) -> np.ndarray:
            at = np.unravel_index(places, shape)
            return self.back(np.ravel_multi_index([at[perm.index(i)] for i in range(len(perm))], self.shape))

        return _View(shape, back, tuple(self.pads[i] for i in perm) if self.pads else ())


def input_tensor(source: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of an input and what its ONNX tensor shows of it, told by the first operator that wants a layout.

    A value's elements lie in the order height, width, channels. Where the first operator sees the input's elements in
    that order, whatever shapes, transposes and pads lie between, the input is that picture. Otherwise an input of rank
    4 is NCHW, one of rank 3 a column of pixels, and one of rank 2 or less a vector.
    """
    seen = _first_look(source, name, shape)
    if seen is not None:
        layout, view = seen
        dims = _as_picture(layout, view, math.prod(shape))
        if dims is not None:
            return Tensor(name, dims, order_of(AXES, dims), shape)
        dims = _sizes(layout, view)
        if layout.startswith("NC") and len(shape) == 3 and math.prod(dims) == math.prod(shape) and view.shape[0] == 1:
            return Tensor(name, dims, order_of("CHW", dims), shape)
    if len(shape) == 3 and shape[0] != 1:  # not even a picture without its batch
        raise _batch(name, shape)
    if len(shape) == 4:
        return nchw(name, (shape[2], shape[3], shape[1]))
    if len(shape) < 4:
        dims = (shape[1] if len(shape) == 3 else 1, 1, shape[-1] if shape else 1)
        if max(dims) <= MAX_SIDE:
            return Tensor(name, dims, order_of(AXES, dims), shape)
    raise UnsupportedError(
        f"input '{name}' has shape {shape}; supported are pictures (rank 4), sequences (rank 3) and vectors (rank 2 or "
        f"less), with sides of up to {MAX_SIDE}, and what the model itself reshapes to a picture without another order "
        "of its elements"
    )


def _sizes(layout: str, view: _View) -> tuple[int, int, int]:
    height, width, channels = (view.shape[layout.index(axis)] if axis in layout else 1 for axis in AXES)
    return height, width, channels


def _as_picture(layout: str, view: _View, elements: int) -> tuple[int, int, int] | None:
    """Height, width and channels of an input of so many elements where a view of `layout` has them in that order, pads
    aside; None where it has not."""
    dims = _sizes(layout, view)
    count = math.prod(dims)
    if max(dims) > MAX_SIDE or view.shape[0] != 1 or count > MAX_ELEMENTS:
        return None
    sampled = count > MOST_SEEN and count == elements
    places = np.random.default_rng(0).integers(0, count, MOST_SEEN) if sampled else np.arange(count)
    at = np.unravel_index(places, dims)  # of the value, height, width, channels
    axes = [at[AXES.index(axis)] if axis in AXES else np.zeros_like(places) for axis in layout]
    found = view.back(np.ravel_multi_index(axes, view.shape))
    if count == elements:
        return dims if (found == places).all() else None
    inside = found >= 0
    if not (found[inside] == np.arange(elements)).all():
        return None
    height, width, channels = (int(np.ptp(where[inside])) + 1 for where in at)
    return (height, width, channels) if height * width * channels == elements else None


def _first_look(source: Any, name: str, shape: tuple[int, ...]) -> tuple[str, _View] | None:
    """The layout that the first operator to want one reads a view of the input in, and that view."""
    views = {name: _View(shape, lambda places: places)}
    guess = None
    for node in source.nodes:
        read = next((tensor for tensor in node.inputs if tensor in views), None)
        if read is None or node.op in ("Shape", "Size"):
            continue
        view = views[read]
        layout = _wanted(source, node, view)
        if layout is not None:
            return layout, view
        if node.op == "Transpose":
            perm = [int(i) for i in node.attrs.get("perm", range(len(view.shape))[::-1])]
            if sorted(perm) != list(range(len(view.shape))):
                return None
            if perm == [0, 3, 1, 2] and guess is None:
                guess = "NHWC", view
            view = view.transposed(perm)
        elif node.op in RESHAPES:
            reshaped, view = source.shapes.get(node.outputs[0]), view.whole()
            if reshaped is None or math.prod(reshaped) != math.prod(view.shape):
                return guess
            view = _View(reshaped, view.back)
        elif node.op == "Pad":
            given = source.constants.get(node.inputs[1]) if len(node.inputs) > 1 else node.attrs.get("pads")
            view = view.padded(None if len(node.inputs) > 3 and node.inputs[3] else given)
        elif node.op == "Concat" and len(view.shape) == 3:
            layout = _of_joined(source, node.outputs[0])
            return (layout, view) if layout else guess
        elif node.op not in OPEN:
            return guess
        views[node.outputs[0]] = view
    return guess


def _of_joined(source: Any, name: str) -> str:
    """The layout of what sequences are joined to, which is theirs too, where a reader of it wants one; else ""."""
    shape = source.shapes.get(name)
    for node in source.nodes if shape is not None else ():
        if name in node.inputs:
            layout = _wanted(source, node, _View(shape, lambda places: places))
            if layout is not None:
                return layout
    return ""


def _wanted(source: Any, node: Any, view: _View) -> str | None:
    """The layout that a node's reading of a view of rank 3 or 4 means, or None where it leaves that open."""
    if len(view.shape) == 3:
        if node.op in SEQUENCE_OPS:
            return "NCW" if _longest_kernel(source) > TALLEST else "NCH"
        return "NHC" if node.op in ("MatMul", "LayerNormalization") else None
    if len(view.shape) != 4:
        return None
    if node.op in PICTURE_OPS:
        return "NCHW"
    if node.op == "MatMul":
        return "NHWC"
    if node.op in ("ReduceMean", "ReduceSum", "ReduceMax"):
        axes = node.attrs.get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = source.constants.get(node.inputs[1])
        axes = {int(axis) % 4 for axis in np.ravel(axes)} if axes is not None else set()
        return "NCHW" if axes == {2, 3} else "NHWC" if axes == {1, 2} else None
    return None


def _longest_kernel(source: Any) -> int:
    """Of all windows over sequences. Rows come one by one, but a kernel has only so many of them."""
    longest = 1
    for node in source.nodes:
        kernel = node.attrs.get("kernel_shape", ())
        weight = source.constants.get(node.inputs[1]) if node.op == "Conv" and len(node.inputs) > 1 else None
        if weight is not None and weight.ndim == 3:
            kernel = weight.shape[2:]
        longest = max(longest, int(kernel[0]) if len(kernel) == 1 else 1)
    return longest
