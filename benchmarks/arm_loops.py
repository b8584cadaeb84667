"""The inner loops of compiled kernels and what llvm-mca says of them, for benchmarks/arm.py."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

TOOLCHAINS = Path(__file__).resolve().parents[1] / "cmake"
ITERATIONS = 200


@dataclass(frozen=True)
class Target:
    """An instruction set: what its multiply-adds look like, and the cores to ask about.

    `unit` is what the build calls its float32 kernels; `toolchain` is a file of cmake/, or empty for this machine's own
    compiler; `triple` and `attributes` are LLVM's;
    `limit` writes the i-th of `chains` multiply-adds that do not wait for each other.
    """

    name: str
    unit: str
    toolchain: str
    triple: str
    attributes: str
    cores: tuple[str, ...]
    fma: str
    limit: str
    chains: int


TARGETS = (
    Target(
        "aarch64",
        "neon",
        "aarch64.cmake",
        "aarch64-linux-gnu",
        "",
        ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"),
        r"fmla\b",
        "fmla v{}.4s, v30.4s, v31.4s",
        24,
    ),
    Target(
        "armv7",
        "neon",
        "armv7.cmake",
        "thumbv7-linux-gnueabihf",
        "+neon,+vfp4",
        ("cortex-a7", "cortex-a15", "cortex-a57"),
        r"vfma\.f32\b",
        "vfma.f32 q{}, q14, q15",
        12,
    ),
    Target(
        "x86-64",
        "avx2",
        "",
        "x86_64-linux-gnu",
        "",
        ("znver3", "haswell"),
        r"vfmadd\d+ps\b",
        "vfmadd231ps %ymm14, %ymm15, %ymm{}",
        12,
    ),
)


@dataclass
class Loop:
    """`body`: instructions from a label to the branch back to it. `stack`: how many of them use the stack."""

    kernel: str
    function: str
    body: list[str]
    fmas: int
    stack: int
    cycles: dict[str, float] = field(default_factory=dict)  # core: of one iteration


def assembly(target: Target, source: Path) -> str:
    """The kernels of `source`, a csrc folder, as the build compiles them, with readable names."""
    with tempfile.TemporaryDirectory() as build:
        command = ["cmake", "-S", str(source.parent), "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
        if target.toolchain:
            command.append(f"-DCMAKE_TOOLCHAIN_FILE={TOOLCHAINS / target.toolchain}")
        subprocess.run(command, check=True, capture_output=True, text=True)
        entries = json.loads((Path(build) / "compile_commands.json").read_text())
        words = next(shlex.split(e["command"]) for e in entries if f"mbinfer_{target.unit}.dir/" in e["command"])
        words[words.index("-o") + 1] = "-"
        words[words.index("-c")] = "-S"
        made = subprocess.run(words, cwd=build, check=True, capture_output=True, text=True).stdout
    return subprocess.run(["c++filt"], input=made, check=True, capture_output=True, text=True).stdout


def find_loops(text: str, fma: str) -> list[Loop]:
    """The innermost loop with the most multiply-adds of every function of the matrix and depthwise kernels."""
    best: dict[str, Loop] = {}
    for function, lines in functions(text):
        kernel = re.search(r"[gG]emm|run_panels|depthwise", function)
        if not kernel or (kernel[0] == "depthwise" and "true>" in function):  # tiles at the border of a map only
            continue
        kernel = "depthwise" if kernel[0] == "depthwise" else "matrix"
        labels: dict[str, int] = {}
        body: list[str] = []
        for line in lines:
            if label := re.match(r"(\.L\w+):", line):
                labels[label[1]] = len(body)
                continue
            body.append(line)
            target = re.search(r"\.L\w+\s*$", line)
            if target and target[0].strip() in labels:  # a branch back: the end of a loop
                start = labels[target[0].strip()]
                loop = body[start:]
                labels = {name: at for name, at in labels.items() if at >= start}  # loops around this one do not count
                fmas = sum(bool(re.match(fma, instruction)) for instruction in loop)
                if fmas > (best[function].fmas if function in best else 0):
                    stack = sum(bool(re.search(r"\bsp\b|%rsp", instruction)) for instruction in loop)
                    best[function] = Loop(kernel, short(function), loop, fmas, stack)
    return sorted(best.values(), key=lambda loop: (loop.kernel, -loop.fmas, loop.function))


def functions(text: str):
    """Name and lines, labels and instructions only, of every function."""
    name, lines = "", []
    for line in text.splitlines():
        if start := re.match(r"\s*\.type\s+(.+),\s*[@%]function", line):
            name, lines = start[1], []
        elif re.match(r"\s*\.size\s", line) and name:
            yield name, lines
            name = ""
        elif name:
            code = re.sub(r"\s*(@ |// ).*", "", line).strip().replace("\t", " ")
            if re.match(r"\.L\w+:", code) or code and code[0] not in ".#@" and not code.endswith(":"):
                lines.append(code)


def short(function: str) -> str:
    """``GemmTile<5, 2>::run`` of a demangled declaration."""
    function = re.sub(r"mbinfer::|\(anonymous namespace\)::|^(void|int) | \[clone.*", "", function)
    function = re.sub(r"\(\w+\)(\d)", r"\1", function)  # a number of an enumeration
    return re.sub(r"\(.*", "", function)


def cycles(target: Target, core: str, body: list[str]) -> float | None:
    """Of one iteration of `body` when it repeats, by llvm-mca; None where it has no model."""
    command = [
        mca(),
        f"-mtriple={target.triple}",
        f"-mattr={target.attributes}",
        f"-mcpu={core}",
        f"-iterations={ITERATIONS}",
    ]
    done = subprocess.run(command, input="\n".join(body) + "\n", capture_output=True, text=True)
    if done.returncode != 0:
        if "scheduling" in done.stderr:  # no model of the core, or not of an instruction
            return None
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1]) / ITERATIONS


def limit(target: Target, core: str) -> float | None:
    """Cycles per multiply-add of a vector when nothing else is in the way."""
    found = cycles(target, core, [target.limit.format(i) for i in range(target.chains)])
    return None if found is None else found / target.chains


def mca() -> str:
    names = (*(f"llvm-mca-{version}" for version in range(21, 13, -1)), "llvm-mca")  # the newest knows most
    return next((path for name in names if (path := shutil.which(name))), "llvm-mca")
