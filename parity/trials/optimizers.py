"""Optimizers: given the same gradients, does torch take the very steps that Keras takes?

No network is involved: both sides get the same float64 gradient arrays, step by step. Every case is run with each
framework's defaults, with all numbers equal in stock optimizers, and through the exact adapters of
`parity.optimizers`, both ways. The verdict is that of the adapters; the other two are reported, and judged only where a
case claims that they are the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity.errors import UsageError
from parity.judge.bound import UNIT_ROUNDOFF
from parity.judge.compare import Quartet, judge, missing
from parity.judge.verdict import Finding, overall
from parity.model.layout import Array
from parity.model.optimizers import CASES, METRICS, SHAPES, TINY, OptimizerCase, Setup
from parity.optimizers import KERAS_DEFAULTS, TORCH_DEFAULTS
from parity.trials.optimizer_bounds import Run, rate_error
from parity.workers.client import Worker

Workers = Mapping[str, Worker]
"""By side, as in `parity.pair.SIDES`."""

Answer = Mapping[str, Any]
STEPS: Mapping[str, int] = {"smoke": 25, "standard": 200, "full": 800}
"""Steps by profile. A schedule that acts later than the last step is not exercised by a smoke run."""

STAGES = ("schedule", "slot", "update")
"""In the order in which a step makes them: its rate, the slots from the gradient, the update from the slots."""

U64, U32 = UNIT_ROUNDOFF["float64"], UNIT_ROUNDOFF["float32"]
GROUPS: Mapping[str, tuple[str, ...]] = {"ordinary": ("kernel", "bias"), "tiny": ("tiny",)}


@dataclass(frozen=True)
class Inputs:
    """What every side is given: weights by variable, and gradients (steps, *shape); float64 that float32 holds too."""

    weights: Mapping[str, Array]
    gradients: Mapping[str, Array]

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(next(iter(self.gradients.values())))

    def only(self, names: Iterable[str]) -> Inputs:
        """Return the same for some of the variables."""
        kept = list(names)
        return Inputs({n: self.weights[n] for n in kept}, {n: self.gradients[n] for n in kept})


def inputs(steps: int, seed: int = 0) -> Inputs:
    """Return weights of size 1 and gradients whose scale differs by element and drifts over time.

    The variable with tiny gradients starts as tiny: added to weights of size 1, its steps would drown in rounding.
    """
    rng = np.random.default_rng(seed)
    size = {name: TINY if name == "tiny" else 1.0 for name in SHAPES}
    weights = {name: _float32(rng.standard_normal(shape) * size[name]) for name, shape in SHAPES.items()}
    gradients = {}
    for name, shape in SHAPES.items():
        scale = rng.uniform(0.05, 1.0, shape) * size[name]
        drift = (1.0 + 0.5 * np.sin(np.arange(steps) / 17.0)).reshape(-1, *[1] * len(shape))
        gradients[name] = _float32((rng.standard_normal((steps, *shape)) + 0.3) * scale * drift)
    return Inputs(weights, gradients)


@dataclass(frozen=True)
class Outcome:
    """What became of one case: the record's rows, and every finding behind their verdicts."""

    rows: list[dict[str, Any]]
    findings: list[Finding] = field(default_factory=list)
    claimed: list[Finding] = field(default_factory=list)


def case_named(name: str) -> OptimizerCase:
    """Return a case by its name.

    Raises:
        UsageError: there is none.
    """
    for case in CASES:
        if case.name == name:
            return case
    raise UsageError(f"no optimizer case `{name}`")


def run_case(workers: Workers, case: OptimizerCase, given: Inputs, doubles: bool = True) -> Outcome:
    """Return rows and findings of one case, all sides asked side by side.

    `doubles`: also run a Keras whose float64 holds float32 constants, as a user's does.
    """
    given = given if case.tiny else given.only(GROUPS["ordinary"])
    asked = {side: _requests(side, case, doubles) for side in workers}
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = {
            side: pool.submit(_ask_all, workers[side], case, given, requests) for side, requests in asked.items()
        }
        answers = {side: future.result() for side, future in futures.items()}
    answers["torch"] = {name: _counted(case, answers["tensorflow"]["stock"], a) for name, a in answers["torch"].items()}
    counted = _counted(case, answers["tensorflow"]["stock"], answers["twin_torch"]["adapted"])
    answers["twin_torch"] = {**answers["twin_torch"], "adapted": counted}
    keras, torch = answers["twin_tensorflow"], answers["twin_torch"]
    bound64 = _bounds(case, given, keras["stock"], "keras", U64)
    found = compare_adapted(case, given, answers, bound64)
    found += compare_reversed(case, given, keras, torch)
    if doubles:
        found += compare_own_doubles(case, given, answers, bound64)
    claimed = [
        replace(finding, tensor=f"{mode}:{finding.tensor}")
        for mode in case.claims
        for finding in _twins_only(keras["stock"], torch[mode], bound64, ("update",))
    ]
    groups = [group for group in GROUPS if group == "ordinary" or case.tiny]
    return Outcome([_row(case, group, given, answers, found, bound64["update"]) for group in groups], found, claimed)


