"""Post-training quantisation: a float32 `Graph` and some pictures become an int8 `Graph` (docs/quantization.md)."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection

import numpy as np

from ..errors import ArgumentError
from ..graph import Graph, Recipe, Type
from ..options import flag, listed, written_path
from .biases import Biases
from .emit import INTEGER, KEEPS_TYPE, Seen, emit, on_bytes
from .equalise import equalise as equalise_layers
from .observe import Statistics, observe
from .ranges import METHODS, ends_of, picture_type, type_of
from .report import Report, compare
from .rounding import observe_inputs
from .samples import Array, Calibration, Float64
from .streams import opened, tied_values
from .tables import matters, split_activations

__all__ = ["Quantizer", "Report", "noise", "quantize"]


def quantize(
    graph: Graph,
    calibration: Calibration,
    *,
    ranges: str = "mse",
    keep_float: Collection[str] = (),
    per_channel: bool = True,
    equalise: bool = True,
    correct_bias: bool = True,
    compensate: bool = True,
    report: str | os.PathLike[str] | None = None,
) -> Graph:
    """The int8 graph of a float32 one: uint8 values, int8 weights, int32 biases; inputs and outputs are as before.

    calibration: what the network is run on to see the ranges of its values: a folder of pictures, or an iterable of
        paths, of arrays (height, width, channels), uint8 by the recipe or float32, or of dicts of arrays by input name.
        Some dozens of pictures that look like those to come are enough. Of a network with states they are the pieces
        of one stream, in their order.
    ranges: "mse", the ends of least squared error; "percentile", 99.99 % of what was seen; "minmax", all.
    keep_float: names of nodes that stay float32, as those do in which an imported detector makes boxes of raw numbers.
    per_channel: a weight scale for every output channel, or one for each node.
    equalise: scale channels between convolutions so that small ones lose less (arXiv 1906.04721).
    correct_bias: let biases take back what rounding weights and values does to the means (the same paper, appendix D).
    compensate: round a weight so that those rounded after it can take back what it loses (GPTQ, arXiv 2210.17323).
    report: a file that `Report.save` writes: what each stage loses.

    Raises `ArgumentError` for what it cannot take, `ShapeError` for samples that do not fit.
    """
    _check_method(ranges)
    if report is not None:
        report = written_path("report", report)
    quantizer = Quantizer(graph, calibration, keep_float, per_channel, equalise)
    made = quantizer.quantized(ranges, correct_bias, compensate)
    if report is not None:
        quantizer.report(made).save(report)
    return made


def noise(graph: Graph, count: int = 4, seed: int = 0) -> list[dict[str, Array]]:
    """Samples of seeded noise, for networks of random weights: pictures where there is a recipe, or normal float32."""
    rng = np.random.default_rng(seed)
    return [
        {
            name: rng.standard_normal(graph.values[name], np.float32)
            if recipe is None
            else rng.integers(0, 256, graph.values[name], np.uint8)
            for name, recipe in graph.inputs.items()
        }
        for _ in range(count)
    ]


class Quantizer:
    """What `quantize` does in two steps: see how the network behaves, then make int8 graphs of it."""

    def __init__(
        self,
        graph: Graph,
        calibration: Calibration,
        keep_float: Collection[str] = (),
        per_channel: bool = True,
        equalise: bool = True,
    ):
        self._keep_float = keep_float = _checked_names(graph, keep_float) | _ends_in_boxes(graph)
        self._per_channel, self._states = flag("per_channel", per_channel), graph.states
        self._outputs = len(graph.outputs)
        without_states, self._samples = opened(graph, calibration)
        self._source = split_activations(without_states, INTEGER, keep_float)
        if flag("equalise", equalise):
            equalise_layers(self._source, observe(self._source, self._samples, "channels"), self._per_channel)
        self._statistics = observe(self._source, self._samples, "ranges")

    def quantized(self, ranges: str = "mse", correct_bias: bool = True, compensate: bool = True) -> Graph:
        whole = on_bytes(self._source, self._keep_float)
        tied = tied_values(self._source, self._states)
        types, recipes = _types(self._source, self._statistics, ranges, self._keep_float, whole, tied)
        biases = Biases(self._statistics, self._samples) if flag("correct_bias", correct_bias) else None
        seen = Seen(biases, self._covariances if flag("compensate", compensate) else {})
        return emit(self._ending, types, recipes, seen, whole, self._per_channel, self._states)

    @property
    def _ending(self) -> Graph:
        """The source with the outputs of the network alone."""
        return dataclasses.replace(self._source, outputs=self._source.outputs[: self._outputs])

    @functools.cached_property
    def _covariances(self) -> dict[str, Float64]:
        nodes = [node for node in self._source.nodes if node.op in INTEGER and node.weight is not None]
        return observe_inputs(self._source, self._samples, [n for n in nodes if n.name not in self._keep_float])

    def report(self, made: Graph) -> Report:
        """Runs the float32 network and `made` of it on some of the samples and compares every value."""
        return compare(self._ending, made, self._statistics, self._samples)


def _checked_names(graph: Graph, keep_float: Collection[str]) -> frozenset[str]:
    """`keep_float`, which are nodes of a float32 graph; `ArgumentError` otherwise."""
    if not isinstance(graph, Graph):
        raise ArgumentError(f"graph of type {type(graph).__name__}; give a mbinfer.graph.Graph")
    if any(node.weight_scale is not None for node in graph.nodes) or not graph.types.keys().isdisjoint(graph.inputs):
        raise ArgumentError("this network is quantised already; it needs no calibration")
    known = {node.name for node in graph.nodes}
    names = [keep_float] if isinstance(keep_float, str) else listed("keep_float", keep_float, "node names")
    unknown = [name for name in names if isinstance(keep_float, str) or not isinstance(name, str) or name not in known]
    if unknown:
        raise ArgumentError(f"keep_float: no node is called {', '.join(map(repr, unknown))}; give a list of node names")
    return frozenset(names)


def _ends_in_boxes(graph: Graph) -> frozenset[str]:
    """Nodes that an importer emitted for an nms, which are called after it: in one row of bytes a box's corners, its
    score and the number of its class would share a scale."""
    before = tuple(f"{node.name}/" for node in graph.nodes if node.op == "nms")
    return frozenset(node.name for node in graph.nodes if node.name.startswith(before))


def _check_method(ranges: object) -> None:
    if not isinstance(ranges, str) or ranges not in METHODS:
        raise ArgumentError(f"ranges={ranges!r}: give one of {', '.join(METHODS)}")


def _types(
    graph: Graph,
    statistics: dict[str, Statistics],
    ranges: str,
    keep_float: Collection[str],
    whole: Collection[str],
    tied: list[set[str]],
) -> tuple[dict[str, Type], dict[str, Recipe]]:
    """The type of every value, and the recipes of inputs whose pixels become numbers as they are."""
    _check_method(ranges)
    recipes, limits, pictures, ends = {}, matters(graph), {}, {}
    for name, seen in statistics.items():
        low, high = METHODS[ranges](seen.histogram)
        least, most = limits.get(name, (-np.inf, np.inf))
        ends[name] = max(low, least), min(high, most)
    for name, recipe in graph.inputs.items():
        if recipe is not None:
            pictures[name], exact = picture_type(recipe)
            ends[name] = ends_of(pictures[name])
            readers = [node for node in graph.nodes if name in node.inputs]
            if exact is not None and all(node.weight is not None and node.name not in keep_float for node in readers):
                recipes[name] = exact
    types = {name: type_of(*both) for name, both in ends.items()} | pictures
    for group in _of_one_type(graph, whole, tied):
        lows, highs = zip(*(ends[name] for name in group))
        types.update(dict.fromkeys(group, type_of(min(lows), max(highs))))
    return types, recipes


def _of_one_type(graph: Graph, whole: Collection[str], tied: list[set[str]]) -> list[set[str]]:
    """The values that get one type together: what runs between them only moves numbers, or a state becomes another."""
    moved = [{*node.inputs, node.output} for node in graph.nodes if node.op in KEEPS_TYPE and node.output in whole]
    groups: list[set[str]] = []
    for values in (*moved, *tied):
        joined = values.union(*(group for group in groups if not group.isdisjoint(values)))
        groups = [group for group in groups if group.isdisjoint(joined)] + [joined]
    return groups
