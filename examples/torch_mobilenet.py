"""MobileNetV1 and MobileNetV2 in PyTorch, whose state dicts `mbinfer.zoo` reads; V2 has torchvision's names.

Sources: Howard et al., "MobileNets" (arXiv:1704.04861), Table 1; Sandler et al., "MobileNetV2" (arXiv:1801.04381),
Tables 1 and 2. Both networks take any resolution from 32 up, in NCHW.
"""

from __future__ import annotations

import torch
from torch import nn

# (output channels, stride) of the depthwise-separable blocks of MobileNetV1.
V1_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
# (expansion t, output channels c, repeats n, stride s of the first) of the inverted residuals of MobileNetV2.
V2_BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, one step higher where that would lose more than 10 %."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def v1_channels(channels: float) -> int:
    """Cut as in MobileNetV1's own code, to a multiple of 8."""
    return max(8, int(channels) // 8 * 8)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [*conv_bn(inputs, outputs, kernel, stride, groups), nn.ReLU6(inplace=True)]


def initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


class MobileNetV1(nn.Module):
    """`features.0`: the stem; `features.1` to `features.13`: depthwise 0-2, pointwise 3-5; `classifier`: dense."""

    def __init__(self, width: float = 1.0, classes: int = 1000):
        super().__init__()
        channels = v1_channels(32 * width)
        blocks = [nn.Sequential(*conv_bn_relu6(3, channels, 3, stride=2))]
        for outputs, stride in V1_BLOCKS:
            outputs = v1_channels(outputs * width)
            depthwise = conv_bn_relu6(channels, channels, 3, stride, groups=channels)
            blocks.append(nn.Sequential(*depthwise, *conv_bn_relu6(channels, outputs, 1)))
            channels = outputs
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        expand = [nn.Sequential(*conv_bn_relu6(inputs, hidden, 1))] if expansion != 1 else []
        depthwise = nn.Sequential(*conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden))
        self.conv = nn.Sequential(*expand, depthwise, *conv_bn(hidden, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """`features.0`: the stem; 1 to 17: inverted residuals; 18: the last 1x1; `classifier`: dropout, dense."""

    def __init__(self, width: float = 1.0, classes: int = 1000, dropout: float = 0.2):
        super().__init__()
        channels = make_divisible(32 * width)
        blocks = [nn.Sequential(*conv_bn_relu6(3, channels, 3, stride=2))]
        for expansion, outputs, repeats, first_stride in V2_BLOCKS:
            outputs = make_divisible(outputs * width)
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, first_stride if repeat == 0 else 1, expansion))
                channels = outputs
        last = make_divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*blocks, nn.Sequential(*conv_bn_relu6(channels, last, 1)))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, classes))
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
