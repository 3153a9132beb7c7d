"""What a check found, as objects and as the JSON of the contract."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parity.errors import ParityError
from parity.judge.traps.remedy import Settled
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PASSING, PRECISION, ROUNDING, SEMANTIC, Finding, overall
from parity.porting.options import write_whole

SCHEMA = 1
SAME, DIFFERENT, NOT_DECIDED = 0, 1, 2
IN_FULL = 6  # sources whose every figure is told; the others have a line each
FUSED = ":"  # what follows names a part of a layer, such as the activation of `dense:relu`


@dataclass(frozen=True)
class LayerVerdict:
    """One pair of layers (or of model outputs): its forced check, how far apart a whole run is there, and gradients."""

    tensorflow: str | None
    torch: str | None
    kind: str
    forced: Finding
    d32: float | None  # propagated, a fraction of max|twin|
    gradients: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst of its forced checks."""
        return overall([self.forced, *self.gradients])

    @property
    def passed(self) -> bool:
        """Whether all that differs is rounding."""
        return self.verdict in PASSING

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of one row."""
        return {
            "tensorflow": self.tensorflow,
            "torch": self.torch,
            "kind": self.kind,
            "verdict": self.verdict,
            "forced": {
                "d64": _number(self.forced.d64),
                "d64_bound": _number(self.forced.d64_bound),
                "error_tensorflow": _number(self.forced.error_tensorflow),
                "error_torch": _number(self.forced.error_torch),
                "bound": _number(self.forced.bound),
                "share": _number(self.forced.share),
                "verdict": self.forced.verdict,
                "note": self.forced.note,
                "shape": list(self.forced.shape),
            },
            "propagated": {"d32": _number(self.d32)},
            "gradients": [
                {
                    "tensor": f.tensor,
                    "verdict": f.verdict,
                    "d64": _number(f.d64),
                    "bound": _number(f.bound),
                    "note": f.note,
                }
                for f in self.gradients
            ],
        }


@dataclass(frozen=True)
class Source:
    """A place where the two models compute something else, and why, where a remedy proved it."""

    tensorflow: str | None
    torch: str | None
    cause: str
    evidence: str
    fix: str
    kind: str = ""
    message: str = ""
    ruled_out: tuple[str, ...] = ()
    calls: int = 1  # of one shared layer, at each of which this was found
    between: tuple[str | None, ...] = ()  # what one side does before two operations that agree, and the other does not
    moved: frozenset[tuple[int, int]] = frozenset()  # (side, operation) of what moves numbers before these
    settles: tuple[Settled, ...] = ()
    mends: str = "torch"  # whose code the fix is a line of; nobody's where it names none
    changes: frozenset[str] = frozenset()  # what its remedy changes, by operation: two that read one tell it once

    def line(self) -> str:
        """Return the source in one line."""
        return f"{names(self.tensorflow, self.torch)}: {self.cause}: {self.evidence}; fix: {self.fix}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of one source."""
        return {
            "tensorflow": self.tensorflow,
            "torch": self.torch,
            "kind": self.kind,
            "cause": self.cause,
            "evidence": self.evidence,
            "fix": self.fix,
            "ruled_out": list(self.ruled_out),
        }


@dataclass(frozen=True)
class Verdict:
    """The answer to one check; `exit` is 0 for the same function, 1 for a different one, 2 if it could not be told."""

    verdict: str
    layers: tuple[LayerVerdict, ...]
    sources: tuple[Source, ...]
    copied: int = 0
    unmatched_tensorflow: tuple[str, ...] = ()
    unmatched_torch: tuple[str, ...] = ()
    unpaired_tensorflow: tuple[str, ...] = ()
    unpaired_torch: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    why: str = ""  # one line: what decided, if it was no layer
    step: tuple[Finding, ...] = ()  # with training: the whole step
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit(self) -> int:
        """The exit status of the command."""
        if self.verdict in (IDENTICAL, ROUNDING):
            return SAME
        return DIFFERENT if self.verdict in (SEMANTIC, PRECISION) else NOT_DECIDED

    @property
    def same(self) -> bool:
        """Whether both models are one function."""
        return self.exit == SAME

    def __bool__(self) -> bool:
        return self.same

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of the contract."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "exit": self.exit,
            "why": self.why,
            "weights": {
                "copied": self.copied,
                "unmatched_tensorflow": list(self.unmatched_tensorflow),
                "unmatched_torch": list(self.unmatched_torch),
            },
            "layers": [layer.to_dict() for layer in self.layers],
            "sources": [source.to_dict() for source in self.sources],
            "unpaired": {"tensorflow": list(self.unpaired_tensorflow), "torch": list(self.unpaired_torch)},
            "ambiguous": list(self.ambiguous),
            "step": [
                {"tensor": f.tensor, "stage": f.kind, "verdict": f.verdict, "d64": _number(f.d64), "note": f.note}
                for f in self.step
            ],
            "notes": list(self.notes),
            "about": dict(self.about),
        }

    def message(self) -> str:
        """Return what to tell a person: the sources first, each with its evidence and its fix."""
        parts = [self.headline()]
        parts += [source.message for source in self.sources[:IN_FULL] if source.message]
        if len(self.sources) > IN_FULL:
            parts.append("\n".join(source.line() for source in self.sources[IN_FULL:]))
        return "\n\n".join(parts)

    def headline(self) -> str:
        """Return one line."""
        compared = sum(1 for layer in self.layers if layer.forced.verdict != NOT_COMPARED)
        if self.same:
            return f"The same function: {compared} comparisons, all {self.verdict}."
        if self.exit == NOT_DECIDED:
            return f"Could not be told: {self.why or 'not everything could be compared'}."
        if not self.sources:
            return f"Different: {self.why or self.verdict}."
        first = self.sources[0]
        more = len({(s.tensorflow, s.torch) for s in self.sources}) - 1
        others = f" ({more} more below)" if more else ""
        return f"Different functions: the first source is {names(first.tensorflow, first.torch)}{others}."


