"""The importer, construct by construct: what is folded, how outputs are laid out, what is refused and how."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import BN, W2, W, agree, make, node, normal, ops, refuse

from mbinfer import errors
from mbinfer.convert import convert
from mbinfer.importers import import_onnx

# What is folded.


def test_conv_batch_norm_relu6_is_one_node():
    graph = agree(
        make(
            node("Conv", "x", "w", to="a", name="stem"),
            node("BatchNormalization", "a", *BN, to="b"),
            node("Clip", "b", "lo", "hi"),
            w=W,
            lo=0.0,
            hi=6.0,
            **BN,
        )
    )
    assert [(n.op, n.name, n.output, n.clamp) for n in graph.nodes] == [("conv", "stem", "y", (0, 6))]
    assert graph.nodes[0].weight.dtype == graph.nodes[0].bias.dtype == np.float32
    assert graph.metadata == {"source": "onnx", "producer": "tests 1"}


def test_what_is_read_twice_or_is_an_output_stays_as_a_depthwise_1x1():
    graph = agree(
        make(
            node("Conv", "x", "w", to="a"),
            node("BatchNormalization", "a", *BN, to="b"),
            node("Relu", "b", to="r"),
            node("Add", "r", "b"),
            w=W,
            **BN,
            outputs=["a", "y"],
        )
    )
    assert ops(graph) == ["conv", "depthwise", "depthwise", "add"]
    graph = agree(make(node("Relu", "x", to="a"), node("Conv", "a", "w"), w=W))
    assert ops(graph) == ["depthwise", "conv"]


def test_activation_after_add_and_add_of_a_value_with_itself():
    graph = agree(make(node("Conv", "x", "w", to="a"), node("Add", "a", "a", to="b"), node("Relu", "b"), w=W))
    assert ops(graph) == ["conv", "add"] and graph.nodes[1].activation == "clamp"


@pytest.mark.parametrize("gate", ["x * (relu6(x + 3) / 6)", "HardSigmoid", "not quite"])
def test_hard_swish_by_its_parts(gate):
    nodes = [node("Conv", "x", "w", to="a")]
    if gate == "HardSigmoid":
        nodes += [node("HardSigmoid", "a", to="g", alpha=1 / 6)]
    else:
        nodes += [
            node("Add", "a", "three", to="s"),
            node("Clip", "s", "zero", "six", to="c"),
            node("Div", "c", "six", to="g"),
        ]
    model = make(*nodes, node("Mul", "g", "a"), w=W, zero=0.0, six=6.0, three=2.9 if gate == "not quite" else 3.0)
    if gate == "not quite":
        assert ops(agree(model))[-1] == "mul"
    else:
        graph = agree(model)
        assert ops(graph) == ["conv"] and graph.nodes[0].activation == "hard_swish"


def test_input_normalisation_goes_into_an_unpadded_convolution():
    parts = {"mean": normal(3, 1, 1), "std": np.abs(normal(1, 3, 1, 1)) + 1}
    nodes = [node("Sub", "x", "mean", to="a"), node("Div", "a", "std", to="b")]
    assert ops(agree(make(*nodes, node("Conv", "b", "w"), w=W, **parts))) == ["conv"]
    assert ops(agree(make(*nodes, node("Conv", "b", "w", pads=[1] * 4), w=W, **parts))) == ["depthwise", "conv"]
    scaled = make(node("Div", "x", "std", to="b"), node("Conv", "b", "w", pads=[1] * 4), w=W, std=parts["std"])
    assert ops(agree(scaled)) == ["conv"], "zero stays zero"


def test_zero_padding_goes_where_it_means_the_same():
    padding = {"pads": [0, 0, 1, 0, 0, 0, 2, 1], "w": W}
    pad = node("Pad", "x", "pads", to="p")
    assert ops(agree(make(pad, node("Conv", "p", "w", strides=[2, 2], pads=[1, 0, 0, 0]), **padding))) == ["conv"]
    graph = agree(make(pad, node("AveragePool", "p", kernel_shape=[3, 3]), **padding))
    assert ops(graph) == ["avg_pool"] and graph.nodes[0].counts_padding
    uncounted = node("AveragePool", "p", kernel_shape=[4, 4], pads=[1] * 4)
    assert ops(agree(make(pad, uncounted, **padding))) == ["depthwise", "avg_pool"]
    assert ops(agree(make(pad, node("MaxPool", "p", kernel_shape=[3, 3]), **padding))) == ["depthwise", "max_pool"]
    graph = agree(
        make(
            node("Conv", "x", "w", to="a"),
            node("Relu", "a", to="b"),
            node("Pad", "b", "pads", to="p"),
            node("MaxPool", "p", kernel_shape=[3, 3]),
            **padding,
        )
    )
    assert ops(graph) == ["conv", "max_pool"]
    assert ops(agree(make(pad, node("Relu", "p", to="r"), **padding, outputs=["p", "r"]))) == ["depthwise", "depthwise"]


def test_ceil_mode_in_every_size():
    for size, kernel, stride, begin, end, op in product(
        range(4, 8), (2, 3), (2, 3), (0, 1), (0, 1), ("MaxPool", "AveragePool")
    ):
        agree(
            make(
                node(
                    op, "x", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[begin, begin, end, end], ceil_mode=1
                ),
                shape=(1, 2, size, size + 1),
            )
        )
    refuse(
        make(
            node(
                "AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1
            )
        ),
        "ceil_mode",
        "count_include_pad",
    )


def test_groups():
    graph = agree(
        make(
            node("Conv", "x", "w", to="a", group=3),
            node("Conv", "a", "v", group=3),
            shape=(1, 6, 5, 5),
            w=normal(12, 2, 3, 3),
            v=normal(3, 4, 1, 1),
        )
    )
    assert [(n.op, n.groups) for n in graph.nodes] == [("conv", 3), ("conv", 3)]
    graph = agree(
        make(
            node("Conv", "x", "w", to="a", group=3),
            node("Conv", "a", "v", group=3),
            w=normal(3, 1, 5, 5),
            v=normal(6, 1, 1, 1),
        )
    )
    assert [(n.op, n.groups) for n in graph.nodes] == [("depthwise", 1), ("conv", 3)]


# Layouts, heads, inputs and outputs.


def test_flatten_before_a_dense_layer_becomes_a_convolution_as_large_as_its_input():
    graph = agree(
        make(
            node("Flatten", "x", to="f"),
            node("Gemm", "f", "w", "b", transB=1),
            w=normal(5, 3 * 7 * 6),
            b=normal(5),
            shape=(1, 3, 7, 6),
        )
    )
    assert ops(graph) == ["conv"] and graph.nodes[0].kernel == (7, 6) and graph.outputs[0].shape == (1, 5)


def test_tf_style_squeezed_head():
    nodes = [
        node("Transpose", "x", to="t", perm=[0, 3, 1, 2]),
        node("Conv", "t", "w", to="a", auto_pad="SAME_UPPER"),
        node("ReduceMean", "a", to="m", axes=[2, 3]),
        node("Conv", "m", "v", to="c"),
        node("Transpose", "c", to="n", perm=[0, 2, 3, 1]),
        node("Squeeze", "n", "axes", to="s"),
        node("Softmax", "s"),
    ]
    graph = agree(make(*nodes, shape=(1, 8, 9, 3), w=W, v=normal(6, 4, 1, 1), axes=[1, 2]), nhwc_in=True)
    assert ops(graph) == ["conv", "global_avg_pool", "conv", "softmax"] and graph.outputs[0].shape == (1, 6)


def test_rank_4_outputs_are_nhwc_whatever_the_source_shows():
    transpose = node("Transpose", "y", to="z", perm=[0, 2, 3, 1])
    graph = import_onnx(make(node("Conv", "x", "w"), transpose, w=W, outputs=["y", "z"]))
    assert [(o.name, o.value, o.shape) for o in graph.outputs] == [("y", "y", (1, 6, 6, 4)), ("z", "y", (1, 6, 6, 4))]


def test_a_flattened_output_keeps_its_order_or_is_refused():
    flat = [node("Conv", "x", "w", to="a"), node("Flatten", "a")]
    error = refuse(make(*flat, w=W), "the Flatten", "CHW", "dense")
    assert (error.node, error.op) == ("the Flatten", "Flatten")
    assert agree(make(*flat, w=normal(4, 3, 8, 8))).outputs[0].shape == (1, 4)
    boxes = make(
        flat[0],
        node("Transpose", "a", to="t", perm=[0, 2, 3, 1]),
        node("Reshape", "t", "to"),  # a detector's
        w=normal(8, 3, 3, 3),
        to=[1, -1, 4],
    )
    assert agree(boxes).outputs[0].shape == (1, 72, 4)


def test_vectors_and_several_inputs():
    dense = [node("Gemm", "x", "w", to="a", alpha=2.0), node("Relu", "a")]
    assert ops(agree(make(*dense, w=normal(5, 4), shape=(1, 5)))) == ["conv"]
    graph = agree(make(node("Add", "x", "x2", to="a"), node("Conv", "a", "w"), w=W, inputs=["x", "x2"]))
    assert list(graph.inputs) == ["x", "x2"] and ops(graph) == ["add", "conv"]
    assert ops(agree(make(node("Identity", "x")))) == ["depthwise"], "an output has a value of its own"


def test_dead_nodes_are_dropped_and_names_are_unique():
    nodes = [
        node("Conv", "x", "w", to="a", name="same"),
        node("Conv", "a", "w2", to="b", name="same"),
        node("Relu", "b", name=""),
        node("Erf", "b", to="unused"),
    ]
    assert [n.name for n in agree(make(*nodes, w=W, w2=W2)).nodes] == ["same", "same_2"]
    assert [n.name for n in agree(make(node("Relu", "x", name=""))).nodes] == ["y"]


def test_local_functions_are_inlined():
    function = helper.make_function(
        "local",
        "Block",
        ["a", "k"],
        ["c"],
        [node("Conv", "a", "k", to="b"), node("Relu", "b", to="c")],
        [helper.make_opsetid("", 13)],
    )
    assert ops(agree(make(node("Block", "x", "w", domain="local"), w=W, functions=[function]))) == ["conv"]


def test_symbolic_sizes():
    symbolic = make(node("Conv", "x", "w"), w=W, shape=("batch", 3, "height", "width"))
    refuse(symbolic, "'x'", "(1, 3, ?, ?)", "input_shape=")
    assert import_onnx(symbolic, input_shape=(1, 3, 10, 12)).values["x"] == (10, 12, 3)
    assert import_onnx(symbolic, input_shape={"x": (1, 3, 10, 12)}).values["y"] == (8, 10, 4)
    for wrong in ((1, 4, 10, 12), (1, 3, 10), {"z": (1, 3, 10, 12)}):
        with pytest.raises(errors.ShapeError):
            import_onnx(symbolic, input_shape=wrong)
    refuse(make(node("Conv", "x", "w"), w=W, shape=(2, 3, 8, 8)), "batch 2")


# What is refused.


@pytest.mark.parametrize(
    "op, nodes",
    [
        ("Sin", [node("Sin", "a")]),
        ("Pow", [node("Pow", "a", "a")]),
        ("LRN", [node("LRN", "a", size=0)]),
        ("LpNormalization", [node("LpNormalization", "a", axis=2)]),
        ("Erf", [node("Erf", "a")]),
        ("PRelu", [node("PRelu", "a", "a")]),
        ("ReduceLogSumExp", [node("ReduceLogSumExp", "a", axes=[2])]),
        ("MaxPool", [node("MaxPool", "a", kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER")]),
        ("Resize", [node("Resize", "a", "", "twice", mode="cubic")]),
        ("Concat", [node("Transpose", "a", to="t", perm=[0, 1, 3, 2]), node("Concat", "a", "t", axis=1)]),
        (
            "Mul",
            [
                node("Transpose", "a", to="t", perm=[0, 1, 3, 2]),
                node("HardSigmoid", "t", to="g", alpha=1 / 6),
                node("Mul", "a", "g"),
            ],
        ),
        ("Add", [node("Transpose", "a", to="t", perm=[0, 1, 3, 2]), node("Add", "a", "t")]),
        ("Conv", [node("Transpose", "a", to="t", perm=[0, 2, 1, 3]), node("Conv", "t", "k")]),
        ("Conv", [node("Conv", "a", "a")]),
        ("Transpose", [node("Reshape", "a", "split", to="s"), node("Transpose", "s", perm=[0, 2, 1, 3, 4])]),
        ("Pad", [node("Pad", "a", "pads", mode="edge_of_a_kind")]),
        ("Cast", [helper.make_node("Cast", ["a"], ["y"], "the Cast", to=onnx.TensorProto.INT32)]),
        ("MatMul", [node("MatMul", "a", "columns")]),
        ("Dropout", [node("Dropout", "a", "one", "yes")]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_run_is_refused_by_name(op, nodes):
    constants = {
        "k": normal(4, 4, 1, 1),
        "split": [1, 2, 2, 6, 6],
        "one": 1.0,
        "pads": [0, 0, 1, 1, 0, 0, 1, 1],
        "columns": normal(6, 5),
        "twice": [1.0, 1.0, 2.0, 2.0],
    }
    used = {name for n in nodes for name in n.input}
    model = make(
        node("Conv", "x", "w", to="a", name="stem"),
        *nodes,
        w=W,
        **{name: value for name, value in constants.items() if name in used},
    )
    if "yes" in used:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    error = refuse(model, f"the {op}", f"({op})", "supported: ")
    assert (error.node, error.op) == (f"the {op}", op)


def test_what_an_exporter_made_of_an_adaptive_pool_is_refused_in_words():
    picks = make(node("Conv", "x", "w", to="a"), node("GatherND", "a", "where"), w=W, where=np.array([[0, 1, 2, 3]]))
    refuse(picks, "1 GatherND (picks of pixels, as of adaptive pools")


@pytest.mark.parametrize("opset", [7, 9, 12, 13, 14, 15])
def test_batch_norm_in_training_mode_never_runs_with_the_stored_statistics(opset):
    spare, attrs = (["m2", "v2", "sm", "sv"], {}) if opset < 14 else (["m2", "v2"], {"training_mode": 1})
    for outputs in (["y"], ["y", spare[0]]):
        model = make(
            node("Conv", "x", "w", to="a"),
            node("BatchNormalization", "a", *BN, to=["y", *spare], **attrs),
            w=W,
            **BN,
            opset=opset,
            outputs=outputs,
        )
        refuse(model, "the BatchNormalization", "training mode", "model.eval()")
    assert ops(agree(make(node("Conv", "x", "w", to="a"), node("BatchNormalization", "a", *BN), w=W, **BN))) == ["conv"]


def test_outputs_beyond_the_first_are_not_ignored():
    pool = node("MaxPool", "x", to=["y", "indices"], kernel_shape=[2, 2])
    dropout = node("Dropout", "x", to=["y", "mask"])
    assert ops(agree(make(pool))) == ["max_pool"], "nobody reads the indices"
    assert ops(import_onnx(make(dropout))) == ["depthwise"], "nobody reads the mask"
    refuse(make(pool, outputs=["y", "indices"]), "the MaxPool", "indices")
    refuse(make(dropout, node("Not", "mask", to="z"), outputs=["y", "z"]), "mask")


def test_files_that_are_no_model(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    (tmp_path / "empty.onnx").write_bytes(b"")
    invalid = make(node("Relu", "nowhere"))
    for source, kind in (
        (tmp_path / "noise.onnx", errors.FormatError),
        (tmp_path / "empty.onnx", errors.FormatError),
        (tmp_path / "missing.onnx", FileNotFoundError),
        (invalid, errors.FormatError),
    ):
        with pytest.raises(kind):
            import_onnx(source)
    refuse(make(node("Relu", "x"), opset=6), "opset 6", "7")


def test_without_onnx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(errors.Error, match=r"pip install 'mbinfer\[onnx\]'"):
        convert(tmp_path / "any.onnx", tmp_path / "any.bin")


def test_onnx_and_torch_are_imported_when_asked_for_only():
    code = (
        "import sys, mbinfer.importers, mbinfer.convert\n"
        "assert callable(mbinfer.convert), 'the function, not its module'\n"
        "sys.exit(bool({'onnx', 'torch', 'PIL'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd="/").returncode == 0
