"""A user's own torch model in a worker: it is traced as it runs, and each part of it computed again is the same."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.model.trace import Op, Trace
from parity.workers.client import Worker, WorkerOptions

MODELS = '''
import sys
import torch
from torch import nn
from torch.nn import functional as F

print("builders print")


class Block(nn.Module):
    """A residual block whose activation is used twice and in place, and a functional one."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, (3, 5), padding=2, padding_mode="reflect")

    def forward(self, x):
        y = self.act(self.bn(self.conv1(x)))
        y = self.conv2(y)[:, :, :, 1:-1] if y.shape[-1] > 99 else self.conv2(y)
        y = F.interpolate(y, size=x.shape[-2:])
        y += x
        return F.relu(self.act(y) - 0.25)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1))
        self.stem = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.block, self.drop, self.head = Block(), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x):
        x = (x / 255.0 - self.mean) * 2.0
        x = self.block(self.stem(x)).mean((2, 3))
        return {"logits": self.head(self.drop(x)), "features": x}


def image():
    return Image()


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 6, 8))
        self.lstm = nn.LSTM(8, 4, num_layers=2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        x = torch.cat([self.cls.expand(tokens.shape[0], -1, -1), self.embed(tokens)], 1) + self.pos
        x, (h, c) = self.lstm(x)
        x = self.gru(x.transpose(0, 1))[0].transpose(0, 1)
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        return self.out(self.encoder(x, mask=mask)), h


def text():
    return Text()


class Exact(nn.Module):
    """Constants that float32 cannot hold, and casts that would throw digits away."""

    def __init__(self):
        super().__init__()
        self.register_buffer("third", torch.tensor(1.0) / 3)
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        x = self.linear(x).float() * self.third
        x = x.to(torch.float32) + F.softmax(x, -1, dtype=torch.float32)
        return F.hardsigmoid(F.leaky_relu(x, 0.3)) + torch.arange(8) / 7


def exact():
    return Exact()


class Function(nn.Module):
    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, *inputs):
        return self.function(self.parts, *inputs)


def view_written():
    def forward(parts, x):
        y = parts[0](x)
        y[:, 0].add_(1.0)
        return y * 1.5

    return Function(forward, nn.Linear(8, 8))


def shares():
    def forward(parts, x):
        ones = F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
        return parts[0](F.avg_pool2d(x, 3, 1, 1) / ones) * torch.ones_like(ones[:1, :1, :1, :1])

    return Function(forward, nn.Conv2d(3, 4, 1))


def unseen():
    return Function(lambda parts, x: parts[0](torch.from_numpy(x.detach().numpy() * 2)), nn.Linear(8, 8))


def in_place():
    def forward(parts, x):
        y = torch.zeros_like(x)
        y[:, 1:3] = parts[0](x)[:, :2]
        y[:, 0] += 1.0
        y *= x
        x.add_(1.0)
        return torch.add(y, x, out=torch.empty_like(x))

    return Function(forward, nn.Linear(8, 8))


def normed():
    from torch.nn.utils import parametrizations, weight_norm

    return nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 8)), weight_norm(nn.Linear(8, 8)))


def two():
    return Function(lambda parts, x, y: parts[0](x) + y, nn.Linear(8, 8))


def cut():
    def forward(parts, x):
        with torch.no_grad():
            y = parts[0](x)
        return parts[1](x) + y

    return Function(forward, nn.Linear(8, 8), nn.Linear(8, 8))


def plain():
    return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh())


def needs(size):
    return nn.Linear(size, size)


def raises():
    raise ValueError("no such backbone")


def the_class():
    return nn.Linear


def a_tuple():
    return nn.Linear(8, 8), None


def a_state():
    return plain().state_dict()


def returns_none():
    return Function(lambda parts, x: None)


def without_numbers():
    with torch.device("meta"):
        return nn.Linear(8, 3)


def quits():
    sys.exit(3)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    (path / "their_models.py").write_text(MODELS)
    return path


@pytest.fixture(scope="module")
def plain() -> Iterator[Worker]:
    with Worker(WorkerOptions("torch", role="plain", threads=1)) as opened:
        yield opened


@pytest.fixture(scope="module")
def twin() -> Iterator[Worker]:
    with Worker(WorkerOptions("torch", role="twin", threads=1)) as opened:
        yield opened


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def tokens() -> Any:
    return np.random.default_rng(0).integers(0, 11, (3, 5))


