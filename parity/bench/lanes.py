"""The lanes: one entry each. A lane is one way to run the work, in a fresh process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parity.errors import UsageError
from parity.workers.client import KEEP_MEMORY

ALLOCATOR = dict(KEEP_MEMORY)  # of every lane alike, but for those that show what glibc's own settings cost
PROFILES = ("smoke", "standard", "full")
EVERYWHERE = ("cpu", "gpu")
ALL_WORKS = ("evaluate", "train", "latency")


@dataclass(frozen=True)
class Lane:
    """One way to run the work, as data.

    `kind`: only lanes of equal kind are compared for a headline. `options` go to the adapter's `start_lane`; `threads`
    overrules the run's own number. `profile` is the least one that times the lane. A variant differs from the lane
    `against` in `factor` alone; `again` marks the same lane under a second name, for the A/A check.
    """

    name: str
    framework: str
    kind: str
    description: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    works: tuple[str, ...] = ALL_WORKS
    devices: tuple[str, ...] = EVERYWHERE
    profile: str = "full"
    tuned_allocator: bool = True
    threads: int | None = None
    against: str | None = None
    factor: str | None = None
    again: str | None = None

    @property
    def allocator(self) -> dict[str, str]:
        """The allocator's variables of this lane; none means glibc's own defaults."""
        return dict(ALLOCATOR) if self.tuned_allocator else {}


GRAPH, EAGER, FIT = {"run": "graph"}, {"run": "eager"}, {"run": "fit"}
BOTH = ("evaluate", "train")

LANES = (
    Lane("torch-eager", "torch", "step", "eager modules, torch.optim.Adam as it comes, no host reads", EAGER,
         profile="smoke"),
    Lane("tf-graph", "tensorflow", "step", "tf.function without XLA, keras.optimizers.Adam, no host reads", GRAPH,
         profile="smoke"),
    Lane("torch-eager-again", "torch", "step", "torch-eager under a second name: what this machine calls a difference"
         " where there is none", EAGER, profile="standard", again="torch-eager"),
    Lane("torch-fit", "torch", "fit", "a training loop on one resident batch that reads loss and accuracy to the host"
         " at every step", FIT, works=BOTH),
    Lane("keras-fit", "tensorflow", "fit", "Keras `fit` and `evaluate`, which read loss and metrics to the host at"
         " every step, and also take every batch from tf.data, keep running metrics and call callbacks", FIT,
         works=BOTH),
    Lane("torch-compile", "torch", "compiled", "torch.compile", {"run": "compile"}),
    Lane("tf-xla", "tensorflow", "compiled", "tf.function(jit_compile=True)", {"run": "xla"}),
    Lane("torch-graphs", "torch", "replayed", "torch.compile(mode='reduce-overhead'): CUDA graphs", {"run": "graphs"},
         devices=("gpu",)),
    Lane("keras-fit-10", "tensorflow", "replayed", "Keras `fit` with steps_per_execution=10",
         {"run": "fit", "steps_per_execution": 10}, works=BOTH),
    Lane("torch-bfloat16", "torch", "bfloat16", "autocast to bfloat16", {**EAGER, "precision": "bfloat16"},
         works=BOTH),
    Lane("tf-graph-bfloat16", "tensorflow", "bfloat16", "Keras's policy mixed_bfloat16",
         {**GRAPH, "precision": "bfloat16"}, works=BOTH),
    Lane("torch-float16", "torch", "float16", "autocast to float16 with a GradScaler",
         {**EAGER, "precision": "float16"}, works=BOTH, devices=("gpu",)),
    Lane("tf-graph-float16", "tensorflow", "float16", "Keras's policy mixed_float16 with its LossScaleOptimizer",
         {**GRAPH, "precision": "float16"}, works=BOTH, devices=("gpu",)),
    Lane("torch-tf32", "torch", "tf32", "TF32 allowed in convolutions and matrix products",
         {**EAGER, "precision": "tf32"}, works=BOTH, devices=("gpu",)),
    Lane("tf-graph-tf32", "tensorflow", "tf32", "TF32 allowed in convolutions and matrix products",
         {**GRAPH, "precision": "tf32"}, works=BOTH, devices=("gpu",)),
    Lane("torch-default-allocator", "torch", "default-allocator", "torch-eager with glibc's own settings",
         EAGER, works=BOTH, devices=("cpu",), tuned_allocator=False, against="torch-eager", factor="allocator"),
    Lane("tf-graph-default-allocator", "tensorflow", "default-allocator", "tf-graph with glibc's own settings",
         GRAPH, works=BOTH, devices=("cpu",), tuned_allocator=False, against="tf-graph", factor="allocator"),
    Lane("torch-one-thread", "torch", "one-thread", "torch-eager with one thread", EAGER, works=BOTH, devices=("cpu",),
         threads=1, against="torch-eager", factor="threads"),
    Lane("tf-graph-one-thread", "tensorflow", "one-thread", "tf-graph with one thread", GRAPH, works=BOTH,
         devices=("cpu",), threads=1, against="tf-graph", factor="threads"),
    Lane("torch-fused", "torch", "variant", "torch-eager with the fused Adam", {**EAGER, "fused": True},
         works=("evaluate", "train"), against="torch-eager", factor="optimizer"),
    Lane("torch-channels-last", "torch", "variant", "torch-eager with channels-last memory",
         {**EAGER, "channels_last": True}, works=BOTH, against="torch-eager", factor="layout"),
    Lane("torch-autotuned", "torch", "variant", "torch-eager with cuDNN's autotuner, which TensorFlow has on by itself",
         {**EAGER, "autotune": True}, works=BOTH, devices=("gpu",), against="torch-eager", factor="autotuner"),
    Lane("keras-torch", "keras-torch", "control", "Keras `fit` and `evaluate` on its torch backend", FIT, works=BOTH,
         against="keras-fit", factor="backend"),
    Lane("ort-from-tf", "onnxruntime", "onnx", "ONNX Runtime on TensorFlow's export", {"source": "tensorflow"},
         works=("evaluate", "latency")),
    Lane("ort-from-torch", "onnxruntime", "onnx", "ONNX Runtime on torch's export", {"source": "torch"},
         works=("evaluate", "latency")),
)  # fmt: skip


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that pools read at start; the frameworks' own calls repeat the number later."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: str(threads) for name in names}


def lane(name: str, lanes: Sequence[Lane] = LANES) -> Lane:
    """Return the lane of that name.

    Raises
        UsageError: there is none.
    """
    for entry in lanes:
        if entry.name == name:
            return entry
    raise UsageError(f"no lane `{name}`; lanes: {', '.join(entry.name for entry in lanes)}")


def chosen(profile: str, device: str | None, only: Sequence[str] = ()) -> list[Lane]:
    """Return the lanes of a profile that can run on `device` (None: not known yet), or those named in `only`.

    A name may stand for all lanes of a framework or of a kind.

    Raises
        UsageError: a name means no lane.
    """
    if only:
        known = {name for entry in LANES for name in (entry.name, entry.framework, entry.kind)}
        unknown = [name for name in only if name not in known]
        if unknown:
            raise UsageError(f"no lane, framework or kind `{unknown[0]}`; lanes: {', '.join(e.name for e in LANES)}")
        wanted = [entry for entry in LANES if {entry.name, entry.framework, entry.kind} & set(only)]
    else:
        level = PROFILES.index(profile)
        wanted = [entry for entry in LANES if PROFILES.index(entry.profile) <= level]
    return [entry for entry in wanted if device is None or device in entry.devices]
