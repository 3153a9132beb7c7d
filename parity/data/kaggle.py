"""The folder layout of the Kaggle chest-X-ray set: `train|val|test / NORMAL|PNEUMONIA / image files`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from parity.data.paths import shown
from parity.errors import DataError

SPLITS = ("train", "val", "test")
CLASSES = ("NORMAL", "PNEUMONIA")
"""Class folders; the position is the label: NORMAL 0, PNEUMONIA 1."""

_LAYOUT = f"{'|'.join(SPLITS)} / {'|'.join(CLASSES)} / image files"
# Kaggle's archive unpacks into this folder, and older copies of it hold a second one of the same name.
_UNPACKED = "chest_xray"
_NOT_IMAGES = frozenset({"manifest.csv"})
# NORMAL2- is kept: nothing published says that IM-0031 and NORMAL2-IM-0031 are the same child.
_PATIENT = re.compile(r"(?:person\d+(?=_)|(?:NORMAL\d*-)?IM-\d+(?=-))")
_GERM = re.compile(r"person\d+_(virus|bacteria)(?=_)")


@dataclass(frozen=True)
class ImageFile:
    """One file of a class folder, not yet opened: where it lies and what its place and name say."""

    path: Path
    split: str
    label: int
    patient: str


def patient_of(filename: str) -> str:
    """Name the patient a file belongs to, by the naming rules of the Kaggle set.

    `person12_virus_46.jpeg` -> `person12`, `IM-0115-0001.jpeg` -> `IM-0115`,
    `NORMAL2-IM-0381-0001.jpeg` -> `NORMAL2-IM-0381`; any other name is a patient of its own (its stem).
    """
    found = _PATIENT.match(filename)
    return found.group() if found else Path(filename).stem


def germ_of(filename: str) -> str | None:
    """Name the germ in a file's name, `virus` or `bacteria`; None where it names none.

    In the Kaggle set 808 of the 1,635 person numbers of `train` have films of both germs, and none of the 170 that
    `train` and `test` have in common has one germ in both folders: viruses and bacteria are numbered apart, as it
    seems, so that one number may be two children.
    """
    found = _GERM.match(filename)
    return found.group(1) if found else None


def dataset_root(root: Path) -> Path:
    """Folder that holds the split folders: `root`, or the `chest_xray` folder inside it as Kaggle's archive has.

    Raises: DataError when `root` is missing, no folder, or holds no split folder at either place.
    """
    if not root.exists():
        raise DataError(f"data folder {shown(root)} does not exist; expected {_LAYOUT}")
    if not root.is_dir():
        raise DataError(f"{shown(root)} is not a folder; give the folder that holds {_LAYOUT}")
    for candidate in (root, root / _UNPACKED, root / _UNPACKED / _UNPACKED):
        if any((candidate / split).is_dir() for split in SPLITS):
            return candidate
    seen = ", ".join(shown(name) for name in _names(root)[:5]) or "nothing"
    raise DataError(f"no split folders in {shown(root)} (found: {seen}); expected {_LAYOUT}")


def scan(root: Path) -> tuple[ImageFile, ...]:
    """List the files of all splits, ordered by split (train, val, test), class and name; opens none of them.

    Hidden files and `manifest.csv` are left out. Whatever else lies in a class folder is listed, so that
    decoding can report it instead of silently training on fewer images.

    Raises: DataError for a missing root, split or class folder, and for an empty class folder.
    """
    try:
        return tuple(_files(dataset_root(root)))
    except OSError as error:
        place = shown(error.filename or root)
        raise DataError(f"cannot list {place}: {error.strerror}; check its permissions") from error


def _files(base: Path) -> list[ImageFile]:
    files: list[ImageFile] = []
    for split in SPLITS:
        if not (base / split).is_dir():
            raise DataError(f"split folder {shown(base / split)} is missing; expected {_LAYOUT}")
        for label, name in enumerate(CLASSES):
            files.extend(_class_files(base / split / name, split, label))
    return files


def _class_files(folder: Path, split: str, label: int) -> list[ImageFile]:
    if not folder.is_dir():
        raise DataError(f"class folder {shown(folder)} is missing; expected {_LAYOUT}")
    names = _names(folder)
    if not names:
        raise DataError(f"class folder {shown(folder)} is empty; every split needs images of both classes")
    return [ImageFile(folder / name, split, label, patient_of(name)) for name in names]


def _names(folder: Path) -> list[str]:
    names = [entry.name for entry in folder.iterdir()]
    return sorted(name for name in names if not name.startswith(".") and name not in _NOT_IMAGES)
