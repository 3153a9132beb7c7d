"""Adapters that only the tests of `parity.optimizers` need; loaded inside workers by path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.adapters.tensorflow import TensorflowAdapter
from parity.adapters.torch import TorchAdapter
from parity.model.layout import Array


class Keras(TensorflowAdapter):
    """Keras with small jobs of its own."""

    def normalise(self, batches: Array, momentum: float) -> dict[str, Array]:
        """Return BatchNorm's moving statistics after training on each of the batches (k, n, h, w, c)."""
        layer = self.keras.layers.BatchNormalization(momentum=momentum)
        for batch in batches:
            layer(self._tensor(batch), training=True)
        return {"mean": layer.moving_mean.numpy(), "variance": layer.moving_variance.numpy()}

    def fit(self, name: str, config: Mapping[str, Any], x: Array, y: Array, start: Mapping[str, Array], epochs: int,
            path: str) -> dict[str, Any]:  # fmt: skip
        """Train a Dense(1) with `torch_like` through compile and fit, batches in order; save, load, train on."""
        from parity.optimizers import torch_like

        keras = self.keras
        model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(1)])
        model.layers[0].set_weights([start["kernel"], start["bias"]])
        model.compile(optimizer=torch_like(name, **config), loss="mse", jit_compile=False)
        model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
        model.save(path)
        again = keras.models.load_model(path)
        for one in (model, again):
            one.fit(x, y, batch_size=8, epochs=1, shuffle=False, verbose=0)
        return {
            "weights": [np.asarray(w) for w in model.get_weights()],
            "reloaded": [np.asarray(w) for w in again.get_weights()],
        }

    def rates(self, kind: str, words: Mapping[str, Any], steps: int) -> Array:
        """Return a Keras schedule's rates, computed one by one."""
        schedule = getattr(self.keras.optimizers.schedules, kind)(**words)
        return np.array([float(schedule(self.tf.constant(step))) for step in range(steps)])


