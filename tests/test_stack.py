"""Pictures whose pixels follow one another: rows joined, and the heads of a detector laid flat."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from onnx_models import agree, make, node, normal, ops
from test_places import kinds

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.importers import import_model


def heads(*channels, axes=(0, 2, 3, 1)):
    """Convolutions of two pictures, the second one half as large, turned channels last."""
    nodes = [
        node("Conv", "x", "w", to="a", pads=[1] * 4),
        node("MaxPool", "a", to="p", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    made = []
    for i, x in enumerate("ap"):
        nodes.append(node("Conv", x, f"w{i}", to=f"h{i}"))
        made.append(node("Transpose", f"h{i}", to=f"t{i}", perm=axes))
    weights = {f"w{i}": normal(count, 8, 1, 1) for i, count in enumerate(channels)}
    return nodes + made, {"w": normal(8, 3, 3, 3), **weights}


def flat(*shape):
    return [node("Reshape", f"t{i}", "rows", to=f"f{i}") for i in range(2)], {"rows": np.array(shape)}


@pytest.mark.parametrize(
    "channels, shape, axis",
    [
        ((32, 48), (1, -1, 16), 1),  # boxes by anchor
        ((2, 6), (1, -1, 1), 1),  # scores by anchor
        ((12, 4), (1, -1, 4), 1),
        ((5, 5), (1, -1, 5), 1),
        ((6, 9), (1, -1), 1),  # any pixels do
    ],
)
def test_heads_in_one_row_agree_with_onnxruntime(channels, shape, axis):
    nodes, weights = heads(*channels)
    reshapes, shapes = flat(*shape)
    tail = [node("Concat", "f0", "f1", to="c", axis=axis), node("Sigmoid", "c")]
    graph = agree(make(*nodes, *reshapes, *tail, shape=(1, 3, 8, 6), **weights, **shapes))
    assert "stack" in ops(graph) and "concat" not in ops(graph)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_rows_of_pictures_agree_with_onnxruntime(axis):
    """Channels last, channels first, and channels first with all pixels on one axis."""
    nodes, weights = heads(4, 4)
    join = node("Concat", "t0", "wide", to="c", axis=1)
    if axis == 2:
        join = node("Concat", "h0", "h1x", axis=2)
    wide = [node("Transpose", "h1x", to="wide", perm=[0, 2, 3, 1])]
    resized = node("Resize", "h1", "", "twice", to="h1x", mode="nearest", nearest_mode="floor")
    tail = [resized, *wide, join, node("Transpose", "c", perm=[0, 3, 1, 2])]
    if axis == 3:
        pixels = [node("Reshape", f"h{i}", "pixels", to=f"f{i}") for i in range(2)]
        tail = [*pixels, node("Concat", "f0", "f1", to="c", axis=2), node("Transpose", "c", perm=[0, 2, 1])]
    nodes = nodes if axis == 1 else [n for n in nodes if n.op_type != "Transpose"]
    tail = tail if axis != 2 else [resized, join]
    constants = {"twice": np.float32([1, 1, 3, 2]), "pixels": np.array([1, 4, -1])}
    graph = agree(make(*nodes, *tail, shape=(1, 3, 8, 6), **weights, **constants))
    assert "stack" in ops(graph)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_heads_agree_with_litert(dtype):
    tflite = pytest.importorskip("tflite_models")
    net = tflite.TfliteBuilder(np.random.default_rng(0), dtype)
    x = net.input((1, 8, 6, 3), scale=0.02)
    first = net.conv(x, 8, (3, 3), act=tflite.RELU)
    second = net.pool("MAX_POOL_2D", first, (2, 2), (2, 2))
    made = [net.conv(first, 16, (1, 1)), net.conv(second, 24, (1, 1))]
    kind = {"scale": made[0].scale, "zero_point": made[0].zero_point} if dtype != "float32" else {}
    if dtype == "int8":  # LiteRT joins tensors of one type
        made[1] = net.unary("QUANTIZE", made[1], **kind)
    rows = [net.reshape(head, (1, head.shape[1] * head.shape[2] * head.shape[3] // 8, 8)) for head in made]
    y = net.values((1, sum(row.shape[1] for row in rows), 8), **kind)
    net.operator("CONCATENATION", [row.index for row in rows], y.index, "ConcatenationOptions", axis=1)
    net.outputs.append(y.index)
    low, high = (-100, 100) if dtype == "int8" else (0, 200)
    picture = net.rng.integers(low, high, x.shape).astype(dtype)
    if dtype == "float32":
        picture = net.rng.standard_normal(x.shape).astype(dtype)
    (expected,) = tflite.run_litert(net.model(), {"x": picture}).values()
    found = mbinfer.Session(model.encode(import_model(net.model()))).run(picture)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    off = np.abs(found.astype(np.float64) - expected)
    assert off.max() <= (1e-5 if dtype == "float32" else 1) and (off < 0.5).mean() > 0.99


@pytest.mark.parametrize("schedule", ["naive", "layerwise", "fused", "streamed", "auto"])
def test_a_stack_is_where_its_pictures_were_made(tmp_path, schedule):
    net = GraphBuilder(np.random.default_rng(0), (16, 16, 8))
    small = net.add("conv", ["input"], 16, kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    wide = net.add("depth_to_space", [net.add("conv", [small], 48)], rows=(1, 1, 0), columns=(1, 3, 0))
    last = net.add("conv", [net.add("max_pool", [small], kernel=(2, 2), stride=(2, 2))], 16)
    net.output(net.add("stack", [wide, last]))
    model.save(net.graph, tmp_path / "net.bin")
    plan = mbinfer.Session(tmp_path / "net.bin", schedule=schedule).plan
    assert "stack" not in kinds(plan)
    assert schedule not in ("naive", "layerwise") or "depth_to_space" not in kinds(plan)
    rows = 4 * 16 * (3 * 8 * 8 + 4 * 4)  # bytes of the stack
    assert plan.peak_bytes <= rows + 4 * 16 * (8 * 8 + 4 * 4)  # and of what it is made of


@pytest.mark.parametrize("count", [3, 70])
def test_a_value_that_is_stacked_often_is_copied(tmp_path, count):
    """A few times by copies that lie in the stack, many times by a stage that makes it."""
    net = GraphBuilder(np.random.default_rng(0), (3, 2, 5))
    value = net.add("conv", ["input"], 5, ("clamp", (0.0, np.inf)))
    flat = net.add("stack", [value] * count, size=(count * 2, 3))
    net.output(net.add("conv", [flat], 4, kernel=(3, 3), pads=(1, 1, 1, 1)), name="y")
    net.output(flat, name="flat")
    net.output(value, name="one")
    model.save(net.graph, tmp_path / "net.bin")
    image = np.random.default_rng(1).standard_normal((3, 2, 5)).astype(np.float32)
    seen = set()
    for options in ({"schedule": "naive"}, {"schedule": "streamed"}, {"memory_limit": "least"}, {"threads": 3}):
        session = mbinfer.Session(tmp_path / "net.bin", **options)
        assert hooks.check(session) == ""
        assert ("stack" in kinds(session.plan)) == (count > 64)
        found = session.run(image)
        assert np.array_equal(found["flat"].reshape(-1), np.tile(found["one"].reshape(-1), count))
        seen.add(found["y"].tobytes())
    assert len(seen) == 1
