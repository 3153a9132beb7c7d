"""What TensorFlow counts of the built network, and what this machine gives to TensorFlow at best: its ceilings."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from parity.adapters.base import WorkerSettings
from parity.adapters.ceilings import Ceilings, precisions
from parity.errors import UsageError
from parity.model.spec import ModelSpec

COUNTED = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul", "BatchMatMulV2")
COUNTER = "TensorFlow's flops registry (what tf.compat.v1.profiler's float_operation reads)"
FLOP_NOTE = (
    "two operations per multiply-add of every convolution and matrix product that the results need (the traced graph"
    " also holds the first convolution's input gradient, which is pruned before it runs); the registry counts the"
    " gradients of a convolution once per input pixel, scaled here to once per output pixel; bias, pooling and the rest"
    " of what it counts are in `other_flops`; optimizer not traced"
)


class _Counted(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    tf: Any
    settings: WorkerSettings

    def _built(self) -> Any: ...

    def _described(self) -> ModelSpec: ...

    def _resident(self) -> tuple[Any, Any]: ...

    def synchronise(self) -> None: ...

    def _plain_logits(self, x: Any, training: bool) -> Any: ...

    def _traced(self, work: str) -> Any: ...

    def _no_tf32(self) -> str | None: ...

    def _add_products(self, found: Ceilings, precision: str) -> None: ...

    def _add_streams(self, found: Ceilings) -> None: ...


class TensorflowCounting:
    """Operations by TensorFlow's own counter, and measured ceilings."""

    def flop_count(self: _Counted, work: str) -> dict[str, Any]:
        """Count one step of `work` on the resident batch: {"flops", "counter", "note", "as_counted", "other_flops"}.

        `flops` holds convolutions and matrix products; `as_counted` is the registry's own sum over the whole traced
        graph, before anything is left out or scaled. Nothing runs.
        Source: tensorflow/python/profiler/internal/flops_registry.py.
        """
        if work not in ("train", "evaluate", "latency"):
            raise UsageError(f"no work `{work}` whose operations could be counted")
        graph, results = self._traced(work)
        needed = _needed(results)
        own = {operation.name: _registered(graph, operation) for operation in graph.get_operations()}
        products = [operation for operation in needed if operation.type in COUNTED]
        return {
            "flops": sum(_per_output_pixel(operation, own[operation.name]) for operation in products),
            "counter": COUNTER,
            "note": FLOP_NOTE,
            "as_counted": sum(own.values()),
            "other_flops": sum(own[operation.name] for operation in needed if operation.type not in COUNTED),
        }

    def ceilings(self: _Counted, seconds: float = 6.0) -> dict[str, Any]:
        """Measure what this machine gives at best, within about `seconds`: see `Ceilings.facts` for the fields.

        Products are square, of random numbers. TensorFlow cannot write into a tensor that it has, and on a CPU a new
        one costs page faults; so its triad updates a variable in place, and there is a copy on a GPU only.
        """
        gpu = self.settings.device == "gpu"
        asked = precisions(gpu, self._no_tf32() is None)
        found = Ceilings(seconds, gpu, self.synchronise, parts=len(asked) + 2)
        for precision in asked:
            self._add_products(found, precision)
        self._add_streams(found)
        return found.facts(
            "triad: ResourceApplyGradientDescent, a = a - s*b in place, two reads and a write as in STREAM's; copy (GPU"
            " only): DeepCopy; products: tf.linalg.matmul"
        )

    def _plain_logits(self: _Counted, x: Any, training: bool) -> Any:
        layers = self._built().layers
        for layer in layers[:-1] if self._described().layers[-1].kind == "sigmoid" else layers:
            x = layer(x, training=training) if getattr(layer, "_call_has_training_arg", False) else layer(x)
        return self.tf.squeeze(x, axis=-1)

    def _traced(self: _Counted, work: str) -> Any:
        """Return the graph of one step, traced anew for counting, and the operations that its results come from."""
        tf, network = self.tf, self._built()

        def train(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = tf.cast(self._plain_logits(x, training=True), y.dtype)
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))
            return [loss, *tape.gradient(loss, [variable.value for variable in network.trainable_variables])]

        def evaluate(x: Any) -> Any:
            return [self._plain_logits(x, training=False)]

        x, y = self._resident()
        given = (x, y) if work == "train" else (x,)
        graph = tf.function(train if work == "train" else evaluate).get_concrete_function(*given).graph
        return graph, [tensor.op for tensor in graph.structured_outputs]

    def _add_products(self: _Counted, found: Ceilings, precision: str) -> None:
        tf = self.tf
        allowed = tf.config.experimental.tensor_float_32_execution_enabled()
        tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        dtype = tf.float32 if precision in ("float32", "tf32") else getattr(tf, precision)
        random = tf.random.Generator.from_seed(self.settings.seed)
        try:
            for size in found.sizes(precision):
                a, b = (tf.cast(random.uniform((size, size)), dtype) for _ in range(2))
                found.product(precision, size, partial(tf.linalg.matmul, a, b))
        finally:
            tf.config.experimental.enable_tensor_float_32_execution(allowed)

    def _add_streams(self: _Counted, found: Ceilings) -> None:
        tf = self.tf
        random, step = tf.random.Generator.from_seed(self.settings.seed), tf.constant(1e-6)

        def triad(a: Any, b: Any) -> None:
            tf.raw_ops.ResourceApplyGradientDescent(var=a.handle, alpha=step, delta=b)

        def made(numbers: int) -> dict[str, Any]:
            a, b = tf.Variable(random.uniform((numbers,))), random.uniform((numbers,))
            copy = {"copy": partial(tf.raw_ops.DeepCopy, x=b)} if found.gpu else {}
            return {"triad": partial(triad, a, b), **copy}

        found.streams(made)


def _needed(results: list[Any]) -> list[Any]:
    """Return the operations that the results depend on: what is left when the graph has been pruned."""
    found: dict[str, Any] = {}
    waiting = list(results)
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
    return list(found.values())


def _registered(graph: Any, operation: Any) -> int:
    from tensorflow.python.framework import ops
    from tensorflow.python.profiler.internal import flops_registry  # noqa: F401 - registers the counts

    return int(ops.get_stats_for_node_def(graph, operation.node_def, "flops").value or 0)


def _per_output_pixel(operation: Any, flops: int) -> int:
    """Scale the registry's count of a convolution's gradient from its input's pixels to its output's."""
    if not operation.type.startswith("Conv2DBackprop"):
        return flops
    # Both gradients take the output's gradient as their third input; one takes the image, the other gives it.
    image = operation.outputs[0] if operation.type == "Conv2DBackpropInput" else operation.inputs[0]
    at = slice(1, 3) if operation.get_attr("data_format") == b"NHWC" else slice(2, 4)
    (height, width), (out_h, out_w) = image.shape[at], operation.inputs[2].shape[at]
    return int(flops * out_h * out_w // (height * width))
