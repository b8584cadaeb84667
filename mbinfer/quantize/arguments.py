"""The options of quantisation on the command line, which `build` and `convert` share."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import ArgumentError
from .ranges import METHODS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --dtype int8")
    group.add_argument("--calibrate", metavar="FOLDER", help="pictures like those to come, to see the ranges of values")
    group.add_argument("--ranges", choices=tuple(METHODS), help="what they cover (default mse)")
    group.add_argument("--keep-float", metavar="NODE[,NODE]", help="nodes that stay float32")
    group.add_argument("--per-tensor", action="store_true", help="one scale for all weights of a node")
    group.add_argument("--no-equalise", action="store_true", help="leave the scales of channels as they are")
    group.add_argument("--no-bias-correction", action="store_true", help="leave biases as they are")
    group.add_argument("--no-compensation", action="store_true", help="round every weight by itself")
    group.add_argument("--report", metavar="FILE", help="what each stage loses: .svg, .png, .json, or a table")


def given(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of them, as keywords of `mbinfer.convert`; `ArgumentError` where it is for another dtype."""
    found = {
        "calibration": options.calibrate,
        "ranges": options.ranges,
        "keep_float": options.keep_float.split(",") if options.keep_float else None,
        "per_channel": False if options.per_tensor else None,
        "equalise": False if options.no_equalise else None,
        "correct_bias": False if options.no_bias_correction else None,
        "compensate": False if options.no_compensation else None,
        "report": options.report,
    }
    found = {name: value for name, value in found.items() if value is not None}
    if found and options.dtype != "int8":
        names = ", ".join(sorted(found))
        raise ArgumentError(f"{names}: for --dtype int8 only; add it, or leave them out")
    return found
