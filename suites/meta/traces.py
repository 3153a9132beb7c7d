"""Traces made by hand: one description of a network, seen as either framework's adapter would see it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from parity.model.trace import Op, Trace, Weight
from parity.pairing.match import Matching, match_all, match_weighted

Shape = tuple[int, ...]
Order = Callable[[Sequence["Layer"]], list["Layer"]]


@dataclass(frozen=True)
class Layer:
    """One operation of a network: `inputs` name layers, or are `input`, `input1`; `sizes` are channels in and out."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    sizes: tuple[int, int] = (0, 0)
    config: Mapping[str, Any] = field(default_factory=dict)
    share: str = ""  # the layer whose weights this one uses


@dataclass(frozen=True)
class Seen:
    """A trace, and which operation (index) each described layer became."""

    trace: Trace
    index: Mapping[str, int]


class Draft:
    """Writes a network layer by layer; each call returns the name of what it made."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.outputs: tuple[str, ...] = ()

    def add(
        self, kind: str, *inputs: str, sizes: tuple[int, int] = (0, 0), name: str = "", share: str = "", **config: Any
    ) -> str:
        made = name or f"{kind}{len(self.layers)}"
        self.layers.append(Layer(made, kind, inputs, sizes, config, share))
        return made

    def conv(self, before: str, inputs: int, outputs: int, kernel: int = 3, **config: Any) -> str:
        return self.add("conv", before, sizes=(inputs, outputs), kernel=[kernel, kernel], **config)

    def norm(self, before: str, channels: int) -> str:
        return self.add("batch_norm", before, sizes=(channels, channels), eps=1e-3)

    def relu(self, before: str) -> str:
        return self.add("activation", before, function="relu")

    def block(self, before: str, inputs: int, outputs: int, kernel: int = 3, **config: Any) -> str:
        return self.relu(self.norm(self.conv(before, inputs, outputs, kernel, **config), outputs))


def as_ran(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers in the order in which they were written."""
    return list(layers)


def shuffled(seed: int) -> Order:
    """Return an order in which everything runs after what it needs, and else by chance."""

    def order(layers: Sequence[Layer]) -> list[Layer]:
        rng = random.Random(seed)
        done: set[str] = {name for layer in layers for name in layer.inputs} - {layer.name for layer in layers}
        waiting, found = list(layers), []
        while waiting:
            ready = [layer for layer in waiting if set(layer.inputs) <= done]
            chosen = rng.choice(ready)
            waiting.remove(chosen)
            done.add(chosen.name)
            found.append(chosen)
        return found

    return order


def noise(seed: int) -> Callable[[str], str]:
    """Return a way to rename everything so that no name says anything."""
    rng = random.Random(seed)
    known: dict[str, str] = {}

    def rename(name: str) -> str:
        return known.setdefault(name, "".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(9)))

    return rename


def tensorflow(
    layers: Sequence[Layer],
    outputs: Sequence[str] = (),
    order: Order = as_ran,
    rename: Callable[[str], str] = str,
    inputs: int = 1,
) -> Seen:
    """Return the network as the TensorFlow adapter would trace it."""
    return _seen(order(layers), outputs or (layers[-1].name,), rename, inputs, _tensorflow_weights)


def torch(
    layers: Sequence[Layer],
    outputs: Sequence[str] = (),
    order: Order = as_ran,
    rename: Callable[[str], str] = str,
    inputs: int = 1,
) -> Seen:
    """Return the network as the torch adapter would trace it, dropouts and permutations of its own among it."""
    return _seen(order(layers), outputs or (layers[-1].name,), rename, inputs, _torch_weights)


def without(layers: Sequence[Layer], name: str) -> list[Layer]:
    """Return the network with one layer left out; who read it reads what it read first."""
    gone = next(layer for layer in layers if layer.name == name)
    rest = [layer for layer in layers if layer.name != name]
    return [
        replace(layer, inputs=tuple(gone.inputs[0] if given == name else given for given in layer.inputs))
        for layer in rest
    ]


def with_extra(layers: Sequence[Layer], after: str, extra: Layer) -> list[Layer]:
    """Return the network with one layer put behind another, between it and all who read it."""
    found: list[Layer] = []
    for layer in layers:
        moved = tuple(extra.name if given == after else given for given in layer.inputs)
        found.append(replace(layer, inputs=moved))
        if layer.name == after:
            found.append(replace(extra, inputs=(after,)))
    return found


