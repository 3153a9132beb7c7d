"""The report's pictures, drawn from the record alone; matplotlib is imported only when one is drawn."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from parity.report.findings import (
    Lane,
    Row,
    badness,
    data_label,
    forward_rows,
    framework_name,
    lanes,
    no_winner_reason,
    rank,
    side_share,
    step_rows,
    unique,
    worst,
)
from parity.report.record import Record, why_not_run
from parity.report.text import integer, milliseconds, number, prose, small

NAMES: Final = ("loss_comparison.png", "parity.png", "speed.png", "trajectory.png")

_DPI: Final = 120
_WIDTH_IN: Final = 10.0  # 1200 px: sharp on GitHub, whose column is about 1000 px wide
# Okabe & Ito 2008, "Color universal design": told apart with every kind of colour blindness.
_COLOURS: Final = {"tensorflow": "#D55E00", "torch": "#0072B2"}
_OTHER_COLOURS: Final = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK: Final = "#222222"
_FAINT: Final = "#8A8A8A"
_STYLE: Final[Mapping[str, Any]] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": "#B0B0B0",
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "legend.frameon": False,
}
_LAYERS_SHOWN: Final = 40
_LOWEST_SHARE: Final = 1e-6  # an error of zero is drawn here, at the edge of a logarithmic axis


def references(record: Record, name: str) -> list[str]:
    """Give the Markdown that shows a plot, or nothing when this record has no data for it."""
    caption = _caption(record, name)
    return [] if caption is None else [f"![{prose(caption)}]({name})"]


def draw(record: Record) -> dict[str, bytes]:
    """Draw every plot that the record has data for: file name to PNG bytes, equal for equal records.

    Source: https://matplotlib.org/stable/gallery/user_interfaces/web_application_server_sgskip.html
    (a Figure of its own, no pyplot, so that no global state or display is involved).
    """
    painters = {
        "loss_comparison.png": _draw_loss,
        "parity.png": _draw_parity,
        "speed.png": _draw_speed,
        "trajectory.png": _draw_trajectory,
    }
    captions = _captions(record)
    images = {}
    if captions:
        with _own_style():
            for name, caption in captions.items():
                images[name] = _png(painters[name](record), caption, record)
    return images


def _captions(record: Record) -> dict[str, str]:
    """Name the plots that can be drawn."""
    return {name: text for name in NAMES if (text := _caption(record, name)) is not None}


def _caption(record: Record, name: str) -> str | None:
    """Give a plot's caption, which carries n and the data, for a picture is shared alone; None without data for it."""
    say = {
        "loss_comparison.png": _loss_caption,
        "parity.png": _parity_caption,
        "speed.png": _speed_caption,
        "trajectory.png": _trajectory_caption,
    }
    return say[name](record)


def _loss_caption(record: Record) -> str | None:
    runs = _curves(record)
    if not runs:
        return None
    epochs = max(len(run["epochs"]) for run in runs)
    after = f"{epochs} epoch{'s' * (epochs != 1)}"
    return f"Loss and accuracy over {after}, {_image_counts(record)}, one seed ({data_label(record)})"


def _parity_caption(record: Record) -> str | None:
    panels = _parity_panels(record)
    if not panels:
        return None
    which = " and ".join(_which(*panel) for panel in panels.items())
    compared = f"n = {sum(map(len, panels.values()))} forced comparisons"
    return f"Share of the float32 rounding bound used by {which}, {compared} ({data_label(record)})"


def _speed_caption(record: Record) -> str | None:
    measured = _drawable_lanes(record)
    if not measured:
        return None
    steps = sum(lane.stats.n for lane in measured)
    against = no_winner_reason(record)
    warning = f". No winner is named, because {against}" if against else ""
    return f"Time per step of each lane, n = {steps} samples in all ({data_label(record)}){warning}"


def _trajectory_caption(record: Record) -> str | None:
    found = _trajectory(record)
    if found is None:
        return None
    return (
        f"Distance of the weights in training, n = {integer(found['steps'])} steps,"
        f" {integer(found.get('draws'))} one-ulp draws per framework ({data_label(record)})"
    )


def _trajectory(record: Record) -> Row | None:
    """Give the section when it has a curve to draw."""
    if why_not_run(record, "trajectory") is not None:
        return None
    found: Row = record["trajectory"]
    return found if any(number(value) for value in found.get("distance") or []) else None


