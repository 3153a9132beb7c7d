"""Every kind of the trace as one function of tensors: what an operation of that kind and configuration must compute.

Axes are in torch's order, `config` speaks the words of `parity.model.trace`, weights carry torch's roles. In float64
and under Keras's configuration the result is Keras's, to rounding. Where `pads` or `crops` are given they decide the
geometry, and not the word that was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from parity.adapters.base import Array
from parity.errors import UsageError

Config = Mapping[str, Any]
Weights = Mapping[str, Any]
Runner = Callable[[Config, Weights, Sequence[Any], bool], Any]


def run(kind: str, config: Config, weights: Weights, inputs: Sequence[Any], training: bool = False) -> Any:
    """Return the output of one operation; of several outputs, the first.

    In training, batch normalisation also moves `running_mean` and `running_var` of `weights` in place.

    Raises
        UsageError: a kind that has no canonical form, such as a slice.
    """
    return outputs(kind, config, weights, inputs, training)[0]


def outputs(
    kind: str, config: Config, weights: Weights, inputs: Sequence[Any], training: bool = False
) -> tuple[Any, ...]:
    """Return all outputs of one operation; a recurrent layer also has its last states.

    They are (1, n, units) each, and of both directions (n, units), forward's before backward's.

    Raises
        UsageError: a kind that has no canonical form.
    """
    runner = _table().get(kind)
    if runner is None:
        raise UsageError(f"no canonical form of an operation of kind `{kind}`; there are {', '.join(sorted(_table()))}")
    result = runner(config, weights, inputs, training)
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def knows(kind: str) -> bool:
    """Return whether a kind has a canonical form."""
    return kind in _table()


@cache
def _table() -> Mapping[str, Runner]:
    # These files import torch, which must not happen before the adapter is made.
    from parity.adapters import torch_kinds_moves, torch_kinds_norms, torch_kinds_resize, torch_kinds_sequence
    from parity.adapters import torch_kinds_windows as windows

    table = {
        **windows.KINDS, **torch_kinds_norms.KINDS, **torch_kinds_sequence.KINDS,
        **torch_kinds_moves.KINDS, **torch_kinds_resize.KINDS,
    }  # fmt: skip
    return {**table, "chain": _chain}


def _chain(config: Config, _: Weights, inputs: Sequence[Any], training: bool) -> Any:
    """Run several kinds without weights one after the other."""
    value = tuple(inputs)
    for step in config["steps"]:
        value = (run(str(step["kind"]), step.get("config", {}), {}, value, training),)
    return value[0]


class TorchKinds:
    """The torch adapter's `run_kind` method."""

    torch: Any
    dtype: Any
    device: Any

    def run_kind(
        self, kind: str, config: Config, weights: Mapping[str, Array], inputs: Sequence[Array], training: bool = False
    ) -> Array:
        """Return what the canonical runner makes of NumPy arrays; whole numbers and booleans stay what they are."""
        given = {role: self._as_tensor(array) for role, array in weights.items()}
        with self.torch.no_grad():
            value = run(kind, config, given, [self._as_tensor(x) for x in inputs], training)
        return np.array(value.detach().cpu().numpy())

    def _as_tensor(self, array: Array) -> Any:
        tensor = self.torch.from_numpy(np.array(array)).to(self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor
