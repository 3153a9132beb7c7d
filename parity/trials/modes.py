"""Does a speed mode keep its word: is it as exact, forward and backward, as the precision that it names?

The bounds follow what a mode says. Products are taken of operands rounded to its precision, summed in float32 in any
order, and the result is rounded once to its precision, and once more after the bias; later layers carry the error on.
Sources: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., sections 2.2, 3.1 and 3.3; for sums that
are chopped, Fasi, Higham, Mikaitis & Pranesh, *Numerical behavior of NVIDIA tensor cores*, PeerJ Comput. Sci. 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from parity.errors import PairingError, UsageError
from parity.judge.bound import SIGMOID_ULPS, UNIT_ROUNDOFF, Doubles, growth, unit_roundoff
from parity.judge.verdict import NOT_COMPARED, PASSING, PRECISION, ROUNDING, SEMANTIC
from parity.model import layout
from parity.model.layout import Array
from parity.model.modes import EAGER, MODES, WHOLE, Breach, Mode
from parity.model.spec import LayerShape, LayerSpec, ModelSpec, example_cnn
from parity.pair import noise_probe, probe_weights, sparse_inputs
from parity.pairing import weights as pairing_weights

FRAMEWORKS = ("tensorflow", "torch")
LINEAR = ("conv2d", "dense")
PROBES = ("dense", "sparse", "exact", "sparse-weights")
MODEL = example_cnn(13, 11, 3)

Apply = Callable[[Doubles, Doubles], Doubles]
Row = dict[str, Any]

# Half the smallest subnormal: what rounding may add where numbers are tiny. IEEE 754; TF32 has float32's exponents.
_TINY: Mapping[str, float] = {"float16": 2.0**-25, "bfloat16": 2.0**-134, "tf32": 2.0**-150}
_GRID = 8  # significant bits that float16, bfloat16, TF32 and float32 all have
_LOW_EXPONENT, _HIGH_EXPONENT = -14, 16  # of float16, the narrowest, as `frexp` counts them


class Caller(Protocol):
    """What a trial needs of a worker."""

    def call(self, method: str, /, **arguments: Any) -> Any:
        """Return what the adapter's method gave."""


@dataclass(frozen=True)
class Promise:
    """Unit roundoffs that a mode admits to: of operands, of sums, of stored results (0: none of its own).

    `tiny` is the absolute error of rounding where numbers are subnormal.
    """

    operands: float
    sums: float
    results: float
    tiny: float = 0.0

    @property
    def elementwise(self) -> float:
        """The roundoff of an operation on single numbers."""
        return self.results or self.sums


def promise(says: str) -> Promise:
    """Return what a mode that names the precision `says` admits to.

    Matrix units may chop where a sum should be rounded, and drop the low bits of a TF32 operand: twice u then. TF32 is
    a precision of operands alone, its results stay in float32.
    """
    roundoff, single = unit_roundoff(says), UNIT_ROUNDOFF["float32"]
    if says in ("float32", "float64"):
        return Promise(0.0, roundoff, 0.0)
    if says == "tf32":
        return Promise(2.0 * roundoff, 2.0 * single, 0.0, _TINY[says])
    return Promise(roundoff, 2.0 * single, roundoff, _TINY[says])


@dataclass(frozen=True)
class Known:
    """An exact array, how far a mode's own may be from it, and whether the mode holds it in its own precision."""

    value: Doubles
    error: Doubles
    held: bool = True


def bounds(
    layers: Sequence[LayerSpec], weights: Mapping[str, Array], x: Array, upstream: Array, says: str
) -> dict[str, Doubles]:
    """Return how far `output`, `input` (its gradient) and every weight's gradient may be off, absolute, per element.

    `x` is the exact input and `upstream` the exact gradient of the output, both in TensorFlow's order; `weights` are
    named `layer/variable`, and so are their gradients.
    """
    given, admitted = {name: _given(array) for name, array in weights.items()}, promise(says)
    values = [_given(x)]
    for layer in layers:
        values.append(_forward(layer, values[-1], _own(given, layer.name), admitted))
    found = {"output": values[-1].error}
    gradient = _given(upstream)
    for layer, before, after in zip(layers[::-1], values[-2::-1], values[:0:-1], strict=True):
        own = _own(given, layer.name)
        if layer.kind in LINEAR:
            found |= {
                f"{layer.name}/{key}": error for key, error in _to_weights(layer, before, gradient, own, admitted)
            }
        gradient = _backward(layer, before, after, gradient, own, admitted)
    return {**found, "input": gradient.error}


