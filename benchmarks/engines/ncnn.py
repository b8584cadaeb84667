"""ncnn: its two files written from a `Graph`, and run with and without float16 storage of weights."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np

from . import Engine

MAGIC = 7767517
# Numbers of a layer's parameters in the text file (ncnn's docs/developer-guide/operators.md).
CLIP, ACTIVATION, BOUNDS = 3, 9, -23310


def prepare(graph, folder, threads):
    """``ncnn.param``, a layer a line; ``ncnn.bin``, a zero that says raw float32 before each weight, then the bias."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    lines, weights = [], []
    copies = {}  # a value with several readers is split by a layer of its own: the names that are left

    def layer(kind, name, inputs, outputs, parameters):
        words = [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs]
        lines.append((" ".join(words + [f"{key}={value}" for key, value in parameters.items()]), len(outputs)))

    def split(name):
        if readers[name] > 1:
            copies[name] = [f"{name}_{i}" for i in range(readers[name])]
            layer("Split", f"{name}_split", [name], list(copies[name]), {})

    (image,) = graph.inputs
    height, width, channels = graph.values[image]
    layer("Input", image, [], [image], {0: width, 1: height, 2: channels})
    split(image)
    for node in graph.nodes:
        inputs = [copies[name].pop(0) if name in copies else name for name in node.inputs]
        kind, parameters, arrays = translate(graph, node)
        weights += arrays
        layer(kind, node.name, inputs, [node.output], parameters)
        split(node.output)
    header = [str(MAGIC), f"{len(lines)} {sum(blobs for _, blobs in lines)}"]
    (folder / "ncnn.param").write_text("\n".join(header + [line for line, _ in lines]) + "\n")
    flat = [np.ascontiguousarray(array, np.float32).ravel() for array in weights]
    (folder / "ncnn.bin").write_bytes(np.concatenate(flat).tobytes())


def translate(graph, node):
    """The kind of layer of `node`, its parameters, and its arrays in the order of the file."""
    activation = {}
    if node.activation == "clamp":
        activation = {ACTIVATION: CLIP, BOUNDS: "2,{:e},{:e}".format(*np.clip(node.clamp, -3e38, 3e38))}
    elif node.activation != "none":
        raise NotImplementedError(f"{node.name}: activation {node.activation}")
    if node.op in ("conv", "depthwise"):
        weight = node.weight.transpose(0, 3, 1, 2) if node.op == "conv" else node.weight.transpose(2, 0, 1)[:, None]
        groups = node.groups if node.op == "conv" else len(weight)
        arrays = [np.zeros(1), weight, node.bias]
        if node.output == graph.outputs[0].value and graph.values[node.inputs[0]][:2] == (1, 1):  # gives a vector
            return "InnerProduct", {0: len(weight), 1: 1, 2: weight.size, **activation}, arrays
        (top, left, bottom, right), (height, width) = node.pads, node.kernel
        parameters = {
            0: len(weight),
            1: width,
            11: height,
            2: node.dilation[1],
            12: node.dilation[0],
            3: node.stride[1],
            13: node.stride[0],
            4: left,
            15: right,
            14: top,
            16: bottom,
            5: 1,
            6: weight.size,
        }
        if groups == 1:
            return "Convolution", {**parameters, **activation}, arrays
        return "ConvolutionDepthWise", {**parameters, 7: groups, **activation}, arrays
    if node.op == "add" and not activation:
        return "BinaryOp", {0: 0}, []
    if node.op == "global_avg_pool" and not activation:
        return "Pooling", {0: 1, 4: 1}, []
    raise NotImplementedError(f"{node.name}: {node.op}")


def open_ncnn(folder, image, threads, half):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
    net.load_param(str(folder / "ncnn.param"))
    net.load_model(str(folder / "ncnn.bin"))
    planes = np.ascontiguousarray(image[0].transpose(2, 0, 1))  # the Mat does not hold on to its array
    pixels = ncnn.Mat(planes).clone()
    source, result = net.input_names()[0], net.output_names()[0]

    def run():
        extractor = net.create_extractor()
        extractor.input(source, pixels)
        _, logits = extractor.extract(result)
        return np.array(logits)[None]

    return run


ENGINES = tuple(
    Engine(name, ("ncnn",), ("ncnn",), prepare, partial(open_ncnn, half=half), tolerance, half)
    for name, half, tolerance in (("ncnn", False, 1e-3), ("ncnn, fp16 storage", True, 1e-2))
)
