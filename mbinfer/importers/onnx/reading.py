"""A loaded ONNX model becomes nodes, constants and fixed input shapes, with what shape inference says of the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from ...errors import Error, FormatError
from ...messages import brief, told
from ..arguments import InputShape
from ..emitting import SourceNode
from .constants import to_array
from .halves import widen
from .inputs import dims_of, fix_inputs, integer_kinds
from .loading import load, reads_of, require_onnx

LONGEST_SHAPE = 8  # sizes, as far as can be told without looking
SHAPE_ARITHMETIC = frozenset("Constant Concat Identity Cast Unsqueeze Squeeze Slice Gather Add Sub Mul".split())
MOST_FOLLOWED = 1 << 16  # numbers of one tensor of shape arithmetic


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
    outputs: Iterable[str] | None = None,
    inputs: Iterable[str] | None = None,
) -> OnnxSource:
    """Read an .onnx file (path), its bytes or an `onnx.ModelProto`; arguments as in `mbinfer.convert`.

    Raises `FormatError` where onnx's checker refuses the model, `UnsupportedError` for old opsets, inputs that are not
    float32 or whose size is not fixed, `ShapeError` for an `input_shape` that contradicts the model.
    """
    onnx = require_onnx()
    model, opset = load(source, outputs, inputs)
    graph = model.graph
    widen(model)
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    shaped, overridden = fix_inputs([value for value in graph.input if value.name not in constants], input_shape)
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, data_prop=_stays_small(graph)).graph
    except Exception as error:  # InferenceError, or what protobuf raises
        raise FormatError(f"ONNX shape inference refuses the model: {told(error)}") from error
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


def _stays_small(graph: Any) -> bool:
    """Whether shape arithmetic stays short: onnx follows its numbers, and Concat can double them with every node."""
    most = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        stored = [math.prod(a.t.dims) + len(a.ints) for a in node.attribute if node.op_type == "Constant"]
        sizes = [most.get(name, LONGEST_SHAPE) for name in node.input] or stored
        made = sum(sizes) if node.op_type == "Concat" else max(sizes, default=LONGEST_SHAPE)
        if node.op_type == "Concat" and made > MOST_FOLLOWED or any(a.HasField("g") for a in node.attribute):
            return False
        if node.op_type not in SHAPE_ARITHMETIC:
            made = LONGEST_SHAPE
        most.update(dict.fromkeys(node.output, made))
    return True


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
