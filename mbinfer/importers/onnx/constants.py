"""Tensors as arrays, and nodes whose inputs are all known, evaluated by onnx's own reference; both bounded.

How much a node will make is asked of onnx's shape inference before it runs; what that cannot tell is not run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FormatError
from ...messages import brief, told
from ..emitting import SourceNode, unsupported
from .loading import require_onnx

LARGEST_TENSOR = 1 << 28  # elements that a model stores
ALL_ELEMENTS = 1 << 28  # of all constants that are evaluated, beside what the model stores
STEPS = 4  # that the numbers a model stores may go through: cast, turned, scaled ...
MOST_WORK = 1 << 24  # inputs times outputs, of an operator that is no plain numpy call
MOST_PRODUCTS = 1 << 32  # multiply-adds of a product of constant matrices
SMALL = 1 << 10  # elements of an input whose numbers shape inference may look at

PACKED = {"INT4": 2, "UINT4": 2, "FLOAT4E2M1": 2, "INT2": 4, "UINT2": 4}  # elements in a byte

# onnx's evaluator knows these operators from a later opset on only, in which the node means the same.
EVALUATED_AS = {"DequantizeLinear": ("DequantizeLinear", 19), "Scatter": ("ScatterElements", 11)}

# What takes time with the elements that go in and come out, and no more.
PLAIN = frozenset(
    "Abs Add And ArgMax ArgMin BatchNormalization BitCast Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos "
    "CumSum DepthToSpace DequantizeLinear Div Dropout Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements "
    "Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mod "
    "Mul Neg NonZero Not OneHot Or Pad Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Shape Sigmoid Sign Sin Size Slice Softmax "
    "SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where Xor".split()
)
PRODUCTS = frozenset(("MatMul", "Gemm"))
UNSIZED = frozenset(("NonZero",))  # shape inference cannot tell, but no more than inputs times their rank
NOT_CONSTANT = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


def to_array(tensor: Any) -> npt.NDArray[Any]:
    """A TensorProto's numbers. Raises `FormatError` where shape, type and data do not go together."""
    onnx = require_onnx()
    where, dims = f"tensor '{brief(tensor.name)}'", tuple(tensor.dims)
    if min(dims, default=0) < 0 or math.prod(dims) > LARGEST_TENSOR:
        raise FormatError(f"{where} has the shape {brief(str(dims))}; supported are up to {LARGEST_TENSOR} elements")
    try:
        per_byte = PACKED.get(onnx.TensorProto.DataType.Name(tensor.data_type), 0)
        if per_byte and tensor.raw_data and len(tensor.raw_data) != -(-math.prod(dims) // per_byte):
            raise ValueError(f"{len(tensor.raw_data)} bytes")
        return np.asarray(onnx.numpy_helper.to_array(tensor)).reshape(dims)
    except Exception as error:  # numpy's and onnx's, of many kinds
        raise FormatError(f"{where}: its data does not go with its type and its shape {dims}: {told(error)}") from error


class Evaluator:
    """Evaluates constants of one model, within one budget."""

    def __init__(self, opset: int, stored: int = 0):
        """`stored`: the elements of all constants in the model."""
        self.opset, self.most = opset, ALL_ELEMENTS + STEPS * stored
        self.left = self.most

    def __call__(self, node: SourceNode, proto: Any, arrays: list[Any]) -> list[npt.NDArray[Any]]:
        """The outputs of the NodeProto `proto`, of which `node` is the reading; an input that is left out is None."""
        onnx = require_onnx()
        if node.op in NOT_CONSTANT or any(a.HasField("g") or a.graphs for a in proto.attribute):
            raise unsupported(node, "not a constant of known size", "constants without loops and random numbers")
        proto, opset = self._implemented(onnx, proto)
        feeds = {name: array for name, array in zip(proto.input, arrays) if array is not None}
        self._spend(node, self._predicted(onnx, node, proto, opset, feeds), feeds)
        if node.op == "ConstantOfShape":
            return [_filled(node, arrays[0])]
        try:
            from onnx.reference import ReferenceEvaluator

            graph = _graph(onnx, proto, feeds)
            results = [np.asarray(r) for r in ReferenceEvaluator(graph, opsets={"": opset}).run(None, feeds)]
        except Exception as error:  # the evaluator raises whatever its numpy code does
            raise unsupported(
                node,
                f"onnx cannot compute this constant: {told(error)}",
                "constants that onnx.reference evaluates",
            ) from error
        if any(result.dtype.kind not in "biufcV" for result in results):
            raise unsupported(node, "a constant that is not of numbers", "constants of numbers")
        return results

    def _implemented(self, onnx: Any, proto: Any) -> tuple[Any, int]:
        """The node as the evaluator knows it, and its opset."""
        name, opset = EVALUATED_AS.get(proto.op_type, (proto.op_type, 0))
        opset = max(opset, self.opset)
        if name != proto.op_type:
            copy = onnx.NodeProto()
            copy.CopyFrom(proto)
            copy.op_type, proto = name, copy
        return proto, opset

    def _predicted(self, onnx: Any, node: SourceNode, proto: Any, opset: int, feeds: dict[str, Any]) -> int:
        """The elements of all outputs, by shape inference on this node alone."""
        given = sum(array.size for array in feeds.values())
        if node.op in UNSIZED:
            return int(given) * max((array.ndim for array in feeds.values()), default=1)
        try:
            model = onnx.helper.make_model(
                _graph(onnx, proto, feeds), opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8
            )
            shapes = {}
            for value in onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output:
                tensor = value.type.tensor_type
                sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
                if tensor.HasField("shape") and min(sizes, default=0) >= 0:
                    shapes[value.name] = math.prod(sizes)
            return sum(shapes[name] for name in proto.output if name)
        except Exception as error:
            raise unsupported(
                node,
                f"the size of this constant cannot be told before it is computed: {told(error)}",
                "constants whose size follows from their inputs",
            ) from error

    def _spend(self, node: SourceNode, made: int, feeds: dict[str, Any]) -> None:
        given = [array.size for array in feeds.values()]
        if node.op in PRODUCTS:
            deep = max((max(array.shape, default=1) for array in feeds.values()), default=1)
            fits = made * deep <= MOST_PRODUCTS
        elif node.op == "Conv":  # of position embeddings
            weight = feeds[node.inputs[1]]
            fits = made * (weight.size // max(len(weight), 1)) <= MOST_PRODUCTS
        else:
            fits = node.op in PLAIN or made * max(given, default=1) <= MOST_WORK
        self.left -= made
        if not fits or self.left < 0:
            raise unsupported(
                node,
                f"a constant of {made} elements made of {sum(given)}",
                f"constants of up to {self.most} elements in all",
            )


def _filled(node: SourceNode, shape: Any) -> npt.NDArray[Any]:
    """One number, seen as many times: weights of nothing but a shape take no memory until they are packed."""
    value = node.attrs.get("value")
    number = np.zeros((), np.float32) if value is None else to_array(value).reshape(())
    return np.broadcast_to(number, tuple(int(size) for size in shape))


def _graph(onnx: Any, proto: Any, feeds: dict[str, Any]) -> Any:
    """A graph of one node: small inputs are initializers as well, whose numbers shape inference can look at."""
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    small = [onnx.numpy_helper.from_array(array, name) for name, array in feeds.items() if array.size <= SMALL]
    return onnx.helper.make_graph([proto], "constant", inputs, outputs, small)
