"""ONNX models become a `Graph`: loaded, read, lowered, fused; then the outputs are named.

loading.py     bytes, files and their external weights become a checked ModelProto, without what nobody reads
reading.py     the ModelProto becomes nodes, constants and fixed input shapes
constants.py   tensors as arrays, and nodes that compute constants, both bounded
inputs.py      the shape that an input gets, and the picture that it is
pairs.py       two QuantizeLinear and DequantizeLinear in a row become one pair
walk.py        what the walk over the nodes knows of a model
integers.py    quantised operators, on the integers; qoperators.py: those that ONNX writes as one
lowering.py    the walk over the nodes; every refusal is collected
selecting.py   what to say to `boxes=` of a detector that selects its boxes itself
boxes.py, pointwise.py, spatial.py, dense.py, norms.py, moving.py, views.py   one function for each operator
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...graph import Graph
from ..arguments import InputShape
from ..boxes_argument import Ending, ends_at
from ..ending import ends_of
from ..finishing import finish
from ..states import States, own_outputs, ties_of, with_states
from . import boxes, choosing, dense, moving, norms, pointwise, spatial, views  # noqa: F401 - handlers
from .loading import require_onnx
from .lowering import Lowering
from .pairs import merge_pairs
from .reading import read_onnx

__all__ = ["import_onnx", "require_onnx"]


def import_onnx(
    source: Any,
    input_shape: InputShape = None,
    outputs: Iterable[str] | None = None,
    states: States = None,
    inputs: Iterable[str] | None = None,
    ending: Ending | None = None,
) -> Graph:
    """Read `source`, an .onnx path, its bytes or an `onnx.ModelProto` (opset 7 or later, float32, batch 1 or open).

    `input_shape`, in the model's own axis order (a dict by input name for several inputs), fixes open sizes and
    overrides others. `outputs` names the tensors to end at, instead of the model's own outputs, `inputs` those to begin
    at, of what nodes make.
    `states`: by input, the tensor that it takes in the following run. `ending`: of a detector, in boxes.
    Returns a `Graph` with batch norm, biases, pads and activations folded; inputs are NHWC, rank-4 outputs
    ``(1, H, W, C)``, other outputs shaped as in the source.

    Raises `UnsupportedError` naming node, op, reason and what is supported; `FormatError` for an invalid model;
    `ShapeError` for an `input_shape` that does not fit; `mbinfer.Error` without the onnx package.
    """
    model = read_onnx(source, input_shape, with_states(ends_at(outputs, ending), states), inputs)
    own = own_outputs(model.outputs, outputs, states)
    with np.errstate(all="ignore"):  # what is not finite in the end is refused by name
        try:
            merge_pairs(model)
            lowering = Lowering(model)
            lowering.run()
            ends = ends_of(lowering, ending, outputs, own)
        except UnsupportedError as error:
            if not model.overridden:
                raise
            raise ShapeError(f"with {model.overridden}: {error}") from error
        graph = finish(lowering, lowering.nodes, ends, ties_of(lowering, states))
    graph.metadata["source"] = "onnx"
    if model.producer:
        graph.metadata["producer"] = model.producer
    return graph
