"""The end that a caller gives a detector which has none: tensors of boxes and scores become the boxes that are left.

Sources end where their framework's own code goes on: in corners or middles, in distances from the points of a grid, or
in numbers that move and scale anchors; in one tensor or several, in one for each map or for all. What is emitted here
begins with a row for each box, (n, 1, numbers), and ends in `nms`. boxes_argument.py reads what the caller says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..check_boxes import BOX, MAX_BOXES
from ..errors import ArgumentError, UnsupportedError
from ..graph import Boxes
from .boxes_argument import FORMS, Ending, Part
from .detecting import counted, every_class, suppressed
from .emitting import SourceNode
from .given import given
from .layout import AXES, Tensor, order_of
from .moving import blocks, channels
from .unfolding import one_column, with_columns_as_channels
from .walking import Walk


def add_ending(low: Walk, said: Ending) -> str:
    """The boxes that are left, as a tensor of the walk, whose name is returned."""
    name = low.fresh("boxes")
    node = SourceNode(name, "boxes", [], [name])
    if len(low.graph.inputs) != 1:
        raise ArgumentError(f"boxes: of one picture; this model has {len(low.graph.inputs)} inputs")
    at = 0
    corners, rest = [], []
    for i, part in enumerate(said.boxes):
        level = f"{i}/" if len(said.boxes) > 1 else ""
        distances = said.form == "ltrb"
        places = _rows(low, node, part, f"{level}boxes", each=0 if distances or not part.is_whole() else 4)
        count = low.builder.dims(places)[0]
        scores = _scores(low, node, said, said.scores[i], count, f"{level}scores")
        classes, objectness = low.builder.dims(scores)[2], ""
        if classes <= said.first_class:
            raise low.unsupported(node, f"class {said.first_class} first, of {classes}", "a class at least")
        if said.objectness:
            objectness = _scores(low, node, said, said.objectness[i], count, f"{level}objectness")
        anchors = _anchors_of(low, node, said, i, at, count)
        corners.append(_corners(low, node, said, places, anchors, level))
        rest.append((scores, objectness))
        at += count
    if said.anchors is not None and at != len(said.anchors):
        raise low.unsupported(node, f"{len(said.anchors)} anchors of {at} boxes", "an anchor for each box")
    if at > MAX_BOXES:
        raise low.unsupported(node, f"{at} boxes", f"up to {MAX_BOXES}")
    make = _every_class if said.every_class else _best_class
    value = make(low, node, said, corners, rest)
    low.env[name] = Tensor(value, low.builder.dims(value), "C", (said.most, BOX))
    return name


def ends_of(low: Walk, said: Ending | None, outputs: Iterable[str] | None, own: list[str]) -> list[str]:
    """The tensors that a walk's graph ends at: `own`, or the boxes and what `outputs` asks for beside them."""
    return own if said is None else [add_ending(low, said), *(outputs or ())]


def _rows(low: Walk, node: SourceNode, said: Part, part: str, each: int = 0, count: int = 0) -> str:
    """The value (n, 1, numbers) of a tensor: a row for each box, of `each` numbers, or as many rows as `count`; without
    either as many numbers as the tensor's channels, or its last axis."""
    x = low.env.get(said.name)
    if isinstance(x, UnsupportedError):
        raise x
    if not isinstance(x, Tensor):
        raise low.unsupported(node, f"'{said.name}' is no tensor that the network computes", "computed tensors")
    if x.value in low.graph.types:
        x = replace(x, value=low.emit(node, "convert", [x.value], f"{part}/real"))
    x = with_columns_as_channels(low, replace(node, outputs=[f"{node.outputs[0]}/{part}"]), x)
    total = math.prod(x.dims)
    letters = [x.letters_of(axis) for axis in range(len(x.shape))]
    if not each and count and said.is_whole():
        each = total // count if total % count == 0 else 0
    if not each:
        each = x.dims[2] if "C" in letters else x.shape[-1] if x.shape else 1
    by_pixel = x.order.replace("C", "") == order_of("HW", x.dims)
    if not by_pixel or x.dims[2] % each or ("C" not in letters and x.order[-1:] == "C" and x.shape[-1] != each):
        raise low.unsupported(
            node, f"'{said.name}' of {x.shape}, which holds {x.dims} in order {x.order}", "numbers of each box together"
        )
    x = one_column(low, node, replace(x, order=order_of(AXES, x.dims)), f"{part}/")
    groups = x.dims[2] // each
    if groups > 1:
        x = blocks(low, node, x, (groups, 1), "HC", x.shape, f"{part}/rows")
    if not said.is_whole():
        first, end, _ = slice(said.first, said.end).indices(each)
        if first >= end:
            raise low.unsupported(node, f"numbers {first} to {end} of {each} of '{said.name}'", "those that there are")
        x = _joined(low, x, first, end) or channels(
            low, node, replace(x, shape=(1, *x.dims)), first, end - first, 3, part
        )
    if count and x.dims[0] != count:
        raise low.unsupported(node, f"{count} boxes and '{said.name}' of {x.shape}", "numbers for each box")
    return x.value


