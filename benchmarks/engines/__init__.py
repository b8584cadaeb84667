"""The engines that benchmarks/peers.py compares, one adapter each: how a network is brought to it, opened and run.

An adapter imports its engine inside its functions only, so that an engine that is missing costs its own row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from mbinfer.graph import Graph

Run = Callable[[], "np.ndarray"]


@dataclass(frozen=True)
class Engine:
    """An engine at one setting.

    `imports` are the modules that a program must have imported before it can open a model: memory is counted from
    there on. `packages` are the distributions whose versions are printed. `prepare(graph, folder, threads)` turns
    ``model.onnx`` of `folder` (or the mbinfer `Graph` that it was made from) into the engine's own file, once, in a
    process of its own. `open(folder, image, threads)` loads that file and returns a function that runs the network on
    `image`, float32 (1, H, W, 3), in place already where the engine allows it, and returns the logits, (1, classes).
    `tolerance` is how far a logit may be off, as a share of the largest one; `half`: weights are stored as float16;
    `dtypes`: of the networks that it runs; `isa(folder, threads)`: which instruction set it uses, by its own word.
    """

    name: str
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    prepare: Callable[[Graph, Path, int], None]
    open: Callable[[Path, np.ndarray, int], Run]
    tolerance: float = 1e-3
    half: bool = False
    dtypes: tuple[str, ...] = ("float32",)
    isa: Callable[[Path, int], str] | None = None


def registry() -> dict[str, Engine]:
    """Every engine by name, mbinfer first."""
    from . import executorch, litert, ncnn, onnx_readers, pytorch

    engines = (*onnx_readers.ENGINES, *litert.ENGINES, *ncnn.ENGINES, *executorch.ENGINES, *pytorch.ENGINES)
    return {engine.name: engine for engine in engines}
