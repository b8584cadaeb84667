"""Latency and memory of one session in a process of its own, so that no other session's pages or caches are in it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Error

WARM_UP = 2
PROFILED, PEAK_SECONDS = 20, 0.05
ENOUGH_SECONDS, FEWEST_RUNS, MOST_RUNS = 1.0, 5, 1000  # how long to measure when the number of runs is not given

# The child looks for mbinfer first where this process found it, not in whatever folder is the current one.
_CHILD = "import sys; sys.path[0] = sys.argv[1]; from mbinfer.measure import child; child(sys.argv[2])"


def measure(
    model: str | os.PathLike[str],
    inputs: list[dict[str, Any]],
    isa: str = "",
    runs: int | None = None,
    profile: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Runs `model` in a fresh process and returns what it measured there.

    `inputs` is what `describe_inputs` says of the model, `isa` one of the names of `mbinfer._core.isas()` (empty: the
    best), `runs` the number of timed runs (None: a second's worth); `options` go to `Session`.

    The result holds ``schedule``, ``isa``, ``threads``, ``runs``; ``latency`` in seconds (``min``, ``median``,
    ``p90``, ``p99``); ``cycles`` by the cost model and ``extra_percent``, multiply-adds done again; in bytes ``arena``
    as planned, ``weights`` as mapped, ``observed`` as `observed_memory` describes; and with `profile` the stages of
    `Session.profile`, each with its least time of as many runs, at most PROFILED (on several threads the median), and
    ``peak``, the most multiply-adds a second that so many cores can do by themselves, measured in between.

    Raises `Error` with the child's message where it failed.
    """
    request = {"model": os.fspath(model), "inputs": inputs, "runs": runs, "profile": profile, "options": options}
    environment = {**os.environ, **({"MBINFER_ISA": isa} if isa else {})}
    command = [sys.executable, "-c", _CHILD, str(Path(__file__).resolve().parent.parent), json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        raise Error(f"{os.fspath(model)}: measuring {options} on {isa or 'the best ISA'}: {last}")
    result: dict[str, Any] = json.loads(done.stdout)
    if "error" in result:
        raise Error(result["error"])
    return result


def child(request: str) -> None:
    """The measuring process: takes `measure`'s request as JSON, prints the result as JSON."""
    try:
        print(json.dumps(_measured(**json.loads(request))))
    except Error as error:
        print(json.dumps({"error": str(error)}))


def _measured(
    model: str, inputs: list[dict[str, Any]], runs: int | None, profile: bool, options: dict[str, Any]
) -> dict[str, Any]:
    import mbinfer

    arrays = example_arrays(inputs)  # before the baseline, as the caller's memory is not the session's
    reset = reset_high_water()
    before = memory_status()

    session = mbinfer.Session(model, **options)
    for _ in range(WARM_UP):
        session.run(*arrays)
    after = memory_status()

    seconds: list[float] = []
    start = time.perf_counter()
    while len(seconds) < (runs or MOST_RUNS):
        begin = time.perf_counter()
        session.run(*arrays)
        end = time.perf_counter()
        seconds.append(end - begin)
        if runs is None and end - start > ENOUGH_SECONDS and len(seconds) >= FEWEST_RUNS:
            break
    low, median, p90, p99 = np.percentile(seconds, (0, 50, 90, 99)).tolist()
    return {
        "schedule": session.plan.schedule,
        "isa": session.isa,
        "threads": session.threads,
        "runs": len(seconds),
        "latency": {"min": low, "median": median, "p90": p90, "p99": p99},
        "arena": session.plan.peak_bytes,
        "cycles": session.plan.cycles,
        "extra_percent": 100 * session.plan.extra_macs / max(session.plan.macs, 1),
        "weights": session.plan.weight_bytes,
        "observed": observed_memory(before, after, reset),
        **(_profiled(session, arrays, min(len(seconds), PROFILED)) if profile else {}),
    }


def _profiled(session: Any, arrays: list[np.ndarray], runs: int) -> dict[str, Any]:
    peak = peak_rate(session.threads, session.isa)
    profiles = [session.profile(*arrays) for _ in range(runs)]
    peak = max(peak, peak_rate(session.threads, session.isa))
    # Among several threads the one that is timed may come late to stages that the others have made, in no time.
    typical = min if session.threads == 1 else statistics.median
    stages = [{**same[0], "seconds": typical(stage["seconds"] for stage in same)} for same in zip(*profiles)]
    return {"profile": stages, "peak": peak}


def peak_rate(threads: int = 1, isa: str = "") -> float:
    """The machine's own limit: the most multiply-adds a second seen on so many cores at once, all in registers.

    `isa` is one of the names of `mbinfer._core.isas()` (empty: the best); takes PEAK_SECONDS.
    """
    from mbinfer import _core

    rates: list[float] = []
    workers = [
        threading.Thread(target=lambda: rates.append(_core.peak_rate(isa, PEAK_SECONDS))) for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def describe_inputs(session: Any) -> list[dict[str, Any]]:
    """Shape and dtype of every input of `session`, as `example_arrays` takes them."""
    return [{"shape": list(info.shape), "dtype": info.dtype} for info in session.inputs]


def example_arrays(inputs: list[dict[str, Any]], seed: int = 0) -> list[np.ndarray]:
    """Seeded noise for every input: pixels from 0 to 255 where it is uint8, otherwise standard normal float32."""
    random = np.random.default_rng(seed)
    return [
        random.integers(0, 256, wanted["shape"], dtype=np.uint8)
        if wanted["dtype"] == "uint8"
        else random.standard_normal(wanted["shape"], dtype=np.float32)
        for wanted in inputs
    ]


def memory_status() -> dict[str, int]:
    """The memory of this process in bytes, from ``/proc/self/status``; empty where the system has no such file.

    ``VmHWM`` is the most that was ever resident, ``RssAnon`` what is resident and its own, ``RssFile`` what is resident
    of mapped files (weights, libraries).
    """
    wanted = ("VmHWM", "VmRSS", "RssAnon", "RssFile")
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return {}
    return {name: int(lines[name].split()[0]) * 1024 for name in wanted if name in lines}


def reset_high_water() -> bool:
    """Makes VmHWM start again from what is resident now; False where the kernel does not allow it."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        return True
    except OSError:
        return False


def observed_memory(before: dict[str, int], after: dict[str, int], reset: bool) -> dict[str, Any]:
    """What opening a session and running it added to a process, in bytes.

    ``growth`` is that of VmHWM over what was resident before, weights included; ``file`` the part of it that is pages
    of mapped files (the weights that were read); ``anonymous`` the rest, to compare with the arena. All None where
    the system does not tell; ``reset`` is False where VmHWM may be older than the session.
    """
    if not before or "RssFile" not in before or "VmHWM" not in after:
        return {"growth": None, "file": None, "anonymous": None, "reset": reset}
    growth = after["VmHWM"] - before["VmRSS"]
    in_files = max(after["RssFile"] - before["RssFile"], 0)
    return {"growth": growth, "file": in_files, "anonymous": growth - in_files, "reset": reset}
