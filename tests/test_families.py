"""The zoo's networks with the state dicts of torchvision's modules: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from torch_modules import import_torchvision, outputs_of, picture_for, with_statistics

import mbinfer
from mbinfer import model, zoo
from mbinfer.zoo import ssdlite


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
        (zoo.mnasnet_b1, "mnasnet1_0", {}, {}, 65),
        (zoo.mnasnet_b1, "mnasnet0_75", {"width": 0.75}, {}, 32),
        (zoo.shufflenet_v2, "shufflenet_v2_x1_0", {}, {}, 64),
        (zoo.shufflenet_v2, "shufflenet_v2_x0_5", {"width": 0.5}, {}, 97),
        (zoo.resnet18, "resnet18", {}, {}, 64),
    ],
)
def test_torchvision_agrees(make, name, arguments, theirs, resolution, tmp_path):
    module = getattr(import_torchvision().models, name)(num_classes=10, **theirs)
    with_statistics(module)
    graph = make(resolution=resolution, classes=10, weights=module.state_dict(), **arguments)
    assert_agree(graph, module, tmp_path / "net.bin")


@pytest.mark.parametrize(
    "make, name, arguments, resolution",
    [
        (zoo.mobilenet_v4_conv_small, "mobilenetv4_conv_small", {}, 64),
        (zoo.mobilenet_v4_conv_small, "mobilenetv4_conv_small_050", {"width": 0.5}, 65),
        (zoo.mobilenet_v4_conv_medium, "mobilenetv4_conv_medium", {}, 64),
    ],
)
def test_timm_agrees(make, name, arguments, resolution, tmp_path):
    import_torchvision()
    timm = pytest.importorskip("timm", reason="needs timm")
    module = with_statistics(timm.create_model(name, num_classes=10))
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


def test_ssdlite_on_v3_agrees_with_torchvision(tmp_path):
    detection = import_torchvision().models.detection
    module = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=7)
    with_statistics(module)
    graph = zoo.ssdlite_v3(classes=7, weights=module.state_dict())
    model.save(graph, tmp_path / "net.bin")
    picture = picture_for(graph)
    expected = outputs_of(lambda x: module.head(list(module.backbone(x).values())), picture)
    found = mbinfer.Session(tmp_path / "net.bin").run(picture)
    for name, theirs, each in (("scores", "cls_logits", 7), ("boxes", "bbox_regression", 4)):
        anchors = np.concatenate([found[f"{name}{i}"].reshape(-1, each) for i in range(6)])
        wanted = expected[theirs].numpy()[0]
        assert np.abs(anchors - wanted).max() <= 1e-4 * np.abs(wanted).max() and wanted.std() > 1e-4


@pytest.mark.parametrize("rates", [[], [6, 12, 18]], ids=["plain", "aspp"])
def test_deeplab_agrees_with_torchvisions_parts(rates, tmp_path):
    torchvision, torch = import_torchvision(), pytest.importorskip("torch")
    backbone = torchvision.models.mobilenet_v2().features[:18]
    for i, dilation in ((14, 1), (15, 2), (16, 2), (17, 2)):
        conv = backbone[i].conv[1][0]
        conv.stride, conv.dilation, conv.padding = (1, 1), (dilation,) * 2, (dilation,) * 2
    head = torch.nn.Sequential(torchvision.models.segmentation.deeplabv3.ASPP(320, rates), torch.nn.Conv2d(256, 5, 1))
    module = with_statistics(torch.nn.ModuleDict({"backbone": backbone, "classifier": head}))
    graph = zoo.deeplab_v3(97, 5, weights=module.state_dict(), aspp=bool(rates))
    model.save(graph, tmp_path / "net.bin")
    picture = picture_for(graph)
    expected = outputs_of(lambda x: head(backbone(x)), picture).numpy().transpose(0, 2, 3, 1)
    found = mbinfer.Session(tmp_path / "net.bin").run(picture)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max() and expected.std() > 1e-4


def test_anchors_of_ssdlite_are_torchvisions():
    import_torchvision()
    utils = pytest.importorskip("torchvision.models.detection.anchor_utils")
    sizes = [(20, 20), (10, 10), (5, 5), (3, 4), (2, 2), (1, 1)]
    theirs = utils.DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    expected = theirs._grid_default_boxes(sizes, (320, 320)).numpy()  # x, y, width, height
    ours = np.concatenate([anchors.reshape(-1, 4) for anchors in ssdlite.anchors_of(sizes)])
    assert np.abs(ours[:, [1, 0, 3, 2]] - expected).max() < 1e-6
