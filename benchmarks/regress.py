"""This checkout against another commit: speed and plans of the README's networks, in turns, in one run.

    python benchmarks/regress.py COMMIT [--rounds N] [--allow PERCENT] [--json]

Both are built in temporary folders with the same compiler. Then a process of each opens the same network, and the two
take turns of a tenth of a second, so that a slow spell of the machine meets both. The ratio is the median over the
rounds of (time here / time there); below 1 this checkout is faster. Plans are compared at 40 limits and for every
schedule, by the cost model that both have. Ends with 1 where a network is more than PERCENT slower, a plan is worse, or
an output has other bits.
Needs git, cmake, ninja and pybind11.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = (("v2", 1.0, 224), ("v2", 1.4, 224), ("v2", 0.35, 144), ("v2", 0.35, 96), ("v1", 1.0, 224))
SCHEDULES = ("naive", "layerwise", "fused", "streamed", "auto")
LIMITS, TURN = 40, 0.1


def child(name: str, width: str, resolution: str, threads: str, folder: str) -> None:
    """One side, in a process of its own: a line with its plans, then for each line it reads the time of a run."""
    import numpy as np

    from mbinfer import Session, model, zoo

    make = zoo.mobilenet_v2 if name == "v2" else zoo.mobilenet_v1
    path, size = Path(folder) / f"{name}-{width}-{resolution}.bin", int(resolution)
    if not path.exists():
        model.save(make(float(width), size, seed=0), path)

    def plan(**options):
        made = Session(path, threads=int(threads), **options).plan
        return [made.peak_bytes, round(made.cycles)]

    plans = {schedule: plan(schedule=schedule) for schedule in SCHEDULES}
    least = plan(memory_limit="least")[0]
    # Limits of no commit's own, so that both sides plan for the same.
    for limit in (int(2 ** (14 + i / 4)) for i in range(LIMITS)):
        if least <= limit:
            plans[str(limit)] = plan(memory_limit=limit)
    session = Session(path, threads=int(threads))
    picture = np.random.default_rng(1).integers(0, 256, (size, size, 3), dtype=np.uint8)
    print(json.dumps({"plans": plans, "output": zlib.crc32(session.run(picture).tobytes())}), flush=True)
    for _ in sys.stdin:
        times, end = [], time.perf_counter() + TURN
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            session.run(picture)
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


class Side:
    """A built tree, and the process of it that runs a network."""

    def __init__(self, tree: Path):
        self.tree = tree
        build = tree / "build" / "regress"
        pybind = subprocess.run(
            [sys.executable, "-m", "pybind11", "--cmakedir"], capture_output=True, text=True, check=True
        )
        configure = ["cmake", "-G", "Ninja", "-S", tree, "-B", build, "-DMBINFER_PYTHON=ON"]
        configure += [f"-Dpybind11_DIR={pybind.stdout.strip()}", f"-DPython_EXECUTABLE={sys.executable}"]
        for command in (configure, ["cmake", "--build", build, "--target", "_core"]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{tree}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        for core in build.glob("_core*.so"):
            shutil.copy(core, tree / "mbinfer")

    def start(self, network: tuple, threads: int) -> dict:
        code = f"import sys; sys.path[:0] = [{str(self.tree)!r}, {str(ROOT / 'benchmarks')!r}]; import regress; "
        code += f"regress.child(*{[*map(str, network), str(threads), str(self.tree)]!r})"
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return json.loads(self.process.stdout.readline())

    def turn(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def copy_checkout(folder: Path) -> Path:
    """The files of this checkout, with changes that are not committed."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def copy_commit(commit: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if archive.returncode:
        sys.exit(archive.stderr.decode())
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def worse_plans(here: dict, there: dict) -> list[str]:
    """Limits and schedules of both whose plan takes more time here, or as much in more memory.

    Where the two have other cost models, cycles cannot be compared: bytes of every schedule but "auto" are.
    """
    if here["naive"][1] != there["naive"][1]:
        names = [name for name in SCHEDULES if name != "auto" and here[name][0] > there[name][0]]
        return [f"{name}: {here[name][0]:,} bytes for {there[name][0]:,}, by another cost model" for name in names]
    more = 1 + 1e-6
    worse = []
    for name in sorted(here.keys() & there.keys()):
        (bytes_here, time_here), (bytes_there, time_there) = here[name], there[name]
        slower = time_here > time_there * more
        if (slower and not (name == "streamed" and bytes_here < bytes_there)) or (
            bytes_here > bytes_there and time_here >= time_there / more
        ):
            worse.append(f"{name}: {bytes_here:,} bytes, {time_here:,} cycles for {bytes_there:,}, {time_there:,}")
    return worse + [f"{name}: no plan any more" for name in there.keys() - here.keys()]


def compare(here: Side, there: Side, network: tuple, threads: int, rounds: int) -> dict:
    mine, other = here.start(network, threads), there.start(network, threads)
    for side in (here, there):
        side.turn()  # the first runs of a process are slow
    times = [(here.turn(), there.turn()) if i % 2 else (there.turn(), here.turn())[::-1] for i in range(rounds)]
    here.stop(), there.stop()
    return {
        "network": "{} {}@{}".format(*network),
        "threads": threads,
        "here": statistics.median(a for a, _ in times),
        "there": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
        "same_output": mine["output"] == other["output"],
        "worse_plans": worse_plans(mine["plans"], other["plans"]),
        "plans": len(mine["plans"]),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="what to compare with, such as HEAD~1 or main")
    parser.add_argument("--rounds", type=int, default=40, help="turns of each side, for each network and thread count")
    parser.add_argument("--allow", type=float, default=1.0, metavar="PERCENT", help="how much slower is no regression")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        there = Side(copy_commit(options.commit, Path(folder) / "there"))
        here = Side(copy_checkout(Path(folder) / "here"))
        rows = []
        for network in NETWORKS:
            for threads in (1, 2):
                rows.append(row := compare(here, there, network, threads, options.rounds))
                if not options.json:
                    print(
                        f"{row['network']:12} {threads} thread{'s' * (threads > 1)}: {row['here'] * 1e3:8.3f} ms for"
                        f" {row['there'] * 1e3:8.3f} ms, ratio {row['ratio']:.3f}; {len(row['worse_plans'])} of"
                        f" {row['plans']} plans worse{'' if row['same_output'] else '; OTHER BITS'}",
                        *row["worse_plans"],
                        sep="\n  ",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(rows, indent=1))
    slower = [row for row in rows if row["ratio"] > 1 + options.allow / 100]
    return int(bool(slower) or any(row["worse_plans"] or not row["same_output"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
