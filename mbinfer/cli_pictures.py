"""The commands that look into a picture and draw what they find: segment and detect."""

from __future__ import annotations

import argparse
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from . import detection, image, segmentation
from .errors import Error, ShapeError
from .messages import label_of, printable


def add_commands(
    command: Callable[..., argparse.ArgumentParser],
    planning: argparse.ArgumentParser,
    open_session: Callable[[argparse.Namespace], Any],
    show: Callable[[argparse.Namespace, str, Any], None],
) -> None:
    """`open_session` and `show` are the command line's: a session by the options, and its text or JSON."""

    def segment(options: argparse.Namespace) -> None:
        show(options, *_segment(options, open_session(options)))

    sub = command(segment, "tell which class each pixel of a picture belongs to", planning)
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("picture", metavar="PICTURE")
    sub.add_argument("-o", "--output", metavar="PNG", help="where to draw the classes: a picture of PICTURE's size")

    def detect(options: argparse.Namespace) -> None:
        show(options, *_detect(options, open_session(options)))

    sub = command(detect, "find what a detector knows in a picture, and where", planning)
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("picture", metavar="PICTURE")
    sub.add_argument(
        "--least", type=float, default=0.0, metavar="SCORE", help="show those that score more (from 0 to 1)"
    )
    sub.add_argument("-o", "--output", metavar="FILE", help="where to draw the picture with its boxes")


def _detect(options: argparse.Namespace, session: Any) -> tuple[str, Any]:
    try:
        found = detection.detect(session, _look_at(options, session))
    except ShapeError as error:
        raise Error(f"{options.model}: {error}") from None
    height, width = image.size(options.picture)
    shown = [box for box in found if box.score > options.least]
    boxes: list[dict[str, Any]] = [
        {
            "label": box.label,
            "class": box.number,
            "score": box.score,
            "y0": box.y0 * height,
            "x0": box.x0 * width,
            "y1": box.y1 * height,
            "x1": box.x1 * width,
        }
        for box in shown
    ]
    if options.output:
        image.save_boxes(options.output, options.picture, boxes, segmentation.colors(256))
    sides = ("y0", "x0", "y1", "x1")
    lines = [f"{options.picture}: {len(boxes)} found" + (f", drawn in {options.output}" if options.output else "")]
    for one in boxes:
        y0, x0, y1, x1 = (round(one[side]) for side in sides)
        where = f"rows {y0} to {y1}, columns {x0} to {x1}"
        lines.append(f"  {100 * one['score']:6.2f} %  {printable(one['label'])}  {where}")
    return "\n".join(lines), {"path": options.picture, "output": options.output, "boxes": boxes}


def _segment(options: argparse.Namespace, session: Any) -> tuple[str, Any]:
    try:
        classes = segmentation.segment(session, _look_at(options, session))
    except ShapeError as error:
        raise Error(f"{options.model}: {error}") from None
    numbers, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    found: list[dict[str, Any]] = [
        {
            "class": int(numbers[i]),
            "label": label_of(session.labels, int(numbers[i])),
            "share": float(counts[i] / classes.size),
        }
        for i in order
    ]
    if options.output:
        image.save_classes(options.output, classes, segmentation.colors(256), image.size(options.picture))
    text = "\n".join(
        [
            f"{options.picture}: {classes.shape[1]} x {classes.shape[0]} pixels"
            + (f", drawn in {options.output}" if options.output else ""),
            *(f"  {100 * one['share']:6.2f} %  {printable(one['label'])}" for one in found),
        ]
    )
    shape = dict(zip(("height", "width"), classes.shape))
    return text, {"path": options.picture, "output": options.output, **shape, "classes": found}


def _look_at(options: argparse.Namespace, session: Any) -> npt.NDArray[np.uint8]:
    """The whole picture, of the network's size."""
    _, height, width, _ = session.inputs[0].shape
    return image.load(options.picture, session.recipe, height, width, whole=True)
