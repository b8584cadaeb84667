"""Damages small ONNX models at random and converts them: `python mutate_onnx.py COUNT SEED` prints one JSON object.

Bytes are flipped, cut, repeated and spliced, and fields of the parsed model set to what no exporter writes. Whatever
comes out, `convert` must end with an error of the library's own, or a file that a `Session` opens; in bounded memory
and time. Ends at the first that does not, whose bytes it prints.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import warnings

import numpy as np
import onnx
from onnx import helper, numpy_helper

import mbinfer
from mbinfer.messages import LONGEST

MEMORY = 4 << 30  # bytes of address space
SECONDS = 20  # of CPU time, for one model: a busy machine is no finding
EXTREMES = (
    -(1 << 63),
    -(1 << 31),
    -7,
    -1,
    0,
    1,
    2,
    3,
    255,
    65535,
    65536,
    1 << 20,
    (1 << 31) - 1,
    1 << 40,
    (1 << 63) - 1,
)


RNG = np.random.default_rng(0)


def w(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


def node(op, inputs, output, **attrs):
    return helper.make_node(op, inputs.split(), output.split(), **attrs)


def build(nodes, consts, shape, outputs) -> onnx.ModelProto:
    arrays = [numpy_helper.from_array(np.asarray(value), name) for name, value in consts.items()]
    given = [helper.make_tensor_value_info("x", 1, shape)]
    made = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    for value in made:
        value.type.tensor_type.shape.SetInParent()
    graph = helper.make_graph(nodes, "seed", given, made, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def classifier() -> onnx.ModelProto:
    """As PyTorch exports it, with shape arithmetic."""
    nodes = [
        node("Conv", "x w", "c", pads=[1] * 4, strides=[2, 2]),
        node("BatchNormalization", "c g b m v", "n"),
        node("Clip", "n lo hi", "r"),
        node("Conv", "r k", "d", group=8, auto_pad="SAME_UPPER"),
        node("Conv", "d p", "e"),
        node("Add", "e r", "f"),
        node("MaxPool", "f", "h", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", "h", "i"),
        node("Shape", "i", "s"),
        node("Gather", "s zero", "t", axis=0),
        node("Unsqueeze", "t at", "u"),
        node("Concat", "u rest", "z", axis=0),
        node("Reshape", "i z", "j"),
        node("Gemm", "j q", "o", transB=1),
        node("Softmax", "o", "y", axis=1),
    ]
    consts = {"w": w(8, 3, 3, 3), "k": w(8, 1, 3, 3), "p": w(8, 8, 1, 1), "q": w(5, 8)}
    consts |= {"g": w(8), "b": w(8), "m": w(8), "v": np.abs(w(8)), "lo": np.float32(0), "hi": np.float32(6)}
    consts |= {"zero": np.int64(0), "at": ints(0), "rest": ints(-1)}
    return build(nodes, consts, ("batch", 3, 12, 12), ["y"])


def keras() -> onnx.ModelProto:
    """NHWC, with quantised weights, hard-swish by its parts, means one by one and a branch."""

    def branch(name, made):
        return helper.make_graph([made], name, [], [helper.make_tensor_value_info(made.output[0], 1, None)])

    branches = {
        "then_branch": branch("then", node("Identity", "n", "n1")),
        "else_branch": branch("else", node("Relu", "n", "n2")),
    }
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("DequantizeLinear", "wq ws", "w"),
        node("Conv", "t w", "c"),
        node("HardSigmoid", "c", "g", alpha=1 / 6),
        node("Mul", "c g", "s"),
        node("Pad", "s pads", "p"),
        node("AveragePool", "p", "a", kernel_shape=[3, 3], count_include_pad=1),
        node("Expand", "one shape", "e"),
        node("Sum", "a a e", "b"),
        node("ReduceMean", "b", "m", axes=[2], keepdims=0),
        node("ReduceMean", "m", "n", axes=[2], keepdims=0),
        node("If", "yes", "f", **branches),
        node("MatMul", "f d", "y"),
    ]
    consts = {"wq": RNG.integers(-9, 9, (4, 3, 3, 3)).astype(np.int8), "ws": np.float32(0.1), "yes": np.array(True)}
    consts |= {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "one": w(1, 4, 1, 1), "shape": ints(1, 4, 1, 1), "d": w(4, 3)}
    return build(nodes, consts, (1, 8, 9, 3), ["y", "b"])


def refused() -> onnx.ModelProto:
    nodes = [
        node("Conv", "x w", "c"),
        node("Sigmoid", "c", "g"),
        node("Mul", "c g", "s"),
        node("Resize", "s none none z", "r"),
        node("ConstantOfShape", "z", "k"),
        node("Tile", "k z", "l"),
        node("Range", "from to by", "m"),
        node("Add", "r l", "y"),
    ]
    consts = {"w": w(3, 3, 1, 1), "none": w(0), "z": ints(1, 3, 4, 4)}
    consts |= {"from": np.int64(0), "to": np.int64(9), "by": np.int64(1)}
    return build(nodes, consts, (1, 3, 4, 4), ["y", "m"])


def local() -> onnx.ModelProto:
    """With a function of its own."""
    block = helper.make_node("Block", ["x", "w"], ["y"], domain="local")
    body = [node("Conv", "a k", "b"), node("Relu", "b", "c")]
    model = build([block], {"w": w(4, 3, 3, 3)}, (1, 3, 6, 6), "y")
    opset = helper.make_opsetid("", 13)
    model.functions.append(helper.make_function("local", "Block", ["a", "k"], ["c"], body, [opset]))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


SEEDS = (classifier, keras, refused, local)


def damaged_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at, kind = rng.randrange(len(data)), rng.randrange(6)
        span = slice(at, at + rng.choice((1, 2, 8, 64)))
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2 and len(data) > 100:
            del data[span]
        elif kind == 3:
            data[at:at] = data[span] * rng.choice((1, 3))
        elif kind == 4:
            start = rng.randrange(len(other))
            data[at:at] = other[start : start + 64]
        elif rng.random() < 0.1:
            del data[at:]
            break
    return bytes(data) or b"\0"


def messages(message) -> list:
    """A message and all messages inside it."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, type(message.ListFields)) or hasattr(value, "append") else [value]:
                found += messages(inner)
    return found


