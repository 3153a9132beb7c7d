"""Normalisations by kept statistics that somebody wrote out, seen as the batch normalisation that they are.

Detection networks freeze theirs: a scale and a shift are made of four buffers first, and each image goes through a
product and a sum. How the steps are arranged does not matter: what they compute is multiplied out, and a result of the
form `gamma * (x - mean) / sqrt(variance + eps) + beta` is one. So is one whose root was forgotten, or taken twice, or
taken before the eps was added: what is wrong with it can only be told where its weights are known for what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.model.trace import MOVES, SPREAD, Op, Trace
from parity.pairing.references import Shape, shape_of, shapes_of

SHAPING = frozenset({"view", "reshape", "unsqueeze", "getitem", "expand", "view_as"})

# A weight, the eps that was added to it, and its power before that; the tensor that is normalised has no name.
Atom = tuple[str, float, float]
Product = tuple[tuple[Atom, float], ...]  # of powers of atoms
Sum = Mapping[Product, float]  # of products, each with its factor

_X: Atom = ("", 0.0, 1.0)
_SIGNS = {"add": 1.0, "subtract": -1.0}
_POWERS = {"multiply": 1.0, "divide": -1.0}
_ARITHMETIC = frozenset({*_SIGNS, *_POWERS})
_ROOTS = {"sqrt": 0.5, "rsqrt": -0.5}
_FUNCTIONS = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide"}  # of an operation on weights alone
# What the variance is divided by, by its power before the eps and behind it.
SPREADS = {
    (1.0, -0.5): "", (1.0, -1.0): "the variance, not its root", (0.5, -0.5): "the root of its root",
    (0.5, -1.0): "its root, to which the eps is added",
}  # fmt: skip
_MOST_TERMS = 6
_MOST_STEPS = 6  # through which the normalised tensor goes


@dataclass(frozen=True)
class Kept:
    """A normalisation by kept statistics: its steps in order, what it reads, its weights by role, its settings."""

    steps: tuple[Op, ...]
    entry: int
    gamma: str | None
    beta: str | None
    mean: str
    variance: str
    eps: float
    axis: int
    spread: str = ""

    def as_one(self, name: str, channels_last: bool) -> Op:
        """Return the one operation that stands for the steps."""
        roles = ("gamma", "beta", "moving_mean", "moving_variance")
        names = roles if channels_last else ("weight", "bias", "running_mean", "running_var")
        held = zip(names, (self.gamma, self.beta, self.mean, self.variance), strict=True)
        config = {
            "axis": self.axis, "eps": self.eps, "momentum": None, "frozen": True, "training": False,
            "center": self.beta is not None, "scale": self.gamma is not None,
            **({SPREAD: self.spread} if self.spread else {}),
        }  # fmt: skip
        last = self.steps[-1]
        return Op(
            last.index, name, "batch_norm", (self.entry,), last.outputs, config,
            {role: reference for role, reference in held if reference is not None},
        )  # fmt: skip


def kept(trace: Trace) -> Iterator[Kept]:
    """Yield the normalisations by kept statistics that are written out in a trace, from the last to the first."""
    graph = _Graph(trace)
    taken: set[int] = set()
    for op in reversed(trace.ops):
        found = graph.ending_with(op) if op.index not in taken else None
        if found is not None:
            taken.update(step.index for step in found.steps)
            yield found


class _Graph:
    """A trace, and what each of its tensors is as a sum of products."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.makers, self.readers = trace.producers(), trace.consumers()
        self.sizes: Mapping[str, Shape] = shapes_of(trace)
        self.of_weights: set[int] = set()  # the tensors that are made of weights alone
        for op in trace.ops:
            if set(op.inputs) <= self.of_weights and (op.inputs or op.kind == "op:weight"):
                self.of_weights.update(op.outputs)

    def ending_with(self, last: Op) -> Kept | None:
        """Return the normalisation whose last step is a given one, if there is one."""
        if last.kind not in _ARITHMETIC or not self._reads_weights(last):
            return None
        way: list[Op] = []
        step: Op | None = last
        while step is not None and len(way) < _MOST_STEPS:
            read = [tensor for tensor in dict.fromkeys(step.inputs) if tensor not in self.of_weights]
            if len(read) != 1 or step.kind not in _ARITHMETIC or not self._reads_weights(step):
                return None
            way.append(step)
            found = self._as_kept(way[::-1], read[0])
            if found is not None:
                return found
            step = self.makers.get(read[0])
        return None

    def _reads_weights(self, op: Op) -> bool:
        return bool(op.weights) or any(tensor in self.of_weights for tensor in op.inputs)

    def _as_kept(self, way: Sequence[Op], entry: int) -> Kept | None:
        shapes, result = self.trace.shapes, way[-1].outputs[0]
        if shapes.get(entry) != shapes.get(result):
            return None
        found = self._sum(result, entry)
        roles = None if found is None else _roles(found)
        axis = self._axis(way, entry) if roles is not None else None
        if roles is None or axis is None:
            return None
        steps = self._steps(way)
        made = {tensor for op in steps for tensor in op.outputs} - {result}
        own = {op.index for op in steps}
        read = {op.index for tensor in made for op in self.readers.get(tensor, ())}
        if not read <= own or made & set(self.trace.outputs):
            return None  # something else reads what the steps make
        gamma, beta, mean, (variance, eps, power), exponent = roles
        return Kept(steps, entry, gamma, beta, mean, variance, eps, axis, SPREADS[power, exponent])

    def _steps(self, way: Sequence[Op]) -> tuple[Op, ...]:
        """Return the steps with those that make their operands of weights."""
        steps = {op.index: op for op in way}
        open_ = [tensor for op in way for tensor in op.inputs if tensor in self.of_weights]
        while open_:
            maker = self.makers[open_.pop()]
            if maker.index not in steps:
                steps[maker.index] = maker
                open_ += maker.inputs
        return tuple(steps[index] for index in sorted(steps))

    def _axis(self, way: Sequence[Op], entry: int) -> int | None:
        """Return the one axis that all operands lie along."""
        rank = len(self.trace.shapes.get(entry, ()))
        found: set[int] = set()
        for op in way:
            shapes = [self.trace.shapes.get(tensor, ()) for tensor in op.inputs if tensor in self.of_weights]
            shapes += [shape for name in op.weights.values() if (shape := shape_of(name, self.sizes)) is not None]
            for shape in shapes:
                long = [rank - len(shape) + axis for axis, size in enumerate(shape) if size > 1]
                if len(long) > 1:
                    return None
                found.update(long)
        return next(iter(found)) if len(found) == 1 and 0 not in found else None

    def _sum(self, tensor: int, entry: int) -> Sum | None:
        """Return what a tensor is, in terms of weights and of `entry`; None if it is nothing so simple."""
        if tensor == entry:
            return {((_X, 1.0),): 1.0}
        op = self.makers.get(tensor)
        if op is None:
            return None
        operands = [self._sum(given, entry) for given in op.inputs]
        if "made" in op.config:
            held = [_of_formula(op.config["made"], op.weights)]
        else:
            held = [_weight(name) for name in op.weights.values()]
        operands = [*held, *operands] if op.config.get("reversed") else [*operands, *held]
        known = [one for one in operands if one is not None]
        return _made(op, known) if len(known) == len(operands) else None


