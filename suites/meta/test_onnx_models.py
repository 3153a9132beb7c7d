"""An exported `.onnx` file on either side of a check: as its builder, with planted faults, and as bad input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.errors import UsageError
from parity.port import check
from parity.porting.options import CheckOptions, as_inputs
from parity.porting.sides import Workers
from suites.meta.onnx_files import rarely, sources, written

KERAS = """
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from keras import ops

def filled(model):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(variable.numpy() + rng.uniform(-0.2, 0.2, variable.shape))
    return model

def image():
    keras.utils.set_random_seed(3)
    x = i = keras.Input((12, 12, 3))
    x = a = L.Conv2D(6, 3, padding="same", activation="relu", name="e1")(x)
    x = L.DepthwiseConv2D(3, strides=2, padding="same", name="dw")(x)
    x = L.Concatenate(name="cat")([a, L.UpSampling2D(name="up")(x)])
    x = L.AveragePooling2D(2, name="pool")(x)
    x = L.Flatten(name="flat")(x)
    return filled(keras.Model(i, L.Dense(4, activation="softmax", name="head")(x), name="m"))

def tokens():
    keras.utils.set_random_seed(3)
    x = i = keras.Input((6, 8))
    x = L.LayerNormalization(epsilon=1e-6, name="ln")(x + L.MultiHeadAttention(2, 4, name="mha")(x, x))
    x = L.Dense(10, activation="gelu", name="f1")(x)
    x = L.LSTM(5, return_sequences=True, name="lstm")(x)
    return filled(keras.Model(i, L.Dense(3, name="head")(x), name="m"))

def fresh():
    # Nobody trained it: its biases are zero, and exporters leave them out.
    keras.utils.set_random_seed(3)
    i = keras.Input((9,), dtype="int32")
    x = L.Conv1D(5, 3, activation="elu", name="c1")(L.Embedding(20, 6, name="table")(i))
    return keras.Model(i, L.Dense(3, name="head")(L.GlobalMaxPooling1D(name="most")(x)), name="m")

def fresh_norms(eps=1e-5):
    # Two scales of ones are kept once, and the shifts of zeros left out.
    keras.utils.set_random_seed(3)
    x = i = keras.Input((5, 7))
    for n in (1, 2):
        x = L.LayerNormalization(epsilon=eps, name=f"n{n}")(L.Dense(8, name=f"d{n}")(x))
    return keras.Model(i, x, name="m")

class Marked(L.Layer):
    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
        self.place = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), name="place")
        self.much = self.add_weight(shape=(1,), name="much")

    def call(self, x):
        token = keras.ops.tile(self.token, (keras.ops.shape(x)[0], 1, 1))
        return (keras.ops.concatenate([token, x], 1) + self.place) * self.much

def marked(eps=1e-5, gelu=True):
    keras.utils.set_random_seed(3)
    i = keras.Input((5, 8))
    x = Marked(name="marked")(i)
    y = L.LayerNormalization(epsilon=eps, name="ln")(x)
    x = x + L.MultiHeadAttention(2, 4, name="mha")(y, y)
    x = L.Lambda(lambda t: keras.activations.gelu(t, approximate=gelu), name="act")(L.Dense(9, name="f1")(x))
    return filled(keras.Model(i, L.Dense(3, name="head")(x[:, 0]), name="m"))

def marked_eps():
    return marked(eps=1e-3)

def marked_gelu():
    return marked(gelu=False)

def colours():
    # Its norm is over an axis that tf2onnx brings to the second place.
    keras.utils.set_random_seed(3)
    x = i = keras.Input((10, 8, 3))
    x = L.LayerNormalization(epsilon=1e-6, name="ln")(L.Conv2D(6, 3, name="c1")(x))
    x = L.PReLU(shared_axes=[1, 2, 3], name="a1")(L.DepthwiseConv2D(3, name="dw")(x))
    x = L.PReLU(shared_axes=[1, 2], name="a2")(L.Conv2D(4, 1, name="c2")(x))
    return filled(keras.Model(i, x, name="m"))

