"""Convolutions, pools and dense layers over sequences (rank 3), pictures one pixel wide: against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import agree, make, node, normal, ops, refuse

import mbinfer
from mbinfer import model as model_file

SHAPE = (1, 4, 23)


def ends(*nodes, to: str = "y"):
    """With a pool and a flattening behind them, so that there is no order of channels and length to keep."""
    return [*nodes, node("GlobalAveragePool", to, to="pooled"), node("Flatten", "pooled", to="flat")]


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"strides": [3], "pads": [2, 1]},
        {"dilations": [2], "pads": [4, 0]},
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"group": 4},
        {"group": 2},
    ],
    ids=str,
)
def test_convolutions_of_sequences_agree(attrs):
    weight = normal(8, 4 // attrs.get("group", 1), 3)
    chain = ends(node("Conv", "x", "w", "b", **attrs))
    graph = agree(make(*chain, shape=SHAPE, outputs=("flat",), w=weight, b=normal(8)))
    assert graph.values["x"] == (23, 1, 4), "rows come one by one"


@pytest.mark.parametrize(
    "chain",
    [
        [node("MaxPool", "x", kernel_shape=[3], strides=[2], pads=[1, 1])],
        [node("MaxPool", "x", kernel_shape=[3], strides=[2], ceil_mode=1)],
        [node("AveragePool", "x", kernel_shape=[4], strides=[3], pads=[1, 2], count_include_pad=1)],
        [node("BatchNormalization", "x", "g", "b", "m", "v", to="n"), node("Conv", "n", "w")],
        [node("InstanceNormalization", "x", "g", "b", to="n"), node("Conv", "n", "w")],
        [node("ConvTranspose", "x", "t", strides=[3], pads=[1, 2], output_padding=[1])],
        [node("Pad", "x", "pads", to="p"), node("Conv", "p", "w")],
        [node("Pad", "x", "pads", to="p", mode="reflect"), node("Conv", "p", "w")],
        [node("Conv", "x", "w", to="a"), node("Resize", "a", "", "twice", mode="nearest")],
        [node("Conv", "x", "w", to="a"), node("Sigmoid", "a", to="s"), node("Mul", "a", "s")],
        [node("Conv", "x", "w", to="a"), node("ReduceMean", "a", axes=[2], to="mean"), node("Mul", "a", "mean")],
        [node("Conv", "x", "w", to="a"), node("Slice", "a", "begin", "end", "axis")],
        [node("Conv", "x", "w", to="a"), node("Concat", "a", "a", axis=1)],
        [node("Conv", "x", "w", to="a"), node("Concat", "a", "a", axis=2)],
        [node("Conv", "x", "w", to="a"), node("Softmax", "a", axis=1)],
    ],
    ids=lambda chain: chain[-1].op_type + "/" + chain[0].op_type,
)
def test_operators_of_sequences_agree(chain):
    constants = {"g": normal(4), "b": normal(4), "m": normal(4), "v": np.abs(normal(4)) + 1, "w": normal(6, 4, 5)}
    constants |= {"t": normal(4, 3, 4), "pads": np.array([0, 0, 3, 0, 0, 2]), "twice": np.array([1.0, 1.0, 2.0])}
    constants |= {"begin": np.array([3]), "end": np.array([17]), "axis": np.array([2])}
    used = {name for part in chain for name in part.input}
    chain = ends(*chain)
    agree(make(*chain, shape=SHAPE, outputs=("flat",), **{k: v for k, v in constants.items() if k in used}))


def test_a_recogniser_of_words_runs_on_every_schedule(tmp_path):
    """Strided convolutions over raw sound, the first of a kernel that is longer than rows may be."""
    shapes = [(8, 1, 80), (16, 8, 3), (16, 16, 3)]
    chain, constants = [], {f"w{i}": normal(*shape) * 0.2 for i, shape in enumerate(shapes)}
    for i in range(3):
        chain += [node("Conv", f"x{i}" if i else "x", f"w{i}", to=f"c{i}", strides=[4 if not i else 1])]
        chain += [
            node("Relu", f"c{i}", to=f"r{i}"),
            node("MaxPool", f"r{i}", to=f"x{i + 1}", kernel_shape=[4], strides=[4]),
        ]
    chain += ends(to="x3")
    graph = agree(make(*chain, shape=(1, 1, 2000), outputs=("flat",), **constants))
    assert graph.values["x"] == (1, 2000, 1), "no kernel has so many rows"
    encoded = model_file.encode(graph)
    picture = normal(1, 1, 2000, 1)
    found = [mbinfer.Session(encoded, schedule=s).run(picture) for s in ("naive", "layerwise", "fused", "streamed")]
    assert all(a.tobytes() == found[0].tobytes() for a in found)


def test_dense_layers_of_sequences_agree():
    chain = [node("MatMul", "x", "w", to="a"), node("Relu", "a", to="r"), node("MatMul", "r", "v")]
    graph = agree(make(*chain, shape=(1, 9, 4), w=normal(4, 6), v=normal(6, 2)))
    assert ops(graph) == ["conv", "conv"] and graph.outputs[0].shape == (1, 9, 2)


def test_a_sequence_as_output_is_turned():
    graph = agree(make(node("Conv", "x", "w"), shape=SHAPE, w=normal(6, 4, 3)))
    assert graph.outputs[0].shape == (1, 6, 21)


def test_windows_of_other_ranks_are_refused():
    refuse(make(node("Conv", "x", "w"), shape=(1, 3, 4, 5, 6), w=normal(4, 3, 1, 1, 1)), "rank 4")


@pytest.mark.parametrize("first", ["Flatten", "Reshape", "Sigmoid"])
def test_an_input_of_rank_3_that_only_dense_layers_read(first):
    """Of no layout: its elements keep their order."""
    begin = [node("Sigmoid", "x", to="s")] if first == "Sigmoid" else []
    source = begin[0].output[0] if begin else "x"
    flat = [node("Reshape", source, "to", to="f")] if first == "Reshape" else [node("Flatten", source, to="f")]
    constants = {"w": normal(24, 5)} | ({"to": np.array([1, -1])} if first == "Reshape" else {})
    graph = agree(make(*begin, *flat, node("MatMul", "f", "w"), shape=(1, 4, 6), **constants))
    assert graph.values["x"] == (4, 1, 6)
