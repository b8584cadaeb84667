"""States: an input that takes what an output was in the run before, or a variable of a source that has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..graph import Graph, Output, State
from ..limits import MAX_COUNTS
from .arguments import Ends
from .fusing import drop_dead
from .layout import Tensor
from .walking import Walk

States = Union[Mapping[str, str], None]  # by input, the tensor that it takes


def with_states(ends: Ends, states: States) -> Ends:
    """The tensors that an import has to end at: `ends`, where there are any, and what `states` name."""
    if states is None:
        return ends
    named = list(states.values()) if isinstance(states, Mapping) else []
    if not isinstance(states, Mapping) or not all(isinstance(name, str) for name in (*states, *named)):
        raise ArgumentError(f"states={states!r}: give a dict of names, of an output for each input")
    if len(set(named)) < len(named):
        raise ArgumentError(f"states={states!r}: two inputs take one output; give each an output of its own")
    return {**ends, "states": named} if ends and named else ends


def own_outputs(outputs: Iterable[str], asked: Iterable[str] | None, states: States) -> list[str]:
    """Those of `outputs` that the caller sees: what a state becomes only where it was `asked` for.

    `UnsupportedError` for more of them than a model has, before anything is made of them.
    """
    hidden = set((states or {}).values()) - set(asked or ())
    own = [name for name in outputs if name not in hidden]
    if len(own) > MAX_COUNTS["outputs"]:
        raise UnsupportedError(
            f"the model has {len(own)} outputs; supported are up to {MAX_COUNTS['outputs']}: choose among them with "
            "convert(..., outputs=[names])"
        )
    return own


@dataclass
class Tie:
    """`before` becomes a state that takes `after`, which the source calls `name` and `taken`; each is what the walk has
    of it. `initial` as that of `State`; `kind` is what messages call it."""

    name: str
    before: Any
    taken: str
    after: Any
    initial: np.ndarray | None = None
    kind: str = "states: input"


def ties_of(walk: Walk, states: States) -> list[Tie]:
    """Those of `states` after the walk."""
    return [Tie(name, walk.env.get(name), taken, walk.env.get(taken)) for name, taken in (states or {}).items()]


def add_nexts(walk: Walk, ties: Sequence[Tie]) -> None:
    """What states become stays, through all rewriting, as outputs of the graph, of which they are the last."""
    for tie in ties:
        before, after, name = tie.before, tie.after, tie.name
        if isinstance(after, UnsupportedError):
            raise after
        if not isinstance(before, Tensor) or before.value not in walk.graph.inputs:
            if name in walk.graph.inputs:
                raise UnsupportedError(
                    f"states: input '{name}' is dequantised by the model itself, or nobody reads it; supported: inputs "
                    "that the network reads as they are",
                    name,
                    "state",
                )
            raise ArgumentError(f"states: '{name}' is no input; inputs are {', '.join(walk.graph.inputs)}")
        if isinstance(after, np.ndarray):
            raise UnsupportedError(
                f"{tie.kind} '{name}' takes the constant '{tie.taken}'; supported: what the network computes",
                name,
                "state",
            )
        if not isinstance(after, Tensor):
            raise ArgumentError(f"states: no node computes a tensor '{tie.taken}', which '{name}' would take")
        _add_next(walk, tie, before, after)


def _add_next(walk: Walk, tie: Tie, before: Tensor, after: Tensor) -> None:
    types = [walk.graph.types.get(tensor.value) for tensor in (before, after)]
    copy = walk.fresh(f"{tie.taken}/next")
    if (before.shape, types[0]) == (after.shape, types[1]) and (before.dims, before.order) == (after.dims, after.order):
        value = walk.builder.add("slice", [after.value], before.dims[2], name=copy, output=copy)
    elif (before.shape, types[0]) == (after.shape, types[1]) and _same_pixels(before, after):
        value = walk.builder.add("stack", [after.value], name=copy, output=copy, size=before.dims[:2])
    else:
        of = [f"{tensor.shape} {kind or 'float32'}" for tensor, kind in zip((before, after), types)]
        raise UnsupportedError(
            f"{tie.kind} '{tie.name}' of {of[0]} takes '{tie.taken}' of {of[1]}; supported: tensors of one shape and "
            "type, whose axes are stored in one order",
            tie.name,
            "state",
        )
    if types[0] is not None:
        walk.graph.types[value] = types[0]
    walk.graph.outputs.append(Output(copy, value, (1, *before.dims)))


def _same_pixels(a: Tensor, b: Tensor) -> bool:
    """Whether they list the same pixels in one order, in other rows and columns."""
    orders = {x.order.replace("HW", "H").replace("W", "H") for x in (a, b)}
    return a.dims[2] == b.dims[2] and len(orders) == 1 and orders.pop().count("H") <= 1


def tie(walk: Walk, ties: Sequence[Tie]) -> None:
    """Inputs become states, after `add_nexts` and all rewriting."""
    graph, count = walk.graph, len(walk.graph.outputs) - len(ties)
    outputs, nexts = graph.outputs[:count], graph.outputs[count:]
    used = [(each, last) for each, last in zip(ties, nexts) if each.before.value in graph.values]
    if len(used) < len(ties):  # nobody reads the others
        graph.outputs = outputs + [last for _, last in used]
        drop_dead(graph)
    graph.outputs = outputs
    for each, last in used:
        del graph.inputs[each.before.value]
        graph.states[each.before.value] = State(last.value, each.initial)
    _leave_out_copies(graph)
    for name in graph.states:
        _keep_what_is_read(graph, name)


def _leave_out_copies(graph: Graph) -> None:
    """A state becomes what a node makes, not a copy of it, but where that is an input or what another one becomes."""
    makers = {node.output: node for node in graph.nodes}
    taken = {state.next for state in graph.states.values()}
    for state in graph.states.values():
        copy = makers[state.next]
        (source,) = copy.inputs
        if copy.op == "stack" or source not in makers or source in taken:
            continue
        graph.nodes.remove(copy)
        del graph.values[state.next]
        graph.types.pop(state.next, None)
        state.next = source
        taken.add(source)


def _keep_what_is_read(graph: Graph, name: str) -> None:
    """A window whose oldest rows are dropped before new ones are added keeps those alone that are not dropped, so that
    they can stay where they are: they are cut before the run ends in place of after it began."""
    state, readers = graph.states[name], [node for node in graph.nodes if name in node.inputs]
    if len(readers) != 1 or readers[0].op != "resize" or readers[0].kernel != (1, 1):
        return
    (cut,) = readers
    kept, (height, width, _) = graph.values[cut.output], graph.values[name]
    begins = [positions[2] for positions in (cut.rows, cut.columns)]
    ends = [begin + size for begin, size in zip(begins, kept)]
    elsewhere = {output.value for output in graph.outputs} | {other.next for other in graph.states.values()}
    plain = cut.rows[:2] == cut.columns[:2] == (1, 1) and cut.activation == "none" and min(begins) >= 0
    alike = graph.types.get(name) == graph.types.get(cut.output)
    if not plain or not alike or cut.output in elsewhere or ends[0] > height or ends[1] > width:
        return
    if state.initial is not None:
        state.initial = state.initial[begins[0] : ends[0], begins[1] : ends[1]].copy()
    for node in graph.nodes:
        node.inputs = [name if read == cut.output else read for read in node.inputs]
    graph.nodes.remove(cut)
    graph.nodes.append(cut)
    cut.inputs, state.next, graph.values[name] = [state.next], cut.output, kept
