"""The embedded data set: drawn chest films, so that everything runs without a download.

The films are drawings, not simulations: figures measured on them say nothing about pneumonia. They are made
so that the two classes differ by soft shadows inside the lungs, not by mean brightness, size or pose.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parity.data.kaggle import CLASSES
from parity.data.paths import cache_root

NAME = "synthetic"
SIZE = 160
SET_SIZES = {"train": (100, 140), "val": (12, 12), "test": (40, 40)}
"""Films per split: (NORMAL, PNEUMONIA)."""

MANIFEST_COLUMNS = ("path", "sha256", "bytes", "width", "height", "mode")

FOLDER = "chest_xray_synthetic"
_JPEG_QUALITY = 80
_RGB_EVERY = 29  # a few colour files, as 283 of the 5,856 real ones are
_SECOND_FILM = 0.4  # share of patients with two films
_SET_SEED = 20180222

_Plane = NDArray[np.float64]


# --- one film -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Anatomy:
    """What belongs to a patient and is the same in all of his films; lengths in half image widths."""

    chest_width: float
    lung_width: float
    lung_top: float
    lung_base: float
    heart_x: float
    heart_y: float
    heart_width: float
    heart_height: float
    ribs: int
    rib_slope: float
    rib_contrast: float
    fat: float
    gas: float


def draw(seed: int, label: int, size: int = SIZE, film: int = 0) -> NDArray[np.uint8]:
    """Draw one film: uint8 grey (size, size), bright where much tissue lies in the beam.

    `seed` names the patient, `film` one of his films (other pose, exposure and grain). Label 1 (PNEUMONIA)
    adds a haze of varying strength and one to three soft consolidations inside the lungs. The mean grey
    value is drawn independently of the label. The same arguments give the same film with any NumPy: the
    stream of its legacy generator is frozen (NEP 19).
    """
    patient = np.random.RandomState(seed)
    anatomy = _draw_anatomy(patient)
    disease = patient.randint(0, 2**31 - 1)
    view = np.random.RandomState([seed % 2**32, film, 7])
    x, y = _posed_grid(view, size)
    lungs = _lung_fields(anatomy, x, y)  # (size, size), 0 outside to 1 inside
    image = _soft_tissue(anatomy, view, x, y, lungs)
    if label == 1:
        image = _consolidate(np.random.RandomState(disease), image, lungs, x, y)
    image = image + _bones(anatomy, x, y, lungs)
    image = _expose(view, image, size)
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _draw_anatomy(r: np.random.RandomState) -> _Anatomy:
    return _Anatomy(
        chest_width=r.uniform(0.74, 0.84),
        lung_width=r.uniform(0.27, 0.32),
        lung_top=r.uniform(-0.74, -0.66),
        lung_base=r.uniform(0.40, 0.58),
        heart_x=r.uniform(0.08, 0.14),
        heart_y=r.uniform(0.26, 0.34),
        heart_width=r.uniform(0.27, 0.36),
        heart_height=r.uniform(0.36, 0.46),
        ribs=int(r.randint(8, 11)),
        rib_slope=r.uniform(0.16, 0.30),
        rib_contrast=r.uniform(0.05, 0.10),
        fat=r.uniform(0.0, 0.10),
        gas=r.uniform(-0.6, 1.0),
    )


def _posed_grid(r: np.random.RandomState, size: int) -> tuple[_Plane, _Plane]:
    """Patient coordinates of every pixel: x to the right, y down, the film's edge near 1."""
    axis = (np.arange(size) + 0.5) / size * 2.0 - 1.0
    y, x = np.meshgrid(axis, axis, indexing="ij")
    angle, scale = np.deg2rad(r.normal(0.0, 2.5)), r.uniform(0.90, 1.14)
    dx, dy = r.normal(0.0, 0.045), r.normal(0.0, 0.055)
    across = (np.cos(angle) * x + np.sin(angle) * y) / scale - dx
    down = (np.cos(angle) * y - np.sin(angle) * x) / scale - dy
    return across, down


def _step(distance: _Plane, softness: float) -> _Plane:
    """Smooth 0 -> 1 where `distance` passes zero."""
    return 1.0 / (1.0 + np.exp(-np.clip(distance / softness, -40.0, 40.0)))


