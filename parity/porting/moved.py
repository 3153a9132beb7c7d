"""An activation on one side of a sum, or of a normalisation, in one model and on its other side in the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from parity.model.trace import Op
from parity.porting.sides import TENSORFLOW, TORCH, Models
from parity.porting.verdict import Source, layer_name, message

MISSING, EXTRA = "activation-missing", "activation-extra"
MEETS = frozenset(
    {"add", "subtract", "multiply", "average", "maximum", "minimum", "concat"}
    | {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
)


def as_one(found: Sequence[Source], models: Models) -> list[Source]:
    """Return the sources with one in place of each two that an activation on the wrong side of a sum makes."""
    left = list(found)
    for missing in [source for source in found if source.cause == MISSING]:
        extra = next((source for source in left if source.cause == EXTRA and _moved(missing, source, models)), None)
        if extra is not None:
            left = [_told(one, extra) if one is missing else one for one in left if one is not extra]
    return left


def _told(missing: Source, extra: Source) -> Source:
    evidence = f"{missing.evidence}; torch has it at `{extra.torch}`, where {extra.evidence}"
    fix = f"{missing.fix}, and {extra.fix}: it stands on the other side of what lies between"
    cause = f"{MISSING}: TensorFlow applies it on the other side of a sum, or of a normalisation."
    told = message(missing.tensorflow, missing.torch, "computes something else", cause, evidence, fix)
    return replace(missing, evidence=evidence, fix=fix, message=told)


def _moved(missing: Source, extra: Source, models: Models) -> bool:
    """Return whether torch's activation stands next to what joins or normalises, and TensorFlow's on its other side."""
    wanted = [op.config.get("function") for op in _called(models, TENSORFLOW, missing.tensorflow)]
    trace = models[TORCH]
    makers, readers = trace.producers(), trace.consumers()
    for op in _called(models, TORCH, extra.torch):
        if op.config.get("function") not in wanted:
            continue
        behind = [reader for tensor in op.outputs for reader in readers.get(tensor, ()) if reader.kind in MEETS]
        if any(layer_name(reader.name) == missing.torch for reader in behind):
            return True
        before = [makers[tensor] for tensor in op.inputs if tensor in makers and makers[tensor].kind in MEETS]
        joined = [makers[tensor] for meeting in before for tensor in meeting.inputs if tensor in makers]
        if any(layer_name(one.name) == missing.torch for one in joined):
            return True
    return False


def _called(models: Models, side: str, name: str | None) -> list[Op]:
    return [op for op in models[side].ops if op.kind == "activation" and layer_name(op.name) == name]
