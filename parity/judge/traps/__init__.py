"""The bank of traps: for one layer that computes something else, every known way in which ports go wrong there.

A trap is one small file's entry: how it is recognised in a scene, the remedy as data, and the line that mends the port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from parity.judge.traps import activation as activation
from parity.judge.traps import along as along
from parity.judge.traps import attention as attention
from parity.judge.traps import biases as biases
from parity.judge.traps import embedding as embedding
from parity.judge.traps import geometry as geometry
from parity.judge.traps import inputs as inputs
from parity.judge.traps import joined as joined
from parity.judge.traps import kinds as kinds
from parity.judge.traps import lengths as lengths
from parity.judge.traps import made as made
from parity.judge.traps import merging as merging
from parity.judge.traps import normalisation as normalisation
from parity.judge.traps import parts as parts
from parity.judge.traps import pooling as pooling
from parity.judge.traps import recurrence as recurrence
from parity.judge.traps import reshaped as reshaped
from parity.judge.traps import resize as resize
from parity.judge.traps import rotary as rotary
from parity.judge.traps import shuffled as shuffled
from parity.judge.traps import turned as turned
from parity.judge.traps import weights as weights
from parity.judge.traps.remedy import Remedy, called
from parity.judge.traps.scene import Scene

FAMILIES = (
    geometry, pooling, resize, normalisation, lengths, activation, recurrence, attention, embedding, shuffled, reshaped,
    turned, rotary, along, inputs, merging, parts, biases, weights, joined, made, kinds,
)  # fmt: skip

TRAPS: Mapping[str, Callable[[Scene], Iterator[Remedy]]] = {
    trap: family.propose for family in FAMILIES for trap in family.IDS
}


def proposals(scene: Scene) -> Iterator[Remedy]:
    """Yield every remedy that fits what both sides say they do."""
    partners = {theirs.index: (mine.name, theirs.name) for mine, theirs in scene.pairs() if theirs is not scene.torch}
    for family in FAMILIES:
        for remedy in family.propose(scene):
            yield _named(_at_every_step(scene, remedy), partners)


def _at_every_step(scene: Scene, remedy: Remedy) -> Remedy:
    """Return a remedy for all steps of a cell that is called in a loop: each is an operation with the same weights."""
    op = scene.torch
    if op is None or not op.config.get("cell") or {edit.get("op") for edit in remedy.edits} != {op.index}:
        return remedy
    steps = [one for one in scene.torch_ops if one.kind == op.kind and dict(one.weights) == dict(op.weights)]
    edits = tuple({**edit, "op": one.index} for one in steps for edit in remedy.edits)
    keys = frozenset(key.replace(f"{op.index}:", f"{one.index}:", 1) for one in steps for key in remedy.keys)
    return replace(remedy, edits=edits, keys=keys)


def _named(remedy: Remedy, partners: Mapping[int, tuple[str, str]]) -> Remedy:
    """Return a remedy that changes another operation than the main one under that one's names."""
    changed = [int(edit["op"]) for edit in remedy.edits if "op" in edit and not edit.get("skip")]
    if remedy.named is not None or not changed or changed[0] not in partners:
        return remedy
    return called(remedy, *partners[changed[0]])
