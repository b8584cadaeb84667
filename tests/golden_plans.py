"""Plans and outputs of the README's five networks, to be held against tests/data/golden_plans.json.

Plans follow the costs of the instruction set: these are made for the reference kernels, which every machine has, and
which are reckoned as those of AVX2. Outputs are those of the fastest kernels at hand.

`python tests/golden_plans.py --write FOLDER` writes that file afresh (and models into FOLDER): for a change that makes
plans better, or that makes the cost model count otherwise. The outputs are those of the first version and never change.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from pathlib import Path

import numpy as np

import mbinfer
from mbinfer import model, zoo

FILE = Path(__file__).parent / "data" / "golden_plans.json"
NETWORKS = {
    "MobileNetV2 1.0@224": (zoo.mobilenet_v2, 1.0, 224),
    "MobileNetV2 1.4@224": (zoo.mobilenet_v2, 1.4, 224),
    "MobileNetV2 0.35@144": (zoo.mobilenet_v2, 0.35, 144),
    "MobileNetV2 0.35@96": (zoo.mobilenet_v2, 0.35, 96),
    "MobileNetV1 1.0@224": (zoo.mobilenet_v1, 1.0, 224),
}
SCHEDULES = ("naive", "layerwise", "fused", "streamed", "auto")
LIMITS = 40  # from the least arena to the fused schedule's, each the same factor above the one before
RUN = (
    "layerwise",
    "fused",
    "streamed",
    "auto",
    0,
    13,
    26,
    39,
)  # schedules and numbers of limits whose outputs are kept


def write_network(name: str, folder: Path) -> tuple[Path, np.ndarray]:
    """The file of a network with seeded weights, and a picture of noise."""
    make, width, resolution = NETWORKS[name]
    path = folder / f"{resolution}-{width}.bin"
    model.save(make(width, resolution, seed=0), path)
    picture = np.random.default_rng(1).integers(0, 256, (resolution, resolution, 3), dtype=np.uint8)
    return path, picture


def checksum(session: mbinfer.Session, picture: np.ndarray) -> int:
    return zlib.crc32(session.run(picture).tobytes())


def describe(path: Path, threads: int, **options) -> list:
    """Of a plan the arena, the estimated cycles and the multiply-adds done again."""
    before = os.environ.get("MBINFER_ISA")
    os.environ["MBINFER_ISA"] = "reference"
    try:
        plan = mbinfer.Session(path, threads=threads, plan_only=True, **options).plan
    finally:
        del os.environ["MBINFER_ISA"]
        if before is not None:
            os.environ["MBINFER_ISA"] = before
    return [plan.peak_bytes, round(plan.cycles), plan.extra_macs]


def collect(path: Path, picture: np.ndarray, threads: int) -> dict:
    """All plans of one network and number of threads, and the checksum that all outputs share."""
    schedules = {name: describe(path, threads, schedule=name) for name in SCHEDULES}
    least, *_ = describe(path, threads, memory_limit="least")
    ratio = schedules["fused"][0] / least
    limits = [round(least * ratio ** (i / (LIMITS - 1))) for i in range(LIMITS)]
    limited = [describe(path, threads, memory_limit=limit) for limit in limits]
    runs = [{"schedule": r} if isinstance(r, str) else {"memory_limit": limits[r]} for r in RUN]
    (sums,) = {checksum(mbinfer.Session(path, threads=threads, **options), picture) for options in runs}
    return {
        "output": sums,
        "schedules": schedules,
        "limits": {str(limit): plan for limit, plan in zip(limits, limited)},
    }


def write(folder: Path) -> None:
    golden = {name: {str(t): collect(*write_network(name, folder), t) for t in (1, 2)} for name in NETWORKS}
    lines = json.dumps(golden, indent=1).splitlines()
    text, depth = "", 0
    for line in lines:  # a plan on a line
        text += line.strip() if depth else line
        depth += line.count("[") - line.count("]")
        text += "" if depth else "\n"
    FILE.write_text(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FOLDER", required=True, help="where the models may be written")
    write(parser.parse_args().write)
