"""Hypothesis strategies for random small networks: `random_graph` draws mbinfer graphs, blocks and all.

Shapes and structure are drawn, so that they shrink; weights come from a drawn seed.
"""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from mbinfer.build import LINEAR, GraphBuilder
from mbinfer.graph import Graph

ACTIVATIONS = [
    ("none", (-np.inf, np.inf)),
    ("clamp", (0.0, 6.0)),
    ("clamp", (0.0, np.inf)),
    ("clamp", (-1.0, 2.0)),
    *[(kind, (-np.inf, np.inf)) for kind in ("hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh", "prelu")],
    *[(kind, (-np.inf, np.inf)) for kind in ("elu", "softplus", "mish")],
]
CHANNELS = st.integers(1, 20)


@st.composite
def random_graph(draw, max_blocks: int = 5, channels=CHANNELS, moves: bool = True) -> Graph:
    """Convolutions, separable and inverted-residual blocks, residuals, pools, pads, heads; one or several outputs.

    Kernels 1/3/5/7, strides 1/2, asymmetric pads, dilation, groups, odd sizes, channels that are no multiple of 8; in
    a quarter of them weights of float16.
    `channels` is the strategy for those of the input; without `moves` neither a norm nor an operator that only moves
    numbers is drawn.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    net = GraphBuilder(rng, (draw(st.integers(1, 17)), draw(st.integers(1, 17)), draw(channels)))
    value = "input"
    for _ in range(draw(st.integers(1, max_blocks))):
        value = draw(st.sampled_from(BLOCKS if moves else BLOCKS[:-2]))(draw, net, value)
    value = draw(st.sampled_from(HEADS))(draw, net, value)
    net.output(value)
    if draw(st.integers(0, 3)) == 3:
        store_float16(draw, net.graph)
    inner = [node.output for node in net.graph.nodes if node.output != value]
    for extra in draw(st.lists(st.sampled_from(inner), max_size=2, unique=True)) if inner else ():
        net.output(extra)
    return net.graph


def store_float16(draw, graph: Graph) -> None:
    """Weights of all nodes, or of every other one, become float16."""
    for node in graph.nodes[:: draw(st.integers(1, 2))]:
        if node.weight is not None:
            node.weight = node.weight.astype(np.float16)


def window(draw, dims, kernels=(1, 3, 5, 7), same: bool = False) -> dict:
    """A square kernel, its stride, dilation and pads that leave at least one output."""
    kernel = draw(st.sampled_from(kernels))
    if same:
        return {"kernel": (kernel, kernel), "pads": (kernel // 2,) * 4}
    dilation = draw(st.sampled_from([1, 1, 1, 2, 3]))
    reach = dilation * (kernel - 1)
    pads = [draw(st.integers(0, (reach + 1) // 2)) for _ in range(4)]
    for i in (0, 1):
        pads[i] += max(0, reach + 1 - dims[i] - pads[i] - pads[i + 2])
    stride = draw(st.sampled_from([1, 2]))
    return {
        "kernel": (kernel, kernel),
        "stride": (stride, draw(st.sampled_from([stride, stride, 3 - stride]))),
        "pads": tuple(pads),
        "dilation": (dilation, dilation),
    }


def conv_block(draw, net: GraphBuilder, value: str) -> str:
    dims, channels = net.graph.values[value], draw(CHANNELS)
    groups = draw(st.sampled_from([1, 1, *[g for g in range(2, 21) if dims[2] % g == 0 and channels % g == 0]]))
    return net.convolve(value, channels, draw(st.sampled_from(ACTIVATIONS)), groups=groups, **window(draw, dims))


def separable_block(draw, net: GraphBuilder, value: str) -> str:
    dims = net.graph.values[value]
    value = net.add("depthwise", [value], act=draw(st.sampled_from(ACTIVATIONS)), **window(draw, dims))
    return net.add("conv", [value], draw(CHANNELS), draw(st.sampled_from(ACTIVATIONS)))


def inverted_residual(draw, net: GraphBuilder, value: str) -> str:
    """Expand (or not), depthwise, project linearly; a residual add where the shapes allow it."""
    before, act = value, draw(st.sampled_from(ACTIVATIONS[1:]))
    dims = net.graph.values[value]
    residual, expansion = draw(st.booleans()), draw(st.sampled_from([0, 1, 2, 3, 6]))
    if expansion:
        value = net.add("conv", [value], dims[2] * expansion, act)
    value = net.add("depthwise", [value], act=act, **window(draw, dims, same=residual))
    value = net.add("conv", [value], dims[2] if residual else draw(CHANNELS))
    return net.add("add", [before, value], act=draw(st.sampled_from([LINEAR, act]))) if residual else value


def pool_block(draw, net: GraphBuilder, value: str) -> str:
    dims = net.graph.values[value]
    op = draw(st.sampled_from(["max_pool", "avg_pool"]))
    kernel = tuple(min(draw(st.integers(1, 4)), size) for size in dims[:2])
    pads = tuple(draw(st.integers(0, kernel[i % 2] // 2)) for i in range(4))
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    counts = op == "avg_pool" and any(pads) and draw(st.booleans())
    return net.add(op, [value], kernel=kernel, stride=stride, pads=pads, counts_padding=counts)


def add_block(draw, net: GraphBuilder, value: str) -> str:
    """An add with any value of the same shape, itself included."""
    equal = [name for name, dims in net.graph.values.items() if dims == net.graph.values[value]]
    return net.add("add", [value, draw(st.sampled_from(equal))], act=draw(st.sampled_from(ACTIVATIONS)))


def pair_block(draw, net: GraphBuilder, value: str) -> str:
    """A product, maximum ... with any value of the same shape, or with one number for each channel or pixel."""
    dims = net.graph.values[value]
    equal = [
        name for name, other in net.graph.values.items() if other[:2] in (dims[:2], (1, 1)) and other[2] in (dims[2], 1)
    ]
    if draw(st.integers(0, 3)) == 3:
        equal = [net.add("conv", [value], 1, ("sigmoid", (-np.inf, np.inf)))]
    op = draw(st.sampled_from(["mul", "mul", "sub", "max", "min"]))
    return net.add(op, [value, draw(st.sampled_from(equal))], act=draw(st.sampled_from(ACTIVATIONS)))


def squeeze_excite(draw, net: GraphBuilder, value: str) -> str:
    """The picture times one number for each channel, made of its means."""
    gate = net.add("global_avg_pool", [value])
    gate = net.add("conv", [gate], draw(CHANNELS), ("clamp", (0.0, np.inf)))
    gate = net.add("conv", [gate], net.dims(value)[2], ("sigmoid", (-np.inf, np.inf)))
    return net.add("mul", [value, gate], act=draw(st.sampled_from([LINEAR, ACTIVATIONS[2]])))


def norm_block(draw, net: GraphBuilder, value: str) -> str:
    """Local response, L2 and layer normalisation."""
    window = draw(st.sampled_from([0, 0, 1, 4, 5]))
    numbers = np.float32([draw(st.sampled_from([0.2, 1.0])), 0.5, draw(st.sampled_from([0.5, 0.75, 1.0, 0.6])), 1e-6])
    centred = not window and draw(st.booleans())
    return net.add("norm", [value], weight=numbers, window_channels=window, centred=centred)


def concat_block(draw, net: GraphBuilder, value: str) -> str:
    """The channels of up to three values of one size."""
    dims = net.graph.values[value]
    alike = [name for name, other in net.graph.values.items() if other[:2] == dims[:2] and other[2] <= 40]
    if dims[2] > 40:
        return value
    return net.add("concat", [value, *draw(st.lists(st.sampled_from(alike), min_size=1, max_size=2))])


def moving_block(draw, net: GraphBuilder, value: str) -> str:
    """Another size, some of the channels, their order, blocks of pixels, or pixels of several values."""
    height, width, channels = net.dims(value)
    kind = draw(st.sampled_from(["resize", "resize", "slice", "shuffle", "depth_to_space", "stack"]))
    if kind == "resize":
        size = (draw(st.integers(1, 20)), draw(st.integers(1, 20)))
        taps = draw(st.sampled_from([1, 2]))
        rows, columns = (  # the middle of each pixel, in ONNX's words half_pixel
            (2 * old, 2 * new, old - new) if taps == 2 else (old, new, 0) for old, new in zip((height, width), size)
        )
        return net.add("resize", [value], kernel=(taps, taps), rows=rows, columns=columns, size=size)
    if kind == "slice":
        first = draw(st.integers(-3, channels - 1))
        return net.add("slice", [value], draw(st.integers(max(1, 1 - first), 24)), first_channel=first)
    if kind == "stack":
        alike = [
            name for name, other in net.graph.values.items() if other[2] == channels and math.prod(other[:2]) < 150
        ]
        return net.add("stack", [value, *draw(st.lists(st.sampled_from([value, *alike]), min_size=1, max_size=2))])
    if kind == "shuffle":
        groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        return net.add("shuffle", [value], groups=groups)
    block = draw(st.sampled_from([(2, 2), (1, 2), (3, 1)]))
    if height * block[0] > 30 or width * block[1] > 30:
        return value
    value = net.add("conv", [value], draw(st.integers(1, 9)) * block[0] * block[1])
    return net.add("depth_to_space", [value], rows=(1, block[0], 0), columns=(1, block[1], 0))


def pointwise_block(draw, net: GraphBuilder, value: str) -> str:
    """A batch norm or activation on its own, or zero padding: a depthwise 1x1."""
    pads = draw(st.sampled_from([(0, 0, 0, 0), (1, 0, 2, 1)]))
    return net.add("depthwise", [value], act=draw(st.sampled_from(ACTIVATIONS)), pads=pads)


def no_head(draw, net: GraphBuilder, value: str) -> str:
    return value


def pooled_head(draw, net: GraphBuilder, value: str) -> str:
    """Global average pool, dense, softmax: each but the first or not."""
    value = net.add("global_avg_pool", [value])
    if draw(st.booleans()):
        value = net.add("conv", [value], draw(CHANNELS), draw(st.sampled_from(ACTIVATIONS)))
    return net.add("softmax", [value]) if draw(st.booleans()) else value


def dense_head(draw, net: GraphBuilder, value: str) -> str:
    if net.graph.values[value][0] > 64:  # more rows than a kernel may have
        value = net.add("global_avg_pool", [value])
    return net.add("conv", [value], draw(CHANNELS), kernel=net.graph.values[value][:2])


def softmax_head(draw, net: GraphBuilder, value: str) -> str:
    return net.add("softmax", [value], logarithm=draw(st.booleans()))


BLOCKS = [
    conv_block,
    separable_block,
    inverted_residual,
    inverted_residual,
    pool_block,
    add_block,
    pair_block,
    squeeze_excite,
    concat_block,
    pointwise_block,
    norm_block,
    moving_block,
]
HEADS = [no_head, pooled_head, dense_head, softmax_head]
