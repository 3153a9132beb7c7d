"""`parity convert` proves what it wrote; `parity lint` says what differs before anything runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from parity.porting.lint import lint
from parity.porting.options import CheckOptions, InputSpec
from suites.meta.test_plugin import KERAS, TORCH

PAIR = ("keras_model.py:build", "torch_model.py:good")
INPUT = ("--input", "9x7x3")
SAVE = """
import keras, numpy
from keras_model import build
model, rng = build(), numpy.random.default_rng(3)
for weight in model.weights:
    weight.assign(rng.uniform(0.1, 0.9, weight.shape))
model.save("trained.keras")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with both builder files."""
    (tmp_path / "keras_model.py").write_text(KERAS)
    (tmp_path / "torch_model.py").write_text(TORCH)
    return tmp_path


def _parity(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parity.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.mark.whole_run
def test_lint_names_traps_and_their_effect(folder: Path) -> None:
    careless = ("keras_model.py:build", "torch_model.py:careless")
    optimizers = ("--tensorflow-optimizer", "Adam()", "--torch-optimizer", "Adam()")
    done = _parity(folder, "lint", *careless, *optimizers, "--json", "lint.json")
    assert done.returncode == 1, done.stderr
    found = json.loads((folder / "lint.json").read_text())
    traps = {(difference["trap"], difference["torch"]) for difference in found["differences"]}
    assert {("batchnorm-eps", "bn"), ("batchnorm-momentum", "bn")} <= traps
    assert ("same-padding-stride", "conv") not in traps, "SAME pads evenly for the odd size that the model declares"
    assert any(trap == "adam-epsilon" for trap, _ in traps)
    assert ("init-distribution", "conv") in traps
    assert all(difference["effect"] for difference in found["differences"])
    assert "eps 0.001 against 1e-05" in done.stdout


UNBUILT = """
import keras
class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv")
        self.bn, self.dense = keras.layers.BatchNormalization(name="bn"), keras.layers.Dense(3, name="dense")
    def call(self, x):
        return self.dense(keras.ops.mean(keras.ops.relu(self.bn(self.conv(x))), (1, 2)))
def build():
    return Model()
"""
DEFINED = """
from torch import nn
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, momentum=0.01)
        self.more, self.head = nn.Linear(8, 5), nn.Linear(8, 3)
    def forward(self, x):
        return self.head(self.norm(self.stem(x)).relu().mean((2, 3)))
def build():
    return Model()
"""


def test_lint_pairs_what_was_never_called_by_kind_and_size(tmp_path: Path) -> None:
    (tmp_path / "unbuilt.py").write_text(UNBUILT)
    (tmp_path / "defined.py").write_text(DEFINED)
    options = CheckOptions(inputs=(InputSpec((1,)),))
    found = lint(f"{tmp_path / 'unbuilt.py'}:build", f"{tmp_path / 'defined.py'}:build", options)
    told = {(one.trap, one.tensorflow, one.torch) for one in found.differences}
    assert {("same-padding-stride", "conv", "stem"), ("batchnorm-eps", "bn", "norm")} <= told
    assert "batchnorm-momentum" not in {trap for trap, _, _ in told}
    assert (found.pairs, found.unpaired_tensorflow, found.unpaired_torch) == (3, (), ("more",))
    assert any("never called" in note for note in found.notes)


DRAWN = """
from torch import nn
from torch_model import good
def alike():
    module = good()
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
"""


@pytest.mark.whole_run
def test_lint_says_nothing_of_weights_that_are_drawn_alike(folder: Path) -> None:
    (folder / "drawn.py").write_text(DRAWN)
    done = _parity(folder, "lint", "keras_model.py:build", "drawn.py:alike")
    assert "init-distribution" not in done.stdout, done.stdout
    assert "pairs of layers compared" in done.stdout


LISTS_KERAS = """
import keras
from keras import layers as L
def build():
    x = image = keras.Input((14, 11, 3))
    for k in range(3):
        x = L.Conv2D(6, 3, strides=1 + k % 2, padding="same", name=f"conv{k}")(x)
        x = L.LeakyReLU(name=f"leaky{k}")(L.BatchNormalization(name=f"norm{k}")(x))
    x = L.Reshape((28, 6))(x[:, :7, :4])
    x = L.MultiHeadAttention(2, 3, name="attention")(x, x, use_causal_mask=True)
    return keras.Model(image, L.Dense(2, name="out")(x))
