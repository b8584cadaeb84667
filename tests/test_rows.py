"""`Session.run_rows`: the bits of `run` from rows as they arrive, and errors for rows that do not fit."""

from __future__ import annotations

import threading

import hooks
import numpy as np
import pytest
from graphs import GraphBuilder, random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import random_inputs
from small_network import SIZE, normalise, picture

import mbinfer
from mbinfer import model
from mbinfer.errors import ArgumentError, ShapeError

VARIANTS = [{"schedule": schedule} for schedule in ("naive", "layerwise", "fused", "streamed", "auto")]
VARIANTS += [
    {"memory_limit": "least"},
    {"memory_limit": "least", "recompute": False},
    {"schedule": "fused", "chunks": 3},
]


def same_bits(left, right):
    return left.shape == right.shape and left.tobytes() == right.tobytes()


# The same bits.


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_give_the_bits_of_the_whole_image(net, threads, options, dtype):
    session = mbinfer.Session(net, threads=threads, **options)
    for seed in (0, 1):  # the second run finds the rows of the first
        image = picture(seed) if dtype == np.uint8 else normalise(picture(seed))
        assert same_bits(session.run_rows(iter(image)), session.run(image))
    assert hooks.canaries_intact(session)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(graph=random_graph(), seed=st.integers(0, 99))
def test_any_graph(graph, seed, tmp_path):
    model.save(graph, tmp_path / "graph.bin")
    (image,) = random_inputs(graph, seed).values()
    for options in VARIANTS:
        session = mbinfer.Session(tmp_path / "graph.bin", threads=1 + seed % 2, **options)
        expected, given = session.run(image), session.run_rows(image.reshape(session.inputs[0].shape[1:]))
        if not isinstance(expected, dict):
            expected, given = {"": expected}, {"": given}
        assert list(given) == list(expected)
        assert all(same_bits(given[name], expected[name]) for name in expected), options


def test_a_list_a_generator_and_any_memory_order(net):
    session, image = mbinfer.Session(net), picture()
    expected = session.run(image)
    turned = np.ascontiguousarray(image.transpose(1, 0, 2)).transpose(1, 0, 2)
    buffer = np.empty((SIZE, 3), np.uint8)

    def camera():  # gives the same buffer again and again
        for row in image:
            buffer[:] = row
            yield buffer

    for rows in (list(image), camera(), turned, np.flip(image, 1)[:, ::-1]):
        assert same_bits(session.run_rows(rows), expected)


def test_the_least_plan_holds_few_rows(net):
    assert 0 < mbinfer.Session(net, memory_limit="least").plan.input_rows[0] <= SIZE // 4


# What does not fit.


def rows_with(image, index, row):
    rows = list(image)
    rows[index] = row
    return rows


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda i: [], "end after 0, the model takes 48"),
        (lambda i: i[:1], "end after 1, the model takes 48"),
        (lambda i: i[:-1], "end after 47, the model takes 48"),
        (lambda i: [*i, i[0]], "more rows than the 48"),
        (lambda i: rows_with(i, 0, i[0, :-1]), "row 0 is (47, 3) uint8, it should be (48, 3) uint8"),
        (lambda i: rows_with(i, 9, i[9, :, :2]), "row 9 is (48, 2) uint8"),
        (lambda i: rows_with(i, 9, i[9:10]), "row 9 is (1, 48, 3) uint8"),
        (lambda i: rows_with(i, 47, i[47].astype(np.float32)), "row 47 is (48, 3) float32, it should be (48, 3) uint8"),
        (lambda i: i.astype(np.float64), "row 0 is (48, 3) float64"),
        (lambda i: rows_with(i.astype(np.float32), 3, i[3]), "row 3 is (48, 3) uint8, it should be (48, 3) float32"),
        (lambda i: i.tolist(), "row 0 is list"),
        (lambda i: rows_with(i, 5, None), "rows end after 5"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"threads": 2, "memory_limit": "least"}, {"schedule": "naive"}], ids=str)
def test_rows_that_do_not_fit(net, make, message, options):
    session, image = mbinfer.Session(net, **options), picture()
    expected = session.run(image)
    with pytest.raises(ShapeError) as caught:
        session.run_rows(make(image))
    assert message in str(caught.value) and session.inputs[0].name in str(caught.value)
    assert same_bits(session.run_rows(image), expected) and same_bits(session.run(image), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("at", [0, 1, 30, 47, 48])
def test_an_error_of_the_rows_is_passed_on(net, threads, at):
    session, image = mbinfer.Session(net, threads=threads, memory_limit="least"), picture()
    failure = ValueError("the cable is out")

    def camera():
        for index, row in enumerate(image):
            if index == at:
                raise failure
            yield row
        raise failure

    with pytest.raises(ValueError) as caught:
        session.run_rows(camera())
    assert caught.value is failure
    assert same_bits(session.run_rows(image), session.run(image))


def test_what_is_not_iterable(net):
    with pytest.raises(TypeError):
        mbinfer.Session(net).run_rows(5)


def test_uint8_rows_without_a_recipe(tmp_path):
    builder = GraphBuilder(np.random.default_rng(0), (6, 5, 3))
    builder.output(builder.add("conv", ["input"], 4, kernel=(3, 3)))
    model.save(builder.graph, tmp_path / "graph.bin")
    session = mbinfer.Session(tmp_path / "graph.bin")
    with pytest.raises(ShapeError, match="recipe"):
        session.run_rows(np.zeros((6, 5, 3), np.uint8))
    image = np.ones((6, 5, 3), np.float32)
    assert same_bits(session.run_rows(image), session.run(image))


def test_several_inputs(tmp_path):
    builder = GraphBuilder(np.random.default_rng(3), (5, 4, 3))
    builder.graph.values["other"], builder.graph.inputs["other"] = (5, 4, 3), None
    builder.output(builder.add("add", ["input", "other"]))
    model.save(builder.graph, tmp_path / "two.bin")
    with pytest.raises(ShapeError, match="one input; the model has 2"):
        mbinfer.Session(tmp_path / "two.bin").run_rows(np.zeros((5, 4, 3), np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_cannot_come_from_a_run_of_the_same_session(net, threads):
    session, image = mbinfer.Session(net, threads=threads), picture()
    expected = session.run(image)

    def rows(again):
        yield image[0]
        again(image)
        yield from image[1:]

    for again in (session.run, session.run_rows):
        with pytest.raises(ArgumentError, match="running"):
            session.run_rows(rows(again))
    other = mbinfer.Session(net)
    assert same_bits(session.run_rows(rows(other.run)), expected)


def test_python_threads_wait_in_turn(net):
    session = mbinfer.Session(net, memory_limit="least")
    images = [picture(seed) for seed in range(4)]
    expected, wrong = [session.run(image) for image in images], []

    def work(index):
        for _ in range(10):
            for run in (session.run_rows, session.run):
                if not same_bits(run(images[index]), expected[index]):
                    wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not wrong and not any(worker.is_alive() for worker in workers)
