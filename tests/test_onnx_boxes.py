"""Detectors that end in ONNX's NonMaxSuppression: the boxes of the numbers that onnxruntime chooses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import make, node, normal, refuse
from oracle import run_onnx

import mbinfer
from mbinfer import detection, model
from mbinfer.importers import import_onnx


def named(op, *inputs, to, **attrs):
    return node(op, *inputs, to=to, **{"name": to, **attrs})  # onnxruntime wants every name once


def detector(
    size=(6, 5), classes=3, by_middle=0, most=4, overlap=0.4, least=0.3, heads=1, view="turned", behind=()
) -> onnx.ModelProto:
    """Convolutions whose maps are boxes and scores, reshaped, joined and chosen from; boxes and scores are outputs."""
    height, width = size
    constants = {"most": np.array([most]), "overlap": np.float32(overlap)}
    constants |= {} if least is None else {"least": np.float32(least)}
    nodes, middle = [], [0.5, 0.5, 0.4, 0.6] if by_middle else [0.7, 0.2, 0.3, 0.9]
    for name, numbers, bias in (("boxes", 4, middle), ("scores", classes, np.linspace(-0.5, 0.5, classes))):
        parts = []
        for i in range(heads):
            head = f"{name}{i}"
            constants |= {f"{head}w": normal(numbers, 3, 1, 1) * 0.4, f"{head}b": np.array(bias)}
            constants[f"{head}s"] = np.array([1, numbers, height * width])
            nodes.append(named("Conv", "x", f"{head}w", f"{head}b", to=f"{head}c"))
            nodes.append(named("Reshape", f"{head}c", f"{head}s", to=f"{head}r"))
            parts.append(f"{head}r")
        nodes.append(named("Concat", *parts, to=f"{name}/all", axis=2))
    nodes.append(named("Transpose", "boxes/all", to="boxes", perm=[0, 2, 1]))
    nodes.append(named("Sigmoid", "scores/all", to="scores"))
    given = ["boxes", "scores", "most", "overlap", *([] if least is None else ["least"])]
    nodes.append(named("NonMaxSuppression", *given, to="chosen", center_point_box=by_middle))
    outputs = ("chosen", "boxes", "scores") if not behind else (behind[-1].output[0],)
    source = make(*nodes, *behind, shape=(1, 3, *size), outputs=outputs, infer=False, **constants)
    if not behind:
        source.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    return source


def boxes_of_onnxruntime(source, picture, by_middle):
    found = run_onnx(source, {"x": picture})
    rows = []
    for _, number, i in found["chosen"]:
        a, b, c, d = found["boxes"][0, i]
        corners = (
            (b - d / 2, a - c / 2, b + d / 2, a + c / 2) if by_middle else (min(a, c), min(b, d), max(a, c), max(b, d))
        )
        rows.append((*corners, found["scores"][0, number, i], number))
    return np.array(sorted(rows, key=lambda row: -row[4])).reshape(-1, 6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"classes": 1},
        {"by_middle": 1, "most": 100},
        {"by_middle": 1, "overlap": 0.0, "heads": 2},
        {"size": (1, 7), "classes": 2, "most": 2},
        {"size": (1, 1), "classes": 1, "most": 3, "least": 0.0},
        {"overlap": 1.0, "least": None},
        {"least": 0.99},
    ],
    ids=str,
)
def test_boxes_are_those_that_onnxruntime_chooses(options):
    source, picture = detector(**options), normal(1, 3, *options.get("size", (6, 5)))
    expected = boxes_of_onnxruntime(source, picture, options.get("by_middle", 0))
    encoded = model.encode(import_onnx(source, outputs=["chosen"]))
    pixels = np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
    runs = [
        mbinfer.Session(encoded, **plan).run(pixels) for plan in ({}, {"memory_limit": "least"}, {"schedule": "naive"})
    ]
    assert all(np.array_equal(runs[0], other) for other in runs[1:])
    kept = len(expected)
    assert (runs[0][:, 4] > 0).sum() == kept and not runs[0][kept:].any()
    assert np.array_equal(runs[0][:kept, 5], expected[:, 5])
    assert np.abs(runs[0][:kept] - expected).max(initial=0) < 1e-5
    assert len(detection.detect(mbinfer.Session(encoded), pixels)) == kept


@pytest.mark.parametrize(
    "options, words",
    [
        ({"behind": [named("Gather", "chosen", "most", to="z", axis=0)]}, ["'z'", "outputs=['chosen']"]),
        ({"overlap": 1.5}, ["overlap 1.5"]),
        ({"least": -1.0}, ["threshold -1.0"]),
        ({"most": 0}, ["0 boxes"]),
        ({"most": 100, "size": (30, 30), "classes": 200}, ["boxes"]),
    ],
    ids=str,
)
def test_what_has_no_fixed_size_or_makes_no_sense_is_refused(options, words):
    refuse(detector(**options), "NonMaxSuppression", *words)
