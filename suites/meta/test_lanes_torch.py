"""Torch's lanes: each does what it says, computes what eager torch computes, and is refused when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parity.adapters.onnxruntime import _in_order_of
from parity.bench.gate import loss_of, prove, prove_step
from parity.bench.lanes import LANES, Lane, chosen
from parity.bench.run import LaneRun, Setting, Timing, open_lane
from parity.errors import MissingDevice, ParityError, UsageError
from parity.model.spec import example_cnn
from parity.pair import probe_weights
from parity.pairing.weights import to_torch
from parity.proving import SIGMAS, prove_training
from parity.trials.modes import output_bounds, sampled_errors
from parity.workers.client import Worker, WorkerOptions

FAULTY = f"{Path(__file__).with_name('faulty_lanes_torch.py')}:FaultyLanes"
SPEC = example_cnn(12, 10, 3, filters=4, hidden=5)
WEIGHTS = probe_weights(SPEC)
TRAIN, EVALUATE = Setting("train", 8, 12, 10, 3), Setting("evaluate", 8, 12, 10, 3)
TIMING = Timing(batch=8, rounds=2, steps_per_round=4, warmup_limit=10, threads=1)
DRAWN = np.random.default_rng(3)
IMAGES, LABELS = DRAWN.integers(0, 256, (8, 12, 10, 3)).astype(np.uint8), DRAWN.integers(0, 2, 8).astype(np.uint8)
# Lanes of one process each differ here by what they ask of torch, not by threads, allocator or name.
EAGER = {
    entry.name: entry
    for entry in chosen("full", "cpu", ["torch"])
    if entry.options["run"] != "compile" and entry.tuned_allocator and entry.threads is None and entry.again is None
}
COMPILE = next(entry for entry in LANES if entry.name == "torch-compile")
PHASES = {"forward_s", "backward_s", "optimizer_s", "host_read_s"}


def canonical() -> Any:
    return IMAGES.astype(np.float32) / np.float32(255.0)


def bounds(precision: str) -> tuple[Any, Any]:
    exact, allowed = output_bounds(SPEC.layers[:-1], WEIGHTS, canonical(), precision)
    if precision != "float32":
        allowed = SIGMAS * sampled_errors(SPEC.layers[:-1], WEIGHTS, canonical(), precision)
    return exact.reshape(-1), allowed.reshape(-1)


def opened(entry: Lane, device: str = "cpu") -> LaneRun:
    """Open a lane in a process of its own, as the bench does."""
    made = Lane(entry.name, FAULTY, entry.kind, "", entry.options, threads=entry.threads)
    timing = Timing(**{**vars(TIMING), "device": device})
    return open_lane(made, SPEC, to_torch(WEIGHTS, SPEC), (IMAGES, LABELS), timing, (0, 0))


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    """A process for all lanes that compile nothing: importing torch for each would take most of the time."""
    with Worker(WorkerOptions(FAULTY, threads=1)) as worker:
        yield worker


def started(worker: Worker, entry: Lane, fault: str = "") -> LaneRun:
    """Start a lane, with a fault or without, as if the process were fresh."""
    worker.call("plant", fault=fault)
    worker.call("build", spec=SPEC.to_dict(), seed=0)
    worker.call("set_weights", weights=to_torch(WEIGHTS, SPEC))
    worker.call("place_images", images=IMAGES, labels=LABELS)
    run = LaneRun(entry, TIMING, worker, 0, 0)
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


@pytest.mark.parametrize("name", EAGER)
def test_an_eager_lane_does_what_it_says(shared: Worker, name: str, twin_losses: list[float]) -> None:
    entry = EAGER[name]
    run = started(shared, entry)
    facts = run.facts
    assert facts["run"] == entry.options["run"]
    assert facts["precision"] == entry.options.get("precision", "float32")
    assert facts["autocast"] == (facts["precision"] != "float32")
    assert facts["fused"] == bool(entry.options.get("fused", False))
    assert facts["adam"] == ("fused" if facts["fused"] else "tensor by tensor")
    assert facts["layout"] == ("channels_last" if entry.options.get("channels_last") else "contiguous")
    assert (facts["learning_rate"], facts["epsilon"]) == (1e-3, 1e-7)
    assert proven(run)["logit_error"] >= 0.0
    assert stepped(run, twin_losses)["steps_proven"] == 1
    run.warm_up(TRAIN)
    run.round(TRAIN)
    assert run.rounds[TRAIN][0]["images"] == 32
    sample = run.sample(TRAIN)
    assert sample["host_reads_per_step"] == (2.0 if facts["run"] == "fit" else 0.0) == facts["host_reads_per_step"]
    parts = run.phases(TRAIN)
    assert {name for name in parts if name.endswith("_s")} == PHASES
    assert all(len(parts[name]) == TIMING.phase_steps for name in PHASES)
    assert ("loss and accuracy" in parts["how"]) == (facts["run"] == "fit")
    cold = run.cold_start()
    assert cold["import_s"] > 0.1  # importing torch takes longer, wherever it is done
    assert cold["build_s"] > 0.0 < cold["start_s"]


def test_one_channel_has_the_layout_that_was_asked_for(shared: Worker) -> None:
    """With one channel a kernel is contiguous in either memory format, and only the images tell them apart."""
    shared.call("plant", fault="")
    shared.call("build", spec=example_cnn(12, 10, 1, filters=4, hidden=5).to_dict(), seed=0)
    shared.call("place_images", images=IMAGES[..., :1].copy(), labels=LABELS)
    for asked in (True, False, True):
        facts = shared.call("start_lane", options={"channels_last": asked})
        assert facts["layout"] == ("channels_last" if asked else "contiguous")
        shared.call("first_step", work="evaluate")


@pytest.mark.parametrize(
    ("name", "fault", "words"),
    [
        ("torch-channels-last", "layout-lie", "its first layer puts out another memory format"),
        ("torch-bfloat16", "autocast-lie", "the lane says precision='bfloat16', and its logits are torch.float32"),
        ("torch-eager", "cut-batch", "worked on 28 images inside the clock of `train` where 4 full batches of 8"),
        ("torch-eager", "other-shape", r"worked on 2\d images inside the clock of `train` where 4 full batches of 8"),
        ("torch-fit", "cut-batch", "worked on 28 images inside the clock of `train` where 4 full batches of 8"),
    ],
)
def test_a_lane_that_is_not_what_it_says_is_refused(shared: Worker, name: str, fault: str, words: str) -> None:
    run = started(shared, EAGER[name], fault)

    def exercised() -> None:
        run.first_step(EVALUATE)
        run.worker.call("resident_logits")
        run.round(TRAIN)

    with pytest.raises(ParityError, match=words):
        exercised()


def test_tf32_in_convolutions_alone_is_no_float32(shared: Worker) -> None:
    """The two switches are apart, and by default torch allows it in convolutions only."""
    started(shared, EAGER["torch-eager"])
    shared.call("plant", fault="half-tf32")
    with pytest.raises(ParityError, match="torch does not do what the lane asks for"):
        shared.call("start_lane", options={"run": "eager"})


def test_only_the_lane_that_says_so_is_autotuned(shared: Worker) -> None:
    started(shared, EAGER["torch-eager"])
    (entry,) = (entry for entry in LANES if entry.factor == "autotuner")
    for options, expected in ((entry.options, True), ({"run": "eager"}, False)):
        assert shared.call("autotunes", options=dict(options)) is expected
    with pytest.raises(MissingDevice, match="autotune=True needs a GPU"):
        shared.call("start_lane", options=dict(entry.options))


def test_what_a_scaler_reads_to_the_host_is_counted(shared: Worker) -> None:
    started(shared, EAGER["torch-eager"])
    assert shared.call("reads_while_scaling") == {"more": 1.0, "train": 1.0, "evaluate": 0.0}


def test_the_device_is_tried_with_a_number_that_is_known(shared: Worker) -> None:
    assert shared.call("computed") == 324.0
    shared.call("try_device")  # on the CPU there is none to try


def test_no_event_is_made_inside_the_clock(shared: Worker) -> None:
    """Making one takes as long as a kernel of one image; TensorFlow's clock has none to make."""
    started(shared, EAGER["torch-eager"])
    log = shared.call("events_of_a_round")
    assert log == [
        "made", "recorded 1", "synchronised", "made", "recorded 2", "step", "step", "recorded 1", "synchronised",
        "waited for 1",
    ]  # fmt: skip


