"""`Session`: a model loaded, planned and ready to run, and what its plan promises."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Union

import numpy as np
import numpy.typing as npt

from mbinfer.errors import ArgumentError, ShapeError
from mbinfer.graph import COLORS, Recipe
from mbinfer.plan import Plan

try:
    from mbinfer import _core
except ImportError as error:  # the source folder shadows an installed package, or nothing was built
    raise ImportError(
        "mbinfer._core, the compiled part of mbinfer, is missing: install the package (`pip install .` in the source"
        " folder), and run Python from another folder or with `--import-mode=importlib` under pytest"
    ) from error

if TYPE_CHECKING:
    from types import EllipsisType

Array = Union[npt.NDArray[np.float32], npt.NDArray[np.uint8]]
Result = Union[npt.NDArray[np.float32], dict[str, npt.NDArray[np.float32]]]

_DTYPES = (
    np.dtype(np.float32),
    np.dtype(np.uint8),
)  # of inputs; compared on every run, where types would be converted first
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


class StageProfile(TypedDict):
    """What `Session.profile` measures of a stage. bytes: of values read and written and of weights read, each once."""

    stage: str
    kind: str
    seconds: float
    macs: int
    bytes: int


class TensorInfo(NamedTuple):
    """Name, shape (NHWC with the batch dimension for images) and numpy dtype name of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def parse_bytes(limit: int | str) -> int:
    """Bytes of ``262144``, ``"262144"``, ``"256KiB"`` or ``"0.25MB"``; ArgumentError otherwise."""
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool) and limit >= 0:
        return int(limit)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", limit) if isinstance(limit, str) else None
    if not match or match[2].lower() not in _UNITS:
        raise ArgumentError(f"memory limit {limit!r}: give bytes, a size such as '256KiB', or 'least'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _whole(name: str, number: object, most: int) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= most:
        raise ArgumentError(f"{name}={number!r}: give a whole number from 1 to {most}")
    return int(number)


class Session:
    """A model file, mapped, planned and ready to run.

    path: a model file. threads: 1 or more (None: the CPUs this process may use; default MBINFER_THREADS, else 1).
    memory_limit: most bytes of the arena, as a number or "256KiB", or "least" for the smallest plan.
    schedule: "auto", "naive", "layerwise", "fused", "streamed". chunks: split every block t ways, as section 5 of the
    MobileNetV2 paper does; by default the planner chooses. recompute: whether a streamed plan may make expanded rows
    again to save memory; False: no multiply-add is done twice. verify: also checksum the weights (reads them all).
    The environment variable MBINFER_ISA names the kernels to use ("reference", "avx2", "neon").

    Raises OSError (no such file), FormatError, UnsupportedError, MemoryLimitError (says the least that would do),
    ArgumentError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int | EllipsisType | None = ...,
        memory_limit: int | str | None = None,
        schedule: str = "auto",
        chunks: int | None = None,
        recompute: bool = True,
        verify: bool = False,
    ) -> None:
        if threads is ...:
            given = os.environ.get("MBINFER_THREADS", "1")
            threads = _whole("MBINFER_THREADS", int(given) if given.isdecimal() else given, _core.MAX_THREADS)
        elif threads is None:
            threads = len(os.sched_getaffinity(0))
        least = memory_limit == "least"
        self._core = _core.Session(
            os.fspath(path),
            _whole("threads", threads, _core.MAX_THREADS),
            -1 if memory_limit is None or least else parse_bytes(memory_limit),
            least,
            schedule if isinstance(schedule, str) else repr(schedule),
            0 if chunks is None else _whole("chunks", chunks, _core.MAX_CHUNKS),
            bool(recompute),
            os.environ.get("MBINFER_ISA", ""),
            bool(verify),
        )
        model = self._core.model()
        self._recipes: list[Recipe | None] = [
            Recipe(tuple(r[0]), tuple(r[1]), COLORS[r[2]], r[3]) if r else None for _, _, r in model["inputs"]
        ]
        self.inputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(name, tuple(shape), "uint8" if recipe else "float32")
            for (name, shape, _), recipe in zip(model["inputs"], self._recipes)
        )
        self.outputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(name, tuple(shape), "float32") for name, shape in model["outputs"]
        )
        self.labels: tuple[str, ...] = tuple(model["labels"])
        self.metadata: dict[str, str] = dict(model["metadata"])
        self.recipe: Recipe | None = self._recipes[0]
        self.isa: str = model["isa"]
        self.threads: int = model["threads"]
        self.plan: Plan = self._core.plan()

    def run(self, *arrays: Array, **named: Array) -> Result:
        """Runs the network once.

        Each input is an (H, W, C) or (1, H, W, C) array: float32, already normalised, or uint8, normalised by the
        recipe in the file as ``(u8 - mean) * scale``. Several inputs go by position or by name. Returns a fresh float32
        array for a single output, otherwise a dict by output name. ShapeError names what does not fit.
        """
        return self._run(arrays, named, None)

    def run_rows(self, rows: Iterable[Array]) -> Result:
        """Runs the network once on the rows of an image as they arrive, from a camera or a decoder.

        rows: an iterable of the model's height (W, C) arrays, all uint8 or all float32 as in `run`. Only the rows that
        the first segment needs at once (`plan.input_rows`) are held. Returns what `run` returns. ShapeError for too
        few, too many or misshaped rows; an error of the iterable is passed on.
        """
        if len(self.inputs) != 1:
            raise ShapeError(f"run_rows takes the rows of one input; the model has {len(self.inputs)}")
        info = self.inputs[0]
        _, height, width, channels = info.shape
        arriving = iter(rows)
        first = next(arriving, None)

        def row(index: int) -> Array:
            array = first if index == 0 else next(arriving, None)
            if array is None:
                raise ShapeError(f"input {info.name!r}: the rows end after {index}, the model takes {height}")
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != (width, channels):
                got = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                raise ShapeError(
                    f"input {info.name!r}: row {index} is {got}, it should be ({width}, {channels}) {dtype}"
                )
            return np.ascontiguousarray(array, dtype)

        dtype = (
            first.dtype
            if isinstance(first, np.ndarray) and first.dtype in (np.uint8, np.float32)
            else np.dtype(info.dtype)
        )
        results = self._core.run_rows(dtype == np.uint8, row)
        if next(arriving, None) is not None:
            raise ShapeError(f"input {info.name!r}: more rows than the {height} that the model takes")
        return self._named(results)

    def profile(self, *arrays: Array, **named: Array) -> list[StageProfile]:
        """Runs once and returns what each stage took: a dict of stage, kind, seconds, macs and bytes."""
        seconds: list[float] = []
        self._run(arrays, named, seconds)
        stages = [stage for segment in self.plan.segments for stage in segment.stages]
        return [
            StageProfile(stage=s.name, kind=s.kind, seconds=t, macs=s.macs + s.extra_macs, bytes=s.bytes)
            for s, t in zip(stages, seconds)
        ]

    def _run(self, arrays: Sequence[Array], named: Mapping[str, Array], seconds: list[float] | None) -> Result:
        if named or len(arrays) != len(self.inputs):
            arrays = self._in_order(arrays, named)
        checked = [self._check(info, recipe, a) for info, recipe, a in zip(self.inputs, self._recipes, arrays)]
        return self._named(self._core.run(checked, seconds))

    def _in_order(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> list[Array]:
        names = [info.name for info in self.inputs]
        if not named:
            raise ShapeError(f"the model takes {len(names)} input(s) ({', '.join(names)}), got {len(arrays)}")
        if arrays or sorted(named) != sorted(names):
            raise ShapeError(f"inputs are {', '.join(names)}; got {len(arrays)} by position and {', '.join(named)}")
        return [named[name] for name in names]

    def _named(self, results: list[npt.NDArray[np.float32]]) -> Result:
        if len(results) == 1:
            return results[0]
        return {info.name: result for info, result in zip(self.outputs, results)}

    @staticmethod
    def _check(info: TensorInfo, recipe: Recipe | None, array: object) -> Array:
        if not isinstance(array, np.ndarray):
            raise ShapeError(f"input {info.name!r}: give a numpy array, not {type(array).__name__}")
        if array.dtype not in _DTYPES:
            raise ShapeError(f"input {info.name!r}: dtype is {array.dtype}, give float32 (normalised) or uint8")
        if recipe is None and array.dtype == _DTYPES[1]:
            raise ShapeError(
                f"input {info.name!r} is uint8, but the model has no recipe to normalise it: convert it with mean= and"
                " scale=, or give a normalised float32 array"
            )
        if array.shape not in (info.shape, info.shape[1:]):
            height, width, channels = info.shape[1:]
            hint = ""
            if array.shape in ((channels, height, width), (1, channels, height, width)):
                hint = "; this looks like NCHW, transpose it to NHWC"
            raise ShapeError(
                f"input {info.name!r}: shape is {array.shape}, the model takes {info.shape[1:]} (NHWC){hint}"
            )
        return np.ascontiguousarray(array)
