"""Blocks of pixels written as a transpose of six axes: pixel shuffles, and those undone, of channels first or last."""

from __future__ import annotations

from collections.abc import Sequence

from .emitting import SourceNode
from .layout import AXES, Tensor, order_of
from .moving import blocks, shuffled, space_to_blocks
from .unfolding import rows_as_parts
from .walking import Walk

# By the perm of the transpose: the layout, the axis of channels, of the rows in a block, and of its columns.
TO_SPACE: dict[tuple[int, ...], tuple[str, int, int, int]] = {
    (0, 1, 4, 2, 5, 3): ("NCHW", 1, 2, 3),  # PyTorch's pixel_shuffle: (1, c, r, r, H, W)
    (0, 3, 4, 1, 5, 2): ("NCHW", 3, 1, 2),  # the same with blocks first: (1, r, r, c, H, W)
    (0, 1, 3, 2, 4, 5): ("NHWC", 5, 3, 4),  # TensorFlow's: (1, H, W, r, r, c)
}
# The same, and whether the channels of the picture come first in those of a block.
TO_DEPTH: dict[tuple[int, ...], tuple[str, int, int, int, bool]] = {
    (0, 1, 3, 5, 2, 4): ("NCHW", 1, 3, 5, True),  # PyTorch's pixel_unshuffle: (1, c, H, r, W, r)
    (0, 3, 5, 1, 2, 4): ("NCHW", 1, 3, 5, False),
    (0, 1, 3, 2, 4, 5): ("NHWC", 5, 2, 4, False),  # (1, H, r, W, r, c)
}


def space_and_depth(low: Walk, node: SourceNode, x: Tensor, perm: Sequence[int]) -> Tensor | None:
    """What the transpose of a picture's reshape to six axes makes of it, where that is blocks of pixels."""
    if len(x.shape) != 6 or x.shape[0] != 1:
        return None
    return _to_space(low, node, x, tuple(perm)) or _to_depth(low, node, x, tuple(perm))


def _to_space(low: Walk, node: SourceNode, x: Tensor, perm: tuple[int, ...]) -> Tensor | None:
    layout, *axes = TO_SPACE.get(perm, ("", 0, 0, 0))
    made, down, across = (x.shape[i] for i in axes)
    pixels = tuple(size for i, size in enumerate(x.shape) if i and i not in axes)
    if layout == "NCHW" and axes[0] == 1 and x.order == order_of("CHW", x.dims) and len(pixels) == 2:
        if x.dims == (down * across, pixels[0] * pixels[1], made):  # a row for each pixel of a block
            shape = tuple(x.shape[i] for i in perm)
            parts = rows_as_parts(low, node, x, (pixels[0], pixels[1]))
            return blocks(low, node, parts, (down, across), layout[1:], shape)
    if not layout or pixels != x.dims[:2] or x.order != order_of(layout[1:], x.dims):
        return None
    shape = tuple(x.shape[i] for i in perm)
    if layout == "NCHW" and axes[0] == 1:  # a channel's block follows it
        x = shuffled(low, node, x, made, "order")
    return blocks(low, node, x, (down, across), layout[1:], shape)


def _to_depth(low: Walk, node: SourceNode, x: Tensor, perm: tuple[int, ...]) -> Tensor | None:
    layout, *axes, first = TO_DEPTH.get(perm, ("", 0, 0, 0, False))
    channels, down, across = (x.shape[i] for i in axes)
    if not layout or down != across or channels != x.dims[2] or x.order != order_of(layout[1:], x.dims):
        return None
    if (x.shape[axes[1] - 1] * down, x.shape[axes[2] - 1] * across) != x.dims[:2]:
        return None
    picture = Tensor(x.value, x.dims, order_of(AXES, x.dims), (1, *x.dims))
    found = space_to_blocks(low, node, picture, down, 3)
    if first:
        found = shuffled(low, node, found, down * across, "order")
    return Tensor(found.value, found.dims, order_of(layout[1:], found.dims), tuple(x.shape[i] for i in perm))
