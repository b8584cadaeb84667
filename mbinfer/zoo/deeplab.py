"""Mobile DeepLabv3 (arXiv 1706.05587, and section 6.3 of 1801.04381): MobileNetV2 at output stride 16, with or without
atrous spatial pyramid pooling."""

from __future__ import annotations

from typing import Any

from ..check_types import MAX_TOLD_APART
from ..errors import ShapeError
from ..graph import Graph, Recipe, Type
from .mobilenet2 import v2_blocks
from .network import Network
from .weights import Weights

HALF = Recipe(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3, color="RGB", crop=1.0)
CHANNELS = 256  # of every branch
RATES = (6, 12, 18)


def deeplab_v3(
    resolution: int = 513,
    classes: int = 21,
    weights: Weights = None,
    seed: int = 0,
    aspp: bool = False,
    mask: bool = False,
) -> Graph:
    """DeepLabv3 on MobileNetV2 with input ``image``, (resolution, resolution, 3).

    The output ``logits`` is of a sixteenth of the picture's height and width, rounded up, (1, h, w, classes). The
    backbone ends before V2's last convolution; its last four blocks keep their input's size, three of them with a
    dilation of 2. `aspp` adds three convolutions of dilation 6, 12 and 18 to the 1x1 convolution and the mean of the
    picture, which are there without it.

    `mask` has the logits made as large as the picture, bilinearly, and the output ``mask``, (1, resolution, resolution)
    of uint8, is the class of each pixel; no more than a few rows of such logits exist at a time.

    `weights` as in `mobilenet_v2`, whose names the backbone has, as ``backbone.0.0.weight``; ``classifier.0.*`` are
    those of torchvision's `ASPP`, ``classifier.1.*`` the last convolution. Batch norm has eps 1e-5.
    """
    name = "DeepLabv3-MobileNetV2" + (" with ASPP" if aspp else "")
    net = Network(name, 1.0, resolution, classes, weights, seed, recipe=HALF)
    value, _ = v2_blocks(net, "backbone.", dilated_from=14)
    layer = "classifier.0.convs"
    branches = [net.conv("branch0", value, (f"{layer}.0.0", f"{layer}.0.1"), CHANNELS, act="relu")]
    for i, rate in enumerate(RATES if aspp else (), 1):
        names = (f"{layer}.{i}.0", f"{layer}.{i}.1")
        branches.append(net.conv(f"branch{i}", value, names, CHANNELS, 3, act="relu", dilation=rate))
    last = f"{layer}.{len(branches)}"
    pooled = net.conv("pool.conv", net.pool("pool", value), (f"{last}.1", f"{last}.2"), CHANNELS, act="relu")
    value = net.follow("concat", "branches", branches) if aspp else branches[0]
    value = net.project("project", [value, pooled], ("classifier.0.project.0", "classifier.0.project.1"), CHANNELS)
    net.conv("logits", value, ("classifier.1", None), classes, act="none")
    if mask:
        _classify_pixels(net, "logits")
    else:
        net.builder.output("logits", name="logits")
    return net.checked()


def _classify_pixels(net: Network, logits: str) -> None:
    """The corners of the map are those of the picture, as in the published models."""
    (height, width, _), sizes = net.builder.dims("image"), net.builder.dims(logits)
    if sizes[2] > MAX_TOLD_APART:
        raise ShapeError(f"a mask of {sizes[2]} classes; it has a byte for each pixel, which holds {MAX_TOLD_APART}")
    rows, columns = ((old - 1, made - 1, 0) if made > 1 else (0, 1, 0) for old, made in zip(sizes, (height, width)))
    fields: dict[str, Any] = {"kernel": (2, 2), "rows": rows, "columns": columns, "size": (height, width)}
    spread = net.follow("resize", "spread", [logits], **fields)
    net.follow("argmax", "mask", [spread])
    net.builder.graph.types["mask"] = Type("uint8", 1.0, 0)
    net.builder.output("mask", (1, height, width), "mask")
