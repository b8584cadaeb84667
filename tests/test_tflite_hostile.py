"""TensorFlow Lite files that are damaged, or whose operators lack what they need: every error is the library's own."""

from __future__ import annotations

import contextlib
import itertools
import re
import tracemalloc

import numpy as np
import pytest
from test_tflite_reals import sparse
from tflite_models import RELU6, TfliteBuilder, schema

from mbinfer import errors
from mbinfer.importers import fusing, import_model
from mbinfer.importers.tflite import import_tflite
from mbinfer.importers.tflite.lowering import Lowering
from mbinfer.messages import LONGEST
from mbinfer.model import encode


def builder(dtype="float32") -> TfliteBuilder:
    return TfliteBuilder(np.random.default_rng(0), dtype)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(seed):
    """Cut anywhere, or with a few bytes changed: an error of ours, or a graph."""
    net = builder()
    x = net.conv(net.input((1, 8, 8, 3)), 8, (3, 3), (2, 2), act=RELU6)
    net.outputs.append(net.softmax(net.dense(net.reshape(x, (1, 128)), 5)).index)
    model, rng, refused = net.model(), np.random.default_rng(seed), 0
    start = model.index(b"TFL3")
    for case in range(250):
        data = bytearray(model)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        data[start : start + 4] = b"TFL3"
        data = bytes(data[: rng.integers(8, len(data))] if case % 4 == 0 else data)
        try:
            import_model(data)
        except errors.Error as error:
            refused += 1
            assert "makes no sense" not in str(error) and len(str(error)) <= LONGEST, data.hex()
            assert not re.search(r"\w(Error|Exception)\b", str(error)), data.hex()
    assert refused > 60
    assert import_model(model).nodes


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("layer", ["conv", "depthwise", "dense"])
def test_a_bias_of_other_channels_is_named(layer, dtype):
    net = builder(dtype)
    x = net.input((1, 4, 4, 8))
    x = {"conv": lambda: net.conv(x, 8, (1, 1)), "depthwise": lambda: net.depthwise(x, (3, 3))}.get(
        layer, lambda: net.dense(net.reshape(x, (1, 128)), 8)
    )()
    net.outputs.append(x.index)
    bias = net.tensors[net.operators[-1].inputs[2]]
    held = net.buffers[bias.buffer]
    bias.shape, held.data = [5], held.data[:20]
    with pytest.raises(errors.UnsupportedError, match="a bias of 5 numbers for 8 channels"):
        import_model(net.model())


def test_operators_without_what_they_need():
    """Each operator on inputs that are too few, too many, left out or of another kind, and without its options."""
    options = {name.lower(): name for name in vars(schema.BuiltinOptions)}
    rng, refused = np.random.default_rng(0), 0
    operators = [op for op in Lowering.handlers if hasattr(schema.BuiltinOperator, op)]
    assert len(operators) > 60
    for op, count, known in itertools.product(operators, (0, 1, 1, 2, 2, 2, 3, 3, 4), (True, False)):
        net = builder(dtype="int8" if rng.integers(3) == 2 else "float32")
        x = net.conv(net.input((1, 4, 4, 3)), 4, (1, 1))
        held = [np.ones((4, 1, 1, 4)), np.ones((1, 4, 4, 4))]
        given = [x.index, -1, net.constant([0, 1]), net.constant(2), *(net.constant(a, "float32") for a in held)]
        shape = [x.shape, (1, 4), (4, 4), ()][rng.integers(4)]
        made, kind = net.like(x, shape), options.get(op.replace("_", "").lower() + "options", "")
        net.operator(op, rng.choice(given, count).tolist(), made.index, kind if known else "")
        net.outputs.append(made.index)
        try:
            import_model(net.model())
        except errors.Error as error:
            refused += 1
            assert len(str(error)) <= LONGEST and str(error).isprintable(), op
            assert not re.search(r"\w(Error|Exception)\b|''|NoneType|\[None|index out of|to unpack", str(error)), (
                op,
                str(error),
            )
    assert refused > 1000


def test_tables_without_end():
    """Counts and offsets beyond the file, and tensors that all share one long list."""
    for data in (b"", b"\x08\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" + bytes(40), b"\x08\0\0\0TFL3" + b"\xff" * 60):
        with pytest.raises(errors.Error):
            import_tflite(data)


