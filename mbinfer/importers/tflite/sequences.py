"""Which axes of a picture those of a stream's tensors are: whoever reads them as a picture says it.

A tensor of two axes beside the batch, (1, n, m), may be the picture (n, 1, m), (1, n, m) or (n, m, 1). What a stream
keeps has to lie as the convolution that reads it, joined with new rows, wants it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..emitting import SourceNode
from .reading import TfliteSource

Shape = tuple[int, ...]
MOST_LOOKED_AT = 32  # nodes behind a tensor

# What leaves open which axes they are, and keeps both.
OPEN = frozenset(
    "READ_VARIABLE CONCATENATION SLICE STRIDED_SLICE RESHAPE EXPAND_DIMS SQUEEZE QUANTIZE DEQUANTIZE RELU ADD".split()
)


def two_axes(shape: Shape) -> tuple[int, int] | None:
    """Those beside the batch, where there are two."""
    if len(shape) == 3 and shape[0] == 1:
        return shape[1], shape[2]
    return (shape[0], shape[1]) if len(shape) == 2 else None


def letters_of(source: TfliteSource, name: str) -> str:
    """Of which axes of a picture the two of a tensor are, "HC", "WC" or "HW"; "" where nobody says it."""
    shape = source.tensors[name].shape
    views = {name}
    for node in _readers(source, views) if two_axes(shape) else ():
        made = source.tensors[node.outputs[0]].shape
        if node.op not in OPEN:
            return ""
        given = next(two_axes(source.tensors[tensor].shape) for tensor in node.inputs if tensor in views)
        if len(made) == 4 and made[0] == 1 and given is not None:
            ways = {"HC": (given[0], 1, given[1]), "WC": (1, *given), "HW": (*given, 1)}
            return next((letters for letters, dims in ways.items() if dims == made[1:]), "")
        axes = two_axes(made)
        if axes is None or (node.op in ("RESHAPE", "EXPAND_DIMS", "SQUEEZE") and axes != given):
            return ""
        views.add(node.outputs[0])
    return ""


def runs_across(source: TfliteSource, name: str, axis: int) -> bool:
    """Whether `axis` of a tensor is, or may be, that of columns."""
    shape = source.tensors[name].shape
    if len(shape) == 4:
        return axis == 2
    letters = letters_of(source, name) or "WC"
    return two_axes(shape) is not None and letters[axis - len(shape) + 2 : axis - len(shape) + 3] == "W"


def picture_of(source: TfliteSource, name: str) -> tuple[int, int, int] | None:
    """The picture that a tensor of two axes is; None where nobody says it."""
    axes, letters = two_axes(source.tensors[name].shape), letters_of(source, name)
    if axes is None or not letters:
        return None
    sizes = dict(zip(letters, axes))
    return sizes.get("H", 1), sizes.get("W", 1), sizes.get("C", 1)


def _readers(source: TfliteSource, views: set[str]) -> Iterator[SourceNode]:
    """The first nodes that read one of `views`, which grows meanwhile, in their order."""
    at = -1
    for _ in range(MOST_LOOKED_AT):
        following = [i for name in views for i in source.readers.get(name, ()) if i > at]
        if not following:
            return
        at = min(following)
        yield source.nodes[at]