class Torch(TorchAdapter):
    """Torch with small jobs of its own."""

    def normalise(self, batches: Array, momentum: float | None, biased: bool) -> dict[str, Array]:
        """Return BatchNorm's running statistics after training on each of the batches (k, n, c, h, w)."""
        from parity.optimizers import biased_running_variance

        layer = self.torch.nn.BatchNorm2d(batches.shape[2], momentum=momentum).to(self.dtype)
        model = self.torch.nn.Sequential(layer)
        handle = biased_running_variance(model) if biased else None
        for batch in batches:
            model(self._tensor(batch)).square().sum().backward()  # which must run, as in training
        found = {"mean": self._array(layer.running_mean), "variance": self._array(layer.running_var)}
        if handle is not None:
            handle.remove()
            model(self._tensor(batches[0]))
        model.eval()
        model(self._tensor(batches[0]))
        return {**found, "after_removal": self._array(layer.running_var)}

    def fit(self, name: str, config: Mapping[str, Any], x: Array, y: Array, start: Mapping[str, Array],
            epochs: int) -> list[Array]:  # fmt: skip
        """Train the same Dense(1) with stock torch; one epoch more, as `Keras.fit` does after loading."""
        torch = self.torch
        layer = torch.nn.Linear(x.shape[1], 1).to(self.dtype)
        with torch.no_grad():
            layer.weight.copy_(self._tensor(start["kernel"].T))
            layer.bias.copy_(self._tensor(start["bias"]))
        made = getattr(torch.optim, name)(layer.parameters(), **config)
        for _ in range(epochs + 1):
            for at in range(0, len(x), 8):
                made.zero_grad()
                torch.nn.functional.mse_loss(
                    layer(self._tensor(x[at : at + 8])), self._tensor(y[at : at + 8])
                ).backward()
                made.step()
        return [self._array(layer.weight).T, self._array(layer.bias)]

    def resume(self, name: str, config: Mapping[str, Any], gradients: Array, schedule: bool) -> dict[str, Any]:
        """Return the weights of one whole run, and of one that went through `state_dict` and a file half-way."""
        import io

        from parity.optimizers import keras_like, keras_schedule

        torch, half = self.torch, len(gradients) // 2
        words: dict[str, Any] = {"initial_learning_rate": 0.01, "decay_steps": 5, "decay_rate": 0.5}

        def start(weights: Any) -> tuple[Any, Any, Any]:
            parameter = torch.nn.Parameter(weights.clone())
            made = keras_like(name, [parameter], **config)
            return parameter, made, keras_schedule(made, "exponential_decay", **words) if schedule else None

        def go(run: tuple[Any, Any, Any], rows: Array) -> Any:
            parameter, made, scheduler = run
            for row in rows:
                made.zero_grad()
                parameter.grad = self._tensor(row)
                made.step()
                if scheduler is not None:
                    scheduler.step()
            return parameter.detach()

        whole = start(torch.ones(gradients.shape[1:], dtype=self.dtype))
        go(whole, gradients[:half])
        saved = io.BytesIO()
        torch.save([whole[1].state_dict(), whole[2].state_dict() if schedule else None], saved)
        saved.seek(0)
        states = torch.load(saved, weights_only=True)
        resumed = start(whole[0].detach())
        resumed[1].load_state_dict(states[0])
        if schedule:
            resumed[2].load_state_dict(states[1])
        return {
            "whole": self._array(go(whole, gradients[half:])),
            "resumed": self._array(go(resumed, gradients[half:])),
        }

    def manners(self) -> dict[str, Any]:
        """Return what `keras_like` does where a torch optimizer is expected: groups, schedulers, closures, pickling."""
        import copy
        import pickle

        from parity.optimizers import keras_like

        torch = self.torch
        a, b = (torch.nn.Parameter(torch.ones(2, dtype=self.dtype)) for _ in range(2))
        made = keras_like("adam", [{"params": [a]}, {"params": [b], "lr": 0.0}], learning_rate=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(made, 1, gamma=0.5)

        def closure() -> Any:
            made.zero_grad()
            loss = (a.sum() + b.sum()) ** 2
            loss.backward()
            return loss

        loss = float(made.step(closure))
        scheduler.step()
        copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
        return {
            "optimizer": isinstance(made, torch.optim.Optimizer),
            "loss": loss,
            "moved": [bool((a != 1).all()), bool((b != 1).any())],
            "rates": [group["lr"] for group in made.param_groups],
            "copies": [copied.param_groups[0]["iterations"] for copied in copies],
        }

    def epsilon_handle(self) -> dict[str, Any]:
        """Return the epsilons that `per_step_epsilon` set, and those after its removal."""
        from parity.optimizers import per_step_epsilon

        parameter = self.torch.nn.Parameter(self.torch.ones(2, dtype=self.dtype))
        made = self.torch.optim.Adam([parameter])
        handle, seen = per_step_epsilon(made), []
        for _ in range(3):
            parameter.grad = self.torch.ones(2, dtype=self.dtype)
            made.step()
            seen.append(made.param_groups[0]["eps"])
        handle.remove()
        made.param_groups[0]["eps"] = 1e-8
        made.step()
        return {"seen": seen, "after": made.param_groups[0]["eps"]}

    def refused(self) -> list[str]:
        """Return what is said to each of several configurations that cannot be meant."""
        from parity import optimizers as o
        from parity.errors import UsageError

        p = [self.torch.nn.Parameter(self.torch.ones(2))]
        stock = self.torch.optim.SGD(p)
        attempts: list[Any] = [
            lambda: o.keras_like("lion", p),
            lambda: o.keras_like("adam", p, lr=0.1),
            lambda: o.keras_like("adam", p, clipnorm=1.0, clipvalue=1.0),
            lambda: o.keras_like("adamw", p, weight_decay=None),
            lambda: o.keras_like("sgd", p, momentum=1.5),
            lambda: o.per_step_epsilon(stock),
            lambda: o.keras_schedule(stock, "cosine_decay"),
            lambda: o.keras_plateau(stock, factor=2.0),
            lambda: o.biased_running_variance(self.torch.nn.Linear(2, 2)),
        ]
        said = []
        for attempt in attempts:
            try:
                attempt()
            except UsageError as error:
                said.append(str(error))
        return said
