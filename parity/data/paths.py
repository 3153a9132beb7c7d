"""Where prepared data is kept, and how a path is written into a message."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Folder for everything that can be made again.

    `$PARITY_CACHE` if set, else `$XDG_CACHE_HOME/parity`, else `~/.cache/parity`. The folder need not exist.

    Source: XDG Base Directory Specification 0.8 (an unset, empty or relative value counts as unset).
    """
    own = os.environ.get("PARITY_CACHE", "")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "parity"


def shown(path: Path | str) -> str:
    """Write a path on one printable line, whatever bytes its name holds."""
    # Names that are not UTF-8 arrive with lone surrogates, which no terminal and no report can encode.
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
