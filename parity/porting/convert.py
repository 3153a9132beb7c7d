"""Move trained weights from a file of one framework to a file of the other, for a pair that was proven first."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ExportError, UsageError
from parity.pairing.copying import neighbours, settling
from parity.porting.options import TENSORFLOW_TO_TORCH, TORCH_TO_TENSORFLOW, Array, CheckOptions
from parity.porting.sides import TENSORFLOW, TORCH, TWIN_TENSORFLOW, TWIN_TORCH
from parity.porting.verdict import listed

ENDINGS: Mapping[str, tuple[str, ...]] = {
    TENSORFLOW: (".keras", ".h5", ".safetensors"),
    TORCH: (".pth", ".pt", ".safetensors"),
}
READ_ONLY: Mapping[str, str] = {".pt2": TORCH}
TWIN = {TENSORFLOW: TWIN_TENSORFLOW, TORCH: TWIN_TORCH}


@dataclass(frozen=True)
class Conversion:
    """What was written, and what proves it."""

    path: Path
    source: str
    target: str
    weights: int
    differing: tuple[str, ...]  # names of weights that read back otherwise than they were written
    why: str  # what the outputs say against it; empty if nothing
    note: str = ""  # about what the target cannot hold as the source does

    @property
    def proven(self) -> bool:
        """Whether the file, read back, holds the same weights and gives the same outputs."""
        return not self.differing and not self.why

    def line(self) -> str:
        """Return one line."""
        if self.proven:
            return (
                f"wrote {self.path}: {self.weights} weights of {self.source} in {self.target}'s layouts; read back,"
                f" they are bit for bit what was meant, and the outputs agree{self.note and f' ({self.note})'}"
            )
        what = self.why or f"{', '.join(self.differing[:4])} read back otherwise"
        return f"{self.path} was not kept, since what was written is not what it should be: {what}"


def directions(source: Path, target: Path) -> tuple[str, str]:
    """Return the frameworks that two files belong to, by their endings, and by the names inside a .safetensors file.

    Raises
        UsageError: no such file, an unknown ending, or both of one framework.
    """
    if not (source.is_file() or _is_checkpoint(source)):
        raise UsageError(f"--from {source}: {'it is a folder, not a file' if source.is_dir() else 'no such file'}")
    if target.exists() and target.samefile(source):
        raise UsageError(f"--to {target}: that is the file of --from, which would be overwritten")
    mine = _framework("--from", source)
    other = TORCH if mine == TENSORFLOW else TENSORFLOW
    if target.suffix not in ENDINGS[other]:
        raise UsageError(
            f"--to {target}: {source.name} holds {mine} weights, so the result is a {other} file:"
            f" {', '.join(ENDINGS[other])}"
        )
    return mine, other


def _framework(option: str, path: Path) -> str:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                names = list(file.keys())
        except SafetensorError as error:
            raise UsageError(f"{option} {path}: no safetensors file ({error})") from None
        return (
            TENSORFLOW if any("/" in name for name in names) else TORCH
        )  # Keras says conv1/kernel, torch conv1.weight
    for framework, endings in ENDINGS.items():
        if path.suffix in endings:
            return framework
    if path.suffix in READ_ONLY:
        return READ_ONLY[path.suffix]
    if _is_checkpoint(path):
        return TENSORFLOW
    known = sorted({*READ_ONLY, *(ending for endings in ENDINGS.values() for ending in endings)})
    raise UsageError(f"{option} {path}: the ending says which framework, one of {', '.join(known)}")


def _is_checkpoint(path: Path) -> bool:
    """Whether TensorFlow's own kind of checkpoint has this name, which is the beginning of its files' names."""
    return path.with_name(f"{path.name}.index").is_file()


def settings(options: CheckOptions, mine: str, source: Path) -> CheckOptions:
    """Return the options of the check that proves the pair: the source's weights on both sides."""
    weights = TENSORFLOW_TO_TORCH if mine == TENSORFLOW else TORCH_TO_TENSORFLOW
    file = str(source.absolute())
    if mine == TENSORFLOW:
        return replace(options, weights=weights, tensorflow_weights=file)
    return replace(options, weights=weights, torch_weights=file)


def write(prepared: Any, mine: str, other: str, target: Path, outputs_differ: Callable[[], str]) -> Conversion:
    """Write the source's own weights in the other framework's file, read it back in fresh models, and compare.

    The file gets its name when it is proven: what stood there before stays if it is not.

    `prepared` is `parity.port.Prepared` of a proven pair; `outputs_differ` says in one line what the outputs of all
    four sides say against each other, or nothing.

    Raises
        ExportError: the file could not be written or read back.
    """
    models, plan = prepared.models, prepared.plan
    real = prepared.built[mine]
    carried: dict[str, Array] = dict((plan.to_torch if mine == TENSORFLOW else plan.to_tensorflow)(real))
    both = (real, carried) if mine == TENSORFLOW else (carried, real)
    settled = plan.settled(*both)[0 if mine == TENSORFLOW else 1]
    models.set_weights(other, carried)
    unproven = target.absolute().with_name(f"unproven{os.getpid()}-{target.name}")  # readers go by the ending
    try:
        models.workers.call(other, "save_model", path=str(unproven))
        if not unproven.is_file():
            raise ExportError(f"{target} was not written")
        words = {"inputs": prepared.inputs[TENSORFLOW]} if other == TENSORFLOW else {}
        for side in (other, TWIN[other]):
            models.load_again(side, str(unproven), **words)
        back = models.weights(other)
        differing = tuple(name for name, array in carried.items() if not _same_bits(array, back.get(name)))
        computed = _computed(models, other, carried, back)
        rounded, differing = (tuple(n for n in differing if (n in computed) == near) for near in (True, False))
        for side in (other, TWIN[other]):  # the twin computes them in float64, of what float32 rounded
            models.set_weights(side, computed)
        for side in (mine, TWIN[mine]):
            models.set_weights(side, {**real, **settled})
        note = settling(mine, settled) if settled else ""
        if rounded:
            told = f"but for the rounding of {listed(rounded)}, which torch computes of others"
            note = "; ".join(filter(None, (note, told)))
        found = Conversion(target, mine, other, len(carried), differing, outputs_differ(), note)
        if found.proven:
            unproven.replace(target)
    finally:
        unproven.unlink(missing_ok=True)
    return found


def _computed(models: Any, other: str, carried: Mapping[str, Array], back: Mapping[str, Array]) -> dict[str, Array]:
    """Return what was meant for weights that torch computes from others, and that came back but for rounding."""
    names = [name for name in models.about[TORCH].get("computed", ()) if other == TORCH and name in carried]
    return {name: carried[name] for name in names if name in back and neighbours(carried[name], back[name])}


def _same_bits(array: Array, back: Array | None) -> bool:
    return back is not None and array.shape == back.shape and np.array_equal(array.astype(back.dtype), back)
