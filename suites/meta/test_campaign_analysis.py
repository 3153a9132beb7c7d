"""What is read out of the samples: who is compared with whom, what is withheld, why one wins, what changes that."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.bench import analysis, regression, simulate
from parity.bench.analysis import (
    aa_check,
    block_medians,
    detection_limit,
    detection_limits,
    lane_pairs,
    latency,
    limits,
    ratios,
    sensitivity,
    summary,
    why,
)
from parity.bench.lanes import LANES, Lane
from parity.bench.regression import compare, exit_status, main
from parity.errors import RecordError
from parity.report import new_record
from parity.report.claims import settled
from parity.report.findings import no_winner_reason
from parity.stats import unpaired_ratio

A = Lane("torch-eager", "torch", "step", "")
B = Lane("tf-graph", "tensorflow", "step", "")
AGAIN = Lane("torch-eager-again", "torch", "step", "", again="torch-eager")
FUSED = Lane("torch-fused", "torch", "variant", "", against="torch-eager", factor="optimizer")
A_SLOW = Lane("torch-default", "torch", "default-allocator", "", against="torch-eager", factor="allocator")
B_SLOW = Lane("tf-default", "tensorflow", "default-allocator", "", against="tf-graph", factor="allocator")
COMPILED = Lane("torch-compile", "torch", "compiled", "")
XLA = Lane("tf-xla", "tensorflow", "compiled", "")
OURS = (A, B, AGAIN, FUSED, A_SLOW, B_SLOW, COMPILED, XLA)
HEADLINE = {"batch": 32, "height": 150, "width": 150, "channels": 1}
WOBBLE = (0.004, -0.003, 0.001, -0.002, 0.003, -0.004, 0.002, -0.001, 0.0005, -0.0005)


def samples(seconds: dict[str, float], blocks: int = 10, work: str = "train", **more: Any) -> list[dict[str, Any]]:
    """Return ten quiet blocks of lanes that take so long; each lane has its own small wobble."""
    return [
        {
            "work": work, "batch": 32, "height": 150, "width": 150, "channels": 1, "lane": lane, "block": block,
            "order": place, "seconds": [time * math.exp(WOBBLE[(block + 3 * place) % 10])] * 5, "threads": 2,
            "device": "cpu", "allocator": {}, **more,
        }
        for block in range(blocks)
        for place, (lane, time) in enumerate(seconds.items())
    ]  # fmt: skip


def by_pair(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["a"], row["b"]): row for row in rows}


# Who is compared with whom.


def test_only_equal_kinds_of_two_frameworks_are_a_headline() -> None:
    by_name = {entry.name: entry for entry in LANES}
    pairs = lane_pairs(LANES)
    for pair in pairs:
        a, b = by_name[pair.a], by_name[pair.b]
        if pair.headline:
            assert a.kind == b.kind == pair.kind
            assert a.framework != b.framework
            assert pair.kind not in ("variant", "control")
            assert a.again is None
            assert b.again is None
        else:
            assert a.against == b.name or b.again == a.name or a.kind == b.kind == "onnx"
    named = {(pair.a, pair.b): pair for pair in pairs}
    assert len(named) == len(pairs)
    assert named["torch-eager", "tf-graph"].headline
    assert not {("torch-eager", "tf-xla"), ("torch-compile", "tf-graph"), ("torch-fused", "torch-channels-last")} & set(
        named
    )
    assert named["torch-eager", "torch-eager-again"].kind == "A/A"


def test_two_lanes_of_one_framework_are_no_pair_of_their_own() -> None:
    twin = Lane("torch-other", "torch", "step", "")
    assert [(pair.a, pair.b) for pair in lane_pairs((A, twin, B))] == [
        ("torch-eager", "tf-graph"),
        ("torch-other", "tf-graph"),
    ]


def test_a_ratio_needs_blocks_in_which_both_ran() -> None:
    rows = samples({"torch-eager": 0.1, "tf-graph": 0.12})
    alone = [row for row in rows if row["lane"] == "torch-eager" or row["block"] < 7]
    found = by_pair(ratios(alone, OURS))
    assert list(found) == [("torch-eager", "tf-graph")]
    row = found["torch-eager", "tf-graph"]
    assert row["ratio"] == pytest.approx(1.2, rel=0.01)
    assert (row["blocks"], row["preliminary"], row["decision"], row["headline"]) == (7, True, "faster", True)
    disjoint = [row for row in rows if (row["lane"] == "torch-eager") == (row["block"] % 2 == 0)]
    assert ratios(disjoint, OURS) == []


def test_a_lane_that_was_lost_in_some_blocks_settles_nothing() -> None:
    """A process that died or took too long was no random one: what is left would be the blocks that went well."""
    rows = [row for row in samples(WINNER, 10) for row in (row, {**row, "block": row["block"] + 10})]
    left = [row for row in rows if row["lane"] == "torch-eager" or row["block"] not in (3, 14)]
    whole, lost = ratios(rows, OURS, blocks=20)[0], ratios(left, OURS, blocks=20)[0]
    assert (whole["decision"], whole["blocks"], "withheld" in whole) == ("faster", 20, False)
    assert (lost["decision"], lost["blocks"], lost["withheld"]) == (
        "undecided",
        18,
        "a lane is missing in some of the blocks",
    )
    assert summary({"samples": left, "plan": {"blocks": 20}}, OURS, 32)["ratios"][0]["decision"] == "undecided"


def test_settings_are_kept_apart() -> None:
    rows = samples({"torch-eager": 0.1, "tf-graph": 0.12}) + samples(
        {"torch-eager": 0.01, "tf-graph": 0.008}, work="train", batch=1
    )
    found = {row["batch"]: row["decision"] for row in ratios(rows, OURS)}
    assert found == {32: "faster", 1: "slower"}


def test_two_campaigns_in_one_list_are_refused() -> None:
    rows = samples({"torch-eager": 0.1})
    with pytest.raises(RecordError, match="block 4 of torch-eager"):
        block_medians([*rows, rows[4]])


# What stands against a claim.

WINNER = {"torch-eager": 0.1, "tf-graph": 0.12}


@pytest.mark.parametrize(
    ("rows", "gate", "said"),
    [
        (samples({**WINNER, "torch-eager-again": 0.1}), False, analysis.GATE),
        (samples({**WINNER, "torch-eager-again": 0.12}), True, analysis.AA),
        (samples(WINNER) + samples({"torch-compile": 0.1}, floor_s=0.2), True, analysis.LIMITS),
    ],
)
def test_no_winner_where_a_check_failed(rows: list[dict[str, Any]], gate: bool, said: str) -> None:
    row = by_pair(ratios(rows, OURS, gate_passed=gate))["torch-eager", "tf-graph"]
    assert (row["decision"], row["withheld"]) == ("undecided", said)
    assert row["ratio"] == pytest.approx(1.2, rel=0.01)  # the figures stay
    sound = by_pair(ratios(samples({**WINNER, "torch-eager-again": 0.1}), OURS))["torch-eager", "tf-graph"]
    assert sound["decision"] == "faster"
    assert "withheld" not in sound


def test_a_lane_below_its_floor_is_refused_and_has_no_ratio() -> None:
    rows = samples({**WINNER, "torch-eager-again": 0.1})
    rows[5] |= {"floor_s": 1.5 * rows[5]["seconds"][0]}
    section = limits(rows, {"sgemm_gflops": 40.0})
    assert section["passed"] is False
    assert [(row["lane"], row["block"]) for row in section["refused"]] == [(rows[5]["lane"], rows[5]["block"])]
    assert all(rows[5]["lane"] not in (row["a"], row["b"]) for row in ratios(rows, OURS))
    above = [row | {"floor_s": 0.05} for row in samples(WINNER)]
    assert limits(above) == {"passed": True, "refused": []}


def restless(rows: list[dict[str, Any]], lane: str, by: float) -> list[dict[str, Any]]:
    """Return the samples with one lane slower and faster in turn, block by block: a wider interval, the same mean."""
    turns = {0: 1 + by, 1: 1 / (1 + by)}
    return [
        {**row, "seconds": [turns[row["block"] % 2] * time for time in row["seconds"]]} if row["lane"] == lane else row
        for row in rows
    ]


@pytest.mark.parametrize(
    ("seconds", "by", "decision", "said"),
    [
        (0.12, 0.0, "faster", None),
        (0.12, 0.08, "faster", None),
        (0.1055, 0.08, "undecided", analysis.UNSEEN),
        (0.0945, 0.08, "undecided", analysis.UNSEEN),
        (0.101, 0.0, "within margin", None),
        (0.101, 0.08, "undecided", analysis.COARSE),
    ],
)
def test_nothing_is_decided_below_the_detection_limit(
    seconds: float, by: float, decision: str, said: str | None
) -> None:
    """The second name of a lane is restless, and so the machine: a half-width of 6 % for turns of 8 %."""
    rows = samples({"torch-eager": 0.1, "tf-graph": seconds, "torch-eager-again": 0.1, "torch-fused": 0.05})
    rows = restless(rows, "torch-eager-again", by)
    row = by_pair(ratios(rows, OURS))["torch-eager", "tf-graph"]
    assert (row["decision"], row.get("withheld")) == (decision, said)
    (changed,) = sensitivity(rows, OURS, HEADLINE)
    assert changed["baseline_decision"] == decision
    limit = detection_limit(aa_check(rows, OURS, HEADLINE))
    assert limit is not None
    assert (limit > 0.05) == (by > 0)


# A/A.


def test_the_aa_check_and_its_limits() -> None:
    rows = samples({"torch-eager": 0.1, "torch-eager-again": 0.1}) + samples(
        {"torch-eager": 0.03, "torch-eager-again": 0.03}, work="evaluate"
    )
    check = aa_check(rows, OURS, HEADLINE)
    assert check is not None
    assert (check["lane"], check["again"], check["passed"]) == ("torch-eager", "torch-eager-again", True)
    for row in check["settings"]:
        assert row["half_width"] == pytest.approx(math.sqrt(row["high"] / row["low"]) - 1)
        assert row["firm_low"] < row["low"] < row["high"] < row["firm_high"]
    assert set(detection_limits(check, HEADLINE)) == {"train", "evaluate"}
    assert detection_limit(check, HEADLINE) == max(row["half_width"] for row in check["settings"])


def test_an_injected_delay_fails_the_aa_check() -> None:
    check = aa_check(samples({"torch-eager": 0.1, "torch-eager-again": 0.103}), OURS, HEADLINE)
    assert check is not None
    assert check["passed"] is False


def test_a_failed_setting_beside_the_headline_withholds_its_own_claims_only() -> None:
    rows = samples({**WINNER, "torch-eager-again": 0.1}) + samples({**WINNER, "torch-eager-again": 0.11}, batch=8)
    check = aa_check(rows, OURS, HEADLINE)
    assert check is not None
    assert check["passed"] is True
    found = {row["batch"]: row["decision"] for row in ratios(rows, OURS) if row["headline"]}
    assert found == {32: "faster", 8: "undecided"}


def test_one_block_or_no_second_name_checks_nothing() -> None:
    assert aa_check(samples(WINNER), OURS) is None
    assert detection_limit(None) is None
    check = aa_check(samples({"torch-eager": 0.1, "torch-eager-again": 0.2}, blocks=1), OURS)
    assert check is not None
    assert check["passed"] is None
    assert detection_limit(check) is None


# Why.


def phases(lane: str, forward: float, backward: float, optimizer: float, blocks: int = 10) -> list[dict[str, Any]]:
    return [
        {"lane": lane, "block": block, "batch": 32, "forward_s": [forward, forward, 9.0], "how": "",
         "backward_s": [backward] * 3, "optimizer_s": [optimizer] * 3, "host_read_s": [0.5] * 3, "input_s": [0.7] * 3}
        for block in range(blocks)
    ]  # fmt: skip


def test_the_phase_that_carries_the_difference_is_named() -> None:
    rows = samples({"torch-eager": 0.100, "tf-graph": 0.140})
    taken = phases("torch-eager", 0.02, 0.03, 0.04) + phases("tf-graph", 0.02, 0.035, 0.07)
    found = why(rows, taken, OURS, HEADLINE)
    assert len(found) == 1
    row = found[0]
    assert (row["a"], row["b"], row["work"], row["batch"], row["blocks"]) == (
        "torch-eager",
        "tf-graph",
        "train",
        32,
        10,
    )
    assert row["carrier"] == "optimizer"
    assert row["share"] == pytest.approx(0.75, rel=0.02)
    assert row["by_phase"]["backward_s"] == pytest.approx(0.005)
    assert row["by_phase"]["forward_s"] == pytest.approx(0.0, abs=1e-12)
    # Neither lane reads to the host or is fed inside its step: those phases are no part of it.
    assert set(row["by_phase"]) == {"forward_s", "backward_s", "optimizer_s", "rest_s"}
    assert sum(row["by_phase"].values()) == pytest.approx(row["difference_s"], rel=1e-12)
    low, high = row["intervals_s"]["optimizer_s"]
    assert low == pytest.approx(high)


def test_what_no_phase_explains_is_shown_as_rest() -> None:
    rows = samples({"torch-eager": 0.100, "tf-graph": 0.080})
    found = why(rows, phases("torch-eager", 0.02, 0.03, 0.04) + phases("tf-graph", 0.02, 0.03, 0.041), OURS, HEADLINE)
    assert found[0]["carrier"] == "rest"  # tf-graph is faster, and its phases are not
    assert found[0]["difference_s"] < 0
    assert found[0]["share"] > 1


def test_a_phase_that_one_lane_cannot_separate_goes_to_the_rest() -> None:
    taken = phases("torch-eager", 0.02, 0.03, 0.04)
    for row in taken:
        del row["backward_s"]
    found = why(samples(WINNER), taken + phases("tf-graph", 0.02, 0.03, 0.05), OURS, HEADLINE)
    assert "backward_s" not in found[0]["by_phase"]


def test_host_reads_count_where_both_lanes_read() -> None:
    rows = samples(WINNER, host_reads_per_step=2.0)
    found = why(rows, phases("torch-eager", 0.02, 0.03, 0.04) + phases("tf-graph", 0.02, 0.03, 0.05), OURS, HEADLINE)
    assert "host_read_s" in found[0]["by_phase"]


def test_phases_of_other_blocks_or_sizes_explain_nothing() -> None:
    early = [row | {"block": row["block"] + 50} for row in phases("tf-graph", 1.0, 1.0, 1.0)]
    assert why(samples(WINNER), phases("torch-eager", 1.0, 1.0, 1.0) + early, OURS, HEADLINE) == []
    large = samples(WINNER, height=224, width=224)
    assert why(large, phases("torch-eager", 1, 1, 1) + phases("tf-graph", 1, 1, 1), OURS, HEADLINE) == []


# Sensitivity.


def test_what_would_change_the_answer() -> None:
    rows = samples(
        {
            "torch-eager": 0.1, "tf-graph": 0.12, "torch-eager-again": 0.1, "torch-fused": 0.06, "torch-default": 0.2,
            "tf-default": 0.15, "torch-compile": 0.08, "tf-xla": 0.08,
        }
    )  # fmt: skip
    rows += samples({"torch-eager": 0.01, "tf-graph": 0.02}, batch=1)
    rows += samples({"torch-eager": 0.3, "tf-graph": 0.2}, height=224, width=224)
    found = {row["factor"]: row for row in sensitivity(rows, OURS, HEADLINE)}
    assert {name: (row["a"], row["b"], row["decision"]) for name, row in found.items()} == {
        "optimizer": ("torch-fused", "tf-graph", "faster"),
        "allocator": ("torch-default", "tf-default", "slower"),  # glibc's defaults turn the answer round
        "jit": ("torch-compile", "tf-xla", "within margin"),
        "batch": ("torch-eager", "tf-graph", "faster"),
        "image size": ("torch-eager", "tf-graph", "slower"),
    }
    assert all(row["baseline_ratio"] == pytest.approx(1.2, rel=0.01) for row in found.values())
    assert found["optimizer"]["change"] == "fused Adam for torch-eager alone"
    assert found["batch"]["change"] == "batch 1"
    assert found["image size"]["change"] == "224x224 images"
    assert found["optimizer"]["ratio"] == pytest.approx(2.0, rel=0.01)
    assert {row["baseline_decision"] for row in found.values()} == {"faster"}


def test_both_lanes_with_one_thread_stand_against_each_other() -> None:
    names = ("torch-eager", "tf-graph", "torch-one-thread", "tf-graph-one-thread")
    rows = samples(dict(zip(names, (0.1, 0.12, 0.2, 0.2), strict=True)))
    found = {row["factor"]: row for row in sensitivity(rows, LANES, HEADLINE)}
    assert (found["threads"]["a"], found["threads"]["b"]) == ("torch-one-thread", "tf-graph-one-thread")
    assert found["threads"]["decision"] == "within margin"


def test_a_lane_that_was_lost_in_some_blocks_changes_no_answer() -> None:
    """The blocks that are left are no random ones, in this table as little as in that of the ratios."""
    rows = samples({**WINNER, "torch-fused": 0.05})
    left = [row for row in rows if not (row["lane"] == "torch-fused" and row["block"] == 3)]
    for given, blocks, decision in ((rows, 10, "faster"), (left, 10, "undecided"), (left, None, "faster")):
        (found,) = sensitivity(given, (A, B, FUSED), HEADLINE, blocks=blocks)
        assert (found["a"], found["decision"], found["baseline_decision"]) == ("torch-fused", decision, "faster")
    (found,) = sensitivity([row for row in rows if row["lane"] != "tf-graph" or row["block"]], (A, B, FUSED), HEADLINE,
                           blocks=10)  # fmt: skip
    assert (found["decision"], found["baseline_decision"]) == ("undecided", "undecided")


def test_a_baseline_that_may_not_be_claimed_is_not_called_decided() -> None:
    (found,) = sensitivity(samples({**WINNER, "torch-fused": 0.05}), (A, B, FUSED), HEADLINE, gate_passed=False)
    assert (found["decision"], found["baseline_decision"]) == ("undecided", "undecided")


def test_without_a_headline_there_is_nothing_to_be_sensitive() -> None:
    assert sensitivity(samples({"torch-eager": 0.1, "torch-fused": 0.1}), (A, FUSED), HEADLINE) == []


# Latency.


def test_latency_percentiles() -> None:
    rows = samples({"torch-eager": 0.01}, work="latency", batch=1)
    for row in rows:
        row["seconds"] = [0.01] * 29 + [0.02]
    found = latency(rows)
    assert len(found) == 1
    assert (found[0]["n"], found[0]["blocks"], found[0]["p50_s"]) == (300, 10, 0.01)
    assert found[0]["p99_s"] == 0.02
    assert latency(rows[:9])[0]["p99_s"] is None  # 270 samples
    assert latency([row | {"steps_per_sample": 5} for row in rows]) == []


# All of it.


def test_the_summary_survives_a_file_and_an_empty_record() -> None:
    held = {
        "samples": samples({**WINNER, "torch-eager-again": 0.1}),
        "phases": phases("torch-eager", 0.02, 0.03, 0.04) + phases("tf-graph", 0.02, 0.03, 0.05),
        "parity_gate": {"passed": True},
        "limits": {"sgemm_gflops": 40.0, "measured": []},
    }
    found = summary(held, OURS, 32)
    assert json.loads(json.dumps(found)) == found
    assert found["preliminary"] is False
    assert found["limits"] == {"sgemm_gflops": 40.0, "measured": [], "passed": True, "refused": []}
    assert found["ratios"][0]["decision"] == "faster"
    assert found["why"][0]["carrier"] == "optimizer" or found["why"][0]["carrier"] == "rest"
    assert summary({**held, "parity_gate": {"passed": False}}, OURS, 32)["ratios"][0]["withheld"] == analysis.GATE
    without = summary({**held, "samples": samples(WINNER)}, OURS, 32)
    assert (without["aa_check"], without["detection_limit"], without["preliminary"]) == (None, None, True)
    assert summary({}, OURS, 32)["ratios"] == []


def test_a_failed_check_of_the_run_withholds_every_claim_of_it() -> None:
    """The report names no winner at all then, and a script that reads the record must not find one."""
    rows = samples({**WINNER, "torch-eager-again": 0.11})
    rows += samples({**WINNER, "torch-eager-again": 0.1}, work="evaluate")
    found = summary({"samples": rows, "parity_gate": {"passed": True}}, (*OURS, FUSED), 32)
    assert {row["work"]: row["passed"] for row in found["aa_check"]["settings"]} == {"train": False, "evaluate": True}
    assert {(row["decision"], row.get("withheld")) for row in found["ratios"] if row["headline"]} == {
        ("undecided", analysis.AA)
    }


def test_the_latency_of_a_lane_below_its_floor_is_no_figure() -> None:
    rows = samples({"torch-eager": 0.01, "tf-graph": 0.01}, work="latency", batch=1)
    rows[0] |= {"floor_s": 0.02}
    assert [row["lane"] for row in latency(rows)] == ["tf-graph"]


def reported(benchmarks: dict[str, Any]) -> dict[str, Any]:
    """Return a record in which nothing but the benchmark's own figures could stand against a winner."""
    made = new_record("full", "pytest suites/")
    made["parity"] = [{"check": "forced", "stage": "forward", "tensor": "conv1", "verdict": "rounding", "d64": 1e-16}]
    made["benchmarks"] = {"timing": {"batch": 32}, "parity_gate": {"passed": True}, **benchmarks}
    return made


