"""`comparison.md` from a record alone, and the folder that holds record, report and plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from parity.report import plots
from parity.report.answer import answer
from parity.report.findings import markdown_label
from parity.report.record import (
    RECORD_NAME,
    SECTIONS,
    Record,
    encode,
    plain,
    shape_guard,
    why_not_run,
    write_bytes,
)
from parity.report.sections import (
    data,
    environment,
    formats,
    kills,
    losses,
    memory_ways,
    modes,
    onnx,
    optimizers,
    parity,
    practice,
    referee,
    reproduce,
    speed,
    step,
    study,
    training,
    trajectory,
    zoo,
)
from parity.report.sections.step import STAGES
from parity.report.text import code, prose, table

REPORT_NAME: Final = "comparison.md"
_EXITS: Final = {
    1: "some of its checks failed",
    2: "it was interrupted before all of it had run",
    3: "pytest itself failed",
    5: "no test ran",
}

# Heading, the record's section that it shows, and how. A new section is one entry here.
_BODY: Final[Sequence[tuple[str, str, Callable[[Record], str]]]] = (
    ("Parity by layer", "parity", parity.render),
    ("Training mode and evaluation mode", "parity", parity.render_modes),
    ("Saved weights and formats", "parity", formats.render),
    ("One training step, taken apart", "parity", step.render),
    ("Trajectory of 200 steps", "trajectory", trajectory.render),
    ("Training and metrics", "training", training.render),
    ("The study: does one framework learn better?", "study", study.render),
    ("Memory: loading everything or streaming", "memory_ways", memory_ways.render),
    ("Training as people do it", "practice", practice.render),
    ("Speed", "benchmarks", speed.render),
    ("ONNX cross-check", "onnx", onnx.render),
    ("Layer zoo", "zoo", zoo.render),
    ("Losses", "losses", losses.render),
    ("Optimizers", "optimizers", optimizers.render),
    ("Precision and speed modes", "modes", modes.render),
    ("Referee: Keras on torch", "referee", referee.render),
    ("Kill matrix", "kill_matrix", kills.render),
    ("Data", "data", data.render),
    ("Environment", "environment", environment.render),
)
# Fed with numbers that are drawn from a seed, whatever images the run has.
_DRAWN: Final = frozenset({"zoo", "losses", "optimizers", "modes", "referee", "kill_matrix"})
_SHOWN: Final = frozenset(section for _, section, _ in _BODY)

_VERDICT_WORDS: Final = (
    ("identical", "bit for bit the same"),
    ("rounding", "the same function; the difference is explained by float32 rounding"),
    ("precision", "the same function, but the named side computes in less precision than it says"),
    ("semantic", "two different functions: their float64 twins differ by more than rounding can explain"),
    ("not-compared", "no comparison was possible; never a pass"),
)
_STAGE_WORDS: Final = (
    ("forward", "what a layer puts out"),
    *STAGES.items(),
)
_COLUMN_WORDS: Final = (
    ("d64", "largest difference of the two float64 twins, as a fraction of the tensor's largest magnitude"),
    ("error TF, error torch", "largest float32 error of each side against the float64 twin, same fraction"),
    ("bound", "largest error that float32 rounding can cause, derived from the reduction length"),
    ("share", "worst share of that bound that was used; above 100 % is `precision`"),
    ("closer", "the side whose float32 result is nearer to the twin"),
    ("forced, propagated", "one layer alone on equal input; the whole network, errors accumulating"),
    ("as written, exact form", "a loss ported as people do it; the port that computes the very same function"),
    ("default, matched, adapted gap", "largest difference of the weights over their largest movement, in float64:"
     " stock optimizers as they come; with equal numbers; torch's through `parity.optimizers.keras_like`"),
    ("band, horizon", "how far a framework strays from itself when its weights are nudged by one ulp (unit in the last"
     " place); the first step at which the two frameworks are farther apart than either band"),
    ("error in u", "in units of the unit roundoff of the precision that a mode names"),
    ("conclusion (referee)", "whose matter a difference is: `meaning`: PyTorch's model alone is another function;"
     " `kernel`: TensorFlow alone differs; `precision`: PyTorch's float32 alone is less precise; `referee`: only"
     " Keras on torch differs"),
    ("planted at, seen at", "where a fault was put on purpose; where a check first failed"),
    ("d32", "largest difference of two float32 results, as a fraction of the tensor's largest magnitude"),
    ("n, blocks", "samples, each the mean of a few steps; fresh processes they come from (the unit of a speed claim)"),
    ("median_s, quartiles_s", "of the n step times in seconds, nothing dropped; quartiles by linear interpolation"),
    ("IQR/median", "spread of the steps; `!` above 10 %, `!!` above 25 %"),
    ("images_per_s", "images per step over the median step"),
    ("first_step_s", "the first step, with tracing, compiling and allocation; not part of the median"),
    ("peak_MiB", "highest memory of the lane's process, or on a GPU of its allocator"),
    ("share of roof", "the least time that this machine's hardware needs for a step, over the time that it took"),
    ("floor, roofline", "what no program can pass: fewest operations, data from any cache; what a very good one"
     " reaches: plain algorithms in fused kernels, data from memory"),
    ("arm", "`shared`: both frameworks from the same weights on the same batches; `own`: each with its own initialiser,"
     " epsilon and shuffling"),
    ("official, random, patient", "tested on the folder `test`; on a random part of `train`; on patients of `train` of"
     " whom no image was trained on"),
    ("balanced, ECE, Brier", "mean of sensitivity and specificity; expected calibration error over ten bins of equal"
     " width; mean squared error of the probability"),
    ("equivalence, p", "two one-sided t tests of paired seeds against the stated margin, and the larger of their p"),
    ("McNemar, DeLong", "exact test of who is right on the same images; test of two ROC areas on the same images"),
    ("copies", "memory that each further image takes, over the image once as float32; `bounded`: surely less than one"),
    ("kind", "how a lane runs: only lanes of equal kind from both frameworks meet in a claim"),
    ("A/A, detection limit", "one lane under two names; half the width of the interval of their ratio: a smaller"
     " difference is not seen here, and not claimed"),
    ("p50, p90, p99", "of single steps, in seconds: what that share of them stays below"),
    ("allocator peak, process peak", "most memory that the framework's own allocator held on the device; that the whole"
     " process held"),
)  # fmt: skip


def render(record: Mapping[str, Any]) -> str:
    """Give the Markdown report of a record; the same record gives the same text.

    Raises: RecordError when a section is not shaped as its schema says.
    """
    known: Record = plain(record)
    parts = [_head(known)]
    with shape_guard("answer"):
        parts.append(f"## Answer\n\n{answer(known)}")
    parts += [f"## {heading}\n\n{_section(known, name, show)}" for heading, name, show in _BODY]
    parts.append(f"## Sections not run\n\n{_not_run(known)}")
    with shape_guard("environment"):
        parts.append(f"## How to reproduce\n\n{reproduce.render(known)}")
    parts.append(f"## How to read this\n\n{_legend()}")
    return "\n\n".join(parts) + "\n"


def write_report(record: Mapping[str, Any], folder: str | os.PathLike[str]) -> Path:
    """Write `comparison.json`, `comparison.md` and the plots, and give the path of the report.

    Everything is rendered before anything is written, each file is replaced whole, and plots of sections
    that this record does not hold are deleted, so that the folder never shows a stale figure as fresh.

    Raises: RecordError for a misshapen record; OSError when the folder cannot be written.
    """
    target = Path(folder)
    known: Record = plain(record)
    text, saved = render(known), encode(known)
    with shape_guard("plots"):
        drawn = plots.draw(known)
    for name in plots.NAMES:
        if name not in drawn:
            (target / name).unlink(missing_ok=True)
    for name, image in drawn.items():
        write_bytes(target / name, image)
    write_bytes(target / RECORD_NAME, saved)
    report = target / REPORT_NAME
    write_bytes(report, text.encode("utf-8", "backslashreplace"))
    return report


def _head(record: Record) -> str:
    facts = [
        f"profile {code(record.get('profile'))}",
        f"run {prose(record.get('created', 'at an unrecorded time'))}",
        markdown_label(record),
    ]
    head = f"# TensorFlow and PyTorch, compared\n\n{' · '.join(facts)}"
    if record.get("exit") not in (None, 0):
        why = _EXITS.get(record["exit"], "not all of it worked")
        head += f"\n\n> **The run ended with exit status {prose(record['exit'])}**: {why}."
    failures = record.get("failures") or []
    if failures:
        head += "\n\n**Failed:**\n\n" + "\n".join(
            f"- {code(failure.get('section'))}: {prose(failure.get('what'))}" for failure in failures
        )
    if why_not_run(record, "data") is None and record["data"].get("name") == "synthetic":
        head += (
            "\n\n> Measured on **synthetic** radiographs drawn by a seeded script: the figures compare the"
            " frameworks; they say nothing about pneumonia."
        )
    return head


def _section(record: Record, name: str, show: Callable[[Record], str]) -> str:
    reason = why_not_run(record, name)
    if reason is not None:
        return f"Not run: {prose(reason)}."
    with shape_guard(name):
        shown = show(record)
    return f"Inputs: numbers drawn from a seed, no images.\n\n{shown}" if name in _DRAWN else shown


def _not_run(record: Record) -> str:
    lines = []
    for name in SECTIONS:
        reason = why_not_run(record, name)
        if reason is not None:
            lines.append(f"- {code(name)}: {prose(reason)}")
        elif name not in _SHOWN:
            lines.append(f"- {code(name)}: in {code(RECORD_NAME)}, but this version has no table for it")
    return "\n".join(lines) or "None: every section ran."


def _legend() -> str:
    words = table(("verdict", "meaning"), [(code(word), meaning) for word, meaning in _VERDICT_WORDS])
    stages = table(("stage of a training step", "meaning"), _STAGE_WORDS)
    columns = table(("column", "meaning"), _COLUMN_WORDS)
    return f"{words}\n\n{stages}\n\n{columns}\n\nA dash (–) means that there is no such figure."
