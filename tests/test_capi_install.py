"""The C library as a file: what it exports, and programs in C99 that find it by CMake and by pkg-config."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from builds import cmake, command
from capi import HEADER, install, picture, shared_library

import mbinfer
from mbinfer import model


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "mobilenet.bin"
    model.save(mbinfer.zoo.mobilenet_v2(0.35, 64, 10, seed=5), path)
    return str(path)


def exports(library) -> set[str]:
    """Every symbol that other libraries of a process could meet, weak ones too."""
    return {line.split()[-1] for line in command("nm", "-D", "--defined-only", library).splitlines()}


def test_exports_the_declared_functions_and_nothing_else():
    declared = set(re.findall(r"^MBI_API .*?(mbi_\w+)\(", HEADER.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert exports(shared_library()) == declared
    assert len(declared) == 25


def test_the_extension_module_exports_its_door():
    assert exports(mbinfer._core.__file__) == {"PyInit__core"}


def test_header_is_c99_and_cpp(tmp_path):
    for compiler, standard, suffix in (("cc", "c99", "c"), ("c++", "c++11", "cpp")):
        source = tmp_path / f"only.{suffix}"
        source.write_text('#include "mbinfer.h"\n')
        flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", f"-I{HEADER.parent}"]
        command(compiler, f"-std={standard}", *flags, source)


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
  long long peak = mbi_session_plan(session)->peak_bytes;
  printf("{\"peak\": %lld, \"before\": %zu, \"made\": %zu}\n", peak, before, made);
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
def test_program_by_find_package(mobilenet, tmp_path, languages):
    (tmp_path / "consumer.c").write_text(PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_LISTS.format(languages=languages, version=mbinfer.__version__))
    build = tmp_path / "build"
    command(
        cmake(),
        "-S",
        tmp_path,
        "-B",
        build,
        f"-DCMAKE_PREFIX_PATH={install()}",
        "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror",
    )
    command(cmake(), "--build", build)
    check_program(build / "consumer", mobilenet, tmp_path)


def test_program_by_pkg_config(mobilenet, tmp_path):
    if not shutil.which("pkg-config"):
        pytest.skip("no pkg-config")
    folder = next(install().glob("lib*/**/mbinfer.pc")).parent
    flags = command("pkg-config", "--cflags", "--libs", "mbinfer", env={**os.environ, "PKG_CONFIG_PATH": str(folder)})
    (tmp_path / "consumer.c").write_text(PROGRAM)
    command("cc", "-std=c99", tmp_path / "consumer.c", "-o", tmp_path / "consumer", *flags.split())
    check_program(tmp_path / "consumer", mobilenet, tmp_path)
