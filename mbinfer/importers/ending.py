"""The end that a caller gives a detector which has none: tensors of boxes and scores become the boxes that are left.

Sources end where their framework's own code goes on: in corners or middles, in distances from the points of a grid, or
in numbers that move and scale anchors; in one tensor or several, in one for each map or for all. What is emitted here
begins with a row for each box, (n, 1, numbers), and ends in `nms`.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..check_boxes import BOX, MAX_BOXES
from ..check_types import finite_float32
from ..errors import ArgumentError, UnsupportedError
from ..graph import Boxes
from ..options import flag
from .detecting import counted, every_class, suppressed
from .emitting import SourceNode
from .given import given
from .layout import AXES, Tensor, order_of
from .moving import blocks, channels
from .unfolding import one_column, with_columns_as_channels
from .walking import Walk

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


def ends_at(outputs: Iterable[str] | None, said: Ending | None) -> Iterable[str] | None:
    """The tensors that an import has to reach: `outputs`, where they are given, and those of boxes."""
    if said is None:
        return outputs
    return list(dict.fromkeys([*(outputs or ()), *said.tensors()]))


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


def _anchors_of(
    low: Walk, node: SourceNode, said: Ending, level: int, first: int, count: int
) -> npt.NDArray[np.float64] | None:
    """Middle y and x, height and width of the anchors that the boxes of a tensor begin at, as shares of the picture."""
    (name,) = low.graph.inputs
    height, width, _ = low.graph.values[name]
    unit = np.ones(4) if said.unit == "shares" else 1 / np.array([height, width, height, width])
    if said.anchors is not None:
        some: npt.NDArray[np.float64] = said.anchors[first : first + count]
        some = some[:, [1, 0, 3, 2]] if said.form == "cxcywh" else some
        return some * unit if len(some) == count else np.ones((count, 4))  # counted when all are known
    if not said.strides:
        return None
    made = []
    for stride in said.strides[level : level + 1] if len(said.boxes) > 1 else said.strides:
        rows, columns = -(-height // stride), -(-width // stride)
        points = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), 2).reshape(-1, 2)
        made.append(np.concatenate([(points + said.offset) * stride, np.full((len(points), 2), stride)], 1))
    cells = np.concatenate(made)
    if len(cells) != count:
        raise low.unsupported(
            node, f"{count} boxes and {len(cells)} cells of strides {said.strides}", "a box for each cell"
        )
    shares: npt.NDArray[np.float64] = cells / np.array([height, width, height, width])
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
    (name,) = low.graph.inputs
    height, width, _ = low.graph.values[name]
    count, _, each = low.builder.dims(places)
    if said.form == "ltrb":
        assert anchors is not None
        return _distances(low, node, said, places, anchors, level)
    if each != 4:
        raise low.unsupported(node, f"boxes of {each} numbers", "4 numbers, which name[a:b] chooses of more")
    if anchors is None:
        unit = np.ones(4) if said.unit == "shares" else 1 / np.array([height, width, height, width])
        weight = np.array(FORMS[said.form]) * unit[:, None]
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
    (name,) = low.graph.inputs
    height, width, _ = low.graph.values[name]
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
        sizes = sizes / np.array([height, width])
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
