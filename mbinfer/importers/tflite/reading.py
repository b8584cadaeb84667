"""A TensorFlow Lite file becomes nodes and tensors, of which those that no output needs are never looked at."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError, UnsupportedError
from ...limits import MAX_ELEMENTS, MAX_STRINGS
from ...messages import brief
from ..arguments import Ends, end_names, refuse_unread, tensor_names
from ..emitting import SourceNode
from ..files import read_file
from . import schema
from .constants import TOO_LARGE, Budget
from .flatbuffer import Table, Tables
from .flexbuffer import numbers_of
from .sparsity import densified
from .tensors import TfliteTensor
from .variables import Variable, begin, initial_graphs, with_variables

LARGEST_MODEL = (1 << 31) - 1  # bytes
LARGEST_RANK = 8
MOST_INPUTS = 1 << 18  # of all operators together
MAGIC = b"TFL3"  # at byte 4
DTYPES = frozenset("<f4 <f2 <i4 u1 <i8 ? <i2 i1 <f8 <u8 <u4 <u2".split())  # of constants

Source = Any  # a path or bytes


@dataclass
class TfliteSource:
    """What the lowering needs of a model; tensors by name, nodes in order, each called after its first output.

    A variable has a tensor too, of which a run finds the content.
    """

    nodes: list[SourceNode]
    tensors: dict[str, TfliteTensor]
    inputs: list[str]
    outputs: list[str]
    description: str
    budget: Budget
    variables: list[Variable] = dataclasses.field(default_factory=list)  # those that are read and assigned

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """The places of the nodes that read a tensor."""
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(i)
        return found


def is_tflite(source: Source) -> bool:
    """Whether `source` is the path or the bytes of a TensorFlow Lite file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(memoryview(source).cast("B")[4:8]) == MAGIC
    if not isinstance(source, (str, os.PathLike)) or not os.path.isfile(source):
        return False
    return read_file(source, LARGEST_MODEL, 0, 8)[4:8] == MAGIC


def read_tflite(source: Source, ends: Ends | None = None, inputs: Iterable[str] | None = None) -> TfliteSource:
    """Read a file or its bytes; `ends` names the tensors to end at, in place of the model's own, `inputs` those to
    begin at."""
    data = read_file(source, LARGEST_MODEL) if isinstance(source, (str, os.PathLike)) else bytes(source)
    if data[4:8] != MAGIC:
        raise FormatError("no TensorFlow Lite file: 'TFL3' is not at its byte 4")
    return _Reader(memoryview(data), Budget(len(data))).read(ends, inputs)


