"""SSD networks of TensorFlow Lite that end in TFLite_Detection_PostProcess, beside LiteRT; options in FlexBuffers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_models import TfliteBuilder, run_litert

import mbinfer
from mbinfer import importers, model
from mbinfer.errors import FormatError, UnsupportedError
from mbinfer.importers.tflite.flexbuffer import numbers_of

OPTIONS = {
    "max_detections": 6, "max_classes_per_detection": 1, "detections_per_class": 100, "use_regular_nms": False,
    "nms_score_threshold": 0.05, "nms_iou_threshold": 0.5, "num_classes": 3,
    "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def flexbuffer(options) -> bytes:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        for name, value in options.items():
            builder.Add(name, value)
    return bytes(builder.Finish())


def ssd(dtype="float32", sizes=((4, 3), (2, 2)), each=(3, 2), seed=0, background=1, columns=0, **options) -> bytes:
    """Maps of `sizes` with `each` anchors a pixel: convolutions, reshaped, joined, a sigmoid of the scores."""
    options = {**OPTIONS, **options}
    net = TfliteBuilder(np.random.default_rng(seed), dtype, custom_code="TFLite_Detection_PostProcess")
    classes = columns or options["num_classes"] + background
    x = net.input((1, *sizes[0], 8))
    joined = {}
    for name, numbers, scale in (("places", 4, 0.05), ("scores", classes, 0.05)):
        parts = []
        quantised = {} if dtype == "float32" else {"scale": scale, "zero_point": 0}
        value = x
        for i, (height, width) in enumerate(sizes):
            value = net.conv(value, 8, (1, 1), (1, 1) if i == 0 else (2, 2))
            made = net.conv(value, each[i] * numbers, (1, 1))
            if quantised:  # what is joined has one scale
                held = net.tensors[made.index].quantization
                held.scale, held.zeroPoint = [scale], [0]
            shape = (1, height * width * each[i], numbers)
            parts.append(net.values(shape, **quantised))
            net.operator("RESHAPE", [made.index, net.constant(shape)], parts[-1].index, "ReshapeOptions")
        whole = net.values((1, sum(part.shape[1] for part in parts), numbers), **quantised)
        net.operator("CONCATENATION", [part.index for part in parts], whole.index, "ConcatenationOptions", axis=1)
        joined[name] = whole
    ends = {} if dtype == "float32" else {"scale": 1 / 256, "zero_point": -128}
    scores = net.values(joined["scores"].shape, **ends)
    net.operator("LOGISTIC", [joined["scores"].index], scores.index)
    if dtype != "float32":
        reals = [net.values(value.shape, dtype="float32") for value in (joined["places"], scores)]
        for value, real in zip((joined["places"], scores), reals):
            net.operator("DEQUANTIZE", [value.index], real.index)
        joined["places"], scores = reals
    count = scores.shape[1]
    anchors = np.concatenate([net.rng.uniform(0, 1, (count, 2)), net.rng.uniform(0.2, 0.6, (count, 2))], 1)
    most = options["max_detections"]
    outputs = [net.values(shape, dtype="float32").index for shape in ((1, most, 4), (1, most), (1, most), (1,))]
    net.operator("CUSTOM", [joined["places"].index, scores.index, net.constant(anchors, "float32")], outputs[0])
    net.operators[-1].outputs = outputs
    net.operators[-1].customOptions = np.frombuffer(flexbuffer(options), np.uint8)
    net.outputs = outputs
    return net.model()


@settings(max_examples=12, deadline=None)
@given(
    dtype=st.sampled_from(["float32", "int8"]),
    seed=st.integers(0, 999),
    background=st.integers(0, 1),
    most=st.sampled_from([1, 6, 40]),
    overlap=st.sampled_from([0.2, 0.6]),
    each=st.sampled_from([(1, 1), (3, 2)]),
    regular=st.booleans(),
)
def test_boxes_are_those_of_litert(dtype, seed, background, most, overlap, each, regular):
    options = {"max_detections": most, "nms_iou_threshold": overlap}
    options |= {"use_regular_nms": True, "detections_per_class": 4} if regular else {}
    data = ssd(dtype, seed=seed, background=background, each=each, **options)
    rng = np.random.default_rng(seed)
    picture = rng.normal(0, 2, (1, 4, 3, 8)).astype(np.float32)
    if dtype != "float32":
        picture = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, picture.shape).astype(dtype)
    expected = list(run_litert(data, {"x": picture}).values())
    graph = importers.import_model(data)
    found = [list(mbinfer.Session(model.encode(graph), **plan).run(picture).values()) for plan in
             ({}, {"memory_limit": "least"}, {"schedule": "naive"})]  # fmt: skip
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))
    boxes, classes, scores, count = found[0]
    kept = int(expected[3].item())
    assert count.item() == kept and [array.shape for array in found[0]] == [array.shape for array in expected]
    assert np.abs(scores[0, :kept] - expected[2][0, :kept]).max(initial=0) < 1e-5
    assert np.array_equal(classes[0, :kept], expected[1][0, :kept])
    assert np.abs(boxes[0, :kept] - expected[0][0, :kept]).max(initial=0) < 1e-5
    assert not scores[0, kept:].any() and not boxes[0, kept:].any()


def suppression(version: int, most: int, overlap: float, least: float, sigma=0.0, behind=False) -> bytes:
    """Boxes and scores of 12 pixels, chosen from; `behind`: what is chosen is gathered."""
    net = TfliteBuilder(np.random.default_rng(1), "float32")
    x = net.input((1, 4, 3, 8))
    boxes, flat, scores = net.values((12, 4)), net.values((12,)), net.values((12,))
    for value, numbers in ((boxes, 4), (flat, 1)):
        made = net.conv(x, numbers, (1, 1))
        net.operator("RESHAPE", [made.index, net.constant(value.shape)], value.index, "ReshapeOptions")
    net.operator("LOGISTIC", [flat.index], scores.index)
    reals = [overlap, least, *([sigma] if version == 5 else [])]
    inputs = [boxes.index, scores.index, net.constant(most), *(net.constant(real, "float32") for real in reals)]
    kinds = [((most,), "int32"), *([((most,), "float32")] if version == 5 else []), ((), "int32")]
    net.outputs = [net.values(shape, dtype=kind).index for shape, kind in kinds]
    net.operator(f"NON_MAX_SUPPRESSION_V{version}", inputs, net.outputs[0], f"NonMaxSuppressionV{version}Options")
    net.operators[-1].outputs = net.outputs
    if behind:
        gathered = net.values((most, 4))
        net.operator("GATHER", [boxes.index, net.outputs[0]], gathered.index, "GatherOptions", axis=0)
        net.outputs = [gathered.index]
    return net.model()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("most, overlap, least", [(5, 0.5, 0.3), (12, 0.9, 0.1), (1, 0.2, 0.0), (3, 1.0, 0.5)])
def test_chosen_boxes_are_those_of_litert(version, most, overlap, least):
    data, picture = suppression(version, most, overlap, least), np.random.default_rng(3).normal(0, 2, (1, 4, 3, 8))
    picture = picture.astype(np.float32)
    expected = list(run_litert(data, {"x": picture}).values())
    found = list(mbinfer.Session(model.encode(importers.import_model(data))).run(picture).values())
    assert expected[-1] > 0 and len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 1e-6


@pytest.mark.parametrize(
    "options, words",
    [({"sigma": 0.5}, "sigma"), ({"overlap": 2.0}, "overlap"), ({"behind": True}, "GATHER.*outputs=")],
    ids=str,
)
def test_other_choices_are_refused(options, words):
    given = {"version": 5, "most": 5, "overlap": 0.5, "least": 0.1, **options}
    with pytest.raises(UnsupportedError, match=words):
        importers.import_model(suppression(**given))


def test_maps_are_never_held_together():
    """What makes boxes of an anchor reads its map, and scores of all anchors are no value."""
    graph = importers.import_model(ssd())
    made = [node for node in graph.nodes if node.op == "candidates"]
    assert [graph.values[node.inputs[0]] for node in made] == [(4, 3, 12), (2, 2, 8)]
    assert max(channels for _, _, channels in graph.values.values()) <= 54


@pytest.mark.parametrize(
    "options, words",
    [
        ({"max_classes_per_detection": 2}, "several classes"),
        ({"nms_score_threshold": 0.0}, "thresholds"),
        ({"num_classes": 9}, "classes"),
    ],
)
def test_what_is_not_understood_is_refused_with_tensors_to_end_at(options, words):
    data = ssd(columns=4, **options)
    with pytest.raises(UnsupportedError, match=words) as error:
        importers.import_model(data)
    assert "outputs=" in str(error.value)


@pytest.mark.parametrize("options", [{}, OPTIONS, {"a": -(2**40), "b": 2**20, "c": True, "_": 0.1, "long_name": 1e30}])
def test_options_are_those_that_were_written_and_damage_is_an_error(options):
    data = flexbuffer(options)
    assert numbers_of(data) == pytest.approx({name: float(value) for name, value in options.items()}, rel=1e-6)
    for at in range(len(data)):
        for byte in (0, 1, 38, 127, 255):
            damaged = data[:at] + bytes([byte]) + data[at + 1 :]
            for broken in (damaged, data[:at]):
                try:
                    numbers_of(broken)
                except FormatError:
                    pass
