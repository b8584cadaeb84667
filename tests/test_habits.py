"""What a reader may rely on: short lines and functions, and code for one compiler or CPU in its own files only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("csrc", "mbinfer", "tests", "benchmarks", "examples")
FILES = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".cpp", ".h", ".c")
)
PYTHON = [path for path in FILES if path.suffix == ".py"]
NATIVE = [path for path in FILES if path.suffix != ".py"]

COLUMNS, LINES = 120, 60


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_lines_are_short(path):
    lines = path.read_text().splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS] == []


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_python_functions_are_short(path):
    functions = (
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    long = {f.name for f in functions if f.end_lineno - f.lineno + 1 > LINES}
    assert not long


@pytest.mark.parametrize("path", NATIVE, ids=name)
def test_native_functions_are_short(path):
    lizard = pytest.importorskip("lizard")
    functions = lizard.analyze_file(str(path)).function_list
    long = {f.name for f in functions if f.end_line - f.start_line + 1 > LINES}
    assert not long


def test_the_parser_sees_functions():
    lizard = pytest.importorskip("lizard")
    body = "\n".join("  x++;" for _ in range(LINES))
    (function,) = lizard.analyze_file.analyze_source_code("a.cpp", f"int f(int x) {{\n{body}\n}}\n").function_list
    assert (function.name, function.end_line - function.start_line + 1) == ("f", LINES + 2)


def code(path):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)


# Leaves: the vectors, tiles and filters of an instruction set, and what a thread asks of its CPU.
LEAVES = re.compile(r"csrc/(kernels/((vec|tile)_\w+|filter_sdot_u8)\.h|exec/(float_mode|pause)\.h)")


@pytest.mark.parametrize("path", [p for p in NATIVE if name(p).startswith("csrc/")], ids=name)
def test_assembly_is_in_leaves(path):
    assert LEAVES.fullmatch(name(path)) or not re.search(r"\b(asm|__asm__)\b(?!/)", code(path))
