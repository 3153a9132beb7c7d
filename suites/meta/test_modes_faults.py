"""Modes that compute in less than they say are found, and those that keep their word raise no alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from parity.adapters.torch_modes import TorchModes  # imports no framework by itself
from parity.errors import UsageError
from parity.judge.bound import Doubles, layer_bound, unit_roundoff
from parity.judge.verdict import NOT_COMPARED, PRECISION, ROUNDING, SEMANTIC
from parity.model.layout import Array
from parity.model.modes import KNOWN_BREACHES, MODES, WHOLE, Breach, Mode, find_mode
from parity.model.spec import LayerSpec, ModelSpec
from parity.pair import Pair
from parity.report.record import new_record
from parity.report.sections.modes import render
from parity.trials import modes as trials
from parity.workers.client import Worker, WorkerOptions

SPEC = ModelSpec(
    "small",
    9,
    7,
    3,
    (
        LayerSpec("conv1", "conv2d", 5, (3, 3)),
        LayerSpec("relu1", "relu"),
        LayerSpec("pool1", "max_pool2d", 2),
        LayerSpec("flatten", "flatten"),
        LayerSpec("dense1", "dense", 11),
        LayerSpec("relu2", "relu"),
        LayerSpec("dense2", "dense", 1),
        LayerSpec("sigmoid", "sigmoid"),
    ),
)
FAULTY = f"{Path(__file__).with_name('faulty_modes.py')}:FaultyModes"
SEEDS = range(4)

Rounder = Callable[[Doubles], Doubles]


def keep(values: Doubles) -> Doubles:
    return values


def rounder(precision: str) -> Rounder:
    """Return rounding to nearest in a named precision, on float64 arrays."""
    if precision in ("float16", "float32"):
        return lambda values: np.asarray(values.astype(precision), dtype=np.float64)
    digits = -int(np.log2(unit_roundoff(precision)))

    def shorten(values: Doubles) -> Doubles:
        fraction, exponent = np.frexp(values)
        return np.asarray(np.ldexp(np.round(np.ldexp(fraction, digits)), exponent - digits))

    return shorten


@dataclass(frozen=True)
class Arithmetic:
    """How a simulated framework rounds operands, every partial sum, and results; `where` it does so, else exactly."""

    operands: Rounder = keep
    sums: Rounder = keep
    results: Rounder = keep
    where: str = ""  # "", "gradient" or the name of a part


def honest(says: str) -> Arithmetic:
    """Return the arithmetic of a mode that does what it says."""
    if says in ("float32", "tf32"):
        return Arithmetic(rounder(says) if says == "tf32" else keep, rounder("float32"), rounder("float32"))
    return Arithmetic(rounder(says), rounder("float32"), rounder(says))


class Framework:
    """A sequential network in NumPy, forward and backward, with every rounding made by an `Arithmetic`."""

    def __init__(self, arithmetic: Arithmetic, honestly: Arithmetic, part: str) -> None:
        faulty = not arithmetic.where or arithmetic.where == part
        self.forward = arithmetic if faulty else honestly
        self.backward = arithmetic if faulty or arithmetic.where == "gradient" else honestly

    def run(self, layers: list[LayerSpec], weights: Mapping[str, Array], x: Array, upstream: Array) -> dict[str, Any]:
        inputs, value = [], x.astype(np.float64)
        for layer in layers:
            inputs.append(value)
            value = self.layer(layer, weights, value)
        found, gradient = {"output": value}, upstream.astype(np.float64)
        for layer, given in zip(layers[::-1], inputs[::-1], strict=True):
            own, gradient = self.gradients(layer, weights, given, gradient)
            found |= own
        return {**found, "input": gradient}

    def layer(self, layer: LayerSpec, weights: Mapping[str, Array], x: Doubles) -> Doubles:
        how = self.forward
        if layer.kind in ("conv2d", "dense"):
            kernel, bias = (weights[f"{layer.name}/{kind}"].astype(np.float64) for kind in ("kernel", "bias"))
            rows = columns(x, layer) if layer.kind == "conv2d" else x
            total = product(how, rows, kernel.reshape(-1, kernel.shape[-1]))
            shape = (len(x), x.shape[1] - 2, x.shape[2] - 2, -1) if layer.kind == "conv2d" else total.shape
            return how.results(total + how.operands(bias)).reshape(shape)
        if layer.kind == "relu":
            return np.maximum(x, 0.0)
        if layer.kind == "flatten":
            return x.reshape(len(x), -1)
        if layer.kind == "max_pool2d":
            return np.asarray(tiles(x).max(axis=-1))
        return how.results(1.0 / (1.0 + np.exp(-x)))

    def gradients(
        self, layer: LayerSpec, weights: Mapping[str, Array], x: Doubles, g: Doubles
    ) -> tuple[dict[str, Doubles], Doubles]:
        how = self.backward
        if layer.kind in ("conv2d", "dense"):
            kernel = weights[f"{layer.name}/kernel"].astype(np.float64)
            rows, flat = columns(x, layer) if layer.kind == "conv2d" else x, g.reshape(-1, g.shape[-1])
            own = {
                f"{layer.name}/kernel": product(how, rows.T, flat).reshape(kernel.shape),
                f"{layer.name}/bias": product(how, np.ones((1, len(flat))), flat)[0],
            }
            if layer.kind == "dense":
                return own, product(how, g, kernel.T)
            padded = columns(np.pad(g, ((0, 0), (2, 2), (2, 2), (0, 0))), layer)
            turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, kernel.shape[2])
            return own, product(how, padded, turned).reshape(x.shape)
        if layer.kind == "relu":
            return {}, np.where(x > 0.0, g, 0.0)
        if layer.kind == "flatten":
            return {}, g.reshape(x.shape)
        if layer.kind == "max_pool2d":
            return {}, unpooled(x, g)
        y = self.layer(layer, weights, x)
        return {}, how.results(how.results(y * how.results(1.0 - y)) * g)


def product(how: Arithmetic, a: Doubles, b: Doubles) -> Doubles:
    """Return a @ b, its products added one after the other."""
    a, b = how.operands(a), how.operands(b)
    if how.sums is keep:
        return a @ b
    total = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        total = how.sums(total + how.sums(a[:, k, None] * b[None, k]))
    return how.results(total)


def columns(x: Doubles, layer: LayerSpec) -> Doubles:
    """Return every window of an image as a row, in the order of a kernel's axes."""
    windows = sliding_window_view(x, layer.kernel, axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, int(np.prod(windows.shape[3:])))


