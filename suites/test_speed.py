"""How fast does each lane train and evaluate here? Proven first, then timed in fresh processes, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from parity.bench import clock
from parity.bench.lanes import lane, schedule

if TYPE_CHECKING:
    from parity.bench.run import LaneRun
    from parity.campaign import Campaign
    from parity.timing import Proof

pytestmark = pytest.mark.section("benchmarks")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One fresh process for each lane in each block, in the block's random order."""
    if "lane_run" in metafunc.fixturenames:
        from parity.campaign import PROFILES

        option = metafunc.config.getoption
        rows = schedule(PROFILES[option("profile")].blocks, option("seed"))
        ids = [f"{name}-block{block}" for block, _, name in rows]
        metafunc.parametrize("lane_run", rows, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def proof(campaign: Campaign) -> Proof:
    """Prove the pair on the very weights and batch that are timed, and return them with the twin's logits."""
    from parity.timing import prove_pair

    return prove_pair(campaign)


@pytest.fixture(scope="module")
def lane_run(request: pytest.FixtureRequest, campaign: Campaign, proof: Proof) -> Iterator[LaneRun]:
    """Start the lane's fresh process and let it through the gate."""
    from parity.timing import open_proven_lane

    block, order, name = request.param
    run = open_proven_lane(campaign, lane(name), proof, (block, order))
    yield run
    run.close()


@pytest.mark.parametrize("work", ["evaluate", "train"])
@pytest.mark.benchmark(timer=clock.read, disable_gc=False)
def test_step(campaign: Campaign, lane_run: LaneRun, benchmark: Any, work: str) -> None:
    from parity.timing import add_sample

    lane_run.warm_up(work)
    benchmark.group = work
    benchmark.pedantic(lane_run.round, args=(work,), rounds=lane_run.timing.rounds, iterations=1)
    if benchmark.disabled:
        campaign.withdraw("benchmarks", "timing was switched off by --benchmark-disable")
        return
    sample = lane_run.sample(work)
    add_sample(campaign, sample)
    benchmark.extra_info.update({k: v for k, v in sample.items() if isinstance(v, str | int | float) or v is None})
    assert len(sample["seconds"]) >= lane_run.timing.rounds
