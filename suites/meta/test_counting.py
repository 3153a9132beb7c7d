"""Each framework counts the same operations as the formulas; ceilings have one shape and come from real work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.adapters.ceilings import STREAM_NUMBERS, Ceilings, precisions
from parity.bench import floors
from parity.errors import UsageError
from parity.model.spec import LayerSpec, ModelSpec, example_cnn
from parity.workers.client import Worker, WorkerOptions

FRAMEWORKS = ("tensorflow", "torch")
BATCH = 3
TWO_CONVOLUTIONS = ModelSpec(
    "two-convolutions",
    17,
    14,
    3,
    (
        LayerSpec("conv1", "conv2d", 4, (3, 3)),
        LayerSpec("relu1", "relu"),
        LayerSpec("pool1", "max_pool2d", 2),
        LayerSpec("conv2", "conv2d", 5, (2, 3), bias=False),
        LayerSpec("flatten", "flatten"),
        LayerSpec("dense1", "dense", 6),
        LayerSpec("relu2", "relu"),
        LayerSpec("dense2", "dense", 1),
        LayerSpec("sigmoid", "sigmoid"),
    ),
)
NO_CONVOLUTION = ModelSpec("dense", 6, 7, 1, (LayerSpec("flatten", "flatten"), LayerSpec("dense1", "dense", 1)))
SPECS = (replace(example_cnn(32, 30, 3), name="example"), TWO_CONVOLUTIONS, NO_CONVOLUTION)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with Worker(WorkerOptions(request.param, threads=1)) as started:
        yield started


def ready(worker: Worker, spec: ModelSpec, batch: int = BATCH) -> None:
    images = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, spec.channels), np.uint8)
    worker.call("build", spec=spec.to_dict(), seed=0)
    worker.call("place_images", images=images, labels=np.arange(batch) % 2)


@pytest.mark.whole_run
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_framework_counts_what_the_formula_says(worker: Worker, spec: ModelSpec) -> None:
    ready(worker, spec)
    before = worker.call("get_weights")
    for work in floors.WORKS:
        reply = worker.call("flop_count", work=work)
        expected = floors.flops(spec, work, BATCH)
        (row,) = floors.counted_rows(expected.total, {worker.name: reply})
        assert row["agrees"], f"{worker.name} counts {reply['flops']} where the formula says {expected}"
        assert "multiply-add" in row["note"]
        wrong = expected.forward + 2 * expected.forward  # as if the image needed a gradient
        assert floors.counted_rows(wrong, {worker.name: reply})[0]["agrees"] is (wrong == reply["flops"])
    assert expected.forward > 0
    after = worker.call("get_weights")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_network_other_than_the_described_one_is_seen(worker: Worker) -> None:
    ready(worker, example_cnn(20, 20).with_layer("conv1", size=15))
    reply = worker.call("flop_count", work="train")
    expected = floors.flops(example_cnn(20, 20), "train", BATCH).total
    assert not floors.counted_rows(expected, {worker.name: reply})[0]["agrees"]


def test_a_partial_batch_is_seen(worker: Worker) -> None:
    ready(worker, example_cnn(20, 20), batch=BATCH - 1)
    reply = worker.call("flop_count", work="evaluate")
    assert reply["flops"] == floors.flops(example_cnn(20, 20), "evaluate", BATCH - 1).total
    assert reply["flops"] != floors.flops(example_cnn(20, 20), "evaluate", BATCH).total


def test_an_unknown_work_is_refused(worker: Worker) -> None:
    ready(worker, NO_CONVOLUTION)
    with pytest.raises(UsageError, match="no work `fit`"):
        worker.call("flop_count", work="fit")


def test_what_a_counter_counts_otherwise_is_shown(worker: Worker) -> None:
    ready(worker, TWO_CONVOLUTIONS)
    reply = worker.call("flop_count", work="train")
    assert ("as_counted" in reply) == (worker.name == "tensorflow")
    if "as_counted" in reply:
        # Bias, pooling and loss; the first convolution's input gradient; gradients once per input pixel.
        assert reply["as_counted"] > reply["flops"] + reply["other_flops"]
        assert reply["other_flops"] > 0


@pytest.mark.whole_run
def test_ceilings_of_this_machine(worker: Worker) -> None:
    found = worker.call("ceilings", seconds=0.5)
    expected = {"sgemm_gflops", "bfloat16_gflops", "triad_gb_s", "triad_best_gb_s"}
    expected |= {"copy_gb_s", "copy_best_gb_s"} if worker.name == "torch" else set()
    assert set(found) == expected | {"products", "streams", "how"}
    assert all(type(found[name]) is float and found[name] > 0 for name in expected)
    assert found["triad_best_gb_s"] >= found["triad_gb_s"]
    lengths = [row["array_bytes"] for row in found["streams"] if row["stream"] == "triad"]
    assert lengths == [4 * numbers for numbers in STREAM_NUMBERS["cpu"]]
    assert {row["precision"] for row in found["products"]} == {"float32", "bfloat16"}
    assert floors.floor(example_cnn(), "train", 32, floors.best([found]))["floor_s"] > 0


# How ceilings are taken, with a clock that the test turns.


class Machine:
    """A pretended machine: every run takes the next of the given seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
        self.now, self.runs, self._seconds = 0.0, 0, seconds
        monkeypatch.setattr("parity.adapters.ceilings.time.perf_counter", lambda: self.now)

    def run(self) -> None:
        self.now += self._seconds[min(self.runs, len(self._seconds) - 1)]
        self.runs += 1


