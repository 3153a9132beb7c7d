"""What differs by configuration alone: the layers of both models side by side, before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from parity.errors import UsageError
from parity.judge.traps.lint import Difference, compare, compare_optimizers, with_padding
from parity.model.trace import Trace
from parity.pairing.match import match_all, match_weighted
from parity.porting.options import CheckOptions
from parity.porting.sides import TENSORFLOW, TORCH, PlainWorkers

PLAIN = (TENSORFLOW, TORCH)


@dataclass(frozen=True)
class Lint:
    """What was compared, and what differs."""

    pairs: int
    differences: tuple[Difference, ...]
    unpaired_tensorflow: tuple[str, ...]
    unpaired_torch: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit(self) -> int:
        """0 if nothing differs, 1 if something does, 2 if nothing could be paired."""
        if not self.pairs and not self.differences:
            return UsageError.exit_status
        return 1 if self.differences else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON data."""
        return {"schema": 1, "exit": self.exit, **asdict(self)}

    def lines(self) -> list[str]:
        """Return what to print."""
        found = []
        for difference in self.differences:
            where = f"`{difference.tensorflow}` / `{difference.torch}`"
            found.append(f"{difference.trap}: {where}: {difference.what}\n    {difference.effect}")
        found += [f"note: {note}" for note in self.notes]
        for side, names in (("TensorFlow", self.unpaired_tensorflow), ("PyTorch", self.unpaired_torch)):
            if names:
                found.append(f"{side} layers without a partner: {', '.join(names)}")
        count = len(self.differences)
        found.append(f"{self.pairs} pairs of layers compared, {count} difference{'' if count == 1 else 's'}.")
        return found


def lint(tensorflow: str, torch: str, options: CheckOptions, optimizers: tuple[str, str] | None = None) -> Lint:
    """Return what two models' configurations say against each other.

    `optimizers` are written as calls, `Adam(learning_rate=1e-3)` and `Adam(lr=1e-3)`; what is left out is the default.

    Raises
        ParityError: a builder that cannot be used, or an optimizer that cannot be read.
    """
    calls = dict(zip(PLAIN, map(_call, optimizers), strict=True)) if optimizers else {}
    sources = {TENSORFLOW: tensorflow, TORCH: torch}
    with PlainWorkers(options) as workers:
        about = workers.each(lambda side: workers.call(side, "load_model", source=sources[side]))
        traces = workers.each(lambda side: Trace.from_dict(workers.call(side, "static_ops")))
        extra = compare_optimizers(*(_settings(workers, side, calls[side]) for side in PLAIN)) if calls else []
    notes = [note for side in PLAIN for note in (*about[side].get("notes", ()), *traces[side].notes)]
    if about[TORCH].get("was_training"):
        notes.append("the torch builder leaves its module in training mode: call .eval() before inference")
    weighted = match_weighted(traces[TENSORFLOW], traces[TORCH], options.by_hand)
    matching = match_all(traces[TENSORFLOW], traces[TORCH], weighted, None, None, options.by_hand)
    mine, theirs = ({op.index: op for op in with_padding(traces[side].ops)} for side in PLAIN)
    found: list[Difference] = []
    for pair in matching.pairs:
        found += compare(mine[pair.tensorflow], theirs[pair.torch])
    return Lint(
        pairs=len(matching.pairs),
        differences=(*found, *extra),
        unpaired_tensorflow=tuple(mine[index].name for index in matching.only_tensorflow),
        unpaired_torch=tuple(theirs[index].name for index in matching.only_torch),
        notes=tuple(dict.fromkeys([*notes, *matching.ambiguous, *matching.notes])),
    )


def _settings(workers: PlainWorkers, side: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's name and all its settings, as its framework fills them in."""
    given = {key: value for key, value in call.items() if key != "name"}
    found = workers.call(side, "optimizer_settings", name=call["name"], given=given)
    return {**found, "name": call["name"]}


def _call(text: str) -> dict[str, Any]:
    """Return `{"name": ..., keyword: value}` of `Name(keyword=value, ...)` or of a bare name."""
    wrong = f"an optimizer is written as a call such as Adam(lr=1e-3), not {text!r}"
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise UsageError(wrong) from None
    if isinstance(node, ast.Name):
        return {"name": node.id}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise UsageError(wrong)
    try:
        given = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except ValueError:
        raise UsageError(f"{wrong}: its values must be plain numbers") from None
    return {"name": node.func.id, **given}
