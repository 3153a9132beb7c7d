"""The derived rounding bounds hold for float32 torch, say something, and are broken by a lower precision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from parity.errors import ParityError
from parity.workers.client import Worker, WorkerOptions

ADAPTER = f"{Path(__file__).with_name('rounding_adapter.py')}:RoundingAdapter"
SEEDS = range(3)

# The largest bound that a case may have, as a fraction of the largest value of the tensor. A bound that promises less
# would see nothing; a worst case over many layers cannot promise more.
USUAL = 2e-4
SANE: Mapping[str, float] = {
    "angles": 3e-2,  # where both numbers are near zero, so is what the gradient is divided by
    "attention": 1e-3,
    "attention without weights": 1e-3,
    "batch norm trained": 4e-3,
    "causal attention": 5e-3,
    "cosine": 1e-3,
    "encoder layer": 4.0,  # two normalisations of eight numbers, softmax and four products: the worst case says little
    "group norm": 1e-3,
    "gru": 4e-3,
    "instance norm": 2e-3,
    "largest": 1e-3,
    "prelu": 2e-3,  # one slope for all: a long sum of numbers of both signs
    "softmax": 3e-3,  # its gradient is the small difference of large numbers
}
CASES = """
conv1d;conv2d;conv3d;conv2d grouped;conv transpose;linear;bilinear form;embedding;max pool 1d;max pool 2d;max pool 3d;
adaptive max pool;average pool;adaptive average pool;global average pool;batch norm evaluated;batch norm trained;
batch norm 1d;layer norm;layer norm over two;group norm;instance norm;rms norm;local response norm;upsample nearest;
upsample bilinear;upsample bicubic;reflection pad;pixel shuffle;relu;relu6;leaky relu;prelu;elu;selu;celu;gelu;
gelu tanh;silu;mish;softplus;softsign;hardswish;hardsigmoid;hardtanh;sigmoid;tanh;log sigmoid;tanhshrink;softshrink;
hardshrink;threshold;glu;softmax;log softmax;lstm;gru;rnn;attention;attention without weights;encoder layer;
causal attention;normalise;deviation;moments;clamp;largest;indexing;powers;log sum exp;cumulative;branches;
bce with logits;bce;two exponentials;randomised slope;remainders;whole numbers;order;running;angles;distances;
fourier;filtered;spectrum;cross entropy;smoothed cross entropy;mse;l1;smooth l1;huber;kl;poisson;cosine;standardised
""".replace("\n", "").split(";")  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    # One thread: the tensors are small, and threads would only wait for one another.
    with Worker(WorkerOptions(ADAPTER, threads=1)) as one:
        yield one


def test_every_case_of_the_adapter_is_tested(worker: Worker) -> None:
    assert worker.call("cases") == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_float32_keeps_the_bound(worker: Worker, case: str) -> None:
    for seed in SEEDS:
        found = worker.call("compare", case=case, seed=seed)["tensors"]
        assert "output" in found
        largest = max(scale for _, _, scale in found.values())
        for name, (share, bound, scale) in found.items():
            assert share <= 1.0, f"{name}, seed {seed}: {share} times the bound"
            if scale > 1e-9 * largest:  # a gradient that is exactly zero has no scale of its own
                assert bound <= SANE.get(case, USUAL) * scale, f"{name}, seed {seed}: {bound / scale}"


@pytest.mark.parametrize("case", ["conv2d", "conv transpose", "linear", "lstm", "gru", "attention", "layer norm"])
def test_operands_in_bfloat16_break_it(worker: Worker, case: str) -> None:
    found = worker.call("compare", case=case, seed=0, operands="bfloat16")["tensors"]
    shares = {name: share for name, (share, _, _) in found.items()}
    assert shares["output"] > 3.0
    # The gradient of a bias is a plain sum of what comes from above, which was not rounded.
    linear = ("d weight", "d input0", "d inner.weight_ih_l0", "d inner.in_proj_weight")
    assert all(share > 1.0 for name, share in shares.items() if name in linear), shares


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "adagrad"])
def test_optimizer_steps_keep_the_bound(worker: Worker, name: str) -> None:
    for seed in SEEDS:
        found = worker.call("optimise", name=name, seed=seed, steps=2)
        assert found["share"] <= 1.0
        assert found["bound"] <= 1e-2
    assert worker.call("optimise", name=name, seed=0, steps=1, operands="bfloat16")["share"] > 1.0


@pytest.mark.parametrize("what", ["erfinv", "write into plain", "dropout", "untracked buffers"])
def test_what_has_no_bound_is_refused_by_name(worker: Worker, what: str) -> None:
    said = {
        "erfinv": "aten.erfinv",
        "write into plain": "copy_",
        "dropout": "aten.bernoulli",
        "untracked buffers": "buffers",
    }
    with pytest.raises(ParityError, match=said[what]):
        worker.call("refuse", what=what)


def test_on_a_gpu_a_convolution_may_round_all_its_results_together(worker: Worker) -> None:
    alone, fast = (worker.call("convolutions", device=device) for device in ("cpu", "gpu"))
    assert alone["dw"][1].max() < 1e-30 < alone["dw"][0].min()
    for name, bound in fast.items():
        assert (bound == alone[name].max()).all(), name


def test_an_open_decision_puts_the_whole_gradient_at_stake(worker: Worker) -> None:
    found = worker.call("decisions")
    assert (found["relu"] >= [1.0, 0.0, 1.0, 0.0]).all()
    assert found["relu"][1] == found["relu"][3] == 0.0
    assert (found["pool"][[0, 1, 3, 4]] >= 1.0).all()
    assert (found["pool"][[2, 5]] == 0.0).all()
    assert (found["tie"] == 0.0).all()
    assert (found["where"][[0, 2]] >= 2.0).all()
    assert (found["where"][[1, 3]] < 1e-5).all()


@pytest.mark.parametrize("terms", [3, 4, 7])
def test_a_sum_in_any_order_keeps_the_bound(worker: Worker, terms: int) -> None:
    for seed in SEEDS:
        for name, shares in worker.call("sums", seed=seed, terms=terms).items():
            assert max(shares) <= 1.0, f"{name}, seed {seed}"
            assert max(shares) >= 0.1, f"{name}, seed {seed}: the bound promises less than it could"


def test_dividing_by_what_may_be_zero_promises_nothing(worker: Worker) -> None:
    error = worker.call("division")["error"]
    assert math.isinf(error[0])
    assert 1e-6 < error[1] < 2e-6


def test_normalisation_covers_the_other_form(worker: Worker) -> None:
    for seed in SEEDS:
        found = worker.call("norm_forms", seed=seed)
        assert found["form"] <= 1.0
        assert found["variance"] <= 1.0


def test_the_bound_is_linear_in_the_roundoff(worker: Worker) -> None:
    for case in ("conv2d", "tanh", "batch norm trained", "layer norm"):
        low = worker.call("compare", case=case, seed=1)["tensors"]
        high = worker.call("compare", case=case, seed=1, roundoff=2.0**-40)["tensors"]
        ratios = [high[name][1] / low[name][1] * 2.0**16 for name in low if low[name][1] > 1e-30]
        assert np.allclose(ratios, 1.0, rtol=1e-2)
