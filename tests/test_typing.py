"""The package as a strict type checker sees it: whole, and telling a right program from a wrong one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mbinfer

RIGHT = """
from pathlib import Path

import numpy as np

import mbinfer
from mbinfer.plan import Stage

session = mbinfer.Session(Path("model.bin"), threads=None, memory_limit="256KiB", schedule="auto")
image = np.zeros((224, 224, 3), np.uint8)


def widest(plan: mbinfer.Plan) -> Stage:
    stages = [stage for segment in plan.segments for stage in segment.stages]
    return max(stages, key=lambda stage: stage.output_shape[2])


def scores(session: mbinfer.Session) -> float:
    result = session.run(image)
    return max(float(array.max()) for array in ([result] if isinstance(result, np.ndarray) else result.values()))


slowest: float = max(stage["seconds"] for stage in session.profile(image))
ends: int = max(b.offset + b.bytes for step in session.plan.timeline for b in step.buffers)
rows: tuple[int, ...] = session.plan.input_rows
recipe = session.recipe.crop if session.recipe else None
session.run_rows(row for row in image)
mbinfer.convert("model.onnx", "model.bin", mean=127.5, scale=1 / 127.5)
graph = mbinfer.zoo.mobilenet_v2(width=0.35, resolution=96)
try:
    print(widest(session.plan).name, scores(session))
except mbinfer.MemoryLimitError as error:
    least: int = error.needed
"""

WRONG = """
import numpy as np
import mbinfer
session = mbinfer.Session("model.bin")
session.plan.peek_bytes  # attr-defined
session.plan.peak_bytes = 3  # misc
mbinfer.Sesion("model.bin")  # attr-defined
mbinfer.Session("model.bin", threads="two")  # arg-type
mbinfer.Session("model.bin", limit=3)  # call-arg
session.run([1.0])  # arg-type
session.run(np.zeros(3, np.complex128))  # arg-type
session.run(np.zeros(3, np.float32)).argmax()  # union-attr
session.plan.segments[0].stages.append(1)  # attr-defined
session.plan.segments[0].stages[0]["name"]  # index
session.profile()[0]["second"]  # typeddict-item
session.inputs[0].shape + 1  # operator
mbinfer.zoo.mobilenet_v2(width="1.0")  # arg-type
"""


# Of the packages that only some functions import, nothing is known where they are not installed.
OPTIONS = ("--strict", "--no-error-summary", "--ignore-missing-imports")


def mypy(folder: Path, *arguments: str) -> list[str]:
    """The errors that mypy --strict finds."""
    if not importlib.util.find_spec("mypy"):
        pytest.skip("no mypy")
    package = Path(mbinfer.__file__).resolve().parents[1]
    path = {} if package.name == "site-packages" else {"MYPYPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *OPTIONS, "--cache-dir", str(folder), *arguments],
        cwd=folder,
        env={**os.environ, **path},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error: " in line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where programs are checked, one after the other, with what mypy remembers of the package."""
    return tmp_path_factory.mktemp("typing")


def test_the_package_is_typed_strictly(folder):
    assert mypy(folder, "-p", "mbinfer") == []


def test_a_right_program_passes(folder):
    (folder / "right.py").write_text(RIGHT)
    assert mypy(folder, "right.py") == []


def test_a_wrong_program_does_not(folder):
    (folder / "wrong.py").write_text(WRONG)
    found = {
        (int(line), code)
        for line, code in re.findall(
            r"^wrong\.py:(\d+): error: .*\[([\w-]+)\]$", "\n".join(mypy(folder, "wrong.py")), re.M
        )
    }
    lines = enumerate(WRONG.splitlines(), 1)
    assert found == {(number, line.split("  # ")[1]) for number, line in lines if "  # " in line}
