"""Resizing as TensorFlow's code has it: which of its kernels and grids are torch's."""

from __future__ import annotations

from parity.judge.traps.keras_words import arguments, is_layer, layer_class, named
from parity.judge.traps.scene import Scene, same
from parity.model.trace import Op

METHODS = ("nearest", "bilinear", "bicubic")


def line(scene: Scene, mine: Op, theirs: Op) -> str | None:
    """Return the line that resizes in TensorFlow as torch does."""
    method, smooth = str(theirs.config.get("method", "nearest")), bool(theirs.config.get("antialias"))
    size = scene.shapes.get(theirs.outputs[0], ())[2:]
    if method not in METHODS or len(size) != 2 or not (is_layer(mine) or "keras" not in mine.made_by):
        return _no_mode(mine, method)
    if method == "bicubic" and not smooth and not theirs.config.get("align_corners"):
        return f"no kernel of TensorFlow is torch's bicubic (a = -0.75): resize by a matrix per axis in {named(mine)}"
    whole = all(made % given == 0 for made, given in zip(size, scene.shapes.get(theirs.inputs[0], ())[2:], strict=True))
    floors = method == "nearest" and not theirs.config.get("exact") and not whole
    if theirs.config.get("align_corners") or floors:
        corners = ", align_corners=True" if theirs.config.get("align_corners") else ""
        kind = f', method="{method}"' if method != "bilinear" else ""
        text = f"tf.compat.v1.image.resize(x, {tuple(size)}{kind}{corners})"
        return (
            f"layers.Lambda(lambda x: {text}) in place of {named(mine)}"
            if is_layer(mine)
            else f"{text} in place of {named(mine)}"
        )
    return _settings(mine, method, smooth, tuple(size))


def _no_mode(mine: Op, method: str) -> str | None:
    return (
        f"no mode of TensorFlow is torch's {method}: resize by a matrix per axis in {named(mine)}"
        if method not in METHODS
        else None
    )


def _settings(mine: Op, method: str, smooth: bool, size: tuple[int, ...]) -> str | None:
    """Return the arguments that make Keras's layer resize as torch does, or torch's in the place of it."""
    now, smooth = mine.config, smooth and method != "nearest"
    if layer_class(mine) == "UpSampling2D" and (smooth or not same(now.get("size"), list(size))):
        given = {"interpolation": method, **({"antialias": True} if smooth else {})}
        return f"layers.Resizing({size[0]}, {size[1]}, {arguments(given)}) in place of {named(mine)}"
    if not is_layer(mine):
        return f'tf.image.resize(x, {size}, method="{method}", antialias={smooth}) in place of {named(mine)}'
    given = {} if method == now.get("method") else {"interpolation": method}
    given |= {} if smooth == bool(now.get("antialias")) else {"antialias": smooth}
    if not same(now.get("size"), list(size)):
        given |= {"height": size[0], "width": size[1]}
    return f"{arguments(given)} in {named(mine)}" if given else None
