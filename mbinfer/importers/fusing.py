"""Folds the affine, activation and padding nodes that the lowering emits into their neighbours; knows `Graph` alone.

The three are depthwise 1x1 nodes. Weights stay in float64 until the last fold.

    conv -> affine -> clamp        conv with scaled weights, bias and clamp     (nobody else reads in between)
    add  -> clamp                  add with clamp
    pad  -> conv | pool            conv | pool with larger pads                 (every reader can)
    affine -> conv                 conv with scaled weights and bias            (every reader can)
    mean over height -> over width     one mean over both                       (nobody else reads in between)
    converts -> mul -> convert     mul of bytes                                 (nobody else reads what it makes)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Graph, Node, Output, Type
from ..ops import OPS, takes_activation


def fuse(graph: Graph) -> None:
    """Rewrite `graph` in place to fewer nodes with the same outputs; drops what no output depends on."""
    before, now = None, _signature(graph)
    while now != before:
        drop_dead(graph)
        _fold_into_writers(graph)
        _fold_into_readers(graph)
        _skip_identities(graph)
        _merge_means(graph)
        before, now = now, _signature(graph)
    _run_on_bytes(graph)
    for node in graph.nodes:
        if node.weight is not None and not _is_of_integers(node):
            node.weight = np.ascontiguousarray(node.weight, np.float32)
        if node.bias is not None and not _is_of_integers(node):
            node.bias = np.ascontiguousarray(node.bias, np.float32)
        if node.slopes is not None:
            node.slopes = np.ascontiguousarray(node.slopes, np.float32)


def _signature(graph: Graph) -> list[tuple[Any, ...]]:
    return [(node.op, node.output, *node.inputs, node.activation, node.clamp, node.pads) for node in graph.nodes]


def _readers(graph: Graph) -> dict[str, list[Node]]:
    readers: dict[str, list[Node]] = {name: [] for name in graph.values}
    for node in graph.nodes:
        for name in set(node.inputs):
            readers[name].append(node)
    return readers


def drop_dead(graph: Graph) -> None:
    needed, nodes = {output.value for output in graph.outputs}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            nodes.append(node)
    graph.nodes = nodes[::-1]
    graph.inputs = {name: recipe for name, recipe in graph.inputs.items() if name in needed}
    graph.values = {name: dims for name, dims in graph.values.items() if name in needed}
    graph.types = {name: kind for name, kind in graph.types.items() if name in needed}


def _run_on_bytes(graph: Graph) -> None:
    """An operator of float32 numbers that uint8 ones are converted to, and that become uint8 again, takes and makes
    bytes itself, where there are kernels for it."""
    makers, readers = {node.output: node for node in graph.nodes}, _readers(graph)
    outputs = {output.value for output in graph.outputs}

    def of_bytes(name: str) -> bool:
        return graph.types.get(name, Type()).dtype == "uint8"

    for node in graph.nodes:
        sources = [makers.get(name) for name in node.inputs]
        after = readers.get(node.output, [])
        if (
            OPS[node.op].area in ("gated", "scaled")
            and OPS[node.op].types == "alike"
            and node.activation in ("none", "clamp")
            and all(source is not None and source.op == "convert" and of_bytes(source.inputs[0]) for source in sources)
            and len(after) == 1
            and (after[0].op, of_bytes(after[0].output)) == ("convert", True)
            and node.output not in outputs
        ):
            node.inputs = [source.inputs[0] for source in sources if source is not None]
            node.output, after[0].output = after[0].output, node.output  # nobody reads that convert now
    drop_dead(graph)


def _is_of_integers(node: Node) -> bool:
    """Whether a node's weights are integers, which are left as they are."""
    return node.weight_scale is not None or node.op == "lookup"


def _is_pointwise(node: Node) -> bool:
    """Whether a node is ``activation(x * weight + bias)`` by channel of real numbers, pads aside."""
    return node.op == "depthwise" and node.kernel == node.stride == (1, 1) and not _is_of_integers(node)


def _is_padding(node: Node) -> bool:
    """Whether a node pads with zeros, and does nothing else."""
    if node.op != "depthwise" or node.kernel != (1, 1) or node.stride != (1, 1) or not any(node.pads):
        return False
    scale = 1.0 if node.weight_scale is None else node.weight_scale
    return node.activation == "none" and _is_plain(node) and bool(np.all(scale == 1.0))


def _is_plain(node: Node) -> bool:
    """Whether a pointwise node multiplies by one and adds nothing, in float32."""
    return bool((np.float32(node.weight) == 1).all() and not np.any(node.bias))


def _fold_into_writers(graph: Graph) -> None:
    """Affine maps and activations become part of the node that wrote their input."""
    readers, outputs = _readers(graph), {output.value for output in graph.outputs}
    writer: dict[str, Node] = {}
    nodes = []
    for node in graph.nodes:
        previous = writer.get(node.inputs[0])
        if (
            previous is not None
            and _is_pointwise(node)
            and not any(node.pads)
            and len(readers[node.inputs[0]]) == 1
            and node.inputs[0] not in outputs
            and _absorb(previous, node)
        ):
            previous.output = node.output
            node = previous
        else:
            nodes.append(node)
        writer[node.output] = node
    graph.nodes = nodes


