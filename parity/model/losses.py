"""The loss cases as frozen data: what Keras is asked, how a porter writes it in torch, and the port that is exact.

A case's numbers are rounded to float32 before anybody gets them, the float64 twins too; none is on an edge where a
clipped loss changes its gradient. Programs are named here and written down in the torch adapter's mixin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.errors import UsageError
from parity.model.layout import Array

EAGER, TRACED = "eager", "tf.function"
MODES = (EAGER, TRACED)
STAGES = ("loss", "gradient")
KERAS_EPSILON = 1e-7
"""Keras's `keras.config.epsilon()`: probabilities are clipped to [1e-7, 1 - 1e-7], also in float64."""

SATURATION = 18.0
"""From here on exp(-x) < 2**-25, so that 1/(1 + exp(-x)) rounds to exactly 1 in float32; and exp(-18) is 1.5e-8,
well inside what Keras clips."""

Rows = tuple[Any, ...]


@dataclass(frozen=True)
class Port:
    """How the port does in one mode of Keras.

    `exact` names the torch program that is the same function. `traps` says, by stage, why the program as people write
    it is another function; a stage that is not there is the same. `fix` is one line of torch. `arithmetic` names a
    program whose rounding the written form shares where the exact form rounds less.
    """

    exact: str
    traps: Mapping[str, str] = field(default_factory=dict)
    fix: str = ""
    arithmetic: str | None = None


@dataclass(frozen=True)
class LossCase:
    """One loss of Keras with its options, on given numbers.

    `x` (n, c) is what gradients are taken with respect to; `source` is how predictions come from it. `y` has the
    targets' shape. `weights` (n,) are `sample_weight`; `class_weights` (classes,) are what `fit(class_weight=...)`
    means: each sample is weighted by its class.
    """

    loss: str
    name: str
    keras: str
    x: Rows
    y: Rows
    written: str  # the torch program that a porter would write
    eager: Port
    traced: Port | None = None  # None where `tf.function` changes nothing
    source: str = "given"
    reduction: str = "mean"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Rows | None = None
    class_weights: Rows | None = None
    batch: int | None = None  # set for the loss of a whole epoch, in batches of this many

    @property
    def key(self) -> str:
        """The name that both adapters know the case by."""
        return f"{self.loss}: {self.name}"

    @property
    def stages(self) -> tuple[str, ...]:
        """What can be compared: the value, and the gradient unless the loss is one of a whole epoch."""
        return STAGES[:1] if self.batch else STAGES

    def port(self, mode: str) -> Port:
        """Return the port for a mode of Keras."""
        return self.traced if mode == TRACED and self.traced is not None else self.eager

    def targets(self) -> Array:
        """Return `y` as float32, or as int64 where the targets are class numbers."""
        sparse = self.keras.startswith("Sparse")
        return np.array(self.y, dtype=np.int64 if sparse else np.float32)

    def sample_weights(self) -> Array | None:
        """Return the weight of each sample, float32 (n,); None where there are none."""
        if self.class_weights is None:
            return None if self.weights is None else np.array(self.weights, dtype=np.float32)
        return np.array(self.class_weights, dtype=np.float32)[self.classes()]

    def classes(self) -> Array:
        """Return the class number of each sample, int64 (n,)."""
        y = self.targets()
        if self.keras.startswith("Categorical"):
            return np.asarray(y.argmax(axis=-1))
        return y.astype(np.int64).reshape(len(y))


def _parted(exact: str, trap: str, fix: str, stages: tuple[str, ...] = STAGES) -> Port:
    return Port(exact, dict.fromkeys(stages, trap), fix)


_BINARY = ((0.0,), (1.0,), (1.0,), (0.0,), (1.0,), (0.0,))
_LOGITS = ((-2.5,), (-0.7,), (0.3,), (1.9,), (4.0,), (-5.5,))
_PROBABILITIES = ((0.03,), (0.2,), (0.45,), (0.7,), (0.9,), (0.98,))
_CERTAIN = ((0.0,), (1.0,), (0.0,), (1.0,), (0.25,), (0.7,))
_CERTAIN_Y = ((1.0,), (0.0,), (0.0,), (1.0,), (1.0,), (0.0,))
# 30 is wrong and moderate, 100 is where float32 has no exp(-x) left; each sign meets each label.
_SATURATED = ((30.0,), (-30.0,), (100.0,), (-100.0,), (30.0,), (-100.0,), (0.5,), (-1.3,))
_SATURATED_Y = ((0.0,), (1.0,), (0.0,), (1.0,), (1.0,), (0.0,), (1.0,), (0.0,))
_WEIGHTS = (0.5, 2.0, 1.25, 0.0, 3.0, 0.7)

