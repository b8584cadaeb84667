"""A float32 graph and the types of its values become the int8 graph: integer weights, tables, converts at borders."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node, Output, Recipe, Type
from .samples import Float64
from .tables import fresh, is_table, table_of
from .weights import integers, mean_shift

INTEGER = ("conv", "depthwise", "add", "max_pool", "avg_pool", "global_avg_pool")  # ops that run on 8 bits
KEEPS_TYPE = ("max_pool",)  # a node's output has its input's type


class Seen(NamedTuple):
    """What the samples said that weights and biases are made after. What is not there is not corrected."""

    means: dict[str, Float64] = {}  # of every value's channels: biases take back what rounding adds to them
    covariances: dict[str, Float64] = {}  # of the inputs of a node's outputs, by the node's name: see rounding.py


def emit(
    graph: Graph,
    types: dict[str, Type],
    recipes: dict[str, Recipe],
    seen: Seen,
    keep_float: Collection[str] = (),
    per_channel: bool = True,
) -> Graph:
    """The int8 graph of the float32 `graph`; inputs and outputs stay float32.

    types: of every value, should it be quantised. recipes: of the inputs that get another one than `graph` has, whose
    readers' biases take the difference. seen: what weights and biases are made after. keep_float: names of nodes that
    stay float32.
    """
    made = _Emitter(graph, types, keep_float)
    for name in graph.inputs:
        made.graph.inputs[name] = recipes.get(name, graph.inputs[name])
        made.define(name, name, "float32")
    for node in graph.nodes:
        if not made.is_integer(node):
            made.append(dataclasses.replace(node, inputs=[made.read(name, "float32") for name in node.inputs]))
        elif is_table(node):
            made.lookup(node)
        else:
            made.integer(_recentred(graph, node, recipes), seen, per_channel)
    made.graph.outputs = [
        Output(output.name, made.read(output.value, "float32"), output.shape) for output in graph.outputs
    ]
    return made.graph


class _Emitter:
    """The graph that grows; for each value of the float32 graph the names of its uint8 and its float32 form."""

    def __init__(self, source: Graph, types: dict[str, Type], keep_float: Collection[str]):
        self.source, self.keep_float = source, keep_float
        self.kinds = dict(types)
        self.graph = Graph(labels=list(source.labels), metadata=dict(source.metadata))
        self.forms: dict[tuple[str, str], str] = {}

    def is_integer(self, node: Node) -> bool:
        supported = node.activation in ("none", "clamp") or is_table(node)
        return node.op in INTEGER and supported and node.name not in self.keep_float

    def append(self, node: Node, dtype: str = "float32") -> None:
        self.define(node.output, node.output, dtype)
        self.graph.nodes.append(node)

    def integer(self, node: Node, seen: Seen, per_channel: bool) -> None:
        source = node.inputs[0]
        inputs = [self.read(name, "uint8") for name in node.inputs]
        if node.op in KEEPS_TYPE:
            self.kinds[node.output] = self.kinds[source]
        made = dataclasses.replace(node, inputs=inputs)
        if node.weight is not None:
            scale = self.kinds[source].scale
            made.weight, made.weight_scale, made.bias = integers(
                node, scale, per_channel, seen.means.get(source), seen.covariances.get(node.name)
            )
        self.append(made, "uint8")

    def lookup(self, node: Node) -> None:
        table = table_of(node.activation, self.kinds[node.inputs[0]], self.kinds[node.output])
        inputs = [self.read(node.inputs[0], "uint8")]
        self.append(Node("lookup", node.name, inputs, node.output, weight=table), "uint8")

    def read(self, name: str, dtype: str) -> str:
        """The name of the value `name` of the source in the form asked for, converted where it has the other only."""
        if (name, dtype) not in self.forms:
            (other,) = (form for (value, _), form in self.forms.items() if value == name)
            made = fresh(self.graph, f"{name}:{dtype}")
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
