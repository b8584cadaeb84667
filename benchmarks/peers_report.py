"""What benchmarks/peers.py measured, as tables: a long one for each network, and a short one for each machine.

`peers.json` keeps the last report of each machine, type and number of threads, from which both documents are written:
docs/peers.md and the part of README.md between its markers.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from pathlib import Path

from engines.networks import NETWORKS
from markers import write_table

OURS = "mbinfer"
BAR = 24  # characters
STORE = Path(__file__).resolve().parent / "peers.json"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "peers.md"


def _against_peers(mine: list[dict], rows: list[dict], key: str) -> float | None:
    """Median over the rounds of one engine's figure over the least of its peers in the same round."""
    ratios = []
    for row in mine:
        peers = [
            other[key]
            for other in rows
            if (other["network"], other["round"]) == (row["network"], row["round"])
            and other["engine"] != OURS
            and not (other["half"] and key == "peak_memory")
        ]
        ratios += [row[key] / min(peers)] if peers else []
    return statistics.median(ratios) if ratios else None


def summarise(rows: list[dict], macs: dict[str, int]) -> list[dict]:
    """A row for each network and engine: medians over the rounds, and of the ratios within each round.

    ``ratio`` is to the fastest peer of the round, None without one; ``first_ratio`` and ``memory_ratio`` likewise, the
    latter to peers with float32 weights only. ``minimum`` is the least of all rounds; ``of_peak`` uses the limit
    measured in the same process.
    """
    summary = []
    for network, engine in dict.fromkeys((row["network"], row["engine"]) for row in rows):
        mine = [row for row in rows if (row["network"], row["engine"]) == (network, engine)]
        middle = {
            key: statistics.median(row[key] for row in mine)
            for key in ("median", "first", "cold", "cores", "peak_memory", "anonymous_memory", "gflops_peak")
        }
        summary.append(
            {
                "network": network,
                "engine": engine,
                "rounds": len(mine),
                **middle,
                "minimum": min(row["min"] for row in mine),
                "ratio": _against_peers(mine, rows, "median"),
                "first_ratio": _against_peers(mine, rows, "first"),
                "memory_ratio": _against_peers(mine, rows, "peak_memory"),
                "cold_ratio": statistics.median(row["cold"] / row["median"] for row in mine),
                "of_peak": statistics.median(2e-9 * macs[network] / row["median"] / row["gflops_peak"] for row in mine),
                "error": max(row["error"] for row in mine),
            }
        )
    return summary


COLUMNS = (
    "engine",
    "",
    "median, ms",
    "least, ms",
    "of the fastest peer",
    "of the limit",
    "load to first result, ms",
    "first run, of a warm one",
    "memory: most / anonymous, MB",
)


def threads_of(report: dict) -> str:
    return "one thread" if report["threads"] == 1 else f"{report['threads']} threads"


def markdown(report: dict) -> str:
    """One table for each network, fastest first, with bars of the medians."""
    limits, dtype = [row["gflops_peak"] for row in report["summary"]] or [0], report["dtype"]
    threads = threads_of(report) + (", processor time" if report["clock"] == "processor" else "")
    peaks = ", ".join(f"{rate:.0f} in {width} registers" for width, rate in report["peaks"].items())
    lines = [
        f"{dtype}, {threads}, {report['machine']}, {report['date']}, medians of {report['rounds']} rounds. The"
        " machine's limit (fused multiply-adds in registers), measured in the same processes:"
        f" {min(limits):.0f} to {max(limits):.0f} GFLOP/s{f'; one core {peaks}' if peaks else ''}."
    ]
    if report["isas"]:
        said = "; ".join(f"{engine}: {isa}" for engine, isa in report["isas"].items())
        lines += ["", f"Instruction sets by the engines' own report: {said}. The others say nothing."]
    for network in report["networks"]:
        rows = sorted((row for row in report["summary"] if row["network"] == network), key=lambda row: row["median"])
        if not rows:
            continue
        ours = None
        longest = min(rows[-1]["median"], 3 * rows[0]["median"])
        million = report["macs"][network] / 1e6
        lines += [
            "",
            f"**{NETWORKS[network][0]}**, {million:.0f} million multiply-adds",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"|---|---|{'---:|' * (len(COLUMNS) - 2)}",
        ]
        for row in rows:
            name = f"{row['engine']} {report['versions'][row['engine']]}"
            bar = "█" * max(1, round(BAR * min(row["median"] / longest, 1)))
            memory = f"{row['peak_memory'] / 1e6:.1f} / {row['anonymous_memory'] / 1e6:.1f}"
            cells = (
                f"**{name}**" if row["engine"] == OURS else name,
                bar + "…" if row["median"] > longest else bar,
                f"{row['median'] * 1e3:.2f}",
                f"{row['minimum'] * 1e3:.2f}",
                f"{row['ratio']:.2f}" if row["ratio"] else "",
                f"{100 * row['of_peak']:.0f} %",
                f"{row['first'] * 1e3:.1f}",
                f"{row['cold_ratio']:.2f}",
                memory,
            )
            lines.append(f"| {' | '.join(cells)} |")
            if row["engine"] == OURS and row["ratio"]:
                ours = row
        if ours:
            lines += [
                "",
                f"mbinfer, of the best peer in each round: time {ours['ratio']:.2f}, load to first result"
                f" {ours['first_ratio']:.2f}, most memory {ours['memory_ratio']:.2f} ({dtype} peers).",
            ]
    missing = [f"{name} ({why})" for name, why in report["missing"].items()]
    for network, failed in report["failures"].items():
        missing += [f"{name} on {NETWORKS[network][0]} ({why})" for name, why in failed.items()]
    if missing:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    busy = {row["engine"] for row in report["summary"] if row["cores"] > report["threads"] + 0.1}
    if busy:
        lines += ["", f"Used more cores than it was given threads: {', '.join(sorted(busy))}."]
    return "\n".join(lines)


