"""How fast images arrive, against how fast a training step eats them: decode, decode and resize, supply.

Pixels are proven first: every source's images are held against Pillow's, and one that drops or changes an image
supplies nothing. Files are read once before they are timed, so that the disk is no part of any figure.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parity.bench.analysis import refused
from parity.bench.lanes import ALLOCATOR, thread_environment
from parity.data.prepared import Prepared
from parity.errors import ParityError, UsageError
from parity.workers.client import Worker, WorkerOptions

Array = NDArray[Any]
FRAMEWORKS = ("tensorflow", "torch")
SPLIT = "train"
STAGES = ("decode", "resize")
REFERENCE = "Pillow"
ROUNDING_LEVELS = 2
"""Grey levels of 255 by which two correct antialiased resizes may differ: a stretch has two passes, each rounded."""

EXIF_ORIENTATION = 0x0112
WHY_ROUNDED = {
    "tf.data": "rounding: TensorFlow stretches in float32 and rounds once, Pillow after each of its two passes",
    "DataLoader": "rounding: torchvision's weights for uint8 images are of another fixed-point precision than Pillow's",
}


@dataclass(frozen=True)
class Amount:
    """How much is measured: images that are proven and timed, repetitions, and about how long each one takes."""

    images: int = 48
    repeats: int = 2
    repeat_s: float = 0.3


AMOUNTS: Mapping[str, Amount] = {
    "smoke": Amount(images=16, repeats=1, repeat_s=0.1),
    "standard": Amount(),
    "full": Amount(images=256, repeats=5, repeat_s=2.0),
}


@dataclass(frozen=True)
class Task:
    """What is supplied: files with their rows in the prepared cache, at the model's (height, width, channels)."""

    files: tuple[str, ...]
    rows: tuple[int, ...]
    left_out: int
    prepared: Prepared
    batch: int
    workers: int
    amount: Amount

    @property
    def size(self) -> list[int]:
        """Height, width and channels of the model's input."""
        return [self.prepared.height, self.prepared.width, self.prepared.channels]


def choose(prepared: Prepared, base: Path, batch: int, workers: int, amount: Amount) -> Task:
    """Return the task: the wanted number of JPEG files, spread over the training split.

    `base`: the folder that holds the splits. Left out, and counted, are files that tf.data's and torchvision's JPEG
    decoders do not read as Pillow does: other formats, CMYK, and films that EXIF turns.

    Raises
        UsageError: no file of the split can be used.
    """
    names = prepared.files(SPLIT)
    order = np.linspace(0, len(names) - 1, min(amount.images, len(names))).astype(int)
    found = [(str(base / names[row]), int(row)) for row in order]
    usable = [(file, row) for file, row in found if _plain_jpeg(file)]
    if not usable:
        raise UsageError("no upright grey or RGB JPEG among the images: the supply of files cannot be compared")
    files, rows = zip(*usable, strict=True)
    return Task(files, rows, len(found) - len(usable), prepared, batch, max(1, workers), amount)


def measure(
    task: Task,
    demand: Sequence[Mapping[str, Any]],
    pythons: Mapping[str, str | None] | None = None,
    opened: Mapping[str, Worker] | None = None,
) -> dict[str, Any]:
    """Measure every source of both frameworks on the host and return the record's `supply` section.

    `demand`: rows of `demand_of`. `pythons`: interpreters by framework; only they are measured. `opened`: workers
    by framework to use in place of fresh ones; they stay open. What goes wrong with one source is a line in `problems`,
    and the others are measured all the same.
    """
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    pixels: dict[str, Array] = {}
    decoded: dict[str, list[Array]] = {REFERENCE: [_reference(file) for file in task.files]}
    zero_copy: dict[str, bool | None] = {}
    for framework in opened or pythons or FRAMEWORKS:
        worker = opened[framework] if opened else _worker(framework, (pythons or {}).get(framework))
        try:
            measured = _Measured(worker, task, rows, problems, pixels, decoded)
            for source in measured.asked(framework, "supply_sources") or []:
                measured.from_files(source)
            zero_copy[framework] = measured.from_cache(framework)
        finally:
            if not opened:
                worker.close()
    compared = _decodes(decoded) + _deliveries(pixels, np.asarray(task.prepared.images(SPLIT)[list(task.rows)]))
    problems += [row["note"] for row in compared if row["verdict"] == "different"]
    _mark_usable(rows, compared)
    return {
        "rows": rows,
        "pixels": compared,
        "demand": [dict(row) for row in demand],
        "crossover": crossover(rows, demand),
        "cache": {"zero_copy": zero_copy},
        "images": len(task.files),
        "left_out": task.left_out,
        "problems": problems,
        "where": "on the host, files and cache in the page cache; copying to a device is not included",
    }


