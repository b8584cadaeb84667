"""EfficientNet-B0 (arXiv 1905.11946) by torchvision's names, and EfficientNet-Lite0 to 4 by those of the ports."""

from __future__ import annotations

import math

from ..graph import Graph, Recipe
from .network import Network, divisible
from .weights import Weights

LITE_RECIPE = Recipe(mean=(127.0,) * 3, scale=(1 / 128,) * 3, color="RGB", crop=0.875)
LITE_EPS = 1e-3
# expansion, channels, repeats, stride, kernel: EfficientNet-B0, table 1
BLOCKS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def efficientnet_b0(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """EfficientNet-B0 with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    Channels are ``c * width`` rounded as in `mobilenet_v2`. `weights` as there; the names are those of torchvision's
    `efficientnet_b0` (``features.1.0.block.0.0.weight``, ``features.1.0.block.1.fc1.bias``, ...), and so is the eps of
    batch norm, 1e-5.

    Raises `ShapeError` for a resolution below 32, and naming the weights that are missing, surplus or of another shape.
    """
    net = Network("EfficientNet-B0", width, resolution, classes, weights, seed)
    stem = ("features.0.0", "features.0.1")
    value = net.conv("stem", "image", stem, divisible(32 * width), 3, 2, "silu")
    i = 0
    for stage, (expansion, c, repeats, first_stride, kernel) in enumerate(BLOCKS, 1):
        for repeat in range(repeats):
            i += 1
            stride = 1 if repeat else first_stride
            prefix = f"features.{stage}.{repeat}.block"
            value = _gated_block(net, f"block{i}", prefix, value, expansion, divisible(c * width), stride, kernel)
    value = net.conv("head", value, ("features.8.0", "features.8.1"), 4 * net.channels(value), act="silu")
    return net.finish(value, "classifier.1")


def _gated_block(
    net: Network, name: str, prefix: str, source: str, expansion: int, channels: int, stride: int, kernel: int
) -> str:
    value, layer, inputs = source, 0, net.channels(source)
    if expansion != 1:
        names = (f"{prefix}.0.0", f"{prefix}.0.1")
        value, layer = net.conv(f"{name}.expand", value, names, divisible(inputs * expansion), act="silu"), 1
    names = (f"{prefix}.{layer}.0", f"{prefix}.{layer}.1")
    value = net.depthwise(f"{name}.depthwise", value, names, stride, kernel, "silu")
    fc = f"{prefix}.{layer + 1}.fc"
    value = net.gate(f"{name}.gate", value, f"{fc}1", f"{fc}2", max(1, inputs // 4), ("silu", "sigmoid"))
    names = (f"{prefix}.{layer + 2}.0", f"{prefix}.{layer + 2}.1")
    value = net.conv(f"{name}.project", value, names, channels, act="none")
    return net.add(f"{name}.add", source, value) if stride == 1 and inputs == channels else value


def efficientnet_lite0(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """EfficientNet-Lite0 with input ``image``, (resolution, resolution, 3), and output ``logits``.

    Inverted residuals with 3x3 and 5x5 depthwise convolutions and ReLU6, padded as TensorFlow does. Channels are
    ``c * width`` rounded as in `mobilenet_v2`; the stem's 32 and the last 1280 stay. The output's shape is
    (1, classes).

    `weights` as in `mobilenet_v2`; the names are those of the PyTorch ports (``_conv_stem.weight``, ``_bn0.*``,
    ``_blocks.<i>._expand_conv.weight``, ``_blocks.<i>._bn0.*``, ..., ``_conv_head.weight``, ``_fc.bias``). Batch norm
    has eps 1e-3.

    Raises `ShapeError` for a resolution below 32, and naming the weights that are missing, surplus or of another shape.
    """
    return _efficientnet_lite(0, width, 1.0, resolution, classes, weights, seed)


def efficientnet_lite1(resolution: int = 240, classes: int = 1000, weights: Weights = None, seed: int = 0) -> Graph:
    """EfficientNet-Lite1: as `efficientnet_lite0`, deeper by 1.1."""
    return _efficientnet_lite(1, 1.0, 1.1, resolution, classes, weights, seed)


def efficientnet_lite2(resolution: int = 260, classes: int = 1000, weights: Weights = None, seed: int = 0) -> Graph:
    """EfficientNet-Lite2: as `efficientnet_lite0`, wider by 1.1 and deeper by 1.2."""
    return _efficientnet_lite(2, 1.1, 1.2, resolution, classes, weights, seed)


def efficientnet_lite3(resolution: int = 280, classes: int = 1000, weights: Weights = None, seed: int = 0) -> Graph:
    """EfficientNet-Lite3: as `efficientnet_lite0`, wider by 1.2 and deeper by 1.4."""
    return _efficientnet_lite(3, 1.2, 1.4, resolution, classes, weights, seed)


def efficientnet_lite4(resolution: int = 300, classes: int = 1000, weights: Weights = None, seed: int = 0) -> Graph:
    """EfficientNet-Lite4: as `efficientnet_lite0`, wider by 1.4 and deeper by 1.8."""
    return _efficientnet_lite(4, 1.4, 1.8, resolution, classes, weights, seed)


def _efficientnet_lite(
    number: int, width: float, depth: float, resolution: int, classes: int, weights: Weights, seed: int
) -> Graph:
    """Lite's rules of scaling: stem, head, first and last stage keep their size, but for the channels of the last two
    stages."""
    architecture = f"EfficientNet-Lite{number}"
    net = Network(architecture, width, resolution, classes, weights, seed, eps=LITE_EPS, same=True, recipe=LITE_RECIPE)
    value = net.conv("stem", "image", ("_conv_stem", "_bn0"), 32, kernel=3, stride=2)
    i = 0
    for stage, (expansion, c, repeats, first_stride, kernel) in enumerate(BLOCKS):
        deeper = repeats if stage in (0, len(BLOCKS) - 1) else math.ceil(repeats * depth)
        for stride in (first_stride,) + (1,) * (deeper - 1):
            source, block, prefix = value, f"block{i + 1}", f"_blocks.{i}"
            if expansion != 1:
                hidden, names = net.channels(source) * expansion, (f"{prefix}._expand_conv", f"{prefix}._bn0")
                value = net.conv(f"{block}.expand", source, names, hidden)
            names = (f"{prefix}._depthwise_conv", f"{prefix}._bn1")
            value = net.depthwise(f"{block}.depthwise", value, names, stride, kernel)
            channels, names = divisible(c * width), (f"{prefix}._project_conv", f"{prefix}._bn2")
            value = net.conv(f"{block}.project", value, names, channels, act="none")
            if stride == 1 and net.channels(source) == channels:
                value = net.add(f"{block}.add", source, value)
            i += 1
    value = net.conv("head", value, ("_conv_head", "_bn1"), 1280)
    return net.finish(value, "_fc")
