"""Somebody's own TensorFlow model: load it, watch it run once, set its weights, make any part of the run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array
from parity.adapters.tensorflow_model_calling import built_in_training_mode, call_model, dropout_off, input_tensors
from parity.adapters.tensorflow_model_declared import declared_arguments, declared_shapes
from parity.adapters.tensorflow_model_initial import initializer, training_notes
from parity.adapters.tensorflow_model_layers import Call, describe
from parity.adapters.tensorflow_model_loading import (
    checked_model,
    is_model_file,
    looked_into,
    read_model_file,
    read_weights,
)
from parity.adapters.tensorflow_model_making import made_by, static_parts
from parity.adapters.tensorflow_model_merging import merged
from parity.adapters.tensorflow_model_names import Names, is_keras_layer, plain_variable
from parity.adapters.tensorflow_model_replay import (
    Propagated,
    fingerprint,
    gradient_array,
    needed,
    restored,
    run_step,
    segment,
)
from parity.adapters.tensorflow_model_session import TensorflowModelSession
from parity.adapters.tensorflow_model_tensors import named_outputs, variable_of
from parity.adapters.tensorflow_model_tracing import Recorder
from parity.errors import UsageError
from parity.model.trace import REPLAY, Op, Trace

# Sums in another order move a float32 result by less than this; for float64 by far less.
EMULATED = {"float32": 1e-5, "float64": 1e-13}


class TensorflowModels(TensorflowModelSession):
    """The TensorFlow adapter's methods on a model of the user's own; arrays are in TensorFlow's order of axes."""

    def load_model(
        self, source: str, weights: str | None = None, training: bool = False, inputs: Sequence[Array] = ()
    ) -> dict[str, Any]:
        """Build or read a model; `source` is a builder or a model file.

        A Keras model that was never called makes its weights when it is called on the `inputs`, if a file holds them.

        Returns `class`, `framework`, `was_training`, `notes`, and `values`: how many numbers its weights are so far.

        Raises
            UsageError: no model comes of it.
        """
        self._start_model_session()
        notes: list[str] = []
        if is_model_file(source):  # a file says float32 of every weight; it is read so, and brought to doubles after
            model, notes = read_model_file(source, self.keras, self.tf)
        else:
            with self._user_code():
                model = self._built_by(source)
        model, graph_notes = looked_into(source, model)
        notes = [*notes, *graph_notes]
        framework = checked_model(source, model, self.tf)
        if hasattr(model, "watch") and framework == "tf.Module":  # a SavedModel's graph
            model.watch = self._hooks.scope
        self._legacy_ready()
        self._user, self._user_names, self._user_framework = model, Names(model), framework
        self._user_training, self._user_called = training, False
        self._user_steps = []
        self._recorder = None
        if weights is not None:
            if is_keras_layer(model) and not model.built and len(inputs):
                notes += self._ready_to_run(input_tensors(self.tf, model, inputs, self.settings.dtype), training) or ()
            with self._user_code():
                arrays = read_weights(model, weights, self.keras, self.tf)
            if arrays is not None:
                self.set_model_weights(arrays)
        notes += self._doubled()
        dropout_off(self._user_names, training)
        notes += [*self._mixed(), *([] if training else built_in_training_mode(self._user_names))]
        kind = type(model)
        return {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "framework": framework,
            "was_training": None,
            "notes": notes,
            "values": sum(int(self.tf.size(plain_variable(w))) for w in self._user_names.weights.values()),
        }

    def trace_model(
        self, inputs: Sequence[Array], training: bool = False, expand: Sequence[str] = (), draws_alike: bool = False,
        partly: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Run the model once as a user would, and return what was seen: `Trace.to_dict()` data.

        With `draws_alike` random numbers are those of `parity.model.draws`, from now on. With `partly` a model that
        raises on its way is followed as far as it came.

        Raises
            UsageError: the model does not take these inputs.
        """
        model = self._loaded_model()
        given = input_tensors(self.tf, model, inputs, self.settings.dtype)
        self._hooks.draws_alike = draws_alike
        self._user_training = training
        settled = self._ready_to_run(given, training, partly)
        with self._user_code(training):
            own = self._answer(given, training, partly)
            names = self._names()
            still = dropout_off(names, training)
            recorder = Recorder(self.tf, names, training, expand)
            numbers = [recorder.adopt(tensor) for tensor in given]
            with restored(self._model_variables()) as changed, self._hooks.recording(recorder):
                self._hooks.draws = 0
                found = self._returned(model, given, training, partly)
            texts = [name for name, tensor in found if tensor.dtype in (self.tf.string, np.object_)]
            if texts:
                raise UsageError(f"the tensorflow model returns text (`{texts[0]}`): let it return numbers alone")
            outputs = [self._output(recorder, tensor) for _, tensor in found] or recorder.unread()
        names.refresh()
        notes = [*(settled or []), *self._doubling.notes]
        self._user_steps = merged(recorder.steps, recorder.shapes, recorder.dtypes, outputs)
        self._user_inputs, self._user_outputs, self._recorder = numbers, outputs, recorder
        notes += recorder.notes
        if still:
            listed = ", ".join(f"`{name}`" for name in still)
            notes.append(f"{listed} changed no picture at random, as no dropout dropped anything")
        notes += self._replayed(given, own, outputs)
        notes += self._of_training() if training else ()
        if changed and not training:
            listed = ", ".join(f"`{names.of(variable)}`" for variable in changed[:3])
            notes.append(f"the TensorFlow model changes {listed} when it runs in inference")
        returned = [name for name, _ in found] or [f"output_{number}" for number in range(len(outputs))]
        return {**self._trace(returned, notes).to_dict(), "cut_short": not found and bool(outputs)}

    def normalised_weights(self) -> list[str]:
        """Return the weights that training divides by their largest singular value: those hold no others for long."""
        wrapped = [one.layer for one in self._names().layers if type(one).__name__ == "SpectralNormalization"]
        held = [getattr(layer, role, None) for layer in wrapped for role in ("kernel", "embeddings")]
        return [name for one in held if one is not None and (name := self._names().of(one)) is not None]

    def static_ops(self) -> dict[str, Any]:
        """Return the model's layers in the order of definition, as a trace without tensors."""
        names = self._names()
        ops: list[Op] = []
        inside: list[str] = []
        for layer in names.layers:
            path = names.paths[id(layer)]
            if any(path.startswith(f"{outer}/") for outer in inside):
                continue
            arguments = declared_arguments(layer)
            leaf = describe(layer, Call(*declared_shapes(layer), arguments=arguments or {}))
            if leaf is None or type(layer).__name__ == "InputLayer":
                continue
            inside.append(path)
            if arguments is None:
                leaf.config.pop("causal", None)  # said in the call, which nobody has made yet
            for name, part in static_parts(layer, leaf, path):
                weights = {role: names.of(v) or "" for role, v in part.weights.items()}
                drawn = initializer(layer) if weights else None
                config = {**part.config, "initializer": drawn} if drawn else part.config
                ops.append(Op(len(ops), name, part.kind, (), (), config, weights, made_by(layer)))
        return Trace((), (), (), tuple(ops), {}, {}, self._weights(), self._of_training()).to_dict()

    def _of_training(self) -> tuple[str, ...]:
        names = self._names()
        return training_notes((names.paths[id(layer)], layer) for layer in names.layers)

    def get_model_weights(self, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return all weights and statistics by name, or the named ones."""
        held = self._names().weights
        unknown = [name for name in names or () if name not in held]
        if unknown:
            raise UsageError(f"the tensorflow model has no weight `{unknown[0]}`; it has {', '.join(held) or 'none'}")
        return {name: _array(held[name]) for name in (held if names is None else names)}

    def set_model_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace the named weights; shapes must be exactly theirs."""
        held = self._names().weights
        for name, array in weights.items():
            if name not in held:
                raise UsageError(f"the tensorflow model has no weight `{name}`; it has {', '.join(held) or 'none'}")
            if tuple(held[name].shape) != tuple(array.shape):
                shape = tuple(held[name].shape)
                raise UsageError(f"tensorflow weight `{name}` has shape {shape}, not {tuple(array.shape)}")
        for name, array in weights.items():
            plain = plain_variable(held[name])
            plain.assign(self.tf.cast(self.tf.convert_to_tensor(array), plain.dtype))

    def begin_run(self, inputs: Sequence[Array], wanted: Sequence[int]) -> None:
        """Start a run from the model's inputs; `advance` then yields the wanted tensors."""
        self._propagated = Propagated(self._steps_traced(), self._fed_inputs(inputs), wanted, self._user_inputs)

    def advance(self, tensor: int) -> Array:
        """Return one wanted tensor of the run that `begin_run` started."""
        if getattr(self, "_propagated", None) is None:
            raise UsageError("no run was begun: call `begin_run` first")
        with self._user_code(self._user_training):
            return np.asarray(self._propagated.advance(int(tensor)).numpy())

    def fingerprints(self, inputs: Sequence[Array]) -> dict[str, list[float]]:
        """Return [size, sum, sum|x|, sum x^2, max, min] of every tensor of one propagated run."""
        steps, values = self._steps_traced(), self._fed_inputs(inputs)
        found = {str(tensor): fingerprint(value.numpy()) for tensor, value in values.items()}
        last = {tensor: index for index, step in enumerate(steps) for tensor in step.inputs}
        with self._user_code(self._user_training):
            for index, step in enumerate(steps):
                for tensor, value in run_step(step, values).items():
                    if value.dtype not in (self.tf.variant, self.tf.resource, self.tf.string):  # numbers, no handles
                        found[str(tensor)] = fingerprint(value.numpy())
                    values[tensor] = value
                for tensor in [t for t in values if last.get(t, -1) <= index]:
                    del values[tensor]
        return found

    def run_segment(
        self,
        feed: Mapping[str, Array],
        want: int,
        upstream: Array | None = None,
        edits: Sequence[Mapping[str, Any]] = (),
        bounds: bool = False,
        state: bool = False,
    ) -> dict[str, Any]:
        """Make the tensor `want` again from the fed ones alone.

        Returns `value`; with `upstream` also `input_gradients` and `weight_gradients`; with `state` the statistics
        afterwards, while the model's own stay.
        """
        if edits or bounds:
            raise UsageError("the tensorflow worker applies no edits and knows no bounds: ask the torch twin")
        steps, want = self._steps_traced(), int(want)
        values = {int(tensor): self._as_traced(int(tensor), array) for tensor, array in feed.items()}
        fed = dict(values)
        order = needed(steps, [want], frozenset(values), self._user_inputs)
        changed = [variable for index in order for variable in steps[index].state]
        with self._user_code(self._user_training), restored(changed):
            if upstream is None:
                value = segment(self.tf, steps, order, values, want, state)
                result: dict[str, Any] = {"value": np.asarray(value.numpy())}
            else:
                result = self._differentiated(order, fed, want, upstream, state)
            if state:
                result["state"] = self._state({id(v): v for v in changed})
        return result

    def train_step(
        self, inputs: Sequence[Array], upstreams: Sequence[Array], optimizer: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take one optimizer step on sum_i <output_i, upstream_i> in training mode; all weights are put back."""
        model, names = self._loaded_model(), self._user_names
        given = input_tensors(self.tf, model, inputs, self.settings.dtype)
        held = {name: plain_variable(variable) for name, variable in names.weights.items()}
        trained = {name: held[name] for name in self._trained()}
        with restored(self._model_variables()):
            with self._user_code(True), self.tf.GradientTape() as tape:
                for variable in trained.values():
                    tape.watch(variable)
                self._hooks.draws = 0
                answer = call_model(model, given, True)
                outputs = [tensor for _, tensor in named_outputs(answer) if hasattr(tensor, "dtype")]
            floats = [t for t in outputs if t.dtype.is_floating]
            seeds = [self.tf.cast(u, t.dtype) for t, u in zip(outputs, upstreams, strict=False) if t.dtype.is_floating]
            found = tape.gradient(floats, list(trained.values()), output_gradients=seeds)
            pairs = zip(trained.items(), found, strict=True)
            gradients = {name: gradient_array(self.tf, g, v) for (name, v), g in pairs}
            state = {name: _array(v) for name, v in held.items() if name not in trained}
            after = self._stepped(trained, gradients, optimizer)
        return {
            "outputs": [np.asarray(tensor.numpy()) for tensor in outputs],
            "weight_gradients": gradients,
            "state": state,
            "weights_after": after,
        }

    # What the methods above are made of

    def _returned(self, model: Any, given: Sequence[Any], training: bool, partly: bool) -> list[tuple[str, Any]]:
        """Return a model's outputs with their names; with `partly`, none if it raises on its way."""
        try:
            answer = call_model(model, given, training)
        except UsageError:
            if not partly:
                raise
            return []
        return [(name, tensor) for name, tensor in named_outputs(answer) if hasattr(tensor, "shape")]

    def _output(self, recorder: Recorder, tensor: Any) -> int:
        if not hasattr(tensor, "_id"):
            tensor = self.tf.convert_to_tensor(tensor)
        number = recorder.known(tensor)
        return recorder.add_constant(tensor) if number is None else number

    def _replayed(self, given: Sequence[Any], own: Sequence[Array], outputs: Sequence[int]) -> list[str]:
        """Make the recorded steps again and compare with what the model itself answered."""
        try:
            values = dict(zip(self._user_inputs, given, strict=True))
            run = Propagated(self._user_steps, values, outputs, self._user_inputs)
            with self._user_code(self._user_training):
                made = {tensor: np.asarray(run.advance(tensor).numpy()) for tensor in dict.fromkeys(outputs)}
        except UsageError as error:
            return [f"{REPLAY} the recorded operations cannot be made again: {error}"]
        for index, (tensor, expected) in enumerate(zip(outputs, own, strict=False)):
            if np.array_equal(made[tensor], expected, equal_nan=made[tensor].dtype.kind == "f"):
                continue
            apart = _distance(made[tensor], expected)
            limit = EMULATED[self.settings.dtype] if self._watched().emulated else 0.0
            if not apart <= limit:
                return [f"{REPLAY} output {index} made again differs from the model's by {apart:.3g} of its largest"]
        return []

    def _trace(self, output_names: list[str], notes: list[str]) -> Trace:
        names, recorder = self._user_names, self._watched()
        ops = []
        for index, step in enumerate(self._user_steps):
            weights = {role: names.of(variable) for role, variable in step.weights.items()}
            known = {role: name for role, name in weights.items() if name is not None}
            inputs, outputs = tuple(step.inputs), tuple(step.outputs)
            ops.append(Op(index, step.name, step.kind, inputs, outputs, step.config, known, step.made_by, step.spelt))
        used = {*self._user_inputs, *self._user_outputs, *(t for op in ops for t in (*op.inputs, *op.outputs))}
        return Trace(
            inputs=tuple(self._user_inputs),
            outputs=tuple(self._user_outputs),
            output_names=tuple(output_names),
            ops=tuple(ops),
            shapes={tensor: recorder.shapes[tensor] for tensor in sorted(used)},
            dtypes={tensor: recorder.dtypes[tensor] for tensor in sorted(used)},
            weights=self._weights(),
            notes=tuple(dict.fromkeys(notes)),
        )

    def _differentiated(
        self, order: Sequence[int], fed: Mapping[int, Any], want: int, upstream: Array, state: bool
    ) -> dict[str, Any]:
        steps = self._user_steps
        names = self._user_names
        read = [variable_of(one) for index in order for one in steps[index].variables]
        used = {id(v): v for v in map(plain_variable, read)}
        trains = set(self._trained())
        trained = {name: v for v in used.values() if (name := names.of(v)) in trains}
        floats = {tensor: value for tensor, value in fed.items() if value.dtype.is_floating}
        with self.tf.GradientTape() as tape:
            for source in (*floats.values(), *trained.values()):
                tape.watch(source)
            values = dict(fed)
            value = segment(self.tf, steps, order, values, want, state)
            value = self.tf.identity(value)
        sources = [*floats.values(), *trained.values()]
        with self._doubling.paused():
            seed = self.tf.cast(self.tf.convert_to_tensor(upstream), value.dtype)
            found = (
                tape.gradient(value, sources, output_gradients=seed)
                if value.dtype.is_floating
                else [None] * len(sources)
            )
        arrays = [gradient_array(self.tf, g, s) for g, s in zip(found, sources, strict=True)]
        inputs = dict(zip(floats, arrays[: len(floats)], strict=True))
        return {
            "value": np.asarray(value.numpy()),
            "input_gradients": {str(tensor): inputs.get(tensor) for tensor in fed},
            "weight_gradients": dict(zip(map(str, trained), arrays[len(floats) :], strict=True)),
        }

    def _state(self, changed: Mapping[int, Any]) -> dict[str, Array]:
        names = self._user_names
        return {str(names.of(v)): _array(v) for v in changed.values() if names.of(v) is not None}

    def _stepped(
        self, trained: Mapping[str, Any], gradients: Mapping[str, Array], optimizer: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the trained weights after one step of a Keras optimizer, on copies."""
        kinds = {
            name.lower(): name for name in ("SGD", "Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta")
        }
        name = str(optimizer["name"]).lower()
        if name not in kinds:
            raise UsageError(f"no Keras optimizer `{optimizer['name']}`: one of {', '.join(kinds)}")
        config = {key: value for key, value in optimizer.items() if key != "name"}
        made = getattr(self.keras.optimizers, kinds[name])(**config)
        copies = {key: self.keras.Variable(v.numpy(), dtype=v.dtype.name) for key, v in trained.items()}
        if copies:
            made.build(list(copies.values()))
            made.apply([self.tf.convert_to_tensor(gradients[key]) for key in copies], list(copies.values()))
        return {key: _array(copy) for key, copy in copies.items()}


def _array(variable: Any) -> Array:
    found = np.asarray(variable.numpy())
    return found if found.dtype.kind == "f" and found.dtype.itemsize >= 4 else found.astype(np.float32)


def _distance(a: Array, b: Array) -> float:
    if a.shape != b.shape:
        return float("inf")
    scale = float(np.max(np.abs(b.astype(np.float64)))) if b.size else 1.0
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)))) / (scale or 1.0) if a.size else 0.0