def banks(seed=0):
    # A spectrum through a bank of filters: a matrix of constants, which a file keeps as it does weights.
    keras.utils.set_random_seed(3)
    i = keras.Input((8, 9))
    bank = np.random.default_rng(seed).random((9, 5), np.float32)
    x = L.Conv1D(6, 3, activation="relu", name="conv")(ops.log(ops.square(ops.matmul(i, bank)) + 1e-6))
    return filled(keras.Model(i, L.Dense(2, name="head")(L.GlobalMaxPooling1D(name="most")(x)), name="m"))

def banks_other():
    return banks(seed=1)

def steps():
    # tf2onnx writes both as loops over time.
    keras.utils.set_random_seed(3)
    x = i = keras.Input((7, 6))
    x = L.Bidirectional(L.GRU(4, return_sequences=True), name="both")(x)
    x = L.SimpleRNN(5, activation="relu", return_sequences=True, name="plain")(x)
    x = L.Bidirectional(L.LSTM(4), name="ends")(x)  # tf2onnx writes this one as a node of both directions
    return filled(keras.Model(i, L.Dense(3, name="head")(x), name="m"))

def swished(red=-0.5):
    # TensorFlow's optimiser scales the sigmoid in place of what it is multiplied with.
    x = i = keras.Input((10, 8, 3))
    x = L.Rescaling(0.25, offset=[red, -0.3, 0.2], name="scale")(x)
    x = L.Conv2D(4, 3, activation="swish", name="c1")(x)
    x = L.GlobalAveragePooling2D(name="gap")(L.Rescaling([0.5, 2.0, 3.0, 0.75], name="again")(x))
    return filled(keras.Model(i, L.Dense(3, name="head")(x), name="m"))

def swished_red():
    return swished(0.5)

def copies():
    keras.utils.set_random_seed(3)
    x = i = keras.Input((8,))
    for n in range(3):
        x = L.Dense(8, activation="tanh", name=f"d{n}")(x)
    return keras.Model(i, x, name="m")

def shared():
    keras.utils.set_random_seed(3)
    x, d = keras.Input((8,)), L.Dense(8, activation="tanh", name="d")
    return keras.Model(x, d(d(d(x))), name="m")

def write():
    import tf2onnx

    for make, shape in (
        (image, (12, 12, 3)), (tokens, (6, 8)), (fresh, (9,)), (fresh_norms, (5, 7)), (marked, (5, 8)),
        (colours, (10, 8, 3)), (steps, (7, 6)), (swished, (10, 8, 3)), (banks, (8, 9)),
    ):
        model = make()
        call = tf.function(
            lambda x, model=model: model(x, training=False),
            input_signature=[tf.TensorSpec((None, *shape), tf.int32 if make is fresh else tf.float32, name="x")],
        )
        tf2onnx.convert.from_function(
            call, input_signature=call.input_signature, opset=17, output_path=f"FOLDER/tf_{make.__name__}.onnx"
        )
    return image()
"""

TORCH = """
import copy

import numpy as np

import torch
from torch import nn
from torch.nn import functional as F

def filled(model):
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            low = 0.6 if "var" in name or (value.dim() == 1 and name.endswith("weight")) else -0.2
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + low)
    return model.eval()

class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.e1, self.dw = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, stride=2, groups=6)
        self.head = nn.Linear(432, 4)

    def forward(self, x):
        a = F.relu(self.e1(x))
        x = torch.cat([a, F.interpolate(self.dw(F.pad(a, (0, 1, 0, 1))), scale_factor=2)], 1)
        return self.head(F.avg_pool2d(x, 2).permute(0, 2, 3, 1).flatten(1)).softmax(-1)

class Tokens(nn.Module):
    def __init__(self, eps=1e-6, gelu="none"):
        super().__init__()
        self.mha, self.ln = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8, eps=eps)
        self.f1, self.lstm, self.head = nn.Linear(8, 10), nn.LSTM(10, 5, batch_first=True), nn.Linear(5, 3)
        self.__dict__["gelu"] = gelu

    def forward(self, x):
        x = self.ln(x + self.mha(x, x, x, need_weights=False)[0])
        return self.head(self.lstm(F.gelu(self.f1(x), approximate=self.__dict__["gelu"]))[0])

