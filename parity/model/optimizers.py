"""The optimizer cases as frozen data: what Keras is told, and what torch is told in its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

STEPS_PER_EPOCH = 20

# Distinct shapes, so that no slot can be taken for another variable's; the last one gets the tiny gradients.
SHAPES: Mapping[str, tuple[int, ...]] = {"kernel": (3, 4), "bias": (5,), "tiny": (2, 3)}
TINY = 1e-6


@dataclass(frozen=True)
class Setup:
    """How one side is set up: the optimizer's own words, and what a training loop adds to it.

    `clip` (torch only; Keras has words for it): {"norm": all variables together} or {"value": limit}. `schedule`:
    {"kind", "unit" (step or epoch), words}; `l2`: a penalty l * sum(w^2) in the loss (Keras only).
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    clip: Mapping[str, float] = field(default_factory=dict)
    schedule: Mapping[str, Any] | None = None
    l2: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that a worker understands."""
        return asdict(self)


@dataclass(frozen=True)
class OptimizerCase:
    """One optimizer in one variant.

    `keras` holds what the variant needs and nothing else, so that the rest are Keras's defaults; `torch_default` the
    same wish in torch's words, the rest torch's defaults; `torch_matched` every number as Keras has it, in stock torch.
    `adapted` is "keras_like", or "stock" where stock torch can say the same. `claims` names the modes ("default",
    "matched") that are claimed to be the same function.
    """

    optimizer: str
    variant: str
    keras: Setup
    torch_default: Setup
    torch_matched: Setup
    formula: str
    traps: tuple[str, ...] = ()
    adapted: str = "keras_like"
    claims: tuple[str, ...] = ()
    tiny: bool = True
    l2_matched: float | None = None

    @property
    def name(self) -> str:
        """A short name for test ids and messages."""
        return f"{self.optimizer}-{self.variant}".replace(" ", "-")


_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7}
_RMS = {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7}
_ADAM_EPSILON = "Keras: m a/(sqrt(v)+eps); torch: eps after sqrt(v)/sqrt(1-b2^t), so Keras's is eps/sqrt(1-b2^t)"
_DEFAULT_RATE = "the same formula; the default learning rates are 0.01 and 0.001"


def _case(optimizer: str, variant: str, keras: Mapping[str, Any], torch: Mapping[str, Any],
          matched: Mapping[str, Any], formula: str, *traps: str, **more: Any) -> OptimizerCase:  # fmt: skip
    sides = (Setup(keras), Setup(torch), Setup(matched))
    return OptimizerCase(optimizer, variant, *sides, formula, traps, **more)


_PLAIN = (
    _case("sgd", "plain", {}, {}, {"lr": 0.01}, _DEFAULT_RATE, "optimizer-defaults", claims=("matched",)),
    _case("sgd", "momentum", {"momentum": 0.9}, {"momentum": 0.9}, {"lr": 0.01, "momentum": 0.9},
          "v = mv - lr g (rate inside) or v = mv + g: equal while the rate is constant", "optimizer-defaults",
          claims=("matched",)),
    _case("sgd", "nesterov", {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True},
          {"lr": 0.01, "momentum": 0.9, "nesterov": True}, "as momentum: equal while the rate is constant",
          "optimizer-defaults", claims=("matched",)),
    _case("adam", "plain", {}, {}, _ADAM, _ADAM_EPSILON, "adam-epsilon", "hyperparameter-float32"),
    _case("adam", "amsgrad", {"amsgrad": True}, {"amsgrad": True}, {**_ADAM, "amsgrad": True}, _ADAM_EPSILON,
          "adam-epsilon", "hyperparameter-float32"),
    _case("adamw", "plain", {}, {}, {**_ADAM, "weight_decay": 0.004},
          f"{_ADAM_EPSILON}; default weight decay 0.004 and 0.01", "adam-epsilon", "optimizer-defaults"),
    _case("adamax", "plain", {}, {}, _ADAM, "Keras: u = max(b2 u, |g|), then u + eps; torch: u = max(b2 u, |g| + eps)",
          "optimizer-defaults"),
    _case("nadam", "plain", {}, {}, {**_ADAM, "momentum_decay": 1.0},
          "Keras: 0.96^t; torch: 0.96^(0.004 t) by default, its product kept in float32", "nadam-decay"),
    _case("rmsprop", "plain", {}, {}, _RMS, "Keras: sqrt(v + eps); torch: sqrt(v) + eps", "rmsprop-epsilon"),
    _case("rmsprop", "centered", {"centered": True}, {"centered": True}, {**_RMS, "centered": True},
          "Keras: sqrt(v - a^2 + eps); torch: sqrt(v - a^2) + eps", "rmsprop-epsilon"),
    _case("rmsprop", "momentum", {"momentum": 0.9}, {"momentum": 0.9}, {**_RMS, "momentum": 0.9},
          "Keras: sqrt(v + eps), rate inside the velocity; torch: sqrt(v) + eps, rate outside", "rmsprop-epsilon"),
    _case("adagrad", "plain", {}, {}, {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7},
          "Keras: sqrt(s + eps), s starts at 0.1; torch: sqrt(s) + eps, s starts at 0", "rmsprop-epsilon",
          "optimizer-defaults"),
    _case("adadelta", "plain", {}, {}, {"lr": 1e-3, "rho": 0.95, "eps": 1e-7},
          "the same formula; rate 0.001, rho 0.95, eps 1e-7 or 1.0, 0.9, 1e-6", "optimizer-defaults",
          claims=("matched",)),
)  # fmt: skip

_DECAYED = (
    _case("sgd", "weight decay", {"weight_decay": 0.01}, {"weight_decay": 0.01},
          {"lr": 0.01, "weight_decay": 0.01}, "decoupled w -= lr l w before the step, or l w in the gradient: "
          "without momentum the same", "weight-decay-coupling", claims=("matched",)),
    _case("sgd", "momentum weight decay", {"momentum": 0.9, "weight_decay": 0.01},
          {"momentum": 0.9, "weight_decay": 0.01}, {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01},
          "decoupled w -= lr l w, or l w in the gradient and so in the velocity", "weight-decay-coupling"),
    _case("adam", "weight decay", {"weight_decay": 0.01}, {"weight_decay": 0.01}, {**_ADAM, "weight_decay": 0.01},
          "decoupled w -= lr l w, or l w in the gradient, which Adam then normalises", "weight-decay-coupling",
          tiny=False),
    OptimizerCase("sgd", "l2 penalty", Setup({}, l2=0.01), Setup({"weight_decay": 0.01}),
                  Setup({"lr": 0.01, "weight_decay": 0.01}),
                  "L2(l) adds 2 l w to the gradient, weight_decay l adds l w",
                  ("l2-factor",), adapted="stock", l2_matched=0.02),
)  # fmt: skip

_CLIPPED = (
    OptimizerCase("sgd", "clipped by value", Setup({"clipvalue": 0.1}), Setup({}, {"value": 0.1}),
                  Setup({"lr": 0.01}, {"value": 0.1}), "the same formula", ("optimizer-defaults",),
                  claims=("matched",), tiny=False),
    OptimizerCase("adam", "clipped by norm", Setup({"clipnorm": 0.5}), Setup({}, {"norm": 0.5}),
                  Setup(_ADAM, {"norm": 0.5}), "clipnorm is per variable; clip_grad_norm_ takes all together",
                  ("clip-norm-kind",), tiny=False),
    OptimizerCase("sgd", "clipped by global norm", Setup({"global_clipnorm": 0.5}), Setup({}, {"norm": 0.5}),
                  Setup({"lr": 0.01}, {"norm": 0.5}), "g c/max(norm, c), or g min(1, c/(norm + 1e-6))",
                  ("clip-norm-kind",), tiny=False),
    OptimizerCase("adam", "clipped by global norm", Setup({"global_clipnorm": 0.5}), Setup({}, {"norm": 0.5}),
                  Setup(_ADAM, {"norm": 0.5}), "norm + 1e-6 in torch, and Adam's epsilon",
                  ("clip-norm-kind", "adam-epsilon"), tiny=False),
)  # fmt: skip

_PLATEAU: Mapping[str, Any] = {"kind": "plateau", "unit": "epoch", "factor": 0.5, "patience": 2}
METRICS = (1.0, 0.8, 0.79995, 0.79996, 0.79, 0.7899, 0.789, 0.789, 0.789, 0.789)
"""What the plateau watches, one value per epoch: ties, and gains between the absolute and the relative threshold."""


def _scheduled(optimizer: str, variant: str, keras: Mapping[str, Any], default: Mapping[str, Any],
               matched: Mapping[str, Any], formula: str, *traps: str, config: Mapping[str, Any] | None = None,
               torch: Mapping[str, Any] | None = None) -> OptimizerCase:  # fmt: skip
    words = dict(torch or _ADAM)
    own = {key: value for key, value in words.items() if key in ("lr", "momentum")}
    return OptimizerCase(
        optimizer, variant, Setup(dict(config or {}), schedule=keras), Setup(own, schedule=default),
        Setup(words, schedule=matched), formula, traps, tiny=False,
    )  # fmt: skip


_DROP = {"kind": "drop", "unit": "step", "at": 100, "factor": 0.1}
_SCHEDULED = (
    _scheduled("sgd", "momentum, rate drops", _DROP, _DROP, _DROP,
               "v = mv - lr g keeps the old rate in the velocity; w -= lr v applies the new one at once",
               "momentum-lr-change", config={"momentum": 0.9}, torch={"lr": 0.01, "momentum": 0.9}),
    _scheduled("adam", "exponential decay",
               {"kind": "exponential_decay", "unit": "step", "initial_learning_rate": 1e-3, "decay_steps": 20,
                "decay_rate": 0.9},
               {"kind": "ExponentialLR", "unit": "epoch", "gamma": 0.9},
               {"kind": "ExponentialLR", "unit": "step", "gamma": 0.9 ** (1 / 20)},
               "Keras counts steps, a torch scheduler is usually stepped once per epoch", "lr-schedule-unit"),
    _scheduled("adam", "cosine decay",
               {"kind": "cosine_decay", "unit": "step", "initial_learning_rate": 1e-3, "decay_steps": 150},
               {"kind": "CosineAnnealingLR", "unit": "epoch", "T_max": 7.5},
               {"kind": "CosineAnnealingLR", "unit": "step", "T_max": 150},
               "Keras stays at the end, torch swings back up after T_max", "lr-schedule-unit"),
    _scheduled("adam", "warm restarts",
               {"kind": "cosine_decay_restarts", "unit": "step", "initial_learning_rate": 1e-3,
                "first_decay_steps": 128, "t_mul": 2.0},
               {"kind": "CosineAnnealingWarmRestarts", "unit": "epoch", "T_0": 6, "T_mult": 2},
               {"kind": "CosineAnnealingWarmRestarts", "unit": "step", "T_0": 128, "T_mult": 2},
               "the same waves; Keras counts steps, and floors a float32 logarithm to find the cycle",
               "lr-schedule-unit"),
    _scheduled("adam", "plateau", _PLATEAU, {**_PLATEAU, "kind": "ReduceLROnPlateau"},
               {**_PLATEAU, "kind": "ReduceLROnPlateau", "threshold_mode": "abs"},
               "torch waits one epoch longer; Keras's min_delta is absolute, torch's threshold relative",
               "plateau-patience"),
)  # fmt: skip

CASES: tuple[OptimizerCase, ...] = (*_PLAIN, *_DECAYED, *_CLIPPED, *_SCHEDULED)
"""Every case, in the order of the report."""
