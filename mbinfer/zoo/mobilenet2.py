"""MobileNetV2 (arXiv 1801.04381)."""

from __future__ import annotations

from ..graph import Graph
from .network import Network, divisible
from .weights import Weights

# expansion, channels, repeats, stride: MobileNetV2 (arXiv 1801.04381), table 2
V2_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """MobileNetV2 (arXiv 1801.04381) with input ``image``, (resolution, resolution, 3), and output ``logits``.

    Channels are ``c * width`` rounded to a multiple of 8, never down by more than 10 %; the last convolution has
    ``1280 * max(1, width)``, rounded so too. The output's shape is (1, classes).

    `weights` is None for seeded random ones, a mapping of names to arrays or torch tensors, or a path of a `.npz`,
    `.safetensors`, `.pt` or `.pth` file of such. The names are those of torchvision's `MobileNetV2`
    (``features.0.0.weight``, ``features.1.conv.0.0.weight``, ..., ``classifier.1.bias``), and so is the eps of batch
    norm, 1e-5.

    Raises `ShapeError` for a resolution below 32, and naming the weights that are missing, surplus or of another shape.
    """
    net = Network("MobileNetV2", width, resolution, classes, weights, seed)
    value, _ = v2_blocks(net, "features.", width)
    value = net.conv("head", value, ("features.18.0", "features.18.1"), divisible(1280 * max(1.0, width)))
    return net.finish(value, "classifier.1")


def v2_blocks(
    net: Network, prefix: str, width: float = 1.0, dilated_from: int | None = None
) -> tuple[str, dict[int, str]]:
    """The stem and all blocks; what the last one makes, and what each block's expansion makes, by its index from 0.

    Blocks from `dilated_from` on keep the size of their input: what was a stride is a dilation of the blocks behind.
    """
    value = net.conv("stem", "image", (f"{prefix}0.0", f"{prefix}0.1"), divisible(32 * width), kernel=3, stride=2)
    i, dilation, expanded = 0, 1, {}
    for expansion, c, repeats, first_stride in V2_BLOCKS:
        for stride in (first_stride,) + (1,) * (repeats - 1):
            i += 1
            behind = dilation
            if dilated_from is not None and i >= dilated_from:
                behind, stride = dilation * stride, 1
            value = _inverted_residual(
                net, i, f"{prefix}{i}.conv", value, expansion, divisible(c * width), stride, dilation
            )
            dilation = behind
            expanded[i - 1] = f"block{i}.expand"
    return value, expanded


def _inverted_residual(
    net: Network, i: int, prefix: str, source: str, expansion: int, channels: int, stride: int, dilation: int
) -> str:
    value, layer, block = source, 0, f"block{i}"
    if expansion != 1:
        hidden = net.channels(source) * expansion
        value, layer = net.conv(f"{block}.expand", source, (f"{prefix}.0.0", f"{prefix}.0.1"), hidden), 1
    names = (f"{prefix}.{layer}.0", f"{prefix}.{layer}.1")
    value = net.depthwise(f"{block}.depthwise", value, names, stride, dilation=dilation)
    value = net.conv(
        f"{block}.project", value, (f"{prefix}.{layer + 1}", f"{prefix}.{layer + 2}"), channels, act="none"
    )
    residual = stride == 1 and net.channels(source) == channels
    return net.add(f"{block}.add", source, value) if residual else value
