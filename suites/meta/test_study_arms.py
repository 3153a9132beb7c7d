"""Arms and factors: what a change changes, whose weights and orders a framework gets, and that both repeat exactly."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.data import cache
from parity.data.synthetic import embedded_root
from parity.errors import UsageError
from parity.model.spec import example_cnn
from parity.study.arms import (
    FRAMEWORKS,
    Recipe,
    arm_recipe,
    default_recipe,
    factors,
    fingerprint,
    readings,
    trainings,
)
from parity.study.execute import Crew, Setting, carry_out
from parity.study.initial import epoch_orders, initial_weights
from parity.workers.client import Worker

SPEC = example_cnn(20, 18, 1, filters=5, hidden=7)


# The plan.


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_factor_changes_one_field_and_all_fields_are_reached(framework: str) -> None:
    start = default_recipe(framework, 10)
    reached = []
    for factor in factors(5):
        changed = factor.changed(start, framework)
        reached.append(
            [field.name for field in fields(Recipe) if getattr(changed, field.name) != getattr(start, field.name)]
        )
    assert all(len(names) == 1 for names in reached)
    assert sorted(name for (name,) in reached) == sorted(field.name for field in fields(Recipe))


def test_the_shared_arm_is_the_same_recipe_on_both_sides_and_the_own_arm_is_not() -> None:
    for split in ("official", "random", "patient"):
        shared, own = ([arm_recipe(arm, framework, split, 3) for framework in FRAMEWORKS] for arm in ("shared", "own"))
        assert shared[0] == shared[1]
        assert shared[0].split == split
        assert own[0] != own[1]
    with pytest.raises(UsageError, match="no arm `third`"):
        arm_recipe("third", "torch", "official", 3)


def test_a_study_reads_every_arm_and_change_once_for_each_seed() -> None:
    rows = readings((0, 1, 2), 10, 5)
    assert len(rows) == len(set(rows)) == 3 * 2 * (2 * 3 + 8 + 1)
    assert {row.what_changed for row in rows} == {None, "everything", *(factor.name for factor in factors(5))}
    everything = next(row for row in rows if row.what_changed == "everything" and row.framework == "torch")
    assert everything.recipe == Recipe(5, 1e-7, "random", "tensorflow", "tensorflow", "symmetric", "own", "validation")


def test_what_is_read_off_a_training_is_not_trained_again() -> None:
    rows = readings((0,), 10, 5)
    start = next(row for row in rows if row.arm == "own" and not row.changed)
    for name in ("epoch count", "threshold"):
        assert next(row for row in rows if row.changed == (name,)).training == start.training
    split = next(row for row in rows if row.changed == ("split",))
    assert split.training == next(r for r in rows if r.arm == "own" and r.recipe.split == "random").training
    assert len(trainings(rows)) == 2 * (2 * 3 + 5 + 1)  # arms by splits; further factors that train; everything


@pytest.mark.parametrize(("seeds", "epochs", "fewer"), [((), 3, 1), ((0,), 3, 3), ((0,), 3, 0)])
def test_a_plan_that_cannot_be_meant(seeds: tuple[int, ...], epochs: int, fewer: int) -> None:
    with pytest.raises(UsageError, match="a study needs seeds"):
        readings(seeds, epochs, fewer)


@pytest.mark.parametrize("field", ["split", "initialiser", "shuffling", "scaling", "pixels", "threshold"])
def test_a_word_that_no_recipe_has(field: str) -> None:
    change: dict[str, Any] = {field: "mine"}
    with pytest.raises(UsageError, match=f"a recipe has no {field}='mine'"):
        replace(default_recipe("torch", 3), **change)


def test_a_fingerprint_looks_at_values_and_not_at_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


# Initial weights and orders.


def test_initial_weights_lie_within_their_limits_and_fill_them() -> None:
    spec = example_cnn(40, 40, 3)
    keras, torch = (initial_weights(spec, name, 3) for name in FRAMEWORKS)
    inputs = 19 * 19 * 16
    limits = {
        "conv1/kernel": (math.sqrt(6 / (9 * (3 + 16))), 1 / math.sqrt(27)),
        "dense1/kernel": (math.sqrt(6 / (inputs + 64)), 1 / math.sqrt(inputs)),
        "dense2/kernel": (math.sqrt(6 / 65), 1 / 8),
        "conv1/bias": (0.0, 1 / math.sqrt(27)),
    }
    for name, both in limits.items():
        for weights, limit in zip((keras, torch), both, strict=True):
            largest = float(np.abs(weights[name]).max())
            assert largest <= limit * (1 + 1e-6)
            assert largest >= 0.75 * limit
            assert weights[name].dtype == np.float32
    with pytest.raises(UsageError, match="no distribution of initial weights `he`"):
        initial_weights(spec, "he", 0)


def test_seeds_of_weights_and_of_orders_are_apart_and_repeat() -> None:
    first, again, other = (initial_weights(SPEC, "torch", seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["dense1/kernel"], other["dense1/kernel"])
    assert np.array_equal(epoch_orders("torch", 50, 8, 1, 3), epoch_orders("torch", 50, 8, 1, 3))
    assert not np.array_equal(epoch_orders("torch", 50, 8, 1, 3), epoch_orders("torch", 50, 8, 2, 3))


@pytest.mark.parametrize("way", ["tensorflow", "torch"])
@pytest.mark.parametrize("images", [5, 64, 700])
def test_every_order_holds_every_image_once(way: str, images: int) -> None:
    found = epoch_orders(way, images, 4, 0, 3)
    assert found.shape == (3, images)
    assert all(sorted(order.tolist()) == list(range(images)) for order in found)
    assert not np.array_equal(found[0], found[1])


def carried(orders: np.ndarray[Any, Any]) -> float:
    """Return the mean correlation of an image's places in consecutive epochs: 0 for new permutations."""
    places = np.argsort(orders, axis=1)
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in itertools.pairwise(places)]))


