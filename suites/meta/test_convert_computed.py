"""`parity convert` for weights that a torch model computes from others: weight and spectral normalisation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

KERAS = """
import keras
from keras import layers

def build():
    return keras.Sequential([keras.Input((9, 6)), layers.Conv1D(8, 3, name="conv"), layers.Dense(3, name="head")])
"""
TORCH = """
import torch
from torch import nn

class Port(nn.Module):
    def __init__(self, normed):
        super().__init__()
        self.conv, self.head = normed(nn.Conv1d(6, 8, 3)), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.conv(x.transpose(1, 2)).transpose(1, 2))

class Halved(nn.Module):
    def forward(self, x):
        return x / 2

def lengths():
    return Port(nn.utils.parametrizations.weight_norm)

def lengths_by_a_hook():
    return Port(nn.utils.weight_norm)

def spectrum():
    return Port(nn.utils.parametrizations.spectral_norm).eval()

def spectrum_by_a_hook():
    return Port(nn.utils.spectral_norm).eval()

def no_way_back():
    port = Port(lambda layer: layer)
    nn.utils.parametrize.register_parametrization(port.conv, "weight", Halved())
    return port
"""
# A kernel of spectral norm 1, as one is that such a layer has trained.
SAVE = """
import numpy
from keras_model import build
model, rng = build(), numpy.random.default_rng(3)
values = [rng.normal(size=weight.shape) for weight in model.weights]
values[0] /= numpy.linalg.norm(values[0].transpose(2, 1, 0).reshape(8, -1), 2)
model.set_weights(values)
model.save_weights("trained.weights.h5")
x = rng.normal(size=(4, 9, 6)).astype("float32")
numpy.savez("seen.npz", x=x, y=model(x))
"""
# The porter's own script: the file into the module as it was written.
LOAD = """
import sys, numpy, torch
import torch_model
from safetensors.torch import load_file
model = getattr(torch_model, sys.argv[1])()
model.load_state_dict(load_file("moved.safetensors"))
seen = numpy.load("seen.npz")
got = model.eval()(torch.tensor(seen["x"])).detach().numpy()
print("apart", abs(got - seen["y"]).max() / abs(seen["y"]).max())
"""
ENTRIES = {
    "lengths": {"conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1"},
    "lengths_by_a_hook": {"conv.weight_g", "conv.weight_v"},
    "spectrum": {"conv.parametrizations.weight.original"},
    "spectrum_by_a_hook": {"conv.weight_orig"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both builder files and trained weights of Keras's."""
    found = tmp_path_factory.mktemp("computed")
    (found / "keras_model.py").write_text(KERAS)
    (found / "torch_model.py").write_text(TORCH)
    _python(found, "-c", SAVE)
    return found


def _python(folder: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    return done


def _convert(folder: Path, port: str, status: int) -> subprocess.CompletedProcess[str]:
    pair = ("keras_model.py:build", f"torch_model.py:{port}", "--input", "9x6")
    files = ("--from", "trained.weights.h5", "--to", "moved.safetensors")
    return _python(folder, "-m", "parity.cli", "convert", *pair, *files, status=status)


@pytest.mark.whole_run
@pytest.mark.parametrize("port", ENTRIES)
def test_the_file_holds_what_the_model_as_it_was_written_reads(folder: Path, port: str) -> None:
    done = _convert(folder, port, 0)
    assert "and the outputs agree" in done.stdout
    assert ENTRIES[port] <= set(load_file(folder / "moved.safetensors"))
    assert float(_python(folder, "-c", LOAD, port).stdout.split()[-1]) < 1e-5
    (folder / "moved.safetensors").unlink()


@pytest.mark.whole_run
def test_what_nobody_can_compute_back_is_one_line(folder: Path) -> None:
    done = _convert(folder, "no_way_back", 2)
    (line,) = done.stderr.strip().splitlines()
    assert "`conv.weight` is computed from other weights" in line
    assert not (folder / "moved.safetensors").exists()
