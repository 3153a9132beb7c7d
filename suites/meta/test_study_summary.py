"""From trainings to figures: recomputed by hand, honest about what is missing, and laid out for a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.campaign import CampaignOptions
from parity.data import cache
from parity.data.prepared import Prepared
from parity.errors import DataError, UsageError
from parity.model.spec import example_cnn
from parity.report import new_record, read, render, write
from parity.report import plots as report_plots
from parity.study.arms import Reading, Training, readings, trainings
from parity.study.engines import LocalEngine
from parity.study.execute import Outcome, Setting
from parity.study.facts import split_facts
from parity.study.gap import PUBLISHED
from parity.study.metrics import choose_threshold
from parity.study.runner import Results, run_study
from parity.study.splits import make_split
from parity.study.study import REAL, SHORTENED, Machine, conduct, set_aside, sized
from parity.study.summary import Summary
from suites.meta.test_splits import people
from suites.meta.test_splits import write as write_set
from suites.test_study import _amounts as amounts_of
from suites.test_study import _asked as asked
from suites.test_study import _check_splits as check_splits

FAKE = f"{Path(__file__).parent / 'study_adapter.py'}:Logistic"
SEEDS = (0, 1, 2)
PLOTS = ("study_confusion.png", "study_curves.png", "study_roc.png", "study_seeds.png", "study_waterfall.png")


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return cache.prepare(None, 8, 8, 1)


@pytest.fixture(scope="module")
def rows() -> tuple[Reading, ...]:
    return readings(SEEDS, 2, 1)


@pytest.fixture(scope="module")
def results(prepared: Prepared, rows: Sequence[Reading], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study in which both frameworks are the same NumPy adapter: whatever tells them apart is a mistake of ours."""
    adapters = {"tensorflow": FAKE, "torch": FAKE}
    setting = Setting(example_cnn(8, 8, 1, 2, 3), prepared.digest, kept_epochs=(1, 2), adapters=adapters)
    return run_study(setting, trainings(rows), tmp_path_factory.mktemp("runs"), LocalEngine(2))


@pytest.fixture(scope="module")
def section(prepared: Prepared, rows: Sequence[Reading], results: Results) -> dict[str, Any]:
    found = Summary(prepared, rows, results).section()
    facts = [split_facts(prepared, make_split(prepared, kind, 0)) for kind in ("official", "random", "patient")]
    amounts = {"height": 8, "width": 8, "epochs": 2, "fewer_epochs": 1, "batch": 32}
    return dict(json.loads(json.dumps({**found, "facts": facts, "seeds": list(SEEDS), "amounts": amounts})))


def changed(results: Results, change: Callable[[Training, Outcome], Outcome | None]) -> Results:
    """Return results of which some outcomes are replaced, or failed where None is returned."""
    altered = {training: change(training, outcome) for training, outcome in results.finished.items()}
    failed = {training: "it died" for training, outcome in altered.items() if outcome is None}
    return Results({t: outcome for t, outcome in altered.items() if outcome is not None}, failed, 0)


# The rows.


def test_the_section_holds_what_the_contract_names(section: dict[str, Any], rows: Sequence[Reading]) -> None:
    assert len(section["runs"]) == len(rows)
    for row in section["runs"]:
        assert {"framework", "arm", "split", "seed", "accuracy", "auc"} <= set(row)
        assert 0 <= row["accuracy"] <= 1
    assert all({"factor", "change", "low", "high"} <= set(row) for row in section["gap"])
    assert section["answer"].endswith(".")