def sampled_errors(
    layers: Sequence[LayerSpec], weights: Mapping[str, Array], x: Array, says: str, draws: int = 4, seed: int = 0
) -> Doubles:
    """Return the root mean square error, per element of the output, when a mode's roundings fall at random.

    Each draw runs `layers` on `x` (TensorFlow's order) with every operand, sum and stored result moved by a random
    share of the roundoff that the mode admits to. Over a long reduction errors mostly cancel: this is what a correct
    lane shows, where a certain bound is as large as the numbers themselves. The draws themselves are computed in
    float32, whose own rounding is hundreds of times smaller than what is drawn.
    Source: Parker, *Monte Carlo Arithmetic*, UCLA CSD-970002, 1997.
    """
    admitted, rng = promise(says), np.random.default_rng(seed)
    exact = output_bounds(layers, weights, x, "float64")[0]
    squares = np.zeros(exact.shape)
    for _ in range(draws):
        squares += (_drawn(layers, weights, x, admitted, rng) - exact) ** 2
    return np.asarray(np.sqrt(squares / draws))


def _drawn(
    layers: Sequence[LayerSpec], weights: Mapping[str, Array], x: Array, admitted: Promise, rng: np.random.Generator
) -> Doubles:
    def moved(array: Array, roundoff: float) -> Array:
        if not roundoff:
            return array
        return np.asarray(array * (1.0 + np.float32(roundoff) * (2.0 * rng.random(array.shape, np.float32) - 1.0)))

    value: Array = x.astype(np.float32)
    for layer in layers:
        if layer.kind in LINEAR:
            own = _own(weights, layer.name)
            summed = _apply(layer, moved(value, admitted.operands), moved(own["kernel"], admitted.operands))
            value = moved(moved(summed, admitted.sums), admitted.results)
            if "bias" in own:
                value = moved(value + moved(own["bias"], admitted.operands), admitted.results)
        elif layer.kind == "relu":
            value = np.maximum(value, 0.0)
        elif layer.kind == "max_pool2d":
            value = _tiles(value, layer.size).max(axis=-1)
        elif layer.kind == "flatten":
            value = value.reshape(len(value), -1)
        else:
            raise UsageError(f"no roundings of a mode are drawn for layer kind `{layer.kind}` (layer `{layer.name}`)")
    return value.astype(np.float64)


def output_bounds(
    layers: Sequence[LayerSpec], weights: Mapping[str, Array], x: Array, says: str
) -> tuple[Doubles, Doubles]:
    """Return the exact output of `layers` fed `x` (TensorFlow's order), and how far a mode's own may be off."""
    given, admitted, known = {name: _given(array) for name, array in weights.items()}, promise(says), _given(x)
    for layer in layers:
        known = _forward(layer, known, _own(given, layer.name), admitted)
    return known.value, known.error


def _given(array: Array) -> Known:
    return Known(array.astype(np.float64), np.zeros(array.shape), held=False)


def _rounded(known: Known, admitted: Promise) -> Doubles:
    """Return the error of an operand after the mode has rounded it to its precision, where it was not before."""
    if not admitted.operands or (known.held and admitted.results):
        return known.error
    rounding = admitted.operands * (np.abs(known.value) + known.error) + admitted.tiny
    exact = (known.error == 0.0) & has_few_digits(known.value)
    return np.asarray(known.error + np.where(exact, 0.0, rounding))


def _stored(value: Doubles, error: Doubles, admitted: Promise) -> Doubles:
    return np.asarray(error + admitted.results * (np.abs(value) + error) + (admitted.tiny if admitted.results else 0.0))


