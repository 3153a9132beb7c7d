"""Graph layers whose kernel stands before the graph's product on one side and behind it on the other, and faults."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="mixing", inputs="7x5 7x7")

MIXING = (
    _port("kernel_first", "modules"),
    _port("kernel_first", "kernel_last"),
    _port("kernel_first_of_one_size", "modules_of_one_size"),
    _port("kernel_first_without_bias", "modules_without_bias"),
    _port("kernel_last", "modules"),
    _port("kernel_last", "kernel_first"),
    _port("dense_behind", "kernel_first"),
    _port("dense_behind", "kernel_first", options=("--weights", "torch-to-tf")),
    _port(
        "kernel_first", "modules_without_the_last_relu", cause="activation-missing", place=("second/relu", "linear_1")
    ),
    _port(
        "kernel_last", "kernel_first_without_the_last_relu", cause="activation-missing", place=("second/relu", "add_1")
    ),
    _port(
        "kernel_first_without_bias", "modules", cause="bias-missing-or-doubled", place=("*/matmul", "linear*")
    ),
    _port("kernel_first", "modules_turned", cause="unknown", place=("*/matmul", "linear*")),
    _port(
        "kernel_first_of_one_size", "modules_with_one_bias", cause="unknown", place=("second/matmul", "linear_1"),
        says=("load TensorFlow's weights into `bias`",),
    ),
)  # fmt: skip
