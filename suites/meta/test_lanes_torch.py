"""Torch's lanes: each does what it says, computes what eager torch computes, and is refused when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.bench.gate import loss_of, prove, prove_step
from parity.bench.lanes import LANES, Lane, chosen
from parity.bench.run import LaneRun, Setting, Timing, open_lane
from parity.errors import MissingDevice, ParityError, UsageError
from parity.model.spec import example_cnn
from parity.pair import probe_weights
from parity.pairing.weights import to_torch
from parity.proving import SIGMAS
from parity.trials.modes import output_bounds, sampled_errors
from parity.workers.client import Worker, WorkerOptions

FAULTY = f"{Path(__file__).with_name('faulty_lanes_torch.py')}:FaultyLanes"
SPEC = example_cnn(12, 10, 3, filters=4, hidden=5)
WEIGHTS = probe_weights(SPEC)
TRAIN, EVALUATE = Setting("train", 8, 12, 10, 3), Setting("evaluate", 8, 12, 10, 3)
TIMING = Timing(batch=8, rounds=2, steps_per_round=4, warmup_limit=10, threads=1)
QUICK = ("torch-fit", "torch-channels-last", "torch-bfloat16")  # the others run when suites/meta is named
DRAWN = np.random.default_rng(3)
IMAGES, LABELS = DRAWN.integers(0, 256, (8, 12, 10, 3)).astype(np.uint8), DRAWN.integers(0, 2, 8).astype(np.uint8)
EAGER_LANES = [
    pytest.param(entry, id=entry.name, marks=[] if entry.name in QUICK else pytest.mark.whole_run)
    for entry in chosen("full", "cpu", ["torch"])
    if entry.options["run"] != "compile"
]


def canonical() -> Any:
    return IMAGES.astype(np.float32) / np.float32(255.0)


def bounds(precision: str) -> tuple[Any, Any]:
    exact, allowed = output_bounds(SPEC.layers[:-1], WEIGHTS, canonical(), precision)
    if precision != "float32":
        allowed = SIGMAS * sampled_errors(SPEC.layers[:-1], WEIGHTS, canonical(), precision)
    return exact.reshape(-1), allowed.reshape(-1)


def opened(entry: Lane, fault: str = "", device: str = "cpu") -> LaneRun:
    made = Lane(entry.name, FAULTY, entry.kind, "", entry.options, threads=entry.threads)
    run = open_lane(
        made, SPEC, to_torch(WEIGHTS, SPEC), (IMAGES, LABELS), Timing(**{**vars(TIMING), "device": device}), (0, 0)
    )
    if fault:
        run.worker.call("plant", fault=fault)
        run.worker.call("set_weights", weights=to_torch(WEIGHTS, SPEC))
        run.worker.call("place_images", images=IMAGES, labels=LABELS)
        run.restart()
    return run


def proven(run: LaneRun) -> dict[str, Any]:
    """Put a lane through the gate as the bench does."""
    precision = str(run.lane.options.get("precision", "float32"))
    run.first_step(EVALUATE)
    exact, allowed = bounds(precision)
    logits, loss = run.worker.call("resident_logits"), run.worker.call("loss")
    return prove(run.lane.name, logits, loss, LABELS, exact, allowed, precision)


@pytest.fixture(scope="module")
def twin_losses() -> list[float]:
    with Worker(WorkerOptions("torch", role="twin", threads=1)) as twin:
        twin.call("build", spec=SPEC.to_dict(), seed=0)
        twin.call("set_weights", weights=to_torch(WEIGHTS, SPEC))
        twin.call("place_images", images=IMAGES, labels=LABELS)
        twin.call("start_training", learning_rate=1e-3, epsilon=1e-7)
        losses = [float(twin.call("loss"))]
        for _ in range(3):
            twin.call("timed_steps", work="train", steps=1)
            losses.append(float(twin.call("loss")))
    return losses


def stepped(run: LaneRun, twin_losses: list[float]) -> dict[str, Any]:
    run.first_step(TRAIN)
    taken, loss = run.worker.call("optimizer_steps"), run.worker.call("loss")
    return prove_step(run.lane.name, loss, twin_losses, taken, str(run.lane.options.get("precision", "float32")))


@pytest.mark.parametrize("entry", EAGER_LANES)
def test_an_eager_lane_does_what_it_says(entry: Lane, twin_losses: list[float]) -> None:
    run = opened(entry)
    try:
        facts = run.facts
        assert facts["run"] == entry.options["run"]
        assert facts["precision"] == entry.options.get("precision", "float32")
        assert facts["autocast"] == (facts["precision"] != "float32")
        assert facts["fused"] == bool(entry.options.get("fused", False))
        assert facts["layout"] == ("channels_last" if entry.options.get("channels_last") else "contiguous")
        assert (facts["learning_rate"], facts["epsilon"]) == (1e-3, 1e-7)
        assert proven(run)["logit_error"] >= 0.0
        assert stepped(run, twin_losses)["steps_proven"] == 1
        run.warm_up(TRAIN)
        run.round(TRAIN)
        sample = run.sample(TRAIN)
        assert sample["host_reads_per_step"] == (2.0 if facts["run"] == "fit" else 0.0) == facts["host_reads_per_step"]
        parts = run.phases(TRAIN)
        assert {name for name in parts if name.endswith("_s")} == {
            "forward_s", "backward_s", "optimizer_s", "host_read_s"
        }  # fmt: skip
        assert all(len(parts[name]) == TIMING.phase_steps for name in parts if name.endswith("_s"))
        assert run.cold_start()["import_s"] > 0.1  # importing torch takes longer, wherever it is done
    finally:
        run.close()


COMPILE = next(entry for entry in LANES if entry.name == "torch-compile")


@pytest.fixture(scope="module")
def compiled() -> Iterator[LaneRun]:
    run = opened(COMPILE)
    yield run
    run.close()


def test_a_compiled_lane_is_compiled_and_stays_so(compiled: LaneRun, twin_losses: list[float]) -> None:
    assert compiled.facts["compiled"] == ["evaluate", "loss", "optimizer"]
    proven(compiled)
    stepped(compiled, twin_losses)
    assert compiled.worker.call("compilations") >= 3
    compiled.round(TRAIN)
    compiled.round(EVALUATE)
    assert len(compiled.rounds) == 2


@pytest.mark.parametrize("fault", ["other-shape", "guard"])
def test_a_recompilation_inside_the_clock_is_refused(compiled: LaneRun, fault: str) -> None:
    compiled.first_step(TRAIN)
    compiled.worker.call("plant", fault=fault)
    try:
        with pytest.raises(ParityError, match=r"traced or compiled \d+ times inside the clock of `train`"):
            compiled.round(TRAIN)
    finally:
        compiled.worker.call("plant", fault="")


def test_a_lane_that_says_compiled_and_is_not_is_refused() -> None:
    run = opened(COMPILE, "quietly-eager")
    try:
        with pytest.raises(ParityError, match="its first step of `evaluate` compiled nothing"):
            run.first_step(EVALUATE)
    finally:
        run.close()


def test_a_lane_that_says_channels_last_and_is_not_is_refused() -> None:
    run = opened(next(entry for entry in LANES if entry.name == "torch-channels-last"), "layout-lie")
    try:
        with pytest.raises(ParityError, match="its first layer puts out another memory format"):
            run.first_step(EVALUATE)
    finally:
        run.close()


def test_a_cut_batch_is_refused() -> None:
    run = opened(next(entry for entry in LANES if entry.name == "torch-eager"), "cut-batch")
    try:
        with pytest.raises(
            ParityError, match="worked on 28 images inside the clock of `train` where 4 full batches of 8"
        ):
            run.round(TRAIN)
    finally:
        run.close()


@pytest.mark.parametrize("fault", ["wrong-rate", "no-update"])
def test_a_lane_that_takes_another_step_is_refused(fault: str, twin_losses: list[float]) -> None:
    run = opened(next(entry for entry in LANES if entry.name == "torch-eager"), fault)
    try:
        proven(run)  # its logits are right
        if fault == "no-update":
            run.first_step(TRAIN)
            assert run.worker.call("optimizer_steps") == 0
            with pytest.raises(ParityError, match="its loss to"):
                prove_step("torch-eager", run.worker.call("loss"), twin_losses, 1)
        else:
            with pytest.raises(ParityError, match="1 training step moved its loss to"):
                stepped(run, twin_losses)
    finally:
        run.close()


@pytest.mark.parametrize("scale", [1.05, 0.9])
def test_the_gate_of_a_lower_precision_still_sees_a_wrong_weight(scale: float) -> None:
    exact, allowed = bounds("bfloat16")
    wrong = {name: array * (scale if name == "dense2/kernel" else 1.0) for name, array in WEIGHTS.items()}
    logits, _ = output_bounds(SPEC.layers[:-1], wrong, canonical(), "float64")
    logits = logits.reshape(-1)
    with pytest.raises(ParityError, match="is not timed: its logits are up to"):
        prove("torch-bfloat16", logits, loss_of(logits, LABELS)[0], LABELS, exact, allowed, "bfloat16")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"run": "graphs"}, MissingDevice, "needs a GPU"),
        ({"precision": "float16"}, MissingDevice, "needs a GPU"),
        ({"precision": "tf32"}, MissingDevice, "needs a GPU"),
        ({"run": "xla"}, UsageError, "a torch lane has no run='xla'"),
        ({"steps_per_execution": 10}, UsageError, "a torch lane has no option `steps_per_execution`"),
    ],
)
def test_what_torch_does_not_have_here_is_refused(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with Worker(WorkerOptions("torch", threads=1)) as worker:
        worker.call("build", spec=SPEC.to_dict(), seed=0)
        with pytest.raises(error, match=words):
            worker.call("start_lane", options=options)


def test_keras_on_torch_runs_its_own_loop() -> None:
    entry = next(entry for entry in LANES if entry.name == "keras-torch")
    run = open_lane(entry, SPEC, WEIGHTS, (IMAGES, LABELS), TIMING, (0, 0))
    try:
        assert (run.facts["run"], run.facts["backend"], run.facts["host_reads_per_step"]) == ("fit", "torch", 2.0)
        proven(run)
        run.first_step(TRAIN)
        assert run.worker.call("optimizer_steps") == 1
        run.round(TRAIN)
        run.round(EVALUATE)
        assert run.rounds[TRAIN][0]["images"] == 32
        assert "one call per step" in run.phases(TRAIN)["how"]
    finally:
        run.close()


def test_an_exported_graph_is_a_lane_that_does_not_train(tmp_path: Path) -> None:
    entry, graph = next(entry for entry in LANES if entry.name == "ort-from-torch"), tmp_path / "torch.onnx"
    with Worker(WorkerOptions("torch", threads=1)) as worker:
        worker.call("build", spec=SPEC.to_dict(), seed=0)
        worker.call("set_weights", weights=to_torch(WEIGHTS, SPEC))
        worker.call("export_onnx", path=str(graph))
    run = open_lane(entry, SPEC, {}, (IMAGES, LABELS), TIMING, (0, 0), graph=graph)
    try:
        assert run.facts["threads"] == 1
        exact, allowed = bounds("float32")
        run.first_step(EVALUATE)
        logits = run.worker.call("resident_logits")
        through = 8 * 2.0**-24 * (1 + np.exp(exact))
        assert prove("ort", logits, None, LABELS, exact, allowed + through)["logit_error"] < 1e-4
        run.round(EVALUATE)
        assert run.rounds[EVALUATE][0]["images"] == 32
        with pytest.raises(UsageError, match="does not train"):
            run.round(TRAIN)
    finally:
        run.close()
