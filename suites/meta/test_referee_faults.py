"""Faults planted on either side: does the referee tell what a model means from how a kernel computes?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PRECISION, ROUNDING, SEMANTIC, Finding
from parity.model import zoo
from parity.model.network import Network
from parity.pair import Pair, PairOptions
from parity.trials.referee import Judgement, Referee, conclude, examine, raise_for

FAULTY = f"{Path(__file__).with_name('faulty_tensorflow.py')}:FaultyTensorflow"
CNN = zoo.small_cnn()
BATCH_NORM = zoo.single("batch-norm-alone", "batch_norm", (zoo.image(),))
STRIDED = zoo.single(
    "conv-alone", "conv", (zoo.image(),), rank=2, filters=5, kernel=[3, 3], strides=[2, 2], padding="same"
)


@pytest.fixture(scope="module")
def workers() -> Iterator[Pair]:
    """Four workers; TensorFlow's kernels are right until a test plants a fault."""
    with Pair(PairOptions(tensorflow_adapter=FAULTY, threads=1)) as pair:
        yield pair


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(PairOptions(threads=1)) as found:
        yield found


def plant(workers: Pair, fault: str, at: str = "") -> None:
    for side in ("tensorflow", "twin_tensorflow"):
        workers.workers[side].call("plant", fault=fault, at=at)


def of(found: list[Judgement], stage: str) -> dict[str, str]:
    return {judged.node: judged.conclusion for judged in found if judged.stage == stage}


@pytest.mark.whole_run
@pytest.mark.parametrize("network", [CNN, BATCH_NORM, STRIDED], ids=lambda network: network.name)
def test_a_correct_pair_is_the_same_for_all_three(workers: Pair, referee: Referee, network: Network) -> None:
    found = examine(workers, referee, network)
    raise_for(found)
    assert {judged.node for judged in found} == {node.name for node in network.nodes}
    assert {"forward", "input-gradient"} <= {judged.stage for judged in found}


PORTS = {
    "batchnorm-eps": (BATCH_NORM, BATCH_NORM.with_port("layer", eps=1e-5)),
    "same-padding-stride": (STRIDED, STRIDED.with_port("layer", padding="symmetric")),
    "other-shape": (STRIDED, STRIDED.with_config("layer", padding="valid")),
}


@pytest.mark.whole_run
@pytest.mark.parametrize(("network", "port"), PORTS.values(), ids=PORTS)
def test_a_careless_port_is_a_matter_of_meaning(
    workers: Pair, referee: Referee, network: Network, port: Network
) -> None:
    found = examine(workers, referee, network, port)
    assert of(found, "forward") == {"layer": "meaning"}
    assert {judged.conclusion for judged in found} <= {"same", "meaning"}
    with pytest.raises(AssertionError, match="meaning"):
        raise_for(found)


@pytest.mark.whole_run
def test_a_weight_that_the_port_forgot_is_a_matter_of_meaning(workers: Pair, referee: Referee) -> None:
    found = examine(workers, referee, CNN, spoil=lambda torch, _: {**torch, "dense2.bias": 0 * torch["dense2.bias"]})
    wrong = {judged.node: judged.conclusion for judged in found if judged.conclusion != "same"}
    assert wrong == {"dense2": "meaning"}


@pytest.mark.whole_run
@pytest.mark.parametrize(("fault", "verdict"), [("bfloat16", PRECISION), ("other-function", SEMANTIC)])
def test_a_wrong_kernel_of_tensorflow_is_a_matter_of_kernels(
    workers: Pair, referee: Referee, fault: str, verdict: str
) -> None:
    plant(workers, fault, "conv1")
    try:
        found = examine(workers, referee, CNN)
    finally:
        plant(workers, "")
    wrong = [judged for judged in found if judged.conclusion != "same"]
    assert {(judged.node, judged.conclusion) for judged in wrong} == {("conv1", "kernel")}
    assert {judged.tensorflow.verdict for judged in wrong} == {verdict}
    assert of(found, "forward")["conv1"] == "kernel"


@pytest.mark.whole_run
def test_a_layer_that_only_the_referee_runs_otherwise_is_its_own_matter(workers: Pair, referee: Referee) -> None:
    """Keras's torch backend resizes with another bicubic kernel than its TensorFlow backend."""
    cubic = zoo.single("resize-bicubic", "resize", (zoo.image(),), size=[22, 16], method="bicubic")
    found = examine(workers, referee, cubic)
    assert of(found, "forward") == {"layer": "referee"}


@pytest.mark.whole_run
def test_the_referees_twin_is_exact(referee: Referee) -> None:
    """Keras turns float64 into float32 on every backend but TensorFlow's; the twin must not."""
    dense = zoo.single("dense", "dense", (zoo.sequence(),), units=4)
    kernel = np.random.default_rng(0).standard_normal((5, 4))
    worker = referee.workers["twin_referee"]
    worker.call("build_network", network=dense.to_dict())
    worker.call("set_network_weights", weights={"layer/kernel": kernel, "layer/bias": np.zeros(4)})
    x = np.random.default_rng(1).standard_normal((3, 6, 5))
    output = worker.call("network_forward", inputs={"input": x})["outputs"]["layer"]
    assert output.dtype == np.float64
    assert np.abs(output - x @ kernel).max() < 1e-14


def finding(verdict: str) -> Finding:
    return Finding("x", "conv", verdict, "")


KNOWN = [
    ((ROUNDING, IDENTICAL, ROUNDING), "same"),
    ((ROUNDING, SEMANTIC, SEMANTIC), "meaning"),
    ((PRECISION, SEMANTIC, SEMANTIC), "meaning"),
    ((SEMANTIC, ROUNDING, SEMANTIC), "kernel"),
    ((PRECISION, ROUNDING, PRECISION), "kernel"),
    ((ROUNDING, PRECISION, PRECISION), "precision"),
    ((SEMANTIC, SEMANTIC, ROUNDING), "referee"),
    ((PRECISION, PRECISION, ROUNDING), "referee"),
    ((SEMANTIC, SEMANTIC, SEMANTIC), "each differs"),
    ((ROUNDING, ROUNDING, SEMANTIC), "undecided"),
    ((ROUNDING, NOT_COMPARED, ROUNDING), "undecided"),
]


@pytest.mark.parametrize(("verdicts", "conclusion"), KNOWN, ids=["-".join(verdicts) for verdicts, _ in KNOWN])
def test_known_answers(verdicts: tuple[str, str, str], conclusion: str) -> None:
    assert conclude(*map(finding, verdicts)) == conclusion


def test_nothing_compared_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="nothing was compared"):
        raise_for([])
