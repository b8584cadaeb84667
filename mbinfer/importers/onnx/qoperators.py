"""onnxruntime's operators of quantised tensors, and ONNX's, rewritten as the operator between DequantizeLinear and
QuantizeLinear that each is defined as; integers.py then lowers both forms alike. So are those that onnxruntime fuses in
a model that it has optimised: convolutions and dense layers with their activation, GELU in its forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..emitting import SourceNode
from .loading import require_onnx
from .reading import OnnxNode, nodes_of

MICROSOFT = "com.microsoft"
# The operator inside, and how many of the leading triples (tensor, scale, zero point) it reads.
INSIDE = {
    ("", "QLinearConv"): ("Conv", 2),
    ("", "QLinearMatMul"): ("MatMul", 2),
    (MICROSOFT, "QLinearMatMul"): ("MatMul", 2),
    (MICROSOFT, "QGemm"): ("Gemm", 2),
    (MICROSOFT, "QLinearAdd"): ("Add", 2),
    (MICROSOFT, "QLinearMul"): ("Mul", 2),
    (MICROSOFT, "QLinearAveragePool"): ("AveragePool", 1),
    (MICROSOFT, "QLinearGlobalAveragePool"): ("GlobalAveragePool", 1),
    (MICROSOFT, "QLinearSigmoid"): ("Sigmoid", 1),
    (MICROSOFT, "QLinearLeakyRelu"): ("LeakyRelu", 1),
    (MICROSOFT, "QLinearSoftmax"): ("Softmax", 1),
}
NOT_PASSED = ("channels_last", "opset")  # attributes of onnxruntime's own


def expand(nodes: list[OnnxNode], opset: int) -> list[OnnxNode]:
    """`nodes` with quantised operators in their QDQ form, of a model of `opset`."""
    made: list[OnnxNode] = []
    for node in nodes:
        if (node.domain, node.op) == (MICROSOFT, "QLinearConcat"):
            made += _concat(node)
        elif (node.domain, node.op) in INSIDE and _alike(node, opset):
            made += _expanded(node)
        elif node.domain == MICROSOFT and node.op in FUSED:
            made += _named(node, FUSED[node.op](node))
        else:
            made.append(node)
    return made


def _alike(node: OnnxNode, opset: int) -> bool:
    """Whether ONNX's operator means the same: softmax flattened the axes behind its own before opset 13."""
    flattens = node.attrs.get("opset", opset) < 13
    return not node.attrs.get("channels_last", 0) and flattens == (opset < 13)


def _expanded(node: OnnxNode) -> list[OnnxNode]:
    op, count = INSIDE[node.domain, node.op]
    inputs, name = [*node.inputs, *[""] * 9], node.outputs[0]
    rest = inputs[3 * count :]
    bias = ""
    if node.op == "QLinearConv":
        (scale, zero, bias), biased = rest[:3], len(node.inputs) > 8
    elif node.op == "QGemm":
        (bias, scale, zero), biased = rest[:3], bool(rest[0])
    else:
        (scale, zero), biased = rest[:2], False
    parts, reads = [], []
    for i in range(count):
        tensor = inputs[3 * i : 3 * i + 3]
        axis = {"Conv": 0, "MatMul": -1, "Gemm": 0 if node.attrs.get("transB", 0) else 1}.get(op, 0) if i else 0
        parts.append(_node("DequantizeLinear", tensor, f"{name}/real {i}", axis=axis))
        reads.append(f"{name}/real {i}")
    if biased and bias:
        parts.append(_node("Mul", [inputs[1], inputs[4]], f"{name}/bias scale"))
        parts.append(_node("Cast", [bias], f"{name}/bias float", to=1))
        parts.append(_node("Mul", [f"{name}/bias float", f"{name}/bias scale"], f"{name}/bias"))
        reads.append(f"{name}/bias")
    attrs = {key: value for key, value in node.attrs.items() if key not in NOT_PASSED}
    parts.append(_node(op, reads, f"{name}/real", **attrs))
    parts.append(_node("QuantizeLinear", [f"{name}/real", scale, zero], name))
    return _named(node, parts)


def _concat(node: OnnxNode) -> list[OnnxNode]:
    """Its result's scale and zero point, then each tensor with its own."""
    name, parts, reads = node.outputs[0], [], []
    for i in range(2, len(node.inputs) - 2, 3):
        parts.append(_node("DequantizeLinear", node.inputs[i : i + 3], f"{name}/real {i}"))
        reads.append(f"{name}/real {i}")
    parts.append(_node("Concat", reads, f"{name}/real", axis=node.attrs["axis"]))
    parts.append(_node("QuantizeLinear", [f"{name}/real", *node.inputs[:2]], name))
    return _named(node, parts)


def _node(op: str, inputs: list[str], output: str, **attrs: Any) -> Any:
    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    return require_onnx().helper.make_node(op, inputs, [output], **attrs)


def _named(node: SourceNode, protos: list[Any]) -> list[OnnxNode]:
    """The nodes of `protos`, which messages call as the one that they stand for."""
    onnx = require_onnx()
    made = nodes_of(onnx.helper.make_graph(protos, "expanded", [], []))
    for part in made:
        part.name = node.name
    return made


def _activated(node: SourceNode) -> list[Any]:
    """FusedConv and FusedGemm: the operator, what is added to it, and its activation."""
    op, name, inputs = node.op[len("Fused") :], node.outputs[0], [*node.inputs, *[""] * 4]
    kind = node.attrs.get("activation", "")
    attrs = {key: value for key, value in node.attrs.items() if not key.startswith("activation")}
    parts = [_node(op, inputs[:3], f"{name}/{op}", **attrs)]
    if inputs[3]:
        parts.append(_node("Add", [f"{name}/{op}", inputs[3]], f"{name}/sum"))
    given = node.attrs.get("activation_params") or [
        node.attrs[key] for key in ("activation_alpha", "activation_beta") if key in node.attrs
    ]
    named = dict(zip(("min", "max") if kind == "Clip" else ("alpha", "beta"), given))
    if kind:
        parts.append(_node(kind, [parts[-1].output[0]], name, **named))
    else:
        parts[-1].output[0] = name
    return parts


def _gelu(node: SourceNode) -> list[Any]:
    """GELU of the first input plus the second, where there is one."""
    name, parts, approximate = node.outputs[0], [], "tanh" if node.op == "FastGelu" else "none"
    if len(node.inputs) > 1 and node.inputs[1]:
        parts.append(_node("Add", node.inputs[:2], f"{name}/sum"))
    x = parts[0].output[0] if parts else node.inputs[0]
    return [*parts, _node("Gelu", [x], name, approximate=approximate)]


def _quick_gelu(node: SourceNode) -> list[Any]:
    """``x * sigmoid(alpha * x)``."""
    name = node.outputs[0]
    return [
        _node("Constant", [], f"{name}/alpha", value_float=node.attrs.get("alpha", 1.702)),
        _node("Mul", [node.inputs[0], f"{name}/alpha"], f"{name}/inside"),
        _node("Sigmoid", [f"{name}/inside"], f"{name}/gate"),
        _node("Mul", [node.inputs[0], f"{name}/gate"], name),
    ]


def _same(node: SourceNode) -> list[Any]:
    return [_node(node.op, node.inputs, node.outputs[0], **node.attrs)]


FUSED: dict[str, Callable[[SourceNode], list[Any]]] = {
    **dict.fromkeys(("FusedConv", "FusedGemm"), _activated),
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu"), _gelu),
    "QuickGelu": _quick_gelu,
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _same),
}
