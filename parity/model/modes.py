"""The speed modes of both frameworks as frozen data: what each one switches on, and what precision it says it keeps."""

from __future__ import annotations

from dataclasses import dataclass

from parity.errors import UsageError

WHOLE = "model"
"""The name under which a mode's answers for the whole network stand, beside those for single layers."""


@dataclass(frozen=True)
class Mode:
    """One way to run a float32 network faster.

    `says` is the precision that products are taken and results are kept in; sums are kept in float32 (in float64 by
    the twin, which runs `eager`). `run` is how the function is executed, `low` the dtype of the mixed precision that is
    switched on, if any.
    """

    framework: str
    name: str
    says: str
    run: str = "eager"  # "eager", "function", "xla", "compile" or "channels-last"
    low: str = ""  # "", "float16" or "bfloat16"
    gpu_only: bool = False
    profile: str = "smoke"  # the smallest profile that it belongs to


EAGER = "eager"

# Sources: torch.autocast (its CPU and CUDA lists hold convolution and linear), keras.mixed_precision dtype policies,
# tf.function(jit_compile=True), torch.compile, torch.channels_last, and both frameworks' TF32 switches.
MODES: tuple[Mode, ...] = (
    Mode("torch", EAGER, "float32"),
    Mode("torch", "channels-last", "float32", run="channels-last"),
    Mode("torch", "autocast-float16", "float16", low="float16"),
    Mode("torch", "autocast-bfloat16", "bfloat16", low="bfloat16"),
    Mode("torch", "tf32", "tf32", gpu_only=True),
    Mode("torch", "compile", "float32", run="compile", profile="full"),
    Mode("torch", "compile-autocast-bfloat16", "bfloat16", run="compile", low="bfloat16", profile="full"),
    Mode("tensorflow", EAGER, "float32"),
    Mode("tensorflow", "function", "float32", run="function"),
    Mode("tensorflow", "mixed_float16", "float16", low="float16"),
    Mode("tensorflow", "mixed_bfloat16", "bfloat16", low="bfloat16"),
    Mode("tensorflow", "tf32", "tf32", gpu_only=True),
    Mode("tensorflow", "xla", "float32", run="xla", profile="standard"),
    Mode("tensorflow", "xla-mixed_float16", "float16", run="xla", low="float16", profile="full"),
    Mode("tensorflow", "xla-mixed_bfloat16", "bfloat16", run="xla", low="bfloat16", profile="full"),
)


@dataclass(frozen=True)
class Breach:
    """A tensor that an installed version computes in less precision than the mode says, as it was measured.

    `packages` (name, version) and the processor's flags `cpu_with` and `cpu_without` are where it was measured: there
    it must show again if it does so for every probe (`always`), elsewhere it may.
    """

    framework: str
    mode: str
    layer: str
    tensor: str
    measured: str
    packages: tuple[tuple[str, str], ...]
    cpu_with: tuple[str, ...] = ()
    cpu_without: tuple[str, ...] = ()
    always: bool = True


_TENSORFLOW = (("tensorflow", "2.21.0"), ("keras", "3.15.1"))
_TORCH = (("torch", "2.15.0"),)
_NO_HALF = ("avx512_fp16",)  # processors without it are given another kernel for float16

_NO_BRAIN = ("avx512_bf16",)  # likewise for bfloat16

# Measured on such a processor with the probe of the standard run: layer, tensor, error and what is allowed.
_TORCH_BRAIN = (
    ("conv1", "input", "input gradient off by 1.94 where 1.01 is allowed"),
    ("conv1", "kernel", "kernel gradient off by 0.78, 3.4 times an element's own bound"),
)
_TENSORFLOW_BRAIN = (
    ("conv1", "input", "input gradient off by 1.58 where 1.01 is allowed"),
    ("conv1", "kernel", "kernel gradient off by 5.5 where 1.03 is allowed"),
    ("dense1", "output", "output off by 1.11, 1.03 times an element's own bound"),
    ("dense1", "input", "input gradient off by 1.58 where 1 is allowed"),
    ("dense1", "kernel", "kernel gradient off by 1.86 where 1 is allowed"),
    ("dense2", "input", "input gradient off by 1.51 where 1 is allowed"),
    ("dense2", "kernel", "kernel gradient off by 1.1 where 1 is allowed"),
)

# Measured with three images of 13 x 11 x 3 and seeds 0 to 11, in units of u of max|twin|.
KNOWN_BREACHES: tuple[Breach, ...] = (
    Breach(
        "torch", "autocast-float16", "conv1", "input",
        "the input gradient of a float16 convolution is off by 1.2 to 1.8 u where 1.1 u are allowed (7 to 26 times an"
        " element's own bound): partial sums are kept in float16", _TORCH, (), _NO_HALF,
    ),
    Breach(
        "torch", "autocast-float16", "conv1", "kernel",
        "the kernel gradient of a float16 convolution uses up to 1.4 times its bound, for some probes: each image's"
        " share is rounded to float16 before they are added", _TORCH, (), _NO_HALF, always=False,
    ),
    Breach(
        "tensorflow", "mixed_float16", "conv1", "input",
        "the input gradient of a float16 convolution is off by 1.6 to 2.4 u where 1.1 u are allowed (23 to 89 times an"
        " element's own bound): partial sums are kept in float16", _TENSORFLOW, (), _NO_HALF,
    ),
    Breach(
        "tensorflow", "mixed_float16", "conv1", "kernel",
        "the kernel gradient of a float16 convolution, a sum over 297 products, is off by 5 to 10 u where 1.3 u are"
        " allowed (10 to 15 times an element's own bound): it is summed in float16", _TENSORFLOW, (), _NO_HALF,
    ),
    Breach(
        "tensorflow", "mixed_bfloat16", "conv1", "bias",
        "the bias gradient, a sum over 297 numbers, is off by 2 to 11 u where 1 u is allowed (9 to 40 times an"
        " element's own bound): it is summed in bfloat16", _TENSORFLOW, ("avx512_bf16",),
    ),
    Breach(
        "tensorflow", "mixed_bfloat16", "dense1", "bias",
        "the bias gradient, a sum over three numbers, uses 1.8 to 23 times an element's own bound: it is summed in"
        " bfloat16", _TENSORFLOW, ("avx512_bf16",),
    ),
    *(
        Breach(
            framework, mode, layer, tensor,
            f"{figure} in units of u of max|twin| for one probe: without bfloat16 instructions the sums are kept in"
            " bfloat16", packages, (), _NO_BRAIN, always=False,
        )
        for framework, mode, packages, measured in (
            ("torch", "autocast-bfloat16", _TORCH, _TORCH_BRAIN),
            ("tensorflow", "mixed_bfloat16", _TENSORFLOW, _TENSORFLOW_BRAIN),
        )
        for layer, tensor, figure in measured
    ),
)  # fmt: skip


def find_mode(framework: str, name: str) -> Mode:
    """Return the mode of a framework by its name.

    Raises
        UsageError: there is none.
    """
    for mode in MODES:
        if (mode.framework, mode.name) == (framework, name):
            return mode
    known = ", ".join(mode.name for mode in MODES if mode.framework == framework)
    raise UsageError(f"{framework} has no mode `{name}`; it has: {known}")
