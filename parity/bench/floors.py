"""What a step must cost at least: operations, bytes and memory by formula, and the seconds that follow from them.

Two answers are given. The *floor* is a bound that no correct program can pass, whatever it fuses and caches: a step
below it is a bug of the measurement. The *roofline* is what a very good program reaches on this machine: plain
algorithms in fused kernels whose data come from memory. A step may pass the roofline, by data that stay in a cache or
by a faster convolution; it may not pass the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from parity.errors import UsageError
from parity.model.spec import LayerShape, ModelSpec

WORKS = ("train", "evaluate", "latency")
ELEMENT_BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one activation, and of one weight as a product reads it."""

STATE_BYTES = 4  # weights, their gradients and Adam's slots stay float32 under autocast and mixed policies
INDEX_BYTES = 8  # torch keeps where each maximum was found as int64; TensorFlow finds it again
SLOTS = 2  # Adam's two moments
FUSED_ADAM_ACCESSES = 7  # per parameter: reads weight, gradient and both slots, writes weight and both slots
STATE_ACCESSES = 6  # the same without the gradient, which one single kernel need not store
HEADROOM = 1.25
"""How much better than the best that was measured the machine may still be: a ceiling is one library's best run."""

RATES = {
    "float32": ("sgemm_gflops",),
    "tf32": ("sgemm_gflops", "tf32_gflops"),
    "bfloat16": ("sgemm_gflops", "tf32_gflops", "bfloat16_gflops"),
    "float16": ("sgemm_gflops", "tf32_gflops", "float16_gflops"),
}
"""The measured products that a lane of a precision may use: its own, and all that are more precise."""

STREAMS = ("triad_gb_s", "copy_gb_s", "device_copy_gb_s")
BEST_STREAMS = ("triad_best_gb_s", "copy_best_gb_s", *STREAMS)


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product: multiply-adds per image, and what it reads and holds, in numbers per image."""

    layer: str
    macs: int
    least_macs: int
    weights: int
    inputs: int
    needs_input_gradient: bool


@dataclass(frozen=True)
class Flops:
    """Operations of one step, two per multiply-add; bias, ReLU, pooling, loss and optimizer are not counted."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Forward and backward together."""
        return self.forward + self.backward


def products(spec: ModelSpec) -> tuple[Product, ...]:
    """Return the network's convolutions and matrix products in order.

    The first one needs no gradient of its input, which is the image. `least_macs` of a convolution is one
    multiplication per output and input channel: fast algorithms (Winograd, FFT) approach it and cannot pass it.

    Source: Winograd, "Arithmetic complexity of computations", 1980: m outputs of an r-tap filter take m + r - 1
    multiplications; Lavin & Gray, CVPR 2016.
    """
    found: list[Product] = []
    for step in spec.shapes():
        kernel = next((weight for weight in step.weights if weight.role == "kernel"), None)
        if kernel is None:
            continue
        positions = prod(step.output_shape[:-1])  # a dense layer has one
        macs = prod(kernel.shape) * positions
        taps = prod(step.layer.kernel) if step.layer.kind == "conv2d" else 1
        weights = sum(prod(weight.shape) for weight in step.weights)
        found.append(
            Product(
                step.layer.name, macs, macs // taps, weights, prod(step.input_shape), needs_input_gradient=bool(found)
            )
        )
    return tuple(found)


def flops(spec: ModelSpec, work: str, batch: int) -> Flops:
    """Return the operations of one step, as torch's FlopCounterMode counts them; `latency` is an evaluation.

    The backward pass costs each product once more for its weights' gradient and once more for its input's, where that
    is needed.
    """
    forward = sum(2 * product.macs for product in products(spec)) * batch
    if not _trains(work):
        return Flops(forward, 0)
    backward = sum(2 * product.macs * (2 if product.needs_input_gradient else 1) for product in products(spec))
    return Flops(forward, backward * batch)


def least_flops(spec: ModelSpec, work: str, batch: int) -> int:
    """Return the operations that no algorithm can do without: see `products`."""
    passes = ((p, 1 + _trains(work) * (2 if p.needs_input_gradient else 1)) for p in products(spec))
    return sum(2 * product.least_macs * times for product, times in passes) * batch


