"""A table of lies: each is told in the records of a file and, where a graph can tell it, to the writer."""

from __future__ import annotations

import math

import numpy as np
from records import Records
from test_format import ADD, AVG, DEEP, MAX, MEAN, MIX, SOFTMAX, STEM

from mbinfer import model
from mbinfer.graph import Output, Type

NONE = 0xFFFFFFFF
NAN, INF = math.nan, math.inf
IMAGE, STEM_OUT, MIX_OUT, DEEP_OUT, SUM = range(5)  # values


def field(section: str, index: int, **numbers):
    """Sets fields of a record; a tuple goes to the first items of an array, ``name_3`` to one of them."""

    def edit(records: Records) -> None:
        for name, number in numbers.items():
            getattr(records, section)[name][index] = number

    return edit


def item(section: str, index: int, name: str, at: int, number):
    return lambda records: getattr(records, section)[name][index].__setitem__(at, number)


def node(index: int, **fields):
    return lambda graph: [setattr(graph.nodes[index], name, value) for name, value in fields.items()]


def both(*edits):
    return lambda thing: [edit(thing) for edit in edits]


def add(section: str, count: int = 1, **numbers):
    return lambda records: (records.more(section, count), field(section, -1, **numbers)(records))


def quantised(index: int, dtype: int, **numbers):
    """A value with a quantisation record."""

    def edit(records: Records) -> None:
        records.quant = np.zeros(1, model.QUANT)
        records.quant["scale"] = 0.5
        records.value["dtype"][index], records.value["quant"][index] = dtype, 0
        field("quant", 0, **numbers)(records)

    return edit


def named(section: str, index: int, text: bytes, name: str = "name"):
    return lambda records: field(section, index, **{name: records.text(text)})(records)


def rename(old: str, new: str):
    """A value of another name."""

    def edit(graph) -> None:
        graph.values = {new if name == old else name: shape for name, shape in graph.values.items()}
        for n in graph.nodes:
            n.inputs = [new if name == old else name for name in n.inputs]
            n.output = new if n.output == old else n.output

    return edit


def labels(count: int):
    return lambda records: setattr(records, "label", np.resize(records.label, count))


def attribute(name: str, value):
    return lambda records: setattr(records, name, value)


def counts(**lies):
    return lambda records: records.counts.update(lies)


def shape(name: str, *dims: int):
    return lambda graph: graph.values.__setitem__(name, dims)


def value(index: int, **sides):
    return field("value", index, **sides)


