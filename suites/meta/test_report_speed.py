"""The Speed part of the report: every figure of a whole made-up campaign, and what must not be said."""

from __future__ import annotations

import copy
import io
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.bench.analysis import summary
from parity.bench.lanes import LANES as BENCH_LANES
from parity.report import plots, read, render, write, write_report
from parity.report.answer import answer
from parity.report.claims import ratio_phrase, settled
from parity.report.phases import taken_apart
from parity.report.record import plain
from parity.report.sections import speed
from parity.report.timings import lanes, own_setting
from suites.meta.speed_record import BATCH, IMAGE, LANES, TUNED, campaign, names, sample

Record = dict[str, Any]
PICTURES = {
    "gpu.png", "phases.png", "ratios.png", "roofline.png", "speed.png", "supply.png", "sweep.png", "warmup.png",
}  # fmt: skip
PARTS = (
    "Claims", "A/A check and detection limits", "Steady steps", "Conditions of the clock", "Latency of one image",
    "Batch and image size", "Cold start", "Where the time of a training step goes", "Memory",
    "Limits of this machine", "What would change the answer", "Input supply", "GPU readings", "Against the baseline",
    "Parity gate", "Lanes and plan", "How often this method errs",
)  # fmt: skip


@pytest.fixture(scope="module")
def _whole() -> Record:
    return plain(campaign(11))  # type: ignore[no-any-return]


@pytest.fixture
def record(_whole: Record) -> Record:
    """A fresh campaign of every lane in eleven blocks: the middle block is exactly as `LANES` says."""
    return copy.deepcopy(_whole)


@pytest.fixture(scope="module")
def _steps() -> Record:
    return plain(campaign(10, step_only=True, sweeps=False, gpu=False))  # type: ignore[no-any-return]


@pytest.fixture
def small(_steps: Record) -> Record:
    """A fresh campaign of the step lanes alone."""
    return copy.deepcopy(_steps)


def _part(record: Record, heading: str) -> str:
    """Give one part of the section, without the cost of the others."""
    return "\n\n".join(dict(speed.PARTS)[heading](record))


