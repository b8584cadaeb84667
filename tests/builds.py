"""What tests and benchmarks build of the C++ sources: once in a run, however many processes of pytest share it."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "MBINFER_TEST_BUILDS"  # of the environment, which the processes that share a run inherit: see conftest.py


def command(*arguments, **options) -> str:
    """Runs a program that has to succeed, and returns what it prints."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def cmake() -> str:
    """CMake's command, or "" where there is none; that of PyPI is beside this Python."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return shutil.which("cmake", path=search) or ""


@functools.cache
def folder() -> Path:
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER])
    made = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def once(name: str, make: Callable[[Path], object]) -> Path:
    """The path of what make(path) has made in the folder of builds, by whichever process asked first."""
    path, made = folder() / name, folder() / f"{name}.made"
    with (folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            make(path)
            made.touch()
    return path


def library() -> Path:
    """Where the library is installed as C programs use it."""

    def make(prefix: Path) -> None:
        build = folder() / "build"
        command(cmake(), "-S", ROOT, "-B", build)
        command(cmake(), "--build", build, "--parallel", "4")
        command(cmake(), "--install", build, "--prefix", prefix)

    return once("prefix", make)


def extension(target: str) -> Path:
    """The folder with an extension module of the build with Python, which links the objects that are there."""
    library()
    python = (f"-DPython_EXECUTABLE={sys.executable}", f"-DPYTHON_EXECUTABLE={sys.executable}")

    def make(build: Path) -> None:
        pybind11 = command(sys.executable, "-m", "pybind11", "--cmakedir").strip()
        options = ("-DMBINFER_PYTHON=ON", "-DMBINFER_TESTS=ON", f"-Dpybind11_DIR={pybind11}")
        command(cmake(), "-S", ROOT, "-B", build, *options, *python)
        command(cmake(), "--build", build, "--target", target, "--parallel", "4")

    return once("build", make)