"""
LISTS_TORCH = """
import torch
import torch.nn.functional as F
from torch import nn
class Port(nn.Module):
    def __init__(self, slope, pads, causal):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, 6, 3, stride=s) for n, s in ((3, 1), (6, 2), (6, 1)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(6, eps=1e-3, momentum=0.01) for _ in range(3))
        self.out = nn.Linear(6, 2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.slope, self.pads, self.causal = slope, pads, causal
    def forward(self, x):
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = F.leaky_relu(norm(conv(F.pad(x, self.pads if k == 1 else (1, 1, 1, 1)))), self.slope if k == 2 else 0.3)
        x = x[:, :, :7, :4].flatten(2).transpose(1, 2)
        mask = torch.triu(torch.ones(28, 28, dtype=torch.bool), 1) if self.causal else None
        return self.out(self.attention(x, x, x, attn_mask=mask, need_weights=False)[0])
def good():
    return Port(0.3, (1, 1, 0, 1), True)
def careless():
    return Port(0.01, (1, 1, 1, 1), False)
"""
BY_NATURE = {"init-distribution", "batchnorm-running-variance"}


@pytest.mark.whole_run
def test_lint_sees_in_which_order_lists_of_modules_run_and_what_stands_between_them(tmp_path: Path) -> None:
    (tmp_path / "keras_model.py").write_text(LISTS_KERAS)
    (tmp_path / "torch_model.py").write_text(LISTS_TORCH)
    found = {}
    for port in ("good", "careless"):
        done = _parity(tmp_path, "lint", "keras_model.py:build", f"torch_model.py:{port}", "--json", "lint.json")
        told = json.loads((tmp_path / "lint.json").read_text())
        assert (told["unpaired_tensorflow"], told["unpaired_torch"]) == (["reshape"], []), done.stdout
        found[port] = {(one["trap"], one["tensorflow"], one["torch"]) for one in told["differences"]}
        found[port] = {one for one in found[port] if one[0] not in BY_NATURE}
    assert found["good"] == set()
    assert found["careless"] == {
        ("same-padding-stride", "conv1", "convs.1"),
        ("leaky-slope", "leaky2", "leaky_relu_2"),
        ("attention-mask-polarity", "attention", "attention"),
    }


TURNED_KERAS = """
import keras
from keras import layers
def build():
    x = keras.Input((16, 16, 3))
    y = layers.BatchNormalization(epsilon=1e-5, name="norm1")(layers.Conv2D(8, 3, name="one")(x))
    y = layers.Conv2D(8, 3, dilation_rate=2, name="two")(layers.ReLU(name="relu")(y))
    y = layers.BatchNormalization(name="norm2")(layers.Conv2D(8, 3, name="three")(y))
    return keras.Model(x, layers.LeakyReLU(0.1, name="leaky")(y))
"""
TURNED_TORCH = """
from torch import nn
class Net(nn.Module):
    def __init__(self, eps):
        super().__init__()
        self.leaky, self.norm_b, self.norm_a = nn.LeakyReLU(0.1), nn.BatchNorm2d(8, eps), nn.BatchNorm2d(8, 1e-5)
        self.c, self.b, self.a = nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, dilation=2), nn.Conv2d(3, 8, 3)
        self.relu = nn.ReLU()
    def forward(self, x):
        return self.leaky(self.norm_b(self.c(self.b(self.relu(self.norm_a(self.a(x)))))))
def right():
    return Net(1e-3)
def wrong():
    return Net(1e-5)
"""


@pytest.mark.whole_run
def test_lint_does_not_accuse_layers_that_are_defined_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "turned_keras.py").write_text(TURNED_KERAS)
    (tmp_path / "turned_torch.py").write_text(TURNED_TORCH)
    done = _parity(tmp_path, "lint", "turned_keras.py:build", "turned_torch.py:right")
    accused = [line for line in done.stdout.splitlines() if line.startswith(("dilation", "batchnorm-eps", "leaky"))]
    assert not accused, done.stdout
    assert "without a partner" not in done.stdout
    assert "batchnorm-eps" in _parity(tmp_path, "lint", "turned_keras.py:build", "turned_torch.py:wrong").stdout


BESIDE_KERAS = """
import keras
from keras import layers
def build():
    x = keras.Input((12, 10, 6))
    near = layers.Conv2D(6, 3, padding="same", activation="relu", name="near")(x)
    far = layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="tanh", name="far")(x)
    y = layers.PReLU(shared_axes=[1, 2], name="prelu")(layers.Add()([near, far]))
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(y)
    return keras.Model(x, layers.Activation("silu", name="silu")(y))
