"""Layers whose shapes and hyper-parameters nobody chose: drawn at random, and shrunk to the smallest that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.campaign import Campaign
    from parity.model.network import Network

pytestmark = pytest.mark.section("zoo")
EXAMPLES = {"smoke": 1, "standard": 4, "full": 200}
FAMILIES = ("convolution", "transposed", "pooling", "normalisation", "recurrent", "attention", "dense")


def drawn(family: str, data: Any) -> Network:
    """Draw one layer of a family."""
    from hypothesis import strategies as st

    from parity.model import zoo
    from parity.model.network import SAME, Input

    def number(low: int, high: int) -> int:
        return int(data.draw(st.integers(low, high)))

    def pick(*options: Any) -> Any:
        return data.draw(st.sampled_from(options))

    rank = number(1, 3) if family in ("convolution", "pooling") else number(1, 2)
    sizes = tuple(number(5, 9 if rank == 3 else 14) for _ in range(rank))
    channels = 2 * number(1, 3)
    given = Input("input", (*sizes, channels))
    if family == "convolution":
        kernel = [number(1, 4) for _ in range(rank)]
        strided = pick(True, False)
        config = {
            "rank": rank, "filters": 2 * number(1, 3), "kernel": kernel, "padding": pick("valid", "same"),
            "strides": [number(1, 3)] * rank if strided else [1] * rank,
            "dilation": [1] * rank if strided else [pick(1, 2) if min(sizes) > 2 * max(kernel) else 1] * rank,
            "groups": pick(1, 2), "bias": pick(True, False),
        }  # fmt: skip
        return zoo.single("drawn-conv", "conv", (given,), **config)
    if family == "transposed":
        stride, padding = number(1, 3), pick("valid", "same")
        # TensorFlow 2.21 ends its process with a segmentation fault when it differentiates a transposed convolution
        # with SAME padding, a stride and a kernel of one on a CPU; a draw of that would test nothing else.
        kernel = [number(2 if padding == "same" and stride > 1 else 1, 4) for _ in range(rank)]
        config = {"rank": rank, "filters": number(1, 4), "kernel": kernel, "strides": [stride] * rank,
                  "padding": padding}  # fmt: skip
        return zoo.single("drawn-conv-transpose", "conv_transpose", (given,), **config)
    if family == "pooling":
        size = number(1, 3)
        config = {"rank": rank, "pool": [size] * rank, "strides": [number(1, 3)] * rank,
                  "padding": pick("valid", "same")}  # fmt: skip
        return zoo.single("drawn-pool", pick("max_pool", "avg_pool"), (given,), **config)
    if family == "normalisation":
        eps = pick(1e-3, 1.001e-5, 1e-6)
        kind = pick("batch_norm", "layer_norm", "group_norm", "rms_norm")
        extra = {"groups": pick(1, 2, channels)} if kind == "group_norm" else {"image": True}
        return zoo.single(f"drawn-{kind}", kind, (given,), eps=eps, **extra)
    if family == "recurrent":
        sequence = Input("input", (number(1, 7), number(1, 6)), SAME)
        config = {"units": number(1, 5), "sequences": pick(True, False), "bidirectional": pick(True, False)}
        return zoo.single("drawn-recurrent", pick("lstm", "gru"), (sequence,), **config)
    if family == "attention":
        heads, key = number(1, 4), number(1, 4)
        query = Input("query", (number(1, 6), heads * key), SAME)
        value = Input("value", (number(1, 6), heads * key), SAME)
        return zoo.single("drawn-attention", "attention", (query, value), heads=heads, key_dim=key)
    steps = [number(1, 5)] if pick(True, False) else []
    return zoo.single(
        "drawn-dense",
        "dense",
        (Input("input", (*steps, number(1, 17)), SAME),),
        units=number(1, 9),
        bias=pick(True, False),
    )


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_drawn_layer(campaign: Campaign, family: str) -> None:
    from hypothesis import HealthCheck, given, note, settings
    from hypothesis import strategies as st

    from parity.trials import zoo as trial
    from parity.trials.networks import raise_for

    profile = campaign.options.profile
    counts = {"examples": 0, "tensors": 0}

    # The standard profile draws the same cases at every run; the full one draws new ones and prints how to repeat them.
    @settings(max_examples=EXAMPLES[profile], deadline=None, derandomize=profile != "full", database=None,
              print_blob=True, suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(data=st.data(), seed=st.integers(0, 2**16))
    def check(data: Any, seed: int) -> None:
        network = drawn(family, data)
        note(f"{network.nodes[0].kind} {dict(network.nodes[0].config)} on {[i.shape for i in network.inputs]}, {seed=}")
        found = trial.examine(campaign.pair(), network, seed)
        counts["examples"] += 1
        counts["tensors"] += len(found)
        raise_for(found)

    check()
    campaign.append_to("zoo", "drawn", [{"family": family, **counts}])
    assert counts["tensors"] >= counts["examples"] >= 1
