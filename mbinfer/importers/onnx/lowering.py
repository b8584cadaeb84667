"""The walk over ONNX nodes that emits graph nodes: constants are evaluated on the way, layouts tracked, nothing fused.

A node that cannot run does not end the walk: what depends on it is left out, and the error at the end speaks of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from ...errors import Error, UnsupportedError
from ..emitting import Emitter, unsupported
from ..layout import Tensor
from .constants import Evaluator, to_array
from .inputs import input_tensor
from .reading import OnnxNode, OnnxSource, nodes_of

_HANDLERS: dict[str, Callable] = {}
_SEES_ALL_OUTPUTS: set[str] = set()  # ops whose handler decides what outputs beyond the first mean

# What users call operators that are not here.
ALIASES = {
    "Concat": "concatenation",
    "ConvTranspose": "transposed convolution, deconvolution",
    "DepthToSpace": "pixel shuffle",
    "Elu": "ELU",
    "Exp": "exp",
    "GRU": "recurrent network",
    "GroupNormalization": "group norm",
    "InstanceNormalization": "instance norm",
    "LRN": "local response normalisation",
    "LSTM": "recurrent network",
    "LayerNormalization": "layer norm",
    "NonMaxSuppression": "NMS, detection post-processing",
    "QLinearConv": "int8 quantised model",
    "QuantizeLinear": "int8 quantised model",
    "Resize": "resize, upsampling, interpolation",
    "Slice": "slice, crop",
    "Softplus": "softplus, Mish",
    "SpaceToDepth": "focus, pixel unshuffle",
    "Split": "split, channel shuffle",
    "Upsample": "resize, upsampling, interpolation",
}
SUPPORTED = "convolutions, dense layers, pools, means, batch norm, additions, ReLU and hard-swish of all kinds, softmax"
MOST_NAMED = 6  # operators and tensors that a message lists


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


class Lowering(Emitter):
    """One model on its way from ONNX to a `Graph`.

    `env` holds each ONNX tensor as a constant array, a `Tensor`, or the error that whoever reads it raises.
    """

    def __init__(self, source: OnnxSource):
        super().__init__(name for node in source.nodes for name in (*node.inputs, *node.outputs))
        self.source, self.opset = source, source.opset
        self.env: dict[str, np.ndarray | Tensor | Error] = dict(source.constants)
        self._evaluate = Evaluator(source.opset)
        self._refused: list[tuple[OnnxNode, UnsupportedError]] = []
        self._cuts: dict[str, None] = {}  # tensors that refused nodes read, in order
        for name, shape in source.inputs.items():
            try:
                self.env[name] = shape if isinstance(shape, Error) else input_tensor(source, name, shape)
            except UnsupportedError as error:
                self.env[name] = error
            if isinstance(self.env[name], Tensor):
                self.builder.input(name, self.env[name].dims)

    def run(self) -> None:
        self._walk(self.source.nodes, self.source.shapes if self.source.trusted else {})
        if self._refused:
            raise self._all_refusals()

    def _walk(self, nodes: list[OnnxNode], shapes: dict) -> None:
        for node in nodes:
            arrays = [self.env.get(name) if name else None for name in node.inputs]
            blocked = next((found for found in arrays if isinstance(found, Error)), None)
            try:
                if blocked is None:
                    self._visit(node, arrays, shapes)
                elif not blocked.op:  # an input, without which nothing can be said of the rest
                    raise blocked
                else:
                    self._pass_over(node, blocked)
            except UnsupportedError as error:
                if not error.op:
                    raise
                self._refuse(node, error, arrays)

    def _visit(self, node: OnnxNode, arrays: list, shapes: dict) -> None:
        if node.domain:
            raise unsupported(node, f"op of the domain '{node.domain}'", "ops of the standard ONNX domain")
        if node.op == "If":
            self._take_branch(node, arrays[0])
        elif node.op == "Shape" and isinstance(arrays[0], Tensor):
            shape = np.array(arrays[0].shape, np.int64)
            self.env[node.outputs[0]] = shape[node.attrs.get("start", 0) : node.attrs.get("end")]
        elif not any(isinstance(array, Tensor) for array in arrays):
            self._constant(node, arrays)
        else:
            result = self._lower(node)
            expected = shapes.get(node.outputs[0], result.shape)
            if expected != result.shape:
                raise unsupported(
                    node,
                    f"ONNX infers the shape {expected} but mbinfer {result.shape}",
                    "models on whose shapes both agree",
                )
            self.env[node.outputs[0]] = result

    def _lower(self, node: OnnxNode) -> Tensor:
        if node.op not in _HANDLERS:
            raise unsupported(node, "unknown op", SUPPORTED)
        if any(node.outputs[1:]) and node.op not in _SEES_ALL_OUTPUTS:
            raise unsupported(node, f"{sum(map(bool, node.outputs))} outputs", "its first output alone")
        try:
            return _HANDLERS[node.op](self, node)
        except Error:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise unsupported(
                node,
                f"attributes or inputs that make no sense together: {error!r}",
                "what the ONNX operator's specification allows",
            ) from error

    def _constant(self, node: OnnxNode, arrays: list) -> None:
        for name, array in zip(node.inputs, arrays):
            if name and array is None:
                raise unsupported(
                    node, f"reads '{name}', which no supported output provides", "the first output of each node"
                )
        self.env.update(zip([name for name in node.outputs if name], self._evaluate(node, node.proto, arrays)))

    def _take_branch(self, node: OnnxNode, condition) -> None:
        """An If whose condition is known is its branch."""
        if not isinstance(condition, np.ndarray) or condition.size != 1:
            raise unsupported(
                node,
                "which branch runs is known only when the network runs",
                "a condition that follows from constants and shapes: fix open sizes with convert(..., input_shape=)",
            )
        branch = node.attrs["then_branch" if condition.item() else "else_branch"]
        self.env.update({tensor.name: to_array(tensor) for tensor in branch.initializer})
        self._walk(nodes_of(branch), {})
        for name, output in zip(node.outputs, branch.output):
            if output.name in self.env:
                self.env[name] = self.env[output.name]

    # What cannot run.

    def _refuse(self, node: OnnxNode, error: UnsupportedError, arrays: list) -> None:
        """Note a node that cannot run, and the tensors before it at which the model could end."""
        self._refused.append((node, error))
        for name, found in zip(node.inputs, arrays):
            if isinstance(found, Tensor) and found.value not in self.graph.inputs:
                self._cuts[name] = None
        self.env.update(dict.fromkeys((name for name in node.outputs if name), error))

    def _pass_over(self, node: OnnxNode, blocked: UnsupportedError) -> None:
        """What depends on a node that cannot run is not judged, but for operators that cannot run anywhere."""
        if node.domain or node.op not in (*_HANDLERS, "If", "Shape"):
            self._refused.append((node, unsupported(node, "unknown op", SUPPORTED)))
        self.env.update(dict.fromkeys((name for name in node.outputs if name), blocked))

    def _all_refusals(self) -> UnsupportedError:
        """The first refusal, and what else stands in the way, how often, and where the model could be cut."""
        first = self._refused[0][1]
        found = Counter(f"{node.domain}.{node.op}" if node.domain else node.op for node, _ in self._refused)
        text = str(first)
        if len(self._refused) > 1 or ALIASES.keys() & found.keys():
            kinds = [f"{n} {op}" + (f" ({ALIASES[op]})" if op in ALIASES else "") for op, n in found.most_common()]
            more = f" and {len(kinds) - MOST_NAMED} other operators" if len(kinds) > MOST_NAMED else ""
            text += f"; in the way: {', '.join(kinds[:MOST_NAMED])}{more}"
        if self._cuts:
            text += f"; to end before: convert(..., outputs={list(self._cuts)[:MOST_NAMED]})"
        return UnsupportedError(text, first.node, first.op)

    # For the handlers: what a node reads, and who reads it.

    def unsupported(self, node: OnnxNode, reason: str, supported: str) -> UnsupportedError:
        return unsupported(node, reason, supported)

    def tensor(self, node: OnnxNode, index: int = 0) -> Tensor:
        """A computed input."""
        found = self.env.get(node.inputs[index])
        if not isinstance(found, Tensor):
            raise unsupported(
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
            raise unsupported(
                node, f"input {index} ('{node.inputs[index]}') is computed by the network", "constants there"
            )
        return found

    def is_read(self, tensor: str) -> bool:
        """Whether a node reads `tensor` or it is an output."""
        return tensor in self.source.read

    def option(self, node: OnnxNode, name: str, index: int, default=None):
        """What old opsets give as attribute `name` and new ones as input `index`, as a list of ints, or `default`."""
        found = node.attrs[name] if name in node.attrs else self.constant(node, index)
        return default if found is None else [int(v) for v in np.ravel(found)]

    def image(self, node: OnnxNode) -> Tensor:
        """The first input, which must be an NCHW picture."""
        x = self.tensor(node)
        if len(x.shape) != 4:
            raise unsupported(node, f"input of shape {x.shape}", "two dimensions of space, rank 4")
        if not x.shows("NCHW"):
            raise unsupported(
                node,
                f"input of shape {x.shape} holds (height, width, channels) = {x.dims} in an order that is not NCHW",
                "NCHW there; a vector that the model reshapes to a picture only where its elements keep the order "
                "height, width, channels",
            )
        return x