def altered(layers: Sequence[Layer], name: str, **changes: Any) -> list[Layer]:
    """Return the network with one layer changed."""
    return [replace(layer, **changes) if layer.name == name else layer for layer in layers]


def names_of(matching: Matching, mine: Seen, other: Seen) -> dict[str, str]:
    """Return the pairs as names of described layers."""
    here, there = ({index: name for name, index in seen.index.items()} for seen in (mine, other))
    return {here[pair.tensorflow]: there[pair.torch] for pair in matching.pairs}


def names_left(indices: Sequence[int], seen: Seen) -> list[str]:
    """Return the described layers of operations."""
    there = {index: name for name, index in seen.index.items()}
    return [there[index] for index in indices]


def both(mine: Seen, other: Seen, by_hand: Mapping[str, str] | None = None) -> tuple[Matching, Matching]:
    """Return the pairs of operations with weights, and of all."""
    weighted = match_weighted(mine.trace, other.trace, by_hand or {})
    return weighted, match_all(mine.trace, other.trace, weighted, by_hand=by_hand or {})


Weights = Callable[[Layer], dict[str, Shape]]  # each role's shape

# torch's recurrent layers have two biases: an LSTM's are added, a GRU's stay apart.
_SUM, _PAIR = "bias_ih_l0", "biases_l0"
_PARTS = dict.fromkeys((_SUM, _PAIR), ("bias_ih_l0", "bias_hh_l0"))


def _seen(
    layers: Sequence[Layer], outputs: Sequence[str], rename: Callable[[str], str], inputs: int, roles: Weights
) -> Seen:
    tensors = {"input" if place == 0 else f"input{place}": place for place in range(inputs)}
    shapes: dict[int, Shape] = dict.fromkeys(tensors.values(), (2, 8, 8, 3))
    weights: dict[str, Weight] = {}
    ops: list[Op] = []
    index: dict[str, int] = {}
    separator = "/" if roles is _tensorflow_weights else "."
    for layer in layers:
        tensors[layer.name] = len(tensors)
        shapes[tensors[layer.name]] = (2, 8, 8, max(layer.sizes[1], 1))
        own = {}
        for role, shape in roles(layer).items():
            names = [f"{rename(layer.share or layer.name)}{separator}{part}" for part in _PARTS.get(role, (role,))]
            for name in names:
                weights.setdefault(name, Weight(name, shape))
            own[role] = ("|" if role == _PAIR else "+").join(names)
        index[layer.name] = len(ops)
        sources = tuple(tensors[name] for name in layer.inputs)
        made = (tensors[layer.name],)
        ops.append(Op(len(ops), rename(layer.share or layer.name), layer.kind, sources, made, layer.config, own))
    ends = tuple(tensors[name] for name in outputs)
    said = tuple(f"output[{place}]" for place in range(len(ends)))
    given = tuple(range(inputs))
    return Seen(Trace(given, ends, said, tuple(ops), shapes, dict.fromkeys(shapes, "float32"), weights), index)