def taken() -> Ceilings:
    return Ceilings(1.0, False, lambda: None, parts=1)


def test_the_best_run_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, [0.001, 9.0, 4.0, 2.0, 8.0])  # the first compiles, or finds cold caches: not timed
    found = taken()
    found.product("float32", 1000, machine.run)
    assert found.facts("")["sgemm_gflops"] == pytest.approx(2 * 1000**3 / 2.0 / 1e9)
    assert machine.runs >= 5


def test_large_and_cached_arrays_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    found = taken()
    for numbers, seconds in ((10**6, 0.0001), (10**8, 0.1)):
        found.stream("triad", numbers, Machine(monkeypatch, [seconds]).run)
    facts = found.facts("")
    assert facts["triad_gb_s"] == pytest.approx(12 * 10**8 / 0.1 / 1e9)
    assert facts["triad_best_gb_s"] == pytest.approx(12 * 10**6 / 0.0001 / 1e9)


def test_a_precision_without_hardware_stops_at_a_small_size(monkeypatch: pytest.MonkeyPatch) -> None:
    found = taken()
    sizes = []
    for size in found.sizes("bfloat16"):
        sizes.append(size)
        found.product("bfloat16", size, Machine(monkeypatch, [0.2]).run)
    assert sizes == [512]  # twice the size would take 1.6 s of a budget of 1 s


def test_a_gpu_is_asked_for_many_runs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, waits = Machine(monkeypatch, [1e-5]), []
    found = Ceilings(0.01, True, lambda: waits.append(machine.runs), parts=1)
    found.stream("copy", 10**6, machine.run)
    facts: dict[str, Any] = found.facts("")
    assert facts["device_copy_gb_s"] == facts["copy_gb_s"] == pytest.approx(8 * 10**6 / 1e-5 / 1e9)
    groups = [after - before for before, after in zip(waits[4::2], waits[5::2], strict=True)]
    assert len(groups) >= 3
    assert set(groups) == {200}  # 2 ms of work between two waits


def test_waiting_for_a_gpu_is_not_counted_as_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking once and waiting takes 20 times as long here as the kernel: a group by that would be half waiting."""
    machine = Machine(monkeypatch, [3e-6])

    def wait() -> None:
        machine.now += 60e-6

    found = Ceilings(0.1, True, wait, parts=1)
    found.stream("copy", 10**6, machine.run)
    assert found.facts("")["copy_gb_s"] == pytest.approx(8 * 10**6 / 3e-6 / 1e9, rel=0.05)


def test_a_precision_that_the_device_lacks_is_noted_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED\nand more")

    found = taken()
    for precision, run in (("float32", Machine(monkeypatch, [1.0]).run), ("bfloat16", refuse)):
        for size in found.sizes(precision):
            found.product(precision, size, run)
    facts = found.facts("")
    assert facts["sgemm_gflops"] > 0
    assert "bfloat16_gflops" not in facts
    assert facts["lacking"] == {"bfloat16": "CUBLAS_STATUS_NOT_SUPPORTED"}
    with pytest.raises(RuntimeError):
        found.product("float32", 512, refuse)


def test_arrays_that_do_not_fit_are_noted_and_smaller_ones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(numbers: int) -> dict[str, Any]:
        if numbers > 2**20:
            raise MemoryError("out of memory")
        return {"triad": Machine(monkeypatch, [0.1]).run}

    found = taken()
    found.streams(made)
    facts = found.facts("")
    assert [row["array_bytes"] for row in facts["streams"]] == [2**18, 2**20, 2**22]
    assert facts["lacking"] == {"arrays of 16777216 bytes": "out of memory"}


def test_only_a_card_with_tf32_has_a_ceiling_of_it() -> None:
    """On a T4 allowing TF32 changes nothing: its "TF32" would be the float32 figure once more."""
    assert precisions(gpu=True, has_tf32=False) == ("float32", "bfloat16", "float16")
    assert precisions(gpu=True, has_tf32=True) == ("float32", "tf32", "bfloat16", "float16")
    assert precisions(gpu=False, has_tf32=False) == ("float32", "bfloat16")
