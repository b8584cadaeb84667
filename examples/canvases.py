"""Canvases with handwritten digits on them, and how well the networks that train_canvases.py trains read them.

Digits are those of scikit-learn's `load_digits` (UCI, see train_digits.py), enlarged, light on a noisy dark ground. The
fifth of them that train_digits.py holds out appears on held-out canvases only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import mbinfer

SIDE = 96
HEIGHTS = (18, 41)  # of a digit, the last one excluded
TRIES = (10, 30)  # of putting a digit somewhere
CLASSES = 11  # nothing, and ten digits
HELD_OUT = 200
DIGITS_SHOWN = 5  # on the canvas of the README, the first that has so many
SHOWN = 4  # side of a canvas's pixel in its picture
MATCHES = 0.5  # overlap (intersection over union) from which on a box is a digit's
INK = 60  # a level from which on a pixel belongs to a digit


@dataclass
class Canvas:
    pixels: np.ndarray  # uint8 (SIDE, SIDE)
    classes: np.ndarray  # uint8 (SIDE, SIDE): 0, or a digit and 1
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  # y0, x0, y1, x1, from 0 to 1
    digits: list[int] = field(default_factory=list)


class Digits:
    """The digits of a part of the data set, "learned" or "held out"."""

    def __init__(self, part: str):
        data = load_digits()
        learned, held_out = train_test_split(
            np.arange(len(data.target)), test_size=0.2, stratify=data.target, random_state=0
        )
        chosen = learned if part == "learned" else held_out
        self.images = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)
        self.labels = data.target[chosen]

    def canvas(self, rng: np.random.Generator) -> Canvas:
        """Some digits that do not touch, each at a size of its own."""
        ground = rng.uniform(0, 50)
        light = ground + rng.normal(0, 8, (SIDE, SIDE))
        made = Canvas(np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8))
        taken = np.zeros((SIDE, SIDE), bool)
        for _ in range(rng.integers(*TRIES)):
            self._place(rng, made, light, taken)
        made.pixels = light.clip(0, 255).astype(np.uint8)
        return made

    def _place(self, rng: np.random.Generator, canvas: Canvas, light: np.ndarray, taken: np.ndarray) -> None:
        """A digit somewhere, unless it would touch another."""
        height = int(rng.integers(*HEIGHTS))
        top, left = rng.integers(0, SIDE - height + 1, 2)
        here = (slice(top, top + height), slice(left, left + height))
        if taken[here].any():
            return
        taken[here] = True
        index = rng.integers(len(self.labels))
        large = Image.fromarray(self.images[index]).resize((height, height), Image.Resampling.BILINEAR)
        digit = np.asarray(large).astype(np.float64)
        ink = digit >= INK
        light[here] = np.maximum(light[here], digit * rng.uniform(0.7, 1.0))
        canvas.classes[here][ink] = self.labels[index] + 1
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        box = (top + rows[0], left + columns[0], top + rows[-1] + 1, left + columns[-1] + 1)
        canvas.boxes.append(tuple(float(side) / SIDE for side in box))
        canvas.digits.append(int(self.labels[index]))


def held_out_canvases() -> list[Canvas]:
    """Always the same."""
    digits, rng = Digits("held out"), np.random.default_rng(1)
    return [digits.canvas(rng) for _ in range(HELD_OUT)]


def shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    height, width = (min(a[2 + axis], b[2 + axis]) - max(a[axis], b[axis]) for axis in (0, 1))
    inside = max(height, 0) * max(width, 0)
    return inside / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - inside)


def measure_detector(session: mbinfer.Session, canvases: list[Canvas]) -> dict[str, float]:
    """Of the boxes found, and of the digits: those that are a digit's, of its class, each counted once."""
    found = there = right = 0
    for canvas in canvases:
        missing = list(zip(canvas.boxes, canvas.digits))
        boxes = mbinfer.detect(session, canvas.pixels[:, :, None])
        found, there = found + len(boxes), there + len(missing)
        for box in boxes:  # the best first
            mine = [one for one in missing if str(one[1]) == box.label and shared(one[0], box[:4]) >= MATCHES]
            if mine:
                missing.remove(max(mine, key=lambda one: shared(one[0], box[:4])))
                right += 1
    return {"precision": right / max(found, 1), "recall": right / there}


def measure_segmenter(session: mbinfer.Session, canvases: list[Canvas]) -> dict[str, float]:
    """Pixels whose class is right, and intersection over union, the mean of the eleven classes."""
    counts = np.zeros((CLASSES, CLASSES), np.int64)
    for canvas in canvases:
        found = mbinfer.segment(session, canvas.pixels[:, :, None])
        np.add.at(counts, (canvas.classes, found), 1)
    right = counts.diagonal()
    return {
        "pixel accuracy": float(right.sum() / counts.sum()),
        "mean IoU": float((right / (counts.sum(0) + counts.sum(1) - right)).mean()),
    }
