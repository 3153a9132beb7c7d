"""How to reproduce: the command, the versions, the seed, the data, the commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parity.report.findings import framework_name
from parity.report.record import RECORD_NAME, Record, why_not_run
from parity.report.text import code, inline, prose


def render(record: Record) -> str:
    """Show what to type, and what must be equal for the figures to compare."""
    command = " ".join(str(record.get("command") or "").split()).replace("```", "'''")
    parts = [f"```sh\n{command}\n```"] if command else ["The record holds no command."]
    facts = [*_versions(record), *_seed_and_data(record)]
    parts.append("\n".join(f"- {fact}" for fact in facts) if facts else "No versions are recorded.")
    parts.append(f"This page again, byte for byte: {code(f'parity render {RECORD_NAME}')}.")
    return "\n\n".join(parts)


def _versions(record: Record) -> list[str]:
    if why_not_run(record, "environment") is not None:
        return []
    facts: Mapping[str, Any] = record["environment"]
    lines = [f"git commit: {code(facts['git_commit'])}"] if facts.get("git_commit") else []
    lines += [f"Python: {inline(facts['python'])}"] if facts.get("python") else []
    for name, worker in (facts.get("workers") or {}).items():
        if worker.get("versions"):
            lines.append(f"{prose(framework_name(name))} worker: {inline(worker['versions'])}")
    return lines


def _seed_and_data(record: Record) -> list[str]:
    lines = []
    if why_not_run(record, "training") is None:
        lines.append(f"seed: {inline(record['training'].get('seed'))}")
    if why_not_run(record, "data") is None:
        data = record["data"]
        lines.append(f"data: {prose(data.get('name'))}, digest {code(data.get('digest'))}")
    return lines
