"""How weights lie in a model file: panels of output channels (docs/format.md, "Weights")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PANEL = 8  # output channels that are computed together
QUAD = 4  # input channels whose products with int8 weights are summed at a time
PAIR = 2 * PANEL  # ... and that are stored side by side: a row of 16 is one load of the widest vectors
CHANNELS = np.dtype([("bias", "<i4", PANEL), ("signed_bias", "<i4", PANEL), ("multiplier", "<f4", PANEL)])


def float32(array: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """As float32, -0.0 and denormals made +0.0 (runs take these for zero), too large numbers infinite."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(array, np.float32) + np.float32(0)
    return np.where(np.abs(numbers) < np.finfo(np.float32).tiny, np.float32(0), numbers)


def float16(array: npt.ArrayLike) -> npt.NDArray[np.float16]:
    """The same, rounded to the nearest float16, half to even; denormal float16 stay, which are no denormal float32."""
    with np.errstate(over="ignore"):
        return float32(array).astype(np.float16) + np.float16(0)


def panel_channels(inputs: int, outputs: int, groups: int) -> tuple[int, np.ndarray]:
    """The input channels that each panel of 8 output channels of a grouped convolution reads: ``[lo, lo + kc)``.

    `kc` is the same for every panel, `lo` is an int64 array with an entry for each; without groups, all channels and 0.
    """
    first = np.arange(0, outputs, PANEL)
    last = np.minimum(first + PANEL - 1, outputs - 1)
    per_group = inputs // groups
    g0, g1 = first // (outputs // groups), last // (outputs // groups)
    kc = int((g1 - g0 + 1).max()) * per_group
    return kc, np.minimum(g0 * per_group, inputs - kc)


def pack_conv(weight: np.ndarray, groups: int = 1) -> np.ndarray:
    """Pack ``[N, kh, kw, I / groups]`` as ``[ceil(N / 16), kh * kw * kc, 16]``, K in (ky, kx, channel) order.

    int8: as ``[ceil(N / 16), kh * kw, ceil(kc / 4), 16, 4]``, four channels of an output beside one another. Zero where
    there is no output channel, and where an output channel's group does not read an input channel.
    """
    n, kh, kw, per_group = weight.shape
    kc, lo = panel_channels(per_group * groups, n, groups)
    channel = np.arange(n)
    start = channel // (n // groups) * per_group - lo[channel // PANEL]  # of its group within its panel's channels
    quads = QUAD if weight.dtype == np.int8 else 1
    wide = np.zeros((-(-n // PAIR) * PAIR, kh, kw, -(-kc // quads) * quads), weight.dtype)
    wide[channel[:, None], :, :, start[:, None] + np.arange(per_group)] = weight.transpose(0, 3, 1, 2)
    if quads > 1:
        return np.ascontiguousarray(
            wide.reshape(-1, PAIR, kh * kw, wide.shape[3] // QUAD, QUAD).transpose(0, 2, 3, 1, 4)
        )
    return np.ascontiguousarray(wide.reshape(-1, PAIR, kh * kw * kc).transpose(0, 2, 1))


def pack_depthwise(weight: np.ndarray) -> np.ndarray:
    """Pack ``[kh, kw, C]`` as ``[ceil(C / 16), kh * kw, 16]``, the last panels padded with zeros."""
    kh, kw, c = weight.shape
    padded = np.pad(weight.reshape(kh * kw, c), ((0, 0), (0, -c % PAIR)))
    return np.ascontiguousarray(padded.reshape(kh * kw, -1, PAIR).transpose(1, 0, 2))


def pack_channels(bias: np.ndarray, weight_sums: np.ndarray, multiplier: np.ndarray, zero_point: int) -> np.ndarray:
    """What int8 weights have for each panel: ``ChannelRecord`` of csrc/model/format.h, zeros where there is no channel.

    `weight_sums` are of each output channel's weights, `zero_point` is the input's.
    """
    padded = -len(bias) % PANEL
    records = np.zeros((len(bias) + padded) // PANEL, CHANNELS)
    folded = bias.astype(np.int64) - int(zero_point) * weight_sums.astype(np.int64)
    for name, numbers in (("bias", folded), ("signed_bias", folded + 128 * weight_sums.astype(np.int64))):
        records[name] = (
            np.pad(numbers, (0, padded)).astype(np.uint32, casting="unsafe").view(np.int32).reshape(-1, PANEL)
        )
    records["multiplier"] = np.pad(multiplier, (0, padded)).reshape(-1, PANEL)
    return records
