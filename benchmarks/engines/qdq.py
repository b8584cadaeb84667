"""An int8 mbinfer `Graph` as the QuantizeLinear / DequantizeLinear ONNX model that other engines read as int8."""

from __future__ import annotations

import numpy as np


def graph_to_qdq(graph, signed: bool = False):
    """An ONNX model of the int8 `graph` with float32 NCHW inputs; outputs are float32, of the graph's shapes.

    The operators are conv, depthwise, add, the pools, softmax, lookup and convert; rank-4 outputs are NCHW. `signed`:
    values are int8, less by 128, and stand for the same.
    """
    import onnx
    from onnx import helper

    made = _Maker(graph, signed)
    inputs = []
    for name in graph.inputs:
        height, width, channels = graph.values[name]
        inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, channels, height, width)))
        made.real[name] = name
    for node in graph.nodes:
        made.node(node)
    outputs = []
    for output in graph.outputs:
        shape = output.shape if len(output.shape) < 4 else tuple(np.array(output.shape)[[0, 3, 1, 2]])
        made.add("Reshape", [made.real[output.value], made.constant(np.array(shape, np.int64))], output.name)
        outputs.append(helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, shape))
    model = helper.make_model(
        helper.make_graph(made.nodes, "graph", inputs, outputs, made.constants),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.checker.check_model(model)
    return model


class _Maker:
    """Nodes so far; `real` names the float32 tensor that stands for each value."""

    def __init__(self, graph, signed):
        self.graph, self.nodes, self.constants, self.real = graph, [], [], {}
        self.shift, self.dtype = (128, np.int8) if signed else (0, np.uint8)

    def add(self, op, inputs, output, **attributes):
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, array):
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def quantised(self, value, real=None):
        """Set what stands for `value`: `real`, rounded to its type, or the numbers ``value:q``."""
        kind = self.graph.types[value]
        scale = self.constant(np.float32(kind.scale))
        zero = self.constant(np.array(kind.zero_point - self.shift, self.dtype))
        if real is not None:
            self.add("QuantizeLinear", [real, scale, zero], f"{value}:q")
        self.real[value] = self.add("DequantizeLinear", [f"{value}:q", scale, zero], f"{value}:dq")

    def node(self, node):
        inputs = [self.real[name] for name in node.inputs]
        kind = self.graph.types.get(node.output)
        if node.op == "convert":
            if kind is None:
                self.real[node.output] = inputs[0]
            else:
                self.quantised(node.output, inputs[0])
            return
        if node.op == "lookup":
            table = (np.roll(node.weight, -self.shift).astype(np.int64) - self.shift).astype(self.dtype)  # of -1: last
            indices = self.add("Cast", [f"{node.inputs[0]}:q"], f"{node.name}:index", to=6)
            self.add("Gather", [self.constant(table), indices], f"{node.output}:q")
            self.quantised(node.output)
            return
        result = f"{node.output}:linear"
        window = {"kernel_shape": node.kernel, "strides": node.stride, "pads": node.pads}
        if node.weight is not None:
            groups = node.groups if node.op == "conv" else node.weight.shape[2]
            inputs += self._weights(node)
            self.add("Conv", inputs, result, group=groups, dilations=node.dilation, **window)
        elif node.op == "max_pool":
            self.add("MaxPool", inputs, result, **window)
        elif node.op == "avg_pool":
            self.add("AveragePool", inputs, result, count_include_pad=int(node.counts_padding), **window)
        elif node.op == "softmax":
            self.add("Softmax", inputs, result, axis=1)
        else:
            self.add({"add": "Add", "global_avg_pool": "GlobalAveragePool"}[node.op], inputs, result)
        if node.activation == "clamp":
            bounds = [self.constant(np.float32(bound)) for bound in node.clamp]
            result = self.add("Clip", [result, *bounds], f"{node.output}:clipped")
        if kind is None:
            self.real[node.output] = result
        else:
            self.quantised(node.output, result)

    def _weights(self, node):
        """Weight, and bias, as float32 of integers where they are integers."""
        weight = np.asarray(node.weight)
        weight = weight.transpose(0, 3, 1, 2) if node.op == "conv" else weight.transpose(2, 0, 1)[:, None]
        if weight.dtype != np.int8:
            return [self.constant(np.float32(array)) for array in (weight, node.bias) if array is not None]
        scale = self.constant(node.weight_scale)
        zeros = [self.constant(np.zeros(len(weight), dtype)) for dtype in (np.int8, np.int32)]
        inputs = [self.add("DequantizeLinear", [self.constant(weight), scale, zeros[0]], f"{node.name}:weight", axis=0)]
        if node.bias is not None:
            steps = np.float32(self.graph.types[node.inputs[0]].scale) * node.weight_scale
            numbers = [self.constant(node.bias), self.constant(steps), zeros[1]]
            inputs.append(self.add("DequantizeLinear", numbers, f"{node.name}:bias", axis=0))
        return inputs
