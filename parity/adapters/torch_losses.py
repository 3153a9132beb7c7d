"""Losses of the torch adapter: each as people write it, and as the exact equivalent of what Keras computes.

Every program takes a `Given` and returns the loss: a scalar, or one number per sample where nothing is reduced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from parity.adapters.base import Array, WorkerSettings
from parity.errors import UsageError
from parity.model.losses import KERAS_EPSILON, SATURATION, LossCase, case_of

ROUNDOFFS = {"32": 2.0**-24, "64": 2.0**-53}


@dataclass(frozen=True)
class Given:
    """What a loss is called with.

    `x` (n, c) is what gradients are taken of, `y` the targets as floats or class numbers, `weights` (n,) or None the
    weight of each sample; `case` holds the options. `coarse` is false in the float64 twin.
    """

    case: LossCase
    x: Any
    y: Any
    weights: Any
    coarse: bool

    @property
    def classes(self) -> Any:
        """The targets as class numbers (n,)."""
        return torch.as_tensor(self.case.classes(), device=self.x.device)

    @property
    def class_weights(self) -> Any:
        """The weight of each class (classes,)."""
        return torch.as_tensor(np.array(self.case.class_weights), dtype=self.x.dtype, device=self.x.device)

    @property
    def smoothing(self) -> float:
        """Keras's label smoothing; 0 where there is none."""
        return float(self.case.options.get("label_smoothing", 0.0))

    @property
    def how(self) -> dict[str, str]:
        """The keyword by which a module of torch is told how to reduce."""
        return {"reduction": self.case.reduction}


Program = Callable[[Given], Any]
Known = TypeVar("Known")


# The exact ports: one number per sample, as Keras has it, and then its weights and its mean.


def reduce(given: Given, losses: Any) -> Any:
    """Reduce one loss per sample (n,) as Keras does: weigh, add, and divide by the samples, not by the weights."""
    weighted = losses if given.weights is None else losses * given.weights
    return {"none": lambda: weighted, "sum": weighted.sum, "mean": weighted.mean}[given.case.reduction]()


def clipped(p: Any) -> Any:
    """Clip probabilities as Keras does; outside, the gradient is zero."""
    return p.clamp(KERAS_EPSILON, 1.0 - KERAS_EPSILON)


def smooth_binary(given: Given) -> Any:
    """Move targets of 0 and 1 towards a half by Keras's label smoothing."""
    return given.y * (1.0 - given.smoothing) + 0.5 * given.smoothing if given.smoothing else given.y


def clipped_binary(given: Given, p: Any) -> Any:
    """Binary cross-entropy of probabilities."""
    p, y = clipped(p), smooth_binary(given)
    return reduce(given, -(y * p.log() + (1.0 - y) * (1.0 - p).log()).mean(-1))


def binary_from_logits(given: Given) -> Any:
    """Binary cross-entropy of logits."""
    losses = functional.binary_cross_entropy_with_logits(given.x, smooth_binary(given), reduction="none")
    return reduce(given, losses.mean(-1))


def cross_entropy(given: Given, logits: Any) -> Any:
    """Cross-entropy of logits, targets as probabilities or class numbers."""
    return reduce(given, functional.cross_entropy(logits, given.y, reduction="none", label_smoothing=given.smoothing))


def clipped_cross_entropy(given: Given, p: Any) -> Any:
    """Cross-entropy of probabilities: made to add up to 1, and then clipped."""
    p = clipped(p / p.sum(-1, keepdim=True))
    return reduce(given, -(given.y * p.log()).sum(-1))


def clipped_sparse(given: Given) -> Any:
    """Cross-entropy of probabilities and class numbers: clipped, and then made to add up to 1."""
    return cross_entropy(given, clipped(given.x).log())


def kl_divergence(given: Given) -> Any:
    """KL divergence of probabilities: both clipped from below, summed over the last axis."""
    p, q = (value.clamp(KERAS_EPSILON, 1.0) for value in (given.y, given.x))
    return reduce(given, (p * (p / q).log()).sum(-1))


def poisson(given: Given) -> Any:
    """Poisson loss of rates."""
    losses = functional.poisson_nll_loss(given.x, given.y, log_input=False, eps=KERAS_EPSILON, reduction="none")
    return reduce(given, losses.mean(-1))


