"""A user's own TensorFlow model: it is loaded, watched, and made again piece by piece, in float32 and in the twin."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import UsageError
from parity.model import constants
from parity.model.trace import Op, Trace
from parity.workers.client import Worker, WorkerOptions

BUILDERS = """
import keras
import tensorflow as tf
from keras import layers


def network():
    x = given = keras.Input((9, 8, 3))
    inside = [layers.Conv2D(3, 3, padding="same", name="conv"), layers.LeakyReLU(name="act")]
    block = keras.Sequential(inside, name="block")
    x = block(block(x)) + given
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="down")(x)
    x = layers.BatchNormalization(name="bn", epsilon=1.001e-5)(x * 2.0)
    x = layers.SeparableConv2D(5, 3, name="sep")(x)
    x = layers.Dropout(0.5, name="drop")(layers.Flatten(name="flat")(x))
    return keras.Model(given, {"logits": layers.Dense(2, activation=lambda v: tf.nn.gelu(v), name="head")(x)})


def words():
    given = keras.Input((6,), dtype="int32")
    x = layers.Embedding(11, 6, mask_zero=True, name="emb")(given)
    y = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    z = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    return keras.Model(given, [layers.Bidirectional(layers.GRU(4, name="gru"), name="bi")(y), z])


class Linear(tf.Module):
    def __init__(self, rows, columns):
        super().__init__()
        self.w = tf.Variable(tf.random.normal([rows, columns]), dtype=tf.float32)
        self.b = tf.Variable(tf.zeros([columns]))

    def __call__(self, x):
        return tf.matmul(x, self.w) + self.b


class Plain(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal([3, 3, 3, 4]))
        self.linears = [Linear(4, 5), Linear(5, 2)]
        self.scale = tf.constant(0.3)

    @tf.function
    def __call__(self, x):
        x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 2, "SAME")) * self.scale
        x = tf.reduce_mean(tf.cast(tf.image.resize(x, [6, 6]), tf.float32), [1, 2])
        return self.linears[1](tf.nn.silu(self.linears[0](x)))


def module():
    return Plain()


def legacy():
    import tf_keras

    made = tf_keras.layers
    given = tf_keras.Input((9, 8, 3))
    x = made.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="conv", dtype="float32")(given)
    x = tf.nn.relu(made.BatchNormalization(name="bn")(x) + 0.1)
    return tf_keras.Model(given, made.Dense(2, activation="hard_sigmoid", name="head")(made.Flatten(name="flat")(x)))


def single():
    made = [layers.Conv2D(4, 3, dtype="float32", name="conv"), layers.Rescaling(1 / 255, dtype="float32", name="scale")]
    made += [layers.BatchNormalization(epsilon=1.001e-5, dtype="mixed_float16", name="bn")]
    return keras.Sequential([keras.Input((9, 8, 3), dtype="float32"), *made, layers.Activation("gelu", name="gelu")])


def resized():
    x = given = keras.Input((9, 8, 3))
    return keras.Model(given, layers.Conv2D(4, 3)(layers.Resizing(7, 6, name="size")(x)))


def trembling():
    x = given = keras.Input((9, 8, 3))
    return keras.Model(given, layers.Dropout(0.5, name="drop")(x, training=True))


def arguments(classes, size=3):
    return None


def nothing():
    keras.Sequential([])


def never_called():
    return tf.Module()


def interrupts():
    raise KeyboardInterrupt


def raises():
    raise KeyError("no such backbone")
