"""A float32 graph and the types of its values become the int8 graph: integer weights, tables, converts at borders."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node, Output, Recipe, State, Type, free_name
from ..progress import progress
from .biases import Biases
from .samples import Float64
from .streams import begun
from .tables import is_table, table_of
from .weights import integers, mean_shift

ARITHMETIC = ("conv", "depthwise", "add", "sub", "mul", "max", "min", "avg_pool", "global_avg_pool", "resize")
KEEPS_TYPE = ("max_pool", "concat", "slice", "shuffle", "depth_to_space", "stack")  # its output has its inputs' type
INTEGER = ARITHMETIC + KEEPS_TYPE  # ops that run on 8 bits
READS_BOTH = ("argmax", "candidates")  # ops that make the same of bytes as of the float32 numbers that they stand for


def on_bytes(graph: Graph, keep_float: Collection[str]) -> set[str]:
    """The values that nodes make of bytes; what only moves numbers does so where some of them are bytes."""
    found: set[str] = set()
    for node in graph.nodes:
        able = node.activation in ("none", "clamp") or is_table(node)
        there = not found.isdisjoint(node.inputs) or not graph.inputs.keys().isdisjoint(node.inputs)
        wanted = node.op in ARITHMETIC or (node.op in KEEPS_TYPE and there)
        if able and wanted and node.name not in keep_float:
            found.add(node.output)
    return found


class Seen(NamedTuple):
    """What the samples said that weights and biases are made after. What is not there is not corrected."""

    biases: Biases | None = None  # what they take back
    covariances: dict[str, Float64] = {}  # of the inputs of a node's outputs, by the node's name: see rounding.py


def emit(
    graph: Graph,
    types: dict[str, Type],
    recipes: dict[str, Recipe],
    seen: Seen,
    whole: Collection[str],
    per_channel: bool = True,
    states: Mapping[str, State] | None = None,
) -> Graph:
    """The int8 graph of the float32 `graph`; inputs and outputs stay float32, but for those that are `states`.

    types: of every value, should it be quantised. recipes: of the inputs that get another one than `graph` has, whose
    readers' biases take the difference. seen: what weights and biases are made after. whole: values made of bytes.
    """
    made = _Emitter(graph, types)
    forms = {name: "uint8" if state.next in whole else "float32" for name, state in (states or {}).items()}
    for name in graph.inputs:
        made.graph.inputs[name] = recipes.get(name, graph.inputs[name])
        made.define(name, name, forms.get(name, "float32"))
    for node in progress(graph.nodes, lambda node: f"quantising, {node.name}"):
        if node.output not in whole:
            made.append(dataclasses.replace(node, inputs=[made.read_by(node, name) for name in node.inputs]))
        elif is_table(node):
            made.lookup(node)
        else:
            made.integer(_recentred(graph, node, recipes), seen, per_channel)
    made.graph.outputs = [
        Output(output.name, made.read(output.value, "float32"), output.shape) for output in graph.outputs
    ]
    for name, state in (states or {}).items():
        kind = types[name] if forms[name] == "uint8" else None
        del made.graph.inputs[name]
        made.graph.states[name] = begun(state, made.read(state.next, forms[name]), kind)
    return made.graph


class _Emitter:
    """The graph that grows; for each value of the float32 graph the names of its uint8 and its float32 form."""

    def __init__(self, source: Graph, types: dict[str, Type]):
        self.source = source
        self.kinds = dict(types)
        self.graph = Graph(labels=list(source.labels), metadata=dict(source.metadata))
        self.forms: dict[tuple[str, str], str] = {}

    def append(self, node: Node, dtype: str = "float32") -> None:
        self.define(node.output, node.output, dtype)
        self.graph.nodes.append(node)

    def integer(self, node: Node, seen: Seen, per_channel: bool) -> None:
        made = dataclasses.replace(node, inputs=[self.read(name, "uint8") for name in node.inputs])
        if node.weight is not None:
            scale = self.kinds[node.inputs[0]].scale
            lost = None
            if seen.biases is not None:
                lost = functools.partial(seen.biases.lost, node, self.graph, made.inputs[0])
            made.weight, made.weight_scale, made.bias = integers(
                node, scale, per_channel, lost, seen.covariances.get(node.name)
            )
        self.append(made, "uint8")

    def lookup(self, node: Node) -> None:
        table = table_of(node.activation, self.kinds[node.inputs[0]], self.kinds[node.output])
        inputs = [self.read(node.inputs[0], "uint8")]
        self.append(Node("lookup", node.name, inputs, node.output, weight=table), "uint8")

    def read_by(self, node: Node, name: str) -> str:
        """What `node`, which runs in float32, reads of the value `name`: bytes where they are there and serve it."""
        bytes_serve = node.op in READS_BOTH and (name, "uint8") in self.forms
        return self.read(name, "uint8" if bytes_serve else "float32")

    def read(self, name: str, dtype: str) -> str:
        """The name of the value `name` of the source in the form asked for, converted where it has the other only."""
        if (name, dtype) not in self.forms:
            (other,) = (form for (value, _), form in self.forms.items() if value == name)
            made = free_name(f"{name}:{dtype}", self.graph.values)
            self.define(name, made, dtype)
            self.graph.nodes.append(Node("convert", made, [other], made))
        return self.forms[name, dtype]

    def define(self, source: str, name: str, dtype: str) -> None:
        """The value `name` of the new graph is the value `source` of the float32 graph in the form `dtype`."""
        self.graph.values[name] = self.source.values[source]
        self.forms[source, dtype] = name
        if dtype == "uint8":
            self.graph.types[name] = self.kinds[source]
        elif source in self.source.types:  # class numbers, which no scale belongs to
            self.graph.types[name] = self.source.types[source]


def _recentred(graph: Graph, node: Node, recipes: dict[str, Recipe]) -> Node:
    """`node` for an input whose new recipe has other means: the bias takes what the input's numbers lost."""
    name = node.inputs[0]
    before, after = graph.inputs.get(name), recipes.get(name)
    if before is None or after is None or node.weight is None:
        return node
    lost = np.subtract(after.mean, before.mean) * np.asarray(before.scale, np.float32)
    bias = 0.0 if node.bias is None else node.bias
    return dataclasses.replace(node, bias=bias + mean_shift(node, np.asarray(node.weight, np.float64), lost))
