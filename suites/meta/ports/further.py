"""Whole networks from tutorials and repositories: correct ports in several hands' ways, and faulty ones."""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source


def _port(
    tensorflow: str,
    torch: str = "",
    inputs: str = "",
    ids: str = "",
    options: tuple[str, ...] = (),
    cause: str = "",
    place: tuple[str, str] = ("", ""),
    verdict: str = "",
    says: tuple[str, ...] = (),
) -> Case:
    """Return a case; with a `cause`, at the `place` (TensorFlow's and torch's name) it must be found."""
    torch = torch or tensorflow
    return Case(
        name=f"further-{torch}" + ("-train" if "--train" in options else ""),
        tensorflow=f"further_tensorflow.py:{tensorflow}",
        torch=f"further_torch.py:{torch}",
        inputs=tuple(inputs.split()),
        int_inputs=tuple(ids.split()),
        options=options,
        verdict=verdict or ("different" if cause else "same"),
        sources=(Source((place[0],), (place[1],), tuple(cause.split())),) if cause else (),
        says=says,
    )


def _cases() -> Iterator[Case]:
    yield _port("generator", inputs="20")
    yield _port("generator", "generator_last", inputs="20")
    yield _port("signal_generator", inputs="11")
    yield _port("coded", inputs="28x20x1")
    for wrong in ("cut_at_the_start", "padded_instead"):
        yield _port("coded", wrong, inputs="28x20x1", cause="conv-transpose-crop", place=("up1", "up1"))
    yield _port("unscaled_norms", inputs="19x17x6", says=("without a partner",))
    place = ("batch_normalization_1", "wide.0.bn")
    yield _port("unscaled_norms", "other_scales", inputs="19x17x6", cause="weight-scale", place=place)


FURTHER = tuple(_cases())
