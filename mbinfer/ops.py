"""The operators: one row each, with every rule that a graph's nodes have to follow; the table of csrc/model/ops.h."""

from __future__ import annotations

from typing import NamedTuple


class OpInfo(NamedTuple):
    inputs: int  # -1: any number
    # of the output: "window" (kernel, stride, padding), "whole" (1 x 1), "same" (every input's shape), "gated" (the
    # first input's shape; the second has it too, or one pixel, one channel or one number for all), "joined" (channels
    # are the inputs', one after another), "sliced" (some of its input's channels), "shuffled" (all, in another order),
    # "scaled" (of any size), "blocks" (of pixels, one for each pixel), "row" (a pixel for each row, of numbers about
    # all of it), "stacked" (any, of the pixels of all inputs), "all" (1 x 1, of the whole map at once)
    area: str
    weights: bool  # and a bias
    # "alike" (all float32, or all uint8), "kept" (one type), "floats", "any", "table" (uint8), "numbers" (of channels:
    # float32, or uint8 of scale 1), "reals" (float32, of float32 and uint8), "factors" (float32, with NORM_FACTORS as
    # the weight)
    types: str
    keeps_channels: bool  # output channel c is made of input channel c alone; otherwise of all channels of its group
    pools: bool  # no dilation, and no window that sees nothing but padding
    # bits of the file's record that may be set; 1: counts_padding, 2: int8 weights of -128, 4, 8: halves, 16: softmax,
    # of means halves to even numbers, 32: centred, 64: logarithm, 128: anchorwise
    flags: int


OPS = {  # in the order of their numbers in the file, from 1
    "conv": OpInfo(1, "window", True, "alike", False, False, 2),
    "depthwise": OpInfo(1, "window", True, "alike", True, False, 0),
    "add": OpInfo(2, "same", False, "alike", True, False, 0),
    "max_pool": OpInfo(1, "window", False, "kept", True, True, 0),
    "avg_pool": OpInfo(1, "window", False, "alike", True, True, 29),
    "global_avg_pool": OpInfo(1, "whole", False, "alike", True, True, 28),
    "softmax": OpInfo(1, "same", False, "alike", True, False, 64),
    "convert": OpInfo(1, "same", False, "any", True, False, 0),
    "lookup": OpInfo(1, "same", False, "table", True, False, 0),
    "concat": OpInfo(-1, "joined", False, "kept", False, False, 0),
    "mul": OpInfo(2, "gated", False, "alike", True, False, 0),
    "resize": OpInfo(1, "scaled", False, "alike", True, False, 8),
    "sub": OpInfo(2, "gated", False, "alike", True, False, 0),
    "max": OpInfo(2, "gated", False, "alike", True, False, 0),
    "min": OpInfo(2, "gated", False, "alike", True, False, 0),
    "div": OpInfo(2, "gated", False, "floats", True, False, 0),
    "slice": OpInfo(1, "sliced", False, "kept", False, False, 0),
    "shuffle": OpInfo(1, "shuffled", False, "kept", False, False, 0),
    "depth_to_space": OpInfo(1, "blocks", False, "kept", False, False, 0),
    "argmax": OpInfo(1, "row", False, "numbers", False, False, 0),
    "stack": OpInfo(-1, "stacked", False, "kept", True, False, 0),
    "candidates": OpInfo(2, "row", False, "reals", False, False, 144),
    "nms": OpInfo(1, "all", False, "floats", False, False, 128),
    "norm": OpInfo(1, "same", False, "factors", True, False, 32),
}
CODES = {name: code for code, name in enumerate(OPS, 1)}
MOVES = ("joined", "sliced", "shuffled", "blocks", "row", "all", "stacked")  # areas of operators that compute nothing
NORM_FACTORS = ("factor", "offset", "exponent", "least")  # x / max(offset + factor * sum of squares, least)^exponent


def takes_activation(op: str) -> bool:
    """Operators that only move numbers take none, nor do those that make all channels of a pixel at once."""
    return OPS[op].area not in MOVES and op not in ("softmax", "norm")
