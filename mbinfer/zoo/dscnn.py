"""DS-CNN for keyword spotting (arXiv 1711.07128), of the size that MLPerf Tiny takes, of a window or a stream."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..graph import Graph
from .network import Network
from .weights import Weights

COEFFICIENTS, CHANNELS, BLOCKS = 10, 64, 4
MOST_WINDOW = 1 << 12


def ds_cnn(classes: int = 12, weights: Weights = None, seed: int = 0) -> Graph:
    """DS-CNN with input ``image``, 49 frames of 10 float32 coefficients, (49, 10, 1), and output ``logits``.

    `weights` as in `mobilenet_v1`, whose names it has, for a stem of 10x4 and four blocks of 64 channels. Padded as
    TensorFlow does; batch norm has eps 1e-3.
    """
    net = _network("DS-CNN", 49, classes, weights, seed)
    return net.finish(_blocks(net), "classifier")


def ds_cnn_stream(classes: int = 12, window: int = 25, weights: Weights = None, seed: int = 0) -> Graph:
    """`ds_cnn` on a stream (arXiv 2005.06720): each run takes the 2 frames that are new, (2, 10, 1) of float32, and
    keeps the rows that later runs see again. ``logits`` are of the means over the last `window` rows; `ds_cnn` has 25.

    Its weights are those of `ds_cnn`. What was before the stream is zeros, above every convolution, so that it is the
    network that is padded above alone: one trained in that way gives these numbers.
    """
    if not 1 <= window <= MOST_WINDOW:
        raise ShapeError(f"DS-CNN, streaming, with a window of {window} rows: 1 to {MOST_WINDOW}")
    net = _network("DS-CNN, streaming", 2, classes, weights, seed, streaming=True)
    value = _blocks(net)
    across = net.builder.dims(value)[1]
    means = net.follow("avg_pool", "means", [value], kernel=(1, across))  # of each row, which are fewer numbers to keep
    return net.finish(net.recent(means, window - 1), "classifier")


def _network(name: str, frames: int, classes: int, weights: Weights, seed: int, streaming: bool = False) -> Network:
    fields: dict[str, Any] = {"eps": 1e-3, "same": True, "recipe": None, "channels": 1, "streaming": streaming}
    return Network(name, 1.0, (frames, COEFFICIENTS), classes, weights, seed, **fields)


def _blocks(net: Network) -> str:
    value = net.conv("stem", "image", ("features.0.0", "features.0.1"), CHANNELS, (10, 4), 2, "relu")
    for i in range(1, BLOCKS + 1):
        block, prefix = f"block{i}", f"features.{i}"
        value = net.depthwise(f"{block}.depthwise", value, (f"{prefix}.0", f"{prefix}.1"), act="relu")
        value = net.conv(f"{block}.pointwise", value, (f"{prefix}.3", f"{prefix}.4"), CHANNELS, act="relu")
    return value
