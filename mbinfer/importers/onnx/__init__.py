"""ONNX models become a `Graph`: loaded, read, lowered, fused; then the outputs are named.

loading.py     bytes, files and their external weights become a checked ModelProto, without what nobody reads
reading.py     the ModelProto becomes nodes, constants and fixed input shapes
constants.py   tensors as arrays, and nodes that compute constants, both bounded
inputs.py      the shape that an input gets, and the picture that it is
lowering.py    the walk over the nodes; every refusal is collected
pointwise.py, spatial.py, dense.py, views.py   one function for each operator
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...graph import Graph, Output
from ..emitting import refuse_what_cannot_run
from ..fusing import fuse
from ..layout import AXES, Tensor
from . import dense, pointwise, spatial, views  # noqa: F401 - they register how each op is lowered
from .loading import require_onnx
from .lowering import Lowering
from .reading import read_onnx

__all__ = ["import_onnx", "require_onnx"]


def import_onnx(source, input_shape=None, outputs=None) -> Graph:
    """Read `source`, an .onnx path, its bytes or an `onnx.ModelProto` (opset 7 or later, float32, batch 1 or open).

    `input_shape`, in the model's own axis order (a dict by input name for several inputs), fixes open sizes and
    overrides others. `outputs` names the tensors to end at, instead of the model's own outputs.
    Returns a `Graph` with batch norm, biases, pads and activations folded; inputs are NHWC, rank-4 outputs
    ``(1, H, W, C)``, other outputs shaped as in the source.

    Raises `UnsupportedError` naming node, op, reason and what is supported; `FormatError` for an invalid model;
    `ShapeError` for an `input_shape` that does not fit; `mbinfer.Error` without the onnx package.
    """
    model = read_onnx(source, input_shape, outputs)
    with np.errstate(all="ignore"):  # what is not finite in the end is refused by name
        try:
            lowering = Lowering(model)
            lowering.run()
        except UnsupportedError as error:
            if not model.overridden:
                raise
            raise ShapeError(f"with {model.overridden}: {error}") from error
        graph = lowering.graph
        graph.outputs = [_output(lowering, name) for name in model.outputs]
        fuse(graph)
    refuse_what_cannot_run(graph)
    _make_names_unique(graph)
    graph.metadata["source"] = "onnx"
    if model.producer:
        graph.metadata["producer"] = model.producer
    return graph


def _output(low: Lowering, name: str) -> Output:
    found = low.env.get(name)
    writer = next((node for node in low.source.nodes if name in node.outputs), None)
    node, op = (writer.name, writer.op) if writer else ("", "")
    if isinstance(found, UnsupportedError):
        raise found
    if not isinstance(found, Tensor):
        reason = "is a constant" if isinstance(found, np.ndarray) else "is not the first output of its node"
        raise UnsupportedError(
            f"output '{name}' {reason}; supported: outputs that the network computes; choose them with "
            "convert(..., outputs=[names])",
            node,
            op,
        )
    if found.value in low.graph.inputs:  # an output needs a value of its own
        copy = low.fresh(f"{name}/copy")
        weight = np.ones((1, 1, found.dims[2]))
        found = replace(found, value=low.builder.add("depthwise", [found.value], name=copy, output=copy, weight=weight))
    groups = found.groups()
    if len(found.shape) == 4 and groups is not None and all(len(group) <= 1 for group in groups):
        return Output(name, found.value, (1, *found.dims))
    if found.order != "".join(axis for axis in AXES if axis in found.order):
        raise UnsupportedError(
            f"output '{name}' of node '{node}' ({op}): shape {found.shape} lists (height, width, channels) = "
            f"{found.dims} in the order {found.order}, and values here are stored {AXES}; supported: the rank-4 tensor "
            "itself as output, which convert(..., outputs=[its name]) chooses, flattening after a global pool, or a "
            "dense layer after the flattening",
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