def _rows(text: str) -> list[list[str]]:
    """Give the cells of every line of every table, headers and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    ruled = {index for index, row in enumerate(cells) if all(set(cell) <= {"-", ":"} for cell in row)}
    return [row for index, row in enumerate(cells) if index not in ruled and index + 1 not in ruled]


def _row(text: str, *starts: str) -> list[str]:
    return next(row for row in _rows(text) if row[: len(starts)] == list(starts))


def _claims(text: str) -> bool:
    return bool(re.search(r"times as fast as|equally fast|\| (faster|slower|within margin)", text))


# --- the headline ----------------------------------------------------------------------------------------


def test_the_headline_is_of_steps_and_carries_interval_blocks_and_limit(record: Record) -> None:
    head = speed.render(record).split("###")[0]
    train = "**train: torch-eager is 1.20 times as fast as tf-graph** (1.14 to 1.26, 11 blocks; detection limit 3 %)"
    evaluate = "evaluate: torch-eager and tf-graph are equally fast within 5 % (ratio 1.04, 1.03 to 1.05, 11 blocks;"
    assert f"- {train} (synthetic data)\n- {evaluate} detection limit 2 %) (synthetic data)\n" in head
    latency = "latency: tf-graph takes 1.20 times as long as torch-eager (0.86 to 1.68, 11 blocks; detection limit not"
    assert f"- {latency} measured here): undecided, no winner" in head
    assert "keras-fit" not in head


def test_the_answer_begins_with_steps_and_tells_the_other_kinds_in_one_breath(record: Record) -> None:
    text = answer(record)
    assert text.index("torch-eager is 1.20 times as fast as tf-graph") < text.index("Other kinds of lanes (train):")
    assert "fit: torch-fit 1.25 times as fast as keras-fit (1.20 to 1.30)" in text
    assert "compiled: tf-xla 1.20 times as fast as torch-compile (1.17 to 1.24)" in text
    assert "one-thread: torch-one-thread and tf-graph-one-thread equally fast" in text
    assert "no winner among default-allocator" in text


def test_every_headline_pair_has_a_line_by_kind_and_no_other_has(record: Record) -> None:
    shown = _part(record, "Claims").split("<details>")[0]
    rows = _rows(shown)
    assert [row[0] for row in rows[:3]] == ["step"] * 3
    assert _row(shown, "compiled", "train") == [
        "compiled", "train", "`torch-compile`", "`tf-xla`", "0.830", "0.806 to 0.855", "11", "3 %", "slower", "32",
        "150x150x1",
    ]  # fmt: skip
    assert _row(shown, "default-allocator", "train")[8] == "undecided"
    assert not [row for row in rows if row[0] in ("variant", "A/A")]
    assert len(rows) == 13


def test_other_settings_and_variants_are_no_headlines(record: Record) -> None:
    folded = _part(record, "Claims").split("<details>")
    assert "The same pairs at other settings: 2 ratios" in folded[1]
    assert [row[-2:] for row in _rows(folded[1])] == [["8", "150x150x1"], ["32", "224x224x1"]]
    assert "for orientation and never a headline: 1 ratio (" in folded[2]
    assert _rows(folded[2])[0][2:5] == ["`torch-fused`", "`torch-eager`", "1.346"]
    assert "batch 8" not in answer(record)


def test_fewer_than_ten_blocks_are_preliminary() -> None:
    text = render(campaign(9, step_only=True, sweeps=False, gpu=False))
    assert "9 blocks; detection limit 3 %): preliminary, no winner" in text
    assert not _claims(text.split("### What would change")[0])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b["parity_gate"].update(passed=False), "the parity gate before the timing did not pass"),
        (
            lambda b: (b["aa_check"].update(passed=False), b["aa_check"]["settings"][1].update(
                passed=False, ratio=1.2, low=1.1, high=1.31)),
            "the A/A check failed: torch-eager under a second name took another time (train, 1.20 (1.10 to 1.31))",
        ),
        (
            lambda b: b["limits"].update(passed=False, refused=[
                {"work": "train", "lane": "tf-graph", "block": 3, "median_s": 0.00123, "floor_s": 0.0142}]),
            "the physical-limit check failed: tf-graph",
        ),
    ],
)  # fmt: skip
def test_no_winner_anywhere_when_a_check_fails(record: Record, damage: Callable[[Record], Any], words: str) -> None:
    damage(record["benchmarks"])
    del record["benchmarks"]["baseline"]  # this run against an earlier one names no framework
    text = render(record)
    assert f"> **No winner is named**, because {words}" in text
    assert f"**Speed: no winner is named**, because {words}" in answer(record)
    assert not _claims(text)
    assert "Why the winner wins" not in text
    assert all(words.split(":")[0] in str(plots.references(record, name)) for name in ("speed.png", "ratios.png"))


def test_a_withheld_ratio_says_why(record: Record) -> None:
    row = record["benchmarks"]["ratios"][1] | {"decision": "undecided", "withheld": "the A/A check failed"}
    assert ratio_phrase(row, record).endswith("withheld: the A/A check failed, no winner")


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 0.95},
        {"ratio": 0.8, "low": 0.78, "high": 0.82},
        {"decision": "slower"},
        {"decision": "within margin"},
        {"low": None, "high": None},
        {"ratio": None},
    ],
)
def test_a_decision_that_its_own_interval_contradicts_is_no_winner(record: Record, changes: Record) -> None:
    row = record["benchmarks"]["ratios"][1]
    assert settled(row, record)
    row.update(changes)
    assert ratio_phrase(row, record).endswith("its own interval does not bear out the decision, no winner")
    assert "train: torch-eager is 1.20 times as fast" not in answer(record)
    assert "Why the winner wins" not in _part(record, "Where the time of a training step goes")


def test_a_warm_up_that_came_to_its_limit_is_said_beside_the_claims(record: Record) -> None:
    samples, said = record["benchmarks"]["samples"], "spans the warm-up came to its limit"
    assert f"In 2 of {len(samples)} {said} before" in _part(record, "Claims")
    record["benchmarks"]["timing"]["warmup_limit"] = 60
    assert f"{said} of 60 steps before" in _part(record, "Claims")
    for row in samples:
        row["warmup_settled"] = True
    assert said not in _part(record, "Claims")


def test_lanes_of_unlike_kinds_are_no_comparison(record: Record) -> None:
    row = record["benchmarks"]["ratios"][1] | {"a": "torch-compile"}
    assert ratio_phrase(row, record).endswith("unlike kind: compiled against step, no winner")


@pytest.mark.parametrize(
    "damage",
    [
        lambda gate: gate.update(layers="semantic"),
        lambda gate: gate["lanes"]["tf-graph"].update(logit_error=1e-4),
        lambda gate: gate["lanes"]["torch-fit"].update(step_loss_error=1.0),
    ],
)
def test_a_gate_that_passed_in_word_only_has_not_passed(record: Record, damage: Callable[[Any], Any]) -> None:
    damage(record["benchmarks"]["parity_gate"])
    assert "**Speed: no winner is named**, because the parity gate before the timing did not pass" in answer(record)
    assert "The parity gate before timing **did not pass**" in _part(record, "Parity gate")


@pytest.mark.parametrize("time", [0.0, -0.1])
def test_a_step_that_took_no_time_is_refused(record: Record, time: float) -> None:
    row = sample(record, "train", "tf-graph")
    row["seconds"][0] = time
    assert "**Speed: no winner is named**, because tf-graph is faster than the machine's limit" in answer(record)


def test_few_blocks_are_preliminary_whatever_is_flagged(record: Record) -> None:
    row = record["benchmarks"]["ratios"][1] | {"blocks": 5, "preliminary": False}
    assert ratio_phrase(row, record).endswith("preliminary, no winner")
    row["decision"] = "undecided"
    assert ratio_phrase(row, record).endswith("undecided (preliminary), no winner")


def test_an_a_a_check_that_failed_at_one_setting_names_no_winner_there(record: Record) -> None:
    row, check = record["benchmarks"]["ratios"][1], record["benchmarks"]["aa_check"]
    next(found for found in check["settings"] if found["work"] == "train")["passed"] = False
    assert check["passed"] is True
    assert ratio_phrase(row, record).endswith("the A/A check failed here, no winner")


def test_a_claim_without_an_a_a_lane_says_that_nothing_is_known_of_what_can_be_seen(record: Record) -> None:
    record["benchmarks"] |= {"aa_check": None, "detection_limit": None, "detection_limits": {}}
    assert "(1.14 to 1.26, 11 blocks; detection limit not measured)" in answer(record)


def test_an_a_a_check_that_could_see_nothing_has_not_simply_passed(record: Record) -> None:
    for row in record["benchmarks"]["aa_check"]["settings"]:
        row["half_width"] = 5.3
    part = _part(record, "A/A check and detection limits")
    assert "The A/A check found no difference, but is **too wide to tell** one (" in part
    assert "check passed" not in part


def test_a_count_that_no_float_holds_is_no_figure(record: Record) -> None:
    record["benchmarks"]["ratios"][1]["ratio"] = 10**400
    assert "train: tf-graph takes – times as long as torch-eager" in answer(record)


def test_a_difference_below_the_detection_limit_is_not_claimed(record: Record) -> None:
    row = record["benchmarks"]["ratios"][1] | {"ratio": 1.07, "low": 1.01, "high": 1.13}
    assert settled(row, record)
    record["benchmarks"]["aa_check"]["settings"][1]["half_width"] = 0.08
    assert ratio_phrase(row, record).endswith("below the detection limit, no winner")
    slower = row | {"ratio": 1 / 1.07, "low": 1 / 1.13, "high": 1 / 1.01, "decision": "slower"}
    assert ratio_phrase(slower, record).endswith("below the detection limit, no winner")


@pytest.mark.parametrize(("name", "value"), [("threads", 1), ("allocator", {}), ("device", "gpu")])
def test_unlike_conditions_are_no_comparison(record: Record, name: str, value: Any) -> None:
    for row in record["benchmarks"]["samples"]:
        if row["lane"] == "tf-graph":
            row[name] = value
    text = speed.render(record)
    assert f"unlike {name}" in text.split("###")[0]
    assert "torch-eager is 1.20 times as fast" not in text
    assert "torch-fit is 1.25 times as fast" in text


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["roof share", "median below the floor", "listed"])
def test_a_refused_step_is_printed_nowhere_as_a_speed(record: Record, how: str) -> None:
    found = sample(record, "train", "torch-compile", batch=BATCH)
    if how == "roof share":
        found["roof_share"] = 1.2
    elif how == "median below the floor":
        found |= {"floor_s": 0.5, "roof_share": None}
    else:
        record["benchmarks"]["limits"]["refused"] = [
            {"work": "train", "lane": "torch-compile", "block": 0, "median_s": 0.120, "floor_s": 0.5}
        ]
    text = speed.render(record)
    for row in _rows(text):
        if "`torch-compile`" in row[:4]:
            assert not {"0.12", "0.041", "266.7", "780.5", "0.0016", "0.830"} & set(row), row
    assert _row(_part(record, "Steady steps"), "train", "`torch-compile`")[4:8] == ["refused", "–", "–", "–"]
    assert _row(_part(record, "Steady steps"), "evaluate", "`torch-compile`")[4] == "refused"
    assert _row(_part(record, "Latency of one image"), "`torch-compile`")[4] == "refused"
    assert "`torch-compile`" not in _part(record, "Batch and image size")
    assert "torch-compile" not in [row.lane for row in taken_apart(record)]
    assert _row(_part(record, "Claims"), "compiled", "train")[4:9] == ["refused", "–", "11", "–", "refused"]


def test_no_page_says_both_that_a_step_beats_the_limit_and_that_none_does(record: Record) -> None:
    for row in record["benchmarks"]["samples"]:
        if row["lane"] == "torch-compile":
            row["seconds"] = [row["floor_s"] / 10] * 3
    assert record["benchmarks"]["limits"]["passed"] is True
    part = _part(record, "Limits of this machine")
    assert "**Refused: `torch-compile`** is faster than this machine's limit" in part
    assert "No step is faster" not in part


def test_the_share_of_a_roof_is_the_floor_over_the_median_beside_it(record: Record) -> None:
    uneven = [row for row in record["benchmarks"]["samples"] if (row["lane"], row["work"]) == ("tf-graph", "train")]
    for block, row in enumerate(uneven):
        row["seconds"] = [0.3] * 9 if block % 2 else [0.1] * 3
        row["roof_share"] = row["floor_s"] / row["seconds"][0]
    lane = next(lane for lane in lanes(record) if lane.lane == "tf-graph" and lane.work == "train")
    assert lane.stats.median != statistics.median(lane.block_medians_s)
    assert lane.roof_share == pytest.approx((lane.floor_s or 0.0) / lane.stats.median)


def test_refused_measurements_are_listed_without_their_times(record: Record) -> None:
    record["benchmarks"]["limits"] |= {
        "passed": False,
        "refused": [{"work": "train", "lane": "tf-xla", "block": 4, "median_s": 0.00321, "floor_s": 0.0142}],
    }
    part = _part(record, "Limits of this machine")
    assert "**Refused: 1 measurements are faster than this machine's limit**" in part
    assert _row(part, "train", "`tf-xla`", "4") == ["train", "`tf-xla`", "4", "0.0142"]
    assert "0.00321" not in render(record)


# --- settings never mix ----------------------------------------------------------------------------------


def test_samples_of_different_settings_never_meet_in_one_median(record: Record) -> None:
    found = {(lane.work, lane.lane, lane.setting["batch"], lane.setting["height"]): lane for lane in lanes(record)}
    assert found["train", "torch-eager", 32, 150].stats.median == pytest.approx(0.140)
    assert found["train", "torch-eager", 8, 150].stats.median == pytest.approx(0.0395)
    assert found["train", "torch-eager", 32, 224].stats.median == pytest.approx(0.315)
    assert found["train", "torch-eager", 32, 150].stats.n == 99
    assert found["latency", "torch-eager", 1, 150].stats.n == 561
    assert len(found["train", "torch-eager", 32, 150].block_medians_s) == 11


def test_conditions_part_lanes_too(small: Record) -> None:
    rows = small["benchmarks"]["samples"]
    more = [row | {"threads": 1, "seconds": [9.0]} for row in rows if row["lane"] == "tf-graph" and row["block"] == 0]
    small["benchmarks"]["samples"] = [*rows, *more]
    of_lane = [lane for lane in lanes(small) if (lane.lane, lane.work) == ("tf-graph", "train")]
    assert [(lane.conditions["threads"], lane.stats.n) for lane in of_lane] == [("2", 90), ("1", 1)]


def test_glibc_defaults_are_not_the_same_as_nothing_recorded(small: Record) -> None:
    for row in small["benchmarks"]["samples"]:
        if row["lane"] == "torch-eager":
            row["allocator"] = {}
        elif row["lane"] == "tf-graph":
            del row["allocator"]
    part = _part(small, "Conditions of the clock")
    assert _row(part, "train", "`torch-eager`")[6] == "glibc's defaults"
    assert _row(part, "train", "`tf-graph`")[6] == "–"
    assert _row(part, "train", "`torch-eager-again`")[6] == "set"


def test_the_runs_own_setting(record: Record) -> None:
    assert own_setting(record) == {"batch": BATCH, **IMAGE}
    del record["benchmarks"]["timing"]
    record["data"] = {"not_run": "deselected"}
    assert own_setting(record) == {"batch": BATCH, **IMAGE}


# --- every figure ----------------------------------------------------------------------------------------


def test_the_steps(record: Record) -> None:
    part = _part(record, "Steady steps")
    assert part.strip().startswith("batch 32, 150x150x1 images (synthetic data; times in seconds)")
    rows = _rows(part)
    assert len(rows) == sum((train is not None) + (evaluate is not None) for *_, train, evaluate, _ in LANES)
    row = _row(part, "train", "`tf-xla`")
    assert row[2:5] == ["99", "11", "0.1"]
    assert row[6:] == ["5.4 %", "320.0", "9", "900", "compiled", "10 %"]
    assert [r[1].strip("`") for r in rows if r[0] == "train"] == [n for n in names() if not n.startswith("ort")]


def test_a_span_whose_clock_was_not_proven_is_told_and_is_no_sample(record: Record) -> None:
    before = {lane.lane: lane.stats.median for lane in lanes(record) if lane.work == "train"}
    first = next(row for row in record["benchmarks"]["samples"] if row["lane"] == "tf-graph" and row["work"] == "train")
    first["unproven_seconds"] = [1e-9, 2e-9]
    assert "`tf-graph` train 2." in _part(record, "Conditions of the clock")
    assert {lane.lane: lane.stats.median for lane in lanes(record) if lane.work == "train"} == before


def test_the_conditions(record: Record) -> None:
    part = _part(record, "Conditions of the clock")
    assert _row(part, "train", "`torch-default-allocator`")[4:] == [
        "cpu", "2", "glibc's defaults", "31,000", "1.90", "0.0", "11 of 11",
    ]  # fmt: skip
    assert _row(part, "train", "`keras-torch`")[4:] == ["cpu", "2", "set", "12", "1.90", "2.0", "10 of 11"]
    assert f"Allocator set: {', '.join(f'{name}={value}' for name, value in TUNED.items())}." in part


def test_the_percentiles_of_single_images(record: Record) -> None:
    part = _part(record, "Latency of one image")
    row = _row(part, "`torch-eager`", "150x150x1")
    assert row[2:4] == ["561", "11"]
    p50, p90, p99 = map(float, row[4:7])
    assert p50 == pytest.approx(0.002, rel=0.002)
    assert p50 < p90 < p99 < 0.002 * 1.06 * 1.06


def test_few_samples_have_no_p99_and_means_no_percentiles(record: Record) -> None:
    rows = record["benchmarks"]["samples"]
    record["benchmarks"]["samples"] = [r for r in rows if r["work"] != "latency" or r["block"] < 5]
    for row in record["benchmarks"]["samples"]:
        if row["lane"] == "tf-graph" and row["work"] == "latency":
            row["steps_per_sample"] = 3
    part = _part(record, "Latency of one image")
    assert _row(part, "`torch-eager`")[6] == "255 of 299 samples"
    assert _row(part, "`tf-graph`")[4:7] == ["means of several steps have none", "–", "–"]


def test_the_sweeps(record: Record) -> None:
    part = _part(record, "Batch and image size")
    # 6 ms and 134 ms in proportion: batch 1 10.2 ms, batch 8 39.5 ms, batch 128 542 ms
    assert _row(part, "train", "`torch-eager`")[2:] == ["98 (10.2 ms)", "203 (39.5 ms)", "229 (140 ms)", "236 (542 ms)"]
    by_size = part.split("The same by image size, batch 32")[1]
    assert _row(by_size, "train", "`tf-graph`")[2:] == ["190 (168 ms)", "85 (378 ms)"]
    assert not [row for row in _rows(by_size) if row[1] == "`tf-xla`"]


def test_the_cold_start(record: Record) -> None:
    part = _part(record, "Cold start")
    assert _row(part, "`tf-xla`") == ["`tf-xla`", "11", "4.1", "0.19", "0.03", "9", "9", "9"]
    assert _row(part, "`ort-from-tf`") == ["`ort-from-tf`", "11", "0.3", "0.02", "0.03", "–", "0.4", "0.4"]
    # A framework that imports half of itself with the optimizer must not look quick by its import.
    assert _row(part, "`torch-eager`")[4] == "6.1"


def test_the_phases_and_the_reason(record: Record) -> None:
    part = _part(record, "Where the time of a training step goes")
    assert _row(part, "`tf-graph`") == ["`tf-graph`", "110", "11", "–", "34", "58", "72", "(0.3)", "4", "168"]
    assert _row(part, "`keras-fit`")[3:] == ["–", "–", "–", "–", "0.3", "182", "182"]
    assert "torch-eager takes 28 ms less per step than tf-graph. The optimizer alone accounts for 32 ms" in part
    assert _row(part, "`torch-eager`", "`tf-graph`")[5:] == [
        "28", "-1 (-3.00 to 1.00)", "-2 (-4.00 to 0.00)", "32 (30.00 to 34.00)", "-1 (-3.00 to 1.00)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 0.7, "by_phase": {"optimizer_s": 0.0196}}, "The optimizer carries 19.6 ms of that (70 %)."),
        ({"carrier": "rest", "share": 0.9, "by_phase": {"rest_s": 0.0252}}, "What no phase explains carries 25.2 ms"),
        ({"intervals_s": {"optimizer_s": [-0.001, 0.06]}}, "Its own interval holds 0, so that this is a lead"),
        ({"intervals_s": {"optimizer_s": None}}, "How sure that is, is not recorded."),
        ({"carrier": None}, "No phase is recorded as the carrier."),
        ({"difference_s": -0.028}, "torch-eager does not take less than tf-graph in the mean over blocks: no phase is"),
    ],
)
def test_the_reason_is_no_surer_than_its_figures(record: Record, changes: Record, words: str) -> None:
    record["benchmarks"]["why"][0] |= changes
    assert words in _part(record, "Where the time of a training step goes")


def test_nothing_is_explained_that_is_not_settled(record: Record) -> None:
    record["benchmarks"]["ratios"][1]["decision"] = "undecided"
    part = _part(record, "Where the time of a training step goes")
    assert "Why the winner wins" not in part
    assert _row(part, "`torch-eager`", "`tf-graph`")[5] == "28"


def test_the_memory(record: Record) -> None:
    part = _part(record, "Memory")
    assert _row(part, "`tf-xla`")[2:] == ["32", "–", "910", "140", "21", "21", "42", "56", "–"]
    assert _row(part, "`ort-from-tf`")[2:] == ["32", "–", "910", *["–"] * 6]
    record["benchmarks"]["memory"][0]["device_peak_bytes"] = 350 * 2**20
    assert _row(_part(record, "Memory"), "`torch-eager`")[-1] == "2.50"


def test_the_limits(record: Record) -> None:
    part = _part(record, "Limits of this machine")
    assert "No step is faster than this machine's limit" in part
    assert _row(part, "torch", "after") == ["torch", "after", "63.0", "11.5"]
    assert _row(part, "**best of all**") == ["**best of all**", "–", "63.0", "11.5"]
    assert _row(part, "train", "`torch-eager`") == ["train", "`torch-eager`", "0.014", "0.14", "10 %", "20 %"]
    assert _row(part, "train", "32", "150x150x1")[3:] == [
        "float32", "5,607,713", "1,480,000,000", "agrees", "agrees", "286,000,000", "81,000,000", "0.0142", "memory",
        "0.03",
    ]  # fmt: skip
    assert "disagrees" not in part


def test_a_counter_that_disagrees_is_shown(record: Record) -> None:
    counted = record["benchmarks"]["floors"][0]["counted"]
    counted[0] |= {"flops": None, "agrees": None}
    counted[1] |= {"flops": 1_500_000_000, "agrees": False}
    part = _part(record, "Limits of this machine")
    assert "**A counter disagrees with the formula.**" in part
    assert _row(part, "train", "32", "150x150x1")[6:8] == ["no counter", "**1,500,000,000**"]


def test_what_would_change_the_answer(record: Record) -> None:
    part = _part(record, "What would change the answer")
    assert _row(part, "allocator")[7:] == ["1.20", "0.93", "0.90 to 0.96", "11", "slower", "**turns round**"]
    assert _row(part, "optimizer")[7:] == ["1.20", "1.62", "1.57 to 1.67", "11", "faster", "stays"]
    assert _row(part, "threads")[11:] == ["undecided", "open"]
    record["benchmarks"]["sensitivity"][0]["baseline_decision"] = "undecided"
    assert _row(_part(record, "What would change the answer"), "allocator")[-1] == "a difference appears"
    record["benchmarks"]["sensitivity"][0] |= {"baseline_ratio": 1.02, "baseline_decision": "within margin"}
    assert _row(_part(record, "What would change the answer"), "allocator")[-1] == "a difference appears"


def test_the_supply(record: Record) -> None:
    part = _part(record, "Input supply")
    assert part.strip().startswith("**tf.data supplies 400 images/s from files with 2 cores, which is enough.**")
    assert _row(part, "`tf.data`", "supply", "2")[3:] == ["–", "256", "3", "400.0", "388.0 to 408.0", "yes"]
    assert _row(part, "`cache-torch`", "supply", "0", "shuffled")[4:6] == ["4,000", "2"]
    assert _row(part, "`tf-xla`", "train")[-1] == "320.0"
    assert "Pixels: 1 of 2 comparisons identical" in part
    assert "PyTorch **copies the prepared cache**." in part
    assert "3 files were left out" in part


def test_other_pixels_are_no_supply(record: Record) -> None:
    supply = record["benchmarks"]["supply"]
    for row in supply["rows"]:
        row["usable"] = row["source"] != "tf.data"
    supply["pixels"][1] |= {"verdict": "different", "largest_difference": 90}
    supply["problems"] = ["tf.data: 3 images never arrived"]
    part = _part(record, "Input supply")
    assert _row(part, "`tf.data`", "supply", "2")[-1] == "**no: other pixels**"
    assert _row(part, "`canonical`", "`tf.data`")[3:5] == ["**different**", "90"]
    assert "**Problem:** tf.data: 3 images never arrived" in part


def test_the_gpu(record: Record) -> None:
    part = _part(record, "GPU readings")
    assert "**its clocks were held back** (software thermal slowdown in 40 readings)" in part
    assert _row(part, "SM clock, MHz") == ["SM clock, MHz", "1290", "1590", "1590"]
    record["benchmarks"]["gpu"] |= {"readings": [], "throttled": None, "note": "no GPU readings: pynvml is missing"}
    part = _part(record, "GPU readings")
    assert "whether its clocks were held back was not read" in part
    assert "Note: no GPU readings: pynvml is missing." in part


def test_clocks_held_back_under_the_ceilings_are_told_apart(record: Record) -> None:
    gpu = record["benchmarks"]["gpu"]
    for row in gpu["readings"]:
        row["of"] = "ceilings" if row["throttle"] else "lanes"
    gpu |= {"throttled": False, "throttle_reasons": {}, "ceilings_throttle_reasons": {"power cap": 40}}
    part = _part(record, "GPU readings")
    said = (
        "its clocks were not held back, and beside the lanes, while the machine's ceilings were measured: power cap in"
    )
    assert f"{said} 40 readings" in part
    assert "clocks never held back" in str(plots.gpu.caption(record))
    label = plots.gpu.draw(record).axes[-1].get_xlabel()
    assert "grey: the machine's ceilings" in label
    assert "red:" not in label


def test_readings_that_are_not_kept_are_counted(record: Record) -> None:
    gpu = record["benchmarks"]["gpu"]
    gpu["asked"] = 3 * len(gpu["readings"])
    part = _part(record, "GPU readings")
    assert f"n = {gpu['asked']:,} readings, of which {len(gpu['readings'])} are kept" in part


@pytest.mark.parametrize(
    ("throttled", "said"),
    [(None, "whether clocks were held back was not read"), (True, "clocks held back in others than these"),
     (False, "clocks never held back")],
)  # fmt: skip
def test_the_picture_of_the_gpu_claims_no_more_than_was_read(record: Record, throttled: bool | None, said: str) -> None:
    gpu = record["benchmarks"]["gpu"]
    gpu |= {"throttled": throttled, "readings": [{**row, "throttle": None} for row in gpu["readings"]]}
    assert said in str(plots.gpu.caption(record))


def test_the_baseline(record: Record) -> None:
    part = _part(record, "Against the baseline")
    assert "**1 of 2 settings are slower than in the baseline**" in part
    assert "The machine's ceilings moved by 1.2 %." in part
    row = _row(part, "`torch-eager`")
    assert row[4:] == ["0.12", "0.14", "0.857", "0.823 to 0.891", "11", "**slower**"]
    assert "Not compared: `tf-xla`: the earlier record has no train at batch 32 of it" in part
    record["benchmarks"]["baseline"] = {"same_machine": False, "why_not": "not the same machine: cpu", "settings": []}
    assert "Not compared with the baseline: not the same machine: cpu." in _part(record, "Against the baseline")


def test_the_gate_the_lanes_and_those_that_did_not_run(record: Record) -> None:
    gate = _part(record, "Parity gate")
    assert "The parity gate before timing passed (synthetic data): layers=rounding." in gate
    assert _row(gate, "`tf-xla`") == ["`tf-xla`", "float32", "1 %", "2 %", "0.3 %", "yes"]
    shown = _part(record, "Lanes and plan")
    assert "11 blocks; in each, every lane ran once in a fresh process of its own" in shown
    assert "drawn from seed 7" in shown
    assert _row(shown, "`torch-graphs`") == ["`torch-graphs`", "it needs a GPU"]
    assert _row(shown, "`tf-xla`")[:4] == ["`tf-xla`", "tensorflow", "compiled", "the lane tf-xla"]


def test_the_self_proof_marks_what_falls_short(record: Record) -> None:
    part = _part(record, "How often this method errs")
    assert _row(part, "usual") == ["usual", "10", "1,000", "95.1 %", "1.8 %", "99.6 %"]
    assert _row(part, "all of them") == ["all of them", "3", "1,000", "**91.2 %**", "**6.1 %**", "22.0 %"]


def test_an_aa_interval_that_would_pass_anything_says_so(record: Record) -> None:
    part = _part(record, "A/A check and detection limits")
    assert _row(part, "train") == ["train", "32", "150x150x1", "1.001", "0.972 to 1.031", "11", "3 %", "passed"]
    assert "No A/A lane ran for: latency; claims there have no detection limit." in part
    record["benchmarks"]["aa_check"]["settings"][1] |= {"low": 1e-12, "high": 1e10, "half_width": 1e11}
    row = _row(_part(record, "A/A check and detection limits"), "train")
    assert row[4:] == ["1.0e-12 to 1.0e10", "11", "above 1,000 %", "too wide to tell"]


# --- what is missing -------------------------------------------------------------------------------------


def test_every_part_is_there_and_none_is_named_as_missing(record: Record) -> None:
    text = speed.render(record)
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == list(PARTS)
    assert "Not in this record" not in text
    assert set(re.findall(r"\]\((\w+\.png)\)$", text, re.MULTILINE)) == PICTURES


@pytest.mark.parametrize("gone", sorted(campaign(1, step_only=True)["benchmarks"]))
def test_any_part_may_be_missing_or_empty(small: Record, gone: str) -> None:
    held = plain(campaign(2, step_only=True, sweeps=False))["benchmarks"]
    for value in (None, type(held.get(gone))() if held.get(gone) is not None else None):
        small["benchmarks"] = {**held, gone: value}
        assert render(small).startswith("# ")
    small["benchmarks"] = {key: value for key, value in held.items() if key != gone}
    assert render(small).startswith("# ")


def test_what_is_missing_is_named(small: Record) -> None:
    for name in ("supply", "sensitivity", "baseline", "self_proof", "memory"):
        del small["benchmarks"][name]
    missing = speed.render(small).splitlines()[-1]
    assert missing == (
        "Not in this record: Batch and image size; Memory; What would change the answer; Input supply; GPU readings;"
        " Against the baseline; How often this method errs."
    )


def test_an_early_record_renders(tmp_path: Path) -> None:
    """Before kinds, settings and most parts: one sample per lane, the lanes' words alone, ratios without a kind."""
    record = campaign(3, step_only=True, sweeps=False, gpu=False)
    held = record["benchmarks"]
    late = ("kind", "height", "width", "channels", "floor_s", "roof_share", "roofline_share", "host_reads_per_step")
    samples = [
        {key: value for key, value in row.items() if key not in late}
        for row in held["samples"] if row["work"] != "latency"
    ]  # fmt: skip
    ratio = {"work": "train", "a": "torch-eager", "b": "tf-graph", "ratio": 1.2, "low": 1.1, "high": 1.3, "blocks": 3,
             "decision": "faster", "preliminary": True}  # fmt: skip
    record["benchmarks"] = {
        "samples": samples, "ratios": [ratio], "detection_limit": None, "limits": {}, "preliminary": True,
        "parity_gate": {"passed": True}, "lanes": {"torch-eager": "eager modules"},
    }  # fmt: skip
    text = write_report(record, tmp_path).read_text()
    assert "train: tf-graph takes 1.20 times as long as torch-eager (1.10 to 1.30, 3 blocks" in text
    assert "; detection limit not measured): preliminary, no winner" in text
    assert {path.name for path in tmp_path.glob("*.png")} == {"ratios.png", "speed.png", "warmup.png"}


