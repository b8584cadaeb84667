"""Boxes of a detector's maps: plain loops and onnxruntime as oracles, the same bits on every plan, and the commands."""

from __future__ import annotations

import json

import hooks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from oracle import run_onnx
from PIL import Image

import mbinfer
from mbinfer import cli, model, zoo
from mbinfer.build import GraphBuilder
from mbinfer.detection import Head, add_boxes
from mbinfer.graph import Boxes, Recipe, Type

PLANS = [{}, {"schedule": "naive"}, {"memory_limit": "least"}, {"memory_limit": "least", "threads": 3}]
SCALE = (10.0, 10.0, 5.0, 5.0)
REAL = Type()


def maps_of(sizes, anchors, classes, kind=REAL, rng=None, **options):
    """A network of maps that are inputs, and its boxes."""
    rng = rng or np.random.default_rng(0)
    net, heads = GraphBuilder(), []
    for i, (height, width) in enumerate(sizes):
        names = []
        for name, each in (("scores", classes), ("places", 4)):
            given_ = net.input(f"{name}{i}", (height, width, anchors * each))
            names.append(net.add("max_pool", [given_]))  # a value of the network
            if kind.scale:
                net.graph.types[given_] = net.graph.types[names[-1]] = kind
        middles = rng.uniform(0, 1, (height, width, anchors, 2))
        sides = rng.uniform(0.1, 0.6, (height, width, anchors, 2))
        heads.append(Head(*names, np.concatenate([middles, sides], axis=3).astype(np.float32)))
    add_boxes(net.graph, heads, **options)
    return net.graph, [head.anchors for head in heads]


def plain_loops(maps, anchors, least_score, overlap, most, softmax, first_class, scale=SCALE):
    """The same in float64, one box after the other."""
    found = []
    for (scores, places), boxes in zip(maps, anchors):
        shape = boxes.shape[:3]
        scores, places = np.float64(scores).reshape(*shape, -1), np.float64(places).reshape(*shape, 4)
        if softmax:
            scores = np.exp(scores - scores.max(3, keepdims=True))
            scores /= scores.sum(3, keepdims=True)
        boxes = np.float64(boxes)
        for place in np.ndindex(*shape):
            sides = boxes[place][2:] * np.exp(places[place][2:] / scale[2:])
            middle = boxes[place][:2] + places[place][:2] / scale[:2] * boxes[place][2:]
            box = np.clip([*(middle - sides / 2), *(middle + sides / 2)], 0, 1)
            for number in range(first_class, scores.shape[3]):
                if scores[place][number] > least_score:
                    found.append((*box, scores[place][number], number))
    kept = []
    for box in sorted(found, key=lambda box: -box[4]):
        if len(kept) < most and all(other[5] != box[5] or shared(other, box) <= overlap for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 6)


def shared(a, b):
    sides = [min(a[2 + i], b[2 + i]) - max(a[i], b[i]) for i in (0, 1)]
    inside = max(sides[0], 0) * max(sides[1], 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return inside / (areas - inside) if areas > inside else 0


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3),
    anchors=st.integers(1, 3),
    classes=st.integers(2, 5),
    softmax=st.booleans(),
    kind=st.sampled_from([Type(), Type("uint8", 0.0625, 128)]),
    seed=st.integers(0, 9999),
)
def test_boxes_are_those_of_plain_loops_on_every_plan(sizes, anchors, classes, softmax, kind, seed):
    rng = np.random.default_rng(seed)
    options = {"least_score": 0.3, "overlap": 0.4, "most": 200, "softmax": softmax, "first_class": int(softmax)}
    graph, boxes = maps_of(sizes, anchors, classes, kind, rng, **options)
    inputs = {name: rng.normal(0, 2, (1, *graph.values[name])).astype(np.float32) for name in graph.inputs}
    if kind.scale:
        inputs = {name: np.rint(array * 16 + 128).clip(0, 255).astype(np.uint8) for name, array in inputs.items()}
    results = []
    for plan in PLANS:
        session = mbinfer.Session(model.encode(graph), **plan)
        assert hooks.check(session) == ""
        results.append(session.run(**inputs))
        assert np.array_equal(results[0], results[-1]), plan
    count = int((results[0][:, 4] > 0).sum())
    assert not results[0][count:].any() and (np.diff(results[0][:count, 4]) <= 0).all()
    if kind.scale:  # bytes are the real numbers that they stand for
        real = {name: (np.float32(array) - kind.zero_point) * kind.scale for name, array in inputs.items()}
        graph, _ = maps_of(sizes, anchors, classes, rng=np.random.default_rng(seed), **options)
        assert np.array_equal(mbinfer.Session(model.encode(graph)).run(**real), results[0])
        return
    maps = [(inputs[f"scores{i}"], inputs[f"places{i}"]) for i in range(len(sizes))]
    expected = plain_loops(maps, boxes, **options)
    assert count == len(expected)
    assert np.abs(results[0][:count] - expected).max(initial=0) < 1e-5


