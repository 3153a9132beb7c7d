"""Trained from the same weights on the same batches in the same order: how do the two fare?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("training")
FRAMEWORKS = ("tensorflow", "torch")
FILES = {
    "tensorflow": ["chest_xray_tf_model.keras", "chest_xray_tf_model.h5"],
    "torch": ["chest_xray_pt_model.pth", "chest_xray_pt_model.safetensors"],
}


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[str, Any]]:
    """The finished runs of this module, by framework."""
    return {}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_train(campaign: Campaign, runs: dict[str, dict[str, Any]], framework: str) -> None:
    from parity.study.training import TrainingPlan, save_models, train

    options, prepared = campaign.options, campaign.prepare()
    plan = TrainingPlan(options.epochs or options.amounts.epochs, batch=options.batch, seed=options.seed)
    pair = campaign.pair()
    pair.copy_weights(campaign.weights("fresh"))
    run = train(pair.workers[framework], framework, plan, prepared)
    run["models"] = save_models(pair.workers[framework], FILES[framework], options.report_dir / "models")
    runs[framework] = run
    images = len(prepared.labels("train"))
    campaign.fill(
        "training",
        {
            **vars(plan),
            "optimizer": "adam",
            "steps_per_epoch": plan.steps(images),
            "train_images": images,
            "runs": [{key: value for key, value in done.items() if key != "test_logits"} for done in runs.values()],
        },
    )
    assert len(run["step_loss"]) == plan.epochs * plan.steps(images)
    assert np.isfinite(run["step_loss"]).all()
    assert run["test"]["n"] == len(prepared.labels("test"))


def test_both_start_from_the_same_loss(campaign: Campaign, runs: dict[str, dict[str, Any]]) -> None:
    from parity.bench.gate import loss_of
    from parity.pair import forced, layer_inputs, measured_bounds
    from parity.study.training import TrainingPlan, agreement

    if set(runs) != set(FRAMEWORKS):
        pytest.skip("a framework did not finish its training")
    options, prepared = campaign.options, campaign.prepare()
    campaign.fill("training", {"same_predictions": agreement(runs["tensorflow"], runs["torch"])})
    plan = TrainingPlan(1, batch=options.batch, seed=options.seed)
    first = np.sort(plan.order(len(prepared.labels("train")), 0)[: plan.batch])
    pair = campaign.pair()
    pair.copy_weights(campaign.weights("fresh"))
    x = prepared.images("train")[first].astype(np.float32) / np.float32(255.0)
    layer, inputs = campaign.spec.layers[-2].name, layer_inputs(pair, x)
    findings = forced(pair, inputs)
    twin = pair.workers["twin_tensorflow"].call("forward", x=x)[layer].reshape(-1)
    exact, margin = loss_of(twin, prepared.labels("train")[first])
    # The logistic loss moves at most as far as its logit does.
    allowed = {
        framework: margin + float(np.mean(measured_bounds(pair, inputs, findings, framework)[layer]))
        for framework in FRAMEWORKS
    }
    errors = {framework: abs(runs[framework]["step_loss"][0] - exact) for framework in FRAMEWORKS}
    campaign.fill("training", {"first_loss": {"twin": exact, "allowed": allowed, "errors": errors}})
    over = [framework for framework in FRAMEWORKS if not errors[framework] <= allowed[framework]]
    assert not over, f"the first loss of {over} is off by {errors}, and rounding explains {allowed}"
