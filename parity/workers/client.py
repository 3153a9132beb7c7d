"""The parent's side of a worker: start it, call it, time it out, and say plainly what became of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from parity import errors
from parity.errors import ParityError, UsageError, WorkerCrash, WorkerError, WorkerTimeout
from parity.workers import wire
from parity.workers.process import ChildProcess

POLL_S = 0.2  # how often a silent child is looked at; an answer is seen at once
HANG_UP_S = 5.0  # how long a child that closed its line may take to end, before it is killed
SUMMARY_LIMIT = 200
STDERR_LINES = 20


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# glibc gives large blocks back to the kernel after every step and faults them in again at the next: tens of thousands
# of page faults that are no property of a framework. These variables keep the memory.
KEEP_MEMORY: Mapping[str, str] = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "68719476736"}


@dataclass(frozen=True)
class WorkerOptions:
    """Which adapter to host, under which interpreter, and how.

    `framework` is a name of the adapters' registry or `path/file.py:Class`; `python` defaults to this
    interpreter. `environment` is added to this process's own, and None takes a variable away, before the interpreter
    starts, which is the only time that thread pools and allocators look. `whole_import` is for what is timed or
    weighed: without it, packages that a framework imports only because they are installed are left out of its import.
    """

    framework: str
    python: str | None = None
    role: str = "plain"
    device: str = "cpu"
    threads: int = field(default_factory=usable_cpus)
    seed: int = 0
    whole_import: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)
    start_timeout_s: float = 180.0
    call_timeout_s: float = 600.0

    @property
    def name(self) -> str:
        """A short name for messages: `tensorflow`, `tensorflow twin`, or the class of a file's adapter."""
        short = self.framework.rpartition(":")[2]
        return short if self.role == "plain" else f"{short} {self.role}"


