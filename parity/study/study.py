"""A study from its amounts to its section of the record, on one page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from parity.data.prepared import Prepared
from parity.errors import UsageError
from parity.model.spec import ModelSpec
from parity.study.arms import CHOICES, readings, trainings
from parity.study.engines import Engine
from parity.study.execute import Setting
from parity.study.facts import BETWEEN, split_facts
from parity.study.runner import Progress, run_study
from parity.study.splits import make_split
from parity.study.summary import Summary

FOLDER = "study"
"""The folder of kept runs, beside the report."""


@dataclass(frozen=True)
class Amounts:
    """How much a study does: number of seeds, image `height` and `width` in pixels, epochs, fewer of them, batch."""

    seeds: int
    height: int
    width: int
    epochs: int
    fewer_epochs: int
    batch: int = 32


SHORTENED = Amounts(seeds=2, height=32, width=32, epochs=2, fewer_epochs=1, batch=24)
"""In every default run: it proves that the study works, and is too short to settle anything.

A batch of 24 parts the embedded films without a rest, for which TensorFlow would trace a second graph each time.
"""

REAL = Amounts(seeds=10, height=64, width=64, epochs=6, fewer_epochs=3)
"""What `-m study` runs: 240 trainings of ten seeds, sized for two cores and two hours on the 5,856 radiographs.

An epoch took each framework six to eight seconds of one core there (AMD EPYC, 2.4 GHz).
"""


def resized(
    amounts: Amounts, seeds: int | None = None, size: tuple[int, int] | None = None, epochs: int | None = None
) -> Amounts:
    """Return the amounts with those changed that are given; fewer epochs are half of the epochs, rounded down.

    `size`: (height, width) in pixels.

    Raises
        UsageError: fewer than two epochs, of which none can be left out.
    """
    changed: dict[str, int] = {} if seeds is None else {"seeds": seeds}
    if size is not None:
        changed |= {"height": size[0], "width": size[1]}
    if epochs is not None:
        if epochs < 2:
            raise UsageError(f"a study of {epochs} epoch cannot show what fewer epochs do: give at least 2")
        changed |= {"epochs": epochs, "fewer_epochs": epochs // 2}
    return replace(amounts, **changed)


@dataclass(frozen=True)
class Machine:
    """Where the workers of a study run, and what they are: plain data, as `Setting` has it."""

    root: str | None
    skip_unreadable: bool
    device: str
    pythons: Mapping[str, str]
    versions: Mapping[str, str]


def conduct(
    prepared: Prepared,
    spec: ModelSpec,
    amounts: Amounts,
    machine: Machine,
    engine: Engine,
    folder: Path,
    *,
    first_seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run what `folder` does not hold yet and return the record's section `study`.

    `spec` is the network at the study's image size, `prepared` the data at that size. Seeds count from `first_seed`.

    Raises
        UsageError: data of another size than the network's input.
        DataError: as `run_study` does.
    """
    shape = (spec.height, spec.width, spec.channels)
    if shape != (prepared.height, prepared.width, prepared.channels):
        raise UsageError(f"the network takes images of {shape}, and the data set was prepared otherwise")
    seeds = tuple(range(first_seed, first_seed + amounts.seeds))
    rows = readings(seeds, amounts.epochs, amounts.fewer_epochs)
    setting = Setting(
        spec=spec,
        digest=prepared.digest,
        batch=amounts.batch,
        kept_epochs=(amounts.fewer_epochs, amounts.epochs),
        **asdict(machine),
    )
    planned = trainings(rows)
    results = run_study(setting, planned, folder, engine, progress=progress)
    return {
        **Summary(prepared, rows, results).section(),
        "amounts": asdict(amounts),
        "learning_rate": setting.learning_rate,
        "optimizer": "adam",
        "seeds": list(seeds),
        "trainings": len(planned),
        "training_s": sum(outcome["seconds"] for outcome in results.finished.values()),
        "engine": engine.description,
        "threads": setting.threads,
        "facts": [_facts(prepared, kind, seeds) for kind in CHOICES["split"]],
    }


def _facts(prepared: Prepared, kind: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the facts of a split as the first seed draws it, with what the others share between train and test."""
    first, *others = (split_facts(prepared, make_split(prepared, kind, seed)) for seed in seeds)
    ranges = {}
    for name in BETWEEN:
        counts = [facts[name]["train/test"] for facts in (first, *others)]
        ranges[name] = [min(counts), max(counts)]
    return {**first, "over_seeds": ranges}


def set_aside(folder: Path) -> None:
    """Make room for a new study: runs that are there already go to `NAME.before`, in place of what was there."""
    if folder.exists():
        before = folder.with_name(f"{folder.name}.before")
        shutil.rmtree(before, ignore_errors=True)
        folder.replace(before)


def sized(spec: ModelSpec, amounts: Amounts) -> ModelSpec:
    """Return the network at the study's image size."""
    return replace(spec, height=amounts.height, width=amounts.width)