def no_verdict(error: ParityError) -> Verdict:
    """Return what there is to tell where nothing was compared."""
    return Verdict(NOT_COMPARED, (), (), why=str(error).partition("\n")[0])


def message(
    tensorflow: str | None, torch: str | None, does: str, cause: str, evidence: str, fix: str,
    findings: Sequence[Finding] = (),
) -> str:  # fmt: skip
    """Return what is told of a source: what the two do, the cause, what shows it, what to do, and some findings."""
    lines = [f"{names(tensorflow, torch)} {does}.", f"  cause: {cause}", f"  {evidence}", f"  fix: {fix}"]
    return "\n".join([*lines, *("  " + one.message().replace("\n", "\n  ") for one in findings)])


def listed(names: Sequence[str], count: int = 3) -> str:
    """Return the first of several names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(f"`{name}`" for name in names[:count]) + more


def names(tensorflow: str | None, torch: str | None) -> str:
    """Return how messages call a pair of layers."""
    if tensorflow and torch:
        return f"`{tensorflow}` / `{torch}`"
    return f"`{tensorflow}` (TensorFlow only)" if tensorflow else f"`{torch}` (PyTorch only)"


def layer_name(name: str) -> str:
    """Return the layer that an operation belongs to: `dense:relu` is a part of `dense`."""
    return name.partition(FUSED)[0]


def at_every_call(known: Sequence[Source], found: Sequence[Source]) -> list[Source]:
    """Return the sources so far with those of one more step; a shared layer that is called again has one for all calls.

    A shared layer has one name at all its calls; what the other side does there may be numbered within one layer.
    What several operations read, such as a residual and the block beside it, is told once.
    """
    sources, before = list(known), len(known)
    for source in found:
        if any(_one_place(one, source) for one in known):
            continue
        same = next((at for at in range(before) if _same_fault(sources[at], source)), None)
        if same is None:
            sources.append(source)
        else:
            sources[same] = _once_more(sources[same])
    return sources


def _one_place(first: Source, second: Source) -> bool:
    """Return whether two comparisons blame the same thing, which both of the operations compared there read."""
    if first.between and first.between == second.between:
        return True
    if first.changes and (first.cause, first.changes) == (second.cause, second.changes):
        return True
    told = [(one.cause, one.fix, one.tensorflow, one.torch) for one in (first, second)]
    return told[0] == told[1] and first.kind != second.kind


def _same_fault(first: Source, second: Source) -> bool:
    if (first.cause, first.fix, first.kind) != (second.cause, second.fix, second.kind):
        return False
    mine, theirs = (first.tensorflow, second.tensorflow), (first.torch, second.torch)
    if None in (*mine, *theirs):
        return False
    return (mine[0] == mine[1] and _one_owner(*theirs)) or (theirs[0] == theirs[1] and _one_owner(*mine))


def _one_owner(first: str | None, second: str | None) -> bool:
    """Return whether two names are one, or the same operation within one layer: `attention/softmax_1`, `_2`."""
    if first == second:
        return True
    bare = [re.fullmatch(r"(.+[/.])([^/.]+?)(_\d+)?", name or "") for name in (first, second)]
    return all(bare) and len({one.groups()[:2] for one in bare if one}) == 1


def _once_more(source: Source) -> Source:
    calls = source.calls + 1
    evidence = f"{source.evidence.removesuffix(_at_calls(source.calls))}{_at_calls(calls)}"
    return replace(source, calls=calls, evidence=evidence, message=source.message.replace(source.evidence, evidence, 1))


def _at_calls(calls: int) -> str:
    return f"; so at {calls} calls of it" if calls > 1 else ""


def decide(layers: Sequence[LayerVerdict], extra: Sequence[str] = ()) -> str:
    """Return the worst verdict of all layers and of what else was found; nothing compared is `not-compared`."""
    order = [IDENTICAL, ROUNDING, PRECISION, NOT_COMPARED, SEMANTIC]
    found = [layer.verdict for layer in layers] + list(extra)
    return max(found, key=order.index, default=NOT_COMPARED)


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    """Write JSON data whole or not at all.

    Raises
        UsageError: the place cannot be written.
    """
    write_whole(path, json.dumps(found, indent=1, allow_nan=False) + "\n")


def _number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)
