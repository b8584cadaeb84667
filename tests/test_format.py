"""The model file, version 1: golden bytes, a round trip through a reader written from docs/format.md, all refusals."""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbinfer import model
from mbinfer.errors import ArgumentError, FormatError, ShapeError, UnsupportedError
from mbinfer.graph import Graph, Node, Output, Recipe, Type
from mbinfer.ops import OPS, OpInfo

GOLDEN = Path(__file__).parent / "data" / "golden_v1.bin"
GOLDEN_FLOAT16 = GOLDEN.with_name("golden_float16.bin")
FORMAT_H = Path(__file__).parents[1] / "csrc" / "model" / "format.h"
INF = float("inf")


def numbers(*shape: int) -> np.ndarray:
    """Eighths from -1 to 1, exact in float32 on every machine."""
    return ((np.arange(np.prod(shape)) % 17 - 8) / 8).reshape(shape)


def tiny_graph() -> Graph:
    """Every op, activation and flag once, with odd sizes."""
    graph = Graph()
    graph.values = {
        "image": (6, 5, 3),
        "stem": (3, 3, 6),
        "mix": (3, 3, 9),
        "deep": (3, 3, 9),
        "sum": (3, 3, 9),
        "max": (2, 2, 9),
        "avg": (1, 2, 9),
        "mean": (1, 1, 9),
        "logits": (1, 1, 4),
        "probs": (1, 1, 4),
    }
    graph.inputs = {"image": Recipe(mean=(1.0, 2.0, 3.5), scale=(0.5, 0.25, 0.125), color="BGR", crop=0.875)}
    graph.nodes = [
        Node(
            "conv",
            "stem.conv",
            ["image"],
            "stem",
            kernel=(3, 2),
            stride=(2, 2),
            pads=(1, 1, 0, 0),
            activation="clamp",
            clamp=(0.0, 6.0),
            weight=numbers(6, 3, 2, 3),
            bias=numbers(6),
        ),
        Node("conv", "mix.conv", ["stem"], "mix", groups=3, activation="hard_swish", weight=numbers(9, 1, 1, 2)),
        Node(
            "depthwise",
            "deep.conv",
            ["mix"],
            "deep",
            kernel=(3, 3),
            dilation=(2, 1),
            pads=(2, 1, 2, 1),
            weight=numbers(3, 3, 9),
            bias=numbers(9),
        ),
        Node("add", "sum.add", ["mix", "deep"], "sum", activation="clamp", clamp=(0.0, INF)),
        Node("max_pool", "max.pool", ["sum"], "max", kernel=(2, 2)),
        Node(
            "avg_pool", "avg.pool", ["max"], "avg", kernel=(3, 3), stride=(2, 1), pads=(1, 1, 1, 1), counts_padding=True
        ),
        Node("global_avg_pool", "mean.pool", ["avg"], "mean"),
        Node("conv", "dense", ["mean"], "logits", weight=numbers(4, 1, 1, 9), bias=numbers(4)),
        Node("softmax", "softmax", ["logits"], "probs"),
    ]
    graph.outputs = [Output("probability", "probs", (1, 4)), Output("sum", "sum", (1, 9, 3, 3))]
    graph.labels = ["crane", "straße", "crane", ""]
    graph.metadata = {"source": "tests", "licence": "none"}
    return graph


# A reader that shares nothing with the writer: struct formats from docs/format.md.

HEADER, VALUE, NODE = "<8sHHIQQQI8II12I", "<4IB3sI2I", "<I4BIIII6H4H2fI4Q10I"
INPUT, OUTPUT, QUANT, METADATA = "<IBB2sf4f4f5I", "<III8I5I", "<fi2I", "<II"