"""

MODELS = ("network", "words", "module", "legacy", "single")


@pytest.fixture(scope="module")
def builders(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("builders") / "models.py"
    path.write_text(textwrap.dedent(BUILDERS))
    return str(path)


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Worker]]:
    with Worker(WorkerOptions("tensorflow")) as plain, Worker(WorkerOptions("tensorflow", role="twin")) as twin:
        yield {"plain": plain, "twin": twin}


def inputs_of(name: str) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    if name == "words":
        tokens = rng.integers(1, 11, (2, 6)).astype(np.int32)
        tokens[0, 3:] = 0  # padding
        return [tokens]
    return [rng.standard_normal((2, 9, 8, 3)).astype(np.float32)]


def traced(worker: Worker, builders: str, name: str, training: bool = False, **more: Any) -> Trace:
    worker.call("load_model", source=f"{builders}:{name}", training=training)
    return Trace.from_dict(worker.call("trace_model", inputs=inputs_of(name), training=training, **more))


def values_of(worker: Worker, trace: Trace, name: str) -> dict[int, np.ndarray]:
    wanted = [*trace.inputs, *(tensor for op in trace.ops for tensor in op.outputs)]
    worker.call("begin_run", inputs=inputs_of(name), wanted=wanted)
    return {tensor: worker.call("advance", tensor=tensor) for tensor in wanted}


def named(trace: Trace, name: str) -> Op:
    return next(op for op in trace.ops if op.name == name)


@pytest.mark.whole_run
@pytest.mark.parametrize("role", ["plain", "twin"])
@pytest.mark.parametrize("name", MODELS)
def test_every_operation_made_again_alone_gives_what_it_gave_in_the_run(
    workers: dict[str, Worker], builders: str, name: str, role: str
) -> None:
    worker = workers[role]
    trace = traced(worker, builders, name)
    assert not [note for note in trace.notes if note.startswith(("replay:", "twin:"))]
    values = values_of(worker, trace, name)
    for op in trace.ops:
        feed = {str(tensor): values[tensor] for tensor in op.inputs}
        for tensor in op.outputs:
            again = worker.call("run_segment", feed=feed, want=tensor)["value"]
            np.testing.assert_array_equal(again, values[tensor], err_msg=op.name)
            assert tuple(again.shape) == tuple(trace.shapes[tensor])
            assert str(again.dtype) == trace.dtypes[tensor]
    if role == "twin":
        assert not {"float32", "float16"} & set(trace.dtypes.values())


@pytest.mark.parametrize("name", MODELS)
def test_both_precisions_take_the_same_path(workers: dict[str, Worker], builders: str, name: str) -> None:
    plain, twin = (traced(workers[role], builders, name) for role in ("plain", "twin"))
    assert [(op.name, op.kind, op.weights) for op in plain.ops] == [(op.name, op.kind, op.weights) for op in twin.ops]


def test_a_functional_model_is_told_in_its_own_words(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["plain"], builders, "network")
    assert [(op.name, op.kind) for op in trace.ops] == [
        ("block/conv", "conv"),
        ("block/act", "activation"),
        ("block/conv", "conv"),
        ("block/act", "activation"),
        ("add", "add"),
        ("down", "conv"),
        ("down:relu", "activation"),
        ("multiply", "rescale"),
        ("bn", "batch_norm"),
        ("sep:depthwise", "depthwise_conv"),
        ("sep", "conv"),
        ("flat", "flatten"),
        ("drop", "dropout"),
        ("head", "dense"),
        ("head/gelu", "activation"),
    ]
    down = named(trace, "down")
    assert down.config["pads"] == [[1, 1], [0, 1]]  # sizes 9 and 8 at stride 2: the larger half after
    assert down.weights == {"kernel": "down/kernel", "bias": "down/bias"}
    assert named(trace, "bn").config["eps"] == 1.001e-5
    assert named(trace, "multiply").config == {"scale": 2.0, "offset": 0.0}
    assert named(trace, "head/gelu").config == {"function": "gelu"}
    assert named(trace, "drop").config == {"rate": 0.5}
    assert trace.output_names == ("output['logits']",)
    assert "block/conv/kernel" in trace.weights
    assert not trace.weights["bn/moving_mean"].trainable


def test_recurrent_layers_read_the_mask_that_an_embedding_made(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["plain"], builders, "words")
    mask = named(trace, "emb:mask")
    assert trace.dtypes[mask.outputs[0]] == "bool"
    assert any(trace.dtypes[tensor] == "bool" for tensor in named(trace, "lstm").inputs)
    assert named(trace, "mha").config["has_mask"]
    assert named(trace, "bi").weights["backward_kernel"] in trace.weights
    values = values_of(workers["plain"], trace, "words")
    lstm = named(trace, "lstm")
    feed = {str(tensor): values[tensor] for tensor in lstm.inputs}
    masked = next(str(tensor) for tensor in lstm.inputs if trace.dtypes[tensor] == "bool")
    feed[masked] = np.ones_like(feed[masked])
    unmasked = workers["plain"].call("run_segment", feed=feed, want=lstm.outputs[0])["value"]
    assert not np.array_equal(unmasked, values[lstm.outputs[0]])


def test_attention_is_looked_into_when_asked(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["plain"], builders, "words", expand=["attention"])
    assert not any(op.kind == "attention" for op in trace.ops)
    assert named(trace, "mha/query").weights["kernel"] == "mha/query/kernel"
    assert any(op.kind == "softmax" for op in trace.ops)
    assert not [note for note in trace.notes if note.startswith("replay:")]


def test_a_module_without_layers_is_told_by_its_operations(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["twin"], builders, "module")
    told = [(op.name, op.kind, dict(op.weights)) for op in trace.ops if op.weights]
    assert told == [
        ("conv2d", "conv", {"kernel": "kernel"}),
        ("matmul", "dense", {"kernel": "linears.0.w", "bias": "linears.0.b"}),
        ("matmul_1", "dense", {"kernel": "linears.1.w", "bias": "linears.1.b"}),
    ]
    assert named(trace, "multiply").config["scale"] == 0.3  # the double, not float32(0.3)
    assert {op.config.get("function") for op in trace.ops} >= {"relu", "silu"}


@pytest.mark.parametrize("name", ["network", "module", "legacy"])
def test_gradients_of_a_segment_are_those_of_differences(workers: dict[str, Worker], builders: str, name: str) -> None:
    worker = workers["twin"]
    trace = traced(worker, builders, name)
    values = values_of(worker, trace, name)
    rng = np.random.default_rng(0)
    op = next(op for op in trace.ops if op.kind == "conv")
    feed = {str(tensor): values[tensor] for tensor in op.inputs}
    upstream = rng.standard_normal(values[op.outputs[0]].shape)
    found = worker.call("run_segment", feed=feed, want=op.outputs[0], upstream=upstream)
    key = str(op.inputs[0])
    direction = rng.standard_normal(feed[key].shape)
    moved = {key: feed[key] + 1e-4 * direction}
    change = worker.call("run_segment", feed=moved, want=op.outputs[0])["value"] - values[op.outputs[0]]
    assert np.sum(found["input_gradients"][key] * direction) == pytest.approx(
        np.sum(change * upstream) / 1e-4, rel=1e-6
    )
    kernel = op.weights["kernel"]
    before = worker.call("get_model_weights", names=[kernel])[kernel]
    turned = rng.standard_normal(before.shape)
    worker.call("set_model_weights", weights={kernel: before + 1e-4 * turned})
    change = worker.call("run_segment", feed=feed, want=op.outputs[0])["value"] - values[op.outputs[0]]
    worker.call("set_model_weights", weights={kernel: before})
    slope = np.sum(found["weight_gradients"][kernel] * turned)
    assert slope == pytest.approx(np.sum(change * upstream) / 1e-4, rel=1e-6)


def test_training_mode_shows_new_statistics_and_keeps_the_old(workers: dict[str, Worker], builders: str) -> None:
    worker = workers["twin"]
    trace = traced(worker, builders, "network", training=True)
    before = worker.call("get_model_weights")
    bn = named(trace, "bn")
    assert bn.config["training"]
    values = values_of(worker, trace, "network")
    x = values[bn.inputs[0]]
    result = worker.call("run_segment", feed={str(bn.inputs[0]): x}, want=bn.outputs[0], state=True)
    np.testing.assert_allclose(result["state"]["bn/moving_mean"], 0.01 * x.mean((0, 1, 2)), rtol=1e-9)
    drop = named(trace, "drop")
    np.testing.assert_array_equal(values[drop.outputs[0]], values[drop.inputs[0]])  # nothing is dropped
    after = worker.call("get_model_weights")
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_a_training_step_is_that_of_the_written_rule_and_leaves_no_trace(
    workers: dict[str, Worker], builders: str
) -> None:
    worker = workers["twin"]
    trace = traced(worker, builders, "network", training=True)
    before = worker.call("get_model_weights")
    upstream = np.random.default_rng(1).standard_normal((2, 2))
    step = worker.call(
        "train_step", inputs=inputs_of("network"), upstreams=[upstream], optimizer={"name": "sgd", "learning_rate": 0.5}
    )
    for key, gradient in step["weight_gradients"].items():
        np.testing.assert_allclose(step["weights_after"][key], before[key] - 0.5 * gradient, rtol=1e-12, atol=1e-14)
    assert set(step["state"]) == {"bn/moving_mean", "bn/moving_variance"}
    assert np.any(step["state"]["bn/moving_mean"] != before["bn/moving_mean"])
    after = worker.call("get_model_weights")
    assert all(np.array_equal(before[key], after[key]) for key in before)
    assert set(step["weight_gradients"]) == {key for key, weight in trace.weights.items() if weight.trainable}


def test_fingerprints_describe_every_tensor(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["twin"], builders, "network")
    prints = workers["twin"].call("fingerprints", inputs=inputs_of("network"))
    values = values_of(workers["twin"], trace, "network")
    assert set(prints) == {str(tensor) for tensor in values}
    for tensor, x in values.items():
        expected = [x.size, x.sum(), np.abs(x).sum(), np.square(x).sum(), x.max(), x.min()]
        np.testing.assert_allclose(prints[str(tensor)], expected, rtol=1e-12)


def test_the_twin_computes_in_doubles_with_the_constants_as_written(workers: dict[str, Worker], builders: str) -> None:
    plain, twin = workers["plain"], workers["twin"]
    trace = traced(plain, builders, "single")
    mixed = plain.call("load_model", source=f"{builders}:single")["notes"]
    assert any(note.startswith("mixed precision:") for note in mixed)
    assert named(trace, "bn").config["eps"] == 1.001e-5
    double = traced(twin, builders, "single")
    values = values_of(twin, double, "single")
    scale = named(double, "scale")
    np.testing.assert_array_equal(values[scale.outputs[0]], values[scale.inputs[0]] * (1 / 255))
    bn = named(double, "bn")
    x = values[bn.inputs[0]]
    np.testing.assert_allclose(values[bn.outputs[0]], x / np.sqrt(1 + 1.001e-5), rtol=1e-14)


def test_a_model_file_is_read_in_both_precisions(workers: dict[str, Worker], tmp_path: Path) -> None:
    saver = tmp_path / "saver.py"
    file = tmp_path / "small.keras"
    saver.write_text(
        textwrap.dedent(f"""
        import keras
        def build():
            kept = keras.config.floatx()
            keras.config.set_floatx("float32")
            made = [keras.layers.Conv2D(4, 3, name="conv"), keras.layers.LayerNormalization(name="norm")]
            model = keras.Sequential([keras.Input((9, 8, 3)), *made])
            model.save({str(file)!r})
            keras.config.set_floatx(kept)
            return model
        """)
    )
    workers["plain"].call("load_model", source=f"{saver}:build")
    for role, dtype in (("plain", "float32"), ("twin", "float64")):
        workers[role].call("load_model", source=str(file))
        trace = Trace.from_dict(workers[role].call("trace_model", inputs=inputs_of("network")))
        assert [op.kind for op in trace.ops] == ["conv", "layer_norm"]
        assert set(trace.dtypes.values()) == {dtype}


def test_a_weight_that_is_not_a_number_changes_nothing_by_itself(workers: dict[str, Worker], builders: str) -> None:
    plain = workers["plain"]
    plain.call("load_model", source=f"{builders}:network")
    plain.call("trace_model", inputs=inputs_of("network"))
    name, array = next(iter(plain.call("get_model_weights").items()))
    plain.call("set_model_weights", weights={name: np.full_like(array, np.nan)})
    notes = plain.call("trace_model", inputs=inputs_of("network"))["notes"]
    assert not [note for note in notes if "changes" in note]


def test_a_layer_that_does_the_same_in_both_modes_needs_no_note(workers: dict[str, Worker], builders: str) -> None:
    plain = workers["plain"]
    for name, noted in (("resized", False), ("trembling", True)):
        notes = plain.call("load_model", source=f"{builders}:{name}")["notes"]
        assert any("was called with training=True" in note for note in notes) == noted


def test_a_saved_graph_is_told_by_its_operations(workers: dict[str, Worker], tmp_path: Path) -> None:
    saver, folder = tmp_path / "exporter.py", tmp_path / "exported"
    saver.write_text(
        textwrap.dedent(f"""
        import keras
        def build():
            made = [keras.layers.Conv2D(4, 3, name="conv", activation="relu")]
            made += [keras.layers.BatchNormalization(name="bn"), keras.layers.Flatten(), keras.layers.Dense(2)]
            model = keras.Sequential([keras.Input((9, 8, 3)), *made])
            model.export({str(folder)!r}, verbose=False)
            return model
        """)
    )
    workers["plain"].call("load_model", source=f"{saver}:build")
    expected = Trace.from_dict(workers["plain"].call("trace_model", inputs=inputs_of("network")))
    answer = values_of(workers["plain"], expected, "network")[expected.outputs[0]]
    for role in ("plain", "twin"):
        workers[role].call("load_model", source=str(folder))
        trace = Trace.from_dict(workers[role].call("trace_model", inputs=inputs_of("network")))
        assert [op.kind for op in trace.ops if op.weights] == ["conv", "batch_norm", "dense"]
        assert next(op for op in trace.ops if op.kind == "batch_norm").config["eps"] == 1e-3
        assert not [note for note in trace.notes if note.startswith(("replay:", "twin:"))]
        assert set(trace.dtypes.values()) == {"float32" if role == "plain" else "float64"}
        again = values_of(workers[role], trace, "network")[trace.outputs[0]]
        np.testing.assert_allclose(again, answer, rtol=1e-4, atol=1e-6)


def test_the_twin_of_a_saved_graph_has_the_numbers_that_a_formula_meant(
    workers: dict[str, Worker], tmp_path: Path
) -> None:
    saver, folder = tmp_path / "exporter.py", tmp_path / "exported"
    saver.write_text(
        textwrap.dedent(f"""
        import keras
        def build():
            exact, tanh = ({{"approximate": form}} for form in (False, True))
            x = given = keras.Input((5,))
            for words in (exact, tanh):
                x = keras.layers.Rescaling(1 / 255)(keras.layers.Rescaling(255)(x))
                x = keras.layers.Activation(lambda y, words=words: keras.activations.gelu(y, **words))(x)
            model = keras.Model(given, x)
            model.export({str(folder)!r}, verbose=False)
            return model
        """)
    )
    workers["plain"].call("load_model", source=f"{saver}:build")
    workers["twin"].call("load_model", source=str(folder))
    x = np.random.default_rng(5).standard_normal((2, 5))
    once = 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    twice = 0.5 * once * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (once + 0.044715 * once**3)))
    np.testing.assert_allclose(workers["twin"].call("model_outputs", inputs=[x])[0], twice, rtol=1e-13)


@pytest.mark.parametrize(
    "number", [0.3, 1e-3, 1.001e-5, -0.044715, 1 / 255, 2 / 255, -math.sqrt(2.0), 1 / math.sqrt(6), math.pi, 0.0, 1e30]
)
def test_a_number_of_a_formula_is_known_by_what_float32_makes_of_it(number: float) -> None:
    assert constants.meant(float(np.float32(number))) == pytest.approx(number, rel=1e-15, abs=0.0)


def test_any_other_number_stays_what_float32_holds() -> None:
    numbers = np.random.default_rng(3).normal(size=2000).astype(np.float32)
    assert all(np.float32(constants.meant(float(number))) == number for number in numbers)


def test_a_model_that_raises_is_told_without_the_list_of_what_it_was_given(
    workers: dict[str, Worker], tmp_path: Path
) -> None:
    file = tmp_path / "raises.py"
    file.write_text(
        textwrap.dedent("""
        import keras
        class Raises(keras.Model):
            def call(self, x):
                raise ValueError("no such luck")
        def build():
            return Raises()
        """)
    )
    workers["plain"].call("load_model", source=f"{file}:build")
    with pytest.raises(UsageError, match=r"no such luck \(.*raises.py:5\)$"):
        workers["plain"].call("trace_model", inputs=[np.zeros((2, 4), np.float32)])


SAVER = """
import numpy as np
import tensorflow as tf

