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
_LEAKS: Final = ("size_leak", "shape_leak")
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
    seeds, lost = seeds_behind(study), len(study.get("failed") or [])
    if seeds >= SETTLED_SEEDS:
        if not lost:
            return ""
        return (
            f"> {lost} of {integer(study.get('trainings'))} trainings failed and are in no figure: those that are left"
            " may be the ones that went well."
        )
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
    if low is None or high is None:
        return f"{change:+.3f}"
    return f"{change:+.3f} in each seed" if low == high else f"{change:+.3f} ({low:+.3f} to {high:+.3f})"


def _estimate(found: Row) -> str:
    """Write a fraction of 1 with its interval, which is cut off where no fraction lies."""
    mean, low, high = (number(found.get(key)) for key in ("mean", "low", "high"))
    if low is None or high is None:
        return fixed(mean, 3)
    if low == high:  # figures that do not vary know nothing of how they might
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
            fixed(row.get("larger_class"), 3), integer(row.get("n")),
        )
        for row in study["published"]
    ]  # fmt: skip
    header = (
        "framework", "published", "split", "mean here", "range over seeds", "published lies inside",
        "always the larger class", "seeds",
    )  # fmt: skip
    return f"**The published accuracies among those measured** ({label})\n\n{table(header, lines, '<><>>>>>')}"


def _comparisons(study: Row, label: str) -> str:
    lines = [_comparison_line(found, row) for found in study["comparisons"] for row in found["differences"]]
    header = (
        "arm", "split", "figure", "TensorFlow - PyTorch", "over patients", "equivalence", "p", "test of images rejects",
        "and between two seeds of one framework",
    )  # fmt: skip
    margin, alpha = study.get("margin"), study["comparisons"][0].get("significance")
    title = (
        f"**Paired by seed, and by image** (mean difference with 95 % t interval over seeds; 95 % bootstrap interval"
        f" over patients; two one-sided tests of accuracies against {fixed(margin, 2)}; in how many seeds the paired"
        f" test of images, McNemar's of accuracies and DeLong's of areas, rejects at {fixed(alpha, 2)}: it compares two"
        " trained models, not two frameworks, so that two seeds of one framework are its yardstick, and it takes films"
        f" of one patient for independent; {label})"
    )
    return f"{title}\n\n{table(header, lines, '<<<>><>>>')}"


def _comparison_line(found: Row, row: Row) -> tuple[str, ...]:
    metric, seeds = row["metric"], len(found.get("seeds") or [])
    patients = next((over for over in found.get("over_patients") or [] if over["metric"] == metric), None)
    test = {"accuracy": "mcnemar", "auc": "delong"}.get(metric, "")
    done = len(found.get(test) or []) or seeds
    between = found.get("between_seeds") or {}
    rejected = (
        f"{integer(found.get(f'{test}_rejects'))} of {done}" if test else NONE,
        f"{integer(between.get(f'{test}_rejects'))} of {integer(between.get('pairs'))}" if test and between else NONE,
    )
    over = NONE if patients is None else _change({**patients, "change": patients["value"]})
    return (
        prose(found["arm"]), prose(found["split"]), prose(dict(_FIGURES).get(metric, metric)),
        _change({**row, "change": row["mean"]}), over, prose(row.get("decision") or NONE), _p(row),
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
            *(_mean(found.get(key) or {}) for key, _ in shown),
        )
        for (arm, split, framework), found in cells.items()
    ]  # fmt: skip
    title = f"**Means over seeds {words}** (fractions of 1, for these test images: seeds do not vary them; {label})"
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


def _mean(row: Row) -> str:
    """Write a mean, and of how many seeds where some lack the figure: precision, where nothing is called positive."""
    undefined = number(row.get("undefined"))
    return fixed(row.get("mean"), 3) + (f" (n = {integer(row.get('n'))})" if undefined else "")


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
            *(fixed(found[leak]["auc_test"], 3) if pair == "train/test" and leak in found else NONE for leak in _LEAKS),
        )
        for found in facts for pair in found["patients_shared"]
    ]  # fmt: skip
    header = (
        "split", "parts", "shared patient names", "and germ", "images of those", "shared files", "ROC AUC of file size",
        "of its width / height",
    )  # fmt: skip
    seed = next((found.get("seed") for found in facts if found.get("seed") is not None), None)
    drawn = (
        "" if seed is None else f"\n\nRandom splits are shown as seed {integer(seed)} draws them. {_over_seeds(facts)}"
    )
    return table(header, lines, "<<>>>>>>") + drawn.rstrip()


def _over_seeds(facts: Sequence[Row]) -> str:
    """Say how far the other seeds' splits differ in what train and test share."""
    said = []
    for found in facts:
        ranges = found.get("over_seeds") or {}
        files, images = ranges.get("duplicates_shared"), ranges.get("images_of_shared_patients")
        if files and images and found["split"] != "official":
            said.append(
                f"{prose(found['split'])}: {integer(files[0])} to {integer(files[1])} shared files and"
                f" {integer(images[0])} to {integer(images[1])} images of shared patients"
            )
    return f"Between train and test over all seeds: {'; '.join(said)}." if said else ""


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
