"""The plan of a campaign: fair orders, a fingerprint, a time estimate, and a resume that neither loses nor mixes."""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.bench import plan as plans
from parity.bench.lanes import Lane
from parity.bench.plan import Kept, Plan, Progress, duration, make, resume, schedule, take_over
from parity.bench.run import Setting, Timing
from parity.errors import UsageError

EAGER = Lane("eager", "torch", "step", "")
GRAPH = Lane("graph", "tensorflow", "step", "")
ORT = Lane("ort", "onnxruntime", "onnx", "", works=("evaluate",))
LANES = (EAGER, GRAPH, ORT)
TRAIN, EVALUATE = Setting("train", 32, 150, 150, 1), Setting("evaluate", 32, 150, 150, 1)
SETTINGS = {"eager": [EVALUATE, TRAIN], "graph": [EVALUATE, TRAIN], "ort": [EVALUATE]}
TIMING = Timing(rounds=2, steps_per_round=3, warmup_limit=10)
ENVIRONMENT = {
    "cpu": "Example 9000",
    "cores": 2,
    "memory_bytes": 25_276_514_304,
    "device": "cpu",
    "gpu": None,
    "python": "3.11.7",
    "platform": "Linux 6 x86_64",
    "git_commit": "abc",
    "packages": {"torch": "2.6", "tensorflow": "2.18"},
}


def planned(blocks: int = 3, seed: int = 0, lanes: Sequence[Lane] = LANES, **changes: Any) -> Plan:
    given_: dict[str, Any] = {
        "settings": SETTINGS,
        "timing": TIMING,
        "data_digest": "d1",
        "image": (150, 150, 1),
        "environment": ENVIRONMENT,
        **changes,
    }
    return make(lanes, given_.pop("settings"), blocks, seed, given_.pop("timing"), **given_)


# Order.


