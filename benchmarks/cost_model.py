"""Fits the constants of the planner's cost model (csrc/plan/cost_model.cpp) to measured stage times.

Runs plans of several networks, schedules and memory limits on one thread, times every stage, and solves for the cycles
of each term by non-negative least squares on relative errors. Prints the constants of the instruction set (MBINFER_ISA,
else the fastest) and the type, to be put into cost_model.cpp, and how far the model then is from the measured times of
stages and of whole networks. A cycle is the time of 16 multiply-adds of float32 in AVX2 registers, and of 4 in NEON's.

    python benchmarks/cost_model.py [--dtype int8] [--rounds 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from memory import DTYPES, save_network

import mbinfer
from mbinfer import _core, zoo

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import hooks

TERMS = ["tiles", "tile inputs", "vectors", "vector taps", "calls", "steps", "elements", "far weights", "far rows"]
NETWORKS = {  # architecture, width, resolution
    "V2 1.0@224": (zoo.mobilenet_v2, 1.0, 224),
    "V2 1.4@224": (zoo.mobilenet_v2, 1.4, 224),
    "V2 0.35@96": (zoo.mobilenet_v2, 0.35, 96),
    "V2 0.35@144": (zoo.mobilenet_v2, 0.35, 144),
    "V1 1.0@224": (zoo.mobilenet_v1, 1.0, 224),
    "V1 0.25@128": (zoo.mobilenet_v1, 0.25, 128),
}
PEAK_ISAS = {"avx2": 16, "neon": 4}  # multiply-adds of a cycle


def sessions(path: str):
    """Sessions with as many kinds of stages as there are: schedules, the paper's chunks, and a range of limits."""
    for schedule in ("layerwise", "fused", "auto"):
        yield mbinfer.Session(path, threads=1, schedule=schedule)
    for chunks in (2, 4, 8):
        yield mbinfer.Session(path, threads=1, schedule="fused", chunks=chunks)
    least = mbinfer.Session(path, threads=1, memory_limit="least").plan
    for limit in np.geomspace(least.peak_bytes, least.fused_bytes, 10):
        yield mbinfer.Session(path, threads=1, memory_limit=int(np.ceil(limit)))


def measure(session: mbinfer.Session, rounds: int) -> np.ndarray:
    """Nanoseconds of each stage: the least of some rounds, since noise only adds."""
    image = np.random.default_rng(0).integers(0, 256, session.inputs[0].shape, dtype=np.uint8)
    session.run(image)
    return np.min([[stage["seconds"] for stage in session.profile(image)] for _ in range(rounds)], axis=0) * 1e9


def fit(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Non-negative least squares on relative errors, by coordinate descent."""
    a, constants = terms / times[:, None], np.zeros(terms.shape[1])
    gram, right = a.T @ a, a.T @ np.ones(len(a))
    for _ in range(20000):
        for i in range(len(constants)):
            if gram[i, i] > 0:
                constants[i] = max(0.0, constants[i] + (right[i] - gram[i] @ constants) / gram[i, i])
    return constants


def cycles_in_a_nanosecond() -> float:
    for isa, products in PEAK_ISAS.items():
        try:
            return max(_core.peak_rate(isa, 0.1) for _ in range(10)) / products / 1e9
        except mbinfer.ArgumentError:
            pass
    return 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=DTYPES, default=DTYPES[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []  # network, session, terms, nanoseconds, cycles of the present model
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, width, resolution) in NETWORKS.items():
            path = os.path.join(folder, "model.bin")
            save_network(partial(make, width), resolution, options.dtype, path)
            for number, session in enumerate(sessions(path)):
                if sys.stderr.isatty():
                    print(f"\r{name}: plan {number + 1}  ", end="", file=sys.stderr, flush=True)
                for terms, time in zip(hooks.cost_terms(session), measure(session, options.rounds)):
                    rows.append((name, number, terms, time))
        if sys.stderr.isatty():
            print(file=sys.stderr)
    terms, times = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    long = times > 5000  # below 5 microseconds the clock itself counts
    constants = fit(terms[long], times[long])
    cycles = constants * cycles_in_a_nanosecond()
    ratio = terms @ constants / times
    whole = {}
    for (name, number, _, time), predicted in zip(rows, terms @ constants):
        key = (name, number)
        whole[key] = whole.get(key, np.zeros(2)) + (predicted, time)
    whole_ratio = np.array([p / t for p, t in whole.values()])
    result = {
        "cycles": dict(zip(TERMS, cycles.round(3).tolist())),
        "stages within 20 %": float(np.mean(abs(ratio[long] - 1) < 0.2)),
        "networks within 20 %": float(np.mean(abs(whole_ratio - 1) < 0.2)),
        "worst network": float(whole_ratio[np.argmax(abs(whole_ratio - 1))]),
        "stages": int(long.sum()),
        "networks": len(whole_ratio),
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{session.isa}, {options.dtype}")
    print("cycles: {" + ", ".join(f"{c:.3g}" for c in cycles) + "}")
    for term, c in result["cycles"].items():
        print(f"  {term:14} {c:8.3f}")
    print(f"{result['stages']} stages, {100 * result['stages within 20 %']:.0f} % within 20 % of their measured time")
    print(
        f"{result['networks']} plans, {100 * result['networks within 20 %']:.0f} % within 20 %, "
        f"the worst {result['worst network']:.2f} of measured"
    )


if __name__ == "__main__":
    main()
