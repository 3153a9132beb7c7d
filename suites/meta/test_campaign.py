"""A run of the suites as a whole: bad input, a subset, a worker killed in the middle, an interrupt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--profile", "smoke", "--image-size", "24x20", "-p", "no:cacheprovider"]
FRAMEWORKS = ("torch", "torchvision", "triton", "tensorflow", "keras", "onnxruntime")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "suites", "--ignore=suites/meta", *arguments]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "PARITY_DATA"}
    return subprocess.run(
        command(*arguments), cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=600
    )


def workers_of(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def test_collecting_imports_no_framework(tmp_path: Path) -> None:
    plugin = tmp_path / "watch_imports.py"
    plugin.write_text(
        "import sys\n"
        "def pytest_unconfigure(config):\n"
        f"    print('IMPORTED', sorted(set(sys.modules) & set({FRAMEWORKS!r})))\n"
    )
    done = run("--collect-only", "-q", "-p", "watch_imports", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "IMPORTED []" in done.stdout
    assert "test_four_answers_agree" in done.stdout


@pytest.mark.whole_run
def test_the_main_job_holds_what_fills_a_section_and_leaves_out_the_other_tests_of_the_tool() -> None:
    whole = [sys.executable, "-m", "pytest", "suites/", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=600)
    found = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert {"suites/test_forward_parity.py", "suites/test_speed.py", "suites/meta/test_kill_matrix.py"} <= found
    assert not {"suites/meta/test_campaign.py", "suites/meta/test_stats.py", "suites/meta/test_saved.py"} & found


def test_what_times_the_machine_is_not_shared_out() -> None:
    done = run("-n", "2")
    assert (done.returncode, "only suites/meta can be shared out" in done.stderr) == (4, True)


def test_a_folder_that_is_not_there_ends_the_run_at_once(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path / "nowhere"))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_folder_ends_the_run_with_one_line(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path), "--report-dir", str(tmp_path / "report"))
    assert done.returncode == 2
    assert str(tmp_path) in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "report" / "comparison.md").exists()


def test_switched_off_nothing_is_timed_and_the_record_says_so(tmp_path: Path) -> None:
    """Neither the lanes nor the supply of images, whose figures would take the reason's place."""
    chosen = ["-k", "test_speed and not no_such", "--lanes", "torch-eager"]
    done = run(*TINY, *chosen, "--benchmark-disable", "--report-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout
    record = json.loads((tmp_path / "comparison.json").read_text())
    held = record["benchmarks"]
    assert "-k 'test_speed and not no_such'" in record["command"], "as it must be typed"
    assert held == {"not_run": "skipped: timing was switched off by --benchmark-disable"}
    assert "Speed: not measured:** skipped: timing was switched off" in (tmp_path / "comparison.md").read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ('{"schema": 1, "environment": {}, "benchmarks": {"samples": [{}]}}', "not shaped as schema 1 says"),
    ],
)
def test_a_baseline_that_cannot_be_compared_ends_the_run_before_anything_is_timed(
    tmp_path: Path, content: str, words: str
) -> None:
    """Not after hours of timing, in the last line of them."""
    baseline = tmp_path / "then.json"
    baseline.write_text(content)
    done = run(*TINY, "-k", "test_step", "--baseline", str(baseline), "--report-dir", str(tmp_path / "report"))
    assert done.returncode == 2
    assert words in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "parity benchmark: " not in done.stdout


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--image-size", "big", "no image size"),
        ("--epochs", "0", "of at least 1"),
        ("--torch-python", "/nowhere/python", "no such interpreter"),
        ("--profile", "huge", "invalid choice"),
        ("--baseline", "", "no such record"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(option: str, value: str, words: str) -> None:
    done = run(option, value)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert words in done.stderr


@pytest.mark.whole_run
def test_a_missing_framework_is_an_error_and_never_a_skip(tmp_path: Path) -> None:
    shim = tmp_path / "python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # an interpreter without any installed package
    shim.chmod(0o755)
    done = run(*TINY, "--torch-python", str(shim), "-k", "carried and fresh", "--report-dir", str(tmp_path))
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "cannot import" in done.stdout
    assert "1 failed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]


@pytest.mark.whole_run
def test_a_worker_killed_in_mid_run_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*TINY, "-k", "forward_parity and fresh", "--report-dir", str(tmp_path), "-v"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    partial, deadline_s = tmp_path / "comparison.partial.json", time.monotonic() + 300
    while not partial.exists() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    victims = [child for child in workers_of(process.pid) if child.is_running()]
    assert victims, "the run had no worker to kill"
    os.kill(victims[0].pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=600)
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, output
    assert "SIGKILL" in output
    assert any("SIGKILL" in failure["what"] for failure in record["failures"])
    report = (tmp_path / "comparison.md").read_text()
    assert "**Failed:**" in report
    assert "SIGKILL" in report.partition("## Answer")[0]
    assert record["exit"] == 1
    assert record["parity"]  # measured before the crash, and after it by a fresh worker
    assert output.count("FAILED") <= 4, output  # one crash must not take the whole run with it
    assert "passed" in output.splitlines()[-1]
    assert not partial.exists()


@pytest.mark.whole_run
@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_leaves_no_process_and_keeps_what_was_measured(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*TINY, "-k", "forward_parity", "--report-dir", str(tmp_path)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline_s = time.monotonic() + 300
    while not (tmp_path / "comparison.partial.json").exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    children = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert children
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    record = json.loads((tmp_path / "comparison.json").read_text())
    assert record["parity"]
    assert "not_run" in record["onnx"]
