"""One family of exceptions: everything this package raises on purpose.

The message of each is one clear line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations


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
