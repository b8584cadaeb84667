"""Quantised ONNX models, as onnxruntime's static quantiser makes them, against onnxruntime's integer kernels."""

from __future__ import annotations

import logging
import math

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
from mbinfer.build import GraphBuilder
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
    """The scale of an output, found behind what only moves its numbers; a small one where it is float32.

    A logarithm of softmax moves by no more than a step where one number that it reads does.
    """
    nodes = {name: n for n in source.graph.node for name in n.output}
    constants = {t.name: t for t in source.graph.initializer}
    while output in nodes and nodes[output].op_type in ("Reshape", "Transpose", "Identity", "LogSoftmax"):
        output = nodes[output].input[0]
    made = nodes.get(output)
    if made is None or made.op_type != "DequantizeLinear":
        return 1e-3
    return float(numpy_helper.to_array(constants[made.input[1]]).item())


# The oracle writes these as Gather nodes, which the importer does not read, and a stack as reshapes, which are not
# understood with conversions between them.
GATHERED = {"resize", "slice", "shuffle", "depth_to_space", "stack"}


def comparable(graph) -> bool:
    """Whether onnxruntime's numbers are no chance: in its average pools halves, of even counts, fall either way.

    Nor a softmax of one class, which is 1 here and, in onnxruntime, what 1 is counted as.
    """
    for n in graph.nodes:
        if n.op == "avg_pool" and (math.prod(n.kernel) % 2 == 0 or any(n.pads) and not n.counts_padding):
            return False
        if n.op == "softmax" and graph.values[n.output][2] == 1 or n.op in GATHERED:
            return False
    return True


UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@settings(max_examples=12, deadline=None, suppress_health_check=UNCHECKED)
@given(
    graph=random_graph().filter(comparable),
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
        assert steps.max() < 1.5 and (steps > 0.5).sum() <= max(1, 0.001 * steps.size), name


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
        node("QuantizeLinear", to, scale, zero, to=f"{to}q", name=f"{to}q"),
        node("DequantizeLinear", f"{to}q", scale, zero, to=f"{to}d", name=f"{to}d"),
    ]


@pytest.mark.parametrize(
    "constants, words",
    [
        ({"s": np.float32([0.1, 0.2]), "z": np.zeros(2, np.int8)}, "2 scales.*activations of 8 bits, per tensor"),
        ({"s": np.float32(-1), "z": np.int8(0)}, "scale -1"),
    ],
)
def test_what_is_no_such_type_is_refused(constants, words):
    source = make(*quantise_nodes("x"), node("Relu", "xd"), infer=False, **constants)
    source.opset_import[0].version = 21
    with pytest.raises(errors.UnsupportedError, match=words):
        import_onnx(source)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_integers_that_are_read_with_another_scale_mean_other_numbers(kind):
    scales = {"s": np.float32(0.02), "z": kind(3), "t": np.float32(0.5), "u": kind(7)}
    nodes = [node("QuantizeLinear", "x", "s", "z", to="q"), node("DequantizeLinear", "q", "t", "u")]
    source = make(*nodes, infer=False, **scales)
    picture = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(source))).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), expected)


def pairs(*between, kinds=(np.uint8, np.uint8), scales=(0.05, 0.013, 0.03), zero_points=(3, 10, 90)) -> onnx.ModelProto:
    """A chain of pairs of QuantizeLinear and DequantizeLinear, with a node of each op of `between` between two."""
    constants, nodes, name = {}, [], "x"
    kinds = (*kinds, *[kinds[-1]] * len(between))
    for i, (kind, op) in enumerate(zip(kinds, (*between, "Sigmoid"))):
        constants |= {f"s{i}": np.float32(scales[i]), f"z{i}": kind(zero_points[i])}
        nodes += [
            node("QuantizeLinear", name, f"s{i}", f"z{i}", to=f"q{i}", name=f"q{i}"),
            node("DequantizeLinear", f"q{i}", f"s{i}", f"z{i}", to=f"d{i}", name=f"d{i}"),
        ]
        name = f"d{i}"
        if op:
            nodes.append(node(op, name, to=f"n{i}", name=f"n{i}"))
            name = f"n{i}"
    return make(*nodes, infer=False, outputs=(name,), **constants)


