"""Somebody's own TensorFlow model as a whole: its outputs, the inputs it declares, and the files it is kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings, atomically
from parity.adapters.tensorflow_model_calling import call_model, input_tensors
from parity.adapters.tensorflow_model_replay import restored
from parity.adapters.tensorflow_model_tensors import filled
from parity.errors import ExportError, UsageError


class TensorflowModelFiles:
    """Methods beside `TensorflowModels`, on the same model."""

    settings: WorkerSettings
    tf: Any
    keras: Any
    _user: Any
    _user_training: bool
    _hooks: Any

    def model_outputs(self, inputs: Sequence[Array], calls: int = 1) -> list[Array]:
        """Return the model's outputs, called as its user calls it, in the order of the trace.

        Of several calls in a row the last one's; what they change in the model is put back only behind them.
        """
        given = input_tensors(self.tf, self._loaded_model(), inputs, self.settings.dtype)
        with self._user_code(self._user_training), restored(self._model_variables() if calls > 1 else ()):
            for _ in range(calls - 1):
                self._hooks.draws = 0
                call_model(self._loaded_model(), given, self._user_training)
            return [np.asarray(array) for array in self._answer(given, self._user_training)]

    def operands(self, op: int) -> list[Array]:
        """Return the numbers that a script has places for in an operation of the trace: `trace.Op.spelt`."""
        held = self._steps_traced()[op].operands
        return [np.asarray(filled(one, (), {}, self.tf.identity).numpy()) for one in held]

    def declared_inputs(self) -> list[dict[str, Any]]:
        """Return shape (no batch axis; None where it is open) and dtype of each input that a model declares."""
        try:
            held = getattr(self._loaded_model(), "inputs", None) or ()
        except Exception:  # a subclassed model that was never called
            held = ()
        return [{"shape": list(tensor.shape)[1:], "dtype": str(tensor.dtype)} for tensor in held]

    def optimizer_settings(
        self, name: str, order: Sequence[Any] = (), given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what `keras.optimizers.<name>(*order, **given)` is set to, defaults included.

        Raises
            UsageError: there is no such optimizer, or it does not take these words.
        """
        kind = getattr(self.keras.optimizers, name, None)
        if not isinstance(kind, type):
            raise UsageError(f"keras.optimizers has no {name}")
        try:
            config = kind(*order, **(given or {})).get_config()
        except Exception as error:
            raise UsageError(f"keras.optimizers.{name}: {str(error).splitlines()[0]}") from error
        return {key: value for key, value in config.items() if isinstance(value, (int, float, bool, type(None)))}

    def save_model(self, path: str) -> None:
        """Write the model (.keras, .h5) or its weights (.weights.h5, .safetensors), atomically.

        Raises
            UsageError: another ending.
            ExportError: the model cannot be written so.
        """
        ending, model = Path(path).suffix, self._loaded_model()
        if ending == ".safetensors":
            from safetensors.numpy import save_file

            atomically(path, lambda file: save_file(self.get_model_weights(), file))
        elif ending in (".keras", ".h5"):
            if not hasattr(model, "save"):
                raise ExportError(f"{path}: a {type(model).__name__} is no Keras model; use .safetensors")
            try:
                atomically(path, model.save_weights if path.endswith(".weights.h5") else model.save)
            except Exception as error:
                raise ExportError(f"{path}: the model could not be written ({str(error).splitlines()[0]})") from error
        else:
            raise UsageError(f"tensorflow cannot write `{path}`: use .keras, .h5 or .safetensors")

    def _loaded_model(self) -> Any:
        raise NotImplementedError

    def _model_variables(self) -> list[Any]:
        raise NotImplementedError

    def _steps_traced(self) -> Sequence[Any]:
        raise NotImplementedError

    def _user_code(self, training: bool | None = None) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _answer(self, given: Sequence[Any], training: bool, partly: bool = False) -> list[Array]:
        raise NotImplementedError

    def get_model_weights(self, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return all weights by name."""
        raise NotImplementedError
