"""What a reader must know of a split before he believes a score measured on it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.kaggle import CLASSES, germ_of
from parity.data.prepared import Prepared
from parity.study.splits import Part, Split

LEAK_AUC = 0.6
"""From here on the warning of a leak through the size: chance is 0.5, and 624 images know it to within 0.05."""

Feature = Callable[[Prepared, Part], NDArray[np.float64]]  # of each stored file of a part, (images,)

TELLING = 5
"""So many files of a mode that only one class has are no accident any more."""

BETWEEN = ("patients_shared", "patients_shared_surely", "images_of_shared_patients", "duplicates_shared")
"""Facts about two parts of a split."""

PAIRS = tuple(itertools.combinations(("train", "val", "test"), 2))


def split_facts(prepared: Prepared, split: Split) -> dict[str, Any]:
    """Return the facts of one split as plain data, with `warnings`, one sentence each.

    Per part: `counts` by class, `patients`, `modes`, smallest, median and largest `width` and `height` in pixels of the
    files as stored, `duplicate_groups` (byte-identical files within the part). Between two parts, keyed `train/test`
    and so on: `patients_shared` by their names alone, `patients_shared_surely` by name and germ (see `germ_of`),
    `images_of_shared_patients` (of the second part, of the sure ones) and `duplicates_shared` (images of the second
    part). `size_leak` and `shape_leak`: how well width times height, and width over height, tell the classes apart,
    see `leak`. Per part also `modes_by_class`.
    """
    parts = {name: _part_facts(prepared, part) for name, part in split.parts.items()}
    between = {f"{a}/{b}": _between(prepared, split.parts[a], split.parts[b]) for a, b in PAIRS}
    facts = {
        "split": split.kind,
        "seed": split.seed,
        "parts": parts,
        **{key: {pair: found[key] for pair, found in between.items()} for key in next(iter(between.values()))},
        "size_leak": leak(prepared, split, _pixels),
        "shape_leak": leak(prepared, split, _shape),
    }
    return {**facts, "warnings": warnings(facts)}


def leak(prepared: Prepared, split: Split, feature: Feature) -> dict[str, Any]:
    """Return the ROC area of one feature of the stored files, such as width times height, on the test part.

    Whether larger speaks for the one class or the other is learnt on the train part, as a classifier would; so an area
    below 0.5 is possible. `larger` names the class of the larger files. Where all files of a part are alike, as after
    somebody has resized them, nothing can be seen of the originals, and the areas are None.
    """
    from sklearn.metrics import roc_auc_score

    train, test = (feature(prepared, part) for part in (split.train, split.test))
    if min(np.ptp(train), np.ptp(test)) == 0:
        return {"auc_train": None, "auc_test": None, "larger": None}
    on_train = float(roc_auc_score(split.train.labels(prepared), train))
    sign = 1.0 if on_train >= 0.5 else -1.0
    on_test = float(roc_auc_score(split.test.labels(prepared), sign * test))
    larger = None if on_train == 0.5 else CLASSES[int(on_train > 0.5)]
    return {"auc_train": max(on_train, 1 - on_train), "auc_test": on_test, "larger": larger}


def warnings(facts: dict[str, Any]) -> list[str]:
    """Return what stands against a score on this split, one sentence each."""
    name, found = facts["split"], _shared_patients(facts)
    if facts["duplicates_shared"]["train/test"]:
        count = facts["duplicates_shared"]["train/test"]
        found.append(f"{name} split: {count} test images are byte for byte in train, too")
    for key in ("train/val", "val/test"):
        if count := facts["duplicates_shared"][key]:
            first, second = key.split("/")
            found.append(f"{name} split: {count} images of {second} are byte for byte in {first}, too")
    found += _leaks(facts)
    smallest = min(facts["parts"]["val"]["counts"].values())
    if smallest < 30:
        found.append(
            f"{name} split: validation has {smallest} images of its rarer class: what is chosen there is noise"
        )
    return found


def _leaks(facts: dict[str, Any]) -> list[str]:
    """Return what the stored files give away before anybody looks at a pixel."""
    name, found = facts["split"], []
    size, shape = facts["size_leak"], facts["shape_leak"]
    if size["auc_test"] is None:
        found.append(
            f"{name} split: all files of a part have one size, so that a leak through that of the originals cannot be"
            " seen here; it may be in the pixels all the same, as distortion and sharpness"
        )
    elif size["auc_test"] >= LEAK_AUC:
        found.append(
            f"{name} split: width times height of the stored file alone reaches a ROC area of {size['auc_test']:.3f} on"
            f" test ({size['larger']} files are larger): whatever sees the original size sees the label"
        )
    if shape["auc_test"] is not None and shape["auc_test"] >= LEAK_AUC:
        found.append(
            f"{name} split: width over height of the stored file alone reaches a ROC area of {shape['auc_test']:.3f} on"
            f" test ({shape['larger']} files are wider): resizing to a square leaves it in the pixels, as distortion"
        )
    for part, held in facts["parts"].items():
        for mode, count in held["modes"].items():
            owners = [label for label, counts in held["modes_by_class"].items() if mode in counts]
            if len(held["modes"]) > 1 and len(owners) == 1 and count >= TELLING:
                found.append(f"{name} split: in {part}, all {count} files of mode {mode} are {owners[0]}")
    return found


def _shared_patients(facts: dict[str, Any]) -> list[str]:
    name, found = facts["split"], []
    named, sure = (facts[key]["train/test"] for key in ("patients_shared", "patients_shared_surely"))
    tested = sum(facts["parts"]["test"]["counts"].values())
    if sure:
        images = facts["images_of_shared_patients"]["train/test"]
        found.append(
            f"{name} split: {sure} patients, by the names of their files, are in train and in test ({images} of"
            f" {tested} test images): its score is not that of new patients"
        )
    elif named:
        found.append(
            f"{name} split: {named} person numbers are in train and in test, each with another germ there (virus or"
            " bacteria): they seem to be numbered apart, and show no shared patient"
        )
    if facts["patients_shared_surely"]["train/val"]:
        count = facts["patients_shared_surely"]["train/val"]
        found.append(
            f"{name} split: {count} patients are in train and in val: what is chosen there is chosen on known patients"
        )
    return found


def _part_facts(prepared: Prepared, part: Part) -> dict[str, Any]:
    labels = part.labels(prepared).tolist()
    sizes = prepared.sizes(part.source)[part.rows]
    digests = Counter(part.chosen(prepared.digests(part.source)))
    modes = part.chosen(prepared.modes(part.source))
    return {
        "counts": {name: labels.count(label) for label, name in enumerate(CLASSES)},
        "patients": len(set(part.patients(prepared))),
        "modes": dict(sorted(Counter(modes).items())),
        "modes_by_class": {
            name: dict(sorted(Counter(m for m, own in zip(modes, labels, strict=True) if own == label).items()))
            for label, name in enumerate(CLASSES)
        },
        "height": _spread(sizes[:, 0]),
        "width": _spread(sizes[:, 1]),
        "duplicate_groups": sum(count > 1 for count in digests.values()),
    }


def _between(prepared: Prepared, a: Part, b: Part) -> dict[str, int]:
    named = set(a.patients(prepared)) & set(b.patients(prepared))
    sure = set(_persons(prepared, a)) & set(_persons(prepared, b))
    digests = set(a.chosen(prepared.digests(a.source)))
    return {
        "patients_shared": len(named),
        "patients_shared_surely": len(sure),
        "images_of_shared_patients": sum(person in sure for person in _persons(prepared, b)),
        "duplicates_shared": sum(digest in digests for digest in b.chosen(prepared.digests(b.source))),
    }


def _persons(prepared: Prepared, part: Part) -> list[tuple[str, str | None]]:
    germs = [germ_of(PurePosixPath(file).name) for file in part.chosen(prepared.files(part.source))]
    return list(zip(part.patients(prepared), germs, strict=True))


def _pixels(prepared: Prepared, part: Part) -> NDArray[np.float64]:
    return np.asarray(prepared.sizes(part.source)[part.rows].prod(axis=1), dtype=np.float64)


def _shape(prepared: Prepared, part: Part) -> NDArray[np.float64]:
    sizes = np.asarray(prepared.sizes(part.source)[part.rows], dtype=np.float64)  # (images, [height, width])
    found: NDArray[np.float64] = sizes[:, 1] / sizes[:, 0]
    return found


def _spread(values: NDArray[np.int64]) -> list[float]:
    return [float(values.min()), float(np.median(values)), float(values.max())]