def nms_of(boxes, most, overlap):
    net = GraphBuilder(dims=(boxes.shape[0], 1, boxes.shape[1]))
    value = net.add("nms", [net.add("max_pool", ["input"])], 6 * most, boxes=Boxes(0.0, overlap))
    net.output(value, (most, 6), "boxes")
    return mbinfer.Session(model.encode(net.graph)).run(boxes.reshape(1, len(boxes), 1, -1))


@pytest.mark.parametrize("overlap", [0.2, 0.5, 0.8])
def test_onnxruntime_keeps_the_same_boxes(overlap):
    rng = np.random.default_rng(5)
    corners, sides = rng.uniform(0, 0.7, (3 * 40, 2)), rng.uniform(0.05, 0.3, (3 * 40, 2))
    boxes = np.concatenate([corners, corners + sides, rng.uniform(0.1, 1, (120, 1)), rng.integers(0, 2, (120, 1))], 1)
    boxes = boxes.astype(np.float32)
    found = nms_of(boxes.reshape(3, -1), 120, overlap)
    scores = np.where(boxes[:, 5] == np.arange(2)[:, None], boxes[:, 4], 0)[None].astype(np.float32)
    ints, floats = TensorProto.INT64, TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["kept"])],
        "nms",
        [helper.make_tensor_value_info("boxes", floats, [1, 120, 4]),
         helper.make_tensor_value_info("scores", floats, [1, 2, 120])],
        [helper.make_tensor_value_info("kept", ints, [None, 3])],
        [helper.make_tensor("most", ints, [1], [120]), helper.make_tensor("overlap", floats, [1], [overlap]),
         helper.make_tensor("least", floats, [1], [0.0])],
    )  # fmt: skip
    source = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    (kept,) = run_onnx(source, {"boxes": boxes[None, :, :4], "scores": scores}).values()
    expected = boxes[kept[:, 2]]
    expected = expected[np.argsort(-expected[:, 4], kind="stable")]
    assert (len(expected) < 120 or overlap > 0.6) and np.array_equal(found[: len(expected)], expected)
    assert not found[len(expected) :].any()


def test_equal_scores_stay_in_order_and_what_is_full_leaves_the_least():
    apart = [[0.1 * i, 0, 0.1 * i + 0.05, 1, score, 1] for i, score in enumerate([0.5, 0.9, 0.5, 0.5])]
    found = nms_of(np.float32(apart).reshape(2, 12), 3, 0.5)
    assert np.allclose(found[:, 0], [0.1, 0.0, 0.2])
    same = np.float32([[0, 0, 1, 1, 0.5, 1], [0, 0, 1, 1, 0.5, 2], [0, 0, 1, 1, 0.5, 1]])
    assert nms_of(same.reshape(1, 18), 4, 0.5)[:, 5].tolist() == [1, 2, 0, 0]
    assert nms_of(same.reshape(1, 18), 4, 1.0)[:, 5].tolist() == [1, 2, 1, 0], "an overlap of 1 keeps all"


def test_numbers_that_are_none_make_no_boxes_that_are_none():
    graph, _ = maps_of([(2, 3)], 2, 3, least_score=0.1)
    rng = np.random.default_rng(0)
    for odd in (np.nan, np.inf, -np.inf, 3e38):
        inputs = {name: rng.normal(0, 1, (1, *graph.values[name])).astype(np.float32) for name in graph.inputs}
        for array in inputs.values():
            array.ravel()[::3] = odd
        found = mbinfer.Session(model.encode(graph)).run(**inputs)
        assert np.isfinite(found).all() and found.min() >= 0 and found[:, :4].max() <= 1


def test_scores_of_a_whole_map_need_not_exist():
    least = {
        boxes: mbinfer.Session(model.encode(zoo.ssdlite_v2(160, 91, boxes=boxes)), memory_limit="least", plan_only=True)
        for boxes in (False, True)
    }
    assert least[True].plan.peak_bytes < least[False].plan.peak_bytes
    assert [info.shape for info in least[True].outputs] == [(100, 6)]


