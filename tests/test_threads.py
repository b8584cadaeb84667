"""Threads that get no CPU, forks, interrupts, the interpreter's end, other libraries' floating-point modes."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from integer_graphs import quantised
from small_network import SIZE, normalise, picture, small_network

import mbinfer
from mbinfer import model
from mbinfer.build import GraphBuilder
from mbinfer.errors import ArgumentError
from mbinfer.graph import Recipe
from mbinfer.quantize import noise, quantize

START = "import os, sys, threading, time; import numpy as np; import mbinfer; "


def program(text: str, *arguments, **options) -> str:
    """What a Python program prints; it has to end well, and in silence."""
    done = subprocess.run(
        [sys.executable, "-c", START + text, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(mbinfer.__file__).parents[1])},
        cwd="/",  # not the source folder, which would come first
        **options,
    )
    assert done.returncode == 0 and not done.stderr, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def net(request, tmp_path_factory):
    """The file of a small network with weights of each type."""
    path, graph = tmp_path_factory.mktemp("net") / "net.bin", small_network()
    if request.param == "int8":
        graph = quantize(graph, noise(graph, 1), compensate=False)
    model.save(graph, path, weight_dtype="float16" if request.param == "float16" else None)
    return path


@pytest.fixture(scope="module", params=["float32", "int8"])
def long_network(request, tmp_path_factory):
    """Takes about half a second on the reference kernels."""
    path, graph = tmp_path_factory.mktemp("long") / "long.bin", mbinfer.zoo.mobilenet_v2(1.0, 224, 10)
    model.save(quantised(graph, np.random.default_rng(0)) if request.param == "int8" else graph, path)
    return path


# Threads and CPUs.


def test_threads_without_a_cpu_are_not_started(net):
    text = (
        "path, cpus, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]);"
        "os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus]);"
        "before = len(os.listdir('/proc/self/task'));"
        "session = mbinfer.Session(path, threads=threads);"
        "print(len(os.listdir('/proc/self/task')) - before, session.threads)"
    )
    for threads in (2, 256):
        assert program(text, net, 1, threads).split() == ["0", str(threads)]
        assert int(program(text, net, 2, threads).split()[0]) <= 1


def test_many_threads_cost_no_more_than_one(net):
    text = (
        "session = {n: mbinfer.Session(sys.argv[1], threads=n) for n in (1, 64)};"
        f"x = np.zeros(({SIZE}, {SIZE}, 3), np.uint8);"
        "took = {n: [] for n in session}\n"
        "for turn in range(300):\n"
        "    for n, s in session.items():\n"
        "        start = time.process_time(); s.run(x); took[n].append(time.process_time() - start)\n"
        "print(sum(took[64]) / sum(took[1]))"
    )
    # CPU time, on as many CPUs as there are: waiting for threads in turn would cost hundreds of times as much.
    assert float(program(text, net)) < 8


# Forks.


def in_a_child(work, seconds=60) -> str:
    """What work() returns in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(seconds)
            answer = str(work())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("runs", [0, 2])
def test_a_forked_child_runs_its_parents_session(net, threads, runs):
    image = picture()
    expected = mbinfer.Session(net).run(image).tobytes()
    opened = [mbinfer.Session(net, threads=threads)]
    for _ in range(runs):
        opened[0].run(image)

    def again():
        return [f(a).tobytes() == expected for f, a in ((opened[0].run, image), (opened[0].run_rows, iter(image)))]

    assert in_a_child(again) == "[True, True]"
    assert in_a_child(opened.pop) and in_a_child(lambda: mbinfer.Session(net, threads=threads).run(image).size) == "10"
    opened.append(mbinfer.Session(net, threads=threads))
    assert in_a_child(lambda: in_a_child(again)) == "[True, True]"
    assert opened[0].run(image).tobytes() == expected


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_forked_while_another_thread_runs(net, threads):
    session, image = mbinfer.Session(net, threads=threads), picture()
    expected, waiting, go_on = session.run(image).tobytes(), threading.Event(), threading.Event()

    def rows():
        yield from image[:5]
        waiting.set()
        assert go_on.wait(60)
        yield from image[5:]

    results = []
    camera = threading.Thread(target=lambda: results.append(session.run_rows(rows()).tobytes()))
    camera.start()
    assert waiting.wait(60)
    assert in_a_child(lambda: session.run(image).tobytes() == expected) == "True"
    go_on.set()
    camera.join()
    assert results == [expected]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_child_forked_while_another_thread_plans(net, threads):
    """Wherever that one was, the child opens a file, plans and runs."""
    image, over, planned = picture(), threading.Event(), []
    expected = mbinfer.Session(net).run(image).tobytes()

    def plan():
        while not over.is_set():
            planned.append(mbinfer.Session(net, threads=threads, memory_limit="least").plan.peak_bytes)

    planner = threading.Thread(target=plan)
    planner.start()
    try:
        for _ in range(15):
            again = in_a_child(lambda: mbinfer.Session(net, threads, "least").run(image).tobytes() == expected, 20)
            assert again == "True"
    finally:
        over.set()
        planner.join()
    assert len(set(planned)) == 1