def huber(given: Given) -> Any:
    """Huber loss: linear beyond delta."""
    losses = functional.huber_loss(given.x, given.y, reduction="none", delta=given.case.options["delta"])
    return reduce(given, losses.mean(-1))


def cosine(given: Given) -> Any:
    """Negative cosine similarity, each norm no smaller than Keras's epsilon."""
    x, y = (v * v.square().sum(-1, keepdim=True).clamp(min=KERAS_EPSILON**2).rsqrt() for v in (given.x, given.y))
    return reduce(given, -(x * y).sum(-1))


def _column(given: Given) -> Any:
    """The targets in the shape of the predictions: Keras adds a last axis of one where it is missing."""
    return given.y.unsqueeze(-1) if given.y.dim() < given.x.dim() else given.y


def _batches(given: Given) -> list[tuple[int, Any]]:
    """The samples and the mean loss of each batch of an epoch."""
    parts = zip(given.x.split(given.case.batch), given.y.split(given.case.batch), strict=True)
    return [(len(x), (x - y).square().mean(-1).mean()) for x, y in parts]


def _epoch(given: Given) -> Any:
    parts = _batches(given)
    return sum(loss * float(size) for size, loss in parts) / float(len(given.x))


EXACT: Mapping[str, Program] = {
    "clipped binary": lambda g: clipped_binary(g, g.x),
    "clipped binary of sigmoid": lambda g: clipped_binary(g, g.x.sigmoid()),
    "binary from logits": binary_from_logits,
    "cross-entropy from logits": lambda g: cross_entropy(g, g.x),
    "clipped cross-entropy": lambda g: clipped_cross_entropy(g, g.x),
    "clipped cross-entropy of softmax": lambda g: clipped_cross_entropy(g, g.x.softmax(-1)),
    "clipped sparse cross-entropy": clipped_sparse,
    "KL divergence": kl_divergence,
    "Poisson": poisson,
    "Huber": huber,
    "cosine": cosine,
    "squared": lambda g: reduce(g, (g.x - _column(g)).square().mean(-1)),
    "absolute": lambda g: reduce(g, (g.x - _column(g)).abs().mean(-1)),
    "epoch mean of samples": _epoch,
}


# The same functions out of elementary operations, whose rounding can be followed step by step. Where a framework has
# one kernel for the whole loss, this is how such a kernel has to compute it; where the two kernels do it differently,
# there are two programs.


def _elementary_clip(p: Any) -> Any:
    """Clip, and take 1 - 1e-7 for what the working precision makes of it: 16.118 becomes 15.942 in float32."""
    ones = torch.ones_like(p.detach())
    above = torch.where(p < KERAS_EPSILON, ones * KERAS_EPSILON, p)
    return torch.where(p > 1.0 - KERAS_EPSILON, ones + -KERAS_EPSILON, above)


def _complement(p: Any) -> Any:
    return 1.0 + p.neg()


def _elementary_clipped_binary(given: Given, p: Any) -> Any:
    p, y = _elementary_clip(p), smooth_binary(given)
    return reduce(given, -(y * p.log() + _complement(y) * _complement(p).log()).mean(-1))


def _tensorflow_binary(given: Given) -> Any:
    x, y = given.x, smooth_binary(given)
    return reduce(given, (x.clamp(min=0.0) + (x * y).neg() + x.abs().neg().exp().log1p()).mean(-1))


def _torch_binary(given: Given) -> Any:
    x, y = given.x, smooth_binary(given)
    log_sigmoid = x.clamp(max=0.0) + x.abs().neg().exp().log1p().neg()
    return reduce(given, (_complement(y) * x + log_sigmoid.neg()).mean(-1))


def _log_softmax(x: Any) -> Any:
    shifted = x + x.detach().amax(-1, keepdim=True).neg()
    return shifted + shifted.exp().sum(-1, keepdim=True).log().neg()


def _elementary_cross_entropy(given: Given, log_p: Any) -> Any:
    kinds = given.x.shape[-1]
    y = functional.one_hot(given.y, kinds).to(torch.float64) if given.y.dim() == 1 else given.y
    if given.smoothing:
        y = y * (1.0 - given.smoothing) + given.smoothing / kinds
    return reduce(given, -(y * log_p).sum(-1))


