"""LiteRT with XNNPACK: its flatbuffer written from a `Graph`, float32 or int8, without TensorFlow; its interpreter."""

from __future__ import annotations

import numpy as np

from . import Engine


def prepare(graph, folder, threads):
    """``model.tflite``: NHWC, activations fused; padding that is not "SAME" by an operator, which XNNPACK fuses.

    Values of uint8 are int8, less by 128, and stand for the same.
    """
    import flatbuffers

    writer = Writer()
    (image,) = graph.inputs
    tensors = {image: writer.value(graph, image)}
    inputs = [tensors[image]]
    for node in graph.nodes:
        result = writer.value(graph, node.output)
        writer.node(graph, node, [tensors[name] for name in node.inputs], result)
        tensors[node.output] = result
    (output,) = graph.outputs
    shape = writer.tensor("logits_shape", (len(output.shape),), np.array(output.shape, np.int32))
    logits = writer.tensor("logits_flat", output.shape)
    writer.operator("RESHAPE", [tensors[output.value], shape], logits, "ReshapeOptions", newShape=list(output.shape))
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(writer.model(inputs, [logits]).Pack(builder), b"TFL3")
    (folder / "model.tflite").write_bytes(builder.Output())


class Writer:
    """Tensors, operators and buffers of one TFLite subgraph as they are added."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated

        self.schema = schema_py_generated
        self.tensors, self.operators, self.codes = [], [], []
        self.buffers = [self.schema.BufferT()]  # buffer 0 is the empty one, of tensors without content

    def tensor(self, name, shape, content=None, scales=None, zero_point=0, axis=0, dtype=np.float32) -> int:
        """`scales`: one, or those of each index of `axis`; `dtype`: of a tensor without content."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        dtype = np.dtype(dtype if content is None else content.dtype)
        tensor.type = getattr(self.schema.TensorType, dtype.name.upper())
        if scales is not None:
            tensor.quantization = kind = self.schema.QuantizationParametersT()
            kind.scale = np.atleast_1d(np.float32(scales))
            kind.zeroPoint = np.full(len(kind.scale), zero_point, np.int64)
            kind.quantizedDimension = axis
        if content is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content).tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def value(self, graph, name, shape=None) -> int:
        """A tensor of a value of `graph`, or of one like it but for its shape."""
        kind = graph.types.get(name)
        shape = (1, *graph.values[name]) if shape is None else shape
        if kind is None:
            return self.tensor(name, shape)
        return self.tensor(name, shape, scales=kind.scale, zero_point=kind.zero_point - 128, dtype=np.int8)

    def constant(self, name, content, scales=None, axis=0) -> int:
        return self.tensor(name, content.shape, content, scales, axis=axis)

    def weights(self, graph, node) -> list[int]:
        """Weight and bias of `node`; integers with a scale for each output channel, where they are integers."""
        axis = 0 if node.op == "conv" else 3
        weight = node.weight if node.op == "conv" else node.weight[None]
        scales = steps = None
        if weight.dtype == np.int8:
            scales = node.weight_scale
            steps = np.float32(graph.types[node.inputs[0]].scale) * scales
        return [
            self.constant(f"{node.name}_weight", weight, scales, axis),
            self.constant(f"{node.name}_bias", node.bias, steps),
        ]

    def operator(self, code, inputs, output, options="", **fields):
        operator = self.schema.OperatorT()
        if code not in self.codes:
            self.codes.append(code)
        operator.opcodeIndex, operator.inputs, operator.outputs = self.codes.index(code), inputs, [output]
        if options:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.schema, f"{options}T")()
            for name, value in fields.items():
                setattr(operator.builtinOptions, name, value)
        self.operators.append(operator)

    def node(self, graph, node, inputs, result):
        activations = self.schema.ActivationFunctionType
        if node.activation == "none":
            activation = activations.NONE
        elif node.activation == "clamp" and tuple(node.clamp) == (0.0, 6.0):
            activation = activations.RELU6
        else:
            raise NotImplementedError(f"{node.name}: activation {node.activation} {node.clamp}")
        if node.op == "convert":
            self.operator("QUANTIZE" if node.output in graph.types else "DEQUANTIZE", inputs, result)
        elif node.op == "add":
            self.operator("ADD", inputs, result, "AddOptions", fusedActivationFunction=activation)
        elif node.op == "global_avg_pool" and not activation:
            axes = self.constant(f"{node.name}_axes", np.array([1, 2], np.int32))
            self.operator("MEAN", [inputs[0], axes], result, "ReducerOptions", keepDims=True)
        elif node.op == "depthwise" or node.op == "conv" and node.groups == 1:
            padding = self.padding(graph, node, inputs)
            inputs += self.weights(graph, node)
            window = {
                "padding": padding,
                "strideH": node.stride[0],
                "strideW": node.stride[1],
                "dilationHFactor": node.dilation[0],
                "dilationWFactor": node.dilation[1],
                "fusedActivationFunction": activation,
            }
            if node.op == "conv":
                self.operator("CONV_2D", inputs, result, "Conv2DOptions", **window)
            else:
                window["depthMultiplier"] = 1
                self.operator("DEPTHWISE_CONV_2D", inputs, result, "DepthwiseConv2DOptions", **window)
        else:
            raise NotImplementedError(f"{node.name}: {node.op}")

    def padding(self, graph, node, inputs) -> int:
        """ "VALID" or "SAME"; where neither pads as `node` does, a padded copy takes the place of `inputs`."""
        if not any(node.pads):
            return self.schema.Padding.VALID
        height, width, channels = graph.values[node.inputs[0]]
        top, left, bottom, right = node.pads
        same = [same_pads(*axis) for axis in zip((height, width), node.kernel, node.stride, node.dilation)]
        if [(top, bottom), (left, right)] == same:
            return self.schema.Padding.SAME
        amounts = self.constant(f"{node.name}_pads", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
        padded = self.value(graph, node.inputs[0], (1, height + top + bottom, width + left + right, channels))
        self.operator("PAD", [inputs[0], amounts], padded, "PadOptions")
        inputs[0] = padded
        return self.schema.Padding.VALID

    def model(self, inputs, outputs):
        model, subgraph = self.schema.ModelT(), self.schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = inputs, outputs
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [subgraph], self.buffers, []
        for name in self.codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self.schema.BuiltinOperator, name)
            code.version = 1
            model.operatorCodes.append(code)
        return model


def same_pads(size, kernel, stride, dilation):
    """What "SAME" adds before and after: the least, with the odd one after."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def open_litert(folder, image, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.set_tensor(source, image)

    def run():
        interpreter.invoke()
        return interpreter.get_tensor(result)

    return run


ENGINES = (
    Engine(
        "LiteRT + XNNPACK",
        ("ai_edge_litert.interpreter",),
        ("ai-edge-litert",),
        prepare,
        open_litert,
        dtypes=("float32", "int8"),
    ),
)
