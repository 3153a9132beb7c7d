"""The benchmark's rules: a random but fair order, a warm-up that ends, a clock, and a gate that wrong numbers fail."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.bench import clock
from parity.bench.gate import loss_of, prove, same_weights
from parity.bench.lanes import ALLOCATOR, LANES, Lane, chosen, lane, thread_environment
from parity.bench.plan import schedule
from parity.bench.run import AGREE, GROUP, LaneRun, Setting, Timing, open_lane, settled
from parity.errors import ParityError, UsageError
from parity.model.spec import LayerSpec, ModelSpec

ADAPTERS = Path(__file__).with_name("slow_adapter.py")
SPEC = ModelSpec("dots", 4, 5, 1, (LayerSpec("flatten", "flatten"), LayerSpec("dense1", "dense", 1)))
TIMING = Timing(batch=6, rounds=3, steps_per_round=4, warmup_limit=80, threads=1)
TRAIN, EVALUATE = Setting("train", 6, 4, 5, 1), Setting("evaluate", 6, 4, 5, 1)

# Order.


@given(blocks=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_every_block_is_complete(blocks: int, seed: int) -> None:
    rows, names = schedule(blocks, seed, LANES), sorted(entry.name for entry in LANES)
    assert rows == schedule(blocks, seed, LANES)
    assert len(rows) == blocks * len(names)
    for block in range(blocks):
        mine = [(order, name) for number, order, name in rows if number == block]
        assert [order for order, _ in mine] == list(range(len(names)))
        assert sorted(name for _, name in mine) == names
    assert [number for number, _, _ in rows] == sorted(number for number, _, _ in rows)


def test_all_orders_occur_about_equally_often() -> None:
    rows = schedule(600, 1, LANES[:3])
    orders = Counter(tuple(name for number, _, name in rows if number == block) for block in range(600))
    expected = 600 / math.factorial(3)
    assert len(orders) == math.factorial(3)
    # Five standard deviations of a fair draw; the seed is fixed, so that this cannot fail by chance.
    assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in orders.values())
    assert schedule(600, 2, LANES[:3]) != rows


def test_lanes_are_found_by_name() -> None:
    assert lane("tf-graph").framework == "tensorflow"
    assert len({entry.name for entry in LANES}) == len(LANES)
    with pytest.raises(UsageError, match=re.escape("no lane `torch`; lanes: torch-eager, tf-graph")):
        lane("torch")
    with pytest.raises(UsageError, match="no lane, framework or kind `pytorch`"):
        chosen("full", "cpu", ["pytorch"])


def test_each_profile_has_the_lanes_of_the_lesser_ones() -> None:
    smoke, standard, full = (chosen(profile, None) for profile in ("smoke", "standard", "full"))
    assert set(smoke) < set(standard) < set(full) == set(LANES)
    assert {entry.framework for entry in smoke} == {"torch", "tensorflow"}


def test_lanes_are_chosen_by_name_framework_and_kind() -> None:
    assert {entry.name for entry in chosen("smoke", "cpu", ["onnx", "tf-xla"])} == {
        "ort-from-tf",
        "ort-from-torch",
        "tf-xla",
    }
    assert {entry.framework for entry in chosen("smoke", None, ["torch"])} == {"torch"}
    assert all("cpu" in entry.devices for entry in chosen("full", "cpu"))
    assert "torch-graphs" not in {entry.name for entry in chosen("full", "cpu")}


def test_lanes_that_are_compared_for_a_headline_do_the_same_work() -> None:
    for kind in {entry.kind for entry in LANES} - {"variant", "control", "onnx"}:
        alike = [entry for entry in LANES if entry.kind == kind and entry.again is None]
        assert {entry.framework for entry in alike} == {"torch", "tensorflow"}, kind
        assert len({(entry.tuned_allocator, entry.threads, entry.options.get("precision")) for entry in alike}) == 1
    for entry in LANES:
        other = entry.against or entry.again
        assert other is None or other in {known.name for known in LANES}
        assert (entry.against is None) == (entry.factor is None)


def test_all_thread_pools_are_told() -> None:
    told = thread_environment(3)
    assert {told[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}


# Warm-up.


def groups(*medians: float) -> list[float]:
    return [value for median in medians for value in [median] * GROUP]


def test_settled_needs_five_medians_that_agree() -> None:
    assert not settled([])
    assert not settled(groups(1.0, 1.0, 1.0, 1.0) + [1.0] * (GROUP - 1))
    assert settled(groups(1.0, 1.0, 1.0, 1.0, 1.0))
    assert settled(groups(1.0, 1.0 + 0.9 * AGREE, 1.0, 1.0, 1.0))
    assert not settled(groups(1.0, 1.0 + 1.1 * AGREE, 1.0, 1.0, 1.0))
    assert not settled(groups(1.08, 1.06, 1.04, 1.02, 1.0))  # neighbours agree, the ends do not


def test_settled_looks_at_the_last_five_and_at_medians() -> None:
    assert settled(groups(9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert not settled(groups(1.0, 1.0, 1.0, 1.0, 1.0, 9.0))
    spiky = groups(1.0, 1.0, 1.0, 1.0, 1.0)
    for group in range(5):
        spiky[group * GROUP] = 100.0  # one slow step in ten is no trend
    assert settled(spiky)


# The clock.


def test_the_clock_is_the_sum_of_what_was_measured() -> None:
    before = clock.read()
    assert clock.read() == before
    clock.advance(0.25)
    clock.advance(0.5)
    assert clock.read() - before == pytest.approx(0.75, rel=1e-12)


# The gate.

LOGITS = np.array([0.3, -1.2, 2.5, 0.0], np.float32)
LABELS = np.array([1.0, 0.0, 1.0, 0.0])
ALLOWED = np.full(4, 1e-5)


def proved(**changes: Any) -> dict[str, Any]:
    given_ = {
        "logits": LOGITS,
        "loss": loss_of(LOGITS, LABELS)[0],
        "labels": LABELS,
        "twin": LOGITS.astype(np.float64) + 1e-6,
        "allowed": ALLOWED,
    }
    return prove("torch-eager", **{**given_, **changes})


def test_a_correct_lane_is_proven_and_its_figures_kept() -> None:
    figures = proved()
    assert figures["logit_error"] == pytest.approx(1e-6, rel=1e-3)
    assert figures["logit_allowed"] == 1e-5
    assert figures["loss_error"] == 0.0
    assert 0.0 < figures["loss_allowed"] < 1e-5


@pytest.mark.parametrize("index", range(4))
def test_one_logit_that_is_off_stops_the_clock(index: int) -> None:
    off = LOGITS.astype(np.float64)
    off[index] += 1e-2
    said = (
        "torch-eager is not timed: its logits are up to 1.00e-02 from the float64 twin, and rounding explains 1.00e-05"
    )
    with pytest.raises(ParityError, match=re.escape(said)):
        proved(twin=off)


def test_the_bound_of_each_logit_is_its_own() -> None:
    off = LOGITS.astype(np.float64)
    off[2] += 1e-3
    assert proved(twin=off, allowed=np.array([1e-9, 1e-9, 1e-2, 1e-9]))
    with pytest.raises(ParityError, match="is not timed: its logits"):
        proved(twin=off, allowed=np.array([1e-2, 1e-2, 1e-9, 1e-2]))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["logits", "twin", "allowed", "logits and twin"])
def test_what_is_not_finite_proves_nothing(bad: float, where: str) -> None:
    given_ = {"logits": LOGITS.astype(np.float64), "twin": LOGITS.astype(np.float64), "allowed": np.array(ALLOWED)}
    for name in where.split(" and "):
        given_[name][1] = bad
    with pytest.raises(ParityError, match="torch-eager is not timed: its logits are up to "):
        proved(**given_)


@pytest.mark.parametrize("loss", [0.0, math.nan, math.inf, loss_of(LOGITS, LABELS)[0] + 1e-4])
def test_a_wrong_loss_stops_the_clock(loss: float) -> None:
    with pytest.raises(ParityError, match=r"torch-eager is not timed: its loss is .*, and its own logits give 0\.3974"):
        proved(loss=loss)


def test_the_loss_of_other_labels_stops_the_clock() -> None:
    with pytest.raises(ParityError, match="is not timed: its loss is"):
        proved(labels=1.0 - LABELS)


def test_logits_of_another_shape_prove_nothing() -> None:
    for logits, twin in ((LOGITS[:3], LOGITS), (LOGITS[:, None], LOGITS), (LOGITS[:0], LOGITS[:0])):
        with pytest.raises(ParityError, match="is not timed: it gave logits of shape"):
            proved(logits=logits, twin=twin)


def by_decimals(logits: list[float], labels: list[int]) -> float:
    """Return the mean of log(1 + e^z) - y·z with fifty digits."""
    with localcontext() as context:
        context.prec = 50
        exact = [Decimal(z) for z in logits]
        terms = [(1 + z.exp()).ln() - y * z for z, y in zip(exact, labels, strict=True)]
        return float(sum(terms, Decimal(0)) / len(terms))


@settings(deadline=None, max_examples=80)
@given(rows=st.lists(st.tuples(st.floats(-60, 60), st.integers(0, 1)), min_size=1, max_size=12))
def test_the_exact_loss_against_fifty_digits(rows: list[tuple[float, int]]) -> None:
    logits, labels = [z for z, _ in rows], [y for _, y in rows]
    loss, allowed = loss_of(np.array(logits), np.array(labels))
    size = 1.0 + max(abs(z) for z in logits)
    assert loss == pytest.approx(by_decimals(logits, labels), rel=1e-13, abs=4 * 2.0**-53 * size)
    assert 0.0 < allowed < 1e-4 * size


@settings(deadline=None, max_examples=80)
@given(rows=st.lists(st.tuples(st.floats(-30, 30, width=32), st.integers(0, 1)), min_size=1, max_size=40))
def test_a_correct_float32_loss_is_within_what_is_allowed(rows: list[tuple[float, int]]) -> None:
    z, y = np.array([z for z, _ in rows], np.float32), np.array([y for _, y in rows], np.float32)
    exact, allowed = loss_of(z, y)
    single = np.maximum(z, np.float32(0)) - z * y + np.log1p(np.exp(-np.abs(z)))
    total = np.float32(0)
    for term in single:
        total = np.float32(total + term)
    assert abs(float(total / np.float32(len(z))) - exact) <= allowed


def test_large_logits_have_a_finite_loss() -> None:
    assert loss_of(np.array([1000.0, -1000.0]), np.array([1.0, 0.0]))[0] == 0.0
    assert loss_of(np.array([1000.0]), np.array([0.0]))[0] == 1000.0


def test_same_weights_means_names_and_bits() -> None:
    a = {"w": np.array([1.0, 2.0])}
    assert same_weights(a, {"w": np.array([1.0, 2.0])})
    assert not same_weights(a, {"w": np.array([1.0, np.nextafter(2.0, 3.0)])})
    assert not same_weights(a, {"v": np.array([1.0, 2.0])})
    assert not same_weights(a, {**a, "v": np.array([1.0])})


# What pytest-benchmark saves.

MADE_UP = """
from types import SimpleNamespace

