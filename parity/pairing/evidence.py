"""How much speaks for each pair of nodes of two skeletons: likeness, surroundings, order and, least of all, names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.pairing.families import likeness
from parity.pairing.skeleton import Palette, Skeleton, ancestry, branch_order, classes, colours

Scores = NDArray[np.float64]

_UP_AND_DOWN = (1, 2, 4, 8, 16)
_BOTH = (1, 2, 3, 5)
_DETAILS = (1, 2, 3)
NO_WAY = -1e6  # a pair that cannot be

# What a step of evidence counts, against 1 for operations that are alike in every respect. Between operations that
# structure does not tell apart order decides; names do where they agree nearly wholly.
_SAME_ORDER, _SAME_RANK, _SAME_NAME, _NAMED_TWIN = 0.5, 0.03, 0.05, 1.5
ALIKE_NAMES = 0.6
_CLOSE_UP = 1.5  # more than both orders together: what else tells branches of equal layers apart
_WORTH = 1.0  # an alignment leaves out a pair that has less than this


def evidence(a: Skeleton, b: Skeleton, whole: tuple[Skeleton, Skeleton] | None = None) -> Scores:
    """Return the score of each pair of nodes; `NO_WAY` where their families differ.

    `whole` are the same models with everything that computes: branches may differ by an activation alone.
    """
    alike = _likeness(a, b)
    scores = alike + _surroundings(a, b)
    if whole is not None:
        scores += _CLOSE_UP * _details(a, b, *whole)
    names = names_alike(_names(a), _names(b))
    scores += _SAME_NAME * names**2  # before the orders are aligned: which of equal layers is missing, names may say
    scores[alike <= 0] = NO_WAY
    orders = (branch_order(a), branch_order(b)), (list(range(a.size)), list(range(b.size)))
    aligned = [_aligned(scores, *order) for order in orders]
    scores += _SAME_ORDER * aligned[0] + 0.5 * _SAME_ORDER * aligned[1]
    twins, same_rank = _ranks(a, b, *orders[0])
    scores += _SAME_RANK * same_rank
    scores += _NAMED_TWIN * (twins & (names > ALIKE_NAMES)) * names
    return scores


def _likeness(a: Skeleton, b: Skeleton) -> Scores:
    """Return how alike the nodes are; each distinct pair of labels is looked at once."""
    scores = np.zeros((a.size, b.size))
    mine, other = _by_label(a), _by_label(b)
    for label_a, nodes_a in mine.items():
        for label_b, nodes_b in other.items():
            op_a, op_b = a.ops[nodes_a[0]], b.ops[nodes_b[0]]
            if op_a is None or op_b is None:
                value = 1.0 if label_a == label_b else 0.0
            else:
                value = likeness(op_a, op_b, a.shapes[nodes_a[0]], b.shapes[nodes_b[0]])
            if value > 0:
                scores[np.ix_(nodes_a, nodes_b)] = value
    return scores


def _by_label(graph: Skeleton) -> dict[Any, list[int]]:
    found: dict[Any, list[int]] = {}
    for node, label in enumerate(zip(graph.fine, graph.labels, strict=True)):  # one kind may be of two families
        found.setdefault(label, []).append(node)
    return found


def _surroundings(a: Skeleton, b: Skeleton) -> Scores:
    """Return for each pair what share of the looks around agree: upwards, downwards and both; each counts 1."""
    palette = Palette()
    total = np.zeros((a.size, b.size))
    for up, down, radii in ((True, False, _UP_AND_DOWN), (False, True, _UP_AND_DOWN), (True, True, _BOTH)):
        looks = [(colours(graph, palette, radii, up, down)) for graph in (a, b)]
        if up and down:
            looks = [
                [*look, *colours(graph, palette, (1, 2), up, down, fine=True), classes(graph, palette)]
                for look, graph in zip(looks, (a, b), strict=True)
            ]
        else:
            looks = [
                [*look, ancestry(graph, palette, up), ancestry(graph, palette, up, fine=True)]
                for look, graph in zip(looks, (a, b), strict=True)
            ]
        for mine, other in zip(*looks, strict=True):
            total += (mine[:, None] == other[None, :]) / len(looks[0])
    return total


def _details(a: Skeleton, b: Skeleton, whole_a: Skeleton, whole_b: Skeleton) -> Scores:
    """Return for each pair what share of the near looks agree, settings and light operations included."""
    palette = Palette()
    looks = []
    for graph, whole in ((a, whole_a), (b, whole_b)):
        there = whole.node_of()
        places = [there[op.index] if op is not None else -1 for op in graph.ops]
        found = [*colours(whole, palette, _DETAILS, True, True, fine=True), classes(whole, palette)]
        looks.append([np.where(np.asarray(places) < 0, -1, look[places]) for look in found])
    total = np.zeros((a.size, b.size))
    for mine, other in zip(*looks, strict=True):
        total += np.equal(mine[:, None], other[None, :]) / len(looks[0])
    return total


def _aligned(scores: Scores, order_a: Sequence[int], order_b: Sequence[int]) -> Scores:
    """Return 1 for the pairs of the best alignment of two orders (Needleman and Wunsch), 0 for others."""
    gains = scores[np.ix_(order_a, order_b)] - _WORTH
    best = np.zeros((len(order_a) + 1, len(order_b) + 1))
    for row, gain in enumerate(gains, start=1):
        step = np.maximum(best[row - 1, :-1] + gain, best[row - 1, 1:])
        best[row, 1:] = np.maximum.accumulate(np.maximum(step, 0.0))
    chosen = np.zeros_like(scores)
    row, column = len(order_a), len(order_b)
    while row and column:
        if best[row, column] == best[row - 1, column]:
            row -= 1
        elif best[row, column] == best[row, column - 1]:
            column -= 1
        else:
            row, column = row - 1, column - 1
            chosen[order_a[row], order_b[column]] = 1.0
    return chosen


def _ranks(
    a: Skeleton, b: Skeleton, order_a: Sequence[int], order_b: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which nodes structure does not tell apart, and which of these are the same in order among them."""
    palette = Palette()
    found = []
    for graph, order in ((a, order_a), (b, order_b)):
        looks = classes(graph, palette)
        seen: Counter[int] = Counter()
        ranks = np.zeros(graph.size, np.int64)
        for node in order:
            ranks[node] = seen[int(looks[node])]
            seen[int(looks[node])] += 1
        found.append((looks, ranks))
    (looks_a, ranks_a), (looks_b, ranks_b) = found
    twins = np.equal(looks_a[:, None], looks_b)
    return twins, twins & np.equal(ranks_a[:, None], ranks_b)


