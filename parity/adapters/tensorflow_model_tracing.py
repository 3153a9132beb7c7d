"""Watch one run of a model: the layers that are called, the operations outside them, and how to make each again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from parity.adapters.tensorflow_model_activations import activation_of
from parity.adapters.tensorflow_model_layers import Call, Leaf, describe, known_class
from parity.adapters.tensorflow_model_making import (
    FUSED,
    FromHandles,
    decoded,
    execute_raw,
    fused_activation,
    keep_function,
    label_of,
    layer_runner,
    layers_of_stack,
    made_by,
    run_stack,
    separable_halves,
    separable_leaves,
    short_name,
    state_of,
    takes_training,
    without_activation,
)
from parity.adapters.tensorflow_model_names import Names, is_keras_layer, is_variable, plain_variable
from parity.adapters.tensorflow_model_raw import (
    MERGING,
    NO_RESULT,
    ONE_RESULT,
    SHAPES_ONLY,
    Described,
    Raw,
    Source,
    constant_operand,
    describe_raw,
    looks_up_constants,
    own_function,
)
from parity.adapters.tensorflow_model_spelling import spelt
from parity.adapters.tensorflow_model_tensors import (
    MASK,
    Derived,
    Place,
    Slot,
    Step,
    WeightRead,
    filled,
    is_tensor,
    mapped,
    resolved,
    same_numbers,
    tensors_in,
)
from parity.model import draws
from parity.model.constants import MASKED
from parity.model.trace import BOTH_WAYS


@dataclass
class Frame:
    """A layer, or an operation of a functional model, that is being called."""

    path: str
    training: bool


class Recorder:
    """The steps of one run. It keeps ids, shapes and small constants, never an activation."""

    def __init__(self, tf: Any, names: Names, training: bool, expand: Sequence[str]) -> None:
        self.tf, self.names, self.training, self.expand = tf, names, training, frozenset(expand)
        self.steps: list[Step] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.dtypes: dict[int, str] = {}
        self.notes: list[str] = []
        self.emulated = False
        self.single = False  # whether the twin computed something in float32 since this was asked last
        self._ids: dict[int, int] = {}
        self._made_of_weights: dict[int, WeightRead | Derived] = {}
        self._places: dict[tuple[int, int], Place] = {}
        self._handles = names.by_handle()
        self._frames: list[Frame] = []
        self._muted = 0
        self._implicit = True
        self._results = 0  # how many the operation at hand has
        self._strange: set[int] = set()  # handles of variables that are not the model's
        self._names_used: dict[str, int] = {}
        self._stacks: dict[int, list[Any] | None] = {}

    # Tensors

    def adopt(self, tensor: Any) -> int:
        """Give a tensor of the run its number."""
        found = self._ids.setdefault(tensor._id, len(self._ids))
        self.shapes[found] = tuple(int(n) for n in tensor.shape)
        self.dtypes[found] = str(tensor.dtype.name)
        return found

    def alias(self, tensor: Any, copy: Any) -> None:
        """Let a copy of a tensor in float64 stand for it."""
        if tensor._id in self._ids:
            number = self._ids[copy._id] = self._ids[tensor._id]
            self.dtypes[number] = str(copy.dtype.name)
        if tensor._id in self._made_of_weights:
            self._made_of_weights[copy._id] = self._made_of_weights[tensor._id]

    def known(self, tensor: Any) -> int | None:
        """Return a tensor's number; None for one that the run did not make."""
        return self._ids.get(tensor._id) if is_tensor(tensor) else None

    def unread(self) -> list[int]:
        """Return what nothing reads yet, of a model that raised on its way."""
        read = {tensor for step in self.steps for tensor in step.inputs}
        return [tensor for step in self.steps for tensor in step.outputs if tensor not in read]

    def add_constant(self, tensor: Any) -> int:
        """Record an output that depends on no input."""
        source = self._made_of_weights.get(tensor._id, tensor)
        number = self.adopt(tensor)
        variables: list[Any] = list(source.variables()) if isinstance(source, WeightRead | Derived) else []
        step = Step(self._name("constant"), "op:constant", [], [number], lambda _: [resolved(source, {})])
        step.variables = variables
        step.weights = {f"other_{i}" if i else "other": v for i, v in enumerate(variables)}
        self.steps.append(step)
        return number

    def capture(self, value: Any, inputs: list[int], variables: list[Any]) -> Any:
        """Return a template of call arguments; the run's tensors are numbered into `inputs`."""
        if is_tensor(value):
            return self._captured(value, inputs, variables)
        if is_variable(value) and not isinstance(value, Mapping):
            if hasattr(plain_variable(value), "handle"):
                variables.append(plain_variable(value))
            return value
        if isinstance(value, Mapping):
            return {key: self.capture(item, inputs, variables) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.capture(item, inputs, variables) for item in value))
        if isinstance(value, list | tuple):
            items = [self.capture(item, inputs, variables) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        return value

    def _captured(self, tensor: Any, inputs: list[int], variables: list[Any]) -> Any:
        number = self._ids.get(tensor._id)
        if number is None:
            found = self._made_of_weights.get(tensor._id)
            if found is None:
                return tensor
            variables.extend(found.variables())
            return found
        if number not in inputs:
            inputs.append(number)
        mask = (
            getattr(tensor, MASK, None) if self._implicit else None
        )  # one that is given by name is the one that counts
        held = self.capture(mask, inputs, variables) if is_tensor(mask) else None
        return Slot(inputs.index(number), held)

    # Names

    def _name(self, base: str) -> str:
        path = self._frames[-1].path if self._frames else ""
        full = f"{path}/{base}" if path else base
        number = self._names_used.get(full, 0)
        self._names_used[full] = number + 1
        return f"{full}_{number}" if number else full

    @contextmanager
    def frame(self, path: str, training: bool) -> Iterator[None]:
        """Be inside a layer."""
        self._frames.append(Frame(path, training))
        try:
            yield
        finally:
            self._frames.pop()

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Record nothing of what happens inside."""
        self._muted += 1
        try:
            yield
        finally:
            self._muted -= 1

    @property
    def listening(self) -> bool:
        """Whether calls are recorded now."""
        return not self._muted and bool(self.tf.executing_eagerly())

    # Layers

    def layer(self, layer: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record a layer's call: as one operation, or by looking into it."""
        path = self.names.path(layer, self._frames[-1].path if self._frames else "")
        training = self._training_of(layer, args, kwargs)
        kind = known_class(layer)
        name = kind.__name__ if kind is not None else ""
        if name == "InputLayer":
            with self.mute():
                return original(layer, *args, **kwargs)
        leaf = self._leaf(layer, Call(self._first_shape(args, kwargs), None, training, False, kwargs))
        if leaf is not None:
            return self._record_leaf(layer, original, args, kwargs, path, training)
        if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
            return self.operation(layer, original, args, kwargs)
        with self.frame(path, training):
            if name == "TimeDistributed" and len(args) == 1 and is_tensor(args[0]) and layer.built:
                return self._time_distributed(layer, args[0], training)
            if name == "RNN" and args and is_tensor(args[0]) and layer.built:
                pieces = self._pieces(layer)
                if pieces:
                    return self._stack(pieces, args, kwargs)
            return original(layer, *args, **kwargs)

    def operation(self, op: Any, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operation of a functional model that is no layer; one that does one thing gives it its name."""
        parent = self._frames[-1].path if self._frames else ""
        path = f"{parent}/{op.name}" if parent else str(op.name)
        start = len(self.steps)
        with self.frame(path, self._inherited()):
            result = original(op, *args, **kwargs)
        if len(self.steps) == start + 1:
            self.steps[start].name = path
        return result

    def _inherited(self) -> bool:
        return self._frames[-1].training if self._frames else self.training

    def _training_of(self, layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        given = kwargs.get("training")
        if given is None and len(args) > 1:
            try:
                given = inspect.signature(layer.call).bind_partial(*args).arguments.get("training")
            except (TypeError, ValueError):
                given = None
        return self._inherited() if given is None else bool(given)

    def _leaf(self, layer: Any, call: Call) -> Leaf | None:
        try:
            found = describe(layer, call)
        except Exception as error:
            kind = type(layer).__name__
            self.notes.append(f"layer `{getattr(layer, 'name', kind)}` ({kind}) could not be described: {error}")
            return None
        looked_into = found is not None and (
            found.kind in self.expand or (BOTH_WAYS in self.expand and bool(found.config.get("bidirectional")))
        )
        return None if looked_into else found

    def _first_shape(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, ...] | None:
        first = next(tensors_in([list(args), kwargs]), None)
        return None if first is None else tuple(int(n) for n in first.shape)

    def _record_leaf(
        self, layer: Any, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: str, training: bool
    ) -> Any:
        inputs: list[int] = []
        variables: list[Any] = []
        words = {key: value for key, value in kwargs.items() if key != "training"}
        self._implicit = not any(is_tensor(value) for key, value in words.items() if key == "mask")
        self._show_sources([args, words])
        try:
            template = self.capture((args, words), inputs, variables)
        finally:
            self._implicit = True
        masked = any(getattr(tensor, MASK, None) is not None for tensor in tensors_in([args, words]))
        activation = fused_activation(layer) if self._is_fused(layer) else None
        self.single = False
        with self.mute(), without_activation(layer, activation):
            result = original(layer, *args, **kwargs)
        shape = next((tuple(int(n) for n in t.shape) for t in tensors_in(result)), None)
        leaf = self._leaf(layer, Call(self._first_shape(args, kwargs), shape, training, masked, kwargs))
        if leaf is not None:
            leaf.config.update(self._constant_operand(leaf.kind, [args, words]))
            self._tell_single(leaf.config)
        if leaf is None or not (inputs or leaf.weights):
            return result if activation is None else activation(result)
        if leaf.kind == "separable_conv":
            result = self._separable(layer, leaf, path, args[0], inputs[:1])
        else:
            run = layer_runner(self.tf, layer, template, training, activation is not None)
            result = self._finish(Step(path, leaf.kind, inputs, [], run, leaf.config), result, layer, leaf, variables)
            self._mask(layer, template, inputs, result, path)
        return result if activation is None else self._activate(activation, result, path, training)

    def _constant_operand(self, kind: str, given: Any) -> dict[str, Any]:
        """Return what a layer that merges tensors is told of one that is a constant, such as positions."""
        if kind not in MERGING:
            return {}
        sources = [self._source(tensor) for tensor in tensors_in(given)]
        constants = [source for source in sources if source.what == "constant"]
        alone = len(sources) == 2 and len(constants) == 1
        return constant_operand(constants[0], sources[1].what == "constant") if alone else {}

    def _show_sources(self, given: Any) -> None:
        """Record what a layer is fed that was made of weights alone, such as a learned start, as operations."""
        for tensor in tensors_in(given):
            if self.known(tensor) is None and isinstance(self._made_of_weights.get(tensor._id), Derived):
                self.add_constant(tensor)

    def _tell_single(self, config: dict[str, Any]) -> None:
        """Say of an operation of the twin that it was computed in float32, if it was."""
        if self.single:
            config["single"] = True
        self.single = False

    def _is_fused(self, layer: Any) -> bool:
        found = self._leaf(layer, Call())
        return found is not None and found.kind in FUSED

    def _finish(self, step: Step, result: Any, layer: Any, leaf: Leaf, variables: Sequence[Any] = ()) -> Any:
        """Add a layer's step; its outputs become tensors of their own even where it returned its input."""
        result = mapped(result, self._fresh)
        step.outputs = list(dict.fromkeys(self.adopt(tensor) for tensor in tensors_in(result)))
        step.weights = {role: plain_variable(variable) for role, variable in leaf.weights.items()}
        if not step.inputs:  # fed a weight, such as a table of places that is normalised
            fed = {id(one): one for one in variables if not any(one is held for held in step.weights.values())}
            step.weights |= {f"other_{i + 1}" if i else "other": one for i, one in enumerate(fed.values())}
        step.variables = [*variables, *step.weights.values()]
        step.state = [v for v in map(plain_variable, state_of(layer)) if hasattr(v, "handle")]
        step.made_by = made_by(layer)
        self.steps.append(step)
        return result

    def _fresh(self, tensor: Any) -> Any:
        if self.known(tensor) is None and tensor._id not in self._made_of_weights:
            return tensor
        with self.mute():
            copy = self.tf.identity(tensor)
        if getattr(tensor, MASK, None) is not None:
            setattr(copy, MASK, getattr(tensor, MASK))
        return copy

    def _mask(self, layer: Any, template: Any, inputs: list[int], result: Any, path: str) -> None:
        """Record the mask that a layer made for its output, which others read from the tensor."""
        mask = getattr(result, MASK, None) if is_tensor(result) else None
        if not is_tensor(mask) or self.known(mask) is not None or not inputs:
            return
        number, identity = self.adopt(mask), self.tf.identity

        def run(tensors: list[Any]) -> list[Any]:
            args, words = filled(template, tensors, {}, identity)
            return [layer.compute_mask(args[0], _mask_of(args[0]) if words.get("mask") is None else words["mask"])]

        step = Step(f"{path}:mask", "op:mask", list(inputs), [number], run, made_by=made_by(layer))
        step.config = {MASKED: float(getattr(layer, "mask_value", 0.0))} if self._compares(layer) else {}
        self.steps.append(step)

    def _compares(self, layer: Any) -> bool:
        """Return whether a layer's mask says where its input is another number than one."""
        return getattr(known_class(layer), "__name__", "") in ("Embedding", "Masking")

    def _activate(self, activation: Any, value: Any, path: str, training: bool) -> Any:
        found = activation_of(activation, len(value.shape))
        if found is None or is_keras_layer(activation):
            with self.frame(path, training):
                result = activation(value)
        else:
            result = self.function(activation, (value,), {}, (*found, {}), f"{path}:{label_of(found)}")
        if getattr(value, MASK, None) is not None and is_tensor(result):
            setattr(result, MASK, getattr(value, MASK))
        return result

    def _separable(self, layer: Any, leaf: Leaf, path: str, x: Any, inputs: list[int]) -> Any:
        """Record a separable convolution as the two that it consists of."""
        first, second = separable_halves(layer, leaf.config, self.tf)
        (half_name, half), (name, rest) = separable_leaves(leaf, path)
        with self.mute():
            middle = first([x])
        middle = self._finish(Step(half_name, half.kind, list(inputs), [], first, half.config), middle, layer, half)
        with self.mute():
            result = second(middle)
        step = Step(name, rest.kind, [self.adopt(middle[0])], [], second, rest.config)
        self.emulated = True
        return self._finish(step, result, layer, rest)[0]

    def _time_distributed(self, layer: Any, x: Any, training: bool) -> Any:
        """Run the wrapped layer once for all steps in time, as batch entries, which computes the same."""
        self.emulated = True
        batch, steps, *rest = (int(n) for n in x.shape)
        inner = layer.layer
        words = {"training": training} if takes_training(inner) else {}
        result = inner(self.tf.reshape(x, [batch * steps, *rest]), **words)
        return self.tf.reshape(result, [batch, steps, *(int(n) for n in result.shape[1:])])

    def _pieces(self, layer: Any) -> list[Any] | None:
        """Return the layers that a stack of cells is taken apart into, the same ones at every call."""
        if id(layer) not in self._stacks:
            self._stacks[id(layer)] = layers_of_stack(layer)
        return self._stacks[id(layer)]

    def _stack(self, pieces: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a stack of cells layer by layer rather than step by step, as the other side may well have it."""
        self.emulated = True
        given = dict(zip(("initial_state", "mask", "training"), args[1:], strict=False)) | kwargs
        states = given.pop("initial_state", None)
        words = {key: value for key, value in given.items() if value is not None}
        return run_stack(pieces, args[0], states, words)

    # Functions and raw operations

    def function(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: Described, name: str | None = None
    ) -> Any:
        """Record a call of a function of the framework as one operation."""
        inputs: list[int] = []
        variables: list[Any] = []
        template = self.capture((args, kwargs), inputs, variables)
        with self.mute():
            result = function(*args, **kwargs)
        if not inputs:
            return result
        identity = self.tf.identity

        def run(tensors: list[Any]) -> list[Any]:
            given, words = filled(template, tensors, {}, identity)
            return list(tensors_in(function(*given, **words)))

        plain = getattr(inspect.unwrap(function), "__name__", "function")
        result = mapped(result, self._fresh)
        step = Step(name or self._name(plain), found[0], inputs, [], run, found[1])
        step.outputs = [self.adopt(tensor) for tensor in tensors_in(result)]
        step.weights, step.variables = dict(found[2]), [*variables, *found[2].values()]
        step.made_by = f"{getattr(inspect.unwrap(function), '__module__', '')}.{plain}"
        self.steps.append(step)
        return result

    def with_own_gradient(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record a call of a function that a user gives a gradient as one operation, which then has that gradient.

        One that uses weights is seen by its operations.
        """
        start = len(self.steps)
        result = function(*args, **kwargs)
        if any(step.variables for step in self.steps[start:]):
            return result
        del self.steps[start:]
        return self.function(function, args, kwargs, ("op:custom_gradient", {}, {}))

    def weight_behind(self, value: Any) -> Any:
        """Return the variable whose value this is; None when it is something else."""
        if is_tensor(value):
            found = self._made_of_weights.get(value._id)
            return found.variable if isinstance(found, WeightRead) else None
        return plain_variable(value) if is_variable(value) else None

    def raw(self, op: str, inputs: Sequence[Any], attributes: tuple[Any, ...], outputs: Sequence[Any]) -> None:
        """Record one operation of TensorFlow."""
        if not self.listening or not outputs or op in NO_RESULT or op in SHAPES_ONLY:
            return
        if op == "ReadVariableOp":
            variable = self._handles.get(inputs[0]._id)
            variable = self._late(inputs[0]) if variable is None else variable
            if variable is not None:
                self._made_of_weights[outputs[0]._id] = WeightRead(variable)
            return
        sources = [self._source(tensor) for tensor in inputs]
        self._results = len(outputs)
        if any(source.what == "tensor" for source in sources) or looks_up_constants(op, sources):
            self._record_raw(op, inputs, attributes, outputs, sources)
        elif any(source.what in ("weight", "derived") for source in sources):
            self._derive(op, inputs, attributes, outputs, sources)
        elif op.startswith(("Random", "StatelessRandom", "Multinomial")):
            self._note(f"{draws.NOTE} the model runs; replays keep those of the traced run")

    def _late(self, handle: Any) -> Any:
        """Look for a variable that was made during the run."""
        if handle._id in self._strange:
            return None
        self.names.refresh()
        self._handles = self.names.by_handle()
        if handle._id not in self._handles:
            self._strange.add(handle._id)
        return self._handles.get(handle._id)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _source(self, tensor: Any) -> Source:
        shape = tuple(int(n) for n in tensor.shape) if tensor.shape.rank is not None else ()
        number = self.known(tensor)
        if number is not None:
            return Source("tensor", shape, tid=number)
        found = self._made_of_weights.get(tensor._id)
        if isinstance(found, WeightRead):
            return Source("weight", shape, found.variable)
        if found is not None:
            return Source("derived", shape, found)
        held = self._handles.get(tensor._id)
        if held is not None:
            return Source("weight", tuple(int(n) for n in held.shape), held)
        return Source("constant", shape, tensor)

    def _kept(self, tensor: Any, numbers: list[int]) -> Any:
        """Return what stands for an input in a replay: a slot, a weight read again, or the constant itself."""
        number = self.known(tensor)
        if number is None:
            return self._made_of_weights.get(tensor._id, tensor)
        if number not in numbers:
            numbers.append(number)
        return Slot(numbers.index(number))

    def _record_raw(
        self, op: str, inputs: Sequence[Any], attributes: tuple[Any, ...], outputs: Sequence[Any], sources: list[Source]
    ) -> None:
        if op.startswith(ONE_RESULT):
            outputs = outputs[:1]
        if own_function(op):
            keep_function(op)
        numbers: list[int] = []
        template = [self._kept(tensor, numbers) for tensor in inputs]
        made = [tuple(int(n) for n in tensor.shape) for tensor in outputs]
        described = Raw(op, decoded(attributes, self.tf), sources, made, self._inherited())
        try:
            kind, config, weights = describe_raw(described)
        except Exception as error:
            self._note(f"operation {op} could not be described: {error}")
            kind, config, weights = f"op:{op}", {}, {}
        count, identity, kept = self._results, self.tf.identity, len(outputs)
        self._tell_single(config)

        def run(tensors: list[Any]) -> list[Any]:
            return execute_raw(op, filled(template, tensors, {}, identity), attributes, count)[:kept]

        name, results = self._name(own_function(op) or short_name(op)), [self.adopt(t) for t in outputs]
        step = Step(name, kind, numbers, results, run, config, weights)
        step.variables, step.made_by, step.raw = list(weights.values()), f"tf.raw_ops.{own_function(op) or op}", True
        step.sources = tuple(None if isinstance(item, Slot) else item for item in template)
        step.spelt, held = spelt(self.tf, op, attributes, sources, numbers, weights, (count, kept))
        step.operands = tuple(template[place] for place in held)
        step.direct = all(source.what != "derived" or same_numbers(source.value) for source in sources)
        self.steps.append(step)

    def _place(self, op: str, sources: Sequence[Source], outputs: Sequence[Any]) -> Place | None:
        """Return which one of those that a variable holds along its first axis an operation picks, if it does that."""
        if op != "StridedSlice" or sources[0].what != "weight" or not getattr(sources[0].value, "trainable", False):
            return None
        count, begin = (sources[0].shape or (0,))[0], sources[1].numbers()
        rest = sources[0].shape[1:]
        if count < 2 or not rest or tuple(outputs[0].shape) != rest or begin is None or begin.size != 1:
            return None
        key = id(sources[0].value), int(begin.reshape(-1)[0]) % count
        return self._places.setdefault(key, Place(sources[0].value, key[1]))

    def _derive(
        self, op: str, inputs: Sequence[Any], attributes: tuple[Any, ...], outputs: Sequence[Any], sources: list[Source]
    ) -> None:
        if op == "Identity" and sources[0].what == "weight" and tuple(outputs[0].shape) == sources[0].shape:
            self._made_of_weights[outputs[0]._id] = WeightRead(sources[0].value)
            return
        place = self._place(op, sources, outputs)
        if place is not None:
            self._made_of_weights[outputs[0]._id] = WeightRead(place)
            return
        kept = tuple(self._made_of_weights.get(tensor._id, tensor) for tensor in inputs)
        handled = [
            s.value for s, t in zip(sources, inputs, strict=True) if s.what == "weight" and t._id in self._handles
        ]
        count = len(outputs)

        def compute(values: list[Any]) -> list[Any]:
            return execute_raw(op, values, attributes, count)

        for index, tensor in enumerate(outputs):
            found = Derived(compute, kept, index, op)
            if handled:
                found = FromHandles(compute, kept, index, op, tuple(handled))
            self._made_of_weights[tensor._id] = found


def _mask_of(given: Any) -> Any:
    """Return the mask that a layer's first argument carries; of several tensors, as a merging layer reads, a list."""
    if isinstance(given, list | tuple):
        return [_mask_of(one) for one in given]
    return getattr(given, MASK, None)
