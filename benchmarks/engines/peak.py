"""The machine's own limit: how many float32 fused multiply-adds a second its cores do with everything in registers."""

from __future__ import annotations

import ctypes
import subprocess
import threading
from pathlib import Path

# 12 independent chains of whole vectors hide the latency of every core; the empty asm keeps the compiler from seeing
# that their values do not matter.
SOURCE = r"""
#include <time.h>
#if defined(__x86_64__)
typedef float vector __attribute__((vector_size(32)));
#define KEEP "+x"
#else
typedef float vector __attribute__((vector_size(16)));
#define KEEP "+w"
#endif
#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define START(i) vector sum##i = {};
#define STEP(i) sum##i = a * b + sum##i; asm volatile("" : KEEP(sum##i));

extern "C" double gflops(double seconds) {
  const long rounds = 200000, flops = 2 * 12 * sizeof(vector) / sizeof(float);
  vector a = {}, b = {};
  CHAINS(START)
  double best = 0, passed = 0;
  while (passed < seconds) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (long n = 0; n < rounds; n++) {
      asm volatile("" : KEEP(a), KEEP(b));
      CHAINS(STEP)
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    const double took = (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) * 1e-9;
    if (rounds * flops / took > best * 1e9) best = rounds * flops / took * 1e-9;
    passed += took;
  }
  return best;
}
"""


def build(folder: Path) -> Path:
    """Compiles the loop into a library in `folder` with g++, for the vectors that this machine has."""
    import platform

    source, library = folder / "peak.cpp", folder / "libpeak.so"
    source.write_text(SOURCE)
    flags = {"x86_64": ["-mavx2", "-mfma"], "armv7l": ["-mfpu=neon-vfpv4"]}.get(platform.machine(), [])
    command = ["g++", "-O2", "-ffp-contract=fast", *flags, "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def gflops(library: Path, threads: int = 1, seconds: float = 0.05) -> float:
    """The best rate seen within `seconds` on `threads` cores at once, in GFLOP/s; a multiply-add counts as two."""
    measure = ctypes.CDLL(str(library)).gflops
    measure.restype, measure.argtypes = ctypes.c_double, [ctypes.c_double]
    rates = []
    workers = [threading.Thread(target=lambda: rates.append(measure(seconds))) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)
