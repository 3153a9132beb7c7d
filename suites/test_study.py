"""Does one framework learn better than the other, and what is a gap in test accuracy made of?

In every default run a shortened study shows that all of it works; `-m study` and the full profile run the real one,
which takes hours, keeps each training as it ends, and goes on with `--resume`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign, CampaignOptions
    from parity.data.prepared import Prepared
    from parity.study.pace import Pace
    from parity.study.study import Amounts, Machine

pytestmark = [pytest.mark.section("study"), pytest.mark.study]


def test_study(campaign: Campaign, request: pytest.FixtureRequest, tell: Callable[..., None]) -> None:
    from parity.data import cache
    from parity.study.engines import make_engine
    from parity.study.study import FOLDER, conduct, set_aside, sized

    campaign.note_machine()
    options, amounts = campaign.options, _amounts(campaign.options, asked=_asked(request.config))
    spec = sized(campaign.spec, amounts)
    prepared = cache.prepare(
        options.data, spec.height, spec.width, spec.channels, skip_unreadable=options.skip_unreadable
    )
    _check_splits(prepared, asked=_asked(request.config))
    folder = options.report_dir / FOLDER
    if not options.resume:
        set_aside(folder)
    engine = make_engine(options.study_address, options.threads)
    found = conduct(
        prepared,
        spec,
        amounts,
        _machine(campaign),
        engine,
        folder,
        first_seed=options.seed,
        progress=_pace(request, tell),
    )
    campaign.fill("study", {"model": spec.name, "channels": spec.channels, **found})
    assert found["failed"] == []
    assert len(found["runs"]) == amounts.seeds * 2 * 15  # two arms on three splits, eight factors, all of them at once


def test_no_patient_is_trained_and_tested_on_in_the_split_by_patient(campaign: Campaign) -> None:
    facts = {found["split"]: found for found in _study(campaign)["facts"]}
    assert set(facts["patient"]["patients_shared"].values()) == {0}
    assert facts["patient"]["over_seeds"]["patients_shared"] == [0, 0]


def test_the_bars_of_the_waterfall_lead_from_its_start_to_its_end(campaign: Campaign) -> None:
    study = _study(campaign)
    for fall in study["waterfalls"]:
        bars = [row["change"] for row in study["gap"] if row["framework"] == fall["framework"]]
        assert len(bars) == 9
        assert fall["start"]["mean"] + sum(bars) == pytest.approx(fall["end"]["mean"], abs=1e-9)


def test_the_shared_arm_learns_alike(campaign: Campaign) -> None:
    """From the same weights on the same batches the first epoch's loss is the same but for rounding."""
    curves = [row for row in _study(campaign)["curves"] if row["arm"] == "shared"]
    for split in ("official", "random", "patient"):
        first, second = (row["learning"][0]["loss"]["mean"] for row in curves if row["split"] == split)
        assert first == pytest.approx(second, abs=0.02)


def _study(campaign: Campaign) -> dict[str, Any]:
    found: dict[str, Any] = campaign.record["study"]
    if "runs" not in found:
        pytest.skip("the study did not finish")
    return found


def _amounts(options: CampaignOptions, *, asked: bool) -> Amounts:
    """Return the amounts of the real study or of the shortened one, with what the command line says of them."""
    from parity.study.study import REAL, SHORTENED, resized

    amounts = REAL if asked else SHORTENED
    if options.profile == "smoke" and not asked:
        amounts = replace(amounts, seeds=1)
    return resized(amounts, options.study_seeds, options.study_size, options.study_epochs)


def _asked(config: pytest.Config) -> bool:
    """Whether the real study was asked for."""
    named = re.search(r"(?<!not )\bstudy\b", str(config.getoption("markexpr") or ""))
    return bool(named) or config.getoption("profile") == "full"


def _check_splits(prepared: Prepared, *, asked: bool) -> None:
    """Skip the shortened study on a data set that is too small to be split; the real one fails."""
    from parity.errors import DataError
    from parity.study.splits import KINDS, make_split

    try:
        for kind in KINDS:
            make_split(prepared, kind, 0)
    except DataError as error:
        if asked:
            raise
        pytest.skip(str(error))


def _machine(campaign: Campaign) -> Machine:
    from parity.campaign import interpreter_versions
    from parity.study.study import Machine

    options = campaign.options
    pythons = {"tensorflow": options.tensorflow_python, "torch": options.torch_python}
    versions: dict[str, str] = {}
    for framework, python in pythons.items():
        found = interpreter_versions(python or sys.executable)
        deciding = (framework, "keras", "numpy", "pillow", "torchvision")  # the last two decide what pixels are read
        versions |= {f"{framework}: {name}": found[name] for name in deciding if name in found}
    return Machine(
        root=None if options.data is None else str(options.data),
        skip_unreadable=options.skip_unreadable,
        device=campaign.device,
        pythons={framework: python for framework, python in pythons.items() if python},
        versions=versions,
    )


def _pace(request: pytest.FixtureRequest, tell: Callable[..., None]) -> Pace:
    """Return what tells somebody who waits how far the study is."""
    from parity.bench.plan import duration
    from parity.study.pace import Pace

    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    terminal = reporter is not None and bool(reporter.isatty)
    return Pace(partial(tell, over=True), duration, terminal=terminal)
