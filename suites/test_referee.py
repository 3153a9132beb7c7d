"""A third party, Keras on its torch backend: where the frameworks differ, is it a kernel or the meaning?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from parity.model import zoo
from parity.model.network import Network, from_spec
from parity.model.spec import example_cnn

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.trials.referee import Referee

pytestmark = pytest.mark.section("referee")
NETWORKS = {network.name: network for network in [from_spec(example_cnn(21, 18, 1)), *zoo.small_networks()]}
KINDS = {network.name: network for network in zoo.kinds()}
AVERAGE = "Keras 3.15.1 on torch counts the padding in SAME average pooling where it is not symmetric (0.31 apart)"
CUBIC = "Keras 3.15.1 on torch resizes with a = -0.75, on TensorFlow with a = -0.5 (0.06 apart)"
# Faults of the referee itself: the other two agree.
KNOWN = {"avg-pool2d-same": AVERAGE, "avg-pool3d-same": AVERAGE, "resize-bicubic": CUBIC}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every small network, and with `--profile full` every layer kind."""
    listed = {**NETWORKS, **(KINDS if metafunc.config.getoption("profile") == "full" else {})}
    metafunc.parametrize("network", listed.values(), ids=list(listed))


@pytest.fixture(scope="module")
def referee(request: pytest.FixtureRequest) -> Iterator[Referee]:
    """Keras on torch in two workers; skips unless it was asked for."""
    if not request.config.getoption("referee"):
        pytest.skip("the referee, Keras on its torch backend, runs only with --referee")
    from parity.trials.referee import NOTE, Referee

    campaign: Campaign = request.getfixturevalue("campaign")
    with Referee(campaign.pair().options) as found:
        for side, worker in found.workers.items():
            campaign.note_worker(side, worker)
        campaign.fill("referee", {"rows": [], "note": NOTE, "versions": found.versions()})
        yield found


def test_the_referee_agrees_with_both(
    request: pytest.FixtureRequest, referee: Referee, campaign: Campaign, network: Network
) -> None:
    from parity.trials.referee import examine, raise_for, rows

    found = examine(campaign.pair(), referee, network, seed=campaign.options.seed)
    campaign.append_to("referee", "rows", rows(found))
    if network.name in KNOWN:
        assert {judged.conclusion for judged in found} <= {"same", "referee"}
        request.applymarker(pytest.mark.xfail(reason=KNOWN[network.name]))
    raise_for(found)
