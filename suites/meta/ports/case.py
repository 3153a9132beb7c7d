"""What a case of the corpus is: two builders, the options of the command, and what must come out."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Source:
    """One place that must be named as a source: by any of the names, with any of the causes."""

    tensorflow: tuple[str, ...]
    torch: tuple[str, ...]
    causes: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One pair of builders and what the check must say about it.

    `verdict` is `same`, `different`, `undecided` (compared, and the status is 2) or `error`; `sources` lists what must
    be named when they differ, `tolerated` causes that may be named beside it. `says` is part of what must stand on
    stderr of an error, or among the notes.
    """

    name: str
    tensorflow: str
    torch: str
    inputs: tuple[str, ...] = ()
    int_inputs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    verdict: str = "same"
    sources: tuple[Source, ...] = ()
    tolerated: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    heavy: bool = False  # the cases with whole published networks
    note: str = ""


def ported(
    family: str,
    tensorflow: str,
    torch: str = "",
    inputs: str = "",
    cause: str = "",
    place: tuple[str, str] = ("*", "*"),
    ids: str = "",
) -> Case:
    """Return a case of one family of builder files.

    With a `cause`, it must be found at the `place`, TensorFlow's and torch's name, alone.
    """
    return Case(
        name=f"{family}-{torch or tensorflow}",
        tensorflow=f"{family}_tensorflow.py:{tensorflow}",
        torch=f"{family}_torch.py:{torch or tensorflow}",
        inputs=tuple(inputs.split()),
        int_inputs=tuple(ids.split()),
        verdict="different" if cause else "same",
        sources=(Source((place[0],), (place[1],), (cause,)),) if cause else (),
    )


def paired(
    tensorflow: str, torch: str = "", inputs: str = "", cause: str = "", place: tuple[str, str] = ("*", "*"), *,
    family: str, options: tuple[str, ...] = (), says: tuple[str, ...] = (), ids: str = "",
) -> Case:  # fmt: skip
    """Return a case as `ported` does, named by both builders and the options of the command."""
    named = "".join(one.replace("--", "-") for one in options)
    case = ported(family, tensorflow, torch, inputs, cause, place, ids)
    return replace(case, name=f"{family}-{tensorflow}-{torch or tensorflow}{named}", options=options, says=says)
