"""Memory of each schedule: the arena that the plan promises beside what the allocator and the kernel count.

    python benchmarks/memory.py [--network NAME] [--dtype int8|float16] [--json] [--plot FILE] [--readme]

Each row is measured in a fresh process and compared with a control process, which imports the same modules, makes the
same picture, and opens no session; what is seen of runs, over one that holds arrays as large as their results, too,
which are the caller's. The processes open a model of seeded random weights, run it twice and read

  planned    Plan.peak_bytes, known before the first run
  allocated  bytes in use by malloc (mallinfo2) and of anonymous mappings, over the control process: arena and
             bookkeeping, after the runs
  opening    the most memory that was resident (VmHWM) until the session was open, less the pages of mapped files then,
             over the control process. It is the larger of two: the same of a process that only plans, in which no
             weights come in after the planner's peak and hide it, and of opening for runs: bookkeeping, arena, and what
             the planner's heap left resident
  observed   the same during the runs: arena and bookkeeping
  file       resident pages of mapped files over the control process: the weights, used where they lie in the file, and
             code. The kernel can drop them at any time and read them again

VmHWM is restarted (clear_refs) once all is imported, so that no peak of an import hides one of the session, and again
once the session is open.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

import numpy as np
from markers import README, program_of, write_table

import mbinfer
from mbinfer import measure, model, zoo
from mbinfer.graph import Graph
from mbinfer.progress import progress
from mbinfer.quantize import noise, quantize
from mbinfer.show.text import size

DRAWN = {  # name: what makes it, and of which resolution
    "MobileNetV2 1.0@224": (partial(zoo.mobilenet_v2, 1.0), 224),
    "MobileNetV2 1.4@224": (partial(zoo.mobilenet_v2, 1.4), 224),
    "MobileNetV2 0.35@96": (partial(zoo.mobilenet_v2, 0.35), 96),
    "MobileNetV1 1.0@224": (partial(zoo.mobilenet_v1, 1.0), 224),
}
NETWORKS = {
    **DRAWN,
    "MobileNetV3-Large@224": (zoo.mobilenet_v3_large, 224),
    "EfficientNet-Lite0@224": (zoo.efficientnet_lite0, 224),
    "EfficientNet-B0@224": (zoo.efficientnet_b0, 224),
    "SSDLite-V2@320, to its boxes": (partial(zoo.ssdlite_v2, boxes=True), 320),
    "DeepLabv3-V2@513, to its mask": (partial(zoo.deeplab_v3, mask=True), 513),
}
SESSIONS = {  # name: options of Session
    "naive": {"schedule": "naive"},
    "layerwise": {"schedule": "layerwise"},
    "fused": {"schedule": "fused"},
    "auto": {},
    "least": {"schedule": "streamed", "memory_limit": "least"},
}
CONTROL = "control"
LONG_TABLES = README.parent / "docs" / "memory.md"
DTYPES = ("float32", "int8")

# Reported by others, not measured here, of int8 networks.
PUBLISHED = (
    ("TensorFlow Lite", "MobileNetV2 1.0@224", "1.4 MiB", "arena, layer by layer"),
    ("Arm Vela", "MobileNetV2 1.0@224", "353 KiB", "arena with the image in it"),
    ("MCUNetV2", "MobileNetV2 1.0@224", "172 kB", "arena without the image, 10 % more MACs"),
    ("Arm Vela", "MobileNetV2 0.35@144", "118 KiB", "arena with the image in it"),
    ("MCUNetV2", "MobileNetV2 0.35@144", "63 kB", "arena without the image"),
)


def agrees(planned: int, peak: int) -> bool:
    """To 3 %, and 256 KiB for pages, bookkeeping and the planner."""
    return abs(peak - planned) <= 0.03 * planned + (256 << 10)


class MallocInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def allocated_bytes() -> int | None:
    """Bytes that malloc has in use in its heap, and all anonymous memory beside heap and stacks, such as arenas and
    malloc's large blocks; None where malloc does not tell (not glibc)."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return None
    mallinfo2.restype = MallocInfo
    return mallinfo2().uordblks + anonymous_bytes()


def anonymous_bytes() -> int:
    """Of mappings that can be written and are of no file, neither the heap nor a stack."""
    total = 0
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            fields = line.split()  # addresses, permissions, offset, device, inode, and a name where there is one
            if fields[1].startswith("rw") and len(fields) == 5:
                begin, end = (int(address, 16) for address in fields[0].split("-"))
                total += end - begin
    return total


