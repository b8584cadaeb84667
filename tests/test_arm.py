"""The report on ARM: its reading of assembly and of counts, its tables, and llvm-mca where it is installed."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

import builds
import capi
import pytest


@pytest.fixture(scope="module")
def arm(load_benchmark):
    return load_benchmark("arm")


def target(arm, name):
    return next(t for t in arm.arm_loops.TARGETS if t.name == name)


ASSEMBLY = """
\t.type\tvoid mbinfer::(anonymous namespace)::depthwise_run<3, 1, false>(mbinfer::DepthwiseArgs const&, int), %function
void mbinfer::(anonymous namespace)::depthwise_run<3, 1, false>(mbinfer::DepthwiseArgs const&, int):
.LFB1:
\tldr\tx0, [x1]
.L2:\t// rows
\tldr\tq9, [x2], 16
.L3:
\tldp\tq1, q2, [sp, 32]\t// a spill
\tfmla\tv3.4s, v1.4s, v9.4s
\tfmla\tv4.4s, v2.4s, v9.4s
\tcmp\tx3, x4
\tbne\t.L3
\tfmla\tv5.4s, v1.4s, v9.4s
\tfmla\tv5.4s, v1.4s, v9.4s
\tfmla\tv5.4s, v1.4s, v9.4s
\tbne\t.L2
\t.size\tdepthwise_run, .-depthwise_run
\t.type\tmbinfer::(anonymous namespace)::depthwise_run<3, 1, true>(int), %function
.L4:
\tfmla\tv3.4s, v1.4s, v9.4s
\tbne\t.L4
\t.size\tborder, .-border
\t.type\tmbinfer::(anonymous namespace)::GemmTile<5, 2>::run(mbinfer::GemmArgs const&) [clone .isra.0], %function
.L5:
\tfmla\tv3.4s, v1.4s, v9.s[1]
\tb.gt\t.L5
\t.size\ttile, .-tile
\t.type\tmbinfer::(anonymous namespace)::pool(mbinfer::PoolArgs const*), %function
.L6:
\tfmla\tv3.4s, v1.4s, v9.4s
\tbne\t.L6
\t.size\tpool, .-pool
"""


def test_innermost_loops_are_found(arm):
    depthwise, tile = arm.arm_loops.find_loops(ASSEMBLY, target(arm, "aarch64").fma)
    assert (depthwise.kernel, depthwise.function) == ("depthwise", "depthwise_run<3, 1, false>")
    assert (depthwise.fmas, depthwise.stack, len(depthwise.body)) == (2, 1, 5)  # not the loop around it
    assert depthwise.body[0] == "ldp q1, q2, [sp, 32]" and depthwise.body[-1] == "bne .L3"
    assert (tile.kernel, tile.function, tile.fmas) == ("matrix", "GemmTile<5, 2>::run", 1)


@pytest.mark.parametrize(
    "name, line",
    [
        ("aarch64", "fmla v8.4s, v12.4s, v3.s[0]"),
        ("armv7", "vfma.f32 q1, q14, q9"),
        ("x86-64", "vfmadd231ps (%rax), %ymm1, %ymm0"),
    ],
)
def test_multiply_adds_are_known(arm, name, line):
    assert [t.name for t in arm.arm_loops.TARGETS if re.match(t.fma, line)] == [name]
    assert re.match(target(arm, name).fma, target(arm, name).limit.format(0))


def test_counts_are_added_up_by_symbol(arm, tmp_path):
    log = tmp_path / "log"
    log.write_text("count 40 mbinfer::gemm\nnoise 3 f\ncount 2 mbinfer::gemm\ncount 7 ?\n")
    assert arm.executed(["true"], log) == {"mbinfer::gemm": 42, "?": 7}


def test_the_tables(arm):
    loop = {
        "kernel": "matrix",
        "function": "GemmTile<5, 2>::run",
        "fmas": 80,
        "instructions": 99,
        "stack": 0,
        "cycles_per_fma": {"cortex-a53": 1.734, "cortex-a76": None, "cortex-a7": None},
    }
    limits = {"cortex-a53": 1.0, "cortex-a76": 0.5, "cortex-a7": None}
    counts = [
        {
            "machine": "aarch64",
            "core": "cortex-a53",
            "isa": isa,
            "dtype": dtype,
            "instructions": number,
            "macs": 2_000_000,
            "functions": {"gemm": number // 2},
        }
        for isa, dtype, number in (
            ("neon", "float32", 1_500_000),
            ("neon", "int8", 600_000),
            ("reference", "float32", 30_000_000),
            ("reference", "int8", 60_000_000),
        )
    ]
    text = arm.markdown([{"isa": "aarch64", "limits": limits, "loops": [loop]}], counts)
    for line in (
        "; no model of cortex-a7",
        "| the limit | | | | | 1.00 | 0.50 |",
        "| matrix | `GemmTile<5, 2>::run` | 80 | 99 | 0 | 1.73 | ? |",
        "| aarch64, cortex-a53 | neon | float32 | 1.5 | 0.75 |  | 0.050 | gemm 50 % |",
        "| aarch64, cortex-a53 | neon | int8 | 0.6 | 0.30 | 0.40 | 0.010 | gemm 50 % |",
    ):
        assert line in text


def test_the_table_of_peers(load_benchmark):
    peers = load_benchmark("arm_peers")
    found = {"mbinfer": 1_500_000, "ncnn": 3_000_000, "MNN": 2_000_000, "onnxruntime": "it crashed"}
    rows = [
        {"network": "n", "dtype": "float32", "core": "cortex-a53", "engine": engine, "instructions": number}
        for engine, number in found.items()
    ]
    text = peers.markdown(rows, {"n": "Net"})
    assert "| Net, float32 | cortex-a53 | 0.75 | 1.5 |  |  |  | 3.0 | 2.0 |" in text
    assert "Not counted: onnxruntime on cortex-a53 (it crashed)." in text


def test_instructions_of_one_inference(load_benchmark):
    peers = load_benchmark("arm_peers")

    def counter(error):
        return lambda command: (1000 + 7 * int(command[-1]), f"error {error}\n")

    assert peers.count(["engine"], counter(1e-6), 20, 1e-3) == 7
    assert peers.count(["engine"], counter(0.5), 20, 1e-3) == "the logits are off by 0.50 of the largest"


def test_llvm_mca(arm):
    if not shutil.which(arm.arm_loops.mca()):
        pytest.skip("needs llvm-mca")
    x86 = target(arm, "x86-64")
    assert arm.arm_loops.limit(x86, "haswell") == pytest.approx(0.5, abs=0.05)
    chain = ["vfmadd231ps %ymm1, %ymm2, %ymm0"]  # waits for itself
    assert arm.arm_loops.cycles(x86, "haswell", chain) == pytest.approx(5, abs=0.1)
    assert arm.arm_loops.limit(target(arm, "armv7"), "cortex-a7") is None  # LLVM has no model of it


LEAF = """#include <immintrin.h>
namespace mbinfer {
namespace {
template <int N>
__attribute__((noinline)) void gemm_tiles(const float* in, long count, float* out) {
  __m256 sum = _mm256_setzero_ps();
  for (long i = 0; i < count; i++) {
    sum = _mm256_fmadd_ps(_mm256_loadu_ps(in + 16 * i), _mm256_loadu_ps(in + 16 * i + N), sum);
  }
  _mm256_storeu_ps(out, sum);
}
}  // namespace
void both(const float* in, long count, float* out) {
  gemm_tiles<8>(in, count, out);
  gemm_tiles<5>(in, count, out + 8);
}
}  // namespace mbinfer
"""
LEAVES = """cmake_minimum_required(VERSION 3.18)
project(leaves LANGUAGES CXX)
add_library(mbinfer_avx2 OBJECT csrc/leaf.cpp)
target_compile_options(mbinfer_avx2 PRIVATE -O2 -mavx2 -mfma)
"""
compiles_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("cmake") or not shutil.which("g++"),
    reason="compiles kernels of x86-64",
)


@compiles_x86
def test_loops_of_what_the_build_compiles(arm, tmp_path):
    source = tmp_path / "csrc"
    source.mkdir()
    (source / "leaf.cpp").write_text(LEAF)
    (tmp_path / "CMakeLists.txt").write_text(LEAVES)
    x86 = target(arm, "x86-64")
    loops = arm.arm_loops.find_loops(arm.arm_loops.assembly(x86, source), x86.fma)
    assert [(loop.function, loop.fmas, loop.stack) for loop in loops] == [
        ("gemm_tiles<5>", 1, 0),
        ("gemm_tiles<8>", 1, 0),
    ]


def disassembled(unit: Path) -> str:
    """The functions of an object file as a compiler writes them: a label before each instruction, jumps to labels."""
    text = builds.command("objdump", "--disassemble", "--demangle", "--no-show-raw-insn", unit)
    text = re.sub(r"^[0-9a-f]+ <(.+)>:$", r"\t.type\t\1, @function", text, flags=re.M)
    text = re.sub(r"^ +([0-9a-f]+):\t(j\w+ +)([0-9a-f]+) <.*$", r".L\1:\n\t\2.L\3", text, flags=re.M)
    text = re.sub(r"^ +([0-9a-f]+):\t(.*)$", r".L\1:\n\t\2", text, flags=re.M)
    return text.replace("\n\n", "\n\t.size -\n")


@compiles_x86
@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
def test_the_kernels_have_the_names_that_are_looked_for(arm):
    """In the object that the tests build anyway, as compiling the unit once more takes half a minute."""
    (unit,) = (capi.install().parent / "build").glob("CMakeFiles/mbinfer_avx2.dir/**/*.o")
    loops = arm.arm_loops.find_loops(disassembled(unit), target(arm, "x86-64").fma)
    functions = {loop.function for loop in loops}
    assert {
        "depthwise_tiles<float, 3, 1, 8>",
        "depthwise_tiles<Half, 5, 2, 8>",
        "gemm_tiles<float, f32x8, 6, 2, true, true, false>",
        "gemm_tiles<Half, f32x8, 6, 2, false, false, false>",
    } <= functions
