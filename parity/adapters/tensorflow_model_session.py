"""One user's model in a worker: what is known of it, and the circumstances under which its code runs."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from parity.adapters.base import Array, Switch, UsersCode, WorkerSettings
from parity.adapters.tensorflow_model_calling import call_model, cast_for
from parity.adapters.tensorflow_model_double import Doubling, convert
from parity.adapters.tensorflow_model_grouped import grouped_gradients
from parity.adapters.tensorflow_model_hooks import Hooks
from parity.adapters.tensorflow_model_loading import (
    call_builder,
    find_builder,
    on_import,
    to_stderr,
)
from parity.adapters.tensorflow_model_names import Names, plain_variable
from parity.adapters.tensorflow_model_replay import (
    restored,
)
from parity.adapters.tensorflow_model_tensors import Step, named_outputs
from parity.adapters.tensorflow_model_tracing import Recorder
from parity.errors import UsageError
from parity.model.trace import Weight


class TensorflowModelSession:
    """The state that the methods on a user's own model share."""

    settings: WorkerSettings
    tf: Any
    keras: Any
    _user: Any = None
    _user_names: Names
    _user_training: bool
    _user_called: bool
    _user_steps: list[Step]
    _user_inputs: list[int]
    _recorder: Recorder | None
    _users_code = UsersCode()  # modules belong to the process

    def _start_model_session(self) -> None:
        # Loaded behind TensorFlow it ends the process (DESIGN.md section 6); torch, which a builder's file may import
        # besides, does without.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # what the import system reads as "not there"
        if getattr(self, "_hooks", None) is None:
            self._hooks = Hooks(self.tf, self.keras)
            grouped_gradients(self.tf)
            self._doubling = Doubling(self.tf, self._promoted, self._singled)
            self._doubling.quiet = self._hooks.quiet
        self._hooks.install()
        self._doubling.notes.clear()
        self._users_code.forget(self._switches())
        self.keras.utils.clear_session()  # names such as `conv2d_1` are counted from the start, as in a fresh process
        if "tf_keras" in sys.modules:
            sys.modules["tf_keras"].backend.clear_session()
        random.seed(self.settings.seed)
        np.random.seed(self.settings.seed)
        self.keras.utils.set_random_seed(self.settings.seed)

    def _switches(self) -> list[Switch]:
        """Return what a builder may set for all layers made after it, which must not outlive its model."""
        config = self.keras.config
        return [
            (self.tf.executing_eagerly, self._eagerly),
            (config.floatx, config.set_floatx),
            (lambda: config.dtype_policy().name, config.set_dtype_policy),
            (config.image_data_format, config.set_image_data_format),
            (config.epsilon, config.set_epsilon),
            (self.tf.config.functions_run_eagerly, self.tf.config.run_functions_eagerly),
        ]

    def _promoted(self, single: Any, double: Any) -> None:
        if self._hooks.recorder is not None:
            self._hooks.recorder.alias(single, double)

    def _singled(self) -> None:
        if self._hooks.recorder is not None:
            self._hooks.recorder.single = True

    def _built_by(self, source: str) -> Any:
        self._legacy_ready()
        # Its default dtype must be the worker's before the user's code makes a layer, in whichever module that is.
        with on_import("tf_keras", self._legacy_ready):
            function, file = find_builder(source)
            model = call_builder(source, function, file)
        if not self.tf.executing_eagerly():
            raise UsageError(
                f"{source}: the builder switches eager execution off (tf.compat.v1.disable_eager_execution or"
                " disable_v2_behavior), and a model is watched as it runs: leave that out"
            )
        return model

    def _eagerly(self, _: bool) -> None:
        self.tf.compat.v1.reset_default_graph()  # TensorFlow refuses the next call while there is one
        self.tf.compat.v1.enable_eager_execution()

    def _legacy_ready(self) -> None:
        legacy = sys.modules.get("tf_keras")
        if legacy is not None:
            legacy.backend.set_floatx(self.settings.dtype)
            self._hooks.install()
            if self.settings.role == "twin":
                self._doubling.legacy(legacy.layers.Layer, legacy.layers.BatchNormalization)

    @contextmanager
    def _user_code(self, training: bool | None = None, results: bool = True) -> Iterator[None]:
        """Run somebody's code: what it prints goes to stderr, and the twin's doubles are in force.

        `training` is given when the model runs, None when it is built; `results`: see `Doubling.active`.
        """
        twin = self.settings.role == "twin"
        with ExitStack() as stack:
            stack.enter_context(to_stderr())
            if twin:
                stack.enter_context(self._doubling.active(results and training is not None))
            if training is not None:
                stack.enter_context(self._hooks.watching())
                self._hooks.no_dropout = training
                stack.callback(setattr, self._hooks, "no_dropout", False)
            yield

    def _answer(self, given: Sequence[Any], training: bool, partly: bool = False) -> list[Array]:
        """Return the model's own outputs, watched by nobody; its statistics stay. With `partly`, none if it raises."""
        try:
            with restored(self._model_variables()):
                self._hooks.draws = 0
                answer = call_model(self._user, given, training)
        except UsageError:
            if not partly:
                raise
            answer = ()
        self._user_names.refresh()
        return [np.asarray(t.numpy()) for _, t in named_outputs(answer) if hasattr(t, "numpy")]

    def _ready_to_run(self, given: Sequence[Any], training: bool, partly: bool = False) -> list[str] | None:
        """Let the first call build what it builds, and bring that to float64 in the twin."""
        if self._user_called:
            return None
        try:
            with self._user_code(training, results=False):
                self._answer(given, training, partly)
        except UsageError:
            if self.settings.role != "twin":
                raise
            with self._user_code(training):  # code of one's own may mix dtypes unless all are made one
                self._answer(given, training)
        self._user_called = True
        return self._settled()

    def _settled(self) -> list[str] | None:
        """Bring to float64 what the first call built; return notes, or None where there was nothing to do."""
        if self.settings.role != "twin":
            return None
        single = [v for v in self._model_variables() if v.dtype in (self.tf.float32, self.tf.float16, self.tf.bfloat16)]
        return self._doubled() if single else None

    def _doubled(self) -> list[str]:
        if self.settings.role != "twin":
            return []
        notes = convert(self._user, self._user_names, self.tf)
        self._user_names = Names(self._user)
        left = [n for n, v in self._user_names.weights.items() if plain_variable(v).dtype != self.tf.float64]
        return notes + [f"twin: weight `{name}` could not be brought to float64" for name in left]

    def _mixed(self) -> list[str]:
        policies = set()
        for layer in self._user_names.layers:
            policy = getattr(layer, "dtype_policy", None) or getattr(layer, "_dtype_policy", None)
            policies.add(str(getattr(policy, "compute_dtype", "")))
        low = sorted(policies & {"float16", "bfloat16"})
        self.keras.config.set_dtype_policy(self.settings.dtype)  # a builder's global policy must not outlive it
        return [f"mixed precision: the model computes in {' and '.join(low)}"] if low else []

    def _weights(self) -> dict[str, Weight]:
        held = self._user_names.weights
        trained = set(self._trained())
        return {name: Weight(name, tuple(v.shape), name in trained) for name, v in held.items()}

    def _trained(self) -> list[str]:
        """Return the weights that training changes; a frozen layer of Keras 2 leaves its variables' own flags alone."""
        try:
            frozen = {id(plain_variable(one)) for one in getattr(self._user, "non_trainable_weights", ())}
        except ValueError:  # Keras 2 tells nothing of a model that was never called
            frozen = set()
        held = self._user_names.weights
        return [name for name, v in held.items() if v.trainable and id(plain_variable(v)) not in frozen]

    def _loaded_model(self) -> Any:
        if self._user is None:
            raise UsageError("no model was loaded in this worker: call `load_model` first")
        return self._user

    def _names(self) -> Names:
        self._loaded_model()
        self._user_names.refresh()
        return self._user_names

    def _model_variables(self) -> list[Any]:
        held = [*self._user_names.weights.values(), *self._user_names.others]
        return [v for v in map(plain_variable, held) if hasattr(v, "read_value")]

    def _watched(self) -> Recorder:
        self._loaded_model()
        if self._recorder is None:
            raise UsageError("the model was not traced yet: call `trace_model` first")
        return self._recorder

    def _steps_traced(self) -> list[Step]:
        self._watched()
        return self._user_steps

    def _fed_inputs(self, inputs: Sequence[Array]) -> dict[int, Any]:
        self._steps_traced()
        if len(inputs) != len(self._user_inputs):
            raise UsageError(f"the traced model has {len(self._user_inputs)} inputs, not {len(inputs)}")
        for tensor, array in zip(self._user_inputs, inputs, strict=True):
            shape = self._watched().shapes[tensor]
            if tuple(array.shape) != shape:
                raise UsageError(f"the model was traced with an input of shape {shape}, not {tuple(array.shape)}")
        return {t: self._as_traced(t, array) for t, array in zip(self._user_inputs, inputs, strict=True)}

    def _as_traced(self, tensor: int, array: Array) -> Any:
        dtype = self._watched().dtypes.get(tensor)
        if dtype is None:
            raise UsageError(f"the tensorflow trace has no tensor {tensor}")
        return self.tf.convert_to_tensor(cast_for(array, dtype))