@pytest.mark.parametrize("name", [None, "split", "epoch count", "threshold", "everything"])
def test_a_row_is_what_its_logits_say(
    prepared: Prepared, rows: Sequence[Reading], results: Results, section: dict[str, Any], name: str | None
) -> None:
    """Recomputed from the kept logits, without the code that made the figure."""
    from sklearn import metrics

    for reading, row in zip(rows, section["runs"], strict=True):
        if (reading.what_changed, reading.arm) != (name, "own"):
            continue
        split = make_split(prepared, reading.recipe.split, reading.seed)
        logits = results.finished[reading.training]["logits"][str(1 if name in ("epoch count", "everything") else 2)]
        labels = prepared.labels(split.test.source)[split.test.rows]
        cut = 0.0
        if name in ("threshold", "everything"):
            cut = choose_threshold(split.val.labels(prepared), np.array(logits["val"])) or 0.0
        said = np.array(logits["test"]) > cut
        assert row["accuracy"] == pytest.approx(metrics.accuracy_score(labels, said))
        assert row["auc"] == pytest.approx(metrics.roc_auc_score(labels, logits["test"]))
        assert row["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, said))
        assert row["threshold"] == pytest.approx(1 / (1 + np.exp(-cut)))


def test_rows_at_the_wrong_epoch_would_be_seen(section: dict[str, Any]) -> None:
    by_name = {name: [r["loss"] for r in section["runs"] if r["changed"] == name and r["framework"] == "torch"]
               for name in (None, "epoch count")}  # fmt: skip
    cell = ("torch", "own", "official", None)
    start = [r["loss"] for r in section["runs"] if (r["framework"], r["arm"], r["split"], r["changed"]) == cell]
    assert all(a != b for a, b in zip(by_name["epoch count"], start, strict=True))


def test_two_equal_frameworks_differ_in_nothing_where_they_are_given_the_same(section: dict[str, Any]) -> None:
    for found in section["comparisons"]:
        if found["arm"] != "shared":
            continue
        assert all(row["mean"] == 0 for row in found["differences"])
        assert {(test["only_a"], test["only_b"]) for test in found["mcnemar"]} == {(0, 0)}
        assert (found["mcnemar_rejects"], found["delong_rejects"]) == (0, 0)
        assert all(row["value"] == 0 for row in found["over_patients"])


def test_a_framework_that_learns_worse_is_told(prepared: Prepared, rows: Sequence[Reading], results: Results) -> None:
    """The planted fault: torch's logits turned round on one image in four, in every run."""

    def spoil(training: Training, outcome: Outcome) -> Outcome:
        if training.framework != "torch":
            return outcome
        logits = {
            epoch: {**kept, "test": [-z if i % 4 == 0 else z for i, z in enumerate(kept["test"])]}
            for epoch, kept in outcome["logits"].items()
        }
        return {**outcome, "logits": logits}

    found = Summary(prepared, rows, changed(results, spoil)).section()
    official = next(row for row in found["comparisons"] if (row["arm"], row["split"]) == ("own", "official"))
    areas = next(row for row in official["differences"] if row["metric"] == "auc")
    assert areas["mean"] > 0.1
    assert areas["low"] > 0
    assert official["delong_rejects"] == len(SEEDS)
    over = next(row for row in official["over_patients"] if row["metric"] == "auc")
    assert over["value"] == pytest.approx(areas["mean"])  # the same figure, whatever the interval is over
    assert over["low"] > 0


def test_the_published_accuracies_are_placed_among_the_seeds(section: dict[str, Any]) -> None:
    placed = section["published"]
    assert {row["framework"]: row["accuracy"] for row in placed} == PUBLISHED
    assert len(placed) == 6
    for row in placed:
        seen = [r["accuracy"] for r in section["runs"] if r["changed"] is None and r["arm"] == "own"
                and (r["framework"], r["split"]) == (row["framework"], row["split"])]  # fmt: skip
        assert (row["lowest"], row["highest"]) == (min(seen), max(seen))
        assert row["inside"] == (min(seen) <= row["accuracy"] <= max(seen))


# What is missing.


def test_a_failed_training_is_in_no_figure_and_named(
    prepared: Prepared, rows: Sequence[Reading], results: Results, section: dict[str, Any]
) -> None:
    lost = next(row.training for row in rows if row.changed == ("pixel scaling",) and row.framework == "torch")
    found = Summary(prepared, rows, changed(results, lambda t, o: None if t == lost else o)).section()
    assert [row["error"] for row in found["failed"]] == ["it died"]
    assert len(found["runs"]) == len(section["runs"]) - 1
    seeds = {fall["framework"]: fall["seeds"] for fall in found["waterfalls"]}
    assert seeds == {"tensorflow": 3, "torch": 2}  # that seed has a gap, and is in no bar


def test_a_factor_that_failed_altogether_is_missed_and_not_hidden_in_the_interaction(
    prepared: Prepared, rows: Sequence[Reading], results: Results
) -> None:
    lost = {row.training for row in rows if row.changed == ("shuffling",) and row.framework == "torch"}
    found = Summary(prepared, rows, changed(results, lambda t, o: None if t in lost else o)).section()
    assert [fall["framework"] for fall in found["waterfalls"]] == ["tensorflow"]
    assert found["answer"].startswith("Not settled")


def test_two_seeds_of_one_framework_are_the_yardstick_of_the_tests_of_images(section: dict[str, Any]) -> None:
    for row in section["comparisons"]:
        known = row["between_seeds"]
        assert (known is None) == (row["split"] != "official")
        if known is not None:
            assert known["pairs"] == 2 * 3  # three seeds, two frameworks
            assert 0 <= known["mcnemar_rejects"] <= known["pairs"]


def test_weights_that_a_row_does_not_read_are_not_named(section: dict[str, Any]) -> None:
    for row in section["runs"]:
        fewer = row["changed"] in ("epoch count", "everything")
        assert (row["weights_digest"] is None) == fewer


def test_a_test_part_with_one_image_of_a_class_loses_delong_and_nothing_else(
    rows: Sequence[Reading], tmp_path: Path
) -> None:
    small = cache.prepare(write_set(tmp_path / "set", people()), 8, 8, 1, cache_dir=tmp_path / "cache")
    setting = Setting(example_cnn(8, 8, 1, 2, 3), small.digest, root=str(tmp_path / "set"), kept_epochs=(1, 2),
                      adapters={"tensorflow": FAKE, "torch": FAKE})  # fmt: skip
    mine = [row for row in rows if row.seed == 0 and not row.changed and row.recipe.split == "official"]
    done = run_study(setting, trainings(mine), tmp_path / "runs", LocalEngine(1))
    assert done.failed == {}
    found = Summary(small, mine, done).section()
    assert all(row["delong"] == [] and row["mcnemar"] for row in found["comparisons"])


def test_too_little_settles_nothing(prepared: Prepared, rows: Sequence[Reading], results: Results) -> None:
    only = changed(results, lambda t, o: o if t.framework == "torch" else None)
    found = Summary(prepared, rows, only).section()
    assert found["answer"].startswith("Not settled")
    assert found["comparisons"] == []
    assert [fall["framework"] for fall in found["waterfalls"]] == ["torch"]


def test_a_training_on_other_images_is_refused(prepared: Prepared, rows: Sequence[Reading], results: Results) -> None:
    wrong = changed(results, lambda _, outcome: {**outcome, "rows_digest": "0"})
    with pytest.raises(DataError, match="saw other images than its split holds"):
        Summary(prepared, rows, wrong)


def test_data_of_another_size_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    spec = sized(example_cnn(150, 150, 1), SHORTENED)
    assert (spec.height, spec.width) == (32, 32)
    with pytest.raises(UsageError, match="was prepared otherwise"):
        conduct(prepared, spec, SHORTENED, Machine(None, False, "cpu", {}, {}), LocalEngine(1), tmp_path)


def test_a_new_study_keeps_the_runs_of_the_one_before_aside(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for content in ("first", "second", "third"):
        set_aside(folder)
        assert not folder.exists()
        folder.mkdir()
        (folder / "run.json").write_text(content)
    assert (tmp_path / "study.before" / "run.json").read_text() == "second"


@pytest.mark.parametrize(
    ("markexpr", "profile", "real"),
    [("study", "standard", True), ("study and not meta", "smoke", True), ("", "full", True), ("", "standard", False),
     ("not study", "standard", False), ("not thorough", "smoke", False)],
)  # fmt: skip
def test_the_real_study_runs_only_when_it_is_asked_for(markexpr: str, profile: str, real: bool) -> None:
    config = SimpleNamespace(getoption={"markexpr": markexpr, "profile": profile}.__getitem__)
    found = amounts_of(CampaignOptions(profile=profile), asked=asked(config))  # type: ignore[arg-type]
    assert (found == REAL) == real


def test_a_data_set_too_small_to_be_split_is_skipped_unless_the_study_was_asked_for(tmp_path: Path) -> None:
    small = cache.prepare(write_set(tmp_path / "set", people(6, 3)), 8, 8, 1, cache_dir=tmp_path / "cache")
    with pytest.raises(pytest.skip.Exception, match="6 patients of class 0 in train are too few"):
        check_splits(small, asked=False)
    with pytest.raises(DataError, match="6 patients of class 0 in train are too few"):
        check_splits(small, asked=True)


# The report.


@pytest.fixture(scope="module")
def record(section: dict[str, Any]) -> dict[str, Any]:
    found = new_record("standard", "pytest suites/ -m study")
    found["created"] = "2026-01-01T00:00:00Z"
    found["data"] = {"name": "synthetic", "digest": "0", "counts": {}}
    found["study"] = section
    return found


def part(text: str) -> str:
    return text.partition("## The study")[2].partition("\n## ")[0]


def test_the_answer_stands_at_the_top_of_the_section(record: dict[str, Any]) -> None:
    shown = part(render(record)).splitlines()
    assert shown[2].startswith(f"**{record['study']['answer'][:60]}")
    assert "synthetic data" in shown[2]
    assert any("3 seeds its intervals are wide, and it settles nothing" in line for line in shown)


def test_the_section_shows_every_factor_with_its_interval_and_what_is_left_over(record: dict[str, Any]) -> None:
    shown = part(render(record))
    for row in record["study"]["gap"]:
        interval = f"({row['low']:+.3f} to {row['high']:+.3f})" if row["low"] < row["high"] else "in each seed"
        change = f"{row['change']:+.3f} {interval}"
        line = next(line for line in shown.splitlines() if line.startswith(f"| {row['factor']}"))
        assert change in line
    assert "| interaction, left over" in shown
    assert "| TensorFlow |      0.98 | official" in shown


def test_warnings_on_the_data_are_printed(record: dict[str, Any]) -> None:
    shown = part(render(record))
    for found in record["study"]["facts"]:
        assert all(line in shown for line in found["warnings"])
    assert "15 patients, by the names of their files, are in train and in test" in shown


def test_a_failed_training_is_printed(record: dict[str, Any]) -> None:
    failed = {**record["study"], "failed": [{"run": "torch-official-seed3", "error": "killed by SIGKILL"}]}
    shown = part(render({**record, "study": failed}))
    assert "**1 trainings failed and are in no figure**" in shown
    assert "killed by SIGKILL" in shown


def test_a_saved_record_renders_byte_for_byte_and_draws_all_plots(record: dict[str, Any], tmp_path: Path) -> None:
    write(record, tmp_path / "comparison.json")
    again = read(tmp_path / "comparison.json")
    assert render(again) == render(record)
    drawn, redrawn = report_plots.draw(record), report_plots.draw(again)
    assert set(PLOTS) <= set(drawn)
    assert all(redrawn[name] == drawn[name] for name in PLOTS)
    assert all(f"]({name})" in part(render(record)) for name in PLOTS)


def test_one_seed_is_drawn_and_rendered(
    record: dict[str, Any], rows: Sequence[Reading], results: Results, prepared: Prepared
) -> None:
    first = [row for row in rows if row.seed == 0]
    found = {**record["study"], **Summary(prepared, first, replace(results, failed={})).section(), "seeds": [0]}
    alone = {**record, "study": json.loads(json.dumps(found))}
    assert "one seed settles nothing" in part(render(alone))
    less = {**found, "published": [], "facts": []}
    assert set(PLOTS) <= set(report_plots.draw({**record, "study": json.loads(json.dumps(less))}))


@pytest.mark.parametrize(
    "missing", ["gap", "published", "comparisons", "means", "curves", "facts", "runs", "waterfalls"]
)
def test_a_section_without_a_part_is_still_shown(record: dict[str, Any], missing: str) -> None:
    less = {key: value for key, value in record["study"].items() if key != missing}
    assert part(render({**record, "study": less})).strip()
    drawn = {name for name in PLOTS if report_plots.references({**record, "study": less}, name)}
    gone = {"gap": {"study_waterfall.png"}, "waterfalls": {"study_waterfall.png"}, "runs": {"study_seeds.png"},
            "curves": {"study_curves.png", "study_roc.png", "study_confusion.png"}}  # fmt: skip
    assert drawn == set(PLOTS) - gone.get(missing, set())
