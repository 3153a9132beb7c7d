"""Who carries trainings out: the cores of this machine, or a Dask cluster that somebody already has."""

from __future__ import annotations

import importlib.util
import queue
import re
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from parity.errors import UsageError
from parity.study.arms import Training
from parity.study.execute import FAILED, Crew, Outcome, Setting, carry_out

ADDRESS = re.compile(r"(?:(?:tcp|tls)://)?(?P<host>[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")


class Engine(ABC):
    """Carries trainings out; whichever does, the results are the same."""

    description: str
    """What a report says of it, such as "2 processes of 1 thread on this machine"."""

    @abstractmethod
    def outcomes(self, setting: Setting, trainings: Sequence[Training]) -> Iterator[Outcome]:
        """Yield what became of each training, in the order in which they end.

        A caller that stops early, or is interrupted, leaves no process behind.
        """


class LocalEngine(Engine):
    """Worker processes on this machine, each led by a thread of this process.

    One thread per worker is the default of a study: many small trainings side by side use the cores better than one
    that is spread over them, and a result does not depend on how many run at a time.

    Raises
        UsageError: no process.
    """

    def __init__(self, processes: int, threads: int = 1) -> None:
        if processes < 1:
            raise UsageError(f"a study needs at least one process, not {processes}")
        self.processes = processes
        self.description = f"{processes} at a time on this machine, {threads} thread{'s' * (threads != 1)} each"

    def outcomes(self, setting: Setting, trainings: Sequence[Training]) -> Iterator[Outcome]:
        waiting, ended = _Waiting(trainings), queue.SimpleQueue[Outcome | BaseException]()
        crews = [Crew(setting) for _ in range(min(self.processes, len(trainings)))]
        frameworks = list(dict.fromkeys(training.framework for training in trainings))
        with ThreadPoolExecutor(max(1, len(crews)), thread_name_prefix="parity-study") as pool:
            try:
                for number, crew in enumerate(crews):
                    pool.submit(_line, crew, waiting, ended, frameworks[number % len(frameworks)])
                for _ in trainings:
                    outcome = ended.get()
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            finally:
                waiting.clear()
                for crew in crews:
                    crew.close()


class DaskEngine(Engine):
    """The workers of a Dask cluster, by the address of its scheduler, such as `tcp://10.0.0.1:8786`.

    Each of them must have this package, the frameworks and the data set under the same path; what they run is compared
    with the study's own digest of the data.

    Raises
        UsageError: the extra `cluster` is not installed, or nobody answers at the address.
    """

    def __init__(self, address: str, timeout_s: float = 20.0) -> None:
        try:
            import distributed
        except ImportError as error:
            raise UsageError(
                f"a study on a cluster needs the package `{error.name}`: pip install 'parity[cluster]'"
            ) from None
        try:
            self._client: Any = distributed.Client(address, timeout=timeout_s, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from None
        self._as_completed = distributed.as_completed
        cores = sum(self._client.ncores().values())
        self.description = f"Dask cluster of {len(self._client.ncores())} workers with {cores} threads"

    def outcomes(self, setting: Setting, trainings: Sequence[Training]) -> Iterator[Outcome]:
        data = setting.to_dict()
        futures = {
            self._client.submit(carry_out_there, data, training.to_dict(), pure=False): training
            for training in trainings
        }
        try:
            for future in self._as_completed(list(futures), loop=self._client.loop, raise_errors=False):
                error = future.exception()
                yield future.result() if error is None else _failed(setting, futures[future], error)
        finally:
            self._client.cancel(list(futures))
            self._client.close()


def check_address(address: str, timeout_s: float = 5.0) -> None:
    """Find out at once, and without importing it, whether a cluster can be asked: `HOST:PORT`, `tcp://HOST:PORT`.

    Raises
        UsageError: no address, the extra `cluster` is not installed, or nobody listens there.
    """
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 65536:
        raise UsageError(f"`{address}` is no address of a Dask scheduler: write HOST:PORT, such as 10.0.0.1:8786")
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("a study on a cluster needs the package `distributed`: pip install 'parity[cluster]'")
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout_s).close()
    except OSError as error:
        raise UsageError(f"no Dask scheduler answers at {address}: {error.strerror or error}") from None


def make_engine(address: str | None, processes: int, threads: int = 1) -> Engine:
    """Return the engine for an address, or that of this machine where none is given."""
    return LocalEngine(processes, threads) if address is None else DaskEngine(address)


def carry_out_there(setting: dict[str, Any], training: dict[str, Any]) -> Outcome:
    """Carry one training out in this process, of which the caller knows only that it has this package."""
    read = Setting.from_dict(setting)
    crew = getattr(_here, "crew", None)
    if crew is None or crew.setting != read:
        if crew is not None:
            crew.close()
        crew = _here.crew = Crew(read)
    return carry_out(crew, Training.from_dict(training))


_here = threading.local()  # workers live as long as the cluster's thread does, and are ended with its process


class _Waiting:
    """Trainings that nobody has taken yet; a line asks for its own framework first, and so seldom starts another."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._left = list(trainings)
        self._lock = threading.Lock()

    def take(self, preferred: str) -> Training | None:
        with self._lock:
            if not self._left:
                return None
            at = next((i for i, training in enumerate(self._left) if training.framework == preferred), 0)
            return self._left.pop(at)

    def clear(self) -> None:
        with self._lock:
            self._left.clear()


def _line(crew: Crew, waiting: _Waiting, ended: queue.SimpleQueue[Outcome | BaseException], preferred: str) -> None:
    try:
        while (training := waiting.take(preferred)) is not None:
            ended.put(carry_out(crew, training))
    except BaseException as error:  # a mistake of ours: the study must end, not wait for ever
        ended.put(error)


def _failed(setting: Setting, training: Training, error: BaseException) -> Outcome:
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    return {
        "training": training.to_dict(),
        "fingerprint": setting.fingerprint(training),
        "status": FAILED,
        "error": text,
    }
