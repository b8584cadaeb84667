"""Plans: every limit gives the same bits in exactly the bytes promised, and the frontier lies where it was promised."""

from __future__ import annotations

import hooks
import numpy as np
import pytest
from graphs import GraphBuilder, random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import random_inputs

import mbinfer
from mbinfer import model, zoo
from mbinfer.quantize import noise, quantize

KIB = 1024
COARSENESS = 1.015  # by the cost model, of the plan that is made without a search, where memory is no concern
# Networks at 224 (and 96, 144): arena bytes by the tables of the issues, planning only.
NETWORKS = {
    "V2 1.0@224": (zoo.mobilenet_v2, 1.0, 224),
    "V2 1.4@224": (zoo.mobilenet_v2, 1.4, 224),
    "V2 0.35@144": (zoo.mobilenet_v2, 0.35, 144),
    "V2 0.35@96": (zoo.mobilenet_v2, 0.35, 96),
    "V1 1.0@224": (zoo.mobilenet_v1, 1.0, 224),
}
FRONTIER = [  # network, extra multiply-adds in per cent, KiB that must do
    ("V2 1.0@224", 0, 482),
    ("V2 1.0@224", 5, 241),
    ("V2 1.0@224", 12, 173),
    ("V2 1.0@224", 25, 150),
    ("V2 1.4@224", 0, 671),
    ("V2 1.4@224", 5, 342),
    ("V2 1.4@224", 12, 244),
    ("V2 1.4@224", 25, 205),
    ("V2 0.35@144", 0, 104),
    ("V2 0.35@144", 5, 61),
    ("V2 0.35@144", 12, 51),
    ("V2 0.35@144", 25, 43),
    ("V2 0.35@96", 0, 61),
    ("V2 0.35@96", 5, 36.1),
    ("V2 0.35@96", 12, 29.5),
    ("V2 0.35@96", 25, 26.5),
    ("V1 1.0@224", 0, 860),
    ("V1 1.0@224", 5, 829),
]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Opens a plan of one of NETWORKS; the file is written when it is first asked for."""
    folder = tmp_path_factory.mktemp("networks")

    def plan(name, **options):
        path = folder / f"{name}.bin"
        if not path.exists():
            make, width, resolution = NETWORKS[name]
            model.save(make(width, resolution), path)
        return mbinfer.Session(path, **options)

    return plan


@pytest.mark.parametrize(
    ("name", "limit", "peak", "moved"),
    [("V2 0.35@96", None, 126, 0), ("V2 1.0@224", "least", 149.4, 196), ("V1 1.0@224", "least", 828.4, 1960)],
)
def test_values_move_only_where_there_is_no_room_beside_them(networks, monkeypatch, name, limit, peak, moved):
    monkeypatch.setenv("MBINFER_ISA", "reference")  # whose costs choose the plan
    plan = networks(name, memory_limit=limit).plan
    assert plan.peak_bytes <= peak * KIB
    assert plan.moved_bytes <= moved * KIB


def open_session(path, isa="", **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MBINFER_ISA", isa)
        return mbinfer.Session(path, **options)


def bits(outputs):
    return [
        (name, array.tobytes()) for name, array in (outputs if isinstance(outputs, dict) else {"": outputs}).items()
    ]


# --- random graphs ---

EXAMPLES = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@EXAMPLES
@given(
    graph=random_graph(),
    threads=st.integers(1, 3),
    share=st.floats(0, 1),
    chunks=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_every_plan_of_a_random_graph(tmp_path, graph, threads, share, chunks, seed):
    path, inputs = tmp_path / "graph.bin", random_inputs(graph, seed)
    model.save(graph, path)
    expected = bits(open_session(path, "reference", schedule="naive").run(**inputs))
    least = mbinfer.Session(path, threads=threads, memory_limit="least").plan.peak_bytes
    naive, layerwise, fused = (
        mbinfer.Session(path, threads=threads, schedule=s).plan.peak_bytes for s in ("naive", "layerwise", "fused")
    )
    streamed = mbinfer.Session(path, threads=threads, schedule="streamed").plan.peak_bytes
    assert least <= streamed <= fused <= layerwise <= naive
    limit = least + int(share * (fused - least))
    ways = [
        {"memory_limit": least},
        {"memory_limit": limit},
        {"memory_limit": limit, "recompute": False},
        {},
        {"schedule": "streamed"},
        {"schedule": "layerwise"},
        {"schedule": "fused", "chunks": chunks},
    ]
    for options in ways:
        try:
            session = open_session(path, threads=threads, **options)
        except mbinfer.MemoryLimitError as error:
            assert options.get("recompute") is False and error.limit == limit < error.needed
            continue
        assert hooks.check(session) == "", options
        assert session.plan.peak_bytes <= options.get("memory_limit", naive)
        assert session.plan.lower_bound_bytes <= session.plan.peak_bytes
        for _ in range(2):  # the second time over what the first left in the arena
            assert bits(session.run(**inputs)) == expected, options
        assert hooks.canaries_intact(session), options
        again = open_session(path, threads=threads, **options)
        assert again.plan == session.plan and again.plan.json() == session.plan.json()
    for schedule, peak in ("auto", least), ("layerwise", layerwise), ("fused", fused), ("streamed", streamed):
        assert mbinfer.Session(path, threads=threads, schedule=schedule, memory_limit=peak).plan.peak_bytes <= peak
    with pytest.raises(mbinfer.MemoryLimitError) as refused:
        mbinfer.Session(path, threads=threads, memory_limit=least - 1)
    assert (refused.value.needed, refused.value.limit) == (least, least - 1)


def test_a_segment_slides_over_an_input_that_a_later_stage_adds(tmp_path):
    net = GraphBuilder(np.random.default_rng(0), (2, 2, 1))
    added = net.add("add", [net.add("depthwise", ["input"]), "input"])
    net.output(net.add("depthwise", [added]))
    model.save(net.graph, tmp_path / "graph.bin")
    least, streamed = (
        mbinfer.Session(tmp_path / "graph.bin", **way).plan.peak_bytes
        for way in ({"memory_limit": "least"}, {"schedule": "streamed"})
    )
    assert 256 == least <= streamed  # the input, a row of either value in between, and nothing for the output


def towers(count: int) -> GraphBuilder:
    """Blocks of which each is added to a shortcut that is made after it: one, then several branches side by side."""
    net, relu = GraphBuilder(np.random.default_rng(0), (16, 16, 3)), ("clamp", (0.0, np.inf))

    def block(value: str, channels: int, widen: bool) -> str:
        made = net.add("conv", [value], 16, relu)
        made = net.add("depthwise", [made], act=relu, kernel=(3, 3), stride=(2, 2), pads=(1,) * 4)
        made = net.add("conv", [made], channels)
        shortcut = net.add("max_pool", [value], kernel=(2, 2), stride=(2, 2))
        shortcut = net.add("conv", [shortcut], channels) if widen else shortcut
        return net.add("add", [shortcut, made], act=relu)

    trunk = block(net.add("conv", ["input"], 16, relu, kernel=(3, 3), pads=(1,) * 4), 32, True)
    tips = [trunk] * count
    for _ in range(2):
        tips = [block(tip, 32, False) for tip in tips]
    for tip in tips:
        net.output(tip)
    return net


@pytest.mark.parametrize("count", [2, 3, 6])
def test_an_order_that_is_cut_short_makes_what_is_added_first(tmp_path, count):
    """A block stands where its first node does, before its shortcut: the graph's own order of stages would not run."""
    graph = towers(count).graph
    path, inputs = tmp_path / "towers.bin", random_inputs(graph)
    model.save(graph, path)
    expected, cut_short = bits(mbinfer.Session(path, schedule="naive").run(**inputs)), False
    for options in ({"schedule": "fused"}, {"schedule": "streamed"}, {}, {"memory_limit": "least"}):
        session = mbinfer.Session(path, **options)
        cut_short = cut_short or "order" in session.plan.shortcuts
        assert hooks.check(session) == ""
        assert bits(session.run(**inputs)) == expected, options
    assert cut_short, "the search for an order was to be cut short"


