"""The bound on a logit that guards every timing and every training run: sharp enough to see a wrong port."""

from __future__ import annotations

import numpy as np
import pytest

from parity.bench.gate import prove
from parity.errors import ParityError
from parity.model.spec import example_cnn
from parity.pair import Pair, forced, layer_inputs, measured_bounds, noise_probe, probe_weights


@pytest.mark.whole_run
@pytest.mark.parametrize("side", ["tensorflow", "torch"])
def test_a_small_fault_leaves_the_measured_bound_of_a_long_reduction(small_pair: Pair, side: str) -> None:
    spec = example_cnn(150, 150)
    labels = np.array([0, 1, 1])
    weights = probe_weights(spec, seed=3)
    small_pair.build(spec)
    small_pair.copy_weights(weights)
    x = noise_probe(spec, 3)
    inputs = layer_inputs(small_pair, x)
    findings = forced(small_pair, inputs)
    allowed = measured_bounds(small_pair, inputs, findings, side)["dense2"].reshape(-1)
    twin = small_pair.workers["twin_tensorflow"].call("forward", x=x)["dense2"].reshape(-1)
    fed = x if side == "tensorflow" else np.ascontiguousarray(np.moveaxis(x, -1, 1))
    worker = small_pair.workers[side]

    def through_the_gate() -> dict[str, object]:
        worker.call("place_batch", x=fed, y=labels.astype(np.float32))
        return prove(side, worker.call("resident_logits"), worker.call("loss"), labels, twin, allowed)

    assert through_the_gate()["logit_error"]  # the correct lane passes, with an error that is not zero
    assert allowed.max() < 0.01 * np.abs(twin).max()

    faulty = {**weights, "dense2/bias": weights["dense2/bias"] + np.float32(0.02) * np.abs(twin).max()}
    small_pair.copy_weights({name: value.astype(np.float32) for name, value in faulty.items()})
    with pytest.raises(ParityError, match="is not timed: its logits are up to"):
        through_the_gate()

    small_pair.copy_weights(weights)
    fed = fed[::-1].copy()  # the right images in another order
    with pytest.raises(ParityError, match="is not timed: its logits are up to"):
        through_the_gate()
