"""The detector and the segmenter in the box: small, and as good on canvases of held-out digits as their files say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hooks
import numpy as np
import pytest
from PIL import Image

import mbinfer
from mbinfer import cli

EXAMPLES = Path(__file__).parent.parent / "examples"
README = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
CANVAS = EXAMPLES / "canvas.png"
REQUIRED = {"detector": ("precision", "recall"), "segmenter": ("pixel accuracy", "mean IoU")}
every_model = pytest.mark.parametrize("what", REQUIRED)


@pytest.fixture(scope="module")
def canvases():
    """The example's own module, which needs scikit-learn, and its held-out canvases."""
    pytest.importorskip("sklearn")
    sys.path.append(str(EXAMPLES))
    import canvases as example

    return example, example.held_out_canvases()


@every_model
def test_the_models_are_small_and_say_where_they_come_from(what):
    path = EXAMPLES / f"{what}.bin"
    assert path.stat().st_size < 200_000
    session = mbinfer.Session(path)
    assert list(session.labels) == ["nothing", *"0123456789"] and session.recipe is not None
    assert "UCI" in session.metadata["data"] and "scikit-learn" in session.metadata["source"]
    assert session.metadata["licence"]


@every_model
def test_held_out_accuracy_is_as_recorded(what, canvases):
    example, held_out = canvases
    session = mbinfer.Session(EXAMPLES / f"{what}.bin", memory_limit="least")
    assert hooks.check(session) == ""
    measures = getattr(example, f"measure_{what}")(session, held_out)
    assert tuple(measures) == REQUIRED[what] and session.metadata["held_out_canvases"] == str(len(held_out))
    for name, value in measures.items():
        assert f"{value:.4f}" == session.metadata[name.replace(" ", "_")]
        assert f"{name} {value:.4f}" in README


def test_boxes_hold_the_pixels_of_their_digits(canvases):
    """Of the canvases: what the networks learn is what is there, and overlaps are what they are."""
    example, held_out = canvases
    assert example.shared((0, 0, 1, 1), (0, 0.5, 1, 1.5)) == pytest.approx(1 / 3)
    assert example.shared((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    seen = {box for canvas in held_out for box in canvas.boxes}
    assert len(seen) > 3 * len(held_out) and all(0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1 for y0, x0, y1, x1 in seen)
    for canvas in held_out[:5]:
        inside = np.zeros(canvas.classes.shape, bool)
        for (y0, x0, y1, x1), digit in zip(canvas.boxes, canvas.digits):
            here = tuple(
                slice(round(low * example.SIDE), round(high * example.SIDE)) for low, high in ((y0, y1), (x0, x1))
            )
            assert set(np.unique(canvas.classes[here])) == {0, digit + 1}
            inside[here] = True
        assert not canvas.classes[~inside].any()


def test_commands_draw_what_the_readme_shows(canvases, tmp_path, capsys):
    example, held_out = canvases
    canvas = next(canvas for canvas in held_out if len(canvas.digits) == example.DIGITS_SHOWN)
    shown = np.asarray(Image.open(CANVAS))
    assert np.array_equal(shown, canvas.pixels.repeat(example.SHOWN, 0).repeat(example.SHOWN, 1))
    found = {}
    for command, what in (("detect", "detector"), ("segment", "segmenter")):
        words = [command, str(EXAMPLES / f"{what}.bin"), str(CANVAS), "-o", str(tmp_path / f"{what}.png"), "--json"]
        assert cli.main(words) == 0
        found[what] = json.loads(capsys.readouterr().out)
    labels = {str(digit) for digit in canvas.digits}
    assert labels <= {box["label"] for box in found["detector"]["boxes"]}
    assert labels <= {one["label"] for one in found["segmenter"]["classes"] if one["share"] > 0.01}
    drawn, docs = np.asarray(Image.open(tmp_path / "segmenter.png")), EXAMPLES.parent / "docs"
    assert np.array_equal(drawn, np.asarray(Image.open(docs / "segmented.png")))
    assert all((docs / name).stat().st_size < 60_000 for name in ("detected.png", "segmented.png"))