def test_no_sample_is_said(small: Record) -> None:
    small["benchmarks"]["samples"] = []
    assert speed.render(small).startswith("No timing sample is recorded.")
    assert "Lanes not run" in speed.render(small)


def test_one_lane_alone(tmp_path: Path, small: Record) -> None:
    """As on a GPU for which the other framework has no build."""
    held = small["benchmarks"]
    held["samples"] = [row for row in held["samples"] if row["lane"] == "torch-eager" and row["block"] == 0]
    held |= {"ratios": [], "aa_check": None, "detection_limits": {}, "detection_limit": None, "why": [],
             "sensitivity": [], "preliminary": True}  # fmt: skip
    held["lanes_not_run"] = [{"lane": "tf-graph", "why": "cannot import tensorflow"}]
    text = write_report(small, tmp_path).read_text()
    assert "No winner is named: no ratio of paired blocks is recorded." in text
    assert "No lane ran twice, so the detection limit was not measured" in text
    assert not (tmp_path / "ratios.png").exists()
    assert (tmp_path / "speed.png").exists()


# --- hostile text, layout, bytes -------------------------------------------------------------------------


NASTY = "$x^$|<img src=x>`_*[层]\n## Speed\n### Claims"


def _poisoned(value: Any) -> Any:
    """Append what breaks Markdown, HTML and math to every text that is not a word the report goes by."""
    if isinstance(value, dict):
        return {key: item if key in _WORDS else _poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item) for item in value]
    return value + NASTY if isinstance(value, str) else value