@pytest.mark.parametrize("blocks", [2, 10, 11])
@pytest.mark.parametrize("again", [True, False])
def test_record_and_report_name_the_same_winners(blocks: int, again: bool) -> None:
    """Over a few hundred noisy campaigns: what the record decides, and not less nor more, is what the report claims."""
    noise = simulate.Noise("restless", process=0.06)
    lanes = [entry for entry in simulate.LANES if again or entry.again is None]
    names, decided = {entry.name for entry in lanes}, 0
    for taken in simulate.campaigns(noise, 100, blocks, seed=3):
        rows = [row for row in taken if row["lane"] in names]
        held = {"samples": rows, "plan": {"blocks": blocks}}
        record = reported(held | summary({**held, "parity_gate": {"passed": True}}, lanes, 32, (150, 150, 1)))
        against = no_winner_reason(record)
        for row in record["benchmarks"]["ratios"]:
            if row["headline"]:
                named = row["decision"] != "undecided" and not row["preliminary"]
                assert named == (against is None and settled(row, record)), row
                decided += named
    assert (decided > 0) == (blocks >= 10 and again)


# Two records.

ENVIRONMENT = {"machine_id": "a" * 16, "cpu": "Example 9000", "cores": 2, "memory_bytes": 2**34,
               "device": "cpu", "gpu": None, "packages": {"torch": "2.6"}}  # fmt: skip


