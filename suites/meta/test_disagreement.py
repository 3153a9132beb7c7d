"""The gallery of disagreements: exactly the images that were planted, against how often two seeds disagree anyway."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.data import cache
from parity.data.prepared import Prepared
from parity.errors import UsageError
from parity.model.spec import example_cnn
from parity.report import new_record, read, render, write
from parity.report import plots as report_plots
from parity.study.arms import readings, trainings
from parity.study.disagreement import (
    GALLERY_IMAGES,
    THUMBNAIL_SIDE,
    Answers,
    disagreement,
    jackknife,
    rates,
    thumbnail,
)
from parity.study.engines import LocalEngine
from parity.study.execute import Setting
from parity.study.inference import mean_interval
from parity.study.runner import run_study
from parity.study.splits import Part, make_split
from parity.study.summary import Summary

NAMES = ("tensorflow", "torch")
EXAMPLE = Path(__file__).resolve().parents[2] / "reports" / "example"


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return cache.prepare(None, 96, 80, 1)


@pytest.fixture(scope="module")
def test_part(prepared: Prepared) -> Part:
    return make_split(prepared, "official", 0).test


def answers(planted: dict[int, int], seeds: int = 10, arm: str = "own", images: int = 80) -> Answers:
    """Return models that agree everywhere but on `planted`: image -> in how many seeds torch says the opposite."""
    first = np.where(np.arange(images) % 2 == 0, 1.5, -2.0) + np.zeros((seeds, 1))
    second = first.copy()
    for image, count in planted.items():
        second[:count, image] *= -1
    return Answers(arm, NAMES, tuple(range(seeds)), first, second)


# The images.


def test_exactly_the_planted_images_are_shown(prepared: Prepared, test_part: Part) -> None:
    found = disagreement(prepared, test_part, [answers({3: 10, 17: 6, 40: 5, 41: 1}), answers({8: 9}, arm="shared")])
    own, shared = found["arms"]
    assert [(image["row"], image["seeds"]) for image in own["images"]] == [(3, 10), (17, 6), (40, 5), (41, 1)]
    assert (own["in_some_seed"], own["in_most_seeds"]) == (4, 2)  # half of the seeds are not most of them
    assert [(image["row"], image["seeds"]) for image in shared["images"]] == [(8, 9)]
    assert [(row["arm"], row["row"], row["of"]) for row in found["gallery"]] == [
        ("own", 3, 10),
        ("own", 17, 10),
        ("own", 40, 10),
        ("own", 41, 10),
        ("shared", 8, 10),
    ]
    assert own["per_seed"] == [4, 3, 3, 3, 3, 2, 1, 1, 1, 1]
    assert own["between"]["mean"] == pytest.approx(np.mean(own["per_seed"]) / 80)


def test_an_image_is_named_with_its_class_and_the_mean_probabilities(prepared: Prepared, test_part: Part) -> None:
    (arm,) = disagreement(prepared, test_part, [answers({3: 6, 50: 10})])["arms"]
    for image in arm["images"]:
        assert image["file"] == prepared.files("test")[image["row"]]
        assert image["file"].split("/")[1] == image["class"]
    last = next(image for image in arm["images"] if image["row"] == 3)
    sure = 1 / (1 + np.exp(2.0))
    assert last["probability"]["tensorflow"] == pytest.approx(sure)
    assert last["probability"]["torch"] == pytest.approx(0.6 * (1 - sure) + 0.4 * sure)


def test_at_most_twelve_images_are_kept_evenly_from_both_arms(prepared: Prepared, test_part: Part) -> None:
    many, few = answers(dict.fromkeys(range(30), 10)), answers({1: 10, 2: 10}, arm="shared")
    found = disagreement(prepared, test_part, [few, many])
    assert [row["arm"] for row in found["gallery"]] == ["shared"] * 2 + ["own"] * (GALLERY_IMAGES - 2)
    assert len(found["arms"][1]["images"]) == 30  # all are listed, and no more than twelve carry pixels
    assert not any("pixels" in image for arm in found["arms"] for image in arm["images"])
    both = disagreement(prepared, test_part, [answers(dict.fromkeys(range(30), 10), arm="shared"), many])
    assert [row["arm"] for row in both["gallery"]] == ["shared"] * 6 + ["own"] * 6


def test_models_that_agree_leave_no_image(prepared: Prepared, test_part: Part) -> None:
    found = disagreement(prepared, test_part, [answers({})])
    assert (found["gallery"], found["arms"][0]["images"], set(found["arms"][0]["per_seed"])) == ([], [], {0})


def test_logits_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UsageError, match="needed on both sides"):
        Answers("own", NAMES, (0, 1), np.zeros((2, 5)), np.zeros((2, 4)))
    with pytest.raises(UsageError, match="needed on both sides"):
        Answers("own", NAMES, (0, 1), np.zeros((3, 5)), np.zeros((3, 5)))


FAKE = f"{Path(__file__).parent / 'study_adapter.py'}:Logistic"


def test_a_study_shows_exactly_the_images_on_which_a_model_was_made_to_disagree(tmp_path: Path) -> None:
    """Both frameworks are the same adapter; what torch says of three known images is turned round in two of 3 seeds."""
    small = cache.prepare(None, 8, 8, 1)
    rows = [row for row in readings((0, 1, 2), 2, 1) if not row.changed and row.recipe.split == "official"]
    setting = Setting(example_cnn(8, 8, 1, 2, 3), small.digest, kept_epochs=(1, 2), adapters=dict.fromkeys(NAMES, FAKE))
    results = run_study(setting, trainings(rows), tmp_path / "runs", LocalEngine(2))
    planted = (5, 44, 79)
    before = Summary(small, rows, results).section()["disagreement"]["arms"][0]
    assert (before["arm"], before["images"]) == ("shared", [])
    for training, outcome in results.finished.items():
        if training.framework == "torch" and training.seed < 2:
            logits = outcome["logits"]["2"]["test"]
            for image in planted:
                logits[image] *= -1
    after = Summary(small, rows, results).section()["disagreement"]
    assert sorted(image["row"] for image in after["arms"][0]["images"]) == list(planted)
    assert after["arms"][0]["per_seed"] == [3, 3, 0]
    assert {(image["seeds"], image["file"]) for image in after["arms"][0]["images"]} == {
        (2, small.files("test")[image]) for image in planted
    }
    shown = [row for row in after["gallery"] if row["arm"] == "shared"]
    for row in shown:
        pixels = np.frombuffer(base64.b64decode(row["pixels"]), np.uint8).reshape(8, 8, 1)
        assert np.array_equal(pixels, small.images("test")[row["row"]])


# The pictures.


@pytest.mark.parametrize(("height", "width", "channels"), [(64, 64, 1), (96, 80, 1), (150, 130, 3), (300, 12, 1)])
def test_a_thumbnail_is_small_and_is_the_image(height: int, width: int, channels: int) -> None:
    ramp = np.linspace(0, 255, height)[:, None, None] + np.zeros((height, width, channels))
    found = thumbnail(ramp.astype(np.uint8))
    assert max(found["height"], found["width"]) <= THUMBNAIL_SIDE
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    pixels = pixels.reshape(found["height"], found["width"], found["channels"]).astype(float)
    assert found["channels"] == channels
    assert abs(pixels.mean() - 127.5) < 3
    assert np.all(np.diff(pixels.mean(axis=(1, 2))) > 0)
    if max(height, width) <= THUMBNAIL_SIDE:
        assert np.array_equal(pixels, ramp.astype(np.uint8))


def test_the_committed_example_holds_no_pixels_of_patients() -> None:
    reports = list(EXAMPLE.rglob("comparison.md"))
    assert {path.parent.name for path in reports} == {"example", "study"}
    for report in reports:
        text = report.read_text(encoding="utf-8")
        assert "data: chest_xray" in text  # otherwise this test guards nothing
        shown = re.findall(r"\]\((\w+\.png)\)", text)
        assert shown
        assert all((report.parent / name).is_file() for name in shown)
    # A record holds pixels as text, and the gallery shows them.
    assert {path.name for path in EXAMPLE.rglob("*")} & {"study_gallery.png", "comparison.json"} == set()


# The yardstick.


def drawn(rng: np.random.Generator, seeds: int, spread: float, shift: float = 0.0, images: int = 200) -> Answers:
    """Return models whose logits are a common truth with a noise of each model's own; torch's shifted image by image.

    The truth and the shift are of the world: the same for every draw. Noise and so models are what varies.
    """
    world = np.random.default_rng(1)
    truth, moved = world.normal(0, 2, images), world.normal(0, 1, images) * shift
    first, second = (truth + rng.normal(0, spread, (seeds, images)) for _ in NAMES)
    return Answers("own", NAMES, tuple(range(seeds)), first, second + moved)


def test_known_shares_of_three_seeds() -> None:
    said = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 1]], dtype=float) - 0.5
    found = rates(Answers("own", NAMES, (0, 1, 2), said, np.full((3, 4), 0.5)))
    assert found["per_seed"] == [0, 1, 1]
    assert found["between"]["mean"] == pytest.approx((0 + 1 + 1) / 12)
    tensorflow, torch = found["within"]
    assert tensorflow["mean"] == pytest.approx((1 + 1 + 2) / 12)  # pairs 01, 02 and 12
    assert (torch["mean"], torch["low"], torch["high"]) == (0, 0, 0)
    assert found["excess"]["mean"] == pytest.approx(2 / 12 - 2 / 12)


def test_of_the_mean_of_a_sample_the_jackknife_is_the_t_interval() -> None:
    values = np.random.default_rng(3).normal(size=9)
    found = jackknife(lambda seeds: float(values[seeds].mean()), 9)
    assert found is not None
    expected = mean_interval(list(values))
    assert (found.mean, found.low, found.high) == pytest.approx((expected.mean, expected.low, expected.high))


def test_the_interval_of_the_excess_covers_none_where_the_framework_does_not_matter() -> None:
    """Of 200 studies without a difference about 5 % may be called different; with a difference most must be."""
    rng = np.random.default_rng(5)
    alike = [rates(drawn(rng, 10, 0.7))["decision"] for _ in range(200)]
    share = sum(said != "undecided" for said in alike) / 200
    assert 0.01 <= share <= 0.1
    apart = [rates(drawn(rng, 10, 0.7, shift=1.0))["decision"] for _ in range(25)]
    assert apart.count("more") > 20


def test_pairs_of_seeds_are_not_taken_for_independent() -> None:
    """The interval of the yardstick covers the true share in about 95 % of all draws; one over 45 pairs would not."""
    rng = np.random.default_rng(7)
    many = drawn(rng, 200, 0.7).said[0]
    positive = many.mean(axis=0)
    truth = float((2 * positive * (1 - positive)).mean())
    hits = pairs = 0
    for _ in range(150):
        found = rates(drawn(rng, 10, 0.7))["within"][0]
        hits += found["low"] <= truth <= found["high"]
        pairs += found["n"] == 10
    assert 0.90 <= hits / 150 <= 0.99
    assert pairs == 150


def test_one_and_two_seeds_decide_nothing() -> None:
    for seeds in (1, 2):
        found = rates(answers({4: seeds}, seeds))
        assert found["decision"] == "undecided"
        assert found["excess"]["low"] is None
        assert [row["mean"] for row in found["within"]] == [None if seeds == 1 else 0.0] * 2


# The report.


@pytest.fixture(scope="module")
def record(prepared: Prepared, test_part: Part) -> dict[str, Any]:
    found = new_record("standard", "pytest suites/ -m study")
    found["created"] = "2026-01-01T00:00:00Z"
    found["data"] = {"name": "synthetic", "digest": "0", "counts": {}}
    arms = [answers({8: 9}, arm="shared"), answers({3: 10, 17: 6, 40: 5})]
    section: dict[str, Any] = {"answer": "They learn alike.", "seeds": list(range(10)), "disagreement": None}
    section["disagreement"] = disagreement(prepared, test_part, arms)
    return {**found, "study": json.loads(json.dumps(section))}


def part(text: str) -> str:
    return text.partition("## The study")[2].partition("\n## ")[0]


def test_the_report_shows_rates_pictures_and_every_image(record: dict[str, Any], prepared: Prepared) -> None:
    shown = part(render(record))
    assert "](study_gallery.png)" in shown
    assert "all 4, n = 80 images (synthetic data)" in shown
    lines = [re.sub(r"\s+", " ", line) for line in shown.splitlines() if line.startswith(("| own", "| shared"))]
    files = prepared.files("test")
    assert [line for line in lines if "test/" in line] == [
        f"| shared | 1 | `{files[8]}` | NORMAL | 9 of 10 | 0.818 | 0.246 |",
        f"| own | 2 | `{files[3]}` | NORMAL | 10 of 10 | 0.119 | 0.881 |",
        f"| own | 3 | `{files[17]}` | NORMAL | 6 of 10 | 0.119 | 0.576 |",
        f"| own | 4 | `{files[40]}` | PNEUMONIA | 5 of 10 | 0.818 | 0.500 |",
    ]
    assert "In the arms `shared` and `own` two frameworks disagree more often than two seeds of one framework." in shown


def test_a_saved_record_draws_the_same_gallery_and_needs_nothing_else(record: dict[str, Any], tmp_path: Path) -> None:
    write(record, tmp_path / "comparison.json")
    again = read(tmp_path / "comparison.json")
    assert report_plots.draw(again)["study_gallery.png"] == report_plots.draw(record)["study_gallery.png"]
    assert len(json.dumps(record["study"]["disagreement"]["gallery"])) < 4 * 7000


def test_without_pixels_the_table_stays_and_the_picture_goes(record: dict[str, Any]) -> None:
    held = record["study"]["disagreement"]
    bare = [{key: value for key, value in row.items() if key != "pixels"} for row in held["gallery"]]
    for gallery in (bare, [], None):
        less = {**record, "study": {**record["study"], "disagreement": {**held, "gallery": gallery}}}
        shown = part(render(less))
        assert "study_gallery.png" not in shown
        assert "study_gallery.png" not in report_plots.draw(less)
        assert "9 of 10" in shown
    old = {**record, "study": {key: value for key, value in record["study"].items() if key != "disagreement"}}
    assert "disagree" not in part(render(old))


def test_colour_films_are_drawn(test_part: Part) -> None:
    coloured = cache.prepare(None, 16, 16, 3)
    found = new_record("standard", "x")
    found["data"] = {"name": "synthetic", "digest": "0", "counts": {}}
    found["study"] = {"disagreement": json.loads(json.dumps(disagreement(coloured, test_part, [answers({3: 10})])))}
    assert report_plots.draw(found)["study_gallery.png"].startswith(b"\x89PNG")
