"""Losses of the TensorFlow adapter: Keras's own, called eagerly and under `tf.function`, with their gradients."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from parity.adapters.base import Array
from parity.errors import UsageError
from parity.model.losses import TRACED, LossCase, case_of


class _Host(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    tf: Any
    keras: Any

    def _tensor(self, x: Array) -> Any: ...

    def _loss_gradient(self, case: LossCase, traced: bool) -> dict[str, Array]: ...

    def _loss_epoch(self, case: LossCase, traced: bool) -> dict[str, Array]: ...

    def _loss_of(self, case: LossCase) -> Any: ...

    def _loss_targets(self, case: LossCase) -> Any: ...

    def _loss_source(self, case: LossCase) -> Any: ...


class TensorflowLosses:
    """Losses and their gradients, by the name of a case and the mode of Keras."""

    def loss_step(self: _Host, case: str, mode: str) -> dict[str, Array]:
        """Return `loss`, a scalar or one number per sample, and `gradient` (n, c) with respect to the case's `x`.

        The loss of an epoch, as `evaluate` reports it, comes alone.
        """
        described = case_of(case)
        run = self._loss_epoch if described.batch else self._loss_gradient
        return run(described, mode == TRACED)

    def _loss_gradient(self: _Host, case: LossCase, traced: bool) -> dict[str, Array]:
        tf = self.tf
        keras_loss, source, y = self._loss_of(case), self._loss_source(case), self._loss_targets(case)
        weights = case.sample_weights()
        weigh = {} if weights is None else {"sample_weight": self._tensor(weights)}

        def step(x: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = keras_loss(y, source(x), **weigh)
                # One weight for each sample's loss, so that the gradient tells them apart.
                upstream = tf.range(1, len(case.x) + 1) if loss.shape.rank else tf.ones((), tf.int32)
                total = tf.reduce_sum(loss * tf.cast(upstream, loss.dtype))
            return loss, tape.gradient(total, x)

        x = self._tensor(np.array(case.x, dtype=np.float32))
        loss, gradient = (tf.function(step, autograph=False) if traced else step)(x)
        return {"loss": np.asarray(loss.numpy()), "gradient": np.asarray(gradient.numpy())}

    def _loss_epoch(self: _Host, case: LossCase, traced: bool) -> dict[str, Array]:
        x = np.array(case.x, dtype=np.float32)
        model = self.keras.Sequential([self.keras.Input(x.shape[1:]), self.keras.layers.Activation("linear")])
        model.compile(loss=self._loss_of(case), run_eagerly=not traced)
        found = model.evaluate(x, case.targets(), batch_size=case.batch, verbose=0)
        return {"loss": np.asarray(found, dtype=self.keras.config.floatx())}

    def _loss_of(self: _Host, case: LossCase) -> Any:
        reduction = {"mean": "sum_over_batch_size"}.get(case.reduction, case.reduction)
        return getattr(self.keras.losses, case.keras)(reduction=reduction, **case.options)

    def _loss_targets(self: _Host, case: LossCase) -> Any:
        y = case.targets()
        return self.tf.constant(y) if y.dtype == np.int64 else self._tensor(y)

    def _loss_source(self: _Host, case: LossCase) -> Any:
        tf, layers, outputs = self.tf, self.keras.layers, np.shape(case.x)[-1]
        if case.source.endswith("layer"):
            # A kernel of ones on the diagonal: the layer's own arithmetic adds nothing to the activation's.
            activation = case.source.partition(" ")[0]
            return layers.Dense(outputs, activation=activation, kernel_initializer="identity")
        sources = {
            "given": lambda x: x,
            "sigmoid": tf.sigmoid,
            "sigmoid identity": lambda x: tf.identity(tf.sigmoid(x)),
            "softmax": tf.nn.softmax,
        }
        if case.source not in sources:
            raise UsageError(f"no source of predictions `{case.source}`; there are {', '.join(sources)}")
        return sources[case.source]