def record(seconds: dict[str, float], blocks: int = 10, **more: Any) -> dict[str, Any]:
    held = {"samples": samples(seconds, blocks), "limits": {"sgemm_gflops": 40.0, "triad_gb_s": 20.0}, **more}
    return {"schema": 1, "environment": copy.deepcopy(ENVIRONMENT), "benchmarks": held}


def test_a_slower_lane_is_found_and_the_others_are_not() -> None:
    then, now = record(WINNER), record({"torch-eager": 0.115, "tf-graph": 0.12}, blocks=12)
    now["environment"]["packages"]["torch"] = "2.7"
    found = compare(then, now)
    assert {row["lane"]: row["decision"] for row in found["settings"]} == {
        "torch-eager": "slower",
        "tf-graph": "within margin",
    }
    assert found["settings"][0]["ratio"] == pytest.approx(0.1 / 0.115, rel=0.01)
    assert (found["same_machine"], found["why_not"], found["moved"]) == (True, None, 0.0)
    assert found["versions"] == ["packages.torch (2.6 then, 2.7 now)"]
    assert exit_status(found) == 1
    assert exit_status(compare(then, then)) == 0
    faster = compare(now, then)
    assert faster["settings"][0]["decision"] == "faster"
    assert exit_status(faster) == 0
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("cpu", "Other", "cpu (Example 9000 then, Other now)"),
        ("cores", 4, "cores (2 then, 4 now)"),
        ("memory_bytes", 2**33, "memory_gib (16 then, 8 now)"),
        ("device", "gpu", "device (cpu then, gpu now)"),
        ("gpu", "T4", "gpu (nothing then, T4 now)"),
        ("machine_id", "b" * 16, f"id ({'a' * 16} then, {'b' * 16} now)"),
    ],
)
def test_another_machine_is_not_compared(name: str, value: Any, said: str) -> None:
    now = record(WINNER)
    now["environment"][name] = value
    found = compare(record(WINNER), now)
    assert (found["same_machine"], found["settings"]) == (False, [])
    assert found["why_not"] == f"not the same machine: {said}"
    assert exit_status(found) == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("threads", 1, "threads (2 then, 1 now)"),
        ("allocator", {"MALLOC_TRIM_THRESHOLD_": "1"}, "allocator"),
        ("device", "gpu", "device (cpu then, gpu now)"),
        ("batch", 8, "the earlier record has no train at batch 8 of it"),
        ("height", 224, "the earlier record has no train"),
        ("floor_s", 9.0, "a step below its physical limit"),
    ],
)
def test_a_lane_that_ran_otherwise_is_left_out_by_name(name: str, value: Any, said: str) -> None:
    now = record(WINNER)
    for row in now["benchmarks"]["samples"]:
        if row["lane"] == "tf-graph":
            row[name] = value
    found = compare(record(WINNER), now)
    assert [row["lane"] for row in found["settings"]] == ["torch-eager"]
    assert found["not_compared"][0]["lane"] == "tf-graph"
    assert said in found["not_compared"][0]["why"]


