"""Importers: models of other frameworks become a `Graph`. ONNX is the one road in; PyTorch modules take it too.

files.py      a model file read once and bounded; files of other kinds are named
layout.py     which axes of an NHWC value a tensor of the source shows  (numpy only)
emitting.py   graph nodes emitted for source nodes, refusals by name
fusing.py     affine, activation and padding nodes folded away          (`Graph` only)
onnx/         everything that knows ONNX
torch_import.py   PyTorch modules, by PyTorch's own exporter to ONNX
"""

from __future__ import annotations

from ..errors import Error, FormatError
from ..graph import Graph
from ..messages import brief
from .onnx import import_onnx
from .torch_import import export_torch, is_torch_module

__all__ = ["export_torch", "import_model", "import_onnx", "is_torch_module"]


def import_model(source, input_shape=None, example=None, outputs=None) -> Graph:
    """The `Graph` of anything that `mbinfer.convert` takes.

    Whatever is wrong with the source, the error is one of mbinfer's, its message short, or an `OSError` of its file.
    """
    try:
        if is_torch_module(source):
            return import_onnx(export_torch(source, example, input_shape), outputs=outputs)
        return import_onnx(source, input_shape, outputs)
    except Error as error:
        error.args = (brief(str(error)),)
        raise
    except OSError as error:
        if error.errno is None:
            raise FormatError(f"the model cannot be read: {brief(str(error))}") from error
        raise
    except Exception as error:  # a hostile model finds what no check above has thought of
        raise FormatError(f"the model makes no sense: {type(error).__name__}: {brief(str(error))}") from error
