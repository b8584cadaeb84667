"""States of a source that has none of its own: an input that takes what an output was in the run before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Union

from ..errors import ArgumentError, UnsupportedError
from ..graph import Graph, Output, State
from .layout import Tensor
from .walking import Walk

States = Union[Mapping[str, str], None]  # by input, the tensor that it takes


def with_states(outputs: Iterable[str] | None, states: States) -> Iterable[str] | None:
    """The tensors that an import has to end at: `outputs`, where they are given, and what `states` name."""
    if states is None:
        return outputs
    named = list(states.values()) if isinstance(states, Mapping) else [None]
    if not all(isinstance(name, str) for name in (*states, *named)):
        raise ArgumentError(f"states={states!r}: give a dict of names, of an output for each input")
    if len(set(named)) < len(named):
        raise ArgumentError(f"states={states!r}: two inputs take one output; give each an output of its own")
    if outputs is None or isinstance(outputs, (str, bytes)) or not hasattr(outputs, "__iter__"):
        return outputs
    outputs = list(outputs)
    return [*outputs, *(name for name in named if name not in outputs)]


def own_outputs(outputs: Iterable[str], asked: Iterable[str] | None, states: States) -> list[str]:
    """Those of `outputs` that the caller sees: what a state becomes only where it was `asked` for."""
    hidden = set((states or {}).values()) - set(asked or ())
    return [name for name in outputs if name not in hidden]


def add_nexts(walk: Walk, states: States) -> None:
    """What states become stays, through all rewriting, as outputs of the graph, of which they are the last."""
    for name, output in (states or {}).items():
        before, after = walk.env.get(name), walk.env.get(output)
        if isinstance(after, UnsupportedError):
            raise after
        if not isinstance(before, Tensor) or before.value not in walk.graph.inputs:
            if name in walk.graph.inputs:
                raise UnsupportedError(
                    f"states: input '{name}' is of int8, or nobody reads it; supported: inputs of float32 and uint8",
                    name,
                    "state",
                )
            raise ArgumentError(f"states: '{name}' is no input; inputs are {', '.join(walk.graph.inputs)}")
        if not isinstance(after, Tensor):
            raise ArgumentError(f"states: no node computes a tensor '{output}', which '{name}' would take")
        types = [walk.graph.types.get(tensor.value) for tensor in (before, after)]
        if (before.shape, before.dims, before.order, types[0]) != (after.shape, after.dims, after.order, types[1]):
            raise UnsupportedError(
                f"states: input '{name}' of shape {before.shape} takes '{output}' of shape {after.shape}; supported: "
                "tensors of one shape and type, whose axes are stored in one order",
                name,
                "state",
            )
        copy = walk.fresh(f"{output}/next")
        value = walk.builder.add("slice", [after.value], before.dims[2], name=copy, output=copy)
        if types[0] is not None:
            walk.graph.types[value] = types[0]
        walk.graph.outputs.append(Output(copy, value, (1, *before.dims)))


def tie(walk: Walk, states: States) -> None:
    """Inputs become states, after `add_nexts` and all rewriting."""
    graph = walk.graph
    count = len(states or {})
    nexts = graph.outputs[len(graph.outputs) - count :]
    del graph.outputs[len(graph.outputs) - count :]
    for name, last in zip(states or {}, nexts):
        before = walk.env[name]
        assert isinstance(before, Tensor)
        del graph.inputs[before.value]
        graph.states[before.value] = State(last.value)
    _leave_out_copies(graph)


def _leave_out_copies(graph: Graph) -> None:
    """A state becomes what a node makes, not a copy of it, but where that is an input or what another one becomes."""
    makers = {node.output: node for node in graph.nodes}
    taken = {state.next for state in graph.states.values()}
    for state in graph.states.values():
        copy = makers[state.next]
        (source,) = copy.inputs
        if source not in makers or source in taken:
            continue
        graph.nodes.remove(copy)
        del graph.values[state.next]
        graph.types.pop(state.next, None)
        state.next = source
        taken.add(source)
