"""The zoo: shapes, costs against the papers, weights from state dicts, random weights that keep activations sane."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from mbinfer import model, zoo
from mbinfer.errors import ShapeError, UnsupportedError

BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def run(graph, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every value of a zoo graph for one uint8 image, by float64 sums over the taps of each kernel."""
    ((name, recipe),) = graph.inputs.items()
    found = {name: (image - np.array(recipe.mean)) * recipe.scale}
    for node in graph.nodes:
        x = found[node.inputs[0]]
        if node.op == "add":
            y = x + found[node.inputs[1]]
        elif node.op == "global_avg_pool":
            y = x.mean((0, 1), keepdims=True)
        else:
            (height, width, _), (sy, sx), (top, left, bottom, right) = graph.values[node.output], node.stride, node.pads
            x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
            y = node.bias.astype(np.float64)
            for ky in range(node.kernel[0]):
                for kx in range(node.kernel[1]):
                    tap = x[ky : ky + (height - 1) * sy + 1 : sy, kx : kx + (width - 1) * sx + 1 : sx]
                    y = y + (tap @ node.weight[:, ky, kx].T if node.op == "conv" else tap * node.weight[ky, kx])
        found[node.output] = np.clip(y, *node.clamp) if node.activation == "clamp" else y
        assert found[node.output].shape == graph.values[node.output], node.name
    return found


def random_entry(rng, name: str, shape: tuple[int, ...]) -> np.ndarray:
    low, high = (0.5, 1.5) if name.endswith(("running_var", ".1.weight")) else (-0.5, 0.5)
    return rng.uniform(low, high, shape).astype(np.float32)