def load(worker: Worker, folder: Path, name: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = worker.call("load_model", source=f"{folder / 'their_models.py'}:{name}", **options)
    return found


def traced(worker: Worker, folder: Path, name: str, inputs: list[Any], **options: Any) -> Trace:
    load(worker, folder, name)
    return Trace.from_dict(worker.call("trace_model", inputs=inputs, **options))


def named(trace: Trace, name: str) -> Op:
    return next(op for op in trace.ops if op.name == name)


def whole(worker: Worker, trace: Trace, inputs: list[Any], **options: Any) -> dict[str, Any]:
    feed = {str(tensor): array for tensor, array in zip(trace.inputs, inputs, strict=True)}
    found: dict[str, Any] = worker.call("run_segment", feed=feed, want=trace.outputs[0], **options)
    return found


def replays(trace: Trace) -> list[str]:
    return [note for note in trace.notes if note.startswith("replay:")]


def test_an_image_model_is_traced_in_the_words_of_both_frameworks(plain: Worker, folder: Path) -> None:
    trace = traced(plain, folder, "image", [drawn(2, 3, 15, 13)])
    assert trace.notes == ()
    assert [(op.name, op.kind) for op in trace.ops] == [
        ("div", "rescale"),
        ("sub", "subtract"),
        ("mul", "rescale"),
        ("stem", "conv"),
        ("block.conv1", "conv"),
        ("block.bn", "batch_norm"),
        ("block.act", "activation"),
        ("block.conv2.pad", "zero_pad"),
        ("block.conv2", "conv"),
        ("block.interpolate", "resize"),
        ("block.add", "add"),
        ("block.act", "activation"),
        ("block.sub", "rescale"),
        ("block.relu", "activation"),
        ("mean", "global_avg_pool"),
        ("drop", "dropout"),
        ("head", "dense"),
    ]
    assert trace.output_names == ("output['logits']", "output['features']")
    assert named(trace, "div").config == {"scale": 1 / 255.0, "offset": 0.0}
    assert named(trace, "sub").weights == {"other": "mean"}
    assert named(trace, "stem").config["strides"] == [2, 2]
    assert named(trace, "block.conv2.pad").config["mode"] == "reflect"
    assert named(trace, "block.bn").weights["running_var"] == "block.bn.running_var"
    assert named(trace, "block.sub").config == {"scale": 1.0, "offset": -0.25}
    assert named(trace, "drop").config == {"rate": 0.5}
    assert named(trace, "block.conv1").made_by == "torch.nn.Conv2d"
    assert not trace.weights["block.bn.running_mean"].trainable
    first = trace.producers()
    assert first[named(trace, "block.add").inputs[0]].name == "block.interpolate"
    assert first[named(trace, "block.add").inputs[1]].name == "stem"


def test_sequences_attention_and_shared_weights(plain: Worker, folder: Path) -> None:
    trace = traced(plain, folder, "text", [tokens()])
    assert not replays(trace)
    kinds = {op.name: op.kind for op in trace.ops}
    assert kinds["lstm.l0"] == kinds["lstm.l1"] == "lstm"
    assert (kinds["gru"], kinds["encoder.layers.0.self_attn"]) == ("gru", "attention")
    lstm, gru = named(trace, "lstm.l1"), named(trace, "gru")
    assert lstm.config["bidirectional"]
    assert not lstm.config["time_major"]
    assert gru.config["time_major"]
    assert lstm.weights["bias_ih_l0_reverse"] == "lstm.bias_ih_l1_reverse+lstm.bias_hh_l1_reverse"
    assert gru.weights["biases_l0"] == "gru.bias_ih_l0|gru.bias_hh_l0"
    attention = named(trace, "encoder.layers.0.self_attn")
    assert attention.config["causal"]
    assert attention.config["heads"] == 2
    assert attention.weights["key.weight"] == "encoder.layers.0.self_attn.in_proj_weight@8:16"
    assert "other" not in attention.weights
    assert named(trace, "embed").config["padding_index"] == 0
    assert named(trace, "out").weights == {"weight": "embed.weight"}
    assert "out.weight" not in trace.weights
    assert named(trace, "expand").kind == "op:weight"
    assert named(trace, "expand").weights == {"weight": "cls"}
    assert named(trace, "add").weights == {"other": "pos"}


def test_attention_can_be_looked_into(plain: Worker, folder: Path) -> None:
    trace = traced(plain, folder, "text", [tokens()], expand=["attention"])
    assert not replays(trace)
    kinds = [op.kind for op in trace.ops if op.name.startswith("encoder.layers.0.self_attn")]
    assert "attention" not in kinds
    assert kinds.count("dense") == 2


@pytest.mark.parametrize(("name", "inputs"), [("image", [drawn(2, 3, 15, 13)]), ("text", [tokens()])])
def test_every_operation_computed_again_is_the_model_and_bounded(
    twin: Worker, folder: Path, name: str, inputs: list[Any]
) -> None:
    trace = traced(twin, folder, name, inputs)
    wanted = sorted({tensor for op in trace.ops for tensor in (*op.inputs, *op.outputs[:1])})
    twin.call("begin_run", inputs=inputs, wanted=wanted)
    values = {tensor: twin.call("advance", tensor=tensor) for tensor in wanted}
    for op in trace.ops:
        feed = {str(tensor): values[tensor] for tensor in op.inputs}
        want = op.outputs[0]
        upstream = drawn(*trace.shapes[want]).astype(np.float64)
        found = twin.call("run_segment", feed=feed, want=want, upstream=upstream, bounds=True)
        scale = np.abs(values[want]).max()
        assert np.abs(found["value"] - values[want]).max() <= 1e-14 * scale, op.name
        assert found["bounds32"].shape == values[want].shape, (op.name, found.get("bounds_unknown"))
        assert 0 <= found["bounds64"].max() <= found["bounds32"].max() <= 1e-3 * max(scale, 1.0), op.name
        assert set(found["gradient_bounds32"]["weights"]) == set(found["weight_gradients"])
        assert all(np.abs(gradient).max() > 0 for gradient in found["weight_gradients"].values()), op.name


def test_fingerprints_are_those_of_the_tensors(plain: Worker, folder: Path) -> None:
    inputs = [drawn(2, 3, 15, 13)]
    trace = traced(plain, folder, "image", inputs)
    prints = plain.call("fingerprints", inputs=inputs)
    assert set(prints) == {str(tensor) for tensor in trace.shapes}
    value = whole(plain, trace, inputs)["value"].astype(np.float64)
    expected = [value.size, value.sum(), np.abs(value).sum(), (value**2).sum(), value.max(), value.min()]
    assert np.allclose(prints[str(trace.outputs[0])], expected, rtol=1e-12)


def test_the_twin_is_exact_where_a_model_would_throw_digits_away(twin: Worker, folder: Path) -> None:
    x = drawn(4, 8)
    trace = traced(twin, folder, "exact", [x])
    assert set(trace.dtypes.values()) == {"float64"}
    weights = twin.call("get_model_weights")
    assert weights["third"] == 1 / 3
    y = (x.astype(np.float64) @ weights["linear.weight"].T + weights["linear.bias"]) / 3
    z = np.exp(y - y.max(-1, keepdims=True))
    y = y + z / z.sum(-1, keepdims=True)
    y = np.where(y > 0, y, y * 0.3)
    expected = np.clip(y + 3, 0, 6) / 6 + np.arange(8) / 7
    assert np.abs(whole(twin, trace, [x])["value"] - expected).max() < 1e-15


def test_the_bound_counts_constants_that_float32_cannot_hold(plain: Worker, twin: Worker, folder: Path) -> None:
    x = drawn(4, 8)
    results = []
    for worker in (plain, twin):
        trace = traced(worker, folder, "exact", [x])
        last = trace.ops[-1]  # + torch.arange(8) / 7
        assert last.config["constant_shape"] == [8]
        feed = {str(last.inputs[0]): np.zeros((4, 8))}
        results.append(worker.call("run_segment", feed=feed, want=last.outputs[0], bounds=worker is twin))
    error = np.abs(results[0]["value"] - results[1]["value"])
    assert error.max() > 1e-9
    assert (error <= results[1]["bounds32"]).all()
    assert results[1]["bounds32"].max() < 1e-6


def test_the_twin_starts_from_the_same_weights(plain: Worker, twin: Worker, folder: Path) -> None:
    for worker in (plain, twin):
        load(worker, folder, "image")
    ours, exact = plain.call("get_model_weights"), twin.call("get_model_weights")
    assert set(ours) == set(exact)
    assert all(np.array_equal(ours[name], exact[name].astype(np.float32)) for name in ours)


def test_weights_set_after_the_trace_are_used(twin: Worker, folder: Path) -> None:
    trace = traced(twin, folder, "text", [tokens()])
    before = whole(twin, trace, [tokens()])["value"]
    for name in ("cls", "pos", "embed.weight", "lstm.bias_hh_l0", "encoder.layers.0.self_attn.in_proj_weight"):
        old = twin.call("get_model_weights", names=[name])
        twin.call("set_model_weights", weights={name: old[name] + 0.5 * drawn(*old[name].shape, seed=1)})
        assert np.abs(whole(twin, trace, [tokens()])["value"] - before).max() > 1e-4, name
        twin.call("set_model_weights", weights=old)
    assert np.array_equal(whole(twin, trace, [tokens()])["value"], before)
    with pytest.raises(UsageError, match=r"weight `pos` has shape \(1, 6, 8\), not \(6, 8\)"):
        twin.call("set_model_weights", weights={"pos": np.zeros((6, 8))})
    with pytest.raises(UsageError, match=r"no weight `out\.weight`"):
        twin.call("get_model_weights", names=["out.weight"])


def test_gradients_are_those_of_finite_differences(twin: Worker, folder: Path) -> None:
    x = drawn(2, 3, 15, 13).astype(np.float64)
    trace = traced(twin, folder, "image", [x], training=True)
    found = whole(twin, trace, [x], upstream=np.ones((2, 3)))
    rng = np.random.default_rng(3)
    for name, gradient in found["weight_gradients"].items():
        weights = twin.call("get_model_weights", names=[name])
        direction = rng.normal(size=gradient.shape) * 1e-6
        sums = []
        for sign in (1, -1):
            twin.call("set_model_weights", weights={name: weights[name] + sign * direction})
            sums.append(whole(twin, trace, [x])["value"].sum())
        twin.call("set_model_weights", weights=weights)
        assert abs((sums[0] - sums[1]) / 2 - (gradient * direction).sum()) < 1e-10, name
    assert found["input_gradients"][str(trace.inputs[0])].shape == x.shape


def test_training_moves_the_statistics_of_a_copy_and_drops_nothing(plain: Worker, folder: Path) -> None:
    x = drawn(6, 8)
    load(plain, folder, "plain", training=True)
    trace = Trace.from_dict(plain.call("trace_model", inputs=[x], training=True))
    weights = plain.call("get_model_weights")
    norm, dropout = named(trace, "1"), named(trace, "2")
    assert norm.config["training"]
    assert norm.config["momentum"] == 0.9
    assert dropout.config["rate"] == 0.5
    found = whole(plain, trace, [x], state=True)
    y = x @ weights["0.weight"].T + weights["0.bias"]
    expected = 0.9 * weights["1.running_mean"] + 0.1 * y.mean(0)
    assert np.allclose(found["state"]["1.running_mean"], expected, rtol=1e-5)
    assert np.allclose(found["value"], np.tanh((y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5)), atol=1e-5)
    after = plain.call("get_model_weights")
    assert all(np.array_equal(weights[name], after[name]) for name in weights)


def test_one_training_step_and_nothing_left_of_it(twin: Worker, folder: Path) -> None:
    x, upstream = drawn(6, 8), drawn(6, 4, seed=2)
    load(twin, folder, "plain", training=True)
    trace = Trace.from_dict(twin.call("trace_model", inputs=[x], training=True))
    before = twin.call("get_model_weights")
    optimizer = {"name": "sgd", "learning_rate": 0.1}
    step = twin.call("train_step", inputs=[x], upstreams=[upstream], optimizer=optimizer)
    segment = whole(twin, trace, [x], upstream=upstream, state=True)
    for name, gradient in segment["weight_gradients"].items():
        assert np.allclose(step["weight_gradients"][name], gradient, rtol=1e-12, atol=1e-15)
        assert np.allclose(step["weights_after"][name], before[name] - 0.1 * gradient, rtol=1e-12, atol=1e-14)
    assert np.array_equal(step["state"]["1.running_var"], segment["state"]["1.running_var"])
    after = twin.call("get_model_weights")
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_edits_replace_skip_and_insert(twin: Worker, folder: Path) -> None:
    x = drawn(2, 3, 15, 13).astype(np.float64)
    trace = traced(twin, folder, "image", [x])
    plain = whole(twin, trace, [x])["value"]
    stem = named(trace, "stem")
    same = {"op": stem.index, "kind": stem.kind, "config": dict(stem.config)}
    assert np.abs(whole(twin, trace, [x], edits=[same])["value"] - plain).max() < 1e-14
    kernel = twin.call("get_model_weights", names=["stem.weight"])["stem.weight"]
    flipped = {**same, "weights": {"weight": kernel[:, :, ::-1, ::-1].copy()}}
    assert np.abs(whole(twin, trace, [x], edits=[flipped])["value"] - plain).max() > 1e-4
    skipped = whole(twin, trace, [x], edits=[{"op": named(trace, "div").index, "skip": True}])["value"]
    scaled = {"insert": trace.inputs[0], "kind": "rescale", "config": {"scale": 255.0, "offset": 0.0}}
    assert np.abs(whole(twin, trace, [x], edits=[scaled])["value"] - skipped).max() < 1e-12
    last = {"insert": trace.outputs[0], "kind": "rescale", "config": {"scale": 2.0, "offset": 1.0}}
    assert np.array_equal(whole(twin, trace, [x], edits=[last])["value"], 2 * plain + 1)


def test_a_fed_tensor_may_be_the_wanted_one_and_an_unfed_input_is_refused(plain: Worker, folder: Path) -> None:
    x = drawn(3, 8)
    trace = traced(plain, folder, "plain", [x])
    fed = plain.call("run_segment", feed={str(trace.inputs[0]): x}, want=trace.inputs[0])
    assert np.array_equal(fed["value"], x)
    with pytest.raises(UsageError, match="is a model input and was not fed"):
        plain.call("run_segment", feed={}, want=trace.outputs[0])


def test_writing_in_place_is_followed(plain: Worker, folder: Path) -> None:
    trace = traced(plain, folder, "in_place", [drawn(3, 8)])
    assert not replays(trace)
    assert {"setitem", "add"} <= {op.name for op in trace.ops}


@pytest.mark.parametrize(("name", "where"), [("view_written", "this input"), ("unseen", "another input")])
def test_what_cannot_be_seen_is_said_and_the_outputs_are_the_models_own(
    plain: Worker, folder: Path, name: str, where: str
) -> None:
    inputs = [drawn(3, 8)]
    trace = traced(plain, folder, name, inputs)
    assert len(replays(trace)) == 1
    assert where in replays(trace)[0]
    weights = plain.call("get_model_weights")
    other = [drawn(3, 8, seed=5)]
    y = (other[0] * (2 if name == "unseen" else 1)) @ weights["parts.0.weight"].T + weights["parts.0.bias"]
    if name == "view_written":
        y[:, 0] += 1
        y *= 1.5
    plain.call("begin_run", inputs=other, wanted=list(trace.outputs))
    assert np.allclose(plain.call("advance", tensor=trace.outputs[0]), y, atol=1e-5)
    assert np.allclose(whole(plain, trace, other)["value"], y, atol=1e-5)
    assert plain.call("fingerprints", inputs=other)[str(trace.outputs[0])][4] == pytest.approx(y.max(), rel=1e-4)


def test_no_gradient_goes_where_the_model_lets_none_go(twin: Worker, folder: Path) -> None:
    x = drawn(3, 8)
    trace = traced(twin, folder, "cut", [x])
    gradients = whole(twin, trace, [x], upstream=np.ones((3, 8)))["weight_gradients"]
    assert not gradients.get("parts.0.weight", np.zeros(1)).any()
    assert gradients["parts.1.weight"].any()


def test_normalised_weights_are_weights_of_their_own(plain: Worker, folder: Path) -> None:
    loaded = load(plain, folder, "normed")
    assert [note.partition(" is computed by ")[0] for note in loaded["notes"]] == ["`0.weight`", "`1.weight`"]
    trace = Trace.from_dict(plain.call("trace_model", inputs=[drawn(3, 8)]))
    assert sorted(trace.weights) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert not replays(trace)


def test_what_was_loaded_is_told(plain: Worker, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(plain, folder, "plain")
    assert loaded == {
        "class": "Sequential",
        "framework": "torch",
        "was_training": True,
        "notes": [],
        "values": 52,
        "computed": [],
        "lengths": [],
    }
    assert "builders print" not in capfd.readouterr().out
    assert "builders print" in plain.stderr_tail()


def test_constants_made_of_an_input_without_numbers_leave_the_order_known(plain: Worker, folder: Path) -> None:
    load(plain, folder, "shares")
    ordered = Trace.from_dict(plain.call("ops_in_order", inputs=[{"shape": [2, 3, 6, 5], "integers": False}]))
    assert [op.kind for op in ordered.ops] == ["avg_pool", "divide", "conv", "multiply"]


def test_static_operations_need_no_input(plain: Worker, folder: Path) -> None:
    load(plain, folder, "text")
    trace = Trace.from_dict(plain.call("static_ops"))
    kinds = {op.name: op.kind for op in trace.ops}
    assert kinds["embed"] == "embedding"
    assert kinds["lstm.l1"] == "lstm"
    assert kinds["gru"] == "gru"
    assert kinds["encoder.layers.0.self_attn"] == "attention"
    assert kinds["encoder.layers.0.norm2"] == "layer_norm"
    load(plain, folder, "image")
    trace = Trace.from_dict(plain.call("static_ops"))
    assert [op.name for op in trace.ops if op.kind == "conv"] == ["stem", "block.conv1", "block.conv2"]
    assert named(trace, "stem").config["strides"] == [2, 2]
    assert named(trace, "head").weights == {"weight": "head.weight", "bias": "head.bias"}


def test_operations_are_listed_in_their_order_without_numbers(plain: Worker, folder: Path) -> None:
    load(plain, folder, "image")
    given = {"shape": [2, 3, 12, 10], "integers": False}
    ordered = Trace.from_dict(plain.call("ops_in_order", inputs=[given]))
    run = Trace.from_dict(plain.call("trace_model", inputs=[drawn(2, 3, 12, 10)]))
    told = [(op.name, op.kind) for op in ordered.ops if op.kind != "zero_pad"]
    assert told == [(op.name, op.kind) for op in run.ops if op.kind != "zero_pad"]
    assert ordered.weights == run.weights
    assert plain.call("ops_in_order", inputs=[{**given, "shape": [2, 5, 12, 10]}]) is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("their_models.py:imagee", "has no function `imagee`; there is `image`"),
        ("nowhere.py:image", "there is no file .*nowhere.py"),
        ("no_such_package.models:image", "there is no Python module `no_such_package.models`"),
        ("their_models.py", "names no torch model: give path/file.py:function"),
        ("their_models.py:needs", r"needs arguments \(size\)"),
        ("their_models.py:raises", r"raised ValueError: no such backbone \(.*their_models.py:\d+\)"),
        ("their_models.py:quits", r"raised SystemExit: 3"),
        ("their_models.py:without_numbers", r"`weight` and 1 more of the torch model are on the meta device"),
        ("their_models.py:the_class", r"gave the class Linear itself, not a model"),
        ("their_models.py:a_tuple", r"returned a tuple, not a torch.nn.Module; element 0 of it is one"),
        ("their_models.py:a_state", r"holds a state dict, weights without a model: name a builder"),
        ("missing.pth", "there is no torch model file .*missing.pth"),
        ("broken.py:build", r"importing .*broken.py raised SyntaxError: .*broken.py:1\)"),
    ],
)
def test_a_source_that_gives_no_model_is_refused_in_one_line(
    plain: Worker, folder: Path, source: str, message: str
) -> None:
    (folder / "broken.py").write_text("def build(:\n")
    place = source if source.startswith("no_such") else str(folder / source)
    with pytest.raises(UsageError, match=message) as caught:
        plain.call("load_model", source=place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("plain", [drawn(2, 5)], r"raised RuntimeError in `0`: .*cannot be mult.*given an input of shape \(2, 5\)"),
        ("image", [drawn(2, 3, 15, 13), drawn(1, 1)], r"forward takes \(x\), but it was given 2 inputs"),
        ("two", [drawn(2, 8)], r"raised TypeError.*missing 1 required positional argument: 'y'"),
        ("returns_none", [drawn(2, 8)], "forward returned NoneType without a tensor"),
    ],
)
def test_a_model_that_cannot_run_is_refused_in_one_line(
    plain: Worker, folder: Path, name: str, inputs: list[Any], message: str
) -> None:
    load(plain, folder, name)
    with pytest.raises(UsageError, match=message) as caught:
        plain.call("trace_model", inputs=inputs)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def files(folder: Path, plain: Worker) -> Callable[[str], Path]:
    """Model files of every kind, written by a builder that runs in the worker: no torch in this process."""
    writer = f"""
    import os
    import torch
    from torch import nn
    from their_models import image, plain

    def write():
        model = plain().eval()
        state = model.state_dict()
        os.chdir({str(folder)!r})
        torch.save(model, "whole.pth")
        torch.save(state, "state.pth")
        torch.save({{"epoch": 3, "state_dict": {{f"module.{{k}}": v for k, v in state.items()}}}}, "parallel.pth")
        from safetensors.torch import save_file

        save_file({{k: v for k, v in state.items() if "num_batches" not in k}}, "state.safetensors")
        torch.export.save(torch.export.export(model, (torch.zeros(3, 8),)), "exported.pt2")
        torch.jit._state.enable()  # compiling is off while a builder runs
        torch.jit.script(model).save("scripted.pt")
        torch.jit.trace(model, torch.zeros(3, 8)).save("traced.pt")
        torch.onnx.export(model, (torch.zeros(3, 8),), "graph.onnx", dynamo=False, opset_version=17)
        torch.manual_seed(0)  # as before a builder
        torch.onnx.export(
            image().eval(), (torch.zeros(2, 3, 15, 13),), "image.onnx", dynamo=False, opset_version=17,
            do_constant_folding=False,
        )
        return model
    """
    (folder / "writes_files.py").write_text(textwrap.dedent(writer))
    load(plain, folder, "plain")
    plain.call("load_model", source=f"{folder / 'writes_files.py'}:write")
    return lambda name: folder / name


