"""Is this run slower than an earlier one? Two records lane by lane, where the machine is the same.

`python -m parity.bench.regression BASELINE RECORD` prints a table; its exit status is 0 where no lane is known to be
slower, 1 where one is, and 2 where the two cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from parity.bench.analysis import AA, GATE, SETTING, Medians, block_medians, refused
from parity.bench.plan import differences, machine
from parity.errors import ParityError, RecordError
from parity.stats import DEFAULT_MARGIN, unpaired_ratio

Record = Mapping[str, Any]

SCHEMA = 1
CEILINGS: Final = ("sgemm_gflops", "triad_gb_s", "device_copy_gb_s")
CONDITIONS: Final = ("threads", "device", "allocator")  # of a sample: where they differ, the lane is not the same work
FASTER, SLOWER, CANNOT = 0, 1, 2
MISSHAPEN = (KeyError, TypeError, AttributeError, ValueError, IndexError)  # what reading a misshapen record raises


def compare(baseline: Record, record: Record, margin: float = DEFAULT_MARGIN) -> dict[str, Any]:
    """Return the record's section that holds this run against an earlier one, lane by lane and setting by setting.

    `ratio` is the time then over the time now, so that `faster` means that this run is. Blocks of two campaigns
    belong to no pairs: the interval is Welch's (`parity.stats.unpaired_ratio`). What moved the whole machine between
    the two runs is in no block of either; the ceilings that both have measured show it, and every interval is made
    wider by the largest movement among them (`moved`, a fraction; None where one of the records has no ceilings, and a
    machine that changed its speed cannot be told from a lane that did).

    Many settings are compared at once, and one of them would seem to have moved by mere chance: the printed interval
    is that of each alone, and a decision is made by an interval whose risk is divided by their number (Bonferroni).
    Where one of the records did not pass its parity gate or its A/A check, nothing is decided, and `withheld` says why.
    `together` is the geometric mean of all ratios: a neighbour's load, which no ceiling shows, moves all lanes alike.
    `notes` say so in words, for the terminal and the report.

    The same machine means processor, cores, memory, device and GPU, all of them known, and not the GPU's driver; two
    machines of one kind are told apart where both have an id. A lane is compared where setting, threads and allocator
    are the same. Versions and the variables that tune libraries may differ, since they are what is asked about, and are
    listed; so may profile, blocks, rounds, seed and data, which change how well a step is known and not how long it
    takes.

    Raises
        RecordError: a record is not shaped as its schema says.
    """
    try:
        return _compare(baseline, record, margin)
    except MISSHAPEN as error:
        raise RecordError(
            f"the two records cannot be compared: one is not shaped as schema {SCHEMA} says ({type(error).__name__})"
        ) from error


def check(record: Record) -> None:
    """Refuse a record that no other one could be compared with; of what machine it is does not matter here.

    Raises
        RecordError: no samples, samples without a lane, a setting or a block, or times that are none.
    """
    try:
        machine(record["environment"])
        for (_, lane), blocks in block_medians(_benchmarks(record)["samples"]).items():
            if not all(math.isfinite(seconds) and seconds > 0 for seconds in blocks.values()):
                raise RecordError(f"the record cannot be compared: a step of {lane} took no time")
    except MISSHAPEN as error:
        raise RecordError(
            f"the record cannot be compared: it is not shaped as schema {SCHEMA} says ({type(error).__name__})"
        ) from error


def exit_status(found: Mapping[str, Any]) -> int:
    """Return 0 where no lane is known to be slower, 1 where one is, 2 where nothing could be compared.

    Below ten blocks a decision is preliminary, and does not count.
    """
    if not found["settings"]:
        return CANNOT
    settled = (row["decision"] for row in found["settings"] if not row["preliminary"])
    return SLOWER if "slower" in settled else FASTER


def text(found: Mapping[str, Any]) -> str:
    """Return a comparison as a plain table; milliseconds of a step."""
    if not found["settings"]:
        return f"not compared: {found['why_not']}"
    head = ("lane", "work", "batch", "image", "then ms", "now ms", "then / now", "95 % interval", "this run is")
    rows = [head, *(_line(row) for row in found["settings"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", *found["notes"]]
    lines += [f"differs: {phrase}" for phrase in found["versions"]]
    lines += [f"not compared: {row['lane']}: {row['why']}" for row in found["not_compared"]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare two saved records, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m parity.bench.regression", description=main.__doc__)
    parser.add_argument("baseline", type=Path, help="the earlier comparison.json")
    parser.add_argument("record", type=Path, help="the comparison.json of this run")
    given = parser.parse_args(arguments)
    try:
        found = compare(_read(given.baseline), _read(given.record))
    except ParityError as error:
        print(error, file=sys.stderr)
        return CANNOT
    status = exit_status(found)
    print(text(found), file=sys.stderr if status == CANNOT else sys.stdout)
    return status


def _compare(baseline: Record, record: Record, margin: float) -> dict[str, Any]:
    then, now = _benchmarks(baseline), _benchmarks(record)
    machines = [_without_driver(machine(side["environment"])) for side in (baseline, record)]
    if None in [side["id"] for side in machines]:  # an older record, or a system that gives its machine none
        machines = [{**side, "id": None} for side in machines]
    other = [
        f"{name} (not in both records)"
        for name in ("cpu", "cores", "memory_gib", "device")
        if None in (side[name] for side in machines)
    ]
    if [(side["device"], side["gpu"]) for side in machines] == [("gpu", None)] * 2:  # which card, nothing says
        other.append("gpu (not in both records)")
    other = other or differences(machines[0], machines[1])
    found: dict[str, Any] = {
        "same_machine": not other,
        "why_not": None,
        "settings": [],
        "not_compared": [],
        "versions": _versions(baseline, record),
        "moved": None,
        "together": None,
        "notes": [],
        "withheld": _withheld(then) or _withheld(now),
    }
    if other:
        return {**found, "why_not": f"not the same machine: {', '.join(other)}"}
    samples = then["samples"], now["samples"]
    beyond = [{row["lane"] for row in refused(rows)} for rows in samples]
    medians = [block_medians(rows) for rows in samples]
    conditions = [{_place(row): _conditions(row) for row in rows} for rows in samples]
    found["moved"] = _moved(then.get("limits"), now.get("limits"))
    skipped: dict[str, str] = {}
    comparable: list[Any] = []
    for key in medians[1]:
        setting, lane = key
        if lane in beyond[0] | beyond[1]:
            skipped[lane] = "a step below its physical limit"
        elif key not in medians[0]:
            skipped.setdefault(lane, f"the earlier record has no {setting[0]} at batch {setting[1]} of it")
        elif unlike := differences(conditions[0][key], conditions[1][key]):
            skipped[lane] = ", ".join(unlike)
        else:
            comparable.append(key)
    gone = {lane for _, lane in medians[0]} - {lane for _, lane in medians[1]}
    skipped |= {lane: "this run did not time it" for _, lane in medians[0] if lane in gone}
    found["settings"] = [_setting_row(medians, key, margin, found, len(comparable)) for key in comparable]
    if comparable:
        found["together"] = _geometric_mean([row["ratio"] for row in found["settings"]])
        found["notes"] = _notes(found)
    found["not_compared"] = [{"lane": lane, "why": why} for lane, why in skipped.items()]
    if not found["settings"]:
        first = next(iter(skipped.items()), None)
        found["why_not"] = f"no lane in common ({first[0]}: {first[1]})" if first else "this run has no samples"
    return found


def _notes(found: Mapping[str, Any]) -> list[str]:
    """Say how far the machine's ceilings have moved, and all lanes together, and what forbids every decision."""
    moved = found["moved"]
    said = [
        "No ceilings are in both records: a machine that changed its speed would look like this as well."
        if moved is None
        else f"The machine's ceilings, the best of several tries, moved by {100 * moved:.1f} % between the runs; the"
        " intervals allow for that.",
        f"All settings together: then / now {found['together']:.3f}. A neighbour's load in one of the runs moves all of"
        " them, and does not show in the ceilings.",
    ]
    return [*said, *([f"Nothing is decided: {found['withheld']}."] if found["withheld"] else [])]


