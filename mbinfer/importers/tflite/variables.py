"""Variables of a TensorFlow Lite file, which outlive a run: what the operators that name, read and assign them say.

A run reads a variable as an input of the graph that is called after it, and what was assigned last is its content in
the following run. Within a run, a variable that was assigned is read as what it was assigned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, UnsupportedError
from ...graph import free_name
from ...messages import brief
from ..emitting import SourceNode

MOST_VARIABLES, MOST_CALLS = 1 << 10, 16

Key = tuple[str, str]  # container and shared name
Array = npt.NDArray[Any]


@dataclass
class Variable:
    """`content` is the tensor that a run finds in it, `next` the one that it leaves, "" where nothing is assigned."""

    content: str
    like: str  # a tensor of its shape and type, which reads it
    next: str = ""
    initial: Array | None = None


def handles_of(nodes: Iterable[SourceNode]) -> dict[str, Key]:
    """The variables that tensors of type resource stand for."""
    return {
        node.outputs[0]: (node.attrs["container"], node.attrs["shared_name"])
        for node in nodes
        if node.op == "VAR_HANDLE" and len(node.outputs) == 1
    }


def with_variables(nodes: Sequence[SourceNode], taken: Iterable[str]) -> tuple[list[SourceNode], dict[Key, Variable]]:
    """The nodes, in which a READ_VARIABLE has what it reads as its input, and the variables.

    `taken`: the names of all tensors. Assignments are no nodes of the result.
    """
    names, handles, made = set(taken), handles_of(nodes), []
    variables: dict[Key, Variable] = {}
    for node in nodes:
        if node.op not in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            made.append(node)
            continue
        key, wanted = handles.get(next(iter(node.inputs), "")), 1 if node.op == "READ_VARIABLE" else 2
        if key is None or len(node.inputs) != wanted or not all(node.inputs) or len(node.outputs) != 2 - wanted:
            raise FormatError(f"node '{brief(node.name)}' ({node.op}) names no variable by a VAR_HANDLE before it")
        if key not in variables:
            name = free_name("/".join(filter(None, key)) or "variable", names)
            names.add(name)
            variables[key] = Variable(name, node.outputs[0] if wanted == 1 else node.inputs[1])
        variable = variables[key]
        if wanted == 2:
            variable.next = node.inputs[1]
        else:
            made.append(replace(node, inputs=[variable.next or variable.content]))
    if len(variables) > MOST_VARIABLES:
        raise UnsupportedError(f"{len(variables)} variables (VAR_HANDLE); supported: up to {MOST_VARIABLES}", "", "")
    return made, variables


def initial_graphs(nodes: Sequence[SourceNode]) -> list[int]:
    """The subgraphs that run once, before anything is read."""
    ops = [node.op for node in nodes]
    calls = [i for i, op in enumerate(ops) if op == "CALL_ONCE"]
    first = next((i for i, op in enumerate(ops) if op in ("READ_VARIABLE", "ASSIGN_VARIABLE")), len(ops))
    indices = dict.fromkeys(nodes[i].attrs["init_subgraph_index"] for i in calls)
    if any(i > first for i in calls) or len(indices) > MOST_CALLS:
        raise UnsupportedError(
            f"{len(calls)} CALL_ONCE, of {len(indices)} graphs, beside variables (VAR_HANDLE); supported: up to "
            f"{MOST_CALLS}, before the first READ_VARIABLE",
            nodes[calls[-1]].name,
            "CALL_ONCE",
        )
    return list(indices)


def begin(nodes: Sequence[SourceNode], variables: dict[Key, Variable], constant: Callable[[str], Array | None]) -> None:
    """Note what a graph that CALL_ONCE names assigns to `variables`; `constant` has those that are known by
    name."""
    handles = handles_of(nodes)
    for node in nodes:
        variable = variables.get(handles.get(next(iter(node.inputs), ""), ("", "\0")))
        if variable is None:
            continue
        found = constant(node.inputs[1]) if node.op == "ASSIGN_VARIABLE" and len(node.inputs) == 2 else None
        if found is None:
            raise UnsupportedError(
                f"node '{node.name}' ({node.op}): variable '{variable.content}' (VAR_HANDLE) begins with what "
                "CALL_ONCE computes; supported: constants assigned there, what FILL, CAST and their kin make of "
                "some, or none, which are zeros",
                node.name,
                node.op,
            )
        variable.initial = found


def as_bytes(numbers: Array) -> Array:
    """int8 numbers as the uint8 ones that stand for them here."""
    return (numbers.astype(np.int16) + 128).astype(np.uint8) if numbers.dtype == np.int8 else numbers
