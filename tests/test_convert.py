"""`mbinfer.convert`: its options, the recipe and labels that it writes, and what it refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from oracle import graph_to_onnx

from mbinfer import errors, zoo
from mbinfer.convert import convert


@pytest.fixture
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
