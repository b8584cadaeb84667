"""Quantising networks with states: samples are pieces of a stream, states get the type of what they become."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import ACTIVATIONS

import mbinfer
from mbinfer import model, quantize
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph, State

PIECES = 400  # so many that the ranges are those of the stream


def spotter(act=("clamp", (0.0, np.inf)), initial=None) -> Graph:
    """Convolutions over the rows of a stream, one of them depthwise, and a mean that goes on from run to run."""
    net = GraphBuilder(np.random.default_rng(3), (2, 5, 8))
    value = net.convolve(net.recent("input", 2), 16, act, kernel=(3, 3), pads=(0, 1, 0, 1))
    value = net.add("depthwise", [net.recent(value, 4)], act=act, kernel=(5, 3), pads=(0, 1, 0, 1))
    value = net.convolve(value, 16)
    before = net.state("mean", net.dims(value), initial=initial)
    half = np.full((1, 1, 16), 0.5)
    mean = net.add("add", [net.add("depthwise", [value], weight=half), net.add("depthwise", [before], weight=half)])
    net.keep("mean", mean)
    net.output(net.convolve(net.add("global_avg_pool", [mean]), 4))
    net.output(mean)
    return net.graph


def stream(pieces: int, seed: int = 0) -> list[np.ndarray]:
    """Rows that are alike from one to the next."""
    rng = np.random.default_rng(seed)
    rows, made = np.zeros((5, 8)), []
    for _ in range(2 * pieces):
        rows = 0.9 * rows + 0.4 * rng.standard_normal((5, 8))
        made.append(rows)
    return list(np.float32(made).reshape(pieces, 2, 5, 8))


def outputs(graph: Graph, pieces, **plan) -> list[np.ndarray]:
    session = mbinfer.Session(model.encode(graph), **plan)
    runs = [list(session.run(piece).values()) for piece in pieces]
    return [np.stack(arrays) for arrays in zip(*runs)]


def decibels(exact, found) -> float:
    return float(10 * np.log10(np.square(exact).sum() / np.square(exact - found).sum()))


@pytest.mark.parametrize("act", [("clamp", (0.0, 6.0)), ("hard_swish", ACTIVATIONS[0][1]), ("none", ACTIVATIONS[0][1])])
def test_a_stream_stays_close_to_float32(act):
    graph = spotter(act, np.full((2, 5, 16), 0.25, np.float32))
    made = quantize.quantize(graph, stream(PIECES), ranges="minmax")
    assert made.states.keys() == graph.states.keys() and made.inputs.keys() == graph.inputs.keys()
    for name, state in made.states.items():
        assert made.types[name] == made.types[state.next] and made.types[name].dtype == "uint8"
    kind, begun = made.types["mean"], made.states["mean"].initial
    assert np.abs((begun - float(kind.zero_point)) * kind.scale - 0.25).max() <= kind.scale / 2
    unseen = stream(PIECES, seed=1)
    for exact, found in zip(outputs(graph, unseen), outputs(made, unseen)):
        parts = [decibels(exact[i : i + 50], found[i : i + 50]) for i in range(0, PIECES, 50)]
        assert min(parts) > 22, "the second has the largest numbers of all, which calibration has not seen"
        assert np.mean(parts[4:]) > np.mean(parts[:4]) - 2, "what is lost does not grow from run to run"


def test_rows_stay_in_place_and_every_schedule_has_the_same_bits():
    graph = spotter()
    made, unseen = quantize.quantize(graph, stream(PIECES)), stream(20, seed=2)
    assert not [node for node in made.nodes if node.op == "convert" and node.inputs[0] in made.states]
    plans = [mbinfer.Session(model.encode(each), plan_only=True).plan for each in (graph, made)]
    assert 0 < plans[1].state_bytes <= plans[0].state_bytes // 4 + 64 * len(made.states)
    first = outputs(made, unseen)
    for plan in ({"schedule": "naive"}, {"schedule": "streamed"}, {"memory_limit": "least"}, {"threads": 2}):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, outputs(made, unseen, **plan)))


def test_a_state_that_a_kept_node_makes_stays_float32():
    graph = spotter()
    kept = next(node.name for node in graph.nodes if node.output == graph.states["mean"].next)
    made = quantize.quantize(graph, stream(PIECES), keep_float=[kept])
    assert "mean" not in made.types and made.types["input/before"].dtype == "uint8"
    unseen = stream(50, seed=1)
    assert decibels(outputs(graph, unseen)[1], outputs(made, unseen)[1]) > 25


def test_the_ranges_are_those_of_the_stream():
    """A sum over all runs grows beyond what single runs show."""
    net = GraphBuilder(np.random.default_rng(0), (1, 1, 8))
    before = net.state("sum", (1, 1, 8))
    net.keep("sum", net.add("add", [before, net.add("depthwise", ["input"], weight=np.ones((1, 1, 8)))]))
    net.output(net.graph.states["sum"].next)
    made = quantize.quantize(net.graph, [np.ones((1, 1, 8), np.float32)] * 50, ranges="minmax")
    assert made.types["sum"].scale * 255 == pytest.approx(50, rel=0.02)
    assert isinstance(made.states["sum"], State)


def test_the_report_is_of_the_stream(tmp_path):
    quantize.quantize(spotter(), stream(20), report=tmp_path / "report.txt")
    assert "SQNR" in (tmp_path / "report.txt").read_text()