_WORDS = {"decision", "work", "verdict", "kind", "stage", "framework", "carrier"}


def test_hostile_names_break_neither_page_nor_pictures(tmp_path: Path, small: Record) -> None:
    small["benchmarks"] = _poisoned(small["benchmarks"])
    small["benchmarks"]["gpu"] = _poisoned(campaign(1, step_only=True)["benchmarks"]["gpu"])
    text = write_report(small, tmp_path).read_text()
    assert "<img" not in re.sub(r"(?<!\\)`[^`\n]*`", "", text)  # inside `code` a tag is inert
    assert len(re.findall(r"^## Speed$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^### Claims$", text, re.MULTILINE)) == 1
    assert _ragged(text) == []


def _ragged(text: str) -> list[str]:
    """Give the first line of each table whose lines have unequal numbers of cells."""
    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        if len({len(re.findall(r"(?<!\\)\|", row)) for row in lines}) > 1:
            found.append(lines[0])
        lines = []
    return found


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """Give every table's first line with the text since the table before it."""
    before: list[str] = []
    inside = False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            yield "\n".join(before), line
            before = []
        elif not is_row:
            before.append(line)
        inside = is_row


def test_the_data_stand_beside_every_table_and_picture(record: Record) -> None:
    text = speed.render(record)
    assert _ragged(text) == []
    for before, head in _tables(text):
        assert "synthetic data" in before or "Simulated campaigns" in before, head
    images = re.findall(r"^!\[(.*)\]\((.*)\)$", text, re.MULTILINE)
    assert all("(synthetic data)" in caption and "n = " in caption for caption, _ in images)