def test_blocks_are_not_paired_across_records() -> None:
    """Block i of one record has nothing to do with block i of the other: their order must not matter."""
    then, now = record(WINNER), record({"torch-eager": 0.104, "tf-graph": 0.12})
    backwards = copy.deepcopy(now)
    for row in backwards["benchmarks"]["samples"]:
        row["block"] = 9 - row["block"]
    one, other = (compare(then, side)["settings"][0] for side in (now, backwards))
    assert one["low"] == pytest.approx(other["low"], rel=1e-12)


def test_the_machine_that_moved_widens_every_interval() -> None:
    then, now = record(WINNER), record({name: 1.12 * time for name, time in WINNER.items()})
    assert {row["decision"] for row in compare(then, now)["settings"]} == {"slower"}
    now["benchmarks"]["limits"] = {"sgemm_gflops": 40.0, "triad_gb_s": 17.5}
    found = compare(then, now)
    assert found["moved"] == pytest.approx(20 / 17.5 - 1)
    assert {row["decision"] for row in found["settings"]} == {"undecided"}
    now["benchmarks"]["limits"] = {}
    assert compare(then, now)["moved"] is None


def test_a_machine_without_an_id_is_compared_by_what_it_is() -> None:
    older = record(WINNER)
    del older["environment"]["machine_id"]
    assert compare(older, record(WINNER))["same_machine"]
    assert compare(record(WINNER), older)["same_machine"]


