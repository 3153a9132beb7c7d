"""Which operation of one model is which of the other: by their structure, by what they compute, or by hand.

Names are the last thing that is asked: what an operation is, what feeds it and what it feeds decide.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np

from parity.model.trace import Op, Trace
from parity.pairing import attending, biases, branches, byhand, directions, fingerprints, scales, stacked
from parity.pairing.assign import assign
from parity.pairing.calls import one_layer_each
from parity.pairing.evidence import ALIKE_NAMES, NO_WAY, Scores, evidence, names_alike
from parity.pairing.families import counts, family, is_light, main_size
from parity.pairing.fingerprints import Prints
from parity.pairing.held import as_code
from parity.pairing.mixed import layers_last, mixed
from parity.pairing.positions import between, without_crossings
from parity.pairing.skeleton import Palette, Skeleton, classes, skeleton
from parity.pairing.stacked import Group, Stacked

BY_HAND, GRAPH, ORDER, NAME, VALUE, ONLY_ONE = "map", "graph", "order", "name", "value", "only-one"

_CERTAIN = 100.0  # more than all evidence together
_EASILY_MOVED = 3.0  # an activation that a port has before a sum, not behind it, is no reason to part two sums
_AS_OFTEN = 1.0  # more than the order of two layers that are alike
# Of queries, keys and values, or of one of several branches: more than what tells apart layers that read one tensor.
_ROLE = 3.0
_SIZED = 9.0  # more than all likeness of what is around


@dataclass(frozen=True)
class OpPair:
    """Two operations (their indices) that do the same in both models, and how that was found."""

    tensorflow: int
    torch: int
    how: str


@dataclass(frozen=True)
class Matching:
    """The pairs in TensorFlow's order, the operations that have no partner, and what could not be told apart."""

    pairs: tuple[OpPair, ...]
    only_tensorflow: tuple[int, ...]
    only_torch: tuple[int, ...]
    ambiguous: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stacked: tuple[Stacked, ...] = ()  # what one side computes as one layer; none of it stands in `pairs` or `only_`


def match_weighted(tensorflow: Trace, torch: Trace, by_hand: Mapping[str, str] | None = None) -> Matching:
    """Return the pairs of operations that use weights.

    Raises
        UsageError: `by_hand` names a layer that is not there.
    """
    hand = byhand.resolve(tensorflow, torch, by_hand or {})
    tensorflow, torch = as_code(tensorflow, torch)
    ordered = layers_last(tensorflow, torch)
    first, second = skeleton(ordered[0]), skeleton(ordered[1])
    roles = attending.roles(tensorflow), attending.roles(torch)
    both = (
        stacked.Side(first, attending.all_roles(tensorflow), tensorflow.shapes),
        stacked.Side(second, attending.all_roles(torch), torch.shapes),
    )
    together = stacked.groups(*both), stacked.groups(*both[::-1])
    a, b = stacked.merged(first, together[0]), stacked.merged(second, together[1])
    whole = skeleton(ordered[0], light=True), skeleton(ordered[1], light=True)
    scores = evidence(a, b, whole)
    _attend(scores, a, b, *roles)
    for i, j, sized in branches.alike(a, b, whole, (tensorflow, torch)):
        scores[i, j] += _SIZED if sized else _ROLE
    for i, j, same_way in directions.alike(a, b, (tensorflow, torch)):
        scores[i, j] += _ROLE if same_way else -_ROLE
    _as_often(scores, (a, b), (tensorflow, torch))
    certain = _hold(scores, a, b, hand)
    chosen = {int(i): int(j) for i, j in zip(*assign(a, b, scores), strict=True)}
    chosen = _well_placed(a, b, one_layer_each(a, b, scores, chosen, certain), certain)
    weighted = {i: j for i, j in chosen.items() if _has_weights(a, i) and _has_weights(b, j)}
    weighted |= _back_in_place(a, b, chosen)
    weighted |= _left_over(a, b, weighted)
    pieces = _pieces(weighted, (first, second), together)
    unsure = _unsure(a, b, whole)
    pairs = tuple(
        OpPair(_index(a, i), _index(b, j), BY_HAND if certain.get(i) == j else _how(a, b, i, j, unsure))
        for i, j in sorted(weighted.items(), key=lambda pair: _index(a, pair[0]))
    )
    return _matching(
        pairs,
        [op for op in tensorflow.ops if op.weights],
        [op for op in torch.ops if op.weights],
        _sentences(a, b, unsure, [pair for pair in weighted.items() if pair[0] not in certain]),
        found=pieces,
    )