def read(data: bytes) -> dict:
    """All that a file says, checksums and layout rules checked."""
    head = struct.unpack_from(HEADER, data)
    magic, major, minor, crc, size, offset, weight_bytes, weights_crc, *counts = head[:17]
    assert (magic, major, minor, size) == (b"\x89MBI\r\n\x1a\n", 1, 0, len(data))
    assert offset % 64 == 0 and offset + weight_bytes == size and not any(head[17:])
    assert crc == zlib.crc32(data[:12] + bytes(4) + data[16:offset]) and weights_crc == zlib.crc32(data[offset:])
    at, sections = struct.calcsize(HEADER), []
    for count, layout in zip(counts, (VALUE, NODE, "<I", INPUT, OUTPUT, QUANT, METADATA, "<I")):
        sections.append([struct.unpack_from(layout, data, at + i * struct.calcsize(layout)) for i in range(count)])
        at += count * struct.calcsize(layout)
    strings = data[at : at + counts[8]]
    at += counts[8]
    assert strings.endswith(b"\0") and offset - at < 64 and not any(data[at:offset])

    def text(position: int) -> str:
        return strings[position : strings.index(b"\0", position)].decode()

    def tensor(position: int, size: int, dtype: int = 1) -> np.ndarray:
        assert position % 64 == 0 and position + size <= weight_bytes
        kind = np.dtype({0: "<f4", 1: "<f4", 2: "<f2"}[dtype])
        return np.frombuffer(data, kind, size // kind.itemsize, offset + position)

    values, nodes, node_inputs, inputs, outputs, _, metadata, labels = sections
    names = [text(v[0]) for v in values]
    assert all(v[4:] == (1, bytes(3), 0xFFFFFFFF, 0, 0) for v in values)
    assert not any(
        any(r) for r in ([(n[21], *n[26:]) for n in nodes] + [i[12:] for i in inputs] + [o[11:] for o in outputs])
    )
    return {
        "strings": strings,
        "values": {name: v[1:4] for name, v in zip(names, values)},
        "nodes": [
            {
                "name": text(n[0]),
                "op": n[1],
                "activation": n[2],
                "weight_dtype": n[3],
                "flags": n[4],
                "inputs": [names[i] for (i,) in node_inputs[n[5] : n[5] + n[6]]],
                "output": names[n[7]],
                "groups": n[8],
                "kernel": n[9:11],
                "stride": n[11:13],
                "dilation": n[13:15],
                "pads": n[15:19],
                "clamp": n[19:21],
                "weight": tensor(*n[22:24], n[3]),
                "bias": tensor(*n[24:26]),
            }
            for n in nodes
        ],
        "inputs": [
            {"value": names[i[0]], "recipe": i[1], "color": i[2], "crop": i[4], "mean": i[5:9], "scale": i[9:13]}
            for i in inputs
        ],
        "outputs": [(text(o[1]), names[o[0]], o[3 : 3 + o[2]]) for o in outputs],
        "labels": [text(position) for (position,) in labels],
        "metadata": {text(key): text(value) for key, value in metadata},
    }


def test_golden_bytes():
    """Version 1 is frozen at the first release; until then, `python tests/test_format.py` writes the golden files."""
    assert model.encode(tiny_graph()) == GOLDEN.read_bytes()
    assert model.encode(tiny_graph(), "float16") == GOLDEN_FLOAT16.read_bytes()


def test_records_are_those_of_the_header():
    """The writer's dtypes list the fields of csrc/model/format.h in the same order, sizes and signs."""
    kinds = {"uint8_t": "u1", "uint16_t": "u2", "uint32_t": "u4", "uint64_t": "u8", "int32_t": "i4", "float": "f4"}
    text = re.sub(r"//.*", "", FORMAT_H.read_text())
    structs = dict(re.findall(r"struct (\w+) \{(.*?)\};", text, re.S))
    for name, body in structs.items():
        fields = []
        for kind, declared in re.findall(r"(\w+) ([^;]+);", body):
            for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?", declared):
                fields.append((field, kinds[kind], int(count or 1)))
        dtype = getattr(model, name.replace("Record", "").upper())
        ours = [(f, dtype[f].base.str.lstrip("<|"), int(np.prod(dtype[f].shape))) for f in dtype.names]
        assert ours == fields, name
        asserted = re.search(rf"sizeof\({name}\) == (\d+)", text)
        assert dtype.itemsize == (int(asserted[1]) if asserted else 8), name


def test_operators_are_those_of_the_core():
    """mbinfer/ops.py has the rows of csrc/model/ops.h: names, order and every column."""
    text = (FORMAT_H.parent / "ops.h").read_text()
    codes = re.search(r"enum class Op : \w+ \{(.*?)\};", text, re.S)[1]
    codes = re.findall(r"\bk(\w+)", re.sub(r"//.*", "", codes))
    table = text[text.index("kOps[] = ") : text.index("kOpCount")]
    rows = [[cell.strip() for cell in row.split(",")] for row in re.findall(r"\{(\"[^{}]*)\}", table)]
    values = {"true": True, "false": False}
    found = {}
    for name, inputs, area, weights, types, *marks, flags in rows:
        area, types = area.removeprefix("Area::k").lower(), types.removeprefix("Types::k").lower()
        marks = (values[mark] for mark in marks)
        found[name.strip('"')] = OpInfo(int(inputs), area, values[weights], types, *marks, int(flags))
    assert list(found.items()) == list(OPS.items())
    assert [code.lower() for code in codes] == [name.replace("_", "") for name in OPS]
    fields = re.search(r"struct OpInfo \{(.*?)\};", text, re.S)[1]
    assert re.findall(r"(\w+);", re.sub(r"//.*", "", fields)) == ["name", *OpInfo._fields]


def test_round_trip():
    graph = tiny_graph()
    found = read(model.encode(graph))
    assert found["values"] == graph.values and list(found["values"]) == list(graph.values)
    assert found["outputs"] == [(o.name, o.value, o.shape) for o in graph.outputs]
    assert (found["labels"], found["metadata"]) == (graph.labels, graph.metadata)
    assert found["inputs"] == [
        {
            "value": "image",
            "recipe": 1,
            "color": 1,
            "crop": 0.875,
            "mean": (1.0, 2.0, 3.5, 0.0),
            "scale": (0.5, 0.25, 0.125, 0.0),
        }
    ]
    ops = {"conv": 1, "depthwise": 2, "add": 3, "max_pool": 4, "avg_pool": 5, "global_avg_pool": 6, "softmax": 7}
    activations = {"none": 0, "clamp": 1, "hard_swish": 2, "prelu": 8}
    for node, record in zip(graph.nodes, found["nodes"]):
        assert (record["op"], record["activation"]) == (ops[node.op], activations[node.activation])
        for field in ("name", "inputs", "output", "kernel", "stride", "dilation", "pads", "clamp", "groups"):
            assert record[field] == getattr(node, field), (node.name, field)
        assert record["flags"] == int(node.counts_padding)
        weighted = node.op in ("conv", "depthwise")
        assert record["weight_dtype"] == int(weighted) and bool(record["weight"].size) == weighted
        if weighted:
            channels = graph.values[node.output][2]
            bias = np.zeros(channels) if node.bias is None else node.bias
            assert record["bias"].tolist() == [*bias, *[0.0] * (-channels % 8)]
        if node.op == "depthwise":
            panels = record["weight"].reshape(9, 16)
            assert (panels[:, :9] == node.weight.reshape(9, 9)).all() and not panels[:, 9:].any()
        if node.op == "conv" and node.groups == 1:
            k = node.weight[0].size
            panels = record["weight"].reshape(-1, k, 16).transpose(0, 2, 1).reshape(-1, k)
            assert len(panels) == (channels + 15) // 16 * 16
            assert (panels[:channels] == node.weight.reshape(channels, k)).all() and not panels[channels:].any()


def test_every_string_is_stored_once():
    strings = read(model.encode(tiny_graph()))["strings"].split(b"\0")[:-1]
    assert len(strings) == len(set(strings)) and {b"crane", "straße".encode(), b"", b"softmax"} <= set(strings)


def test_equal_tensors_are_stored_once():
    """Two towers of the same weights and two biases of zeros: one place each."""
    graph = Graph({"x": (4, 4, 8)}, [], {"x": None})
    for tower in "ab":
        graph.values[tower] = (4, 4, 16)
        graph.nodes.append(Node("conv", f"conv {tower}", ["x"], tower, weight=numbers(16, 1, 1, 8)))
        graph.outputs.append(Output(tower, tower, (1, 4, 4, 16)))
    data = model.encode(graph)
    head = struct.unpack_from(HEADER, data)
    assert head[6] == 16 * 8 * 4 + 16 * 4
    for node in read(data)["nodes"]:
        assert (node["weight"].reshape(8, 16).T == numbers(16, 8)).all()
        assert not node["bias"].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 9), st.sampled_from([(1, 1), (3, 2)]), st.integers(0, 99))
