"""Layers of one size that read one tensor, which structure told apart wrongly: the outputs tell which is which.

Two people may multiply the same three matrices in another order, and then nothing around the layers that make them is
alike. That another pairing gives the same outputs with weights that were drawn proves it: no other one does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations

from parity.pairing import attending
from parity.pairing.copying import WeightPlan
from parity.pairing.fingerprints import same_figures
from parity.pairing.match import VALUE, Matching
from parity.pairing.skeleton import Palette, Skeleton, colours, skeleton
from parity.porting.options import AS_IS
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH, Models
from parity.porting.waking import Given, Prints

MOST = 3  # layers side by side: more could stand in too many orders
TRIES = 6  # runs of the models
_NEAR = 2  # operations behind a layer

Found = tuple[Matching, WeightPlan, Given]


def settled(models: Models, found: Found, planned: Callable[[Matching], Found]) -> Found:
    """Return what was found, or what is `planned` with layers exchanged with which alone the outputs are the same."""
    if models.options.weights == AS_IS or models.options.by_hand or _same_outputs(models, found[2].prints):
        return found
    tried = False
    for other in [one for one, _ in zip(_exchanged(models, found[0]), range(TRIES), strict=False)]:
        tried = True
        again = planned(other)
        if _same_outputs(models, again[2].prints):
            return again
    return planned(found[0]) if tried else found


def _same_outputs(models: Models, prints: Prints) -> bool:
    """Whether all outputs hold the same numbers, so far as their figures are known."""
    tensors = zip(models[TENSORFLOW].outputs, models[TORCH].outputs, strict=True)
    figures = [(prints[TWIN_TENSORFLOW].get(mine), prints[TWIN_TORCH].get(other)) for mine, other in tensors]
    return all(mine is None or other is None or same_figures(mine, other) for mine, other in figures)


def _exchanged(models: Models, matching: Matching) -> Iterator[Matching]:
    """Yield the pairs with the partners of layers side by side exchanged, in all places that look alike at once."""
    graphs = skeleton(models[TENSORFLOW]), skeleton(models[TORCH])
    nodes = graphs[0].node_of(), graphs[1].node_of()
    looks = _looks(models)
    known = attending.roles(models[TENSORFLOW]).keys()
    partners = {pair.tensorflow: pair.torch for pair in matching.pairs}
    kinds: dict[Hashable, list[list[int]]] = {}
    for (_, *look), group in _side_by_side(graphs[0], [i for i in partners if i in nodes[0] and i not in known]):
        there = [partners[index] for index in group]
        fed = {graphs[1].before[nodes[1][index]] for index in there if index in nodes[1]}
        if not 1 < len(group) <= MOST or len(fed) != 1:
            continue
        seen = [looks[0][index] for index in group]
        told = len(set(seen)) == len(group) and seen == [looks[1][index] for index in there]
        if not told and len(set(there)) == len(group):
            kinds.setdefault((*look, len(group)), []).append(group)
    for groups in kinds.values():
        for order in list(permutations(range(len(groups[0]))))[1:]:
            moved = {group[i]: partners[group[j]] for group in groups for i, j in enumerate(order)}
            pairs = [
                replace(pair, torch=moved.get(pair.tensorflow, pair.torch), how=VALUE)
                if moved.get(pair.tensorflow, pair.torch) != pair.torch else pair
                for pair in matching.pairs
            ]  # fmt: skip
            yield replace(matching, pairs=tuple(pairs), notes=(*matching.notes, _note(models, groups[0], moved)))


def _looks(models: Models) -> list[dict[int, int]]:
    """Return how what reads each operation of both sides looks, near by: where it is the same, no order is in doubt."""
    palette, found = Palette(), []
    for side in (TENSORFLOW, TORCH):
        graph = skeleton(models[side], light=True)
        colour = colours(graph, palette, (_NEAR,), False, True, fine=True)[0]
        found.append({op.index: int(colour[node]) for node, op in enumerate(graph.ops) if op is not None})
    return found


def _side_by_side(graph: Skeleton, indices: Sequence[int]) -> Iterator[tuple[tuple[Hashable, ...], list[int]]]:
    """Yield layers of one size that read one tensor, each by its index, and what they have in common."""
    places = graph.node_of()
    found: dict[tuple[Hashable, ...], list[int]] = {}
    for index in sorted(indices):
        node = places[index]
        found.setdefault((graph.before[node], graph.labels[node], graph.shapes[node]), []).append(index)
    yield from found.items()


def _note(models: Models, group: Sequence[int], partners: dict[int, int]) -> str:
    names = [{op.index: op.name for op in models[side].ops} for side in (TENSORFLOW, TORCH)]
    both = ", ".join(f"`{names[0][index]}` is torch's `{names[1][partners[index]]}`" for index in group)
    return f"{both}: told by the outputs, which are the same with this pairing alone"