class Norms(nn.Module):
    def __init__(self, eps=1e-5, act=F.relu):
        super().__init__()
        self.c1, self.bn = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8, eps=eps)
        self.c2, self.gn = nn.Conv2d(8, 8, 3), nn.GroupNorm(2, 8)
        self.up, self.fc = nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1), nn.Linear(256, 5)
        self.__dict__["act"] = act

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.c1(x))), 3, 1, 1)
        return self.fc(torch.flatten(self.up(self.__dict__["act"](self.gn(self.c2(x)))), 1))

class Fresh(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.c1, self.head = nn.Embedding(20, 6), nn.Conv1d(6, 5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(F.elu(self.c1(self.table(x).transpose(1, 2))).amax(-1))

class Twice(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.d1, self.n1, self.d2, self.n2 = nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8, eps=eps)

    def forward(self, x):
        return self.n2(self.d2(self.n1(self.d1(x))))

class FreshNorms(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.d1, self.n1, self.d2, self.n2 = nn.Linear(7, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8, eps=eps)

    def forward(self, x):
        return self.n2(self.d2(self.n1(self.d1(x))))

class Marked(nn.Module):
    def __init__(self, eps=1e-5):
        super().__init__()
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, 8)), nn.Parameter(torch.zeros(1, 6, 8))
        self.much, self.ln = nn.Parameter(torch.ones(1)), nn.LayerNorm(8, eps=eps)
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)
        self.f1, self.head = nn.Linear(8, 9), nn.Linear(9, 3)

    def forward(self, x):
        x = (torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place) * self.much
        y = self.ln(x)
        x = x + self.mha(y, y, y, need_weights=False)[0]
        return self.head(F.gelu(self.f1(x), approximate="tanh")[:, 0])

class Colours(nn.Module):
    def __init__(self, eps=1e-6):
        super().__init__()
        self.c1, self.ln, self.dw = nn.Conv2d(3, 6, 3), nn.LayerNorm(6, eps=eps), nn.Conv2d(6, 6, 3, groups=6)
        self.a1, self.c2, self.a2 = nn.PReLU(), nn.Conv2d(6, 4, 1), nn.PReLU(4)

    def forward(self, x):
        x = self.ln(self.c1(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.a2(self.c2(self.a1(self.dw(x))))

class Spread(nn.Module):
    def __init__(self, how="bicubic"):
        super().__init__()
        self.c1, self.head = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 1)
        self.__dict__["how"] = how

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.c1(x)), 3, 2, 1, dilation=2)
        return self.head(F.interpolate(x, scale_factor=2, mode=self.__dict__["how"], align_corners=False))

class Grouped(nn.Module):
    def __init__(self, turned=False):
        super().__init__()
        self.up, self.head = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.Conv2d(6, 2, 1)
        self.__dict__["turned"] = turned

    def forward(self, x):
        return self.head(F.relu(self.up(x.flip(1) if self.__dict__["turned"] else x)))

class Swished(nn.Module):
    def __init__(self, act=F.silu, sign=1):
        super().__init__()
        self.c1, self.head, self.__dict__["act"] = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), act
        self.__dict__["sign"] = sign
        self.register_buffer("mean", torch.tensor([0.5, 0.3, -0.2])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.5, 2.0, 3.0, 0.75])[:, None, None])

    def forward(self, x):
        x = x / 4 - self.mean if self.__dict__["sign"] == 1 else x / 4 + self.mean
        return self.head((self.__dict__["act"](self.c1(x)) * self.scale).mean((2, 3)))

class Steps(nn.Module):
    def __init__(self, bend="relu"):
        super().__init__()
        self.both = nn.GRU(6, 4, batch_first=True, bidirectional=True)
        self.plain = nn.RNN(8, 5, batch_first=True, nonlinearity=bend)
        self.ends, self.head = nn.LSTM(5, 4, batch_first=True, bidirectional=True), nn.Linear(8, 3)

    def forward(self, x):
        ends = self.ends(self.plain(self.both(x)[0])[0])[1][0]
        return self.head(torch.cat([ends[0], ends[1]], 1))

