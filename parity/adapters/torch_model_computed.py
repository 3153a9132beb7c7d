"""Weights that a torch model computes from others: computed once, and what they would be of other numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from parity.errors import UsageError

NORMED = frozenset({"WeightNorm", "_WeightNorm"})  # the hook of old, and the parametrization
ROUNDS = 300  # in which a power iteration settles
SETTLED = 1e-9  # of the largest number: what a further round of one may still move


@dataclass(frozen=True)
class Computed:
    """A weight that a model computes from others.

    `makes` returns what it computes where it is loaded with given numbers, and `state` the entries of its state dict
    that hold these, none if nobody wrote down the way back.
    """

    makes: Callable[[Tensor], Tensor]
    state: Callable[[Tensor], Mapping[str, Tensor]]


@dataclass
class Length:
    """A weight of a module that is a length times a direction: both, and along which axis there is a length each.

    `names` are those of the two in the state dict of the model as its author wrote it.
    """

    path: str
    module: nn.Module
    name: str
    length: Tensor
    direction: Tensor
    dim: int
    names: tuple[str, str] = field(default=("", ""))

    def split(self) -> None:
        """Let the module compute its weight from both again."""
        like = getattr(self.module, self.name)
        nn.utils.parametrizations.weight_norm(self.module, self.name, self.dim)
        for original, given in zip(self._originals(), (self.length, self.direction), strict=True):
            original.data = given.to(like)

    def _originals(self) -> tuple[Tensor, Tensor]:
        held: Any = self.module.parametrizations
        return held[self.name].original0, held[self.name].original1

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state dict of the split module's model under the names that its author's has."""
        begins = _joined(self.path, f"parametrizations.{self.name}.original")
        return {self.names[int(key[-1])] if key[:-1] == begins else key: value for key, value in state.items()}


def bake(model: Any, notes: list[str], lengths: dict[str, Length]) -> dict[str, Computed]:
    """Replace weight normalisation and its like by the weights that they give now.

    Returns what is known of each, by the weights' names; what is a length times a direction is put down in `lengths`.
    """
    from torch.nn.utils import parametrize

    found: dict[str, Computed] = {}
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.jit.ScriptModule) or path.endswith("parametrizations"):
            continue
        if parametrize.is_parametrized(module):
            for name, ways in list(module.parametrizations.items()):
                kinds = "+".join(type(one).__name__ for one in ways)
                begins = _joined(path, f"parametrizations.{name}.")
                found[_joined(path, name)] = _through(copy.deepcopy(ways), begins)
                if kinds in NORMED:
                    names = f"{begins}original0", f"{begins}original1"
                    parts = _kept(ways.original0), _kept(ways.original1)
                    lengths[_joined(path, name)] = Length(path, module, name, *parts, ways[0].dim, names)
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
                notes.append(_told(path, name, kinds))
        for hook in list(module._forward_pre_hooks.values()):
            found |= _bake_hook(module, path, hook, notes, lengths)
    return found


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _bake_hook(
    module: nn.Module, path: str, hook: Any, notes: list[str], lengths: dict[str, Length]
) -> dict[str, Computed]:
    kind, name = type(hook).__name__, getattr(hook, "name", None)
    if kind not in ("WeightNorm", "SpectralNorm") or not isinstance(name, str):
        return {}
    whole = _joined(path, name)
    notes.append(_told(path, name, kind))
    if kind == "WeightNorm":
        parts = _kept(getattr(module, f"{name}_g")), _kept(getattr(module, f"{name}_v"))
        lengths[whole] = Length(path, module, name, *parts, hook.dim, (f"{whole}_g", f"{whole}_v"))
        nn.utils.remove_weight_norm(module, name)
        return {whole: _of_length(hook, whole)}
    nn.utils.remove_spectral_norm(module, name)
    return {whole: _of_spectrum(hook, whole)}


def _of_length(hook: Any, name: str) -> Computed:
    def state(value: Tensor) -> dict[str, Tensor]:
        return {f"{name}_g": torch.norm_except_dim(value, 2, hook.dim), f"{name}_v": value}

    return Computed(lambda value: value, state)  # the length of each row is a weight by itself


def _of_spectrum(hook: Any, name: str) -> Computed:
    def state(value: Tensor) -> dict[str, Tensor]:
        left, _, right = torch.linalg.svd(hook.reshape_weight_to_matrix(value).double(), full_matrices=False)
        vectors = left[:, 0].to(value), right[0].to(value)
        return {f"{name}_orig": value, f"{name}_u": vectors[0], f"{name}_v": vectors[1]}

    return Computed(lambda value: value / torch.linalg.matrix_norm(hook.reshape_weight_to_matrix(value), 2), state)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _told(path: str, name: str, kinds: str) -> str:
    return f"`{_joined(path, name)}` is computed by {kinds}: its value now is taken as a weight of its own"


def _through(ways: Any, begins: str) -> Computed:
    """Return what parametrizations make of a value that is loaded through them, and hold then.

    What cannot be loaded so, as nobody wrote down the way back, is taken to stay as it is.
    """

    def loaded(value: Tensor) -> tuple[Tensor, Any] | None:
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
            return None
        return (made.to(value.dtype), own) if made.shape == value.shape else None

    def makes(value: Tensor) -> Tensor:
        found = loaded(value)
        return value if found is None else found[0]

    def state(value: Tensor) -> dict[str, Tensor]:
        found = loaded(value)
        held = {} if found is None else found[1].state_dict()
        return {f"{begins}{key}": one.to(value.dtype) if one.is_floating_point() else one for key, one in held.items()}

    return Computed(makes, state)


def unlike(computed: Mapping[str, Computed], given: Mapping[str, Tensor], close: float) -> dict[str, Tensor]:
    """Return what a model computes for weights that cannot hold the numbers that they are given.

    `close` is how far, of the largest number, one may be off and is taken to hold them.
    """
    found: dict[str, Tensor] = {}
    for name, value in given.items():
        made = computed[name].makes(value)
        if float((made - value).abs().max()) > close * float(value.abs().max()):
            found[name] = made
    return found


def own_state(
    state: Mapping[str, Tensor], computed: Mapping[str, Computed], split: Mapping[str, Length]
) -> dict[str, Tensor]:
    """Return a state dict under the names, and with the numbers, that the model as its author wrote it reads.

    `computed` are the weights that were computed once, `split` those that are a length and a direction again.

    Raises
        UsageError: nobody wrote down how a weight is computed back into what it is computed from.
    """
    found = dict(state)
    for name, one in computed.items():
        held = one.state(found.pop(name))
        if not held:
            raise UsageError(
                f"`{name}` is computed from other weights, and its code has no `right_inverse`: it cannot be written"
            )
        found |= {key: value.contiguous() for key, value in held.items()}
    for length in split.values():
        found = length.own_names(found)
    return found