def damaged_fields(rng: random.Random, model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [name for node in copy.graph.node for name in (*node.input, *node.output)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        message = rng.choice(messages(copy))
        fields = message.ListFields()
        if not fields:
            continue
        field, value = rng.choice(fields)
        if hasattr(value, "append") and len(value):
            i = rng.randrange(len(value))
            if rng.random() < 0.3:
                del value[i]
            elif field.message_type is not None:
                value.add().CopyFrom(value[i])
            else:
                replace(rng, value, i, names)
        elif field.message_type is None:
            message.ClearField(field.name) if rng.random() < 0.2 else put(rng, message, field.name, value, names)
        else:
            message.ClearField(field.name)
    return copy


def replace(rng: random.Random, values, i: int, names: list[str]) -> None:
    try:
        values[i] = scalar(rng, values[i], names)
    except (ValueError, TypeError):  # not a number that this field can hold
        values.append(values[i])


def put(rng: random.Random, message, name: str, value, names: list[str]) -> None:
    try:
        setattr(message, name, scalar(rng, value, names))
    except (ValueError, TypeError):  # not a number that this field can hold
        message.ClearField(name)


def scalar(rng: random.Random, value, names: list[str]):
    if isinstance(value, bytes):
        return value[: rng.randrange(len(value) + 1)] * rng.choice((1, 1, 2))
    if isinstance(value, str):
        return rng.choice((*names, "", "\x1b[2J", "x" * 5000, "../../etc/passwd", "Loop", "Concat", "Relu", "Gather"))
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, float("nan"), float("inf"), 3e38))
    return value + rng.choice((-1, 1)) if rng.random() < 0.4 else rng.choice(EXTREMES)


def convert(data, path: str) -> str:
    """What became of it; raises what it should not."""
    try:
        mbinfer.convert(data, path)
    except (mbinfer.Error, OSError) as error:
        text = str(error)
        if len(text) > LONGEST or not text.isprintable() or re.search(r"\w(Error|Exception)\b", text):
            raise AssertionError(f"a message of {len(text)} characters: {text!r}") from error
        if isinstance(error, OSError) and error.errno is None:
            raise
        return type(error).__name__
    mbinfer.Session(path)
    os.unlink(path)
    return "converted"


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng, kinds, slowest = random.Random(seed), {}, 0.0
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    models = [make() for make in SEEDS]
    raw = [model.SerializeToString() for model in models]
    with tempfile.TemporaryDirectory() as folder:
        for i, data in enumerate(raw):
            kinds[f"seed {i}"] = convert(data, os.path.join(folder, "m.bin"))
            assert (kinds[f"seed {i}"] == "converted") == (SEEDS[i] is not refused), kinds
        for _ in range(count):
            which = rng.randrange(len(models))
            if rng.random() < 0.5:
                data = damaged_bytes(rng, raw[which], rng.choice(raw))
            else:
                data = damaged_fields(rng, models[which]).SerializeToString()
            start = time.process_time()
            # Its default is to end the process: the last model is then the one printed.
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            print(base64.b64encode(data).decode(), file=sys.stderr)
            kind = convert(data, os.path.join(folder, "m.bin"))
            signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, time.process_time() - start)
            kinds[kind] = kinds.get(kind, 0) + 1
    print(
        json.dumps({"kinds": kinds, "slowest": slowest, "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss})
    )


if __name__ == "__main__":
    main()
