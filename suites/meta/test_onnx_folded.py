"""Batch normalisations that exporters fold into an ONNX file: the same function, planted faults, lint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parity.pairing.folded import Fold
from parity.port import check
from parity.porting.lint import lint
from parity.porting.options import CheckOptions, as_inputs
from parity.porting.sides import Workers
from suites.meta.onnx_files import rarely, sources, written

KERAS = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L

def filled(model):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.3
        variable.assign(rng.uniform(low, low + 0.8, variable.shape))
    return model

def fresh(eps=1e-3):
    x = i = keras.Input((12, 12, 3))
    x = L.Conv2D(6, 3, padding="same", use_bias=False, name="c1")(x)
    x = L.ReLU(name="r1")(L.BatchNormalization(epsilon=eps, name="b1")(x))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="c2")(x)
    y = L.ReLU(6.0, name="r2")(L.BatchNormalization(epsilon=eps, name="b2")(y))
    x = L.Add(name="sum")([x, L.BatchNormalization(epsilon=eps, name="b3")(L.Conv2D(6, 1, name="c3")(y))])
    x = L.ReLU(name="r3")(L.BatchNormalization(epsilon=eps, name="b4")(x))
    x = L.Conv2DTranspose(4, 2, strides=2, use_bias=False, name="c5")(L.MaxPooling2D(name="pool")(x))
    x = L.ReLU(name="r5")(L.BatchNormalization(epsilon=eps, name="b5")(x))
    x = L.Dense(5, name="f6")(L.GlobalAveragePooling2D(name="gap")(x))
    x = L.ReLU(name="r6")(L.BatchNormalization(epsilon=eps, name="b6")(x))
    return keras.Model(i, L.Dense(3, name="head")(x), name="m")

def bare():
    # Norms without a shift, without a scale, and without both: behind a convolution, and behind none.
    x = i = keras.Input((12, 12, 3))
    for n, (center, scale) in enumerate(((False, True), (True, False), (False, False)), 1):
        words = {"center": center, "scale": scale}
        x = L.BatchNormalization(name=f"b{n}", **words)(L.Conv2D(4, 3, use_bias=n == 2, name=f"c{n}")(x))
        x = L.BatchNormalization(name=f"a{n}", **words)(L.ReLU(6.0, name=f"r{n}")(x))
    return filled(keras.Model(i, L.Dense(3, name="head")(L.GlobalAveragePooling2D(name="gap")(x)), name="m"))

def trained():
    return filled(fresh())

def other_eps():
    return filled(fresh(1e-5))

def write():
    import tf2onnx

    for make in (fresh, trained, other_eps, bare):
        model = make()
        call = tf.function(
            lambda x, model=model: model(x, training=False),
            input_signature=[tf.TensorSpec((None, 12, 12, 3), tf.float32, name="x")],
        )
        tf2onnx.convert.from_function(
            call, input_signature=call.input_signature, opset=17, output_path=f"FOLDER/tf_{make.__name__}.onnx"
        )
    return fresh()
"""

