"""The importer on sources that nobody should trust: every error is the library's own, short, and comes soon."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import W, make, node, normal, refuse

import mbinfer
from mbinfer import errors
from mbinfer.convert import convert
from mbinfer.importers import import_model, import_onnx
from mbinfer.importers.onnx import constants
from mbinfer.messages import LONGEST, brief, printable

MUTATIONS = int(os.environ.get("MBINFER_MUTATIONS", "300"))


def named(case: object) -> str:
    """The name of a test, without addresses: they differ between the processes that share the tests."""
    return re.sub(r" at 0x\w+", "", repr(case))


def test_damaged_models_end_in_the_librarys_own_errors():
    """`MBINFER_MUTATIONS` says how many; a process of its own, so that a crash or a large allocation is seen."""
    program = Path(__file__).with_name("mutate_onnx.py")
    paths = os.pathsep.join([str(Path(mbinfer.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, str(program), str(MUTATIONS), "5"],
        capture_output=True,
        text=True,
        timeout=60 + MUTATIONS,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert ended.returncode == 0, ended.stderr[-6000:]
    found = json.loads(ended.stdout)
    assert found["kinds"]["FormatError"] and found["kinds"]["UnsupportedError"] and found["kinds"]["converted"]
    assert found["peak_kib"] < 1 << 20 and found["slowest"] < 10


def test_a_model_in_memory(tmp_path):
    model = make(node("Conv", "x", "w"), w=W)
    onnx.save(model, tmp_path / "m.onnx")
    data = model.SerializeToString()
    for i, source in enumerate((tmp_path / "m.onnx", model, data, bytearray(data), memoryview(data))):
        convert(source, tmp_path / f"{i}.bin")
    written = {(tmp_path / f"{i}.bin").read_bytes() for i in range(5)}
    assert len(written) == 1


@pytest.mark.parametrize("source", [None, 5, 2.5, ["m.onnx"], {"a": 1}, object(), open, np.zeros(3)], ids=named)
def test_what_is_no_source(source, tmp_path):
    with pytest.raises(errors.ArgumentError, match="path of an .onnx file"):
        convert(source, tmp_path / "m.bin")


def test_files_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind, number in (
        (tmp_path / "none.onnx", FileNotFoundError, errno.ENOENT),
        (tmp_path, IsADirectoryError, errno.EISDIR),
    ):
        with pytest.raises(kind) as caught:
            convert(path, tmp_path / "m.bin")
        assert caught.value.errno == number and str(caught.value.filename) == str(path)
    for path, kind in ((tmp_path / "pipe", errors.FormatError), ("a\0b", errors.ArgumentError)):
        with pytest.raises(kind):
            convert(path, tmp_path / "m.bin")
    with pytest.raises(IsADirectoryError):
        convert(make(node("Relu", "x")), tmp_path)
    with pytest.raises(errors.ArgumentError, match="path"):
        convert(make(node("Relu", "x")), None)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": "grey"},
        {"mean": {1: 2}},
        {"mean": [[1, 2, 3]]},
        {"mean": object()},
        {"mean": 1j},
        {"mean": 10**400},
        {"scale": float("nan")},
        {"scale": [1, None, 2]},
        {"scale": 1, "color": None},
        {"scale": 1, "color": ["RGB"]},
        {"scale": 1, "crop": "all"},
        {"scale": 1, "crop": [1, 2]},
        {"labels": 5},
        {"labels": b"abc"},
        {"labels": ["a\0", "b", "c", "d"]},
        {"labels": iter(int, 1)},
        {"dtype": None},
        {"dtype": np.zeros(3)},
        {"input_shape": "1,3,8,8"},
        {"input_shape": 5},
        {"input_shape": (1, 3, 8.0, 8)},
        {"input_shape": (1, 3, None, 8)},
        {"input_shape": (1, 3, 0, 8)},
        {"input_shape": (1, 3, -8, 8)},
        {"input_shape": (1, 3, 1 << 40, 8)},
        {"input_shape": (1, 3, 1 << 20, 1 << 20)},
        {"input_shape": {5: (1, 3, 8, 8)}},
        {"input_shape": {"x": None}},
        {"outputs": "y"},
        {"outputs": 5},
        {"outputs": []},
        {"outputs": ["nowhere"]},
        {"outputs": [None]},
        {"outputs": ["y", "y"]},
    ],
    ids=named,
)
def test_arguments_of_the_wrong_kind(options, tmp_path):
    with pytest.raises(errors.Error) as caught:
        convert(make(node("Conv", "x", "w"), w=normal(4, 3, 8, 8)), tmp_path / "m.bin", **options)
    assert len(str(caught.value)) <= LONGEST and not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"a\nb\xff\n", b"\x00\x01\x02\nb\nc\nd\n"], ids=repr)
def test_files_of_labels_that_are_none(data, tmp_path):
    (tmp_path / "labels.txt").write_bytes(data)
    model = make(node("Conv", "x", "w"), w=normal(4, 3, 8, 8))
    with pytest.raises(errors.Error):
        convert(model, tmp_path / "m.bin", labels=tmp_path / "labels.txt")
    with pytest.raises(FileNotFoundError):
        convert(model, tmp_path / "m.bin", labels=tmp_path / "none.txt")


BOMBS = {
    "a vector of 2^40": [node("ConstantOfShape", "many", to="k")],
    "a range of 2^40": [node("Range", "zero", "large", "one", to="k")],
    "expanded to 2^40": [node("Expand", "one", "many", to="k")],
    "tiled to 2^40": [node("Tile", "ones", "many", to="k")],
    "padded to 2^40": [node("Pad", "ones", "wide", to="k")],
    "resized to 2^40": [node("Resize", "ones4", "", "", "sizes", to="k")],
    "one of 2^40": [node("OneHot", "zero", "large", "two", to="k")],
    "broadcast to 2^40": [
        node("Expand", "one", "million", to="a"),
        node("Unsqueeze", "a", "last", to="b"),
        node("Add", "a", "b", to="k"),
    ],
    "doubled 40 times": [node("Concat", *["ones" if not i else f"k{i}"] * 2, to=f"k{i + 1}", axis=0) for i in range(40)]
    + [node("Identity", "k40", to="k")],
    "2^40 multiply-adds": [
        node("Expand", "one", "square", to="a"),
        *[node("MatMul", "a", "a" if not i else f"p{i}", to=f"p{i + 1}") for i in range(200)],
        node("Identity", "p200", to="k"),
    ],
}


@pytest.mark.parametrize("what", BOMBS)
def test_constants_are_bounded_before_they_are_made(what):
    constants = {
        "many": [1 << 40],
        "million": [1 << 20],
        "square": [2048, 2048],
        "zero": 0,
        "one": 1,
        "large": 1 << 40,
        "ones": np.ones(4),
        "ones4": np.ones((1, 1, 2, 2)),
        "sizes": [1, 1, 1 << 20, 1 << 20],
        "wide": [0, 1 << 40],
        "last": [1],
        "two": [0.0, 1.0],
    }
    used = {name for made in BOMBS[what] for name in made.input}
    nodes = [*BOMBS[what], node("Add", "x", "k")]
    start = time.process_time()
    model = make(*nodes, infer=False, **{name: array for name, array in constants.items() if name in used})
    error = refuse(model, "constant")
    assert error.op and time.process_time() - start < 10


# What each of a few nodes may take, and all of them together may not.
TOGETHER = {
    "ASKED": ("Sin", ["a"], "node"),
    "PRODUCTS": ("MatMul", ["w", "w"], "multiply-adds"),
    "READ": ("ReduceMax", ["a"], "elements of others"),
    "ELEMENTS": ("Neg", ["a"], "elements,"),
    "WORK": ("Softplus", ["a"], "pairs"),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_constants_are_bounded_together(what, monkeypatch):
    op, reads, taken = TOGETHER[what]
    nodes = [node("ConstantOfShape", "s", to="a"), helper.make_node("Cast", ["a"], ["w"], to=TensorProto.INT64)]
    nodes += [node(op, *reads, to=f"k{i}") for i in range(8)] + [node("Max", *(f"k{i}" for i in range(8)), to="k")]
    nodes += [node("ReduceMax", "k", to="m"), helper.make_node("Cast", ["m"], ["r"], to=1), node("Add", "x", "r")]
    model = make(*nodes, infer=False, s=np.array([32, 32]))
    assert import_onnx(model).nodes
    most = {"ASKED": 6, "PRODUCTS": 5 * 16 << 15, "READ": 6 << 10, "ELEMENTS": 6 << 10, "WORK": 5 << 20}[what]
    monkeypatch.setattr(constants, f"ALL_{what}", most)
    monkeypatch.setattr(constants, "STEPS", 0)
    refuse(model, f"({op})", f" {taken}", "few are left")


def test_shape_arithmetic_asks_nobody(monkeypatch):
    """A long chain of it is evaluated by numpy alone."""
    monkeypatch.setattr(constants, "ALL_ASKED", 0)
    nodes = []
    for i in range(100):
        nodes += [node("Shape", f"a{i}" if i else "x", to=f"s{i}"), node("Gather", f"s{i}", "one", to=f"g{i}")]
        nodes += [node("Unsqueeze", f"g{i}", "zero", to=f"u{i}"), node("Concat", f"u{i}", "rest", to=f"k{i}", axis=0)]
        nodes += [node("Reshape", f"a{i}" if i else "x", f"k{i}", to=f"a{i + 1}")]
    numbers = {"one": np.int64(1), "zero": np.array([0]), "rest": np.array([-1, 1])}
    graph = import_onnx(make(*nodes, outputs=["a100"], shape=(1, 3, 4, 4), infer=False, **numbers))
    assert graph.outputs[0].shape == (16, 3, 1)


# onnx keeps some 135 bytes for each number of a vector that it follows, at each node.
FOLLOWED = {
    "a range": [node("Range", "zero", "many", "one", to="a"), helper.make_node("Cast", ["a"], ["k"], to=1)],
    "computed sizes": [
        node("Mul", "some", "some", to="a"),
        node("ConstantOfShape", "a", to="b", value=onnx.numpy_helper.from_array(np.ones(1, np.int64))),
        helper.make_node("Cast", ["b"], ["k"], to=1),
    ],
    "many vectors": [node("Mul", "vector" if not i else f"a{i}", "vector", to=f"a{i + 1}") for i in range(300)]
    + [helper.make_node("Cast", ["a300"], ["k"], to=1)],
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_shape_inference_follows_few_numbers(what, tmp_path):
    constants = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "many": np.int64(1 << 24),
        "some": np.array([1 << 12], np.int64),
        "vector": np.ones(1 << 16, np.int64),
    }
    used = {name for made in FOLLOWED[what] for name in made.input}
    nodes = [*FOLLOWED[what], node("ReduceMax", "k", to="m", keepdims=0), node("Add", "x", "m")]
    constants = {name: array for name, array in constants.items() if name in used}
    model = make(*nodes, opset=18, infer=False, **constants)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    program = [sys.executable, "-c", PEAK_OF_READING, tmp_path / "m.onnx"]
    paths = {**os.environ, "PYTHONPATH": str(Path(mbinfer.__file__).parents[1])}
    read = subprocess.run(program, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=paths)
    assert int(read.stdout) < 100 << 10, read.stderr[-2000:]  # KiB, and not a few GB


PEAK_OF_READING = """
import contextlib, resource, sys
from mbinfer import Error
from mbinfer.importers.onnx.reading import read_onnx
from onnx import shape_inference
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with contextlib.suppress(Error):
    read_onnx(sys.argv[1])