def _joined(low: Walk, x: Tensor, first: int, end: int) -> Tensor | None:
    """What was joined to be these channels of `x`, which nobody then needs: quantised by itself, it has a scale of its
    own. None where it was not."""
    writer = low.writer.get(x.value)
    if writer is None or writer.op != "concat":
        return None
    at = 0
    for name in writer.inputs:
        dims = low.builder.dims(name)
        if (at, at + dims[2]) == (first, end):
            return Tensor(name, dims, order_of(AXES, dims), (1, *dims))
        at += dims[2]
    return None


def _scores(low: Walk, node: SourceNode, said: Ending, of: Part, count: int, part: str) -> str:
    value = _rows(low, node, of, part, count=count)
    x = Tensor(value, low.builder.dims(value), "", ())
    if said.curve == "sigmoid":
        return low.affine(node, x, part=f"{part}/sigmoid", activation="sigmoid").value
    if said.curve == "softmax" and said.every_class:  # of the best class alone `candidates` makes it
        return low.emit(node, "softmax", [value], f"{part}/softmax")
    return value


def _sides(low: Walk) -> npt.NDArray[np.float64]:
    """Height and width of the picture."""
    (name,) = low.graph.inputs
    return np.array(low.graph.values[name][:2], np.float64)


def _shares(low: Walk, said: Ending) -> npt.NDArray[np.float64]:
    """Factors that make shares of the picture of numbers in the order y, x, y, x, or y, x, height, width."""
    return np.ones(4) if said.unit == "shares" else 1 / np.tile(_sides(low), 2)