def with_batch_norm(conv: str, bn: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {
        f"{conv}.weight": shape,
        **{f"{bn}.{field}": shape[:1] for field in BATCH_NORM},
        f"{bn}.num_batches_tracked": (),
    }


def v2_state(classes: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict as torchvision's MobileNetV2 of width 0.35 has it."""
    shapes, c = with_batch_norm("features.0.0", "features.0.1", (16, 3, 3, 3)), 16
    blocks = [8] + [8] * 2 + [16] * 3 + [24] * 4 + [32] * 3 + [56] * 3 + [112]
    for i, out in enumerate(blocks, 1):
        prefix, hidden = f"features.{i}.conv", c * (1 if i == 1 else 6)
        layers = [] if i == 1 else [(f"{prefix}.0.0", f"{prefix}.0.1", (hidden, c, 1, 1))]
        n = len(layers)
        layers += [
            (f"{prefix}.{n}.0", f"{prefix}.{n}.1", (hidden, 1, 3, 3)),
            (f"{prefix}.{n + 1}", f"{prefix}.{n + 2}", (out, hidden, 1, 1)),
        ]
        for layer in layers:
            shapes.update(with_batch_norm(*layer))
        c = out
    shapes.update(with_batch_norm("features.18.0", "features.18.1", (1280, 112, 1, 1)))
    shapes.update({"classifier.1.weight": (classes, 1280), "classifier.1.bias": (classes,)})
    rng = np.random.default_rng(seed)
    return {name: random_entry(rng, name, shape) for name, shape in shapes.items()}


def v1_state(classes: int = 10) -> dict[str, np.ndarray]:
    """A state dict of a MobileNetV1 of width 0.25 by the names that `mobilenet_v1` documents."""
    shapes, c = with_batch_norm("features.0.0", "features.0.1", (8, 3, 3, 3)), 8
    for i, out in enumerate([16, 32, 32, 64, 64] + [128] * 6 + [256] * 2, 1):
        shapes.update(with_batch_norm(f"features.{i}.0", f"features.{i}.1", (c, 1, 3, 3)))
        shapes.update(with_batch_norm(f"features.{i}.3", f"features.{i}.4", (out, c, 1, 1)))
        c = out
    shapes.update({"classifier.weight": (classes, 256), "classifier.bias": (classes,)})
    rng = np.random.default_rng(1)
    return {name: random_entry(rng, name, shape) for name, shape in shapes.items()}


# The papers' numbers as printed, in millions; a truncated figure (V2's 3.4 for 3.47) is one unit of its last digit off.
@pytest.mark.parametrize(
    "network, width, resolution, madds, parameters",
    [
        (zoo.mobilenet_v2, 1.0, 224, 300, 3.4),  # MobileNetV2, table 4
        (zoo.mobilenet_v1, 1.0, 224, 569, 4.2),  # MobileNets, tables 4, 6 and 7
        (zoo.mobilenet_v1, 0.75, 224, 325, 2.6),
        (zoo.mobilenet_v1, 0.5, 224, 149, 1.3),
        (zoo.mobilenet_v1, 0.25, 224, 41, 0.5),
        (zoo.mobilenet_v1, 1.0, 192, 418, 4.2),
        (zoo.mobilenet_v1, 1.0, 160, 290, 4.2),
        (zoo.mobilenet_v1, 1.0, 128, 186, 4.2),
    ],
)
def test_costs_are_the_papers(network, width, resolution, madds, parameters):
    cost = zoo.count(network(width, resolution))
    assert abs(cost.macs / 1e6 - madds) < 1 and abs(cost.paper_parameters / 1e6 - parameters) < 0.1


# Published figures, in millions, and how far ours are from them: authors count what is not a convolution, or truncate.
@pytest.mark.parametrize(
    "make, arguments, madds, parameters",
    [
        (zoo.mobilenet_v3_large, {}, 219, 5.4),  # MobileNetV3, tables 3 and 9
        (zoo.mobilenet_v3_large, {"minimalistic": True}, 209, 3.9),  # its authors' table of checkpoints
        (zoo.mobilenet_v3_small, {}, 56, 2.5),
        (zoo.mobilenet_v3_small, {"minimalistic": True}, 52.3, 2.0),  # timm's module, counted
        (zoo.mobilenet_v4_conv_small, {}, 190, 3.77),  # timm's table; MobileNetV4 says 0.2 G and 3.8 M
        (zoo.mobilenet_v4_conv_medium, {}, 1100, 9.72),  # timm's; the paper 1.0 G and 9.2 M
        (zoo.efficientnet_b0, {}, 390, 5.3),  # EfficientNet, table 2
        (zoo.efficientnet_lite0, {}, 407, 4.7),  # its authors' table; they count what batch norm and ReLU6 do
        (zoo.efficientnet_lite1, {}, 631, 5.4),
        (zoo.efficientnet_lite2, {}, 899, 6.1),
        (zoo.efficientnet_lite3, {}, 1440, 8.2),
        (zoo.efficientnet_lite4, {}, 2640, 13.0),
        (zoo.mnasnet_b1, {}, 315, 4.4),  # timm's and torchvision's tables
        (zoo.shufflenet_v2, {"width": 0.5}, 41, 1.4),  # ShuffleNetV2, table 8
        (zoo.shufflenet_v2, {}, 146, 2.3),
        (zoo.resnet18, {}, 1814, 11.7),  # torchvision's table
        (zoo.resnet8, {}, 12.5, 0.08),  # MLPerf Tiny
        (zoo.ds_cnn, {}, 2.7, 0.02),
        (zoo.deeplab_v3, {}, 2750, 2.11),  # MobileNetV2, table 7
        (zoo.ssdlite_v3, {}, 583, 3.44),  # torchvision's table
    ],
)
def test_costs_are_nearly_those_published(make, arguments, madds, parameters):
    cost = zoo.count(make(**arguments))
    assert abs(cost.macs / 1e6 / madds - 1) < 0.055 and abs(cost.parameters / 1e6 - parameters) < 0.11


def test_costs_are_those_of_timms_modules():
    """Multiply-adds counted by hooks on timm 1.0's modules of these names, at the resolutions of the authors."""
    found = [zoo.count(getattr(zoo, f"efficientnet_lite{i}")()).macs for i in range(5)]
    assert found == [385_187_552, 600_185_232, 859_736_272, 1_383_321_872, 2_553_034_336]
    assert zoo.count(zoo.mobilenet_v3_small(minimalistic=True)).macs == 52_288_448


def test_costs_further_from_those_published():
    """The MobileNetV2 paper says 5.8 B and 4.52 M for DeepLabv3 with ASPP (table 7): the parameters are these, and
    fewer multiply-adds follow from them. Its SSDLite has 0.8 B and 4.3 M (table 6), with three anchors on the first map
    where torchvision's has six, which costs 62 M and 0.2 M."""
    cost = zoo.count(zoo.deeplab_v3(aspp=True))
    assert abs(cost.parameters / 1e6 - 4.52) < 0.02 and cost.macs == 5_292_205_760
    cost = zoo.count(zoo.ssdlite_v2())
    fewer = 3 * (91 + 4) * 576
    assert abs((cost.macs - 400 * fewer) / 800e6 - 1) < 0.011 and abs((cost.parameters - fewer) / 1e6 - 4.3) < 0.2


def test_published_range_of_v2():
    """From 0.35@96 to 1.4@224 the paper's text says 7M to 585M MAdds and 1.7M to 6.9M parameters. Its authors' table of
    checkpoints (TF-Slim) says 11M to 582M and 1.66M to 6.06M: those are the networks that exist, and ours."""
    least, most = zoo.count(zoo.mobilenet_v2(0.35, 96)), zoo.count(zoo.mobilenet_v2(1.4, 224))
    assert least.macs // 10**6 == 11 and most.macs // 10**6 == 582 and abs(most.macs / 585e6 - 1) < 0.005
    assert (round(least.paper_parameters / 1e6, 2), round(most.paper_parameters / 1e6, 2)) == (1.66, 6.06)


def test_parameters_our_way_add_a_bias_for_every_convolution():
    cost = zoo.count(zoo.mobilenet_v2())
    # torchvision counts 3,504,872 with gamma and beta; folding leaves one of the two, for 17,056 channels.
    assert cost.parameters == 3_504_872 - 17_056 and cost.macs == 300_774_272


@pytest.mark.parametrize(
    "width, channels",
    [
        (0.35, [16, 8, 8, 16, 24, 32, 56, 112, 1280]),
        (0.5, [16, 8, 16, 16, 32, 48, 80, 160, 1280]),
        (0.75, [24, 16, 24, 24, 48, 72, 120, 240, 1280]),
        (1.0, [32, 16, 24, 32, 64, 96, 160, 320, 1280]),
        (1.4, [48, 24, 32, 48, 88, 136, 224, 448, 1792]),
    ],
)
def test_v2_channels(width, channels):
    values = zoo.mobilenet_v2(width, 32).values
    names = ["stem"] + [f"block{i}.project" for i in (1, 2, 4, 7, 11, 14, 17)] + ["head"]
    assert [values[name][2] for name in names] == channels


@pytest.mark.parametrize("network", [zoo.mobilenet_v1, zoo.mobilenet_v2])
@pytest.mark.parametrize("width, resolution, classes", [(1.0, 32, 1000), (0.3, 33, 2), (0.1, 97, 1), (1.3, 127, 21)])
def test_any_width_resolution_and_classes(network, width, resolution, classes):
    graph = network(width, resolution, classes)
    model.encode(graph)  # checks every shape
    assert graph.values["image"] == (resolution, resolution, 3) and graph.outputs[0].shape == (1, classes)
    side = -(-resolution // 32)
    assert graph.values[graph.nodes[-2].inputs[0]][:2] == (side, side)
    assert all(shape[2] % 8 == 0 for name, shape in graph.values.items() if name not in ("image", "logits"))


def test_names_and_recipe():
    graph = zoo.mobilenet_v2(0.35, 32)
    names = [node.name for node in graph.nodes]
    assert names[:6] == [
        "stem",
        "block1.depthwise",
        "block1.project",
        "block2.expand",
        "block2.depthwise",
        "block2.project",
    ]
    assert names[-3:] == ["head", "pool", "classifier"]
    assert [n for n in names if n.endswith("add")] == [f"block{i}.add" for i in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]
    recipe = graph.inputs["image"]
    assert np.allclose(np.array(recipe.mean) / 255, (0.485, 0.456, 0.406))
    assert np.allclose(1 / np.array(recipe.scale) / 255, (0.229, 0.224, 0.225)) and recipe.crop == 0.875
    assert graph.metadata == {
        "architecture": "MobileNetV2",
        "width": "0.35",
        "resolution": "32",
        "source": "random, seed 0",
    }
    assert graph.outputs[0].name == "logits"
    names = [node.name for node in zoo.mobilenet_v1(0.25, 32).nodes]
    assert names[:3] == ["stem", "block1.depthwise", "block1.pointwise"] and names[-2:] == ["pool", "classifier"]


@pytest.mark.parametrize(
    "network, width, resolution",
    [
        (zoo.mobilenet_v1, 0.25, 96),
        (zoo.mobilenet_v1, 1.0, 32),
        (zoo.mobilenet_v2, 0.35, 96),
        (zoo.mobilenet_v2, 1.0, 33),
    ],
)
def test_random_weights_keep_activations_sane(network, width, resolution):
    graph = network(width, resolution)
    rng = np.random.default_rng(7)
    images = [rng.integers(0, 256, (resolution, resolution, 3)).astype(np.uint8) for _ in range(2)]
    first, second = (run(graph, image) for image in images)
    for node in graph.nodes[:-2]:
        y = first[node.output]
        assert 0.3 < y.std() < 6 and np.abs(y).max() < 40, node.name
        assert node.activation != "clamp" or (0.1 < (y > 0).mean() < 0.95 and (y == 6).mean() < 0.1), node.name
    logits = [values["logits"].ravel() for values in (first, second)]
    assert all(0.1 < x.std() < 30 for x in logits) and np.std(logits[0] - logits[1]) > 0.1


def test_seeds():
    same, again, other = (zoo.mobilenet_v2(0.35, 32, seed=seed) for seed in (3, 3, 4))
    assert model.encode(same) == model.encode(again)
    assert not np.array_equal(same.nodes[0].weight, other.nodes[0].weight)
    # A tensor depends on its name and shape, not on what was drawn before it.
    wider = zoo.mobilenet_v2(0.35, 64, classes=5, seed=3)
    assert all(np.array_equal(a.weight, b.weight) for a, b in zip(same.nodes[:-1], wider.nodes) if a.weight is not None)


def batch_norm(x: np.ndarray, state: dict, name: str) -> np.ndarray:
    gamma, beta, mean, variance = (state[f"{name}.{field}"].astype(np.float64)[:, None, None] for field in BATCH_NORM)
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """Channels-first convolution by windows and einsum; one input channel in the weights means depthwise."""
    weight = weight.astype(np.float64)
    kernel = weight.shape[2]
    x = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
    windows = sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    if weight.shape[1] == 1:
        return np.einsum("chwyx,cyx->chw", windows, weight[:, 0])
    return np.einsum("ihwyx,oiyx->ohw", windows, weight)


def test_v2_state_dict_means_what_torchvision_means():
    """Stem and blocks 1 to 3 (no expansion, stride 2, residual), batch norm not folded, channels first."""
    state = v2_state()
    assert len(state) == 314  # as many as torchvision's
    graph = zoo.mobilenet_v2(0.35, 33, weights=state)
    image = np.random.default_rng(5).integers(0, 256, (33, 33, 3)).astype(np.uint8)
    found = run(graph, image)

    def layer(x, conv, bn, stride=1):
        return batch_norm(convolve(x, state[f"features.{conv}.weight"], stride), state, f"features.{bn}")

    def relu6(x):
        return np.minimum(np.maximum(x, 0), 6)

    x = ((image / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1)
    x = relu6(layer(x, "0.0", "0.1", 2))
    x = layer(relu6(layer(x, "1.conv.0.0", "1.conv.0.1")), "1.conv.1", "1.conv.2")
    for i, stride in ((2, 2), (3, 1)):
        y = relu6(layer(x, f"{i}.conv.0.0", f"{i}.conv.0.1"))
        y = layer(relu6(layer(y, f"{i}.conv.1.0", f"{i}.conv.1.1", stride)), f"{i}.conv.2", f"{i}.conv.3")
        x = x + y if stride == 1 else y
    assert np.allclose(found["block3.add"], x.transpose(1, 2, 0), rtol=1e-5, atol=1e-5)
    pooled = found["head"].mean((0, 1))
    assert np.allclose(found["logits"].ravel(), state["classifier.1.weight"] @ pooled + state["classifier.1.bias"])
    assert graph.metadata["source"] == "state dict"


def test_v1_state_dict():
    state = v1_state()
    graph = zoo.mobilenet_v1(0.25, 32, classes=10, weights=state)
    image = np.random.default_rng(6).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    found = run(graph, image)
    x = found["block1.pointwise"].transpose(2, 0, 1)
    for conv, bn, stride in (("2.0", "2.1", 2), ("2.3", "2.4", 1)):
        x = batch_norm(convolve(x, state[f"features.{conv}.weight"], stride), state, f"features.{bn}").clip(0, 6)
    assert np.allclose(found["block2.pointwise"], x.transpose(1, 2, 0), rtol=1e-5, atol=1e-5)


def test_state_dict_that_does_not_fit():
    state = v2_state()
    del state["features.3.conv.1.1.running_var"]
    state["features.19.weight"] = np.zeros(3)
    state["features.0.0.weight"] = np.zeros((16, 3, 3, 2))
    with pytest.raises(ShapeError) as caught:
        zoo.mobilenet_v2(0.35, 32, weights=state)
    message = str(caught.value)
    assert "missing: features.3.conv.1.1.running_var;" in message and "surplus: features.19.weight;" in message
    assert "misshaped: features.0.0.weight (16, 3, 3, 2), not (16, 3, 3, 3)" in message
    with pytest.raises(ShapeError, match=r"classifier.1.weight \(1000, 1280\), not \(10, 1280\)"):
        zoo.mobilenet_v2(0.35, 32, classes=10, weights=v2_state())
    with pytest.raises(UnsupportedError, match="type list"):
        zoo.mobilenet_v2(weights=[1, 2])


@pytest.mark.parametrize("arguments", [{"resolution": 31}, {"width": 0.0}, {"width": float("nan")}, {"classes": 0}])
@pytest.mark.parametrize("network", [zoo.mobilenet_v1, zoo.mobilenet_v2])
def test_bad_arguments(network, arguments):
    with pytest.raises(ShapeError, match="width is above 0, resolution at least 32, classes at least 1"):
        network(**arguments)


def test_weight_files(tmp_path, monkeypatch):
    state = v2_state(classes=3)
    expected = model.encode(zoo.mobilenet_v2(0.35, 32, 3, weights=state))
    np.savez(tmp_path / "net.npz", **state)
    graph = zoo.mobilenet_v2(0.35, 32, 3, weights=tmp_path / "net.npz")
    assert graph.metadata["source"] == "net.npz"  # the name of the file, never its folder
    graph.metadata["source"] = "state dict"
    assert model.encode(graph) == expected
    with pytest.raises(UnsupportedError, match="'.h5'; known are .npz"):
        zoo.mobilenet_v2(weights="net.h5")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UnsupportedError, match="reading .safetensors needs safetensors"):
        zoo.mobilenet_v2(weights=str(tmp_path / "net.safetensors"))
    with pytest.raises(FileNotFoundError):
        zoo.mobilenet_v2(weights=tmp_path / "missing.npz")


def test_torch_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    state = v2_state(classes=3)
    expected = model.encode(zoo.mobilenet_v2(0.35, 32, 3, weights=state))
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in state.items()}
    assert model.encode(zoo.mobilenet_v2(0.35, 32, 3, weights=tensors)) == expected
    torch.save(tensors, tmp_path / "net.pth")
    graph = zoo.mobilenet_v2(0.35, 32, 3, weights=tmp_path / "net.pth")
    graph.metadata["source"] = "state dict"
    assert model.encode(graph) == expected
    half = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    zoo.mobilenet_v2(0.35, 32, 3, weights=half)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("key", ["", "state_dict", "model"])
def test_weights_as_training_stores_them(prefix, key):
    state = v2_state(classes=3)
    expected = model.encode(zoo.mobilenet_v2(0.35, 32, 3, weights=state))
    stored = {f"{prefix}{name}": array for name, array in state.items()}
    given = {"epoch": 3, "optimizer": {"state": {}}, key: stored} if key else stored
    assert model.encode(zoo.mobilenet_v2(0.35, 32, 3, weights=given)) == expected


def test_weights_that_are_not_alone(tmp_path):
    state = v2_state(classes=3)
    with pytest.raises(UnsupportedError, match="several state dicts, 'model', 'ema'; give one"):
        zoo.mobilenet_v2(0.35, 32, 3, weights={"model": state, "ema": state})
    with pytest.raises(ShapeError, match="missing"):
        zoo.mobilenet_v2(0.35, 32, 3, weights={})
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "net.pth.tar")
    with pytest.raises(UnsupportedError, match="holds more than weights"):
        zoo.mobilenet_v2(0.35, 32, 3, weights=tmp_path / "net.pth.tar")
