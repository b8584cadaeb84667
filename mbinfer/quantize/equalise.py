"""Cross-layer equalisation: channels between convolutions are scaled so that each makes good use of 8 bits.

A convolution's output channel may be divided by any positive number, if what reads it multiplies by it (arXiv
1906.04721, section 4.1). All channels of a value share one step, so a channel that stays small loses most of its 8 bits
without it. The paper scales between two convolutions; here also along a chain of residual blocks, whose additions carry
any factor that all of their summands have. ReLU commutes with a positive factor. ReLU6 does not, and is not replaced by
ReLU here: a channel that comes near the upper bound on the calibration samples keeps its scale, and any other is
enlarged at most until it would.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..graph import Graph, Node
from ..ops import OPS
from .observe import Statistics
from .samples import Float64
from .tables import is_table
from .weights import by_channel, other_axes, weight_scales

ROOM = 0.8  # of an upper bound: a channel that was seen above this share may meet the bound on other samples
DOUBT = 10.0  # over the root of how many numbers of a channel were seen: what is added to the largest one, as a share
MOST = 100.0  # times that a channel is enlarged or made smaller


class Stream(NamedTuple):
    """Values whose channels can be scaled alike: what convolutions `makers` make, pools and additions pass on, and
    convolutions `readers` read."""

    makers: list[Node]
    carriers: list[Node]
    readers: list[Node]
    values: list[str]


def equalise(graph: Graph, statistics: dict[str, Statistics], per_channel: bool = True) -> int:
    """Scale the weights and biases of `graph` in place; returns how many channels were. The network computes the same.

    `statistics` are those of the graph as it was; it has to be observed again.
    """
    return sum(_scale(stream, statistics, per_channel) for stream in streams(graph))


def streams(graph: Graph) -> list[Stream]:
    """Values whose makers and readers all allow it, each together with those that have to be scaled with it."""
    fixed = {output.value for output in graph.outputs} | graph.inputs.keys()
    found, seen = [], set(fixed)
    for start in graph.nodes:
        if start.output in seen:
            continue
        values = _connected(graph, start.output)
        seen |= values
        makers = [node for node in graph.nodes if node.output in values]
        readers = [node for node in graph.nodes if not values.isdisjoint(node.inputs) and not _carries(node)]
        carriers = [node for node in makers if _carries(node)]
        makers = [node for node in makers if not _carries(node)]
        scalable = all(OPS[node.op].weights and _commutes(node) for node in makers)
        adaptable = all(OPS[node.op].weights and _divides(node) for node in readers)
        if makers and readers and scalable and adaptable and fixed.isdisjoint(values):
            found.append(Stream(makers, carriers, readers, [name for name in graph.values if name in values]))
    return found


def _connected(graph: Graph, name: str) -> set[str]:
    """The value `name`, and all that additions and pools tie to it."""
    found, grows = {name}, True
    while grows:
        before = len(found)
        for node in graph.nodes:
            ties = {*node.inputs, node.output}
            if _carries(node) and not found.isdisjoint(ties):
                found |= ties
        grows = len(found) > before
    return found


def _carries(node: Node) -> bool:
    """Whether a node's output has the factors of its inputs if those have the same, its upper bound aside."""
    return (OPS[node.op].pools and node.activation == "none") or (node.op == "add" and _commutes(node))


def _commutes(node: Node) -> bool:
    """Whether a node's activation gives half for half the input, its upper bound aside."""
    return node.activation == "none" or (node.activation == "clamp" and node.clamp[0] in (0.0, -np.inf))


def _divides(node: Node) -> bool:
    """Whether a node's weights can make up for factors of its input's channels."""
    return (node.op == "depthwise" or node.groups == 1) and not is_table(node)


def _scale(stream: Stream, statistics: dict[str, Statistics], per_channel: bool) -> int:
    factors = _factors(stream, statistics, per_channel)
    for node in stream.makers:
        node.weight = (np.asarray(node.weight, np.float64) * by_channel(node, factors)).astype(np.float32)
        if node.bias is not None:
            node.bias = (node.bias * factors).astype(np.float32)
    for node in stream.readers:  # input channels are the last axis of either kind
        node.weight = (np.asarray(node.weight, np.float64) / factors).astype(np.float32)
    return int((factors != 1).sum())


def _factors(stream: Stream, statistics: dict[str, Statistics], per_channel: bool) -> Float64:
    """What each channel of the stream is multiplied by."""
    bounds = {node.output: node.clamp[1] for node in (*stream.makers, *stream.carriers) if node.activation == "clamp"}
    limits, free, room = {}, np.bool_(True), np.float64(np.inf)
    for name in stream.values:
        seen, bound = statistics[name], ROOM * bounds.get(name, np.inf)
        largest = np.maximum(np.abs(seen.lows), np.abs(seen.highs)) * (1 + DOUBT / np.sqrt(seen.count))
        limits[name] = min(bound, float(largest.max()))  # of a channel: enlarged to it, it leaves the step alone
        free = free & (largest > 0) & (largest < bound)
        room = np.minimum(room, np.divide(limits[name], largest, where=largest > 0, out=np.ones_like(largest)))
    if not per_channel:
        return np.where(free, np.clip(_equal_ranges(stream), 1 / MOST, np.minimum(room, MOST)), 1.0)
    wanted = (
        room if all(node.op == "depthwise" for node in stream.readers) else _least_noise(stream, statistics, limits)
    )
    return np.where(free, np.clip(wanted, 1.0, np.clip(room, 1.0, MOST)), 1.0)


def _least_noise(stream: Stream, statistics: dict[str, Statistics], limits: dict[str, float]) -> Float64:
    """The factor at which rounding the values and rounding the weights that read them add the least noise together.

    Multiplied by f, a channel x that weights w read adds (a |w| / f)^2 + (b f)^2 E[x^2], where a and b are the steps of
    values and weights, which the largest channels decide.
    """
    channels = statistics[stream.values[0]].mean_squares.shape
    values, weights = np.zeros(channels), np.zeros(channels)
    for node in stream.readers:
        weight, name, taps = np.asarray(node.weight, np.float64), node.inputs[0], node.kernel[0] * node.kernel[1]
        axes = (0, 1) if OPS[node.op].keeps_channels else (0, 1, 2)
        values = values + (limits[name] / 255) ** 2 * np.square(weight).sum(axes)
        steps = np.square(weight_scales(node, True))
        noise = steps if OPS[node.op].keeps_channels else steps.sum()
        weights = weights + noise * taps * statistics[name].mean_squares
    ratio: Float64 = np.divide(values, weights, out=np.ones_like(values), where=weights > 0)
    return np.sqrt(np.sqrt(ratio))


def _equal_ranges(stream: Stream) -> Float64:
    """The paper's factors, which make the ranges of weights before and behind equal in every channel."""
    makes = np.max(
        [np.abs(np.asarray(node.weight, np.float64)).max(other_axes(node)) for node in stream.makers], axis=0
    )
    channels = len(makes)
    reads = np.max(
        [np.abs(np.asarray(n.weight, np.float64)).reshape(-1, channels).max(0) for n in stream.readers], axis=0
    )
    usable = (makes > 0) & (reads > 0)
    return np.where(usable, np.sqrt(np.divide(reads, makes, where=usable, out=np.ones_like(makes))), 1.0)
