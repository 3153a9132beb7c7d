"""Trained from the same weights on the same batches in the same order: how do the two fare?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("training")
FRAMEWORKS = ("tensorflow", "torch")
IN_MEMORY = ("test_logits", "trained", "saved")
"""What the tests of this module hand on, and the record does not hold."""


@pytest.fixture(scope="module")
def runs() -> dict[str, dict[str, Any]]:
    """The finished runs of this module, by framework."""
    return {}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_train(campaign: Campaign, runs: dict[str, dict[str, Any]], framework: str) -> None:
    from parity.report.card import write_card
    from parity.saved import clear, describe, remember, save
    from parity.study.training import TrainingPlan, train

    options, prepared = campaign.options, campaign.prepare()
    folder = options.report_dir / "models"
    clear(framework, folder)
    plan = TrainingPlan(options.epochs or options.amounts.epochs, batch=options.batch, seed=options.seed)
    pair = campaign.pair()
    pair.copy_weights(campaign.weights("fresh"))
    run = train(pair.workers[framework], framework, plan, prepared)
    worker = pair.workers[framework]
    run["trained"] = remember(worker, campaign.spec, framework, run["test_logits"])
    run["saved"] = save(worker, framework, folder)
    run["models"] = [saved.path.name for saved in run["saved"]]
    runs[framework] = run
    images = len(prepared.labels("train"))
    campaign.fill(
        "training",
        {
            **vars(plan),
            "optimizer": "adam",
            "steps_per_epoch": plan.steps(images),
            "train_images": images,
            "network": _network(campaign),
            "runs": [{key: value for key, value in done.items() if key not in IN_MEMORY} for done in runs.values()],
            "models": [describe(saved) for done in runs.values() for saved in done["saved"]],
        },
    )
    write_card(campaign.record, folder)
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


def test_saved_models_reproduce_the_test_predictions(campaign: Campaign, runs: dict[str, dict[str, Any]]) -> None:
    """Each file, read by a process that never trained: native formats bit for bit, graphs within their bound."""
    from parity.judge.verdict import IDENTICAL, PASSING
    from parity.report.card import write_card
    from parity.saved import Reloading, reload
    from parity.workers.client import WorkerOptions

    if not runs:
        pytest.skip("no framework finished its training")
    options, pair = campaign.options, campaign.pair()
    runtime = WorkerOptions(
        "onnxruntime", python=options.onnxruntime_python, device=campaign.device, threads=options.threads
    )
    written = {row["file"]: row["sha256"] for row in campaign.record["training"]["models"]}
    found = reload(
        pair,
        {framework: run["trained"] for framework, run in runs.items()},
        [saved for run in runs.values() for saved in run["saved"]],
        Reloading(campaign.prepare(), options.batch, runtime, options.amounts.probe_batch),
    )
    campaign.fill("training", {"models": found})
    write_card(campaign.record, options.report_dir / "models")
    assert {row["file"]: row["sha256"] for row in found} == written
    exact = {IDENTICAL} if campaign.device == "cpu" else PASSING
    bad = [
        f"{row['file']}: {row['reload']['verdict']}. {row['reload']['note']}"
        for row in found
        if row["reload"]["verdict"] not in (PASSING if row["file"].endswith(".onnx") else exact)
    ]
    assert not bad, "; ".join(bad)
    assert len(found) == 3 * len(runs)


def _network(campaign: Campaign) -> dict[str, Any]:
    spec = campaign.spec
    return {
        "name": spec.name,
        "input": [spec.height, spec.width, spec.channels],
        "layers": [
            {
                "name": step.layer.name,
                "kind": step.layer.kind,
                "size": step.layer.size,
                "kernel": list(step.layer.kernel),
                "inputs": step.input_shape[-1],
            }
            for step in spec.shapes()
        ],
        "parameters": spec.parameters(),
    }
