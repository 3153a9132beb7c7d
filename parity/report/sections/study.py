"""The study: the answer in one sentence, what a gap is made of, and every figure with its interval behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record
from parity.report.sections import study_gallery
from parity.report.text import NONE, code, fixed, folded, inline, integer, interval, number, prose, table

SETTLED_SEEDS: Final = 10
"""With fewer a study is preliminary, as a benchmark is with fewer blocks."""
_SETTINGS: Final = ("trainings", "optimizer", "learning_rate", "threads", "engine")
_FIGURES: Final = (
    ("accuracy", "accuracy"), ("balanced_accuracy", "balanced"), ("precision", "precision"), ("recall", "sensitivity"),
    ("specificity", "specificity"), ("f1", "F1"), ("auc", "ROC AUC"), ("pr_auc", "PR AUC"), ("brier", "Brier"),
    ("ece", "ECE"),
)  # fmt: skip
_FRAMEWORKS: Final = ("tensorflow", "torch")
_RECIPE: Final = (
    "Default recipe: the framework's own initialiser, Adam's epsilon and shuffling, the official split, prepared pixels"
    " as fractions of 1, a probability of 0.5. Changed one at a time: the split to a random part of train; initialiser,"
    " shuffling and epsilon to the other framework's; pixels to -1 to 1; resize and decode to the framework's own"
    " loader; the epoch count to {fewer} instead of {epochs}; the threshold to the one chosen on validation by Youden's"
    " index. The interaction is what all changes at once do beyond the sum of the single ones."
)


def render(record: Record) -> str:
    """Show the answer first, then the waterfall, the comparisons, the figures of every cell, and the data's facts."""
    study, label = record["study"], markdown_label(record)
    parts = [f"**{prose(study.get('answer'))}** ({label})", _settings(study)]
    parts += [_caution(study)] if _caution(study) else []
    parts += plots.references(record, "study_waterfall.png")
    if study.get("gap"):
        parts += [_gap(study, label), _recipe(study)]
    parts += [_published(study, label)] if study.get("published") else []
    parts += plots.references(record, "study_seeds.png")
    if study.get("comparisons"):
        parts.append(_comparisons(study, label))
    if study.get("means"):
        parts += [_means(study, "half", "at a probability of 0.5", label)]
        parts += [_means(study, "validation", "at the threshold chosen on validation", label)]
    for name in ("study_curves.png", "study_roc.png", "study_confusion.png"):
        parts += plots.references(record, name)
    parts += study_gallery.render(record, label)
    parts += [_facts(study, label)] if study.get("facts") else []
    parts += [_failed(study["failed"])] if study.get("failed") else []
    parts += [_runs(study["runs"])] if study.get("runs") else []
    return "\n\n".join(part for part in parts if part)


def _settings(study: Row) -> str:
    amounts = study.get("amounts") or {}
    text = (
        f"{integer(len(study.get('seeds') or []))} seeds; {integer(amounts.get('height'))} x"
        f" {integer(amounts.get('width'))} pixels; {integer(amounts.get('epochs'))} epochs; batch"
        f" {integer(amounts.get('batch'))}"
    )
    further = "; ".join(f"{key} {inline(study[key])}" for key in _SETTINGS if key in study)
    spent = number(study.get("training_s"))
    took = "" if spent is None else f"; {spent / 3600:.2f} hours of training in sum"
    return f"{text}; {further.replace('_', ' ')}{took}."


def seeds_behind(study: Row) -> int:
    """Count the seeds that the answer rests on: of those planned, the ones whose trainings all finished."""
    compared = [
        len(row["seeds"]) for row in study.get("comparisons") or [] if (row["arm"], row["split"]) == ("own", "official")
    ]
    falls = [int(fall["seeds"]) for fall in study.get("waterfalls") or []]
    return min([len(study.get("seeds") or []), *(compared or [0]), *(falls or [0])])


def _caution(study: Row) -> str:
    seeds = seeds_behind(study)
    if seeds >= SETTLED_SEEDS:
        return ""
    planned = len(study.get("seeds") or [])
    what = "A shortened study" if planned < SETTLED_SEEDS else f"A study of which {planned - seeds} seeds are not whole"
    return f"> {what}: with {seeds} seed{'s' * (seeds != 1)} its intervals are wide, and it settles nothing."


