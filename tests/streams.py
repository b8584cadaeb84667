"""Networks that run on a stream: `streamed` makes one that keeps rows of one that sees them all."""

from __future__ import annotations

from dataclasses import replace

from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph


def streamed(graph: Graph, rows: int) -> Graph:
    """`graph`, of one input, for `rows` rows of it at a time.

    Its convolutions have a stride of 1 along the rows, and are padded above by as many rows as they see beside their
    own. In place of these rows they find those of earlier runs, and at first what padding is: zeros.
    """
    net, names = GraphBuilder(), {}
    for name, recipe in graph.inputs.items():
        _, width, channels = graph.values[name]
        names[name] = net.input(name, (rows, width, channels), recipe)
        keep_type(net, graph, name, name)
    for node in graph.nodes:
        inputs, pads = [names[name] for name in node.inputs], node.pads
        seen = node.dilation[0] * (node.kernel[0] - 1)
        assert (node.stride[0], pads[0], pads[2]) == (1, seen, 0) or node.op == "concat"
        if seen:
            inputs, pads = [net.recent(inputs[0], seen, f"{node.name}/before")], (0, *pads[1:])
        net.graph.nodes.append(replace(node, inputs=inputs, pads=pads))
        names[node.output] = node.output
        net.graph.values[node.output] = (rows, *graph.values[node.output][1:])
        keep_type(net, graph, node.output, node.output)
    for output in graph.outputs:
        net.output(output.value, None, output.name)
    return net.graph


def keep_type(net: GraphBuilder, graph: Graph, value: str, name: str) -> None:
    if value in graph.types:
        net.graph.types[name] = graph.types[value]
