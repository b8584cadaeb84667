"""A hypothesis strategy for random small ONNX models as exporters write them: PyTorch's NCHW, tf2onnx's NHWC style."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from graphs import CHANNELS
from hypothesis import strategies as st
from onnx import helper

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
OPSETS = [7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 21, 24]


@dataclass
class OnnxCase:
    """A model, whether its input is NHWC, and the names of its rank-4 outputs in NCHW."""

    model: onnx.ModelProto
    nhwc_input: bool
    nchw_outputs: set[str]

    def inputs(self) -> tuple[dict, dict]:
        """The same picture for the model and, NHWC, for mbinfer."""
        shape = [d.dim_value or 1 for d in self.model.graph.input[0].type.tensor_type.shape.dim]
        picture = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        nhwc = picture if self.nhwc_input or len(shape) != 4 else picture.transpose(TO_NHWC)
        return {"x": picture}, {"x": np.ascontiguousarray(nhwc.reshape(1, *[1] * (4 - nhwc.ndim), *nhwc.shape[1:]))}

    def as_nhwc(self, outputs: dict) -> dict:
        return {name: a.transpose(TO_NHWC) if name in self.nchw_outputs else a for name, a in outputs.items()}


@dataclass(frozen=True)
class Picture:
    name: str
    h: int
    w: int
    c: int
    nhwc: bool


@st.composite
def random_onnx(draw, max_blocks: int = 5) -> OnnxCase:
    """Conv, batch norm, activations in many spellings, pads, pools, residuals, transposes, heads; opset 7 up."""
    net = OnnxBuilder(
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        draw(st.sampled_from(OPSETS)),
        tf_style=draw(st.booleans()),
        constant_nodes=draw(st.booleans()),
    )
    x = Picture(
        "x", draw(st.integers(2, 13)), draw(st.integers(2, 13)), draw(st.sampled_from([1, 3, 4, 8, 10])), net.tf_style
    )
    batch = draw(st.sampled_from([1, "batch"]))
    shape = (batch, x.h, x.w, x.c) if x.nhwc else (batch, x.c, x.h, x.w)
    x = convolution(draw, net, x)  # what tells the layout of the input
    seen = [x]
    for _ in range(draw(st.integers(1, max_blocks))):
        x = draw(st.sampled_from(BLOCKS))(draw, net, x, seen)
        seen.append(x)
    outputs, nchw = [], set()
    if draw(st.booleans()):
        outputs.append(head(draw, net, x))
    extra = draw(st.lists(st.sampled_from(seen), max_size=2, unique=True)) if outputs else [x]
    for picture in extra:
        outputs.append(picture.name)
        if not picture.nhwc:
            nchw.add(picture.name)
    rank4 = {picture.name for picture in seen}
    infos = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * (4 if name in rank4 else 2))
        for name in outputs
    ]
    graph = helper.make_graph(
        net.nodes, "random", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)], infos, net.constants
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", net.opset)], producer_name="tests", ir_version=8
    )
    return OnnxCase(model, net.tf_style, nchw)


class OnnxBuilder:
    def __init__(self, rng, opset: int, tf_style: bool, constant_nodes: bool):
        self.rng, self.opset, self.tf_style, self.constant_nodes = rng, opset, tf_style, constant_nodes
        self.nodes, self.constants, self.count = [], [], 0

    def node(self, op: str, inputs: list[str], **attrs) -> str:
        self.count += 1
        name = f"t{self.count}"
        self.nodes.append(
            helper.make_node(op, inputs, [name], name=f"{op}_{self.count}" if self.count % 3 else "", **attrs)
        )
        return name

    def constant(self, array, dtype=np.float32) -> str:
        tensor = onnx.numpy_helper.from_array(np.array(array, dtype), f"c{len(self.constants)}")
        if self.constant_nodes:
            return self.node("Constant", [], value=tensor)
        self.constants.append(tensor)
        return tensor.name

    def normal(self, *shape, scale: float = 1.0) -> str:
        return self.constant(self.rng.standard_normal(shape) * scale)

    def per_channel(self, x: Picture, low: float, high: float) -> str:
        shape = (x.c,) if x.nhwc else (x.c, 1, 1)
        return self.constant(self.rng.uniform(low, high, shape))

    def to(self, x: Picture, nhwc: bool) -> Picture:
        if x.nhwc == nhwc:
            return x
        return replace(x, name=self.node("Transpose", [x.name], perm=TO_NHWC if nhwc else TO_NCHW), nhwc=nhwc)

    def styled(self, x: Picture) -> Picture:
        """tf2onnx transposes back after each op that needs NCHW."""
        return self.to(x, self.tf_style)

    def reshape(self, name: str, shape) -> str:
        return self.node("Reshape", [name, self.constant(shape, np.int64)])


def pads_and_size(draw, x: Picture, kernel: int, stride: int, dilation: int = 1, most: int | None = None):
    reach = dilation * (kernel - 1) + 1
    most = reach // 2 if most is None else most
    pads = [draw(st.integers(0, most)) for _ in range(4)]
    h, w = ((n + pads[i] + pads[i + 2] - reach) // stride + 1 for i, n in enumerate((x.h, x.w)))
    return pads, h, w


def convolution(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    x = net.to(x, False)
    kernel, stride = draw(st.sampled_from([1, 3, 5, 7])), draw(st.sampled_from([1, 2]))
    dilation = draw(st.sampled_from([1, 1, 2]))
    groups = draw(st.sampled_from([1, 1, *[g for g in range(2, 21) if x.c % g == 0]]))
    outputs = draw(st.sampled_from([groups, 2 * groups, 3 * groups])) if groups > 1 else draw(CHANNELS)
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    pads, h, w = pads_and_size(draw, x, kernel, stride, dilation)
    attrs = {"pads": pads}
    if auto.startswith("SAME") and dilation == 1:  # onnxruntime refuses SAME with dilation
        attrs, h, w = {"auto_pad": auto}, -(-x.h // stride), -(-x.w // stride)
    elif auto == "VALID":
        reach = dilation * (kernel - 1) + 1
        attrs, h, w = {"auto_pad": auto}, (x.h - reach) // stride + 1, (x.w - reach) // stride + 1
    if min(h, w) < 1:
        return convolution_1x1(draw, net, x)
    weight = net.normal(outputs, x.c // groups, kernel, kernel, scale=(2 / (kernel**2 * x.c / groups)) ** 0.5)
    bias = [net.normal(outputs, scale=0.5)] if draw(st.booleans()) else []
    name = net.node(
        "Conv",
        [x.name, weight, *bias],
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        dilations=[dilation, dilation],
        group=groups,
        **attrs,
    )
    return net.styled(Picture(name, h, w, outputs, False))


def convolution_1x1(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    if x.nhwc and draw(st.booleans()):  # tf.keras Dense over pixels
        outputs = draw(CHANNELS)
        return replace(x, name=net.node("MatMul", [x.name, net.normal(x.c, outputs, scale=x.c**-0.5)]), c=outputs)
    x, outputs = net.to(x, False), draw(CHANNELS)
    name = net.node("Conv", [x.name, net.normal(outputs, x.c, 1, 1, scale=x.c**-0.5)])
    return net.styled(replace(x, name=name, c=outputs))


def batch_norm(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    x = net.to(x, False)
    parts = [net.constant(net.rng.uniform(low, high, x.c)) for low, high in ((0.5, 2), (-1, 1), (-1, 1), (0.2, 2))]
    return net.styled(replace(x, name=net.node("BatchNormalization", [x.name, *parts], epsilon=1e-3)))


def arithmetic(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div"]))
    constant = net.constant(1.5) if draw(st.booleans()) else net.per_channel(x, 0.5, 2)
    flip = op != "Div" and draw(st.booleans())
    return replace(x, name=net.node(op, [constant, x.name] if flip else [x.name, constant]))


def clip(net: OnnxBuilder, name: str, low: float | None, high: float | None) -> str:
    bounds = {"min": low, "max": high}
    if net.opset < 11:
        return net.node("Clip", [name], **{key: bound for key, bound in bounds.items() if bound is not None})
    return net.node("Clip", [name, *["" if bound is None else net.constant(bound) for bound in bounds.values()]])


def activation(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    kind = draw(
        st.sampled_from(
            ["Relu", "relu6", "clip", "max", "Min", "HardSwish", "gate", "gate6", "HardSigmoid", "Sigmoid", "Tanh"]
            + ["silu", "gelu", "LeakyRelu", "PRelu"]
        )
    )
    if kind in ("Relu", "Sigmoid", "Tanh"):
        name = net.node(kind, [x.name])
    elif kind == "silu":
        name = net.node("Mul", [net.node("Sigmoid", [x.name]), x.name])
    elif kind == "gelu":
        if net.opset < 9:
            return x
        gate = net.node("Add", [net.node("Erf", [net.node("Div", [x.name, net.constant(2**0.5)])]), net.constant(1.0)])
        name = net.node("Mul", [net.node("Mul", [x.name, gate]), net.constant(0.5)])
    elif kind == "LeakyRelu":
        name = net.node("LeakyRelu", [x.name], alpha=0.2)
    elif kind == "PRelu":
        name = net.node("PRelu", [x.name, net.per_channel(x, 0.1, 0.6)])
    elif kind == "relu6":
        name = clip(net, x.name, 0.0, 6.0)
    elif kind == "clip":
        name = clip(net, x.name, -0.7, 1.3)
    elif kind == "max":
        name = clip(net, x.name, None, 0.8)
    elif kind == "Min":
        name = net.node("Min", [x.name, net.constant(0.6)]) if net.opset > 7 else net.node("Relu", [x.name])
    elif kind == "HardSwish" and net.opset >= 14:
        name = net.node("HardSwish", [x.name])
    elif kind in ("HardSwish", "gate"):
        name = net.node("Mul", [x.name, net.node("HardSigmoid", [x.name], alpha=1 / 6, beta=0.5)])
    elif kind == "HardSigmoid":
        name = net.node("HardSigmoid", [x.name])
    else:
        gate = clip(net, net.node("Add", [x.name, net.constant(3)]), 0.0, 6.0)
        sixth = draw(st.sampled_from(["gate / 6", "x * gate / 6", "x * gate * (1/6)", "(1/6) * gate"]))
        if sixth == "gate / 6":
            name = net.node("Mul", [net.node("Div", [gate, net.constant(6)]), x.name])
        elif sixth == "(1/6) * gate":
            name = net.node("Mul", [x.name, net.node("Mul", [net.constant(1 / 6), gate])])
        elif sixth == "x * gate / 6":
            name = net.node("Div", [net.node("Mul", [x.name, gate]), net.constant(6)])
        else:
            name = net.node("Mul", [net.node("Mul", [gate, x.name]), net.constant(1 / 6)])
    return replace(x, name=name)


def padding(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    top, left, bottom, right = (draw(st.integers(0, 2)) for _ in range(4))
    pads = [0, top, left, 0, 0, bottom, right, 0] if x.nhwc else [0, 0, top, left, 0, 0, bottom, right]
    if net.opset < 11:
        name = net.node("Pad", [x.name], pads=pads, mode="constant")
    else:
        zero = [net.constant(0.0)] if draw(st.booleans()) else []
        name = net.node("Pad", [x.name, net.constant(pads, np.int64), *zero])
    return replace(x, name=name, h=x.h + top + bottom, w=x.w + left + right)


def pool(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    x, kernel, stride = net.to(x, False), draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2]))
    pads, h, w = pads_and_size(draw, x, kernel, stride, most=kernel - 1)
    if min(h, w) < 1:
        return net.styled(x)
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attrs = {"count_include_pad": draw(st.integers(0, 1))} if op == "AveragePool" else {}
    name = net.node(op, [x.name], kernel_shape=[kernel, kernel], strides=[stride, stride], pads=pads, **attrs)
    return net.styled(replace(x, name=name, h=h, w=w))


def residual(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    equal = [p for p in seen if replace(p, name="") == replace(x, name="")]
    other = draw(st.sampled_from(equal)) if equal else x
    return replace(x, name=net.node("Add", [other.name, x.name]))


def inverted_residual(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    """Expand, depthwise, project, add, with batch norm and ReLU6, as MobileNetV2 is exported."""
    before = net.to(x, False)
    hidden, kernel = before.c * draw(st.integers(1, 3)), draw(st.sampled_from([3, 5]))
    x = before
    for outputs, k, groups, act in ((hidden, 1, 1, True), (hidden, kernel, hidden, True), (before.c, 1, 1, False)):
        weight = net.normal(outputs, x.c // groups, k, k, scale=(2 * groups / (x.c * k * k)) ** 0.5)
        x = replace(x, name=net.node("Conv", [x.name, weight], group=groups, pads=[k // 2] * 4), c=outputs)
        parts = [net.constant(net.rng.uniform(low, high, x.c)) for low, high in ((0.5, 2), (-1, 1), (-1, 1), (0.2, 2))]
        x = replace(x, name=net.node("BatchNormalization", [x.name, *parts]))
        if act:
            x = replace(x, name=clip(net, x.name, 0.0, 6.0))
    return net.styled(replace(x, name=net.node("Add", [before.name, x.name])))


def squeeze_excite(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    """A picture times a gate made of its means, in either order."""
    x = net.to(x, False)
    gate = net.node("GlobalAveragePool", [x.name])
    gate = net.node("Relu", [net.node("Conv", [gate, net.normal(4, x.c, 1, 1)])])
    gate = net.node(
        draw(st.sampled_from(["Sigmoid", "HardSigmoid"])), [net.node("Conv", [gate, net.normal(x.c, 4, 1, 1)])]
    )
    pair = [x.name, gate] if draw(st.booleans()) else [gate, x.name]
    return net.styled(replace(x, name=net.node("Mul", pair)))


def pair(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    equal = [p for p in seen if replace(p, name="") == replace(x, name="")]
    other = draw(st.sampled_from(equal)) if equal else x
    ops = ["Mul", "Sub", "Max", "Min"] if net.opset > 7 else ["Mul", "Sub"]
    return replace(x, name=net.node(draw(st.sampled_from(ops)), [x.name, other.name]))


def concat(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    alike = [p for p in seen if (p.h, p.w, p.nhwc) == (x.h, x.w, x.nhwc)] or [x]
    parts = [x, *draw(st.lists(st.sampled_from(alike), max_size=2))]
    if sum(part.c for part in parts) > 60:
        return x
    name = net.node("Concat", [part.name for part in parts], axis=3 if x.nhwc else 1)
    return replace(x, name=name, c=sum(part.c for part in parts))


def moved(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    """Resized, cut, shuffled, or made of blocks; by the operators of new opsets."""
    if net.opset < 13:
        return x
    x = net.to(x, False)
    kind = draw(
        st.sampled_from(["resize", "scale", "slice", "rows", "split", "shuffle", "DepthToSpace", "SpaceToDepth"])
    )
    if kind == "resize":
        h, w = draw(st.integers(1, 15)), draw(st.integers(1, 15))
        ways = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
        attrs = {"mode": "linear", "coordinate_transformation_mode": draw(st.sampled_from(ways))}
        name = net.node("Resize", [x.name, "", "", net.constant([1, x.c, h, w], np.int64)], **attrs)
        return net.styled(replace(x, name=name, h=h, w=w))
    if kind == "scale" and x.h * x.w < 200:
        attrs = {"nearest_mode": draw(st.sampled_from(["floor", "round_prefer_ceil"]))}
        attrs["coordinate_transformation_mode"] = draw(st.sampled_from(["asymmetric", "half_pixel"]))
        name = net.node("Resize", [x.name, "", net.constant([1, 1, 2, 3])], mode="nearest", **attrs)
        return net.styled(replace(x, name=name, h=2 * x.h, w=3 * x.w))
    if kind == "slice":
        begin, end = sorted(draw(st.lists(st.integers(0, x.c), min_size=2, max_size=2, unique=True)))
        parts = [net.constant([n], np.int64) for n in (begin, end, 1)]
        return net.styled(replace(x, name=net.node("Slice", [x.name, *parts]), c=end - begin))
    if kind == "rows":
        step = draw(st.integers(1, 3))
        parts = [net.constant([n], np.int64) for n in (1 if x.h > 1 else 0, 2**31, 2, step)]
        return net.styled(replace(x, name=net.node("Slice", [x.name, *parts]), h=-(-max(1, x.h - 1) // step)))
    if kind == "split" and x.c > 1:
        first = draw(st.integers(1, x.c - 1))
        names = [net.node("Identity", [x.name]) + end for end in "ab"]
        sizes = net.constant([first, x.c - first], np.int64)
        net.nodes.append(helper.make_node("Split", [x.name, sizes], names, name="", axis=1))
        return net.styled(replace(x, name=net.node("Concat", names[::-1], axis=1)))
    if kind == "shuffle":
        groups = draw(st.sampled_from([g for g in range(1, x.c + 1) if x.c % g == 0]))
        name = net.reshape(x.name, [1, groups, x.c // groups, x.h, x.w])
        name = net.node("Transpose", [name], perm=[0, 2, 1, 3, 4])
        return net.styled(replace(x, name=net.reshape(name, [1, x.c, x.h, x.w])))
    if kind == "DepthToSpace" and x.c % 4 == 0 and x.h * x.w < 200:
        name = net.node(kind, [x.name], blocksize=2, mode=draw(st.sampled_from(["DCR", "CRD"])))
        return net.styled(replace(x, name=name, h=2 * x.h, w=2 * x.w, c=x.c // 4))
    if kind == "SpaceToDepth" and x.h % 2 == x.w % 2 == 0 and x.c <= 10:
        return net.styled(replace(x, name=net.node(kind, [x.name], blocksize=2), h=x.h // 2, w=x.w // 2, c=x.c * 4))
    return net.styled(x)


def transposed_convolution(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    x = net.to(x, False)
    if x.h * x.w > 150:
        return net.styled(x)
    kernel, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    extra, pad = draw(st.integers(0, stride - 1)), draw(st.integers(0, (kernel - 1) // 2))
    h, w = (stride * (size - 1) + kernel + extra - 2 * pad for size in (x.h, x.w))
    outputs = draw(st.integers(1, 10))
    inputs = [x.name, net.normal(x.c, outputs, kernel, kernel, scale=0.3), net.normal(outputs)]
    attrs = {"strides": [stride] * 2, "pads": [pad] * 4, "output_padding": [extra] * 2}
    name = net.node("ConvTranspose", inputs, kernel_shape=[kernel] * 2, **attrs)
    return net.styled(replace(x, name=name, h=h, w=w, c=outputs))


def unchanged(draw, net: OnnxBuilder, x: Picture, seen=()) -> Picture:
    name = net.node(draw(st.sampled_from(["Identity", "Dropout"])), [x.name])
    if draw(st.booleans()):  # there and back again
        back = replace(x, name=name)
        return net.to(net.to(back, not x.nhwc), x.nhwc)
    return replace(x, name=name)


def head(draw, net: OnnxBuilder, x: Picture) -> str:
    """A classifier in one of its many spellings; returns the output's name."""
    features = x.c
    kind = draw(st.sampled_from(["pool", "mean", "mean keepdims", "flatten", "shape"]))
    if kind == "pool":
        name = net.node("Flatten", [net.node("GlobalAveragePool", [net.to(x, False).name])])
    elif kind.startswith("mean"):
        axes, keep = ([1, 2] if x.nhwc else [2, 3]), int(kind.endswith("keepdims"))
        new = net.opset >= 18
        name = net.node(
            "ReduceMean",
            [x.name, net.constant(axes, np.int64)] if new else [x.name],
            keepdims=keep,
            **({} if new else {"axes": axes}),
        )
        if keep:
            name = net.reshape(name, [1, -1])
    else:
        features = x.c * x.h * x.w
        if kind == "flatten":
            name = net.node("Flatten", [x.name], axis=1)
        else:  # x.view(x.size(0), -1), as PyTorch traces it
            size = net.node("Gather", [net.node("Shape", [x.name]), net.constant(0, np.int64)], axis=0)
            if net.opset < 13:
                size = net.node("Unsqueeze", [size], axes=[0])
            else:
                size = net.node("Unsqueeze", [size, net.constant([0], np.int64)])
            name = net.node("Reshape", [x.name, net.node("Concat", [size, net.constant([-1], np.int64)], axis=0)])
    outputs = draw(CHANNELS)
    if draw(st.booleans()):
        weight = net.normal(outputs, features, scale=features**-0.5)
        name = net.node("Gemm", [name, weight, net.normal(outputs)], transB=1, alpha=0.5)
    else:
        name = net.node("MatMul", [name, net.normal(features, outputs, scale=features**-0.5)])
        name = net.node("Add", [net.normal(outputs), name])
    return (
        net.node("Softmax", [name], axis=draw(st.sampled_from([1, -1] if net.opset > 10 else [1])))
        if draw(st.booleans())
        else name
    )


BLOCKS = [
    convolution,
    convolution_1x1,
    batch_norm,
    arithmetic,
    activation,
    activation,
    padding,
    pool,
    residual,
    inverted_residual,
    squeeze_excite,
    pair,
    concat,
    moved,
    transposed_convolution,
    unchanged,
]
