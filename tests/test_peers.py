"""The comparison with other engines: its ONNX form, its arithmetic, and its adapters where engines are installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mbinfer import zoo
from mbinfer.build import GraphBuilder
from mbinfer.quantize import noise, quantize

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def peers(load_benchmark):
    return load_benchmark("peers")


@pytest.fixture(scope="module")
def network(peers, tmp_path_factory):
    """A small graph and a folder with what `write_network` makes of it."""
    folder = tmp_path_factory.mktemp("network")
    graph = zoo.mobilenet_v2(width=0.35, resolution=32, classes=10, seed=0)
    peers.write_network(graph, folder)
    return graph, folder


def test_the_onnx_network_takes_channels_first(network):
    _, folder = network
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.shape == [1, 3, 32, 32]
    (logits,) = session.run(None, {image.name: np.load(folder / "image.npy").transpose(0, 3, 1, 2)})
    expected = np.load(folder / "logits.npy")
    assert logits.shape == expected.shape == (1, 10)
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


# The others that CI may have take their time to import or to compile.
@pytest.mark.parametrize("name", ["mbinfer", "onnxruntime", "LiteRT + XNNPACK", "ncnn", "ncnn, fp16 storage", "MNN"])
def test_an_engine_agrees(peers, network, name):
    graph, folder = network
    engine = peers.registry()[name]
    if not all(importlib.util.find_spec(module.split(".")[0]) for module in engine.imports):
        pytest.skip(f"needs {', '.join(engine.packages)}")
    engine.prepare(graph, folder, 1)
    run, expected = engine.open(folder, np.load(folder / "image.npy"), 1), np.load(folder / "logits.npy")
    logits = run()
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() <= engine.tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name", ["mbinfer", "onnxruntime", "onnxruntime, S8S8", "LiteRT + XNNPACK"])
def test_an_engine_runs_an_int8_network(peers, name, tmp_path):
    """Few layers, so that numbers that are rounded another way move few others."""
    net = GraphBuilder(np.random.default_rng(0), (16, 16, 8))
    net.graph.inputs = {"image": None}
    net.graph.values = {"image": (16, 16, 8)}
    act = ("clamp", (0.0, 6.0)) if name.startswith("LiteRT") else ("hard_swish", (-np.inf, np.inf))
    value = net.add("conv", ["image"], 16, act, kernel=(3, 3), stride=(2, 2))
    value = net.add("depthwise", [value], act=("clamp", (0.0, 6.0)), kernel=(3, 3), pads=(1, 1, 1, 1))
    value = net.add("add", [value, net.add("conv", [value], 16)])
    net.output(net.add("conv", [net.add("global_avg_pool", [value])], 10), (1, 10), "logits")
    graph = quantize(net.graph, noise(net.graph))
    peers.write_network(graph, tmp_path)
    engine = peers.registry()[name]
    if not all(importlib.util.find_spec(module.split(".")[0]) for module in engine.imports):
        pytest.skip(f"needs {', '.join(engine.packages)}")
    engine.prepare(graph, tmp_path, 1)
    run, expected = engine.open(tmp_path, np.load(tmp_path / "image.npy"), 1), np.load(tmp_path / "logits.npy")
    assert np.abs(run() - expected).max() <= 1.01 * graph.types[graph.nodes[-1].inputs[0]].scale


def test_the_converter_of_mnn_runs_without_its_telemetry(peers, tmp_path, monkeypatch):
    """`import MNN.tools.mnnconvert` installs a client for telemetry by pip, unasked."""
    (tmp_path / "MNN" / "tools").mkdir(parents=True)
    (tmp_path / "MNN" / "__init__.py").touch()
    (tmp_path / "MNN" / "tools" / "__init__.py").write_text("raise SystemExit('imported, and installs packages')")
    (tmp_path / "_tools.py").write_text(
        "def mnnconvert(words): open(words[words.index('--MNNModel') + 1], 'w').close()"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    peers.registry()["MNN"].prepare(None, tmp_path, 1)
    assert (tmp_path / "model.mnn").exists()


def row(engine, index, milliseconds, peak_memory=1e6):
    return {
        "network": "v2_035_96",
        "engine": engine,
        "round": index,
        "median": milliseconds / 1e3,
        "half": False,
        "min": milliseconds / 2e3,
        "first": 0.01,
        "cold": 2 * milliseconds / 1e3,
        "cores": 1.0,
        "peak_memory": peak_memory,
        "anonymous_memory": 5e5,
        "gflops_peak": 100.0,
        "error": 0.0,
    }


def test_ratios_are_to_the_fastest_peer_of_each_round(peers):
    rows = [
        row("mbinfer", 0, 1, 2e6),
        row("a", 0, 2),
        row("b", 0, 4),
        row("mbinfer", 1, 6, 2e6),
        row("a", 1, 10),
        row("b", 1, 8),
        row("mbinfer", 2, 1, 2e6),
        row("a", 2, 1),
        row("b", 2, 2),
    ]
    ours, a, b = peers.summarise(rows, {"v2_035_96": 50_000_000})
    assert (ours["ratio"], a["ratio"], b["ratio"]) == (0.75, 1, 2)  # of 1/2, 6/8, 1/1; 1, 10/8, 1; 2, 1, 2
    assert ours["median"] == 1e-3 and ours["minimum"] == 0.5e-3 and ours["rounds"] == 3
    assert ours["memory_ratio"] == 2 and ours["cold_ratio"] == 2
    assert ours["of_peak"] == pytest.approx(1)  # 100 million operations in a millisecond
    report = {
        "summary": [ours, a, b],
        "networks": ["v2_035_96"],
        "macs": {"v2_035_96": 50_000_000},
        "threads": 1,
        "dtype": "float32",
        "clock": "wall",
        "machine": "a machine",
        "date": "2026-01-02",
        "isas": {"a": "avx9"},
        "peaks": {"512-bit": 99.0},
        "rounds": 3,
        "versions": {"mbinfer": "1", "a": "2", "b": "3"},
        "missing": {"c": "not installed"},
        "failures": {"v2_035_96": {"d": "why"}},
    }
    text = peers.markdown(report)
    assert "time 0.75, load to first result 1.00, most memory 2.00" in text
    for words in (
        "| **mbinfer 1** | ██",
        "c (not installed)",
        "d on MobileNetV2 0.35@96 (why)",
        "a: avx9",
        "99 in 512",
    ):
        assert words in text


def test_the_short_table_keeps_every_machine(load_benchmark, peers, tmp_path):
    report = load_benchmark("peers_report")
    base = {"networks": ["v2_035_96"], "versions": {"mbinfer": "1", "a": "2"}, "date": "2026-01-02"}

    def measured(machine, threads, ours, peer):
        rows = [row("mbinfer", 0, ours), row("a", 0, peer)]
        summary = peers.summarise(rows, {"v2_035_96": 50_000_000})
        return {**base, "machine": machine, "dtype": "int8", "threads": threads, "summary": summary, "rows": rows}

    for made in (("old", 1, 2, 4), ("new", 1, 9, 9), ("new", 2, 3, 2), ("new", 1, 1, 2)):
        kept = report.store(measured(*made), tmp_path / "peers.json")
    assert kept == json.loads((tmp_path / "peers.json").read_text())
    text = report.compact(kept)
    assert text.index("**old**") < text.index("**new**") and "9.00" not in text
    for line in (
        "| MobileNetV2 0.35@96, int8 | 0.50 | **2.00** | 4.00 |",
        "| MobileNetV2 0.35@96, int8 | 0.50 | **1.00** | 2.00 |",
        "| MobileNetV2 0.35@96, int8, 2 threads | 1.50 | 3.00 | **2.00** |",
    ):
        assert line in text


def test_the_documents_are_of_what_is_stored(load_benchmark):
    report = load_benchmark("peers_report")
    stored = json.loads(report.STORE.read_text())
    assert report.compact(stored) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(report.markdown(one) in report.DOCUMENT.read_text(encoding="utf-8") for one in stored)


def test_without_peers_there_is_no_ratio(peers):
    (ours,) = peers.summarise([row("mbinfer", 0, 1)], {"v2_035_96": 1})
    assert ours["ratio"] is None


def test_the_command(peers, tmp_path):
    command = [
        sys.executable,
        peers.__file__,
        "--networks",
        "v2_035_96",
        "--engines",
        "mbinfer",
        "onnxruntime",
        "--rounds",
        "1",
        "--seconds",
        "0.05",
        "--json",
        str(tmp_path / "report.json"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["failures"]["v2_035_96"] and {r["engine"] for r in report["rows"]} == {"mbinfer", "onnxruntime"}
    for measured in report["rows"]:
        assert 0 < measured["min"] <= measured["median"] and measured["error"] < 1e-3 and measured["gflops_peak"] > 1
    assert "| **mbinfer" in done.stdout