def _weight(name: str) -> Sum | None:
    return {(((name, 0.0, 1.0), 1.0),): 1.0}


def _of_formula(formula: Any, weights: Mapping[str, str]) -> Sum | None:
    """Return what a formula of weights, which it calls by their roles, is."""
    if isinstance(formula, str):
        return _weight(weights[formula]) if formula in weights else None
    if isinstance(formula, (int, float)):
        return {(): float(formula)} if formula else {}
    function, *parts = formula
    given = [_of_formula(part, weights) for part in parts]
    if function == "power" and isinstance(parts[1], (int, float)) and given[0] is not None:
        return _power(given[0], float(parts[1]))
    if function == "add" and given[0] is not None and isinstance(parts[1], (int, float)):
        return _rescaled(given[0], 1.0, float(parts[1]))
    known = [one for one in given if one is not None]
    return _result(str(function), {}, known) if len(known) == len(given) else None


def _made(op: Op, given: Sequence[Sum]) -> Sum | None:
    """Return what an operation makes of what it is given."""
    config = op.config
    kind = op.kind
    if kind == "op:weight":
        function = str(config.get("function"))
        kind = "rescale" if "scale" in config else "power" if "exponent" in config else function
        kind = _FUNCTIONS.get(kind, kind)
    if op.effect == MOVES:
        return given[0] if len(given) == 1 else None
    return _result(kind, config, given)


