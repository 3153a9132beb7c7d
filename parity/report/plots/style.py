"""What all pictures share: colours, sizes, legends, and the bytes of a PNG that are equal for equal records."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from parity.report.record import Record, why_not_run
from parity.report.timings import framework_of

_DPI: Final = 120
_WIDTH_IN: Final = 10.0  # 1200 px: sharp on GitHub, whose column is about 1000 px wide
# Okabe & Ito 2008, "Color universal design": told apart with every kind of colour blindness.
COLOURS: Final = {"tensorflow": "#D55E00", "torch": "#0072B2"}
OTHER_COLOURS: Final = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LANE_COLOURS: Final = {**COLOURS, "onnxruntime": "#009E73", "keras-torch": "#CC79A7", "other": "#8A8A8A"}
_LANE_NAMES: Final = {
    "tensorflow": "TensorFlow", "torch": "PyTorch", "onnxruntime": "ONNX Runtime", "keras-torch": "Keras on torch",
    "other": "other",
}  # fmt: skip
INK: Final = "#222222"
FAINT: Final = "#8A8A8A"
BAD: Final = "#B00020"
_STYLE: Final[Mapping[str, Any]] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": "#B0B0B0",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "legend.frameon": False,
}


def framework_colour(name: str) -> str:
    """Give a framework its colour, and any other name a colour of its own, always the same."""
    return COLOURS.get(name, OTHER_COLOURS[sum(map(ord, name)) % len(OTHER_COLOURS)])


def lane_colour(record: Record, lane: str) -> str:
    """Give all lanes of a framework that framework's colour."""
    return _LANE_COLOURS.get(framework_of(record, lane), _LANE_COLOURS["other"])


def lane_legend(record: Record, names: Sequence[str], **style: Any) -> list[Any]:
    """Give one handle for each framework among the lanes."""
    from matplotlib.lines import Line2D

    found = dict.fromkeys(framework_of(record, name) for name in names)
    known = [framework if framework in _LANE_COLOURS else "other" for framework in found]
    look = {"marker": "o", "linestyle": "", "markersize": 7, **style}
    return [Line2D([], [], color=_LANE_COLOURS[key], label=_LANE_NAMES[key], **look) for key in dict.fromkeys(known)]


def legend_above(axis: Any, handles: Sequence[Any], columns: int | None = None) -> None:
    """Put the legend beside the panel's title, where no curve can run under it."""
    axis.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=columns or len(handles), borderaxespad=0.2,
        handlelength=1.6, columnspacing=1.2, fontsize=9,
    )  # fmt: skip


def legend_on_top(axis: Any, handles: Sequence[Any], *, title: str = "", columns: int | None = None) -> None:
    """Put the legend between a panel and its title, where nothing is drawn."""
    rows = -(-len(handles) // (columns or len(handles)))
    if title:
        axis.set_title(title, pad=8 + 17 * rows)
    axis.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns or len(handles), borderaxespad=0.3,
        handlelength=1.6, columnspacing=1.4, fontsize=9,
    )  # fmt: skip


def legend_over_row(axes: Sequence[Any], titles: Sequence[str], handles: Sequence[Any]) -> None:
    """Give the panels of a row their titles, with one legend for all of them between titles and panels."""
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, pad=25)
    legend_on_top(axes[0], handles)
    axes[0].get_legend().set_in_layout(False)  # it may be as wide as the row, and must not narrow its first panel


def new_figure(height_in: float) -> Any:
    """Make a figure of the report's width."""
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained", facecolor="white")


def plain_log_ticks(axis: Any, *, steps: Sequence[float] = (1, 2, 5)) -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5 of each decade, however short it is."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=tuple(steps), numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with this module's style whatever the user's own matplotlibrc says, and leave that untouched."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        # A name in a script that the font lacks is drawn as boxes; that must not fail a run.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def png(figure: Any, caption: str, record: Record) -> bytes:
    """Give the bytes of a figure with its caption and the data's source."""
    figure.suptitle(_wrapped(caption), x=0.01, ha="left", fontsize=12, weight="bold")
    _credit(figure, record)
    buffer = io.BytesIO()
    # No software version and no date in the file: the same record gives the same bytes.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def one_line(text: object, width: int = 44) -> str:
    """Give a name for a picture: one line, cut in the middle where it is longer than `width` characters."""
    whole = " ".join(str(text).split())
    half = (width - 1) // 2
    return whole if len(whole) <= width else f"{whole[:half]}…{whole[-half:]}"


def _credit(figure: Any, record: Record) -> None:
    """Write the data's source under the picture, which is often shared without its page."""
    if why_not_run(record, "data") is not None or not record["data"].get("source"):
        return
    text = textwrap.fill(f"Data: {' '.join(str(record['data']['source']).split())}", 165)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=FAINT)


def _wrapped(title: str) -> str:
    """Break a long title between sentences or before its last bracket rather than within a name."""
    whole = re.sub(r"\([^()]*\)", lambda bracket: bracket[0].replace(" ", "\N{NO-BREAK SPACE}"), title)
    return textwrap.fill(whole, 100)
