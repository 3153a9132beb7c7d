"""Fixes that need no scene, as lines of Keras's code where torch's model was ported: what trains, and whole outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from parity.judge.traps.keras_words import exact, is_layer
from parity.model.trace import Op
from parity.porting.options import TORCH_TO_TENSORFLOW
from parity.porting.sides import TENSORFLOW, TORCH, Models
from parity.porting.verdict import Source, layer_name

Line = Callable[[Models, Source], str | None]


def mended(found: list[Source], models: Models) -> list[Source]:
    """Return sources with their fixes as lines of Keras's code, where torch's model was ported and a line is known."""
    if models.options.weights != TORCH_TO_TENSORFLOW:
        return found
    return [_mended(source, models) for source in found]


def _mended(source: Source, models: Models) -> Source:
    maker = LINES.get((source.cause, source.kind)) or LINES.get((source.cause, ""))
    line = maker(models, source) if maker is not None and source.mends == TORCH else None
    if line is None:
        return source
    told = source.message.replace(f"  fix: {source.fix}", f"  fix: {line}")
    return replace(source, fix=line, message=told, mends=TENSORFLOW)


def _op(models: Models, side: str, name: str | None) -> Op | None:
    return next((op for op in models[side].ops if layer_name(op.name) == name), None)


def _momentum(models: Models, source: Source) -> str | None:
    theirs = _op(models, TORCH, source.torch)
    keep = None if theirs is None else theirs.config.get("momentum")
    if keep is None:
        return f"an average of all batches in `{source.tensorflow}`: no momentum of Keras gives one"
    new = round(1.0 - float(keep), 12)
    word = f"momentum={exact(round(1.0 - new, 12))}"
    return f"{word} in `{source.tensorflow}` (Keras's momentum is the weight of the old value)"


def _variance(_: Models, source: Source) -> str:
    return (
        f"`{source.tensorflow}` of a class of its own, whose moving_variance follows var * N / (N - 1): Keras's keeps"
        " the biased variance"
    )


def _flattened(models: Models, source: Source) -> str | None:
    mine = _op(models, TENSORFLOW, source.tensorflow)
    shape = models[TENSORFLOW].shapes.get(mine.inputs[0], ()) if mine is not None and mine.inputs else ()
    if mine is None or len(shape) < 3:
        return None
    dims = (len(shape) - 1, *range(1, len(shape) - 1))
    before = f"layers.Permute({dims})" if is_layer(mine) else f"x = tf.transpose(x, {(0, *dims)})"
    return f"{before} before `{source.tensorflow}`"


def _turned(models: Models, source: Source) -> str | None:
    mine = _op(models, TENSORFLOW, source.tensorflow)
    if mine is None:
        return None
    turned = "layers.Permute((2, 1))" if is_layer(mine) else "x = tf.transpose(x, (0, 2, 1))"
    return f"{turned} after `{source.tensorflow}`"


def _statistics(_: Models, source: Source) -> str | None:
    if not source.evidence.startswith("training agrees"):
        return None
    return f"training=True in every call of `{source.tensorflow}`: torch's keeps no statistics to evaluate with"


LINES: Mapping[tuple[str, str], Line] = {
    ("batchnorm-momentum", ""): _momentum,
    ("batchnorm-running-variance", ""): _variance,
    ("flatten-order", "output"): _flattened,
    ("axis-mismatch", "output"): _turned,
    ("batchnorm-mode", "batch_norm"): _statistics,
}
