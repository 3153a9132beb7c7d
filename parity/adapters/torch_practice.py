"""Training as PyTorch's users do it: a Dataset and a DataLoader, a loop, a scheduler, checkpoints by `torch.save`."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Adapter, Array
from parity.adapters.practice import Pulse, read_state, write_checkpoint

SOURCE = "DataLoader"


class EarlyStopping:
    """The loop's own rule, for torch has none: stop once `patience` epochs in a row were not better than the best."""

    def __init__(self, patience: int, min_delta: float) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best, self.best_epoch, self.wait = math.inf, 0, 0
        self.best_weights: dict[str, Any] = {}

    def stops(self, epoch: int, loss: float, model: Any) -> bool:
        """Take the validation loss after `epoch`, from 1; keep the weights if it is the best; say whether to stop."""
        if loss + self.min_delta < self.best:
            self.best, self.best_epoch, self.wait = loss, epoch, 0
            self.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            return False
        self.wait += 1
        return self.wait >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return all that the rule knows."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        vars(self).update(state)


class TorchPractice(Adapter):
    """One training at a time; what it is to do comes as plain data, see `study.practice`."""

    torch: Any
    device: Any
    _task: Mapping[str, Any]
    _trained: Any
    _adam: Any
    _last_weights: dict[str, Array]

    @abstractmethod
    def place_initial(self, weights: Mapping[str, Array]) -> None: ...

    @abstractmethod
    def _built(self) -> Any: ...

    @abstractmethod
    def _prepared_image(self, source: str, file: str, size: tuple[int, int, int]) -> Any: ...

    @abstractmethod
    def _model_input(self, batch: Any) -> Any: ...

    def practice_open(self, task: dict[str, Any]) -> None:
        """Build the network, put dropout before its last layer, place the given weights and make the optimizer."""
        torch = self.torch
        self.build(task["spec"], seed=task["seed"])
        self.place_initial(task["initial"])
        self._task = task
        names = [name for name, _ in self._logit_layers()]
        layers = dict(self._logit_layers())
        self._trained = torch.nn.Sequential()
        for name in names[:-1]:
            self._trained.add_module(name, layers[name])
        self._trained.add_module("dropout", torch.nn.Dropout(task["dropout"]))
        self._trained.add_module(names[-1], layers[names[-1]])
        self._adam = torch.optim.Adam(self._trained.parameters(), lr=task["learning_rate"], eps=task["epsilon"])
        torch.manual_seed(task["seed"])
        self._last_weights = {}

    def practice_run(self, resume: str | None = None, die_at: list[int] | None = None) -> dict[str, Any]:
        """Train to the end, from the checkpoint `resume` if given, and return what each epoch gave.

        `die_at`: epoch and step, from 1, after which this process kills itself. Returns `epochs` (rows),
        `stopped_epoch` (None: all epochs were trained) and `best_epoch`, whose weights the model holds then.
        """
        task, model = self._task, self._trained
        early = EarlyStopping(**task["stopping"])
        scheduler = self._scheduler(self._adam, task["schedule"], task["epochs"])
        pulse = Pulse(task["folder"], -(-len(task["labels"]) // task["batch"]), die_at)
        rows, stopped = ([], False) if resume is None else self._resume(resume, early, scheduler)
        while len(rows) < task["epochs"] and not stopped:
            start_s, rate = time.perf_counter(), float(self._adam.param_groups[0]["lr"])
            loss = self._epoch(len(rows), pulse)
            held_out = self._held_out_loss()
            self._advance(scheduler, held_out)
            rows.append({
                "epoch": len(rows) + 1, "loss": loss, "val_loss": held_out, "learning_rate": rate,
                "seconds": time.perf_counter() - start_s,
            })  # fmt: skip
            stopped = early.stops(len(rows), held_out, model)
            self._keep(rows, stopped, early, scheduler)
        self._last_weights = self._arrays(model.state_dict())
        model.load_state_dict(early.best_weights)
        return {"epochs": rows, "stopped_epoch": len(rows) if stopped else None, "best_epoch": early.best_epoch}

    def practice_state(self) -> dict[str, Array]:
        """Return all that decides what training would do next: weights, last epoch's too, optimizer slots, RNG."""
        found = {f"weight {name}": value for name, value in self._arrays(self._trained.state_dict()).items()}
        for number, slots in self._adam.state_dict()["state"].items():
            found |= {f"optimizer {number} {name}": value for name, value in self._arrays(slots).items()}
        found["optimizer learning rate"] = np.array(self._adam.param_groups[0]["lr"])
        found |= {f"last epoch {name}": value for name, value in self._last_weights.items()}
        return found | {f"random {name}": value for name, value in self._arrays(self._random()).items()}

    def practice_gradients(self) -> dict[str, Array]:
        """Return one batch's input, each layer's output and each weight's gradient, in the order they are computed."""
        torch, model = self.torch, self._trained
        x, y, _ = next(iter(self._augmented_loader(0)))
        x, y = x.to(self.device), y.to(self.device)
        found, value = {"input": x.cpu().numpy()}, x
        for name, layer in self._logit_layers():
            value = layer(value)
            found[f"forward {name}"] = value.detach().cpu().numpy()
        model.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(value.squeeze(-1), y).backward()
        parameters = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
        return found | {f"backward {name}": gradient.cpu().numpy() for name, gradient in reversed(parameters)}

    def practice_augment(self, images: Array, drawn: dict[str, Array], warps: bool) -> Array:
        """Return images (n, h, w, c), uint8 or float32 in [0, 1], as the data set augments them: float32."""
        torch = self.torch
        found = []
        for index, image in enumerate(images):
            pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
            given = {name: torch.from_numpy(np.array(values[index])) for name, values in drawn.items()}
            scaled = self._model_input(pixels) if pixels.dtype == torch.uint8 else pixels
            found.append(self._augmented(scaled, given, warps).permute(1, 2, 0).numpy())
        return np.stack(found)

    def practice_rates(
        self, schedule: dict[str, Any], learning_rate: float, epochs: int, losses: Sequence[float]
    ) -> list[float]:
        """Return the learning rate in force in each epoch, when validation ends in these losses."""
        torch = self.torch
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)
        scheduler = self._scheduler(optimizer, schedule, epochs)
        rates = []
        for loss in losses[:epochs]:
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            self._advance(scheduler, loss)
        return rates

    def practice_stopping(self, stopping: dict[str, Any], losses: Sequence[float]) -> dict[str, Any]:
        """Return after which epoch training stops (None: never) and which epoch's weights the model holds then."""
        torch = self.torch
        model, early = torch.nn.Linear(1, 1), EarlyStopping(**stopping)
        stopped = None
        for epoch, loss in enumerate(losses, 1):
            with torch.no_grad():
                model.weight.fill_(float(epoch))
            if early.stops(epoch, loss, model):
                stopped = epoch
                break
        model.load_state_dict(early.best_weights)
        return {"stopped_epoch": stopped, "best_epoch": int(model.weight.item())}

    def practice_loss(self, logits: Array, labels: Array, class_weights: Sequence[float]) -> dict[str, float]:
        """Return the loop's loss of one batch of these logits, float32 (n,), under class weights.

        `cross_entropy` is what `CrossEntropyLoss(weight=...)` makes of the same logits, as two outputs (0, x).
        """
        torch = self.torch
        x, y = torch.from_numpy(np.array(logits)), torch.from_numpy(np.array(labels))
        two = torch.stack([torch.zeros_like(x), x], dim=1)
        entropy = torch.nn.CrossEntropyLoss(weight=torch.tensor(list(class_weights), dtype=torch.float32))
        weights = self._weights_of(y, class_weights)
        return {"loss": float(self._weighted(x, y, weights)), "cross_entropy": float(entropy(two, y.long()))}

    # The pieces.

    def _logit_layers(self) -> list[tuple[str, Any]]:
        layers = list(self._built().named_children())
        return layers[:-1] if self._described().layers[-1].kind == "sigmoid" else layers

    def _weights_of(self, y: Any, class_weights: Sequence[float] | None) -> Any:
        """Return each image's weight, float32 (n,); None where classes have none."""
        if class_weights is None:
            return None
        return self.torch.tensor(list(class_weights), dtype=self.torch.float32, device=y.device)[y.long()]

    def _weighted(self, logits: Any, y: Any, weights: Any) -> Any:
        return self.torch.nn.BCEWithLogitsLoss(weight=weights)(logits, y)

    def _scheduler(self, optimizer: Any, schedule: Mapping[str, Any], epochs: int) -> Any:
        schedulers, kind = self.torch.optim.lr_scheduler, schedule["kind"]
        if kind == "cosine":
            return schedulers.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=schedule["end"])
        if kind == "exponential":
            return schedulers.ExponentialLR(optimizer, gamma=schedule["factor"])
        if kind != "plateau":
            return None
        # torch waits for more than `patience` bad epochs where Keras waits for as many, measures improvement as a
        # fraction unless told otherwise, and leaves out reductions below `eps`.
        return schedulers.ReduceLROnPlateau(
            optimizer,
            factor=schedule["factor"],
            patience=schedule["patience"] - 1,
            threshold=schedule["min_delta"],
            threshold_mode="abs",
            min_lr=schedule["end"],
            eps=0.0,
        )

    def _advance(self, scheduler: Any, held_out: float) -> None:
        if scheduler is None:
            return
        plateau = isinstance(scheduler, self.torch.optim.lr_scheduler.ReduceLROnPlateau)
        scheduler.step(held_out) if plateau else scheduler.step()

    def _epoch(self, epoch: int, pulse: Pulse) -> float:
        """Train one epoch, from 0, and return its mean loss per image."""
        model, task = self._trained.train(), self._task
        total = 0.0
        for step, (x, labels, _) in enumerate(self._augmented_loader(epoch), 1):
            images, y = x.to(self.device), labels.to(self.device)
            self._adam.zero_grad()
            loss = self._weighted(model(images).squeeze(-1), y, self._weights_of(y, task["class_weights"]))
            loss.backward()
            self._adam.step()
            total += float(loss) * len(y)
            pulse.step(epoch + 1, step, total)
        return total / len(task["labels"])

    def _held_out_loss(self) -> float:
        task, model = self._task, self._trained.eval()
        data = _Films(self, task["held_out_files"], task["held_out_labels"], None)
        total = 0.0
        with self.torch.no_grad():
            for x, y, _ in self.torch.utils.data.DataLoader(data, batch_size=task["batch"]):
                total += float(self._weighted(model(x.to(self.device)).squeeze(-1), y.to(self.device), None)) * len(y)
        return total / len(task["held_out_labels"])

    def _augmented_loader(self, epoch: int) -> Any:
        task, loaders = self._task, self._task["loaders"]
        drawn = {name: values[epoch] for name, values in task["drawn"].items()}
        return self.torch.utils.data.DataLoader(
            _Films(self, task["files"], task["labels"], drawn),
            batch_size=task["batch"],
            sampler=task["orders"][epoch].tolist(),
            num_workers=loaders,
            multiprocessing_context="fork" if loaders else None,
        )

    def _augmented(self, x: Any, given: Mapping[str, Any], warps: bool) -> Any:
        """Flip, warp and change the contrast of one image, float32 (c, h, w), as `study.augment` describes it."""
        functional = self.torch.nn.functional
        if given["flip"]:
            x = self.torch.flip(x, dims=(-1,))
        if warps:
            theta = self._theta(given["matrix"].numpy(), *x.shape[-2:])
            grid = functional.affine_grid(theta, [1, *x.shape], align_corners=False)
            x = functional.grid_sample(x[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        return (x * given["contrast"] + given["offset"]).clamp(0.0, 1.0)

    def _theta(self, matrix: Array, height: int, width: int) -> Any:
        """Turn a map between pixels into one between places from -1 to 1, which are the image's outer edges."""
        whole = np.vstack([matrix.reshape(2, 3).astype(np.float64), [0, 0, 1]])
        to_pixels = np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])
        places = np.linalg.inv(to_pixels) @ whole @ to_pixels
        return self.torch.from_numpy(places[None, :2].astype(np.float32))

    def _random(self) -> dict[str, Any]:
        torch = self.torch
        found = {"cpu": torch.get_rng_state()}
        return found | ({"cuda": torch.cuda.get_rng_state()} if self.device.type == "cuda" else {})

    def _checkpoint(self, early: EarlyStopping, scheduler: Any) -> dict[str, Any]:
        """Return what a checkpoint must hold so that training goes on as if it had never stopped."""
        return {
            "model": self._trained.state_dict(),
            "optimizer": self._adam.state_dict(),
            "scheduler": None if scheduler is None else scheduler.state_dict(),
            "early": early.state_dict(),
            "random": self._random(),
        }

    def _keep(self, rows: list[dict[str, Any]], stopped: bool, early: EarlyStopping, scheduler: Any) -> None:
        content = self._checkpoint(early, scheduler)
        state = {"epoch": len(rows), "stopped": stopped, "rows": rows}
        write_checkpoint(
            self._task["folder"], len(rows), lambda folder: self.torch.save(content, folder / "checkpoint.pth"), state
        )

    def _resume(self, checkpoint: str, early: EarlyStopping, scheduler: Any) -> tuple[list[dict[str, Any]], bool]:
        """Take up a checkpoint; return the rows of the epochs until then, and whether training had stopped."""
        file = Path(checkpoint) / "checkpoint.pth"
        held = self.torch.load(file, weights_only=True, map_location=self.device)
        self._trained.load_state_dict(held["model"])
        if "optimizer" in held:
            self._adam.load_state_dict(held["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(held["scheduler"])
        early.load_state_dict(held["early"])
        if "random" in held:
            self.torch.set_rng_state(held["random"]["cpu"].cpu())
            if "cuda" in held["random"]:
                self.torch.cuda.set_rng_state(held["random"]["cuda"].cpu())
        state = read_state(checkpoint)
        return list(state["rows"]), bool(state["stopped"])

    def _arrays(self, tensors: Mapping[str, Any]) -> dict[str, Array]:
        return {name: np.array(value.detach().cpu().numpy()) for name, value in tensors.items()}


class _Films:
    """A map-style data set: position -> (image float32 (c, h, w), label, position); read when asked for."""

    def __init__(self, adapter: Any, files: list[str], labels: Array, drawn: Mapping[str, Array] | None) -> None:
        self._adapter, self._files, self._labels, self._drawn = adapter, files, labels, drawn

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, Any, int]:
        adapter, task = self._adapter, self._adapter._task
        x = adapter._model_input(adapter._prepared_image(SOURCE, self._files[index], tuple(task["size"])))
        if self._drawn is not None:
            given = {name: adapter.torch.from_numpy(np.array(values[index])) for name, values in self._drawn.items()}
            x = adapter._augmented(x, given, task["warps"])
        return x, np.float32(self._labels[index]), index
