"""The study's sentence in the answer: there when a study ran, preliminary below ten whole seeds, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from parity.errors import RecordError
from parity.report import new_record, render
from parity.report.answer import answer, study_sentence

SAID = "With their own defaults they are equivalent within 0.02: the split moves accuracy more than the framework can."


def record(compared: int = 10, planned: int = 10, whole: int | None = None, **changes: Any) -> dict[str, Any]:
    """Return a record with a study of `planned` seeds, of which so many are compared, and whole in the waterfalls."""
    found = new_record("full", "pytest suites/ -m study")
    found["data"] = {"name": "synthetic", "digest": "0", "counts": {}}
    found["study"] = {
        "answer": SAID,
        "seeds": list(range(planned)),
        "amounts": {"seeds": planned, "height": 64, "width": 48, "epochs": 8, "fewer_epochs": 4, "batch": 32},
        "comparisons": [
            {"arm": arm, "split": split, "seeds": list(range(compared)), "differences": []}
            for arm in ("shared", "own") for split in ("official", "random")
        ],
        "waterfalls": [
            {"framework": name, "seeds": compared if whole is None else whole, "start": {"mean": 0.7},
             "end": {"mean": 0.9}}
            for name in ("tensorflow", "torch")
        ],
        "failed": [],
        **changes,
    }  # fmt: skip
    return found


def test_a_whole_study_is_quoted_with_its_size_and_its_data() -> None:
    sentence = study_sentence(record())
    assert sentence == f"**Does one learn better?** {SAID[:-1]} (64 x 48 pixels, 8 epochs; synthetic data)."
    assert sentence in answer(record())
    assert sentence in render(record()).partition("## Answer")[2].partition("\n## ")[0]


def test_real_data_are_named() -> None:
    found = record()
    found["data"]["name"] = "chest_xray_224"
    assert study_sentence(found).endswith("8 epochs; data: chest_xray_224).")
    assert "synthetic" not in study_sentence(found)


@pytest.mark.parametrize(
    ("planned", "compared", "whole", "seeds"),
    [(2, 2, 2, "2 seeds"), (1, 1, 1, "1 seed"), (9, 9, 9, "9 seeds"), (10, 7, 7, "7 seeds"), (12, 12, 9, "9 seeds"),
     (10, 10, 0, "0 seeds")],
)  # fmt: skip
def test_fewer_than_ten_whole_seeds_are_preliminary(planned: int, compared: int, whole: int, seeds: str) -> None:
    """Seeds that were planned and did not finish are not counted: the answer does not rest on them."""
    found = record(compared, planned, whole)
    assert f"**Does one learn better? Preliminary, {seeds}:** {SAID[:-1]}" in answer(found)
    assert "its intervals are wide, and it settles nothing" in render(found)
    named = "A shortened study" if planned < 10 else f"A study of which {planned - whole} seeds are not whole"
    assert f"> {named}: with {seeds} " in render(found)


def test_ten_whole_seeds_carry_no_caution() -> None:
    assert "settles nothing" not in render(record())
    assert "Preliminary" not in answer(record())


def test_without_comparisons_nothing_is_settled() -> None:
    assert "Preliminary, 0 seeds:" in study_sentence(record(comparisons=[]))
    assert "Preliminary, 0 seeds:" in study_sentence(record(waterfalls=[]))


def test_failed_trainings_are_told() -> None:
    failed = [{"run": "torch-official-seed3", "error": "killed by SIGKILL"}] * 2
    assert "8 epochs, 2 trainings failed; synthetic data)." in study_sentence(record(failed=failed))
    assert "8 epochs, 1 training failed; synthetic data)." in study_sentence(record(failed=failed[:1]))


def test_no_study_no_sentence() -> None:
    for empty in (new_record("smoke", "x"), record(answer=""), record(answer=None)):
        assert study_sentence(empty) == ""
        assert "learn better?" not in answer(empty)
    assert "learn better" not in render(new_record("smoke", "x")).partition("## Answer")[2].partition("\n## ")[0]


def test_a_misshapen_study_is_refused_in_one_line() -> None:
    with pytest.raises(RecordError, match="section 'study' is not shaped") as caught:
        study_sentence(record(comparisons=[{"arm": "own"}]))
    assert "\n" not in str(caught.value)
