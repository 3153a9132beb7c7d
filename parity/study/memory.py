"""Load everything or stream: how peak memory grows with the number of images, in both frameworks, and where it ends.

One fresh process for each framework, way and number of images, so that no figure holds what another one left behind.
The network is a narrow one: what is measured is how images are fed, and its own memory is part of the constant term.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil
import scipy.stats
from numpy.typing import NDArray

from parity.errors import ParityError, UsageError
from parity.model.spec import ModelSpec, example_cnn
from parity.study.arms import FRAMEWORKS
from parity.workers.client import Worker, WorkerOptions

WAYS = ("load", "stream")
FLOAT_BYTES = 4
CONFIDENCE = 0.95

NOTEBOOK_BYTES = 12_700_000_000
"""What a free notebook kernel of Google Colab shows as its memory, 12.7 GB, taken as decimal."""

PEOPLES_SIZES = ((150, 150, 1), (224, 224, 3))
"""Image sizes at which the limits are worked out: the published notebooks' own, and that of pretrained networks."""

RADIOGRAPHS = 5856
"""Images of the published data set."""

BOUNDED, GROWS, UNDECIDED = "bounded", "grows with the data", "undecided"

Array = NDArray[Any]


@dataclass(frozen=True)
class Amount:
    """How much is measured: numbers of images at each (height, width, channels), batch, loaders of a stream.

    `filters` and `hidden`: of the network.
    """

    counts: tuple[int, ...]
    sizes: tuple[tuple[int, int, int], ...] = ((224, 224, 3),)
    batch: int = 16
    loaders: int = 1
    filters: int = 4
    hidden: int = 16

    def spec(self, size: Sequence[int]) -> ModelSpec:
        """Return the network that is trained at a size."""
        height, width, channels = size
        return example_cnn(height, width, channels, filters=self.filters, hidden=self.hidden)


AMOUNTS: Mapping[str, Amount] = {
    "smoke": Amount((64, 256)),
    "standard": Amount((64, 384)),
    "full": Amount((64, 256, 448, 640, 832), PEOPLES_SIZES),
}
"""The fewest images are more than a streaming way holds ahead of the training; beyond that it must not grow.

Starting the processes is what takes the time, so that a default run has two points to a line, and no interval.
"""