def test_rows_that_see_padding_only_keep_nothing(tmp_path):
    net = GraphBuilder(np.random.default_rng(0), (3, 15, 8))
    value = net.add("depthwise", ["input"])
    value = net.add("depthwise", [net.add("add", [value, value])], pads=(1, 0, 2, 0))
    value = net.add("depthwise", [net.add("conv", [value], 24)], kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    net.output(net.add("conv", [value], 13))
    model.save(net.graph, tmp_path / "graph.bin")
    session = mbinfer.Session(tmp_path / "graph.bin", memory_limit="least")
    assert hooks.check(session) == "" and session.plan.peak_bytes <= 6400


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("behind", ["nothing", "dense", "filtered"])
def test_a_pool_of_the_whole_map_takes_it_row_by_row(tmp_path, dtype, behind):
    """What makes the map keeps some rows of it, which no block has to expand for that."""
    net, same = GraphBuilder(np.random.default_rng(0), (32, 24, 8)), {"kernel": (3, 3), "pads": (1,) * 4}
    value = net.add("conv", [net.add("depthwise", ["input"], **same)], 64)
    value = net.add("depthwise", [value], **same) if behind == "filtered" else value
    value = net.add("global_avg_pool", [value])
    net.output(net.add("conv", [value], 5) if behind == "dense" else value)
    graph = net.graph if dtype == "float32" else quantize(net.graph, noise(net.graph, 2))
    path, inputs = tmp_path / "graph.bin", random_inputs(net.graph)
    model.save(graph, path)
    whole = 32 * 24 * 64 * (4 if dtype == "float32" else 1)
    expected = bits(mbinfer.Session(path, schedule="naive").run(**inputs))
    for threads in (1, 2):
        session = mbinfer.Session(path, memory_limit="least", threads=threads)
        assert hooks.check(session) == "" and session.plan.peak_bytes < whole / 4
        assert bits(session.run(**inputs)) == expected and hooks.canaries_intact(session)


# --- sweeps of the zoo ---


def sweep(plan, count, **options):
    """Sessions for `count` limits from the least arena to the fastest plan's."""
    low, high = (plan(memory_limit=limit, **options).plan.peak_bytes for limit in ("least", None))
    for limit in np.geomspace(low, max(low, high), count).astype(int).tolist():
        session = plan(memory_limit=limit, **options)
        assert low <= session.plan.peak_bytes <= limit
        yield session


@pytest.mark.parametrize(
    ("make", "width", "resolution"),
    [
        (zoo.mobilenet_v2, 1.0, 64),
        (zoo.mobilenet_v2, 0.35, 96),
        (zoo.mobilenet_v2, 0.75, 33),
        (zoo.mobilenet_v1, 0.5, 64),
    ],
)
def test_every_plan_of_a_sweep_gives_the_same_bits_within_its_bytes(tmp_path, make, width, resolution):
    model.save(make(width, resolution, 10), tmp_path / "net.bin")
    picture = np.random.default_rng(0).integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)
    expected = open_session(tmp_path / "net.bin", "reference", schedule="naive").run(picture).tobytes()
    peaks = set()
    for threads in (1, 2):
        for session in sweep(lambda **options: mbinfer.Session(tmp_path / "net.bin", **options), 40, threads=threads):
            assert hooks.check(session) == ""
            assert session.run(picture).tobytes() == expected and hooks.canaries_intact(session)
            peaks.add(session.plan.peak_bytes)
    assert len(peaks) >= 10


