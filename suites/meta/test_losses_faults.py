"""Losses: the cases are sound, planted faults are found at the stage where they are, and the section tells it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.judge.verdict import PASSING, PRECISION
from parity.model.losses import CASES, LOSSES, MODES, case_of
from parity.pair import Pair
from parity.report.sections.losses import render
from parity.trials.losses import PLANTS, Plant, Row, kill_row, run_case, run_loss, run_plant, stale

if TYPE_CHECKING:
    from parity.campaign import Campaign

TRAPS = {
    "bce-clipping", "bce-logits-recovered", "crossentropy-input", "class-weight-normaliser", "label-smoothing-binary",
    "kldiv-reduction", "poisson-form", "cosine-sign", "huber-smoothl1", "epoch-loss-weighting", "reduction-last-axis",
    "loss-broadcast", "l2-normalize-eps",
}  # fmt: skip
SATURATED = "binary cross-entropy after sigmoid: tf.sigmoid of 30 and 100"


def by(rows: list[Row], **wanted: Any) -> list[Row]:
    """Return the rows that have all the wanted entries."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture(scope="module")
def saturated(small_workers: Pair) -> list[Row]:
    """The rows of a loss after `tf.sigmoid` of large logits."""
    return run_case(small_workers.workers, case_of(SATURATED))


# The cases.


def test_every_trap_has_a_case_and_none_is_unknown() -> None:
    named = {trap for case in CASES.values() for mode in MODES for trap in case.port(mode).traps.values()}
    assert named == TRAPS


@pytest.mark.parametrize("key", CASES)
def test_a_case_is_off_the_clipped_edges_and_names_its_fix(key: str) -> None:
    case = CASES[key]
    for edge in (1e-7, 1.0 - 1e-7):
        assert (np.abs(np.array(case.x, dtype=np.float32) - edge) > 1e-8).all()
    x, y, weights = np.array(case.x), case.targets(), case.sample_weights()
    assert x.ndim == 2
    assert len(x) == len(y)
    assert weights is None or weights.shape == (len(x),)
    for mode in MODES:
        port = case.port(mode)
        assert bool(port.traps) == bool(port.fix)
        assert set(port.traps) <= set(case.stages)


def test_an_unknown_case_is_refused() -> None:
    with pytest.raises(UsageError, match="no loss case `nothing`"):
        case_of("nothing")


# Planted faults.


@pytest.mark.section("kill_matrix")
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.trap}-{plant.program}-{plant.mode}")
def test_a_planted_fault_is_seen_where_it_is(run_record: Campaign, small_workers: Pair, plant: Plant) -> None:
    findings = run_plant(small_workers.workers, plant)
    row = kill_row(plant, findings)
    run_record.append("kill_matrix", [row])
    assert row["caught"], {stage: finding.message() for stage, finding in findings.items()}
    assert (row["planted_at"], row["seen_at"]) == (plant.at, plant.at)
    if plant.verdict == PRECISION:
        assert findings[plant.at].side == "torch"


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.trap}-{plant.program}-{plant.mode}")
def test_the_pair_without_the_fault_passes(small_workers: Pair, plant: Plant) -> None:
    exact = case_of(plant.case).port(plant.mode).exact
    findings = run_plant(small_workers.workers, Plant("none", plant.case, plant.mode, exact))
    assert {finding.verdict for finding in findings.values()} <= PASSING
    assert not kill_row(plant, findings)["caught"]


def test_every_trap_is_planted() -> None:
    assert all(plant.case in CASES for plant in PLANTS)
    planted = {plant.trap for plant in PLANTS}
    assert TRAPS - {"l2-normalize-eps"} <= planted
    assert {"wrong-reduction", "gradient-doubled", "bfloat16-logits", "sample-weights-dropped"} <= planted
    assert {plant.at for plant in PLANTS} == {"loss", "gradient"}


# What the cases say is held against what is measured.


def test_eager_keras_and_tf_function_are_told_apart(saturated: list[Row]) -> None:
    assert stale(saturated) == []
    (eager,) = by(saturated, mode="eager", form="exact", stage="loss")
    (traced,) = by(saturated, mode="tf.function", form="exact", stage="loss")
    # 30, 30, 100 and 100 of the wrong sign; clipped, each costs 16.118 or, where 1 - 1e-7 is rounded, 15.942.
    assert traced["value_tensorflow"] == pytest.approx((260 + 0.474 + 0.241) / 8, rel=1e-3)
    assert eager["value_tensorflow"] == pytest.approx((2 * 16.118 + 2 * 15.942 + 0.474 + 0.241) / 8, rel=1e-3)
    assert {row["trap"] for row in by(saturated, form="as written", mode="eager")} == {"bce-clipping"}
    assert {row["trap"] for row in by(saturated, form="as written", mode="tf.function")} == {"bce-logits-recovered"}


def test_a_trap_that_is_gone_and_a_difference_without_one_are_both_reported(saturated: list[Row]) -> None:
    apart = by(saturated, mode="eager", form="as written", stage="loss")[0]
    assert len(stale([{**apart, "trap": None}])) == 1
    assert len(stale([{**apart, "verdict": "rounding"}])) == 1
    assert len(stale([{**apart, "verdict": "precision"}])) == 1
    assert stale([apart]) == []


def test_nothing_is_kept_of_a_loss_that_does_not_exist(small_workers: Pair) -> None:
    with pytest.raises(UsageError, match="no loss case"):
        run_loss(small_workers.workers, "no such loss")


def test_unknown_programs_are_refused_by_name(small_workers: Pair) -> None:
    with pytest.raises(UsageError, match="no torch program `nothing`"):
        small_workers.workers["torch"].call("loss_step", case=SATURATED, program="nothing")


# The float64 twins measure the function, not the constants' detour through float32.


@pytest.mark.parametrize("loss", ["binary cross-entropy", "Poisson", "Huber", "cosine similarity"])
def test_exact_forms_agree_to_the_last_digits(small_workers: Pair, loss: str) -> None:
    assert loss in LOSSES
    exact = by(run_loss(small_workers.workers, loss), form="exact")
    assert {row["verdict"] for row in exact} <= PASSING
    assert max(row["d64"] for row in exact) < 1e-15


# The section.


def record_of(rows: list[Row]) -> Mapping[str, Any]:
    return {"losses": {"rows": rows}}


def test_the_section_shows_modes_apart_where_they_differ(saturated: list[Row]) -> None:
    text = render(dict(record_of(saturated)))
    assert text.startswith("2 of 2 ports")
    assert text.index("`bce-clipping`") < text.index("`bce-logits-recovered`")
    assert "BCEWithLogitsLoss()(logits, y)" in text
    assert f"All {len(saturated)} comparisons" in text


def test_the_section_joins_modes_that_agree_and_marks_an_exact_form_that_is_not(saturated: list[Row]) -> None:
    eager = by(saturated, mode="eager")
    both = eager + [{**row, "mode": "tf.function"} for row in eager]
    assert "eager and tf.function" in render(dict(record_of(both)))
    broken = [{**row, "verdict": "semantic"} if row["form"] == "exact" else row for row in both]
    assert "**semantic**" in render(dict(record_of(broken)))
    assert render(dict(record_of([]))) == "Zero losses were compared, which is no pass."
