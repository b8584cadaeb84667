"""Norms, reductions, powers, curves, gates and edges of ONNX models: random ones, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper
from oracle import assert_close, run_onnx

import mbinfer
from mbinfer import model
from mbinfer.check import check_graph
from mbinfer.importers import import_onnx

bounded = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
OPSET = 21


class Net:
    """An ONNX model of one NCHW picture, which a convolution that changes nothing makes known as one: `x`."""

    def __init__(self, shape, seed: int):
        self.shape, self.rng, self.nodes, self.constants = shape, np.random.default_rng(seed), [], []
        self.step("Conv", "picture", np.ones((shape[1], 1, 1, 1)), group=shape[1])
        self.nodes[0].output[0] = "x"

    def step(self, op: str, *inputs, **attrs) -> str:
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        self.nodes.append(helper.make_node(op, names, [f"t{len(self.nodes)}"], **attrs))
        return self.nodes[-1].output[0]

    def _constant(self, array) -> str:
        array = np.asarray(array, None if np.asarray(array).dtype == np.int64 else np.float32)
        self.constants.append(onnx.numpy_helper.from_array(array, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def channels(self, low: float = 0.5, high: float = 2.0):
        return self.rng.uniform(low, high, self.shape[1])

    def model(self, last: str) -> onnx.ModelProto:
        info = helper.make_tensor_value_info
        known = self.shape if self.nodes[-1].op_type == "GroupNormalization" else None  # onnx infers no shape for it
        outputs = [info(last, onnx.TensorProto.FLOAT, known)]
        graph = helper.make_graph(
            self.nodes, "g", [info("picture", onnx.TensorProto.FLOAT, self.shape)], outputs, self.constants
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return onnx.shape_inference.infer_shapes(made, data_prop=True)  # an output needs its rank


def local_response(draw, net):
    beta = draw(st.sampled_from([0.75, 0.5, 1.0, 0.6]))
    return net.step(
        "LRN",
        "x",
        size=draw(st.sampled_from([1, 3, 5, 9])),
        alpha=0.3,
        beta=beta,
        bias=draw(st.sampled_from([1.0, 2.0])),
    )


def lp_norm(draw, net):
    return net.step("LpNormalization", "x", axis=draw(st.sampled_from([1, -3])), p=2)


def l2_by_parts(draw, net):
    """torch.nn.functional.normalize."""
    size = net.step("Clip", net.step("ReduceL2", "x", np.array([1]), keepdims=1), 1e-12)
    return net.step("Div", "x", net.step("Expand", size, np.array(net.shape)) if draw(st.booleans()) else size)


def layer_norm(draw, net):
    turned = net.step("Transpose", "x", perm=[0, 2, 3, 1])
    parts = [net.channels(), net.channels(-1, 1)][: draw(st.integers(1, 2))]
    return net.step("Transpose", net.step("LayerNormalization", turned, *parts, axis=-1), perm=[0, 3, 1, 2])


def layer_norm_by_parts(draw, net):
    axis = np.array([1])
    centred = net.step("Sub", "x", net.step("ReduceMean", "x", axis, keepdims=1))
    variance = net.step("ReduceMean", net.step("Pow", centred, 2.0), axis, keepdims=1)
    root = net.step("Sqrt", net.step("Add", variance, 1e-5))
    return net.step("Mul", net.step("Div", centred, root), net.channels()[:, None, None])


def instance_norm(draw, net):
    return net.step("InstanceNormalization", "x", net.channels(), net.channels(-1, 1), epsilon=1e-3)


def group_norm(draw, net):
    """As PyTorch writes it for old opsets, or by the operator of new ones."""
    channels = net.shape[1]
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    if draw(st.booleans()):
        return net.step("GroupNormalization", "x", net.channels(), net.channels(-1, 1), num_groups=groups)
    flat = net.step("Reshape", "x", np.array([1, groups, int(np.prod(net.shape)) // groups]))
    norm = net.step("InstanceNormalization", flat, np.ones(groups), np.zeros(groups))
    back = net.step("Reshape", norm, np.array(net.shape))
    return net.step("Mul", back, net.channels()[:, None, None])


def reduction(draw, net):
    kind = draw(st.sampled_from(["Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare"]))
    axes = draw(st.sampled_from([[1], [2], [3], [2, 3], [1, 2], [1, 3], [1, 2, 3], [-1]]))
    keep = draw(st.integers(0, 1)) if len(axes) > 1 else 1
    return net.step(f"Reduce{kind}", "x", np.array(axes), keepdims=keep)


def power(draw, net):
    exponent = draw(st.sampled_from([2.0, 3.0, 0.5, -0.5, -1.0, -2.0, 1.7, 1.0, 1 / 3]))
    above = net.step("Add", net.step("Abs", "x"), 0.25)
    return net.step("Pow", above, exponent)


def curve(draw, net):
    kind = draw(st.sampled_from(["Exp", "Log", "Sqrt", "Reciprocal", "Softplus", "Mish", "Elu", "Selu", "Celu"]))
    kind = draw(st.sampled_from([kind, "Softsign", "Neg", "Abs"]))
    x = net.step("Add", net.step("Abs", "x"), 0.1) if kind in ("Log", "Sqrt", "Reciprocal") else "x"
    attrs = {"alpha": draw(st.sampled_from([1.0, 0.7]))} if kind in ("Elu", "Celu") else {}
    return net.step(kind, x, **attrs)


def softmax(draw, net):
    """Over channels, their logarithm, or over all pixels of each channel."""
    if draw(st.booleans()):
        return net.step(draw(st.sampled_from(["Softmax", "LogSoftmax"])), "x", axis=1)
    flat = net.step("Reshape", "x", np.array([0, 0, -1]))
    return net.step("Reshape", net.step("Softmax", flat, axis=-1), np.array(net.shape))


def gate(draw, net):
    """A picture and one number for each pixel, channel or for all, in either order."""
    axes = draw(st.sampled_from([[1], [2, 3], [1, 2, 3]]))
    other = net.step("Add", net.step("ReduceMean", "x", np.array(axes), keepdims=1), 3.0)
    pair = ["x", other] if draw(st.booleans()) else [other, net.step("Add", net.step("Abs", "x"), 1.0)]
    return net.step(draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"])), *pair)


def padding(draw, net):
    if draw(st.booleans()):
        pads = [0, 0, *(draw(st.integers(0, 3)) for _ in range(2)), 0, 0, *(draw(st.integers(0, 3)) for _ in range(2))]
        return net.step("Pad", "x", np.array(pads), mode="edge")
    pads = [0, *(draw(st.integers(0, 2)) for _ in range(3)), 0, *(draw(st.integers(0, 2)) for _ in range(3))]
    return net.step("Pad", "x", np.array(pads))


KINDS = [
    *(local_response, lp_norm, l2_by_parts, layer_norm, layer_norm_by_parts, instance_norm, group_norm),
    *(reduction, power, curve, softmax, gate, padding),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_against_onnxruntime(kind, tmp_path):
    @settings(max_examples=10, **bounded)
    @given(st.data())
    def each(data):
        shape = [1, *(data.draw(st.integers(1, most)) for most in (20, 6, 6))]
        net = Net(shape, data.draw(st.integers(0, 1 << 20)))
        source = net.model(kind(data.draw, net))
        picture = net.rng.standard_normal(shape).astype(np.float32)
        expected = run_onnx(source, {"picture": picture})
        graph = import_onnx(source)
        check_graph(graph)
        model.save(graph, tmp_path / "net.bin")
        session = mbinfer.Session(tmp_path / "net.bin")
        found = session.run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
        ((name, array),) = expected.items()
        if array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        assert_close({name: found}, {name: array}, 2e-5)

    each()


def test_batch_norm_of_a_sequence_that_was_a_vector(tmp_path):
    net = Net([1, 8, 1, 1], 0)
    flat = net.step("Reshape", "x", np.array([1, 8]))
    dense = net.step("MatMul", flat, net.rng.standard_normal((8, 12)))
    sequence = net.step("Reshape", dense, np.array([1, 3, 4]))
    factors = [net.rng.uniform(0.5, 1.5, 3) for _ in range(4)]
    source = net.model(net.step("BatchNormalization", sequence, *factors))
    picture = net.rng.standard_normal(net.shape).astype(np.float32)
    ((_, expected),) = run_onnx(source, {"picture": picture}).items()
    model.save(import_onnx(source), tmp_path / "net.bin")
    found = mbinfer.Session(tmp_path / "net.bin").run(picture.transpose(0, 2, 3, 1).copy())
    assert_close({"made": found}, {"made": expected.reshape(found.shape)}, 2e-5)