TORCH = """
import torch
from torch import nn
from torch.nn import functional as F

def filled(model):
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            low = 0.5 if "var" in name or (value.dim() == 1 and name.endswith("weight")) else -0.3
            value.copy_(torch.rand(value.shape, generator=generator) * 0.8 + low)
    return model.eval()

class Net(nn.Module):
    def __init__(self, eps=1e-3, act=F.relu6, without=()):
        super().__init__()
        def norm(name, channels, kind=nn.BatchNorm2d):
            return nn.Identity() if name in without else kind(channels, eps=eps)
        self.c1, self.b1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), norm("b1", 6)
        self.c2, self.b2 = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), norm("b2", 6)
        self.c3, self.b3, self.b4 = nn.Conv2d(6, 6, 1), norm("b3", 6), norm("b4", 6)
        self.c5, self.b5 = nn.ConvTranspose2d(6, 4, 2, stride=2, bias=False), norm("b5", 4)
        self.f6, self.b6, self.layers = nn.Linear(4, 5), norm("b6", 5, nn.BatchNorm1d), nn.Linear(5, 3)
        self.__dict__["act"] = act

    def forward(self, x):
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b4(x + self.b3(self.c3(self.__dict__["act"](self.b2(self.c2(x)))))))
        x = F.relu(self.b5(self.c5(F.max_pool2d(x, 2)))).mean((2, 3))
        return self.layers(F.relu(self.b6(self.f6(x))))

class Bare(nn.Module):
    def __init__(self, act=F.relu6):
        super().__init__()
        for n, (center, scale) in enumerate(((False, True), (True, False), (False, False)), 1):
            setattr(self, f"c{n}", nn.Conv2d(3 if n == 1 else 4, 4, 3, bias=n == 2))
            for name in "ba":
                norm = nn.BatchNorm2d(4, eps=1e-3)
                norm.bias, norm.weight = norm.bias if center else None, norm.weight if scale else None
                setattr(self, f"{name}{n}", norm)
        self.head, self.__dict__["act"] = nn.Linear(4, 3), act

    def forward(self, x):
        for n in (1, 2, 3):
            c, b, a = (getattr(self, f"{name}{n}") for name in "cba")
            x = a((F.relu6 if n < 3 else self.__dict__["act"])(b(c(x))))
        return self.head(x.mean((2, 3)))

def bare():
    return filled(Bare())

def bare_relu():
    return filled(Bare(act=F.relu))

def net():
    return Net().eval()

def net_relu():
    return Net(act=F.relu).eval()

def write():
    x = (torch.zeros(2, 3, 12, 12),)
    made = {"fresh": Net().eval(), "trained": filled(Net()), "relu": filled(Net(act=F.relu)),
            "unnormed": filled(Net(without=("b2",))), "bare": bare()}
    for name, model in made.items():
        if name != "unnormed":
            old = {"dynamo": False, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
            torch.onnx.export(model, x, f"FOLDER/pt_{name}_script.onnx", **old)
        torch.onnx.export(model, x, f"FOLDER/pt_{name}.onnx", dynamic_shapes=({0: "n"},), verbose=False)
    return net()
"""

