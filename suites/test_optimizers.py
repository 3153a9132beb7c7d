"""Given the same gradients, do the two frameworks take the same steps, and what makes them do so where they do not?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.model.optimizers import CASES

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.trials.optimizers import Outcome

pytestmark = pytest.mark.section("optimizers")
NAMES = [case.name for case in CASES]
SCHEDULED = [case.name for case in CASES if case.keras.schedule is not None]
CLAIMED = [case.name for case in CASES if case.claims]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What has been run so far, by case: the tests of one case share its run."""
    return {}


def ran(campaign: Campaign, outcomes: dict[str, Outcome], name: str) -> Outcome:
    """Return what became of a case; its rows go into the record when it first runs."""
    from parity.trials.optimizers import STEPS, case_named, inputs, run_case

    if name not in outcomes:
        options, case = campaign.options, case_named(name)
        given = inputs(STEPS[options.profile], options.seed)
        doubles = case.variant == "plain" or options.profile == "full"
        outcomes[name] = run_case(campaign.pair().workers, case, given, doubles)
        if not isinstance(campaign.record["optimizers"], list):
            campaign.record["optimizers"] = []
        campaign.record["optimizers"] += outcomes[name].rows
    return outcomes[name]


@pytest.mark.parametrize("name", NAMES)
def test_adapters_take_the_same_steps(campaign: Campaign, outcomes: dict[str, Outcome], name: str) -> None:
    from parity.pair import raise_for

    raise_for(ran(campaign, outcomes, name).findings)


@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules_give_the_same_rate_at_every_step(
    campaign: Campaign, outcomes: dict[str, Outcome], name: str
) -> None:
    from parity.pair import raise_for

    raise_for(finding for finding in ran(campaign, outcomes, name).findings if finding.kind == "schedule")


@pytest.mark.parametrize("name", CLAIMED)
def test_what_is_claimed_equal_is_equal(campaign: Campaign, outcomes: dict[str, Outcome], name: str) -> None:
    from parity.pair import raise_for

    raise_for(ran(campaign, outcomes, name).claimed)
