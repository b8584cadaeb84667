"""The argument `boxes` of `convert`: what a caller says of a detector which ends in raw numbers.

It is checked as far as it can be without the source; ending.py makes nodes of it.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ..check_boxes import BOX, MAX_BOXES
from ..check_types import finite_float32
from ..errors import ArgumentError
from ..options import flag
from .arguments import Ends

# y0, x0, y1, x1 of the four numbers of a box
FORMS: dict[str, list[list[float]]] = {
    "xyxy": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
    "yxyx": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    "xywh": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0]],
    "cxcywh": [[0, 1, 0, -0.5], [1, 0, -0.5, 0], [0, 1, 0, 0.5], [1, 0, 0.5, 0]],
    "cycxhw": [[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]],
    "ltrb": [[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],  # from a point of the grid
}
UNITS, CURVES = ("pixels", "shares", "cells"), ("none", "sigmoid", "softmax")
LARGEST_ANCHORS = 1 << 24  # bytes of a file of them
EXAMPLE = "such as {'boxes': 'output0[:4]', 'scores': 'output0[4:]', 'form': 'cxcywh'}"


@dataclass(frozen=True)
class Part:
    """A tensor of the source, and which of a box's numbers in it are meant."""

    name: str
    first: int | None = None
    end: int | None = None

    def is_whole(self) -> bool:
        return self.first is None and self.end is None


@dataclass(frozen=True)
class Ending:
    """What `convert(..., boxes=)` says, checked as far as it can be without the source."""

    boxes: list[Part]
    scores: list[Part]
    objectness: list[Part]
    form: str
    unit: str
    curve: str
    anchors: npt.NDArray[np.float64] | None
    scale: tuple[float, float, float, float]
    strides: list[int]
    offset: float
    first_class: int
    every_class: bool
    least_score: float
    overlap: float
    most: int

    def tensors(self) -> list[str]:
        return list(dict.fromkeys(part.name for part in (*self.boxes, *self.scores, *self.objectness)))


