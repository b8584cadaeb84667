"""The command line: its commands, each of which prints text for people or, with --json, JSON."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import io
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import numpy.typing as npt

from . import _core, image, measure
from .cli_pictures import add_commands
from .errors import Error
from .messages import label_of, printable
from .progress import progress
from .quantize.arguments import add_arguments, given
from .show import text
from .zoo import ARCHITECTURES

SCHEDULES = tuple(name for name in _core.schedules() if name != "auto")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0, 1 for an error, 2 for wrong usage, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a label that the terminal cannot show is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        options.command(options)
        sys.stdout.flush()
        return 0
    except Error as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130


def _fail(message: str) -> int:
    print(f"mbinfer: error: {printable(message)}", file=sys.stderr)
    return 1


def _add_makers(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that write a model file."""
    sub = command(_build, "write the model file of a known architecture")
    sub.add_argument("arch", choices=ARCHITECTURES, metavar="ARCH", help=", ".join(ARCHITECTURES))
    sub.add_argument("--width", type=float, help="width multiplier (default 1.0)")
    sub.add_argument("--resolution", type=int, help="pixels on a side, from 32 up (default: the paper's, mostly 224)")
    sub.add_argument("--classes", type=int, help="default: those of the paper's data set, mostly 1000")
    sub.add_argument("--mask", action="store_true", default=None, help="of a segmenter: end in each pixel's class")
    sub.add_argument("--boxes", action="store_true", default=None, help="of a detector: end in boxes")
    sub.add_argument("--seed", type=int, default=0, help="of the random weights, where no --weights are given")
    sub.add_argument("--weights", metavar="FILE", help="a state dict: .pth, .pt, .safetensors, .npz")
    sub.add_argument("--dtype", default="float32", help="float32 (the default), float16 (its weights) or int8")
    sub.add_argument("--labels", metavar="FILE", help="class names, one a line")
    add_arguments(sub)
    sub.add_argument("-o", "--output", required=True, metavar="OUT", help="the model file to write")

    sub = command(_convert, "convert an .onnx or .tflite file to a model file")
    sub.add_argument("source", metavar="SOURCE")
    sub.add_argument("output", metavar="OUT", help="the model file to write")
    sub.add_argument("--mean", type=_listed(float), metavar="M[,M,M]", help="of the uint8 picture, for each channel")
    sub.add_argument("--scale", type=_listed(float), metavar="S[,S,S]", help="input = (pixel - mean) * scale")
    sub.add_argument("--color", choices=("RGB", "BGR", "grey"))
    sub.add_argument("--crop", type=float, metavar="SHARE", help="side of the central square, of the shorter side")
    sub.add_argument("--labels", metavar="FILE", help="class names, one a line")
    sub.add_argument("--input-shape", type=_listed(int), metavar="N,N,N,N", help="fixes or overrides the source's")
    sub.add_argument("--inputs", type=_listed(str), metavar="NAME[,NAME]", help="tensors of the source to begin at")
    sub.add_argument("--outputs", type=_listed(str), metavar="NAME[,NAME]", help="tensors of the source to end at")
    sub.add_argument("--states", type=_pairs, metavar="IN=OUT[,...]", help="inputs that take what an output was before")
    sub.add_argument(
        "--boxes",
        type=_settings,
        metavar="KEY=VALUE[,...]",
        help="of a detector: how raw numbers become boxes, such as boxes=output0[:4],scores=output0[4:],form=cxcywh",
    )
    sub.add_argument("--dtype", default="float32", help="float32 (the default), float16 (its weights) or int8")
    add_arguments(sub)


