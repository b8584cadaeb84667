"""MnasNet-B1 (arXiv 1807.11626), the one without gates."""

from __future__ import annotations

from ..graph import Graph
from .network import Network, divisible
from .weights import Weights

# expansion, channels, repeats, stride, kernel
BLOCKS = ((3, 24, 3, 2, 3), (3, 40, 3, 2, 5), (6, 80, 3, 2, 5), (6, 96, 2, 1, 3), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))


def mnasnet_b1(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """MnasNet-B1 with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    Channels are ``c * width`` rounded as torchvision does: to a multiple of 8, never down by more than 10 %. `weights`
    as in `mobilenet_v2`; the names are those of torchvision's `MNASNet` (``layers.0.weight``, ...). Batch norm has eps
    1e-5.
    """
    net = Network("MnasNet-B1", width, resolution, classes, weights, seed)
    value = net.conv("stem", "image", ("layers.0", "layers.1"), divisible(32 * width), 3, 2, "relu")
    value = net.depthwise("block1.depthwise", value, ("layers.3", "layers.4"), act="relu")
    value = net.conv("block1.project", value, ("layers.6", "layers.7"), divisible(16 * width), act="none")
    i = 1
    for stack, (expansion, c, repeats, first_stride, kernel) in enumerate(BLOCKS, 8):
        for repeat in range(repeats):
            i += 1
            source, block, prefix = value, f"block{i}", f"layers.{stack}.{repeat}.layers"
            stride = 1 if repeat else first_stride
            hidden = net.channels(source) * expansion
            value = net.conv(f"{block}.expand", value, (f"{prefix}.0", f"{prefix}.1"), hidden, act="relu")
            names = (f"{prefix}.3", f"{prefix}.4")
            value = net.depthwise(f"{block}.depthwise", value, names, stride, kernel, "relu")
            names = (f"{prefix}.6", f"{prefix}.7")
            value = net.conv(f"{block}.project", value, names, divisible(c * width), act="none")
            if repeat:
                value = net.add(f"{block}.add", source, value)
    value = net.conv("head", value, ("layers.14", "layers.15"), 1280, act="relu")
    return net.finish(value, "classifier.1")
