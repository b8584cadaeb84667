"""What quantisation costs, stage by stage: a table, a picture and JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Type
from ..messages import printable
from ..progress import progress
from ..show.canvas import FAINT, GREY, Canvas
from .observe import Statistics, groups, runner
from .ranges import ends_of
from .samples import Array, Samples

SAMPLES = 16  # that the two networks are compared on
BEST = 99.0  # decibels that stand for no error at all
DROP = 3.0  # decibels below its inputs from which a stage is marked
LEFT, BAR, ROW, TOP = 300, 520, 15, 56  # of the picture, in pixels
FINE, BAD = "#4c78a8", "#c8553d"


@dataclass(frozen=True)
class StageLoss:
    """One quantised value: what its 256 numbers cover, and how far they are from the float32 network's.

    `cut_off`: share of the calibration's numbers outside `low` to `high`. `sqnr`: decibels of signal over error.
    `drop`: decibels lost since the worst of its inputs.
    """

    name: str
    op: str
    low: float
    high: float
    cut_off: float
    sqnr: float
    drop: float


@dataclass(frozen=True)
class Report:
    """All stages in order; of outputs by name `sqnr` in decibels and `same_top`, the share of samples whose largest
    element is the same one.
    """

    stages: list[StageLoss]
    sqnr: dict[str, float]
    same_top: dict[str, float]
    samples: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a picture for `.svg` and `.png`, JSON for `.json`, and the table of `text` for any other name."""
        path = os.fspath(path)
        kind = os.path.splitext(path)[1].lower()
        if kind == ".png":
            return self.picture().save_png(path)
        content = {".svg": lambda: self.picture().svg(), ".json": self.json}.get(kind, self.text)()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)

    def json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def text(self) -> str:
        """A table; stages that lose more than a few decibels are marked."""
        lines = [
            f"{printable(name)}: SQNR {self.sqnr[name]:.1f} dB, same largest element in {100 * share:.0f} % "
            f"of {self.samples} samples"
            for name, share in self.same_top.items()
        ]
        lines += ["", "| stage | op | range | cut off | SQNR, dB | lost here, dB |", "|---|---|---|---:|---:|---:|"]
        for s in self.stages:
            mark = " !" if s.drop > DROP else ""
            lines.append(
                f"| {printable(s.name)} | {s.op} | {s.low:.4g} to {s.high:.4g} | {100 * s.cut_off:.2f} % "
                f"| {s.sqnr:.1f} | {s.drop:.1f}{mark} |"
            )
        return "\n".join(lines) + "\n"

    def picture(self) -> Canvas:
        """A bar for each stage, as long as its SQNR; red where it loses more than a few decibels."""
        height = TOP + ROW * len(self.stages) + 30
        canvas = Canvas(LEFT + BAR + 90, height, "What quantisation costs, by stage")
        most = max([10.0, *(min(s.sqnr, 60.0) for s in self.stages)])
        name, decibels = min(self.sqnr.items(), key=lambda item: item[1])
        canvas.text(16, 24, f"SQNR of every stage, {printable(name)[:40]} {decibels:.1f} dB", 14)
        for tick in range(0, int(most) + 1, 10):
            x = LEFT + BAR * tick / most
            canvas.line([(x, TOP - 4), (x, height - 26)], FAINT)
            canvas.text(x, height - 10, f"{tick} dB", color=GREY, anchor="middle")
        for i, s in enumerate(self.stages):
            y, length = TOP + ROW * i, BAR * min(max(s.sqnr, 0.0), most) / most
            hint = f"{s.name}: {s.low:.4g} to {s.high:.4g}, cut off {100 * s.cut_off:.2f} %"
            canvas.rect(LEFT, y, length, ROW - 4, BAD if s.drop > DROP else FINE, hint=printable(hint))
            canvas.text(LEFT - 8, y + ROW - 5, printable(s.name)[-44:], 10, anchor="end")
            canvas.text(LEFT + length + 6, y + ROW - 5, f"{s.sqnr:.1f}", 10, GREY)
        return canvas


def compare(source: Graph, made: Graph, statistics: dict[str, Statistics], samples: Samples) -> Report:
    """Run the float32 `source` and its int8 `made` on some samples and say what differs, value by value."""
    samples = samples[:SAMPLES]
    outputs = {output.name: output.value for output in source.outputs}
    values = [node.output for node in source.nodes if node.output in made.types or node.output in outputs.values()]
    signal, error = dict.fromkeys(values, 0.0), dict.fromkeys(values, 0.0)
    same = dict.fromkeys(values, 0)
    runs = [(runner(source, names), runner(made, names)) for names in groups(source, values)]
    for index in progress(range(len(samples)), lambda index: f"comparing, sample {index + 1}"):
        arrays = samples[index]
        for run, run_made in runs:
            found = run_made(arrays)
            for name, exact in run(arrays).items():
                ours = real_numbers(found[name], made.types.get(name))
                signal[name] += float(np.square(exact, dtype=np.float64).sum())
                error[name] += float(np.square(exact - ours, dtype=np.float64).sum())
                same[name] += int(exact.argmax() == ours.argmax())
    sqnr = {name: _decibels(signal[name], error[name]) for name in values}
    return Report(
        _stages(source, made, statistics, sqnr),
        {output: sqnr[value] for output, value in outputs.items()},
        {output: same[value] / len(samples) for output, value in outputs.items()},
        len(samples),
    )


def _stages(source: Graph, made: Graph, statistics: dict[str, Statistics], sqnr: dict[str, float]) -> list[StageLoss]:
    stages = []
    for node in source.nodes:
        kind = made.types.get(node.output)
        if kind is None:
            continue
        low, high = ends_of(kind)
        before = min(sqnr.get(name, BEST) for name in node.inputs)
        drop = max(before - sqnr[node.output], 0.0) if before < BEST else 0.0
        cut_off = statistics[node.output].histogram.share_outside(low, high)
        stages.append(StageLoss(node.name, node.op, low, high, cut_off, sqnr[node.output], drop))
    return stages


def real_numbers(array: Array, kind: Type | None) -> Array:
    """The numbers that those of a value of type `kind` stand for."""
    if kind is None or array.dtype == np.float32:
        return array
    return (array.astype(np.float32) - np.float32(kind.zero_point)) * np.float32(kind.scale)


def _decibels(signal: float, error: float) -> float:
    if error <= 0:
        return BEST
    return min(10 * math.log10(max(signal, 1e-30) / error), BEST)