class Layers(nn.Module):
    def __init__(self, one):
        super().__init__()
        torch.manual_seed(1)
        layer = nn.Linear(8, 8)
        self.layers = nn.ModuleList([layer] * 3 if one else [copy.deepcopy(layer) for _ in range(3)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        x = self.c1(F.pad(x, (2, 1, 0, 1), mode="replicate"))
        x = F.normalize(F.local_response_norm(x, 3, alpha=0.3), dim=1)
        return torch.tril(x.cumsum(2), 1), torch.sign(x).mul(x).logsumexp(3)

def fresh():
    return Fresh()

def fresh_norms():
    return FreshNorms()

def fresh_norms_eps():
    return FreshNorms(1e-3)

def marked():
    return filled(Marked())

def colours():
    return filled(Colours())

def colours_eps():
    return filled(Colours(1e-3))

def spread():
    return filled(Spread())

def spread_linear():
    return filled(Spread("bilinear"))

def swished():
    return Swished()

def grouped():
    return filled(Grouped())

def grouped_turned():
    return filled(Grouped(turned=True))

def swished_sign():
    return Swished(sign=-1)

def swished_relu():
    return Swished(F.relu)

class Banks(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.from_numpy(np.random.default_rng(0).random((9, 5), np.float32)))
        self.conv, self.head = nn.Conv1d(5, 6, 3), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.log(torch.square(x @ self.bank) + 1e-6).transpose(1, 2)
        return self.head(torch.relu(self.conv(x)).amax(-1))

def banks():
    return Banks().eval()

def steps():
    return filled(Steps())

def steps_tanh():
    return filled(Steps("tanh"))

def copies():
    return Layers(one=False).eval()

def shared():
    return Layers(one=True).eval()

def odd():
    return filled(Odd())

def twice():
    return Twice()

def twice_eps():
    return Twice(1e-3)

def image():
    return filled(Image())

def tokens():
    return filled(Tokens())

def tokens_eps():
    return filled(Tokens(eps=1e-3))

def tokens_tanh():
    return filled(Tokens(gelu="tanh"))

def norms():
    return filled(Norms())

def norms_eps():
    return filled(Norms(eps=1e-3))

def norms_act():
    return filled(Norms(act=F.silu))

def write():
    how = {"dynamo": False, "opset_version": 17, "do_constant_folding": False, "input_names": ["x"],
           "dynamic_axes": {"x": {0: "n"}}}
    torch.onnx.export(norms(), (torch.zeros(2, 3, 12, 12),), "FOLDER/pt_norms.onnx", **how)
    torch.onnx.export(norms(), (torch.zeros(2, 3, 12, 12),), "FOLDER/pt_folded.onnx", verbose=False)
    torch.onnx.export(tokens(), (torch.zeros(2, 6, 8),), "FOLDER/pt_tokens.onnx", **how)
    torch.onnx.export(twice().eval(), (torch.zeros(3, 7),), "FOLDER/pt_twice.onnx", verbose=False)
    torch.onnx.export(marked(), (torch.zeros(2, 5, 8),), "FOLDER/pt_marked.onnx", **how)
    torch.onnx.export(grouped(), (torch.zeros(2, 4, 7, 6),), "FOLDER/pt_grouped.onnx", **how)
    torch.onnx.export(spread(), (torch.zeros(2, 3, 12, 10),), "FOLDER/pt_spread.onnx", **how)
    torch.onnx.export(banks(), (torch.zeros(2, 8, 9),), "FOLDER/pt_banks.onnx", **how)
    for make, size in ((marked, (3, 5, 8)), (copies, (3, 8)), (shared, (3, 8)), (odd, (3, 3, 8, 7))):
        name = "pt_marked_new" if make is marked else f"pt_{make.__name__}"
        torch.onnx.export(make(), (torch.zeros(size),), f"FOLDER/{name}.onnx", verbose=False)
    return norms()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builders of both frameworks, and the files that they export from inside a worker."""
    return written(tmp_path_factory.mktemp("onnx_models"), KERAS, TORCH)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """The four processes of a check, kept for all of them."""
    made = Workers(CheckOptions(inputs=as_inputs(["4"])))
    yield made
    made.close()


def asked(
    folder: Path, workers: Workers, tensorflow: str, torch: str, shape: str, **words: object
) -> dict[str, object]:
    both = sources(folder, tensorflow, torch)
    found: dict[str, object] = check(*both, [shape], workers=workers, **words).to_dict()  # type: ignore[arg-type]
    return found


SAME = {"torch_layout": "same"}


@pytest.mark.parametrize(
    ("tensorflow", "torch", "shape", "words"),
    [
        ("tf_image.onnx", "image", "12x12x3", {}),
        ("tokens", "tf_tokens.onnx", "6x8", {}),
        ("pt_norms.onnx", "norms", "3x12x12", {**SAME, "weights": "as-is"}),
        ("pt_tokens.onnx", "pt_tokens.onnx", "6x8", {}),
        ("marked", "pt_marked_new.onnx", "5x8", {}),
        ("tf_marked.onnx", "marked", "5x8", {}),
        ("tf_steps.onnx", "steps", "7x6", {}),
        ("tf_swished.onnx", "swished", "10x8x3", {}),
        ("pt_odd.onnx", "odd", "3x8x7", SAME),
        ("banks", "pt_banks.onnx", "8x9", {}),
        ("pt_grouped.onnx", "grouped", "4x7x6", {**SAME, "weights": "as-is"}),
        *rarely(
            ("tf_tokens.onnx", "tokens", "6x8", {}),
            ("tf_banks.onnx", "banks", "8x9", {}),
            ("image", "tf_image.onnx", "12x12x3", SAME),
            ("pt_norms.onnx", "norms", "3x12x12", SAME),
            ("pt_norms.onnx", "norms", "3x12x12", {**SAME, "weights": "torch-to-tf"}),
            ("tokens", "pt_tokens.onnx", "6x8", {}),
            ("tf_fresh.onnx", "fresh", "9:0:19", {}),
            ("fresh", "tf_fresh.onnx", "9:0:19", {}),
            ("pt_twice.onnx", "twice", "7", {}),
            ("fresh_norms", "tf_fresh_norms.onnx", "5x7", {}),
            ("marked", "pt_marked.onnx", "5x8", {}),
            ("tf_marked.onnx", "pt_marked.onnx", "5x8", {}),
            ("tf_colours.onnx", "colours", "10x8x3", {}),
            ("colours", "tf_colours.onnx", "10x8x3", SAME),
            ("steps", "tf_steps.onnx", "7x6", {"weights": "as-is"}),
            ("swished", "tf_swished.onnx", "10x8x3", SAME),
            ("copies", "pt_copies.onnx", "8", {}),
            ("shared", "pt_shared.onnx", "8", {}),
            ("pt_spread.onnx", "spread", "3x12x10", SAME),
        ),
    ],
)
def test_a_file_is_the_function_that_it_was_exported_from(
    folder: Path, workers: Workers, tensorflow: str, torch: str, shape: str, words: dict[str, object]
) -> None:
    found = asked(folder, workers, tensorflow, torch, shape, **words)
    assert found["exit"] == 0, found["sources"]


@pytest.mark.parametrize(
    ("tensorflow", "torch", "shape", "words", "cause", "at"),
    [
        ("pt_norms.onnx", "norms_eps", "3x12x12", SAME, "batchnorm-eps", ("bn", "bn")),
        ("tf_tokens.onnx", "tokens_eps", "6x8", {}, "layernorm-eps", ("ln_1", "ln")),
        ("pt_twice.onnx", "twice_eps", "7", {}, "layernorm-eps", ("n2", "n2")),
        ("marked_eps", "pt_marked_new.onnx", "5x8", {}, "layernorm-eps", ("ln", "ln")),
        ("pt_grouped.onnx", "grouped_turned", "4x7x6", {**SAME, "weights": "as-is"}, "unknown", None),
        ("tf_colours.onnx", "colours_eps", "10x8x3", {}, "layernorm-eps", ("ln_1", "ln")),
        ("banks_other", "pt_banks.onnx", "8x9", {}, "unknown", None),
        *rarely(
            ("pt_norms.onnx", "norms_act", "3x12x12", SAME, "activation-missing", None),
            ("tf_tokens.onnx", "tokens_tanh", "6x8", {}, "gelu-approximation", None),
            ("tf_fresh_norms.onnx", "fresh_norms_eps", "5x7", {}, "layernorm-eps", ("n2_1", "n2")),
            ("marked_eps", "pt_marked.onnx", "5x8", {}, "layernorm-eps", ("ln", "ln")),
            ("marked_gelu", "pt_marked.onnx", "5x8", {}, "gelu-approximation", None),
            ("pt_spread.onnx", "spread_linear", "3x12x10", SAME, "unknown", None),
            ("swished_red", "tf_swished.onnx", "10x8x3", SAME, "unknown", None),
            ("tf_swished.onnx", "swished_sign", "10x8x3", {}, "weight-scale", None),
            ("tf_swished.onnx", "swished_relu", "10x8x3", {}, "activation-missing", ("c1_1/swish", "relu")),
            ("tf_steps.onnx", "steps_tanh", "7x6", {}, "activation-missing", ("plain_1", "plain")),
        ),
    ],
)
def test_a_fault_beside_a_file_is_found_where_it_is(
    folder: Path, workers: Workers, tensorflow: str, torch: str, shape: str, words: dict[str, object], cause: str,
    at: tuple[str, str] | None,
) -> None:  # fmt: skip
    found = asked(folder, workers, tensorflow, torch, shape, **words)
    told = found["sources"]
    assert isinstance(told, list)
    assert [one["cause"] for one in told] == [cause]
    assert at is None or (told[0]["tensorflow"], told[0]["torch"]) == at


def test_a_norm_that_the_file_holds_folded_is_nothing_to_train(folder: Path, workers: Workers) -> None:
    found = asked(folder, workers, "pt_folded.onnx", "norms", "3x12x12", torch_layout="same", batch=2, train=True)
    assert found["exit"] == 2
    assert not found["sources"]


@pytest.mark.parametrize(
    ("tensorflow", "torch", "shape", "says"),
    [
        ("pt_norms.onnx", "norms", "12x12x3", r"but \(\d, 12, 12, 3\) was given: write --input 3x12x12"),
        ("tf_image.onnx", "image", "3x12x12", "write --input 12x12x3"),
        ("image", "tf_image.onnx", "12x12x3", "write --torch-layout same"),
        ("none.onnx", "image", "12x12x3", "there is no such file"),
        ("text.onnx", "image", "12x12x3", r"text\.onnx is no valid ONNX file"),
        ("lost.onnx", "image", "4", r"takes m/norm/Sub/y:0, too: constants that tf2onnx took for inputs"),
        ("odd.onnx", "image", "4", "uses the ONNX operators StringNormalizer, which cannot be run here"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    folder: Path, workers: Workers, tensorflow: str, torch: str, shape: str, says: str
) -> None:
    import onnx

    (folder / "text.onnx").write_text("nothing")
    string = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.STRING, [4])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.STRING, [4])
    node = onnx.helper.make_node("StringNormalizer", ["x"], ["y"])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [string], [out])), str(folder / "odd.onnx"))
    both = [onnx.helper.make_tensor_value_info(name, 1, [None, 4]) for name in ("x", "m/norm/Sub/y:0", "y")]
    node = onnx.helper.make_node("Sub", ["x", "m/norm/Sub/y:0"], ["y"])
    graph = onnx.helper.make_graph([node], "g", both[:2], both[2:])
    onnx.save(onnx.helper.make_model(graph), str(folder / "lost.onnx"))
    with pytest.raises(UsageError, match=says) as caught:
        asked(folder, workers, tensorflow, torch, shape)
    assert "\n" not in str(caught.value)


def test_a_file_takes_as_many_inputs_as_it_says(folder: Path, workers: Workers) -> None:
    with pytest.raises(UsageError, match="the ONNX graph takes x, but 2 inputs were given"):
        check(str(folder / "pt_tokens.onnx"), f"{folder / 'their_pt'}.py:tokens", ["6x8", "6x8"], workers=workers)
