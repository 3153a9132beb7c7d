"""TensorFlow's lanes: each is what it says, all compute one thing, and what would make a lane dishonest is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.bench.gate import prove
from parity.bench.lanes import LANES, Lane
from parity.bench.run import LaneRun, Setting, Timing
from parity.errors import MissingDevice, ParityError, UsageError, WorkerError
from parity.judge.bound import UNIT_ROUNDOFF, propagated_bound
from parity.model.layout import Array
from parity.model.spec import LayerSpec, ModelSpec
from parity.pair import own_weights
from parity.workers.client import Worker, WorkerOptions

ADAPTER = Path(__file__).with_name("faulty_lanes_tensorflow.py")
SPEC = ModelSpec(
    "tiny",
    12,
    10,
    1,
    (
        LayerSpec("conv1", "conv2d", 4, (3, 3)),
        LayerSpec("relu1", "relu"),
        LayerSpec("pool1", "max_pool2d", 2),
        LayerSpec("flatten", "flatten"),
        LayerSpec("dense1", "dense", 6),
        LayerSpec("relu2", "relu"),
        LayerSpec("dense2", "dense", 1),
        LayerSpec("sigmoid", "sigmoid"),
    ),
)
BATCH = 8
RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.integers(0, 256, (BATCH, 12, 10, 1)).astype(np.uint8)
LABELS = np.array([0, 1] * (BATCH // 2), np.uint8)
TRAIN, EVALUATE = (Setting(work, BATCH, 12, 10, 1) for work in ("train", "evaluate"))
GRAPH, XLA, FIT = {"run": "graph"}, {"run": "xla"}, {"run": "fit"}
FIT_3, FIT_10 = {"run": "fit", "steps_per_execution": 3}, {"run": "fit", "steps_per_execution": 10}
FLOAT32 = pytest.mark.parametrize("options", [GRAPH, XLA, FIT, FIT_10], ids=["graph", "xla", "fit", "fit-10"])
NUDGES = 2


@pytest.fixture(scope="module")
def process() -> Iterator[Worker]:
    """One process for all lanes of this file: each starts afresh by `start_lane`."""
    with Worker(WorkerOptions(f"{ADAPTER}:FaultyLanes", threads=2)) as worker:
        worker.call("build", spec=SPEC.to_dict(), seed=3)
        yield worker


@pytest.fixture(scope="module")
def weights(process: Worker) -> dict[str, Array]:
    return {name: np.array(array) for name, array in process.call("get_weights").items()}


@pytest.fixture
def worker(process: Worker, weights: dict[str, Array]) -> Iterator[Worker]:
    process.call("plant", fault="")
    process.call("build", spec=SPEC.to_dict(), seed=3)
    process.call("set_weights", weights=weights)
    process.call("place_images", images=IMAGES, labels=LABELS)
    yield process
    process.call("plant", fault="")


@pytest.fixture(scope="module")
def exact(weights: dict[str, Array]) -> dict[str, Array]:
    """Every layer's output from the float64 twin, and what it says to options that are not for twins."""
    with Worker(WorkerOptions("tensorflow", role="twin", threads=2)) as twin:
        twin.call("build", spec=SPEC.to_dict(), seed=0)
        twin.call("set_weights", weights=weights)
        with pytest.raises(UsageError, match="a twin computes in float64, not in bfloat16"):
            twin.call("start_lane", options={"run": "graph", "precision": "bfloat16"})
        outputs = twin.call("forward", x=canonical())
        return {name: np.array(array) for name, array in outputs.items()}


def canonical() -> Array:
    return IMAGES.astype(np.float32) / np.float32(255.0)


def allowed(exact: Mapping[str, Array], weights: Mapping[str, Array]) -> Array:
    """Return how far float32 may move each logit (n,), layer by layer from the image on."""
    x, error = canonical(), np.zeros(1)
    for layer in SPEC.layers[:-1]:
        own = own_weights(weights, layer.name)
        error = propagated_bound(layer, x, own, exact[layer.name], error, UNIT_ROUNDOFF["float32"])
        x = exact[layer.name]
    return error.reshape(-1)


def as_lane(worker: Worker, options: Mapping[str, Any]) -> LaneRun:
    """Return the process as the bench sees it, once its lane has started."""
    facts = worker.call("start_lane", options=dict(options))
    return LaneRun(
        Lane("planted", "tensorflow", "step", "", dict(options)),
        Timing(BATCH, steps_per_round=2),
        worker,
        0,
        0,
        facts=facts,
    )


