"""Text and pictures of plans: from a plan made by hand, and every shape of real ones at its place to scale."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as xml
from dataclasses import replace
from types import SimpleNamespace

import pytest

import mbinfer
from mbinfer import model, zoo
from mbinfer.plan import Buffer, Pass, Segment, Stage, TimelineStep
from mbinfer.show import canvas, sweep, text, timeline

SVG = "{http://www.w3.org/2000/svg}"


def buffer(name, kind, offset, count, first, last=None):
    return Buffer(name, kind, offset, count, 2, first, first if last is None else last)


def session():
    kept, b = buffer("a<1>", "value", 0, 4096, 0, 2), buffer("b", "value", 4096, 4096, 1, 2)
    scratch = [buffer("scratch", "scratch", 8192, 64, segment) for segment in (0, 1)]
    timeline = (
        TimelineStep(0, "a", (kept, scratch[0]), 4160, 8256),
        TimelineStep(1, "b", (kept, b, scratch[1]), 8256, 8256),
        TimelineStep(2, "c", (kept, b, buffer("c", "ring", 8192, 128, 2)), 8320, 8320),
    )
    stage = Stage(
        name="a",
        kind="conv",
        nodes=("a",),
        inputs=("x",),
        output="a<1>",
        output_shape=(8, 8, 16),
        rows=4,
        step=4,
        chunk=0,
        chunks=1,
        keep=False,
        ring_rows=8,
        macs=10,
        extra_macs=0,
        scratch_bytes=64,
        bytes=256,
        passes=(Pass(("conv",), "pixels"),),
        why="",
    )
    block = replace(stage, name="b", kind="bottleneck", output="b", step=3, chunk=32, chunks=3, keep=True, extra_macs=3)
    ring = replace(stage, name="c", output="c", ring_rows=2, why="its input has two readers")
    plan = SimpleNamespace(
        schedule="streamed",
        peak_bytes=8320,
        input_bytes=192,
        input_rows=(5,),
        weight_bytes=1 << 21,
        naive_bytes=20000,
        layerwise_bytes=9000,
        fused_bytes=8900,
        lower_bound_bytes=8192,
        macs=30,
        extra_macs=3,
        moved_bytes=4096,
        state_bytes=0,
        shortcuts=("order",),
        timeline=timeline,
        segments=tuple(Segment((s,)) for s in (stage, block, ring)),
    )
    return SimpleNamespace(plan=plan, threads=2, isa="avx2", inputs=[mbinfer.TensorInfo("x", (1, 8, 8, 3), "uint8")])


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("draw") / "model.bin"
    model.save(zoo.mobilenet_v2(0.35, 96, 10), path)
    return path


def shapes(picture, hint):
    """The rectangles of an SVG document whose hint starts so: x, y, width and height of each."""
    found = []
    for rect in xml.fromstring(picture.svg()).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None and title.text.startswith(hint):
            found.append(tuple(float(rect.get(k)) for k in ("x", "y", "width", "height")))
    return found


def words(picture):
    return "\n".join(text.text for text in xml.fromstring(picture.svg()).iter(f"{SVG}text"))


def test_size():
    assert [text.size(n) for n in (0, 1023, 1024, 83251, 1 << 20, 28_000_000)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "81.3 KiB",
        "1.00 MiB",
        "26.70 MiB",
    ]


def test_table_aligns_numbers_to_the_right():
    assert text.table(("name", "n"), [("a", 1), ("long one", 100), ("b", None)]) == (
        "name        n\na           1\nlong one  100\nb"
    )


def test_plan_text_says_all_there_is():
    said = text.plan_text(session(), "m.bin")
    for wanted in (
        "m.bin: schedule streamed, threads 2, avx2",
        "8,320 bytes",
        "32 x 3",
        "keep",
        "8x8x16",
        "4 rows",
        "3 rows",
        "2 rows",
        "30.0 %",
        "c: its input has two readers",
        "30 MACs",
        "and 3 again, 10.0 %",
        "lower bound",
        "120 bytes  5 rows, held by run_rows",
        "4,096 bytes  of values that change their place",
    ):
        assert wanted in said


def test_bench_text():
    result = {
        "schedule": "fused",
        "isa": "avx2",
        "threads": 1,
        "runs": 9,
        "arena": 8320,
        "weights": 1 << 21,
        "latency": {"min": 0.001, "median": 0.002, "p90": 0.003, "p99": 0.004},
        "observed": {"growth": None, "anonymous": None, "file": None, "reset": False},
        "profile": [{"stage": "a", "kind": "conv", "seconds": 0.001, "macs": 2000000, "bytes": 64}],
        "peak": 8e9,
    }
    said = text.bench_text([result])
    assert "1.000   2.000  3.000  4.000" in said and "did not let VmHWM" in said
    assert "peak 16.0 GFLOP/s" in said and "4.0     25 %" in said
    said = text.bench_text([{**result, "extra_percent": 4.5, "predicted": 1.25, "measured": 1.31}])
    assert "4.50 %" in said and "1.250" in said and "1.310" in said


def test_timeline_shows_every_buffer_once_at_its_place_to_scale():
    picture = timeline.timeline(session(), "m&m.bin")
    a, b, c = (shapes(picture, name) for name in ("a<1>", "b", "c"))
    assert [len(shapes(picture, name)) for name in ("a<1>", "scratch", "b", "c")] == [1, 2, 1, 1]
    (_, ay, aw, ah), (_, by, bw, bh) = a[0], b[0]
    assert ah == pytest.approx(bh, abs=0.1) and by + bh == pytest.approx(ay, abs=0.1)  # b lies on top of a
    assert aw / bw == pytest.approx(3 / 2, abs=0.02)  # a lives three segments, b two
    assert "m&m.bin" in words(picture) and "peak 8,320 bytes" in words(picture) and "naive 19.5 KiB" in words(picture)


def test_timeline_hatches_slides_and_points_at_moves(mobilenet):
    for limit in ("least", "30KiB", "40KiB", "48KiB"):
        plan = mbinfer.Session(mobilenet, memory_limit=limit)
        drawn = timeline.timeline(plan, "m")
        buffers = timeline.rectangles(plan.plan.timeline)
        values = [b for b in buffers if b.kind == "value"]
        shared = [
            (a, b)
            for i, a in enumerate(values)
            for b in values[:i]
            if a.first <= b.last
            and b.first <= a.last
            and a.offset < b.offset + b.bytes
            and b.offset < a.offset + a.bytes
        ]
        hatched = [shape for _, shape in drawn.shapes if shape.get("hatch")]
        assert shared and len(hatched) == len(shared) + 1  # and the legend's
        assert ("value moved" in words(drawn)) == (plan.plan.moved_bytes > 0)


def test_a_segment_shows_each_row_while_it_lives(mobilenet):
    plan = mbinfer.Session(mobilenet, memory_limit="least")
    longest = max(range(len(plan.plan.segments)), key=lambda g: len(plan.plan.segments[g].stages))
    trace = plan.plan.trace(longest)
    rows = list(timeline.row_lives(trace.steps))
    for value in trace.values:
        mine = [life for life in rows if life[0] == value.name]
        assert {row for _, row, _, _ in mine} == set(range(value.height))
        for _, row, begin, end in mine:  # no other row lies in its place of the ring while it lives
            for _, other, since, until in mine:
                assert other == row or other % value.rows != row % value.rows or until <= begin or end <= since
    picture = timeline.segment(plan, longest, "m")
    assert len(shapes(picture, "row ")) == len(rows)
    assert any(value.rows < value.height for value in trace.values) and "ring of" in words(picture)
    said = text.trace_text(trace, "m")
    assert all(value.name in said for value in trace.values) and said.count("\n") > len(trace.steps)


def test_live_rows_of_different_values_never_share_a_place(mobilenet):
    for limit in ("least", "40KiB", None):
        plan = mbinfer.Session(mobilenet, memory_limit=limit)
        for segment in range(len(plan.plan.segments)):
            trace = plan.plan.trace(segment)
            values = {value.name: value for value in trace.values}
            for step in trace.steps:
                taken = {}
                for live in step.live:
                    v = values[live.value]
                    for row in range(live.first, live.end):
                        at = v.offset + row % v.rows * v.row_bytes
                        taken[at, at + v.row_bytes] = (v.name, row)
                ranges = sorted(taken)
                # A row may be made over the row that it is made from, at a kernel's own risk, which the checker judges.
                close = [(a, b) for a, b in zip(ranges, ranges[1:]) if a[1] > b[0]]
                made = set(range(step.first, step.end))
                assert all(taken[a][1] in made or taken[b][1] in made for a, b in close)


def test_the_sweep_and_its_picture(mobilenet):
    result = sweep.sweep(mobilenet, points=12)
    points, marked = result["points"], result["marked"]
    assert len(result["limits"]) == 12 and 3 < len(points) <= 14
    for p, after in zip(points, points[1:]):
        assert p["peak_bytes"] < after["peak_bytes"] and p["cycles"] > after["cycles"]
    assert (
        points[0]["peak_bytes"]
        == marked["least"]["peak_bytes"]
        < marked["fused"]["peak_bytes"]
        < marked["naive"]["peak_bytes"]
    )
    assert all(p["limit"] is None or p["peak_bytes"] <= p["limit"] for p in points)
    assert marked["fastest"]["times_fastest"] == 1 and marked["least"]["times_fastest"] > 1
    assert [len(sweep.spread(points, n)) for n in (1, 2)] == [1, 2] and sweep.spread(points, 1) == points[-1:]
    picture = sweep.picture(result, "m")
    assert {"layerwise", "naive", "fused (the paper)", "bytes of arena"} <= set(words(picture).splitlines())
    dots = list(xml.fromstring(picture.svg()).iter(f"{SVG}circle"))
    assert len(dots) == 2 * (len(points) + 3)
    said = text.sweep_text(result, "m")
    assert all(f"{p['peak_bytes']}" in said for p in [*points, *marked.values()]) and "layerwise" in said


def test_a_png_of_the_same_picture(mobilenet, tmp_path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    picture = timeline.timeline(mbinfer.Session(mobilenet, memory_limit="least"), "100 $ of <rows> & more")
    picture.save_png(str(tmp_path / "plan.png"))
    with image.open(tmp_path / "plan.png") as png:
        assert (
            png.size == (round(2 * picture.width), round(2 * picture.height))
            and len(png.convert("RGB").getcolors(1 << 24)) > 20
        )


def test_a_png_without_matplotlib_is_refused_with_what_would_help(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(mbinfer.Error, match=r"mbinfer\[plot\]"):
        canvas.Canvas(10, 10, "m").save_png(str(tmp_path / "x.png"))
