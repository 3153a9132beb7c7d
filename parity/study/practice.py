"""Training as people do it, in both frameworks' own tools: what steers it must mean the same, and it must go on alike.

Each framework streams the same files in the same order with the same random changes, weighs its classes, lowers its
learning rate, stops early and keeps checkpoints. A second process of the same seed is killed in the middle of an epoch,
a third goes on from its last checkpoint; both must hold the first one's numbers bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parity.errors import DataError, ParityError, UsageError, WorkerCrash
from parity.model.spec import ModelSpec, example_cnn
from parity.study import augment, checkpoints, rules
from parity.study.augment import FRAMEWORKS, Augmentation
from parity.study.initial import initial_weights
from parity.workers.client import Worker, WorkerOptions

PROGRESS_S = 0.2
# Improves, rests, falls back, improves by less than `min_delta`: each rule has something to decide at every turn.
LOSSES = (0.9, 0.7, 0.7, 0.72, 0.6, 0.599, 0.65, 0.598, 0.61, 0.62, 0.63, 0.64)
PROVING_IMAGES = 6

Array = NDArray[Any]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Films:
    """Image files and their labels (0 or 1): those that are trained on, and those that are held out."""

    files: tuple[str, ...]
    labels: tuple[int, ...]
    held_out_files: tuple[str, ...]
    held_out_labels: tuple[int, ...]

    @staticmethod
    def parted(files: Sequence[str], labels: Sequence[int], every: int = 4) -> Films:
        """Hold out every so-manieth image of each class.

        Raises
            DataError: a class too small for that.
        """
        held_out: set[int] = set()
        for label in (0, 1):
            mine = [row for row, found in enumerate(labels) if found == label]
            if len(mine) < 2 * every:
                raise DataError(f"class {label} has {len(mine)} images; to hold some out it needs {2 * every}")
            held_out |= set(mine[every - 1 :: every])
        rows = [row for row in range(len(files)) if row not in held_out]
        kept = sorted(held_out)
        return Films(
            tuple(files[row] for row in rows), tuple(labels[row] for row in rows),
            tuple(files[row] for row in kept), tuple(labels[row] for row in kept),
        )  # fmt: skip


@dataclass(frozen=True)
class Practice:
    """What a training does; the same data in both frameworks.

    `size`: height, width, channels. `stopping` and `schedule`: see `study.rules`. `loaders`: processes or threads that
    read files. `images`: how many files of a data set are used at most.

    Raises
        UsageError: fewer than two epochs: none could be interrupted.
    """

    epochs: int = 6
    batch: int = 16
    images: int = 240
    size: tuple[int, int, int] = (64, 64, 1)
    filters: int = 8
    hidden: int = 32
    dropout: float = 0.2
    seed: int = 0
    learning_rate: float = 1e-3
    epsilon: float = 1e-7
    loaders: int = 0
    weighted: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    stopping: Mapping[str, Any] = field(default_factory=lambda: {"patience": 3, "min_delta": 1e-3})
    schedule: Mapping[str, Any] = field(
        default_factory=lambda: {"kind": "plateau", "factor": 0.5, "patience": 2, "min_delta": 1e-3, "end": 1e-5}
    )

    def __post_init__(self) -> None:
        if self.epochs < 2:
            raise UsageError(f"a training of {self.epochs} epochs cannot be interrupted between two: use at least 2")

    @property
    def spec(self) -> ModelSpec:
        """The example network at this size."""
        return example_cnn(*self.size, filters=self.filters, hidden=self.hidden)

    def task(self, films: Films, folder: Path) -> dict[str, Any]:
        """Return all that a worker is told, as plain data."""
        images, (height, width, _) = len(films.labels), self.size
        drawn = [self.augmentation.draw(self.seed, epoch, images, height, width) for epoch in range(self.epochs)]
        labels = np.asarray(films.labels, dtype=np.float32)
        return {
            "spec": self.spec.to_dict(),
            "seed": self.seed,
            "initial": initial_weights(self.spec, "tensorflow", self.seed),
            "dropout": self.dropout,
            "files": list(films.files),
            "labels": labels,
            "held_out_files": list(films.held_out_files),
            "held_out_labels": np.asarray(films.held_out_labels, dtype=np.float32),
            "size": list(self.size),
            "batch": self.batch,
            "loaders": self.loaders,
            "orders": np.stack(
                [np.random.default_rng([self.seed, 4, epoch]).permutation(images) for epoch in range(self.epochs)]
            ),
            "drawn": {name: np.stack([one[name] for one in drawn]) for name in drawn[0]},
            "warps": self.augmentation.warps,
            "class_weights": rules.balanced_weights(labels) if self.weighted else None,
            "learning_rate": self.learning_rate,
            "epsilon": self.epsilon,
            "schedule": dict(self.schedule),
            "stopping": dict(self.stopping),
            "epochs": self.epochs,
            "folder": str(folder),
        }


AMOUNTS: Mapping[str, Practice] = {
    "smoke": Practice(epochs=2, images=64, size=(32, 32, 1), filters=4, hidden=8),
    "standard": Practice(),
    "full": Practice(epochs=20, images=2000, size=(96, 96, 1), filters=16, hidden=64),
}


def practise(
    films: Films,
    practice: Practice,
    folder: Path,
    *,
    frameworks: Sequence[str] = FRAMEWORKS,
    adapters: Mapping[str, str] | None = None,
    pythons: Mapping[str, str] | None = None,
    device: str = "cpu",
    threads: int = 1,
    parallel: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and check each framework and return the record's section `practice`.

    `folder` holds the checkpoints, anew. `adapters`, `pythons`: framework -> adapter or interpreter in place of the
    usual ones. `parallel`: frameworks at once. What goes wrong is a line in `problems`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    section: dict[str, Any] = {
        "plan": {**asdict(practice), "images": len(films.labels), "held_out_images": len(films.held_out_labels)},
        "threads": threads,
        "device": device,
    }
    tables = (
        "runs",
        "determinism",
        "resume",
        "damage",
        "augmentation",
        "losses",
        "schedules",
        "stopping",
        "plain",
        "problems",
    )
    section |= {name: [] for name in tables}

    def one(framework: str) -> dict[str, list[Any]]:
        options = WorkerOptions(
            (adapters or {}).get(framework, framework),
            python=(pythons or {}).get(framework),
            device=device,
            threads=threads,
            seed=practice.seed,
        )
        try:
            return _Practised(framework, options, films, practice, folder / framework, progress).all_of_it()
        except ParityError as error:
            return {"problems": [f"{framework}: {str(error).partition(chr(10))[0]}"]}

    with ThreadPoolExecutor(max_workers=max(1, min(parallel, len(frameworks)))) as pool:
        for found in pool.map(one, frameworks):
            for name, rows in found.items():
                section[name] += rows
    section["problems"] += problems(section)
    return section


def problems(section: Mapping[str, Any]) -> list[str]:
    """Return one line for each thing that is not as it must be in what `practise` found."""
    found = []
    for row in section["determinism"]:
        if row["differing"]:
            found.append(
                f"{row['framework']}: the same seed gives other numbers in a fresh process after"
                f" {row['epochs']} epochs ({_listed(row['differing'])}), first at {row['operation']}"
            )
    for row in section["resume"]:
        if row["differing"]:
            found.append(f"{row['framework']}: resumed training ends in other numbers: {_listed(row['differing'])}")
    for row in section["damage"]:
        if not row["refused"] or row["used_epoch"] != row["cut_epoch"] - 1:
            found.append(f"{row['framework']}: a checkpoint that was cut off was not refused for the one before")
    for row in section["augmentation"]:
        if not row["within"]:
            found.append(
                f"{row['framework']}, {row['case']}: {row['pixels_outside']} of {row['pixels']} augmented values are"
                f" off by up to {row['worst_share']:.3g} times what rounding explains"
            )
    for row in section["losses"]:
        if not abs(row["loss"] - row["exact"]) <= row["bound"]:
            found.append(f"{row['framework']}: the weighted loss is {row['loss']:.9g} and not {row['exact']:.9g}")
    for row in section["schedules"]:
        if not row["within"]:
            found.append(f"{row['framework']}: the schedule {row['schedule']} first differs in epoch {row['first']}")
    for row in section["stopping"]:
        if row["found"] != row["expected"]:
            (stop, best), (right_stop, right_best) = row["found"], row["expected"]
            found.append(
                f"{row['framework']}, patience {row['patience']} ({row['fed']}): stops after epoch {stop} with the"
                f" weights of epoch {best}, and the rule says {right_stop} and {right_best}"
            )
    return found


def differing(a: Mapping[str, Array], b: Mapping[str, Array]) -> list[str]:
    """Return the names whose arrays are not the same bits in both, those that only one has among them."""
    names = [*a, *(name for name in b if name not in a)]
    return [name for name in names if name not in a or name not in b or not _same(a[name], b[name])]


def first_operation(a: Mapping[str, Array], b: Mapping[str, Array]) -> str:
    """Name the operation at which two runs of one batch part, both given in the order of computation."""
    apart = differing(a, b)
    if not apart:
        return "no operation of the first batch: a later batch, dropout or the optimizer"
    return apart[0]


class _Practised:
    """One framework's three processes: the straight run, the one that is killed, and the one that goes on."""

    def __init__(
        self,
        framework: str,
        options: WorkerOptions,
        films: Films,
        practice: Practice,
        folder: Path,
        say: Progress | None,
    ) -> None:
        self.framework, self.options, self.films, self.practice = framework, options, films, practice
        self.folder, self.say = folder, say

    def all_of_it(self) -> dict[str, list[dict[str, Any]]]:
        """Return this framework's rows of each table of the section."""
        straight, torn, again = (self.folder / name for name in ("straight", "interrupted", "again"))
        with Worker(self.options) as worker:
            run, state = self._train(worker, straight, "straight run")
            first = self._first_batch(worker)
            found = self._semantics(worker, run)
            found["plain"] = [self._plain(worker)]
            at = self._interruption(run)
            self._killed(worker, torn, at)
        checkpoint, _ = checkpoints.newest(torn)
        if checkpoint is None or int(checkpoint.name[-4:]) != at[0] - 1:
            raise DataError(f"the run that was killed in epoch {at[0]} left no checkpoint of the epoch before")
        found["damage"] = [self._damage(torn)] if at[0] > 2 else []
        with Worker(self.options) as worker:
            resumed = self._train(worker, torn, "resumed run", resume=str(checkpoint))
            repeated = self._train(worker, again, "same seed again")
            second = self._first_batch(worker)
        row = {"framework": self.framework, "arrays": len(state)}
        apart = _apart((run, state), repeated)
        operation = first_operation(first, second) if apart else None
        found["determinism"] = [{**row, "epochs": len(run["epochs"]), "differing": apart, "operation": operation}]
        killed = {"from_epoch": at[0] - 1, "killed_epoch": at[0], "killed_step": at[1], "steps": self._steps}
        found["resume"] = [{**row, **killed, "differing": _apart((run, state), resumed)}]
        found["runs"] = [{"framework": self.framework, **run}]
        return found

    @property
    def _steps(self) -> int:
        return -(-len(self.films.labels) // self.practice.batch)

    def _interruption(self, run: Mapping[str, Any]) -> list[int]:
        """Return the epoch and step after which the second training is killed: in the middle of the last epoch."""
        last = len(run["epochs"])
        if last < 2:
            raise DataError("training stopped after one epoch, so that no checkpoint comes before an interruption")
        return [last, (self._steps + 1) // 2]

    def _first_batch(self, worker: Worker) -> dict[str, Array]:
        worker.call("practice_open", task=self.practice.task(self.films, self.folder / "first-batch"))
        found: dict[str, Array] = worker.call("practice_gradients")
        return found

    def _train(
        self, worker: Worker, folder: Path, doing: str, resume: str | None = None
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        worker.call("practice_open", task=self.practice.task(self.films, folder))
        with _watched(folder, self.practice.epochs, f"{self.framework}, {doing}", self.say):
            run = worker.call("practice_run", resume=resume)
        return run, worker.call("practice_state")

    def _killed(self, worker: Worker, folder: Path, at: list[int]) -> None:
        """Let a process kill itself in the middle of an epoch, as a machine dies that loses its power."""
        worker.call("practice_open", task=self.practice.task(self.films, folder))
        try:
            with _watched(folder, self.practice.epochs, f"{self.framework}, interrupted run", self.say):
                worker.call("practice_run", die_at=at)
        except WorkerCrash as error:
            if "SIGKILL" in str(error):
                return
            raise
        raise DataError(f"the process that was to die in epoch {at[0]}, step {at[1]} lived on")

    def _plain(self, worker: Worker) -> dict[str, Any]:
        """Train one epoch without dropout: what is left to differ is the rounding of pixels and of sums."""
        task = self.practice.task(self.films, self.folder / "plain")
        worker.call("practice_open", task={**task, "dropout": 0.0, "epochs": 1})
        row = worker.call("practice_run")["epochs"][0]
        return {"framework": self.framework, "loss": row["loss"], "val_loss": row["val_loss"]}

    def _damage(self, folder: Path) -> dict[str, Any]:
        """Cut off the newest checkpoint's largest file in a copy of the folder, and see which one is used."""
        copy = self.folder / "damaged"
        shutil.copytree(folder, copy)
        newest = max(path for path in copy.glob("epoch-*"))
        largest = max(newest.iterdir(), key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
        used, refused = checkpoints.newest(copy)
        shutil.rmtree(copy)
        row = {"framework": self.framework, "cut_epoch": int(newest.name[-4:]), "refused": refused}
        return {**row, "used_epoch": None if used is None else int(used.name[-4:])}

    def _semantics(self, worker: Worker, run: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        return {
            "augmentation": self._augmentation(worker),
            "losses": [self._loss(worker)],
            "schedules": self._schedules(worker, run),
            "stopping": self._stopping(worker, run),
        }

    def _augmentation(self, worker: Worker) -> list[dict[str, Any]]:
        height, width, channels = self.practice.size
        images = np.stack([_pixels(file, height, width, channels) for file in self.films.files[:PROVING_IMAGES]])
        still = Augmentation(flip=False, degrees=0.0, shift=0.0, zoom=0.0, contrast=0.0, brightness=0.0)
        flips = replace(still, flip=True)
        scaled = images.astype(np.float32) / np.float32(255.0)
        return [
            self._case(worker, "as trained", images, self.practice.augmentation),
            self._case(worker, "flip alone", scaled, flips),
            self._case(worker, "pixels from 0 to 1", images, still),
        ]

    def _case(self, worker: Worker, name: str, images: Array, augmentation: Augmentation) -> dict[str, Any]:
        drawn = augmentation.draw(self.practice.seed, 0, len(images), *images.shape[1:3])
        found = worker.call("practice_augment", images=images, drawn=drawn, warps=augmentation.warps)
        exact, bounds = augment.reference(images, drawn, augmentation.warps)
        error, bound = np.abs(found.astype(np.float64) - exact), bounds[self.framework]
        identical = None
        if not augmentation.warps:  # nothing is interpolated: one right float32 value
            scaled = images if images.dtype == np.float32 else images.astype(np.float32) / np.float32(255.0)
            flipped = [image[:, ::-1] if flip else image for image, flip in zip(scaled, drawn["flip"], strict=True)]
            identical = bool(np.array_equal(found, np.stack(flipped)))
        outside = int((~(error <= bound)).sum())
        return {
            "framework": self.framework,
            "case": name,
            "images": len(images),
            "pixels": int(found.size),
            "largest_error": float(error.max()),
            "largest_bound": float(bound.max()),
            "worst_share": float((error / np.maximum(bound, np.finfo(np.float64).tiny)).max()),
            "moved": float(np.abs(exact - augment.unit(images)).mean()),
            "pixels_outside": outside,
            "identical": identical,
            "within": outside == 0 and (identical is not False or images.dtype == np.uint8),
        }

    def _loss(self, worker: Worker) -> dict[str, Any]:
        """Ask for the loss of one batch in which the classes are not as frequent as in the whole set."""
        labels = np.asarray([0, 1, 1, 1, 0, 1, 1, 1, 1], dtype=np.float32)
        logits = np.linspace(-3.0, 4.0, len(labels)).astype(np.float32)
        weights = [float(np.float32(weight)) for weight in rules.balanced_weights(np.asarray([0, 1, 1, 1, 1]))]
        found = worker.call("practice_loss", logits=logits, labels=labels, class_weights=weights)
        exact, bound = rules.weighted_loss(logits, labels, weights)
        mean_weight = float(np.mean([weights[int(label)] for label in labels]))
        return {"framework": self.framework, "exact": exact, "bound": bound, "mean_weight": mean_weight, **found}

    def _schedules(self, worker: Worker, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        start, own = self.practice.learning_rate, dict(self.practice.schedule)
        asked = [
            {"kind": "cosine", "end": start / 100},
            {"kind": "exponential", "factor": 0.9},
            *({**own, "kind": "plateau", "patience": patience, "end": start / 5} for patience in (1, 2, 3)),
        ]
        rows = []
        for schedule in asked:
            rates = worker.call(
                "practice_rates", schedule=schedule, learning_rate=start, epochs=len(LOSSES), losses=list(LOSSES)
            )
            rows.append(self._rates(_words(schedule), schedule, rates, LOSSES))
        losses = [row["val_loss"] for row in run["epochs"]]
        if len(losses) == self.practice.epochs or own["kind"] == "plateau":
            rates = [row["learning_rate"] for row in run["epochs"]]
            rows.append(self._rates(f"{_words(own)}, in the training itself", own, rates, losses))
        return rows

    def _rates(
        self, words: str, schedule: Mapping[str, Any], rates: Sequence[float], losses: Sequence[float]
    ) -> dict[str, Any]:
        start = self.practice.learning_rate
        exact = rules.learning_rates(schedule, start, len(rates), losses)
        bound = augment.gamma(len(rates) + 8) * start  # a rounding for each change, and those of a float32 cosine
        apart = [epoch for epoch, (a, b) in enumerate(zip(rates, exact, strict=True), 1) if not abs(a - b) <= bound]
        return {
            "framework": self.framework, "schedule": words, "rates": list(rates), "exact": exact,
            "first": apart[0] if apart else None, "within": not apart,
        }  # fmt: skip

    def _stopping(self, worker: Worker, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for patience in (1, 2, 3, 4, len(LOSSES)):
            rule = {**self.practice.stopping, "patience": patience}
            found = worker.call("practice_stopping", stopping=rule, losses=list(LOSSES))
            rows.append(self._stop(rule, "fed losses", LOSSES, found))
        own = [row["val_loss"] for row in run["epochs"]]
        return [*rows, self._stop(dict(self.practice.stopping), "the training itself", own, run)]

    def _stop(
        self, rule: Mapping[str, Any], fed: str, losses: Sequence[float], found: Mapping[str, Any]
    ) -> dict[str, Any]:
        expected = rules.stopping(losses, rule["patience"], rule["min_delta"])
        seen = [found["stopped_epoch"], found["best_epoch"]]
        return {
            "framework": self.framework, "patience": rule["patience"], "fed": fed, "found": seen,
            "expected": list(expected),
        }  # fmt: skip


@contextlib.contextmanager
def _watched(folder: Path, epochs: int, doing: str, say: Progress | None) -> Iterator[None]:
    """Tell `say` of each step that the worker notes, as a bar that is as wide as the whole training."""
    if say is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        last = ""
        while not over.wait(PROGRESS_S):
            line = _bar(folder / "progress.jsonl", epochs)
            if line and line != last:
                say(f"{doing}: {line}")
                last = line

    thread = threading.Thread(target=watch, daemon=True)
    (folder / "progress.jsonl").unlink(missing_ok=True)  # what an interrupted run said there is over
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _bar(file: Path, epochs: int, width: int = 24) -> str | None:
    """Return the last noted step as a bar; None before the first one, or while a line is being written."""
    try:
        last = json.loads(file.read_text().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    done = (last["epoch"] - 1 + last["step"] / last["steps"]) / epochs
    filled = round(width * done)
    step = f"epoch {last['epoch']}/{epochs}, step {last['step']}/{last['steps']}"
    return f"[{'#' * filled}{'.' * (width - filled)}] {step}"


def _pixels(file: str, height: int, width: int, channels: int) -> Array:
    """Return one file as uint8 (h, w, c), as Pillow reads and stretches it."""
    with Image.open(file) as image:
        small = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.uint8).reshape(height, width, channels)


def _apart(a: tuple[Mapping[str, Any], dict[str, Array]], b: tuple[Mapping[str, Any], dict[str, Array]]) -> list[str]:
    """Return what differs of two trainings: names of arrays, and the learning curve."""
    return differing(a[1], b[1]) + ([] if _rows(a[0]) == _rows(b[0]) else ["learning curve"])


def _rows(run: Mapping[str, Any]) -> list[tuple[float, ...]]:
    return [(row["epoch"], row["loss"], row["val_loss"], row["learning_rate"]) for row in run["epochs"]]


def _same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _words(schedule: Mapping[str, Any]) -> str:
    return f"{schedule['kind']}, patience {schedule['patience']}" if "patience" in schedule else str(schedule["kind"])


def _listed(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
