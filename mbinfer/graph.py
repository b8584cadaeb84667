"""The network as Python sees it before it becomes a file: named NHWC values and the primitive nodes between them.

Importers and the zoo make a `Graph`; `mbinfer.model.save` packs it. Weights are kept in plain layouts here
(convolution ``[out, kh, kw, in / groups]``, depthwise ``[kh, kw, channels]``), float32 or float16, batch norm already
folded; or int8 with a scale for each output channel and an int32 bias, where values are uint8 (docs/quantization.md).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np

ACTIVATIONS = (  # in the order of their numbers in the file
    *("none", "clamp", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh", "prelu"),
    *("elu", "exp", "log", "root", "reciprocal", "softplus", "mish"),
)
SLOPED = ("prelu", "elu")  # activations of one slope for each channel
COLORS = ("RGB", "BGR", "grey")


@dataclass(frozen=True)
class Type:
    """How the numbers of a value are stored; an int8 or uint8 one stands for ``(number - zero_point) * scale``.

    Operators take and make float32 or uint8; int8 is for what the caller holds, behind or before a ``convert``.
    """

    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


@dataclass
class Recipe:
    """How a uint8 picture becomes the network's input: ``x = (u8 - mean) * scale`` per channel.

    `crop` is the side of the central square taken of a picture, as a share of its shorter side.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    color: str = "RGB"
    crop: float = 1.0


Positions = tuple[int, int, int]  # numerator, denominator, term


@dataclass(frozen=True)
class Boxes:
    """The numbers of `candidates` and `nms`.

    least_score: what a box scores more than (candidates). overlap: the share of what two boxes of a class cover that
        both do, more than which costs the lesser one its place; 1: none (nms). scale: of the numbers that say how far
        a box's y, x, height and width are from its anchor's (candidates).
    """

    least_score: float = 0.0
    overlap: float = 0.0
    scale: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass
class Node:
    """One primitive operation; activation included: ``clamp`` with bounds covers ReLU, ReLU6 and Clip, ``prelu`` with
    slopes leaky ReLU.

    `op` is a row of `mbinfer.ops.OPS`, which says how many inputs it takes. ``conv`` covers dense layers: a dense layer
    is the convolution whose kernel is as large as its input. Padding contributes nothing: taps outside the input are
    skipped.

    A node of uint8 values has int8 weights, real weights being ``weight * weight_scale[output channel]``, and an int32
    bias in units of ``input scale * weight_scale``. Its clamp is in real numbers, as everywhere. ``lookup`` has a table
    of 256 uint8 as its weight, ``candidates`` the anchors, float32 ``[height, width, anchors, 4]``: middle y and x,
    height, width; ``norm`` those that `mbinfer.ops.NORM_FACTORS` names.
    """

    op: str
    name: str
    inputs: list[str]
    output: str
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: str = "none"
    clamp: tuple[float, float] = (-np.inf, np.inf)
    counts_padding: bool = False  # avg_pool: divide by kh*kw at the border too
    # where a mean of uint8 rounds them: to "even" steps from the zero point, "up", "away" from 128, or to even numbers,
    # counted "even_from_128" (those of int8) or "even_from_0"; a resize: "even" or "up"
    halves: str = "even"
    first_channel: int = 0  # slice: of the input, below 0 too; candidates: the first class that counts
    softmax: bool = False  # candidates: scores become probabilities of each anchor's classes
    # candidates: a box for each anchor, its best class's, not cut to the picture; nms: classes do not matter
    anchorwise: bool = False
    boxes: Boxes | None = None  # candidates, nms
    window_channels: int = 0  # norm: around each channel, whose squares are summed; 0: all of them
    logarithm: bool = False  # softmax: of what it makes
    centred: bool = False  # norm: of numbers less the mean of their pixel
    # resize, depth_to_space: output row o begins at input row floor((o * numerator + term) / denominator)
    rows: Positions = (0, 0, 0)
    columns: Positions = (0, 0, 0)
    weight: np.ndarray | None = field(default=None, repr=False)
    weight_scale: np.ndarray | None = field(default=None, repr=False)  # of int8 weights, by output channel
    bias: np.ndarray | None = field(default=None, repr=False)
    slopes: np.ndarray | None = field(
        default=None, repr=False
    )  # of prelu: what negative numbers of each channel are multiplied by; of elu: e^x - 1


@dataclass
class Output:
    name: str
    value: str
    shape: tuple[int, ...]  # as the source model gives it; the element order is that of the NHWC value


@dataclass
class State:
    """What a state becomes after a run: value `next`, of the same type and shape, which a node makes. The following run
    reads it.

    initial: its first content, ``[height, width, channels]`` numbers as its type stores them; None: zeros, of quantised
    ones their zero point.
    """

    next: str
    initial: np.ndarray | None = field(default=None, repr=False)


@dataclass
class Graph:
    """Values by name with their ``(height, width, channels)``, nodes in an order that can run, inputs and outputs.

    A state is a value that no node writes: a run reads in it what an earlier one left.
    """

    values: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Recipe | None] = field(default_factory=dict)  # value name -> recipe
    outputs: list[Output] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)  # source, licence, ...
    states: dict[str, State] = field(default_factory=dict)  # value name -> what it becomes
    types: dict[str, Type] = field(default_factory=dict)  # of values by name; float32 where there is none


def free_name(base: str, taken: Container[str]) -> str:
    """A name that is not `taken`, made of `base`."""
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name