def _elementary_clipped_cross_entropy(given: Given, p: Any) -> Any:
    # A one and nothing else: dividing this row by its sum, exactly 1, changes nothing.
    alone = (p.detach() != 0.0).sum(-1, keepdim=True) == 1
    certain = (p.detach() == 1.0).any(-1, keepdim=True) & alone
    p = _elementary_clip(torch.where(certain, p, p / p.sum(-1, keepdim=True)))
    return reduce(given, -(given.y * p.log()).sum(-1))


def _settled_sigmoid(x: Any, sigmoid: Any) -> Any:
    """`sigmoid`, but exactly 0 or 1 where float32 cannot tell and Keras clips: a change nobody can see."""
    return torch.where(x.abs() >= SATURATION, (x.detach() > 0.0).to(torch.float64), sigmoid)


def _settled_softmax(x: Any, softmax: Any) -> Any:
    """`softmax`, but for the same reason exactly one-hot in rows whose largest score leads by enough."""
    first, second = x.detach().topk(2, -1)[0].split(1, -1)
    won = (x.detach() >= first).to(torch.float64)
    return torch.where(first - second >= SATURATION, won, softmax)


def _elementary_huber(given: Given) -> Any:
    delta, error = given.case.options["delta"], given.x + given.y.neg()
    size = error.abs()
    return reduce(given, torch.where(size <= delta, 0.5 * error.square(), delta * size - 0.5 * delta**2).mean(-1))


def _elementary_poisson(given: Given) -> Any:
    return reduce(given, (given.x + (given.y * (given.x + KERAS_EPSILON).log()).neg()).mean(-1))


ELEMENTARY: Mapping[str, tuple[Program, ...]] = {
    **{name: (program,) for name, program in EXACT.items()},
    "clipped binary": (lambda g: _elementary_clipped_binary(g, g.x),),
    # Twice each: by the steps of the formula, and by the framework's function with its own way back, p * (1 - p).
    "clipped binary of sigmoid": (
        lambda g: _elementary_clipped_binary(g, _settled_sigmoid(g.x, 1.0 / (1.0 + g.x.neg().exp()))),
        lambda g: _elementary_clipped_binary(g, _settled_sigmoid(g.x, g.x.sigmoid())),
    ),
    "binary from logits": (_tensorflow_binary, _torch_binary),
    "cross-entropy from logits": (
        lambda g: _elementary_cross_entropy(g, _log_softmax(g.x)),
        lambda g: _elementary_cross_entropy(g, g.x.log_softmax(-1)),
    ),
    "clipped cross-entropy": (lambda g: _elementary_clipped_cross_entropy(g, g.x),),
    "clipped cross-entropy of softmax": (
        lambda g: _elementary_clipped_cross_entropy(g, _settled_softmax(g.x, _log_softmax(g.x).exp())),
        lambda g: _elementary_clipped_cross_entropy(g, _settled_softmax(g.x, g.x.softmax(-1))),
    ),
    "clipped sparse cross-entropy": (
        lambda g: _elementary_cross_entropy(g, _log_softmax(_elementary_clip(g.x).log())),
        lambda g: _elementary_cross_entropy(g, _elementary_clip(g.x).log().log_softmax(-1)),
    ),
    "Poisson": (_elementary_poisson,),
    "Huber": (_elementary_huber,),
    "absolute": (lambda g: reduce(g, (g.x + _column(g).neg()).abs().mean(-1)),),
}


# As people write them.


def _cosine_embedding(given: Given) -> Any:
    return nn.CosineEmbeddingLoss(**given.how)(given.x, given.y, given.x.new_ones(len(given.x)))


def _cosine_similarity(given: Given) -> Any:
    return reduce(given, nn.CosineSimilarity(dim=-1)(given.x, given.y))


def _weighted_by_class(given: Given, target: Any) -> Any:
    module = nn.CrossEntropyLoss(given.class_weights, label_smoothing=given.smoothing, **given.how)
    return module(given.x, target)