class Worker:
    """One framework in a process of its own: `worker.call("f", x=array)` is `adapter.f(x=array)` there.

    The process starts with the first call, or with `start()`; it ends with `close()`, with the `with` block, with
    the last reference, or with this interpreter. Calls from several threads wait for one another.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._failure: ParityError | None = None
        self._closed = False
        self._requests = 0

    @property
    def name(self) -> str:
        """A short name for messages, such as `tensorflow twin`."""
        return self.options.name

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the start."""
        return self._child.pid if self._child else None

    def alive(self) -> bool:
        """Return whether further calls can succeed: neither closed nor dead (a worker not started yet is alive)."""
        child = self._child
        return not self._closed and self._failure is None and (child is None or not child.exited())

    def stderr_tail(self, lines: int = STDERR_LINES) -> str:
        """Return the last lines that the worker wrote to stderr; also after its end."""
        return self._child.stderr_tail(lines) if self._child else ""

    def start(self) -> None:
        """Start the process and load its adapter, unless that is done already.

        Raises:
            UsageError: the interpreter or the adapter named in the options cannot be meant.
            MissingFramework: the interpreter lacks the framework, NumPy or safetensors.
            WorkerCrash: the process died, or did so earlier; `WorkerTimeout` if it was too slow.
            WorkerError: the adapter raised.
        """
        with self._lock:
            self._ready()

    def call(self, method: str, /, *, timeout_s: float | None = None, **arguments: Any) -> Any:
        """Call a public method of the adapter and return its result.

        Arguments and results: None, bool, int, float (also NaN and infinities), str, and NumPy arrays and
        scalars, at any depth in lists, tuples and str-keyed dicts; they come back as the same types.

        Raises:
            TypeError: an argument of another kind; nothing was sent.
            WorkerError: the method raised; the remote traceback is attached as a note.
            ParityError: the method raised this kind of it.
            WorkerCrash: the process died during this call, or earlier.
            WorkerTimeout: no answer within `timeout_s` (unless given, the options' `call_timeout_s`); it was
                killed.
        """
        with self._lock:
            child = self._ready()
            self._requests += 1
            request = {"id": self._requests, "method": method, "arguments": arguments}
            frame = wire.pack(request, child.folder, f"request{self._requests}")
            doing = f"{method}({_summary(arguments)})"
            limit_s = self.options.call_timeout_s if timeout_s is None else timeout_s
            reply = self._exchange(child, frame, doing, limit_s)
            if reply.get("id") != self._requests:
                self._die(child, doing, "answered another request than the one it was sent")
        if "error" in reply:
            self._raise_remote(reply, method)
        return reply["result"]

    def close(self) -> None:
        """End the process: politely when it is idle, by force when a call is under way in another thread."""
        self._closed = True
        if not self._lock.acquire(blocking=False):
            if self._child is not None:
                self._child.signal_group()  # the waiting thread sees it die, cleans up and raises
            self._lock.acquire()
        try:
            if self._child is not None:
                self._child.stop()
        finally:
            self._lock.release()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ready(self) -> ChildProcess:
        if self._closed:
            raise UsageError(f"{self._label} was closed; open another one")
        if isinstance(self._failure, WorkerCrash):
            first = str(self._failure).partition("\n")[0]
            raise WorkerCrash(f"{self._label} died earlier: {first}")
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))
        if self._child is None:
            child = self._launch()
            self._child = child
            weakref.finalize(self, child.stop)  # runs at interpreter exit, too
            try:
                self._greet(child)
            except ParityError as error:
                self._failure = error
                child.kill()
                raise
        return self._child

    def _launch(self) -> ChildProcess:
        options = self.options
        python = os.path.expanduser(options.python or sys.executable)  # noqa: PTH111 - a bare name must stay bare
        both = {**os.environ, **options.environment}
        environment = {name: value for name, value in both.items() if value is not None}
        if options.python is not None:
            environment.pop("PYTHONHOME", None)  # it describes this interpreter's library, not that one's
        framework, _, kind = options.framework.rpartition(":")
        settings = {
            "framework": f"{Path(framework).absolute()}:{kind}" if framework.endswith(".py") else options.framework,
            "settings": {
                "role": options.role,
                "device": options.device,
                "threads": options.threads,
                "seed": options.seed,
                "whole_import": options.whole_import,
            },
        }
        try:
            return ChildProcess(python, settings, environment)
        except FileNotFoundError as error:
            raise UsageError(f"{self._label}: there is no interpreter {python} ({error.strerror})") from None
        except OSError as error:
            raise UsageError(f"{self._label}: {python} cannot be run: {error.strerror}") from None

    def _greet(self, child: ChildProcess) -> None:
        """Wait for the two signs of life: the interpreter runs our code; the adapter is loaded."""
        doing, limit_s = "start", self.options.start_timeout_s
        deadline = time.monotonic() + limit_s
        try:
            self._exchange(child, None, doing, limit_s)
        except WorkerTimeout:
            raise
        except WorkerCrash:
            if child.status is None or child.status < 0:
                raise
            raise UsageError(self._not_python(child)) from None
        reply = self._exchange(child, None, doing, max(0.0, deadline - time.monotonic()))
        if "error" in reply:
            self._raise_remote(reply, doing)

    def _not_python(self, child: ChildProcess) -> str:
        said = child.stderr_tail(STDERR_LINES).strip()
        about = f"{self._label}: {self.options.python or sys.executable} is no Python 3.11 or newer"
        if "Unknown option: -P" in said:  # the option came with 3.11
            return f"{about}, but an older one"
        last = said.rpartition("\n")[2] or "it said nothing"
        return f"{about} that can run a worker: it ended with status {child.status} ({last})"

    def _exchange(self, child: ChildProcess, frame: bytes | None, doing: str, limit_s: float) -> dict[str, Any]:
        """Send a frame, if any, and wait for the next one; a worker that may be out of step is never kept."""
        try:
            if frame is not None:
                child.connection.send_bytes(frame)
            return self._await_reply(child, doing, limit_s)
        except WorkerCrash:
            raise
        except (EOFError, ConnectionError):
            self._die(child, doing)
        except BaseException as error:
            child.kill()  # its answer would be taken for that of the next request
            self._failure = WorkerCrash(f"it was killed when {type(error).__name__} interrupted {doing}")
            raise

    def _await_reply(self, child: ChildProcess, doing: str, limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while True:
            left_s = deadline - time.monotonic()
            if child.connection.poll(min(POLL_S, max(0.0, left_s))):
                return wire.unpack(child.connection.recv_bytes(), child.folder)
            if child.exited() and not child.connection.poll(0):  # a process it started may keep the line open
                self._die(child, doing)
            if left_s <= 0:
                child.kill()
                what = f"{self._label}: {doing} gave no answer within {limit_s:g} s; the worker was killed"
                self._failure = WorkerTimeout(what + self._stderr_end(child))
                raise self._failure

    def _die(self, child: ChildProcess, doing: str, how: str | None = None) -> NoReturn:
        child.wait(HANG_UP_S if how is None else 0.0)
        status = child.status
        child.kill()
        text = f"{self._label}: {how or _ending(status)} during {doing}"
        self._failure = WorkerCrash(text + self._stderr_end(child))
        raise self._failure

    def _stderr_end(self, child: ChildProcess) -> str:
        tail = child.stderr_tail(STDERR_LINES).strip()
        return f"\nthe end of its stderr:\n{tail}" if tail else "\nits stderr is empty"

    def _raise_remote(self, reply: Mapping[str, Any], doing: str) -> NoReturn:
        kind = getattr(errors, reply["error"], None) if reply["ours"] else None
        if isinstance(kind, type) and issubclass(kind, ParityError):
            raise kind(reply["message"])
        error = WorkerError(f"{self._label}: {doing} raised {reply['error']}: {reply['message']}")
        if reply["traceback"]:
            error.add_note(f"traceback inside the {self._label}:\n{reply['traceback']}")
        raise error

    @property
    def _label(self) -> str:
        return f"{self.name} worker"


def _ending(status: int | None) -> str:
    if status is None:
        return "it closed its connection and did not end, so it was killed,"
    if status >= 0:
        return f"the process exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (often the kernel's out-of-memory killer)" if status == -signal.SIGKILL else ""
    return f"the process was killed by {name}{hint}"


def _summary(arguments: Mapping[str, Any]) -> str:
    text = ", ".join(f"{name}={_brief(value)}" for name, value in arguments.items())
    return text if len(text) <= SUMMARY_LIMIT else text[: SUMMARY_LIMIT - 4] + " ..."


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, (list, tuple, dict)) and len(value) > 3:
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_brief(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_brief, value)) + "]"
    text = repr(value)
    return text if len(text) <= 60 else text[:56] + " ..."
