"""Instructions of one warm inference by other engines on aarch64, beside ours: what `benchmarks/arm.py --peers` shows.

An arm64 Python runs the engines' own wheels under QEMU, with the plugin that counts. A folder has to hold both:

    ROOT/usr/bin/python3.11       Debian's arm64 packages python3-minimal, libpython3.11-stdlib, libstdc++6, libgomp1,
                                  unpacked there with `dpkg-deb -x`
    ROOT/site                     numpy, ai-edge-litert, onnxruntime, ncnn, MNN and what they import, by `pip install
                                  --no-deps --target ROOT/site --platform manylinux_2_28_aarch64 --only-binary=:all:`

Models are prepared by the engines of this machine's Python (`pip install '.[bench]'`). Wheels have no symbols, so that
totals are all that is known of them; some thousand instructions of each are the call from Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PEERS = {  # engine: the types that are counted
    "LiteRT + XNNPACK": ("float32", "int8"),
    "onnxruntime": ("float32", "int8"),
    "onnxruntime, S8S8": ("int8",),
    "ncnn": ("float32",),
    "MNN": ("float32",),
}
CORES = {"cortex-a53": "neon", "cortex-a76": "neon-dotprod"}  # core: our kernels
PARTS = {  # core: its number and what it has beyond the first 64-bit ones, in the words of Linux
    "cortex-a53": ("0xd03", ""),
    "cortex-a76": ("0xd0b", " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}
CPUINFO = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid{1}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {0}
CPU revision\t: 4

"""
NETWORKS = {"v2_035_96": 8, "v2_100_224": 4}  # network: warm inferences that are counted
OURS = "mbinfer"
FOLDER = Path(__file__).resolve().parent

# What runs under QEMU: an engine's adapter, opened and run so many times.
PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from engines import registry
folder = Path(sys.argv[3])
run = registry()[sys.argv[2]].open(folder, np.load(folder / "image.npy"), 1)
for _ in range(int(sys.argv[4])):
    logits = run()
error = float(np.abs(logits - np.load(folder / "logits.npy")).max() / np.abs(logits).max())
print("error", error, flush=True)
os._exit(0)
"""
INT8_TOLERANCE = 0.25  # as in peers.py


def prepare(work: Path, note: Callable[[str], None]) -> dict[tuple[str, str, str], Path]:
    """The networks in every engine's form, by network, type and engine; what cannot be made is left out."""
    from engines import registry
    from engines.networks import make_graph, write_network

    made = {}
    for network in NETWORKS:
        for dtype in ("float32", "int8"):
            graph, folder = make_graph(network, dtype), work / f"{network}.{dtype}"
            folder.mkdir(parents=True)
            write_network(graph, folder)
            for engine in (OURS, *(name for name, dtypes in PEERS.items() if dtype in dtypes)):
                try:
                    registry()[engine].prepare(graph, folder, 1)
                    made[network, dtype, engine] = folder
                except Exception as error:  # whatever an engine raises
                    note(f"{engine} on {network}, {dtype}: {error}")
    return made


def count(command: list, counter: Callable[[list], tuple[int, str]], runs: int, tolerance: float) -> int | str:
    """Instructions of one of `runs` after the second one, or why there are none."""
    totals = []
    for number in (2, 2 + runs):
        try:
            total, said = counter([*command, str(number)])
        except SystemExit as error:
            return str(error).strip().splitlines()[-1]
        found = re.search(r"^error (\S+)$", said, re.M)
        if found and not float(found[1]) <= tolerance:
            return f"the logits are off by {float(found[1]):.2f} of the largest"
        totals.append(total)
    if totals[1] <= totals[0]:
        return "its runs differ by more instructions than one of them takes"
    return (totals[1] - totals[0]) // runs


def report(root: Path, ours: Path, work: Path, emulate: Callable, note: Callable[[str], None]) -> list[dict]:
    """A row for each network, type, core and engine. `ours`: arm_infer; `emulate(core, environment, tree)`: what counts
    the instructions of a command, and gives what it printed."""
    from engines import registry

    rows = []
    program = work / "program.py"
    program.write_text(PROGRAM)
    python = {"PYTHONPATH": root / "site", "LD_LIBRARY_PATH": root / "usr/lib/aarch64-linux-gnu"}
    python |= {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}  # starts alike: numpy's threads spin while they wait
    started = set()
    for (network, dtype, engine), folder in prepare(work / "models", note).items():
        for core, isa in CORES.items():
            (root / "proc").mkdir(exist_ok=True)  # engines crash that read there of the host, which is no ARM
            (root / "proc/cpuinfo").write_text(CPUINFO.format(*PARTS[core]))
            if engine == OURS:
                command, counter = [ours, folder / "mbinfer.bin", isa, "auto"], emulate(core, {}, None)
            else:
                command = [root / "usr/bin/python3.11", program, FOLDER, engine, folder]
                counter = emulate(core, python, root)
                if engine not in started:  # the first time Python compiles what it imports
                    started.add(engine)
                    with suppress(SystemExit):
                        counter([*command, "1"])
            tolerance = INT8_TOLERANCE if dtype == "int8" else registry()[engine].tolerance
            found = count(command, counter, NETWORKS[network], tolerance)
            note(f"{network} {dtype} {core} {engine}: {found}")
            rows.append({"network": network, "dtype": dtype, "core": core, "engine": engine, "instructions": found})
    return rows


def markdown(rows: list[dict], names: dict[str, str]) -> str:
    engines = [OURS, *PEERS]
    lines = [
        "Million instructions of one warm inference on aarch64, under QEMU; not time.",
        "",
        f"| network | core | of the fewest of a peer | **{OURS}** | {' | '.join(engines[1:])} |",
        f"|---|---|---:|---:|{'---:|' * len(PEERS)}",
    ]
    failed = {}
    for network, dtype, core in dict.fromkeys((row["network"], row["dtype"], row["core"]) for row in rows):
        mine = {
            row["engine"]: row["instructions"]
            for row in rows
            if (row["network"], row["dtype"], row["core"]) == (network, dtype, core)
        }
        counts = {engine: number for engine, number in mine.items() if isinstance(number, int)}
        failed.update({(engine, core): why for engine, why in mine.items() if not isinstance(why, int)})
        peers = [number for engine, number in counts.items() if engine != OURS]
        ratio = f"{counts[OURS] / min(peers):.2f}" if peers and OURS in counts else ""
        cells = [f"{counts[engine] / 1e6:.1f}" if engine in counts else "" for engine in engines]
        lines.append(f"| {names[network]}, {dtype} | {core} | {ratio} | {' | '.join(cells)} |")
    if failed:
        lines += ["", "Not counted: " + "; ".join(f"{e} on {core} ({why})" for (e, core), why in failed.items()) + "."]
    return "\n".join(lines)
