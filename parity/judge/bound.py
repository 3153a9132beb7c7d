"""A-priori bounds on rounding, element by element, derived from the layer's own weights and input.

All arrays are in TensorFlow's order. A bound is an absolute quantity with the shape of the layer's output: no correct
computation in the stated precision, in whatever order it sums, can be further from the exact value.

Source: Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1 (gamma_n, inner products in any
order of summation).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from parity.errors import UsageError
from parity.model.layout import Array
from parity.model.spec import LayerSpec

Doubles = NDArray[np.float64]

UNIT_ROUNDOFF: Mapping[str, float] = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "tf32": 2.0**-11,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Half the distance from 1 to the next number; IEEE 754, and NVIDIA's A100 white paper for TF32."""

FLUSHED = 2.0**-116
"""Below this float32 promises nothing: TensorFlow computes with subnormal numbers, those below 2**-126, as with zero,
and what is lost so may have been multiplied since, or be one of many terms."""

FLUSHED64 = 2.0**-1012
"""The same for float64, whose subnormal numbers lie below 2**-1022: the sigmoid of -709 is one."""

PROBABLE_LAMBDA = 9.0

SIGMOID_ULPS = 8.0
"""Relative budget of 1/(1+exp(-x)), in units of u: exp to 4u (Eigen and SLEEF state at most 2 ulp), amplified by
at most 1 in the quotient, one rounding each for the sum and the division, and room for kernels that use tanh."""


def unit_roundoff(precision: str) -> float:
    """Return u of a named precision."""
    if precision not in UNIT_ROUNDOFF:
        raise UsageError(f"unknown precision `{precision}`; known: {', '.join(UNIT_ROUNDOFF)}")
    return UNIT_ROUNDOFF[precision]


def gamma(terms: Array | float, roundoff: float) -> Doubles:
    """Return gamma_n = n*u / (1 - n*u); infinite where n*u reaches 1, since nothing can be promised there."""
    product = np.asarray(terms, dtype=np.float64) * roundoff
    return np.where(product < 1.0, product / np.where(product < 1.0, 1.0 - product, 1.0), np.inf)


def probable_gamma(terms: Array | float, roundoff: float) -> Doubles:
    """Return the bound that rounding errors of random sign keep with near certainty: it grows with sqrt(n), not n.

    With lambda = 9, a sum of n = 100,000 terms breaks it with probability below 2n*exp(-40) = 1e-12.
    Source: Higham & Mary, *A New Approach to Probabilistic Rounding Error Analysis*, SIAM J. Sci. Comput. 2019.
    """
    n = np.asarray(terms, dtype=np.float64)
    return np.asarray(np.expm1(PROBABLE_LAMBDA * np.sqrt(n) * roundoff + n * roundoff**2 / (1.0 - roundoff)))


def growth(terms: Array | float, roundoff: float) -> Doubles:
    """Return the factor by which a sum of `terms` products may be off.

    For float32 the certain gamma_n: a framework accused of computing in less precision must really have done so. For
    float64 the smaller of the certain and the probable one: the twins are a ruler, and a blunt ruler is blind to
    small differences of meaning, such as another epsilon.
    """
    certain = gamma(terms, roundoff)
    return np.minimum(certain, probable_gamma(terms, roundoff)) if roundoff <= UNIT_ROUNDOFF["float64"] else certain


def layer_bound(
    layer: LayerSpec, x: Array, weights: Mapping[str, Array], output: Array, roundoff: float, device: str = "cpu"
) -> Doubles:
    """Return how far a correct computation of one layer may be from the exact `output`, per element.

    `x` is the layer's exact input (both sides got it, so it carries no error) and `output` the twin's result; `device`
    is the one whose kernels are judged.
    """
    return propagated_bound(layer, x, weights, output, np.zeros(1), roundoff, device)


