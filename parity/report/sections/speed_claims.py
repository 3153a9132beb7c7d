"""Claims: every ratio with its interval and what it allows to say, and the check that one lane is as fast as itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.claims import STEP, detection_limit, headlines, kind_of, limit_words, ratio_phrase, why_no_winner
from parity.report.findings import Row, markdown_label, no_winner_reason, unique
from parity.report.record import Record
from parity.report.text import (
    NONE,
    code,
    factor,
    factor_interval,
    folded,
    hypertext,
    inline,
    integer,
    number,
    percent,
    prose,
    table,
)
from parity.report.timings import image_words, impossible_lanes, is_own, own_setting
from parity.stats import DEFAULT_MARGIN, firm_confidence

_HEADER: Final = (
    "kind", "work", "a", "b", "time b / time a", "95 % interval", "blocks", "detection limit", "a is", "batch", "image",
)  # fmt: skip
_BLIND: Final = (
    1.0  # half-width of an A/A interval above which passing means nothing: lanes may differ by a factor of 2
)
_AA: Final = "A/A"  # a lane against itself; it has a table of its own


def render(record: Record) -> list[str]:
    """Show the headline pairs at the run's own setting, and fold the other settings and the pairs of unequal kind."""
    ratios = [row for row in record["benchmarks"].get("ratios") or [] if kind_of(row) != _AA]
    if not ratios:
        return []
    label, setting = markdown_label(record), own_setting(record)
    own = headlines(record)
    own += [row for row in ratios if row.get("headline", True) and is_own(row, setting) and row not in own]  # refused
    shown = {id(row) for row in own}
    rest = [row for row in ratios if id(row) not in shown]
    parts = [
        "A ratio compares per-process medians of two lanes that ran side by side in the same block; its interval is a"
        " 95 % t interval on the logarithms of those pairs, so it is not the quotient of two medians of the tables"
        f" below. Above 1, a is faster. Only lanes of equal kind meet here ({label}).",
        f"A row is decided by a stricter interval, of {percent(firm_confidence())}, and only beyond a margin of"
        f" {percent(DEFAULT_MARGIN)}. Each row is judged by itself: did no two lanes differ, a false winner would"
        f" be expected in at most {(1 - firm_confidence()) * len(ratios):.1f} of the {len(ratios)} rows"
        f" ({label}).",
        *_unsettled(record, label),
    ]
    if own:
        parts.append(_table(own, record))
        parts += plots.references(record, "ratios.png")
        others = [row for row in headlines(record) if kind_of(row) != STEP]
        if others and no_winner_reason(record) is None:
            parts.append("\n".join(f"- {prose(kind_of(row))}: {ratio_phrase(row, record)} ({label})" for row in others))
    for title, is_headline in (
        ("The same pairs at other settings", True),
        ("Pairs of one framework, for orientation and never a headline", False),
    ):
        rows = [row for row in rest if bool(row.get("headline", True)) is is_headline]
        if rows:
            parts.append(
                folded(f"{title}: {len(rows)} ratio{'s' * (len(rows) != 1)} ({hypertext(label)})", _table(rows, record))
            )
    return parts


def _unsettled(record: Record, label: str) -> list[str]:
    """Say in how many spans the clock began before the steps were steady: it is what every ratio rests on."""
    rows = [row for row in record["benchmarks"].get("samples") or [] if row.get("warmup_settled") is not None]
    moving = sum(not row["warmup_settled"] for row in rows)
    if not moving:
        return []
    limit = integer((record["benchmarks"].get("timing") or {}).get("warmup_limit"))
    return [
        f"In {moving} of {len(rows)} spans the warm-up came to its limit{'' if limit == NONE else f' of {limit} steps'}"
        " before its last five medians agreed within 2 %: what still moved then, or never rests on this machine, is in"
        f" the figures ({label})."
    ]


def _table(rows: Sequence[Row], record: Record) -> str:
    against, impossible = no_winner_reason(record), impossible_lanes(record)
    return table(_HEADER, [_line(row, record, against, impossible) for row in rows], "<<<<>>>><>>")


def _line(row: Row, record: Record, against: str | None, impossible: frozenset[str]) -> tuple[str, ...]:
    head = (prose(kind_of(row)), prose(row["work"]), code(row["a"]), code(row["b"]))
    place = (inline(row["batch"]) if row.get("batch") is not None else NONE, image_words(row))
    if {str(row["a"]), str(row["b"])} & impossible:  # one of the two is faster than the hardware allows
        return (*head, "refused", NONE, integer(row.get("blocks")), NONE, "refused", *place)
    return (
        *head, factor(row.get("ratio"), 3), factor_interval(row.get("low"), row.get("high"), 3),
        integer(row.get("blocks")), limit_words(detection_limit(row, record)),
        "withheld" if against else _said(row, record), *place,
    )  # fmt: skip


def _said(row: Row, record: Record) -> str:
    why = why_no_winner(row, record)
    if why is None:
        return prose(row["decision"])
    return why if why.startswith("undecided") else f"{prose(why)}, no winner"


def render_check(record: Record) -> list[str]:
    """Show what one lane under two names took, setting by setting, and the detection limit that follows."""
    benchmarks, label = record["benchmarks"], markdown_label(record)
    check = benchmarks.get("aa_check")
    if not check:
        return _bare_limit(benchmarks, label)
    rows = check.get("settings") or []
    passed = {True: "passed", False: "**failed**"}.get(check.get("passed"), "tells nothing yet")
    if check.get("passed") is True and rows and all(map(_blind, rows)):
        passed = "found no difference, but is **too wide to tell** one"
    parts = [
        f"The A/A check {passed} ({label}): {code(check.get('lane'))} ran in every block a second time as"
        f" {code(check.get('again'))}. A sound clock finds no difference between the two. Half the width of that"
        " interval is the detection limit: a smaller difference cannot be seen on this machine and is not claimed."
    ]
    if rows:
        header = ("work", "batch", "image", "ratio", "95 % interval", "blocks", "detection limit", "check")
        parts.append(table(header, [_check_line(row) for row in rows], "<>>>>>><"))
    unchecked = unique(row["work"] for row in headlines(record) if detection_limit(row, record) is None)
    if unchecked and rows:
        parts.append(f"No A/A lane ran for: {', '.join(map(prose, unchecked))}; claims there have no detection limit.")
    return parts


def _bare_limit(benchmarks: Row, label: str) -> list[str]:
    """Say how much is known without the check itself."""
    limit = benchmarks.get("detection_limit")
    if limit is not None:
        return [f"Detection limit {limit_words(limit)} ({label}); the check that it comes from is not recorded."]
    if not benchmarks.get("samples"):
        return []
    return [f"No lane ran twice, so the detection limit was not measured ({label})."]


def _blind(row: Row) -> bool:
    return (number(row.get("half_width")) or 0.0) > _BLIND


def _check_line(row: Row) -> tuple[str, ...]:
    word: dict[Any, str] = {True: "passed", False: "**failed**"}
    if _blind(row) and row.get("passed") is True:
        word = {True: "too wide to tell"}
    return (
        prose(row.get("work")), inline(row.get("batch")), image_words(row), factor(row.get("ratio"), 3),
        factor_interval(row.get("low"), row.get("high"), 3), integer(row.get("blocks")),
        limit_words(row.get("half_width")), word.get(row.get("passed"), "one block tells nothing"),
    )  # fmt: skip
