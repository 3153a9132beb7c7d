"""Which operation is which in drawn graphs: all of them without faults, and nearly all around a few faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.model.trace import MOVES, Op
from parity.pairing.match import Matching, match_all, match_weighted
from parity.pairing.skeleton import Palette, classes, skeleton
from suites.meta import traces
from suites.meta.traces import Draft, Layer, Seen, both, names_of

WIDTHS = (8, 16)


def drawn(seed: int, count: int) -> list[Layer]:
    """Return a random graph of layers with branches, sums and joins; all ends meet in the last layer."""
    rng, draft = random.Random(seed), Draft()
    width = {"input": 3}
    for _ in range(count):
        known = list(width)
        source = rng.choice(known[-6:]) if rng.random() < 0.4 else known[-1]
        name = _drawn_layer(rng, draft, width, source)
        width.setdefault(name, width[source])
    used = {name for layer in draft.layers for name in layer.inputs}
    draft.add("concat", *[layer.name for layer in draft.layers if layer.name not in used], name="end")
    return draft.layers


def _drawn_layer(rng: random.Random, draft: Draft, width: dict[str, int], source: str) -> str:
    channels, chance = width[source], rng.random()
    if chance < 0.35:
        outputs = rng.choice(WIDTHS)
        name = draft.conv(source, channels, outputs, rng.choice([1, 3, 3, 5]), bias=rng.random() < 0.5)
        width[name] = outputs
        return name
    if chance < 0.5:
        return draft.norm(source, channels)
    if chance < 0.7:
        return draft.add("activation", source, function=rng.choice(["relu", "relu", "silu", "sigmoid"]))
    if chance < 0.78:
        return draft.add("max_pool", source, pool=[2, 2])
    if chance < 0.84:
        return draft.add("rescale", source, scale=2.0)
    others = [name for name in list(width)[-10:] if name != source]
    alike = [name for name in others if width[name] == channels]
    if alike and rng.random() < 0.6:
        return draft.add("add", source, rng.choice(alike))
    if not others:
        return draft.relu(source)
    partner = rng.choice(others)
    name = draft.add("concat", source, partner)
    width[name] = channels + width[partner]
    return name


def with_faults(layers: list[Layer], count: int, rng: random.Random) -> list[Layer]:
    """Return the graph with so many layers dropped, added or changed."""
    for number in range(count):
        layer, what = rng.choice(layers[:-1]), rng.random()
        if what < 1 / 3:
            layers = traces.without(layers, layer.name)
        elif what < 2 / 3:
            kind = rng.choice(["activation", "conv", "batch_norm", "zero_pad", "rescale"])
            settings: dict[str, dict[str, Any]] = {"activation": {"function": "relu"}, "conv": {"kernel": [3, 3]}}
            width = max(layer.sizes[1], 8)
            layers = traces.with_extra(
                layers, layer.name, Layer(f"extra{number}", kind, (), (width, width), settings.get(kind, {}))
            )
        elif layer.kind == "activation":
            layers = traces.altered(layers, layer.name, config={"function": "gelu"})
        elif layer.kind == "conv":
            layers = traces.altered(layers, layer.name, config={**layer.config, "kernel": [7, 7], "strides": [2, 2]})
        else:
            other = {"max_pool": "avg_pool", "batch_norm": "layer_norm", "add": "multiply"}.get(layer.kind, layer.kind)
            layers = traces.altered(layers, layer.name, kind=other)
    return layers


def judged(mine: Seen, other: Seen, matching: Matching, counts: Callable[[Op], bool]) -> tuple[int, int, int]:
    """Return how many layers both sides have, how many of these pair wrongly, and how many not at all.

    A partner that structure cannot tell from the right one, in the graph without faults, is right.
    """
    graph = skeleton(mine.trace, light=True)
    looks, node = classes(graph, Palette()), graph.node_of()
    found = names_of(matching, mine, other)
    survive = [
        name
        for name, index in mine.index.items()
        if name in other.index and counts(mine.trace.ops[index]) and counts(other.trace.ops[other.index[name]])
    ]
    wrong = missing = 0
    for name in survive:
        partner = found.get(name)
        if partner is None:
            missing += 1
        elif partner != name:
            twins = partner in mine.index and looks[node[mine.index[name]]] == looks[node[mine.index[partner]]]
            wrong += not twins
    return len(survive), wrong, missing


def has_weights(op: Op) -> bool:
    return bool(op.weights)


def is_no_move(op: Op) -> bool:
    return op.effect != MOVES and not (op.kind == "concat" and len(op.inputs) < 2)


@pytest.mark.parametrize("seed", range(12))
def test_drawn_graphs_without_faults_pair_wholly(seed: int) -> None:
    layers = drawn(seed, (15, 40, 90)[seed % 3])
    mine = traces.tensorflow(layers, rename=traces.noise(1))
    other = traces.torch(layers, order=traces.shuffled(seed), rename=traces.noise(2))
    weighted, everything = both(mine, other)
    assert judged(mine, other, weighted, has_weights)[1:] == (0, 0)
    assert judged(mine, other, everything, is_no_move)[1:] == (0, 0)


@pytest.mark.parametrize("faults", [1, 2, 3])
@pytest.mark.parametrize("values", [False, True], ids=["structure", "values"])
def test_drawn_graphs_with_faults_pair_nearly_wholly(faults: int, values: bool) -> None:
    totals = np.zeros((2, 3), int)
    for seed in range(12):
        layers = drawn(100 + seed, (15, 40, 90)[seed % 3])
        faulty = with_faults(layers, faults, random.Random(seed))
        mine = traces.tensorflow(layers, rename=traces.noise(1))
        other = traces.torch(faulty, order=traces.shuffled(seed), rename=traces.noise(2))
        weighted = match_weighted(mine.trace, other.trace)
        prints = (invented(mine), invented(other)) if values else (None, None)
        everything = match_all(mine.trace, other.trace, weighted, *prints)
        shares = [judged(mine, other, weighted, has_weights), judged(mine, other, everything, is_no_move)]
        totals += np.asarray(shares)
        assert shares[1][1] <= 3 * faults  # a fault disturbs its neighbours at most
    for layers_there, wrong, missing in totals:
        assert layers_there > 100
        assert wrong + missing <= 0.05 * layers_there
        assert wrong <= 0.01 * layers_there


def invented(seen: Seen) -> dict[int, list[float]]:
    """Return figures that are equal where the same layers made a tensor, as a run would give."""
    known: dict[int, Any] = {tensor: ("input", tensor) for tensor in seen.trace.inputs}
    prints: dict[int, list[float]] = {}
    layer = {index: name for name, index in seen.index.items()}
    for op in seen.trace.ops:
        sources = tuple(known[tensor] for tensor in op.inputs)
        held = layer[op.index] if op.weights else ""
        known[op.outputs[0]] = hash((op.kind, str(sorted(op.config.items())), held, sources))
        rng = np.random.default_rng(known[op.outputs[0]] & 0xFFFFFFFF)
        prints[op.outputs[0]] = [64.0, *(1 + rng.random(5))]
    return prints
