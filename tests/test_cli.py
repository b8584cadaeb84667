"""The command line: what each command prints for people and for programs; every mistake is one line of words."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import W, make, node
from PIL import Image
from records import Records
from small_network import small_network

import mbinfer
from mbinfer import cli, measure, progress

CLASSES = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small model, its labels and two pictures."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "labels.txt").write_text("".join(f"kind {i}\n" for i in range(CLASSES)), encoding="utf-8")
    arguments = ["--width", "0.35", "--resolution", "64", "--classes", str(CLASSES), "--seed", "3"]
    files = ["--labels", str(folder / "labels.txt"), "-o", str(folder / "model.bin")]
    assert cli.main(["build", "mobilenet_v2", *arguments, *files]) == 0
    random = np.random.default_rng(0)
    for name in ("one.png", "two.jpg"):
        Image.fromarray(random.integers(0, 256, (80, 100, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def model(folder):
    return str(folder / "model.bin")


@pytest.fixture
def call(capsys):
    """Runs a command that has to succeed, and returns what it prints."""

    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        output = capsys.readouterr()
        assert (code, output.err) == (0, "")
        return json.loads(output.out) if "--json" in arguments else output.out

    return run


@pytest.fixture
def refused(capsys):
    """Runs a command that has to fail, and returns its message."""

    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        output = capsys.readouterr()
        assert code == 1 and output.out == ""
        assert output.err.startswith("mbinfer: error: ") and output.err.count("\n") == 1
        return output.err

    return run


def test_build_is_the_same_for_the_same_seed(call, tmp_path):
    arguments = ["build", "mobilenet_v1", "--width", 0.25, "--resolution", 32, "--classes", 3]
    one = call(*arguments, "--seed", 1, "-o", tmp_path / "1.bin", "--json")
    assert one == {"path": str(tmp_path / "1.bin"), "bytes": (tmp_path / "1.bin").stat().st_size}
    call(*arguments, "--seed", 1, "-o", tmp_path / "2.bin")
    call(*arguments, "--seed", 2, "-o", tmp_path / "3.bin")
    first, second, third = ((tmp_path / f"{i}.bin").read_bytes() for i in (1, 2, 3))
    assert first == second != third


def test_info(call, model):
    record = call("info", model, "--json")
    picture = {"name": "image", "shape": [1, 64, 64, 3], "dtype": "uint8", "scale": 0.0, "zero_point": 0}
    assert record["inputs"] == [picture]
    assert record["outputs"][0]["shape"] == [1, CLASSES]
    assert record["labels"] == [f"kind {i}" for i in range(CLASSES)]
    arena = record["arena_bytes"]
    assert arena["naive"] > arena["layerwise"] > arena["fused"] >= arena["fastest"] >= arena["least"] > 0
    text = call("info", model)
    assert "image [1, 64, 64, 3]" in text and "10: kind 0, kind 1" in text and "arena naive" in text


@pytest.mark.parametrize("schedule", cli.SCHEDULES)
def test_plan_is_consistent(call, model, schedule):
    record = call("plan", model, "--schedule", schedule, "--json")
    assert (
        record["schedule"] == schedule and record.get(f"{schedule}_bytes", record["peak_bytes"]) == record["peak_bytes"]
    )
    assert max(s["top_bytes"] for s in record["timeline"]) == record["peak_bytes"]
    assert len(record["timeline"]) == len(record["segments"])
    for segment in record["timeline"]:
        assert max(b["offset"] + b["bytes"] for b in segment["buffers"]) == segment["top_bytes"]
    text = call("plan", model, "--schedule", schedule)
    assert f"{record['peak_bytes']:,} bytes" in text and f"schedule {schedule}" in text
    for segment in record["segments"]:
        assert all(stage["name"] in text for stage in segment["stages"])


def test_plan_shortens_names_of_hundreds_of_characters(call, tmp_path):
    graph = small_network()
    for number, made in enumerate(graph.nodes):
        made.name = f"model/{'block/' * 40}{number}"
    mbinfer.model.save(graph, path := tmp_path / "long.bin")
    record, text = call("plan", path, "--json"), call("plan", path)
    names = [stage["name"] for segment in record["segments"] for stage in segment["stages"]]
    assert {made.name for made in graph.nodes} >= set(names) and not any(name in text for name in names)
    assert all(f"{name[-20:]} " in text for name in names)


def test_plan_takes_chunks_and_a_limit(call, refused, model):
    split = call("plan", model, "--schedule", "fused", "--chunks", 3, "--json")
    blocks = [s for segment in split["segments"] for s in segment["stages"] if s["kind"] == "bottleneck"]
    wide = [s for s in blocks if s["chunk"] * s["chunks"] >= 24]  # chunks are multiples of 8 channels
    assert len(wide) == 16 and all(stage["chunks"] == 3 for stage in wide)
    least = call("plan", model, "--memory-limit", "least", "--json")["peak_bytes"]
    assert call("plan", model, "--memory-limit", least, "--json")["peak_bytes"] <= least
    assert str(least) in refused("plan", model, "--memory-limit", least - 1).replace(",", "")


def words_of(path):
    return "\n".join(text.text for text in xml.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text"))


def test_plan_draws(call, model, tmp_path):
    record = call("plan", model, "--svg", tmp_path / "plan.svg", "--json")
    words = words_of(tmp_path / "plan.svg")
    assert "model.bin" in words and f"peak {record['peak_bytes']:,} bytes" in words


def test_plan_without_recompute(call, model):
    least, once = (
        call("plan", model, "--memory-limit", "least", "--json", *more) for more in ((), ("--no-recompute",))
    )
    assert once["extra_macs"] == 0 < least["extra_macs"] and least["peak_bytes"] < once["peak_bytes"]
    few = call("plan", model, "--memory-limit", "least", "--recompute", 4, "--json")
    assert 0 < few["extra_macs"] <= 0.04 * few["macs"] and least["peak_bytes"] < few["peak_bytes"] < once["peak_bytes"]


def test_plan_shows_one_segment_row_by_row(call, model, tmp_path):
    arguments = ["plan", model, "--memory-limit", "least", "--segment", 0]
    record = call(*arguments, "--svg", tmp_path / "segment.svg", "--json")
    step, heights = record["steps"][0], {value["name"]: value["height"] for value in record["values"]}
    assert step["first"] == 0 < step["end"] and all(rows["end"] <= heights[rows["value"]] for rows in step["live"])
    assert "segment 0" in words_of(tmp_path / "segment.svg") and "makes" in words_of(tmp_path / "segment.svg")
    text = call(*arguments)
    assert step["stage"] in text and f"{len(record['steps']) - 1}  " in text


def test_plan_sweeps(call, model, tmp_path):
    pytest.importorskip("matplotlib")
    record = call("plan", model, "--sweep", "--svg", tmp_path / "sweep.svg", "--png", tmp_path / "sweep.png", "--json")
    assert len(record["limits"]) >= 40
    assert record["points"][0]["peak_bytes"] == call("plan", model, "--memory-limit", "least", "--json")["peak_bytes"]
    assert set(record["marked"]) == {"least", "fused", "layerwise", "naive", "fastest"}
    assert "memory against work" in words_of(tmp_path / "sweep.svg")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    text = call("plan", model, "--sweep")
    assert all(str(p["peak_bytes"]) in text for p in record["points"]) and "naive" in text


def test_run(call, model, folder):
    pictures = [str(folder / "one.png"), str(folder / "two.jpg")]
    record = call("run", model, *pictures, "--json")
    assert [p["path"] for p in record["pictures"]] == pictures
    for made in record["pictures"]:
        probabilities = [t["probability"] for t in made["top"]]
        assert len(probabilities) == 5 and probabilities == sorted(probabilities, reverse=True)
    session = mbinfer.Session(model)
    logits = session.run(mbinfer.image.load(pictures[0], session.recipe, 64, 64)).ravel().astype(np.float64)
    best = record["pictures"][0]["top"][0]
    assert best["index"] == logits.argmax() and best["label"] == f"kind {logits.argmax()}"
    assert best["probability"] == pytest.approx(1 / np.exp(logits - logits.max()).sum())
    assert record["arena_bytes"] == session.plan.peak_bytes and record["naive_bytes"] == session.plan.naive_bytes

    lines = call("run", model, *pictures, "--top", 2).splitlines()
    assert [lines[0], lines[3]] == pictures and len(lines) == 7
    assert lines[1].endswith(best["label"]) and lines[1].strip().startswith(f"{100 * best['probability']:.2f} %")
    assert lines[6].startswith("arena ") and f"{record['ratio']:.1f} times" in lines[6]


def test_all_classes_sum_to_one_and_no_more_are_shown(call, model, folder):
    top = call("run", model, folder / "one.png", "--top", 99, "--json")["pictures"][0]["top"]
    assert len(top) == CLASSES and sum(t["probability"] for t in top) == pytest.approx(1)


def test_bench_measures_every_configuration_in_its_own_process(call, model, monkeypatch):
    """Every schedule if none is named, and every instruction set: one of the other each, as processes take time."""
    isas = mbinfer._core.isas()
    results = []
    for named, schedules, found in ("--isa", cli.SCHEDULES, isas[:1]), ("--schedule", cli.SCHEDULES[:1], isas):
        one = {"--isa": isas[0], "--schedule": cli.SCHEDULES[0]}[named]
        record = call("bench", model, named, one, "--threads", "1,2", "--runs", 2, "--json", "--profile")
        assert [(r["schedule"], r["isa"], r["threads"]) for r in record["results"]] == [
            (schedule, isa, threads) for schedule in schedules for isa in found for threads in (1, 2)
        ]
        results += record["results"]
    for result in results:
        latency = result["latency"]
        assert result["runs"] == 2
        assert 0 < latency["min"] <= latency["median"] <= latency["p90"] <= latency["p99"]
        monkeypatch.setenv("MBINFER_ISA", result["isa"])
        session = mbinfer.Session(model, schedule=result["schedule"], threads=result["threads"])
        assert (result["arena"], result["weights"]) == (session.plan.peak_bytes, session.plan.weight_bytes)
        assert sum(stage["macs"] for stage in result["profile"]) > 0 and result["peak"] > 0
        assert result["observed"]["growth"] is None or result["observed"]["growth"] > 0


def test_bench_measures_points_of_the_sweep(call, model):
    arguments = ["bench", model, "--sweep", 3, "--isa", mbinfer._core.isas()[0], "--runs", 2]
    results = call(*arguments, "--json")["results"]
    assert [r["runs"] for r in results] == [2, 2, 2] and results[0]["arena"] < results[1]["arena"] < results[2]["arena"]
    assert results[-1]["measured"] == 1 and results[0]["predicted"] > results[1]["predicted"] > results[2]["predicted"]
    assert results[0]["extra_percent"] > 0
    text = call(*arguments)
    assert "predicted" in text and "measured" in text


def test_bench_as_text(call, model):
    text = call("bench", model, "--schedule", "fused", "--isa", mbinfer._core.isas()[0], "--runs", 1, "--profile")
    assert "median" in text and "fused" in text and "GFLOP/s" in text and "of peak" in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux")
def test_memory_status_sees_an_allocation():
    measure.reset_high_water()
    before = measure.memory_status()
    with mmap.mmap(-1, 32 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # an array could lie where one lay
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        after = measure.memory_status()
    observed = measure.observed_memory(before, after, True)
    assert (31 << 20) < observed["anonymous"] < (36 << 20)


MISTAKES = {
    "no such model": (["info", "none.bin"], "none.bin"),
    "no model": (["info", "labels.txt"], "labels.txt"),
    "a folder": (["plan", "."], "."),
    "no picture": (["run", "model.bin", "labels.txt"], "labels.txt: not a picture"),
    "no such picture": (["run", "model.bin", "none.png"], "none.png: no such file"),
    "schedule": (["plan", "model.bin", "--schedule", "fast"], "fast"),
    "threads": (["plan", "model.bin", "--threads", "0"], "threads"),
    "limit": (["plan", "model.bin", "--memory-limit", "100"], "100"),
    "limit in words": (["plan", "model.bin", "--memory-limit", "little"], "little"),
    "chunks": (["plan", "model.bin", "--chunks", "-1"], "chunks"),
    "sweep and limit": (["plan", "model.bin", "--sweep", "--memory-limit", "least"], "--threads only"),
    "segment": (["plan", "model.bin", "--segment", "99"], "segment 99"),
    "bench sweep": (["bench", "model.bin", "--sweep", "0"], "1 or more"),
    "isa": (["bench", "model.bin", "--isa", "mmx"], "mmx"),
    "bench schedule": (["bench", "model.bin", "--schedule", "fast", "--runs", "1"], "fast"),
    "svg": (["plan", "model.bin", "--svg", "none/plan.svg"], "none/plan.svg"),
    "resolution": (["build", "mobilenet_v2", "--resolution", "8", "-o", "x.bin"], "resolution"),
    "dtype": (["build", "mobilenet_v2", "--width", "0.35", "--dtype", "float64", "-o", "x.bin"], "float64"),
    "weights": (["build", "mobilenet_v2", "--weights", "labels.txt", "-o", "x.bin"], "labels.txt"),
    "labels": (["build", "mobilenet_v1", "--labels", "labels.txt", "-o", "x.bin"], "10 labels for 1000 classes"),
    "labels no text": (["build", "mobilenet_v1", "--labels", "one.png", "-o", "x.bin"], "one.png: labels must be"),
    "output": (["build", "mobilenet_v2", "--width", "0.35", "-o", "none/x.bin"], "none/x.bin"),
    "no such source": (["convert", "none.onnx", "x.bin"], "none.onnx"),
    "no ONNX": (["convert", "labels.txt", "x.bin"], "labels.txt"),
    "half a recipe": (["convert", "none.onnx", "x.bin", "--crop", "0.9"], "--mean"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(folder, refused, monkeypatch, mistake):
    monkeypatch.chdir(folder)
    arguments, named = MISTAKES[mistake]
    assert named in refused(*arguments)
    assert not (folder / "x.bin").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run", "model.bin"],
        ["build", "resnet", "-o", "x.bin"],
        ["plan", "model.bin", "--threads", "many"],
        ["convert", "a", "b", "--mean", "1,x"],
    ],
)
def test_wrong_usage_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2 and "usage: mbinfer" in capsys.readouterr().err


def test_as_a_module_and_into_a_pipe_that_closes(folder, tmp_path):
    command = [sys.executable, "-m", "mbinfer"]
    path = {**os.environ, "PYTHONPATH": str(Path(mbinfer.__file__).parent.parent)}
    done = subprocess.run([*command, "info", "none.bin"], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("mbinfer: error: ")
    reading, writing = os.pipe()
    os.close(reading)
    command += ["plan", str(folder / "model.bin")]
    done = subprocess.run(command, cwd=tmp_path, env=path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_progress_speaks_only_to_a_terminal_and_only_after_a_while(monkeypatch, capsys):
    assert list(progress.progress([1, 2, 3], str)) == [1, 2, 3]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.progress(["a", "b"], str)) == ["a", "b"]
    shown = capsys.readouterr().err
    assert "0/2  a" in shown and "1/2  b" in shown and shown.endswith("\r\033[K")


def test_names_of_a_file_do_not_reach_the_terminal_as_they_are(folder, call, refused):
    """Escape sequences, line ends and marks of direction in labels, names and metadata are printed as letters."""
    evil = "\x1b[2J\n99 %\u202egnp.exe"
    graph = small_network()
    graph.labels = [f"{evil}{i}" for i in range(10)]
    graph.metadata = {evil: evil}
    for stage in graph.nodes:
        stage.name += evil
    graph.outputs[0].name += evil
    path = folder / "evil.bin"
    mbinfer.model.save(graph, path)
    escaped = evil.encode("unicode_escape").decode()
    for command in (["run", path, folder / "one.png"], ["info", path], ["plan", path], ["plan", path, "--segment", 0]):
        printed = call(*command)
        assert escaped in printed and "\x1b" not in printed and "\u202e" not in printed, command
    data = Records(path.read_bytes())
    data.node["kernel_h"][0] = 0
    path.write_bytes(data.encode())
    assert escaped.replace("\\n", " ") in refused("info", path)  # an error is one line


def test_convert_cuts_at_outputs_and_overrides_sizes(call, refused, tmp_path):
    shape = "1,3,8,8"
    onnx.save(make(node("Conv", "x", "w", to="a"), node("Sin", "a"), w=W, shape=(2, 3, 9, 9)), tmp_path / "m.onnx")
    assert "outputs=['a']" in refused("convert", tmp_path / "m.onnx", tmp_path / "m.bin", "--input-shape", shape)
    call("convert", tmp_path / "m.onnx", tmp_path / "m.bin", "--input-shape", shape, "--outputs", "a")
    assert mbinfer.Session(tmp_path / "m.bin").outputs[0].shape == (1, 6, 6, 4)