@pytest.mark.parametrize("name", NETWORKS)
def test_every_plan_of_a_sweep_is_sound_and_memory_buys_speed(networks, name):
    fused, fastest_so_far, longest = networks(name, schedule="fused").plan, np.inf, 0
    unlimited = networks(name).plan.peak_bytes
    for session in sweep(lambda **options: networks(name, **options), 40):
        plan = session.plan
        assert hooks.check(session) == "" and plan.macs == fused.macs
        assert plan.cycles <= (COARSENESS if plan.peak_bytes == unlimited else 1 + 1e-9) * fastest_so_far
        fastest_so_far = min(fastest_so_far, plan.cycles)
        longest = max(longest, *(len(segment.stages) for segment in plan.segments))
        # A MobileNet is one chain: nothing waits, whole, beyond the segment that reads it.
        values = [b for step in plan.timeline for b in step.buffers if b.kind == "value"]
        assert all(b.last <= b.first + 1 for b in values)
    assert plan.extra_macs == 0 and longest >= 4


# --- figures ---


def test_the_peak_of_a_plan_is_accepted_as_its_limit(networks):
    for name in NETWORKS:
        for schedule in ("fused", "streamed", "auto"):
            peak = networks(name, schedule=schedule).plan.peak_bytes
            assert networks(name, schedule=schedule, memory_limit=peak).plan.peak_bytes <= peak
            least = networks(name, schedule=schedule, memory_limit="least").plan.peak_bytes
            with pytest.raises(mbinfer.MemoryLimitError, match=f"the {schedule} schedule needs .* {least} bytes"):
                networks(name, schedule=schedule, memory_limit=least - 1)


def test_memory_of_the_simpler_schedules(networks):
    plan = networks("V2 1.0@224", schedule="fused").plan
    assert plan.naive_bytes >= 27e6 and plan.layerwise_bytes <= 6.1e6 and plan.fused_bytes <= 2.5e6
    assert plan.peak_bytes == plan.fused_bytes
    assert networks("V2 1.0@224", schedule="layerwise").plan.peak_bytes == plan.layerwise_bytes
    assert networks("V2 1.0@224", schedule="naive").plan.peak_bytes == plan.naive_bytes


@pytest.mark.parametrize(("name", "percent", "kib"), FRONTIER)
def test_frontier(networks, name, percent, kib):
    """The least arena of plans that repeat at most so many per cent of the multiply-adds."""
    plan = networks(name, memory_limit="least", recompute=percent / 100, plan_only=True).plan
    assert plan.peak_bytes <= kib * KIB and 100 * plan.extra_macs <= percent * plan.macs
    limited = networks(name, memory_limit=plan.peak_bytes, recompute=percent / 100, plan_only=True).plan
    assert limited.peak_bytes <= plan.peak_bytes and 100 * limited.extra_macs <= percent * plan.macs


