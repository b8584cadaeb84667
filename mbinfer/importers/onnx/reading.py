"""A loaded ONNX model becomes nodes, constants and fixed input shapes, with what shape inference says of the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ...errors import Error, FormatError
from ...messages import brief, told
from ..arguments import Ends, InputShape
from ..emitting import SourceNode
from .constants import to_array
from .halves import widen
from .inputs import dims_of, fix_inputs, integer_kinds
from .loading import load, reads_of, require_onnx

LONGEST_SHAPE = 8  # sizes, as far as can be told without looking
SHAPE_ARITHMETIC = frozenset("Constant Concat Identity Cast Unsqueeze Squeeze Slice Gather Add Sub Mul".split())
SHAPED = frozenset(("Reshape", "ConstantOfShape", "Expand"))  # the last input has a number for each axis
MOST_FOLLOWED = 1 << 19  # numbers of all tensors of shape arithmetic, 135 bytes each


@dataclass
class OnnxNode(SourceNode):
    domain: str = ""
    proto: Any = None


@dataclass
class OnnxSource:
    """What the lowering needs of a model.

    `inputs` holds an error in place of the shape of an input that cannot be one, for whoever reads it. `shapes` is what
    ONNX shape inference could tell, `trusted` whether it is to be compared with; `overridden` says in words which
    stored sizes `input_shape` changed.
    """

    nodes: list[OnnxNode]
    constants: dict[str, npt.NDArray[Any]]
    inputs: dict[str, tuple[int, ...] | Error]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]]
    trusted: bool
    read: set[str]  # tensors that some node reads, or that are outputs
    opset: int
    producer: str
    overridden: str
    kinds: dict[str, str]  # of inputs and outputs of integers: "int8" or "uint8"


def read_onnx(
    source: Any,
    input_shape: InputShape = None,
    ends: Ends | None = None,
    inputs: Iterable[str] | None = None,
) -> OnnxSource:
    """Read an .onnx file (path), its bytes or an `onnx.ModelProto`; arguments as in `mbinfer.convert`.

    Raises `FormatError` where onnx's checker refuses the model, `UnsupportedError` for old opsets, inputs that are not
    float32 or whose size is not fixed, `ShapeError` for an `input_shape` that contradicts the model.
    """
    model, opset = load(source, ends, inputs)
    graph = model.graph
    widen(model)
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    shaped, overridden = fix_inputs([value for value in graph.input if value.name not in constants], input_shape)
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = _inferred(model, False)
    if _follows_few(graph, inferred):
        inferred = _inferred(model, True)
    shapes = {
        value.name: shape for value in (*inferred.value_info, *inferred.output) if (shape := _known(value)) is not None
    }
    nodes = nodes_of(graph)
    read = {value.name for value in graph.output}.union(*(reads_of(node) for node in graph.node))
    producer = brief(" ".join(part for part in (model.producer_name, model.producer_version) if part))
    return OnnxSource(
        nodes,
        constants,
        shaped,
        [output.name for output in graph.output],
        shapes,
        # onnx's inference keeps windows wholly in the padding, PyTorch and onnxruntime leave them out
        not any(node.attrs.get("ceil_mode", 0) for node in nodes),
        read,
        opset,
        producer,
        overridden,
        integer_kinds((*graph.input, *inferred.output)),
    )


def _known(value: Any) -> tuple[int, ...] | None:
    """The sizes of a ValueInfoProto, where all of them are known."""
    dims = dims_of(value)
    return None if dims is None or None in dims else tuple(size for size in dims if size is not None)


def _inferred(model: Any, followed: bool) -> Any:
    """The GraphProto with the shapes that onnx tells, whose sizes may follow from numbers that it follows."""
    try:
        return require_onnx().shape_inference.infer_shapes(model, check_type=True, data_prop=followed).graph
    except Exception as error:  # InferenceError, or what protobuf raises
        raise FormatError(f"ONNX shape inference refuses the model: {told(error)}") from error


def _follows_few(graph: Any, inferred: Any) -> bool:
    """Whether onnx would follow few numbers: it keeps all of a vector, of any type, at each node of shape arithmetic.

    `inferred`: what it tells without following any. A vector of which that says nothing may be of any length.
    """
    lengths = {tensor.name: _followed(tuple(tensor.dims)) for tensor in graph.initializer}
    for value in (*graph.input, *inferred.value_info, *inferred.output):
        lengths.setdefault(value.name, _followed(dims_of(value)))
    total = 0.0
    for node in graph.node:
        sizes = [lengths.get(name, math.inf) for name in node.input if name]
        made = math.inf
        if node.op_type in SHAPE_ARITHMETIC:
            sizes = sizes or [_stored(attribute) for attribute in node.attribute]
            made = sum(sizes) if node.op_type == "Concat" else max(sizes, default=0)
            total += made
        elif node.op_type in ("Shape", "Size"):
            made = LONGEST_SHAPE
        elif node.op_type in SHAPED and sizes and 2 <= sizes[-1] < math.inf:
            made = 0  # it has several axes
        if total > MOST_FOLLOWED or any(a.HasField("g") for a in node.attribute):
            return False
        if made == 0 and node.op_type in ("Squeeze", "Gather"):
            made = math.inf  # a vector of what has several axes
        for name in node.output:
            if lengths.get(name, math.inf) == math.inf:
                lengths[name] = made
    return True


def _followed(dims: tuple[int | None, ...] | None) -> float:
    """The numbers of a single number or a vector; of what has more axes onnx follows none."""
    if dims is None:
        return math.inf
    size = dims[0] if len(dims) == 1 else 1
    return 0 if len(dims) > 1 else math.inf if size is None else size


def _stored(attribute: Any) -> float:
    """The numbers of a Constant that are followed."""
    return _followed(tuple(attribute.t.dims)) if attribute.HasField("t") else len(attribute.ints)


def nodes_of(graph: Any) -> list[OnnxNode]:
    """The nodes of a GraphProto."""
    return [_node(proto, i) for i, proto in enumerate(graph.node)]


def _node(proto: Any, index: int) -> OnnxNode:
    name = proto.name or next((output for output in proto.output if output), f"{proto.op_type}_{index}")
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attrs = {attribute.name: _plain(name, proto.op_type, attribute) for attribute in proto.attribute}
    return OnnxNode(name, proto.op_type, list(proto.input), list(proto.output), attrs, domain, proto)


def _plain(node: str, op: str, attribute: Any) -> Any:
    onnx = require_onnx()
    try:
        value = onnx.helper.get_attribute_value(attribute)
    except Exception as error:
        raise FormatError(
            f"node '{node}' ({op}): the attribute '{brief(attribute.name)}' cannot be read: {told(error)}"
        ) from error
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
