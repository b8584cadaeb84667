"""Belts with handwritten digits on them, which pass below a camera that sees one line of ten pixels at a time, and how
well the network that train_spotter.py trains reads them.

Digits are those of scikit-learn's `load_digits` (UCI, see train_digits.py), light on a noisy dark ground. The fifth of
them that train_digits.py holds out passes on held-out belts only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from canvases import Digits

import mbinfer

ACROSS, STEP = 10, 2  # pixels of a line, lines of a run
SIDE = 8  # of a digit
GAPS = (4, 17)  # lines before a digit, the last one excluded
GROUND = (0, 40, 8)  # of the levels: the least and the most mean, and the noise
LINES, HELD_OUT = 400, 50  # of a belt, and belts
LATE = 2  # runs after a digit's last line in which it is to be named


class Belt(NamedTuple):
    lines: np.ndarray  # uint8 (LINES, ACROSS)
    ends: list[int]  # the run in which the last line of each digit passes
    digits: list[int]

    @property
    def classes(self) -> np.ndarray:
        """What is to be said after each run: a digit and 1 when one has passed just now, else 0."""
        made = np.zeros(LINES // STEP, np.int64)
        for end, digit in zip(self.ends, self.digits):
            made[end : end + LATE] = digit + 1
        return made


def belt(digits: Digits, rng: np.random.Generator) -> Belt:
    low, high, noise = GROUND
    light = rng.uniform(low, high) + rng.normal(0, noise, (LINES, ACROSS))
    ends, classes, at = [], [], int(rng.integers(*GAPS))
    while at + SIDE + STEP * LATE <= LINES:
        index, left = rng.integers(len(digits.labels)), rng.integers(ACROSS - SIDE + 1)
        here = (slice(at, at + SIDE), slice(left, left + SIDE))
        light[here] = np.maximum(light[here], digits.images[index] * rng.uniform(0.7, 1.0))
        ends.append((at + SIDE - 1) // STEP)
        classes.append(int(digits.labels[index]))
        at += SIDE + int(rng.integers(*GAPS))
    return Belt(light.clip(0, 255).astype(np.uint8), ends, classes)


def held_out_belts() -> list[Belt]:
    """Always the same."""
    digits, rng = Digits("held out"), np.random.default_rng(1)
    return [belt(digits, rng) for _ in range(HELD_OUT)]


def runs_of(belt: Belt) -> np.ndarray:
    """(runs, 1, STEP, ACROSS, 1): what the network is given, run by run."""
    return belt.lines.reshape(-1, 1, STEP, ACROSS, 1)


def spotted(scores: np.ndarray) -> list[tuple[int, int]]:
    """The digits that (runs, 11) scores name, each with the run that names it first; runs that follow each other and
    name something name one digit, that of the largest score."""
    named, found = scores.argmax(1), []
    for run in np.flatnonzero(named):
        if run and named[run - 1]:
            found[-1].append(run)
        else:
            found.append([run])
    return [(int(runs[0]), int(scores[runs, 1:].max(0).argmax())) for runs in found]


def measure(session: mbinfer.Session, belts: list[Belt]) -> dict[str, float]:
    """Of the digits named, and of those that pass: those named right, while or just after their last line passes."""
    found = there = right = 0
    for belt in belts:
        session.reset()
        names = spotted(np.concatenate([session.run(lines) for lines in runs_of(belt)]))
        missing = dict(zip(belt.ends, belt.digits))
        found, there = found + len(names), there + len(missing)
        for run, digit in names:
            end = next((end for end in missing if end - 1 <= run <= end + LATE), None)
            right += end is not None and missing.pop(end) == digit
    return {"precision": right / max(found, 1), "recall": right / there}