@pytest.mark.parametrize("name", ["whole.pth", "exported.pt2", "scripted.pt", "traced.pt"])
def test_a_file_that_holds_a_whole_model(plain: Worker, twin: Worker, files: Callable[[str], Path], name: str) -> None:
    x, outputs = drawn(3, 8), []
    for worker in (plain, twin):
        loaded = worker.call("load_model", source=str(files(name)))
        assert not loaded["was_training"], "each was saved in evaluation mode"
        trace = Trace.from_dict(worker.call("trace_model", inputs=[x]))
        assert not replays(trace)
        assert [op.kind for op in trace.ops] == ["dense", "batch_norm", "dropout", "activation"]
        assert {"0.weight", "1.running_mean"} <= set(trace.weights)
        outputs.append(whole(worker, trace, [x])["value"])
    assert set(trace.dtypes.values()) == {"float64"}
    weights = plain.call("get_model_weights")
    y = x @ weights["0.weight"].T + weights["0.bias"]
    assert np.allclose(outputs[0], np.tanh(y / np.sqrt(1 + 1e-5)), atol=1e-6)
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-6


def test_an_onnx_graph(plain: Worker, twin: Worker, folder: Path, files: Callable[[str], Path]) -> None:
    x, outputs = 200 * drawn(2, 3, 15, 13), []
    for source in (str(files("image.onnx")), f"{folder / 'their_models.py'}:image"):
        loaded = twin.call("load_model", source=source)
        trace = Trace.from_dict(twin.call("trace_model", inputs=[x]))
        assert not replays(trace)
        kinds = [op.kind for op in trace.ops if op.kind in ("conv", "batch_norm", "dense", "resize", "global_avg_pool")]
        assert kinds == ["conv", "conv", "batch_norm", "conv", "resize", "global_avg_pool", "dense"]
        assert named(trace, "block.conv1").weights["weight"] == "block.conv1.weight"
        outputs.append(whole(twin, trace, [x])["value"])
    assert loaded["class"] == "Image"
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-6  # the file holds 1 / 255 and the means in float32
    plain.call("load_model", source=str(files("graph.onnx")))
    trace = Trace.from_dict(plain.call("trace_model", inputs=[drawn(3, 8)]))
    assert [op.kind for op in trace.ops][-1] == "activation"
    with pytest.raises(UsageError, match=r"the ONNX graph takes .*, but 2 inputs were given"):
        plain.call("trace_model", inputs=[drawn(3, 8), drawn(3, 8)])
    with pytest.raises(UsageError, match="holds weights without a model: name a builder"):
        plain.call("load_model", source=str(files("state.safetensors")))
    (folder / "no.onnx").write_text("nothing")
    with pytest.raises(UsageError, match=r"no\.onnx is no valid ONNX file"):
        plain.call("load_model", source=str(folder / "no.onnx"))


