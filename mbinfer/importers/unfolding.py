"""Parts of the channels as an axis of their own: what a reshape of (1, 64, n) to (1, 4, 16, n) makes of them.

A value has three axes. Where a tensor shows two groups in its channels, the groups become columns, and the pixels, row
by row, the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..limits import MAX_SIDE
from .emitting import SourceNode
from .joining import MOST_PIECES, join, stacked
from .layout import AXES, Tensor, order_of, split_of_channels
from .moving import blocks, channels, cut, framed, shuffled, swapped_groups
from .walking import Walk


def with_whole_channels(x: Tensor) -> Tensor:
    """The same tensor with one dimension in place of the two that share its channels."""
    first, last = split_of_channels(x) or (-1, -1)
    sizes = {first: 1, last: x.dims[2]}
    return replace(x, shape=tuple(sizes.get(i, size) for i, size in enumerate(x.shape)))


def unfolded(low: Walk, node: SourceNode, x: Tensor, axis: int, part: str = "") -> Tensor | None:
    """The same tensor of a value whose channels are those of `axis` alone, one of two dimensions that share them."""
    split = split_of_channels(x)
    if split is None or axis not in split or x.order.replace("C", "") not in ("", "H", "W", "HW"):
        return None
    if "HW" not in x.order and {"H", "W"} <= set(x.order):
        return None
    groups, each = (x.shape[i] for i in split)
    order = "WC"
    if axis == split[0]:
        x, groups, each, order = shuffled(low, node, x, groups, f"{part}inner"), each, groups, "CW"
    x = one_column(low, node, x, part)
    value = blocks(low, node, x, (1, groups), AXES, x.shape, f"{part}groups").value
    return Tensor(value, low.builder.dims(value), x.order.replace("C", order), x.shape)


def of_anchors(low: Walk, node: SourceNode, x: Tensor, axis: int, part: str = "") -> Tensor | None:
    """The same tensor of a value with a column for each of the equal parts of a pixel's channels, such as the anchors
    of a detector, where `axis` is last and has what belongs to one."""
    each = x.shape[axis]
    if max(x.shape[axis + 1 :], default=1) > 1 or x.order != order_of(AXES, x.dims) or x.dims[2] % each:
        return None
    return blocks(low, node, x, (1, x.dims[2] // each), AXES, x.shape, f"{part}anchors")


def rearranged(low: Walk, node: SourceNode, x: Tensor, perm: Sequence[int]) -> Tensor | None:
    """A transpose that moves a part of the channels: swapped groups, pixels of groups, or an axis for each part."""
    groups, split = swapped_groups(x, perm), split_of_channels(x)
    shape = tuple(x.shape[i] for i in perm)
    if groups:
        return replace(shuffled(low, node, x, groups), shape=shape)
    if split is None:
        return None
    moved, (first, last) = [i for i in perm if x.shape[i] > 1], split
    if moved[0] == first and moved[-1] == last and x.order == order_of("CHW", x.dims) and x.shape[first] <= MOST_PIECES:
        between = [i for i in moved if i not in split]
        if between == sorted(between):  # anchors of a detector: the pixels of one after those of another
            each = x.shape[last]
            flat = replace(x, shape=(1, x.dims[2], *x.dims[:2]))
            parts = [channels(low, node, flat, i * each, each, 1, f"group {i}") for i in range(x.shape[first])]
            value = stacked(low, node, parts)
            dims = low.builder.dims(value)
            return Tensor(value, dims, order_of(AXES, dims), shape)
    for axis in (last, first):
        made = unfolded(low, node, x, axis, f"axis {axis} ")
        turned = None if made is None else made.transposed(perm)
        if turned is not None:
            return turned
    return None


def alike(low: Walk, node: SourceNode, tensors: list[Tensor], axis: int) -> list[Tensor]:
    """Where some have channels along `axis` and others columns of one channel, such as the boxes of a detector whose
    distances went through a softmax: all with channels, of one column."""
    axis %= len(tensors[0].shape)
    splits = {split_of_channels(t) for t in tensors}
    if any(split is not None and (len(splits) > 1 or axis == split[1]) for split in splits):
        tensors = [framed(low, node, t, axis, f"{i} ") for i, t in enumerate(tensors)]
    letters = [t.letters_of(axis) for t in tensors]
    if set(letters) != {"C", "W"}:
        return tensors
    found = []
    for i, (t, letter) in enumerate(zip(tensors, letters)):
        if letter == "W" and t.dims[2] == 1 and t.dims[1] <= MOST_PIECES:
            t = _folded(low, node, t, f"{i} ")
        elif letter == "C" and "HW" in t.order:
            t = one_column(low, node, t, f"{i} ")
        found.append(t)
    return found


def as_picture(low: Walk, node: SourceNode, x: Tensor, layout: str) -> Tensor | None:
    """The picture of `layout`, "NCHW" or "NHWC", that a reshape made of a vector, or of pixels in another arrangement,
    or a transpose of a column; None where its numbers do not lie in that order."""
    sizes = dict(zip(layout, x.shape))
    height, width, channels = dims = (sizes["H"], sizes["W"], sizes["C"])
    made, part, line = x, f"{x.value} as {layout} ", x.order.replace("C", "")
    if sizes["N"] == 1 and 1 < channels <= MOST_PIECES and x.letters_of(layout.index("C")) in ("H", "W"):
        return _rows_as_channels(low, node, x, layout, part)
    if sizes["N"] != 1 or x.dims[2] % channels or max(height, width) > MAX_SIDE:
        return None
    if (
        len(line) == 1
        and x.dims[2] == channels
        and x.order.replace(line, "W" if line == "H" else "H") == order_of(layout[1:], dims)
    ):
        value = _arranged(low, node, x, (height, width), part)
        return Tensor(value, dims, order_of(layout[1:], dims), x.shape)
    if layout == "NCHW" and split_of_channels(x) == (1, 2) and x.order == order_of("CHW", x.dims):
        return _parts_as_rows(low, node, x, part)
    if x.order != order_of(AXES, x.dims):
        return None
    if layout == "NCHW" and channels > 1 and height * width > 1:  # of a vector, all numbers of a channel at a time
        if x.dims[:2] != (1, 1):
            return None
        made = shuffled(low, node, made, channels, f"{part}pixels")
    if x.dims[2] > channels:
        size = (height, width) if x.dims[:2] == (1, 1) else (1, x.dims[2] // channels)
        made = blocks(low, node, made, size, AXES, x.shape, f"{part}blocks")
    if made.dims[:2] != (height, width):
        made = replace(made, value=_arranged(low, node, made, (height, width), part))
    return Tensor(made.value, dims, order_of(layout[1:], dims), x.shape)


def _rows_as_channels(low: Walk, node: SourceNode, x: Tensor, layout: str, part: str) -> Tensor | None:
    """A picture whose channels are the rows, or the columns, of its value: a picture for each, one channel each."""
    axis = layout.index("C")
    rows = [cut(low, node, x, axis, i, i + 1, 1, f"{part}channel {i}") for i in range(x.shape[axis])]
    made = [t if t.shows(layout) else as_picture(low, node, t, layout) for t in rows]
    pictures = [t for t in made if t is not None]
    return join(low, node, pictures, axis, f"{part}channels") if len(pictures) == len(rows) else None


def _parts_as_rows(low: Walk, node: SourceNode, x: Tensor, part: str) -> Tensor | None:
    """A picture of (1, channels, parts, pixels) whose channels had the parts: a row for each of them, as the patches of
    MobileViTv2 (arXiv 2206.02680) are read."""
    _, each, count, length = x.shape
    if count > MOST_PIECES:
        return None
    dealt = shuffled(low, node, x, each, f"{part}dealt")
    flat = replace(dealt, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    rows = [channels(low, node, flat, i * each, each, 3, f"{part}row {i}") for i in range(count)]
    dims = (count, length, each)
    return Tensor(stacked(low, node, rows, f"{part}rows", dims[:2]), dims, order_of("CHW", dims), x.shape)


def rows_as_parts(low: Walk, node: SourceNode, x: Tensor, size: tuple[int, int]) -> Tensor:
    """What `_parts_as_rows` undoes: the picture of `size` that has the pixels of each row of `x` as channels, those of
    one row after those of another."""
    count, height = x.dims[0], size[0]
    tall = _arranged(low, node, x, (count * height, size[1]), "tall ")
    dims = low.builder.dims(tall)
    whole = Tensor(tall, dims, order_of(AXES, dims), (1, *dims))
    parts = [cut(low, node, whole, 1, i * height, (i + 1) * height, 1, f"row {i}") for i in range(count)]
    return join(low, node, parts, 3, "parts")


def as_sequence(low: Walk, node: SourceNode, x: Tensor) -> Tensor | None:
    """The sequence (1, channels, length) that a reshape made of a vector, or of a picture; None as in `as_picture`."""
    if x.order == "CHW" and x.groups() == ["", "C", "HW"]:
        return one_column(low, node, x, f"{x.value} as a sequence ")
    made = as_picture(low, node, replace(x, shape=(*x.shape, 1)), "NCHW")
    return None if made is None else replace(made, shape=x.shape)


def one_column(low: Walk, node: SourceNode, x: Tensor, part: str = "") -> Tensor:
    """The same tensor of a value with a row for each pixel, where it lists them row by row."""
    height, width, channels = x.dims
    if width == 1:
        return x
    value = _arranged(low, node, x, (height * width, 1), part)
    return Tensor(value, (height * width, 1, channels), x.order.replace("HW", "H").replace("W", "H"), x.shape)


def _arranged(low: Walk, node: SourceNode, x: Tensor, size: tuple[int, int], part: str) -> str:
    """The same pixels, row by row, as a picture of `size`: a stack of two slices."""
    height, width, _ = x.dims
    axis, length = ("H", height) if height > 1 else ("W", width)
    at = 1 + AXES.index(axis)
    whole = replace(x, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    cuts = ((0, length - 1), (length - 1, length))
    pieces = [cut(low, node, whole, at, *ends, 1, f"{part}piece{i}") for i, ends in enumerate(cuts)]
    return stacked(low, node, pieces, f"{part}pixels", size)


def with_columns_as_channels(low: Walk, node: SourceNode, x: Tensor) -> Tensor:
    """The same tensor of one column, where each row lists its channels with the columns of each, as torchvision's
    detectors stack the corners of boxes. `x` itself where it is none."""
    count = x.dims[1]
    if x.order != "HCW" or count > MOST_PIECES:
        return x
    whole = replace(x, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    columns = [cut(low, node, whole, 2, i, i + 1, 1, f"column {i}") for i in range(count)]
    made = shuffled(low, node, join(low, node, columns, 3, "columns"), count)
    return Tensor(made.value, made.dims, "HC", x.shape)


def _folded(low: Walk, node: SourceNode, x: Tensor, part: str) -> Tensor:
    """The same tensor of a value whose columns of one channel became the channels of one column."""
    whole = replace(x, order=order_of(AXES, x.dims), shape=(1, *x.dims))
    columns = [cut(low, node, whole, 2, i, i + 1, 1, f"{part}column {i}") for i in range(x.dims[1])]
    joined = join(low, node, columns, 3, f"{part}channels")
    return Tensor(joined.value, joined.dims, x.order.replace("W", "C"), x.shape)
