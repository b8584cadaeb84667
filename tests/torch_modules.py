"""torchvision where it is installed: the modules that the zoo's networks have to agree with."""

from __future__ import annotations

import importlib

import numpy as np
import pytest


def import_torchvision():
    """torchvision, or the test is skipped.

    Its own operators, which a wheel for another torch cannot load, are needed by no network: declared without code,
    they let its Python part be imported.
    """
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision: pip install torchvision --no-deps")
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # it undeclares them when it goes
        return importlib.import_module("torchvision")


def with_statistics(module, seed: int = 0):
    """`module` in evaluation mode, its batch norms with random statistics, as those of a trained network."""
    import torch

    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.data.uniform_(0.8, 1.6)
            part.bias.data.uniform_(-0.3, 0.3)
    return module.eval()


def picture_for(graph, seed: int = 0) -> np.ndarray:
    ((name, _),) = graph.inputs.items()
    return np.random.default_rng(seed).standard_normal((1, *graph.values[name])).astype(np.float32)


def outputs_of(module, picture: np.ndarray):
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(np.ascontiguousarray(picture.transpose(0, 3, 1, 2))))