def delays(count: int) -> mbinfer.graph.Graph:
    """A number that counts runs, and what it was 1 to `count` runs ago, in many pixels; some of them are outputs."""
    net = GraphBuilder()
    step = net.input("step", (128, 128, 8))
    names = [net.state(f"{i} runs ago", net.dims(step)) for i in range(count)]
    numbers = [net.add("add", [names[0], step]), *(net.add("slice", [name], 8) for name in names)]
    for name, newer in zip(names, numbers):
        net.keep(name, newer)
    for number in numbers:
        net.output(net.add("max_pool", [number], stride=(16, 32)))
    return net.graph


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_another_thread_runs_has_all_states_of_one_run():
    session = mbinfer.Session(model.encode(delays(16)))
    one, over = np.ones((128, 128, 8), np.float32), threading.Event()

    def count():
        while not over.is_set():
            session.run(one)

    def found():
        counts = [np.unique(some).tolist() for some in session.run(one).values()]
        return all(len(c) == 1 for c in counts) and len({c[0] + i for i, c in enumerate(counts)}) == 1

    for _ in range(20):
        session.run(one)  # so that no state is what it was at first
    counter = threading.Thread(target=count)
    counter.start()
    try:
        assert [in_a_child(found, 20) for _ in range(15)] == ["True"] * 15
    finally:
        over.set()
        counter.join()


# What ends a run, and what may not.


@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_ends_a_long_run(long_network, threads, monkeypatch):
    monkeypatch.setenv("MBINFER_ISA", "reference")
    session, image = mbinfer.Session(long_network, threads=threads), np.ones((224, 224, 3), np.float32)
    start = time.process_time()
    expected = session.run(image)
    whole = time.process_time() - start

    def handler(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGPROF, handler)
    try:
        start = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, whole / 20)  # of CPU time
        with pytest.raises(KeyboardInterrupt):
            session.run(image)
        stopped = time.process_time() - start
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert stopped < 0.75 * whole  # half of the last layers would be more
    assert session.run(image).tobytes() == expected.tobytes()


def test_rows_cannot_come_from_another_threads_run(net):
    session, image = mbinfer.Session(net, threads=2), picture()
    expected, refused = session.run(image), []

    def other():
        with pytest.raises(ArgumentError, match="row"):
            session.run(image)
        refused.append(True)

    def rows():
        yield from image[:9]
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        yield from image[9:]

    assert session.run_rows(rows()).tobytes() == expected.tobytes()
    assert refused == [True]


@pytest.mark.parametrize("work", ["s.run(x)", "s.run_rows(iter(x))", "mbinfer.Session(sys.argv[1], threads=2)"])
def test_daemon_threads_at_the_end_of_the_interpreter(net, work):
    text = (
        "s = mbinfer.Session(sys.argv[1], threads=2);"
        f"x = np.zeros(({SIZE}, {SIZE}, 3), np.uint8)\n"
        "def work():\n"
        f"    while True: {work}\n"
        "for _ in range(2): threading.Thread(target=work, daemon=True).start()\n"
        "time.sleep(0.2)"
    )
    program(text, net)


# Other libraries' floating-point modes.

LIBM = ctypes.CDLL("libm.so.6", use_errno=True) if sys.platform == "linux" else None


@pytest.fixture(scope="module")
def faint_network(tmp_path_factory):
    """Its values get so small that some are denormal."""
    path = tmp_path_factory.mktemp("faint") / "faint.bin"
    graph = mbinfer.zoo.mobilenet_v2(0.35, 32, 10)
    for node in graph.nodes:
        if node.bias is not None:
            node.bias = node.bias * np.float32(1e-38)
    model.save(graph, path)
    return path


