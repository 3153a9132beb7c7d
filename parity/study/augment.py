"""Augmentation with parameters drawn in NumPy, its exact reference in float64, and what float32 may do to it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from parity.errors import UsageError

UNIT_ROUNDOFF = 2.0**-24
FRAMEWORKS = ("tensorflow", "torch")

Array = NDArray[Any]


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed at most; all zero but `flip` changes no pixel's value.

    `degrees` of rotation, `shift` as a fraction of each side, `zoom` and `contrast` as fractions of 1, `brightness` as
    one of white; each is drawn evenly from minus to plus that. What comes in from outside the image is black.

    Raises
        UsageError: a negative number, or a zoom or contrast of 1 or more.
    """

    flip: bool = True
    degrees: float = 5.0
    shift: float = 0.04
    zoom: float = 0.05
    contrast: float = 0.1
    brightness: float = 0.05

    def __post_init__(self) -> None:
        numbers = (self.degrees, self.shift, self.zoom, self.contrast, self.brightness)
        if min(numbers) < 0 or max(self.zoom, self.contrast) >= 1:
            raise UsageError(f"an augmentation needs numbers from 0 up, zoom and contrast below 1, not {asdict(self)}")

    @property
    def warps(self) -> bool:
        """Whether pixels are interpolated at all."""
        return any((self.degrees, self.shift, self.zoom))

    def draw(self, seed: int, epoch: int, images: int, height: int, width: int) -> dict[str, Array]:
        """Return one epoch's parameters, each image's from (seed, epoch, its index) alone.

        `flip` uint8 (n,): left to right, before the rest; `matrix` float32 (n, 6): a0 a1 a2 b0 b1 b2, the pixel (x, y)
        of the result is read at (a0 x + a1 y + a2, b0 x + b1 y + b2), whole numbers at the centres of pixels;
        `contrast` and `offset` float32 (n,): a value v in [0, 1] becomes v * contrast + offset, cut to [0, 1].
        """
        drawn = np.stack(
            [np.random.default_rng([seed, 3, epoch, index]).uniform(-1.0, 1.0, 7) for index in range(images)]
        )
        contrast = 1.0 + self.contrast * drawn[:, 5]
        return {
            "flip": ((drawn[:, 0] > 0) & self.flip).astype(np.uint8),
            "matrix": np.stack([self._matrix(row[1:5], height, width) for row in drawn]).astype(np.float32),
            "contrast": contrast.astype(np.float32),
            "offset": (0.5 - 0.5 * contrast + self.brightness * drawn[:, 6]).astype(np.float32),
        }

    def _matrix(self, drawn: Array, height: int, width: int) -> Array:
        """Return rotation, zoom and shift about the middle of the image as one inverse map, float64 (6,)."""
        angle, scale = math.radians(self.degrees * drawn[0]), 1.0 + self.zoom * drawn[1]
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        moved = middle + self.shift * drawn[2:4] * np.array([width, height])
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / scale
        return np.column_stack([turn, middle - turn @ moved]).ravel()


def reference(images: Array, drawn: dict[str, Array], warps: bool) -> tuple[Array, dict[str, Array]]:
    """Return what images (n, h, w, c) become, exactly, and how far each framework's float32 may be from that.

    The result is float64 (n, h, w, c) in [0, 1], the bounds likewise, by framework. The bound is derived: coordinates
    are off by at most `coordinate_errors`, between which a bilinear image moves by its own slopes, those of all cells
    that can be reached; the rest is the rounding of weights, sums, contrast and brightness.
    """
    results, bounds = [], {framework: [] for framework in FRAMEWORKS}  # type: ignore[var-annotated]
    for index, image in enumerate(images):
        value = unit(image)
        value = value[:, ::-1] if drawn["flip"][index] else value
        error = dict.fromkeys(FRAMEWORKS, gamma(2) * value)  # 1 / 255 and a product, or a quotient
        if warps:
            value, error = _warped(value, drawn["matrix"][index].astype(np.float64))
        contrast, offset = float(drawn["contrast"][index]), float(drawn["offset"][index])
        scaled = value * contrast
        results.append(np.clip(scaled + offset, 0.0, 1.0))
        for framework in FRAMEWORKS:
            rounding = gamma(2) * (np.abs(scaled) + abs(offset))
            bounds[framework].append(abs(contrast) * error[framework] * (1 + gamma(2)) + rounding)
    return np.stack(results), {framework: np.stack(found) for framework, found in bounds.items()}


