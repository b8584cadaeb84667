"""What a model file says of its states, for people: `mbinfer info` lists them."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from .model import DTYPES, HEADER, SECTIONS
from .packing import PANEL


class StateInfo(NamedTuple):
    """A state by the name of its value; `bytes` are those of the arena that hold it."""

    name: str
    shape: tuple[int, int, int, int]
    dtype: str
    bytes: int


def states_of(path: str | os.PathLike[str]) -> list[StateInfo]:
    """The states of a model file that a session has opened, which checks it."""
    with open(path, "rb") as file:
        header = np.frombuffer(file.read(HEADER.itemsize), HEADER)[0]
        if not header["state_count"]:
            return []
        body = file.read(int(header["weights_offset"]) - HEADER.itemsize)
    sections, at = {}, 0
    for name, record in SECTIONS.items():
        sections[name] = np.frombuffer(body, record, int(header[f"{name}_count"]), at)
        at += sections[name].nbytes
    kinds = {code: name for name, code in DTYPES.items()}
    found = []
    for value in sections["value"][sections["state"]["value"]]:
        begin = at + int(value["name"])
        name = body[begin : body.index(b"\0", begin)].decode()
        height, width, channels = (int(value[side]) for side in ("height", "width", "channels"))
        dtype = kinds[int(value["dtype"])]
        stored = height * width * -(-channels // PANEL) * PANEL * np.dtype(dtype).itemsize
        found.append(StateInfo(name, (1, height, width, channels), dtype, stored))
    return found