def _pieces(
    weighted: dict[int, int],
    graphs: tuple[Skeleton, Skeleton],
    together: tuple[Sequence[Group], Sequence[Group]],
) -> tuple[Stacked, ...]:
    """Take, in place, the pairs that stand for several operations of one side out of the others."""
    found = []
    for side, some in enumerate(together):
        for group in some:
            ways = weighted if side == 0 else {j: i for i, j in weighted.items()}
            whole = ways.get(group.nodes[0])
            if whole is None:
                continue
            del weighted[group.nodes[0] if side == 0 else whole]
            apart = tuple(_index(graphs[side], node) for node in group.nodes)
            one = (_index(graphs[1 - side], whole),)
            join = None if group.join is None else _index(graphs[side], group.join)
            found.append(Stacked(apart, one, join) if side == 0 else Stacked(one, apart, join))
    return tuple(found)


def match_all(
    tensorflow: Trace,
    torch: Trace,
    weighted: Matching,
    prints_tensorflow: Prints | None = None,
    prints_torch: Prints | None = None,
    by_hand: Mapping[str, str] | None = None,
) -> Matching:
    """Return the pairs of all operations that do more than move numbers.

    Pairs of operations with weights stay, unless their values say that others belong together. The rest pairs where
    the values are equal, and else where both stand between the same operations with weights.
    """
    hand = byhand.resolve(tensorflow, torch, by_hand or {})
    tensorflow, torch = as_code(tensorflow, torch)
    a, b = skeleton(tensorflow, light=True), skeleton(torch, light=True)
    equal = fingerprints.equal_outputs(a, b, prints_tensorflow, prints_torch)
    by_map = set(hand.pairs)
    kept, notes = _corrected(a, b, weighted, equal, by_map)
    kept += _joins(weighted.stacked)
    scores = evidence(a, b)
    _leave_out(scores, a, b, ((one.tensorflow, one.torch) for one in weighted.stacked))
    _keep_from_parts(scores, (a, b), weighted.stacked, equal)
    _of_other_sizes(scores, (a, b), (tensorflow, torch))
    for shared in biases.shared(tensorflow, torch, weighted.pairs):  # only the whole sums are the same
        additions = shared.tensorflow.additions, shared.torch.additions
        _leave_out(scores, a, b, [additions])
        kept = [pair for pair in kept if pair.tensorflow not in additions[0] and pair.torch not in additions[1]]
        kept.append(OpPair(additions[0][0], additions[1][0], GRAPH))
    for one in mixed(tensorflow, torch, weighted.pairs):
        _leave_out(scores, a, b, [one.alone])
        kept = [pair for pair in kept if pair.tensorflow not in one.alone[0] and pair.torch not in one.alone[1]]
    certain = _hold(scores, a, b, byhand.ByHand((*by_map, *((p.tensorflow, p.torch) for p in kept)), hand.groups))
    above, below = between(a, b, certain | _ends(a, b))
    fits = (above + below >= 1) & (np.minimum(above, below) > 0)
    _weigh(scores, equal, fits, above + below, certain)
    chosen = {int(i): int(j) for i, j in zip(*assign(a, b, scores), strict=True)}
    chosen = without_crossings(a, b, chosen, _strength(a, b, chosen, scores, certain))
    chosen = scales.paired_behind(a, b, _whole_functions(a, b, chosen, equal), equal)
    chosen = fingerprints.not_healed(a, chosen, equal, certain) if equal.any() else chosen
    chosen |= fingerprints.of_equal_value(a, b, chosen, equal)
    how = {(pair.tensorflow, pair.torch): pair.how for pair in kept} | dict.fromkeys(by_map, BY_HAND)
    unsure = _unsure(a, b)
    pairs = []
    for i, j in sorted(chosen.items()):
        if a.ops[i] is None or b.ops[j] is None:
            continue
        key = _index(a, i), _index(b, j)
        found = VALUE if equal[i, j] and equal[i].sum() == equal[:, j].sum() == 1 else _how(a, b, i, j, unsure)
        pairs.append(OpPair(*key, how.get(key, found)))
    return _matching(
        tuple(pairs),
        [op for op in tensorflow.ops if counts(op)],
        [op for op in torch.ops if counts(op)],
        weighted.ambiguous,
        (*weighted.notes, *notes),
        weighted.stacked,
    )


