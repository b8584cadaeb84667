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
FEWEST_RUNS = 5
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def prepare(engine: str, network: str, dtype: str, folder: Path, threads: int) -> None:
    """Writes what `engine` needs to run `network` on `threads` threads into `folder`."""
    registry()[engine].prepare(make_graph(network, dtype), folder, threads)


class Subject:
    """`engine` on what `folder` holds: opened, checked and warm, then timed in turns with others.

    Times are in seconds of a clock of CLOCKS, memory in bytes.
    """

    def __init__(self, engine: str, folder: Path, threads: int, clock_name: str):
        adapter, clock = registry()[engine], CLOCKS[clock_name]
        self.adapter, self.folder = adapter, folder
        for module in adapter.imports:
            importlib.import_module(module)
        image, expected = np.load(folder / "image.npy"), np.load(folder / "logits.npy")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            with file.open(
                "rb"
            ) as stream:  # into the page cache, a piece at a time: opening should not measure the disk
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
        self.error = (
            float(np.abs(logits - expected).max() / np.abs(expected).max()) if logits.shape == expected.shape else None
        )
        del logits

        warm_up(run, clock)
        after = memory_status()
        self.run, self.clock, self.threads = run, clock, threads
        self.first, self.cold = finished - begin, finished - opened
        self.peak_memory, self.anonymous_memory = after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]
        self.times: list[float] = []
        self.limits: list[float] = []
        self.busy = self.elapsed = 0.0

    def turn(self, seconds: float) -> None:
        """Times `seconds` worth of runs, once the caches hold what others had driven out."""
        limit = peak_rate(self.threads)
        timed(self.run, seconds / 4, self.clock)
        busy, started = time.process_time(), time.perf_counter()
        self.times += timed(self.run, seconds, self.clock)
        self.busy += time.process_time() - busy
        self.elapsed += time.perf_counter() - started
        self.limits.append(max(limit, peak_rate(self.threads)))

    def isa(self) -> str:
        return self.adapter.isa(self.folder, self.threads) if self.adapter.isa else ""

    def result(self) -> dict:
        """
        ``first``: from before the file, which is in the page cache, is opened until the first logits; ``cold``: the
        first run alone; ``median`` and ``min``: of all runs of all turns; ``cores``: processor time over time, the
        cores that were really used. ``peak_memory``, ``anonymous_memory``: what the process grew by from its imports
        until it was warm, at most and in pages that are no file's. ``gflops_peak``: the machine's limit, the median of
        the turns, in each the higher one of before and after. ``error``: how far off the worst logit is, as a share of
        the largest.
        """
        return {
            "first": self.first,
            "cold": self.cold,
            "median": statistics.median(self.times),
            "min": min(self.times),
            "runs": len(self.times),
            "cores": self.busy / self.elapsed,
            "peak_memory": self.peak_memory,
            "anonymous_memory": self.anonymous_memory,
            "gflops_peak": 2e-9 * statistics.median(self.limits),
            "error": self.error,
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