def _names(graph: Skeleton) -> list[str]:
    return [op.name if op is not None else "" for op in graph.ops]


def names_alike(mine: Sequence[str], other: Sequence[str]) -> Scores:
    """Return how alike names are, from 0 to 1: the words and numbers in common, the rare ones counting most."""
    words = [[_words(name) for name in names] for names in (mine, other)]
    counts = Counter(word for side in words for given in side for word in given)
    if not counts:
        return np.zeros((len(mine), len(other)))
    place = {word: column for column, word in enumerate(counts)}
    weight = np.log1p(len(mine) + len(other)) - np.log(np.asarray([counts[word] for word in place], np.float64))
    weight = np.maximum(weight, 1e-3).astype(np.float32)
    tables = []
    for side in words:
        table = np.zeros((len(side), len(place)), np.float32)
        for row, given in enumerate(side):
            table[row, [place[word] for word in given]] = 1
        tables.append(table)
    common = (tables[0] * weight) @ tables[1].T
    sums = [table @ weight for table in tables]
    union = sums[0][:, None] + sums[1][None, :] - common
    return np.asarray(common / np.maximum(union, 1e-9), np.float64)


def _words(name: str) -> set[str]:
    """Return the words and numbers of a name, and each two neighbours."""
    single = re.findall(r"[a-z]+|\d+", name.lower())
    return {*single, *(f"{first} {second}" for first, second in pairwise(single))}
