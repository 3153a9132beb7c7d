"""Sines and cosines of places, as people lay them out."""

from __future__ import annotations

from typing import Any

import numpy as np


def in_turns(rows: int, columns: int) -> Any:
    angles = np.arange(rows)[:, None] / 10000 ** (2 * (np.arange(columns) // 2) / columns)
    return np.where(np.arange(columns) % 2, np.cos(angles), np.sin(angles)).astype("float32")


def in_halves(rows: int, columns: int) -> Any:
    table = in_turns(rows, columns)
    return np.concatenate([table[:, 0::2], table[:, 1::2]], 1)


def from_one(rows: int, columns: int) -> Any:
    return in_turns(rows + 1, columns)[1:]
