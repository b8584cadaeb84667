"""The rules of types: which a node reads and makes, their scales, integer weights, and where means round halves."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .errors import FormatError, UnsupportedError
from .graph import Graph, Node, Type
from .ops import OPS

MAX_TOLD_APART = 1 << 8  # channels whose numbers a byte tells apart
# Flags of means of uint8, that of "up" of resizes, too.
HALVES = {"even": 0, "away": 4, "up": 8, "even_from_128": 20, "even_from_0": 24}
MAX_HALVED = 1 << 11  # numbers of a mean whose halves go away from a number, or up
MAX_FACTOR = 1e30  # of a step that is read, in steps of what is made
MAX_SUM = (1 << 31) - 1  # of an int8 node's products and bias


def check_types(where: str, graph: Graph, node: Node) -> bool:
    """Check a node's types. Returns whether it computes with uint8."""
    kind, made = OPS[node.op].types, graph.types.get(node.output, Type())
    read = [graph.types.get(name, Type()) for name in node.inputs]
    if kind == "any":
        if node.activation != "none":
            raise FormatError(f"{where}: activation '{node.activation}' of a conversion; give it to another node")
        return False
    if kind == "reals":
        if made != Type() or any(other.dtype not in ("float32", "uint8") for other in read):
            raise FormatError(f"{where}: makes {made} of {read}; it makes float32 of float32 or uint8")
        return False
    if kind == "numbers":
        _check_numbers(where, made, read[0], graph.values[node.inputs[0]][2])
        return False
    if any(other.dtype != made.dtype for other in read) or made.dtype == "int8":
        raise UnsupportedError(
            f"{where}: makes {made.dtype} of {', '.join(other.dtype for other in read)}; put op 'convert' between, "
            "operators take and make float32 or uint8",
            node.name,
            node.op,
        )
    if made.dtype == "float32":
        if kind == "table":
            raise UnsupportedError(f"{where}: looks up float32; a table is of uint8", node.name, node.op)
        return False
    if node.logarithm:
        raise UnsupportedError(f"{where}: logarithms of a quantised softmax", node.name, node.op)
    if node.activation != "none" and (node.activation != "clamp" or kind == "table"):
        raise UnsupportedError(
            f"{where}: activation '{node.activation}' of uint8; make it op 'lookup'", node.name, node.op
        )
    if kind in ("floats", "factors"):
        raise UnsupportedError(f"{where}: makes uint8; this op runs in float32 only", node.name, node.op)
    for other in read:
        if kind == "kept" and other != made:
            raise FormatError(f"{where}: makes {made} of {other}; this op keeps the type of its inputs")
    if kind == "alike" and not OPS[node.op].weights:
        _check_scales(where, node, made, read)
    return True


def _check_scales(where: str, node: Node, made: Type, read: list[Type]) -> None:
    """Check that no scales are so far apart that a product or a sum of what is read might be no number."""
    scales = np.array([other.scale for other in read], np.float32)
    with np.errstate(over="ignore"):
        factors = (scales.prod(keepdims=True) if node.op == "mul" else scales) / np.float32(made.scale)
    if not (factors <= MAX_FACTOR).all():
        raise FormatError(f"{where}: makes {made} of {read}; a step is at most {MAX_FACTOR:g} of those that it makes")


def _check_numbers(where: str, made: Type, read: Type, channels: int) -> None:
    """Check that numbers of channels fit the type that holds them."""
    if made not in (Type(), Type("uint8", 1.0, 0)) or read.dtype not in ("float32", "uint8"):
        raise FormatError(f"{where}: makes {made} of {read}; it makes float32, or uint8 of scale 1, of either")
    if made.dtype == "uint8" and channels > MAX_TOLD_APART:
        raise FormatError(f"{where}: {channels} channels, and a byte tells {MAX_TOLD_APART} apart; make it float32")


def check_halves(where: str, graph: Graph, node: Node) -> None:
    if node.halves not in HALVES or HALVES[node.halves] & ~OPS[node.op].flags:
        raise FormatError(
            f"{where}: halves {node.halves!r}; means have {', '.join(HALVES)}, resizes 'up', other ops 'even'"
        )
    if node.halves == "even":
        return
    read, made = (graph.types.get(name, Type()) for name in (node.inputs[0], node.output))
    to_even = node.halves.startswith("even")
    fits = read.dtype == "uint8" if to_even else read == made
    if made.dtype != "uint8" or not fits or node.counts_padding:
        types = "uint8" if to_even else "uint8 of one scale and zero point"
        raise FormatError(f"{where}: halves {node.halves!r} is for {types}, without padding")
    count = math.prod(node.kernel if OPS[node.op].area == "window" else graph.values[node.inputs[0]][:2])
    if OPS[node.op].pools and not to_even and count > MAX_HALVED:
        raise FormatError(f"{where}: halves {node.halves!r} of a mean of {count} numbers; at most {MAX_HALVED}")


def check_quantised_weights(where: str, node: Node, outputs: int, zero_point: int) -> None:
    weight, bias, scale = np.asarray(node.weight), node.bias, node.weight_scale
    if weight.dtype != np.int8 or (bias is not None and np.asarray(bias).dtype != np.int32):
        raise FormatError(f"{where}: computes with uint8 values, for which its weight is int8 and its bias int32")
    if scale is None or np.shape(scale) != (outputs,) or not finite_float32(scale) or not np.all(np.asarray(scale) > 0):
        raise FormatError(f"{where}: int8 weights need weight_scale, one above 0 for each of {outputs} output channels")
    if (largest_sums(node, zero_point) > MAX_SUM).any():
        raise FormatError(f"{where}: sums of its products and bias can exceed the {MAX_SUM} that int32 holds")


def largest_sums(node: Node, zero_point: int) -> npt.NDArray[np.int64]:
    """What the sums of products and bias of int8 weights can reach, by output channel."""
    axes = (0, 1) if OPS[node.op].keeps_channels else (1, 2, 3)
    largest = np.abs(np.asarray(node.weight, np.int64)).sum(axes) * max(zero_point, 255 - zero_point)
    return np.asarray(largest if node.bias is None else largest + np.abs(np.asarray(node.bias, np.int64)))


def finite_float32(array: npt.ArrayLike) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.asarray(array, np.float32)).all())
