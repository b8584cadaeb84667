"""A hypothesis strategy for random small TensorFlow Lite networks, in float32 and in integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from tflite_models import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, TfliteBuilder, Values

CHANNELS = st.integers(1, 20)
ACTIVATIONS = st.sampled_from([NONE, RELU, RELU6, RELU_N1_TO_1])


@dataclass
class TfliteCase:
    model: bytes
    inputs: dict[str, np.ndarray]


@st.composite
def random_tflite(draw, dtype: str = "float32", max_blocks: int = 5) -> TfliteCase:
    net = TfliteBuilder(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), dtype)
    shape = (1, draw(st.integers(1, 13)), draw(st.integers(1, 13)), draw(st.sampled_from([1, 3, 4, 8, 10])))
    x = net.input(shape)
    for _ in range(draw(st.integers(1, max_blocks))):
        x = draw(st.sampled_from(BLOCKS))(draw, net, x)
    x = draw(st.sampled_from(HEADS))(draw, net, x)
    if x.index in net.inputs:
        x = net.conv(x, 4, (1, 1))
    net.outputs.append(x.index)
    if dtype == "float32":
        picture = net.rng.standard_normal(shape).astype(np.float32)
    else:
        picture = net.rng.integers(*{"int8": (-128, 128), "uint8": (0, 256)}[dtype], shape).astype(dtype)
    return TfliteCase(net.model(), {"x": picture})


def _window(draw, x: Values, kernels=(1, 2, 3, 5)) -> dict:
    kernel = draw(st.sampled_from(kernels)), draw(st.sampled_from(kernels))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 3)]))
    fits = all(k <= size for k, size in zip(kernel, x.shape[1:3]))
    return {"kernel": kernel, "stride": stride, "padding": draw(st.sampled_from([SAME, VALID])) if fits else SAME}


def conv(draw, net: TfliteBuilder, x: Values) -> Values:
    window, dilation = _window(draw, x), (1, 1)
    if window["stride"] == (1, 1) and window["padding"] == SAME:
        dilation = draw(st.sampled_from([(1, 1), (2, 2), (1, 3)]))
    return net.conv(x, draw(CHANNELS), act=draw(ACTIVATIONS), dilation=dilation, **window)


def depthwise(draw, net: TfliteBuilder, x: Values) -> Values:
    multiplier = draw(st.sampled_from([1, 1, 2, 3])) if x.shape[3] <= 8 else 1
    return net.depthwise(x, act=draw(ACTIVATIONS), multiplier=multiplier, **_window(draw, x))


def residual(draw, net: TfliteBuilder, x: Values) -> Values:
    y = net.conv(x, 2 * x.shape[3], (1, 1), act=RELU6)
    y = net.depthwise(y, (3, 3), act=RELU6)
    return net.add(x, net.conv(y, x.shape[3], (1, 1)), act=draw(ACTIVATIONS))


def pool(draw, net: TfliteBuilder, x: Values) -> Values:
    op = draw(st.sampled_from(["MAX_POOL_2D", "AVERAGE_POOL_2D"]))
    window = _window(draw, x, (1, 2, 3))
    if window["kernel"] == window["stride"] == (1, 1):
        return x  # behind a clamp of its own XNNPACK never writes it: numbers of whatever memory holds
    return net.pool(op, x, **window)


def padded(draw, net: TfliteBuilder, x: Values) -> Values:
    x = net.pad(x, draw(st.sampled_from([(1, 1, 1, 1), (0, 0, 1, 1), (2, 0, 1, 3)])))
    return net.conv(x, draw(CHANNELS), (3, 3), padding=VALID) if min(x.shape[1:3]) >= 3 else x


def curve(draw, net: TfliteBuilder, x: Values) -> Values:
    return net.unary(draw(st.sampled_from(["HARD_SWISH", "RELU6", "RELU"])), x)


def as_it_is(draw, net: TfliteBuilder, x: Values) -> Values:
    return x


def pooled(draw, net: TfliteBuilder, x: Values) -> Values:
    x = net.mean(x, draw(st.booleans()))
    return net.softmax(net.dense(x, draw(CHANNELS)))


def flat(draw, net: TfliteBuilder, x: Values) -> Values:
    x = net.reshape(x, (1, int(np.prod(x.shape))))
    x = net.dense(x, draw(CHANNELS), draw(ACTIVATIONS))
    return net.softmax(x) if draw(st.booleans()) else x


BLOCKS = [conv, conv, depthwise, residual, pool, padded, curve]
HEADS = [as_it_is, pooled, flat]
