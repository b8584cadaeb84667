"""Detectors that end in raw numbers, and `convert(..., boxes=)`: decoded by plain loops, chosen from by onnxruntime."""

from __future__ import annotations

import json

import hooks
import numpy as np
import onnx
import pytest
from onnx_models import make, node, normal
from oracle import run_onnx
from PIL import Image
from tflite_models import TfliteBuilder, run_litert

import mbinfer
from mbinfer import cli

SIZE, STRIDES = (16, 24), (4, 8)
COUNT = sum(SIZE[0] // s * (SIZE[1] // s) for s in STRIDES)
SIDES = np.array([*SIZE, *SIZE])
MIDDLES, CORNERS = ([12, 8, 9, 7], 1.5), [4, 6, 12, 17]
MOVES = ([0.2, 0.2, 0.9, 1.2], 0.3)


def named(op, *inputs, to, **attrs):
    return node(op, *inputs, to=to, **{"name": to if isinstance(to, str) else to[0], **attrs})


def detector(places, scores, layout, sure=False, anchors=1) -> onnx.ModelProto:
    """Maps r0, r1 of `places` (means, deviation) and c0, c1 of as many `scores`, or "all" with both for each box:
    "columns", (1, numbers, n), or "rows". `sure`: after a sigmoid of the scores."""
    nodes, constants = [], {}
    means, deviation = places
    for i, stride in enumerate(STRIDES):
        area = SIZE[0] // stride * (SIZE[1] // stride)
        for name, bias, gain in (("r", means, deviation), ("c", np.linspace(-0.5, 0.5, scores), 1.5)):
            bias = np.tile(np.float32(bias), anchors)
            weight = normal(len(bias), 3, stride, stride) * gain / np.sqrt(3 * stride * stride)
            constants |= {f"{name}{i}w": weight, f"{name}{i}b": bias}
            last = f"{name}{i}" if not sure or name == "r" else f"{name}{i}/raw"
            nodes.append(named("Conv", "x", f"{name}{i}w", f"{name}{i}b", to=last, strides=[stride, stride]))
            if last != f"{name}{i}":
                nodes.append(named("Sigmoid", last, to=f"{name}{i}"))
        if layout != "maps":
            constants[f"s{i}"] = np.array([1, len(means) + scores, area])
            nodes.append(named("Concat", f"r{i}", f"c{i}", to=f"m{i}", axis=1))
            nodes.append(named("Reshape", f"m{i}", f"s{i}", to=f"l{i}"))
    outputs = ["r0", "r1", "c0", "c1"] if layout == "maps" else ["all"]
    if layout != "maps":
        nodes.append(named("Concat", "l0", "l1", to="all" if layout == "columns" else "joined", axis=2))
    if layout in ("rows", "two"):
        nodes.append(named("Transpose", "joined", to="all" if layout == "rows" else "both", perm=[0, 2, 1]))
    if layout == "two":
        constants["parts"] = np.array([len(means), scores])
        nodes.append(named("Split", "both", "parts", to=["places", "scores"], axis=2))
        outputs = ["places", "scores"]
    return make(*nodes, shape=(1, 3, *SIZE), outputs=outputs, **constants)


def cells(offset=0.0):
    """Middle y and x and the stride of every cell, in pixels."""
    found = []
    for stride in STRIDES:
        for y in range(SIZE[0] // stride):
            found.extend(((y + offset) * stride, (x + offset) * stride, stride) for x in range(SIZE[1] // stride))
    return np.array(found)


def around(y, x, height, width):
    return np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], 1)


def by_cells(b):
    """YOLOX's: how far the middle is from a cell's corner, and logarithms of sizes, in strides."""
    y, x, stride = cells().T
    return around(y + b[:, 1] * stride, x + b[:, 0] * stride, np.exp(b[:, 3]) * stride, np.exp(b[:, 2]) * stride)


def by_distances(unit):
    def decoded(b):
        y, x, stride = cells(0.5).T
        left, top, right, bottom = b.T * (stride if unit == "cells" else 1)
        return np.stack([y - top, x - left, y + bottom, x + right], 1)

    return decoded


def by_bins(b):
    powers = np.exp(b.reshape(len(b), 4, -1))
    return by_distances("cells")((powers * np.arange(powers.shape[2])).sum(2) / powers.sum(2))


ANCHORS = np.concatenate([np.repeat(cells(0.5)[:, :2] / SIZE, 2, 0), np.tile([[0.4, 0.3], [0.2, 0.5]], (COUNT, 1))], 1)


def by_anchors(b):
    y, x, height, width = ANCHORS.T
    sizes = np.exp(b[:, 3] / 5) * height, np.exp(b[:, 2] / 5) * width
    return around(y + b[:, 1] / 10 * height, x + b[:, 0] / 10 * width, *sizes) * SIDES


def curve(name, s):
    powers = np.exp(s)
    return {"none": s, "sigmoid": 1 / (1 + np.exp(-s)), "softmax": powers / powers.sum(1, keepdims=True)}[name]


ALL = {"boxes": "all[:4]", "scores": "all[4:]"}
MAPS = {"boxes": ["r0", "r1"], "scores": ["c0", "c1"]}
SSD = {**MAPS, "form": "cxcywh", "unit": "shares", "anchors": ANCHORS[:, [1, 0, 3, 2]], "scale": (10, 5)}
CASES = {  # what the detector is, what convert is told, and corners of the four numbers
    "ultralytics": (
        (MIDDLES, 3, "columns", True),
        {**ALL, "form": "cxcywh"},
        lambda b: around(b[:, 1], b[:, 0], b[:, 3], b[:, 2]),
    ),
    "objectness": (
        (MIDDLES, 4, "rows", True),
        {"boxes": "all[0:4]", "objectness": "all[4:5]", "scores": "all[5:8]", "form": "cxcywh", "least_score": 0.2},
        lambda b: around(b[:, 1], b[:, 0], b[:, 3], b[:, 2]),
    ),
    "corners": (
        (([0.3, 0.3, 0.7, 0.7], 0.1), 4, "two"),
        {"boxes": "places", "scores": "scores", "form": "xyxy", "unit": "shares", "curve": "softmax", "first_class": 1},
        lambda b: b[:, [1, 0, 3, 2]] * SIDES,
    ),
    "yxyx": (((CORNERS, 2.5), 2, "columns", True), {**ALL, "form": "yxyx"}, lambda b: b),
    "cycxhw": ((MIDDLES, 2, "columns", True), {**ALL, "form": "cycxhw", "overlap": 0.2}, lambda b: around(*b.T)),
    "xywh": (
        (([6, 4, 9, 8], 1), 2, "rows", True),
        {**ALL, "form": "xywh"},
        lambda b: np.stack([b[:, 1], b[:, 0], b[:, 1] + b[:, 3], b[:, 0] + b[:, 2]], 1),
    ),
    "YOLOX": (
        (MOVES, 4, "rows"),
        {"boxes": "all[:4]", "objectness": "all[4:5]", "scores": "all[5:]", "form": "cxcywh", "strides": STRIDES,
         "curve": "sigmoid", "least_score": 0.2, "overlap": 0.2},
        by_cells,
    ),
    "distances": (
        (([5, 6, 4, 5], 1), 3, "maps"),
        {**MAPS, "form": "ltrb", "strides": [4, 8], "offset": 0.5, "curve": "sigmoid"},
        by_distances("pixels"),
    ),
    "bins": (
        (([0] * 24, 1), 3, "rows", True),
        {"boxes": "all[:24]", "scores": "all[24:]", "form": "ltrb", "unit": "cells", "strides": [4, 8], "offset": 0.5},
        by_bins,
    ),
    "SSD": ((MOVES, 3, "maps", False, 2), {**SSD, "curve": "softmax", "first_class": 1}, by_anchors),
}  # fmt: skip


def expected_boxes(raw, said, decoded, anchors=1):
    """What `said` means, in float64, and of that what onnxruntime leaves."""

    def numbers(key):
        names = said.get(key, [])
        found = []
        for name in names if isinstance(names, list) else [names]:
            array = np.float64(raw[name.partition("[")[0]])
            if array.ndim == 4:
                array = array[0].reshape(anchors, len(array[0]) // anchors, -1).transpose(2, 0, 1)
                array = array.reshape(1, -1, array.shape[2])
            elif array.shape[1] != COUNT:
                array = array.transpose(0, 2, 1)
            ends = name.partition("[")[2].strip("]").split(":") if "[" in name else ["", ""]
            found.append(array[0][:, slice(*(int(end) if end else None for end in ends))])
        return np.concatenate(found) if found else None

    corners = decoded(numbers("boxes")) / SIDES
    scores, objectness = curve(said.get("curve", "none"), numbers("scores")), numbers("objectness")
    if objectness is not None:
        scores = scores * curve(said.get("curve", "none"), objectness)
    scores[:, : said.get("first_class", 0)] = 0
    if not said.get("every_class"):
        scores = np.where(scores == scores.max(1, keepdims=True), scores, 0)
    return chosen(corners, scores, said.get("least_score", 0.3), said.get("overlap", 0.5), said.get("most", 100))


def chosen(corners, scores, least, overlap, most):
    constants = {"n": np.array([len(corners)]), "overlap": np.float32(overlap), "least": np.float32(least)}
    source = make(
        named("NonMaxSuppression", "boxes", "scores", "n", "overlap", "least", to="kept"),
        inputs=("boxes", "scores"), shape=None, outputs=("kept",), infer=False, **constants,
    )  # fmt: skip
    source.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    (kept,) = run_onnx(source, {"boxes": np.float32(corners[None]), "scores": np.float32(scores.T[None])}).values()
    rows = [(*corners[i], scores[i, number], number) for _, number, i in kept]
    assert len(rows) < (scores > least).sum() or overlap == 1, "no box covers another"
    return np.array(sorted(rows, key=lambda row: -row[4])).reshape(-1, 6)[:most]


def agree(found, expected):
    kept = len(expected)
    assert (found[:, 4] > 0).sum() == kept and not found[kept:].any()
    assert np.array_equal(found[:kept, 5], expected[:, 5])
    assert np.abs(found[:kept] - expected).max(initial=0) < 1e-5


@pytest.mark.parametrize(
    "case, every", [*((case, False) for case in CASES), ("ultralytics", True), ("objectness", True), ("SSD", True)]
)
def test_boxes_are_those_that_are_left_of_the_raw_ones(case, every, tmp_path):
    arguments, said, decoded = CASES[case]
    source, picture = detector(*arguments), normal(1, 3, *SIZE)
    said = {**said, "every_class": every}
    expected = expected_boxes(run_onnx(source, {"x": picture}), said, decoded, *arguments[4:])
    assert len(expected) > 2
    mbinfer.convert(source, tmp_path / "net.bin", boxes=said)
    pixels, runs = np.ascontiguousarray(picture.transpose(0, 2, 3, 1)), []
    for plan in ({"memory_limit": "least"}, {"schedule": "naive"}):
        session = mbinfer.Session(tmp_path / "net.bin", **plan)
        assert hooks.check(session) == ""
        runs.append(session.run(pixels))
        assert np.array_equal(runs[0], runs[-1])
    agree(runs[0], expected)
    assert len(mbinfer.detect(session, pixels)) == len(expected)


def test_numbers_of_the_best_boxes_and_outputs_beside_them(tmp_path):
    arguments, said, decoded = CASES["ultralytics"]
    source, picture = detector(*arguments), normal(1, 3, *SIZE)
    raw = run_onnx(source, {"x": picture})
    expected = expected_boxes(raw, said, decoded)[:2]
    mbinfer.convert(source, tmp_path / "net.bin", boxes={**said, "most": 2}, outputs=iter(["r0"]))
    found = mbinfer.Session(tmp_path / "net.bin").run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
    assert list(found) == ["boxes", "r0"] and found["boxes"].shape == (2, 6)
    agree(found["boxes"], expected)


def test_a_class_more_costs_its_own_scores_alone(tmp_path):
    arguments, said, _ = CASES["ultralytics"]
    source, macs = detector(*arguments), []
    for first in (0, 1):
        mbinfer.convert(source, tmp_path / "net.bin", boxes={**said, "every_class": True, "first_class": first})
        macs.append(mbinfer.Session(tmp_path / "net.bin", plan_only=True).plan.macs)
    assert macs[0] - macs[1] <= 2 * COUNT


def test_a_quantised_detector_finds_the_same(tmp_path):
    """Corners, scores and classes in one row of bytes would have a scale of 20 / 255."""
    arguments, said, _ = CASES["ultralytics"]
    source, pictures = detector(*arguments), [normal(*SIZE, 3) for _ in range(8)]
    for dtype, more in (("float32", {}), ("int8", {"calibration": pictures})):
        mbinfer.convert(source, tmp_path / dtype, boxes={**said, "overlap": 1}, dtype=dtype, **more)
    expected, found = (mbinfer.Session(tmp_path / dtype).run(pictures[0]) for dtype in ("float32", "int8"))
    sure = expected[expected[:, 4] > 0.4]
    assert len(sure) > 5
    for box in sure:
        near = found[(found[:, 5] == box[5]) & (np.abs(found[:, 4] - box[4]) < 0.05)]
        assert np.abs(near[:, :4] - box[:4]).max(1).min() < 0.05


@pytest.mark.parametrize("dtype, overlap", [("float32", 0.2), ("int8", 1)])
def test_a_tflite_detector_of_two_tensors(dtype, overlap, tmp_path):
    net, rng = TfliteBuilder(np.random.default_rng(4), dtype), np.random.default_rng(5)
    x = net.input((1, 6, 5, 8))
    made = [net.reshape(net.conv(x, numbers, (1, 1)), (1, 30, numbers)) for numbers in (4, 3)]
    net.outputs = [value.index for value in made]
    picture = rng.normal(0, 2, x.shape).astype(np.float32)
    if dtype == "int8":
        picture = rng.integers(-128, 128, x.shape).astype(np.int8)
    raw = run_litert(net.model(), {"x": picture})
    said = dict(zip(("boxes", "scores"), raw)) | {
        "form": "cxcywh",
        "unit": "shares",
        "anchors": rng.random((30, 4)) + 1,
    }
    numbers = [np.float64(array[0]) for array in raw.values()]
    if dtype == "int8":
        numbers = [(array - value.zero_point) * value.scale for array, value in zip(numbers, made)]
    x0, y0, width, height = said["anchors"].T
    right, down, wider, higher = numbers[0].T / 20
    corners = around(y0 + down * height, x0 + right * width, np.exp(higher) * height, np.exp(wider) * width)
    sure = curve("sigmoid", numbers[1])
    sure[np.arange(30), sure.argmax(1)] += 1
    expected = chosen(corners, sure - 1, 0.3, overlap, 100)
    mbinfer.convert(
        net.model(), tmp_path / "net.bin", boxes={**said, "scale": 20, "curve": "sigmoid", "overlap": overlap}
    )
    found = mbinfer.Session(tmp_path / "net.bin").run(picture)
    if dtype == "int8":  # scores of few different numbers: no better one comes first
        order = [np.lexsort(np.round(rows, 3).T) for rows in (found[: len(expected)], expected)]
        found[: len(expected)], expected = found[order[0]], expected[order[1]]
    agree(found, expected)


LAMPS = {"boxes": "all[:4]", "scores": "all[4:]", "form": "cxcywh", "least_score": "0.5"}


def finder():
    """Which quarters of a grey picture are light: one box each, of the second of three classes."""
    window = np.full((1, 1, 8, 8), 1 / 64)
    places = np.array([[4, 12, 4, 12], [4, 4, 12, 12], [8] * 4, [8] * 4])[None]
    return make(
        named("Conv", "x", "window", to="light", strides=[8, 8]),
        named("Reshape", "light", "line", to="score"),
        named("Mul", "score", "none", to="nothing"),
        named("Mul", "score", "wide", to="zeros"),
        named("Add", "zeros", "places", to="boxes"),
        named("Concat", "boxes", "nothing", "score", "nothing", to="all", axis=1),
        shape=(1, 1, 16, 16), outputs=("all",), line=np.array([1, 1, 4]), window=window, none=np.float32(0),
        wide=np.zeros((1, 4, 1)), places=np.float32(places),
    )  # fmt: skip


def test_the_command_line_converts_a_detector_and_draws_what_it_finds(tmp_path, capsys):
    onnx.save(finder(), tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("sun\nlamp\nfire\n")
    Image.fromarray(np.kron(np.uint8([[0, 255], [200, 20]]), np.ones((20, 30), np.uint8))).save(tmp_path / "in.png")
    files = [str(tmp_path / name) for name in ("net.onnx", "net.bin", "in.png", "out.png", "labels.txt")]
    boxes = ",".join(f"{key}={value}" for key, value in LAMPS.items())
    recipe = ["--mean", "0", "--scale", str(1 / 255), "--labels", files[4]]
    assert cli.main(["convert", *files[:2], *recipe, "--boxes", f"{boxes},every_class=false"]) == 0
    capsys.readouterr()
    assert cli.main(["detect", *files[1:3], "-o", files[3], "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["boxes"]
    assert [first[side] for side in ("y0", "x0", "y1", "x1")] == pytest.approx([0, 30, 20, 60], abs=1e-4)
    assert [second[side] for side in ("y0", "x0", "y1", "x1")] == pytest.approx([20, 0, 40, 30], abs=1e-4)
    assert first["label"] == second["label"] == "lamp" and first["score"] > second["score"] > 0.7
    assert np.asarray(Image.open(files[3])).shape == (40, 60, 3)
    for wrong in ("boxes", "boxes=a,boxes=b", "boxes=a,every_class=2"):
        with pytest.raises(SystemExit):
            cli.main(["convert", *files[:2], "--boxes", wrong])


@pytest.mark.parametrize(
    "change, words",
    [
        ("all[:4]", "give a dict, such as"),
        ({"form": None}, "form=None"),
        ({"form": "middle"}, "supported are xyxy"),
        ({"boxs": "all"}, "unknown 'boxs'; there are boxes"),
        ({"scores": []}, "1 of boxes, 0 of scores"),
        ({"scores": ["all[4:]", "all"]}, "2 of scores"),
        ({"scores": 5}, "give a tensor's name"),
        ({"boxes": "al[:4]"}, "boxes: no node makes a tensor 'al'"),
        ({"boxes": "all[:3]"}, "boxes of 3 numbers"),
        ({"boxes": "all[4:4]"}, "numbers 4 to 4 of 7"),
        ({"scores": "r0"}, "numbers for each box"),
        ({"first_class": 3}, "class 3 first, of 3"),
        ({"form": "ltrb"}, "without strides"),
        ({"form": "xyxy", "strides": [4, 8]}, "says where a box is"),
        ({"strides": [4]}, "30 boxes and 24 cells"),
        ({"strides": [4, 8], "anchors": ANCHORS}, "strides and anchors"),
        ({"anchors": ANCHORS}, "60 anchors of 30 boxes"),
        ({"anchors": ANCHORS[:, :3]}, "anchors of shape (60, 3)"),
        ({"anchors": __file__}, "give an array's .npy file"),
        ({"unit": "cells"}, "for distances"),
        ({"scale": [1, 2, 3]}, "give 1, 2 (middle, size) or 4"),
        ({"overlap": 2}, "from 0 to 1"),
        ({"least_score": "x"}, "least_score='x'"),
        ({"most": 0}, "most=0"),
    ],
)
def test_what_makes_no_sense_is_refused(change, words, tmp_path):
    said = {**CASES["ultralytics"][1], **change} if isinstance(change, dict) else change
    with pytest.raises((mbinfer.errors.ArgumentError, mbinfer.UnsupportedError)) as error:
        mbinfer.convert(detector(*CASES["ultralytics"][0]), tmp_path / "net.bin", boxes=said)
    assert words in str(error.value)


def test_anchors_of_a_file_are_those_of_an_array(tmp_path):
    arguments, said, _ = CASES["SSD"]
    source, path = detector(*arguments), tmp_path / "anchors.npy"
    np.save(path, said["anchors"])
    for name, anchors in (("array", said["anchors"]), ("file", path)):
        mbinfer.convert(source, tmp_path / name, boxes={**said, "anchors": anchors})
    assert (tmp_path / "array").read_bytes() == (tmp_path / "file").read_bytes()