def unit(images: Array) -> Array:
    """Return uint8 pixels as float64 in [0, 1]; float pixels are that already."""
    wide = images.astype(np.float64)
    return wide / 255.0 if images.dtype == np.uint8 else wide


def gamma(operations: int) -> float:
    """Return the relative error that so many float32 roundings can add up to.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1.
    """
    return operations * UNIT_ROUNDOFF / (1.0 - operations * UNIT_ROUNDOFF)


def coordinate_errors(matrix: Array, height: int, width: int) -> dict[str, tuple[Array, Array]]:
    """Return how far float32 may put the place at which each pixel is read: pixels, (x, y), each (h, w), by framework.

    TensorFlow (`ImageProjectiveTransformV3`): two products, two sums and a division by 1. PyTorch (`affine_grid`,
    `grid_sample`): places from -1 to 1, at five roundings, a matrix that is rounded once more, its product at three,
    and the way back to pixels at three and one.
    """
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    found: dict[str, list[Array]] = {framework: [] for framework in FRAMEWORKS}
    theta = normalised(matrix, height, width)
    for (a, b, c), row, side in zip(matrix.reshape(2, 3), theta, (width, height), strict=True):
        place = a * x + b * y + c
        found["tensorflow"].append(gamma(4) * (abs(a) * x + abs(b) * y + abs(c)))
        there = np.abs((2 * place + 1) / side - 1)
        found["torch"].append(
            side / 2 * (gamma(9) * float(np.abs(row).sum()) + gamma(3) * (there + 1)) + gamma(1) * (np.abs(place) + 1)
        )
    return {framework: (errors[0], errors[1]) for framework, errors in found.items()}


def normalised(matrix: Array, height: int, width: int) -> Array:
    """Return the (2, 3) matrix for places from -1 to 1, the outer edges of the image (`align_corners=False`)."""
    a, b, c, d, e, f = (float(value) for value in matrix)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    return np.array([
        [a, b * height / width, (2 * (a * middle_x + b * middle_y + c) + 1) / width - 1],
        [d * width / height, e, (2 * (d * middle_x + e * middle_y + f) + 1) / height - 1],
    ])  # fmt: skip


def _warped(image: Array, matrix: Array) -> tuple[Array, dict[str, Array]]:
    """Interpolate bilinearly with black outside; return the values and the bounds, float64 (h, w, c)."""
    height, width, _ = image.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    at = [a * x + b * y + c for a, b, c in matrix.reshape(2, 3)]
    # Two black pixels around; whatever is read farther outside lies between black ones too.
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))
    left, top = (np.floor(place).astype(int) for place in at)
    share_x, share_y = (at[0] - left)[..., None], (at[1] - top)[..., None]
    column, row = np.clip(left + 3, 0, width + 4), np.clip(top + 3, 0, height + 4)
    upper = (1 - share_x) * padded[row, column] + share_x * padded[row, column + 1]
    lower = (1 - share_x) * padded[row + 1, column] + share_x * padded[row + 1, column + 1]
    outside = (left < -1) | (left >= width) | (top < -1) | (top >= height)
    value = np.where(outside[..., None], 0.0, (1 - share_y) * upper + share_y * lower)
    slope_x, slope_y, largest = (found[row, column] for found in _cells(padded))
    errors = coordinate_errors(matrix, height, width)
    return value, {
        framework: slope_x * off_x[..., None] + slope_y * off_y[..., None] + gamma(18) * largest
        for framework, (off_x, off_y) in errors.items()
    }


def _cells(padded: Array) -> tuple[Array, Array, Array]:
    """Return for each cell of four pixels the steepest slopes and largest value of it and its eight neighbours."""
    across, down = np.abs(np.diff(padded, axis=1)), np.abs(np.diff(padded, axis=0))
    corners = np.stack([padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]])
    whole = (
        np.maximum(across[:-1], across[1:]),
        np.maximum(down[:, :-1], down[:, 1:]),
        np.abs(corners).max(axis=0),
    )
    return tuple(scipy.ndimage.maximum_filter(found, size=(3, 3, 1)) for found in whole)
