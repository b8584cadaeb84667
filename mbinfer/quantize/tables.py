"""Activations that an int8 network looks up in a table of 256 numbers: which, and the nodes that they become."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph import Graph, Node, Type, free_name
from .samples import Float64

Function = Callable[[Any], Any]


def _sigmoid(x: Float64) -> Float64:
    result: Float64 = (1 + np.tanh(x / 2)) / 2  # no power of a large number overflows
    return result


def _gelu(x: Float64) -> Float64:
    result: Float64 = x * (1 + np.array([math.erf(number / math.sqrt(2)) for number in x])) / 2
    return result


# Each function, and the range outside which its argument makes no difference to a value of 8 bits.
TABLES: dict[str, tuple[Function, float, float]] = {
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, -3.0, np.inf),
    "sigmoid": (_sigmoid, -8.0, 8.0),
    "silu": (lambda x: x * _sigmoid(x), -8.0, np.inf),
    "tanh": (np.tanh, -5.0, 5.0),
    "gelu": (_gelu, -5.0, np.inf),
    "gelu_tanh": (lambda x: x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)), -5.0, np.inf),
}


def split_activations(graph: Graph, integer: Collection[str], keep_float: Collection[str]) -> Graph:
    """A copy of `graph` in which an activation that becomes a table is a node of its own: a depthwise 1x1 that is 1.

    So it is behind nodes of the operators `integer` that do not stay float32.
    """
    split = copy.copy(graph)
    split.values, split.nodes = dict(graph.values), []
    for node in graph.nodes:
        node = dataclasses.replace(node)
        split.nodes.append(node)
        if node.activation in TABLES and node.op in integer and node.name not in keep_float and not is_table(node):
            result, node.output = node.output, free_name(f"{node.output}/linear", split.values)
            split.values[node.output] = channels = graph.values[result]
            one = np.ones((1, 1, channels[2]), np.float32)
            name = f"{node.name}/{node.activation}"
            split.nodes.append(Node("depthwise", name, [node.output], result, activation=node.activation, weight=one))
            node.activation = "none"
    return split


def is_table(node: Node) -> bool:
    """Whether a node is nothing but an activation that a table can be."""
    return (
        node.op == "depthwise"
        and node.activation in TABLES
        and node.kernel == node.stride == (1, 1)
        and not any(node.pads)
        and node.weight is not None
        and bool((node.weight == 1).all())
        and (node.bias is None or not node.bias.any())
    )


def matters(graph: Graph) -> dict[str, tuple[float, float]]:
    """For values that only tables read: the range outside which a number makes no difference."""
    found = {node.inputs[0]: TABLES[node.activation][1:] for node in graph.nodes if is_table(node)}
    for node in graph.nodes:
        for name in () if is_table(node) else node.inputs:
            found.pop(name, None)
    return found


def table_of(activation: str, taken: Type, made: Type) -> npt.NDArray[np.uint8]:
    """The activation of each of the 256 numbers of the type `taken`, as numbers of the type `made`."""
    real = (np.arange(256) - taken.zero_point) * float(np.float32(taken.scale))
    numbers = np.rint(TABLES[activation][0](real) / float(np.float32(made.scale))) + made.zero_point
    table: npt.NDArray[np.uint8] = np.clip(numbers, 0, 255).astype(np.uint8)
    return table
