"""`GraphBuilder`: how the zoo, the importers, tests and benchmarks make a `Graph`, one node after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError
from .graph import SLOPED, Graph, Node, Output, Recipe, State, Type
from .ops import OPS

LINEAR = ("none", (-math.inf, math.inf))


class GraphBuilder:
    """Appends to `graph`; a value's shape follows from its node by the operator table, so that no caller computes it.

    Methods return the name of the value that they make. With a generator `rng`, weights and biases that are not given
    are drawn from it, scaled so that values keep their size (arXiv 1502.01852); with `dims` the graph starts with an
    input called "input".
    """

    def __init__(self, rng: np.random.Generator | None = None, dims: tuple[int, int, int] | None = None):
        self.graph, self.rng = Graph(), rng
        if dims is not None:
            self.input("input", dims)

    def dims(self, value: str) -> tuple[int, int, int]:
        return self.graph.values[value]

    def input(self, name: str, dims: tuple[int, int, int], recipe: Recipe | None = None) -> str:
        self.graph.values[name], self.graph.inputs[name] = dims, recipe
        return name

    def state(
        self, name: str, dims: tuple[int, int, int], value_type: Type | None = None, initial: np.ndarray | None = None
    ) -> str:
        """A value that outlives a run, of which `keep` says what it becomes. `initial`: see `State`."""
        self.graph.values[name], self.graph.states[name] = dims, State("", initial)
        if value_type is not None:
            self.graph.types[name] = value_type
        return name

    def keep(self, state: str, value: str) -> None:
        """Let `state` become what a run makes of `value`."""
        self.graph.states[state].next = value

    def recent(self, value: str, rows: int, name: str | None = None) -> str:
        """`rows` rows of what `value` was in the runs before, and below them those that it is now.

        So a convolution sees as many rows of a stream as its kernel has, and each run brings the new ones only.
        """
        name = f"{value}/before" if name is None else name
        height, width, channels = self.dims(value)
        value_type = self.graph.types.get(value)
        before = self.state(name, (rows, width, channels), value_type)
        both = self.add("stack", [before, value], name=f"{name}/all", size=(rows + height, width))
        unit = (1, 1, 0)
        last = self.add("resize", [both], name=f"{name}/last", rows=(1, 1, height), columns=unit, size=(rows, width))
        if value_type is not None:
            self.graph.types[both] = self.graph.types[last] = value_type
        self.keep(before, last)
        return both

    def add(
        self,
        op: str,
        inputs: list[str],
        channels: int | None = None,
        act: tuple[str, tuple[float, float]] = LINEAR,
        *,
        name: str | None = None,
        output: str | None = None,
        size: tuple[int, int] | None = None,
        **fields: Any,
    ) -> str:
        """Append ``Node(op, name, inputs, output, **fields)`` with the activation `act` (kind, bounds).

        `channels` of the output are needed where a convolution has no weight yet, and of a slice; `size` (height,
        width) is what a resize or a stack makes, the latter by default a column. Without names the node is called
        after its operator and its place, and its value after the node.
        """
        name = f"{op}{len(self.graph.nodes)}" if name is None else name
        output = f"{name}_out" if output is None else output
        node = Node(op, name, inputs, output, **{"activation": act[0], "clamp": act[1], **fields})
        if node.weight is not None and OPS[op].weights and not OPS[op].keeps_channels:
            channels = len(node.weight)
        if self.rng is not None and OPS[op].weights and node.weight is None:
            self._draw(node, channels, self.rng)
        self.graph.values[output] = dims = self._output_dims(node, channels, size)
        if self.rng is not None and node.activation in SLOPED and node.slopes is None:
            node.slopes = self.rng.uniform(0.05, 0.5, dims[2]).astype(np.float32)
        self.graph.nodes.append(node)
        return output

    def convolve(
        self, value: str, channels: int, act: tuple[str, tuple[float, float]] = LINEAR, groups: int = 1, **fields: Any
    ) -> str:
        """A convolution; a depthwise one where every channel is a group of its own."""
        if groups == channels == self.dims(value)[2]:
            return self.add("depthwise", [value], act=act, **fields)
        return self.add("conv", [value], channels, act, groups=groups, **fields)

    def output(self, value: str, shape: tuple[int, ...] | None = None, name: str | None = None) -> None:
        """Make `value` an output, by default NHWC and called after the value."""
        name = f"{value}:output" if name is None else name
        self.graph.outputs.append(Output(name, value, shape or (1, *self.dims(value))))

    def _output_dims(
        self, node: Node, channels: int | None, size: tuple[int, int] | None = None
    ) -> tuple[int, int, int]:
        height, width, inputs = self.dims(node.inputs[0])
        area = OPS[node.op].area
        if area == "whole":
            height = width = 1
        elif area == "window":
            height, width = window_size((height, width), node.kernel, node.stride, node.dilation, node.pads)
        if area == "scaled" and size is not None:
            return *size, inputs
        if area == "blocks":
            down, across = node.rows[1], node.columns[1]
            return height * down, width * across, inputs // (down * across)
        if area == "row":
            return height, 1, width if channels is None else channels
        if area == "all":
            return 1, 1, inputs if channels is None else channels
        if area == "stacked":
            return *(size or (sum(math.prod(self.dims(name)[:2]) for name in node.inputs), 1)), inputs
        if area == "joined":
            return height, width, sum(self.dims(name)[2] for name in node.inputs)
        return height, width, inputs if OPS[node.op].keeps_channels or channels is None else channels

    def _draw(self, node: Node, channels: int | None, rng: np.random.Generator) -> None:
        inputs, area = self.dims(node.inputs[0])[2], math.prod(node.kernel)
        if OPS[node.op].keeps_channels:
            node.weight, channels = _normal(rng, (*node.kernel, inputs), area), inputs
        else:
            if channels is None:
                raise ArgumentError(f"'{node.name}': a convolution without a weight needs its channels")
            per_group = inputs // node.groups
            node.weight = _normal(rng, (channels, *node.kernel, per_group), area * per_group)
        if node.bias is None:
            node.bias = _normal(rng, (channels,), 10)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: float) -> npt.NDArray[np.float32]:
    return (rng.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float32)


def window_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], pads: Sequence[int]
) -> tuple[int, int]:
    """(height, width) that a sliding window makes of `size` (height, width), pads being top, left, bottom, right."""
    height, width = (
        (size[i] + pads[i] + pads[i + 2] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    )
    return height, width