def _products(apply: Apply, a: Known, b: Known, admitted: Promise, bias: Doubles | float = 0.0) -> Known:
    """Return a sum of products of two operands, stored; `bias` is the magnitude of what may join the same sum."""
    error_a, error_b = _rounded(a, admitted), _rounded(b, admitted)
    size_a, size_b = np.abs(a.value) + error_a, np.abs(b.value) + error_b
    # A product with an exact zero is exact and adds nothing: only the others count.
    terms = apply((size_a != 0.0).astype(np.float64), (size_b != 0.0).astype(np.float64)) + 1.0
    carried = apply(error_a, size_b) + apply(np.abs(a.value), error_b)
    summed = growth(np.round(terms), admitted.sums) * (apply(size_a, size_b) + bias)
    exact = apply(a.value, b.value)
    return Known(exact, _stored(exact, carried + summed, admitted))


def _forward(layer: LayerSpec, x: Known, own: Mapping[str, Known], admitted: Promise) -> Known:
    if layer.kind in LINEAR:
        bias = own.get("bias", Known(np.zeros(1), np.zeros(1)))
        summed = _products(lambda a, b: _apply(layer, a, b), x, own["kernel"], admitted, np.abs(bias.value))
        if "bias" not in own:
            return summed
        value = summed.value + bias.value
        return Known(value, _stored(value, summed.error + _rounded(bias, admitted), admitted))
    if layer.kind == "relu":
        return Known(np.maximum(x.value, 0.0), x.error)
    if layer.kind == "flatten":
        return Known(x.value.reshape(len(x.value), -1), x.error.reshape(len(x.value), -1))
    if layer.kind == "max_pool2d":
        windows, errors = _tiles(x.value, layer.size), _tiles(x.error, layer.size)
        return Known(windows.max(axis=-1), errors.max(axis=-1))
    if layer.kind == "sigmoid":
        value = 1.0 / (1.0 + np.exp(-x.value))
        return Known(value, x.error / 4.0 + SIGMOID_ULPS * admitted.elementwise * value + admitted.tiny)
    raise UsageError(f"no bound of a mode is known for layer kind `{layer.kind}` (layer `{layer.name}`)")


def _to_weights(
    layer: LayerSpec, x: Known, upstream: Known, own: Mapping[str, Known], admitted: Promise
) -> list[tuple[str, Doubles]]:
    def kernel(a: Doubles, g: Doubles) -> Doubles:
        if layer.kind == "dense":
            return np.asarray(a.T @ g)
        moved = np.tensordot(_windows(a, *layer.kernel), g, axes=((0, 1, 2), (0, 1, 2)))  # (c, kh, kw, o)
        return np.moveaxis(moved, 0, 2)

    def total(g: Doubles, one: Doubles) -> Doubles:
        return np.asarray((g * one).reshape(-1, g.shape[-1]).sum(axis=0))

    found = [("kernel", _products(kernel, x, upstream, admitted).error)]
    if "bias" in own:
        found.append(("bias", _products(total, upstream, _given(np.ones(1)), admitted).error))
    return found


def _backward(
    layer: LayerSpec, x: Known, y: Known, upstream: Known, own: Mapping[str, Known], admitted: Promise
) -> Known:
    if layer.kind in LINEAR:
        return _products(lambda g, w: _transposed(layer, g, w), upstream, own["kernel"], admitted)
    if layer.kind == "relu":
        return _switched(x.value > 0.0, np.abs(x.value) <= x.error, upstream)
    if layer.kind == "flatten":
        return Known(upstream.value.reshape(x.value.shape), upstream.error.reshape(x.value.shape))
    if layer.kind == "max_pool2d":
        return _unpooled(layer.size, x, upstream)
    # The logistic function: y(1 - y), three operations with room for a fourth.
    slope, slope_error = y.value * (1.0 - y.value), y.error + y.error**2
    value, size = upstream.value * slope, np.abs(upstream.value) + upstream.error
    lost = upstream.error * slope + size * (slope_error + 4.0 * admitted.elementwise * (slope + slope_error))
    return Known(value, np.asarray(lost + 4.0 * admitted.tiny))


def _switched(on: Array, uncertain: Array, upstream: Known) -> Known:
    """Return what passes a switch: where rounding may throw it the other way, all of the gradient is at stake."""
    error = np.where(on, upstream.error, 0.0)
    at_stake = np.abs(upstream.value) + upstream.error
    return Known(np.where(on, upstream.value, 0.0), np.where(uncertain, at_stake, error))


