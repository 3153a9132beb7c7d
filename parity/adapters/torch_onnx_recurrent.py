"""ONNX's recurrent nodes as torch's layers: other orders of gates, both biases in one row, time in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.adapters.onnx_graph import GATES, bends, refuse_recurrent, refuse_steps
from parity.errors import UsageError


class OnnxRecurrent(nn.Module):
    """One such node; `layer` holds the weights as torch has them."""

    def __init__(self, kind: str, attributes: Mapping[str, Any], weights: Sequence[Tensor | None]) -> None:
        super().__init__()
        kernel, recurrent, bias = weights
        if kernel is None or recurrent is None:
            raise UsageError(f"an ONNX {kind} whose weights are computed cannot be run here: name a builder")
        refuse_recurrent(kind, attributes, len(kernel), reset_before=False)
        hidden = int(recurrent.shape[-1])
        made = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[kind]
        words: dict[str, Any] = {"bias": bias is not None, "bidirectional": len(kernel) == 2}
        if kind == "RNN":
            words["nonlinearity"] = bends(attributes)
        self.layer = made(int(kernel.shape[-1]), hidden, **words)
        self.__dict__["attributes"] = attributes
        self.__dict__["backwards"] = attributes.get("direction") == "reverse"
        self.__dict__["batch_first"] = bool(attributes.get("layout", 0))
        with torch.no_grad():
            for number in range(len(kernel)):
                suffix = "_l0" + ("_reverse" if number else "")
                parts = {"weight_ih": kernel[number], "weight_hh": recurrent[number]}
                if bias is not None:
                    parts["bias_ih"], parts["bias_hh"] = bias[number].chunk(2)
                for name, value in parts.items():
                    getattr(self.layer, name + suffix).copy_(_reordered(value, GATES[kind]))

    def forward(self, x: Tensor, *states: Tensor | None) -> tuple[Tensor, ...]:
        """Return all steps, with an axis of directions, and the last states."""
        given = tuple(state for state in states if state is not None)
        x = x.transpose(0, 1) if self.__dict__["batch_first"] else x
        refuse_steps(self.__dict__["attributes"], x.shape[0])
        x = x.flip(0) if self.__dict__["backwards"] else x
        made, last = self.layer(x, given if len(given) == 2 else given[0]) if given else self.layer(x)
        made = made.flip(0) if self.__dict__["backwards"] else made
        steps, batch, _ = made.shape
        made = made.reshape(steps, batch, 2 if self.layer.bidirectional else 1, -1)
        made = made.permute(1, 0, 2, 3) if self.__dict__["batch_first"] else made.permute(0, 2, 1, 3)
        return (made, *last) if isinstance(last, tuple) else (made, last)


def _reordered(value: Tensor, order: Sequence[int]) -> Tensor:
    blocks = value.chunk(len(order))
    return torch.cat([blocks[place] for place in order])