_SCORES = (
    (1.2, -0.4, 0.1, 2.0),
    (-3.0, 0.7, 0.2, -1.1),
    (0.3, 0.3, -0.8, 4.5),
    (5.0, -2.0, 1.7, 0.6),
    (-0.9, 2.2, -6.0, 0.4),
)
_SATURATED_SCORES = (
    (30.0, -30.0, 0.0, -2.0),
    (-100.0, 100.0, 30.0, -30.0),
    (30.0, 100.0, -30.0, 0.7),
    (0.3, -0.6, 1.1, 0.2),
    (-30.0, -100.0, 30.0, -5.0),
)
_CLASSES = (3, 1, 0, 2, 1)
_ONE_HOT = tuple(tuple(float(c == k) for k in range(4)) for c in _CLASSES)
# Sixteenths, so that each row adds up to exactly 1 in any precision.
_ROWS = (
    (0.25, 0.125, 0.0625, 0.5625),
    (0.0625, 0.75, 0.125, 0.0625),
    (0.5, 0.1875, 0.1875, 0.125),
    (0.3125, 0.0625, 0.5, 0.125),
    (0.125, 0.25, 0.5625, 0.0625),
)
_UNSCALED_ROWS = tuple(tuple((1.0 + 0.5 * i) * value for value in row) for i, row in enumerate(_ROWS))
_CERTAIN_ROWS = (
    (1.0, 0.0, 0.0, 0.0),
    (0.0, 0.75, 0.25, 0.0),
    (0.0, 0.5, 0.5, 0.0),
    (0.25, 0.25, 0.25, 0.25),
    (0.125, 0.25, 0.5625, 0.0625),
)
_SOFT = (
    (0.125, 0.25, 0.125, 0.5),
    (0.25, 0.25, 0.25, 0.25),
    (0.0625, 0.625, 0.1875, 0.125),
    (0.5, 0.0625, 0.1875, 0.25),
    (0.125, 0.125, 0.5, 0.25),
)
_SOFT_ZEROS = ((0.0, 0.5, 0.0, 0.5), (1.0, 0.0, 0.0, 0.0), *_SOFT[2:])
_ZERO_ROWS = ((0.0, 0.25, 0.125, 0.625), (0.5, 0.0, 0.25, 0.25), *_ROWS[2:])
_CLASS_WEIGHTS = (0.5, 1.0, 2.0, 4.0)

_VALUES = ((0.3, -1.2, 2.5), (4.0, 0.1, -0.6), (-3.3, 0.9, 1.7), (0.2, 0.8, -2.4), (1.5, -0.5, 6.0))
_ACTUAL = ((0.1, 0.4, 2.0), (1.0, -0.3, -0.9), (-0.2, 0.7, 4.2), (0.6, 0.8, 0.1), (1.1, 2.5, -1.0))
_VALUE_WEIGHTS = (0.5, 2.0, 0.0, 3.0, 1.25)
_RATES = ((0.3, 1.2, 2.5), (4.0, 0.1, 0.6), (3.3, 0.9, 1.7), (0.2, 0.8, 2.4))
_COUNTS = ((0.0, 1.0, 4.0), (3.0, 0.0, 2.0), (5.0, 1.0, 1.0), (0.0, 2.0, 7.0))
_EPOCH_X = tuple((0.25 * i * i - 3.0,) for i in range(19))
_EPOCH_Y = tuple((0.7 * i - 2.0,) for i in range(19))

_CLIP = "p = p.clamp(1e-7, 1 - 1e-7) before the logarithms"
_SMOOTH = "y = y * (1 - a) + a / 2 before the loss"
_PER_SAMPLE = "loss(reduction='none')(x, y).mean(-1), then reduce over the samples"
_FROM_LOGITS = {"from_logits": True}
_SMOOTHED = {"label_smoothing": 0.1}