"""
BESIDE_TORCH = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, slopes, start):
        super().__init__()
        self.a, self.b = nn.Conv2d(6, 6, 3, padding=2, dilation=2), nn.Conv2d(6, 6, 3, padding=1)
        self.prelu, self.up, self.start = nn.PReLU(slopes), nn.ConvTranspose2d(6, 4, 3, 2), start
    def forward(self, x):
        far = torch.tanh(self.a(x))
        x = self.up(self.prelu(torch.relu(self.b(x)) + far))
        x = x[:, :, self.start:x.shape[2] - 1 + self.start, self.start:x.shape[3] - 1 + self.start]
        return x * torch.sigmoid(x)
def right():
    return Net(6, 0)
def wrong():
    return Net(1, 1)
"""


@pytest.mark.whole_run
def test_lint_does_not_accuse_what_stands_side_by_side_or_means_one_thing_together(tmp_path: Path) -> None:
    (tmp_path / "beside_keras.py").write_text(BESIDE_KERAS)
    (tmp_path / "beside_torch.py").write_text(BESIDE_TORCH)
    found = {}
    for port in ("right", "wrong"):
        _parity(tmp_path, "lint", "beside_keras.py:build", f"beside_torch.py:{port}", "--json", "lint.json")
        told = json.loads((tmp_path / "lint.json").read_text())
        found[port] = {(one["trap"], one["tensorflow"], one["torch"]) for one in told["differences"]}
        found[port] = {one for one in found[port] if one[0] not in BY_NATURE}
    assert found["right"] == set()
    assert found["wrong"] == {("prelu-sharing", "prelu", "prelu"), ("conv-transpose-crop", "up", "up")}


@pytest.mark.whole_run
def test_weights_go_to_torch_and_back_bit_for_bit(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", SAVE], cwd=folder, check=True, capture_output=True, timeout=300)
    there = _parity(folder, "convert", *PAIR, *INPUT, "--from", "trained.keras", "--to", "port.safetensors")
    assert (there.returncode, there.stderr) == (0, "")
    assert "bit for bit" in there.stdout
    back = _parity(folder, "convert", *PAIR, *INPUT, "--from", "port.safetensors", "--to", "back.weights.h5")
    assert (back.returncode, back.stderr) == (0, "")
    again = _parity(folder, "convert", *PAIR, *INPUT, "--from", "back.weights.h5", "--to", "again.safetensors")
    assert again.returncode == 0
    first, second = load_file(folder / "port.safetensors"), load_file(folder / "again.safetensors")
    assert set(first) == set(second)
    assert all((first[name] == second[name]).all() for name in first)


CELLS_KERAS = """
import keras
def build():
    cells = keras.layers.LSTM(6, name="lstm")
    return keras.Sequential([keras.Input((9, 5)), cells, keras.layers.Dense(2, name="head")])
"""
CELLS_TORCH = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 2)
    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])
def build():
    return Net().eval()
if __name__ == "__main__":
    torch.manual_seed(1)
    torch.save(build().state_dict(), "trained.pth")
"""


@pytest.mark.whole_run
def test_two_trained_biases_become_the_one_that_keras_has(folder: Path) -> None:
    (folder / "cells_keras.py").write_text(CELLS_KERAS)
    (folder / "cells_torch.py").write_text(CELLS_TORCH)
    subprocess.run([sys.executable, "cells_torch.py"], cwd=folder, check=True, capture_output=True, timeout=300)
    pair = ("cells_keras.py:build", "cells_torch.py:build", "--input", "9x5")
    done = _parity(folder, "convert", *pair, "--from", "trained.pth", "--to", "port.keras")
    assert (done.returncode, done.stderr) == (0, "")
    assert "one sum, rounded to float32" in done.stdout
    both = _parity(folder, "check", "port.keras", "cells_torch.py:build", "--input", "9x5", "--weights", "tf-to-torch")
    assert both.returncode == 0, both.stdout


UNCALLED_KERAS = """
import keras
class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.wide, self.head = keras.layers.Dense(6, activation="relu"), keras.layers.Dense(2)
    def call(self, x):
        return self.head(self.wide(x))
"""
UNCALLED_TORCH = """
import torch
from torch import nn
def build():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
if __name__ == "__main__":
    torch.save(build().state_dict(), "trained.pth")