def _absorb(into: Node, node: Node) -> bool:
    """Apply the pointwise `node` to the output of `into`, if one node can do both."""
    if _is_plain(node):
        if into.op in ("convert", "lookup") or not takes_activation(into.op) or node.activation == "erf":
            return False
        if into.activation == "clamp" and node.activation == "clamp":
            lo, hi = node.clamp
            first, last = (min(max(bound, lo), hi) for bound in into.clamp)
            into.clamp = first, last
            return True
        if into.activation != "none":
            return False
    elif into.op not in ("conv", "depthwise") or into.activation != "none":
        return False
    else:
        scale = np.float64(node.weight).ravel()
        shape = (-1, 1, 1, 1) if into.op == "conv" else (1, 1, -1)
        assert into.weight is not None
        if (scale != 1).any():  # a bias alone leaves large weights where they are
            into.weight = into.weight * scale.reshape(shape)
        bias = (0 if into.bias is None else into.bias * scale) + (0 if node.bias is None else node.bias)
        into.bias = np.broadcast_to(bias, scale.shape)
    into.activation, into.clamp, into.slopes = node.activation, node.clamp, node.slopes
    return True


def _fold_into_readers(graph: Graph) -> None:
    """Zero padding becomes pads, and an affine map weights, of the nodes that read it, if all of them can."""
    outputs, readers_of = {output.value for output in graph.outputs}, _readers(graph)
    writer = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        if node.activation != "none" or node.output in outputs:
            continue
        readers = readers_of[node.output]
        fold: Callable[[Node, Node], None]
        if _is_padding(node):
            fold = _fold_pads
            foldable = all(_takes_pads(reader, node, writer) for reader in readers)
        elif not _is_pointwise(node) or any(node.pads):
            continue
        else:
            fold = _fold_affine
            foldable = all(_takes_affine(reader, node) for reader in readers)
        if not foldable:
            continue
        for reader in readers:
            fold(reader, node)
            reader.inputs = list(node.inputs)
        readers_of[node.output] = []
        readers_of[node.inputs[0]] += readers


def _takes_pads(reader: Node, pad: Node, writer: dict[str, Node]) -> bool:
    if reader.op in ("conv", "depthwise"):
        return True
    fits = all(pad.pads[i] + reader.pads[i] < reader.kernel[i % 2] for i in range(4))  # no window of padding alone
    if reader.op == "avg_pool":  # it divides by the padding too
        return fits and reader.halves == "even" and (reader.counts_padding or not any(reader.pads))
    if reader.op == "max_pool":  # it skips padding: the same as zeros only where nothing is negative
        before = writer.get(pad.inputs[0])
        return fits and before is not None and before.activation == "clamp" and before.clamp[0] >= 0
    return False


def _fold_pads(reader: Node, pad: Node) -> None:
    top, left, bottom, right = (a + b for a, b in zip(reader.pads, pad.pads))
    reader.pads = top, left, bottom, right
    reader.counts_padding = reader.op == "avg_pool"


def _takes_affine(reader: Node, affine: Node) -> bool:
    if reader.op not in ("conv", "depthwise") or _is_of_integers(reader):
        return False
    return not any(reader.pads) or not np.any(affine.bias)


def _fold_affine(reader: Node, affine: Node) -> None:
    assert reader.weight is not None and affine.weight is not None
    scale = np.asarray(affine.weight, np.float64).ravel()
    shift = np.zeros_like(scale) if affine.bias is None else np.asarray(affine.bias, np.float64)
    weight = np.asarray(reader.weight, np.float64)
    if reader.op == "conv":
        outputs, _, _, per_group = reader.weight.shape
        group = np.arange(outputs) // (outputs // reader.groups)
        channel = group[:, None] * per_group + np.arange(per_group)  # [out, in / groups]
        term = np.einsum("oyxi,oi->o", weight, shift[channel])
        reader.weight = weight * scale[channel][:, None, None, :]
    else:
        term = weight.sum(axis=(0, 1)) * shift
        reader.weight = weight * scale
    reader.bias = term if reader.bias is None else reader.bias + term


def _skip_identities(graph: Graph) -> None:
    """Readers and outputs of a node that changes nothing take its input; an input that is an output keeps its copy."""
    ends: dict[str, list[Output]] = {}
    for output in graph.outputs:
        ends.setdefault(output.value, []).append(output)
    instead: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        node.inputs = [instead.get(name, name) for name in node.inputs]
        source, outputs = node.inputs[0], ends.get(node.output, [])
        plain = _is_pointwise(node) and node.activation == "none" and not any(node.pads) and _is_plain(node)
        if not plain or (source in graph.inputs and outputs):
            nodes.append(node)
            continue
        instead[node.output] = source
        for output in outputs:
            output.value = source
    graph.nodes = nodes


def _merge_means(graph: Graph) -> None:
    """A mean over all rows, then one over all columns (or the other way round), is one mean over the picture."""
    readers, outputs = _readers(graph), {output.value for output in graph.outputs}
    writer = {node.output: node for node in graph.nodes}
    for node in graph.nodes:
        before = writer.get(node.inputs[0])
        if not (before is not None and _is_whole_mean(graph, before) and _is_whole_mean(graph, node)):
            continue
        if len(readers[before.output]) > 1 or before.output in outputs or graph.values[node.output][:2] != (1, 1):
            continue
        node.op, node.kernel, node.inputs = "global_avg_pool", (1, 1), list(before.inputs)


def _is_whole_mean(graph: Graph, node: Node) -> bool:
    """Whether a node is a mean over all rows, all columns or both, and nothing else."""
    height, width, _ = graph.values[node.inputs[0]]
    window = node.op == "avg_pool" and node.kernel in ((height, 1), (1, width)) and node.stride == (1, 1)
    return (window and not any(node.pads) or node.op == "global_avg_pool") and node.activation == "none"
