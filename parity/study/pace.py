"""How far a study is: said beforehand, and then with the time left as its own trainings show it."""

from __future__ import annotations

import time
from collections.abc import Callable

PLAIN_LINES = 10
"""Lines that a study of any length says of its progress where no terminal redraws one."""


class Pace:
    """The `progress` of `run_study`, turned into lines for somebody who waits.

    `show(line)` is called for every training where `terminal`, else once beforehand, for every tenth part of the work
    and for what failed. `words` writes a number of seconds as people say it. `clock` is in seconds.
    """

    def __init__(
        self,
        show: Callable[[str], None],
        words: Callable[[float], str],
        *,
        terminal: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show, self._words, self._terminal, self._clock = show, words, terminal, clock
        self._kept: int | None = None
        self._start_s = 0.0
        self._tenths = 0

    def __call__(self, done: int, total: int, line: str) -> None:
        """Take one report; the first comes before any training and says with `done` how many are kept."""
        if self._kept is None:
            self._kept, self._start_s = done, self._clock()
            kept = f", {done} of them kept from before" if done else ""
            self._show(f"study: {total} trainings{kept}, {total - done} to do")
            return
        tenths = PLAIN_LINES * (done - self._kept) // max(1, total - self._kept)
        if self._terminal or tenths > self._tenths or " failed: " in line:
            self._tenths = max(tenths, self._tenths)
            self._show(f"study: {done} / {total}, {self._left(done, total)}{line}")

    def left_s(self, done: int, total: int) -> float | None:
        """Return the seconds until the last training ends, at the pace since the start; None before one ended."""
        if self._kept is None or done <= self._kept:
            return None
        return (self._clock() - self._start_s) / (done - self._kept) * (total - done)

    def _left(self, done: int, total: int) -> str:
        left_s = self.left_s(done, total)
        return "" if left_s is None or done >= total else f"about {self._words(left_s)} left; "
