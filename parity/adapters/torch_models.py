"""A user's own torch model in the worker: load it, trace it, and compute any part of it again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.adapters.base import Array, Switch, UsersCode, WorkerSettings
from parity.errors import RoundingUnknown, UsageError
from parity.model.trace import LENGTHS

FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53


# Kinds for which one bound gives the other; what only moves numbers may stand between.
_LINEAR = frozenset({"conv", "depthwise_conv", "conv_transpose", "dense", "zero_pad", "flatten", "reshape", "permute",
                     "identity", "dropout"})  # fmt: skip


class TorchModels:
    """The torch adapter's methods on models that it did not build itself."""

    settings: WorkerSettings
    torch: Any
    dtype: Any
    device: Any
    _session: Any = None
    _stream: Any = None
    _users_code = UsersCode()  # modules belong to the process

    def load_model(self, source: str, weights: str | None = None, training: bool = False) -> dict[str, Any]:
        """Load a model from a builder or a file, and weights on top of it; says what it is."""
        from parity.adapters.torch_model_gradients import see_own_gradients
        from parity.adapters.torch_model_session import Session

        see_own_gradients()
        torch, notes = self.torch, list[str]()
        self._users_code.forget(_switches(torch))
        torch.backends.mha.set_fastpath_enabled(False)
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # a compiled model is run as it was written
        with _no_scripting(torch):
            session = Session.load(source, weights, self.settings.seed, self._is_twin(), self.device, notes)
        self._session, self._stream = session, None
        # An exported program has its mode in its operations: what its module says of it means nothing.
        was_training = bool(session.model.training) and not source.endswith(".pt2")
        session.prepare(training)
        return {
            "class": type(session.model).__name__, "framework": "torch", "was_training": was_training, "notes": notes,
            "values": sum(w.numel() for w in session.weights().values() if not torch.nn.parameter.is_lazy(w)),
            "computed": sorted(session.computed), "lengths": sorted(session.lengths),
        }  # fmt: skip

    def trace_model(
        self, inputs: Sequence[Array], training: bool = False, expand: Sequence[str] = (), draws_alike: bool = False,
        partly: bool = False,
    ) -> Mapping[str, Any]:  # fmt: skip
        """Run the model once and return `Trace.to_dict()` data of what it did; see `parity.model.draws`.

        With `partly` a model that raises on its way is followed as far as it came.
        """
        from parity.adapters.torch_model_draws import DRAWS
        from parity.adapters.torch_model_session import trace_data

        DRAWS.alike = draws_alike
        session, self._stream = self._loaded(), None
        if LENGTHS in expand:
            session.split_lengths()
        session.record(session.inputs(inputs), training, expand, partly)
        return trace_data(session)

    def get_model_weights(self, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the weights, or some of them."""
        own = self._loaded().weights()
        self._refuse_unknown(own, own if names is None else names)
        return {name: self._told(own[name]) for name in (own if names is None else names)}

    def set_model_weights(self, weights: Mapping[str, Array]) -> None:
        """Replace some or all weights; names and shapes must be the model's."""
        own = self._loaded().weights()
        self._refuse_unknown(own, weights)
        for name, array in weights.items():
            if tuple(array.shape) != tuple(own[name].shape):
                raise UsageError(
                    f"the torch weight `{name}` has shape {tuple(own[name].shape)}, not {tuple(array.shape)}"
                )
        with self.torch.no_grad():
            for name, array in weights.items():
                own[name].copy_(self.torch.from_numpy(np.array(array)).to(own[name].dtype))

    def split_lengths(self) -> None:
        """Take lengths and directions for weights, as `trace_model` does if `expand` says so."""
        self._loaded().split_lengths()

    def computed_weights(self, weights: Mapping[str, Array], close: float) -> dict[str, Array]:
        """Return what the model computes for weights that it computes from others and that cannot hold these numbers.

        Weights that are within `close`, of their largest number, of what they are given are left out.
        """
        from parity.adapters.torch_model_computed import unlike

        session = self._loaded()
        given = {name: session.tensor(array) for name, array in weights.items()}
        return {name: self._told(made) for name, made in unlike(session.computed, given, close).items()}

    # A run of the whole model, streamed.

    def begin_run(self, inputs: Sequence[Array], wanted: Sequence[int]) -> None:
        """Start a run whose wanted tensors are then asked for one by one."""
        from parity.adapters.torch_model_replay import Stream

        session, recording = self._recorded()
        fed = session.inputs(inputs)
        own: dict[int, Array] = {}
        if not recording.faithful:
            own = {tensor: value for tensor, value in self._own_outputs(fed).items() if tensor in set(wanted)}
        rest = [tensor for tensor in wanted if tensor not in own]
        values = session.values(recording.training)
        self._stream = (Stream(recording, self._inputs_for(recording, fed), values, rest, self._is_twin()), own)

    def advance(self, tensor: int) -> Array:
        """Run what a wanted tensor still waits for, and return it."""
        if self._stream is None:
            raise UsageError("no run has begun in this worker: call `begin_run` first")
        stream, own = self._stream
        if tensor in own:
            return own.pop(tensor)  # type: ignore[no-any-return]
        with self.torch.no_grad(), self._loaded().precision():
            return self._told(stream.value(tensor))

    def fingerprints(self, inputs: Sequence[Array]) -> dict[str, list[float]]:
        """Return size, sum, sum of magnitudes, sum of squares, largest and smallest number of every tensor of a run."""
        from parity.adapters.torch_model_replay import Stream

        session, recording = self._recorded()
        fed = session.inputs(inputs)
        found: dict[str, list[float]] = {}
        own = {} if recording.faithful else self._own_outputs(fed)
        for tensor, value in zip(recording.inputs, fed, strict=True):
            found[str(tensor)] = self._print(value)
        everything = [tensor for call in recording.calls for tensor in call.outputs]
        values = session.values(recording.training)
        stream = Stream(recording, self._inputs_for(recording, fed), values, everything, self._is_twin())
        with self.torch.no_grad(), session.precision():
            for tensor in everything:
                found[str(tensor)] = self._print(stream.value(tensor))
        return found | {str(tensor): self._print(self.torch.from_numpy(value)) for tensor, value in own.items()}

    # Parts of the model.

    def run_segment(
        self,
        feed: Mapping[str, Array],
        want: int,
        upstream: Array | None = None,
        edits: Sequence[Mapping[str, Any]] = (),
        bounds: bool = False,
        state: bool = False,
    ) -> dict[str, Any]:
        """Recompute one tensor from others, with its gradients, edits, and bounds on its rounding as asked."""
        from parity.adapters.torch_model_replay import Edits, Segment, plan

        session, recording = self._recorded()
        given = {int(tensor): array for tensor, array in feed.items()}
        if not recording.faithful and want in recording.outputs and set(given) == set(recording.inputs) and not edits:
            return self._whole_model(given, want, upstream, bounds, state)
        calls = plan(recording, [want], given)
        segment = Segment(recording, want, calls, Edits.of(edits), session.tensor, self._is_twin())
        result = self._differentiated(segment, given, upstream, state, 0.0)
        if not bounds:
            return result
        try:
            return result | self._bounded(segment, given, upstream)
        except (RoundingUnknown, UsageError) as error:  # UsageError: it does not run on tracked tensors
            why = str(error)
        if upstream is None:
            return result | {"bounds_unknown": why}
        try:  # it may be only the gradients that cannot be bounded
            return result | self._bounded(segment, given, None) | {"gradient_bounds_unknown": why}
        except (RoundingUnknown, UsageError) as error:
            return result | {"bounds_unknown": str(error)}

    def _bounded(self, segment: Any, given: Mapping[int, Array], upstream: Array | None) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if upstream is None and all(call.kind in _LINEAR for call in segment.calls):
            # Nothing is undecided in a sum of products: its bound is proportional to the unit roundoff.
            low = self._differentiated(segment, given, None, False, FLOAT32)["value"]
            return {"bounds32": low, "bounds64": low * (FLOAT64 / FLOAT32)}
        for word, roundoff in (("32", FLOAT32), ("64", FLOAT64)):
            found = self._differentiated(segment, given, upstream, False, roundoff)
            result[f"bounds{word}"] = found["value"]
            if upstream is not None:
                gradients = {"inputs": found["input_gradients"], "weights": found["weight_gradients"]}
                result[f"gradient_bounds{word}"] = gradients
        return result

    def _differentiated(
        self, segment: Any, given: Mapping[int, Array], upstream: Array | None, state: bool, tracked: float
    ) -> dict[str, Any]:
        from parity.adapters.torch_model_replay import Weights, statistics
        from parity.adapters.torch_model_updates import updated

        torch, session, recording = self.torch, self._loaded(), segment.recording
        differentiate = upstream is not None
        fed = {tensor: self._leaf(session.tensor(array), differentiate, tracked) for tensor, array in given.items()}

        def make(name: str, tensor: Any) -> Any:
            value, trained = tensor.detach(), differentiate and tensor.requires_grad
            if session.moves(name, tensor, recording.training):
                value = value.clone()
            return self._leaf(value, trained, tracked)

        def constant(value: Any) -> Any:  # computed in float32 by the plain model, by a few operations
            return self._leaf(value, False, tracked, 4.0)

        weights = Weights(session.everything(), make, constant if tracked else None)
        torch.manual_seed(0)
        with torch.set_grad_enabled(differentiate), session.precision():
            value = segment.run(fed, weights)
        read = self._error if tracked else self._told
        result: dict[str, Any] = {"value": read(value)}
        if differentiate:
            result |= self._gradients(value, upstream, fed, weights.used, tracked)
            result["without_gradients"] = not any(call.grad for call in segment.calls)
        if state:
            found = statistics(weights, segment.calls)
            plain = {tensor: session.tensor(array) for tensor, array in given.items()}
            with session.precision():
                found |= updated(segment, plain, session.values(training=True))
            result["state"] = {name: self._told(one) for name, one in found.items()}
        return result

    def _gradients(
        self, value: Any, upstream: Any, fed: Mapping[int, Any], used: Mapping[str, Any], tracked: float
    ) -> dict[str, Any]:
        torch, session = self.torch, self._loaded()
        read = self._error if tracked else self._told
        leaves = {tensor: one for tensor, one in fed.items() if one.is_floating_point()}
        trained = {name: one for name, one in used.items() if one.requires_grad}
        wanted = [*leaves.values(), *trained.values()]
        seed = self._leaf(session.tensor(upstream), False, tracked)
        gradients: Sequence[Any] = [None] * len(wanted)
        if wanted and value.requires_grad:
            try:
                with session.precision():
                    gradients = torch.autograd.grad(value, wanted, seed, allow_unused=True)
            except RuntimeError as error:  # an operation without a derivative, or without one in this precision
                line = " ".join(str(error).split())
                raise UsageError(f"torch could not differentiate this part of the model: {line[:300]}") from error
        to_inputs = dict(zip(leaves, gradients[: len(leaves)], strict=True))
        to_weights = dict(zip(trained, gradients[len(leaves) :], strict=True))
        return {
            "input_gradients": {
                str(tensor): None if to_inputs.get(tensor) is None else read(to_inputs[tensor]) for tensor in fed
            },
            "weight_gradients": {
                name: np.zeros(tuple(trained[name].shape)) if gradient is None else read(gradient)
                for name, gradient in to_weights.items()
            },
        }

    def _leaf(self, value: Any, differentiate: bool, tracked: float, roundings: float = 1.0) -> Any:
        if not value.is_floating_point() and not value.is_complex():
            return value
        if not tracked:
            return value.detach().requires_grad_(differentiate)
        from parity.adapters.torch_rounding import track

        error = None
        if tracked == FLOAT32:  # what float32 cannot hold is rounded before anything is computed
            single = self.torch.complex64 if value.is_complex() else self.torch.float32
            error = roundings * tracked * value.abs() * (value.to(single).to(value.dtype) != value)
        return track(value, error, roundoff=tracked, requires_grad=differentiate)

    # The whole model.

    def train_step(
        self, inputs: Sequence[Array], upstreams: Sequence[Array], optimizer: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Take one training step of the whole model, from given gradients of its outputs, and undo it."""
        from parity.optimizers import keras_like

        session, torch = self._loaded(), self.torch
        session.prepare(True)
        config = {key: value for key, value in optimizer.items() if key != "name"}
        with session.unchanged():
            result, trained = self._backward(session.inputs(inputs), upstreams)
            if trained:
                leaves, exact = list(trained.values()), self._is_twin()
                stepper = keras_like(str(optimizer["name"]), leaves, exact_constants=exact, **config)
                with torch.enable_grad():
                    stepper.step()
            result["weights_after"] = {name: self._told(one) for name, one in session.weights().items()}
        for one in trained.values():
            one.grad = None
        session.prepare(session.recording is not None and session.recording.training)
        return result

    def static_ops(self) -> dict[str, Any]:
        """Return the model's leaf modules in the order of their definition, without running the model."""
        from parity.adapters.torch_model_static import static_trace

        return static_trace(self._loaded())

    def ops_in_order(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Return the operations in the order in which they run on inputs of these shapes, without computing anything.

        None where that cannot be found out without numbers.
        """
        from parity.adapters.torch_model_static import trace_in_order

        return trace_in_order(self._loaded(), [(one["shape"], bool(one["integers"])) for one in inputs])

    def _backward(self, fed: Sequence[Any], upstreams: Sequence[Array]) -> tuple[dict[str, Any], dict[str, Any]]:
        from parity.adapters.torch_model_calls import named_outputs

        session, torch = self._loaded(), self.torch
        with torch.enable_grad():
            outputs = [tensor for _, tensor in named_outputs(session.forward(fed))]
        if len(outputs) != len(upstreams):
            raise UsageError(f"the torch model has {len(outputs)} outputs, but {len(upstreams)} gradients were given")
        own = session.weights()
        trained = {name: one for name, one in own.items() if one.requires_grad}
        pairs = [(o, session.tensor(u)) for o, u in zip(outputs, upstreams, strict=True) if o.requires_grad]
        gradients: Sequence[Any] = [None] * len(trained)
        if pairs and trained:
            gradients = torch.autograd.grad(
                [o for o, _ in pairs], list(trained.values()), [u for _, u in pairs], allow_unused=True
            )
        found = dict(zip(trained, gradients, strict=True))
        for name, gradient in found.items():
            trained[name].grad = gradient
        result = {
            "outputs": [self._told(one) for one in outputs],
            "weight_gradients": {
                name: np.zeros(tuple(trained[name].shape)) if g is None else self._told(g) for name, g in found.items()
            },
            "state": {name: self._told(one) for name, one in own.items() if name not in trained and _moves(name)},
        }
        return result, trained

    def _whole_model(
        self, given: Mapping[int, Array], want: int, upstream: Array | None, bounds: bool, state: bool
    ) -> dict[str, Any]:
        """What `run_segment` gives, from the model itself: its recorded operations are not all of it."""
        from parity.adapters.torch_model_calls import named_outputs

        session, recording = self._recorded()
        torch = self.torch
        fed = {t: self._leaf(session.tensor(given[t]), upstream is not None, 0.0) for t in recording.inputs}
        with session.unchanged(), torch.set_grad_enabled(upstream is not None):
            outputs = [tensor for _, tensor in named_outputs(session.forward([x.clone() for x in fed.values()]))]
            value = outputs[recording.outputs.index(want)]
            result: dict[str, Any] = {"value": self._told(value)}
            if upstream is not None:
                own = {name: one for name, one in session.weights().items() if one.requires_grad}
                result |= self._gradients(value, upstream, fed, own, 0.0)
            if state:
                result["state"] = {n: self._told(one) for n, one in session.weights().items() if _moves(n)}
        if bounds:
            result["bounds_unknown"] = "the model's operations could not be recorded faithfully"
        return result

    def _own_outputs(self, fed: Sequence[Any]) -> dict[int, Array]:
        from parity.adapters.torch_model_calls import named_outputs

        session, recording = self._recorded()
        with session.unchanged(), self.torch.no_grad():
            outputs = [self._told(one) for _, one in named_outputs(session.forward([x.clone() for x in fed]))]
        return dict(zip(recording.outputs, outputs, strict=True))

    # Small things.

    def _inputs_for(self, recording: Any, fed: Sequence[Any]) -> Sequence[Any]:
        if len(fed) != len(recording.inputs):
            raise UsageError(f"the torch model was traced with {len(recording.inputs)} inputs, not {len(fed)}")
        self.torch.manual_seed(0)
        return fed

    def _loaded(self) -> Any:
        if self._session is None:
            raise UsageError("no torch model has been loaded in this worker yet: call `load_model` first")
        return self._session

    def _recorded(self) -> tuple[Any, Any]:
        session = self._loaded()
        if session.recording is None:
            raise UsageError("the torch model has not been traced yet: call `trace_model` first")
        return session, session.recording

    def _refuse_unknown(self, own: Mapping[str, Any], names: Any) -> None:
        unknown = [name for name in names if name not in own]
        if unknown:
            raise UsageError(f"the torch model has no weight `{unknown[0]}`; it has {sorted(own)[:8]}")

    def _is_twin(self) -> bool:
        return self.settings.role == "twin"

    def _print(self, value: Any) -> list[float]:
        x = value.detach().double()
        if not x.numel():
            return [0.0] * 6
        ends = [float(x.max()), float(x.min())]
        return [float(x.numel()), float(x.sum()), float(x.abs().sum()), float((x * x).sum()), *ends]

    def _told(self, tensor: Any) -> Array:
        tensor = tensor.detach().cpu()
        if tensor.layout != self.torch.strided:  # as the gradient of an Embedding(sparse=True)
            tensor = tensor.to_dense()
        if tensor.dtype == self.torch.bfloat16:
            tensor = tensor.float()
        return np.array(tensor.resolve_conj().resolve_neg().numpy())  # torch may note a sign, and turn it later

    def _error(self, tensor: Any) -> Array:
        from parity.adapters.torch_rounding import error_of

        return np.array(error_of(tensor).detach().cpu().numpy())


def _moves(name: str) -> bool:
    return name.rpartition(".")[2] in ("running_mean", "running_var")


def _switches(torch: Any) -> list[Switch]:
    """Return what a builder may set for everything made after it, which must not outlive its model."""
    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, lambda _: torch.set_default_device(None)),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    ]


@contextlib.contextmanager
def _no_scripting(torch: Any) -> Any:
    """Let `@torch.jit.script` hand functions back as they are: inside a compiled one no operation can be seen."""
    state = getattr(torch.jit, "_state", None)
    before = getattr(getattr(state, "_enabled", None), "enabled", None)
    if before is None or state is None:
        yield
        return
    state._enabled.enabled = False
    try:
        yield
    finally:
        state._enabled.enabled = before