def _requests(side: str, case: OptimizerCase, doubles: bool) -> dict[str, dict[str, Any]]:
    """Return what one side runs, by name."""
    stock: dict[str, Any] = {"setup": case.keras.to_dict()}
    adapted = _adapted(case)
    if side == "tensorflow":
        return {"stock": stock} | ({"double": {**stock, "dtype": "float64"}} if doubles else {})
    if side == "torch":
        double = {**_adapted(case, exact=False), "dtype": "float64", "exact_constants": False}
        return {"adapted": adapted} | ({"double": double} if doubles else {})
    if side == "twin_tensorflow":
        backward = {"setup": case.torch_matched.to_dict(), "form": "torch_like"}
        return {"stock": stock} | ({"torch_like": backward} if _reversible(case) else {})
    matched = {"setup": case.torch_matched.to_dict()}
    return {"default": {"setup": case.torch_default.to_dict()}, "matched": matched, "adapted": adapted}


def _adapted(case: OptimizerCase, exact: bool = True) -> dict[str, Any]:
    if case.adapted == "keras_like":
        return {"setup": case.keras.to_dict(), "form": "keras_like"}
    setup = case.torch_matched
    # Keras's regularizer keeps its factor in float32, unless the twin's worker repaired that.
    factor = case.l2_matched if exact or case.l2_matched is None else float(np.float32(case.l2_matched))
    config = {**setup.config, "weight_decay": factor}
    return {"setup": replace(setup, config=config).to_dict(), "keras_slots": True}


def _reversible(case: OptimizerCase) -> bool:
    """Whether `torch_like` can be told all of it: torch's own schedules live outside of its optimizers."""
    schedule = case.torch_matched.schedule
    return schedule is None or schedule["kind"] == "drop"


def _ask_all(
    worker: Worker, case: OptimizerCase, given: Inputs, requests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Answer]:
    return {name: _ask(worker, case, given, request) for name, request in requests.items()}


def _ask(worker: Worker, case: OptimizerCase, given: Inputs, request: Mapping[str, Any]) -> Answer:
    found: Answer = worker.call(
        "optimizer_run", optimizer=case.optimizer, weights=dict(given.weights), gradients=dict(given.gradients),
        metrics=list(METRICS), **request,
    )  # fmt: skip
    return found


def compare_adapted(
    case: OptimizerCase, given: Inputs, answers: Mapping[str, Mapping[str, Answer]], bound64: Mapping[str, Any]
) -> list[Finding]:
    """Return one finding per rate, slot and weight: Keras against the adapter, in float32 and as twins."""
    four = [
        answers[side][name]
        for side, name in (
            ("tensorflow", "stock"), ("torch", "adapted"), ("twin_tensorflow", "stock"), ("twin_torch", "adapted"),
        )
    ]  # fmt: skip
    return _judged(four, _bounds(case, given, four[2], "keras", U32), bound64, STAGES)


def compare_reversed(
    case: OptimizerCase, given: Inputs, keras: Mapping[str, Answer], torch: Mapping[str, Answer]
) -> list[Finding]:
    """Return one finding per rate, slot and weight of `torch_like` against stock torch, as twins."""
    if "torch_like" not in keras:
        return []
    bounds = _bounds(case, given, torch["matched"], "torch", U64)
    theirs = _counted(case, keras["torch_like"], torch["matched"])
    return [
        replace(finding, tensor=f"torch_like:{finding.tensor}")
        for finding in _twins_only(keras["torch_like"], theirs, bounds, STAGES)
    ]


def compare_own_doubles(
    case: OptimizerCase, given: Inputs, answers: Mapping[str, Mapping[str, Answer]], bound64: Mapping[str, Any]
) -> list[Finding]:
    """Return one finding per rate, slot and weight in an unrepaired Keras, whose doubles hold float32 constants."""
    mine, theirs = answers["tensorflow"]["double"], answers["torch"]["double"]
    bounds = _bounds(case, given, mine, "keras", U64, rate_roundoff=U32) if case.keras.schedule else bound64
    return [
        replace(finding, tensor=f"own-double:{finding.tensor}") for finding in _twins_only(mine, theirs, bounds, STAGES)
    ]


