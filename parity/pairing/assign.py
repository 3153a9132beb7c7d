"""Choose the pairs of two skeletons: the best total of evidence and of neighbours that are paired with each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from parity.pairing.evidence import NO_WAY, Scores
from parity.pairing.skeleton import Skeleton

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]

_NEIGHBOURS = 1.5  # what it counts that all neighbours of two nodes are paired with each other
_FURTHER = 0.4  # a neighbour's neighbour, against a neighbour: one operation may be missing between
_ROUNDS = 5
_LEAST = 0.6  # a pair with less evidence than this is none


def assign(a: Skeleton, b: Skeleton, scores: Scores) -> Pairs:
    """Return the nodes of both sides that pair, in the order of the first."""
    reach = [[_reach(graph, down) for graph in (a, b)] for down in (False, True)]
    placed = [[_placed(graph, place) for graph in (a, b)] for place in range(_places(a, b))]
    pairs = _solve(scores)
    best, total = pairs, -np.inf
    for _ in range(_ROUNDS):
        support = _support(pairs, reach, placed)
        value = float(scores[pairs].sum() + support[pairs].sum() / 2)
        if value <= total + 1e-9:
            break
        best, total = pairs, value
        pairs = _solve(scores + support)
    return best


def _solve(scores: Scores) -> Pairs:
    """Return the assignment of the highest total, within each set of nodes that could pair at all."""
    possible = scipy.sparse.csr_array(scores > NO_WAY / 2)
    rows_of = scipy.sparse.bmat([[None, possible], [possible.T, None]])
    count, parts = scipy.sparse.csgraph.connected_components(rows_of, directed=False)
    mine, other = parts[: scores.shape[0]], parts[scores.shape[0] :]
    rows: list[NDArray[np.intp]] = []
    columns: list[NDArray[np.intp]] = []
    for part in range(count):
        here, there = np.flatnonzero(mine == part), np.flatnonzero(other == part)
        if here.size and there.size:
            chosen = linear_sum_assignment(np.maximum(scores[np.ix_(here, there)], 0.0), maximize=True)
            rows.append(here[chosen[0]])
            columns.append(there[chosen[1]])
    row = np.concatenate(rows) if rows else np.zeros(0, np.intp)
    column = np.concatenate(columns) if columns else np.zeros(0, np.intp)
    good = scores[row, column] > _LEAST
    order = np.argsort(row[good], kind="stable")
    return row[good][order], column[good][order]


def _support(
    pairs: Pairs, reach: Sequence[Sequence[scipy.sparse.csr_array]], placed: Sequence[Sequence[scipy.sparse.csr_array]]
) -> Scores:
    """Return for each two nodes what share of their neighbours is paired with each other."""
    total = sum(_agreeing(pairs, *sides) for sides in reach) / len(reach)
    for sides in placed:
        total = total + 0.3 * _agreeing(pairs, *sides)
    return np.asarray(_NEIGHBOURS * total, np.float64)


def _agreeing(pairs: Pairs, mine: scipy.sparse.csr_array, other: scipy.sparse.csr_array) -> Scores:
    common = (mine[:, pairs[0]] @ other[:, pairs[1]].T).toarray()
    sizes = [np.sqrt(np.asarray((side.multiply(side)).sum(axis=1)).reshape(-1)) for side in (mine, other)]
    return np.asarray(common / np.maximum(sizes[0][:, None] * sizes[1][None, :], 1e-9), np.float64)


def _reach(graph: Skeleton, down: bool) -> scipy.sparse.csr_array:
    near = _matrix(graph.size, [(node, source) for node in range(graph.size) for source, _ in graph.before[node]])
    near = near.T.tocsr() if down else near
    further = (near @ near).minimum(1.0)
    return (near.maximum(further * _FURTHER)).tocsr()


def _placed(graph: Skeleton, place: int) -> scipy.sparse.csr_array:
    """Return who reads whom as its argument number `place`; the other way round too, for what is read."""
    edges = [(node, source) for node in range(graph.size) for source, where in graph.before[node] if where == place]
    return _matrix(graph.size, [*edges, *((source, node) for node, source in edges)])


def _places(a: Skeleton, b: Skeleton) -> int:
    highest = max((place for graph in (a, b) for edges in graph.before for _, place in edges), default=-1)
    return min(highest + 1, 6)


def _matrix(size: int, edges: Sequence[tuple[int, int]]) -> scipy.sparse.csr_array:
    unique = list(dict.fromkeys(edges))
    rows, columns = ([edge[side] for edge in unique] for side in (0, 1))
    return scipy.sparse.csr_array((np.ones(len(unique)), (rows, columns)), shape=(size, size))
