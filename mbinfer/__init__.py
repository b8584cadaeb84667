"""MobileNet-class networks in the least RAM. `Session` runs a model file, `convert` makes one, `zoo` builds one."""

from typing import TYPE_CHECKING

from mbinfer.convert import convert
from mbinfer.detection import detect
from mbinfer.errors import ArgumentError, Error, FormatError, MemoryLimitError, ShapeError, UnsupportedError
from mbinfer.plan import Plan
from mbinfer.segmentation import segment
from mbinfer.session import Session, TensorInfo

__all__ = [
    "ArgumentError",
    "Error",
    "FormatError",
    "MemoryLimitError",
    "Plan",
    "Session",
    "ShapeError",
    "TensorInfo",
    "UnsupportedError",
    "convert",
    "detect",
    "segment",
    "zoo",
]
__version__ = "0.1.0"


if TYPE_CHECKING:
    from mbinfer import zoo
else:

    def __getattr__(name):  # a board that only runs models does not load the zoo
        import importlib

        if name == "zoo":
            return importlib.import_module("mbinfer.zoo")
        raise AttributeError(f"module 'mbinfer' has no attribute {name!r}")
