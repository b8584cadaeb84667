"""A segmenter and a detector of few parameters in PyTorch, of MobileNetV2's blocks (arXiv 1801.04381)."""

from __future__ import annotations

import torch
from canvases import CLASSES
from torch import nn
from torch.nn import functional
from torch_mobilenet import InvertedResidual, conv_bn_relu6, initialise

ANCHORS = (((16, 11), (22, 15)), ((29, 20), (37, 25)))  # height and width in pixels, at strides 8 and 16
CHANNELS = 24  # of the maps that the segmenter adds


class Backbone(nn.Module):
    """Maps of strides 2, 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn_relu6(1, 8, 3, stride=2))
        self.stride4 = nn.Sequential(InvertedResidual(8, 16, 2, 3), InvertedResidual(16, 16, 1, 3))
        self.stride8 = nn.Sequential(InvertedResidual(16, 32, 2, 4), InvertedResidual(32, 32, 1, 4))
        self.stride16 = nn.Sequential(InvertedResidual(32, 56, 2, 4), InvertedResidual(56, 56, 1, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        stride2 = self.stem(x)
        stride4 = self.stride4(stride2)
        stride8 = self.stride8(stride4)
        return stride2, stride4, stride8, self.stride16(stride8)


def larger(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Segmenter(nn.Module):
    """Scores of the classes of each pixel: a feature pyramid (arXiv 1612.03144) that ends at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, CHANNELS, 1) for channels in (8, 16, 32, 56))
        self.smooth = nn.Sequential(
            *conv_bn_relu6(CHANNELS, CHANNELS, 3, groups=CHANNELS), *conv_bn_relu6(CHANNELS, CHANNELS, 1)
        )
        self.scores = nn.Conv2d(CHANNELS, CLASSES, 1)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [lateral(found) for lateral, found in zip(self.lateral, self.backbone(x))]
        value = maps[3]
        for finer in (maps[2], maps[1], maps[0]):
            value = larger(value) + finer
        return larger(self.scores(self.smooth(value)))


class Detector(nn.Module):
    """Of the maps of strides 8 and 16, scores of the classes and places of boxes, one anchor after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.heads = nn.ModuleList()
        for channels, anchors in zip((32, 56), ANCHORS):
            for each in (CLASSES, 4):
                before = [*conv_bn_relu6(channels, channels, 3, groups=channels), *conv_bn_relu6(channels, 64, 1)]
                self.heads.append(nn.Sequential(*before, nn.Conv2d(64, len(anchors) * each, 1)))
        initialise(self)
        for head in self.heads:  # nothing is found at first, as far as the network knows
            nn.init.normal_(head[-1].weight, 0, 0.01)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Scores and boxes of stride 8, then of stride 16."""
        _, _, stride8, stride16 = self.backbone(x)
        return tuple(head(found) for head, found in zip(self.heads, (stride8, stride8, stride16, stride16)))
