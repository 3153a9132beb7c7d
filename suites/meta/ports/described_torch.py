"""Every layer kind and small network of the layer zoo as a torch module: `described_torch.py:unet`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from parity.adapters import torch_layers
from parity.model import zoo
from parity.model.network import CHANNELS

NETWORKS = {network.name.replace("-", "_"): network for network in [*zoo.kinds(), *zoo.small_networks()]}


def __getattr__(name: str) -> Callable[[], Any]:
    if name not in NETWORKS:
        raise AttributeError(name)
    network = NETWORKS[name]

    class Described(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = nn.ModuleDict()
            known = {i.name: _example(i) for i in network.inputs}
            for node in network.nodes:
                fed = [known[source] for source in node.inputs]
                if node.holder == node.name:
                    self.made[node.name] = torch_layers.module(node, [tuple(x.shape[1:]) for x in fed]).eval()
                known[node.name] = self.made[node.holder](*fed)

        def forward(self, *inputs: Any) -> Any:
            known = {i.name: _arranged(i, x) for i, x in zip(network.inputs, inputs, strict=True)}
            for node in network.nodes:
                known[node.name] = self.made[node.holder](*(known[source] for source in node.inputs))
            return known[network.output]

    return Described


def _arranged(given: Any, x: Any) -> Any:
    """Only images change their order of axes on the way here; other inputs with channels do it now."""
    return x.movedim(-1, 1) if given.layout == CHANNELS and len(given.shape) in (2, 4) else x


def _example(given: Any) -> Any:
    shape = list(given.shape)
    if given.layout == CHANNELS and len(shape) > 1:
        shape = [shape[-1], *shape[:-1]]
    return torch.zeros(2, *shape, dtype=torch.long if given.below is not None else None)
