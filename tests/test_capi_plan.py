"""A plan in full through the C API: its structs, its JSON, Python's classes and `mbinfer plan --json` say the same."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from capi import CSession, Failure, declarations, random_graph, shared_library

import mbinfer
from mbinfer import cli, model

WAYS = [
    ({}, {}),
    ({"schedule": "naive", "threads": 2}, {"schedule": "naive", "threads": 2}),
    ({"memory_limit": -2}, {"memory_limit": "least"}),
]
NAME = 'a "quoted" \\ name,\n\t\x01\x7f é 犬'


@pytest.fixture(scope="module")
def opened():
    ffi = declarations()
    lib = ffi.dlopen(str(shared_library()))
    return lambda path, **fields: CSession(ffi, lib, str(path), **fields)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "mobilenet.bin"
    model.save(mbinfer.zoo.mobilenet_v2(0.35, 64, 10, seed=5), path)
    return path


def items(session, what):
    count = getattr(session.lib, f"mbi_session_{what}_count")(session.handle)
    return [getattr(session.lib, f"mbi_session_{what}")(session.handle, i) for i in range(count)]


def compare(ffi, item, wanted, names):
    for name in names:
        found = getattr(item, name)
        if isinstance(found, ffi.CData):
            found = ffi.string(found).decode()
        assert found == getattr(wanted, name), name


@pytest.mark.parametrize(("c_options", "options"), WAYS)
def test_structs_say_what_python_says(opened, mobilenet, c_options, options):
    session, plan = opened(mobilenet, **c_options), mbinfer.Session(mobilenet, **options).plan
    ffi = session.ffi
    stages = [(stage, g) for g, segment in enumerate(plan.segments) for stage in segment.stages]
    found = items(session, "stage")
    assert len(found) == len(stages)
    numbers = "rows step chunk chunks keep ring_rows macs extra_macs scratch_bytes bytes".split()
    for item, (stage, g) in zip(found, stages):
        compare(ffi, item, stage, ("name", "kind", "output", "why", *numbers))
        assert item.segment == g and (item.height, item.width, item.channels) == stage.output_shape
        for names, count, wanted in (
            (item.nodes, item.node_count, stage.nodes),
            (item.inputs, item.input_count, stage.inputs),
        ):
            assert tuple(ffi.string(names[i]).decode() for i in range(count)) == wanted

        passes = [item.passes[i] for i in range(item.pass_count)]
        assert [ffi.string(p.axis).decode() for p in passes] == [p.axis for p in stage.passes]
        for p, wanted in zip(passes, stage.passes):
            operators = [ffi.string(p.operators[i]).decode() for i in range(p.operator_count)]
            assert tuple(operators) == wanted.operators
    assert any(item.pass_count > 1 for item in found) == (plan.schedule != "naive")  # nothing is fused there

    first = 0
    segments = items(session, "segment")
    assert len(segments) == len(plan.segments)
    for item, segment, step in zip(segments, plan.segments, plan.timeline):
        compare(ffi, item, step, ("name", "live_bytes", "top_bytes"))
        assert (item.first_stage, item.stage_count) == (first, len(segment.stages))
        first += len(segment.stages)

    buffers = items(session, "buffer")
    for g, step in enumerate(plan.timeline):
        live = [item for item in buffers if item.first <= g <= item.last]
        assert len(live) == len(step.buffers)
        for item, buffer in zip(live, step.buffers):
            compare(ffi, item, buffer, ("name", "kind", "offset", "bytes", "rows", "first", "last"))
    assert session.plan.cycles == plan.cycles


@pytest.mark.parametrize(("c_options", "options"), WAYS)
def test_json_is_the_same_from_c_python_and_the_command_line(opened, mobilenet, c_options, options, capsys):
    session, plan = opened(mobilenet, **c_options), mbinfer.Session(mobilenet, **options).plan
    text = session.ffi.string(session.lib.mbi_session_plan_json(session.handle)).decode()
    assert text == plan.json()
    record = json.loads(text)
    made = {**asdict(plan), "segments": plan.segments, "timeline": plan.timeline}
    made.update((name, [asdict(item) for item in made[name]]) for name in ("segments", "timeline"))
    assert record == json.loads(json.dumps(made)) and list(record) == list(made)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    assert cli.main(["plan", str(mobilenet), "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(mobilenet), **record}


def test_names_of_any_kind_are_escaped(opened, tmp_path):
    graph = random_graph()
    graph.nodes[0] = replace(graph.nodes[0], name=NAME)
    model.save(graph, tmp_path / "names.bin")
    session = opened(tmp_path / "names.bin")
    text = session.ffi.string(session.lib.mbi_session_plan_json(session.handle)).decode()
    assert all(" " <= c != "\x7f" for c in text)
    nodes = [node for segment in json.loads(text)["segments"] for stage in segment["stages"] for node in stage["nodes"]]
    assert NAME in nodes


def test_what_does_not_exist(opened, mobilenet):
    session = opened(mobilenet)
    ffi, lib = session.ffi, session.lib
    for what in ("stage", "segment", "buffer"):
        count, item = (getattr(lib, f"mbi_session_{what}{end}") for end in ("_count", ""))
        assert count(ffi.NULL) == 0
        for handle, index, said in ((session.handle, count(session.handle), what), (ffi.NULL, 0, "session")):
            assert item(handle, index) == ffi.NULL
            with pytest.raises(Failure, match=said) as caught:
                session.check(lib.mbi_last_error().status)
            assert caught.value.status == "MBI_ARGUMENT"
    assert lib.mbi_session_plan_json(ffi.NULL) == ffi.NULL


def test_a_run_leaves_the_description_where_it_is(opened, mobilenet):
    session = opened(mobilenet)
    before = session.lib.mbi_session_plan_json(session.handle)
    stage = session.lib.mbi_session_stage(session.handle, 0)
    session.run(np.zeros((64, 64, 3), np.uint8))
    assert session.lib.mbi_session_plan_json(session.handle) == before
    assert session.lib.mbi_session_stage(session.handle, 0) == stage
