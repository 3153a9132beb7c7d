"""The supply of images: pixels are proven, every image arrives once, nothing is copied, and each fault is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from parity.bench import supply
from parity.bench.supply import Amount, Task
from parity.data.cache import prepare
from parity.data.kaggle import CLASSES, SPLITS
from parity.data.prepared import Prepared
from parity.errors import UsageError
from parity.workers.client import Worker, WorkerOptions

ADAPTERS = Path(__file__).with_name("faulty_supply.py")
AMOUNT = Amount(images=11, repeats=1, repeat_s=0.02)
BATCH = 4  # 9 usable images: two full batches and a partial one
ROTATED = 6


def film(seed: int, channels: int) -> Image.Image:
    """A smooth picture with fine grain and, in colour, channels that differ."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:61, 0:47]
    waves = [120 + 80 * np.sin(x / (3 + band) + seed) * np.cos(y / (5 - band)) for band in range(channels)]
    pixels = np.clip(np.stack(waves, -1) + random.normal(0, 25, (61, 47, channels)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of JPEG films, grey and colour, with one CMYK and one turned film in the training split."""
    root = tmp_path_factory.mktemp("films")
    for split in SPLITS:
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(5 if split == "train" else 1):
                picture = film(10 * label + number, 3 if number % 2 else 1)
                picture.save(folder / f"film{number}.jpeg", quality=90)
    film(90, 3).convert("CMYK").save(root / "train" / "NORMAL" / "ink.jpeg")
    exif = Image.Exif()
    exif[supply.EXIF_ORIENTATION] = ROTATED
    film(4, 1).save(root / "train" / "NORMAL" / "film4.jpeg", exif=exif)
    return root


@pytest.fixture(scope="module")
def prepared(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(films, 20, 24, 1, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def task(films: Path, prepared: Prepared) -> Task:
    return supply.choose(prepared, films, BATCH, 2, AMOUNT)


@pytest.fixture(scope="module")
def torch() -> Iterator[Worker]:
    with Worker(WorkerOptions(f"{ADAPTERS}:FaultySupplyTorch", threads=1)) as worker:
        yield worker


@pytest.fixture(scope="module")
def tensorflow() -> Iterator[Worker]:
    with Worker(WorkerOptions(f"{ADAPTERS}:FaultySupplyTensorflow", threads=1)) as worker:
        yield worker


def measured(task: Task, framework: str, worker: Worker, fault: str = "") -> dict[str, Any]:
    worker.call("plant", fault=fault)
    return supply.measure(task, [], opened={framework: worker})


def children(worker: Worker) -> list[psutil.Process]:
    """What the worker started and did not end."""
    assert worker.pid is not None
    return list(psutil.Process(worker.pid).children(recursive=True))


def verdicts(found: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    return {(row["a"], row["b"], row["stage"]): row["verdict"] for row in found["pixels"]}


# What is right.


def test_only_what_all_decoders_read_alike_is_chosen(task: Task, films: Path, prepared: Prepared) -> None:
    assert (len(task.files), task.left_out) == (9, 2)
    assert [Path(file).name for file in task.files].count("film4.jpeg") == 1  # the upright one
    names = prepared.files("train")
    assert [str(films / names[row]) for row in task.rows] == list(task.files)


@pytest.mark.whole_run
def test_both_frameworks_supply_what_was_prepared(task: Task, torch: Worker, tensorflow: Worker) -> None:
    before = np.array(task.prepared.images("train"))
    for worker in (torch, tensorflow):
        worker.call("plant", fault="")
    demand = [{"lane": "torch-eager", "work": "train", "batch": 32, "images_per_s": 1e-3}]
    found = supply.measure(task, demand, opened={"tensorflow": tensorflow, "torch": torch})
    assert found["problems"] == []
    sources = ("tf.data", "DataLoader", "DataLoader-Pillow")
    expected = {(source, stage, 0) for source in sources for stage in ("decode", "resize", "supply")}
    expected |= {(source, "supply", 2) for source in sources}
    expected |= {("cache-tensorflow", "supply", 0), ("cache-torch", "supply", 0)}
    assert {(row["source"], row["stage"], row["workers"]) for row in found["rows"]} == expected
    assert all(row["usable"] and row["images_per_s"] and min(row["images_per_s"]) > 0 for row in found["rows"])
    seen = verdicts(found)
    assert {seen["Pillow", source, "decode"] for source in sources} == {"identical"}
    assert {
        seen["canonical", source, "supply"] for source in ("DataLoader-Pillow", "cache-torch", "cache-tensorflow")
    } == {"identical"}
    assert {seen["canonical", source, "supply"] for source in ("tf.data", "DataLoader")} <= {"identical", "rounding"}
    assert all(row["note"].startswith("rounding: ") == (row["verdict"] == "rounding") for row in found["pixels"])
    assert found["cache"] == {"zero_copy": {"tensorflow": True, "torch": True}}
    assert "torch-eager asks for 0 images/s" in found["crossover"]
    assert json.loads(json.dumps(found)) == found
    assert np.array_equal(before, task.prepared.images("train"))  # mapped copy-on-write
    assert children(torch) == []


@pytest.mark.whole_run
def test_colour_and_a_grey_file_repeated(films: Path, torch: Worker, tensorflow: Worker, tmp_path: Path) -> None:
    colour = supply.choose(prepare(films, 20, 24, 3, cache_dir=tmp_path), films, BATCH, 1, AMOUNT)
    for framework, worker in (("torch", torch), ("tensorflow", tensorflow)):
        assert measured(colour, framework, worker)["problems"] == []


# Planted faults.


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-antialias", "DataLoader gives other pixels than canonical (supply)"),
        ("bgr", "DataLoader gives other pixels than Pillow (decode)"),
        ("cmyk", "DataLoader decodes 4 of 9 files into other shapes than Pillow"),
        ("drop-last", "DataLoader with 0 workers: 1 images never arrived and 0 came too often"),
        ("twice", "DataLoader with 0 workers: 0 images never arrived and 1 came too often"),
        ("loader-raises", "a broken file"),
        ("loader-dies", "DataLoader worker"),
        ("wrong-rows", "cache-torch gives other pixels than canonical (supply)"),
    ],
)
def test_a_torch_pipeline_that_is_wrong_is_seen(task: Task, torch: Worker, fault: str, words: str) -> None:
    found = measured(task, "torch", torch, fault)
    assert any(words in problem for problem in found["problems"]), found["problems"]
    wrong = "cache-torch" if fault == "wrong-rows" else "DataLoader"
    assert not [row for row in found["rows"] if row["source"] == wrong and row["stage"] == "supply" and row["workers"]
                and row["usable"]]  # fmt: skip
    # The others are measured all the same, and nothing is left running.
    assert [row["usable"] for row in found["rows"] if row["source"] == "DataLoader-Pillow"] == [True] * 4
    assert children(torch) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("no-antialias", "tf.data gives other pixels than canonical (supply)"),
        ("coarse-decode", "tf.data gives other pixels than Pillow (decode)"),
        ("bgr", "tf.data gives other pixels than Pillow (decode)"),
        ("skips-one", "tf.data with 0 workers: 1 images never arrived and 0 came too often"),
    ],
)
def test_a_tensorflow_pipeline_that_is_wrong_is_seen(task: Task, tensorflow: Worker, fault: str, words: str) -> None:
    found = measured(task, "tensorflow", tensorflow, fault)
    assert any(words in problem for problem in found["problems"]), found["problems"]
    supplied = [row for row in found["rows"] if row["source"] == "tf.data" and row["stage"] == "supply"]
    assert not [row for row in supplied if row["usable"]]


def test_a_copied_cache_is_seen(task: Task, torch: Worker, tensorflow: Worker) -> None:
    for framework, worker in (("torch", torch), ("tensorflow", tensorflow)):
        worker.call("plant", fault="copies")
        folder = str(task.prepared.folder)
        assert worker.call("cache_shares_memory", folder=folder, split="train") is False
        worker.call("plant", fault="")
        assert worker.call("cache_shares_memory", folder=folder, split="train") is True, framework


def test_a_worker_that_dies_is_a_problem_and_no_failure(task: Task) -> None:
    with Worker(WorkerOptions(f"{ADAPTERS.with_name('echo_adapter.py')}:EchoAdapter", threads=1)) as other:
        found = supply.measure(task, [], opened={"torch": other})
    assert found["rows"] == []
    assert found["cache"] == {"zero_copy": {"torch": None}}
    assert any("supply_sources" in problem for problem in found["problems"])


def test_a_set_without_a_usable_file_is_refused(tmp_path: Path) -> None:
    for split in SPLITS:
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            film(1, 1).save(tmp_path / split / name / "film.png")
    with pytest.raises(UsageError, match="no upright grey or RGB JPEG"):
        supply.choose(prepare(tmp_path, 8, 8, 1, cache_dir=tmp_path / "cache"), tmp_path, BATCH, 2, AMOUNT)


# Supply against demand.


def row(source: str, workers: int, rate: float, **more: Any) -> dict[str, Any]:
    found = {"source": source, "stage": "supply", "workers": workers, "images_per_s": [rate / 2, rate, 9 * rate]}
    return {**found, "usable": True, **more}


CACHED = [row("cache-torch", 0, 30_000, order="shuffled"), row("cache-tensorflow", 0, 20_000, order="shuffled"),
          row("cache-torch", 0, 10, order="in order")]  # fmt: skip
ASKED = [
    {"lane": "tf-graph", "work": "train", "batch": 32, "images_per_s": 150.0},
    {"lane": "torch-eager", "work": "train", "batch": 32, "images_per_s": 400.0},
]


def test_the_crossover_says_how_many_cores_it_would_take() -> None:
    rows = [row("tf.data", 0, 110), row("tf.data", 2, 200), row("DataLoader", 2, 150), *CACHED]
    assert supply.crossover(rows, ASKED) == (
        "tf.data supplies 200 images/s from files with 2 cores, and torch-eager asks for 400 images/s: that would take"
        " about 4 cores, if more of them scaled as these do. The prepared cache supplies 20,000 images/s in the slower"
        " framework, 50.0 times the demand: images prepared once are never waited for."
    )


def test_the_crossover_says_when_files_are_enough() -> None:
    rows = [row("tf.data", 0, 300), row("tf.data", 2, 450), row("DataLoader", 1, 410)]
    assert supply.crossover(rows, ASKED) == (
        "tf.data supplies 450 images/s from files with 2 cores, which is enough: torch-eager asks for 400 images/s,"
        " which DataLoader meets with 1 core."
    )


def test_a_cache_that_is_too_slow_is_not_praised() -> None:
    rows = [row("tf.data", 2, 450), row("cache-torch", 0, 300, order="shuffled")]
    assert "75% of the demand: even prepared images are waited for" in supply.crossover(rows, ASKED)


def test_a_wrong_pipeline_supplies_nothing() -> None:
    rows = [row("tf.data", 2, 1e6, usable=False), row("DataLoader", 2, 150)]
    assert supply.crossover(rows, ASKED).startswith("DataLoader supplies 150 images/s")
    assert supply.crossover(rows[:1], ASKED).startswith("No way of reading files was measured")
    assert "no demand" in supply.crossover(rows, [])


def test_the_demand_is_that_of_the_timed_training_lanes() -> None:
    size = {"height": 150, "width": 140, "channels": 1}
    samples = [
        {"lane": "torch-eager", "work": "train", "batch": 32, "seconds": [0.2, 0.1, 0.4], **size, "block": 0},
        {"lane": "torch-eager", "work": "train", "batch": 32, "seconds": [0.4], **size, "block": 1},
        {"lane": "torch-eager", "work": "train", "batch": 8, "seconds": [0.1], **size, "block": 0},
        {"lane": "torch-eager", "work": "evaluate", "batch": 32, "seconds": [0.1], **size, "block": 0},
        # Another image size is no demand for these images, and a step faster than the machine allows is none at all.
        {"lane": "torch-eager", "work": "train", "batch": 32, "seconds": [0.9], **size, "height": 224, "block": 0},
        {"lane": "tf-graph", "work": "train", "batch": 32, "seconds": [1e-6], **size, "block": 0, "floor_s": 1e-3},
    ]
    assert supply.demand_of(samples, (150, 140, 1)) == [
        {"lane": "torch-eager", "work": "train", "batch": 32, "images_per_s": pytest.approx(32 / 0.3)},
        {"lane": "torch-eager", "work": "train", "batch": 8, "images_per_s": 80.0},
    ]