def _curves(record: Record) -> list[Row]:
    if why_not_run(record, "training") is not None:
        return []
    return [run for run in record["training"].get("runs") or [] if run.get("epochs")]


def _image_counts(record: Record) -> str:
    text = f"n = {integer(record['training'].get('train_images'))} training images"
    if why_not_run(record, "data") is None and (record["data"].get("counts") or {}).get("val"):
        text += f", {integer(sum(record['data']['counts']['val'].values()))} validation images"
    return text


def _parity_panels(record: Record) -> dict[str, list[Row]]:
    """Give the forced rows by panel, those without a figure too: a layer that was not compared must not vanish."""
    panels = {
        "layer": [row for row in forward_rows(record) if row.get("check") == "forced"],
        "gradient": [row for row in step_rows(record) if row.get("check") == "forced" and _is_gradient(row)],
    }
    return {what: rows for what, rows in panels.items() if any(_both(row) for row in rows)}


def _is_gradient(row: Row) -> bool:
    return str(row.get("stage")).endswith("gradient")


def _which(what: str, rows: Sequence[Row]) -> str:
    names = len(unique(row.get("tensor") for row in rows))
    return f"the {_LAYERS_SHOWN} worst of {names} {what}s" if names > _LAYERS_SHOWN else f"each {what}"


def _drawable_lanes(record: Record) -> list[Lane]:
    return [lane for lane in lanes(record) if not lane.impossible]


# --- loss and accuracy -----------------------------------------------------------------------------------


def _draw_loss(record: Record) -> Any:
    runs = _curves(record)
    figure = _figure(4.6)
    axes = figure.subplots(1, 2)
    for axis, (train, held_out), title in zip(
        axes, (("loss", "val_loss"), ("accuracy", "val_accuracy")), ("Loss", "Accuracy"), strict=True
    ):
        ends = []
        for order, run in enumerate(runs):
            ends += [_curve(axis, run, train, order, held_out=False)]
            ends += [_curve(axis, run, held_out, order, held_out=True)]
        axis.set_title(title)
        axis.set_xlabel("epoch")
        _whole_epochs(axis, runs)
        if title == "Loss":  # from zero, so that a small difference does not look like a large one
            axis.set_ylim(0, 1.08 * axis.dataLim.y1 or 1.0)
        _label_ends(axis, [end for end in ends if end is not None])
    axes[0].set_ylabel("loss (mean per image)")
    axes[1].set_ylabel("accuracy (fraction of 1)")
    _framework_legend(axes[0], [str(run["framework"]) for run in runs])
    return figure


def _curve(axis: Any, run: Row, key: str, order: int, *, held_out: bool) -> tuple[float, float, str] | None:
    points = [
        (float(epoch["epoch"]), value) for epoch in run["epochs"] if (value := number(epoch.get(key))) is not None
    ]
    if not points:
        return None
    colour = _colour(str(run["framework"]))
    # Equal models give curves on top of one another: the first is broad and pale, later ones thin and dark.
    broad = order == 0
    x, y = zip(*points, strict=True)
    axis.plot(
        x, y, color=colour, linewidth=5.0 if broad else 1.6, alpha=0.45 if broad else 1.0,
        linestyle="--" if held_out else "-", marker="s" if broad else "o", markersize=9 if broad else 5,
        markerfacecolor="white" if held_out else colour, markeredgecolor=colour, markeredgewidth=1.6,
        dash_capstyle="butt", solid_capstyle="round", zorder=2 + order,
    )  # fmt: skip
    return x[-1], y[-1], "validation" if held_out else "training"