def _gap(study: Row, label: str) -> str:
    rows: dict[str, dict[str, Row]] = {}
    for row in study["gap"]:
        rows.setdefault(str(row["factor"]), {})[str(row["framework"])] = row
    ends = {fall["framework"]: fall for fall in study.get("waterfalls") or []}
    lines = [("**default recipe**", *_both(ends, lambda fall: _estimate(fall["start"])))]
    lines += [
        (prose("interaction, left over" if factor == "interaction" else factor), *_both(found, _change))
        for factor, found in rows.items()
    ]
    lines.append(("**everything changed**", *_both(ends, lambda fall: _estimate(fall["end"]))))
    header = ("change", *(f"{framework_name(name)} (95 % t interval)" for name in _FRAMEWORKS))
    seeds = " and ".join(dict.fromkeys(integer(fall["seeds"]) for fall in ends.values())) or NONE
    title = f"**How far test accuracy moves** (fraction of 1; n = {seeds} seeds, paired by seed; {label})"
    return f"{title}\n\n{table(header, lines, '<>>')}"


def _both(found: Mapping[str, Row], show: Any) -> tuple[str, ...]:
    return tuple(show(found[name]) if name in found else NONE for name in _FRAMEWORKS)


def _change(row: Row) -> str:
    change = number(row.get("change"))
    if change is None:
        return NONE
    low, high = number(row.get("low")), number(row.get("high"))
    return f"{change:+.3f}" if low is None or high is None else f"{change:+.3f} ({low:+.3f} to {high:+.3f})"


def _estimate(found: Row) -> str:
    """Write a fraction of 1 with its interval, which is cut off where no fraction lies."""
    mean, low, high = (number(found.get(key)) for key in ("mean", "low", "high"))
    if low is None or high is None:
        return fixed(mean, 3)
    return f"{fixed(mean, 3)} ({interval(max(low, 0.0), min(high, 1.0), 3)})"


def _recipe(study: Row) -> str:
    amounts = study.get("amounts") or {}
    return _RECIPE.format(fewer=integer(amounts.get("fewer_epochs")), epochs=integer(amounts.get("epochs")))


def _published(study: Row, label: str) -> str:
    lines = [
        (
            framework_name(row["framework"]), f"{row['accuracy']:g}", prose(row["split"]), fixed(row.get("mean"), 3),
            f"{fixed(row.get('lowest'), 3)} to {fixed(row.get('highest'), 3)}", "yes" if row.get("inside") else "no",
            integer(row.get("n")),
        )
        for row in study["published"]
    ]  # fmt: skip
    header = ("framework", "published", "split", "mean here", "range over seeds", "published lies inside", "seeds")
    return f"**The published accuracies among those measured** ({label})\n\n{table(header, lines, '<><>>>>')}"


def _comparisons(study: Row, label: str) -> str:
    lines = [_comparison_line(found, row) for found in study["comparisons"] for row in found["differences"]]
    header = (
        "arm", "split", "figure", "TensorFlow - PyTorch", "over patients", "equivalence", "p", "McNemar", "DeLong",
    )  # fmt: skip
    margin, alpha = study.get("margin"), study["comparisons"][0].get("significance")
    title = (
        f"**Paired by seed, and by image** (mean difference with 95 % t interval over seeds; 95 % bootstrap interval"
        f" over patients; two one-sided tests against {fixed(margin, 2)}; in how many seeds the paired test of images"
        f" rejects at {fixed(alpha, 2)}, which it does in that share of seeds without any difference; {label})"
    )
    return f"{title}\n\n{table(header, lines, '<<<>><>>>')}"


def _comparison_line(found: Row, row: Row) -> tuple[str, ...]:
    metric, seeds = row["metric"], len(found.get("seeds") or [])
    patients = next((over for over in found.get("over_patients") or [] if over["metric"] == metric), None)
    tests = {"accuracy": ("mcnemar_rejects", None), "auc": (None, "delong_rejects")}.get(metric, (None, None))
    rejected = [NONE if key is None else f"{integer(found.get(key))} of {seeds}" for key in tests]
    over = NONE if patients is None else _change({**patients, "change": patients["value"]})
    return (
        prose(found["arm"]), prose(found["split"]), prose(dict(_FIGURES).get(metric, metric)),
        _change({**row, "change": row["mean"]}), over, prose(row.get("decision")), _p(row),
        *rejected,
    )  # fmt: skip


