"""What the caller says of a source, checked once for every importer: where to begin and to end, shapes of inputs.
What `boxes=` says is read in boxes_argument.py.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import numpy as np

from ..errors import ArgumentError, ShapeError, UnsupportedError
from ..limits import MAX_COUNTS, MAX_ELEMENTS
from ..options import listed

MOST_COMPARED = 100_000  # names of tensors
Shape = tuple[int, ...]
InputShape = Union[Sequence[int], Mapping[str, Sequence[int]], None]
Ends = Mapping[str, Iterable[str]]  # by argument, the tensors to end at that it names; none: where the source ends


def tensor_names(what: str, given: Iterable[str], computed: Sequence[str]) -> list[str]:
    """`given`, the argument `what`, as a list of names that are all in `computed`, each once; `ArgumentError`
    otherwise."""
    names, known = listed(what, given, "tensor names"), set(computed)
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"{what}: {name!r} is of type {type(name).__name__}; give a list of tensor names")
        if name not in known:
            near = difflib.get_close_matches(name, computed[:MOST_COMPARED], 3) or computed[-3:]
            raise ArgumentError(f"{what}: no node makes a tensor '{name}'; there are {', '.join(near)} and others")
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"{what}={names}: give at least one tensor name, and each once")
    return names


def end_names(ends: Ends, computed: Sequence[str]) -> list[str]:
    """The tensors that `ends` names, each once; `ArgumentError` for whichever argument names one not in `computed`."""
    return list(dict.fromkeys(name for what, given in ends.items() for name in tensor_names(what, given, computed)))


def refuse_unread(inputs: Iterable[str] | None, read: Iterable[str]) -> None:
    """`ArgumentError` for what `inputs` names and no output depends on."""
    unread = sorted(set(inputs or ()) - set(read))
    if unread:
        raise ArgumentError(f"inputs: no output depends on '{unread[0]}'; leave it out, or begin elsewhere")


def shapes_by_name(names: Sequence[str], input_shape: Any) -> dict[str, Shape]:
    """`input_shape` by the name of the input, for those of which it says something."""
    if len(names) > MAX_COUNTS["inputs"]:
        raise UnsupportedError(f"the model has {len(names)} inputs; supported are up to {MAX_COUNTS['inputs']}")
    if input_shape is None:
        return {}
    if not isinstance(input_shape, dict):
        if len(names) != 1:
            raise ShapeError(
                f"the model has {len(names)} inputs ({', '.join(names)}): give input_shape as a dict of shapes by "
                f"input name, such as {{'{names[0] if names else 'x'}': (1, 3, 224, 224)}}"
            )
        input_shape = {names[0]: input_shape}
    unknown = [name for name in input_shape if name not in names]
    if unknown:
        raise ShapeError(f"input_shape names {unknown[0]!r}; the inputs are {', '.join(names)}")
    return {name: checked_shape(shape) for name, shape in input_shape.items()}


def checked_shape(shape: Any) -> Shape:
    """`shape` as a tuple of sizes that a value can have; `ArgumentError` for what is no shape."""
    try:
        sizes = tuple(shape)
        if isinstance(shape, (str, bytes, dict)) or not all(isinstance(s, (int, np.integer)) for s in sizes):
            raise TypeError
    except TypeError:
        raise ArgumentError(f"input_shape {shape!r}; give whole numbers, such as (1, 3, 224, 224)") from None
    if min(sizes, default=0) < 1 or len(sizes) > 8 or max(sizes) > MAX_ELEMENTS or math.prod(sizes) > MAX_ELEMENTS:
        raise ShapeError(f"input_shape {sizes}; every size is at least 1, their product at most {MAX_ELEMENTS}")
    return tuple(int(size) for size in sizes)
