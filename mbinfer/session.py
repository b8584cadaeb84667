"""`Session`: a model loaded, planned and ready to run, and what its plan promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict, Union

import numpy as np
import numpy.typing as npt

from mbinfer.errors import ShapeError
from mbinfer.graph import COLORS, Recipe
from mbinfer.plan import Plan

try:
    from mbinfer import _core
except ImportError as error:  # the source folder shadows an installed package, or nothing was built
    raise ImportError(
        "mbinfer._core, the compiled part of mbinfer, is missing: install the package (`pip install .` in the source"
        " folder), and run Python from another folder or with `--import-mode=importlib` under pytest"
    ) from error

from mbinfer import options

Array = Union[npt.NDArray[np.float32], npt.NDArray[np.uint8], npt.NDArray[np.int8]]
Result = Union[Array, dict[str, Array]]

_FLOAT32 = np.dtype(np.float32)


class StageProfile(TypedDict):
    """What `Session.profile` measures of a stage. bytes: of values read and written and of weights read, each once."""

    stage: str
    kind: str
    seconds: float
    macs: int
    bytes: int


class TensorInfo(NamedTuple):
    """Name, shape (NHWC with the batch dimension for images) and numpy dtype name of an input or output.

    With a scale, its numbers stand for ``(number - zero_point) * scale``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0


