"""Campaigns with a known truth, through the very code that judges real ones: is the interval what it says?

The record shows the table of `coverage_table`, so that a reader sees how often the method errs under noise that is as
hostile as this kind of machine gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from parity.bench.analysis import ratios
from parity.bench.lanes import Lane
from parity.bench.plan import schedule

Floats = NDArray[np.float64]

SLOWED = 1.10  # the slowed lane really takes this many times as long
STEP_S = 0.1
ROUNDS = 8
BLOCKS = (3, 5, 10, 20)
CAMPAIGNS = 1000

LANES: Final = (
    Lane("same", "torch", "step", "a lane"),
    Lane("equal", "tensorflow", "step", "a lane of another framework that takes exactly as long"),
    Lane("slowed", "tensorflow", "step", "a lane that takes 10 % longer"),
    Lane("same-again", "torch", "step", "the first lane under another name", again="same"),
)


@dataclass(frozen=True)
class Noise:
    """What makes the same step take another time, as standard deviations of the logarithm unless said otherwise.

    `block` hits all lanes of a block, `process` one lane's process, `round` one sample. A `*_tail` is the share of
    processes or rounds that are slower by an exponential factor of mean `*_tail_size`. `drift` is the slowdown over the
    whole campaign and `order` that from the first to the last lane of a block. `memory` is the autocorrelation from
    one process to the next, and `round_memory` from one round to the next. `degrees` are those of Student's t for the
    processes, scaled to the same deviation; 0 means normal.
    """

    name: str
    block: float = 0.05
    process: float = 0.03
    round: float = 0.04
    round_tail: float = 0.05
    round_tail_size: float = 1.0
    process_tail: float = 0.0
    process_tail_size: float = 0.3
    drift: float = 0.0
    order: float = 0.0
    memory: float = 0.0
    round_memory: float = 0.0
    degrees: int = 0


# The first is the simulation that the measuring rules were chosen by; the others are meant to break them.
NOISES: Final = (
    Noise("usual"),
    Noise("process sd 8 %", process=0.08),
    Noise("heavy tails", process=0.05, degrees=3, process_tail=0.05, round_tail=0.2),
    Noise("drift and order", drift=0.5, order=0.1),
    Noise("autocorrelated", process=0.05, memory=0.7, round_memory=0.5),
    Noise("all of them", process=0.05, degrees=3, process_tail=0.05, drift=0.5, order=0.1, memory=0.5),
)


def logarithms(noise: Noise, campaigns: int, blocks: int, seed: int, rounds: int = ROUNDS) -> tuple[Floats, Floats]:
    """Return the noise of every round, (campaigns, blocks, lanes, rounds), and each process's order, one axis less.

    Each campaign has the orders that a plan of its own seed gives it.
    """
    generator = np.random.default_rng(seed)
    lanes = len(LANES)
    order = _orders(campaigns, blocks, seed)  # (campaigns, blocks, lanes)
    when = np.arange(blocks)[:, None] * lanes + order
    found = generator.standard_normal((campaigns, blocks, 1)) * noise.block
    by_time = _remembering(_unit(generator, (campaigns, blocks * lanes), noise.degrees), noise.memory)
    found = found + noise.process * np.take_along_axis(by_time, when.reshape(campaigns, -1), 1).reshape(order.shape)
    found += _tail(generator, order.shape, noise.process_tail, noise.process_tail_size)
    found += noise.drift * when / max(1, blocks * lanes - 1) + noise.order * order / (lanes - 1)
    within = _remembering(generator.standard_normal((*order.shape, rounds)), noise.round_memory) * noise.round
    within += _tail(generator, within.shape, noise.round_tail, noise.round_tail_size)
    return found[..., None] + within, order.astype(np.float64)


def campaigns(noise: Noise, count: int, blocks: int, seed: int, rounds: int = ROUNDS) -> Iterator[list[dict[str, Any]]]:
    """Give simulated campaigns as the samples of a record."""
    noises, orders = logarithms(noise, count, blocks, seed, rounds)
    truth = np.array([STEP_S * (SLOWED if entry.name == "slowed" else 1.0) for entry in LANES])
    times, places = (truth[:, None] * np.exp(noises)).tolist(), orders.astype(int).tolist()
    for seconds, order in zip(times, places, strict=True):
        yield [
            {"work": "train", "batch": 32, "height": 150, "width": 150, "channels": 1, "lane": entry.name,
             "kind": entry.kind, "block": block, "order": order[block][place], "seconds": seconds[block][place]}
            for block in range(blocks)
            for place, entry in enumerate(LANES)
        ]  # fmt: skip


@dataclass
class Tally:
    """What a number of campaigns found, counted."""

    campaigns: int = 0
    intervals: int = 0
    covered: int = 0
    false_winners: int = 0
    found: int = 0

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count one campaign's ratios, from `analysis.ratios`; what a failed A/A check withholds is no winner."""
        by_pair = {(row["a"], row["b"]): row for row in rows}
        equal, slowed = by_pair["same", "equal"], by_pair["same", "slowed"]
        self.campaigns += 1
        for row, truth in ((equal, 1.0), (slowed, SLOWED)):
            self.intervals += 1
            self.covered += row["low"] is not None and row["low"] <= truth <= row["high"]
        self.false_winners += equal["decision"] in ("faster", "slower")
        self.found += slowed["decision"] == "faster"

    def fields(self, blocks: int, noise: str) -> dict[str, Any]:
        """Return the record's row: shares of 1."""
        return {
            "blocks": blocks,
            "noise": noise,
            "campaigns": self.campaigns,
            "coverage": self.covered / self.intervals,
            "false_winners": self.false_winners / self.campaigns,
            "found_10_percent": self.found / self.campaigns,
        }


