"""TensorFlow Lite files for tests, written with the schema that ai-edge-litert ships, and its interpreter as oracle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs ai-edge-litert")

KINDS = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int8": "INT8",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
}
SAME, VALID = 0, 1
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)


@dataclass
class Values:
    """A tensor that the network computes."""

    index: int
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


@dataclass
class TfliteBuilder:
    """One graph; `dtype` of the values: float32, int8 or uint8."""

    rng: np.random.Generator
    dtype: str = "float32"
    tensors: list = field(default_factory=list)
    operators: list = field(default_factory=list)
    codes: list = field(default_factory=list)
    buffers: list = field(default_factory=lambda: [schema.BufferT()])  # the first is that of tensors without content
    custom_code: str = ""  # what operators of the kind CUSTOM are called
    others: list = field(default_factory=list)  # builders of more subgraphs
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)

    def tensor(self, name, shape, dtype, content=None, scale=None, zero_point=None, axis=0) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, [int(size) for size in shape], 0
        made.type = getattr(schema.TensorType, KINDS.get(dtype, dtype.upper()))
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.atleast_1d(np.float32(scale)).tolist()
            made.quantization.zeroPoint = np.broadcast_to(zero_point or 0, len(made.quantization.scale)).tolist()
            made.quantization.quantizedDimension = axis
        if content is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(content, dtype).tobytes(), np.uint8)
            made.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def values(self, shape, scale=None, zero_point=None, name=None, dtype=None) -> Values:
        """A computed tensor of the network's type, with a drawn scale and zero point where it is quantised."""
        dtype, name = dtype or self.dtype, name or f"t{len(self.tensors)}"
        if dtype == "float32":
            return Values(self.tensor(name, shape, dtype), tuple(shape))
        if scale is None:
            scale = float(np.float32(self.rng.uniform(0.02, 0.05)))
        if zero_point is None:
            zero_point = int(self.rng.integers(-20, 20)) + (128 if dtype == "uint8" else 0)
        return Values(self.tensor(name, shape, dtype, None, scale, zero_point), tuple(shape), scale, zero_point)

    def input(self, shape, **fields) -> Values:
        made = self.values(shape, name="x", **fields)
        self.inputs.append(made.index)
        return made

    def constant(self, content, dtype="int32") -> int:
        return self.tensor(f"c{len(self.tensors)}", np.shape(content), dtype, content)

    def operator(self, code, inputs, output, options="", **fields) -> None:
        made = schema.OperatorT()
        if code not in self.codes:
            self.codes.append(code)
        made.opcodeIndex, made.inputs = self.codes.index(code), list(inputs)
        made.outputs = [] if output is None else [output]
        if options:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            made.builtinOptions = getattr(schema, f"{options}T")()
            for name, value in fields.items():
                assert hasattr(made.builtinOptions, name), name
                setattr(made.builtinOptions, name, value)
        self.operators.append(made)

    def model(self) -> bytes:
        import flatbuffers

        model, graphs = schema.ModelT(), []
        for net in (self, *self.others):
            graphs.append(schema.SubGraphT())
            for name in ("tensors", "operators", "inputs", "outputs"):
                setattr(graphs[-1], name, getattr(net, name))
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, graphs, self.buffers, []
        for name in self.codes:
            code = schema.OperatorCodeT()
            number = getattr(schema.BuiltinOperator, name)
            code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
            code.version = 2 if name == "BROADCAST_TO" else 1  # LiteRT has no first one of it
            code.customCode = self.custom_code if name == "CUSTOM" else None
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 14)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Variables.

    def handle(self, name, container="") -> int:
        made = self.tensor(f"h{len(self.tensors)}", (), "resource")
        self.operator("VAR_HANDLE", [], made, "VarHandleOptions", sharedName=name, container=container)
        return made

    def read(self, name, shape, scale=None, zero_point=None, container="") -> Values:
        made = self.values(shape, scale, zero_point)
        self.operator("READ_VARIABLE", [self.handle(name, container)], made.index, "ReadVariableOptions")
        return made

    def assign(self, name, value: int, container="") -> None:
        self.operator("ASSIGN_VARIABLE", [self.handle(name, container), value], None, "AssignVariableOptions")

    def once(self) -> TfliteBuilder:
        """Another subgraph, which runs at first."""
        self.others.append(TfliteBuilder(self.rng, self.dtype, codes=self.codes, buffers=self.buffers))
        self.operator("CALL_ONCE", [], None, "CallOnceOptions", initSubgraphIndex=len(self.others))
        return self.others[-1]

    # Layers.

    def weights(self, shape, axis, x: Values, fan_in: int) -> tuple[int, int]:
        """Tensors of weights and bias, `axis` being that of the output channels."""
        real = self.rng.standard_normal(shape) / np.sqrt(fan_in)
        bias = self.rng.standard_normal(shape[axis]) / 4
        if self.dtype == "float32":
            return self.constant(real, "float32"), self.constant(bias, "float32")
        others = tuple(i for i in range(len(shape)) if i != axis)
        scale = np.float32(np.abs(real).max(axis=others) / 127)
        along = [1] * len(shape)
        along[axis] = -1
        numbers = np.clip(np.rint(real / scale.reshape(along)), -127, 127)
        weight = self.tensor(f"w{len(self.tensors)}", shape, "int8", numbers, scale, 0, axis)
        steps = np.float32(x.scale) * scale
        bias = self.tensor(f"b{len(self.tensors)}", (shape[axis],), "int32", np.rint(bias / steps), steps, 0, 0)
        return weight, bias

    def conv(
        self, x: Values, channels, kernel, stride=(1, 1), padding=SAME, dilation=(1, 1), act=NONE, groups=1
    ) -> Values:
        per_group = x.shape[3] // groups
        weight, bias = self.weights((channels, *kernel, per_group), 0, x, kernel[0] * kernel[1] * per_group)
        made = self.values((1, *self.sizes(x, kernel, stride, padding, dilation), channels))
        options = {**_window(stride, padding, act), "dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
        self.operator("CONV_2D", [x.index, weight, bias], made.index, "Conv2DOptions", **options)
        return made

    def depthwise(self, x: Values, kernel, stride=(1, 1), padding=SAME, act=NONE, multiplier=1) -> Values:
        channels = x.shape[3] * multiplier
        weight, bias = self.weights((1, *kernel, channels), 3, x, kernel[0] * kernel[1])
        made = self.values((1, *self.sizes(x, kernel, stride, padding), channels))
        options = {**_window(stride, padding, act), "depthMultiplier": multiplier}
        self.operator("DEPTHWISE_CONV_2D", [x.index, weight, bias], made.index, "DepthwiseConv2DOptions", **options)
        return made

    def pool(self, op, x: Values, kernel, stride, padding=SAME, act=NONE) -> Values:
        shape = (1, *self.sizes(x, kernel, stride, padding), x.shape[3])
        made = self.like(x, shape)
        options = {**_window(stride, padding, act), "filterHeight": kernel[0], "filterWidth": kernel[1]}
        self.operator(op, [x.index], made.index, "Pool2DOptions", **options)
        return made

    def add(self, a: Values, b: Values, act=NONE) -> Values:
        made = self.values(a.shape)
        self.operator("ADD", [a.index, b.index], made.index, "AddOptions", fusedActivationFunction=act)
        return made

    def mean(self, x: Values, keep: bool) -> Values:
        made = self.values((1, 1, 1, x.shape[3]) if keep else (1, x.shape[3]))
        self.operator("MEAN", [x.index, self.constant([1, 2])], made.index, "ReducerOptions", keepDims=keep)
        return made

    def pad(self, x: Values, pads) -> Values:
        top, left, bottom, right = pads
        made = self.like(x, (1, x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3]))
        amounts = self.constant([[0, 0], [top, bottom], [left, right], [0, 0]])
        self.operator("PAD", [x.index, amounts], made.index, "PadOptions")
        return made

    def reshape(self, x: Values, shape) -> Values:
        made = self.like(x, shape)
        self.operator("RESHAPE", [x.index, self.constant(shape)], made.index, "ReshapeOptions", newShape=list(shape))
        return made

    def dense(self, x: Values, outputs, act=NONE) -> Values:
        inputs = int(np.prod(x.shape))
        weight, bias = self.weights((outputs, inputs), 0, x, inputs)
        made = self.values((1, outputs))
        options = {"fusedActivationFunction": act}
        self.operator("FULLY_CONNECTED", [x.index, weight, bias], made.index, "FullyConnectedOptions", **options)
        return made

    def softmax(self, x: Values) -> Values:
        made = self.values(x.shape, 1 / 256, -128 if self.dtype == "int8" else 0)
        self.operator("SOFTMAX", [x.index], made.index, "SoftmaxOptions", beta=1.0)
        return made

    def unary(self, op, x: Values, **fields) -> Values:
        made = self.values(x.shape, **fields)
        self.operator(op, [x.index], made.index)
        return made

    def like(self, x: Values, shape) -> Values:
        """A tensor of the same scale and zero point."""
        return self.values(shape, x.scale, x.zero_point)

    @staticmethod
    def sizes(x: Values, kernel, stride, padding, dilation=(1, 1)) -> tuple[int, int]:
        sizes = []
        for size, k, s, d in zip(x.shape[1:3], kernel, stride, dilation):
            sizes.append(-(-size // s) if padding == SAME else (size - (k - 1) * d - 1) // s + 1)
        return tuple(sizes)


def _window(stride, padding, act) -> dict:
    return {"padding": padding, "strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": act}


def litert(model: bytes, reference: bool = False) -> interpreter.Interpreter:
    """LiteRT, with XNNPACK or, as `reference`, its plain loops."""
    kind = interpreter.OpResolverType.BUILTIN_REF if reference else interpreter.OpResolverType.AUTO
    runner = interpreter.Interpreter(model_content=model, experimental_op_resolver_type=kind, num_threads=1)
    runner.allocate_tensors()
    return runner


def run_litert(model: bytes, inputs: dict[str, np.ndarray], reference: bool = False) -> dict[str, np.ndarray]:
    """Outputs by name in LiteRT."""
    return invoke(litert(model, reference), inputs)


def invoke(runner: interpreter.Interpreter, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    for details in runner.get_input_details():
        runner.set_tensor(details["index"], inputs[details["name"]])
    runner.invoke()
    return {details["name"]: runner.get_tensor(details["index"]) for details in runner.get_output_details()}
