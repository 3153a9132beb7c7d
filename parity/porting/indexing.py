"""A slice of TensorFlow's as Python's brackets have it."""

from __future__ import annotations

import re

_LISTS = re.compile(r"\[([-\d, ]*)\]")
_MASKS = re.compile(r"(\w+)_mask=(\d+)")


def as_python(text: str) -> str:
    """Return what stands between the brackets: `:, 1:5` for `[0, 1] [0, 5] [1, 1] begin_mask=1 end_mask=1`.

    What is written otherwise, as a slice of torch's is, comes back as it was. A slice without strides says how many
    numbers it takes instead of where it ends.
    """
    lists = [[int(one) for one in found.split(",") if one.strip()] for found in _LISTS.findall(text)]
    if not text.startswith("[") or "?" in text or len(lists) not in (2, 3) or len({len(one) for one in lists}) > 1:
        return text
    if len(lists) == 2:
        return ", ".join(_range(low, None if size < 0 else low + size, 1) for low, size in zip(*lists, strict=True))
    masks = {name: int(bits) for name, bits in _MASKS.findall(text)}
    return ", ".join(_along(axis, lists, masks) for axis in range(len(lists[0])))


def _along(axis: int, lists: list[list[int]], masks: dict[str, int]) -> str:
    low, high, step = (numbers[axis] for numbers in lists)
    has = {name for name, bits in masks.items() if bits >> axis & 1}
    if "ellipsis" in has:
        return "..."
    if "new_axis" in has:
        return "None"
    if "shrink_axis" in has:
        return str(low)
    return _range(None if "begin" in has else low, None if "end" in has else high, step)


def _range(low: int | None, high: int | None, step: int) -> str:
    ends = ["" if not low else str(low), "" if high is None else str(high)]
    return ":".join(ends if step == 1 else [*ends, str(step)])
