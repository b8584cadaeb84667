"""onnxruntime's static quantiser, by which ours is measured: U8S8, QDQ, the same samples."""

from __future__ import annotations

import logging

import onnxruntime
from oracle import graph_to_onnx

from mbinfer.quantize.samples import normalised


def static_quantize(graph, pictures, folder, method="MinMax", per_channel=True):
    """The bytes of a QDQ model of `graph`, calibrated on `pictures`; its input is NHWC float32."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    (name,) = graph.inputs

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(pictures)

        def get_next(self):
            image = next(self.left, None)
            if image is None:
                return None
            return {name: normalised(graph, name, image)[None]}

    logging.getLogger().setLevel(logging.ERROR)  # it warns of what it does anyway
    quant_pre_process(graph_to_onnx(graph), folder / "prepared.onnx")
    quantize_static(
        folder / "prepared.onnx",
        folder / "static.onnx",
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
    )
    return (folder / "static.onnx").read_bytes()


def run_static(model, image):
    """The first output for a float32 `image`, (1, height, width, channels)."""
    session = sessions.get(model)
    if session is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = sessions[model] = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


sessions: dict[bytes, onnxruntime.InferenceSession] = {}