@dataclass(frozen=True)
class Files:
    """The image files that are fed, with their labels; where more images are asked for, they come round again."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]

    def first(self, count: int) -> tuple[list[str], Array]:
        """Return `count` files and float32 labels (count,)."""
        rows = [number % len(self.paths) for number in range(count)]
        return [self.paths[row] for row in rows], np.asarray([self.labels[row] for row in rows], np.float32)


def measure(
    files: Files,
    amount: Amount,
    *,
    adapters: Mapping[str, str] | None = None,
    pythons: Mapping[str, str] | None = None,
    parallel: int = 1,
) -> dict[str, Any]:
    """Measure every framework, way, size and number of images, and return the record's section `memory_ways`.

    `adapters`: framework -> adapter where it is not the usual one; only those are measured. `pythons`: interpreters.
    `parallel`: processes at a time; none of the figures is a time. A process that failed is a row with `error`.

    Raises
        UsageError: no files.
    """
    if not files.paths:
        raise UsageError("there is no image file to measure the memory of feeding it")
    chosen = {framework: framework for framework in FRAMEWORKS} if adapters is None else dict(adapters)
    tasks = [
        (framework, way, size, count)
        for size in amount.sizes
        for count in amount.counts
        for framework in chosen
        for way in WAYS
    ]

    def one(task: tuple[str, str, tuple[int, int, int], int]) -> dict[str, Any]:
        framework, way, size, count = task
        options = WorkerOptions(chosen[framework], python=(pythons or {}).get(framework), threads=1, whole_import=True)
        return measure_one(options, framework, way, files, amount, size, count)

    with ThreadPoolExecutor(max(1, parallel), thread_name_prefix="parity-memory") as pool:
        rows = list(pool.map(one, tasks))
    fits = [_fit_row(found) for found in _groups(rows)]
    return {
        "rows": rows,
        "fits": fits,
        "limits": [row for fit in fits for row in limit_rows(fit, _unmeasured(fit, fits))],
        "files": len(files.paths),
        "amount": asdict(amount),
        "problems": problems(rows, fits),
    }


def measure_one(
    options: WorkerOptions,
    framework: str,
    way: str,
    files: Files,
    amount: Amount,
    size: tuple[int, int, int],
    count: int,
    allowance_bytes: int | None = None,
) -> dict[str, Any]:
    """Return one row, from a process of its own; `allowance_bytes` is what its data may grow by, None without limit.

    `import_bytes`: memory of its own that the process had when the framework was imported; `import_peak_bytes` with
    mapped files. `peak_bytes`: most memory of its own, with that of its loader processes; mapped files are left out,
    since the kernel takes them back instead of ending a process. `floor_bytes`: the images once, as float32.
    """
    floor_bytes = count * image_bytes(size)
    row = {"framework": framework, "way": way, "size": list(size), "images": count, "floor_bytes": floor_bytes}
    paths, labels = files.first(count)
    try:
        with Worker(options) as worker:
            imported = worker.call("memory_held")
            worker.call("build", spec=amount.spec(size).to_dict(), seed=0)
            worker.call("start_training", learning_rate=1e-3, epsilon=1e-7)
            found = worker.call(
                "memory_epoch",
                way=way,
                files=paths,
                labels=labels,
                size=list(size),
                batch=amount.batch,
                loaders=amount.loaders if way == "stream" else 0,
                allowance_bytes=allowance_bytes,
            )
    except ParityError as error:
        return {**row, "error": str(error).partition("\n")[0]}
    delivered = found.pop("delivered")
    return {
        **row,
        **found,
        "delivered": len(delivered),
        "each_once": sorted(delivered) == list(range(count)),
        "import_peak_bytes": imported["peak_bytes"],
        "import_bytes": imported["anonymous_bytes"],
        "peak_bytes": found["own_peak_bytes"] + found["children_peak_bytes"],
    }


def image_bytes(size: Sequence[int]) -> int:
    """Return the bytes of one image (height, width, channels) as float32."""
    return math.prod(size) * FLOAT_BYTES


def fit_line(x: Sequence[float], y: Sequence[float], confidence: float = CONFIDENCE) -> dict[str, float | None]:
    """Return `slope`, its interval `low` to `high`, `intercept`, and the means of both, by least squares.

    The interval is Student's with n - 2 degrees of freedom; None with two points, which any line fits.

    Raises
        UsageError: fewer than two different x.
    """
    if len(set(x)) < 2:
        raise UsageError("a line needs at least two different numbers of images")
    found = scipy.stats.linregress(x, y)
    half = None
    if len(x) > 2:
        half = float(scipy.stats.t.ppf(0.5 + confidence / 2, len(x) - 2)) * float(found.stderr)
    slope = float(found.slope)
    return {
        "slope": slope,
        "low": None if half is None else slope - half,
        "high": None if half is None else slope + half,
        "intercept": float(found.intercept),
        "mean_x": float(np.mean(x)),
        "mean_y": float(np.mean(y)),
    }


def judged(copies: float, low: float | None, high: float | None) -> str:
    """Return whether memory grows with the data: `copies` of each image are held, between `low` and `high`.

    `bounded`: surely less than one copy, and as far as measured nearer to none. `grows with the data`: surely more than
    half a copy, since whoever holds the data set holds it at least once.
    """
    low, high = (copies if low is None else low), (copies if high is None else high)
    if high < 1.0 and copies < 0.5:
        return BOUNDED
    return GROWS if low > 0.5 else UNDECIDED


def limit_rows(
    fit: Mapping[str, Any], other_sizes: Sequence[tuple[int, int, int]] = PEOPLES_SIZES
) -> list[dict[str, Any]]:
    """Return at how many images a way that grows exceeds a notebook's memory and this machine's; nothing is filled.

    The line is followed far beyond what was measured; at another image size with as many copies of larger or smaller
    images. `images_low` and `images_high` come from the interval of the slope; `radiographs_bytes` is what all of the
    published data set would take.
    """
    if fit["decision"] != GROWS:
        return []
    limits = (("a free notebook kernel", NOTEBOOK_BYTES), ("this machine", int(psutil.virtual_memory().total)))
    sizes = dict.fromkeys([tuple(fit["size"]), *other_sizes])
    head = {name: fit[name] for name in ("framework", "way")}
    return [
        {**head, "measured_at": fit["size"], "size": list(size), "limit": name, "limit_bytes": limit,
         "radiographs_bytes": _bytes_at(fit, image_bytes(size), RADIOGRAPHS),
         **_images_at(fit, image_bytes(size), limit)}
        for size in sizes for name, limit in limits
    ]  # fmt: skip


def problems(rows: Iterable[Mapping[str, Any]], fits: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line for each thing that cannot be right: failures, images left out or twice, other pixels, growth."""
    found, sums = [], dict[tuple[Any, ...], dict[str, float]]()
    for row in rows:
        name = f"{row['framework']}, {row['way']}, {row['images']} images"
        if "error" in row:
            found.append(f"{name}: {row['error']}")
            continue
        if not row["each_once"]:
            found.append(f"{name}: {row['delivered']} images were delivered, not each of them once")
        sums.setdefault((row["framework"], *row["size"], row["images"]), {})[row["way"]] = row["pixel_sum"]
    for (framework, *_, images), ways in sums.items():
        if len(ways) == len(WAYS) and not math.isclose(ways["load"], ways["stream"], rel_tol=1e-9):
            found.append(f"{framework}, {images} images: the two ways deliver other pixels")
    for fit in fits:
        held = f"{fit['framework']}, {fit['way']}: {fit['copies']:.2f} copies of each image are held"
        if fit["way"] == "stream" and fit["decision"] == GROWS:
            found.append(f"{held}, so that it does not stream")
        if fit["way"] == "load" and fit["decision"] == BOUNDED:
            found.append(f"{held}, so that it does not load the data set")
    return found