def _withheld(benchmarks: Record) -> str | None:
    """Return what stands against every decision on a record's samples, or None."""
    gate, check = benchmarks.get("parity_gate"), benchmarks.get("aa_check")
    if isinstance(gate, Mapping) and gate.get("passed") is False:
        return GATE
    return AA if isinstance(check, Mapping) and check.get("passed") is False else None


def _setting_row(
    medians: Sequence[Medians], key: Any, margin: float, found: Mapping[str, Any], compared: int
) -> dict[str, Any]:
    setting, lane = key
    then, now = (list(side[key].values()) for side in medians)
    moved = found["moved"] or 0.0
    ratio = unpaired_ratio(now, then, margin=margin, moved=moved)
    strict = unpaired_ratio(now, then, 1.0 - 0.05 / compared, margin=margin, moved=moved)
    figures = {name: value for name, value in asdict(ratio).items() if name not in ("blocks_a", "blocks_b")}
    figures["decision"] = "undecided" if found["withheld"] else strict.decision
    return {
        "lane": lane,
        **dict(zip(SETTING, setting, strict=True)),
        **figures,
        "blocks": ratio.blocks,
        "preliminary": ratio.preliminary,
        "then_s": _geometric_mean(then),
        "now_s": _geometric_mean(now),
    }