class _Reader:
    """One graph of a file: the first is the network, others are what CALL_ONCE runs or control flow."""

    def __init__(self, data: memoryview, budget: Budget, graph: int = 0):
        self._data, self._budget = data, budget
        model = Table.root(data)
        self._description = model.text(3) if model.number(0, "I") else ""
        self._operators, self._buffers = model.tables(1), model.tables(4)
        subgraphs = model.tables(2)
        if not len(subgraphs):
            raise FormatError("the TensorFlow Lite file has no graph")
        if not 0 <= graph < len(subgraphs):
            raise FormatError(f"CALL_ONCE runs graph {graph} of {len(subgraphs)}: there is no such one")
        self._graph = subgraphs[graph]
        self._tensors: Tables = self._graph.tables(0)
        self._names = self._unique_names()

    def read(self, ends: Ends | None, begins: Iterable[str] | None) -> TfliteSource:
        given = self._nodes()
        nodes, variables = with_variables(given, self._names)
        made = [name for node in nodes for name in node.outputs if name]
        starts = [] if begins is None else tensor_names("inputs", begins, made)
        nodes = [node for node in nodes if not set(starts).issuperset(node.outputs)]
        inputs = [self._name(int(i)) for i in self._graph.array(1, "<i4")]
        outputs = [self._name(int(i)) for i in self._graph.array(2, "<i4")]
        if ends:
            outputs = end_names(ends, [name for node in nodes for name in node.outputs if name])
        inputs = list(dict.fromkeys(inputs))
        if not outputs or len(set(outputs)) < len(outputs):
            raise FormatError(f"the outputs are {outputs[:9]}; a model has at least one, and each once")
        needed = _needed(nodes, outputs, {variable.content: variable.next for variable in variables.values()})
        kept = [node for node in nodes if needed.intersection(node.outputs)]
        index = {name: i for i, name in enumerate(self._names)}
        seen = needed.union(*(node.outputs for node in kept)) - {""}
        tensors = {name: self._tensor(index[name], name) for name in self._names if name in seen}
        variables = {key: variable for key, variable in variables.items() if variable.content in needed}
        for graph in initial_graphs(given) if variables else ():
            other = _Reader(self._data, self._budget, graph)
            begun = other._nodes()
            begin(begun, variables, other._known(begun).get)
        for variable in variables.values():
            tensors[variable.content] = self._content(variable, self._tensor(index[variable.like], variable.like))
        refuse_unread(starts, needed)
        inputs = [name for name in (*inputs, *starts) if name in needed]
        states = [variable for variable in variables.values() if variable.next]
        return TfliteSource(kept, tensors, inputs, outputs, brief(self._description), self._budget, states)

    def _known(self, nodes: list[SourceNode]) -> dict[str, npt.NDArray[Any]]:
        """The constants that a graph has, and those that its operators make of them, by name."""
        tensors = {name: self._tensor(i, name) for i, name in enumerate(self._names)}
        found = {name: tensor.array for name, tensor in tensors.items() if tensor.array is not None}
        for node in nodes:
            arrays = [found[name] for name in node.inputs if name in found]
            if len(node.outputs) == 1 and arrays and len(arrays) == len(node.inputs):
                with contextlib.suppress(UnsupportedError):  # who needs it says so
                    named = [tensors.get(name) for name in (*node.inputs, node.outputs[0])]
                    found[node.outputs[0]] = self._budget.evaluate(node, arrays, named)
        return found

    @staticmethod
    def _content(variable: Variable, like: TfliteTensor) -> TfliteTensor:
        """The tensor of a variable: a constant where nothing is assigned to it."""
        found = variable.initial
        if found is not None and (found.shape, found.dtype.str[1:]) != (like.shape, like.kind.strip("<")):
            raise UnsupportedError(
                f"variable '{variable.content}' (VAR_HANDLE) of {like.shape}, {like.kind.strip('<')}, begins with "
                f"{found.shape}, {found.dtype}; supported: numbers of its own shape and type",
                variable.like,
                "VAR_HANDLE",
            )
        if variable.next:
            return replace(like, name=variable.content, array=None)
        if found is None:
            raise UnsupportedError(
                f"variable '{variable.content}' (VAR_HANDLE) is read, and nothing is ever assigned to it; supported: "
                "variables that CALL_ONCE or ASSIGN_VARIABLE give a content",
                variable.like,
                "VAR_HANDLE",
            )
        return replace(like, name=variable.content, array=found)

    def _unique_names(self) -> list[str]:
        """Names of tensors: files may leave them out, or use one twice."""
        names: dict[str, None] = {}
        room = MAX_STRINGS
        for i in range(len(self._tensors)):
            name = self._tensors[i].text(3)
            room -= len(name)
            if room < 0:
                raise FormatError(f"names of tensors of more than {MAX_STRINGS} bytes")
            names[name if name and name not in names else f"{name or 'tensor'}_{i}"] = None
        if len(names) < len(self._tensors):
            raise FormatError("names of tensors that no numbering makes different")
        return list(names)

    def _name(self, index: int) -> str:
        """Of a tensor; "" for one that is left out."""
        if not -1 <= index < len(self._names):
            raise FormatError(f"tensor {index} of {len(self._names)}: there is no such one")
        return self._names[index] if index >= 0 else ""

    def _nodes(self) -> list[SourceNode]:
        operators, nodes, count = self._graph.tables(3), [], 0
        for i in range(len(operators)):
            table = operators[i]
            code = table.number(0, "I")
            if code >= len(self._operators):
                raise FormatError(f"operator {i} is of kind {code} of {len(self._operators)}: there is no such one")
            op = _operator_name(self._operators[code])
            given = table.array(1, "<i4"), table.array(2, "<i4")
            count += sum(map(len, given))
            if count > MOST_INPUTS:
                raise FormatError(f"the operators have more than {MOST_INPUTS} inputs and outputs")
            inputs, outputs = ([self._name(int(index)) for index in numbers] for numbers in given)
            name = next(filter(None, outputs), f"{op}_{i}")
            nodes.append(SourceNode(name, op, inputs, outputs, _options(op, table)))
        return nodes

    def _tensor(self, index: int, name: str) -> TfliteTensor:
        table = self._tensors[index]
        shape = table.array(0, "<i4").astype(np.int64)
        if len(shape) > LARGEST_RANK or (shape < 0).any() or math.prod(shape.tolist()) > MAX_ELEMENTS:
            raise FormatError(f"tensor '{brief(name)}' has the shape {brief(str(shape[:9].tolist()))}")
        kind = table.number(1, "b")
        if not 0 <= kind < len(schema.TENSOR_TYPES):
            raise FormatError(f"tensor '{brief(name)}' is of type {kind}; the known ones end before it")
        quantization = table.table(4)
        scale: npt.NDArray[Any] = np.zeros(0)
        zero_point: npt.NDArray[Any] = np.zeros(0)
        axis = 0
        if quantization is not None:
            scale, zero_point = quantization.array(2, "<f4").view(np.float32), quantization.array(3, "<i8")
            axis = quantization.number(6, "i")
            if len(scale) != len(zero_point) and len(zero_point):
                raise FormatError(f"tensor '{brief(name)}' has {len(scale)} scales and {len(zero_point)} zero points")
            if len(scale) > 1 and not self._budget.spend(len(scale)):
                raise FormatError(f"tensor '{brief(name)}' has {len(scale)} scales, and with those of others too many")
            if not ((scale > 0) & (scale < np.inf)).all():
                raise FormatError(f"tensor '{brief(name)}' has scales that are not positive numbers")
            zero_point = zero_point if len(zero_point) else np.zeros(len(scale))
        tensor = TfliteTensor(
            name,
            tuple(int(size) for size in shape),
            schema.TENSOR_TYPES[kind],
            scale.astype(np.float32),
            zero_point.astype(np.int64),
            axis,
            bool(table.number(5, "b")),
            frozenset(np.flatnonzero(table.array(7, "<i4")[:LARGEST_RANK] == -1).tolist()),
        )
        data = self._stored(table.number(2, "I"))
        return tensor if data is None else self._with_array(tensor, data, table.table(6))

    def _with_array(self, tensor: TfliteTensor, data: npt.NDArray[np.uint8], sparsity: Table | None) -> TfliteTensor:
        """With the constant where it lies in the file, of which many tensors may be, aligned or not."""
        if tensor.kind not in DTYPES:
            return tensor  # refused by who reads it
        dtype, where = np.dtype(tensor.kind), f"tensor '{brief(tensor.name)}'"
        if sparsity is not None:
            if len(data) % dtype.itemsize:
                raise FormatError(f"{where} has {len(data)} bytes of {dtype.name}")
            dense = densified(sparsity, tensor.shape, data.view(dtype), brief(tensor.name))
            if not self._budget.spend(dense.size):
                raise FormatError(f"{where} is sparse, and one of {TOO_LARGE}")
            return replace(tensor, array=dense)
        if len(data) != math.prod(tensor.shape) * dtype.itemsize:
            raise FormatError(
                f"{where} has {len(data)} bytes; its shape {tensor.shape} of {dtype.name} needs "
                f"{math.prod(tensor.shape) * dtype.itemsize}"
            )
        return replace(tensor, array=data.view(dtype).reshape(tensor.shape))

    def _stored(self, buffer: int) -> npt.NDArray[np.uint8] | None:
        """The bytes of a constant; buffer 0 and empty ones are those of tensors that are computed."""
        if not 0 <= buffer < len(self._buffers):
            raise FormatError(f"buffer {buffer} of {len(self._buffers)}: there is no such one")
        table = self._buffers[buffer]
        offset, size = table.number(1, "Q"), table.number(2, "Q")
        if offset > 1:  # of files over 2 GB, whose constants lie behind the tables
            if offset + size > len(self._data):
                raise FormatError(f"a constant of {size} bytes at byte {offset} reaches beyond the file's end")
            return np.frombuffer(self._data, np.uint8, size, offset)
        data = table.array(0, "u1")
        return data.astype(np.uint8, copy=False) if buffer and len(data) else None