import pytest

from parity.bench import clock
from parity.bench.run import Setting
from suites.test_speed import test_step

FAILS = {fails!r}


class Bench:
    plan = SimpleNamespace(seed=7)

    def why_not(self, row):
        return None

    def ready(self, row):
        return SimpleNamespace(rounds=3, round=self.round)

    def round(self):
        clock.advance(0.25)

    def keep(self, row):
        if FAILS == "not kept":
            raise RuntimeError("the worker died")
        return {{"lane": "eager", "block": 0, "seconds": [0.25] * (2 if FAILS == "too few" else 3)}}


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def row():
    return SimpleNamespace(lane="eager", setting=Setting("train", 32, 150, 150, 1))
"""


@pytest.mark.parametrize(("fails", "saved"), [(None, [[0.25] * 3]), ("not kept", []), ("too few", [])])
def test_a_figure_that_the_record_lacks_is_not_saved_either(
    tmp_path: Path, fails: str | None, saved: list[Any]
) -> None:
    (tmp_path / "test_made_up.py").write_text(MADE_UP.format(fails=fails))
    file = tmp_path / "saved.json"
    asked = ["--benchmark-save-data", f"--benchmark-json={file}", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    # Where a worker of pytest-xdist is the parent, pytest-benchmark would take this run for one of its own.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *asked, "-c", os.devnull, "test_made_up.py"],
        cwd=tmp_path, capture_output=True, check=False, timeout=120,
        env={**own, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    entries = json.loads(file.read_text())["benchmarks"] if file.exists() and file.read_text() else []
    assert [entry["stats"]["data"] for entry in entries] == saved
    assert all(entry["extra_info"]["seed"] == 7 for entry in entries)


# One lane in one process.


def opened(kind: str, timing: Timing = TIMING, **changes: Any) -> LaneRun:
    images, labels = np.zeros((timing.batch, 4, 5, 1), np.uint8), np.zeros(timing.batch, np.uint8)
    weights = {"dense1/kernel": np.ones((20, 1), np.float32)}
    made = Lane(kind, f"{ADAPTERS}:{kind}", "step", "", **changes)
    return open_lane(made, SPEC, weights, (images, labels), timing, (3, 1))


@pytest.fixture
def honest() -> Iterator[LaneRun]:
    run = opened("HonestLane")
    yield run
    run.close()


def test_a_lane_is_given_everything_before_its_clock_starts(honest: LaneRun) -> None:
    told = honest.worker.call("told")
    assert told["environment"] == {**ALLOCATOR, "OMP_NUM_THREADS": "1"}
    assert (told["layers"], told["weights"]) == (2, ["dense1/kernel"])
    assert (told["images"], told["labels"]) == ([6, 4, 5, 1], [6])
    assert told["options"] == {"learning_rate": 1e-3, "epsilon": 1e-7}
    assert told["whole_import"], "its import is timed"


def test_a_lane_may_have_an_allocator_and_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALLOCATOR:
        monkeypatch.setenv(name, "65536")  # whoever started the run had settings of his own
    run = opened("HonestLane", Timing(batch=6, threads=2), tuned_allocator=False, threads=1, options={"run": "eager"})
    try:
        told = run.worker.call("told")
        assert told["environment"] == {**dict.fromkeys(ALLOCATOR), "OMP_NUM_THREADS": "1"}
        assert told["options"]["run"] == "eager"
        run.warm_up(TRAIN)
        run.round(TRAIN)
        assert (run.sample(TRAIN)["threads"], run.sample(TRAIN)["allocator"]) == (1, {})
    finally:
        run.close()


def test_a_lane_is_warmed_up_and_timed_by_its_own_clock(honest: LaneRun) -> None:
    honest.warm_up(TRAIN)
    assert honest.warmups[TRAIN] == [0.002] * (5 * GROUP)  # steady at once: no more than what settling needs
    before = clock.read()
    for _ in range(3):
        honest.round(TRAIN)
    assert clock.read() - before == pytest.approx(3 * 0.002, rel=1e-9)  # seconds of one step per round
    sample = honest.sample(TRAIN)
    assert sample["seconds"] == pytest.approx([0.002] * 3)
    assert (sample["work"], sample["lane"], sample["block"], sample["order"]) == ("train", "HonestLane", 3, 1)
    assert (sample["batch"], sample["height"], sample["width"], sample["channels"]) == (6, 4, 5, 1)
    assert sample["images_per_s"] == pytest.approx(6 / 0.002)
    assert sample["first_step_s"] == 0.5
    assert sample["warmup_settled"] is True
    assert sample["minor_faults_per_step"] == pytest.approx(3.0)
    assert sample["host_reads_per_step"] == pytest.approx(2.0)
    assert sample["cpu_per_wall"] == pytest.approx(2.0)
    assert (sample["peak_bytes"], sample["threads"], sample["steps_per_sample"]) == (1_000_000, 1, 4)
    on_gpu = replace(honest, timing=replace(honest.timing, device="gpu"))  # the host's peak is no figure of a GPU's
    assert on_gpu.sample(TRAIN)["peak_bytes"] is None
    assert honest.phases(TRAIN)["forward_s"] == [0.001] * TIMING.phase_steps
    cold = honest.cold_start()
    assert (cold["lane"], cold["block"], cold["import_s"], cold["first_steps"]) == (
        "HonestLane",
        3,
        2.0,
        {"train": 0.5},
    )


def test_the_steps_that_were_really_taken_are_divided_by() -> None:
    run = opened("ByTens")
    try:
        run.warm_up(TRAIN)
        run.round(TRAIN)
        sample = run.sample(TRAIN)
        assert (sample["steps_per_sample"], sample["seconds"]) == (10, [pytest.approx(0.002)])
        assert sample["minor_faults_per_step"] == pytest.approx(3.0)
    finally:
        run.close()


def test_entering_fit_is_not_timed_once_for_every_step() -> None:
    run = opened("HonestLane", options={"run": "fit"})
    try:
        run.warm_up(TRAIN)
        assert len(run.warmups[TRAIN]) == 5  # five means of ten steps each, and settled
        assert run.worker.call("calls") == 5
    finally:
        run.close()


@pytest.mark.parametrize(("run_as", "steps", "samples"), [("eager", 4, 5 * GROUP), ("fit", GROUP, 5)])
def test_on_a_gpu_a_warm_up_sample_waits_as_seldom_as_a_timed_one(run_as: str, steps: int, samples: int) -> None:
    run = opened("HonestLane", options={"run": run_as})
    run.timing = replace(TIMING, device="gpu")
    asked: list[int] = []
    honest = run._ask

    def noted(setting: Setting, steps: int, warm: bool = False) -> dict[str, float]:
        asked.append(steps)
        return honest(setting, steps, warm)

    run._ask = noted  # type: ignore[method-assign]
    try:
        run.warm_up(TRAIN)
        assert asked == [steps] * samples
        run.round(TRAIN)
        assert asked[-1] == TIMING.steps_per_round
        assert run.sample(TRAIN)["warmup_settled"] is True
    finally:
        run.close()


def test_a_latency_is_the_time_of_one_step() -> None:
    timing = Timing(batch=6, rounds=3, steps_per_round=4, latency_rounds=7)
    single = Setting("latency", 1, 4, 5, 1)
    assert (timing.rounds_of(single), timing.steps_of(single)) == (7, 1)
    assert (timing.rounds_of(TRAIN), timing.steps_of(TRAIN)) == (3, 4)
    assert timing.rounds_of(Setting("train", 128, 4, 5, 1)) == timing.sweep_rounds


def test_a_warm_up_that_never_settles_ends_and_says_so() -> None:
    run = opened("UnsettledLane")
    try:
        run.warm_up(EVALUATE)
        assert len(run.warmups[EVALUATE]) == TIMING.warmup_limit
        run.round(EVALUATE)
        assert run.sample(EVALUATE)["warmup_settled"] is False
    finally:
        run.close()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("CompilingLane", "CompilingLane traced or compiled 1 times inside the clock of `train`"),
        ("PartialBatch", "PartialBatch worked on 23 images inside the clock of `train` where 4 full batches of 6"),
        ("MissingBatch", "MissingBatch worked on 18 images inside the clock of `train` where 4 full batches of 6"),
        ("Unsynchronised", "stopped its clock of `train` after 8.00e-03 s, and the device worked for 8.00e-02 s"),
        ("WaitsAfterwards", "stopped its clock of `train` after 8.00e-03 s, and the device worked for 1.60e-02 s"),
    ],
)
def test_what_is_no_steady_full_step_is_an_error(kind: str, said: str) -> None:
    run = opened(kind)
    try:
        before = clock.read()
        with pytest.raises(ParityError, match=re.escape(said)):
            run.round(TRAIN)
        assert clock.read() == before
        assert run.rounds == {}
    finally:
        run.close()


def test_compiling_during_the_warm_up_is_no_error() -> None:
    run = opened("CompilingLane")
    try:
        run.warm_up(TRAIN)
        assert len(run.warmups[TRAIN]) == 5 * GROUP
    finally:
        run.close()


def test_a_lane_with_other_threads_than_it_was_given_is_refused() -> None:
    with pytest.raises(UsageError, match="ThreadLiar runs 2 threads where 1 were asked for"):
        opened("ThreadLiar")


def test_a_lane_that_changes_its_threads_once_it_has_begun_is_refused() -> None:
    """What was verified before the clock need not be what was timed."""
    run = opened("ThreadChanger")
    try:
        run.warm_up(TRAIN)
        run.round(TRAIN)
        with pytest.raises(UsageError, match="ThreadChanger runs 2 threads where 1 were asked for"):
            run.sample(TRAIN)
    finally:
        run.close()
