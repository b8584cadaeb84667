"""int8 in model files: where weights, biases and multipliers lie, by docs/format.md, and what a file must not say."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import Records

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph, Node, Output, Type
from mbinfer.ops import OPS

CONV, DEEP, POOL, TABLE = range(4)


def small(groups: int = 1, inputs: int = 6, outputs: int = 20, seed: int = 0) -> Graph:
    """A node of each kind that has something of its own in a file."""
    rng = np.random.default_rng(seed)
    graph = Graph(inputs={"x": None})
    for name, channels in (("x", inputs), ("a", outputs), ("b", outputs), ("c", outputs), ("d", outputs)):
        graph.values[name] = (5, 4, channels)
        graph.types[name] = Type("uint8", float(np.float32(rng.uniform(0.01, 1))), int(rng.integers(0, 256)))
    graph.types["c"] = graph.types["b"]

    def weights(*shape: int) -> dict:
        scale = rng.uniform(0.001, 0.1, outputs).astype(np.float32)
        bias = rng.integers(-9999, 9999, outputs).astype(np.int32)
        return {"weight": rng.integers(-127, 128, shape).astype(np.int8), "weight_scale": scale, "bias": bias}

    same = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    graph.nodes = [
        Node("conv", "conv", ["x"], "a", groups=groups, **same, **weights(outputs, 3, 3, inputs // groups)),
        Node("depthwise", "deep", ["a"], "b", activation="clamp", clamp=(0.0, 6.0), **same, **weights(3, 3, outputs)),
        Node("max_pool", "pool", ["b"], "c", **same),
        Node("lookup", "table", ["c"], "d", weight=rng.permutation(256).astype(np.uint8)),
    ]
    graph.outputs = [Output("d", "d", (1, 5, 4, outputs))]
    return graph


def tensor(records: Records, node: int, kind: str, dtype) -> np.ndarray:
    offset, size = (int(records.node[f"{kind}_{what}"][node]) for what in ("offset", "bytes"))
    return np.frombuffer(records.weights[offset : offset + size], dtype)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_what_lies_where(groups, inputs_per_group, outputs_per_group, seed):
    inputs, outputs = groups * inputs_per_group, groups * outputs_per_group
    if groups == inputs == outputs > 1:
        return
    graph = small(groups, inputs, outputs, seed)
    records = Records(model.encode(graph))
    kc, lo = model.panel_channels(inputs, outputs, groups)
    conv = tensor(records, CONV, "weight", "i1").reshape(-1, 9, -(-kc // 4), 16, 4)
    for n in range(outputs):
        dense = np.zeros((9, inputs), int)
        first = n // outputs_per_group * inputs_per_group
        dense[:, first : first + inputs_per_group] = graph.nodes[CONV].weight[n].reshape(9, -1)
        found = conv[n // 16, :, :, n % 16].reshape(9, -1)
        assert (found[:, :kc] == dense[:, lo[n // 8] : lo[n // 8] + kc]).all() and not found[:, kc:].any()
    deep = tensor(records, DEEP, "weight", "i1").reshape(-1, 9, 16)
    for node, weight in ((CONV, graph.nodes[CONV].weight.reshape(outputs, -1)), (DEEP, None)):
        if weight is None:
            weight = graph.nodes[DEEP].weight.reshape(9, outputs).T
            assert all((deep[n // 16, :, n % 16] == weight[n]).all() for n in range(outputs))
        check_channels(records, graph, node, weight.astype(int).sum(1))
    assert (tensor(records, TABLE, "weight", "u1") == graph.nodes[TABLE].weight).all()
    lo_hi = (records.node["clamp_lo"][DEEP], records.node["clamp_hi"][DEEP])
    made = graph.types["b"]
    assert lo_hi == tuple(float(np.clip(np.rint(b / np.float32(made.scale)) + made.zero_point, 0, 255)) for b in (0, 6))


def check_channels(records: Records, graph: Graph, index: int, sums: np.ndarray) -> None:
    node, raw = graph.nodes[index], tensor(records, index, "bias", "u1").tobytes()
    read, made = graph.types[node.inputs[0]], graph.types[node.output]
    for n, total in enumerate(sums):
        numbers = struct.unpack_from("<8i8i8f", raw, n // 8 * 96)
        bias = int(node.bias[n]) - read.zero_point * int(total)
        assert numbers[n % 8] == bias and numbers[8 + n % 8] == bias + 128 * int(total)
        assert numbers[16 + n % 8] == np.float32(read.scale) * node.weight_scale[n] / np.float32(made.scale)


def field(node: int, **numbers):
    return lambda records: [records.node[name].__setitem__(node, number) for name, number in numbers.items()]


def other_type(value: int):
    return lambda records: records.value["quant"].__setitem__(value, records.value["quant"][0])


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (field(DEEP, clamp_hi=256.0), "no uint8"),
        (field(DEEP, clamp_lo=0.5), "no uint8"),
        (field(DEEP, clamp_lo=-1.0), "no uint8"),
        (field(POOL, activation=2), "take from a lookup"),
        (field(TABLE, weight_bytes=255), "wrong size"),
        (field(TABLE, weight_dtype=3), "weight dtype"),
        (field(TABLE, bias_bytes=96), "bias"),
        (field(CONV, weight_dtype=1), "weight dtype"),
        (field(CONV, bias_bytes=32), "bias of the wrong size"),
        (field(DEEP, flags=2), "unknown flag"),
        (other_type(3), "another scale or zero point"),
        (lambda records: records.value["dtype"].__setitem__(1, 3), "only conversions make"),
    ],
)
def test_what_a_file_must_not_say(lie, words):
    records = Records(model.encode(small()))
    mbinfer.Session(records.encode())
    lie(records)
    with pytest.raises(mbinfer.FormatError, match=words):
        mbinfer.Session(records.encode())


def change(node: int, **fields):
    return lambda graph: [setattr(graph.nodes[node], name, value) for name, value in fields.items()]


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (change(CONV, weight_scale=None), "weight_scale"),
        (change(CONV, weight_scale=np.zeros(20, np.float32)), "weight_scale"),
        (change(CONV, weight=np.zeros((20, 3, 3, 6), np.float32)), "its weight is int8"),
        (change(CONV, bias=np.zeros(20, np.float32)), "its bias int32"),
        (change(CONV, bias=np.full(20, 2**31 - 1, np.int32)), "int32 holds"),
        (change(TABLE, weight=np.zeros(255, np.uint8)), "table of 256"),
        (change(DEEP, activation="silu", clamp=(-np.inf, np.inf)), "make it op 'lookup'"),
        (lambda graph: graph.types.update(c=Type("uint8", 0.5, 1)), "keeps the type"),
        (lambda graph: graph.types.update(a=Type("int8", 0.5, 1)), "put op 'convert'"),
        (lambda graph: graph.types.update(a=Type("uint8", 0.5, 256)), "zero point"),
    ],
)
def test_what_a_graph_must_not_say(lie, words):
    graph = small()
    lie(graph)
    with pytest.raises((mbinfer.FormatError, mbinfer.UnsupportedError), match=words):
        model.encode(graph)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "max", "min", "avg_pool", "global_avg_pool", "resize", "softmax"])
def test_a_step_that_is_read_is_at_most_1e30_of_those_that_are_made(op):
    """To the bit, for the reader and the writer; at the bound, runs of all schedules agree."""
    made, most = np.float32(1e-15), np.float32(1e15)
    while most / made > np.float32(1e30):
        most = np.nextafter(most, np.float32(0))
    while np.nextafter(most, np.float32(np.inf)) / made <= np.float32(1e30):
        most = np.nextafter(most, np.float32(np.inf))
    beyond = np.nextafter(most, np.float32(np.inf))
    resizing = {"size": (5, 4), "rows": (3, 5, 0), "columns": (1, 1, 0), "kernel": (2, 1)}

    def network(step: np.float32) -> Graph:
        net = GraphBuilder(np.random.default_rng(0), (3, 4, 8))
        inputs = ["input"] if OPS[op].inputs == 1 else ["input", net.input("other", (3, 4, 8))]
        net.graph.types.update(input=Type("uint8", float(step), 7))
        net.graph.types.update({name: Type("uint8", 1.0, 7) for name in inputs[1:]})
        value = net.add(op, inputs, **(resizing if op == "resize" else {}))
        net.graph.types[value] = Type("uint8", float(made), 128)
        net.output(value)
        return net.graph

    data = model.encode(network(most))
    rng = np.random.default_rng(0)
    given = {name: rng.integers(0, 256, (3, 4, 8)).astype(np.uint8) for name in network(most).inputs}
    naive, least = (mbinfer.Session(data, **way) for way in ({"schedule": "naive"}, {"memory_limit": "least"}))
    assert np.array_equal(naive.run(**given), least.run(**given))
    with pytest.raises(mbinfer.FormatError, match="at most 1e\\+30"):
        model.encode(network(beyond))
    records = Records(data)
    records.quant["scale"][records.quant["scale"] == most] = beyond
    with pytest.raises(mbinfer.FormatError, match="more than 1e30"):
        mbinfer.Session(records.encode())
