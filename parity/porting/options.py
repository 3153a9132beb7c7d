"""What a check is told: builders, inputs, how weights are shared, and what to keep."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from errno import EACCES, EISDIR
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from parity.errors import UsageError

Array = NDArray[Any]

TENSORFLOW_TO_TORCH, TORCH_TO_TENSORFLOW, AS_IS = "tf-to-torch", "torch-to-tf", "as-is"
WEIGHTS = (TENSORFLOW_TO_TORCH, TORCH_TO_TENSORFLOW, AS_IS)
CHANNELS_FIRST, SAME = "channels-first", "same"
LAYOUTS = (CHANNELS_FIRST, SAME)
IMAGE_AXES = 3  # an input of exactly so many axes is an image, and changes its order of axes on the way to torch
SCALAR = "scalar"  # the shape of an input that holds one number for each sample
# More than one, so that nothing is lost to broadcasting; the next ones where sequences have an axis of such a length,
# as points (N, 3) have: which axis is the batch would be told by nothing.
BATCHES = (3, 5, 4, 7)


@dataclass(frozen=True)
class InputSpec:
    """One input without its batch axis, in TensorFlow's order; whole numbers from `low` to `high`, both included."""

    shape: tuple[int, ...]
    low: int | None = None
    high: int | None = None

    @property
    def integer(self) -> bool:
        """Whether the input holds whole numbers, such as token ids."""
        return self.low is not None

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape)) or SCALAR
        return f"{size}:{self.low}:{self.high}" if self.integer else size


_PATHS = ("dump", "repro")
_TEXTS = ("tensorflow_weights", "torch_weights", "tensorflow_python", "torch_python")


class Settings(TypedDict, total=False):
    """What `parity.check` may be told beside builders and inputs: the fields of `CheckOptions`, paths maybe as text."""

    torch_layout: str
    weights: str
    by_hand: Mapping[str, str]
    train: bool
    fresh: bool
    batch: int | None
    seed: int
    dump: str | Path | None
    repro: str | Path | None
    tensorflow_python: str | Path | None
    torch_python: str | Path | None
    tensorflow_weights: str | Path | None
    torch_weights: str | Path | None
    device: str
    threads: int | None
    timeout_s: float


@dataclass(frozen=True)
class CheckOptions:
    """Everything about one check beside the two builders; `inputs` may hold arrays (batch axis first) as they are."""

    inputs: tuple[InputSpec | Array, ...]
    torch_layout: str = CHANNELS_FIRST
    weights: str = TENSORFLOW_TO_TORCH
    by_hand: Mapping[str, str] = field(default_factory=dict)
    train: bool = False
    fresh: bool = True  # give constants of a fresh model trained-like values for the check
    batch: int | None = None  # None: what tells the batch from the axes of the inputs
    seed: int = 0
    dump: Path | None = None
    repro: Path | None = None
    tensorflow_python: str | None = None
    torch_python: str | None = None
    tensorflow_weights: str | None = None
    torch_weights: str | None = None
    device: str = "cpu"
    threads: int | None = None  # of each worker; None: as many as suit four side by side
    timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        for names, kind in ((_PATHS, Path), (_TEXTS, str)):  # a caller of the library may give either
            for name in names:
                if getattr(self, name) is not None:
                    object.__setattr__(self, name, kind(getattr(self, name)))
        if not self.inputs:
            raise UsageError("no input was named: give --input HxWxC (or --int-input SHAPE:LOW:HIGH) once per input")
        _one_of("--weights", self.weights, WEIGHTS)
        _one_of("--torch-layout", self.torch_layout, LAYOUTS)
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch (={self.batch}) must be at least 1")
        if not 0 <= self.seed < 2**32:  # what NumPy takes
            raise UsageError(f"--seed (={self.seed}) must be a whole number from 0 to 2**32 - 1")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads (={self.threads}) must be at least 1")
        if not self.timeout_s > 0:
            raise UsageError(f"--timeout (={self.timeout_s:g}) must be a number of seconds above 0")


def settings_of(inputs: Sequence[Any] | str, told: Settings) -> CheckOptions:
    """Return what a caller of the library says, checked."""
    words: Mapping[str, Any] = told
    unknown = sorted(set(words) - set(Settings.__annotations__))
    if unknown:
        raise UsageError(f"a check does not know {', '.join(unknown)}; it knows {', '.join(Settings.__annotations__)}")
    return CheckOptions(inputs=as_inputs(inputs), **words)


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name} (={value!r}) must be one of {', '.join(known)}")


def parse_input(text: str) -> InputSpec:
    """Return the input that `HxWxC` (batch axis left out) or `scalar`, one number a sample, describes.

    Raises
        UsageError: the text is no such shape.
    """
    if text == SCALAR:
        return InputSpec(())
    if not re.fullmatch(r"[1-9]\d*([x,][1-9]\d*)*", text):
        raise UsageError(f"--input {text!r} is no shape: write whole numbers with x between, such as 224x224x3 or 16")
    return InputSpec(tuple(int(size) for size in re.split("[x,]", text)))


def parse_int_input(text: str) -> InputSpec:
    """Return the input that `SHAPE:LOW:HIGH` describes, HIGH included.

    Raises
        UsageError: the text is no such description.
    """
    found = re.fullmatch(r"([^:]+):(-?\d+):(-?\d+)", text)
    if not found or int(found[2]) > int(found[3]):
        raise UsageError(f"--int-input {text!r}: write SHAPE:LOW:HIGH with LOW <= HIGH, such as 12:0:999")
    try:
        shape = parse_input(found[1]).shape
    except UsageError as error:
        raise UsageError(f"--int-{str(error).removeprefix('--')}") from error
    return InputSpec(shape, int(found[2]), int(found[3]))


