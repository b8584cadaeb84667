"""The streaming network in the box, and the zoo's that it is: run by run the numbers of the whole stream."""

from __future__ import annotations

import sys
from pathlib import Path

import hooks
import numpy as np
import pytest
from PIL import Image

import mbinfer
from mbinfer import model, zoo
from mbinfer.errors import ShapeError
from mbinfer.states import states_of

EXAMPLES = Path(__file__).parent.parent / "examples"
SPOTTER = EXAMPLES / "spotter.bin"
README = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
MEASURES = ("precision", "recall")


@pytest.fixture(scope="module")
def belts():
    """The example's own module, which needs scikit-learn."""
    pytest.importorskip("sklearn")
    sys.path.append(str(EXAMPLES))
    import belts as example

    return example


def test_the_model_is_small_and_says_where_it_comes_from():
    session = mbinfer.Session(SPOTTER)
    assert SPOTTER.stat().st_size < 100_000 and list(session.labels) == ["nothing", *"0123456789"]
    assert "UCI" in session.metadata["data"] and "scikit-learn" in session.metadata["source"]
    assert session.metadata["licence"] and len(states_of(SPOTTER)) == 6


def test_held_out_accuracy_is_as_recorded(belts):
    held_out, session = belts.held_out_belts(), mbinfer.Session(SPOTTER, memory_limit="least")
    assert hooks.check(session) == "" and session.metadata["held_out_belts"] == str(len(held_out))
    measures = belts.measure(session, held_out)
    assert tuple(measures) == MEASURES
    for name, value in measures.items():
        assert f"{value:.4f}" == session.metadata[name] and f"{name} {value:.4f}" in README


def test_a_belt_is_what_is_on_it(belts):
    shown = belts.held_out_belts()[0]
    assert np.array_equal(np.asarray(Image.open(EXAMPLES / "belt.png")).T, shown.lines)
    said = shown.classes
    for end, digit in zip(shown.ends, shown.digits):
        last = belts.STEP * (end + 1)
        assert said[end - 1] == 0 and said[end : end + belts.LATE].tolist() == [digit + 1] * belts.LATE
        assert shown.lines[last - belts.SIDE : last].max() > 100
    scores = np.eye(11)[[0, 3, 3, 0, 5, 0]]
    assert belts.spotted(scores) == [(1, 2), (4, 4)] and belts.spotted(scores[:1]) == []


@pytest.mark.parametrize("window", [1, 2, 25])
def test_run_by_run_it_gives_the_numbers_of_pytorch_on_the_whole(window, belts):
    torch = pytest.importorskip("torch")
    from torch_modules import with_statistics
    from train_spotter import Spotter

    module = with_statistics(Spotter(window, 12))
    encoded = model.encode(zoo.ds_cnn_stream(12, window, weights=module.state_dict()))
    lines = np.random.default_rng(0).standard_normal((80, 10)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(lines)[None, None])[0].numpy()
    ways = [*({"schedule": schedule} for schedule in ("naive", "layerwise", "fused")), {"memory_limit": "least"}]
    found = []
    for way in ways:
        session = mbinfer.Session(encoded, **way)
        for _ in range(2):  # two streams, of which the second one knows nothing of the first
            session.reset()
            found.append(np.concatenate([session.run(two) for two in lines.reshape(-1, 1, 2, 10, 1)]))
    assert np.abs(found[0] - expected).max() <= 1e-4 * np.abs(expected).max() and expected.std() > 1e-3
    assert all(other.tobytes() == found[0].tobytes() for other in found[1:])


def test_it_is_ds_cnn_at_a_25th_of_the_work_a_run():
    stream, whole = zoo.ds_cnn_stream(), zoo.ds_cnn()
    assert zoo.count(stream).parameters == zoo.count(whole).parameters
    assert zoo.count(stream).macs == 107_008 and zoo.count(whole).macs == 2_656_768
    for window in (0, -1, 5000):
        with pytest.raises(ShapeError, match="window"):
            zoo.ds_cnn_stream(window=window)
