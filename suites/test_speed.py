"""How fast does each lane train and evaluate here? Proven first, then timed in fresh processes, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from parity.bench import clock
from parity.errors import MissingDevice

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.timing import Bench, Row

pytestmark = pytest.mark.section("benchmarks")
SWITCHED_OFF = "timing was switched off by --benchmark-disable"


@pytest.fixture(scope="module")
def bench(campaign: Campaign, tell: Callable[..., None], request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The benchmark of this run; what an interrupted one has finished is taken over when `--resume` is given."""
    from parity.timing import Bench

    made = Bench(campaign, lambda line: tell(f"parity benchmark: {line}"))
    option = request.config.getoption
    if option("benchmark_disable") and not option("benchmark_enable"):
        made.withdraw(SWITCHED_OFF)
    yield made
    made.close()


@pytest.mark.benchmark(timer=clock.read, disable_gc=False)
def test_step(bench: Bench, row: Row, benchmark: Any) -> None:
    why_not = bench.why_not(row)
    if why_not:
        pytest.skip(why_not)
    if benchmark.disabled:
        bench.withdraw(SWITCHED_OFF)  # also by a debugger
        return
    try:
        timed = bench.ready(row)
    except MissingDevice:
        if not bench.is_absent(row.lane):
            raise
        pytest.skip(str(bench.why_not(row)))
    benchmark.group = row.setting.name
    benchmark.has_error = True  # until the record holds all of it: what it lacks is not to be saved by itself
    benchmark.pedantic(timed.round, rounds=timed.rounds, iterations=1)
    sample = bench.keep(row)
    benchmark.extra_info.update({k: v for k, v in sample.items() if isinstance(v, str | int | float) or v is None})
    benchmark.extra_info["seed"] = bench.plan.seed  # of the order of lanes and of the weights
    assert len(sample["seconds"]) == timed.rounds
    benchmark.has_error = False


def test_no_step_is_faster_than_the_machine_allows(bench: Bench) -> None:
    if not bench.has_samples:
        pytest.skip(bench.withdrawn or "no lane was timed")
    refused = bench.measure_limits()
    assert not refused, f"faster than the floor, which is a fault of the clock or of the floor: {refused}"


def test_the_same_lane_twice_tells_what_can_be_seen(bench: Bench) -> None:
    check = bench.aa_check()
    if check is None:
        pytest.skip(bench.withdrawn or "no lane was timed under two names in this run")
    for setting in check["settings"]:
        inside = setting["passed"]
        if setting["blocks"] > 1:
            assert inside == (setting["firm_low"] <= 1 <= setting["firm_high"])
        else:
            assert inside is None
    # A sound campaign fails here now and then by the interval's own definition: it names no winner then.
    if check["passed"] is False:
        assert bench.no_winner() is not None


def test_input_supply(bench: Bench) -> None:
    if bench.withdrawn:
        pytest.skip(bench.withdrawn)
    supply = bench.measure_supply()
    assert supply["rows"]
    assert all(rate > 0 for row in supply["rows"] for rate in row["images_per_s"])
    assert not supply.get("problems"), supply["problems"]
