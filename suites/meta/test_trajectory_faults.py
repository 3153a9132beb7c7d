"""The trajectory: its statistics by simulation, and the faults in training that it must catch and name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.model.layout import Array
from parity.model.spec import example_cnn
from parity.pair import Pair, PairOptions
from parity.trials import trajectory
from parity.trials.trajectory import Tracks, TrajectoryPlan, first_outside, upper_edges

PLAN = TrajectoryPlan(steps=60, batch=8, draws=8)
SIDE = 12
FAULTY = f"{Path(__file__).with_name('faulty_trajectory.py')}:FaultyTrajectory"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A small example network, its torch side ready to be trained wrongly."""
    with Pair(PairOptions(torch_adapter=FAULTY)) as opened:
        opened.build(example_cnn(SIDE, SIDE, filters=6, hidden=16))
        yield opened


@pytest.fixture(scope="module")
def images() -> tuple[Array, Array]:
    """Two kinds of noise that a small network can learn to tell apart, with a black frame as radiographs have."""
    rng = np.random.default_rng(5)
    y = (np.arange(96) % 2).astype(np.float32)
    x = rng.random((96, SIDE, SIDE, 1)) * (0.4 + 0.4 * y[:, None, None, None] * np.linspace(0, 1, SIDE)[:, None])
    x[:, :, :2] = 0
    return x.astype(np.float32), y


def ran(pair: Pair, images: tuple[Array, Array], fault: str = "", torch_order: Array | None = None) -> Tracks:
    """Return one whole trial with a fault planted into every run of torch."""
    for side in ("torch", "twin_torch"):
        pair.workers[side].call("plant", fault=fault)
    start = trajectory.start_weights(pair.weights(), 0)
    return trajectory.track(pair, *images, start, PLAN, torch_order)


@pytest.fixture(scope="module")
def honest(pair: Pair, images: tuple[Array, Array]) -> Tracks:
    """The trial without a fault."""
    return ran(pair, images)


def test_an_honest_pair_stays_together(honest: Tracks) -> None:
    section = trajectory.summary(honest, (SIDE, SIDE))
    assert (section["horizon"], section["horizon_tensor"], section["unsteady"]) == (None, None, [])
    assert 0 < section["share"] < 1
    assert section["twin_distance"] <= 1e-12
    assert section["twin_share"] <= 1
    assert (trajectory.message(section), trajectory.twin_message(section)) == ("", "")
    assert {len(section[name]) for name in ("distance", "band_tensorflow", "band_torch", "twin_by_step")} == {60}
    assert np.mean(section["loss_torch"][-10:]) < np.mean(section["loss_torch"][:10])
    assert all(row["moved"] > 10 * row["distance"] for row in section["moved"].values())


def test_a_further_draw_stays_within_the_wider_band(honest: Tracks) -> None:
    """Each draw in turn is held against the others of its framework, and the other framework's."""
    draws = {side: np.array([gaps.by_step() for gaps in honest.own[side]]) for side in trajectory.FRAMEWORKS}
    for mine, other in (trajectory.FRAMEWORKS, trajectory.FRAMEWORKS[::-1]):
        for left_out in range(PLAN.draws):
            families = [np.delete(draws[mine], left_out, axis=0), draws[other]]
            edge = np.max(upper_edges(families, PLAN.level, honest.floor), axis=0)
            assert first_outside(draws[mine][left_out], edge) is None


# A wrong epsilon must be seen where it acts at once, in the first steps; a rate off by 1e-4 a little later.
CAUGHT = [("epsilon", 2), ("stock-adam", 2), ("learning-rate", 20), ("dropout-seeded", 2), ("dropout", 2)]


@pytest.mark.parametrize(("fault", "latest"), CAUGHT, ids=[fault for fault, _ in CAUGHT])
def test_a_fault_leaves_the_band_and_is_named(pair: Pair, images: tuple[Array, Array], fault: str, latest: int) -> None:
    tracks = ran(pair, images, fault)
    section = trajectory.summary(tracks, (SIDE, SIDE))
    assert section["horizon"] is not None
    assert section["horizon"] <= latest
    assert section["horizon_tensor"] in tracks.start
    assert f"step {section['horizon']} in `{section['horizon_tensor']}`" in trajectory.message(section)
    assert section["unsteady"] == (["torch"] if fault == "dropout" else [])
    assert section["twin_share"] > 1000
    assert f"step {section['twin_first']['step']}" in trajectory.twin_message(section)


@pytest.mark.whole_run
def test_other_batches_are_seen_where_they_begin(pair: Pair, images: tuple[Array, Array]) -> None:
    order = PLAN.order(len(images[0]))
    order[50:] = order[50:][::-1].copy()
    tracks = ran(pair, images, torch_order=order)
    section = trajectory.summary(tracks, (SIDE, SIDE))
    assert section["horizon"] == 51
    assert section["twin_first"]["step"] == 51


