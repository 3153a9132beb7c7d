"""From a record's samples to what may be said: ratios, the A/A check, limits, the reason, the sensitivity."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from parity.bench.lanes import Lane
from parity.errors import RecordError
from parity.stats import DEFAULT_MARGIN, PairedRatio, firm_confidence, paired_ratio, percentiles

Row = Mapping[str, Any]
Setting = tuple[Any, ...]  # the values of SETTING
Medians = dict[tuple[Setting, str], dict[int, float]]  # (setting, lane) -> block -> median seconds of a step

SETTING: Final = ("work", "batch", "height", "width", "channels")
HEADLINE_KIND = "step"  # the kind that the headline, its reason and its sensitivity are about
NOT_EQUAL: Final = frozenset({"variant", "control"})  # kinds of which no two lanes are alike
AGAIN = "A/A"

# A training step in its own parts; a lane's step contains the last two only where it really reads or feeds.
STEP_PARTS: Final = ("forward_s", "backward_s", "optimizer_s")
READ_PART, INPUT_PART, REST = "host_read_s", "input_s", "rest_s"

# What the headline becomes when both lanes are changed alike: kind of lane -> factor and what was done.
FACTOR_OF_KIND: Final[Mapping[str, tuple[str, str]]] = {
    "compiled": ("jit", "both compiled: torch.compile and XLA"),
    "fit": ("host reads", "loss and accuracy read to the host at every step"),
    "replayed": ("launches", "many steps per launch: CUDA graphs, steps_per_execution"),
    "bfloat16": ("precision", "bfloat16 mixed precision"),
    "float16": ("precision", "float16 mixed precision"),
    "tf32": ("precision", "TF32 matrix products and convolutions"),
}
CHANGES: Final[Mapping[str, str]] = {
    "allocator": "glibc's default allocator settings",
    "threads": "one thread",
    "optimizer": "fused Adam",
    "layout": "channels-last memory",
    "autotuner": "cuDNN's autotuner",
}

GATE = "the parity gate before the timing did not pass, or is not recorded"
LIMITS = "the physical-limit check failed"
AA = "the A/A check failed"
LOST = "a lane is missing in some of the blocks"
UNSEEN = "below the detection limit"
COARSE = "the detection limit is wider than the margin"


@dataclass(frozen=True)
class LanePair:
    """Two lanes whose times may be held against each other, and what the comparison is good for."""

    a: str
    b: str
    kind: str
    headline: bool


def lane_pairs(lanes: Sequence[Lane]) -> list[LanePair]:
    """Return every pair of lanes that is compared, in the order of `lanes`.

    Equal kind from different frameworks is a headline; a variant stands against the lane that it varies, with the
    lane's own framework; a lane under a second name stands against itself.
    """
    found = []
    for a, b in combinations([entry for entry in lanes if entry.again is None], 2):
        if a.kind == b.kind and a.kind not in NOT_EQUAL and (a.framework != b.framework or a.kind == "onnx"):
            found.append(LanePair(a.name, b.name, a.kind, a.framework != b.framework))
    names = {entry.name for entry in lanes}
    for entry in lanes:
        if entry.against in names:
            kind = "control" if entry.kind == "control" else "variant"
            found.append(LanePair(entry.name, str(entry.against), kind, False))
        if entry.again in names:
            found.append(LanePair(str(entry.again), entry.name, AGAIN, False))
    return found


def block_medians(samples: Iterable[Row]) -> Medians:
    """Return the median step of each process, in seconds, by setting and lane and then by block.

    Raises
        RecordError: one process has samples of the same setting twice, as when two campaigns were mixed.
    """
    found: Medians = {}
    for row in samples:
        blocks = found.setdefault((_setting(row), row["lane"]), {})
        if row["block"] in blocks:
            raise RecordError(f"block {row['block']} of {row['lane']} ({row['work']}) is in the samples twice")
        blocks[row["block"]] = statistics.median(row["seconds"])
    return found


def refused(samples: Iterable[Row]) -> list[dict[str, Any]]:
    """Return each sample whose median step is below the least time that the machine needs for it."""
    found = []
    for row in samples:
        floor_s = row.get("floor_s")
        if floor_s is not None and (median_s := statistics.median(row["seconds"])) < floor_s:
            at = {name: row[name] for name in ("work", "lane", "block")}
            found.append({**at, "median_s": median_s, "floor_s": float(floor_s)})
    return found


def limits(samples: Sequence[Row], measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the record's section about physical limits: the ceilings as `measured`, and which steps beat them."""
    beyond = refused(samples)
    return {**(measured or {}), "passed": not beyond, "refused": beyond}


