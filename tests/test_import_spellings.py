"""Networks as exporters write them, one idea in its many spellings: ReLU6, weights that are listed as inputs, outputs
in the middle of what is otherwise fused.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import BN, W, agree, make, node, normal, ops
from oracle import assert_close, run_onnx

import mbinfer
from mbinfer import model as model_file
from mbinfer.errors import Error
from mbinfer.importers import import_onnx

CONV = node("Conv", "x", "w", to="c")
F = np.float32


def cast(source, to):
    return helper.make_node("Cast", [source], [to], to=TensorProto.FLOAT)


def constant(value, to):
    return helper.make_node("Constant", [], [to], value_float=value)


BETWEEN = node("Clip", "c", "lo", "hi")
BOUNDS = {"lo": F(0), "hi": F(6)}
# What follows the convolution, with its opset and constants.
CLIPS = {
    "attributes": (8, [node("Clip", "c", min=0.0, max=6.0)], {}),
    "the attribute min": (10, [node("Clip", "c", min=0.0)], {}),
    "the attribute max": (10, [node("Clip", "c", max=1.5)], {}),
    "no attribute": (10, [node("Clip", "c")], {}),
    "inputs": (11, [BETWEEN], BOUNDS),
    "no input min": (13, [node("Clip", "c", "", "hi")], {"hi": F(1)}),
    "no input max": (13, [node("Clip", "c", "lo")], {"lo": F(-0.5)}),
    "no input": (13, [node("Clip", "c")], {}),
    "a lower bound above zero": (13, [BETWEEN], {"lo": F(0.5), "hi": F(1)}),
    "bounds that nodes hold": (13, [constant(0.0, "lo"), constant(6.0, "hi"), BETWEEN], {}),
    "bounds cast from integers": (13, [cast("l", "lo"), cast("h", "hi"), BETWEEN], {"l": 0, "h": 6}),
    "Max, then Min": (13, [node("Max", "c", "lo", to="m"), node("Min", "m", "hi")], BOUNDS),
    "Min, then Max": (8, [node("Min", "c", "hi", to="m"), node("Max", "m", "lo")], BOUNDS),
    "Relu, then Min of rank 1": (13, [node("Relu", "c", to="m"), node("Min", "m", "hi")], {"hi": F([6])}),
    "Relu, then Min of rank 4": (13, [node("Relu", "c", to="m"), node("Min", "hi", "m")], {"hi": F([[[[6]]]])}),
    "two Clips": (13, [node("Clip", "c", "lo", "hi", to="m"), node("Clip", "m", "hi", "top")], {**BOUNDS, "top": F(9)}),
}


@pytest.mark.parametrize("what", CLIPS)
def test_relu6_is_part_of_its_convolution(what):
    opset, nodes, constants = CLIPS[what]
    assert ops(agree(make(CONV, *nodes, opset=opset, w=W * 4, **constants))) == ["conv"]


def test_relu6_of_two_relus():
    """6 - relu(6 - relu(x))."""
    nodes = [node("Relu", "c", to="m"), node("Sub", "six", "m", to="n"), node("Relu", "n", to="o")]
    agree(make(CONV, *nodes, node("Sub", "six", "o"), w=W * 4, six=F(6)))


def test_a_minimum_above_the_maximum_gives_the_maximum():
    agree(make(CONV, BETWEEN, w=W, lo=F(2), hi=F(1)))


CLASSIFIER = [CONV, node("BatchNormalization", "c", *BN, to="n"), node("Relu", "n", to="r")]
CLASSIFIER += [node("GlobalAveragePool", "r", to="p"), node("Flatten", "p", to="f"), node("Gemm", "f", "d", "e")]
UNREAD = [
    (TensorProto.FLOAT, (1, 3, 8, 8)),
    (TensorProto.BOOL, ()),
    (TensorProto.INT64, (1,)),
    (TensorProto.FLOAT, (4,)),
]


@pytest.mark.parametrize("unread", [None, *UNREAD], ids=str)
@pytest.mark.parametrize("picture_last", [False, True])
def test_weights_listed_as_inputs_are_weights(unread, picture_last):
    """As exporters did before initializers could be anything else."""
    weights = {"w": W, **BN, "d": normal(4, 5), "e": normal(5)}
    model = make(*CLASSIFIER, opset=9, **weights)
    model.ir_version = 3
    if picture_last:
        picture = model.graph.input.pop()
    model.graph.input.extend(helper.make_tensor_value_info(name, 1, array.shape) for name, array in weights.items())
    if picture_last:
        model.graph.input.append(picture)
    picture = normal(1, 3, 8, 8)
    expected = run_onnx(model, {"x": picture})
    if unread:
        model.graph.input.append(helper.make_tensor_value_info("unread", *unread))
    graph = import_onnx(model)
    assert list(graph.inputs) == ["x"]
    assert_close({"y": mbinfer.Session(model_file.encode(graph)).run(picture.transpose(0, 2, 3, 1))}, expected)


def test_an_output_of_every_name_in_a_fused_block():
    """Alone and together, on every schedule."""
    nodes = [node("Conv", "x", "w", to="stem", pads=[1] * 4), node("BatchNormalization", "stem", *BN, to="norm")]
    nodes += [node("Clip", "norm", "lo", "hi", to="act"), node("Conv", "act", "e", to="wide")]
    nodes += [
        node("Clip", "wide", "lo", "hi", to="wide6"),
        node("Conv", "wide6", "k", to="deep", pads=[1] * 4, group=8),
    ]
    nodes += [node("Clip", "deep", "lo", "hi", to="deep6"), node("Conv", "deep6", "q", to="thin")]
    nodes += [node("Add", "act", "thin", to="sum"), node("Relu", "sum", to="last")]
    weights = {"w": W, **BN, **BOUNDS, "e": normal(8, 4, 1, 1), "k": normal(8, 1, 3, 3), "q": normal(4, 8, 1, 1)}
    names, picture = [n.output[0] for n in nodes], normal(1, 3, 12, 9)
    for one, name in zip(nodes, names):
        one.name = name
    whole = make(*nodes, shape=picture.shape, outputs=names, **weights)
    expected = {name: a.transpose(0, 2, 3, 1) for name, a in run_onnx(whole, {"x": picture}).items()}
    ways = [{"schedule": way} for way in ("auto", "naive", "layerwise", "fused", "streamed")] + [
        {"memory_limit": "least"}
    ]
    for taps in [*([name] for name in names), ["stem", "act", "last"], ["wide6", "sum"], names]:
        file = model_file.encode(import_onnx(whole, outputs=taps))
        for way in ways:
            session = mbinfer.Session(file, **way)
            made = session.run(picture.transpose(0, 2, 3, 1))
            made = made if isinstance(made, dict) else {session.outputs[0].name: made}
            assert_close(made, {name: expected[name] for name in taps})


def test_one_value_under_two_names():
    graph = agree(make(node("Conv", "x", "w"), node("Identity", "y", to="z"), w=W, outputs=["y", "z"]))
    assert [output.name for output in graph.outputs] == ["y", "z"]


@pytest.mark.parametrize("second", ["y", "x", "w"], ids=["an output twice", "an input", "a constant"])
def test_odd_outputs_run_or_are_named(second):
    model = make(node("Conv", "x", "w"), w=W, infer=False)
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    model.graph.output.append(helper.make_tensor_value_info(second, 1, None))
    model.graph.output[-1].type.tensor_type.shape.SetInParent()
    picture = normal(1, 3, 8, 8)
    try:
        session = mbinfer.Session(model_file.encode(import_onnx(model)))
    except Error as error:
        assert repr(second) in str(error)
        return
    made = session.run(picture.transpose(0, 2, 3, 1))
    made = made["y"] if isinstance(made, dict) else made
    assert_close({"y": made}, {"y": run_onnx(alone, {"x": picture})["y"].transpose(0, 2, 3, 1)})


@pytest.mark.parametrize("op", ["PRelu", "Upsample", "Resize"])
def test_pictures_with_channels_last_keep_their_layout(op):
    """Operators that take any layout do not read the rows of a picture as channels."""
    scales = np.array([1, 2, 2, 1], np.float32)
    if op == "PRelu":
        last, opset, constants = node("PRelu", "t", "s", to="r"), 13, {"s": normal(4)}
    elif op == "Upsample":
        last, opset, constants = node("Upsample", "t", "s", to="r"), 9, {"s": scales}
    else:
        options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        last, opset, constants = node("Resize", "t", "", "s", to="r", **options), 13, {"s": scales}
    there, back = node("Transpose", "a", to="t", perm=[0, 2, 3, 1]), node("Transpose", "r", perm=[0, 3, 1, 2])
    graph = agree(make(node("Conv", "x", "w", to="a"), there, last, back, opset=opset, w=W, **constants))
    assert len(graph.nodes) <= 2
