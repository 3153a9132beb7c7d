"""Embeddings: ids that are counted from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from parity.judge.traps.remedy import Remedy, change, insert, skip
from parity.judge.traps.scene import GRADIENT, Scene
from parity.model import constants
from parity.model.layout import Array
from parity.model.trace import Op

IDS = ("embedding-offset", "embedding-padding-index")


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind == "embedding":
            yield from _offset(scene, theirs) if theirs.inputs else _constant(theirs)
            yield from _padding(scene, mine, theirs)


def _offset(scene: Scene, theirs: Op) -> Iterator[Remedy]:
    for op in scene.extra_torch:
        if op.kind == "rescale" and op.config.get("scale", 1.0) == 1.0:
            yield skip(
                op,
                "embedding-offset",
                f"without adding {op.config.get('offset'):g} to the ids",
                f"remove `{op.name}` before `{theirs.name}`",
            )
    for op in scene.extra_tensorflow:
        if op.kind == "rescale" and op.config.get("scale", 1.0) == 1.0:
            by = int(op.config.get("offset", 0))
            yield insert(
                theirs.inputs[0],
                "embedding-offset",
                f"with ids moved by {by:+d}",
                f"ids = ids + {by} before `{theirs.name}`".replace("+ -", "- "),
                "rescale",
                {"scale": 1.0, "offset": float(by)},
            )
    for by in (-1, 1, -2, 2):
        yield insert(
            theirs.inputs[0],
            "embedding-offset",
            f"with ids moved by {by:+d}",
            f"ids = ids + {by} before `{theirs.name}`".replace("+ -", "- "),
            "rescale",
            {"scale": 1.0, "offset": float(by)},
            cost=3.0 + 0.1 * abs(by),
        )


def _constant(theirs: Op) -> Iterator[Remedy]:
    """Ids that the code counts itself, as those of positions: `torch.arange(1, n + 1)`."""
    if constants.IDS not in theirs.config:
        return
    ids = constants.unpacked(theirs.config[constants.IDS]).astype("int64")
    for by in (-1, 1, -2, 2):
        moved = ids + by
        if moved.min() < 0 or moved.max() >= int(theirs.config["tokens"]):
            continue
        yield change(
            theirs,
            "embedding-offset",
            f"with ids moved by {by:+d}",
            _counted(theirs.name, ids, moved),
            {constants.IDS: constants.packed(moved)},
            cost=1.5 + 0.1 * abs(by),
        )


def _counted(name: str, ids: Array, moved: Array) -> str:
    first, wanted = ids.reshape(-1)[0], moved.reshape(-1)[0]
    if (ids == first).all():
        return f"look up row {wanted} of `{name}` instead of row {first}"
    return f"count the ids of `{name}` from {wanted} instead of {first}"


def _padding(scene: Scene, mine: Op, theirs: Op) -> Iterator[Remedy]:
    index = theirs.config.get("padding_index")
    if scene.stage == GRADIENT and index is not None and mine.config.get("padding_index") is None:
        yield change(
            theirs,
            "embedding-padding-index",
            f"with a gradient for row {index}",
            f"padding_idx=None in `{theirs.name}`: row {index} trains in TensorFlow",
            {"padding_index": None},
        )
