"""What is compared, as data: the recipes by which a run trains, the arms, and the factors that a gap may be made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from parity.errors import UsageError

FRAMEWORKS = ("tensorflow", "torch")
OTHER = {"tensorflow": "torch", "torch": "tensorflow"}
ARMS = ("shared", "own")
INTERACTION, EVERYTHING = "interaction", "everything"

# keras.optimizers.Adam and torch.optim.Adam, default arguments.
OWN_EPSILON: Mapping[str, float] = {"tensorflow": 1e-7, "torch": 1e-8}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "split": ("official", "random", "patient"),
    "initialiser": ("own", "tensorflow", "torch"),
    "shuffling": ("own", "tensorflow", "torch"),
    "scaling": ("unit", "symmetric"),
    "pixels": ("prepared", "own"),
    "threshold": ("half", "validation"),
}
"""What the words of a `Recipe` may be; see there."""


@dataclass(frozen=True)
class Recipe:
    """How one framework trains and decides, whatever the seed.

    `split`: see `study.splits`. `initialiser`: `own`, drawn by the framework itself, or drawn in NumPy from the
    distribution that Keras's (`tensorflow`) or torch's layers have by default. `shuffling`: `own`, by the framework's
    usual loader, or drawn in NumPy as Keras's `image_dataset_from_directory` (`tensorflow`) or torch's `DataLoader`
    (`torch`) shuffles. `scaling`: pixels as fractions of 1 (`unit`), or from -1 to 1 (`symmetric`). `pixels`: the
    prepared ones, decoded and stretched once by Pillow, or decoded and resized by the framework's own usual loader.
    `epsilon`: Adam's. `threshold`: a probability of 0.5 (`half`), or chosen on validation. `epochs` after which the
    model is read.

    Raises
        UsageError: a word that is not in `CHOICES`.
    """

    epochs: int
    epsilon: float
    split: str = "official"
    initialiser: str = "own"
    shuffling: str = "own"
    scaling: str = "unit"
    pixels: str = "prepared"
    threshold: str = "half"

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise UsageError(f"a recipe has no {name}={getattr(self, name)!r}; it has {', '.join(words)}")


@dataclass(frozen=True)
class Factor:
    """One thing that a gap may be made of: the field of a `Recipe`, and what each framework's is changed to."""

    name: str
    field: str
    to: Mapping[str, Any]

    def changed(self, recipe: Recipe, framework: str) -> Recipe:
        """Return the recipe with this one thing changed."""
        return replace(recipe, **{self.field: self.to[framework]})


def default_recipe(framework: str, epochs: int) -> Recipe:
    """Return the recipe from which every change starts: the framework's own initialiser, epsilon and shuffling."""
    return Recipe(epochs, OWN_EPSILON[framework])


def arm_recipe(arm: str, framework: str, split: str, epochs: int) -> Recipe:
    """Return the recipe of an arm on a split.

    `own` is `default_recipe`. `shared`: the very same initial weights (drawn as Keras does), the very same batches in
    the very same order, and Keras's epsilon on both sides.
    """
    recipe = replace(default_recipe(framework, epochs), split=split)
    if arm == "own":
        return recipe
    if arm != "shared":
        raise UsageError(f"no arm `{arm}`; arms: {', '.join(ARMS)}")
    return replace(recipe, initialiser="tensorflow", shuffling="torch", epsilon=OWN_EPSILON["tensorflow"])