def _p(row: Row) -> str:
    """Write the p of equivalence; of differences that do not vary there is none that means anything."""
    p, low, high = (number(row.get(key)) for key in ("p_equivalence", "low", "high"))
    if p is None or (low is not None and low == high):
        return NONE
    return "< 0.001" if p < 0.0005 else fixed(p, 3)


def _means(study: Row, threshold: str, words: str, label: str) -> str:
    cells: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in study["means"]:
        if row["threshold"] == threshold:
            cells.setdefault((row["arm"], row["split"], row["framework"]), {})[row["metric"]] = row
    if not cells:
        return ""
    shown = [(key, name) for key, name in _FIGURES if any(key in found for found in cells.values())]
    header = ("arm", "split", "framework", *(name for _, name in shown))
    lines = [
        (
            prose(arm), prose(split), framework_name(framework),
            *(fixed((found.get(key) or {}).get("mean"), 3) for key, _ in shown),
        )
        for (arm, split, framework), found in cells.items()
    ]  # fmt: skip
    title = f"**Means over seeds {words}** (fractions of 1; {label})"
    whole = [
        (
            prose(row["arm"]), prose(row["split"]), framework_name(row["framework"]), prose(row["metric"]),
            _estimate(row), integer(row.get("n")),
        )
        for row in study["means"] if row["threshold"] == threshold
    ]  # fmt: skip
    columns = ("arm", "split", "framework", "figure", "mean (95 % interval)", "n (seeds, or patients)")
    behind = folded(f"The same with their intervals, {words}", table(columns, whole, "<<<<>>"))
    return f"{title}\n\n{table(header, lines, '<<<' + '>' * len(shown))}\n\n{behind}"


def _facts(study: Row, label: str) -> str:
    lines = [
        (
            prose(found["split"]), prose(part), *(integer(count) for count in facts["counts"].values()),
            integer(facts["patients"]), _spread(facts["width"]), _spread(facts["height"]), inline(facts["modes"]),
            integer(facts["duplicate_groups"]),
        )
        for found in study["facts"] for part, facts in found["parts"].items()
    ]  # fmt: skip
    classes = list(study["facts"][0]["parts"]["train"]["counts"])
    header = ("split", "part", *classes, "patients", "width", "height", "modes", "duplicates within")
    title = f"**What the splits hold** (sizes of the stored files in pixels: least, median, most; {label})"
    warned = [f"- {prose(line)}" for found in study["facts"] for line in found.get("warnings") or []]
    between = _between(study["facts"])
    return "\n\n".join([f"{title}\n\n{table(header, lines, '<<>>>>><>')}", between, "\n".join(warned)])


def _between(facts: Sequence[Row]) -> str:
    lines = [
        (
            prose(found["split"]), prose(pair), integer(found["patients_shared"][pair]),
            integer(found["patients_shared_surely"][pair]), integer(found["images_of_shared_patients"][pair]),
            integer(found["duplicates_shared"][pair]),
            fixed(found["size_leak"]["auc_test"], 3) if pair == "train/test" else NONE,
        )
        for found in facts for pair in found["patients_shared"]
    ]  # fmt: skip
    header = (
        "split", "parts", "shared patient names", "and germ", "images of those", "shared files", "ROC AUC of file size",
    )  # fmt: skip
    return table(header, lines, "<<>>>>>")


def _spread(values: Sequence[Any]) -> str:
    numbers = [integer(value) for value in values]
    return numbers[0] if len(set(numbers)) == 1 else ", ".join(numbers)


def _failed(rows: Sequence[Row]) -> str:
    lines = [(code(row["run"]), prose(row["error"])) for row in rows]
    return f"**{len(rows)} trainings failed and are in no figure**\n\n{table(('training', 'why'), lines)}"


def _runs(rows: Sequence[Row]) -> str:
    lines = [
        (
            framework_name(row["framework"]), prose(row["arm"]), prose(row["split"]), prose(row.get("changed") or NONE),
            integer(row["seed"]), *(fixed(row.get(key), 3) for key in ("accuracy", "auc", "threshold")),
        )
        for row in rows
    ]  # fmt: skip
    header = ("framework", "arm", "split", "changed", "seed", "accuracy", "ROC AUC", "threshold")
    return folded(f"All {len(rows)} rows of the study", table(header, lines, "<<<<>>>>"))