"""


@pytest.mark.whole_run
@pytest.mark.parametrize("file", ["port.weights.h5", "port.keras"])
def test_a_model_of_a_class_of_ones_own_takes_weights_before_its_first_call(folder: Path, file: str) -> None:
    (folder / "uncalled_keras.py").write_text(UNCALLED_KERAS)
    (folder / "uncalled_torch.py").write_text(UNCALLED_TORCH)
    subprocess.run([sys.executable, "uncalled_torch.py"], cwd=folder, check=True, capture_output=True, timeout=300)
    pair = ("uncalled_keras.py:Net", "uncalled_torch.py:build", "--input", "5")
    done = _parity(folder, "convert", *pair, "--from", "trained.pth", "--to", file)
    assert (done.returncode, done.stderr) == (0, "")
    weights = ("--tensorflow-weights", file, "--torch-weights", "trained.pth", "--weights", "as-is")
    both = _parity(folder, "check", *pair, *weights)
    assert both.returncode == 0, both.stderr
    if file.endswith(".keras"):  # which names the class, and does not hold it
        alone = _parity(folder, "check", file, *pair[1:])
        assert alone.returncode == 2
        assert "'Net', code of its author's own: name a builder and give the file with --tensorflow-w" in alone.stderr


@pytest.mark.whole_run
def test_a_pair_that_differs_is_not_converted(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", SAVE], cwd=folder, check=True, capture_output=True, timeout=300)
    careless = ("keras_model.py:build", "torch_model.py:careless")
    done = _parity(folder, "convert", *careless, *INPUT, "--from", "trained.keras", "--to", "port.pth")
    assert done.returncode == 1
    assert "nothing was written" in done.stderr
    assert "batchnorm-eps" in done.stdout
    assert not (folder / "port.pth").exists()


@pytest.mark.whole_run
def test_a_file_that_is_no_archive_is_said_to_be_none(folder: Path) -> None:
    (folder / "broken.keras").write_bytes(b"no archive")
    done = _parity(folder, "convert", *PAIR, *INPUT, "--from", "broken.keras", "--to", "moved.pth")
    assert done.returncode == 2
    assert "broken.keras cannot be read: it is no zip archive" in done.stderr
    assert not (folder / "moved.pth").exists()


def test_a_missing_file_is_one_line(folder: Path) -> None:
    done = _parity(folder, "convert", *PAIR, *INPUT, "--from", "none.keras", "--to", "port.pth")
    assert done.returncode == 2
    assert done.stderr == "parity convert: --from none.keras: no such file\n"


WRITTEN_KERAS = """
import keras
from keras import layers as L
from keras.initializers import RandomNormal, RandomUniform, VarianceScaling
def build():
    x = image = keras.Input((20, 20, 16))
    x = L.Conv2D(32, 3, kernel_initializer="he_normal", kernel_regularizer="l2", name="he")(x)
    x = L.Conv2D(32, 3, kernel_initializer=VarianceScaling(2.0, "fan_out", "truncated_normal"), name="out")(x)
    x = L.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="depthwise")(x)
    x = L.Conv2D(64, 3, kernel_initializer=RandomNormal(0.0, 0.02), name="normal")(x)
    usual = VarianceScaling(1 / 3, "fan_in", "uniform"), RandomUniform(-1 / 24, 1 / 24)
    x = L.Conv2D(64, 3, kernel_initializer=usual[0], bias_initializer=usual[1], name="torchs")(x)
    x = L.Dense(64, kernel_initializer="lecun_normal", name="lecun")(L.Flatten()(x))
    return keras.Model(image, L.Dense(10, name="head")(x))
"""
WRITTEN_TORCH = """
import torch
from torch import nn
def good():
    torch.manual_seed(0)
    convs = [nn.Conv2d(16, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 3, groups=32), nn.Conv2d(32, 64, 3)]
    model = nn.Sequential(*convs, nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(6400, 64), nn.Linear(64, 10))
    for layer in model:
        if hasattr(layer, "bias") and layer is not model[4]:
            nn.init.zeros_(layer.bias)
    nn.init.kaiming_normal_(model[0].weight, nonlinearity="relu")
    nn.init.kaiming_normal_(model[1].weight, mode="fan_out")
    nn.init.normal_(model[2].weight, 0.0, (2.0 / 9 / 32) ** 0.5)
    nn.init.normal_(model[3].weight, 0.0, 0.02)
    nn.init.normal_(model[6].weight, 0.0, 6400**-0.5)
    nn.init.xavier_uniform_(model[7].weight)
    return model
def careless():
    model = good()
    nn.init.kaiming_uniform_(model[0].weight)
    nn.init.kaiming_normal_(model[2].weight)
    nn.init.kaiming_normal_(model[3].weight)
    nn.init.constant_(model[7].bias, 0.1)
    return model
