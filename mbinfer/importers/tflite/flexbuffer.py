"""Reads the options of custom operators, a map of numbers in FlexBuffers (https://flatbuffers.dev/flexbuffers).

Whatever points outside the bytes is a `FormatError`; entries that are no numbers are left out.
"""

from __future__ import annotations

import struct

from ...errors import FormatError

MOST_OPTIONS = 1 << 8
LONGEST_KEY = 1 << 8  # bytes
INT, UINT, FLOAT, MAP, BOOL = 1, 2, 3, 9, 26  # types of values that lie where they are named
INDIRECT = {6: INT, 7: UINT, 8: FLOAT}  # and of those that lie elsewhere
CODES = {INT: "bhiq", UINT: "BHIQ", BOOL: "BHIQ", FLOAT: " efd"}  # of `struct`, by the logarithm of the width


def numbers_of(data: bytes) -> dict[str, float]:
    """The numbers of a map by name."""
    if len(data) < 3:
        raise FormatError(f"{len(data)} bytes of options of a custom operator, which are no map")
    root, width = data[-2], data[-1]
    if root >> 2 != MAP or width not in (1, 2, 4, 8):
        raise FormatError("options of a custom operator that are no map")
    at = _followed(data, len(data) - 2 - width, width)
    width = 1 << (root & 3)
    count = _unsigned(data, at - width, width)
    if count > MOST_OPTIONS:
        raise FormatError(f"{count} options of a custom operator; at most {MOST_OPTIONS} are read")
    keys, key_width = _followed(data, at - 3 * width, width), _unsigned(data, at - 2 * width, width)
    found = {}
    for i in range(count):
        kind = _unsigned(data, at + count * width + i, 1)
        number = _number(data, at + i * width, width, kind)
        if number is not None:
            found[_key(data, _followed(data, keys + i * key_width, key_width))] = number
    return found


def _number(data: bytes, at: int, width: int, kind: int) -> float | None:
    if kind >> 2 in INDIRECT:
        at, width, kind = _followed(data, at, width), 1 << (kind & 3), INDIRECT[kind >> 2] << 2
    codes = CODES.get(kind >> 2)
    return None if codes is None else _unpacked(data, at, codes[width.bit_length() - 1], width)


def _key(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + LONGEST_KEY)
    if end < 0:
        raise FormatError(f"a name of an option at byte {at} that does not end")
    return data[at:end].decode("utf-8", "replace")


def _followed(data: bytes, at: int, width: int) -> int:
    """Where an offset at `at` points to, before it."""
    return at - _unsigned(data, at, width)


def _unsigned(data: bytes, at: int, width: int) -> int:
    if width not in (1, 2, 4, 8):
        raise FormatError(f"numbers of {width} bytes in the options of a custom operator")
    return int(_unpacked(data, at, CODES[UINT][width.bit_length() - 1], width))


def _unpacked(data: bytes, at: int, code: str, width: int) -> float:
    if at < 0 or at + width > len(data) or code == " ":
        raise FormatError(f"an offset in the options of a custom operator points to byte {at} of {len(data)}")
    (number,) = struct.unpack_from(f"<{code}", data, at)
    return number  # type: ignore[no-any-return]
