"""What a model is made of before it runs: its modules, each leaf tried on a small example, or a run without numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from parity.adapters.torch_model_calls import Call
from parity.adapters.torch_model_initial import initializers
from parity.adapters.torch_model_kinds import describe, simple
from parity.adapters.torch_model_leaves import stands_alone
from parity.adapters.torch_model_session import Session, entitle, prune
from parity.adapters.torch_model_together import depends, taken_together
from parity.adapters.torch_model_tracing import Frame, Recorder, Recording
from parity.model.trace import MOVING_KINDS

_SIDE = 8


def static_trace(session: Session) -> dict[str, Any]:
    """Return `Trace.to_dict()` data of the leaf modules in the order of their definition."""
    ops: list[dict[str, Any]] = []
    inside: set[int] = set()
    still = _kept_still(session.model)
    for path, module in session.model.named_modules():
        if id(module) in inside or not path or not stands_alone(module):
            continue
        inside |= {id(child) for child in module.modules()}
        drawn = initializers(module)
        for title, call in _tried(session, path, module):
            config = {**call.config, **drawn} if call.weights else call.config
            config |= {"frozen": True} if call.kind == "batch_norm" and id(module) in still else {}
            ops.append(
                {
                    "index": len(ops), "name": title, "kind": call.kind, "inputs": [], "outputs": [],
                    "config": config, "weights": call.weights, "made_by": call.made_by,
                }
            )  # fmt: skip
    return _data(session, ops)


def _kept_still(model: nn.Module) -> set[int]:
    """Return the modules that a model's own code leaves in evaluation when it is put into training mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.train()
        return {id(module) for module in modes if not module.training}
    finally:
        for module, mode in modes.items():
            module.training = mode


def trace_in_order(session: Session, inputs: Sequence[tuple[Sequence[int], bool]]) -> dict[str, Any] | None:
    """Return `Trace.to_dict()` data of every operation in the order in which they run on inputs of these shapes.

    The inputs, each a shape and whether it holds whole numbers, and all that is computed of them are tensors without
    numbers. None for a model whose way depends on numbers, or that does not take such inputs.

    Source: https://docs.pytorch.org/docs/stable/torch.compiler_fake_tensor.html
    """
    session.prepare(False)
    try:
        # The mode is not entered: masks and positions, which depend on no input, keep their numbers.
        without_numbers = FakeTensorMode(allow_non_fake_inputs=True).from_tensor
        with torch.no_grad():
            given = [
                without_numbers(torch.zeros(tuple(shape), dtype=torch.long if whole else session.dtype))
                for shape, whole in inputs
            ]
            recording = session.watched(given)
            for call in recording.calls:
                describe(call, recording.shapes, False, session.rates)
    except Exception:  # it asks for a number, or wants other shapes: what the modules say is left
        return None
    prune(recording)
    entitle(recording)
    taken_together(recording)
    depends(recording)
    still = _kept_still(session.model)
    return _data(session, [_told(index, call, still) for index, call in enumerate(_first_uses(recording))])


def _first_uses(recording: Recording) -> Iterator[Call]:
    """Yield the calls without those that use an earlier one's weights again; a pad stands before each that reads it."""
    makers = {tensor: call for call in recording.calls for tensor in call.outputs}
    seen: set[tuple[str, ...]] = set()
    for call in recording.calls:
        weights = tuple(sorted(call.weights.values()))
        if call.kind == "zero_pad" or (weights and weights in seen):
            continue
        seen.add(weights)
        yield from (makers[tensor] for tensor in call.inputs if tensor in makers and makers[tensor].kind == "zero_pad")
        yield call


def _told(index: int, call: Call, still: set[int]) -> dict[str, Any]:
    drawn = initializers(call.module) if call.weights and call.module is not None else {}
    drawn |= {"frozen": True} if call.kind == "batch_norm" and id(call.module) in still else {}
    return {
        "index": index, "name": call.title, "kind": call.kind, "inputs": [], "outputs": [],
        "config": {**call.config, **drawn}, "weights": call.weights, "made_by": call.made_by,
    }  # fmt: skip


