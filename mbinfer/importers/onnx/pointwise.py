"""ONNX ops that work element by element or along the channels: batch norm, activations, arithmetic, softmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .. import functions
from ..arithmetic import elementwise
from ..arithmetic import prelu as prelu_of
from ..layout import Tensor
from ..softmax import softmax_over
from .lowering import Lowering, lowers
from .reading import OnnxNode


@lowers("BatchNormalization", sees_all_outputs=True)
def batch_norm(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    if node.attrs.get("training_mode", 0) or any(node.outputs[1:]):  # opset 7 to 13 says it by its outputs
        raise low.unsupported(
            node,
            "exported in training mode, where it normalises by the statistics of the picture at hand",
            "stored statistics: export the model in evaluation mode (PyTorch: model.eval())",
        )
    if not node.attrs.get("spatial", 1):
        raise low.unsupported(node, "statistics for each element (spatial=0)", "statistics for each channel")
    gamma, beta, mean, variance = (low.constant(node, i).astype(np.float64) for i in range(1, 5))
    scale = gamma / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    per_channel = (-1, *[1] * (len(x.shape) - 2))
    scale, bias = (x.per_channel(v.reshape(per_channel)) for v in (scale, beta - mean * scale))
    if scale is None or bias is None:
        raise low.unsupported(
            node, f"statistics that are not per channel of the input {x.shape}", "NCHW, or features of a single pixel"
        )
    return low.affine(node, x, scale[0], bias[0])


@lowers("Relu", "Clip")
def clamp(low: Lowering, node: OnnxNode) -> Tensor:
    lo, hi = 0.0, np.inf
    if any(isinstance(low.env.get(name), Tensor) for name in node.inputs[1:]):
        return _computed_clamp(low, node)
    if node.op == "Clip":
        lo, hi = (
            float(np.asarray(node.attrs.get(name, low.constant(node, i, default))).item())
            for name, i, default in (("min", 1, -np.inf), ("max", 2, np.inf))
        )
    return low.affine(node, low.tensor(node), activation="clamp", clamp=(min(lo, hi), hi))


def _computed_clamp(low: Lowering, node: OnnxNode) -> Tensor:
    """Bounds that the network computes, or one of them."""
    x, bounds = node.inputs[0], [(op, name) for op, name in zip(("Max", "Min"), node.inputs[1:]) if name]
    for i, (op, name) in enumerate(bounds):
        step = replace(node, inputs=[x, name], outputs=node.outputs)
        x = low.fresh(f"{node.outputs[0]}/{op}") if i + 1 < len(bounds) else node.outputs[0]
        low.env[x] = elementwise(low, step, op)
    return low.tensor(replace(node, inputs=[x]))


@lowers("HardSwish")
def hard_swish(low: Lowering, node: OnnxNode) -> Tensor:
    return low.affine(node, low.tensor(node), activation="hard_swish")


CURVES = {op: op.lower() for op in ("Sigmoid", "Tanh", "Erf", "Exp", "Log", "Reciprocal", "Softplus", "Mish")}
CURVES["Sqrt"] = "root"


@lowers(*CURVES)
def curve(low: Lowering, node: OnnxNode) -> Tensor:
    return low.affine(node, low.tensor(node), activation=CURVES[node.op])  # erf: part of a GELU, or refused in the end


@lowers("Elu", "Selu", "Celu")
def elu(low: Lowering, node: OnnxNode) -> Tensor:
    x, alpha = low.tensor(node), node.attrs.get("alpha", 1.67326319 if node.op == "Selu" else 1.0)
    if node.op == "Selu":
        gamma = node.attrs.get("gamma", 1.05070102)
        return functions.elu(low, node, x, gamma * alpha, gamma)
    return functions.elu(low, node, x, alpha, inner=1.0 if node.op == "Elu" else 1 / alpha)


@lowers("Neg", "Abs", "Softsign")
def sign(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    if node.op == "Neg":
        return low.affine(node, x, -1.0)
    return (functions.absolute if node.op == "Abs" else functions.softsign)(low, node, x)


@lowers("Pow")
def power(low: Lowering, node: OnnxNode) -> Tensor:
    base, exponent = low.env.get(node.inputs[0]), low.env.get(node.inputs[1])
    if isinstance(exponent, np.ndarray) and exponent.size == 1:
        return functions.power(low, node, low.tensor(node), float(exponent.item()))
    if isinstance(base, np.ndarray) and base.size == 1:
        return functions.exponential(low, node, low.tensor(node, 1), float(base.item()))
    raise low.unsupported(node, "two computed tensors, or many constants", "one constant as the base or the exponent")


@lowers("Gelu")
def gelu(low: Lowering, node: OnnxNode) -> Tensor:
    approximate = node.attrs.get("approximate", "none")
    return low.affine(node, low.tensor(node), activation="gelu_tanh" if approximate == "tanh" else "gelu")


@lowers("Swish")
def swish(low: Lowering, node: OnnxNode) -> Tensor:
    if node.attrs.get("alpha", 1.0) != 1.0:
        raise low.unsupported(node, f"alpha {node.attrs['alpha']}", "1, which is SiLU")
    return low.affine(node, low.tensor(node), activation="silu")


@lowers("LeakyRelu", "PRelu")
def prelu(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    slopes = np.array(node.attrs.get("alpha", 0.01)) if node.op == "LeakyRelu" else low.constant(node, 1)
    return prelu_of(low, node, x, slopes)


@lowers("HardSigmoid")
def hard_sigmoid(low: Lowering, node: OnnxNode) -> Tensor:
    return low.affine(
        node,
        low.tensor(node),
        node.attrs.get("alpha", 0.2),
        node.attrs.get("beta", 0.5),
        activation="clamp",
        clamp=(0.0, 1.0),
    )


@lowers("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean")
def arithmetic(low: Lowering, node: OnnxNode) -> Tensor:
    if node.op != "Mean":
        return elementwise(low, node, "Add" if node.op == "Sum" else node.op)
    if len(node.inputs) == 1:
        return low.tensor(node)
    return low.affine(node, elementwise(low, node, "Add"), 1 / len(node.inputs))


@lowers("Softmax", "LogSoftmax")
def softmax(low: Lowering, node: OnnxNode) -> Tensor:
    x = low.tensor(node)
    rank = len(x.shape)
    axis = node.attrs.get("axis", 1 if low.opset < 13 else -1) % rank
    dimensions = range(axis, rank) if low.opset < 13 else [axis]  # old opsets flatten the rest into one axis
    return softmax_over(low, node, x, dimensions, node.op == "LogSoftmax")
