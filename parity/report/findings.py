"""What a record says, by rule: which function, which tensors, which lane, and when no winner may be named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from parity.report.record import Record, why_not_run
from parity.report.text import factor, factor_interval, number, prose
from parity.report.timings import impossible_lanes, is_own, numbers, own_setting, setting_words

Row = Mapping[str, Any]

# Best to worst. `not-compared` is never a pass, so it ranks above `precision`, which still is the same function.
VERDICTS: Final = ("identical", "rounding", "precision", "not-compared", "semantic")
SAME_FUNCTION: Final = frozenset({"identical", "rounding", "precision"})
STEP_CHECKS: Final = ("forced", "propagated")
FUNCTION_CHECKS: Final = (*STEP_CHECKS, "training-mode")
_GATE_FIGURES: Final = ("logit", "loss", "step_loss")  # of a lane: `<name>_error` may be `<name>_allowed` at most
STORAGE_CHECKS: Final = ("weights", "format")
FRAMEWORKS: Final = {"tensorflow": "TensorFlow", "torch": "PyTorch"}
FORWARD: Final = "forward"
# How the judge's notes begin where a row's figures are not fractions of max|twin|, or its twins no better than float32.
VANISHING: Final = "Zero but for rounding"
SINGLE_TWIN: Final = "No float64 kernel"


def framework_name(key: object) -> str:
    """Give the name that people know for a framework's key."""
    return FRAMEWORKS.get(str(key), str(key))


def data_label(record: Record) -> str:
    """Name the data beside a figure: `synthetic data`, the data set's name, or that none is recorded."""
    if why_not_run(record, "data") is not None:
        return "data set not recorded"
    name = str(record["data"].get("name", "unnamed"))
    return "synthetic data" if name == "synthetic" else f"data: {name}"


def markdown_label(record: Record) -> str:
    """Give `data_label` as it stands beside a figure in the page."""
    return prose(data_label(record))


def rank(verdict: object) -> int:
    """Order verdicts from best to worst; a word that is not known ranks with the worst."""
    return VERDICTS.index(str(verdict)) if verdict in VERDICTS else len(VERDICTS) - 1


def worst(rows: Sequence[Row]) -> Row:
    """Pick the row to show for many: the worst verdict; of equals the greatest d64 if they are semantic, else share."""
    return max(rows, key=badness)


def badness(row: Row) -> tuple[int, float, float]:
    """Give what `worst` sorts by."""
    place = rank(row.get("verdict"))
    d64 = number(row.get("d64")) or 0.0
    return place, d64 if place == rank("semantic") else 0.0, row_share(row) or 0.0


def rows_of(record: Record, checks: Iterable[str]) -> list[Row]:
    """Give the parity rows of some checks, in recorded order; none when the section did not run."""
    wanted = frozenset(checks)
    if why_not_run(record, "parity") is not None:
        return []
    return [row for row in record["parity"] if row.get("check") in wanted]


def stage_of(row: Row) -> str:
    """Give the stage of a training step that a comparison belongs to."""
    return str(row.get("stage") or FORWARD)


def forward_rows(record: Record) -> list[Row]:
    """Give the forced and propagated comparisons of what the layers put out."""
    return [row for row in rows_of(record, STEP_CHECKS) if stage_of(row) == FORWARD]


def step_rows(record: Record) -> list[Row]:
    """Give the comparisons of a training step beyond its forward pass: loss, gradients, state, update, slots."""
    return [row for row in rows_of(record, STEP_CHECKS) if stage_of(row) != FORWARD]


def place(row: Row) -> str:
    """Name a compared tensor, with its stage where that is not the forward pass."""
    stage, tensor = stage_of(row), str(row.get("tensor"))
    return tensor if stage in (FORWARD, tensor) else f"{tensor} ({stage})"


def vanishes(row: Row) -> bool:
    """Say whether a tensor is zero but for rounding: its figures are fractions of what cancels, not of max|twin|."""
    return str(row.get("note") or "").startswith(VANISHING)


def twin_gap(rows: Iterable[Row]) -> float | None:
    """Give the largest d64 of those rows whose d64 is a fraction of max|twin| between two float64 twins."""
    exact = (row for row in rows if not vanishes(row) and not str(row.get("note") or "").startswith(SINGLE_TWIN))
    return max(numbers(row.get("d64") for row in exact), default=None)


def side_share(row: Row, framework: str) -> float | None:
    """Give the share of its bound that one side used: recorded as such, else its error over the bound."""
    recorded = number(row.get(f"share_{framework}"))
    if recorded is not None:
        return recorded
    error, bound = number(row.get(f"error_{framework}")), number(row.get("bound"))
    return None if error is None or bound is None or bound <= 0 else error / bound


