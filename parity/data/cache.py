"""Prepare images: decode every file once into mapped arrays, and find them again by content and settings.

A prepared folder (see prepared.py) appears under its name only when it is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from parity.data import synthetic
from parity.data.images import POLICY_VERSION, Decoded, check_size, decode
from parity.data.kaggle import CLASSES, SPLITS, ImageFile, dataset_root, scan
from parity.data.paths import cache_root, shown
from parity.data.prepared import (
    INDEX,
    SCHEMA,
    Prepared,
    array_file,
    batches,
    facts,
    is_intact,
    load,
)
from parity.errors import DataError, UnreadableImage, UsageError

__all__ = ["Prepared", "Progress", "batches", "facts", "load", "prepare"]

_EXAMPLES = 3
_IN_FLIGHT_PER_WORKER = 2  # decoded images that may wait to be written, so that memory stays bounded
_STALE_S = 24 * 3600.0

_In = TypeVar("_In")
_Out = TypeVar("_Out")
Progress = Callable[[int, int], None]


def prepare(
    root: Path | None,
    height: int,
    width: int,
    channels: int,
    *,
    cache_dir: Path | None = None,
    skip_unreadable: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> Prepared:
    """Decode a data set once, or find it decoded; None means the embedded synthetic set.

    Reads every file's content to find out whether anything changed, and decodes only then. Needs memory for a
    few images per worker, whatever the size of the set. `progress(done, total)` is called for each file decoded,
    in the calling thread.

    Raises: DataError for a folder that is not laid out as expected, for unreadable files (one line each, after
    a look at all of them; with `skip_unreadable` they are left out and listed instead), for a class that
    skipping left empty, and for a cache folder that cannot be written; UsageError for a bad size.
    """
    check_size(height, width, channels)
    if workers < 1:
        raise UsageError(f"workers={workers}: at least 1 thread is needed to decode")
    store = (cache_dir or cache_root()).absolute()
    with _writing_to(store):
        source = synthetic.embedded_root(store) if root is None else root
    files = scan(source)
    base = dataset_root(source)
    contents = list(_in_order(_content_digest, [file.path for file in files], workers))
    job = _Job(base, _name_of(base), files, contents, height, width, channels, workers)
    folder = store / "prepared" / job.folder_name()
    if not is_intact(folder):
        with _writing_to(store):
            _build(job, folder, skip_unreadable, progress)
    prepared = load(folder)
    if prepared.skipped and not skip_unreadable:
        raise _unreadable_files(prepared.skipped, len(files))
    return prepared


def _name_of(base: Path) -> str:
    """What a report calls the set; the drawn films stay "synthetic" even when given as a folder."""
    name = base.resolve().name
    return synthetic.NAME if name == synthetic.FOLDER else name


# --- what identifies a prepared folder ------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """All that decides what a prepared folder holds."""

    base: Path
    name: str
    files: tuple[ImageFile, ...]
    contents: list[str]
    height: int
    width: int
    channels: int
    workers: int

    def relative(self, file: ImageFile) -> str:
        return file.path.relative_to(self.base).as_posix()

    def digest(self) -> str:
        """SHA-256 over names and contents of all files, readable or not."""
        whole = hashlib.sha256()
        for file, content in sorted(zip(map(self.relative, self.files), self.contents, strict=True)):
            whole.update(os.fsencode(file) + b"\0" + content.encode() + b"\n")
        return whole.hexdigest()

    def folder_name(self) -> str:
        shape = f"{self.height}x{self.width}x{self.channels}"
        parts = (SCHEMA, self.name, self.digest(), shape, POLICY_VERSION, PIL.__version__)
        key = hashlib.sha256(os.fsencode("\0".join(map(str, parts)))).hexdigest()
        # The name is for people who clean up; the key alone identifies.
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)[:40].lstrip('.')}-{shape}-{key[:32]}"


def _content_digest(path: Path) -> str:
    """SHA-256 of a file; a word for what cannot be read as one, since decoding will say why."""
    if not path.is_file():
        return "not-a-file"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


# --- building -------------------------------------------------------------------------------------------


def _build(job: _Job, folder: Path, skip_unreadable: bool, progress: Progress | None) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        complete = temporary / "complete"
        complete.mkdir()
        _fill(job, complete, skip_unreadable, progress)
        _publish(complete, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(job: _Job, folder: Path, skip_unreadable: bool, progress: Progress | None) -> None:
    """Decode all files in order; write arrays and index."""
    splits: dict[str, dict[str, list[Any]]] = {}
    skipped: list[tuple[str, str]] = []
    by_note: dict[str, list[str]] = {}
    outcomes = _in_order(lambda file: _try_decode(file, job), job.files, job.workers)
    digests = iter(job.contents)
    done = 0
    for split in SPLITS:
        members = [file for file in job.files if file.split == split]
        index: dict[str, list[Any]] = {key: [] for key in ("files", "patients", "sha256", "sizes", "modes")}
        labels: list[int] = []
        with _RowWriter(folder / array_file("images", split), (job.height, job.width, job.channels)) as rows:
            for file in members:
                outcome, content = next(outcomes), next(digests)
                done += 1
                if progress is not None:
                    progress(done, len(job.files))
                if isinstance(outcome, str):
                    skipped.append((job.relative(file), outcome))
                    continue
                rows.append(outcome.pixels)
                labels.append(file.label)
                _enter(index, job.relative(file), file.patient, content, outcome)
                for note in outcome.notes:
                    by_note.setdefault(note, []).append(job.relative(file))
        np.save(folder / array_file("labels", split), np.array(labels, dtype=np.uint8))
        splits[split] = {**index, "labels": labels}
    if skipped and not skip_unreadable:
        raise _unreadable_files(skipped, len(job.files))
    counts = _counts(splits, len(skipped))
    _write_index(job, folder, splits, counts, skipped, [_grouped(note, by_note[note]) for note in by_note])


def _try_decode(file: ImageFile, job: _Job) -> Decoded | str:
    """Decode one file; for an unreadable one, the reason."""
    try:
        return decode(file.path, job.height, job.width, job.channels)
    except UnreadableImage as error:
        return str(error).removeprefix(f"{shown(file.path)}: ")


def _enter(index: dict[str, list[Any]], relative: str, patient: str, content: str, image: Decoded) -> None:
    index["files"].append(relative)
    index["patients"].append(patient)
    index["sha256"].append(content)
    index["sizes"].append([image.original_height, image.original_width])
    index["modes"].append(image.mode)


def _counts(splits: dict[str, dict[str, list[Any]]], skipped: int) -> dict[str, dict[str, int]]:
    counts = {}
    for split in SPLITS:
        counts[split] = {name: splits[split]["labels"].count(label) for label, name in enumerate(CLASSES)}
        for name, count in counts[split].items():
            if count == 0:
                raise DataError(
                    f"no readable image is left in {split}/{name} ({skipped} unreadable files were skipped); "
                    "every split needs images of both classes"
                )
    return counts


def _grouped(note: str, files: list[str]) -> str:
    """`RGB file converted to grey` of 283 files -> `283 RGB files converted to grey: a, b, c, ...`."""
    counted = note if len(files) == 1 else re.sub(r"\bfile\b", "files", note, count=1)
    examples = ", ".join(shown(file) for file in files[:_EXAMPLES])
    return f"{len(files)} {counted}: {examples}{', ...' if len(files) > _EXAMPLES else ''}"


def _unreadable_files(skipped: Sequence[tuple[str, str]], total: int) -> DataError:
    lines = [f"{shown(file)}: {reason}" for file, reason in skipped]
    advice = "repair or remove them, or pass --skip-unreadable to go on without them"
    return DataError("\n".join([*lines, f"{len(lines)} of {total} files cannot be read: {advice}"]))


def _write_index(
    job: _Job,
    folder: Path,
    splits: dict[str, dict[str, list[Any]]],
    counts: dict[str, dict[str, int]],
    skipped: list[tuple[str, str]],
    notes: list[str],
) -> None:
    index = {
        "schema": SCHEMA,
        "name": job.name,
        "digest": job.digest(),
        "height": job.height,
        "width": job.width,
        "channels": job.channels,
        "decode_policy": POLICY_VERSION,
        "pillow": PIL.__version__,
        "counts": counts,
        "skipped": skipped,
        "notes": notes,
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        "splits": splits,
    }
    (folder / INDEX).write_text(json.dumps(index, indent=0, sort_keys=True), encoding="ascii")


class _RowWriter:
    """Write uint8 rows one after another into a `.npy` file whose length is known only at the end.

    Plain writes instead of a writable map: dirty pages of a map count as this process's memory, so its peak
    would grow with the number of images.
    """

    def __init__(self, path: Path, row_shape: tuple[int, int, int]) -> None:
        self._file = path.open("wb")
        self._row_shape = row_shape
        self._count = 0
        self._header()
        self._start = self._file.tell()

    def _header(self) -> None:
        fields = {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, fields)

    def append(self, row: NDArray[np.uint8]) -> None:
        self._file.write(row.tobytes())
        self._count += 1

    def __enter__(self) -> _RowWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._header()  # NumPy pads headers so that the first axis can grow in place
                if self._file.tell() != self._start:
                    raise DataError("this NumPy changed the .npy header's length; report it as a bug of parity")


def _publish(complete: Path, folder: Path) -> None:
    """Move a finished folder to its name; keep what another process finished first."""
    with _locked(folder.parent):
        if is_intact(folder):
            return
        if folder.exists():
            folder.replace(complete.with_name("damaged"))  # goes away with the temporary folder
        complete.replace(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time move folders around; the system frees the lock of a process that dies."""
    with (folder / ".lock").open("w") as lock:
        with suppress(OSError):  # some network file systems have no locks; the moves themselves are atomic
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half built more than a day ago."""
    for left in folder.glob(".building-*"):
        try:
            old = time.time() - left.stat().st_mtime > _STALE_S
        except FileNotFoundError:  # its owner finished just now
            continue
        if old:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _writing_to(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot keep prepared images in {shown(store)}: {reason}; set PARITY_CACHE to a folder with room"
        ) from error


def _in_order(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    """Map in a thread pool, in order, with a bounded number of results waiting."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="parity-data")
    waiting: deque[Future[_Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= workers * _IN_FLIGHT_PER_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
