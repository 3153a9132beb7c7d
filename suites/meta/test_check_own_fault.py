"""A fault of the tool itself: what was compared stays known, and one line says where the fault is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from parity import cli, port
from parity.porting import causes

FOLDER = Path(__file__).parent / "ports"
SIDES = f"{FOLDER / 'told_tensorflow.py'}:first_token", f"{FOLDER / 'told_torch.py'}:every_token"


def _broken(*_: Any) -> NoReturn:
    raise IndexError("tuple index out of range")


def test_where_the_search_for_a_cause_breaks_the_source_is_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "explain", _broken)
    found = port.check(*SIDES, ["7x12"])
    assert found.exit == 1
    (source,) = found.sources
    assert (source.tensorflow, source.torch, source.cause) == ("norm", "norm", "unknown")
    said = "a fault of parity itself at test_check_own_fault.py:18: IndexError: tuple index out of range"
    assert said in source.evidence


@pytest.mark.parametrize("wanted", [False, True])
def test_elsewhere_it_is_one_line_and_status_2_or_its_traceback_where_that_is_asked_for(
    wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_lint", _broken)
    monkeypatch.setenv("PARITY_TRACEBACK", "1" if wanted else "")
    if wanted:
        with pytest.raises(IndexError):
            cli.main(["lint", *SIDES])
        return
    assert cli.main(["lint", *SIDES]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("parity lint: a fault of parity itself at test_check_own_fault.py:18: IndexError: tuple")
