"""What may be said about speed: which ratios are headlines, which of them are settled, and the sentences for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parity.report.findings import Row, markdown_label, no_winner_reason, same_function, unique
from parity.report.record import Record, why_not_run
from parity.report.text import NONE, factor, factor_interval, inline, integer, milliseconds, number, percent, prose
from parity.report.timings import (
    CONDITIONS,
    GLIBC,
    SETTING,
    WORKS,
    Lane,
    impossible_lanes,
    is_own,
    lanes,
    own_lanes,
    own_setting,
    setting_words,
)
from parity.stats import DEFAULT_MARGIN, SETTLED_BLOCKS

STEP: Final = "step"  # the kind of lane that the headline is about
DECIDED: Final = ("faster", "slower", "within margin")
_MOST_LIMIT: Final = 10.0  # a detection limit above this says only that nothing can be seen


def headlines(record: Record) -> list[Row]:
    """Give the ratios of two frameworks' lanes of equal kind at the run's own setting, kind `step` first.

    A record without kinds has ratios of steps only. A ratio of a lane that beats the machine's limit is none.
    """
    own, impossible = own_setting(record), impossible_lanes(record)
    found = [
        row for row in record["benchmarks"].get("ratios") or []
        if row.get("headline", True) and is_own(row, own) and not {str(row["a"]), str(row["b"])} & impossible
    ]  # fmt: skip
    return sorted(found, key=lambda row: (kind_of(row) != STEP, _work_place(row)))


def kind_of(row: Row) -> str:
    """Give the kind of the two lanes of a ratio."""
    return str(row.get("kind") or STEP)


def settled(ratio: Mapping[str, Any], record: Record) -> bool:
    """Say whether a ratio may carry a claim: see `why_no_winner`."""
    return why_no_winner(ratio, record) is None


def why_no_winner(ratio: Mapping[str, Any], record: Record) -> str | None:
    """Say why a ratio names no winner, or None when it may: decided, enough blocks, like conditions, seen clearly."""
    if ratio.get("withheld"):
        return f"withheld: {ratio['withheld']}"
    preliminary = is_preliminary(ratio, record)
    if ratio.get("decision") not in DECIDED:
        return f"undecided{' (preliminary)' * preliminary}"
    if preliminary:
        return "preliminary"
    if not _borne_out(ratio):
        return "its own interval does not bear out the decision"
    if _failed_against_itself(ratio, record):
        return "the A/A check failed here"
    unlike = _unlike(ratio, record) if ratio.get("headline", True) else None
    if unlike:
        return unlike
    value, limit = number(ratio.get("ratio")), detection_limit(ratio, record)
    if limit is None:
        return None
    if ratio["decision"] == "within margin":
        return "the detection limit is wider than the margin" if limit > _margin(ratio) else None
    if value and max(value, 1 / value) <= 1 + limit:
        return "below the detection limit"
    return None


def is_preliminary(ratio: Mapping[str, Any], record: Record) -> bool:
    """Say whether too few blocks stand behind a ratio, whatever is flagged, or whether it or its run is flagged so."""
    few = (number(ratio.get("blocks")) or 0) < SETTLED_BLOCKS
    return bool(few or ratio.get("preliminary") or record["benchmarks"].get("preliminary"))


def _borne_out(ratio: Mapping[str, Any]) -> bool:
    """Say whether a ratio's figures are those of its decision: a word in a record is not yet a finding."""
    value, low, high = (number(ratio.get(key)) for key in ("ratio", "low", "high"))
    if value is None or low is None or high is None or not 0 < low <= value <= high:
        return False
    if ratio["decision"] == "within margin":
        margin = 1 + _margin(ratio)
        return 1 / margin <= low and high <= margin
    return low > 1 if ratio["decision"] == "faster" else high < 1


def _failed_against_itself(ratio: Mapping[str, Any], record: Record) -> bool:
    return (_aa_setting(ratio, record) or {}).get("passed") is False


def _margin(ratio: Mapping[str, Any]) -> float:
    return number(ratio.get("margin")) or DEFAULT_MARGIN


def detection_limit(ratio: Mapping[str, Any], record: Record) -> float | None:
    """Give the half-width of the A/A interval at a ratio's own setting, a fraction; None where no A/A lane ran there.

    A record without the settings of its A/A check gives the limit of the work, else that of the run.
    """
    benchmarks = record["benchmarks"]
    if _aa_settings(record):
        return number((_aa_setting(ratio, record) or {}).get("half_width"))
    if not is_own(ratio, own_setting(record)):
        return None
    by_work = benchmarks.get("detection_limits") or {}
    return number(by_work.get(ratio.get("work"), benchmarks.get("detection_limit")))


def _aa_settings(record: Record) -> Sequence[Row]:
    check = record["benchmarks"].get("aa_check")
    return (check.get("settings") or []) if isinstance(check, Mapping) else []


def _aa_setting(ratio: Mapping[str, Any], record: Record) -> Row | None:
    """Give what the A/A check found at a ratio's own setting, or None where it did not look."""
    same = (row for row in _aa_settings(record) if all(row.get(name) == ratio.get(name) for name in SETTING))
    return next(same, None)


def limit_words(limit: float | None) -> str:
    """Write a detection limit as a percentage, however absurd it is."""
    if limit is None:
        return NONE
    return percent(limit) if limit < _MOST_LIMIT else f"above {100 * _MOST_LIMIT:,.0f} %"


