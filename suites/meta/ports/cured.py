"""What cures each planted fault: the same TensorFlow builders as in `faults.py`, and no source may be named."""

from __future__ import annotations

from suites.meta.ports.case import Case
from suites.meta.ports.faults import AS_IS, FAULTS

# The function of cured_torch.py, where it is not called as the fault.
_OTHER_NAMES = {
    "kernel_layout": "square",
    "kernel_spatial_swap": "square",
    "kernel_flip": "square",
    "dense_layout": "dense",
    "batchnorm_mode": "batchnorm",
    "batchnorm_stats_swap": "batchnorm",
    "variance_root": "batchnorm",
    "weight_scale": "bias_missing",
    "spectral_norm": "bias_missing",
    "never_loaded": "bias_missing",
    "lstm_gate_order": "recurrent_lstm",
    "bias_doubled": "recurrent_lstm",
    "gru_gate_order": "recurrent_gru",
    "embedding_offset": "embedding",
    "embedding_padding_index": "embedding",
}
# A slope for every element has no module in torch: written out, its weights are drawn alike and not carried.
_AS_IS = frozenset({"prelu_sharing"})
_NO_CURE = frozenset({"gru_reset_after"})  # torch has no such GRU


def _cured(fault: Case) -> Case:
    name = fault.name.removesuffix("-deep")
    return Case(
        name=f"{name}-cured",
        tensorflow=fault.tensorflow,
        torch=f"cured_torch.py:{_OTHER_NAMES.get(name, name)}",
        inputs=fault.inputs,
        int_inputs=fault.int_inputs,
        options=AS_IS if name in _AS_IS else fault.options,
    )


CURED = tuple(
    _cured(case) for case in FAULTS if case.name.endswith("-deep") and case.name.removesuffix("-deep") not in _NO_CURE
)
