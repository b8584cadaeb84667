"""The model in the box: small, honest about where it comes from, and right about every picture that lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mbinfer
from mbinfer import cli, image

EXAMPLES = Path(__file__).parent.parent / "examples"
MODELS = {"float32": EXAMPLES / "digits.bin", "int8": EXAMPLES / "digits_int8.bin"}
every_model = pytest.mark.parametrize("dtype", MODELS)
PICTURES = sorted((EXAMPLES / "digits").glob("*.png"))


def test_there_is_a_picture_of_every_digit():
    assert [picture.name[0] for picture in PICTURES] == list("0123456789")


@every_model
def test_the_model_is_small_and_says_where_it_comes_from(dtype):
    assert MODELS[dtype].stat().st_size < {"float32": 2_000_000, "int8": 550_000}[dtype]
    session = mbinfer.Session(MODELS[dtype])
    assert list(session.labels) == list("0123456789")
    assert session.recipe is not None
    assert float(session.metadata["held_out_accuracy"]) >= 0.97
    assert "UCI" in session.metadata["data"] and "scikit-learn" in session.metadata["source"]
    assert session.metadata["licence"]


@every_model
@pytest.mark.parametrize("schedule", cli.SCHEDULES)
def test_session_reads_every_digit(dtype, schedule):
    session = mbinfer.Session(MODELS[dtype], schedule=schedule)
    _, height, width, _ = session.inputs[0].shape
    for picture in PICTURES:
        scores = session.run(image.load(picture, session.recipe, height, width))
        assert session.labels[int(np.argmax(scores))] == picture.name[0], picture.name


@every_model
def test_command_line_reads_every_digit_and_says_what_it_took(dtype, capsys):
    assert cli.main(["run", str(MODELS[dtype]), *map(str, PICTURES), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [p["top"][0]["label"] for p in record["pictures"]] == list("0123456789")
    assert record["ratio"] == record["naive_bytes"] / record["arena_bytes"] > 1


@every_model
def test_held_out_accuracy_is_as_recorded(dtype):
    """The engine, too, reads the whole held-out part as well as PyTorch did when it was trained; int8 as recorded."""
    datasets = pytest.importorskip("sklearn.datasets")
    from PIL import Image
    from sklearn.model_selection import train_test_split

    session = mbinfer.Session(MODELS[dtype])
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


def test_int8_needs_a_third_of_the_memory_and_reads_as_well():
    sessions = {dtype: mbinfer.Session(path) for dtype, path in MODELS.items()}
    accuracy = {dtype: float(session.metadata["held_out_accuracy"]) for dtype, session in sessions.items()}
    assert accuracy["int8"] >= accuracy["float32"] - 0.005
    assert 3 * sessions["int8"].plan.naive_bytes < sessions["float32"].plan.naive_bytes
