"""Training as Keras's users do it: `fit` on a tf.data pipeline that streams files, with Keras's own callbacks."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Adapter, Array
from parity.adapters.practice import Pulse, read_state, write_checkpoint

WATCHED = "val_loss"
# What callbacks know and forget: `on_train_begin` sets them anew, and `BackupAndRestore` does not keep it.
REMEMBERED = {"EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch"), "ReduceLROnPlateau": ("wait", "best")}


class TensorflowPractice(Adapter):
    """One training at a time; what it is to do comes as plain data, see `study.practice`."""

    tf: Any
    keras: Any
    _task: Mapping[str, Any]
    _fitted: Any
    _last_weights: list[Array]

    @abstractmethod
    def place_initial(self, weights: Mapping[str, Array]) -> None: ...

    @abstractmethod
    def _built(self) -> Any: ...

    @abstractmethod
    def _prepared_image(self, file: Any, size: list[int]) -> Any: ...

    @abstractmethod
    def _model_input(self, batch: Any) -> Any: ...

    def practice_open(self, task: dict[str, Any]) -> None:
        """Build the network, put dropout before its last layer, place the given weights and compile it."""
        keras = self.keras
        self.build(task["spec"], seed=task["seed"])
        self.place_initial(task["initial"])
        *body, last = self._logit_layers()
        spec = self._described()
        self._task = task
        self._fitted = keras.Sequential(
            [
                keras.Input((spec.height, spec.width, spec.channels)),
                *body,
                keras.layers.Dropout(task["dropout"], seed=task["seed"]),
                last,
            ]
        )
        self._compile(self._fitted, task["learning_rate"], task["epsilon"])
        self._fitted.optimizer.build(self._fitted.trainable_variables)
        self._last_weights = []

    def practice_run(self, resume: str | None = None, die_at: list[int] | None = None) -> dict[str, Any]:
        """Train to the end, from the checkpoint `resume` if given, and return what each epoch gave.

        `die_at`: epoch and step, from 1, after which this process kills itself. Returns `epochs` (rows),
        `stopped_epoch` (None: all epochs were trained) and `best_epoch`, whose weights the model holds then.
        """
        task, model = self._task, self._fitted
        early, plateau = self._callbacks(task)
        steps = -(-len(task["labels"]) // task["batch"])
        keeper = self._keeper(early, plateau, resume, Pulse(task["folder"], steps, die_at))
        callbacks = [*([plateau] if plateau else []), early, keeper]
        done = 0
        if resume is not None:
            self._load(Path(resume))
            state = read_state(resume)
            done = task["epochs"] if state["stopped"] else state["epoch"]
        weights = task["class_weights"]
        model.fit(
            self._stream(done),
            validation_data=self._held_out(),
            initial_epoch=done,
            epochs=task["epochs"],
            steps_per_epoch=steps,
            class_weight=None if weights is None else dict(enumerate(weights)),
            callbacks=callbacks,
            verbose=0,
        )
        return {
            "epochs": keeper.rows,
            "stopped_epoch": early.stopped_epoch + 1 if early.stopped_epoch else None,
            "best_epoch": early.best_epoch + 1,
        }

    def practice_state(self) -> dict[str, Array]:
        """Return all that decides what training would do next: weights, last epoch's too, optimizer slots, RNG."""
        model = self._fitted
        groups = (("weight", model.weights), ("optimizer", model.optimizer.variables), ("random", self._random()))
        # By number too: Keras counts objects of one kind up, so that a second optimizer is `adam_1`.
        variables = {f"{kind} {n} {v.name}": v for kind, found in groups for n, v in enumerate(found)}
        found = {name: np.asarray(v.numpy()) for name, v in variables.items()}
        return found | {f"last epoch {number}": value for number, value in enumerate(self._last_weights)}

    def practice_gradients(self) -> dict[str, Array]:
        """Return one batch's input, each layer's output and each weight's gradient, in the order they are computed."""
        tf, model = self.tf, self._fitted
        x, y = next(iter(self._stream(0)))
        found, value = {"input": x.numpy()}, x
        for layer in self._logit_layers():
            value = layer(value)
            found[f"forward {layer.name}"] = value.numpy()
        with tf.GradientTape() as tape:
            value = x
            for layer in self._logit_layers():
                value = layer(value)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=tf.squeeze(value, -1)))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        pairs = list(zip(model.trainable_variables, gradients, strict=True))
        return found | {f"backward {variable.path}": gradient.numpy() for variable, gradient in reversed(pairs)}

    def practice_augment(self, images: Array, drawn: dict[str, Array], warps: bool) -> Array:
        """Return images (n, h, w, c), uint8 or float32 in [0, 1], as the pipeline augments them: float32."""
        tf = self.tf

        @tf.function
        def augmented(pixels: Any, given: Any) -> Any:
            scaled = self._model_input(pixels) if pixels.dtype == tf.uint8 else pixels
            return self._augmented(scaled, given, warps)

        tensors = {name: tf.constant(values) for name, values in drawn.items()}
        return np.asarray(augmented(tf.constant(images), tensors).numpy())

    def practice_rates(
        self, schedule: dict[str, Any], learning_rate: float, epochs: int, losses: Sequence[float]
    ) -> list[float]:
        """Return the learning rate in force in each epoch, when validation ends in these losses."""
        model = self._tiny(learning_rate)
        callback = self._schedule(schedule, learning_rate, epochs)
        rates = []
        if callback is not None:
            callback.set_model(model)
            callback.on_train_begin()
        for epoch in range(epochs):
            if callback is not None:
                callback.on_epoch_begin(epoch, {})
            rates.append(float(model.optimizer.learning_rate.numpy()))
            if callback is not None:
                callback.on_epoch_end(epoch, {WATCHED: losses[epoch]})
        return rates

    def practice_stopping(self, stopping: dict[str, Any], losses: Sequence[float]) -> dict[str, Any]:
        """Return after which epoch training stops (None: never) and which epoch's weights the model holds then."""
        model = self._tiny(0.0)
        early = self._early(stopping)
        early.set_model(model)
        early.on_train_begin()
        model.stop_training = False
        stopped = None
        for epoch, loss in enumerate(losses):
            model.set_weights([np.full((1, 1), epoch + 1.0, np.float32), np.zeros(1, np.float32)])
            early.on_epoch_end(epoch, {WATCHED: loss})
            if model.stop_training:
                stopped = epoch + 1
                break
        early.on_train_end()
        return {"stopped_epoch": stopped, "best_epoch": int(model.get_weights()[0][0, 0])}

    def practice_loss(self, logits: Array, labels: Array, class_weights: Sequence[float]) -> dict[str, float]:
        """Return the loss that `fit` reports for one batch of these logits, float32 (n,), under class weights."""
        model = self._tiny(0.0)
        data = self.tf.data.Dataset.from_tensors((logits[:, None], labels))
        history = model.fit(data, class_weight=dict(enumerate(class_weights)), verbose=0)
        return {"loss": float(history.history["loss"][0])}

    # The pieces.

    def _logit_layers(self) -> list[Any]:
        layers = self._built().layers
        return list(layers[:-1] if self._described().layers[-1].kind == "sigmoid" else layers)

    def _compile(self, model: Any, learning_rate: float, epsilon: float) -> None:
        keras = self.keras
        model.compile(
            optimizer=keras.optimizers.Adam(learning_rate=learning_rate, epsilon=epsilon),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            jit_compile=False,
        )

    def _tiny(self, learning_rate: float) -> Any:
        """Return a compiled model of one weight 1 and one bias 0, whose output is its input."""
        keras = self.keras
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.set_weights([np.ones((1, 1), np.float32), np.zeros(1, np.float32)])
        self._compile(model, learning_rate, 1e-7)
        return model

    def _callbacks(self, task: Mapping[str, Any]) -> tuple[Any, Any]:
        schedule = self._schedule(task["schedule"], task["learning_rate"], task["epochs"])
        return self._early(task["stopping"]), schedule

    def _early(self, stopping: Mapping[str, Any]) -> Any:
        return self.keras.callbacks.EarlyStopping(
            monitor=WATCHED,
            patience=stopping["patience"],
            min_delta=stopping["min_delta"],
            mode="min",
            restore_best_weights=True,
        )

    def _schedule(self, schedule: Mapping[str, Any], start: float, epochs: int) -> Any:
        callbacks, schedules = self.keras.callbacks, self.keras.optimizers.schedules
        if schedule["kind"] == "plateau":
            return callbacks.ReduceLROnPlateau(
                monitor=WATCHED,
                factor=schedule["factor"],
                patience=schedule["patience"],
                min_delta=schedule["min_delta"],
                min_lr=schedule["end"],
                mode="min",
            )
        if schedule["kind"] == "cosine":
            falling = schedules.CosineDecay(start, decay_steps=epochs, alpha=schedule["end"] / start)
        elif schedule["kind"] == "exponential":
            falling = schedules.ExponentialDecay(start, decay_steps=1, decay_rate=schedule["factor"])
        else:
            return None
        return callbacks.LearningRateScheduler(lambda epoch: float(falling(epoch)))

    def _stream(self, done: int) -> Any:
        """Return the batches of all epochs after `done`, each read from its files when it is due."""
        tf, task = self.tf, self._task
        files, labels = tf.constant(task["files"]), tf.constant(task["labels"])
        orders = tf.constant(task["orders"])
        drawn = {name: tf.constant(values) for name, values in task["drawn"].items()}

        def epoch_batches(epoch: Any) -> Any:
            order = orders[epoch]
            given = {name: tf.gather(values[epoch], order) for name, values in drawn.items()}
            rows = tf.data.Dataset.from_tensor_slices((tf.gather(files, order), tf.gather(labels, order), given))
            return rows.map(self._read, num_parallel_calls=task["loaders"] or None).batch(task["batch"])

        def prepared(pixels: Any, y: Any, given: Any) -> Any:
            return self._augmented(self._model_input(pixels), given, task["warps"]), y

        return tf.data.Dataset.range(done, task["epochs"]).flat_map(epoch_batches).map(prepared).prefetch(2)

    def _held_out(self) -> Any:
        tf, task = self.tf, self._task
        rows = tf.data.Dataset.from_tensor_slices((task["held_out_files"], task["held_out_labels"]))
        batches = rows.map(lambda file, y: (self._prepared_image(file, task["size"]), y)).batch(task["batch"])
        return batches.map(lambda pixels, y: (self._model_input(pixels), y))

    def _read(self, file: Any, y: Any, given: Any) -> Any:
        return self._prepared_image(file, self._task["size"]), y, given

    def _augmented(self, x: Any, given: Any, warps: bool) -> Any:
        """Flip, warp and change the contrast of float32 (n, h, w, c), as `study.augment` describes it."""
        tf = self.tf
        flip = tf.cast(given["flip"], tf.bool)[:, None, None, None]
        x = tf.where(flip, tf.reverse(x, axis=[2]), x)
        if warps:
            matrix = given["matrix"]
            x = tf.raw_ops.ImageProjectiveTransformV3(
                images=x,
                transforms=tf.concat([matrix, tf.zeros_like(matrix[:, :2])], axis=1),
                output_shape=tf.shape(x)[1:3],
                fill_value=0.0,
                interpolation="BILINEAR",
                fill_mode="CONSTANT",
            )
        scaled = x * given["contrast"][:, None, None, None] + given["offset"][:, None, None, None]
        return tf.clip_by_value(scaled, 0.0, 1.0)

    def _saved(self, callback: Any) -> dict[str, Any]:
        return {name: _number(getattr(callback, name)) for name in REMEMBERED.get(type(callback).__name__, ())}

    def _keeper(self, early: Any, schedule: Any, resume: str | None, pulse: Pulse) -> Any:
        """Return the callback that comes last: it keeps checkpoints with what the callbacks before it know."""
        adapter, task = self, self._task

        class Keeper(self.keras.callbacks.Callback):  # type: ignore[name-defined]
            """Writes a checkpoint after each epoch, and gives the other callbacks their memory back."""

            def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
                self.rows = []
                if resume is not None:
                    self.rows = adapter._restore(resume, early, schedule)

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
                self._start_s = time.perf_counter()
                self._rate = float(self.model.optimizer.learning_rate.numpy())

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                epoch = len(self.rows) + 1
                pulse.step(epoch, batch + 1, float((logs or {}).get("loss", 0.0)))

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                found = dict(logs or {})
                self.rows.append({
                    "epoch": epoch + 1, "loss": float(found["loss"]), "val_loss": float(found[WATCHED]),
                    "learning_rate": self._rate, "seconds": time.perf_counter() - self._start_s,
                })  # fmt: skip
                adapter._last_weights = self.model.get_weights()
                state = {
                    "epoch": epoch + 1, "stopped": bool(self.model.stop_training), "rows": self.rows,
                    "early": adapter._saved(early), "schedule": adapter._saved(schedule),
                }  # fmt: skip
                write_checkpoint(task["folder"], epoch + 1, lambda folder: adapter._fill(folder, early), state)

        return Keeper()

    def _random(self) -> list[Any]:
        """Return the seeds that the layers draw from: variables that Keras neither counts as weights nor saves."""
        kept = {id(variable) for variable in self._fitted.weights}
        return [v for layer in self._fitted.layers for v in layer.variables if id(v) not in kept]

    def _load(self, checkpoint: Path) -> None:
        """Take weights, optimizer and seeds from a checkpoint; `BackupAndRestore` leaves the seeds as they are."""
        self._fitted.load_weights(checkpoint / "model.weights.h5")
        with np.load(checkpoint / "random.npz") as held:
            for variable, name in zip(self._random(), held.files, strict=True):
                variable.assign(held[name])

    def _fill(self, folder: Path, early: Any) -> None:
        self._fitted.save_weights(folder / "model.weights.h5")
        np.savez(folder / "random.npz", *(variable.numpy() for variable in self._random()))
        np.savez(folder / "best.npz", *(early.best_weights or []))

    def _restore(self, resume: str, early: Any, schedule: Any) -> list[dict[str, Any]]:
        """Give the callbacks back what they knew when the checkpoint was written; return the rows until then."""
        state = read_state(resume)
        for callback, known in ((early, state["early"]), (schedule, state["schedule"])):
            for name, value in known.items():
                setattr(callback, name, value)
        with np.load(Path(resume) / "best.npz") as held:
            early.best_weights = [held[name] for name in held.files] or None
        self._last_weights = self._fitted.get_weights()
        return list(state["rows"])


def _number(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else float(value)
