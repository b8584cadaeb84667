"""mbinfer, and the engines that read ONNX or bring a converter for it: onnxruntime, OpenVINO, MNN."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import numpy as np

from . import Engine


def prepare_mbinfer(graph, folder, threads):
    from mbinfer import model

    model.save(graph, folder / "mbinfer.bin")


def open_mbinfer(folder, image, threads):
    import mbinfer

    session = mbinfer.Session(folder / "mbinfer.bin", threads=threads)
    return lambda: session.run(image)


def isa_of_mbinfer(folder, threads):
    import mbinfer

    return mbinfer.Session(folder / "mbinfer.bin", threads=threads).isa


def reads_onnx(graph, folder, threads):
    """Nothing to convert."""


def prepare_signed(graph, folder, threads):
    """The same integers with activations of int8, for which onnxruntime has other kernels."""
    import onnx

    from .qdq import graph_to_qdq

    onnx.save(graph_to_qdq(graph, signed=True), folder / "signed.onnx")


def open_signed(folder, image, threads):
    return open_onnxruntime(folder, image, threads, "signed.onnx")


def open_onnxruntime(folder, image, threads, file="model.onnx"):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
    pixels = onnxruntime.OrtValue.ortvalue_from_numpy(channels_first(image))
    logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type(session.get_outputs()[0].shape, np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, pixels)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, logits)

    def run():
        session.run_with_iobinding(binding)
        return logits.numpy()

    return run


def prepare_openvino(graph, folder, threads):
    """Its own format, which it maps, loads faster than ONNX."""
    import openvino

    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "openvino.xml", compress_to_fp16=False)


def open_openvino(folder, image, threads):
    import openvino

    request = compile_openvino(folder, threads).create_infer_request()
    request.set_input_tensor(openvino.Tensor(channels_first(image)))
    logits = request.get_output_tensor(0).data

    def run():
        request.infer()
        return logits

    return run


def compile_openvino(folder, threads):
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(folder / "openvino.xml", "CPU", settings)


def isa_of_openvino(folder, threads):
    """How many layers run by kernels of each name, the most frequent first."""
    layers = [layer.get_rt_info() for layer in compile_openvino(folder, threads).get_runtime_model().get_ops()]
    kinds = (str(layer["primitiveType"].value) for layer in layers if "primitiveType" in layer)
    found = Counter(kind for kind in kinds if re.search("avx|sse|neon|sve|amx", kind))
    return ", ".join(f"{kind} ({count} layers)" for kind, count in found.most_common(3))


def prepare_mnn(graph, folder, threads):
    # The converter's extension module itself: MNN.tools.mnnconvert would first `pip install` a client for telemetry.
    arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", folder / "model.onnx", "--MNNModel", folder / "model.mnn"]
    code = "import sys, MNN, _tools; _tools.mnnconvert(sys.argv[1:])"  # in its own process: it ends it when it fails
    subprocess.run([sys.executable, "-c", code, *arguments, "--bizCode", "biz"], check=True, stdout=sys.stderr)


def open_mnn(folder, image, threads):
    import MNN

    net = MNN.Interpreter(str(folder / "model.mnn"))
    session = net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    pixels, logits = net.getSessionInput(session), net.getSessionOutput(session)
    nchw = channels_first(image)
    host = MNN.Tensor(nchw.shape, MNN.Halide_Type_Float, nchw, MNN.Tensor_DimensionType_Caffe)
    result = MNN.Tensor(
        logits.getShape(),
        MNN.Halide_Type_Float,
        np.zeros(logits.getShape(), np.float32),
        MNN.Tensor_DimensionType_Caffe,
    )
    pixels.copyFrom(host)

    def run():
        net.runSession(session)
        logits.copyToHostTensor(result)
        return result.getNumpyData()

    return run


def channels_first(image):
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


BOTH = ("float32", "int8")
ENGINES = (
    Engine("mbinfer", ("mbinfer",), ("mbinfer",), prepare_mbinfer, open_mbinfer, dtypes=BOTH, isa=isa_of_mbinfer),
    Engine("onnxruntime", ("onnxruntime",), ("onnxruntime",), reads_onnx, open_onnxruntime, dtypes=BOTH),
    Engine("onnxruntime, S8S8", ("onnxruntime",), ("onnxruntime",), prepare_signed, open_signed, dtypes=("int8",)),
    Engine("OpenVINO", ("openvino",), ("openvino",), prepare_openvino, open_openvino, dtypes=BOTH, isa=isa_of_openvino),
    Engine("MNN", ("MNN",), ("MNN",), prepare_mnn, open_mnn),
)