print(peak() - before)
"""


def test_loops_and_random_numbers_are_no_constants():
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [helper.make_tensor_value_info(n, t, ()) for n, t in (("i", 7), ("go", 9), ("v", 1))],
        [helper.make_tensor_value_info(n, t, ()) for n, t in (("on", 9), ("w", 1))],
    )
    endless = node("Loop", "", "yes", "one", to="k", body=body)
    refuse(make(endless, node("Add", "x", "k"), yes=np.array(True), one=1.0), "the Loop")
    refuse(make(node("RandomNormal", to="k", shape=[1]), node("Add", "x", "k")), "the RandomNormal")


def test_functions_are_counted_before_they_are_inlined():
    def function(name, *called):
        nodes = [
            helper.make_node(c, ["a" if not i else f"t{i}"], [f"t{i + 1}"], domain=d) for i, (c, d) in enumerate(called)
        ]
        nodes.append(helper.make_node("Identity", [f"t{len(called)}"], ["b"]))
        return helper.make_function("f", name, ["a"], ["b"], nodes, [helper.make_opsetid(d, 13) for d in ("", "f")])

    doubling = [function("f0", ("Relu", ""))] + [function(f"f{i + 1}", *[(f"f{i}", "f")] * 2) for i in range(40)]
    refuse(make(node("f40", "x", domain="f"), functions=doubling, infer=False), "nodes")
    with pytest.raises(errors.Error, match="calls itself"):
        import_onnx(make(node("g", "x", domain="f"), functions=[function("g", ("g", "f"))], infer=False))


@pytest.mark.parametrize(
    "location", ["absolute", "above", "link", "folder/../../above", "", "a\0b", ".", "none", "pipe"]
)
def test_weights_lie_in_the_models_own_folder(location, tmp_path):
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(W.tobytes())
    (home / "link").symlink_to(secret)
    os.mkfifo(home / "pipe")
    location = {"absolute": str(secret), "above": "../secret.bin", "folder/../../above": "folder/../../secret.bin"}.get(
        location, location
    )
    model = make(node("Conv", "x", "w"), w=W)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (home / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(errors.FormatError, match="'w'|regular file"):
        convert(home / "m.onnx", home / "m.bin")
    assert not (home / "m.bin").exists()


def test_weights_in_a_file_of_their_own(tmp_path):
    model = make(node("Conv", "x", "w", "b"), w=W, b=normal(4))
    convert(model, tmp_path / "one.bin")
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    convert(tmp_path / "m.onnx", tmp_path / "two.bin")
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    unloaded = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for entry in ("offset", "length"):
        for number in ("-3", "x", str(1 << 70), "9" * 5000):
            damaged = onnx.ModelProto()
            damaged.CopyFrom(unloaded)
            for field in damaged.graph.initializer[0].external_data:
                if field.key == entry:
                    field.value = number
            (tmp_path / "bad.onnx").write_bytes(damaged.SerializeToString())
            with pytest.raises(errors.FormatError, match="m.data"):
                convert(tmp_path / "bad.onnx", tmp_path / "bad.bin")
    with pytest.raises(errors.FormatError, match="by its path"):
        convert(unloaded, tmp_path / "bad.bin")
    convert(onnx.load(tmp_path / "m.onnx"), tmp_path / "three.bin")  # the remedy that the message names
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(errors.FormatError, match="m.data.*cut short"):
        convert(tmp_path / "m.onnx", tmp_path / "bad.bin")


def test_weights_of_the_wrong_type_are_no_weights():
    weights = np.ones((4, 3, 3, 3), np.int8)
    with pytest.raises(errors.FormatError, match="shape inference refuses"):
        import_onnx(make(node("Conv", "x", "w"), w=weights, infer=False))


def change(model, edit):
    edit(model.graph, {tensor.name: tensor for tensor in model.graph.initializer})
    return model


@pytest.mark.parametrize(
    "edit",
    [
        lambda graph, tensors: setattr(tensors["w"], "raw_data", tensors["w"].raw_data[:-1]),
        lambda graph, tensors: setattr(tensors["w"], "raw_data", tensors["w"].raw_data * 2),
        lambda graph, tensors: setattr(tensors["w"], "data_type", 99),
        lambda graph, tensors: setattr(tensors["w"], "data_type", TensorProto.STRING),
        lambda graph, tensors: setattr(tensors["w"], "data_type", TensorProto.INT4),
        lambda graph, tensors: tensors["w"].dims.append(1 << 40),
        lambda graph, tensors: tensors["w"].dims.insert(0, -1),
        lambda graph, tensors: tensors["w"].dims.insert(0, 0),
    ],
)
def test_tensors_whose_data_are_not_of_their_shape(edit):
    with pytest.raises(errors.FormatError, match="[':] ?w"):
        import_onnx(change(make(node("Conv", "x", "w"), w=W), edit))


@pytest.mark.parametrize("attrs", [{"pads": [1 << 20] * 4}, {"pads": [1 << 62] * 4}, {"strides": [0, 0]}, {"group": 0}])
def test_sizes_beyond_reason(attrs):
    with pytest.raises(errors.Error, match="Conv"):
        import_onnx(make(node("Conv", "x", "w", to="a", **attrs), node("Relu", "a"), w=W, infer=False))


def test_statistics_that_make_no_number(tmp_path):
    norm = {"g": np.ones(4), "b": np.ones(4), "m": np.ones(4), "v": -np.ones(4)}
    model = make(node("Conv", "x", "w", to="a"), node("BatchNormalization", "a", *norm), w=W, **norm)
    with pytest.raises(errors.FormatError, match="the Conv.*NaN"):
        convert(model, tmp_path / "m.bin")


def test_messages_are_short_and_print():
    name = "\x1b[2J\u202e\n" + "x" * 100_000
    with pytest.raises(errors.UnsupportedError) as caught:
        import_model(make(node("Erf", "x", name=name)))
    message = str(caught.value)
    assert len(message) <= LONGEST and message.isprintable() and "Erf" in message and "supported" in message
    assert caught.value.node == name, "for programs it is what the file says"
    assert brief("a\tb\n c") == "a b c" and printable("é\x07") == "é\\x07"


@pytest.mark.parametrize(
    "name, data, word",
    [
        ("net.pth", b"\x80\x02}q\x00.", "torch.onnx.export"),
        ("net.pt", b"PK\x03\x04....", "torch.onnx.export"),
        ("net.pt2", b"PK\x03\x04....", "torch.onnx.export"),
        ("net.bin", b"PK\x03\x04....", "torch.onnx.export"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "TFLiteConverter.from_keras_model"),
        ("net.keras", b"PK\x03\x04....", "TFLiteConverter.from_keras_model"),
        ("net.pb", b"\x0a\x07\x0a\x05input\xff", "tflite_convert --saved_model_dir"),
        ("net.tflite", b"\x1c\0\0\0TFL2....", "TFL3"),
        ("net.param", b"7767517\n3 3\n", "ncnn"),
        ("net.xml", b"<net/>", "OpenVINO"),
        ("net.mlmodel", b"\xff\xff", "Core ML"),
        ("net.bin", b"\x89MBI\r\n\x1a\n....", "mbinfer.Session"),
        ("net.pte", b"....ET12", "ExecuTorch"),
        ("net.onnx", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("net.onnx", b"\n<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_a_model_of_another_kind_is_named_with_the_road_from_there(name, data, word, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(errors.UnsupportedError, match=word):
        convert(tmp_path / name, tmp_path / "m.bin")
    if not name.endswith((".pb", ".tflite", ".xml", ".mlmodel")):  # which their bytes do not tell
        with pytest.raises(errors.UnsupportedError):
            convert(data, tmp_path / "m.bin")
    onnx.save(make(node("Relu", "x")), tmp_path / "net.pb")
    convert(tmp_path / "net.pb", tmp_path / "m.bin")  # an ONNX model under another name is one


@pytest.mark.parametrize(
    "name, members, word",
    [
        ("net.pt", ["net/constants.pkl", "net/data.pkl"], "torch.jit.load"),
        ("net.bin", ["net/data.pkl", "net/data/0"], "load its state dict"),
        ("net.pt", ["net/archive_format", "net/models/model.json"], "torch.export.load"),
        ("net.zip", ["config.json", "model.weights.h5"], "TFLiteConverter.from_keras_model"),
        ("net.task", ["metadata", "hand_detector.tflite"], "'hand_detector.tflite' in it; unpack"),
    ],
)
def test_an_archive_is_named_by_what_is_in_it(name, members, word, tmp_path):
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for member in members:
            archive.writestr(member, b"")
    with pytest.raises(errors.UnsupportedError, match=word):
        convert(tmp_path / name, tmp_path / "m.bin")


def test_a_saved_model_is_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError):
        convert(tmp_path, tmp_path / "m.bin")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(errors.UnsupportedError, match="tflite_convert --saved_model_dir"):
        convert(tmp_path, tmp_path / "m.bin")


def test_weights_without_their_module_are_named():
    with pytest.raises(errors.ArgumentError, match="type dict, PyTorch weights.*load its state dict"):
        import_model({"conv.weight": np.zeros((8, 3, 3, 3), np.float32)})


def test_too_many_outputs_are_refused_before_anything_is_made_of_them():
    names = [f"y{i}" for i in range(4097)]
    source = make(*(node("Relu", "x", to=name) for name in names), outputs=names, infer=False)
    with pytest.raises(errors.UnsupportedError, match=r"4097 outputs; supported are up to 4096.*outputs=\[names\]"):
        import_onnx(source)
    assert len(import_onnx(source, outputs=names[:2]).outputs) == 2
