"""What tests and benchmarks ask of the planner and no user does: tests/testing.cpp, built here where it was not yet."""

from __future__ import annotations

import filecmp
import functools
import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import builds

import mbinfer


def check(session: mbinfer.Session) -> str:
    """Runs the plan over a shadow arena: "" where it is sound, else what is wrong with it."""
    return _module().check(session._core)


def canaries_intact(session: mbinfer.Session) -> bool:
    """Whether nothing has been written beside the arena."""
    return _module().canaries_intact(session._core)


def measure(session: mbinfer.Session, first: int, splits: list[tuple[int, int, int, bool]]) -> dict[str, Any]:
    """What stages from `first` on need as one segment with these (rows, step, chunk, keep)."""
    return _module().measure(session._core, first, splits)


def cost_terms(session: mbinfer.Session) -> list[list[float]]:
    """The cost model's terms of each stage."""
    return _module().cost_terms(session._core)


def place(blocks: list[tuple[int, int, int]], slides: list[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets of blocks (bytes, first, last) with slides (below, above, distance), and the size of the arena."""
    return _module().place(blocks, slides)


def machine(folder: str = "") -> tuple[int, int]:
    """Bytes of a core's first and second data cache, of this machine or by the files of a folder like sysfs's."""
    return _module().machine(folder)


@functools.cache
def _module() -> Any:
    path = _built_beside_the_package() or builds.extension("_testing") / f"_testing{_suffix()}"
    spec = importlib.util.spec_from_file_location("_testing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _built_beside_the_package() -> Path | None:
    """A build folder's module, where the package under test has its compiled part from that folder."""
    for path in builds.ROOT.glob(f"build/*/_testing{_suffix()}"):
        core = path.with_name(path.name.replace("_testing", "_core"))
        if core.exists() and filecmp.cmp(core, mbinfer._core.__file__, shallow=False):
            return path
    return None


def _suffix() -> str:
    return next(s for s in importlib.machinery.EXTENSION_SUFFIXES if Path(mbinfer._core.__file__).name.endswith(s))
