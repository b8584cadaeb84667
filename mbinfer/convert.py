"""`mbinfer.convert`: a model of another framework becomes a model file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import numpy as np

from .check_types import finite_float32
from .errors import ArgumentError, ShapeError
from .graph import COLORS, Graph, Node, Recipe
from .options import written_path

DTYPES = ("float32", "float16", "int8")
LARGEST_LABELS = 1 << 24  # bytes of a file of class names
Path = Union[str, "os.PathLike[str]"]
Numbers = Union[float, Sequence[float]]
InputShape = Union[Sequence[int], Mapping[str, Sequence[int]], None]


def convert(
    source: Any,
    path: Path,
    *,
    dtype: str = "float32",
    calibration: Any = None,
    mean: Numbers | None = None,
    scale: Numbers | None = None,
    color: str = "RGB",
    crop: float = 1.0,
    labels: Path | Iterable[str] | None = None,
    input_shape: InputShape = None,
    example: Any = None,
    inputs: Iterable[str] | None = None,
    outputs: Iterable[str] | None = None,
    states: Mapping[str, str] | None = None,
    boxes: Mapping[str, Any] | None = None,
    **quantising: Any,
) -> None:
    """Convert `source` to a model file at `path`.

    source: an .onnx file, its bytes, an `onnx.ModelProto` (opset 7 or later), a .tflite file or its bytes, or a
        `torch.nn.Module`, which is exported to ONNX in evaluation mode and needs `input_shape` or `example` (a tensor,
        or a tuple of tensors). Weights in other files are read from the .onnx file's own folder only.
    dtype: "float32"; "float16", the same with weights rounded to half the bytes; or "int8": uint8 values, int8 weights,
        quantised after what `calibration` shows. A source that is quantised itself keeps its own types.
    calibration: for dtype "int8": a folder of pictures, or an iterable of paths, of arrays (height, width, channels),
        uint8 or float32, or of dicts of arrays by input name; some dozens of what the network is for.
    mean, scale: how a uint8 picture becomes the input, ``x = (u8 - mean) * scale``; one number or one per channel.
        With neither, the file has no recipe and takes float32 inputs only; with one, the other is 0 or 1.
    color: "RGB", "BGR" or "grey", the order that the network takes its channels in; one channel is always grey.
    crop: side of the central square taken of a picture, as a share of its shorter side, in (0, 1].
    labels: the class names, a list or the path of a text file with one a line; one for each class.
    input_shape: such as (1, 3, 224, 224), in the source's own axis order: fixes the open sizes of a model and
        overrides those that it stores; a dict by input name where there are several.
    inputs, outputs: names of tensors of the source to begin and to end at; what lies before and behind is left out.
    states: for a streaming network: by input, the name of the tensor that it takes in the following run, such as
        {"cache": "new_cache"}; at first zeros. It is no input of the result, nor an output unless `outputs` has it.
    boxes: of a detector that ends in raw numbers, how they become boxes as `mbinfer.detect` reads them, such as
        {"boxes": "output0[:4]", "scores": "output0[4:]", "form": "cxcywh"}: docs/detectors.md.
    quantising: for dtype "int8": ranges, keep_float, report and the rest of `mbinfer.quantize.quantize`.

    Inputs of the result are NHWC with batch 1, ONNX sequences (1, channels, length) as `Session.inputs` says; rank-4
    outputs too, other outputs keep the source's shape.

    Raises `UnsupportedError` (node, op, reason and what is supported), `FormatError` for an invalid model, `ShapeError`
    where shape, recipe or labels do not fit, `ArgumentError` for arguments of the wrong kind, and an `OSError` with
    errno and filename for a file that cannot be read or written.
    """
    from . import importers, model  # a board that only runs models needs neither

    written = written_path("path", path)
    _check_dtype(dtype, calibration, quantising)
    side = _check_picture(color, crop)
    graph = importers.import_model(source, input_shape, example, outputs, states, inputs, boxes)
    _set_recipe(graph, mean, scale, color, side)
    if dtype == "int8":
        graph = _quantised(graph, calibration, quantising)
    _set_labels(graph, labels)
    model.save(graph, written, "float16" if dtype == "float16" else None)


def _quantised(graph: Graph, calibration: Any, quantising: dict[str, Any]) -> Graph:
    from .quantize import quantize

    return quantize(graph, calibration, **quantising)


def _check_dtype(dtype: str, calibration: Any, quantising: dict[str, Any]) -> None:
    if not isinstance(dtype, str):
        raise ArgumentError(f"dtype of type {type(dtype).__name__}; supported are {', '.join(DTYPES)}")
    if dtype not in DTYPES:
        raise ArgumentError(f"unknown dtype {dtype!r}; supported are {', '.join(DTYPES)}")
    given = (["calibration"] if calibration is not None else []) + sorted(quantising)
    if dtype != "int8" and given:
        raise ArgumentError(f"{', '.join(given)}: for dtype='int8' only; give that, or leave them out")


def _check_picture(color: Any, crop: Any) -> float:
    """Whether these make sense, whatever the model is and with or without a recipe; the side that `crop` is."""
    if not isinstance(color, str) or color not in COLORS:
        raise ArgumentError(f"color={color!r}; supported are {', '.join(COLORS)}")
    side = _numbers("crop", crop, 1)[0]
    if not 0 < np.float32(side) <= 1:
        raise ArgumentError(f"crop={crop!r}: give a share of the shorter side, above 0 and at most 1")
    return side


def _set_recipe(graph: Graph, mean: Numbers | None, scale: Numbers | None, color: str, crop: float) -> None:
    if mean is None and scale is None:
        return
    if len(graph.inputs) != 1:
        raise ShapeError(f"mean and scale describe one picture, but the model has the inputs {', '.join(graph.inputs)}")
    (name,) = graph.inputs
    channels = graph.values[name][2]
    if channels == 1:
        color = "grey"
    _take_real_numbers(graph, name)
    graph.inputs[name] = Recipe(
        _numbers("mean", 0.0 if mean is None else mean, channels),
        _numbers("scale", 1.0 if scale is None else scale, channels),
        color,
        crop,
    )


def _take_real_numbers(graph: Graph, name: str) -> None:
    """A quantised input becomes one of float32, which a recipe makes, with a conversion behind it."""
    kind = graph.types.pop(name, None)
    if kind is None or kind.dtype != "uint8":  # behind an int8 input there is a conversion to uint8
        return
    inner = f"{name}/uint8"
    while inner in graph.values:
        inner += "'"
    for node in graph.nodes:
        node.inputs = [inner if value == name else value for value in node.inputs]
    graph.values[inner], graph.types[inner] = graph.values[name], kind
    graph.nodes.insert(0, Node("convert", inner, [name], inner))


def _numbers(what: str, given: Any, count: int) -> tuple[float, ...]:
    try:
        if isinstance(given, (str, bytes, dict, set)):
            raise TypeError("not a number")
        numbers = (given,) * count if not hasattr(given, "__len__") else tuple(given)
        floats = tuple(float(number) for number in numbers)
        if not finite_float32(floats):
            raise ValueError("no number")
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{what}={given!r}: give a number, or one for each channel") from error
    if len(floats) != count:
        raise ShapeError(f"{what} has {len(floats)} numbers, but the input has {count} channels")
    return floats


def read_labels(path: Path) -> list[str]:
    """The class names in a UTF-8 text file, one a line, without the spaces around them; empty lines at the end go."""
    from .importers.files import read_file

    try:
        lines = read_file(path, LARGEST_LABELS).decode("utf-8-sig").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{os.fsdecode(path)}: labels must be UTF-8 text, one a line ({error})") from None
    return [line.strip() for line in lines]


def _set_labels(graph: Graph, labels: Any) -> None:
    if labels is None:
        return
    output = graph.outputs[0]
    classes = graph.values[output.value][2]
    if isinstance(labels, (str, os.PathLike)):
        labels = read_labels(labels)
    else:
        try:
            labels = [] if isinstance(labels, bytes) else [str(label) for label in itertools.islice(labels, 1 << 16)]
        except TypeError:
            labels = []
        if not labels:
            raise ArgumentError("labels: give a list of class names, or the path of a file with one a line")
    ends_in_boxes = any(node.op == "nms" and node.output == output.value for node in graph.nodes)
    if len(labels) != classes and not ends_in_boxes:
        raise ShapeError(
            f"{len(labels)} labels for the {classes} classes of output '{output.name}' "
            f"{output.shape}; give one for each class"
        )
    graph.labels = [str(label).strip() for label in labels]
