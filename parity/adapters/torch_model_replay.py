"""Runs recorded calls again: on other numbers, with other weights, edited, differentiated, or with tracked rounding."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from parity.adapters.torch_model_calls import Call, Par, Ref, leaves, mapped, tensors
from parity.adapters.torch_model_loading import first_line
from parity.adapters.torch_model_tracing import STATISTICS, Recording
from parity.errors import RoundingUnknown, UsageError
from parity.model.trace import OPERATORS
from parity.pairing.references import rows_of_part, sides_of

_OF_OPERANDS = OPERATORS | {"matmul", "einsum"}  # call no weight a kernel


class Weights:
    """The values that stand for a model's weights in one run, made when they are first asked for."""

    def __init__(
        self,
        own: Mapping[str, Tensor],
        make: Callable[[str, Tensor], Tensor],
        constant: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.own, self.make, self.constant = own, make, constant
        self.used: dict[str, Tensor] = {}

    def whole(self, name: str) -> Tensor:
        """Return the value of one weight."""
        if name not in self.used:
            self.used[name] = self.make(name, self.own[name])
        return self.used[name]

    def value(self, reference: str) -> Tensor:
        """Return the value of a reference: `name`, `name@lo:hi`, `a+b`, `a&b`, `a^b`, `a|b`."""
        if "|" in reference:
            return torch.stack([self.value(part) for part in reference.split("|")])
        several, axis = sides_of(reference)
        if len(several) > 1:
            return torch.cat([self.value(part) for part in several], axis)
        if "+" in reference:
            first, *rest = (self.value(part) for part in reference.split("+"))
            for other in rest:
                first = first + other
            return first
        name, rows = rows_of_part(reference)
        whole, picks = self.whole(name), [rows, rows.within] if rows.within is not None else [rows]
        for one in picks:
            if one.indices is None:
                continue
            low, count = int(one.indices[0]), len(one.indices)
            if one.single:
                whole = whole.select(one.axis, low)
            elif one.axis == 0 and int(one.indices[-1]) == low + count - 1:
                whole = whole[low : low + count]
            else:
                whole = whole.index_select(one.axis, torch.as_tensor(one.indices, device=whole.device))
        return whole.T if rows.turned else whole


def run_call(call: Call, known: Mapping[int, Tensor], weights: Weights) -> list[Tensor]:
    """Run one recorded call and return its results, one per output."""
    given = mapped((call.args, dict(call.kwargs)), lambda leaf: _value(leaf, known, weights))
    if call.mutates is not None:
        target: list[Tensor] = []
        counted = iter(range(len(list(leaves(given)))))

        def own(leaf: Any) -> Any:
            if next(counted) != call.mutates:
                return leaf
            target.append(leaf.clone())
            return target[0]

        given = mapped(given, own)
    with math_attention(), contextlib.nullcontext() if call.grad else torch.no_grad():
        result = _in_any_layout(call.function, given[0])(*given[0], **given[1])
    found = target if call.mutates is not None else tensors(result)
    return found if weights.constant is None else [_told(one, weights.constant) for one in found]


def _told(result: Tensor, constant: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a result that carries its error: one made of whole numbers alone was no tracked tensor before."""
    plain = type(result) is torch.Tensor and result.is_floating_point()
    return constant(result) if plain else result


def _in_any_layout(function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
    """Return `reshape` for `view`: how numbers lie in memory may be another in this run.

    A `contiguous()` before it leaves no trace where there was nothing to do, as behind a fused attention.
    """
    other_dtype = any(isinstance(value, torch.dtype) for value in args)
    return torch.Tensor.reshape if function is torch.Tensor.view and not other_dtype else function


def _value(leaf: Any, known: Mapping[int, Tensor], weights: Weights) -> Any:
    if isinstance(leaf, Ref):
        return known[leaf.tensor]
    if isinstance(leaf, Par):
        return weights.value(leaf.reference)
    if weights.constant is not None and isinstance(leaf, Tensor) and leaf.is_floating_point():
        return weights.constant(leaf)
    return leaf


def math_attention() -> Any:
    """Attention step by step, the only form whose rounding can be bounded and that is exact in double precision."""
    return torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)


def plan(recording: Recording, wanted: Iterable[int], fed: Iterable[int]) -> list[Call]:
    """Return the calls between the fed tensors and the wanted ones, in order.

    Raises:
        UsageError: a model input is reached that is not fed.
    """
    makers = {tensor: call for call in recording.calls for tensor in call.outputs}
    stop, needed, open_ = set(fed), {}, list(wanted)
    while open_:
        tensor = open_.pop()
        if tensor in stop:
            continue
        stop.add(tensor)
        call = makers.get(tensor)
        if call is None:
            raise UsageError(
                f"tensor {tensor} is {'a model input' if tensor in recording.inputs else 'unknown'} and was not fed"
            )
        needed[call.index] = call
        open_ += call.inputs
    return [needed[index] for index in sorted(needed)]


def failed(call: Call, error: BaseException, twin: bool) -> UsageError:
    """Return the message for a call that raised when it was run again."""
    precision = "float64" if twin else "float32"
    return UsageError(
        f"the torch operation `{call.title}` ({call.kind}) could not be run again in {precision}:"
        f" {type(error).__name__}: {first_line(error)}"
    )


class Stream:
    """One run from the inputs on, call by call, that keeps only what is still needed."""

    def __init__(
        self, recording: Recording, inputs: Sequence[Tensor], weights: Weights, wanted: Sequence[int], twin: bool
    ) -> None:
        self.recording, self.weights, self.twin = recording, weights, twin
        self.known = dict(zip(recording.inputs, inputs, strict=True))
        self.wanted = set(wanted)
        self.left = plan(recording, wanted, recording.inputs)
        self.readers = Counter(t for call in self.left for t in set(call.inputs))
        self._release(self.known)

    def value(self, tensor: int) -> Tensor:
        """Run what `tensor` still waits for, and return it; it is not kept any longer."""
        if tensor not in self.wanted:
            raise UsageError(f"tensor {tensor} was not asked for in this run, or was taken already")
        if tensor not in self.known:
            waiting = {call.index for call in plan(self.recording, [tensor], self.known)}
            for call in [call for call in self.left if call.index in waiting]:
                self.run(call)
        self.wanted.discard(tensor)
        found = self.known[tensor]
        self._release([tensor])
        return found

    def run(self, call: Call) -> None:
        """Run one call and let go of what nothing else reads."""
        try:
            results = run_call(call, self.known, self.weights)
        except Exception as error:
            raise failed(call, error, self.twin) from error
        self.left.remove(call)
        self.known |= dict(zip(call.outputs, results, strict=True))
        for tensor in set(call.inputs):
            self.readers[tensor] -= 1
        self._release([*call.inputs, *call.outputs])

    def _release(self, these: Iterable[int]) -> None:
        for tensor in list(these):
            if self.readers[tensor] <= 0 and tensor not in self.wanted:
                self.known.pop(tensor, None)


@dataclass
class Edits:
    """Changes of a segment: calls replaced or skipped, and what is put behind a tensor."""

    calls: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    inserted: dict[int, list[Mapping[str, Any]]] = field(default_factory=dict)

    @staticmethod
    def of(given: Sequence[Mapping[str, Any]]) -> Edits:
        """Return the edits of a request."""
        found = Edits()
        for edit in given:
            if "op" in edit:
                found.calls[int(edit["op"])] = edit
            elif "insert" in edit:
                found.inserted.setdefault(int(edit["insert"]), []).append(edit)
            else:
                raise UsageError(f"an edit must name an `op` or an `insert`, not {sorted(edit)}")
        return found


@dataclass
class Segment:
    """The calls between fed tensors and a wanted one, with edits."""

    recording: Recording
    want: int
    calls: list[Call]
    edits: Edits
    to_tensor: Callable[[Any], Tensor]
    twin: bool

    def run(self, fed: Mapping[int, Tensor], weights: Weights) -> Tensor:
        """Return the wanted tensor."""
        known = dict(fed)
        for tensor in list(known):
            known[tensor] = self._passed(tensor, known[tensor], weights)
        for call in self.calls:
            try:
                results = self._results(call, known, weights)
            except (RoundingUnknown, UsageError):
                raise
            except Exception as error:
                raise failed(call, error, self.twin) from error
            made = self.edits.calls.get(call.index, {}).get("outputs", call.outputs)
            for tensor, result in zip(made, results, strict=False):
                if tensor not in fed:
                    known[tensor] = self._passed(tensor, result, weights)
        return known[self.want]

    def _results(self, call: Call, known: Mapping[int, Tensor], weights: Weights) -> list[Tensor]:
        edit = self.edits.calls.get(call.index)
        if edit is None:
            return run_call(call, known, weights)
        read = [int(tensor) for tensor in edit.get("inputs", call.inputs)]
        if edit.get("skip"):
            return [known[read[0]]]
        if "references" in edit:  # the call is the last of several that are replaced together
            own = {role: _vector(weights.value(reference)) for role, reference in edit["references"].items()}
        else:
            own = {role: weights.value(reference) for role, reference in call.weights.items()}
        if call.made in read:  # as the model's code makes it of the weights
            read.remove(call.made)
            own["other" if call.kind in _OF_OPERANDS else "weight"] = known[call.made]
        own |= self._given(edit)
        inputs = [*(known[tensor] for tensor in read), *_constant_masks(call)]
        states = [] if "inputs" in edit else _with_constant_states(call)
        if states:
            inputs = [known[one.tensor] if isinstance(one, Ref) else one for one in states]
        return self._canonical(edit, own, inputs)

    def _passed(self, tensor: int, value: Tensor, _: Weights) -> Tensor:
        for edit in self.edits.inserted.get(tensor, ()):
            value = self._canonical(edit, self._given(edit), [value])[0]
        return value

    def _given(self, edit: Mapping[str, Any]) -> dict[str, Tensor]:
        return {role: self.to_tensor(array) for role, array in (edit.get("weights") or {}).items()}

    def _canonical(self, edit: Mapping[str, Any], weights: Mapping[str, Tensor], inputs: list[Tensor]) -> list[Tensor]:
        from parity.adapters import torch_kinds

        with math_attention():
            found = torch_kinds.outputs(
                str(edit["kind"]), dict(edit.get("config") or {}), dict(weights), inputs, self.recording.training
            )
        return list(found)


def _vector(weight: Tensor) -> Tensor:
    """Return a weight along one axis as a vector, as layers hold it."""
    return weight.reshape(-1) if weight.numel() == max(weight.shape, default=0) else weight


def _constant_masks(call: Call) -> list[Tensor]:
    """Return the masks that a model made itself: to the canonical form of attention they are inputs like the others."""
    if call.kind not in ("attention", "sdpa") or not call.config.get("has_mask"):
        return []
    given = [leaf for leaf in leaves((call.args, dict(call.kwargs))) if isinstance(leaf, Tensor)]
    return [mask for mask in given if mask.dim() > 1 and not isinstance(mask, torch.nn.Parameter)]


def _with_constant_states(call: Call) -> list[Ref | Tensor]:
    """Return what a recurrent layer reads where a model made a state of it itself that is not left at zero."""
    if call.kind not in ("lstm", "gru", "rnn") or call.config.get("bidirectional"):
        return []
    read = [leaf for leaf in leaves((call.args, dict(call.kwargs))) if isinstance(leaf, (Ref, Tensor))]
    made = [leaf for leaf in read if isinstance(leaf, Tensor)]
    if not made or not all(leaf.is_floating_point() for leaf in made):
        return []
    handed = len(read) - len(made) > 1  # zeros beside a state that was handed on have their place, too
    return read if handed or any(bool(leaf.any()) for leaf in made) else []


def statistics(weights: Weights, calls: Sequence[Call]) -> dict[str, Tensor]:
    """Return the running statistics that the calls of a run used, as they are after it."""
    names = [
        reference for call in calls for role, reference in call.weights.items() if role in STATISTICS
    ]  # fmt: skip
    return {name: weights.used[name] for name in dict.fromkeys(names) if name in weights.used}
