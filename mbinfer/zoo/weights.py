"""The parameters of the zoo's networks: taken from a state dict, or seeded random with statistics that fit."""

from __future__ import annotations

import os
import pickle
import zlib
from collections.abc import Mapping
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ..errors import ShapeError, UnsupportedError

Array = npt.NDArray[np.float64]
Weights = Union[Mapping[str, Any], str, "os.PathLike[str]", None]
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and training frameworks
TORCH = (".pt", ".pth", ".ckpt", ".tar", ".bin")
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
# Random batch norm draws gamma and beta uniformly from these ranges. A normal input then leaves it, and the activation
# behind it, with these means and variances over the elements of all channels (by numerical integration).
GAMMA, BETA = (1.0, 2.0), (-0.5, 0.5)
MOMENTS = {
    "none": (0.0, 2.4167),
    "relu6": (0.6097, 0.8349),
    "relu": (0.6099, 0.8364),
    "hard_swish": (0.3741, 0.8499),
    "silu": (0.4118, 0.8319),
    "hard_sigmoid": (0.5, 0.059),
    "sigmoid": (0.5, 0.0741),
}


def open_weights(weights: Weights, seed: int) -> tuple[GivenWeights | RandomWeights, str]:
    """The source of parameters for `weights` (None, a mapping, or a path; see `mobilenet_v2`), and its name."""
    if weights is None:
        return RandomWeights(seed), f"random, seed {seed}"
    if isinstance(weights, (str, os.PathLike)):
        return GivenWeights(_load(os.fspath(weights))), os.path.basename(weights)
    return GivenWeights(weights), "state dict"


