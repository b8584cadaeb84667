"""What a network costs by itself, whatever runs it."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph


@dataclass(frozen=True)
class Cost:
    """What a network costs by itself, whatever runs it.

    `macs`: multiply-adds of convolutions, depthwise convolutions and dense layers, every tap counted, padding included.
    The papers count the same ("MAdds", "Mult-Adds"). `parameters`: weights and biases as the model file stores them
    (batch norm folded, so that every convolution has a bias), without the padding of the packing. `paper_parameters`:
    weights only, which is what the papers' 3.4 and 4.2 millions are.
    """

    macs: int
    parameters: int
    paper_parameters: int


def count(graph: Graph) -> Cost:
    """Count the multiply-adds and parameters of `graph` (see `Cost`)."""
    macs = weights = biases = 0
    for node in graph.nodes:
        if node.weight is not None:
            height, width, channels = graph.values[node.output]
            macs += height * width * node.weight.size  # every weight is used once for each output pixel
            weights += node.weight.size
            biases += channels
    return Cost(macs, weights + biases, weights)
