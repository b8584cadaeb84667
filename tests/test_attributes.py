"""Every attribute of an ONNX operator is honoured or refused, and what looks like an activation is one.

Each supported operator is converted with each of its attributes at values that exporters do not write by default. What
is not refused has to agree with onnxruntime, or with onnx's own reference where that does not run it.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, reference
from onnx_models import make, node, normal
from oracle import run_onnx

import mbinfer
from mbinfer import errors, model
from mbinfer.importers import import_onnx
from mbinfer.importers.onnx.lowering import Lowering

SHAPE = (1, 4, 6, 5)


def told(source: onnx.ModelProto, nhwc: bool = False) -> str:
    """ "refused" or "agrees"; anything else is an assertion that fails."""
    try:
        graph = import_onnx(source)
    except errors.UnsupportedError as error:
        assert len(str(error)) > 20
        return "refused"
    except errors.FormatError:  # onnx's checker or shape inference, which know the operator
        return "refused"
    data = {}
    for value in source.graph.input:
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        data[value.name] = (normal(*sizes) * (1 if kind == np.float32 else 50)).astype(kind)
    try:
        expected = run_onnx(source, data)
    except Exception:
        names = [output.name for output in source.graph.output]
        expected = dict(zip(names, reference.ReferenceEvaluator(source).run(None, data)))
    session = mbinfer.Session(model.encode(graph))
    given = {name: a.transpose(0, 2, 3, 1) if a.ndim == 4 and not nhwc else a for name, a in data.items()}
    found = session.run(**{info.name: given[info.name].reshape(info.shape) for info in session.inputs})
    found = found if isinstance(found, dict) else {session.outputs[0].name: found}
    for name, array in expected.items():
        array = np.asarray(array)
        array = array.transpose(0, 2, 3, 1) if array.ndim == 4 and not nhwc else array
        assert found[name].shape == array.shape
        np.testing.assert_allclose(np.float64(found[name]), np.float64(array), 1e-4, 1e-4)
    return "agrees"


# What an operator reads beside its picture, by name, and the attributes that it needs. Opset 23 where not said.
W, V3 = normal(4, 4, 3, 3), {"g": np.ones(4) * 2, "b": np.ones(4), "m": np.ones(4) / 2, "v": np.ones(4) * 3}
BASES: dict[str, tuple[dict, dict]] = {
    "AveragePool": ({}, {"kernel_shape": (3, 2)}),
    "BatchNormalization": (V3, {}),
    "Cast": ({}, {"to": TensorProto.FLOAT}),
    "Concat": ({}, {"axis": 1}),
    "Conv": ({"w": W}, {}),
    "ConvTranspose": ({"w": W}, {"strides": (2, 2)}),
    "DepthToSpace": ({}, {"blocksize": 2}),
    "GroupNormalization": ({"g": V3["g"], "b": V3["b"]}, {"num_groups": 2}),
    "InstanceNormalization": ({"g": V3["g"], "b": V3["b"]}, {}),
    "LRN": ({}, {"size": 3}),
    "LayerNormalization": ({"g": np.ones(5) * 2}, {}),
    "MaxPool": ({}, {"kernel_shape": (3, 2)}),
    "PRelu": ({"a": 0.3}, {}),
    "Pad": ({"p": [0, 0, 1, 1, 0, 0, 1, 0]}, {}),
    "QuantizeLinear": ({"s": 0.02}, {}),
    "RMSNormalization": ({"g": np.ones(5) * 2}, {}),
    "Reshape": ({"s": [0, -1]}, {}),
    "Resize": ({"": None, "sc": [1, 1, 1.5, 2]}, {"mode": "linear"}),
    "SpaceToDepth": ({}, {"blocksize": 1}),
    "Split": ({}, {"num_outputs": 2}),
}
# Values to try, by attribute; what an operator needs of an attribute is one of them.
VALUES: dict[str, list] = {
    "alpha": [0.25, 2.0],
    "antialias": [1],
    "approximate": ["tanh"],
    "auto_pad": ["SAME_UPPER", "SAME_LOWER", "VALID"],
    "axes": [[2, 3], [-1]],
    "axis": [0, 1, 2, -1, -3],
    "beta": [0.25, 0.5],
    "bias": [0.5],
    "block_size": [2],
    "blocksize": [1, 2],
    "ceil_mode": [1],
    "coordinate_transformation_mode": ["asymmetric", "align_corners", "pytorch_half_pixel", "tf_crop_and_resize"],
    "count_include_pad": [1],
    "cubic_coeff_a": [-0.5],
    "dilations": [(2, 1)],
    "epsilon": [0.3],
    "exclude_outside": [1],
    "extrapolation_value": [3.0],
    "gamma": [0.5],
    "group": [2, 4],
    "keep_aspect_ratio_policy": ["not_larger"],
    "keepdims": [0],
    "kernel_shape": [(3, 3), (2, 2), (1, 4)],
    "mode": ["nearest", "cubic", "edge", "reflect", "CRD", "linear"],
    "momentum": [0.1],
    "nearest_mode": ["ceil", "floor"],
    "noop_with_empty_axes": [1],
    "num_groups": [1, 4],
    "num_outputs": [2],
    "output_dtype": [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16],
    "output_padding": [(1, 0)],
    "output_shape": [(12, 10), (11, 9), (20, 20)],
    "p": [1],
    "pads": [(1, 0, 0, 1), (0, 1, 2, 0)],
    "perm": [[0, 1, 3, 2], [3, 2, 1, 0]],
    "precision": [TensorProto.FLOAT],
    "round_mode": ["down"],
    "saturate": [0],
    "seed": [5],
    "select_last_index": [1],
    "size": [1, 5],
    "stash_type": [1],
    "storage_order": [1],
    "strides": [(2, 1), (1, 3)],
    "to": [TensorProto.INT32, TensorProto.DOUBLE],
    "training_mode": [1],
    "transA": [1],
    "transB": [1],
    "allowzero": [1],
}
# test_import.py, test_qdq.py, test_onnx_boxes.py, test_stacks.py (in an opset that a runtime has it of)
HAVE_TESTS_OF_THEIR_OWN = ("Gemm", "Upsample", "DequantizeLinear", "NonMaxSuppression", "GlobalLpPool")


def cases():
    for op in sorted(Lowering.handlers):
        try:
            schema = defs.get_schema(op)
        except defs.SchemaError:
            continue  # onnxruntime's own
        for name in sorted(schema.attributes) if op not in HAVE_TESTS_OF_THEIR_OWN else ():
            for value in VALUES[name]:  # a new attribute of ONNX has to be looked at
                yield op, name, value


def built(op: str, attributes: dict) -> onnx.ModelProto:
    constants, needed = BASES.get(op, ({}, {}))
    attributes = {**needed, **attributes}
    if op == "Resize" and "axes" in attributes:
        constants = {**constants, "sc": [1.5, 2][: len(attributes["axes"])]}
    outputs = ["y", "z"] if op == "Split" else ["y"]
    behind = {"QuantizeLinear": "DequantizeLinear", "ArgMax": "Cast"}.get(op)
    inputs = ["x", *(["x"] if op == "Concat" else []), *constants]
    made = onnx.helper.make_node(op, inputs, ["n"] if behind else outputs, name=op, **attributes)
    nodes = [made]
    if behind:
        cast = {"to": TensorProto.FLOAT} if behind == "Cast" else {}
        nodes.append(onnx.helper.make_node(behind, ["n", *constants], outputs, **cast))
    known = {*defs.get_schema(op, 23, "").attributes} if op != "Swish" else set()
    opset = 23 if {*attributes} <= known else defs.onnx_opset_version()
    stored = {name: array for name, array in constants.items() if name}
    return make(*nodes, shape=SHAPE, outputs=outputs, opset=opset, infer=False, **stored)


def test_every_attribute_is_honoured_or_refused():
    wrong, counts = [], {"agrees": 0, "refused": 0}
    for op, name, value in cases():
        try:
            counts[told(built(op, {name: value}))] += 1
        except Exception as error:
            wrong.append(f"{op} {name}={value}: {error!r}"[:300])
    assert not wrong, "\n".join(wrong)
    assert counts["agrees"] > 80 and counts["refused"] > 30, counts


GATES = ("Sigmoid", "HardSigmoid", "Tanh", "Relu", "Erf", "Identity")


def test_what_looks_like_an_activation_is_one():
    """x times functions of x: SiLU, GELU and hard-swish where that is what they make, a product everywhere else."""
    counts = {"agrees": 0, "refused": 0}
    for first, second, middle in itertools.product(GATES, GATES, (False, True)):
        nodes = [node("Mul", "x", "s", to="a"), node(first, "a", to="b")]
        if middle:
            nodes += [node("Add", "b", "o", to="c"), node("Clip", "c", "lo", "hi", to="d")]
        nodes += [node(second, "d" if middle else "b", to="e"), node("Mul", "x", "e")]
        bounds = {"o": 1.0, "lo": 0.3, "hi": 1.5} if middle else {}
        counts[told(make(*nodes, infer=False, s=1.0 if first != "Erf" else 0.5**0.5, **bounds))] += 1
    assert counts["agrees"] >= 50, counts


GROUPED = {"g": np.array([1.0, 2, 3, 4]), "b": np.array([0.0, 1, 2, 3]), "flat": [1, 4, -1], "whole": [1, 4, 6, 5]}
ODD = {
    "group norm of a picture that was laid flat": make(
        node("Reshape", "x", "flat", to="a"),
        node("GroupNormalization", "a", "g", "b", to="c", num_groups=2),
        node("Reshape", "c", "whole"),
        shape=SHAPE,
        opset=21,
        infer=False,
        **GROUPED,
    ),
    "a power whose negative base has no logarithm": make(node("Pow", "x", "n"), n=9.0),
    "rows that keep their size while columns are resized": make(
        node(
            "Resize",
            "x",
            "",
            "sc",
            coordinate_transformation_mode="tf_half_pixel_for_nn",
            nearest_mode="ceil",
        ),
        opset=13,
        infer=False,
        sc=[1, 1, 1, 2],
    ),
    "nearest of opset 10, where onnxruntime and PyTorch differ": make(
        node("Resize", "x", "sc"), opset=10, infer=False, sc=[1, 1, 0.6, 0.7]
    ),
    "blocks of channels as CRD": make(
        node("SpaceToDepth", "x", blocksize=2, mode="CRD"), opset=28, infer=False
    ),
    "int8 without a zero point": make(
        node("QuantizeLinear", "x", "s", to="q", output_dtype=TensorProto.INT8),
        node("DequantizeLinear", "q", "s"),
        opset=21,
        infer=False,
        s=0.02,
    ),
    **{
        f"{op} of no axes": make(node(op, "x", noop_with_empty_axes=1), opset=18, infer=False)
        for op in ("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceSum", "ReduceMax")
    },
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_spellings(what):
    told(ODD[what])


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("zero", [None, 7])
def test_an_input_of_integers_without_a_zero_point(kind, zero):
    """Whose zero is 0 of its own type."""
    zeros = {} if zero is None else {"z": np.array(zero, kind)}
    source = make(node("DequantizeLinear", "x", "s", *zeros, to="d"), node("Relu", "d"), infer=False, s=0.1, **zeros)
    source.graph.input[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    assert told(source) == "agrees"