def made_of_little(what: str) -> TfliteBuilder:
    """Weights of gigabytes, in files of kilobytes."""
    net, side = builder(), 1 << 13
    x, shape = net.input((1, 1, 1, side)), (4 if what == "places" else side, 1, 1, side)
    dense = net.values(shape)
    if what == "filled":
        net.operator("FILL", [net.constant(shape), net.constant(1, "float32")], dense.index)
    elif what == "broadcast":
        both = [net.constant(np.ones(at), "float32") for at in ((side, 1, 1, 1), (1, 1, 1, side))]
        net.operator("ADD", both, dense.index, "AddOptions")
    else:
        weight = net.tensor("w", shape, "float32", np.ones(1))
        last = ([0] + [1] * side, [0], "Uint8") if what == "zeros" else side
        net.tensors[weight].sparsity = sparse(shape, [0, 1, 2, 3], [], [side, 1, 1, last])
        net.operator("DENSIFY", [weight], dense.index)
    y, bias = net.values((1, 1, 1, side)), net.constant(np.ones(1), "float32")
    net.operator("CONV_2D", [x.index, dense.index, bias], y.index, "Conv2DOptions", strideH=1, strideW=1)
    net.outputs.append(y.index)
    return net


def test_constants_are_bounded_together():
    """Forty of 4 MB each, which a few bytes make."""
    net, size, made = builder(), (1 << 10, 1 << 10), []
    for _ in range(40):
        filled = net.values(size)
        net.operator("FILL", [net.constant(size), net.constant(1, "float32")], filled.index)
        made.append(filled.index)
    joined, y = net.values((40 * size[0], size[1])), net.values(size)
    net.operator("CONCATENATION", made, joined.index, "ConcatenationOptions")
    net.operator("ADD", [net.input((1, 1, 1, size[1])).index, joined.index], y.index, "AddOptions")
    net.outputs.append(y.index)
    with pytest.raises(errors.UnsupportedError, match="too large together"):
        import_tflite(net.model())


