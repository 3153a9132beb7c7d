"""Numbers and tables as Markdown that reads well on GitHub and in a terminal alike."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.terminal import display_width, pad

NONE: Final = "–"
_WIDEST_PADDED_CELL: Final = 40  # longer cells are not padded to: one path would stretch every line


def number(value: Any) -> float | None:
    """Give a recorded number, or None for null, text and booleans."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer that no float holds
        return None


def small(value: Any) -> str:
    """Write an error or a bound with two digits: `3.1e-8`, `0`, `0.31`."""
    found = number(value)
    if found is None:
        return NONE
    if found == 0:
        return "0"
    if 0.001 <= abs(found) < 999.5:
        return f"{found:.2g}" if abs(found) < 99.5 else f"{found:.0f}"
    mantissa, exponent = f"{found:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(fraction: Any, digits: int = 2) -> str:
    """Write a fraction as a percentage with two significant digits: `7.1 %`, `0.042 %`, `312 %`."""
    found = number(fraction)
    if found is None:
        return NONE
    shown = 100 * found
    if 0 < abs(shown) < 1e-3:
        return f"{small(shown)} %"
    return f"{shown:.0f} %" if abs(shown) >= 99.5 or shown == 0 else f"{shown:.{digits}g} %"


def fixed(value: Any, digits: int) -> str:
    """Write a number with that many decimals."""
    found = number(value)
    return NONE if found is None else f"{found:.{digits}f}"


def seconds(value: Any) -> str:
    """Write a duration in seconds with four significant digits, without an exponent."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found:.4g}" if abs(found) >= 1e-3 or found == 0 else f"{found:.7f}"


def milliseconds(value: Any) -> str:
    """Write a duration given in seconds as milliseconds with three significant digits and the unit."""
    found = number(value)
    if found is None:
        return NONE
    return f"{1000 * found:.3g} ms" if found < 0.9995 else f"{1000 * found:.0f} ms"


def mebibytes(value: Any) -> str:
    """Write a number of bytes in MiB, without the unit."""
    found = number(value)
    return NONE if found is None else f"{found / 2**20:,.0f}"


def integer(value: Any) -> str:
    """Write a count with thousands separators."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"


def interval(low: Any, high: Any, digits: int) -> str:
    """Write an interval as `0.77 to 0.83`, or a dash where there is none."""
    return NONE if number(low) is None or number(high) is None else f"{low:.{digits}f} to {high:.{digits}f}"


def problems(lines: Sequence[Any] | None) -> list[str]:
    """Write what went wrong beside the figures as one block, or as none where nothing did."""
    return ["**Problems:**\n\n" + "\n".join(f"- {prose(line)}" for line in lines)] if lines else []


def prose(value: Any) -> str:
    """Make a recorded text safe in Markdown: one line, nothing that starts a tag, a cell or emphasis."""
    text = " ".join(str(value).split())
    for char in "\\`*[]|":
        text = text.replace(char, "\\" + char)
    # An underscore within or after a word opens no emphasis; escaping it would only hurt a reader of the source.
    text = re.sub(r"(?<!\w)_+", lambda run: run[0].replace("_", "\\_"), text)
    return text.replace("&", "&amp;").replace("<", "&lt;")


def hypertext(value: Any) -> str:
    """Make a recorded text safe inside a line of HTML, where Markdown's own escapes would show."""
    return html.escape(" ".join(str(value).split()), quote=False)


def code(value: Any) -> str:
    """Set a recorded name in code style, safe inside a table cell."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{text}`" if text else NONE


def inline(value: Any) -> str:
    """Write any recorded value in one line: objects as `key=value` pairs, lists with commas."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{prose(key)}={inline(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(inline(item) for item in value) or "none"
    return prose(value)


def factor(value: Any, digits: int) -> str:
    """Write a ratio with that many decimals, or with two digits and an exponent where decimals would hide it."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found:.{digits}f}" if 0.1 <= abs(found) < 1000 or found == 0 else small(found)


def factor_interval(low: Any, high: Any, digits: int) -> str:
    """Write the interval of a ratio as `1.08 to 1.17`, or a dash where there is none."""
    if number(low) is None or number(high) is None:
        return NONE
    return f"{factor(low, digits)} to {factor(high, digits)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Lay out a Markdown table whose columns also line up as plain text.

    `align` has one `<` or `>` per column; columns beyond its end are left-aligned.
    """
    sides = align.ljust(len(header), "<")[: len(header)]
    columns = list(zip(header, *rows, strict=True))
    widths = [
        max(3, *(width for cell in column if (width := display_width(cell)) <= _WIDEST_PADDED_CELL))
        for column in columns
    ]
    lines = ["| " + " | ".join(map(pad, row, widths, sides)) + " |" for row in (header, *rows)]
    rule = "".join(
        f" {'-' * (width - 1)}{':' if side == '>' else '-'} |" for width, side in zip(widths, sides, strict=True)
    )
    return "\n".join([lines[0], "|" + rule, *lines[1:]])


def folded(summary: str, body: str) -> str:
    """Hide a long part behind a line of HTML that opens it; a terminal shows both."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"