MERGED = [
    pairs(""),
    pairs("", kinds=(np.int8, np.int8)),
    pairs("Identity"),
    pairs("Dropout"),
    pairs("", "Identity"),
    pairs("", scales=(0.02, 0.02), zero_points=(0, 200)),
]
APART = [pairs("Relu"), pairs("", kinds=(np.uint8, np.int8))]


@pytest.mark.parametrize("source, merged", [*((m, True) for m in MERGED), *((m, False) for m in APART)])
def test_pairs_in_a_row_become_one_as_onnxruntime_has_it(source, merged):
    imported = import_onnx(source)
    assert (sum(n.op in ("convert", "lookup") for n in imported.nodes) == 2) == merged
    picture = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(imported)).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, rtol=2e-6)


def test_pairs_that_share_no_number_or_are_read_elsewhere_stay():
    """Of the first onnxruntime makes a scale of 0, and NaN; one of two pairs that others read is not left out."""
    apart = import_onnx(pairs("", zero_points=(0, 255)))
    assert sum(n.op in ("convert", "lookup") for n in apart.nodes) > 2
    read = pairs("")
    read.graph.output.append(helper.make_tensor_value_info("d0", 1, None))
    read.graph.output[1].type.tensor_type.shape.SetInParent()
    picture = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(read))).run(picture.transpose(0, 2, 3, 1))
    for name, expected in run(read, {"x": picture}).items():
        np.testing.assert_allclose(found[name].transpose(0, 3, 1, 2), expected, rtol=2e-6)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 256, 0.00325, 0.7, 3.0])
@pytest.mark.parametrize("kind, twice", [(np.uint8, False), (np.uint8, True), (np.int8, False), (np.int8, True)])
def test_a_softmax_is_counted_in_whole_steps_as_onnxruntime_does(kind, twice, scale):
    """In float32, and by the scale as it stands, where it is of int8 and what it reads or makes is read elsewhere."""
    zero = np.iinfo(kind).min
    constants = {"s": np.float32(0.05), "z": kind(3), "t": np.float32(scale), "u": kind(zero), "one": np.float32(1)}
    nodes = [*quantise_nodes("x"), node("Softmax", "xd", to="p", axis=1), *quantise_nodes("p", "t", "u")]
    nodes.append(node("Sigmoid", "pd", to="y"))
    if twice:
        nodes.append(node("Tanh", "pd", to="other"))
    source = make(*nodes, shape=(1, 7, 8, 8), infer=False, outputs=("y", "other") if twice else ("y",), **constants)
    picture = np.random.default_rng(0).normal(0, 2, (1, 7, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(source))).run(picture.transpose(0, 2, 3, 1))
    expected = run(source, {"x": picture})["y"]
    np.testing.assert_allclose((found["y"] if twice else found).transpose(0, 3, 1, 2), expected, rtol=2e-6)


