"""Do the speed modes of both frameworks keep their word: are they as exact as the precision that they name?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parity.model.modes import KNOWN_BREACHES, MODES, Breach, Mode, find_mode

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.trials.modes import ModeTrial

pytestmark = pytest.mark.section("modes")


@pytest.fixture(scope="module")
def trial(campaign: Campaign) -> ModeTrial:
    """The probes, the twins' answers and every mode's rows, each computed once."""
    from parity.trials.modes import ModeTrial

    return ModeTrial(campaign.pair().workers, seed=campaign.options.seed)


def rows_of(campaign: Campaign, trial: ModeTrial, mode: Mode) -> list[dict[str, Any]]:
    """Return a mode's rows, which are put in the record when they are measured; skip where it cannot run."""
    from parity.trials.modes import chosen_modes, known, not_run

    if mode in trial.results:
        return trial.results[mode]
    why = chosen_modes(campaign.options.profile)[mode] or trial.refusal(mode)
    if why:
        campaign.append_to("modes", "rows", [not_run(mode, why)])
        pytest.skip(f"not run: {why}")
    rows = trial.run(mode)
    for row in rows:
        breach = known(row, KNOWN_BREACHES)
        if breach is not None and row["verdict"] == "precision":
            row["known"] = breach.measured
    campaign.append_to("modes", "rows", rows)
    return rows


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.framework}-{mode.name}")
def test_a_mode_keeps_its_word(campaign: Campaign, trial: ModeTrial, mode: Mode) -> None:
    from parity.trials.modes import broken, idle, message

    rows = rows_of(campaign, trial, mode)
    assert rows, "nothing was compared: zero comparisons is a failure"
    assert not idle(rows), f"{mode.name} was not on: outputs came as {idle(rows)[0]['dtype']}"
    found = [row for row in broken(rows) if "known" not in row]
    assert not found, "\n".join(map(message, found))


@pytest.mark.parametrize(
    "breach", KNOWN_BREACHES, ids=lambda breach: f"{breach.framework}-{breach.mode}-{breach.layer}-{breach.tensor}"
)
def test_a_known_breach_is_gone(
    request: pytest.FixtureRequest, campaign: Campaign, trial: ModeTrial, breach: Breach
) -> None:
    """Expected to fail, strictly so under the versions and on the kind of processor where it was measured."""
    from parity.trials.modes import broken, measured_here, message

    mode = find_mode(breach.framework, breach.mode)
    if mode not in trial.results:
        pytest.skip("its mode did not run")
    strict = breach.always and measured_here(breach, campaign.pair().workers[breach.framework].call("environment"))
    request.applymarker(pytest.mark.xfail(strict=strict, reason=breach.measured))
    shown = [row for row in broken(trial.results[mode]) if row.get("known") == breach.measured]
    shown = [row for row in shown if (row["layer"], row["tensor"]) == (breach.layer, breach.tensor)]
    assert not shown, message(shown[0])