def _label_ends(axis: Any, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write each kind of curve's name at its end, spread where they would overlap."""
    if not ends:
        return
    low, high = axis.get_ylim()
    gap, right = (high - low) * 0.065, max(x for x, *_ in ends)
    heights: dict[str, list[float]] = {}
    for _, y, kind in ends:
        heights.setdefault(kind, []).append(y)
    last = float("-inf")
    for y, kind in sorted((sum(found) / len(found), kind) for kind, found in heights.items()):
        last = max(y, last + gap)
        axis.annotate(
            kind, (right, last), xytext=(10, 0), textcoords="offset points", va="center", annotation_clip=False,
        )  # fmt: skip


def _whole_epochs(axis: Any, runs: Sequence[Row]) -> None:
    numbers = sorted({float(epoch["epoch"]) for run in runs for epoch in run["epochs"]})
    step = max(1, len(numbers) // 8)
    axis.set_xticks(numbers[::step])
    axis.set_xticklabels([f"{x:g}" for x in numbers[::step]])
    axis.set_xlim(numbers[0] - 0.3, numbers[-1] + 0.3)


def _framework_legend(axis: Any, frameworks: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=_colour(name), linewidth=5.0 if order == 0 else 1.6, alpha=0.45 if order == 0 else 1.0,
            marker="s" if order == 0 else "o", markersize=9 if order == 0 else 5, label=framework_name(name),
        )
        for order, name in enumerate(frameworks)
    ]  # fmt: skip
    _legend_above(axis, handles)


def _legend_above(axis: Any, handles: Sequence[Any]) -> None:
    """Put the legend beside the panel's title, where no curve can run under it."""
    axis.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), borderaxespad=0.2,
        handlelength=1.6, columnspacing=1.2, fontsize=9,
    )  # fmt: skip


# --- parity ----------------------------------------------------------------------------------------------


def _draw_parity(record: Record) -> Any:
    panels = _parity_panels(record)
    layers = {what: _worst_layers(rows) for what, rows in panels.items()}
    shown = [
        share
        for what, rows in panels.items() for row in rows if str(row.get("tensor")) in layers[what]
        for share in _both(row)
    ] or [0.0]  # fmt: skip
    left = max(_LOWEST_SHARE, 0.4 * min((share for share in shown if share > 0), default=0.1))
    figure = _figure(1.3 + sum(0.6 + 0.34 * len(names) for names in layers.values()))
    heights = [1.5 + len(names) for names in layers.values()]
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (what, rows) in zip(axes, panels.items(), strict=True):
        _parity_panel(axis, rows, layers[what], left)
        if len(panels) > 1:
            axis.set_title({"layer": "Forward", "gradient": "Gradients"}[what])
    axes[0].set_xlim(left, max(3.0, 2 * max(shown)))
    axes[0].xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    zero = "; at the left edge: no error at all" if 0.0 in shown else ""
    axes[-1].set_xlabel(f"float32 error as a share of its derived bound (log scale; further left is better{zero})")
    _legend_above(axes[0], [_dot_handle(side) for side in _COLOURS])
    return figure


def _parity_panel(axis: Any, rows: Sequence[Row], layers: Sequence[str], left: float) -> None:
    axis.set_xscale("log")
    for height, layer in enumerate(layers):
        of_layer = [row for row in rows if str(row.get("tensor")) == layer]
        for side, offset in (("tensorflow", -0.14), ("torch", 0.14)):
            _dots(axis, of_layer, side, height + offset, left)
        _verdict_mark(axis, worst(of_layer), height)
    axis.axvline(1, color=_INK, linewidth=1.4)
    axis.set_ylim(len(layers) - 0.5, -0.7)
    axis.set_yticks(range(len(layers)), layers)
    axis.tick_params(axis="y", length=0)
    axis.annotate("bound", (1, -0.7), xytext=(4, -2), textcoords="offset points", va="top", fontsize=9)


