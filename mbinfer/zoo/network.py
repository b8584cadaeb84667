"""`Network`: how every family of the zoo grows its graph, layer by layer, batch norm folded into what is before it."""

from __future__ import annotations

import math
from typing import Any, Optional

import numpy as np

from ..build import LINEAR, GraphBuilder
from ..errors import ShapeError
from ..graph import Graph, Recipe
from .weights import Array, Weights, open_weights

# ImageNet's mean and deviation, in units of uint8 pixels.
IMAGENET = Recipe(mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375), color="RGB", crop=0.875)
BATCH_NORM_EPS = 1e-5
ACTIVATIONS = {
    "none": LINEAR,
    "relu": ("clamp", (0.0, math.inf)),
    "relu6": ("clamp", (0.0, 6.0)),
    "hard_sigmoid": ("clamp", (0.0, 1.0)),  # of x / 6 + 1 / 2, which is folded
    "hard_swish": ("hard_swish", LINEAR[1]),
    "silu": ("silu", LINEAR[1]),
    "sigmoid": ("sigmoid", LINEAR[1]),
}
Layer = tuple[str, Optional[str]]  # what a state dict calls a convolution and its batch norm; None: it has a bias


def divisible(channels: float, least: int = 8) -> int:
    """The nearest multiple of 8, at least `least`, the next one where that would lose more than 10 %."""
    nearest = max(least, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class Network:
    """A graph that grows layer by layer; batch norm is folded into the convolution before it, in float64."""

    def __init__(
        self,
        architecture: str,
        width: float,
        resolution: int | tuple[int, int],
        classes: int,
        weights: Weights,
        seed: int,
        *,
        eps: float = BATCH_NORM_EPS,
        same: bool = False,
        recipe: Recipe | None = IMAGENET,
        channels: int = 3,
        streaming: bool = False,
    ):
        """`same`: padded as TensorFlow does, which gives the bottom and right the larger half, and not on all sides.

        `streaming`: a run takes some rows of a stream, and convolutions find above them, in place of padding, those of
        earlier runs.
        """
        height, across = size = (resolution, resolution) if isinstance(resolution, int) else resolution
        if min(size) < (32 if channels == 3 else 1) or classes < 1 or not width > 0:
            raise ShapeError(
                f"{architecture} of width {width}, resolution {resolution}, {classes} classes: "
                "width is above 0, resolution at least 32, classes at least 1"
            )
        self.weights, source = open_weights(weights, seed)
        self.classes, self.builder, self.eps, self.same = classes, GraphBuilder(), eps, same
        self.streaming = streaming
        self.builder.input("image", (height, across, channels), recipe)
        self.builder.graph.metadata = {
            "architecture": architecture,
            "width": str(width),
            "resolution": str(resolution) if isinstance(resolution, int) else f"{height}x{across}",
            "source": source,
        }

    def channels(self, value: str) -> int:
        return self.builder.dims(value)[2]

    def conv(
        self,
        name: str,
        source: str,
        layer: Layer,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        act: str = "relu6",
        dilation: int = 1,
    ) -> str:
        window = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight, bias = self._folded(source, name, layer, (channels, self.channels(source), *window), act)
        return self._windowed("conv", name, source, weight.transpose(0, 2, 3, 1), bias, window, stride, act, dilation)

    def depthwise(
        self,
        name: str,
        source: str,
        layer: Layer,
        stride: int = 1,
        kernel: int = 3,
        act: str = "relu6",
        dilation: int = 1,
    ) -> str:
        window = (kernel, kernel)
        weight, bias = self._folded(source, name, layer, (self.channels(source), 1, *window), act)
        weight = weight[:, 0].transpose(1, 2, 0)
        return self._windowed("depthwise", name, source, weight, bias, window, stride, act, dilation)

    def gate(self, name: str, value: str, squeeze: str, excite: str, channels: int, acts: tuple[str, str]) -> str:
        """Squeeze-and-excite (arXiv 1709.01507): channels scaled by what two small layers make of their means."""
        pooled = self.pool(f"{name}.pool", value)
        squeezed = self.conv(f"{name}.squeeze", pooled, (squeeze, None), channels, act=acts[0])
        excited = self.conv(f"{name}.excite", squeezed, (excite, None), self.channels(value), act=acts[1])
        return self.follow("mul", name, [value, excited])

    def project(self, name: str, sources: list[str], layer: Layer, channels: int, act: str = "relu") -> str:
        """A 1x1 convolution of a map and of one pixel that is joined to each of its pixels: that pixel's share is
        computed once, and subtracted with the opposite sign."""
        source, pixel = sources
        inputs = self.channels(source)
        shape = (channels, inputs + self.channels(pixel), 1, 1)
        weight, bias = self._folded(source, name, layer, shape, act)
        window: tuple[tuple[int, int], int, str, int] = ((1, 1), 1, "none", 1)
        weight = weight.transpose(0, 2, 3, 1)
        own = self._windowed("conv", f"{name}.map", source, weight[..., :inputs], bias, *window)
        shared = self._windowed("conv", f"{name}.pixel", pixel, -weight[..., inputs:], 0 * bias, *window)
        return self.builder.add("sub", [own, shared], name=name, output=name, act=ACTIVATIONS[act])

    def add(self, name: str, left: str, right: str, act: str = "none") -> str:
        return self.follow("add", name, [left, right], act=ACTIVATIONS[act])

    def pool(self, name: str, value: str) -> str:
        return self.follow("global_avg_pool", name, [value])

    def recent(self, value: str, rows: int) -> str:
        """`value` below `rows` rows of what it was in earlier runs."""
        if not rows:
            return value
        seen = self.builder.recent(value, rows)
        self.weights.follow("stack", [value], seen)
        return seen

    def follow(self, op: str, name: str, inputs: list[str], channels: int | None = None, **fields: Any) -> str:
        """An operator without weights."""
        self.weights.follow(op, inputs, name)
        return self.builder.add(op, inputs, channels, name=name, output=name, **fields)

    def dense(self, name: str, source: str, layer: str, channels: int, act: str = "none") -> str:
        """A linear layer, which a state dict stores as a matrix."""
        weight, bias = self.weights.biased(layer, (channels, self.channels(source)), source, name, act)
        weight, bias = weight[:, None, None, :].astype(np.float32), bias.astype(np.float32)
        fields: dict[str, Any] = {"weight": weight, "bias": bias, "act": ACTIVATIONS[act]}
        return self.builder.add(
            "conv", [source], name=name, output="logits" if name == "classifier" else name, **fields
        )

    def finish(self, value: str, classifier: str, pooled: bool = False) -> Graph:
        """Pool, classify, and check that all weights given were used."""
        self.dense("classifier", value if pooled else self.pool("pool", value), classifier, self.classes)
        self.builder.output("logits", (1, self.classes), "logits")
        return self.checked()

    def checked(self) -> Graph:
        self.weights.check()
        return self.builder.graph

    def _folded(self, source: str, name: str, layer: Layer, shape: tuple[int, ...], act: str) -> tuple[Array, Array]:
        conv, bn = layer
        if bn is None:
            weight, bias = self.weights.biased(conv, shape, source, name, act)
        else:
            weight, gamma, beta, mean, variance = self.weights.conv(conv, bn, shape, source, name, act)
            factor = gamma / np.sqrt(variance + self.eps)
            weight, bias = weight * factor[:, None, None, None], beta - mean * factor
        return (weight / 6, bias / 6 + 0.5) if act == "hard_sigmoid" else (weight, bias)

    def _windowed(
        self,
        op: str,
        name: str,
        source: str,
        weight: Array,
        bias: Array,
        kernel: tuple[int, int],
        stride: int,
        act: str,
        dilation: int,
    ) -> str:
        top, left, bottom, right = self.pads(source, kernel, stride, dilation)
        if self.streaming:
            top, bottom, source = 0, 0, self.recent(source, dilation * (kernel[0] - 1) + 1 - stride)
        return self.builder.add(
            op,
            [source],
            act=ACTIVATIONS[act],
            name=name,
            output=name,
            kernel=kernel,
            stride=(stride, stride),
            pads=(top, left, bottom, right),
            dilation=(dilation, dilation),
            weight=np.ascontiguousarray(weight, np.float32),
            bias=bias.astype(np.float32),
        )

    def pads(self, source: str, kernel: tuple[int, int], stride: int, dilation: int = 1) -> tuple[int, int, int, int]:
        """Kernels of 3 are padded by 1 on all sides, as in torchvision, or as TensorFlow pads."""
        reach = [dilation * (side - 1) for side in kernel]
        if not self.same:
            return reach[0] // 2, reach[1] // 2, reach[0] // 2, reach[1] // 2
        missing = [
            max((-(-size // stride) - 1) * stride + far + 1 - size, 0)
            for size, far in zip(self.builder.dims(source), reach)
        ]
        before = [count // 2 for count in missing]
        return before[0], before[1], missing[0] - before[0], missing[1] - before[1]
