"""Where a torch model was ported to Keras, a fix is a line of Keras's code: with it the port is the same function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suites.meta.keras_ports import Port, Step, mended, read, write

TORCH = "said of torch's code"  # in the note on fixes that have no line of Keras's


QUICK = ("same_stride", "bn_eps", "lstm_bi", "gelu2", "flatten")
PORTS = read(Path(__file__).with_name("keras_ports.txt"))


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Workers that are kept from one case to the next."""
    from parity.porting.options import CheckOptions, as_inputs
    from parity.porting.sides import Workers

    with Workers(CheckOptions(inputs=as_inputs(["3"]), timeout_s=900.0)) as found:
        yield found


def _checked(port: Port, steps: Sequence[Step], folder: Path, workers: Any, **options: Any) -> dict[str, Any]:
    from parity.port import check

    folder.mkdir()
    builders = write(folder, port.torch, steps, port.inputs)
    settings = {"weights": "torch-to-tf", "train": port.train, **options}
    return check(*builders, [port.inputs], workers=workers, **settings).to_dict()


def _parameters() -> list[Any]:
    """Return the ports; all but a few take too long for each run of the suites."""
    marks = {port.name: () if port.name in QUICK else (pytest.mark.whole_run,) for port in PORTS}
    return [pytest.param(port, id=port.name, marks=marks[port.name]) for port in PORTS]


@pytest.mark.parametrize("port", _parameters())
def test_a_fix_of_keras_s_code_makes_the_port_the_same_function(port: Port, tmp_path: Path, workers: Any) -> None:
    found = _checked(port, port.steps, tmp_path / "wrong", workers)
    assert tuple(source["cause"] for source in found["sources"]) == port.causes
    assert tuple(source["fix"] for source in found["sources"]) == port.fixes
    assert not any(TORCH in note for note in found["notes"])
    if port.carried_out:
        steps = list(port.steps)
        for fix in port.fixes:
            steps = mended(fix, steps)
        again = _checked(port, steps, tmp_path / "mended", workers)
        assert again["exit"] == 0, again["sources"]


def test_by_default_a_fix_is_a_line_of_torch_s_code(tmp_path: Path, workers: Any) -> None:
    port = next(port for port in PORTS if port.name == "bn_eps")
    found = _checked(port, port.steps, tmp_path / "wrong", workers, weights="tf-to-torch")
    assert [source["fix"] for source in found["sources"]] == ["eps=0.001 in `0`"]


def test_the_script_has_the_line_above_the_operation_of_keras_s(tmp_path: Path, workers: Any) -> None:
    port = next(port for port in PORTS if port.name == "bn_eps")
    path = tmp_path / "repro.py"
    _checked(port, port.steps, tmp_path / "wrong", workers, repro=str(path))
    text = path.read_text()
    line = text.index("    # fix: epsilon=1e-05 in `bn`")
    assert text.rindex("\ndef ", 0, line) == text.index("\ndef in_tensorflow")


def test_a_fix_that_has_no_line_of_keras_s_says_so(tmp_path: Path, workers: Any) -> None:
    port = next(port for port in PORTS if port.name == "lstm_bi")
    torch = port.torch.replace("y[0][:, -1]", "y[0][:, torch.tensor(5)]")
    found = _checked(replace(port, torch=torch), port.steps, tmp_path / "wrong", workers)
    (source,) = found["sources"]
    assert source["fix"].startswith("take torch.cat(")
    assert any(TORCH in note for note in found["notes"])
