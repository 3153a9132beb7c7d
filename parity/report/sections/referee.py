"""The referee: Keras on its torch backend beside both frameworks, and whose matter each difference is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from parity.report.findings import VERDICTS, Row, rank, unique
from parity.report.record import Record
from parity.report.sections.parity import grouped, verdict_word
from parity.report.text import NONE, code, folded, inline, integer, number, prose, small, table

_SAME: Final = "same"
# How the record names the three pairs, and what they are.
_PAIRS: Final = {
    "tensorflow": "TensorFlow, referee",
    "torch": "PyTorch, referee",
    "between": "TensorFlow, PyTorch",
}


def render(record: Record) -> str:
    """Show the totals, what differs and whose matter it is, a line per model, and every tensor folded."""
    found = record["referee"]
    rows: Sequence[Row] = found.get("rows") or []
    note = prose(found.get("note") or "")
    if not rows:
        return f"Zero comparisons were made, which is no pass. {note}".rstrip()
    apart = [row for row in rows if row.get("conclusion") != _SAME]
    verdict = f"**in {len(apart)} not the same**" if apart else "in all of them the three agree"
    parts = [f"{integer(len(rows))} tensors of {len(grouped(rows, ('model',)))} models: {verdict}. {note}".rstrip()]
    parts += [f"**Where the three differ**\n\n{_tensors(apart)}"] if apart else []
    parts.append(f"**By model**\n\n{_models(rows)}")
    return "\n\n".join([*parts, folded(f"All {len(rows)} tensors", _tensors([*apart, *_others(rows)]))])


def _others(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.get("conclusion") == _SAME]


def _models(rows: Sequence[Row]) -> str:
    lines = []
    for group in grouped(rows, ("model",)):
        words = unique(row.get("conclusion") or "undecided" for row in group)
        lines.append(
            (
                code(group[0].get("model")), *(_worst(group, pair) for pair in _PAIRS), _largest(group),
                integer(len(group)), ", ".join(prose(w) if w == _SAME else f"**{prose(w)}**" for w in words),
            )
        )  # fmt: skip
    return table(("model", *_PAIRS.values(), "largest d64", "tensors", "conclusion"), lines, "<<<<>><")


def _worst(rows: Sequence[Row], pair: str) -> str:
    return verdict_word({"verdict": VERDICTS[max(rank(row.get(f"verdict_{pair}")) for row in rows)]})


def _largest(rows: Sequence[Row]) -> str:
    found = [number(row.get(f"d64_{pair}")) for row in rows for pair in _PAIRS]
    return small(max((value for value in found if value is not None), default=None))


def _tensors(rows: Sequence[Row]) -> str:
    lines = [
        (
            code(row.get("model")), code(row.get("tensor")), prose(row.get("stage")), _mode(row),
            *(f"{_worst([row], pair)} {small(row.get(f'd64_{pair}'))}" for pair in _PAIRS),
            inline(row.get("conclusion")) if row.get("conclusion") == _SAME else f"**{inline(row.get('conclusion'))}**",
        )
        for row in rows
    ]  # fmt: skip
    pairs = (f"{words}: verdict, d64" for words in _PAIRS.values())
    return table(("model", "tensor", "stage", "mode", *pairs, "conclusion"), lines)


def _mode(row: Row) -> str:
    training = row.get("training")
    return NONE if training is None else "training" if training else "evaluation"