def tiles(x: Doubles) -> Doubles:
    windows = sliding_window_view(x, (2, 2), axis=(1, 2))[:, ::2, ::2]
    return windows.reshape(*windows.shape[:4], 4)


def unpooled(x: Doubles, g: Doubles) -> Doubles:
    found = np.zeros_like(x)
    for (n, i, j, c), at in np.ndenumerate(tiles(x).argmax(axis=-1)):
        found[n, 2 * i + at // 2, 2 * j + at % 2, c] = g[n, i, j, c]
    return found


class Simulation(trials.ModeTrial):
    """The trial of a simulated mode: its twins are exact, and what the mode gave can be changed by `tamper`."""

    def __init__(self, says: str, arithmetic: Arithmetic, seed: int = 0) -> None:
        super().__init__({}, SPEC, seed=seed)
        self.mode = Mode("tensorflow", "simulated", says)
        self.arithmetic, self.honestly = arithmetic, honest(says)
        self.tamper: Callable[[str, dict[str, Any]], None] = lambda _side, _tensors: None

    def rows(self) -> list[trials.Row]:
        return self.run(self.mode)

    def _ask(self, side: str, _family: str, _mode: str) -> list[dict[str, Any]]:
        answers = []
        for case in self.cases:
            answer = {part: self._part(side, case, part) for part in (*self.layers, WHOLE)}
            for tensors in answer.values():
                self.tamper(side, tensors)
            answers.append(answer)
        return answers

    def _part(self, side: str, case: trials.Case, part: str) -> dict[str, Any]:
        exact = Arithmetic()
        framework = Framework(*((exact, exact) if "twin" in side else (self.arithmetic, self.honestly)), part)
        layers = [layer for layer in SPEC.layers if part in (layer.name, WHOLE)]
        found = framework.run(layers, case.weights, case.inputs[part], case.upstream[part])
        named = {name if part == WHOLE else name.rpartition("/")[2]: array for name, array in found.items()}
        return {**named, "dtypes": dict.fromkeys(named, "?")}


def verdicts(rows: list[trials.Row]) -> set[str]:
    return {row["verdict"] for row in rows}


# No false alarm.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("says", ["float32", "tf32", "bfloat16", "float16"])
def test_a_mode_that_does_what_it_says_passes(says: str, seed: int) -> None:
    rows = Simulation(says, honest(says), seed).rows()
    assert len(rows) == 3 * 4 + 8
    assert trials.broken(rows) == []
    assert max(row["error_in_u"] for row in rows) > 0.1  # there was something to judge


@pytest.mark.parametrize("says", ["tf32", "bfloat16", "float16"])
def test_doing_more_than_said_is_no_breach(says: str) -> None:
    assert trials.broken(Simulation(says, honest("float32")).rows()) == []


# Planted faults.

FAULTS = {
    "float32 with operands rounded to bfloat16": ("float32", replace(honest("float32"), operands=rounder("bfloat16"))),
    "float32 with operands rounded to TF32": ("float32", replace(honest("float32"), operands=rounder("tf32"))),
    "float32 that stores float16": ("float32", replace(honest("float32"), results=rounder("float16"))),
    "bfloat16 summed in bfloat16": ("bfloat16", replace(honest("bfloat16"), sums=rounder("bfloat16"))),
    "float16 summed in float16": ("float16", replace(honest("float16"), sums=rounder("float16"))),
    "float16 that is bfloat16": ("float16", honest("bfloat16")),
    "TF32 that is bfloat16": ("tf32", replace(honest("tf32"), operands=rounder("bfloat16"))),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_less_than_said_is_found_and_the_side_is_named(fault: str, seed: int) -> None:
    says, arithmetic = FAULTS[fault]
    rows = Simulation(says, arithmetic, seed).rows()
    found = trials.broken(rows)
    assert verdicts(found) == {PRECISION}
    assert {row["stage"] for row in found} == {"forward", "gradient"}
    assert {"conv1", "dense1"} <= {row["layer"] for row in found}
    for row in found:
        assert row["note"].startswith("tensorflow computes in less precision than ")
        assert row["share"] > 1.0
        assert says in trials.message(row)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_gradients_alone_is_found_there(fault: str, seed: int) -> None:
    says, arithmetic = FAULTS[fault]
    found = trials.broken(Simulation(says, replace(arithmetic, where="gradient"), seed).rows())
    assert found
    assert {row["stage"] for row in found} == {"gradient"}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name.startswith("float32")])
