"""MobileNetV1, MobileNetV2 and EfficientNet-Lite0 as graphs, weights given or seeded random, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .build import LINEAR, GraphBuilder
from .errors import ShapeError
from .graph import Graph, Recipe
from .zoo_weights import Array, Weights, open_weights

# ImageNet's mean and deviation, in units of uint8 pixels.
IMAGENET = Recipe(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375), color="RGB", crop=0.875)
EFFICIENTNET = Recipe(mean=(127.0,) * 3, scale=(1 / 128,) * 3, color="RGB", crop=0.875)
BATCH_NORM_EPS = 1e-5
EFFICIENTNET_EPS = 1e-3
RELU6 = ("clamp", (0.0, 6.0))
# channels, stride: MobileNets (arXiv 1704.04861), table 1
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
# expansion, channels, repeats, stride: MobileNetV2 (arXiv 1801.04381), table 2
V2_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# expansion, channels, repeats, stride, kernel: EfficientNet-B0 (arXiv 1905.11946, table 1) without squeeze-and-excite
LITE_BLOCKS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def mobilenet_v1(
    width: float = 1.0, resolution: int = 224, classes: int = 1000, weights: Weights = None, seed: int = 0
) -> Graph:
    """MobileNetV1 (arXiv 1704.04861) with input ``image``, (resolution, resolution, 3), and output ``logits``.

    Channels are ``int(c * width)`` as in the paper's code, cut to a multiple of 8, at least 8; activations are
    ReLU6. The output's shape is (1, classes).

    `weights` is None for seeded random ones, a mapping of names to arrays or torch tensors, or a path of a `.npz`,
    `.safetensors`, `.pt` or `.pth` file of such. Names, batch norm being ``{weight, bias, running_mean, running_var}``:
    ``features.0.0.weight`` [c, 3, 3, 3] and ``features.0.1.*`` for the stem; for block i from 1 to 13
    ``features.<i>.0.weight`` [c, 1, 3, 3] and ``features.<i>.1.*`` for the depthwise convolution,
    ``features.<i>.3.weight`` [c', c, 1, 1] and ``features.<i>.4.*`` for the pointwise one;
    ``classifier.weight`` [classes, c] and ``classifier.bias``. Batch norm has eps 1e-5.

    Raises `ShapeError` for a resolution below 32, and naming the weights that are missing, surplus or of another shape.
    """

    def channels(c: int) -> int:
        return max(8, int(c * width) // 8 * 8)

    net = _Network("MobileNetV1", width, resolution, classes, weights, seed)
    value = net.conv("stem", "image", "features.0.0", "features.0.1", channels(32), kernel=3, stride=2)
    for i, (c, stride) in enumerate(V1_BLOCKS, 1):
        block, prefix = f"block{i}", f"features.{i}"
        value = net.depthwise(f"{block}.depthwise", value, f"{prefix}.0", f"{prefix}.1", stride)
        value = net.conv(f"{block}.pointwise", value, f"{prefix}.3", f"{prefix}.4", channels(c))
    return net.finish(value, "classifier")


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
    net = _Network("MobileNetV2", width, resolution, classes, weights, seed)
    value = net.conv("stem", "image", "features.0.0", "features.0.1", _divisible(32 * width), kernel=3, stride=2)
    i = 0
    for expansion, c, repeats, first_stride in V2_BLOCKS:
        for stride in (first_stride,) + (1,) * (repeats - 1):
            i += 1
            value = _inverted_residual(net, i, value, expansion, _divisible(c * width), stride)
    value = net.conv("head", value, f"features.{i + 1}.0", f"features.{i + 1}.1", _divisible(1280 * max(1.0, width)))
    return net.finish(value, "classifier.1")


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
    net = _Network("EfficientNet-Lite0", width, resolution, classes, weights, seed, EFFICIENTNET_EPS, same=True)
    net.builder.graph.inputs["image"] = EFFICIENTNET
    value = net.conv("stem", "image", "_conv_stem", "_bn0", 32, kernel=3, stride=2)
    i = 0
    for expansion, c, repeats, first_stride, kernel in LITE_BLOCKS:
        for stride in (first_stride,) + (1,) * (repeats - 1):
            source, block, prefix = value, f"block{i + 1}", f"_blocks.{i}"
            if expansion != 1:
                hidden = net.channels(source) * expansion
                value = net.conv(f"{block}.expand", source, f"{prefix}._expand_conv", f"{prefix}._bn0", hidden)
            layer = f"{prefix}._depthwise_conv", f"{prefix}._bn1"
            value = net.depthwise(f"{block}.depthwise", value, *layer, stride, kernel)
            channels, layer = _divisible(c * width), (f"{prefix}._project_conv", f"{prefix}._bn2")
            value = net.conv(f"{block}.project", value, *layer, channels, relu6=False)
            if stride == 1 and net.channels(source) == channels:
                value = net.add(f"{block}.add", source, value)
            i += 1
    value = net.conv("head", value, "_conv_head", "_bn1", 1280)
    return net.finish(value, "_fc")


def _inverted_residual(net: _Network, i: int, source: str, expansion: int, channels: int, stride: int) -> str:
    value, layer, block, prefix = source, 0, f"block{i}", f"features.{i}.conv"
    if expansion != 1:
        hidden = net.channels(source) * expansion
        value, layer = net.conv(f"{block}.expand", source, f"{prefix}.0.0", f"{prefix}.0.1", hidden), 1
    value = net.depthwise(f"{block}.depthwise", value, f"{prefix}.{layer}.0", f"{prefix}.{layer}.1", stride)
    value = net.conv(f"{block}.project", value, f"{prefix}.{layer + 1}", f"{prefix}.{layer + 2}", channels, relu6=False)
    residual = stride == 1 and net.channels(source) == channels
    return net.add(f"{block}.add", source, value) if residual else value


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, the next one where that would lose more than 10 %."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class _Network:
    """A graph that grows layer by layer; batch norm is folded into the convolution before it, in float64."""

    def __init__(
        self,
        architecture: str,
        width: float,
        resolution: int,
        classes: int,
        weights: Weights,
        seed: int,
        eps: float = BATCH_NORM_EPS,
        same: bool = False,
    ):
        """`same`: padded as TensorFlow does, which gives the bottom and right the larger half, and not on all sides."""
        if resolution < 32 or classes < 1 or not width > 0:
            raise ShapeError(
                f"{architecture} of width {width}, resolution {resolution}, {classes} classes: "
                "width is above 0, resolution at least 32, classes at least 1"
            )
        self.weights, source = open_weights(weights, seed)
        self.classes, self.builder, self.eps, self.same = classes, GraphBuilder(), eps, same
        self.builder.input("image", (resolution, resolution, 3), IMAGENET)
        self.builder.graph.metadata = {
            "architecture": architecture,
            "width": str(width),
            "resolution": str(resolution),
            "source": source,
        }

    def channels(self, value: str) -> int:
        return self.builder.dims(value)[2]

    def conv(
        self,
        name: str,
        source: str,
        conv: str,
        bn: str,
        channels: int,
        kernel: int = 1,
        stride: int = 1,
        relu6: bool = True,
    ) -> str:
        shape = (channels, self.channels(source), kernel, kernel)
        weight, bias = self._folded(source, name, conv, bn, shape, relu6)
        return self._windowed("conv", name, source, weight.transpose(0, 2, 3, 1), bias, kernel, stride, relu6)

    def depthwise(self, name: str, source: str, conv: str, bn: str, stride: int, kernel: int = 3) -> str:
        weight, bias = self._folded(source, name, conv, bn, (self.channels(source), 1, kernel, kernel), True)
        return self._windowed("depthwise", name, source, weight[:, 0].transpose(1, 2, 0), bias, kernel, stride, True)

    def add(self, name: str, left: str, right: str) -> str:
        self.weights.add(left, right, name)
        return self.builder.add("add", [left, right], name=name, output=name)

    def finish(self, value: str, classifier: str) -> Graph:
        """Pool, classify, and check that all weights given were used."""
        pooled = self.builder.add("global_avg_pool", [value], name="pool", output="pool")
        weight, bias = self.weights.dense(classifier, (self.classes, self.channels(value)), value)
        weight, bias = weight[:, None, None, :].astype(np.float32), bias.astype(np.float32)
        self.builder.add("conv", [pooled], name="classifier", output="logits", weight=weight, bias=bias)
        self.builder.output("logits", (1, self.classes), "logits")
        self.weights.check()
        return self.builder.graph

    def _folded(
        self, source: str, name: str, conv: str, bn: str, shape: tuple[int, ...], relu6: bool
    ) -> tuple[Array, Array]:
        weight, gamma, beta, mean, variance = self.weights.conv(conv, bn, shape, source, name, relu6)
        factor = gamma / np.sqrt(variance + self.eps)
        return weight * factor[:, None, None, None], beta - mean * factor

    def _windowed(
        self, op: str, name: str, source: str, weight: Array, bias: Array, kernel: int, stride: int, relu6: bool
    ) -> str:
        """Kernels of 3 are padded by 1 on all sides, as in torchvision, or as TensorFlow pads."""
        pads = (kernel // 2,) * 4
        if self.same:
            height, width, _ = self.builder.dims(source)
            missing = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (height, width)]
            before = [count // 2 for count in missing]
            pads = (before[0], before[1], missing[0] - before[0], missing[1] - before[1])
        return self.builder.add(
            op,
            [source],
            act=RELU6 if relu6 else LINEAR,
            name=name,
            output=name,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            pads=pads,
            weight=np.ascontiguousarray(weight, np.float32),
            bias=bias.astype(np.float32),
        )


@dataclass(frozen=True)
class Cost:
    """What a network costs by itself, whatever runs it.

    `macs`: multiply-adds of convolutions, depthwise convolutions and dense layers, every tap counted, padding included.
    The papers count the same ("MAdds", "Mult-Adds"). `parameters`: weights and biases as the model file stores them
    (batch norm folded, so that every convolution has a bias), without the padding of the packing. `paper_parameters`:
    weights only, which is what the papers' 3.4 and 4.2 millions are.
    """

    macs: int
    parameters: int
    paper_parameters: int


def count(graph: Graph) -> Cost:
    """Count the multiply-adds and parameters of `graph` (see `Cost`)."""
    macs = weights = biases = 0
    for node in graph.nodes:
        if node.weight is not None:
            height, width, channels = graph.values[node.output]
            macs += height * width * node.weight.size  # every weight is used once for each output pixel
            weights += node.weight.size
            biases += channels
    return Cost(macs, weights + biases, weights)