def test_a_buffer_keeps_images_near_their_places_and_a_permutation_does_not() -> None:
    assert carried(epoch_orders("tensorflow", 2000, 8, 0, 4)) > 0.9
    assert abs(carried(epoch_orders("torch", 2000, 8, 0, 4))) < 0.1


# With the frameworks themselves.


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting(SPEC, cache.prepare(None, SPEC.height, SPEC.width, 1).digest, kept_epochs=(1,))


@pytest.fixture(scope="module")
def crew(setting: Setting) -> Iterator[Crew]:
    found = Crew(setting)
    yield found
    found.close()


@pytest.fixture(scope="module")
def second_crew(setting: Setting) -> Iterator[Crew]:
    """Workers in processes of their own, with another history."""
    found = Crew(setting)
    yield found
    found.close()


@pytest.fixture(params=FRAMEWORKS)
def worker(request: pytest.FixtureRequest, crew: Crew) -> Worker:
    found = crew.worker(request.param)
    found.call("build", spec=SPEC.to_dict(), seed=0)
    return found


def weights_of(worker: Worker, framework: str) -> Mapping[str, Any]:
    """Return a worker's weights under Keras's names."""
    found = worker.call("get_weights")
    if framework == "tensorflow":
        return dict(found)
    names = {"weight": "kernel", "bias": "bias"}
    return {f"{name.partition('.')[0]}/{names[name.partition('.')[2]]}": array for name, array in found.items()}


@pytest.mark.whole_run
def test_each_framework_draws_as_the_numpy_distribution_of_its_name_says(worker: Worker) -> None:
    from scipy.stats import ks_2samp

    own = weights_of(worker, worker.name)
    drawn, others = (initial_weights(SPEC, name, 1) for name in (worker.name, _other(worker.name)))
    assert set(own) == set(drawn)
    name = "dense1/kernel"
    assert ks_2samp(own[name].ravel(), drawn[name].ravel()).pvalue > 1e-3
    assert ks_2samp(own[name].ravel(), others[name].ravel()).pvalue < 1e-6
    assert (np.abs(own["dense1/bias"]).max() == 0) == (worker.name == "tensorflow")
    for name, array in own.items():  # no weight beyond the limit that the documentation of the layer gives
        limit = float(np.abs(initial_weights(SPEC, worker.name, 2)[name]).max())
        assert np.abs(array).max() <= 2.5 * limit + 1e-9


@pytest.mark.whole_run
def test_shared_weights_are_one_function(crew: Crew) -> None:
    x = np.random.default_rng(0).uniform(size=(4, 20, 18, 1)).astype(np.float32)
    logits = []
    for framework in FRAMEWORKS:
        worker = crew.worker(framework)
        worker.call("build", spec=SPEC.to_dict(), seed=7)
        worker.call("place_initial", weights=initial_weights(SPEC, "tensorflow", 7))
        worker.call("start_training", learning_rate=1e-3, epsilon=1e-7)
        logits.append(worker.call("logits", x=np.moveaxis(x, -1, 1) if framework == "torch" else x))
    assert np.abs(logits[0] - logits[1]).max() < 1e-5
    assert np.abs(logits[0]).max() > 1e-3


@pytest.mark.whole_run
def test_own_orders_are_those_of_the_usual_loaders(worker: Worker) -> None:
    orders = worker.call("own_orders", images=500, batch=8, seed=3, epochs=4)
    assert all(sorted(order.tolist()) == list(range(500)) for order in orders)
    drawn = epoch_orders(worker.name, 500, 8, 3, 4)
    assert carried(orders) == pytest.approx(carried(drawn), abs=0.1)
    assert carried(orders) > 0.8 if worker.name == "tensorflow" else abs(carried(orders)) < 0.15
    worker.call("build", spec=SPEC.to_dict(), seed=0)
    assert np.array_equal(worker.call("own_orders", images=500, batch=8, seed=3, epochs=4), orders)


