"""A float32 network in float64, by PyTorch: how far an engine is from what the network means, rounding aside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mbinfer.graph import Graph, Node


def exact(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name of a graph of real numbers; NHWC inputs. `KeyError` for an operator that is not here."""
    import torch

    if graph.types:
        raise KeyError("quantised values")
    values = {name: torch.from_numpy(np.float64(inputs[name])).permute(0, 3, 1, 2) for name in graph.inputs}
    last = {name: i for i, node in enumerate(graph.nodes) for name in node.inputs}
    kept = {output.value for output in graph.outputs}
    with torch.inference_mode():
        for i, node in enumerate(graph.nodes):
            arrays = [values[name] for name in node.inputs]
            found = _resize(torch, node, arrays[0], graph.values[node.output]) if node.op == "resize" else None
            found = OPERATORS[node.op](torch, node, arrays) if found is None else found
            values[node.output] = _activated(torch, node, found)
            for name in node.inputs:
                if last[name] == i and name not in kept:
                    values.pop(name, None)
    made = {}
    for output in graph.outputs:
        made[output.name] = values[output.value].permute(0, 2, 3, 1).reshape(output.shape).numpy()
    return made


def _padded(torch: Any, node: Node, x: Any, number: float = 0.0) -> Any:
    top, left, bottom, right = node.pads
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=number)


def _of(torch: Any, array: Any) -> Any:
    """As the file has it, float32."""
    return None if array is None else torch.from_numpy(np.float64(np.float32(array)))


def _conv(torch: Any, node: Node, found: list[Any]) -> Any:
    weight = _of(torch, node.weight)
    weight = weight.permute(0, 3, 1, 2) if node.op == "conv" else weight.permute(2, 0, 1)[:, None]
    groups = node.groups if node.op == "conv" else len(weight)
    x, bias = _padded(torch, node, found[0]), _of(torch, node.bias)
    return torch.nn.functional.conv2d(x, weight, bias, node.stride, 0, node.dilation, groups)


def _max_pool(torch: Any, node: Node, found: list[Any]) -> Any:
    return torch.nn.functional.max_pool2d(_padded(torch, node, found[0], -np.inf), node.kernel, node.stride)


def _avg_pool(torch: Any, node: Node, found: list[Any]) -> Any:
    pool = torch.nn.functional.avg_pool2d
    total, area = (pool(_padded(torch, node, x), node.kernel, node.stride) for x in (found[0], 0 * found[0] + 1))
    return total if node.counts_padding else total / area


def _resize(torch: Any, node: Node, x: Any, made: tuple[int, int, int]) -> Any:
    for axis, positions, taps in ((2, node.rows, node.kernel[0]), (3, node.columns, node.kernel[1])):
        numerator, denominator, term = positions
        whole, rest = np.divmod(np.arange(made[axis - 2]) * numerator + term, denominator)
        first, second = (torch.from_numpy(np.clip(whole + i, 0, x.shape[axis] - 1)) for i in (0, 1))
        share = torch.from_numpy(rest / denominator).reshape([-1 if i == axis else 1 for i in range(4)])
        low = x.index_select(axis, first)
        x = low if taps == 1 else low + share * (x.index_select(axis, second) - low)
    return x


def _activated(torch: Any, node: Node, x: Any) -> Any:
    if node.activation == "clamp":
        return x.clamp(*node.clamp)
    if node.activation in ("prelu", "elu"):
        below = _of(torch, node.slopes).reshape(1, -1, 1, 1)
        return x.clamp(min=0) + below * (x.clamp(max=0) if node.activation == "prelu" else x.clamp(max=0).expm1())
    curves: dict[str, Callable[[Any], Any]] = {
        "none": lambda x: x,
        "hard_swish": torch.nn.functional.hardswish,
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "softplus": torch.nn.functional.softplus,
        "mish": torch.nn.functional.mish,
        "root": torch.sqrt,
        **{name: getattr(torch, name) for name in ("sigmoid", "tanh", "exp", "log", "reciprocal")},
    }
    return curves[node.activation](x)


OPERATORS: dict[str, Callable[[Any, Node, list[Any]], Any]] = {
    "conv": _conv,
    "depthwise": _conv,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": lambda torch, node, found: found[0].mean((2, 3), keepdim=True),
    "softmax": lambda torch, node, found: (torch.log_softmax if node.logarithm else torch.softmax)(found[0], 1),
    "concat": lambda torch, node, found: torch.cat(found, 1),
    "add": lambda torch, node, found: found[0] + found[1],
    "sub": lambda torch, node, found: found[0] - found[1],
    "mul": lambda torch, node, found: found[0] * found[1],
    "div": lambda torch, node, found: found[0] / found[1],
    "max": lambda torch, node, found: torch.maximum(*found),
    "min": lambda torch, node, found: torch.minimum(*found),
}
