"""The independent oracle: any mbinfer `Graph` as an ONNX model, and onnxruntime to run it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import helper

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def graph_to_onnx(graph, opset: int = 20) -> onnx.ModelProto:
    """`graph` as ONNX, NCHW inside: float32 NHWC inputs ``(1, H, W, C)``, outputs of the graph's names and shapes."""
    nodes, constants = [], []
    inner = {value: f"{value}:nchw" for value in graph.values}

    def constant(name, array):
        constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    for name in graph.inputs:
        nodes.append(helper.make_node("Transpose", [name], [inner[name]], perm=TO_NCHW))
    for node in graph.nodes:
        inputs, result = [inner[name] for name in node.inputs], f"{node.output}:linear"
        window = {"kernel_shape": node.kernel, "strides": node.stride, "pads": node.pads}
        if node.op in ("conv", "depthwise"):
            weight = np.float32(node.weight)
            weight = weight.transpose(0, 3, 1, 2) if node.op == "conv" else weight.transpose(2, 0, 1)[:, None]
            inputs.append(constant(f"{node.name}:weight", weight))
            if node.bias is not None:
                inputs.append(constant(f"{node.name}:bias", np.float32(node.bias)))
            groups = node.groups if node.op == "conv" else len(weight)
            made = helper.make_node("Conv", inputs, [result], group=groups, dilations=node.dilation, **window)
        elif node.op == "max_pool":
            made = helper.make_node("MaxPool", inputs, [result], **window)
        elif node.op == "avg_pool":
            counts = int(node.counts_padding)
            made = helper.make_node("AveragePool", inputs, [result], count_include_pad=counts, **window)
        elif node.op == "softmax":
            made = helper.make_node("LogSoftmax" if node.logarithm else "Softmax", inputs, [result], axis=1)
        elif node.op == "norm":
            nodes += _norm(node, inputs[0], result, graph.values[node.output][2], constant)
            made = helper.make_node("Identity", [result], [f"{result}:same"])
        elif node.op in ("resize", "slice", "shuffle", "depth_to_space"):
            nodes += _moved(node, inputs[0], result, graph.values, constant)
            made = helper.make_node("Identity", [result], [f"{result}:same"])
        elif node.op == "stack":
            nodes += _stacked(node, inputs, result, graph.values, constant)
            made = helper.make_node("Identity", [result], [f"{result}:same"])
        else:
            attrs = {"axis": 1} if node.op == "concat" else {}
            op = {"global_avg_pool": "GlobalAveragePool"}.get(node.op, node.op.capitalize())
            made = helper.make_node(op, inputs, [result], **attrs)
        nodes.append(made)
        nodes += _activation(node, result, inner[node.output], constant)
    names = []
    for i, output in enumerate(graph.outputs):
        names.append(output.name if output.name not in graph.inputs else f"{output.name}:out")
        nodes.append(helper.make_node("Transpose", [inner[output.value]], [f"output{i}:nhwc"], perm=TO_NHWC))
        shape = constant(f"output{i}:shape", np.array(output.shape, np.int64))
        nodes.append(helper.make_node("Reshape", [f"output{i}:nhwc", shape], [names[-1]]))
    float32 = onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, float32, (1, *graph.values[name])) for name in graph.inputs]
    outputs = [helper.make_tensor_value_info(name, float32, output.shape) for name, output in zip(names, graph.outputs)]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, outputs, constants),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    onnx.checker.check_model(model)
    return model


