"""Importers: models of other frameworks become a `Graph`: ONNX, PyTorch modules by way of ONNX, TensorFlow Lite.

files.py      a model file read once and bounded; files of other kinds are named
arguments.py  what the caller says: inputs=, outputs= and input_shape=; boxes_argument.py: boxes=
layout.py     which axes of an NHWC value a tensor of the source shows  (numpy only)
emitting.py   graph nodes emitted for source nodes, refusals by name
walking.py    the walk over a source's nodes; refusals are collected
arithmetic.py constants and gates recognised in sums and products
products.py   products of two computed tensors, one of them a vector
choosing.py   comparisons, and what they choose
detecting.py  boxes that better ones cover (NMS); ending.py: detectors that their source leaves without it
fusing.py     affine, activation and padding nodes folded away          (`Graph` only)
finishing.py  outputs named, nodes folded
states.py     inputs that take what an output was in the run before
onnx/         everything that knows ONNX
tflite/       everything that knows TensorFlow Lite
torch_import.py   PyTorch modules, by PyTorch's own exporter to ONNX
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import Error, FormatError
from ..graph import Graph
from ..messages import told
from ..options import listed
from .arguments import InputShape
from .boxes_argument import ending_of
from .onnx import import_onnx
from .states import States
from .tflite import import_tflite, is_tflite
from .torch_import import export_torch, is_torch_module

__all__ = ["export_torch", "import_model", "import_onnx", "import_tflite", "is_torch_module"]


def import_model(
    source: Any,
    input_shape: InputShape = None,
    example: Any = None,
    outputs: Iterable[str] | None = None,
    states: States = None,
    inputs: Iterable[str] | None = None,
    boxes: Any = None,
) -> Graph:
    """The `Graph` of anything that `mbinfer.convert` takes.

    Whatever is wrong with the source, the error is one of mbinfer's, its message short, or an `OSError` of its file.
    """
    try:
        ending = ending_of(boxes)
        if outputs is not None:
            outputs = listed("outputs", outputs, "tensor names")  # read twice
        if is_torch_module(source):
            exported = export_torch(source, example, input_shape)
            return import_onnx(exported, outputs=outputs, states=states, inputs=inputs, ending=ending)
        if is_tflite(source):
            return import_tflite(source, input_shape, outputs, states, inputs, ending)
        return import_onnx(source, input_shape, outputs, states, inputs, ending)
    except Error:
        raise
    except OSError as error:
        if error.errno is None:
            raise FormatError(f"the model cannot be read: {error}") from error
        raise
    except Exception as error:  # a hostile model finds what no check above has thought of
        raise FormatError(f"the model makes no sense: {told(error)}") from error