def _add_users(command: Callable[..., argparse.ArgumentParser], planning: argparse.ArgumentParser) -> None:
    """The commands that read one."""
    sub = command(_info, "describe a model file")
    sub.add_argument("model", metavar="MODEL")

    sub = command(_plan, "show how a model will run, and which bytes it will use when", planning)
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("--segment", type=int, metavar="G", help="one segment, row by row")
    sub.add_argument("--sweep", action="store_true", help="plans for many limits: the frontier of memory against work")
    sub.add_argument("--svg", metavar="FILE", help="draw it: the arena over time, the segment or the frontier")
    sub.add_argument("--png", metavar="FILE", help="the same with matplotlib")

    sub = command(_run, "classify pictures", planning)
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("pictures", nargs="+", metavar="PICTURE")
    sub.add_argument("--top", type=int, default=5, metavar="N", help="classes to print for each picture (default 5)")

    add_commands(command, planning, _session, _print)

    sub = command(_bench, "measure latency and memory, each configuration in a process of its own")
    sub.add_argument("model", metavar="MODEL")
    sub.add_argument("--schedule", type=_listed(str), metavar="S[,S]", help="default: all")
    sub.add_argument("--sweep", type=int, metavar="N", help="instead of schedules N plans of the frontier")
    sub.add_argument("--isa", type=_listed(str), metavar="I[,I]", help="default: all that this CPU has")
    sub.add_argument("--threads", type=_listed(int), default=(1,), metavar="N[,N]", help="default: 1")
    sub.add_argument("--runs", type=int, metavar="N", help="timed runs (default: a second's worth)")
    sub.add_argument("--profile", action="store_true", help="time, MACs and bytes of every stage too")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("mbinfer", description="MobileNet-class networks in the least RAM.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    planning = argparse.ArgumentParser(add_help=False)
    planning.add_argument("--schedule", default="auto", metavar="S", help=f"{', '.join(SCHEDULES)} or auto")
    planning.add_argument("--threads", type=int, default=1, metavar="N")
    planning.add_argument("--memory-limit", metavar="BYTES", help="most bytes of arena: 300000, 256KiB or least")
    again = planning.add_mutually_exclusive_group()
    again.add_argument("--no-recompute", action="store_true", help="do no multiply-add twice to save memory")
    again.add_argument("--recompute", type=float, metavar="PERCENT", help="do at most so much of the work twice")
    planning.add_argument("--chunks", type=int, metavar="T", help="split every block's expanded channels into T chunks")

    def command(function: Any, description: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        name = function.__name__.strip("_")
        sub = commands.add_parser(name, help=description, description=description, parents=parents)
        sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        sub.set_defaults(command=function)
        return sub

    _add_makers(command)
    _add_users(command, planning)
    return parser


def _listed(kind: type) -> Any:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    parse.__name__ = f"comma-separated {kind.__name__}"  # argparse says "invalid ... value"
    return parse


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.split("=") for part in text.split(",")]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError("give an output for each input, such as cache=new_cache")
    return {pair[0]: pair[1] for pair in pairs}


def _settings(text: str) -> dict[str, Any]:
    """Keys and what they are; what has no key goes on with the list of the one before."""
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        key, given_, value = part.partition("=")
        if given_ and key not in found:
            found[key] = [value]
        elif found and not given_:
            found[next(reversed(found))].append(part)
        else:
            raise argparse.ArgumentTypeError("give each key once, such as boxes=places,scores=scores,form=xyxy")
    made: dict[str, Any] = {key: values[0] if len(values) == 1 else values for key, values in found.items()}
    if "every_class" in made:
        if made["every_class"] not in ("true", "false"):
            raise argparse.ArgumentTypeError("every_class: give true or false")
        made["every_class"] = made["every_class"] == "true"
    return made


def _build(options: argparse.Namespace) -> None:
    from . import model, quantize
    from .convert import DTYPES, read_labels

    quantisation = given(options)
    make = ARCHITECTURES[options.arch]
    known = inspect.signature(make).parameters
    arguments = {"weights": options.weights, "seed": options.seed}
    for name in ("width", "resolution", "classes", "mask", "boxes"):
        if getattr(options, name) is not None:
            if name not in known:
                raise Error(f"{options.arch} takes no --{name}; it has one only")
            arguments[name] = getattr(options, name)
    graph = make(**arguments)
    if options.labels:
        graph.labels = read_labels(options.labels)
        classes = options.classes or known["classes"].default
        if len(graph.labels) != classes:
            raise Error(f"{options.labels}: {len(graph.labels)} labels for {classes} classes")
    if options.dtype == "int8":
        if options.weights is None:  # random weights have no pictures that they are for
            quantisation.setdefault("calibration", quantize.noise(graph))
        graph = quantize.quantize(graph, **{"calibration": None, **quantisation})
    elif options.dtype not in DTYPES:
        raise Error(f"--dtype {options.dtype}: supported are {', '.join(DTYPES)}")
    model.save(graph, options.output, "float16" if options.dtype == "float16" else None)
    _written(options)


def _convert(options: argparse.Namespace) -> None:
    from .convert import convert

    names = ("mean", "scale", "color", "crop", "input_shape", "inputs", "outputs", "states", "labels", "boxes")
    wanted = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if wanted.keys() & {"color", "crop"} and not wanted.keys() & {"mean", "scale"}:
        raise Error("--color and --crop belong to a recipe for pictures; give its --mean or --scale too")
    for name in wanted.keys() & {"mean", "scale"}:
        if len(wanted[name]) == 1:  # holds for every channel
            wanted[name] = wanted[name][0]
    convert(options.source, options.output, dtype=options.dtype, **wanted, **given(options))
    _written(options)


def _written(options: argparse.Namespace) -> None:
    count = os.path.getsize(options.output)
    _print(options, f"{options.output}: {text.size(count)}", {"path": options.output, "bytes": count})


def _one_line(record: Any) -> Any:
    """`record` with every text in it printable, so that none of them begins a line of its own."""
    if isinstance(record, dict):
        return {_one_line(key): _one_line(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [_one_line(value) for value in record]
    return printable(record) if isinstance(record, str) else record


def _print(options: argparse.Namespace, text: str, record: Any) -> None:
    # What a file calls things may hold a terminal's commands, which JSON escapes by itself.
    print(json.dumps(record, indent=1) if options.json else "\n".join(map(printable, text.split("\n"))))


def _session(options: argparse.Namespace) -> Any:
    import mbinfer

    limit = options.memory_limit
    return mbinfer.Session(
        options.model,
        threads=options.threads,
        memory_limit=int(limit) if limit and limit.isdecimal() else limit,
        schedule=options.schedule,
        chunks=options.chunks,
        recompute=not options.no_recompute if options.recompute is None else options.recompute / 100,
    )


def _info(options: argparse.Namespace) -> None:
    import mbinfer

    from .states import states_of

    session = mbinfer.Session(options.model)
    plan, recipe = session.plan, session.recipe
    record = {
        "path": options.model,
        "bytes": os.path.getsize(options.model),
        "inputs": [info._asdict() for info in session.inputs],
        "outputs": [info._asdict() for info in session.outputs],
        "states": [state._asdict() for state in states_of(options.model)],
        "recipe": vars(recipe) if recipe else None,
        "labels": list(session.labels),
        "metadata": dict(session.metadata),
        "weight_bytes": plan.weight_bytes,
        "macs": plan.macs,
        "arena_bytes": {
            **{name: getattr(plan, f"{name}_bytes") for name in ("naive", "layerwise", "fused")},
            "fastest": plan.peak_bytes,
            "least": mbinfer.Session(options.model, memory_limit="least").plan.peak_bytes,
        },
    }
    _print(options, text.info_text(_one_line(record), recipe), record)


def _plan(options: argparse.Namespace) -> None:
    from .show import sweep, timeline

    title = os.path.basename(options.model)
    if options.sweep:
        if (
            options.segment is not None
            or options.memory_limit
            or options.schedule != "auto"
            or options.chunks
            or options.no_recompute
            or options.recompute is not None
        ):
            raise Error(
                "--sweep plans for every limit and marks the schedules; of the other options it takes --threads only"
            )
        record = sweep.sweep(options.model, threads=options.threads, progress=progress)
        record = {"path": options.model, "threads": options.threads, **record}
        _draw(options, lambda: sweep.picture(record, title))
        return _print(options, text.sweep_text(record, title), record)
    session = _session(options)
    plan = session.plan
    record = {"path": options.model, **json.loads(plan.json())}
    if options.segment is None:
        _draw(options, lambda: timeline.timeline(session, title))
        return _print(options, "" if options.json else text.plan_text(session, title), record)
    trace = plan.trace(options.segment)
    del record["segments"], record["timeline"]
    record.update(segment=options.segment, **dataclasses.asdict(trace))
    _draw(options, lambda: timeline.segment(session, options.segment, title))
    _print(options, text.trace_text(trace, f"{title}: segment {options.segment}"), record)


def _draw(options: argparse.Namespace, canvas: Callable[[], Any]) -> None:
    for path, write in ((options.svg, "save_svg"), (options.png, "save_png")):
        if path:
            getattr(canvas(), write)(path)


def _run(options: argparse.Namespace) -> None:
    session = _session(options)
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        raise Error(
            f"{options.model}: run classifies pictures, and this model has {len(session.inputs)} inputs and "
            f"{len(session.outputs)} outputs; use mbinfer.Session"
        )
    _, height, width, _ = session.inputs[0].shape
    kinds = [stage.kind for segment in session.plan.segments for stage in segment.stages if stage.kind != "convert"]
    ends_in_softmax = kinds[-1:] == ["softmax"]
    results, texts = [], []
    for path in progress(options.pictures, str):
        scores = _scores(session, image.load(path, session.recipe, height, width))
        top = _top(scores if ends_in_softmax else _softmax(scores), session.labels, options.top)
        results.append({"path": path, "top": top})
        texts.append("\n".join([path, *(f"  {100 * t['probability']:6.2f} %  {printable(t['label'])}" for t in top)]))
    arena, naive = session.plan.peak_bytes, session.plan.naive_bytes
    ratio = naive / arena
    texts.append(
        f"arena {text.size(arena)} ({session.plan.schedule}); "
        f"naive execution would have needed {text.size(naive)}, {ratio:.1f} times as much"
    )
    record = {
        "pictures": results,
        "schedule": session.plan.schedule,
        "isa": session.isa,
        "arena_bytes": arena,
        "naive_bytes": naive,
        "ratio": ratio,
    }
    _print(options, "\n".join(texts), record)


def _scores(session: Any, picture: Any) -> npt.NDArray[np.float64]:
    """The real numbers of the only output."""
    (info,) = session.outputs
    numbers: npt.NDArray[np.float64] = np.asarray(session.run(picture), np.float64).ravel()
    return (numbers - info.zero_point) * info.scale if info.scale else numbers


def _softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers: npt.NDArray[np.float64] = np.exp(scores - scores.max())
    powers /= powers.sum()
    return powers


def _top(probabilities: npt.NDArray[np.float64], labels: Sequence[str], count: int) -> list[dict[str, Any]]:
    best = np.argsort(-probabilities, kind="stable")[: max(count, 0)].tolist()
    return [{"index": i, "label": label_of(labels, i), "probability": float(probabilities[i])} for i in best]


def _bench(options: argparse.Namespace) -> None:
    import mbinfer

    from .show import sweep

    usable = mbinfer._core.isas()
    for isa in options.isa or ():
        if isa not in usable:
            raise Error(f"--isa {isa}: this CPU and build have {', '.join(usable)}")
    inputs = measure.describe_inputs(mbinfer.Session(options.model))
    if options.sweep is not None:
        if options.schedule or options.sweep < 1:
            raise Error("--sweep N measures N plans of the frontier, 1 or more; leave out --schedule")
        results = sweep.measure_points(
            options.model,
            inputs,
            options.sweep,
            options.isa or usable,
            options.threads,
            options.runs,
            options.profile,
            progress,
        )
        return _print(options, text.bench_text(results), {"path": options.model, "results": results})
    configurations = list(itertools.product(options.schedule or SCHEDULES, options.isa or usable, options.threads))
    results = [
        measure.measure(options.model, inputs, isa, options.runs, options.profile, schedule=schedule, threads=threads)
        for schedule, isa, threads in progress(configurations, lambda c: f"{c[0]}, {c[1]}, threads {c[2]}")
    ]
    _print(options, text.bench_text(results), {"path": options.model, "results": results})