def _data(session: Session, ops: list[dict[str, Any]]) -> dict[str, Any]:
    used = {name for op in ops for name in op["weights"].values()}
    known = session.everything()
    weights = {
        name: {"shape": list(one.shape), "trainable": bool(one.requires_grad)}
        for name, one in {**session.weights(), **{name: known[name] for name in used & known.keys()}}.items()
    }
    return {
        "inputs": [], "outputs": [], "output_names": [], "ops": ops, "shapes": {}, "dtypes": {}, "weights": weights,
        "notes": [],
    }  # fmt: skip


def _tried(session: Session, path: str, module: nn.Module) -> list[tuple[str, Call]]:
    if isinstance(module, nn.Identity):
        return [(path, _bare(path, module, "identity"))]
    for given in _examples(module, session.dtype, session.device):
        try:
            calls = _recorded(session, module, given)
        except Exception:  # not this shape
            continue
        if not calls:
            continue
        layers = [call for call in calls if "layer" in call.config]
        if layers:
            return [(f"{path}.l{call.config['layer']}", call) for call in layers]
        if len(calls) == 1:
            return [(path, calls[0])]
        computing = [call for call in calls if call.kind not in MOVING_KINDS and call.kind != "zero_pad"]
        return [(path if call in computing[:1] else f"{path}.{call.name}", call) for call in calls]
    return [(path, _bare(path, module, f"op:{type(module).__name__}"))]


def _recorded(session: Session, module: nn.Module, given: tuple[Any, ...]) -> list[Call]:
    recorder = Recorder(session.everything(), session.twin, frozenset())
    for x in given:
        recorder.identify(x)
    training = module.training
    module.eval()
    try:
        with session.precision(), recorder.watching(module, session.paths), torch.no_grad(), recorder:
            module(*given)
    finally:
        module.train(training)
    for call in recorder.found.calls:
        describe(call, recorder.found.shapes, False, session.rates)
        for key in ("size",):  # of the example, not of the model
            if call.kind == "resize":
                call.config.pop(key, None)
    return recorder.found.calls


def _bare(path: str, module: nn.Module, kind: str) -> Call:
    own = {key: value for key, value in vars(module).items() if not key.startswith("_") and key != "training"}
    weights = {name: f"{path}.{name}" for name, _ in module.named_parameters()}
    made_by = (
        f"torch.nn.{type(module).__name__}" if type(module).__module__.startswith("torch.nn") else type(module).__name__
    )
    call = Call(0, len, kind, (), {}, (), path, module, made_by, Frame(path, module))
    call.kind, call.config, call.weights = kind, simple(own), weights
    return call


def _examples(module: Any, dtype: Any, device: Any) -> Iterator[tuple[Any, ...]]:
    """Yield inputs that a module may take, the likeliest first."""

    def made(*shape: int) -> tuple[Any, ...]:
        return (torch.zeros(shape, dtype=dtype, device=device),)

    if isinstance(module, nn.MultiheadAttention):
        yield tuple(torch.zeros(2, 2, n, dtype=dtype) for n in (module.embed_dim, module.kdim, module.vdim))
    elif isinstance(module, (nn.LSTM, nn.GRU, nn.RNN)):
        yield made(2, 2, module.input_size)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        yield (torch.zeros(2, 2, dtype=torch.long, device=device),)
    elif hasattr(module, "kernel_size") and hasattr(module, "in_channels"):
        sides = [d * (k - 1) + 8 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        yield made(2, module.in_channels, *sides)
    elif hasattr(module, "in_features"):
        yield made(2, module.in_features)
    elif hasattr(module, "normalized_shape"):
        yield made(2, *module.normalized_shape)
    else:
        yield from _guessed(module, made)


def _guessed(module: Any, made: Any) -> Iterator[tuple[Any, ...]]:
    name = type(module).__name__
    channels = getattr(module, "num_features", getattr(module, "num_channels", None))
    channels = channels or getattr(module, "num_parameters", None) or 16
    rank = next((n for n in (1, 2, 3) if name.endswith(f"{n}d")), None)
    for spatial in (rank,) if rank else (2, 1, 0, 3):
        for side in (_SIDE, 32):
            yield made(2, channels, *[side] * spatial)
    yield made(2, 2, channels)
