"""Keep every compared tensor: one safetensors file per comparison, and an index of what each holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from parity.errors import UsageError
from parity.porting.cuts import Step
from parity.porting.options import Array

INDEX = "index.json"


class Dump:
    """Writes into a folder as the check goes on; without a folder it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.rows = folder, list[dict[str, Any]]()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--dump {folder}: {error.strerror or error}") from None
            self._clear(folder)

    def _clear(self, folder: Path) -> None:
        """Remove what an earlier check kept there, by its index: its tensors must not be taken for this one's."""
        try:
            before = [str(row["file"]) for row in json.loads((folder / INDEX).read_text())["tensors"]]
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name in before:
            if Path(name).name == name and name.endswith(".safetensors"):
                (folder / name).unlink(missing_ok=True)

    def add(self, step: Step) -> None:
        """Write the four sides' tensors, each in its own order of axes, and what they were fed."""
        if self.folder is None:
            return
        stem = f"{len(self.rows):04d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', step.cut.name)[:80]}"
        arrays = {side: np.ascontiguousarray(value) for side, value in step.values.items()}
        arrays |= {f"fed_tensorflow_{i}": np.ascontiguousarray(x) for i, x in enumerate(step.fed.values())}
        arrays |= {f"fed_torch_{i}": np.ascontiguousarray(x) for i, x in enumerate(step.fed_torch.values())}
        arrays |= _of_training(step)
        target = self.folder / f"{stem}.safetensors"
        partial = target.with_name(target.name + ".part")
        try:
            save_file(arrays, partial)
            partial.replace(target)
        except (OSError, SafetensorError) as error:  # the second, too, for a full disk
            partial.unlink(missing_ok=True)
            raise UsageError(f"--dump {target}: {getattr(error, 'strerror', None) or error}") from None
        self.rows.append(
            {
                "file": target.name,
                "tensor": step.cut.name,
                "kind": step.cut.kind,
                "tensorflow": step.cut.main_tensorflow.name if step.cut.main_tensorflow else None,
                "torch": step.cut.main_torch.name if step.cut.main_torch else None,
                "verdict": step.finding.verdict,
            }
        )
        self.close()

    def close(self) -> None:
        """Write the index of what there is so far."""
        if self.folder is None:
            return
        partial = self.folder / f"{INDEX}.part"
        try:
            partial.write_text(json.dumps({"schema": 1, "tensors": self.rows}, indent=1) + "\n")
            partial.replace(self.folder / INDEX)
        except OSError as error:
            raise UsageError(f"--dump {self.folder}: {error.strerror or error}") from None


def _of_training(step: Step) -> dict[str, Array]:
    """Return the gradients and the statistics of one layer in training, by side and by what they are of."""
    found: dict[str, Any] = {}
    for side, answer in step.answers.items():
        gradients = answer.get("input_gradients", {}).values()
        found |= {f"{side}.gradient_of_input_{i}": gradient for i, gradient in enumerate(gradients)}
        found |= {
            f"{side}.gradient_of.{name}": gradient for name, gradient in answer.get("weight_gradients", {}).items()
        }
        found |= {f"{side}.state.{name}": value for name, value in answer.get("state", {}).items()}
    return {name: np.ascontiguousarray(value) for name, value in found.items() if value is not None}
