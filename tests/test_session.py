"""`Session`: what it takes, what it refuses, and that nothing but the input changes a bit of the output."""

from __future__ import annotations

import contextlib
import os
import threading

import hooks
import numpy as np
import pytest
from graphs import GraphBuilder, random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import random_inputs
from small_network import RECIPE, SIZE, normalise, picture

import mbinfer
from mbinfer import _core, model
from mbinfer.graph import Graph, Node, Output, Recipe


def saved(graph, tmp_path):
    model.save(graph, tmp_path / "graph.bin")
    return tmp_path / "graph.bin"


def one_conv(recipe=None):
    return Graph(
        values={"x": (4, 5, 3), "y": (4, 5, 2)},
        inputs={"x": recipe},
        outputs=[Output("y", "y", (1, 4, 5, 2))],
        nodes=[Node("conv", "c", ["x"], "y", weight=np.ones((2, 1, 1, 3), np.float32))],
    )


def two_inputs():
    net = GraphBuilder(np.random.default_rng(3), (5, 4, 3))
    net.graph.values["other"], net.graph.inputs["other"] = (5, 4, 3), None
    total = net.add("add", ["input", "other"])
    conv = net.add("conv", [total], 6, kernel=(3, 3), pads=(1, 1, 1, 1))
    net.output(conv)
    net.output(net.add("global_avg_pool", [conv]), (1, 6))
    return net.graph


@contextlib.contextmanager
def isa(name):
    before = os.environ.get("MBINFER_ISA")
    os.environ["MBINFER_ISA"] = name
    try:
        yield
    finally:
        del os.environ["MBINFER_ISA"]
        if before is not None:
            os.environ["MBINFER_ISA"] = before


def bits(outputs):
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {name: (array.shape, array.dtype, array.tobytes()) for name, array in outputs.items()}


# The same bits.

VARIANTS = [{"schedule": s} for s in ("naive", "layerwise", "fused", "streamed", "auto")]
VARIANTS += [{"recompute": False}, {"memory_limit": "least"}, {"memory_limit": "least", "recompute": False}]
VARIANTS += [{"schedule": "fused", "chunks": t} for t in (1, 2, 3, 100)]
RANDOM = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@RANDOM
@given(graph=random_graph(), seed=st.integers(0, 99))
def test_nothing_but_the_input_changes_a_bit(graph, seed, tmp_path):
    path, inputs = saved(graph, tmp_path), random_inputs(graph, seed)
    with isa("reference"):
        expected = bits(mbinfer.Session(path, schedule="naive").run(**inputs))
    for threads in (1, 2, 3):
        for variant in VARIANTS:
            for name in _core.isas() if threads == 1 else _core.isas()[:1]:
                with isa(name):
                    session = mbinfer.Session(path, threads=threads, **variant)
                assert hooks.check(session) == ""
                assert bits(session.run(**inputs)) == expected, (threads, variant, name)
                assert hooks.canaries_intact(session)


@RANDOM
@given(graph=random_graph())
def test_no_schedule_needs_more_than_a_simpler_one(graph, tmp_path):
    path = saved(graph, tmp_path)
    plans = [mbinfer.Session(path, schedule=schedule).plan for schedule in ("naive", "layerwise", "fused", "streamed")]
    plans.append(mbinfer.Session(path, memory_limit="least").plan)
    peaks = [plan.peak_bytes for plan in plans]
    assert peaks == sorted(peaks, reverse=True)
    for plan in plans:
        assert plan.lower_bound_bytes <= plan.peak_bytes
        assert [plan.naive_bytes, plan.layerwise_bytes, plan.fused_bytes] == peaks[:3]


@RANDOM
@given(graph=random_graph(channels=st.sampled_from([1, 3])), seed=st.integers(0, 99))
def test_a_uint8_image_is_the_normalised_float_image(graph, seed, tmp_path):
    rng = np.random.default_rng(seed)
    shape = graph.values["input"]
    recipe = Recipe(
        tuple(rng.uniform(0, 255, shape[2])),
        tuple(rng.uniform(0.001, 0.1, shape[2])),
        "BGR" if shape[2] == 3 else "grey",
    )
    graph.inputs["input"] = recipe
    path, image = saved(graph, tmp_path), picture(seed, shape)
    for variant in VARIANTS:
        session = mbinfer.Session(path, threads=1 + seed % 2, **variant)
        assert bits(session.run(image)) == bits(session.run(normalise(image, recipe))), variant


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_runs_leave_nothing_behind(net, threads):
    session = mbinfer.Session(net, threads=threads)
    fresh = [mbinfer.Session(net, threads=threads).run(picture(seed)) for seed in range(3)]
    for seed in (0, 1, 2, 1, 0):
        assert bits(session.run(picture(seed))) == bits(fresh[seed])


