"""States: values that outlive a run. Streams in pieces give the bits of the whole; what a file may not say; C."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from graphs import ACTIVATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_graphs import quantised
from records import Records
from streams import streamed

import mbinfer
from mbinfer import cli, model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph, State, Type
from mbinfer.states import states_of

ROWS = 12  # of the whole
SCHEDULES = ["naive", "layerwise", "fused", "streamed", "auto"]


@st.composite
def causal_graph(draw) -> Graph:
    """Convolutions padded above alone, pointwise ones, sums, products, concatenations."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    net = GraphBuilder(rng, (ROWS, draw(st.integers(1, 7)), draw(st.sampled_from([1, 3, 8, 11]))))
    value = "input"
    for _ in range(draw(st.integers(1, 5))):
        kind, act = draw(st.sampled_from(["conv", "depthwise", "point", "block", "pair"])), draw(activations)
        kernel, dilation = (draw(st.integers(1, 4)), draw(st.sampled_from([1, 3]))), draw(st.integers(1, 2))
        window = {
            "kernel": kernel,
            "dilation": (dilation, 1),
            "pads": (dilation * (kernel[0] - 1), kernel[1] // 2, 0, kernel[1] // 2),
        }
        channels = net.dims(value)[2]
        if kind == "conv":
            value = net.convolve(value, draw(st.sampled_from([4, 8, 13])), act, **window)
        elif kind == "depthwise":
            value = net.add("depthwise", [value], act=act, **window)
        elif kind == "point":
            value = net.convolve(value, draw(st.sampled_from([5, 16])), act)
        elif kind == "block":
            wide = net.add("depthwise", [net.convolve(value, 2 * channels, act)], act=act, **window)
            value = net.add("add", [value, net.convolve(wide, channels)])
        else:
            alike = [name for name, dims in net.graph.values.items() if dims == net.dims(value)]
            op = draw(st.sampled_from(["add", "mul", "concat"]))
            value = net.add(op, [value, draw(st.sampled_from(alike))])
    net.output(value)
    return net.graph


activations = st.sampled_from(ACTIVATIONS)


def stream_of(graph: Graph) -> np.ndarray:
    """Rows of the whole input of `graph`, of its type."""
    (name,) = graph.inputs
    rng, kind = np.random.default_rng(0), graph.types.get(name, Type()).dtype
    numbers = rng.normal(size=graph.values[name]) if kind == "float32" else rng.integers(0, 256, graph.values[name])
    return numbers.astype(kind)


def run_stream(session: mbinfer.Session, stream: np.ndarray) -> np.ndarray:
    """The outputs of the stream in pieces, one below the other."""
    rows = session.inputs[0].shape[1]
    return np.concatenate([session.run(stream[i : i + rows]) for i in range(0, len(stream), rows)], 1)


@settings(max_examples=40, deadline=None)
@given(
    causal_graph(),
    st.sampled_from([1, 2, 3, 4, 6]),
    st.booleans(),
    st.sampled_from(SCHEDULES),
    st.sampled_from([1, 2]),
    st.sampled_from([None, "least", 0.5]),
)
def test_pieces_of_a_stream_give_the_bits_of_the_whole(graph, rows, int8, schedule, threads, limit):
    if int8:
        graph = quantised(graph, np.random.default_rng(1), outside="uint8")
    stream = stream_of(graph)
    expected = mbinfer.Session(model.encode(graph)).run(stream)
    file = model.encode(streamed(graph, rows))
    if schedule != "naive" and limit == 0.5:
        sizes = [mbinfer.Session(file, memory_limit=most, plan_only=True).plan.peak_bytes for most in ("least", None)]
        limit = sum(sizes) // 2
    limit = None if schedule in ("naive", "layerwise", "fused") else limit
    session = mbinfer.Session(file, schedule=schedule, threads=threads, memory_limit=limit)
    assert hooks.check(session) == ""
    plan = session.plan
    assert plan.lower_bound_bytes <= plan.peak_bytes <= plan.naive_bytes
    for _ in range(2):
        assert run_stream(session, stream).tobytes() == expected.tobytes()
        session.reset()
    assert hooks.canaries_intact(session)


def convolution(rows: int = 1, kernel: int = 3, width: int = 6, channels: int = 5) -> Graph:
    net = GraphBuilder(np.random.default_rng(0), (rows, width, channels))
    net.output(net.convolve(net.recent("input", kernel - 1), 12, kernel=(kernel, 3), pads=(0, 1, 0, 1)))
    return net.graph


def test_rows_are_kept_in_place():
    """The arena is the rows that the convolution sees, and its output: no second copy of those that are kept."""
    plan = mbinfer.Session(model.encode(convolution())).plan
    assert plan.state_bytes == 2 * 6 * 8 * 4
    assert plan.peak_bytes == plan.lower_bound_bytes == 3 * 6 * 8 * 4 + 6 * 16 * 4
    assert [stage.name for segment in plan.segments for stage in segment.stages] == ["input", "conv2"]
    least = mbinfer.Session(model.encode(convolution()), memory_limit="least").plan.peak_bytes
    mbinfer.Session(model.encode(convolution()), memory_limit=least)
    with pytest.raises(mbinfer.MemoryLimitError) as caught:
        mbinfer.Session(model.encode(convolution()), memory_limit=least - 1)
    assert caught.value.needed == least


def recurrent(initial=None) -> Graph:
    """h = tanh(w [x, h]), and the two states before it, of which one is what the other was."""
    net = GraphBuilder(np.random.default_rng(3), (2, 3, 5))
    h, late = net.state("h", (2, 3, 8), initial=initial), net.state("late", (2, 3, 8))
    new = net.convolve(net.add("concat", ["input", h]), 8, ("tanh", (-np.inf, np.inf)))
    net.keep(h, new)
    net.keep(late, net.add("slice", [h], 8))
    net.output(new, name="h")
    net.output(net.convolve(late, 3), name="late")
    return net.graph


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_recurrent_network(schedule):
    """Against plain numpy; the state is an output too, and begins with numbers of the file."""
    initial = np.random.default_rng(4).normal(size=(2, 3, 8)).astype(np.float32)
    graph = recurrent(initial)
    weight, bias = (np.float64(getattr(graph.nodes[1], name)) for name in ("weight", "bias"))
    last, last_bias = (np.float64(getattr(graph.nodes[3], name)) for name in ("weight", "bias"))
    session = mbinfer.Session(model.encode(graph), schedule=schedule)
    assert hooks.check(session) == ""
    for _ in range(2):
        h, late = np.float64(initial), np.zeros((2, 3, 8))
        for step in range(5):
            x = np.random.default_rng(step).normal(size=(2, 3, 5)).astype(np.float32)
            found = session.run(x)
            np.testing.assert_allclose(found["late"][0], late @ last[:, 0, 0].T + last_bias, rtol=1e-5, atol=1e-5)
            h, late = np.tanh(np.concatenate([x, h], 2) @ weight[:, 0, 0].T + bias), h
            np.testing.assert_allclose(found["h"][0], h, rtol=1e-5, atol=1e-5)
        session.reset()


def test_states_that_pass_their_numbers_on():
    """Three states in a ring, and one inside of what another becomes: none is overwritten before it is read."""
    net = GraphBuilder(None, (1, 2, 8))
    states = [net.state(name, (1, 2, 8), initial=np.full((1, 2, 8), i, np.float32)) for i, name in enumerate("abc")]
    wide = net.state("wide", (1, 2, 16))
    for state, other in zip(states, states[1:] + states[:1]):
        net.keep(state, net.add("slice", [other], 8))
    net.keep(wide, net.add("concat", [states[0], "input"]))
    net.output(net.add("concat", [*states, wide]))
    for schedule in SCHEDULES:
        session = mbinfer.Session(model.encode(net.graph), schedule=schedule)
        assert hooks.check(session) == ""
        before = [0, 0]
        for step in range(7):
            found = session.run(np.full((1, 2, 8), 10 + step, np.float32))[0, 0, 0]
            assert found[::8].tolist() == [step % 3, (step + 1) % 3, (step + 2) % 3, *before]
            before = [step % 3, 10 + step]


def test_two_sessions_of_a_file_have_states_of_their_own(tmp_path):
    model.save(convolution(), tmp_path / "net.bin")
    stream = np.random.default_rng(0).normal(size=(8, 6, 5)).astype(np.float32)
    left, right = mbinfer.Session(tmp_path / "net.bin"), mbinfer.Session(tmp_path / "net.bin")
    expected = run_stream(left, stream)
    left.reset()
    both = [(left.run(row[None]), right.run(row[None])) for row in stream]
    assert all(a.tobytes() == b.tobytes() for a, b in both)
    assert np.concatenate([a for a, _ in both], 1).tobytes() == expected.tobytes()


def test_a_run_that_fails_changes_no_state():
    stream = np.random.default_rng(0).normal(size=(9, 6, 5)).astype(np.float32)
    session = mbinfer.Session(model.encode(convolution(3)))
    expected = run_stream(session, stream)
    session.reset()

    def failing(rows, most):
        for i, row in enumerate(rows):
            if i == most:
                raise ValueError("no more")
            yield row

    for begin in range(0, 9, 3):
        rows = stream[begin : begin + 3]
        for most in range(3):
            with pytest.raises(ValueError, match="no more"):
                session.run_rows(failing(-rows, most))
        for wrong in (-rows[:2], -rows.repeat(2, 0), rows.astype(np.float64)):
            with pytest.raises(mbinfer.ShapeError):
                session.run_rows(iter(wrong))
            with pytest.raises(mbinfer.ShapeError):
                session.run(wrong)
        assert session.run_rows(iter(rows)).tobytes() == expected[:, begin : begin + 3].tobytes()


def test_profile_is_a_run_and_reset_needs_an_arena():
    session = mbinfer.Session(model.encode(convolution()))
    row = np.ones((1, 6, 5), np.float32)
    first, second = session.run(row), session.run(row)
    session.reset()
    assert len(session.profile(row)) == 2
    assert session.run(row).tobytes() == second.tobytes() != first.tobytes()
    with pytest.raises(mbinfer.ArgumentError, match="plan only"):
        mbinfer.Session(model.encode(convolution()), plan_only=True).reset()


def of_state(**fields):
    def change(records):
        for name, number in fields.items():
            records.state[name][0] = number

    return change


def version(major):
    return lambda records: records.header.__setitem__("major", major)


VALUES = list(convolution().values)
LAST, ALL, INPUT = (VALUES.index(name) for name in ("input/before/last_out", "input/before/all_out", "input"))
OUT, STATE = VALUES.index("conv2_out"), "input/before"


@pytest.mark.parametrize(
    "lie, in_graph, words",
    [
        (of_state(next=VALUES.index(STATE)), lambda g: next_of(g, STATE), "no node writes"),
        (of_state(next=INPUT), lambda g: next_of(g, "input"), "no node writes"),
        (of_state(next=ALL), lambda g: next_of(g, "input/before/all_out"), "shape"),
        (of_state(next=99), lambda g: next_of(g, "nothing"), "exist|does not define"),
        (of_state(value=INPUT), lambda g: g.states.update(input=State("input/before/last_out")), "input"),
        (
            of_state(value=LAST),
            lambda g: g.states.update({"conv2_out": State("conv2_out")}),
            "written|has written|no node",
        ),
        (of_state(value=99), None, "exist"),
        (of_state(reserved=1), None, "reserved"),
        (of_state(initial_offset=64), None, "no size"),
        (of_state(initial_bytes=4), lambda g: begin(g, np.zeros((1, 6, 5), np.float32)), "begins"),
        (of_state(initial_bytes=240, initial_offset=1 << 40), None, "outside"),
        (None, lambda g: begin(g, np.zeros((2, 6, 5))), "begins"),
        (None, lambda g: begin(g, np.full((2, 6, 5), np.nan, np.float32)), "finite"),
        (lambda r: r.more("state"), lambda g: g.states.update(more=State("x")), "twice|no value|more"),
        (
            lambda r: r.output.__setitem__("value", VALUES.index(STATE)),
            lambda g: ends(g, STATE),
            "no node makes|not written",
        ),
        (lambda r: r.more("state", 1024), None, "more values"),
        (version(1), None, "version 2"),
        (version(3), None, "3.0, this build reads versions 1 and 2"),
        (lambda r: setattr(r, "state", r.state[:0]), None, "version 2"),
    ],
)
def test_reader_and_writer_refuse(lie, in_graph, words):
    if lie is not None:
        records = Records(model.encode(convolution()))
        lie(records)
        with pytest.raises(mbinfer.FormatError, match=words):
            mbinfer.Session(records.encode())
    if in_graph is not None:
        graph = convolution()
        in_graph(graph)
        with pytest.raises((mbinfer.FormatError, mbinfer.ShapeError), match=words):
            model.encode(graph)


def next_of(graph, value):
    graph.states[STATE].next = value


def begin(graph, numbers):
    graph.states[STATE].initial = numbers


def ends(graph, value):
    graph.outputs[0].value, graph.outputs[0].shape = value, graph.values[value]


def test_two_states_become_what_one_value_is():
    graph = recurrent()
    graph.states["late"].next = graph.states["h"].next
    with pytest.raises(mbinfer.FormatError, match="become the same value"):
        model.encode(graph)
    records = Records(model.encode(recurrent()))
    records.state["next"][1] = records.state["next"][0]
    with pytest.raises(mbinfer.FormatError, match="what another state becomes"):
        mbinfer.Session(records.encode())


def test_files_without_states_are_of_version_1():
    """So that every reader takes them; one of version 1 refuses the others for their version."""
    plain = GraphBuilder(np.random.default_rng(0), (1, 1, 8))
    plain.output(plain.convolve("input", 8))
    heads = [Records(model.encode(graph)).header[0] for graph in (plain.graph, convolution())]
    assert [(head["major"], head["minor"], head["state_count"]) for head in heads] == [(1, 0, 0), (2, 0, 1)]


def cached(rows: int = 1):
    """An ONNX model whose convolution sees the rows that it took from `cache`, and gives those to keep as `kept`."""
    onnx = pytest.importorskip("onnx")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    rng = np.random.default_rng(0)
    dims = {"x": [1, 4, rows, 5], "cache": [1, 4, 2, 5], "h": [1, 6], "out": [1, 6, rows, 5], "kept": [1, 4, 2, 5]}
    dims["h2"], dims["same"] = dims["h"], dims["x"]
    numbers = {"w": (6, 4, 3, 3), "v": (6, 6), "u": (6, 6)}
    nodes = [
        helper.make_node("Concat", ["cache", "x"], ["all"], axis=2),
        helper.make_node("Conv", ["all", "w"], ["out"], pads=[0, 1, 0, 1]),
        helper.make_node("Slice", ["all", "begin", "end", "axis"], ["kept"]),
        helper.make_node("GlobalAveragePool", ["out"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "v"], ["a"]),
        helper.make_node("Gemm", ["h", "u"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h2"]),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    info = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in dims.items()}
    graph = helper.make_graph(
        nodes,
        "cached",
        [info[name] for name in ("x", "cache", "h")],
        [info[name] for name in ("out", "kept", "h2", "same")],
        [array((0.3 * rng.standard_normal(shape)).astype(np.float32), name) for name, shape in numbers.items()]
        + [array(np.array([i]), name) for name, i in (("begin", rows), ("end", rows + 2), ("axis", 2))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("rows", [1, 3])
def test_inputs_of_onnx_take_what_outputs_were(rows, tmp_path):
    """Against onnxruntime, which is given its own outputs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    source = cached(rows)
    mbinfer.convert(
        source,
        tmp_path / "net.bin",
        states={"cache": "kept", "h": "h2"},
        outputs=iter(["out", "h2"]) if rows > 1 else None,
    )
    session, oracle = mbinfer.Session(tmp_path / "net.bin"), onnxruntime.InferenceSession(source.SerializeToString())
    assert [info.name for info in session.inputs] == ["x"] and hooks.check(session) == ""
    assert [info.name for info in session.outputs] == (["out", "h2"] if rows > 1 else ["out", "same"])
    assert session.plan.state_bytes == 4 * (2 * 5 * 8 + 8)
    cache, h = np.zeros((1, 4, 2, 5), np.float32), np.zeros((1, 6), np.float32)
    for step in range(20):
        x = np.random.default_rng(step).standard_normal((1, 4, rows, 5)).astype(np.float32)
        out, cache, h, same = oracle.run(None, {"x": x, "cache": cache, "h": h})
        found = session.run(x.transpose(0, 2, 3, 1))
        np.testing.assert_allclose(found["out"].transpose(0, 3, 1, 2), out, rtol=1e-4, atol=1e-5)
        if rows > 1:
            np.testing.assert_allclose(found["h2"], h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept, new", [(2, 1), (1, 1), (2, 3)])
def test_sequences_of_onnx_that_only_a_concat_reads(kept, new, tmp_path):
    """Of rank 3: which of its axes is which, the convolution behind the concatenation says."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, array, rng = onnx.helper, onnx.numpy_helper.from_array, np.random.default_rng(0)
    dims = {"x": [1, 5, new], "cache": [1, 5, kept], "out": [1, 6, new], "kept": [1, 5, kept]}
    info = {name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in dims.items()}
    nodes = [
        helper.make_node("Concat", ["cache", "x"], ["all"], axis=2),
        helper.make_node("Slice", ["all", "begin", "end", "axis"], ["kept"]),
        helper.make_node("Conv", ["all", "w"], ["out"]),
    ]
    numbers = [array(np.array([i]), name) for name, i in (("begin", new), ("end", new + kept), ("axis", 2))]
    numbers.append(array(rng.standard_normal((6, 5, kept + 1)).astype(np.float32), "w"))
    graph = helper.make_graph(nodes, "net", [info["x"], info["cache"]], [info["out"], info["kept"]], numbers)
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    mbinfer.convert(source, tmp_path / "net.bin", states={"cache": "kept"})
    session, oracle = mbinfer.Session(tmp_path / "net.bin"), onnxruntime.InferenceSession(source.SerializeToString())
    assert session.plan.state_bytes == kept * 8 * 4
    cache = np.zeros((1, 5, kept), np.float32)
    for _ in range(20):
        x = rng.standard_normal((1, 5, new)).astype(np.float32)
        out, cache = oracle.run(None, {"x": x, "cache": cache})
        found = session.run(x.transpose(0, 2, 1).reshape(session.inputs[0].shape))
        np.testing.assert_allclose(found, out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "states, error, words",
    [
        ({"nothing": "kept"}, mbinfer.ArgumentError, "'nothing' is no input; inputs are"),
        ({"cache": "nothing"}, mbinfer.ArgumentError, "no node computes a tensor 'nothing'"),
        ({"cache": "out"}, mbinfer.UnsupportedError, "one shape and type"),
        ({"cache": "kept", "h": "kept"}, mbinfer.ArgumentError, "two inputs take one output"),
        (["cache"], mbinfer.ArgumentError, "a dict of names"),
        ({"cache": 1}, mbinfer.ArgumentError, "a dict of names"),
    ],
)
def test_what_onnx_states_may_not_be(states, error, words, tmp_path):
    with pytest.raises(error, match=words):
        mbinfer.convert(cached(), tmp_path / "net.bin", states=states)


def test_who_names_a_tensor_that_is_none_is_blamed_for_it(tmp_path):
    for argument, said in (("states", {"states": {"cache": "nothing"}}), ("outputs", {"outputs": iter(["nothing"])})):
        with pytest.raises(mbinfer.ArgumentError, match=f"^{argument}: no node makes a tensor 'nothing'"):
            mbinfer.convert(cached(), tmp_path / "net.bin", **{"outputs": ["out"], **said})


def test_states_on_the_command_line(tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    onnx.save(cached(), tmp_path / "net.onnx")
    both = [str(tmp_path / name) for name in ("net.onnx", "net.bin")]
    assert cli.main(["convert", *both, "--states", "cache=kept,h=h2"]) == 0
    assert cli.main(["info", both[1]]) == 0
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines if line[0] == "state"] == [
        "cache [1, 2, 5, 4] float32, 320 B",
        "h [1, 1, 1, 6] float32, 32 B",
    ]
    assert sum(state.bytes for state in states_of(both[1])) == mbinfer.Session(both[1], plan_only=True).plan.state_bytes
    assert mbinfer.Session(both[1], plan_only=True).plan.state_bytes > 0
    with pytest.raises(SystemExit):
        cli.main(["convert", *both, "--states", "cache"])