def _corrected(
    a: Skeleton, b: Skeleton, weighted: Matching, equal: fingerprints.Equal, by_map: Container[tuple[int, int]]
) -> tuple[list[OpPair], list[str]]:
    """Return the pairs with weights, exchanged where values prove that others belong together, and what was changed."""
    here, there = a.node_of(), b.node_of()
    fixed = {here[pair.tensorflow] for pair in weighted.pairs if (pair.tensorflow, pair.torch) in by_map}
    before = {here[pair.tensorflow]: there[pair.torch] for pair in weighted.pairs}
    after = fingerprints.exchanged(a, b, before, equal, fixed)
    after |= _fed_alike(a, b, after, equal, fixed)
    kept, notes = [], []
    for pair in weighted.pairs:
        i = here[pair.tensorflow]
        if i in after and after[i] == before[i]:
            kept.append(pair)
        elif i in after:
            kept.append(OpPair(pair.tensorflow, _index(b, after[i]), VALUE))
            names = _labels(a, [i]) + _labels(b, [after[i], before[i]])
            notes.append("`{}` computes what `{}` does in torch, and was paired with `{}`".format(*names))
    return kept, notes


def _fed_alike(
    a: Skeleton, b: Skeleton, pairs: Mapping[int, int], equal: fingerprints.Equal, fixed: Container[int]
) -> dict[int, int]:
    """Return pairs with partners exchanged of two calls of one layer, each fed by what feeds the other's partner.

    Behind a fault no values tell the calls of a shared tower apart; what comes before the fault does.
    """
    known = {i: j for i, j in pairs.items() if equal[i, j]} | _ends(a, b)
    above, _ = between(a, b, known)
    found = dict(pairs)
    open_ = [i for i, j in pairs.items() if i not in fixed and not equal[i, j] and above[i, j] < 1]
    for i, other in combinations(open_, 2):
        mine, theirs = a.ops[i], a.ops[other]
        if mine is None or theirs is None or dict(mine.weights) != dict(theirs.weights):
            continue
        now = above[i, found[i]] + above[other, found[other]]
        if above[i, found[other]] + above[other, found[i]] > now:
            found[i], found[other] = found[other], found[i]
    return {i: j for i, j in found.items() if pairs[i] != j}


def _joins(stacks: Iterable[Stacked]) -> list[OpPair]:
    """Return the pairs of what joins the results of several layers and of the layer that makes them at once."""
    return [
        OpPair(*((one.whole, one.join) if one.whole_side == 0 else (one.join, one.whole)), GRAPH)
        for one in stacks
        if one.join is not None
    ]


def _index(graph: Skeleton, node: int) -> int:
    op = graph.ops[node]
    assert op is not None
    return op.index


def _has_weights(graph: Skeleton, node: int) -> bool:
    op = graph.ops[node]
    return op is not None and bool(op.weights)


def _ends(a: Skeleton, b: Skeleton) -> dict[int, int]:
    """Return the inputs and outputs that both sides have."""
    there = {label: node for node, label in enumerate(b.labels) if b.ops[node] is None}
    return {n: there[label] for n, label in enumerate(a.labels) if a.ops[n] is None and label in there}


def _hold(scores: Scores, a: Skeleton, b: Skeleton, hand: byhand.ByHand) -> dict[int, int]:
    """Make sure, in place, of what was given by hand; return the nodes that must pair."""
    here, there = a.node_of(), b.node_of()
    for mine, other in hand.groups:
        inside_a = np.isin(np.arange(a.size), [here[index] for index in mine if index in here])
        inside_b = np.isin(np.arange(b.size), [there[index] for index in other if index in there])
        scores[inside_a[:, None] != inside_b[None, :]] = NO_WAY
    certain = {here[i]: there[j] for i, j in hand.pairs if i in here and j in there}
    for i, j in certain.items():
        scores[i, :] = NO_WAY
        scores[:, j] = NO_WAY
    for i, j in certain.items():
        scores[i, j] = _CERTAIN
    return certain


