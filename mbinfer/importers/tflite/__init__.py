"""TensorFlow Lite models (.tflite, LiteRT) become a `Graph`; nothing but numpy is needed to read them.

flatbuffer.py  tables of the file, every offset checked; flexbuffer.py: options of custom operators
schema.py      names and fields by number
reading.py     the file becomes nodes and tensors; tensors.py: what it says of one
constants.py   operators whose inputs are all known
weights.py     weights as they are stored
borders.py     pads of the least number before a maximum; batches.py: convolutions of dealt pictures
variables.py   operators that read and assign what outlives a run
lowering.py    the walk over the nodes; types of values
boxes.py, moving.py, picking.py, spatial.py, pointwise.py, tables.py, views.py   one function for each operator
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
from ..states import States, own_outputs, with_states
from . import (  # noqa: F401 - handlers
    boxes,
    choosing,
    dense,
    moving,
    picking,
    pointwise,
    spatial,
    spectra,
    tables,
    views,
)
from .lowering import Lowering
from .reading import is_tflite, read_tflite

__all__ = ["import_tflite", "is_tflite"]


def import_tflite(
    source: Any,
    input_shape: InputShape = None,
    outputs: Iterable[str] | None = None,
    states: States = None,
    inputs: Iterable[str] | None = None,
    ending: Ending | None = None,
) -> Graph:
    """Read `source`, a .tflite path or its bytes: float32, float16 weights, int8 and uint8 values.

    `input_shape` (a dict by input name for several inputs) overrides the stored sizes; `outputs` names the tensors to
    end at, `inputs` those to begin at, `states`, by input, the tensor that it takes in the following run. `ending`: of
    a detector, in boxes. Inputs and outputs have the types of the file.

    Raises `UnsupportedError` naming node, operator, reason and what is supported; `FormatError` for a damaged file.
    """
    model = read_tflite(source, with_states(ends_at(outputs, ending), states), inputs)
    own = own_outputs(model.outputs, outputs, states)
    with np.errstate(all="ignore"):  # what is not finite in the end is refused by name
        try:
            lowering = Lowering(model, input_shape, states)
            lowering.run()
            ends = ends_of(lowering, ending, outputs, own)
        except UnsupportedError as error:
            if input_shape is None:
                raise
            raise ShapeError(f"with input_shape={input_shape}: {error}") from error
        graph = finish(lowering, model.nodes, ends, lowering.ties)
    graph.metadata["source"] = "tflite"
    if model.description:
        graph.metadata["description"] = model.description
    return graph
