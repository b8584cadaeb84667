"""Importers: models of other frameworks become a `Graph`. ONNX is the one road in; PyTorch modules take it too.

reading.py   checked ONNX nodes, constants and fixed input shapes     (onnx)
layout.py    which axes of an NHWC value an ONNX tensor shows         (numpy only)
lowering.py  the walk over the nodes, constants evaluated on the way  (reading, layout)
spatial.py, pointwise.py   one function for each ONNX op              (lowering)
fusing.py    affine, activation and padding nodes folded away         (numpy only)
"""

from __future__ import annotations

from .onnx_import import import_onnx
from .torch_import import export_torch, is_torch_module

__all__ = ["export_torch", "import_onnx", "is_torch_module"]
