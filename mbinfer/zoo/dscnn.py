"""DS-CNN for keyword spotting (arXiv 1711.07128), of the size that MLPerf Tiny takes."""

from __future__ import annotations

from ..graph import Graph
from .network import Network
from .weights import Weights


def ds_cnn(classes: int = 12, weights: Weights = None, seed: int = 0) -> Graph:
    """DS-CNN with input ``image``, 49 frames of 10 float32 coefficients, (49, 10, 1), and output ``logits``.

    `weights` as in `mobilenet_v1`, whose names it has, for a stem of 10x4 and four blocks of 64 channels. Padded as
    TensorFlow does; batch norm has eps 1e-3.
    """
    net = Network("DS-CNN", 1.0, (49, 10), classes, weights, seed, eps=1e-3, same=True, recipe=None, channels=1)
    value = net.conv("stem", "image", ("features.0.0", "features.0.1"), 64, (10, 4), 2, "relu")
    for i in range(1, 5):
        block, prefix = f"block{i}", f"features.{i}"
        value = net.depthwise(f"{block}.depthwise", value, (f"{prefix}.0", f"{prefix}.1"), act="relu")
        value = net.conv(f"{block}.pointwise", value, (f"{prefix}.3", f"{prefix}.4"), 64, act="relu")
    return net.finish(value, "classifier")
