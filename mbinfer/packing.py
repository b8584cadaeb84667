"""How weights lie in a model file: panels of output channels (docs/format.md, "Weights")."""

from __future__ import annotations

import numpy as np

PANEL = 8  # output channels that are computed together
PAIR = 2 * PANEL  # ... and that are stored side by side: a row of 16 is one load of the widest vectors


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
    """Pack float32 ``[N, kh, kw, I / groups]`` as ``[ceil(N / 16), kh * kw * kc, 16]``, K in (ky, kx, channel) order.

    Zero where there is no output channel, and where an output channel's group does not read an input channel.
    """
    n, kh, kw, per_group = weight.shape
    kc, lo = panel_channels(per_group * groups, n, groups)
    channel = np.arange(n)
    start = channel // (n // groups) * per_group - lo[channel // PANEL]  # of its group within its panel's channels
    wide = np.zeros((-(-n // PAIR) * PAIR, kh, kw, kc), np.float32)
    wide[channel[:, None], :, :, start[:, None] + np.arange(per_group)] = weight.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(wide.reshape(-1, PAIR, kh * kw * kc).transpose(0, 2, 1))


def pack_depthwise(weight: np.ndarray) -> np.ndarray:
    """Pack float32 ``[kh, kw, C]`` as ``[ceil(C / 16), kh * kw, 16]``, the last panels padded with zeros."""
    kh, kw, c = weight.shape
    padded = np.pad(weight.reshape(kh * kw, c), ((0, 0), (0, -c % PAIR)))
    return np.ascontiguousarray(padded.reshape(kh * kw, -1, PAIR).transpose(1, 0, 2))
