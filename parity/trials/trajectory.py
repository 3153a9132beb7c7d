"""Two frameworks train from the same weights on the same batches: does their distance stay what rounding makes it?

The float64 twins must agree to `TWIN_BOUND`, or as well as the same steps in float32 lead to expect. In float32 no
tolerance is chosen: the distance between the frameworks is held against the distance of each framework from *itself*
when every initial weight is nudged by one ulp.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from parity.errors import UsageError
from parity.judge.bound import Doubles, unit_roundoff
from parity.model.layout import Array
from parity.model.spec import ModelSpec
from parity.pair import SIDES, Pair
from parity.pairing import weights as pairing_weights
from parity.pairing.weights import weight_map

TWIN_BOUND: Final = 1e-12
TWIN_MARGIN: Final = 10.0
FRAMEWORKS: Final = ("tensorflow", "torch")
REFERENCE, REPEAT = "reference", "repeat"
CHUNK_BYTES: Final = 64 * 2**20  # of weights in one answer of a worker
SMALL: Final = 1_000_000  # parameters
LEAST_STEPS: Final = 20  # that a scatter is taken from
BIAS_SPREAD: Final = 0.05


@dataclass(frozen=True)
class TrajectoryPlan:
    """How to train and how often to nudge; `level` is the confidence of a band over all steps together."""

    steps: int = 200
    batch: int = 16
    draws: int = 8
    learning_rate: float = 1e-3
    epsilon: float = 1e-7
    seed: int = 0
    level: float = 0.999

    def order(self, images: int) -> Array:
        """Return the images of every batch, (steps, batch): one shuffle after another."""
        rng = np.random.default_rng([self.seed, 1])
        passes = math.ceil(self.steps * self.batch / images)
        rows = np.concatenate([rng.permutation(images) for _ in range(passes)])
        return rows[: self.steps * self.batch].reshape(self.steps, self.batch)


# Plan and image size (None: the size of the suites' network) of each profile.
PROFILES: Final[Mapping[str, tuple[TrajectoryPlan, int | None]]] = {
    "smoke": (TrajectoryPlan(batch=8, draws=8), 12),
    "standard": (TrajectoryPlan(), 16),
    "full": (TrajectoryPlan(batch=32, draws=12), 48),
}


@dataclass
class Gaps:
    """How far one run is from another, per tensor and step; `values[name]` grows by one number a step."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: Mapping[str, Doubles]) -> None:
        """Append the distances of some more steps."""
        for name, gaps in found.items():
            self.values.setdefault(name, []).extend(gaps.tolist())

    def by_step(self) -> Doubles:
        """Return the largest distance of any tensor, (steps,); NaN counts as infinitely far."""
        return np.asarray(np.nan_to_num(np.array(list(self.values.values())), nan=np.inf).max(axis=0))


def shrink(images: Array, height: int, width: int) -> Array:
    """Return uint8 images (n, h, w, c) as area means of (n, height, width, c), float32 in [0, 1].

    Raises
        UsageError: a size larger than the images have.
    """
    if height > images.shape[1] or width > images.shape[2]:
        raise UsageError(f"images of {images.shape[1]}x{images.shape[2]} cannot be shrunk to {height}x{width}")
    rows, columns = _area_weights(images.shape[1], height), _area_weights(images.shape[2], width)
    shrunk = np.einsum("ai,nijc,bj->nabc", rows, images / 255.0, columns, optimize=True)
    return np.ascontiguousarray(shrunk, dtype=np.float32)


