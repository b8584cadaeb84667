# The compiled part of mbinfer (csrc/pybind.cpp). Use mbinfer.Session instead.
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from mbinfer.plan import Plan, Segment, TimelineStep, Trace

class _Model(TypedDict):
    inputs: list[
        tuple[str, tuple[int, ...], np.dtype[Any], float, int, tuple[list[float], list[float], int, float] | None]
    ]
    outputs: list[tuple[str, tuple[int, ...], np.dtype[Any], float, int]]
    labels: list[str]
    metadata: dict[str, str]
    isa: str
    threads: int

class Session:
    def __init__(
        self,
        source: bytes | int | memoryview,
        threads: int,
        memory_limit: int,
        least: bool,
        schedule: str,
        chunks: int,
        recompute: float,
        isa: str,
        verify: bool,
        copy: bool,
        plan_only: bool,
    ) -> None: ...
    def run(self, arrays: Sequence[npt.NDArray[Any]], times: list[float] | None) -> list[npt.NDArray[Any]]: ...
    def run_rows(self, dtype: np.dtype[Any], next: Callable[[int], npt.NDArray[Any]]) -> list[npt.NDArray[Any]]: ...
    def reset(self) -> None: ...
    def model(self) -> _Model: ...
    def plan(self) -> Plan: ...
    def plan_json(self) -> str: ...
    def segments(self) -> tuple[Segment, ...]: ...
    def timeline(self) -> tuple[TimelineStep, ...]: ...
    def trace(self, segment: int) -> Trace: ...

MAX_THREADS: int
MAX_CHUNKS: int

def schedules() -> list[str]: ...
def isas() -> list[str]: ...
def peak_rate(isa: str, seconds: float) -> float: ...
