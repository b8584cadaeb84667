"""Operators of TensorFlow Lite that compute nothing: tensors reshaped, transposed, joined and taken apart."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..blocks import space_and_depth
from ..emitting import SourceNode
from ..given import beside
from ..joining import join
from ..layout import Tensor
from ..moving import cut
from ..unfolding import alike, rearranged
from .fixed_point import joined_table
from .lowering import Lowering, lowers
from .sequences import runs_across
from .spatial import same_type


@lowers("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
def reshape(low: Lowering, node: SourceNode) -> Tensor:
    x, rank = low.tensor(node), len(low.tensor(node).shape)
    if node.op == "RESHAPE":
        given = low.constant(node, 1)
        shape = node.attrs["shape"] if given is None else np.ravel(given).tolist()
        if -1 in shape:
            shape[shape.index(-1)] = math.prod(x.shape) // max(1, -math.prod(shape))
    elif node.op == "SQUEEZE":
        axes = {axis % rank for axis in node.attrs["axes"]} or {i for i, size in enumerate(x.shape) if size == 1}
        shape = [size for i, size in enumerate(x.shape) if i not in axes]
    else:
        shape = list(x.shape)
        shape.insert(low.number(node, 1) % (rank + 1), 1)
    if min(shape, default=1) < 1 or math.prod(shape) != math.prod(x.shape):
        raise low.unsupported(node, f"{x.shape} to {tuple(shape)}", "the same number of elements")
    if low.type_of(node, node.inputs[0]) != low.type_of(node, node.outputs[0]):
        raise low.unsupported(node, "an output of another scale than its input", "the same scale and zero point")
    return replace(x, shape=tuple(int(size) for size in shape))


@lowers("TRANSPOSE")
def transpose(low: Lowering, node: SourceNode) -> Tensor:
    x, perm = low.tensor(node), low.numbers(node, 1)
    if sorted(perm) != list(range(len(x.shape))):
        raise low.unsupported(node, f"perm {perm} of {x.shape}", "each axis once")
    result = x.transposed(perm) or space_and_depth(low, node, x, perm) or rearranged(low, node, x, perm)
    if result is None:
        raise low.unsupported(node, f"perm {perm} moves part of an axis of {x.shape}", "whole axes")
    return result


@lowers("CAST")
def cast(low: Lowering, node: SourceNode) -> Tensor:
    x = low.tensor(node)
    if low.is_number(x) and np.dtype(low.source.tensors[node.outputs[0]].kind).kind in "iu":
        return x
    if low.source.tensors[node.outputs[0]].kind != "<f4" or low.type_of(node, node.inputs[0]) is not None:
        raise low.unsupported(node, "a cast of a computed tensor to another type", "casts from float32 to float32")
    return x


@lowers("READ_VARIABLE")
def read(low: Lowering, node: SourceNode) -> Tensor:
    same_type(low, node)
    return low.tensor(node)


@lowers("CONCATENATION")
def concat(low: Lowering, node: SourceNode) -> Tensor:
    """Quantised tensors of other scales than the result's are brought to it first."""
    found = [low.env.get(name) for name in node.inputs]
    first = next((x for x in found if isinstance(x, Tensor)), None)
    tensors = [
        beside(low, node, first, x, node.attrs["axis"], f"{i}")
        if isinstance(x, np.ndarray) and first and low.type_of(node, node.inputs[i]) is None
        else low.tensor(node, i)
        for i, x in enumerate(found)
    ]
    made = low.type_of(node, node.outputs[0])
    for i, (name, x) in enumerate(zip(node.inputs, tensors)):
        given = low.type_of(node, name)
        if given is not None and made is not None and given != made:
            table = joined_table(given, made)
            value = low.typed(node, "lookup", [x.value], f"input {i}", weight=table)
            tensors[i] = replace(x, value=value)
        elif given != made:
            raise low.unsupported(node, "float32 and quantised tensors together", "tensors of one kind")
    if low.activation(node):
        raise low.unsupported(node, "an activation behind a concatenation", "none there")
    axis = node.attrs["axis"] % len(tensors[0].shape)
    across = low.streams and runs_across(low.source, node.outputs[0], axis)
    return join(low, node, alike(low, node, tensors, axis), axis, across=across)


@lowers("PACK")
def pack(low: Lowering, node: SourceNode) -> Tensor:
    """Along an axis that is new."""
    tensors, axis = [low.tensor(node, i) for i in range(len(node.inputs))], node.attrs["axis"]
    types = {low.type_of(node, name) for name in (*node.inputs, *node.outputs)}
    if len(types) > 1:
        raise low.unsupported(node, "tensors of several scales", "the same scale and zero point")
    axis += len(tensors[0].shape) + 1 if axis < 0 else 0
    longer = [replace(x, shape=(*x.shape[:axis], 1, *x.shape[axis:])) for x in tensors]
    return join(low, node, alike(low, node, longer, axis), axis)


@lowers("UNPACK", many=True)
def unpack(low: Lowering, node: SourceNode) -> Tensor:
    """Each element of an axis, without the axis. Every output but the first is noted here."""
    x, count = low.tensor(node), len(node.outputs)
    axis = node.attrs["axis"] % len(x.shape)
    if x.shape[axis] != count:
        raise low.unsupported(node, f"{count} outputs of {x.shape}", "one for each element of the axis")
    same_type(low, node)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    parts = [cut(low, node, x, axis, i, i + 1, 1, f"part{i}" if i else "") for i in range(count)]
    parts = [replace(part, shape=shape) for part in parts]
    low.env.update(zip(node.outputs[1:], parts[1:]))
    return parts[0]
