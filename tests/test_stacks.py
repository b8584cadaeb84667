"""Stacks of pictures, weighed against one another, and patches of a picture as an axis: against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import agree, make, node, normal, ops, refuse

import mbinfer
from mbinfer import model as model_file

SCHEDULES = ("naive", "layerwise", "fused", "streamed")
C = 8


def stack(names, to="stack"):
    """PyTorch's torch.stack(names, 1)."""
    alone = [node("Unsqueeze", name, "one", to=f"{name} alone", name=f"alone {name}") for name in names]
    return [*alone, node("Concat", *(f"{name} alone" for name in names), to=to, axis=1, name=f"stack {to}")]


def selective(how: str, paths: int, softmax: str = "Softmax"):
    """Selective kernels (arXiv 1903.06586): the share of each path by a softmax over all of them. `how` their shares
    are made: "channels" of one convolution, "rows" of a layer for each path, "alike" for all channels of a path,
    "turned" as PyTorch writes it before opset 13."""
    names = [f"path {i}" for i in range(paths)]
    nodes = [
        node("Conv", "x", f"w{i}", to=name, name=name, pads=[i] * 4, dilations=[max(i, 1)] * 2)
        for i, name in enumerate(names)
    ]
    constants = {f"w{i}": normal(C, 3, *([3, 3] if i else [1, 1])) for i in range(paths)}
    nodes += [*stack(names), node("ReduceSum", "stack", "one", to="all", keepdims=0)]
    nodes += [node("GlobalAveragePool", "all", to="pool"), node("Conv", "pool", "w", to="less", name="less")]
    constants |= {"one": np.array([1]), "two": np.array([3, 4]), "w": normal(4, C, 1, 1)}
    if how == "rows":
        nodes += [node("Flatten", "less", to="flat")]
        for i in range(paths):
            nodes += [node("Gemm", "flat", f"m{i}", to=f"share {i}", name=f"share {i}", transB=1)]
            constants[f"m{i}"] = normal(C, 4)
        nodes += stack([f"share {i}" for i in range(paths)], "shares")
        nodes += [
            node(softmax, "shares", to="soft", axis=1),
            node("Unsqueeze", "soft", "two", to="weights", name="wide"),
        ]
    else:
        each = 1 if how == "alike" else C
        nodes += [node("Conv", "less", "select", to="more", name="more")]
        nodes += [node("Reshape", "more", "parts", to="shares")]
        turned = {"perm": [0, 4, 2, 3, 1]}
        if how == "turned":
            nodes += [node("Transpose", "shares", to="turned", name="turned", **turned)]
            nodes += [node(softmax, "turned", to="soft", axis=4)]
            nodes += [node("Transpose", "soft", to="weights", name="back", **turned)]
        else:
            nodes += [node(softmax, "shares", to="weights", axis=1)]
        constants |= {"select": normal(paths * each, 4, 1, 1), "parts": np.array([1, paths, each, 1, 1])}
    nodes += [
        node("Mul", "stack", "weights", to="weighed"),
        node("ReduceSum", "weighed", "one", keepdims=0, name="sum"),
    ]
    return make(*nodes, shape=(1, 3, 7, 6), **constants)


@pytest.mark.parametrize("paths", [2, 3])
@pytest.mark.parametrize(
    "how, softmax",
    [
        ("channels", "Softmax"),
        ("rows", "Softmax"),
        ("alike", "Softmax"),
        ("turned", "Softmax"),
        ("channels", "LogSoftmax"),
    ],
)
def test_selective_kernels_agree(how, softmax, paths):
    graph = agree(selective(how, paths, softmax))
    assert "depth_to_space" not in ops(graph)  # the shares stay channels
    encoded, picture = model_file.encode(graph), normal(1, 7, 6, 3)
    found = [mbinfer.Session(encoded, schedule=schedule).run(picture) for schedule in SCHEDULES]
    assert all(a.tobytes() == found[0].tobytes() for a in found)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div"])