def pads(top: int = 0, left: int = 0, bottom: int = 0, right: int = 0):
    return {"pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right}


# What is said: in the records of a file, and to the writer as a graph (None where a graph cannot say it).
LIES = {
    "value without a name": (named("value", MIX_OUT, b""), rename("mix", "")),
    "two values of one name": (lambda r: field("value", MIX_OUT, name=r.value["name"][SUM])(r), None),
    "node without a name": (named("node", MIX, b""), node(MIX, name="")),
    "two nodes of one name": (lambda r: field("node", MIX, name=r.node["name"][STEM])(r), node(MIX, name="stem.conv")),
    "output without a name": (named("output", 0, b""), lambda g: setattr(g.outputs[0], "name", "")),
    "two outputs of one name": (
        lambda r: field("output", 1, name=r.output["name"][0])(r),
        lambda g: setattr(g.outputs[1], "name", "probability"),
    ),
    "metadata without a key": (named("metadata", 0, b"", "key"), lambda g: g.metadata.update({"": "x"})),
    "two metadata of one key": (lambda r: field("metadata", 1, key=r.metadata["key"][0])(r), None),
    "name outside": (field("value", MIX_OUT, name=1 << 20), None),
    "label outside": (lambda r: r.label.__setitem__(0, 1 << 30), None),
    "name inside another": (lambda r: field("value", MIX_OUT, name=r.value["name"][MIX_OUT] + 1)(r), None),
    "name too long": (named("value", MIX_OUT, b"x" * 4096), rename("mix", "x" * 4096)),
    "label too long": (
        lambda r: r.label.__setitem__(0, r.text(b"x" * 65536)),
        lambda g: g.labels.__setitem__(0, "x" * 65536),
    ),
    "strings without an end": (lambda r: attribute("strings", r.strings[:-1] + b"x")(r), None),
    "no strings": (attribute("strings", b""), None),
    **{
        f"not UTF-8: {text!r}": (named("value", MIX_OUT, text), None)
        for text in (
            b"\xff",
            b"\xc3",
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
        )
    },
    "surrogate": (named("value", MIX_OUT, "\ud800".encode("utf-8", "surrogatepass")), rename("mix", "\ud800")),
    "label not UTF-8": (lambda r: r.label.__setitem__(0, r.text(b"\xe4")), None),
    "more labels than classes": (labels(10), lambda g: g.labels.extend("abcdef")),
    "too many metadata": (add("metadata", 300), lambda g: g.metadata.update({str(i): "" for i in range(300)})),
    "too many inputs": (add("input", 256), None),
    "too many outputs": (
        add("output", 4096),
        lambda g: g.outputs.extend(Output(str(i), "sum", (81,)) for i in range(4096)),
    ),
    "no input": (lambda r: attribute("input", r.input[:0])(r), lambda g: g.inputs.clear()),
    "no output": (lambda r: attribute("output", r.output[:0])(r), lambda g: g.outputs.clear()),
    "no node": (lambda r: attribute("node", r.node[:0])(r), lambda g: g.nodes.clear()),
    "counts that do not meet the weights": (counts(label_count=3), None),
    "a count beyond the file": (counts(value_count=1 << 31), None),
    "a gap before the weights": (attribute("gap", bytes(4096)), None),
    "bytes in the gap": (
        lambda r: attribute("gap", b"\1" * (-len(r.encode()[: int(r.header["weights_offset"][0])]) % 64 or 64))(r),
        None,
    ),
    "reserved in the header": (lambda r: r.header["reserved"].__setitem__((0, 3), 1), None),
    "reserved in a value": (item("value", 0, "reserved", 1, 1), None),
    "reserved byte in a value": (item("value", 0, "reserved0", 2, 1), None),
    "reserved in a node": (item("node", MAX, "reserved", 0, 7), None),
    "reserved in an input": (item("input", 0, "reserved", 0, 1), None),
    "reserved in an output": (item("output", 0, "reserved", 4, 1), None),
    "side of 0": (value(MIX_OUT, height=0), shape("mix", 0, 3, 9)),
    "side too long": (value(MIX_OUT, height=65537), shape("mix", 65537, 3, 9)),
    "channels of 2^32 - 1": (value(MIX_OUT, channels=NONE), shape("mix", 3, 3, NONE)),
    "value too large": (value(IMAGE, height=65536, width=65536), shape("image", 65536, 65536, 3)),
    "value too large in panels": (
        value(IMAGE, height=16384, width=16384, channels=1),
        shape("image", 16384, 16384, 1),
    ),
    "dtype 0": (value(MIX_OUT, dtype=0), lambda g: g.types.update(mix=Type("none"))),
    "dtype 6": (value(MIX_OUT, dtype=6), lambda g: g.types.update(mix=Type("bfloat16"))),
    "int8 without a scale": (value(MIX_OUT, dtype=3), lambda g: g.types.update(mix=Type("int8"))),
    "float32 with a scale": (quantised(MIX_OUT, 1), lambda g: g.types.update(mix=Type("float32", 0.5))),
    "int8 of another node than a conversion": (quantised(MIX_OUT, 3), lambda g: g.types.update(mix=Type("int8", 0.5))),
    "uint8 of float32": (quantised(MIX_OUT, 4), lambda g: g.types.update(mix=Type("uint8", 0.5))),
    "a picture of uint8": (
        both(quantised(IMAGE, 4), lambda r: None),
        lambda g: g.types.update(image=Type("uint8", 0.5)),
    ),
    "values of float16, which no kernel makes": (
        value(MIX_OUT, dtype=2),
        lambda g: g.types.update(mix=Type("float16")),
    ),
    "scale of 0": (quantised(MIX_OUT, 3, scale=0.0), None),
    "negative scale": (quantised(MIX_OUT, 3, scale=-1.0), None),
    "scale of NaN": (quantised(MIX_OUT, 3, scale=NAN), None),
    "zero point beyond int8": (
        quantised(MIX_OUT, 3, zero_point=128),
        lambda g: g.types.update(mix=Type("int8", 0.5, 128)),
    ),
    "zero point below uint8": (
        quantised(MIX_OUT, 4, zero_point=-1),
        lambda g: g.types.update(mix=Type("uint8", 0.5, -1)),
    ),
    "reserved in a quantisation record": (
        both(quantised(MIX_OUT, 3), lambda r: r.quant["reserved"].__setitem__((0, 1), 1)),
        None,
    ),
    "no such quantisation record": (value(MIX_OUT, quant=0), None),
    "op 0": (field("node", ADD, op=0), node(ADD, op="none")),
    "op 99": (field("node", ADD, op=99), node(ADD, op="matmul")),
    "a table that is not there": (field("node", SOFTMAX, op=9), node(SOFTMAX, op="lookup")),
    "conversion with an activation": (
        field("node", SOFTMAX, op=8, activation=1),
        node(SOFTMAX, op="convert", activation="clamp"),
    ),
    "wrong channels of a concatenation": (
        field("node", ADD, op=10, activation=0, clamp_lo=-INF),
        node(ADD, op="concat", activation="none", clamp=(-INF, INF)),
    ),
    "concatenation with an activation": (field("node", ADD, op=10), node(ADD, op="concat")),
    "stack of other channels": (
        both(field("node", ADD, op=21, activation=0, clamp_lo=-INF), lambda r: r.node_input.__setitem__(4, STEM_OUT)),
        node(ADD, op="stack", activation="none", clamp=(-INF, INF), inputs=["mix", "stem"]),
    ),
    "stack of other pixels": (
        field("node", ADD, op=21, activation=0, clamp_lo=-INF),
        node(ADD, op="stack", activation="none", clamp=(-INF, INF)),
    ),
    "stack with an activation": (field("node", ADD, op=21), node(ADD, op="stack")),
    "gate of other channels": (
        both(field("node", ADD, op=11), lambda r: r.node_input.__setitem__(4, STEM_OUT)),
        node(ADD, op="mul", inputs=["mix", "stem"]),
    ),
    "positions of another op": (field("node", ADD, row_term=1), node(ADD, rows=(0, 0, 1))),
    "a first channel of another op": (field("node", ADD, first_channel=1), node(ADD, first_channel=1)),
    "positions without a denominator": (field("node", SOFTMAX, op=12), node(SOFTMAX, op="resize")),
    "positions of too large numbers": (
        field("node", SOFTMAX, op=12, row_denominator=1, column_denominator=1, column_term=-(1 << 27)),
        node(SOFTMAX, op="resize", rows=(0, 1, 0), columns=(0, 1, -(1 << 27))),
    ),
    "three taps of a resize": (
        field("node", SOFTMAX, op=12, row_denominator=1, column_denominator=1, kernel_w=3),
        node(SOFTMAX, op="resize", rows=(0, 1, 0), columns=(0, 1, 0), kernel=(1, 3)),
    ),
    "slice of no channel": (
        field("node", SOFTMAX, op=17, first_channel=4),
        node(SOFTMAX, op="slice", first_channel=4),
    ),
    "slice before the channels": (
        field("node", SOFTMAX, op=17, first_channel=-4),
        node(SOFTMAX, op="slice", first_channel=-4),
    ),
    "groups of a shuffle": (field("node", SOFTMAX, op=18, groups=3), node(SOFTMAX, op="shuffle", groups=3)),
    "blocks of other channels": (
        field("node", SOFTMAX, op=19, row_numerator=1, row_denominator=2, column_numerator=1, column_denominator=1),
        node(SOFTMAX, op="depth_to_space", rows=(1, 2, 0), columns=(1, 1, 0)),
    ),
    "blocks that are none": (
        field("node", SOFTMAX, op=19, row_numerator=1, row_denominator=1, column_numerator=2, column_denominator=1),
        node(SOFTMAX, op="depth_to_space", rows=(1, 1, 0), columns=(2, 1, 0)),
    ),
    "an argmax of another shape": (field("node", SOFTMAX, op=20), node(SOFTMAX, op="argmax")),
    "an argmax with an activation": (
        field("node", SOFTMAX, op=20, activation=3),
        node(SOFTMAX, op="argmax", activation="sigmoid"),
    ),
    "op 255": (field("node", ADD, op=255), node(ADD, op="")),
    "activation 16": (field("node", ADD, activation=16), node(ADD, activation="sine")),
    "activation of a softmax": (
        field("node", SOFTMAX, activation=3),
        node(SOFTMAX, activation="sigmoid"),
    ),
    "logarithms of another op": (field("node", ADD, flags=64), node(ADD, logarithm=True)),
    "a window of channels of another op": (field("node", ADD, window_channels=3), node(ADD, window_channels=3)),
    "a norm without its numbers": (field("node", SOFTMAX, op=24), node(SOFTMAX, op="norm")),
    "a norm over too many channels": (
        field("node", SOFTMAX, op=24, window_channels=65),
        node(SOFTMAX, op="norm", window_channels=65, weight=np.ones(4, np.float32)),
    ),
    "a norm centred over a window": (
        field("node", SOFTMAX, op=24, window_channels=3, flags=32),
        node(SOFTMAX, op="norm", window_channels=3, centred=True, weight=np.ones(4, np.float32)),
    ),
    "slopes of another activation": (field("node", ADD, slope_offset=64), node(ADD, slopes=np.zeros(9))),
    "slopes outside": (field("node", ADD, activation=8, slope_offset=1 << 40), node(ADD, activation="prelu")),
    "slopes of other channels": (
        field("node", ADD, activation=8, slope_offset=32),
        node(ADD, activation="prelu", slopes=np.zeros(8)),
    ),
    "unknown flag": (field("node", AVG, flags=3), None),
    "halves rounded in two ways": (field("node", AVG, flags=12), node(AVG, halves="both")),
    "halves even of nothing": (field("node", AVG, flags=16), node(AVG, halves="even_from_1")),
    "halves of real numbers": (field("node", AVG, flags=4), node(AVG, halves="away")),
    "halves of a resize away": (field("node", SOFTMAX, op=12, flags=4), node(SOFTMAX, op="resize", halves="away")),
    "a flag of another op": (field("node", MAX, flags=1), node(MAX, counts_padding=True)),
    "clamp of NaN": (field("node", STEM, clamp_lo=NAN), node(STEM, clamp=(NAN, 6.0))),
    "clamp upside down": (field("node", STEM, clamp_lo=7.0), node(STEM, clamp=(7.0, 6.0))),
    "lower bound without clamp": (field("node", DEEP, clamp_lo=0.0), node(DEEP, clamp=(0.0, INF))),
    "upper bound without clamp": (field("node", DEEP, clamp_hi=6.0), node(DEEP, clamp=(-INF, 6.0))),
    "groups of 0": (field("node", MIX, groups=0), node(MIX, groups=0)),
    "groups of 2^31": (field("node", MIX, groups=1 << 31), node(MIX, groups=1 << 31)),
    "groups that do not divide": (field("node", MIX, groups=4), node(MIX, groups=4)),
    "groups of a depthwise": (field("node", DEEP, groups=9), node(DEEP, groups=9)),
    "groups of a pool": (field("node", MAX, groups=9), node(MAX, groups=9)),
    "kernel of 0": (field("node", STEM, kernel_h=0), node(STEM, kernel=(0, 2))),
    "stride of 0": (field("node", STEM, stride_w=0), node(STEM, stride=(2, 0))),
    "dilation of 0": (field("node", STEM, dilation_w=0), node(STEM, dilation=(1, 0))),
    "dilation of 65535": (field("node", STEM, dilation_h=65535), node(STEM, dilation=(65535, 1))),
    "kernel and dilation of 65535": (
        field("node", STEM, kernel_h=65535, dilation_h=65535),
        node(STEM, kernel=(65535, 2), dilation=(65535, 1)),
    ),
    "pads of 65535": (field("node", STEM, pad_top=65535), node(STEM, pads=(65535, 1, 0, 0))),
    "window of an addition": (field("node", ADD, kernel_h=3), node(ADD, kernel=(3, 1))),
    "pads of a softmax": (field("node", SOFTMAX, **pads(1, 0, 1, 0)), node(SOFTMAX, pads=(1, 0, 1, 0))),
    "pool of padding": (field("node", AVG, **pads(3, 1, 1, 1)), node(AVG, pads=(3, 1, 1, 1))),
    "pool with dilation": (field("node", MAX, dilation_h=2), node(MAX, dilation=(2, 1))),
    "wrong output of a convolution": (value(STEM_OUT, height=4), shape("stem", 4, 3, 6)),
    "wrong output of an addition": (value(SUM, channels=8), shape("sum", 3, 3, 8)),
    "wrong output of a global pool": (value(7, width=2), shape("mean", 1, 2, 9)),
    "a group for every channel": (
        both(field("node", DEEP, op=1, groups=9), field("node", DEEP, weight_bytes=2 * 9 * 8 * 4)),
        node(DEEP, op="conv", groups=9, weight=np.zeros((9, 3, 3, 1))),
    ),
    "reads what does not exist": (lambda r: r.node_input.__setitem__(1, 99), node(MIX, inputs=["lost"])),
    "writes what does not exist": (field("node", MIX, output=99), node(MIX, output="lost")),
    "reads its own output": (lambda r: r.node_input.__setitem__(2, DEEP_OUT), node(DEEP, inputs=["deep"])),
    "reads a later value": (lambda r: r.node_input.__setitem__(1, SUM), node(MIX, inputs=["sum"])),
    "written twice": (field("node", DEEP, output=MIX_OUT), node(DEEP, output="mix")),
    "an input is written": (field("node", DEEP, output=IMAGE), node(DEEP, output="image")),
    "an input of a node too few": (field("node", ADD, input_count=1), node(ADD, inputs=["mix"])),
    "an input of a node too many": (field("node", ADD, input_count=3), node(ADD, inputs=["mix", "deep", "mix"])),
    "no input of a node": (field("node", STEM, input_count=0), node(STEM, inputs=[])),
    "lists of inputs that overlap": (field("node", MIX, first_input=0), None),
    "list of inputs outside": (field("node", SOFTMAX, input_count=1 << 30), None),
    "inputs of no node": (lambda r: attribute("node_input", np.append(r.node_input, 0).astype("<u4"))(r), None),
    "unused value": (add("value", name=0), shape("unused", 1, 1, 1)),
    "input listed twice": (add("input"), None),
    "input that does not exist": (field("input", 0, value=99), lambda g: g.inputs.update(lost=None)),
    "input that a node writes": (field("input", 0, value=SUM), lambda g: g.inputs.update(sum=None)),
    "output that does not exist": (field("output", 0, value=99), lambda g: setattr(g.outputs[0], "value", "lost")),
    "output that is the input": (
        both(
            field("output", 1, value=IMAGE, rank=1), item("output", 1, "dims", slice(None), [90, 0, 0, 0, 0, 0, 0, 0])
        ),
        lambda g: g.outputs.__setitem__(1, Output("sum", "image", (90,))),
    ),
    "output of rank 9": (field("output", 0, rank=9), lambda g: setattr(g.outputs[0], "shape", (1,) * 8 + (4,))),
    "output with a side of 0": (item("output", 0, "dims", 0, 0), lambda g: setattr(g.outputs[0], "shape", (0, 4))),
    "output of other elements": (item("output", 0, "dims", 1, 5), lambda g: setattr(g.outputs[0], "shape", (1, 5))),
    "sides beyond the rank": (item("output", 0, "dims", 2, 1), None),
    "recipe flag 2": (field("input", 0, has_recipe=2), None),
    "colour 3": (field("input", 0, color=3), lambda g: setattr(g.inputs["image"], "color", "HSV")),
    "recipe with NaN": (
        item("input", 0, "mean", 0, NAN),
        lambda g: setattr(g.inputs["image"], "mean", (NAN, 0.0, 0.0)),
    ),
    "infinite scale": (
        item("input", 0, "scale", 2, INF),
        lambda g: setattr(g.inputs["image"], "scale", (1.0, 1.0, INF)),
    ),
    "crop of 0": (field("input", 0, crop=0.0), lambda g: setattr(g.inputs["image"], "crop", 0.0)),
    "crop above 1": (field("input", 0, crop=1.5), lambda g: setattr(g.inputs["image"], "crop", 1.5)),
    "grey recipe on 3 channels": (field("input", 0, color=2), lambda g: setattr(g.inputs["image"], "color", "grey")),
    "numbers of a recipe without one": (field("input", 0, has_recipe=0), None),
    "weights outside": (field("node", STEM, weight_offset=1 << 40), None),
    "weights at 2^64 - 64": (field("node", STEM, weight_offset=(1 << 64) - 64), None),
    "weights that are not aligned": (field("node", STEM, weight_offset=4), None),
    "weights too short": (field("node", STEM, weight_bytes=32), None),
    "weights of 2^63 bytes": (field("node", STEM, weight_bytes=1 << 63), None),
    "bias outside": (field("node", STEM, bias_offset=1 << 40), None),
    "bias too long": (field("node", STEM, bias_bytes=64), None),
    "weight dtype 9": (field("node", STEM, weight_dtype=9), None),
    "weight dtype uint8": (field("node", STEM, weight_dtype=4), None),
    "int8 weights of float32 values": (
        field("node", DEEP, weight_dtype=3, weight_bytes=9 * 16),
        node(DEEP, weight=np.zeros((3, 3, 9), np.int8)),
    ),
    "scales of float32 values": (item("node", DEEP, "reserved", 0, 1), node(DEEP, weight_scale=np.ones(9))),
    "float16 weights in the bytes of float32": (field("node", DEEP, weight_dtype=2), None),
    "float32 weights in the bytes of float16": (field("node", DEEP, weight_bytes=9 * 16 * 2), None),
    "float16 weights of an addition": (
        field("node", ADD, weight_dtype=2),
        node(ADD, weight=np.zeros(9, np.float16)),
    ),
    "reserved in a node with weights": (item("node", STEM, "reserved", 0, 1), None),
    "weights of an addition": (field("node", ADD, weight_dtype=1), node(ADD, weight=np.zeros(9))),
    "offset of no weights": (field("node", ADD, weight_offset=64), None),
    "bias of a pool": (field("node", MEAN, bias_bytes=64), node(MEAN, bias=np.zeros(9))),
}
