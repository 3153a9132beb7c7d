"""A SavedModel without its Python code: its graph is run operation by operation, so that it can be watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from parity.adapters.tensorflow_model_making import execute_raw
from parity.adapters.tensorflow_model_names import Names
from parity.adapters.tensorflow_model_raw import SMALL
from parity.errors import UsageError
from parity.model.constants import meant

Watch = Callable[[str], AbstractContextManager[Any]]
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_SKIPPED = frozenset({"NoOp", "Placeholder", "Assert"})


class GraphModel(tf.Module):
    """The function of a SavedModel that computes its outputs from inputs; weights are attributes of their own names."""

    def __init__(self, loaded: Any, source: str) -> None:
        super().__init__()
        self._function = inference_function(loaded, source)
        graph = self._function.graph
        captured = list(self._function.captured_inputs)
        self._given = graph.inputs[: len(graph.inputs) - len(captured)]
        self._paths = Names(loaded)
        by_handle = {variable.handle._id: variable for variable in self._function.variables}
        self._captures: list[Any] = []  # a variable's name, or a tensor
        for place, tensor in zip(graph.inputs[len(self._given) :], captured, strict=True):
            variable = by_handle.get(getattr(tensor, "_id", -1))
            self._captures.append(_plain(tensor) if variable is None else self._keep(variable, place))
        self._loaded = loaded  # its variables live as long as it does
        self.watch: Watch = lambda _: nullcontext()

    def _keep(self, variable: Any, place: Any) -> str:
        name = str(variable.name).split(":")[0] or str(place.name).split(":")[0]
        if name.startswith("Variable"):
            name = self._paths.of(variable) or name
        held, number = name, 1
        while held in self.__dict__ and self.__dict__[held] is not variable:
            held, number = f"{name}_{number}", number + 1
        self.__dict__[held] = variable
        return held

    @property
    def input_names(self) -> list[str]:
        """Return the names of the inputs, in the order in which `__call__` takes them."""
        return [tensor.name.split(":")[0] for tensor in self._given]

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != len(self._given):
            raise UsageError(f"this SavedModel takes {len(self._given)} inputs ({', '.join(self.input_names)})")
        captured = [self.__dict__[c].handle if isinstance(c, str) else _constant(c) for c in self._captures]
        values: dict[str, Any] = {}
        for place, value in zip(self._given, inputs, strict=True):
            values[place.name] = self._fitting(value, place)
        for place, value in zip(self._function.graph.inputs[len(inputs) :], captured, strict=True):
            values[place.name] = value
        run_graph(self._function.graph, values, self.watch)
        made = [values[tensor.name] for tensor in self._function.graph.outputs]
        answer = self._function.structured_outputs
        return tf.nest.pack_sequence_as(answer, made) if len(tf.nest.flatten(answer)) == len(made) else made

    def _fitting(self, value: Any, place: Any) -> Any:
        floats = value.dtype.is_floating and place.dtype.is_floating
        return value if floats or value.dtype == place.dtype else tf.cast(value, place.dtype)


def inference_function(loaded: Any, source: str) -> Any:
    """Return the concrete function that a SavedModel serves, or the first that it can be called by."""
    signatures = getattr(loaded, "signatures", None) or {}
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if signatures:
        return next(iter(signatures.values()))
    for name in ("__call__", "call", "predict", "serve"):
        found = getattr(loaded, name, None)
        concrete = list(getattr(found, "concrete_functions", None) or ())
        if concrete:
            return next((one for one in concrete if not _trains(one)), concrete[0])
    raise UsageError(f"{source}: this SavedModel holds no function that computes outputs from inputs")


def _plain(tensor: Any) -> Any:
    """Return a captured constant as an array, anything else as it is."""
    return tensor.numpy() if tensor.dtype not in (tf.resource, tf.variant, tf.string) else tensor


def _constant(value: Any) -> Any:
    """Return a constant as a tensor; a twin makes a double of it, of the number that was meant where it is short."""
    if not isinstance(value, np.ndarray | np.generic):
        return value
    made = tf.constant(value)
    if made.dtype == tf.float64 and value.dtype == np.float32 and value.size <= SMALL:
        numbers = [meant(float(number)) for number in np.asarray(value).reshape(-1)]
        made = tf.constant(np.array(numbers, np.float64).reshape(value.shape))
    return made


def _trains(function: Any) -> bool:
    args, kwargs = function.structured_input_signature or ((), {})
    return any(value is True for value in (*args, *dict(kwargs).values()))


def run_graph(graph: Any, values: dict[str, Any], watch: Watch) -> None:
    """Execute a graph's operations one by one; `values` holds the inputs by tensor name, and then everything.

    `watch` is entered with the scope of each operation.
    """
    wanted = _needed(graph.outputs)
    for operation in graph.get_operations():
        if operation.name not in wanted or operation.type in _SKIPPED:
            continue
        inputs = [values[tensor.name] for tensor in operation.inputs]
        with watch(operation.name.rpartition("/")[0]):
            made = _execute(graph, operation, inputs, watch)
        for tensor, value in zip(operation.outputs, made, strict=True):
            values[tensor.name] = value


def _needed(outputs: Sequence[Any]) -> set[str]:
    """Return the names of the operations that the outputs depend on."""
    found: set[str] = set()
    waiting = [tensor.op for tensor in outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found.add(operation.name)
            waiting.extend(tensor.op for tensor in operation.inputs)
    return found


def _execute(graph: Any, operation: Any, inputs: list[Any], watch: Watch) -> list[Any]:
    if operation.type == "Const":
        return [_constant(tf.make_ndarray(operation.get_attr("value")))]
    if operation.type in _CALLS:
        return _called(graph, operation, "f", inputs, watch)
    if operation.type.removeprefix("Stateless") in _BRANCHES:
        return _BRANCHES[operation.type.removeprefix("Stateless")](graph, operation, inputs, watch)
    attributes = tuple(item for pair in _attributes(operation, inputs) for item in pair)
    return execute_raw(operation.type, inputs, attributes, len(operation.outputs))


def _if(graph: Any, operation: Any, inputs: list[Any], watch: Watch) -> list[Any]:
    """Run the branch that these inputs take."""
    branch = "then_branch" if _holds(inputs[0]) else "else_branch"
    return _called(graph, operation, branch, inputs[1:], watch)


def _case(graph: Any, operation: Any, inputs: list[Any], watch: Watch) -> list[Any]:
    branches, place = operation.get_attr("branches"), int(inputs[0].numpy())
    last = len(branches) - 1
    return _body(graph, branches[place if 0 <= place <= last else last].name, inputs[1:], watch)


def _while(graph: Any, operation: Any, inputs: list[Any], watch: Watch) -> list[Any]:
    """Run the body as often as these inputs do."""
    values = list(inputs)
    while _holds(_called(graph, operation, "cond", values, watch)[0]):
        values = _called(graph, operation, "body", values, watch)
    return values


def _holds(condition: Any) -> bool:
    return (
        bool(np.asarray(condition.numpy()).all()) if condition.shape.rank == 0 else bool(condition.shape.num_elements())
    )


_BRANCHES = {"If": _if, "Case": _case, "While": _while}


def _called(graph: Any, operation: Any, attribute: str, inputs: list[Any], watch: Watch) -> list[Any]:
    """Run the body of a function that a graph calls."""
    return _body(graph, operation.get_attr(attribute).name, inputs, watch)


def _body(graph: Any, name: str, inputs: list[Any], watch: Watch) -> list[Any]:
    from tensorflow.python.eager import context
    from tensorflow.python.framework import function_def_to_graph

    found = graph._get_function(name)
    if found is None:  # a function that a function calls is known to the process alone
        definition = context.context().get_function_def(name)
    else:
        definition = getattr(found, "cached_definition", None) or found.definition
    inner = function_def_to_graph.function_def_to_graph(definition)
    values = {place.name: value for place, value in zip(inner.inputs, inputs, strict=True)}
    run_graph(inner, values, watch)
    return [values[tensor.name] for tensor in inner.outputs]


def _attributes(operation: Any, inputs: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield an operation's attributes as eager execution wants them; types follow the inputs that there really are."""
    real = _real_types(operation, inputs)
    for attribute in operation.op_def.attr:
        value = operation.get_attr(attribute.name)
        if attribute.type == "type":
            value = real.get(attribute.name, value)
            if attribute.name == "element_dtype" and value == tf.float32 and _in_doubles():
                value = tf.float64  # a list that was made for them
            yield attribute.name, value.as_datatype_enum
        elif attribute.type == "list(type)":
            yield attribute.name, [one.as_datatype_enum for one in value]
        elif attribute.type == "shape":
            yield attribute.name, tf.TensorShape(value)
        elif attribute.type == "func":
            raise UsageError(f"this SavedModel uses {operation.type}, whose branches cannot be looked into")
        else:
            yield attribute.name, value


def _in_doubles() -> bool:
    """Whether this is a twin: there a constant of float32 comes out as a double."""
    return bool(tf.constant(np.float32(1.0)).dtype == tf.float64)


def _real_types(operation: Any, inputs: Sequence[Any]) -> dict[str, Any]:
    """Return the types of an operation's inputs by attribute: a twin's are float64 where the graph says float32."""
    found: dict[str, Any] = {}
    position = 0
    for argument in operation.op_def.input_arg:
        count = int(operation.get_attr(argument.number_attr)) if argument.number_attr else 1
        if argument.type_attr and position < len(inputs):
            found[argument.type_attr] = inputs[position].dtype
        position += count
    held = _held_type(inputs[0]) if inputs and inputs[0].dtype == tf.resource else None
    return found if held is None else found | {"dtype": held}


def _held_type(handle: Any) -> Any:
    data = getattr(handle, "_handle_data", None)
    held = list(data.shape_and_type) if data is not None and data.is_set else []
    return tf.as_dtype(held[0].dtype) if held else None
