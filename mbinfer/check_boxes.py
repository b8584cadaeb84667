"""The rules of nodes that make boxes, candidates and nms: shapes, anchors, and the numbers that they have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import FormatError, ShapeError
from .graph import Boxes, Node

BOX = 6  # numbers of a box: y0, x0, y1, x1, score, class
MAX_BOXES = 1 << 16  # that nms chooses from
BOX_OPS = ("candidates", "nms")


def check_boxes(where: str, node: Node, shapes: Sequence[tuple[int, int, int]], made: int) -> None:
    """Check a node with inputs of `shapes` that makes `made` channels."""
    decodes = node.op == "candidates"
    _check_numbers(where, node, decodes)
    if made % BOX:
        raise ShapeError(f"{where}: makes {made} numbers; a box has {BOX}")
    height, width, channels = shapes[0]
    if not decodes:
        if width != 1 or channels % BOX or height * (channels // BOX) > MAX_BOXES:
            raise ShapeError(
                f"{where}: input {shapes[0]}; it chooses from (height, 1, boxes x {BOX}), {MAX_BOXES} boxes"
            )
        if node.weight is not None or node.first_channel:
            raise FormatError(f"{where}: anchors or a first class, which this op does not take")
        return
    places = shapes[1]
    anchors = places[2] // 4
    if places[:2] != (height, width) or places[2] % 4 or channels % anchors:
        raise ShapeError(f"{where}: scores {shapes[0]} and places {places} of different anchors")
    if not 0 <= node.first_channel < channels // anchors:
        raise FormatError(f"{where}: class {node.first_channel} first, of {channels // anchors}")
    if node.anchorwise and made != width * anchors * BOX:
        raise ShapeError(f"{where}: makes {made} numbers; {width * anchors} anchors have {width * anchors * BOX}")
    expected, found = (height, width, anchors, 4), None if node.weight is None else np.shape(node.weight)
    if found != expected:
        raise ShapeError(f"{where}: anchors of shape {found}; it needs {expected}")
    if not np.isfinite(np.asarray(node.weight, np.float32)).all():
        raise FormatError(f"{where}: anchors that are NaN, infinite, or too large for float32")


def _check_numbers(where: str, node: Node, decodes: bool) -> None:
    boxes = node.boxes or Boxes()
    numbers = np.array([boxes.least_score, boxes.overlap, *boxes.scale], np.float32)
    if len(numbers) != 6 or not (np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise FormatError(f"{where}: {boxes}; its numbers are finite, and 0 or more")
    if (decodes and (boxes.overlap or min(numbers[2:]) < np.finfo(np.float32).tiny)) or (
        not decodes and (boxes.least_score or any(boxes.scale))
    ):
        raise FormatError(f"{where}: {boxes}; candidates have a score and scales above 0, nms has an overlap")
    if node.bias is not None or node.weight_scale is not None:
        raise FormatError(f"{where}: a bias or scales of weights, which this op does not take")
