"""Segmentation: the class of each pixel of a picture, as an array, and the colours in which it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ShapeError
from .session import Session


def segment(session: Session, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The class of each pixel, (height, width), of a picture as `Session.run` takes it.

    The network has one input and one output: the classes, made by an argmax in the file, or scores of each class,
    (1, height, width, classes), of which the largest counts. An argmax in the file needs less memory by far, since no
    more than a few rows of scores exist at a time. Returns uint8, or int32 for more than 256 classes.
    """
    if not isinstance(session, Session):
        raise TypeError(f"a session and a picture are taken, not {type(session).__name__}")
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        raise ShapeError(
            f"segmenting takes a network of one input and one output; this one has {len(session.inputs)} and "
            f"{len(session.outputs)}. Use Session.run, or convert it with outputs=[name]"
        )
    info, stages = session.outputs[0], [stage for part in session.plan.segments for stage in part.stages]
    found = session.run(picture)
    assert isinstance(found, np.ndarray)
    if stages[-1].kind == "argmax":
        height = stages[-1].output_shape[0]
        classes = found.reshape(height, -1)
    elif len(info.shape) == 4 and info.shape[1] * info.shape[2] > 1 and info.shape[3] > 1:
        classes = found[0].argmax(axis=2)
    else:
        raise ShapeError(
            f"output '{info.name}' of shape {info.shape} has no classes of pixels; supported are an argmax over "
            "channels, and scores of shape (1, height, width, classes)"
        )
    return classes.astype(np.uint8 if classes.max() < 256 else np.int32)


def colors(count: int) -> npt.NDArray[np.uint8]:
    """A colour for each of `count` classes, (count, 3): those of Pascal VOC, whose class 0 is black.

    The three lowest bits of a class are the highest ones of its red, green and blue, and so on.
    """
    bits = (np.arange(count)[:, None] >> np.arange(24)) & 1
    weights = 128 >> np.arange(8)
    return np.stack([bits[:, channel::3] @ weights for channel in range(3)], axis=1).astype(np.uint8)
