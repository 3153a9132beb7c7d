"""The one-paragraph answer: same function? which tensors? how fast? how accurate?, each by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report.claims import speed_sentence
from parity.report.findings import (
    FORWARD,
    SAME_FUNCTION,
    STORAGE_CHECKS,
    FunctionFinding,
    Row,
    framework_name,
    markdown_label,
    place,
    row_share,
    rows_of,
    same_function,
    stage_of,
    twin_gap,
    unique,
    worst,
)
from parity.report.learning import learning_sentence
from parity.report.record import Record, shape_guard, why_not_run
from parity.report.sections import study as study_sections
from parity.report.text import code, fixed, integer, interval, number, percent, prose, small
from parity.stats import wilson_interval

_NAMED_AT_MOST: Final = 6


def answer(record: Record) -> str:
    """Answer the project's question from a record, in one Markdown paragraph.

    Every sentence with a figure names the data; no winner is named that the record does not settle.
    """
    parts = [function_sentence(record), storage_sentence(record), learning_sentence(record), speed_sentence(record)]
    parts += [metrics_sentence(record), study_sentence(record), _source_sentence(record)]
    return " ".join(part for part in parts if part)


def _source_sentence(record: Record) -> str:
    if why_not_run(record, "data") is not None or not record["data"].get("source"):
        return ""
    return f"Data: {prose(record['data']['source'])}"


def function_sentence(record: Record) -> str:
    """Say whether the two models are the same function, and where not."""
    reason = why_not_run(record, "parity")
    if reason is not None:
        return f"**Same function? Not checked:** {prose(reason)}."
    finding = same_function(record)
    if finding.same is False:
        return _different(finding, markdown_label(record))
    if finding.same is None:
        return _not_established(finding, markdown_label(record))
    return _same(finding, markdown_label(record))


def _same(finding: FunctionFinding, label: str) -> str:
    rows = finding.rows
    forward, step = (twin_gap(found) for found in _parted(rows))
    whole = any(row.get("check") != "forced" for row in rows)
    alone = "" if whole else ", layer by layer (the whole network was not compared)"
    agree = f"all {len(rows)} comparisons agree" if len(rows) > 1 else "the only comparison agrees"
    text = f"**Same function? Yes{alone}:** {agree} ({_spread_of(rows)}; {label})."
    if forward is not None or step is not None:
        first = step if forward is None else forward
        text += f" The float64 twins differ by at most {small(first)} of a tensor's scale"
        if forward is not None and step is not None:
            text += f" in the forward pass and {small(step)} in the rest of a training step"
        fullest = max(rows, key=lambda row: row_share(row) or 0.0)
        if row_share(fullest) is not None:
            text += f", and float32 uses at most {percent(row_share(fullest))} of its derived rounding bound"
            text += f" ({code(place(fullest))})"
        text += f" ({label})."
    return text + _precision_note(finding)


def _parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Part what the layers put out from the other stages of a training step, where another scale is to be expected."""
    return [row for row in rows if stage_of(row) == FORWARD], [row for row in rows if stage_of(row) != FORWARD]


def _precision_note(finding: FunctionFinding) -> str:
    if not finding.precision:
        return ""
    sides = " and ".join(unique(framework_name(row.get("side") or "one side") for row in finding.precision))
    tensors = _names(unique(map(place, finding.precision)))
    return f" But {sides} computes in less precision than it says at {tensors}."


def _different(finding: FunctionFinding, label: str) -> str:
    first = finding.semantic[0]
    text = (
        f"**Same function? No:** {len(finding.semantic)} of {len(finding.rows)} comparisons are semantic"
        f" ({label}), first {code(first.get('tensor'))} ({prose(first.get('check'))} check,"
        f" {prose(first.get('stage'))}: {_how_different(first)})."
    )
    if finding.sources:
        text += f" The forced check, which no earlier error reaches, fails at {_names(finding.sources)}:"
        text += " there the difference starts."
    else:
        text += " No forced check fails, so no layer is shown to be the source."
    if finding.downstream:
        text += f" Differing without a failed forced check: {_names(finding.downstream)}."
    if finding.not_compared:
        text += f" A further {len(finding.not_compared)} could not be compared."
    return text + _precision_note(finding)


def _how_different(row: Row) -> str:
    if number(row.get("d64")) is None:  # shapes that differ, a NaN on one side: there is no figure, but a note
        return prose(row.get("note") or "no figure is recorded").rstrip(".")
    allowed = f" where rounding explains {small(row['d64_bound'])}" if number(row.get("d64_bound")) is not None else ""
    return f"d64 {small(row['d64'])}{allowed}"


