"""No false alarm: every correct pair of the layer zoo, checked as if somebody had brought it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parity.model import zoo
from parity.model.network import Network
from suites.meta.ports import FOLDER

# The zoo's own torch form of these is no port as somebody writes one, or the pair cannot be run as it stands.
NOT_BROUGHT = {
    "dropout": "its mask is an input",
    "activation-hard-sigmoid": "the zoo's torch form looks at the dtype, and takes another path in float64",
    "conv3d-groups2": "TensorFlow has no such kernel on a CPU outside XLA",
    "transformer-encoder-block": "its random mask may leave a row with nothing to attend to: not a number in torch",
}
# The zoo's torch form returns the same numbers in torch's order, which a port must not.
IN_TORCH_ORDER = {"flatten": "flatten-order", "conv1d-stride2-valid": "axis-mismatch"}
NETWORKS = {network.name: network for network in [*zoo.kinds(), *zoo.small_networks()]}
# What the main job runs, too.
QUICK = ("u-net", "conv2d-transpose-same", "merge-average", "avg-pool3d-same", "prelu-per-element", "separable-conv2d")


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Four workers for all networks."""
    from parity.porting.options import CheckOptions, InputSpec
    from parity.porting.sides import Workers

    with Workers(CheckOptions(inputs=(InputSpec((1,)),))) as found:
        yield found


def _verdict(network: Network, workers: Any) -> Any:
    from parity.port import check

    name = network.name.replace("-", "_")
    inputs = []
    for given in network.inputs:
        size = "x".join(map(str, given.shape))
        inputs.append(size if given.below is None else f"{size}:0:{given.below - 1}")
    tensorflow, torch = (str(FOLDER / f"described_{side}.py:{name}") for side in ("tensorflow", "torch"))
    return check(tensorflow, torch, inputs, workers=workers)


def _check(network: Network, workers: Any) -> None:
    verdict = _verdict(network, workers)
    assert verdict.same, verdict.message()
    assert not verdict.sources
    assert verdict.layers


@pytest.mark.whole_run
@pytest.mark.parametrize("name", QUICK)
def test_a_correct_pair_raises_no_alarm(name: str, workers: Any) -> None:
    _check(NETWORKS[name], workers)


@pytest.mark.whole_run
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in {*NOT_BROUGHT, *IN_TORCH_ORDER, *QUICK}])
def test_no_correct_pair_raises_an_alarm(name: str, workers: Any) -> None:
    _check(NETWORKS[name], workers)


def test_what_is_left_out_exists() -> None:
    assert set(NOT_BROUGHT) <= set(NETWORKS)
    assert set(QUICK) <= set(NETWORKS)


@pytest.mark.whole_run
@pytest.mark.parametrize("name", IN_TORCH_ORDER)
def test_an_output_in_torch_order_is_said_to_be_one(name: str, workers: Any) -> None:
    verdict = _verdict(NETWORKS[name], workers)
    assert [source.cause for source in verdict.sources] == [IN_TORCH_ORDER[name]]