WRITTEN: Mapping[str, Program] = {
    "BCELoss": lambda g: nn.BCELoss(**g.how)(g.x, g.y),
    "BCELoss weight": lambda g: nn.BCELoss(g.weights.unsqueeze(-1), **g.how)(g.x, g.y),
    "BCEWithLogitsLoss": lambda g: nn.BCEWithLogitsLoss(**g.how)(g.x, g.y),
    "BCEWithLogitsLoss weight": lambda g: nn.BCEWithLogitsLoss(g.weights.unsqueeze(-1), **g.how)(g.x, g.y),
    "BCEWithLogitsLoss pos_weight": lambda g: nn.BCEWithLogitsLoss(pos_weight=g.class_weights[1:], **g.how)(g.x, g.y),
    "Sigmoid + BCELoss": lambda g: nn.BCELoss(**g.how)(nn.Sigmoid()(g.x), g.y),
    "CrossEntropyLoss": lambda g: nn.CrossEntropyLoss(**g.how)(g.x, g.y),
    "CrossEntropyLoss smoothing": lambda g: nn.CrossEntropyLoss(label_smoothing=g.smoothing, **g.how)(g.x, g.y),
    "CrossEntropyLoss weight": lambda g: _weighted_by_class(g, g.y),
    "CrossEntropyLoss weight, class numbers": lambda g: _weighted_by_class(g, g.classes),
    "weighted CrossEntropyLoss": lambda g: (nn.CrossEntropyLoss(reduction="none")(g.x, g.y) * g.weights).mean(),
    "Softmax + CrossEntropyLoss": lambda g: nn.CrossEntropyLoss(**g.how)(nn.Softmax(dim=-1)(g.x), g.y),
    "NLLLoss of log": lambda g: nn.NLLLoss(**g.how)(g.x.log(), g.classes),
    "Softmax + NLLLoss of log": lambda g: nn.NLLLoss(**g.how)(nn.Softmax(dim=-1)(g.x).log(), g.classes),
    "KLDivLoss": lambda g: nn.KLDivLoss()(g.x.log(), g.y),
    "KLDivLoss of probabilities": lambda g: nn.KLDivLoss(reduction="batchmean")(g.x, g.y),
    "KLDivLoss batchmean": lambda g: nn.KLDivLoss(reduction="batchmean")(g.x.log(), g.y),
    "KLDivLoss sum": lambda g: nn.KLDivLoss(reduction="sum")(g.x.log(), g.y),
    "PoissonNLLLoss": lambda g: nn.PoissonNLLLoss(**g.how)(g.x, g.y),
    "PoissonNLLLoss of rates": lambda g: nn.PoissonNLLLoss(log_input=False, **g.how)(g.x, g.y),
    "PoissonNLLLoss of rates, eps": lambda g: nn.PoissonNLLLoss(log_input=False, eps=1e-7, **g.how)(g.x, g.y),
    "SmoothL1Loss": lambda g: nn.SmoothL1Loss(beta=g.case.options["delta"], **g.how)(g.x, g.y),
    "HuberLoss": lambda g: nn.HuberLoss(delta=g.case.options["delta"], **g.how)(g.x, g.y),
    "CosineSimilarity": _cosine_similarity,
    "negated CosineSimilarity": lambda g: -_cosine_similarity(g),
    "CosineEmbeddingLoss": _cosine_embedding,
    "MSELoss": lambda g: nn.MSELoss(**g.how)(g.x, g.y),
    "mse_loss weight": lambda g: functional.mse_loss(g.x, g.y, weight=g.weights.unsqueeze(-1).expand_as(g.x)),
    "L1Loss": lambda g: nn.L1Loss(**g.how)(g.x, g.y),
    "weighted L1Loss": lambda g: (nn.L1Loss(reduction="none")(g.x, g.y).mean(-1) * g.weights).mean(),
    "epoch mean of batch means": lambda g: torch.stack([loss for _, loss in _batches(g)]).mean(),
}


# Faults that no trap describes, put into the exact port to see that they are found.


def _changed(given: Given, **changes: Any) -> Any:
    fields = {"case": given.case, "x": given.x, "y": given.y, "weights": given.weights, "coarse": given.coarse}
    return EXACT[given.case.eager.exact](Given(**{**fields, **changes}))