def _unpooled(size: int, x: Known, upstream: Known) -> Known:
    windows, errors = _tiles(x.value, size), _tiles(x.error, size)
    chosen = np.arange(size * size) == windows.argmax(axis=-1)[..., None]
    possible = windows + errors >= (windows - errors).max(axis=-1, keepdims=True)
    uncertain = possible & (possible.sum(axis=-1, keepdims=True) > 1)
    spread = Known(upstream.value[..., None], upstream.error[..., None])
    routed = _switched(chosen, uncertain, spread)
    value, error = np.zeros(x.value.shape), np.zeros(x.value.shape)
    for target, source in ((value, routed.value), (error, routed.error)):
        n, rows, columns, channels = source.shape[:4]
        tiles = source.reshape(n, rows, columns, channels, size, size).transpose(0, 1, 4, 2, 5, 3)
        target[:, : rows * size, : columns * size] = tiles.reshape(n, rows * size, columns * size, channels)
    return Known(value, error)


def _apply(layer: LayerSpec, x: Doubles, kernel: Doubles) -> Doubles:
    if layer.kind == "dense":
        return np.asarray(x @ kernel)
    return np.tensordot(_windows(x, *layer.kernel), kernel, axes=((4, 5, 3), (0, 1, 2)))


def _transposed(layer: LayerSpec, upstream: Doubles, kernel: Doubles) -> Doubles:
    if layer.kind == "dense":
        return np.asarray(upstream @ kernel.T)
    height, width = layer.kernel
    padded = np.pad(upstream, ((0, 0), (height - 1, height - 1), (width - 1, width - 1), (0, 0)))
    return np.tensordot(_windows(padded, height, width), kernel[::-1, ::-1], axes=((4, 5, 3), (0, 1, 3)))


def _windows(x: Doubles, height: int, width: int) -> Doubles:
    return sliding_window_view(x, (height, width), axis=(1, 2))  # (n, oh, ow, c, kh, kw)


def _tiles(x: Doubles, size: int) -> Doubles:
    windows = _windows(x, size, size)[:, ::size, ::size]
    return windows.reshape(*windows.shape[:4], size * size)


def _own(weights: Mapping[str, Any], layer: str) -> dict[str, Any]:
    return {name.partition("/")[2]: found for name, found in weights.items() if name.partition("/")[0] == layer}


@dataclass(frozen=True)
class Case:
    """One probe: weights, and by layer and `model` the input and the output's gradient, in TensorFlow's order."""

    probe: str
    weights: Mapping[str, Array]
    inputs: Mapping[str, Array]
    upstream: Mapping[str, Array]


def make_cases(spec: ModelSpec, batch: int = 3, seed: int = 0) -> list[Case]:
    """Return the probes of a mode, float32.

    `dense` numbers cancel in long sums; `sparse` ones leave so few products that a rounded operand stands out;
    `exact` ones have so few digits that no precision rounds an operand, and only sums and results are left to judge;
    `sparse-weights` keep the error that runs through the whole network small enough to be bounded sharply.
    """
    names = linear_layers(spec)
    rng = np.random.default_rng(seed)
    weights, image = probe_weights(spec, seed), noise_probe(spec, batch, seed)
    shapes = {step.layer.name: step for step in spec.shapes()}
    dense = {name: rng.standard_normal((batch, *shapes[name].input_shape)).astype(np.float32) for name in names}
    sparse = {name: array for name, array in sparse_inputs(spec, batch, seed).items() if name in names}
    outputs = {**{name: shapes[name].output_shape for name in names}, WHOLE: spec.shapes()[-1].output_shape}
    upstream = {name: _signed(rng, (batch, *shape)) for name, shape in outputs.items()}
    thin = {**{name: _thin(rng, upstream[name]) for name in names}, WHOLE: upstream[WHOLE]}
    short = {name: _few_digits(array) for name, array in {**dense, WHOLE: image}.items()}
    return [
        Case("dense", weights, {**dense, WHOLE: image}, upstream),
        Case("sparse", weights, {**sparse, WHOLE: image}, thin),
        Case("exact", {name: _few_digits(array) for name, array in weights.items()}, short, upstream),
        Case("sparse-weights", _thinned(rng, weights), {**dense, WHOLE: image}, upstream),
    ]