def _bump(distance: _Plane, width: float | _Plane) -> _Plane:
    return np.exp(-0.5 * (distance / width) ** 2)


def _chest_edge(a: _Anatomy, y: _Plane) -> _Plane:
    """Half width of the bony chest at height y: narrow at the shoulders, widest above the diaphragm."""
    return (a.chest_width - 0.10) * (0.60 + 0.40 * _step(y + 0.50, 0.17)) + 0.04 * (y + 0.2)


def _heart(a: _Anatomy, x: _Plane, y: _Plane) -> _Plane:
    """Positive inside: an egg that leans to the film's right and rests on the diaphragm, with the aorta on top."""
    down = (y - a.heart_y) / a.heart_height
    across = (x - a.heart_x - 0.22 * (y - a.heart_y)) / (a.heart_width * (0.80 + 0.22 * np.tanh(1.5 * down)))
    aorta = 0.7 - ((x - 0.09) / 0.10) ** 2 - ((y + 0.26) / 0.12) ** 2
    return np.maximum(1.0 - across**2 - down**2, aorta)


def _lung_fields(a: _Anatomy, x: _Plane, y: _Plane) -> _Plane:
    outer = _chest_edge(a, y) - 0.05
    inner = 0.13 + 0.05 * _step(y - 0.1, 0.1)
    middle, half = (outer + inner) / 2.0, (outer - inner) / 2.0
    across = (np.abs(x) - middle) / half
    # The dome of the diaphragm is higher in the middle, and the liver pushes the film's left one up.
    base = a.lung_base - 0.08 * np.where(x < 0, 1.0, 0.3) + 0.13 * across**2
    top = a.lung_top + 0.30 * np.abs(across + 0.15) ** 2.5
    fields = _step(1.0 - np.abs(across), 0.09) * _step(y - top, 0.022) * _step(base - y, 0.014)
    return fields * (1.0 - 0.92 * _step(_heart(a, x, y), 0.08))


def _soft_tissue(a: _Anatomy, r: np.random.RandomState, x: _Plane, y: _Plane, lungs: _Plane) -> _Plane:
    size = x.shape[0]
    shoulders = 0.30 * _step(-0.42 - y, 0.06)
    trunk = _step(a.chest_width + a.fat * 0.6 + shoulders - 0.10 * _bump(y + 0.30, 0.16) - np.abs(x), 0.022)
    neck = _step(0.23 + 0.9 * _step(y + 0.86, 0.05) - np.abs(x), 0.03)
    body = trunk * neck * (0.50 + 0.06 * y + 0.10 * np.clip(1.0 - (x / a.chest_width) ** 2, 0.0, 1.0))
    belly = 0.14 * _step(y - a.lung_base - 0.02, 0.06) * trunk
    middle = 0.13 * _bump(x, 0.12) * trunk * neck
    image = body + belly + middle + 0.05 * _step(_heart(a, x, y), 0.16)
    image = image - 0.12 * _bump(x - 0.01, 0.035) * _step(-0.30 - y, 0.05) * trunk  # windpipe
    image = image - 0.20 * max(a.gas, 0.0) * _step(
        1.0 - ((x - 0.38) / 0.17) ** 2 - ((y - a.lung_base - 0.14) / 0.075) ** 2, 0.12
    )
    air = r.uniform(0.68, 0.80)
    image = image * (1.0 - air * lungs)
    hila = sum(_bump(np.abs(x) - 0.21, 0.06) * _bump(y + 0.06 * s, 0.13) for s in (1.0, -1.0))
    image = image + r.uniform(0.03, 0.13) * hila * lungs
    vessels = np.clip(_cloud(r, size, 18) * 0.6 + _cloud(r, size, 34) * 0.4, -1.5, 2.5)
    fading = np.clip(1.25 - np.abs(np.abs(x) - 0.15) / 0.5, 0.2, 1.0)
    image = image + 0.028 * vessels * lungs * fading
    # Breast and muscle shadows: soft and inside the lungs too, but on both sides alike and in both classes.
    veil = _bump(np.abs(x) - 0.42, 0.17) * _bump(y - 0.28, 0.20) * lungs
    return image + r.uniform(0.0, 0.09) * veil + 0.018 * _cloud(r, size, 5) * body


