"""Models of float16 become those of float32: every float16 number is a float32 one."""

from __future__ import annotations

from typing import Any

import numpy as np

from .constants import to_array
from .loading import require_onnx, tensors_of


def widen(model: Any) -> None:
    """Make every tensor, input, output and cast of float16 in `model` float32, in place."""
    onnx = require_onnx()
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for tensor in tensors_of(model.graph):
        if tensor.data_type == half:
            wide = np.asarray(to_array(tensor), np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == half:
                value.type.tensor_type.elem_type = full
        for attribute in (a for node in graph.node for a in node.attribute):
            if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == half:
                attribute.i = full
            graphs += [attribute.g] if attribute.HasField("g") else []
            graphs += attribute.graphs
