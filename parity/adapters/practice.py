"""What both frameworks' own training loops share: whole checkpoints, and lines of progress. No framework."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

KEPT = 3
PROGRESS = "progress.jsonl"


def write_checkpoint(folder: str, epoch: int, fill: Callable[[Path], None], state: Mapping[str, Any]) -> None:
    """Write the folder `epoch-NNNN` whole or not at all; `fill` puts the framework's files into it.

    `state` is JSON data, kept beside them in `state.json`; `manifest.json` lists each file with its length and SHA-256.
    The oldest ones go when there are more than `KEPT`.
    """
    base = Path(folder)
    partial, target = base / f".partial-{os.getpid()}", base / f"epoch-{epoch:04d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    (partial / "state.json").write_text(json.dumps(state))
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(partial.iterdir())
    }
    (partial / "manifest.json").write_text(json.dumps({"epoch": epoch, "files": files}))
    for file in partial.iterdir():
        _settle(file)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    for old in sorted(base.glob("epoch-*"))[:-KEPT]:
        shutil.rmtree(old)


def read_state(checkpoint: str) -> dict[str, Any]:
    """Return what `write_checkpoint` was given as `state`."""
    found: dict[str, Any] = json.loads((Path(checkpoint) / "state.json").read_text())
    return found


class Pulse:
    """Tells the parent of each step, and dies where it is told to, as a machine that loses its power does."""

    def __init__(self, folder: str, steps: int, die_at: list[int] | None) -> None:
        self._file = Path(folder) / PROGRESS
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._steps, self._die_at = steps, die_at

    def step(self, epoch: int, step: int, loss: float) -> None:
        """Note that `step` of `epoch`, both from 1, is done."""
        with self._file.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, "steps": self._steps, "loss": loss}) + "\n")
        if self._die_at == [epoch, step]:
            os.kill(os.getpid(), signal.SIGKILL)


def _settle(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
