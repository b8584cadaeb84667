"""The C API through cffi: the same bits and plans as Python's Session, and every failure a status and a message."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from capi import CSession, Failure, declarations, picture, random_graph, same_bits, shared_library
from integer_graphs import quantised

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.graph import Graph, Node, Output


@pytest.fixture(scope="module")
def ffi():
    return declarations()


@pytest.fixture(scope="module")
def lib(ffi):
    return ffi.dlopen(str(shared_library()))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "two.bin"
    model.save(random_graph(), path)
    return str(path)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "mobilenet.bin"
    model.save(mbinfer.zoo.mobilenet_v2(0.35, 64, 10, seed=5), path)
    return str(path)


@pytest.fixture
def opened(ffi, lib):
    return lambda path, **fields: CSession(ffi, lib, path, **fields)


@pytest.fixture
def refused(ffi, lib):
    def refused(path, **fields) -> Failure:
        with pytest.raises(Failure) as caught:
            CSession(ffi, lib, path, **fields)
        return caught.value

    return refused


def test_version(ffi, lib):
    assert ffi.string(lib.mbi_version()).decode() == mbinfer.__version__


# Sessions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "naive"},
        {"schedule": "layerwise"},
        {"schedule": "fused", "chunks": 3},
        {"threads": 2},
        {"isa": "reference"},
        {"verify": 1},
        {"schedule": "streamed"},
        {"memory_limit": -2},
        {"memory_limit": -2, "recompute": 0},
        {"memory_limit": -2, "most_recomputed": 0.05},
    ],
)
def test_same_bits_and_plan_as_python(opened, mobilenet, options, monkeypatch):
    session = opened(mobilenet, **options)
    if "isa" in options:
        monkeypatch.setenv("MBINFER_ISA", options["isa"])
    names = {"most_recomputed": "recompute"}
    python = mbinfer.Session(
        mobilenet,
        **{names.get(k, k): "least" if k == "memory_limit" else v for k, v in options.items() if k != "isa"},
    )
    image = picture((64, 64, 3))
    for array in (image, ((image - np.float32(120)) / np.float32(60))):
        assert same_bits(session.run(array)[0], python.run(array))
    for name in (
        "peak_bytes",
        "input_bytes",
        "weight_bytes",
        "naive_bytes",
        "layerwise_bytes",
        "fused_bytes",
        "lower_bound_bytes",
        "macs",
        "extra_macs",
        "moved_bytes",
        "state_bytes",
    ):
        assert getattr(session.plan, name) == getattr(python.plan, name), name
    text = session.ffi.string
    assert text(session.plan.schedule).decode() == python.plan.schedule
    assert text(session.plan.isa).decode() == python.isa
    assert session.plan.threads == python.threads
    assert tuple(session.ffi.unpack(session.plan.input_rows, 1)) == python.plan.input_rows


def test_states_go_on_until_they_are_reset(ffi, lib):
    net = GraphBuilder(np.random.default_rng(0), (1, 6, 5))
    net.output(net.convolve(net.recent("input", 2), 12, kernel=(3, 3), pads=(0, 1, 0, 1)))
    data = np.frombuffer(model.encode(net.graph), np.uint8)
    session, python = CSession(ffi, lib, data), mbinfer.Session(data.tobytes())
    row = np.ones((1, 6, 5), np.float32)
    expected = [python.run(row), python.run(row)]
    for _ in range(2):
        assert all(same_bits(session.run(row)[0], one) for one in expected)
        session.check(lib.mbi_session_reset(session.handle))
    assert not same_bits(*expected) and lib.mbi_session_reset(ffi.NULL) == lib.MBI_ARGUMENT
    assert session.plan.state_bytes == python.plan.state_bytes == 2 * 6 * 8 * 4


def rows_of(ffi, image, calls, stop=None):
    """A function that gives the rows of `image`, and returns 7 at row `stop`."""

    def pull(row, to):
        calls.append(row)
        if row == stop:
            return 7
        ffi.memmove(to, np.ascontiguousarray(image[row]), image[row].nbytes)
        return 0

    return pull


@pytest.mark.parametrize("schedule", ["naive", "layerwise", "fused", "streamed"])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_give_the_same_bits(ffi, lib, opened, mobilenet, schedule, threads):
    session, image = opened(mobilenet, schedule=schedule, threads=threads), picture((64, 64, 3))
    for array, dtype in ((image, lib.MBI_UINT8), ((image - np.float32(120)) / np.float32(60), lib.MBI_FLOAT32)):
        calls = []
        wanted = session.run(array)[0]
        assert same_bits(session.run_rows(dtype, rows_of(ffi, array, calls))[0], wanted)
        assert calls == list(range(64))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stop", [0, 20, 63])
def test_a_run_whose_rows_stop(ffi, lib, opened, mobilenet, stop, threads):
    session, image, calls = opened(mobilenet, memory_limit=-2, threads=threads), picture((64, 64, 3)), []
    wanted = session.run(image)[0]
    with pytest.raises(Failure) as caught:
        session.run_rows(lib.MBI_UINT8, rows_of(ffi, image, calls, stop))
    assert caught.value.status == "MBI_STOPPED"
    assert f"row {stop}" in caught.value.message and "7" in caught.value.message
    assert calls == list(range(stop + 1))
    assert same_bits(session.run(image)[0], wanted)
    assert same_bits(session.run_rows(lib.MBI_UINT8, rows_of(ffi, image, []))[0], wanted)


def test_rows_that_cannot_be(ffi, lib, opened, mobilenet, two):
    session, image, inner = opened(mobilenet), picture((64, 64, 3)), []

    def runs_the_session(row, to):
        for run in (lambda: session.run(image), lambda: session.run_rows(lib.MBI_UINT8, rows_of(ffi, image, []))):
            with pytest.raises(Failure) as caught:
                run()
            inner.append(caught.value.status)
        return rows_of(ffi, image, [])(row, to)

    assert same_bits(session.run_rows(lib.MBI_UINT8, runs_the_session)[0], session.run(image)[0])
    assert inner == ["MBI_ARGUMENT"] * 128
    for opened_session, dtype, words in ((session, 99, "dtype"), (opened(two), lib.MBI_UINT8, "one input")):
        with pytest.raises(Failure) as caught:
            opened_session.run_rows(dtype, rows_of(ffi, image, []))
        assert caught.value.status == "MBI_SHAPE" and words in caught.value.message


def test_several_inputs_and_outputs(opened, two):
    session, python = opened(two), mbinfer.Session(two)
    left, right = picture((1, 9, 7, 3)), np.random.default_rng(1).standard_normal((9, 7, 12), dtype=np.float32)
    wanted = python.run(left, right)
    for name, result in zip(("scores", "map"), session.run(left, right)):
        assert same_bits(result, wanted[name])


def test_tensors_and_labels(ffi, lib, opened, two):
    session = opened(two)

    def facts(t):
        color = ffi.string(t.color).decode() if t.color else None
        return ffi.string(t.name).decode(), t.dtype, list(t.dims)[: t.rank], t.bytes, color, t.crop

    left, right = session.tensors("input")
    assert facts(left) == ("left", lib.MBI_UINT8, [1, 9, 7, 3], 9 * 7 * 3, "BGR", 0.875)
    assert facts(right) == ("right", lib.MBI_FLOAT32, [1, 9, 7, 12], 4 * 9 * 7 * 12, None, 0)
    assert [facts(t)[:4] for t in session.tensors("output")] == [
        ("scores", lib.MBI_FLOAT32, [1, 5], 20),
        ("map", lib.MBI_FLOAT32, [1, 9, 7, 12], 4 * 9 * 7 * 12),
    ]
    assert list(session.tensors("output")[0].dims)[2:] == [0] * 6
    assert [ffi.string(label).decode() for label in session.tensors("label")] == random_graph().labels


def test_isa_of_the_environment(opened, mobilenet, monkeypatch):
    monkeypatch.setenv("MBINFER_ISA", "reference")
    session = opened(mobilenet)
    assert session.ffi.string(session.plan.isa) == b"reference"


def test_many_threads_on_one_session(opened, two):
    session = opened(two)
    inputs = [(picture((9, 7, 3), i), np.full((9, 7, 12), i, np.float32)) for i in range(4)]
    alone = [session.run(*arrays) for arrays in inputs]
    wrong = []

    def work(i):
        for _ in range(50):
            if not all(map(same_bits, session.run(*inputs[i]), alone[i])):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# Failures


def test_memory_limit(refused, opened, mobilenet):
    least = mbinfer.Session(mobilenet, memory_limit="least").plan.peak_bytes
    failure = refused(mobilenet, memory_limit=least - 1)
    assert (failure.status, failure.needed, failure.limit) == ("MBI_MEMORY_LIMIT", least, least - 1)
    assert str(least) in failure.message
    assert opened(mobilenet, memory_limit=least).plan.peak_bytes == least
    assert opened(mobilenet, memory_limit=-2).plan.peak_bytes == least
    assert refused(mobilenet, memory_limit=0).status == "MBI_MEMORY_LIMIT"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": 257}, "256"),
        ({"chunks": -1}, "chunks is -1"),
        ({"schedule": "clever"}, "clever"),
        ({"schedule": "naive", "chunks": 2}, "naive"),
        ({"isa": "mmx"}, "mmx"),
        ({"memory_limit": -3}, "memory_limit is -3"),
        ({"most_recomputed": -0.5}, "recompute is a share"),
        ({"size": 8}, "mbi_options"),
    ],
)
def test_options_out_of_range(refused, mobilenet, options, words):
    failure = refused(mobilenet, **options)
    assert failure.status == "MBI_ARGUMENT" and words in failure.message


def test_files(refused, mobilenet, tmp_path):
    missing = refused(str(tmp_path / "none.bin"))
    assert missing.status == "MBI_FILE" and "none.bin" in missing.message
    data = bytearray(Path(mobilenet).read_bytes())
    cut, damaged = tmp_path / "cut.bin", tmp_path / "damaged.bin"
    cut.write_bytes(data[:-1])
    assert refused(str(cut)).status == "MBI_FORMAT"
    data[-1] ^= 1
    damaged.write_bytes(data)
    assert refused(str(damaged), verify=1).status == "MBI_FORMAT"


def test_models_in_memory_and_by_descriptor(ffi, opened, refused, mobilenet):
    data, image = Path(mobilenet).read_bytes(), picture((64, 64, 3))
    expected = mbinfer.Session(mobilenet).run(image)
    with open(mobilenet, "rb") as file:
        file.seek(77)
        session = opened(file.fileno())
    assert same_bits(session.run(image)[0], expected)
    for copy in (0, 1):
        memory = bytearray(data)
        session = opened(memory, copy=copy)
        assert same_bits(session.run(image)[0], expected)
        assert same_bits(opened(mobilenet, copy=copy).run(image)[0], expected)
        if copy:
            memory[:] = bytes(len(memory))
            assert same_bits(session.run(image)[0], expected)
    assert refused(data[:-1]).status == "MBI_FORMAT" and refused(1000).status == "MBI_FILE"


def test_a_plan_without_an_arena(opened, mobilenet):
    session = opened(mobilenet, plan_only=1, threads=2)
    assert session.plan.peak_bytes == mbinfer.Session(mobilenet, threads=2).plan.peak_bytes
    assert session.plan.threads == 2
    with pytest.raises(Failure, match="plan only"):
        session.run(picture((64, 64, 3)))


def test_a_file_that_changes(opened, mobilenet, tmp_path):
    path = tmp_path / "net.bin"
    path.write_bytes(Path(mobilenet).read_bytes())
    mapped, copy = opened(str(path)), opened(str(path), copy=1)
    os.truncate(path, 100)
    assert copy.run(picture((64, 64, 3)))[0].any()
    with pytest.raises(Failure, match="written or cut"):
        mapped.run(picture((64, 64, 3)))


def test_options_of_other_headers(ffi, lib, mobilenet):
    """mbi_options as it was first released, as it is, and with options to come: zero, or refused."""
    first, now = ffi.offsetof("mbi_options", "copy"), ffi.sizeof("mbi_options")
    handle = ffi.new("mbi_session **")
    for size in (first, now, now + 8, now + 200):
        block = ffi.new("unsigned char[]", b"\xaa" * (now + 300))
        options = ffi.cast("mbi_options *", block)
        assert lib.mbi_options_init(options, size) == lib.MBI_OK
        assert bytes(block)[size:] == b"\xaa" * (now + 300 - size) + b"\0" and options.size == size
        options.memory_limit = -2
        assert lib.mbi_session_open(mobilenet.encode(), options, handle) == lib.MBI_OK
        assert (
            lib.mbi_session_plan(handle[0]).peak_bytes
            == mbinfer.Session(mobilenet, memory_limit="least").plan.peak_bytes
        )
        lib.mbi_session_close(handle[0])
        if size > now:
            block[size - 1] = 1
            assert lib.mbi_session_open(mobilenet.encode(), options, handle) == lib.MBI_ARGUMENT
            assert b"later header" in ffi.string(lib.mbi_last_error().message)
    options = ffi.new("mbi_options *")
    for size in (0, 8, first - 4, first + 4, 1 << 20):
        assert lib.mbi_options_init(options, size) == lib.MBI_ARGUMENT


def test_an_error_names_the_schedule_that_was_asked_for(refused, mobilenet):
    for schedule in ("auto", "naive", "layerwise", "fused", "streamed"):
        assert f"the {schedule} schedule needs" in refused(mobilenet, schedule=schedule, memory_limit=1).message


def test_unsupported_names_the_node(refused, tmp_path):
    graph = Graph(values={"in": (80, 80, 1), "out": (1, 1, 1)}, inputs={"in": None})
    graph.outputs = [Output("out", "out", (1,))]
    graph.nodes = [Node("max_pool", "huge", ["in"], "out", (80, 80))]
    model.save(graph, tmp_path / "huge.bin")
    failure = refused(str(tmp_path / "huge.bin"))
    assert (failure.status, failure.node, failure.op) == ("MBI_UNSUPPORTED", "huge", "max_pool")


def test_buffers_that_do_not_fit(ffi, lib, opened, two):
    session = opened(two)
    left, right = picture((9, 7, 3)), np.zeros((9, 7, 12), np.float32)
    scores, map_ = np.zeros(5, np.float32), np.zeros((9, 7, 12), np.float32)
    unaligned = np.zeros(right.nbytes + 1, np.uint8)[1:].view(np.float32)
    cases = [
        ((left,), (scores, map_), "MBI_SHAPE", "1 inputs given, the model has 2"),
        ((left, right), (scores,), "MBI_SHAPE", "1 outputs given, the model has 2"),
        ((left[:8], right), (scores, map_), "MBI_SHAPE", "input 'left' takes 189 bytes"),
        ((left.astype(np.float32)[:8], right), (scores, map_), "MBI_SHAPE", "input 'left' takes 756 bytes"),
        ((left.astype(np.int16), right), (scores, map_), "MBI_SHAPE", "dtype"),
        ((left, right), (scores, map_[:8]), "MBI_SHAPE", "output 'map' takes 3024 bytes"),
        ((left, np.zeros((9, 7, 12), np.uint8)), (scores, map_), "MBI_SHAPE", "recipe"),
        ((left, unaligned), (scores, map_), "MBI_ARGUMENT", "aligned"),
    ]
    for arrays, results, status, words in cases:
        with pytest.raises(Failure) as caught:
            session.run_into(arrays, results)
        assert caught.value.status == status and words in caught.value.message
    assert not scores.any() and not map_.any()
    session.run_into((left, right), (scores, map_))
    assert scores.any() and map_.any()


def test_null_arguments(ffi, lib, opened, two):
    null, session = ffi.NULL, opened(two)
    handle, size = ffi.new("mbi_session **"), ffi.sizeof("mbi_options")
    inputs, outputs = ffi.new("mbi_input[2]"), ffi.new("mbi_output[2]")
    options = ffi.new("mbi_options *")
    lib.mbi_options_init(options, size)
    options.schedule = null
    pull = ffi.callback("mbi_pull_row", lambda *_: 1)
    failing = [
        lambda: lib.mbi_options_init(null, size),
        lambda: lib.mbi_session_open(null, null, handle),
        lambda: lib.mbi_session_open(two.encode(), null, null),
        lambda: lib.mbi_session_open(two.encode(), options, handle),
        lambda: lib.mbi_session_run(null, inputs, 2, outputs, 2),
        lambda: lib.mbi_session_run(session.handle, null, 2, outputs, 2),
        lambda: lib.mbi_session_run(session.handle, inputs, 2, null, 2),
        lambda: lib.mbi_session_run(session.handle, inputs, 2, outputs, 2),  # with data NULL
        lambda: lib.mbi_session_run_rows(null, lib.MBI_UINT8, pull, null, outputs, 2),
        lambda: lib.mbi_session_run_rows(session.handle, lib.MBI_UINT8, null, null, outputs, 2),
        lambda: lib.mbi_session_run_rows(session.handle, lib.MBI_UINT8, pull, null, null, 2),
        lambda: lib.mbi_session_run_rows(session.handle, lib.MBI_UINT8, pull, null, outputs, 2),  # with data NULL
    ]
    for call in failing:
        assert call() == lib.MBI_ARGUMENT
        assert b"NULL" in ffi.string(lib.mbi_last_error().message)
    for kind in ("input", "output", "label"):
        for arguments in ((null, 0), (session.handle, 99)):
            lib.mbi_options_init(null, 0)
            assert getattr(lib, f"mbi_session_{kind}")(*arguments) == null
            assert lib.mbi_last_error().status == lib.MBI_ARGUMENT
        assert getattr(lib, f"mbi_session_{kind}_count")(null) == 0
    assert lib.mbi_session_plan(null) == null
    lib.mbi_session_close(null)


def test_last_error_is_of_the_thread_and_stays(ffi, lib, opened, refused, two):
    refused("/none")
    opened(two)
    assert lib.mbi_last_error().status == lib.MBI_FILE
    seen = []

    def look():
        error = lib.mbi_last_error()
        seen.append((error.status, ffi.string(error.message)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(lib.MBI_OK, b"")]


@pytest.mark.parametrize(
    "name", ["x" * 3000, "é" * 3000, "x" + "é" * 3000, "名 " * 2000, "/\x1b[2J" * 99], ids=range(5)
)
def test_long_messages_lose_their_middle(refused, name):
    """The message is decoded, so that it has whole characters; control characters are written as escapes."""
    message = refused(name).message
    assert message[:25] == name.replace("\x1b", "\\x1b")[:25] and len(message.encode()) <= 400
    assert message.isprintable() and "..." in message and message.endswith((": No such file or directory", "too long"))


@pytest.mark.parametrize("outside", ["int8", "uint8", "float32"])
def test_integers_in_and_out(ffi, lib, opened, outside, tmp_path):
    """Arrays are of the dtypes that the model says, with their scales; real numbers go in too."""
    rng = np.random.default_rng(3)
    real = mbinfer.zoo.mobilenet_v2(0.35, 32, 10, seed=5)
    real.inputs = dict.fromkeys(real.inputs)
    model.save(quantised(real, rng, outside=outside), tmp_path / "q.bin")
    python, c = mbinfer.Session(tmp_path / "q.bin"), opened(str(tmp_path / "q.bin"))
    for kind, infos in (("input", python.inputs), ("output", python.outputs)):
        (tensor,), (info,) = c.tensors(kind), infos
        assert (c.dtype(tensor), tensor.scale, tensor.zero_point) == (info.dtype, info.scale, info.zero_point)
        assert tensor.bytes == np.prod(info.shape) * np.dtype(info.dtype).itemsize and info.dtype == outside
    numbers = rng.normal(0, 2, (1, 32, 32, 3)).astype(np.float32)
    held = numbers if outside == "float32" else rng.integers(0, 256, numbers.shape).astype(np.uint8).view(outside)
    for array in (held, numbers):
        assert same_bits(c.run(array)[0], python.run(array))
    if outside != "float32":
        other = {"int8": "uint8", "uint8": "int8"}[outside]
        with pytest.raises(Failure, match="dtype|recipe"):
            c.run(held.view(other))
