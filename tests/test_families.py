"""The zoo's networks with the state dicts of torchvision's modules: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from torch_modules import import_torchvision, outputs_of, picture_for, with_statistics

import mbinfer
from mbinfer import model, zoo


def assert_agree(graph, module, path):
    """To 1e-4 of the largest output."""
    model.save(graph, path)
    picture = picture_for(graph)
    expected = outputs_of(module, picture).numpy()
    found = mbinfer.Session(path).run(picture)
    assert expected.std() > 1e-4 and np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "make, name, arguments, theirs, resolution",
    [
        (zoo.mobilenet_v2, "mobilenet_v2", {"width": 0.35}, {"width_mult": 0.35}, 65),
        (zoo.mobilenet_v3_large, "mobilenet_v3_large", {}, {}, 64),
        (zoo.mobilenet_v3_large, "mobilenet_v3_large", {"width": 0.75}, {"width_mult": 0.75}, 33),
        (zoo.mobilenet_v3_small, "mobilenet_v3_small", {}, {}, 97),
        (zoo.efficientnet_b0, "efficientnet_b0", {}, {}, 64),
    ],
)
def test_torchvision_agrees(make, name, arguments, theirs, resolution, tmp_path):
    module = getattr(import_torchvision().models, name)(num_classes=10, **theirs)
    with_statistics(module)
    graph = make(resolution=resolution, classes=10, weights=module.state_dict(), **arguments)
    assert_agree(graph, module, tmp_path / "net.bin")


@pytest.mark.parametrize("size, make", [("large", zoo.mobilenet_v3_large), ("small", zoo.mobilenet_v3_small)])
def test_minimalistic_is_v3_without_gates_curves_and_wide_kernels(size, make, tmp_path):
    mobilenetv3 = import_torchvision().models.mobilenetv3
    torch = pytest.importorskip("torch")
    settings, last = mobilenetv3._mobilenet_v3_conf(f"mobilenet_v3_{size}")
    for setting in settings:
        setting.kernel, setting.use_se, setting.use_hs = 3, False, False
    module = mobilenetv3.MobileNetV3(settings, last, num_classes=10)
    for part in module.modules():
        for name, child in part.named_children():
            if isinstance(child, torch.nn.Hardswish):
                setattr(part, name, torch.nn.ReLU())
    with_statistics(module)
    graph = make(resolution=64, classes=10, weights=module.state_dict(), minimalistic=True)
    assert_agree(graph, module, tmp_path / "net.bin")
