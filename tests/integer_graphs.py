"""int8 networks for tests, and plain numpy that computes them as docs/quantization.md says: the oracle of integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mbinfer.check_types import HALVES
from mbinfer.graph import Graph, Node, Type
from mbinfer.ops import OPS

F = np.float32
NOT_COPIED = ("inputs", "output", "weight", "bias", "slopes")
COMPUTED = {"conv", "depthwise", "add", "max_pool", "avg_pool", "global_avg_pool", "softmax", "convert", "lookup"}
PAIRS = {"mul": np.multiply, "sub": np.subtract, "max": np.maximum, "min": np.minimum}
COMPUTED |= {"concat", "stack", "slice", "shuffle", "depth_to_space", "resize", *PAIRS}


def quantised(graph: Graph, rng: np.random.Generator, extreme: bool = False, outside: str = "float32") -> Graph:
    """`graph` with uint8 values, random int8 weights and scales; inputs and outputs are of dtype `outside`.

    extreme: weights of -128 and 127, zero points at both ends. Curves become lookups; what runs in float32 only has
    conversions before and behind it.
    """
    maker = Maker(graph, rng, extreme, outside)
    for name in graph.inputs:
        maker.input(name)
    for node in graph.nodes:
        maker.node(node)
    for output in graph.outputs:
        maker.output(output)
    return maker.made


class Maker:
    def __init__(self, graph: Graph, rng: np.random.Generator, extreme: bool, outside: str):
        self.graph, self.rng, self.extreme, self.outside = graph, rng, extreme, outside
        self.made = Graph(labels=graph.labels, metadata=graph.metadata)
        self.names: dict[str, str] = {}  # of the quantised values

    def add(self, name: str, dims, kind: Type) -> str:
        self.made.values[name] = dims
        if kind != Type():
            self.made.types[name] = kind
        return name

    def as_type(self, name: str, kind: Type, after: str) -> str:
        """A conversion of a value, if need be."""
        if self.made.types.get(name, Type()) == kind:
            return name
        converted = self.add(f"{name} for {after}", self.made.values[name], kind)
        if converted not in (node.output for node in self.made.nodes):
            self.made.nodes.append(Node("convert", converted, [name], converted))
        return converted

    def input(self, name: str) -> None:
        recipe, inner = self.graph.inputs[name], random_type(self.rng, self.extreme)
        self.add(name, self.graph.values[name], held(inner, self.outside) if recipe is None else Type())
        self.made.inputs[name] = recipe
        self.names[name] = name
        if self.made.types.get(name) != inner:
            self.names[name] = self.add(f"{name} inside", self.graph.values[name], inner)
            self.made.nodes.append(Node("convert", f"{name} in", [name], self.names[name]))

    def node(self, node: Node) -> None:
        made, rng = self.made, self.rng
        inputs, dims = [self.names[i] for i in node.inputs], self.graph.values[node.output]
        halves = random_halves(node, rng)
        real = OPS[node.op].types in ("floats", "factors") or node.logarithm
        types = "floats" if real else OPS[node.op].types if halves.startswith("even") else "kept"
        kind = Type() if types == "floats" else made.types[inputs[0]]
        if types not in ("floats", "kept"):
            kind = random_type(rng, self.extreme)
        else:
            inputs = [self.as_type(name, kind, node.name) for name in inputs]
        output = f"{node.output} real" if types == "floats" else node.output
        fields = {key: item for key, item in vars(node).items() if key not in NOT_COPIED}
        new = Node(**{**fields, "halves": halves}, inputs=inputs, output=self.add(output, dims, kind))
        curves = node.activation not in ("none", "clamp")
        if curves:
            new.activation = "none"
        if OPS[node.op].weights:
            new.weight = random_weight(rng, node.weight.shape, self.extreme)
            scale_weights(new, made.types[inputs[0]], kind, rng)
        elif node.weight is not None:
            new.weight = node.weight
        made.nodes.append(new)
        if types == "floats":
            output = self.as_type(output, random_type(rng, self.extreme), node.name)
        if curves:
            curve = self.add(f"{node.output} curve", dims, random_type(rng, self.extreme))
            table = rng.integers(0, 256, 256).astype(np.uint8)
            made.nodes.append(Node("lookup", f"{node.name} curve", [output], curve, weight=table))
            output = curve
        self.names[node.output] = output

    def output(self, output) -> None:
        inner = self.names[output.value]
        if self.outside != "uint8":
            kind = held(self.made.types[inner], self.outside)
            self.names[output.value] = self.add(f"{output.name} out", self.graph.values[output.value], kind)
            self.made.nodes.append(Node("convert", f"{output.name} out", [inner], self.names[output.value]))
        self.made.outputs.append(type(output)(output.name, self.names[output.value], output.shape))


def random_type(rng: np.random.Generator, extreme: bool) -> Type:
    zero = int(rng.choice([0, 255])) if extreme else int(rng.integers(0, 256))
    return Type("uint8", float(F(rng.uniform(0.01, 0.1))), zero)


def held(kind: Type, outside: str) -> Type:
    """A value of type `kind` as the caller holds it."""
    return {"float32": Type(), "uint8": kind, "int8": Type("int8", kind.scale, kind.zero_point - 128)}[outside]


def random_halves(node: Node, rng: np.random.Generator) -> str:
    means = OPS[node.op].pools and OPS[node.op].types == "alike"
    if node.op == "resize":
        return str(rng.choice(["even", "up"]))
    return str(rng.choice([*HALVES])) if means and not node.counts_padding else "even"


def random_weight(rng: np.random.Generator, shape, extreme: bool) -> np.ndarray:
    if extreme:
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def scale_weights(node: Node, read: Type, made: Type, rng: np.random.Generator) -> None:
    """Scales that keep most of what the node makes inside of uint8, and a bias of the same size."""
    axis = 2 if OPS[node.op].keeps_channels else 0
    channels = node.weight.shape[axis]
    spread = 128 * np.sqrt(node.weight.size / channels) * 74
    node.weight_scale = (made.scale * 100 / (spread * read.scale) * rng.uniform(0.2, 1, channels)).astype(F)
    node.bias = rng.integers(-int(spread), int(spread) + 1, channels).astype(np.int32)


def requantise(x: np.ndarray, node: Node, made: Type) -> np.ndarray:
    """float32 numbers of steps to uint8, clamped as the node says."""
    lo, hi = 0, 255
    if node.activation == "clamp":
        lo, hi = (int(np.clip(np.rint(F(b) / F(made.scale)) + made.zero_point, 0, 255)) for b in node.clamp)
    assert x.dtype == F
    return np.clip(np.rint(x) + F(made.zero_point), lo, hi).astype(np.uint8)


def quantise(x: np.ndarray, made: Type) -> np.ndarray:
    least = -128 if made.dtype == "int8" else 0
    return np.clip(np.rint(x / F(made.scale)) + F(made.zero_point), least, least + 255).astype(made.dtype)


def real(q: np.ndarray, kind: Type) -> np.ndarray:
    return q if kind.dtype == "float32" else (q.astype(F) - F(kind.zero_point)) * F(kind.scale)


def windows(x: np.ndarray, node: Node, out_dims, fill) -> tuple[np.ndarray, np.ndarray]:
    """For each tap and output pixel what it reads, [taps, h, w, c], and whether that is inside."""
    (kh, kw), (sh, sw), (dh, dw) = node.kernel, node.stride, node.dilation
    height, width = x.shape[:2]
    y = np.arange(out_dims[0])[:, None] * sh - node.pads[0]
    z = np.arange(out_dims[1])[None] * sw - node.pads[1]
    taps, inside = [], []
    for ky in range(kh):
        for kx in range(kw):
            ty, tx = y + ky * dh, z + kx * dw
            ok = (ty >= 0) & (ty < height) & (tx >= 0) & (tx < width)
            taken = x[np.clip(ty, 0, height - 1), np.clip(tx, 0, width - 1)]
            taps.append(np.where(ok[..., None], taken, fill))
            inside.append(ok)
    return np.array(taps), np.array(inside)


def product_sums(node: Node, x: np.ndarray, zero_point: int, out_dims) -> np.ndarray:
    taps, _ = windows(x, node, out_dims, zero_point)
    taps = taps.astype(np.int64) - zero_point
    weight = node.weight.astype(np.int64)
    if node.op == "depthwise":
        return np.einsum("thwc,tc->hwc", taps, weight.reshape(-1, weight.shape[2]))
    groups, per_group = node.groups, weight.shape[3]
    split = taps.reshape(*taps.shape[:3], groups, per_group)
    grouped = weight.reshape(groups, len(weight) // groups, -1, per_group)
    return np.einsum("thwgi,gnti->hwgn", split, grouped).reshape(out_dims)


def run_node(node: Node, graph: Graph, values: dict[str, np.ndarray]) -> np.ndarray:
    """One node of integers."""
    xs = [values[name] for name in node.inputs]
    kinds, made = [graph.types.get(name, Type()) for name in node.inputs], graph.types.get(node.output, Type())
    x, kind, dims = xs[0], kinds[0], graph.values[node.output]
    if node.op == "convert":
        numbers = real(x, kind)
        return numbers if made.dtype == "float32" else quantise(numbers, made)
    if node.op == "lookup":
        return node.weight[x]
    if node.op == "concat":
        return np.concatenate(xs, 2)
    if node.op == "stack":
        return np.concatenate([x.reshape(-1, dims[2]) for x in xs]).reshape(dims)
    if node.op == "slice":
        channel = np.arange(dims[2]) + node.first_channel
        inside = (channel >= 0) & (channel < x.shape[2])
        return np.where(inside, x[..., channel * inside], x.dtype.type(kind.zero_point))
    if node.op == "shuffle":
        return x.reshape(*dims[:2], node.groups, -1).swapaxes(2, 3).reshape(dims)
    if node.op == "depth_to_space":
        down, across = node.rows[1], node.columns[1]
        return x.reshape(*x.shape[:2], down, across, dims[2]).swapaxes(1, 2).reshape(dims)
    if node.op in PAIRS:
        if made.dtype == "uint8":
            return requantise(pair_of_steps(node.op, xs, kinds, made), node, made)
        lo, hi = node.clamp
        return np.minimum(np.maximum(PAIRS[node.op](*xs), F(lo)), F(hi))
    if node.op == "resize":
        if node.halves == "up":  # by the numbers themselves, times a bit more than 1
            kind, made = Type("uint8", 1 + 2**-21, 0), replace(made, scale=1, zero_point=0)
        elif not 1e-6 <= F(made.scale) <= 1e6:
            kind, made = replace(kind, scale=F(kind.scale) / F(made.scale)), replace(made, scale=1)
        return requantise(resized(x, node, kind, F(made.scale), dims), node, made)
    if OPS[node.op].weights:
        sums = product_sums(node, x, kind.zero_point, dims) + (0 if node.bias is None else node.bias)
        assert np.abs(sums).max() < 2**31
        scale = F(kind.scale) * node.weight_scale / F(made.scale)
        return requantise(sums.astype(F) * scale, node, made)
    if node.op == "add":
        steps = [(q.astype(F) - F(k.zero_point)) * (F(k.scale) / F(made.scale)) for q, k in zip(xs, kinds)]
        return requantise(steps[0] + steps[1], node, made)
    if node.op == "max_pool":
        taps, _ = windows(x, node, dims, 0)
        return requantise(taps.max(0).astype(F) - F(made.zero_point), node, made)
    if node.op == "softmax":
        return softmax(x, kind, made)
    if node.halves != "even":
        return mean_of_halves(node, x, kind, made, dims)
    if node.op == "avg_pool":
        taps, inside = windows(x, node, dims, kind.zero_point)
        count = np.full(dims[:2], len(taps)) if node.counts_padding else inside.sum(0)
        sums = (taps.astype(np.int64) - kind.zero_point).sum(0)
        factor = F(kind.scale) / (F(made.scale) * count.astype(F))
        return requantise(sums.astype(F) * factor[..., None], node, made)
    assert node.op == "global_avg_pool"
    sums = (x.astype(np.int64) - kind.zero_point).sum((0, 1), keepdims=True)
    return requantise(sums.astype(F) * (F(kind.scale) / (F(made.scale) * F(x.shape[0] * x.shape[1]))), node, made)


def pair_of_steps(op: str, xs: list[np.ndarray], kinds: list[Type], made: Type) -> np.ndarray:
    """A function of two maps, or of a map and a pixel or channel, in steps of the type `made`."""
    whole = [q.astype(np.int64) - k.zero_point for q, k in zip(xs, kinds)]
    if op == "mul":
        return (whole[0] * whole[1]).astype(F) * (F(kinds[0].scale) * F(kinds[1].scale) / F(made.scale))
    return PAIRS[op](*(x.astype(F) * (F(k.scale) / F(made.scale)) for x, k in zip(whole, kinds)))


def resized(x: np.ndarray, node: Node, kind: Type, step: np.float32, dims) -> np.ndarray:
    """Two or four pixels, weighed one after the other as onnxruntime does, in steps of what is made."""
    axes = []
    for axis, positions in ((0, node.rows), (1, node.columns)):
        axes.append(taps_of(positions, node.kernel[axis], dims[axis], x.shape[axis], node.halves == "up"))
    steps = x.astype(F) - F(kind.zero_point)
    if node.kernel == (1, 1):
        return steps[axes[0][0][0]][:, axes[1][0][0]] * (F(kind.scale) / step)
    total = F(0)
    for rows, down in axes[0]:
        for columns, across in axes[1]:
            weights = down[:, None, None] * across[None, :, None]
            total = total + weights * (steps[rows][:, columns] * F(kind.scale))
    return total / step


def taps_of(positions: tuple[int, int, int], taps: int, made: int, size: int, in_parts: bool) -> list:
    """The pixels, and their weights, that outputs along one axis are made of: positions are rounded as float32 numbers,
    of middles of pixels where they count from there, and fractions to multiples of 1/2048 if `in_parts`."""
    numerator, denominator, term = positions
    whole, rest = np.divmod(np.arange(made) * numerator + term, denominator)
    middle = F(0.5) if 2 * term == numerator - denominator else F(0)
    f = (whole + np.float64(middle) + rest / denominator).astype(F) - middle - whole.astype(F)
    f = np.floor(f * F(2048) + F(0.5)) / F(2048) if in_parts else f
    f = np.where(whole < 0, F(0), np.where(whole >= size - 1, F(0.5), f))
    a, b = (np.clip(whole + n, 0, size - 1) for n in (0, 1))
    return [(a, np.ones(made, F))] if taps == 1 else [(a, F(1) - f), (b, f)]


def mean_of_halves(node: Node, x: np.ndarray, kind: Type, made: Type, dims) -> np.ndarray:
    """In whole numbers, halves away from 128 or up, or to even numbers as float32 has them."""
    first = 128 if node.halves in ("away", "even_from_128") else 0
    node = replace(node, kernel=x.shape[:2]) if node.op == "global_avg_pool" else node
    taps, inside = windows(x, node, dims, first)
    sums, count = (taps.astype(np.int64) - first).sum(0), inside.sum(0)[..., None]
    if node.halves.startswith("even"):
        factor = F(kind.scale) / F(made.scale) / count.astype(F)
        zeros = F(made.zero_point - first) - F(kind.zero_point - first) * count.astype(F) * factor
        return requantise(np.rint(sums.astype(F) * factor + zeros) + F(first - made.zero_point), node, made)
    means = np.sign(sums) * ((2 * np.abs(sums) + count) // (2 * count)) + first
    return requantise((means - kind.zero_point).astype(F), node, kind)


def softmax(x: np.ndarray, kind: Type, made: Type) -> np.ndarray:
    """In double: where that is close to half a step, the engine may round the other way."""
    e = np.exp((x.astype(np.float64) - x.max(-1, keepdims=True)) * kind.scale)
    return np.clip(np.rint(e / e.sum(-1, keepdims=True) / made.scale) + made.zero_point, 0, 255).astype(np.uint8)


def evaluate(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """Every value of the graph; None for what is made by, or of, an operator that is not computed here."""
    values: dict = dict(inputs)
    for node in graph.nodes:
        if node.op not in COMPUTED or any(values[name] is None for name in node.inputs):
            values[node.output] = None
            continue
        values[node.output] = run_node(node, graph, values)
        assert values[node.output].shape == graph.values[node.output], node
    return values
