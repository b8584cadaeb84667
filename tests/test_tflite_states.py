"""Variables of TensorFlow Lite files against LiteRT, whose interpreter keeps them through a stream."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from tflite_models import VALID, TfliteBuilder, Values, invoke, litert

import mbinfer
from mbinfer.states import states_of

# The form of what a layer keeps: shape of one row, axis of the rows, and what a convolution reads them as.
FORMS = {
    "rows": ((1, 1, 4, 3), 1, None),
    "columns": ((1, 1, 1, 5), 2, None),
    "rank 3, rows": ((1, 1, 5), 1, lambda n: (1, n, 1, 5)),
    "rank 3, columns": ((1, 1, 5), 1, lambda n: (1, 1, n, 5)),
    "rank 3, features": ((1, 1, 6), 1, lambda n: (1, n, 6, 1)),
    "rank 2": ((1, 5), 0, lambda n: (1, 1, n, 5)),
}


def builder(dtype="float32") -> TfliteBuilder:
    return TfliteBuilder(np.random.default_rng(0), dtype)


def sized(shape, axis, count):
    return (*shape[:axis], count, *shape[axis + 1 :])


def initial(net: TfliteBuilder, name, shape, like: Values) -> None:
    """Content by CALL_ONCE, as LiteRT finds anything at all in a variable without one."""
    first = net.others[0] if net.others else net.once()
    quantised = () if net.dtype == "float32" else (like.scale, like.zero_point)
    first.assign(name, first.tensor("begin", shape, net.dtype, np.arange(np.prod(shape)) % 7 - 2, *quantised))


def cut(net: TfliteBuilder, x: Values, axis, begin, end, op="STRIDED_SLICE") -> Values:
    made, rank = net.like(x, sized(x.shape, axis, end - begin)), len(x.shape)
    first = [begin if i == axis else 0 for i in range(rank)]
    if op == "SLICE":
        sizes = net.constant([end - begin if i == axis else -1 for i in range(rank)])
        net.operator(op, [x.index, net.constant(first), sizes], made.index, "SliceOptions")
        return made
    mask = sum(1 << i for i in range(rank) if i != axis)
    bounds = [net.constant(first), net.constant([end] * rank), net.constant([1] * rank)]
    net.operator(op, [x.index, *bounds], made.index, "StridedSliceOptions", beginMask=mask, endMask=mask)
    return made


def concat(net: TfliteBuilder, parts, axis) -> Values:
    made = net.like(parts[0], sized(parts[0].shape, axis, sum(part.shape[axis] for part in parts)))
    net.operator("CONCATENATION", [part.index for part in parts], made.index, "ConcatenationOptions", axis=axis)
    return made


def recent(net: TfliteBuilder, x: Values, axis, kernel, name, op="STRIDED_SLICE") -> Values:
    """What a convolution of `kernel` rows sees: `op` "ring" shifts a window, the others cut what is to be kept."""
    new = x.shape[axis]
    kept = kernel - 1 + (new if op == "ring" else 0)
    shape = sized(x.shape, axis, kept)
    initial(net, name, shape, x)
    state = net.read(name, shape, x.scale or None, x.zero_point)
    if op == "ring":
        both = concat(net, [cut(net, state, axis, new, kept), x], axis)
        net.assign(name, both.index)
    else:
        both = concat(net, [state, x], axis)
        net.assign(name, cut(net, both, axis, new, new + kept, op).index)
    return both


def layer(net: TfliteBuilder, form, x: Values, kernel, name, op) -> Values:
    _, axis, picture = FORMS[form]
    both = recent(net, x, axis, kernel, name, op)
    seen = both if picture is None else net.reshape(both, picture(both.shape[axis]))
    along = (1, kernel) if seen.shape[1] == 1 else (kernel, min(3, seen.shape[2]))
    return net.conv(seen, 5, along, padding=VALID)


def same_stream(net: TfliteBuilder, shape, folder, dtype, **options) -> mbinfer.Session:
    """20 runs, twice: the first 4 again after a reset, for which LiteRT needs another interpreter."""
    model = net.model()
    mbinfer.convert(model, folder / "m.bin")
    session = mbinfer.Session(folder / "m.bin", **options)
    assert hooks.check(session) == ""
    for count in (20, 4):
        runner, rng = litert(model), np.random.default_rng(1)
        for _ in range(count):
            x = rng.standard_normal(shape).astype(np.float32) if dtype == "float32" else rng.integers(-128, 128, shape)
            expected, found = (
                invoke(runner, {"x": x.astype(dtype)}),
                session.run(x.astype(dtype).reshape(session.inputs[0].shape)),
            )
            for name, array in expected.items():
                ours = found[name] if isinstance(found, dict) else found
                assert ours.shape == array.shape
                np.testing.assert_allclose(
                    np.float64(ours), np.float64(array), rtol=1e-4, atol=1e-4 if dtype == "float32" else 1
                )
        session.reset()
    return session


@pytest.mark.parametrize(
    "op, dtype", [("STRIDED_SLICE", "float32"), ("SLICE", "int8"), ("ring", "float32"), ("ring", "int8")]
)
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_kept_in_place(form, op, dtype, tmp_path):
    """No form of a window over a stream takes a copy, or keeps more rows than are read again."""
    net, new = builder(dtype), 2 if op == "SLICE" and form != "rank 2" else 1  # an input of rank 2 is one row
    shape, axis, _ = FORMS[form]
    shape = sized(shape, axis, new)
    net.outputs.append(layer(net, form, net.input(shape), 3, "cache", op).index)
    session = same_stream(net, shape, tmp_path, dtype)
    stages = [stage.name for segment in session.plan.segments for stage in segment.stages]
    assert len(stages) == (2 if dtype == "float32" else 3)  # what is new and the convolution, which gives int8 back
    pixels, channels = (2 * 4, 3) if form == "rows" else (2 * 6, 1) if "features" in form else (2, 5)
    assert channels <= 8 and session.plan.state_bytes == pixels * 8 * (4 if dtype == "float32" else 1)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_networks_of_several_variables(dtype, tmp_path):
    """Of one name in two containers, a vector that is an output, and one that is assigned twice and read between."""
    net = builder(dtype)
    first = net.once()
    x = net.input((1, 1, 1, 4), scale=0.03, zero_point=3)
    y = layer(net, "rows", x, 2, "cache", "STRIDED_SLICE")
    y = layer(net, "rows", y, 3, "deeper", "ring")
    flat = net.reshape(y, (1, 5))
    quantised = (flat.scale, flat.zero_point) if dtype == "int8" else (None, None)
    for container, begin in (("a", 2), ("b", 30)):
        content = first.tensor(f"{container}0", (1, 5), dtype, np.full((1, 5), begin), *quantised)
        first.assign("h", content, container)
    h, other = (net.read("h", (1, 5), *quantised, container=container) for container in "ab")
    made, least = (net.values((1, 5), *quantised) for _ in range(2))
    net.operator("MAXIMUM", [h.index, flat.index], made.index, "MaximumMinimumOptions")
    net.assign("h", made.index, "a")
    again = net.read("h", (1, 5), *quantised, container="a")
    net.operator("MINIMUM", [again.index, other.index], least.index, "MaximumMinimumOptions")
    net.assign("h", h.index, "b")
    net.assign("h", least.index, "a")
    net.outputs += [least.index, other.index, y.index]
    same_stream(net, (1, 1, 1, 4), tmp_path, dtype)


def test_a_variable_that_nothing_is_assigned_to_is_a_constant(tmp_path):
    net = builder()
    x = net.input((1, 1, 4, 3))
    initial(net, "offset", (1, 1, 4, 3), x)
    net.outputs.append(net.add(x, net.read("offset", (1, 1, 4, 3))).index)
    assert same_stream(net, (1, 1, 4, 3), tmp_path, "float32").plan.state_bytes == 0


def test_variables_begin_as_zeros_and_go_where_nobody_needs_them(tmp_path):
    net = builder()
    x = net.input((1, 1, 4, 3))
    y, z = (net.add(net.read(name, (1, 1, 4, 3)), x) for name in ("sum", "unused"))
    net.assign("sum", y.index)
    net.assign("unused", z.index)
    net.outputs.append(y.index)
    mbinfer.convert(net.model(), tmp_path / "m.bin")
    session, ones = mbinfer.Session(tmp_path / "m.bin"), np.ones((1, 1, 4, 3), np.float32)
    assert [session.run(ones).max() for _ in range(3)] == [1, 2, 3]
    assert [(state.name, state.dtype) for state in states_of(tmp_path / "m.bin")] == [("sum", "float32")]


@pytest.mark.parametrize("op", ["FILL", "CAST"])
def test_a_variable_begins_with_what_call_once_makes_of_constants(op, tmp_path):
    net = builder()
    first = net.once()
    content = first.values((1, 1, 4, 3))
    if op == "FILL":
        given = [first.constant([1, 1, 4, 3]), first.constant(0.5, "float32")]
    else:
        given = [first.constant(np.arange(12).reshape(1, 1, 4, 3))]
    first.operator(op, given, content.index, f"{op.capitalize()}Options")
    first.assign("cache", content.index)
    x, _ = streaming(net)
    net.assign("cache", x.index)
    assert same_stream(net, (1, 1, 4, 3), tmp_path, "float32").plan.state_bytes > 0


def streaming(net: TfliteBuilder, **read) -> tuple[Values, Values]:
    x = net.input((1, 1, 4, 3), scale=0.03, zero_point=3)
    state = net.read("cache", (1, 1, 4, 3), **{"scale": x.scale or None, "zero_point": x.zero_point, **read})
    net.outputs.append(net.add(state, x).index)
    return x, state


def of_integers(net, dtype="int32"):
    x = net.input((1, 1, 4, 3))
    state = net.values((1, 1, 4, 3), dtype=dtype, scale=1.0, zero_point=0)
    net.operator("READ_VARIABLE", [net.handle("counter")], state.index, "ReadVariableOptions")
    net.outputs.append(net.add(x, state).index)
    net.assign("counter", state.index)


def of_nothing(net):
    streaming(net)


def of_a_constant(net):
    streaming(net)
    net.assign("cache", net.constant(np.ones((1, 1, 4, 3)), "float32"))


def of_what_nothing_makes(net):
    streaming(net)
    net.assign("cache", net.values((1, 1, 4, 3)).index)


def of_another_shape(net):
    x, _ = streaming(net)
    net.assign("cache", net.conv(x, 7, (1, 1)).index)


def of_another_scale(net):
    net.dtype = "int8"
    x, _ = streaming(net)
    net.assign("cache", net.conv(x, 3, (1, 1)).index)


def begun(net, shape=(1, 1, 4, 3), dtype="float32", computed=False):
    first = net.once()
    content = first.constant(np.zeros(shape), dtype)
    if computed:
        content = first.unary("EXP", Values(content, shape)).index
    first.assign("cache", content)
    x, _ = streaming(net)
    net.assign("cache", x.index)


def called_late(net):
    begun(net)
    net.operators.append(net.operators.pop(0))


def of_no_graph(net):
    begun(net)
    net.others.clear()


def of_no_name(net):
    x, _ = streaming(net)
    net.assign("cache", x.index)
    next(op for op in net.operators if net.codes[op.opcodeIndex] == "READ_VARIABLE").inputs = [x.index]


@pytest.mark.parametrize(
    "build, error, words",
    [
        (
            of_integers,
            mbinfer.UnsupportedError,
            "'counter' .VAR_HANDLE.: .* of type int32; supported: values of float32",
        ),
        (lambda net: of_integers(net, "int16"), mbinfer.UnsupportedError, "'counter' .VAR_HANDLE.: .* 16x8.*"),
        (of_nothing, mbinfer.UnsupportedError, "'cache' .VAR_HANDLE. is read, and nothing is ever assigned"),
        (of_a_constant, mbinfer.UnsupportedError, "'cache' takes the constant"),
        (of_what_nothing_makes, mbinfer.FormatError, "'cache' .VAR_HANDLE. takes 't[0-9]*': nothing makes it"),
        (of_another_shape, mbinfer.UnsupportedError, "VAR_HANDLE. 'cache' of .* takes .* one shape and type"),
        (of_another_scale, mbinfer.UnsupportedError, "VAR_HANDLE. 'cache' of .* takes .* one shape and type"),
        (lambda net: begun(net, (1, 4, 1, 3)), mbinfer.UnsupportedError, "VAR_HANDLE.* begins with"),
        (lambda net: begun(net, dtype="int32"), mbinfer.UnsupportedError, "VAR_HANDLE.* begins with"),
        (lambda net: begun(net, computed=True), mbinfer.UnsupportedError, "VAR_HANDLE.* CALL_ONCE computes; supported"),
        (called_late, mbinfer.UnsupportedError, "VAR_HANDLE.*before the first READ_VARIABLE"),
        (of_no_graph, mbinfer.FormatError, "CALL_ONCE runs graph 1 of 1"),
        (of_no_name, mbinfer.FormatError, "READ_VARIABLE. names no variable by a VAR_HANDLE"),
    ],
)
def test_what_variables_may_not_be(build, error, words, tmp_path):
    net = builder()
    build(net)
    with pytest.raises(error, match=words):
        mbinfer.convert(net.model(), tmp_path / "m.bin")


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_inputs_that_take_outputs(dtype, tmp_path):
    """`states` on a file without variables, against LiteRT that is given its own outputs."""
    net = builder(dtype)
    x = net.input((1, 1, 4, 3), scale=0.03, zero_point=3)
    cache = net.values((1, 2, 4, 3), x.scale or None, x.zero_point, name="cache")
    net.inputs.append(cache.index)
    both = concat(net, [cache, x], 1)
    kept = cut(net, both, 1, 1, 3)
    net.outputs += [net.conv(both, 5, (3, 3), padding=VALID).index, kept.index]
    kept = net.tensors[kept.index].name
    mbinfer.convert(net.model(), tmp_path / "m.bin", states={"cache": kept})
    session, runner, rng = mbinfer.Session(tmp_path / "m.bin"), litert(net.model()), np.random.default_rng(0)
    (output,) = session.outputs
    before = np.full((1, 2, 4, 3), x.zero_point, dtype)
    for _ in range(20):
        row = (rng.standard_normal if dtype == "float32" else lambda shape: rng.integers(-128, 128, shape))(
            (1, 1, 4, 3)
        )
        expected = invoke(runner, {"x": row.astype(dtype), "cache": before})
        before = expected[kept]
        found = session.run(row.astype(dtype))
        np.testing.assert_allclose(
            np.float64(found), expected[output.name], rtol=1e-4, atol=1e-4 if dtype == "float32" else 1
        )
    assert session.plan.state_bytes == 2 * 4 * 8 * (4 if dtype == "float32" else 1)
