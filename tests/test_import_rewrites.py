"""What the importer reads out of the many ways in which exporters write a network: sizes, branches, means, views, cuts.

Every remedy that one of its messages names is tried here.
"""

from __future__ import annotations

import ast
import re
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import BN, W, agree, make, node, normal, ops, refuse

from mbinfer import errors
from mbinfer.importers import import_onnx
from mbinfer.importers.onnx import constants, reading

CONV = node("Conv", "x", "w", to="a")


# Inputs and initializers that nobody reads; sizes.


@pytest.mark.parametrize("spare", [(9, ()), (7, (1,)), (1, (4,)), (1, (2, 3, 8, 8)), (1, None), (8, ("n",))], ids=str)
def test_inputs_that_nobody_reads_are_not_judged(spare):
    model = make(CONV, node("Relu", "a"), w=W)
    model.graph.input.append(helper.make_tensor_value_info("spare", *spare))
    assert list(import_onnx(model, input_shape=(1, 3, 8, 8)).inputs) == ["x"]


def test_what_only_unread_nodes_read_is_not_judged():
    model = make(
        CONV,
        node("Not", "flag", to="unread"),
        node("Relu", "a"),
        w=W,
    )
    model.graph.input.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, ()))
    words = helper.make_tensor("words", TensorProto.STRING, (2,), [b"a", b"b"])
    model.graph.initializer.append(words)
    huge = model.graph.initializer.add(name="huge", data_type=1, dims=[1 << 40])
    huge.raw_data = b""
    graph = import_onnx(model)
    assert ops(graph) == ["conv"] and list(graph.inputs) == ["x"]


@pytest.mark.parametrize("stored", [0, -1, "n", None])
def test_sizes_that_are_none_are_open(stored):
    model = make(CONV, node("Relu", "a"), w=W)
    for i, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        if i != 1:
            dim.Clear()
            if isinstance(stored, str):
                dim.dim_param = stored
            elif stored is not None:
                dim.dim_value = stored
    refuse(model, "'x'", "(1, 3, ?, ?)", "input_shape=")
    assert import_onnx(model, input_shape=(1, 3, 10, 12)).values["y"] == (8, 10, 4)


@pytest.mark.parametrize("stored", [(1, 3, 8, 8), (2, 3, 8, 8), (32, 3, 224, 224), ("n", 3, 20, 9)])
def test_input_shape_overrides_what_is_stored(stored):
    model = make(CONV, node("GlobalAveragePool", "a", to="p"), node("Flatten", "p"), w=W, shape=stored)
    assert import_onnx(model, input_shape=(1, 3, 10, 12)).values["x"] == (10, 12, 3)
    if stored[0] not in (1, "n"):
        assert "input_shape=(1, 3," in str(refuse(model, f"batch {stored[0]}"))


def test_an_input_shape_that_the_network_cannot_have_is_named():
    model = make(CONV, node("Flatten", "a", to="f"), node("MatMul", "f", "d"), w=W, d=normal(4 * 36, 5))
    for wrong in ((1, 3, 9, 8), (1, 4, 8, 8), (1, 3, 2, 2), (1, 3, 8), (1, 3, 8, 8, 1)):
        with pytest.raises((errors.ShapeError, errors.FormatError), match="input|shape"):
            import_onnx(model, input_shape=wrong)
    two = make(node("Add", "x", "x2"), inputs=["x", "x2"])
    with pytest.raises(errors.ShapeError, match=r"\{'x': \(1, 3, 224, 224\)\}"):
        import_onnx(two, input_shape=(1, 3, 8, 8))
    shapes = {"x": (1, 3, 224, 224), "x2": (1, 3, 224, 224)}
    assert import_onnx(two, input_shape=shapes).values["x2"] == (224, 224, 3)


# If with a known condition, Sum, constants of old opsets.


