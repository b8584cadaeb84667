"""Trains the models in the box: a small MobileNetV2 that reads handwritten digits, as float32 and quantised to int8.

    python examples/train_digits.py [--epochs N] [--out FOLDER]      writes digits.bin, digits_int8.bin, digits/*.png

Data: the 1797 grey 8x8 pictures of the UCI "Optical Recognition of Handwritten Digits" test set, bundled with
scikit-learn, enlarged to RGB. A fifth of every class is held out, drawn by a fixed seed, and nothing is chosen by
looking at it: fixed number of epochs, last weights. Both parts hold the same writers' hands; the same training with the
last fifth of the file held out as it lies, mostly hands it has not seen, reads about 97 % of it right.
Needs torch, scikit-learn and Pillow.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional
from torch_mobilenet import MobileNetV2

import mbinfer
import mbinfer.model
from mbinfer.graph import Recipe
from mbinfer.quantize import quantize

WIDTH, RESOLUTION, CLASSES = 0.35, 48, 10
MEAN, SCALE = 127.5, 1 / 127.5
HELD_OUT = 0.2
REQUIRED = 0.97
CALIBRATION = 200  # pictures of the learned ones by which the network is quantised
MOST_LOST = 0.005  # of the accuracy, by that
BATCH, LEARNING_RATE, MAX_SHIFT = 64, 3e-3, 4


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """The data set as uint8 ``[1797, RESOLUTION, RESOLUTION, 3]`` pictures, white on black, and int64 labels."""
    digits = load_digits()
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)
    size = (RESOLUTION, RESOLUTION)
    large = [np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BILINEAR).convert("RGB")) for s in small]
    return np.stack(large), digits.target.astype(np.int64)


def normalised(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((images.astype(np.float32) - MEAN) * SCALE).permute(0, 3, 1, 2).contiguous()


def shifted(batch: torch.Tensor) -> torch.Tensor:
    """Every picture of the batch moved by its own up to MAX_SHIFT pixels; what comes in is background (-1)."""
    padded = functional.pad(batch, [MAX_SHIFT] * 4, value=-1.0)
    dy, dx = torch.randint(0, 2 * MAX_SHIFT + 1, (2, len(batch), 1))
    span = torch.arange(RESOLUTION)
    index = torch.arange(len(batch))[:, None, None]
    return padded[index, :, (dy + span)[:, :, None], (dx + span)[:, None, :]].permute(0, 3, 1, 2)


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int) -> MobileNetV2:
    network = MobileNetV2(WIDTH, CLASSES)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, epochs * steps)
    start = time.monotonic()
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            logits = network(shifted(images[batch]))
            loss = functional.cross_entropy(logits, labels[batch], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        line = f"epoch {epoch + 1}/{epochs}  loss {loss.item():.3f}  {time.monotonic() - start:.0f} s"
        print(line, file=sys.stderr, end="\r" if sys.stderr.isatty() and epoch + 1 < epochs else "\n", flush=True)
    return network.eval()


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the digits example and write its models and pictures.")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: this script's)")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums depend on how they are split among threads, and so small a network gains little
    torch.use_deterministic_algorithms(True)

    images, labels = pictures()
    learned, held_out = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=0)
    network = train(normalised(images[learned]), torch.from_numpy(labels[learned]), arguments.epochs)
    held_out.sort()
    held_images, held_labels = images[held_out], labels[held_out]
    with torch.no_grad():
        predicted = network(normalised(held_images)).argmax(1).numpy()
    right = int((predicted == held_labels).sum())
    accuracy = right / len(held_labels)
    print(f"held-out accuracy {accuracy:.4f} ({right} of {len(held_labels)})")
    if accuracy < REQUIRED:
        print(f"below the required {REQUIRED}: nothing written", file=sys.stderr)
        return 1

    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    graph = mbinfer.zoo.mobilenet_v2(WIDTH, RESOLUTION, CLASSES, weights=weights)
    graph.inputs = {name: Recipe((MEAN,) * 3, (SCALE,) * 3) for name in graph.inputs}
    graph.labels = [str(digit) for digit in range(CLASSES)]
    graph.metadata |= {
        "source": "examples/train_digits.py: MobileNetV2 trained on scikit-learn's load_digits",
        "data": "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
        "https://doi.org/10.24432/C50P49, test set as bundled with scikit-learn",
        "licence": "data: CC BY 4.0",
        "held_out_accuracy": f"{accuracy:.4f}",
        "held_out_pictures": str(len(held_labels)),
    }
    mbinfer.model.save(graph, arguments.out / "digits.bin")

    quantised = quantize(graph, images[learned[:CALIBRATION]])
    session = mbinfer.Session(mbinfer.model.encode(quantised))
    right_int8 = sum(session.run(image).argmax() == label for image, label in zip(held_images, held_labels))
    accuracy_int8 = right_int8 / len(held_labels)
    print(f"as int8 {accuracy_int8:.4f} ({right_int8} of {len(held_labels)})")
    if accuracy_int8 < accuracy - MOST_LOST:
        print(f"more than {MOST_LOST} below float32: no digits_int8.bin", file=sys.stderr)
        return 1
    quantised.metadata["held_out_accuracy"] = f"{accuracy_int8:.4f}"
    mbinfer.model.save(quantised, arguments.out / "digits_int8.bin")

    folder = arguments.out / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for digit in range(CLASSES):
        index = held_out[np.argmax(held_labels == digit)]  # the first of its class, whatever it looks like
        Image.fromarray(images[index]).save(folder / f"{digit}_{index}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
