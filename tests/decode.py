"""A model file as the graph that it says, by docs/format.md alone: what the checker of graphs thinks of a file.

Weights are zeros of the shape that their bytes have: neither reader nor checker asks more of them than that.
"""

from __future__ import annotations

import math

import numpy as np
from records import Records

from mbinfer import model
from mbinfer.check_boxes import BOX_OPS
from mbinfer.graph import ACTIVATIONS, COLORS, SLOPED, Boxes, Graph, Node, Output, Recipe, Type
from mbinfer.ops import OPS
from mbinfer.packing import PAIR, PANEL, QUAD, panel_channels

NONE = 0xFFFFFFFF
DTYPES = {code: name for name, code in model.DTYPES.items()}


class Unsayable(Exception):
    """No graph says what the file says, so that a reader has to refuse it."""


def demand(ok: bool, what: str) -> None:
    if not ok:
        raise Unsayable(what)


def graph_of(records: Records) -> Graph:
    return _Decoder(records).graph()


class _Decoder:
    def __init__(self, records: Records):
        self.records, self.made = records, Graph()
        self.names = [self.text(record["name"]) for record in records.value]
        self.next_input = 0

    def graph(self) -> Graph:
        records, graph = self.records, self.made
        demand(not records.header["reserved"].any(), "reserved")
        demand(len(set(self.names)) == len(self.names), "two values of one name")
        demand(not any(record["reserved"].any() for record in records.quant), "reserved")
        for name, record in zip(self.names, records.value):
            demand(not record["reserved"].any() and not record["reserved0"].any(), "reserved")
            graph.values[name] = tuple(int(record[side]) for side in ("height", "width", "channels"))
            kind = Type(DTYPES.get(int(record["dtype"]), "unknown"), *self.quant(int(record["quant"])))
            if kind != Type():
                graph.types[name] = kind
        for record in records.input:
            name = self.value(record["value"])
            demand(name not in graph.inputs, "an input twice")
            graph.inputs[name] = self.recipe(record, graph.values[name][2])
        graph.nodes = [self.node(record) for record in records.node]
        demand(self.next_input == len(records.node_input), "inputs of no node")
        for record in records.output:
            rank = int(record["rank"])
            demand(rank <= 8 and not record["dims"][rank:].any() and not record["reserved"].any(), "dimensions")
            shape = tuple(int(side) for side in record["dims"][:rank])
            graph.outputs.append(Output(self.text(record["name"]), self.value(record["value"]), shape))
        graph.labels = [self.text(label) for label in records.label]
        keys = [self.text(record["key"]) for record in records.metadata]
        demand(len(set(keys)) == len(keys), "two metadata of one key")
        graph.metadata = {key: self.text(record["value"]) for key, record in zip(keys, records.metadata)}
        return graph

    def text(self, offset: int) -> str:
        strings = self.records.strings
        demand(offset < len(strings) and (not offset or strings[offset - 1] == 0), "no string")
        return strings[offset : strings.index(0, offset)].decode()

    def value(self, index: int) -> str:
        demand(index < len(self.names), "no value")
        return self.names[index]

    def quant(self, index: int) -> tuple[float, int]:
        if index == NONE:
            return 0.0, 0
        demand(index < len(self.records.quant), "no quantisation record")
        record = self.records.quant[index]
        demand(record["scale"] != 0, "a record that says no scale")
        return float(record["scale"]), int(record["zero_point"])

    @staticmethod
    def recipe(record, channels: int) -> Recipe | None:
        demand(record["has_recipe"] <= 1 and not record["reserved"].any() and not record["reserved0"].any(), "reserved")
        if not record["has_recipe"]:
            fields = ("color", "crop", "mean", "scale")
            demand(not any(np.any(record[name]) for name in fields), "numbers of no recipe")
            return None
        demand(record["color"] < len(COLORS), "no colour")
        demand(not record["mean"][channels:].any() and not record["scale"][channels:].any(), "beyond the channels")
        color = COLORS[int(record["color"])]
        return Recipe(*(tuple(record[name][:channels]) for name in ("mean", "scale")), color, float(record["crop"]))

    def node(self, record) -> Node:
        demand(record["first_input"] == self.next_input and not record["reserved"].any(), "lists of inputs")
        end = self.next_input + int(record["input_count"])
        demand(end <= len(self.records.node_input), "lists of inputs")
        inputs = [self.value(i) for i in self.records.node_input[self.next_input : end]]
        self.next_input = end
        demand(1 <= record["op"] <= len(OPS) and record["activation"] < len(ACTIVATIONS), "no op or activation")
        op = list(OPS)[int(record["op"]) - 1]
        flags = int(record["flags"])
        demand(not flags & ~OPS[op].flags and flags & 12 != 12, "unknown flags")
        halved = 28 if OPS[op].pools else 12
        demand(flags & halved != 16, "even of nothing")
        node = Node(
            op,
            self.text(record["name"]),
            inputs,
            self.value(record["output"]),
            groups=int(record["groups"]),
            activation=ACTIVATIONS[int(record["activation"])],
            first_channel=int(record["first_channel"]),
            window_channels=int(record["window_channels"]),
            counts_padding=bool(flags & 1),
            halves={0: "even", 4: "away", 8: "up", 20: "even_from_128", 24: "even_from_0"}[flags & halved],
            softmax=bool(flags & 16 & ~halved),
            centred=bool(flags & 32),
            logarithm=bool(flags & 64),
            anchorwise=bool(flags & 128),
            **{
                field: tuple(int(record[f"{field}_{side}"]) for side in "hw")
                for field in ("kernel", "stride", "dilation")
            },
            pads=tuple(int(record[f"pad_{side}"]) for side in ("top", "left", "bottom", "right")),
        )
        self.set_positions(node, record)
        self.set_clamp(node, record)
        self.set_weights(node, record)
        return node

    @staticmethod
    def set_positions(node: Node, record) -> None:
        numbers = [record[name] for name in model.POSITIONS]
        if node.op in BOX_OPS:
            real = np.array([int(number) % 2**32 for number in numbers], "<u4").view("<f4")
            node.boxes = Boxes(float(real[0]), float(real[1]), tuple(float(number) for number in real[2:]))
        else:
            node.rows, node.columns = tuple(map(int, numbers[:3])), tuple(map(int, numbers[3:]))

    def set_clamp(self, node: Node, record) -> None:
        bounds = [float(record["clamp_lo"]), float(record["clamp_hi"])]
        kind = self.made.types.get(node.output, Type())
        if kind.dtype == "uint8" and node.activation == "clamp":
            demand(all(0 <= bound <= 255 and bound == math.floor(bound) for bound in bounds), "no uint8")
            bounds = [(bound - kind.zero_point) * kind.scale for bound in bounds]
        node.clamp = (bounds[0], bounds[1])

    def within(self, offset: int, size: int) -> None:
        demand(offset % 64 == 0 and offset + size <= len(self.records.weights), "outside the weights")

    def set_weights(self, node: Node, record) -> None:
        dtype, size = int(record["weight_dtype"]), int(record["weight_bytes"])
        offset, outputs = int(record["weight_offset"]), self.made.values[node.output][2]
        if node.activation in SLOPED:
            self.within(int(record["slope_offset"]), 4 * (outputs + -outputs % PANEL))
            node.slopes = np.zeros(outputs, np.float32)
        else:
            demand(record["slope_offset"] == 0, "slopes of another activation")
        kind, plain = OPS[node.op].types, not OPS[node.op].weights
        if plain:
            demand(record["bias_offset"] == 0 and record["bias_bytes"] == 0, "a bias of another op")
        if plain and kind not in ("table", "factors") and node.op != "candidates":
            demand(not dtype and not offset and not size, "weights of another op")
            return
        self.within(offset, size)
        if not plain:
            self.set_convolution(node, record, outputs)
        elif kind == "table":
            demand((dtype, size) == (model.DTYPES["uint8"], 256), "a table")
            node.weight = np.zeros(256, np.uint8)
        else:
            height, width, channels = self.made.values[node.inputs[-1]] if node.inputs else (1, 1, 4)
            shape = (4,) if kind == "factors" else (height, width, channels // 4, 4)
            right = 4 * (4 if kind == "factors" else height * width * channels)
            demand((dtype, size) == (model.DTYPES["float32"], right), "numbers")
            node.weight = np.broadcast_to(np.float32(0), shape)

    def set_convolution(self, node: Node, record, outputs: int) -> None:
        channels = self.made.values[node.inputs[0]][2] if node.inputs else 1
        dtype, taps, groups = DTYPES.get(int(record["weight_dtype"])), math.prod(node.kernel), max(1, node.groups)
        demand(dtype in ("float32", "float16", "int8"), "a dtype of weights")
        shape, read = (*node.kernel, channels), 1
        if node.op == "conv":
            shape = (outputs, *node.kernel, channels // groups)
            fits = 0 < channels <= 1 << 16 and 0 < outputs <= 1 << 16 and not (channels % groups or outputs % groups)
            read = panel_channels(channels, outputs, groups)[0] if fits else channels
            read += -read % (QUAD if dtype == "int8" else 1)
        packed = (outputs + -outputs % PAIR) * taps * read * np.dtype(dtype).itemsize
        panels = -(-outputs // PANEL)
        bias = panels * (model.CHANNEL.itemsize if dtype == "int8" else 4 * PANEL)
        demand(record["weight_bytes"] == packed and record["bias_bytes"] == bias, "bytes of other weights")
        self.within(int(record["bias_offset"]), bias)
        demand(dtype == "int8" or not int(record["flags"]) & 2, "a flag of int8 weights")
        node.weight = np.zeros(shape, dtype)
        if dtype == "int8":
            node.weight_scale, node.bias = np.ones(outputs, np.float32), np.zeros(outputs, np.int32)