def branch(name, *nodes, **constants):
    arrays = [onnx.numpy_helper.from_array(np.asarray(array, np.float32), key) for key, array in constants.items()]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)], arrays)


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("told", ["stored", "by a shape", "by a shape of an If"])
def test_an_if_with_a_known_condition_is_its_branch(yes, told):
    inner = branch("inner", node("Mul", "p", "k", to="i1"), k=2.0), branch("other", node("Relu", "p", to="i1"))
    nested = node("If", "yes", to="t2", then_branch=inner[0], else_branch=inner[1])
    then = branch("then", node("Clip", "p", to="t1"), nested, node("Add", "t2", "t1", to="t3"))
    other = branch("else", node("Add", "p", "k2", to="t1"), k2=3.0)
    nodes, constants = [CONV, node("GlobalAveragePool", "a", to="p")], {"w": W, "d": normal(4, 5)}
    if told == "stored":
        constants["yes"] = np.array(yes)
    else:
        source = "a" if told == "by a shape" else "p"
        nodes += [
            node("Shape", source, to="s"),
            node("Gather", "s", "i", to="n", axis=0),
            node("Equal", "n", "k", to="yes"),
        ]
        constants |= {"i": 2, "k": {"a": 6, "p": 1}[source] + (not yes)}
    nodes += [node("If", "yes", to="q", then_branch=then, else_branch=other), node("Flatten", "q", to="f")]
    graph = agree(make(*nodes, node("MatMul", "f", "d"), **constants))
    assert ("add" in ops(graph)) == yes


@pytest.mark.parametrize("limit", [-9, 9])
def test_an_if_that_depends_on_the_picture_is_a_choice(limit):
    then, other = branch("then", node("Relu", "x", to="t")), branch("else", node("Identity", "x", to="e"))
    mean = node("ReduceMean", "x", to="m", keepdims=0)
    choice = node("If", "yes", then_branch=then, else_branch=other)
    agree(make(mean, node("Greater", "m", "limit", to="yes"), choice, infer=False, limit=np.float32(limit)))
    # A number is true where it is not 0.
    number = node("Cast", "m", to=["yes"])
    number.attribute.append(helper.make_attribute("to", TensorProto.BOOL))
    agree(make(mean, number, choice, infer=False))


def test_sum_min_and_max_of_any_number():
    more = [CONV, node("Relu", "a", to="b")]
    for op, inputs, expected in (
        ("Sum", ["a", "b"], 1),
        ("Sum", ["a"], 0),
        ("Sum", ["a", "b", "a", "b"], 3),
        ("Sum", ["k", "a", "j", "b"], 1),
        ("Min", ["a", "j", "k"], 0),
        ("Max", ["k", "a", "j", "k"], 0),
    ):
        used = {name: number for name, number in (("k", 0.5), ("j", 1.5)) if name in inputs}
        graph = agree(make(*more, node(op, *inputs, to="s"), node("Add", "s", "b"), w=W, **used))
        assert ops(graph).count("add") == expected + 1
    assert ops(agree(make(*more, node("Max", "a", "b"), w=W)))[-1] == "max"


@pytest.mark.parametrize("opset", [10, 13, 18, 19, 21, 24])
@pytest.mark.parametrize("by_channel", [False, True])
def test_quantised_weights_alone_are_weights(opset, by_channel):
    if by_channel and opset < 13:
        return
    rng = np.random.default_rng(0)
    quantised = {"q": rng.integers(-128, 127, (4, 3, 3, 3)).astype(np.int8)}
    quantised["s"] = np.abs(normal(4)) / 100 if by_channel else np.float32(0.01)
    quantised["z"] = rng.integers(-9, 9, 4 if by_channel else ()).astype(np.int8)
    axis = {"axis": 0} if by_channel else {}
    model = make(
        node("DequantizeLinear", "q", "s", "z", to="w", **axis), CONV, node("Relu", "a"), opset=opset, **quantised
    )
    assert ops(agree(model)) == ["conv"]
    whole = make(
        node("QuantizeLinear", "x", "s", "z", to="q"), node("DequantizeLinear", "q", "s", "z"), s=0.1, z=np.int8(0)
    )
    assert ops(import_onnx(whole)) == ["convert", "convert"]


# Means and views.


