"""What every adapter is given, and what it must offer.

An adapter is the only code that touches its framework. It takes NumPy arrays in its framework's own order of axes and
returns NumPy arrays in that order; permuting is the parent's business. The parent calls its public methods by name.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import resource
import sys
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from parity.errors import MissingDevice, UsageError
from parity.model.spec import ModelSpec

Array = NDArray[Any]
WORKS = ("train", "evaluate", "latency")
_OPTIONAL = ("sklearn", "matplotlib")  # for Keras's wrappers for scikit-learn, and its galleries of pictures


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker wants its adapter to compute."""

    role: str  # "plain" (float32, as a user runs it) or "twin" (the same in float64)
    device: str  # "cpu" or "gpu"
    threads: int
    seed: int
    whole_import: bool = False  # whether a framework also imports what it could do without

    @property
    def dtype(self) -> str:
        """The dtype that the adapter computes in."""
        return "float64" if self.role == "twin" else "float32"


@contextmanager
def lean_import(settings: WorkerSettings) -> Iterator[None]:
    """Make an import of Keras and TensorFlow in the block lighter, unless `settings` ask for all of it.

    Packages that Keras can do without, and imports where they are installed, are left out, and the collector, which
    finds nothing to free, looks for nothing: two fifths of the CPU time that starting a TensorFlow worker takes (7.3 s,
    and 4.4 s without). Afterwards all can be imported as ever.
    """
    if settings.whole_import:
        yield
        return
    left_out = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type] # None makes an import fail
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
        if collects:
            gc.enable()


