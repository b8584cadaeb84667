"""What happens in a fresh process: one engine prepared, or opened, checked and timed on one network."""

from __future__ import annotations

import ctypes
import gc
import importlib
import statistics
import time
from pathlib import Path

import numpy as np

from mbinfer.measure import memory_status, peak_rate, reset_high_water

from . import registry
from .networks import make_graph

BATCH_SECONDS, STEADY, MOST_BATCHES = 0.1, 0.02, 20  # warm until the medians of two batches agree to 2 %
FEWEST_RUNS = 10
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def prepare(engine: str, network: str, folder: Path, threads: int) -> None:
    """Writes what `engine` needs to run `network` on `threads` threads into `folder`."""
    registry()[engine].prepare(make_graph(network), folder, threads)


def measure(engine: str, folder: Path, threads: int, seconds: float, clock_name: str) -> dict:
    """Opens `engine` on what `folder` holds and times it; times in seconds of a clock of CLOCKS, memory in bytes.

    ``first``: from before the file, which is in the page cache, is opened until the first logits; ``cold``: the first run alone; ``median`` and
    ``min``: of `seconds` worth of runs once warm; ``cores``: processor time over time, the cores that were really used.
    ``peak_memory``, ``anonymous_memory``: what the process grew by since its imports, at most and in pages that are
    no file's. ``gflops_peak``: the machine's limit before and after the timed runs, the higher one. ``error``: how far
    off the worst logit is, as a share of the largest.
    """
    adapter, clock = registry()[engine], CLOCKS[clock_name]
    for module in adapter.imports:
        importlib.import_module(module)
    image, expected = np.load(folder / "image.npy"), np.load(folder / "logits.npy")
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as stream:  # into the page cache, a piece at a time: opening should not measure the disk
            while stream.read(1 << 16):
                pass
    settle()
    reset_high_water()
    before = memory_status()

    begin = clock()
    run = adapter.open(folder, image, threads)
    opened = clock()
    logits = run()
    finished = clock()
    error = float(np.abs(logits - expected).max() / np.abs(expected).max()) if logits.shape == expected.shape else None
    del logits

    warm_up(run, clock)
    after = memory_status()
    limits = [peak_rate(threads)]
    busy, started = time.process_time(), time.perf_counter()
    times = timed(run, seconds, clock)
    cores = (time.process_time() - busy) / (time.perf_counter() - started)
    limits.append(peak_rate(threads))
    return {
        "first": finished - begin,
        "cold": finished - opened,
        "median": statistics.median(times),
        "min": min(times),
        "runs": len(times),
        "cores": cores,
        "peak_memory": after["VmHWM"] - before["VmRSS"],
        "anonymous_memory": after["RssAnon"] - before["RssAnon"],
        "gflops_peak": 2e-9 * max(limits),
        "error": error,
    }


def settle() -> None:
    """Gives freed memory back, or an engine could use it again unseen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def warm_up(run, clock) -> None:
    last = None
    for _ in range(MOST_BATCHES):
        now = statistics.median(timed(run, BATCH_SECONDS, clock))
        if last is not None and abs(now - last) <= STEADY * last:
            return
        last = now


def timed(run, seconds: float, clock) -> list[float]:
    """The time of each run, for `seconds` and at least FEWEST_RUNS."""
    times = []
    begin = clock()
    while True:
        start = clock()
        run()
        end = clock()
        times.append(end - start)
        if end - begin >= seconds and len(times) >= FEWEST_RUNS:
            return times