def fused_bytes(spec: ModelSpec, work: str, batch: int, element: int = 4) -> int:
    """Return the bytes of a step when everything between two products is fused into them; optimizer left out.

    Forward: each product reads its weights and its input and writes what the next one reads (after ReLU and pooling).
    Backward: its weights are read again where its input needs a gradient, which is written and read; its input is read
    and the weights' gradient written. Nothing else touches memory: what a fused kernel lacks it computes again.
    """
    moved = batch * element  # the logits are written
    for product in products(spec):
        held, numbers = element * product.weights, element * batch * product.inputs
        inner = product.needs_input_gradient  # its input was written by the product before it
        moved += held + numbers * (2 if inner else 1)
        if _trains(work):
            moved += STATE_BYTES * product.weights + numbers + (held + 2 * numbers if inner else 0)
    return moved


def eager_bytes(spec: ModelSpec, work: str, batch: int) -> int:
    """Return the bytes of a float32 step in which every layer reads its input and writes its output; no optimizer."""
    return sum(
        _eager_layer(step, batch, _trains(work), first=index == 0) for index, step in enumerate(_computing(spec))
    )


def optimizer_bytes(spec: ModelSpec, accesses: int = FUSED_ADAM_ACCESSES) -> int:
    """Return the bytes of one update at that many float32 accesses per parameter (SGD 3, fused Adam 7)."""
    return STATE_BYTES * accesses * spec.parameters()


def step_bytes(spec: ModelSpec, work: str, batch: int, element: int = 4) -> int:
    """Return the bytes of a whole step in fused kernels, the fused Adam of a training step included."""
    return fused_bytes(spec, work, batch, element) + _trains(work) * optimizer_bytes(spec)


def least_bytes(spec: ModelSpec, work: str, batch: int, element: int = 4) -> int:
    """Return the bytes that even one single kernel for the whole step must move: its distinct inputs and results.

    Training reads and writes every weight and both slots; evaluating reads every weight; the images are read once.
    """
    image = batch * element * spec.height * spec.width * spec.channels
    if _trains(work):
        return image + STATE_BYTES * STATE_ACCESSES * spec.parameters()
    return image + element * spec.parameters()


def saved_bytes(spec: ModelSpec, batch: int, element: int = 4, index_bytes: int = INDEX_BYTES) -> int:
    """Return the bytes of what the backward pass needs from the forward pass.

    Those are the inputs of products and poolings, the results of ReLU, and `index_bytes` for each pooled maximum; a
    tensor that two layers need is held once, and Flatten is a view.
    """
    sizes: dict[int, int] = {}  # tensor number -> numbers per image
    indices, current = 0, 0
    for number, step in enumerate(_computing(spec), start=1):
        if step.layer.kind in ("conv2d", "dense", "max_pool2d"):
            sizes[current] = prod(step.input_shape)
        if step.layer.kind == "max_pool2d":
            indices += prod(step.output_shape)
        if step.layer.kind != "flatten":
            current = number
        if step.layer.kind == "relu":
            sizes[current] = prod(step.output_shape)
    return batch * (element * sum(sizes.values()) + index_bytes * indices)


def memory_floor(spec: ModelSpec, batch: int, element: int = 4) -> dict[str, Any]:
    """Return what a training step holds at once: {"floor_bytes", "parts"}, in bytes, without recomputation."""
    weights = STATE_BYTES * spec.parameters()
    parts = {
        "weights": weights,
        "gradients": weights,
        "slots": SLOTS * weights,
        "activations": saved_bytes(spec, batch, element, index_bytes=0),
    }
    return {"floor_bytes": sum(parts.values()), "parts": parts}


