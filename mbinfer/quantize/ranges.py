"""The type of a value from its histogram: which real range its 256 numbers should cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Recipe, Type
from .observe import SIDE, Histogram

LEVELS = 255  # steps between the least and the largest number of 8 bits
PERCENTILE = 99.99  # of the numbers lie inside the range, a half of the others beyond each end
SHRINKS = 40  # ends that are tried on each side for the least squared error, from the extreme inwards
LEAST_SHARE = 0.1  # of the extreme, the nearest end tried


def minmax(histogram: Histogram) -> tuple[float, float]:
    return histogram.low, histogram.high


def percentile(histogram: Histogram) -> tuple[float, float]:
    """The ends beyond which (100 - PERCENTILE) / 2 percent of the numbers lie on either side."""
    counts = histogram.counts.copy()
    counts[SIDE] += histogram.zeros
    beyond = (100 - PERCENTILE) / 200 * histogram.total
    edges = (np.arange(2 * SIDE + 1) - SIDE) * (histogram.reach / SIDE)
    below = np.concatenate(([0], np.cumsum(counts)))
    low = edges[np.searchsorted(below, beyond, side="right") - 1]
    high = edges[np.searchsorted(below, histogram.total - beyond, side="left")]
    return max(min(float(low), 0.0), histogram.low), min(max(float(high), 0.0), histogram.high)


def mse(histogram: Histogram) -> tuple[float, float]:
    """The ends of least squared error: a step's square over 12 inside, the square of what is cut off outside.

    The search for a clipping threshold over a histogram is that of ACIQ (arXiv 1810.05723) without its assumption of a
    distribution, on either side of zero by itself.
    """
    centers, counts = histogram.centers(), histogram.counts.astype(np.float64)
    shares = np.linspace(LEAST_SHARE, 1, SHRINKS)
    lows = histogram.low * shares if histogram.low < 0 else np.zeros(1)
    highs = histogram.high * shares if histogram.high > 0 else np.zeros(1)
    under = np.array([_cut_off(low - centers, counts) for low in lows])  # count and squared error, for each end
    over = np.array([_cut_off(centers - high, counts) for high in highs])
    steps = (highs[None] - lows[:, None]) / LEVELS
    inside = counts.sum() - under[:, None, 0] - over[None, :, 0]
    error = under[:, None, 1] + over[None, :, 1] + inside * steps**2 / 12
    best = np.unravel_index(int(error.argmin()), error.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def _cut_off(beyond: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """How many numbers lie beyond an end, and the sum of the squares of what they lose there."""
    outside = beyond > 0
    return float(counts[outside].sum()), float((counts[outside] * beyond[outside] ** 2).sum())


METHODS: dict[str, Callable[[Histogram], tuple[float, float]]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}


def type_of(low: float, high: float) -> Type:
    """The uint8 type that covers the range, and zero in any case, which it holds exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / LEVELS)
    if scale < np.finfo(np.float32).tiny:
        return Type("uint8", 1.0, 0)  # nothing but zeros
    return Type("uint8", float(scale), int(np.clip(np.rint(-low / scale), 0, LEVELS)))


def ends_of(kind: Type) -> tuple[float, float]:
    """The least and the largest number that a uint8 type holds."""
    return -kind.zero_point * kind.scale, (LEVELS - kind.zero_point) * kind.scale


def picture_type(recipe: Recipe) -> tuple[Type, Recipe | None]:
    """The type of a picture's input, and the recipe to give it where pixels can become its numbers as they are.

    That is so where every channel has one mean and scale. A mean between two pixel values is rounded, and the readers'
    biases have to take what it lost. Other pictures cover the range that the recipe can give.
    """
    mean, scale = recipe.mean[0], float(np.float32(recipe.scale[0]))
    whole = float(np.rint(mean))
    if recipe.mean == (mean,) * len(recipe.mean) and recipe.scale == (recipe.scale[0],) * len(recipe.scale):
        if scale > 0 and 0 <= whole <= LEVELS:
            exact = Recipe((whole,) * len(recipe.mean), recipe.scale, recipe.color, recipe.crop)
            return Type("uint8", scale, int(whole)), exact
    ends = [(pixel - m) * s for m, s in zip(recipe.mean, recipe.scale) for pixel in (0, LEVELS)]
    return type_of(min(ends), max(ends)), None
