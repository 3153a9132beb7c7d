"""A remedy as data: what to change in torch's twin so that a trap is undone, and the porter's line that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.model.layout import Array
from parity.model.trace import Op

Edit = Mapping[str, Any]
# Both frameworks' tensors, and once a fault is mended, the name of their relation or the order of a sample's elements.
Settled = tuple[int, int, str | Array]
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Remedy:
    """One change that would undo one trap.

    `edits` are those of the torch adapter's `run_segment`; those that replace an operation also hold, under `changes`,
    what they change of its configuration, so that several can be made one. `feed` replaces fed tensors,
    `permute_output` reorders the last axis of what comes out, and `expects` is what that must be, if not the scene's.
    `says` follows "d64 falls to 2e-16" in a report and `fix` is the line in the porter's code. Remedies that share one
    of `keys` exclude one another.
    """

    trap: str
    edits: tuple[Edit, ...]
    says: str
    fix: str
    cost: float = 1.0
    keys: frozenset[str] = frozenset()
    feed: Mapping[int, Array] = field(default_factory=dict)
    permute_output: Array | None = None
    expects: Array | None = None  # what must come out, where the remedy gives it another shape
    named: tuple[str | None, str | None] | None = None  # TensorFlow's and torch's layer, where not the scene's own
    settles: tuple[Settled, ...] = ()
    in_keras: Callable[[Any], str | None] | None = None  # of a scene: the line in Keras's code, where edits do not tell


def change(
    op: Op,
    trap: str,
    says: str,
    fix: str,
    config: Mapping[str, Any] | None = None,
    weights: Mapping[str, Array] | None = None,
    cost: float = 1.0,
) -> Remedy:
    """Return the remedy that changes some of an operation's configuration or weights."""
    given, held = dict(config or {}), dict(weights or {})
    edit = {"op": op.index, "kind": op.kind, "config": {**op.config, **given}, "weights": held, "changes": given}
    keys = {f"{op.index}:{key}" for key in given} | {f"{op.index}:weight:{role}" for role in held}
    return Remedy(trap, (edit,), says, fix, cost, frozenset(keys))


def replace(
    op: Op,
    trap: str,
    says: str,
    fix: str,
    kind: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Array] | None = None,
    cost: float = 1.0,
) -> Remedy:
    """Return the remedy that puts an operation of another kind in the place of one."""
    edit = {"op": op.index, "kind": kind, "config": dict(config), "weights": dict(weights or {})}
    return Remedy(trap, (edit,), says, fix, cost, frozenset({f"{op.index}:*"}))


def remake(
    op: Op, trap: str, says: str, fix: str, weights: Mapping[str, Array], cost: float = 1.0
) -> Remedy:  # fmt: skip
    """Return the remedy that gives an operation weights in the place of those that the model's code makes of others.

    What the code makes is no longer read; until then, no other change of the operation can be tried.
    """
    one = change(op, trap, says, fix, weights=weights, cost=cost)
    edits = tuple({**edit, "inputs": list(op.inputs[:1]), "remade": True} for edit in one.edits)
    return dataclasses.replace(one, edits=edits)


def skip(op: Op, trap: str, says: str, fix: str, cost: float = 1.0) -> Remedy:
    """Return the remedy that leaves an operation out."""
    return Remedy(trap, ({"op": op.index, "skip": True},), says, fix, cost, frozenset({f"{op.index}:*"}))


def insert(
    tensor: int,
    trap: str,
    says: str,
    fix: str,
    kind: str,
    config: Mapping[str, Any],
    cost: float = 1.0,
    order: int = 0,
    weights: Mapping[str, Array] | None = None,
) -> Remedy:
    """Return the remedy that passes a tensor through one more operation; of several at one place, by `order`."""
    edit = {"insert": tensor, "kind": kind, "config": dict(config), "weights": dict(weights or {}), "order": order}
    return Remedy(trap, (edit,), says, fix, cost, frozenset({f"insert:{tensor}:{kind}:{order}"}))


