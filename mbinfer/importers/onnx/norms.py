"""ONNX ops that normalise by what the picture at hand holds: local response, L2, layer, instance and group norm."""

from __future__ import annotations

from ..layout import Tensor
from ..norms import normalised, of_pixels, over_channels, scaled
from .lowering import Lowering, lowers
from .reading import OnnxNode


@lowers("LRN")
def local_response(low: Lowering, node: OnnxNode) -> Tensor:
    x, size = low.image(node), node.attrs["size"]
    numbers = {
        "factor": node.attrs.get("alpha", 1e-4) / size,
        "offset": node.attrs.get("bias", 1.0),
        "exponent": node.attrs.get("beta", 0.75),
    }
    if size < 1 or min(numbers.values()) < 0:
        raise low.unsupported(node, f"a window of {size} channels, {numbers}", "windows and numbers from 0 on")
    return normalised(low, node, x, window=size, **numbers)


@lowers("LpNormalization")
def lp_norm(low: Lowering, node: OnnxNode) -> Tensor:
    x, p = low.tensor(node), node.attrs.get("p", 2)
    axis = node.attrs.get("axis", -1) % len(x.shape)
    if p != 2 or not over_channels(x, {axis}):
        raise low.unsupported(node, f"the L{p} norm over axis {axis} of {x.shape}", "the L2 norm over channels")
    return normalised(low, node, x)


@lowers("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def layer_norm(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    axis = node.attrs.get("axis", -1) % len(x.shape)
    if not over_channels(x, set(range(axis, len(x.shape)))):
        raise low.unsupported(node, f"over the axes from {axis} on of {x.shape}", "norms over channels")
    numbers = {"factor": 1 / x.dims[2], "offset": node.attrs.get("epsilon", 1e-5)}
    centred = node.op == "LayerNormalization"
    norm = normalised(low, node, x, "norm", centred=centred, **numbers)
    return scaled(low, node, norm, low.constant(node, 1), low.constant(node, 2), axis)


@lowers("InstanceNormalization", "GroupNormalization")
def pixel_norm(low: Lowering, node: OnnxNode) -> Tensor:
    """Of a picture, or of the groups that PyTorch makes of one: (1, groups, everything else)."""
    x, epsilon = low.tensor(node), node.attrs.get("epsilon", 1e-5)
    scale, bias = low.constant(node, 1), low.constant(node, 2)
    picture = x.shows("NCHW")
    groups = node.attrs.get("num_groups", x.dims[2] if picture else x.shape[1])
    grouped = len(x.shape) >= 3 and x.order == "".join(axis for axis in "CHW" if x.size(axis) > 1)
    if not (picture or grouped) or x.shape[0] != 1 or groups < 1 or x.dims[2] % groups:
        raise low.unsupported(node, f"{groups} groups of {x.shape}", "pictures, and groups of their channels")
    norm = of_pixels(low, node, x, groups, epsilon, "norm")
    each = x.dims[2] // scale.size if scale.size and not x.dims[2] % scale.size else 1
    return low.affine(node, norm, scale.ravel().repeat(each), bias.ravel().repeat(each))
