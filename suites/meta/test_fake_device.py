"""What torch's side computes on a GPU lies on the GPU: followed on a device that is made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.workers.client import Worker, WorkerOptions

FAKE = f"{Path(__file__).with_name('fake_device_adapter.py')}:FakeDevice"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(WorkerOptions(FAKE, threads=1)) as started:
        yield started


def test_no_loss_mixes_devices(worker: Worker) -> None:
    """Class numbers, class weights and the upstream gradient have to be where the predictions are."""
    assert worker.call("asked") > 20
    assert worker.call("losses") == {}


def test_a_number_of_the_cpu_among_those_of_the_device_is_seen(worker: Worker) -> None:
    """The planted fault: without it, all that follows would prove nothing."""
    assert "same device" in worker.call("mixed")


@pytest.mark.whole_run
def test_no_step_of_a_network_mixes_devices(worker: Worker) -> None:
    assert worker.call("networks") == {}


def test_no_lane_mixes_devices(worker: Worker) -> None:
    assert worker.call("lanes", names=["torch-eager", "torch-fit", "torch-channels-last"]) == {}


def test_no_optimizer_mixes_devices(worker: Worker) -> None:
    assert worker.call("optimizers") == {}
