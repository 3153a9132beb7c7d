"""Somebody's model in float64: what was written for float32 is brought to doubles, in the twin's process only."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import product, takewhile
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_kernels import ROUNDED, in_doubles
from parity.adapters.tensorflow_model_names import Names, is_keras_layer, is_variable, plain_variable
from parity.model.constants import meant, written

SINGLE = frozenset({"float32", "float16", "half", "bfloat16"})
# Functions with a dtype argument: its position; their results are floats by default.
_MAKERS: Mapping[str, int] = {
    "zeros": 1, "ones": 1, "eye": 3, "constant": 1, "convert_to_tensor": 1, "cast": 1, "zeros_like": 1, "ones_like": 1,
    "range": 3, "one_hot": 5, "saturate_cast": 1,
    "random.normal": 3, "random.uniform": 3, "random.truncated_normal": 3, "random.stateless_normal": 4,
    "random.stateless_uniform": 4, "random.stateless_truncated_normal": 4,
}  # fmt: skip
_FLOAT_BY_DEFAULT = frozenset(
    {"zeros", "ones", "eye", "random.normal", "random.uniform", "random.truncated_normal", "random.stateless_normal",
     "random.stateless_uniform", "random.stateless_truncated_normal"}
)  # fmt: skip
BITS = "Bitcast"  # of a number that is a double in the twin alone
_BY_VALUE = frozenset({"constant", "convert_to_tensor", "range"})


class Doubling:
    """Replaces functions of TensorFlow by ones that make doubles while `active`.

    `promoted` is told of every result that an operation made in less, and of the double that stands for it; `singled`
    is called when an operation had to be computed in float32.
    """

    def __init__(self, tf: Any, promoted: Callable[[Any, Any], None], singled: Callable[[], None]) -> None:
        self.tf, self._told, self._singled = tf, promoted, singled
        self._busy = False
        self.notes: list[str] = []
        self.quiet: Callable[[], AbstractContextManager[None]] = nullcontext  # in which nobody watches operations
        self._legacy: list[Any] = []
        self._recorded: list[Any] = []  # results whose gradient is on the tape already
        self._depth = 0
        self._installed = False

    @contextmanager
    def active(self, results: bool) -> Iterator[None]:
        """While somebody's code runs, float32 means float64; with `results` every operation gives doubles.

        Not while layers are built: their initial values are drawn in the dtype that each was given.
        """
        if not self._installed:
            self._install()
        kept = self._depth, self._busy
        self._depth, self._busy = self._depth + 1, not results
        try:
            yield
        finally:
            self._depth, self._busy = kept

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave dtypes alone: a gradient must come back in the dtype of what it is a gradient of."""
        kept, self._depth = self._depth, 0
        try:
            yield
        finally:
            self._depth = kept

    def _install(self) -> None:
        self._installed = True
        second = importlib.import_module("tensorflow.compat.v2")  # by which Keras 2 calls the same functions
        own = importlib.import_module("tensorflow.python.ops.array_ops")  # and TensorFlow itself
        makers = [*product((self.tf, second), _MAKERS.items()), *((own, (name, 1)) for name in ("zeros", "ones"))]
        for root, (path, position) in makers:
            holder: Any = root
            *folders, name = path.split(".")
            for folder in folders:
                holder = getattr(holder, folder)
            if hasattr(holder, name):
                setattr(holder, name, self._maker(path, getattr(holder, name), position))
        self._variables()
        self._operations()
        self._graphs()
        self._whole_numbers()
        self._plain_numbers()
        self._own_casts()
        fill = self.tf.fill
        self.tf.fill = functools.wraps(fill)(
            lambda dims, value, **words: fill(
                dims, self.tf.constant(value) if isinstance(value, float) else value, **words
            )
        )

    def _own_casts(self) -> None:
        """TensorFlow's own functions cast to doubles, too, as those of images do; not where only shapes are asked for.

        Numbers of Python that stand beside are float32 in such a graph.
        """
        inner: Any = importlib.import_module("tensorflow.python.ops.math_ops")
        original = inner.cast
        made = self._maker("cast", original, 1)

        @functools.wraps(original)
        def cast(*args: Any, **kwargs: Any) -> Any:
            return (made if self.tf.executing_eagerly() else original)(*args, **kwargs)

        inner.cast = cast

    def legacy(self, base: Any, norm: Any) -> None:
        """Let layers of Keras 2 that name a dtype of their own be made in float64: they are traced when made.

        Their batch normalisation takes the fused kernel, which has a variance of its own, in doubles as in float32.
        """
        if base in self._legacy:
            return
        self._legacy.append(base)
        self._fused(norm)
        original = base._set_dtype_policy

        def set_policy(layer: Any, dtype: Any) -> Any:
            name = _dtype_name(dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype)
            single = name in SINGLE or name.startswith("mixed_")
            return original(layer, "float64" if self._depth and single else dtype)

        base._set_dtype_policy = set_policy

    def _fused(self, norm: Any) -> None:
        """Give Keras 2's batch normalisation the moving variance of the fused kernel, which there is for float32 only.

        That kernel divides by one less than the count; without it, as in doubles, the layer divides by the count.
        """
        made, called, moved, asked = norm.__init__, norm.call, norm._assign_moving_average, norm._fused_can_be_used

        def init(layer: Any, *args: Any, **words: Any) -> None:
            if self._depth and words.get("fused"):
                words["fused"] = None
            made(layer, *args, **words)

        def can_be_used(layer: Any) -> bool:
            kernel, words = asked(layer), ""
            try:
                layer._raise_if_fused_cannot_be_used()
            except ValueError as error:
                words = str(error)
            layer._fused_in_float32 = kernel or "dtype" in words
            return bool(kernel)

        def call(layer: Any, inputs: Any, *args: Any, **words: Any) -> Any:
            rank, count = len(inputs.shape), self.tf.size(inputs) // inputs.shape[layer.axis[0]]
            fused = getattr(layer, "_fused_in_float32", False) and rank in (4, 5) and not layer.fused
            layer._count_of_batch = count if fused else None
            return called(layer, inputs, *args, **words)

        def moving(layer: Any, variable: Any, value: Any, *others: Any) -> Any:
            count = getattr(layer, "_count_of_batch", None)
            if self._depth and count is not None and variable is layer.moving_variance:
                with self.quiet():
                    many = self.tf.cast(count, value.dtype)
                    value = value * (many / (many - 1.0))
            return moved(layer, variable, value, *others)

        norm.__init__, norm.call, norm._assign_moving_average, norm._fused_can_be_used = init, call, moving, can_be_used

    def _operations(self) -> None:
        """Every operation's float32 result becomes a double right after it; both are seen by gradient tapes.

        An operation is executed by one of two functions, a fast one in C and a slow one in Python, after which its
        caller puts it on the tape; for a result that was exchanged, that must be done before.
        """
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import core, execute

        slow, record = execute.quick_execute, execute.record_gradient

        def record_gradient(op: Any, inputs: Any, attrs: Any, results: Any) -> None:
            if results is self._recorded:
                self._recorded = []
            else:
                record(op, inputs, attrs, results)

        slow_execute = self._slow(slow, record, execute.must_record_gradient)
        pywrap_tfe.TFE_Py_FastPathExecute = self._fast(pywrap_tfe.TFE_Py_FastPathExecute, core._FallbackException)
        if execute.execute is slow:
            execute.execute = slow_execute
        execute.quick_execute, execute.record_gradient = slow_execute, record_gradient

    def _fast(self, original: Callable[..., Any], fallback: type[Exception]) -> Callable[..., Any]:
        """Return the fast function, which leaves to the slow one, by an exception, what is not exact in doubles."""

        def execute(*args: Any) -> Any:
            if not self._depth:
                return original(*args)
            if args[1] in ROUNDED or args[1] == BITS:
                raise fallback("not exact in float64")
            try:
                made = original(*self._exactly(args))
            except Exception as error:
                if not _lacks_kernel(error):
                    raise
                raise fallback("no kernel for float64") from error  # the slow function knows what to do
            return self._promoted(made) if self._depth and not self._busy else made

        return execute

    def _slow(
        self, original: Callable[..., Any], record: Callable[..., Any], must_record: Callable[[], bool]
    ) -> Callable[..., Any]:
        """Return the slow function, which computes in float32, or by a formula, what there is not in doubles."""

        def execute(
            op_name: Any, num_outputs: int, inputs: Any, attrs: Any, ctx: Any, name: Any = None
        ) -> Any:  # called by these names, too
            found = self._by_formula(op_name, inputs, attrs) if self._depth and _word(op_name) in ROUNDED else None
            if found is not None:
                return found
            if self._depth and _word(op_name) == BITS and self._of_singles(_pairs(attrs)):
                with self.paused():
                    inputs, attrs = [self._single(one) for one in inputs], _single_types(BITS, attrs, self.tf)
            try:
                made = original(op_name, num_outputs, inputs, attrs, ctx, name)
            except Exception as error:
                if not self._depth or not _lacks_kernel(error):
                    raise
                found = self._by_formula(op_name, inputs, attrs)
                if found is not None:
                    return found
                inputs = self._singles(inputs, _word(op_name))
                attrs = _single_types(_word(op_name), attrs, self.tf)
                made = original(op_name, num_outputs, inputs, attrs, ctx, name)
            if not self._depth or self._busy or not made or not any(_is_single(tensor) for tensor in made):
                return made
            if must_record():
                record(_word(op_name), inputs, attrs, made)
            changed = self._promoted(made)
            self._recorded = changed
            return changed

        return execute

    def _by_formula(self, op_name: Any, inputs: Any, attrs: Any) -> list[Any] | None:
        with self.quiet():
            found = in_doubles(self.tf, _word(op_name), inputs, attrs)
        if found is not None:
            self._recorded = found  # made of operations that are on the tape themselves
        return found

    def _exact(self, inputs: list[Any]) -> list[Any]:
        """Return an operation's inputs; where they are numbers of Python alone, these keep all their digits.

        Beside a tensor they take its type; without one they would be float32, and the root of 2 one of float32.
        """
        inputs = [written(one) if type(one) is float else _single_meant(one) for one in inputs]
        if not all(map(_is_plain, inputs)) or not any(map(_holds_float, inputs)):
            return inputs
        return [self.tf.constant(one, self.tf.float64) if _holds_float(one) else one for one in inputs]

    def _exactly(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of a fast call, of which the fourth is the first input, and words begin what is none."""
        inputs = list(takewhile(lambda one: not isinstance(one, str), args[3:]))
        return (*args[:3], *self._exact(inputs), *args[3 + len(inputs) :])

    def _graphs(self) -> None:
        """An operation that there is for float32 alone takes doubles in a graph as well, and gives doubles.

        Keras runs a layer of one's own in a graph to learn what shapes come out, before it has seen any number.
        """
        from tensorflow.python.framework import op_def_library, op_def_registry

        original = op_def_library._apply_op_helper

        def apply(op_type_name: Any, name: Any = None, **words: Any) -> Any:
            known = op_def_registry.get(op_type_name) if self._depth else None
            names = [arg.name for arg in known.input_arg if arg.name in words] if known is not None else []
            words.update(zip(names, self._exact([words[one] for one in names]), strict=True))
            if known is not None:
                words.update(self._beside_doubles(known.input_arg, words))
            if known is not None and op_type_name == BITS and self._of_singles(words):
                words["input"] = self._graph_single(words["input"])
            try:
                return original(op_type_name, name, **words)
            except TypeError as error:
                if not self._depth or not _lacks_kernel(error):
                    raise
            words = {key: self._graph_single(value) for key, value in words.items()}
            structure, stateful, op, made = original(op_type_name, name, **words)
            return structure, stateful, op, self._graph_double(made)

        op_def_library._apply_op_helper = apply

    def _beside_doubles(self, arguments: Iterable[Any], words: Mapping[str, Any]) -> dict[str, Any]:
        """Return the numbers of Python that share a type with a double: a graph takes the first argument's for both."""
        double = {one.type_attr for one in arguments if getattr(words.get(one.name), "dtype", None) == self.tf.float64}
        plain = [one.name for one in arguments if one.type_attr in double and type(words.get(one.name)) is float]
        return {name: self.tf.constant(words[name], self.tf.float64) for name in plain}

    def _of_singles(self, words: Mapping[Any, Any]) -> bool:
        """Return whether the bits of a float32 are asked for, as Keras does for the sign of a number."""
        return next((kind for key, kind in words.items() if _word(key) == "type"), None) in (
            self.tf.int32, self.tf.uint32, self.tf.int32.as_datatype_enum, self.tf.uint32.as_datatype_enum
        )  # fmt: skip

    def _graph_single(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._graph_single(item) for item in value]
        if isinstance(value, self.tf.DType):
            return self.tf.float32 if value == self.tf.float64 else value
        return self._cast_in_graph(value, self.tf.float64, self.tf.float32)

    def _graph_double(self, made: Any) -> Any:
        if isinstance(made, list | tuple):
            return [self._graph_double(item) for item in made]
        return self._cast_in_graph(made, self.tf.float32, self.tf.float64)

    def _cast_in_graph(self, value: Any, before: Any, after: Any) -> Any:
        if getattr(value, "dtype", None) != before or not self.tf.is_tensor(value):
            return value
        with self.paused():
            return self.tf.cast(value, after)

    def _singles(self, values: Any, op: str) -> list[Any]:
        """Return an operation's inputs in float32, for one that TensorFlow has in no other dtype; it is noted."""
        note = f"twin: TensorFlow computes {op} in float32 alone"
        if note not in self.notes:
            self.notes.append(note)
        self._singled()
        found = []
        with self.paused():
            for value in values:
                nested = isinstance(value, list) and any(hasattr(item, "_id") for item in value)
                if nested:
                    found.append([self._single(item) for item in value])
                else:
                    found.append(self._single(value))
        return found

    def _single(self, value: Any) -> Any:
        double = hasattr(value, "_id") and value.dtype == self.tf.float64
        return self.tf.cast(value, self.tf.float32) if double else value

    def _promoted(self, made: Any) -> Any:
        if isinstance(made, list | tuple):
            return [self._promoted(item) for item in made]
        if not _is_single(made):
            return made
        self._busy = True  # only here: nothing else comes this far while it is set
        try:
            changed = self.tf.cast(made, self.tf.float64)
        finally:
            self._busy = False
        self._told(made, changed)
        return changed

    def _whole_numbers(self) -> None:
        """A whole number of Python is an int32 for Keras, as beside float32: not an int64, as beside float64.

        Otherwise `ops.arange(n)` would be of another type than in the model itself.
        """
        types: Any = importlib.import_module("keras.src.backend.common.dtypes")
        original = types._resolve_weak_type

        def resolve(dtype: Any, precision: str = "32") -> Any:
            whole = self._depth and str(dtype)[:1] in "iu"
            return original(dtype, precision="32" if whole else precision)

        types._resolve_weak_type = resolve

    def _plain_numbers(self) -> None:
        """Numbers of Python that a function of TensorFlow makes a tensor of, in no dtype, keep all their digits."""
        from tensorflow.python.framework import constant_op

        original = constant_op.convert_to_eager_tensor

        def convert(value: Any, ctx: Any, dtype: Any = None) -> Any:
            active = self._depth and not self._busy
            value = (written(value) if type(value) is float else _single_meant(value)) if active else value
            plain = isinstance(value, float | list | tuple) and not any(hasattr(item, "dtype") for item in _flat(value))
            if dtype is None and plain and active and _holds_float(value):
                dtype = self.tf.float64
            return original(value, ctx, dtype)

        constant_op.convert_to_eager_tensor = convert
        self._kept_doubles()

    def _kept_doubles(self) -> None:
        """A double stays one where a function of TensorFlow asks for a float32 tensor before it runs an operation."""
        from tensorflow.python.framework import tensor_conversion_registry as registry

        original = registry.convert

        def convert(value: Any, dtype: Any = None, *args: Any, **words: Any) -> Any:
            double = self._depth and not self._busy and getattr(value, "dtype", None) == self.tf.float64
            if double and hasattr(value, "_id") and dtype == self.tf.float32:
                return value
            return original(value, dtype, *args, **words)

        registry.convert = convert

    def _variables(self) -> None:
        """A variable that is asked for in float32 is made in float64; `tf.Variable` itself must stay a class."""
        meta, doubling = type(self.tf.Variable), self
        original = meta.__call__

        def call(kind: Any, *args: Any, **kwargs: Any) -> Any:
            if doubling._depth and _dtype_name(kwargs.get("dtype")) in SINGLE:
                kwargs["dtype"] = doubling.tf.float64
                if args:
                    args = (doubling._initial(args[0]), *args[1:])
                elif "initial_value" in kwargs:
                    kwargs["initial_value"] = doubling._initial(kwargs["initial_value"])
            return original(kind, *args, **kwargs)

        meta.__call__ = call

    def _initial(self, value: Any) -> Any:
        if callable(value) and not hasattr(value, "dtype"):
            return lambda *args, **kwargs: self._initial(value(*args, **kwargs))
        return self.tf.cast(value, self.tf.float64) if _is_single(value) else value

    def _maker(self, name: str, original: Callable[..., Any], position: int) -> Callable[..., Any]:
        @functools.wraps(original)
        def make(*args: Any, **kwargs: Any) -> Any:
            if not self._depth:
                return original(*args, **kwargs)
            given = args[position] if len(args) > position else kwargs.get("dtype")
            wanted = self._wanted(name, given, args)
            if self._busy and name.startswith("random.") and wanted is self.tf.float64:
                return self._drawn(original, position, args, kwargs)
            if wanted is not given:
                args, kwargs = _with_dtype(position, wanted, args, kwargs)
            if name in ("constant", "convert_to_tensor") and wanted is self.tf.float64 and args and _is_single(args[0]):
                args = (self.tf.cast(args[0], self.tf.float64), *args[1:])
            return original(*args, **kwargs)

        return make

    def _drawn(self, original: Callable[..., Any], position: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return random numbers as the model itself draws them while it is built: doubles would be others.

        Some are never replaced: a layer that is called on a constant there leaves nothing but numbers in a model.
        """
        single_args, single = _with_dtype(position, self.tf.float32, args, kwargs)
        given = [self._bound(value) for value in single_args]
        words = {key: self._bound(value) for key, value in single.items()}
        return self.tf.cast(original(*given, **words), self.tf.float64)

    def _bound(self, value: Any) -> Any:
        """Return a bound of random numbers in float32; what is none as it is."""
        if _dtype_name(getattr(value, "dtype", None)) != "float64":
            return value
        depth, self._depth = self._depth, 0
        try:
            return self.tf.cast(value, self.tf.float32)
        finally:
            self._depth = depth

    def _wanted(self, name: str, given: Any, args: tuple[Any, ...]) -> Any:
        if _dtype_name(given) == "complex64":
            return self.tf.complex128
        if given is not None:
            by_keras = self._busy and "stateless" in name and _dtype_name(given) == "float64"
            return self.tf.float64 if by_keras or _dtype_name(given) in SINGLE else given
        if name in _FLOAT_BY_DEFAULT:
            return self.tf.float64
        if name in _BY_VALUE and args and _holds_float(args[: 3 if name == "range" else 1]):
            return self.tf.float64
        return None


def _with_dtype(
    position: int, dtype: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with another dtype."""
    if len(args) > position:
        return (*args[:position], dtype, *args[position + 1 :]), kwargs
    return args, {**kwargs, "dtype": dtype}


def _dtype_name(dtype: Any) -> str:
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return str(name).removesuffix("_ref")


def _lacks_kernel(error: Exception) -> bool:
    """Tell whether an operation failed because there is none of it for float64."""
    text = str(getattr(error, "message", error))
    missing = "Could not find device for node" in text and "DT_DOUBLE" in text
    refused = (
        "of double is not in the list of allowed values", "has DataType float64 not in list of allowed values",
        "float64 that does not match expected type of float32", "expected to be a float tensor but is a double tensor",
    )  # fmt: skip
    return missing or any(words in text for words in refused)


def _pairs(attrs: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(attrs[::2], attrs[1::2], strict=True))


def _single_types(op: str, attrs: tuple[Any, ...], tf: Any) -> tuple[Any, ...]:
    """Return an operation's attributes, names and values in turn, with float32 in place of float64 as a type.

    A number that happens to be the number of that type, such as a radius of two, stays.
    """
    from tensorflow.python.framework import op_def_registry

    double, single = tf.float64.as_datatype_enum, tf.float32.as_datatype_enum
    known = op_def_registry.get(op)
    types = {attr.name for attr in known.attr if attr.type == "type"} if known is not None else set()
    pairs = zip(attrs[::2], attrs[1::2], strict=True)
    return tuple(
        part
        for name, value in pairs
        for part in (name, single if _word(name) in types and type(value) is int and value == double else value)
    )


def _is_single(value: Any) -> bool:
    return hasattr(value, "_id") and _dtype_name(value.dtype) in SINGLE


def _holds_float(value: Any) -> bool:
    if isinstance(value, float):
        return True
    if isinstance(value, list | tuple):
        return any(_holds_float(item) for item in value)
    return hasattr(value, "dtype") and not is_variable(value) and _dtype_name(value.dtype) in SINGLE


def _is_plain(value: Any) -> bool:
    return all(type(one) in (float, int) for one in _flat(value))


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def convert(model: Any, names: Names, tf: Any) -> list[str]:
    """Bring a built model to float64 in place; return lines that say what could not be brought there."""
    notes: list[str] = []
    exchanged: dict[int, Any] = {}
    for variable in list(names.weights.values()):
        plain = plain_variable(variable)
        if plain is not variable and getattr(variable, "_dtype", None) in SINGLE:
            _set(variable, "_dtype", "float64")
        if _dtype_name(plain.dtype) not in SINGLE:
            continue
        try:
            made = tf.Variable(tf.cast(plain.read_value(), tf.float64), trainable=plain.trainable, dtype=tf.float64)
            if plain is variable:
                exchanged[id(plain)] = made
            else:
                _set(variable, "_value" if hasattr(variable, "_value") else "_variable", made)
        except Exception as error:
            notes.append(f"twin: weight `{names.of(variable)}` stays {_dtype_name(plain.dtype)}: {error}")
    for layer in names.layers:
        notes += _convert_layer(layer)
    if exchanged:
        _exchange(model, exchanged, set())
    return notes


def _set(thing: Any, name: str, value: Any) -> None:
    object.__setattr__(thing, name, value)


def _convert_layer(layer: Any) -> list[str]:
    policy = getattr(layer, "dtype_policy", None) or getattr(layer, "_dtype_policy", None)
    kinds = {str(getattr(policy, name, "")) for name in ("compute_dtype", "variable_dtype")}
    try:
        if kinds & SINGLE:
            if hasattr(layer, "_set_dtype_policy"):
                layer._set_dtype_policy("float64")
            else:
                layer.dtype_policy = "float64"
        if getattr(layer, "fused", False) is True:  # Keras 2: the fused normalisation exists in float32 alone
            layer.fused = False
        for graph in (layer, getattr(layer, "_functional", None)):
            _convert_graph(graph)
    except Exception as error:
        return [f"twin: layer `{layer.name}` still computes in {', '.join(sorted(kinds))}: {error}"]
    return []


def _convert_graph(model: Any) -> None:
    """Let a functional model's inputs, and operations that name a dtype, mean float64."""
    for tensor in getattr(model, "_inputs", None) or getattr(model, "inputs", None) or ():
        if hasattr(tensor, "_type_spec"):
            spec = tensor._type_spec
            if _dtype_name(spec.dtype) in SINGLE:
                tensor._type_spec = type(spec)(spec.shape, "float64", name=spec.name)
        elif getattr(tensor, "_dtype", None) in SINGLE:
            tensor._dtype = "float64"
    for operation in getattr(model, "_operations", None) or ():
        held = None if is_keras_layer(operation) else vars(operation).get("dtype")
        if held is not None and _dtype_name(held) in SINGLE:
            _set(operation, "dtype", "float64")


def _exchange(thing: Any, exchanged: Mapping[int, Any], seen: set[int]) -> None:
    """Put the new variables where the old ones were held, at any depth."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    held: list[tuple[Any, Any]] = []
    into: Any = thing
    if isinstance(thing, dict):
        held = list(thing.items())
    elif isinstance(thing, list):
        held = list(enumerate(thing))
    elif isinstance(thing, tuple):
        held = list(enumerate(thing))  # made anew by what holds it
    elif hasattr(thing, "__dict__") and not callable(getattr(thing, "__get__", None)) and _is_holder(thing):
        held, into = list(vars(thing).items()), thing.__dict__
    for key, old in held:
        new = _renewed(old, exchanged)
        if new is not old:
            into[key] = new
        if id(old) not in exchanged:
            _exchange(new, exchanged, seen)


def _single_meant(value: Any) -> Any:
    """Return, for one number of NumPy's in float32, the double that a formula had; anything else as it is."""
    if isinstance(value, np.float32):
        return meant(float(value))
    if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.size == 1:
        return np.full(value.shape, meant(float(value.reshape(())[()])))
    return value


def _renewed(held: Any, exchanged: Mapping[int, Any]) -> Any:
    """Return the new variable for an old one, and a tuple that has some in it, at any depth, as a new tuple."""
    if id(held) in exchanged:
        return exchanged[id(held)]
    if not isinstance(held, tuple):
        return held
    items = [_renewed(item, exchanged) for item in held]
    anew = any(item is not old for item, old in zip(items, held, strict=True))
    return getattr(held, "_make", tuple)(items) if anew else held


def _is_holder(thing: Any) -> bool:
    return hasattr(thing, "_trackable_children") or is_keras_layer(thing)


def _word(op_name: Any) -> str:
    return op_name.decode() if isinstance(op_name, bytes) else str(op_name)
