"""Says whether a `Graph` can run: names, order, shapes, weights; the rules are the reader's (csrc/model/reader.cpp)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .check_boxes import BOX_OPS, check_boxes
from .check_types import check_halves, check_quantised_weights, check_types, finite_float32
from .errors import FormatError, ShapeError, UnsupportedError
from .graph import ACTIVATIONS, COLORS, SLOPED, Graph, Node, Output, Recipe, Type
from .ops import MOVES, NORM_FACTORS, OPS, OpInfo, takes_activation
from .packing import PANEL, panel_channels

MAX_SIDE = 1 << 16  # of a value, and of its channels
MAX_ELEMENTS = 1 << 28  # of a value
MAX_STORED = (1 << 31) - 1  # elements of a value, channels padded to multiples of PANEL
MAX_READS = 1 << 28  # taps x channels that make one output
MAX_FRACTION = 1 << 26  # numbers that say positions
MAX_WINDOW_CHANNELS = 64  # of a norm that is not of all channels
MAX_MACS = 1 << 53  # multiply-adds of the network
MAX_COUNTS = {"values": 1 << 16, "nodes": 1 << 16, "inputs": 256, "outputs": 4096, "metadata": 256, "states": 1 << 10}
MAX_NODE_INPUTS = 1 << 18  # of all nodes together
MAX_NAME, MAX_TEXT = 4095, 65535  # bytes of a name, and of any other string
MAX_STRINGS = 1 << 26  # bytes of all strings
MAX_U16 = (1 << 16) - 1
COUNTS_PADDING = 1  # flag of avg_pool
FULL_RANGE = 2  # flag of conv with int8 weights, some of which are -128
SOFTMAX = 16  # flag of candidates
LOGARITHM, CENTRED, ANCHORWISE = 64, 32, 128  # flags of softmax, norm and boxes
ZERO_POINTS = {"float32": (0, 0), "int8": (-128, 127), "uint8": (0, 255)}  # of values, by dtype
LEAST_SCALE = np.finfo(np.float32).tiny  # runs take what is less for zero


def check_graph(graph: Graph) -> None:
    """Check that `graph` can run and fits a model file.

    Raises `FormatError` for a structure that makes no sense (names, order, who writes what, numbers out of range),
    `ShapeError` for shapes that do not agree, `UnsupportedError` for an op, activation, colour or dtype that is not
    known.
    """
    _check_counts(graph)
    _check_names("value", graph.values)
    _check_names("node", [node.name for node in graph.nodes])
    _check_names("output", [output.name for output in graph.outputs])
    _check_names("metadata", graph.metadata)
    for text in (*graph.labels, *graph.metadata.values()):
        _check_text("label or metadata", text, MAX_TEXT)
    for name in graph.values:
        _check_value(graph, name)
    writer = {}  # value -> who writes it, of the inputs and the nodes so far
    for name, recipe in graph.inputs.items():
        _shape(graph, name, f"input '{name}'")
        if recipe is not None:
            _check_recipe(name, recipe, graph.values[name][2])
            if graph.types.get(name, Type()) != Type():
                raise FormatError(f"input '{name}': a recipe makes float32, and it is {graph.types[name].dtype}")
        writer[name] = "the caller"
    for name in graph.states:
        _check_state(graph, name)
        writer[name] = "an earlier run"
    macs = 0
    for node in graph.nodes:
        macs += _check_node(graph, node, writer)
        writer[node.output] = f"node '{node.name}'"
    if macs > MAX_MACS:
        raise FormatError(f"the network takes {macs} multiply-adds; no run of more than {MAX_MACS} ends")
    for output in graph.outputs:
        _check_output(graph, output)
    _check_nexts(graph)
    used = {name for node in graph.nodes for name in node.inputs} | {output.value for output in graph.outputs}
    used |= {state.next for state in graph.states.values()}
    for name in graph.values:
        if name not in writer:
            raise FormatError(f"value '{name}' is no input and no node writes it")
        if name not in used:
            raise FormatError(f"value '{name}' is not used; remove it and what makes it, or make it an output")
    picked = {node.output: node.inputs[0] for node in graph.nodes if node.op == "argmax"}
    classes = max(graph.values[picked.get(output.value, output.value)][2] for output in graph.outputs)
    if len(graph.labels) > classes:
        raise FormatError(f"{len(graph.labels)} labels for {classes} classes; give at most one for each")


def _check_counts(graph: Graph) -> None:
    if not graph.inputs or not graph.nodes or not graph.outputs:
        raise FormatError("the graph has no input, no node or no output; a model needs at least one of each")
    counts = {name: (len(getattr(graph, name)), most) for name, most in MAX_COUNTS.items()}
    counts["inputs of nodes"] = (sum(len(node.inputs) for node in graph.nodes), MAX_NODE_INPUTS)
    for name, (count, most) in counts.items():
        if count > most:
            raise FormatError(f"{count} {name}; a model has at most {most}")


def _check_value(graph: Graph, name: str) -> None:
    shape = graph.values[name]
    if len(shape) != 3 or not all(_is_int(d, 1, MAX_SIDE) for d in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ShapeError(
            f"value '{name}': shape {shape}; (height, width, channels) are from 1 to {MAX_SIDE}, "
            f"their product at most {MAX_ELEMENTS}"
        )
    height, width, channels = map(int, shape)
    if height * width * -(-channels // PANEL) * PANEL > MAX_STORED:
        raise ShapeError(
            f"value '{name}': shape {shape}; channels in groups of {PANEL}, it has over {MAX_STORED} elements"
        )
    value_type = graph.types.get(name, Type())
    if value_type.dtype not in ZERO_POINTS:
        raise UnsupportedError(f"value '{name}': {value_type}; dtypes are {', '.join(ZERO_POINTS)}")
    least, most = ZERO_POINTS[value_type.dtype]
    quantised = value_type.dtype != "float32"
    if not finite_float32(value_type.scale) or (np.float32(value_type.scale) >= LEAST_SCALE) != quantised:
        raise FormatError(
            f"value '{name}': {value_type}; int8 and uint8 have a scale of at least {LEAST_SCALE}, float32 has 0"
        )
    if not _is_int(value_type.zero_point, least, most):
        raise FormatError(f"value '{name}': {value_type}; its zero point is an integer from {least} to {most}")


def _check_state(graph: Graph, name: str) -> None:
    """Check a state by itself."""
    shape, initial = _shape(graph, name, f"state '{name}'"), graph.states[name].initial
    if name in graph.inputs:
        raise FormatError(f"state '{name}' is an input too, which the caller writes")
    if initial is None:
        return
    dtype = graph.types.get(name, Type()).dtype
    if initial.shape != tuple(shape) or initial.dtype != dtype:
        raise ShapeError(f"state '{name}': {shape} {dtype}, and it begins with {initial.shape} {initial.dtype}")
    if not np.isfinite(initial).all():
        raise FormatError(f"state '{name}' begins with numbers that are not finite")


def _check_nexts(graph: Graph) -> None:
    """Check what states become."""
    made = {node.output for node in graph.nodes}
    taken: dict[str, str] = {}
    for name, state in graph.states.items():
        shape = _shape(graph, state.next, f"state '{name}', what it becomes") if state.next else None
        if shape is None or state.next not in made:
            raise FormatError(f"state '{name}' becomes '{state.next}', which no node writes; put a copy of it between")
        if shape != graph.values[name] or graph.types.get(state.next, Type()) != graph.types.get(name, Type()):
            raise ShapeError(
                f"state '{name}' {graph.values[name]} becomes '{state.next}' {shape} of another shape or type"
            )
        if state.next in taken:
            raise FormatError(
                f"states '{taken[state.next]}' and '{name}' become the same value; put a copy of it between"
            )
        taken[state.next] = name


def _check_output(graph: Graph, output: Output) -> None:
    shape = _shape(graph, output.value, f"output '{output.name}'")
    if output.value in graph.inputs or output.value in graph.states:
        kind = "input" if output.value in graph.inputs else "state"
        raise FormatError(f"output '{output.name}' is the {kind} '{output.value}' itself; no node makes it")
    if (
        len(output.shape) > 8
        or not all(_is_int(d, 1, MAX_ELEMENTS) for d in output.shape)
        or math.prod(map(int, output.shape)) != math.prod(shape)
    ):
        raise ShapeError(
            f"output '{output.name}': shape {output.shape} does not hold the elements of value "
            f"'{output.value}' {shape} in at most 8 dimensions"
        )


def _check_node(graph: Graph, node: Node, writer: dict[str, str]) -> int:
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
    shapes = [_shape(graph, name, where) for name in node.inputs]
    output = _shape(graph, node.output, where)
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
        elif not (_is_int(numerator, 0, MAX_FRACTION) and _is_int(denominator, 1, MAX_FRACTION)):
            raise FormatError(f"{where}: positions {positions}; numerator and denominator are up to {MAX_FRACTION}")
        elif not _is_int(term, -MAX_FRACTION, MAX_FRACTION):
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
        if len(numbers) != len(plain) or not all(_is_int(n, low, MAX_U16) for n in numbers):
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
    if not _is_int(node.groups, 1, MAX_SIDE):
        raise FormatError(f"{where}: groups {node.groups}, not an integer from 1 to {MAX_SIDE}")
    if node.groups != 1 and (
        OPS[node.op].keeps_channels or OPS[node.op].area in ("joined", "sliced", "blocks", "row", "all")
    ):
        raise FormatError(f"{where}: groups {node.groups}; only conv has groups (depthwise means one for each channel)")


def _check_channels(where: str, node: Node) -> None:
    """Check what is said of all channels of a pixel together."""
    if not _is_int(node.window_channels, 0, MAX_WINDOW_CHANNELS if node.op == "norm" else 0):
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


def _check_recipe(name: str, recipe: Recipe, channels: int) -> None:
    if recipe.color not in COLORS:
        raise UnsupportedError(f"input '{name}': colour '{recipe.color}'; known are {', '.join(COLORS)}")
    if channels != (1 if recipe.color == "grey" else 3):
        raise ShapeError(f"input '{name}': a {recipe.color} recipe for {channels} channels; RGB and BGR have 3, grey 1")
    if len(recipe.mean) != channels or len(recipe.scale) != channels:
        raise ShapeError(f"input '{name}': the recipe needs a mean and a scale for each of {channels} channels")
    if not finite_float32((*recipe.mean, *recipe.scale)) or not 0 < np.float32(recipe.crop) <= 1:
        raise FormatError(f"input '{name}': the recipe needs finite mean and scale, and 0 < crop <= 1")


def _check_names(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        _check_text(f"{kind} name", name, MAX_NAME)
        if not name or name in seen:
            raise FormatError(f"{kind} name '{name}' is empty or used twice; the names of {kind}s are unique")
        seen.add(name)


def _check_text(kind: str, text: object, most: int) -> None:
    if not isinstance(text, str) or "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise FormatError(f"{kind} {text!r} is not a string that UTF-8 ended by a zero byte can hold")
    if len(text.encode()) > most:
        raise FormatError(f"{kind} {text[:40]!r}... is longer than {most} bytes")


def _shape(graph: Graph, name: str, where: str) -> tuple[int, int, int]:
    if name not in graph.values:
        raise FormatError(f"{where} names the value '{name}', which the graph does not define")
    height, width, channels = map(int, graph.values[name])
    return height, width, channels


def _is_int(number: object, low: int, high: int) -> bool:
    return isinstance(number, (int, np.integer)) and bool(low <= number <= high)