def _binary() -> list[LossCase]:
    about = ("BinaryCrossentropy", _PROBABILITIES, _BINARY)
    loss, same = "binary cross-entropy", Port("clipped binary")
    clip = _parted("clipped binary", "bce-clipping", _CLIP)
    smooth = _parted("clipped binary", "label-smoothing-binary", _SMOOTH)
    axis = _parted("clipped binary", "reduction-last-axis", _PER_SAMPLE)
    wide = (about[0], _beside(_PROBABILITIES, _PROBABILITIES[::-1]), _beside(_BINARY, _BINARY[::-1]))
    return [
        LossCase(loss, "probabilities", *about, "BCELoss", same),
        LossCase(loss, "probabilities 0 and 1", "BinaryCrossentropy", _CERTAIN, _CERTAIN_Y, "BCELoss", clip),
        LossCase(loss, "sample weights", *about, "BCELoss weight", same, weights=_WEIGHTS),
        LossCase(loss, "label smoothing", *about, "BCELoss", smooth, options=_SMOOTHED),
        LossCase(loss, "sum", *about, "BCELoss", same, reduction="sum"),
        LossCase(loss, "two outputs", *wide, "BCELoss", same),
        LossCase(loss, "two outputs, sum", *wide, "BCELoss", axis, reduction="sum"),
    ]


def _binary_logits() -> list[LossCase]:
    about = ("BinaryCrossentropy", _LOGITS, _BINARY)
    saturated = ("BinaryCrossentropy", _SATURATED, _SATURATED_Y, "BCEWithLogitsLoss")
    loss, same, given = "binary cross-entropy, logits", Port("binary from logits"), _FROM_LOGITS
    smooth = _parted("binary from logits", "label-smoothing-binary", _SMOOTH)
    shape = _parted("binary from logits", "reduction-last-axis", _PER_SAMPLE, STAGES[:1])
    options = {**given, **_SMOOTHED}
    return [
        LossCase(loss, "logits", *about, "BCEWithLogitsLoss", same, options=given),
        LossCase(loss, "logits of 30 and 100", *saturated, same, options=given),
        LossCase(loss, "sum", *about, "BCEWithLogitsLoss", same, options=given, reduction="sum"),
        LossCase(loss, "none", *about, "BCEWithLogitsLoss", shape, options=given, reduction="none"),
        LossCase(loss, "sample weights", *about, "BCEWithLogitsLoss weight", same, options=given, weights=_WEIGHTS),
        LossCase(
            loss, "class weights 1 and 3", *about, "BCEWithLogitsLoss pos_weight", same, options=given,
            class_weights=(1.0, 3.0),
        ),
        LossCase(loss, "label smoothing, logits of 30 and 100", *saturated, smooth, options=options),
    ]  # fmt: skip


def _binary_sigmoid() -> list[LossCase]:
    loss, clip = "binary cross-entropy after sigmoid", "clipped binary of sigmoid"
    same, logits = Port(clip), Port("binary from logits", arithmetic=clip)
    clipped = _parted(clip, "bce-clipping", _CLIP)
    recovered = _parted("binary from logits", "bce-logits-recovered", "BCEWithLogitsLoss()(logits, y)")
    plain = ("BinaryCrossentropy", _LOGITS, _BINARY, "Sigmoid + BCELoss")
    saturated = ("BinaryCrossentropy", _SATURATED, _SATURATED_Y, "Sigmoid + BCELoss")
    return [
        LossCase(loss, "tf.sigmoid", *plain, same, logits, source="sigmoid"),
        LossCase(loss, "tf.sigmoid of 30 and 100", *saturated, clipped, recovered, source="sigmoid"),
        LossCase(loss, "Dense(sigmoid)", *plain, logits, source="sigmoid layer"),
        LossCase(loss, "Dense(sigmoid) of 30 and 100", *saturated, recovered, source="sigmoid layer"),
        LossCase(loss, "tf.identity of tf.sigmoid of 30 and 100", *saturated, clipped, source="sigmoid identity"),
    ]


