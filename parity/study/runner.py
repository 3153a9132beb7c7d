"""Carry out the trainings of a study, keep each as a file of its own, and skip those that are kept already."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.errors import DataError
from parity.study.arms import Training
from parity.study.engines import Engine
from parity.study.execute import FINISHED, Outcome, Setting

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Results:
    """What a study has: finished trainings, and one line for each that failed; `kept` were there before."""

    finished: Mapping[Training, Outcome]
    failed: Mapping[Training, str]
    kept: int


def run_study(
    setting: Setting,
    trainings: Sequence[Training],
    folder: Path,
    engine: Engine,
    *,
    progress: Progress | None = None,
) -> Results:
    """Carry out what `folder` does not hold yet, and return everything.

    Each training is saved when it ends, so that a study that is killed loses what was under way and nothing else. A
    file is taken for a finished training only by its fingerprint, which covers the setting, the data, the versions and
    the training itself. What failed is tried again by the next call. `progress(done, total, line)` is called in this
    thread: once before the first training, with what is kept, and after each.

    Raises
        DataError: the folder cannot be written, or not one training has ever finished.
    """
    finished = {training: found for training in trainings if (found := kept_run(setting, training, folder)) is not None}
    failed: dict[Training, str] = {}
    kept = len(finished)
    left = [training for training in trainings if training not in finished]
    if progress is not None:
        progress(kept, len(trainings), f"{len(left)} to do")
    for outcome in engine.outcomes(setting, left) if left else ():
        training = Training.from_dict(outcome["training"])
        _save(setting, training, outcome, folder)
        if outcome["status"] == FINISHED:
            finished[training] = outcome
            said = f"{training.name}: test accuracy {outcome['epochs'][-1]['test_accuracy']:.3f}"
        else:
            failed[training] = outcome["error"]
            said = f"{training.name} failed: {outcome['error']}"
        if progress is not None:
            progress(len(finished) + len(failed), len(trainings), said)
    if not finished:
        raise DataError(f"no training of the study finished; the first failed with: {next(iter(failed.values()), '-')}")
    in_order = {training: finished[training] for training in trainings if training in finished}
    return Results(in_order, failed, kept)


def kept_run(setting: Setting, training: Training, folder: Path) -> Outcome | None:
    """Return a training that was finished before under the very same setting, or None."""
    wanted = setting.fingerprint(training)
    try:
        found: Outcome = json.loads(_path(training, wanted, folder).read_text(encoding="utf-8"))
        same = (
            found["fingerprint"] == wanted and found["status"] == FINISHED and found["training"] == training.to_dict()
        )
    except (OSError, ValueError, KeyError, TypeError):  # not there, or cut off by a full disk: carried out again
        return None
    return found if same else None


def _save(setting: Setting, training: Training, outcome: Outcome, folder: Path) -> None:
    path = _path(training, setting.fingerprint(training), folder)
    failed = path.with_suffix(".failed.json")
    target, other = (path, failed) if outcome["status"] == FINISHED else (failed, None)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(outcome, allow_nan=False), encoding="utf-8")
        partial.replace(target)
        if other is not None:
            other.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot keep the study's runs in {folder.name}/: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _path(training: Training, found: str, folder: Path) -> Path:
    return folder / f"{training.name}-{found[:12]}.json"