def coverage_table(
    count: int = CAMPAIGNS, blocks: Sequence[int] = BLOCKS, noises: Sequence[Noise] = NOISES, seed: int = 0
) -> list[dict[str, Any]]:
    """Return, for each noise and number of blocks, how often the interval covers and how often a winner is false.

    A row counts `count` campaigns, each of four lanes judged by `analysis.ratios` as a real one is: `coverage` of the
    95 % intervals of the equal and of the slowed lane, `false_winners` among the equals, and `found_10_percent`, the
    campaigns that called the slowed lane slower. A campaign whose A/A check failed names no winner, false or true.
    """
    found = []
    for noise in noises:
        for number in blocks:
            tally = Tally()
            for samples in campaigns(noise, count, number, seed):
                tally.add(ratios(samples, LANES))
            found.append(tally.fields(number, noise.name))
    return found


def _orders(count: int, blocks: int, seed: int) -> NDArray[np.int64]:
    """Return each lane's place in each block, (campaigns, blocks, lanes), as the plan of each seed gives it."""
    index = {entry.name: place for place, entry in enumerate(LANES)}
    found = np.empty((count, blocks, len(LANES)), dtype=np.int64)
    for campaign in range(count):
        for block, order, name in schedule(blocks, seed + campaign, LANES):
            found[campaign, block, index[name]] = order
    return found


def _unit(generator: np.random.Generator, shape: tuple[int, ...], degrees: int) -> Floats:
    if not degrees:
        return generator.standard_normal(shape)
    scaled: Floats = generator.standard_t(degrees, shape) / np.sqrt(degrees / (degrees - 2))
    return scaled


def _remembering(noise: Floats, memory: float) -> Floats:
    """Make independent noise autocorrelated along its last axis (AR(1)), its variance kept."""
    if memory:
        for i in range(1, noise.shape[-1]):
            noise[..., i] = memory * noise[..., i - 1] + np.sqrt(1 - memory**2) * noise[..., i]
    return noise


def _tail(generator: np.random.Generator, shape: tuple[int, ...], share: float, size: float) -> Floats:
    if not share:
        return np.zeros(shape)
    return (generator.random(shape) < share) * generator.standard_exponential(shape) * size
