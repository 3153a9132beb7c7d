"""How far rounding alone can take an optimizer, found by running its formula once more in NumPy.

Every formula is written down here a third time, on numbers that carry an absolute error bound with them (running error
analysis): each operation adds the errors of its operands and one rounding of its own, in whatever precision is asked.
Where a formula amplifies (1 - b^t near zero, a root of something tiny, a quotient), so does the bound.

Source: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.judge.bound import UNIT_ROUNDOFF
from parity.model.layout import Array

Doubles = NDArray[np.float64]

ROOT_ULPS = 4.0
"""Roundings allowed for a root: compilers turn a / sqrt(b) into a * rsqrt(b), an approximation that is then refined."""

POWER_ULPS = 2.0
"""Roundings allowed for b^t: measured, TensorFlow's is within one unit in the last place, which is 2u."""


def smallest(u: float) -> float:
    """Return what an operation may lose where its result is subnormal: TensorFlow flushes those to zero."""
    return float(np.finfo(np.float32 if u > UNIT_ROUNDOFF["float64"] else np.float64).tiny)


class Tracked:
    """An array and the absolute error that its computed value may have, in a precision of unit roundoff `u`."""

    __array_priority__ = 1000.0

    def __init__(self, value: Array | float, error: Array | float, u: float) -> None:
        self.value = np.asarray(value, dtype=np.float64)
        self.error = np.asarray(error, dtype=np.float64)
        self.u = u

    def _rounded(self, value: Doubles, error: Doubles, ulps: float = 1.0) -> Tracked:
        return Tracked(value, error + ulps * self.u * (np.abs(value) + error) + smallest(self.u), self.u)

    def _other(self, other: Tracked | float) -> Tracked:
        return other if isinstance(other, Tracked) else constant(other, self.u)

    def __add__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        return self._rounded(self.value + b.value, self.error + b.error)

    __radd__ = __add__

    def __sub__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        return self._rounded(self.value - b.value, self.error + b.error)

    def __rsub__(self, other: float) -> Tracked:
        return self._other(other) - self

    def __neg__(self) -> Tracked:
        return Tracked(-self.value, self.error, self.u)

    def __mul__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        error = np.abs(self.value) * b.error + (np.abs(b.value) + b.error) * self.error
        return self._rounded(self.value * b.value, error)

    __rmul__ = __mul__

    def __truediv__(self, other: Tracked | float) -> Tracked:
        b = self._other(other)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = self.value / b.value
            safe = np.abs(b.value) - b.error
            error = np.where(safe > 0.0, (self.error + np.abs(value) * b.error) / safe, np.inf)
        return self._rounded(value, error)

    def __rtruediv__(self, other: float) -> Tracked:
        return self._other(other) / self

    def root(self) -> Tracked:
        """Return the square root."""
        value = np.sqrt(np.maximum(self.value, 0.0))
        below = value + np.sqrt(np.maximum(self.value - self.error, 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.where(below > 0.0, self.error / below, np.sqrt(self.error))
        return self._rounded(value, error, ROOT_ULPS)

    def high(self, other: Tracked | float) -> Tracked:
        """Return the larger of the two, element by element."""
        b = self._other(other)
        return Tracked(np.maximum(self.value, b.value), np.maximum(self.error, b.error), self.u)

    def low(self, other: Tracked | float) -> Tracked:
        """Return the smaller of the two, element by element."""
        return -((-self).high(-self._other(other)))

    def size(self) -> Tracked:
        """Return the absolute value."""
        return Tracked(np.abs(self.value), self.error, self.u)

    def total(self) -> Tracked:
        """Return the sum over all elements, in any order."""
        count = self.value.size
        error = self.error.sum() + count * self.u * (np.abs(self.value) + self.error).sum()
        return Tracked(self.value.sum(), error, self.u)


def exact(value: Array | float, u: float) -> Tracked:
    """Return a value without error."""
    return Tracked(value, 0.0, u)


def constant(value: float, u: float) -> Tracked:
    """Return a hyper-parameter: float32 rounds it, float64 holds the very number that both sides were given."""
    return Tracked(value, u * abs(value) if u > UNIT_ROUNDOFF["float64"] else 0.0, u)


def power(base: float, exponent: float, u: float) -> Tracked:
    """Return base**exponent; an error of the base counts `exponent` times."""
    value, start = base**exponent, constant(base, u)
    relative = exponent * float(start.error) / base if base else 0.0
    return Tracked(value, abs(value) * (relative + POWER_ULPS * u), u)


@dataclass
class State:
    """One variable on its way: its slots, the step number and what belongs to the whole optimizer."""

    slots: dict[str, Tracked]
    step: int
    product: Tracked
    u: float

    def slot(self, name: str, like: Tracked, start: float = 0.0) -> Tracked:
        """Return a slot, filled with `start` when first asked for."""
        if name not in self.slots:
            first = constant(start, self.u)
            whole = np.ones(like.value.shape)
            self.slots[name] = Tracked(first.value * whole, first.error * whole, self.u)
        return self.slots[name]

    def average(self, name: str, keep: float, new: Tracked, rest: Tracked | None = None) -> Tracked:
        """Let a slot keep that share of itself and take the rest from `new`: 1 - keep as a double, unless given."""
        self.slots[name] = self.slot(name, new) * keep + new * (1.0 - keep if rest is None else rest)
        return self.slots[name]


Words = Mapping[str, float]
Formula = Callable[[Tracked, Tracked, Tracked, State, Words], Tracked]


def _sgd(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    if not c["momentum"]:
        return w - g * rate
    v = state.slots["momentum"] = state.slot("momentum", g) * c["momentum"] - g * rate
    return w + (v * c["momentum"] - g * rate if c["nesterov"] else v)


def _adam(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    first, second = (power(c[name], state.step, state.u) for name in ("beta_1", "beta_2"))
    alpha = rate * (1.0 - second).root() / (1.0 - first)
    m, v = state.average("momentum", c["beta_1"], g), state.average("velocity", c["beta_2"], g * g)
    if c.get("amsgrad"):
        v = state.slots["velocity_hat"] = state.slot("velocity_hat", g).high(v)
    return w - m * alpha / (v.root() + c["epsilon"])


def _adamax(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    m = state.average("momentum", c["beta_1"], g)
    u = state.slots["norm"] = (state.slot("norm", g) * c["beta_2"]).high(g.size())
    return w - rate * m / ((1.0 - power(c["beta_1"], state.step, state.u)) * (u + c["epsilon"]))


def _nadam(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    beta = constant(c["beta_1"], state.u)
    now, soon = (beta * (1.0 - 0.5 * power(0.96, state.step + ahead, state.u)) for ahead in (0, 1))
    # Nadam, unlike Adam, takes 1 - beta from the rounded beta: 1 - float32(0.999) is off by 1.3e-5 of itself.
    m = state.average("momentum", c["beta_1"], g, 1.0 - beta)
    v = state.average("velocity", c["beta_2"], g * g, 1.0 - constant(c["beta_2"], state.u))
    mean = soon * m / (1.0 - state.product * soon) + (1.0 - now) * g / (1.0 - state.product)
    return w - mean * rate / ((v / (1.0 - power(c["beta_2"], state.step, state.u))).root() + c["epsilon"])


def _rmsprop(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    spread = state.average("velocity", c["rho"], g * g)
    if c["centered"]:
        mean = state.average("average_gradient", c["rho"], g)
        spread = spread - mean * mean
    move = rate * g / (spread + c["epsilon"]).root()
    if c["momentum"]:
        move = state.slots["momentum"] = state.slot("momentum", g) * c["momentum"] + move
    return w - move


def _adagrad(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    total = state.slot("accumulator", g, c["initial_accumulator_value"]) + g * g
    state.slots["accumulator"] = total
    return w - rate * g / (total + c["epsilon"]).root()


def _adadelta(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    before = state.slot("accumulated_delta_var", g)
    square = state.average("accumulated_grad", c["rho"], g * g)
    move = (before + c["epsilon"]).root() * g / (square + c["epsilon"]).root()
    state.average("accumulated_delta_var", c["rho"], move * move)
    return w - rate * move


KERAS: Mapping[str, Formula] = {
    "sgd": _sgd, "adam": _adam, "adamw": _adam, "adamax": _adamax, "nadam": _nadam, "rmsprop": _rmsprop,
    "adagrad": _adagrad, "adadelta": _adadelta,
}  # fmt: skip
"""Keras's formulas, one step of one variable each."""


def _torch_sgd(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    if c["momentum"]:
        v = state.slots["momentum_buffer"] = state.slot("momentum_buffer", g) * c["momentum"] + g
        g = g + v * c["momentum"] if c["nesterov"] else v
    return w - g * rate


def _torch_adam(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    first, second = (power(beta, state.step, state.u) for beta in (c["beta1"], c["beta2"]))
    m, v = state.average("exp_avg", c["beta1"], g), state.average("exp_avg_sq", c["beta2"], g * g)
    if c.get("amsgrad"):
        v = state.slots["max_exp_avg_sq"] = state.slot("max_exp_avg_sq", g).high(v)
    return w - rate / (1.0 - first) * m / (v.root() / (1.0 - second).root() + c["eps"])


def _torch_adamax(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    m = state.average("exp_avg", c["beta1"], g)
    u = state.slots["exp_inf"] = (state.slot("exp_inf", g) * c["beta2"]).high(g.size() + c["eps"])
    return w - rate / (1.0 - power(c["beta1"], state.step, state.u)) * m / u


def _torch_nadam(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    beta, other, decay = c["beta1"], c["beta2"], c["momentum_decay"]
    now, soon = (
        constant(beta, state.u) * (1.0 - 0.5 * power(0.96, (state.step + ahead) * decay, state.u)) for ahead in (0, 1)
    )
    m, v = state.average("exp_avg", beta, g), state.average("exp_avg_sq", other, g * g)
    low = (v / (1.0 - power(other, state.step, state.u))).root() + c["eps"]
    product = state.product
    return w - rate * (1.0 - now) / (1.0 - product) * g / low - rate * soon / (1.0 - product * soon) * m / low


def _torch_rmsprop(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    spread = state.average("square_avg", c["alpha"], g * g)
    if c["centered"]:
        mean = state.average("grad_avg", c["alpha"], g)
        spread = spread - mean * mean
    move = g / (spread.root() + c["eps"])
    if c["momentum"]:
        move = state.slots["momentum_buffer"] = state.slot("momentum_buffer", g) * c["momentum"] + move
    return w - rate * move


def _torch_adagrad(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    total = state.slots["sum"] = state.slot("sum", g, c["initial_accumulator_value"]) + g * g
    return w - rate * g / (total.root() + c["eps"])


def _torch_adadelta(w: Tracked, g: Tracked, rate: Tracked, state: State, c: Words) -> Tracked:
    before = state.slot("acc_delta", g)
    square = state.average("square_avg", c["rho"], g * g)
    move = (before + c["eps"]).root() / (square + c["eps"]).root() * g
    state.average("acc_delta", c["rho"], move * move)
    return w - rate * move


TORCH: Mapping[str, Formula] = {
    "sgd": _torch_sgd, "adam": _torch_adam, "adamw": _torch_adam, "adamax": _torch_adamax, "nadam": _torch_nadam,
    "rmsprop": _torch_rmsprop, "adagrad": _torch_adagrad, "adadelta": _torch_adadelta,
}  # fmt: skip
"""Torch's formulas, one step of one variable each."""


@dataclass(frozen=True)
class Run:
    """What to bound: Keras's or torch's formula, its whole configuration, and the exact inputs.

    `rates` (steps,) and `rate_error` (absolute, steps) are the learning rate's; `l2` is a penalty l * sum(w^2).
    """

    form: str
    optimizer: str
    config: Mapping[str, Any]
    clip: Mapping[str, float]
    l2: float | None
    weights: Mapping[str, Array]
    gradients: Mapping[str, Array]
    rates: Array
    rate_error: Array

    @property
    def words(self) -> Words:
        """The configuration as numbers: without what is None, and with torch's pair of betas taken apart."""
        numbers = {name: value for name, value in self.config.items() if value is not None}
        numbers["beta1"], numbers["beta2"] = numbers.pop("betas", (0.0, 0.0))
        return numbers

    def bounds(self, u: float) -> dict[str, dict[str, Array]]:
        """Return the absolute error allowed in precision `u`, by `weights` and `slots`, in each tensor's shape.

        All variables go through the formula as one long vector, since it treats elements alike.
        """
        places = _places(self.weights)
        now = exact(_joined(self.weights), u)
        rows = np.concatenate([g.reshape(len(g), -1) for g in (self.gradients[n] for n in places)], axis=1)
        state, product = State({}, 0, exact(1.0, u), u), exact(1.0, u)
        for index, rate in enumerate(self.rates):
            step = Tracked(rate, self.rate_error[index] + constant(rate, u).error, u)
            product = self._product(product, index + 1, u)
            given = exact(rows[index], u)
            if self.l2 is not None:
                given = given + now * (2.0 * self.l2)
            state.step, state.product = index + 1, product
            now = self._step(now, self._clipped(given, places), step, state)
        weights = self._taken_apart(now, places)
        slots = {
            f"{slot}/{name}": error
            for slot, value in state.slots.items()
            for name, error in self._taken_apart(value, places).items()
        }
        return {"weights": weights, "slots": slots | self._whole(product)}

    def _taken_apart(self, joined: Tracked, places: Mapping[str, slice]) -> dict[str, Array]:
        return {name: joined.error[place].reshape(self.weights[name].shape) for name, place in places.items()}

    def _step(self, w: Tracked, gradient: Tracked, rate: Tracked, state: State) -> Tracked:
        words = self.words
        decay = words.get("weight_decay", 0.0)
        if self.form == "keras":
            w = w - w * decay * rate if "weight_decay" in words else w
            return KERAS[self.optimizer](w, gradient, rate, state, words)
        if decay and self.optimizer == "adamw":
            w = w * (1.0 - rate * decay)
        elif decay:
            gradient = gradient + w * decay
        return TORCH[self.optimizer](w, gradient, rate, state, words)

    def _product(self, product: Tracked, step: int, u: float) -> Tracked:
        if self.optimizer != "nadam":
            return product
        if self.form == "keras":
            return product * self.words["beta_1"] * (1.0 - 0.5 * power(0.96, step, u))
        mu = constant(self.words["beta1"], u) * (1.0 - 0.5 * power(0.96, step * self.words["momentum_decay"], u))
        # torch keeps this one number in float32, whatever the parameters are: both sides round it there, each in
        # its own way by at most one unit.
        single = UNIT_ROUNDOFF["float32"]
        value = float(np.float32(product.value * float(np.float32(mu.value))))
        lost = 2.0 * single * abs(value) + smallest(single)
        return Tracked(value, product.error * mu.value + product.value * mu.error + lost, u)

    def _whole(self, product: Tracked) -> dict[str, Array]:
        if self.optimizer != "nadam":
            return {}
        return {"u_product" if self.form == "keras" else "mu_product": product.error}

    def _clipped(self, g: Tracked, places: Mapping[str, slice]) -> Tracked:
        c, mine = self.words, self.form == "keras"
        if mine and "clipnorm" in c:
            norms = [_part(g * g, place).total().root().high(c["clipnorm"]) for place in places.values()]
            return g * c["clipnorm"] / _repeated(norms, places)
        if mine and "global_clipnorm" in c:
            norm = (g * g).total().root()
            return g * (c["global_clipnorm"] * (1.0 / norm).low(1.0 / c["global_clipnorm"]))
        if "norm" in self.clip:
            return g * (self.clip["norm"] / ((g * g).total().root() + 1e-6)).low(1.0)
        limit = c.get("clipvalue") if mine else self.clip.get("value")
        return g.high(-limit).low(limit) if limit else g


def _places(weights: Mapping[str, Array]) -> dict[str, slice]:
    ends = np.cumsum([array.size for array in weights.values()]).tolist()
    starts = [0, *ends[:-1]]
    return {name: slice(a, b) for name, a, b in zip(weights, starts, ends, strict=True)}


def _joined(arrays: Mapping[str, Array]) -> Array:
    return np.concatenate([array.reshape(-1) for array in arrays.values()])


def _part(joined: Tracked, place: slice) -> Tracked:
    return Tracked(joined.value[place], joined.error[place], joined.u)


def _repeated(scalars: list[Tracked], places: Mapping[str, slice]) -> Tracked:
    sizes = [place.stop - place.start for place in places.values()]
    value, error = (np.repeat([float(getattr(s, what)) for s in scalars], sizes) for what in ("value", "error"))
    return Tracked(value, error, scalars[0].u)


def rate_error(schedule: Mapping[str, Any] | None, rates: Array, u: float) -> Doubles:
    """Return how far a schedule's rate may be off, absolute, per step.

    Each of the formulas divides the step by a length, forms one power or cosine and scales it. With P the largest
    quotient, the power's exponent is off by Pu (times |ln base| < 1) and its base by u, P times; the cosine's argument
    pi*x < 2 pi P is off by 4u of itself (two constants, two operations): together at most (P + 4*pi*P + 8) u of the
    initial rate. A rate that is changed by hand is a product of few factors, 2u for each of at most P changes.
    """
    top = float(np.max(np.abs(rates)))
    if schedule is None or schedule["kind"] == "drop":
        return np.full(rates.shape, 4.0 * u * top if schedule else 0.0)
    length = next((schedule[word] for word in ("decay_steps", "first_decay_steps") if word in schedule), 20)
    quotient = max(1.0, len(rates) / length)
    return np.full(rates.shape, ((1.0 + 4.0 * np.pi) * quotient + 8.0) * u * top)
