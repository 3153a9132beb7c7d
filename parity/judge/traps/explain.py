"""Which traps explain a failing forced check: the cheapest set of remedies that brings it back to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from parity.judge.traps import proposals
from parity.judge.traps.remedy import UNKNOWN, Remedy, compatible, together
from parity.judge.traps.scene import Scene
from parity.model.trace import Op

ALL = 200  # attempts
# What is tried, in order: sets of how many, of those with an id alone, and how many attempts there may be until then.
STAGES = ((1, True, 110), (2, True, 150), (1, False, 165), (2, False, 180), (3, False, ALL))
PROMISING = 14  # remedies that are combined; the rest has only its own chance
REPRODUCED = 1e-3  # how near, in relation, an operation's canonical form must come to the operation itself


@dataclass(frozen=True)
class Attempt:
    """What became of the check under some remedies: `passed` when it is back to rounding."""

    passed: bool
    d64: float
    error: str | None = None


@dataclass(frozen=True)
class Explanation:
    """The causes that were proved, none if none was; the difference before and after; the traps that were tried."""

    causes: tuple[Remedy, ...]
    before: float
    after: float | None
    ruled_out: tuple[str, ...]


Try = Callable[[Sequence[Remedy]], Attempt]


def explain(scene: Scene, attempt: Try, remedies: Sequence[Remedy] | None = None) -> Explanation:
    """Return the cheapest set of at most three remedies under which the check passes, no part of which would do.

    `attempt` is called with no remedy, or with a single one that stands for all of a set.
    """
    before = attempt(())
    if before.passed:
        return Explanation((), before.d64, before.d64, ())
    given = list(proposals(scene)) if remedies is None else list(remedies)
    search = _Search(scene, attempt, before, sorted(given, key=lambda remedy: remedy.cost))
    for size, with_id, limit in STAGES:
        found = search.sets(size, with_id, limit)
        if found is not None:
            causes, after = found
            return Explanation(causes, before.d64, after.d64, search.ruled_out(causes))
    return Explanation((), before.d64, None, search.ruled_out(()))


@dataclass
class _Search:
    scene: Scene
    attempt: Try
    unchanged: Attempt
    remedies: list[Remedy]
    count: int = 0
    results: dict[frozenset[int], Attempt] = field(default_factory=dict)
    reproduced: dict[int, bool] = field(default_factory=dict)

    @property
    def before(self) -> float:
        """The difference without any remedy."""
        return self.unchanged.d64

    def sets(self, size: int, with_id: bool, limit: int) -> tuple[tuple[Remedy, ...], Attempt] | None:
        """Return the first set of a size that passes while none of its parts does."""
        for chosen in self._ordered(size, with_id):
            if self.count >= limit:
                return None
            if frozenset(chosen) in self.results:
                continue
            if self._judge(chosen).passed and not self._part_passes(chosen):
                return tuple(self.remedies[i] for i in chosen), self._judge(chosen)
        return None

    def ruled_out(self, causes: Sequence[Remedy]) -> tuple[str, ...]:
        """Return the ids of the traps that were tried alone and are no cause."""
        tried = [self.remedies[i].trap for key in self.results if len(key) == 1 for i in key]
        claimed = {remedy.trap for remedy in causes} | {UNKNOWN}
        return tuple(trap for trap in dict.fromkeys(tried) if trap not in claimed)

    def _ordered(self, size: int, with_id: bool) -> Iterator[tuple[int, ...]]:
        meant = [i for i, remedy in enumerate(self.remedies) if not with_id or remedy.trap != UNKNOWN]
        if size == 1:
            yield from ((i,) for i in meant if self._faithful(i))
            return
        remade = {op for i in meant for op in self._edited(i, "remade")}
        usable = sorted((i for i in meant if self._faithful(i, remade)), key=self._promise)[:PROMISING]
        sets = [c for c in combinations(usable, size) if compatible([self.remedies[i] for i in c]) and self._sound(c)]
        yield from sorted(sets, key=lambda c: sum(self._promise(i) for i in c))

    def _promise(self, index: int) -> float:
        """Return the cost of a remedy, less for what it already improved alone."""
        result, cost = self.results.get(frozenset({index})), self.remedies[index].cost
        if result is None or result.error or not 0.0 < result.d64 < self.before < math.inf:
            return cost
        return cost - min(math.log10(self.before / result.d64), 2.0)

    def _part_passes(self, chosen: tuple[int, ...]) -> bool:
        return any(self._judge(part).passed for size in range(1, len(chosen)) for part in combinations(chosen, size))

    def _judge(self, chosen: tuple[int, ...]) -> Attempt:
        key = frozenset(chosen)
        if key not in self.results:
            self.count += 1
            self.results[key] = self.attempt((together([self.remedies[i] for i in chosen]),))
        return self.results[key]

    def _sound(self, chosen: tuple[int, ...]) -> bool:
        """Return whether remedies change nothing that cannot be run anew: weights that code makes are given beside."""
        remade = {op for i in chosen for op in self._edited(i, "remade")}
        return all(self._faithful(i, remade) for i in chosen)

    def _faithful(self, index: int, remade: Container[int] = ()) -> bool:
        """Return whether the canonical form of every operation that a remedy changes reproduces the operation.

        That of one that reads what code makes of its weights does not, until it is given its weights: is `remade`.
        """
        own = self._edited(index, "remade")
        edited = [op for op in self._edited(index, "changes") if op not in own and op not in remade]
        return all(self._reproduces(op) for op in edited)

    def _edited(self, index: int, key: str) -> list[int]:
        return [int(edit["op"]) for edit in self.remedies[index].edits if key in edit]

    def _reproduces(self, index: int) -> bool:
        if index not in self.reproduced:
            op = next((one for one in self.scene.torch_ops if one.index == index), None)
            self.reproduced[index] = op is not None and self._same_as_before(op)
        return self.reproduced[index]

    def _same_as_before(self, op: Op) -> bool:
        edit = {"op": op.index, "kind": op.kind, "config": dict(op.config), "weights": {}}
        self.count += 1
        result = self.attempt((Remedy("", (edit,), "", ""),))
        if not math.isfinite(self.before):  # shapes that differ leave no figure to compare
            return not math.isfinite(result.d64) and not result.passed and result.error == self.unchanged.error
        return not result.passed and abs(result.d64 - self.before) <= REPRODUCED * self.before
