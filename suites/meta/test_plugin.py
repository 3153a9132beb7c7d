"""The plugin as a porter meets it: three lines in a repository of his own, a readable failure, JUnit properties."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

KERAS = """
import keras


def build():
    return keras.Sequential([
        keras.Input((9, 7, 3)),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", name="conv"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="act"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(2, name="head"),
    ])
"""
TORCH = """
import torch
from torch import nn


class Port(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(4, eps=eps)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


def good():
    return Port(1e-3)


def careless():
    return Port(1e-5)
"""
TESTS = """
import pytest
from parity.errors import UsageError


def test_same(parity_check):
    parity_check("keras_model.py:build", "torch_model.py:good", inputs=["9x7x3"])


def test_careless(parity_check):
    parity_check("keras_model.py:build", "torch_model.py:careless", inputs=["9x7x3"])


def test_known_difference(parity_check):
    verdict = parity_check("keras_model.py:build", "torch_model.py:careless", inputs=["9x7x3"], expect="different")
    assert verdict.sources[0].cause == "batchnorm-eps"


@pytest.mark.parity(weights="as-is")
def test_marked(parity_check):
    parity_check("keras_model.py:build", "torch_model.py:good", inputs=["9x7x3"], expect="different")


def test_bad_input(parity_check):
    with pytest.raises(UsageError, match="no_such"):
        parity_check("keras_model.py:no_such", "torch_model.py:good", inputs=["9x7x3"])


def test_misspelt(parity_check):
    with pytest.raises(UsageError, match="does not know wieghts"):
        parity_check("keras_model.py:build", "torch_model.py:good", inputs=["9x7x3"], wieghts="as-is")


def test_no_builder(parity_check):
    parity_check("keras_model.py:none_such", "torch_model.py:good", inputs=["9x7x3"])


@pytest.mark.parity(weight="as-is")
def test_wrong_marker(parity_check):
    parity_check("keras_model.py:build", "torch_model.py:good", inputs=["9x7x3"])
"""


@pytest.mark.whole_run
def test_a_repository_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "keras_model.py").write_text(KERAS)
    (tmp_path / "torch_model.py").write_text(TORCH)
    (tmp_path / "test_port.py").write_text(TESTS)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--junitxml", "junit.xml", "--parity-json", "verdicts", "test_port.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert "2 failed, 5 passed, 1 error" in found.stdout, found.stdout
    assert "never called" not in found.stdout
    for said in ("batchnorm-eps", "`bn` / `bn` computes something else", "d64 falls from", "eps=0.001 in `bn`"):
        assert said in found.stdout
    assert "the parity marker does not know weight; it knows" in found.stdout
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")}
    properties = {p.get("name"): p.get("value") for p in cases["test_careless"].iter("property")}
    assert properties["parity_cause"] == "batchnorm-eps"
    assert properties["parity_source"] == "bn / bn"
    same = {p.get("name"): p.get("value") for p in cases["test_same"].iter("property")}
    assert same["parity_verdict"] == "rounding"
    none = {p.get("name"): p.get("value") for p in cases["test_no_builder"].iter("property")}
    assert none["parity_verdict"] == "not-compared"
    assert "has no `none_such`" in (none["parity_why"] or "")
    assert not re.search(r"parity/(port|porting|workers)", found.stdout), (
        "the way through the package tells nobody much"
    )
    assert json.loads((tmp_path / "verdicts" / "test_port.py_test_no_builder.json").read_text())["exit"] == 2
    saved = json.loads((tmp_path / "verdicts" / "test_port.py_test_careless.json").read_text())
    assert (saved["exit"], saved["sources"][0]["cause"]) == (1, "batchnorm-eps")


@pytest.mark.whole_run
def test_two_folders_may_call_a_file_of_their_own_alike(tmp_path: Path) -> None:
    for folder, units in (("one", 4), ("two", 7)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sizes.py").write_text(f"UNITS = {units}\n")
        (tmp_path / folder / "keras_model.py").write_text(
            "import keras\nfrom sizes import UNITS\n\n\ndef build():\n"
            "    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(UNITS)])\n"
        )
        (tmp_path / folder / "torch_model.py").write_text(
            "from torch import nn\nfrom sizes import UNITS\n\n\ndef build():\n    return nn.Linear(8, UNITS)\n"
        )
        (tmp_path / folder / f"test_{folder}.py").write_text(
            f"def test_{folder}(parity_check):\n"
            '    verdict = parity_check("keras_model.py:build", "torch_model.py:build", inputs=["8"])\n'
            f"    assert verdict.layers[0].forced.shape == (3, {units})\n"
        )
    command = [sys.executable, "-m", "pytest", "-q"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert "2 passed" in found.stdout, found.stdout


def test_the_plugin_loads_nothing_heavy() -> None:
    script = "import sys, parity.plugin; print([m for m in ('numpy', 'torch', 'keras') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