def _anchors_of(
    low: Walk, node: SourceNode, said: Ending, level: int, first: int, count: int
) -> npt.NDArray[np.float64] | None:
    """Middle y and x, height and width of the anchors that the boxes of a tensor begin at, as shares of the picture."""
    if said.anchors is not None:
        some: npt.NDArray[np.float64] = said.anchors[first : first + count]
        some = some[:, [1, 0, 3, 2]] if said.form == "cxcywh" else some
        return some * _shares(low, said) if len(some) == count else np.ones((count, 4))  # counted when all are known
    if not said.strides:
        return None
    made = []
    strides = said.strides[level : level + 1] if len(said.boxes) > 1 else said.strides
    sides = _sides(low)
    grids = [[int(-(-side // stride)) for side in sides] for stride in strides]
    cells = sum(map(math.prod, grids))
    if cells != count:  # known before they are made
        raise low.unsupported(node, f"{count} boxes and {cells} cells of strides {said.strides}", "a box for each cell")
    for stride, (rows, columns) in zip(strides, grids):
        points = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), 2).reshape(-1, 2)
        made.append(np.concatenate([(points + said.offset) * stride, np.full((len(points), 2), stride)], 1))
    shares: npt.NDArray[np.float64] = np.concatenate(made) / np.tile(sides, 2)
    return shares


def _corners(
    low: Walk,
    node: SourceNode,
    said: Ending,
    places: str,
    anchors: npt.NDArray[np.float64] | None,
    level: str,
) -> str:
    """y0, x0, y1, x1 as shares of the picture."""
    each = low.builder.dims(places)[2]
    if said.form == "ltrb":
        assert anchors is not None
        return _distances(low, node, said, places, anchors, level)
    if each != 4:
        raise low.unsupported(node, f"boxes of {each} numbers", "4 numbers, which name[a:b] chooses of more")
    if anchors is None:
        weight = np.array(FORMS[said.form]) * _shares(low, said)[:, None]
        return low.emit(node, "conv", [places], f"{level}corners", weight=weight.reshape(4, 1, 1, 4))
    if said.form == "cxcywh":
        turn = np.eye(4)[[1, 0, 3, 2]].reshape(4, 1, 1, 4)
        places = low.emit(node, "conv", [places], f"{level}y before x", weight=turn)
    one = low.emit(node, "slice", [places], f"{level}number", channels=1)
    sure = low.affine(node, Tensor(one, low.builder.dims(one), "", ()), 0.0, 1.0, part=f"{level}sure").value
    decoded = _candidates(low, node, sure, places, anchors, Boxes(0.0, 0.0, said.scale), f"{level}decoded")
    return low.emit(node, "slice", [decoded], f"{level}corners", channels=4)


def _distances(
    low: Walk, node: SourceNode, said: Ending, places: str, anchors: npt.NDArray[np.float64], level: str
) -> str:
    """Corners at distances from points: four numbers, or four rows of probabilities, whose mean bin is the distance
    (generalised focal loss, arXiv 2006.04388)."""
    count, _, each = low.builder.dims(places)
    bins = each // 4
    if each % 4:
        raise low.unsupported(node, f"distances of {each} numbers", "4, or as many bins for each of them")
    weight = np.array(FORMS["ltrb"])
    if bins > 1:
        x = Tensor(places, (count, 1, each), "HC", (1, count, 4, bins))
        by_side = blocks(low, node, x, (1, 4), AXES, x.shape, f"{level}bins")
        likely = low.emit(node, "softmax", [by_side.value], f"{level}probabilities")
        mean = np.arange(bins, dtype=np.float64).reshape(1, 1, 1, bins)
        side = low.emit(node, "conv", [likely], f"{level}mean bin", weight=mean)
        # a side's distance is a pixel of its own: one kernel as wide as the row sees all four
        corners = low.emit(node, "conv", [side], f"{level}sides", kernel=(1, 4), weight=weight.reshape(4, 1, 4, 1))
    else:
        corners = low.emit(node, "conv", [places], f"{level}sides", weight=weight.reshape(4, 1, 1, 4))
    sizes = anchors[:, 2:] if said.unit == "cells" else np.ones((count, 2))
    if said.unit == "pixels":
        sizes = sizes / _sides(low)
    x = Tensor(corners, (count, 1, 4), "HC" if count > 1 else "C", (count, 4))
    if (sizes == sizes[0]).all():
        x = low.affine(node, x, np.tile(sizes[0], 2), part=f"{level}shares")
    else:
        x = _beside(low, node, x, np.tile(sizes, 2), "mul", f"{level}shares")
    return _beside(low, node, x, np.tile(anchors[:, :2], 2), "add", f"{level}corners").value


def _beside(low: Walk, node: SourceNode, x: Tensor, constant: npt.NDArray[np.float64], op: str, part: str) -> Tensor:
    numbers = given(low, replace(node, outputs=[f"{node.outputs[0]}/{part}"]), x, constant)
    if numbers is None or numbers.dims != x.dims:
        raise low.unsupported(node, f"{x.dims[0]} boxes", "as many as a grid of them can be made for")
    return replace(x, value=low.emit(node, op, [x.value, numbers.value], part))


def _candidates(
    low: Walk,
    node: SourceNode,
    scores: str,
    places: str,
    anchors: npt.NDArray[np.float64],
    boxes: Boxes,
    part: str,
    **options: Any,
) -> str:
    table = anchors.astype(np.float32).reshape(-1, 1, 1, 4)
    options = {"channels": BOX, "weight": table, "boxes": boxes, "anchorwise": True, **options}
    return low.emit(node, "candidates", [scores, places], part, **options)


def _best_class(low: Walk, node: SourceNode, said: Ending, corners: list[str], rest: list[tuple[str, str]]) -> str:
    """Each box is of its best class, and goes where a better one of that class covers it."""
    made = []
    for i, (value, (scores, objectness)) in enumerate(zip(corners, rest)):
        level = f"{i}/" if len(corners) > 1 else ""
        count, least = low.builder.dims(value)[0], 0.0 if objectness else said.least_score
        options = {"softmax": said.curve == "softmax", "first_channel": said.first_class}
        # boxes of anchors of no size are not looked at: class and score of the best one alone
        none = np.zeros((count, 4))
        best = _candidates(low, node, scores, value, none, Boxes(least, 0.0, (1.0,) * 4), f"{level}best", **options)
        score = low.emit(node, "slice", [best], f"{level}score", channels=1, first_channel=4)
        number = low.emit(node, "slice", [best], f"{level}class", channels=1, first_channel=5)
        if objectness:
            product = low.emit(node, "mul", [score, objectness], f"{level}product")
            score = counted(low, node, product, said.least_score)
        made.append(low.emit(node, "concat", [value, score, number], f"{level}rows"))
    rows = low.emit(node, "stack", made, "rows") if len(made) > 1 else made[0]
    return low.emit(node, "nms", [rows], channels=BOX * said.most, boxes=Boxes(0.0, said.overlap))


def _every_class(low: Walk, node: SourceNode, said: Ending, corners: list[str], rest: list[tuple[str, str]]) -> str:
    """A box counts for each class of which it scores enough."""
    made = []
    for i, (scores, objectness) in enumerate(rest):
        level = f"{i}/" if len(corners) > 1 else ""
        if objectness:
            scores = low.emit(node, "mul", [scores, objectness], f"{level}product")
        made.append(counted(low, node, scores, said.least_score))
    boxes, scores = (low.emit(node, "stack", v, n) if len(v) > 1 else v[0] for v, n in ((corners, "all"), (made, "s")))
    count, _, classes = low.builder.dims(scores)
    of_classes = every_class(low, node, boxes, scores, said.first_class)
    of_each = min(said.most, count)
    return suppressed(low, node, of_classes, classes - said.first_class, said.overlap, of_each, said.most)
