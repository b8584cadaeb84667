"""What a file must not say: reader and writer refuse each lie of the table, and know the same limits."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from lies import INF, LIES
from records import Records
from test_format import MAX, MIX, STEM, tiny_graph

import mbinfer
from mbinfer import check_boxes, check_types, limits, model
from mbinfer.graph import Output, Recipe

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("lie", LIES)
def test_reader_and_writer_refuse(lie):
    in_file, in_graph = LIES[lie]
    records = Records(model.encode(tiny_graph()))
    in_file(records)
    with pytest.raises((mbinfer.FormatError, mbinfer.UnsupportedError)) as caught:
        mbinfer.Session(records.encode(), schedule="naive")
    assert "checksum" not in str(caught.value) and len(str(caught.value)) <= 400
    if in_graph is not None:
        graph = tiny_graph()
        in_graph(graph)
        with pytest.raises((mbinfer.FormatError, mbinfer.ShapeError, mbinfer.UnsupportedError)):
            model.encode(graph)


def test_what_is_not_a_lie():
    """The records of an unchanged file are taken, and those of a later minor version with what it may add."""
    data = model.encode(tiny_graph())
    assert Records(data).encode() == data
    expected = mbinfer.Session(data).run(np.ones((6, 5, 3), np.float32))
    later = Records(data)
    later.header["minor"] = 1
    later.header["reserved"][0, 3] = 7
    later.node["reserved"][MAX][0] = 7
    again = mbinfer.Session(later.encode()).run(np.ones((6, 5, 3), np.float32))
    for name in expected:
        assert expected[name].tobytes() == again[name].tobytes()


def test_nodes_may_share_weights():
    records = Records(model.encode(tiny_graph()))
    records.node["bias_offset"][MIX] = records.node["weight_offset"][STEM]
    mbinfer.Session(records.encode()).run(np.ones((6, 5, 3), np.float32))


def big_kernel(taps: tuple[int, int], channels: int):
    """A convolution whose weights are a hole in the file, and the graph of the same shape without weights."""
    graph = mbinfer.zoo.mobilenet_v1(0.25, 32, 8, seed=0)
    graph.labels, graph.inputs = [], {"x": None}
    graph.values = {"x": (1, 1, channels), "y": (1, 1, 8)}
    graph.nodes = graph.nodes[:1]
    graph.outputs = [Output("y", "y", (8,))]
    first = graph.nodes[0]
    first.inputs, first.output, first.activation, first.clamp = ["x"], "y", "none", (-INF, INF)
    first.kernel = first.stride = (1, 1)
    first.pads = (0, 0, 0, 0)
    first.weight, first.bias = np.zeros((8, 1, 1, channels), np.float32), None
    records = Records(model.encode(graph))
    records.node["kernel_h"], records.node["kernel_w"] = taps
    records.node["pad_top"], records.node["pad_left"] = taps[0] - 1, taps[1] - 1
    records.node["weight_bytes"] = taps[0] * taps[1] * channels * 32
    return records, graph, first


def test_sizes_that_32_bits_cannot_index(tmp_path):
    """64 x 1024 taps over 65,536 channels: a valid file of 128 GiB, sparse on disk, that no kernel can index."""
    records, graph, first = big_kernel((64, 1024), 65536)
    head = records.encode()
    offset = int(np.frombuffer(head, model.HEADER, 1)["weights_offset"][0])
    total = offset + int(records.node["weight_bytes"][0])
    path = tmp_path / "huge.bin"
    header = np.frombuffer(head, model.HEADER, 1).copy()
    header["weights_bytes"], header["file_bytes"], header["structure_crc"] = total - offset, total, 0
    header["structure_crc"] = zlib.crc32(head[model.HEADER.itemsize : offset], zlib.crc32(header.tobytes()))
    path.write_bytes(header.tobytes() + head[model.HEADER.itemsize : offset])
    try:
        os.truncate(path, total)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    with pytest.raises(mbinfer.FormatError, match="too large a kernel"):
        mbinfer.Session(path)
    first.kernel, first.pads = (64, 1024), (63, 1023, 0, 0)
    first.weight = np.broadcast_to(np.float32(0), (8, 64, 1024, 65536))
    with pytest.raises(mbinfer.FormatError, match="at most 268435456 are read"):
        model.encode(graph)


def test_strings_of_more_bytes_than_a_reader_takes():
    graph = mbinfer.zoo.mobilenet_v1(0.25, 32, 1024, seed=0)
    graph.labels = [f"{i:04}".ljust(limits.MAX_TEXT, "a") for i in range(1023)]
    assert mbinfer.Session(model.encode(graph)).labels[1022] == graph.labels[1022]
    graph.labels.append("c" * limits.MAX_TEXT)
    with pytest.raises(mbinfer.FormatError, match=f"a model has at most {limits.MAX_STRINGS}"):
        model.encode(graph)


def test_limits_are_those_of_the_manual():
    """The limits of docs/format.md, csrc/model/rules.h and mbinfer/limits.py are the same numbers."""
    header = (ROOT / "csrc" / "model" / "rules.h").read_text()
    found = {}
    for name, text in re.findall(r"\b(kMax\w+) = ([^,;]+)", header):
        text = text.replace("INT32_MAX", "(2**31 - 1)").replace("int64_t(1)", "1")
        found[name] = eval(text, {})
    ours = {
        "kMaxSide": limits.MAX_SIDE,
        "kMaxElements": limits.MAX_ELEMENTS,
        "kMaxStored": limits.MAX_STORED,
        "kMaxReads": limits.MAX_READS,
        "kMaxHalved": check_types.MAX_HALVED,
        "kMaxBoxes": check_boxes.MAX_BOXES,
        "kMaxToldApart": check_types.MAX_TOLD_APART,
        "kMaxMacs": limits.MAX_MACS,
        "kMaxFraction": limits.MAX_FRACTION,
        "kMaxFactor": check_types.MAX_FACTOR,
        "kMaxWindowChannels": limits.MAX_WINDOW_CHANNELS,
        "kMaxNodeInputs": limits.MAX_NODE_INPUTS,
        "kMaxName": limits.MAX_NAME,
        "kMaxText": limits.MAX_TEXT,
        "kMaxStrings": limits.MAX_STRINGS,
        **{"kMax" + name.title(): most for name, most in limits.MAX_COUNTS.items()},
    }
    assert found == ours
    manual = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    for number in (
        "65,536 each",
        "262,144",
        "256; 4,096; 256",
        "4,095; 65,535; 2^26",
        "2^28; 2^31 - 1",
        "| 2,048 |",
        "| 256; 65,536 |",
        "| 2^53 |",
        "| 64 |",
        "| 1e30 |",
    ):
        assert number in manual


@pytest.mark.parametrize("recipe", [Recipe((0.0,) * 4, (1.0,) * 4), Recipe((0.0,) * 4, (1.0,) * 4, "grey")])
def test_a_recipe_on_four_channels(recipe):
    graph = tiny_graph()
    graph.values["image"] = (6, 5, 4)
    graph.inputs = {"image": recipe}
    graph.nodes[STEM].weight = np.zeros((6, 3, 2, 4))
    with pytest.raises(mbinfer.ShapeError):
        model.encode(graph)
    graph.inputs = {"image": None}
    records = Records(model.encode(graph))
    records.input["has_recipe"], records.input["crop"] = 1, 1.0
    with pytest.raises(mbinfer.FormatError, match="recipe for other channels"):
        mbinfer.Session(records.encode())
