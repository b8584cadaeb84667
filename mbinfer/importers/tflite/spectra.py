"""Fourier transforms of TensorFlow Lite, with which spectrograms begin: a product with cosines, and one with sines.

A complex tensor is known as its real part; `Lowering.imaginary` has the other one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..emitting import SourceNode
from ..functions import square
from ..layout import Tensor
from .lowering import Lowering, lowers


@lowers("RFFT2D")
def fourier(low: Lowering, node: SourceNode) -> Tensor:
    """Of each row of numbers, which are as many as the transform has or cut off behind, zeros where there are fewer."""
    x, size = low.tensor(node), low.numbers(node, 1)
    if len(x.shape) < 2 or x.shape[-2:] != (1, x.dims[2]) or x.letters_of(len(x.shape) - 1) != "C":
        raise low.unsupported(node, f"of {x.shape}", "the numbers of single rows (..., 1, n)")
    if len(size) != 2 or size[0] != 1 or not 1 < size[1] <= 1 << 16:
        raise low.unsupported(node, f"{size} numbers", "one dimension, of at most 65536 numbers")
    length, bins = size[1], size[1] // 2 + 1
    at = np.arange(x.dims[2])
    angles = 2 * np.pi / length * (np.outer(np.arange(bins), at) % length)  # without whole turns
    real, imaginary = (
        low.emit(node, "conv", [x.value], part, weight=(waves * (at < length))[:, None, None, :])
        for part, waves in (("", np.cos(angles)), ("imaginary", -np.sin(angles)))
    )
    low.imaginary[real] = imaginary
    return Tensor(real, low.builder.dims(real), x.order, (*x.shape[:-1], bins))


@lowers("COMPLEX_ABS", "REAL", "IMAG")
def part_of(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node)
    other = low.imaginary.get(x.value)
    if other is None:
        raise low.unsupported(node, f"of {x.shape}, which is not complex", "what RFFT2D makes")
    if node.op != "COMPLEX_ABS":
        return low.affine(node, x if node.op == "REAL" else replace(x, value=other))
    squares = [
        square(low, node, replace(x, value=value), part).value for value, part in ((x.value, "real"), (other, "i"))
    ]
    total = low.emit(node, "add", squares, "power")
    return low.affine(node, replace(x, value=total), activation="root")