def test_denormal_weights_are_written_as_zeros(tmp_path):
    for name, tiny in ("zeros", 0), ("denormals", 1e-39):
        graph = mbinfer.zoo.mobilenet_v2(0.35, 32, 10)
        for node in graph.nodes:
            if node.weight is not None:
                node.weight = np.where(node.weight > 0, node.weight, np.float32(tiny))
        model.save(graph, tmp_path / name)
    assert (tmp_path / "zeros").read_bytes() == (tmp_path / "denormals").read_bytes()


class Modes:
    """The floating-point modes of this machine that a caller may be in, which are set by the C library's fesetenv."""

    AT = {"x86_64": 28, "aarch64": 0}.get(os.uname().machine)  # the mode's place in fenv_t

    def __init__(self):
        roundings, switches = (13, (0x8000, 0x40)) if self.AT else (22, (1 << 24,))  # denormals: results, operands
        flushes = [sum(on) for on in itertools.product(*((0, bit) for bit in switches))]
        self.bits = 3 << roundings | sum(switches)
        self.words = [way << roundings | flush for way in range(4) for flush in flushes]

    def now(self) -> int:
        return int.from_bytes(self._environment().raw[self.AT :][:4], "little") & self.bits

    def set(self, word: int) -> None:
        environment = self._environment()
        here = slice(self.AT, self.AT + 4)
        others = int.from_bytes(environment.raw[here], "little") & ~self.bits
        environment[here] = (others | word).to_bytes(4, "little")
        assert LIBM.fesetenv(environment) == 0

    @staticmethod
    def _environment():
        environment = ctypes.create_string_buffer(64)
        assert LIBM.fegetenv(environment) == 0
        return environment


@pytest.mark.skipif(Modes.AT is None, reason="where fenv_t holds the mode is not known here")
@pytest.mark.parametrize("isa", mbinfer._core.isas())
@pytest.mark.parametrize("threads", [1, 2])
def test_bits_do_not_depend_on_the_callers_mode(net, faint_network, isa, threads, monkeypatch):
    """All roundings, denormals flushed or not; the caller finds its mode while it gives rows, and afterwards."""
    monkeypatch.setenv("MBINFER_ISA", isa)
    faint = np.random.default_rng(0).standard_normal((32, 32, 3)).astype(np.float32) * np.float32(1e-38)
    assert ((np.abs(faint) < np.finfo(np.float32).tiny) & (faint != 0)).any()
    modes, images = Modes(), {net: normalise(picture()), faint_network: faint}

    def rows_of(image, inside):
        for row in image:
            inside.add(modes.now())
            yield row

    found = modes.now()
    sessions = {path: mbinfer.Session(path, threads=threads) for path in images}
    expected = {path: sessions[path].run(image).tobytes() for path, image in images.items()}
    try:
        for word in modes.words:
            modes.set(word)
            inside, results = set(), []
            for path, image in images.items():
                made = sessions[path].run(image), sessions[path].run_rows(rows_of(image, inside))
                results.append([m.tobytes() for m in made])
                sessions[path] = mbinfer.Session(path, threads=threads) if word == modes.words[-2] else sessions[path]
            after = modes.now()
            assert (results, inside, after) == ([2 * [bits] for bits in expected.values()], {word}, word)
    finally:
        modes.set(found)


@pytest.mark.skipif(Modes.AT is None, reason="where fenv_t holds the mode is not known here")
def test_opening_does_not_depend_on_the_callers_mode(tmp_path):
    """Plans, whose cycles are sums of doubles; and whether pictures become bytes by a product, and by which."""
    graph, numbers = small_network(), np.random.default_rng(0)
    graph = quantize(graph, [picture(seed) for seed in range(2)], compensate=False)
    step = graph.types[graph.nodes[0].output].scale
    files = [tmp_path / f"{i}.bin" for i in range(24)]
    for path in files:  # some of 256 numbers lie next to the middle between two bytes, where two roundings may differ
        scale = float(np.float32(step * (numbers.integers(0, 60) + 0.5) / numbers.integers(128, 256)))
        graph.inputs = dict.fromkeys(graph.inputs, Recipe((0.0,) * 3, (scale,) * 3))
        model.save(graph, path)
    image, modes = np.arange(SIZE * SIZE * 3).astype(np.uint8).reshape(SIZE, SIZE, 3), Modes()

    def opened():
        plans = [mbinfer.Session(files[0], threads=threads, plan_only=True).plan.json() for threads in (1, 2)]
        return plans, [mbinfer.Session(path).run(image).tobytes() for path in files]

    found, expected = modes.now(), opened()
    try:
        for word in modes.words:
            modes.set(word)
            assert opened() == expected
    finally:
        modes.set(found)
