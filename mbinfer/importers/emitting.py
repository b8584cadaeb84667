"""What importers of every format share: nodes emitted into a `Graph`, what became of each tensor, refusals by name.

Affine maps (batch norm, bias, scale), activations and zero padding are all emitted as a depthwise 1x1 convolution with
weight, bias, clamp or pads; fusing.py then folds what can be folded, and what is left over can run as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..build import GraphBuilder
from ..errors import UnsupportedError
from ..graph import Graph, Node, free_name
from ..limits import MAX_ELEMENTS, MAX_SIDE
from .layout import Tensor

MOST_EMITTED = 1 << 18  # nodes, of which a graph has fewer once they are folded
TIMES_HELD = 32  # bytes of weights until they are folded for each that a source stores, beside what an importer allows
TALLEST = 64  # rows of a kernel: kMaxKernel of csrc/plan/plan.h


@dataclass
class SourceNode:
    """A node of the source model with its attributes as Python values; `name` is never empty."""

    name: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)


def unsupported(node: SourceNode, reason: str, supported: str) -> UnsupportedError:
    return UnsupportedError(f"node '{node.name}' ({node.op}): {reason}; supported: {supported}", node.name, node.op)


class Emitter:
    """Appends graph nodes for source nodes; values are called after the source's tensors wherever that is free."""

    def __init__(self, names: Iterable[str], room: int):
        """`names`: those of all tensors of the source, which values that it does not have stay clear of; `room`: bytes
        of all weights until they are folded, of which many nodes may share one of the source."""
        self.builder = GraphBuilder()
        self.writer: dict[str, Node] = {}  # value name -> emitted node
        self._names = set(names)
        self._room = room

    @property
    def graph(self) -> Graph:
        return self.builder.graph

    def fresh(self, base: str) -> str:
        """A name that no tensor has, made of `base`."""
        name = free_name(base, self._names)
        self._names.add(name)
        return name

    def emit(self, node: SourceNode, op: str, inputs: list[str], part: str = "", **fields: Any) -> str:
        """Append a graph node and return its value's name; `part` names a step other than the last one of `node`."""
        output = f"{node.outputs[0]}/{part}" if part else node.outputs[0]
        if part or output in self.graph.values:
            output = self.fresh(output)
        name = f"{node.name}/{part}" if part else node.name
        self._room -= sum(array.nbytes for array in fields.values() if isinstance(array, np.ndarray))
        if self._room < 0 or len(self.graph.nodes) == MOST_EMITTED:
            raise unsupported(
                node,
                "weights that are too large together" if self._room < 0 else f"more than {MOST_EMITTED} steps",
                f"{MOST_EMITTED} steps, and weights that are some {TIMES_HELD} times what the source stores",
            )
        self.builder.add(op, inputs, name=name, output=output, **fields)
        dims = self.builder.dims(output)
        if min(dims) < 1 or max(dims) > MAX_SIDE or math.prod(dims) > MAX_ELEMENTS:
            del self.graph.values[output], self.graph.nodes[-1]
            raise unsupported(
                node,
                f"output of (height, width, channels) = {dims}",
                f"sizes from 1 to {MAX_SIDE}, at most {MAX_ELEMENTS} elements",
            )
        self.writer[output] = self.graph.nodes[-1]
        return output

    def affine(
        self,
        node: SourceNode,
        x: Tensor,
        scale: Any = 1.0,
        bias: Any = 0.0,
        part: str = "",
        shape: tuple[int, ...] | None = None,
        **fields: Any,
    ) -> Tensor:
        """``x * scale + bias`` per channel (float64 ``[C]`` or one number), with the activation in `fields`."""
        channels = x.dims[2]
        value = self.emit(
            node,
            "depthwise",
            [x.value],
            part,
            weight=np.full((1, 1, channels), scale, np.float64),
            bias=np.full(channels, bias, np.float64),
            **fields,
        )
        return Tensor(value, x.dims, x.order, x.shape if shape is None else shape)


def refuse_what_cannot_run(graph: Graph) -> None:
    """Refuse what the format holds and no session runs, and what has no meaning by itself."""
    for node in graph.nodes:
        if node.activation == "erf":
            raise UnsupportedError(
                f"node '{node.name}' (Erf): the error function by itself; supported: as part of "
                "x * (1 + erf(x / sqrt(2))), which is GELU",
                node.name,
                "Erf",
            )
        if node.kernel[0] > TALLEST:
            raise UnsupportedError(
                f"node '{node.name}' ({node.op}): a kernel of {node.kernel[0]} rows; supported: up to {TALLEST} rows, "
                "and means over a whole picture of any size",
                node.name,
                node.op,
            )