def _bones(a: _Anatomy, x: _Plane, y: _Plane, lungs: _Plane) -> _Plane:
    edge = _chest_edge(a, y)
    out = np.abs(x) / edge
    cage = _step(1.0 - out, 0.03)
    bones = np.zeros_like(x)
    spacing = (a.lung_base + 0.28 - a.lung_top) / a.ribs
    for k in range(a.ribs):
        start = a.lung_top - 0.02 + spacing * k
        back = start - 0.05 * np.sin(np.pi * np.clip(out, 0.0, 1.0)) + a.rib_slope * out**2.2
        front = start + 0.30 - 0.26 * np.clip(out - 0.35, 0.0, 1.0)
        width = 0.020 + 0.004 * out
        rib = _bump(y - back, width) + 0.5 * (
            _bump(y - back + 1.3 * width, 0.008) + _bump(y - back - 1.3 * width, 0.008)
        )
        bones += a.rib_contrast * rib * cage * (0.35 + 0.65 * out) * _step(out - 0.10, 0.04)
        bones += 0.35 * a.rib_contrast * _bump(y - front, 0.024) * cage * _step(out - 0.45, 0.08)
    bones *= (0.30 + 0.70 * lungs) * _step(a.lung_base + 0.25 - y, 0.08)
    wall = _bump(out - 0.985, 0.020) * _step(y - a.lung_top - 0.05, 0.04) * _step(a.lung_base + 0.15 - y, 0.06)
    collar_bone = -0.60 - 0.10 * np.abs(x) + 0.06 * np.sin(6.0 * np.abs(x))
    collar = _bump(y - collar_bone, 0.022) * _step(np.abs(x) - 0.10, 0.02) * _step(0.66 - np.abs(x), 0.03)
    vertebra = 0.6 + 0.4 * np.cos(2.0 * np.pi * y / 0.135)
    spine = _step(0.075 - np.abs(x), 0.012) * (0.02 + 0.045 * vertebra)
    return bones + 0.10 * wall + 0.10 * collar + spine * _step(0.95 + y, 0.05)


def _consolidate(r: np.random.RandomState, image: _Plane, lungs: _Plane, x: _Plane, y: _Plane) -> _Plane:
    """Fill parts of the lungs towards the density of soft tissue, with soft and ragged borders."""
    haze = r.uniform(0.20, 0.75)  # the rest of the lungs seldom stays clear
    image = image + haze * lungs * np.clip(0.50 - image, 0.0, 1.0)
    for _ in range(1 + int(r.randint(0, 3))):
        weights = (lungs * (lungs > 0.8) * (0.35 + _step(y + 0.1, 0.2))).ravel()
        spot = int(np.searchsorted(np.cumsum(weights), r.uniform() * weights.sum()))
        cx, cy = x.ravel()[min(spot, x.size - 1)], y.ravel()[min(spot, x.size - 1)]
        angle = r.uniform(0.0, np.pi)
        u = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
        v = np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)
        long, short = r.uniform(0.18, 0.36), r.uniform(0.12, 0.24)
        ragged = 1.0 + 0.35 * _cloud(r, x.shape[0], 14)
        patch = np.exp(-0.5 * ((u / long) ** 2 + (v / short) ** 2) ** 1.3) * np.clip(ragged, 0.2, 1.8)
        opacity = r.uniform(0.5, 1.0)
        image = image + np.clip(opacity * patch, 0.0, 0.95) * lungs * np.clip(0.50 - image, 0.0, 1.0)
    return image


def _cloud(r: np.random.RandomState, size: int, cells: int) -> _Plane:
    """Smooth noise of about unit variance with `cells` features across the film."""
    knots = r.normal(size=(cells + 3, cells + 3))
    at = (np.arange(size) + 0.5) / size * cells
    low = at.astype(int)
    t = at - low
    # Cubic B-spline weights: smooth, and without a grid that a filter could pick up.
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6.0
    rows = sum(weights[i][:, None] * knots[low + i, :] for i in range(4))
    plane = sum(weights[i][None, :] * rows[:, low + i] for i in range(4))
    return np.asarray(plane) / 0.47


