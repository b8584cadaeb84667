"""Models that begin in their middle: `inputs=` of ONNX and TensorFlow Lite."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx_models import make, node, normal
from oracle import run_onnx
from tflite_models import TfliteBuilder, run_litert

import mbinfer
from mbinfer import errors, model
from mbinfer.cli import main
from mbinfer.importers import import_model, import_onnx

W, V = normal(4, 3, 3, 3), normal(5, 4, 3, 3)


def network(**fields):
    """With an operator that cannot run, and a branch that goes around it."""
    nodes = [node("Conv", "x", "w", to="a"), node("Sin", "a", to="b"), node("Conv", "b", "v", to="c", name="second")]
    nodes += [node("GlobalAveragePool", "c", to="p"), node("Mul", "c", "p", to="y")]
    return make(*nodes, w=W, v=V, **fields)


def run(graph, *arrays):
    session = mbinfer.Session(model.encode(graph))
    return session.run(**{info.name: array for info, array in zip(session.inputs, arrays)})


def test_what_lies_before_is_left_out():
    source = network()
    with pytest.raises(errors.UnsupportedError, match="Sin"):
        import_onnx(source)
    graph = import_onnx(source, inputs=["b"])
    assert list(graph.inputs) == ["b"] and graph.values["b"] == (6, 6, 4)
    middle = normal(1, 4, 6, 6)
    whole = onnx.ModelProto.FromString(source.SerializeToString())
    del whole.graph.node[:2]
    whole.graph.input[0].name = "b"
    for size, dim in zip((1, 4, 6, 6), whole.graph.input[0].type.tensor_type.shape.dim):
        dim.dim_value = size
    expected = run_onnx(whole, {"b": middle})["y"].transpose(0, 2, 3, 1)
    found = run(graph, middle.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    shorter = import_onnx(source, inputs=["b"], outputs=["c"], input_shape=(1, 4, 9, 7))
    assert shorter.outputs[0].shape == (1, 7, 5, 5)


def test_an_input_that_is_read_all_the_same_stays():
    nodes = [node("Conv", "x", "w", to="a"), node("Relu", "a", to="r"), node("GlobalAveragePool", "x", to="p")]
    source = make(*nodes, node("Conv", "p", "u", to="q", name="q"), node("Mul", "r", "q"), w=W, u=normal(4, 3, 1, 1))
    graph = import_onnx(source, inputs=["a"])
    assert set(graph.inputs) == {"x", "a"}


@pytest.mark.parametrize(
    "inputs, words",
    [
        ("b", "list"),
        (["nothing"], "no node makes"),
        ([], "at least one"),
        (["b", "b"], "each once"),
        (["y"], "depends"),
    ],
)
def test_what_is_no_beginning_is_refused(inputs, words):
    with pytest.raises(errors.ArgumentError, match=words):
        import_onnx(network(), inputs=inputs, outputs=["p"])


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_beginnings_of_tflite_files(dtype):
    net = TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.input((1, 8, 9, 3))
    middle = net.conv(x, 5, (3, 3))
    y = net.conv(middle, 4, (1, 1))
    net.outputs += [middle.index, y.index]
    source = net.model()
    name, last = (f"t{tensor.index}" for tensor in (middle, y))
    graph = import_model(source, inputs=[name], outputs=[last])
    assert list(graph.inputs) == [name]
    picture = net.rng.standard_normal((1, 8, 9, 3)) if dtype == "float32" else net.rng.integers(-128, 128, (1, 8, 9, 3))
    expected = run_litert(source, {"x": picture.astype(dtype)})
    np.testing.assert_allclose(run(graph, expected[name]), expected[last], rtol=1e-5, atol=1e-5)
    with pytest.raises(errors.ArgumentError, match="no node makes"):
        import_model(source, inputs=["x"])


def test_the_command_takes_beginnings(tmp_path, capsys):
    onnx.save(network(), tmp_path / "m.onnx")
    assert main(["convert", str(tmp_path / "m.onnx"), str(tmp_path / "m.bin"), "--inputs", "b"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "m.bin"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"][0]["name"] == "b"
