"""Three ways to hold out test images: the official folders, a random part of `train`, a part of `train` by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.prepared import Prepared
from parity.errors import DataError, UsageError

KINDS = ("official", "random", "patient")
FOLDS = 10
"""Of the ten folds of `train`, one is tested on, one validates, eight train."""

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """Some images of a prepared data set: row numbers `rows` (n,), ascending, of the folder `source`."""

    source: str
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, prepared: Prepared) -> NDArray[np.uint8]:
        """Return the labels of these images, uint8 (n,)."""
        labels: NDArray[np.uint8] = prepared.labels(self.source)[self.rows]
        return labels

    def patients(self, prepared: Prepared) -> list[str]:
        """Return the patient of each of these images."""
        return self.chosen(prepared.patients(self.source))

    def chosen(self, values: Sequence[Any]) -> list[Any]:
        """Return the entries of a list over the whole folder that belong to these images."""
        return [values[row] for row in self.rows]


@dataclass(frozen=True)
class Split:
    """Which images train, validate and test."""

    kind: str
    seed: int
    train: Part
    val: Part
    test: Part

    @property
    def parts(self) -> dict[str, Part]:
        """The three parts by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def make_split(prepared: Prepared, kind: str, seed: int) -> Split:
    """Return the split `kind` of a data set; the same seed gives the same one on every machine.

    `official`: the folders as published, whatever the seed. `random`: an eighth as many images as train are tested on
    and as many validate, all from the folder `train`, each class in its share; films of one patient fall into several
    parts. `patient`: the same, but no patient is in two parts, and classes keep their shares as far as that allows.

    Raises
        UsageError: no such kind.
        DataError: too few images or patients of a class for ten folds.
    """
    if kind not in KINDS:
        raise UsageError(f"no split `{kind}`; splits: {', '.join(KINDS)}")
    if kind == "official":
        whole = {name: Part(name, np.arange(len(prepared.labels(name)))) for name in ("train", "val", "test")}
        return Split(kind, seed, **whole)
    labels, patients = prepared.labels("train"), np.asarray(prepared.patients("train"))
    _check_enough(labels, patients if kind == "patient" else np.arange(len(labels)), kind)
    test, val = _folds(kind, labels, patients, seed)
    train = np.setdiff1d(np.arange(len(labels)), np.concatenate([test, val]))
    return Split(kind, seed, *(Part("train", np.sort(rows)) for rows in (train, val, test)))


def _folds(kind: str, labels: NDArray[np.uint8], patients: NDArray[Any], seed: int) -> tuple[Rows, Rows]:
    """Return the rows of the first two of ten folds."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    maker, groups = (StratifiedGroupKFold, patients) if kind == "patient" else (StratifiedKFold, None)
    folds = maker(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels, groups)
    (_, test), (_, val) = next(folds), next(folds)
    return test, val


def _check_enough(labels: NDArray[np.uint8], units: NDArray[Any], kind: str) -> None:
    for label in (0, 1):
        count = len(np.unique(units[labels == label]))
        if count < FOLDS:
            what = "patients" if kind == "patient" else "images"
            raise DataError(f"{count} {what} of class {label} in train are too few for a split into {FOLDS} folds")
