"""The walk over the operators of a TensorFlow Lite graph that emits graph nodes, types and all.

int8 tensors become uint8 values: 128 more in every number and in the zero point, so that each stands for the same real
number. Inputs and outputs are what the file says, with a conversion behind and before them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...graph import Type
from ...limits import MAX_ELEMENTS
from ..arguments import InputShape, shapes_by_name
from ..emitting import TIMES_HELD, SourceNode, unsupported
from ..finishing import listed
from ..layout import Tensor, nhwc
from ..states import States, Tie, ties_of
from ..unfolding import as_picture
from ..walking import Walk
from . import schema
from .batches import with_gaps
from .borders import with_pads
from .constants import dequantized
from .reading import TfliteSource
from .sequences import picture_of
from .tensors import TfliteTensor
from .variables import as_bytes

Handler = Callable[["Lowering", SourceNode], Tensor]

_HANDLERS: dict[str, Handler] = {}
_MANY_OUTPUTS: set[str] = set()  # operators whose handler notes what its outputs beyond the first are
MOST_BYTES = 1 << 29  # of weights of which little is stored
RESHAPES = frozenset(("RESHAPE", "EXPAND_DIMS", "SQUEEZE"))
OF_COMPLEX = RESHAPES | {"COMPLEX_ABS", "REAL", "IMAG"}

# What users call operators that are not here.
ALIASES = {
    "BATCH_MATMUL": "attention",
    "VAR_HANDLE": "streaming state",
    "CONV_3D": "convolution of volumes",
    "CONV_3D_TRANSPOSE": "convolution of volumes",
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), "NMS, detection post-processing"),
    "TOPK_V2": "the largest of many numbers, detection post-processing",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "recurrent network",
    "WHILE": "recurrent network",
}


def lowers(*ops: str, reals: bool = False, many: bool = False) -> Callable[[Handler], Handler]:
    """Register ``handler(low, node) -> Tensor``, which is the node's only output, the first one with `many`.

    With `reals` it knows real numbers alone, and quantised tensors are dequantised before it.
    """
    if many:
        _MANY_OUTPUTS.update(ops)

    def register(handler: Handler) -> Handler:
        def on_reals(low: Lowering, node: SourceNode) -> Tensor:
            typed = any(
                isinstance(low.env.get(name), Tensor) and low.type_of(node, name) is not None for name in node.inputs
            )
            return low.in_reals(node, handler) if typed else handler(low, node)

        _HANDLERS.update(dict.fromkeys(ops, on_reals if reals else handler))
        return handler

    return register


class Lowering(Walk):
    """One model on its way from TensorFlow Lite to a `Graph`."""

    handlers, aliases, products = _HANDLERS, ALIASES, frozenset(("BATCH_MATMUL",))
    layout = "NHWC"

    def __init__(self, source: TfliteSource, input_shape: InputShape = None, states: States = None):
        constants = {name: t.array for name, t in source.tensors.items() if t.array is not None}
        super().__init__(source.tensors, constants, MOST_BYTES + TIMES_HELD * source.budget.stored)
        self.source = source
        self._in_reals = False  # whether a handler is at work on real numbers in place of integers
        self._real: dict[str, str] = {}  # the float32 value of a quantised one
        self.imaginary: dict[str, str] = {}  # of a complex tensor, by its real part
        self._states = states
        self.ties: list[Tie] = []  # after `run`
        self.streams = bool(states or source.variables)
        shapes = shapes_by_name(source.inputs, input_shape)
        self.overridden = bool(shapes)
        for name in source.inputs:
            self._input(name, shapes.get(name, source.tensors[name].shape))
        for variable in source.variables:
            self._variable(variable.content)

    def run(self) -> None:
        self.walk(with_pads(self.source, with_gaps(self.source)), self._visit)
        self.end()
        self.ties = ties_of(self, self._states)
        for variable in self.source.variables:
            if variable.next not in self.env:
                raise FormatError(
                    f"variable '{variable.content}' (VAR_HANDLE) takes '{variable.next}': nothing makes it"
                )
            before, after = (self.env[name] for name in (variable.content, variable.next))
            tie = Tie(variable.content, before, variable.next, after, kind="variable (VAR_HANDLE)")
            if variable.initial is not None and isinstance(before, Tensor):
                tie.initial = np.ascontiguousarray(as_bytes(variable.initial).reshape(before.dims))
            self.ties.append(tie)
        for name in self.source.outputs:
            self._output(name)

    def can_run(self, node: SourceNode) -> bool:
        return node.op in self.handlers or node.op in ("SHAPE", "RANK")

    def _input(self, name: str, shape: tuple[int, ...]) -> None:
        tensor = self.source.tensors[name]
        if not shape or (len(shape) > 1 and shape[0] != 1) or math.prod(shape) > MAX_ELEMENTS or math.prod(shape) < 1:
            raise UnsupportedError(
                f"input '{name}' has the shape {shape}; supported is batch 1, every size known: give "
                f"convert(..., input_shape={(1, *shape[1:])})"
            )
        if tensor.kind in ("?", "<c8"):
            raise UnsupportedError(f"input '{name}' is of type {tensor.kind}; supported: real numbers")
        dims = self._picture(name, shape)
        found = nhwc(name, dims, shape)
        given = self.held(tensor)
        self.builder.input(name, dims)
        if given.dtype != "float32":
            self.graph.types[name] = given
        if name in (self._states or {}):
            self.graph.types.update({name: inside(given)} if given.dtype == "int8" else {})
        elif given.dtype == "int8":
            found = replace(found, value=self.builder.add("convert", [name], name=f"{name}/uint8"))
            self.graph.types[found.value] = inside(given)
        self.env[name] = found

    def _variable(self, name: str) -> None:
        """An input for now, as the uint8 numbers that stand for those of int8."""
        tensor = self.source.tensors[name]
        try:
            given = self.held(tensor)
        except UnsupportedError as error:
            raise UnsupportedError(f"variable '{name}' (VAR_HANDLE): {error}", name, "VAR_HANDLE") from error
        if not 1 <= len(tensor.shape) <= 4 or not 1 <= math.prod(tensor.shape) <= MAX_ELEMENTS:
            raise UnsupportedError(
                f"variable '{name}' (VAR_HANDLE) has the shape {tensor.shape}; supported: 1 to 4 axes of known sizes",
                name,
                "VAR_HANDLE",
            )
        dims = self._picture(name, tensor.shape if tensor.shape[0] == 1 else (1, *tensor.shape))
        self.builder.input(name, dims)
        if given.dtype != "float32":
            self.graph.types[name] = inside(given)
        self.env[name] = nhwc(name, dims, tensor.shape)

    def _output(self, name: str) -> None:
        """An output of int8 is what its uint8 value becomes."""
        found, held = self.env.get(name), self.source.tensors[name]
        if isinstance(found, Tensor) and found.value in self.imaginary:
            raise UnsupportedError(f"output '{name}' is complex; supported: real numbers, as COMPLEX_ABS makes them")
        if isinstance(found, Tensor) and held.kind == "i1" and self.graph.types[found.value].dtype == "uint8":
            found = listed(self, SourceNode(name, "an output", [], [f"{name}/listed"]), found)  # int8 does not move
            value = self.builder.add("convert", [found.value], name=f"{name}/int8", output=self.fresh(f"{name}/int8"))
            self.graph.types[value] = self.held(held)
            self.env[name] = replace(found, value=value)

    def _picture(self, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The dims of an input: those of the first tensor of rank 4 that shows its elements, else its own."""
        found = picture_of(self.source, name) if self.streams else None
        if found is not None and math.prod(found) == math.prod(shape):
            return found
        views = {name: shape}
        for node in self.source.nodes if len(shape) != 4 else ():
            read = next((tensor for tensor in node.inputs if tensor in views), None)
            if read is None or node.op == "SHAPE":
                continue
            if node.op not in (*RESHAPES, "READ_VARIABLE", "QUANTIZE", "DEQUANTIZE", "CAST"):
                break
            made = self.source.tensors[node.outputs[0]].shape
            if math.prod(made) != math.prod(shape):
                break
            views[node.outputs[0]] = made
            if len(made) == 4 and made[0] == 1:
                return made[1], made[2], made[3]
        sizes = (1, 1, 1, *shape[len(shape) > 1 :]) if len(shape) < 4 else (*shape[1:-2], shape[-2], shape[-1])
        return math.prod(sizes[:-2]), sizes[-2], sizes[-1]

    def _visit(self, node: SourceNode, found: list[Any]) -> None:
        for name, tensor in zip(node.inputs, found):
            if name and tensor is None:
                raise unsupported(node, f"reads '{name}', {self._why_unknown(name)}", "inputs, constants and results")
            if isinstance(tensor, Tensor) and tensor.value in self.imaginary and node.op not in OF_COMPLEX:
                raise unsupported(node, f"reads '{name}', which is complex", "real numbers, or COMPLEX_ABS before it")
        if len(node.outputs) != 1 and node.op in _HANDLERS and node.op not in _MANY_OUTPUTS:
            raise unsupported(node, f"{len(node.outputs)} outputs", "its first output alone")
        if node.op == "SHAPE" and isinstance(found[0], Tensor):
            self.env[node.outputs[0]] = np.array(found[0].shape, np.int64)
        elif node.op == "RANK" and isinstance(found[0], Tensor):
            self.env[node.outputs[0]] = np.array(len(found[0].shape), np.int32)
        elif any(isinstance(tensor, Tensor) for tensor in found):
            result = self.lower(node)
            made = self.source.tensors[node.outputs[0]]
            expected = made.shape
            if len(expected) == len(result.shape):
                expected = tuple(result.shape[i] if i in made.open_axes else n for i, n in enumerate(expected))
            if expected != result.shape and node.op == "RFFT2D":  # converters write that of a whole transform
                self.overridden = True
            if expected != result.shape and not self.overridden and (expected or node.op not in schema.FLEX_OPTIONS):
                raise unsupported(
                    node, f"the file says the shape {expected}, which is {result.shape}", "files whose shapes are right"
                )
            self.env[node.outputs[0]] = result
        else:
            self.env[node.outputs[0]] = self.source.budget.evaluate(
                node, found, [self.source.tensors.get(name) for name in (*node.inputs, node.outputs[0])]
            )

    def _why_unknown(self, name: str) -> str:
        tensor = self.source.tensors[name]
        if tensor.variable:
            return "state that stays from one run to the next (a streaming network)"
        return f"of type {tensor.kind}, which nothing makes"

    # For the handlers, beside what every walk has.

    def in_reals(self, node: SourceNode, handler: Handler) -> Tensor:
        """What `handler` makes of the real numbers that a node's quantised tensors stand for, quantised.

        For operators that have no arithmetic of integers here.
        """
        made, before = self.type_of(node, node.outputs[0]), {name: self.env.get(name) for name in node.inputs}
        for name, found in before.items():
            tensor = self.source.tensors.get(name)
            if isinstance(found, Tensor) and found.value in self.graph.types:
                self.env[name] = replace(found, value=self._as_real(found.value))
            elif isinstance(found, np.ndarray) and tensor and len(tensor.scale) and found.dtype.kind in "iu":
                self.env[name] = dequantized(found, tensor)
        self._in_reals = True
        try:
            result = handler(self, node)
        finally:
            self._in_reals = False
            self.env.update(before)
        if made is None:
            return result
        value = self.emit(node, "convert", [result.value], "quantised")
        self.graph.types[value] = made
        return replace(result, value=value)

    def _as_real(self, value: str) -> str:
        if value not in self._real:
            name = self.fresh(f"{value}/real")
            self._real[value] = self.builder.add("convert", [value], name=name, output=name)
        return self._real[value]

    def type_of(self, node: SourceNode, name: str) -> Type | None:
        """The type of the value that stands for a tensor; None for float32."""
        if self._in_reals:
            return None
        held = self.held(self.source.tensors[name], node)
        return None if held.dtype == "float32" else inside(held)

    def held(self, tensor: TfliteTensor, node: SourceNode | None = None) -> Type:
        """The type of a tensor as the file says it."""
        where = f"tensor '{tensor.name}'"
        problem = ""
        if tensor.kind in ("<f4", "?", "<c8"):  # answers are the numbers 1 and 0, a complex one is its real part
            return Type()
        if tensor.kind not in ("i1", "u1"):
            names = {"<i2": "int16 (quantised 16x8: values of 16 bits, weights of 8)", "<f2": "float16", "<i4": "int32"}
            problem = f"{where} is of type {names.get(tensor.kind, tensor.kind.lstrip('<'))}"
        elif len(tensor.scale) != 1:
            problem = f"{where} has {len(tensor.scale)} scales"
        elif not np.iinfo(tensor.kind).min <= tensor.zero_point[0] <= np.iinfo(tensor.kind).max:
            problem = f"{where} has the zero point {tensor.zero_point[0]}"
        if problem:
            supported = "values of float32, and of int8 or uint8 with one scale and zero point"
            if tensor.kind == "<i2":
                supported += " (convert the network again without the mode of 16x8: OpsSet.TFLITE_BUILTINS_INT8)"
            if node is not None:
                raise unsupported(node, problem, supported)
            raise UnsupportedError(f"{problem}; supported: {supported}")
        return Type(str(np.dtype(tensor.kind)), float(tensor.scale[0]), int(tensor.zero_point[0]))

    def typed(self, node: SourceNode, op: str, inputs: list[str], part: str = "", **fields: Any) -> str:
        """`emit`, the result being of the type of the node's output."""
        made = self.type_of(node, node.outputs[0])
        value = self.emit(node, op, inputs, part, **fields)
        if made is not None:
            self.graph.types[value] = made
        return value

    def picture(self, node: SourceNode, op: str, x: Tensor, **fields: Any) -> Tensor:
        """A node from and to NHWC."""
        value = self.typed(node, op, [x.value], **fields)
        return nhwc(value, self.builder.dims(value))

    def numbers(self, node: SourceNode, index: int) -> list[Any]:
        """A constant input that has to be there, as a list."""
        found = self.constant(node, index)
        if found is None:
            raise unsupported(node, f"input {index} is left out", "constants there")
        return list(np.ravel(found).tolist())

    def number(self, node: SourceNode, index: int) -> int:
        """A constant input of one number."""
        found = self.numbers(node, index)
        if len(found) != 1:
            raise unsupported(node, f"input {index} has {len(found)} numbers", "one number there")
        return int(found[0])

    def image(self, node: SourceNode) -> Tensor:
        """The first input, which must be an NHWC picture."""
        x = self.tensor(node)
        if len(x.shape) == 4 and x.shows("NHWC"):
            return x
        made = as_picture(self, node, x, "NHWC") if len(x.shape) == 4 else None
        if made is None:
            raise unsupported(
                node,
                f"input of shape {x.shape} holds (height, width, channels) = {x.dims}",
                "NHWC there, batch 1, and vectors that the model reshapes to a picture",
            )
        self.env[node.inputs[0]] = made
        return made

    def activation(self, node: SourceNode) -> dict[str, Any]:
        """The fused activation of a node as fields of a graph's node."""
        number = node.attrs.get("activation", 0)
        name = schema.ACTIVATIONS[number] if 0 <= number < len(schema.ACTIVATIONS) else str(number)
        if name == "NONE":
            return {}
        if name not in BOUNDS:
            raise unsupported(node, f"fused activation {name}", f"fused activations {', '.join(BOUNDS)}")
        return {"activation": "clamp", "clamp": BOUNDS[name]}


BOUNDS = {"RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0), "RELU_0_TO_1": (0.0, 1.0)}


def inside(held: Type) -> Type:
    """The type of the value that stands for numbers of type `held`."""
    return Type("uint8", held.scale, held.zero_point + 128) if held.dtype == "int8" else held
