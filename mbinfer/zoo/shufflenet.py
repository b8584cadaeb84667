"""ShuffleNetV2 (arXiv 1807.11164)."""

from __future__ import annotations

from ..errors import ShapeError
from ..graph import Graph
from .network import Network
from .weights import Weights

# width: channels of the three stages and of the last convolution; table 5 of the paper
CHANNELS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def shufflenet_v2(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """ShuffleNetV2 with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    `width` is 0.5, 1.0, 1.5 or 2.0. `weights` as in `mobilenet_v2`; the names are those of torchvision's `ShuffleNetV2`
    (``conv1.0.weight``, ``stage2.0.branch1.0.weight``, ...). Batch norm has eps 1e-5.
    """
    if width not in CHANNELS:
        raise ShapeError(f"ShuffleNetV2 of width {width}: known are {', '.join(map(str, CHANNELS))}")
    net = Network("ShuffleNetV2", width, resolution, classes, weights, seed)
    value = net.conv("stem", "image", ("conv1.0", "conv1.1"), 24, 3, 2, "relu")
    value = net.follow("max_pool", "stem.pool", [value], kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    for stage, (channels, repeats) in enumerate(zip(CHANNELS[width], (4, 8, 4)), 2):
        for i in range(repeats):
            value = _unit(net, f"stage{stage}.{i}", value, channels, 1 if i else 2)
    value = net.conv("head", value, ("conv5.0", "conv5.1"), CHANNELS[width][3], act="relu")
    return net.finish(value, "fc")


def _unit(net: Network, name: str, source: str, channels: int, stride: int) -> str:
    """Half of the channels pass, or are halved in size, and the other half is convolved; then both are mixed."""
    half, other = channels // 2, source
    if stride == 2:
        prefix = f"{name}.branch1"
        kept = net.depthwise(f"{prefix}.depthwise", source, (f"{prefix}.0", f"{prefix}.1"), 2, act="none")
        kept = net.conv(f"{prefix}.project", kept, (f"{prefix}.2", f"{prefix}.3"), half, act="relu")
    else:
        kept = net.follow("slice", f"{name}.kept", [source], half)
        other = net.follow("slice", f"{name}.other", [source], half, first_channel=half)
    prefix = f"{name}.branch2"
    value = net.conv(f"{prefix}.expand", other, (f"{prefix}.0", f"{prefix}.1"), half, act="relu")
    value = net.depthwise(f"{prefix}.depthwise", value, (f"{prefix}.3", f"{prefix}.4"), stride, act="none")
    value = net.conv(f"{prefix}.project", value, (f"{prefix}.5", f"{prefix}.6"), half, act="relu")
    joined = net.follow("concat", f"{name}.concat", [kept, value])
    return net.follow("shuffle", f"{name}.shuffle", [joined], groups=2)