def _worst_layers(rows: Sequence[Row]) -> list[str]:
    """Give the layers to show in the network's order: all, or the worst when a page could not hold them."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get("tensor")), []).append(row)
    ranked = sorted(groups, key=lambda layer: badness(worst(groups[layer])), reverse=True)
    chosen = frozenset(ranked[:_LAYERS_SHOWN])
    return [layer for layer in groups if layer in chosen]


def _both(row: Row) -> list[float]:
    return [share for side in _COLOURS if (share := side_share(row, side)) is not None]


def _dots(axis: Any, rows: Sequence[Row], side: str, height: float, left: float) -> None:
    """Draw every comparison of a layer faintly, and the worst of them in full."""
    shares = [share for row in rows if (share := side_share(row, side)) is not None]
    if not shares:
        return
    x = [max(share, left) for share in shares]
    style = {"color": _COLOURS[side], "marker": "s" if side == "tensorflow" else "o", "linewidths": 0}
    axis.scatter(x, [height] * len(x), s=16, alpha=0.3, clip_on=False, zorder=3, **style)
    axis.scatter([max(x)], [height], s=46, clip_on=False, zorder=4, **style)


def _verdict_mark(axis: Any, row: Row, place: float) -> None:
    verdict = str(row.get("verdict"))
    bad = rank(verdict) > rank("rounding")
    axis.annotate(
        verdict, (1, place), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
        va="center", fontsize=9, color="#B00020" if bad else _FAINT, weight="bold" if bad else "normal",
        annotation_clip=False,
    )  # fmt: skip


def _dot_handle(side: str) -> Any:
    from matplotlib.lines import Line2D

    marker = "s" if side == "tensorflow" else "o"
    label = f"{framework_name(side)} (worst in full, others faint)"
    return Line2D([], [], color=_COLOURS[side], marker=marker, linestyle="", markersize=7, label=label)


# --- speed -----------------------------------------------------------------------------------------------


def _draw_speed(record: Record) -> Any:
    measured = _drawable_lanes(record)
    works = unique(lane.work for lane in measured)
    counts = [sum(lane.work == work for lane in measured) for work in works]
    figure = _figure(1.3 + 0.75 * len(works) + 0.62 * len(measured))
    axes = figure.subplots(len(works), 1, squeeze=False, height_ratios=[count + 0.6 for count in counts])
    for axis, work in zip(axes[:, 0], works, strict=True):
        of_work = [lane for lane in measured if lane.work == work]
        right = 1.04 * 1000 * max(max(lane.step_s) for lane in of_work)
        for place, lane in enumerate(of_work):
            _strip(axis, lane, place, right)
        axis.set_ylim(len(of_work) - 0.4, -0.6)
        axis.set_yticks(range(len(of_work)), [lane.lane for lane in of_work])
        axis.tick_params(axis="y", length=0)
        axis.set_xlim(0, right)
        axis.set_title(f"{work} step: {_setting(of_work)}")
        axis.grid(visible=False, axis="y")
    axes[-1, 0].set_xlabel(
        "milliseconds per step (dot: mean of a few steps; box: quartiles; bar: median; left is faster)"
    )
    return figure


def _setting(of_work: Sequence[Lane]) -> str:
    """Name what the lanes of a panel share; what differs stands in the table."""
    parts = []
    for key, form in (("batch", "batch {}"), ("device", "{}"), ("threads", "{} threads")):
        values = unique(lane.conditions[key] for lane in of_work)
        if len(values) == 1 and values[0] != "none":
            parts.append(form.format(values[0]))
    return ", ".join(parts) or "settings in the table"


def _strip(axis: Any, lane: Lane, place: float, right: float) -> None:
    colour, stats = _colour(lane.lane), lane.stats
    times = [1000 * step for step in lane.step_s]
    # A fixed weave instead of random jitter: the same record must give the same picture.
    heights = [place + 0.17 * ((index * 0.618034) % 1 - 0.5) for index in range(len(times))]
    axis.scatter(times, heights, s=13, color=colour, alpha=0.4, linewidths=0, zorder=3)
    if stats.q1 is not None and stats.q3 is not None:
        axis.barh(
            place, 1000 * (stats.q3 - stats.q1), left=1000 * stats.q1, height=0.4, zorder=2,
            facecolor=colour, alpha=0.18, edgecolor="none",
        )  # fmt: skip
    axis.vlines(1000 * stats.median, place - 0.24, place + 0.24, color=colour, linewidth=2.6, zorder=4)
    along = 1000 * stats.median / right
    side = "left" if along < 0.2 else "right" if along > 0.8 else "center"
    rate = f", {lane.images_per_s:.0f} images/s" if lane.images_per_s is not None else ""
    axis.annotate(
        f"{milliseconds(stats.median)}{rate}, n = {stats.n}", (1000 * stats.median, place - 0.26),
        xytext=(0, 1), textcoords="offset points", va="bottom", ha=side, fontsize=9, color=colour,
        weight="bold", zorder=5,
    )  # fmt: skip


# --- trajectory ------------------------------------------------------------------------------------------


def _draw_trajectory(record: Record) -> Any:
    found = record["trajectory"]
    figure = _figure(4.8)
    axis = figure.subplots()
    axis.set_yscale("log")
    handles = [_self_band(axis, found, side) for side in _COLOURS]
    handles += [
        _distance_curve(axis, found.get(key), label, **style)
        for key, label, style in (
            ("distance", "TensorFlow to PyTorch, float32", {"color": _INK, "linewidth": 2.2, "zorder": 5}),
            (
                "twin_by_step", "TensorFlow to PyTorch, float64 twins",
                {"color": _OTHER_COLOURS[0], "linewidth": 1.6, "linestyle": "--", "zorder": 4},
            ),
        )
    ]  # fmt: skip
    horizon = number(found.get("horizon"))
    if horizon is not None:
        axis.axvline(horizon, color="#B00020", linewidth=1.6, zorder=6)
        where = f" in {found['horizon_tensor']}" if found.get("horizon_tensor") else ""
        axis.annotate(
            f"parts at step {horizon:.0f}{where}", (horizon, 0.02), xycoords=("data", "axes fraction"),
            xytext=(5, 0), textcoords="offset points", color="#B00020", weight="bold", va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}, zorder=7,
            ha="left" if horizon < 0.7 * float(found["steps"]) else "right",
        )  # fmt: skip
    axis.set_xlim(0, 1.01 * float(found["steps"]))
    axis.set_xlabel("training step")
    axis.set_ylabel("distance of the weights, fraction (log scale)")
    axis.yaxis.set_major_formatter(lambda value, _: small(value).replace(".0e", "e"))
    axis.legend(
        handles=[handle for handle in handles if handle is not None], loc="lower left", bbox_to_anchor=(0, 1), ncols=2,
        borderaxespad=0.2, fontsize=9, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _self_band(axis: Any, found: Row, side: str) -> Any:
    """Fill a framework's band from its nearest draw up to the edge, the draws as faint lines within it."""
    from matplotlib.patches import Patch

    colour, edge = _COLOURS[side], _floats(found.get(f"band_{side}"))
    draws = [_floats(draw) for draw in found.get(f"self_{side}") or []]
    for draw in draws:
        axis.plot(range(1, len(draw) + 1), draw, color=colour, linewidth=0.6, alpha=0.45, zorder=3)
    whole = [values for values in draws if len(values) == len(edge)]
    low = [min(column) for column in zip(*whole, strict=True)] if whole else [value / 10 for value in edge]
    steps = range(1, len(edge) + 1)
    axis.fill_between(steps, low, edge, color=colour, alpha=0.16, linewidth=0, zorder=1)
    axis.plot(steps, edge, color=colour, linewidth=1.2, alpha=0.9, zorder=2)
    label = f"{framework_name(side)} to itself, weights nudged by one ulp"
    return Patch(facecolor=colour, alpha=0.4, edgecolor=colour, label=label)


