"""Training as people do it: streaming, augmentation, class weights, schedules, early stopping, checkpoints, resume."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("practice")


def test_training_as_people_do_it(campaign: Campaign, request: pytest.FixtureRequest) -> None:
    from parity.study.practice import AMOUNTS, practise

    options = campaign.options
    practice = replace(AMOUNTS[options.profile], seed=options.seed)
    pythons = {"tensorflow": options.tensorflow_python, "torch": options.torch_python}
    found = practise(
        _films(campaign, practice.images),
        practice,
        options.report_dir / "practice",
        pythons={framework: python for framework, python in pythons.items() if python},
        device=campaign.device,
        threads=1 if options.threads == 2 else max(1, options.threads // 2),
        parallel=2 if options.threads > 1 and campaign.device == "cpu" else 1,
        progress=_progress(request),
    )
    campaign.fill("practice", found)
    assert found["problems"] == []
    assert len(found["runs"]) == 2


def test_the_same_seed_gives_the_same_weights(campaign: Campaign) -> None:
    rows = _section(campaign)["determinism"]
    assert {row["framework"] for row in rows} == {"tensorflow", "torch"}
    for row in rows:
        assert row["arrays"] > 10
        assert not row["differing"], f"{row['framework']}: {row['operation']}"


def test_a_killed_training_goes_on_bit_for_bit(campaign: Campaign) -> None:
    for row in _section(campaign)["resume"]:
        assert 1 <= row["from_epoch"] == row["killed_epoch"] - 1
        assert 0 < row["killed_step"] < row["steps"]
        assert row["differing"] == []


def test_the_same_random_change_gives_the_same_pixels(campaign: Campaign) -> None:
    for row in _section(campaign)["augmentation"]:
        assert row["within"]
        assert row["largest_bound"] < 0.1 / 255  # a tenth of a grey level: the bound can tell a shift from rounding
        assert row["identical"] or row["case"] != "flip alone"


def _section(campaign: Campaign) -> dict[str, Any]:
    found: dict[str, Any] = campaign.record["practice"]
    if not found.get("runs"):
        pytest.skip("no training as people do it ended")
    return found


def _films(campaign: Campaign, images: int) -> Any:
    """Return JPEG files of the training split that both frameworks read, some of each class held out."""
    from parity.bench.supply import Amount, choose
    from parity.data import synthetic
    from parity.data.kaggle import dataset_root
    from parity.data.paths import cache_root
    from parity.errors import DataError, UsageError
    from parity.study.practice import Films

    prepared = campaign.prepare()
    root = campaign.options.data or synthetic.embedded_root(cache_root())
    labels = np.asarray(prepared.labels("train"))
    try:
        task = choose(prepared, dataset_root(root), 1, 1, Amount(images=images))
        return Films.parted(task.files, [int(labels[row]) for row in task.rows])
    except (DataError, UsageError) as error:
        pytest.skip(str(error))


def _progress(request: pytest.FixtureRequest) -> Any:
    """Return what draws a bar on a terminal, past pytest's capturing; None where nobody watches."""
    plugins = request.config.pluginmanager
    reporter, capture = plugins.get_plugin("terminalreporter"), plugins.get_plugin("capturemanager")
    if reporter is None or not sys.stdout.isatty():
        return None

    def show(line: str) -> None:
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            reporter.rewrite(line, erase=True)

    return show
