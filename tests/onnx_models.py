"""Small ONNX models for the tests of the importer, and what they have to agree with: onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from oracle import assert_close, run_graph, run_onnx

from mbinfer import errors
from mbinfer import model as model_file
from mbinfer.importers import import_onnx

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


FIRST = RNG.bit_generator.state  # every test begins with it
W, W2 = normal(4, 3, 3, 3), normal(5, 4, 3, 3)
BN = {"gamma": normal(4) + 2, "beta": normal(4), "mean": normal(4), "variance": np.abs(normal(4)) + 0.5}


def node(op, *inputs, to="y", **attrs):
    return helper.make_node(op, list(inputs), to if isinstance(to, list) else [to], **{"name": f"the {op}", **attrs})


def make(*nodes, shape=(1, 3, 8, 8), outputs=("y",), opset=13, inputs=("x",), functions=(), infer=True, **constants):
    """An ONNX model of float32 inputs of `shape`; keyword arguments are its constants, integers as int64.

    Arrays of bytes and booleans stay what they are.
    """

    def array(constant):
        constant = np.asarray(constant)
        if constant.dtype.itemsize == 1:
            return constant
        return constant.astype(np.int64 if constant.dtype.kind == "i" else np.float32)

    arrays = [onnx.numpy_helper.from_array(array(constant), name) for name, constant in constants.items()]
    infos = [[helper.make_tensor_value_info(n, 1, s) for n in names] for names, s in ((inputs, shape), (outputs, None))]
    opsets = [helper.make_opsetid("", opset), *[helper.make_opsetid(f.domain, 1) for f in functions]]
    model = helper.make_model(
        helper.make_graph(nodes, "test", *infos, arrays),
        opset_imports=opsets,
        ir_version=8,
        functions=functions,
        producer_name="tests",
        producer_version="1",
    )
    if infer:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in model.graph.output:
        output.type.tensor_type.shape.SetInParent()  # onnx's checker wants one, if of unknown rank
    return model


def agree(model, nhwc_in=False, **options):
    """Import, compare with onnxruntime on random inputs, and return the graph.

    An input of rank 4 is NCHW unless `nhwc_in`, one of rank 3 as the graph has its channels; any other is fed to the
    graph's picture in the order of its elements.
    """
    graph, source, nhwc = import_onnx(model, **options), {}, {}
    model_file.encode(graph)  # which checks it
    for value in model.graph.input:
        shape = options.get("input_shape") or [max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim]
        a = source[value.name] = normal(*shape)
        if value.name in graph.inputs:
            a = a[None] if a.ndim == 3 and len(a) > 1 else a  # a picture without its batch
            a = a.transpose(0, 2, 3, 1) if a.ndim == 4 and not nhwc_in else a
            a = a.transpose(0, 2, 1) if a.ndim == 3 and graph.values[value.name][2] == a.shape[1] else a
            nhwc[value.name] = np.ascontiguousarray(a).reshape(1, *graph.values[value.name])
    nameless = onnx.ModelProto()  # onnxruntime refuses a node name used twice
    nameless.CopyFrom(model)
    for source_node in nameless.graph.node:
        source_node.ClearField("name")
    expected = {name: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a for name, a in run_onnx(nameless, source).items()}
    assert_close(run_graph(graph, nhwc), expected, 1e-5)
    return graph


def ops(graph):
    return [node.op for node in graph.nodes]


def refuse(model, *words, **options):
    with pytest.raises(errors.UnsupportedError) as caught:
        import_onnx(model, **options)
    for word in words:
        assert word in str(caught.value)
    return caught.value
