"""The training trajectory: how far the two frameworks stay together, and how far each strays by itself."""

from __future__ import annotations

from typing import Any, Final

from parity.report import plots
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record
from parity.report.text import NONE, code, integer, number, percent, prose, small, table

_TWIN_BOUND: Final = 1e-10  # rounding cannot explain more between two float64 runs, whatever they compute
_SHOWN_STEPS: Final = (1, 10, 50, 100, 200)


def render(record: Record) -> str:
    """Say whether the frameworks stay together, show the plot, a few steps, and how the bands are made."""
    found, label = record["trajectory"], markdown_label(record)
    parts = [f"{_setting(found)} ({label}). {_twins(found)} {_float32(found)} {_losses(found)}".strip()]
    parts += plots.references(record, "trajectory.png")
    parts += [f"**Distance by step** ({label})\n\n{_table(found)}", _how(found)]
    return "\n\n".join(parts)


def _setting(found: Row) -> str:
    size = found.get("image_size")
    about = [f"{integer(found.get('steps'))} steps of {prose(found.get('optimizer', 'the optimizer'))}"]
    if found.get("batch"):
        about.append(f"batches of {integer(found['batch'])}")
    if size:
        about.append(f"images shrunk to {prose('x'.join(map(str, size)))}")
    return f"Both frameworks took {', '.join(about)}, from the same weights, on the same batches in the same order"


def twins_part(found: Row) -> bool:
    """Say whether the float64 twins drift apart: by the step at which they do, or by how far they come.

    A record without a bound of its own is held against what rounding in float64 cannot explain.
    """
    distance, bound = number(found.get("twin_distance")), number(found.get("twin_bound"))
    beyond = distance is not None and distance > (_TWIN_BOUND if bound is None else bound)
    return bool(found.get("twin_first")) or beyond


def _twins(found: Row) -> str:
    distance, bound, where = small(found.get("twin_distance")), found.get("twin_bound"), found.get("twin_first")
    allowed = "" if number(bound) is None else f", and {small(bound)} is allowed"
    if where:
        place = f"step {integer(where['step'])}, first in {code(where['tensor'])}"
        return f"**In float64 they part at {place}**: up to {distance}{allowed}."
    if twins_part(found):
        return f"**In float64 they part**: up to {distance}{allowed}."
    return f"In float64 all weights agree to {distance} at every step{allowed}."


def _float32(found: Row) -> str:
    noisy = [framework_name(side) for side in found.get("unsteady") or []]
    noise = f" **{' and '.join(noisy)} did not repeat the same run.**" if noisy else ""
    horizon = found.get("horizon")
    if horizon is None:
        text = "In float32 they stay in the bands that each keeps to itself when its weights are nudged by one ulp"
        share = number(found.get("share"))
        return f"{text}{'' if share is None else f' (at most {percent(share)} of the wider one)'}.{noise}"
    tensor = f", first in {code(found['horizon_tensor'])}" if found.get("horizon_tensor") else ""
    return (
        f"**In float32 they part at step {integer(horizon)}{tensor}**: their distance leaves the bands in which each"
        f" framework stays with itself.{noise}"
    )


def _losses(found: Row) -> str:
    ends = [
        f"{framework_name(side)} {small(losses[0])} to {small(losses[-1])}"
        for side in ("tensorflow", "torch")
        if (losses := found.get(f"loss_{side}"))
    ]
    return f"Loss of the batch, first to last: {', '.join(ends)}." if ends else ""


def _table(found: Row) -> str:
    steps = [step for step in _SHOWN_STEPS if step <= int(found["steps"])]
    lines = [
        (
            integer(step), _at(found, "distance", step), _at(found, "band_tensorflow", step),
            _at(found, "band_torch", step), _at(found, "twin_by_step", step), _at(found, "loss_tensorflow", step),
            _at(found, "loss_torch", step),
        )
        for step in steps
    ]  # fmt: skip
    header = (
        "step", "TensorFlow to torch", "TensorFlow's band up to", "torch's band up to", "float64 twins", "loss TF",
        "loss torch",
    )  # fmt: skip
    return table(header, lines, ">>>>>>>")


def _at(found: Row, name: str, step: int) -> str:
    values: Any = found.get(name) or []
    return small(values[step - 1]) if len(values) >= step else NONE


def _how(found: Row) -> str:
    level = number(found.get("level"))
    confidence = NONE if level is None else f"{100 * level:g} %"
    return (
        "A distance is the root mean square of the difference over that of the tensor (never less than at the start),"
        " the largest of all tensors; for the twins, the largest difference over the largest magnitude. No tolerance is"
        f" chosen: each framework is also trained {integer(found.get('draws'))} times from weights that were all moved"
        " by one ulp, up or down at random. At each step its band ends above the farthest of these runs by a prediction"
        f" limit for one more: Student's t on the logarithm of the distances, {confidence} for all steps together"
        " (Bonferroni), with the scatter of runs that keep together (from the spacings of neighbours, the median of"
        " the steps so far, the larger of both frameworks). Runs that moved as far as this one are at most twice that"
        " apart, and no band ends higher. The frameworks part where their distance leaves the wider band: where a ReLU"
        " takes another side in one run, that run's own band shows it, and the other's does not."
    )
