"""Networks that are the same function forwards, and what is said of the way they train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from suites.meta.ports.case import Case, Source, ported

VARIANCE, MOMENTUM, DOUBLED = "batchnorm-running-variance", "batchnorm-momentum", "bias-missing-or-doubled"


def _port(
    tensorflow: str, torch: str, inputs: str = "", *sources: tuple[str, str, str], says: tuple[str, ...] = (),
    different: bool = False, ids: str = "",
) -> Case:  # fmt: skip
    return replace(
        ported("trained", tensorflow, torch, inputs, ids=ids),
        name=f"trained-{tensorflow}-{torch}",
        options=("--train",),
        verdict="different" if different or sources else "same",
        sources=tuple(Source((mine,), (theirs,), (cause,)) for mine, theirs, cause in sources),
        says=says,
    )


def _statistics() -> Iterator[Case]:
    yield _port("along_time", "along_time", "6x4", ("norm", "norm", VARIANCE), says=("N = 15",))
    yield _port(
        "normalised", "averaging_all", "8x9x3", ("norm", "norm", MOMENTUM), ("norm", "norm", VARIANCE),
        says=("torch momentum 0.1 instead of None",),
    )  # fmt: skip
    yield _port(
        "normalised", "detached_before_the_norm", "8x9x3", ("norm", "norm", "unknown"), ("norm", "norm", VARIANCE),
        says=("look for detach(), torch.no_grad() or .data in `norm`", "N = 126"),
    )  # fmt: skip
    missing = "TensorFlow weights without a partner: `norm/moving_mean`"  # torch's code keeps its own, and reads them
    yield replace(_port("normalised", "as_keras", "8x9x3", says=(missing,)), verdict="undecided")


def _biases() -> Iterator[Case]:
    yield _port(
        "both_ways", "both_ways", "7x5", ("lstm", "lstm", DOUBLED),
        says=("lstm.bias_hh_l0.requires_grad_(False)", "lstm.bias_hh_l0_reverse.requires_grad_(False)"),
    )  # fmt: skip


def _gradients() -> Iterator[Case]:
    yield _port("averaged_words", "sparse_words", ids="9:0:9")
    yield _port("averaged_words", "words_by_frequency", "", ("words", "words", "unknown"), ids="9:0:9")
    place = ("second", "second", "unknown")
    yield _port(
        "dense", "detached", "7", place,
        says=("PyTorch's is zero throughout", "look for detach(), torch.no_grad() or .data in `second`"),
    )  # fmt: skip
    yield _port(
        "dense_stopped", "dense", "7", place,
        says=("TensorFlow's is zero throughout", "look for tf.stop_gradient"),
    )  # fmt: skip
    yield _port("dense_stopped", "detached", "7")
    yield _port("dense", "scaled_back", "7", place, says=("PyTorch's is 0.1 times TensorFlow's",))
    yield _port(
        "dense", "halved", "7", different=True,
        says=("`second/kernel`: One step moves it differently: PyTorch's is 0.5 times TensorFlow's",),
    )  # fmt: skip


def _frozen() -> Iterator[Case]:
    """Yield first layers that no gradient reaches: all ways to write that are the same, and differ from none at all."""
    yield _port("dense_frozen", "without_gradients", "7")
    yield _port("dense_frozen", "detached", "7")
    yield _port("dense_stopped", "without_gradients", "7")
    yield _port("dense_stopped", "frozen", "7")
    case = _port("dense", "without_gradients", "7", ("first", "first", "unknown"), ("first", "tanh", "unknown"))
    yield replace(case, says=("trained in TensorFlow alone: `first.weight`, `first.bias`", "no torch.no_grad() there"))


TRAINED = (*_statistics(), *_biases(), *_gradients(), *_frozen())