def test_two_python_threads_may_share_a_session(net):
    session, wrong = mbinfer.Session(net, threads=2), []
    expected = [bits(session.run(picture(seed))) for seed in range(2)]

    def work(seed):
        wrong.extend(seed for _ in range(30) if bits(session.run(picture(seed))) != expected[seed])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# What it takes and gives.


def test_inputs_and_outputs_are_described(net, tmp_path):
    session = mbinfer.Session(net)
    assert [tuple(info[1:]) for info in session.inputs] == [((1, SIZE, SIZE, 3), "uint8", 0.0, 0)]
    assert [tuple(info[1:]) for info in session.outputs] == [((1, 10), "float32", 0.0, 0)]
    assert session.recipe.color == "RGB" and np.allclose(session.recipe.mean, RECIPE.mean)
    session = mbinfer.Session(saved(two_inputs(), tmp_path))
    assert [info.name for info in session.inputs] == ["input", "other"]
    assert [info.dtype for info in session.inputs] == ["float32"] * 2
    assert [info.shape for info in session.outputs] == [(1, 5, 4, 6), (1, 6)]


def test_with_and_without_the_batch_in_any_memory_order(net):
    session, image = mbinfer.Session(net), normalise(picture())
    expected = bits(session.run(image))
    assert bits(session.run(image[None])) == expected
    assert bits(session.run(np.asfortranarray(image))) == expected
    assert bits(session.run(np.concatenate([image, image], 2)[:, :, :3])) == expected
    assert bits(session.run(image[::-1])) == bits(session.run(image[::-1].copy())) != expected
    unaligned = np.frombuffer(b"\0" + image.tobytes(), np.uint8)[1:].view(np.float32).reshape(image.shape)
    assert bits(session.run(unaligned)) == expected
    image.flags.writeable = False
    assert bits(session.run(image)) == expected


def test_several_inputs_and_outputs(tmp_path):
    graph = two_inputs()
    session, inputs = mbinfer.Session(saved(graph, tmp_path)), random_inputs(graph)
    by_name = session.run(**inputs)
    assert list(by_name) == [info.name for info in session.outputs]
    assert bits(session.run(inputs["input"], inputs["other"])) == bits(by_name)
    assert bits(session.run(other=inputs["other"], input=inputs["input"])) == bits(by_name)
    mean = by_name[session.outputs[0].name].mean((1, 2))
    np.testing.assert_allclose(by_name[session.outputs[1].name], mean, rtol=1e-5, atol=1e-6)
    for arrays, named in [
        ((inputs["input"],), {}),
        ((inputs["input"],) * 3, {}),
        ((), {"input": inputs["input"]}),
        ((inputs["input"],), {"other": inputs["other"]}),
        ((), {"image": inputs["input"]}),
        ((), {}),
    ]:
        with pytest.raises(mbinfer.ShapeError, match="input.*other"):
            session.run(*arrays, **named)


def test_outputs_are_fresh_arrays(net):
    session = mbinfer.Session(net)
    first = session.run(picture())
    expected = bits(first)
    second = session.run(picture())
    assert not np.shares_memory(first, second)
    first[:] = 0
    assert bits(second) == expected == bits(session.run(picture()))
    del session
    assert bits(second) == expected


def test_the_model_file_may_go_while_the_session_lives(net, tmp_path):
    path = tmp_path / "copy.bin"
    path.write_bytes(net.read_bytes())
    session = mbinfer.Session(path)
    expected = bits(session.run(picture()))
    path.unlink()
    assert bits(session.run(picture())) == expected


def test_profile_names_every_stage(net):
    session = mbinfer.Session(net)
    profile = session.profile(picture())
    stages = [stage.name for segment in session.plan.segments for stage in segment.stages]
    assert [p["stage"] for p in profile] == stages
    assert all(p["seconds"] >= 0 and p["bytes"] > 0 for p in profile) and sum(p["seconds"] for p in profile) > 0
    assert sum(p["macs"] for p in profile) == session.plan.macs + session.plan.extra_macs


# What it refuses.

