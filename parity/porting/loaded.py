"""Weights that differ as they were loaded where no input shows it: behind a dead unit, or in a row nobody looks up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity.model.trace import weight_names
from parity.pairing.copying import WeightLink, WeightPlan, neighbours, read
from parity.porting import elsewhere
from parity.porting.options import AS_IS, Array
from parity.porting.orders import Orders
from parity.porting.sides import TENSORFLOW, TORCH, Models

Held = Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True)
class Loaded:
    """What the models' own weights add: a line if further inputs tell them apart, and a note if none does."""

    why: str = ""
    notes: tuple[str, ...] = ()


def compare(models: Models, plan: WeightPlan, orders: Orders, held: Held) -> Loaded:
    """Return what is to be said where the inputs at hand show no difference, and partners hold other numbers.

    Two models may well be one function with other numbers (a bias of keys, a factor that another layer takes back), so
    that only outputs prove a fault.
    """
    if models.options.weights != AS_IS:
        return Loaded()
    unlike = [told for link in plan.links if (told := _unlike(link, held))]
    if not unlike:
        return Loaded()
    more = f", and {len(unlike) - 1} more so" if len(unlike) > 1 else ""
    if elsewhere.told_apart(models, orders):
        return Loaded(f"{unlike[0]}{more}: the outputs differ on further inputs")
    return Loaded(notes=(f"{unlike[0]}{more}: no input that was tried shows it",))


def _unlike(link: WeightLink, held: Held) -> str:
    """Return a sentence if torch holds other numbers than TensorFlow's by more than a few roundings of float32."""
    if any(name not in held[side] for side, ref in _sides(link) for name in weight_names(ref)):
        return ""
    carried = np.asarray(link.to_torch(read(link.tensorflow, held[TENSORFLOW])))
    own = np.asarray(read(link.torch, held[TORCH]))
    if carried.shape != own.shape or not carried.size or neighbours(carried, own):
        return ""
    gap = np.abs(carried.astype(np.float64) - own.astype(np.float64))
    count = int((gap > 0).sum())
    return (
        f"`{link.tensorflow}` and torch's `{link.torch}` differ in {count} of {gap.size} numbers, by up to"
        f" {float(gap.max()):.2g}"
    )


def _sides(link: WeightLink) -> tuple[tuple[str, str], ...]:
    return (TENSORFLOW, link.tensorflow), (TORCH, link.torch)
