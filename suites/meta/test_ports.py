"""The corpus in `ports/`: what `parity check` says about pairs of builder files as users write them.

Every case goes through the command or, which is several times as fast, through `parity.check` with workers that are
kept from one case to the next; `PARITY_PORTS=command` sends all of them through the command. The main job runs a few,
`pytest suites/meta` all but the published networks, and `--profile full` those too.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from parity.judge.traps import TRAPS
from suites.meta.ports import BAD, CASES, CORRECT, FAULTS, FOLDER, Case, Source

ROOT = Path(__file__).resolve().parents[2]
STATUS = {"same": 0, "different": 1, "error": 2, "undecided": 2}
WAIT_S = 900.0
OWN_FAULT = "a fault of parity itself"
BY_COMMAND = os.environ.get("PARITY_PORTS") == "command"

# What the main job runs, too.
COMMANDS = ("same_padding_stride-deep", "bad-no-function")
QUICK = (
    *COMMANDS,
    "images-functional_flatten",
    "structures-siamese",
    "states-both_ways",
    "attention-self_attention_by_hand",
    "weight_wrong_layer-cured",
    "batchnorm_eps-deep",
    "kernel_flip-deep",
    "several-three_in_a_row-deep",
    "batchnorm_momentum-shallow-train",
)


@dataclass(frozen=True)
class Answer:
    """What came out of one check: the exit status, the JSON, and what stood on stderr."""

    exit: int
    found: dict[str, Any] = field(default_factory=dict)
    stderr: str = ""

    @property
    def told(self) -> str:
        """All that a person could read."""
        layers = (layer["forced"].get("note", "") for layer in self.found.get("layers", ()))
        sources = (source.get(key, "") for source in self.found.get("sources", ()) for key in ("evidence", "fix"))
        return "\n".join([self.stderr, self.found.get("why", ""), *self.found.get("notes", ()), *layers, *sources])


def _inputs(case: Case) -> list[str]:
    return [*case.inputs, *case.int_inputs]


def by_command(case: Case, folder: Path) -> Answer:
    """Return what the command answers in processes of its own."""
    record = folder / "check.json"
    words = [sys.executable, "-m", "parity.cli", "check", case.tensorflow, case.torch, "--json", str(record), "--quiet"]
    words += [word for size in case.inputs for word in ("--input", size)]
    words += [word for ids in case.int_inputs for word in ("--int-input", ids)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*words, *case.options], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=WAIT_S
    )
    found = json.loads(record.read_text()) if record.exists() else {}
    assert found.get("exit", done.returncode) == done.returncode, "the file and the exit status say the same"
    return Answer(done.returncode, found, done.stderr)


class Kept:
    """Workers that are kept from one case to the next, and started again when a case has killed one."""

    def __init__(self) -> None:
        self.workers: Any = None

    def check(self, case: Case) -> Answer:
        """Return what the library answers."""
        from parity.errors import ParityError
        from parity.port import check
        from parity.porting.options import CheckOptions, as_inputs
        from parity.porting.sides import Workers

        if self.workers is None or not self.workers.alive():
            self.close()
            self.workers = Workers(CheckOptions(inputs=as_inputs(_inputs(case)), timeout_s=WAIT_S))
        sides = (str(FOLDER / case.tensorflow), str(FOLDER / case.torch))
        try:
            verdict = check(*sides, _inputs(case), workers=self.workers, **_settings(case))
        except ParityError as error:
            return Answer(error.exit_status, stderr=f"parity check: {error}\n")
        return Answer(verdict.exit, verdict.to_dict())

    def close(self) -> None:
        """End the workers."""
        if self.workers is not None:
            self.workers.close()


def _settings(case: Case) -> dict[str, Any]:
    """Return the options of the command as keyword arguments of `parity.check`."""
    found: dict[str, Any] = {}
    words = iter(case.options)
    names = {"--weights": "weights", "--torch-layout": "torch_layout"}
    for word in words:
        if word == "--train":
            found["train"] = True
        else:
            found[names[word]] = next(words)
    return found


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """Workers for all cases of this file that do not need the command."""
    found = Kept()
    yield found
    found.close()


@pytest.fixture
def ask(kept: Kept, tmp_path: Path) -> Callable[[Case], Answer]:
    """Return what runs a case: bad builders kill workers and have options of their own, so they take the command."""

    def run(case: Case) -> Answer:
        return by_command(case, tmp_path) if BY_COMMAND or case in BAD or case.name in COMMANDS else kept.check(case)

    return run


def _named(name: str | None, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name or "-", pattern) for pattern in patterns)


def _meets(wanted: Source, found: dict[str, Any]) -> bool:
    """Whether this is the cause, at the layer of either framework."""
    place = _named(found["tensorflow"], wanted.tensorflow) or _named(found["torch"], wanted.torch)
    return found["cause"] in wanted.causes and place


def complaints(case: Case, answer: Answer) -> list[str]:
    """Return what is wrong with an answer: nothing may be missing, and nothing may be claimed beside the truth."""
    found = []
    sources = answer.found.get("sources", [])
    if answer.exit != STATUS[case.verdict]:
        found.append(f"status {answer.exit}, not {STATUS[case.verdict]}: {answer.told.strip()[-600:]}")
    said = answer.stderr.partition("the end of its stderr:")[0]  # what a worker said before it died may follow
    if case.verdict == "error" and len(said.strip().splitlines()) != 1:
        found.append(f"not one line on stderr: {said[-600:]!r}")
    if OWN_FAULT in answer.told:
        found.append(answer.told[-600:])
    found += [f"{words!r} is not said in {answer.told[-600:]!r}" for words in case.says if words not in answer.told]
    for wanted in case.sources:
        if not any(_meets(wanted, source) for source in sources):
            found.append(f"{wanted} was not found")
    for source in sources:
        if not any(_meets(wanted, source) for wanted in case.sources) and source["cause"] not in case.tolerated:
            found.append(f"{source['tensorflow']} / {source['torch']} is no source of {source['cause']}")
    return found


def _parameters() -> list[Any]:
    return [
        pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.whole_run) for case in CASES
    ]


@pytest.mark.parametrize("case", _parameters())
def test_the_check_says_what_is_true(case: Case, ask: Callable[[Case], Answer], request: pytest.FixtureRequest) -> None:
    if case.heavy and request.config.getoption("profile") != "full":
        pytest.skip("whole published networks take --profile full")
    assert complaints(case, ask(case)) == []


# The manifest itself, and the judgement above.


def _made_in(path: Path) -> set[str]:
    """Return the names that a builder file defines at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def test_every_builder_of_the_manifest_is_there() -> None:
    made = {path.name: _made_in(path) for path in FOLDER.glob("*_t*.py")}
    builders = {builder for case in CASES if case not in BAD for builder in (case.tensorflow, case.torch)}
    missing = {builder for builder in builders if builder.partition(":")[2] not in made[builder.partition(":")[0]]}
    assert missing == set()