def _expose(r: np.random.RandomState, image: _Plane, size: int) -> _Plane:
    """Contrast, grain, side marker, and a mean grey value that is drawn without looking at the film."""
    image = np.clip(image, 0.0, None) / max(float(np.quantile(image, 0.995)), 1e-6)
    image = image + r.normal(0.0, r.uniform(0.008, 0.020), size=image.shape) * np.sqrt(np.clip(image, 0.02, 1.0))
    image = np.clip(image, 0.0, 1.0)
    mean = r.uniform(0.34, 0.60)
    low, high = 0.25, 4.0
    for _ in range(24):  # the mean falls as the exponent grows
        middle = (low * high) ** 0.5
        low, high = (middle, high) if float(np.mean(image**middle)) > mean else (low, middle)
    image = image ** ((low * high) ** 0.5)
    if r.uniform() < 0.6:
        _mark_side(image, int(r.uniform(0.02, 0.08) * size), int(r.uniform(0.10, 0.35) * size))
    return image


def _mark_side(image: _Plane, left: int, top: int) -> None:
    """Write the letter R that marks the patient's right side."""
    for row, bits in enumerate(("110", "101", "110", "101", "101")):
        for column, bit in enumerate(bits):
            if bit == "1":
                image[top + row, left + column] = 0.95


# --- the whole set --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Film:
    """One file of the set: where it goes and what `draw` makes it from."""

    relative: str
    seed: int
    label: int
    film: int
    mode: str


def films() -> tuple[Film, ...]:
    """List the films of the embedded set; every patient has one or two, all in one split and class."""
    listed: list[Film] = []
    r = np.random.RandomState(_SET_SEED)
    number = 100
    for split, sizes in SET_SIZES.items():
        for label, wanted in enumerate(sizes):
            done = 0
            while done < wanted:
                number += 1
                count = min(2 if r.uniform() < _SECOND_FILM else 1, wanted - done)
                for film, name in enumerate(_names(r, number, label, count)):
                    mode = "RGB" if len(listed) % _RGB_EVERY == 11 else "L"
                    listed.append(Film(f"{split}/{CLASSES[label]}/{name}", number, label, film, mode))
                done += count
    return tuple(listed)


def _names(r: np.random.RandomState, number: int, label: int, count: int) -> list[str]:
    """File names of one patient, in the forms that the Kaggle set has."""
    if label == 1:
        germ = "virus" if r.uniform() < 0.35 else "bacteria"
        return [f"person{number}_{germ}_{3 * number + film}.jpeg" for film in range(count)]
    stem = f"{'NORMAL2-' if r.uniform() < 0.5 else ''}IM-{number:04d}-0001"
    return [f"{stem}.jpeg"] if count == 1 else [f"{stem}-{film + 1:04d}.jpeg" for film in range(count)]


def write_set(folder: Path, replace: bool = True) -> None:
    """Draw the set into `folder` with its `manifest.csv`; it appears there only when all of it is drawn.

    With `replace` false, a set that another process put there in the meantime is left as it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    new, old = temporary / "new", temporary / "old"
    try:
        (temporary / ".gitignore").write_text("*\n", encoding="ascii")  # a commit in the meantime must not take it
        _write_films(new)
        if replace and folder.exists():
            folder.replace(old)
        try:
            new.replace(folder)
        except OSError:
            if not (folder / "manifest.csv").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_films(folder: Path) -> None:
    rows = []
    for film in films():
        path = folder / film.relative
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray(draw(film.seed, film.label, film=film.film))
        grey.convert(film.mode).save(path, format="JPEG", quality=_JPEG_QUALITY, optimize=True)
        content = path.read_bytes()
        rows.append((film.relative, hashlib.sha256(content).hexdigest(), len(content), SIZE, SIZE, film.mode))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(MANIFEST_COLUMNS)
        writer.writerows(sorted(rows))


def embedded_root(cache_dir: Path | None = None) -> Path:
    """Folder of the synthetic set: the repository's own, or one drawn once into the cache folder.

    An installed package has no `fixtures/` beside it; drawing takes some seconds.
    """
    repository = Path(__file__).resolve().parents[2] / "fixtures" / FOLDER
    if (repository / "manifest.csv").is_file():
        return repository
    drawn = (cache_dir or cache_root()) / FOLDER
    if not (drawn / "manifest.csv").is_file():
        write_set(drawn, replace=False)
    return drawn
