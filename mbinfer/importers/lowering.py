"""The walk over ONNX nodes that emits graph nodes: constants are evaluated on the way, layouts tracked, nothing fused.

Affine maps (batch norm, bias, scale), activations and zero padding are all emitted as a depthwise 1x1 convolution with
weight, bias, clamp or pads; fusing.py then folds what can be folded, and what is left over can run as it stands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import Error, UnsupportedError
from ..graph import Graph, Node
from .layout import AXES, Tensor, nchw, order_of
from .reading import OnnxNode, OnnxSource, evaluate

_HANDLERS: dict[str, Callable] = {}
_SEES_ALL_OUTPUTS: set[str] = set()  # ops whose handler decides what outputs beyond the first mean

# Ops that leave the layout of an input open; the first other one decides whether it is NHWC.
_LAYOUT_FREE = {
    "Identity",
    "Cast",
    "Dropout",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Min",
    "Max",
    "Clip",
    "Relu",
    "HardSwish",
    "HardSigmoid",
    "Pad",
}


def lowers(*ops: str, sees_all_outputs: bool = False):
    """Register ``handler(low, node) -> Tensor`` for ONNX ops of the standard domain.

    The tensor is the first output. A node with more outputs can mean something else (batch norm: training), so that it
    is refused, unless its handler says that it looks at them.
    """

    def register(handler):
        _HANDLERS.update(dict.fromkeys(ops, handler))
        if sees_all_outputs:
            _SEES_ALL_OUTPUTS.update(ops)
        return handler

    return register


class Lowering:
    """One model on its way from ONNX to a `Graph`: `env` holds each ONNX tensor as a constant array or a `Tensor`."""

    def __init__(self, source: OnnxSource):
        self.source = source
        self.opset = source.opset
        self.graph = Graph()
        self.env: dict[str, np.ndarray | Tensor] = dict(source.constants)
        self.writer: dict[str, Node] = {}  # value name -> emitted node
        self._names = {name for node in source.nodes for name in (*node.inputs, *node.outputs)}
        for name, shape in source.inputs.items():
            self.env[name] = _input_tensor(source, name, shape)
            self.graph.values[name] = self.env[name].dims
            self.graph.inputs[name] = None

    def run(self) -> None:
        for node in self.source.nodes:
            if node.domain:
                raise self.unsupported(node, f"op of the domain '{node.domain}'", "ops of the standard ONNX domain")
            arrays = [self.env.get(name) if name else None for name in node.inputs]
            if node.op == "Shape" and isinstance(arrays[0], Tensor):
                shape = np.array(arrays[0].shape, np.int64)
                self.env[node.outputs[0]] = shape[node.attrs.get("start", 0) : node.attrs.get("end")]
            elif not any(isinstance(array, Tensor) for array in arrays):
                self._evaluate(node, arrays)
            elif node.op not in _HANDLERS:
                raise self.unsupported(node, "unknown op", "on computed tensors: " + ", ".join(sorted(_HANDLERS)))
            else:
                result = self._lower(node)
                expected = self.source.shapes.get(node.outputs[0], result.shape)
                if expected != result.shape:
                    raise self.unsupported(
                        node,
                        f"ONNX infers the shape {expected} but mbinfer {result.shape}",
                        "models on whose shapes both agree",
                    )
                self.env[node.outputs[0]] = result

    def _lower(self, node: OnnxNode) -> Tensor:
        if any(node.outputs[1:]) and node.op not in _SEES_ALL_OUTPUTS:
            raise self.unsupported(node, f"{sum(map(bool, node.outputs))} outputs", "its first output alone")
        try:
            return _HANDLERS[node.op](self, node)
        except Error:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise self.unsupported(
                node,
                f"attributes or inputs that make no sense together: {error!r}",
                "what the ONNX operator's specification allows",
            ) from error

    def _evaluate(self, node: OnnxNode, arrays: list) -> None:
        for name, array in zip(node.inputs, arrays):
            if name and array is None:
                raise self.unsupported(
                    node, f"reads '{name}', which no supported output provides", "the first output of each node"
                )
        try:
            self.env.update(zip([name for name in node.outputs if name], evaluate(node, arrays, self.opset)))
        except Exception as error:  # the evaluator raises whatever its numpy code does
            raise self.unsupported(
                node,
                f"onnx's evaluator cannot compute this constant: {error}",
                "constants that onnx.reference evaluates",
            ) from error

    # For the handlers: what a node reads, and who reads it.

    def unsupported(self, node: OnnxNode, reason: str, supported: str) -> UnsupportedError:
        return UnsupportedError(f"node '{node.name}' ({node.op}): {reason}; supported: {supported}", node.name, node.op)

    def tensor(self, node: OnnxNode, index: int = 0) -> Tensor:
        """A computed input."""
        found = self.env.get(node.inputs[index])
        if not isinstance(found, Tensor):
            raise self.unsupported(
                node,
                f"input {index} ('{node.inputs[index]}') is " + ("not available" if found is None else "a constant"),
                "a computed tensor there, which is the first output of its node",
            )
        return found

    def constant(self, node: OnnxNode, index: int, default=None):
        """A constant input, `default` where it is left out."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return default
        found = self.env.get(node.inputs[index])
        if not isinstance(found, np.ndarray):
            raise self.unsupported(
                node, f"input {index} ('{node.inputs[index]}') is computed by the network", "constants there"
            )
        return found

    def is_read(self, tensor: str) -> bool:
        """Whether a node reads `tensor` or it is an output."""
        return tensor in self.source.outputs or any(tensor in node.inputs for node in self.source.nodes)

    def option(self, node: OnnxNode, name: str, index: int, default=None):
        """What old opsets give as attribute `name` and new ones as input `index`, as a list of ints, or `default`."""
        found = node.attrs[name] if name in node.attrs else self.constant(node, index)
        return default if found is None else [int(v) for v in np.ravel(found)]

    def image(self, node: OnnxNode) -> Tensor:
        """The first input, which must be an NCHW picture."""
        x = self.tensor(node)
        if len(x.shape) != 4:
            raise self.unsupported(node, f"input of shape {x.shape}", "two dimensions of space, rank 4")
        if not x.shows("NCHW"):
            raise self.unsupported(
                node,
                f"input of shape {x.shape} holds (height, width, channels) = {x.dims} in an order that is not NCHW",
                "NCHW there",
            )
        return x

    # For the handlers: what a node becomes.

    def emit(
        self, node: OnnxNode, op: str, inputs: list[str], dims: tuple[int, int, int], part: str = "", **fields
    ) -> str:
        """Append a graph node and return its value's name; `part` names a step other than the last one of `node`."""
        output = self.fresh(f"{node.outputs[0]}/{part}") if part else node.outputs[0]
        name = f"{node.name}/{part}" if part else node.name
        self.graph.values[output] = dims
        self.graph.nodes.append(Node(op, name, inputs, output, **fields))
        self.writer[output] = self.graph.nodes[-1]
        return output

    def affine(self, node: OnnxNode, x: Tensor, scale=1.0, bias=0.0, part: str = "", shape=None, **fields) -> Tensor:
        """``x * scale + bias`` per channel (float64 ``[C]`` or one number), with the activation in `fields`."""
        channels = x.dims[2]
        value = self.emit(
            node,
            "depthwise",
            [x.value],
            x.dims,
            part,
            weight=np.broadcast_to(np.float64(scale), (1, 1, channels)).copy(),
            bias=np.broadcast_to(np.float64(bias), (channels,)).copy(),
            **fields,
        )
        return Tensor(value, x.dims, x.order, x.shape if shape is None else shape)

    def picture(self, node: OnnxNode, op: str, x: Tensor, dims: tuple[int, int, int], **fields) -> Tensor:
        """A node from and to NCHW."""
        if min(dims) < 1:
            raise self.unsupported(node, f"output of (height, width, channels) = {dims}", "outputs with elements")
        return nchw(self.emit(node, op, [x.value], dims, **fields), dims)

    def fresh(self, base: str) -> str:
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name


def _input_tensor(source: OnnxSource, name: str, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 2:
        return Tensor(name, (1, 1, shape[1]), order_of("C", (1, 1, shape[1])), shape)
    if _is_nhwc(source, name):
        return Tensor(name, shape[1:], order_of(AXES, shape[1:]), shape)
    return nchw(name, (shape[2], shape[3], shape[1]))


def _is_nhwc(source: OnnxSource, name: str) -> bool:
    """Whether a rank-4 input is NHWC, told by the first op on its way that depends on it (tf2onnx: a Transpose)."""
    reached = {name}
    for node in source.nodes:
        if reached.isdisjoint(node.inputs):
            continue
        if node.op == "Transpose":
            return node.attrs.get("perm") == [0, 3, 1, 2]
        if node.op == "MatMul":
            return True
        if node.op in _LAYOUT_FREE:
            reached.update(node.outputs)
        elif node.op != "Shape":
            return False
    return False
