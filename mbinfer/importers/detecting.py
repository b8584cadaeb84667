"""The end of a detector of any source: boxes that a better one covers go (non-maximum suppression, NMS).

A run makes a fixed number of rows of six numbers, y0, x0, y1, x1, score, class, best first; rows behind the last box
are zeros. How many there are is what a source leaves open, so that nothing may read them but the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ..check_boxes import BOX, MAX_BOXES
from ..graph import Boxes
from ..limits import MAX_SIDE
from .emitting import SourceNode
from .layout import Tensor
from .moving import blocks
from .walking import Walk

BIG = 2.0**100  # times which what exceeds a score is 1 or more
NEVER_NEGATIVE = ("sigmoid", "exp", "softplus")
MOVES = ("stack", "concat", "resize", "depth_to_space")


def rows_of(low: Walk, node: SourceNode, x: Tensor, pixels: int, numbers: int, part: str) -> str:
    """The value (n, 1, k) that has a row for each of the n boxes along axis `pixels` of `x`, and its k numbers."""
    count, each, groups = x.shape[pixels], x.shape[numbers] if numbers >= 0 else 1, x.groups()
    if math.prod(x.shape) == count * each and count <= MAX_BOXES:
        by_pixel = groups is not None and groups[pixels] in ("HW", "H", "W", "") and x.dims[2] == each
        if by_pixel:
            return x.value if x.dims[1] == 1 else _column(low, node, x.value, part)
        if x.dims == (1, 1, count * each) and (each == 1 or pixels < numbers):
            return blocks(low, node, x, (count, 1), "HWC", (1, count, 1, each), part).value
    raise low.unsupported(
        node, f"{x.shape} that holds {x.dims} in order {x.order}", f"a row for each of up to {MAX_BOXES} boxes"
    )


def _column(low: Walk, node: SourceNode, value: str, part: str) -> str:
    """The pixels of a picture, row by row, one below the other: a stack of its two halves."""
    height, width, _ = low.builder.dims(value)
    first = (height // 2, width) if height > 1 else (1, width // 2)
    sizes = [first, (height - first[0], width) if height > 1 else (1, width - first[1])]
    halves = []
    for i, size in enumerate(sizes):
        rows, columns = ((1, 1, i * first[0]), (1, 1, 0)) if height > 1 else ((1, 1, 0), (1, 1, i * first[1]))
        fields = {"rows": rows, "columns": columns, "size": size}
        halves.append(low.emit(node, "resize", [value], f"{part}/half{i}", **fields))
    return low.emit(node, "stack", halves, part, size=(height * width, 1))


def corners(low: Walk, node: SourceNode, boxes: str, by_middle: bool) -> str:
    """y0, x0, y1, x1 of boxes (n, 1, 4), which are two corners that face each other, or middle x, y, width, height."""
    if by_middle:
        weight = np.array([[0, 1, 0, -0.5], [1, 0, -0.5, 0], [0, 1, 0, 0.5], [1, 0, 0.5, 0]]).reshape(4, 1, 1, 4)
        return low.emit(node, "conv", [boxes], "corners", weight=weight)
    ends = [low.emit(node, "slice", [boxes], f"end{i}", channels=2, first_channel=i) for i in (0, 2)]
    least, most = low.emit(node, "min", ends, "least"), low.emit(node, "max", ends, "most")
    return low.emit(node, "concat", [least, most], "corners")


def counted(low: Walk, node: SourceNode, scores: str, least: float | None) -> str:
    """Scores, 0 where they do not exceed `least`; None: all count, which are told from none by being above 0."""
    if least is None:
        if not _above_zero(low, scores):
            raise low.unsupported(node, "no least score, and scores that may be negative", "a score threshold from 0")
        return scores
    if not 0 <= least <= 1e6:
        raise low.unsupported(node, f"the score threshold {least}", "thresholds from 0")
    x = Tensor(scores, low.builder.dims(scores), "", ())
    is_one = low.affine(node, x, BIG, -least * BIG, part="counts", activation="clamp", clamp=(0.0, 1.0))
    return low.emit(node, "mul", [scores, is_one.value], "counted")


def _above_zero(low: Walk, value: str) -> bool:
    """Whether all numbers of a value are what a softmax or a curve above 0 made."""
    writer = low.writer.get(value)
    if writer is not None and writer.op in MOVES:
        return all(_above_zero(low, name) for name in writer.inputs)
    return writer is not None and (writer.op == "softmax" or writer.activation in NEVER_NEGATIVE)


def suppressed(
    low: Walk,
    node: SourceNode,
    of_classes: Iterable[str],
    classes: int,
    overlap: float,
    of_each: int,
    most: int,
    part: str = "",
) -> str:
    """The best boxes of all classes, `most` of them, of which there are `of_each` of a class at most.

    `of_classes`: for each of them the value (n, 1, 6) of its boxes, made when it is asked for: all at once would take
    as much memory as there are classes.
    """
    if min(of_each, most) < 1 or most * BOX > MAX_SIDE:
        raise low.unsupported(
            node, f"{of_each} boxes of each of {classes} classes, {most}", f"1 to {MAX_SIDE // BOX} boxes"
        )
    alone = classes == 1
    kept = [
        low.emit(
            node,
            "nms",
            [value],
            part if alone else f"nms{i}",
            channels=BOX * (min(of_each, most) if alone else of_each),
            boxes=Boxes(0.0, overlap),
            anchorwise=True,
        )
        for i, value in enumerate(of_classes)
    ]
    if alone:
        return kept[0]
    every = low.emit(node, "stack", kept, "nms")
    return low.emit(node, "nms", [every], part, channels=BOX * most, boxes=Boxes(0.0, 1.0), anchorwise=True)


def boxes_of(low: Walk, node: SourceNode, boxes: str, scores: str, of_each: int, overlap: float) -> Tensor:
    """The boxes that are left of each class: `boxes` (n, 1, 4) are corners, `scores` (n, 1, classes) are 0 of those
    that do not count."""
    count, _, classes = low.builder.dims(scores)
    of_each = min(of_each, count)
    most = of_each * classes
    value = suppressed(low, node, every_class(low, node, boxes, scores), classes, overlap, of_each, most)
    return Tensor(value, low.builder.dims(value), "C", (most, BOX))


def every_class(low: Walk, node: SourceNode, boxes: str, scores: str, first: int = 0) -> Iterator[str]:
    """For each class from the `first` on the value (n, 1, 6) of its boxes, of the corners and scores of all of them."""
    for c in range(first, low.builder.dims(scores)[2]):
        score = low.emit(node, "slice", [scores], f"score{c}", channels=1, first_channel=c)
        # the score and the class's number: of the one channel, where it lies
        named = np.array([1.0, 0.0]).reshape(2, 1, 1, 1), np.array([0.0, c])
        pair = low.emit(node, "conv", [score], f"class{c}", weight=named[0], bias=named[1])
        yield low.emit(node, "concat", [boxes, pair], f"boxes{c}")


def refuse_readers(low: Walk, node: SourceNode, readers: list[str], name: str) -> None:
    """What counts boxes of the picture at hand has no fixed size: nothing in the network may go on from there."""
    if readers:
        raise low.unsupported(
            node,
            f"{readers[0]} goes on with as many boxes as a picture has",
            f"ending there: convert(..., outputs=['{name}']) makes rows of y0, x0, y1, x1, score, class",
        )
