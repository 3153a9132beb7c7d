"""On which test images the frameworks' models decide differently, and how often two seeds of one framework do."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.data.kaggle import CLASSES
from parity.data.prepared import Prepared
from parity.errors import UsageError
from parity.study.inference import COARSE_SEEDS, Estimate, mean_interval
from parity.study.metrics import probabilities
from parity.study.splits import Part

GALLERY_IMAGES = 12
THUMBNAIL_SIDE = 64
"""Pictures in the record are at most this many pixels high and wide."""
JACKKNIFE_SEEDS = 3
"""Of two seeds, leaving one out leaves no pair."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Answers:
    """What both frameworks' models of an arm said of the same test images.

    `first` and `second`: logits (seeds, n) of the frameworks `names`, row i of both belonging to `seeds[i]`.
    """

    arm: str
    names: tuple[str, str]
    seeds: tuple[int, ...]
    first: Array
    second: Array

    def __post_init__(self) -> None:
        shape = (len(self.seeds), *self.first.shape[1:])
        if not self.seeds or self.first.shape != shape or self.second.shape != shape or len(shape) != 2:
            raise UsageError(f"logits of {shape} needed on both sides, not {self.first.shape} and {self.second.shape}")

    @property
    def said(self) -> tuple[Array, Array]:
        """Whether each image is called positive at a probability of 0.5, by each framework: (seeds, n)."""
        return self.first > 0, self.second > 0


def disagreement(prepared: Prepared, part: Part, arms: Sequence[Answers]) -> dict[str, Any]:
    """Return what the record keeps: rates of every arm, the images that seeds disagree on most, and their pictures.

    Listed are all images on which most seeds disagree, and at least the first twelve on which any seed does.
    """
    rows = [_arm(prepared, part, answers) for answers in arms]
    return {"split": "official", "threshold": 0.5, "n": len(part), "arms": rows, "gallery": _gallery(prepared, rows)}


def rates(answers: Answers) -> dict[str, Any]:
    """Return how large a share of the images two models decide differently, with 95 % intervals over seeds.

    `per_seed`: images on which the two frameworks' models of one seed differ. `between`: their mean share. `within`:
    the same for two seeds of one framework, the mean over all pairs of seeds. `excess`: `between` less the mean of
    `within`, and `decision` what its interval says: two frameworks whose models are drawn alike and independently
    disagree exactly as often as two seeds of one of them.
    """
    a, b = answers.said
    apart = (a != b).mean(axis=1)
    own = [_between_seeds(said) for said in (a, b)]
    excess = jackknife(
        lambda seeds: float(apart[seeds].mean()) - sum(_mean_of_pairs(matrix, seeds) for matrix in own) / 2,
        len(answers.seeds),
    )
    return {
        "per_seed": [int(count) for count in (a != b).sum(axis=1)],
        "between": asdict(mean_interval([float(share) for share in apart])),
        "within": [
            {"framework": name, **_plain(jackknife(partial(_mean_of_pairs, matrix), len(a)))}
            for name, matrix in zip(answers.names, own, strict=True)
        ],
        "excess": _plain(excess),
        "decision": _decision(excess),
    }


def jackknife(statistic: Callable[[Array], float], seeds: int) -> Estimate | None:
    """Return a mean over pairs of seeds with the t interval of its pseudo-values, one for each seed left out.

    Pairs that share a seed are not independent, and there are many more pairs than seeds: an interval over pairs would
    be far too short. `statistic` takes positions of seeds. No interval below `JACKKNIFE_SEEDS`; None for a single seed.

    Source: Arvesen 1969, "Jackknifing U-statistics", Ann. Math. Stat. 40:2076.
    """
    if seeds < 2:
        return None
    whole = statistic(np.arange(seeds))
    if seeds < JACKKNIFE_SEEDS:
        return Estimate(whole, None, None, seeds)
    left_out = [statistic(np.delete(np.arange(seeds), seed)) for seed in range(seeds)]
    return mean_interval([seeds * whole - (seeds - 1) * value for value in left_out])


def thumbnail(image: Array) -> dict[str, Any]:
    """Return a picture for the record: uint8 (h, w, c), averaged down to at most 64 x 64, as base64 of its bytes."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    factor = -(-max(picture.size) // THUMBNAIL_SIDE)
    small = np.asarray(picture.reduce(factor) if factor > 1 else picture, dtype=np.uint8)
    height, width = small.shape[:2]
    encoded = base64.b64encode(np.ascontiguousarray(small).tobytes()).decode("ascii")
    return {"height": height, "width": width, "channels": image.shape[-1], "pixels": encoded}


def _arm(prepared: Prepared, part: Part, answers: Answers) -> dict[str, Any]:
    a, b = answers.said
    seeds = (a != b).sum(axis=0)
    p = [probabilities(logits).mean(axis=0) for logits in (answers.first, answers.second)]
    some, most = np.flatnonzero(seeds), int((2 * seeds > len(answers.seeds)).sum())
    # Those that most seeds disagree on first, then those whose probabilities are furthest apart, then in file order.
    order = sorted(some.tolist(), key=lambda image: (-seeds[image], -abs(p[0][image] - p[1][image]), image))
    files = part.chosen(prepared.files(part.source))
    labels = part.labels(prepared)
    images = [
        {
            "row": int(part.rows[image]),
            "file": files[image],
            "class": CLASSES[int(labels[image])],
            "seeds": int(seeds[image]),
            "probability": {name: float(side[image]) for name, side in zip(answers.names, p, strict=True)},
        }
        for image in order[: max(most, GALLERY_IMAGES)]
    ]
    counts = {"in_some_seed": len(order), "in_most_seeds": most}
    return {"arm": answers.arm, "seeds": list(answers.seeds), **rates(answers), **counts, "images": images}


def _gallery(prepared: Prepared, arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return up to twelve images with their pictures, as evenly from the arms as they have some."""
    taken = {arm["arm"]: 0 for arm in arms}
    while sum(taken.values()) < GALLERY_IMAGES:
        more = [arm["arm"] for arm in arms if taken[arm["arm"]] < len(arm["images"])]
        if not more:
            break
        taken[min(more, key=lambda name: taken[name])] += 1
    pixels = prepared.images("test")
    return [
        {"arm": arm["arm"], "of": len(arm["seeds"]), **image, **thumbnail(np.asarray(pixels[image["row"]]))}
        for arm in arms
        for image in arm["images"][: taken[arm["arm"]]]
    ]


def _between_seeds(said: Array) -> Array:
    """Return the share of images on which seeds i and j of one framework differ, (seeds, seeds)."""
    found: Array = (said[:, None, :] != said[None, :, :]).mean(axis=2)
    return found


def _mean_of_pairs(matrix: Array, seeds: Array) -> float:
    if len(seeds) < 2:
        return float("nan")
    part = matrix[np.ix_(seeds, seeds)]
    return float(part.sum() / (len(seeds) * (len(seeds) - 1)))


def _plain(found: Estimate | None) -> dict[str, Any]:
    return {"mean": None, "low": None, "high": None, "n": 1} if found is None else asdict(found)


def _decision(excess: Estimate | None) -> str:
    if excess is None or excess.low is None or excess.high is None:
        return "undecided"
    if excess.low == excess.high and excess.n < COARSE_SEEDS:
        return "undecided"
    return "more" if excess.low > 0 else "less" if excess.high < 0 else "undecided"
