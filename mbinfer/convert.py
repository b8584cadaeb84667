"""`mbinfer.convert`: a model of another framework becomes a model file."""

from __future__ import annotations

import os

from .errors import ArgumentError, ShapeError, UnsupportedError
from .graph import COLORS, Graph, Recipe


def convert(
    source,
    path,
    *,
    dtype="float32",
    calibration=None,
    mean=None,
    scale=None,
    color="RGB",
    crop=1.0,
    labels=None,
    input_shape=None,
    example=None,
) -> None:
    """Convert `source` to a model file at `path`.

    source: an .onnx file, an `onnx.ModelProto` (opset 7 or later), or a `torch.nn.Module`, which is exported to ONNX in
        evaluation mode and needs `input_shape` or `example` (a tensor, or a tuple of tensors).
    dtype: of the weights; "float32". "float16" and "int8", and `calibration` pictures, come later.
    mean, scale: how a uint8 picture becomes the input, ``x = (u8 - mean) * scale``; one number or one per channel.
        With neither, the file has no recipe and takes float32 inputs only; with one, the other is 0 or 1.
    color: "RGB", "BGR" or "grey", the order that the network takes its channels in; one channel is always grey.
    crop: side of the central square taken of a picture, as a share of its shorter side, in (0, 1].
    labels: the class names, a list or the path of a text file with one a line; one for each class.
    input_shape: such as (1, 3, 224, 224), in the source's own axis order: fixes symbolic sizes of an ONNX model.

    Inputs of the result are NHWC with batch 1; rank-4 outputs too, other outputs keep the source's shape.

    Raises `UnsupportedError` (naming node, op, reason and what is supported), `FormatError` for an invalid ONNX model,
    `ShapeError` where shape, recipe or labels do not fit, `ArgumentError` for an unknown dtype or color,
    `FileNotFoundError` for a missing file.
    """
    from .importers import export_torch, import_onnx, is_torch_module  # a board that only runs models needs neither
    from .model import save

    if dtype in ("float16", "int8"):
        raise UnsupportedError(f"dtype={dtype!r} comes in a later version; use dtype='float32'")
    if dtype != "float32":
        raise ArgumentError(f"unknown dtype {dtype!r}; supported is 'float32'")
    if calibration is not None:
        raise UnsupportedError("calibration comes in a later version, with dtype='int8'; leave it out")
    if is_torch_module(source):
        graph = import_onnx(export_torch(source, example, input_shape))
    else:
        graph = import_onnx(source, input_shape)
    if mean is not None or scale is not None:
        _set_recipe(graph, mean, scale, color, crop)
    if labels is not None:
        _set_labels(graph, labels)
    save(graph, path, weight_dtype=dtype)


def _set_recipe(graph: Graph, mean, scale, color: str, crop: float) -> None:
    if len(graph.inputs) != 1:
        raise ShapeError(f"mean and scale describe one picture, but the model has the inputs {', '.join(graph.inputs)}")
    if color not in COLORS:
        raise ArgumentError(f"unknown color {color!r}; supported are {', '.join(COLORS)}")
    (name,) = graph.inputs
    channels = graph.values[name][2]
    if channels == 1:
        color = "grey"
    graph.inputs[name] = Recipe(
        _numbers("mean", 0.0 if mean is None else mean, channels),
        _numbers("scale", 1.0 if scale is None else scale, channels),
        color,
        float(crop),
    )


def _numbers(what: str, given, channels: int) -> tuple[float, ...]:
    numbers = (given,) * channels if not hasattr(given, "__len__") else tuple(given)
    if len(numbers) != channels:
        raise ShapeError(f"{what} has {len(numbers)} numbers, but the input has {channels} channels")
    return tuple(float(number) for number in numbers)


def _set_labels(graph: Graph, labels) -> None:
    if isinstance(labels, (str, os.PathLike)):
        with open(labels, encoding="utf-8") as file:
            labels = file.read().splitlines()
    graph.labels = [str(label) for label in labels]
    output = graph.outputs[0]
    classes = graph.values[output.value][2]
    if len(graph.labels) != classes:
        raise ShapeError(
            f"{len(graph.labels)} labels for the {classes} classes of output '{output.name}' "
            f"{output.shape}; give one for each class"
        )
