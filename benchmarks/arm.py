"""What the kernels cost on ARM, without ARM: llvm-mca on their inner loops, and instructions counted under QEMU.

    apt-get install g++ g++-aarch64-linux-gnu g++-arm-linux-gnueabihf llvm qemu-user cmake
    python benchmarks/arm.py [--json FILE] [--source FOLDER]

loops   csrc/kernels/isa.cpp is compiled as the build compiles it, and the innermost loop with the most multiply-
        adds of every kernel function is found in the assembly. llvm-mca says how many cycles an iteration takes when it
        repeats and all loads hit the first-level cache. Cycles are given per multiply-add of a vector, beside the least
        that the same model allows. The models are LLVM's and coarse: cortex-a72 and cortex-a76 share one, and that of
        cortex-a53 makes every load wait for the multiply-adds before it, so that only its order of variants counts.
counts  MobileNetV2 0.35@96 runs under qemu-aarch64 and qemu-arm with a plugin that counts instructions. The difference
        between two and three runs is one inference, loading and planning not counted.

`--source` takes another csrc folder, to compare tiles before they are adopted.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # mbinfer may be built in the source folder, not installed

import arm_loops  # noqa: E402

from mbinfer import model, zoo  # noqa: E402

EMULATORS = {  # name: what Debian calls it, emulator, core
    "aarch64": ("aarch64-linux-gnu", "qemu-aarch64", "cortex-a53"),
    "armv7": ("arm-linux-gnueabihf", "qemu-arm", "cortex-a15"),
}
ISAS = ("neon", "reference")
TOOLS = ("cmake", "c++filt", *(f"{triplet}-g++" for triplet, _, _ in EMULATORS.values()))
TOOLS_OF = {"loops": ("g++", arm_loops.mca()), "counts": ("gcc", *(emulator for _, emulator, _ in EMULATORS.values()))}
SHOWN = 6  # functions of a count


def run(*command, **options) -> str:
    """The standard output of a command; SystemExit with what it said where it failed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


def loop_report(source: Path, least_fmas: int = 6) -> list[dict]:
    """For each instruction set its cores, their limits and the loops of at least `least_fmas` multiply-adds."""
    report = []
    for target in arm_loops.TARGETS:
        limits = {core: arm_loops.limit(target, core) for core in target.cores}
        loops = []
        for loop in arm_loops.find_loops(arm_loops.assembly(target, source), target.fma):
            if loop.fmas < least_fmas:
                continue
            cycles = {core: arm_loops.cycles(target, core, loop.body) for core in target.cores}
            per_fma = {core: found and found / loop.fmas for core, found in cycles.items()}
            loops.append(
                {
                    "kernel": loop.kernel,
                    "function": loop.function,
                    "fmas": loop.fmas,
                    "instructions": len(loop.body),
                    "stack": loop.stack,
                    "cycles_per_fma": per_fma,
                }
            )
        report.append({"isa": target.name, "limits": limits, "loops": loops})
    return report


def count_report(source: Path, schedule: str) -> list[dict]:
    """Instructions of one inference of MobileNetV2 0.35@96 for each emulator and ISA, in all and by function."""
    report = []
    graph = zoo.mobilenet_v2(width=0.35, resolution=96, seed=0)
    macs = zoo.count(graph).macs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(graph, folder / "model.bin")
        plugin = folder / "libcount.so"
        run("gcc", "-O2", "-fPIC", "-shared", ROOT / "benchmarks/arm_count.c", "-o", plugin)
        for machine, (triplet, emulator, core) in EMULATORS.items():
            build = folder / machine
            run("cmake", "-S", source.parent, "-B", build, f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / machine}.cmake")
            run("cmake", "--build", build, "--parallel", "2", "--target", "mbinfer")
            run(
                f"{triplet}-gcc",
                "-O2",
                f"-I{source}",
                ROOT / "benchmarks/arm_infer.c",
                build / "libmbinfer.a",
                "-lstdc++",
                "-lm",
                "-lpthread",
                "-o",
                build / "infer",
            )
            emulated = [
                emulator,
                "-L",
                f"/usr/{triplet}",
                "-cpu",
                core,
                "-plugin",
                plugin,
                "-d",
                "plugin",
                "-D",
                folder / "log",
                build / "infer",
                folder / "model.bin",
            ]
            for isa in ISAS:
                before, after = (executed([*emulated, isa, schedule, runs], folder / "log") for runs in (2, 3))
                after.subtract(before)
                report.append(
                    {
                        "machine": machine,
                        "isa": isa,
                        "instructions": sum(after.values()),
                        "macs": macs,
                        "functions": dict(readable(after.most_common(SHOWN))),
                    }
                )
    return report


