"""Losses: is each loss of Keras, as people port it and in its exact form, the same function in torch?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from parity.judge.compare import Quartet, judge
from parity.judge.verdict import SEMANTIC, Finding
from parity.model.layout import Array
from parity.model.losses import CASES, MODES, LossCase, case_of
from parity.workers.client import Worker

WRITTEN, EXACT = "as written", "exact"
FORMS = (WRITTEN, EXACT)
Row = dict[str, Any]
Workers = Mapping[str, Worker]
"""By side, as in `parity.pair.SIDES`: `tensorflow`, `torch`, and the float64 twins `twin_tensorflow`, `twin_torch`."""


@dataclass(frozen=True)
class Plant:
    """A fault put into torch's side of a correct pair: the torch `program` runs in place of the exact one.

    `at` is the first stage that it touches, and `verdict` what the judge must say there.
    """

    trap: str
    case: str
    mode: str
    program: str
    at: str = "loss"
    verdict: str = SEMANTIC


_AFTER_SIGMOID, _LOGITS = "binary cross-entropy after sigmoid", "binary cross-entropy, logits"
_SPARSE, _CATEGORICAL = "sparse categorical cross-entropy", "categorical cross-entropy"
PLANTS = (
    Plant("bce-clipping", f"{_AFTER_SIGMOID}: tf.sigmoid of 30 and 100", "eager", "Sigmoid + BCELoss"),
    Plant("bce-clipping", "binary cross-entropy: probabilities 0 and 1", "tf.function", "BCELoss"),
    Plant(
        "bce-logits-recovered", f"{_AFTER_SIGMOID}: tf.sigmoid of 30 and 100", "tf.function",
        "clipped binary of sigmoid",
    ),
    Plant(
        "bce-logits-recovered", f"{_AFTER_SIGMOID}: Dense(sigmoid) of 30 and 100", "eager", "clipped binary of sigmoid"
    ),
    Plant("crossentropy-input", f"{_SPARSE}: logits", "eager", "planted: softmax before the loss"),
    Plant("crossentropy-input", f"{_CATEGORICAL}: log of probabilities", "eager", "NLLLoss of log", at="gradient"),
    Plant("class-weight-normaliser", f"{_SPARSE}: class weights", "eager", "CrossEntropyLoss weight"),
    Plant("label-smoothing-binary", f"{_LOGITS}: label smoothing, logits of 30 and 100", "eager", "BCEWithLogitsLoss"),
    Plant("kldiv-reduction", "KL divergence: batchmean", "eager", "KLDivLoss"),
    Plant("poisson-form", "Poisson: rates, eps 1e-7", "eager", "PoissonNLLLoss"),
    Plant("poisson-form", "Poisson: rates, eps 1e-7", "eager", "PoissonNLLLoss of rates"),
    Plant("cosine-sign", "cosine similarity: negated", "eager", "planted: similarity for its negative"),
    Plant("huber-smoothl1", "Huber: delta 1.5", "eager", "SmoothL1Loss"),
    Plant("epoch-loss-weighting", "loss of an epoch: 19 samples by 8", "tf.function", "epoch mean of batch means"),
    Plant("reduction-last-axis", "mean squared error: sum", "eager", "MSELoss"),
    Plant("loss-broadcast", "mean squared error: targets (n,) for outputs (n, 1)", "eager", "MSELoss"),
    Plant("wrong-reduction", f"{_LOGITS}: logits", "eager", "planted: sum for mean"),
    Plant("gradient-doubled", f"{_LOGITS}: logits", "eager", "planted: gradient doubled", at="gradient"),
    Plant("bfloat16-logits", f"{_LOGITS}: logits", "eager", "planted: logits in bfloat16", verdict="precision"),
    Plant("sample-weights-dropped", f"{_LOGITS}: sample weights", "eager", "planted: sample weights dropped"),
)  # fmt: skip


def run_loss(workers: Workers, loss: str) -> list[Row]:
    """Return the rows of every case of one loss: both modes of Keras, both forms of the port, value and gradient.

    Raises
        UsageError: there is no such loss.
    """
    cases = [case for case in CASES.values() if case.loss == loss]
    if not cases:
        case_of(loss)
    return [row for case in cases for row in run_case(workers, case)]


def run_case(workers: Workers, case: LossCase) -> list[Row]:
    """Return the rows of one case."""
    programs = {case.written, *(case.port(mode).exact for mode in MODES)}
    given = _ask_all(workers, case, MODES, programs)
    rows = []
    for mode in MODES:
        port = case.port(mode)
        for form, program in ((WRITTEN, case.written), (EXACT, port.exact)):
            for stage, finding in compare(given, case, mode, program, form == WRITTEN).items():
                expected = port.traps.get(stage) if form == WRITTEN else None
                rows.append(_row(case, mode, stage, form, program, finding, expected, given))
    return rows


def run_plant(workers: Workers, plant: Plant) -> dict[str, Finding]:
    """Return the findings by stage for an exact pair whose torch side runs the planted program."""
    case = case_of(plant.case)
    return compare(_ask_all(workers, case, [plant.mode], [plant.program]), case, plant.mode, plant.program, False)


def kill_row(plant: Plant, findings: Mapping[str, Finding]) -> Row:
    """Return the kill matrix's row of a planted fault: where it is, and where it was first seen."""
    seen = next((stage for stage, finding in findings.items() if not finding.passed), None)
    caught = seen == plant.at and findings[plant.at].verdict == plant.verdict
    return {
        "trap": plant.trap,
        "pair": plant.case,
        "mode": plant.mode,
        "stage": "loss",
        "planted_at": plant.at,
        "seen_at": seen,
        "caught": caught,
        "d64": findings[seen].d64 if seen else None,
        "note": findings[seen].note if seen else "",
    }