def _bfloat16_logits(given: Given) -> Any:
    """Only the float32 side is coarser: the function is the same, its precision is not."""
    return _changed(given, x=given.x.to(torch.bfloat16).to(given.x.dtype) if given.coarse else given.x)


PLANTED: Mapping[str, Program] = {
    "planted: sum for mean": lambda g: _changed(g) * float(len(g.x)),
    "planted: gradient doubled": lambda g: _changed(g, x=2.0 * g.x - g.x.detach()),
    "planted: logits in bfloat16": _bfloat16_logits,
    "planted: sample weights dropped": lambda g: _changed(g, weights=None),
    "planted: softmax before the loss": lambda g: _changed(g, x=g.x.softmax(-1)),
    "planted: similarity for its negative": lambda g: -_changed(g),
}
PROGRAMS: Mapping[str, Program] = {**EXACT, **WRITTEN, **PLANTED}


class _Host(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    settings: WorkerSettings

    def _tensor(self, x: Array) -> Any: ...

    def _array(self, tensor: Any) -> Array: ...


class TorchLosses:
    """Losses and their gradients, by the name of a case and of a program."""

    def loss_step(self: _Host, case: str, program: str) -> dict[str, Array]:
        """Return `loss`, a scalar or one number per sample, and `gradient` (n, c) with respect to the case's `x`."""
        described = case_of(case)
        weights, x = described.sample_weights(), self._tensor(np.array(described.x, dtype=np.float32)).requires_grad_()
        given = Given(
            described,
            x,
            _targets(described, self._tensor, x.device),
            None if weights is None else self._tensor(weights),
            self.settings.role != "twin",
        )
        loss, gradient = _run(_known(PROGRAMS, program), given)
        return {"loss": self._array(loss), "gradient": self._array(gradient)}

    def loss_bounds(self, case: str, programs: Iterable[str]) -> dict[str, Array]:
        """Return how far a correct evaluation may be off: `loss32`, `gradient32` and the same in float64, absolute.

        The first of the exact `programs` decides; where another promises less, but does promise something, its bound
        is taken. A program that can lose every digit has no say: it is no correct evaluation of the loss.
        """
        found: dict[str, Array] = {}
        for digits, roundoff in ROUNDOFFS.items():
            for program in programs:
                for stage, bound in _bounds(case_of(case), program, roundoff).items():
                    known = found.get(f"{stage}{digits}", bound)
                    found[f"{stage}{digits}"] = np.where(np.isfinite(bound), np.maximum(known, bound), known)
        return found


def _bounds(case: LossCase, program: str, roundoff: float) -> dict[str, Array]:
    from parity.adapters.torch_rounding import error_of, track

    def tracked(array: Array) -> Any:
        return track(torch.from_numpy(np.asarray(array, dtype=np.float64)), roundoff=roundoff)

    weights = case.sample_weights()
    x = track(torch.tensor(case.x, dtype=torch.float32).to(torch.float64), roundoff=roundoff, requires_grad=True)
    given = Given(case, x, _targets(case, tracked, "cpu"), None if weights is None else tracked(weights), coarse=False)
    results = [_run(way, given) for way in _known(ELEMENTARY, program)]
    return {
        stage: np.max([error_of(result[at]).numpy() for result in results], axis=0)
        for at, stage in enumerate(("loss", "gradient"))
    }


def _run(program: Program, given: Given) -> tuple[Any, Any]:
    """Return the loss and its gradient; where there are several losses, of their sum weighed by 1, 2, 3 ..."""
    loss = program(given)
    weights = torch.arange(1.0, len(loss) + 1.0, dtype=torch.float64) if loss.dim() else torch.ones(())
    upstream = (weights.reshape(-1, *[1] * (loss.dim() - 1)) if loss.dim() else weights).to(loss.device, loss.dtype)
    (gradient,) = torch.autograd.grad((loss * upstream).sum(), given.x)
    return loss, gradient


def _targets(case: LossCase, floats: Callable[[Array], Any], device: Any) -> Any:
    y = case.targets()
    if y.dtype != np.int64:
        return floats(y)
    return torch.from_numpy(y).to(device)


def _known(programs: Mapping[str, Known], name: str) -> Known:
    if name not in programs:
        raise UsageError(f"no torch program `{name}` for a loss; there are {', '.join(programs)}")
    return programs[name]
