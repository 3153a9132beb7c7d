"""Do the two networks compute the same function, layer by layer?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.model.layout import Array
    from parity.pair import Pair

pytestmark = pytest.mark.section("parity")
WEIGHTS = ("fresh", "trained", "probe")
PROBES = ("radiographs", "noise")


@pytest.fixture(params=WEIGHTS, scope="module")
def weights(request: pytest.FixtureRequest) -> str:
    """Which weights the pair holds."""
    return str(request.param)


def loaded(campaign: Campaign, weights: str) -> Pair:
    """Return the pair with the named weights in all four networks."""
    from parity.pair import probe_weights

    given = probe_weights(campaign.spec, campaign.options.seed) if weights == "probe" else campaign.weights(weights)
    pair = campaign.pair()
    pair.copy_weights(given)
    return pair


def fed(campaign: Campaign, probe: str) -> Array:
    """Return a batch of model inputs (n, h, w, c), float32."""
    from parity.pair import noise_probe

    count = campaign.options.amounts.probe_batch
    if probe == "noise":
        return noise_probe(campaign.spec, count, campaign.options.seed)
    images, _ = campaign.radiographs(count)
    return images.astype(np.float32) / np.float32(255.0)


def test_weights_are_carried_bit_for_bit(campaign: Campaign, weights: str) -> None:
    from parity.pair import exact_weights, raise_for

    pair = loaded(campaign, weights)
    audit = pair.audit()
    assert (audit.copied, audit.unmatched_tensorflow, audit.unmatched_torch) == (6, (), ())
    findings = exact_weights(pair)
    campaign.add_findings("weights", weights, "all values", findings)
    raise_for(findings)


def test_weights_return_from_torch_bit_for_bit(campaign: Campaign) -> None:
    from parity.pair import raise_for, same_bits
    from parity.pairing import weights as pairing_weights

    pair = campaign.pair()
    pair.build(campaign.spec, seed=campaign.options.seed + 1)
    start = pair.workers["torch"].call("get_weights")  # as torch initialises them, biases too
    pair.copy_weights(pairing_weights.to_tensorflow(start, campaign.spec))
    back = pairing_weights.to_torch(pair.weights(), campaign.spec)
    findings = [same_bits(name, start[name], back[name]) for name in start]
    campaign.add_findings("weights", "fresh from torch", "all values", findings)
    raise_for(findings)


@pytest.mark.parametrize("probe", PROBES)
def test_each_layer_alone(campaign: Campaign, weights: str, probe: str) -> None:
    from parity.pair import forced, layer_inputs, raise_for

    pair = loaded(campaign, weights)
    findings = forced(pair, layer_inputs(pair, fed(campaign, probe)))
    campaign.add_findings("forced", weights, probe, findings)
    raise_for(findings)


def test_each_layer_alone_keeps_full_precision(campaign: Campaign, weights: str) -> None:
    from parity.pair import forced, raise_for, sparse_inputs

    pair = loaded(campaign, weights)
    findings = forced(pair, sparse_inputs(campaign.spec, campaign.options.amounts.probe_batch, campaign.options.seed))
    campaign.add_findings("forced", weights, "sparse", findings)
    raise_for(findings)


@pytest.mark.parametrize("probe", PROBES)
def test_the_whole_network(campaign: Campaign, weights: str, probe: str) -> None:
    from parity.pair import propagated, raise_for

    pair = loaded(campaign, weights)
    findings = propagated(pair, fed(campaign, probe))
    campaign.add_findings("propagated", weights, probe, findings)
    raise_for(findings)


def test_training_mode_computes_what_evaluation_mode_does(campaign: Campaign, weights: str) -> None:
    from parity.pair import modes, raise_for

    findings = modes(loaded(campaign, weights), fed(campaign, "radiographs"))
    campaign.add_findings("training-mode", weights, "radiographs", findings)
    raise_for(findings)