def test_a_gpu_that_is_not_known_is_no_machine_to_compare() -> None:
    """Without `nvidia-smi` nothing says which card it was; on the CPU there is none to know."""
    then, now = record(WINNER), record(WINNER)
    for side in (then, now):
        side["environment"] |= {"device": "gpu", "gpu": None}
    found = compare(then, now)
    assert (found["same_machine"], found["why_not"]) == (False, "not the same machine: gpu (not in both records)")
    for side in (then, now):
        side["environment"] |= {"gpu": "Tesla T4, 580.82"}
    assert compare(then, now)["same_machine"]
    assert compare(record(WINNER), record(WINNER))["same_machine"]


def test_a_new_driver_is_a_version_and_no_other_machine() -> None:
    """Whether it made anything slower is what is asked; another card under the same driver is another machine."""
    then, now, other = record(WINNER), record(WINNER), record(WINNER)
    for side, gpu in ((then, "Tesla T4, 550.54"), (now, "Tesla T4, 580.82"), (other, "NVIDIA L4, 550.54")):
        side["environment"] |= {"device": "gpu", "gpu": gpu}
        for row in side["benchmarks"]["samples"]:
            row["device"] = "gpu"
    found = compare(then, now)
    assert (found["same_machine"], len(found["settings"])) == (True, 2)
    assert found["versions"] == ["gpu (Tesla T4, 550.54 then, Tesla T4, 580.82 now)"]
    assert compare(then, other)["why_not"] == "not the same machine: gpu (Tesla T4 then, NVIDIA L4 now)"