def called(remedy: Remedy, tensorflow: str | None, torch: str | None) -> Remedy:
    """Return a remedy that is reported under these names rather than those of the main operations."""
    return dataclasses.replace(remedy, named=(tensorflow, torch))


def compatible(remedies: Iterable[Remedy]) -> bool:
    """Return whether remedies touch different things; `5:*` touches all of operation 5."""
    seen: set[str] = set()
    for remedy in remedies:
        for key in remedy.keys:
            owner = key.partition(":")[0]
            whole = key.endswith(":*")
            if key in seen or f"{owner}:*" in seen or (whole and any(s.partition(":")[0] == owner for s in seen)):
                return False
        seen |= remedy.keys
    return True


def together(remedies: Sequence[Remedy], told_as: Remedy | None = None) -> Remedy:
    """Return several compatible remedies as one: edits of one operation merged, inserts at one place chained.

    With `told_as` the whole is told, and costs, as that one of them.
    """
    feed: dict[int, Array] = {}
    order: Array | None = None
    for remedy in remedies:
        feed.update(remedy.feed)
        if remedy.permute_output is not None:
            order = remedy.permute_output if order is None else np.asarray(order)[remedy.permute_output]
    made = Remedy(
        trap="+".join(dict.fromkeys(remedy.trap for remedy in remedies)),
        edits=merged([edit for remedy in remedies for edit in remedy.edits]),
        says=" and ".join(dict.fromkeys(remedy.says for remedy in remedies)),
        fix="; ".join(dict.fromkeys(remedy.fix for remedy in remedies)),
        cost=sum(remedy.cost for remedy in remedies),
        keys=frozenset().union(*(remedy.keys for remedy in remedies)),
        feed=feed,
        permute_output=order,
        expects=next((remedy.expects for remedy in remedies if remedy.expects is not None), None),
        settles=tuple(one for remedy in remedies for one in remedy.settles),
    )
    if told_as is None:
        return made
    return dataclasses.replace(
        made, trap=told_as.trap, says=told_as.says, fix=told_as.fix, cost=told_as.cost, named=told_as.named
    )


def merged(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Return edits as the torch adapter takes them: at most one per operation and one per place of insertion."""
    by_op: dict[int, dict[str, Any]] = {}
    by_place: dict[int, list[Edit]] = {}
    for edit in edits:
        if "insert" in edit:
            by_place.setdefault(int(edit["insert"]), []).append(edit)
            continue
        plain = {key: value for key, value in edit.items() if key not in ("changes", "whole", "remade")}
        found = by_op.setdefault(int(edit["op"]), plain)
        if "changes" in edit and "config" in found and found is not plain:
            whole = {role: w for role, w in edit.get("whole", {}).items() if role in found["weights"]}
            found["config"] = {**found["config"], **edit["changes"]}
            found["weights"] = {**found["weights"], **edit["weights"], **whole}
            found |= {"inputs": edit["inputs"]} if "inputs" in edit else {}
        elif edit.get("skip"):
            by_op[int(edit["op"])] = plain
    return (*by_op.values(), *(one for place in by_place.values() for one in _chained(place)))


def _chained(edits: Sequence[Edit]) -> list[Edit]:
    ordered = sorted(edits, key=lambda edit: int(edit.get("order", 0)))
    plain = [{key: value for key, value in edit.items() if key != "order"} for edit in ordered]
    if len(plain) == 1 or any(edit.get("weights") for edit in plain):
        return list(plain)
    steps = [{"kind": edit["kind"], "config": edit["config"]} for edit in plain]
    return [{"insert": plain[0]["insert"], "kind": "chain", "config": {"steps": steps}, "weights": {}}]


def numbers(values: Iterable[Any]) -> str:
    """Return numbers as Python writes a tuple: `(0, 1, 0, 1)`, `(3,)`."""
    return str(tuple(values))


def number(value: Any) -> str:
    """Return one number as a reader writes it: 0.001, 1e-05."""
    return f"{value:g}" if isinstance(value, float) else str(value)
