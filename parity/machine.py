"""What this machine allows: its ceilings, measured in the campaign, and every step held against the floor they give."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from parity.bench import floors
from parity.bench.lanes import Lane, lane
from parity.model.spec import ModelSpec, example_cnn
from parity.workers.client import Worker

CEILING_S = 2.0  # seconds that each framework measures for, each time


class Machine:
    """The ceilings measured so far, and what follows from them for a step of the example network."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.measured: list[dict[str, Any]] = []

    def measure(self, framework: str, where: str, worker: Worker) -> None:
        """Let a framework's worker measure the ceilings; `where` is `before` or `after` the lanes."""
        self.measured.append({"framework": framework, "where": where, **worker.call("ceilings", seconds=CEILING_S)})

    def limits(self) -> dict[str, Any]:
        """Return the record's ceilings: the best of every measurement, and each of them."""
        return {**floors.best(self.measured), "measured": list(self.measured)}

    def held(self, sample: Mapping[str, Any], entry: Lane) -> dict[str, Any]:
        """Return a sample with the least seconds that its step can take here, and its share of that floor."""
        row = self._floor(sample, entry)
        median_s = statistics.median(sample["seconds"])
        return {
            **sample,
            "floor_s": row["floor_s"],
            "roof_share": floors.roof_share(row["floor_s"], median_s),
            "roofline_share": floors.roof_share(row["roofline_s"], median_s),
        }

    def floors(
        self, samples: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the record's rows about every setting and precision; `counted` is what the frameworks counted."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for sample in samples:
            row = self._floor(sample, lane(sample["lane"]))
            key = tuple(row[name] for name in ("work", "batch", "height", "width", "precision"))
            found.setdefault(key, row)
        for row in found.values():
            mine = {count["framework"]: count for count in counted if _is_of(count, row)}
            replies = {name: {key: count[key] for key in ("flops", "counter", "note")} for name, count in mine.items()}
            row["counted"] = floors.counted_rows(row["flops"], replies)
        return list(found.values())

    def memory(self, sample: Mapping[str, Any], entry: Lane) -> dict[str, Any]:
        """Return the record's row about a lane's memory: both peaks, and what a step must hold at once."""
        trains = "train" in entry.works
        floor = floors.memory_floor(self._spec(sample), int(sample["batch"])) if trains else {}
        peaks = {name: sample[name] for name in ("process_peak_bytes", "device_peak_bytes")}
        return {"lane": sample["lane"], "block": sample["block"], "batch": sample["batch"], **peaks, **floor}

    def _spec(self, sample: Mapping[str, Any]) -> ModelSpec:
        return example_cnn(int(sample["height"]), int(sample["width"]), self.channels)

    def _floor(self, sample: Mapping[str, Any], entry: Lane) -> dict[str, Any]:
        precision = str(entry.options.get("precision", "float32"))
        best = floors.best(self.measured)
        return floors.floor(self._spec(sample), sample["work"], int(sample["batch"]), best, precision)


def _is_of(count: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    alike = all(count[name] == row[name] for name in ("work", "batch", "height", "width"))
    return alike and row["precision"] == "float32"
