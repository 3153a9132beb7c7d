"""Which checkpoint a training can go on from: the newest that is whole, and what is wrong with newer ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from parity.errors import DataError

MANIFEST = "manifest.json"


def damage(checkpoint: Path) -> str | None:
    """Say in one line what is wrong with a checkpoint's files, or None where each is as it was written."""
    try:
        listed = json.loads((checkpoint / MANIFEST).read_text())["files"]
        for name, facts in listed.items():
            content = (checkpoint / name).read_bytes()
            if len(content) != facts["bytes"]:
                return f"{name} has {len(content):,} of {facts['bytes']:,} bytes: it is cut off or was written over"
            if hashlib.sha256(content).hexdigest() != facts["sha256"]:
                return f"{name} is not the file that was written (another SHA-256)"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    return None


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint, and one line for each newer one that was refused; None where there is none.

    Raises
        DataError: there are checkpoints, and all of them are damaged.
    """
    refused: list[str] = []
    found = sorted((path for path in folder.glob("epoch-*") if path.is_dir()), reverse=True)
    for checkpoint in found:
        wrong = damage(checkpoint)
        if wrong is None:
            return checkpoint, refused
        refused.append(f"checkpoint {checkpoint.name} is refused: {wrong}")
    if found:
        raise DataError(f"no checkpoint is whole, train anew: {'; '.join(refused)}")
    return None, refused
