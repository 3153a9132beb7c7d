"""Layers whose weights both models keep as one, `self.kernels[i]`: the first is the first on both sides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from parity.pairing.match import BY_HAND, VALUE

if TYPE_CHECKING:
    from parity.pairing.copying import WeightLink

_Places = dict[int, "WeightLink"]


def in_place(links: Iterable[WeightLink]) -> tuple[list[WeightLink], list[str]]:
    """Return links in which no place of a weight stands for another place of its partner, and a note for each mended.

    Who carries such a weight over copies it whole: a port that looks it up in another order is no right one. Values
    that show an order, and a map, go before.
    """
    links = list(links)
    groups: dict[tuple[str, str], _Places] = {}
    for link in links:
        (mine, place), (other, _) = _place(link.tensorflow), _place(link.torch)
        if place is not None:
            groups.setdefault((mine, other), {})[place] = link
    moved: dict[int, WeightLink] = {}
    notes = []
    for (mine, other), places in groups.items():
        if _moves(places) and _permutes(places.keys(), _torch_places(places).values()):
            for place, link in places.items():
                moved[id(link)] = replace(link, torch=f"{other}@{place}")
            notes.append(
                f"`{mine}` and torch's `{other}` hold the weights of {len(places)} layers each, which torch takes in"
                " another order: copied place by place; if the order is meant, pair the layers with --map"
            )
    return [moved.get(id(link), link) for link in links], notes


def _moves(places: _Places) -> bool:
    return all(link.pair.how not in (BY_HAND, VALUE) for link in places.values())


def _torch_places(places: _Places) -> Mapping[int, int | None]:
    return {place: _place(link.torch)[1] for place, link in places.items()}


def _permutes(mine: Collection[int], theirs: Collection[int | None]) -> bool:
    """Return whether both are the same places in another order."""
    return list(mine) != list(theirs) and set(mine) == set(theirs) and len(set(theirs)) == len(theirs)


def _place(reference: str) -> tuple[str, int | None]:
    """Return a weight's name and the one place along its first axis that is meant, if a single one is."""
    name, _, place = reference.rpartition("@")
    return (name, int(place)) if name and place.isdigit() and "@" not in name else (reference, None)
