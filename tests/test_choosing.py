"""Comparisons and what they choose: of ONNX against onnxruntime, of TensorFlow Lite against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import agree, make, node, normal, refuse
from oracle import run_onnx

import mbinfer
from mbinfer import model as model_file
from mbinfer.importers import import_onnx

W = normal(4, 3, 3, 3)
ORDERS = ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"]


def ours(source, picture):
    session = mbinfer.Session(model_file.encode(import_onnx(source)))
    return session.run(np.ascontiguousarray(picture.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("op", ORDERS)
@pytest.mark.parametrize("other", ["number", "channels", "tensor"])
@pytest.mark.parametrize("turned", [False, True])
def test_comparisons_tell_neighbours_apart(op, other, turned):
    """Each number beside the next float32 above it, below it, and itself."""
    numbers = np.float32([0.5, -1.75, 3.0, 1e-20])
    picture = np.stack([np.nextafter(numbers, way) for way in (-np.inf, np.inf)] + [numbers], 1).astype(np.float32)
    picture = np.tile(picture[None, :, :, None], (1, 1, 1, 4))
    constants = {"c": numbers.reshape(1, 4, 1, 1), "minus": np.array(-1.0)}
    if other == "number":
        picture, constants["c"] = picture[:, :1], np.array(0.5)
    nodes = [node("Neg", "x", to="n"), node("Neg", "n", to="a", name="back")]
    if other == "tensor":
        nodes.append(node("Add", "c", "zeros", to="b"))
        nodes.insert(0, node("Sub", "x", "x", to="zeros"))
    inputs = ("a", "b" if other == "tensor" else "c")
    nodes += [node(op, *(inputs[::-1] if turned else inputs), to="m"), node("Cast", "m", to="y", name="cast")]
    nodes[-1].attribute.append(make_to(1))
    source = make(*nodes, shape=picture.shape, **constants)
    expected = run_onnx(source, {"x": picture})["y"]
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(ours(source, picture), expected)


def make_to(kind):
    from onnx import helper

    return helper.make_attribute("to", kind)


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Not"])
def test_logic_agrees(op):
    nodes = [node("Conv", "x", "w", to="a"), node("Greater", "a", "zero", to="p"), node("Less", "a", "one", to="q")]
    nodes += [node(op, *(["p"] if op == "Not" else ["p", "q"]), to="m"), node("Where", "m", "a", "other")]
    agree(make(*nodes, w=W, zero=0.0, one=1.0, other=normal(1, 4, 1, 1)))


@pytest.mark.parametrize("kinds", ["tt", "tc", "ct", "cc", "t0", "0t", "00"])
def test_choices_agree(kinds):
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("Conv", "x", "v", to="b", name="v"),
        node("Greater", "a", "half", to="m"),
    ]
    constants = {"w": W, "v": normal(4, 3, 3, 3), "half": 0.5, "c0": normal(4, 1, 1), "c1": -2.5, "zero": 0.0}
    names = [{"t": "ab"[i], "c": f"c{i}", "0": "zero"}[kind] for i, kind in enumerate(kinds)]
    agree(make(*nodes, node("Where", "m", *names), **constants))


def test_a_mask_of_one_channel_chooses_for_all():
    nodes = [node("Conv", "x", "w", to="a"), node("ReduceMean", "a", to="m", axes=[1])]
    nodes += [node("Greater", "m", "zero", to="c"), node("Where", "c", "a", "low")]
    agree(make(*nodes, w=W, zero=0.1, low=-1.0))


def test_peaks_of_a_heatmap_agree():
    """CenterNet (arXiv 1904.07850): numbers that are the largest of their neighbours, all others 0."""
    nodes = [node("Conv", "x", "w", to="a"), node("Sigmoid", "a", to="heat")]
    nodes += [node("MaxPool", "heat", to="most", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]
    nodes += [node("Equal", "most", "heat", to="same"), node("Cast", "same", to="peaks")]
    nodes[-1].attribute.append(make_to(1))
    source = make(*nodes, node("Mul", "heat", "peaks"), w=W)
    picture = normal(1, 3, 8, 8)
    expected, found = run_onnx(source, {"x": picture})["y"], ours(source, picture)
    np.testing.assert_array_equal(found > 0, expected > 0)
    agree(source)


@pytest.mark.parametrize("op, attrs", [("ThresholdedRelu", {"alpha": 0.3}), ("ThresholdedRelu", {}), ("Sign", {})])
def test_thresholds_and_signs_agree(op, attrs):
    agree(make(node("Conv", "x", "w", to="a"), node(op, "a", **attrs), w=W))


def test_a_quotient_that_is_chosen_is_a_number():
    """TensorFlow's division that makes 0 of what is divided by 0."""
    nodes = [node("Conv", "x", "w", to="a"), node("Relu", "a", to="d"), node("Conv", "x", "v", to="n", name="v")]
    nodes += [node("Equal", "d", "zero", to="m"), node("Div", "n", "d", to="q"), node("Where", "m", "zero", "q")]
    source = make(*nodes, w=W, v=normal(4, 3, 3, 3), zero=0.0)
    picture = normal(1, 3, 8, 8)
    found, expected = ours(source, picture), run_onnx(source, {"x": picture})["y"]
    assert (expected == 0).mean() > 0.1 and np.isfinite(found).all()
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("least", [-100.0, 100.0])
def test_a_branch_that_the_network_chooses(least):
    """openWakeWord's verifier: what one part says, unless it says much, and then what another says."""
    from onnx import helper

    def branch(name, *nodes):
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])

    then = branch("then", node("Gemm", "f", "m", to="then_y", name="then"))
    other = branch("else", node("Neg", "f", to="n", name="neg"), node("Gemm", "n", "k", to="else_y", name="else"))
    nodes = [node("Conv", "x", "w", to="a"), node("GlobalAveragePool", "a", to="p"), node("Flatten", "p", to="f")]
    nodes += [node("ReduceSum", "f", to="s", keepdims=0), node("GreaterOrEqual", "s", "least", to="c")]
    nodes += [node("Cast", "c", to="b"), node("If", "b", then_branch=then, else_branch=other)]
    nodes[-2].attribute.append(make_to(9))
    agree(make(*nodes, w=W, m=normal(4, 5), k=normal(4, 5), least=least))


def test_choices_of_what_may_be_no_number_are_refused():
    nodes = [node("Conv", "x", "w", to="a"), node("Greater", "a", "zero", to="m"), node("Log", "a", to="l")]
    refuse(make(*nodes, node("Where", "m", "l", "zero"), w=W, zero=0.0), "Where", "may be no number")
    nodes = [node("Conv", "x", "w", to="a"), node("Greater", "a", "zero", to="m")]
    refuse(make(*nodes, node("Where", "m", "a", "inf"), w=W, zero=0.0, inf=-np.inf), "Where", "not finite")


def test_every_schedule_has_the_same_bits():
    nodes = [
        node("Conv", "x", "w", to="a"),
        node("Greater", "a", "half", to="m"),
        node("Where", "m", "a", "low", to="b"),
    ]
    source = make(*nodes, node("Conv", "b", "v", name="v"), w=W, v=normal(5, 4, 1, 1), half=0.5, low=-1.0)
    encoded, picture = model_file.encode(import_onnx(source)), normal(1, 8, 8, 3)
    found = [mbinfer.Session(encoded, schedule=s).run(picture) for s in ("naive", "layerwise", "fused", "streamed")]
    assert all(a.tobytes() == found[0].tobytes() for a in found)