class Adapter(ABC):
    """One training framework, hosting one sequential model described by a `ModelSpec`."""

    image_layout: str  # "NHWC" or "NCHW": how `forward` wants a batch of images
    import_s = 0.0  # seconds that loading this adapter and its framework took; the worker sets it
    build_s = 0.0  # seconds that building the model took
    start_s = 0.0  # seconds that starting the lane took: its optimizer, its steps, what they import

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.spec: ModelSpec | None = None

    @abstractmethod
    def environment(self) -> dict[str, Any]:
        """Return versions, device, threads as read back from the framework, and precision flags, as JSON data."""

    @abstractmethod
    def build(self, spec: Mapping[str, Any], seed: int | None = None) -> None:
        """Build the model described by `ModelSpec.to_dict()` data with the framework's own initial weights."""

    @abstractmethod
    def layers(self) -> list[str]:
        """Return the names of the built model's layers, in the order in which they run."""

    @abstractmethod
    def get_weights(self) -> dict[str, Array]:
        """Return all weights under the framework's names, in its own layouts and dtype."""

    @abstractmethod
    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace all weights; names and shapes must be exactly those of `get_weights`."""

    @abstractmethod
    def forward(self, x: Array, training: bool = False) -> dict[str, Array]:
        """Return every layer's output for one batch, and the whole model's own under `output`."""

    @abstractmethod
    def layer_forward(self, name: str, x: Array, training: bool = False) -> Array:
        """Return one layer's output for the given input of that layer."""

    @abstractmethod
    def save(self, path: str) -> None:
        """Write the model or its weights in the format that the file's ending names, atomically."""

    @abstractmethod
    def load(self, path: str) -> None:
        """Replace the model's weights by those of a file that `save` wrote."""

    @abstractmethod
    def export_onnx(self, path: str) -> None:
        """Write the model as ONNX with a dynamic batch axis, atomically."""

    @abstractmethod
    def start_training(self, learning_rate: float, epsilon: float) -> None:
        """Make a fresh Adam optimizer and loss (binary cross-entropy on logits, mean over the batch)."""

    @abstractmethod
    def train_batch(self, x: Array, y: Array) -> float:
        """Take one optimizer step on one batch and return the loss before it."""

    @abstractmethod
    def logits(self, x: Array) -> Array:
        """Return the network's output before the sigmoid in evaluation mode, as float64 of shape (n,)."""

    @abstractmethod
    def place_batch(self, x: Array, y: Array) -> None:
        """Keep one batch resident on the device, for `timed_steps` and `loss`."""

    @abstractmethod
    def loss(self) -> float:
        """Return the loss of the resident batch under the present weights, without changing anything."""

    @abstractmethod
    def resident_logits(self) -> Array:
        """Return the logits of the resident batch, by the very step that is timed, as float64 of shape (n,)."""

    @abstractmethod
    def step(self, work: str) -> Callable[[], Any]:
        """Return the function that does one step of `work` on the resident batch, without host reads."""

    @abstractmethod
    def synchronise(self) -> None:
        """Wait until the device has finished everything that was asked of it."""

    @abstractmethod
    def compilations(self) -> int:
        """Return how many times a step was traced or compiled so far; it must not grow inside the clock."""

    @abstractmethod
    def peak_device_bytes(self) -> int | None:
        """Return the framework allocator's peak on an accelerator; None on a CPU, where there is no such figure."""

    def canonical_batch(self, images: Array) -> Array:
        """Return uint8 images (n, h, w, c) as the model's float32 input in [0, 1], in this framework's layout."""
        x = images.astype(np.float32) / np.float32(255.0)
        return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if self.image_layout == "NCHW" else x

    def try_device(self) -> None:
        """Compute something small on the accelerator, if this worker has one.

        Raises
            MissingDevice: it is listed, and cannot be used.
        """
        if self.settings.device == "gpu":
            check_device(type(self).__name__.removesuffix("Adapter").lower(), self._computed_ones, 324.0)

    def _computed_ones(self) -> float:
        """Return the sum of ones through a 3x3 convolution and a product: 36 positions of 9 each."""
        raise UsageError(f"{type(self).__name__} cannot try its device")

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make the optimizer and the steps of a benchmark's lane, and return facts as read back from the framework.

        Raises
            UsageError: an option that this adapter does not have.
            MissingDevice: an option that needs a GPU, on a CPU.
        """
        raise UsageError(f"{type(self).__name__} has no lanes (asked for {dict(options)})")

    def optimizer_steps(self) -> int:
        """Return how many steps the optimizer has taken."""
        raise UsageError(f"{type(self).__name__} does not count the steps of its optimizer")

    def phases(self, steps: int) -> dict[str, Any]:
        """Return the seconds of each phase of each of `steps` training steps on the resident batch, and `how`."""
        raise UsageError(f"{type(self).__name__} cannot take {steps} steps apart")

    def cold_start(self) -> dict[str, float]:
        """Return the seconds that importing the framework, building the model and starting the lane took here."""
        self._described()
        return {"import_s": self.import_s, "build_s": self.build_s, "start_s": self.start_s}

    def resident_images(self) -> int:
        """Return how many images the resident batch holds, as its tensor's own shape says."""
        raise UsageError(f"{type(self).__name__} does not know its batch")

    def host_reads_per_step(self, work: str) -> float:  # noqa: ARG002
        """Return how many numbers a step reads to the host; none unless a lane does so."""
        return 0.0

    def mark(self, again: Any = None) -> Any:  # noqa: ARG002
        """Put a mark into the device's own queue and return it; None where the device has no clock.

        `again` is a mark to be put there once more, which costs less than a new one.
        """
        return None

    def marked_s(self, start: Any, end: Any) -> float | None:  # noqa: ARG002
        """Wait for the mark `end` and return the device's own seconds between two marks; None without marks."""
        return None

    def place_images(self, images: Array, labels: Array) -> None:
        """Keep a batch of uint8 images (n, h, w, c) and labels (n,) resident, turned into the model's input."""
        self.place_batch(self.canonical_batch(images), np.asarray(labels, dtype=np.float32))

    def first_step(self, work: str) -> float:
        """Return the seconds of the very first step of `work`, tracing and compilation included."""
        gc.unfreeze()  # a network that was replaced since may go
        step = self.step(work)
        self.synchronise()
        start_s = time.perf_counter()
        step()
        self.synchronise()
        return time.perf_counter() - start_s

    def timed_steps(self, work: str, steps: int) -> dict[str, Any]:
        """Return how long `steps` consecutive steps took, synchronised at both ends.

        `seconds` of wall time for all of them; `minor_faults` and `cpu_s` of this process over the same span;
        `compilations` that happened inside it; `images` that went through, and `host_reads`. `device_s` is what the
        device's own clock says of the same span, which a wall clock that did not wait cannot know; None without one.
        """
        if work not in WORKS or steps < 1:
            raise UsageError(f"`work` (={work!r}) must be one of {WORKS} and `steps` (={steps}) at least 1")
        step = self.step(work)
        compiled = self.compilations()
        with quiet_collector():
            last = self.mark()
            self.synchronise()
            before, start, start_s = resource.getrusage(resource.RUSAGE_SELF), self.mark(), time.perf_counter()
            for _ in range(steps):
                step()
            end = self.mark(last)
            self.synchronise()
            seconds, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": seconds,
            "minor_faults": float(after.ru_minflt - before.ru_minflt),
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "compilations": float(self.compilations() - compiled),
            "images": float(steps * self.resident_images()),
            "host_reads": steps * self.host_reads_per_step(work),
            "device_s": self.marked_s(start, end),
        }

    def memory(self) -> dict[str, int | None]:
        """Return the process's peak resident bytes so far, and the accelerator allocator's peak."""
        return {"process_peak_bytes": process_peak_bytes(), "device_peak_bytes": self.peak_device_bytes()}

    def _described(self) -> ModelSpec:
        if self.spec is None:
            raise UsageError("no model has been built in this worker yet: call `build` first")
        return self.spec