BAD_ARRAYS = {
    "shape": (np.zeros((SIZE, SIZE + 1, 3), np.float32), rf"\({SIZE}, {SIZE + 1}, 3\).*\({SIZE}, {SIZE}, 3\)"),
    "batch of two": (np.zeros((2, SIZE, SIZE, 3), np.float32), r"\(2, "),
    "rank": (np.zeros((SIZE, SIZE), np.float32), "shape"),
    "empty": (np.zeros((0,), np.float32), "shape"),
    "NCHW": (np.zeros((1, 3, SIZE, SIZE), np.float32), "NCHW"),
    "CHW": (np.zeros((3, SIZE, SIZE), np.uint8), "NCHW"),
    "float64": (np.zeros((SIZE, SIZE, 3)), "float64.*float32"),
    "int8": (np.zeros((SIZE, SIZE, 3), np.int8), "int8.*uint8"),
    "other byte order": (np.zeros((SIZE, SIZE, 3), ">f4"), "dtype"),
    "object": (np.zeros((SIZE, SIZE, 3), object), "dtype"),
    "a list": ([[0.0]], "list"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(net, case):
    array, message = BAD_ARRAYS[case]
    session = mbinfer.Session(net)
    with pytest.raises(mbinfer.ShapeError, match=message):
        session.run(array)
    session.run(picture())


def test_uint8_without_a_recipe_says_how_to_give_one(tmp_path):
    session = mbinfer.Session(saved(one_conv(), tmp_path))
    with pytest.raises(mbinfer.ShapeError, match="recipe.*mean="):
        session.run(picture(shape=(4, 5, 3)))


BAD_OPTIONS = [
    ({"threads": 0}, "threads=0"),
    ({"threads": -1}, "threads"),
    ({"threads": 1.5}, "threads"),
    ({"threads": "two"}, "threads"),
    ({"threads": True}, "threads"),
    ({"threads": 10**6}, "threads"),
    ({"schedule": "greedy"}, "greedy.*layerwise"),
    ({"schedule": None}, "layerwise"),
    ({"schedule": ""}, "layerwise"),
    ({"chunks": 0}, "chunks=0"),
    ({"chunks": 2.0}, "chunks"),
    ({"chunks": 2, "schedule": "naive"}, "naive"),
    ({"memory_limit": "lots"}, "lots.*KiB"),
    ({"memory_limit": -1}, "-1"),
    ({"memory_limit": 1.5}, "1.5"),
    ({"memory_limit": "3 parsecs"}, "parsecs"),
    ({"memory_limit": True}, "True"),
]


@pytest.mark.parametrize("options, message", BAD_OPTIONS, ids=str)
def test_options_out_of_range_are_refused(net, options, message):
    with pytest.raises(mbinfer.ArgumentError, match=message):
        mbinfer.Session(net, **options)


def test_the_environment_gives_the_default_threads(net, monkeypatch):
    monkeypatch.setenv("MBINFER_THREADS", "2")
    assert mbinfer.Session(net).threads == 2
    assert mbinfer.Session(net, threads=1).threads == 1
    assert mbinfer.Session(net, threads="all").threads == len(os.sched_getaffinity(0))
    monkeypatch.setenv("MBINFER_THREADS", "many")
    with pytest.raises(mbinfer.ArgumentError, match="many"):
        mbinfer.Session(net)


def test_a_limit_is_kept_or_refused_with_the_least_that_would_do(net):
    least = mbinfer.Session(net, memory_limit="least").plan.peak_bytes
    for limit in (least, str(least), f"{least}B", least + 1000, "1MiB", np.int64(10**6)):
        session = mbinfer.Session(net, memory_limit=limit)
        assert session.plan.peak_bytes <= int(limit if str(limit).isdigit() else 1 << 20 if limit == "1MiB" else least)
        session.run(picture())
    for limit in (least - 1, 1, 0, "1KiB"):
        with pytest.raises(mbinfer.MemoryLimitError) as caught:
            mbinfer.Session(net, memory_limit=limit)
        assert caught.value.needed == least
        assert caught.value.limit == (1024 if limit == "1KiB" else limit)
        assert str(least) in str(caught.value)
    for schedule in ("naive", "layerwise", "fused", "streamed"):
        needs = mbinfer.Session(net, schedule=schedule, memory_limit=10**9).plan
        with pytest.raises(mbinfer.MemoryLimitError) as caught:
            mbinfer.Session(net, schedule=schedule, memory_limit=1)
        assert caught.value.needed <= needs.peak_bytes
        assert (
            mbinfer.Session(net, schedule=schedule, memory_limit=caught.value.needed).plan.peak_bytes
            == caught.value.needed
        )


def test_files_that_are_no_models_are_refused(net, tmp_path):
    with pytest.raises(OSError, match="none.bin"):
        mbinfer.Session(tmp_path / "none.bin")
    with pytest.raises(OSError, match=tmp_path.name):
        mbinfer.Session(tmp_path)
    whole = net.read_bytes()
    for name, data in {
        "empty": b"",
        "short": whole[:100],
        "cut": whole[:-1],
        "long": whole + b"\0",
        "text": b"hello " * 100,
    }.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(data)
        with pytest.raises(mbinfer.FormatError, match=path.name):
            mbinfer.Session(path)


def test_a_damaged_weight_is_found_on_request(net, tmp_path):
    data = bytearray(net.read_bytes())
    data[-100] ^= 1
    path = tmp_path / "damaged.bin"
    path.write_bytes(data)
    mbinfer.Session(path).run(picture())
    with pytest.raises(mbinfer.FormatError, match="weights"):
        mbinfer.Session(path, verify=True)
    mbinfer.Session(net, verify=True)
