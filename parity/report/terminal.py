"""Plain text for a terminal: aligned tables, and colour only where it is welcome."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from typing import Final, TextIO

COLOURS: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}
VERDICT_COLOURS: Final = {
    "identical": "green",
    "rounding": "green",
    "precision": "yellow",
    "not-compared": "red",
    "semantic": "red",
}


def display_width(text: str) -> int:
    """Count the columns that a terminal gives a text: two for wide characters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int, align: str = "<") -> str:
    """Fill a text with blanks to `width` columns; `align` is `<` for left, `>` for right."""
    blanks = " " * max(0, width - display_width(text))
    return blanks + text if align == ">" else text + blanks


def table(rows: Sequence[Sequence[object]], header: Sequence[str] | None = None, align: str = "") -> str:
    """Lay rows out in aligned columns, two blanks apart, with a rule under the header.

    `align` has one `<` or `>` per column; columns beyond its end are left-aligned.

    Raises: ValueError for rows of unequal length.
    """
    lines = [[str(cell) for cell in row] for row in ([header] if header else []) + list(rows)]
    if not lines:
        return ""
    if len({len(line) for line in lines}) > 1:
        raise ValueError(f"rows of unequal length: {sorted({len(line) for line in lines})}")
    widths = [max(display_width(cell) for cell in column) for column in zip(*lines, strict=True)]
    if header:
        lines.insert(1, ["-" * width for width in widths])
    sides = align.ljust(len(widths), "<")[: len(widths)]
    return "\n".join("  ".join(pad(*cell) for cell in zip(line, widths, sides, strict=True)).rstrip() for line in lines)


def say(text: str) -> None:
    """Print to stdout; where the reader has left (`| head`), what follows is computed and told nobody."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def supports_colour(stream: TextIO) -> bool:
    """Say whether to colour: only on a terminal, and never against NO_COLOR (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Wrap a text in the colour (a key of `COLOURS`) when the stream takes colours, else leave it alone."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if supports_colour(stream) else text


def paint_verdict(verdict: str, stream: TextIO) -> str:
    """Colour a verdict word: green passes, yellow warns, red fails."""
    return paint(verdict, VERDICT_COLOURS.get(verdict, "red"), stream)
