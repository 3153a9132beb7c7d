"""SavedModels whose activations and norms are several operations: right ports, and faults in them and beside them."""

from __future__ import annotations

from functools import partial

from suites.meta.ports.case import paired

_port = partial(paired, family="graphs", inputs="7")

GRAPHS = (
    _port("elu", "elu"),
    _port("elu", "elu_of_another_eps", cause="layernorm-eps", place=("*", "norm")),
    _port("elu", "elu_without_bias", cause="bias-missing-or-doubled", place=("*", "two")),
    _port("elu", "elu_of_another_alpha", cause="elu-selu-alpha", place=("*", "bend")),
    _port("selu", "selu"),
    _port("selu", "selu_of_another_eps", cause="layernorm-eps", place=("*", "norm")),
    _port("written_below", "elu"),
    _port("written_below", "elu_of_another_alpha", cause="elu-selu-alpha", place=("*", "bend")),
    _port("written_halved", "elu_without_bias", cause="bias-missing-or-doubled", place=("*", "two")),
)
