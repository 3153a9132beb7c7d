"""Small models of sequences and volumes that were told wrongly, or not at all, when they were first tried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from suites.meta.ports.case import Case, paired

_port = partial(paired, family="volumes")


def _norms() -> Iterator[Case]:
    yield _port("rooted", inputs="7x5")
    yield _port("rooted", "rooted_over_time", "7x5", "norm-axes", ("rms", "mul*"))
    yield _port("rooted", "rooted_eps_outside", "7x5", "layernorm-eps", ("rms", "mul*"))
    yield _port("whole", inputs="7x5")
    yield _port(
        "whole", "whole_each_step", "7x5", "norm-axes", ("norm", "norm"),
        says=("nn.LayerNorm([7, 6]) in place of `norm`",),
    )  # fmt: skip


def _shapes() -> Iterator[Case]:
    """Yield what another shape comes of in torch, so that no number can be compared before the remedy."""
    yield _port("scores", inputs="3x4x5x2")
    yield _port(
        "scores", "scores_without_shares", "3x4x5x2", "activation-missing", ("head", "head"),
        says=("x = F.softmax(x, 1) after `head`",),
    )  # fmt: skip
    yield _port("shortened", inputs="14x3")
    yield _port("shortened", "shortened_padded", "14x3", "same-padding-stride", ("conv", "conv"))
    yield _port("shortened", "shortened_pooled_less", "14x3", "pool-padding", ("pool", "max_pool1d"))


def _states() -> Iterator[Case]:
    """Yield recurrent layers that start from something else."""
    two = "6x3 5x2"
    yield _port("handed", inputs=two)
    yield _port("handed", "handed_exchanged", two, "operand-order", ("writer", "writer"))
    for name in ("handed_half", "handed_nothing"):
        yield _port(
            "handed", name, two, "unknown", ("writer", "writer"),
            says=("start `writer` from (h, c) of TensorFlow's `reader`",),
        )  # fmt: skip


def _rows() -> Iterator[Case]:
    """Yield a convolutional LSTM along one axis, written out; torch gets the axes as they are."""
    for name in ("rows", "rows_in_another_order"):
        yield _port("rows", name, "4x9x2", options=("--torch-layout", "same"))


def _several() -> Iterator[Case]:
    """Yield what several are made one of: two directions, or all tokens."""
    yield _port("both_ways", inputs="6x3")
    yield _port("both_ways", "both_ways_each_sum", "6x3", "residual-scale", ("each", "add"))
    yield _port(
        "both_ways", "both_ways_ends_sum", "6x3", "unknown", ("ends", "add*"),
        says=("a * b of the two directions, a and b, in place of `add",),
    )  # fmt: skip
    yield _port("pooled", inputs="7x6")
    yield _port(
        "pooled", "pooled_first", "7x6", "unknown", ("mean", "getitem"),
        says=("x.mean((1,)) in place of `getitem`",),
    )  # fmt: skip


def _attention() -> Iterator[Case]:
    yield _port("attended", inputs="7x12")
    yield _port(
        "attended", "attended_steps_first", "7x12", "axis-mismatch", ("attention", "attention"),
        says=("batch_first=True in `attention`",),
    )  # fmt: skip
    yield _port("unscaled", inputs="5x6 7x6")
    place = "attention", "scaled_dot_product_attention"
    yield _port("unscaled", "unscaled_scaled", "5x6 7x6", "attention-scale-or-heads", place)


VOLUMES = (*_norms(), *_shapes(), *_states(), *_rows(), *_several(), *_attention())
