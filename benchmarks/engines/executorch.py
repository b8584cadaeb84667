"""ExecuTorch with XNNPACK: a module from a `Graph`, float32 or int8, exported and lowered to XNNPACK's operators."""

from __future__ import annotations

import numpy as np

from . import Engine
from .pytorch import example, make_module


def prepare(graph, folder, threads):
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    module = make_quantised(graph) if graph.types else make_module(graph)
    with torch.no_grad():
        program = torch.export.export(module, (example(folder).contiguous(),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "model.pte").write_bytes(lowered.buffer)


def make_quantised(graph):
    """A torch module of an int8 `graph` as PyTorch's own quantisation exports one, with the integers of `graph`.

    Every float32 operator stands between what makes its inputs real and what makes its result int8, less by 128.
    """
    import torch
    from torch import nn
    from torch.ao.quantization.fx import _decomposed  # noqa: F401 (registers the operators)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            for node in graph.nodes:
                if node.weight is None:
                    continue
                axes = (0, 3, 1, 2) if node.op == "conv" else (2, 0, 1)
                weight = node.weight.transpose(axes) if node.op == "conv" else node.weight.transpose(axes)[:, None]
                scale = np.float32(node.weight_scale)
                bias = node.bias * (np.float32(graph.types[node.inputs[0]].scale) * scale)
                for part, array in (("weight", weight), ("scale", scale), ("bias", np.float32(bias))):
                    self.register_buffer(f"{part}_{_word(node)}", torch.from_numpy(np.ascontiguousarray(array)))
                self.register_buffer(f"zero_{_word(node)}", torch.zeros(len(scale), dtype=torch.int64))

        def forward(self, image):
            (name,) = graph.inputs
            values = {name: image}
            for node in graph.nodes:
                result = self.made(node, [_real(values[name], graph.types.get(name)) for name in node.inputs])
                if node.activation == "clamp":
                    result = nn.functional.hardtanh(result, *map(float, node.clamp))
                elif node.activation != "none":
                    raise NotImplementedError(f"{node.name}: activation {node.activation}")
                values[node.output] = _numbers(result, graph.types.get(node.output))
            return values[graph.outputs[0].value].flatten(1)

        def made(self, node, inputs):
            if node.op == "add":
                return inputs[0] + inputs[1]
            if node.op == "global_avg_pool":
                return nn.functional.adaptive_avg_pool2d(inputs[0], 1)
            if node.op == "convert":
                return inputs[0]
            if node.op not in ("conv", "depthwise"):
                raise NotImplementedError(f"{node.name}: {node.op}")
            weight, scale, zero, bias = (
                getattr(self, f"{part}_{_word(node)}") for part in ("weight", "scale", "zero", "bias")
            )
            top, left, bottom, right = node.pads
            if (top, left) != (bottom, right):
                raise NotImplementedError(f"{node.name}: pads {node.pads}")
            real = torch.ops.quantized_decomposed.dequantize_per_channel(weight, scale, zero, 0, -127, 127, torch.int8)
            groups = node.groups if node.op == "conv" else len(weight)
            return nn.functional.conv2d(inputs[0], real, bias, node.stride, (top, left), node.dilation, groups)

    return Network().eval()


def _word(node):
    return node.name.replace(".", "_")


def _numbers(real, kind):
    import torch

    return real if kind is None else torch.ops.quantized_decomposed.quantize_per_tensor(real, *_how(kind))


def _real(numbers, kind):
    """Each reader has its own, or partitions for XNNPACK would depend on each other."""
    import torch

    return numbers if kind is None else torch.ops.quantized_decomposed.dequantize_per_tensor(numbers, *_how(kind))


def _how(kind):
    import torch

    return kind.scale, kind.zero_point - 128, -128, 127, torch.int8


def open_executorch(folder, image, threads):
    import torch
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(threads)
    module = portable_lib._load_for_executorch(str(folder / "model.pte"))
    pixels = (torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(),)
    return lambda: module.forward(pixels)[0].numpy()


ENGINES = (
    Engine(
        "ExecuTorch + XNNPACK",
        ("torch", "executorch.extension.pybindings.portable_lib"),
        ("executorch",),
        prepare,
        open_executorch,
        dtypes=("float32", "int8"),
    ),
)