def start_weights(fresh: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Return fresh Keras weights with small biases in place of zeros, float32.

    A black corner of a radiograph under a bias of exactly 0 puts a ReLU exactly on its kink, and the nudge of a zero
    is a subnormal number, which one framework flushes and the other does not: that would measure the kink.
    """
    rng = np.random.default_rng([seed, 2])
    return {
        name: array if array.any() else (BIAS_SPREAD * rng.standard_normal(array.shape)).astype(np.float32)
        for name, array in fresh.items()
    }


def nudged(weights: Mapping[str, Array], seed: int, draw: int) -> dict[str, Array]:
    """Return the weights with every number moved by one ulp, up or down at random."""
    rng = np.random.default_rng([seed, 3, draw])
    return {
        name: np.nextafter(array, np.where(rng.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype))
        for name, array in weights.items()
    }


def upper_edges(families: Sequence[Doubles], level: float, floor: float) -> list[Doubles]:
    """Return, per family and step, how far one further draw may be; a family is (n, steps), its edge (steps,).

    The farthest draw, times exp(t * s * sqrt(1 + 1/n)): Student's prediction limit for one more on the logarithm, with
    n - 1 degrees at one minus (1 - level) / steps, so that `level` is meant for all steps together (Bonferroni). It is
    laid on the farthest draw, not on the mean, and s is the larger of the families' `_scatter`, since draws are no
    normal sample: once a ReLU or a pooling window has chosen another side in some of them they form groups, orders of
    magnitude apart, and a standard deviation would measure that gap. For the same reason one band is left more often
    than `level` says; the wider of two is left about as rarely. Zero is read as `floor`.

    Raises
        UsageError: fewer than two draws.
    Source: Hahn & Meeker, Statistical Intervals, section 4.7 (prediction of a single future observation).
    """
    from scipy.special import stdtrit  # here: collecting the suites must stay fast

    if min(len(draws) for draws in families) < 2:
        raise UsageError("a band needs at least two draws")
    logs = [np.log(np.maximum(draws, floor)) for draws in families]
    finite = [bool(np.isfinite(found).all()) for found in logs]
    scatters = [_scatter(found) for found, whole in zip(logs, finite, strict=True) if whole]
    scatter = np.max(scatters, axis=0) if scatters else np.zeros(logs[0].shape[1])
    edges = []
    for found, whole in zip(logs, finite, strict=True):
        n, steps = found.shape
        t = float(stdtrit(n - 1, 1 - (1 - level) / steps))
        with np.errstate(over="ignore"):
            edge = np.exp(found.max(0) + t * math.sqrt(1 + 1 / n) * scatter)
        # A framework that overflows has no band, and nothing lies inside.
        edges.append(np.asarray(edge) if whole else np.full(steps, np.nan))
    return edges


def _scatter(logs: Doubles) -> Doubles:
    """Return the standard deviation within a group of draws (n, steps), at each step: the median of it and all before.

    One step's is the median of the spacings between neighbours, each over what a standard normal sample's is on
    average. Such quotients are nearly exponential, so their median is ln 2 of their mean. A gap between two groups
    is one spacing of many. Source: Pyke 1965, "Spacings"; Blom 1958 for the expected order statistics.
    """
    from scipy.special import ndtri

    n, steps = logs.shape
    expected = np.diff(ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25)))
    spacings = np.diff(np.sort(logs, axis=0), axis=0) / expected[:, np.newaxis]
    each = np.median(spacings, axis=0) / math.log(2)
    return np.array([np.median(each[: max(step, LEAST_STEPS)]) for step in range(1, steps + 1)])


def first_outside(distance: Doubles, edge: Doubles) -> int | None:
    """Return the first step, counted from 1, at which the distance is not within the edge; None if there is none."""
    outside = np.flatnonzero(~(distance <= edge))
    return int(outside[0]) + 1 if outside.size else None


@dataclass
class Tracks:
    """Everything that is kept of the runs: distances and losses, no weights."""

    spec: ModelSpec
    plan: TrajectoryPlan
    start: Mapping[str, Array]
    twins: Gaps = field(default_factory=Gaps)
    between: Gaps = field(default_factory=Gaps)
    largest: Gaps = field(default_factory=Gaps)  # as `between`, by the twins' measure
    moved: Gaps = field(default_factory=Gaps)
    own: dict[str, list[Gaps]] = field(default_factory=dict)  # per framework, one for each draw
    repeats: dict[str, Gaps] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)

    @property
    def floor(self) -> float:
        """The smallest distance worth telling from zero: one weight of the largest tensor, half an ulp off."""
        return unit_roundoff("float32") / math.sqrt(max(array.size for array in self.start.values()))

    def twin_allowed(self, name: str) -> Doubles:
        """Return how far the twins may be apart in one tensor, (steps,): what float32 shows, in float64's unit.

        Adam divides by the size of a gradient, and so blows the rounding of the smallest ones up: among millions of
        weights the farthest is more than `TWIN_BOUND` apart in any correct pair. The same happens in float32, 2^29
        times larger. Two different functions are as far apart in float64 as in float32, and gain nothing by this.
        """
        seen = np.array(self.largest.values[name])
        seen = np.maximum.accumulate(np.where(np.isfinite(seen), seen, 0.0))
        unit = unit_roundoff("float64") / unit_roundoff("float32")
        return np.maximum(TWIN_BOUND, TWIN_MARGIN * unit * seen)

    def twin_shares(self) -> Gaps:
        """Return the part of that allowance which the twins use, per tensor and step."""
        return Gaps({name: list(np.array(gaps) / self.twin_allowed(name)) for name, gaps in self.twins.values.items()})

    def edges(self, name: str | None = None) -> dict[str, Doubles]:
        """Return the upper edges of both bands, of one tensor or of the largest distance of any.

        An unsteady framework's scatter does not count for the other.
        """
        unsteady = self.unsteady()
        steady = [side for side in FRAMEWORKS if side not in unsteady]
        return {**{side: self._edges([side], name)[0] for side in unsteady}, **self._paired(steady, name)}

    def unsteady(self) -> list[str]:
        """Return the frameworks that, started twice from the same weights, leave even the other one's band."""
        return [
            mine
            for mine, other in (FRAMEWORKS, FRAMEWORKS[::-1])
            if first_outside(self.repeats[mine].by_step(), self._edges([other])[0]) is not None
        ]

    def limit(self, name: str | None = None) -> Doubles:
        """Return the wider edge of the two bands, (steps,); the band of an unsteady framework does not count.

        The wider one, since the distance between two frameworks holds the rounding of both, and since a kink that
        one run takes otherwise than all of its kin is in its own framework's band, and not in the other's.
        """
        unsteady, edges = self.unsteady(), self.edges(name)
        if len(unsteady) == len(FRAMEWORKS):
            return np.asarray(np.min(list(edges.values()), axis=0))
        return np.asarray(np.max([edge for side, edge in edges.items() if side not in unsteady], axis=0))

    def _paired(self, sides: Sequence[str], name: str | None) -> dict[str, Doubles]:
        return dict(zip(sides, self._edges(sides, name), strict=True)) if sides else {}

    def _edges(self, sides: Sequence[str], name: str | None = None) -> list[Doubles]:
        families = [
            np.array([gaps.by_step() if name is None else gaps.values[name] for gaps in self.own[side]])
            for side in sides
        ]
        moved = self.moved.by_step() if name is None else np.array(self.moved.values[name])
        # Two runs that each move as far as the reference did are at most twice that apart.
        return [np.minimum(edge, 2 * moved) for edge in upper_edges(families, self.plan.level, self.floor)]


def track(
    pair: Pair,
    x: Array,
    y: Array,
    start: Mapping[str, Array],
    plan: TrajectoryPlan,
    torch_order: Array | None = None,
) -> Tracks:
    """Train all sides of a built pair step by step from `start` and return their distances.

    `x`: (n, h, w, c) float32 images; `y`: (n,) labels; `start`: Keras-named float32 weights. `torch_order`, like
    `plan.order`, is for a port that shuffles its batches otherwise. All runs advance together, a few steps at a time,
    so that no more than those few steps' weights are ever held.
    """
    tracks = Tracks(pair.spec, plan, start)
    for framework in FRAMEWORKS:
        tracks.own[framework] = [Gaps() for _ in range(plan.draws)]
        tracks.repeats[framework], tracks.losses[framework] = Gaps(), []
    _begin(pair, x, y, plan)
    order = plan.order(len(x))
    orders = {"tensorflow": order, "torch": order if torch_order is None else torch_order}
    try:
        # A small network keeps one core busy, a large one all of them: then two at once would only be in their way.
        with ThreadPoolExecutor(2 if pair.spec.parameters() < SMALL else 1) as pool:
            for rows in _chunks(tracks):
                asked = {side: pool.submit(_advance, pair, tracks, side, orders[_family(side)], rows) for side in SIDES}
                _compare(tracks, {side: future.result() for side, future in asked.items()})
    finally:
        if pair.alive():
            pair.each(lambda _, worker: worker.call("trajectory_end"))
    return tracks


def summary(tracks: Tracks, size: tuple[int, int]) -> dict[str, Any]:
    """Return the record's `trajectory` section; distances are fractions, steps count from 1."""
    plan, distance, limit = tracks.plan, tracks.between.by_step(), tracks.limit()
    twin, horizon = tracks.twins.by_step(), first_outside(distance, limit)
    shares = tracks.twin_shares()
    twin_step = first_outside(shares.by_step(), np.ones(plan.steps))
    last = {name: (gaps[-1], tracks.between.values[name][-1]) for name, gaps in tracks.moved.values.items()}
    return {
        "steps": plan.steps,
        "distance": _rounded(distance),
        **{f"band_{side}": _rounded(edge) for side, edge in tracks.edges().items()},
        "twin_distance": float(twin.max()),
        "horizon": horizon,
        "horizon_tensor": None if horizon is None else _tensor_at(tracks, horizon),
        "twin_by_step": _rounded(twin),
        "twin_bound": max(float(tracks.twin_allowed(name).max()) for name in tracks.twins.values),
        "twin_share": float(shares.by_step().max()),
        "twin_first": None if twin_step is None else {"step": twin_step, "tensor": _farthest(shares, twin_step)},
        "share": _share(distance, limit),
        "unsteady": tracks.unsteady(),
        **{f"repeat_{side}": float(tracks.repeats[side].by_step().max()) for side in FRAMEWORKS},
        **{f"self_{side}": [_rounded(gaps.by_step()) for gaps in tracks.own[side]] for side in FRAMEWORKS},
        **{f"loss_{side}": _rounded(np.array(tracks.losses[side])) for side in FRAMEWORKS},
        "moved": {name: {"moved": moved, "distance": gap} for name, (moved, gap) in last.items()},
        "draws": plan.draws,
        "level": plan.level,
        "image_size": list(size),
        "batch": plan.batch,
        "optimizer": "adam",
        "learning_rate": plan.learning_rate,
        "epsilon": plan.epsilon,
        "seed": plan.seed,
    }


def message(section: Mapping[str, Any]) -> str:
    """Return one line that says where the float32 runs parted; empty when they did not."""
    step = section["horizon"]
    if step is None:
        return ""
    gap, *edges = (_said(section[name][step - 1]) for name in ("distance", "band_tensorflow", "band_torch"))
    noise = "".join(f"; {side} does not even repeat itself, so its band does not count" for side in section["unsteady"])
    return (
        f"the frameworks part at step {step} in `{section['horizon_tensor']}`: distance {gap}, bands up to"
        f" {edges[0]} (TensorFlow) and {edges[1]} (torch){noise}"
    )


def twin_message(section: Mapping[str, Any]) -> str:
    """Return one line that says where the float64 twins parted; empty when they did not."""
    where = section["twin_first"]
    if where is None:
        return ""
    return (
        f"the float64 twins part at step {where['step']} in `{where['tensor']}`: {section['twin_distance']:.2e} at most"
        f" of a tensor's largest magnitude, {section['twin_share']:.3g} times what is allowed"
    )


def _said(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2e}"


def _area_weights(old: int, new: int) -> Doubles:
    """Return the share of each old pixel in each new one, (new, old); rows sum to 1."""
    edges, pixels = np.linspace(0, old, new + 1), np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.clip(overlap, 0, 1) * (new / old))


