"""The torch adapter on a device that is made up: shapes and devices are followed, and nothing is computed.

Torch's own fake tensors, here on its device `meta`, refuse what a GPU refuses first: operands on different devices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.adapters.torch_lanes import LaneOptions
from parity.adapters.torch_losses import PROGRAMS
from parity.adapters.torch_optimizers import CLASSES
from parity.bench.lanes import lane
from parity.model.losses import CASES
from parity.model.network import Network
from parity.model.spec import example_cnn
from parity.model.zoo import kinds, small_networks
from parity.optimizers import keras_like

PRETENDED = "meta"


class FakeDevice(TorchAdapter):
    """Runs what it is asked for on tensors that say they lie on another device than the CPU."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        fakes = self.torch._subclasses.fake_tensor
        self.device = self.torch.device(PRETENDED)
        self._mode = fakes.FakeTensorMode(allow_non_fake_inputs=True)
        self.torch.nn.Module.to = lambda module, *_, **__: module  # fake modules are made on the device, and stay
        self._unknown = fakes.DataDependentOutputException

    def _array(self, tensor: Any) -> Any:
        """Return zeros of the tensor's shape, where it has arrived on the device."""
        if tensor.device.type != PRETENDED:
            raise RuntimeError(f"a result lies on the {tensor.device}")
        return np.zeros(tuple(tensor.shape), np.float32)

    def losses(self) -> dict[str, str]:
        """Return what went wrong, by case and program; every program that a case is asked with."""
        asked = [
            (key, program)
            for key, case in CASES.items()
            for program in dict.fromkeys([case.written, *(case.port(mode).exact for mode in ("eager", "graph"))])
        ]
        assert {program for _, program in asked} <= set(PROGRAMS)
        return {f"{key} / {program}": said for key, program in asked if (said := self._tried(key, program))}

    def mixed(self) -> str:
        """Return what is said of class numbers that stay on the CPU."""
        x = np.zeros((3, 2), np.float32)
        nll, numbers = self.torch.nn.functional.nll_loss, self.torch.zeros(3, dtype=self.torch.long)
        return self._said(lambda: nll(self._tensor(x), numbers))

    def asked(self) -> int:
        """Return how many cases there are."""
        return len(CASES)

    def networks(self) -> dict[str, str]:
        """Return what went wrong with a training step of a network, by its name."""
        tried = {f"{net.name}{' in training' * training}": self._said(partial(self._network_tried, net, training))
                 for net in [*kinds(), *small_networks()] for training in (False, True)}  # fmt: skip
        return {name: said for name, said in tried.items() if said}

    def _network_tried(self, network: Network, training: bool) -> None:
        with self.torch.device(PRETENDED):
            shapes = self.build_network(network.to_dict())
        given = {one.name: self._example(one) for one in network.inputs}
        inputs = {name: np.zeros(tuple(x.shape), np.float32 if x.is_floating_point() else np.int64)
                  for name, x in given.items()}  # fmt: skip
        upstream = {"kind": "linear", "upstream": np.zeros((2, *shapes[network.output]), np.float32)}
        trains = training and any(parameter.requires_grad for parameter in self._parameters())
        for name in ("adam", "sgd") if trains else ("",):
            optimizer = {"name": name, "learning_rate": 0.01} if name else None
            self.network_step(inputs, upstream, training, optimizer)

    def _parameters(self) -> list[Any]:
        return [parameter for made in self._modules.values() for parameter in made.parameters()]

    def lanes(self, names: list[str]) -> dict[str, str]:
        """Return what went wrong with a step of a lane, by name and work."""
        found = {}
        for entry in (lane(name) for name in names):
            with self._mode, self.torch.device(PRETENDED):
                self.build(example_cnn(12, 10, 3, filters=4, hidden=5).to_dict(), seed=0)
            with self._mode:
                self.place_images(np.zeros((4, 12, 10, 3), np.uint8), np.zeros(4, np.uint8))
            started = self._said(partial(self._begin_lane, LaneOptions.read(entry.options)))
            for work in ("evaluate", "train"):
                found[f"{entry.name} / {work}"] = started or self._said(partial(self._step_tried, work))
        return {name: said for name, said in found.items() if said}

    def _step_tried(self, work: str) -> None:
        self.step(work)()

    def optimizers(self) -> dict[str, str]:
        """Return what went wrong with an optimizer that steps as Keras's does, by its name."""
        return {name: said for name in CLASSES if (said := self._said(partial(self._optimizer_tried, name)))}

    def _optimizer_tried(self, name: str) -> None:
        parameter = self.torch.nn.Parameter(self._tensor(np.ones(3, np.float32)))
        stepper = keras_like(name, [parameter], learning_rate=0.01)
        for _ in range(2):
            parameter.grad = self._tensor(np.ones(3, np.float32))
            stepper.step()

    def _numpy(self, tensor: Any) -> Any:
        return self._array(tensor)

    def _tried(self, key: str, program: str) -> str:
        return self._said(lambda: self.loss_step(key, program))

    def _said(self, run: Callable[[], Any]) -> str:
        try:
            with self._mode:
                run()
        except self._unknown:  # a number that only a real device knows: as far as that, devices were followed
            return ""
        except Exception as error:
            if ".numpy() is not supported" in str(error):  # nor has a fake tensor numbers to be read
                return ""
            return f"{type(error).__name__}: {str(error).splitlines()[0]}"
        return ""
