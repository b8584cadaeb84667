"""The networks that the engines run, with seeded random weights, and their ONNX form."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from mbinfer import zoo
from mbinfer.quantize import noise, quantize

from .qdq import graph_to_qdq

NETWORKS = {  # name: what it is called, architecture, width, resolution
    "v2_100_224": ("MobileNetV2 1.0@224", zoo.mobilenet_v2, 1.0, 224),
    "v2_140_224": ("MobileNetV2 1.4@224", zoo.mobilenet_v2, 1.4, 224),
    "v2_035_96": ("MobileNetV2 0.35@96", zoo.mobilenet_v2, 0.35, 96),
    "v1_100_224": ("MobileNetV1 1.0@224", zoo.mobilenet_v1, 1.0, 224),
}


def make_graph(name: str, dtype: str = "float32"):
    """The mbinfer `Graph` of a network of `NETWORKS`; as int8, it is quantised after noise."""
    _, architecture, width, resolution = NETWORKS[name]
    graph = architecture(width=width, resolution=resolution, seed=0)
    return quantize(graph, noise(graph, 2)) if dtype == "int8" else graph


def write_network(graph, folder: Path) -> None:
    """Writes ``model.onnx``, ``image.npy``, float32 (1, H, W, 3), and ``logits.npy``, (1, classes), into `folder`.

    The logits are onnxruntime's, without any optimisation of the graph: what every engine has to agree with.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    import onnx
    from oracle import graph_to_onnx, random_inputs, run_onnx

    (image,) = random_inputs(graph).values()
    np.save(folder / "image.npy", image)
    if graph.types:  # int8
        model = graph_to_qdq(graph)
        (logits,) = run_onnx(model, {"image": np.ascontiguousarray(image.transpose(0, 3, 1, 2))}).values()
    else:
        model = graph_to_onnx(graph)
        (logits,) = run_onnx(model, {"image": image}).values()
        channels_first(model)
    np.save(folder / "logits.npy", logits)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")


def channels_first(model) -> None:
    """Makes a model of `graph_to_onnx` take NCHW itself, as an exporter would write it: no transposes, no identities.

    The last transpose goes too, which is right for logits: their height and width are 1.
    """
    graph = model.graph
    (image,) = graph.input
    batch, height, width, channels = (dim.dim_value for dim in image.type.tensor_type.shape.dim)
    for dim, size in zip(image.type.tensor_type.shape.dim, (batch, channels, height, width)):
        dim.dim_value = size
    same = {}  # value: the value that it is a copy of
    kept = []
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
        if node.op_type in ("Identity", "Transpose"):
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
