"""The tests run against the installed package, wherever they are started."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import builds
import pytest

ROOT = Path(__file__).resolve().parents[1]

# `python -m pytest` puts the source folder first on sys.path, where mbinfer has no compiled part unless it was built
# there.
if not list((ROOT / "mbinfer").glob("_core*.so")):
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder or ".") != str(ROOT)]


def pytest_configure(config):
    """One folder of builds for all processes of a run: those of pytest-xdist inherit the environment."""
    os.environ[builds.FOLDER] = str(builds.folder())


@pytest.fixture(autouse=True)
def numbers_of_a_test_are_its_own():
    """A test draws the same numbers whichever tests ran before it, or beside it in another process."""
    drawn = sys.modules.get("onnx_models")
    if drawn:
        drawn.RNG.bit_generator.state = drawn.FIRST


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """The file of a small MobileNetV2 with a recipe."""
    from small_network import small_network

    from mbinfer import model

    path = tmp_path_factory.mktemp("net") / "net.bin"
    model.save(small_network(), path)
    return path


@pytest.fixture(scope="session")
def load_benchmark():
    """Imports a module of the benchmarks, which find each other by their folder."""
    folder = ROOT / "benchmarks"

    def load(name):
        if not (folder / f"{name}.py").exists():
            pytest.skip("the benchmarks are not here")
        return importlib.import_module(name)

    sys.path.insert(0, str(folder))
    yield load
    sys.path.remove(str(folder))
