"""PyTorch, eager and compiled ahead of time (AOTInductor): a module from a `Graph`."""

from __future__ import annotations

import numpy as np

from . import Engine


def make_module(graph):
    """A torch module that computes `graph`, NCHW, in eval mode; its one result is the logits, (1, classes)."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict()
            for node in graph.nodes:
                if node.op not in ("conv", "depthwise"):
                    continue
                top, left, bottom, right = node.pads
                if (top, left) != (bottom, right):
                    raise NotImplementedError(f"{node.name}: pads {node.pads}")
                if node.op == "conv":
                    weight, groups = node.weight.transpose(0, 3, 1, 2), node.groups
                else:
                    weight, groups = node.weight.transpose(2, 0, 1)[:, None], node.weight.shape[2]
                layer = nn.Conv2d(
                    weight.shape[1] * groups, len(weight), node.kernel, node.stride, (top, left), node.dilation, groups
                )
                layer.weight.data = torch.from_numpy(np.ascontiguousarray(weight, np.float32))
                layer.bias.data = torch.from_numpy(np.asarray(node.bias, np.float32))
                self.layers[node.name.replace(".", "_")] = layer

        def forward(self, image):
            values = dict(zip(graph.inputs, (image,)))
            for node in graph.nodes:
                inputs = [values[name] for name in node.inputs]
                if node.op in ("conv", "depthwise"):
                    result = self.layers[node.name.replace(".", "_")](*inputs)
                elif node.op == "add":
                    result = inputs[0] + inputs[1]
                elif node.op == "global_avg_pool":
                    result = nn.functional.adaptive_avg_pool2d(inputs[0], 1)
                else:
                    raise NotImplementedError(f"{node.name}: {node.op}")
                if node.activation == "clamp":
                    result = nn.functional.hardtanh(result, *map(float, node.clamp))
                elif node.activation != "none":
                    raise NotImplementedError(f"{node.name}: activation {node.activation}")
                values[node.output] = result
            return values[graph.outputs[0].value].flatten(1)

    return Network().eval().requires_grad_(False)


def example(folder):
    """The image as NCHW in channels-last memory, the layout in which PyTorch's CPU convolutions are fastest."""
    import torch

    return channels_last(torch.from_numpy(np.load(folder / "image.npy")))


def channels_last(image):
    import torch

    return image.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def prepare_eager(graph, folder, threads):
    import torch

    torch.save(torch.fx.symbolic_trace(channels_last_module(graph)), folder / "eager.pt")


def channels_last_module(graph):
    import torch

    return make_module(graph).to(memory_format=torch.channels_last)


def open_eager(folder, image, threads):
    import torch

    torch.set_num_threads(threads)
    module, pixels = torch.load(folder / "eager.pt", weights_only=False), channels_last(torch.from_numpy(image))

    def run():
        with torch.inference_mode():
            return module(pixels).numpy()

    return run


def prepare_compiled(graph, folder, threads):
    """The number of threads is compiled in."""
    import torch

    settings = {"freezing": True, "max_autotune": True, "cpp.threads": threads}
    with torch.no_grad():
        program = torch.export.export(channels_last_module(graph), (example(folder),))
        package = str(folder / f"compiled_{threads}.pt2")
        torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs=settings)


def open_compiled(folder, image, threads):
    import torch

    torch.set_num_threads(threads)
    module = torch._inductor.aoti_load_package(str(folder / f"compiled_{threads}.pt2"))
    pixels = channels_last(torch.from_numpy(image))

    def run():
        with torch.inference_mode():
            return module(pixels).numpy()

    return run


def capability(folder, threads):
    import torch

    return torch.backends.cpu.get_cpu_capability()


ENGINES = (
    Engine(
        "PyTorch, AOTInductor",
        ("torch", "torch._inductor"),
        ("torch",),
        prepare_compiled,
        open_compiled,
        isa=capability,
    ),
    Engine("PyTorch, eager", ("torch",), ("torch",), prepare_eager, open_eager, isa=capability),
)
