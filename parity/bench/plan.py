"""The plan of a campaign: which lane runs when, what makes samples comparable, how long it takes, how it goes on."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from parity.bench.lanes import Lane
from parity.errors import UsageError

if TYPE_CHECKING:  # planning happens while tests are collected, which must stay fast
    from parity.bench.run import Setting, Timing

Key = tuple[str, str, int, int, int, int]  # a sample's place in the plan: lane, work, batch, height, width, channels

GIBIBYTE = 2**30
SHOWN_DIFFERENCES = 4  # as many as one line can hold

# What a lane's process is expected to cost before any was measured: the seconds of two cores. They set the scale only
# until the first process has ended; from then on its own time does.
START_S: Final[Mapping[str, float]] = {"tensorflow": 12.0, "torch": 8.0, "keras-torch": 14.0, "onnxruntime": 3.0}
OTHER_START_S = 10.0
COMPILE_S = 26.0  # for each setting of a lane whose steps are compiled: a first step of XLA or Inductor took 25 s
COMPILED: Final = frozenset({"compile", "graphs", "xla"})
IMAGE_S: Final[Mapping[str, float]] = {"train": 5e-3, "evaluate": 1e-3, "latency": 2e-3}  # at 150x150
IMAGE_PIXELS = 150 * 150
GPU_STEP_S = 2e-3  # of 32 images, whatever the work: on a GPU such a step is mostly launching

# Sections of a record that follow from the samples, or belong to the run that writes them, and so are never taken over.
_NEVER_KEPT: Final = frozenset(
    {
        "plan", "lanes_not_run", "timing", "environment", "self_proof", "preliminary", "ratios", "aa_check", "why",
        "detection_limit", "detection_limits", "sensitivity", "latency", "baseline", "supply", "not_run",
    }
)  # fmt: skip


def schedule(blocks: int, seed: int, lanes: Sequence[Lane]) -> list[tuple[int, int, str]]:
    """Return (block, order within the block, lane name) for a randomised complete block design, mirrored in time.

    The order of a block in the first half is drawn; the second half runs the first backwards, so that the last block
    has the first one's order reversed. Each order is as likely as any other in every block. A middle block of an odd
    number is drawn on its own.

    A slow drift, and whatever late lanes of a block suffer, then hits every lane alike over the campaign, and the
    spread between blocks shows it. With orders drawn one by one, three blocks of three lanes may all have the same
    lane first: under a slowdown of 20 % from first to last lane, 5.1 % of 10,000 simulated A/A campaigns found a
    winner, and 0.0 % do with mirrored orders.

    Raises
        UsageError: there are no blocks or no lanes.
    Source: Cox, Planning of Experiments, 1958, chapter 14 (orders balanced against a trend).
    """
    if blocks < 1 or not lanes:
        raise UsageError(f"nothing to time: {blocks} blocks of {len(lanes)} lanes")
    shuffler = random.Random(seed)
    drawn = []
    for _ in range((blocks + 1) // 2):
        names = [entry.name for entry in lanes]
        shuffler.shuffle(names)
        drawn.append(names)
    mirrored = [names[::-1] for names in reversed(drawn[: blocks // 2])]
    return [(block, order, name) for block, names in enumerate([*drawn, *mirrored]) for order, name in enumerate(names)]


@dataclass(frozen=True)
class Plan:
    """A campaign before it starts: every lane once in each block, each at its settings, in a seeded random order."""

    lanes: tuple[Lane, ...]
    settings: Mapping[str, tuple[Setting, ...]]
    blocks: int
    seed: int
    timing: Timing
    fingerprint: Mapping[str, Any]

    @property
    def rows(self) -> list[tuple[int, int, str]]:
        """(block, order within the block, lane name) of every process, in the order in which they run."""
        return schedule(self.blocks, self.seed, self.lanes)

    @property
    def order(self) -> list[list[str]]:
        """Lane names of each block, in the order in which they run."""
        names: list[list[str]] = [[] for _ in range(self.blocks)]
        for block, _, name in self.rows:
            names[block].append(name)
        return names

    def expected(self, absent: Collection[str] = ()) -> set[Key]:
        """Return what one block is made of: a key for each setting of each lane that is not absent."""
        return {
            _key({"lane": entry.name, **setting.fields()})
            for entry in self.lanes
            if entry.name not in absent
            for setting in self.settings[entry.name]
        }

    def fields(self) -> dict[str, Any]:
        """Return the record's section about the plan; seconds."""
        return {
            "blocks": self.blocks,
            "seed": self.seed,
            "lanes": [entry.name for entry in self.lanes],
            "order": self.order,
            "estimate_s": Progress(self).left_s(),
            "fingerprint": dict(self.fingerprint),
        }