def test_a_lane_that_says_compiled_and_is_not_is_refused(shared: Worker) -> None:
    run = started(shared, COMPILE, "quietly-eager")
    with pytest.raises(ParityError, match="its first step of `evaluate` compiled nothing"):
        run.first_step(EVALUATE)


def test_a_lane_that_takes_no_step_is_refused(shared: Worker, twin_losses: list[float]) -> None:
    run = started(shared, EAGER["torch-eager"], "no-update")
    proven(run)  # its logits are right
    run.first_step(TRAIN)
    with pytest.raises(ParityError, match="leaves the optimizer where it was"):
        prove_training(run, SimpleNamespace(step_losses={"torch": twin_losses}, batch=TRAIN.batch), TRAIN)  # type: ignore[arg-type]
    with pytest.raises(ParityError, match="its loss to"):  # nor would it do to count a step that was not taken
        prove_step("torch-eager", run.worker.call("loss"), twin_losses, 1)


def test_a_lane_that_takes_another_step_is_refused(shared: Worker, twin_losses: list[float]) -> None:
    run = started(shared, EAGER["torch-eager"], "wrong-rate")
    proven(run)
    with pytest.raises(ParityError, match="1 training step moved its loss to"):
        stepped(run, twin_losses)


@pytest.fixture(scope="module")
def compiled() -> Iterator[LaneRun]:
    run = opened(COMPILE)
    yield run
    run.close()


