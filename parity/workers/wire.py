"""The message format between parent and worker: JSON for the shape, one safetensors file for the arrays.

No pickle anywhere: a message can describe data, never code. What plain JSON lacks is an object with one key:
`{"a": i}` array i, `{"c": i}` array i of complex128 as pairs of float64, `{"s": i}` NumPy scalar i, `{"f": "nan"}` a
non-finite float, `{"t": [...]}` a tuple. A real dictionary is `{"d": {...}}`, so that no user's key is ever mistaken
for one of these.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

# What safetensors can store for NumPy without a further package.
_BITS = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64), "complex": (64,)}
SENDABLE = frozenset({"bool"} | {f"{kind}{bits}" for kind, widths in _BITS.items() for bits in widths})
# Longer JSON goes through a file: a frame this small always fits a socket's buffer, so that sending never blocks
# on a peer that has stopped reading.
INLINE_BYTES = 32 * 1024

_ACCEPTED = "JSON values, lists, tuples, str-keyed dicts and NumPy arrays can be sent between processes"


def pack(message: Mapping[str, Any], folder: Path, stem: str) -> bytes:
    """Write a message's arrays beneath `folder` and return the frame to send.

    Arrays of any shape and memory order are accepted, in the dtypes of `SENDABLE` and in either byte order.

    Raises:
        TypeError: a value that is neither JSON, a container of such, nor a NumPy array or scalar; says where.
        OSError: the folder cannot be written.
    """
    arrays: list[np.ndarray] = []
    frame: dict[str, Any] = {"body": {key: _encode(value, arrays, key) for key, value in message.items()}}
    if arrays:
        frame["arrays"] = f"{stem}.safetensors"
        _write(folder / frame["arrays"], lambda path: _save(arrays, path))
    text = json.dumps(frame, allow_nan=False).encode("ascii")
    if len(text) <= INLINE_BYTES:
        return text
    _write(folder / f"{stem}.json", lambda path: path.write_bytes(text))
    return json.dumps({"overflow": f"{stem}.json"}).encode("ascii")


def unpack(raw: bytes, folder: Path) -> dict[str, Any]:
    """Read a frame, and the files it names, which are deleted; arrays come back C-contiguous and writable."""
    frame = json.loads(raw)
    if "overflow" in frame:
        path = folder / frame["overflow"]
        frame = json.loads(path.read_bytes())
        path.unlink()
    arrays: dict[str, np.ndarray] = {}
    if "arrays" in frame:
        path = folder / frame["arrays"]
        arrays = load_file(path)
        path.unlink()
    return {key: _decode(value, arrays) for key, value in frame["body"].items()}


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a second name; a failure (a full disk) leaves nothing behind."""
    partial = path.with_name(path.name + ".part")
    try:
        write(partial)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _save(arrays: list[np.ndarray], path: Path) -> None:
    save_file({str(index): array for index, array in enumerate(arrays)}, path)


def _encode(value: Any, arrays: list[np.ndarray], where: str) -> Any:
    if type(value) is np.ndarray and value.dtype.kind == "c" and value.dtype.itemsize == 16:  # safetensors has none
        arrays.append(np.ascontiguousarray(np.stack([value.real, value.imag], axis=-1), dtype=np.float64))
        return {"c": len(arrays) - 1}
    if isinstance(value, (np.ndarray, np.generic)):  # before float: np.float64 is a float, too
        arrays.append(_plain(value, where))
        return {"s" if isinstance(value, np.generic) else "a": len(arrays) - 1}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"f": repr(float(value))}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, arrays, f"{where}[{index}]") for index, item in enumerate(value)]
        return {"t": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}; {_ACCEPTED}")
        return {"d": {key: _encode(item, arrays, f"{where}[{key!r}]") for key, item in value.items()}}
    raise TypeError(f"{where} is of type {type(value).__module__}.{type(value).__qualname__}; {_ACCEPTED}")


def _plain(value: np.ndarray | np.generic, where: str) -> np.ndarray:
    """Return a dense array in native byte order: safetensors stores raw memory, whatever the strides say."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{where} is a masked array, whose mask would be lost; {_ACCEPTED}")
    if value.dtype.name == "bfloat16":  # safetensors has none for NumPy; float32 holds the same numbers
        value = value.astype(np.float32)
    if value.dtype.name not in SENDABLE:
        raise TypeError(f"{where} is an array of {value.dtype}; of arrays only {', '.join(sorted(SENDABLE))}")
    return np.asarray(value, dtype=value.dtype.newbyteorder("="), order="C")


def _decode(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    ((tag, content),) = node.items()
    match tag:
        case "a":
            return arrays[str(content)]
        case "c":
            parts = arrays[str(content)]
            return parts.view(np.complex128).reshape(parts.shape[:-1])
        case "s":
            return arrays[str(content)][()]
        case "f":
            return float(content)
        case "t":
            return tuple(_decode(item, arrays) for item in content)
        case "d":
            return {key: _decode(item, arrays) for key, item in content.items()}
    raise ValueError(f"a message holds the unknown tag {tag!r}")
