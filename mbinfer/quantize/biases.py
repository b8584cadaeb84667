"""Biases take back what quantisation does to means: by the weights they stand beside, and by all that ran before.

The empirical correction of arXiv 1906.04721 (appendix D), one convolution after the other: when its turn comes, all
that runs before it is quantised and corrected already, so that the bytes that it will read are known. Other than in the
paper, of what the bytes lose the median of the samples is taken back and not the mean. A picture on which a channel
leaves its range loses far more than others, and a bias that made up for it would shift them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..graph import Graph, Node
from .observe import Statistics, runner
from .report import real_numbers
from .samples import Array, Float64, Samples, quantised
from .weights import mean_shift


class Biases:
    """What biases have to take back on the samples; `statistics` are those of the float32 network on them."""

    def __init__(self, statistics: dict[str, Statistics], samples: Samples) -> None:
        self._statistics = statistics
        self._samples: list[list[Array]] = list(samples[:: samples.spread])
        self._found: dict[str, list[Float64]] = {}

    def lost(self, node: Node, made: Graph, name: str, weight: Float64) -> Float64:
        """What each channel of `node` loses when it reads `name`, a value of `made`, with `weight` for its own.

        made: the quantised graph as far as it goes before `node`.
        """
        found = self._means(made, name)
        # An input is what it is: rounding its numbers is no error of a mean.
        exact = found if node.inputs[0] in made.inputs else self._statistics[node.inputs[0]].sample_means
        own = np.asarray(node.weight, np.float64)
        by_weights = mean_shift(node, own - weight, np.mean(exact, 0))
        by_values = np.median([mean_shift(node, weight, a - b) for a, b in zip(exact, found)], 0)
        lost: Float64 = by_weights + by_values
        return lost

    def _means(self, made: Graph, name: str) -> list[Float64]:
        """The means of the channels of a value of `made`, for each sample."""
        if name not in self._found:
            values = (real_numbers(array, made.types.get(name)) for array in self._values(made, name))
            self._found[name] = [array.mean(tuple(range(array.ndim - 1)), np.float64) for array in values]
        return self._found[name]

    def _values(self, made: Graph, name: str) -> Iterator[Array]:
        if name in made.inputs:  # a state, which is bytes already
            index = list(made.inputs).index(name)
            return (_taken(made, arrays)[index] for arrays in self._samples)
        run = runner(made, [name])
        return (run(_taken(made, arrays))[name] for arrays in self._samples)


def _taken(made: Graph, arrays: list[Array]) -> list[Array]:
    """A sample's arrays as `made` takes them: states may be bytes there."""
    return [
        quantised(array, made.types[name]) if name in made.types else array for name, array in zip(made.inputs, arrays)
    ]