INT8_FRONTIER = {"V2 0.35@144": (27, 18.5, 15.7, 13.7), "V2 0.35@96": (15.82, 10.4, 9.2, 8.5)}  # KiB


@pytest.mark.parametrize("name", INT8_FRONTIER)
def test_frontier_of_int8(name, tmp_path):
    make, width, resolution = NETWORKS[name]
    graph = make(width, resolution)
    model.save(quantize(graph, noise(graph, 1), compensate=False), tmp_path / "model.bin")
    for percent, kib in zip((0, 5, 12, 25), INT8_FRONTIER[name]):
        session = mbinfer.Session(tmp_path / "model.bin", memory_limit="least", recompute=percent / 100, plan_only=True)
        assert session.plan.peak_bytes <= kib * KIB and 100 * session.plan.extra_macs <= percent * session.plan.macs


def test_what_is_done_again_is_bounded_without_a_limit_too(networks):
    for limit in (None, "45KiB", "60KiB"):
        plan = networks("V2 0.35@96", memory_limit=limit, recompute=0.03, plan_only=True).plan
        assert plan.extra_macs <= 0.03 * plan.macs
    with pytest.raises(mbinfer.MemoryLimitError) as error:
        networks("V2 0.35@96", memory_limit="30KiB", recompute=0.03)
    least = networks("V2 0.35@96", memory_limit="least", recompute=0.03, plan_only=True).plan.peak_bytes
    assert error.value.needed == least > networks("V2 0.35@96", memory_limit="least").plan.peak_bytes


@pytest.mark.parametrize("share", [-0.1, float("nan")])
def test_a_share_that_is_none(networks, share):
    with pytest.raises(mbinfer.ArgumentError, match="recompute"):
        networks("V2 0.35@96", recompute=share)


def test_without_recompute_nothing_is_done_twice(networks):
    for limit in ("least", "600KiB", None):
        plan = networks("V2 1.0@224", memory_limit=limit, recompute=False).plan
        assert plan.extra_macs == 0 and all(stage.extra_macs == 0 for s in plan.segments for stage in s.stages)


# --- placement against the optimum ---


def test_placement_is_near_the_optimum(load_benchmark):
    pytest.importorskip("ortools")
    gaps = [result["gap"] for result in load_benchmark("plan_gap").placement_gaps(24)]
    assert sum(gaps) / len(gaps) <= 0.02 and max(gaps) <= 0.05


def test_placed_blocks_keep_apart():
    rng = np.random.default_rng(0)
    for _ in range(200):
        blocks = [
            (int(rng.integers(1, 5000)), *sorted(rng.integers(0, 5, 2).tolist()))
            for _ in range(int(rng.integers(1, 10)))
        ]
        pairs = [
            (a, b)
            for a in range(len(blocks))
            for b in range(len(blocks))
            if blocks[a][1] == blocks[b][2] > blocks[b][1]
        ]
        slides = [(a, b, int(rng.integers(-2000, blocks[a][0]))) for a, b in pairs[:2]]
        offsets, size = hooks.place(blocks, slides)
        distance = {(a, b): d for a, b, d in slides}
        assert size == max(o + -(-n // 64) * 64 for o, (n, _, _) in zip(offsets, blocks)) and all(
            o % 64 == 0 for o in offsets
        )
        for i, (count, first, last) in enumerate(blocks):
            for j, (other, begin, end) in enumerate(blocks[:i]):
                if first <= end and begin <= last:
                    assert offsets[j] - offsets[i] >= distance.get((i, j), count) or offsets[i] - offsets[
                        j
                    ] >= distance.get((j, i), other)


def test_thousands_of_blocks_go_into_the_first_gap_that_holds_them():
    """By birth, as where there are too many to search; some live for long, most for a moment."""
    rng = np.random.default_rng(0)
    births = np.sort(rng.integers(0, 600, 2200)).tolist()
    lives = [int(rng.integers(0, 3) if rng.integers(4) else rng.integers(100)) for _ in births]
    blocks = [(int(rng.integers(1, 5000)), born, born + life) for born, life in zip(births, lives)]
    alive: list[tuple[int, int, int]] = []  # offset, end, last
    expected = []
    for count, born, last in blocks:
        alive = [block for block in alive if block[2] >= born]
        at, size = 0, -(-count // 64) * 64
        for offset, end, _ in sorted(alive):
            if at + size <= offset:
                break
            at = max(at, end)
        alive.append((at, at + size, last))
        expected.append(at)
    assert hooks.place(blocks, [])[0] == expected