@pytest.mark.whole_run
def test_kerass_own_loader_delivers_in_this_order(crew: Crew, tmp_path: Path) -> None:
    """The order that we hand out, held against the images that `image_dataset_from_directory` itself delivers."""
    for number in range(40):
        folder = tmp_path / "set" / ("a" if number < 20 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), 5 * number, np.uint8)).save(folder / f"{number:03d}.png")
    code = (
        "import sys, json, os\nos.environ['TF_CPP_MIN_LOG_LEVEL']='3'\nimport keras\n"
        "keras.utils.set_random_seed(3)\n"
        "data = keras.utils.image_dataset_from_directory(sys.argv[1], label_mode=None, image_size=(6, 6),"
        " color_mode='grayscale', batch_size=2, seed=3, verbose=False)\n"
        "print(json.dumps([[int(x) // 5 for b in data for x in b.numpy()[:, 0, 0, 0]] for _ in range(2)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "set")], capture_output=True, text=True, timeout=180
    )
    delivered = json.loads(done.stdout.splitlines()[-1])
    worker = crew.worker("tensorflow")
    worker.call("build", spec=SPEC.to_dict(), seed=3)
    assert worker.call("own_orders", images=40, batch=2, seed=3, epochs=2).tolist() == delivered


@pytest.mark.whole_run
def test_own_pixels_are_near_the_prepared_ones_and_not_antialiased_in_tensorflow_alone(crew: Crew) -> None:
    prepared = cache.prepare(None, SPEC.height, SPEC.width, 1)
    files = [str(embedded_root() / file) for file in prepared.files("test")[:6]]
    canonical = np.asarray(prepared.images("test")[:6], dtype=np.float32)
    distance = {}
    for framework in FRAMEWORKS:
        own = crew.worker(framework).call("own_images", files=files, size=[SPEC.height, SPEC.width, 1])
        assert own.shape == canonical.shape
        assert own.dtype == np.float32
        distance[framework] = float(np.abs(own - canonical).mean())
    assert distance["torch"] < 1.0  # grey levels of 255: Pillow decodes and stretches here, too
    assert 2.0 < distance["tensorflow"] < 30.0


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("arm", [pytest.param("shared", marks=pytest.mark.whole_run), "own"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(
    crew: Crew, second_crew: Crew, framework: str, arm: str
) -> None:
    rows = [row for row in readings((5, 6), 2, 1) if row.framework == framework and row.arm == arm and not row.changed]
    official = [row.training for row in rows if row.recipe.split == "official"]
    used, other = (carry_out(crew, training) for training in official)
    again = carry_out(second_crew, official[0])
    assert used["status"] == again["status"] == "finished", (used, again)
    for key in ("rows_digest", "initial_digest", "weights_digest", "logits"):
        assert used[key] == again[key], f"{framework} does not repeat itself: {key}"
    assert used["weights_digest"] != used["initial_digest"]
    assert used["weights_digest"] != other["weights_digest"]


def test_one_ulp_in_one_weight_is_another_digest(worker: Worker) -> None:
    """The planted fault of the determinism test."""
    before = worker.call("weights_digest")
    weights = worker.call("get_weights")
    name = next(iter(weights))
    changed = weights[name].copy()
    changed.flat[0] = np.nextafter(changed.flat[0], np.float32(1e9))
    worker.call("set_weights", weights={**weights, name: changed})
    assert worker.call("weights_digest") != before
    worker.call("set_weights", weights=weights)
    assert worker.call("weights_digest") == before


def test_shared_arm_both_frameworks_start_and_end_alike(crew: Crew) -> None:
    rows = [row for row in readings((5,), 2, 1) if row.arm == "shared" and row.recipe.split == "official"]
    found = {row.framework: carry_out(crew, row.training) for row in rows}
    a, b = (np.array(found[framework]["logits"]["1"]["test"]) for framework in FRAMEWORKS)
    assert np.abs(a - b).max() < 1e-3
    assert found["tensorflow"]["epochs"][0]["loss"] == pytest.approx(found["torch"]["epochs"][0]["loss"], abs=1e-5)
    own = [
        row for row in readings((5,), 2, 1) if row.arm == "own" and not row.changed and row.recipe.split == "official"
    ]
    apart = [np.array(carry_out(crew, row.training)["logits"]["1"]["test"]) for row in own]
    assert np.abs(apart[0] - apart[1]).max() > 1e-2  # the same check sees the arm in which they start apart


def _other(framework: str) -> str:
    return "torch" if framework == "tensorflow" else "tensorflow"