def test_a_fault_in_the_whole_network_alone_is_found_there(fault: str) -> None:
    """As where a compiler fuses a layer with others: the layer alone is right."""
    says, arithmetic = FAULTS[fault]
    found = trials.broken(Simulation(says, replace(arithmetic, where=WHOLE)).rows())
    assert {row["layer"] for row in found} == {WHOLE}


def test_a_fault_in_one_layer_is_found_in_that_layer() -> None:
    says, arithmetic = FAULTS["float32 with operands rounded to TF32"]
    found = trials.broken(Simulation(says, replace(arithmetic, where="dense1")).rows())
    assert {row["layer"] for row in found} == {"dense1"}


# What is no matter of precision.


def test_overflow_is_not_compared() -> None:
    trial = Simulation("float16", honest("float16"))
    scaled = {name: array * np.float32(3e4) for name, array in trial.cases[0].inputs.items()}
    trial.cases = [replace(trial.cases[0], inputs=scaled)]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = trial.rows()
    assert NOT_COMPARED in verdicts(rows)
    assert any("overflow" in row["note"] for row in rows)
    assert all(row["error_in_u"] is None for row in rows if row["verdict"] == NOT_COMPARED)


def test_another_function_is_semantic() -> None:
    trial = Simulation("float32", honest("float32"))

    def tamper(side: str, tensors: dict[str, Any]) -> None:
        if side == "twin_torch":
            tensors["output"] = tensors["output"] * (1.0 + 1e-9)

    trial.tamper = tamper
    assert {row["tensor"]: row["verdict"] for row in trial.rows()} == {
        **{row["tensor"]: ROUNDING for row in trial.rows()},
        "output": SEMANTIC,
    }


