"""The versioned JSON that everything is rendered from: new, write, read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from parity.errors import RecordError

Record = dict[str, Any]

SCHEMA: Final = 1
RECORD_NAME: Final = "comparison.json"
NOT_SELECTED: Final = "not selected in this run"

# In the order in which a reader meets them; the value is why a new record's section is empty.
SECTIONS: Final[Mapping[str, str]] = {
    "environment": NOT_SELECTED,
    "data": NOT_SELECTED,
    "parity": NOT_SELECTED,
    "zoo": NOT_SELECTED,
    "losses": NOT_SELECTED,
    "optimizers": NOT_SELECTED,
    "trajectory": NOT_SELECTED,
    "modes": NOT_SELECTED,
    "referee": NOT_SELECTED,
    "kill_matrix": NOT_SELECTED,
    "training": NOT_SELECTED,
    "onnx": NOT_SELECTED,
    "benchmarks": NOT_SELECTED,
    "study": NOT_SELECTED,
    "memory_ways": NOT_SELECTED,
    "practice": NOT_SELECTED,
}
_LISTS: Final = frozenset({"parity", "optimizers", "kill_matrix"})  # the other sections are objects


def new_record(profile: str, command: str) -> Record:
    """Start a record in which every section says why it is empty.

    `created` is the present time in UTC, to the second; `command` is what a reader types to repeat the run.
    """
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head: Record = {"schema": SCHEMA, "profile": profile, "created": created, "command": command}
    return head | {name: {"not_run": why} for name, why in SECTIONS.items()}


def why_not_run(record: Mapping[str, Any], section: str) -> str | None:
    """Say why a section holds nothing, or None when it ran."""
    content = record.get(section)
    if content is None:
        return "the record has no such section"
    if isinstance(content, Mapping) and "not_run" in content:
        return str(content["not_run"])
    return None


def plain(value: Any, where: str = "record") -> Any:
    """Turn a value into what JSON holds, so that a record renders the same before and after it is saved.

    NumPy scalars and arrays become numbers and lists, tuples lists, paths strings, data classes objects; NaN
    and infinities become null, since JSON has no word for them (the verdict beside them says what was found).

    Raises: RecordError for a value that JSON cannot hold, naming its place.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise RecordError(f"{where} holds a {type(value).__name__}, which a record cannot hold")


def write(record: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Save a record as UTF-8 JSON, atomically, keeping the order of its keys.

    Raises: RecordError for a value that JSON cannot hold; OSError when the folder cannot be written.
    """
    write_bytes(Path(path), encode(record))


def encode(record: Mapping[str, Any]) -> bytes:
    """Give the bytes that `write` saves."""
    text = json.dumps(plain(record), indent=1, allow_nan=False, ensure_ascii=False)
    # A lone surrogate (a file name that is not UTF-8) has no UTF-8 form; show it as an escape.
    return (text + "\n").encode("utf-8", "backslashreplace")


def read(path: str | os.PathLike[str]) -> Record:
    """Load a record and check its schema version and the kind of each section.

    Raises: RecordError, in one line, for a file that is missing, unreadable, not JSON, not an object, of
    another schema version, without any section, or whose sections are not of the kind they must be.
    """
    try:
        loaded = json.loads(Path(path).read_bytes(), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise RecordError(f"no record at {path}") from None
    except OSError as error:
        raise RecordError(f"cannot read the record {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RecordError(f"the record {path} is damaged: {_one_line(error)}") from None
    if not isinstance(loaded, dict):
        raise RecordError(f"{path} is not a record: it holds a JSON {type(loaded).__name__}, not an object")
    schema = loaded.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise RecordError(f"{path} has schema {schema!r}, and this version reads schema {SCHEMA}")
    if not any(section in loaded for section in SECTIONS):
        hint = ": it is the verdict of one check, which needs no rendering" if "layers" in loaded else ""
        raise RecordError(f"{path} holds no section of a record{hint}")
    for section in SECTIONS:
        _check_kind(loaded, section, path)
    return loaded


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises: OSError when the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are private (0600), and a report is meant to be read by others.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_kind(record: Record, section: str, path: str | os.PathLike[str]) -> None:
    if why_not_run(record, section) is not None:
        return
    kind = list if section in _LISTS else dict
    if not isinstance(record[section], kind):
        found = type(record[section]).__name__
        raise RecordError(f"{path} is damaged: its section {section!r} is a {found}, not a {kind.__name__}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def shape_guard(section: str) -> Iterator[None]:
    """Turn what a misshapen section makes its reader raise into one clear line that names the section.

    Raises: RecordError in place of the errors of missing keys and wrong types.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        cause = f"{type(error).__name__}: {_one_line(error)}"
        raise RecordError(
            f"the record's section {section!r} is not shaped as schema {SCHEMA} says ({cause})"
        ) from error
