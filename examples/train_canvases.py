"""Trains the segmenter and the detector in the box: which digit each pixel of a canvas is of, and where digits are.

    python examples/train_canvases.py segmenter|detector [--steps N] [--out FOLDER]      writes WHAT.bin and canvas.png

Every canvas is drawn anew (canvases.py). Accuracy is of the last weights, as the file has them in float16, in the
engine, on HELD_OUT canvases of digits that no canvas before had. Needs torch, onnx, scikit-learn and Pillow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import torch
from canvases import (
    CLASSES,
    DIGITS_SHOWN,
    HELD_OUT,
    SHOWN,
    SIDE,
    Canvas,
    Digits,
    held_out_canvases,
    measure_detector,
    measure_segmenter,
)
from PIL import Image
from torch import nn
from torch.nn import functional
from torch_canvases import ANCHORS, Detector, Segmenter
from training import trained

import mbinfer
import mbinfer.model
from mbinfer.detection import Head, add_boxes
from mbinfer.graph import Recipe
from mbinfer.importers import import_model

MEAN, SCALE = 127.5, 1 / 127.5
BATCH, LEARNING_RATE = 16, 4e-3
LEAST_SCORE, MOST_SHARED, MOST_BOXES = 0.5, 0.4, 20
VARIANCES = (10.0, 10.0, 5.0, 5.0)  # of the middle and the size of a box (arXiv 1512.02325, and its code)
LEARNED = 0.4  # overlap from which on an anchor is a digit's
NEGATIVES = 3  # anchors of nothing that are learned, for each that is a digit's


def normalised(canvases: list[Canvas]) -> torch.Tensor:
    pixels = np.stack([canvas.pixels for canvas in canvases])[:, None]
    return torch.from_numpy((pixels.astype(np.float32) - MEAN) * SCALE)


def anchor_boxes() -> list[np.ndarray]:
    """For each map (pixels * anchors, 4): the middle, y and x, height and width, as shares of the canvas."""
    maps = []
    for stride, sizes in zip((8, 16), ANCHORS):
        middles = (np.arange(SIDE // stride) + 0.5) * stride
        boxes = [(y, x, height, width) for y in middles for x in middles for height, width in sizes]
        maps.append(np.array(boxes, np.float32) / SIDE)
    return maps


def overlaps(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union, (anchors, boxes)."""
    low, high = anchors[:, None, :2] - anchors[:, None, 2:] / 2, anchors[:, None, :2] + anchors[:, None, 2:] / 2
    inside = (np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2])).clip(0).prod(2)
    return inside / (anchors[:, None, 2:].prod(2) + (boxes[:, 2:] - boxes[:, :2]).prod(1) - inside)


