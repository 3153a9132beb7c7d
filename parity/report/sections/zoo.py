"""The layer zoo: one line per small network and per family of layer kinds, every kind folded below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from parity.report.findings import SINGLE_TWIN, VERDICTS, Row, rank, row_share
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, folded, integer, number, percent, prose, small, table

# The columns of verdicts, and the stages that each gathers.
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "forward": ("forward", "loss"),
    "gradients": ("input-gradient", "parameter-gradient"),
    "update and state": ("state", "update", "slot"),
    "after training": ("after-training",),
}
_FIGURES: Final = ("d64", "share", "tensors")
_ONLY_NODE: Final = "layer"  # a layer kind is examined as a network of one node, which has this name


@dataclass(frozen=True, slots=True)
class Model:
    """One examined network and its lines in the record, one per check and stage."""

    name: str
    rows: Sequence[Row]

    @property
    def family(self) -> str | None:
        """The layer kind, or None for a network of several nodes."""
        tensor = str(self.rows[0].get("tensor")).partition("<-")[0].partition("/")[0]
        return str(self.rows[0].get("kind")) if tensor == _ONLY_NODE else None

    @property
    def passed(self) -> bool:
        """Whether every comparison is identical or rounding."""
        return all(rank(row.get("verdict")) <= rank("rounding") for row in self.rows)

    @property
    def single(self) -> bool:
        """Whether a layer of it has no float64 kernel, so that its d64 is one of float32."""
        return any(map(_single, self.rows))


def models(record: Record) -> list[Model]:
    """Gather the record's lines by model, in recorded order."""
    found: dict[str, list[Row]] = {}
    for row in record["zoo"].get("rows") or []:
        found.setdefault(str(row.get("model")), []).append(row)
    return [Model(name, rows) for name, rows in found.items()]


def render(record: Record) -> str:
    """Show the totals, what failed, the networks, the families of kinds, and every kind folded."""
    found = models(record)
    if not found:
        return "Zero layers were compared, which is no pass."
    networks = [model for model in found if model.family is None]
    kinds = [model for model in found if model.family is not None]
    parts = [totals(found)]
    bad = [model for model in found if not model.passed]
    if bad:
        parts.append("**Not the same**\n\n" + "\n".join(f"- {_failure(row)}" for m in bad for row in _failing(m)))
    if networks:
        parts.append(f"**Networks**\n\n{_table('network', [(code(m.name), m.rows) for m in networks])}")
    if kinds:
        parts.append(f"**Layer kinds, by family**\n\n{_table('family', _families(kinds))}")
        summary = f"Each of the {len(kinds)} layer kinds"
        parts.append(folded(summary, _table("layer kind", [(code(m.name), m.rows) for m in kinds])))
    if any(model.single for model in found):
        parts.append("\\* For want of a float64 kernel, judged by the float32 bound.")
    return "\n\n".join(parts)


def _single(row: Row) -> bool:
    return any(str(note).startswith(SINGLE_TWIN) for note in row.get("notes") or [])


def totals(found: Sequence[Model]) -> str:
    """Say in one sentence how many models and tensors agree, or which models do not."""
    kinds = sum(model.family is not None for model in found)
    what = " and ".join(
        f"{count} {noun}{'s' * (count != 1)}"
        for count, noun in ((kinds, "layer kind"), (len(found) - kinds, "small network"))
        if count
    )
    bad = [model.name for model in found if not model.passed]
    text = f"{what}, {integer(_tensors([row for model in found for row in model.rows]))} tensors"
    text += f": **{len(bad)} not the same** ({_listed(bad)})" if bad else ", all identical or rounding"
    gap = _largest([row for model in found if not model.single for row in model.rows], "d64")
    text += f"; d64 at most {small(gap)}" if gap is not None and not bad else ""
    single = [model.name for model in found if model.single]
    return f"{text}{f' ({len(single)} judged by the float32 bound, for want of a float64 kernel)' if single else ''}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(map(code, names[:6])) + more


def _failing(model: Model) -> list[Row]:
    return [row for row in model.rows if rank(row.get("verdict")) > rank("rounding")]


def _failure(row: Row) -> str:
    notes = " ".join(prose(note) for note in row.get("notes") or [])
    d64 = f", d64 {small(row['d64'])}" if number(row.get("d64")) is not None else ""
    return (
        f"{code(row.get('model'))}, {prose(row.get('stage'))} ({prose(row.get('check'))}), worst in"
        f" {code(row.get('tensor'))}: {verdict_word(row)}{d64}. {notes}"
    ).rstrip()


def _families(kinds: Sequence[Model]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Model]] = {}
    for model in kinds:
        groups.setdefault(str(model.family), []).append(model)
    return [
        (f"{code(family)} ({len(group)})", [row for model in group for row in model.rows])
        for family, group in groups.items()
    ]


def _table(what: str, entries: Sequence[tuple[str, Sequence[Row]]]) -> str:
    used = {name: stages for name, stages in _COLUMNS.items() if any(_of(rows, stages) for _, rows in entries)}
    lines = [
        (
            name, *(_verdict(_of(rows, stages)) for stages in used.values()),
            small(_largest(rows, "d64")) + (" \\*" if any(map(_single, rows)) else ""),
            percent(max((share for row in rows if (share := row_share(row)) is not None), default=None)),
            integer(_tensors(rows)),
        )
        for name, rows in entries
    ]  # fmt: skip
    return table((what, *used, *_FIGURES), lines, "<" * (1 + len(used)) + ">>>")


def _of(rows: Sequence[Row], stages: Sequence[str]) -> list[Row]:
    return [row for row in rows if row.get("stage") in stages]


def _verdict(rows: Sequence[Row]) -> str:
    if not rows:
        return NONE
    found = VERDICTS[max(rank(row.get("verdict")) for row in rows)]
    return found if rank(found) <= rank("rounding") else f"**{found}**"


def _largest(rows: Sequence[Row], name: str) -> float | None:
    return max((value for row in rows if (value := number(row.get(name))) is not None), default=None)


def _tensors(rows: Sequence[Row]) -> int:
    return int(sum(number(row.get("tensors")) or 0 for row in rows))
