"""Post-training quantisation: ranges against brute force, equalisation that changes nothing, graphs by the oracle."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from graphs import random_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integer_graphs import evaluate
from onnx_quantizer import run_static, static_quantize
from oracle import graph_to_onnx, random_inputs, run_graph
from PIL import Image
from small_network import picture, small_network

import mbinfer
from mbinfer import ArgumentError, ShapeError, model, zoo
from mbinfer.build import GraphBuilder
from mbinfer.cli import main
from mbinfer.graph import Recipe, Type
from mbinfer.quantize import Quantizer, noise, quantize
from mbinfer.quantize.emit import INTEGER
from mbinfer.quantize.equalise import ROOM, equalise, streams
from mbinfer.quantize.observe import Histogram, observe
from mbinfer.quantize.ranges import METHODS, PERCENTILE, picture_type, type_of
from mbinfer.quantize.rounding import observe_inputs, rounded
from mbinfer.quantize.samples import Samples
from mbinfer.quantize.tables import TABLES, split_activations, table_of
from mbinfer.quantize.weights import integers, mean_shift, weight_scales

RELU6 = ("clamp", (0.0, 6.0))


def sqnr(exact, found):
    exact, found = np.float64(exact), np.float64(found)
    return 10 * np.log10(np.square(exact).sum() / max(np.square(exact - found).sum(), 1e-30))


def run_int8(graph, inputs):
    """The outputs of an int8 graph by name, for inputs (height, width, channels)."""
    found = mbinfer.Session(model.encode(graph)).run(*inputs.values())
    return found if isinstance(found, dict) else {graph.outputs[0].name: found}


def histogram_of(*arrays):
    histogram = Histogram()
    for array in arrays:
        histogram.add(np.float32(array))
    return histogram


# Ranges


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(0, 2**32 - 1)), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_a_histogram_that_grows_counts_what_numpy_counts(parts):
    arrays = [np.float32(np.random.default_rng(seed).standard_normal(500) * 10**size) for size, seed in parts]
    arrays.append(np.zeros(7, np.float32))
    histogram, every = histogram_of(*arrays), np.concatenate(arrays)
    assert histogram.total == every.size and histogram.zeros == 7
    assert (histogram.low, histogram.high) == (min(every.min(), 0), max(every.max(), 0))
    edges = np.linspace(-histogram.reach, histogram.reach, len(histogram.counts) + 1)
    counts, _ = np.histogram(every[every != 0], edges)
    assert (counts == histogram.counts).all()


def test_a_percentile_leaves_out_what_it_says():
    numbers = np.random.default_rng(0).standard_normal(1_000_000)
    low, high = METHODS["percentile"](histogram_of(numbers))
    beyond = (100 - PERCENTILE) / 200
    assert [low, high] == pytest.approx(np.quantile(numbers, [beyond, 1 - beyond]), abs=0.02)


@pytest.mark.parametrize("draw", ["normal", "laplace", "relu"])
def test_mse_ends_are_those_of_least_error(draw):
    rng = np.random.default_rng(1)
    numbers = np.float32(rng.laplace(size=50_000) if draw == "laplace" else rng.standard_normal(50_000))
    numbers = np.maximum(numbers, 0) if draw == "relu" else numbers

    def error(ends):
        kind = type_of(*ends)
        levels = np.clip(np.rint(numbers / kind.scale) + kind.zero_point, 0, 255)
        return np.square((levels - kind.zero_point) * kind.scale - numbers).mean()

    low, high = float(numbers.min()), float(numbers.max())
    shares = np.linspace(0.1, 1, 19)
    best = min(error((low * a, high * b)) for a in shares for b in shares)
    found = error(METHODS["mse"](histogram_of(numbers)))
    assert found <= 1.03 * best and (draw == "relu" or found < 0.97 * error((low, high)))


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_type_holds_zero_and_its_range(low, high):
    low, high = sorted((low, high))
    kind = type_of(low, high)
    assert 0 <= kind.zero_point <= 255 and kind.scale > 0
    covered = (-kind.zero_point * kind.scale, (255 - kind.zero_point) * kind.scale)
    slack = 0.5001 * kind.scale  # the zero point is rounded
    assert covered[0] <= min(low, 0) + slack and covered[1] >= max(high, 0) - slack


def test_pixels_become_the_numbers_of_the_input():
    pixels = np.arange(256)
    for mean in (127.5, 127.0, 0.0, 103.0):
        kind, recipe = picture_type(Recipe((mean,) * 3, (1 / 127.5,) * 3))
        real = (pixels.astype(np.float32) - np.float32(recipe.mean[0])) * np.float32(recipe.scale[0])
        assert (np.rint(real / np.float32(kind.scale)) + kind.zero_point == pixels).all()
    kind, recipe = picture_type(Recipe((123.675, 116.28, 103.53), (0.0171, 0.0175, 0.0174)))
    assert recipe is None and kind == type_of(-123.675 * 0.0171, (255 - 103.53) * 0.0174)


# Equalisation and biases


def block(seed=0, act=RELU6, pooled=False):
    net = GraphBuilder(np.random.default_rng(seed), (12, 12, 8))
    value = net.add("conv", ["input"], 24, act, name="expand")
    value = net.add("depthwise", [value], act=act, kernel=(3, 3), pads=(1, 1, 1, 1), name="filter")
    value = net.add("global_avg_pool", [value]) if pooled else value
    net.output(net.add("conv", [value], 8, name="project"))
    for node in net.graph.nodes:  # channels of very different sizes
        if node.name == "expand":
            sizes = 10 ** np.random.default_rng(seed).uniform(-2, 0.5, 24)
            node.weight, node.bias = np.float32(node.weight * sizes[:, None, None, None]), np.float32(node.bias * sizes)
    return net.graph


def inputs_of(graph, count=4):
    return [{name: array[0] for name, array in random_inputs(graph, seed).items()} for seed in range(count)]


def check_equalised(graph, value, per_channel, least):
    """Equalises `least` channels or more; the network computes the same, and channels of `value` are more alike."""
    before, samples = copy.deepcopy(graph), Samples(graph, inputs_of(graph))
    seen = observe(graph, samples)
    assert equalise(graph, seen, per_channel) >= least
    for arrays in inputs_of(graph):
        batch = {name: array[None] for name, array in arrays.items()}
        (exact,), (found,) = run_graph(before, batch).values(), run_graph(graph, batch).values()
        assert np.abs(found - exact).max() <= 1e-4 * np.abs(exact).max()
    spread = [np.ptp(np.log(s[value].highs - s[value].lows)) for s in (seen, observe(graph, samples))]
    assert not per_channel or spread[1] < 0.7 * spread[0]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("act", [RELU6, ("clamp", (0.0, np.inf)), ("none", (-np.inf, np.inf))])
@pytest.mark.parametrize("pooled", [True, False])
def test_equalisation_computes_the_same_and_evens_channels(act, per_channel, pooled):
    graph = block(act=act, pooled=pooled)
    check_equalised(graph, graph.nodes[0].output, per_channel, least=11)


def test_a_channel_that_may_meet_its_bound_keeps_its_scale():
    graph = block()
    graph.nodes[0].bias[:3] = 5.5
    before = graph.nodes[0].weight.copy()
    seen = observe(graph, Samples(graph, inputs_of(graph)))[graph.nodes[0].output]
    equalise(graph, {**observe(graph, Samples(graph, inputs_of(graph)))})
    near = seen.highs >= ROOM * 6
    assert near[:3].all() and not near.all()
    kept = (graph.nodes[0].weight == before).all(axis=(1, 2, 3))
    assert kept[near].all() and not kept.all()


def test_values_that_others_read_are_not_scaled():
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 8))
    first = net.add("conv", ["input"], 8, RELU6)
    second = net.add("conv", [first], 8)
    net.output(net.add("add", [first, second]))
    assert streams(net.graph) == []


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_chain_of_residual_blocks_is_equalised_as_one(per_channel):
    """Every summand of an addition gets the same factors: what is added, what adds, and who reads either."""
    sizes = np.float32(10 ** np.random.default_rng(0).uniform(-2, 0, 8))
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 8))
    value = chain = net.convolve("input", 8)
    for _ in range(2):
        value = net.add("add", [value, net.convolve(net.convolve(value, 8), 8)])
    net.output(net.convolve(net.add("max_pool", [value], kernel=(2, 2), stride=(2, 2)), 8))
    graph = net.graph
    for node in graph.nodes:
        if node.weight is not None and node.activation == "none":
            node.weight, node.bias = np.float32(node.weight * sizes[:, None, None, None]), node.bias * sizes
    (stream,) = (stream for stream in streams(graph) if chain in stream.values)
    assert (len(stream.makers), len(stream.carriers), len(stream.readers)) == (3, 3, 3)
    check_equalised(graph, value, per_channel, least=9)


@pytest.mark.parametrize(("op", "groups"), [("conv", 1), ("conv", 2), ("depthwise", 8)])
def test_compensated_weights_lose_less_of_the_sums(op, groups):
    """Of outputs on the samples, beside weights rounded to the nearest step; and the same where nothing correlates."""
    rng = np.random.default_rng(0)
    net = GraphBuilder(rng, (12, 12, 8))
    shape = {"kernel": (3, 3), "pads": (1, 1, 1, 1), "stride": (1, 2)}
    net.output(net.add(op, ["input"], 8, **shape, **({"groups": groups} if op == "conv" else {})))
    node = net.graph.nodes[0]
    smooth = rng.standard_normal((4, 12, 12, 3)) @ rng.standard_normal((3, 8))  # channels that say the same
    for axis in (1, 1, 2, 2):
        smooth = smooth + np.roll(smooth, 1, axis)
    smooth = smooth.astype(np.float32)
    samples = Samples(net.graph, [{"input": array} for array in smooth])
    covariance = observe_inputs(net.graph, samples, [node])[node.name]
    exact = np.asarray(node.weight, np.float64) / 0.05
    losses = []
    for weight in np.rint(exact), rounded(node, exact, covariance):
        assert (weight == np.rint(weight)).all() and np.abs(weight).max() <= 127
        results = []
        for node.weight in np.float32(exact), np.float32(weight):
            results.append([next(iter(run_graph(net.graph, {"input": array[None]}).values())) for array in smooth])
        lost = np.subtract(*results)
        losses.append(float(np.square(lost - lost.mean((0, 1, 2, 3))).mean()))
    assert losses[1] < 0.7 * losses[0]
    alone = np.broadcast_to(np.eye(covariance.shape[-1]), covariance.shape)
    assert np.array_equal(rounded(node, exact, alone), np.rint(exact))


@given(st.sampled_from(["conv", "depthwise", "groups"]), st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_integer_weights_and_corrected_means(op, per_channel, seed):
    rng = np.random.default_rng(seed)
    net = GraphBuilder(rng, (6, 6, 8))
    groups = {"conv": 1, "depthwise": 8, "groups": 2}[op]
    net.output(net.convolve("input", 8, groups=groups, kernel=(3, 3)))
    (node,) = net.graph.nodes
    means = rng.standard_normal(8)
    real = np.float64(node.weight)
    weight, scales, bias = integers(node, 0.05, per_channel, lambda weight: mean_shift(node, real - weight, means))
    spread = scales if op == "depthwise" else scales[:, None, None, None]
    assert np.abs(weight * spread - node.weight).max() <= 0.501 * scales.max() and np.abs(weight).max() == 127
    assert per_channel or len(set(scales)) == 1
    wanted = mean_shift(node, real, means) + node.bias
    found = mean_shift(node, np.float64(weight * spread), means) + bias * scales * 0.05
    assert np.abs(found - wanted).max() <= 0.51 * 0.05 * scales.max() + 1e-6


def test_tiny_weights_under_a_large_bias_fit_32_bits():
    net = GraphBuilder(np.random.default_rng(0), (4, 4, 8))
    net.output(net.add("conv", ["input"], 8))
    (node,) = net.graph.nodes
    node.weight, node.bias = np.float32(node.weight * 1e-12), np.full(8, 3, np.float32)
    _, scales, bias = integers(node, 0.05, True, None)
    assert bias * np.float64(scales) * 0.05 == pytest.approx(3, rel=1e-6)
    assert (weight_scales(node, True) < scales).all()


# Graphs


def test_class_numbers_stay_as_they_are():
    """A segmenter ends in uint8 numbers of classes, which are no real numbers of some scale."""
    net = GraphBuilder(np.random.default_rng(0), (8, 8, 8))
    value = net.add("argmax", [net.convolve("input", 8)])
    net.graph.types[value] = Type("uint8", 1.0, 0)
    net.output(value)
    made = quantize(net.graph, inputs_of(net.graph))
    assert made.types[made.outputs[0].value] == net.graph.types[value] == Type("uint8", 1.0, 0)
    (picture,) = inputs_of(net.graph)[0].values()
    exact, found = (mbinfer.Session(model.encode(graph)).run(picture) for graph in (net.graph, made))
    assert found.dtype == np.uint8 and np.mean(found == exact) > 0.9


@given(random_graph(max_blocks=3))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_graphs_stay_close_to_float32(graph):
    inputs = random_inputs(graph)
    made = quantize(graph, [inputs], ranges="minmax")
    found = run_int8(made, {name: array[0] for name, array in inputs.items()})
    for name, exact in run_graph(graph, inputs).items():
        assert np.abs(exact).max() < 1e-4 or sqnr(exact, found[name]) > 12, name


def activation_alone(activation):
    net = GraphBuilder(dims=(1, 256, 1))
    one = np.ones((1, 1, 1), np.float32)
    net.output(net.add("depthwise", ["input"], act=(activation, (-np.inf, np.inf)), weight=one, name="curve"))
    return net.graph


@pytest.mark.parametrize("activation", sorted(TABLES))
def test_tables_are_the_function(activation):
    taken, made = Type("uint8", 0.05, 120), Type("uint8", 0.03, 14)
    table = table_of(activation, taken, made)
    x = (np.arange(256) - 120) * 0.05
    exact = run_graph(activation_alone(activation), {"input": np.float32(x).reshape(1, 1, 256, 1)})["curve_out:output"]
    exact = exact.ravel()
    inside = (exact > -14 * 0.03) & (exact < (255 - 14) * 0.03)
    assert np.abs((table.astype(int) - 14) * 0.03 - exact)[inside].max() <= 0.0151


def test_a_kept_node_is_float32_between_converts():
    graph = block()
    made = quantize(graph, inputs_of(graph), keep_float=["filter"])
    by_name = {node.name: node for node in made.nodes}
    assert by_name["filter"].weight.dtype == np.float32 and by_name["expand"].weight.dtype == np.int8
    assert [node.op for node in made.nodes] == ["convert", "conv", "convert", "depthwise", "convert", "conv", "convert"]
    assert made.types.keys() == {"input:uint8", "expand_out", "filter_out:uint8", "project_out"}


def test_only_what_a_table_reads_is_quantised_where_it_matters():
    net = GraphBuilder(np.random.default_rng(0), (12, 12, 8))
    net.output(net.add("conv", ["input"], 16, ("hard_swish", (-np.inf, np.inf)), name="swish"))
    net.graph.nodes[0].bias -= 20
    split = split_activations(net.graph, INTEGER, ())
    assert [node.name for node in split.nodes] == ["swish", "swish/hard_swish"]
    made = quantize(net.graph, inputs_of(net.graph), ranges="minmax", correct_bias=False)
    kind = made.types["swish_out/linear"]
    assert -kind.zero_point * kind.scale == pytest.approx(-3, abs=kind.scale)
    assert [node.op for node in made.nodes] == ["convert", "conv", "lookup", "convert"]


@pytest.mark.parametrize("network", ["mobilenet_v3_small", "shufflenet_v2", "ssdlite_v2"])
def test_gates_moves_and_heads_run_on_bytes(network):
    """No value in between is float32; what a concatenation joins has one type, or the model could not be encoded."""
    boxes = {"boxes": True} if network == "ssdlite_v2" else {}
    graph = getattr(zoo, network)(resolution=64, classes=10, **boxes)
    samples = noise(graph, 2)
    made = quantize(graph, samples, equalise=False, compensate=False)
    on_reals = {node.op for node in made.nodes if not made.types.keys() & {*node.inputs, node.output}}
    assert on_reals == ({"concat", "nms"} if boxes else set())  # boxes have float32 coordinates
    assert len([node for node in made.nodes if node.op == "convert"]) == (1 if boxes else 2)
    (sample,) = samples[0].values()
    exact, ours = (mbinfer.Session(model.encode(some)).run(sample) for some in (graph, made))
    assert boxes or sqnr(exact, ours) > 10


def test_resized_differences_run_on_bytes():
    net = GraphBuilder(np.random.default_rng(1), (6, 5, 8))
    wide = net.add("resize", [net.convolve("input", 8)], rows=(1, 2, 0), columns=(2, 3, 1), kernel=(2, 2), size=(12, 8))
    smaller = net.add("min", [net.add("sub", [wide, wide]), wide])
    net.output(net.add("max", [net.add("mul", [wide, wide]), smaller]))
    samples = inputs_of(net.graph)
    made = quantize(net.graph, samples, ranges="minmax")
    assert all(made.types.keys() & {*node.inputs, node.output} for node in made.nodes)
    exact, ours = (mbinfer.Session(model.encode(some)) for some in (net.graph, made))
    assert sqnr(*(np.stack([run.run(sample["input"]) for sample in samples]) for run in (exact, ours))) > 25


def test_better_than_the_static_quantiser_of_onnxruntime(tmp_path):
    """Where channels differ in size, as those of trained networks do; the same samples for calibration."""
    graph = block(seed=3)
    shown, held = inputs_of(graph, 8), [random_inputs(graph, seed) for seed in range(100, 108)]
    theirs = static_quantize(graph, [sample["input"] for sample in shown], tmp_path)
    ours = mbinfer.Session(model.encode(quantize(graph, shown)))
    exact = np.stack([next(iter(run_graph(graph, sample).values())) for sample in held])
    mine = sqnr(exact, np.stack([ours.run(sample["input"]) for sample in held]))
    other = sqnr(exact, np.stack([run_static(theirs, sample["input"]).reshape(exact.shape[1:]) for sample in held]))
    assert mine > other + 1, (mine, other)


# Reports and mistakes


def test_the_report_says_what_was_lost(tmp_path):
    graph = small_network()
    quantizer = Quantizer(graph, [picture(seed) for seed in range(3)])
    made = quantizer.quantized(compensate=False)
    report = quantizer.report(made)
    assert len(report.stages) == len(graph.nodes) and report.samples == 3
    for kind in ("json", "svg", "txt", "png"):
        report.save(tmp_path / f"report.{kind}")
    assert json.loads((tmp_path / "report.json").read_text())["sqnr"]["logits"] == report.sqnr["logits"]
    assert "block3.project" in (tmp_path / "report.txt").read_text()
    assert (tmp_path / "report.svg").read_text().count("<rect") >= len(graph.nodes)
    # one stage by hand: the oracle's integers against onnxruntime's float32
    kind = made.types["stem"]
    source = copy.copy(quantizer._source)
    source.outputs = [type(source.outputs[0])("stem", "stem", (1, *source.values["stem"]))]
    recipe = graph.inputs["image"]
    real = [
        (picture(seed).astype(np.float32) - np.float32(recipe.mean)) * np.float32(recipe.scale) for seed in range(3)
    ]
    source.nodes = source.nodes[:1]
    found = [evaluate(made, {"image": image})["stem"] for image in real]
    exact = [run_graph(source, {"image": image[None]})["stem"][0] for image in real]
    ours = [(array.astype(float) - kind.zero_point) * kind.scale for array in found]
    assert report.stages[0].sqnr == pytest.approx(sqnr(np.stack(exact), np.stack(ours)), abs=0.05)


def test_mistakes_are_told(tmp_path):
    graph = small_network()
    with pytest.raises(ArgumentError, match="no picture and no array"):
        quantize(graph, [])
    with pytest.raises(ArgumentError, match="there is no such folder"):
        quantize(graph, tmp_path / "missing")
    with pytest.raises(ArgumentError, match="has no picture"):
        quantize(graph, tmp_path)
    with pytest.raises(ArgumentError, match="calibration of type NoneType"):
        quantize(graph, None)
    with pytest.raises(ShapeError, match="has shape"):
        quantize(graph, [picture()[:10]])
    with pytest.raises(ArgumentError, match="no node is called 'stam'"):
        quantize(graph, [picture()], keep_float=["stam"])
    with pytest.raises(ArgumentError, match="no node is called 'stem'; give a list"):
        quantize(graph, [picture()], keep_float="stem")
    with pytest.raises(ArgumentError, match="give one of"):
        quantize(graph, [picture()], ranges="entropy")
    with pytest.raises(ArgumentError, match="quantised already"):
        quantize(quantize(graph, noise(graph), compensate=False), noise(graph))


def test_the_command_line_quantises(tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    (tmp_path / "source.onnx").write_bytes(graph_to_onnx(small_network()).SerializeToString())
    made, report = str(tmp_path / "made.bin"), str(tmp_path / "report.txt")
    source = str(tmp_path / "source.onnx")
    arguments = ["convert", source, made, "--mean", "127.5", "--scale", "0.01", "--dtype", "int8"]
    assert main([*arguments, "--calibrate", str(folder), "--report", report]) == 0
    assert Path(report).read_text().count("| depthwise |") == 17
    sizes = [mbinfer.Session(source).plan.weight_bytes for source in (made, model.encode(small_network()))]
    assert sizes[0] < 0.45 * sizes[1]
    assert main(arguments[:-2] + ["--ranges", "mse"]) == 1
    assert "ranges: for --dtype int8 only" in capsys.readouterr().err
    arguments = ["efficientnet_lite0", "--resolution", "32", "--classes", "8", "--dtype", "int8", "--no-compensation"]
    assert main(["build", *arguments, "-o", made]) == 0
    assert mbinfer.Session(made).run(picture()[:32, :32]).shape == (1, 8)
