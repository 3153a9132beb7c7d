"""Weights that a torch model computes from others: computed once, and what they would be of other numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Makes = Callable[[Tensor], Tensor]
NORMED = frozenset({"WeightNorm", "_WeightNorm"})  # the hook of old, and the parametrization

ROUNDS = 300  # in which a power iteration settles
SETTLED = 1e-9  # of the largest number: what a further round of one may still move


@dataclass(frozen=True)
class Length:
    """A weight of a module that is a length times a direction: both, and along which axis there is a length each."""

    module: nn.Module
    name: str
    length: Tensor
    direction: Tensor
    dim: int

    def split(self) -> None:
        """Let the module compute its weight from both again, as its author wrote it."""
        like = getattr(self.module, self.name)
        nn.utils.parametrizations.weight_norm(self.module, self.name, self.dim)
        own: Any = self.module.parametrizations
        for original, given in ((own[self.name].original0, self.length), (own[self.name].original1, self.direction)):
            original.data = given.to(like)


def bake(model: Any, notes: list[str], lengths: dict[str, Length]) -> dict[str, Makes]:
    """Replace weight normalisation and its like by the weights that they give now.

    Returns, by the weights' names, what the model would compute for them were they loaded with given numbers; what is
    a length times a direction is put down in `lengths`.
    """
    from torch.nn.utils import parametrize

    found: dict[str, Makes] = {}
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.jit.ScriptModule) or path.endswith("parametrizations"):
            continue
        if parametrize.is_parametrized(module):
            for name, ways in list(module.parametrizations.items()):
                kinds = "+".join(type(one).__name__ for one in ways)
                found[_joined(path, name)] = _through(copy.deepcopy(ways))
                if kinds in NORMED:
                    parts = (ways.original0, ways.original1)
                    lengths[_joined(path, name)] = _length(module, name, *parts, ways[0].dim)
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
                notes.append(_told(path, name, kinds))
        for hook in list(module._forward_pre_hooks.values()):
            found |= _bake_hook(module, path, hook, notes, lengths)
    return found


def _length(module: nn.Module, name: str, length: Tensor, direction: Tensor, dim: int) -> Length:
    return Length(module, name, length.detach().clone(), direction.detach().clone(), dim)


def _bake_hook(
    module: nn.Module, path: str, hook: Any, notes: list[str], lengths: dict[str, Length]
) -> dict[str, Makes]:
    remove: Mapping[str, Callable[..., Any]] = {
        "WeightNorm": nn.utils.remove_weight_norm,
        "SpectralNorm": nn.utils.remove_spectral_norm,
    }
    kind, name = type(hook).__name__, getattr(hook, "name", None)
    if kind not in remove or not isinstance(name, str):
        return {}
    if kind in NORMED:
        parts = (getattr(module, f"{name}_g"), getattr(module, f"{name}_v"))
        lengths[_joined(path, name)] = _length(module, name, *parts, hook.dim)
    remove[kind](module, name)
    notes.append(_told(path, name, kind))

    def makes(value: Tensor) -> Tensor:
        if kind == "WeightNorm":  # the length of each row is a weight by itself
            return value
        return value / torch.linalg.matrix_norm(hook.reshape_weight_to_matrix(value), 2)

    return {_joined(path, name): makes}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _told(path: str, name: str, kinds: str) -> str:
    return f"`{_joined(path, name)}` is computed by {kinds}: its value now is taken as a weight of its own"


def _through(ways: Any) -> Makes:
    """Return what parametrizations make of a value that is loaded through them.

    What cannot be loaded so, as nobody wrote down the way back, is taken to stay as it is.
    """

    def makes(value: Tensor) -> Tensor:
        own = copy.deepcopy(ways).double().train()  # a power iteration goes on in training alone
        try:
            with torch.no_grad():
                own.right_inverse(value.double())
                made = own()
                for _ in range(ROUNDS):
                    before, made = made, own()
                    if float((made - before).abs().max()) <= SETTLED * float(made.abs().max()):
                        break
        except (NotImplementedError, RuntimeError, ValueError, TypeError):
            return value
        return made.to(value.dtype) if made.shape == value.shape else value

    return makes


def unlike(makes: Mapping[str, Makes], given: Mapping[str, Tensor], close: float) -> dict[str, Tensor]:
    """Return what a model computes for weights that cannot hold the numbers that they are given.

    `close` is how far, of the largest number, one may be off and is taken to hold them.
    """
    found: dict[str, Tensor] = {}
    for name, value in given.items():
        made = makes[name](value)
        if float((made - value).abs().max()) > close * float(value.abs().max()):
            found[name] = made
    return found
