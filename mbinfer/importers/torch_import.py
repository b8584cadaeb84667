"""A torch.nn.Module becomes an ONNX model, by PyTorch's own exporter, in evaluation mode."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

from ..errors import ShapeError, UnsupportedError
from ..messages import told
from .arguments import InputShape
from .onnx import require_onnx


def is_torch_module(source: Any) -> bool:
    """Whether `source` is a `torch.nn.Module`; torch is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def export_torch(module: Any, example: Any = None, input_shape: InputShape = None) -> Any:
    """Export a `torch.nn.Module` to an `onnx.ModelProto`.

    `example` is the tensor (or tuple of tensors) to trace with, float32 with batch 1; with `input_shape`, such as
    ``(1, 3, 224, 224)``, zeros of that shape are traced. The module is traced in evaluation mode, and every submodule
    gets its mode back. Input and output names are the exporter's ("input", "output" for one each).

    Raises `ShapeError` where neither is given and `UnsupportedError` where the exporter fails.
    """
    import torch

    onnx = require_onnx()
    if example is None:
        if input_shape is None:
            raise ShapeError("a torch module does not say what it takes: give input_shape=(1, 3, H, W) or example=")
        like = next(module.parameters(), torch.zeros(()))
        if isinstance(input_shape, Mapping):
            (input_shape,) = input_shape.values()
        example = torch.zeros(tuple(input_shape), dtype=like.dtype, device=like.device)
    args = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the exporter's own: deprecations, tracing
            path = os.path.join(folder, "model.onnx")
            names: dict[str, Any] = {
                "input_names": ["input"] if len(args) == 1 else None,
                "output_names": ["output"] if isinstance(module(*args), torch.Tensor) else None,
            }
            torch.onnx.export(module, args, path, dynamo=False, **names)
            return onnx.load(path)
    except Exception as error:  # the exporter raises many kinds, RuntimeError mostly
        raise UnsupportedError(
            f"torch.onnx.export cannot export {type(module).__name__}: {told(error)}; export it to ONNX "
            "in another way and convert the file"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
