"""The three splits and what is to be known of them: no image twice, no patient where promised, leaks that show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity.data import cache
from parity.data.kaggle import CLASSES, germ_of
from parity.data.prepared import Prepared
from parity.errors import DataError, UsageError
from parity.study.facts import split_facts
from parity.study.splits import KINDS, make_split


@pytest.fixture(scope="module")
def films() -> Prepared:
    return cache.prepare(None, 8, 8, 1)


def write(root: Path, train: Mapping[str, tuple[int, ...]], *, same_pixels: tuple[str, ...] = ()) -> Path:
    """Write a data set whose `train` holds files of given names and sizes; val and test hold one image per class."""
    for split in ("train", "val", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            if split != "train":
                prefix = {"NORMAL": "IM-9999-0001", "PNEUMONIA": "person9_virus_1"}[name]
                _png(root / split / name / f"{prefix}.png", (9, 9), f"{split}{name}")
    for file, size in train.items():
        _png(root / "train" / file, size, "same" if file in same_pixels else file)
    return root


def _png(path: Path, size: tuple[int, ...], content: str) -> None:
    seed = list(content.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(path)


def people(count: int = 24, films_each: int = 3) -> dict[str, tuple[int, int]]:
    """Name the files of equally many healthy and ill patients; the healthy ones' files are larger."""
    found = {}
    for patient in range(count):
        for film in range(films_each):
            found[f"NORMAL/IM-{patient:04d}-{film:04d}.png"] = (20, 22)
            found[f"PNEUMONIA/person{patient}_virus_{film}.png"] = (10, 12)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_image_is_in_one_part_only(films: Prepared, kind: str, seed: int) -> None:
    parts = make_split(films, kind, seed).parts
    held = [(part.source, int(row)) for part in parts.values() for row in part.rows]
    assert len(held) == len(set(held))
    sources = ("train", "val", "test") if kind == "official" else ("train",)
    assert len(held) == sum(len(films.labels(source)) for source in sources)
    assert all(set(part.labels(films).tolist()) == {0, 1} for part in parts.values())


@pytest.mark.parametrize("kind", ["random", "patient"])
def test_the_held_out_parts_are_a_tenth_each_with_the_classes_in_their_share(films: Prepared, kind: str) -> None:
    split = make_split(films, kind, 5)
    share = films.labels("train").mean()
    for part in (split.val, split.test):
        assert len(part) / len(films.labels("train")) == pytest.approx(0.1, abs=0.02)
        assert part.labels(films).mean() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_split_again_and_another_seed_another(films: Prepared, kind: str) -> None:
    first, again, other = (make_split(films, kind, seed) for seed in (3, 3, 4))
    for name, part in first.parts.items():
        assert np.array_equal(part.rows, again.parts[name].rows)
    assert np.array_equal(first.test.rows, other.test.rows) == (kind == "official")


def test_by_patient_no_patient_is_in_two_parts_and_at_random_many_are(tmp_path: Path) -> None:
    prepared = cache.prepare(write(tmp_path / "set", people()), 8, 8, 1, cache_dir=tmp_path / "cache")
    apart = split_facts(prepared, make_split(prepared, "patient", 0))
    assert set(apart["patients_shared"].values()) == {0}
    assert not any("patients" in line for line in apart["warnings"])
    mixed = split_facts(prepared, make_split(prepared, "random", 0))
    assert mixed["patients_shared_surely"]["train/test"] > 5
    said = next(line for line in mixed["warnings"] if "is not that of new patients" in line)
    shared, images = mixed["patients_shared_surely"]["train/test"], mixed["images_of_shared_patients"]["train/test"]
    assert said.startswith(f"random split: {shared} patients")
    tested = sum(mixed["parts"]["test"]["counts"].values())
    assert f"({images} of {tested} test images)" in said


def test_one_number_with_two_germs_is_no_shared_patient(tmp_path: Path) -> None:
    files = people()
    root = write(tmp_path / "set", files)
    (root / "test" / "PNEUMONIA" / "person9_virus_1.png").rename(root / "test" / "PNEUMONIA" / "person9_bacteria_1.png")
    prepared = cache.prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    facts = split_facts(prepared, make_split(prepared, "official", 0))
    assert facts["patients_shared"]["train/test"] == 1
    assert facts["patients_shared_surely"]["train/test"] == 0
    assert any(
        "1 person numbers are in train and in test, each with another germ" in line for line in facts["warnings"]
    )
    assert (germ_of("person9_virus_1.png"), germ_of("IM-0001-0001.png")) == ("virus", None)