@pytest.mark.whole_run
def test_the_wider_band_is_left_rarely() -> None:
    """Draws that scatter and, at a random step, may take another side: 1000 trials of two frameworks each."""
    rng, outside = np.random.default_rng(3), 0
    for _ in range(1000):
        runs = _simulated(rng, 18)
        families = [np.array([_gap(runs[first], runs[first + i]) for i in range(1, 9)]) for first in (0, 9)]
        edges = upper_edges(families, 0.999, 1e-12)
        outside += first_outside(_gap(runs[0], runs[9]), np.max(edges, axis=0)) is not None
    assert outside <= 5


def test_a_distance_ten_times_the_farthest_draw_is_outside() -> None:
    rng = np.random.default_rng(4)
    draws = 1e-7 * np.exp(0.1 * rng.standard_normal((8, 200)))
    (edge,) = upper_edges([draws], 0.999, 1e-12)
    assert first_outside(draws.max(0), edge) is None
    assert first_outside(10 * draws.max(0), edge) == 1


def test_groups_of_draws_do_not_widen_the_band_by_their_gap() -> None:
    rng = np.random.default_rng(4)
    draws = 1e-7 * np.exp(0.1 * rng.standard_normal((8, 200)))
    draws[:4, 50:] *= 1e4
    assert (upper_edges([draws], 0.999, 1e-12)[0] < 20 * draws.max(0)).all()


def test_no_band_without_finite_draws() -> None:
    draws = np.full((4, 3), 1e-7)
    draws[1, 2] = np.inf
    assert first_outside(np.zeros(3), upper_edges([draws], 0.999, 1e-12)[0]) == 1
    with pytest.raises(UsageError, match="at least two draws"):
        upper_edges([draws[:1]], 0.999, 1e-12)


def test_not_a_number_is_outside() -> None:
    gaps = trajectory.Gaps({"a": [0.0, float("nan")], "b": [0.0, 0.0]})
    assert first_outside(gaps.by_step(), np.ones(2)) == 2


def test_every_weight_is_nudged_by_one_ulp() -> None:
    start = {"a": np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)}
    one, other = (trajectory.nudged(start, 0, draw)["a"] for draw in (0, 1))
    ulps = np.abs(one.view(np.int32) - start["a"].view(np.int32))
    assert one.dtype == np.float32
    assert (ulps == 1).all()
    assert 0.4 < (one > start["a"]).mean() < 0.6
    assert (one != other).any()


def test_shrinking_takes_the_mean_of_the_area() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 1), dtype=np.uint8)
    exact = images.reshape(2, 2, 3, 3, 3, 1).mean((2, 4)) / 255
    assert np.abs(trajectory.shrink(images, 2, 3) - exact).max() < 1e-7
    assert np.abs(trajectory.shrink(images, 4, 7).mean() - images.mean() / 255) < 1e-6
    with pytest.raises(UsageError, match="cannot be shrunk"):
        trajectory.shrink(images, 7, 9)


def test_biases_of_zero_are_replaced_and_nothing_else() -> None:
    fresh = {"k": np.ones((2, 2), np.float32), "b": np.zeros(3, np.float32)}
    start = trajectory.start_weights(fresh, 0)
    assert (start["k"] == 1).all()
    assert start["b"].all()
    assert start["b"].dtype == np.float32


def test_steps_need_a_start(pair: Pair, honest: Tracks) -> None:
    del honest  # the runs of a finished trial are forgotten
    for side in ("tensorflow", "torch"):
        with pytest.raises(UsageError, match="trajectory_begin"):
            pair.workers[side].call("trajectory_steps", run="reference", order=np.zeros((1, 2), int))


def _simulated(rng: np.random.Generator, count: int) -> Any:
    """Return runs as points (count, steps, 30): a nudge, rounding at every step, and kinks that some take otherwise."""
    walk = 1e-7 * rng.standard_normal((count, 1, 30)) + 1e-8 * rng.standard_normal((count, 200, 30)).cumsum(1)
    for _ in range(rng.integers(1, 4)):
        direction, share = rng.standard_normal(30), rng.random()
        begins = rng.integers(20, 180) + rng.integers(0, 3, count)
        takes = rng.random(count) < share
        grown = np.arange(200)[None, :] - begins[:, None]
        size = 10.0 ** rng.uniform(-6, -3)
        walk += size * (takes[:, None] * np.clip(grown / 10, 0, 1))[..., None] * direction
    return walk


def _gap(a: Any, b: Any) -> Any:
    return np.sqrt(((a - b) ** 2).mean(1))
