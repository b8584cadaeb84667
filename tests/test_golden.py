"""The README's networks: no plan gets worse, and no bit of an output changes, from one version to the next."""

from __future__ import annotations

import json

import golden_plans
import pytest

import mbinfer

GOLDEN = json.loads(golden_plans.FILE.read_text())
MORE = 1 + 1e-6  # cycles are rounded


@pytest.fixture(scope="module")
def write_network(tmp_path_factory):
    folder, written = tmp_path_factory.mktemp("golden"), {}

    def write(name):
        if name not in written:
            written[name] = golden_plans.write_network(name, folder)
        return written[name]

    return write


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("name", golden_plans.NETWORKS)
def test_no_plan_is_worse(name, threads, write_network):
    path, picture = write_network(name)
    golden, count = GOLDEN[name][threads], int(threads)
    assert len(golden["limits"]) == golden_plans.LIMITS
    least, *_ = golden_plans.describe(path, count, memory_limit="least")
    assert least <= min(map(int, golden["limits"]))
    for schedule, (peak, cycles, _) in golden["schedules"].items():
        now, time, _ = golden_plans.describe(path, count, schedule=schedule)
        assert (now <= peak and time <= cycles * MORE) or time < cycles / MORE, (schedule, now, time)
        if schedule != "naive":
            session = mbinfer.Session(path, threads=count, schedule=schedule)
            assert golden_plans.checksum(session, picture) == golden["output"], schedule
    for index, (limit, (peak, cycles, _)) in enumerate(golden["limits"].items()):
        now, time, _ = golden_plans.describe(path, count, memory_limit=int(limit))
        assert now <= int(limit)
        assert (now <= peak and time <= cycles * MORE) or time < cycles / MORE, (limit, now, time)
        if index in golden_plans.RUN:
            session = mbinfer.Session(path, threads=count, memory_limit=int(limit))
            assert golden_plans.checksum(session, picture) == golden["output"], limit