def test_nothing_says_not_a_number_or_none(record: Record) -> None:
    for damaged in (record, _without_numbers(record)):
        text = speed.render(damaged)
        assert not re.search(r"\bnan\b|\binf\b|\bNone\b", text)


def _without_numbers(record: Record) -> Record:
    """Drop every second figure of the parts that stand beside the samples, as a worker that failed leaves them."""
    held = record["benchmarks"]
    for name in ("memory", "cold_start", "floors", "ratios", "sensitivity"):
        for row in held[name][::2]:
            for key in [key for key, value in row.items() if isinstance(value, float)]:
                row[key] = None
    return record


@pytest.mark.whole_run
def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(campaign(4), tmp_path / "first").parent
    assert {path.name for path in first.glob("*.png")} == PICTURES
    script = "import sys; from parity.report import read, write_report; write_report(read(sys.argv[1]), sys.argv[2])"
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", script, str(first / "comparison.json"), str(again)], check=True)
    rendered = tmp_path / "rendered"
    saved = str(first / "comparison.json")
    command = [sys.executable, "-m", "parity.cli", "render", saved, "--output", str(rendered)]
    subprocess.run(command, check=True, capture_output=True)
    for path in first.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
        assert (rendered / path.name).read_bytes() == path.read_bytes(), path.name


