"""The tables of documents that a benchmark writes: each stands between two comments that name its program."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def program_of(name: str, dtype: str) -> str:
    """What the markers of a table call the program that writes it."""
    return name if dtype == "float32" else f"{name} --dtype {dtype}"


def write_table(program: str, text: str, path: Path = README) -> None:
    """Puts `text` between the markers of a document for that program of this folder."""
    begin, end = (f"<!-- benchmarks/{program}: {edge} -->" for edge in ("begin", "end"))
    old = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*{re.escape(end)}", re.DOTALL)
    new, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", old)
    if count != 1:
        raise SystemExit(f"{path}: expected one pair of {begin} and {end}")
    path.write_text(new, encoding="utf-8")
