"""The one-paragraph answer: same function? which tensors? how fast? how accurate?, each by rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.findings import (
    FORWARD,
    SAME_FUNCTION,
    STORAGE_CHECKS,
    FunctionFinding,
    Lane,
    Row,
    framework_name,
    lanes,
    markdown_label,
    no_winner_reason,
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
from parity.report.record import Record, why_not_run
from parity.report.text import code, fixed, integer, interval, milliseconds, number, percent, prose, small
from parity.stats import DEFAULT_MARGIN, SETTLED_BLOCKS, wilson_interval

_NAMED_AT_MOST: Final = 6


def answer(record: Record) -> str:
    """Answer the project's question from a record, in one Markdown paragraph.

    Every sentence with a figure names the data; no winner is named that the record does not settle.
    """
    parts = [function_sentence(record), storage_sentence(record), learning_sentence(record), speed_sentence(record)]
    parts += [metrics_sentence(record), _source_sentence(record)]
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
    text = f"**Same function? Yes:** all {len(rows)} comparisons agree ({_spread_of(rows)}; {label})."
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


def speed_sentence(record: Record) -> str:
    """Say which lane is faster when that is settled, and otherwise what was measured and why no more."""
    reason = why_not_run(record, "benchmarks")
    if reason is not None:
        return f"**Speed: not measured:** {prose(reason)}."
    measured = lanes(record)
    if not measured:
        return "**Speed: not measured:** no timing sample is recorded."
    against = no_winner_reason(record)
    if against is not None:
        return f"**Speed: no winner is named**, because {prose(against)}."
    ratios = record["benchmarks"].get("ratios") or []
    label, caution = markdown_label(record), _unequal_precision(record)
    if ratios:
        return f"**Speed** ({label}): " + "; ".join(ratio_phrase(r, record) for r in ratios) + f".{caution}"
    medians = "; ".join(_medians(work, measured) for work in unique(lane.work for lane in measured))
    return f"**Speed** ({label}): {medians}. No winner is named: no ratio of paired blocks is recorded.{caution}"


def _medians(work: str, measured: Sequence[Lane]) -> str:
    lanes_of_work = [lane for lane in measured if lane.work == work]
    shown = ", ".join(f"{prose(x.lane)} {milliseconds(x.stats.median)} ({_sample(x)})" for x in lanes_of_work)
    return f"median {prose(work)} step {shown}"


def _sample(lane: Lane) -> str:
    processes = f"{lane.blocks} process{'es' * (lane.blocks != 1)}"
    return f"n = {lane.stats.n} in {processes}"


def _unequal_precision(record: Record) -> str:
    if not same_function(record).precision:
        return ""
    return " Mind that the sides compute in unequal precision, so this is not a comparison of like with like."


def settled(ratio: Mapping[str, Any], record: Record) -> bool:
    """Say whether a ratio may carry a claim: enough blocks, not marked preliminary, and decided."""
    blocks = number(ratio.get("blocks")) or 0
    preliminary = ratio.get("preliminary", blocks < SETTLED_BLOCKS) or record["benchmarks"].get("preliminary")
    return not preliminary and ratio.get("decision") in ("faster", "slower", "within margin")


def ratio_phrase(ratio: Mapping[str, Any], record: Record) -> str:
    """Put one ratio into words; `ratio` is the time of b over that of a."""
    work, a, b = (prose(ratio[key]) for key in ("work", "a", "b"))
    value, low, high = (number(ratio.get(key)) for key in ("ratio", "low", "high"))
    blocks = f"{integer(ratio.get('blocks'))} block{'s' * (ratio.get('blocks') != 1)}"
    limit = number(record["benchmarks"].get("detection_limit"))
    seen = f"; detection limit {percent(limit)}" if limit is not None else ""
    within = f"{interval(low, high, 2)}, {blocks}" if low is not None and high is not None else blocks
    if not settled(ratio, record):
        why = "undecided" if ratio.get("decision") == "undecided" else "preliminary"
        return f"{work}: {b} takes {fixed(value, 2)} times as long as {a} ({within}{seen}): {why}, no winner"
    if ratio["decision"] == "within margin":
        margin = percent(ratio.get("margin", DEFAULT_MARGIN))
        return f"{work}: {a} and {b} are equally fast within {margin} (ratio {fixed(value, 2)}, {within}{seen})"
    if ratio["decision"] == "slower":  # turn it round, so that a reader always sees a figure above 1
        a, b, value = b, a, 1 / value if value else None
        within = f"{interval(1 / high, 1 / low, 2)}, {blocks}" if low and high else blocks
    return f"**{work}: {a} is {fixed(value, 2)} times as fast as {b}** ({within}{seen})"


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