def _distance_curve(axis: Any, values: Any, label: str, **style: Any) -> Any:
    if not values:
        return None
    numbers = _floats(values)
    return axis.plot(range(1, len(numbers) + 1), numbers, label=label, **style)[0]


def _floats(values: Any) -> list[float]:
    """Give numbers that a logarithmic axis can show: what is missing or zero leaves a gap."""
    return [value if (value := number(entry)) else float("nan") for entry in values or []]


# --- shared ----------------------------------------------------------------------------------------------


def _colour(name: str) -> str:
    """Give a framework's colour to all of its lanes, and any other name a colour of its own, always the same."""
    lowered = name.lower()
    if lowered.startswith(("torch", "pytorch")):
        return _COLOURS["torch"]
    if lowered.startswith(("tf", "tensorflow", "keras")):
        return _COLOURS["tensorflow"]
    return _OTHER_COLOURS[sum(map(ord, name)) % len(_OTHER_COLOURS)]


def _figure(height_in: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained", facecolor="white")


@contextmanager
def _own_style() -> Iterator[None]:
    """Draw with this module's style whatever the user's own matplotlibrc says, and leave that untouched."""
    import matplotlib

    with warnings.catch_warnings(), matplotlib.rc_context():
        # A name in a script that the font lacks is drawn as boxes; that must not fail a run.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _png(figure: Any, caption: str, record: Record) -> bytes:
    figure.suptitle(_wrapped(caption), x=0.01, ha="left", fontsize=12, weight="bold")
    _credit(figure, record)
    buffer = io.BytesIO()
    # No software version and no date in the file: the same record gives the same bytes.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _credit(figure: Any, record: Record) -> None:
    """Write the data's source under the picture, which is often shared without its page."""
    if why_not_run(record, "data") is not None or not record["data"].get("source"):
        return
    text = textwrap.fill(f"Data: {' '.join(str(record['data']['source']).split())}", 165)
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=_FAINT)


def _wrapped(title: str) -> str:
    """Break a long title between sentences or before its last bracket rather than within a name."""
    whole = re.sub(r"\([^()]*\)", lambda bracket: bracket[0].replace(" ", "\N{NO-BREAK SPACE}"), title)
    return textwrap.fill(whole, 100)
