"""Resizing: where pixels have their centres, and which kernel stands between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parity.judge.traps.remedy import Remedy, change
from parity.judge.traps.scene import Scene, same
from parity.model.trace import Op

IDS = ("resize-coordinates",)
KEYS = ("method", "align_corners", "half_pixel", "antialias", "exact")
OWN_KERNELS = ("bicubic", "area", "lanczos3", "lanczos5")  # what torch computes by another formula under that name


def propose(scene: Scene) -> Iterator[Remedy]:
    """Yield the remedies of this family that fit a scene."""
    for mine, theirs in scene.pairs():
        if mine.kind == theirs.kind == "resize":
            yield from _modes(mine, theirs)


def _modes(mine: Op, theirs: Op) -> Iterator[Remedy]:
    method = str(mine.config.get("method", "nearest"))
    wanted: dict[str, Any] = {key: mine.config.get(key) for key in KEYS if key in mine.config}
    wanted |= {"method": method, "antialias": bool(mine.config.get("antialias"))}
    wanted["align_corners"] = bool(mine.config.get("align_corners"))
    held = {"antialias": False, "align_corners": False, **theirs.config}
    sizes = {key: mine.config[key] for key in ("size", "factor") if mine.config.get(key)}
    differs = any(not same(wanted[key], held.get(key)) for key in wanted)
    if differs:
        says = f"with {_told(wanted, method)}"
        yield change(theirs, "resize-coordinates", says, _line(theirs, wanted, method), wanted)
    if method in OWN_KERNELS or wanted["antialias"]:
        says = f"with TensorFlow's own {method} kernel"
        yield change(
            theirs,
            "resize-coordinates",
            says,
            _kernel_line(theirs, wanted, method),
            {**wanted, "by": "tensorflow"},
            cost=1.1,
        )
    if method == "nearest":
        for cost, exact in ((1.2, True), (1.3, False)):
            if bool(held.get("exact")) != exact or held.get("method") != "nearest":
                word = "nearest-exact" if exact else "nearest"
                yield change(
                    theirs,
                    "resize-coordinates",
                    f'with mode="{word}"',
                    f'mode="{word}" in `{theirs.name}`',
                    {**wanted, "exact": exact},
                    cost=cost,
                )
    if sizes and any(not same(value, theirs.config.get(key)) for key, value in sizes.items()):
        said = ", ".join(f"{key}={value}" for key, value in sizes.items())
        yield change(
            theirs,
            "resize-coordinates",
            f"with {said}",
            f"{said} in `{theirs.name}`",
            {"size": None, **wanted, **sizes},
            cost=1.4,
        )


def _told(wanted: dict[str, Any], method: str) -> str:
    words = [f'mode="{_mode(wanted, method)}"']
    if method in ("bilinear", "bicubic"):
        words += [f"{key}={wanted[key]}" for key in ("align_corners", "antialias")]
    return ", ".join(words)


def _mode(wanted: dict[str, Any], method: str) -> str:
    return "nearest-exact" if method == "nearest" and wanted.get("exact") else method


def _line(theirs: Op, wanted: dict[str, Any], method: str) -> str:
    return f"{_told(wanted, method)} in `{theirs.name}`"


def _kernel_line(theirs: Op, wanted: dict[str, Any], method: str) -> str:
    if method == "bicubic" and not wanted["antialias"]:
        return (
            f"no mode of F.interpolate is TensorFlow's bicubic (a = -0.5): antialias=True in `{theirs.name}` comes"
            " within 2e-7 for whole enlargements; else resize by a matrix per axis"
        )
    if method == "area":
        return f"area equals TensorFlow's for whole factors only: resize by a matrix per axis in `{theirs.name}`"
    return f"no mode of F.interpolate is TensorFlow's {method}: resize by a matrix per axis in `{theirs.name}`"