def _twins_only(mine: Answer, theirs: Answer, bounds: Mapping[str, Any], stages: Iterable[str]) -> list[Finding]:
    """Judge two float64 runs; standing in for their own float32 twins, they can only fail as twins."""
    return _judged([mine, theirs, mine, theirs], bounds, bounds, stages)


def _bounds(
    case: OptimizerCase, given: Inputs, twin: Answer, form: str, u: float, rate_roundoff: float | None = None
) -> dict[str, Any]:
    """Return the errors allowed by stage and tensor, for Keras's formula or torch's, in precision `u`.

    A schedule is computed in float32 by a Keras left to itself, even in a float64 run: `rate_roundoff`.
    """
    setup = case.keras if form == "keras" else case.torch_matched
    defaults = (KERAS_DEFAULTS if form == "keras" else TORCH_DEFAULTS)[case.optimizer]
    config = {**defaults, **setup.config}
    if form == "keras":
        config = {name: value for name, value in config.items() if name != "learning_rate"}
    rates = np.asarray(twin["rates"])
    scheduled = setup.schedule is not None and setup.schedule["kind"] not in ("drop", "plateau")
    error = rate_error(setup.schedule, rates, (rate_roundoff or u) if scheduled else u)
    run = Run(
        form, case.optimizer, config, setup.clip, setup.l2, given.weights, given.gradients, rates, error
    )  # fmt: skip
    found = run.bounds(u)
    constant = u * np.abs(rates) if u > U64 else 0.0
    return {
        "schedule": {"rate": error + constant},
        "slot": {**found["slots"], "iterations": np.zeros(())},
        "update": found["weights"],
    }


def _judged(
    four: list[Answer], bound32: Mapping[str, Any], bound64: Mapping[str, Any], stages: Iterable[str]
) -> list[Finding]:
    findings = []
    for stage in stages:
        tables = [_tensors(answer, stage) for answer in four]
        for name in sorted(set().union(*tables)):
            tensor = f"{stage}:{name}"
            absent = [
                side for side, table in zip(("tensorflow", "torch") * 2, tables, strict=True) if name not in table
            ]
            if absent:
                findings.append(missing(tensor, stage, absent[0]))
                continue
            quartet = Quartet(*(np.atleast_1d(table[name]) for table in tables))
            limits = (np.atleast_1d(bound[stage].get(name, 0.0)) for bound in (bound32, bound64))
            findings.append(judge(tensor, stage, quartet, *limits))
    return findings


def _tensors(answer: Answer, stage: str) -> Mapping[str, Array]:
    if stage == "schedule":
        return {"rate": answer["rates"]}
    found: Mapping[str, Array] = answer["slots" if stage == "slot" else "weights"]
    return found


def _row(
    case: OptimizerCase,
    group: str,
    given: Inputs,
    answers: Mapping[str, Mapping[str, Answer]],
    found: list[Finding],
    bound: Mapping[str, Array],
) -> dict[str, Any]:
    keras, torch, names, start = answers["twin_tensorflow"], answers["twin_torch"], GROUPS[group], given.weights
    own = [f for f in found if f.tensor.rpartition("/")[2].rpartition(":")[2] not in _others(group)]
    moved = _movement(keras["stock"]["weights"], start, names)
    modes = ("default", "matched", "adapted")
    return {
        "optimizer": case.optimizer,
        "variant": case.variant,
        "gradients": group,
        "steps": given.steps,
        **{mode: _gap(torch[mode], keras["stock"], start, names) for mode in modes},
        "adapted_bound": 2.0 * max(float(bound[name].max()) for name in names) / moved if moved else None,
        "reverse": _between(keras, "torch_like", torch, "matched", start, names),
        "own_double": _between(answers["torch"], "double", answers["tensorflow"], "double", start, names),
        "float32": _gap(answers["torch"]["adapted"], answers["tensorflow"]["stock"], start, names),
        "share_float32": max((f.share or 0.0 for f in own if f.tensor.startswith("update:")), default=None),
        "first_step_gaps": {mode: _gap(torch[mode], keras["stock"], start, names, "first") for mode in modes},
        "rate_gaps": {mode: float(np.abs(torch[mode]["rates"] - keras["stock"]["rates"]).max()) for mode in modes},
        "claims": list(case.claims),
        "formula": case.formula,
        "traps": list(case.traps),
        "verdict": overall(own),
        "comparisons": len(own),
    }


def _between(
    mine: Mapping[str, Answer],
    name: str,
    base: Mapping[str, Answer],
    other: str,
    start: Mapping[str, Array],
    names: Iterable[str],
) -> float | None:
    return _gap(mine[name], base[other], start, list(names)) if name in mine and other in base else None


def _others(group: str) -> frozenset[str]:
    return frozenset(name for other, names in GROUPS.items() if other != group for name in names)