def _moved(node, x: str, y: str, values, constant) -> list[onnx.NodeProto]:
    """Operators that move numbers: gathered by index, resized bilinearly by ONNX's own operator."""
    (height, width, channels), (rows, columns, made) = values[node.inputs[0]], values[node.output]

    if node.op == "resize":
        across = _resized(constant, x, f"{y}:across", 3, node.columns, node.kernel[1], width, columns)
        return across + _resized(constant, f"{y}:across", y, 2, node.rows, node.kernel[0], height, rows)
    if node.op == "depth_to_space":
        down, across = node.rows[1], node.columns[1]
        split = constant(f"{node.name}:split", np.array([1, down, across, made, height, width]))
        whole = constant(f"{node.name}:whole", np.array([1, made, rows, columns]))
        return [
            helper.make_node("Reshape", [x, split], [f"{y}:split"]),
            helper.make_node("Transpose", [f"{y}:split"], [f"{y}:turned"], perm=[0, 3, 4, 1, 5, 2]),
            helper.make_node("Reshape", [f"{y}:turned", whole], [y]),
        ]
    channel = np.arange(made)
    channel = channel % node.groups * (made // node.groups) + channel // node.groups
    if node.op == "slice":
        channel = np.arange(made) + node.first_channel
    zeros = np.where((channel < 0) | (channel >= channels), channels, channel)  # one channel more, of zeros
    padded = constant(f"{node.name}:pads", np.array([0, 0, 0, 0, 0, 1, 0, 0]))
    index = constant(f"{node.name}:channels", zeros)
    return [
        helper.make_node("Pad", [x, padded], [f"{y}:padded"]),
        helper.make_node("Gather", [f"{y}:padded", index], [y], axis=1),
    ]


def _stacked(node, inputs, y: str, values, constant) -> list[onnx.NodeProto]:
    """Pictures laid flat, put one after the other, and given their shape."""
    height, width, channels = values[node.output]
    flat = constant(f"{node.name}:flat", np.array([1, channels, -1]))
    whole = constant(f"{node.name}:whole", np.array([1, channels, height, width]))
    rows = [f"{y}:{i}" for i in range(len(inputs))]
    return [
        *(helper.make_node("Reshape", [x, flat], [row]) for x, row in zip(inputs, rows)),
        helper.make_node("Concat", rows, [f"{y}:joined"], axis=2),
        helper.make_node("Reshape", [f"{y}:joined", whole], [y]),
    ]


def _norm(node, x: str, y: str, channels: int, constant) -> list[onnx.NodeProto]:
    """x / max(offset + factor * sum of squares, least)^exponent; a window's sum is a convolution of all channels."""
    factor, offset, exponent, least = (constant(f"{y}:{i}", np.float32(v)) for i, v in enumerate(node.weight))
    channel = np.arange(channels)
    window, before = node.window_channels, (node.window_channels - 1) // 2
    distance = channel - channel[:, None] + before if window else np.zeros((channels, channels))
    inside = np.float32((distance >= 0) & (distance < max(window, 1)))[:, :, None, None]
    mean = constant(f"{y}:mean", np.full((channels, channels, 1, 1), node.centred / channels, np.float32))
    steps = [
        ("Conv", x, mean, "m"),
        ("Sub", x, f"{y}:m", "c"),
        ("Mul", f"{y}:c", f"{y}:c", "square"),
        ("Conv", f"{y}:square", constant(f"{y}:inside", inside), "sum"),
        ("Mul", f"{y}:sum", factor, "scaled"),
        ("Add", f"{y}:scaled", offset, "base"),
        ("Max", f"{y}:base", least, "most"),
        ("Pow", f"{y}:most", exponent, "power"),
    ]
    nodes = [helper.make_node(op, [a, b], [f"{y}:{name}"]) for op, a, b, name in steps]
    return [*nodes, helper.make_node("Div", [f"{y}:c", f"{y}:power"], [y])]


def _resized(constant, x: str, y: str, axis: int, positions, taps: int, size: int, made: int) -> list[onnx.NodeProto]:
    """One axis, gathered by index: the numbers on both sides of a position, and what lies between."""
    numerator, denominator, term = positions
    whole, rest = np.divmod(np.arange(made) * numerator + term, denominator)
    before, after = (np.clip(whole + i, 0, size - 1) for i in (0, 1))
    first = helper.make_node("Gather", [x, constant(f"{y}:before", before)], [y if taps == 1 else f"{y}:0"], axis=axis)
    if taps == 1:
        return [first]
    shape = [made if i == axis else 1 for i in range(4)]
    weight = constant(f"{y}:weight", np.float32(rest / denominator).reshape(shape))
    return [
        first,
        helper.make_node("Gather", [x, constant(f"{y}:after", after)], [f"{y}:1"], axis=axis),
        helper.make_node("Sub", [f"{y}:1", f"{y}:0"], [f"{y}:2"]),
        helper.make_node("Mul", [f"{y}:2", weight], [f"{y}:3"]),
        helper.make_node("Add", [f"{y}:3", f"{y}:0"], [y]),
    ]


def _activation(node, x: str, y: str, constant) -> list[onnx.NodeProto]:
    def chain(*steps: tuple[str, ...]) -> list[onnx.NodeProto]:
        """Each step an operator and its inputs, "" the result of the step before."""
        names = [*(f"{y}:{i}" for i in range(len(steps) - 1)), y]
        return [
            helper.make_node(op, [name or before for name in inputs], [name_])
            for (op, *inputs), before, name_ in zip(steps, ["", *names], names)
        ]

    kind = node.activation
    if kind == "clamp":
        bounds = [constant(f"{node.name}:{i}", np.float32(bound)) for i, bound in enumerate(node.clamp)]
        return chain(("Clip", x, *bounds))
    if kind == "prelu":
        return chain(("PRelu", x, constant(f"{node.name}:slopes", np.float32(node.slopes).reshape(-1, 1, 1))))
    if kind == "elu":
        slopes = constant(f"{node.name}:slopes", np.float32(node.slopes).reshape(-1, 1, 1))
        zero = constant(f"{node.name}:zero", np.float32(0))
        steps = chain(("Min", x, zero), ("Exp", ""), ("Sub", "", constant(f"{node.name}:one", np.float32(1))))
        steps = [*steps[:-1], helper.make_node("Sub", list(steps[-1].input), [f"{y}:less"])]
        return [
            *steps,
            helper.make_node("Mul", [f"{y}:less", slopes], [f"{y}:below"]),
            helper.make_node("Relu", [x], [f"{y}:above"]),
            helper.make_node("Add", [f"{y}:below", f"{y}:above"], [y]),
        ]
    if kind == "root":
        return chain(("Sqrt", x))
    if kind == "silu":
        return chain(("Sigmoid", x), ("Mul", x, ""))
    if kind.startswith("gelu"):
        return [helper.make_node("Gelu", [x], [y], approximate="tanh" if kind == "gelu_tanh" else "none")]
    return chain(({"none": "Identity", "hard_swish": "HardSwish"}.get(kind, kind.capitalize()), x))


def run_onnx(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name of `model` in onnxruntime, unoptimised and on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def run_graph(graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name of an mbinfer `Graph` in onnxruntime; NHWC inputs."""
    return run_onnx(graph_to_onnx(graph), inputs)


def random_inputs(graph, seed: int = 0) -> dict[str, np.ndarray]:
    """Normal float32 inputs ``(1, H, W, C)`` for `graph`."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((1, *graph.values[name])).astype(np.float32) for name in graph.inputs}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    """Same names and shapes, and no element further off than `tolerance` times the largest absolute one."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert np.isfinite(array).all(), name
        worst = np.abs(found[name] - array).max() / max(np.abs(array).max(), 1e-6)
        assert worst <= tolerance, f"output '{name}' is off by {worst:.2e} of its largest element"
