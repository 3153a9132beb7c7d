"""Layers whose places pair them crosswise to their names: right or wrong, somebody should have a look at them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from parity.model.trace import JOINTS, Op

Word = tuple[str, ...]  # of a name, or of the end of one: `blocks.0.q` and `block0_q` both are block, 0, q

_TOKENS = re.compile(r"[A-Za-z]+|\d+")


def label(reference: str, op: Op | None) -> str | None:
    """Return the name of the layer that holds a weight, or the weight's own where code reads it; None for several."""
    if JOINTS.search(reference):
        return None
    name = reference.partition("@")[0]
    return op.name if op is not None and name.startswith((f"{op.name}/", f"{op.name}.")) else name


def notes(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence about layers that would be partners of one another's by their names alone.

    Two of them, or more in a ring. Names are compared by as much of their ends as both sides have, so that each block
    of a network has its own `q` and `k`. Of many rings the first is told, and how many layers more there are.
    """
    partners = list(dict.fromkeys(pairs))
    words = [_words([one for one, _ in partners], [two for _, two in partners])]
    words.append(_words([two for _, two in partners], [one for one, _ in partners]))
    found = list(_rings(partners, words[0], words[1]))
    if not found:
        return []
    (one, two), *further = found[0]
    told = [f"`{one}` is paired with torch's `{two}`", *(f"`{mine}` with `{other}`" for mine, other in further)]
    more = sum(len(ring) for ring in found[1:])
    others = f" (and {more} more layers likewise)" if more else ""
    says = "the reverse" if len(further) == 1 else "something else"
    return [
        f"{', '.join(told[:-1])} and {told[-1]}{others}: where they stand says so, and their names say {says}; if"
        " those are right, pair them with --map"
    ]


def _rings(
    partners: Iterable[tuple[str, str]], mine: Mapping[str, Word], theirs: Mapping[str, Word]
) -> Iterator[list[tuple[str, str]]]:
    """Yield layers each of which has the name of the one before's partner, all round; a name stands for one alone."""
    step: dict[Word, set[Word]] = {}
    of: dict[Word, tuple[str, str]] = {}
    for one, two in partners:
        if one in mine and two in theirs:
            step.setdefault(mine[one], set()).add(theirs[two])
            of.setdefault(mine[one], (one, two))
    seen: set[Word] = set()
    for start in step:
        ring = [start]
        while len(step.get(ring[-1], ())) == 1 and ring[-1] not in seen:
            seen.add(ring[-1])
            ring.append(next(iter(step[ring[-1]])))
        if len(ring) > 2 and ring[-1] == start:
            yield [of[word] for word, _ in pairwise(ring)]


def _words(names: Iterable[str], others: Iterable[str]) -> dict[str, Word]:
    """Return the longest end of each name that is an end of one of the others, too."""
    known = {end for other in others for end in _ends(other)}
    ends = {name: next((end for end in _ends(name) if end in known), None) for name in names}
    return {name: end for name, end in ends.items() if end is not None}


def _ends(name: str) -> list[Word]:
    """Return the ends of a name, the longest first: numbers alone are none, and `experts.0` is `expert_0`."""
    tokens = [token.lower() for token in _TOKENS.findall(name)]
    one = [
        token[:-1] if token.isalpha() and len(token) > 1 and token.endswith("s") and behind.isdigit() else token
        for token, behind in zip(tokens, [*tokens[1:], ""], strict=True)
    ]
    return [tuple(one[start:]) for start in range(len(one)) if any(token.isalpha() for token in one[start:])]
