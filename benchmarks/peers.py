"""Latency and memory of mbinfer and of other engines on the same networks, side by side on this machine.

    pip install '.[bench]'
    python benchmarks/peers.py [--dtype int8] [--threads 2] [--machine NAME] [--json FILE] [--readme]

Every engine runs in a fresh process for every network and round. The processes of a round are timed in short turns, one
engine after the other, so that whatever else the machine does meets all of them. A round's ratio is an engine's median
over that of the fastest peer of the same round; the table shows the medians over all rounds. Peers are timed from an
input that is in their own tensor already to logits that are in one; mbinfer from one numpy array to another. An engine
that is not installed, that cannot convert a network or whose logits differ is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # mbinfer may be built in the source folder, not installed

from engines import child, registry
from engines.networks import NETWORKS, make_graph, write_network
from peers_report import OURS, machine, markdown, store, summarise, write_documents

from mbinfer import _core, zoo

PREPARE_SECONDS, MEASURE_SECONDS = 900, 300  # at most
TURNS = 5  # of each engine in a round
WIDTHS = {"avx2": "256-bit", "avx512": "512-bit", "neon": "128-bit"}
ISA = "isa"  # what a process is asked once it was timed
INT8_TOLERANCE = 0.25  # of random weights: one number rounded another way in an early layer moves all logits
PAUSE_SECONDS = 0.25  # before a turn on several threads: those of the engine before it may wait awake for a while


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def version(engine) -> str | None:
    """The versions of the distributions of `engine`; None where one is missing."""
    try:
        return ", ".join(importlib.metadata.version(package) for package in engine.packages)
    except importlib.metadata.PackageNotFoundError:
        if engine.name == OURS:  # built in the source folder
            import mbinfer

            return mbinfer.__version__
        return None


class Fresh:
    """This file in a new process, which answers a request by a line of JSON, and each line it is told by another."""

    def __init__(self, threads: int, limit: int, *request):
        command = [sys.executable, os.path.abspath(__file__), "--child", json.dumps([str(r) for r in request])]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        self.errors, self.limit = tempfile.TemporaryFile("w+"), limit
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.late = threading.Timer(limit, self.process.kill)
        self.late.start()

    def answer(self) -> dict:
        """``{"failed": why}`` where the process has ended."""
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status, late = self.process.wait(), not self.late.is_alive()
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        if late:
            return {"failed": f"took more than {self.limit} s"}
        return {"failed": lines[-1] if lines else f"ended with status {status}"}

    def tell(self, line: str) -> dict:
        try:
            print(line, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the answer says why
        return self.answer()

    def end(self) -> None:
        self.late.cancel()
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def run_child(request: list[str]) -> None:
    """In the new process. Whatever an engine prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    action, *rest = request
    if action == "prepare":
        engine, network, dtype, folder, threads = rest
        child.prepare(engine, network, dtype, Path(folder), int(threads))
        print(json.dumps({}), file=answers, flush=True)
    else:
        engine, folder, threads, clock = rest
        subject = child.Subject(engine, Path(folder), int(threads), clock)
        print(json.dumps({}), file=answers, flush=True)
        for line in sys.stdin:
            if line.strip() == ISA:
                print(json.dumps({ISA: subject.isa()}), file=answers, flush=True)
            else:
                subject.turn(float(line))
                print(json.dumps(subject.result()), file=answers, flush=True)
    os._exit(0)  # some engines do not end cleanly


def prepare(names: list[str], networks: list[str], dtype: str, threads: int, work: Path) -> dict[str, dict[str, str]]:
    """Makes the networks in every engine's form; for each network, why an engine cannot run it."""
    failures: dict[str, dict[str, str]] = {}
    for network in networks:
        folder = work / network
        folder.mkdir(parents=True, exist_ok=True)
        failures[network] = {}
        if not (folder / "logits.npy").exists():
            write_network(make_graph(network, dtype), folder)
        for name in names:
            done = folder / f"{re.sub('[^a-zA-Z0-9]+', '_', name)}_{threads}.prepared"
            if name != OURS and done.exists():
                continue
            note(f"prepare {network} for {name}")
            process = Fresh(threads, PREPARE_SECONDS, "prepare", name, network, dtype, folder, threads)
            result = process.answer()
            process.end()
            if "failed" in result:
                failures[network][name] = result["failed"]
                note(f"  {name}: {result['failed']}")
            else:
                done.touch()
    return failures


