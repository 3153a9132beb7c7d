"""One image file -> canonical uint8 pixels, the same ones on every machine with the same Pillow."""

from __future__ import annotations

import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from parity.data.paths import shown
from parity.errors import UnreadableImage, UsageError

MAX_PIXELS = 64_000_000
"""Largest image that is decoded, in pixels by its header; the largest Kaggle film has 7.3 million."""

POLICY_VERSION = 1
"""Goes into the key of every prepared cache: raise it with any change here that can change a pixel."""

# Named, because Pillow would otherwise try every plugin it has, of which one runs Ghostscript on the file.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
_EXIF_ORIENTATION = 0x0112
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_UPRIGHT = 1


@dataclass(frozen=True)
class Decoded:
    """Canonical pixels, uint8 (H, W, C), and what the file was: stored size in pixels, Pillow mode.

    Every note holds the word "file", so that equal notes can be counted ("283 RGB files ...").
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...]
    original_height: int
    original_width: int
    mode: str


def check_size(height: int, width: int, channels: int) -> None:
    """Raise UsageError unless (height, width, channels) is an image size that decoding can produce."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise UsageError(f"image size {height}x{width} is not between 1 and {MAX_PIXELS:,} pixels")
    if channels not in (1, 3):
        raise UsageError(f"{channels} image channels asked for; 1 (grey) and 3 (RGB) are possible")


def decode(path: Path, height: int, width: int, channels: int) -> Decoded:
    """Read one file, turn it upright, convert it to grey (1) or RGB (3) and stretch it to (height, width).

    The stretch is Pillow's antialiased bilinear filter, on uint8. 16-bit values are divided by 257
    (65535 -> 255) and rounded; CMYK, palette and alpha go through RGB; of several frames the first counts.
    A JPEG whose entropy-coded data is damaged but complete decodes without complaint: libjpeg repairs it.

    Raises: UnreadableImage, one line with the file, the reason and what to do; UsageError for a bad size.
    """
    check_size(height, width, channels)
    _refuse_odd_entries(path)
    try:
        with _pillow_is_quiet(), _open(path) as image:
            return _canonical(image, path, height, width, channels)
    except (UnreadableImage, MemoryError):  # the second is about this machine, not about the file
        raise
    except OSError as error:
        raise unreadable(path, f"{_os_reason(error)}; copy it again from its source or remove it") from error
    except Exception as error:
        # Pillow's parsers raise whatever a broken byte leads to: SyntaxError, struct.error, KeyError, ...
        detail = _one_line(error)
        raise unreadable(path, f"is a broken image ({detail}); replace it or remove it") from error


def unreadable(path: Path, reason: str) -> UnreadableImage:
    """Build the error for one file: `PATH: reason`, on one line."""
    return UnreadableImage(f"{shown(path)}: {reason}")


def _refuse_odd_entries(path: Path) -> None:
    try:
        entry = path.stat()
    except OSError as error:
        raise unreadable(path, f"cannot be opened ({error.strerror}); restore it or remove it") from error
    if stat.S_ISDIR(entry.st_mode):
        raise unreadable(path, "is a folder among the images; move its files up or the folder out")
    if not stat.S_ISREG(entry.st_mode):  # opening a named pipe would wait forever
        raise unreadable(path, "is not a regular file; remove it")
    if entry.st_size == 0:
        raise unreadable(path, "is empty (0 bytes); copy it again from its source or remove it")


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Open the header only, and refuse what is no image or too large before a pixel is decoded."""
    try:
        image = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError as error:
        known = ", ".join(_FORMATS)
        raise unreadable(path, f"is not an image ({known} are read); replace it or remove it") from error
    except Image.DecompressionBombError as error:
        found = re.search(r"\d{4,}", str(error))
        raise _too_large(path, int(found.group()) if found else None) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(path, image.width * image.height)
        yield image


def _too_large(path: Path, pixels: int | None) -> UnreadableImage:
    size = "too many pixels" if pixels is None else f"{pixels:,} pixels"
    return unreadable(path, f"has {size}, the limit is {MAX_PIXELS:,}; scale it down or remove it")


def _canonical(image: Image.Image, path: Path, height: int, width: int, channels: int) -> Decoded:
    mode, (stored_width, stored_height) = image.mode, image.size
    notes: list[str] = []
    image.load()
    upright = _turn_upright(image, notes)
    eight_bit = _to_grey_or_rgb(upright, path, notes)
    wanted = "L" if channels == 1 else "RGB"
    if eight_bit.mode != wanted:
        if mode == "RGB":
            notes.append("RGB file converted to grey")
        elif wanted == "RGB":
            notes.append("grey file repeated into three channels")
        eight_bit = eight_bit.convert(wanted)
    stretched = eight_bit.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(stretched, dtype=np.uint8).reshape(height, width, channels)  # (H, W, C)
    return Decoded(pixels, tuple(notes), stored_height, stored_width, mode)


def _turn_upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, _UPRIGHT)
    except Exception:  # the metadata is damaged, the pixels are not
        notes.append("EXIF-damaged file taken as upright")
        return image
    if orientation not in range(2, 9):
        return image
    notes.append("EXIF-rotated file turned upright")
    return ImageOps.exif_transpose(image)


def _to_grey_or_rgb(image: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """Bring any mode to 8-bit L or RGB."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in (*_SIXTEEN_BIT, "I"):
        return _from_integers(image, path, notes)
    if image.mode == "F":
        raise unreadable(path, "has float pixels, which have no agreed white; save it with 8 or 16 bits")
    if image.mode == "1":
        notes.append("1-bit file converted to grey")
        return image.convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        notes.append(f"{image.mode} file stripped of its alpha")
    else:
        name = "palette" if image.mode == "P" else image.mode
        notes.append(f"{name} file converted through RGB")
    if image.mode == "La":  # Pillow has no direct way from premultiplied grey to RGB
        image = image.convert("LA")
    return image.convert("RGB")


def _from_integers(image: Image.Image, path: Path, notes: list[str]) -> Image.Image:
    """16-bit grey -> 8-bit grey; mode I holds 32 bits, of which only 8 or 16 may be in use."""
    values = np.asarray(image).astype(np.int64)  # (h, w)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise unreadable(path, f"has pixel values from {low} to {high}, not 0 to 65535; save it with 16 bits")
    if image.mode == "I" and high <= 255:
        return Image.fromarray(values.astype(np.uint8))
    notes.append("16-bit file divided by 257")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _os_reason(error: OSError) -> str:
    if error.errno is not None:
        return f"cannot be opened ({error.strerror})"
    text = _one_line(error)
    return f"is truncated ({text})" if "truncated" in text.lower() else f"is a broken image ({text})"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Quiet:
    """Counts the threads inside `_pillow_is_quiet`."""

    lock = threading.Lock()
    inside = 0
    saved: warnings.catch_warnings[None] | None = None


@contextmanager
def _pillow_is_quiet() -> Iterator[None]:
    """Silence Pillow's own warnings: all that matters of them is turned into errors and notes here.

    Warning filters belong to the process, not the thread: two threads that each saved and restored them
    could leave the wrong ones behind. So the first thread in sets them and the last one out restores them.
    """
    with _Quiet.lock:
        if _Quiet.inside == 0:
            _Quiet.saved = warnings.catch_warnings()
            _Quiet.saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Quiet.inside += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.inside -= 1
            if _Quiet.inside == 0 and _Quiet.saved is not None:
                _Quiet.saved.__exit__(None, None, None)
                _Quiet.saved = None
