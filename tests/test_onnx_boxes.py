"""Detectors that end in ONNX's NonMaxSuppression: the boxes of the numbers that onnxruntime chooses."""

from __future__ import annotations

import ast
import re

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


def suppressing(apart, by_middle):
    """What is left of all boxes; those of each class lie `apart`, where no box of another class reaches."""
    limit, share = (onnx.numpy_helper.from_array(array) for array in (np.array([1 << 40]), np.float32([0.45])))
    return [
        named("Constant", to="limit", value=limit),
        named("Constant", to="share", value=share),
        named("ReduceMax", "boxes", to="largest", keepdims=0),
        named("Mul", "labels", "largest", to="offset"),
        named("Unsqueeze", "offset", "one", to="offsets"),
        named("Add", "boxes", "offsets", to="moved"),
        named("Unsqueeze", "moved" if apart else "boxes", "zero", to="batch of boxes"),
        named("Unsqueeze", "scores", "both", to="batch of scores"),
        named("NonMaxSuppression", *("batch of boxes", "batch of scores", "limit", "share"), to="chosen", **by_middle),
        named("Gather", "chosen", "two", to="column of chosen", axis=1),
        named("Squeeze", "column of chosen", "one", to="kept"),
    ]


def selecting(leasts=(0.3, 0.3), apart=True, **by_middle) -> onnx.ModelProto:
    """As torchvision writes SSD: of each class but the background the scores that are high enough and their boxes,
    then what is left of those of all classes, of which the first 9 are outputs."""
    whole = {"box rows": np.array([20, 4]), "score rows": np.array([20, 3]), "none": np.array(0)}
    whole |= {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "both": np.array([0, 1])}
    whole |= {"most": np.array([9]), "box b": np.array([0.7, 0.2, 1.3, 0.9]), "score b": np.zeros(3)}
    nodes, labels = [], range(1, 1 + len(leasts))
    for name in ("box", "score"):
        whole[f"{name} w"] = normal(len(whole[f"{name} b"]), 3, 1, 1) * (0.2 if name == "box" else 1)
        nodes.append(named("Conv", "x", f"{name} w", f"{name} b", to=f"{name} map"))
        nodes.append(named("Transpose", f"{name} map", to=f"{name} turned", perm=[0, 2, 3, 1]))
        nodes.append(named("Reshape", f"{name} turned", f"{name} rows", to=f"every {name}"))
    nodes.append(named("Softmax", "every score", to="likely", axis=1))
    for c, least in zip(labels, leasts):
        whole |= {f"number {c}": np.array(c), f"least {c}": np.array(least)}
        nodes.append(named("Gather", "likely", f"number {c}", to=f"column {c}", axis=1))
        nodes.append(named("Greater", f"column {c}", f"least {c}", to=f"counts {c}"))
        for every, kind in ((f"column {c}", "scores"), ("every box", "boxes")):
            nodes.append(named("NonZero", f"counts {c}", to=f"places of {kind} {c}"))
            nodes.append(named("Transpose", f"places of {kind} {c}", to=f"rows of {kind} {c}", perm=[1, 0]))
            nodes.append(named("GatherND", every, f"rows of {kind} {c}", to=f"{kind} {c}"))
        label = onnx.numpy_helper.from_array(np.float32([c]))
        nodes.append(named("Shape", f"scores {c}", to=f"count {c}"))
        nodes.append(named("ConstantOfShape", f"count {c}", to=f"labels {c}", value=label))
    kinds = ("boxes", "scores", "labels")
    nodes += [named("Concat", *(f"{kind} {c}" for c in labels), to=kind, axis=0) for kind in kinds]
    nodes += [named("Size", "labels", to="size"), named("Equal", "size", "none", to="empty")]
    nothing = [named("Constant", to="nothing", value=onnx.numpy_helper.from_array(np.zeros(0, np.int64)))]
    then, other = (
        onnx.helper.make_graph(
            inside, "branch", [], [onnx.helper.make_tensor_value_info(inside[-1].output[0], 7, None)]
        )
        for inside in (nothing, suppressing(apart, by_middle))
    )
    nodes.append(named("If", "empty", to="all kept", then_branch=then, else_branch=other))
    nodes.append(named("Slice", "all kept", "zero", "most", "zero", "one", to="first"))
    nodes += [named("Gather", kind, "first", to=f"best {kind}", axis=0) for kind in kinds]
    return make(*nodes, shape=(1, 3, 4, 5), outputs=[f"best {kind}" for kind in kinds], infer=False, **whole)


SELECTED = {"boxes": "every box", "scores": "likely", "form": "xyxy", "first_class": 1, "every_class": True}


def test_a_refusal_says_the_boxes_that_a_model_selects_itself(tmp_path):
    source, picture, path = selecting(), normal(1, 3, 4, 5), tmp_path / "net.bin"
    error = refuse(source, "NonZero", "4 NonZero", "to end in its boxes: convert(...")
    said = ast.literal_eval(re.search(r"boxes=(\{.*\})\)$", str(error))[1])
    assert said == {**SELECTED, "least_score": 0.3, "overlap": 0.45, "most": 9}
    mbinfer.convert(source, path, boxes=said)
    found = mbinfer.Session(path).run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
    boxes, scores, labels = run_onnx(source, {"x": picture}).values()
    assert len(scores) == 9 and {*labels} == {1, 2}
    corners = boxes[:, [1, 0, 3, 2]] / [4, 5, 4, 5]
    assert np.abs(found - np.column_stack([corners, scores, labels])).max() < 1e-5


@pytest.mark.parametrize(
    "options",
    [{"apart": False}, {"center_point_box": 1}, {"leasts": (0.3, 0.4)}, {"leasts": (0.3,)}],
    ids=str,
)
def test_a_refusal_says_no_boxes_that_are_not_the_models(options):
    assert "boxes={" not in str(refuse(selecting(**options), "NonZero", "outputs=["))
