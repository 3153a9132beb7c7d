"""Is each loss the same in both frameworks, value and gradient: as people port it, and in the port that is exact?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parity.model.losses import LOSSES

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("losses")


@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradient(campaign: Campaign, loss: str) -> None:
    from parity.trials.losses import run_loss, stale

    rows = run_loss(campaign.pair().workers, loss)
    campaign.fill("losses", {"rows": [*_recorded(campaign), *rows]})
    assert rows, "nothing was compared: zero comparisons is a failure"
    wrong = stale(rows)
    assert not wrong, "\n".join(wrong)


def _recorded(campaign: Campaign) -> list[dict[str, object]]:
    return list(campaign.record.get("losses", {}).get("rows", []))
