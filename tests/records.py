"""A model file as numpy records that a test can change, and back to bytes with counts and checksums that hold."""

from __future__ import annotations

import zlib

import numpy as np

from mbinfer import model
from mbinfer.model import SECTIONS


class Records:
    """The sections by name; `strings` and `weights` are bytes, `header` has fields that `encode` leaves as they are."""

    def __init__(self, data: bytes):
        self.header = np.frombuffer(data, model.HEADER, 1).copy()
        at = model.HEADER.itemsize
        for name, dtype in SECTIONS.items():
            count = int(self.header[name + "_count"][0])
            setattr(self, name, np.frombuffer(data, dtype, count, at).copy())
            at += count * dtype.itemsize
        self.strings = data[at : at + int(self.header["string_bytes"][0])]
        self.weights = data[int(self.header["weights_offset"][0]) :]
        self.weights_bytes: int | None = None  # what the header says, where the caller makes the file longer
        self.gap: bytes | None = None  # between the strings and the weights
        self.counts: dict[str, int] = {}  # lies

    def text(self, text: bytes) -> int:
        """Stores a string at the end of the strings, and returns its place."""
        self.strings += text + b"\0"
        return len(self.strings) - len(text) - 1

    def more(self, section: str, count: int = 1) -> None:
        """Repeats the last record of a section."""
        records = getattr(self, section)
        setattr(self, section, np.concatenate([records, np.repeat(records[-1:], count)]))

    def encode(self) -> bytes:
        body = b"".join(getattr(self, name).tobytes() for name in SECTIONS) + self.strings
        gap = bytes(-(model.HEADER.itemsize + len(body)) % 64) if self.gap is None else self.gap
        body += gap
        header = self.header.copy()
        for name in SECTIONS:
            header[name + "_count"] = len(getattr(self, name))
        header["string_bytes"] = len(self.strings)
        for name, count in self.counts.items():
            header[name] = count
        header["weights_offset"] = model.HEADER.itemsize + len(body)
        header["weights_bytes"] = len(self.weights) if self.weights_bytes is None else self.weights_bytes
        header["file_bytes"] = header["weights_offset"] + header["weights_bytes"]
        header["weights_crc"], header["structure_crc"] = zlib.crc32(self.weights), 0
        header["structure_crc"] = zlib.crc32(body, zlib.crc32(header.tobytes()))
        return header.tobytes() + body + self.weights
