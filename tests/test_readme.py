"""What README.md and mbinfer.h tell people to type works: Python, command lines, C."""

from __future__ import annotations

import doctest
import glob
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mbinfer import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADER = (ROOT / "csrc" / "mbinfer.h").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder: the examples, pictures, and two models in ONNX, of two classes and of raw boxes."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "pictures").symlink_to(ROOT / "examples" / "digits")
    weight = np.random.default_rng(0).standard_normal((2, 3, 3, 3), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "weight")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "model.onnx")
    nodes = [helper.make_node("Conv", ["image", "window"], ["map"], strides=[8, 8]),
             helper.make_node("Reshape", ["map", "shape"], ["output0"])]  # fmt: skip
    window = np.random.default_rng(0).standard_normal((6, 3, 8, 8), dtype=np.float32)
    held = [numpy_helper.from_array(a, n) for a, n in ((window, "window"), (np.array([1, 6, 16]), "shape"))]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, 16])]
    graph = helper.make_graph(nodes, "raw boxes", inputs, outputs, held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(proto, tmp_path / "detector.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python(here):
    snippets = blocks("python")
    parsed = doctest.DocTestParser().get_doctest("\n".join(snippets), {}, "README.md", "README.md", 0)
    assert len(snippets) >= 3 and len(parsed.examples) >= 10
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    assert runner.run(parsed, out=said.append).failed == 0, "".join(said)


def test_command_lines(here, capsys):
    lines = "\n".join(blocks("sh")).replace("&&\n", "\n").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("mbinfer ")]
    assert {command[1] for command in commands} == {
        "build",
        "convert",
        "info",
        "plan",
        "run",
        "segment",
        "detect",
        "bench",
    }
    for _, *words in commands:
        arguments = [found for word in words for found in (sorted(glob.glob(word)) or [word])]
        code = cli.main(arguments)
        assert code == 0, (words, capsys.readouterr().err)


def test_first_command_reads_the_digits(here, capsys):
    """The main job: every picture's first guess is its digit, and the arena and the naive need are printed."""
    assert cli.main(["run", "examples/digits_int8.bin", *sorted(glob.glob("examples/digits/*.png")), "--top", "1"]) == 0
    printed = capsys.readouterr().out
    guesses = re.findall(r"(\d)_\d+\.png\n +[\d.]+ % +(\S+)", printed)
    assert len(guesses) == 10 and all(digit == guess for digit, guess in guesses)
    assert re.search(r"arena .* naive execution would have needed", printed)


@pytest.mark.parametrize("where", ["README.md", "mbinfer.h"])
def test_c_programs_compile_as_they_stand(tmp_path, where):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    if where == "README.md":
        (program,) = blocks("c")
    else:
        manual = re.search(r"A program in full:\n(.*?)\n \* Ownership", HEADER, flags=re.DOTALL)
        program = re.sub(r"^ \*", "", manual[1], flags=re.MULTILINE)
    source = tmp_path / "program.c"
    source.write_text(program)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'csrc'}"]
    done = subprocess.run([compiler, *flags, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_links():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
