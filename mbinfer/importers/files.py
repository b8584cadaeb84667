"""Opens what the caller names as a model: a regular file, read once and bounded; a file of another kind is named."""

from __future__ import annotations

import errno
import io
import os
import stat
import zipfile

from ..errors import ArgumentError, FormatError, UnsupportedError
from ..messages import printable

TORCH = (
    "PyTorch weights or a saved module; build the module, load its state dict, and give convert() the module itself, "
    "or export it with torch.onnx.export (mbinfer.zoo takes state dicts of its architectures: weights=)"
)
SCRIPT = "a saved module of PyTorch; give convert() the module itself, torch.jit.load('MODEL'), and input_shape="
PROGRAM = (
    "an exported program of PyTorch; make an ONNX file of it: "
    "torch.onnx.export(torch.export.load('MODEL'), f='model.onnx')"
)
KERAS = (
    "a Keras model; make a TensorFlow Lite file of it: python -c \"import tensorflow as tf; open('model.tflite', "
    "'wb').write(tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model('MODEL')).convert())\""
)
TENSORFLOW = (
    "a TensorFlow graph; make a TensorFlow Lite file of its SavedModel: tflite_convert --saved_model_dir=FOLDER "
    "--output_file=model.tflite, or export a frozen graph with tf2onnx: python -m tf2onnx.convert --graphdef MODEL "
    "--output model.onnx --inputs NAME:0 --outputs NAME:0"
)
TFLITE = "named like a TensorFlow Lite model, but has no 'TFL3' at byte 4: it was cut, or is of another kind"
NCNN = "an ncnn model, from which no converter leads back; convert the model that it was made of"
OPENVINO = "an OpenVINO model, from which no converter leads back; convert the model that it was made of"
CAFFE = "a Caffe model; convert it to ONNX with caffe2onnx, or export the model again from PyTorch"
SUFFIXES = {
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".safetensors"), TORCH),
    ".pt2": PROGRAM,
    **dict.fromkeys((".h5", ".hdf5", ".keras"), KERAS),
    **dict.fromkeys((".pb", ".pbtxt", ".meta"), TENSORFLOW),
    ".tflite": TFLITE,
    ".param": NCNN,
    ".xml": OPENVINO,
    **dict.fromkeys((".caffemodel", ".prototxt"), CAFFE),
    **dict.fromkeys((".mlmodel", ".mlpackage"), "a Core ML model; convert the model that it was made of"),
    ".mnn": "an MNN model; convert the model that it was made of",
    **dict.fromkeys((".pdmodel", ".pdiparams"), "a Paddle model; convert it to ONNX with paddle2onnx"),
    ".ort": "onnxruntime's own format; convert the .onnx file that it was made of",
}
MAGICS = (  # offset, bytes, what it is
    (0, b"\x89MBI\r\n\x1a\n", "a model file of mbinfer already; open it with mbinfer.Session"),
    (4, b"ORTM", SUFFIXES[".ort"]),
    (0, b"\x89HDF", KERAS),
    (0, b"7767517", NCNN),
    (0, b"\x80\x02", TORCH),  # a pickle
    (4, b"ET12", "an ExecuTorch program, from which no converter leads back; convert the module that it was made of"),
    (0, b"version https://git-lfs", "what Git LFS keeps in place of a file; fetch the file itself: git lfs pull"),
)
ZIP = b"PK\x03\x04"
MEMBERS = (  # how a name in a zip archive ends, what the archive is: the first that is found
    (("/constants.pkl",), SCRIPT),
    (("/data.pkl",), TORCH),
    (("/archive_format", "serialized_exported_program.json"), PROGRAM),
    (("model.weights.h5",), KERAS),
)


def read_file(path: str | bytes | os.PathLike[str], most: int, offset: int = 0, length: int | None = None) -> bytes:
    """The bytes of the regular file `path`, or `length` of them from `offset` on; a whole file may have `most`.

    Raises `OSError` with errno and filename, `FormatError` for what is no regular file or too large, and
    `ArgumentError` for a path that cannot be one. Never waits for a pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a zero byte
        raise ArgumentError(f"{os.fspath(path)!r} cannot be a path: {error}") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"'{os.fsdecode(path)}' is no regular file; give the path of a file")
        if length is None and status.st_size > most:
            raise FormatError(f"'{os.fsdecode(path)}' has {status.st_size} bytes; at most {most} can be read")
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(offset)
            return file.read(most if length is None else length)
    finally:
        os.close(descriptor)


def refuse_other_formats(name: str, data: bytes = b"") -> None:
    """Raise `UnsupportedError`, with the road from there, where `data` begins like a model of another kind.

    Without data it is the end of `name` that tells.
    """
    by_name = SUFFIXES.get(os.path.splitext(name)[1].lower())
    if not data:
        found = by_name
    elif data.startswith(ZIP):
        found = _archive(data) or by_name or f"a zip archive: {TORCH}"
    elif data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        found = "a web page in place of a model; download the file itself"
    else:
        found = next((what for offset, magic, what in MAGICS if data[offset : offset + len(magic)] == magic), None)
    _refuse(name, found)


def refuse_folders(name: str) -> None:
    """Raise `UnsupportedError` where `name` is a folder that is a model of another kind."""
    if os.path.isdir(name):
        saved = os.path.isfile(os.path.join(name, "saved_model.pb"))
        _refuse(name, TENSORFLOW if saved else SUFFIXES.get(os.path.splitext(name.rstrip(os.sep))[1].lower()))


def _refuse(name: str, found: str | None) -> None:
    if found is not None:
        what = f"'{name}'" if name else "the source"
        raise UnsupportedError(f"{what} is {found}; convert() takes .onnx and .tflite files and torch modules")


def _archive(data: bytes) -> str | None:
    """What a zip archive is, by the names in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises many kinds
        return None
    inner = next((name for name in names if name.endswith((".tflite", ".onnx"))), None)
    if inner is not None:
        return f"a zip archive with '{printable(inner)}' in it; unpack it and give convert() that file"
    return next((what for ends, what in MEMBERS if any(name.endswith(ends) for name in names)), None)
