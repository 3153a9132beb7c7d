"""Data: what the figures were measured on, and whom to thank for it."""

from __future__ import annotations

from parity.report.findings import markdown_label
from parity.report.record import Record
from parity.report.text import code, folded, inline, integer, prose, table


def render(record: Record) -> str:
    """Show name, source, size, digest, counts by split and class, and the files that were skipped."""
    data = record["data"]
    size = "x".join(inline(data.get(key)) for key in ("height", "width", "channels"))
    lines = [
        f"- **name**: {prose(data.get('name', 'unnamed'))}",
        f"- **source**: {prose(data.get('source') or 'none given')}",
        f"- **prepared as**: {size} (height x width x channels)",
        f"- **digest**: {code(data.get('digest', 'not recorded'))}",
    ]
    lines += [f"- **{prose(key)}**: {inline(value)}" for key, value in (data.get("facts") or {}).items()]
    parts = ["\n".join(lines)]
    counts = data.get("counts") or {}
    if counts:
        parts.append(_counts(counts, markdown_label(record)))
    if data.get("notes"):
        parts.append("\n".join(f"- {prose(note)}" for note in data["notes"]))
    skipped = data.get("skipped") or []
    if skipped:
        listed = table(("file", "reason"), [(code(file), prose(reason)) for file, reason in skipped])
        parts.append(folded(f"<b>{len(skipped)} unreadable files were skipped</b>", listed))
    return "\n\n".join(parts)


def _counts(counts: dict[str, dict[str, int]], label: str) -> str:
    classes = list(dict.fromkeys(name for split in counts.values() for name in split))
    lines = [
        [prose(split), *(integer(found.get(name, 0)) for name in classes), integer(sum(found.values()))]
        for split, found in counts.items()
    ]
    header = ["split", *map(prose, classes), "images"]
    return f"**Images by split and class** ({label})\n\n{table(header, lines, '<' + '>' * len(header))}"