def _not_established(finding: FunctionFinding, label: str) -> str:
    if not finding.rows:
        return "**Same function? Not established:** zero comparisons were made."
    first = finding.not_compared[0]
    why = f": {prose(first['note']).rstrip('.')}" if first.get("note") else ""
    return (
        f"**Same function? Not established:** {len(finding.not_compared)} of {len(finding.rows)} comparisons"
        f" could not be made ({label}), first {code(first.get('tensor'))}{why}."
    )


def _spread_of(rows: Sequence[Row]) -> str:
    tensors = len(unique(map(place, rows)))
    weights = ", ".join(unique(row["weights"] for row in rows if row.get("weights")))
    probes = len(unique(row["probe"] for row in rows if row.get("probe")))
    parts = [f"{tensors} tensor{'s' * (tensors != 1)}"]
    parts += [f"{prose(weights)} weights"] if weights else []
    parts += [f"{probes} probe{'s' * (probes != 1)}"] if probes else []
    return ", ".join(parts)


def storage_sentence(record: Record) -> str:
    """Say which saved weights do not come back the same; nothing when all do, or none was tried."""
    bad = [row for row in rows_of(record, STORAGE_CHECKS) if row.get("verdict") not in SAME_FUNCTION]
    if not bad:
        return ""
    tensors = _names(unique(row.get("tensor") for row in bad))
    return f"Weights that do not come back the same: {tensors} ({prose(worst(bad).get('verdict'))})."


def metrics_sentence(record: Record) -> str:
    """Say how accurate both are on the test split, with intervals, and on how many images they disagree."""
    reason = why_not_run(record, "training")
    if reason is not None:
        return f"**Accuracy: not measured:** {prose(reason)}."
    training = record["training"]
    shown = [_accuracy(run) for run in training.get("runs") or [] if run.get("test")]
    if not shown:
        return "**Accuracy: not measured:** no test metrics are recorded."
    text = (
        f"**Accuracy on the test split** after {_count(training.get('epochs'), 'epoch')}, seed"
        f" {prose(training.get('seed'))} ({markdown_label(record)}): {'; '.join(shown)}."
    )
    same = training.get("same_predictions")
    if same:
        text += f" Their predictions differ on {integer(same['differing'])} of {integer(same['n'])} images"
        text += f" ({markdown_label(record)})."
    return text


def study_sentence(record: Record) -> str:
    """Give the study's own answer, called preliminary below ten seeds; nothing when no study ran."""
    if why_not_run(record, "study") is not None:
        return ""
    with shape_guard("study"):
        study = record["study"]
        said = prose(study.get("answer") or "").rstrip(".")
        if not said:
            return ""
        seeds = study_sections.seeds_behind(study)
        few = f"Preliminary, {_count(seeds, 'seed')}:" if seeds < study_sections.SETTLED_SEEDS else ""
        return f"**{' '.join(('Does one learn better?', few)).rstrip()}** {said} ({_study_label(record)})."


def _study_label(record: Record) -> str:
    study = record["study"]
    amounts, failed = study.get("amounts") or {}, len(study.get("failed") or [])
    parts = [f"{integer(amounts['height'])} x {integer(amounts['width'])} pixels"] if "height" in amounts else []
    parts += [_count(amounts["epochs"], "epoch")] if "epochs" in amounts else []
    parts += [f"{_count(failed, 'training')} failed"] if failed else []
    return "; ".join([", ".join(parts), markdown_label(record)] if parts else [markdown_label(record)])


def _accuracy(run: Row) -> str:
    test = run["test"]
    low, high = accuracy_interval(test)
    return (
        f"{framework_name(run['framework'])} {fixed(test.get('accuracy'), 3)}"
        f" ({interval(low, high, 3)}, n = {integer(test.get('n'))})"
    )


def accuracy_interval(test: Row) -> tuple[float | None, float | None]:
    """Give the recorded interval of an accuracy, else the Wilson interval of its count."""
    low, high = number(test.get("accuracy_low")), number(test.get("accuracy_high"))
    accuracy, n = number(test.get("accuracy")), number(test.get("n"))
    if low is not None and high is not None:
        return low, high
    return (None, None) if accuracy is None or not n else wilson_interval(round(accuracy * n), int(n))


def _count(value: Any, noun: str) -> str:
    return f"{integer(value)} {noun}{'s' * (number(value) != 1)}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(code(name) for name in names[:_NAMED_AT_MOST])
    more = len(names) - _NAMED_AT_MOST
    return f"{shown} and {more} more" if more > 0 else shown
