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
from .shape_arithmetic import SMALL, small_constant

LARGEST_TENSOR = 1 << 28  # elements that a model stores
# What all constants that are evaluated may take together, the first two beside STEPS times what the model stores.
ALL_ELEMENTS = 1 << 25  # made; a constant of nothing but a shape is one number until it is packed, and counts apart
ALL_READ = 1 << 30
ALL_FILLED = 1 << 28
ALL_WORK = 1 << 26  # inputs times outputs, of operators that are no plain numpy call
ALL_PRODUCTS = 1 << 33  # multiply-adds of products of constant matrices
ALL_ASKED = 1 << 12  # nodes that onnx evaluates, at 0.3 to 0.5 ms each; the arithmetic of shapes takes no such time
MOST_AXES = 32  # that any numpy knows
STEPS = 4  # that the numbers a model stores may go through: cast, turned, scaled ...

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
        self.left = {
            "made": self.most,
            "read": ALL_READ + STEPS * stored,
            "filled": ALL_FILLED,
            "work": ALL_WORK,
            "products": ALL_PRODUCTS,
            "asked": ALL_ASKED,
        }

    def __call__(self, node: SourceNode, proto: Any, arrays: list[Any]) -> list[npt.NDArray[Any]]:
        """The outputs of the NodeProto `proto`, of which `node` is the reading; an input that is left out is None."""
        onnx = require_onnx()
        if node.op in NOT_CONSTANT or any(a.HasField("g") or a.graphs for a in proto.attribute):
            raise unsupported(node, "not a constant of known size", "constants without loops and random numbers")
        if node.op == "ConstantOfShape":
            return [self._filled(node, arrays[0])]
        if len(proto.output) == 1 and (small := small_constant(node, arrays)) is not None:
            self._spend(node, made=small.size)
            return [small]
        self._spend(node, asked=1)
        proto, opset = self._implemented(onnx, proto)
        feeds = {name: array for name, array in zip(proto.input, arrays) if array is not None}
        predicted = self._predicted(onnx, node, proto, opset, feeds)
        self._spend(node, made=predicted, read=sum(array.size for array in feeds.values()))
        self._spend(node, **_work(node, predicted, feeds))
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

    def _filled(self, node: SourceNode, shape: Any) -> npt.NDArray[Any]:
        """One number, seen as many times: weights of nothing but a shape take no memory until they are packed."""
        sizes, value = tuple(int(size) for size in np.ravel(shape)), node.attrs.get("value")
        if min(sizes, default=0) < 0 or len(sizes) > MOST_AXES:
            raise unsupported(node, f"a constant of the shape {brief(str(sizes))}", "constants of known size")
        self._spend(node, filled=math.prod(sizes))
        number = np.zeros((), np.float32) if value is None else to_array(value)
        if number.size != 1:
            raise unsupported(node, f"a constant filled with {number.size} numbers", "one number")
        return np.broadcast_to(number.reshape(()), sizes)

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

    def _spend(self, node: SourceNode, **taken: int) -> None:
        for what, count in taken.items():
            self.left[what] -= count
            if self.left[what] < 0:
                raise unsupported(
                    node,
                    f"a constant that takes {count} {_TAKEN[what]}, when few are left for all constants together",
                    f"constants of up to {self.most} elements in all, and few operators beside the arithmetic of "
                    "shapes: let an optimizer (onnxsim, onnxslim) compute what can be known",
                )


_TAKEN = {
    "made": "elements",
    "read": "elements of others",
    "filled": "elements of one number",
    "work": "pairs of an element that it reads and one that it makes",
    "products": "multiply-adds",
    "asked": "node",
}


def _work(node: SourceNode, made: int, feeds: dict[str, Any]) -> dict[str, int]:
    """What an operator takes beside the numbers that it reads and makes."""
    given = [array.size for array in feeds.values()]
    if node.op in PRODUCTS:
        deep = max((max(array.shape, default=1) for array in feeds.values()), default=1)
        slow = 1 if all(array.dtype.kind == "f" for array in feeds.values()) else 16  # numpy hands floats to BLAS
        return {"products": made * deep * slow}
    if node.op == "Conv":  # of position embeddings
        weight = feeds[node.inputs[1]]
        return {"products": made * (weight.size // max(len(weight), 1))}
    return {} if node.op in PLAIN else {"work": made * max(given, default=1)}


def _graph(onnx: Any, proto: Any, feeds: dict[str, Any]) -> Any:
    """A graph of one node: small inputs are initializers as well, whose numbers shape inference can look at."""
    types = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    inputs = [onnx.helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feeds.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    small = [onnx.numpy_helper.from_array(array, name) for name, array in feeds.items() if array.size <= SMALL]
    return onnx.helper.make_graph([proto], "constant", inputs, outputs, small)
