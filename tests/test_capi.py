"""The C API as its users have it: installed by CMake, called through cffi and from a program in C99."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cffi import FFI

import mbinfer
from mbinfer import model
from mbinfer.graph import Graph, Node, Output, Recipe

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "mbinfer.h"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # cmake from PyPI is found there


def command(*arguments, **options) -> str:
    """Runs a program that has to succeed, and returns what it prints."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def cmake():
    found = shutil.which("cmake", path=PATH)
    if not found:
        pytest.skip("no cmake")
    return found


@pytest.fixture(scope="module")
def prefix(cmake, tmp_path_factory):
    """The folder that mbinfer is installed to for C programs."""
    build, prefix = tmp_path_factory.mktemp("build"), tmp_path_factory.mktemp("prefix")
    command(cmake, "-S", ROOT, "-B", build)
    command(cmake, "--build", build, "--parallel", "4")
    command(cmake, "--install", build, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def shared(prefix, tmp_path_factory):
    """All of the static library as a shared one, which is what cffi opens."""
    library, path = next(prefix.glob("lib*/**/libmbinfer.a")), tmp_path_factory.mktemp("shared") / "mbinfer.so"
    command("c++", "-shared", "-o", path, "-Wl,--whole-archive", library, "-Wl,--no-whole-archive", "-pthread")
    return path


@pytest.fixture(scope="module")
def ffi():
    ffi = FFI()
    declarations = re.sub(r"^#.*$", "", HEADER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ffi.cdef(declarations.replace("MBI_API ", ""))
    return ffi


@pytest.fixture(scope="module")
def lib(ffi, shared):
    return ffi.dlopen(str(shared))


def random_graph(seed: int = 0) -> Graph:
    """Two pictures, one with a recipe, and two outputs; labels beyond ASCII."""
    random = np.random.default_rng(seed)

    def numbers(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    graph = Graph(values={"left": (9, 7, 3), "right": (9, 7, 12), "a": (9, 7, 12), "sum": (9, 7, 12), "scores": (1, 1, 5)})
    graph.inputs = {"left": Recipe((120.0, 110.0, 100.0), (0.01, 0.02, 0.03), "BGR", 0.875), "right": None}
    graph.nodes = [
        Node("conv", "conv", ["left"], "a", (3, 3), pads=(1, 1, 1, 1), weight=numbers(12, 3, 3, 3), bias=numbers(12)),
        Node("add", "add", ["a", "right"], "sum"),
        Node("conv", "dense", ["sum"], "scores", (9, 7), weight=numbers(5, 9, 7, 12), bias=numbers(5)),
    ]
    graph.outputs = [Output("scores", "scores", (1, 5)), Output("map", "sum", (1, 9, 7, 12))]
    graph.labels = ["Kätzchen", "犬", "c", "d", "e"]
    return graph


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


class Failure(Exception):
    """What mbi_last_error says; `status` is the name of the mbi_status."""

    def __init__(self, ffi, status: int, error):
        self.status = ffi.string(ffi.cast("mbi_status", status))
        self.message, self.node, self.op = (ffi.string(t).decode() for t in (error.message, error.node, error.op))
        self.needed, self.limit = error.needed, error.limit
        assert error.status == status
        super().__init__(self.message)


class CSession:
    """mbi_session through cffi. Options of `fields` are set after mbi_options_init."""

    def __init__(self, ffi, lib, path: str, **fields):
        self.ffi, self.lib, self.handle = ffi, lib, None
        options, handle = ffi.new("mbi_options *"), ffi.new("mbi_session **")
        self.check(lib.mbi_options_init(options, ffi.sizeof("mbi_options")))
        keep = []
        for name, value in fields.items():
            keep.append(ffi.new("char[]", value.encode()) if isinstance(value, str) else value)
            setattr(options, name, keep[-1])
        handle[0] = ffi.cast("mbi_session *", 1)
        status = lib.mbi_session_open(path.encode(), options, handle)
        assert (handle[0] == ffi.NULL) == (status != lib.MBI_OK)
        self.check(status)
        self.handle = ffi.gc(handle[0], lib.mbi_session_close)
        self.plan = lib.mbi_session_plan(self.handle)

    def check(self, status: int) -> None:
        if status != self.lib.MBI_OK:
            raise Failure(self.ffi, status, self.lib.mbi_last_error())

    def tensors(self, kind: str) -> list:
        count = getattr(self.lib, f"mbi_session_{kind}_count")(self.handle)
        return [getattr(self.lib, f"mbi_session_{kind}")(self.handle, i) for i in range(count)]

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        results = [np.full(list(t.dims)[: t.rank], np.nan, np.float32) for t in self.tensors("output")]
        self.run_into(arrays, results)
        return results

    def run_into(self, arrays, results) -> None:
        ffi, dtypes = self.ffi, {"float32": self.lib.MBI_FLOAT32, "uint8": self.lib.MBI_UINT8}
        inputs, outputs = ffi.new("mbi_input[]", len(arrays)), ffi.new("mbi_output[]", len(results))
        for slot, array in zip(inputs, arrays):
            slot.data, slot.bytes = ffi.cast("void *", array.ctypes.data), array.nbytes
            slot.dtype = dtypes.get(str(array.dtype), 99)
        for slot, array in zip(outputs, results):
            slot.data, slot.bytes = ffi.cast("float *", array.ctypes.data), array.nbytes
        self.check(self.lib.mbi_session_run(self.handle, inputs, len(arrays), outputs, len(results)))


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


def picture(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.tobytes() == right.tobytes()


# The library as a file


def test_exports_the_declared_functions_and_nothing_else(shared):
    declared = set(re.findall(r"^MBI_API .*?(mbi_\w+)\(", HEADER.read_text(encoding="utf-8"), flags=re.MULTILINE))
    symbols = [line.split() for line in command("nm", "-D", "--defined-only", shared).splitlines()]
    # Capital letters but W, V, u (the C++ library's own templates) are strong symbols.
    assert {name for _, kind, name in symbols if kind in "TDBR"} - {"_init", "_fini"} == declared
    assert len(declared) == 13


def test_header_is_c99_and_cpp(tmp_path):
    for compiler, standard, suffix in (("cc", "c99", "c"), ("c++", "c++11", "cpp")):
        source = tmp_path / f"only.{suffix}"
        source.write_text('#include "mbinfer.h"\n')
        flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", f"-I{HEADER.parent}"]
        command(compiler, f"-std={standard}", *flags, source)


def test_version(ffi, lib):
    assert ffi.string(lib.mbi_version()).decode() == mbinfer.__version__


# Sessions


@pytest.mark.parametrize("options", [
    {}, {"schedule": "naive"}, {"schedule": "layerwise"}, {"schedule": "fused", "chunks": 3}, {"threads": 2},
    {"isa": "reference"}, {"verify": 1},
])  # fmt: skip
def test_same_bits_and_plan_as_python(opened, mobilenet, options, monkeypatch):
    session = opened(mobilenet, **options)
    if "isa" in options:
        monkeypatch.setenv("MBINFER_ISA", options["isa"])
    python = mbinfer.Session(mobilenet, **{k: v for k, v in options.items() if k != "isa"})
    image = picture((64, 64, 3))
    for array in (image, ((image - np.float32(120)) / np.float32(60))):
        assert same_bits(session.run(array)[0], python.run(array))
    for name in ("peak_bytes", "input_bytes", "weight_bytes", "naive_bytes", "layerwise_bytes", "fused_bytes",
                 "lower_bound_bytes", "macs", "extra_macs"):  # fmt: skip
        assert getattr(session.plan, name) == getattr(python.plan, name), name
    text = session.ffi.string
    assert text(session.plan.schedule).decode() == python.plan.schedule
    assert text(session.plan.isa).decode() == python.isa
    assert session.plan.threads == python.threads


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
        ("scores", lib.MBI_FLOAT32, [1, 5], 20), ("map", lib.MBI_FLOAT32, [1, 9, 7, 12], 4 * 9 * 7 * 12)]  # fmt: skip
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


@pytest.mark.parametrize("options, words", [
    ({"threads": 0}, "threads is 0"), ({"threads": 257}, "256"), ({"chunks": -1}, "chunks is -1"),
    ({"schedule": "clever"}, "clever"), ({"schedule": "naive", "chunks": 2}, "naive"), ({"isa": "mmx"}, "mmx"),
    ({"memory_limit": -3}, "memory_limit is -3"), ({"size": 8}, "mbi_options"),
])  # fmt: skip
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


def test_unsupported_names_the_node(refused, tmp_path):
    graph = Graph(values={"in": (80, 80, 1), "out": (1, 1, 1)}, inputs={"in": None}, outputs=[Output("out", "out", (1,))])
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
    failing = [
        lambda: lib.mbi_options_init(null, size),
        lambda: lib.mbi_session_open(null, null, handle),
        lambda: lib.mbi_session_open(two.encode(), null, null),
        lambda: lib.mbi_session_open(two.encode(), options, handle),
        lambda: lib.mbi_session_run(null, inputs, 2, outputs, 2),
        lambda: lib.mbi_session_run(session.handle, null, 2, outputs, 2),
        lambda: lib.mbi_session_run(session.handle, inputs, 2, null, 2),
        lambda: lib.mbi_session_run(session.handle, inputs, 2, outputs, 2),  # with data NULL
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


@pytest.mark.parametrize("name", ["x" * 3000, "é" * 3000, "x" + "é" * 3000])
def test_long_messages_are_cut_between_characters(refused, name):
    message = refused(name).message  # decoded, so whole characters
    assert message == name[: len(message)] and 1020 <= len(message.encode()) <= 1023


# Programs

PROGRAM = r"""
#include <mbinfer.h>
#include <stdio.h>
#include <stdlib.h>

static size_t allocations;
#ifdef __GLIBC__
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t size) { allocations++; return __libc_calloc(n, size); }
int posix_memalign(void **p, size_t align, size_t n) { allocations++; *p = __libc_memalign(align, n); return !*p; }
#endif

int main(int count, char **arguments) {
  mbi_session *session;
  if (count != 4 || mbi_session_open(arguments[1], NULL, &session) != MBI_OK) {
    fprintf(stderr, "%s\n", mbi_last_error()->message);
    return 1;
  }
  const mbi_tensor *in = mbi_session_input(session, 0), *out = mbi_session_output(session, 0);
  void *image = malloc(in->bytes);
  float *scores = malloc(out->bytes);
  FILE *file = fopen(arguments[2], "rb");
  if (!file || fread(image, 1, in->bytes, file) != in->bytes) return 2;
  fclose(file);
  mbi_input inputs[] = {{image, in->bytes, in->dtype}};
  mbi_output outputs[] = {{scores, out->bytes}};
  size_t before = allocations;
  if (mbi_session_run(session, inputs, 1, outputs, 1) != MBI_OK) return 3;
  size_t made = allocations - before;
  file = fopen(arguments[3], "wb");
  if (!file || fwrite(scores, 1, out->bytes, file) != out->bytes || fclose(file)) return 4;
  printf("{\"peak\": %lld, \"before\": %zu, \"made\": %zu}\n", (long long)mbi_session_plan(session)->peak_bytes, before, made);
  mbi_session_close(session);
  free(image);
  free(scores);
  return 0;
}
"""
CMAKE_LISTS = """cmake_minimum_required(VERSION 3.18)
project(consumer {languages})
find_package(mbinfer {version} REQUIRED)
add_executable(consumer consumer.c)
set_property(TARGET consumer PROPERTY C_STANDARD 99)
target_link_libraries(consumer PRIVATE mbinfer::mbinfer)
"""


def check_program(program: Path, path: str, folder: Path) -> None:
    image, python = picture((64, 64, 3), 7), mbinfer.Session(path)
    (folder / "image").write_bytes(image.tobytes())
    said = json.loads(command(program, path, folder / "image", folder / "scores"))
    assert (folder / "scores").read_bytes() == python.run(image).tobytes()
    assert said["peak"] == python.plan.peak_bytes
    assert said["made"] == 0  # nothing is allocated by run
    if os.confstr("CS_GNU_LIBC_VERSION"):
        assert said["before"] > 0  # and the count counts


@pytest.mark.parametrize("languages", ["C", "C CXX"])
def test_program_by_find_package(cmake, prefix, mobilenet, tmp_path, languages):
    (tmp_path / "consumer.c").write_text(PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS.format(languages=languages, version=mbinfer.__version__))
    build = tmp_path / "build"
    command(cmake, "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    command(cmake, "--build", build)
    check_program(build / "consumer", mobilenet, tmp_path)


def test_program_by_pkg_config(prefix, mobilenet, tmp_path):
    if not shutil.which("pkg-config"):
        pytest.skip("no pkg-config")
    folder = next(prefix.glob("lib*/**/mbinfer.pc")).parent
    flags = command("pkg-config", "--cflags", "--libs", "mbinfer", env={**os.environ, "PKG_CONFIG_PATH": str(folder)})
    (tmp_path / "consumer.c").write_text(PROGRAM)
    command("cc", "-std=c99", tmp_path / "consumer.c", "-o", tmp_path / "consumer", *flags.split())
    check_program(tmp_path / "consumer", mobilenet, tmp_path)
