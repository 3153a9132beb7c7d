"""ONNX: who agrees with whom, the vote on the odd one out, and both graphs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from parity.report.findings import Row, data_label, markdown_label, unique, worst
from parity.report.record import Record
from parity.report.sections.parity import verdict_word
from parity.report.text import NONE, code, folded, hypertext, integer, percent, prose, small, table


def render(record: Record) -> str:
    """Show the pairwise matrix, the vote, every compared tensor and the graphs' contents."""
    onnx, label = record["onnx"], markdown_label(record)
    comparisons = onnx.get("comparisons") or []
    parts = [_matrix(comparisons, label) if comparisons else "Zero outputs were compared, which is no pass."]
    odd = onnx.get("odd_one_out")
    parts.append(f"Odd one out: {code(odd) if odd else 'none'}. {prose(onnx.get('vote') or '')}".strip())
    if comparisons:
        parts.append(folded(f"Every compared tensor ({hypertext(data_label(record))})", _tensors(comparisons)))
    if onnx.get("graphs"):
        parts.append(f"**The two graphs side by side**\n\n{_graphs(onnx['graphs'])}")
    return "\n\n".join(parts)


def _matrix(comparisons: Sequence[Row], label: str) -> str:
    names = unique(row[side] for row in comparisons for side in ("a", "b"))
    pairs: dict[frozenset[str], list[Row]] = {}
    for row in comparisons:
        pairs.setdefault(frozenset((str(row["a"]), str(row["b"]))), []).append(row)
    lines = [[code(a), *(_cell(pairs.get(frozenset((a, b)), [])) if a != b else "·" for b in names)] for a in names]
    tensors = len(unique(row.get("tensor", "output") for row in comparisons))
    title = f"**Worst of {tensors} compared tensors per pair** (verdict, d32, share of the bound; {label})"
    return f"{title}\n\n{table(['', *map(code, names)], lines)}"


def _cell(rows: Sequence[Row]) -> str:
    if not rows:
        return NONE
    shown = worst(rows)
    return f"{verdict_word(shown)} {small(shown.get('d32'))} ({percent(shown.get('share'))})"


def _tensors(comparisons: Sequence[Row]) -> str:
    lines = [
        (
            code(row.get("tensor", "output")), code(row["a"]), code(row["b"]), verdict_word(row),
            small(row.get("d32")), percent(row.get("share")),
        )
        for row in comparisons
    ]  # fmt: skip
    return table(("tensor", "a", "b", "verdict", "d32", "share"), lines, "<<<<>>")


def _graphs(graphs: Sequence[Row]) -> str:
    operators = sorted(unique(name for graph in graphs for name in graph.get("operators") or {}))
    lines = [
        [what, *(integer(graph.get(key)) for graph in graphs)]
        for what, key in (("parameters", "parameters"), ("file size, bytes", "file_bytes"), ("opset", "opset"))
    ]
    lines += [[code(name), *(integer((g.get("operators") or {}).get(name, 0)) for g in graphs)] for name in operators]
    return table(["", *(code(graph["name"]) for graph in graphs)], lines, "<" + ">" * len(graphs))
