"""Reads the tables of a FlatBuffers file (https://flatbuffers.dev/internals) and trusts none of its offsets.

Whatever points outside the file, or is larger than a network needs, is a `FormatError` that says at which byte.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from ...errors import FormatError

MOST_TABLES = 1 << 16  # of one vector
LONGEST_TEXT = 4095  # bytes


class Table:
    """A table at `at` in `data`, its fields found by their number in the schema; a missing one is its default."""

    def __init__(self, data: memoryview, at: int):
        self._data, self._at = data, at
        vtable = at - self._number("<i", at)
        size, _ = self._number("<H", vtable), self._number("<H", vtable + 2)
        if size < 4 or size % 2 or vtable + size > len(data):
            raise FormatError(f"the table at byte {at} has no sound list of fields")
        self._fields = struct.unpack_from(f"<{size // 2 - 2}H", data, vtable + 4)

    @classmethod
    def root(cls, data: memoryview) -> Table:
        return cls(data, cls._followed(data, 0))

    def number(self, field: int, code: str, default: int = 0) -> int:
        """An integer, `code` as of `struct`."""
        at = self._where(field)
        return default if at is None else self._number(f"<{code}", at)

    def real(self, field: int, default: float = 0.0) -> float:
        at = self._where(field)
        return default if at is None else float(self._unpack("<f", at))

    def table(self, field: int) -> Table | None:
        at = self._where(field)
        return None if at is None else Table(self._data, self._followed(self._data, at))

    def text(self, field: int) -> str:
        at, count = self._vector(field, 1)
        if count > LONGEST_TEXT:
            raise FormatError(f"a name of {count} bytes at byte {at}; at most {LONGEST_TEXT} are read")
        return bytes(self._data[at : at + count]).decode("utf-8", "replace")

    def array(self, field: int, dtype: str) -> npt.NDArray[np.generic]:
        """A vector of numbers, where it lies in the file; empty where there is none."""
        kind = np.dtype(dtype)
        at, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self._data, kind, count, at) if count else np.zeros(0, kind)

    def tables(self, field: int) -> Tables:
        at, count = self._vector(field, 4)
        return Tables(self._data, at, count)

    def _where(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._at + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the elements begin, and how many there are."""
        at = self._where(field)
        if at is None:
            return 0, 0
        at = self._followed(self._data, at)
        count = self._number("<I", at)
        if at + 4 + count * size > len(self._data):
            raise FormatError(f"{count} elements of {size} bytes at byte {at} reach beyond the file's end")
        return at + 4, count

    def _number(self, code: str, at: int) -> int:
        return int(self._unpack(code, at))

    def _unpack(self, code: str, at: int) -> float:
        return _unpack(self._data, code, at)

    @staticmethod
    def _followed(data: memoryview, at: int) -> int:
        return at + int(_unpack(data, "<I", at))


class Tables:
    """A vector of tables, each read when it is asked for."""

    def __init__(self, data: memoryview, at: int, count: int):
        if count > MOST_TABLES:
            raise FormatError(f"{count} tables at byte {at}; at most {MOST_TABLES} are read")
        self._data, self._at, self._count = data, at, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Table:
        if not 0 <= index < self._count:
            raise IndexError(index)
        at = self._at + 4 * index
        return Table(self._data, at + int(_unpack(self._data, "<I", at)))


def _unpack(data: memoryview, code: str, at: int) -> float:
    if at < 0 or at + struct.calcsize(code) > len(data):
        raise FormatError(f"an offset points to byte {at} of a file of {len(data)}: it was cut, or is damaged")
    (number,) = struct.unpack_from(code, data, at)
    return number  # type: ignore[no-any-return]
