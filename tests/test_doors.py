"""How a model comes in: paths of every kind, descriptors, memory; files that change; what each refusal looks like."""

from __future__ import annotations

import collections
import errno
import io
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import Records
from small_network import picture, small_network

import mbinfer
from mbinfer import model


@pytest.fixture(scope="module")
def data():
    return model.encode(small_network())


@pytest.fixture
def path(data, tmp_path):
    path = tmp_path / "net.bin"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def expected(data):
    return mbinfer.Session(data).run(picture())


def aligned(data: bytes, offset: int = 0) -> np.ndarray:
    """A copy of `data` at `offset` bytes from a multiple of 64."""
    room = np.zeros(len(data) + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    room[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return room[start : start + len(data)]


def test_every_kind_of_source_gives_the_same_bits(path, data, expected):
    odd = path.parent / os.fsdecode(b"\xff\xfe \xc3\xa4.bin")
    odd.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    os.lseek(descriptor, 99, os.SEEK_SET)  # its position does not matter
    sources = [path, str(path), os.fsencode(path), odd, os.fsencode(odd), descriptor, data, bytearray(data)]
    sources += [memoryview(data), memoryview(aligned(data)), memoryview(aligned(data, 1))]
    if hasattr(os, "memfd_create"):
        sources.append(os.memfd_create("model"))
        os.write(sources[-1], data)
    for source in sources:
        for options in ({}, {"copy": True}, {"verify": True}):
            session = mbinfer.Session(source, **options)
            assert session.run(picture()).tobytes() == expected.tobytes(), (source, options)
    session = mbinfer.Session(descriptor)
    os.close(descriptor)
    assert session.run(picture()).tobytes() == expected.tobytes()


def test_memory_is_kept_and_used_in_place_where_it_is_aligned(data, expected):
    array = aligned(data)
    in_place, copied = mbinfer.Session(memoryview(array)), mbinfer.Session(memoryview(array), copy=True)
    array[-len(data) // 2 :] = 0  # weights
    assert in_place.run(picture()).tobytes() != expected.tobytes()
    assert copied.run(picture()).tobytes() == expected.tobytes()
    held = bytearray(data)
    session = mbinfer.Session(held)
    with pytest.raises(BufferError):
        held.clear()
    del session
    held.clear()


REFUSED = {
    "missing": (lambda d: d / "none.bin", FileNotFoundError, errno.ENOENT),
    "missing, bytes": (lambda d: os.fsencode(d / "none.bin"), FileNotFoundError, errno.ENOENT),
    "empty": (lambda d: "", FileNotFoundError, errno.ENOENT),
    "a folder": (lambda d: d, IsADirectoryError, errno.EISDIR),
    "a device": (lambda d: "/dev/null", OSError, errno.EINVAL),
    "a file as a folder": (lambda d: d / "file" / "net.bin", NotADirectoryError, errno.ENOTDIR),
    "a loop of links": (lambda d: d / "loop", OSError, errno.ELOOP),
    "too long": (lambda d: d / ("a" * 5000), OSError, errno.ENAMETOOLONG),
    "a pipe that nobody writes": (lambda d: d / "pipe", OSError, errno.EINVAL),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_file_is_an_os_error(tmp_path, case):
    make, kind, number = REFUSED[case]
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError) as caught:
        mbinfer.Session(make(tmp_path))
    assert type(caught.value) is kind and caught.value.errno == number
    assert caught.value.filename == os.fsdecode(make(tmp_path))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.errno, again.filename) == (kind, number, caught.value.filename)


def test_a_damaged_file_of_any_name_is_told(tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff\xe4.bin")
    for content in (b"", b"no model" * 40):
        odd.write_bytes(content)
        with pytest.raises(mbinfer.FormatError, match=r"\\xff\\xe4\.bin: "):
            mbinfer.Session(odd)
        with pytest.raises(mbinfer.FormatError, match=r"\\xff\\xe4\.bin: "):
            mbinfer.Session(os.fsencode(odd))


def test_holes_in_a_file_are_not_touched(data, tmp_path, expected):
    """Gigabytes of weights that no node reads, as a file can claim, cost nothing to open."""
    records = Records(data)
    records.weights_bytes = 2 << 30
    head = records.encode()
    path = tmp_path / "holes.bin"
    path.write_bytes(head)
    os.truncate(path, len(head) - len(records.weights) + records.weights_bytes)
    program = """if True:
        import os, sys, mbinfer
        def mapped(): return next(int(line.split()[1]) for line in open("/proc/self/status") if "RssFile" in line)
        before = mapped()
        session = mbinfer.Session(sys.argv[1])
        print(mapped() - before)"""
    command = [sys.executable, "-c", program, path]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert int(done.stdout) < 8 << 10, done.stderr
    assert mbinfer.Session(path).run(picture()).tobytes() == expected.tobytes()


def test_a_file_without_permission(path):
    path.chmod(0)
    program = "import os, sys, mbinfer\nos.getuid() or os.setuid(65534)\n"
    program += "try: mbinfer.Session(sys.argv[1])\nexcept PermissionError as e: print(e.errno, e.filename)"
    path.parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program, path], cwd="/", capture_output=True, text=True, timeout=60)
    if "Permission denied" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip("another user cannot read this folder")
    assert done.stdout.split() == [str(errno.EACCES), str(path)], done.stderr


def test_what_is_no_source_says_what_is():
    for source in (None, 1.5, True, io.BytesIO(), object(), ["net.bin"]):
        with pytest.raises(TypeError, match="path.*descriptor.*bytes"):
            mbinfer.Session(source)
    for source in ("a\0b", b"a\0b", "\ud800", -1, 1 << 40, b"", np.zeros((4, 4))[:, ::2].data):
        if source != b"":
            with pytest.raises(mbinfer.ArgumentError):
                mbinfer.Session(source)
    with pytest.raises(OSError) as caught:
        mbinfer.Session(1000)
    assert caught.value.errno == errno.EBADF
    for memory in (bytearray(b"\x89MBI"), memoryview(bytes(200))):
        with pytest.raises(mbinfer.FormatError, match="model in memory"):
            mbinfer.Session(memory)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.sampled_from(["least", "all", "auto", "fused", "streamed", "9" * 5000, "1e400", "٣", "²"]),
    st.binary(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.builds(lambda n: 10**n, st.integers(0, 6000)),
)
KEYS = ("threads", "memory_limit", "schedule", "chunks")


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4))
def test_any_option_is_taken_or_refused_as_an_argument(data_once, options):
    threads = options.get("threads")
    if isinstance(threads, int) and threads > 4 and threads <= 256:
        return  # allowed, and slow
    try:
        mbinfer.Session(data_once, plan_only=True, **options)
    except mbinfer.Error as error:
        assert isinstance(error, (mbinfer.ArgumentError, mbinfer.MemoryLimitError)) and len(str(error)) < 300