def test_another_shape_is_semantic() -> None:
    trial = Simulation("float32", honest("float32"))
    trial.tamper = lambda side, tensors: tensors.update(output=tensors["output"][:1]) if side == "tensorflow" else None
    found = trials.broken(trial.rows())
    assert verdicts(found) == {SEMANTIC}
    assert all("shapes differ" in row["note"] for row in found)


def test_a_half_width_mode_that_was_not_on_is_told() -> None:
    rows = [{"says": "bfloat16", "tensor": "output", "dtype": dtype} for dtype in ("float32", "bfloat16")]
    rows.append({"says": "float32", "tensor": "output", "dtype": "float32"})
    assert trials.idle(rows) == rows[:1]


# The bounds.


@pytest.mark.parametrize("probe", range(len(trials.PROBES)))
def test_the_float32_bound_is_the_ordinary_one(probe: int) -> None:
    case = trials.make_cases(SPEC)[probe]
    assert case.probe == trials.PROBES[probe]
    for name in trials.linear_layers(SPEC):
        layer = next(layer for layer in SPEC.layers if layer.name == name)
        own = {key.partition("/")[2]: array for key, array in case.weights.items() if key.startswith(f"{name}/")}
        mine = trials.bounds([layer], case.weights, case.inputs[name], case.upstream[name], "float32")["output"]
        ordinary = layer_bound(layer, case.inputs[name], own, mine, unit_roundoff("float32"))
        np.testing.assert_allclose(mine, ordinary, rtol=1e-12)


def test_upstream_gradients_and_the_exact_probe_need_no_rounding() -> None:
    for case in trials.make_cases(SPEC, seed=3):
        given = [*case.upstream.values()]
        if case.probe == "exact":
            given += [*case.inputs.values(), *case.weights.values()]
        for array in given:
            for precision in ("float16", "bfloat16", "tf32", "float32"):
                np.testing.assert_array_equal(rounder(precision)(array.astype(np.float64)), array)
            assert trials.has_few_digits(array).all()


def test_a_number_with_more_digits_or_too_small_is_seen() -> None:
    values = np.array([1.0, 1.0 + 2.0**-7, 1.0 + 2.0**-8, 2.0**-14, 2.0**-15, 0.0, -3.0, 65280.0, 65536.0])
    assert trials.has_few_digits(values).tolist() == [True, True, False, True, False, True, True, True, False]


def test_probes_keep_every_layer_awake() -> None:
    for case in trials.make_cases(trials.MODEL, seed=1):
        assert case.inputs.keys() == case.upstream.keys() == {"conv1", "dense1", "dense2", WHOLE}
        assert all(array.any() for array in (*case.inputs.values(), *case.upstream.values()))


# Modes, profiles and the table of known breaches.


def test_modes_have_names_of_their_own_and_every_breach_a_mode() -> None:
    assert len({(mode.framework, mode.name) for mode in MODES}) == len(MODES)
    for mode in MODES:
        assert find_mode(mode.framework, mode.name) is mode
        assert trials.promise(mode.says)
    for breach in KNOWN_BREACHES:
        assert find_mode(breach.framework, breach.mode)
    with pytest.raises(UsageError, match="torch has no mode `xla`; it has: eager"):
        find_mode("torch", "xla")


