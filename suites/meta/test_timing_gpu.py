"""The benchmark on a GPU that is made up: what is missing is left out with its reason, and spoils nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from parity import timing
from parity.bench import devices
from parity.bench.gpu import joined
from parity.bench.lanes import lane
from parity.bench.run import LaneRun, Setting, Timing
from parity.campaign import Campaign, CampaignOptions
from parity.errors import MissingDevice, MissingFramework, ParityError, WorkerCrash
from parity.model.network import from_spec
from parity.model.spec import example_cnn
from parity.timing import Bench, Row
from parity.trials.networks import NetworkPair
from parity.workers.client import WorkerOptions

LANES = ("torch-eager", "tf-graph", "torch-tf32", "tf-graph-tf32", "ort-from-tf", "keras-torch")
NO_TF32 = "this GPU has no TF32: it came with compute capability 8.0"


class FakeWorker:
    """A worker whose framework can use the GPU, or cannot: `broken` says why, by framework."""

    broken: ClassVar[dict[str, Exception]] = {}

    def __init__(self, options: WorkerOptions) -> None:
        assert options.device == "gpu"
        self.framework = options.framework

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def call(self, method: str, **_: Any) -> Any:
        if method == "try_device" and self.framework in self.broken:
            raise self.broken[self.framework]
        return {"versions": {}}


class FakeReadings:
    """Reads nothing."""

    def start(self) -> FakeReadings:
        return self

    def stop(self) -> dict[str, Any]:
        return self.facts()

    def facts(self) -> dict[str, Any]:
        return {"throttled": None, "throttle_reasons": {}, "asked": 0, "note": None, "readings": []}


Made = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """What makes a benchmark of two blocks on such a machine, with these frameworks broken."""
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    monkeypatch.setattr(timing, "Worker", FakeWorker)
    monkeypatch.setattr(timing, "GpuReadings", FakeReadings)

    def made(**broken: Exception) -> Bench:
        monkeypatch.setattr(FakeWorker, "broken", {name.replace("_", "-"): error for name, error in broken.items()})
        options = CampaignOptions(
            profile="smoke", device="gpu", lanes=LANES, blocks=2, height=24, width=20, report_dir=tmp_path
        )
        return Bench(Campaign(options))

    return made


def rows_of(bench: Bench, name: str) -> list[Row]:
    return [row for row in timing.rows(bench.campaign.options) if row.lane == name]


def reasons(bench: Bench) -> dict[str, str]:
    return {row["lane"]: row["why"] for row in bench.campaign.record["benchmarks"]["lanes_not_run"]}


def failing(error: Exception) -> Callable[[Row], Any]:
    def opened(_: Row) -> Any:
        raise error

    return opened


def test_a_card_without_tf32_costs_the_others_nothing(bench: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A T4 has none: its lanes are not run, and a winner among the others may still be named."""
    made = bench()
    first, *later = rows_of(made, "torch-tf32")
    monkeypatch.setattr(made, "_opened", failing(MissingDevice(NO_TF32)))
    before_s = made.progress.left_s()
    with pytest.raises(MissingDevice):
        made.ready(first)
    assert made.is_absent("torch-tf32")
    assert reasons(made) == {"torch-tf32": NO_TF32}
    assert {made.why_not(row) for row in later} == {f"torch-tf32 is not run: {NO_TF32}"}
    assert "passed" not in made.campaign.record["benchmarks"].get("parity_gate", {})
    assert made.progress.left_s() < before_s
    assert made.why_not(rows_of(made, "torch-eager")[0]) is None


