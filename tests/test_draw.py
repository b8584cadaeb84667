"""Sizes, tables and the timeline picture, from a plan made by hand."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from types import SimpleNamespace

from mbinfer import draw

SVG = "{http://www.w3.org/2000/svg}"


def buffer(name, kind, offset, count):
    return {"name": name, "kind": kind, "offset": offset, "bytes": count, "rows": 0}


def session():
    kept, scratch = buffer("a<1>", "value", 0, 4096), buffer("scratch", "scratch", 8192, 64)
    timeline = [
        {"segment": 0, "name": "a<1>", "buffers": [kept, scratch], "live_bytes": 4160, "top_bytes": 8256},
        {"segment": 1, "name": "b", "buffers": [kept, buffer("b", "value", 4096, 4096), scratch], "live_bytes": 8256,
         "top_bytes": 8256},
        {"segment": 2, "name": "c", "buffers": [kept, buffer("b", "value", 4096, 4096), buffer("c", "ring", 8192, 128)],
         "live_bytes": 8320, "top_bytes": 8320},
    ]  # fmt: skip
    stage = {"name": "a", "kind": "conv", "nodes": ["a"], "input": ["x"], "output": "a<1>", "rows": 4, "chunk": 0,
             "chunks": 1, "keep": False, "macs": 10, "extra_macs": 0, "scratch_bytes": 64, "output_shape": (8, 8, 16),
             "why": ""}  # fmt: skip
    block = {**stage, "name": "b", "kind": "bottleneck", "output": "b", "chunk": 32, "chunks": 3, "keep": True}
    last = {**stage, "name": "c", "output": "c", "why": "its input has two readers"}
    plan = SimpleNamespace(
        schedule="fused", peak_bytes=8320, input_bytes=192, weight_bytes=1 << 21, naive_bytes=20000,
        layerwise_bytes=9000, fused_bytes=8320, lower_bound_bytes=8192, macs=30, extra_macs=3, timeline=timeline,
        segments=[{"stages": [stage]}, {"stages": [block]}, {"stages": [last]}],
    )  # fmt: skip
    return SimpleNamespace(plan=plan, threads=2, isa="avx2")


def test_size():
    assert [draw.size(n) for n in (0, 1023, 1024, 83251, 1 << 20, 28_000_000)] == [
        "0 B", "1023 B", "1.0 KiB", "81.3 KiB", "1.00 MiB", "26.70 MiB"]  # fmt: skip


def test_table_aligns_numbers_to_the_right():
    assert draw.table(("name", "n"), [("a", 1), ("long one", 100), ("b", None)]) == (
        "name        n\na           1\nlong one  100\nb")


def test_a_value_is_one_rectangle_and_scratch_one_for_each_segment():
    found = [(r["name"], r["first"], r["last"]) for r in draw.rectangles(session().plan.timeline)]
    assert found == [("a<1>", 0, 2), ("scratch", 0, 0), ("b", 1, 2), ("scratch", 1, 1), ("c", 2, 2)]


def test_timeline_svg_shows_every_buffer_at_its_place_to_scale():
    root = xml.fromstring(draw.timeline_svg(session(), "m&m.bin"))
    shown = {}
    for rect in root.iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            shown.setdefault(title.text.split(" (")[0], []).append({k: float(rect.get(k)) for k in
                                                                    ("x", "y", "width", "height")})  # fmt: skip
    assert {name: len(rects) for name, rects in shown.items()} == {"a<1>": 1, "scratch": 2, "b": 1, "c": 1}
    a, b = shown["a<1>"][0], shown["b"][0]
    assert abs(a["height"] - b["height"]) < 0.2 and abs(b["y"] + b["height"] - a["y"]) < 0.2  # b lies on top of a
    assert abs(a["width"] / b["width"] - 3 / 2) < 0.02  # a lives three segments, b two
    words = "".join(text.text for text in root.iter(f"{SVG}text"))
    assert "m&m.bin" in words and "peak 8,320 bytes" in words and "naive 19.5 KiB" in words


def test_plan_text_says_all_there_is():
    text = draw.plan_text(session(), "m.bin")
    for words in ("m.bin: schedule fused, threads 2, avx2", "8,320 bytes", "32 x 3", "keep", "8x8x16", "4 rows",
                  "c: its input has two readers", "30 MACs", "and 3 repeated", "lower bound"):  # fmt: skip
        assert words in text


def test_bench_text():
    result = {"schedule": "fused", "isa": "avx2", "threads": 1, "runs": 9, "arena": 8320, "weights": 1 << 21,
              "latency": {"min": 0.001, "median": 0.002, "p90": 0.003, "p99": 0.004},
              "observed": {"growth": None, "anonymous": None, "file": None, "reset": False},
              "profile": [{"stage": "a", "kind": "conv", "seconds": 0.001, "macs": 2000000, "bytes": 64}]}  # fmt: skip
    text = draw.bench_text([result])
    assert "1.000   2.000  3.000  4.000" in text and "did not let VmHWM" in text and "2.00" in text