def test_dynamic_quantisation_is_named():
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z"], ["c"]),
        helper.make_node("Cast", ["c"], ["y"], to=1),
    ]
    with pytest.raises(errors.UnsupportedError, match="dynamically quantised"):
        import_onnx(make(*nodes, w=np.ones((4, 3, 3, 3), np.uint8), infer=False))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_inputs_and_outputs_of_integers(kind, form, tmp_path):
    """A model without its first QuantizeLinear and last DequantizeLinear takes and gives integers."""
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 3))
    x = net.convolve("input", 16, ("clamp", (0, 6)), kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    net.output(net.add("conv", [x], 5))
    activation = S8 if kind == np.int8 else U8
    source = quantised(net.graph, tmp_path, quant_format=form, activation_type=activation, weight_type=S8)
    stored = {tensor.name for tensor in source.graph.initializer}
    first = next(n for n in source.graph.node if n.op_type == "QuantizeLinear")
    *_, last = (n for n in source.graph.node if n.op_type == "DequantizeLinear" and n.input[0] not in stored)
    number = onnx.TensorProto.INT8 if kind == np.int8 else onnx.TensorProto.UINT8
    del source.graph.input[:], source.graph.output[:], source.graph.value_info[:]
    source.graph.input.append(helper.make_tensor_value_info(first.output[0], number, (1, 3, 8, 8)))
    source.graph.output.append(helper.make_tensor_value_info(last.input[0], number, None))
    order = [n for n in source.graph.node if n is not first]
    kept = [n for n in order[: order.index(last)] if n.op_type != "Transpose"]
    del source.graph.node[:]
    source.graph.node.extend(kept)
    source.graph.output[0].type.tensor_type.shape.SetInParent()
    info = np.iinfo(kind)
    picture = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 3, 8, 8)).astype(kind)
    (expected,) = run(source, {first.output[0]: picture}).values()
    session = mbinfer.Session(model.encode(import_onnx(source)))
    found = session.run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
    assert session.inputs[0].dtype == kind.__name__ and found.dtype == expected.dtype == kind
    assert len(np.unique(expected)) > 20
    assert np.array_equal(found.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_pictures_that_a_model_casts(kind):
    source = make(
        node("Cast", "x", to="real"), node("Mul", "real", "s", to="m"), node("Conv", "m", "w"), infer=False,
        s=np.float32(1 / 64), w=np.random.default_rng(0).standard_normal((4, 3, 3, 3)),
    )  # fmt: skip
    source.graph.node[0].attribute.append(helper.make_attribute("to", 1))
    source.graph.input[0].type.tensor_type.elem_type = getattr(onnx.TensorProto, kind)
    info = np.iinfo(kind.lower())
    picture = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 3, 8, 8)).astype(kind.lower())
    (expected,) = run(source, {"x": picture}).values()
    session = mbinfer.Session(model.encode(import_onnx(source)))
    found = session.run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected, rtol=1e-5, atol=1e-5)


def test_an_input_of_integers_without_a_scale_is_refused():
    source = make(node("Relu", "x"), infer=False, opset=14)
    source.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    source.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    with pytest.raises(errors.UnsupportedError, match="input 'x' of int8 has no scale"):
        import_onnx(source)


def test_a_model_of_float16_runs_in_float32():
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)), "b": rng.standard_normal(4)}
    nodes = [node("Cast", "x", to="h"), node("Conv", "h", "w", "b", to="c"), node("Cast", "c")]
    source = make(*nodes, infer=False, **weights)
    wide = make(node("Conv", "x", "w", "b"), **{k: a.astype(np.float16) for k, a in weights.items()})
    for tensor in source.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].astype(np.float16), tensor.name))
    for cast, kind in ((source.graph.node[0], 10), (source.graph.node[2], 1)):
        cast.attribute.append(helper.make_attribute("to", kind))
    picture = rng.standard_normal((1, 8, 8, 3)).astype(np.float32)
    expected = mbinfer.Session(model.encode(import_onnx(wide))).run(picture)
    assert np.array_equal(mbinfer.Session(model.encode(import_onnx(source))).run(picture), expected)
    del source.graph.node[2], source.graph.node[0]
    source.graph.node[0].input[0], source.graph.node[0].output[0] = "x", "y"
    for value in (source.graph.input[0], source.graph.output[0]):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert np.array_equal(mbinfer.Session(model.encode(import_onnx(source))).run(picture), expected)


