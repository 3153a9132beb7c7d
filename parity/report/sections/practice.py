"""Training as people do it: where each framework's training stopped, and what was shown to be equal on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, fixed, integer, number, problems, prose, small, table

_WHAT: Final = (
    "Each framework trains by its own usual tools: Keras's `fit` on a tf.data pipeline with its callbacks; a PyTorch"
    " loop over a `DataLoader` with `torch.optim.lr_scheduler`. Both stream the same files in the same order, start"
    " from the same weights, and change each image by the same random numbers from NumPy. Dropout is drawn by each"
    " framework itself, so that the curves are not equal; one epoch without dropout shows what else is left."
)
_TRAPS: Final = (
    "**What does not mean the same as written, and how it was matched:** torch's `ReduceLROnPlateau(patience=p)` waits"
    " for p + 1 bad epochs where Keras's waits for p, and measures improvement as a fraction unless told"
    ' `threshold_mode="abs"`; torch has no early stopping; Keras\'s `.weights.h5`, and with it `BackupAndRestore`,'
    " keeps neither the seeds of dropout nor what `EarlyStopping` and `ReduceLROnPlateau` know. Here it is kept."
)


def render(record: Record) -> str:
    """Show the answer, the curves, where training stopped, and each thing that was checked with its figure."""
    section, label = record["practice"], markdown_label(record)
    parts = [_answer(section, label), *plots.references(record, "practice.png"), _WHAT]
    if section.get("runs"):
        parts.append(_runs(section, label))
    parts += [_checks(section, label), _TRAPS]
    parts += problems(section.get("problems"))
    return "\n\n".join(parts)


def _answer(section: Row, label: str) -> str:
    """Say whether seeds repeat and whether interrupted trainings go on, in each framework, in one sentence."""
    said = []
    for key, same, other in (
        ("determinism", "the same seed gives the same bits again in", "the same seed gives other numbers in"),
        (
            "resume",
            "a training that was killed goes on bit for bit in",
            "a training that was killed goes on otherwise in",
        ),
    ):
        rows: Sequence[Row] = section.get(key) or []
        good = [framework_name(row["framework"]) for row in rows if not row["differing"]]
        bad = [_named(row) for row in rows if row["differing"]]
        said += [f"{same} {' and '.join(good)}"] if good else []
        said += [f"{other} {' and '.join(bad)}"] if bad else []
    text = "; ".join(said) or "no training ended"
    return f"**{text[0].upper()}{text[1:]}.** ({label})"


def _named(row: Row) -> str:
    at = row.get("operation")
    return framework_name(row["framework"]) + (f" (first at {prose(at)})" if at else "")


def _runs(section: Row, label: str) -> str:
    plan, rows = section["plan"], []
    for run in section["runs"]:
        last = run["epochs"][-1]
        best = next((row for row in run["epochs"] if row["epoch"] == run["best_epoch"]), last)
        stopped = run.get("stopped_epoch")
        rows.append((
            framework_name(run["framework"]), integer(len(run["epochs"])),
            f"early, after epoch {integer(stopped)}" if stopped else "after the last epoch",
            integer(run["best_epoch"]), fixed(best["val_loss"], 4), fixed(last["loss"], 4),
            small(run["epochs"][0]["learning_rate"]), small(last["learning_rate"]),
        ))  # fmt: skip
    header = (
        "framework", "epochs", "stopped", "weights of epoch", "its validation loss", "last training loss",
        "first learning rate", "last learning rate",
    )  # fmt: skip
    title = (
        f"**Where training stopped** ({integer(plan['images'])} training images, {integer(plan['held_out_images'])} "
        f"held out, {'x'.join(integer(side) for side in plan['size'])}, to {integer(plan['epochs'])} epochs; {label})"
    )
    return f"{title}\n\n{table(header, rows, '<><>>>>>')}"


def _checks(section: Row, label: str) -> str:
    rows = [
        (framework_name(row["framework"]), what, result, evidence)
        for key, show in _SHOWN.items()
        for row in section.get(key) or []
        for what, result, evidence in [show(row)]
    ]
    header = ("framework", "checked", "result", "evidence")
    return f"**What was checked** ({label})\n\n{table(header, rows)}"


def _determinism(row: Row) -> tuple[str, str, str]:
    bad = row["differing"]
    result = f"**{integer(len(bad))} differ**, first at {prose(row.get('operation'))}" if bad else "identical"
    return "same seed, fresh process", result, f"{integer(row['arrays'])} arrays after {integer(row['epochs'])} epochs"


def _resume(row: Row) -> tuple[str, str, str]:
    result = f"**{integer(len(row['differing']))} differ**" if row["differing"] else "identical"
    evidence = (
        f"killed in epoch {integer(row['killed_epoch'])} at step {integer(row['killed_step'])} of"
        f" {integer(row['steps'])}, resumed after epoch {integer(row['from_epoch'])}: weights, optimizer slots, seeds"
    )
    return "resume after SIGKILL", result, evidence


def _damage(row: Row) -> tuple[str, str, str]:
    used = row.get("used_epoch")
    result = f"epoch {integer(used)} used" if row["refused"] and used else "**not refused**"
    return "checkpoint cut in half", result, "; ".join(prose(line) for line in row["refused"]) or NONE


def _augmentation(row: Row) -> tuple[str, str, str]:
    result = "within rounding" if row["within"] else f"**{integer(row['pixels_outside'])} values off**"
    if row.get("identical") is not None:
        result = "identical" if row["identical"] else result
    evidence = (
        f"{integer(row['pixels'])} values, largest error {small(row['largest_error'])}, bound up to"
        f" {small(row['largest_bound'])}, worst share {small(row['worst_share'])}; moved by {small(row['moved'])}"
    )
    return f"augmentation: {prose(row['case'])}", result, evidence


def _loss(row: Row) -> tuple[str, str, str]:
    error = abs(row["loss"] - row["exact"])
    evidence = f"error {small(error)}, rounding allows {small(row['bound'])}; the sum is divided by the images"
    if number(row.get("cross_entropy")) is not None:
        ratio = row["exact"] / row["cross_entropy"]
        evidence += (
            f", while `CrossEntropyLoss(weight)` divides by the weights: {small(row['cross_entropy'])}, which is"
            f" {ratio:.4f} times smaller (mean weight {row['mean_weight']:.4f})"
        )
    return "class weights in the loss", "within rounding" if error <= row["bound"] else "**another loss**", evidence


def _schedule(row: Row) -> tuple[str, str, str]:
    result = "the rule's" if row["within"] else f"**differs from epoch {integer(row['first'])}**"
    return f"schedule: {prose(row['schedule'])}", result, f"{integer(len(row['rates']))} epochs"


def _stopping(row: Row) -> tuple[str, str, str]:
    stop, best = row["found"]
    said = f"stops after epoch {integer(stop)}" if stop else "never stops"
    result = "the rule's" if row["found"] == row["expected"] else f"**rule: {row['expected']}**"
    what = f"early stopping, patience {integer(row['patience'])}, {prose(row['fed'])}"
    return what, result, f"{said}, keeps the weights of epoch {integer(best)}"


def _plain(row: Row) -> tuple[str, str, str]:
    return (
        "one epoch without dropout",
        f"validation loss {fixed(row['val_loss'], 4)}",
        f"training {fixed(row['loss'], 4)}",
    )


_SHOWN: Final[dict[str, Any]] = {
    "determinism": _determinism,
    "resume": _resume,
    "damage": _damage,
    "augmentation": _augmentation,
    "losses": _loss,
    "schedules": _schedule,
    "stopping": _stopping,
    "plain": _plain,
}
