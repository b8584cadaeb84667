"""Operators in which detectors end, and which make the best boxes: of anchors, scores and places, or of boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...check_boxes import BOX, MAX_BOXES
from ...graph import Boxes, Node
from ..detecting import corners, counted, refuse_readers, rows_of, suppressed
from ..emitting import SourceNode
from ..given import given
from ..layout import Tensor
from ..moving import blocks, channels
from .lowering import Lowering, lowers
from .weights import reals_of

POSTPROCESS = "custom operator TFLite_Detection_PostProcess"
SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")


@lowers(POSTPROCESS, many=True)
def post_process(low: Lowering, node: SourceNode) -> Tensor:
    """Boxes, classes, scores and how many there are: each anchor is of its best class, and a box that is covered by a
    better one, whatever its class, goes; with use_regular_nms an anchor has a box for each class, which those of other
    classes do not cover. Rows behind the last box are zeros."""
    places, scores = low.tensor(node, 0), low.tensor(node, 1)
    anchors = reals_of(low, node, 2)
    numbers = _numbers(low, node)
    count, classes, most = len(anchors), scores.shape[-1], int(numbers["max_detections"])
    given = (places.shape, scores.shape, anchors.shape)
    if given != ((1, count, 4), (1, count, classes), (count, 4)) or count > MAX_BOXES:
        raise low.unsupported(
            node, f"places, scores and anchors of {given}", f"(1, n, 4), (1, n, classes), (n, 4), n up to {MAX_BOXES}"
        )
    first = classes - int(numbers["num_classes"])
    if not 0 <= first < classes or most < 1:
        raise low.unsupported(
            node, f"{classes} scores of {int(numbers['num_classes'])} classes, {most} boxes", "a class at least"
        )
    least = float(np.nextafter(np.float32(numbers["nms_score_threshold"]), np.float32(0)))  # scores equal to it count
    options: dict[str, Any] = {
        "first_channel": first,
        "anchorwise": True,
        "boxes": Boxes(least, 0.0, (*(float(numbers[name]) for name in SCALES),)),  # type: ignore[arg-type]
    }
    overlap = float(numbers["nms_iou_threshold"])
    if numbers["use_regular_nms"]:
        kept = _class_by_class(low, node, places, scores, anchors.astype(np.float32), options, overlap, most)
        first = 0
    else:
        found = _candidates(low, node, places, scores, anchors.astype(np.float32), options)
        kept = suppressed(low, node, [found], 1, overlap, most, most, "nms")
    rows = _rows(low, node, kept, most)
    boxes = channels(low, node, rows, 0, 4, 2)
    score, number = channels(low, node, rows, 4, 1, 2, "scores"), channels(low, node, rows, 5, 1, 2, "classes")
    if first:
        number = low.affine(node, number, 1.0, -float(first), part="class", activation="clamp", clamp=(0.0, math.inf))
    made = [replace(number, shape=(1, most)), replace(score, shape=(1, most)), _count(low, node, score, most, (1,))]
    low.env.update(zip(node.outputs[1:], made))
    return boxes


def _rows(low: Lowering, node: SourceNode, kept: str, most: int) -> Tensor:
    """The boxes of an nms as (1, most, 6)."""
    flat = Tensor(kept, low.builder.dims(kept), "C", (1, BOX * most))
    rows = blocks(low, node, flat, (1, most), "HWC", (1, most, BOX), "rows")
    return replace(rows, order="C") if most == 1 else rows  # the axis of rows has no name then


def _count(low: Lowering, node: SourceNode, score: Tensor, most: int, shape: tuple[int, ...]) -> Tensor:
    """How many of the scores of `most` boxes are above 0."""
    is_one = low.affine(node, score, float(np.finfo(np.float32).max), part="is one", activation="clamp", clamp=(0, 1))
    total = low.emit(node, "conv", [is_one.value], "count", weight=np.ones((1, 1, most, 1)), kernel=(1, most))
    return Tensor(total, (1, 1, 1), "", shape)


def _class_by_class(
    low: Lowering,
    node: SourceNode,
    places: Tensor,
    scores: Tensor,
    anchors: Any,
    options: dict[str, Any],
    overlap: float,
    most: int,
) -> str:
    """The best boxes of all classes, those of each being covered by better ones of it alone."""
    first, classes = options["first_channel"], scores.shape[-1]
    of_each = min(most, len(anchors), int(node.attrs.get("detections_per_class", 100)))

    def of_classes() -> Iterator[str]:
        for c in range(first, classes):
            of_one = channels(low, node, scores, c, 1, 2, f"scores{c}")
            of_one = replace(of_one, order=scores.order.replace("C", ""))
            found = _candidates(low, node, places, of_one, anchors, {**options, "first_channel": 0}, f"class{c}/")
            numbered = {"weight": np.ones((1, 1, BOX)), "bias": np.array([0, 0, 0, 0, 0, c - first], np.float64)}
            yield low.emit(node, "depthwise", [found], f"class{c}", **numbered)

    return suppressed(low, node, of_classes(), classes - first, overlap, of_each, most, "kept")


@lowers("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", many=True)
def non_max_suppression(low: Lowering, node: SourceNode) -> Tensor:
    """The numbers of the boxes (n, 4) that are left, best first, with V5 their scores, and how many there are. Behind
    the last one are zeros; numbers are float32."""
    places, scores = low.tensor(node, 0), low.tensor(node, 1)
    count = scores.shape[0]
    if places.shape != (count, 4) or scores.shape != (count,):
        raise low.unsupported(node, f"boxes and scores of {places.shape} and {scores.shape}", "(n, 4) and (n,)")
    most, overlap, least, *sigma = (float(low.constant(node, i).item()) for i in range(2, len(node.inputs)))
    if any(sigma) or not 0 <= overlap <= 1:
        raise low.unsupported(node, f"an overlap of {overlap}, sigma {sigma}", "overlaps from 0 to 1, sigma 0")
    overlap = float(np.nextafter(np.float32(overlap), np.float32(-1)))  # an overlap equal to it is too large
    readers = [low.source.nodes[i] for name in node.outputs for i in low.source.readers.get(name, ())]
    refuse_readers(low, node, [f"{r.op} '{r.name}'" for r in readers], node.outputs[0])
    boxes = corners(low, node, rows_of(low, node, places, 0, 1, "boxes"), False)
    kept = counted(low, node, rows_of(low, node, scores, 0, -1, "scores"), least)
    one = Tensor(kept, (count, 1, 1), "H" if count > 1 else "", (1, count, 1))
    numbers = given(low, node, one, np.arange(count, dtype=np.float64).reshape(1, count, 1))
    assert numbers is not None
    joined = low.emit(node, "concat", [boxes, kept, numbers.value], "numbered")
    most = int(most)
    rows = _rows(low, node, suppressed(low, node, [joined], 1, max(overlap, 0.0), most, most, "nms"), most)
    score = channels(low, node, rows, 4, 1, 2, "scores")
    made = [replace(score, shape=(most,))] if node.op.endswith("V5") else []
    low.env.update(zip(node.outputs[1:], [*made, _count(low, node, score, most, ())]))
    return replace(channels(low, node, rows, 5, 1, 2), shape=(most,))


def _numbers(low: Lowering, node: SourceNode) -> dict[str, float]:
    numbers = {"use_regular_nms": 0.0, "max_classes_per_detection": 1.0, **node.attrs}
    needed = ("max_detections", "nms_score_threshold", "nms_iou_threshold", "num_classes", *SCALES)
    missing = [name for name in needed if name not in numbers]
    if missing:
        raise low.unsupported(node, f"options without {', '.join(missing)}", "all options of the operator")
    if numbers["max_classes_per_detection"] != 1 and not numbers["use_regular_nms"]:
        raise low.unsupported(
            node,
            "several classes for a box",
            "max_classes_per_detection=1, as object detection files are exported, or use_regular_nms",
        )
    if not numbers["nms_score_threshold"] > 0 or not 0 < numbers["nms_iou_threshold"] <= 1:
        raise low.unsupported(
            node,
            f"thresholds of score {numbers['nms_score_threshold']}, overlap {numbers['nms_iou_threshold']}",
            "thresholds above 0",
        )
    return numbers


def _candidates(
    low: Lowering,
    node: SourceNode,
    places: Tensor,
    scores: Tensor,
    anchors: Any,
    options: dict[str, Any],
    part: str = "",
) -> str:
    """A box for each anchor, one after the other: of the maps of the network where anchors are theirs, which then are
    never held together, else of all anchors."""
    count, classes = scores.shape[1:]
    maps = _maps(low, places.value), _maps(low, scores.value)
    if not all(maps) or [dims[:2] for _, dims in maps[0]] != [dims[:2] for _, dims in maps[1]]:
        maps = [(places.value, (count, 1, 4))], [(scores.value, (count, 1, classes))]
        for x in (places, scores):
            if low.builder.dims(x.value)[:2] != (count, 1):
                raise low.unsupported(
                    node, f"{x.shape} that holds {x.dims} in order {x.order}", "a row for each anchor"
                )
    made, at = [], 0
    for i, ((place, dims), (score, _)) in enumerate(zip(*maps)):
        height, width, each = dims[0], dims[1], dims[2] // 4
        table = anchors[at : at + height * width * each].reshape(height, width, each, 4)
        at += height * width * each
        value = low.emit(
            node, "candidates", [score, place], f"{part}map{i}", channels=BOX * width * each, weight=table, **options
        )
        if width * each > 1:
            size = (1, width * each)
            row = Tensor(value, low.builder.dims(value), "HC", (1, *low.builder.dims(value)))
            value = blocks(low, node, row, size, "HWC", (1, height, width * each, BOX), f"{part}boxes{i}").value
        made.append(value)
    return (
        low.emit(node, "stack", made, f"{part}boxes") if len(made) > 1 or low.builder.dims(made[0])[1] > 1 else made[0]
    )


def _maps(low: Lowering, value: str) -> list[tuple[str, tuple[int, int, int]]]:
    """The maps whose numbers, pixel by pixel, are those of `value`, with the functions of one number between applied to
    each; none where it is made otherwise."""
    chain: list[Node] = []
    writer = low.writer.get(value)
    while writer is not None and _is_function(writer):
        chain.insert(0, writer)
        writer = low.writer.get(writer.inputs[0])
    if writer is None or writer.op != "stack":
        return []
    maps = []
    for source in writer.inputs:
        block = low.writer.get(source)
        if block is not None and block.op == "depth_to_space" and block.rows == (1, 1, 0):
            source = block.inputs[0]
        for step in chain:
            source = _applied(low, step, source)
        maps.append((source, low.builder.dims(source)))
    return maps


def _is_function(node: Node) -> bool:
    """Whether it makes a number of each number, the same for all channels."""
    if node.op in ("lookup", "convert"):
        return True
    plain = node.op == "depthwise" and node.kernel == node.stride == (1, 1) and not any(node.pads)
    if not plain or node.weight_scale is not None or node.slopes is not None:
        return False
    assert node.weight is not None and node.bias is not None
    return bool((node.weight == node.weight.ravel()[0]).all() and (node.bias == node.bias[0]).all())


def _applied(low: Lowering, step: Node, source: str) -> str:
    channels_of = low.builder.dims(source)[2]
    fields: dict[str, Any] = {"activation": step.activation, "clamp": step.clamp}
    if step.op == "depthwise":
        assert step.weight is not None and step.bias is not None
        fields["weight"] = np.full((1, 1, channels_of), step.weight.ravel()[0])
        fields["bias"] = np.full(channels_of, step.bias[0])
    elif step.op == "lookup":
        fields["weight"] = step.weight
    name = low.fresh(f"{source}/{step.name}")
    value = low.builder.add(step.op, [source], name=name, output=name, **fields)
    if step.output in low.graph.types:
        low.graph.types[value] = low.graph.types[step.output]
    low.writer[value] = low.graph.nodes[-1]
    return value
