"""One user's torch model in this process: its weights, running it as its user would, and recording one run of it."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parity.adapters.torch_model_calls import Call, Par, leaves, named_outputs
from parity.adapters.torch_model_computed import Computed, Length, bake, own_state
from parity.adapters.torch_model_draws import DRAWS
from parity.adapters.torch_model_exact import Rewritten, without_dropout
from parity.adapters.torch_model_kernels import absorb
from parity.adapters.torch_model_kinds import base_name, describe
from parity.adapters.torch_model_loading import MODEL_FILES, first_line, load, load_weights
from parity.adapters.torch_model_precision import in_precision, is_exact_table, tell_precision, with_exact_tables
from parity.adapters.torch_model_replay import Stream, Weights
from parity.adapters.torch_model_spelling import spelt
from parity.adapters.torch_model_switching import renew, set_mode
from parity.adapters.torch_model_tracing import STATISTICS, Recorder, Recording, failing_place
from parity.adapters.torch_model_updates import tell_updates
from parity.errors import UsageError
from parity.model import draws
from parity.model.trace import MOVING_KINDS, REPLAY

_CLOSE = {torch.float64: 1e-12, torch.float32: 1e-5}  # rounding by another order of summing, relative to the largest


class Session:
    """A loaded model, and what was recorded of it."""

    def __init__(self, model: Any, twin: bool, device: Any) -> None:
        self.model, self.twin, self.device = model, twin, device
        self.dtype = torch.float64 if twin else torch.float32
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.rates: dict[int, float] = {}
        self.recording: Recording | None = None
        self.computed: dict[str, Computed] = {}  # weights that the model computes from others
        self.lengths: dict[str, Length] = {}  # those of them that are a length times a direction
        self._split: dict[str, Length] = {}  # those that are both again

    # Loading.

    @staticmethod
    def load(source: str, weights: str | None, seed: int, twin: bool, device: Any, notes: list[str]) -> Session:
        """Load a model in the precision that is computed in, with weights on the file's word."""
        model = _load_exact(source, seed, notes) if twin else load(source, seed, notes)
        if weights is not None:
            load_weights(model, Path(weights), notes)
        _refuse_meta(model, source)
        lengths: dict[str, Length] = {}
        computed = bake(model, notes, lengths)
        tell_precision(model, notes)
        model = in_precision(model, device, twin)
        session = Session(model, twin, device)
        session.computed, session.lengths = computed, lengths
        return session

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Let whatever the model makes without naming a dtype be of the precision that is computed in."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def prepare(self, training: bool) -> None:
        """Put the model into the mode; in training, nothing is dropped."""
        set_mode(self.model, training)
        if training:
            self.rates |= without_dropout(self.model)

    def split_lengths(self) -> None:
        """Take lengths and directions for the weights, not what the model computes of them."""
        for name, one in self.lengths.items():
            one.split()
            del self.computed[name]
        self._split, self.lengths = {**self._split, **self.lengths}, {}
        self.paths = {id(module): path for path, module in self.model.named_modules()}

    # Weights.

    def state(self) -> dict[str, Tensor]:
        """Return the state dict of the model as its author wrote it."""
        held = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        return own_state(held, self.computed, self._split)

    def everything(self) -> dict[str, Tensor]:
        """Return every parameter and floating buffer by name; one that is shared has its first name only."""
        found = {name: p for name, p in self.model.named_parameters() if not _is_lazy(p)}
        buffers = {name: b for name, b in self.model.named_buffers() if b is not None and b.is_floating_point()}
        known = {id(tensor) for tensor in found.values()}
        return found | {name: b for name, b in buffers.items() if id(b) not in known}

    def weights(self) -> dict[str, Tensor]:
        """Return the weights: parameters, running statistics, and buffers that an operation uses as they are."""
        used = set() if self.recording is None else {n for c in self.recording.calls for n in c.parameters}
        return {
            name: tensor
            for name, tensor in self.everything().items()
            if isinstance(tensor, torch.nn.Parameter) or name.rpartition(".")[2] in STATISTICS or name in used
        }

    def values(self, training: bool) -> Weights:
        """Return the weights as they are, for running calls again; what training, or a run, would change is a copy."""

        def make(name: str, tensor: Tensor) -> Tensor:
            value = tensor.detach()
            return value.clone() if self.moves(name, tensor, training) else value

        return Weights(self.everything(), make)

    def moves(self, name: str, tensor: Tensor, training: bool) -> bool:
        """Return whether running calls again changes a weight: statistics in training, and what any run changes."""
        changed = self.recording is not None and name in self.recording.changed
        return changed or (training and not isinstance(tensor, torch.nn.Parameter))

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[list[str]]:
        """Undo whatever a run does to weights and buffers; yields a list that then names those that changed."""
        state = [(name, t, t.detach().clone()) for name, t in self._state()]
        changed: list[str] = []
        try:
            yield changed
        finally:
            with torch.no_grad():
                for name, tensor, before in state:
                    if not _equal(tensor, before):
                        changed.append(name)
                        tensor.copy_(before)

    def _state(self) -> list[tuple[str, Tensor]]:
        buffers = [(name, b) for name, b in self.model.named_buffers() if b is not None]
        return [*((n, p) for n, p in self.model.named_parameters() if not _is_lazy(p)), *buffers]

    # Running.

    def inputs(self, arrays: Sequence[Any]) -> list[Tensor]:
        """Return arrays as the tensors that a user would feed."""
        return [self.tensor(array) for array in arrays]

    def tensor(self, array: Any) -> Tensor:
        """Return one array as a tensor: floats in the precision that is computed in, whole numbers as int64."""
        made = torch.from_numpy(array.copy())
        if made.is_floating_point():
            return made.to(self.device, self.dtype)
        if made.is_complex():
            return made.to(self.device, torch.complex128 if self.dtype == torch.float64 else torch.complex64)
        return made.to(self.device) if made.dtype == torch.bool else made.long().to(self.device)

    def forward(self, inputs: Sequence[Tensor]) -> Any:
        """Run the model as its user would.

        Raises:
            UsageError: it takes another number of inputs, or raises.
        """
        self._check_inputs(inputs)
        torch.manual_seed(0)
        DRAWS.begin()
        try:
            with self.precision(), Rewritten(self.twin, self.model.training), contextlib.redirect_stdout(sys.stderr):
                return self._called(inputs)
        except BaseException as error:  # a model may call sys.exit() as well as a builder
            raise self.refused(error, inputs) from error

    def refused(self, error: BaseException, inputs: Sequence[Tensor]) -> UsageError:
        """Return the message for a forward that raised."""
        if isinstance(error, UsageError):
            return error
        misfit = self._misfit(inputs) if len(inputs) > 1 and not self._arranged(inputs)[1] else ""
        if misfit:  # a list is no input of its, either
            own = f"{type(error).__name__}: {first_line(error)}"
            return UsageError(f"the torch model's forward takes {misfit}; with all of them as one list it raised {own}")
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        words = self._arranged(inputs)[1]
        shapes += f", the last as `{'`, `'.join(words)}`" if words else ""
        place = failing_place(error, self.paths)
        return UsageError(
            f"the torch model raised {type(error).__name__} {place}: {first_line(error)}; it was given"
            f" {'inputs' if len(inputs) > 1 else 'an input'} of shape {shapes}"
        )

    def _called(self, inputs: Sequence[Tensor]) -> Any:
        arguments, words = self._arranged(inputs)
        renew(self.model)
        return self.model(*arguments, **words)

    def _arranged(self, inputs: Sequence[Tensor]) -> tuple[Sequence[Any], Mapping[str, Tensor]]:
        """Return the arguments of a call: some by name, where the model takes them so alone, or all as one list."""
        if len(inputs) < 2 or not self._misfit(inputs):
            return inputs, {}
        named = self._named(inputs)
        if named is not None:
            return named
        return (inputs if self._misfit([inputs]) else [list(inputs)]), {}

    def _named(self, inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor], Mapping[str, Tensor]] | None:
        """Return a call with the last inputs by name, in the order in which the model lists what it takes by name."""
        try:
            taken = inspect.signature(self.model.forward).parameters.values()
        except (TypeError, ValueError):
            return None
        places = [one for one in taken if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        words = [one for one in taken if one.kind == one.KEYWORD_ONLY]
        # Those that must be given come first; what has a number by default is no input.
        words = [one for default in (inspect.Parameter.empty, None) for one in words if one.default is default]
        count = min(len(places), len(inputs))
        named = dict(zip((one.name for one in words), inputs[count:], strict=False))
        if count + len(named) < len(inputs) or self._misfit(inputs[:count], named):
            return None
        return inputs[:count], named

    def _misfit(self, arguments: Sequence[Any], words: Mapping[str, Any] | None = None) -> str:
        """Return why the model cannot be called with these, and what it takes; nothing if it can be."""
        try:
            signature = inspect.signature(self.model.forward)
        except (TypeError, ValueError):
            return ""
        try:
            signature.bind(*arguments, **(words or {}))
        except TypeError as error:
            return f"{signature}, but it was given {len(arguments)} input{'s' if len(arguments) != 1 else ''}: {error}"
        return ""

    def _check_inputs(self, inputs: Sequence[Tensor]) -> None:
        why = self._misfit(*self._arranged(inputs))
        if why:
            raise UsageError(f"the torch model's forward takes {why}")

    # Recording.

    def record(
        self, inputs: Sequence[Tensor], training: bool, expand: Sequence[str], partly: bool = False
    ) -> Recording:
        """Run the model once with every call recorded, describe the calls, and check that they are the model.

        With `partly` a model that raises on its way is recorded as far as it came.
        """
        self.prepare(training)
        self._check_inputs(inputs)
        inputs = [x.clone() for x in inputs]  # the model may write into its input
        if any(_is_lazy(parameter) for parameter in self.model.parameters()):
            with torch.no_grad():
                self.forward([x.clone() for x in inputs])  # gives them their shapes
        with self.unchanged() as changed:
            recording = self._recorded([x.clone() for x in inputs], frozenset(expand), partly)
        _, words = self._arranged(inputs)
        if len(words) > 1:
            recording.notes.append(f"the torch model is given its last inputs as `{'`, `'.join(words)}`, in this order")
        recording.training, recording.rates, recording.changed = training, self.rates, frozenset(changed)
        if changed and not training:
            recording.notes.append(
                f"the torch model changes {', '.join(f'`{n}`' for n in changed[:3])} when it runs in evaluation mode"
            )
        for call in recording.calls:
            describe(call, recording.shapes, training, self.rates)
            if call.kind == "op:dropout":
                call.name = "dropout"  # as its user calls it
        absorb(recording)
        tell_updates(recording, self.everything())
        prune(recording)
        entitle(recording)
        self.recording = recording
        if not recording.cut_short:
            self._verify(inputs)
        return recording

    def _recorded(self, inputs: list[Tensor], expand: frozenset[str], partly: bool) -> Recording:
        torch.manual_seed(0)
        DRAWS.begin()
        DRAWS.seen = False
        before = torch.get_rng_state()
        found = self.watched(inputs, expand, partly)
        if not self.model.training and not torch.equal(before, torch.get_rng_state()):
            found.notes.append(f"{draws.NOTE} the torch model runs in evaluation mode")
        elif DRAWS.seen:
            found.notes.append(f"{draws.NOTE} the torch model runs")
        return found

    def watched(
        self, inputs: Sequence[Tensor], expand: frozenset[str] = frozenset(), partly: bool = False
    ) -> Recording:
        """Run the model with every call recorded, as the calls are: not yet described, none left out."""
        recorder = Recorder(self.everything(), self.twin, expand, self.model.training)
        ids = tuple(recorder.identify(x) for x in inputs)
        recorder.found.inputs = ids
        try:
            with self.precision(), recorder.watching(self.model, self.paths), torch.enable_grad():
                with recorder, contextlib.redirect_stdout(sys.stderr):
                    result = self._called(inputs)
                recorder.finish(result)
        except BaseException as error:  # a model may call sys.exit() as well as a builder
            if not partly or not recorder.found.calls:
                raise self.refused(error, inputs) from error
            recorder.cut_short()
        return recorder.found

    def _verify(self, inputs: list[Tensor]) -> None:
        """Compare the recorded calls with the model, on other inputs first: only a true record passes there."""
        recording = self.recording
        assert recording is not None
        limit = _CLOSE[self.dtype]
        other = [x.flip(0) * 0.9375 if x.is_floating_point() else x.flip(0) for x in inputs]
        try:
            apart, which = self._apart(other), "another input"
        except UsageError:  # the model cannot take that one
            apart, which = self._apart(inputs), "this input"
        if apart > limit and which == "another input" and self._apart(inputs) > limit:
            which = "this input"
        if apart > limit:
            recording.faithful = False
            seen = next((note for note in recording.notes if "into Python" in note), "")
            reason = seen or "a view written to in place, or code that torch functions do not see"
            recording.notes.append(
                f"{REPLAY} the recorded operations do not give the torch model's own outputs for {which} ({reason})"
            )
        elif apart > limit / 100:
            recording.notes.append(f"the recorded operations agree with the model to {apart:.1e}")

    def _apart(self, inputs: list[Tensor]) -> float:
        """Return how far the replay is from the model's own outputs, relative to the largest number of each."""
        recording = self.recording
        assert recording is not None
        with self.unchanged(), torch.no_grad():
            own = [tensor for _, tensor in named_outputs(self.forward([x.clone() for x in inputs]))]
        if len(own) != len(recording.outputs):
            return float("inf")
        torch.manual_seed(0)
        worst = 0.0
        try:
            with torch.no_grad(), self.precision():
                values = self.values(recording.training)
                stream = Stream(recording, [x.clone() for x in inputs], values, recording.outputs, self.twin)
                found = {tensor: stream.value(tensor) for tensor in dict.fromkeys(recording.outputs)}
        except UsageError:
            return float("inf")
        for tensor, mine in zip(recording.outputs, own, strict=True):
            worst = max(worst, _distance(found[tensor], mine))
        return worst


def _equal(a: Tensor, b: Tensor) -> bool:
    same = torch.equal(a, b) or (a.is_floating_point() and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True))
    return bool(same)


