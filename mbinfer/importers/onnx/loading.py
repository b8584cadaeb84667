"""Bytes, files and their external weights become a `ModelProto` that onnx's checker accepts, without what nobody reads.

The source is not trusted: sizes are looked at before anything of that size is made, functions are counted before they
are inlined, and weights in other files are taken from the model's own folder only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from ...errors import ArgumentError, Error, FormatError, UnsupportedError
from ...messages import brief, told
from ..arguments import Ends, end_names, refuse_unread, tensor_names
from ..files import PROGRAM, TORCH, read_file, refuse_folders, refuse_other_formats

OLDEST_OPSET = 7  # numpy-style broadcasting begins here
LARGEST_MODEL = (1 << 31) - 1  # bytes, its external weights included: what protobuf can hold
DIVISORS = frozenset(("strides", "dilations", "group", "kernel_shape", "blocksize"))
MOST_NODES = 100_000  # functions inlined


def require_onnx() -> Any:
    """The onnx package, or an error that names the extra that brings it."""
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError as error:
        raise Error("reading ONNX models needs the onnx package: pip install 'mbinfer[onnx]'") from error
    return onnx


def load(source: Any, ends: Ends | None = None, inputs: Iterable[str] | None = None) -> tuple[Any, int]:
    """The `ModelProto` of a path, bytes or another `ModelProto`, cut at `ends` and begun at `inputs` (tensor names)
    where those are given.

    Functions are inlined, external weights are inside, and nodes, initializers and inputs that no output needs are
    gone, so that nothing is said against them.
    """
    onnx = require_onnx()
    model, where, folder = _parse(onnx, source)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not model.HasField("graph") or not model.graph.output:
        raise FormatError(f"{where} is no ONNX model: it has no graph with outputs")
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"the model uses opset {opset}; supported are opsets from {OLDEST_OPSET} on: "
            "export it again, or use onnx.version_converter"
        )
    try:
        if model.functions:
            _count_nodes(model)
            model = onnx.inliner.inline_local_functions(model)
        begun = None if inputs is None else _begin(onnx, model, inputs)
        if ends:
            _cut(onnx, model.graph, ends)
        _drop_unread(model.graph)
        refuse_unread(begun, (value.name for value in model.graph.input))
        _bring_in_external_data(model.graph, folder)
        _check_windows(model.graph)
        _store_constants(model)
        onnx.checker.check_model(model)
    except (Error, OSError):
        raise
    except Exception as error:  # onnx raises what its C++ and protobuf do
        raise FormatError(f"{where} is refused by onnx's checker: {told(error)}") from error
    if model.graph.sparse_initializer:
        raise UnsupportedError("the model stores sparse weights (sparse_initializer); supported are dense ones")
    return model, opset


def _parse(onnx: Any, source: Any) -> tuple[Any, str, str | None]:
    """The model, its name for messages, and the folder of its weights or None."""
    from google.protobuf.message import DecodeError

    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)  # it is changed in place below
        return model, "the ONNX model", None
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name, where, folder = bytes(source), "", "the ONNX model in memory", None
    elif isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        refuse_folders(name)
        data = read_file(source, LARGEST_MODEL)
        where, folder = f"'{name}'", os.path.dirname(os.path.abspath(name))
    else:
        kinds = {"dict": TORCH, "OrderedDict": TORCH, "ExportedProgram": PROGRAM}
        meant = kinds.get(type(source).__name__)
        raise ArgumentError(
            f"a source of type {type(source).__name__}{f', {meant}' if meant else ''}; give the path of an .onnx file "
            "or of a .tflite file, its bytes, an onnx.ModelProto or a torch.nn.Module"
        )
    refuse_other_formats(name, data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        refuse_other_formats(name)
        raise FormatError(f"{where} is no ONNX model that can be read: {told(error)}") from error
    if not model.HasField("graph"):
        refuse_other_formats(name)
    return model, where, folder


def _count_nodes(model: Any) -> None:
    """Refuse functions that call themselves, or that inlining would make more nodes of than any network has."""
    functions = {(f.domain, f.name, getattr(f, "overload", "")): f for f in model.functions}
    counts: dict[tuple[str, str, str], int | None] = {}  # None: being counted

    def count(nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, getattr(node, "overload", ""))
            total += count_function(key) if key in functions else 1
            for attribute in node.attribute:
                total += sum(count(graph.node) for graph in (attribute.g, *attribute.graphs))
            if total > MOST_NODES:
                raise UnsupportedError(f"the model has more than {MOST_NODES} nodes; supported are fewer")
        return total

    def count_function(key: tuple[str, str, str]) -> int:
        if key not in counts:
            counts[key] = None
            counts[key] = count(functions[key].node)
        found = counts[key]
        if found is None:
            raise FormatError(f"the function '{key[1]}' of the model calls itself")
        return found

    for key in functions:
        count_function(key)
    count(model.graph.node)


def _store_constants(model: Any) -> None:
    """Turn Constant nodes into initializers. Exporters of opsets below 9 wrote integer ones, which the operator's first
    version does not allow and every runtime takes."""
    graph = model.graph
    made = {value.name for value in graph.output}
    rest = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None or len(node.output) != 1 or node.output[0] in made:
            rest.append(node)
            continue
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = node.output[0]
    if len(rest) < len(graph.node):
        kept = [type(node).FromString(node.SerializeToString()) for node in rest]
        del graph.node[:]
        graph.node.extend(kept)
        model.ir_version = max(model.ir_version, 4)  # before it, initializers were inputs too


def _cut(onnx: Any, graph: Any, ends: Ends) -> None:
    """Make the tensors that `ends` names the outputs of the graph."""
    outputs = end_names(ends, [name for node in graph.node for name in node.output if name])
    kept = {value.name: value for value in (*graph.value_info, *graph.output)}
    made = [
        kept.get(name) or onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs
    ]
    made = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in made]
    graph.ClearField("output")
    graph.output.extend(made)
    for value in graph.output:
        value.type.tensor_type.shape.SetInParent()  # the checker wants one, if of unknown rank


def _begin(onnx: Any, model: Any, inputs: Iterable[str]) -> list[str]:
    """Make the tensors called `inputs` inputs of the graph, of the shapes that are known of them."""
    graph = model.graph
    names = tensor_names("inputs", inputs, [name for node in graph.node for name in node.output if name])
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {value.name: value for value in (*graph.output, *graph.value_info, *inferred.value_info)}
    kept = []
    for node in graph.node:
        left = ["" if name in names else name for name in node.output]
        if not any(left):
            continue
        kept.append(type(node).FromString(node.SerializeToString()))
        kept[-1].output[:] = left
    _replace(graph, "node", kept)
    for name in names:
        open_shape = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        graph.input.add().CopyFrom(known.get(name) or open_shape)
    return names


def reads_of(node: Any) -> set[str]:
    """The tensors that a NodeProto reads, its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(value.name for value in graph.output)
            for inner in graph.node:
                names |= reads_of(inner)
    return names