RECURRENT = """
import torch
from torch import nn

class Sequence(nn.Module):
    def __init__(self, layer, wide=1):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(5 * wide, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0])

def lstm():
    torch.manual_seed(1)
    return Sequence(nn.LSTM(6, 5, batch_first=True))

def both_ways():
    torch.manual_seed(1)
    return Sequence(nn.LSTM(6, 5, batch_first=True, bidirectional=True), 2)

def gru():
    torch.manual_seed(1)
    return Sequence(nn.GRU(6, 5, batch_first=True))

def groups():
    torch.manual_seed(1)
    norm = nn.GroupNorm(4, 8)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.Conv2d(8, 2, 1))

def write():
    for make, size in ((lstm, (2, 7, 6)), (both_ways, (2, 7, 6)), (gru, (2, 7, 6)), (groups, (2, 3, 9, 8))):
        how = {"dynamo": False, "opset_version": 17}
        torch.onnx.export(make().eval(), (torch.zeros(size),), f"FOLDER/{make.__name__}.onnx", **how)
    return groups()
"""


@pytest.fixture(scope="module")
def recurrent(folder: Path, plain: Worker) -> Path:
    """ONNX files of layers that ONNX writes in its own way, and the builders that they came from."""
    path = folder / "recurrent.py"
    path.write_text(RECURRENT.replace("FOLDER", str(folder)))
    plain.call("load_model", source=f"{path}:write")
    return path


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("lstm", "lstm", (2, 7, 6)),
        ("both_ways", "lstm", (2, 7, 6)),
        ("gru", "gru", (2, 7, 6)),
        ("groups", "group_norm", (2, 3, 9, 8)),
    ],
)
def test_onnx_writes_some_layers_in_its_own_way(
    twin: Worker, folder: Path, recurrent: Path, name: str, kind: str, size: tuple[int, ...]
) -> None:
    x, outputs = drawn(*size), []
    for source in (str(folder / f"{name}.onnx"), f"{recurrent}:{name}"):
        twin.call("load_model", source=source)
        trace = Trace.from_dict(twin.call("trace_model", inputs=[x]))
        assert not replays(trace)
        assert [op.kind for op in trace.ops if op.kind == kind] == [kind]
        outputs.append(whole(twin, trace, [x])["value"])
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-12