def _groups(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the rows that make a line, those of one framework, way and size, where there are enough of them."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if "error" not in row:
            found.setdefault((row["framework"], row["way"], *row["size"]), []).append(row)
    return [group for group in found.values() if len({row["images"] for row in group}) > 1]


def _fit_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fit what a process held above its framework's import by images."""
    line = fit_line([row["images"] for row in rows], [row["peak_bytes"] - row["import_bytes"] for row in rows])
    one = image_bytes(rows[0]["size"])
    copies = [None if line[name] is None else line[name] / one for name in ("slope", "low", "high")]  # type: ignore[operator]
    return {
        **{name: rows[0][name] for name in ("framework", "way", "size")},
        "points": len(rows),
        "images": [row["images"] for row in rows],
        "import_bytes": float(np.mean([row["import_bytes"] for row in rows])),
        "image_bytes": one,
        **line,
        **dict(zip(("copies", "copies_low", "copies_high"), copies, strict=True)),
        "decision": judged(copies[0], *copies[1:]),  # type: ignore[arg-type]
    }


def _unmeasured(fit: Mapping[str, Any], fits: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, int]]:
    """Return the sizes that nobody measured, for the line at the largest size that was: its slope is the surest."""
    measured = {tuple(other["size"]) for other in fits}
    largest = max(image_bytes(size) for size in measured)
    return [size for size in PEOPLES_SIZES if size not in measured] if fit["image_bytes"] == largest else []


def _bytes_at(fit: Mapping[str, Any], one_bytes: int, images: int) -> float:
    return float(fit["import_bytes"] + fit["intercept"] + fit["slope"] * one_bytes / fit["image_bytes"] * images)


def _images_at(fit: Mapping[str, Any], one_bytes: int, limit_bytes: int) -> dict[str, int | None]:
    """Return where the line through the middle of the points reaches the limit, at its slope and at both ends of it."""
    scale, middle = one_bytes / fit["image_bytes"], float(fit["mean_x"])
    left_bytes = limit_bytes - float(fit["import_bytes"] + fit["intercept"]) - fit["slope"] * scale * middle

    def images(slope: float | None) -> int | None:
        return None if slope is None or slope <= 0 else max(0, math.floor(middle + left_bytes / (slope * scale)))

    return {"images": images(fit["slope"]), "images_low": images(fit["high"]), "images_high": images(fit["low"])}