def factors(fewer_epochs: int) -> tuple[Factor, ...]:
    """Return what is changed one at a time, in the order in which the waterfall shows it.

    Initialiser, shuffling and epsilon become the other framework's; resize and decode become the framework's own loader
    instead of the prepared pixels; the other four change alike on both sides.
    """
    both = dict.fromkeys
    return (
        Factor("split", "split", both(FRAMEWORKS, "random")),
        Factor("initialiser", "initialiser", OTHER),
        Factor("pixel scaling", "scaling", both(FRAMEWORKS, "symmetric")),
        Factor("resize and decode", "pixels", both(FRAMEWORKS, "own")),
        Factor("shuffling", "shuffling", OTHER),
        Factor("optimizer epsilon", "epsilon", {framework: OWN_EPSILON[OTHER[framework]] for framework in FRAMEWORKS}),
        Factor("epoch count", "epochs", both(FRAMEWORKS, fewer_epochs)),
        Factor("threshold", "threshold", both(FRAMEWORKS, "validation")),
    )


@dataclass(frozen=True)
class Training:
    """One training to be carried out: all that decides its weights. What is read of it later costs nothing more."""

    framework: str
    seed: int
    split: str
    initialiser: str
    shuffling: str
    scaling: str
    pixels: str
    epsilon: float
    epochs: int

    @property
    def name(self) -> str:
        """A short name for file names and messages; unlike `key` it is for people, and need not be unique."""
        words = (self.split, self.initialiser, self.shuffling, self.scaling, self.pixels, f"{self.epsilon:g}")
        return f"{self.framework}-{'-'.join(words)}-seed{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data that `from_dict` turns back into an equal training."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Training:
        """Build the training from what `to_dict` returned."""
        return Training(**data)


@dataclass(frozen=True)
class Reading:
    """One row of the result: a framework and seed in an arm, with some factors changed, and the training it reads."""

    framework: str
    arm: str
    seed: int
    changed: tuple[str, ...]
    recipe: Recipe
    training: Training

    @property
    def what_changed(self) -> str | None:
        """The changed factor, `everything`, or None."""
        return None if not self.changed else self.changed[0] if len(self.changed) == 1 else EVERYTHING


def readings(
    seeds: Sequence[int], epochs: int, fewer_epochs: int, frameworks: Sequence[str] = FRAMEWORKS
) -> tuple[Reading, ...]:
    """Return all rows of a study: both arms on the three splits, each factor's change, and all changes at once.

    Raises
        UsageError: no seeds, or fewer epochs that are not fewer.
    """
    if not seeds or not 1 <= fewer_epochs < epochs:
        raise UsageError(
            f"a study needs seeds (={list(seeds)}) and 1 <= fewer epochs (={fewer_epochs}) < epochs ({epochs})"
        )
    found = []
    for seed in seeds:
        for framework in frameworks:
            for arm in ARMS:
                for split in CHOICES["split"]:
                    recipe = arm_recipe(arm, framework, split, epochs)
                    found.append(_reading(framework, arm, seed, (), recipe, epochs))
            found += _changes(framework, seed, epochs, factors(fewer_epochs))
    return tuple(found)


def trainings(rows: Sequence[Reading]) -> tuple[Training, ...]:
    """Return the trainings that rows read, each once, in the order of their first reader."""
    return tuple(dict.fromkeys(row.training for row in rows))


def fingerprint(*parts: Any) -> str:
    """Return the SHA-256 of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _changes(framework: str, seed: int, epochs: int, changes: Sequence[Factor]) -> list[Reading]:
    start = everything = default_recipe(framework, epochs)
    found = []
    for factor in changes:
        everything = factor.changed(everything, framework)
        found.append(_reading(framework, "own", seed, (factor.name,), factor.changed(start, framework), epochs))
    names = tuple(factor.name for factor in changes)
    return [*found, _reading(framework, "own", seed, names, everything, epochs)]


def _reading(framework: str, arm: str, seed: int, changed: tuple[str, ...], recipe: Recipe, epochs: int) -> Reading:
    decisive = {field.name for field in fields(Training)} - {"framework", "seed", "epochs"}
    # A shorter training is the beginning of the longer one: nothing in a recipe looks ahead to its end.
    training = Training(framework, seed, epochs=epochs, **{name: getattr(recipe, name) for name in decisive})
    return Reading(framework, arm, seed, changed, recipe, training)