def row_share(row: Row) -> float | None:
    """Give the larger share of the bound that a side used: recorded as `share`, else that of the two sides."""
    recorded = number(row.get("share"))
    shares = [share for side in FRAMEWORKS if (share := side_share(row, side)) is not None]
    return recorded if recorded is not None else max(shares, default=None)


@dataclass(frozen=True, slots=True)
class FunctionFinding:
    """Whether the two models are the same function, and the rows that decide it.

    `same` is True, False, or None for "not established". `sources` are the semantic rows whose forced check
    failed; `downstream` names tensors that differ only because something before them does.
    """

    same: bool | None
    rows: list[Row] = field(default_factory=list)
    semantic: list[Row] = field(default_factory=list)
    not_compared: list[Row] = field(default_factory=list)
    precision: list[Row] = field(default_factory=list)

    @property
    def sources(self) -> list[str]:
        """Tensors whose own forced check is semantic, in recorded order, with their stage."""
        return unique(place(row) for row in self.semantic if row.get("check") == "forced")

    @property
    def downstream(self) -> list[str]:
        """Tensors that differ although their own forced check does not."""
        sources = set(self.sources)
        return [name for name in unique(map(place, self.semantic)) if name not in sources]


def same_function(record: Record) -> FunctionFinding:
    """Decide from every forced, propagated and training-mode row; zero comparisons establish nothing."""
    rows = rows_of(record, FUNCTION_CHECKS)
    by_verdict: dict[str, list[Row]] = {verdict: [] for verdict in VERDICTS}
    for row in rows:
        by_verdict[VERDICTS[rank(row.get("verdict"))]].append(row)
    semantic, missing = by_verdict["semantic"], by_verdict["not-compared"]
    same = False if semantic else None if missing or not rows else True
    return FunctionFinding(same, rows, semantic, missing, by_verdict["precision"])


def no_winner_reason(record: Record) -> str | None:
    """Say why no lane of this record may be called faster, or None when nothing stands against it.

    The pair must be proven the same function by the parity rows and by the benchmarks' own gate (`passed`
    true, or verdicts that all pass), and no physical limit or A/A check may have failed.
    """
    finding = same_function(record)
    if finding.same is False:
        return f"the parity check failed ({len(finding.semantic)} of {len(finding.rows)} comparisons semantic)"
    if finding.same is None and why_not_run(record, "parity") is None:
        return "parity is not established (comparisons are missing)"
    benchmarks = record["benchmarks"]
    if not gate_passed(benchmarks.get("parity_gate")):
        return "the parity gate before the timing did not pass, or is not recorded"
    if _failed(benchmarks.get("aa_check")):
        return f"the A/A check failed{_aa_evidence(benchmarks['aa_check'], own_setting(record))}"
    impossible = sorted(impossible_lanes(record))
    if _failed(benchmarks.get("limits")):
        return f"the physical-limit check failed{': ' if impossible else ''}{', '.join(impossible)}"
    return f"{impossible[0]} is faster than the machine's limit, which is a fault" if impossible else None


def _failed(check: Any) -> bool:
    return isinstance(check, Mapping) and check.get("passed") is False


def _aa_evidence(check: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Say where one lane under two names was not one speed."""
    failed = [row for row in check.get("settings") or [] if row.get("passed") is False]
    shown = [
        f"{setting_words(row, own)}, {factor(row.get('ratio'), 2)}"
        f" ({factor_interval(row.get('low'), row.get('high'), 2)})"
        for row in sorted(failed, key=lambda row: not is_own(row, own))
    ]
    return f": {check.get('lane')} under a second name took another time ({'; '.join(shown)})" if shown else ""


def gate_passed(gate: Any) -> bool:
    """Say whether the gate before the timing passed: by its word, by every verdict and by every lane's own figures."""
    if not isinstance(gate, Mapping):
        return False
    verdicts = list(_verdicts_in(gate))
    passed = gate["passed"] is True if "passed" in gate else bool(verdicts)
    return passed and all(verdict in SAME_FUNCTION for verdict in verdicts) and not _beyond_allowed(gate.get("lanes"))


def _beyond_allowed(lanes: Any) -> bool:
    """Say whether a lane is recorded to have been further off than the gate allows, whatever the gate's own word."""
    rows = lanes.values() if isinstance(lanes, Mapping) else []
    for row in rows:
        for name in _GATE_FIGURES if isinstance(row, Mapping) else ():
            error, allowed = number(row.get(f"{name}_error")), number(row.get(f"{name}_allowed"))
            if error is not None and allowed is not None and error > allowed:
                return True
    return False


def _verdicts_in(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        if "verdict" in value:
            yield value["verdict"]
        for item in value.values():
            yield from _verdicts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _verdicts_in(item)
    elif isinstance(value, str) and value in VERDICTS:
        yield value


def unique(values: Iterable[Any]) -> list[str]:
    """Give the values as text, each once, in the order of their first sight."""
    return list(dict.fromkeys(str(value) for value in values))
