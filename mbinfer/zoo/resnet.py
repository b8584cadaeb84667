"""ResNet-18 (arXiv 1512.03385), and the ResNet-8 for 32x32 pictures of MLPerf Tiny (arXiv 2106.07597)."""

from __future__ import annotations

from ..graph import Graph
from .network import Network
from .weights import Weights


def resnet18(resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0) -> Graph:
    """ResNet-18 with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    `weights` as in `mobilenet_v2`; the names are those of torchvision's `resnet18`. Batch norm has eps 1e-5.
    """
    net = Network("ResNet-18", 1.0, resolution, classes, weights, seed)
    value = net.conv("stem", "image", ("conv1", "bn1"), 64, 7, 2, "relu")
    value = net.follow("max_pool", "stem.pool", [value], kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for i in range(2):
            stride = 2 if stage > 1 and i == 0 else 1
            value = _block(net, f"layer{stage}.{i}", value, channels, stride)
    return net.finish(value, "fc")


def resnet8(resolution: int = 32, classes: int = 10, weights: Weights = None, seed: int = 0) -> Graph:
    """ResNet-8 with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    The names of its weights are those of `resnet18`, for three stages of one block; its shortcuts have a batch norm
    too. Convolutions are padded as TensorFlow does.
    """
    net = Network("ResNet-8", 1.0, resolution, classes, weights, seed, same=True)
    value = net.conv("stem", "image", ("conv1", "bn1"), 16, 3, 1, "relu")
    for stage, channels in enumerate((16, 32, 64), 1):
        value = _block(net, f"layer{stage}.0", value, channels, 1 if stage == 1 else 2)
    return net.finish(value, "fc")


def _block(net: Network, name: str, source: str, channels: int, stride: int) -> str:
    value = net.conv(f"{name}.conv1", source, (f"{name}.conv1", f"{name}.bn1"), channels, 3, stride, "relu")
    value = net.conv(f"{name}.conv2", value, (f"{name}.conv2", f"{name}.bn2"), channels, 3, act="none")
    if stride > 1 or net.channels(source) != channels:
        names = (f"{name}.downsample.0", f"{name}.downsample.1")
        source = net.conv(f"{name}.shortcut", source, names, channels, 1, stride, "none")
    return net.add(f"{name}.add", source, value, "relu")