@pytest.mark.parametrize("turned", [False, True])
def test_one_picture_and_a_stack_agree(op, turned):
    nodes = [node("Conv", "x", f"w{i}", to=f"p{i}", name=f"p{i}") for i in range(3)]
    nodes += [*stack(["p0", "p1"]), node("Unsqueeze", "p2", "one", to="other", name="other")]
    inputs = ("other", "stack") if turned else ("stack", "other")
    nodes += [node(op, *inputs, to="both"), node("ReduceSum", "both", "one", keepdims=0)]
    agree(make(*nodes, one=np.array([1]), **{f"w{i}": normal(C, 3, 3, 3) for i in range(3)}))


def patches(size: int, attention: bool):
    """MobileViTv2 (arXiv 2206.02680): patches as an axis, separable attention over them, and the picture again."""
    height, width, area = 4 * size, 6 * size, size * size
    split, joined = [1, C, 4, size, 6, size], [1, C, size, size, 4, 6]
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("Reshape", "a", "split", to="b", name="to blocks"),
        node("Transpose", "b", to="c", perm=[0, 1, 3, 5, 2, 4], name="to patches"),
        node("Reshape", "c", "patched", to="d", name="patched"),
    ]
    if attention:
        nodes += [
            node("Conv", "d", "qkv", to="e", name="qkv"),
            node("Split", "e", "parts", to=["q", "k", "v"], axis=1),
            node("Softmax", "q", to="scores", axis=3),
            node("Mul", "k", "scores", to="weighed", name="weighed"),
            node("ReduceSum", "weighed", "three", to="context", keepdims=1),
            node("Relu", "v", to="r"),
            node("Mul", "r", "context", to="f", name="times context"),
            node("Conv", "f", "out", to="g", name="out"),
            node("Add", "d", "g", to="h", name="residual"),
        ]
    else:
        nodes += [node("AveragePool", "d", to="h", kernel_shape=[1, 3], pads=[0, 1, 0, 1])]
    nodes += [
        node("Reshape", "h", "joined", to="i", name="to pixels"),
        node("Transpose", "i", to="j", perm=[0, 1, 4, 2, 5, 3], name="to rows"),
        node("Reshape", "j", "whole", name="whole"),
    ]
    constants = {"split": np.array(split), "patched": np.array([1, C, area, 24]), "joined": np.array(joined)}
    constants |= {"whole": np.array([1, C, height, width]), "w": normal(C, 3, 1, 1)}
    if attention:
        constants |= {"parts": np.array([1, C, C]), "three": np.array([3])}
        constants |= {"qkv": normal(2 * C + 1, C, 1, 1), "out": normal(C, C, 1, 1)}
    return make(*nodes, shape=(1, 3, height, width), **constants)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("attention", [False, True])
def test_patches_as_an_axis_agree(size, attention):
    graph = agree(patches(size, attention))
    encoded, picture = model_file.encode(graph), normal(1, 4 * size, 6 * size, 3)
    found = [mbinfer.Session(encoded, schedule=schedule).run(picture) for schedule in SCHEDULES]
    assert all(a.tobytes() == found[0].tobytes() for a in found)


@pytest.mark.parametrize("attrs", [{}, {"p": 1, "pads": [1, 0, 1, 1]}, {"strides": [2, 2], "ceil_mode": 1}])
def test_lp_pools_agree(attrs):
    opset = 18 if "ceil_mode" in attrs else 13
    agree(make(node("Conv", "x", "w", to="a"), node("LpPool", "a", kernel_shape=[3, 2], **attrs), w=W, opset=opset))
    agree(make(node("Conv", "x", "w", to="a"), node("GlobalLpPool", "a", p=attrs.get("p", 2)), w=W))


def test_other_lp_pools_are_refused():
    refuse(make(node("Conv", "x", "w", to="a"), node("LpPool", "a", kernel_shape=[2, 2], p=3), w=W), "p 3", "1 and 2")


W = normal(C, 3, 3, 3)
