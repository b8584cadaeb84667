"""Detection: how the maps of a detector's heads become boxes in the network, and what a run found as a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .build import GraphBuilder
from .check_boxes import BOX
from .errors import ShapeError
from .graph import Boxes, Graph
from .messages import label_of
from .session import Session

ROW_BOXES = 4  # a multiple of it fills panels of channels, whatever is joined


class Head(NamedTuple):
    """A map of a detector: values of scores, (h, w, anchors * classes), and of places, (h, w, anchors * 4), and the
    anchors, float32 (h, w, anchors, 4): middle y and x, height, width, as shares of the picture."""

    scores: str
    places: str
    anchors: npt.NDArray[np.float32]


class Found(NamedTuple):
    """A box, as shares of the picture, its class and that class's label, and how sure the network is."""

    y0: float
    x0: float
    y1: float
    x1: float
    score: float
    number: int
    label: str


def add_boxes(
    graph: Graph,
    heads: Sequence[Head],
    *,
    least_score: float = 0.3,
    overlap: float = 0.5,
    most: int = 100,
    scale: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
    softmax: bool = True,
    first_class: int = 1,
    output: str = "boxes",
) -> None:
    """Ends a detector in boxes: its output, (most, 6), has y0, x0, y1, x1, score and class of each, best first.

    Boxes score more than `least_score`. Of two of one class that share more than `overlap` of what they cover, the
    lesser one goes. Rows behind the last box are zeros. Of each row of a map at most `most` boxes go on. With `softmax`
    scores are no probabilities yet, and become those of each anchor's classes; classes before `first_class` are no
    boxes. A box's middle is its anchor's and place / scale times its size, its size the anchor's times e^(place /
    scale). Scores and places are outputs no more: the planner may make them row by row.
    """
    net = GraphBuilder()
    net.graph = graph
    kept = -(-most // ROW_BOXES) * ROW_BOXES
    if len(heads) < 1 or most < 1:
        raise ShapeError(f"a detector of {len(heads)} maps and {most} boxes; it has one at least")
    fields: dict[str, Any] = {"softmax": softmax, "first_channel": first_class}
    best = []
    for i, head in enumerate(heads):
        name, numbers = f"{output}/map{i}", Boxes(least_score, 0.0, scale)
        weight = np.asarray(head.anchors, np.float32)
        inputs = [head.scores, head.places]
        value = net.add(
            "candidates", inputs, BOX * kept, name=name, output=name, boxes=numbers, weight=weight, **fields
        )
        if len(heads) > 1:  # those of a map in one row, which the others' are joined to
            value = net.add(
                "nms", [value], BOX * kept, name=f"{name}/best", output=f"{name}/best", boxes=Boxes(0.0, 1.0)
            )
        best.append(value)
    value = net.add("concat", best, name=f"{output}/all", output=f"{output}/all") if len(best) > 1 else best[0]
    net.add("nms", [value], BOX * most, name=f"{output}/nms", output=f"{output}/nms", boxes=Boxes(0.0, overlap))
    read = {name for head in heads for name in (head.scores, head.places)}
    graph.outputs = [made for made in graph.outputs if made.value not in read]
    net.output(f"{output}/nms", (most, BOX), output)


def detect(session: Session, picture: npt.NDArray[Any]) -> list[Found]:
    """The boxes that a network finds in a picture as `Session.run` takes it, best first.

    The network has one input and one output of (boxes, 6), as `add_boxes` makes it.
    """
    if not isinstance(session, Session):
        raise TypeError(f"a session and a picture are taken, not {type(session).__name__}")
    shape = session.outputs[0].shape
    stages = [stage for part in session.plan.segments for stage in part.stages]
    if len(session.inputs) != 1 or len(session.outputs) != 1 or stages[-1].kind != "nms":
        raise ShapeError(
            f"output '{session.outputs[0].name}' of shape {shape} has no boxes; supported are networks of one input "
            "and one output that end in nms (mbinfer.detection.add_boxes)"
        )
    found = session.run(picture)
    assert isinstance(found, np.ndarray)
    labels = session.labels
    boxes = []
    for y0, x0, y1, x1, score, number in found[found[:, 4] > 0].tolist():
        boxes.append(Found(y0, x0, y1, x1, score, int(number), label_of(labels, int(number))))
    return boxes
