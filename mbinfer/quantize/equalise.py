"""Cross-layer equalisation: channels between two convolutions are scaled so that each makes good use of 8 bits.

A convolution's output channel may be divided by any positive number, if what reads it multiplies by it (arXiv
1906.04721, section 4.1). All channels of a value share one step, so a channel that stays small loses most of its 8 bits
without it. ReLU commutes with a positive factor. ReLU6 does not, and is not replaced by ReLU here: a channel that comes
near the upper bound on the calibration samples keeps its scale, and any other is enlarged at most until it would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Node
from ..ops import OPS
from .observe import Statistics
from .tables import is_table
from .weights import Float64, by_channel, other_axes, weight_scales

ROOM = 0.8  # of an upper bound: a channel that was seen above this share may meet the bound on other samples
DOUBT = 10.0  # over the root of how many numbers of a channel were seen: what is added to the largest one, as a share
MOST = 100.0  # times that a channel is enlarged or made smaller


@dataclass
class Pair:
    """Two nodes with weights between which channels can be scaled: values on the way, in order, and their pools."""

    first: Node
    values: list[str]
    second: Node


def equalise(graph: Graph, statistics: dict[str, Statistics], per_channel: bool = True) -> int:
    """Scale the weights and biases of `graph` in place; returns how many channels were. The network computes the same.

    `statistics` are those of the graph as it was; it has to be observed again.
    """
    return sum(_scale(pair, statistics, per_channel) for pair in pairs(graph))


def pairs(graph: Graph) -> list[Pair]:
    """Convolutions with nothing but pools between them, whose values nobody else reads."""
    readers: dict[str, list[Node]] = {name: [] for name in graph.values}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name].append(node)
    outputs = {output.value for output in graph.outputs}
    found = []
    for first in graph.nodes:
        if not OPS[first.op].weights or not _commutes(first):
            continue
        values = [first.output]
        while len(readers[values[-1]]) == 1 and values[-1] not in outputs:
            second = readers[values[-1]][0]
            if OPS[second.op].weights:
                if (second.op == "depthwise" or second.groups == 1) and not is_table(second):
                    found.append(Pair(first, values, second))
                break
            if not OPS[second.op].pools or second.activation != "none":
                break
            values.append(second.output)
    return found


def _commutes(node: Node) -> bool:
    """Whether a node's activation gives half for half the input, its upper bound aside."""
    return node.activation == "none" or (node.activation == "clamp" and node.clamp[0] in (0.0, -np.inf))


def _scale(pair: Pair, statistics: dict[str, Statistics], per_channel: bool) -> int:
    factors = _factors(pair, statistics, per_channel)
    first, second = pair.first, pair.second
    first.weight = (np.asarray(first.weight, np.float64) * by_channel(first, factors)).astype(np.float32)
    if first.bias is not None:
        first.bias = (first.bias * factors).astype(np.float32)
    second.weight = (np.asarray(second.weight, np.float64) / factors).astype(
        np.float32
    )  # input channels are the last axis of either kind
    return int((factors != 1).sum())


def _factors(pair: Pair, statistics: dict[str, Statistics], per_channel: bool) -> Float64:
    """What each channel between the two nodes is multiplied by."""
    seen = statistics[pair.first.output]
    bound = pair.first.clamp[1] if pair.first.activation == "clamp" else np.inf
    largest = np.maximum(np.abs(seen.lows), np.abs(seen.highs)) * (1 + DOUBT / np.sqrt(seen.count))
    free = (largest > 0) & (largest < ROOM * bound)
    limit = min(ROOM * bound, float(largest.max()))  # of a channel: enlarged to it, it leaves the value's step alone
    room = np.divide(limit, largest, where=free, out=np.ones_like(largest))
    if not per_channel:
        return np.where(free, np.clip(_equal_ranges(pair), 1 / MOST, np.minimum(room, MOST)), 1.0)
    wanted = room if pair.second.op == "depthwise" else _least_noise(pair, statistics, limit)
    return np.where(free, np.clip(wanted, 1.0, np.clip(room, 1.0, MOST)), 1.0)


def _least_noise(pair: Pair, statistics: dict[str, Statistics], limit: float) -> Float64:
    """The factor at which rounding the values and rounding the weights that read them add the least noise together.

    Multiplied by f, a channel x that weights w read adds (a |w| / f)^2 + (b f)^2 E[x^2], where a and b are the steps of
    values and weights, which the largest channels decide.
    """
    weight, seen = np.asarray(pair.second.weight, np.float64), statistics[pair.values[-1]]
    values = (limit / 255) ** 2 * np.square(weight).sum((0, 1, 2))
    taps = pair.second.kernel[0] * pair.second.kernel[1]
    weights = np.square(weight_scales(pair.second, True)).sum() * taps * seen.mean_squares
    ratio: Float64 = np.divide(values, weights, out=np.ones_like(values), where=weights > 0)
    return np.sqrt(np.sqrt(ratio))


def _equal_ranges(pair: Pair) -> Float64:
    """The paper's factors, which make the ranges of both nodes' weights equal in every channel."""
    makes = np.abs(np.asarray(pair.first.weight, np.float64)).max(other_axes(pair.first))
    reads = np.abs(np.asarray(pair.second.weight, np.float64)).reshape(-1, len(makes)).max(0)
    usable = (makes > 0) & (reads > 0)
    return np.where(usable, np.sqrt(np.divide(reads, makes, where=usable, out=np.ones_like(makes))), 1.0)