def store(report: dict, path: Path = STORE) -> list[dict]:
    """Keeps `report` in place of the last one of its machine, type and threads; all that are kept, in their order."""

    def key(kept: dict) -> tuple:
        return kept["machine"], kept["dtype"], kept["threads"]

    kept = json.loads(path.read_text()) if path.exists() else []
    new = {name: _short(value) for name, value in report.items() if name != "rows"}
    machines = list(dict.fromkeys([*(old["machine"] for old in kept), report["machine"]]))
    kept = [old for old in kept if key(old) != key(new)] + [new]
    kept.sort(key=lambda old: (machines.index(old["machine"]), old["dtype"], old["threads"]))
    path.write_text("[\n" + ",\n".join(json.dumps(old) for old in kept) + "\n]\n")
    return kept


def _short(value):
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def write_documents(reports: list[dict]) -> None:
    write_table("peers.py", compact(reports))
    lines = ["# Beside other engines", "", INTRODUCTION]
    for report in reports:
        lines += ["", f"## {report['machine']}: {report['dtype']}, {threads_of(report)}", "", markdown(report)]
    DOCUMENT.write_text("\n".join(lines) + "\n", encoding="utf-8")


INTRODUCTION = """\
Every engine runs in a fresh process for every network and round, and the processes of a round take turns, so that what
else the machine does meets all of them: `python benchmarks/peers.py --readme`, which writes this file. A ratio is of
medians within a round, and its median over the rounds; peers run at their best settings. A machine that was measured
before keeps its tables."""


def compact(reports: list[dict]) -> str:
    """For each machine a table of milliseconds: a row a type, network and number of threads, a column an engine."""
    lines = []
    for machine_name in dict.fromkeys(report["machine"] for report in reports):
        mine = [report for report in reports if report["machine"] == machine_name]
        engines = [engine for engine in _by_speed(mine) if engine != OURS]
        dates = sorted({report["date"] for report in mine})
        versions = {engine: version for report in mine for engine, version in report["versions"].items() if version}
        lines += [
            f"**{machine_name}**, {' and '.join(dates)}. Milliseconds, medians; mbinfer's of the fastest peer's time in"
            " the same round.",
            "",
            f"| | of the fastest peer | **mbinfer {versions.get(OURS, '')}** | {' | '.join(engines)} |",
            f"|---|---:|---:|{'---:|' * len(engines)}",
        ]
        for report in mine:
            for network in report["networks"]:
                found = {row["engine"]: row for row in report["summary"] if row["network"] == network}
                if OURS not in found:
                    continue
                ours, fastest = found[OURS], min((row["median"] for row in found.values()), default=0)
                cells = [f"{1e3 * found[e]['median']:.2f}" if e in found else "" for e in (OURS, *engines)]
                cells = [
                    f"**{cell}**" if e in found and found[e]["median"] == fastest else cell
                    for e, cell in zip((OURS, *engines), cells)
                ]
                threads = "" if report["threads"] == 1 else f", {threads_of(report)}"
                ratio = f"{ours['ratio']:.2f}" if ours["ratio"] else ""
                name = f"{NETWORKS[network][0]}, {report['dtype']}{threads}"
                lines.append(f"| {name} | {ratio} | {' | '.join(cells)} |")
        lines += [
            "",
            f"Versions: {', '.join(f'{engine} {versions[engine]}' for engine in engines if engine in versions)}.",
            "",
        ]
    lines.append(
        "Load times, memory, least times and instruction sets: [docs/peers.md](docs/peers.md); by"
        " `python benchmarks/peers.py --readme`."
    )
    return "\n".join(lines)


def _by_speed(reports: list[dict]) -> list[str]:
    """Engines, the one that is least behind the fastest first."""
    behind: dict[str, list[float]] = {}
    for report in reports:
        for network in report["networks"]:
            found = [row for row in report["summary"] if row["network"] == network]
            for row in found:
                behind.setdefault(row["engine"], []).append(row["median"] / min(r["median"] for r in found))
    return sorted(behind, key=lambda engine: statistics.median(behind[engine]))


def machine() -> str:
    """What the processor calls itself, without addresses or names of hosts."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        names = []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
