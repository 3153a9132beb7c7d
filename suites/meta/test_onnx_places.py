"""ONNX files that read and write by numbers of places: what was exported is the same on either side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.port import check
from parity.porting.options import CheckOptions, as_inputs
from parity.porting.sides import Workers
from suites.meta.onnx_files import sources, written

KERAS = """
import keras

def write():
    x = keras.Input((4, 6, 5))
    return keras.Model(x, keras.layers.Flatten()(x))
"""
TORCH = """
import torch
from torch import nn
from torch.nn import functional as F

class Places(nn.Module):
    def __init__(self, what, largest=True):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.what, self.largest = nn.Conv2d(4, 3, 3, padding=1), what, largest

    def forward(self, x):
        return getattr(self, self.what)(self.conv(x))

    def chosen(self, x):
        best, places = x.topk(3, dim=2, largest=self.largest)
        return best, places, x.gather(3, x.argsort(3)[..., :2]), x.argmin(1), F.one_hot(x.argmax(1), 3).float()

    def put(self, x):
        y = x.clone()
        y[:, 1:, 2:4] = 2 * y[:, :2, 1:3]
        y[:, 0] = 0
        added = torch.zeros_like(x).scatter_add(2, x.argsort(2), x)
        return y, added, torch.zeros_like(x).scatter(1, x.argmax(1, keepdim=True), 1.0), x[:, [0, 2], [1, 3]]

    def plain(self, x):
        squashed = torch.tanh(x)
        odd = torch.where((x > 0) ^ (x > 0.5), x, x.sinh()) + torch.where(torch.isinf(x), 0.0, squashed.atanh())
        return squashed.asin() + squashed.acos() + x.atan() + x.asinh() + (x.abs() + 1.5).acosh() + x.cosh(), odd

def chosen():
    return Places("chosen")

def chosen_least():
    return Places("chosen", largest=False)

def put():
    return Places("put")

def plain():
    return Places("plain")

def write():
    torch.onnx.export(plain().eval(), (torch.zeros(3, 4, 6, 5),), "FOLDER/plain.onnx", verbose=False)
    for make in (chosen, put):
        how = {"dynamo": False, "opset_version": 17, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
        torch.onnx.export(make().eval(), (torch.zeros(2, 4, 6, 5),), f"FOLDER/{make.__name__}.onnx", **how)
    return chosen()
"""
NAMES = (pytest.param("chosen", marks=pytest.mark.whole_run), "put", "plain")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Torch's builders, and the files that they export."""
    return written(tmp_path_factory.mktemp("onnx_places"), KERAS, TORCH)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """The four processes of a check, kept for all of them."""
    with Workers(CheckOptions(inputs=as_inputs(["4"]))) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_tensorflows_side_computes_what_was_exported(name: str, folder: Path, workers: Workers) -> None:
    both = sources(folder, f"{name}.onnx", name)
    found = check(*both, ["4x6x5"], workers=workers, torch_layout="same")
    assert found.same, found.message()


@pytest.mark.parametrize("name", NAMES)
def test_torchs_side_computes_what_tensorflows_does(name: str, folder: Path, workers: Workers) -> None:
    both = sources(folder, f"{name}.onnx", f"{name}.onnx")
    found = check(*both, ["4x6x5"], workers=workers, torch_layout="same")
    assert found.same, found.message()


def test_the_least_are_not_the_largest(folder: Path, workers: Workers) -> None:
    both = sources(folder, "chosen.onnx", "chosen_least")
    found = check(*both, ["4x6x5"], workers=workers, torch_layout="same")
    assert found.exit == 1, found.message()
