"""Environment: the machine and each worker, every recorded fact, whatever a worker adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.report.findings import framework_name
from parity.report.record import Record
from parity.report.text import inline, number, prose


def render(record: Record) -> str:
    """Show the machine's facts, then those of each framework's worker."""
    facts = record["environment"]
    lines = [_line(key, value) for key, value in facts.items() if key != "workers"]
    parts = ["\n".join(lines)] if lines else []
    for name, worker in (facts.get("workers") or {}).items():
        body = "\n".join(_line(key, value) for key, value in worker.items())
        parts.append(f"**Worker {prose(framework_name(name))}**\n\n{body}")
    return "\n\n".join(parts) or "Nothing is recorded."


def _line(key: str, value: Any) -> str:
    if isinstance(value, Mapping) and value:
        return f"- **{_words(key)}**: {inline(value)}"
    size = number(value)
    if key.endswith("_bytes") and size is not None:
        return f"- **{_words(key.removesuffix('_bytes'))}**: {size / 2**30:.1f} GiB"
    return f"- **{_words(key)}**: {inline(value)}"


def _words(key: str) -> str:
    return prose(key.replace("_", " "))