def _tensorflow_weights(layer: Layer) -> dict[str, Shape]:
    inputs, outputs = layer.sizes
    kernel = tuple(layer.config.get("kernel", ()))
    bias = {"bias": (outputs,)} if layer.config.get("bias") else {}
    match layer.kind:
        case "conv":
            return {"kernel": (*kernel, inputs, outputs), **bias}
        case "depthwise_conv":
            return {"kernel": (*kernel, inputs, outputs // inputs), **bias}
        case "conv_transpose":
            return {"kernel": (*kernel, outputs, inputs), **bias}
        case "dense":
            return {"kernel": (inputs, outputs), **bias}
        case "batch_norm":
            return dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (outputs,))
        case "layer_norm" | "group_norm":
            return dict.fromkeys(("gamma", "beta"), (outputs,))
        case "embedding":
            return {"embeddings": (inputs, outputs)}
        case "lstm":
            return {"kernel": (inputs, 4 * outputs), "recurrent_kernel": (outputs, 4 * outputs), "bias": (4 * outputs,)}
        case "gru":
            return {
                "kernel": (inputs, 3 * outputs),
                "recurrent_kernel": (outputs, 3 * outputs),
                "bias": (2, 3 * outputs),
            }
        case "prelu":
            return {"alpha": (1, 1, outputs)}
        case _:
            return {}


def _torch_weights(layer: Layer) -> dict[str, Shape]:
    inputs, outputs = layer.sizes
    kernel = tuple(layer.config.get("kernel", ()))
    bias = {"bias": (outputs,)} if layer.config.get("bias") else {}
    match layer.kind:
        case "conv":
            return {"weight": (outputs, inputs, *kernel), **bias}
        case "depthwise_conv":
            return {"weight": (outputs, 1, *kernel), **bias}
        case "conv_transpose":
            return {"weight": (inputs, outputs, *kernel), **bias}
        case "dense":
            return {"weight": (outputs, inputs), **bias}
        case "batch_norm":
            return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (outputs,))
        case "layer_norm" | "group_norm":
            return dict.fromkeys(("weight", "bias"), (outputs,))
        case "embedding":
            return {"weight": (inputs, outputs)}
        case "lstm":
            return {"weight_ih_l0": (4 * outputs, inputs), "weight_hh_l0": (4 * outputs, outputs), _SUM: (4 * outputs,)}
        case "gru":
            return {
                "weight_ih_l0": (3 * outputs, inputs),
                "weight_hh_l0": (3 * outputs, outputs),
                _PAIR: (3 * outputs,),
            }
        case "prelu":
            return {"weight": (outputs,)}
        case _:
            return {}


# Typical networks, as `Draft`s: their layers and outputs.


def sequential() -> Draft:
    draft = Draft()
    at = "input"
    for before, after in ((3, 16), (16, 32), (32, 32), (32, 32)):
        at = draft.add("max_pool", draft.block(at, before, after, bias=True), pool=[2, 2])
    at = draft.add("flatten", at)
    at = draft.add("activation", draft.add("dense", at, sizes=(128, 64), units=64, bias=True), function="relu")
    draft.add("softmax", draft.add("dense", at, sizes=(64, 10), units=10, bias=True))
    return draft