def _needed(nodes: list[SourceNode], outputs: Iterable[str], nexts: dict[str, str]) -> set[str]:
    """Tensors that `outputs` depend on, in this run or, by way of variables, in those before."""
    writers: dict[str, list[SourceNode]] = {}
    for node in nodes:
        for name in node.outputs:
            writers.setdefault(name, []).append(node)
    needed: set[str] = set()
    visited: set[int] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if not name or name in needed:
            continue
        needed.add(name)
        waiting.append(nexts.get(name, ""))
        for node in writers.get(name, ()):
            if id(node) not in visited:
                visited.add(id(node))
                waiting += node.inputs
    return needed


def _operator_name(code: Table) -> str:
    number = max(code.number(0, "b"), code.number(3, "i"))  # the first field holds what fits in 7 bits
    if number == schema.CUSTOM:
        return f"custom operator {brief(code.text(1)) or 'without a name'}"
    if number < 0:
        raise FormatError(f"an operator of number {number}")
    return schema.OPERATORS[number] if number < len(schema.OPERATORS) else f"operator {number}"


def _options(op: str, table: Table) -> dict[str, Any]:
    """The options of an operator by name; defaults where the file leaves them out."""
    if op in schema.CUSTOM_OPTIONS:
        names, numbers = schema.CUSTOM_OPTIONS[op], table.array(5, "u1").tobytes()
        if len(numbers) != 4 * len(names):
            raise FormatError(f"a {op} has {len(numbers)} bytes of options, not those of {', '.join(names)}")
        return dict(zip(names, np.frombuffer(numbers, "<i4").tolist()))
    if op in schema.FLEX_OPTIONS:
        return dict(numbers_of(table.array(5, "u1").tobytes()))
    options = table.table(4)
    found: dict[str, Any] = {}
    for name, field, kind, default in schema.OPTIONS.get(op, ()):
        if kind == "[":
            found[name] = [] if options is None else options.array(field, "<i4")[: LARGEST_RANK + 1].tolist()
        elif kind == "s":
            found[name] = "" if options is None else options.text(field)
        elif kind == "f":
            found[name] = default if options is None else options.real(field, default)
        else:
            found[name] = int(default) if options is None else options.number(field, kind, int(default))
    return found