def _categorical() -> list[LossCase]:
    about = ("CategoricalCrossentropy", _SCORES, _ONE_HOT)
    loss, same, given = "categorical cross-entropy, logits", Port("cross-entropy from logits"), _FROM_LOGITS
    weighted = _parted(
        "cross-entropy from logits", "class-weight-normaliser",
        "(CrossEntropyLoss(reduction='none')(x, y) * w[y]).sum() / len(y)",
    )  # fmt: skip
    smoothed = _parted("cross-entropy from logits", "label-smoothing-binary", weighted.fix)
    smooth, saturated = {**given, **_SMOOTHED}, (about[0], _SATURATED_SCORES, _ONE_HOT)
    return [
        LossCase(loss, "logits", *about, "CrossEntropyLoss", same, options=given),
        LossCase(loss, "soft targets", about[0], _SCORES, _SOFT, "CrossEntropyLoss", same, options=given),
        LossCase(loss, "logits of 30 and 100", *saturated, "CrossEntropyLoss", same, options=given),
        LossCase(loss, "sum", *about, "CrossEntropyLoss", same, options=given, reduction="sum"),
        LossCase(loss, "none", *about, "CrossEntropyLoss", same, options=given, reduction="none"),
        LossCase(loss, "label smoothing", *about, "CrossEntropyLoss smoothing", same, options=smooth),
        LossCase(
            loss, "sample weights", *about, "weighted CrossEntropyLoss", same, options=given, weights=_VALUE_WEIGHTS
        ),
        LossCase(
            loss, "class weights", *about, "CrossEntropyLoss weight", same, options=given,
            class_weights=_CLASS_WEIGHTS,
        ),
        LossCase(
            loss, "class weights, class numbers", *about, "CrossEntropyLoss weight, class numbers", weighted,
            options=given, class_weights=_CLASS_WEIGHTS,
        ),
        LossCase(
            loss, "class weights, label smoothing", *about, "CrossEntropyLoss weight", smoothed,
            options=smooth, class_weights=_CLASS_WEIGHTS,
        ),
    ]  # fmt: skip


def _categorical_probabilities() -> list[LossCase]:
    name, exact = "CategoricalCrossentropy", "clipped cross-entropy"
    loss = "categorical cross-entropy"
    fix = "NLLLoss()((p / p.sum(-1, keepdim=True)).clamp(1e-7, 1 - 1e-7).log(), y)"
    wrong = _parted(exact, "crossentropy-input", fix)
    gradient = _parted(exact, "crossentropy-input", fix, STAGES[1:])
    clip = _parted(exact, "bce-clipping", fix)
    return [
        LossCase(loss, "probabilities as logits", name, _ROWS, _ONE_HOT, "CrossEntropyLoss", wrong),
        LossCase(loss, "log of probabilities", name, _ROWS, _ONE_HOT, "NLLLoss of log", gradient),
        LossCase(loss, "rows that do not add up to 1", name, _UNSCALED_ROWS, _ONE_HOT, "NLLLoss of log", wrong),
        LossCase(loss, "probabilities 0 and 1", name, _CERTAIN_ROWS, _ONE_HOT, "NLLLoss of log", clip),
    ]


def _categorical_softmax() -> list[LossCase]:
    loss, clip = "categorical cross-entropy after softmax", "clipped cross-entropy of softmax"
    fix, logits = "CrossEntropyLoss()(logits, y), no softmax before it", "cross-entropy from logits"
    eager = _parted(clip, "crossentropy-input", "NLLLoss()(x.softmax(-1).clamp(1e-7, 1 - 1e-7).log(), y)")
    traced = _parted(logits, "crossentropy-input", fix)
    same, recovered = Port(clip), Port(logits, arithmetic=clip)
    clipped, lost = _parted(clip, "bce-clipping", eager.fix), _parted(logits, "bce-logits-recovered", fix)
    plain = ("CategoricalCrossentropy", _SCORES, _ONE_HOT)
    saturated = ("CategoricalCrossentropy", _SATURATED_SCORES, _ONE_HOT)
    twice, log = "Softmax + CrossEntropyLoss", "Softmax + NLLLoss of log"
    return [
        LossCase(loss, "tf.nn.softmax, softmax twice", *plain, twice, eager, traced, source="softmax"),
        LossCase(loss, "tf.nn.softmax", *plain, log, same, recovered, source="softmax"),
        LossCase(loss, "tf.nn.softmax of 30 and 100", *saturated, log, clipped, lost, source="softmax"),
        LossCase(loss, "Dense(softmax), softmax twice", *plain, twice, traced, source="softmax layer"),
        LossCase(loss, "Dense(softmax) of 30 and 100", *saturated, log, lost, source="softmax layer"),
    ]