@pytest.mark.parametrize("scale, runs", [(1e-18, True), (1e-3, False)])
def test_a_channel_that_training_switched_off_is_zero(scale, runs):
    """Its weights have a scale near 0, and its bias has been cut to what int32 holds."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    scales = np.array([0.01, scale, 0.02, 0.01], np.float32)
    bias = np.array([500, -(2**31) + 1, -300, 20], np.int32)
    x_scale, y_scale = np.float32(0.02), np.float32(0.05)
    constants = {"weight": weight, "ws": scales, "xs": x_scale, "ys": y_scale, "bs": scales * x_scale}
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    arrays += [numpy_helper.from_array(np.zeros(4, np.int8), "wz"), numpy_helper.from_array(bias, "bias")]
    arrays += [numpy_helper.from_array(np.array(z, np.uint8), name) for name, z in (("xz", 110), ("yz", 120))]
    arrays += [numpy_helper.from_array(np.zeros(4, np.int32), "bz")]
    nodes = [
        node("QuantizeLinear", "x", "xs", "xz", to="q"),
        node("DequantizeLinear", "q", "xs", "xz", to="d"),
        node("DequantizeLinear", "weight", "ws", "wz", to="w", axis=0),
        node("DequantizeLinear", "bias", "bs", "bz", to="b", axis=0),
        node("Conv", "d", "w", "b", to="c"),
        node("QuantizeLinear", "c", "ys", "yz", to="r"),
        node("DequantizeLinear", "r", "ys", "yz", to="y"),
    ]
    for made in nodes:
        made.ClearField("name")  # which onnxruntime wants unique
    infos = [
        helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", (1, 3, 8, 8)), ("y", (1, 4, 6, 6)))
    ]
    graph = helper.make_graph(nodes, "test", infos[:1], infos[1:], arrays)
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    made = import_onnx(source)
    if not runs:
        with pytest.raises(errors.FormatError, match="int32"):
            model.encode(made)
        return
    picture = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(made)).run(picture.transpose(0, 2, 3, 1))
    expected = run(source, {"x": picture})["y"].transpose(0, 2, 3, 1)
    assert np.abs(found - expected).max() <= 1.01 * y_scale and (found != expected).mean() < 0.01
    assert not found[..., 1].any() and found[..., 0].any()


@pytest.mark.parametrize("kind, share", [(np.int8, 0.99), (np.uint8, 0.9)])
def test_average_pools_of_one_scale_round_halves_to_even_numbers(kind, share):
    """onnxruntime adds the zero point, an odd one here, before it rounds; its float32 is not always half a number."""
    constants = {"s": np.float32(0.0213), "z": kind(3)}
    nodes = [*quantise_nodes("x"), node("AveragePool", "xd", to="t", kernel_shape=[2, 2], strides=[2, 2])]
    source = make(*nodes, *quantise_nodes("t"), infer=False, outputs=("td",), **constants)
    info = np.iinfo(kind)
    numbers = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 3, 8, 8))
    picture = ((numbers - 3) * constants["s"]).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(source))).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    steps = np.rint((found.transpose(0, 3, 1, 2) - expected) / constants["s"])
    assert np.abs(steps).max() <= 1 and (steps == 0).mean() >= share


LINEAR = [("half_pixel", (24, 28)), ("pytorch_half_pixel", (48, 21)), ("align_corners", (9, 20))]
LINEAR += [("asymmetric", (24, 56)), ("half_pixel", (6, 7)), ("half_pixel", (18, 70))]


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("way, size", LINEAR)
def test_a_linear_resize_between_conversions_is_onnxruntimes(way, size, kind):
    """The order of its float32 operations decides where halves go: a number in fifty is one."""
    constants = {"s": np.float32(0.0371), "z": kind(3), "size": np.array([1, 8, *size])}
    fields = {"mode": "linear", "coordinate_transformation_mode": way}
    nodes = [*quantise_nodes("x"), node("Resize", "xd", "", "", "size", to="r", **fields), *quantise_nodes("r")]
    source = make(*nodes, shape=(1, 8, 12, 14), infer=False, outputs=("rd",), opset=13, **constants)
    info = np.iinfo(kind)
    numbers = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 8, 12, 14))
    picture = ((numbers - 3) * constants["s"]).astype(np.float32)
    imported = import_onnx(source)
    assert [n.op for n in imported.nodes] == ["convert", "resize", "convert"]
    found = mbinfer.Session(model.encode(imported)).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), expected)


def test_gelu_whose_parts_are_quantised():
    """As files before opset 20 have it: the error function stands between two conversions, and is a table."""
    scales = {"s": np.float32(0.025), "z": np.uint8(120), "t": np.float32(1 / 127), "u": np.uint8(128)}
    scales |= {"v": np.float32(2 / 255), "w": np.uint8(0), "root": np.float32(np.sqrt(2)), "one": np.uint8(255)}
    nodes = [
        *quantise_nodes("x"),
        node("Div", "xd", "root", to="scaled"),
        node("Erf", "scaled", to="erf"),
        *quantise_nodes("erf", "t", "u"),
        node("DequantizeLinear", "one", "t", to="1"),
        node("Add", "erfd", "1", to="sum"),
        *quantise_nodes("sum", "v", "w"),
        node("Mul", "xd", "sumd", to="product"),
        *quantise_nodes("product"),
    ]
    source = make(*nodes, infer=False, outputs=("productd",), **scales)
    picture = np.random.default_rng(0).normal(0, 2, (1, 3, 8, 8)).astype(np.float32)
    imported = import_onnx(source)
    assert [n.op for n in imported.nodes].count("lookup") >= 1
    found = mbinfer.Session(model.encode(imported)).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), expected)


@pytest.mark.parametrize("op", ["Split", "Slice", "DepthToSpace", "Resize"])
def test_quantised_tensors_are_cut_and_moved_as_they_are(op):
    """As QuantFormat.QOperator leaves them; of a linear Resize onnxruntime's weights are not always known."""
    constants = {"s": np.float32(0.02), "z": np.int8(3)}
    given = {
        "Split": (["q", "sizes"], {"sizes": [1, 3], "axis": 1}),
        "Slice": (["q", "begins", "ends"], {"begins": [0, 1, 2, 0], "ends": [1, 4, 7, 5]}),
        "DepthToSpace": (["q"], {"blocksize": 2}),
        "Resize": (["q", "", "", "size"], {"size": [1, 4, 16, 12], "nearest_mode": "floor"}),
    }
    inputs, fields = given[op]
    constants |= {name: np.array(fields.pop(name)) for name in inputs if name in fields}
    moved = node(op, *inputs, to=["other", "r"] if op == "Split" else "r", **fields)
    if op == "Resize":
        moved.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
    nodes = [node("QuantizeLinear", "x", "s", "z", to="q"), moved, node("DequantizeLinear", "r", "s", "z")]
    source = make(*nodes, shape=(1, 4, 8, 8), infer=False, **constants)
    picture = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(source))).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), expected)
    if op == "Resize":
        moved.attribute.append(helper.make_attribute("mode", "linear"))
        with pytest.raises(errors.UnsupportedError, match="cuts to whole numbers"):
            import_onnx(make(*nodes[:1], moved, nodes[2], shape=(1, 4, 8, 8), infer=False, **constants))


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("way, size", [("half_pixel", (16, 32)), ("asymmetric", (64, 8)), ("half_pixel", (128, 4))])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_linear_resize_of_bytes_is_cut_off_as_in_onnxruntime(channels_last, way, size, kind):
    """As QuantFormat.QOperator leaves it: weighed in float32 or, of channels that lie last, in whole numbers."""
    weight = np.eye(4, dtype=np.int8).reshape(4, 4, 1, 1)
    constants = {"s": np.float32(0.02), "z": kind(kind == np.uint8 and 131 or 3), "w": weight, "wz": np.int8(0)}
    constants |= {"one": np.float32(1), "size": np.array([1, 4, *size])}
    fields = {"mode": "linear", "coordinate_transformation_mode": way}
    nodes = [node("QuantizeLinear", "x", "s", "z", to="q")]
    nodes += [node("QLinearConv", "q", "s", "z", "w", "one", "wz", "s", "z", to="c", name="c")] if channels_last else []
    nodes += [node("Resize", nodes[-1].output[0], "", "", "size", to="r", **fields)]
    nodes += [node("QLinearConv", "r", "s", "z", "w", "one", "wz", "s", "z", to="d", name="d")] if channels_last else []
    nodes += [node("DequantizeLinear", nodes[-1].output[0], "s", "z")]
    source = make(*nodes, shape=(1, 4, 8, 8), infer=False, opset=13, **constants)
    picture = np.random.default_rng(0).normal(0, 1.5, (1, 4, 8, 8)).astype(np.float32)
    found = mbinfer.Session(model.encode(import_onnx(source))).run(picture.transpose(0, 2, 3, 1))
    (expected,) = run(source, {"x": picture}).values()
    np.testing.assert_array_equal(found.transpose(0, 3, 1, 2), expected)
