"""Every layer kind, and small networks made of them: forward, backward, one optimizer step, both modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parity.model import zoo

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.model.network import Network

pytestmark = pytest.mark.section("zoo")
KINDS = {network.name: network for network in zoo.kinds()}
NETWORKS = {network.name: network for network in zoo.small_networks()}


def examined(campaign: Campaign, network: Network, seed: int) -> list[Any]:
    """Return every finding of one network, and put a line per stage into the record."""
    from parity.trials import zoo as trial

    found = trial.examine(campaign.pair(), network, seed)
    campaign.append_to("zoo", "rows", trial.rows(network, found))
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("name", KINDS)
def test_layer_kind(campaign: Campaign, name: str) -> None:
    from parity.trials.networks import raise_for

    raise_for(examined(campaign, KINDS[name], campaign.options.seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_small_network(campaign: Campaign, name: str) -> None:
    from parity.trials.networks import raise_for

    raise_for(examined(campaign, NETWORKS[name], campaign.options.seed))


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, network in {**KINDS, **NETWORKS}.items() if zoo.has_weights(network)])
def test_weights_move_both_ways(campaign: Campaign, name: str) -> None:
    from parity.pair import raise_for
    from parity.trials.zoo import round_trip

    raise_for(round_trip(campaign.pair(), {**KINDS, **NETWORKS}[name], campaign.options.seed))
