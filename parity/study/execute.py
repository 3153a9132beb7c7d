"""Carry out one training in a worker and return all that is ever read of it, as plain data."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data import cache, synthetic
from parity.data.kaggle import dataset_root
from parity.data.paths import cache_root
from parity.data.prepared import Prepared, load
from parity.errors import DataError, ParityError
from parity.model.spec import ModelSpec
from parity.study.arms import Training, fingerprint
from parity.study.initial import epoch_orders, initial_weights
from parity.study.metrics import loss_and_accuracy
from parity.study.splits import Part, Split, make_split
from parity.workers.client import KEEP_MEMORY, Worker, WorkerOptions

METHOD_VERSION = 1
"""Goes into the fingerprint of every kept run: raise it with any change here that can change a result."""

FINISHED, FAILED = "finished", "failed"
CALL_LIMIT_S = 3600.0  # an epoch of a large study in one thread

Array = NDArray[Any]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all trainings of a study have in common; plain data, so that it can travel to another machine.

    `root`: the data folder, None for the embedded set; a machine that takes part must find it under the same path.
    `digest`: what the data must be there. `kept_epochs`: after which epochs logits are kept. `threads`: of each worker.
    `adapters` and `pythons`: framework -> adapter and interpreter of its worker, where they are not the usual ones.
    `versions`: name -> version of what decides results, to be part of the fingerprint.
    """

    spec: ModelSpec
    digest: str
    root: str | None = None
    skip_unreadable: bool = False
    batch: int = 32
    learning_rate: float = 1e-3
    kept_epochs: tuple[int, ...] = ()
    threads: int = 1
    device: str = "cpu"
    adapters: Mapping[str, str] = field(default_factory=dict)
    pythons: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_dict` turns back into an equal setting."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Setting:
        """Build the setting from what `to_dict` returned, lists in place of tuples allowed."""
        spec = ModelSpec.from_dict(data["spec"])
        return Setting(**{**data, "spec": spec, "kept_epochs": tuple(data["kept_epochs"])})

    def fingerprint(self, training: Training) -> str:
        """Return what a stored run must carry to be this one: everything that decides its result, no path."""
        decisive = {key: value for key, value in self.to_dict().items() if key not in ("root", "pythons")}
        return fingerprint(METHOD_VERSION, decisive, training.to_dict())


class Crew:
    """One worker per framework, each started when first needed and replaced when it died; for one thread."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._workers: dict[str, Worker] = {}

    def worker(self, framework: str) -> Worker:
        """Return the living worker of a framework."""
        held = self._workers.get(framework)
        if held is None or not held.alive():
            if held is not None:
                held.close()
            setting = self.setting
            held = self._workers[framework] = Worker(
                WorkerOptions(
                    setting.adapters.get(framework, framework),
                    python=setting.pythons.get(framework),
                    device=setting.device,
                    threads=setting.threads,
                    environment=KEEP_MEMORY,
                    call_timeout_s=CALL_LIMIT_S,
                )
            )
        return held

    def close(self) -> None:
        """End all workers, also in the middle of a call of another thread."""
        for worker in self._workers.values():
            worker.close()


def carry_out(crew: Crew, training: Training) -> Outcome:
    """Return what became of a training: `status` finished with its results, or failed with one line of `error`.

    Same setting and training, same result, but for `seconds`: whoever carries it out, whatever the worker did before.
    """
    start_s = time.perf_counter()
    head = {"training": training.to_dict(), "fingerprint": crew.setting.fingerprint(training)}
    try:
        found = _train(crew, training)
    except ParityError as error:
        return {**head, "status": FAILED, "error": str(error).partition("\n")[0]}
    return {**head, "status": FINISHED, **found, "seconds": time.perf_counter() - start_s}


@functools.lru_cache(maxsize=4)
def data_of(root: str | None, height: int, width: int, channels: int, skip_unreadable: bool, digest: str) -> Prepared:
    """Return the prepared data set, made on this machine if need be.

    Raises
        DataError: the folder holds other data here than the study is about.
    """
    folder = None if root is None else Path(root)
    prepared = cache.prepare(folder, height, width, channels, skip_unreadable=skip_unreadable, workers=1)
    if prepared.digest != digest:
        raise DataError(f"the data set here ({prepared.digest[:12]}) is not that of the study ({digest[:12]})")
    return prepared


def prepared_for(setting: Setting) -> Prepared:
    """Return the data set of a setting."""
    spec = setting.spec
    return data_of(setting.root, spec.height, spec.width, spec.channels, setting.skip_unreadable, setting.digest)


def split_for(prepared: Prepared, kind: str, seed: int) -> Split:
    """Return `make_split`, made once for all trainings that share it: by patient it takes a second."""
    return _split_of(str(prepared.folder), kind, seed)


@functools.lru_cache(maxsize=64)
def _split_of(folder: str, kind: str, seed: int) -> Split:
    return make_split(load(Path(folder)), kind, seed)


def rows_digest(split: Split) -> str:
    """Return the SHA-256 of which images train, validate and test."""
    whole = hashlib.sha256()
    for name, part in split.parts.items():
        whole.update(f"{name} {part.source} {part.rows.tolist()}\n".encode())
    return whole.hexdigest()


def _train(crew: Crew, training: Training) -> Outcome:
    setting = crew.setting
    prepared = prepared_for(setting)
    split = split_for(prepared, training.split, training.seed)
    worker = crew.worker(training.framework)
    _start(worker, setting, training)
    initial = worker.call("weights_digest")
    orders = _orders(worker, training, len(split.train), setting.batch)
    reader = _Reader(worker, setting, training, prepared)
    epochs, logits = [], {}
    for epoch in range(1, training.epochs + 1):
        done = reader.train(split.train, orders[epoch - 1])
        read = {name: reader.logits(part) for name, part in (("val", split.val), ("test", split.test))}
        epochs.append(_epoch_row(epoch, done, split, prepared, read))
        if epoch in setting.kept_epochs or epoch == training.epochs:
            logits[str(epoch)] = {name: [float(value) for value in values] for name, values in read.items()}
    return {
        "rows_digest": rows_digest(split),
        "initial_digest": initial,
        "weights_digest": worker.call("weights_digest"),
        "epochs": epochs,
        "logits": logits,
    }


def _start(worker: Worker, setting: Setting, training: Training) -> None:
    """Build the network with the initial weights that the training asks for, and a fresh optimizer."""
    worker.call("build", spec=setting.spec.to_dict(), seed=training.seed)
    if training.initialiser != "own":
        worker.call("place_initial", weights=initial_weights(setting.spec, training.initialiser, training.seed))
    worker.call("start_training", learning_rate=setting.learning_rate, epsilon=training.epsilon)


def _orders(worker: Worker, training: Training, images: int, batch: int) -> Array:
    """Return which of the training images come when, (epochs, images)."""
    asked: dict[str, int] = {"images": images, "batch": batch, "seed": training.seed, "epochs": training.epochs}
    if training.shuffling == "own":
        found: Array = worker.call("own_orders", **asked)
    else:
        found = epoch_orders(training.shuffling, **asked)
    if not np.array_equal(np.sort(found, axis=1), np.tile(np.arange(images), (training.epochs, 1))):
        raise DataError(f"{training.name}: the loader does not deliver every image once per epoch")
    return found


class _Reader:
    """Feeds images of one training to its worker."""

    def __init__(self, worker: Worker, setting: Setting, training: Training, prepared: Prepared) -> None:
        self._worker, self._setting, self._training, self._prepared = worker, setting, training, prepared

    def train(self, part: Part, order: Array) -> dict[str, Any]:
        done: dict[str, Any] = self._worker.call("train_rows", order=part.rows[order], **self._source(part))
        return done

    def logits(self, part: Part) -> Array:
        found: Array = self._worker.call("predict_rows", rows=part.rows, **self._source(part))
        if not np.isfinite(found).all():
            raise DataError(f"{self._training.name}: the model has diverged: its logits are not finite")
        return found

    def _source(self, part: Part) -> dict[str, Any]:
        own = self._training.pixels == "own"
        return {
            "folder": str(self._prepared.folder),
            "split": part.source,
            "batch": self._setting.batch,
            "scaling": self._training.scaling,
            "pixels": own_pixels(self._worker, self._setting, self._training, self._prepared, part) if own else None,
        }


_writing_pixels = threading.Lock()


def own_pixels(worker: Worker, setting: Setting, training: Training, prepared: Prepared, part: Part) -> str:
    """Return the file of a folder's images as the framework's own loader gives them, made on the first call."""
    spec, framework = setting.spec, training.framework
    size = [spec.height, spec.width, spec.channels]
    key = fingerprint(
        prepared.digest, prepared.folder.name, size, dict(setting.versions), setting.adapters.get(framework)
    )
    path = cache_root() / "study-pixels" / f"{framework}-{'x'.join(map(str, size))}-{key[:32]}" / f"{part.source}.npy"
    source = synthetic.embedded_root(cache_root()) if setting.root is None else Path(setting.root)
    base = dataset_root(source)
    with _writing_pixels:  # another process may write them at the same time: the last one to finish is kept, whole
        if not path.exists():
            files = [str(base / file) for file in prepared.files(part.source)]
            worker.call("write_own_pixels", files=files, size=size, path=str(path))
    return str(path)


def _epoch_row(
    epoch: int, done: Mapping[str, Any], split: Split, prepared: Prepared, read: Mapping[str, Array]
) -> dict[str, Any]:
    val_loss, val_accuracy = loss_and_accuracy(split.val.labels(prepared), read["val"])
    test_loss, test_accuracy = loss_and_accuracy(split.test.labels(prepared), read["test"])
    return {
        "epoch": epoch,
        "loss": float(np.mean(done["losses"])),
        "val_loss": val_loss,
        "val_accuracy": val_accuracy,
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "seconds": done["seconds"],
    }
