"""The C library for the tests: installed by CMake, opened by cffi with its own header, and a class over mbi_session."""

from __future__ import annotations

import re
from pathlib import Path

import builds
import numpy as np
import pytest
from cffi import FFI

from mbinfer.graph import Graph, Node, Output, Recipe

HEADER = builds.ROOT / "csrc" / "mbinfer.h"


def install() -> Path:
    """The folder that the library is installed to, as C programs use it."""
    if not builds.cmake():
        pytest.skip("no cmake")
    return builds.library()


def shared_library() -> Path:
    """All of the static library as a shared one, which is what cffi opens."""
    library = next(install().glob("lib*/**/libmbinfer.a"))
    exports = f"-Wl,--version-script,{builds.ROOT / 'cmake' / 'exports.map'}"
    whole = ("-Wl,--whole-archive", library, "-Wl,--no-whole-archive")
    return builds.once(
        "whole.so", lambda path: builds.command("c++", "-shared", "-o", path, *whole, "-pthread", exports)
    )


def declarations() -> FFI:
    """The header as cffi reads it: without preprocessor lines and the one macro."""
    ffi = FFI()
    text = re.sub(r"^#.*$", "", HEADER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ffi.cdef(text.replace("MBI_API ", ""))
    return ffi


def random_graph(seed: int = 0) -> Graph:
    """Two pictures, one with a recipe, and two outputs; labels beyond ASCII."""
    random = np.random.default_rng(seed)

    def numbers(*shape):
        return random.standard_normal(shape, dtype=np.float32)

    wide = (9, 7, 12)
    graph = Graph(values={"left": (9, 7, 3), "right": wide, "a": wide, "sum": wide, "scores": (1, 1, 5)})
    graph.inputs = {"left": Recipe((120.0, 110.0, 100.0), (0.01, 0.02, 0.03), "BGR", 0.875), "right": None}
    graph.nodes = [
        Node("conv", "conv", ["left"], "a", (3, 3), pads=(1, 1, 1, 1), weight=numbers(12, 3, 3, 3), bias=numbers(12)),
        Node("add", "add", ["a", "right"], "sum"),
        Node("conv", "dense", ["sum"], "scores", (9, 7), weight=numbers(5, 9, 7, 12), bias=numbers(5)),
    ]
    graph.outputs = [Output("scores", "scores", (1, 5)), Output("map", "sum", (1, 9, 7, 12))]
    graph.labels = ["Kätzchen", "犬", "c", "d", "e"]
    return graph


def picture(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and left.tobytes() == right.tobytes()


class Failure(Exception):
    """What mbi_last_error says; `status` is the name of the mbi_status."""

    def __init__(self, ffi, status: int, error):
        self.status = ffi.string(ffi.cast("mbi_status", status))
        self.message, self.node, self.op = (ffi.string(t).decode() for t in (error.message, error.node, error.op))
        self.needed, self.limit = error.needed, error.limit
        assert error.status == status
        super().__init__(self.message)


class CSession:
    """mbi_session through cffi, of a path, a descriptor or a buffer. Options of `fields` are set after init."""

    def __init__(self, ffi, lib, source, **fields):
        self.ffi, self.lib, self.handle = ffi, lib, None
        options, handle = ffi.new("mbi_options *"), ffi.new("mbi_session **")
        self.check(lib.mbi_options_init(options, ffi.sizeof("mbi_options")))
        keep = []
        for name, value in fields.items():
            keep.append(ffi.new("char[]", value.encode()) if isinstance(value, str) else value)
            setattr(options, name, keep[-1])
        handle[0] = ffi.cast("mbi_session *", 1)
        if isinstance(source, str):
            status = lib.mbi_session_open(source.encode(), options, handle)
        elif isinstance(source, int):
            status = lib.mbi_session_open_fd(source, options, handle)
        else:
            self.memory = ffi.from_buffer(source)
            status = lib.mbi_session_open_memory(self.memory, len(source), options, handle)
        assert (handle[0] == ffi.NULL) == (status != lib.MBI_OK)
        self.check(status)
        self.handle = ffi.gc(handle[0], lib.mbi_session_close)
        self.plan = lib.mbi_session_plan(self.handle)

    def check(self, status: int) -> None:
        if status != self.lib.MBI_OK:
            raise Failure(self.ffi, status, self.lib.mbi_last_error())

    def tensors(self, kind: str) -> list:
        count = getattr(self.lib, f"mbi_session_{kind}_count")(self.handle)
        return [getattr(self.lib, f"mbi_session_{kind}")(self.handle, i) for i in range(count)]

    def dtype(self, tensor) -> str:
        lib = self.lib
        return {lib.MBI_FLOAT32: "float32", lib.MBI_INT8: "int8", lib.MBI_UINT8: "uint8"}[tensor.dtype]

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        results = [np.full(list(t.dims)[: t.rank], 99, self.dtype(t)) for t in self.tensors("output")]
        self.run_into(arrays, results)
        return results

    def run_into(self, arrays, results) -> None:
        ffi, dtypes = (
            self.ffi,
            {"float32": self.lib.MBI_FLOAT32, "int8": self.lib.MBI_INT8, "uint8": self.lib.MBI_UINT8},
        )
        inputs, outputs = ffi.new("mbi_input[]", len(arrays)), ffi.new("mbi_output[]", len(results))
        for slot, array in zip(inputs, arrays):
            slot.data, slot.bytes = ffi.cast("void *", array.ctypes.data), array.nbytes
            slot.dtype = dtypes.get(str(array.dtype), 99)
        for slot, array in zip(outputs, results):
            slot.data, slot.bytes = ffi.cast("void *", array.ctypes.data), array.nbytes
        self.check(self.lib.mbi_session_run(self.handle, inputs, len(arrays), outputs, len(results)))

    def run_rows(self, dtype: int, pull) -> list[np.ndarray]:
        """pull(row, to): to is a void pointer; what it returns is returned to the library."""
        ffi = self.ffi
        results = [np.zeros(list(t.dims)[: t.rank], self.dtype(t)) for t in self.tensors("output")]
        outputs = ffi.new("mbi_output[]", len(results))
        for slot, array in zip(outputs, results):
            slot.data, slot.bytes = ffi.cast("void *", array.ctypes.data), array.nbytes
        callback = ffi.callback("mbi_pull_row", lambda context, row, to: pull(row, to))
        try:
            self.check(self.lib.mbi_session_run_rows(self.handle, dtype, callback, ffi.NULL, outputs, len(results)))
        except Failure:
            assert not any(array.any() for array in results)
            raise
        return results