def _attend(scores: Scores, a: Skeleton, b: Skeleton, mine: Mapping[int, int], other: Mapping[int, int]) -> None:
    """Let, in place, what a layer makes for an attention speak: queries are no keys."""
    here, there = a.node_of(), b.node_of()
    for i, role in mine.items():
        for j, their_role in other.items():
            if i in here and j in there and a.ops[here[i]] is not None and b.ops[there[j]] is not None:
                scores[here[i], there[j]] += _ROLE if role == their_role else -_ROLE


def _as_often(scores: Scores, graphs: tuple[Skeleton, Skeleton], traces: tuple[Trace, Trace]) -> None:
    """Let, in place, speak against a pair that one side applies at more places: a state's is not a whole sequence's."""
    at = [
        {
            node: found
            for node, op in enumerate(graph.ops)
            if op is not None and op.weights and stacked.is_matrix(op)
            if (found := stacked.applied(op, main_size(graph.shapes[node]), trace.shapes)) is not None
        }
        for graph, trace in zip(graphs, traces, strict=True)
    ]
    for i, mine in at[0].items():
        for j, other in at[1].items():
            if other[1] == mine[1] and other[0] != mine[0]:
                scores[i, j] -= _AS_OFTEN


def _leave_out(scores: Scores, a: Skeleton, b: Skeleton, some: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Keep, in place, what is stacked on one side, or but a part of a sum, from pairing with anything."""
    here, there = a.node_of(), b.node_of()
    for mine, other in some:
        scores[[here[index] for index in mine], :] = NO_WAY
        scores[:, [there[index] for index in other]] = NO_WAY


def _keep_from_parts(
    scores: Scores, graphs: tuple[Skeleton, Skeleton], stacks: Iterable[Stacked], equal: fingerprints.Equal
) -> None:
    """Keep, in place, what divides one layer's result, which the other side makes apart, from what divides others.

    Such as queries, keys and values from the halves of a rotation, unless they hold the same numbers.
    """
    for one in stacks:
        graph = graphs[one.whole_side]
        readers = {reader for reader, _ in graph.after[graph.node_of()[one.whole]]}
        for node in readers:
            op = graph.ops[node]
            if op is not None and op.kind in stacked.PICKING:
                barred = ~equal[:, node] if one.whole_side == 1 else ~equal[node, :]
                scores[(barred, node) if one.whole_side == 1 else (node, barred)] = NO_WAY


def _of_other_sizes(scores: Scores, graphs: tuple[Skeleton, Skeleton], traces: tuple[Trace, Trace]) -> None:
    """Keep, in place, what scales one colour from pairing with what scales a whole picture.

    Likewise arithmetic on the halves of vectors from that on whole ones: only a stride makes other sizes of one image.
    """
    scale, merge = (
        [[_shape(trace, op) if op and family(op) == kind else None for op in graph.ops] for graph, trace in both]
        for both, kind in ((tuple(zip(graphs, traces, strict=True)), kind) for kind in ("scale", "merge"))
    )
    for i, j in ((i, j) for i, one in enumerate(scale[0]) if one is not None for j in _other_sizes(one, scale[1])):
        scores[i, j] = NO_WAY
    for i, j in ((i, j) for i, one in enumerate(merge[0]) if one is not None for j in _other_sizes(one, merge[1])):
        if not _strided((merge[0][i] or ())[1:], (merge[1][j] or ())[1:]):
            scores[i, j] = NO_WAY


def _shape(trace: Trace, op: Op) -> Sequence[int] | None:
    """Return the shape of what an operation makes, batch included; None where it is not known."""
    return trace.shapes.get(op.outputs[0]) if op.outputs else None


def _other_sizes(shape: Sequence[int], others: Sequence[Sequence[int] | None]) -> list[int]:
    return [j for j, other in enumerate(others) if other is not None and prod(other) != prod(shape)]


def _strided(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether both could be one image, or sequence, of other sizes: channels last, or torch's first."""
    if len(shape) != len(other) or len(shape) < 2:
        return False
    rest = [some for channels, some in ((other[0], other[1:]), (other[-1], other[:-1])) if channels == shape[-1]]
    return any(all(one != two for one, two in zip(shape[:-1], some, strict=True)) for some in rest)


def _well_placed(a: Skeleton, b: Skeleton, pairs: Mapping[int, int], certain: Mapping[int, int]) -> dict[int, int]:
    """Return the pairs without those that neither their weights nor their neighbours speak for."""
    above, below = between(a, b, pairs)
    ends = {i for i in pairs if a.ops[i] is None}
    found = {}
    for i, j in pairs.items():
        same_weights = a.shapes[i] == b.shapes[j] != ()
        placed = above[i, j] + below[i, j]
        recognised = same_weights and (placed > 0 or (_only_layer(a, i) and _only_layer(b, j)))
        if i in ends or certain.get(i) == j or placed >= 1 or recognised:
            found[i] = j
    return found


def _back_in_place(a: Skeleton, b: Skeleton, pairs: Mapping[int, int]) -> dict[int, int]:
    """Return pairs of layers that were left without a partner, and that stand between the same pairs as no other does.

    Where much looks alike, two of them may have been exchanged, which speaks for neither of the two.
    """
    taken = set(pairs), set(pairs.values())
    left = [
        [node for node in range(graph.size) if node not in gone and _has_weights(graph, node)]
        for graph, gone in zip((a, b), taken, strict=True)
    ]
    if not left[0] or not left[1]:
        return {}
    above, below = between(a, b, pairs)
    places = (above + below)[np.ix_(*left)]
    for row, i in enumerate(left[0]):
        for column, j in enumerate(left[1]):
            if a.shapes[i] != b.shapes[j] or not a.shapes[i] or a.labels[i] != b.labels[j]:
                places[row, column] = 0.0
    alone = (places >= 1) & ((places >= 1).sum(axis=0) == 1) & ((places >= 1).sum(axis=1) == 1)[:, None]
    return {left[0][row]: left[1][column] for row, column in np.argwhere(alone).tolist()}


def _left_over(a: Skeleton, b: Skeleton, pairs: Mapping[int, int]) -> dict[int, int]:
    """Return the pairs of layers whose kernel's shape only one layer of each side has that is left without a partner.

    Around a bias that one side adds by an operation of its own little looks alike.
    """
    left: dict[tuple[Sequence[int], ...], tuple[list[int], list[int]]] = {}
    for side, graph, taken in ((0, a, set(pairs)), (1, b, set(pairs.values()))):
        for node, op in enumerate(graph.ops):
            kernel = tuple(shape for shape in graph.shapes[node] if len(shape) > 1)
            if op is not None and op.weights and kernel and node not in taken and family(op) == "linear":
                left.setdefault(kernel, ([], []))[side].append(node)
    return {mine[0]: other[0] for mine, other in left.values() if len(mine) == len(other) == 1}


def _only_one(graph: Skeleton, node: int) -> bool:
    return graph.labels.count(graph.labels[node]) == 1


def _only_layer(graph: Skeleton, node: int) -> bool:
    """Whether no other layer looks like a node's from afar; one layer may be called at every step."""
    return _distinct(graph, [other for other, label in enumerate(graph.labels) if label == graph.labels[node]]) == 1


def _unsure(
    a: Skeleton, b: Skeleton, whole: tuple[Skeleton, Skeleton] | None = None
) -> dict[int, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return for each node of `a` that structure cannot tell from another which nodes on both sides look like it.

    Calls of one shared layer count as one: whichever of them pairs, the weights are the same.
    """
    palette = Palette()
    looks = [_looks(graph, full, palette) for graph, full in zip((a, b), whole or (a, b), strict=True)]
    groups: dict[int, tuple[list[int], list[int]]] = {}
    for side, graph in enumerate((a, b)):
        for node in range(graph.size):
            if graph.ops[node] is not None:
                groups.setdefault(looks[side][node], ([], []))[side].append(node)
    found: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for mine, other in groups.values():
        if max(_distinct(a, mine), _distinct(b, other)) > 1:
            found |= dict.fromkeys(mine, (tuple(mine), tuple(other)))
    return found


def _looks(graph: Skeleton, whole: Skeleton, palette: Palette) -> dict[int, int]:
    """Return each node's colour in the whole graph."""
    colour, there = classes(whole, palette), whole.node_of()
    return {node: int(colour[there[op.index]]) for node, op in enumerate(graph.ops) if op is not None}


def _distinct(graph: Skeleton, nodes: Iterable[int]) -> int:
    holders = [tuple(sorted(op.weights.items())) or op.index for node in nodes if (op := graph.ops[node]) is not None]
    return len(set(holders))


def _how(
    a: Skeleton, b: Skeleton, i: int, j: int, unsure: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]]
) -> str:
    if i not in unsure:
        return ONLY_ONE if _only_one(a, i) and _only_one(b, j) else GRAPH
    others = [node for node in unsure[i][1] if node != j] if j in unsure[i][1] else []
    alike = names_alike(_labels(a, [i]), _labels(b, [j, *others]))[0]
    return NAME if alike[0] > max([ALIKE_NAMES, *alike[1:]]) else ORDER