def test_packed_panels_hold_the_dense_weights(groups, inputs_per_group, outputs_per_group, kernel, seed):
    """Against the dense weights, zero where a group does not read: a panel holds all that its outputs need."""
    inputs, outputs = groups * inputs_per_group, groups * outputs_per_group
    weight = np.random.default_rng(seed).standard_normal((outputs, *kernel, inputs_per_group)).astype(np.float32)
    dense = np.zeros((outputs, *kernel, inputs), np.float32)
    for o in range(outputs):
        group = o // outputs_per_group
        dense[o, :, :, group * inputs_per_group : (group + 1) * inputs_per_group] = weight[o]
    kc, lo = model.panel_channels(inputs, outputs, groups)
    pairs = model.pack_conv(weight, groups).reshape(-1, *kernel, kc, 2, 8)  # of panels, side by side
    packed = pairs.transpose(0, 4, 1, 2, 3, 5).reshape(-1, *kernel, kc, 8)
    assert len(packed) == (len(lo) + 1) // 2 * 2 and not packed[len(lo) :].any()
    assert len(lo) == (outputs + 7) // 8 and min(lo) >= 0 and max(lo) + kc <= inputs
    assert groups > 1 or (kc == inputs and not lo.any())
    for p, first in enumerate(lo):
        for lane in range(8):
            if 8 * p + lane >= outputs:
                assert not packed[p, ..., lane].any()
                continue
            row = dense[8 * p + lane].copy()
            assert (packed[p, ..., lane] == row[..., first : first + kc]).all()
            row[..., first : first + kc] = 0
            assert not row.any()