def targets(canvas: Canvas, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each anchor, and how far its digit's box is from it."""
    classes, places = np.zeros(len(anchors), np.int64), np.zeros((len(anchors), 4), np.float32)
    if not canvas.boxes:
        return classes, places
    boxes = np.array(canvas.boxes, np.float32)
    shared = overlaps(anchors, boxes)
    owner = np.where(shared.max(1) >= LEARNED, shared.argmax(1), -1)
    owner[shared.argmax(0)] = np.arange(len(boxes))  # every digit has one anchor at least
    mine = owner >= 0
    box, anchor = boxes[owner[mine]], anchors[mine]
    middle, size = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
    steps = np.concatenate([(middle - anchor[:, :2]) / anchor[:, 2:], np.log(size / anchor[:, 2:])], 1)
    classes[mine], places[mine] = np.array(canvas.digits)[owner[mine]] + 1, steps * VARIANCES
    return classes, places


def segmenter_loss(network: nn.Module, canvases: list[Canvas]) -> torch.Tensor:
    truth = torch.from_numpy(np.stack([canvas.classes for canvas in canvases])).long()
    return functional.cross_entropy(network(normalised(canvases)), truth)


def detector_loss(network: nn.Module, canvases: list[Canvas]) -> torch.Tensor:
    anchors = np.concatenate(anchor_boxes())
    found = [made.permute(0, 2, 3, 1).flatten(1) for made in network(normalised(canvases))]
    scores = torch.cat([made.unflatten(1, (-1, CLASSES)) for made in found[::2]], 1)
    places = torch.cat([made.unflatten(1, (-1, 4)) for made in found[1::2]], 1)
    truth = [targets(canvas, anchors) for canvas in canvases]
    classes, steps = (torch.from_numpy(np.stack(part)) for part in zip(*truth))
    mine = classes > 0
    loss = functional.cross_entropy(scores.flatten(0, 1), classes.flatten(), reduction="none").view(mine.shape)
    others = loss.detach().masked_fill(mine, -1)
    rank = others.argsort(1, descending=True).argsort(1)  # the least certain of those that are no digit's
    learned = mine | (rank < NEGATIVES * mine.sum(1, keepdim=True))
    count = mine.sum().clamp(min=1)
    return (loss[learned].sum() + functional.smooth_l1_loss(places[mine], steps[mine], reduction="sum")) / count


class Kind(NamedTuple):
    make: Callable[[], nn.Module]
    loss: Callable[[nn.Module, list[Canvas]], torch.Tensor]
    measure: Callable[[mbinfer.Session, list[Canvas]], dict[str, float]]
    steps: int
    required: float  # of each measure


KINDS = {
    "detector": Kind(Detector, detector_loss, measure_detector, 1800, 0.9),
    "segmenter": Kind(Segmenter, segmenter_loss, measure_segmenter, 900, 0.8),
}


def train(kind: Kind, steps: int) -> nn.Module:
    digits, rng = Digits("learned"), np.random.default_rng(0)

    def loss(network: nn.Module) -> torch.Tensor:
        return kind.loss(network, [digits.canvas(rng) for _ in range(BATCH)])

    return trained(kind.make, loss, LEARNING_RATE, steps)


class Classes(nn.Module):
    """The class of each pixel, in place of its scores."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.segmenter(x).argmax(1)


def graph_of(what: str, network: nn.Module) -> mbinfer.graph.Graph:
    """The network as a model that takes pictures and ends in the class of each pixel, or in boxes."""
    graph = import_model(Classes(network).eval() if what == "segmenter" else network, (1, 1, SIDE, SIDE))
    if what == "detector":
        scores, places = graph.outputs[::2], graph.outputs[1::2]
        maps = zip(scores, places, anchor_boxes(), ANCHORS)
        heads = [
            Head(score.value, place.value, boxes.reshape(*graph.values[score.value][:2], len(sizes), 4))
            for score, place, boxes, sizes in maps
        ]
        add_boxes(graph, heads, least_score=LEAST_SCORE, overlap=MOST_SHARED, most=MOST_BOXES, scale=VARIANCES)
    graph.inputs = {name: Recipe((MEAN,), (SCALE,), "grey") for name in graph.inputs}
    graph.labels = ["nothing", *map(str, range(10))]
    graph.metadata |= {
        "source": f"examples/train_canvases.py: a {what} trained on scikit-learn's load_digits, laid on canvases",
        "data": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "https://doi.org/10.24432/C50P49, test set as bundled with scikit-learn",
        "licence": "data: CC BY 4.0",
        "held_out_canvases": str(HELD_OUT),
    }
    return graph


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a detector or a segmenter of digits and write its model.")
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this script's)")
    arguments = parser.parse_args()

    kind = KINDS[arguments.what]
    graph = graph_of(arguments.what, train(kind, arguments.steps or kind.steps))
    canvases = held_out_canvases()
    measures = kind.measure(mbinfer.Session(mbinfer.model.encode(graph, "float16")), canvases)
    for name, value in measures.items():
        print(f"{name} {value:.4f}")
    if min(measures.values()) < kind.required:
        print(f"below the required {kind.required}: nothing written", file=sys.stderr)
        return 1
    graph.metadata |= {name.replace(" ", "_"): f"{value:.4f}" for name, value in measures.items()}
    mbinfer.model.save(graph, arguments.out / f"{arguments.what}.bin", "float16")
    shown = next(canvas for canvas in canvases if len(canvas.digits) == DIGITS_SHOWN)
    picture = Image.fromarray(shown.pixels).resize((SHOWN * SIDE,) * 2, Image.Resampling.NEAREST)
    picture.save(arguments.out / "canvas.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
