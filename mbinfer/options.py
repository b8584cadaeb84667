"""Arguments, checked once: each is what the core or a function takes, or an `ArgumentError` says what to give."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any, Literal, Union

import numpy as np

from mbinfer import _core
from mbinfer.errors import ArgumentError

MAX_LIMIT = (1 << 63) - 1
Source = Union[str, bytes, bytearray, memoryview, int, "os.PathLike[str]", "os.PathLike[bytes]"]
Threads = Union[int, Literal["all"], None]
MAGIC = b"\x89MBI"  # how a model file begins
UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def parse_bytes(limit: int | str) -> int:
    """Bytes of ``262144``, ``"262144"``, ``"256KiB"`` or ``"0.25MB"``; ArgumentError otherwise."""
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool) and limit >= 0:
        return min(int(limit), MAX_LIMIT)
    number = r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Z]{0,3})\s*"
    match = re.fullmatch(number, limit) if isinstance(limit, str) else None
    if not match or match[2].lower() not in UNITS:
        raise ArgumentError(f"memory limit {_shown(limit)}: give bytes, a size such as '256KiB', or 'least'")
    return min(int(float(match[1]) * UNITS[match[2].lower()]), MAX_LIMIT)


def memory_limit(limit: int | str | None) -> tuple[int, bool]:
    """The most bytes of the arena, -1 for no limit, and whether the least is asked for."""
    least = isinstance(limit, str) and limit == "least"
    return -1 if limit is None or least else parse_bytes(limit), least


def thread_count(threads: Threads) -> int:
    """`threads`; None: MBINFER_THREADS, else 1; "all": the CPUs that this process may use."""
    given: object = threads
    if given is None:
        given = os.environ.get("MBINFER_THREADS", "1")
        if re.fullmatch("[0-9]{1,4}", given):
            given = int(given)
        elif given != "all":
            most = _core.MAX_THREADS
            raise ArgumentError(f"MBINFER_THREADS={_shown(given)}: give a number from 1 to {most}, or 'all'")
    if isinstance(given, str) and given == "all":
        return min(len(os.sched_getaffinity(0)), _core.MAX_THREADS)
    return whole_number("threads", given, _core.MAX_THREADS, " or 'all'")


def chunk_count(chunks: int | None) -> int:
    """How often to split fused blocks; 0: the planner chooses."""
    return 0 if chunks is None else whole_number("chunks", chunks, _core.MAX_CHUNKS)


def whole_number(name: str, number: Any, most: int, or_else: str = "") -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= most:
        raise ArgumentError(f"{name}={_shown(number)}: give a whole number from 1 to {most}{or_else}")
    return int(number)


def schedule_name(schedule: str) -> str:
    if not isinstance(schedule, str) or schedule not in _core.schedules():
        raise ArgumentError(f"schedule={_shown(schedule)}: give one of {', '.join(_core.schedules())}")
    return schedule


def recompute_share(recompute: bool | float) -> float:
    """The most multiply-adds that may be done twice, as a share of the network's."""
    if isinstance(recompute, (float, np.floating)):
        if recompute >= 0:
            return float(recompute)
        raise ArgumentError(
            f"recompute={_shown(recompute)}: True, False, or a share of the multiply-adds, 0.05 for 5 %"
        )
    return math.inf if flag("recompute", recompute) else 0.0


def flag(name: str, given: Any) -> bool:
    """Whether what was given is true; an array, of which that cannot be said, is an ArgumentError."""
    try:
        return bool(given)
    except Exception:  # numpy's, or of whatever was given
        raise ArgumentError(f"{name}: give True or False, not {type(given).__name__}") from None


def listed(what: str, given: Any, of: str) -> list[Any]:
    """`given`, the argument `what`, as a list; `ArgumentError` for a text, and for what has no items."""
    try:
        if isinstance(given, (str, bytes)):
            raise TypeError
        return list(given)
    except TypeError:  # numpy's arrays of no dimension can be iterated only by their looks
        raise ArgumentError(f"{what}={given!r}: give a list of {of}") from None


def iterator(what: str, given: Any, of: str) -> Iterator[Any]:
    """Over `given`, the argument `what`; TypeError for what has no items."""
    try:
        return iter(given)
    except TypeError:
        raise TypeError(f"{what}: give an iterable of {of}, not {type(given).__name__}") from None


def written_path(what: str, given: Any) -> str:
    """`given`, the argument `what`, as the path of a file to write; `ArgumentError` for what no system has."""
    try:
        if not isinstance(given, (str, bytes, os.PathLike)):
            raise TypeError
        path = os.fsdecode(given)
        if "\0" in path or not os.fsencode(path):
            raise ValueError
    except (TypeError, ValueError):  # of what os.PathLike gives, too
        raise ArgumentError(f"{what}={_shown(given)}: give the path of the file to write") from None
    return path


def isa_name() -> str:
    """MBINFER_ISA, the kernels to use; "" for the fastest."""
    name = os.environ.get("MBINFER_ISA", "")
    if not name.isascii():
        raise ArgumentError(f"MBINFER_ISA={_shown(name)}: no such kernels")
    return name


def model_source(source: Source) -> bytes | int | memoryview:
    """A path as bytes, a file descriptor, or a model in memory, as the core takes them.

    TypeError for what is none of these; ArgumentError for a path that no system has.
    """
    if isinstance(source, (bytearray, memoryview)) or (isinstance(source, bytes) and source.startswith(MAGIC)):
        memory = memoryview(source)
        if not memory.c_contiguous or not memory.nbytes:
            raise ArgumentError("a model in memory has to be contiguous bytes, and not empty")
        return memory.cast("B")
    if isinstance(source, int) and not isinstance(source, bool):
        if not 0 <= source < 1 << 31:
            raise ArgumentError(f"file descriptor {_shown(source)}: there is no such one")
        return source
    if not isinstance(source, (str, bytes, os.PathLike)):
        raise TypeError(f"a model is a path, a file descriptor, or bytes in memory, not {type(source).__name__}")
    try:
        path = os.fsencode(source)
    except UnicodeEncodeError:
        raise ArgumentError(f"path {_shown(source)}: it holds what the file system's encoding has not") from None
    if b"\0" in path:
        raise ArgumentError(f"path {_shown(path)}: a path has no zero byte, and a model file begins otherwise")
    return path


def _shown(given: Any) -> str:
    """What was given, short enough for a message."""
    try:
        text = repr(given)
    except Exception:  # of whatever was given, or an integer of too many digits
        text = type(given).__name__
    return text if len(text) <= 80 else text[:77] + "..."