def trained(worker: Worker, options: Mapping[str, Any], given: Mapping[str, Array], calls: int) -> dict[str, Array]:
    """Return the weights after so many calls of the lane's own step."""
    worker.call("set_weights", weights=dict(given))
    worker.call("start_lane", options=dict(options))
    for _ in range(calls):
        worker.call("first_step", work="train")
    return {name: np.array(array) for name, array in worker.call("get_weights").items()}


def distance(a: Mapping[str, Array], b: Mapping[str, Array]) -> float:
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def nudged(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return every weight moved to one of its two neighbours; a zero stays."""
    found = {}
    for name, array in weights.items():
        towards = np.where(RANDOM.random(array.shape) < 0.5, np.float32(-np.inf), np.float32(np.inf))
        found[name] = np.where(array == 0, array, np.nextafter(array, towards))
    return found


# What each option does, as read back from TensorFlow.


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (GRAPH, {"run": "graph", "jit_compile": False, "host_reads_per_step": 0.0, "optimizer": "Adam"}),
        (XLA, {"run": "xla", "jit_compile": True, "host_reads_per_step": 0.0}),
        (FIT, {"run": "fit", "jit_compile": False, "run_eagerly": False, "host_reads_per_step": 2.0}),
        (FIT_10, {"run": "fit", "steps_per_execution": 10, "host_reads_per_step": 0.2}),
        (
            {"run": "graph", "precision": "bfloat16"},
            {"policy": ["mixed_bfloat16"], "compute_dtype": ["bfloat16"], "weights_dtype": ["float32"]},
        ),
        (
            {"run": "graph", "precision": "float16"},
            {
                "policy": ["mixed_float16"],
                "weights_dtype": ["float32"],
                "optimizer": "LossScaleOptimizer",
                "inner_optimizer": "Adam",
                "loss_scale": 2.0**15,
            },
        ),
        ({"learning_rate": 0.5, "epsilon": 0.25}, {"run": "graph", "learning_rate": 0.5, "epsilon": 0.25}),
        ({"channels_last": False, "fused": False}, {"layout": "channels_last", "compute_dtype": ["float32"]}),
    ],
    ids=str,
)
def test_facts_are_read_back(worker: Worker, options: dict[str, Any], expected: dict[str, Any]) -> None:
    facts = worker.call("start_lane", options=options)
    assert {name: facts[name] for name in expected} == expected
    assert facts["tf32"] is False
    assert ("overflowed" in facts.get("reads", "")) == (options.get("precision") == "float16")
    assert worker.call("optimizer_steps") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "eager"}, "a tensorflow lane has no run='eager'"),
        ({"run": "compile"}, "a tensorflow lane has no run='compile'"),
        ({"precision": "float8"}, "a tensorflow lane has no precision='float8'"),
        ({"fused": True}, "a tensorflow lane has no fused=True"),
        ({"channels_last": True}, "a tensorflow lane has no channels_last=True"),
        ({"speed": "high"}, "a tensorflow lane has no option `speed`"),
        ({"run": "graph", "steps_per_execution": 10}, "steps_per_execution=10 is an option of run='fit'"),
        ({"run": "fit", "steps_per_execution": 0}, "steps_per_execution=0 is an option of run='fit'"),
    ],
)
def test_what_tensorflow_does_not_have_is_refused(worker: Worker, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        worker.call("start_lane", options=options)


def test_tf32_needs_a_gpu(worker: Worker) -> None:
    with pytest.raises(MissingDevice, match="precision='tf32' needs a GPU"):
        worker.call("start_lane", options={"precision": "tf32"})


def test_the_bench_has_no_lane_that_tensorflow_would_refuse(worker: Worker) -> None:
    for lane in (lane for lane in LANES if lane.framework == "tensorflow" and "cpu" in lane.devices):
        assert worker.call("start_lane", options=dict(lane.options))["run"] == lane.options["run"]


# All lanes compute one thing.


@FLOAT32
def test_every_float32_lane_passes_the_gate(
    worker: Worker, options: dict[str, Any], exact: dict[str, Array], weights: dict[str, Array]
) -> None:
    as_lane(worker, options).first_step(EVALUATE)
    logits, loss = worker.call("resident_logits"), worker.call("loss")
    twin = exact["dense2"].reshape(-1)
    figures = prove("lane", logits, loss, LABELS.astype(float), twin, allowed(exact, weights))
    assert figures["logit_allowed"] < 1e-4  # the bound is one of float32
    assert {name: array.dtype for name, array in worker.call("get_weights").items()} == dict.fromkeys(
        weights, np.dtype("float32")
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("run", ["graph", "fit"])
def test_a_lower_precision_is_really_lower_on_the_same_float32_weights(
    worker: Worker, run: str, precision: str, exact: dict[str, Array], weights: dict[str, Array]
) -> None:
    as_lane(worker, {"run": run, "precision": precision})
    held = worker.call("get_weights")
    assert all(np.array_equal(held[name], weights[name]) for name in weights)
    logits, twin = np.asarray(worker.call("resident_logits")), exact["dense2"].reshape(-1)
    error = np.abs(logits - twin)
    assert (error > allowed(exact, weights)).any()
    with pytest.raises(ParityError, match="is not timed"):
        prove("lane", logits, None, LABELS, twin, allowed(exact, weights))
    assert error.max() < 20 * UNIT_ROUNDOFF[precision]
    worker.call("start_lane", options=GRAPH)  # and back: nothing of it is left
    assert worker.call("start_lane", options=GRAPH)["compute_dtype"] == ["float32"]
    assert (np.abs(np.asarray(worker.call("resident_logits")) - twin) <= allowed(exact, weights)).all()


def test_all_lanes_take_the_same_three_steps(worker: Worker, weights: dict[str, Array]) -> None:
    """The band is what one lane does to itself: the graph lane, every weight nudged by one unit in the last place.

    Such a nudge stands for one step's rounding, so three steps may differ by three times the band. A learning rate
    that is one per cent off must be seen by the same measure, or the measure would be blind.
    """
    graph = trained(worker, GRAPH, weights, 3)
    assert worker.call("optimizer_steps") == 3
    band = max(distance(trained(worker, GRAPH, nudged(weights), 3), graph) for _ in range(NUDGES))
    assert 0.0 < band < 1e-5
    assert distance(trained(worker, XLA, weights, 3), graph) <= 3 * band
    assert distance(trained(worker, FIT, weights, 3), graph) <= 3 * band
    assert distance(trained(worker, FIT_3, weights, 1), graph) <= 3 * band
    assert worker.call("optimizer_steps") == 3
    assert distance(trained(worker, {**GRAPH, "learning_rate": 1.01e-3}, weights, 3), graph) > 10 * band
    worker.call("plant", fault="loss-on-probabilities")
    assert distance(trained(worker, FIT, weights, 3), graph) > 10 * band


def test_ten_steps_in_one_execution_are_ten_steps(worker: Worker, weights: dict[str, Array]) -> None:
    graph = trained(worker, GRAPH, weights, 10)
    band = distance(trained(worker, GRAPH, nudged(weights), 10), graph)
    assert distance(trained(worker, FIT_10, weights, 1), graph) <= 10 * band < 1e-5
    assert worker.call("optimizer_steps") == 10


def test_exporting_disturbs_no_lane(worker: Worker, weights: dict[str, Array], tmp_path: Path) -> None:
    undisturbed = trained(worker, GRAPH, weights, 2)
    trained(worker, GRAPH, weights, 1)
    before = worker.call("compilations")
    worker.call("export_onnx", path=str(tmp_path / "lane.onnx"))
    assert worker.call("compilations") == before
    assert worker.call("timed_steps", work="train", steps=1)["compilations"] == 0.0
    assert distance(worker.call("get_weights"), undisturbed) == 0.0


# The clock.


@FLOAT32
def test_a_clocked_span_holds_whole_steps_only(worker: Worker, options: dict[str, Any]) -> None:
    run, per_execution = as_lane(worker, options), options.get("steps_per_execution", 1)
    steps = 3 if per_execution == 1 else per_execution
    for work in ("evaluate", "train", "latency"):
        run.first_step(replace(TRAIN, work=work))
        taken = worker.call("optimizer_steps")
        done = worker.call("timed_steps", work=work, steps=3)
        assert done["compilations"] == 0.0
        assert done["images"] == steps * BATCH
        assert done["host_reads"] == pytest.approx(steps * run.facts["host_reads_per_step"])
        assert done["seconds"] > 0.0
        assert done.get("device_s") is None
        assert done.get("after_sync_s") is None  # on a CPU a call returns when its work is done
        lead_in = per_execution if options["run"] == "fit" else 0
        assert worker.call("optimizer_steps") - taken == (steps + lead_in if work == "train" else 0)
        run.round(replace(TRAIN, work=work))


def test_another_batch_size_gets_a_graph_of_its_own_outside_the_clock(worker: Worker) -> None:
    for options in (GRAPH, FIT):
        worker.call("place_images", images=IMAGES, labels=LABELS)
        run = as_lane(worker, options)
        run.first_step(TRAIN)
        worker.call("place_images", images=IMAGES[:2], labels=LABELS[:2])
        before = worker.call("compilations")
        run.first_step(replace(TRAIN, batch=2))
        assert worker.call("compilations") == before + 1
        done = worker.call("timed_steps", work="train", steps=2)
        assert (done["images"], done["compilations"]) == (4.0, 0.0)


@pytest.mark.parametrize("steps", [0, -1])
@FLOAT32
def test_no_steps_are_no_measurement(worker: Worker, options: dict[str, Any], steps: int) -> None:
    as_lane(worker, options)
    for method, arguments in (("timed_steps", {"work": "train", "steps": steps}), ("phases", {"steps": steps})):
        with pytest.raises(UsageError, match="steps"):
            worker.call(method, **arguments)


# What is really compiled.


def test_xla_compiles_the_whole_step_once_and_a_graph_never(worker: Worker) -> None:
    """TensorFlow's profiler is the witness: XLA's compiler runs in the first step of an XLA lane, and only there."""
    for options, expected in ((GRAPH, False), (XLA, True), (FIT, False)):
        worker.call("start_lane", options=options)
        assert worker.call("compiled_while", method="first_step", work="train") is expected
        assert worker.call("compilations") == 1
        assert worker.call("optimizer_steps") == 1
        assert worker.call("compiled_while", method="timed_steps", work="train", steps=2) is False


# Phases and start.


def test_phases_of_a_step(worker: Worker, weights: dict[str, Array]) -> None:
    for options in (XLA, {**GRAPH, "precision": "float16"}, GRAPH):
        as_lane(worker, options)
        worker.call("set_weights", weights=weights)
        parts = worker.call("phases", steps=2)
        assert set(parts) == {"forward_s", "backward_s", "optimizer_s", "host_read_s", "how"}
        assert all(len(parts[name]) == 2 for name in parts if name != "how")
        assert all(seconds > 0.0 for name in ("forward_s", "optimizer_s", "host_read_s") for seconds in parts[name])
    apart, taken = worker.call("get_weights"), worker.call("optimizer_steps")
    assert distance(apart, trained(worker, GRAPH, weights, taken)) < 1e-6  # taken apart, they are the lane's own steps


def test_of_fit_only_the_host_reads_can_be_told_apart(worker: Worker) -> None:
    as_lane(worker, FIT_3)
    parts = worker.call("phases", steps=2)
    assert set(parts) == {"host_read_s", "how"}
    assert len(parts["host_read_s"]) == 2
    assert min(parts["host_read_s"]) > 0.0
    assert "cannot be taken apart" in parts["how"]


def test_the_cold_start_was_timed(worker: Worker) -> None:
    start = worker.call("cold_start")
    assert set(start) == {"import_s", "build_s", "start_s"}
    assert start["import_s"] > start["build_s"] > 0.0
    assert start["start_s"] > 0.0


# Planted faults.


@pytest.mark.parametrize(
    ("fault", "options", "setting"),
    [
        ("other-shape", GRAPH, TRAIN),
        ("other-shape", XLA, EVALUATE),
        ("python-scalar", GRAPH, EVALUATE),
        ("python-scalar", XLA, EVALUATE),
        ("eager", GRAPH, TRAIN),
        ("eager", FIT, TRAIN),
    ],
)
def test_a_trace_inside_the_clock_is_refused(
    worker: Worker, fault: str, options: dict[str, Any], setting: Setting
) -> None:
    worker.call("plant", fault=fault)
    run = as_lane(worker, options)
    with pytest.raises(ParityError, match=rf"traced or compiled \d+ times inside the clock of `{setting.work}`"):
        run.round(setting)
    assert run.rounds == {}


@pytest.mark.parametrize(("options", "setting"), [(FIT, TRAIN), (FIT_3, EVALUATE)], ids=["fit-train", "fit-3-evaluate"])
def test_a_partial_batch_in_fit_is_refused(worker: Worker, options: dict[str, Any], setting: Setting) -> None:
    worker.call("plant", fault="partial-batch")
    run = as_lane(worker, options)
    run.first_step(setting)
    with pytest.raises(ParityError, match=r"a partial or a missing batch is not a step"):
        run.round(setting)
    assert run.rounds == {}


def test_a_dataset_that_ends_early_is_refused(worker: Worker) -> None:
    worker.call("plant", fault="dataset-ends")
    run = as_lane(worker, FIT)
    with pytest.raises(ParityError, match=r"`fit` ended after 2 executions where 3 were due"):
        run.round(EVALUATE)


@pytest.mark.parametrize(
    ("fault", "options", "said"),
    [
        ("xla-off", XLA, "the lane says run='xla', and its step `evaluate` is not compiled by XLA"),
        ("xla-on", GRAPH, "the lane says run='graph', and its step `evaluate` is compiled by XLA"),
        ("xla-on", FIT, "the lane says run='fit', and its step `evaluate` is compiled by XLA"),
    ],
)
def test_a_silent_change_of_compiler_is_refused(worker: Worker, fault: str, options: dict[str, Any], said: str) -> None:
    worker.call("plant", fault=fault)
    run = as_lane(worker, options)
    with pytest.raises(ParityError, match=re.escape(said)):
        run.first_step(EVALUATE)


def test_xla_on_for_everything_leaves_no_lane_as_it_says(worker: Worker) -> None:
    worker.call("plant", fault="xla-everywhere")
    with pytest.raises(UsageError, match="XLA is on for every graph"):
        worker.call("start_lane", options=GRAPH)


def test_a_clock_that_did_not_wait_for_the_device_is_refused(worker: Worker) -> None:
    worker.call("plant", fault="unsynchronised")
    run = as_lane(worker, GRAPH)
    with pytest.raises(ParityError, match="the clock did not wait for it"):
        run.round(EVALUATE)


def test_what_a_copy_to_the_host_costs_is_not_taken_for_work(worker: Worker) -> None:
    """The first reading of a result copies it, which for one image is as long as its step; a second one does not."""
    worker.call("plant", fault="costly-copy")
    run = as_lane(worker, GRAPH)
    run.round(EVALUATE)
    assert len(run.rounds[EVALUATE]) == 1  # as work, a copy of 0.2 s would be refused beside a span of 10 ms


@pytest.mark.parametrize("user_says", [None, "false"])
def test_one_gpu_is_taken_and_its_memory_is_shared(worker: Worker, user_says: str | None) -> None:
    """A user's own `false` would overrule the call, and leave no memory to torch."""
    found = worker.call("chosen", gpus=["GPU:0", "GPU:1"], user_says=user_says)
    assert found["asked"] == ["sees GPU:0", "GPU:0 grows: True"]
    assert found["growth"] == "true"
    assert found["facts"]["memory_growth"] is True
    assert found["facts"]["cudnn_autotune"] is True


def test_memory_that_is_not_shared_is_an_error(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="cannot be modified after being initialized"):
        worker.call("chosen", gpus=["GPU:0"], refused=True)
    with pytest.raises(MissingDevice, match="sees no GPU"):
        worker.call("chosen", gpus=[])


def test_the_device_is_tried_with_a_number_that_is_known(worker: Worker) -> None:
    assert worker.call("computed") == 324.0
    worker.call("try_device")  # on the CPU there is none to try


def test_a_loss_on_probabilities_does_not_pass_for_one_on_logits(
    worker: Worker, exact: dict[str, Array], weights: dict[str, Array]
) -> None:
    worker.call("plant", fault="loss-on-probabilities")
    as_lane(worker, FIT)
    logits, loss = worker.call("resident_logits"), worker.call("loss")
    with pytest.raises(ParityError, match="is not timed: its loss is"):
        prove("keras-fit", logits, loss, LABELS.astype(float), exact["dense2"].reshape(-1), allowed(exact, weights))
