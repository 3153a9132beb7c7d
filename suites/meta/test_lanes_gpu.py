"""Torch's lanes on a GPU: facts, gate, and a clock that did not wait for the device."""

from __future__ import annotations

import numpy as np
import pytest

from parity.bench.devices import cuda_devices
from parity.bench.lanes import Lane, chosen
from parity.bench.run import Setting, Timing, open_lane
from parity.errors import ParityError
from parity.model.spec import example_cnn
from parity.pair import probe_weights
from parity.pairing.weights import to_torch
from suites.meta.test_lanes_torch import EVALUATE, FAULTY, TRAIN, opened, proven, stepped, twin_losses

pytestmark = pytest.mark.skipif(cuda_devices() == 0, reason="no CUDA device is visible")
__all__ = ["twin_losses"]


@pytest.mark.parametrize("entry", chosen("full", "gpu", ["torch"]), ids=lambda entry: entry.name)
def test_a_lane_on_the_gpu_does_what_it_says(entry: Lane, twin_losses: list[float]) -> None:
    run = opened(entry, device="gpu")
    try:
        facts, precision = run.facts, entry.options.get("precision", "float32")
        assert facts["tf32"] == (precision == "tf32")
        assert facts["autocast"] == (precision in ("bfloat16", "float16"))
        assert facts["grad_scaler"] == (precision == "float16")
        assert facts["jit_compile"] == (entry.options["run"] in ("compile", "graphs"))
        assert "cudnn_benchmark" in facts
        proven(run)
        stepped(run, twin_losses)
        run.warm_up(TRAIN)
        run.round(TRAIN)
        run.warm_up(EVALUATE)
        run.round(EVALUATE)
        done = run.rounds[TRAIN][0]
        assert 0 < done["device_s"] <= done["seconds"] * 1.05
        assert run.sample(TRAIN)["device_peak_bytes"] > 0
        assert run.phases(TRAIN)["forward_s"]
    finally:
        run.close()


def test_a_clock_that_does_not_wait_for_the_gpu_is_refused() -> None:
    # Large enough that the device is still at work when all launches have returned.
    spec, setting = example_cnn(150, 150, 3), Setting("train", 512, 150, 150, 3)
    drawn = np.random.default_rng(0)
    batch = drawn.integers(0, 256, (512, 150, 150, 3)).astype(np.uint8), drawn.integers(0, 2, 512).astype(np.uint8)
    entry = Lane("torch-eager", FAULTY, "step", "", {"run": "eager"})
    weights = to_torch(probe_weights(spec), spec)
    run = open_lane(entry, spec, weights, batch, Timing(batch=512, steps_per_round=2, device="gpu"), (0, 0))
    try:
        run.first_step(setting)
        run.round(setting)  # an honest clock passes
        run.worker.call("plant", fault="hurry")
        with pytest.raises(ParityError, match="the clock did not wait for it"):
            run.round(setting)
    finally:
        run.close()
