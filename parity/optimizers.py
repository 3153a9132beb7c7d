"""Exact-equivalence adapters: train in one framework exactly as the other would.

`keras_like` is a `torch.optim.Optimizer` that steps as Keras 3 does, `torch_like` a Keras optimizer that steps as
`torch.optim` does. The smaller helpers repair one difference each on stock objects: `per_step_epsilon`,
`keras_schedule`, `keras_plateau`, `biased_running_variance`.

A framework is imported only when a function that needs it is called; importing this module imports none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.errors import UsageError

if TYPE_CHECKING:
    import keras
    import torch

_COMMON: Mapping[str, Any] = {"weight_decay": None, "clipnorm": None, "clipvalue": None, "global_clipnorm": None}
_ADAM: Mapping[str, Any] = {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, **_COMMON}

KERAS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"learning_rate": 0.01, "momentum": 0.0, "nesterov": False, **_COMMON},
    "adam": {**_ADAM, "amsgrad": False},
    "adamw": {**_ADAM, "amsgrad": False, "weight_decay": 0.004},
    "adamax": _ADAM,
    "nadam": _ADAM,
    "rmsprop": {
        "learning_rate": 0.001, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False, **_COMMON,
    },
    "adagrad": {"learning_rate": 0.001, "initial_accumulator_value": 0.1, "epsilon": 1e-7, **_COMMON},
    "adadelta": {"learning_rate": 0.001, "rho": 0.95, "epsilon": 1e-7, **_COMMON},
}  # fmt: skip
"""What Keras 3.15 uses where nothing is said, by the names of `keras_like`."""


def keras_like(name: str, params: Any, *, exact_constants: bool = False, **keras_config: Any) -> torch.optim.Optimizer:
    """Return a torch optimizer that takes the very steps of Keras 3's optimizer of that name.

    `name`: "sgd", "adam", "adamw", "adamax", "nadam", "rmsprop", "adagrad" or "adadelta". `params`: as for any torch
    optimizer, groups included; a group may have its own `lr` and any other word of the configuration except the
    clipping. `keras_config`: Keras's words with Keras's defaults (`KERAS_DEFAULTS`). The learning rate lives in
    `param_groups[i]["lr"]`, where torch's schedulers look for it; slots have Keras's names.

    Keras computes in the dtype of the variable, and so does this: float32 parameters get float32 bias corrections.
    For float64 parameters Keras still sends some constants through float32 (the betas of the bias correction, SGD's
    momentum, the weight decay, Nadam's betas, Adagrad's first accumulator), which is copied, too.
    `exact_constants=True` keeps them as doubles: the true formula, for a float64 reference whose Keras side was
    repaired likewise.

    Raises:
        UsageError: an unknown name or word, more than one kind of clipping, or a value that Keras refuses.
    Source: keras/src/optimizers/*.py and keras/src/backend/tensorflow/optimizer.py, Keras 3.15.
    """
    kind = _known(name, KERAS_DEFAULTS)
    config = {**KERAS_DEFAULTS[kind], **keras_config}
    unknown = sorted(set(config) - set(KERAS_DEFAULTS[kind]))
    if unknown:
        raise UsageError(f"keras_like({kind!r}) does not know {', '.join(unknown)}; it knows {_words(config, unknown)}")
    _check_keras_config(kind, config)
    found: torch.optim.Optimizer = _keras_like_class()(params, kind, config, exact_constants)
    return found


def _known(name: str, table: Mapping[str, Any]) -> str:
    kind = name.lower()
    if kind not in table:
        raise UsageError(f"no optimizer {name!r}: one of {', '.join(table)}")
    return kind


def _words(config: Mapping[str, Any], unknown: Iterable[str]) -> str:
    return ", ".join(word for word in config if word not in set(unknown))


def _check_keras_config(kind: str, config: Mapping[str, Any]) -> None:
    clipping = [word for word in ("clipnorm", "clipvalue", "global_clipnorm") if config[word] is not None]
    if len(clipping) > 1:
        raise UsageError(f"Keras clips in one way only, not by {' and '.join(clipping)}")
    if kind == "adamw" and config["weight_decay"] is None:
        raise UsageError("Keras's AdamW needs a weight_decay; use adam for none")
    momentum = config.get("momentum", 0.0)
    if not 0.0 <= momentum <= 1.0:
        raise UsageError(f"Keras's momentum lies between 0 and 1, not {momentum}")


@cache
def _keras_like_class() -> Any:
    """Build the class when torch is first needed."""
    import torch

    class KerasLike(torch.optim.Optimizer):
        """See `keras_like`."""

        def __init__(self, params: Any, kind: str, config: Mapping[str, Any], exact_constants: bool) -> None:
            # Whatever a resumed run must know lies in the groups, since those are what `state_dict` saves.
            defaults = {
                **{word: value for word, value in config.items() if word != "learning_rate"},
                "lr": config["learning_rate"],
                "kind": kind,
                "exact_constants": exact_constants,
                "iterations": 0,
                "u_product": 1.0,
            }
            super().__init__(params, defaults)

        def add_param_group(self, param_group: dict[str, Any]) -> None:
            if "learning_rate" in param_group:
                param_group["lr"] = param_group.pop("learning_rate")
            if self.param_groups:  # Keras counts steps for the whole optimizer, not for each variable
                param_group["iterations"] = self.param_groups[0]["iterations"]
                param_group["u_product"] = self.param_groups[0]["u_product"]
            super().add_param_group(param_group)

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            pairs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
            if pairs:
                gradients = _clipped([_dense(p.grad).to(p.dtype) for p, _ in pairs], self.param_groups[0])
                for parameter, group in pairs:
                    _decay(parameter, group)
                self._advance(pairs[0][0])
                for (parameter, group), gradient in zip(pairs, gradients, strict=True):
                    numbers = _Numbers(parameter.dtype, bool(group["exact_constants"]))
                    _KERAS_STEPS[group["kind"]](parameter, gradient, self.state[parameter], group, numbers)
            return loss

        def _advance(self, first: Any) -> None:
            """Count the step, and carry Nadam's product on; both belong to the optimizer, not to a variable."""
            head = self.param_groups[0]
            step, product = head["iterations"] + 1, head["u_product"]
            if head["kind"] == "nadam":
                numbers = _Numbers(first.dtype, True)
                decay = 1.0 - 0.5 * numbers.power(0.96, step)
                product = float(numbers.tensor(product) * head["beta_1"] * decay)
            for group in self.param_groups:
                group["iterations"], group["u_product"] = step, product

    KerasLike.__module__, KerasLike.__qualname__ = __name__, "KerasLike"
    return KerasLike


def __getattr__(name: str) -> Any:
    # Lets pickle and `copy` find the classes that are built on demand.
    if name == "KerasLike":
        return _keras_like_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Numbers:
    """Constants as Keras hands them to a variable of one dtype."""

    def __init__(self, dtype: Any, exact: bool) -> None:
        self.dtype, self.exact = dtype, exact

    def tensor(self, value: float) -> Any:
        """Return a scalar tensor of the dtype, rounded once."""
        import torch

        return torch.tensor(value, dtype=self.dtype)

    def cast(self, value: float) -> float:
        """Return the value after `keras.ops.cast`, which makes a float32 of a Python float on its way."""
        return value if self.exact else float(np.float32(value))

    def power(self, base: float, exponent: int) -> Any:
        """Return base**exponent as a scalar tensor of the dtype: the base rounded first, then the power, each once."""
        return self.tensor(float(self.tensor(base)) ** exponent)


def _dense(gradient: Any) -> Any:
    return gradient.to_dense() if gradient.is_sparse else gradient


def _clipped(gradients: list[Any], head: Mapping[str, Any]) -> list[Any]:
    if head["clipnorm"]:
        return [_clip_by_norm(gradient, head["clipnorm"]) for gradient in gradients]
    if head["global_clipnorm"]:
        return _clip_by_global_norm(gradients, head["global_clipnorm"])
    if head["clipvalue"]:
        return [gradient.clamp(-head["clipvalue"], head["clipvalue"]) for gradient in gradients]
    return gradients


def _clip_by_norm(gradient: Any, limit: float) -> Any:
    norm = (gradient * gradient).sum().sqrt()
    return (gradient * limit) / norm.clamp(min=limit)


def _clip_by_global_norm(gradients: list[Any], limit: float) -> list[Any]:
    device, dtype = gradients[0].device, gradients[0].dtype
    total = sum((gradient * gradient).sum().to(device, dtype) for gradient in gradients)
    norm = total.sqrt()
    scale = limit * (1.0 / norm).clamp(max=1.0 / limit) + (norm - norm)  # the last term passes a NaN on
    return [gradient * scale.to(gradient.device, gradient.dtype) for gradient in gradients]


def _decay(parameter: Any, group: Mapping[str, Any]) -> None:
    if group["weight_decay"] is None:
        return
    numbers = _Numbers(parameter.dtype, bool(group["exact_constants"]))
    parameter.sub_(parameter * numbers.cast(group["weight_decay"]) * float(group["lr"]))


def _slot(state: dict[str, Any], name: str, parameter: Any, start: float = 0.0) -> Any:
    if name not in state:
        import torch

        state[name] = torch.full_like(parameter, start, memory_format=torch.preserve_format)
    return state[name]


def _sgd(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], numbers: _Numbers) -> None:
    lr = float(group["lr"])
    if group["momentum"] == 0:
        p.sub_(g * lr)
        return
    momentum = numbers.cast(group["momentum"])
    velocity = _slot(state, "momentum", p)
    velocity.copy_(velocity * momentum - g * lr)
    p.add_(velocity * momentum - g * lr if group["nesterov"] else velocity)


def _adam(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], numbers: _Numbers) -> None:
    first = numbers.power(numbers.cast(group["beta_1"]), group["iterations"])
    second = numbers.power(numbers.cast(group["beta_2"]), group["iterations"])
    alpha = numbers.tensor(float(group["lr"])) * (1.0 - second).sqrt() / (1.0 - first)
    m, v = _slot(state, "momentum", p), _slot(state, "velocity", p)
    m.add_((g - m) * (1.0 - group["beta_1"]))
    v.add_((g * g - v) * (1.0 - group["beta_2"]))
    if group["amsgrad"]:
        hat = _slot(state, "velocity_hat", p)
        v = hat.copy_(hat.maximum(v))
    p.sub_((m * alpha.to(p.device)) / (v.sqrt() + group["epsilon"]))


def _adamax(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], numbers: _Numbers) -> None:
    rest = 1.0 - numbers.power(numbers.cast(group["beta_1"]), group["iterations"])
    m, u = _slot(state, "momentum", p), _slot(state, "norm", p)
    m.add_((g - m) * (1.0 - group["beta_1"]))
    u.copy_((u * group["beta_2"]).maximum(g.abs()))
    p.sub_((m * float(group["lr"])) / ((u + group["epsilon"]) * rest.to(p.device)))


def _nadam(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], numbers: _Numbers) -> None:
    step = group["iterations"]
    beta_1, beta_2 = numbers.tensor(numbers.cast(group["beta_1"])), numbers.tensor(numbers.cast(group["beta_2"]))
    decay = numbers.cast(0.96)
    now = beta_1 * (1.0 - 0.5 * numbers.power(decay, step))
    soon = beta_1 * (1.0 - 0.5 * numbers.power(decay, step + 1))
    product = numbers.tensor(group["u_product"])
    rest = 1.0 - numbers.power(float(beta_2), step)
    device = p.device
    m, v = _slot(state, "momentum", p), _slot(state, "velocity", p)
    m.add_((g - m) * (1.0 - beta_1).to(device))
    v.add_((g * g - v) * (1.0 - beta_2).to(device))
    ahead = (m * soon.to(device)) / (1.0 - product * soon).to(device)
    here = (g * (1.0 - now).to(device)) / (1.0 - product).to(device)
    p.sub_(((ahead + here) * float(group["lr"])) / ((v / rest.to(device)).sqrt() + group["epsilon"]))


def _rmsprop(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], _: _Numbers) -> None:
    rho, momentum = group["rho"], group["momentum"]
    v = _slot(state, "velocity", p)
    v.copy_(v * rho + (g * g) * (1.0 - rho))
    spread = v
    if group["centered"]:
        mean = _slot(state, "average_gradient", p)
        mean.copy_(mean * rho + g * (1.0 - rho))
        spread = v - mean * mean
    increment = (g * float(group["lr"])) / (spread + group["epsilon"]).sqrt()
    if momentum > 0:
        velocity = _slot(state, "momentum", p)
        increment = velocity.copy_(velocity * momentum + increment)
    p.sub_(increment)


def _adagrad(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], numbers: _Numbers) -> None:
    total = _slot(state, "accumulator", p, numbers.cast(group["initial_accumulator_value"]))
    total.add_(g * g)
    p.sub_((g * float(group["lr"])) / (total + group["epsilon"]).sqrt())


def _adadelta(p: Any, g: Any, state: dict[str, Any], group: Mapping[str, Any], _: _Numbers) -> None:
    rho, epsilon = group["rho"], group["epsilon"]
    squares, moves = _slot(state, "accumulated_grad", p), _slot(state, "accumulated_delta_var", p)
    squares.copy_(squares * rho + (g * g) * (1.0 - rho))
    move = -(((moves + epsilon).sqrt() * g) / (squares + epsilon).sqrt())
    moves.copy_(moves * rho + (move * move) * (1.0 - rho))
    p.add_(move * float(group["lr"]))


_KERAS_STEPS: Mapping[str, Callable[..., None]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adam,
    "adamax": _adamax,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
}

_TORCH_ADAM: Mapping[str, Any] = {
    "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False,
}  # fmt: skip
_TORCH_CLIPPING: Mapping[str, Any] = {"clip_grad_norm": None, "clip_grad_value": None}

TORCH_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {
        "lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False,
    },
    "adam": {**_TORCH_ADAM, "decoupled_weight_decay": False},
    "adamw": {**_TORCH_ADAM, "weight_decay": 1e-2},
    "adamax": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "maximize": False},
    "nadam": {
        "lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "momentum_decay": 4e-3,
        "decoupled_weight_decay": False, "maximize": False,
    },
    "rmsprop": {
        "lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False,
        "maximize": False,
    },
    "adagrad": {
        "lr": 1e-2, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10,
        "maximize": False,
    },
    "adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6, "weight_decay": 0.0, "maximize": False},
}  # fmt: skip
"""What torch 2.15 uses where nothing is said, by the names of `torch_like`."""


def torch_like(name: str, **torch_config: Any) -> keras.optimizers.Optimizer:
    """Return a Keras optimizer (TensorFlow backend) that takes the very steps of `torch.optim`'s of that name.

    `name`: "sgd", "adam", "adamw", "adamax", "nadam", "rmsprop", "adagrad" or "adadelta", in any case. `torch_config`:
    torch's words with torch's defaults (`TORCH_DEFAULTS`); `lr` may be a Keras schedule. Two words more stand for the
    calls that a torch loop makes before the step: `clip_grad_norm` (`torch.nn.utils.clip_grad_norm_`'s max_norm, over
    all variables) and `clip_grad_value`. Use it in `model.compile`, or `apply` it under `tf.function`; a saved model
    that holds one loads after `torch_like` was called once in that process.

    All variables must get a gradient at every step: torch counts the steps of each, Keras those of the optimizer.

    Raises:
        UsageError: an unknown name or word, or a value that torch refuses.
    Source: torch/optim/*.py, the single-tensor forms, torch 2.15.
    """
    kind = _known(name, TORCH_DEFAULTS)
    config = {**TORCH_DEFAULTS[kind], **_TORCH_CLIPPING, **torch_config}
    unknown = sorted(set(config) - set(TORCH_DEFAULTS[kind]) - set(_TORCH_CLIPPING))
    if unknown:
        raise UsageError(f"torch_like({kind!r}) does not know {', '.join(unknown)}; it knows {_words(config, unknown)}")
    if config.get("nesterov") and (config["momentum"] <= 0 or config["dampening"] != 0):
        raise UsageError("torch's Nesterov momentum needs a momentum and no dampening")
    found: keras.optimizers.Optimizer = _torch_like_class()(kind=kind, **config)
    return found


@cache
def _torch_like_class() -> Any:
    """Build the class when Keras is first needed."""
    import keras
    import tensorflow as tf

    class TorchLike(_TorchSteps, keras.optimizers.Optimizer):
        """See `torch_like`."""

        _tf = tf

        def __init__(self, kind: str, lr: Any = None, name: str | None = None, **config: Any) -> None:
            keras_own = {word: config.pop(word) for word in _KERAS_OWN if word in config}
            rate = keras_own.pop("learning_rate", lr)
            keras_own = {word: value for word, value in keras_own.items() if value is not None}
            super().__init__(learning_rate=float(rate) if isinstance(rate, int) else rate, name=name, **keras_own)
            self.kind = kind
            self._words = _Frozen(config)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "kind": self.kind, **self._words.config}

        def build(self, variables: Any) -> None:
            if self.built:
                return
            super().build(variables)
            words, self._torch_slots = self._words, {}
            for slot in _torch_slots(self.kind, words):
                start = words["initial_accumulator_value"] if slot == "sum" else 0.0
                made = self.add_optimizer_variables(variables, slot)
                for variable in made if start else ():
                    variable.assign(tf.fill(variable.shape, tf.constant(start, variable.dtype)))
                self._torch_slots[slot] = made
            if self.kind == "nadam":  # a float32 scalar in torch, whatever the parameters are
                self._mu_product = self.add_variable((), "ones", dtype="float32", name="mu_product")

        def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
            if self.kind == "nadam":
                self._mu_product.assign(self._mu_product.value * tf.cast(self._mu(self._step_number()), "float32"))
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    TorchLike.__module__, TorchLike.__qualname__ = __name__, "TorchLike"
    return keras.saving.register_keras_serializable(package="parity")(TorchLike)


class _TorchSteps:
    """What each of torch's optimizers takes off a variable, in its own order of operations, and the slots it moves."""

    _tf: Any
    _words: _Frozen
    _mu_product: Any
    iterations: Any
    kind: str
    _torch_slots: dict[str, list[Any]]
    _get_variable_index: Callable[[Any], int]

    def slot(self, name: str, variable: Any) -> Any:
        """Return torch's slot of that name for one variable."""
        return self._torch_slots[name][self._get_variable_index(variable)]

    def _clip_gradients(self, grads: Any) -> Any:
        tf, words = self._tf, self._words
        grads = [tf.convert_to_tensor(gradient) for gradient in grads]
        if words["clip_grad_norm"] is not None:
            norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in grads]))
            scale = tf.minimum(words["clip_grad_norm"] / (norm + 1e-6), 1.0)
            grads = [gradient * scale for gradient in grads]
        if words["clip_grad_value"] is not None:
            limit = words["clip_grad_value"]
            grads = [tf.clip_by_value(gradient, -limit, limit) for gradient in grads]
        return grads

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        tf, words, dtype = self._tf, self._words, variable.dtype
        gradient = tf.cast(gradient, dtype)
        rate = tf.cast(learning_rate, "float64")  # torch's rates are doubles, whatever the parameters are
        if words["maximize"]:
            gradient = -gradient
        if words["weight_decay"]:
            if self.kind == "adamw" or words.get("decoupled_weight_decay"):
                variable.assign(variable * tf.cast(1.0 - rate * words["weight_decay"], dtype))
            else:
                gradient = gradient + variable * words["weight_decay"]
        step = getattr(self, f"_step_{'adam' if self.kind == 'adamw' else self.kind}")
        variable.assign_sub(step(gradient, variable, rate))

    def _step_number(self) -> Any:
        tf = self._tf
        return tf.cast(self.iterations.value + 1, "float64")

    def _power(self, base: float, exponent: Any) -> Any:
        tf = self._tf
        return tf.pow(tf.constant(base, "float64"), exponent)

    def _mu(self, step: Any) -> Any:
        decay = self._power(0.96, step * self._words["momentum_decay"])
        return self._words["betas"][0] * (1.0 - 0.5 * decay)

    def _average(self, name: str, variable: Any, keep: float, value: Any) -> Any:
        """Let a slot keep that share of itself, and return it."""
        slot = self.slot(name, variable)
        slot.assign(slot.value * keep + value * (1.0 - keep))
        return slot.value

    def _lerp(self, name: str, variable: Any, keep: float, value: Any) -> Any:
        slot, weight = self.slot(name, variable), 1.0 - keep
        old = slot.value
        slot.assign(old + weight * (value - old) if weight < 0.5 else value - (value - old) * (1.0 - weight))
        return slot.value

    def _step_sgd(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, rate = self._words, tf.cast(rate, variable.dtype)
        if words["momentum"]:
            buffer = self.slot("momentum_buffer", variable)
            later = buffer.value * words["momentum"] + gradient * (1.0 - words["dampening"])
            buffer.assign(tf.where(tf.equal(self.iterations.value, 0), gradient, later))
            nesterov = words["nesterov"]
            gradient = gradient + buffer.value * words["momentum"] if nesterov else buffer.value
        return gradient * rate

    def _step_adam(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, dtype, number = self._words, variable.dtype, self._step_number()
        first, second = words["betas"]
        mean = self._lerp("exp_avg", variable, first, gradient)
        square = self._average("exp_avg_sq", variable, second, gradient * gradient)
        if words["amsgrad"]:
            highest = self.slot("max_exp_avg_sq", variable)
            highest.assign(tf.maximum(highest.value, square))
            square = highest.value
        root = tf.cast(tf.sqrt(1.0 - self._power(second, number)), dtype)
        size = tf.cast(rate / (1.0 - self._power(first, number)), dtype)
        return size * mean / (tf.sqrt(square) / root + words["eps"])

    def _step_adamax(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, (first, second) = self._words, self._words["betas"]
        mean = self._lerp("exp_avg", variable, first, gradient)
        highest = self.slot("exp_inf", variable)
        highest.assign(tf.maximum(highest.value * second, tf.abs(gradient) + words["eps"]))
        size = rate / (1.0 - self._power(first, self._step_number()))
        return tf.cast(size, variable.dtype) * mean / highest.value

    def _step_nadam(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, dtype, number = self._words, variable.dtype, self._step_number()
        first, second = words["betas"]
        mean = self._lerp("exp_avg", variable, first, gradient)
        square = self._average("exp_avg_sq", variable, second, gradient * gradient)
        denominator = tf.sqrt(square / tf.cast(1.0 - self._power(second, number), dtype)) + words["eps"]
        now, soon = self._mu(number), self._mu(number + 1.0)
        product = tf.cast(self._mu_product.value, "float64")
        here = tf.cast(rate * (1.0 - now) / (1.0 - product), dtype)
        ahead = tf.cast(rate * soon / (1.0 - product * soon), dtype)
        return here * gradient / denominator + ahead * mean / denominator

    def _step_rmsprop(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, rate = self._words, tf.cast(rate, variable.dtype)
        spread = self._average("square_avg", variable, words["alpha"], gradient * gradient)
        if words["centered"]:
            mean = self._lerp("grad_avg", variable, words["alpha"], gradient)
            spread = spread - mean * mean
        move = gradient / (tf.sqrt(spread) + words["eps"])
        if words["momentum"] > 0:
            buffer = self.slot("momentum_buffer", variable)
            buffer.assign(buffer.value * words["momentum"] + move)
            move = buffer.value
        return rate * move

    def _step_adagrad(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, total = self._words, self.slot("sum", variable)
        total.assign_add(gradient * gradient)
        size = rate / (1.0 + (self._step_number() - 1.0) * words["lr_decay"])
        return tf.cast(size, variable.dtype) * gradient / (tf.sqrt(total.value) + words["eps"])

    def _step_adadelta(self, gradient: Any, variable: Any, rate: Any) -> Any:
        tf = self._tf
        words, moves = self._words, self.slot("acc_delta", variable)
        square = self._average("square_avg", variable, words["rho"], gradient * gradient)
        move = tf.sqrt(moves.value + words["eps"]) / tf.sqrt(square + words["eps"]) * gradient
        self._average("acc_delta", variable, words["rho"], move * move)
        return tf.cast(rate, variable.dtype) * move


_KERAS_OWN = (
    "learning_rate", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "ema_momentum",
    "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps",
)  # fmt: skip


class _Frozen:
    """A configuration that Keras does not mistake for something to track."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def __getitem__(self, word: str) -> Any:
        return self.config[word]

    def get(self, word: str) -> Any:
        return self.config.get(word)


def _torch_slots(kind: str, words: Any) -> list[str]:
    """Return the names that torch gives to the slots in use."""
    if kind in ("adam", "adamw"):
        return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if words["amsgrad"] else [])]
    if kind == "rmsprop":
        extra = ["grad_avg"] if words["centered"] else []
        return ["square_avg", *extra, *(["momentum_buffer"] if words["momentum"] > 0 else [])]
    return {
        "sgd": ["momentum_buffer"] if words.get("momentum") else [],
        "adamax": ["exp_avg", "exp_inf"],
        "nadam": ["exp_avg", "exp_avg_sq"],
        "adagrad": ["sum"],
        "adadelta": ["square_avg", "acc_delta"],
    }[kind]


def per_step_epsilon(optimizer: torch.optim.Optimizer, epsilon: float = 1e-7) -> Any:
    """Make a stock torch Adam, AdamW or NAdam use Keras's epsilon at every step; return a handle with `remove()`.

    Keras adds epsilon to sqrt(v), torch to sqrt(v)/sqrt(1 - b2^t): the same number acts as eps/sqrt(1 - b2^t) in
    torch's place, 32 times as much at the first step. Keras's Nadam adds it where torch does, so there it is constant.
    The groups' `eps` is set before each step. What remains between float32 runs is the bias correction, which Keras
    computes from float32(b2): 6.6e-6 of the first step; `keras_like` has that, too.

    Raises:
        UsageError: another kind of optimizer; at a step: parameters of one group with unequal counts.
    Source: keras/src/optimizers/adam.py, torch/optim/adam.py.
    """
    import torch

    if not isinstance(optimizer, torch.optim.Adam | torch.optim.NAdam):
        raise UsageError(f"per_step_epsilon is for torch's Adam, AdamW and NAdam, not {type(optimizer).__name__}")
    bias_corrected = isinstance(optimizer, torch.optim.NAdam)

    def before(found: Any, *_: Any) -> None:
        for group in found.param_groups:
            scale = 1.0 if bias_corrected else math.sqrt(1.0 - float(group["betas"][1]) ** _next_step(found, group))
            group["eps"] = epsilon / scale

    return optimizer.register_step_pre_hook(before)


def _next_step(optimizer: Any, group: Mapping[str, Any]) -> int:
    moving = [p for p in group["params"] if p.grad is not None]
    counts = {int(optimizer.state[p]["step"]) if "step" in optimizer.state.get(p, {}) else 0 for p in moving}
    if len(counts) > 1:
        raise UsageError("per_step_epsilon: parameters of one group have made unequal numbers of steps; use keras_like")
    return max(counts, default=0) + 1


SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "exponential_decay": {"decay_steps": None, "decay_rate": None, "staircase": False},
    "inverse_time_decay": {"decay_steps": None, "decay_rate": None, "staircase": False},
    "polynomial_decay": {"decay_steps": None, "end_learning_rate": 0.0001, "power": 1.0, "cycle": False},
    "cosine_decay": {"decay_steps": None, "alpha": 0.0, "warmup_target": None, "warmup_steps": 0},
    "cosine_decay_restarts": {"first_decay_steps": None, "t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0},
    "piecewise_constant_decay": {"boundaries": None, "values": None},
}
"""Keras's schedules and their words beside `initial_learning_rate`; None stands for a word that must be given."""


def keras_rate(name: str, step: int, *, exact_constants: bool = False, **config: Any) -> float:
    """Return the learning rate of a Keras schedule at a step, the first step being 0.

    Keras computes its schedules in float32 whatever the model's dtype, and so does this, each operation rounded once;
    `exact_constants=True` computes in double.

    Raises:
        UsageError: an unknown schedule or word, or a word that is missing.
    Source: keras/src/optimizers/schedules/learning_rate_schedule.py.
    """
    words = _schedule_words(name, config)
    kind = np.float64 if exact_constants else np.float32
    return float(_RATES[name](kind(step), words, kind))


def keras_schedule(
    optimizer: torch.optim.Optimizer, name: str, *, exact_constants: bool = False, **config: Any
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a torch scheduler that follows a Keras schedule; call its `step()` after every optimizer step.

    `name` and words as in `SCHEDULES` (`initial_learning_rate` too): one unit is a step, not an epoch. All groups get
    the schedule's rate. It has a `state_dict`, as any scheduler.

    Raises:
        UsageError: as `keras_rate`.
    """
    _schedule_words(name, config)
    found: torch.optim.lr_scheduler.LRScheduler = _keras_schedule_class()(optimizer, name, exact_constants, config)
    return found


@cache
def _keras_schedule_class() -> Any:
    from torch.optim.lr_scheduler import LRScheduler

    class KerasSchedule(LRScheduler):
        """See `keras_schedule`."""

        def __init__(self, optimizer: Any, kind: str, exact: bool, config: Mapping[str, Any]) -> None:
            self.kind, self.exact, self.config = kind, exact, dict(config)
            super().__init__(optimizer)

        def get_lr(self) -> list[float | Any]:
            rate = keras_rate(self.kind, self.last_epoch, exact_constants=self.exact, **self.config)
            return [rate for _ in self.optimizer.param_groups]

    return KerasSchedule


def _schedule_words(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    if name not in SCHEDULES:
        raise UsageError(f"no Keras schedule {name!r}: one of {', '.join(SCHEDULES)}")
    known = dict(SCHEDULES[name])
    if name != "piecewise_constant_decay":
        known["initial_learning_rate"] = None
    unknown = sorted(set(config) - set(known))
    words = {**known, **config}
    absent = [word for word, value in words.items() if value is None and word != "warmup_target"]
    if unknown or absent:
        raise UsageError(f"schedule {name}: unknown {unknown}, missing {absent}")
    return words


def _exponential(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    part = step / kind(words["decay_steps"])
    part = np.floor(part) if words["staircase"] else part
    return kind(words["initial_learning_rate"]) * _power(words["decay_rate"], part, kind)


def _inverse_time(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    part = step / kind(words["decay_steps"])
    part = np.floor(part) if words["staircase"] else part
    return kind(words["initial_learning_rate"]) / (kind(1.0) + kind(words["decay_rate"]) * part)


def _polynomial(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    length, end = kind(words["decay_steps"]), kind(words["end_learning_rate"])
    if words["cycle"]:
        length = length * (kind(1.0) if step == 0 else np.ceil(step / length))
    else:
        step = min(step, length)
    left = kind(1.0) - step / length
    return (kind(words["initial_learning_rate"]) - end) * _power(left, words["power"], kind) + end


def _cosine(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    start, length, warm = kind(words["initial_learning_rate"]), kind(words["decay_steps"]), kind(words["warmup_steps"])
    if words["warmup_target"] is None:
        return _half_wave(min(step, length) / length, start, words["alpha"], kind)
    target = kind(words["warmup_target"])
    step = min(step, length + warm)
    if step < warm:
        return (target - start) * (step / warm) + start
    return _half_wave((step - warm) / length, target, words["alpha"], kind)


def _half_wave(part: Any, start: Any, alpha: float, kind: Any) -> Any:
    wave = kind(0.5) * (kind(1.0) + kind(math.cos(kind(math.pi) * part)))
    return start * (kind(1.0 - alpha) * wave + kind(alpha))


def _restarts(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    one, longer, alpha = kind(1.0), kind(words["t_mul"]), kind(words["alpha"])
    part = step / kind(words["first_decay_steps"])
    if longer == 1.0:
        count = np.floor(part)
        part = part - count
    else:
        count = np.floor(kind(math.log(one - part * (one - longer))) / kind(math.log(longer)))
        passed = (one - _power(longer, count, kind)) / (one - longer)
        part = (part - passed) / _power(longer, count, kind)
    height = kind(0.5) * _power(words["m_mul"], count, kind)
    wave = height * (one + kind(math.cos(kind(math.pi) * part)))
    return kind(words["initial_learning_rate"]) * ((one - alpha) * wave + alpha)


def _piecewise(step: Any, words: Mapping[str, Any], kind: Any) -> Any:
    passed = sum(step > boundary for boundary in words["boundaries"])
    return kind(words["values"][passed])


def _power(base: Any, exponent: Any, kind: Any) -> Any:
    return kind(float(kind(base)) ** float(kind(exponent)))


_RATES: Mapping[str, Callable[[Any, Mapping[str, Any], Any], Any]] = {
    "exponential_decay": _exponential,
    "inverse_time_decay": _inverse_time,
    "polynomial_decay": _polynomial,
    "cosine_decay": _cosine,
    "cosine_decay_restarts": _restarts,
    "piecewise_constant_decay": _piecewise,
}


class KerasPlateau:
    """Lower the learning rate when a metric stops improving, at the epoch at which Keras's callback does.

    Words and defaults are those of `keras.callbacks.ReduceLROnPlateau` (mode: "min" or "max"). Call `step(metric)`
    after every epoch. torch's own scheduler waits one epoch longer and takes its threshold relative to the best value.

    With `float32` (as in a Keras whose floatx is float32) the rate is rounded to float32 whenever it is set.
    Source: keras/src/callbacks/reduce_lr_on_plateau.py.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "min",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        float32: bool = True,
    ) -> None:
        if factor >= 1.0:
            raise UsageError(f"the factor must be below 1, not {factor}")
        if mode not in ("min", "max"):
            raise UsageError(f"the mode must be min or max, not {mode!r}")
        self.optimizer, self.factor, self.patience, self.mode = optimizer, factor, patience, mode
        self.min_delta, self.cooldown, self.min_lr, self.float32 = min_delta, cooldown, min_lr, float32
        self.best: float | None = None
        self.wait = self.cooldown_counter = 0

    def step(self, metric: float) -> None:
        """Take notice of an epoch's metric."""
        value = float(metric)
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self._improved(value):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and self._reduce_all():
                self.cooldown_counter, self.wait = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """Return the rates now in use, one per group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.best, "wait": self.wait, "cooldown_counter": self.cooldown_counter}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.best, self.wait, self.cooldown_counter = state["best"], state["wait"], state["cooldown_counter"]

    def _improved(self, value: float) -> bool:
        if self.best is None:
            return True
        return value + self.min_delta < self.best if self.mode == "min" else value - self.min_delta > self.best

    def _reduce_all(self) -> bool:
        lowered = [self._reduce(group) for group in self.optimizer.param_groups]
        return any(lowered)

    def _reduce(self, group: dict[str, Any]) -> bool:
        old = self._rounded(float(group["lr"]))
        if old <= float(np.float32(self.min_lr)):
            return False
        group["lr"] = self._rounded(max(old * self.factor, self.min_lr))
        return True

    def _rounded(self, value: float) -> float:
        return float(np.float32(value)) if self.float32 else value


def keras_plateau(optimizer: torch.optim.Optimizer, **config: Any) -> KerasPlateau:
    """Return a `KerasPlateau` on a torch optimizer; words and defaults are Keras's."""
    return KerasPlateau(optimizer, **config)


class Removable:
    """Several hooks that go together."""

    def __init__(self, handles: Iterable[Any]) -> None:
        self.handles = list(handles)

    def remove(self) -> None:
        """Take all of them off; twice does no harm."""
        while self.handles:
            self.handles.pop().remove()


def biased_running_variance(module: torch.nn.Module) -> Removable:
    """Make the BatchNorm layers in `module` keep the biased running variance, as Keras does; return a `Removable`.

    torch adds var * N/(N-1) to its running variance, Keras var, N being the values per channel: outputs in training
    agree, evaluation afterwards does not. The layers' momentum stays theirs (Keras's 0.99 is 0.01 in torch).

    Raises:
        UsageError: a SyncBatchNorm, whose N is spread over processes, or no BatchNorm with statistics at all.
    Source: torch/nn/modules/batchnorm.py, keras/src/layers/normalization/batch_normalization.py.
    """
    from torch.nn import SyncBatchNorm
    from torch.nn.modules.batchnorm import _BatchNorm

    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.running_var is not None]
    if not layers:
        raise UsageError("biased_running_variance: there is no BatchNorm layer with running statistics")
    if any(isinstance(layer, SyncBatchNorm) for layer in layers):
        raise UsageError("biased_running_variance: a SyncBatchNorm does not know here how many values it averaged")
    handles: list[Any] = []
    for layer in layers:
        handles += [layer.register_forward_pre_hook(_keep_variance), layer.register_forward_hook(_bias_variance)]
    return Removable(handles)


def _keep_variance(layer: Any, _: tuple[Any, ...]) -> None:
    layer.__dict__["_variance_before"] = layer.running_var.clone() if layer.training else None


def _bias_variance(layer: Any, inputs: tuple[Any, ...], _: Any) -> None:
    before = layer.__dict__.pop("_variance_before", None)
    if before is None:
        return
    share = layer.momentum if layer.momentum is not None else 1.0 / float(layer.num_batches_tracked)
    count = inputs[0].numel() // inputs[0].shape[1]
    kept = before * (1.0 - share)
    # The backward pass does not read it, but would refuse a variance that was seen to change: `.data` is not watched.
    layer.running_var.data.copy_(kept + (layer.running_var - kept) * ((count - 1) / count))