"""


@pytest.mark.whole_run
def test_lint_sees_how_weights_were_drawn_and_what_layers_add_to_the_loss(tmp_path: Path) -> None:
    (tmp_path / "keras_model.py").write_text(WRITTEN_KERAS)
    (tmp_path / "torch_model.py").write_text(WRITTEN_TORCH)
    found = {}
    for port in ("good", "careless"):
        done = _parity(tmp_path, "lint", "keras_model.py:build", f"torch_model.py:{port}", "--json", "lint.json")
        told = json.loads((tmp_path / "lint.json").read_text())["differences"]
        found[port] = {one["tensorflow"]: one["what"] for one in told if one["trap"] == "init-distribution"}
        assert "`he` (kernel L2(0.01)) adds to Keras's loss" in done.stdout
    # Torch counts one channel of a depthwise kernel as its inputs, Keras all of them: one name, two widths.
    assert found["good"] == {}
    assert set(found["careless"]) == {"he", "depthwise", "normal", "head"}
    assert "counted over 32 channels" in found["careless"]["depthwise"]
    assert found["careless"]["head"].endswith("against glorot_uniform, bias constant(0.1)")


FROZEN_KERAS = """
import keras
from keras import layers
def build():
    return keras.Sequential([
        keras.Input((6, 4)),
        layers.LSTM(5, name="lstm"),
        layers.BatchNormalization(name="norm", momentum=0.9, epsilon=1e-5, trainable=False),
        layers.Dense(3, name="head", trainable=False, kernel_constraint=keras.constraints.MaxNorm(0.5)),
    ])
"""
FROZEN_TORCH = """
from torch import nn
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.norm = nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 3)
    def forward(self, x):
        return self.head(self.norm(self.lstm(x)[0][:, -1]))
class Frozen(Model):
    def __init__(self):
        super().__init__()
        self.lstm.bias_hh_l0.requires_grad_(False)
        self.norm.requires_grad_(False)
        self.head.requires_grad_(False)
    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self
good, careless = Frozen, Model
"""


@pytest.mark.whole_run
def test_lint_sees_what_trains_on_one_side_alone_and_what_keras_constrains(tmp_path: Path) -> None:
    (tmp_path / "keras_model.py").write_text(FROZEN_KERAS)
    (tmp_path / "torch_model.py").write_text(FROZEN_TORCH)
    found = {}
    for port in ("good", "careless"):
        done = _parity(tmp_path, "lint", "keras_model.py:build", f"torch_model.py:{port}", "--json", "lint.json")
        told = json.loads((tmp_path / "lint.json").read_text())["differences"]
        found[port] = {
            one["tensorflow"]: (one["trap"], one["what"]) for one in told if one["trap"] != "init-distribution"
        }
        assert "`head` (kernel MaxNorm(0.5)) constrains weights" in done.stdout
    assert found["good"] == {}
    assert {name: trap for name, (trap, _) in found["careless"].items()} == {
        "lstm": "bias-missing-or-doubled", "norm": "batchnorm-frozen", "head": "unknown",
    }  # fmt: skip
    assert found["careless"]["head"][1] == "trains in PyTorch alone: trainable=False against requires_grad=True"


MODULE = """
import tensorflow as tf
class Model(tf.Module):
    def __init__(self):
        super().__init__()
        drawn = tf.random.Generator.from_seed(3)
        self.w, self.b = tf.Variable(drawn.normal((4, 3))), tf.Variable(tf.zeros(3))
    def __call__(self, x):
        return x @ self.w + self.b
def build():
    return Model()
def port():
    from torch import nn
    return nn.Linear(4, 3)
if __name__ == "__main__":
    trained = build()
    trained.b.assign([0.5, -1.5, 2.5])
    tf.train.Checkpoint(model=trained).write("trained")
"""


@pytest.mark.whole_run
def test_a_checkpoint_of_a_module_is_moved_whatever_precision_its_code_names(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODULE)
    subprocess.run([sys.executable, "model.py"], cwd=tmp_path, check=True, capture_output=True, timeout=600)
    pair = ("model.py:build", "model.py:port", "--input", "4")
    done = _parity(tmp_path, "convert", *pair, "--from", "trained", "--to", "port.safetensors")
    assert done.returncode == 0, done.stderr
    assert load_file(tmp_path / "port.safetensors")["bias"].tolist() == [0.5, -1.5, 2.5]