def _labels(graph: Skeleton, nodes: Iterable[int]) -> list[str]:
    return [op.name for node in nodes if (op := graph.ops[node]) is not None]


def _sentences(
    a: Skeleton,
    b: Skeleton,
    unsure: Mapping[int, tuple[tuple[int, ...], tuple[int, ...]]],
    pairs: Sequence[tuple[int, int]],
) -> tuple[str, ...]:
    found = []
    for i, _ in pairs:
        if i in unsure:
            mine, other = (
                ", ".join(f"`{name}`" for name in _labels(graph, nodes))
                for graph, nodes in zip((a, b), unsure[i], strict=True)
            )
            found.append(f"structure does not tell apart {mine} of tensorflow and {other or 'what it may be'} of torch")
    return tuple(dict.fromkeys(found))


def _matching(
    pairs: tuple[OpPair, ...],
    mine: Iterable[Op],
    other: Iterable[Op],
    ambiguous: tuple[str, ...],
    notes: tuple[str, ...] = (),
    found: tuple[Stacked, ...] = (),
) -> Matching:
    paired = {pair.tensorflow for pair in pairs}, {pair.torch for pair in pairs}
    for one in found:
        paired[0].update(one.tensorflow)
        paired[1].update(one.torch)
    return Matching(
        pairs,
        tuple(op.index for op in mine if op.index not in paired[0]),
        tuple(op.index for op in other if op.index not in paired[1]),
        ambiguous,
        notes,
        found,
    )