@pytest.fixture(scope="module")
def data_once(data):
    return data


@settings(max_examples=120, deadline=None)
@given(st.one_of(ANYTHING, st.binary(max_size=300).map(lambda b: b"\x89MBI\r\n\x1a\n" + b)))
def test_any_source_is_refused_with_an_error_of_ours(source):
    if isinstance(source, int) and not isinstance(source, bool) and source < 64:
        return  # may be open
    with pytest.raises((mbinfer.Error, OSError, TypeError)) as caught:
        mbinfer.Session(source)
    assert not isinstance(caught.value, OSError) or caught.value.errno


def test_environment(data, monkeypatch):
    for name, value in (
        ("MBINFER_THREADS", "9" * 5000),
        ("MBINFER_THREADS", "²"),
        ("MBINFER_THREADS", "0"),
        ("MBINFER_ISA", "ä"),
    ):
        monkeypatch.setenv(name, value)
        with pytest.raises(mbinfer.ArgumentError):
            mbinfer.Session(data)
        monkeypatch.delenv(name)
    monkeypatch.setenv("MBINFER_THREADS", "all")
    assert mbinfer.Session(data, plan_only=True).threads == min(256, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("name", ["recompute", "verify", "copy", "plan_only"])
def test_flags_are_true_or_false(data, name):
    for odd in (np.zeros(3), np.full(2, None)):
        with pytest.raises(mbinfer.ArgumentError, match=f"{name}: give True or False"):
            mbinfer.Session(data, **{name: odd})
    shares = [mbinfer.Session(data, memory_limit="least", recompute=s).plan.peak_bytes for s in (0.0, np.float32(0))]
    assert shares[0] == shares[1]


def test_what_is_no_session():
    for find in (mbinfer.detect, mbinfer.segment):
        with pytest.raises(TypeError, match="a session and a picture"):
            find({}, picture())


def test_a_plan_without_an_arena(data):
    planned, whole = mbinfer.Session(data, threads=2, plan_only=True), mbinfer.Session(data, threads=2)
    assert planned.plan == whole.plan and planned.plan.segments == whole.plan.segments
    assert (planned.threads, planned.inputs, planned.labels) == (2, whole.inputs, whole.labels)
    for run in (lambda: planned.run(picture()), lambda: planned.run_rows(iter(picture()))):
        with pytest.raises(mbinfer.ArgumentError, match="plan only"):
            run()


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(bytes(len(data)))


CHANGES = {
    "cut to nothing": lambda path, data: os.truncate(path, 0),
    "cut": lambda path, data: os.truncate(path, len(data) // 2),
    "extended": lambda path, data: os.truncate(path, len(data) + 4096),
    "overwritten": overwrite,
    "written again": lambda path, data: path.write_bytes(data),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_in_place_is_told_before_a_run(path, data, change, expected):
    os.utime(path, (1, 1))  # a file's time may be coarser than this test
    session, copy = mbinfer.Session(path), mbinfer.Session(path, copy=True)
    assert session.run(picture()).tobytes() == expected.tobytes()
    CHANGES[change](path, data)
    for run in (lambda: session.run(picture()), lambda: session.run_rows(iter(picture()))):
        with pytest.raises(mbinfer.FormatError, match="net.bin: the file was written or cut"):
            run()
    assert copy.run(picture()).tobytes() == expected.tobytes()


def test_a_file_that_is_written_and_cut_all_the_time_is_copied_whole_or_refused(path, data):
    """By path, by descriptor and as bytes; what was opened gives the same bits for ever."""
    changes, stop = list(CHANGES.values()), threading.Event()

    def change():
        while not stop.is_set():
            for how in changes:
                how(path, data)
            stop.wait(0.001)  # the last one wrote it whole

    def opened(way):
        if way == "bytes":
            return mbinfer.Session(memoryview(path.read_bytes() or b"cut"))
        with path.open("rb") as file:
            return mbinfer.Session(file.fileno() if way == "descriptor" else path, copy=True)

    writer, counts = threading.Thread(target=change), collections.Counter()
    writer.start()
    try:
        for way in ("path", "descriptor", "bytes") * 5000:
            if min(counts["refused"], counts["opened"]) >= 30:
                break
            try:
                session = opened(way)
            except mbinfer.FormatError:
                counts["refused"] += 1
                continue
            counts["opened"] += 1
            first, later = session.run(picture()), session.run(picture())
            assert first.tobytes() == later.tobytes()
    finally:
        stop.set()
        writer.join()
    assert counts["refused"] and counts["opened"], counts


def test_a_new_file_under_the_old_name_does_not_matter(path, data, expected):
    session = mbinfer.Session(path)
    model.save(mbinfer.zoo.mobilenet_v2(0.35, 32, 10, seed=9), path)
    assert session.run(picture()).tobytes() == expected.tobytes()
    path.unlink()
    assert session.run(picture()).tobytes() == expected.tobytes()


def test_sessions_close_their_files(path):
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    before = open_files()
    sessions = [mbinfer.Session(path), mbinfer.Session(path, copy=True)]
    assert open_files() == before + 1  # a mapped file stays open to be looked at
    del sessions
    for _ in range(3):
        with pytest.raises(mbinfer.Error):
            mbinfer.Session(path, memory_limit=1)
    assert open_files() == before
