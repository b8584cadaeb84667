"""The pictures or arrays that calibration runs the network on, from whatever the caller has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, ShapeError
from ..graph import Graph, Type
from ..image import load

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Calibration = Union[str, "os.PathLike[str]", Array, Iterable[Any]]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
COMPARED = 64  # samples at most whose means are compared, convolution by convolution
WANTED = (
    "give a folder of pictures, or an iterable of picture paths, of arrays (height, width, channels), uint8 by the "
    "recipe or float32, or of dicts of arrays by input name"
)


class Samples(Sequence[list[Array]]):
    """What the network is run on: sample i is a list of one array for each input, pictures being read when asked for.

    An iterable is read once, and its arrays are kept; of a folder only the names are.
    """

    def __init__(self, graph: Graph, calibration: Calibration):
        self.graph = graph
        self.items: list[Any] = list(_items(calibration))
        if not self.items:
            raise ArgumentError(f"calibration has no picture and no array; {WANTED}")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = object.__new__(Samples)
            part.graph, part.items = self.graph, self.items[index]
            return part
        return self._arrays(self.items[index], f"calibration sample {index}")

    @property
    def spread(self) -> int:
        """One sample of so many is compared where all would take too long."""
        return -(-len(self) // COMPARED)

    def __iter__(self) -> Iterator[list[Array]]:
        return (self[i] for i in range(len(self)))

    def _arrays(self, item: Any, where: str) -> list[Array]:
        names = list(self.graph.inputs)
        if isinstance(item, Mapping):
            if sorted(item) != sorted(names):
                raise ShapeError(f"{where} is for {', '.join(map(str, item))}; the inputs are {', '.join(names)}")
            return [self._checked(name, item[name], where) for name in names]
        if len(names) != 1:
            raise ShapeError(f"{where}: the model has the inputs {', '.join(names)}; give dicts of arrays by name")
        if isinstance(item, (str, os.PathLike)):
            height, width, _ = self.graph.values[names[0]]
            return [load(item, self.graph.inputs[names[0]], height, width)]
        return [self._checked(names[0], item, where)]

    def _checked(self, name: str, array: Any, where: str) -> Array:
        if not isinstance(array, np.ndarray):
            raise ArgumentError(f"{where} is of type {type(array).__name__}; {WANTED}")
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype == np.uint8 and self.graph.inputs[name] is None:
            raise ArgumentError(f"{where} is uint8, and the model has no recipe; give mean= and scale=, or float32")
        if array.dtype not in (np.uint8, np.float32):
            raise ArgumentError(f"{where} is {array.dtype}; uint8 and float32 are taken")
        shape = self.graph.values[name]
        if array.shape not in (shape, (1, *shape)):
            raise ShapeError(f"{where} has shape {array.shape}; input '{name}' takes {shape}")
        return np.ascontiguousarray(array)


def normalised(graph: Graph, name: str, array: Array) -> npt.NDArray[np.float32]:
    """What the network takes: a uint8 picture by the recipe of the input, a float32 array as it is."""
    recipe = graph.inputs[name]
    if array.dtype != np.uint8 or recipe is None:
        return array
    mean, scale = np.asarray(recipe.mean, np.float32), np.asarray(recipe.scale, np.float32)
    real: npt.NDArray[np.float32] = (array.astype(np.float32) - mean) * scale
    return real


def quantised(array: Array, kind: Type) -> Array:
    """The numbers of the uint8 type `kind` that are nearest to those of `array`."""
    steps = np.rint(array / np.float32(kind.scale)) + kind.zero_point
    found: Array = np.clip(steps, 0, 255).astype(np.uint8)
    return found


def _items(calibration: Calibration) -> Iterable[Any]:
    if isinstance(calibration, (str, os.PathLike)):
        folder = os.fspath(calibration)
        if not os.path.isdir(folder):
            raise ArgumentError(f"calibration folder {folder!r}: there is no such folder; {WANTED}")
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(PICTURES))
        if not names:
            raise ArgumentError(f"calibration folder {folder!r} has no picture ({', '.join(PICTURES)})")
        return [os.path.join(folder, name) for name in names]
    if isinstance(calibration, np.ndarray) and calibration.ndim != 4:
        raise ArgumentError(
            f"calibration array of shape {calibration.shape}; (count, height, width, channels) is taken"
        )
    if isinstance(calibration, (bytes, Mapping)) or not isinstance(calibration, Iterable):
        raise ArgumentError(f"calibration of type {type(calibration).__name__}; {WANTED}")
    return calibration
