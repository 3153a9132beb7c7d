"""Statistics that a model's own code keeps: which calls write them, and what they are after a segment has run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from parity.adapters.torch_model_calls import Call, Par, Ref, leaves
from parity.adapters.torch_model_replay import Edits, Segment, Weights, plan
from parity.adapters.torch_model_tracing import STATISTICS, Recording
from parity.errors import UsageError


def tell_updates(recording: Recording, weights: Mapping[str, Tensor]) -> None:
    """Note, in the configuration of each call that writes into a buffer, that buffer's name as `updates`."""
    written: dict[int, str] = {}
    for call in recording.calls:
        if call.mutates is None:
            continue
        leaf = list(leaves((call.args, dict(call.kwargs))))[call.mutates]
        name = leaf.reference if isinstance(leaf, Par) else written.get(leaf.tensor) if isinstance(leaf, Ref) else None
        if name is not None and name in weights and not isinstance(weights[name], torch.nn.Parameter):
            call.config["updates"] = name
            written |= dict.fromkeys(call.outputs, name)


def updated(segment: Segment, fed: Mapping[int, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Return the buffers that a model's own code writes into as part of a segment, as they are after it.

    `weights` make the values. What is only read in passing, beside the segment's own result, is part of it as well, and
    so is a normalisation that has moved its statistics before they are read again.
    """
    recording = segment.recording
    own, beside = {call.index for call in segment.calls}, _beside(recording)
    found: dict[str, Tensor] = {}
    for call in recording.calls:  # of several that write into one buffer, the last one
        if "updates" not in call.config:
            continue
        made = call.outputs[0]
        try:
            calls = _with_movers(recording, plan(recording, [made], fed), fed)
        except UsageError:
            continue  # it is made of what lies before the segment
        if {one.index for one in calls} <= own | beside and any(one.inputs for one in calls):
            part = Segment(recording, made, calls, Edits(), segment.to_tensor, segment.twin)
            with torch.no_grad():
                found[str(call.config["updates"])] = part.run(fed, Weights(weights.own, weights.make))
    return found


def _with_movers(recording: Recording, calls: Sequence[Call], fed: Mapping[int, Tensor]) -> list[Call]:
    """Return calls in order with those that moved, before them, statistics that they read: no tensor says so."""
    found = {call.index: call for call in calls}
    open_ = list(calls)
    while open_:
        call = open_.pop()
        read = {leaf.reference for leaf in leaves((call.args, dict(call.kwargs))) if isinstance(leaf, Par)}
        for mover in recording.calls:
            if mover.index < call.index and mover.index not in found and read & _moved_by(mover):
                new = [one for one in plan(recording, mover.outputs, fed) if one.index not in found]
                found |= {one.index: one for one in new}
                open_ += new
    return [found[index] for index in sorted(found)]


def _moved_by(call: Call) -> set[str]:
    """Return the running statistics that a normalisation moves."""
    if call.kind != "batch_norm" or not call.config.get("training") or call.config.get("frozen"):
        return set()
    return {reference for role, reference in call.weights.items() if role in STATISTICS}


def _beside(recording: Recording) -> set[int]:
    """Return the calls that no output depends on."""
    makers = {tensor: call for call in recording.calls for tensor in call.outputs}
    live: set[int] = set()
    open_: Sequence[int] = list(recording.outputs)
    while open_:
        *open_, tensor = open_
        call: Call | None = makers.get(tensor)
        if call is not None and call.index not in live:
            live.add(call.index)
            open_ = [*open_, *call.inputs]
    return {call.index for call in recording.calls} - live
