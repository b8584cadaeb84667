"""float16 as the storage type of weights: the bits of a float32 network with the same weights, in half the bytes."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from graphs import random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_graphs import quantised
from onnx import helper
from oracle import assert_close, graph_to_onnx, random_inputs, run_graph
from small_network import picture, small_network
from test_format import read, tiny_graph

import mbinfer
from mbinfer import _core, cli, errors, model, quantize, zoo
from mbinfer.graph import Graph
from mbinfer.ops import OPS

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def rounded(graph: Graph) -> Graph:
    """`graph` with its weights, in place, the float32 numbers that float16 has for them."""
    for node in graph.nodes:
        if OPS[node.op].weights and node.weight.dtype != np.int8:
            node.weight = np.float32(np.float16(np.float32(node.weight)))
    return graph


def bits(outputs):
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {name: array.tobytes() for name, array in outputs.items()}


@settings(max_examples=25, deadline=None, suppress_health_check=QUIET)
@given(graph=random_graph(), seed=st.integers(0, 99))
def test_bits_are_those_of_the_rounded_weights(graph, seed, tmp_path):
    inputs = random_inputs(graph, seed)
    model.save(graph, tmp_path / "16.bin", "float16")
    model.save(rounded(graph), tmp_path / "32.bin", "float32")
    expected = bits(mbinfer.Session(tmp_path / "32.bin").run(**inputs))
    for isa in _core.isas():
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MBINFER_ISA", isa)
            for options in ({"schedule": "naive"}, {}, {"memory_limit": "least"}):
                session = mbinfer.Session(tmp_path / "16.bin", **options)
                assert bits(session.run(**inputs)) == expected, (isa, options)


def test_agrees_with_onnxruntime(tmp_path):
    graph = zoo.mobilenet_v1(0.25, 64, classes=10)
    model.save(graph, tmp_path / "m.bin", "float16")
    graph.inputs = dict.fromkeys(graph.inputs)
    inputs = random_inputs(graph)
    found = mbinfer.Session(tmp_path / "m.bin").run(**inputs)
    assert_close({"logits": found}, run_graph(rounded(graph), inputs))


def test_every_weight_is_rounded_once_to_the_nearest():
    """Halfway goes to even; denormal float16 stay; biases stay float32, and nothing becomes -0.0."""
    graph = tiny_graph()
    dense = graph.nodes[-2]
    ulp = 2.0**-10
    wanted = {1 + ulp / 2: 1, 1 + 1.5 * ulp: 1 + 2 * ulp, 1 + 0.51 * ulp: 1 + ulp, 65519: 65504, -65519: -65504}
    wanted |= {2.0**-24: 2.0**-24, 2.0**-25: 0, -(2.0**-26): 0, 3 * 2.0**-25: 2.0**-23, 1e-7: 2 * 2.0**-24, 1e-40: 0}
    dense.weight = np.resize(list(wanted), (4, 1, 1, 9))
    dense.bias = np.full(4, 0.1)
    record = read(model.encode(graph, "float16"))["nodes"][-2]
    assert record["weight_dtype"] == 2 and record["bias"][0] == np.float32(0.1)
    found = record["weight"].reshape(9, 16)[:, :4].T
    assert found.dtype == np.float16 and not np.signbit(found[found == 0]).any()
    assert found.ravel().tolist() == np.resize(list(wanted.values()), 36).tolist()


def test_a_graph_keeps_the_types_of_its_weights():
    """Arrays of float16 are stored so, unless float32 is asked for; what float16 weights are, float32 holds."""
    graph = tiny_graph()
    graph.nodes[0].weight = np.float16(graph.nodes[0].weight)
    kept, widened = (read(model.encode(graph, dtype))["nodes"] for dtype in (None, "float32"))
    assert [node["weight_dtype"] for node in kept[:3]] == [2, 1, 1]
    assert [node["weight_dtype"] for node in widened[:3]] == [1, 1, 1]
    assert (kept[0]["weight"] == widened[0]["weight"]).all()


@pytest.mark.parametrize("large", [65520.0, -1e6, 1e30])
def test_what_float16_does_not_hold_is_refused(tmp_path, large):
    graph = tiny_graph()
    graph.nodes[1].weight[3] = large
    with pytest.raises(errors.UnsupportedError, match=r"'mix.conv' \(conv\): a weight of .*65504.*float32") as caught:
        model.save(graph, tmp_path / "m.bin", "float16")
    assert (caught.value.node, caught.value.op) == ("mix.conv", "conv") and not os.listdir(tmp_path)


def test_what_is_no_number_is_refused():
    graph = tiny_graph()
    graph.nodes[1].weight = np.full((9, 1, 1, 2), np.inf, np.float16)
    with pytest.raises(errors.FormatError, match="mix.conv.*infinity"):
        model.encode(graph)


def test_half_the_bytes(tmp_path):
    """Of the file, and of what a session maps; biases are what is not halved."""
    sizes = {}
    for dtype in ("float32", "float16"):
        path = tmp_path / f"{dtype}.bin"
        model.save(small_network(), path, dtype)
        sizes[dtype] = path.stat().st_size, mbinfer.Session(path).plan.weight_bytes
    for large, small in zip(sizes["float32"], sizes["float16"]):
        assert 0.5 <= small / large < 0.53


@pytest.mark.parametrize("command", ["build", "convert"])
def test_the_command_line_and_convert(tmp_path, command, capsys):
    made, by_hand = tmp_path / "made.bin", tmp_path / "by hand.bin"
    graph = zoo.mobilenet_v2(0.35, 32, classes=4)
    if command == "build":
        arguments = ["mobilenet_v2", "--width", "0.35", "--resolution", "32", "--classes", "4"]
    else:
        onnx.save(graph_to_onnx(graph), tmp_path / "m.onnx")
        arguments = [str(tmp_path / "m.onnx")] + [str(made)] * (command == "convert")
        mbinfer.convert(tmp_path / "m.onnx", by_hand, dtype="float16")
    output = ["-o", str(made)] if command == "build" else []
    assert cli.main([command, *arguments, *output, "--dtype", "float16"]) == 0
    if command == "build":
        model.save(graph, by_hand, "float16")
    assert made.read_bytes() == by_hand.read_bytes()
    assert {n["weight_dtype"] for n in read(made.read_bytes())["nodes"]} == {0, 2}


def test_onnx_weights_of_float16_are_kept(tmp_path):
    """Behind Cast, as exporters write them: the file holds the source's own numbers."""
    weight = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w32"], ["y"]),
    ]
    tensors = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, 6, 6)),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 8, 4, 4)),
    ]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:], [onnx.numpy_helper.from_array(weight, "w")])
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    mbinfer.convert(source, tmp_path / "m.bin", dtype="float16")
    (node,) = read((tmp_path / "m.bin").read_bytes())["nodes"]
    found = node["weight"].reshape(27, 16)[:, :8].T.reshape(8, 3, 3, 3)
    assert (found == weight.transpose(0, 2, 3, 1)).all()