def linear_layers(spec: ModelSpec) -> list[str]:
    """Return the layers that sum products: the only ones where precision can be lost unseen."""
    return [layer.name for layer in spec.layers if layer.kind in LINEAR]


def _thin(rng: np.random.Generator, array: Array) -> Array:
    """Return a tenth of the array's numbers, and at least one of each image."""
    kept = rng.random(array.shape) < 0.1
    kept.reshape(len(array), -1)[:, 0] |= ~kept.any(axis=tuple(range(1, array.ndim)))
    return np.where(kept, array, np.float32(0.0))


def _thinned(rng: np.random.Generator, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights with about four numbers left of each sum, made larger so that as much comes out."""
    found = {}
    for name, array in weights.items():
        share = 4.0 / np.prod(array.shape[:-1]) if array.ndim > 1 else 1.0
        found[name] = (array * (rng.random(array.shape) < share) * share**-0.5).astype(np.float32)
    return found


def has_few_digits(values: Array) -> Array:
    """Return where a number is zero or normal with eight significant bits: every precision here holds it exactly."""
    fraction, exponent = np.frexp(np.asarray(values, dtype=np.float64))
    normal = (exponent > _LOW_EXPONENT) & (exponent <= _HIGH_EXPONENT)
    return np.asarray((np.ldexp(fraction, _GRID) % 1.0 == 0.0) & (normal | (fraction == 0.0)))


def _signed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return _few_digits(rng.uniform(0.5, 2.0, shape) * rng.choice([-1.0, 1.0], shape))


def _few_digits(array: Array) -> Array:
    """Return the array with so few significant digits, and none so small, that every precision holds it."""
    fraction, exponent = np.frexp(array.astype(np.float64))
    short = np.ldexp(np.round(np.ldexp(fraction, _GRID)), exponent - _GRID)
    return np.where(has_few_digits(short), short, 0.0).astype(np.float32)


class ModeTrial:
    """Puts the modes of both frameworks to the same probes; `workers` are by the names of `parity.pair.SIDES`."""

    def __init__(self, workers: Mapping[str, Caller], spec: ModelSpec = MODEL, batch: int = 3, seed: int = 0) -> None:
        self.workers, self.spec = workers, spec
        self.layers, self.cases = linear_layers(spec), make_cases(spec, batch, seed)
        self.results: dict[Mode, list[Row]] = {}
        self._twins: dict[str, list[dict[str, Any]]] = {}
        self._bounds: dict[str, list[dict[str, dict[str, Doubles]]]] = {}

    def refusal(self, mode: Mode) -> str | None:
        """Return why a mode cannot run here; None where it can."""
        found = self.workers[mode.framework].call("mode_refusal", mode=mode.name)
        return None if found is None else str(found)

    def run(self, mode: Mode) -> list[Row]:
        """Return one row per layer and tensor of a mode: the probe that used most of its bound.

        `error_in_u` and `bound_in_u` are fractions of max|twin| in units of the mode's own unit roundoff.
        """
        answers = self._ask(mode.framework, mode.framework, mode.name)
        twins = {family: self._twin(family) for family in FRAMEWORKS}
        allowed, allowed64 = self._allowed(mode.says), self._allowed("float64")
        worst: dict[tuple[str, str], Row] = {}
        for index, case in enumerate(self.cases):
            for part, tensors in allowed[index].items():
                found = answers[index][part]
                for tensor, bound in tensors.items():
                    seen = {family: twins[family][index][part][tensor] for family in FRAMEWORKS}
                    verdict = _judged(mode, found[tensor], seen, bound, allowed64[index][part][tensor])
                    row = {**_labels(mode, part, tensor, case.probe, found["dtypes"][tensor]), **verdict}
                    kept = worst.get((part, tensor))
                    worst[part, tensor] = row if kept is None or _badness(row) > _badness(kept) else kept
        self.results[mode] = list(worst.values())
        return self.results[mode]

    def _twin(self, family: str) -> list[dict[str, Any]]:
        if family not in self._twins:
            self._twins[family] = self._ask(f"twin_{family}", family, EAGER)
        return self._twins[family]

    def _allowed(self, says: str) -> list[dict[str, dict[str, Doubles]]]:
        if says not in self._bounds:
            self._bounds[says] = [
                {part: self._part_bounds(case, part, says) for part in (*self.layers, WHOLE)} for case in self.cases
            ]
        return self._bounds[says]

    def _part_bounds(self, case: Case, part: str, says: str) -> dict[str, Doubles]:
        layers = [layer for layer in self.spec.layers if part in (layer.name, WHOLE)]
        found = bounds(layers, case.weights, case.inputs[part], case.upstream[part], says)
        return found if part == WHOLE else {name.rpartition("/")[2]: bound for name, bound in found.items()}

    def _ask(self, side: str, family: str, mode: str) -> list[dict[str, Any]]:
        cases = [self._carried(case) if family == "torch" else vars(case) for case in self.cases]
        keys = ("weights", "inputs", "upstream")
        sent = [{key: dict(case[key]) for key in keys} for case in cases]
        given = self.workers[side].call("mode_run", mode=mode, spec=self.spec.to_dict(), layers=self.layers, cases=sent)
        return [self._returned(answer) for answer in given] if family == "torch" else list(given)

    def _carried(self, case: Case) -> dict[str, Any]:
        return {
            "weights": pairing_weights.to_torch(case.weights, self.spec),
            "inputs": {part: self._to_torch(part, array, out=False) for part, array in case.inputs.items()},
            "upstream": {part: self._to_torch(part, array, out=True) for part, array in case.upstream.items()},
        }

    def _returned(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return torch's answer under Keras's names, in TensorFlow's order; a misfit stays as it is, to be judged."""
        links = {link.torch: link for link in pairing_weights.weight_map(self.spec)}
        moved: dict[str, Any] = {}
        for part, tensors in answer.items():
            moved[part] = {"dtypes": {}}
            for name, array in tensors.items():
                if name == "dtypes":
                    continue
                link = links.get(name if part == WHOLE else f"{part}.{name}")
                label = name
                if link is not None:
                    label = link.tensorflow if part == WHOLE else link.tensorflow.partition("/")[2]
                    kind, sizes = link.weight.layout, dict(link.weight.sizes)
                else:
                    kind, sizes = self._layout(part, out=name == "output")
                try:
                    moved[part][label] = layout.to_tensorflow(array, kind, sizes)
                except PairingError:
                    moved[part][label] = array
                moved[part]["dtypes"][label] = tensors["dtypes"][name]
        return moved

    def _to_torch(self, part: str, array: Array, out: bool) -> Array:
        return layout.to_torch(array, *self._layout(part, out))

    def _layout(self, part: str, out: bool) -> tuple[str, dict[str, int]]:
        step = self._step(part, out)
        named, sizes = (step.output_layout, step.output_sizes) if out else (step.input_layout, step.input_sizes)
        return layout.activation_layout(named), dict(sizes)

    def _step(self, part: str, out: bool) -> LayerShape:
        steps = self.spec.shapes()
        if part == WHOLE:
            return steps[-1 if out else 0]
        return next(step for step in steps if step.layer.name == part)


def not_run(mode: Mode, why: str) -> Row:
    """Return the row of a mode that did not run."""
    return {"framework": mode.framework, "mode": mode.name, "says": mode.says, "not_run": why}


def chosen_modes(profile: str) -> dict[Mode, str | None]:
    """Return every mode, and why a profile leaves it out (None: it does not)."""
    order = ("smoke", "standard", "full")
    reached = order.index(profile)
    return {
        mode: None if order.index(mode.profile) <= reached else f"--profile {mode.profile} runs it" for mode in MODES
    }


def idle(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of half-width modes whose layers came out in another dtype: the mode was not on."""
    halves = [row for row in rows if row["says"] in ("float16", "bfloat16") and row.get("tensor") == "output"]
    return [row for row in halves if row["dtype"] != row["says"]]


def broken(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that say that a mode did not keep its word."""
    return [row for row in rows if "not_run" not in row and row["verdict"] not in PASSING]


def message(row: Row) -> str:
    """Return one readable sentence for a row."""
    if row.get("share") is None:
        return f"{row['framework']} {row['mode']}: {row['layer']} {row['tensor']}: {row['verdict']}. {row['note']}"
    return (
        f"{row['framework']} {row['mode']}: {row['layer']} {row['tensor']} ({row['stage']}, {row['probe']} probe):"
        f" {row['verdict']}. {row['note']} Error {row['error_in_u']:.3g} u, bound {row['bound_in_u']:.3g} u of"
        f" max|twin| (u = {row['unit_roundoff']:.2g}); {row['share']:.2f} of an element's own bound."
    )


def known(row: Row, breaches: Sequence[Breach]) -> Breach | None:
    """Return the entry of a table of known breaches that a row shows."""
    key = (row["framework"], row["mode"], row.get("layer"), row.get("tensor"))
    return next((b for b in breaches if (b.framework, b.mode, b.layer, b.tensor) == key), None)


def measured_here(breach: Breach, environment: Mapping[str, Any]) -> bool:
    """Return whether a worker's `environment` and this processor are such as a breach was measured on."""
    versions = {name: str(version).partition("+")[0] for name, version in environment["versions"].items()}
    flags = cpu_flags()
    return (
        environment["device"] == "cpu"
        and all(versions.get(name) == version for name, version in breach.packages)
        and set(breach.cpu_with) <= flags
        and not set(breach.cpu_without) & flags
    )


def cpu_flags() -> frozenset[str]:
    """Return what this processor says it can do; empty where the system does not tell. Source: proc(5), cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(found.partition(":")[2].split())


def _labels(mode: Mode, part: str, tensor: str, probe: str, dtype: str) -> Row:
    return {
        "framework": mode.framework,
        "mode": mode.name,
        "says": mode.says,
        "unit_roundoff": unit_roundoff(mode.says),
        "layer": part,
        "tensor": tensor,
        "stage": "forward" if tensor == "output" else "gradient",
        "probe": probe,
        "dtype": dtype,
    }


def _judged(mode: Mode, found: Array, twins: Mapping[str, Array], allowed: Doubles, allowed64: Doubles) -> Row:
    own = twins[mode.framework].astype(np.float64)
    shapes = {"mode": found.shape, **{f"{name}'s twin": twin.shape for name, twin in twins.items()}}
    if {tuple(shape) for shape in shapes.values()} != {tuple(allowed.shape)}:
        listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        return _unmeasured(SEMANTIC, f"The shapes differ: {listed}; expected {tuple(allowed.shape)}.")
    if not all(np.isfinite(array).all() for array in (found, *twins.values())):
        count = int(np.count_nonzero(~np.isfinite(found)))
        return _unmeasured(NOT_COMPARED, f"Not finite: {count} of {found.size} values; {mode.says} may overflow.")
    twin_gap = np.abs(twins["tensorflow"].astype(np.float64) - twins["torch"])
    if bool((twin_gap > 2.0 * allowed64).any()):
        return _unmeasured(
            SEMANTIC, "Two different functions: the float64 twins differ by more than rounding explains."
        )
    if not np.isfinite(allowed).all():
        return _unmeasured(NOT_COMPARED, f"The reduction is so long that {mode.says} promises nothing.")
    error = np.abs(found.astype(np.float64) - own)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(error == 0.0, 0.0, error / allowed)
    share, unit = float(shares.max()), unit_roundoff(mode.says) * (float(np.abs(own).max()) or 1.0)
    kept = share <= 1.0
    return {
        "error_in_u": float(error.max()) / unit,
        "bound_in_u": float(allowed.max()) / unit,
        "share": share,
        "verdict": ROUNDING if kept else PRECISION,
        "note": "" if kept else f"{mode.framework} computes in less precision than {_word(mode.says)}.",
    }


def _word(says: str) -> str:
    return says if says in ("float32", "float64") else f"{says} with float32 sums"


def _unmeasured(verdict: str, note: str) -> Row:
    return {"error_in_u": None, "bound_in_u": None, "share": None, "verdict": verdict, "note": note}


def _badness(row: Row) -> tuple[int, float]:
    order = {ROUNDING: 0, PRECISION: 1, NOT_COMPARED: 2, SEMANTIC: 3}
    return order[row["verdict"]], row["share"] or 0.0
