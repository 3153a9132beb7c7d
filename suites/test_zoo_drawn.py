"""Layers whose shapes and hyper-parameters nobody chose: drawn at random, and shrunk to the smallest that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parity.model import zoo
from parity.model.network import SAME, Input, Network

if TYPE_CHECKING:
    from parity.campaign import Campaign

pytestmark = pytest.mark.section("zoo")
EXAMPLES = {"smoke": 1, "standard": 4, "full": 200}


class Draw:
    """What a layer is drawn from: whole numbers, choices, and an image of odd size with an even number of channels."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def number(self, low: int, high: int) -> int:
        from hypothesis import strategies as st

        return int(self.data.draw(st.integers(low, high)))

    def pick(self, *options: Any) -> Any:
        from hypothesis import strategies as st

        return self.data.draw(st.sampled_from(options))

    def image(self, rank: int) -> Input:
        sizes = tuple(self.number(5, 9 if rank == 3 else 14) for _ in range(rank))
        return Input("input", (*sizes, 2 * self.number(1, 3)))


def convolution(draw: Draw) -> Network:
    rank = draw.number(1, 3)
    given = draw.image(rank)
    kernel = [draw.number(1, 4) for _ in range(rank)]
    strided = draw.pick(True, False)
    dilation = 1 if strided or min(given.shape[:-1]) <= 2 * max(kernel) else draw.pick(1, 2)
    config = {
        "rank": rank, "filters": 2 * draw.number(1, 3), "kernel": kernel, "padding": draw.pick("valid", "same"),
        "strides": [draw.number(1, 3) if strided else 1] * rank, "dilation": [dilation] * rank,
        "groups": draw.pick(1, 2), "bias": draw.pick(True, False),
    }  # fmt: skip
    return zoo.single("drawn-conv", "conv", (given,), **config)


def transposed(draw: Draw) -> Network:
    rank = draw.number(1, 2)
    given, stride, padding = draw.image(rank), draw.number(1, 3), draw.pick("valid", "same")
    # TensorFlow 2.21 ends its process with a segmentation fault when it differentiates a transposed convolution
    # with SAME padding, a stride and a kernel of one on a CPU; a draw of that would test nothing else.
    kernel = [draw.number(2 if padding == "same" and stride > 1 else 1, 4) for _ in range(rank)]
    config = {"rank": rank, "filters": draw.number(1, 4), "kernel": kernel, "strides": [stride] * rank,
              "padding": padding}  # fmt: skip
    return zoo.single("drawn-conv-transpose", "conv_transpose", (given,), **config)


def pooling(draw: Draw) -> Network:
    rank = draw.number(1, 3)
    given = draw.image(rank)
    config = {"rank": rank, "pool": [draw.number(1, 3)] * rank, "strides": [draw.number(1, 3)] * rank,
              "padding": draw.pick("valid", "same")}  # fmt: skip
    return zoo.single("drawn-pool", draw.pick("max_pool", "avg_pool"), (given,), **config)


def normalisation(draw: Draw) -> Network:
    given, eps = draw.image(draw.number(1, 2)), draw.pick(1e-3, 1.001e-5, 1e-6)
    kind = draw.pick("batch_norm", "layer_norm", "group_norm", "rms_norm")
    extra = {"groups": draw.pick(1, 2, given.shape[-1])} if kind == "group_norm" else {"image": True}
    return zoo.single(f"drawn-{kind}", kind, (given,), eps=eps, **extra)


def recurrent(draw: Draw) -> Network:
    given = Input("input", (draw.number(1, 7), draw.number(1, 6)), SAME)
    config = {"units": draw.number(1, 5), "sequences": draw.pick(True, False), "bidirectional": draw.pick(True, False)}
    return zoo.single("drawn-recurrent", draw.pick("lstm", "gru"), (given,), **config)


def attention(draw: Draw) -> Network:
    heads, key = draw.number(1, 4), draw.number(1, 4)
    # Keras 3.15's `ops.add` takes a bias of (heads, 1) for one of the positions where there are as many of these: it
    # looks for an axis as long among the first and the last (keras/src/backend/tensorflow/numpy.py, `add`).
    shortest = heads + 1 if key == 1 else 1
    query, value = (Input(name, (draw.number(shortest, 6), heads * key), SAME) for name in ("query", "value"))
    return zoo.single("drawn-attention", "attention", (query, value), heads=heads, key_dim=key)


def dense(draw: Draw) -> Network:
    steps = [draw.number(1, 5)] if draw.pick(True, False) else []
    given = Input("input", (*steps, draw.number(1, 17)), SAME)
    return zoo.single("drawn-dense", "dense", (given,), units=draw.number(1, 9), bias=draw.pick(True, False))


FAMILIES = {f.__name__: f for f in (convolution, transposed, pooling, normalisation, recurrent, attention, dense)}


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
        network = FAMILIES[family](Draw(data))
        note(f"{network.nodes[0].kind} {dict(network.nodes[0].config)} on {[i.shape for i in network.inputs]}, {seed=}")
        found = trial.examine(campaign.pair(), network, seed)
        counts["examples"] += 1
        counts["tensors"] += len(found)
        raise_for(found)

    check()
    campaign.append_to("zoo", "drawn", [{"family": family, **counts}])
    assert counts["tensors"] >= counts["examples"] >= 1
