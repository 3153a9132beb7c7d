"""Optimizer traps planted on purpose, and the promises that `parity.optimizers` makes to a porter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.judge.bound import UNIT_ROUNDOFF
from parity.model.optimizers import CASES
from parity.optimizers import KerasPlateau, keras_like, keras_rate, torch_like
from parity.pair import Pair
from parity.trials.optimizer_bounds import Tracked, exact
from parity.trials.optimizers import GROUPS, PLANTS, Plant, case_named, inputs, planted, run_case
from parity.workers.client import Worker, WorkerOptions

if TYPE_CHECKING:
    from parity.campaign import Campaign

ADAPTERS = Path(__file__).with_name("optimizer_adapters.py")
SIDES = {"tensorflow": "Keras", "torch": "Torch", "twin_tensorflow": "Keras", "twin_torch": "Torch"}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Mapping[str, Worker]]:
    """Both frameworks, in float32 and as float64 twins."""
    made = {
        side: Worker(WorkerOptions(f"{ADAPTERS}:{kind}", role="twin" if side.startswith("twin") else "plain"))
        for side, kind in SIDES.items()
    }
    with ThreadPoolExecutor(len(made)) as pool:
        list(pool.map(lambda worker: worker.start(), made.values()))
    yield made
    for worker in made.values():
        worker.close()


@pytest.mark.section("kill_matrix")
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.trap)
def test_planted_traps_are_caught_at_their_stage(run_record: Campaign, small_workers: Pair, plant: Plant) -> None:
    row = planted(small_workers.workers, plant)
    run_record.append("kill_matrix", [row])
    assert row["caught"], row


def test_every_optimizer_trap_is_planted() -> None:
    named = {trap for case in CASES for trap in case.traps}
    assert named <= {plant.trap for plant in PLANTS}


def test_a_pair_without_fault_is_not_accused(workers: Mapping[str, Worker]) -> None:
    plant = Plant(
        "none", "adam-plain", {"setup": case_named("adam-plain").keras.to_dict(), "form": "keras_like"}, "slot"
    )
    assert planted(workers, plant, steps=20)["seen_at"] is None


@pytest.mark.parametrize("name", ["nadam-plain", "sgd-l2-penalty", "adam-cosine-decay"])
def test_other_gradients_and_unrepaired_doubles_agree_too(workers: Mapping[str, Worker], name: str) -> None:
    outcome = run_case(workers, case_named(name), inputs(40, seed=7), doubles=True)
    assert [finding.message() for finding in outcome.findings if not finding.passed] == []
    assert {row["gradients"] for row in outcome.rows} <= set(GROUPS)


def test_float32_constants_are_really_in_an_unrepaired_double(workers: Mapping[str, Worker]) -> None:
    # Keras's own float64 Adam against the exact formula: were it exact, `keras_like` could do without its default.
    case, given = case_named("adam-plain"), inputs(50)
    arguments: dict[str, Any] = {
        "optimizer": "adam", "setup": case.keras.to_dict(), "weights": dict(given.weights),
        "gradients": dict(given.gradients), "dtype": "float64",
    }  # fmt: skip
    mine = workers["tensorflow"].call("optimizer_run", **arguments)["weights"]["kernel"]
    same, other = (
        workers["torch"].call("optimizer_run", form="keras_like", exact_constants=flag, **arguments)["weights"][
            "kernel"
        ]
        for flag in (False, True)
    )
    assert np.array_equal(mine, same)
    assert np.abs(mine - other).max() > 1e-9


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {"amsgrad": True, "global_clipnorm": 0.5}),
        ("nadam", {"weight_decay": 0.01}),
        ("rmsprop", {"centered": True, "momentum": 0.9}),
        ("adagrad", {}),
        ("adadelta", {}),
    ],
)
@pytest.mark.parametrize("side", ["torch", "twin_torch"])
def test_a_resumed_run_is_bit_identical(
    workers: Mapping[str, Worker], side: str, name: str, config: dict[str, Any]
) -> None:
    gradients = np.random.default_rng(1).standard_normal((20, 3, 4))
    for schedule in (False, True):
        found = workers[side].call("resume", name=name, config=config, gradients=gradients, schedule=schedule)
        assert np.array_equal(found["whole"], found["resumed"])
        assert not np.array_equal(found["whole"], np.ones((3, 4)))


def test_keras_like_has_the_manners_of_a_torch_optimizer(workers: Mapping[str, Worker]) -> None:
    found = workers["twin_torch"].call("manners")
    assert found["optimizer"] is True
    assert found["loss"] == 16.0
    assert found["moved"] == [True, False]
    assert found["rates"] == [0.05, 0.0]
    assert found["copies"] == [1, 1]


@pytest.mark.parametrize(
    ("name", "config"),
    [("Adam", {"lr": 0.01}), ("AdamW", {}), ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.1})],
)
def test_torch_like_trains_through_fit_and_survives_saving(
    workers: Mapping[str, Worker], tmp_path: Path, name: str, config: dict[str, Any]
) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((32, 3)), rng.standard_normal((32, 1))
    start = {"kernel": rng.standard_normal((3, 1)), "bias": np.zeros(1)}
    given: dict[str, Any] = {"name": name, "config": config, "x": x, "y": y, "start": start, "epochs": 3}
    keras = workers["twin_tensorflow"].call("fit", path=str(tmp_path / "model.keras"), **given)
    torch = workers["twin_torch"].call("fit", **given)
    for mine, reloaded, theirs in zip(keras["weights"], keras["reloaded"], torch, strict=True):
        assert np.abs(mine - theirs).max() < 64 * 16 * UNIT_ROUNDOFF["float64"]  # 16 steps of a handful of sums
        assert np.array_equal(mine, reloaded)


@pytest.mark.parametrize("side", ["", "twin_"])
def test_biased_running_variance_is_keras(workers: Mapping[str, Worker], side: str) -> None:
    batches = np.random.default_rng(3).standard_normal((6, 2, 3, 4, 5)) * 3.0 + 1.0
    first = np.moveaxis(batches, -1, 2)
    keras = workers[f"{side}tensorflow"].call("normalise", batches=batches, momentum=0.9)
    mine, stock = (
        workers[f"{side}torch"].call("normalise", batches=first, momentum=0.1, biased=biased)
        for biased in (True, False)
    )
    u = UNIT_ROUNDOFF["float64" if side else "float32"]
    scale = np.abs(keras["variance"]).max()
    allowed = 6 * (24 + 8) * u * scale  # per batch: two passes over 24 values, and a handful of operations
    assert np.abs(keras["variance"] - mine["variance"]).max() <= allowed
    assert np.abs(keras["variance"] - stock["variance"]).max() > 1e-3 * scale
    assert np.abs(keras["mean"] - mine["mean"]).max() <= allowed
    assert not np.array_equal(mine["variance"], mine["after_removal"])


def test_biased_running_variance_follows_a_cumulative_average(workers: Mapping[str, Worker]) -> None:
    batches = np.random.default_rng(4).standard_normal((3, 2, 3, 4, 5))
    found = workers["twin_torch"].call("normalise", batches=batches, momentum=None, biased=True)
    expected = batches.var(axis=(1, 3, 4)).mean(axis=0)
    assert np.abs(found["variance"] - expected).max() < 1e-14


def test_per_step_epsilon_is_kerases(workers: Mapping[str, Worker]) -> None:
    found = workers["twin_torch"].call("epsilon_handle")
    assert found["seen"] == [1e-7 / (1.0 - 0.999**step) ** 0.5 for step in (1, 2, 3)]
    assert found["after"] == 1e-8


def test_per_step_epsilon_makes_stock_adam_keras(workers: Mapping[str, Worker]) -> None:
    case, given = case_named("adam-plain"), inputs(60)
    arguments: dict[str, Any] = {
        "optimizer": "adam", "weights": dict(given.weights), "gradients": dict(given.gradients)
    }  # fmt: skip
    keras = workers["twin_tensorflow"].call("optimizer_run", setup=case.keras.to_dict(), **arguments)["weights"]
    stock, repaired = (
        workers["twin_torch"].call(
            "optimizer_run", setup=case.torch_matched.to_dict(), per_step_epsilon=epsilon, **arguments
        )["weights"]
        for epsilon in (None, 1e-7)
    )
    for name, expected in keras.items():
        # 60 steps of ten operations each, amplified by 1/(1 - 0.999) = 1000 in the bias correction.
        assert np.abs(repaired[name] - expected).max() < 1000 * 600 * UNIT_ROUNDOFF["float64"] * np.abs(expected).max()
        assert np.abs(stock[name] - expected).max() > 1e-7 * np.abs(expected).max()


SCHEDULES: list[tuple[str, str, dict[str, Any]]] = [
    ("exponential_decay", "ExponentialDecay", {"decay_steps": 20, "decay_rate": 0.9}),
    ("inverse_time_decay", "InverseTimeDecay", {"decay_steps": 20, "decay_rate": 0.9, "staircase": True}),
    ("polynomial_decay", "PolynomialDecay", {"decay_steps": 50, "power": 2.0, "cycle": True}),
    ("polynomial_decay", "PolynomialDecay", {"decay_steps": 50}),
    ("cosine_decay", "CosineDecay", {"decay_steps": 90, "alpha": 0.1, "warmup_target": 0.01, "warmup_steps": 20}),
    ("cosine_decay_restarts", "CosineDecayRestarts", {"first_decay_steps": 30, "t_mul": 1.0, "m_mul": 0.9}),
    ("cosine_decay_restarts", "CosineDecayRestarts", {"first_decay_steps": 10, "t_mul": 2.0}),
    ("piecewise_constant_decay", "PiecewiseConstantDecay", {"boundaries": [10, 20], "values": [0.1, 0.01, 0.001]}),
]


@pytest.mark.parametrize(
    ("name", "kind", "words"), SCHEDULES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_schedules_are_kerases(workers: Mapping[str, Worker], name: str, kind: str, words: dict[str, Any]) -> None:
    if name != "piecewise_constant_decay":
        words = {**words, "initial_learning_rate": 1e-3}
    expected = workers["tensorflow"].call("rates", kind=kind, words=words, steps=120)
    found = np.array([keras_rate(name, step, **words) for step in range(120)])
    assert np.abs(found - expected).max() <= 8 * UNIT_ROUNDOFF["float32"] * expected.max()


def test_what_cannot_be_meant_is_refused(workers: Mapping[str, Worker]) -> None:
    assert len(workers["torch"].call("refused")) == 9
    for bad in ({"name": "lamb"}, {"name": "adam", "learning_rate": 0.1}, {"name": "sgd", "nesterov": True}):
        with pytest.raises(UsageError):
            torch_like(**bad)
    with pytest.raises(UsageError, match="lion"):
        keras_like("lion", [])
    with pytest.raises(UsageError, match="missing"):
        keras_rate("cosine_decay", 0)


def test_a_resumed_plateau_goes_on() -> None:
    class Optimizer:
        def __init__(self) -> None:
            self.param_groups = [{"lr": 1.0}]

    first: Any = Optimizer()
    whole = KerasPlateau(first, factor=0.5, patience=2, cooldown=1)
    values = [1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6]
    for value in values[:4]:
        whole.step(value)
    second: Any = Optimizer()
    second.param_groups[0]["lr"] = first.param_groups[0]["lr"]
    resumed = KerasPlateau(second, factor=0.5, patience=2, cooldown=1)
    resumed.load_state_dict(whole.state_dict())
    for value in values[4:]:
        whole.step(value)
        resumed.step(value)
    assert whole.get_last_lr() == resumed.get_last_lr() == [0.25]


def test_the_module_imports_no_framework() -> None:
    code = (
        "import sys, parity.optimizers\n"
        "print([name for name in ('torch', 'tensorflow', 'keras', 'triton') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_running_errors_cover_what_float32_really_does() -> None:
    u = UNIT_ROUNDOFF["float32"]
    a, b = (RNG.uniform(0.1, 2.0, 2000).astype(np.float32) for _ in range(2))

    def formula(x: Any, y: Any, root: Any) -> Any:
        return (x * y - y) / (root(x * x + y) + 1.0)

    rough = formula(a, b, np.sqrt).astype(np.float64)
    fine = formula(exact(a, u), exact(b, u), Tracked.root)
    error = np.abs(rough - fine.value)
    assert (error <= fine.error).all()
    assert error.max() > 0.01 * fine.error.max()  # and is no empty promise