def _gap(mine: Answer, base: Answer, start: Mapping[str, Array], names: Iterable[str], key: str = "weights") -> float:
    """Return max|A - B| over the largest movement of B since the start, over the named variables."""
    moved = _movement(base[key], start, names)
    apart = max(float(np.abs(mine[key][name] - base[key][name]).max()) for name in names)
    return apart / moved if moved else float(apart > 0.0)


def _movement(weights: Mapping[str, Array], start: Mapping[str, Array], names: Iterable[str]) -> float:
    return max(float(np.abs(weights[name] - start[name]).max()) for name in names)


def _float32(array: Array) -> Array:
    return array.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class Plant:
    """A trap on torch's side of a correct pair: `torch` replaces the exact adapter's request; `at` its first stage."""

    trap: str
    case: str
    torch: Mapping[str, Any]
    at: str


def _stock(case: str, setup: Setup | None = None) -> dict[str, Any]:
    return {"setup": (setup or case_named(case).torch_matched).to_dict(), "keras_slots": True}


def _like(case: str, schedule: Mapping[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    setup = case_named(case).keras
    changed = replace(setup, config={**setup.config, **config}, schedule=schedule or setup.schedule)
    return {"setup": changed.to_dict(), "form": "keras_like"}


_EXPONENTIAL = case_named("adam-exponential-decay").keras.schedule or {}
_PLATEAU = case_named("adam-plateau").torch_matched.schedule

PLANTS: tuple[Plant, ...] = (
    Plant("adam-epsilon", "adam-plain", _stock("adam-plain"), "update"),
    Plant("rmsprop-epsilon", "rmsprop-plain", _stock("rmsprop-plain"), "update"),
    Plant("weight-decay-coupling", "sgd-momentum-weight-decay", _stock("sgd-momentum-weight-decay"), "slot"),
    Plant("l2-factor", "sgd-l2-penalty", _stock("sgd-l2-penalty"), "update"),
    Plant("momentum-lr-change", "sgd-momentum,-rate-drops", _stock("sgd-momentum,-rate-drops"), "slot"),
    Plant("nadam-decay", "nadam-plain",
          _stock("nadam-plain", Setup({"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7})), "slot"),
    Plant("clip-norm-kind", "adam-clipped-by-norm",
          _like("adam-clipped-by-norm", clipnorm=None, global_clipnorm=0.5), "slot"),
    Plant("optimizer-defaults", "sgd-plain", _stock("sgd-plain", Setup()), "schedule"),
    Plant("lr-schedule-unit", "adam-exponential-decay",
          _like("adam-exponential-decay", {**_EXPONENTIAL, "unit": "epoch"}), "schedule"),
    Plant("plateau-patience", "adam-plateau", _like("adam-plateau", _PLATEAU), "schedule"),
    Plant("hyperparameter-float32", "adam-plain", {**_like("adam-plain"), "exact_constants": False}, "update"),
)  # fmt: skip
"""Every optimizer trap, planted once."""


def planted(workers: Workers, plant: Plant, steps: int = 200, seed: int = 0) -> dict[str, Any]:
    """Plant one trap on torch's side and return a row of the kill matrix.

    Caught means: the correct pair passes, the planted one fails, and the first stage to fail is the trap's own.
    """
    case, given = case_named(plant.case), inputs(steps, seed)
    given = given if case.tiny else given.only(GROUPS["ordinary"])
    keras = _ask(workers["twin_tensorflow"], case, given, {"setup": case.keras.to_dict()})
    torch = workers["twin_torch"]
    right, wrong = (_ask(torch, case, given, request) for request in (_adapted(case), plant.torch))
    bounds = _bounds(case, given, keras, "keras", U64)
    answers = (_counted(case, keras, side) for side in (right, wrong))
    correct, seen = (_failing(_twins_only(keras, answer, bounds, STAGES)) for answer in answers)
    first = next(iter(seen), None)
    return {
        "trap": plant.trap,
        "pair": plant.case,
        "stage": "optimizer",
        "planted_at": plant.at,
        "seen_at": first.kind if first else None,
        "caught": not correct and first is not None and first.kind == plant.at,
        "d64": first.d64 if first else None,
        "note": "; ".join(finding.tensor for finding in seen),
    }


def _failing(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if not finding.passed]


def _counted(case: OptimizerCase, keras: Answer, torch: Answer) -> Answer:
    """Give stock SGD, which counts no steps in torch, Keras's count: its absence is no difference in what is learnt.

    Any other optimizer that lost its count is left without, for the comparison to see.
    """
    if case.optimizer != "sgd":
        return torch
    return {**torch, "slots": {"iterations": keras["slots"]["iterations"], **torch["slots"]}}
