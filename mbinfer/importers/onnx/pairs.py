"""Two pairs of QuantizeLinear and DequantizeLinear in a row become one, by onnxruntime's rule.

What changes no number is left out first, such as an Identity behind a softmax, so that the pairs on both sides of it
stand in a row. onnxruntime keeps the first QuantizeLinear and the last DequantizeLinears, and gives them 256 numbers
over the range that both pairs hold. ONNX itself would round twice, and come to other numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from ...graph import Type, free_name
from .loading import reads_of
from .reading import OnnxNode, OnnxSource

FLOAT32 = 1  # by TensorProto.DataType
DOMAINS = ("", "com.microsoft")


def merge_pairs(source: OnnxSource) -> None:
    """Leave out the inner half of two pairs in a row, and add the constants of the pair that is left.

    As onnxruntime does, pass after pass until one finds nothing: the order decides how zero points are rounded.
    """
    if sum(_is(node, "QuantizeLinear") for node in source.nodes) > 1:
        merging = _Merging(source)
        while merging.passes():
            pass
        source.nodes[:] = [node for node in source.nodes if id(node) not in merging.left_out]


class _Merging:
    def __init__(self, source: OnnxSource):
        self.constants = source.constants
        self.quantizers = [node for node in source.nodes if _is(node, "QuantizeLinear")]
        self.left_out: set[int] = set()
        self._names = {*self.constants, *(name for node in source.nodes for name in (*node.inputs, *node.outputs))}
        self._reads = Counter(name for node in source.nodes for name in reads_of(node.proto))
        self._reads.update(source.outputs)
        self._readers: dict[str, list[OnnxNode]] = {}
        for node in source.nodes:
            for name in node.inputs[:1]:
                self._readers.setdefault(name, []).append(node)

    def passes(self) -> bool:
        """Whether a pass over all pairs has merged any."""
        found = [self._merge(node) for node in self.quantizers if id(node) not in self.left_out]
        return any(found)

    def _merge(self, first: OnnxNode) -> bool:
        """Merge the pair that `first` begins with the pair behind it, if there is one."""
        between: list[OnnxNode] = []
        inner = self._reader(first.outputs[0], "DequantizeLinear", between)
        second = None if inner is None else self._reader(inner.outputs[0], "QuantizeLinear", between)
        if inner is None or second is None:
            return False
        last = self._readers.get(second.outputs[0], [])
        if not last or len(last) != self._reads[second.outputs[0]]:
            return False
        if not all(_is(node, "DequantizeLinear") for node in last):
            return False
        one, other = self._type(first, inner), self._type(second, *last)
        shared = None if one is None or other is None else shared_type(one, other)
        if shared is None:
            return False
        name = first.outputs[0]
        stored = [self._store(f"{name}/scale of both", np.float32(shared.scale))]
        stored.append(self._store(f"{name}/zero point of both", np.dtype(shared.dtype).type(shared.zero_point)))
        _read(first, [first.inputs[0], *stored])
        for node in last:
            _read(node, [name, *stored])
        self._readers[name], self._reads[name] = last, len(last)
        self.left_out.update(id(node) for node in between)
        return True

    def _reader(self, name: str, op: str, between: list[OnnxNode]) -> OnnxNode | None:
        """The `op` that alone reads a tensor, itself or what changes no number of it; `between` takes all of them."""
        while self._reads[name] == 1 and len(self._readers.get(name, [])) == 1:
            (node,) = self._readers[name]
            between.append(node)
            if _is(node, op):
                return node
            if not changes_nothing(node):
                break
            name = node.outputs[0]
        return None

    def _type(self, *pair: OnnxNode) -> Type | None:
        """The type of one pair, all parts of which store the same scale and zero point, a single number each."""
        found = set()
        for node in pair:
            scale, zero_point = (self.constants.get(name) for name in [*node.inputs[1:], "", ""][:2])
            if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
                return None
            if scale.dtype != np.float32 or zero_point.dtype not in (np.int8, np.uint8):
                return None
            found.add(Type(zero_point.dtype.name, scale.item(), zero_point.item()))
        return found.pop() if len(found) == 1 else None

    def _store(self, name: str, number: Any) -> str:
        name = free_name(name, self._names)
        self._names.add(name)
        self.constants[name] = np.array(number)
        return name


def shared_type(one: Type, other: Type) -> Type | None:
    """256 numbers over the range that both types hold, in float32 as onnxruntime has it; None where they share none."""
    if one == other:
        return one
    if one.dtype != other.dtype:
        return None
    kind = np.iinfo(one.dtype)
    low, high = (
        pick(np.float32(end - of.zero_point) * np.float32(of.scale) for of in (one, other))
        for end, pick in ((kind.min, max), (kind.max, min))
    )
    scale = (high - low) / np.float32(kind.max - kind.min)
    if not np.isfinite(scale) or scale <= 0:
        return None
    from_low = np.float32(kind.min) - low / scale
    zero_point = math.copysign(math.floor(abs(from_low) + 0.5), from_low)  # halves away from zero
    return Type(one.dtype, scale.item(), min(max(int(zero_point), kind.min), kind.max))


def changes_nothing(node: OnnxNode) -> bool:
    """Whether onnxruntime leaves out a node between two pairs, where all is float32."""
    if node.domain or any(node.outputs[1:]):
        return False
    if node.op == "Dropout":
        return len(node.inputs) < 3  # which can say that it is for training
    return node.op == "Identity" or node.op == "Cast" and node.attrs.get("to") == FLOAT32


def _is(node: OnnxNode, op: str) -> bool:
    return node.op == op and node.domain in DOMAINS


def _read(node: OnnxNode, inputs: list[str]) -> None:
    """Have a node read other tensors."""
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    proto.input[:] = inputs
    node.inputs, node.proto = inputs, proto