def _family(side: str) -> str:
    return "torch" if side.endswith("torch") else "tensorflow"


def _chunks(tracks: Tracks) -> Iterator[slice]:
    step_bytes = 8 * sum(array.size for array in tracks.start.values())
    length = max(1, min(25, CHUNK_BYTES // step_bytes))
    for first in range(0, tracks.plan.steps, length):
        yield slice(first, min(first + length, tracks.plan.steps))


def _begin(pair: Pair, x: Array, y: Array, plan: TrajectoryPlan) -> None:
    channels_first = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    pair.each(
        lambda side, worker: worker.call(
            "trajectory_begin",
            x=channels_first if _family(side) == "torch" else x,
            y=np.asarray(y, dtype=np.float32),
            learning_rate=plan.learning_rate,
            epsilon=plan.epsilon,
        )
    )


def _advance(pair: Pair, tracks: Tracks, side: str, order: Array, rows: slice) -> dict[str, Array]:
    """Take one side's runs some steps further, note its distances from itself, return the reference's weights.

    The weights have Keras's names and the side's own order of axes, on which a norm does not depend.
    """
    states = _steps(pair, tracks, side, REFERENCE, tracks.start, order, rows)
    if side in FRAMEWORKS:
        scale = _scale(states, tracks.start)
        again = _steps(pair, tracks, side, REPEAT, tracks.start, order, rows)
        tracks.repeats[side].add(_distances(again, states, scale))
        for draw, gaps in enumerate(tracks.own[side]):
            given = nudged(tracks.start, tracks.plan.seed, draw) if rows.start == 0 else {}
            gaps.add(_distances(_steps(pair, tracks, side, f"draw{draw}", given, order, rows), states, scale))
    return states


def _steps(
    pair: Pair, tracks: Tracks, side: str, run: str, start: Mapping[str, Array], order: Array, rows: slice
) -> dict[str, Array]:
    """Return one run's weights after each of the steps under Keras's names, (steps, ...)."""
    torch = _family(side) == "torch"
    first = dict(pairing_weights.to_torch(start, tracks.spec) if torch else start) if rows.start == 0 else None
    done = pair.workers[side].call("trajectory_steps", run=run, order=order[rows], weights=first)
    if run == REFERENCE and side in FRAMEWORKS:
        tracks.losses[side] += done["losses"]
    names = {link.torch if torch else link.tensorflow: link.tensorflow for link in weight_map(tracks.spec)}
    return {names[name]: array for name, array in done["weights"].items()}


def _in_keras_order(stacked: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    """Return torch's states, (steps, ...) under Keras's names, with Keras's order of axes."""
    links = weight_map(spec)
    count = len(next(iter(stacked.values())))
    states = [
        pairing_weights.to_tensorflow({link.torch: stacked[link.tensorflow][i] for link in links}, spec)
        for i in range(count)
    ]
    return {name: np.stack([state[name] for state in states]) for name in states[0]}


def _compare(tracks: Tracks, states: Mapping[str, Mapping[str, Array]]) -> None:
    tensorflow, torch, twin, other = (states[side] for side in SIDES)
    start, scale = tracks.start, _scale(tensorflow, tracks.start)
    tracks.between.add(_distances(_in_keras_order(torch, tracks.spec), tensorflow, scale))
    tracks.moved.add(_distances({name: array[np.newaxis] for name, array in start.items()}, tensorflow, scale))
    for gaps, ported, known in ((tracks.twins, other, twin), (tracks.largest, torch, tensorflow)):
        moved = _in_keras_order(ported, tracks.spec)
        gaps.add({name: _twin_gap(moved[name], array, start[name]) for name, array in known.items()})


def _scale(states: Mapping[str, Array], start: Mapping[str, Array]) -> dict[str, Doubles]:
    """Return each tensor's norm at each step, never below that at the start.

    A single bias on its way through zero is not far from anything.
    """
    return {name: np.maximum(_norms(array), _norms(start[name][np.newaxis])) for name, array in states.items()}


def _distances(a: Mapping[str, Array], b: Mapping[str, Array], scale: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """Return, per tensor, the root mean square of a - b over that of b at each step, (steps,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return {name: _norms(a[name] - b[name]) / scale[name] for name in b}


def _norms(stacked: Array) -> Doubles:
    flat = stacked.reshape(len(stacked), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt([float(row @ row) for row in flat]))


def _twin_gap(a: Array, b: Array, start: Array) -> Doubles:
    """Return max|a - b| / max|b| at each step, (steps,), the scale never below the tensor's at the start."""
    axes = tuple(range(1, b.ndim))
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.abs(a - b).max(axes) / np.maximum(np.abs(b).max(axes), np.abs(start).max())
    return np.asarray(found, dtype=np.float64)


def _tensor_at(tracks: Tracks, step: int) -> str:
    """Return the tensor that is farthest outside its own band at a step."""

    def excess(name: str) -> float:
        return float(tracks.between.values[name][step - 1] / max(tracks.limit(name)[step - 1], tracks.floor))

    return max(tracks.between.values, key=excess)


def _share(distance: Doubles, limit: Doubles) -> float:
    """Return the largest part of the band that was used; infinity where there is no band, or a distance without end."""
    with np.errstate(all="ignore"):
        shares = distance / limit
    return float(np.max(np.where(np.isfinite(shares), shares, np.inf)))


def _farthest(gaps: Gaps, step: int) -> str:
    return max(gaps.values, key=lambda name: gaps.values[name][step - 1])


def _rounded(values: Doubles) -> list[float | None]:
    """Four digits are enough for a picture, and keep the record small; None stands for what is not finite."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]