def test_every_case_has_a_name_of_its_own_and_the_quick_ones_exist() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(QUICK) <= set(names)


def test_every_fault_is_planted_in_a_shallow_and_in_a_deep_network() -> None:
    places: dict[str, set[str]] = {}
    for case in FAULTS:
        for cause in case.sources[0].causes:
            places.setdefault(cause, set()).add("deep" if "-deep" in case.name else "shallow")
    assert {cause for cause, seen in places.items() if seen != {"deep", "shallow"}} == set()
    assert set(TRAPS) - set(places) == set(), "traps of the bank that no network has"
    assert len(CORRECT) >= 45


def test_builder_files_are_plain_user_code() -> None:
    files = {builder.partition(":")[0] for case in CASES for builder in (case.tensorflow, case.torch)}
    looked_at = [FOLDER / name for name in files if (FOLDER / name).is_file()]
    assert len(looked_at) > 30
    for path in [*looked_at, *FOLDER.glob("hosts_*.py"), FOLDER / "drawn.py"]:
        assert "parity" not in path.read_text(), path.name


FAULT = Case("x", "a", "b", verdict="different", sources=(Source(("conv*",), ("f.0",), ("kernel-flip",)),))
SEEN = {"tensorflow": "conv1", "torch": "f.0", "cause": "kernel-flip"}


@pytest.mark.parametrize(
    ("case", "answer", "wrong"),
    [
        (FAULT, Answer(1, {"sources": [SEEN]}), ""),
        (FAULT, Answer(1, {"sources": [{**SEEN, "torch": None}]}), ""),
        (FAULT, Answer(0, {"sources": [SEEN]}), "status 0, not 1"),
        (FAULT, Answer(1, {"sources": []}), "was not found"),
        (FAULT, Answer(1, {"sources": [{**SEEN, "cause": "unknown"}]}), "was not found"),
        (FAULT, Answer(1, {"sources": [{**SEEN, "tensorflow": "dense", "torch": "g"}]}), "was not found"),
        (FAULT, Answer(1, {"sources": [SEEN, {**SEEN, "tensorflow": "dense", "torch": "g"}]}), "is no source of"),
        (Case("x", "a", "b"), Answer(0, {"sources": [SEEN]}), "is no source of"),
        (
            FAULT,
            Answer(1, {"sources": [{**SEEN, "evidence": f"d64 1; it ended in {OWN_FAULT} at a.py:1: E: e"}]}),
            "ended in",
        ),
        (Case("x", "a", "b", says=("training",)), Answer(0, {"notes": ["in training mode"]}), ""),
        (Case("x", "a", "b", says=("training",)), Answer(0), "is not said"),
        (Case("x", "a", "b", verdict="error"), Answer(2, stderr="parity check: no\n"), ""),
        (Case("x", "a", "b", verdict="error"), Answer(2, stderr="Traceback\nno\n"), "not one line"),
        (Case("x", "a", "b", verdict="error"), Answer(2), "not one line"),
    ],
)
def test_a_wrong_answer_is_noticed(case: Case, answer: Answer, wrong: str) -> None:
    found = complaints(case, answer)
    assert (wrong in found[0]) if wrong else found == []
