"""A small MobileNetV2 that reads pictures, and pictures for it."""

from __future__ import annotations

import numpy as np

from mbinfer import zoo
from mbinfer.graph import Graph, Recipe

SIZE = 48
RECIPE = Recipe((103.5, 116.25, 123.675), (0.017, 0.0175, 0.01742919))


def small_network() -> Graph:
    graph = zoo.mobilenet_v2(width=0.35, resolution=SIZE, classes=10, seed=0)
    graph.inputs = dict.fromkeys(graph.inputs, RECIPE)
    return graph


def picture(seed: int = 0, shape: tuple[int, ...] = (SIZE, SIZE, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def normalise(image: np.ndarray, recipe: Recipe = RECIPE) -> np.ndarray:
    """What `recipe` makes of a uint8 image, as float32."""
    return (image.astype(np.float32) - np.float32(recipe.mean)) * np.float32(recipe.scale)