def stale(rows: Iterable[Row]) -> list[str]:
    """Return what is not as the cases say, one line each: a port that fails unexplained, or a trap that is gone."""
    wrong = []
    for row in rows:
        passed, where = row["verdict"] in ("identical", "rounding"), _where(row)
        if passed and row["trap"]:
            wrong.append(f"{where}: agrees, though `{row['trap']}` is said to part them")
        elif not passed and (not row["trap"] or row["verdict"] != SEMANTIC):
            wrong.append(f"{where}: {row['verdict']} ({_figures(row)}). {row['note']}")
    return wrong


def compare(given: Mapping[str, Any], case: LossCase, mode: str, program: str, written: bool) -> dict[str, Finding]:
    """Return the finding of each stage: Keras in one mode against one torch program.

    A program as people write it is also granted the rounding of its own arithmetic, where the case names it.
    """
    keras, torch = ({side: answers[name] for side, answers in given[family].items()} for family, name in
                    (("tensorflow", mode), ("torch", program)))  # fmt: skip
    port, bounds = case.port(mode), given["bounds"][mode, written]
    findings = {}
    for stage in case.stages:
        quartet = Quartet(
            keras["tensorflow"][stage], torch["torch"][stage],
            keras["twin_tensorflow"][stage], torch["twin_torch"][stage],
        )  # fmt: skip
        bound32, bound64 = (bounds[f"{stage}{digits}"] for digits in ("32", "64"))
        findings[stage] = judge(f"{case.key} ({mode}) {stage}", port.exact, quartet, bound32, bound64)
    return findings


def _ask_all(workers: Workers, case: LossCase, modes: Iterable[str], programs: Iterable[str]) -> dict[str, Any]:
    """Return what each worker says of the case: by family, side and mode or program; and the bounds of each mode."""
    modes, programs = list(modes), list(programs)

    def keras(side: str) -> dict[str, Any]:
        return {mode: workers[side].call("loss_step", case=case.key, mode=mode) for mode in modes}

    def torch(side: str) -> dict[str, Any]:
        return {program: workers[side].call("loss_step", case=case.key, program=program) for program in programs}

    def bounds() -> dict[Any, Any]:
        known: dict[tuple[str, ...], Any] = {}
        found = {}
        for mode in modes:
            port = case.port(mode)
            for written in (True, False):
                asked = (port.exact, port.arithmetic) if written and port.arithmetic else (port.exact,)
                if asked not in known:
                    known[asked] = workers["twin_torch"].call("loss_bounds", case=case.key, programs=list(asked))
                found[mode, written] = known[asked]
        return found

    with ThreadPoolExecutor(len(workers)) as pool:
        futures = {side: pool.submit(torch if side.endswith("torch") else keras, side) for side in workers}
        answers = {side: future.result() for side, future in futures.items()}
    return {
        "tensorflow": {side: answers[side] for side in ("tensorflow", "twin_tensorflow")},
        "torch": {side: answers[side] for side in ("torch", "twin_torch")},
        "bounds": bounds(),
    }


def _row(
    case: LossCase,
    mode: str,
    stage: str,
    form: str,
    program: str,
    finding: Finding,
    trap: str | None,
    given: Mapping[str, Any],
) -> Row:
    keras, torch = given["tensorflow"]["tensorflow"][mode][stage], given["torch"]["torch"][program][stage]
    figures = {name: value for name, value in vars(finding).items() if value is not None}
    return {
        **figures,
        "share": finding.share,
        "loss": case.loss,
        "case": case.name,
        "mode": mode,
        "stage": stage,
        "form": form,
        "program": program,
        "trap": trap,
        "fix": case.port(mode).fix,
        "value_tensorflow": _at(keras, finding, torch),
        "value_torch": _at(torch, finding, keras),
    }


def _at(array: Array, finding: Finding, other: Array) -> float:
    """Return the element where float32 differs most; the sum where the shapes differ and no element has a partner."""
    if array.shape != other.shape:
        return float(array.sum())
    return float(array[finding.where]) if finding.where else float(array.reshape(-1)[0])


def _figures(row: Row) -> str:
    names = ("d64", "d64_bound", "error_tensorflow", "error_torch", "bound")
    return ", ".join(f"{name} {row[name]:.1e}" for name in names if name in row) or "no figures"


def _where(row: Row) -> str:
    return f"{row['loss']}: {row['case']} ({row['mode']}), {row['form']}, {row['stage']}"
