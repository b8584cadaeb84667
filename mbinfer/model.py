"""The model-file writer: packs a `Graph` and writes it as version 1 or 2 (csrc/model/format.h, docs/format.md)."""

from __future__ import annotations

import hashlib
import os
import secrets
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from .check import check_graph
from .check_nodes import ANCHORWISE, CENTRED, COUNTS_PADDING, FULL_RANGE, LOGARITHM, SOFTMAX
from .check_types import HALVES
from .errors import ArgumentError, FormatError, UnsupportedError
from .graph import ACTIVATIONS, COLORS, Graph, Node, Type
from .limits import MAX_STRINGS
from .ops import CODES, OPS
from .options import written_path
from .packing import CHANNELS, PANEL, float16, float32, pack_channels, pack_conv, pack_depthwise
from .packing import panel_channels as panel_channels

MAGIC = b"\x89MBI\r\n\x1a\n"
VERSION = (1, 0)
VERSION_OF_STATES = (2, 0)  # of files with states, which readers of version 1 refuse
ALIGN = 64  # of the weights section, and of every tensor in it
NONE = 0xFFFFFFFF
DTYPES = {"float32": 1, "float16": 2, "int8": 3, "uint8": 4, "int32": 5}  # DTypeCode

# The records of format.h, field by field; a test reads that header and compares.
HEADER = np.dtype(
    [
        ("magic", "u1", 8),
        ("major", "<u2"),
        ("minor", "<u2"),
        ("structure_crc", "<u4"),
        ("file_bytes", "<u8"),
        ("weights_offset", "<u8"),
        ("weights_bytes", "<u8"),
        ("weights_crc", "<u4"),
        ("value_count", "<u4"),
        ("node_count", "<u4"),
        ("node_input_count", "<u4"),
        ("input_count", "<u4"),
        ("output_count", "<u4"),
        ("quant_count", "<u4"),
        ("metadata_count", "<u4"),
        ("label_count", "<u4"),
        ("string_bytes", "<u4"),
        ("state_count", "<u4"),
        ("reserved", "<u4", 11),
    ]
)
VALUE = np.dtype(
    [
        ("name", "<u4"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("channels", "<u4"),
        ("dtype", "u1"),
        ("reserved0", "u1", 3),
        ("quant", "<u4"),
        ("reserved", "<u4", 2),
    ]
)
NODE = np.dtype(
    [
        ("name", "<u4"),
        ("op", "u1"),
        ("activation", "u1"),
        ("weight_dtype", "u1"),
        ("flags", "u1"),
        ("first_input", "<u4"),
        ("input_count", "<u4"),
        ("output", "<u4"),
        ("groups", "<u4"),
        ("kernel_h", "<u2"),
        ("kernel_w", "<u2"),
        ("stride_h", "<u2"),
        ("stride_w", "<u2"),
        ("dilation_h", "<u2"),
        ("dilation_w", "<u2"),
        ("pad_top", "<u2"),
        ("pad_left", "<u2"),
        ("pad_bottom", "<u2"),
        ("pad_right", "<u2"),
        ("clamp_lo", "<f4"),
        ("clamp_hi", "<f4"),
        ("window_channels", "<u4"),
        ("weight_offset", "<u8"),
        ("weight_bytes", "<u8"),
        ("bias_offset", "<u8"),
        ("bias_bytes", "<u8"),
        ("slope_offset", "<u8"),
        ("row_numerator", "<u4"),
        ("row_denominator", "<u4"),
        ("row_term", "<i4"),
        ("column_numerator", "<u4"),
        ("column_denominator", "<u4"),
        ("column_term", "<i4"),
        ("first_channel", "<i4"),
        ("reserved", "<u4", (1,)),
    ]
)
# Of a node: where its outputs lie, or the bits of six float32 numbers of boxes.
POSITIONS = [f"{axis}_{name}" for axis in ("row", "column") for name in ("numerator", "denominator", "term")]
INPUT = np.dtype(
    [
        ("value", "<u4"),
        ("has_recipe", "u1"),
        ("color", "u1"),
        ("reserved0", "u1", 2),
        ("crop", "<f4"),
        ("mean", "<f4", 4),
        ("scale", "<f4", 4),
        ("reserved", "<u4", 5),
    ]
)
OUTPUT = np.dtype([("value", "<u4"), ("name", "<u4"), ("rank", "<u4"), ("dims", "<u4", 8), ("reserved", "<u4", 5)])
CHANNEL = CHANNELS  # of each panel, with int8 weights
QUANT = np.dtype([("scale", "<f4"), ("zero_point", "<i4"), ("reserved", "<u4", 2)])
METADATA = np.dtype([("key", "<u4"), ("value", "<u4")])
STATE = np.dtype(
    [
        ("value", "<u4"),
        ("next", "<u4"),
        ("initial_offset", "<u8"),
        ("initial_bytes", "<u8"),
        ("reserved", "<u4", 2),
    ]
)
# The sections between the header, which counts their records, and the strings, in the order of the file.
SECTIONS = {
    "value": VALUE,
    "node": NODE,
    "node_input": np.dtype("<u4"),
    "input": INPUT,
    "output": OUTPUT,
    "quant": QUANT,
    "metadata": METADATA,
    "label": np.dtype("<u4"),
    "state": STATE,
}


def save(graph: Graph, path: str | os.PathLike[str], weight_dtype: str | None = None) -> None:
    """Write `graph` to `path` as a model file: version 1, or version 2 where it has states.

    The file is written aside in the same folder and then renamed, so that `path` holds the old model or the whole new
    one, never a part; a session that has the old one mapped keeps it.

    weight_dtype: "float32" or "float16", what weights other than int8 are stored as, rounded to the nearest (half to
        even); None: float16 arrays as float16, others as float32. Biases and slopes are float32.

    Raises `FormatError`, `ShapeError` or `UnsupportedError` when the graph is not one that can run (see `check_graph`)
    or a weight is too large for float16, `ArgumentError` for another `weight_dtype` and for what is no path, and
    `OSError` when the file cannot be written.
    """
    if weight_dtype not in (None, "float32", "float16"):
        raise ArgumentError(
            f"weight_dtype {weight_dtype!r}: give 'float32' or 'float16'; int8 weights are made by mbinfer.quantize"
        )
    path = os.path.realpath(written_path("path", path))  # a link stays a link
    data = encode(graph, weight_dtype)
    aside = f"{path}.{secrets.token_hex(4)}.tmp"
    file = open(aside, "xb")
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def encode(graph: Graph, weight_dtype: str | None = None) -> bytes:
    """The bytes of `graph` as a model file: the same graph gives the same bytes. Raises as `save`."""
    check_graph(graph)
    index = {name: i for i, name in enumerate(graph.values)}
    strings, weights, quants = _Strings(), _Weights(), _Quants()

    values = np.zeros(len(graph.values), VALUE)
    for record, (name, shape) in zip(values, graph.values.items()):
        value_type = graph.types.get(name, Type())
        record["name"], record["dtype"] = strings.add(name), DTYPES[value_type.dtype]
        record["quant"] = quants.add(value_type)
        record["height"], record["width"], record["channels"] = shape
    nodes = np.zeros(len(graph.nodes), NODE)
    node_inputs = np.array([index[name] for node in graph.nodes for name in node.inputs], "<u4")
    nodes["input_count"] = [len(node.inputs) for node in graph.nodes]
    nodes["first_input"] = np.cumsum(nodes["input_count"]) - nodes["input_count"]
    for record, node in zip(nodes, graph.nodes):
        _fill_node(record, node, graph, index, strings, weights, weight_dtype)
    inputs = np.zeros(len(graph.inputs), INPUT)
    for record, (name, recipe) in zip(inputs, graph.inputs.items()):
        record["value"] = index[name]
        if recipe is not None:
            record["has_recipe"], record["color"], record["crop"] = 1, COLORS.index(recipe.color), recipe.crop
            record["mean"][: len(recipe.mean)] = float32(recipe.mean)
            record["scale"][: len(recipe.scale)] = float32(recipe.scale)
    outputs = np.zeros(len(graph.outputs), OUTPUT)
    for record, output in zip(outputs, graph.outputs):
        record["value"], record["name"] = index[output.value], strings.add(output.name)
        record["rank"] = len(output.shape)
        record["dims"][: len(output.shape)] = output.shape
    metadata = np.zeros(len(graph.metadata), METADATA)
    for record, (key, value) in zip(metadata, graph.metadata.items()):
        record["key"], record["value"] = strings.add(key), strings.add(value)
    labels = np.array([strings.add(label) for label in graph.labels], "<u4")
    if len(strings.data) > MAX_STRINGS:
        raise FormatError(f"names, labels and metadata of {len(strings.data)} bytes; a model has at most {MAX_STRINGS}")

    sections = {
        "value": values,
        "node": nodes,
        "node_input": node_inputs,
        "input": inputs,
        "output": outputs,
        "quant": quants.records(),
        "metadata": metadata,
        "label": labels,
        "state": _states(graph, index, weights),
    }
    header = np.zeros((), HEADER)
    body = b"".join(sections[name].tobytes() for name in SECTIONS) + strings.data
    body += bytes(-(HEADER.itemsize + len(body)) % ALIGN)
    header["magic"] = np.frombuffer(MAGIC, "u1")
    header["major"], header["minor"] = VERSION_OF_STATES if graph.states else VERSION
    header["weights_offset"], header["weights_bytes"] = HEADER.itemsize + len(body), len(weights.data)
    header["file_bytes"] = header["weights_offset"] + header["weights_bytes"]
    header["weights_crc"], header["string_bytes"] = zlib.crc32(weights.data), len(strings.data)
    for name, records in sections.items():
        header[name + "_count"] = len(records)
    header["structure_crc"] = zlib.crc32(body, zlib.crc32(header.tobytes()))
    return b"".join((header.tobytes(), body, weights.data))


def _states(graph: Graph, index: dict[str, int], weights: _Weights) -> np.ndarray:
    records = np.zeros(len(graph.states), STATE)
    for record, (name, state) in zip(records, graph.states.items()):
        record["value"], record["next"] = index[name], index[state.next]
        if state.initial is not None:
            record["initial_offset"], record["initial_bytes"] = weights.add(state.initial)
    return records


def _fill_node(
    record: Any,
    node: Node,
    graph: Graph,
    index: dict[str, int],
    strings: _Strings,
    weights: _Weights,
    weight_dtype: str | None,
) -> None:
    record["name"], record["output"], record["groups"] = strings.add(node.name), index[node.output], node.groups
    record["op"], record["activation"] = CODES[node.op], ACTIVATIONS.index(node.activation)
    flags = (
        *((COUNTS_PADDING, node.counts_padding), (SOFTMAX, node.softmax)),
        *((LOGARITHM, node.logarithm), (CENTRED, node.centred), (ANCHORWISE, node.anchorwise)),
    )
    record["flags"] = sum(bit for bit, is_set in flags if is_set) | HALVES[node.halves]
    for field in ("kernel", "stride", "dilation"):
        record[field + "_h"], record[field + "_w"] = getattr(node, field)
    record["pad_top"], record["pad_left"], record["pad_bottom"], record["pad_right"] = node.pads
    record["clamp_lo"], record["clamp_hi"] = _clamp(node, graph)
    record["first_channel"], record["window_channels"] = node.first_channel, node.window_channels
    for name, number in zip(POSITIONS, (*node.rows, *node.columns)):
        record[name] = number
    if node.boxes is not None:
        numbers = np.array([node.boxes.least_score, node.boxes.overlap, *node.boxes.scale], "<f4")
        for name, bits in zip(POSITIONS, numbers.view("<u4")):
            record[name] = bits.astype(record[name].dtype)
    if node.slopes is not None:
        record["slope_offset"], _ = weights.add(_by_channel(node.slopes))
    if node.weight is None:
        return
    if OPS[node.op].types == "table":
        record["weight_dtype"] = DTYPES["uint8"]
        record["weight_offset"], record["weight_bytes"] = weights.add(np.asarray(node.weight, np.uint8))
        return
    if node.op == "candidates" or OPS[node.op].types == "factors":
        record["weight_dtype"] = DTYPES["float32"]
        record["weight_offset"], record["weight_bytes"] = weights.add(float32(node.weight))
        return
    quantised = node.weight.dtype == np.int8
    if quantised and not OPS[node.op].keeps_channels and (node.weight == -128).any():
        record["flags"] |= FULL_RANGE
    weight = node.weight if quantised else _stored(node, weight_dtype)
    if OPS[node.op].keeps_channels:
        packed, outputs = pack_depthwise(weight), weight.shape[2]
    else:
        packed, outputs = pack_conv(weight, node.groups), len(weight)
    record["weight_dtype"] = DTYPES[weight.dtype.name]
    record["weight_offset"], record["weight_bytes"] = weights.add(packed)
    record["bias_offset"], record["bias_bytes"] = weights.add(
        _channels(node, graph) if quantised else _by_channel(np.zeros(outputs) if node.bias is None else node.bias)
    )


def _stored(node: Node, dtype: str | None) -> np.ndarray:
    """The weight of a node of float32 values as the file has it."""
    assert node.weight is not None
    if dtype != "float16" and (dtype == "float32" or node.weight.dtype != np.float16):
        return float32(node.weight)
    weight = float16(node.weight)
    if not np.isfinite(weight).all():
        raise UnsupportedError(
            f"node '{node.name}' ({node.op}): a weight of {np.abs(float32(node.weight)).max():g}, and float16 holds "
            f"{np.finfo(np.float16).max:g} at most; store weights as float32",
            node.name,
            node.op,
        )
    return weight


def _clamp(node: Node, graph: Graph) -> npt.NDArray[np.float32]:
    """The bounds of a node's clamp: real numbers, or those that a uint8 output holds."""
    bounds = float32(node.clamp)
    made = graph.types.get(node.output, Type())
    if made.dtype != "uint8" or node.activation != "clamp":
        return bounds
    with np.errstate(over="ignore"):
        held: npt.NDArray[np.float32] = np.rint(bounds / np.float32(made.scale)) + np.float32(made.zero_point)
    return held.clip(0, 255)


def _by_channel(numbers: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """As float32, padded with zeros to whole panels."""
    array = float32(numbers)
    return np.pad(array, (0, -len(array) % PANEL))


def _channels(node: Node, graph: Graph) -> np.ndarray:
    """Biases and multipliers of a node with int8 weights."""
    assert node.weight is not None and node.weight_scale is not None
    read, made = graph.types[node.inputs[0]], graph.types[node.output]
    axes = (0, 1) if OPS[node.op].keeps_channels else (1, 2, 3)
    sums = node.weight.sum(axes, dtype=np.int64)
    bias = np.zeros(len(sums), np.int32) if node.bias is None else node.bias
    factors = multipliers(read, made, node.weight_scale)
    if not np.isfinite(factors).all():
        raise FormatError(f"node '{node.name}' ({node.op}): makes {made} of {read} by weights of too large a scale")
    return pack_channels(bias, sums, factors, read.zero_point)


def multipliers(read: Type, made: Type, weight_scale: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """What the integer sums of each output channel are multiplied by, in float32 in this order."""
    with np.errstate(over="ignore"):
        return float32(np.float32(read.scale) * np.asarray(weight_scale, np.float32) / np.float32(made.scale))


class _Strings:
    """The strings section: every distinct string once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.offsets: dict[str, int] = {}

    def add(self, text: str) -> int:
        if text not in self.offsets:
            self.offsets[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self.offsets[text]


class _Quants:
    """The quantisation records: every scale and zero point once."""

    def __init__(self) -> None:
        self.index: dict[tuple[float, int], int] = {}

    def add(self, value_type: Type) -> int:
        if value_type.scale == 0:
            return NONE
        return self.index.setdefault((value_type.scale, value_type.zero_point), len(self.index))

    def records(self) -> np.ndarray:
        records = np.zeros(len(self.index), QUANT)
        for record, (scale, zero_point) in zip(records, self.index):
            record["scale"], record["zero_point"] = scale, zero_point
        return records


class _Weights:
    """The weights section: every distinct tensor once, each at a multiple of 64 bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.offsets: dict[bytes, int] = {}  # by digest: heads and towers share their weights

    def add(self, tensor: np.ndarray) -> tuple[int, int]:
        raw = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        offset = self.offsets.setdefault(hashlib.sha256(raw).digest(), len(self.data))
        if offset == len(self.data):
            self.data += raw + bytes(-len(raw) % ALIGN)
        return offset, len(raw)
