"""Prove a lane, then time it: where the campaign, the judge and the bench meet."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from parity.bench.gate import prove, same_weights
from parity.bench.lanes import ALLOCATOR, LANES, Lane, thread_environment
from parity.bench.run import LaneRun, open_lane
from parity.campaign import Campaign
from parity.errors import ParityError
from parity.judge.verdict import overall
from parity.model.layout import Array
from parity.pair import forced, layer_inputs, measured_bounds, raise_for
from parity.pairing import weights as pairing_weights
from parity.stats import paired_ratio


@dataclass(frozen=True)
class Proof:
    """The weights and the batch on which the pair was proven, and what a lane's logits are held against."""

    weights: dict[str, Array]
    images: Array
    labels: Array
    twin_logits: Array
    allowed: dict[str, Array]
    verdict: str
    proven_logits: dict[str, Array]


def prove_pair(campaign: Campaign) -> Proof:
    """Prove the pair layer by layer on the very weights and batch that will be timed.

    Raises
        AssertionError: a layer differs by more than rounding; nothing is timed then.
    """
    pair = campaign.pair()
    weights = campaign.weights("fresh")
    pair.copy_weights(weights)
    images, labels = campaign.radiographs(campaign.options.batch)
    x = images.astype(np.float32) / np.float32(255.0)
    inputs = layer_inputs(pair, x)
    findings = forced(pair, inputs)
    verdict = overall(findings)
    campaign.fill("benchmarks", {"samples": [], "ratios": [], "detection_limit": None, "limits": {}})
    campaign.fill("benchmarks", {"parity_gate": {"layers": verdict, "passed": all(f.passed for f in findings)}})
    raise_for(findings)
    last = campaign.spec.layers[-2].name
    twin = pair.workers["twin_tensorflow"].call("forward", x=x)[last].reshape(-1)
    proven, allowed = {}, {}
    for framework in ("tensorflow", "torch"):
        allowed[framework] = measured_bounds(pair, inputs, findings, framework)[last].reshape(-1)
        pair.workers[framework].call("place_images", images=images, labels=labels)
        proven[framework] = pair.workers[framework].call("resident_logits")
    return Proof(weights, images, labels, twin, allowed, verdict, proven)


def open_proven_lane(campaign: Campaign, lane: Lane, proof: Proof, place: tuple[int, int]) -> LaneRun:
    """Start the lane in a fresh process and let it through the gate; `place` is (block, order within the block).

    Raises
        ParityError: its weights, logits or loss are not what was proven.
    """
    own = proof.weights if lane.framework == "tensorflow" else pairing_weights.to_torch(proof.weights, campaign.spec)
    python = {"tensorflow": campaign.options.tensorflow_python, "torch": campaign.options.torch_python}
    run = open_lane(
        lane,
        campaign.spec,
        own,
        (proof.images, proof.labels),
        campaign.timing(),
        place,
        python=python[lane.framework],
    )
    try:
        if not same_weights(run.worker.call("get_weights"), own):
            raise ParityError(f"{lane.name} is not timed: it does not hold the weights that it was given")
        run.first_step("evaluate")  # before anything else traces it
        logits, loss = run.worker.call("resident_logits"), run.worker.call("loss")
        figures = prove(lane.name, logits, loss, proof.labels, proof.twin_logits, proof.allowed[lane.framework])
        figures["identical_to_proven"] = bool(np.array_equal(logits, proof.proven_logits[lane.framework]))
    except BaseException:
        run.close()
        gate = {**campaign.record["benchmarks"].get("parity_gate", {}), "passed": False}
        campaign.fill("benchmarks", {"parity_gate": gate})
        raise
    gate = dict(campaign.record["benchmarks"].get("parity_gate", {}))
    gate.setdefault("lanes", {})[lane.name] = figures
    campaign.fill("benchmarks", {"parity_gate": gate})
    return run


def add_sample(campaign: Campaign, sample: dict[str, Any]) -> None:
    """Append one lane's samples to the record and bring the ratios up to date."""
    samples = [*campaign.record["benchmarks"]["samples"], sample]
    timing = campaign.timing()
    campaign.fill(
        "benchmarks",
        {
            "samples": samples,
            "ratios": ratios(samples),
            "preliminary": True,  # no A/A lane yet: no detection limit stands beside a claim
            "lanes": {entry.name: entry.description for entry in LANES},
            "timing": asdict(timing),
            "environment": {**ALLOCATOR, **thread_environment(timing.threads)},
        },
    )


def ratios(samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the paired ratio of every two lanes for each work, over the blocks in which both ran."""
    found = []
    for work in sorted({sample["work"] for sample in samples}):
        medians = {
            (sample["lane"], sample["block"]): statistics.median(sample["seconds"])
            for sample in samples
            if sample["work"] == work
        }
        names = [entry.name for entry in LANES]
        for a, b in combinations(names, 2):
            blocks = sorted({block for lane, block in medians if lane == a and (b, block) in medians})
            if blocks:
                ratio = paired_ratio([medians[a, i] for i in blocks], [medians[b, i] for i in blocks])
                found.append({"work": work, "a": a, "b": b, **asdict(ratio), "preliminary": ratio.preliminary})
    return found