def test_beside_int8(tmp_path):
    """Nodes that stay float32 in an int8 network may have float16 weights."""
    graph = zoo.mobilenet_v2(0.35, 32, classes=10, seed=1)
    kept = [node.name for node in graph.nodes if node.weight is not None][-3:]
    mixed = quantize.quantize(graph, quantize.noise(graph), keep_float=kept, compensate=False)
    model.save(mixed, tmp_path / "16.bin", "float16")
    model.save(rounded(mixed), tmp_path / "32.bin")
    image = picture(0, (32, 32, 3))
    assert bits(mbinfer.Session(tmp_path / "16.bin").run(image)) == bits(
        mbinfer.Session(tmp_path / "32.bin").run(image)
    )
    assert (tmp_path / "16.bin").stat().st_size < 0.7 * (tmp_path / "32.bin").stat().st_size
    integers = quantised(zoo.mobilenet_v1(0.25, 32, classes=4), np.random.default_rng(0))
    assert model.encode(integers, "float16") == model.encode(integers)


def test_quantising_a_float16_graph_is_quantising_its_numbers():
    graph, halves = (zoo.mobilenet_v1(0.1, 32, classes=4) for _ in range(2))
    for node in halves.nodes:
        node.weight = None if node.weight is None else np.float16(node.weight)
    made = [quantize.quantize(g, quantize.noise(g)) for g in (rounded(graph), halves)]
    assert model.encode(made[0]) == model.encode(made[1])