def demand_of(samples: Sequence[Mapping[str, Any]], image: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Return how many images per second each timed training lane eats at its median step, per batch size.

    `image`: (height, width, channels) of the images that are supplied; steps on others are no demand for them. Nor is
    a lane with a step below its physical limit.
    """
    found: dict[tuple[str, str, int], list[float]] = {}
    impossible = {row["lane"] for row in refused(samples)}
    for sample in samples:
        size = tuple(sample[name] for name in ("height", "width", "channels"))
        if sample["work"] == "train" and size == image and sample["lane"] not in impossible:
            found.setdefault((sample["lane"], "train", sample["batch"]), []).extend(sample["seconds"])
    return [
        {"lane": lane, "work": work, "batch": batch, "images_per_s": batch / statistics.median(seconds)}
        for (lane, work, batch), seconds in found.items()
    ]


def crossover(rows: Sequence[Mapping[str, Any]], demand: Sequence[Mapping[str, Any]]) -> str:
    """Return one or two sentences: what supplies enough for the hungriest lane, and how many cores it would take.

    A number of cores above those measured is an extrapolation, and said to be one.
    """
    supplies = [row for row in rows if row["stage"] == "supply" and row.get("usable", True)]
    files = [row for row in supplies if not row["source"].startswith("cache-")]
    cached = [row for row in supplies if row["source"].startswith("cache-") and row.get("order") == "shuffled"]
    if not demand:
        return "No training lane was timed, so that there is no demand to hold the supply against."
    hungriest = max(demand, key=lambda row: float(row["images_per_s"]))
    wanted = float(hungriest["images_per_s"])
    asks = f"{hungriest['lane']} asks for {wanted:,.0f} images/s"
    return " ".join([_from_files(files, wanted, asks), _from_cache(cached, wanted)]).strip()


class _Measured:
    """One worker, and where its figures go."""

    def __init__(
        self,
        worker: Worker,
        task: Task,
        rows: list[dict[str, Any]],
        problems: list[str],
        pixels: dict[str, Array],
        decoded: dict[str, list[Array]],
    ) -> None:
        self.worker, self.task = worker, task
        self.rows, self.problems, self.pixels, self.decoded = rows, problems, pixels, decoded

    def asked(self, what: str, method: str, **given: Any) -> Any:
        """Return what the worker answers; None, and a line in the problems, when it fails or dies."""
        try:
            return self.worker.call(method, **given)
        except ParityError as error:
            self.problems.append(f"{what}: {_in_one_line(error)}")
            return None

    def from_files(self, source: str) -> None:
        """Prove one source's pixels, then time its stages and its supply."""
        task, files = self.task, list(self.task.files)
        images = self.asked(source, "decode_images", source=source, files=files)
        if images is None:
            return
        self.decoded[source] = images
        per_s = math.inf
        for stage in STAGES:
            given = {"source": source, "stage": stage, "files": files, "size": task.size}
            seconds = [self.asked(source, "stage_seconds", **given) for _ in range(task.amount.repeats + 1)]
            if None in seconds:
                return
            per_s = len(files) / min(seconds)
            self._row(source, stage, 0, [len(files) / value for value in seconds[1:]])
        for workers in (0, task.workers):
            self._supply(source, workers, times=_times(per_s * max(1, workers), len(files), task.amount))

    def _supply(self, source: str, workers: int, times: int) -> None:
        task, files = self.task, list(self.task.files)
        given = {"source": source, "size": task.size, "batch": task.batch, "workers": workers}
        kept = self.asked(source, "supply_epochs", files=files, epochs=0, keep=True, **given)
        if kept is None or not self._complete(f"{source} with {workers} workers", kept["ids"], range(len(files))):
            return
        in_order = kept["pixels"][np.argsort(kept["ids"], kind="stable")]
        if not np.array_equal(self.pixels.setdefault(source, in_order), in_order):
            self.problems.append(f"{source} delivers other pixels with {workers} workers than without")
            return
        found = self.asked(source, "supply_epochs", files=files * times, epochs=task.amount.repeats, **given)
        if found and self._complete(source, found["ids"], range(len(files) * times)):
            self._row(source, "supply", workers, [len(files) * times / value for value in found["seconds"]])

    def from_cache(self, framework: str) -> bool | None:
        """Time the prepared cache, in file order and shuffled; return whether the framework maps it without a copy."""
        task, source = self.task, f"cache-{framework}"
        place = {"folder": str(task.prepared.folder), "split": SPLIT, "batch": task.batch}
        shared = self.asked(source, "cache_shares_memory", folder=place["folder"], split=SPLIT)
        count = len(task.prepared.labels(SPLIT))
        kept = self.asked(source, "cache_epochs", rows=np.array(task.rows), epochs=0, keep=True, **place)
        if kept is None or not self._complete(source, kept["ids"], task.rows):
            return None if shared is None else bool(shared)
        self.pixels[source] = kept["pixels"]
        shuffled = np.random.default_rng(0).permutation(count)
        for order, rows in (("in order", None), ("shuffled", shuffled)):
            found = self.asked(source, "cache_epochs", rows=rows, epochs=5 * task.amount.repeats, **place)
            if found:
                self._row(source, "supply", 0, [count / value for value in found["seconds"]], order=order, images=count)
        return None if shared is None else bool(shared)

    def _row(self, source: str, stage: str, workers: int, images_per_s: list[float], **more: Any) -> None:
        row = {"source": source, "stage": stage, "workers": workers, "images_per_s": images_per_s}
        self.rows.append({**row, "images": len(self.task.files), **more})

    def _complete(self, what: str, delivered: Iterable[int], wanted: Iterable[int]) -> bool:
        missing, extra = _difference(delivered, wanted)
        if missing or extra:
            self.problems.append(f"{what}: {missing} images never arrived and {extra} came too often")
        return not (missing or extra)


def _in_one_line(error: Exception) -> str:
    """Return the first and the last line of a message: what failed, and what a traceback within it ends with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if len(lines) < 2 else f"{lines[0]} ... {lines[-1]}"


def _worker(adapter: str, python: str | None) -> Worker:
    """Start a worker whose consumer has one thread, so that `workers` alone says how many cores prepare images."""
    environment = {**ALLOCATOR, **thread_environment(1)}
    return Worker(WorkerOptions(adapter, python=python, device="cpu", threads=1, environment=environment))


def _times(per_s: float, files: int, amount: Amount) -> int:
    """How often the list of files is repeated within an epoch, so that starting the pipeline does not count."""
    return max(1, math.ceil(per_s * amount.repeat_s / files))


def _difference(delivered: Iterable[int], wanted: Iterable[int]) -> tuple[int, int]:
    """Return how many wanted numbers are missing, and how many were delivered too often."""
    got, due = Counter(delivered), Counter(wanted)
    return (due - got).total(), (got - due).total()


def _plain_jpeg(file: str) -> bool:
    try:
        with Image.open(file) as image:
            upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
            return image.format == "JPEG" and image.mode in ("L", "RGB") and upright
    except OSError:
        return False


def _reference(file: str) -> Array:
    """Return the file as Pillow decodes it: uint8 (h, w, c)."""
    with Image.open(file) as image:
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decodes(decoded: Mapping[str, list[Array]]) -> list[dict[str, Any]]:
    """Compare every source's decoded files with Pillow's: here any difference is another decoder."""
    found = []
    for source in [name for name in decoded if name != REFERENCE]:
        pairs = list(zip(decoded[REFERENCE], decoded[source], strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            wrong = sum(a.shape != b.shape for a, b in pairs)
            row = _pixels(REFERENCE, source, "decode", None, 0)
            row["note"] = f"{source} decodes {wrong} of {len(pairs)} files into other shapes than {REFERENCE}"
        else:
            row = _pixels(REFERENCE, source, "decode", max(_largest(a, b) for a, b in pairs), allowed=0)
        found.append(row)
    return found


def _deliveries(pixels: Mapping[str, Array], canonical: Array) -> list[dict[str, Any]]:
    """Compare the batches that arrive with the canonical images, and the sources that read files with each other."""
    found = []
    for source, delivered in pixels.items():
        allowed = 0 if source.startswith("cache-") or source == "DataLoader-Pillow" else ROUNDING_LEVELS
        found.append(_delivery("canonical", source, canonical, delivered, allowed))
    files = [source for source in pixels if not source.startswith("cache-")]
    for number, a in enumerate(files):
        for b in files[number + 1 :]:
            # Each may round by that much, to either side.
            found.append(_delivery(a, b, pixels[a], pixels[b], 2 * ROUNDING_LEVELS))
    return found


def _delivery(a: str, b: str, left: Array, right: Array, allowed: int) -> dict[str, Any]:
    return _pixels(a, b, "supply", _largest(left, right) if left.shape == right.shape else None, allowed)


def _largest(a: Array, b: Array) -> int:
    return int(np.abs(a.astype(np.int16) - b.astype(np.int16)).max())


def _pixels(a: str, b: str, stage: str, largest: int | None, allowed: int) -> dict[str, Any]:
    """Return one comparison. Only sources that are `identical` may stand in one ratio."""
    if largest is None:
        verdict, note = "different", f"{b} gives images of another shape than {a}"
    elif largest == 0:
        verdict, note = "identical", ""
    elif largest <= allowed:
        verdict = "rounding"
        note = "; ".join(WHY_ROUNDED[name] for name in (a, b) if name in WHY_ROUNDED)
    else:
        verdict = "different"
        note = f"{b} gives other pixels than {a} ({stage}): up to {largest} of 255, where {allowed} are explained"
    return {
        "a": a,
        "b": b,
        "stage": stage,
        "identical": verdict == "identical",
        "largest_difference": largest,
        "verdict": verdict,
        "note": note,
    }


def _mark_usable(rows: Iterable[dict[str, Any]], compared: Iterable[Mapping[str, Any]]) -> None:
    wrong = {row["b"] for row in compared if row["verdict"] == "different" and row["a"] in (REFERENCE, "canonical")}
    for row in rows:
        row["usable"] = row["source"] not in wrong


def _from_files(files: Sequence[Mapping[str, Any]], wanted: float, asks: str) -> str:
    if not files:
        return f"No way of reading files was measured; {asks}."
    best = max(files, key=_rate)
    rate, cores = _rate(best), max(1, int(best["workers"]))
    said = f"{best['source']} supplies {rate:,.0f} images/s from files with {_count(cores, 'core')}"
    if rate >= wanted:
        enough = min((row for row in files if _rate(row) >= wanted), key=lambda row: (int(row["workers"]), -_rate(row)))
        fewest = _count(max(1, int(enough["workers"])), "core")
        return f"{said}, which is enough: {asks}, which {enough['source']} meets with {fewest}."
    needed = math.ceil(wanted / (rate / cores))
    return f"{said}, and {asks}: that would take about {needed:,} cores, if more of them scaled as these do."


def _from_cache(cached: Sequence[Mapping[str, Any]], wanted: float) -> str:
    if not cached:
        return ""
    slowest = min(cached, key=_rate)
    rate = _rate(slowest)
    said = f"The prepared cache supplies {rate:,.0f} images/s in the slower framework"
    if rate >= wanted:
        return f"{said}, {rate / wanted:,.1f} times the demand: images prepared once are never waited for."
    return f"{said}, {rate / wanted:.0%} of the demand: even prepared images are waited for."


def _rate(row: Mapping[str, Any]) -> float:
    return float(statistics.median(row["images_per_s"]))


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