def _distance(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    first, second = a.detach().double(), b.detach().double()
    if not torch.equal(first.isfinite(), second.isfinite()):
        return float("inf")
    keep = first.isfinite()
    apart, largest = (first - second)[keep].abs(), second[keep].abs()
    if not apart.numel():
        return 0.0
    return float(apart.max() / largest.max().clamp(min=1e-300))


def prune(recording: Recording) -> None:
    """Leave out what no output and no weight has to do with, and count the rest anew."""
    makers = {tensor: call for call in recording.calls for tensor in call.outputs}
    roots = list(recording.outputs)
    roots += [t for call in recording.calls if call.weights and call.kind != "op:weight" for t in call.outputs]
    if recording.training:
        roots += [t for call in recording.calls if "updates" in call.config for t in call.outputs]
    needed: set[int] = set()
    while roots:
        call = makers.get(roots.pop())
        if call is not None and call.index not in needed:
            needed.add(call.index)
            roots += call.inputs
    kept = [call for call in recording.calls if call.index in needed]
    for index, call in enumerate(kept):
        call.index = index
    recording.calls = kept
    alive = {*recording.inputs, *recording.outputs, *(t for call in kept for t in (*call.inputs, *call.outputs))}
    recording.shapes = {tensor: shape for tensor, shape in recording.shapes.items() if tensor in alive}
    recording.dtypes = {tensor: dtype for tensor, dtype in recording.dtypes.items() if tensor in alive}


def entitle(recording: Recording) -> None:
    """Name each call after the module that made it, and after its function where that is not enough."""
    by_frame: dict[int, list[Call]] = {}
    for call in recording.calls:
        by_frame.setdefault(id(call.frame), []).append(call)
    for calls in by_frame.values():
        whole = _whole(calls)
        counts: dict[str, int] = {}
        for call in calls:
            if call is whole and call.path:
                call.title = call.path
                continue
            function = base_name(call.name)
            if function == "recurrent":
                function = f"l{call.config['layer']}" if "layer" in call.config else str(call.kind)
            number = counts[function] = counts.get(function, -1) + 1
            name = f"{function}_{number}" if number else function
            call.title = f"{call.path}.{name}" if call.path else name


def _whole(calls: list[Call]) -> Call | None:
    """Return the one call of a module without children that stands for all of it."""
    module = calls[0].module
    from parity.adapters.torch_model_leaves import stands_alone

    if module is None or not stands_alone(module):
        return None
    if len(calls) == 1:
        return calls[0]
    # Around a recurrent layer of both directions its states are cut and joined.
    calls = [call for call in calls if not call.hidden]
    computing = [call for call in calls if base_name(call.name) == "recurrent"] or [
        call for call in calls if call.kind not in MOVING_KINDS and call.kind not in ("zero_pad", "slice")
    ]
    return computing[0] if len(computing) == 1 else None


def _is_lazy(tensor: Tensor) -> bool:
    return isinstance(tensor, torch.nn.parameter.UninitializedTensorMixin)


def _load_exact(source: str, seed: int, notes: list[str]) -> Any:
    """Return the model built in float64, so that its constants are exact, with random numbers as in float32."""
    before = torch.get_default_dtype()
    if Path(source).suffix in MODEL_FILES:
        return load(source, seed, notes).double()
    try:
        torch.set_default_dtype(torch.float64)
        exact = load(source, seed, [])
        with_exact_tables(exact, lambda: load(source, seed, []))
    except UsageError:
        exact = None
    finally:
        torch.set_default_dtype(before)
    plain = load(source, seed, notes)
    if exact is None:
        return plain.double()
    exact = exact.double()
    theirs = plain.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, own in exact.state_dict(keep_vars=True).items():
            other = theirs.get(name)
            fits = isinstance(other, Tensor) and not _is_lazy(own) and not _is_lazy(other) and other.shape == own.shape
            if fits and not is_exact_table(own, other) and not torch.equal(own.to(other.dtype), other):
                own.copy_(other)
    set_mode(exact, plain.training)
    return exact


def _refuse_meta(model: Any, source: str) -> None:
    """Refuse a model that was made to be filled later: it has shapes, and no numbers."""
    named = [*model.named_parameters(), *model.named_buffers()]
    empty = [name for name, tensor in named if tensor is not None and tensor.is_meta]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise UsageError(
            f"{source}: `{empty[0]}`{more} of the torch model are on the meta device, where weights have shapes and no"
            ' numbers: build it on the CPU, or call `.to_empty(device="cpu")` and load weights in the builder'
        )


def trace_data(session: Session) -> Mapping[str, Any]:
    """Return what was recorded as `Trace.to_dict()` data."""
    recording = session.recording
    assert recording is not None
    weights = session.weights()
    unseen = {tensor for call in recording.calls if call.hidden for tensor in call.outputs}
    still = _without_gradients(recording)
    return {
        "inputs": list(recording.inputs),
        "outputs": list(recording.outputs),
        "output_names": list(recording.output_names),
        "ops": [_op(call, unseen) for call in recording.calls if not call.hidden],
        "shapes": {str(tensor): list(shape) for tensor, shape in recording.shapes.items()},
        "dtypes": {str(tensor): dtype for tensor, dtype in recording.dtypes.items()},
        "weights": {
            name: {"shape": list(tensor.shape), "trainable": bool(tensor.requires_grad) and name not in still}
            for name, tensor in weights.items()
        },
        "notes": list(recording.notes),
        "cut_short": recording.cut_short,
    }


def _without_gradients(recording: Recording) -> set[str]:
    """Return the weights that are read under `torch.no_grad()` alone, in a run with gradients: none of them trains."""
    read: dict[bool, set[str]] = {True: set(), False: set()}
    for call in recording.calls:
        read[call.grad] |= {one.reference for one in leaves((call.args, dict(call.kwargs))) if isinstance(one, Par)}
    return read[False] - read[True] if read[True] else set()


def _op(call: Call, unseen: Container[int]) -> dict[str, Any]:
    inputs = [tensor for tensor in call.inputs if tensor not in unseen]
    return {
        "index": call.index, "name": call.title, "kind": call.kind, "inputs": inputs,
        "outputs": list(call.outputs), "config": call.config, "weights": call.weights, "made_by": call.made_by,
        "spelt": spelt(call, inputs),
    }  # fmt: skip