def test_panel_channels_by_hand():
    kc, lo = model.panel_channels(24, 24, 6)  # groups of 4: panel 0 holds outputs 0..7, which are groups 0 and 1
    assert (kc, lo.tolist()) == (8, [0, 8, 16])
    kc, lo = model.panel_channels(3, 9, 3)  # panel 0 touches all groups; panel 1 holds output 8 alone, and reads kc too
    assert (kc, lo.tolist()) == (3, [0, 0])


def test_negative_zeros_become_positive():
    graph = tiny_graph()
    graph.nodes[0].weight = np.full((6, 3, 2, 3), -0.0)
    graph.nodes[0].bias = np.full(6, -0.0)
    graph.nodes[0].clamp = (-0.0, 6.0)
    node = read(model.encode(graph))["nodes"][0]
    for array in (node["weight"], node["bias"], np.array(node["clamp"])):
        assert not np.signbit(array).any()


def test_graph_without_weights_labels_recipe_and_metadata():
    graph = Graph(
        {"x": (2, 2, 1), "y": (1, 1, 1)},
        [Node("global_avg_pool", "pool", ["x"], "y")],
        {"x": None},
        [Output("y", "y", ())],
    )
    found = read(model.encode(graph))
    assert (found["labels"], found["metadata"], found["outputs"]) == ([], {}, [("y", "y", ())])
    none = {"recipe": 0, "color": 0, "crop": 0.0, "mean": (0.0,) * 4, "scale": (0.0,) * 4}
    assert found["inputs"] == [{"value": "x", **none}]


