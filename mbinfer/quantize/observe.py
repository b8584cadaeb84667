"""What the float32 network's values are like on the calibration samples: histograms, and moments of each channel.

The network runs in mbinfer itself with its values as outputs, one sample after the other, so that the activations of
one sample are all that is held.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import Error
from ..graph import Graph, Output
from ..model import encode
from ..progress import progress
from .samples import Array, Samples, normalised

SIDE = 4096  # bins of a histogram below zero, and as many above
PIXELS = 1024  # of a sample whose numbers are counted
GROUP_BYTES = 48 << 20  # of values that one run gives back


class Histogram:
    """Counts of numbers over ``[-reach, reach)``; the reach doubles, and pairs of bins merge, when a number needs it.

    Exact zeros, of which a ReLU makes many, are counted by themselves: every type with a zero point holds them exactly.
    """

    def __init__(self) -> None:
        self.reach, self.zeros = 0.0, 0
        self.low, self.high = 0.0, 0.0  # the exact extremes; zero is always in the range
        self.counts = np.zeros(2 * SIDE, np.int64)

    def add(self, numbers: npt.NDArray[np.float32]) -> None:
        low, high = float(numbers.min()), float(numbers.max())
        self.widen(low, high)
        largest = max(-low, high)
        if self.reach == 0.0 and largest > 0.0:
            self.reach = float(2.0 ** np.ceil(np.log2(largest)))
        while largest > self.reach:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts[:] = 0
            self.counts[SIDE // 2 : SIDE // 2 + SIDE] = merged
            self.reach *= 2
        nonzero = numbers[numbers != 0]
        self.zeros += numbers.size - nonzero.size
        if nonzero.size:
            bins = np.floor(nonzero * np.float32(SIDE / self.reach)).astype(np.int32) + SIDE  # exact: powers of two
            self.counts += np.bincount(np.clip(bins, 0, 2 * SIDE - 1), minlength=2 * SIDE)

    def widen(self, low: float, high: float) -> None:
        """Take note of extremes, of numbers that are counted or not."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    @property
    def total(self) -> int:
        return self.zeros + int(self.counts.sum())

    def share_outside(self, low: float, high: float) -> float:
        """The share of the numbers that lie below `low` or above `high`, to a bin."""
        centers = self.centers()
        return float(self.counts[(centers < low) | (centers > high)].sum() / max(self.total, 1))

    def centers(self) -> npt.NDArray[np.float64]:
        return np.linspace(0.5 - SIDE, SIDE - 0.5, 2 * SIDE) * (self.reach / SIDE)


class Statistics:
    """Of one value: a histogram, and mean square, extremes and the samples' means of each channel.

    Histogram and mean squares are of some pixels that are spread over each sample, the others of all.
    """

    def __init__(self, channels: int) -> None:
        self.histogram = Histogram()
        self.count = 0  # numbers of a channel
        self._squares = np.zeros(channels)
        self.sample_means: list[npt.NDArray[np.float64]] = []  # of the samples that are compared
        self.lows, self.highs = np.full(channels, np.inf), np.full(channels, -np.inf)

    def add(self, array: npt.NDArray[np.float32], compared: bool) -> None:
        rows = array.reshape(-1, len(self._squares))
        if compared:
            self.sample_means.append(rows.mean(0, dtype=np.float64))
        self.lows, self.highs = np.minimum(self.lows, rows.min(0)), np.maximum(self.highs, rows.max(0))
        rows = rows[self.count % max(len(rows) // PIXELS, 1) :: max(len(rows) // PIXELS, 1)]
        self.histogram.add(rows.ravel())
        self.histogram.widen(float(self.lows.min()), float(self.highs.max()))
        self.count += len(rows)
        self._squares += np.einsum("rc,rc->c", rows, rows, dtype=np.float64)

    @property
    def mean_squares(self) -> npt.NDArray[np.float64]:
        return self._squares / self.count


def observe(graph: Graph, samples: Samples, label: str = "calibrating") -> dict[str, Statistics]:
    """The statistics of every value of the float32 `graph` over the samples. `Error` where one is not finite."""
    found = {name: Statistics(dims[2]) for name, dims in graph.values.items()}
    for index, values in enumerate(progress_values(graph, samples, label)):
        for name, array in values:
            if not np.isfinite(array).all():
                raise Error(f"value '{name}' is not finite on a calibration sample, so it has no range")
            found[name].add(array, index % samples.spread == 0)
    return found


def progress_values(graph: Graph, samples: Samples, label: str) -> Iterator[Iterator[tuple[str, Array]]]:
    """For each sample an iterator over all values of `graph`, inputs included, a group of them held at a time."""
    runs = [runner(graph, names) for names in groups(graph, [node.output for node in graph.nodes])]

    def values(arrays: list[Array]) -> Iterator[tuple[str, Array]]:
        for name, array in zip(graph.inputs, arrays):
            yield name, normalised(graph, name, array)
        for run in runs:
            yield from run(arrays).items()

    for index in progress(range(len(samples)), lambda index: f"{label}, sample {index + 1}"):
        yield values(samples[index])


def runner(graph: Graph, names: Sequence[str]) -> Callable[[list[Array]], dict[str, Array]]:
    """A function that runs `graph` on an array for each of its inputs, and returns the values `names`."""
    from ..session import Session

    part = _part_for(graph, names)
    session = Session(encode(part))
    taken = [index for index, name in enumerate(graph.inputs) if name in part.inputs]

    def run(arrays: list[Array]) -> dict[str, Array]:
        result = session.run(*(arrays[index] for index in taken))
        return result if isinstance(result, dict) else {names[0]: result}

    return run


def _part_for(graph: Graph, names: Sequence[str]) -> Graph:
    """What the values `names` and the states depend on of `graph`, with these as its outputs."""
    needed, nodes = {*names, *graph.states, *(state.next for state in graph.states.values())}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    return dataclasses.replace(
        graph,
        nodes=nodes[::-1],
        values={name: dims for name, dims in graph.values.items() if name in needed},
        types={name: kind for name, kind in graph.types.items() if name in needed},
        inputs={name: recipe for name, recipe in graph.inputs.items() if name in needed},
        outputs=[Output(name, name, (1, *graph.values[name])) for name in names],
        labels=[],
    )


def groups(graph: Graph, names: Sequence[str]) -> list[list[str]]:
    """The values `names` in groups that are not too large to be held at once."""
    found: list[list[str]] = []
    held = GROUP_BYTES
    for name in names:
        size = 4 * math.prod(graph.values[name])
        if held + size > GROUP_BYTES:
            found.append([])
            held = 0
        found[-1].append(name)
        held += size
    return found
