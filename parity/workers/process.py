"""One child process: started in a private folder and a session of its own, and ended with all it started."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

STOP_GRACE_S = 5.0
KILL_LIMIT_S = 10.0
TAIL_BYTES = 64 * 1024
FOLDER_PREFIX = "parity-"

# Loads this very package from its own folder without putting the folder's parent on sys.path: under another
# environment's interpreter, that parent may be our site-packages, which must not be mixed with theirs.
BOOTSTRAP = """\
import importlib.util, sys
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "parity", folder + "/__init__.py", submodule_search_locations=[folder])
package = sys.modules["parity"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from parity.workers.worker import main
main()
"""


class ChildProcess:
    """A worker's process, its end of the line (`connection`), its `folder` and its output.

    The line is `multiprocessing.Pipe`, whose other end the child alone inherits: nobody else can connect to it, so
    that there is no address and no key to protect, and the child's end closes however the child ends.

    Raises:
        OSError: the interpreter cannot be started.
    """

    def __init__(self, python: str, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._owner = os.getpid()
        self._releasing = threading.Lock()
        self._last_stderr = b""
        self.status: int | None = None  # as subprocess has it: negative for a signal
        self.folder, self._lock_descriptor = _private_folder()
        self.connection, theirs = multiprocessing.Pipe()
        try:
            config = {**settings, "descriptor": theirs.fileno(), "folder": str(self.folder)}
            package = str(Path(__file__).resolve().parents[1])
            command = [python, "-P", "-c", BOOTSTRAP, package, json.dumps(config)]
            self._popen = _spawn(lambda: self._open(command, environment, theirs.fileno()))
        except BaseException:
            self.connection.close()
            self._remove_folder()
            raise
        finally:
            theirs.close()
        self.pid = self._popen.pid

    def _open(self, command: list[str], environment: Mapping[str, str], descriptor: int) -> subprocess.Popen[bytes]:
        # Files, not pipes: chatter neither blocks the child nor reaches the terminal.
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                # Temporary files of a worker, which often ends without clearing up, go when its folder goes.
                env={**environment, "TMPDIR": str(self.folder)},
                pass_fds=(descriptor,),
                start_new_session=True,  # Ctrl-C in a terminal goes to the parent alone
            )

    def exited(self) -> bool:
        """Tell whether the process has ended, and note its `status`, without reaping it.

        Until it is reaped its id cannot be given to another process, so that its group can safely be killed.
        """
        if self.status is None:
            try:
                found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:  # somebody else waited for it; its status is lost
                self.status = self._popen.poll() or 0
                return True
            if found is not None:
                self.status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return self.status is not None

    def wait(self, limit_s: float) -> bool:
        """Wait until the process has ended; tell whether it did within the limit."""
        deadline = time.monotonic() + limit_s
        pause_s = 0.001
        while not self.exited():
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.05)
        return True

    def signal_group(self) -> None:
        """Send SIGKILL to the process and everything it started, and return at once."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the process and its group by force, reap it and remove its folder."""
        self.stop(grace_s=0.0)

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Ask the process to leave, wait that long, then end its group by force, reap it and remove its folder.

        Does nothing a second time, nor in a fork of the process that started the worker.
        """
        if os.getpid() != self._owner or not self._releasing.acquire(blocking=False):
            return
        try:
            if grace_s > 0:
                with suppress(OSError):
                    self.connection.send_bytes(b'{"body": {"close": true}}')
                    self.wait(grace_s)
        finally:  # an impatient second Ctrl-C must not leave the process behind
            self._release()

    def _release(self) -> None:
        self.exited()  # note the status before our own signal becomes it
        self.signal_group()
        if self.wait(KILL_LIMIT_S):  # else it hangs inside the kernel, and no one can end it
            self._popen.wait()
        self.connection.close()
        self._last_stderr = self._read_stderr()
        self._remove_folder()

    def stderr_tail(self, lines: int) -> str:
        """Return the last lines that the process wrote to stderr; also after its end."""
        raw = self._read_stderr() or self._last_stderr
        return "\n".join(raw.decode("utf-8", "replace").splitlines()[-lines:])

    def _read_stderr(self) -> bytes:
        try:
            with (self.folder / "stderr").open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - TAIL_BYTES))
                return stream.read()
        except OSError:
            return b""

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock_descriptor)


def _private_folder() -> tuple[Path, int]:
    """Make a folder that only this user can enter (mode 0700), locked for as long as this process lives.

    The lock tells a folder in use from one whose owner was killed; it gets its final name when it is held.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    descriptor = os.open(folder / "lock.new", os.O_CREAT | os.O_RDWR, 0o600)
    with suppress(OSError):  # a file system without locks: such a folder is then never swept
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / "lock.new").rename(folder / "lock")
    return folder, descriptor


def _sweep() -> None:
    """Remove the folders of parents that were killed before they could: they may hold gigabytes of arrays."""
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _remove_if_abandoned(Path(entry.path))


def _remove_if_abandoned(folder: Path) -> None:
    if folder.stat().st_uid != os.getuid():
        return
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


_Job = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]
_spawners: dict[int, queue.SimpleQueue[_Job]] = {}  # by process id: threads do not survive a fork
_spawners_guard = threading.Lock()


def _spawn(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process from a thread that never ends.

    "Die with the parent" means, to the kernel, with the *thread* that started the child (PR_SET_PDEATHSIG in
    prctl(2)): a worker started from a pool's thread would be killed when that pool is done.
    """
    future: Future[subprocess.Popen[bytes]] = Future()
    with _spawners_guard:
        jobs = _spawners.get(os.getpid())
        if jobs is None:
            jobs = _spawners[os.getpid()] = queue.SimpleQueue()
            threading.Thread(target=_run_jobs, args=(jobs,), name="parity-spawner", daemon=True).start()
    jobs.put((start, future))
    return future.result()


def _run_jobs(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        start, future = jobs.get()
        try:
            future.set_result(start())
        except BaseException as error:
            future.set_exception(error)
        del start, future  # while this thread waits, it must not keep the last worker alive
