"""What the walk over ONNX nodes knows of a model, whatever its operators are."""

from __future__ import annotations

from ..emitting import TIMES_HELD
from ..layout import Tensor
from ..walking import Walk
from .qoperators import expand
from .reading import OnnxNode, OnnxSource

MOST_BYTES = 1 << 31  # of weights of which nothing is stored: ConstantOfShape makes those of whole networks


class OnnxWalk(Walk):
    """One model on its way from ONNX to a `Graph`: its nodes, and who makes and reads each tensor."""

    def __init__(self, source: OnnxSource):
        self.nodes = expand(source.nodes, source.opset)
        names = (name for node in self.nodes for name in (*node.inputs, *node.outputs))
        room = MOST_BYTES + TIMES_HELD * sum(array.nbytes for array in source.constants.values())
        super().__init__(names, source.constants, room)
        self.source, self.opset = source, source.opset
        self.behind: dict[str, Tensor] = {}  # the integers that a dequantised tensor was made of
        self.plain: set[str] = set()  # integers that stand for themselves
        self.passed: set[int] = set()  # nodes that were lowered with one before them, by id
        self.producers = {name: node for node in self.nodes for name in node.outputs if name}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in filter(None, node.inputs):
                self.readers.setdefault(name, []).append(node)