Options = TypeVar("Options")


def read_options(
    kind: type[Options], framework: str, options: Mapping[str, Any], choices: Mapping[str, tuple[Any, ...]]
) -> Options:
    """Return a lane's options as the data class `kind`, each one checked; `choices` lists the values of some.

    Raises
        UsageError: the framework has no such option or value.
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name, value in options.items():
        if name not in known:
            raise UsageError(f"a {framework} lane has no option `{name}`; it has {', '.join(sorted(known))}")
        if name in choices and value not in choices[name]:
            raise UsageError(f"a {framework} lane has no {name}={value!r}; it has {choices[name]}")
    return kind(**options)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector out of a clocked span: collected and frozen before, off during.

    What is frozen stays so, until `Adapter.first_step` lets go of it: a framework's objects take a quarter of a second
    to go through, which between spans of a few milliseconds would be nearly all of a benchmark's time.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def check_device(name: str, compute: Callable[[], float], expected: float) -> None:
    """Let `compute` work on the device, and refuse one that is listed but cannot be used.

    A build without kernels for this GPU, a driver that is too old for it, or a library that does not load, show only
    when something is computed.

    Raises
        MissingDevice: it raised, or gave another number than `expected`.
    """
    try:
        found = compute()
    except MissingDevice:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingDevice(f"{name} sees a GPU and cannot compute on it: {first}") from error
    if found != expected:
        raise MissingDevice(f"{name} sees a GPU that computes {found:g} where {expected:g} is right")


def process_peak_bytes() -> int:
    """Return the peak resident size of this process since it started. Source: proc(5), VmHWM."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_names(side: str, given: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights whose names or shapes are not exactly the expected ones.

    Raises
        UsageError: with every misfit in one line.
    """
    misfits = [f"missing `{name}` {shape}" for name, shape in expected.items() if name not in given]
    misfits += [f"unknown `{name}` {given[name].shape}" for name in given if name not in expected]
    misfits += [
        f"`{name}` has shape {tuple(given[name].shape)}, not {shape}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    if misfits:
        raise UsageError(f"{side} weights do not fit the built model: {'; '.join(misfits)}")


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # Keras writes them, for a terminal or not


@contextmanager
def staying() -> Iterator[None]:
    """Come back to the present folder when somebody's code has gone to another: files are named from this one."""
    here = Path.cwd()
    try:
        yield
    finally:
        os.chdir(here)


def said(error: BaseException) -> str:
    """Return an exception's text without the colours of a terminal; nothing where somebody's own code for it raises."""
    try:
        return _COLOUR.sub("", str(error))
    except Exception:
        return ""


def atomically(path: str, write: Callable[[str], Any]) -> None:
    """Let `write` fill a temporary file beside `path` with the same ending, then move it into place."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"tmp{os.getpid()}-{target.name}")
    try:
        write(str(temporary))
        temporary.chmod(0o666 & ~_umask())  # safetensors makes its files private, and a model is meant to be shared
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


Switch = tuple[Callable[[], Any], Callable[[Any], Any]]  # how a setting of a framework is read, and how it is set


class UsersCode:
    """What one model's builder imports, from where, and what it sets; the next model in its process starts without it.

    Two folders may each have a `layers.py` of their own, and one that was edited is to be read again.
    """

    def __init__(self) -> None:
        self._known: frozenset[str] | None = None
        self._path: list[str] = []
        self._set: list[Any] = []

    def forget(self, switches: Sequence[Switch] = ()) -> None:
        """Bring modules, search path and switches back to what they were at the first call, before any user's code."""
        if self._known is None:
            self._known, self._path = frozenset(sys.modules), list(sys.path)
            self._set = [read() for read, _ in switches]
            return
        for (read, write), before in zip(switches, self._set, strict=True):
            if read() != before:
                write(before)
        for name, module in list(sys.modules.items()):
            if name not in self._known and is_own(getattr(module, "__file__", None)):
                del sys.modules[name]
        sys.path[:] = self._path
        importlib.invalidate_caches()


def is_own(file: str | None) -> bool:
    """Return whether a file is Python code of the user's own: neither installed, nor Python's, nor parity's."""
    if file is None or not file.endswith(".py"):
        return False
    path = Path(file).resolve()
    installed = [*map(Path, {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}), Path(__file__).parents[1]]
    packages = {"site-packages", "dist-packages"} & set(path.parts)
    return not packages and not any(folder.resolve() in path.parents for folder in installed)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