def resnet(blocks: Sequence[int] = (2, 2, 2), projection_first: bool = False) -> Draft:
    """Return a ResNet v1; its projection is written before or behind the long branch."""
    draft = Draft()
    at = draft.add("max_pool", draft.block("input", 3, 16, 7, strides=[2, 2]), pool=[3, 3])
    width = 16
    for stage, count in enumerate(blocks):
        for block in range(count):
            new = 32 * 2**stage
            skip = at
            project = block == 0

            def projection(skip: str = skip, width: int = width, new: int = new) -> str:
                return draft.norm(draft.conv(skip, width, new, 1), new)

            if project and projection_first:
                skip = projection()
            long = draft.block(draft.block(at, width, new // 2, 1), new // 2, new // 2, 3)
            long = draft.norm(draft.conv(long, new // 2, new, 1), new)
            if project and not projection_first:
                skip = projection()
            at = draft.relu(draft.add("add", long, skip))
            width = new
    draft.add("dense", draft.add("global_avg_pool", at), sizes=(width, 10), units=10, bias=True)
    return draft


def densenet(nested: bool = False, blocks: Sequence[int] = (3, 4)) -> Draft:
    """Return a DenseNet that joins all that came before at once, or (as Keras's) one layer after the other."""
    draft = Draft()
    at, width = draft.conv("input", 3, 16, 7), 16
    for count in blocks:
        parts = [at]
        for _ in range(count):
            joined = parts[-1] if nested else draft.add("concat", *parts, axis=3)
            new = draft.conv(draft.relu(draft.norm(joined, width)), width, 32, 1)
            new = draft.conv(draft.relu(draft.norm(new, 32)), 32, 8, 3)
            parts = [*parts, draft.add("concat", parts[-1], new, axis=3)] if nested else [*parts, new]
            width += 8
        at = parts[-1] if nested else draft.add("concat", *parts, axis=3)
        at = draft.conv(draft.relu(draft.norm(at, width)), width, width // 2, 1)
        at, width = draft.add("avg_pool", at, pool=[2, 2]), width // 2
    draft.add("dense", draft.add("global_avg_pool", draft.relu(draft.norm(at, width))), sizes=(width, 10), units=10)
    return draft


def inception(blocks: int = 3) -> Draft:
    draft = Draft()
    at = draft.block("input", 3, 32)
    for _ in range(blocks):
        one = draft.block(at, 32, 8, 1)
        three = draft.block(draft.block(at, 32, 8, 1), 8, 8, 3)
        double = draft.block(draft.block(draft.block(at, 32, 8, 1), 8, 8, 3), 8, 8, 3)
        pooled = draft.block(draft.add("avg_pool", at, pool=[3, 3]), 32, 8, 1)
        at = draft.add("concat", one, three, double, pooled, axis=3)
    draft.add("dense", draft.add("global_avg_pool", at), sizes=(32, 10), units=10)
    return draft


def unet(depth: int = 3) -> Draft:
    draft = Draft()
    at, width, skips = "input", 3, []
    for level in range(depth):
        new = 8 * 2**level
        at = draft.block(draft.block(at, width, new), new, new)
        skips.append((at, new))
        at, width = draft.add("max_pool", at, pool=[2, 2]), new
    at = draft.block(at, width, 2 * width)
    width *= 2
    for skip, new in reversed(skips):
        at = draft.add("conv_transpose", at, sizes=(width, new), kernel=[2, 2], strides=[2, 2], bias=True)
        at = draft.add("concat", skip, at, axis=3)
        at = draft.block(draft.block(at, 2 * new, new), new, new)
        width = new
    draft.add("activation", draft.conv(at, width, 1, 1, bias=True), function="sigmoid")
    return draft


def encoder_decoder() -> Draft:
    """Return a model with two inputs: a sentence read, and another one written that looks at the first."""
    draft = Draft()
    source = draft.add("embedding", "input", sizes=(50, 16), tokens=50)
    target = draft.add("embedding", "input1", sizes=(50, 16), tokens=50)
    read = draft.add("lstm", draft.add("lstm", source, sizes=(16, 24), units=24), sizes=(24, 24), units=24)
    written = draft.add("lstm", target, read, sizes=(16, 24), units=24)
    weights = draft.add("softmax", draft.add("matmul", written, read))
    context = draft.add("concat", draft.add("matmul", weights, read), written, axis=2)
    draft.add("dense", draft.add("activation", context, function="tanh"), sizes=(48, 50), units=50, bias=True)
    return draft


def two_towers(shared: bool = True) -> Draft:
    """Return a model that passes two inputs through the same layers, or through layers of their own, and subtracts."""
    draft = Draft()
    ends = []
    for place, given in enumerate(("input", "input1")):
        at = given
        for number, (before, after) in enumerate(((3, 8), (8, 8), (8, 8))):
            share = f"tower{number}" if shared else ""
            name = f"tower{number}" if shared and not place else f"tower{number}_{place}"
            at = draft.add("conv", at, sizes=(before, after), kernel=[3, 3], name=name, share=share, bias=True)
            at = draft.relu(at)
        ends.append(at)
    draft.add("dense", draft.add("abs", draft.add("subtract", *ends)), sizes=(8, 1), units=1, bias=True)
    return draft


def transformer(blocks: int = 2) -> Draft:
    draft = Draft()
    at = draft.add("embedding", "input", sizes=(50, 16), tokens=50)
    for _ in range(blocks):
        normed = draft.add("layer_norm", at, sizes=(16, 16), eps=1e-6)
        query, key, value = (draft.add("dense", normed, sizes=(16, 16), units=16, bias=True) for _ in range(3))
        mixed = draft.add("sdpa", query, key, value, heads=2)
        at = draft.add("add", at, draft.add("dense", mixed, sizes=(16, 16), units=16, bias=True))
        normed = draft.add("layer_norm", at, sizes=(16, 16), eps=1e-6)
        wide = draft.add("activation", draft.add("dense", normed, sizes=(16, 64), units=64, bias=True), function="gelu")
        at = draft.add("add", at, draft.add("dense", wide, sizes=(64, 16), units=16, bias=True))
    draft.add("dense", draft.add("layer_norm", at, sizes=(16, 16)), sizes=(16, 50), units=50)
    return draft
