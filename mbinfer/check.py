"""Says whether a `Graph` can run: names, order, shapes, weights; the rules are the reader's (csrc/model/reader.cpp)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import numpy as np

from .check_nodes import check_node, is_int, shape_of
from .check_types import finite_float32
from .errors import FormatError, ShapeError, UnsupportedError
from .graph import COLORS, Graph, Output, Recipe, Type
from .limits import MAX_COUNTS, MAX_ELEMENTS, MAX_MACS, MAX_NAME, MAX_NODE_INPUTS, MAX_SIDE, MAX_STORED, MAX_TEXT
from .packing import PANEL

ZERO_POINTS = {"float32": (0, 0), "int8": (-128, 127), "uint8": (0, 255)}  # of values, by dtype
UNSAYABLE = re.compile("[\0\ud800-\udfff]")  # in UTF-8 ended by a zero byte
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
        shape_of(graph, name, f"input '{name}'")
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
        macs += check_node(graph, node, writer)
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
    if len(shape) != 3 or not all(is_int(d, 1, MAX_SIDE) for d in shape) or math.prod(shape) > MAX_ELEMENTS:
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
    if not is_int(value_type.zero_point, least, most):
        raise FormatError(f"value '{name}': {value_type}; its zero point is an integer from {least} to {most}")


def _check_state(graph: Graph, name: str) -> None:
    """Check a state by itself."""
    shape, initial = shape_of(graph, name, f"state '{name}'"), graph.states[name].initial
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
        shape = shape_of(graph, state.next, f"state '{name}', what it becomes") if state.next else None
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
    shape = shape_of(graph, output.value, f"output '{output.name}'")
    if output.value in graph.inputs or output.value in graph.states:
        kind = "input" if output.value in graph.inputs else "state"
        raise FormatError(f"output '{output.name}' is the {kind} '{output.value}' itself; no node makes it")
    if (
        len(output.shape) > 8
        or not all(is_int(d, 1, MAX_ELEMENTS) for d in output.shape)
        or math.prod(map(int, output.shape)) != math.prod(shape)
    ):
        raise ShapeError(
            f"output '{output.name}': shape {output.shape} does not hold the elements of value "
            f"'{output.value}' {shape} in at most 8 dimensions"
        )


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
    if not isinstance(text, str) or UNSAYABLE.search(text):
        raise FormatError(f"{kind} {text!r} is not a string that UTF-8 ended by a zero byte can hold")
    if len(text.encode()) > most:
        raise FormatError(f"{kind} {text[:40]!r}... is longer than {most} bytes")
