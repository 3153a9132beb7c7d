"""Whole studies of the real frameworks: one process, two at a time, a cluster, and one that was killed half-way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.whole_run

ROOT = Path(__file__).parents[2]
TRAININGS = 24  # of one seed: both frameworks, two arms on three splits, eight factors, all of them at once
SIZED = ["--study-seeds", "1", "--study-size", "24x20", "--study-epochs", "2"]
LIMIT_S = 1800


def command(report: Path, *arguments: str) -> list[str]:
    common = ["suites/test_study.py", "-m", "study", *SIZED, "--report-dir", str(report), "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *common, *arguments]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PARITY_DATA"}


def study(report: Path, *arguments: str) -> str:
    """Carry a study out and return what it said."""
    done = subprocess.run(
        command(report, *arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def timeless(found: Any) -> Any:
    """Return plain data without what says how long something took, or by whom it was done."""
    if isinstance(found, dict):
        left_out = ("seconds", "training_s", "engine")
        return {key: timeless(value) for key, value in found.items() if key not in left_out}
    return [timeless(value) for value in found] if isinstance(found, list) else found


def runs(report: Path) -> dict[str, Any]:
    return {path.name: timeless(json.loads(path.read_text())) for path in (report / "study").glob("*.json")}


def section(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = timeless(json.loads((report / "comparison.json").read_text())["study"])
    return found


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study that one process at a time carried out."""
    report = tmp_path_factory.mktemp("serial")
    said = study(report, "--threads", "1")
    assert f"study: {TRAININGS} trainings, {TRAININGS} to do" in said
    assert re.search(rf"study: 12 / {TRAININGS}, about .* left; ", said)
    assert len(re.findall(rf"study: \d+ / {TRAININGS}", said)) == 10
    return report


def test_a_serial_study_keeps_every_training(serial: Path) -> None:
    found = runs(serial)
    assert len(found) == TRAININGS
    for run in found.values():
        assert re.fullmatch("[0-9a-f]{64}", run["weights_digest"])
        assert run["weights_digest"] != run["initial_digest"]
    # Torch's own loader resizes by Pillow, as the prepared pixels are made: that change may change nothing.
    assert len({run["weights_digest"] for run in found.values()}) >= TRAININGS - 1


def test_two_at_a_time_give_the_same(serial: Path, tmp_path: Path) -> None:
    study(tmp_path, "--threads", "2")
    assert runs(tmp_path) == runs(serial)
    assert section(tmp_path) == section(serial)


def test_a_cluster_gives_the_same(serial: Path, tmp_path: Path, cluster: str) -> None:
    study(tmp_path / "report", "--study-address", cluster.removeprefix("tcp://"))
    assert runs(tmp_path / "report") == runs(serial)
    assert section(tmp_path / "report") == section(serial)
    record = json.loads((tmp_path / "report" / "comparison.json").read_text())
    assert record["study"]["engine"].startswith("Dask cluster of 2 workers")


def test_a_killed_study_goes_on_where_it_was(serial: Path, tmp_path: Path) -> None:
    kept = killed_half_way(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in kept}
    said = study(tmp_path, "--threads", "2", "--resume")
    assert f"{TRAININGS} trainings, {len(kept)} of them kept from before, {TRAININGS - len(kept)} to do" in said
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "study").glob("*.json")}
    assert {name: after[name] for name in before} == before
    assert runs(tmp_path) == runs(serial)
    assert section(tmp_path) == section(serial)


def killed_half_way(report: Path) -> list[Path]:
    """Start a study, kill it when eight trainings are kept, and return their files; no process of it is left."""
    started = subprocess.Popen(
        command(report, "--threads", "2"), cwd=ROOT, env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + LIMIT_S
    while len(list((report / "study").glob("*.json"))) < 8:
        assert started.poll() is None, "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = psutil.Process(started.pid).children(recursive=True)
    started.send_signal(signal.SIGKILL)
    started.wait(30)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    kept = sorted((report / "study").glob("*.json"))
    assert 8 <= len(kept) < TRAININGS
    return kept


def test_a_training_that_was_tampered_with_would_be_seen(serial: Path) -> None:
    """The planted fault: one logit of one training is another number."""
    changed = runs(serial)
    name = next(iter(changed))
    changed[name]["logits"]["2"]["test"][0] += 1e-9
    assert changed != runs(serial)