def as_inputs(given: Sequence[Any]) -> tuple[InputSpec | Array, ...]:
    """Return what a caller of the library gave: text as on the command line, tuples of sizes or whole batches."""
    found: list[InputSpec | Array] = []
    for item in [given] if isinstance(given, (str, InputSpec, np.ndarray)) else given:
        if isinstance(item, (InputSpec, np.ndarray)):
            found.append(item)
        elif isinstance(item, str):
            found.append(parse_int_input(item) if ":" in item else parse_input(item))
        elif isinstance(item, (tuple, list)) and all(isinstance(size, (int, np.integer)) for size in item):
            found.append(InputSpec(tuple(int(size) for size in item)))
        else:
            raise UsageError(f"an input is text such as '33x29x3', a tuple of sizes or an array, not {item!r}")
    return tuple(found)


def arrays(options: CheckOptions) -> list[Array]:
    """Return one batch per input in TensorFlow's order: float32 noise with another trend along each axis, or int32.

    Raises
        UsageError: batches of different length were given.
    """
    rng = np.random.default_rng(options.seed)
    found, batch = [], options.batch or _batch(options.inputs)
    for given in options.inputs:
        if isinstance(given, np.ndarray):
            found.append(given.astype(np.float32) if np.issubdtype(given.dtype, np.floating) else given)
        elif given.low is not None and given.high is not None:
            found.append(_whole(rng, given.low, given.high, (batch, *given.shape)))
        else:
            found.append(_probe(rng, (batch, *given.shape)))
    if len({len(array) for array in found}) > 1:
        raise UsageError(f"the inputs have different batch sizes: {[len(array) for array in found]}")
    return found


def _batch(inputs: Sequence[InputSpec | Array]) -> int:
    """Return how many samples are drawn: a number that no axis of a sequence has."""
    sequences = [given.shape for given in inputs if isinstance(given, InputSpec) and len(given.shape) < IMAGE_AXES]
    lengths = {length for shape in sequences for length in shape}
    return next((batch for batch in BATCHES if batch not in lengths), BATCHES[0])


def to_torch(array: Array, options: CheckOptions) -> Array:
    """Return what torch is fed where TensorFlow is fed this batch: images with their channels first."""
    image = array.ndim == IMAGE_AXES + 1 and options.torch_layout == CHANNELS_FIRST
    return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if image else array


def _whole(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> Array:
    """Return whole numbers, `high` included; among zeros and ones each row has a one.

    Those are masks as a rule, and of one that blocks everything each framework makes something else.
    """
    found = rng.integers(low, high + 1, shape).astype(np.int32)
    if (low, high) == (0, 1) and len(shape) > 1 and shape[-1] > 1:
        found[..., 0] |= ~found.any(axis=-1)
    return found


def _probe(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    try:
        return _noise(rng, shape)
    except (MemoryError, ValueError) as error:  # ValueError: more numbers than an index can count
        size = "x".join(map(str, shape[1:]))
        raise UsageError(
            f"--input {size}: there is no memory for a batch of {shape[0]} such inputs; give a smaller shape, or fewer"
            " with --batch"
        ) from error


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    x = rng.standard_normal(shape)
    for axis in range(1, len(shape)):
        ramp = np.linspace(0.4, 1.3, shape[axis]) * (1.0 + 0.2 * axis)
        x = x * ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return x.astype(np.float32)


def writable(option: str, path: Path, folder: bool = False) -> None:
    """Make sure, before a long check, that a file (or in a folder, files) can be written where an option says.

    Raises
        UsageError: it cannot; says why.
    """
    try:
        if not folder and path.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder, not a file")
        if not folder and _is_stream(path):
            if not os.access(path, os.W_OK):
                raise PermissionError(EACCES, os.strerror(EACCES))
            return
        place = path if folder else path.parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path} cannot be written: {error.strerror or error}") from None


def is_onnx(builder: str) -> bool:
    """Whether a builder is an exported file."""
    return builder.lower().endswith(".onnx")


def _is_stream(path: Path) -> bool:
    """Whether a path is no file to be replaced; /dev/stdout may point to one that the shell writes to."""
    return path.exists() and (
        not path.is_file() or path.parent in (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
    )


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; a device or a pipe, such as /dev/stdout, is written to and not replaced.

    Raises
        UsageError: the place cannot be written.
    """
    try:
        if _is_stream(path):
            with path.open("a") as stream:
                stream.write(text)
            return
        path = path.resolve()  # what a link points to is written anew, and the link stays
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _once(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--map {path}: `{twice}` is paired a second time")
    return dict(pairs)


def read_map(path: Path) -> dict[str, str]:
    """Return the pairs of a `--map` file: JSON `{"tensorflow name": "torch name"}`, or lines `tensorflow = torch`.

    Raises
        UsageError: the file is missing or cannot be understood; says in which line.
    """
    import json

    try:
        text = path.read_text()
    except OSError as error:
        raise UsageError(f"--map {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--map {path}: no text file") from None
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs))
        except json.JSONDecodeError as error:
            raise UsageError(f"--map {path}: line {error.lineno} is no JSON ({error.msg})") from None
        if not all(isinstance(value, str) for value in found.values()):
            raise UsageError(f"--map {path}: every value must be the name of a torch layer")
        return dict(found)
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        left, separator, right = bare.partition("=")
        if not separator or not left.strip() or not right.strip():
            raise UsageError(f"--map {path}: line {number} is not `tensorflow-name = torch-name`: {bare!r}")
        if left.strip() in pairs:
            raise UsageError(f"--map {path}: line {number} pairs `{left.strip()}` a second time")
        pairs[left.strip()] = right.strip()
    return pairs
