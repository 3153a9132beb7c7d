"""One training step, taken apart: loss, gradients, update, optimizer slots, and evaluation afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.trials.networks import NetworkPair

pytestmark = pytest.mark.section("parity")
WEIGHTS = ("fresh", "trained", "probe")


def opened(campaign: Campaign, weights: str) -> NetworkPair:
    """Return the example network in the campaign's workers, holding the named weights."""
    from parity.model.network import from_spec
    from parity.trials.networks import NetworkPair, probe_weights

    given = None if weights == "probe" else campaign.weights(weights)
    pair = NetworkPair(campaign.pair(), from_spec(campaign.spec))
    pair.copy_weights(probe_weights(pair, campaign.options.seed) if given is None else given)
    return pair


@pytest.mark.parametrize("weights", WEIGHTS)
def test_one_training_step(campaign: Campaign, weights: str) -> None:
    from parity.pair import noise_probe
    from parity.trials.networks import STAGES, forced_along, propagated, raise_for

    pair = opened(campaign, weights)
    images, labels = campaign.radiographs(2)  # one of each class
    probe = "noise" if weights == "probe" else "radiographs"
    x = images.astype(np.float32) / np.float32(255.0)
    if probe == "noise":
        # Flat dark areas let rounding choose the maximum of a pooling window, and then no bound on a gradient is sharp;
        # noise has no such ties.
        x = noise_probe(campaign.spec, 2, campaign.options.seed)
    inputs = {"input": x}
    logits = campaign.spec.layers[-2].name
    loss = {"kind": "bce_logits", "tensor": logits, "labels": labels.astype(np.float32)}
    found = forced_along(pair, inputs, loss)
    found += propagated(pair, inputs, loss)
    for check in ("forced", "propagated"):
        for stage in STAGES:
            rows = [s.finding for s in found if (s.check, s.stage) == (check, stage)]
            if rows and not (check == "forced" and stage == "forward"):  # those are in the forward suite already
                campaign.add_findings(check, weights, probe, rows, stage)
    moved = {s.stage for s in found if s.check == "propagated"}
    assert moved == {"forward", "loss", "input-gradient", "parameter-gradient", "update", "slot", "after-training"}
    raise_for(found)