def finder():
    """Which quarters of a picture are light."""
    net = GraphBuilder()
    net.input("image", (16, 16, 1), Recipe((0.0,), (1 / 255,), "grey"))
    window = {"kernel": (8, 8), "stride": (8, 8)}
    light = np.zeros((2, 8, 8, 1), np.float32)
    light[1] = 20 / 64
    scores = net.add("conv", ["image"], weight=light, bias=np.float32([0, -10]), **window)
    places = net.add("conv", ["image"], weight=np.zeros((4, 8, 8, 1), np.float32), bias=np.zeros(4), **window)
    middles = np.stack(np.meshgrid([0.25, 0.75], [0.25, 0.75], indexing="ij"), 2)
    anchors = np.concatenate([middles, np.full((2, 2, 2), 0.5)], 2)[:, :, None].astype(np.float32)
    add_boxes(net.graph, [Head(scores, places, anchors)], most=5)
    net.graph.labels = ["nothing", "lamp"]
    return net.graph


def test_detect(tmp_path, capsys):
    picture = np.kron(np.uint8([[0, 255], [200, 20]]), np.ones((20, 30), np.uint8))
    Image.fromarray(picture).save(tmp_path / "in.png")
    model.save(finder(), tmp_path / "net.bin")
    session = mbinfer.Session(tmp_path / "net.bin")
    first, second = mbinfer.detect(session, picture[1::20, 1::30].repeat(8, 0).repeat(8, 1)[..., None])
    assert first[:4] == (0.0, 0.5, 0.5, 1.0) and second[:4] == (0.5, 0.0, 1.0, 0.5) and first.label == "lamp"
    assert first.score == pytest.approx(1 / (1 + np.exp(-10))) and first.score > second.score > 0.9
    arguments = ["detect", str(tmp_path / "net.bin"), str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png")]
    assert cli.main([*arguments, "--json", "--least", "0.9999"]) == 0
    (box,) = json.loads(capsys.readouterr().out)["boxes"]
    assert [box[side] for side in ("y0", "x0", "y1", "x1")] == [0, 30, 20, 60]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 found" in printed and "lamp  rows 0 to 20, columns 30 to 60" in printed
    drawn = np.asarray(Image.open(tmp_path / "out.png"))
    assert drawn.shape == (40, 60, 3) and drawn[0, 45].tolist() == [128, 0, 0]


def test_what_does_not_detect(net, tmp_path, capsys):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "in.png")
    assert cli.main(["detect", str(net), str(tmp_path / "in.png")]) == 1
    assert "has no boxes" in capsys.readouterr().err
    model.save(finder(), tmp_path / "net.bin")
    arguments = ["detect", str(tmp_path / "net.bin"), str(tmp_path / "in.png"), "-o", str(tmp_path / "out.xyz")]
    assert cli.main(arguments) == 1 and "cannot draw there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, error",
    [
        ({"boxes": Boxes(-0.1, 0.0, SCALE)}, mbinfer.FormatError),
        ({"boxes": Boxes(0.1, 0.5, SCALE)}, mbinfer.FormatError),
        ({"boxes": Boxes(0.1, 0.0, (0.0, 1.0, 1.0, 1.0))}, mbinfer.FormatError),
        ({"boxes": Boxes(np.nan, 0.0, SCALE)}, mbinfer.FormatError),
        ({"first_channel": 3}, mbinfer.FormatError),
        ({"weight": np.zeros((2, 3, 1, 4))}, mbinfer.ShapeError),
        ({"weight": np.full((2, 3, 2, 4), np.inf)}, mbinfer.FormatError),
        ({"activation": "sigmoid"}, mbinfer.FormatError),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_writer(change, error):
    graph, _ = maps_of([(2, 3)], 2, 3)
    (node,) = (node for node in graph.nodes if node.op == "candidates")
    for name, value in change.items():
        setattr(node, name, value)
    with pytest.raises(error):
        model.encode(graph)


@pytest.mark.parametrize("field", ["row_numerator", "row_denominator", "row_term", "first_channel", "weight_bytes"])
@pytest.mark.parametrize("bits", [0x7FC00000, 0x80000001, 0xFF800000 - (1 << 32)])
def test_and_by_the_reader(field, bits):
    from records import Records

    graph, _ = maps_of([(2, 3)], 2, 3)
    records = Records(model.encode(graph))
    at = next(i for i, node in enumerate(graph.nodes) if node.op == "candidates")
    with np.errstate(over="ignore"):
        records.node[field][at] = np.array(bits, np.int64).astype(records.node[field].dtype)
    with pytest.raises(mbinfer.FormatError):
        mbinfer.Session(records.encode())