def test_a_device_that_is_lost_under_a_lane_is_a_failure(bench: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench()
    first, *_ = rows_of(made, "torch-eager")
    made.campaign.append_to("benchmarks", "samples", [{"lane": "torch-eager", **first.setting.fields(), "block": 0,
                                                       "order": 0, "kind": "step", "seconds": [0.1]}])  # fmt: skip
    monkeypatch.setattr(made, "_opened", failing(MissingDevice("it fell off the bus")))
    with pytest.raises(MissingDevice):
        made.ready(first)
    assert not made.is_absent("torch-eager")
    assert reasons(made) == {}
    assert made.campaign.record["benchmarks"]["parity_gate"]["passed"] is False


@pytest.mark.parametrize(
    "error",
    [
        MissingDevice("onnxruntime's CUDA provider does not load on this machine\nand more of it"),
        WorkerCrash("onnxruntime's CUDA provider does not load on this machine\nthe end of its stderr: ..."),
    ],
)
def test_a_framework_that_cannot_use_the_device_is_left_out_with_its_reason(bench: Made, error: ParityError) -> None:
    made = bench(onnxruntime=error)
    assert reasons(made) == {"ort-from-tf": "onnxruntime's CUDA provider does not load on this machine"}


def test_a_graph_needs_the_framework_that_exports_it_and_no_gpu_for_that(bench: Made) -> None:
    made = bench(tensorflow=MissingDevice("tensorflow sees no GPU"), keras_torch=MissingDevice("no keras there"))
    no_gpu = dict.fromkeys(("tf-graph", "tf-graph-tf32"), "tensorflow sees no GPU")
    assert reasons(made) == {**no_gpu, "keras-torch": "no keras there"}
    made = bench(tensorflow=MissingFramework("there is no tensorflow"))
    assert reasons(made) == dict.fromkeys(("tf-graph", "tf-graph-tf32", "ort-from-tf"), "there is no tensorflow")
    made = bench(torch=MissingFramework("there is no torch"))
    assert reasons(made) == dict.fromkeys(("torch-eager", "torch-tf32"), "there is no torch")


def test_no_framework_at_all_is_one_clear_line(bench: Made) -> None:
    gone = MissingDevice("it sees no GPU")
    made = bench(tensorflow=gone, torch=gone)
    assert set(reasons(made)) == set(LANES) - {"keras-torch"}
    with pytest.raises(MissingDevice, match="no framework can use the GPU: it sees no GPU"):
        made._proof(made._main_setting(lane("keras-torch")))


# A run on the CPU of a machine with a GPU.


def test_a_gpu_that_is_left_alone_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cuda_devices", lambda: 1)
    monkeypatch.setattr(devices, "serves_one_process", lambda: True)
    options = CampaignOptions(
        profile="smoke", lanes=("torch-eager", "torch-graphs"), blocks=1, height=24, width=20, report_dir=tmp_path
    )
    campaign = Campaign(options)
    assert campaign.device == "cpu"
    made = Bench(campaign)
    (why,) = reasons(made).values()
    assert why.startswith("a CUDA device is visible but the run is on the CPU: the CUDA device serves one process")
    assert campaign.record["environment"]["device_note"] == why


# Bounds of the device's own kernels.


@pytest.mark.parametrize(("device", "asked"), [("gpu", [("bound_for", {"device": "gpu"})]), ("cpu", [])])
def test_the_twin_bounds_the_kernels_of_the_device_that_is_judged(device: str, asked: list[Any]) -> None:
    told: list[Any] = []
    twin = SimpleNamespace(call=lambda method, **given: told.append((method, given)))
    pair: Any = SimpleNamespace(
        options=SimpleNamespace(device=device),
        workers={"twin_torch": twin},
        each=lambda _: {"tensorflow": {}, "torch": {}},
    )
    NetworkPair(pair, from_spec(example_cnn(24, 20, 1)))
    assert told == asked


# A clock that stopped too early.


@pytest.mark.parametrize(
    ("proof", "seconds", "more_s", "refused"),
    [
        ("after_sync_s", 1e-4, 3e-5, False),  # one image: the reading itself differs by as much from time to time
        ("after_sync_s", 1e-3, 1e-3, True),
        ("after_sync_s", 1e-4, 5e-4, True),
        ("device_s", 1e-4, 3e-5, False),
        ("device_s", 1e-3, 1e-3, True),
    ],
)
def test_some_microseconds_are_no_proof_of_a_hurried_clock(
    proof: str, seconds: float, more_s: float, refused: bool
) -> None:
    run = LaneRun(lane("tf-graph"), Timing(device="gpu"), None, 0, 0)  # type: ignore[arg-type]
    done = {"seconds": seconds, proof: more_s if proof == "after_sync_s" else seconds + more_s}
    said = run._hurry(Setting("latency", 1, 150, 150, 1), done)
    assert bool(said) == refused


class Reader:
    """A worker whose spans are read late as often as it is told, as on a host that was stalled."""

    def __init__(self, late_s: list[float]) -> None:
        self.late_s = late_s

    def call(self, _: str, *, steps: int, **_work: str) -> dict[str, float]:
        return {"seconds": 0.01 * steps, "compilations": 0.0, "images": 8.0 * steps, "after_sync_s": self.late_s.pop(0)}


@pytest.mark.parametrize(("late_s", "unproven"), [([0.0], 0), ([0.1, 0.0], 1), ([0.1, 0.1, 0.0], 2)])
def test_one_stalled_reading_is_no_proof_of_a_hurried_clock(late_s: list[float], unproven: int) -> None:
    """The span that was not proven is no sample, and is not lost either."""
    setting = Setting("evaluate", 8, 24, 20, 1)
    run = LaneRun(lane("tf-graph"), Timing(device="gpu", batch=8), Reader(late_s), 0, 0)  # type: ignore[arg-type]
    run.round(setting)
    assert len(run.rounds[setting]) == 1
    assert run.unproven.get(setting, []) == [0.01] * unproven


def test_a_clock_that_is_hurried_each_time_is_refused() -> None:
    setting, reader = Setting("evaluate", 8, 24, 20, 1), Reader([0.1] * 4)
    run = LaneRun(lane("tf-graph"), Timing(device="gpu", batch=8), reader, 0, 0)  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="the clock did not wait"):
        run.round(setting)
    assert len(reader.late_s) == 1
    assert run.rounds == {}


# Readings of a campaign in two parts.


def facts(throttled: bool | None, asked: int, **reasons_: int) -> dict[str, Any]:
    return {"name": "T4", "throttled": throttled, "throttle_reasons": reasons_, "asked": asked, "note": None,
            "readings": [{"t_s": 0.0}]}  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(True, False, True), (False, True, True), (False, False, False), (None, False, None), (None, True, True)],
)
def test_a_resumed_campaign_does_not_forget_that_it_was_held_back(
    before: bool | None, after: bool | None, expected: bool | None
) -> None:
    found = joined(facts(before, 10, idle=3), facts(after, 4, idle=1, power=2))
    assert found["throttled"] is expected
    assert (found["asked"], found["throttle_reasons"]) == (14, {"idle": 4, "power": 2})
    assert found["note"] == "10 of the readings are of the part that was interrupted, and are counted only"
    again = joined(found, facts(False, 1))
    assert (again["asked"], again["throttled"]) == (15, expected)


def test_a_campaign_in_one_part_is_as_it_was_read() -> None:
    assert joined(None, facts(False, 4)) == facts(False, 4)
