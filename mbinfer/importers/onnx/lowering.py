"""The walk over ONNX nodes that emits graph nodes: constants are evaluated, layouts tracked, nothing is fused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import Error, UnsupportedError
from ...graph import Type
from ..choosing import chosen
from ..emitting import SourceNode, unsupported
from ..layout import Tensor, nchw
from ..unfolding import as_picture, as_sequence
from .constants import Evaluator, to_array
from .inputs import PICTURE_OPS, input_tensor
from .integers import dequantize, lower_integers, quantize, type_of
from .reading import OnnxNode, OnnxSource, nodes_of
from .selecting import selected_boxes
from .walk import OnnxWalk

Handler = Callable[["Lowering", OnnxNode], Tensor]

_HANDLERS: dict[str, Handler] = {}
_SEES_ALL_OUTPUTS: set[str] = set()  # ops whose handler decides what outputs beyond the first mean

# What users call operators that are not here.
ALIASES = {
    "GRU": "recurrent network",
    "GatherND": "picks of pixels, as of adaptive pools to sizes that do not divide the map's",
    "LSTM": "recurrent network",
    "NonMaxSuppression": "NMS, detection post-processing",
    "ConvInteger": "dynamically quantised model",
    "DynamicQuantizeLinear": "dynamically quantised model",
    "MatMul": "attention",
    "MatMulInteger": "dynamically quantised model",
    "QLinearConv": "int8 quantised model",
    "Sin": "sine",
}


def lowers(*ops: str, sees_all_outputs: bool = False) -> Callable[[Handler], Handler]:
    """Register ``handler(low, node) -> Tensor`` for ONNX ops of the standard domain.

    The tensor is the first output. A node with more outputs can mean something else (batch norm: training), so that it
    is refused, unless its handler says that it looks at them.
    """

    def register(handler: Handler) -> Handler:
        _HANDLERS.update(dict.fromkeys(ops, handler))
        if sees_all_outputs:
            _SEES_ALL_OUTPUTS.update(ops)
        return handler

    return register


VIEWS = frozenset(("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"))  # of any tensor


class Lowering(OnnxWalk):
    """The walk that lowers each node, on integers where that is possible."""

    handlers, aliases, products = _HANDLERS, ALIASES, frozenset(("MatMul",))

    def __init__(self, source: OnnxSource):
        super().__init__(source)
        self._evaluate = Evaluator(source.opset, sum(array.size for array in source.constants.values()))
        for name, shape in source.inputs.items():
            try:
                found = shape if isinstance(shape, Error) else input_tensor(source, name, shape)
            except UnsupportedError as error:
                found = error
            if isinstance(found, Tensor):
                self.builder.input(name, found.dims)
                if name in source.kinds:
                    found = self._of_integers(name, found)
            self.env[name] = found

    def run(self) -> None:
        shapes = self.source.shapes if self.source.trusted else {}
        self.walk(self.nodes, lambda node, found: self._visit(node, found, shapes))
        self.end()
        for name, kind in self.source.kinds.items():
            found = self.env.get(name)
            if name not in self.source.outputs or kind != "int8" or not isinstance(found, Tensor):
                continue
            inside = self.graph.types.get(found.value)
            if inside is not None and inside.dtype == "uint8":
                value = self.fresh(f"{name}/int8")
                self.builder.add("convert", [found.value], name=value, output=value)
                self.graph.types[value] = Type("int8", inside.scale, inside.zero_point - 128)
                self.env[name] = replace(found, value=value)

    def _of_integers(self, name: str, found: Tensor) -> Tensor | UnsupportedError:
        """An input of int8 or uint8, of the type that its first DequantizeLinear says, or of a cast's plain numbers."""
        kind, seen, inside = self.source.kinds[name], {name}, None
        for node in self.nodes:
            if not node.inputs or node.inputs[0] not in seen:
                continue
            if node.op == "DequantizeLinear":
                inside = type_of(self, node, 1, 2)
            elif node.op == "Cast":
                inside = Type("uint8", 1.0, 128 if kind == "int8" else 0)
            if inside is not None:
                break
            seen.update(node.outputs if node.op in (*VIEWS, "MaxPool") else ())
        if inside is None:
            return UnsupportedError(
                f"input '{name}' of {kind} has no scale; supported are inputs that DequantizeLinear or Cast reads"
            )
        self.graph.types[name] = inside
        if kind == "int8":
            self.graph.types[name] = Type("int8", inside.scale, inside.zero_point - 128)
            value = self.fresh(f"{name}/uint8")
            found = replace(found, value=self.builder.add("convert", [name], name=value, output=value))
            self.graph.types[found.value] = inside
        if node.op == "Cast":
            self.plain.add(found.value)
        return found

    def boxes_argument(self) -> dict[str, Any] | None:
        return selected_boxes(self)

    def can_run(self, node: SourceNode) -> bool:
        if isinstance(node, OnnxNode) and node.domain:
            return False
        return node.op in self.handlers or node.op in ("If", "Shape")

    def kind(self, node: SourceNode) -> str:
        return f"{node.domain}.{node.op}" if isinstance(node, OnnxNode) and node.domain else node.op

    def _visit(self, node: OnnxNode, found: list[Any], shapes: dict[str, tuple[int, ...]]) -> None:
        if id(node) in self.passed or lower_integers(self, node):
            return
        self._refuse_integers(node, found)
        if node.domain:
            raise unsupported(node, f"op of the domain '{node.domain}'", "ops of the standard ONNX domain")
        if node.op == "If":
            self._take_branch(node, found[0])
        elif node.op == "Shape" and isinstance(found[0], Tensor):
            shape = np.array(found[0].shape, np.int64)
            self.env[node.outputs[0]] = shape[node.attrs.get("start", 0) : node.attrs.get("end")]
        elif not any(isinstance(tensor, Tensor) for tensor in found):
            self._constant(node, found)
        else:
            if node.op in _HANDLERS and any(node.outputs[1:]) and node.op not in _SEES_ALL_OUTPUTS:
                raise unsupported(node, f"{sum(map(bool, node.outputs))} outputs", "its first output alone")
            self._reads_picture(node, found[0])
            result = self.lower(node)
            expected = shapes.get(node.outputs[0], result.shape)
            if expected != result.shape:
                raise unsupported(
                    node,
                    f"ONNX infers the shape {expected} but mbinfer {result.shape}",
                    "models on whose shapes both agree",
                )
            self.env[node.outputs[0]] = result

    def _reads_picture(self, node: OnnxNode, x: Any) -> None:
        """What an operator of pictures or sequences reads is one, if it was a vector before the model reshaped it."""
        if node.op not in PICTURE_OPS or not isinstance(x, Tensor) or len(x.shape) not in (3, 4) or x.is_image():
            return
        if len(x.shape) == 3 and node.op == "InstanceNormalization":  # of groups of channels, which stay where they are
            return
        if node.op in ("PRelu", "Resize", "Upsample") and len(x.shape) == 4 and x.shows("NHWC"):  # take any layout
            return
        weight = self.env.get(node.inputs[1]) if node.op == "Conv" else None
        if isinstance(weight, np.ndarray) and neighbours(x, weight.shape):
            return
        made = as_picture(self, node, x, "NCHW") if len(x.shape) == 4 else as_sequence(self, node, x)
        self.env[node.inputs[0]] = made or x

    def _refuse_integers(self, node: OnnxNode, found: list[Any]) -> None:
        """Operators of real numbers do not take a quantised tensor."""
        quantized = [t for t in found if isinstance(t, Tensor) and t.value in self.graph.types]
        if quantized and not node.domain and node.op != "DequantizeLinear" and node.op not in ("Shape", "Cast", *VIEWS):
            raise unsupported(node, "a quantised tensor", "DequantizeLinear between them")

    def _constant(self, node: OnnxNode, arrays: list[Any]) -> None:
        for name, array in zip(node.inputs, arrays):
            if name and array is None:
                raise unsupported(
                    node, f"reads '{name}', which no supported output provides", "the first output of each node"
                )
        self.env.update(zip([name for name in node.outputs if name], self._evaluate(node, node.proto, arrays)))

    def _take_branch(self, node: OnnxNode, condition: Any) -> None:
        """An If whose condition is known is its branch; of one that the network computes both run, and one is taken."""
        if isinstance(condition, Tensor) and math.prod(condition.shape) == 1:
            both = [self._branch(node.attrs[key]) for key in ("then_branch", "else_branch")]
            for name, *made in zip(node.outputs, *both):
                refused = next((x for x in made if isinstance(x, Error)), None)
                if refused is None and all(isinstance(x, (Tensor, np.ndarray)) for x in made):
                    self.env[name] = chosen(self, replace(node, outputs=[name]), condition, made)
                elif refused is not None:
                    self.env[name] = refused
            return
        if not isinstance(condition, np.ndarray) or condition.size != 1:
            raise unsupported(
                node,
                "which branch runs is known only when the network runs",
                "a condition of one number, or one that follows from shapes: fix them with convert(..., input_shape=)",
            )
        found = self._branch(node.attrs["then_branch" if condition.item() else "else_branch"])
        self.env.update((name, made) for name, made in zip(node.outputs, found) if made is not None)

    def _branch(self, branch: Any) -> list[Any]:
        """What the outputs of a branch became; None for one that nothing makes."""
        self.env.update({tensor.name: to_array(tensor) for tensor in branch.initializer})
        self.walk(nodes_of(branch), lambda node, found: self._visit(node, found, {}))
        return [self.env.get(output.name) for output in branch.output]

    # For the handlers, beside what every walk has.

    def is_read(self, tensor: str) -> bool:
        """Whether a node reads `tensor` or it is an output."""
        return tensor in self.source.read

    def option(self, node: OnnxNode, name: str, index: int, default: Any = None) -> Any:
        """What old opsets give as attribute `name` and new ones as input `index`, as a list of ints, or `default`."""
        found = node.attrs[name] if name in node.attrs else self.constant(node, index)
        return default if found is None else [int(v) for v in np.ravel(found)]

    def picture(self, node: OnnxNode, op: str, x: Tensor, **fields: Any) -> Tensor:
        """A node from and to NCHW, or from a sequence to one."""
        return self.shaped(x, self.emit(node, op, [x.value], **fields))

    def shaped(self, x: Tensor, value: str) -> Tensor:
        """The picture of a value, or the sequence if `x` is one."""
        made = nchw(value, self.builder.dims(value))
        height, width, channels = made.dims
        return made if len(x.shape) == 4 else replace(made, shape=(1, channels, height * width))

    def image(self, node: OnnxNode) -> Tensor:
        """The first input, which must be an NCHW picture, or a sequence: one pixel high or wide, without that axis."""
        x = self.tensor(node)
        if len(x.shape) == 3 and x.is_image():
            return x
        if len(x.shape) != 4:
            raise unsupported(node, f"input of shape {x.shape}", "one or two dimensions of space, rank 3 or 4")
        if not x.shows("NCHW"):
            raise unsupported(
                node,
                f"input of shape {x.shape} holds (height, width, channels) = {x.dims} in an order that is not NCHW",
                "NCHW there, and vectors that the model reshapes to a picture",
            )
        return x

    def square_image(self, node: OnnxNode) -> Tensor:
        """`image` for operators of pictures alone."""
        x = self.image(node)
        if len(x.shape) != 4:
            raise unsupported(node, f"input of shape {x.shape}", "two dimensions of space, rank 4")
        return x


def neighbours(x: Tensor, weight: tuple[int, ...]) -> bool:
    """Whether a convolution by `weight` sees the channels of a vector as a sequence."""
    return len(x.shape) == 3 and x.shape == (1, 1, x.dims[2]) and x.dims[:2] == (1, 1) and weight[:2] == (1, 1)


lowers("QuantizeLinear")(quantize)
lowers("DequantizeLinear")(dequantize)
