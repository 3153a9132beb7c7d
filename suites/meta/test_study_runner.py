"""The study's runs: alike whoever carries them out, kept, gone on with, and honest about those that fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.data import cache
from parity.errors import DataError, UsageError
from parity.model.spec import example_cnn
from parity.study.arms import Training, readings, trainings
from parity.study.engines import DaskEngine, Engine, LocalEngine, make_engine
from parity.study.execute import Crew, Outcome, Setting, carry_out
from parity.study.runner import Results, kept_run, run_study

FAKE = {name: f"{Path(__file__).parent / 'study_adapter.py'}:Logistic" for name in ("tensorflow", "torch")}
SPEC = example_cnn(8, 8, 1, filters=2, hidden=3)


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A study of NumPy adapters on the embedded films at 8 x 8."""
    return Setting(SPEC, cache.prepare(None, 8, 8, 1).digest, kept_epochs=(1,), adapters=FAKE, versions={"numpy": "1"})


@pytest.fixture(scope="module")
def planned() -> tuple[Training, ...]:
    return trainings(readings((0,), 2, 1))


@pytest.fixture(scope="module")
def serial(setting: Setting, planned: Sequence[Training], tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_study(setting, planned, tmp_path_factory.mktemp("serial"), LocalEngine(1))


@pytest.fixture
def troubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose marker files say which seed comes to what end."""
    folder = tmp_path / "troubles"
    folder.mkdir()
    monkeypatch.setenv("PARITY_STUDY_TROUBLES", str(folder))
    return folder


def told(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome without the seconds that it took."""
    epochs = [{key: value for key, value in row.items() if key != "seconds"} for row in outcome["epochs"]]
    return {**{key: value for key, value in outcome.items() if key != "seconds"}, "epochs": epochs}


def same(a: Results, b: Results) -> bool:
    return {t: told(o) for t, o in a.finished.items()} == {t: told(o) for t, o in b.finished.items()}


class Scripted(Engine):
    """An engine of another kind: it carries nothing out, counts what it is asked for, and stops when told to."""

    description = "scripted"

    def __init__(self, known: Results, stop_after: int | None = None) -> None:
        self.known, self.stop_after, self.asked = known, stop_after, 0

    def outcomes(self, setting: Setting, trainings: Sequence[Training]) -> Iterator[Outcome]:  # noqa: ARG002
        for training in trainings:
            if self.stop_after is not None and self.asked >= self.stop_after:
                raise KeyboardInterrupt
            self.asked += 1
            yield self.known.finished[training]


def test_all_trainings_finish_in_the_order_of_the_plan(serial: Results, planned: Sequence[Training]) -> None:
    assert list(serial.finished) == list(planned)
    assert (serial.failed, serial.kept) == ({}, 0)
    for training, outcome in serial.finished.items():
        assert [row["epoch"] for row in outcome["epochs"]] == [1, 2]
        assert sorted(outcome["logits"]) == ["1", "2"]
        assert len(outcome["logits"]["2"]["test"]) == (80 if training.split == "official" else 24)


def test_in_parallel_the_results_are_those_of_a_serial_run(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path
) -> None:
    assert same(run_study(setting, planned, tmp_path, LocalEngine(3)), serial)


def test_a_result_that_depends_on_what_ran_before_would_be_seen(serial: Results) -> None:
    training = next(iter(serial.finished))
    changed = {**serial.finished[training], "weights_digest": "0" * 64}
    assert not same(Results({**serial.finished, training: changed}, {}, 0), serial)


def test_a_finished_study_asks_for_nothing_again(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path
) -> None:
    first = Scripted(serial)
    run_study(setting, planned, tmp_path, first)
    again = Scripted(serial)
    found = run_study(setting, planned, tmp_path, again)
    assert (first.asked, again.asked, found.kept) == (len(planned), 0, len(planned))
    assert same(found, serial)


@pytest.mark.parametrize("stop_after", [0, 1, 7])
def test_a_killed_study_keeps_what_was_finished(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_study(setting, planned, tmp_path, Scripted(serial, stop_after))
    assert len(list(tmp_path.glob("*.json"))) == stop_after
    rest = Scripted(serial)
    found = run_study(setting, planned, tmp_path, rest)
    assert (found.kept, rest.asked) == (stop_after, len(planned) - stop_after)
    assert same(found, serial)


CHANGES: list[dict[str, Any]] = [
    {"batch": 16},
    {"learning_rate": 2e-3},
    {"kept_epochs": (2,)},
    {"threads": 2},
    {"digest": "other"},
    {"versions": {"numpy": "2"}},
    {"spec": example_cnn(8, 8, 1, filters=3, hidden=3)},
]


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_a_run_of_another_setting_is_not_taken_over(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path, change: dict[str, Any]
) -> None:
    run_study(setting, planned[:1], tmp_path, Scripted(serial))
    assert kept_run(setting, planned[0], tmp_path) is not None
    assert kept_run(replace(setting, **change), planned[0], tmp_path) is None
    assert kept_run(setting, planned[1], tmp_path) is None


def test_where_the_data_and_the_interpreters_lie_does_not_matter(setting: Setting, planned: Sequence[Training]) -> None:
    moved = replace(setting, root="/elsewhere", pythons={"torch": "/usr/bin/python3"})
    assert moved.fingerprint(planned[0]) == setting.fingerprint(planned[0])


@pytest.mark.parametrize("damage", ["", "{", '{"fingerprint": 1}', "[]"])
def test_a_damaged_file_is_carried_out_again(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path, damage: str
) -> None:
    run_study(setting, planned[:1], tmp_path, Scripted(serial))
    (file,) = tmp_path.glob("*.json")
    whole = file.read_text()
    file.write_text(damage)
    again = Scripted(serial)
    run_study(setting, planned[:1], tmp_path, again)
    assert again.asked == 1
    assert file.read_text() == whole


def test_a_file_that_was_renamed_to_another_training_is_not_believed(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path
) -> None:
    run_study(setting, planned[:2], tmp_path, Scripted(serial))
    first, second = (next(tmp_path.glob(f"*{setting.fingerprint(training)[:12]}.json")) for training in planned[:2])
    second.write_text(first.read_text())
    assert kept_run(setting, planned[1], tmp_path) is None


def test_a_dead_worker_is_a_failed_run_and_the_next_run_has_a_fresh_one(
    setting: Setting, tmp_path: Path, troubles: Path
) -> None:
    planned = trainings(readings((0, 1, 2), 2, 1, ("torch",)))[::12]
    assert [training.seed for training in planned] == [0, 1, 2]
    (troubles / "die-1").touch()
    lines: list[str] = []
    folder = tmp_path / "runs"
    found = run_study(setting, planned, folder, LocalEngine(1), progress=lambda *told: lines.append(told[2]))
    assert [training.seed for training in found.finished] == [0, 2]
    (error,) = found.failed.values()
    assert "killed by SIGKILL" in error
    assert any("failed" in line for line in lines)
    (kept,) = folder.glob("*.failed.json")
    assert json.loads(kept.read_text())["status"] == "failed"
    again = run_study(setting, planned, folder, LocalEngine(1))
    assert (len(again.finished), again.failed, again.kept) == (3, {}, 2)
    assert not list(folder.glob("*.failed.json"))


def test_a_model_that_diverges_is_a_failed_run(setting: Setting, tmp_path: Path, troubles: Path) -> None:
    planned = trainings(readings((4, 5), 2, 1, ("torch",)))[::12]
    (troubles / "diverge-4").touch()
    found = run_study(setting, planned, tmp_path / "runs", LocalEngine(1))
    (error,) = found.failed.values()
    assert "diverged" in error
    assert len(found.finished) == 1


def test_a_study_of_which_nothing_finished_is_an_error(setting: Setting, tmp_path: Path, troubles: Path) -> None:
    planned = trainings(readings((4,), 2, 1, ("torch",)))[:1]
    (troubles / "die-4").touch()
    with pytest.raises(DataError, match=r"no training of the study finished; the first failed with: .*SIGKILL"):
        run_study(setting, planned, tmp_path / "runs", LocalEngine(1))


def test_an_interrupted_engine_ends_its_workers(
    setting: Setting, troubles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = trainings(readings((7, 8), 2, 1, ("torch",)))[::12]
    (troubles / "hang-8").touch()
    started: list[Crew] = []

    class Watched(Crew):
        def __init__(self, setting: Setting) -> None:
            super().__init__(setting)
            started.append(self)

    monkeypatch.setattr("parity.study.engines.Crew", Watched)
    outcomes = LocalEngine(1).outcomes(setting, planned)
    assert next(outcomes)["status"] == "finished"
    while (troubles / "hang-8").exists():
        time.sleep(0.01)
    begun = time.monotonic()
    outcomes.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 60
    assert not any(worker.alive() for crew in started for worker in crew._workers.values())


def test_a_mistake_of_ours_ends_the_study_at_once(
    setting: Setting, planned: Sequence[Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Outcome:
        raise AttributeError("no such thing")

    monkeypatch.setattr("parity.study.engines.carry_out", broken)
    with pytest.raises(AttributeError, match="no such thing"):
        list(LocalEngine(2).outcomes(setting, planned))


def test_other_data_than_the_studys_is_a_failed_run(setting: Setting, planned: Sequence[Training]) -> None:
    crew = Crew(replace(setting, digest="0123456789abcdef"))
    try:
        outcome = carry_out(crew, planned[0])
    finally:
        crew.close()
    assert outcome["status"] == "failed"
    assert "is not that of the study (0123456789ab)" in outcome["error"]


def test_settings_and_trainings_travel_as_plain_data(setting: Setting, planned: Sequence[Training]) -> None:
    sent = json.loads(json.dumps([setting.to_dict(), planned[0].to_dict()]))
    assert (Setting.from_dict(sent[0]), Training.from_dict(sent[1])) == (setting, planned[0])


def test_a_study_needs_a_process() -> None:
    with pytest.raises(UsageError, match="at least one process, not 0"):
        LocalEngine(0)
    assert isinstance(make_engine(None, 2), LocalEngine)
    assert make_engine(None, 2).description == "2 at a time on this machine, 1 thread each"


# A cluster.


def test_without_the_extra_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"needs the package `distributed`: pip install 'parity\[cluster\]'"):
        make_engine("tcp://127.0.0.1:1", 1)


def test_importing_the_engines_imports_no_cluster() -> None:
    code = "import sys, parity.study.runner, parity.study.engines; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.whole_run
def test_on_a_cluster_the_results_are_those_of_a_serial_run(
    setting: Setting, planned: Sequence[Training], serial: Results, tmp_path: Path, cluster: str
) -> None:
    engine = make_engine(cluster, 1)
    assert isinstance(engine, DaskEngine)
    assert engine.description.startswith("Dask cluster of ")
    some = planned[::4]
    expected = Results({training: serial.finished[training] for training in some}, {}, 0)
    assert same(run_study(setting, some, tmp_path / "runs", engine), expected)


def test_where_nobody_answers_one_line_says_so() -> None:
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        DaskEngine("tcp://127.0.0.1:9", timeout_s=1)


def test_orders_are_checked(setting: Setting, planned: Sequence[Training], monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a loader that delivers one image twice and another never."""
    monkeypatch.setattr("parity.study.execute.epoch_orders", lambda *_a, **_k: np.zeros((2, 240), np.int64))
    shared = next(training for training in planned if training.shuffling == "torch" and training.split == "official")
    crew = Crew(setting)
    try:
        outcome = carry_out(crew, shared)
    finally:
        crew.close()
    assert outcome["status"] == "failed"
    assert "does not deliver every image once" in outcome["error"]
