"""The errors of mbinfer: each names what failed, where, and what would help."""

from __future__ import annotations

from .messages import brief


class Error(Exception):
    """Base of every error that mbinfer raises on purpose: one line of at most 400 characters, whatever a file holds."""

    def __init__(self, message: str = ""):
        super().__init__(brief(message))


class FormatError(Error, ValueError):
    """A model file that is damaged, cut short, or of a version that this build does not read."""


class UnsupportedError(Error, ValueError):
    """A valid request that mbinfer cannot run. `node` and `op` name the place in the source model, if there is one."""

    def __init__(self, message: str, node: str = "", op: str = ""):
        super().__init__(message)
        self.node = node
        self.op = op


class ShapeError(Error, ValueError):
    """An array whose shape or dtype is not what the model takes."""


class MemoryLimitError(Error, MemoryError):
    """No plan fits the limit. `needed` is the least arena, in bytes, that would do; `limit` is what was asked for."""

    def __init__(self, message: str, needed: int = 0, limit: int = 0):
        super().__init__(message)
        self.needed = needed
        self.limit = limit


class ArgumentError(Error, ValueError):
    """An option that is unknown or out of range; the message lists what is allowed."""
