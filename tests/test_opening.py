"""What opening takes: at most the arena and 128 KiB for the README's networks, and for any file of at most 1 MB the
arena, 1 MiB and twice the file. Counted in a C++ program, every allocation and every page."""

from __future__ import annotations

import json
import platform

import capi
import golden_plans
import numpy as np
import pytest
from graphs import GraphBuilder

from mbinfer import model

KIB = 1024
LEAST, NONE = "-2", "-1"

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is replaced as glibc allows it")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """What a file takes to open: {"arena", "most"} in bytes."""
    program = tmp_path_factory.mktemp("opening") / "opening"
    library = next(capi.install().glob("lib*/**/libmbinfer.a"))
    include = capi.install() / "include"
    capi.command("c++", "-O1", "-I", include, capi.ROOT / "tests" / "opening.cpp", library, "-pthread", "-o", program)
    return lambda path, limit: json.loads(capi.command(program, path, limit))


@pytest.mark.parametrize("name", golden_plans.NETWORKS)
def test_a_network_of_the_readme_opens_in_its_arena_and_128_kib(name, opened, tmp_path):
    path, _ = golden_plans.write_network(name, tmp_path)
    for limit in (LEAST, NONE):
        took = opened(path, limit)
        assert took["arena"] <= took["most"] <= took["arena"] + 128 * KIB, limit


def chain(count):
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 8))
    value = "input"
    for _ in range(count):
        value = net.add("max_pool", [value], kernel=(3, 3), pads=(1, 1, 1, 1))
    net.output(value)
    return net.graph


def blocks(count):
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 8))
    value = net.convolve("input", 8)
    for _ in range(count):
        inside = net.add("depthwise", [net.convolve(value, 16)], kernel=(3, 3), pads=(1, 1, 1, 1))
        value = net.add("add", [value, net.convolve(inside, 8)])
    net.output(value)
    return net.graph


def heads(count):
    net = GraphBuilder(np.random.default_rng(0), (4, 4, 8))
    trunk = net.convolve("input", 8)
    for _ in range(count):
        net.output(net.add("max_pool", [trunk], kernel=(2, 2), stride=(2, 2)))
    return net.graph


def gates(count):
    net = GraphBuilder(np.random.default_rng(0), (4, 4, 8))
    value = net.convolve("input", 8)
    for _ in range(count):
        filtered = net.add("depthwise", [value], kernel=(3, 3), pads=(1, 1, 1, 1))
        gate = net.convolve(net.add("global_avg_pool", [filtered]), 8)
        value = net.convolve(net.add("mul", [filtered, gate]), 8)
    net.output(value)
    return net.graph


def joined(count):
    net = GraphBuilder(np.random.default_rng(0), (2, 2, 8))
    trunk = net.convolve("input", 8)
    net.output(net.add("concat", [net.add("max_pool", [trunk], kernel=(1, 1)) for _ in range(count)]))
    return net.graph


@pytest.mark.parametrize(("make", "count"), [(chain, 3000), (blocks, 300), (heads, 1500), (gates, 300), (joined, 2500)])
def test_any_small_file_opens_in_its_arena_1_mib_and_twice_the_file(make, count, opened, tmp_path):
    path = tmp_path / "model.bin"
    model.save(make(count), path)
    size = path.stat().st_size
    assert size <= 1_000_000
    for limit in (LEAST, NONE):
        took = opened(path, limit)
        assert took["most"] <= took["arena"] + 1024 * KIB + 2 * size, limit