KERNEL = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

class Branching(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(KERNEL)

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32)])
    def __call__(self, x):
        y = x @ self.kernel
        if tf.reduce_sum(tf.abs(x)) > 0.0:
            y = tf.nn.relu(y)
        else:
            y = tf.exp(y)
        place = tf.constant(0)
        while place < 3:
            y, place = tf.tanh(y) + 1.0, place + 1
        return y

def build():
    model = Branching()
    tf.saved_model.save(model, FOLDER)
    return model
"""


def test_branches_and_loops_of_a_saved_graph_are_followed(workers: dict[str, Worker], tmp_path: Path) -> None:
    saver, folder = tmp_path / "branching.py", tmp_path / "branched"
    saver.write_text(SAVER.replace("FOLDER", repr(str(folder))))
    workers["plain"].call("load_model", source=f"{saver}:build")
    x = np.random.default_rng(1).normal(size=(3, 6)).astype("float32")
    expected = np.maximum(x @ np.random.default_rng(0).normal(size=(6, 4)).astype("float32"), 0.0)
    for _ in range(3):
        expected = np.tanh(expected) + 1.0
    for role in ("plain", "twin"):
        workers[role].call("load_model", source=str(folder))
        trace = Trace.from_dict(workers[role].call("trace_model", inputs=[x]))
        kinds = [op.config.get("function") for op in trace.ops if op.kind == "activation"]
        assert kinds[-4:] == ["relu", "tanh", "tanh", "tanh"]
        answer = workers[role].call("model_outputs", inputs=[x])[0]
        np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_layers_are_listed_without_running(workers: dict[str, Worker], builders: str) -> None:
    workers["plain"].call("load_model", source=f"{builders}:network")
    ops = Trace.from_dict(workers["plain"].call("static_ops")).ops
    assert {op.name for op in ops} >= {"block/conv", "down", "bn", "sep", "head"}
    down = next(op for op in ops if op.name == "down").config
    assert down["strides"] == [2, 2]
    assert all(len(pair) == 2 for pair in down["pads"]), "a functional model fixes the sizes that SAME depends on"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{file}:netwrok", "has no `netwrok`; it has `network`"),
        ("{file}:arguments", "needs arguments (classes)"),
        ("{file}:nothing", "returned None"),
        ("{file}:never_called", "is a tf.Module without `__call__`, `call` or `predict`"),
        ("{file}:raises", "raised KeyError"),
        ("{file}:interrupts", "raised KeyboardInterrupt: (no message)"),
        ("{file}:MODELS", "has no `MODELS`"),
        ("{file}", "names no builder"),
        ("no/such/file.py:build", "there is no file"),
        ("no_such_module:build", "no module `no_such_module`"),
        ("weights.pth", "cannot read .pth"),
        ("weights.safetensors", "weights without a model"),
        ("{folder}/kept.weights.h5", "weights without a model"),
        ("gone.keras", "no such file"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    workers: dict[str, Worker], builders: str, source: str, says: str
) -> None:
    folder = Path(builders).parent
    (folder / "kept.weights.h5").write_bytes(b"")
    with pytest.raises(UsageError) as caught:
        workers["plain"].call("load_model", source=source.format(file=builders, folder=folder))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_input_is_refused_in_one_line(workers: dict[str, Worker], builders: str) -> None:
    workers["plain"].call("load_model", source=f"{builders}:network")
    with pytest.raises(UsageError, match=r"\(2, 9, 8, 4\)") as caught:
        workers["plain"].call("trace_model", inputs=[np.zeros((2, 9, 8, 4), np.float32)])
    assert "\n" not in str(caught.value)


def test_a_segment_that_lacks_an_input_is_refused(workers: dict[str, Worker], builders: str) -> None:
    trace = traced(workers["plain"], builders, "network")
    with pytest.raises(UsageError, match="model input 0"):
        workers["plain"].call("run_segment", feed={}, want=trace.ops[0].outputs[0])


def test_a_builder_that_goes_to_another_folder_comes_back(workers: dict[str, Worker], tmp_path: Path) -> None:
    (tmp_path / "wanderer.py").write_text(
        "import keras, os\nHERE = os.environ.setdefault('HERE', os.getcwd())\n"
        "def build():\n    os.chdir('/')\n    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])\n"
        "def place():\n    raise OSError('there' if os.getcwd() == HERE else 'lost')\n"
    )
    workers["plain"].call("load_model", source=f"{tmp_path}/wanderer.py:build")
    with pytest.raises(UsageError, match="there"):
        workers["plain"].call("load_model", source=f"{tmp_path}/wanderer.py:place")


def test_a_checkpoint_of_tensorflow_is_loaded_into_the_twin_too(workers: dict[str, Worker], tmp_path: Path) -> None:
    (tmp_path / "checkpointed.py").write_text(
        "import tensorflow as tf, tf_keras\n"
        "def legacy():\n    return tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)])\n"
        "class Scale(tf.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.w = tf.Variable(tf.random.normal((3,)))\n"
        "    def __call__(self, x):\n        return x * self.w\n"
        f"def write():\n    legacy().save_weights({str(tmp_path / 'legacy')!r})\n    model = Scale()\n"
        f"    tf.train.Checkpoint(model=model).write({str(tmp_path / 'Scale')!r})\n    return model\n"
    )
    workers["plain"].call("load_model", source=f"{tmp_path}/checkpointed.py:write")
    for name in ("legacy", "Scale"):
        found = []
        for role in ("plain", "twin"):
            source = f"{tmp_path}/checkpointed.py:{name}"
            workers[role].call("load_model", source=source, weights=str(tmp_path / name))
            workers[role].call("trace_model", inputs=[np.ones((2, 3))])
            found.append(workers[role].call("get_model_weights"))
        assert found[0]
        assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])


def test_a_file_that_is_no_archive_is_called_so(workers: dict[str, Worker], tmp_path: Path) -> None:
    (tmp_path / "text.keras").write_text("text")
    with pytest.raises(UsageError, match="it is no zip archive"):
        workers["plain"].call("load_model", source=str(tmp_path / "text.keras"))


def test_the_slopes_of_a_fresh_prelu_are_told(workers: dict[str, Worker], tmp_path: Path) -> None:
    (tmp_path / "slopes.py").write_text(
        "import keras\nfrom keras import layers\n"
        "def build():\n    quarter = keras.initializers.Constant(0.25)\n"
        "    return keras.Sequential([keras.Input((3,)), layers.PReLU(), layers.PReLU(quarter)])\n"
    )
    workers["plain"].call("load_model", source=f"{tmp_path}/slopes.py:build")
    ops = Trace.from_dict(workers["plain"].call("static_ops")).ops
    assert [op.config.get("initializer") for op in ops] == ["zeros", "constant(0.25)"]