def ratios(
    samples: Sequence[Row], lanes: Sequence[Lane], *, gate_passed: bool = True, aa_passed: bool = True,
    margin: float = DEFAULT_MARGIN, blocks: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the paired ratio of every pair of lanes at each setting, over the blocks in which both ran.

    A lane with a step below its floor has no ratio. Where the gate, a limit or an A/A check failed (`aa_passed`: that
    of the run as a whole, beside the setting's own), a ratio keeps its figures, its decision is `undecided` and
    `withheld` says why. So it does where a lane is missing in some of the `blocks` that were planned, since the process
    that died, or took too long, was no random one; and where the decision is about less than the half-width of the A/A
    interval at that setting, which is what can be seen there.
    """
    medians, against = _judged(samples, lanes, gate_passed, aa_passed, margin, blocks)
    found = []
    for pair in lane_pairs(lanes):
        for setting, ratio in _paired(medians, pair.a, pair.b, margin):
            told = _told(ratio, against(setting, ratio))
            found.append({**_named(setting), **vars(pair), **told, "preliminary": ratio.preliminary})
    return found


def aa_check(
    samples: Sequence[Row], lanes: Sequence[Lane], headline: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return what the lane under two names shows, or None where it did not run twice.

    `low` and `high` are the 95 % interval that is printed; `half_width` is sqrt(high / low) - 1. A setting passes
    when its 98 % interval (`firm_low`, `firm_high`) holds 1, the interval by which winners are named: judged by the
    printed one, a sound campaign of two works would fail in one case of ten. `headline` holds batch, height, width
    and channels of the run itself; the check as a whole passes when its settings there do (all, without `headline`).
    `passed` is None where a single block tells nothing.
    """
    pairs = [pair for pair in lane_pairs(lanes) if pair.kind == AGAIN]
    settings = _aa_settings(block_medians(_possible(samples)), pairs)
    if not settings:
        return None
    counted = [row["passed"] for row in settings if _is_headline(row, headline)]
    passed = None if not counted or None in counted else all(counted)
    if False in counted:
        passed = False
    return {"lane": pairs[0].a, "again": pairs[0].b, "passed": passed, "settings": settings}


def detection_limits(check: Mapping[str, Any] | None, headline: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return the half-width of the A/A interval by work, a fraction: no smaller difference can be seen there."""
    settings = check["settings"] if check else []
    return {
        row["work"]: row["half_width"]
        for row in settings
        if row["half_width"] is not None and _is_headline(row, headline)
    }


def detection_limit(check: Mapping[str, Any] | None, headline: Mapping[str, Any] | None = None) -> float | None:
    """Return the largest of `detection_limits`, or None without any."""
    return max(detection_limits(check, headline).values(), default=None)


def why(
    samples: Sequence[Row], phases: Sequence[Row], lanes: Sequence[Lane], headline: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Say which part of a training step carries the difference between two lanes, for every headline pair.

    Seconds per step, b minus a, so that above 0 means that a is faster, as in a ratio. Each part is the mean over
    blocks of the difference of per-block medians; means, unlike medians, add up, so the parts and `rest_s`, which no
    phase explains, give `difference_s`. `intervals_s` holds each part's 95 % t interval, None for a single block.
    `carrier` is the part that moves furthest in the direction of the difference, and `share` its part of the whole:
    above 1 where other parts work against it. Phases are taken at the run's own image size, which `headline` holds.
    """
    steps = block_medians(row for row in _possible(samples) if row["work"] == "train" and _same_image(row, headline))
    reads = {row["lane"]: bool(row.get("host_reads_per_step")) for row in samples if row["work"] == "train"}
    taken = {(row["lane"], row["batch"], row["block"]): row for row in phases}
    found = []
    for pair in (pair for pair in lane_pairs(lanes) if pair.headline):
        names = [*STEP_PARTS, *([READ_PART] if reads.get(pair.a) and reads.get(pair.b) else [])]
        if pair.kind == "fit":
            names.append(INPUT_PART)
        for (setting, lane), own in steps.items():
            if lane != pair.a:
                continue
            other = steps.get((setting, pair.b), {})
            batch = _named(setting)["batch"]
            blocks = [
                i for i in sorted(own) if i in other and (pair.a, batch, i) in taken and (pair.b, batch, i) in taken
            ]
            if blocks:
                parts = [(taken[pair.a, batch, i], taken[pair.b, batch, i]) for i in blocks]
                whole = [other[i] - own[i] for i in blocks]
                found.append({**_pair_fields(pair), "work": "train", "batch": batch, **_explained(whole, parts, names)})
    return found


def sensitivity(
    samples: Sequence[Row],
    lanes: Sequence[Lane],
    headline: Mapping[str, Any] | None = None,
    *,
    gate_passed: bool = True,
    aa_passed: bool = True,
    margin: float = DEFAULT_MARGIN,
    blocks: int | None = None,
) -> list[dict[str, Any]]:
    """Return the headline ratio measured again with one thing changed, beside what it was.

    Lanes that vary a headline lane stand in for it, on both sides where both have one; lanes of another kind change
    both sides alike; other batches and image sizes change the setting. `a` and `b` name the lanes that ran. Decisions
    are withheld as in `ratios`.
    """
    medians, against = _judged(samples, lanes, gate_passed, aa_passed, margin, blocks)
    pairs = [pair for pair in lane_pairs(lanes) if pair.headline]
    base = next((pair for pair in pairs if pair.kind == HEADLINE_KIND), None)
    if base is None:
        return []
    settings = {setting for setting, lane in medians if lane == base.a and (setting, base.b) in medians}
    own = {setting for setting in settings if _is_headline(_named(setting), headline)}
    found = []
    for setting in sorted(own, key=_sortable):
        baseline = _ratio_at(medians, base.a, base.b, setting, margin)
        if baseline is None:
            continue
        for factor, change, a, b, at in _changed(lanes, pairs, base, setting, settings - own):
            ratio = _ratio_at(medians, a, b, at, margin)
            if ratio is not None:
                row = {"factor": factor, "change": change, **_named(at), "a": a, "b": b}
                told = _told(ratio, against(at, ratio))
                decided = _told(baseline, against(setting, baseline))["decision"]
                found.append({**row, **told, "baseline_ratio": baseline.ratio, "baseline_decision": decided})
    return found


def latency(samples: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the percentiles of single steps of one image, in seconds, over all processes of a lane together.

    Samples that are means of several steps are left out: their percentiles would be those of the means. So is a lane
    with a step below its floor.
    """
    groups: dict[tuple[Setting, str], list[Row]] = {}
    for row in _possible(samples):
        if row["work"] == "latency" and row.get("steps_per_sample", 1) == 1:
            groups.setdefault((_setting(row), row["lane"]), []).append(row)
    found = []
    for (setting, lane), rows in groups.items():
        seen = percentiles([time for row in rows for time in row["seconds"]])
        blocks = len({row["block"] for row in rows})
        found.append({"lane": lane, **_named(setting), "blocks": blocks, "n": seen.n,
                      "p50_s": seen.p50, "p90_s": seen.p90, "p99_s": seen.p99})  # fmt: skip
    return found


def summary(
    held: Mapping[str, Any], lanes: Sequence[Lane], batch: int, image: tuple[int, int, int] | None = None
) -> dict[str, Any]:
    """Return every section of the record's benchmarks that follows from its samples and phases.

    `batch` and `image` (height, width, channels) are the run's own; without `image` that of the first sample of the
    batch. `preliminary` is True until every headline pair has its ten blocks and an A/A check beside it.
    """
    samples = held.get("samples") or []
    headline = _headline(samples, batch, image)
    gate = held.get("parity_gate")
    passed = isinstance(gate, Mapping) and gate.get("passed") is True
    blocks = (held.get("plan") or {}).get("blocks")
    check = aa_check(samples, lanes, headline)
    sound = check is None or check["passed"] is not False
    rows = ratios(samples, lanes, gate_passed=passed, aa_passed=sound, blocks=blocks)
    main = [row for row in rows if row["headline"] and row["kind"] == HEADLINE_KIND and _is_headline(row, headline)]
    preliminary = check is None or not main or any(row["preliminary"] for row in main)
    return {
        "ratios": [{**row, "preliminary": row["preliminary"] or preliminary} for row in rows],
        "aa_check": check,
        "detection_limit": detection_limit(check, headline),
        "detection_limits": detection_limits(check, headline),
        "limits": limits(samples, held.get("limits")),
        "why": why(samples, held.get("phases") or [], lanes, headline),
        "sensitivity": sensitivity(samples, lanes, headline, gate_passed=passed, aa_passed=sound, blocks=blocks),
        "latency": latency(samples),
        "preliminary": preliminary,
    }


def _possible(samples: Sequence[Row]) -> list[Row]:
    """Return the samples of lanes without a step below its floor."""
    beyond = {row["lane"] for row in refused(samples)}
    return [row for row in samples if row["lane"] not in beyond]


def _judged(
    samples: Sequence[Row],
    lanes: Sequence[Lane],
    gate_passed: bool,
    aa_passed: bool,
    margin: float,
    blocks: int | None,
) -> tuple[Medians, Callable[[Setting, PairedRatio], str | None]]:
    """Return the medians that may be compared, and what stands against a claim from a ratio at a setting."""
    possible = _possible(samples)
    medians = block_medians(possible)
    general = LIMITS if len(possible) < len(samples) else GATE if not gate_passed else None if aa_passed else AA
    checks = {_setting(row): row for row in _aa_settings(medians, lane_pairs(lanes))}

    def against(setting: Setting, ratio: PairedRatio) -> str | None:
        check = checks.get(setting, {})
        own = AA if check.get("passed") is False else _unseen(ratio, check.get("half_width"), margin)
        return general or _lost(ratio, blocks) or own

    return medians, against


def _told(ratio: PairedRatio, against: str | None) -> dict[str, Any]:
    """Return a ratio's fields, its decision withheld where something stands against it."""
    told = {name: getattr(ratio, name) for name in ("ratio", "low", "high", "blocks", "decision")}
    if against is None or ratio.decision == "undecided":
        return told
    return {**told, "decision": "undecided", "withheld": against}


def _lost(ratio: PairedRatio, blocks: int | None) -> str | None:
    """Return what stands against a ratio over fewer blocks than were planned."""
    return LOST if blocks is not None and ratio.blocks < blocks else None


def _unseen(ratio: PairedRatio, limit: float | None, margin: float) -> str | None:
    """Return what stands against a decision that the detection limit, a fraction, does not allow."""
    if limit is None:
        return None
    if ratio.decision == "within margin":
        return COARSE if limit > margin else None
    return UNSEEN if 1 / (1 + limit) <= ratio.ratio <= 1 + limit else None


def _headline(samples: Sequence[Row], batch: int, image: tuple[int, int, int] | None) -> dict[str, Any]:
    if image is None:
        first = next((row for row in samples if row["batch"] == batch), {})
        image = (first.get("height"), first.get("width"), first.get("channels"))  # type: ignore[assignment]
    return {"batch": batch, **dict(zip(SETTING[2:], image or (), strict=True))}


def _setting(row: Row) -> Setting:
    get = row.get
    return get("work"), get("batch"), get("height"), get("width"), get("channels")


def _named(setting: Setting) -> dict[str, Any]:
    return dict(zip(SETTING, setting, strict=True))


def _sortable(setting: Setting) -> tuple[str, ...]:
    return tuple(f"{value:>9}" if isinstance(value, int) else str(value) for value in setting)


def _pair_fields(pair: LanePair) -> dict[str, Any]:
    return {"a": pair.a, "b": pair.b}


def _is_headline(row: Row, headline: Mapping[str, Any] | None) -> bool:
    """Whether a row has the run's own image size and batch; single images are a setting of the run as well."""
    if headline is None:
        return True
    return (row["work"] == "latency" or row["batch"] == headline["batch"]) and _same_image(row, headline)


def _same_image(row: Row, headline: Mapping[str, Any] | None) -> bool:
    return headline is None or all(row.get(name) == headline.get(name) for name in SETTING[2:])


def _ratio_at(medians: Medians, a: str, b: str, setting: Setting, margin: float) -> PairedRatio | None:
    own, other = medians.get((setting, a), {}), medians.get((setting, b), {})
    blocks = sorted(own.keys() & other.keys())
    return paired_ratio([own[i] for i in blocks], [other[i] for i in blocks], margin=margin) if blocks else None


def _paired(medians: Medians, a: str, b: str, margin: float) -> Iterator[tuple[Setting, PairedRatio]]:
    for setting, lane in medians:
        if lane == a:
            ratio = _ratio_at(medians, a, b, setting, margin)
            if ratio is not None:
                yield setting, ratio


def _aa_settings(medians: Medians, pairs: Sequence[LanePair]) -> list[dict[str, Any]]:
    found = []
    for pair in (pair for pair in pairs if pair.kind == AGAIN):
        for setting, ratio in _paired(medians, pair.a, pair.b, DEFAULT_MARGIN):
            row = {**_named(setting), "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high,
                   "blocks": ratio.blocks, "half_width": None, "firm_low": None, "firm_high": None,
                   "passed": None}  # fmt: skip
            if ratio.low is not None and ratio.high is not None:
                firm = _firm(medians[setting, pair.a], medians[setting, pair.b])
                row["half_width"] = math.sqrt(ratio.high / ratio.low) - 1 if ratio.low > 0 else None
                row["firm_low"], row["firm_high"] = firm
                row["passed"] = firm[0] <= 1 <= firm[1]
            found.append(row)
    return found


def _firm(own: Mapping[int, float], other: Mapping[int, float]) -> tuple[float, float]:
    blocks = sorted(own.keys() & other.keys())
    ratio = paired_ratio([own[i] for i in blocks], [other[i] for i in blocks], firm_confidence())
    return (0.0, math.inf) if ratio.low is None or ratio.high is None else (ratio.low, ratio.high)


def _explained(whole: Sequence[float], parts: Sequence[tuple[Row, Row]], names: Sequence[str]) -> dict[str, Any]:
    """Return the difference by phase; `parts` are the phases of lanes a and b, block by block."""
    by_block: dict[str, list[float]] = {}
    for name in names:
        if all(a.get(name) and b.get(name) for a, b in parts):
            by_block[name] = [statistics.median(b[name]) - statistics.median(a[name]) for a, b in parts]
    explained = [sum(values) for values in zip(*by_block.values(), strict=True)] or [0.0] * len(whole)
    by_block[REST] = [total - known for total, known in zip(whole, explained, strict=True)]
    difference = statistics.fmean(whole)
    by_phase = {name: statistics.fmean(values) for name, values in by_block.items()}
    carrier = max(by_phase, key=lambda name: by_phase[name] * math.copysign(1.0, difference))
    return {
        "blocks": len(whole),
        "difference_s": difference,
        "by_phase": by_phase,
        "intervals_s": {name: _interval(values) for name, values in by_block.items()},
        "carrier": carrier.removesuffix("_s") if difference else None,
        "share": by_phase[carrier] / difference if difference else None,
    }


def _interval(values: Sequence[float]) -> list[float] | None:
    """Return the 95 % t interval of a mean, or None for a single value."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    half = float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    return [statistics.fmean(values) - half, statistics.fmean(values) + half]


Change = tuple[str, str, str, str, Setting]  # factor, what was changed, lane a, lane b, setting


def _changed(
    lanes: Sequence[Lane], pairs: Sequence[LanePair], base: LanePair, setting: Setting, others: Iterable[Setting]
) -> Iterator[Change]:
    """Give every way in which one thing of the headline pair was changed in this campaign."""
    variants: dict[str, dict[str, str]] = {}
    for entry in lanes:
        if entry.factor is not None and entry.against in (base.a, base.b):
            variants.setdefault(entry.factor, {})[entry.against] = entry.name
    for factor, by_base in variants.items():
        change = CHANGES.get(factor, factor)
        if len(by_base) == 1:
            change += f" for {next(iter(by_base))} alone"
        yield factor, change, by_base.get(base.a, base.a), by_base.get(base.b, base.b), setting
    framework = {entry.name: entry.framework for entry in lanes}
    for pair in pairs:
        if pair.kind in FACTOR_OF_KIND:
            ends = (pair.a, pair.b) if framework[pair.a] == framework[base.a] else (pair.b, pair.a)
            yield *FACTOR_OF_KIND[pair.kind], *ends, setting
    own = _named(setting)
    for other in sorted(others, key=_sortable):
        changed = [name for name, value in _named(other).items() if value != own[name]]
        if changed == ["batch"]:
            yield "batch", f"batch {_named(other)['batch']}", base.a, base.b, other
        elif changed and not set(changed) - {"height", "width"}:
            height, width = _named(other)["height"], _named(other)["width"]
            yield "image size", f"{height}x{width} images", base.a, base.b, other
