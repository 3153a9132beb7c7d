"""Where a run is watched: the calls of layers, of operations, of a few functions, and every raw operation.

The replacements stay for the life of the worker and do nothing while nobody records.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from parity.adapters import tensorflow_model_freeing
from parity.adapters.tensorflow_model_activations import activation_of, named_activation
from parity.adapters.tensorflow_model_calling import dropped_alike
from parity.adapters.tensorflow_model_names import is_keras_layer, plain_variable
from parity.adapters.tensorflow_model_tensors import is_tensor, tensors_in
from parity.adapters.tensorflow_model_tracing import Recorder
from parity.model import draws

# Operations that draw between 0 and 1, or from a standard normal distribution.
DRAWN = {
    "RandomUniform": "uniform", "StatelessRandomUniform": "uniform", "StatelessRandomUniformV2": "uniform",
    "RandomStandardNormal": "normal", "StatelessRandomNormal": "normal", "StatelessRandomNormalV2": "normal",
}  # fmt: skip

# Functions that consist of several raw operations, and so would not be recognised by them.
_COMPOSED = (
    "gelu", "silu", "swish", "mish", "softplus", "softmax", "log_softmax", "hard_sigmoid", "hard_silu", "hard_swish",
    "log_sigmoid", "celu", "elu", "selu", "leaky_relu", "relu6", "relu", "tanh_shrink", "hard_tanh", "soft_shrink",
    "hard_shrink", "squareplus", "softsign", "sigmoid",
)  # fmt: skip
_MODULES = ("tf.nn", "tf.math", "keras.activations", "keras.ops", "keras.ops.nn", "tf_keras.activations")
_OPERATIONS = {
    "Gelu": "gelu", "Silu": "silu", "Softplus": "softplus", "Softmax": "softmax", "LogSoftmax": "log_softmax",
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "LogSigmoid": "log_sigmoid", "Celu": "celu", "Elu": "elu",
    "LeakyRelu": "leaky_relu", "Relu6": "relu6", "TanhShrink": "tanh_shrink", "HardTanh": "hard_tanh",
    "SoftShrink": "soft_shrink", "HardShrink": "hard_shrink", "Squareplus": "squareplus", "Softsign": "softsign",
    "Selu": "selu", "Sigmoid": "sigmoid",
}  # fmt: skip
Found = tuple[str, dict[str, Any], dict[str, Any]]


class Hooks:
    """The one set of replacements of a process; `recorder` is who listens."""

    def __init__(self, tf: Any, keras: Any) -> None:
        self.tf, self.keras = tf, keras
        self.recorder: Recorder | None = None
        self.no_dropout = False
        self.draws_alike, self.draws = False, 0  # whether random numbers are replaced; how many draws of this run were
        self._busy = False
        self._done: set[int] = set()
        self._replaced: dict[int, Any] = {}
        self._seen_classes: dict[type, type] = {}

    def install(self) -> None:
        """Put the replacements in place, of Keras 2 as well once it is imported."""
        self._layers(self.keras.layers.Layer)
        self._operations(self.keras.Operation)
        tensorflow_model_freeing.install(self.keras, _is_symbolic)
        self._own_gradients()
        legacy = sys.modules.get("tf_keras")
        if legacy is not None:
            self._layers(legacy.layers.Layer)
        for module in self._modules():
            self._functions(module)

    def _modules(self) -> Iterator[Any]:
        places = {"tf": self.tf, "keras": self.keras, "tf_keras": sys.modules.get("tf_keras")}
        for name in _MODULES:
            first, *rest = name.split(".")
            yield functools.reduce(lambda held, part: getattr(held, part, None), rest, places[first])
        public = getattr(self.tf, "keras", None)
        for name in ("activations", "ops"):
            yield getattr(public, name, None)

    def _layers(self, base: Any) -> None:
        if id(base) in self._done:
            return
        self._done.add(id(base))
        original, hooks = base.__call__, self

        @functools.wraps(original)
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            recorder = hooks.recorder
            if recorder is None or not recorder.listening or _is_symbolic([args, kwargs]):
                return original(layer, *args, **kwargs)
            return recorder.layer(layer, original, args, kwargs)

        base.__call__ = call

    def _operations(self, base: Any) -> None:
        if id(base) in self._done:
            return
        self._done.add(id(base))
        original, hooks = base.__call__, self

        @functools.wraps(original)
        def call(op: Any, *args: Any, **kwargs: Any) -> Any:
            recorder = hooks.recorder
            if recorder is None or not recorder.listening or is_keras_layer(op) or _is_symbolic([args, kwargs]):
                return original(op, *args, **kwargs)
            found = _operation(op, args)
            if found is None or recorder.known(args[0]) is None:
                return recorder.operation(op, original, args, kwargs)
            function = functools.partial(original, op)
            functools.update_wrapper(function, type(op).call)
            return recorder.operation(op, lambda _, *a, **k: recorder.function(function, a, k, found), args, kwargs)

        base.__call__ = call

    def _own_gradients(self) -> None:
        """Let functions that a user gives a gradient of his own be told of."""
        original, hooks = self.tf.custom_gradient, self
        if id(original) in self._done:
            return

        @functools.wraps(original)
        def decorate(function: Any = None) -> Any:
            if function is None:
                return decorate
            made = original(function)

            @functools.wraps(made)
            def call(*args: Any, **kwargs: Any) -> Any:
                recorder = hooks.recorder
                if recorder is None or not recorder.listening or not recorder.training:
                    return made(*args, **kwargs)
                return recorder.with_own_gradient(made, args, kwargs)

            return call

        self._done.add(id(decorate))
        self.tf.custom_gradient = decorate

    def _functions(self, module: Any) -> None:
        if module is None:
            return
        own = {"l2_normalize": _l2_normalize, "batch_normalization": _batch_normalization, "normalize": _normalize}
        for name in (*_COMPOSED, *own, "dropout"):
            original = getattr(module, name, None)
            if original is None or not callable(original) or inspect.isclass(original) or id(original) in self._done:
                continue
            if id(original) not in self._replaced:
                make = self._without_dropout if name == "dropout" else self._function
                self._replaced[id(original)] = make(original, own.get(name, _activation))
            replaced = self._replaced[id(original)]
            self._done.add(id(replaced))
            setattr(module, name, replaced)

    def _function(self, original: Any, describe: Callable[..., Found | None]) -> Any:
        hooks = self

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            recorder = hooks.recorder
            if recorder is None or not recorder.listening or not args or recorder.known(args[0]) is None:
                return original(*args, **kwargs)
            try:
                found = describe(recorder, original, args, kwargs)
            except Exception:  # it is then seen by its raw operations
                found = None
            return original(*args, **kwargs) if found is None else recorder.function(original, args, kwargs, found)

        return call

    def _without_dropout(self, original: Any, _: Any) -> Any:
        hooks = self

        @functools.wraps(original)
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if hooks.no_dropout:
                return hooks.tf.identity(x)
            rate, recorder = kwargs.get("rate", args[0] if args else None), hooks.recorder
            if not isinstance(rate, float) or not rate or len(args) > 1 or {*kwargs} - {"rate", "seed", "name"}:
                return original(x, *args, **kwargs)
            if recorder is None or not recorder.listening or recorder.known(x) is None:
                return dropped_alike(hooks.tf.convert_to_tensor(x), rate)
            return recorder.function(dropped_alike, (x, rate), {}, ("op:dropout", {"rate": rate}, {}), "dropout")

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See every raw operation of this thread, the bodies of `tf.function` included."""
        from tensorflow.python.framework import op_callbacks

        eagerly = self.tf.config.functions_run_eagerly()
        self.tf.config.run_functions_eagerly(True)
        op_callbacks.add_op_callback(self._seen)
        try:
            yield
        finally:
            op_callbacks.remove_op_callback(self._seen)
            self.tf.config.run_functions_eagerly(eagerly)

    @contextmanager
    def scope(self, path: str) -> Iterator[None]:
        """Be inside a named part of a graph."""
        if self.recorder is None or not path:
            yield
            return
        with self.recorder.frame(path, self.recorder.training):
            yield

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Watch no operation meanwhile."""
        kept, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = kept

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Let a recorder listen; variables are read visibly meanwhile."""
        plain = {
            id(v): v for v in (plain_variable(v) for v in [*recorder.names.weights.values(), *recorder.names.others])
        }
        kept = [(v, type(v)) for v in plain.values() if "_handle" in getattr(v, "__dict__", {})]
        for variable, kind in kept:
            variable.__class__ = self._read_visibly(kind)
        self.recorder = recorder
        try:
            yield
        finally:
            self.recorder = None
            for variable, kind in kept:
                variable.__class__ = kind

    def _read_visibly(self, kind: type) -> type:
        """Return a class of variables that no operation reads on its own, out of sight, but through `read_value`.

        TensorFlow's fast path takes a variable for an input when its `_handle` is a tensor; without one it converts it.
        """
        if kind not in self._seen_classes:
            members = {
                "_handle": property(lambda _: None),
                "handle": property(lambda variable: variable.__dict__["_handle"]),
            }
            self._seen_classes[kind] = type(kind.__name__, (kind,), members)
        return self._seen_classes[kind]

    def _seen(
        self,
        op_type: Any,
        inputs: Sequence[Any],
        attrs: Any,
        outputs: Sequence[Any],
        op_name: Any = None,
        graph: Any = None,
    ) -> None:
        del op_name
        if graph is not None or self._busy:
            return
        self._busy = True  # what is executed in here must not come here again
        try:
            self._drawn(op_type, outputs)
            self._looked_at(op_type, inputs, attrs, outputs)
        finally:
            self._busy = False

    def _drawn(self, op_type: Any, outputs: Sequence[Any]) -> None:
        """Put other numbers in the place of random ones, if asked for: TensorFlow hands out what is in the list."""
        op = op_type.decode() if isinstance(op_type, bytes) else str(op_type)
        kind = DRAWN.get(op) if self.draws_alike else None
        if kind is None or not isinstance(outputs, list):
            return
        self.draws += 1
        shape = [int(size) for size in outputs[0].shape]
        numbers = draws.uniform(shape) if kind == "uniform" else draws.normal(shape, self.draws, channels_first=False)
        outputs[0] = self.tf.cast(self.tf.constant(numbers), outputs[0].dtype)

    def _looked_at(self, op_type: Any, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any]) -> None:
        op = op_type.decode() if isinstance(op_type, bytes) else str(op_type)
        if self.recorder is not None and all(is_tensor(t) for t in (*inputs, *outputs)):
            self.recorder.raw(op, inputs, tuple(attrs or ()), outputs)


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_symbolic(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_is_symbolic(item) for item in value)
    return type(value).__name__ in ("KerasTensor", "SymbolicTensor")