def test_save_writes_what_encode_makes(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    model.save(tiny_graph(), path)
    assert path.read_bytes() == GOLDEN.read_bytes() and os.listdir(tmp_path) == ["model.bin"]
    link = tmp_path / "link.bin"
    link.symlink_to(path)
    path.write_bytes(b"old")
    model.save(tiny_graph(), str(link))
    assert link.is_symlink() and path.read_bytes() == GOLDEN.read_bytes()


@pytest.mark.parametrize("broken", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_failing_write_keeps_the_old_file(tmp_path, monkeypatch, broken, error):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(type(error)):
        model.save(tiny_graph(), path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.bin"]


def test_invalid_graph_writes_nothing(tmp_path):
    graph = tiny_graph()
    graph.nodes[0].weight = None
    with pytest.raises(ShapeError):
        model.save(graph, tmp_path / "model.bin")
    with pytest.raises(FileNotFoundError):
        model.save(tiny_graph(), tmp_path / "missing" / "model.bin")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float64", 2])
def test_other_weight_dtypes(tmp_path, dtype):
    with pytest.raises(ArgumentError, match="'float32' or 'float16'"):
        model.save(tiny_graph(), tmp_path / "model.bin", weight_dtype=dtype)
    assert not os.listdir(tmp_path)


def node(index: int, **fields):
    """A change of the tiny graph: set fields of its node `index`."""
    return lambda graph: [setattr(graph.nodes[index], name, value) for name, value in fields.items()]


def values(**shapes):
    return lambda graph: graph.values.update(shapes)


def recipe(**fields):
    return lambda graph: [setattr(graph.inputs["image"], name, value) for name, value in fields.items()]


STEM, MIX, DEEP, ADD, MAX, AVG, MEAN, DENSE, SOFTMAX = range(9)
REFUSED = {
    "empty value name": (lambda g: g.values.update({"": (1, 1, 1)}), FormatError, "value name '' is empty"),
    "name of another type": (lambda g: g.values.update({7: (1, 1, 1)}), FormatError, "7 is not a string"),
    "node name twice": (node(MIX, name="stem.conv"), FormatError, "node name 'stem.conv' is empty or used twice"),
    "output name twice": (lambda g: g.outputs.append(g.outputs[0]), FormatError, "output name 'probability'"),
    "zero byte in a label": (lambda g: g.labels.append("a\0b"), FormatError, "label or metadata"),
    "lone surrogate": (lambda g: g.metadata.update(author="\ud800"), FormatError, "label or metadata"),
    "metadata of another type": (lambda g: g.metadata.update(width=1.0), FormatError, "label or metadata 1.0"),
    "metadata without a key": (lambda g: g.metadata.update({"": "x"}), FormatError, "metadata name '' is empty"),
    "name too long": (lambda g: g.values.update({"x" * 4096: (1, 1, 1)}), FormatError, "longer than 4095 bytes"),
    "label too long": (lambda g: g.labels.__setitem__(0, "ß" * 33000), FormatError, "longer than 65535 bytes"),
    "labels beyond the classes": (lambda g: g.labels.extend("abcdefgh"), FormatError, "12 labels for 9 classes"),
    "too many metadata": (lambda g: g.metadata.update({str(i): "" for i in range(257)}), FormatError, "at most 256"),
    "value of another dtype": (lambda g: g.types.update(mix=Type("int8", 0.5)), UnsupportedError, "put op 'convert'"),
    "value of no dtype": (lambda g: g.types.update(mix=Type("int32")), UnsupportedError, "dtypes are float32, int8"),
    "lookup of floats": (node(SOFTMAX, op="lookup"), UnsupportedError, "looks up float32"),
    "value too large in panels": (values(mix=(16384, 16384, 1)), ShapeError, "over 2147483647 elements"),
    "shape of two": (values(mix=(3, 9)), ShapeError, r"value 'mix': shape \(3, 9\)"),
    "side of zero": (values(mix=(3, 0, 9)), ShapeError, "value 'mix'"),
    "side too long": (values(mix=(3, 65537, 9)), ShapeError, "value 'mix'"),
    "value too large": (values(mix=(65536, 65536, 9)), ShapeError, "value 'mix'"),
    "fractional side": (values(mix=(3, 3.0, 9)), ShapeError, "value 'mix'"),
    "no input": (lambda g: g.inputs.clear(), FormatError, "no input"),
    "no node": (lambda g: g.nodes.clear(), FormatError, "no node"),
    "no output": (lambda g: g.outputs.clear(), FormatError, "no output"),
    "unknown input": (lambda g: g.inputs.update(depth=None), FormatError, "input 'depth' names the value 'depth'"),
    "unknown output value": (lambda g: g.outputs.append(Output("o", "lost", (1,))), FormatError, "'o' .* 'lost'"),
    "output is an input": (lambda g: g.outputs.append(Output("o", "image", (90,))), FormatError, "the input 'image'"),
    "output shape": (lambda g: setattr(g.outputs[0], "shape", (1, 5)), ShapeError, "output 'probability': shape"),
    "output rank": (lambda g: setattr(g.outputs[0], "shape", (1,) * 8 + (4,)), ShapeError, "at most 8 dimensions"),
    "output side": (lambda g: setattr(g.outputs[0], "shape", (-1, -4)), ShapeError, "output 'probability': shape"),
    "value never written": (values(extra=(1, 1, 1)), FormatError, "'extra' is no input and no node writes it"),
    "value not used": (lambda g: g.outputs.pop(0), FormatError, "'probs' is not used"),
    "input not used": (lambda g: (g.values.update(x=(1, 1, 1)), g.inputs.update(x=None)), FormatError, "'x' is not"),
    "unknown op": (node(ADD, op="pow"), UnsupportedError, r"'sum.add' \(pow\): unknown op; known are conv"),
    "unknown activation": (node(ADD, activation="relu"), UnsupportedError, "unknown activation 'relu'"),
    "add of one": (node(ADD, inputs=["mix"]), FormatError, "1 inputs; add takes 2"),
    "pool of two": (node(MAX, inputs=["sum", "mix"]), FormatError, "2 inputs; max_pool takes 1"),
    "unknown value read": (node(MIX, inputs=["lost"]), FormatError, "'mix.conv' .* names the value 'lost'"),
    "unknown value written": (node(MIX, output="lost"), FormatError, "'mix.conv' .* names the value 'lost'"),
    "cycle": (node(ADD, inputs=["mix", "sum"]), FormatError, "reads 'sum' before anything wrote it"),
    "wrong order": (lambda g: g.nodes.reverse(), FormatError, "reads 'logits' before anything wrote it"),
    "written twice": (node(DEEP, output="mix"), FormatError, "which node 'mix.conv' has written already"),
    "input written": (node(DEEP, output="image"), FormatError, "which the caller has written already"),
    "kernel of three": (node(STEM, kernel=(3, 2, 1)), FormatError, "kernel .* not 2 integers from 1 to 65535"),
    "kernel of zero": (node(STEM, kernel=(0, 2)), FormatError, "kernel .* not 2 integers from 1 to 65535"),
    "stride beyond u16": (node(STEM, stride=(65536, 2)), FormatError, "stride .* not 2 integers"),
    "dilation of zero": (node(STEM, dilation=(1, 0)), FormatError, "dilation .* not 2 integers"),
    "negative pad": (node(STEM, pads=(1, -1, 0, 0)), FormatError, "pads .* not 4 integers from 0 to 65535"),
    "pad beyond u16": (node(STEM, pads=(65536, 0, 0, 0)), FormatError, "pads .* not 4 integers"),
    "window on add": (node(ADD, kernel=(3, 3)), FormatError, r"kernel \(3, 3\), but this op has no window"),
    "dilated pool": (node(MAX, dilation=(2, 1)), UnsupportedError, "a pool with dilation"),
    "counts_padding on max_pool": (node(MAX, counts_padding=True), FormatError, "counts_padding is for avg_pool"),
    "clamp upside down": (node(STEM, clamp=(6.0, 0.0)), FormatError, "clamp bounds"),
    "clamp of NaN": (node(STEM, clamp=(0.0, float("nan"))), FormatError, "clamp bounds"),
    "clamp not asked for": (node(DEEP, clamp=(0.0, 6.0)), FormatError, "with activation 'none'; make it 'clamp'"),
    "groups of zero": (node(MIX, groups=0), FormatError, "groups 0, not an integer"),
    "groups of a pool": (node(MAX, groups=9), FormatError, "only conv has groups"),
    "groups that do not divide": (node(MIX, groups=4), ShapeError, "4 groups do not divide 6 input and 9 output"),
    "depthwise in disguise": (
        lambda g: g.nodes.__setitem__(
            2, Node("conv", "deep.conv", ["mix"], "deep", groups=9, weight=numbers(9, 1, 1, 1))
        ),
        FormatError,
        "op 'depthwise'",
    ),
    "adds different shapes": (
        lambda g: (
            g.values.update(other=(1, 1, 9)),
            g.inputs.update(other=None),
            setattr(g.nodes[ADD], "inputs", ["mix", "other"]),
        ),
        ShapeError,
        "the shapes must be equal",
    ),
    "conv output size": (values(stem=(4, 3, 6)), ShapeError, r"makes \(3, 3, 6\) of \(6, 5, 3\), but .* is \(4,"),
    "add output": (values(sum=(3, 3, 8)), ShapeError, r"makes \(3, 3, 9\)"),
    "pool output": (values(max=(2, 2, 8)), ShapeError, r"makes \(2, 2, 9\)"),
    "global pool output": (values(mean=(1, 2, 9)), ShapeError, r"makes \(1, 1, 9\)"),
    "kernel beyond input": (node(STEM, kernel=(8, 2)), ShapeError, "reach beyond the padded input"),
    "pool of padding at the start": (node(AVG, pads=(3, 1, 1, 1)), ShapeError, "a window without input"),
    "pool of padding at the end": (node(AVG, pads=(1, 1, 5, 1)), ShapeError, "a window without input"),
    "no weight": (node(STEM, weight=None), ShapeError, "weight of shape None; it needs"),
    "weight shape": (node(STEM, weight=numbers(6, 3, 3, 2)), ShapeError, r"\(6, 3, 3, 2\); it needs \(6, 3, 2, 3\)"),
    "depthwise weight shape": (node(DEEP, weight=numbers(9, 3, 3)), ShapeError, r"it needs \(3, 3, 9\)"),
    "bias shape": (node(STEM, bias=numbers(5)), ShapeError, r"bias of shape \(5,\); it needs \(6,\)"),
    "weight on add": (node(ADD, weight=numbers(9)), FormatError, "this op takes no weight and no bias"),
    "bias on pool": (node(MAX, bias=numbers(9)), FormatError, "this op takes no weight and no bias"),
    "NaN weight": (node(STEM, weight=numbers(6, 3, 2, 3) * float("nan")), FormatError, "the weight holds NaN"),
    "infinite bias": (node(STEM, bias=np.full(6, INF)), FormatError, "the bias holds NaN, infinity"),
    "weight beyond float32": (node(STEM, weight=numbers(6, 3, 2, 3) * 1e39), FormatError, "too large for float32"),
    "unknown colour": (recipe(color="HSV"), UnsupportedError, "colour 'HSV'; known are RGB, BGR, grey"),
    "colour and channels": (recipe(color="grey"), ShapeError, "a grey recipe for 3 channels"),
    "mean too short": (recipe(mean=(1.0,)), ShapeError, "a mean and a scale for each of 3 channels"),
    "infinite scale": (recipe(scale=(1.0, 1.0, INF)), FormatError, "finite mean and scale"),
    "crop of zero": (recipe(crop=0.0), FormatError, "0 < crop <= 1"),
    "crop above one": (recipe(crop=1.5), FormatError, "0 < crop <= 1"),
}


@pytest.mark.parametrize("change, error, message", REFUSED.values(), ids=REFUSED.keys())
def test_refused(change, error, message):
    graph = tiny_graph()
    change(graph)
    with pytest.raises(error, match=message) as caught:
        model.encode(graph)
    if error is UnsupportedError and "op" in message:
        assert caught.value.node and caught.value.op


if __name__ == "__main__":
    GOLDEN.write_bytes(model.encode(tiny_graph()))
    GOLDEN_FLOAT16.write_bytes(model.encode(tiny_graph(), "float16"))