def measure(names, networks, failures, options, work: Path) -> list[dict]:
    """A row for each round, network and engine. All engines of a round are opened one by one, then take turns."""
    engines, rows = registry(), []
    for index in range(options.rounds):
        for network in networks:
            able = [name for name in names if name not in failures[network]]
            processes, results = {}, {}
            for name in able[index % len(able) :] + able[: index % len(able)]:
                processes[name] = Fresh(
                    options.threads, MEASURE_SECONDS, "measure", name, work / network, options.threads, options.clock
                )
                results[name] = processes[name].answer()
            for _ in range(TURNS):
                for name in [name for name in processes if "failed" not in results[name]]:
                    time.sleep(PAUSE_SECONDS if options.threads > 1 else 0)
                    results[name] = processes[name].tell(str(options.seconds / TURNS))
            for name, result in results.items():
                said = {} if "failed" in result else processes[name].tell(ISA)
                processes[name].end()
                tolerance = INT8_TOLERANCE if options.dtype == "int8" else engines[name].tolerance
                if "failed" not in result and (result["error"] is None or result["error"] > tolerance):
                    result = {"failed": f"the logits are off by {result['error']} of the largest"}
                if "failed" in result:
                    failures[network][name] = result["failed"]
                    note(f"round {index + 1} {network} {name}: {result['failed']}")
                    rows = [row for row in rows if (row["network"], row["engine"]) != (network, name)]
                    continue
                own = {"round": index, "network": network, "engine": name, "half": engines[name].half}
                rows.append({**own, **result, ISA: said.get(ISA, "")})
                limit = f"the machine {result['gflops_peak']:.1f} GFLOP/s"
                note(f"round {index + 1} {network:10} {name:22} {result['median'] * 1e3:8.3f} ms, {limit}")
    return rows


def isas(rows: list[dict]) -> dict[str, str]:
    """The instruction set of each engine that names one, by its own word."""
    return {row["engine"]: row[ISA] for row in rows if row[ISA]}


def peaks() -> dict[str, float]:
    """The most float32 operations a second that one core does in registers of each width, in GFLOP/s."""
    rates = {isa: _core.peak_rate(isa, 0.2) for isa in _core.isas() if isa in WIDTHS}
    return {WIDTHS[isa]: 2e-9 * rate for isa, rate in rates.items()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, known in (("--networks", NETWORKS), ("--engines", registry())):
        names = list(known)
        parser.add_argument(option, nargs="+", choices=names, default=names, metavar="NAME", help="; ".join(names))
    parser.add_argument(
        "--dtype", choices=("float32", "int8"), default="float32", help="int8: engines that run it only"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="how long each process measures once warm, in turns with the others"
    )
    parser.add_argument(
        "--clock",
        choices=child.CLOCKS,
        default="wall",
        help="processor: the time spent computing, for a machine that others use too; one thread",
    )
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keeps the converted networks for the next time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes everything, every round too")
    parser.add_argument("--machine", default=machine(), help="what the tables call this machine (%(default)s)")
    parser.add_argument("--readme", action="store_true", help="writes the tables of README.md and docs/peers.md")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads > 1 and options.clock == "processor":
        parser.error("several threads are timed by the clock on the wall")
    return options


def main() -> None:
    options = parsed()
    if options.child:
        return run_child(options.child)
    able = [name for name in options.engines if options.dtype in registry()[name].dtypes]
    versions = {name: version(registry()[name]) for name in able}
    missing = {name: "not installed" for name, found in versions.items() if found is None}
    names = [name for name in able if name not in missing]
    for name in names:
        note(f"{name} {versions[name]}")
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve() / options.dtype
        failures = prepare(names, options.networks, options.dtype, options.threads, work)
        rows = measure(names, options.networks, failures, options, work)
    macs = {network: zoo.count(make_graph(network)).macs for network in options.networks}
    report = {
        "machine": options.machine,
        "date": datetime.date.today().isoformat(),
        "threads": options.threads,
        "dtype": options.dtype,
        "clock": options.clock,
        "rounds": options.rounds,
        "networks": options.networks,
        "macs": macs,
        "versions": versions,
        "missing": missing,
        "failures": failures,
        "isas": isas(rows),
        "peaks": peaks(),
        "summary": summarise(rows, macs),
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.readme:
        write_documents(store(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
