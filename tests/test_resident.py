"""What a process holds while a session runs is what the plan says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mbinfer
from mbinfer import model, zoo

PROGRAM = """
import json, sys
import numpy as np
import mbinfer
from mbinfer.measure import memory_status

path, options = sys.argv[1], json.loads(sys.argv[2])
first = mbinfer.Session(path, memory_limit="least")  # what the process takes once: code, buffers of the C library
image = np.random.default_rng(0).standard_normal(first.inputs[0].shape).astype(np.float32)
first.run(image)
del first
before = memory_status()["RssAnon"]
session = mbinfer.Session(path, **options)
most = memory_status()["RssAnon"]
for _ in range(3):
    made = session.run(image)
    most = max(most, memory_status()["RssAnon"])
plan = session.plan
print(json.dumps([most - before, plan.peak_bytes, plan.naive_bytes, made.tobytes().hex()]))
"""
WAYS = [{"schedule": way} for way in ("naive", "layerwise", "fused", "streamed", "auto")]
WAYS += [{"memory_limit": "least"}, {"threads": 2}]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the resident memory")
@pytest.mark.parametrize("width, resolution", [(1.0, 224), (0.35, 96)])
def test_resident_memory_is_what_is_planned(width, resolution, tmp_path):
    """Within 3 % and 256 KiB, which are the session itself, the result, and what the C library keeps."""
    model.save(zoo.mobilenet_v2(width, resolution), tmp_path / "net.bin")
    results = set()
    for way in WAYS:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "net.bin", json.dumps(way)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(mbinfer.__file__).parents[1])},
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        seen, planned, naive, result = json.loads(done.stdout)
        assert seen <= 1.03 * planned + (256 << 10), (way, seen, planned)
        assert seen >= 0.9 * planned - (256 << 10), (way, seen, planned)
        assert planned == naive or way != {"schedule": "naive"}
        results.add(result)
    assert len(results) == 1
