"""The model in the box: small, honest about where it comes from, and right about every picture that lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mbinfer
from mbinfer import cli, image

EXAMPLES = Path(__file__).parent.parent / "examples"
MODEL = EXAMPLES / "digits.bin"
PICTURES = sorted((EXAMPLES / "digits").glob("*.png"))


def test_there_is_a_picture_of_every_digit():
    assert [picture.name[0] for picture in PICTURES] == list("0123456789")


def test_the_model_is_small_and_says_where_it_comes_from():
    assert MODEL.stat().st_size < 2_000_000
    session = mbinfer.Session(MODEL)
    assert list(session.labels) == list("0123456789")
    assert session.recipe is not None
    assert float(session.metadata["held_out_accuracy"]) >= 0.97
    assert "UCI" in session.metadata["data"] and "scikit-learn" in session.metadata["source"]
    assert session.metadata["licence"]


@pytest.mark.parametrize("schedule", cli.SCHEDULES)
def test_session_reads_every_digit(schedule):
    session = mbinfer.Session(MODEL, schedule=schedule)
    _, height, width, _ = session.inputs[0].shape
    for picture in PICTURES:
        scores = session.run(image.load(picture, session.recipe, height, width))
        assert session.labels[int(np.argmax(scores))] == picture.name[0], picture.name


def test_command_line_reads_every_digit_and_says_what_it_took(capsys):
    assert cli.main(["run", str(MODEL), *map(str, PICTURES), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [p["top"][0]["label"] for p in record["pictures"]] == list("0123456789")
    assert record["ratio"] == record["naive_bytes"] / record["arena_bytes"] > 1


def test_held_out_accuracy_is_as_recorded():
    """The engine, too, reads the whole held-out part as well as PyTorch did when the model was trained."""
    datasets = pytest.importorskip("sklearn.datasets")
    from PIL import Image
    from sklearn.model_selection import train_test_split

    session = mbinfer.Session(MODEL)
    size = session.inputs[0].shape[1:3]
    digits = datasets.load_digits()
    _, held_out = train_test_split(np.arange(1797), test_size=0.2, stratify=digits.target, random_state=0)
    right = 0
    for index in held_out:
        grey = Image.fromarray(np.round(digits.images[index] * (255 / 16)).astype(np.uint8))
        picture = np.asarray(grey.resize(size, Image.Resampling.BILINEAR).convert("RGB"))
        right += int(np.argmax(session.run(picture))) == digits.target[index]
    assert str(len(held_out)) == session.metadata["held_out_pictures"]
    assert f"{right / len(held_out):.4f}" == session.metadata["held_out_accuracy"]
