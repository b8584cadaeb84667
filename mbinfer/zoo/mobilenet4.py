"""MobileNetV4-Conv (arXiv 2404.10518), small and medium: universal inverted bottlenecks, without attention."""

from __future__ import annotations

from typing import Any

from ..graph import Graph
from .network import Network, divisible
from .weights import Weights

# A convolution: kernel, stride, channels. A fused bottleneck: expansion, stride, channels. A universal inverted
# bottleneck: kernel of the depthwise convolution before the expansion and of that behind it, 0 for none, stride,
# expansion, channels.
SMALL = (
    (("conv", 3, 2, 32), ("conv", 1, 1, 32)),
    (("conv", 3, 2, 96), ("conv", 1, 1, 64)),
    ((5, 5, 2, 3, 96), *[(0, 3, 1, 2, 96)] * 4, (3, 0, 1, 4, 96)),
    ((3, 3, 2, 6, 128), (5, 5, 1, 4, 128), (0, 5, 1, 4, 128), (0, 5, 1, 3, 128), *[(0, 3, 1, 4, 128)] * 2),
    (("conv", 1, 1, 960),),
)
MEDIUM = (
    (("fused", 4, 2, 48),),
    ((3, 5, 2, 4, 80), (3, 3, 1, 2, 80)),
    (
        *((3, 5, 2, 6, 160), (3, 3, 1, 4, 160), (3, 3, 1, 4, 160), (3, 5, 1, 4, 160)),
        *((3, 3, 1, 4, 160), (3, 0, 1, 4, 160), (0, 0, 1, 2, 160), (3, 0, 1, 4, 160)),
    ),
    (
        *((5, 5, 2, 6, 256), (5, 5, 1, 4, 256), (3, 5, 1, 4, 256), (3, 5, 1, 4, 256), (0, 0, 1, 4, 256)),
        *((3, 0, 1, 4, 256), (3, 5, 1, 2, 256), (5, 5, 1, 4, 256), (0, 0, 1, 4, 256), (0, 0, 1, 4, 256)),
        (5, 0, 1, 2, 256),
    ),
    (("conv", 1, 1, 960),),
)
HEAD = 1280  # channels of the layer before the classifier, at every width


def mobilenet_v4_conv_small(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """MobileNetV4-Conv-S with input ``image``, (resolution, resolution, 3), and output ``logits``, (1, classes).

    Channels are ``c * width`` rounded to a multiple of 8, never down by more than 10 %; a width below 1 leaves the
    first layer its channels. `weights` as in `mobilenet_v2`; the names are those of timm's `mobilenetv4_conv_small`
    (``conv_stem.weight``, ``blocks.2.0.dw_start.conv.weight``, ...). Batch norm has eps 1e-5.
    """
    return _mobilenet_v4(Network("MobileNetV4-Conv-S", width, resolution, classes, weights, seed), width, SMALL)


def mobilenet_v4_conv_medium(
    width: float = 1.0, resolution: int = 256, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """MobileNetV4-Conv-M: as `mobilenet_v4_conv_small`, names of timm's `mobilenetv4_conv_medium`."""
    return _mobilenet_v4(Network("MobileNetV4-Conv-M", width, resolution, classes, weights, seed), width, MEDIUM)


def _mobilenet_v4(net: Network, width: float, stacks: tuple[tuple[tuple[Any, ...], ...], ...]) -> Graph:
    value = net.conv("stem", "image", ("conv_stem", "bn1"), divisible(32 * max(width, 1)), 3, 2, "relu")
    for i, stack in enumerate(stacks):
        for k, block in enumerate(stack):
            name, prefix, channels = f"block{i}.{k}", f"blocks.{i}.{k}", divisible(block[-1] * width)
            if block[0] == "conv":
                _, kernel, stride, _ = block
                value = net.conv(name, value, (f"{prefix}.conv", f"{prefix}.bn1"), channels, kernel, stride, "relu")
            elif block[0] == "fused":
                _, expansion, stride, _ = block
                names, hidden = (f"{prefix}.conv_exp", f"{prefix}.bn1"), divisible(net.channels(value) * expansion)
                value = net.conv(f"{name}.expand", value, names, hidden, 3, stride, "relu")
                names = (f"{prefix}.conv_pwl", f"{prefix}.bn2")
                value = net.conv(f"{name}.project", value, names, channels, act="none")
            else:
                value = _universal(net, name, prefix, value, block, channels)
    value = net.conv("head", net.pool("pool", value), ("conv_head", "norm_head"), HEAD, act="relu")
    return net.finish(value, "classifier", pooled=True)


def _universal(net: Network, name: str, prefix: str, source: str, block: tuple[Any, ...], channels: int) -> str:
    """Depthwise, expansion, depthwise, projection: the depthwise ones where they have a kernel, the last one steps."""
    start, middle, stride, expansion, _ = block
    value, inputs = source, net.channels(source)

    def layer(part: str) -> tuple[str, str]:
        return f"{prefix}.{part}.conv", f"{prefix}.{part}.bn"

    if start:
        step = 1 if middle else stride
        value = net.depthwise(f"{name}.start", value, layer("dw_start"), step, start, "none")
    value = net.conv(f"{name}.expand", value, layer("pw_exp"), divisible(inputs * expansion), act="relu")
    if middle:
        value = net.depthwise(f"{name}.depthwise", value, layer("dw_mid"), stride, middle, "relu")
    value = net.conv(f"{name}.project", value, layer("pw_proj"), channels, act="none")
    return net.add(f"{name}.add", source, value) if stride == 1 and inputs == channels else value
