"""Comparisons, choices and spectra of TensorFlow Lite files, against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_models import TfliteBuilder, run_litert

import mbinfer
from mbinfer import errors, model
from mbinfer.importers import import_model

SHAPE = (1, 6, 7, 8)


def ours(net: TfliteBuilder, inputs: dict) -> np.ndarray:
    session = mbinfer.Session(model.encode(import_model(net.model())))
    return session.run(**inputs)


def boolean(net: TfliteBuilder, shape) -> int:
    return net.tensor(f"t{len(net.tensors)}", shape, "bool")


@pytest.mark.parametrize("select", ["SELECT", "SELECT_V2", "CAST"])
@pytest.mark.parametrize("op", ["LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL"])
def test_comparisons_choose(op, select):
    net = TfliteBuilder(np.random.default_rng(0))
    x = net.input(SHAPE)
    number, answer = net.constant(np.float32(0.5), "float32"), boolean(net, SHAPE)
    options = "".join(word.title() for word in op.split("_")) + "Options"
    net.operator(op, [x.index, number], answer, options)
    turned = boolean(net, SHAPE)
    net.operator("LOGICAL_NOT", [answer], turned, "LogicalNotOptions")
    y = net.values(SHAPE)
    if select == "CAST":
        net.operator("CAST", [turned], y.index, "CastOptions", inDataType=6, outDataType=0)
    else:
        other = net.unary("TANH", x)
        name = "SelectV2Options" if select == "SELECT_V2" else "SelectOptions"
        net.operator(select, [turned, x.index, other.index], y.index, name)
    net.outputs.append(y.index)
    picture = np.round(net.rng.standard_normal(SHAPE), 1).astype(np.float32)
    (expected,) = run_litert(net.model(), {"x": picture}).values()
    np.testing.assert_allclose(ours(net, {"x": picture}), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("length, given", [(64, 64), (64, 50), (32, 40)])
@pytest.mark.parametrize("part", ["COMPLEX_ABS", "REAL", "IMAG"])
def test_spectra_agree(part, length, given):
    net = TfliteBuilder(np.random.default_rng(0))
    x = net.input((1, 9, given))
    frames = net.reshape(x, (1, 9, 1, given))
    bins = length // 2 + 1
    spectrum = net.tensor("spectrum", (1, 9, 1, bins), "complex64")
    net.operator("RFFT2D", [frames.index, net.constant([1, length])], spectrum, "Rfft2dOptions")
    flat = net.tensor("flat", (1, 9, bins), "complex64")
    net.operator("RESHAPE", [spectrum, net.constant([1, 9, bins])], flat, "ReshapeOptions", newShape=[1, 9, bins])
    y = net.values((1, 9, bins))
    net.operator(part, [flat], y.index)
    net.outputs.append(y.index)
    sound = net.rng.standard_normal((1, 9, given)).astype(np.float32)
    (expected,) = run_litert(net.model(), {"x": sound}).values()
    found = ours(net, {"x": sound.reshape(1, 9, 1, given)}).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()


def test_what_is_complex_is_no_output_and_no_number():
    net = TfliteBuilder(np.random.default_rng(0))
    frames = net.input((1, 4, 1, 8))
    spectrum = net.tensor("spectrum", (1, 4, 1, 5), "complex64")
    net.operator("RFFT2D", [frames.index, net.constant([1, 8])], spectrum, "Rfft2dOptions")
    net.outputs.append(spectrum)
    with pytest.raises(errors.UnsupportedError, match="complex"):
        import_model(net.model())
    y = net.values((1, 4, 1, 5))
    net.operator("NEG", [spectrum], y.index)
    net.outputs[:] = [y.index]
    with pytest.raises(errors.UnsupportedError, match="complex"):
        import_model(net.model())


def test_pads_and_constants_beside_sequences():
    """Of rank 3: zeros around its features, and a constant before them."""
    net = TfliteBuilder(np.random.default_rng(0))
    x = net.input((1, 1, 20))
    padded = net.values((1, 1, 27))
    net.operator("PAD", [x.index, net.constant([[0, 0], [0, 0], [3, 4]])], padded.index, "PadOptions")
    joined = net.values((1, 1, 31))
    zeros = net.constant(np.arange(4, dtype=np.float32).reshape(1, 1, 4), "float32")
    net.operator("CONCATENATION", [zeros, padded.index], joined.index, "ConcatenationOptions", axis=2)
    net.outputs.append(joined.index)
    sound = net.rng.standard_normal((1, 1, 20)).astype(np.float32)
    (expected,) = run_litert(net.model(), {"x": sound}).values()
    np.testing.assert_array_equal(ours(net, {"x": sound.reshape(1, 1, 1, 20)}).reshape(expected.shape), expected)


def test_sizes_that_a_file_leaves_open_are_told_by_what_is_computed():
    net = TfliteBuilder(np.random.default_rng(0))
    x = net.input((1, 5, 6, 8))
    y = net.conv(x, 4, (3, 3))
    z = net.unary("TANH", y)
    net.outputs.append(z.index)
    for index in (y.index, z.index):  # as a converter writes (1, -1, -1, 4)
        net.tensors[index].shapeSignature = [1, -1, -1, 4]
    expected = run_litert(net.model(), {"x": (picture := net.rng.standard_normal((1, 5, 6, 8)).astype(np.float32))})
    for index in (y.index, z.index):
        net.tensors[index].shape = [1, 1, 1, 4]
    (numbers,) = expected.values()
    np.testing.assert_allclose(ours(net, {"x": picture}), numbers, rtol=1e-5, atol=1e-5)


def test_frames_of_a_sound_and_their_spectra():
    """A spectrogram as TensorFlow writes one: half a frame, joined to the half behind it, a window, a transform."""
    net = TfliteBuilder(np.random.default_rng(0))
    x = net.input((1, 160))
    halves = net.reshape(x, (1, 10, 16))
    parts = []
    for begin in (0, 1):
        part = net.values((1, 9, 16))
        bounds = [net.constant([0, begin, 0]), net.constant([1, 9, 16])]
        net.operator("SLICE", [halves.index, *bounds], part.index, "SliceOptions")
        parts.append(part.index)
    frames = net.values((1, 9, 32))
    net.operator("CONCATENATION", parts, frames.index, "ConcatenationOptions", axis=2)
    window, windowed = net.constant(np.hanning(32).astype(np.float32), "float32"), net.values((1, 9, 32))
    net.operator("MUL", [frames.index, window], windowed.index, "MulOptions", fusedActivationFunction=0)
    single = net.reshape(windowed, (1, 9, 1, 32))
    spectrum = net.tensor("spectrum", (1, 9, 1, 32), "complex64")  # of a whole transform, as converters write it
    net.operator("RFFT2D", [single.index, net.constant([1, 32])], spectrum, "Rfft2dOptions")
    sizes = net.values((1, 9, 1, 17))
    net.operator("COMPLEX_ABS", [spectrum], sizes.index)
    net.outputs.append(sizes.index)
    sound = net.rng.standard_normal((1, 160)).astype(np.float32)
    (expected,) = run_litert(net.model(), {"x": sound}).values()
    found = ours(net, {"x": sound.reshape(1, 1, 1, 160)}).reshape(expected.shape)
    assert expected.shape == (1, 9, 1, 17)
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
