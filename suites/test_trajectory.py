"""Trained step by step from the same weights on the same batches: how far do the two stay together?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("trajectory")
IMAGES = 256


@pytest.fixture(scope="module")
def section(campaign: Campaign) -> dict[str, Any]:
    """The record's section, measured once for all tests of this module."""
    from dataclasses import replace

    from parity.model.spec import example_cnn
    from parity.trials import trajectory

    options = campaign.options
    plan, side = trajectory.PROFILES[options.profile]
    height, width = (min(side or size, size) for size in (options.height, options.width))
    images, labels = campaign.radiographs(IMAGES)
    pair = campaign.pair()
    try:
        pair.build(example_cnn(height, width, options.channels), seed=options.seed)
        start = trajectory.start_weights(pair.weights(), options.seed)
        x = trajectory.shrink(images, height, width)
        tracks = trajectory.track(pair, x, labels, start, replace(plan, seed=options.seed))
    finally:
        if pair.alive():  # the other suites expect the network at its full size
            pair.build(campaign.spec, seed=options.seed)
    measured = trajectory.summary(tracks, (height, width)) | {"images": len(images)}
    campaign.fill("trajectory", measured)
    return measured


def test_the_float64_twins_take_the_same_steps(section: dict[str, Any]) -> None:
    from parity.trials.trajectory import twin_message

    assert len(section["twin_by_step"]) == section["steps"] == 200
    assert not twin_message(section), twin_message(section)


def test_float32_stays_within_what_one_ulp_does(section: dict[str, Any]) -> None:
    from parity.trials.trajectory import message

    assert len(section["distance"]) == section["steps"]
    assert not message(section), message(section)
    assert not section["unsteady"], f"{section['unsteady']} differ between two runs from the same weights"


@pytest.mark.parametrize("framework", ["tensorflow", "torch"])
def test_there_is_something_to_compare(section: dict[str, Any], framework: str) -> None:
    losses = section[f"loss_{framework}"]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20]), "the loss does not fall: equal, but nothing was trained"
    idle = {name: row for name, row in section["moved"].items() if not row["moved"] > 10 * row["distance"]}
    assert not idle, f"these weights moved hardly farther than the two frameworks are apart: {idle}"