def _rank(tensor: Any) -> int:
    return len(tensor.shape)


def _bound(original: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    found = inspect.signature(original).bind(*args, **kwargs)
    found.apply_defaults()
    return dict(found.arguments)


def _activation(_: Recorder, original: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Found | None:
    words = dict(list(_bound(original, args, kwargs).items())[1:])
    if any(next(tensors_in([value]), None) is not None for value in words.values()):
        return None
    found = activation_of(original, _rank(args[0]), words)
    return None if found is None else (*found, {})


def _operation(op: Any, args: Sequence[Any]) -> Found | None:
    name = _OPERATIONS.get(type(op).__name__)
    if name is None or not args or not is_tensor(args[0]):
        return None
    found = named_activation(name, vars(op), _rank(args[0]))
    return None if found is None else (*found, {})


def _l2_normalize(_: Recorder, original: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Found | None:
    words = _bound(original, args, kwargs)
    axis, rank = words.get("axis"), _rank(args[0])
    if not isinstance(axis, int):
        return None
    return "l2_normalize", {"eps": float(words["epsilon"]), "axis": axis % rank, "form": "rsqrt-floor"}, {}


def _normalize(_: Recorder, original: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Found | None:
    words = _bound(original, args, kwargs)
    axis, rank = words.get("axis"), _rank(args[0])
    if not isinstance(axis, int) or words.get("order", 2) != 2 or "epsilon" not in words:
        return None
    eps = words["epsilon"]
    eps = 1e-7 if eps is None else float(eps)
    return "l2_normalize", {"eps": eps, "axis": axis % rank, "form": "norm-floor"}, {}


def _batch_normalization(
    recorder: Recorder, original: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> Found | None:
    words = _bound(original, args, kwargs)
    if "variance_epsilon" not in words:  # Keras's own function of this name
        return None
    places = {"gamma": "scale", "beta": "offset", "moving_mean": "mean", "moving_variance": "variance"}
    weights = {role: recorder.weight_behind(words[name]) for role, name in places.items() if words[name] is not None}
    if any(variable is None for variable in weights.values()):
        return None
    config = {"eps": float(words["variance_epsilon"]), "momentum": None, "axis": _rank(args[0]) - 1}
    config |= {"center": "beta" in weights, "scale": "gamma" in weights, "frozen": True, "training": False}
    return "batch_norm", config, weights
