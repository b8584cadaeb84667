"""MobileNetV3 (arXiv 1905.02244): Large and Small by torchvision's names, and what its authors call minimalistic."""

from __future__ import annotations

from ..graph import Graph
from .network import Network, divisible
from .weights import Weights

V3_EPS = 1e-3
# kernel, expanded channels, channels, gate, hard-swish, stride: tables 1 and 2 of the paper
V3_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
V3_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def mobilenet_v3_large(
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    weights: Weights = None,
    seed: int = 0,
    minimalistic: bool = False,
) -> Graph:
    """MobileNetV3-Large with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    Channels are ``c * width`` rounded as in `mobilenet_v2`. `weights` as there; the names are those of torchvision's
    `mobilenet_v3_large` (``features.1.block.0.0.weight``, ``features.4.block.2.fc1.bias``, ..., ``classifier.3.bias``),
    and so is the eps of batch norm, 1e-3. `minimalistic`: ReLU and 3x3 kernels only and no gates, as the authors'
    checkpoints of that name; the names of the layers that stay are the same.

    Raises `ShapeError` for a resolution below 32, and naming the weights that are missing, surplus or of another shape.
    """
    return _mobilenet_v3("MobileNetV3-Large", V3_LARGE, 1280, width, resolution, classes, weights, seed, minimalistic)


def mobilenet_v3_small(
    width: float = 1.0,
    resolution: int = 224,
    classes: int = 1000,
    weights: Weights = None,
    seed: int = 0,
    minimalistic: bool = False,
) -> Graph:
    """MobileNetV3-Small; all else as in `mobilenet_v3_large`, the names those of torchvision's `mobilenet_v3_small`."""
    return _mobilenet_v3("MobileNetV3-Small", V3_SMALL, 1024, width, resolution, classes, weights, seed, minimalistic)


def _mobilenet_v3(
    architecture: str,
    blocks: tuple[tuple[int, int, int, bool, bool, int], ...],
    last: int,
    width: float,
    resolution: int,
    classes: int,
    weights: Weights,
    seed: int,
    minimalistic: bool,
) -> Graph:
    architecture += " minimalistic" if minimalistic else ""
    net = Network(architecture, width, resolution, classes, weights, seed, eps=V3_EPS)
    act = "relu" if minimalistic else "hard_swish"
    value = net.conv("stem", "image", ("features.0.0", "features.0.1"), divisible(16 * width), 3, 2, act)
    for i, block in enumerate(blocks, 1):
        value = v3_block(net, f"block{i}", f"features.{i}.block", value, block, width, minimalistic)
    head = (f"features.{len(blocks) + 1}.0", f"features.{len(blocks) + 1}.1")
    value = net.conv("head", value, head, 6 * net.channels(value), act=act)
    value = net.dense("hidden", net.pool("pool", value), "classifier.0", divisible(last * width), act)
    return net.finish(value, "classifier.3", pooled=True)


def v3_block(
    net: Network,
    name: str,
    prefix: str,
    source: str,
    block: tuple[int, int, int, bool, bool, int],
    width: float,
    minimalistic: bool = False,
    dilation: int = 1,
) -> str:
    """An inverted residual whose depthwise convolution is gated; torchvision numbers the layers that it has."""
    kernel, hidden, channels, gated, swish, stride = block
    hidden, channels = divisible(hidden * width), divisible(channels * width)
    act = "hard_swish" if swish and not minimalistic else "relu"
    kernel, gated = (3, False) if minimalistic else (kernel, gated)
    value, layer = source, 0
    if hidden != net.channels(source):
        value, layer = net.conv(f"{name}.expand", value, (f"{prefix}.0.0", f"{prefix}.0.1"), hidden, act=act), 1
    names = (f"{prefix}.{layer}.0", f"{prefix}.{layer}.1")
    value = net.depthwise(f"{name}.depthwise", value, names, 1 if dilation > 1 else stride, kernel, act, dilation)
    if gated:
        layer += 1
        fc = f"{prefix}.{layer}.fc"
        value = net.gate(f"{name}.gate", value, f"{fc}1", f"{fc}2", divisible(hidden // 4), ("relu", "hard_sigmoid"))
    names = (f"{prefix}.{layer + 1}.0", f"{prefix}.{layer + 1}.1")
    value = net.conv(f"{name}.project", value, names, channels, act="none")
    residual = stride == 1 and net.channels(source) == channels
    return net.add(f"{name}.add", source, value) if residual else value