@pytest.mark.parametrize("name", ["cpu", "cores", "memory_bytes", "device"])
def test_a_machine_that_is_not_known_is_no_machine_to_compare(name: str) -> None:
    unknown = record(WINNER)
    del unknown["environment"][name]
    for found in (compare(unknown, copy.deepcopy(unknown)), compare(record(WINNER), unknown)):
        assert (found["same_machine"], found["settings"]) == (False, [])
        assert "(not in both records)" in found["why_not"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("aa_check", {"passed": False}, "the A/A check failed"), ("parity_gate", {"passed": False}, "parity gate")],
)
@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_decided_on_a_record_that_did_not_pass(
    name: str, value: dict[str, Any], said: str, late: bool
) -> None:
    good, slow = record(WINNER), record({key: 1.3 * time for key, time in WINNER.items()})
    (slow if late else good)["benchmarks"][name] = value
    found = compare(good, slow)
    assert {row["decision"] for row in found["settings"]} == {"undecided"}
    assert said in found["withheld"]
    assert exit_status(found) == 0


def test_of_many_settings_none_is_called_slower_by_chance() -> None:
    """Two runs of the same lanes, 40 settings each: were each judged alone, one run in three would find something."""
    generator, campaigns = np.random.default_rng(2), 60
    alone = together = 0
    for _ in range(campaigns):
        sides = [record({f"lane{i}": 0.1 for i in range(40)}) for _ in range(2)]
        for side in sides:
            for row in side["benchmarks"]["samples"]:
                row["seconds"] = [0.1 * math.exp(0.08 * generator.standard_normal())]
        found = compare(sides[0], sides[1])
        together += exit_status(found) != 0
        times = [[[row["seconds"][0] for row in side["benchmarks"]["samples"] if row["lane"] == f"lane{i}"]
                  for side in sides] for i in range(40)]  # fmt: skip
        alone += any(unpaired_ratio(now, then).decision == "slower" for then, now in times)
    assert alone > 0.2 * campaigns, "the fault that this test is about"
    assert together <= 0.05 * campaigns


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_a_record_that_cannot_be_a_baseline_is_known_at_once() -> None:
    regression.check(record(WINNER))
    unknown = record(WINNER)
    unknown["environment"] = {}  # of no known machine: that is said in the report, and no fault of its shape
    regression.check(unknown)
    empty, twice, unnamed, none = (record(WINNER) for _ in range(4))
    empty["benchmarks"]["samples"] = []
    twice["benchmarks"]["samples"] *= 2
    del unnamed["benchmarks"]["samples"][3]["lane"]
    none["benchmarks"]["samples"][3]["seconds"] = [0.0]
    for wrong, said in (
        ({"benchmarks": {"not_run": "no"}, "environment": {}}, "without timing samples"),
        (empty, "without timing samples"),
        (twice, "in the samples twice"),
        (unnamed, r"not shaped as schema 1 says \(KeyError\)"),
        (none, "a step of tf-graph took no time"),
    ):
        with pytest.raises(RecordError, match=said):
            regression.check(wrong)


def test_a_lane_that_only_the_earlier_run_timed_is_named() -> None:
    both, one = record(WINNER), record({"torch-eager": WINNER["torch-eager"]})
    found = compare(both, one)
    assert found["not_compared"] == [{"lane": "tf-graph", "why": "this run did not time it"}]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    then = written(tmp_path, "then.json", record(WINNER))
    assert main([then, then]) == 0
    assert "within margin" in capsys.readouterr().out
    few = written(tmp_path, "few.json", record({"torch-eager": 0.115, "tf-graph": 0.12}, blocks=4))
    assert main([then, few]) == 0, "below ten blocks nothing is known to be slower"
    out = capsys.readouterr().out
    assert re.search(r"torch-eager +train +32 +150x150x1 +100 +115 +0\.8\d\d +0\.8\d\d to 0\.\d+ +slower \(prel", out)
    assert re.search(r"tf-graph .* within margin \(preliminary\)\n", out)
    wide = record(WINNER, blocks=2)
    for row in wide["benchmarks"]["samples"]:
        row["seconds"] = [time * (1 + row["block"]) for time in row["seconds"]]
    assert main([then, written(tmp_path, "wide.json", wide)]) == 0
    assert re.search(r" undecided \(preliminary\)\n", capsys.readouterr().out), "few blocks are said so of every row"
    assert "moved by 0.0 %" in out
    assert "All settings together: then / now 0.93" in out
    slower = written(tmp_path, "now.json", record({"torch-eager": 0.115, "tf-graph": 0.12}))
    assert main([then, slower]) == 1
    assert "slower\n" in capsys.readouterr().out
    other = record(WINNER)
    other["environment"]["cores"] = 64
    assert main([then, written(tmp_path, "other.json", other)]) == 2
    assert capsys.readouterr().err == "not compared: not the same machine: cores (2 then, 64 now)\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read as a record"),
        ({"schema": 2}, "is no record of schema 1"),
        ({"schema": 1, "benchmarks": {"not_run": "no"}}, "without timing samples"),
        ({"schema": 1, "benchmarks": {"samples": [{}]}}, "not shaped as schema 1 says"),
        ({"schema": 1, "environment": {}, "benchmarks": {"samples": [{"lane": "x"}]}}, "not the same machine"),
    ],
)
def test_bad_records_end_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, said: str
) -> None:
    assert main([written(tmp_path, "then.json", record(WINNER)), written(tmp_path, "now.json", content)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert main([str(tmp_path / "nowhere.json"), str(tmp_path / "nowhere.json")]) == 2
    assert regression.CANNOT == 2