def best(measured: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the highest of each ceiling over several measurements: frameworks, before and after the campaign.

    A disturbance only ever lowers a ceiling, and a floor from one that is too low could refuse a correct lane.
    """
    found: dict[str, float] = {}
    for row in measured:
        for name, value in row.items():
            if name.endswith(("_gflops", "_gb_s")) and isinstance(value, (int, float)):
                found[name] = max(found.get(name, 0.0), float(value))
    return found


def floor(
    spec: ModelSpec, work: str, batch: int, ceilings: Mapping[str, float], precision: str = "float32"
) -> dict[str, Any]:
    """Return the record's row about one setting: operations, bytes, and the seconds that they take at least.

    `floor_s` is None when a ceiling is missing. It takes the best product of the precision or a higher one and the
    best bandwidth of any working set, cached ones included, both raised by `HEADROOM`. `roofline_s` takes the formulas'
    operations, the fused bytes and the bandwidth of memory itself.

    Raises
        UsageError: an unknown work or precision.
    """
    if precision not in RATES:
        raise UsageError(f"no precision `{precision}`; precisions: {', '.join(RATES)}")
    element = ELEMENT_BYTES[precision]
    counted = flops(spec, work, batch).total
    least = (least_flops(spec, work, batch), least_bytes(spec, work, batch, element))
    fused = step_bytes(spec, work, batch, element)
    rate = max((ceilings.get(name, 0.0) for name in RATES[precision]), default=0.0)
    cached, memory = (max(ceilings.get(name, 0.0) for name in names) for names in (BEST_STREAMS, STREAMS))
    bound, by = _slower(least, HEADROOM * rate, HEADROOM * cached)
    roofline, _ = _slower((counted, fused), rate, memory)
    return {
        "work": work,
        "batch": batch,
        "height": spec.height,
        "width": spec.width,
        "channels": spec.channels,
        "precision": precision,
        "parameters": spec.parameters(),
        "flops": counted,
        "bytes": fused,
        "saved_bytes": saved_bytes(spec, batch, element) if _trains(work) else 0,
        "least_flops": least[0],
        "least_bytes": least[1],
        "floor_s": bound,
        "by": by,
        "roofline_s": roofline,
    }


def roof_share(floor_s: float | None, seconds: float) -> float | None:
    """Return the floor over the seconds that a step took; above 1 the step is impossible. None without a floor."""
    return None if floor_s is None else floor_s / seconds


def counted_rows(expected_flops: int, counts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what each framework counted, framework -> `flop_count`'s reply, and whether it agrees with the formula."""
    return [
        {"framework": framework, **reply, "agrees": reply["flops"] == expected_flops}
        for framework, reply in sorted(counts.items())
    ]


def _slower(amount: tuple[int, int], gflops: float, gb_s: float) -> tuple[float | None, str | None]:
    """Return the longer of the times for (operations, bytes), and which of the two it is."""
    if gflops <= 0 or gb_s <= 0:
        return None, None
    compute_s, memory_s = amount[0] / (1e9 * gflops), amount[1] / (1e9 * gb_s)
    return (compute_s, "compute") if compute_s >= memory_s else (memory_s, "memory")


def _trains(work: str) -> bool:
    if work not in WORKS:
        raise UsageError(f"no work `{work}`; works: {', '.join(WORKS)}")
    return work == "train"


def _computing(spec: ModelSpec) -> tuple[LayerShape, ...]:
    """Return the layers that a step runs: a last sigmoid is part of the loss, which is taken on logits."""
    steps = spec.shapes()
    return steps[:-1] if steps and steps[-1].layer.kind == "sigmoid" else steps


def _eager_layer(step: LayerShape, batch: int, trains: bool, first: bool) -> int:
    kind, weights = step.layer.kind, 4 * sum(prod(weight.shape) for weight in step.weights)
    given, result = (4 * batch * prod(shape) for shape in (step.input_shape, step.output_shape))
    if kind in ("conv2d", "dense"):
        forward = given + weights + result
        weight_gradient = given + result + weights
        input_gradient = 0 if first else weights + result + given
        return forward + trains * (weight_gradient + input_gradient)
    if kind in ("relu", "sigmoid"):
        return given + result + trains * (2 * result + given)  # gradient and result are read, a gradient written
    if kind == "max_pool2d":
        indices = batch * INDEX_BYTES * prod(step.output_shape)
        return given + result + indices + trains * (result + indices + given)
    return 0  # Flatten is a view
