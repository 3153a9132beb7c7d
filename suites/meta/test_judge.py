"""The verdict's rule: known answers of the bounds, what may and what must leave them, and every verdict by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.errors import UsageError
from parity.judge.bound import (
    UNIT_ROUNDOFF,
    Doubles,
    _apply,
    gamma,
    growth,
    layer_bound,
    probable_gamma,
    propagated_bound,
    unit_roundoff,
)
from parity.judge.compare import VANISHING, Quartet, judge, missing
from parity.judge.verdict import (
    IDENTICAL,
    NOT_COMPARED,
    PASSING,
    PRECISION,
    ROUNDING,
    SEMANTIC,
    VERDICTS,
    Finding,
    overall,
)
from parity.model.layout import Array
from parity.model.spec import LayerSpec

U32, U64 = 2.0**-24, 2.0**-53
DENSE = LayerSpec("dense1", "dense", 4)
CONV = LayerSpec("conv1", "conv2d", 4, (2, 3))

# Magnitudes far from where float32 underflows: the bounds are about rounding, not about the end of the range.
FLOATS = st.one_of(
    st.just(0.0),
    *(st.floats(low, high, width=32) for low, high in ((-(2.0**20), -(2.0**-20)), (2.0**-20, 2.0**20))),
)


def floats32(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    return hnp.arrays(np.float32, shape, elements=FLOATS)


# Known answers.


def test_unit_roundoff_is_half_an_ulp_of_one() -> None:
    assert unit_roundoff("float32") == np.finfo(np.float32).eps / 2
    assert unit_roundoff("float64") == np.finfo(np.float64).eps / 2
    assert unit_roundoff("float16") == np.finfo(np.float16).eps / 2
    assert [UNIT_ROUNDOFF[name] for name in ("tf32", "bfloat16")] == [2.0**-11, 2.0**-8]
    with pytest.raises(UsageError, match="unknown precision `float8`; known: float64, float32, "):
        unit_roundoff("float8")


@pytest.mark.parametrize("terms", [0, 1, 10, 87_617, 2**23])
def test_gamma_is_the_exact_quotient(terms: int) -> None:
    product_ = Fraction(terms) * Fraction(1, 2**24)
    assert float(gamma(terms, U32)) == pytest.approx(float(product_ / (1 - product_)), rel=1e-15)


def test_gamma_promises_nothing_where_it_has_no_meaning() -> None:
    np.testing.assert_array_equal(gamma(np.array([2.0**24 - 1, 2.0**24, 2.0**40]), U32), [2.0**24 - 1, np.inf, np.inf])


@pytest.mark.parametrize("terms", [1, 100, 87_617])
def test_probable_gamma_against_fifty_digits(terms: int) -> None:
    with localcontext() as context:
        context.prec = 50
        u = Decimal(2) ** -53
        exact = (9 * Decimal(terms).sqrt() * u + terms * u * u / (1 - u)).exp() - 1
    assert float(probable_gamma(terms, U64)) == pytest.approx(float(exact), rel=1e-14)


def test_growth_is_certain_in_float32_and_the_smaller_of_both_in_float64() -> None:
    terms = np.array([1.0, 80.0, 82.0, 87_617.0])  # the probable bound is the smaller one from n = 9^2 on
    np.testing.assert_array_equal(growth(terms, U32), gamma(terms, U32))
    np.testing.assert_array_equal(growth(terms, U64)[:2], gamma(terms[:2], U64))
    np.testing.assert_array_equal(growth(terms, U64)[2:], probable_gamma(terms[2:], U64))
    assert growth(terms, U64)[3] < gamma(terms[3], U64) / 30


# The bound of a layer against loops over fractions.


def fractions_of(array: Array) -> Mapping[tuple[int, ...], Fraction]:
    return {index: Fraction(float(array[index])) for index in np.ndindex(array.shape)}


def by_hand(products: list[tuple[Fraction, Fraction, Fraction]], bias: Fraction, u: Fraction) -> float:
    """Return |W|·e + gamma_{n+1}·(|W|(|x| + e) + |b|) over (weight, value, error of the value)."""
    carried = sum((abs(w) * e for w, _, e in products), Fraction(0))
    size = sum((abs(w) * (abs(x) + e) for w, x, e in products), Fraction(0)) + abs(bias)
    n = sum(1 for w, x, e in products if w and abs(x) + e) + 1
    return float(carried + n * u / (1 - n * u) * size)


@pytest.mark.parametrize("propagated", [False, True])
def test_dense_bound_by_hand(propagated: bool) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 6)).astype(np.float32)
    x[0, 2] = x[1] = 0.0
    kernel, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (4,)))
    kernel[4] = 0.0
    error = np.abs(rng.standard_normal(x.shape)) * 1e-6 if propagated else np.zeros(x.shape)
    found = propagated_bound(DENSE, x, {"kernel": kernel, "bias": bias}, x @ kernel + bias, error, U32)
    fx, fk, fb, fe = (fractions_of(array) for array in (x, kernel, bias, error))
    for n, o in product(range(2), range(4)):
        products = [(fk[i, o], fx[n, i], fe[n, i]) for i in range(6)]
        assert found[n, o] == pytest.approx(by_hand(products, fb[(o,)], Fraction(1, 2**24)), rel=1e-12)
    if not propagated:
        # Nothing but the bias is added where the input is zero: one rounding at most.
        np.testing.assert_allclose(found[1], gamma(1, U32) * np.abs(bias.astype(np.float64)), rtol=1e-15)


@pytest.mark.parametrize("with_bias", [True, False])
def test_conv_bound_by_hand(with_bias: bool) -> None:
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((2, 4, 5, 3)) * (rng.random((2, 4, 5, 3)) < 0.6)).astype(np.float32)
    weights = {"kernel": rng.standard_normal((2, 3, 3, 4)).astype(np.float32)}
    bias = rng.standard_normal(4).astype(np.float32)
    if with_bias:
        weights["bias"] = bias
    found = layer_bound(CONV, x, weights, np.zeros((2, 3, 3, 4)), U32)
    assert found.shape == (2, 3, 3, 4)
    fx, fk, fb = (fractions_of(array) for array in (x, weights["kernel"], bias if with_bias else 0 * bias))
    for n, i, j, o in np.ndindex(found.shape):
        products = [
            (fk[a, b, c, o], fx[n, i + a, j + b, c], Fraction(0)) for a, b, c in product(range(2), range(3), range(3))
        ]
        assert found[n, i, j, o] == pytest.approx(by_hand(products, fb[(o,)], Fraction(1, 2**24)), rel=1e-12)


def test_a_convolution_on_a_gpu_may_round_all_its_results_together() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
    x[0, :, :3] = 0.0  # windows in which there is nothing to round
    weights = {"kernel": rng.standard_normal((2, 3, 3, 4)).astype(np.float32)}
    alone, fast = (layer_bound(CONV, x, weights, np.zeros((2, 3, 3, 4)), U32, device) for device in ("cpu", "gpu"))
    assert alone.min() == 0.0
    assert (fast == alone.max()).all()
    exact = layer_bound(CONV, x, weights, np.zeros((2, 3, 3, 4)), U64, "gpu")  # the twins are on the CPU
    assert exact.min() == 0.0
    dense, y = {"kernel": weights["kernel"].reshape(18, 4)}, np.ones((2, 18), np.float32) * [[0.0], [1.0]]
    assert layer_bound(DENSE, y, dense, np.zeros((2, 4)), U32, "gpu").min() == 0.0


def test_tf32_in_a_convolution_on_a_gpu_is_seen_all_the_same() -> None:
    rng = np.random.default_rng(7)
    x, kernel = rng.standard_normal((2, 8, 8, 1)), rng.standard_normal((2, 3, 1, 4))
    x, kernel = x.astype(np.float32), kernel.astype(np.float32)

    def chopped(array: Array) -> Array:
        return (array.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    def convolved(a: Array, b: Array) -> Doubles:
        return _apply(CONV, a.astype(np.float64), b.astype(np.float64))

    exact = convolved(x, kernel)
    bounds = [layer_bound(CONV, x, {"kernel": kernel}, exact, u, "gpu") for u in (U32, U64)]
    low = Quartet(convolved(chopped(x), chopped(kernel)).astype(np.float32), exact.astype(np.float32), exact, exact)
    found = judge("conv", "conv2d", low, *bounds)
    assert (found.verdict, found.side) == (PRECISION, "tensorflow")


def test_layers_that_compute_nothing_carry_the_error_along() -> None:
    rng = np.random.default_rng(5)
    x, error = rng.standard_normal((2, 5, 4, 3)), rng.random((2, 5, 4, 3))
    for layer, output, expected in (
        (LayerSpec("relu1", "relu"), x, error),
        (LayerSpec("flatten", "flatten"), x.reshape(2, 60), error.reshape(2, 60)),
        # The fifth row has no partner, and is left out.
        (
            LayerSpec("pool1", "max_pool2d", 2),
            x[:, :2, :2],
            error[:, :4].reshape(2, 2, 2, 2, 2, 3).max(axis=(2, 4)),
        ),
    ):
        np.testing.assert_array_equal(propagated_bound(layer, x, {}, output, error, U32), expected)
        assert not layer_bound(layer, x, {}, output, U32).any()


def test_sigmoid_bound_by_hand() -> None:
    y = np.array([[0.5], [0.9]])
    found = propagated_bound(LayerSpec("sigmoid", "sigmoid"), y, {}, y, np.array([[1e-3], [0.0]]), U32)
    np.testing.assert_allclose(found, [[2.5e-4 + 8 * U32 * 0.5], [8 * U32 * 0.9]], rtol=1e-14)


def test_an_unknown_kind_has_no_bound() -> None:
    with pytest.raises(UsageError, match="no rounding bound is known for layer kind `gelu` \\(layer `act`\\)"):
        layer_bound(LayerSpec("act", "gelu"), np.zeros((1, 2)), {}, np.zeros((1, 2)), U32)


# What may never leave the bound, and what must.


def summed_in_any_order(terms: Array, rng: np.random.Generator) -> np.float32:
    """Return a float32 sum whose additions are grouped at random: any tree over any permutation."""
    left: list[np.float32] = list(terms.astype(np.float32))
    while len(left) > 1:
        first = left.pop(int(rng.integers(len(left))))
        second = left.pop(int(rng.integers(len(left))))
        left.append(np.float32(first + second))
    return np.float32(left[0])


def exact_dense(x: Array, kernel: Array, bias: Array) -> Doubles:
    """Return x·W + b rounded once: products of two float32 are exact in float64, and `fsum` rounds only its result."""
    x, kernel, bias = (array.astype(np.float64) for array in (x, kernel, bias))
    return np.array([[math.fsum([*(row * column), b]) for column, b in zip(kernel.T, bias, strict=True)] for row in x])


@settings(deadline=None, max_examples=150)
@given(data=st.data(), inputs=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_a_correct_float32_dense_layer_never_leaves_its_bound(data: st.DataObject, inputs: int, seed: int) -> None:
    x, kernel, bias = (data.draw(floats32(shape)) for shape in ((2, inputs), (inputs, 3), (3,)))
    exact, rng = exact_dense(x, kernel, bias), np.random.default_rng(seed)
    bound = layer_bound(DENSE, x, {"kernel": kernel, "bias": bias}, exact, U32)
    for n, o in np.ndindex(exact.shape):
        computed = summed_in_any_order(np.append(x[n] * kernel[:, o], bias[o]), rng)
        assert abs(float(computed) - exact[n, o]) <= bound[n, o] + U64 * abs(exact[n, o])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_a_correct_float32_convolution_never_leaves_its_bound(data: st.DataObject, seed: int) -> None:
    x, kernel, bias = (data.draw(floats32(shape)) for shape in ((1, 3, 4, 2), (2, 3, 2, 2), (2,)))
    rng = np.random.default_rng(seed)
    bound = layer_bound(LayerSpec("c", "conv2d", 2, (2, 3)), x, {"kernel": kernel, "bias": bias}, x, U32)
    assert bound.shape == (1, 2, 2, 2)
    for i, j, o in np.ndindex(2, 2, 2):
        window, taps = x[:, i : i + 2, j : j + 3].reshape(1, -1), kernel[..., o].reshape(-1, 1)
        exact = exact_dense(window, taps, bias[o : o + 1])[0, 0]
        computed = summed_in_any_order(np.append(window[0] * taps[:, 0], bias[o]), rng)
        assert abs(float(computed) - exact) <= bound[0, i, j, o] + U64 * abs(exact)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_two_correct_float32_layers_never_leave_the_propagated_bound(data: st.DataObject, seed: int) -> None:
    x, first, second = (data.draw(floats32(shape)) for shape in ((1, 5), (5, 4), (4, 2)))
    rng, none = np.random.default_rng(seed), np.zeros(4, np.float32)
    hidden = exact_dense(x, first, none)
    error = layer_bound(DENSE, x, {"kernel": first}, hidden, U32) + U64 * np.abs(hidden)
    bound = propagated_bound(DENSE, hidden, {"kernel": second}, hidden, error, U32)
    computed = np.array([summed_in_any_order(x[0] * first[:, h], rng) for h in range(4)])
    for o in range(2):
        exact = math.fsum(float(h) * float(w) for h, w in zip(hidden[0], second[:, o], strict=True))
        # The double arithmetic of this test itself is off by a little as well.
        slack = 16 * U64 * float(np.abs(hidden[0]) @ np.abs(second[:, o].astype(np.float64)))
        assert abs(float(summed_in_any_order(computed * second[:, o], rng)) - exact) <= bound[0, o] + slack


def rounded_to_bfloat16(array: Array) -> Array:
    """Round float32 to the nearest bfloat16, ties to even, and return it as float32."""
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def test_rounding_to_bfloat16_known_answers() -> None:
    given_ = np.array([1.0, 1.0 + 2.0**-9, 1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8, -1.7], np.float32)
    expected = np.array([1.0, 1.0, 1.0, 1.0 + 2.0**-6, -1.703125], np.float32)
    np.testing.assert_array_equal(rounded_to_bfloat16(given_), expected)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), nonzero=st.integers(1, 4), inputs=st.sampled_from([8, 360, 20_000]))
def test_bfloat16_operands_leave_the_bound_on_sparse_inputs(seed: int, nonzero: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.zeros((3, inputs), np.float32)
    for row in x:
        row[rng.choice(inputs, nonzero, replace=False)] = rng.uniform(0.5, 2.0, nonzero)
    kernel, bias = rng.standard_normal((inputs, 4)).astype(np.float32), np.zeros(4, np.float32)
    exact = x.astype(np.float64) @ kernel.astype(np.float64)
    low = rounded_to_bfloat16(x) @ rounded_to_bfloat16(kernel)
    bound = layer_bound(DENSE, x, {"kernel": kernel, "bias": bias}, exact, U32)
    assert (np.abs(low - exact) > bound).any()
    finding = judge("dense1", "dense", Quartet(x @ kernel, low, exact, exact), bound, 1e-12 * bound)
    assert (finding.verdict, finding.side) == (PRECISION, "torch")


# The verdicts, by hand.

TWIN = np.array([[1.0, -4.0], [0.5, 2.0]])


def four(torch: Array | None = None, *, tensorflow: Array | None = None, twin_torch: Array | None = None) -> Quartet:
    """Return four equal arrays, but for those that are given."""
    return Quartet(
        TWIN.astype(np.float32) if tensorflow is None else tensorflow,
        TWIN.astype(np.float32) if torch is None else torch,
        TWIN,
        TWIN if twin_torch is None else twin_torch,
    )


def nudged(array: Array, where: tuple[int, ...], by: float) -> Array:
    changed = np.array(array)
    changed[where] += by
    return changed


def verdict_on(quartet: Quartet, bound32: float = 1e-5, bound64: float = 1e-14) -> Finding:
    return judge("conv1", "conv2d", quartet, np.asarray(bound32), np.asarray(bound64))


def test_identical() -> None:
    finding = verdict_on(four())
    assert (finding.verdict, finding.note, finding.passed) == (IDENTICAL, "Bit for bit.", True)
    assert (finding.d32, finding.d64, finding.mismatched, finding.where) == (0.0, 0.0, 0, None)
    assert (finding.scale, finding.elements, finding.shape, finding.closer) == (4.0, 4, (2, 2), "tie")


def test_rounding_and_its_figures() -> None:
    finding = verdict_on(four(nudged(TWIN.astype(np.float32), (1, 0), 2.0**-20)))
    assert (finding.verdict, finding.passed, finding.side) == (ROUNDING, True, None)
    assert finding.error_torch == finding.d32 == 2.0**-22  # fractions of max|twin| = 4
    assert finding.error_tensorflow == 0.0
    assert finding.bound == pytest.approx(1e-5 / 4)
    assert finding.share == finding.share_torch == pytest.approx(2.0**-20 / 1e-5)
    assert (finding.closer, finding.mismatched, finding.where) == ("tensorflow", 1, (1, 0))


def test_equal_values_of_other_dtypes_are_not_bit_for_bit() -> None:
    assert verdict_on(four(TWIN)).verdict == ROUNDING


@pytest.mark.parametrize("side", ["tensorflow", "torch"])
def test_precision_names_the_side(side: str) -> None:
    off = nudged(TWIN.astype(np.float32), (0, 1), 1e-3)
    finding = verdict_on(four(**{side: off}))
    assert (finding.verdict, finding.side, finding.passed) == (PRECISION, side, False)
    assert finding.note == f"{side} computes in less precision than float32."
    assert finding.where == (0, 1)
    assert finding.share == pytest.approx(100.0, rel=1e-2)


def test_precision_of_both_sides_names_both_and_the_further_one() -> None:
    near, far = (nudged(TWIN.astype(np.float32), (0, 0), by) for by in (1e-3, 1e-2))
    finding = verdict_on(four(near, tensorflow=far))
    assert (finding.verdict, finding.side) == (PRECISION, "tensorflow")
    assert finding.note == "tensorflow and torch compute in less precision than float32."


def test_the_bound_is_per_element() -> None:
    quartet = four(nudged(TWIN.astype(np.float32), (1, 0), 1e-4))
    bound = np.array([[1e-2, 1e-2], [1e-5, 1e-2]])
    assert judge("t", "dense", quartet, bound, np.zeros(1)).verdict == PRECISION
    assert judge("t", "dense", quartet, bound[::-1], np.zeros(1)).verdict == ROUNDING


def test_semantic_is_what_the_twins_say() -> None:
    finding = verdict_on(four(twin_torch=nudged(TWIN, (1, 1), 1e-10)))
    assert (finding.verdict, finding.passed) == (SEMANTIC, False)
    assert finding.note == "Two different functions: the float64 twins differ by more than rounding explains."
    assert finding.d64 == pytest.approx(1e-10 / 4, rel=1e-5)
    assert finding.d32 == 0.0  # float32 alone would not have seen it


def test_each_twin_may_be_off_by_the_float64_bound() -> None:
    inside, outside = (four(twin_torch=nudged(TWIN, (0, 0), by)) for by in (1.9e-12, 2.1e-12))
    assert verdict_on(inside, bound64=1e-12).verdict == IDENTICAL
    assert verdict_on(outside, bound64=1e-12).verdict == SEMANTIC


def test_other_shapes_are_semantic_and_all_are_named() -> None:
    finding = verdict_on(four(np.zeros((1, 4), np.float32)))
    assert finding.verdict == SEMANTIC
    assert finding.note == (
        "The shapes differ: tensorflow (2, 2), torch (1, 4), tensorflow's twin (2, 2), torch's twin (2, 2)."
    )


def test_shapes_that_would_broadcast_are_still_other_shapes() -> None:
    one = np.ones((1, 2), np.float32)
    assert verdict_on(Quartet(np.ones((2, 2), np.float32), one, np.ones((2, 2)), one.astype(float))).verdict == SEMANTIC


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_on_one_side_is_semantic(bad: float) -> None:
    broken = np.array(TWIN)
    broken[1, 0] = bad
    finding = verdict_on(four(broken.astype(np.float32), twin_torch=broken))
    assert (finding.verdict, finding.where, finding.mismatched) == (SEMANTIC, (1, 0), 1)
    assert "of 4 values: tensorflow 0, torch 1, tensorflow's twin 0, torch's twin 1), first at index" in finding.note
    # In one of the four alone, too.
    assert verdict_on(four(broken.astype(np.float32))).verdict == SEMANTIC
    assert verdict_on(four(twin_torch=broken)).verdict == SEMANTIC


def everywhere(value: float, twice: bool = False) -> Quartet:
    array = np.array(TWIN)
    array[(slice(None), 1) if twice else (0, 1)] = value
    return Quartet(array.astype(np.float32), array.astype(np.float32), array, array)


def test_the_same_nan_everywhere_is_no_agreement() -> None:
    finding = verdict_on(everywhere(np.nan))
    assert (finding.verdict, finding.passed, finding.mismatched) == (NOT_COMPARED, False, 1)


def test_the_same_infinity_everywhere_does_not_hide_the_rest() -> None:
    assert verdict_on(everywhere(np.inf)).verdict == IDENTICAL
    quartet = everywhere(-np.inf)
    off = Quartet(quartet.tensorflow, nudged(quartet.torch, (1, 1), 1e-3), quartet.twin_tensorflow, quartet.twin_torch)
    finding = verdict_on(off)
    assert (finding.verdict, finding.where, finding.scale) == (PRECISION, (1, 1), 2.0)
    assert verdict_on(everywhere(np.inf, twice=True)).mismatched == 0


def test_infinities_of_other_signs_or_places_are_semantic() -> None:
    plus, minus = everywhere(np.inf), everywhere(-np.inf)
    assert verdict_on(Quartet(plus.tensorflow, minus.torch, plus.twin_tensorflow, minus.twin_torch)).verdict == SEMANTIC
    moved = plus.tensorflow[::-1]
    assert verdict_on(Quartet(plus.tensorflow, moved, plus.twin_tensorflow, moved.astype(float))).verdict == SEMANTIC


def test_nothing_but_infinities_is_not_compared() -> None:
    array = np.full((2, 2), np.inf)
    single = array.astype(np.float32)
    assert verdict_on(Quartet(single, single, array, array)).verdict == NOT_COMPARED


def test_an_empty_tensor_is_not_compared() -> None:
    nothing = np.zeros((0, 3), np.float32)
    finding = verdict_on(Quartet(nothing, nothing, nothing.astype(float), nothing.astype(float)))
    assert (finding.verdict, finding.passed) == (NOT_COMPARED, False)


def test_all_zero_tensors_have_a_scale() -> None:
    zero = np.zeros((2, 2))
    single = zero.astype(np.float32)
    finding = verdict_on(Quartet(single, single, zero, zero), 0.0, 0.0)
    assert (finding.verdict, finding.scale, finding.share) == (IDENTICAL, 1.0, 0.0)
    off = verdict_on(Quartet(single, nudged(single, (0, 0), 1e-30), zero, zero), 0.0, 0.0)
    assert (off.verdict, off.side) == (PRECISION, "torch")


def test_a_layer_that_computes_nothing_may_not_change_a_bit() -> None:
    assert verdict_on(four(), 0.0, 0.0).verdict == IDENTICAL
    off = four(np.nextafter(TWIN.astype(np.float32), np.float32(9)))
    assert verdict_on(off, 0.0, 0.0).verdict == PRECISION
    twins = four(twin_torch=np.nextafter(TWIN, 9.0))
    assert verdict_on(twins, 0.0, 0.0).verdict == SEMANTIC


def test_where_float32_promises_nothing_nothing_is_said() -> None:
    finding = verdict_on(four(), bound32=np.inf)
    assert (finding.verdict, finding.passed) == (NOT_COMPARED, False)
    assert finding.note == "The reduction is so long that float32 promises nothing."
    assert verdict_on(four(), bound32=np.nan).verdict == NOT_COMPARED
    beside = verdict_on(everywhere(np.inf), bound32=np.inf)
    assert (beside.verdict, beside.note.partition(" ")[0]) == (NOT_COMPARED, "Infinite")
    # The twins speak first: a difference of meaning needs no float32 bound.
    assert verdict_on(four(twin_torch=-TWIN), bound32=np.inf).verdict == SEMANTIC


def test_a_missing_layer_is_not_compared() -> None:
    finding = missing("relu2", "relu", "torch")
    assert (finding.verdict, finding.side, finding.passed) == (NOT_COMPARED, "torch", False)
    assert finding.message() == "`relu2` (relu, shape ()): not-compared. torch has no layer of this name."


@settings(deadline=None, max_examples=100)
@given(
    values=hnp.arrays(np.float64, (4, 2, 3), elements=st.floats(allow_nan=True, allow_infinity=True, width=16)),
    bound=st.floats(0.0, 1.0),
)
def test_a_pass_always_means_finite_agreement(values: Array, bound: float) -> None:
    a, b = values[:2].astype(np.float32)
    finding = verdict_on(Quartet(a, b, values[2], values[3]), bound, bound * 1e-9)
    assert finding.verdict in VERDICTS
    assert finding.passed == (finding.verdict in PASSING)
    if finding.passed:
        assert not np.isnan(values).any()
        finite = np.isfinite(values).all(axis=0)
        assert finite.any()
        for single, twin in ((a, values[2]), (b, values[3])):
            assert (np.abs(single[finite] - twin[finite]) <= bound).all()
        assert (np.abs(values[2][finite] - values[3][finite]) <= 2e-9 * bound).all()


# Sums of findings, and messages.


def finding_of(verdict: str) -> Finding:
    return Finding("t", "dense", verdict, "")


def test_overall_is_the_worst() -> None:
    from_best = [IDENTICAL, ROUNDING, PRECISION, NOT_COMPARED, SEMANTIC]
    for i, j in product(range(5), range(5)):
        assert overall([finding_of(from_best[i]), finding_of(from_best[j])]) == from_best[max(i, j)]
    assert overall([]) == NOT_COMPARED
    assert frozenset({IDENTICAL, ROUNDING}) == PASSING
    assert set(from_best) == set(VERDICTS)


def test_the_message_says_what_where_how_much_and_how_much_was_allowed() -> None:
    finding = verdict_on(four(nudged(TWIN.astype(np.float32), (0, 1), 2.0**-7)))
    assert finding.message() == (
        "`conv1` (conv2d, shape (2, 2)): precision. torch computes in less precision than float32.\n"
        "  float32 values that differ: 1 / 4 (25.0 %), worst at index (0, 1)\n"
        "  twins differ by 0.00e+00 of max|twin| (rounding explains 5.0e-15)\n"
        "  error against the twin: tensorflow 0.00e+00, torch 1.95e-03 (largest bound of an element 2.50e-06;"
        " the worst element uses 781 times its own)"
    )


@pytest.mark.parametrize(
    ("share", "said"),
    [(None, "an unknown share of"), (0.389, "38.9 % of"), (3.46, "346 % of"), (781.0, "781 times"),
     (4.09e25, "more than 1,000,000 times")],
)  # fmt: skip
def test_the_share_of_the_bound_is_said_in_words_that_can_be_read(share: float | None, said: str) -> None:
    finding = Finding(
        "t", "conv", SEMANTIC, "", error_tensorflow=0.0, error_torch=0.0, bound=1e-6, share_tensorflow=share
    )
    assert finding.message().endswith(f"; the worst element uses {said} its own)")


def test_the_share_is_the_larger_one_and_may_be_absent() -> None:
    assert finding_of(ROUNDING).share is None
    assert Finding("t", "dense", ROUNDING, "", share_tensorflow=0.2, share_torch=0.1).share == 0.2


def test_a_bound_too_small_for_a_share_is_no_crash() -> None:
    ones, wide, subnormal = np.ones((2, 2)), np.array(1.0), np.array(5e-324)
    off = ones.astype(np.float32)
    off[0, 0] = 2.0
    finding = judge("layer", "dense", Quartet(off, ones.astype(np.float32), ones, ones), subnormal, wide)
    assert (finding.verdict, finding.side) == ("precision", "tensorflow")
    assert finding.share is not None
    assert 1e30 < finding.share < np.inf


def test_a_subnormal_number_that_is_flushed_to_zero_is_no_lack_of_precision() -> None:
    twin = np.array([1.0, -3.6e-41])
    exact, flushed = twin.astype(np.float32), np.array([1.0, 0.0], np.float32)
    assert judge("sum", "add", Quartet(flushed, exact, twin, twin), 2.0**-24 * np.abs(twin), np.zeros(2)).passed
    twin = np.array([1.0, -3.6e-31])  # no subnormal one, and float32 has it
    exact = twin.astype(np.float32)
    finding = judge("sum", "add", Quartet(flushed, exact, twin, twin), 2.0**-24 * np.abs(twin), np.zeros(2))
    assert (finding.verdict, finding.side) == ("precision", "tensorflow")


def test_twins_of_which_one_flushes_what_is_nearly_subnormal_are_one_function() -> None:
    # silu(-709) is -709 times a sigmoid that is subnormal: zero in TensorFlow, -8.6e-306 in torch.
    kept, flushed = np.array([300.0, -8.6e-306]), np.array([300.0, -0.0])
    single = kept.astype(np.float32)
    bounds = 2.0**-22 * np.abs(kept), 2.0**-50 * np.abs(kept)
    assert judge("silu", "activation", Quartet(single, single, flushed, kept), *bounds).passed
    other = np.array([300.0, -8.6e-296])
    assert judge("silu", "activation", Quartet(single, single, flushed, other), *bounds).verdict == "semantic"


def test_a_loose_bound_does_not_make_a_tensor_zero() -> None:
    # Where a pooling window is undecided the float64 bound is as large as the float32 one: that is no cancellation.
    a, b = np.array([1.0, -0.7, 0.9]), np.array([0.7, -1.0, 0.6])
    quartet = Quartet(a.astype(np.float32), b.astype(np.float32), a, b)
    finding = judge("loose", "dense", quartet, np.full(3, 1.0), np.full(3, 1.0))
    assert finding.note != VANISHING
    assert finding.scale == 1.0
    assert finding.d64 == pytest.approx(0.3)


def test_what_cancels_is_measured_by_what_cancelled() -> None:
    a, b = np.array([3e-17, -2e-17]), np.array([-1e-17, 4e-17])
    quartet = Quartet(np.array([2e-8, 1e-8], np.float32), np.array([-1e-8, 3e-8], np.float32), a, b)
    finding = judge("bias", "weight", quartet, np.full(2, 6e-7), np.full(2, 6e-7 * 2.0**-29))
    assert (finding.verdict, finding.note) == ("rounding", VANISHING)
    assert finding.scale == pytest.approx(6e-7 / 2.0**-24)
    wrong = Quartet(quartet.tensorflow, quartet.torch, a, b + 1e-9)  # a gradient that is not zero after all
    assert judge("bias", "weight", wrong, np.full(2, 6e-7), np.full(2, 6e-7 * 2.0**-29)).verdict == "semantic"


# A tensor is judged part by part: the figures must be those of the whole, wherever the odd element lies.


@pytest.mark.parametrize("place", [0, 8191, 8192, 20_000, 29_999])
@pytest.mark.parametrize("one_number", [False, True])
def test_an_odd_element_is_found_in_whichever_part_it_lies(place: int, one_number: bool) -> None:
    twin = np.random.default_rng(0).uniform(0.5, 1.0, (3, 10_000))
    shown = twin.astype(np.float32)
    other = shown.copy()
    other.flat[place] *= np.float32(1.25)
    bound = np.full(() if one_number else twin.shape, 1e-6)
    found = judge("conv1", "conv2d", Quartet(shown, other, twin, twin), bound, bound * 1e-9)
    assert (found.verdict, found.side, found.mismatched) == (PRECISION, "torch", 1)
    assert found.where == tuple(int(i) for i in np.unravel_index(place, twin.shape))
    assert found.scale == twin.max()
    assert found.error_torch == pytest.approx(np.abs(other - twin).max() / twin.max(), rel=1e-15)
    assert found.share_torch == pytest.approx(np.abs(other - twin).max() / 1e-6, rel=1e-12)


def test_axes_in_another_order_of_memory_are_judged_at_their_own_places() -> None:
    twin = np.random.default_rng(1).uniform(0.5, 1.0, (2, 40, 30, 20))
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(twin, -1, 1)), 1, -1)
    other = moved.copy(order="K")
    other[1, 39, 2, 7] += 1.0
    bound = np.broadcast_to(np.array(1e-12), twin.shape)
    found = judge("conv1", "conv2d", Quartet(twin, other, moved, moved), bound, bound)
    assert found.where == (1, 39, 2, 7)
    assert found.mismatched == 1


def test_complex_numbers_are_judged_in_both_their_parts() -> None:
    twin = np.exp(1j * np.arange(12.0)).reshape(3, 4)
    shown = twin.astype(np.complex64)
    turned = twin + 1e-3j
    bound = np.full(twin.shape, 1e-6)
    assert judge("fft", "fft", Quartet(shown, shown, twin, twin), bound, bound * 1e-9).verdict == IDENTICAL
    found = judge("fft", "fft", Quartet(shown, shown, twin, turned), bound, bound * 1e-9)
    assert found.verdict == SEMANTIC
    assert found.d64 == pytest.approx(1e-3, rel=1e-3)
