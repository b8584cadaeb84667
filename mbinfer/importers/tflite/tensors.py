"""What a TensorFlow Lite file says of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TfliteTensor:
    """`kind` is one of `schema.TENSOR_TYPES`. Quantised where there are scales, one or one for each index of `axis`."""

    name: str
    shape: tuple[int, ...]
    kind: str
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int
    variable: bool
    open_axes: frozenset[int] = frozenset()  # whose sizes the file leaves open, as 1
    array: npt.NDArray[Any] | None = None  # of a constant, as it is stored