FIRST = {"torch_layout": "same"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builders of both frameworks, and the files that they export from inside a worker."""
    return written(tmp_path_factory.mktemp("onnx_folded"), KERAS, TORCH)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """The four processes of a check, kept for all of them."""
    made = Workers(CheckOptions(inputs=as_inputs(["4"])))
    yield made
    made.close()


def asked(folder: Path, workers: Workers, tensorflow: str, torch: str, **words: object) -> dict[str, object]:
    both = sources(folder, tensorflow, torch)
    found: dict[str, object] = check(*both, ["12x12x3"], workers=workers, **words).to_dict()  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("tensorflow", "torch", "words"),
    [
        ("trained", "pt_trained.onnx", {}),
        ("trained", "pt_trained_script.onnx", {}),
        ("fresh", "pt_fresh.onnx", {}),
        ("tf_trained.onnx", "net", {}),
        ("bare", "tf_bare.onnx", {**FIRST, "weights": "as-is"}),
        ("tf_bare.onnx", "bare", {"weights": "torch-to-tf"}),
        *rarely(
            ("fresh", "pt_fresh_script.onnx", {}),
            ("trained", "pt_trained.onnx", {"weights": "torch-to-tf"}),
            ("tf_fresh.onnx", "net", {}),
            ("tf_trained.onnx", "net", {"weights": "torch-to-tf"}),
            ("trained", "tf_trained.onnx", FIRST),
            ("trained", "tf_trained.onnx", {**FIRST, "weights": "as-is"}),
            ("tf_trained.onnx", "pt_trained.onnx", {}),
            ("tf_trained.onnx", "pt_trained_script.onnx", {}),
            ("bare", "pt_bare.onnx", {}),
            ("tf_bare.onnx", "bare", {}),
        ),
    ],
)
def test_a_file_without_its_norms_is_the_function_that_it_was_exported_from(
    folder: Path, workers: Workers, tensorflow: str, torch: str, words: dict[str, object]
) -> None:
    found = asked(folder, workers, tensorflow, torch, **words)
    assert found["exit"] == 0, found["sources"]
    assert any("with the batch normalisation folded in" in note for note in found["notes"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("tensorflow", "torch", "words", "causes", "at"),
    [
        ("trained", "pt_relu.onnx", {}, {"relu6-missing"}, ["r2"]),
        ("tf_trained.onnx", "net_relu", {}, {"relu6-missing"}, None),
        # As they are, the file's numbers are those of another eps.
        ("trained", "tf_other_eps.onnx", {**FIRST, "weights": "as-is"}, {"batchnorm-eps"},
         ["c1", "b2", "b3", "b4", "b5", "b6"]),
        *rarely(
            ("trained", "pt_relu_script.onnx", {}, {"relu6-missing"}, ["r2"]),
            ("tf_bare.onnx", "bare_relu", {}, {"relu6-missing"}, None),
            # A layer without a bias can hold no shift: the norm that it should have had is missing.
            ("trained", "pt_unnormed.onnx", {}, {"unknown"}, ["b2"]),
        ),
    ],
)  # fmt: skip
def test_a_fault_beside_folded_norms_is_found_where_it_is(
    folder: Path, workers: Workers, tensorflow: str, torch: str, words: dict[str, object], causes: set[str],
    at: list[str] | None,
) -> None:  # fmt: skip
    found = asked(folder, workers, tensorflow, torch, **words)
    told = found["sources"]
    assert isinstance(told, list)
    assert {one["cause"] for one in told} == causes
    assert at is None or [one["tensorflow"] for one in told] == at


@pytest.mark.parametrize(
    ("tensorflow", "torch", "traps"),
    [
        ("trained", "pt_trained.onnx", []),
        ("tf_trained.onnx", "net", []),
        *rarely(
            ("trained", "pt_trained_script.onnx", []),
            ("trained", "pt_relu.onnx", ["relu6-missing"]),
        ),
    ],
)
def test_lint_accuses_no_file_of_norms_that_exporters_fold(
    folder: Path, tensorflow: str, torch: str, traps: list[str]
) -> None:
    found = lint(*sources(folder, tensorflow, torch), CheckOptions(inputs=as_inputs(["4"])))
    assert [one.trap for one in found.differences] == traps
    assert any("exporters fold them" in note for note in found.notes)


def test_folded_weights_are_the_same_function_in_float64() -> None:
    rng = np.random.default_rng(0)
    held = {
        "kernel": rng.normal(size=(5, 4)), "bias": rng.normal(size=4), "gamma": rng.uniform(0.5, 2, 4),
        "beta": rng.normal(size=4), "mean": rng.normal(size=4), "variance": rng.uniform(0.5, 2, 4),
    }  # fmt: skip
    held = {name: array.astype(np.float32) for name, array in held.items()}
    fold = Fold("gamma", "beta", "mean", "variance", 1e-3, "kernel", (-1,), "bias")
    x = rng.normal(size=(3, 5))

    def layer(given: dict[str, np.ndarray]) -> np.ndarray:
        y = x @ given["kernel"].astype(np.float64) + given["bias"].astype(np.float64)
        normal = (y - given["mean"].astype(np.float64)) / np.sqrt(given["variance"].astype(np.float64) + 1e-3)
        return np.asarray(normal * given["gamma"] + given["beta"])

    made = {**held, **fold.made(held)}
    assert np.allclose(layer(held), layer(made), rtol=0, atol=1e-6)
    assert not made["bias"].any()
    assert not made["mean"].any()
    # What is left of the norm is a shift and nothing else, to the last digit of float64.
    assert np.allclose(layer(made), x @ made["kernel"].astype(np.float64) + made["beta"], rtol=0, atol=1e-15)
    assert fold.near(held, {"kernel": made["kernel"], "beta": made["beta"]})
    assert not fold.near(held, {"kernel": made["kernel"] * np.float32(1.00001), "beta": made["beta"]})
