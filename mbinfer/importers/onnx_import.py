"""An ONNX model becomes a `Graph`: read, lower, fuse, then name the outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ..errors import UnsupportedError
from ..graph import Graph, Node, Output
from . import pointwise, spatial  # noqa: F401 - they register how each op is lowered
from .fusing import fuse
from .layout import AXES, Tensor
from .lowering import Lowering
from .reading import read_onnx


def import_onnx(source, input_shape=None) -> Graph:
    """Read `source`, an .onnx path or an `onnx.ModelProto` (opset 7 or later, float32, batch 1 or a dynamic batch).

    `input_shape`, in the model's own axis order (a dict by input name for several inputs), fixes symbolic sizes.
    Returns a `Graph` with batch norm, biases, pads and activations folded; inputs are NHWC, rank-4 outputs
    ``(1, H, W, C)``, other outputs shaped as in the source.

    Raises `UnsupportedError` naming node, op, reason and what is supported; `FormatError` for an invalid model;
    `ShapeError` for an `input_shape` that does not fit; `mbinfer.Error` without the onnx package.
    """
    model = read_onnx(source, input_shape)
    lowering = Lowering(model)
    lowering.run()
    graph = lowering.graph
    graph.outputs = [_output(lowering, name) for name in model.outputs]
    fuse(graph)
    _make_names_unique(graph)
    graph.metadata["source"] = "onnx"
    if model.producer:
        graph.metadata["producer"] = model.producer
    return graph


def _output(low: Lowering, name: str) -> Output:
    found = low.env.get(name)
    writer = next((node for node in low.source.nodes if name in node.outputs), None)
    node, op = (writer.name, writer.op) if writer else ("", "")
    if not isinstance(found, Tensor):
        reason = "is a constant" if isinstance(found, np.ndarray) else "is not the first output of its node"
        raise UnsupportedError(f"output '{name}' {reason}; supported: outputs that the network computes", node, op)
    if found.value in low.graph.inputs:  # an output needs a value of its own
        copy = low.fresh(f"{name}/copy")
        low.graph.values[copy] = found.dims
        low.graph.nodes.append(Node("depthwise", copy, [found.value], copy, weight=np.ones((1, 1, found.dims[2]))))
        found = replace(found, value=copy)
    groups = found.groups()
    if len(found.shape) == 4 and groups is not None and all(len(group) <= 1 for group in groups):
        return Output(name, found.value, (1, *found.dims))
    if found.order != "".join(axis for axis in AXES if axis in found.order):
        raise UnsupportedError(
            f"output '{name}' of node '{node}' ({op}): shape {found.shape} lists (height, width, channels) = "
            f"{found.dims} in the order {found.order}, and values here are stored {AXES}; supported: the rank-4 tensor "
            "itself as output, flattening after a global pool, or a dense layer after the flattening",
            node,
            op,
        )
    return Output(name, found.value, found.shape)


def _make_names_unique(graph: Graph) -> None:
    seen: Counter = Counter()
    taken = {node.name for node in graph.nodes}
    for node in graph.nodes:
        base = node.name
        seen[base] += 1
        if seen[base] > 1:
            count = seen[base]
            while f"{base}_{count}" in taken:
                count += 1
            node.name = f"{base}_{count}"
            taken.add(node.name)
