"""What the study is told on the command line, how it says how far it is, and whole studies of the real frameworks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parity.bench.plan import duration
from parity.campaign import CampaignOptions
from parity.errors import UsageError
from parity.study.engines import check_address
from parity.study.pace import Pace
from parity.study.study import REAL, SHORTENED, resized
from suites.test_study import _amounts as amounts_of

ROOT = Path(__file__).parents[2]


def test_options_size_the_study_that_runs() -> None:
    options = CampaignOptions(study_seeds=3, study_size=(40, 36), study_epochs=5)
    real, shortened = amounts_of(options, asked=True), amounts_of(options, asked=False)
    assert (real.seeds, real.height, real.width, real.epochs, real.fewer_epochs) == (3, 40, 36, 5, 2)
    assert (real.batch, shortened.batch) == (REAL.batch, SHORTENED.batch)
    assert amounts_of(CampaignOptions(), asked=True) == REAL
    assert amounts_of(CampaignOptions(), asked=False) == SHORTENED
    assert amounts_of(CampaignOptions(profile="smoke"), asked=False).seeds == 1
    assert amounts_of(CampaignOptions(profile="smoke", study_seeds=4), asked=False).seeds == 4


def test_what_is_not_given_stays() -> None:
    assert resized(REAL) == REAL
    assert resized(REAL, seeds=2).epochs == REAL.epochs
    assert resized(REAL, epochs=2).fewer_epochs == 1
    with pytest.raises(UsageError, match="at least 2"):
        resized(REAL, epochs=1)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--study-seeds", "0", "of at least 1"),
        ("--study-size", "64", "no image size"),
        ("--study-epochs", "1", "of at least 2"),
        ("--study-address", "somewhere", "no address of a Dask scheduler"),
        ("--study-address", "tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_an_option_that_cannot_be_meant_is_one_line(option: str, value: str, words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "suites/test_study.py", "-m", "study", option, value]
    command += ["--report-dir", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode in (2, pytest.ExitCode.USAGE_ERROR)
    assert sum(words in line for line in (done.stdout + done.stderr).splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "comparison.md").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.1:70000", "http://127.0.0.1:80", "a b:1", ":8786", "h:"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a Dask scheduler"):
        check_address(address)


def test_without_the_extra_an_address_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs the package `distributed`: pip install 'parity\[cluster\]'"):
        check_address("[::1]:8786")


# How far it is.


def told(total: int, kept: int, *, terminal: bool, failing: int = -1) -> list[str]:
    """Return the lines of a study in which each training takes a minute."""
    now, lines = [0.0], list[str]()
    pace = Pace(lines.append, duration, terminal=terminal, clock=lambda: now[0])
    pace(kept, total, "")
    for done in range(kept + 1, total + 1):
        now[0] += 60.0
        pace(done, total, f"run{done} failed: why" if done == failing else f"run{done}: test accuracy 0.5")
    return lines


def test_a_study_says_beforehand_what_it_has_to_do() -> None:
    assert told(240, 12, terminal=False)[0] == "study: 240 trainings, 12 of them kept from before, 228 to do"
    assert told(240, 0, terminal=False)[0] == "study: 240 trainings, 240 to do"


def test_where_nobody_watches_it_says_each_tenth_part() -> None:
    lines = told(240, 40, terminal=False)
    assert [line.split(",")[0] for line in lines[1:]] == [f"study: {done} / 240" for done in range(60, 241, 20)]
    assert lines[1] == "study: 60 / 240, about 3 h left; run60: test accuracy 0.5"
    assert lines[-1] == "study: 240 / 240, run240: test accuracy 0.5"


def test_on_a_terminal_it_says_every_training() -> None:
    assert len(told(30, 0, terminal=True)) == 31


def test_what_failed_is_said_at_once() -> None:
    assert [line for line in told(100, 0, terminal=False, failing=7) if "failed" in line] == [
        "study: 7 / 100, about 1 h 33 min left; run7 failed: why"
    ]


def test_what_was_kept_makes_the_rest_no_faster() -> None:
    """The planted fault: an estimate that counts the kept trainings among those of this run."""
    pace = Pace(lambda _: None, duration, terminal=True, clock=iter([0.0, 60.0, 60.0]).__next__)
    pace(90, 100, "")
    pace(91, 100, "one")
    assert pace.left_s(91, 100) == 9 * 60.0


def test_a_study_with_nothing_left_says_so_once() -> None:
    assert told(4, 4, terminal=False) == ["study: 4 trainings, 4 of them kept from before, 0 to do"]
