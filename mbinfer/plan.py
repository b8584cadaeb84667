"""What a session's plan says of itself: its costs, its segments and stages, and which bytes of the arena hold what.

csrc/plan/describe.h says the same in C++, and fills these classes by the names of their fields.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbinfer import _core


@dataclass(frozen=True)
class Pass:
    """What threads do between two times that they wait for one another: each makes its piece by one operator after the
    other. axis: of what the last one makes, that they cut: rows, pixels, or panels (of 8 channels)."""

    operators: tuple[str, ...]
    axis: str


@dataclass(frozen=True)
class Stage:
    """A node, or a group of nodes fused into one operator.

    kind: bottleneck, head, conv, dense, convert, or the operator of its only node. nodes: in the order in which they
    run.
    inputs: what it filters, then what it adds. rows: output rows of a strip; step: of those, made at a time.
    chunk: channels of the expanded tensor held at a time, 0 where it has none; chunks: how many of them.
    keep: expanded rows stay from strip to strip; a pool of the whole map takes rows as they are made.
    ring_rows: rows of the output in the arena at once.
    macs, extra_macs: multiply-adds of the network, and what recomputation adds. scratch_bytes: of its own buffers.
    bytes: of values read and written and of weights read, each once.
    passes: what its threads do, if there are several.
    why: why the nodes around it are not part of it, where there is something to say.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str
    output_shape: tuple[int, int, int]
    rows: int
    step: int
    chunk: int
    chunks: int
    keep: bool
    ring_rows: int
    macs: int
    extra_macs: int
    scratch_bytes: int
    bytes: int
    passes: tuple[Pass, ...]
    why: str


@dataclass(frozen=True)
class Segment:
    """Stages that run depth-first, row by row; the output of the last one is a whole value."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Buffer:
    """Bytes ``[offset, offset + bytes)`` of the arena, in use from segment `first` to segment `last`, both included.

    kind: value (whole), ring (a few rows of a value), expanded (kept rows of a stage's expanded tensor), scratch.
    name: of the value, of the stage, or for scratch of its segment's last stage. rows: 0 for scratch.
    """

    name: str
    kind: str
    offset: int
    bytes: int
    rows: int
    first: int
    last: int


@dataclass(frozen=True)
class TimelineStep:
    """The arena while one segment runs, which goes by the `name` of its last stage.

    live_bytes: of all its buffers, where an output and the input that it slides over count twice.
    top_bytes: where the highest buffer ends.
    """

    segment: int
    name: str
    buffers: tuple[Buffer, ...]
    live_bytes: int
    top_bytes: int


@dataclass(frozen=True)
class TracedValue:
    """A value in the arena while a segment runs: row ``r`` of it lies at ``offset + r % rows * row_bytes``."""

    name: str
    offset: int
    rows: int
    row_bytes: int
    height: int


@dataclass(frozen=True)
class LiveRows:
    """Rows ``[first, end)`` of a value."""

    value: str
    first: int
    end: int


@dataclass(frozen=True)
class TraceStep:
    """A stage makes rows ``[first, end)`` of its output, while the rows `live` are still needed."""

    stage: str
    first: int
    end: int
    live: tuple[LiveRows, ...]


@dataclass(frozen=True)
class Trace:
    """A segment step by step, and the values in the arena that it reads or makes."""

    values: tuple[TracedValue, ...]
    steps: tuple[TraceStep, ...]


@dataclass(frozen=True, repr=False)
class Plan:
    """What the session will do and the memory that it takes. All sizes in bytes.

    schedule, isa, threads: as chosen.
    peak_bytes: the arena, the one block that holds everything that `run` makes; nothing else is allocated.
    input_bytes: what the caller holds (the uint8 picture where the model has a recipe, else float32).
    input_rows: for each input, the rows of it that `run_rows` holds beside the arena.
    naive_bytes, layerwise_bytes, fused_bytes: the arena of those schedules for this model, without a limit.
    lower_bound_bytes: no placement of this plan's buffers needs less. weight_bytes: mapped from the file.
    macs, extra_macs: multiply-adds of the network, and what recomputation adds. moved_bytes: of values that change
    their place between segments. state_bytes: of the arena, what states keep from run to run.
    cycles: one thread's time by the cost model.
    shortcuts: what planning, whose work is bounded, did not look through, of "order", "placement",
    "strips" and "segments"; empty in all but long or branching networks.
    """

    schedule: str
    isa: str
    threads: int
    peak_bytes: int
    input_bytes: int
    input_rows: tuple[int, ...]
    naive_bytes: int
    layerwise_bytes: int
    fused_bytes: int
    lower_bound_bytes: int
    weight_bytes: int
    macs: int
    extra_macs: int
    moved_bytes: int
    state_bytes: int
    cycles: float
    shortcuts: tuple[str, ...]
    core: InitVar[_core.Session]

    def __post_init__(self, core: _core.Session) -> None:
        self.__dict__["_core"] = core

    # These are made when they are asked for: as Python objects they can take more memory than a small network's arena.

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What runs, in order."""
        return self._session().segments()

    @property
    def timeline(self) -> tuple[TimelineStep, ...]:
        """Which buffers lie where in the arena, segment by segment."""
        return self._session().timeline()

    def trace(self, segment: int) -> Trace:
        """A segment row by row. ArgumentError where there is no such segment."""
        return self._session().trace(segment)

    def json(self) -> str:
        """The plan, its segments and its timeline as a JSON object, as mbi_session_plan_json gives it in C."""
        return self._session().plan_json()

    def _session(self) -> _core.Session:
        core: _core.Session = self.__dict__["_core"]
        return core

    def __repr__(self) -> str:
        return f"Plan({self.schedule}, arena {self.peak_bytes} bytes, {len(self.segments)} segments)"
