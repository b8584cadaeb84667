"""Trains the streaming network in the box: which digit has just passed on a belt, of which it sees two lines a run.

    python examples/train_spotter.py [--steps N] [--out FOLDER]      writes spotter.bin and belt.png

It learns whole belts, each drawn anew (belts.py), padded before their first line alone; run by run it keeps of each
layer the rows that it sees again (`zoo.ds_cnn_stream`), and gives the same numbers. Accuracy is of the last weights, as
the file has them in float16, in the engine, on belts of digits that no belt before had. Needs torch, scikit-learn and
Pillow.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from belts import Belt, belt, held_out_belts, measure
from canvases import Digits
from PIL import Image
from torch import nn
from torch.nn import functional
from training import trained

import mbinfer
import mbinfer.model
from mbinfer.graph import Recipe

SCALE, WINDOW, CLASSES = 1 / 255, 2, 11
BATCH, LEARNING_RATE, STEPS, REQUIRED = 8, 4e-3, 1200, 0.9


class Spotter(nn.Module):
    """The streaming DS-CNN on whole belts, called as `mbinfer.zoo.ds_cnn_stream` names its weights."""

    def __init__(self, window: int = WINDOW, classes: int = CLASSES) -> None:
        super().__init__()
        self.window, normal = window, {"eps": 1e-3}
        layers = [nn.Sequential(nn.Conv2d(1, 64, (10, 4), 2, bias=False), nn.BatchNorm2d(64, **normal))]
        for _ in range(4):
            depthwise = [nn.Conv2d(64, 64, 3, groups=64, bias=False), nn.BatchNorm2d(64, **normal), nn.ReLU()]
            layers.append(nn.Sequential(*depthwise, nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64, **normal)))
        self.features, self.classifier = nn.ModuleList(layers), nn.Linear(64, classes)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        """(batch, 1, lines, ACROSS) to (batch, runs, classes)."""
        x = functional.pad(lines, (1, 1, 8, 0))
        x = self.features[0](x).relu()
        for block in self.features[1:]:
            x = block(functional.pad(x, (1, 1, 2, 0))).relu()
        means = functional.avg_pool1d(functional.pad(x.mean(3), (self.window - 1, 0)), self.window, 1)
        return self.classifier(means.transpose(1, 2))


def inputs_of(belts: list[Belt]) -> torch.Tensor:
    return torch.from_numpy(np.stack([belt.lines for belt in belts])[:, None].astype(np.float32) * SCALE)


def train(steps: int) -> Spotter:
    digits, rng = Digits("learned"), np.random.default_rng(0)

    def loss(network: Spotter) -> torch.Tensor:
        belts = [belt(digits, rng) for _ in range(BATCH)]
        classes = torch.from_numpy(np.stack([belt.classes for belt in belts]))
        return functional.cross_entropy(network(inputs_of(belts)).flatten(0, 1), classes.flatten())

    return trained(Spotter, loss, LEARNING_RATE, steps)


def graph_of(network: Spotter) -> mbinfer.graph.Graph:
    graph = mbinfer.zoo.ds_cnn_stream(CLASSES, WINDOW, weights=network.state_dict())
    graph.inputs = {name: Recipe((0.0,), (SCALE,), "grey") for name in graph.inputs}
    graph.labels = ["nothing", *map(str, range(10))]
    graph.metadata |= {
        "source": "examples/train_spotter.py: a streaming DS-CNN trained on scikit-learn's load_digits, laid on belts",
        "data": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "https://doi.org/10.24432/C50P49, test set as bundled with scikit-learn",
        "licence": "data: CC BY 4.0",
    }
    return graph


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the streaming network of digits on a belt and write its model.")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this script's)")
    arguments = parser.parse_args()

    graph = graph_of(train(arguments.steps))
    belts = held_out_belts()
    measures = measure(mbinfer.Session(mbinfer.model.encode(graph, "float16")), belts)
    for name, value in measures.items():
        print(f"{name} {value:.4f}")
    if min(measures.values()) < REQUIRED:
        print(f"below the required {REQUIRED}: nothing written", file=sys.stderr)
        return 1
    graph.metadata |= {name: f"{value:.4f}" for name, value in measures.items()} | {"held_out_belts": str(len(belts))}
    mbinfer.model.save(graph, arguments.out / "spotter.bin", "float16")
    Image.fromarray(belts[0].lines.T.copy()).save(arguments.out / "belt.png")  # the lines from left to right
    return 0


if __name__ == "__main__":
    sys.exit(main())
