"""Random numbers that a torch model draws as it runs, replaced by those that TensorFlow's model gets as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from parity.model import draws

Called = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

UNIFORM = frozenset({"rand", "rand_like", "uniform_"})
NORMAL = frozenset({"randn", "randn_like", "normal_", "normal"})
MASKS = frozenset({"bernoulli", "bernoulli_"})
NAMES = UNIFORM | NORMAL | MASKS


class Draws:
    """Counts the draws of one run, and replaces them if asked to; what a layer of torch's own draws is not seen."""

    def __init__(self) -> None:
        self.alike = False
        self.seen = False
        self.count = 0

    def begin(self) -> None:
        """Start the count of one run of the model."""
        self.count = 0

    def called(self, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Called:
        """Return the call that takes the place of one that draws."""
        self.seen = True
        if not self.alike:
            return function, args, kwargs
        self.count += 1
        return filled, (function, name, self.count, args, kwargs), {}


def filled(
    function: Callable[..., Any], name: str, number: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    """Return what a function that draws gives, with the numbers of that draw in their place."""
    made: Tensor = function(*args, **kwargs)
    with torch.no_grad():
        if name in MASKS:
            chance = args[0] if name == "bernoulli" else kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            return made.copy_((torch.as_tensor(chance) > draws.MIDDLE).expand(made.shape))
        if name in UNIFORM:
            low, high = (_setting(name, args, kwargs, place, usual) for place, usual in ((1, 0.0), (2, 1.0)))
            return made.copy_(torch.from_numpy(draws.uniform(made.shape)) * (high - low) + low)
        numbers = torch.from_numpy(draws.normal(tuple(made.shape), number, channels_first=True)).to(made)
        if name == "normal":
            mean = kwargs.get("mean", args[0] if args else 0.0)
            spread = kwargs.get("std", args[1] if len(args) > 1 else 1.0)
        else:
            mean, spread = (_setting(name, args, kwargs, place, usual) for place, usual in ((1, 0.0), (2, 1.0)))
        return made.copy_(numbers * spread + mean)


_WORDS = {"uniform_": ("from", "to"), "normal_": ("mean", "std")}


def _setting(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: int, usual: float) -> float:
    """Return a number that a draw in place was given; the others have the usual ones."""
    if name not in _WORDS:
        return usual
    return float(kwargs.get(_WORDS[name][place - 1], args[place] if len(args) > place else usual))


DRAWS = Draws()  # of the one model that this process holds
