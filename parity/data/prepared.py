"""Prepared images as they lie on disk, and how to read them: NumPy only, so that any worker can.

A prepared folder holds, per split, `images-SPLIT.npy` uint8 (N, H, W, C) and `labels-SPLIT.npy` uint8 (N,), and
`index.json`, which names every file, patient and note.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.kaggle import SPLITS
from parity.data.paths import shown
from parity.errors import DataError, UsageError

INDEX = "index.json"
SCHEMA = 1


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be read: where it lies, what is in it, and what had to be done to it.

    `digest` is over the files' names and contents alone, so it is the same at every image size and on every
    machine. `counts` is split -> class -> number of images; `skipped` holds (file, reason).
    """

    folder: Path
    name: str
    digest: str
    height: int
    width: int
    channels: int
    counts: dict[str, dict[str, int]]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def images(self, split: str) -> NDArray[np.uint8]:
        """Map the images of a split read-only: uint8 (N, H, W, C), read from disk where touched."""
        mapped: NDArray[np.uint8] = np.load(self.folder / array_file("images", split), mmap_mode="r")
        return mapped

    def labels(self, split: str) -> NDArray[np.uint8]:
        """Labels of a split, uint8 (N,): 0 NORMAL, 1 PNEUMONIA."""
        labels: NDArray[np.uint8] = np.load(self.folder / array_file("labels", split))
        return labels

    def files(self, split: str) -> list[str]:
        """Paths of a split's images, relative to the data folder, in the order of the arrays."""
        return list(self._splits[_known(split)]["files"])

    def patients(self, split: str) -> list[str]:
        """Patient of each image of a split, in the order of the arrays."""
        return list(self._splits[_known(split)]["patients"])

    def digests(self, split: str) -> list[str]:
        """SHA-256 of each image file of a split, in the order of the arrays."""
        return list(self._splits[_known(split)]["sha256"])

    def sizes(self, split: str) -> NDArray[np.int64]:
        """Height and width in pixels of each image file of a split as stored, int64 (N, 2)."""
        return np.asarray(self._splits[_known(split)]["sizes"], dtype=np.int64).reshape(-1, 2)

    def modes(self, split: str) -> list[str]:
        """Pillow's mode of each image file of a split as stored, such as `L` or `RGB`."""
        return list(self._splits[_known(split)]["modes"])

    @cached_property
    def _splits(self) -> dict[str, dict[str, list[Any]]]:
        splits: dict[str, dict[str, list[Any]]] = read_index(self.folder)["splits"]
        return splits


def load(folder: Path) -> Prepared:
    """Open a prepared folder, as a worker process does that was told its path.

    Raises: DataError when it is missing or damaged.
    """
    if not is_intact(folder):
        raise DataError(f"prepared data {shown(folder)} is missing or damaged; run again to prepare it anew")
    index = read_index(folder)
    return Prepared(
        folder=folder,
        name=index["name"],
        digest=index["digest"],
        height=index["height"],
        width=index["width"],
        channels=index["channels"],
        counts=index["counts"],
        skipped=tuple((file, reason) for file, reason in index["skipped"]),
        notes=tuple(index["notes"]),
    )


def batches(
    prepared: Prepared, split: str, order: NDArray[np.integer[Any]], batch: int, drop_last: bool
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Iterate over (images uint8 (B, H, W, C), labels uint8 (B,)) in the given order of row numbers.

    Each pair is a copy, and no more than one batch is read at a time. The last batch may be smaller, unless
    `drop_last`.

    Raises: UsageError for a batch size below 1 or a row number outside the split.
    """
    images, labels = np.asarray(prepared.images(split)), prepared.labels(split)
    rows = np.asarray(order)
    if batch < 1:
        raise UsageError(f"batch size {batch} is below 1")
    if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
        raise UsageError(f"order must be a list of row numbers, not {rows.dtype} of shape {rows.shape}")
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= len(labels)):
        raise UsageError(f"row {int(rows.min())} or {int(rows.max())} is outside {split}'s 0..{len(labels) - 1}")
    stop = rows.size - rows.size % batch if drop_last else rows.size
    slices = (rows[start : start + batch].astype(np.intp) for start in range(0, stop, batch))
    return ((images[chosen], labels[chosen]) for chosen in slices)


def facts(prepared: Prepared) -> dict[str, Any]:
    """Tell what a reader should know before he believes a score: counts, duplicates, patients in two splits.

    Duplicates are groups of byte-identical files. Patients are recognised by file name only.
    """
    groups: dict[str, set[str]] = {}
    within: dict[str, int] = {}
    conflicting: dict[str, set[int]] = {}
    for split in SPLITS:
        digests = prepared.digests(split)
        within[split] = sum(count > 1 for count in Counter(digests).values())
        for one, label in zip(digests, prepared.labels(split).tolist(), strict=True):
            groups.setdefault(one, set()).add(split)
            conflicting.setdefault(one, set()).add(label)
    patients = {split: set(prepared.patients(split)) for split in SPLITS}
    pairs = (("train", "val"), ("train", "test"), ("val", "test"))
    return {
        "counts": prepared.counts,
        "duplicate_groups_within": within,
        "duplicate_groups_across": sum(len(splits) > 1 for splits in groups.values()),
        "duplicate_groups_of_both_classes": sum(len(labels) > 1 for labels in conflicting.values()),
        "patients": {split: len(patients[split]) for split in SPLITS},
        "patients_shared": {f"{a}/{b}": len(patients[a] & patients[b]) for a, b in pairs},
    }


def array_file(what: str, split: str) -> str:
    """Name of the file that holds the `images` or `labels` of a split."""
    return f"{what}-{_known(split)}.npy"


def _known(split: str) -> str:
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    return split


def read_index(folder: Path) -> dict[str, Any]:
    """Read `index.json` of a prepared folder."""
    index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="ascii"))
    return index


def is_intact(folder: Path) -> bool:
    """Tell whether the index is there and readable and every file has the size that the index says."""
    try:
        index = read_index(folder)
        sizes = dict(index["bytes"])
        expected = {array_file(what, split) for what in ("images", "labels") for split in SPLITS}
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return whole and set(sizes) == expected and index.get("schema") == SCHEMA