def propagated_bound(
    layer: LayerSpec,
    x: Array,
    weights: Mapping[str, Array],
    output: Array,
    input_bound: Array,
    roundoff: float,
    device: str = "cpu",
) -> Doubles:
    """Return the layer's bound when its input may already be off by `input_bound` (absolute, per element).

    Running error analysis: |W|·e + gamma_{n+1}·(|W|·(|x| + e) + |b|) for a sum of n products and a bias, e unchanged
    or moved for layers that compute nothing, e/4 and a few roundings for the logistic function. A convolution on a GPU
    has the largest of these for every element: see `together`.
    Source: Higham, section 3.3.
    """
    error = np.broadcast_to(np.asarray(input_bound, dtype=np.float64), x.shape)
    if layer.kind in ("conv2d", "dense"):
        with np.errstate(invalid="ignore", over="ignore"):  # infinity times zero: such a bound promises nothing
            bound = _linear_bound(layer, x, weights, error, roundoff)
        fast = layer.kind == "conv2d" and device == "gpu" and roundoff == UNIT_ROUNDOFF["float32"]
        return together(bound) if fast else bound
    if layer.kind == "relu":
        return np.array(error)
    if layer.kind == "flatten":
        return error.reshape(output.shape)
    if layer.kind == "max_pool2d":
        return np.asarray(_windows(error, layer.size, layer.size, layer.size).max(axis=(-2, -1)))
    if layer.kind == "sigmoid":
        # The derivative of the logistic function is at most 1/4 anywhere.
        return np.asarray(error / 4.0 + SIGMOID_ULPS * roundoff * np.abs(output.astype(np.float64)))
    raise UsageError(f"no rounding bound is known for layer kind `{layer.kind}` (layer `{layer.name}`)")


def together(bound: Doubles) -> Doubles:
    """Return the bound of kernels that compute all results at once: the largest of the elements' own, for each of them.

    A convolution by FFT or Winograd's algorithm rounds sums of what belongs to several results, so its error is bounded
    by the size of the whole, and a result that is exactly zero comes out as what was rounded off its neighbours
    (measured on an H100: 1.1e-11 in a kernel's gradient of 0.067 at most, at a filter whose gradient is zero).

    Source: Higham, section 24.1; Barabasz, Anderson, Soodhalter, Gregg, "Error analysis and improving the accuracy of
    Winograd convolution for deep neural networks", ACM Trans. Math. Softw. 2020.
    """
    return np.full_like(bound, bound.max(initial=0.0))


def _linear_bound(layer: LayerSpec, x: Array, weights: Mapping[str, Array], error: Doubles, roundoff: float) -> Doubles:
    kernel = np.abs(weights["kernel"].astype(np.float64))
    bias = np.abs(weights["bias"].astype(np.float64)) if "bias" in weights else np.zeros(kernel.shape[-1])
    magnitude = np.abs(x.astype(np.float64)) + error
    carried = _apply(layer, error, kernel) if error.any() else 0.0
    # A product with an exact zero is exact and adds nothing: only the others count. This is what makes a sparse
    # input a sharp test of precision even for a reduction over 87,616 numbers.
    terms = _apply(layer, (magnitude != 0).astype(np.float64), (kernel != 0).astype(np.float64)) + 1.0
    return np.asarray(carried + growth(terms, roundoff) * (_apply(layer, magnitude, kernel) + bias))


def _apply(layer: LayerSpec, x: Doubles, kernel: Doubles) -> Doubles:
    if layer.kind == "dense":
        return np.asarray(x @ kernel)
    height, width = layer.kernel
    windows = _windows(x, height, width, 1)  # (n, oh, ow, c, kh, kw)
    return np.asarray(np.tensordot(windows, kernel, axes=((4, 5, 3), (0, 1, 2))))


def _windows(x: Doubles, height: int, width: int, stride: int) -> Doubles:
    windows = sliding_window_view(x, (height, width), axis=(1, 2))
    return windows[:, ::stride, ::stride]
