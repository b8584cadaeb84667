"""MobileNetV1 (arXiv 1704.04861)."""

from __future__ import annotations

from ..graph import Graph
from .network import Network
from .weights import Weights

# channels, stride: MobileNets (arXiv 1704.04861), table 1
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


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

    net = Network("MobileNetV1", width, resolution, classes, weights, seed)
    value = net.conv("stem", "image", ("features.0.0", "features.0.1"), channels(32), kernel=3, stride=2)
    for i, (c, stride) in enumerate(V1_BLOCKS, 1):
        block, prefix = f"block{i}", f"features.{i}"
        value = net.depthwise(f"{block}.depthwise", value, (f"{prefix}.0", f"{prefix}.1"), stride)
        value = net.conv(f"{block}.pointwise", value, (f"{prefix}.3", f"{prefix}.4"), channels(c))
    return net.finish(value, "classifier")