def _weigh(
    scores: Scores, equal: fingerprints.Equal, fits: fingerprints.Equal, placed: Scores, certain: Mapping[int, int]
) -> None:
    """Let values and places speak, in place: equal values allow any place, else the place must be right."""
    possible = scores > NO_WAY / 2
    free = np.ones(scores.shape, bool)
    free[list(certain), :] = False
    free[:, list(certain.values())] = False
    scores[free & possible] += placed[free & possible]
    unique = fingerprints.unique(equal)
    scores[free & possible & equal] += 3.0
    scores[free & possible & unique] += 10.0
    has_equal = np.asarray(equal.any(axis=1))[:, None] | np.asarray(equal.any(axis=0))[None, :]
    scores[free & possible & has_equal & ~equal] -= 1.0
    scores[free & ~fits & ~equal] = NO_WAY


def _whole_functions(a: Skeleton, b: Skeleton, pairs: Mapping[int, int], equal: fingerprints.Equal) -> dict[int, int]:
    """Return the pairs without activations that are each but a part of the same function.

    One side wrote relu6(x + 3) / 6 where the other calls hard_sigmoid: the ReLU is no partner of that, the whole is.
    """
    taken = set(pairs.values())
    found = {}
    for i, j in pairs.items():
        mine, other = a.ops[i], b.ops[j]
        differ = mine is not None and other is not None and mine.config.get("function") != other.config.get("function")
        part = differ and (_scaled_beside(a, i, pairs) or _scaled_beside(b, j, taken))
        if not part or equal[i, j] or mine is None or mine.kind != "activation":
            found[i] = j
    return found


def _scaled_beside(graph: Skeleton, node: int, paired: Container[int]) -> bool:
    """Whether an operation without a partner scales or shifts what the node reads or makes, or is gated by it."""
    beside = [other for other, _ in (*graph.before[node], *graph.after[node]) if other not in paired]
    return any(op is not None and op.kind in ("rescale", "multiply") for op in (graph.ops[other] for other in beside))


def _strength(
    a: Skeleton, b: Skeleton, pairs: Mapping[int, int], scores: Scores, certain: Mapping[int, int]
) -> dict[int, float]:
    def power(i: int, j: int) -> float:
        op = a.ops[i]
        if certain.get(i) == j or op is None or b.ops[j] is None:
            return float(np.inf)
        return float(scores[i, j]) - (_EASILY_MOVED if is_light(op) else 0.0)

    return {i: power(i, j) for i, j in pairs.items()}