def _result(kind: str, config: Mapping[str, Any], given: Sequence[Sum]) -> Sum | None:
    if len(given) == 1:
        exponent = _exponent(kind, config)
        if exponent is not None:
            return _power(given[0], exponent)
        if kind == "rescale":
            return _rescaled(given[0], float(config["scale"]), float(config["offset"]))
        return given[0] if kind in SHAPING else None
    if len(given) != 2 or "alpha" in config or "constant_shape" in config:
        return None
    if kind in _SIGNS:
        return _added(given[0], given[1], _SIGNS[kind])
    second = _power(given[1], _POWERS[kind]) if kind in _POWERS else None
    return None if second is None else _multiplied(given[0], second)


def _exponent(kind: str, config: Mapping[str, Any]) -> float | None:
    if kind == "power" and isinstance(config.get("exponent"), float):
        return float(config["exponent"])
    if kind == "divide" and config.get("reversed") and config.get("constant") == [1.0]:
        return -1.0
    return _ROOTS.get(str(config.get("function")) if kind == "activation" else kind)


def _rescaled(given: Sum, scale: float, offset: float) -> Sum:
    lone = next(iter(given)) if len(given) == 1 else ()
    if scale == 1.0 and offset > 0.0 and len(lone) == 1 and lone[0][0] != _X and given[lone] == 1.0:
        (name, eps, power), exponent = lone[0]
        if exponent == 1.0 or (exponent == 0.5 and (eps, power) == (0.0, 1.0)):
            return {(((name, eps + offset, power * exponent), 1.0),): 1.0}
    made = {product: factor * scale for product, factor in given.items()}
    return made if not offset else _added(made, {(): 1.0}, offset)


def _added(first: Sum, second: Sum, factor: float) -> Sum:
    made = dict(first)
    for product, number in second.items():
        made[product] = made.get(product, 0.0) + factor * number
    return {product: number for product, number in made.items() if number}


def _multiplied(first: Sum, second: Sum) -> Sum | None:
    made: dict[Product, float] = {}
    for one, number in first.items():
        for other, factor in second.items():
            powers = dict(one)
            for atom, exponent in other:
                powers[atom] = powers.get(atom, 0.0) + exponent
            key = tuple(sorted((atom, exponent) for atom, exponent in powers.items() if exponent))
            made[key] = made.get(key, 0.0) + number * factor
    return made if len(made) <= _MOST_TERMS else None


def _power(given: Sum, exponent: float) -> Sum | None:
    if exponent == 1.0:
        return given
    if len(given) != 1:
        return None
    product, factor = next(iter(given.items()))
    if factor <= 0.0:
        return None
    return {tuple((atom, power * exponent) for atom, power in product): factor**exponent}


def _roles(found: Sum) -> tuple[str | None, str | None, str, Atom, float] | None:
    """Return gamma, beta, mean, variance and its exponent of a sum that is a batch normalisation."""
    scales = [(product, factor) for product, factor in found.items() if _X in dict(product)]
    shifts = [(product, factor) for product, factor in found.items() if _X not in dict(product)]
    if len(scales) != 1 or scales[0][1] != 1.0 or not 1 <= len(shifts) <= 2:
        return None
    scale = dict(scales[0][0])
    if scale.pop(_X) != 1.0:
        return None
    roots = [atom for atom, exponent in scale.items() if (atom[2], exponent) in SPREADS]
    gammas = [atom for atom, exponent in scale.items() if exponent == 1.0]
    if len(roots) != 1 or len(gammas) > 1 or len(scale) != 1 + len(gammas):
        return None
    mean, beta = None, None
    for product, factor in shifts:
        powers = dict(product)
        rest = [atom for atom, exponent in powers.items() if scale.get(atom) != exponent]
        if factor == -1.0 and len(rest) == 1 and len(powers) == len(scale) + 1 and powers[rest[0]] == 1.0:
            mean = rest[0]
        elif factor == 1.0 and len(powers) == 1 and next(iter(powers.values())) == 1.0:
            beta = next(iter(powers))
    named = [atom for atom in (mean, beta, *gammas) if atom is not None]
    if mean is None or len(named) != len(shifts) + len(gammas) or any(eps for _, eps, _ in named):
        return None
    names = [name for name, _, _ in (*named, roots[0])]
    if len(set(names)) != len(names):
        return None
    return (gammas[0][0] if gammas else None), (beta[0] if beta else None), mean[0], roots[0], scale[roots[0]]
