"""NonMaxSuppression, in which detectors end: what it makes here are the boxes that are left, not their numbers."""

from __future__ import annotations

import numpy as np

from ..detecting import boxes_of, corners, counted, refuse_readers, rows_of
from ..layout import Tensor
from .lowering import Lowering, lowers
from .reading import OnnxNode


@lowers("NonMaxSuppression")
def non_max_suppression(low: Lowering, node: OnnxNode) -> Tensor:
    """Boxes (1, n, 4) and scores (1, classes, n). Of each class, the best boxes that no better one of it covers."""
    refuse_readers(low, node, [f"{r.op} '{r.name}'" for r in low.readers.get(node.outputs[0], [])], node.outputs[0])
    places, scores = low.tensor(node, 0), low.tensor(node, 1)
    if len(places.shape) != 3 or len(scores.shape) != 3 or places.shape[1:] != (scores.shape[2], 4):
        raise low.unsupported(
            node, f"boxes and scores of {places.shape} and {scores.shape}", "(1, n, 4) and (1, classes, n)"
        )
    most, overlap = (float(np.ravel(low.constant(node, i, 0.0)).item()) for i in (2, 3))
    least = low.constant(node, 4)
    if not 0 <= overlap <= 1:
        raise low.unsupported(node, f"the overlap {overlap}", "overlaps from 0 to 1")
    by_middle = bool(node.attrs.get("center_point_box", 0))
    boxes = corners(low, node, rows_of(low, node, places, 1, 2, "boxes"), by_middle)
    kept = counted(
        low,
        node,
        rows_of(low, node, scores, 2, 1, "scores"),
        None if least is None else float(np.ravel(least).item()),
    )
    return boxes_of(low, node, boxes, kept, int(most), overlap)
