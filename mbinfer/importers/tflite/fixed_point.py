"""Tables of functions that TensorFlow Lite computes in fixed point, with the same roundings, so that integers agree.

Multipliers of few bits make these results differ from the rounded real function now and then, by one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...graph import Type

Integers = npt.NDArray[np.int64]
Table = npt.NDArray[np.uint8]
INT16 = np.iinfo(np.int16)


def scaled_table(given: Type, made: Type, slope: float = 1.0) -> Table:
    """``x``, or ``slope * x`` where x is below 0, on another scale: as XNNPACK's conversion and leaky ReLU do.

    Multipliers have 8 bits behind the point, halves are rounded up. Where a ratio of scales is not between 2**-8 and
    2**7, XNNPACK leaves it to TensorFlow Lite's own kernels.
    """
    numbers = np.arange(256) - given.zero_point
    ratio = np.float32(np.float32(given.scale) / np.float32(made.scale))
    if all(2**-8 <= abs(r) <= 2**7 for r in (ratio, np.float32(ratio * np.float32(slope)))):
        above, below = (int(np.rint(np.float32(256) * r)) for r in (ratio, np.float32(ratio * np.float32(slope))))
        return _table(((made.zero_point << 8) + 128 + numbers * np.where(numbers < 0, below, above)) >> 8)
    real = given.scale / made.scale
    return _table(np.where(numbers < 0, _scaled(numbers, real * slope), _scaled(numbers, real)) + made.zero_point)


def prelu_table(given: Type, made: Type, number: int, scale: float) -> Table:
    """``x``, or where it is below 0 ``x`` times a number of another scale, as TensorFlow Lite's kernel computes it."""
    numbers, real = np.arange(256) - given.zero_point, given.scale / made.scale
    below = _scaled(numbers * number, given.scale * scale / made.scale)
    return _table(np.where(numbers < 0, below, _scaled(numbers, real)) + made.zero_point)


def sum_table(given: Type, number: int, scale: float, made: Type, bounds: tuple[float, float]) -> Table | None:
    """``x`` plus a number of another scale, as XNNPACK adds: factors have 21 bits. To subtract, a scale is negative.

    None where XNNPACK leaves it to TensorFlow Lite's own kernels.
    """
    ratios = [np.float32(np.float32(each) / np.float32(made.scale)) for each in (given.scale, scale)]
    if not all(2**-10 <= abs(ratio) < 2**8 for ratio in ratios):
        return None
    shift = 21 - math.frexp(max(abs(float(ratio)) for ratio in ratios))[1]
    factor, other = (int(np.rint(np.ldexp(np.float64(ratio), shift))) for ratio in ratios)
    sums = (np.arange(256) - given.zero_point) * factor + number * other + (1 << (shift - 1))
    return _bounded((sums >> shift) + made.zero_point, made, bounds)


def product_table(given: Type, number: int, scale: float, made: Type, bounds: tuple[float, float]) -> Table:
    """``x`` times a number of another scale, in float32 as XNNPACK multiplies."""
    ratio = np.float32(np.float32(given.scale) * np.float32(scale)) / np.float32(made.scale)
    products = ((np.arange(256) - given.zero_point) * number).astype(np.float32) * ratio
    return _bounded(np.rint(products).astype(np.int64) + made.zero_point, made, bounds)


def _bounded(numbers: Integers, made: Type, bounds: tuple[float, float]) -> Table:
    lowest, highest = (np.clip(np.rint(end / np.float32(made.scale)) + made.zero_point, 0, 255) for end in bounds)
    return _table(np.clip(numbers, lowest, highest).astype(np.int64))


def joined_table(given: Type, made: Type) -> Table:
    """``x`` on another scale as TensorFlow Lite's concatenation of uint8 has it, in float32: it has none of int8."""
    ratio = np.float32(given.scale) * (np.float32(1) / np.float32(made.scale))
    steps = np.arange(256, dtype=np.float32) * ratio + np.float32(-given.zero_point) * ratio
    return _table((np.sign(steps) * np.floor(np.abs(steps) + np.float32(0.5))).astype(np.int64) + made.zero_point)


def clamped_table(given: Type, made: Type, lo: float, hi: float) -> Table:
    """ReLU and its kin on another scale, as TensorFlow Lite's kernel computes it: rounded twice where scales shrink."""
    numbers = _scaled(np.arange(256) - given.zero_point, given.scale / made.scale) + made.zero_point
    return _bounded(numbers, made, (lo, hi))


def hard_swish_table(given: Type, made: Type) -> Table:
    """``x * relu6(x + 3) / 6`` in 16-bit fixed point, as the kernel of TensorFlow Lite (hard_swish.h) computes it."""
    fine = given.scale / 128
    factor, exponent = _short_multiplier(np.float32(fine) / np.float32(made.scale))
    gate_factor, gate_exponent = _short_multiplier(np.float32(fine) / np.float32(3 / 32768))
    x = (np.arange(256) - given.zero_point) * 128
    linear = _high_product(x, factor)
    gate = _saturated(x << max(gate_exponent - 1, 0))
    gate = _high_product(gate, gate_factor)
    gate = _saturated(gate << 1) if gate_exponent > 0 else _halved(gate, -gate_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * linear
    product = np.sign(product) * (np.abs(product) >> 15)  # toward zero
    return _table(_halved(product, -exponent) + made.zero_point)


def _multiplier(real: float | np.floating[Any]) -> tuple[int, int]:
    """A 32-bit factor with its point before the first bit, and a power of two."""
    fraction, exponent = math.frexp(float(real))
    factor = math.floor(fraction * (1 << 31) + 0.5)
    return (factor // 2, exponent + 1) if factor == 1 << 31 else (factor, exponent)


def _short_multiplier(real: float | np.floating[Any]) -> tuple[int, int]:
    factor, exponent = _multiplier(real)
    return min((factor + (1 << 15)) >> 16, INT16.max), exponent


def _scaled(a: Integers, real: float) -> Integers:
    """``a * real``, rounded to an integer before it is halved and after it."""
    factor, exponent = _multiplier(real)
    product = (a << max(exponent, 0)) * factor
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return _halved(np.sign(nudged) * (np.abs(nudged) >> 31), max(-exponent, 0))


def _high_product(a: Integers, b: int) -> Integers:
    """``a * b / 2**15``, rounded: the upper half of a doubled product of 16 bits."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _saturated(np.sign(nudged) * (np.abs(nudged) >> 15))


def _halved(a: Integers, times: int) -> Integers:
    """``a / 2**times``, halves away from zero."""
    mask = (1 << times) - 1
    return np.asarray((a >> times) + ((a & mask) > (mask >> 1) + (a < 0)), np.int64)


def _saturated(a: Integers) -> Integers:
    return np.clip(a, INT16.min, INT16.max)


def _table(numbers: Integers) -> Table:
    return np.clip(numbers, 0, 255).astype(np.uint8)