def _sparse() -> list[LossCase]:
    name, given = "SparseCategoricalCrossentropy", _FROM_LOGITS
    loss, same = "sparse categorical cross-entropy", Port("cross-entropy from logits")
    exact = "clipped sparse cross-entropy"
    wrong = _parted(exact, "crossentropy-input", "CrossEntropyLoss()(p.clamp(1e-7, 1 - 1e-7).log(), y)")
    gradient, clip = _parted(exact, "crossentropy-input", wrong.fix, STAGES[1:]), _parted(exact, "bce-clipping", _CLIP)
    weighted = _parted(
        "cross-entropy from logits", "class-weight-normaliser",
        "(CrossEntropyLoss(reduction='none')(x, y) * w[y]).sum() / len(y)",
    )  # fmt: skip
    return [
        LossCase(loss, "logits", name, _SCORES, _CLASSES, "CrossEntropyLoss", same, options=given),
        LossCase(loss, "logits of 30 and 100", name, _SATURATED_SCORES, _CLASSES, "CrossEntropyLoss", same,
                 options=given),
        LossCase(loss, "class weights", name, _SCORES, _CLASSES, "CrossEntropyLoss weight", weighted, options=given,
                 class_weights=_CLASS_WEIGHTS),
        LossCase(loss, "probabilities as logits", name, _ROWS, _CLASSES, "CrossEntropyLoss", wrong),
        LossCase(loss, "log of probabilities", name, _ROWS, _CLASSES, "NLLLoss of log", gradient),
        LossCase(loss, "probabilities 0 and 1", name, _CERTAIN_ROWS, _CLASSES, "NLLLoss of log", clip),
    ]  # fmt: skip


def _divergences() -> list[LossCase]:
    kl, rates = "KL divergence", "Poisson"
    mean = _parted("KL divergence", "kldiv-reduction", "KLDivLoss(reduction='batchmean')(q.log(), p)")
    clip = _parted("KL divergence", "bce-clipping", "clamp both p and q to [1e-7, 1]")
    log = _parted("Poisson", "poisson-form", "PoissonNLLLoss(log_input=False, eps=1e-7)(x, y)")
    divergence, poisson = ("KLDivergence", _ROWS, _SOFT), ("Poisson", _RATES, _COUNTS)
    return [
        LossCase(kl, "default reduction", *divergence, "KLDivLoss", mean),
        LossCase(kl, "probabilities, not their logarithm", *divergence, "KLDivLoss of probabilities", mean),
        LossCase(kl, "batchmean", *divergence, "KLDivLoss batchmean", Port("KL divergence")),
        LossCase(kl, "sum", *divergence, "KLDivLoss sum", Port("KL divergence"), reduction="sum"),
        LossCase(kl, "targets of 0", "KLDivergence", _ROWS, _SOFT_ZEROS, "KLDivLoss batchmean", clip),
        LossCase(kl, "predictions of 0", "KLDivergence", _ZERO_ROWS, _SOFT, "KLDivLoss batchmean", clip),
        LossCase(rates, "default form", *poisson, "PoissonNLLLoss", log),
        LossCase(rates, "rates, default eps", *poisson, "PoissonNLLLoss of rates", log),
        LossCase(rates, "rates, eps 1e-7", *poisson, "PoissonNLLLoss of rates, eps", Port("Poisson")),
    ]


