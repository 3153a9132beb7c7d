"""Training as people do it: the rules against known answers, the bound of augmentation, checkpoints, planted faults."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from parity.adapters.practice import KEPT, write_checkpoint
from parity.data import cache, synthetic
from parity.data.paths import cache_root
from parity.errors import DataError, UsageError
from parity.report.record import new_record
from parity.report.render import render
from parity.study import augment, checkpoints, rules
from parity.study.augment import Augmentation
from parity.study.practice import AMOUNTS, Films, Practice, differing, first_operation, practise, problems

FAULTY = Path(__file__).with_name("faulty_practice.py")
CLASSES = {"torch": "FaultyTorch", "tensorflow": "FaultyTensorflow"}

# Rules.


def test_class_weights_are_sklearns() -> None:
    labels = np.array([0, 1, 1, 1, 0, 1, 1])
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert rules.balanced_weights(labels) == pytest.approx(list(expected), rel=1e-15)
    with pytest.raises(DataError, match="images of each class"):
        rules.balanced_weights(np.ones(4))


def test_the_weighted_loss_is_sklearns_but_for_the_divisor() -> None:
    labels, logits, weights = np.array([0, 1, 1, 0, 1]), np.array([0.3, -1.0, 2.0, -4.0, 0.1]), [2.0, 0.5]
    w = np.array(weights)[labels]
    by_weights = log_loss(labels, 1 / (1 + np.exp(-logits)), sample_weight=w)
    exact, bound = rules.weighted_loss(logits, labels, weights)
    assert exact == pytest.approx(by_weights * w.sum() / len(w), rel=1e-12)
    assert 0 < bound < 1e-4
    assert abs(rules.weighted_loss(logits, labels, weights[::-1])[0] - exact) > 100 * bound


def test_when_training_stops() -> None:
    losses = [3.0, 2.0, 2.5, 2.4, 1.9, 2.0, 2.0, 2.0]
    assert rules.stopping(losses, 2, 0.0) == (4, 2)
    assert rules.stopping(losses, 3, 0.0) == (8, 5)
    assert rules.stopping(losses, 4, 0.0) == (None, 5)
    assert rules.stopping(losses, 3, 0.2) == (5, 2), "an improvement by less than min_delta is none"
    assert rules.stopping([1.0], 1, 0.0) == (None, 1)


def test_learning_rates() -> None:
    plateau = {"kind": "plateau", "factor": 0.5, "patience": 2, "min_delta": 0.0, "end": 0.2}
    assert rules.learning_rates(plateau, 1.0, 7, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert rules.learning_rates({"kind": "exponential", "factor": 0.5}, 1.0, 3, []) == [1, 0.5, 0.25]
    cosine = rules.learning_rates({"kind": "cosine", "end": 0.2}, 1.0, 4, [])
    assert cosine == pytest.approx([1.0, 0.6 + 0.4 * 2**-0.5, 0.6, 0.6 - 0.4 * 2**-0.5])
    with pytest.raises(UsageError, match="no learning-rate schedule `step`"):
        rules.learning_rates({"kind": "step"}, 1.0, 2, [])


# Augmentation.

WILD = Augmentation(degrees=40.0, shift=0.3, zoom=0.4)


@pytest.fixture(scope="module")
def noise() -> Any:
    return np.random.default_rng(7).integers(0, 256, (5, 23, 31, 2), dtype=np.uint8)


def test_parameters_belong_to_seed_epoch_and_image() -> None:
    many, few = WILD.draw(3, 1, 9, 20, 30), WILD.draw(3, 1, 4, 20, 30)
    for name, values in few.items():
        assert np.array_equal(values, many[name][:4])
    assert not np.array_equal(WILD.draw(3, 2, 4, 20, 30)["matrix"], few["matrix"])
    assert not np.array_equal(WILD.draw(4, 1, 4, 20, 30)["matrix"], few["matrix"])
    with pytest.raises(UsageError, match="zoom and contrast below 1"):
        Augmentation(zoom=1.0)


def test_the_reference_is_scipys(noise: Any) -> None:
    drawn = WILD.draw(0, 0, len(noise), 23, 31)
    exact, _ = augment.reference(noise, drawn, warps=True)
    for index, image in enumerate(noise):
        a, b, c, d, e, f = drawn["matrix"][index].astype(np.float64)
        pixels = np.pad(image / 255.0, ((1, 1), (1, 1), (0, 0)))  # so that scipy mixes in the black border, too
        pixels = np.concatenate([pixels[:1], pixels[1:-1, ::-1], pixels[-1:]]) if drawn["flip"][index] else pixels
        matrix, move = np.array([[e, d], [b, a]]), np.array([f, c])
        move = move + 1 - matrix @ np.array([1.0, 1.0])
        for channel in range(2):
            found = scipy.ndimage.affine_transform(pixels[..., channel], matrix, move, order=1, mode="constant")
            scaled = found[1:-1, 1:-1] * float(drawn["contrast"][index]) + float(drawn["offset"][index])
            assert np.abs(np.clip(scaled, 0, 1) - exact[index, ..., channel]).max() < 1e-9


def test_the_bound_sees_a_hundredth_of_a_pixel(noise: Any) -> None:
    drawn = WILD.draw(0, 0, len(noise), 23, 31)
    exact, bounds = augment.reference(noise, drawn, warps=True)
    moved = drawn["matrix"].copy()
    moved[:, 2] += np.float32(0.01)
    found, _ = augment.reference(noise, {**drawn, "matrix": moved}, warps=True)
    for framework in augment.FRAMEWORKS:
        assert (np.abs(found - exact) > bounds[framework]).mean() > 0.5


def test_a_flip_alone_moves_no_value(noise: Any) -> None:
    flips = Augmentation(degrees=0, shift=0, zoom=0, contrast=0, brightness=0)
    drawn = flips.draw(0, 0, len(noise), 23, 31)
    assert not flips.warps
    assert 0 < drawn["flip"].sum() < len(noise)
    exact, _ = augment.reference(noise, drawn, warps=False)
    for index, flip in enumerate(drawn["flip"]):
        assert np.array_equal(exact[index], (noise[index, :, ::-1] if flip else noise[index]) / 255.0)


# Checkpoints.


def written(folder: Path, epochs: int) -> None:
    def fill(place: Path) -> None:
        (place / "w.bin").write_bytes(bytes([epoch]) * 1000)

    for epoch in range(1, epochs + 1):
        write_checkpoint(str(folder), epoch, fill, {"epoch": epoch})


def test_the_newest_whole_checkpoint_is_used(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) == (None, [])
    written(tmp_path, 5)
    assert len(list(tmp_path.iterdir())) == KEPT
    assert checkpoints.newest(tmp_path) == (tmp_path / "epoch-0005", [])
    (tmp_path / ".partial-1").mkdir()  # what a process leaves that dies while writing
    assert checkpoints.newest(tmp_path) == (tmp_path / "epoch-0005", [])
    manifest = json.loads((tmp_path / "epoch-0005" / "manifest.json").read_text())
    assert manifest["files"]["w.bin"] == {"bytes": 1000, "sha256": hashlib.sha256(bytes([5]) * 1000).hexdigest()}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda place: (place / "w.bin").write_bytes(bytes([5]) * 999), "w.bin has 999 of 1,000 bytes"),
        (lambda place: (place / "w.bin").write_bytes(bytes([9]) * 1000), "another SHA-256"),
        (lambda place: (place / "w.bin").unlink(), "w.bin is missing"),
        (lambda place: (place / "state.json").write_text("{}"), "state.json has 2 of"),
        (
            lambda place: (place / "manifest.json").write_text('{"files": {'),
            r"manifest.json cannot be read \(JSONDecode",
        ),
        (lambda place: (place / "manifest.json").write_text("[]"), "manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_for_the_one_before(
    tmp_path: Path, fault: Callable[[Path], Any], words: str
) -> None:
    written(tmp_path, 5)
    fault(tmp_path / "epoch-0005")
    used, refused = checkpoints.newest(tmp_path)
    assert used == tmp_path / "epoch-0004"
    assert re.fullmatch(f"checkpoint epoch-0005 is refused: .*{words}.*", refused[0])
    for name in ("epoch-0003", "epoch-0004"):
        fault(tmp_path / name)
    with pytest.raises(DataError, match="no checkpoint is whole, train anew: checkpoint epoch-0005 is refused"):
        checkpoints.newest(tmp_path)


def test_an_epoch_that_fails_while_it_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    written(tmp_path, 2)

    def fails(place: Path) -> None:
        (place / "w.bin").write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_checkpoint(str(tmp_path), 3, fails, {})
    assert checkpoints.newest(tmp_path) == (tmp_path / "epoch-0002", [])


# What differs, and where.


def test_what_differs_is_named() -> None:
    a: dict[str, Any] = {"x": np.zeros(2, np.float32), "y": np.ones(1), "z": np.ones(1)}
    b: dict[str, Any] = {"x": np.array([0.0, -0.0], np.float32), "y": np.ones(1), "w": np.ones(1)}
    assert differing(a, b) == ["x", "z", "w"], "minus zero has other bits"
    assert differing(a, dict(a)) == []
    assert first_operation({"input": a["y"], "forward": a["x"]}, {"input": a["y"], "forward": b["x"]}) == "forward"
    assert first_operation(a, a).startswith("no operation of the first batch")


def test_every_so_manieth_of_each_class_is_held_out() -> None:
    films = Films.parted([str(n) for n in range(20)], [0] * 8 + [1] * 12)
    assert films.held_out_files == ("3", "7", "11", "15", "19")
    assert films.held_out_labels == (0, 0, 1, 1, 1)
    assert len(films.files) == 15
    assert not set(films.files) & set(films.held_out_files)
    with pytest.raises(DataError, match="class 1 has 2 images"):
        Films.parted(["a"] * 12, [0] * 10 + [1] * 2)


def test_one_epoch_cannot_be_interrupted() -> None:
    with pytest.raises(UsageError, match="use at least 2"):
        Practice(epochs=1)


# The real frameworks.

TINY = replace(AMOUNTS["smoke"], epochs=3, images=48)


@pytest.fixture(scope="module")
def films() -> Films:
    root = synthetic.embedded_root(cache_root())
    prepared = cache.prepare(None, 8, 8, 1)
    labels = [int(label) for label in prepared.labels("train")]
    rows = np.linspace(0, len(labels) - 1, TINY.images).astype(int)
    return Films.parted([str(root / prepared.files("train")[row]) for row in rows], [labels[row] for row in rows])


def section_of(
    films: Films, folder: Path, framework: str, fault: str, monkeypatch: pytest.MonkeyPatch, practice: Practice = TINY
) -> dict[str, Any]:
    monkeypatch.setenv("PARITY_PRACTICE_FAULT", fault)
    adapters = {framework: f"{FAULTY}:{CLASSES[framework]}"}
    return practise(films, practice, folder, frameworks=[framework], adapters=adapters)


FAULTS = [
    ("torch", "half-pixel", r"torch, as trained: \d+ of \d+ augmented values are off by up to [\d.e+]+ times"),
    ("torch", "no-slots", "torch: resumed training ends in other numbers: weight .* and 29 more"),
    ("torch", "no-random", "torch: resumed training ends in other numbers"),
    ("torch", "swapped-weights", "torch: the weighted loss is 1.4.* and not 0.63"),
    ("torch", "late-plateau", "torch: the schedule plateau, patience 1 first differs in epoch 4"),
    ("torch", "patience", "torch, patience 1 .fed losses.: stops after epoch 4 .* the rule says 3 and 2"),
    ("torch", "unsteady", "torch: the same seed gives other numbers .*first at input"),
    ("tensorflow", "forgetful", "tensorflow: resumed training ends in other numbers"),
    ("tensorflow", "no-seeds", "tensorflow: resumed training ends in other numbers"),
    ("tensorflow", "nearest", r"tensorflow, as trained: \d+ of \d+ augmented values are off"),
]


@pytest.mark.whole_run
@pytest.mark.parametrize(("framework", "fault", "words"), FAULTS, ids=[f"{row[0]}-{row[1]}" for row in FAULTS])
def test_a_planted_fault_is_found(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str, fault: str, words: str
) -> None:
    # So many epochs without an improvement that what the callbacks know is of weight.
    practice = TINY
    if fault == "forgetful":
        practice = replace(TINY, stopping={"patience": 3, "min_delta": 10.0}, epochs=6)
    found = section_of(films, tmp_path, framework, fault, monkeypatch, practice)["problems"]
    assert any(re.search(words, line) for line in found), found


@pytest.mark.whole_run
@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_without_a_fault_nothing_is_found(
    films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, framework: str
) -> None:
    """Early stopping on purpose: nothing improves by ten, so it stops after epoch 4 with the weights of epoch 1."""
    practice = replace(TINY, stopping={"patience": 3, "min_delta": 10.0}, epochs=6)
    found = section_of(films, tmp_path, framework, "", monkeypatch, practice)
    assert found["problems"] == []
    run = found["runs"][0]
    assert (run["stopped_epoch"], run["best_epoch"], len(run["epochs"])) == (4, 1, 4)
    assert found["resume"][0]["killed_epoch"] == 4
    text = render({**new_record("smoke", "pytest"), "practice": found})
    assert "early, after epoch 4" in text
    assert "same seed gives the same bits again" in text


def test_problems_are_only_what_is_wrong() -> None:
    tables = ("determinism", "resume", "damage", "augmentation", "losses", "schedules", "stopping")
    nothing: dict[str, Any] = {name: [] for name in tables}
    assert problems(nothing) == []
    unlike = {"framework": "torch", "epochs": 2, "differing": ["weight a", "weight b"], "operation": "backward conv1"}
    lines = problems({**nothing, "determinism": [unlike]})
    assert lines == [
        "torch: the same seed gives other numbers in a fresh process after 2 epochs (weight a, weight b), first at"
        " backward conv1"
    ]
