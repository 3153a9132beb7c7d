"""Memory of loading and streaming: lines and limits against known answers, and every planted fault is found."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.data import cache, synthetic
from parity.data.paths import cache_root
from parity.errors import UsageError
from parity.report import new_record, render
from parity.report import plots as report_plots
from parity.report.text import prose
from parity.study import memory
from parity.study.memory import (
    BOUNDED,
    GROWS,
    NOTEBOOK_BYTES,
    UNDECIDED,
    Amount,
    Files,
    fit_line,
    image_bytes,
    judged,
    limit_rows,
    measure,
    measure_one,
)
from parity.workers.client import WorkerOptions

FAKE = {"torch": f"{Path(__file__).parent / 'memory_adapter.py'}:Feeding"}
FAULTY = Path(__file__).with_name("faulty_memory.py")
SIZE = (256, 256, 3)  # 768 KiB an image: tens of them are far more than an interpreter's own unrest
# Batches of two: the one on its way when the peak is looked at is small against what is held.
AMOUNT = Amount((64, 192, 320), (SIZE,), batch=2, loaders=0)
FILES = Files(tuple(f"film{number}" for number in range(50)), tuple(number % 2 for number in range(50)))


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Measure the NumPy adapter with a planted fault."""

    def with_fault(fault: str) -> dict[str, Any]:
        monkeypatch.setenv("PARITY_MEMORY_FAULT", fault)
        return measure(FILES, AMOUNT, adapters=FAKE, parallel=2)

    return with_fault


def decisions(section: dict[str, Any]) -> dict[str, str]:
    return {fit["way"]: fit["decision"] for fit in section["fits"]}


def test_as_it_should_be_there_is_no_problem(found: Callable[[str], dict[str, Any]]) -> None:
    section = found("")
    assert section["problems"] == []
    assert decisions(section) == {"load": GROWS, "stream": BOUNDED}
    load = next(fit for fit in section["fits"] if fit["way"] == "load")
    assert 2.5 < load["copies"] < 3.5, "the list, the array and the tensor"
    assert load["image_bytes"] == image_bytes(SIZE) == 786432
    for row in section["rows"]:
        assert (row["delivered"], row["each_once"], row["steps"]) == (row["images"], True, row["images"] // 2)
        assert row["floor_bytes"] == row["images"] * 786432
    assert {row["way"] for row in section["limits"]} == {"load"}
    assert (section["files"], section["amount"]["counts"]) == (50, (64, 192, 320))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hoards", r"torch, stream: (0\.[89]|1\.[01])\d copies of each image are held, so that it does not stream"),
        ("lazy", r"torch, load: -?0\.[0-2][0-9] copies of each image are held, so that it does not load the data set"),
        ("skips", "torch, stream, 64 images: 62 images were delivered, not each of them once"),
        ("twice", "torch, stream, 64 images: 66 images were delivered, not each of them once"),
        ("dim", "torch, 64 images: the two ways deliver other pixels"),
        ("dies", "torch, stream, 64 images: .*killed by SIGKILL"),
        ("runs-out", "torch, load, 64 images: .*Unable to allocate 9.9 GiB"),
    ],
)
def test_a_planted_fault_is_found(found: Callable[[str], dict[str, Any]], fault: str, words: str) -> None:
    lines = found(fault)["problems"]
    assert any(re.search(words, line) for line in lines), lines


# Lines and limits.


def test_a_line_is_found_with_its_interval() -> None:
    exact = fit_line([10, 20, 40], [7.0, 12.0, 22.0])
    assert exact["slope"] == pytest.approx(0.5)
    assert exact["intercept"] == pytest.approx(2.0)
    assert exact["high"] - exact["low"] < 1e-9  # type: ignore[operator]
    # Student's t at one degree of freedom is 12.706; residuals 1, -2, 1 give a standard error of sqrt(6 / 200).
    bent = fit_line([0, 10, 20], [1.0, 8.0, 21.0])
    assert bent["slope"] == pytest.approx(1.0)
    assert bent["high"] == pytest.approx(1.0 + 12.7062 * math.sqrt(6 / 200), rel=1e-4)


def test_two_points_have_no_interval_and_one_no_line() -> None:
    assert fit_line([1, 2], [3.0, 5.0])["low"] is None
    with pytest.raises(UsageError, match="two different numbers of images"):
        fit_line([5, 5], [1.0, 2.0])


@pytest.mark.parametrize(
    ("copies", "low", "high", "decision"),
    [
        (3.0, 2.5, 3.5, GROWS), (1.0, 0.8, 1.2, GROWS), (3.0, None, None, GROWS), (0.1, -0.3, 0.5, BOUNDED),
        (-0.1, -0.9, 0.7, BOUNDED), (0.0, None, None, BOUNDED), (0.3, -0.6, 1.2, UNDECIDED), (1.0, 0.3, 1.7, UNDECIDED),
        (0.6, 0.4, 0.8, UNDECIDED),
    ],
)  # fmt: skip
def test_what_a_slope_says(copies: float, low: float | None, high: float | None, decision: str) -> None:
    assert judged(copies, low, high) == decision


