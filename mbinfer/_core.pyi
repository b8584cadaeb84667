# The compiled part of mbinfer (csrc/pybind.cpp). Use mbinfer.Session instead.
from typing import Any

import numpy as np

class Session:
    def __init__(
        self,
        path: str,
        threads: int,
        memory_limit: int,
        least: bool,
        schedule: str,
        chunks: int,
        isa: str,
        verify: bool,
    ) -> None: ...
    def run(self, arrays: list[np.ndarray], times: list[float] | None) -> list[np.ndarray]: ...
    def model(self) -> dict[str, Any]: ...
    def plan(self) -> dict[str, Any]: ...
    def check(self) -> str: ...
    def canaries_intact(self) -> bool: ...

def isas() -> list[str]: ...
