"""Load the whole data set, or stream it: what each way makes a process hold, in both frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from suites.test_study import _asked as asked

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = [pytest.mark.section("memory_ways"), pytest.mark.study, pytest.mark.thorough]


def test_memory_of_both_ways(campaign: Campaign, request: pytest.FixtureRequest) -> None:
    from parity.study.arms import FRAMEWORKS
    from parity.study.memory import AMOUNTS, WAYS, measure

    options = campaign.options
    quick = any((options.study_seeds, options.study_size, options.study_epochs))
    amount = AMOUNTS["full" if asked(request.config) and not quick else options.profile]
    pythons = {"tensorflow": options.tensorflow_python, "torch": options.torch_python}
    found = measure(
        _files(campaign),
        amount,
        pythons={framework: python for framework, python in pythons.items() if python},
        parallel=min(2, options.threads),
    )
    campaign.fill("memory_ways", found)
    assert found["problems"] == []
    assert len(found["rows"]) == len(FRAMEWORKS) * len(WAYS) * len(amount.sizes) * len(amount.counts)


def test_whoever_loads_holds_the_data_set_at_least_once(campaign: Campaign) -> None:
    for row in _section(campaign)["rows"]:
        if row["way"] == "load":
            assert row["own_peak_bytes"] > row["floor_bytes"]
            assert row["stage_bytes"]["tensor"] - row["stage_bytes"]["list"] > row["floor_bytes"]


def _section(campaign: Campaign) -> dict[str, Any]:
    found: dict[str, Any] = campaign.record["memory_ways"]
    if "rows" not in found or any("error" in row for row in found["rows"]):
        pytest.skip("the memory of both ways was not measured")
    return found


def _files(campaign: Campaign) -> Any:
    """Return the training split's JPEG files that both frameworks read; a data set repeats where it is too small."""
    from parity.bench.supply import Amount, choose
    from parity.data import synthetic
    from parity.data.kaggle import dataset_root
    from parity.data.paths import cache_root
    from parity.study.memory import AMOUNTS, Files

    prepared = campaign.prepare()
    root = campaign.options.data or synthetic.embedded_root(cache_root())
    most = max(AMOUNTS["full"].counts)
    task = choose(prepared, dataset_root(root), 1, 1, Amount(images=most))
    labels = prepared.labels("train")
    return Files(task.files, tuple(int(labels[row]) for row in task.rows))