class Session:
    """A model, planned and ready to run.

    source: the path of a model file; or a file descriptor, which stays the caller's; or a model file's bytes in memory,
        which are used in place where they are aligned to 64 bytes (do not change them), and otherwise copied.
    threads: 1 to 256, or "all" for the CPUs this process may use; None: the environment's MBINFER_THREADS, else 1.
        Those for which there is no CPU, or whose CPU is taken by other programs, are not waited for. A forked process
        may go on with a session of its parent.
    memory_limit: most bytes of the arena, as a number or "256KiB", or "least" for the smallest plan.
    schedule: "auto", "naive", "layerwise", "fused", "streamed".
    chunks: split every block t ways, as section 5 of the MobileNetV2 paper does; by default the planner chooses.
    recompute: whether a streamed plan may make expanded rows again to save memory. False: no multiply-add is done
        twice; 0.05: at most 5 % of the network's are.
    verify: also checksum the weights, which reads them all.
    copy: hold the weights in private memory. Without it a file is mapped: install new models by renaming them over the
        old one, as `convert` does, which open sessions do not notice. A run after the file was cut or overwritten in
        place raises FormatError; one that is under way then may be killed by the system (SIGBUS).
    plan_only: tell `plan` and take neither the arena nor threads; such a session cannot run.
    The environment variable MBINFER_ISA names the kernels to use ("reference", "avx2",
    "avxvnni", "avx512", "avx512vnni", "neon", "neon-dotprod").

    Raises OSError (FileNotFoundError and so on, with errno and filename), FormatError, UnsupportedError,
    MemoryLimitError (says the least that would do), ArgumentError, TypeError where source is none of the above.
    """

    def __init__(
        self,
        source: options.Source,
        threads: options.Threads = None,
        memory_limit: int | str | None = None,
        schedule: str = "auto",
        chunks: int | None = None,
        recompute: bool | float = True,
        verify: bool = False,
        copy: bool = False,
        plan_only: bool = False,
    ) -> None:
        count = options.thread_count(threads)
        schedule = options.schedule_name(schedule)
        split = options.chunk_count(chunks)
        limit, least = options.memory_limit(memory_limit)
        self._core = _core.Session(
            options.model_source(source),
            count,
            limit,
            least,
            schedule,
            split,
            options.recompute_share(recompute),
            options.isa_name(),
            options.flag("verify", verify),
            options.flag("copy", copy),
            options.flag("plan_only", plan_only),
        )
        model = self._core.model()
        self._recipes: list[Recipe | None] = [
            Recipe(tuple(r[0]), tuple(r[1]), COLORS[r[2]], r[3]) if r else None for *_, r in model["inputs"]
        ]
        self.inputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(name, tuple(shape), dtype.name, scale, zero)
            for name, shape, dtype, scale, zero, _ in model["inputs"]
        )
        self._dtypes = [dtype for _, _, dtype, *_ in model["inputs"]]  # compared on every run
        self.outputs: tuple[TensorInfo, ...] = tuple(
            TensorInfo(name, tuple(shape), dtype.name, scale, zero)
            for name, shape, dtype, scale, zero in model["outputs"]
        )
        self.labels: tuple[str, ...] = tuple(model["labels"])
        self.metadata: dict[str, str] = dict(model["metadata"])
        self.recipe: Recipe | None = self._recipes[0]
        self.isa: str = model["isa"]
        self.threads: int = model["threads"]
        self.plan: Plan = self._core.plan()

    def run(self, *arrays: Array, **named: Array) -> Result:
        """Runs the network once.

        Each input is an (H, W, C) or (1, H, W, C) array: float32, already normalised, or of the dtype that `inputs`
        says: uint8, normalised by the recipe in the file as ``(u8 - mean) * scale``, or quantised numbers. Several
        inputs go by position or by name. Returns a fresh array for a single output, of the dtype that `outputs` says,
        otherwise a dict by output name. ShapeError names what does not fit.
        """
        return self._run(arrays, named, None)

    def run_rows(self, rows: Iterable[Array]) -> Result:
        """Runs the network once on the rows of an image as they arrive, from a camera or a decoder.

        rows: an iterable of the model's height (W, C) arrays, all of one of the dtypes that `run` takes. Only the rows
        that the first segment needs at once (`plan.input_rows`) are held. Returns what `run` returns. ShapeError for
        too few, too many or misshaped rows; an error of the iterable is passed on.
        """
        if len(self.inputs) != 1:
            raise ShapeError(f"run_rows takes the rows of one input; the model has {len(self.inputs)}")
        info = self.inputs[0]
        _, height, width, channels = info.shape
        arriving = options.iterator("rows", rows, "arrays, of a row each")
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
            if index == height - 1 and next(arriving, None) is not None:  # before the run ends, and changes states
                raise ShapeError(f"input {info.name!r}: more rows than the {height} that the model takes")
            return np.ascontiguousarray(array, dtype)

        dtype = self._dtypes[0]
        if isinstance(first, np.ndarray) and first.dtype in (np.uint8, _FLOAT32):
            dtype = first.dtype
        return self._named(self._core.run_rows(dtype, row))

    def reset(self) -> None:
        """Makes the states of the model what they were when the session was opened, as another stream begins.

        A model with states goes on with each run from where the one before left them. A run that raises leaves them as
        it found them. Without states there is nothing to do.
        """
        self._core.reset()

    def profile(self, *arrays: Array, **named: Array) -> list[StageProfile]:
        """Runs once and returns what each stage took: a dict of stage, kind, seconds, macs and bytes.

        It is a run like any other: states go on with it.
        """
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
        checked = [self._check(info, dtype, a) for info, dtype, a in zip(self.inputs, self._dtypes, arrays)]
        return self._named(self._core.run(checked, seconds))

    def _in_order(self, arrays: Sequence[Array], named: Mapping[str, Array]) -> list[Array]:
        names = [info.name for info in self.inputs]
        if not named:
            raise ShapeError(f"the model takes {len(names)} input(s) ({', '.join(names)}), got {len(arrays)}")
        if arrays or sorted(named) != sorted(names):
            raise ShapeError(f"inputs are {', '.join(names)}; got {len(arrays)} by position and {', '.join(named)}")
        return [named[name] for name in names]

    def _named(self, results: list[Array]) -> Result:
        if len(results) == 1:
            return results[0]
        return {info.name: result for info, result in zip(self.outputs, results)}

    @staticmethod
    def _check(info: TensorInfo, dtype: np.dtype[Any], array: object) -> Array:
        if not isinstance(array, np.ndarray):
            raise ShapeError(f"input {info.name!r}: give a numpy array, not {type(array).__name__}")
        if array.dtype != dtype and array.dtype != _FLOAT32:
            if array.dtype != np.uint8 or dtype != _FLOAT32:
                own = "" if dtype == _FLOAT32 else f" or {dtype}"
                raise ShapeError(f"input {info.name!r}: dtype is {array.dtype}, give float32 (normalised){own}")
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
