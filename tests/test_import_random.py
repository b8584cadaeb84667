"""The importer on random networks, the zoo and both PyTorch exporters: the imported graph, run by the oracle and by
`mbinfer.Session`, gives what onnxruntime gives on the source."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import random_graph
from hypothesis import HealthCheck, given, settings
from onnx_graphs import random_onnx
from oracle import assert_close, graph_to_onnx, random_inputs, run_graph, run_onnx

import mbinfer
from mbinfer import zoo
from mbinfer.check import check_graph
from mbinfer.convert import convert
from mbinfer.importers import import_onnx

bounded = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def run_session(path, inputs: dict) -> dict:
    """Outputs by name; one array goes in and comes out where there is one."""
    session = mbinfer.Session(str(path))
    found = session.run(inputs if len(inputs) > 1 else next(iter(inputs.values())))
    return found if isinstance(found, dict) else {session.outputs[0].name: found}


@settings(max_examples=150, **bounded)
@given(random_graph(moves=False))
def test_a_graph_survives_onnx(graph):
    check_graph(graph)
    inputs = random_inputs(graph)
    imported = import_onnx(graph_to_onnx(graph))
    check_graph(imported)
    assert len(imported.nodes) <= len(graph.nodes) + 5 * sum(node.activation == "elu" for node in graph.nodes)
    assert_close(run_graph(imported, inputs), run_graph(graph, inputs), 1e-5)


@settings(max_examples=250, **bounded)
@given(random_onnx())
def test_random_onnx_models(case):
    source, nhwc = case.inputs()
    imported = import_onnx(case.model)
    check_graph(imported)
    assert_close(run_graph(imported, nhwc), case.as_nhwc(run_onnx(case.model, source)), 1e-5)


@settings(max_examples=250, **bounded)
@given(random_onnx())
def test_random_onnx_models_in_a_session(tmp_path_factory, case):
    path = tmp_path_factory.getbasetemp() / "random.bin"
    source, nhwc = case.inputs()
    convert(case.model, path)
    assert_close(run_session(path, nhwc), case.as_nhwc(run_onnx(case.model, source)))


@settings(max_examples=150, **bounded)
@given(random_graph())
def test_random_graphs_in_a_session(tmp_path_factory, graph):
    path = tmp_path_factory.getbasetemp() / "graph.bin"
    mbinfer.model.save(graph, path)
    inputs = random_inputs(graph)
    assert_close(run_session(path, inputs), run_graph(graph, inputs))


@pytest.mark.parametrize(
    "make, width, resolution",
    [
        (zoo.mobilenet_v1, 0.25, 32),
        (zoo.mobilenet_v1, 0.5, 65),
        (zoo.mobilenet_v1, 1.0, 96),
        (zoo.mobilenet_v2, 0.35, 33),
        (zoo.mobilenet_v2, 0.5, 96),
        (zoo.mobilenet_v2, 1.0, 64),
        (zoo.mobilenet_v2, 1.4, 32),
    ],
)
def test_the_zoo_agrees_with_onnxruntime(make, width, resolution, tmp_path):
    graph = make(width, resolution, classes=10)
    model, inputs = graph_to_onnx(graph), random_inputs(graph)
    imported = import_onnx(model)
    expected = run_onnx(model, inputs)
    assert [node.op for node in imported.nodes] == [node.op for node in graph.nodes]
    assert_close(run_graph(imported, inputs), expected, 1e-5)
    convert(model, tmp_path / "zoo.bin")
    assert_close(run_session(tmp_path / "zoo.bin", inputs), expected)


def torch_networks() -> dict:
    """Networks by name, with batch-norm statistics of their own, in evaluation mode."""
    torch = pytest.importorskip("torch")
    sys.path.append(str(Path(__file__).parents[1] / "examples"))
    from torch_mobilenet import MobileNetV1, MobileNetV2

    nn = torch.nn

    def conv(inputs, outputs, kernel, stride=1, groups=1):
        made = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return made, nn.BatchNorm2d(outputs)

    class HardSwishNet(nn.Module):
        """MobileNetV3's blocks and head without squeeze-and-excitation."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(*conv(3, 8, 3, 2), nn.Hardswish())
            self.block = nn.Sequential(
                *conv(8, 24, 1), nn.Hardswish(), *conv(24, 24, 5, 1, 24), nn.Hardswish(), *conv(24, 8, 1)
            )
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, 5))

        def forward(self, x):
            x = self.stem(x)
            return self.classifier(torch.flatten(self.pool(x + self.block(x)), 1))

    torch.manual_seed(0)
    networks = {"v1": MobileNetV1(0.25, 10), "v2": MobileNetV2(0.35, 10), "hard_swish": HardSwishNet()}
    for network in networks.values():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
                nn.init.uniform_(part.weight, 0.5, 1.5)
                nn.init.normal_(part.bias)
        network.eval()
    return networks


@pytest.mark.filterwarnings("ignore")  # the exporters' own
@pytest.mark.parametrize(
    "name, nodes, dynamo",
    [("v1", 29, False), ("v2", 64, False), ("v2", 64, True), ("hard_swish", 8, False), ("hard_swish", 8, True)],
)
def test_both_torch_exporters(name, nodes, dynamo, tmp_path):
    network = torch_networks()[name]
    import torch

    if dynamo:
        pytest.importorskip("onnxscript")
    picture = torch.randn(1, 3, 33, 33)
    torch.onnx.export(network, (picture,), str(tmp_path / "net.onnx"), dynamo=dynamo, verbose=False)
    model = onnx.load(tmp_path / "net.onnx")
    (expected,) = run_onnx(model, {model.graph.input[0].name: picture.numpy()}).values()
    imported = import_onnx(tmp_path / "net.onnx")
    assert len(imported.nodes) == nodes, "batch norm and activations are folded away"
    nhwc = {next(iter(imported.inputs)): np.ascontiguousarray(picture.numpy().transpose(0, 2, 3, 1))}
    output = imported.outputs[0].name
    assert_close(run_graph(imported, nhwc), {output: expected}, 1e-5)
    convert(tmp_path / "net.onnx", tmp_path / "net.bin")
    assert_close(run_session(tmp_path / "net.bin", nhwc), {output: expected})


def test_a_torch_module_converts_directly(tmp_path):
    network = torch_networks()["v2"]
    import torch

    network.train()
    network.features[3].eval()
    before = [part.training for part in network.modules()]
    convert(network, tmp_path / "net.bin", input_shape=(1, 3, 40, 32))
    assert [part.training for part in network.modules()] == before, "each submodule gets its mode back"
    with pytest.raises(mbinfer.ShapeError, match="input_shape"):
        convert(network, tmp_path / "none.bin")

    class Sine(torch.nn.Module):
        def forward(self, x):
            return torch.sin(x)

    with pytest.raises(mbinfer.UnsupportedError, match="Sin"):
        convert(
            torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), Sine()),
            tmp_path / "none.bin",
            example=torch.zeros(1, 1, 4, 4),
        )
    picture = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        expected = network.eval()(picture).numpy()
    assert_close(
        run_session(tmp_path / "net.bin", {"input": picture.numpy().transpose(0, 2, 3, 1).copy()}), {"output": expected}
    )
