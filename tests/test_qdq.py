"""Quantised ONNX models, as onnxruntime's static quantiser makes them, against onnxruntime's integer kernels."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx_models import make, node
from oracle import graph_to_onnx, random_inputs

import mbinfer
from mbinfer import errors, model
from mbinfer.importers import import_onnx

quantization = pytest.importorskip("onnxruntime.quantization")
U8, S8 = quantization.QuantType.QUInt8, quantization.QuantType.QInt8
FORMATS = [quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator]


class Pictures(quantization.CalibrationDataReader):
    def __init__(self, graph):
        self.left = iter([random_inputs(graph, seed) for seed in range(3)])

    def get_next(self):
        return next(self.left, None)


def quantised(graph, folder, **options) -> onnx.ModelProto:
    logging.disable(logging.WARNING)  # advice of the quantiser
    onnx.save(graph_to_onnx(graph), folder / "real.onnx")
    quantization.quantize_static(folder / "real.onnx", folder / "q.onnx", Pictures(graph), **options)
    return onnx.load(folder / "q.onnx")


def run(source: onnx.ModelProto, inputs: dict) -> dict[str, np.ndarray]:
    """With all of onnxruntime's rewriting, which makes integer kernels of QDQ."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def step_of(source: onnx.ModelProto, output: str) -> float:
    """The scale of an output, found behind what only moves its numbers; a small one where it is float32."""
    nodes = {name: n for n in source.graph.node for name in n.output}
    constants = {t.name: t for t in source.graph.initializer}
    while output in nodes and nodes[output].op_type in ("Reshape", "Transpose", "Identity"):
        output = nodes[output].input[0]
    made = nodes.get(output)
    if made is None or made.op_type != "DequantizeLinear":
        return 1e-3
    return float(numpy_helper.to_array(constants[made.input[1]]).item())


# The oracle writes these as Gather nodes, which the importer does not read.
GATHERED = {"resize", "slice", "shuffle", "depth_to_space"}
UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@settings(max_examples=12, deadline=None, suppress_health_check=UNCHECKED)
@given(
    graph=random_graph().filter(lambda graph: not GATHERED & {node.op for node in graph.nodes}),
    types=st.sampled_from([(U8, S8), (S8, S8), (U8, U8)]),
    per_channel=st.booleans(),
)
def test_random_networks_equal_onnxruntime(form, graph, types, per_channel, tmp_path):
    options = {"quant_format": form, "activation_type": types[0], "weight_type": types[1], "per_channel": per_channel}
    try:
        source = quantised(graph, tmp_path, **options)
        expected = run(source, random_inputs(graph, 7))
    except Exception as error:  # the quantiser's and onnxruntime's own failures
        assert type(error).__module__.startswith("onnx") or isinstance(error, (RuntimeError, ValueError)), error
        return
    session = mbinfer.Session(model.encode(import_onnx(source)))
    found = session.run(**random_inputs(graph, 7))
    found = found if isinstance(found, dict) else {session.outputs[0].name: found}
    for name, array in expected.items():
        steps = np.abs(found[name].reshape(array.shape) - array) / step_of(source, name)
        assert steps.max() < 1.5, name
        if not any(n.op == "softmax" for n in graph.nodes):  # onnxruntime's is made of integer tables
            assert (steps > 0.5).sum() <= max(1, 0.001 * steps.size), name


def test_a_network_of_convolutions_is_all_integers(tmp_path):
    graph = mbinfer.zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=0)
    graph.inputs = dict.fromkeys(graph.inputs)
    source = quantised(graph, tmp_path, activation_type=S8, weight_type=S8, per_channel=True)
    imported = import_onnx(source)
    assert {n.op for n in imported.nodes} == {"convert", "conv", "depthwise", "add", "global_avg_pool", "softmax"} - (
        {"softmax"} if not any(n.op == "softmax" for n in imported.nodes) else set()
    )
    assert all(n.weight_scale is not None for n in imported.nodes if n.weight is not None)
    assert sum(n.op == "convert" for n in imported.nodes) == 2, "at the input and at the output"
    session = mbinfer.Session(model.encode(imported))
    (name,), inputs = graph.inputs, random_inputs(graph, 7)
    (expected,) = run(source, inputs).values()
    assert np.array_equal(session.run(inputs[name]).reshape(expected.shape), expected)
    assert session.plan.naive_bytes < 0.3 * mbinfer.Session(model.encode(graph)).plan.naive_bytes


def quantise_nodes(to: str, scale="s", zero="z") -> list:
    return [
        node("QuantizeLinear", to, scale, zero, to=f"{to}q"),
        node("DequantizeLinear", f"{to}q", scale, zero, to=f"{to}d"),
    ]


@pytest.mark.parametrize(
    "constants, words",
    [
        ({"s": np.float32([0.1, 0.2]), "z": np.zeros(2, np.int8)}, "2 scales"),
        ({"s": np.float32(-1), "z": np.int8(0)}, "scale -1"),
    ],
)
def test_what_is_no_such_type_is_refused(constants, words):
    source = make(*quantise_nodes("x"), node("Relu", "xd"), infer=False, **constants)
    source.opset_import[0].version = 21
    with pytest.raises(errors.UnsupportedError, match=words):
        import_onnx(source)


def test_dynamic_quantisation_is_named():
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=1),
    ]
    with pytest.raises(errors.UnsupportedError, match="dynamically quantised"):
        import_onnx(make(*nodes, w=np.ones((4, 3, 3, 3), np.uint8), infer=False))
