"""Models that onnxruntime has optimised and saved: operators that it fuses, against itself."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from onnx import helper
from onnx_models import agree, make, node, normal, refuse

W = normal(8, 3, 3, 3)


def optimised(model, folder, level) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath, options.log_severity_level = str(folder / "optimised.onnx"), 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def with_domain(*nodes, **constants) -> onnx.ModelProto:
    source = make(*nodes, infer=False, **constants)
    source.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return source


EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
ACTIVATIONS = {
    "Relu": {},
    "Sigmoid": {},
    "Tanh": {},
    "LeakyRelu": {"alpha": 0.2},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
}


@pytest.mark.parametrize("op", [*ACTIVATIONS, "Clip"])
def test_fused_convolutions_agree(op, tmp_path):
    bounds = ("low", "high") if op == "Clip" else ()
    nodes = [node("Conv", "x", "w", "b", to="a"), node(op, "a", *bounds, to="c", **ACTIVATIONS.get(op, {}))]
    source = make(
        *nodes, node("Conv", "c", "v", name="last"), w=W, v=normal(4, 8, 1, 1), b=normal(8), low=-0.5, high=1.5
    )
    found = optimised(source, tmp_path, EXTENDED)
    assert "FusedConv" in {n.op_type for n in found.graph.node}
    agree(found)


def test_fused_sums_agree(tmp_path):
    """A convolution, what is added to it, and an activation, in one operator."""
    fused = helper.make_node("FusedConv", ["a", "v", "b", "a"], ["y"], domain="com.microsoft", activation="Relu")
    agree(with_domain(node("Conv", "x", "w", to="a"), fused, w=W, v=normal(8, 8, 1, 1), b=normal(8)))


def fused(op, *inputs, constants=(), **attrs):
    made = helper.make_node(op, [*inputs], ["y"], name="fused", domain="com.microsoft", **attrs)
    return with_domain(node("Conv", "x", "w", to="a"), made, w=W, **dict(constants))


@pytest.mark.parametrize("op", ["Gelu", "QuickGelu"])
def test_fused_activations_agree(op):
    agree(fused(op, "a", **({"alpha": 1.5} if op == "QuickGelu" else {})))


def test_fused_dense_layers_agree():
    dense = helper.make_node(
        "FusedGemm",
        ["f", "m", "b"],
        ["y"],
        domain="com.microsoft",
        transB=1,
        activation="LeakyRelu",
        activation_alpha=0.3,
    )
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("GlobalAveragePool", "a", to="p"),
        node("Flatten", "p", to="f"),
        dense,
    ]
    agree(with_domain(*nodes, w=W, m=normal(5, 8), b=normal(5)))


def test_other_operators_of_that_domain_are_refused_by_name():
    error = refuse(
        fused("Attention", "a", "m", "b", constants={"m": normal(6, 6), "b": normal(6)}, num_heads=2), "Attention"
    )
    assert "outputs=['a']" in str(error)
