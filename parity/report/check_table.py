"""The terminal's view of a check: one line per pair of layers as it is compared, then sources with cause and fix."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from parity.report.terminal import VERDICT_COLOURS, pad, paint, say

CLEAR = "\r\x1b[2K"
HEADER = ("tensorflow", "torch", "kind", "verdict", "d64", "share", "whole run")
WIDTHS = (34, 34, 16, 12, 8, 7, 9)  # where there is no terminal
ON_TERMINALS = {  # from how many columns; a width of 0 leaves a column out
    132: WIDTHS,
    120: (28, 28, 16, 12, 8, 7, 9),
    100: (18, 18, 16, 12, 8, 7, 9),
    80: (16, 16, 10, 12, 7, 0, 9),
    0: (10, 10, 0, 12, 7, 0, 0),
}


class CheckTable:
    """Prints rows as they come, unless `quiet`; colours and a progress line only where there is a terminal."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.widths = _widths(shutil.get_terminal_size().columns) if sys.stdout.isatty() else WIDTHS
        self._total = self._done = 0
        self._headed = self._shown = False

    def __enter__(self) -> CheckTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def tell(self, event: str, what: Any) -> None:
        """Take one event of `parity.check(progress=...)`: `stage` (text), `cuts` (their number), `layer` (a row)."""
        if event == "stage":
            self._say(f"{what} ...")
        elif event == "cuts":
            self._done, self._total = 0, int(what)
            self._say(f"comparing {self._total} tensors ...")
        elif event == "layer":
            self._done += 1
            self.row(what.to_dict())
            self._say(f"compared {self._done} of {self._total} tensors ...")

    def row(self, row: Mapping[str, Any]) -> None:
        """Print one pair of layers."""
        if self.quiet:
            return
        if not self._headed:
            self._headed = True
            self._print(_line(self.widths, *HEADER))
        forced = row["forced"]
        line = _line(
            self.widths, row["tensorflow"] or "-", row["torch"] or "-", row["kind"], row["verdict"],
            _figure(forced["d64"]), _percent(forced["share"]), _figure(row["propagated"]["d32"]),
        )  # fmt: skip
        self._print(paint(line, VERDICT_COLOURS.get(row["verdict"], "red"), sys.stdout))

    def end(self, verdict: Mapping[str, Any], message: str) -> None:
        """Print what was found: headline, sources, and what a reader must know beside the table."""
        if not self.quiet:
            self._print("")
            for label, found in _lists(verdict):
                if found:
                    self._print(f"{label}: {_some(found)}")
            for note in verdict["notes"]:
                self._print(f"note: {note}")
        headline, _, rest = message.partition("\n")
        self._print(paint(headline, "red" if verdict["exit"] else "green", sys.stdout))
        if rest:
            self._print(rest)

    def _print(self, text: str) -> None:
        self._clear()
        say(text)

    def _say(self, text: str) -> None:
        if sys.stderr.isatty():
            self._shown = True
            line = _cut(text, shutil.get_terminal_size().columns - 1)  # of a line that wraps only the end is cleared
            print(f"{CLEAR}{line}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            self._shown = False
            print(CLEAR, end="", file=sys.stderr, flush=True)


def _widths(columns: int) -> tuple[int, ...]:
    """Return how wide each column is on a terminal, so that no row wraps on one of 45 columns."""
    return next(widths for least, widths in ON_TERMINALS.items() if columns >= least)


def _line(widths: Sequence[int], *cells: str) -> str:
    shown = [(cell, size) for cell, size in zip(cells, widths, strict=True) if size]
    return "  ".join(pad(_cut(cell, size), size) for cell, size in shown).rstrip()


def _lists(verdict: Mapping[str, Any]) -> list[tuple[str, Sequence[str]]]:
    weights, unpaired = verdict["weights"], verdict["unpaired"]
    return [
        ("TensorFlow weights without a partner", weights["unmatched_tensorflow"]),
        ("PyTorch weights without a partner", weights["unmatched_torch"]),
        ("TensorFlow operations without a partner (compared with what follows them)", unpaired["tensorflow"]),
        ("PyTorch operations without a partner (compared with what follows them)", unpaired["torch"]),
        ("ambiguous", verdict["ambiguous"]),
    ]


def _some(found: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def _cut(text: str, width: int) -> str:
    """Cut a long name in the middle: its beginning and its end tell layers apart."""
    if len(text) <= width:
        return text
    half = (width - 3) // 2
    return text[:half] + "..." + text[len(text) - (width - 3 - half) :]


def _figure(value: float | None) -> str:
    return "" if value is None else ("0" if value == 0 else f"{value:.0e}" if value < 0.01 else f"{value:.2g}")


def _percent(share: float | None) -> str:
    """Return a share of the bound in at most seven characters."""
    if share is None:
        return ""
    if share >= 9.995:
        return ">999 %"
    if 0.0 < share < 1e-4:
        return "<0.01 %"
    return f"{100.0 * share:.0f} %" if share >= 0.995 else f"{100.0 * share:.2g} %"
