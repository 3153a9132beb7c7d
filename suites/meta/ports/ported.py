"""Published PyTorch code that was ported to Keras: torch has the weights that both get."""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source

TO_KERAS = ("--weights", "torch-to-tf")


def _port(
    tensorflow: str, torch: str, inputs: str = "", *, ids: str = "", cause: str = "",
    places: tuple[tuple[str, str], ...] = (), says: tuple[str, ...] = (),
) -> Case:  # fmt: skip
    return Case(
        name=f"ported-{tensorflow}-{torch}",
        tensorflow=f"ported_tensorflow.py:{tensorflow}",
        torch=f"ported_torch.py:{torch}",
        inputs=tuple(inputs.split()),
        int_inputs=tuple(ids.split()),
        options=TO_KERAS,
        verdict="different" if cause else "same",
        sources=tuple(Source((mine,), (theirs,), (cause,)) for mine, theirs in places),
        says=says,
    )


def _cases() -> Iterator[Case]:
    # AutoInt stacks its heads before the samples, of which there are as many as numbers in a head.
    yield _port("fields", "fields_by_heads", "4x5")
    yield _port("padded", "padded", ids="9:0:4")
    mask = (("*softmax*", "*softmax"),)
    yield _port("padded_in_reverse", "padded", ids="9:0:4", cause="attention-mask-polarity", places=mask)
    waves = tuple((f"*multiply{end}", f"mul{end}") for end in ("", "_1"))
    yield _port("waves_of_pi", "waves", "3", cause="input-scale", places=waves, says=("x * math.pi in place",))
    yield _port("two_towers", "one_tower_written_out", "5x8 6x12")


PORTED = tuple(_cases())