def _regressions() -> list[LossCase]:
    huber, cosine, square, absolute = "Huber", "cosine similarity", "mean squared error", "mean absolute error"
    about, one = (_VALUES, _ACTUAL), {"delta": 1.0}
    scale = _parted("Huber", "huber-smoothl1", "HuberLoss(delta=d), or d * SmoothL1Loss(beta=d)")
    sign = _parted("cosine", "cosine-sign", "-CosineSimilarity(dim=-1)(x, y).mean()")
    # CosineEmbeddingLoss adds 1e-12 to both squared norms, which its gradient shows: 6e-13.
    shifted = Port("cosine", {"loss": "cosine-sign", "gradient": "l2-normalize-eps"}, sign.fix)
    floor = _parted("cosine", "l2-normalize-eps", "divide each vector by its norm, floored at 1e-7")
    axis, same = _parted("squared", "reduction-last-axis", _PER_SAMPLE), Port("squared")
    mean = _parted("squared", "class-weight-normaliser", "(mse_loss(x, y, reduction='none').mean(-1) * w).mean()")
    spread = _parted("squared", "loss-broadcast", "y.unsqueeze(-1), so that both have one shape")
    tiny = tuple(tuple(value * 2.0**-30 for value in row) for row in _VALUES)
    column, flat = tuple(row[:1] for row in _VALUES), tuple(row[0] for row in _ACTUAL)
    return [
        LossCase(huber, "delta 1", "Huber", *about, "SmoothL1Loss", Port("Huber"), options=one),
        LossCase(huber, "delta 1.5, as SmoothL1Loss", "Huber", *about, "SmoothL1Loss", scale, options={"delta": 1.5}),
        LossCase(huber, "delta 1.5", "Huber", *about, "HuberLoss", Port("Huber"), options={"delta": 1.5}),
        LossCase(cosine, "similarity", "CosineSimilarity", *about, "CosineSimilarity", sign),
        LossCase(cosine, "embedding", "CosineSimilarity", *about, "CosineEmbeddingLoss", shifted),
        LossCase(cosine, "negated", "CosineSimilarity", *about, "negated CosineSimilarity", Port("cosine")),
        LossCase(cosine, "tiny vectors", "CosineSimilarity", tiny, _ACTUAL, "negated CosineSimilarity", floor),
        LossCase(square, "mean", "MeanSquaredError", *about, "MSELoss", same),
        LossCase(square, "sum", "MeanSquaredError", *about, "MSELoss", axis, reduction="sum"),
        LossCase(square, "none", "MeanSquaredError", *about, "MSELoss", axis, reduction="none"),
        LossCase(square, "sample weights", "MeanSquaredError", *about, "mse_loss weight", mean, weights=_VALUE_WEIGHTS),
        LossCase(square, "targets (n,) for outputs (n, 1)", "MeanSquaredError", column, flat, "MSELoss", spread),
        LossCase(absolute, "mean", "MeanAbsoluteError", *about, "L1Loss", Port("absolute")),
        LossCase(
            absolute, "sample weights", "MeanAbsoluteError", *about, "weighted L1Loss", Port("absolute"),
            weights=_VALUE_WEIGHTS,
        ),
    ]  # fmt: skip


def _epochs() -> list[LossCase]:
    exact = "epoch mean of samples"
    port = _parted(exact, "epoch-loss-weighting", "add loss * len(batch), divide by the samples", STAGES[:1])
    about = ("MeanSquaredError", _EPOCH_X, _EPOCH_Y)
    last = Port(exact)
    return [
        LossCase("loss of an epoch", "19 samples by 8", *about, "epoch mean of batch means", port, batch=8),
        LossCase(
            "loss of an epoch", "16 samples by 8", about[0], _EPOCH_X[:16], _EPOCH_Y[:16],
            "epoch mean of batch means", last, batch=8,
        ),
    ]  # fmt: skip


def _beside(first: Rows, second: Rows) -> Rows:
    return tuple((*a, *b) for a, b in zip(first, second, strict=True))


CASES: Mapping[str, LossCase] = {
    case.key: case
    for group in (
        _binary, _binary_logits, _binary_sigmoid, _categorical, _categorical_probabilities, _categorical_softmax,
        _sparse, _divergences, _regressions, _epochs,
    )
    for case in group()
}  # fmt: skip
LOSSES = tuple(dict.fromkeys(case.loss for case in CASES.values()))


def case_of(key: str) -> LossCase:
    """Return the case of that name.

    Raises
        UsageError: there is none.
    """
    if key not in CASES:
        raise UsageError(f"no loss case `{key}`; there are {', '.join(CASES)}")
    return CASES[key]
