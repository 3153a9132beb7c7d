"""Builders of both frameworks as text, written to a folder, and the ONNX files that they export there."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from parity.workers.client import Worker, WorkerOptions


def written(folder: Path, keras: str, torch: str) -> Path:
    """Write both modules and let each export its files, from inside a worker; FOLDER in a text is the folder."""
    for framework, name, text in (("tensorflow", "their_tf", keras), ("torch", "their_pt", torch)):
        (folder / f"{name}.py").write_text(textwrap.dedent(text).replace("FOLDER", str(folder)))
        with Worker(WorkerOptions(framework)) as worker:
            worker.call("load_model", source=f"{folder / name}.py:write")
    return folder


def sources(folder: Path, tensorflow: str, torch: str) -> tuple[str, str]:
    """Return a builder or a file for each side."""
    first, second = (
        str(folder / one) if one.endswith(".onnx") else f"{folder / side}.py:{one}"
        for side, one in (("their_tf", tensorflow), ("their_pt", torch))
    )
    return first, second


def rarely(*rows: tuple[Any, ...]) -> list[Any]:
    """Return rows of a table that CI's run of suites/meta leaves out: files that other rows are much like."""
    return [pytest.param(*row, marks=pytest.mark.whole_run) for row in rows]