def result_bytes(path: str) -> int:
    """Of the arrays that a run returns, which are the caller's."""
    outputs = mbinfer.Session(path, plan_only=True).outputs
    return sum(np.dtype(output.dtype).itemsize * int(np.prod(output.shape)) for output in outputs)


def child(path: str, resolution: int, schedule: str, plan_only: bool, results: int) -> dict:
    """One process: everything up to the session, and the session unless this is the control process, which holds
    `results` bytes in its place."""
    picture = np.random.default_rng(0).integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)
    # Memory that is free but still resident would be used again by the session and go unnoticed.
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    allocated_bytes()
    reset = measure.reset_high_water()
    result = {"reset": reset}
    if schedule != CONTROL:
        session = mbinfer.Session(path, plan_only=plan_only, **SESSIONS[schedule])
        status = measure.memory_status()
        result["opening"] = status["VmHWM"] - status["RssFile"]
        if plan_only:
            return result
        measure.reset_high_water()
        for _ in range(2):
            session.run(picture)
    result["allocated"] = allocated_bytes()
    if schedule == CONTROL:
        result["before"] = measure.memory_status()["RssAnon"]
        held = np.ones(results, np.uint8)
    status = measure.memory_status()
    result["file"] = status["RssFile"]
    # The kernel keeps VmHWM in steps of some pages; nothing happened in the control process, so its exact count serves.
    result["observed"] = status["RssAnon"] if schedule == CONTROL else status["VmHWM"] - status["RssFile"]
    if schedule != CONTROL:
        result.update(planned=session.plan.peak_bytes, weights=session.plan.weight_bytes, isa=session.isa)
    else:
        del held
    return result


def fresh(path: str, resolution: int, schedule: str, plan_only: bool = False, results: int = 0) -> dict:
    command = [sys.executable, os.path.abspath(__file__), "--child", path, str(resolution), schedule, str(results)]
    command += ["--plan-only"] if plan_only else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def save_network(make: Callable[..., Graph], resolution: int, dtype: str, path: str) -> None:
    """Writes a network of seeded random weights, quantised after noise where that is asked for."""
    graph = make(resolution=resolution)
    halves = "float16" if dtype == "float16" else None
    model.save(quantize(graph, noise(graph, 1)) if dtype == "int8" else graph, path, halves)