@pytest.mark.parametrize(
    "axes, kept, kinds",
    [
        ([[2, 3]], 0, ["global_avg_pool"]),
        ([[3], [2]], 0, ["global_avg_pool"]),
        ([[2], [2]], 0, ["global_avg_pool"]),
        ([[-1], [-1]], 0, ["global_avg_pool"]),
        ([[2], [3]], 1, ["global_avg_pool"]),
        ([[2]], 1, ["avg_pool"]),
        ([[3]], 1, ["avg_pool"]),
        ([[1]], 1, ["conv"]),
        ([[1, 2, 3]], 1, ["global_avg_pool", "conv"]),
        ([[0, 2, 3]], 0, ["global_avg_pool"]),
        ([[1], [2, 3]], 1, ["conv", "global_avg_pool"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
def test_means_and_sums_over_any_axes(axes, kept, kinds, op):
    nodes, name, constants = [CONV], "a", {"w": W}
    for i, one in enumerate(axes):
        to = "y" if i + 1 == len(axes) else f"m{i}"
        if op == "ReduceMean":
            nodes.append(node(op, name, to=to, axes=one, keepdims=kept))
        else:
            nodes.append(node(op, name, f"k{i}", to=to, keepdims=kept))
            constants[f"k{i}"] = one
        name = to
    graph = agree(make(*nodes, **constants, shape=(1, 3, 9, 7)))
    if op == "ReduceMean":
        assert ops(graph)[1:] == kinds


def test_maxima_over_height_and_width():
    for axes in ([2, 3], [2], [3]):
        assert ops(agree(make(CONV, node("ReduceMax", "a", axes=axes), w=W))) == ["conv", "max_pool"]


def test_a_tall_picture_has_a_mean_but_no_tall_kernel():
    both = [node("ReduceMean", "x", to="m", axes=[2]), node("ReduceMean", "m", axes=[3])]
    assert ops(agree(make(*both, shape=(1, 3, 99, 4)))) == ["global_avg_pool"]
    refuse(make(both[0], node("Relu", "m"), shape=(1, 3, 99, 4)), "99 rows", "64")


KEYWORDS = {"w": normal(4, 1, 3, 3), "d": normal(4, 5)}
TAIL = [
    node("Conv", "p", "w", to="a"),
    node("GlobalAveragePool", "a", to="g"),
    node("Flatten", "g", to="f"),
    node("MatMul", "f", "d"),
]


@pytest.mark.parametrize(
    "shape, views",
    [
        ((1, 490), [("Reshape", [1, 1, 49, 10])]),
        ((1, 490), [("Reshape", [-1, 1, 49, 10])]),
        ((1, 490), [("Reshape", [1, 49, 10, 1]), ("Transpose", [0, 3, 1, 2])]),
        ((1, 49, 10), [("Unsqueeze", [1])]),
        ((1, 49, 10), [("Unsqueeze", [3]), ("Transpose", [0, 3, 1, 2])]),
        ((1, 49, 10, 1, 1), [("Squeeze", [4]), ("Transpose", [0, 3, 1, 2])]),
        ((1, 490, 1, 1), [("Reshape", [1, 1, 49, 10])]),
        ((1, 1, 490), [("Reshape", [1, 490]), ("Reshape", [1, 1, 49, 10])]),
        ((1, 49, 10, 1), [("Reshape", [1, 1, 49, 10])]),
    ],
    ids=str,
)
def test_a_view_of_an_input_as_a_picture_is_the_picture(shape, views):
    nodes, constants, name = [node("Mul", "x", "half", to="v")], {"half": 0.5}, "v"
    for i, (op, numbers) in enumerate(views):
        to = "p" if i + 1 == len(views) else f"v{i}"
        if op == "Transpose":
            nodes.append(node(op, name, to=to, perm=numbers))
        else:
            nodes.append(node(op, name, f"k{i}", to=to))
            constants[f"k{i}"] = numbers
        name = to
    graph = agree(make(*nodes, *TAIL, **KEYWORDS, **constants, shape=shape), nhwc_in=True)
    assert graph.values["x"] == (49, 10, 1)


@pytest.mark.parametrize(
    "shape, pads, views, dims",
    [
        ((1, 9, 7, 1), (0, 0, 1, 0, 0, 0, 1, 0), [(1, 1, 9, 9)], (9, 7, 1)),
        ((1, 9, 7, 1), (0, 2, 1, 0, 0, 1, 0, 0), [(1, 96), (1, 1, 12, 8)], (9, 7, 1)),
        ((1, 1, 63), (0, 0, 5, 0, 0, 4), [(1, 1, 8, 9)], (1, 1, 63)),
    ],
    ids=str,
)
def test_a_padded_view_of_an_input_is_a_picture_where_its_pads_lie_around_it(shape, pads, views, dims):
    chain = [node("Pad", "x", "pads", to="v0")]
    chain += [node("Reshape", f"v{i}", f"s{i}", to=f"v{i + 1}") for i in range(len(views))]
    shapes = {f"s{i}": np.array(view) for i, view in enumerate(views)}
    source = make(
        *chain, node("Conv", f"v{len(views)}", "w"), shape=shape, w=normal(4, 1, 3, 3), pads=np.array(pads), **shapes
    )
    assert agree(source, nhwc_in=len(shape) == 4).values["x"] == dims


@pytest.mark.parametrize("bounds", ["low", "high", "both", "low and a constant"])
def test_bounds_that_the_network_computes(bounds):
    """As of decibels, which are cut at so many below the loudest."""
    chain = [node("Conv", "x", "w", to="c"), node("ReduceMax", "c", to="most", keepdims=0)]
    chain += [node("Sub", "most", "eight", to="high"), node("Sub", "high", "eight", to="low")]
    low, high = ("" if bounds == "high" else "low"), {"low": "", "low and a constant": "half"}.get(bounds, "high")
    constants = {"w": W, "eight": np.float32(1.5)} | ({"half": np.float32(0.5)} if high == "half" else {})
    inputs = ["c", low, high] if high else ["c", low]
    agree(make(*chain, node("Clip", *inputs), **constants))


def test_a_view_that_changes_the_order_of_a_vector():
    vector = make(node("Reshape", "x", "to", to="v"), node("Conv", "v", "w"), w=W, to=[1, 3, 8, 8], shape=(1, 192))
    graph = agree(vector)
    assert graph.values["x"] == (1, 1, 192) and "shuffle" in ops(graph)
    hwc = [
        node("Reshape", "x", "to", to="v"),
        node("Transpose", "v", to="p", perm=[0, 3, 1, 2]),
        node("Conv", "p", "w"),
    ]
    assert agree(make(*hwc, w=W, to=[1, 8, 8, 3], shape=(1, 192))).values["x"] == (8, 8, 3)
    assert agree(make(node("Relu", "x"), shape=(1, 3, 8))).values["x"] == (3, 1, 8), "a column of pixels"
    refuse(make(node("Relu", "x"), shape=(1, 1, 3, 4, 8)), "'x'", "rank 4")


@pytest.mark.parametrize("first", ["ReduceMean", "MatMul", "Reshape and Transpose"])
def test_nhwc_is_told_by_the_first_op_that_wants_a_layout(first):
    if first == "ReduceMean":
        nodes, constants = [node("ReduceMean", "x", axes=[1, 2])], {}
    elif first == "MatMul":
        nodes, constants = [node("Relu", "x", to="r"), node("MatMul", "r", "d")], {"d": normal(3, 5)}
    else:  # pixels in one row, as optimisers of graphs write it
        nodes = [node("Reshape", "x", "row", to="r"), node("Reshape", "r", "back", to="b")]
        nodes += [node("Transpose", "b", to="p", perm=[0, 3, 1, 2]), node("Conv", "p", "w")]
        constants = {"row": [1, 1, 48, 3], "back": [1, 8, 6, 3], "w": W}
    graph = import_onnx(make(*nodes, **constants, shape=(1, 8, 6, 3)))
    assert graph.values["x"] == (8, 6, 3)


# Cuts, and what a refusal says.


def test_outputs_cut_anywhere():
    nodes = [CONV, node("BatchNormalization", "a", *BN, to="b"), node("Sin", "b", to="s"), node("Erf", "s")]
    nodes.append(helper.make_node("Custom", ["a"], ["z"], domain="somewhere"))
    model = make(*nodes, w=W, **BN, outputs=["y", "z"], infer=False)
    model.opset_import.add(domain="somewhere", version=1)
    for names in (["a"], ["b"], ["b", "a"]):
        graph = import_onnx(model, outputs=names)
        assert [output.name for output in graph.outputs] == names
    with pytest.raises(errors.ArgumentError, match="'bb'; there are b"):
        import_onnx(model, outputs=["bb"])


def test_a_refusal_names_everything_in_the_way_and_where_to_cut():
    nodes = [CONV, node("Tan", "a", to="m"), node("Sin", "m", to="n"), node("Mul", "m", "n", to="o")]
    nodes += [node("Sin", "o", to="q"), node("Concat", "o", "q", to="r", axis=1), node("Relu", "r")]
    model = make(*nodes, w=W)
    message = str(refuse(model, "the Tan"))
    for words in ("2 Sin (sine)", "1 Tan", "outputs=['a']"):
        assert words in message
    assert ops(import_onnx(model, outputs=["a"])) == ["conv"], "the remedy"
    many = [node("Sin", "x", to="t0"), *[node(op, f"t{i}", to=f"t{i + 1}") for i, op in enumerate(UNKNOWN)]]
    message = str(refuse(make(*many, outputs=[f"t{len(UNKNOWN)}"]), "other operators"))
    assert len(message) < 900 and "1 Sinh, 1 Cosh" in message


def test_a_refusal_names_attention_behind_what_cannot_run():
    products = [node("MatMul", "n", "n", to="p"), node("MatMul", "p", "v", to="q"), node("MatMul", "q", "p")]
    model = make(CONV, node("Sin", "a", to="n"), *products, w=W, v=np.ones((6, 6)))
    message = str(refuse(model, "the Sin"))
    assert "2 MatMul (attention)" in message and "1 Sin (sine)" in message  # q times v is a dense layer


def test_a_refusal_names_tensors_whole_as_many_as_it_has_room_for():
    """Maps of an encoder that a decoder reads behind what cannot run, called as exporters call them."""
    names = [f"/encoder/features.{i}/features.{i}.0/conv/Conv_output_0" for i in range(6)]
    nodes = [node("Conv", "x" if i == 0 else names[i - 1], "w", to=names[i], name=names[i]) for i in range(6)]
    nodes.append(node("Sin", names[5], to="s"))
    nodes += [node("Add", "s" if i == 0 else f"s{i}", names[i], to=f"s{i + 1}", name=f"sum{i}") for i in range(5)]
    model = make(*nodes, w=normal(3, 3, 1, 1), outputs=("s5",))
    message = str(refuse(model, "1 Sin (sine)"))
    listed, more = re.fullmatch(r".*outputs=(\[.*\])\) and (\d) more", message).groups()
    cuts = ast.literal_eval(listed)
    assert len(message) <= 400 and cuts[0] == names[5] and set(cuts) < set(names)
    assert len(cuts) > 1 and len(cuts) + int(more) == 6
    assert [output.name for output in import_onnx(model, outputs=cuts).outputs] == cuts, "the remedy"


UNKNOWN = [
    "Sinh",
    "Cosh",
    "Tan",
    "Asin",
    "Sin",
    "Cos",
    "Acos",
    "Atan",
    "Floor",
    "Ceil",
    "Sign",
    "Asinh",
    "Acosh",
    "Atanh",
]
UNKNOWN += ["Round", "Shrink", "ThresholdedRelu"]


def test_a_refusal_names_tensors_that_can_be_outputs():
    model = make(CONV, node("Flatten", "a", to="f"), node("Sin", "f"), w=W)
    refuse(model, "the Sin", "outputs=['a']")  # and not f, which lists channels first
    assert ops(import_onnx(model, outputs=["a"])) == ["conv"]


def test_a_picture_without_its_batch():
    """As torchvision's detectors take one: normalised, then the first and only one of a batch."""
    nodes = [node("Sub", "x", "m", to="a"), node("Div", "a", "d", to="b"), node("Unsqueeze", "b", "zero", to="c")]
    constants = {"m": normal(3, 1, 1), "d": np.full((3, 1, 1), 0.25), "zero": np.array([0]), "w": W}
    model = make(*nodes, node("Conv", "c", "w"), shape=(3, 8, 9), **constants)
    graph = agree(model)
    assert list(graph.values["x"]) == [8, 9, 3] and ops(graph) == ["conv"]
    refuse(make(node("Relu", "x"), shape=(3, 8, 9)), "batch 3")
    refuse(make(node("Conv", "x", "w"), w=W, shape=(2, 3, 8, 8)), "batch 2")


def test_corners_of_boxes_that_are_stacked_in_their_rows():
    """The last axes are pairs of numbers, of both corners, as torchvision's detectors decode boxes: they can be an
    output, and where many nodes that cannot run read parts of it, or of the scores, a message names it."""
    nodes = [node("Conv", "x", "w", to="a"), node("Transpose", "a", to="t", perm=[0, 2, 3, 1])]
    nodes.append(node("Reshape", "t", "four", to="r"))
    for i in (0, 1):  # across and down
        nodes.append(node("Slice", "r", f"from{i}", "end", "axis", "two", to=f"ends{i}"))
        nodes += [node("Clip", f"ends{i}", "lo", "hi", to=f"in{i}"), node("Unsqueeze", f"in{i}", "two", to=f"u{i}")]
    nodes += [node("Concat", "u0", "u1", to="pairs", axis=2), node("Reshape", "pairs", "four", to="y")]
    constants = {"four": np.array([-1, 4]), "end": np.array([4]), "axis": np.array([1]), "two": np.array([2]), "w": W}
    constants |= {"from0": np.array([0]), "from1": np.array([1]), "lo": np.float32(-1), "hi": np.float32(2)}
    agree(make(*nodes, shape=(1, 3, 14, 3), **constants))
    nodes += [node("Greater", "y", f"l{i}", to=f"g{i}") for i in range(9)]
    nodes += [node("NonZero", f"g{i}", to=f"n{i}") for i in range(9)]
    constants |= {f"l{i}": np.float32(i / 10) for i in range(9)}
    model = make(*nodes, shape=(1, 3, 14, 3), outputs=[f"n{i}" for i in range(9)], **constants)
    refuse(model, "NonZero", "outputs=['y']")
    for name, shape in {"y": (12, 4), "pairs": (12, 2, 2)}.items():
        (output,) = import_onnx(model, outputs=[name]).outputs
        assert (output.name, output.shape) == (name, shape), "the remedy"


def test_large_weights_may_be_turned_and_scaled(monkeypatch):
    """Constants made of stored ones are bounded by what the model stores, however much that is."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = make(node("Transpose", "w", to="t", perm=[0, 1, 3, 2]), node("Conv", "x", "t"), w=weight)
    monkeypatch.setattr(constants, "ALL_ELEMENTS", 8)
    monkeypatch.setattr(constants, "ALL_FILLED", 8)
    assert ops(import_onnx(model)) == ["conv"]
    made = make(node("ConstantOfShape", "s", to="t"), node("Conv", "x", "t"), s=np.array([4, 3, 3, 3]))
    refuse(made, "ConstantOfShape", "constants of up to")


I32, I64, F32 = np.int32, np.int64, np.float32
SMALL_CONSTANTS = [
    ("Add", {}, I64([[3], [-4]]), I64([5, 6])),
    ("Add", {}, F32(0.1), F32([0.2, np.inf])),
    ("Sub", {}, I32([3]), I32(-4)),
    ("Mul", {}, I64([1 << 40]), I64([1 << 40])),
    ("Div", {}, I64([7, 9]), I64([2, 9])),
    ("Div", {}, I64([-7, 7, -8]), I64([2, -2, 3])),
    ("Div", {}, F32([1, 0, -1]), F32([3, 7, -9])),
    ("Equal", {}, I64([1, 2]), I64([1, 3])),
    ("Less", {}, F32([1, 2]), F32([2, np.nan])),
    ("Greater", {}, I64([1, 2]), I64([2, 1])),
    *[("Cast", {"to": kind}, F32([1.9, -1.9, 0])) for kind in (1, 6, 7, 9, 10, 11)],
    ("Concat", {"axis": 0}, I64([1, 2]), I64([]), I64([3])),
    ("Concat", {"axis": -1}, F32([[1], [2]]), F32([[3], [4]])),
    ("Constant", {"value_int": 3}),
    ("Constant", {"value_ints": [3, 4]}),
    ("Constant", {"value_float": 0.1}),
    ("Constant", {"value_floats": [0.1, 0.2]}),
    ("Expand", {}, F32([[1], [2]]), I64([3, 1, 4])),
    ("Expand", {}, F32([[1, 2, 3]]), I64([1])),
    ("Gather", {}, I64([5, 6, 7]), I64(-1)),
    ("Gather", {"axis": 1}, F32([[5, 6], [7, 8]]), I64([[1, 0]])),
    ("Identity", {}, F32([1])),
    ("Reshape", {}, F32([[1, 2, 3, 4]]), I64([2, -1])),
    ("Reshape", {}, F32([[1, 2], [3, 4]]), I64([0, 1, 2])),
    ("Shape", {}, F32([[1, 2]])),
    ("Shape", {"start": 1}, F32([[1, 2]])),
    ("Slice", {}, I64([1, 2, 3, 4]), I64([1]), I64([1 << 62])),
    ("Slice", {}, F32([[1, 2, 3], [4, 5, 6]]), I64([-1, 2]), I64([-9, 0]), I64([0, -1]), I64([-1, -1])),
    ("Squeeze", {}, F32([[[1, 2]]]), I64([0, 1])),
    ("Squeeze", {}, F32([[[1, 2]]])),
    ("Unsqueeze", {}, F32([1, 2]), I64([0, -1])),
    ("Where", {}, np.array([True, False]), I64([[1], [2]]), I64([3])),
]


@pytest.mark.parametrize("case", SMALL_CONSTANTS, ids=lambda case: f"{case[0]} {case[1]}")
def test_shape_arithmetic_is_what_onnx_computes(case, monkeypatch):
    """Kinds, shapes and bits."""
    op, attrs, *arrays = case
    names = [f"i{i}" for i in range(len(arrays))]
    proto = helper.make_node(op, names, ["y"], **attrs)
    source = reading.nodes_of(onnx.helper.make_graph([proto], "", [], []))[0]
    arrays = [np.asarray(array) for array in arrays]
    (ours,) = constants.Evaluator(17)(source, proto, arrays)
    monkeypatch.setattr(constants, "small_constant", lambda *_: None)
    (theirs,) = constants.Evaluator(17)(source, proto, arrays)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()


def test_a_constant_of_one_number_takes_no_memory():
    """VGG-19 in the light form of onnx's own test data has a weight of 10^8 elements that a few bytes stand for."""
    shape, value = np.array([1 << 17, 10, 10, 10]), onnx.numpy_helper.from_array(np.array([0.5], np.float32))
    cuts = {"start": np.array([0] * 4), "end": np.array([4, 3, 3, 3])}
    chain = [node("ConstantOfShape", "s", to="t", value=value), node("Slice", "t", "start", "end", to="c")]
    tracemalloc.start()
    try:
        graph = import_onnx(make(*chain, node("Conv", "x", "c"), s=shape, **cuts))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert ops(graph) == ["conv"] and (graph.nodes[0].weight == 0.5).all()


def test_a_flattened_output_can_be_had_before_it_is_flattened():
    model = make(CONV, node("Flatten", "a"), w=W)
    refuse(model, "the Flatten", "outputs=")
    assert import_onnx(model, outputs=["a"]).outputs[0].shape == (1, 6, 6, 4), "the remedy"


def test_a_long_refusal_still_says_what_stands_in_the_way():
    """What would run is left out before what would not, and where the model can be cut."""
    names = ["Sinh", "Cosh", "Tan", "Atan", "Acosh", "Asinh", "Atanh"]
    nodes = [
        node(op, "r", to=f"y{i}", name=f"a rather long name of the node of {op} in one of the blocks of the trunk")
        for i, op in enumerate(names)
    ]
    with pytest.raises(errors.UnsupportedError) as refused:
        import_onnx(make(node("Relu", "x", to="r"), *nodes, node("Sum", *(f"y{i}" for i in range(7)))))
    assert "outputs=['r']" in str(refused.value) and "supported:" not in str(refused.value)
    assert all(f"1 {op}" in str(refused.value) for op in names)
