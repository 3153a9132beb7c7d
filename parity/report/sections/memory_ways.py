"""Load everything or stream: what each way makes a process hold, and at how many images a machine is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, fixed, folded, integer, mebibytes, number, problems, prose, table

_WAYS: Final = {"load": "load all, then train", "stream": "stream batches from files"}
_STAGES: Final = ("list", "array", "tensor")
_WHAT: Final = (
    "`load` is what notebooks do: a list of float32 arrays, `np.array` of it, the framework's tensor of that, all three"
    " kept; `stream` reads files through tf.data or a `DataLoader`. Each row comes from fresh processes that train one"
    " epoch; memory is the most that a process had of its own (anonymous: mapped files are left out, which the kernel"
    " takes back at need), with that of its loader processes, above what it had when the framework was imported. One"
    " copy is the image as float32: no way of loading can hold less."
)


def render(record: Record) -> str:
    """Show the answer, the plot, the lines with their slopes, the limits, and every measured process."""
    section, label = record["memory_ways"], markdown_label(record)
    parts = [_answer(section, label), *plots.references(record, "memory_ways.png"), _lines(section, label), _WHAT]
    parts += [_limits(section, label)] if section.get("limits") else []
    parts += problems(section.get("problems"))
    parts += [_processes(section, label)] if section.get("rows") else []
    return "\n\n".join(parts)


def _answer(section: Row, label: str) -> str:
    """Say in one sentence what the two ways hold, and where loading ends in a free notebook."""
    fits = section.get("fits") or []
    said = [
        f"{framework_name(fit['framework'])} holds {fixed(fit.get('copies'), 1)} copies of each loaded image"
        for fit in _own_size(fits) if fit["way"] == "load"
    ]  # fmt: skip
    streams = [fit for fit in fits if fit["way"] == "stream"]
    bounded = sum(fit["decision"] == "bounded" for fit in streams)
    ends = [
        f"{framework_name(row['framework'])} at about {integer(row['images'])}"
        for row in section.get("limits") or []
        if row["limit_bytes"] == _notebook(section) and row["size"] == row["measured_at"] == _first_size(fits)
    ]
    text = f"**{' and '.join(said)}; streaming stays bounded in {bounded} of {len(streams)} measurements.**"
    if ends:
        text += (
            f" Loading images of {_size(_first_size(fits))} fills a free notebook kernel's"
            f" {_gigabytes(_notebook(section))}: {', '.join(ends)} images."
        )
    return f"{text} ({label})"


def _lines(section: Row, label: str) -> str:
    rows = [
        (
            framework_name(fit["framework"]), prose(_WAYS.get(fit["way"], fit["way"])), _size(fit["size"]),
            ", ".join(integer(count) for count in fit["images"]), mebibytes(fit["import_bytes"]),
            mebibytes(fit["intercept"]), _kibibytes(fit["slope"]), _kibibytes(fit["image_bytes"]), _copies(fit),
            prose(fit["decision"]),
        )
        for fit in section.get("fits") or []
    ]  # fmt: skip
    header = (
        "framework", "way", "image", "images", "import, MiB", "constant, MiB", "per image, KiB", "one copy, KiB",
        "copies (95 % interval)", "memory",
    )  # fmt: skip
    title = f"**Peak memory against the number of images** (least squares; one process each; {label})"
    return f"{title}\n\n{table(header, rows, '<<<<>>>>><')}"


def _limits(section: Row, label: str) -> str:
    rows = [
        (
            framework_name(row["framework"]), _size(row["size"]), prose(row["limit"]), _gigabytes(row["limit_bytes"]),
            integer(row["images"]), _range(row), _gigabytes(row.get("radiographs_bytes")), _size(row["measured_at"]),
        )
        for row in section["limits"]
    ]  # fmt: skip
    header = (
        "framework", "image", "limit", "memory", "full at images", "95 % interval", "5,856 images take", "measured at",
    )  # fmt: skip
    title = (
        f"**Where loading ends** (the line followed far beyond what was measured: no memory was filled; a free notebook"
        f" kernel is Google Colab's, which shows 12.7 GB, here taken as decimal; {label})"
    )
    return f"{title}\n\n{table(header, rows, '<<<>>>><')}"


def _processes(section: Row, label: str) -> str:
    rows = [
        (
            framework_name(row["framework"]), prose(row["way"]), _size(row["size"]), integer(row["images"]),
            *(mebibytes(row.get(key)) for key in ("floor_bytes", "import_bytes")),
            *(mebibytes((row.get("stage_bytes") or {}).get(stage)) for stage in _STAGES),
            *(mebibytes(row.get(key)) for key in ("own_peak_bytes", "process_peak_bytes")),
            integer(row.get("children")), mebibytes(row.get("children_peak_bytes")), prose(row.get("error") or NONE),
        )
        for row in section["rows"]
    ]  # fmt: skip
    header = (
        "framework", "way", "image", "images", "floor", "import", *(f"with {stage}" for stage in _STAGES), "own peak",
        "with files", "loader processes", "theirs", "failed",
    )  # fmt: skip
    files = (
        f"{integer(section.get('files'))} different files, which come round again where more images are asked for; MiB;"
        f" floor: the images once, as float32; with files: the kernel's own mark, mapped libraries included;"
        f" theirs: what they wrote themselves, looked at after each step; {label}"
    )
    return folded(f"All {len(rows)} processes", f"{files}\n\n{table(header, rows, '<<<' + '>' * 10 + '<')}")


def _own_size(fits: Sequence[Row]) -> list[Row]:
    return [fit for fit in fits if fit["size"] == _first_size(fits)]


def _first_size(fits: Sequence[Row]) -> Any:
    """Give the largest image size that was measured, at which slopes are surest."""
    return max((fit["size"] for fit in fits), key=lambda size: size[0] * size[1] * size[2], default=None)


def _notebook(section: Row) -> Any:
    return next((row["limit_bytes"] for row in section.get("limits") or [] if "notebook" in row["limit"]), None)


def _size(size: Any) -> str:
    return NONE if size is None else "x".join(integer(side) for side in size)


def _copies(fit: Row) -> str:
    low, high = number(fit.get("copies_low")), number(fit.get("copies_high"))
    ends = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return f"{fixed(fit.get('copies'), 2)}{ends}"


def _range(row: Row) -> str:
    low, high = number(row.get("images_low")), number(row.get("images_high"))
    return NONE if low is None else f"{integer(low)} to {'any number' if high is None else integer(high)}"


def _kibibytes(value: Any) -> str:
    found = number(value)
    return NONE if found is None else f"{found / 1024:,.0f}"


def _gigabytes(value: Any) -> str:
    found = number(value)
    return NONE if found is None else f"{found / 1e9:.1f} GB"
