"""Do both exports still compute what their models do, and if not, who is the odd one out?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("onnx")


def test_four_answers_agree(campaign: Campaign) -> None:
    from parity.exchange import cross_check, export
    from parity.judge.verdict import PASSING

    pair = campaign.pair()
    pair.copy_weights(campaign.weights("trained"))
    paths = export(pair, campaign.options.report_dir / "models")
    images, _ = campaign.radiographs(campaign.options.amounts.probe_batch)
    section = cross_check(pair, campaign.runtime(), paths, images.astype(np.float32) / np.float32(255.0))
    campaign.fill("onnx", section)
    totals = [row for row in section["comparisons"] if row["tensor"] == "all"]
    assert len(totals) == 6
    assert all(graph["dynamic_batch"] for graph in section["graphs"])
    assert {graph["parameters"] for graph in section["graphs"]} == {campaign.spec.parameters()}
    failing = [row for row in section["comparisons"] if row["verdict"] not in PASSING]
    assert not failing, f"{section['vote']} First: {failing[0]}"
