"""One family of exceptions: everything this package raises on purpose.

The message of each is one clear line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path


class ParityError(Exception):
    """Base of all errors that a user can act upon."""

    exit_status = 2


class UsageError(ParityError):
    """An option or argument that cannot be meant."""


class DataError(ParityError):
    """A data set that is missing, empty or laid out in a way that is not understood."""


class UnreadableImage(DataError):
    """One image file that cannot be decoded safely."""


class PairingError(ParityError):
    """Layers or weights of the two frameworks that cannot be matched one to one."""


class ExportError(ParityError):
    """A model that could not be written to, or read back from, an exchange format."""


class RecordError(ParityError):
    """A record file that is missing, of another schema version, or damaged."""


class MissingFramework(ParityError):
    """A framework was asked for whose package the worker's interpreter cannot import."""


class MissingDevice(ParityError):
    """A device was asked for that is not there."""


class RoundingUnknown(ParityError):
    """An operation whose rounding no rule can bound; the message names it."""


class WorkerError(ParityError):
    """A request that raised inside a worker; the worker lives on."""


class WorkerCrash(ParityError):
    """A worker process that died; carries the request that killed it and the end of its stderr."""


class WorkerTimeout(WorkerCrash):
    """A worker that did not answer in time and was killed."""


def own_fault(error: Exception) -> str:
    """Return what is said of an exception that nobody raised on purpose; with PARITY_TRACEBACK set it goes on its way.

    Raises:
        Exception: the one that was given, where the environment asks for its traceback.
    """
    if os.environ.get("PARITY_TRACEBACK"):
        raise error
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a fault of parity itself{place}: " + " ".join(f"{type(error).__name__}: {error}".split())
