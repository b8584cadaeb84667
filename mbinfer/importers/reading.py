"""Reads an ONNX model: checked, functions inlined, input shapes fixed, dead nodes dropped, shapes inferred."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ..errors import Error, FormatError, ShapeError, UnsupportedError

OLDEST_OPSET = 7  # numpy-style broadcasting begins here


@dataclass
class OnnxNode:
    """One ONNX node with its attributes as Python values; `name` is never empty."""

    name: str
    op: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict
    proto: object


@dataclass
class OnnxSource:
    """What the lowering needs of a model; `shapes` holds what ONNX shape inference could tell, to compare with."""

    nodes: list[OnnxNode]
    constants: dict[str, np.ndarray]
    inputs: dict[str, tuple[int, ...]]
    outputs: list[str]
    shapes: dict[str, tuple[int, ...]]
    opset: int
    producer: str


def require_onnx():
    """The onnx package, or an error that names the extra that brings it."""
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.shape_inference
    except ImportError as error:
        raise Error("reading ONNX models needs the onnx package: pip install 'mbinfer[onnx]'") from error
    return onnx


def read_onnx(source, input_shape=None) -> OnnxSource:
    """Read an .onnx file (path) or an `onnx.ModelProto`; `input_shape` as in `mbinfer.convert`.

    Raises `FormatError` where onnx's checker refuses the model, `UnsupportedError` for old opsets, inputs that are not
    float32 or whose size is not fixed, `ShapeError` for an `input_shape` that contradicts the model.
    """
    onnx = require_onnx()
    model = _load(onnx, source)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"the model uses opset {opset}; supported are opsets from {OLDEST_OPSET} on: "
            "export it again, or use onnx.version_converter"
        )
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
    if graph.sparse_initializer:
        raise UnsupportedError("the model stores sparse weights (sparse_initializer); supported are dense ones")

    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    real_inputs = [value for value in graph.input if value.name not in constants]
    inputs = _fix_inputs(onnx, real_inputs, input_shape)
    del graph.value_info[:]  # written for the old input shapes; inferred again below
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise FormatError(f"ONNX shape inference refuses the model: {error}") from error
    shapes = {
        value.name: shape
        for value in (*inferred.value_info, *inferred.output)
        if (shape := _dims(value)) is not None and None not in shape
    }
    outputs = [output.name for output in graph.output]
    nodes = _live_nodes([_node(onnx, proto, i) for i, proto in enumerate(graph.node)], outputs)
    if any(node.attrs.get("ceil_mode", 0) for node in nodes):
        shapes = {}  # onnx's inference keeps windows wholly in the padding, PyTorch and onnxruntime leave them out
    producer = " ".join(part for part in (model.producer_name, model.producer_version) if part)
    return OnnxSource(nodes, constants, inputs, outputs, shapes, opset, producer)


def evaluate(node: OnnxNode, arrays: list, opset: int) -> list[np.ndarray]:
    """The outputs of a node whose inputs are all known (None: left out), by onnx's own reference evaluator."""
    onnx = require_onnx()
    from onnx.reference import ReferenceEvaluator

    feeds = {name: array for name, array in zip(node.inputs, arrays) if array is not None}
    names = [name for name in node.outputs if name]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    graph = onnx.helper.make_graph([node.proto], "constant", values, outputs)
    results = ReferenceEvaluator(graph, opsets={"": opset}).run(None, feeds)
    return [np.asarray(result) for result in results]


def _load(onnx, source):
    from google.protobuf.message import DecodeError

    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)  # shapes are fixed in place below
        where = "the ONNX model"
    else:
        where = f"'{os.fspath(source)}'"
        if not os.path.isfile(source):
            raise FileNotFoundError(f"no ONNX file {where}")
        try:
            model = onnx.load(os.fspath(source))
        except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
            raise FormatError(f"{where} is no ONNX model that can be read: {error}") from error
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise FormatError(f"{where} is refused by onnx's checker: {error}") from error
    return model


def _dims(value):
    """Sizes of a ValueInfoProto, None where symbolic; None for an unknown rank."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)


def _fix_inputs(onnx, values, input_shape) -> dict[str, tuple[int, ...]]:
    """Give every input a fixed shape, in the model too: batch 1, the rest as stored or as `input_shape` says."""
    if input_shape is None:
        input_shape = {}
    elif not isinstance(input_shape, dict):
        if len(values) != 1:
            raise ShapeError(
                f"the model has {len(values)} inputs ({', '.join(v.name for v in values)}): "
                "give input_shape as a dict of shapes by input name"
            )
        input_shape = {values[0].name: input_shape}
    unknown = sorted(set(input_shape) - {value.name for value in values})
    if unknown:
        raise ShapeError(f"input_shape names '{unknown[0]}'; the inputs are {', '.join(v.name for v in values)}")

    fixed = {}
    for value in values:
        where, dims, wanted = f"input '{value.name}'", _dims(value), input_shape.get(value.name)
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            raise UnsupportedError(
                f"{where} is not float32; supported are float32 models (uint8 pictures are "
                "normalised by the recipe: convert(..., mean=, scale=))"
            )
        if wanted is not None:
            wanted = tuple(int(size) for size in wanted)
            if dims is not None and (len(dims) != len(wanted) or any(d not in (None, w) for d, w in zip(dims, wanted))):
                raise ShapeError(f"{where}: input_shape {wanted} contradicts the model's {_show(dims)}")
            dims = wanted
        elif dims:
            dims = (1 if dims[0] is None else dims[0], *dims[1:])
        if not dims or None in dims:
            raise UnsupportedError(
                f"{where} has no fixed size: {_show(dims)}; give it, in the model's own axis order, "
                "with convert(..., input_shape=(1, 3, 224, 224)), or export with a fixed size"
            )
        if len(dims) not in (2, 4):
            raise UnsupportedError(f"{where} has shape {dims}; supported are pictures (rank 4) and vectors (rank 2)")
        if dims[0] != 1:
            raise UnsupportedError(
                f"{where} has batch {dims[0]}; supported is batch 1: export the model with batch 1 "
                "or with a dynamic batch dimension"
            )
        if min(dims) < 1:
            raise ShapeError(f"{where} has shape {dims}; every size must be at least 1")
        del value.type.tensor_type.shape.dim[:]
        for size in dims:
            value.type.tensor_type.shape.dim.add().dim_value = size
        fixed[value.name] = dims
    return fixed


def _show(dims) -> str:
    return "unknown rank" if dims is None else "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"


def _node(onnx, proto, index: int) -> OnnxNode:
    def plain(attribute):
        value = onnx.helper.get_attribute_value(attribute)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    name = proto.name or next((output for output in proto.output if output), f"{proto.op_type}_{index}")
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attrs = {attribute.name: plain(attribute) for attribute in proto.attribute}
    return OnnxNode(name, proto.op_type, domain, list(proto.input), list(proto.output), attrs, proto)


def _live_nodes(nodes: list[OnnxNode], outputs: list[str]) -> list[OnnxNode]:
    """The nodes that some output depends on, in the same order."""
    needed, live = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed.update(node.inputs)
            live.append(node)
    return live[::-1]