def make(
    lanes: Sequence[Lane],
    settings: Mapping[str, Sequence[Setting]],
    blocks: int,
    seed: int,
    timing: Timing,
    *,
    data_digest: str,
    image: tuple[int, int, int],
    environment: Mapping[str, Any],
) -> Plan:
    """Return the plan of a campaign with its fingerprint: all that two samples must share to stand in one table.

    `settings`: what each lane is timed at, by its name. `image`: (height, width, channels) of the run.
    `environment`: the record's section of that name; its versions, processor, cores and memory count. Its `workers`
    count with their versions: give those of other interpreters, and none that may or may not have started yet.

    The number of blocks is part of the fingerprint: adding blocks to a campaign because its answer is not yet the
    wished-for one would make winners of equals more often than the interval says.

    Raises
        UsageError: there are no blocks or no lanes.
    Source: Armitage, McPherson, Rowe 1969, "Repeated significance tests on accumulating data", JRSS A 132:235.
    """
    schedule(blocks, seed, lanes)
    own = {entry.name: tuple(settings[entry.name]) for entry in lanes}
    fingerprint = {
        "blocks": blocks,
        "seed": seed,
        "lanes": {entry.name: _described(entry, own[entry.name]) for entry in lanes},
        "timing": vars(timing),
        "data": data_digest,
        "image": "x".join(map(str, image)),
        "versions": _versions(environment),
        "machine": machine(environment),
        "variables": environment.get("variables"),
    }
    return Plan(tuple(lanes), own, blocks, seed, timing, json.loads(json.dumps(fingerprint)))


def machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells one machine from another, out of a record's section about its environment."""
    memory = environment.get("memory_bytes")
    return {
        "cpu": environment.get("cpu"),
        "cores": environment.get("cores"),
        # Whole gibibytes: what the system keeps for itself changes with every start of it.
        "memory_gib": None if memory is None else round(float(memory) / GIBIBYTE),
        "device": environment.get("device"),
        "gpu": environment.get("gpu"),
        "id": environment.get("machine_id"),
    }


def differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return what differs between two fingerprints, one phrase each, such as `threads (2 then, 1 now)`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = [*before, *(key for key in now if key not in before)]
        return [
            phrase
            for key in names
            for phrase in differences(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if before == now else [f"{name} ({_shown(before)} then, {_shown(now)} now)"]


@dataclass(frozen=True)
class Kept:
    """What an interrupted campaign leaves to the one that goes on with it.

    `content` are sections of the record for the finished blocks alone; `blocks` and `dropped` number the blocks that
    were finished, and those begun whose samples are dropped and taken again.
    """

    content: dict[str, Any]
    blocks: tuple[int, ...]
    dropped: tuple[int, ...]
    sentence: str

    def sample(self, block: int, lane: str, setting: Setting) -> dict[str, Any] | None:
        """Return the kept sample of a setting of a lane in a block, or None where it is to be taken."""
        key = _key({"lane": lane, **setting.fields()})
        return next(
            (row for row in self.content["samples"] if row["block"] == block and _key(row) == key),
            None,
        )


def take_over(path: Path, plan: Plan) -> Kept:
    """Read what an interrupted campaign has saved and return what of it the plan can go on with.

    Raises
        UsageError: there is no such file, it cannot be read, or `resume` refuses it.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"nothing to resume: there is no {path.name} of an interrupted campaign") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot resume: {path.name} cannot be read ({type(error).__name__})") from None
    return resume(record, plan)


def resume(record: Mapping[str, Any], plan: Plan) -> Kept:
    """Return what of an interrupted campaign's record the plan can go on with: its finished blocks and nothing else.

    A block is finished when every lane of the plan has samples at every one of its settings there, lanes that the
    record says cannot run here left out. Rows of other sections stay with their block.

    Raises
        UsageError: another campaign, samples of two campaigns in one record, or nothing to go on with.
    """
    held = record.get("benchmarks") if isinstance(record, Mapping) else None
    if not isinstance(held, Mapping) or not isinstance(held.get("plan"), Mapping):
        raise UsageError("nothing to resume: the record holds no benchmark that was begun")
    differ = differences(held["plan"].get("fingerprint"), plan.fingerprint)
    if differ:
        more = f" and {len(differ) - SHOWN_DIFFERENCES} more" if len(differ) > SHOWN_DIFFERENCES else ""
        shown = ", ".join(differ[:SHOWN_DIFFERENCES])
        raise UsageError(f"cannot resume: the interrupted campaign differs in {shown}{more}; start without --resume")
    seen = _seen(held.get("samples") or [], plan)
    measured = {key[0] for keys in seen.values() for key in keys}
    absent = {row["lane"] for row in held.get("lanes_not_run") or []} - measured
    expected = plan.expected(absent)
    finished = tuple(block for block in sorted(seen) if expected and expected <= seen[block])
    if not finished:
        raise UsageError("nothing to resume: no block was finished; start without --resume")
    dropped = tuple(block for block in sorted(seen) if block not in finished)
    sentence = f"{len(finished)} of {plan.blocks} blocks are kept from the interrupted campaign"
    if dropped:
        sentence += f"; unfinished and run again: block {', '.join(str(block + 1) for block in dropped)}"
    return Kept(_content(held, set(finished)), finished, dropped, sentence)


@dataclass
class Progress:
    """How far a campaign is and how long the rest takes, from the seconds that its processes took so far."""

    plan: Plan
    spent_s: dict[str, list[float]] = field(default_factory=dict)
    done: set[tuple[int, str]] = field(default_factory=set)

    def note(self, block: int, lane: str, seconds: float | None) -> None:
        """Count a lane's process of a block as done; `seconds` is None for one that was kept or cannot run."""
        self.done.add((block, lane))
        if seconds is not None:
            self.spent_s.setdefault(lane, []).append(seconds)

    def note_kept(self, kept: Kept | None) -> None:
        """Count as done what an interrupted campaign has finished."""
        finished = kept.blocks if kept is not None else ()
        for block, _, name in self.plan.rows:
            if block in finished:
                self.note(block, name, None)

    def lane_s(self, lane: str) -> float:
        """Return the seconds that a process of this lane takes: the median of those measured.

        Before any, the stated default times how far the measured lanes have been from theirs.
        """
        if lane in self.spent_s:
            return statistics.median(self.spent_s[lane])
        known = [statistics.median(times) / self._default_s(name) for name, times in self.spent_s.items()]
        return self._default_s(lane) * (statistics.median(known) if known else 1.0)

    def left_s(self) -> float:
        """Return the seconds until the last process ends."""
        return sum(self.lane_s(name) for block, _, name in self.plan.rows if (block, name) not in self.done)

    def line(self, block: int, lane: str) -> str:
        """Say which process starts and how long the rest takes with it."""
        return f"block {block + 1}/{self.plan.blocks}, lane {lane}, about {duration(self.left_s())} left"

    def announcement(self) -> str:
        """Say beforehand how much there is to do."""
        blocks, lanes = self.plan.blocks, len(self.plan.lanes)
        what = f"{blocks} block{'s' * (blocks != 1)} of {lanes} lane{'s' * (lanes != 1)}"
        return f"{what}, about {duration(self.left_s())}"

    def _default_s(self, lane: str) -> float:
        entry = next(entry for entry in self.plan.lanes if entry.name == lane)
        seconds = START_S.get(entry.framework, OTHER_START_S)
        for setting in self.plan.settings[lane]:
            seconds += self._setting_s(setting)
            seconds += COMPILE_S if entry.options.get("run") in COMPILED else 0.0
        return seconds

    def _setting_s(self, setting: Setting) -> float:
        """Return the seconds that the steps of a setting take, where none was measured yet."""
        timing = self.plan.timing
        steps, samples = timing.steps_of(setting), timing.rounds_of(setting)
        if timing.device == "gpu":
            return (timing.warmup_limit + samples) * steps * GPU_STEP_S
        pixels = setting.batch * setting.height * setting.width
        image_s = IMAGE_S.get(setting.work, IMAGE_S["train"]) * pixels / IMAGE_PIXELS
        return (1 + timing.warmup_limit + samples * steps) * image_s


def duration(seconds: float) -> str:
    """Write a duration as people say it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _described(entry: Lane, settings: Sequence[Setting]) -> dict[str, Any]:
    return {
        "framework": entry.framework,
        "kind": entry.kind,
        "options": dict(entry.options),
        "threads": entry.threads,
        "allocator": entry.allocator,
        "settings": [setting.name for setting in settings],
    }


def _versions(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions in an environment; the code of this package itself is one of them."""
    own = {"python": environment.get("python"), "platform": environment.get("platform")}
    workers = {f"{name} worker": worker.get("versions") for name, worker in (environment.get("workers") or {}).items()}
    return {**own, "parity": environment.get("git_commit"), **(environment.get("packages") or {}), **workers}


def _key(row: Mapping[str, Any]) -> Key:
    return (row["lane"], row["work"], *(int(row[name]) for name in ("batch", "height", "width", "channels")))


def _seen(samples: Sequence[Mapping[str, Any]], plan: Plan) -> dict[int, set[Key]]:
    """Return which settings have samples, by block; a sample that the plan has no place for is refused."""
    order = {(block, name): order for block, order, name in plan.rows}
    due = {
        _key({"lane": name, **setting.fields()}): plan.timing.rounds_of(setting)
        for name, settings in plan.settings.items()
        for setting in settings
    }
    seen: dict[int, set[Key]] = {}
    short: set[tuple[int, Key]] = set()
    for row in samples:
        try:
            key, place, at = _key(row), (row["block"], row["lane"]), row["order"]
        except (KeyError, TypeError, ValueError):
            raise UsageError("cannot resume: the record holds a sample without its lane, block or setting") from None
        if order.get(place) != at or key not in due:
            raise UsageError(
                f"cannot resume: the record holds a sample of {row['lane']} in block {row['block']} that is not of"
                " this campaign; start without --resume"
            )
        keys = seen.setdefault(row["block"], set())
        if key in keys:
            raise UsageError(
                f"cannot resume: the record holds block {row['block']} of {row['lane']} twice, as of two campaigns;"
                " start without --resume"
            )
        keys.add(key)
        if len(row.get("seconds") or []) < due[key]:
            short.add((row["block"], key))
    return {block: {key for key in keys if (block, key) not in short} for block, keys in seen.items()}


def _content(held: Mapping[str, Any], finished: set[int]) -> dict[str, Any]:
    """Return the sections to take over: rows of finished blocks, and what belongs to no block."""
    content: dict[str, Any] = {"samples": []}
    for name, value in held.items():
        if name in _NEVER_KEPT:
            continue
        if isinstance(value, list):
            content[name] = [row for row in value if not isinstance(row, Mapping) or _stays(row, finished)]
        else:
            content[name] = value
    gate = content.get("parity_gate")
    if isinstance(gate, Mapping) and gate.get("passed") is not True:
        # What did not pass is of a block that runs again, and passes or fails anew.
        content["parity_gate"] = {name: value for name, value in gate.items() if name != "passed"}
    return content


def _stays(row: Mapping[str, Any], finished: set[int]) -> bool:
    return "block" not in row or row["block"] in finished


def _shown(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
