"""The rules of nodes: their fields, shapes, channels and weights; the reader's are in csrc/model/rules.cpp."""

from __future__ import annotations

import math

import numpy as np

from .check_boxes import BOX_OPS, check_boxes
from .check_types import check_halves, check_quantised_weights, check_types, finite_float32
from .errors import FormatError, ShapeError, UnsupportedError
from .graph import ACTIVATIONS, SLOPED, Graph, Node, Type
from .limits import MAX_FRACTION, MAX_READS, MAX_SIDE, MAX_U16, MAX_WINDOW_CHANNELS
from .ops import MOVES, NORM_FACTORS, OPS, OpInfo, takes_activation
from .packing import panel_channels

COUNTS_PADDING = 1  # flag of avg_pool
FULL_RANGE = 2  # flag of conv with int8 weights, some of which are -128
SOFTMAX = 16  # flag of candidates
LOGARITHM, CENTRED, ANCHORWISE = 64, 32, 128  # flags of softmax, norm and boxes


def check_node(graph: Graph, node: Node, writer: dict[str, str]) -> int:
    """Check a node against its values and those written so far. Returns its multiply-adds."""
    where = f"node '{node.name}' ({node.op})"
    if node.op not in OPS:
        raise UnsupportedError(f"{where}: unknown op; known are {', '.join(OPS)}", node.name, node.op)
    if node.activation not in ACTIVATIONS:
        raise UnsupportedError(
            f"{where}: unknown activation '{node.activation}'; known are {', '.join(ACTIVATIONS)}", node.name, node.op
        )
    op = OPS[node.op]
    if len(node.inputs) < 2 if op.inputs < 0 else len(node.inputs) != op.inputs:
        raise FormatError(
            f"{where}: {len(node.inputs)} inputs; {node.op} takes {op.inputs if op.inputs >= 0 else 'two or more'}"
        )
    shapes = [shape_of(graph, name, where) for name in node.inputs]
    output = shape_of(graph, node.output, where)
    if node.output in writer:
        raise FormatError(f"{where} writes '{node.output}', which {writer[node.output]} has written already")
    for name in node.inputs:
        if name not in writer:
            raise FormatError(f"{where} reads '{name}' before anything wrote it: a cycle, or nodes out of order")
    _check_fields(where, node)
    quantised = check_types(where, graph, node)
    check_halves(where, graph, node)

    _check_shapes(where, op, shapes)
    height, width, channels = shapes[0]
    if op.area == "window":
        height, width = _output_size(where, node, 0, height), _output_size(where, node, 1, width)
    elif op.area == "whole":
        height = width = 1
    elif op.area == "row":
        width = 1
    elif op.area == "all":
        height = width = 1
    elif op.area == "scaled":
        height, width = output[:2]
    elif op.area == "blocks":
        height, width = height * node.rows[1], width * node.columns[1]
    elif op.area == "stacked":
        height, width = _pixels_stacked(where, node, shapes, output)
    if node.op in BOX_OPS:
        check_boxes(where, node, shapes, output[2])
    elif node.boxes is not None or node.softmax:
        raise FormatError(f"{where}: numbers of boxes, which this op does not take")
    expected = (height, width, _channels_made(where, node, op, shapes, output[2]))
    if output != expected:
        raise ShapeError(f"{where}: makes {expected} of {shapes[0]}, but its output '{node.output}' is {output}")
    _check_groups(where, node, channels, output[2])
    taps = node.kernel[0] * node.kernel[1]
    read = 1 if op.keeps_channels else panel_channels(channels, output[2], node.groups)[0]
    if taps * read > MAX_READS:
        raise FormatError(f"{where}: kernel {node.kernel} over {read} channels; at most {MAX_READS} are read at once")
    _check_weights(where, node, channels, output[2], graph.types[node.inputs[0]] if quantised else None)
    return math.prod(output) * taps * (1 if op.keeps_channels else channels // node.groups) if op.weights else 0


def _pixels_stacked(
    where: str, node: Node, shapes: list[tuple[int, int, int]], output: tuple[int, int, int]
) -> tuple[int, int]:
    """The height and width of a stack: any that have the pixels of all inputs."""
    pixels = sum(height * width for height, width, _ in shapes)
    if pixels != output[0] * output[1]:
        raise ShapeError(f"{where}: {pixels} pixels in all, but its output '{node.output}' is {output}")
    return output[:2]


def _channels_made(where: str, node: Node, op: OpInfo, shapes: list[tuple[int, int, int]], given: int) -> int:
    """The channels of a node's output, whose value has `given` of them."""
    channels = shapes[0][2]
    if op.area == "joined":
        return sum(shape[2] for shape in shapes)
    if op.area == "sliced":
        if not -given < node.first_channel < channels:
            raise FormatError(f"{where}: {given} channels from {node.first_channel} on, of which none exists")
        return given
    if op.area == "row" and node.op not in BOX_OPS:
        return shapes[0][1]
    if op.area == "blocks":
        pixels = node.rows[1] * node.columns[1]
        if channels % pixels:
            raise ShapeError(f"{where}: blocks of {pixels} pixels of {channels} channels")
        return channels // pixels
    return channels if op.keeps_channels or op.area == "shuffled" else given


def _check_positions(where: str, node: Node) -> None:
    """Check where a node's outputs lie, along both axes."""
    area = OPS[node.op].area
    for positions in (node.rows, node.columns):
        numerator, denominator, term = positions
        if area not in ("scaled", "blocks"):
            if tuple(positions) != (0, 0, 0):
                raise FormatError(f"{where}: positions {positions}; this op takes none")
        elif not (is_int(numerator, 0, MAX_FRACTION) and is_int(denominator, 1, MAX_FRACTION)):
            raise FormatError(f"{where}: positions {positions}; numerator and denominator are up to {MAX_FRACTION}")
        elif not is_int(term, -MAX_FRACTION, MAX_FRACTION):
            raise FormatError(f"{where}: positions {positions}; the term is up to {MAX_FRACTION}")
        elif area == "blocks" and (numerator, term) != (1, 0):
            raise FormatError(f"{where}: positions {positions}, which are no blocks")
    if node.first_channel and area != "sliced" and node.op not in BOX_OPS:
        raise FormatError(f"{where}: a first channel, {node.first_channel}; this op takes none")


def _check_shapes(where: str, op: OpInfo, shapes: list[tuple[int, int, int]]) -> None:
    """Check the shapes of several inputs against one another."""
    first = shapes[0]
    allowed = {
        "same": lambda shape: shape == first,
        "gated": lambda shape: shape[:2] in (first[:2], (1, 1)) and shape[2] in (first[2], 1),
        "joined": lambda shape: shape[:2] == first[:2],
        "stacked": lambda shape: shape[2] == first[2],
    }
    if op.area in allowed and not all(map(allowed[op.area], shapes)):
        words = {
            "same": "equal",
            "gated": "equal, or the second one has one pixel or one channel",
            "joined": "equal but for channels",
            "stacked": "of as many channels",
        }
        raise ShapeError(
            f"{where}: inputs of shapes {', '.join(map(str, shapes))}; the shapes must be {words[op.area]}"
        )


def _check_fields(where: str, node: Node) -> None:
    """Check the numbers of a node by themselves."""
    for field, low, plain in (
        ("kernel", 1, (1, 1)),
        ("stride", 1, (1, 1)),
        ("dilation", 1, (1, 1)),
        ("pads", 0, (0, 0, 0, 0)),
    ):
        numbers = tuple(getattr(node, field))
        if len(numbers) != len(plain) or not all(is_int(n, low, MAX_U16) for n in numbers):
            raise FormatError(f"{where}: {field} {numbers}, not {len(plain)} integers from {low} to {MAX_U16}")
        if OPS[node.op].area == "scaled" and field == "kernel":
            if max(numbers) > 2:
                raise FormatError(f"{where}: kernel {numbers}; this op has one tap or two")
        elif OPS[node.op].area != "window" and numbers != plain:
            raise FormatError(f"{where}: {field} {numbers}, but this op has no window; keep {plain}")
    if OPS[node.op].pools and tuple(node.dilation) != (1, 1):
        raise UnsupportedError(f"{where}: a pool with dilation {node.dilation}, not 1", node.name, node.op)
    if node.counts_padding and not OPS[node.op].flags & COUNTS_PADDING:
        raise FormatError(f"{where}: counts_padding is for avg_pool only")
    lo, hi = node.clamp
    if not lo <= hi:
        raise FormatError(f"{where}: clamp bounds {node.clamp}; the lower must be at most the upper")
    if node.activation != "clamp" and (lo, hi) != (-math.inf, math.inf):
        raise FormatError(f"{where}: clamp bounds {node.clamp} with activation '{node.activation}'; make it 'clamp'")
    _check_positions(where, node)
    _check_channels(where, node)
    if node.activation != "none" and not takes_activation(node.op):
        raise FormatError(f"{where}: activation '{node.activation}'; this op takes none")
    if (node.activation in SLOPED) != (node.slopes is not None):
        raise FormatError(f"{where}: activation '{node.activation}' and slopes; prelu and elu have them, and no other")
    if not is_int(node.groups, 1, MAX_SIDE):
        raise FormatError(f"{where}: groups {node.groups}, not an integer from 1 to {MAX_SIDE}")
    if node.groups != 1 and (
        OPS[node.op].keeps_channels or OPS[node.op].area in ("joined", "sliced", "blocks", "row", "all")
    ):
        raise FormatError(f"{where}: groups {node.groups}; only conv has groups (depthwise means one for each channel)")


def _check_channels(where: str, node: Node) -> None:
    """Check what is said of all channels of a pixel together."""
    if not is_int(node.window_channels, 0, MAX_WINDOW_CHANNELS if node.op == "norm" else 0):
        raise FormatError(
            f"{where}: a window of {node.window_channels} channels; of norm it has up to {MAX_WINDOW_CHANNELS}"
        )
    for field, bit in (("logarithm", LOGARITHM), ("centred", CENTRED), ("anchorwise", ANCHORWISE)):
        if getattr(node, field) and not OPS[node.op].flags & bit:
            raise FormatError(f"{where}: {field}, which this op does not take")
    if node.centred and node.window_channels:
        raise FormatError(f"{where}: centred over a window of channels; only norms of all channels are")


def _output_size(where: str, node: Node, axis: int, size: int) -> int:
    """Output rows (`axis` 0) or columns (1) of a windowed node over `size` input rows or columns."""
    kernel, stride, before = node.kernel[axis], node.stride[axis], node.pads[axis]
    room = size + before + node.pads[axis + 2] - node.dilation[axis] * (kernel - 1) - 1
    if room < 0:
        raise ShapeError(
            f"{where}: kernel {node.kernel}, dilation {node.dilation} reach beyond the padded input, "
            f"{size} with pads {node.pads}"
        )
    if OPS[node.op].pools and (before >= kernel or room // stride * stride - before >= size):
        raise ShapeError(f"{where}: pads {node.pads} leave a window without input, which has no maximum and no mean")
    return room // stride + 1


def _check_groups(where: str, node: Node, inputs: int, outputs: int) -> None:
    if OPS[node.op].area in MOVES and OPS[node.op].area != "shuffled":
        return
    if inputs % node.groups or outputs % node.groups:
        raise ShapeError(f"{where}: {node.groups} groups do not divide {inputs} input and {outputs} output channels")
    if node.groups == inputs == outputs > 1 and OPS[node.op].weights:
        raise FormatError(f"{where}: a group for every channel; make it op 'depthwise'")


def _check_weights(where: str, node: Node, inputs: int, outputs: int, read: Type | None) -> None:
    """Check weight, bias and slopes of a node with `inputs` input and `outputs` output channels.

    `read` is the type of a uint8 input.
    """
    if node.op in BOX_OPS:
        return
    arrays: list[tuple[str, np.ndarray | None, tuple[int, ...]]] = [("slopes", node.slopes, (outputs,))]
    if OPS[node.op].weights:
        dense = (outputs, *node.kernel, inputs // node.groups)
        shape = (*node.kernel, inputs) if OPS[node.op].keeps_channels else dense
        arrays += [("weight", node.weight, shape), ("bias", node.bias, (outputs,))]
    elif OPS[node.op].types == "table":
        if node.weight is None or np.shape(node.weight) != (256,) or node.weight.dtype != np.uint8:
            raise FormatError(f"{where}: its weight is a table of 256 uint8")
        if node.bias is not None or node.weight_scale is not None:
            raise FormatError(f"{where}: this op takes a table, no bias and no scales")
    elif OPS[node.op].types == "factors":
        if node.bias is not None or node.weight_scale is not None:
            raise FormatError(f"{where}: this op takes no bias and no scales")
        arrays += [("weight", node.weight, (len(NORM_FACTORS),))]
    elif node.weight is not None or node.bias is not None or node.weight_scale is not None:
        raise FormatError(f"{where}: this op takes no weight and no bias")
    for field, array, expected in arrays:
        if array is None and field != "weight":
            continue
        found = None if array is None else np.shape(array)
        if found != expected:
            raise ShapeError(f"{where}: {field} of shape {found}; it needs {expected}")
        if read is None and array is not None and not finite_float32(array):
            raise FormatError(f"{where}: the {field} holds NaN, infinity, or a number too large for float32")
    if not OPS[node.op].weights:
        return
    if read is not None:
        check_quantised_weights(where, node, outputs, read.zero_point)
    elif node.weight_scale is not None:
        raise FormatError(f"{where}: scales of weights that are not int8")
    elif node.weight is not None and np.asarray(node.weight).dtype == np.int8:
        raise FormatError(f"{where}: int8 weights for float32 values; give them as float32, or make the values uint8")


def shape_of(graph: Graph, name: str, where: str) -> tuple[int, int, int]:
    if name not in graph.values:
        raise FormatError(f"{where} names the value '{name}', which the graph does not define")
    height, width, channels = map(int, graph.values[name])
    return height, width, channels


def is_int(number: object, low: int, high: int) -> bool:
    return isinstance(number, (int, np.integer)) and bool(low <= number <= high)
