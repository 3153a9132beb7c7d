"""How a script would write an operation of TensorFlow: `tf.raw_ops` with its attributes, and places for tensors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.tensorflow_model_layers import as_written
from parity.adapters.tensorflow_model_raw import Source

LIMIT = 1024  # numbers of a constant that is written out
PRECISION = ("float32", "float64")


class _Unspeakable(Exception):
    """What is no data."""


def spelt(
    tf: Any, op: str, attributes: tuple[Any, ...], sources: Sequence[Source], numbers: Sequence[int],
    weights: Mapping[str, Any], results: tuple[int, int],
) -> tuple[str, list[int]]:  # fmt: skip
    """Return an operation as Python, with places as `trace.Op` tells of, and which sources stand in those for numbers.

    "" and none without a form.

    `numbers` are the tensors that it is said to read, in order; `results` how many it has, and how many are kept;
    `dtype` names the script's precision.
    """
    function = getattr(tf.raw_ops, op, None)
    if function is None or op.startswith(("Resource", "Random", "Stateless")):
        return "", []
    definition = _definition(op)
    values = {_text(key): value for key, value in zip(attributes[::2], attributes[1::2], strict=True)}
    try:
        held: list[int] = []
        said = [_source(place, one, numbers, weights, held) for place, one in enumerate(sources)]
        given = _arguments(definition, values, said)
        taken = inspect.signature(function).parameters
        types = {one.name for one in definition.attr if one.type in ("type", "list(type)")}
        words = {
            key: _dtype(tf, value) if key in types else _attribute(value)
            for key, value in values.items() if key in taken and value is not None
        }  # fmt: skip
    except _Unspeakable:
        return "", []
    listed = bool(definition.output_arg and definition.output_arg[0].number_attr)
    first = "[0]" if results[1] == 1 and (listed or results[0] > 1) else ""
    both = ", ".join(f"{key}={value}" for key, value in {**given, **words}.items())
    return f"tf.raw_ops.{op}({both}){first}", held


def _definition(op: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op)


def _arguments(definition: Any, values: Mapping[str, Any], given: list[str]) -> dict[str, str]:
    """Return the operation's inputs by name; one name may stand for several of them."""
    found: dict[str, str] = {}
    at = 0
    for argument in definition.input_arg:
        if argument.number_attr or argument.type_list_attr:
            rest = len(definition.input_arg) - len(found) - 1
            count = int(values.get(argument.number_attr) or len(given) - at - rest)
            found[argument.name] = f"[{', '.join(given[at : at + count])}]"
        else:
            count = 1
            found[argument.name] = given[at] if at < len(given) else ""
        at += count
    if at != len(given) or "" in found.values():
        raise _Unspeakable
    return found


def _source(place: int, source: Source, numbers: Sequence[int], weights: Mapping[str, Any], kept: list[int]) -> str:
    if source.what == "tensor":
        return f"{{x[{list(numbers).index(source.tid or 0)}]}}"
    if source.what == "weight":
        role = next((role for role, variable in weights.items() if variable is source.value), None)
        if role is not None:
            return f"{{w[{role}]}}"
    if source.what == "derived" or (source.what == "constant" and _is_long(source)):
        kept.append(place)
        return f"{{k[{len(kept) - 1}]}}"
    held = source.numbers()
    if source.what != "constant" or held is None or held.size > LIMIT or held.dtype.kind not in "fiub":
        raise _Unspeakable
    kind = "dtype" if held.dtype.name in PRECISION else f'"{held.dtype.name}"'
    flat = [as_written(one) if held.dtype.kind == "f" else one.item() for one in held.reshape(-1)]
    text = ", ".join(_number(one) for one in flat)
    if not held.ndim:
        return f"np.array({text}, {kind})"
    shape = "" if held.ndim == 1 else f".reshape({held.shape})"
    return f"np.array([{text}], {kind}){shape}"


def _is_long(source: Source) -> bool:
    """Whether a constant has too many numbers to be written out."""
    name = getattr(getattr(source.value, "dtype", None), "name", "")
    return int(np.prod(source.shape)) > LIMIT and name in (*PRECISION, "int32", "int64", "bool")


def _number(value: Any) -> str:
    return f'float("{value}")' if isinstance(value, float) and not abs(value) < float("inf") else repr(value)


def _attribute(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_attribute, value))}]"
    if isinstance(value, (bytes, str)):
        return repr(_text(value)).replace("{", "{{").replace("}", "}}")
    if isinstance(value, (bool, int, float)):
        return _number(value)
    raise _Unspeakable


def _dtype(tf: Any, value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_dtype(tf, one) for one in value)}]"
    name = tf.as_dtype(value).name
    return "dtype" if name in PRECISION else f'"{name}"'


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
