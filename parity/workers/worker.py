"""The child's side: host one adapter, answer one request after another, and never outlive the parent."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from parity.errors import MissingFramework, UsageError

PARENT_CHECK_S = 1.0
MESSAGE_LIMIT = 4000  # characters of an exception's text; TensorFlow's can hold a whole graph
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Run the worker described by the JSON in the last argument until the parent says "close" or is gone."""
    config = json.loads(sys.argv[-1])
    sys.argv = ["parity-worker"]  # some libraries parse the program's arguments at import
    faulthandler.enable()  # a fatal signal then leaves a traceback on stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    connection = Connection(config["descriptor"])
    os.set_inheritable(config["descriptor"], False)  # a child of ours must not keep the line open
    _die_with_parent(config["descriptor"])
    _send_bare(connection, stage="started")
    try:
        adapter = _load_adapter(config)
    except BaseException as error:
        _send_bare(connection, **describe(error))
    else:
        _send_bare(connection, stage="ready")
        _serve(connection, adapter, Path(config["folder"]))
    _leave()


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception as the fields of a reply: `error`, `ours`, `message`, `traceback`."""
    ours = next((kind for kind in type(error).__mro__ if kind.__module__ == "parity.errors"), None)
    kind = ours or (MemoryError if isinstance(error, MemoryError) else type(error))
    try:
        message, trace = str(error), "".join(traceback.format_exception(error))
    except Exception as second:  # out of memory again, or an exception whose __str__ raises
        message, trace = f"(its text could not be formatted: {type(second).__name__})", ""
    if len(message) > MESSAGE_LIMIT:
        message = message[:MESSAGE_LIMIT] + f" ... ({len(message) - MESSAGE_LIMIT} more characters)"
    return {"error": kind.__name__, "ours": ours is not None, "message": message, "traceback": trace}


def _load_adapter(config: dict[str, Any]) -> Any:
    try:
        import numpy  # noqa: F401
        import safetensors.numpy  # noqa: F401
    except ImportError as error:
        name = (error.name or "numpy or safetensors").partition(".")[0]
        raise MissingFramework(
            f"{sys.executable} cannot import {name}, which every worker needs beside its framework ({error})"
        ) from error
    from parity import adapters
    from parity.adapters.base import WorkerSettings

    start_s = time.perf_counter()
    kind = adapters.load(config["framework"])
    with adapters.framework_imports(config["framework"]):  # many adapters import theirs on construction
        adapter: Any = kind(WorkerSettings(**config["settings"]))
    if hasattr(adapter, "import_s"):  # nearly all of it is the framework
        adapter.import_s = time.perf_counter() - start_s
    return adapter


def _serve(connection: Connection, adapter: object, folder: Path) -> None:
    from parity.workers import wire  # needs NumPy, which is known to be there by now

    while True:
        try:
            raw = connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            return
        request = wire.unpack(raw, folder)
        del raw
        if "close" in request:
            return
        stem = f"reply{request['id']}"
        try:
            method = _public_method(adapter, request["method"])
            frame = wire.pack({"id": request["id"], "result": method(**request.pop("arguments"))}, folder, stem)
        except BaseException as error:  # SystemExit, too: a builder that calls sys.exit() must not end the worker
            frame = wire.pack({"id": request["id"], **describe(error)}, folder, stem)
        connection.send_bytes(frame)


def _public_method(adapter: object, name: str) -> Any:
    if name.startswith("_"):
        raise UsageError(f"{name} is private to {type(adapter).__name__}; only its public methods can be called")
    if not callable(getattr(type(adapter), name, None)):  # on the class: asking must not evaluate a property
        from parity.workers.jobs import JOBS

        if name not in JOBS:
            raise UsageError(f"{type(adapter).__name__} has no method {name}")
        return partial(JOBS[name], adapter)
    return getattr(adapter, name)


def _send_bare(connection: Connection, **fields: Any) -> None:
    """Send a frame of flat JSON without NumPy, which may be just what is missing."""
    connection.send_bytes(json.dumps({"body": fields}).encode("ascii"))


def _die_with_parent(descriptor: int) -> None:
    """Let neither a crash nor a kill -9 of the parent leave this process behind.

    The kernel's signal ends even a call that never returns to the interpreter; the watching thread helps where
    there is no such signal, or where the interpreter is a shell script that stands between the two.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    watch = threading.Thread(target=_watch, args=(descriptor, os.getppid()), name="parity-parent", daemon=True)
    watch.start()


def _watch(descriptor: int, parent: int) -> None:
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is always reported; data is not, and stays for the serving thread
    while os.getppid() == parent:
        found = poll.poll(PARENT_CHECK_S * 1000)
        if any(events & (select.POLLHUP | select.POLLERR) for _, events in found):
            break
        if found:  # our own end was closed, which the parent sees for itself
            time.sleep(PARENT_CHECK_S)
    os.killpg(0, signal.SIGKILL)  # a session of our own: this process and whatever it started


def _leave() -> None:
    """End at once: frameworks are known to crash in their own teardown, when all results are delivered."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
