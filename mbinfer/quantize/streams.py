"""Networks with states: the samples are pieces of one stream, in their order, and states are inputs for the while.

What a state is before each piece comes from the float32 network itself. It is then one more array of the sample, so
that everything sees the network run by run; the state and what it becomes get one type, and are tied again in the end.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..graph import Graph, Node, Output, State, Type
from .observe import runner
from .samples import Array, Calibration, Samples, quantised


def opened(graph: Graph, calibration: Calibration) -> tuple[Graph, Samples]:
    """A network without states, which are its last inputs, what they become its last outputs; and its samples."""
    samples = Samples(graph, calibration)
    if not graph.states:
        return graph, samples
    inputs = {**graph.inputs, **dict.fromkeys(graph.states)}
    nexts = [Output(f"{name}:next", state.next, graph.values[name]) for name, state in graph.states.items()]
    without = dataclasses.replace(graph, inputs=inputs, outputs=[*graph.outputs, *nexts], states={})
    return without, Samples(without, _pieces(graph, samples))


def _pieces(graph: Graph, samples: Samples) -> list[dict[str, Array]]:
    """Each sample, with what the states are before it."""
    run = runner(graph, list(dict.fromkeys(state.next for state in graph.states.values())))
    held = {name: _initial(graph, name, state) for name, state in graph.states.items()}
    found = []
    for arrays in samples:
        found.append({**dict(zip(graph.inputs, arrays)), **held})
        made = run(arrays)
        held = {name: made[state.next].reshape(graph.values[name]) for name, state in graph.states.items()}
    return found


def _initial(graph: Graph, name: str, state: State) -> Array:
    return np.zeros(graph.values[name], np.float32) if state.initial is None else np.asarray(state.initial, np.float32)


def tied_values(graph: Graph, states: dict[str, State]) -> list[set[str]]:
    """The values that get one type because one becomes the other, rows that are cut of it included."""
    writer = {node.output: node for node in graph.nodes}
    found = []
    for name, state in states.items():
        tied, value = {name, state.next}, state.next
        while value in writer and _picks(writer[value]):
            value = writer[value].inputs[0]
            tied.add(value)
        found.append(tied)
    return found


def _picks(node: Node) -> bool:
    return node.op == "resize" and node.kernel == (1, 1)


def begun(state: State, next_value: str, kind: Type | None) -> State:
    """`state` as a value of `kind` that becomes `next_value`."""
    initial = state.initial
    return State(
        next_value, initial if initial is None or kind is None else quantised(np.asarray(initial, np.float32), kind)
    )
