"""What tests and benchmarks ask of the planner and no user does: tests/testing.cpp, built here where it was not yet."""

from __future__ import annotations

import atexit
import filecmp
import functools
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mbinfer

ROOT = Path(__file__).resolve().parent.parent


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
    path = _built_beside_the_package() or _built_now()
    spec = importlib.util.spec_from_file_location("_testing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _built_beside_the_package() -> Path | None:
    """A build folder's module, where the package under test has its compiled part from that folder."""
    for path in ROOT.glob(f"build/*/_testing{_suffix()}"):
        core = path.with_name(path.name.replace("_testing", "_core"))
        if core.exists() and filecmp.cmp(core, mbinfer._core.__file__, shallow=False):
            return path
    return None


def _built_now() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # cmake from PyPI is beside this Python
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=search) or "cmake"
    pybind11 = subprocess.run([sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True).stdout
    options = ("-DMBINFER_PYTHON=ON", "-DMBINFER_TESTS=ON", f"-Dpybind11_DIR={pybind11.strip()}")
    python = (f"-DPython_EXECUTABLE={sys.executable}", f"-DPYTHON_EXECUTABLE={sys.executable}")
    for command in (
        [cmake, "-S", str(ROOT), "-B", str(folder), *options, *python],
        [cmake, "--build", str(folder), "--target", "_testing", "--parallel", "4"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder / f"_testing{_suffix()}"


def _suffix() -> str:
    return next(s for s in importlib.machinery.EXTENSION_SUFFIXES if Path(mbinfer._core.__file__).name.endswith(s))
