"""Models of pictures in which one fault showed in several places, or in none."""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source

PICTURE = "13x17x3"
TRAIN = ("--train",)


def _port(
    tensorflow: str,
    torch: str = "",
    inputs: str = PICTURE,
    cause: str = "",
    place: tuple[str, str] = ("", ""),
    says: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
) -> Case:
    """Return a case; with a `cause`, it must be found at the `place`, TensorFlow's and torch's name, alone."""
    return Case(
        name=f"vision-{torch or tensorflow}",
        tensorflow=f"vision_tensorflow.py:{tensorflow}",
        torch=f"vision_torch.py:{torch or tensorflow}",
        inputs=tuple(inputs.split()),
        options=options,
        verdict="different" if cause else "same",
        sources=(Source((place[0],), (place[1],), (cause,)),) if cause else (),
        says=says,
    )


def _cases() -> Iterator[Case]:
    yield _port("gated", says=("nothing but zeros",))
    yield _port("gated", "gated_by_the_largest_alone", cause="unknown", place=("add*", "sigmoid"))
    yield _port("bottleneck")
    yield _port("bottleneck", "bottleneck_not_linear", cause="activation-extra", place=("linear", "after"))
    yield _port("stem")
    yield _port("stem", "stem_rounded_up", cause="pool-padding", place=("pool", "pool"))
    yield _port("negative_stem")
    place = "pool", "pool*"
    yield _port("negative_stem", "negative_stem_padded_in_the_pool", cause="pool-padding", place=place)
    yield _port("same_stem")
    for wrong in ("padded_with_zeros", "padded_after"):
        yield _port("same_stem", f"same_stem_{wrong}", cause="pool-padding", place=place)
    yield _port("patches", inputs="12x16x3")
    place = "patches/add", "transpose"
    yield _port("patches", "patches_without_places", "12x16x3", cause="unknown", place=place)
    yield _port("towers", inputs="13x17x1 13x17x1")
    place = "tower/second", "second"
    yield _port("towers", "towers_without_a_relu", "13x17x1 13x17x1", cause="activation-missing", place=place)
    yield _port("grouped", inputs="13x17x4", options=TRAIN)
    place = "each", "each"
    yield _port("grouped", "grouped_by_two", "13x17x4", "dilation-or-groups", place, options=TRAIN)
    yield _port("averaged")
    place = "conv", "conv*"
    yield _port("averaged", "averaged_behind_a_fault", cause="same-padding-stride", place=place)
    place = "average", "avg_pool2d"
    yield _port("averaged", "averaged_with_its_padding", cause="avgpool-count-pad", place=place)
    yield _port("prepared")
    yield _port("prepared", "prepared_with_other_means", cause="input-scale", place=("subtract", "sub"))
    yield _port("attended")
    place = "attend/*", "bmm*"
    yield _port("attended", "attended_along_the_queries", cause="axis-mismatch", place=place)
    yield from _random()


def _random() -> Iterator[Case]:
    """Yield models that draw at random as they run, all of them or in training alone."""
    single = "13x17x1"
    yield _port("sampled", inputs=single, says=("both got the same",))
    scaled = "residual-scale", ("sample/*", "log_variance")
    yield _port("sampled", "sampled_by_the_variance", single, *scaled)
    yield _port("sampled", "sampled_not_at_all", single, "unknown", ("sample/*", "decoder"))
    yield _port("dropping", options=TRAIN, says=("changed no picture at random",))
    place = "first/norm", "first.norm"
    yield _port("dropping", "dropping_behind_another_eps", cause="layernorm-eps", place=place, options=TRAIN)
    yield _port("dropping", "dropping_more", cause="residual-scale", place=("first/*", "first.div"), options=TRAIN)


VISION = tuple(_cases())
