"""Somebody's own torch model as a whole: its outputs, and the files it is kept in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.adapters.base import Array, atomically
from parity.errors import UsageError


class TorchModelFiles:
    """Methods beside `TorchModels`, on the same model."""

    torch: Any

    def model_outputs(self, inputs: Sequence[Array], calls: int = 1) -> list[Array]:
        """Return the model's outputs, called as its user calls it, in the order of the trace.

        Of several calls in a row the last one's; what they change in the model is put back only behind them.
        """
        from parity.adapters.torch_model_calls import named_outputs

        session = self._loaded()
        with session.unchanged(), self.torch.no_grad():
            for _ in range(calls - 1):
                session.forward(session.inputs(inputs))
            return [self._told(one) for _, one in named_outputs(session.forward(session.inputs(inputs)))]

    def operands(self, op: int) -> list[Array]:
        """Return the numbers that a script has places for in an operation of the trace: `trace.Op.spelt`."""
        from parity.adapters.torch_model_calls import Ref
        from parity.adapters.torch_model_replay import plan, run_call
        from parity.adapters.torch_model_spelling import operands

        session, recording = self._recorded()
        unseen = {tensor for one in recording.calls if one.hidden for tensor in one.outputs}
        call = next(one for one in recording.calls if one.index == op)
        held = operands(call, [tensor for tensor in call.inputs if tensor not in unseen])
        known, weights = dict[int, Any](), session.values(recording.training)
        with self.torch.no_grad(), session.precision():
            for one in plan(recording, [leaf.tensor for leaf in held if isinstance(leaf, Ref)], ()):
                known |= dict(zip(one.outputs, run_call(one, known, weights), strict=False))
        return [self._told(known[leaf.tensor] if isinstance(leaf, Ref) else leaf) for leaf in held]

    def declared_inputs(self) -> list[dict[str, Any]]:
        """Return nothing: a module does not say what it is fed."""
        return []

    def optimizer_settings(
        self, name: str, order: Sequence[Any] = (), given: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what `torch.optim.<name>(parameters, *order, **given)` is set to, defaults included.

        Raises
            UsageError: there is no such optimizer, or it does not take these words.
        """
        kind = getattr(self.torch.optim, name, None)
        if not isinstance(kind, type):
            raise UsageError(f"torch.optim has no {name}")
        try:
            weight = self.torch.zeros((1, 1), requires_grad=True)  # Muon takes matrices only
            defaults = kind([weight], *order, **(given or {})).defaults
        except Exception as error:
            raise UsageError(f"torch.optim.{name}: {str(error).splitlines()[0]}") from error
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in defaults.items()
            if isinstance(value, (int, float, bool, tuple, type(None)))
        }

    def save_model(self, path: str) -> None:
        """Write the weights (.pth and .pt: a state dict; .safetensors), atomically.

        Raises
            UsageError: another ending; a weight that its own code cannot be given back.
        """
        ending, torch = Path(path).suffix, self.torch
        state = self._loaded().state()
        if ending in (".pth", ".pt"):
            atomically(path, lambda file: torch.save(state, file))
        elif ending == ".safetensors":
            from safetensors.torch import save_file

            shared = {name: value.clone() for name, value in state.items()}  # the format refuses shared memory
            atomically(path, lambda file: save_file(shared, file))
        else:
            raise UsageError(f"torch cannot write `{path}`: use .pth, .pt or .safetensors")

    def _recorded(self) -> Any:
        raise NotImplementedError

    def _loaded(self) -> Any:
        raise NotImplementedError

    def _told(self, tensor: Any) -> Array:
        raise NotImplementedError