@given(blocks=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_every_block_is_complete_and_mirrored(blocks: int, seed: int) -> None:
    rows = schedule(blocks, seed, LANES)
    assert rows == schedule(blocks, seed, LANES)
    orders = [[name for block, _, name in rows if block == number] for number in range(blocks)]
    assert all(sorted(names) == ["eager", "graph", "ort"] for names in orders)
    assert [row[:2] for row in rows] == [(block, order) for block in range(blocks) for order in range(3)]
    assert all(orders[i] == orders[-1 - i][::-1] for i in range(blocks // 2))


def test_all_orders_occur_about_equally_often() -> None:
    rows = schedule(600, 1, LANES)
    orders = Counter(tuple(name for number, _, name in rows if number == block) for block in range(600))
    assert len(orders) == math.factorial(3)
    # Five standard deviations of a fair draw; the seed is fixed, so that this cannot fail by chance.
    assert all(abs(count - 100) < 5 * math.sqrt(100) for count in orders.values())
    assert schedule(600, 2, LANES) != rows


@given(half=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_a_linear_drift_hits_every_lane_alike(half: int, seed: int) -> None:
    rows = schedule(2 * half, seed, LANES)
    when = {entry.name: [i for i, (_, _, name) in enumerate(rows) if name == entry.name] for entry in LANES}
    assert len({sum(times) for times in when.values()}) == 1


@pytest.mark.parametrize(("blocks", "lanes"), [(0, LANES), (3, ())])
def test_nothing_to_time_is_refused(blocks: int, lanes: Sequence[Lane]) -> None:
    with pytest.raises(UsageError, match=f"{blocks} blocks of {len(lanes)} lanes"):
        schedule(blocks, 0, lanes)


# What makes samples comparable.

OTHER_TIMING = replace(TIMING, rounds=9)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (planned(seed=1), "seed (0 then, 1 now)"),
        (planned(blocks=10), "blocks (3 then, 10 now)"),
        (planned(timing=OTHER_TIMING), "timing.rounds (2 then, 9 now)"),
        (planned(timing=replace(TIMING, threads=2)), "timing.threads (1 then, 2 now)"),
        (planned(timing=replace(TIMING, device="gpu")), "timing.device (cpu then, gpu now)"),
        (planned(data_digest="d2"), "data (d1 then, d2 now)"),
        (planned(image=(224, 224, 1)), "image (150x150x1 then, 224x224x1 now)"),
        (planned(lanes=LANES[:2]), "lanes.ort ("),
        (planned(lanes=(replace(EAGER, options={"fused": True}), GRAPH, ORT)), "lanes.eager.options.fused ("),
        (planned(lanes=(replace(EAGER, threads=1), GRAPH, ORT)), "lanes.eager.threads (nothing then, 1 now)"),
        (planned(lanes=(replace(EAGER, tuned_allocator=False), GRAPH, ORT)), "lanes.eager.allocator."),
        (planned(settings={**SETTINGS, "ort": [EVALUATE, TRAIN]}), "lanes.ort.settings ("),
        (planned(environment={**ENVIRONMENT, "cpu": "Other"}), "machine.cpu (Example 9000 then, Other now)"),
        (planned(environment={**ENVIRONMENT, "cores": 4}), "machine.cores (2 then, 4 now)"),
        (planned(environment={**ENVIRONMENT, "memory_bytes": 2**33}), "machine.memory_gib (24 then, 8 now)"),
        (planned(environment={**ENVIRONMENT, "packages": {"torch": "2.7"}}), "versions.torch (2.6 then, 2.7 now)"),
        (planned(environment={**ENVIRONMENT, "git_commit": "def"}), "versions.parity (abc then, def now)"),
        (
            planned(environment={**ENVIRONMENT, "workers": {"torch": {"versions": {"torch": "2.5"}}}}),
            "versions.torch wo",
        ),
    ],
)
def test_another_campaign_is_refused_in_one_line_that_says_what_differs(other: Plan, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        resume(record_of(events(planned())), other)
    assert str(caught.value).startswith("cannot resume: the interrupted campaign differs in ")
    assert "\n" not in str(caught.value)


def test_what_the_system_keeps_of_memory_is_no_other_machine() -> None:
    restarted = planned(environment={**ENVIRONMENT, "memory_bytes": ENVIRONMENT["memory_bytes"] - 2**20})  # type: ignore[operator]
    assert restarted.fingerprint == planned().fingerprint


def test_the_fingerprint_is_the_same_after_a_file() -> None:
    fields = planned().fields()
    assert json.loads(json.dumps(fields)) == fields
    assert not plans.differences(json.loads(json.dumps(fields))["fingerprint"], planned().fingerprint)


# Time.


def test_the_estimate_starts_from_defaults_and_follows_what_was_measured() -> None:
    plan = planned(blocks=2)
    progress = Progress(plan)
    before = progress.left_s()
    assert before == pytest.approx(plan.fields()["estimate_s"])
    first = plan.rows[0][2]
    default = progress.lane_s(first)
    progress.note(0, first, 3 * default)
    assert progress.lane_s(first) == pytest.approx(3 * default)
    # Lanes without a measurement are taken to be off by the same factor.
    assert progress.left_s() == pytest.approx(3 * (before - default))
    for block, _, name in plan.rows[1:]:
        progress.note(block, name, 30.0)
    assert progress.left_s() == 0.0


def test_kept_processes_cost_nothing() -> None:
    progress = Progress(planned(blocks=2))
    for block, _, name in progress.plan.rows:
        progress.note(block, name, None)
    assert progress.left_s() == 0.0
    assert progress.spent_s == {}


def test_what_a_resumed_campaign_keeps_takes_no_time() -> None:
    """What is announced beforehand is how long this run takes, and not how long the whole would have taken."""
    plan = planned(blocks=10)
    whole, rest, nothing = Progress(plan), Progress(plan), Progress(plan)
    rest.note_kept(Kept({"samples": []}, (0, 1, 2, 4, 5, 6, 7, 8), (3,), ""))
    nothing.note_kept(None)
    assert rest.left_s() == pytest.approx(0.2 * whole.left_s())
    assert nothing.left_s() == whole.left_s()


def test_the_progress_line() -> None:
    progress = Progress(planned(blocks=10))
    for name in ("eager", "graph", "ort"):
        progress.note(0, name, 20.0)
        progress.note(1, name, 28.0)
    assert progress.line(2, "graph") == "block 3/10, lane graph, about 10 min left"  # 24 processes of 24 s
    assert progress.announcement() == "10 blocks of 3 lanes, about 10 min"
    assert Progress(planned(1, lanes=LANES[:1])).announcement().startswith("1 block of 1 lane, about ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (40, "40 s"), (58, "1 min"), (700, "12 min"), (3600, "1 h"), (12_000, "3 h 20 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Resuming.

Event = tuple[str, dict[str, Any]]


def events(plan: Plan, mark: float = 1.0) -> list[Event]:
    """Return what a campaign writes, row by row; `mark` tells one campaign's figures from another's."""
    found: list[Event] = []
    for block, order, lane in plan.rows:
        for setting in plan.settings[lane]:
            sample = {**setting.fields(), "lane": lane, "block": block, "order": order, "seconds": [mark, mark + block]}
            found.append(("samples", sample))
        found.append(("phases", {"lane": lane, "block": block, "batch": 32, "forward_s": [mark]}))
        found.append(("cold_start", {"lane": lane, "block": block, "import_s": mark}))
    return found


def record_of(rows: Sequence[Event], plan: Plan | None = None, **more: Any) -> dict[str, Any]:
    """Return the record that a campaign killed after these rows leaves, as read back from its file."""
    held: dict[str, Any] = {"plan": (plan or planned()).fields(), "samples": [], "ratios": [{"a": "stale"}], **more}
    for section, row in rows:
        held.setdefault(section, []).append(row)
    found: dict[str, Any] = json.loads(json.dumps({"schema": 1, "benchmarks": held}))
    return found


Resume = Callable[[dict[str, Any], Plan], Kept]


def faults(resumed: Resume, plan: Plan, cut: int) -> list[str]:
    """Kill a campaign after `cut` rows, go on with `resumed`, and return what is wrong in the end."""
    rows = events(plan, mark=1.0)
    due = Counter(block for section, row in rows if section == "samples" for block in [row["block"]])
    seen = Counter(row["block"] for section, row in rows[:cut] if section == "samples")
    finished = [block for block in range(plan.blocks) if seen[block] == due[block]]
    try:
        kept = resumed(record_of(rows[:cut], plan), plan)
    except UsageError as error:
        return [] if not finished and "no block was finished" in str(error) else [f"refused: {error}"]
    found = []
    if list(kept.blocks) != finished:
        found.append("other blocks kept than were finished")
    held = {name: kept.content.get(name, []) for name in ("samples", "phases", "cold_start")}
    for name, content in held.items():
        before = [row for section, row in rows[:cut] if section == name and row["block"] in finished]
        if [row for row in content if row["block"] in finished] != before:
            found.append(f"{name} of a finished block lost or changed")
        if any(row["block"] not in finished for row in content):
            found.append(f"{name} of an unfinished block kept")
    if "ratios" in kept.content or "plan" in kept.content:
        found.append("what follows from the samples was kept")
    for section, row in events(plan, mark=7.0):  # the rest is measured now
        if section == "samples" and kept.sample(row["block"], row["lane"], _setting(row)) is None:
            held["samples"].append(row)
    places = Counter((row["block"], row["lane"], row["work"]) for row in held["samples"])
    if set(places.values()) != {1} or len(places) != sum(due.values()):
        found.append("the whole is not each sample once")
    if any(row["seconds"][0] == 7.0 for row in held["samples"] if row["block"] in finished):
        found.append("a finished block was measured again")
    return found


def _setting(row: dict[str, Any]) -> Setting:
    return Setting(*(row[name] for name in ("work", "batch", "height", "width", "channels")))


@settings(deadline=None, max_examples=150)
@given(blocks=st.integers(1, 5), seed=st.integers(0, 1000), data=st.data())
def test_a_campaign_cut_anywhere_goes_on_with_nothing_lost(blocks: int, seed: int, data: st.DataObject) -> None:
    plan = planned(blocks, seed)
    cut = data.draw(st.integers(0, len(events(plan))))
    assert faults(resume, plan, cut) == []


def test_every_cut_of_one_campaign() -> None:
    plan = planned(3)
    assert [cut for cut in range(len(events(plan)) + 1) if faults(resume, plan, cut)] == []


def keeping_unfinished(record: dict[str, Any], plan: Plan) -> Kept:
    kept = resume(record, plan)
    held = record["benchmarks"]
    return replace(kept, content={**kept.content, "samples": held["samples"], "phases": held.get("phases", [])})


def losing_the_last(record: dict[str, Any], plan: Plan) -> Kept:
    kept = resume(record, plan)
    content = {
        name: [row for row in rows if row["block"] != kept.blocks[-1]] if isinstance(rows, list) else rows
        for name, rows in kept.content.items()
    }
    return replace(kept, content=content)


def counting_lanes_only(record: dict[str, Any], plan: Plan) -> Kept:
    """Take a block for finished when every lane has some sample in it, whatever the setting."""
    held = record["benchmarks"]
    lanes = {block: {row["lane"] for row in held["samples"] if row["block"] == block} for block in range(plan.blocks)}
    finished = tuple(block for block, names in lanes.items() if len(names) == len(plan.lanes))
    if not finished:
        raise UsageError("nothing to resume: no block was finished")
    return Kept(plans._content(held, set(finished)), finished, (), "")


@pytest.mark.parametrize("planted", [keeping_unfinished, losing_the_last, counting_lanes_only])
def test_a_wrong_resume_is_seen(planted: Resume) -> None:
    plan = planned(3)
    assert any(faults(planted, plan, cut) for cut in range(len(events(plan)) + 1))


def test_samples_of_two_campaigns_are_refused() -> None:
    plan, other = planned(3, seed=0), planned(3, seed=4)
    assert plan.order != other.order
    mixed = record_of([*events(plan)[:7], *events(other)[7:]], plan)
    with pytest.raises(UsageError, match="not of this campaign"):
        resume(mixed, plan)
    twice = record_of([*events(plan), events(plan)[0]], plan)
    with pytest.raises(UsageError, match="twice, as of two campaigns"):
        resume(twice, plan)


def test_a_resume_that_does_not_look_at_the_fingerprint_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(events(planned(3, timing=OTHER_TIMING))[:9], planned(3, timing=OTHER_TIMING))
    record["benchmarks"]["samples"] = [row | {"seconds": [1.0] * 9} for row in record["benchmarks"]["samples"]]
    with pytest.raises(UsageError, match=re.escape("timing.rounds (9 then, 2 now)")):
        resume(record, planned(3))
    monkeypatch.setattr(plans, "differences", lambda *_: [])
    assert resume(record, planned(3)).blocks == (0,)  # planted: samples of other amounts would stand in one table


def test_a_hole_in_the_middle_is_run_again() -> None:
    plan = planned(3)
    rows = [event for event in events(plan) if not (event[1]["block"] == 1 and event[1]["lane"] == "graph")]
    kept = resume(record_of(rows), plan)
    assert (kept.blocks, kept.dropped) == ((0, 2), (1,))
    assert kept.sentence == "2 of 3 blocks are kept from the interrupted campaign; unfinished and run again: block 2"


def test_a_sample_with_fewer_rounds_than_planned_is_no_finished_one() -> None:
    rows = copy.deepcopy(events(planned(2)))
    rows[0][1]["seconds"].pop()
    assert resume(record_of(rows, planned(2)), planned(2)).blocks == (1,)


def test_a_lane_that_cannot_run_here_does_not_keep_blocks_open() -> None:
    plan = planned(2)
    rows = [event for event in events(plan) if event[1]["lane"] != "ort"]
    with pytest.raises(UsageError, match="no block was finished"):
        resume(record_of(rows, plan), plan)
    kept = resume(record_of(rows, plan, lanes_not_run=[{"lane": "ort", "why": "no provider"}]), plan)
    assert kept.blocks == (0, 1)


def test_a_failed_gate_is_proven_anew_and_a_passed_one_stays() -> None:
    plan = planned(2)
    for passed, stays in ((True, {"passed": True, "lanes": {}}), (False, {"lanes": {}})):
        gate = {"passed": passed, "lanes": {}}
        kept = resume(record_of(events(plan), plan, parity_gate=gate, limits={"measured": [1]}), plan)
        assert kept.content["parity_gate"] == stays
        assert kept.content["limits"] == {"measured": [1]}


@pytest.mark.parametrize(
    "record",
    [{}, {"benchmarks": {"not_run": "why"}}, {"benchmarks": {"samples": []}}, {"benchmarks": {"plan": 3}}],
)
def test_a_record_without_a_campaign_has_nothing_to_resume(record: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="nothing to resume: the record holds no benchmark"):
        resume(record, planned())


@pytest.mark.parametrize("damage", [{"lane": 3}, {"block": None}, {"order": 99}, {"batch": "x"}, {"work": "nap"}])
def test_a_damaged_sample_is_refused_in_one_line(damage: dict[str, Any]) -> None:
    record = record_of(events(planned()))
    record["benchmarks"]["samples"][2] |= damage
    with pytest.raises(UsageError, match="cannot resume: the record holds a sample") as caught:
        resume(record, planned())
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "comparison.partial.json"
    with pytest.raises(UsageError, match=re.escape("there is no comparison.partial.json")):
        take_over(path, planned())
    path.write_text(json.dumps(record_of(events(planned())))[:-40])
    with pytest.raises(UsageError, match="cannot be read"):
        take_over(path, planned())
    path.write_text(json.dumps(record_of(events(planned()))))
    assert take_over(path, planned()).blocks == (0, 1, 2)