def _drop_unread(graph: Any) -> None:
    """Remove the nodes, initializers, inputs and shapes that no output depends on."""
    needed, live = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            needed |= reads_of(node)
            live.append(node)
    if len(live) < len(graph.node):
        _replace(graph, "node", live[::-1])
    for field in ("initializer", "input"):
        kept = [entry for entry in getattr(graph, field) if entry.name in needed]
        if len(kept) < len(getattr(graph, field)):
            _replace(graph, field, kept)
    graph.ClearField("value_info")  # written for the old input shapes; inferred again when those are fixed
    graph.ClearField("quantization_annotation")


def _replace(graph: Any, field: str, entries: Iterable[Any]) -> None:
    copy = type(graph)()
    getattr(copy, field).extend(entries)
    graph.ClearField(field)
    getattr(graph, field).extend(getattr(copy, field))


def _check_windows(graph: Any) -> None:
    """Refuse strides, dilations and groups below 1, by which some versions of onnx divide."""
    for node in graph.node:
        for attribute in node.attribute:
            numbers = [attribute.i] if attribute.name in ("group", "blocksize") else attribute.ints
            if attribute.name in DIVISORS and min(numbers, default=1) < 1:
                raise FormatError(
                    f"node '{node.name}' ({node.op_type}): {attribute.name} {list(numbers)[:8]}; it is at least 1"
                )
            for inner in (attribute.g, *attribute.graphs):
                _check_windows(inner)


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every TensorProto of a graph and of its nodes' attributes and subgraphs."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner)
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _bring_in_external_data(graph: Any, folder: str | None) -> None:
    """Read weights that lie in other files, of the folder `folder` and nowhere else, into their tensors."""
    room = LARGEST_MODEL
    for tensor in tensors_of(graph):
        if tensor.data_location != type(tensor).EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location, where = entries.get("location", ""), f"tensor '{brief(tensor.name)}'"
        if folder is None:
            raise FormatError(
                f"{where} has its data in the file '{brief(location)}', which a model in memory does not bring: "
                "convert the .onnx file by its path, or load it with onnx.load(path)"
            )
        data = _external_bytes(where, folder, location, entries, room)
        room -= len(data)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = data


def _external_bytes(where: str, folder: str, location: str, entries: dict[str, str], room: int) -> bytes:
    home, shown = os.path.realpath(folder), brief(location)
    path = home if not location or "\0" in location else os.path.realpath(os.path.join(folder, location))
    if path == home or os.path.isabs(location) or os.path.commonpath([path, home]) != home:
        raise FormatError(
            f"{where} has its data in '{shown}', outside of the model's folder; only files inside it are read: "
            "put the file of weights beside the .onnx file (not a link to elsewhere)"
        )
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or -1)
    except ValueError:
        offset = length = -2
    if not os.path.isfile(path):
        raise FormatError(
            f"{where} has its data in '{shown}', and there is no such file in the model's folder: "
            "put it beside the .onnx file, under that name"
        )
    size = os.path.getsize(path)
    length = size - offset if length == -1 else length
    if offset < 0 or length < 0 or offset + length > size or length > room:
        raise FormatError(
            f"{where} has its data in '{shown}', bytes {brief(entries.get('offset', '0'))} and "
            f"{brief(entries.get('length', 'all'))} on, but the file has {size} bytes and a model at most "
            f"{LARGEST_MODEL}; the file is cut short or not the one that belongs to the model"
        )
    return read_file(path, LARGEST_MODEL, offset, length)
