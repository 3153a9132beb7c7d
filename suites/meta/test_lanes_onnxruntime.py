"""ONNX Runtime's lanes: the provider that is asked for does the work, in float32, or the lane is not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.adapters.onnxruntime import CUDA, _ones_graph
from parity.errors import MissingDevice, UsageError
from parity.workers.client import Worker, WorkerOptions
from suites.meta.faulty_onnxruntime import CPU, images

PRETENDED = f"{Path(__file__).with_name('faulty_onnxruntime.py')}:PretendedGpu"


@pytest.fixture(scope="module")
def _process() -> Iterator[Worker]:
    with Worker(WorkerOptions(PRETENDED, device="gpu", threads=1)) as worker:
        yield worker


@pytest.fixture
def pretended(_process: Worker, tmp_path: Path) -> Worker:
    """A worker whose sessions list CUDA's provider, with a lane that is about to start."""
    import onnx

    path = tmp_path / "ones.onnx"
    path.write_bytes(_ones_graph(onnx)[0])
    _process.call("pretend", loads=True)
    _process.call("load", path=str(path))
    batch, labels = images()
    _process.call("place_images", images=batch[:1], labels=labels[:1])
    return _process


def test_a_float32_lane_forbids_tf32(pretended: Worker) -> None:
    """The provider allows it unless it is told not to: a lane on a newer card would be no float32 one."""
    pretended.call("start_lane", options={"source": "torch"})
    assert pretended.call("providers_given") == [[CUDA, {"use_tf32": "0"}], CPU]


def test_a_provider_that_is_listed_and_leaves_the_work_to_the_cpu_is_refused(pretended: Worker) -> None:
    facts = pretended.call("start_lane", options={"source": "torch"})
    assert facts["providers"] == [CUDA, CPU]
    assert pretended.call("executed").keys() == {CPU}
    with pytest.raises(MissingDevice, match="runs Conv, MatMul without it"):
        pretended.call("resident_logits")
    with pytest.raises(MissingDevice, match="without it"):
        pretended.call("try_device")


def test_a_provider_that_does_not_load_is_refused(pretended: Worker) -> None:
    pretended.call("pretend", loads=False)
    with pytest.raises(MissingDevice, match="CUDA provider does not load"):
        pretended.call("start_lane", options={})
    with pytest.raises(MissingDevice, match="CUDA provider does not load"):
        pretended.call("try_device")


def test_the_arithmetic_of_shapes_may_be_done_on_the_cpu(pretended: Worker) -> None:
    work = {"Conv": 1, "FusedMatMul": 1, "MaxPool": 1}
    assert pretended.call("refused", executed={CUDA: work, CPU: {"Shape": 1, "Gather": 2}}) is None
    for name in ("FusedConv", "Gemm", "MaxPool"):
        assert name in pretended.call("refused", executed={CUDA: work, CPU: {name: 1}})
    assert "runs the graph without it" in pretended.call("refused", executed={CUDA: {"Relu": 1}})
    assert "runs the graph without it" in pretended.call("refused", executed={})


def test_the_probe_computes_what_it_says() -> None:
    with Worker(WorkerOptions(PRETENDED, device="gpu", threads=1)) as worker:
        assert worker.call("computed") == 324.0


def test_a_lane_that_was_not_started_says_so() -> None:
    with Worker(WorkerOptions("onnxruntime", threads=1)) as worker:
        worker.call("try_device")  # on the CPU there is none to try
        with pytest.raises(UsageError, match="call `load`, `place_images` and `start_lane` first"):
            worker.call("timed_steps", work="evaluate", steps=1)