def ending_of(said: Any) -> Ending | None:
    """`said`, the argument `boxes`; `ArgumentError` for what makes no sense whatever the source is."""
    if said is None:
        return None
    known = [field.name for field in fields(Ending)]
    if not isinstance(said, Mapping):
        raise ArgumentError(f"boxes={said!r}: give a dict, {EXAMPLE}")
    for key in said:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 3) or known
            raise ArgumentError(f"boxes: unknown '{key}'; there are {', '.join(near)}")
    missing = [key for key in ("boxes", "scores", "form") if key not in said]
    if missing:
        raise ArgumentError(f"boxes: without {', '.join(missing)}; give them, {EXAMPLE}")
    parts = {key: _parts(key, said.get(key, [])) for key in ("boxes", "scores", "objectness")}
    counts = {len(found) for key, found in parts.items() if found or key != "objectness"}
    if len(counts) > 1 or 0 in counts:
        given_ = ", ".join(f"{len(found)} of {key}" for key, found in parts.items())
        raise ArgumentError(f"boxes: {given_}; give as many tensors of each")
    strides = [int(_number("strides", one, 1, 1 << 12)) for one in _listed(said.get("strides", []))]
    made = Ending(
        **parts,
        form=_one_of("form", said["form"], FORMS),
        unit=_one_of("unit", said.get("unit", "pixels"), UNITS),
        curve=_one_of("curve", said.get("curve", "none"), CURVES),
        anchors=_anchors(said.get("anchors")),
        scale=_scale(said.get("scale", 1.0)),
        strides=strides,
        offset=_number("offset", said.get("offset", 0.0), 0, 1),
        first_class=int(_number("first_class", said.get("first_class", 0), 0, MAX_BOXES)),
        every_class=flag("boxes: every_class", said.get("every_class", False)),
        least_score=_number("least_score", said.get("least_score", 0.3), 0, 1e6),
        overlap=_number("overlap", said.get("overlap", 0.5), 0, 1),
        most=int(_number("most", said.get("most", 100), 1, MAX_BOXES // BOX)),
    )
    _agree(made)
    return made


def _agree(said: Ending) -> None:
    """Refuse what contradicts itself."""
    moves = said.form in ("cxcywh", "cycxhw")
    if said.strides and said.anchors is not None:
        raise ArgumentError("boxes: strides and anchors; anchors say where boxes are, strides that they are cells'")
    if said.form == "ltrb" and not said.strides:
        raise ArgumentError("boxes: form 'ltrb' without strides; give the pixels between two points of each map's grid")
    if (said.strides and not moves and said.form != "ltrb") or (said.anchors is not None and not moves):
        raise ArgumentError(
            f"boxes: form '{said.form}' says where a box is; 'cxcywh' and 'cycxhw' move and scale anchors or the cells "
            "of strides, and 'ltrb' are distances from those cells"
        )
    if said.unit == "cells" and said.form != "ltrb":
        raise ArgumentError("boxes: unit 'cells' is for distances, form 'ltrb'")
    if len(said.boxes) > 1 and said.strides and len(said.strides) != len(said.boxes):
        raise ArgumentError(f"boxes: {len(said.boxes)} maps and {len(said.strides)} strides; give one for each")


def _listed(found: Any) -> list[Any]:
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _parts(key: str, found: Any) -> list[Part]:
    parts = []
    for name in _listed(found):
        if not isinstance(name, str):
            raise ArgumentError(f"boxes: {key}={found!r}; give a tensor's name, or a list of one for each map")
        match = re.fullmatch(r"(.+)\[(\d{0,9}):(\d{0,9})\]", name, re.DOTALL)
        ends = [int(end) if end else None for end in match.groups()[1:]] if match else [None, None]
        parts.append(Part(match[1] if match else name, *ends))
    return parts


def _number(key: str, found: Any, least: float, most: float) -> float:
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise ArgumentError(f"boxes: {key}={found!r}; give a number from {least} to {most}")
    return number


def _one_of(key: str, found: Any, known: Any) -> str:
    if not isinstance(found, str) or found not in known:
        raise ArgumentError(f"boxes: {key}={found!r}; supported are {', '.join(known)}")
    return found


def _scale(found: Any) -> tuple[float, float, float, float]:
    """As `candidates` has it, for y, x, height and width."""
    numbers = [_number("scale", one, 1e-6, 1e6) for one in _listed(found)]
    if len(numbers) == 1:
        numbers *= 4
    if len(numbers) == 2:  # SSD's: of the middle, and of the size
        numbers = [numbers[0], numbers[0], numbers[1], numbers[1]]
    if len(numbers) != 4:
        raise ArgumentError(f"boxes: scale={found!r}; give 1, 2 (middle, size) or 4 (y, x, height, width)")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _anchors(found: Any) -> npt.NDArray[np.float64] | None:
    """An array (n, 4), or the path of a .npy file with one."""
    if found is None:
        return None
    if isinstance(found, (str, os.PathLike)):
        if os.path.getsize(found) > LARGEST_ANCHORS:
            raise ArgumentError(f"boxes: anchors {os.fspath(found)!r} of more than {LARGEST_ANCHORS} bytes")
        try:
            found = np.load(found, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ArgumentError(f"boxes: anchors {os.fspath(found)!r}: give an array's .npy file ({error})") from None
    try:
        array = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 4 or not 0 < len(array) <= MAX_BOXES or not finite_float32(array.ravel()):
        raise ArgumentError(f"boxes: anchors of shape {array.shape}; give (n, 4) numbers, n up to {MAX_BOXES}")
    return array


def ends_at(outputs: Iterable[str] | None, said: Ending | None) -> Ends:
    """The tensors that an import has to reach."""
    ends = {} if outputs is None else {"outputs": outputs}
    return ends if said is None else {**ends, "boxes": said.tensors()}
