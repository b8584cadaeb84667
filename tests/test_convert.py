"""`mbinfer.convert`: its options, the recipe and labels that it writes, and what it refuses."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from oracle import graph_to_onnx

from mbinfer import errors, zoo
from mbinfer.convert import convert
from mbinfer.importers import import_model


@pytest.fixture(scope="module")
def classifier():
    return graph_to_onnx(zoo.mobilenet_v1(0.25, 32, classes=5))


@pytest.mark.parametrize(
    "options, kind, word",
    [
        ({"dtype": "float16", "calibration": []}, errors.ArgumentError, "for dtype='int8' only"),
        ({"dtype": "int8"}, errors.ArgumentError, "calibration of type NoneType"),
        ({"dtype": "int8", "calibration": []}, errors.ArgumentError, "no picture and no array"),
        ({"dtype": "bfloat"}, errors.ArgumentError, "float32"),
        ({"calibration": []}, errors.ArgumentError, "for dtype='int8' only"),
        ({"ranges": "mse"}, errors.ArgumentError, "for dtype='int8' only"),
        ({"labels": ["a", "b"]}, errors.ShapeError, "2 labels for the 5 classes"),
        ({"mean": (1, 2)}, errors.ShapeError, "3 channels"),
        ({"scale": 1, "color": "CMYK"}, errors.ArgumentError, "RGB"),
        ({"scale": 1, "crop": 1.5}, errors.Error, "crop"),
    ],
)
def test_options_that_do_not_fit(classifier, tmp_path, options, kind, word):
    with pytest.raises(kind, match=word):
        convert(classifier, tmp_path / "m.bin", **options)
    assert not list(tmp_path.iterdir())


def test_recipe_and_labels_reach_the_file(classifier, tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\né\n", encoding="utf-8")
    onnx.save(classifier, tmp_path / "m.onnx")
    convert(
        tmp_path / "m.onnx",
        tmp_path / "1.bin",
        mean=127.5,
        scale=(0.1, 0.2, 0.3),
        labels=tmp_path / "labels.txt",
        color="BGR",
        crop=0.875,
    )
    convert(
        str(tmp_path / "m.onnx"),
        tmp_path / "2.bin",
        mean=[127.5] * 3,
        scale=(0.1, 0.2, 0.3),
        color="BGR",
        labels=list("abcdé"),
        crop=0.875,
    )
    convert(str(tmp_path / "m.onnx"), tmp_path / "3.bin")
    written = [(tmp_path / f"{i}.bin").read_bytes() for i in (1, 2, 3)]
    assert written[0] == written[1] != written[2]
    assert "é".encode() in written[0] and np.array([127.5] * 3, "<f4").tobytes() in written[0]


class Items:
    """Has items by its looks alone, as numpy's arrays of no dimension have."""

    def __iter__(self):
        raise TypeError


NO_PATHS = (5, True, b"", "", "a\0b", b"a\0b", "\ud800", ["m.bin"], object())
NO_LISTS = (5, True, "x", b"x", [], [5], [["x"]], [None], np.array(5), Items(), object())
NO_NUMBERS = ("1", b"1", "x", [None] * 3, [[1]] * 3, np.nan, np.inf, [np.nan] * 3, 10**400, {1: 2}, object(), 1j)
NO_KINDS = (5, True, b"RGB", [], ["RGB"], {}, "x", "", object())
WRONG = {
    "path": NO_PATHS,
    "dtype": NO_KINDS,
    "mean": NO_NUMBERS,
    "scale": NO_NUMBERS,
    "color": NO_KINDS,
    "crop": (*NO_NUMBERS, 0, -1, 1.5, [0.5, 0.5]),
    "labels": (5, True, b"x", [], np.array(5), Items(), object(), "a\0b", "\ud800"),
    "input_shape": (5, "x", [], [1.5, 3, 32, 32], [0, 3, 32, 32], [1, 3, 2**70, 32], [None] * 4, {"y": [1]}, {5: [1]}),
    "inputs": NO_LISTS,
    "outputs": NO_LISTS,
    "states": (5, True, "x", ["x"], np.array(5), Items(), {"x": None}, {5: "y"}, {"x": "none such"}, object()),
    "calibration": (
        5,
        True,
        b"x",
        {},
        [],
        [5],
        [None],
        [np.zeros(3)],
        np.zeros(3),
        np.array(5),
        object(),
        "/none/such",
    ),
    "ranges": NO_KINDS,
    "keep_float": NO_LISTS[:4] + NO_LISTS[5:],  # none may stay
    "report": NO_PATHS,
    **dict.fromkeys(("per_channel", "equalise", "correct_bias", "compensate"), (np.zeros(3), np.array(["x", "y"]))),
}
NAMED = {"labels": "labels|path", "path": "path"}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_told_by_its_name(classifier, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_int8 = ("calibration", "ranges", "keep_float", "report", "per_channel", "equalise", "correct_bias", "compensate")
    samples = [np.zeros((32, 32, 3), np.float32)]
    for value in WRONG[name]:
        options = {
            "path": "m.bin",
            **({"dtype": "int8", "calibration": samples} if name in of_int8 else {}),
            name: value,
        }
        with pytest.raises((errors.ArgumentError, errors.ShapeError), match=NAMED.get(name, name)) as caught:
            convert(classifier, **options)
        assert len(str(caught.value)) <= 400 and not list(tmp_path.iterdir()), value


def test_nodes_that_stay_float_come_from_any_iterable(classifier, tmp_path):
    samples = [np.random.default_rng(0).standard_normal((32, 32, 3)).astype(np.float32)]
    names = [node.name for node in import_model(classifier).nodes][:1]
    for path, keep in (("list", names), ("generator", (name for name in names)), ("none", ())):
        options = {"calibration": samples, "keep_float": keep, "compensate": False}  # which takes the most time
        convert(classifier, tmp_path / path, dtype="int8", **options)
    written = [(tmp_path / path).read_bytes() for path in ("list", "generator", "none")]
    assert written[0] == written[1] != written[2]


def test_a_path_may_be_bytes(classifier, tmp_path):
    convert(classifier, os.fsencode(tmp_path / "1.bin"))
    convert(classifier, tmp_path / "2.bin")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.bin", "2.bin"]
    assert (tmp_path / "1.bin").read_bytes() == (tmp_path / "2.bin").read_bytes()
