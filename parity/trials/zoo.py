"""Is a layer kind the same in both frameworks: weights, forward, backward, one step, training and evaluation mode?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parity.judge.compare import VANISHING
from parity.judge.verdict import SEMANTIC, Finding, overall
from parity.model.network import Network
from parity.pair import Pair, same_bits
from parity.trials.networks import (
    STAGES,
    NetworkPair,
    Staged,
    forced,
    probe_inputs,
    probe_weights,
    propagated,
    upstream_of,
)

BATCH = 3
# Kinds that mean something else in training than in evaluation: both are differentiated.
TWO_MODES = frozenset({"batch_norm", "dropout"})


def examine(workers: Pair, network: Network, seed: int = 0) -> list[Staged]:
    """Return the findings of a network under one seed: forced in both modes, one training step, evaluation after it."""
    pair = NetworkPair(workers, network, seed=seed)
    pair.copy_weights(probe_weights(pair, seed))
    inputs, upstream = probe_inputs(network, BATCH, seed), upstream_of(pair, BATCH, seed)
    found = forced(pair, inputs, upstream, training=True)
    if any(node.kind in TWO_MODES for node in network.nodes):
        found += forced(pair, inputs, upstream, training=False)
    if pair.weights or len(network.nodes) > 1:
        found += propagated(pair, inputs, {"kind": "linear", "upstream": upstream})
    return found


def round_trip(workers: Pair, network: Network, seed: int = 0) -> list[Finding]:
    """Return one finding per weight: torch's own initial weights, carried to TensorFlow and back, bit for bit."""
    pair = NetworkPair(workers, network, seed=seed + 1)
    start = workers.workers["torch"].call("get_network_weights")
    pair.copy_weights(pair.to_tensorflow(start))
    held = workers.workers["tensorflow"].call("get_network_weights")
    back = pair.to_torch(held)
    return [same_bits(name, start[name], back[name]) for name in start]


def rows(network: Network, found: Iterable[Staged]) -> list[dict[str, Any]]:
    """Return a line per check and stage for the record: how many tensors, and the figures of the worst of them."""
    listed, lines = list(found), []
    for check in ("forced", "propagated"):
        for stage in STAGES:
            own = [s.finding for s in listed if (s.check, s.stage) == (check, stage)]
            if own:
                lines.append({"model": network.name, "check": check, "stage": stage, **summary(own)})
    return lines


def summary(findings: list[Finding]) -> dict[str, Any]:
    """Return the verdict on several tensors together: that of the worst one, which is named, with its own figures.

    Where all agree, d64 and share are the largest of any tensor; of those that are zero but for rounding, whose
    figures are fractions of something else, only when there are no others.
    """
    verdict = overall(findings)
    same = [f for f in findings if f.verdict == verdict]
    worst = max(same, key=lambda f: (f.d64 or 0.0) if verdict == SEMANTIC else (f.share or 0.0))
    figures = {key: getattr(worst, key) for key in ("d64", "d32", "error_tensorflow", "error_torch", "bound", "share")}
    if worst.passed:
        plain = [f for f in findings if f.note != VANISHING] or findings
        for key in ("d64", "share"):
            figures[key] = max((value for f in plain if (value := getattr(f, key)) is not None), default=None)
    return {
        "verdict": verdict,
        "tensors": len(findings),
        "kind": worst.kind,
        "tensor": worst.tensor,
        **figures,
        "notes": sorted({f.note for f in findings if f.note}),
    }
