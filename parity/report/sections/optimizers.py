"""Optimizers: how far apart the two frameworks' steps are by default, with equal numbers, and through the adapters."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report.findings import Row
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, folded, percent, prose, small, table


def render(record: Record) -> str:
    """Show one line per optimizer, variant and size of the gradients, and the finer figures folded below."""
    rows = record["optimizers"]
    if not rows:
        return "Zero optimizers were compared, which is no pass."
    return "\n\n".join([_intro(rows), _table(rows), folded("More figures", _more(rows))])


def _intro(rows: Sequence[Row]) -> str:
    steps = ", ".join(str(count) for count in sorted({row.get("steps", 0) for row in rows}))
    return (
        f"Both sides get the same gradients for {prose(steps)} steps, without any network. A gap is max|A - B| over the"
        " largest movement of any weight since the start, in float64. *Default*: each optimizer as it comes."
        " *Matched*: the same numbers in both stock optimizers. *Adapted*: torch through `parity.optimizers.keras_like`"
        " (or stock, where stock can say it), judged against the bound that rounding alone explains."
    )


def _table(rows: Sequence[Row]) -> str:
    lines = [
        (
            code(row.get("optimizer")), prose(row.get("variant", NONE)), prose(row.get("gradients", NONE)),
            small(row.get("default")), small(row.get("matched")), small(row.get("adapted")),
            small(row.get("adapted_bound")), verdict_word(row), prose(row.get("formula", "")),
            ", ".join(code(trap) for trap in row.get("traps") or []) or NONE,
        )
        for row in rows
    ]  # fmt: skip
    header = ("optimizer", "variant", "gradients", "default gap", "matched gap", "adapted gap", "bound", "verdict",
              "formula of the difference", "traps")  # fmt: skip
    return table(header, lines, "<<<>>>>")


def _more(rows: Sequence[Row]) -> str:
    lines = [
        (
            code(row.get("optimizer")), prose(row.get("variant", NONE)), prose(row.get("gradients", NONE)),
            *(small((row.get("first_step_gaps") or {}).get(mode)) for mode in ("default", "matched", "adapted")),
            small(row.get("reverse")), small(row.get("own_double")), small(row.get("float32")),
            percent(row.get("share_float32")),
        )
        for row in rows
    ]  # fmt: skip
    header = ("optimizer", "variant", "gradients", "first step: default", "matched", "adapted", "torch_like gap",
              "gap in Keras's own double", "float32 gap", "share of the float32 bound")  # fmt: skip
    return table(header, lines, "<<<>>>>>>>")