def test_pictures_fit_a_page_and_tell_frameworks_apart(record: Record) -> None:
    from PIL import Image

    for name, image in plots.draw(record).items():
        width, height = Image.open(io.BytesIO(image)).size
        assert width == 1200, name
        assert 300 < height < 2200, name


def test_a_picture_without_its_data_is_not_drawn(tmp_path: Path, small: Record) -> None:
    write_report(small, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == PICTURES - {"gpu.png", "sweep.png"}
    for name in ("phases", "supply", "ratios"):
        del small["benchmarks"][name]
    write_report(small, tmp_path)
    assert {path.name for path in tmp_path.glob("*.png")} == {"speed.png", "warmup.png", "roofline.png"}


# --- together with the code that judges real campaigns ---------------------------------------------------


def test_what_the_analysis_finds_is_what_the_report_says(small: Record) -> None:
    """The judge of real campaigns, on samples whose ratio is exactly 1.2 for a step and 1.04 for an evaluation."""
    held = small["benchmarks"]
    step = [lane for lane in BENCH_LANES if lane.kind == "step"]
    held |= plain(summary(held, step, BATCH, (150, 150, 1)))
    text = answer(small)
    assert "**train: torch-eager is 1.20 times as fast as tf-graph** (1.20 to 1.20, 10 blocks" in text
    assert "evaluate: torch-eager and tf-graph are equally fast within 5 % (ratio 1.04, 1.04 to 1.04" in text
    assert "**latency: torch-eager is 1.20 times as fast as tf-graph**" in text
    assert "The optimizer alone accounts for 32 ms" in speed.render(small)


def test_a_record_read_back_renders_the_same(tmp_path: Path, small: Record) -> None:
    write(small, tmp_path / "record.json")
    assert render(read(tmp_path / "record.json")) == render(small)
