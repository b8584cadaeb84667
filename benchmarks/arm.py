"""What the kernels cost on ARM, without ARM: llvm-mca on their inner loops, and instructions counted under QEMU.

    apt-get install g++ g++-aarch64-linux-gnu g++-arm-linux-gnueabihf llvm qemu-user cmake
    python benchmarks/arm.py [--json FILE] [--source FOLDER] [--peers ROOT]

loops   csrc/kernels/isa.cpp is compiled as the build compiles it, and the innermost loop with the most multiply-
        adds of every kernel function is found in the assembly. llvm-mca says how many cycles an iteration takes when it
        repeats and all loads hit the first-level cache. Cycles are given per multiply-add of a vector, beside the least
        that the same model allows. The models are LLVM's and coarse: cortex-a72 and cortex-a76 share one, and that of
        cortex-a53 makes every load wait for the multiply-adds before it, so that only its order of variants counts.
counts  MobileNetV2 0.35@96, float32 and int8, runs under qemu-aarch64 and qemu-arm with a plugin that counts
        instructions. The difference between two and three runs is one inference, loading and planning not counted.

peers   with --peers ROOT: other engines' aarch64 wheels and ours, counted alike, see arm_peers.py.

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
import arm_peers  # noqa: E402
from engines.networks import NETWORKS, make_graph  # noqa: E402

from mbinfer import model, zoo  # noqa: E402

EMULATORS = {  # name: what Debian calls it, emulator
    "aarch64": ("aarch64-linux-gnu", "qemu-aarch64"),
    "armv7": ("arm-linux-gnueabihf", "qemu-arm"),
}
CORES = (  # emulator, core, kernels
    ("aarch64", "cortex-a53", "neon"),
    ("aarch64", "cortex-a53", "reference"),
    ("aarch64", "cortex-a76", "neon-dotprod"),
    ("armv7", "cortex-a15", "neon"),
    ("armv7", "cortex-a15", "reference"),
)
NETWORK, DTYPES = "v2_035_96", ("float32", "int8")
TOOLS = ("cmake", "c++filt", *(f"{triplet}-g++" for triplet, _ in EMULATORS.values()))
TOOLS_OF = {"loops": ("g++", arm_loops.mca()), "counts": ("gcc", *(emulator for _, emulator in EMULATORS.values()))}
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
    """Instructions of one inference for each type, core and set of kernels, in all and by function."""
    report = []
    macs = zoo.count(make_graph(NETWORK)).macs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in DTYPES:
            model.save(make_graph(NETWORK, dtype), folder / f"{dtype}.bin")
        plugin = build_plugin(folder)
        programs = {machine: build_program(machine, source, folder / machine) for machine in EMULATORS}
        for machine, core, isa in CORES:
            triplet, emulator = EMULATORS[machine]
            emulated = [*counted(emulator, core, plugin, folder / "log", f"/usr/{triplet}"), programs[machine]]
            for dtype in DTYPES:
                words = [*emulated, folder / f"{dtype}.bin", isa, schedule]
                before, after = (executed([*words, runs], folder / "log") for runs in (2, 3))
                after.subtract(before)
                report.append(
                    {
                        "machine": machine,
                        "core": core,
                        "isa": isa,
                        "dtype": dtype,
                        "instructions": sum(after.values()),
                        "macs": macs,
                        "functions": readable(after),
                    }
                )
    return report


def build_plugin(folder: Path) -> Path:
    run("gcc", "-O2", "-fPIC", "-shared", ROOT / "benchmarks/arm_count.c", "-o", folder / "libcount.so")
    return folder / "libcount.so"


def counted(emulator: str, core: str, plugin: Path, log: Path, tree) -> list:
    """What stands before a command whose instructions are counted."""
    return [emulator, "-L", tree, "-cpu", core, "-plugin", plugin, "-d", "plugin", "-D", log]


def peers_report(source: Path, root: Path) -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin, log = build_plugin(folder), folder / "log"
        triplet, emulator = EMULATORS["aarch64"]

        def emulate(core: str, environment: dict, tree: Path | None):
            def counter(command: list) -> tuple[int, str]:
                log.write_text("")
                words = counted(emulator, core, plugin, log, tree or f"/usr/{triplet}")
                words += [word for key, value in environment.items() for word in ("-E", f"{key}={value}")]
                said = run("env", "-i", *words, *command)
                return sum(int(n) for n in re.findall(r"^count (\d+) ", log.read_text(errors="replace"), re.M)), said

            return counter

        ours = build_program("aarch64", source, folder / "build")
        return arm_peers.report(root, ours, folder, emulate, lambda text: print(text, file=sys.stderr, flush=True))


def build_program(machine: str, source: Path, build: Path) -> Path:
    """The library and arm_infer.c for `machine`."""
    run("cmake", "-S", source.parent, "-B", build, f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / machine}.cmake")
    run("cmake", "--build", build, "--parallel", "2", "--target", "mbinfer")
    words = [f"{EMULATORS[machine][0]}-gcc", "-O2", f"-I{source}", ROOT / "benchmarks/arm_infer.c"]
    run(*words, build / "libmbinfer.a", "-lstdc++", "-lm", "-lpthread", "-o", build / "infer")
    return build / "infer"


def executed(command: list, log: Path) -> Counter:
    """Instructions by symbol that `command` executes, by what the plugin leaves in `log`."""
    run("env", "-i", *command)  # an empty environment, as its size moves the stack
    count = Counter()
    for number, symbol in re.findall(r"^count (\d+) (.*)$", log.read_text(), re.M):
        count[symbol] += int(number)
    return count


def readable(counts: Counter) -> dict[str, int]:
    """The functions with the most instructions, by short names; some functions share one."""
    names = run("c++filt", input="\n".join(counts)).splitlines()
    short = Counter()
    for name, number in zip(names, counts.values()):
        short[arm_loops.short(name)] += number
    return dict(short.most_common(SHOWN))


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
            "| machine | kernels | type | million | per multiply-add | of float32 | of the reference | most in |",
            "|---|---|---|---:|---:|---:|---:|---|",
        ]
    found = {(row["machine"], row["isa"], row["dtype"]): row["instructions"] for row in counts}
    for row in counts:
        machine, isa, dtype, total = (row[key] for key in ("machine", "isa", "dtype", "instructions"))
        most = ", ".join(f"{name} {100 * number / total:.0f} %" for name, number in list(row["functions"].items())[:3])
        of_float = f"{total / found[machine, isa, 'float32']:.2f}" if dtype != "float32" else ""
        lines.append(
            f"| {machine}, {row['core']} | {isa} | {dtype} | {total / 1e6:.1f} | {total / row['macs']:.2f} | {of_float}"
            f" | {total / found[machine, 'reference', dtype]:.3f} | {most} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--source", type=Path, default=ROOT / "csrc", metavar="FOLDER", help="a csrc folder, CMakeLists.txt beside it"
    )
    parser.add_argument("--schedule", default="auto", help="of the inference that is counted")
    parser.add_argument("--only", choices=("loops", "counts"))
    parser.add_argument("--peers", type=Path, metavar="ROOT", help="counts other engines too, see arm_peers.py")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    source = options.source.resolve()
    parts = [] if options.peers else [options.only] if options.only else list(TOOLS_OF)
    missing = [tool for tool in (*TOOLS, *(t for part in parts for t in TOOLS_OF[part])) if not shutil.which(tool)]
    if missing:
        parser.error(f"{', '.join(missing)} not found; install what the first lines of --help say")
    loops = loop_report(source) if "loops" in parts else []
    counts = count_report(source, options.schedule) if "counts" in parts else []
    peers = peers_report(source, options.peers.resolve()) if options.peers else []
    if options.json:
        options.json.write_text(json.dumps({"loops": loops, "counts": counts, "peers": peers}, indent=1) + "\n")
    print(arm_peers.markdown(peers, {k: n[0] for k, n in NETWORKS.items()}) if peers else markdown(loops, counts))


if __name__ == "__main__":
    main()