def ratio_phrase(ratio: Mapping[str, Any], record: Record) -> str:
    """Put one ratio into words; `ratio` is the time of b over that of a."""
    work = prose(setting_words(ratio, own_setting(record)))
    a, b = prose(ratio["a"]), prose(ratio["b"])
    value, low, high = (number(ratio.get(key)) for key in ("ratio", "low", "high"))
    blocks = f"{integer(ratio.get('blocks'))} block{'s' * (ratio.get('blocks') != 1)}"
    seen = _seen(ratio, record)
    within = _within(low, high, blocks)
    why = why_no_winner(ratio, record)
    if why is not None:
        return f"{work}: {b} takes {factor(value, 2)} times as long as {a} ({within}{seen}): {prose(why)}, no winner"
    if ratio["decision"] == "within margin":
        margin = percent(_margin(ratio))
        return f"{work}: {a} and {b} are equally fast within {margin} (ratio {factor(value, 2)}, {within}{seen})"
    if ratio["decision"] == "slower":  # turn it round, so that a reader always sees a figure above 1
        a, b, value = b, a, 1 / value if value else None
        within = _within(1 / high, 1 / low, blocks) if low and high else blocks
    return f"**{work}: {a} is {factor(value, 2)} times as fast as {b}** ({within}{seen})"


def speed_sentence(record: Record) -> str:
    """Say which lane is faster when that is settled, and otherwise what was measured and why no more."""
    reason = why_not_run(record, "benchmarks")
    if reason is not None:
        return f"**Speed: not measured:** {prose(reason)}."
    measured = lanes(record)
    if not measured:
        return "**Speed: not measured:** no timing sample is recorded."
    against = no_winner_reason(record)
    if against is not None:
        return f"**Speed: no winner is named**, because {prose(against)}."
    label, caution = markdown_label(record), _unequal_precision(record)
    ratios = headlines(record)
    steps = [row for row in ratios if kind_of(row) == STEP]
    if steps:
        told = "; ".join(ratio_phrase(row, record) for row in steps)
        return f"**Speed** ({label}): {told}.{_others(ratios, record)}{caution}"
    own = own_lanes(record) or measured
    medians = "; ".join(_medians(work, own) for work in unique(lane.work for lane in own))
    none = "no ratio of paired blocks is recorded" if not ratios else "the lanes of kind `step` have no paired blocks"
    return f"**Speed** ({label}): {medians}. No winner is named: {none}.{_others(ratios, record)}{caution}"


def _others(ratios: Sequence[Row], record: Record) -> str:
    """Tell the other kinds of lanes in one breath, for one work; the Speed section has the rest."""
    others = [row for row in ratios if kind_of(row) != STEP]
    works = unique(row["work"] for row in others)
    if not works:
        return ""
    of_work = [row for row in others if str(row["work"]) == works[0]]
    open_kinds = [prose(kind_of(row)) for row in of_work if not settled(row, record)]
    told = [_briefly(row) for row in of_work if settled(row, record)]
    told += [f"no winner among {', '.join(open_kinds)}"] if open_kinds else []
    return f" Other kinds of lanes ({prose(works[0])}): {'; '.join(told)}."


def _briefly(ratio: Row) -> str:
    kind, a, b = prose(kind_of(ratio)), prose(ratio["a"]), prose(ratio["b"])
    value, low, high = number(ratio.get("ratio")), number(ratio.get("low")), number(ratio.get("high"))
    if ratio["decision"] == "within margin":
        return f"{kind}: {a} and {b} equally fast"
    if ratio["decision"] == "slower" and value and low and high:
        a, b, value, low, high = b, a, 1 / value, 1 / high, 1 / low
    return f"{kind}: {a} {factor(value, 2)} times as fast as {b} ({factor_interval(low, high, 2)})"


def _seen(ratio: Mapping[str, Any], record: Record) -> str:
    limit = detection_limit(ratio, record)
    if limit is not None:
        return f"; detection limit {limit_words(limit)}"
    return f"; detection limit not measured{' here' if record['benchmarks'].get('aa_check') else ''}"


def _within(low: float | None, high: float | None, blocks: str) -> str:
    return blocks if low is None or high is None else f"{factor_interval(low, high, 2)}, {blocks}"


def _unlike(ratio: Mapping[str, Any], record: Record) -> str | None:
    """Say under which unlike conditions the two lanes of a headline ran, or that they are of unlike kinds."""
    conditions = ("kind", *CONDITIONS)
    sides: list[dict[str, set[str]]] = []
    for lane in (ratio["a"], ratio["b"]):
        samples = [
            sample for sample in record["benchmarks"].get("samples") or []
            if sample.get("lane") == lane
            and all(ratio.get(name) is None or sample.get(name) == ratio[name] for name in SETTING)
        ]  # fmt: skip
        sides.append({name: {_condition(sample.get(name)) for sample in samples} for name in conditions})
    for name in conditions:
        a, b = (sorted(side[name]) for side in sides)
        if a and b and a != b:
            return f"unlike {name}: {' and '.join(a)} against {' and '.join(b)}"
    return None


def _condition(value: Any) -> str:
    return GLIBC if value == {} else inline(value)


def _medians(work: str, measured: Sequence[Lane]) -> str:
    of_work = [lane for lane in measured if lane.work == work]
    chosen = [lane for lane in of_work if lane.kind in (None, STEP)] or of_work
    shown = ", ".join(f"{prose(lane.lane)} {milliseconds(lane.stats.median)} ({_sample(lane)})" for lane in chosen)
    return f"median {prose(work)} step {shown}"


def _sample(lane: Lane) -> str:
    processes = f"{lane.blocks} process{'es' * (lane.blocks != 1)}"
    return f"n = {lane.stats.n} in {processes}"


def _unequal_precision(record: Record) -> str:
    if not same_function(record).precision:
        return ""
    return " Mind that the sides compute in unequal precision, so this is not a comparison of like with like."


def _work_place(row: Row) -> int:
    work = str(row.get("work"))
    return WORKS.index(work) if work in WORKS else len(WORKS)
