"""The report's pictures, drawn from the record alone; matplotlib is imported only when one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from parity.report.plots import (
    gpu,
    loss,
    memory_ways,
    parity,
    phases,
    practice,
    ratios,
    roofline,
    speed,
    study_confusion,
    study_curves,
    study_gallery,
    study_roc,
    study_seeds,
    study_waterfall,
    supply,
    sweep,
    trajectory,
    warmup,
)
from parity.report.plots.style import own_style, png
from parity.report.record import Record
from parity.report.text import prose

# For each picture its caption, which carries n and the data, for a picture is shared alone (None: this record has no
# data for it), and what draws it. A new picture is one entry here.
_PAINTERS: Final[Mapping[str, tuple[Callable[[Record], str | None], Callable[[Record], Any]]]] = {
    "gpu.png": (gpu.caption, gpu.draw),
    "loss_comparison.png": (loss.caption, loss.draw),
    "memory_ways.png": (memory_ways.caption, memory_ways.draw),
    "parity.png": (parity.caption, parity.draw),
    "phases.png": (phases.caption, phases.draw),
    "practice.png": (practice.caption, practice.draw),
    "ratios.png": (ratios.caption, ratios.draw),
    "roofline.png": (roofline.caption, roofline.draw),
    "speed.png": (speed.caption, speed.draw),
    "study_confusion.png": (study_confusion.caption, study_confusion.draw),
    "study_curves.png": (study_curves.caption, study_curves.draw),
    "study_gallery.png": (study_gallery.caption, study_gallery.draw),
    "study_roc.png": (study_roc.caption, study_roc.draw),
    "study_seeds.png": (study_seeds.caption, study_seeds.draw),
    "study_waterfall.png": (study_waterfall.caption, study_waterfall.draw),
    "supply.png": (supply.caption, supply.draw),
    "sweep.png": (sweep.caption, sweep.draw),
    "trajectory.png": (trajectory.caption, trajectory.draw),
    "warmup.png": (warmup.caption, warmup.draw),
}
NAMES: Final = tuple(_PAINTERS)


def references(record: Record, name: str) -> list[str]:
    """Give the Markdown that shows a plot, or nothing when this record has no data for it."""
    caption = _PAINTERS[name][0](record)
    return [] if caption is None else [f"![{prose(caption)}]({name})"]


def draw(record: Record) -> dict[str, bytes]:
    """Draw every plot that the record has data for: file name to PNG bytes, equal for equal records.

    Source: https://matplotlib.org/stable/gallery/user_interfaces/web_application_server_sgskip.html
    (a Figure of its own, no pyplot, so that no global state or display is involved).
    """
    captions = {name: text for name, (caption, _) in _PAINTERS.items() if (text := caption(record)) is not None}
    if not captions:
        return {}
    with own_style():
        return {name: png(_PAINTERS[name][1](record), text, record) for name, text in captions.items()}
