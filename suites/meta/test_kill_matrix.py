"""The kill matrix: every trap planted in a correct pair must be seen, at the stage and tensor where it was planted."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from parity.model import zoo
from parity.pair import Pair
from parity.trials import kills

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("kill_matrix")
PLANTS = kills.plants()
STEP_PLANTS = kills.step_plants()
LAYER_TRAPS = {
    "flatten-order", "kernel-layout", "kernel-spatial-swap", "kernel-flip", "depthwise-channel-order",
    "same-padding-stride", "pool-padding", "avgpool-count-pad", "conv-transpose-crop", "pixel-shuffle-order",
    "dilation-or-groups", "resize-coordinates", "axis-mismatch", "batchnorm-eps", "batchnorm-mode",
    "batchnorm-stats-swap", "layernorm-eps", "groupnorm-groups", "norm-axes", "l2-normalize-eps", "gelu-approximation",
    "leaky-slope", "prelu-sharing", "elu-selu-alpha", "softplus-threshold", "hard-sigmoid-slope", "relu6-missing",
    "lstm-gate-order", "gru-gate-order", "gru-reset-after", "bias-missing-or-doubled", "attention-mask-polarity",
    "attention-scale-or-heads", "embedding-offset", "embedding-padding-index", "dropout-active", "dropout-rng",
    "input-scale", "channel-order", "activation-missing", "activation-extra", "residual-scale", "weight-wrong-layer",
    "weight-scale", "output-permutation", "batchnorm-momentum", "batchnorm-running-variance", "batchnorm-frozen",
    "init-distribution",
}  # fmt: skip
NAMES = [f"{plant.name} ({index})" for index, plant in enumerate(PLANTS)]


@pytest.fixture(scope="module")
def known() -> dict[str, list[str]]:
    """The alarms of the correct pairs that were checked already."""
    return {}


@pytest.mark.parametrize("plant", PLANTS, ids=NAMES)
def test_planted_trap_is_seen_where_it_is(
    run_record: Campaign, small_workers: Pair, known: dict[str, list[str]], plant: kills.Plant
) -> None:
    kill = kills.run(small_workers, plant, known=known)
    run_record.append("kill_matrix", [asdict(kill)])
    assert kill.caught, f"{plant.trap} planted at {kill.planted_at}: seen at {kill.seen_at}. {kill.note}"


@pytest.mark.parametrize("plant", STEP_PLANTS, ids=lambda plant: f"{plant.trap}-{plant.stage}")
def test_planted_trap_of_a_step_is_seen_at_its_stage(
    run_record: Campaign, small_workers: Pair, plant: kills.StepPlant
) -> None:
    kill = kills.run_step(small_workers, plant)
    run_record.append("kill_matrix", [asdict(kill)])
    assert kill.caught, f"{plant.trap} expected at stage {plant.stage}, seen at {kill.stage}. {kill.note}"


def test_every_trap_that_one_layer_can_show_is_planted() -> None:
    # Every id of the families forward, backward and state, as TRAPS names them; a new one belongs into the bank.
    assert {plant.trap for plant in PLANTS} >= LAYER_TRAPS


def test_a_network_without_a_fault_is_no_kill(small_workers: Pair) -> None:
    kill = kills.run(small_workers, kills.Plant("nothing", zoo.small_cnn(), "conv1"))
    assert (kill.caught, kill.seen_at, kill.note) == (False, None, "")


def test_a_fault_elsewhere_is_no_kill(small_workers: Pair) -> None:
    wrong = kills.Plant("activation-missing", zoo.small_cnn(), "relu2", spoil=kills._on("conv1.bias", lambda b: b + 1))
    kill = kills.run(small_workers, wrong)
    assert (kill.caught, kill.seen_at) == (False, "conv1")


@pytest.mark.parametrize("part", range(10))
def test_correct_pairs_raise_no_alarm(pytestconfig: pytest.Config, small_workers: Pair, part: int) -> None:
    """Over 200 seeds in the full profile; each seed examines one layer kind and one small network."""
    from parity.trials.networks import raise_for
    from parity.trials.zoo import examine

    singles, networks = zoo.kinds(), zoo.small_networks()
    for seed in range(part, 200 if pytestconfig.getoption("profile") == "full" else 10, 10):
        for network in (singles[(7 * seed) % len(singles)], networks[seed % len(networks)]):
            raise_for(examine(small_workers, network, seed=1000 + seed))