@pytest.mark.parametrize(
    "what, words",
    [("filled", "a shape of"), ("broadcast", "large"), ("zeros", "so many zeros"), ("places", "a level of")],
)
def test_constants_are_bounded_before_they_are_made(what, words):
    data = made_of_little(what).model()
    tracemalloc.start()
    with pytest.raises(errors.Error, match=words):
        import_tflite(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 24


def sharing(count: int, shape: tuple[int, ...], sparsity=None) -> tuple[TfliteBuilder, list[int]]:
    """So many constants that all lie in one buffer."""
    net = builder()
    first = net.tensor("w", shape, "float32", np.ones(1 if sparsity else shape))
    net.tensors[first].sparsity = sparsity
    made = [first]
    for i in range(count - 1):
        made.append(net.tensor(f"w{i}", shape, "float32"))
        net.tensors[made[-1]].buffer, net.tensors[made[-1]].sparsity = net.tensors[first].buffer, sparsity
    return net, made


def most_bytes(data: bytes) -> int:
    """What an import takes, which may be refused."""
    tracemalloc.start()
    with contextlib.suppress(errors.Error):
        import_tflite(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_constants_that_share_a_buffer_take_it_once():
    net, weights = sharing(300, (64, 1, 1, 1024))
    x, bias = net.input((1, 1, 1, 1024)), net.constant(np.ones(64), "float32")
    read = net.values((1, 1, 1, 64))
    net.operator("CONV_2D", [x.index, weights[0], bias], read.index, "Conv2DOptions", strideH=1, strideW=1)
    y = net.values((1, 1, 1, 64))
    net.operator("CONCATENATION", [read.index, *weights], y.index, "ConcatenationOptions", axis=3)
    net.outputs.append(y.index)
    assert most_bytes(net.model()) < 1 << 24  # a copy of each would be 75 MB
    net.outputs[:] = [read.index]
    assert len(import_tflite(net.model()).nodes) == 1


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_constants_need_not_be_aligned(dtype):
    """All offsets but the first count from where they are: what is behind it may lie anywhere."""
    net = builder(dtype)
    net.outputs.append(net.conv(net.input((1, 4, 4, 8)), 8, (1, 1)).index)
    data = net.model()
    root = int.from_bytes(data[:4], "little")
    moved = (root + 1).to_bytes(4, "little") + data[4:8] + bytes(1) + data[8:]
    assert encode(import_tflite(moved)) == encode(import_tflite(data))


def test_sparse_constants_are_bounded_together():
    net, weights = sharing(
        60, (1024, 1024), sparse((1024, 1024), [0, 1], [], [1024, ([0] + [1] * 1024, [0], "Uint16")])
    )
    y = net.values((1, 1, 1, 8))
    net.operator("CONCATENATION", [net.input((1, 1, 1, 8)).index, *weights], y.index, "ConcatenationOptions")
    net.outputs.append(y.index)
    with pytest.raises(errors.FormatError, match="too large together"):
        import_tflite(net.model())


def test_what_is_read_of_constants_is_bounded_together():
    """So many products of one large constant, of which each makes a single number."""
    net, (large,) = sharing(1, (512, 512))
    axes, made = net.constant([0, 1]), []
    for _ in range(200):
        made.append(net.values(()).index)
        net.operator("REDUCE_PROD", [large, axes], made[-1], "ReducerOptions")
    y = net.values((1, 1, 1, 8))
    net.operator("CONCATENATION", [net.input((1, 1, 1, 8)).index, *made], y.index, "ConcatenationOptions")
    net.outputs.append(y.index)
    with pytest.raises(errors.UnsupportedError, match="too large together"):
        import_tflite(net.model())


def test_weights_that_many_nodes_share_are_bounded_together(monkeypatch):
    monkeypatch.setattr("mbinfer.importers.tflite.lowering.MOST_BYTES", 1 << 20)
    for count, wide in ((20, 64), (1000, 64), (40, 1 << 16)):  # many weights, and many of little that become large
        net = builder()
        x = net.input((1, 1, 1, wide))
        weight, bias = net.constant(np.ones((64, 1, 1, 64)), "float32"), net.constant(np.ones(64), "float32")
        for _ in range(count):
            y = net.values((1, 1, 1, wide))
            if wide == 64:
                net.operator("CONV_2D", [x.index, weight, bias], y.index, "Conv2DOptions", strideH=1, strideW=1)
            else:
                net.operator("MUL", [x.index, net.constant(2, "float32")], y.index, "MulOptions")
            x = y
        net.outputs.append(x.index)
        if count == 20:
            assert len(import_tflite(net.model()).nodes) == 20
        else:
            with pytest.raises(errors.UnsupportedError, match="weights that are too large together"):
                import_tflite(net.model())


def test_lists_that_all_tensors_share(monkeypatch):
    """Open axes and scales, of which each tensor might make a list of its own."""
    net = builder()
    x = net.input((1, 4, 4, 8))
    for _ in range(100):
        y = net.like(x, x.shape)
        net.operator("RELU", [x.index], y.index)
        x = y
    net.outputs.append(x.index)
    for tensor in net.tensors:
        tensor.shapeSignature = np.full(1 << 10, -1, np.int32)
    assert most_bytes(net.model()) < 1 << 22
    for tensor in net.tensors:
        tensor.shapeSignature = None
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = np.ones(8, np.float32), []
    assert len(import_tflite(net.model()).nodes) == 1
    monkeypatch.setattr("mbinfer.importers.tflite.constants.MOST_KEPT", 600)
    monkeypatch.setattr("mbinfer.importers.tflite.constants.TIMES_STORED", 0)
    with pytest.raises(errors.FormatError, match="8 scales, and with those of others too many"):
        import_tflite(net.model())


def test_counts_are_bounded_before_nodes_are_made(monkeypatch):
    net = builder()
    for _ in range(257):
        x, y = net.input((1, 2, 2, 8)), net.values((1, 2, 2, 8))
        net.operator("TANH", [x.index], y.index)
        net.outputs.append(y.index)
    with pytest.raises(errors.UnsupportedError, match="257 inputs; supported are up to 256"):
        import_tflite(net.model())
    del net.inputs[1:]
    del net.outputs[1:]
    monkeypatch.setattr("mbinfer.importers.emitting.MOST_EMITTED", 1)
    assert len(import_tflite(net.model()).nodes) == 1
    net.inputs = net.inputs * 1000  # the same one
    assert len(import_tflite(net.model()).inputs) == 1
    monkeypatch.setattr("mbinfer.importers.emitting.MOST_EMITTED", 0)
    with pytest.raises(errors.UnsupportedError, match="more than 0 steps"):
        import_tflite(net.model())
    monkeypatch.setattr("mbinfer.importers.tflite.reading.MAX_STRINGS", 500)
    with pytest.raises(errors.FormatError, match="names of tensors of more than 500 bytes"):
        import_tflite(net.model())


def test_folding_finds_readers_as_often_in_long_graphs(monkeypatch):
    find, calls, counts = fusing._readers, [], []
    monkeypatch.setattr(fusing, "_readers", lambda graph: calls.append(0) or find(graph))
    for length in (4, 200):
        net = builder()
        x = net.input((1, 4, 4, 8))
        for _ in range(length):
            x = net.add(x, x)
        net.outputs.append(x.index)
        calls.clear()
        assert len(import_tflite(net.model()).nodes) == length
        counts.append(len(calls))
    assert counts[0] == counts[1]


def test_too_many_outputs_are_refused_before_anything_is_made_of_them():
    net = builder()
    x = net.input((1, 1, 1, 8))
    net.outputs += [net.unary("LOGISTIC", x).index for _ in range(4097)]
    data = net.model()
    with pytest.raises(errors.UnsupportedError, match=r"4097 outputs; supported are up to 4096.*outputs=\[names\]"):
        import_model(data)
    assert len(import_model(data, outputs=["t5", "t9"]).outputs) == 2