def line(decision: str = GROWS) -> dict[str, Any]:
    """Three copies of 224x224x3 above 2 GB, known to a tenth."""
    one = image_bytes((224, 224, 3))
    return {
        "framework": "torch", "way": "load", "size": [224, 224, 3], "image_bytes": one, "import_bytes": 5e8,
        "slope": 3.0 * one, "low": 2.7 * one, "high": 3.3 * one, "intercept": 1.5e9, "mean_x": 100.0,
        "mean_y": 1.5e9 + 300.0 * one, "decision": decision,
    }  # fmt: skip


def test_where_the_limits_are() -> None:
    rows = {(tuple(row["size"]), row["limit"]): row for row in limit_rows(line())}
    large = rows[(224, 224, 3), "a free notebook kernel"]
    assert large["images"] == math.floor((NOTEBOOK_BYTES - 2e9) / (3 * 602112)) == 5923
    assert large["images_low"] < large["images"] < large["images_high"]
    small = rows[(150, 150, 1), "a free notebook kernel"]
    assert small["images"] == math.floor((NOTEBOOK_BYTES - 2e9) / (3 * 90000)) == 39629
    assert len(rows) == 4
    assert small["radiographs_bytes"] == pytest.approx(2e9 + 3 * 90000 * 5856)
    assert {tuple(row["size"]) for row in limit_rows(line(), [])} == {(224, 224, 3)}


def test_what_does_not_grow_has_no_limit() -> None:
    assert limit_rows(line(BOUNDED)) == []
    assert limit_rows(line(UNDECIDED)) == []


def test_files_come_round_again() -> None:
    paths, labels = Files(("a", "b", "c"), (0, 1, 1)).first(5)
    assert paths == ["a", "b", "c", "a", "b"]
    assert labels.dtype == np.float32
    assert labels.tolist() == [0, 1, 1, 0, 1]
    with pytest.raises(UsageError, match="no image file"):
        measure(Files((), ()), AMOUNT, adapters=FAKE)


# The report.


def report(section: dict[str, Any]) -> dict[str, Any]:
    return {**new_record("standard", "pytest suites/"), "memory_ways": section}


def test_the_report_shows_what_was_measured(found: Callable[[str], dict[str, Any]]) -> None:
    record = report(found(""))
    text = render(record)
    said = (
        r"\*\*PyTorch holds [23]\.\d copies of each loaded image; streaming stays bounded in 1 of 1 measurements\.\*\*"
    )
    assert re.search(said, text)
    assert "| PyTorch   | stream batches from files | 256x256x3 | 64, 192, 320 |" in text
    assert "All 6 processes" in text
    assert "**Problems:**" not in text
    assert report_plots.draw(record)["memory_ways.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("fault", ["hoards", "dies"])
def test_the_report_shows_what_went_wrong(found: Callable[[str], dict[str, Any]], fault: str) -> None:
    section = found(fault)
    text = render(report(section))
    assert "**Problems:**" in text
    assert "streaming stays bounded in 0 of" in text
    for line in section["problems"]:
        assert prose(line) in text


def test_a_section_that_did_not_run_has_no_picture() -> None:
    record = new_record("standard", "pytest suites/")
    assert "memory_ways.png" not in report_plots.draw(record)
    assert "## Memory: loading everything or streaming\n\nNot run: not selected in this run." in render(record)


# The real frameworks.


@pytest.fixture(scope="module")
def films() -> Files:
    root = synthetic.embedded_root(cache_root())
    prepared = cache.prepare(None, 8, 8, 1)
    labels = tuple(int(label) for label in prepared.labels("train"))
    return Files(tuple(str(root / file) for file in prepared.files("train")), labels)


@pytest.mark.whole_run
@pytest.mark.parametrize(("framework", "adapter"), [("torch", "HoardingTorch"), ("tensorflow", "HoardingTensorflow")])
def test_a_stream_that_keeps_everything_is_found_in_the_real_frameworks(
    films: Files, framework: str, adapter: str
) -> None:
    amount = replace(memory.AMOUNTS["standard"], loaders=1)
    section = measure(films, amount, adapters={framework: f"{FAULTY}:{adapter}"}, parallel=2)
    assert any("so that it does not stream" in line for line in section["problems"]), section["fits"]


@pytest.mark.whole_run
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_where_memory_is_short_loading_dies_and_streaming_ends_well(films: Files, framework: str) -> None:
    """The same allowance of 400 MiB for both: 420 images three times as float32 would take 723 MiB."""
    amount, size, count = Amount((1,), filters=2, hidden=4), (224, 224, 3), 420
    options = WorkerOptions(framework, threads=1)
    load, stream = (
        measure_one(options, framework, way, films, amount, size, count, allowance_bytes=400 * 2**20)
        for way in ("load", "stream")
    )
    assert "error" in load, load
    assert any(word in load["error"].lower() for word in ("memory", "alloc", "killed", "died")), load["error"]
    assert "error" not in stream, stream
    assert (stream["delivered"], stream["each_once"]) == (count, True)