def executed(command: list, log: Path) -> Counter:
    """Instructions by symbol that `command` executes, by what the plugin leaves in `log`."""
    run("env", "-i", *command)  # an empty environment, as its size moves the stack
    count = Counter()
    for number, symbol in re.findall(r"^count (\d+) (.*)$", log.read_text(), re.M):
        count[symbol] += int(number)
    return count


def readable(counts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    names = run("c++filt", input="\n".join(symbol for symbol, _ in counts)).splitlines()
    return [(arm_loops.short(name), number) for name, (_, number) in zip(names, counts)]


def markdown(loops: list[dict], counts: list[dict]) -> str:
    lines = []
    for part in loops:
        cores = [core for core, limit in part["limits"].items() if limit]
        unknown = "".join(f"; no model of {core}" for core, limit in part["limits"].items() if not limit)
        lines += [
            f"**{part['isa']}**, cycles per multiply-add of a vector{unknown}",
            "",
            f"| kernel | loop of | multiply-adds | instructions | of them on the stack | {' | '.join(cores)} |",
            f"|---|---|---:|---:|---:|{'---:|' * len(cores)}",
            f"| the limit | | | | | {' | '.join(format(part['limits'][core], '.2f') for core in cores)} |",
        ]
        for loop in part["loops"]:
            per_fma = [loop["cycles_per_fma"][core] for core in cores]
            cells = [loop["kernel"], f"`{loop['function']}`"]
            cells += [str(loop[key]) for key in ("fmas", "instructions", "stack")]
            cells += ["?" if cycles is None else f"{cycles:.2f}" for cycles in per_fma]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    if counts:
        lines += [
            "**MobileNetV2 0.35@96**, instructions of one inference",
            "",
            "| machine | kernels | million | per multiply-add | of the reference | most in |",
            "|---|---|---:|---:|---:|---|",
        ]
    for row in counts:
        total = row["instructions"]
        reference = next(r["instructions"] for r in counts if (r["machine"], r["isa"]) == (row["machine"], "reference"))
        most = ", ".join(f"{name} {100 * number / total:.0f} %" for name, number in list(row["functions"].items())[:3])
        lines.append(
            f"| {row['machine']} | {row['isa']} | {total / 1e6:.1f} | {total / row['macs']:.2f}"
            f" | {total / reference:.3f} | {most} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=ROOT / "csrc", metavar="FOLDER", help="a csrc folder, CMakeLists.txt beside it"
    )
    parser.add_argument("--schedule", default="auto", help="of the inference that is counted")
    parser.add_argument("--only", choices=("loops", "counts"))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    source = options.source.resolve()
    parts = [options.only] if options.only else list(TOOLS_OF)
    missing = [tool for tool in (*TOOLS, *(t for part in parts for t in TOOLS_OF[part])) if not shutil.which(tool)]
    if missing:
        parser.error(f"{', '.join(missing)} not found; install what the first lines of --help say")
    loops = loop_report(source) if "loops" in parts else []
    counts = count_report(source, options.schedule) if "counts" in parts else []
    if options.json:
        options.json.write_text(json.dumps({"loops": loops, "counts": counts}, indent=1) + "\n")
    print(markdown(loops, counts))


if __name__ == "__main__":
    main()