def _state_dict(entries: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The one mapping to arrays among what training stores beside it, or `entries` itself."""
    if any(hasattr(entry, "shape") and len(entry.shape) for entry in entries.values()):
        return entries
    inner = {
        name: entry
        for name, entry in entries.items()
        if isinstance(entry, Mapping) and entry and all(hasattr(array, "shape") for array in entry.values())
    }
    if len(inner) > 1:
        names = ", ".join(repr(name) for name in inner)
        raise UnsupportedError(f"weights with several state dicts, {names}; give one of them: weights=loaded[name]")
    return next(iter(inner.values()), entries)


class GivenWeights:
    """Parameters from a mapping of names to arrays or torch tensors; `check` names all that did not fit, at once."""

    def __init__(self, entries: Mapping[str, Any]):
        if not isinstance(entries, Mapping):
            raise UnsupportedError(
                f"weights of type {type(entries).__name__}; a mapping of names to arrays is needed, "
                "such as module.state_dict()"
            )
        named = {str(name): entry for name, entry in _state_dict(entries).items()}
        for prefix in PREFIXES * 2:  # in any order
            if all(name.startswith(prefix) for name in named):
                named = {name[len(prefix) :]: entry for name, entry in named.items()}
        self.unused = {name: entry for name, entry in named.items() if not name.endswith("num_batches_tracked")}
        self.missing: list[str] = []
        self.misshaped: list[str] = []

    def conv(self, conv: str, bn: str, shape: tuple[int, ...], source: str, output: str, act: str) -> list[Array]:
        """Weight of `shape` and gamma, beta, mean, variance of the batch norm behind it, float64."""
        return [self._take(f"{conv}.weight", shape)] + [self._take(f"{bn}.{field}", shape[:1]) for field in BATCH_NORM]

    def biased(self, name: str, shape: tuple[int, ...], source: str, output: str, act: str) -> list[Array]:
        """Weight of `shape` and bias, float64, of a layer without batch norm."""
        return [self._take(f"{name}.weight", shape), self._take(f"{name}.bias", shape[:1])]

    def follow(self, op: str, inputs: list[str], output: str) -> None:
        """An operator without parameters asks for none."""

    def check(self) -> None:
        """Raise `ShapeError` unless every entry was used, none was missing, and all had the expected shapes."""
        problems = [("missing", self.missing), ("surplus", list(self.unused)), ("misshaped", self.misshaped)]
        if any(names for _, names in problems):
            raise ShapeError(
                "the weights do not fit this width and number of classes: "
                + "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems if names)
            )

    def _take(self, name: str, shape: tuple[int, ...]) -> Array:
        entry = self.unused.pop(name, None)
        if entry is None:
            self.missing.append(name)
        elif tuple(entry.shape) != shape:
            self.misshaped.append(f"{name} {tuple(entry.shape)}, not {shape}")
        else:
            if hasattr(entry, "detach"):  # a torch tensor
                entry = entry.detach().cpu().double().numpy()
            return np.asarray(entry, np.float64)
        return np.ones(shape)  # a stand-in until check() reports


class RandomWeights:
    """He-uniform weights (arXiv 1502.01852) and batch-norm statistics that follow the moments of every value.

    Each tensor has a generator of its own, seeded by `seed` and its name, so that no order of layers matters.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.moments = {"image": (0.0, 1.0)}  # value -> mean and variance of its elements

    def conv(self, conv: str, bn: str, shape: tuple[int, ...], source: str, output: str, act: str) -> list[Array]:
        mean, variance = self.moments[source]
        weight = self._uniform(f"{conv}.weight", shape, -1, 1) * np.sqrt(6 / np.prod(shape[1:]))
        gamma, beta = self._uniform(f"{bn}.weight", shape[:1], *GAMMA), self._uniform(f"{bn}.bias", shape[:1], *BETA)
        self.moments[output] = MOMENTS[act]
        return [weight, gamma, beta, mean * weight.sum((1, 2, 3)), variance * np.square(weight).sum((1, 2, 3))]

    def biased(self, name: str, shape: tuple[int, ...], source: str, output: str, act: str) -> list[Array]:
        """Wider than He's: pooling leaves a small variance, and logits should differ from picture to picture."""
        weight = self._uniform(f"{name}.weight", shape, -1, 1) * 3 * np.sqrt(6 / np.prod(shape[1:]))
        mean, sums = self.moments[source][0], weight.reshape(shape[0], -1).sum(1)
        self.moments[output] = MOMENTS[act]
        return [weight, self._uniform(f"{name}.bias", shape[:1], -1, 1) - mean * sums]

    def follow(self, op: str, inputs: list[str], output: str) -> None:
        """The moments of what `op` makes, its inputs taken as independent of each other."""
        moments = [self.moments[name] for name in inputs]
        means, variances = [mean for mean, _ in moments], [variance for _, variance in moments]
        if op == "add":
            found = sum(means), sum(variances)
        elif op == "mul":
            squares = [mean * mean + variance for mean, variance in moments]
            found = means[0] * means[1], squares[0] * squares[1] - (means[0] * means[1]) ** 2
        else:  # concat, and whatever moves or pools
            found = sum(means) / len(means), sum(variances) / len(variances)
        self.moments[output] = found

    def check(self) -> None:
        """Random weights always fit."""

    def _uniform(self, name: str, shape: tuple[int, ...], low: float, high: float) -> Array:
        generator = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        return generator.random(shape) * (high - low) + low


def _load(path: str) -> Mapping[str, Any]:
    """The entries of a `.npz` or `.safetensors` file, or of one that torch saved."""
    kind = os.path.splitext(path)[1]
    try:
        if kind == ".npz":
            with np.load(path) as file:
                return dict(file)
        if kind == ".safetensors":
            return _safetensors(path)
        if kind in TORCH:
            import torch

            try:
                entries: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise UnsupportedError(
                    f"'{path}' holds more than weights, or is damaged; store them alone: "
                    "torch.save(module.state_dict(), path), or give convert() the module"
                ) from error
            return entries
    except ImportError as error:
        raise UnsupportedError(f"'{path}': reading {kind} needs {error.name}; install it, or save as .npz") from error
    raise UnsupportedError(f"'{path}': weights of kind '{kind}'; known are .npz, .safetensors, {', '.join(TORCH)}")


def _safetensors(path: str) -> Mapping[str, Any]:
    from safetensors.numpy import load_file

    try:
        entries: Mapping[str, Any] = load_file(path)
    except TypeError:  # numpy has no bfloat16, torch does
        from safetensors.torch import load_file as load_tensors

        entries = load_tensors(path)
    return entries