@pytest.mark.parametrize("name", ["state.pth", "parallel.pth", "state.safetensors", "exported.pt2", "scripted.pt"])
def test_weights_from_a_file(plain: Worker, folder: Path, files: Callable[[str], Path], name: str) -> None:
    plain.call("load_model", source=str(files("whole.pth")))
    expected = plain.call("get_model_weights")
    loaded = load(plain, folder, "plain", weights=str(files(name)))
    found = plain.call("get_model_weights")
    assert all(np.array_equal(expected[key], found[key]) for key in expected)
    assert len(loaded["notes"]) == (2 if name == "parallel.pth" else 0)


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        ("two", "state.pth", r"missing `parts.0.weight`, `parts.0.bias`; unknown `0.weight`"),
        ("plain", "whole.pth", "holds more than weights"),
        ("plain", "absent.pth", "there is no weights file"),
        ("plain", "their_models.py", "torch cannot read weights from"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    plain: Worker, folder: Path, files: Callable[[str], Path], model: str, name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load(plain, folder, model, weights=str(files(name)))
    assert "\n" not in str(caught.value)


def test_a_state_dict_is_no_model(plain: Worker, files: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="state dict, weights without a model: name a builder"):
        plain.call("load_model", source=str(files("state.pth")))


def test_a_builder_that_goes_to_another_folder_comes_back(plain: Worker, tmp_path: Path) -> None:
    (tmp_path / "wanderer.py").write_text(
        "import os\nfrom torch import nn\nHERE = os.environ.setdefault('HERE', os.getcwd())\n"
        "def build():\n    os.chdir('/')\n    return nn.Linear(2, 2)\n"
        "def place():\n    raise OSError('there' if os.getcwd() == HERE else 'lost')\n"
    )
    plain.call("load_model", source=f"{tmp_path}/wanderer.py:build")
    with pytest.raises(UsageError, match="there"):
        plain.call("load_model", source=f"{tmp_path}/wanderer.py:place")


def test_the_slopes_of_a_fresh_prelu_are_told(plain: Worker, tmp_path: Path) -> None:
    (tmp_path / "slopes.py").write_text(
        "from torch import nn\n"
        "def build():\n    return nn.Sequential(nn.PReLU(), nn.PReLU(3), nn.PReLU(init=0.0), nn.Linear(3, 2))\n"
    )
    plain.call("load_model", source=f"{tmp_path}/slopes.py:build")
    ops = Trace.from_dict(plain.call("static_ops")).ops
    told = [op.config.get("initializer") for op in ops]
    assert told == ["constant(0.25)", "constant(0.25)", "zeros", None]
