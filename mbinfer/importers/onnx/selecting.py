"""What to say to `convert(..., boxes=)` of a detector that selects its boxes in operators of no fixed size.

torchvision writes SSD so: of each class the scores that exceed a number and the boxes that have them (NonZero,
GatherND), then one NonMaxSuppression in which those of each class were moved away from the others' (`batched_nms`), and
the best of what is left. Found here are the tensors that this begins with, and the numbers that it goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layout import Tensor
from .constants import to_array
from .reading import OnnxNode, nodes_of
from .walk import OnnxWalk

BETWEEN = frozenset(("Cast", "Unsqueeze"))  # from boxes that were moved to NonMaxSuppression


@dataclass(frozen=True)
class Column:
    """The scores of a class, `of` all classes' tensor, which are selected where they exceed `least`."""

    name: str
    of: str
    number: float
    least: float


def selected_boxes(low: OnnxWalk) -> dict[str, Any] | None:
    """The argument `boxes` that does what the model does; None where that is not certain."""
    columns = list(dict.fromkeys(_columns(low)))  # its scores are selected, and its boxes
    taken = set(_taken(low)) - {column.name for column in columns}
    last = _suppression(low)
    if last is None or len(taken) != 1 or len({(column.of, column.least) for column in columns}) != 1:
        return None
    (boxes,), scores, first = taken, columns[0].of, int(columns[0].number)
    shapes = [x.shape if isinstance(x, Tensor) else () for x in (low.env.get(boxes), low.env.get(scores))]
    classes = first + len(columns)
    if [column.number for column in columns] != list(range(first, classes)) or shapes[1][1:] != (classes,):
        return None
    if shapes[0] != (shapes[1][0], 4):
        return None
    said = {"boxes": boxes, "scores": scores, "form": "xyxy", "first_class": first, "every_class": True}
    return {**said, "least_score": columns[0].least, **last}


def _columns(low: OnnxWalk) -> Iterator[Column]:
    for node in low.nodes:
        compared = low.producers.get(node.inputs[0]) if node.op == "NonZero" else None
        column = low.producers.get(compared.inputs[0]) if compared is not None and compared.op == "Greater" else None
        if compared is None or column is None or column.op != "Gather" or column.attrs.get("axis") != 1:
            continue
        number, least = _number(low.env.get(column.inputs[1])), _number(low.env.get(compared.inputs[1]))
        if number is not None and least is not None:
            yield Column(column.outputs[0], column.inputs[0], number, least)


def _taken(low: OnnxWalk) -> Iterator[str]:
    """The tensors of which those rows are taken where a comparison holds."""
    for node in low.nodes:
        turned = low.producers.get(node.inputs[1]) if node.op == "GatherND" else None
        places = low.producers.get(turned.inputs[0]) if turned is not None and turned.op == "Transpose" else None
        if places is not None and places.op == "NonZero":
            yield node.inputs[0]


def _suppression(low: OnnxWalk) -> dict[str, Any] | None:
    """How much boxes of a class may overlap and how many are left of all, of the one NonMaxSuppression, which is run if
    there are boxes at all."""
    found = []
    for node in low.nodes:
        for key in ("then_branch", "else_branch") if node.op == "If" else ():
            inside = nodes_of(node.attrs[key])
            overlaps = [_overlap(inside, one) for one in inside if one.op == "NonMaxSuppression"]
            found += [(overlap, _most(low, node.outputs[0])) for overlap in overlaps]
    if len(found) != 1 or None in found[0]:
        return None
    return dict(zip(("overlap", "most"), found[0]))


def _overlap(inside: Iterable[OnnxNode], node: OnnxNode) -> float | None:
    """None where boxes of different classes may cover each other, or are no corners."""
    makers = {name: one for one in inside for name in one.outputs}
    moved = makers.get(node.inputs[0])
    while moved is not None and moved.op in BETWEEN:
        moved = makers.get(moved.inputs[0])
    constant = makers.get(node.inputs[3]) if len(node.inputs) > 3 else None
    if moved is None or moved.op != "Add" or constant is None or node.attrs.get("center_point_box"):
        return None
    return _number(to_array(constant.attrs["value"])) if "value" in constant.attrs else None


def _most(low: OnnxWalk, name: str) -> int | None:
    """How many of the boxes that are left, best first, are read."""
    readers = low.readers.get(name, [])
    if len(readers) != 1 or readers[0].op != "Slice" or len(readers[0].inputs) < 3:
        return None
    first, end = (_number(low.env.get(readers[0].inputs[i])) for i in (1, 2))
    return int(end) if first == 0 and end is not None else None


def _number(found: Any) -> float | None:
    """A constant of one number, as short as float32 can be written."""
    return float(str(np.float32(found.item()))) if isinstance(found, np.ndarray) and found.size == 1 else None
