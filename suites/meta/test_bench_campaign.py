"""Whole benchmarks: killed half-way and resumed, compared with themselves, with a lane that is slowed on purpose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from parity.bench import analysis, plan
from parity.bench.lanes import Lane
from parity.bench.run import Setting, Timing, open_lane
from parity.model.spec import example_cnn
from parity.pair import probe_weights
from parity.pairing.weights import to_torch

ROOT = Path(__file__).parents[2]
TINY = ["--profile", "smoke", "--image-size", "24x20", "--blocks", "3", "--threads", "1", "-p", "no:cacheprovider"]
SEED = 5
DEADLINE_S = 400.0

pytestmark = pytest.mark.whole_run


def command(folder: Path, *arguments: str) -> list[str]:
    saved = [f"--benchmark-storage=file://{folder / 'saved'}", "--benchmark-autosave"]
    where = ["--report-dir", str(folder / "report")]
    seed = [f"--seed={SEED}"]
    return [sys.executable, "-m", "pytest", "suites/test_speed.py", *TINY, *seed, *saved, *where, *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "PARITY_DATA"}
    return subprocess.run(command(folder, *arguments), cwd=ROOT, env=clean, capture_output=True, text=True, timeout=900)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def samples_of(path: Path) -> list[dict[str, Any]]:
    benchmarks = read(path).get("benchmarks", {})
    return list(benchmarks.get("samples", [])) if isinstance(benchmarks, dict) else []


def until_second_block(process: subprocess.Popen[str], partial: Path) -> list[dict[str, Any]]:
    """Wait until a benchmark is in the middle of its second block and return what it has saved by then."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if partial.exists():
            samples = samples_of(partial)  # written atomically: it can be read at any time
            if any(sample["block"] == 1 for sample in samples):
                return samples
        time.sleep(0.05)
    raise AssertionError("the run ended, or hung, before its second block")


def test_killed_half_way_and_resumed_with_nothing_lost(tmp_path: Path) -> None:
    partial = tmp_path / "report" / "comparison.partial.json"
    process = subprocess.Popen(
        command(tmp_path, "--lanes", "step"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    until_second_block(process, partial)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, "a worker outlived the run"
    left = [sample for sample in samples_of(partial) if sample["block"] == 0]
    assert left

    # A careless run in between, without --resume and without the benchmark, must not lose the finished block.
    between = run(tmp_path, "--lanes", "step", "-k", "no_such_test")
    assert between.returncode == pytest.ExitCode.NO_TESTS_COLLECTED

    other = run(tmp_path, "--lanes", "step", "--resume", "--seed", "1")
    assert other.returncode == 2
    assert "cannot resume: the interrupted campaign differs in" in other.stdout
    assert f"seed ({SEED} then, 1 now)" in other.stdout

    done = run(tmp_path, "--lanes", "step", "--resume")
    assert done.returncode == 0, done.stdout
    assert "1 of 3 blocks are kept from the interrupted campaign" in done.stdout
    assert "parity benchmark: block 3/3, lane torch-eager, about " in done.stdout  # past pytest's capturing
    record = read(tmp_path / "report" / "comparison.json")["benchmarks"]
    kept = [sample for sample in record["samples"] if sample["block"] == 0]
    assert [sample["seconds"] for sample in kept] == [sample["seconds"] for sample in left]
    assert {sample["block"] for sample in record["samples"]} == {0, 1, 2}
    assert all(ratio["blocks"] == 3 for ratio in record["ratios"])
    assert record["aa_check"]["settings"]
    check_autosave(tmp_path / "saved", record)
    # Everything is in the record now: there is nothing left to go on with.
    assert not (tmp_path / "report" / "comparison.interrupted.json").exists()


def check_autosave(folder: Path, record: dict[str, Any]) -> None:
    """The samples stand in pytest-benchmark's own file, one entry for each, and its own command reads them."""
    (saved,) = folder.rglob("*.json")
    entries = read(saved)["benchmarks"]
    by_name = {entry["name"]: entry for entry in entries}
    assert len(by_name) == len(entries) == len(record["samples"])
    for sample in record["samples"]:
        at = f"{sample['work']}-{sample['batch']}x{sample['height']}x{sample['width']}x{sample['channels']}"
        entry = by_name[f"test_step[{sample['lane']}-block{sample['block']}-{at}]"]
        assert entry["stats"]["data"] == pytest.approx(sample["seconds"], rel=1e-9)
        assert (entry["extra_info"]["order"], entry["extra_info"]["block"]) == (sample["order"], sample["block"])
        assert entry["extra_info"]["seed"] == record["plan"]["seed"] == SEED
        assert entry["params"] == {"row": entry["param"]}
    shown = subprocess.run(
        [
            Path(sys.executable).with_name("pytest-benchmark"),
            f"--storage=file://{folder}",
            "compare",
            "--group-by=group",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "torch-eager-block0-train" in shown.stdout


def test_a_lane_that_dies_is_reported_and_the_other_blocks_count(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--lanes", "step", "-v"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until_second_block(process, tmp_path / "report" / "comparison.partial.json")
    victims = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "parity.workers" in " ".join(child.cmdline())
    ]
    newest = max(victims, key=lambda child: child.create_time())
    newest.kill()
    output, _ = process.communicate(timeout=900)
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, output
    assert "SIGKILL" in output
    record = read(tmp_path / "report" / "comparison.json")
    assert any("SIGKILL" in failure["what"] for failure in record["failures"])
    assert {sample["block"] for sample in record["benchmarks"]["samples"]} == {0, 1, 2}
    assert any(ratio["blocks"] == 2 for ratio in record["benchmarks"]["ratios"])


def test_on_this_machine_a_known_delay_is_found_and_the_same_lane_twice_is_no_winner() -> None:
    spec, setting = example_cnn(12, 10, 1, filters=2, hidden=3), Setting("train", 4, 12, 10, 1)
    weights, timing = to_torch(probe_weights(spec), spec), Timing(batch=4, rounds=5, steps_per_round=4, threads=1)
    delayed = f"{Path(__file__).with_name('delayed_adapter.py')}:DelayedLane"
    eager = {"run": "eager"}
    lanes = [
        Lane("torch-eager", "torch", "step", "", eager),
        Lane("torch-eager-again", "torch", "step", "", eager, again="torch-eager"),
        Lane("torch-delayed", delayed, "step", "", eager),
    ]
    batch = np.zeros((4, 12, 10, 1), np.uint8), np.zeros(4, np.uint8)
    samples = []
    for block, order, name in plan.schedule(5, 0, lanes):
        entry = next(entry for entry in lanes if entry.name == name)
        run = open_lane(entry, spec, weights, batch, timing, (block, order))
        try:
            run.warm_up(setting)
            for _ in range(timing.rounds):
                run.round(setting)
            samples.append(run.sample(setting))
        finally:
            run.close()
    found = {(row["a"], row["b"]): row for row in analysis.ratios(samples, lanes)}
    slowed = found["torch-eager", "torch-delayed"]
    assert slowed["decision"] == "faster"  # the undelayed one is
    assert slowed["low"] > 1.0
    assert found["torch-eager", "torch-eager-again"]["decision"] not in ("faster", "slower")