def test_the_size_of_files_that_gives_the_class_away_is_measured(tmp_path: Path, films: Prepared) -> None:
    prepared = cache.prepare(write(tmp_path / "set", people()), 8, 8, 1, cache_dir=tmp_path / "cache")
    facts = split_facts(prepared, make_split(prepared, "patient", 0))
    assert facts["size_leak"] == {"auc_train": 1.0, "auc_test": 1.0, "larger": "NORMAL"}
    assert any("ROC area of 1.000 on test (NORMAL files are larger)" in line for line in facts["warnings"])
    none = split_facts(films, make_split(films, "official", 0))
    assert none["size_leak"] == none["shape_leak"] == {"auc_train": None, "auc_test": None, "larger": None}
    assert not any("sees the label" in line for line in none["warnings"])
    assert any("a leak through that of the originals cannot be seen here" in line for line in none["warnings"])


def test_shape_and_mode_that_give_the_class_away_are_measured(tmp_path: Path) -> None:
    """Files of one area each: what is left to tell the classes apart is how wide they are, and their mode."""
    files = {name: (16, 4, 3) if name.startswith("PNEUMONIA") else (8, 8) for name in people()}
    prepared = cache.prepare(write(tmp_path / "set", files), 8, 8, 1, cache_dir=tmp_path / "cache")
    facts = split_facts(prepared, make_split(prepared, "random", 0))
    assert facts["size_leak"]["auc_test"] is None
    assert facts["shape_leak"]["auc_test"] == 1.0
    assert any("width over height of the stored file alone reaches a ROC area of 1.000" in w for w in facts["warnings"])
    assert any("files of mode RGB are PNEUMONIA" in line for line in facts["warnings"])
    assert set(facts["parts"]["train"]["modes_by_class"]["NORMAL"]) == {"L"}


def test_a_leak_that_turns_round_on_test_is_below_one_half(tmp_path: Path) -> None:
    root = write(tmp_path / "set", people())
    _png(root / "test" / "NORMAL" / "IM-9999-0001.png", (3, 3), "small")  # smaller than the ill one, unlike in train
    prepared = cache.prepare(root, 8, 8, 1, cache_dir=tmp_path / "cache")
    assert split_facts(prepared, make_split(prepared, "official", 0))["size_leak"]["auc_test"] == 0.0


def test_byte_identical_files_in_two_parts_are_counted(tmp_path: Path) -> None:
    twins = tuple(f"NORMAL/IM-{patient:04d}-0000.png" for patient in range(20))
    prepared = cache.prepare(
        write(tmp_path / "set", people(), same_pixels=twins), 8, 8, 1, cache_dir=tmp_path / "cache"
    )
    facts = split_facts(prepared, make_split(prepared, "random", 0))
    assert facts["duplicates_shared"]["train/test"] >= 1
    assert facts["parts"]["train"]["duplicate_groups"] == 1
    assert any("byte for byte in train" in line for line in facts["warnings"])


def test_what_cannot_be_split(films: Prepared, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split `by-day`; splits: official, random, patient"):
        make_split(films, "by-day", 0)
    few = cache.prepare(write(tmp_path / "set", people(6, 3)), 8, 8, 1, cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="6 patients of class 0 in train are too few for a split into 10 folds"):
        make_split(few, "patient", 0)
    make_split(few, "random", 0)


def test_sizes_and_modes_are_those_of_the_files(tmp_path: Path) -> None:
    prepared = cache.prepare(write(tmp_path / "set", people(10, 1)), 8, 8, 1, cache_dir=tmp_path / "cache")
    facts = split_facts(prepared, make_split(prepared, "official", 0))["parts"]["train"]
    assert facts["height"] == [10.0, 15.0, 20.0]
    assert facts["width"] == [12.0, 17.0, 22.0]
    assert facts["modes"] == {"L": 20}
    assert facts["counts"] == {"NORMAL": 10, "PNEUMONIA": 10}
    assert facts["patients"] == 20