def test_a_larger_profile_leaves_nothing_of_a_smaller_one_out() -> None:
    left = [{mode for mode, why in trials.chosen_modes(p).items() if why} for p in ("smoke", "standard", "full")]
    assert left[0] >= left[1] >= left[2] == set()
    compiled = find_mode("torch", "compile")
    assert trials.chosen_modes("standard")[compiled] == "--profile full runs it"


def test_a_known_breach_is_strict_only_where_it_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    breach = Breach("torch", "m", "conv1", "input", "why", (("torch", "2.15.0"),), ("avx2",), ("amx",))
    here = {"versions": {"torch": "2.15.0+cpu"}, "device": "cpu"}
    for flags, environment, expected in (
        ({"avx2", "fma"}, here, True),
        ({"fma"}, here, False),
        ({"avx2", "amx"}, here, False),
        ({"avx2"}, {**here, "device": "gpu"}, False),
        ({"avx2"}, {**here, "versions": {"torch": "2.15.1"}}, False),
    ):
        monkeypatch.setattr(trials, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert trials.measured_here(breach, environment) is expected
    row = {"framework": "torch", "mode": "m", "layer": "conv1", "tensor": "input"}
    assert trials.known(row, [breach]) is breach
    assert trials.known({**row, "tensor": "kernel"}, [breach]) is None


# The report.


def test_the_section_shows_a_line_per_mode_and_what_broke_its_word() -> None:
    says, arithmetic = FAULTS["bfloat16 summed in bfloat16"]
    rows = Simulation(says, arithmetic).rows()
    next(row for row in rows if row["verdict"] == PRECISION)["known"] = "a reason"
    rows.append(trials.not_run(find_mode("torch", "tf32"), "no GPU | here"))
    record = new_record("standard", "pytest") | {"modes": {"rows": rows}}
    text = render(record)
    lines = [line for line in text.splitlines() if line.startswith("| `simulated`")]
    assert "**precision**" in lines[0]
    assert "not run: no GPU \\| here" in text
    assert "Known: a reason" in text
    assert text.count("\n- TensorFlow `simulated`") == len(trials.broken(rows))
    assert f"Every judged tensor ({len(rows) - 1})" in text


def test_the_section_says_that_nothing_was_compared() -> None:
    record = new_record("standard", "pytest")
    record["modes"] = {"rows": [trials.not_run(find_mode("torch", "tf32"), "no GPU")]}
    assert render(record) == "Zero modes were compared, which is no pass: no GPU."
    record["modes"] = {}
    assert "no mode is recorded" in render(record)


# The real thing.


@pytest.fixture(scope="module")
def faulty() -> Iterator[Worker]:
    with Worker(WorkerOptions(FAULTY)) as worker:
        yield worker


@pytest.mark.parametrize(
    ("fault", "mode"), [("tf32-operands", "eager"), ("bfloat16-sums", "autocast-bfloat16"), ("", "channels-last")]
)
def test_a_torch_that_secretly_does_less_is_found(small_workers: Pair, faulty: Worker, fault: str, mode: str) -> None:
    faulty.call("plant", fault=fault)
    trial = trials.ModeTrial({**small_workers.workers, "torch": faulty}, SPEC, seed=1)
    rows = trial.run(find_mode("torch", mode))
    # What the installed versions do on this kind of processor was not planted here.
    found = [row for row in trials.broken(rows) if trials.known(row, KNOWN_BREACHES) is None]
    assert {row["layer"] for row in found if row["layer"] != WHOLE} == ({"dense1", "dense2"} if fault else set())
    assert verdicts(found) == ({PRECISION} if fault else set())
    assert all(row["note"].startswith("torch computes in less precision") for row in found)
    assert trials.idle(rows) == []


def test_a_mode_that_cannot_run_says_why(small_workers: Pair) -> None:
    trial = trials.ModeTrial(small_workers.workers, SPEC)
    for framework in trials.FRAMEWORKS:
        assert "no GPU" in str(trial.refusal(find_mode(framework, "tf32")))
        assert trial.refusal(find_mode(framework, "eager")) is None


def test_without_a_compiler_compiling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert TorchModes().mode_refusal("compile") == "no C++ compiler: torch.compile looks for `no-such-compiler`"
