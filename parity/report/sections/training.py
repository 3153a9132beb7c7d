"""Training: settings, curves, metrics with intervals, and the epochs behind the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.report import plots
from parity.report.answer import accuracy_interval
from parity.report.card import CARD_NAME
from parity.report.findings import Row, data_label, framework_name, markdown_label
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import (
    NONE,
    code,
    fixed,
    folded,
    hypertext,
    inline,
    integer,
    interval,
    mebibytes,
    number,
    percent,
    prose,
    seconds,
    small,
    table,
)
from parity.stats import wilson_interval

_SETTINGS = (
    "epochs", "batch", "learning_rate", "optimizer", "seed", "steps_per_epoch", "train_images",
)  # fmt: skip


def render(record: Record) -> str:
    """Show the settings, the headline plot, the test metrics and every epoch."""
    training, label = record["training"], markdown_label(record)
    runs = training.get("runs") or []
    settings = "; ".join(f"{key} {inline(training[key])}" for key in _SETTINGS if key in training)
    parts = [f"{settings} ({label}).".replace("_", " ")]
    parts += plots.references(record, "loss_comparison.png")
    tested = [run for run in runs if run.get("test")]
    if tested:
        parts += [_metrics(tested, label), _confusion(tested, label), *_agreement(training, label)]
    if any(run.get("epochs") for run in runs):
        parts.append(_epochs(runs, data_label(record)))
    parts += [f"- {prose(note)}" for note in training.get("notes") or []]
    parts += [_models(training, label)] if training.get("models") else _files(runs)
    return "\n\n".join(parts)


def _models(training: Row, label: str) -> str:
    """Show every saved file, and what a process that never trained made of it."""
    lines = [
        (
            code(row["file"]), prose(row["format"]), integer(row["bytes"]), code(str(row["sha256"])[:16]),
            *_reload(row.get("reload")),
        )
        for row in training["models"]
    ]  # fmt: skip
    header = (
        "file", "format", "bytes", "SHA-256 begins", "loaded back", "largest logit difference", "decisions that differ",
        "note",
    )  # fmt: skip
    title = (
        f"**Saved models, loaded back by processes that never trained** (all images of test predicted again; {label})"
    )
    flipped = [
        f"- {code(row['file'])} decides otherwise on {inline_code(row['reload']['differing_images'])}"
        for row in training["models"]
        if (row.get("reload") or {}).get("differing_images")
    ]
    beside = f"They lie in `models/` beside this report, with {code(CARD_NAME)}."
    return "\n\n".join([f"{title}\n\n{table(header, lines, '<<><<>>')}", *flipped, beside])


def _reload(found: Row | None) -> tuple[str, str, str, str]:
    if not found:
        return "not checked", NONE, NONE, ""
    note = prose(found.get("note") or "")
    if number(found.get("bound_share")) is not None:
        note += f" At most {percent(found['bound_share'])} of the float32 bound is used"
        note += f" ({integer(found['bounded_images'])} images furthest apart)."
    if number(found.get("n")) is None:
        return verdict_word(found), NONE, NONE, note
    differing = f"{integer(found['differing'])} of {integer(found['n'])}"
    return verdict_word(found), small(found.get("largest_logit_difference")), differing, note


def _files(runs: Sequence[Row]) -> list[str]:
    """Name the files of a record that holds no more than their names."""
    files = [f"{framework_name(run['framework'])} {inline_code(run['models'])}" for run in runs if run.get("models")]
    return [f"Trained models saved: {'; '.join(files)}."] if files else []


def inline_code(names: Sequence[Any]) -> str:
    """Set several names in code style, with commas."""
    return ", ".join(code(name) for name in names)


def _metrics(runs: Sequence[Row], label: str) -> str:
    lines = [_metric_line(run) for run in runs]
    baseline = _larger_class(runs[0]["test"])
    if baseline is not None:
        lines.append(
            ("always the larger class", integer(runs[0]["test"].get("n")), NONE, fixed(baseline, 3), *[NONE] * 6)
        )
    header = (
        "framework", "n", "loss", "accuracy", "95 % interval", "precision", "recall", "specificity", "F1", "ROC AUC",
    )  # fmt: skip
    title = f"**Metrics on the test split** ({label}; one seed; 95 % Wilson intervals over images)"
    return f"{title}\n\n{table(header, lines, '<>>>>>>>>>')}"


def _metric_line(run: Row) -> tuple[str, ...]:
    test = run["test"]
    (tn, fp), (fn, tp) = _counts(test) or ((0, 0), (0, 0))
    return (
        framework_name(run["framework"]), integer(test.get("n")), fixed(test.get("loss"), 4),
        fixed(test.get("accuracy"), 3), interval(*accuracy_interval(test), 3),
        _proportion(test.get("precision"), tp, tp + fp), _proportion(test.get("recall"), tp, tp + fn),
        _proportion(None, tn, tn + fp), fixed(test.get("f1"), 3), fixed(test.get("auc"), 3),
    )  # fmt: skip


def _proportion(recorded: Any, hits: int, n: int) -> str:
    """Write a proportion with its Wilson interval; the recorded value wins over the counts."""
    if n == 0:
        return fixed(recorded, 3)
    value = hits / n if number(recorded) is None else recorded
    return f"{fixed(value, 3)} ({interval(*wilson_interval(hits, n), 3)})"


def _counts(test: Row) -> tuple[tuple[int, int], tuple[int, int]] | None:
    confusion = test.get("confusion")
    if not confusion:
        return None
    (tn, fp), (fn, tp) = confusion
    return (int(tn), int(fp)), (int(fn), int(tp))


def _larger_class(test: Row) -> float | None:
    counts = _counts(test)
    if counts is None:
        return None
    negative, positive = sum(counts[0]), sum(counts[1])
    return max(negative, positive) / (negative + positive) if negative + positive else None


def _confusion(runs: Sequence[Row], label: str) -> str:
    lines = []
    for run in runs:
        counts = _counts(run["test"])
        if counts is not None:
            lines.append((framework_name(run["framework"]), *(integer(x) for row in counts for x in row)))
    if not lines:
        return f"No confusion counts are recorded ({label})."
    header = ("framework", "true negative", "false positive", "false negative", "true positive")
    return f"**Confusion counts on the test split** ({label})\n\n{table(header, lines, '<>>>>')}"


def _agreement(training: Mapping[str, Any], label: str) -> list[str]:
    same = training.get("same_predictions")
    if not same:
        return []
    share = same["differing"] / same["n"] if same["n"] else None
    return [
        f"The two trained models predict another class on {integer(same['differing'])} of {integer(same['n'])}"
        f" test images ({percent(share)}; {label})."
    ]


def _epochs(runs: Sequence[Row], label: str) -> str:
    lines = [
        (
            integer(epoch.get("epoch")), framework_name(run["framework"]), fixed(epoch.get("loss"), 4),
            fixed(epoch.get("accuracy"), 3), fixed(epoch.get("val_loss"), 4), fixed(epoch.get("val_accuracy"), 3),
            seconds(epoch.get("seconds")), mebibytes(run.get("peak_bytes")),
        )
        for run in runs for epoch in run.get("epochs") or []
    ]  # fmt: skip
    lines.sort(key=lambda line: int(line[0].replace(",", "")) if line[0] != NONE else 0)
    header = ("epoch", "framework", "loss", "accuracy", "val loss", "val accuracy", "seconds", "peak_MiB of run")
    body = table(header, lines, "><>>>>>>") + "\n\nSeconds here are a by-product, not a benchmark: see Speed."
    return folded(f"Every epoch ({hypertext(label)})", body)
