"""The walk over a source's nodes that importers share: what each tensor became, and what stands in the way.

A node that cannot run does not end the walk: what depends on it is left out, and the error at the end speaks of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import Error, UnsupportedError
from ..graph import Type
from ..messages import LONGEST, told
from .emitting import Emitter, SourceNode, unsupported
from .layout import Tensor

MOST_KINDS, MOST_CUTS = 12, 6  # operators and tensors that a message lists
SUPPORTED = (
    "convolutions (transposed too), dense layers, pools, means, batch norm, arithmetic, ReLU, sigmoid, SiLU, GELU, "
    "tanh, hard-swish, softmax, argmax, powers, norms, comparisons, resizing, concatenation, slices, channel shuffle"
)

Array = npt.NDArray[Any]
AnyNode = TypeVar("AnyNode", bound=SourceNode)


class Walk(Emitter):
    """A model on its way to a `Graph`.

    `env` holds each tensor of the source as a constant array, a `Tensor`, or the error that whoever reads it raises.
    `handlers` have the operators that can run, `aliases` what users call those that cannot. `products` are those that
    can, but not of two tensors that are both computed. `layout` is that of the source's pictures.
    """

    handlers: Mapping[str, Callable[..., Tensor]]
    aliases: Mapping[str, str]
    products: frozenset[str]
    layout = "NCHW"

    def __init__(self, names: Iterable[str], constants: Mapping[str, Array], room: int):
        super().__init__(names, room)
        self.env: dict[str, Any] = dict(constants)
        self._refused: list[tuple[SourceNode, UnsupportedError]] = []
        self._cuts: dict[str, None] = {}  # tensors that refused nodes read, in order
        self._beside: dict[str, None] = {}  # others that what depends on refused nodes reads
        self._makers: dict[str, SourceNode] = {}  # of the tensors that were computed
        self.once: dict[str, tuple[Tensor, Tensor]] = {}  # by value: what was repeated, and that before

    def walk(self, nodes: Iterable[AnyNode], visit: Callable[[AnyNode, list[Any]], None]) -> None:
        """``visit(node, what its inputs became)`` for each node; refusals are collected."""
        for node in nodes:
            found = [self.env.get(name) if name else None for name in node.inputs]
            blocked = next((error for error in found if isinstance(error, Error)), None)
            try:
                if blocked is None:
                    visit(node, found)
                    self._makers.update(dict.fromkeys(node.outputs, node))
                elif not isinstance(blocked, UnsupportedError) or not blocked.op:
                    raise blocked  # an input, without which nothing can be said of the rest
                else:
                    self._pass_over(node, found, blocked)
            except UnsupportedError as error:
                if not error.op:
                    raise
                self._refuse(node, error, found)

    def lower(self, node: SourceNode) -> Tensor:
        """What the handler of a node makes of it."""
        if not self.can_run(node):
            raise unsupported(node, "unknown op", SUPPORTED)
        try:
            return self.handlers[node.op](self, node)
        except Error:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise unsupported(
                node,
                f"attributes or inputs that make no sense together: {told(error)}",
                "what the operator's specification allows",
            ) from error

    def can_run(self, node: SourceNode) -> bool:
        return node.op in self.handlers

    def kind(self, node: SourceNode) -> str:
        """What messages call the operator of a node."""
        return node.op

    # What cannot run.

    def end(self) -> None:
        """Raise the first refusal, with what else stands in the way, how often, and where the model could be cut."""
        if not self._refused:
            return
        first = self._refused[0][1]
        found = Counter(self.kind(node) for node, _ in self._refused)
        text, rest = str(first), ""
        if len(self._refused) > 1 or self.aliases.keys() & found.keys():
            kinds = [
                f"{n} {op}" + (f" ({self.aliases[op]})" if op in self.aliases else "") for op, n in found.most_common()
            ]
            more = f" and {len(kinds) - MOST_KINDS} other operators" if len(kinds) > MOST_KINDS else ""
            rest += f"; in the way: {', '.join(kinds[:MOST_KINDS])}{more}"
        sources = dict.fromkeys((*self._sources_of(self._cuts), *self._sources_of(self._beside))) if self._cuts else ()
        cuts, boxes = list(sources)[:MOST_CUTS], self.boxes_argument()
        end = f"; to end in its boxes: convert(..., boxes={boxes})" if boxes else _ending(cuts)
        if len(text) + len(rest) + len(end) > LONGEST:  # where to cut says more than what would run
            text = text.partition("; supported: ")[0]
        if len(text) + len(rest) + len(end) > LONGEST:
            rest, end = ("", end) if boxes else (rest, _ending(cuts, LONGEST - len(text) - len(rest)))
        raise UnsupportedError(text + rest + end, first.node, first.op)

    def boxes_argument(self) -> dict[str, Any] | None:
        """The argument `boxes` that ends the model as it ends itself, if it is a detector of which that is known."""
        return None

    def _refuse(self, node: SourceNode, error: UnsupportedError, found: Sequence[Any]) -> None:
        """Note a node that cannot run, and the tensors before it at which the model could end."""
        self._refused.append((node, error))
        for name, tensor in zip(node.inputs, found):
            if not isinstance(tensor, Tensor) or {name, tensor.value} & self.graph.inputs.keys():
                continue
            if not self._can_end(name):  # another view of the same numbers may
                views = (other for other, t in self.env.items() if isinstance(t, Tensor) and t.value == tensor.value)
                name = next((other for other in views if self._can_end(other)), "")
            if name:
                self._cuts[name] = None
        self.env.update(dict.fromkeys((name for name in node.outputs if name), error))

    def _sources_of(self, names: Iterable[str]) -> list[str]:
        """Tensors to end at; of more than a message names those that they are made of, such as the scores of all
        classes where each class is chosen from by itself."""
        cuts = list(names)
        while len(cuts) > MOST_CUTS:
            made_of: dict[str, None] = {}
            for name in cuts:
                read = self._makers[name].inputs if name in self._makers else ()
                made_of.update(dict.fromkeys([other for other in read if self._can_end(other)] or [name]))
            if list(made_of) == cuts:
                break
            cuts = list(made_of)
        return cuts

    def _can_end(self, name: str) -> bool:
        found = self.env.get(name)
        if not isinstance(found, Tensor) or {name, found.value} & self.graph.inputs.keys():
            return False
        return found.can_end() or found.order == "HCW"  # `with_columns_as_channels`

    def _pass_over(self, node: SourceNode, found: Sequence[Any], blocked: UnsupportedError) -> None:
        """What depends on a node that cannot run is not judged, but for operators that cannot run anywhere."""
        if not self.can_run(node):
            self._refused.append((node, unsupported(node, "unknown op", SUPPORTED)))
        elif node.op in self.products and not any(isinstance(tensor, np.ndarray) for tensor in found):
            self._refused.append((node, unsupported(node, "a product of two computed tensors", "constants there")))
        self._beside.update(dict.fromkeys(name for name in node.inputs if self._can_end(name)))
        self.env.update(dict.fromkeys((name for name in node.outputs if name), blocked))

    # For the handlers: what a node reads.

    def unsupported(self, node: SourceNode, reason: str, supported: str) -> UnsupportedError:
        return unsupported(node, reason, supported)

    def tensor(self, node: SourceNode, index: int = 0) -> Tensor:
        """A computed input."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        found = self.env.get(name)
        if not isinstance(found, Tensor):
            quoted, kind = f" ('{name}')", "is not available" if found is None else "is a constant"
            if not name:
                quoted, kind = "", "is left out"
            raise unsupported(
                node,
                f"input {index}{quoted} {kind}",
                "a computed tensor there, which is the first output of its node",
            )
        return found

    def reread(self, node: SourceNode, x: Tensor, kind: Type, part: str = "") -> Tensor:
        """The same bytes, which stand for other numbers."""
        same = np.arange(256, dtype=np.uint8)
        value = self.emit(node, "lookup", [x.value], part, weight=same)
        self.graph.types[value] = kind
        return replace(x, value=value)

    def is_number(self, x: Tensor) -> bool:
        """Whether it holds numbers of channels, which are integers that stand for themselves."""
        node = self.writer.get(x.value)
        while node is not None and node.op == "convert":
            node = self.writer.get(node.inputs[0])
        return node is not None and node.op == "argmax"

    def constant(self, node: SourceNode, index: int, default: Any = None) -> Any:
        """A constant input, `default` where it is left out."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return default
        found = self.env.get(node.inputs[index])
        if not isinstance(found, np.ndarray):
            raise unsupported(
                node, f"input {index} ('{node.inputs[index]}') is computed by the network", "constants there"
            )
        return found


def _ending(cuts: list[str], room: int | None = None) -> str:
    """Where the model could end, in `room` characters if one name fits: names are whole, so that they can be copied."""
    made = ""
    for count in range(len(cuts), 0, -1):
        more = f" and {len(cuts) - count} more" if count < len(cuts) else ""
        made = f"; to end before: convert(..., outputs={cuts[:count]}){more}"
        if room is None or len(made) <= room:
            break
    return made