# Compiling three graphs from nothing takes a minute or two: these run when suites/meta is named.


@pytest.mark.whole_run
def test_a_compiled_lane_is_compiled_and_stays_so(compiled: LaneRun, twin_losses: list[float]) -> None:
    assert compiled.facts["compiled"] == ["evaluate", "loss", "optimizer"]
    proven(compiled)
    stepped(compiled, twin_losses)
    assert compiled.worker.call("compilations") >= 3
    compiled.round(TRAIN)
    compiled.round(EVALUATE)
    assert len(compiled.rounds) == 2
    kernels = Path(compiled.worker.call("kernels"))  # nothing compiled elsewhere was found, and nothing stays
    assert kernels.parent.name.startswith("parity-")
    assert any(kernels.rglob("*.so"))


@pytest.mark.whole_run
@pytest.mark.parametrize("fault", ["other-shape", "guard", "recording"])
def test_a_recompilation_inside_the_clock_is_refused(compiled: LaneRun, fault: str) -> None:
    compiled.first_step(TRAIN)
    compiled.worker.call("plant", fault=fault)
    try:
        with pytest.raises(ParityError, match=r"traced or compiled \d+ times inside the clock of `train`"):
            compiled.round(TRAIN)
    finally:
        compiled.worker.call("plant", fault="")


@pytest.mark.whole_run
def test_a_lane_whose_optimizer_is_not_compiled_is_refused(compiled: LaneRun) -> None:
    run = started(compiled.worker, COMPILE, "eager-optimizer")
    with pytest.raises(ParityError, match="its first step of `train` compiled 1 of 2 graphs"):
        run.first_step(TRAIN)


# Other biases a twentieth off move these logits by less than bfloat16 may, and cannot be told.
PLANTED_WEIGHTS = [
    ("conv1/kernel", lambda w: w.swapaxes(0, 1)),
    *(
        (name, lambda w, scale=scale: scale * w)
        for name in ("conv1/kernel", "dense1/kernel", "dense2/kernel", "dense2/bias")
        for scale in (1.05, 0.9)
    ),
]


@pytest.mark.parametrize(("name", "plant"), PLANTED_WEIGHTS)
def test_the_gate_of_a_lower_precision_still_sees_a_wrong_weight(name: str, plant: Callable[[Any], Any]) -> None:
    exact, allowed = bounds("bfloat16")
    wrong = {**WEIGHTS, name: plant(WEIGHTS[name])}
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
def test_what_torch_does_not_have_here_is_refused(
    shared: Worker, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    shared.call("plant", fault="")
    shared.call("build", spec=SPEC.to_dict(), seed=0)
    with pytest.raises(error, match=words):
        shared.call("start_lane", options=options)


@pytest.mark.whole_run
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


def test_an_exported_graph_is_a_lane_that_does_not_train(shared: Worker, tmp_path: Path) -> None:
    entry, graph = next(entry for entry in LANES if entry.name == "ort-from-torch"), tmp_path / "torch.onnx"
    started(shared, EAGER["torch-eager"]).worker.call("export_onnx", path=str(graph))
    run = open_lane(entry, SPEC, {}, (IMAGES, LABELS), TIMING, (0, 0), graph=graph)
    try:
        facts = run.facts
        assert (facts["threads"], facts["inter_op_threads"], facts["spinning"]) == (1, 1, False)
        assert facts["providers"] == ["CPUExecutionProvider"]
        exact, allowed = bounds("float32")
        run.first_step(EVALUATE)
        logits = run.worker.call("resident_logits")
        through = 8 * 2.0**-24 * (1 + np.exp(exact))
        assert prove("ort", logits, None, LABELS, exact, allowed + through)["logit_error"] < 1e-4
        run.round(EVALUATE)
        assert run.rounds[EVALUATE][0]["images"] == 32
        with pytest.raises(UsageError, match="does not train"):
            run.round(TRAIN)
        with pytest.raises(UsageError, match="an ONNX Runtime lane has no option `precision`"):
            run.worker.call("start_lane", options={"precision": "bfloat16"})
        run.worker.call("place_images", images=IMAGES[:, :11], labels=LABELS)
        with pytest.raises(UsageError, match="images of 11 x 10 x 3 do not fit"):
            run.worker.call("first_step", work="evaluate")
    finally:
        run.close()


def test_images_are_fed_to_a_graph_in_its_own_order() -> None:
    wide = np.arange(2 * 4 * 3 * 3, dtype=np.float32).reshape(2, 4, 3, 3)  # as many columns as channels
    assert _in_order_of(wide, ["batch", 4, 3, 3]) is wide
    np.testing.assert_array_equal(_in_order_of(wide, ["batch", 3, 4, 3]), np.moveaxis(wide, -1, 1))
