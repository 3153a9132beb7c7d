"""Ports that were looked for where the check had gone wrong before: right ones beside those with one fault."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from suites.meta.ports.case import Case, Source


def _port(
    tensorflow: str, torch: str, inputs: str = "", cause: str = "", place: tuple[str, str] = ("", ""), *,
    ids: str = "", says: tuple[str, ...] = (), options: tuple[str, ...] = (), verdict: str = "",
) -> Case:  # fmt: skip
    """Return a case; with a `cause`, or several, at the `place` each of them must be found."""
    return Case(
        name=f"sought-{tensorflow}-{torch}" + ("-train" if "--train" in options else ""),
        tensorflow=f"sought_tensorflow.py:{tensorflow}",
        torch=f"sought_torch.py:{torch}",
        inputs=tuple(inputs.split()),
        int_inputs=tuple(ids.split()),
        options=options,
        verdict=verdict or ("different" if cause else "same"),
        sources=tuple(Source((place[0],), (place[1],), (one,)) for one in cause.split()),
        says=says,
    )


def _lengths() -> Iterator[Case]:
    """Yield vectors divided by their length, whose floors differ: near zero it shows."""
    two, floor = "6 6", "l2-normalize-eps"
    yield _port("cosine", "cosine", two, floor, ("cosine", "cosine_similarity"))
    yield _port("cosine", "cosine_of_units", two, floor, ("cosine", "normalize*"))
    yield _port("cosine", "cosine_with_its_floor", two)
    yield _port("cosine_behind_a_bias", "cosine_behind_a_bias", two, says=(floor,))
    port = partial(_port, inputs="6")
    yield port("above_a_floor", "above_a_floor")
    yield port("above_a_root", "above_a_root")
    yield port("with_an_addend", "with_an_addend")
    yield port("with_an_addend", "above_a_floor", cause=floor, place=("unit/*", "clamp"))
    yield port("with_an_addend", "normalised", cause=floor, place=("unit/*", "normalize"))
    yield port("above_a_floor", "with_an_addend", cause=floor, place=("unit/*", "div"))
    yield port("with_a_small_addend", "above_a_small_root", cause=floor, place=("unit/*", "*"))


def _masks() -> Iterator[Case]:
    """Yield masks that a model's own code lays over scores: as numbers or as truth values, and the wrong way round."""
    port, cause = partial(_port, ids="6:0:8"), "attention-mask-polarity"
    yield port("padded", "padded_and_filled")
    yield port("padded", "padded_and_filled_in_reverse", cause=cause, place=("attention*", "attention*"))
    yield port("padded", "padded_in_reverse", cause=cause, place=("*", "*"))
    yield _port("causal", "causal", "6x8")
    for torch in ("causal_in_reverse", "causal_upside_down"):
        yield _port("causal", torch, "6x8", cause, ("attention*", "attention.add"))


def _colours() -> Iterator[Case]:
    """Yield colours that are read backwards, less a mean for each, which one side takes one by one."""
    port, cause = partial(_port, "coloured", inputs="6x7x3"), "channel-order"
    yield port("coloured")
    for torch in ("coloured_forwards", "coloured_with_means_forwards", "coloured_too_late"):
        yield port(torch, cause=cause, place=("means/*", "sub"))
    yield port("coloured_to_one", cause="input-scale", place=("means/*", "div"))


def _norms() -> Iterator[Case]:
    """Yield norms over other axes than TensorFlow's, whose weights fit all the same."""
    port = partial(_port, inputs="12x10x3", place=("norm", "norm"))
    for torch in ("layer_norm_as_instance_norm", "layer_norm_as_group_norm"):
        yield port("layer_norm", torch, cause="norm-axes")
    yield port("group_norm", "group_norm_as_instance_norm", cause="groupnorm-groups")


def _deviations() -> Iterator[Case]:
    """Yield a fault before a mean and a deviation, which both read it: it is one."""
    port = partial(_port, "deviations", inputs="9x4")
    yield port("deviations")
    yield port("deviations_without_elu", cause="activation-missing", place=("second", "second"))
    yield port("deviations_of_waves", cause="unknown", place=("both/*", "*"))


def _views() -> Iterator[Case]:
    """Yield faults inside a tower that sees two batches as one: told where they are, not where it is taken apart."""
    port = partial(_port, "two_views", inputs="8x9x3 8x9x3")
    yield port("two_views")
    second = ("tower/second", "second")
    yield port("two_views_padded_after", cause="same-padding-stride", place=second)
    yield port("two_views_without_elu", cause="activation-missing", place=second)
    yield port("two_views_other_eps", cause="batchnorm-eps", place=("tower/norm", "norm"))


def _borders() -> Iterator[Case]:
    """Yield borders that are filled with something else, alone and beside a flipped kernel."""
    port = partial(_port, inputs="12x10x3", options=("--weights", "as-is"), place=("*", "*"))
    yield port("bordered", "bordered")
    yield port("bordered", "bordered_by_a_mirror", cause="padding-mode")
    yield port("bordered", "bordered_by_a_mirror_and_flipped", cause="padding-mode kernel-flip")
    yield port("mirrored", "mirrored_by_zeros_and_flipped", cause="padding-mode kernel-flip")


SOUGHT = (*_lengths(), *_masks(), *_colours(), *_norms(), *_deviations(), *_views(), *_borders())