def measure_all(networks: list[str], dtype: str) -> list[dict]:
    """A dict for each network and schedule, in bytes."""
    results = []
    cases = [(network, schedule) for network in networks for schedule in (CONTROL, *SESSIONS)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.bin")
        for network, schedule in progress(cases, " ".join):
            make, resolution = NETWORKS[network]
            if schedule == CONTROL:
                save_network(make, resolution, dtype, path)
                control = fresh(path, resolution, CONTROL, results=result_bytes(path))
                continue
            seen = fresh(path, resolution, schedule)
            row = {"network": network, "schedule": schedule, "dtype": dtype, "isa": seen["isa"]}
            row.update((name, seen[name]) for name in ("planned", "weights"))
            planning = fresh(path, resolution, schedule, plan_only=True)
            row["opening"] = max(seen["opening"], planning["opening"]) - control["before"]
            for name in ("allocated", "observed", "file"):
                row[name] = None if seen[name] is None else seen[name] - control[name]
            row["agrees"] = agrees(row["planned"], max(row["observed"], row["opening"]))
            row["reset"] = seen["reset"] and planning["reset"] and control["reset"]
            results.append(row)
    return results


def heading(results: list[dict]) -> list[str]:
    return [
        f"{results[0]['dtype']}, one thread, seeded random weights; bytes do not depend on them. `least` is `streamed`"
        ' with `memory_limit="least"`; `auto` is chosen by what the kernels of the CPU cost,'
        f" here {results[0]['isa']}.",
        "",
    ]


def compact(results: list[dict]) -> str:
    """A line for each network: planned arenas, and what was seen of the smallest one."""
    lines = [
        *heading(results),
        f"| the arena of | {' | '.join(SESSIONS)} | least, of naive | least, observed |",
        "|---|" + "---:|" * (len(SESSIONS) + 2),
    ]
    for network in dict.fromkeys(row["network"] for row in results):
        rows = {row["schedule"]: row for row in results if row["network"] == network}
        share = f"{100 * rows['least']['planned'] / rows['naive']['planned']:.1f} %"
        cells = [size(rows[schedule]["planned"]) for schedule in SESSIONS]
        lines.append(f"| {' | '.join([network, *cells, share, size(rows['least']['observed'])])} |")
    lines += [
        "",
        "Observed is the most memory that was resident during runs, less file pages, over a process that opens no"
        " session. All schedules as observed, opening, and file pages: [docs/memory.md](docs/memory.md), by"
        f" `python benchmarks/{program_of('memory.py', results[0]['dtype'])} --readme`.",
    ]
    return "\n".join(lines if results[0]["dtype"] != "int8" else [*lines, *published()])


def markdown(results: list[dict]) -> str:
    """A line for each network and schedule, and what its columns count."""
    lines = [
        *heading(results),
        "| network | schedule | planned: the arena | of naive | allocated: malloc and mappings | observed: peak"
        " resident in runs, without file pages | opening: the same, before | file pages: weights and code |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results:
        naive = next(r["planned"] for r in results if (r["network"], r["schedule"]) == (row["network"], "naive"))
        counts = [
            size(row[name]) if row[name] is not None else "" for name in ("allocated", "observed", "opening", "file")
        ]
        counts[1] += "" if row["agrees"] else " (!)"
        share = f"{100 * row['planned'] / naive:.1f} %"
        cells = (row["network"], row["schedule"], size(row["planned"]), share, *counts)
        lines.append(f"| {' | '.join(cells)} |")
    astray = [f"{row['network']} {row['schedule']}" for row in results if not row["agrees"]]
    lines += [
        "",
        "Allocated, observed, opening and file pages are counted over a control process that opens no session, by"
        " `python benchmarks/memory.py`. The caller's picture is in none of the columns, nor are the results."
        " Opening takes what planning needs, seen in a process that only plans, and then the arena beside what planning"
        " left: the larger counts. The larger of observed and opening, the peak of the process, has to agree with"
        " planned to 3 % + 256 KiB: " + (f"it does not in {', '.join(astray)}." if astray else "it does in every row."),
    ]
    if not all(row["reset"] for row in results):
        lines += ["", "The kernel did not let VmHWM start afresh, so that observed may be too low."]
    return "\n".join(lines)


def published() -> list[str]:
    """What others report of int8 networks."""
    lines = [
        "",
        "Published by others, without weights:",
        "",
        "| system | network | memory | what it counts |",
        "|---|---|---:|---|",
    ]
    return lines + [f"| {' | '.join(row)} |" for row in PUBLISHED]


def plot(results: list[dict], path: str) -> None:
    """Planned as bars and observed as lines across them, a panel for each network."""
    import matplotlib

    matplotlib.use("Agg")
    # The same picture gives the same file, with its words as text.
    matplotlib.rcParams.update({"svg.hashsalt": "mbinfer", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(DRAWN), figsize=(3.1 * len(DRAWN), 3.2), constrained_layout=True)
    for panel, network in zip(panels, DRAWN):
        rows = [row for row in results if row["network"] == network]
        names, planned, observed = zip(*((r["schedule"], r["planned"] / 2**20, r["observed"] / 2**20) for r in rows))
        panel.bar(names, planned, color="#8fb8de", label="planned: the arena")
        panel.plot(
            names,
            observed,
            "_",
            color="#c0392b",
            markersize=26,
            markeredgewidth=1.5,
            label="observed: peak resident memory without file pages",
        )
        for row, *tops in zip(rows, planned, observed):
            panel.annotate(
                size(row["planned"]),
                (row["schedule"], max(tops)),
                (0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        panel.set_title(network, fontsize=10)
        panel.margins(y=0.12)
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"MiB, {results[0]['dtype']}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), help="measure this one only")
    parser.add_argument("--dtype", choices=(*DTYPES, "float16"), default=DTYPES[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--plot", metavar="FILE", help="draw it, as .svg or .png (needs matplotlib)")
    parser.add_argument("--readme", action="store_true", help="write the tables of README.md and docs/memory.md")
    parser.add_argument(
        "--child", nargs=4, metavar=("MODEL", "RESOLUTION", "SCHEDULE", "RESULTS"), help=argparse.SUPPRESS
    )
    parser.add_argument("--plan-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.network and (options.plot or options.readme):
        parser.error("--plot and --readme show all networks")
    if options.child:
        path, resolution, schedule, results = options.child
        print(json.dumps(child(path, int(resolution), schedule, options.plan_only, int(results))))
        return
    results = measure_all([options.network] if options.network else list(NETWORKS), options.dtype)
    if options.plot:
        plot(results, options.plot)
    if options.readme:
        program = program_of("memory.py", options.dtype)
        write_table(program, compact(results))
        write_table(program, markdown(results), LONG_TABLES)
    print(json.dumps(results, indent=1) if options.json else markdown(results))


if __name__ == "__main__":
    main()
