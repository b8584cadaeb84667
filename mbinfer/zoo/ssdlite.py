"""SSDLite (MobileNetV2 paper, arXiv 1801.04381) on MobileNetV2 and V3-Large: six maps, two heads on each."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..detection import Head, add_boxes
from ..graph import Graph, Recipe
from .mobilenet2 import v2_blocks
from .mobilenet3 import V3_EPS, V3_LARGE, v3_block
from .network import Network, divisible
from .weights import Weights

HALF = Recipe(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3, color="RGB", crop=1.0)
EXTRAS = (512, 256, 256, 128)  # channels of the maps behind the backbone's two
ANCHORS = 6  # of each pixel of a map
LEAST, LARGEST = 0.2, 0.95  # anchors of the first map and of the last, as shares of the picture's side
OVERLAP = 0.55  # of boxes of a class, more than which costs the lesser one its place


def ssdlite_v2(
    resolution: int = 320, classes: int = 91, weights: Weights = None, seed: int = 0, boxes: bool = False
) -> Graph:
    """SSDLite on MobileNetV2 with input ``image``, (resolution, resolution, 3), for maps of strides 16, 32, 64 ...

    For each map there are two outputs without activation, ``scores<i>``, (1, h, w, 6 * classes), and ``boxes<i>``,
    (1, h, w, 6 * 4): at each pixel, the numbers of one anchor after the other. Class 0 is the background.
    With `boxes` the only output is ``boxes``, (100, 6), what `mbinfer.detection.add_boxes` makes of those with
    torchvision's anchors.

    `weights` as in `mobilenet_v2`, whose names the backbone has, as ``backbone.features.0.0.weight``;
    ``backbone.extra.*`` and ``head.*`` are those of torchvision's SSDLite. Batch norm has eps 1e-3.
    """
    net = Network("SSDLite-MobileNetV2", 1.0, resolution, classes, weights, seed, eps=V3_EPS, recipe=HALF)
    value, expanded = v2_blocks(net, "backbone.features.")
    names = ("backbone.features.18.0", "backbone.features.18.1")
    return _finish(net, [expanded[13], net.conv("head", value, names, 1280)], boxes)


def ssdlite_v3(
    resolution: int = 320, classes: int = 91, weights: Weights = None, seed: int = 0, boxes: bool = False
) -> Graph:
    """SSDLite on MobileNetV3-Large, whose last blocks have half their channels; outputs as those of `ssdlite_v2`.

    `weights` have the names of torchvision's `ssdlite320_mobilenet_v3_large`.
    """
    net = Network("SSDLite-MobileNetV3", 1.0, resolution, classes, weights, seed, eps=V3_EPS, recipe=HALF)
    prefix = "backbone.features."
    value = net.conv("stem", "image", (f"{prefix}0.0.0", f"{prefix}0.0.1"), 16, 3, 2, "hard_swish")
    for i, block in enumerate(V3_LARGE[:12], 1):
        value = v3_block(net, f"block{i}", f"{prefix}0.{i}.block", value, block, 1.0)
    # The first map is taken inside block 13, behind its expansion.
    first = value = net.conv("block13.expand", value, (f"{prefix}0.13.0", f"{prefix}0.13.1"), 672, act="hard_swish")
    value = net.depthwise("block13.depthwise", value, (f"{prefix}1.0.1.0", f"{prefix}1.0.1.1"), 2, 5, "hard_swish")
    acts, fc = ("relu", "hard_sigmoid"), f"{prefix}1.0.2.fc"
    value = net.gate("block13.gate", value, f"{fc}1", f"{fc}2", divisible(672 // 4), acts)
    value = net.conv("block13.project", value, (f"{prefix}1.0.3.0", f"{prefix}1.0.3.1"), 80, act="none")
    for i in (1, 2):
        block = (5, 480, 80, True, True, 1)
        value = v3_block(net, f"block{13 + i}", f"{prefix}1.{i}.block", value, block, 1.0)
    value = net.conv("head", value, (f"{prefix}1.3.0", f"{prefix}1.3.1"), 480, act="hard_swish")
    return _finish(net, [first, value], boxes)


def anchors_of(maps: list[tuple[int, int]]) -> list[npt.NDArray[np.float32]]:
    """For maps of (height, width), those of the paper and of torchvision: from a fifth to 0.95 of the picture's side,
    squares and, of one area, sides of 1:2 and 1:3; no longer than the picture."""
    scales = [LEAST + (LARGEST - LEAST) * i / (len(maps) - 1) for i in range(len(maps))] + [1.0]
    found = []
    for (height, width), scale, following in zip(maps, scales, scales[1:]):
        between = math.sqrt(scale * following)
        sizes = [(scale, scale), (between, between)]
        for aspect in (2, 3):
            long, short = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            sizes += [(short, long), (long, short)]  # height and width
        anchors = np.empty((height, width, len(sizes), 4), np.float32)
        anchors[..., 0] = ((np.arange(height) + 0.5) / height)[:, None, None]
        anchors[..., 1] = ((np.arange(width) + 0.5) / width)[:, None]
        anchors[..., 2:] = np.minimum(sizes, 1)
        found.append(anchors)
    return found


def _finish(net: Network, maps: list[str], boxes: bool) -> Graph:
    """The other maps, each of half the size of the one before, and the heads on all of them."""
    for i, channels in enumerate(EXTRAS):
        name, prefix = f"extra{i}", f"backbone.extra.{i}"
        value = net.conv(f"{name}.reduce", maps[-1], (f"{prefix}.0.0", f"{prefix}.0.1"), channels // 2)
        value = net.depthwise(f"{name}.depthwise", value, (f"{prefix}.1.0", f"{prefix}.1.1"), 2)
        maps.append(net.conv(f"{name}.expand", value, (f"{prefix}.2.0", f"{prefix}.2.1"), channels))
    for i, value in enumerate(maps):
        for head, layer, each in (("scores", "classification", net.classes), ("boxes", "regression", 4)):
            prefix = f"head.{layer}_head.module_list.{i}"
            seen = net.depthwise(f"{head}{i}.depthwise", value, (f"{prefix}.0.0", f"{prefix}.0.1"))
            net.conv(f"{head}{i}", seen, (f"{prefix}.1", None), ANCHORS * each, act="none")
            net.builder.output(f"{head}{i}", name=f"{head}{i}")
    graph = net.checked()
    if boxes:
        anchors = anchors_of([net.builder.dims(value)[:2] for value in maps])
        heads = [Head(f"scores{i}", f"boxes{i}", anchors[i]) for i in range(len(maps))]
        add_boxes(graph, heads, overlap=OVERLAP)
    return graph