def _benchmarks(record: Record) -> Mapping[str, Any]:
    held = record.get("benchmarks")
    if not isinstance(held, Mapping) or not held.get("samples"):
        raise RecordError("a record without timing samples cannot be compared")
    return held


def _place(row: Mapping[str, Any]) -> tuple[tuple[Any, ...], str]:
    return tuple(row.get(name) for name in SETTING), row["lane"]


def _conditions(row: Mapping[str, Any]) -> dict[str, Any]:
    # An empty allocator means glibc's defaults; a missing one is not known, and so not the same.
    return {name: row[name] if row.get(name) != {} else "default" for name in CONDITIONS if name in row}


def _moved(then: Any, now: Any) -> float | None:
    """Return how far the machine's ceilings lie apart, the furthest of those that both records have."""
    if not isinstance(then, Mapping) or not isinstance(now, Mapping):
        return None
    pairs = [(then.get(name), now.get(name)) for name in CEILINGS]
    moves = [abs(math.log(float(b) / float(a))) for a, b in pairs if a and b]
    return math.expm1(max(moves)) if moves else None


def _without_driver(machine: dict[str, Any]) -> dict[str, Any]:
    """Return a machine whose GPU is a card's name alone: a new driver for it is a version, and no other machine."""
    gpu = machine["gpu"]
    return {**machine, "gpu": gpu.rpartition(", ")[0] or gpu if isinstance(gpu, str) else gpu}


def _versions(baseline: Record, record: Record) -> list[str]:
    sides = []
    for side in (baseline["environment"], record["environment"]):
        workers = {name: worker.get("versions") for name, worker in (side.get("workers") or {}).items()}
        own = {name: side.get(name) for name in ("platform", "python", "git_commit", "variables", "gpu")}
        sides.append({**own, "packages": side.get("packages"), "workers": workers})
    return differences(sides[0], sides[1])


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    between = "–" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    said = row["decision"] + (" (preliminary)" if row["preliminary"] else "")
    size = f"{row['height']}x{row['width']}x{row['channels']}"
    times = f"{1000 * row['then_s']:.4g}", f"{1000 * row['now_s']:.4g}"
    return row["lane"], row["work"], str(row["batch"]), size, *times, f"{row['ratio']:.3f}", between, said


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such record") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read as a record ({type(error).__name__})") from None
    if not isinstance(loaded, dict) or loaded.get("schema") != SCHEMA:
        raise RecordError(f"{path} is no record of schema {SCHEMA}")
    return loaded


if __name__ == "__main__":
    sys.exit(main())
