"""How a machine's ceilings are measured, the same way for every framework: best of many, over several sizes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PRODUCT_SIZES = {"cpu": (512, 1024, 2048), "gpu": (2048, 4096, 8192)}
"""Rows of the square matrices."""

STREAM_NUMBERS = {
    "cpu": (2**16, 2**18, 2**20, 2**22, 2**25),  # arrays of 256 KiB, which stay in a cache, to 128 MiB, which do not
    "gpu": (2**20, 2**21, 2**22, 2**24, 2**28),  # 4 MiB to 1 GiB
}
"""Float32 numbers per array; the last length is the one that no cache holds."""

ARRAYS = {"triad": 3, "copy": 2}
"""Arrays that a stream reads or writes, as STREAM counts them (a write is not counted as a read as well)."""

AT_LEAST = 3  # runs of each, however little time there is
MOST_AT_ONCE = 4096  # runs of a group
GROUP_S = 0.002  # a GPU is asked for this much work at a time, so that asking and waiting do not count


def precisions(gpu: bool, has_tf32: bool) -> tuple[str, ...]:
    """Return what products are measured in; where a GPU has no TF32, allowing it gives float32 under another name."""
    return ("float32", *(("tf32",) if has_tf32 else ()), "bfloat16", *(("float16",) if gpu else ()))


class Ceilings:
    """Collects the best rate of each size, within a budget of `seconds` in all.

    `wait` returns when the device has finished. `parts`: equal shares of the budget, one for each precision's products
    and one for each stream.

    Source: McCalpin, "Memory bandwidth and machine balance", 1995, for the streams and how their bytes are counted.
    """

    def __init__(self, seconds: float, gpu: bool, wait: Callable[[], None], parts: int) -> None:
        self.gpu = gpu
        self._place = "gpu" if gpu else "cpu"
        self._share_s = seconds / parts
        self._wait = wait
        self._products: list[dict[str, Any]] = []
        self._streams: list[dict[str, Any]] = []
        self._lacking: dict[str, str] = {}

    def sizes(self, precision: str) -> Iterator[int]:
        """Give the sizes of the products, smallest first, as long as one run of the next fits into its share."""
        for size in PRODUCT_SIZES[self._place]:
            mine = [row for row in self._products if row["precision"] == precision]
            if precision in self._lacking:
                return
            if mine and mine[-1]["best_s"] * (size / mine[-1]["size"]) ** 3 > self._share_s:
                return  # a precision without hardware of its own can be a hundred times slower
            yield size

    def product(self, precision: str, size: int, run: Callable[[], Any]) -> None:
        """Time one product of two (size, size) matrices; a precision that the device has no product for is noted."""
        try:
            best_s = self._least_s(run, self._share_s / len(PRODUCT_SIZES[self._place]))
        except Exception as error:
            if precision == "float32":
                raise
            self._lacking[precision] = _first_line(error)
            return
        self._products.append(
            {"precision": precision, "size": size, "best_s": best_s, "gflops": 2 * size**3 / best_s / 1e9}
        )

    def streams(self, made: Callable[[int], Mapping[str, Callable[[], Any]]]) -> None:
        """Time what `made` returns for each length, by kind; arrays that do not fit are noted, and are the last."""
        for numbers in STREAM_NUMBERS[self._place]:
            try:
                for kind, run in made(numbers).items():
                    self.stream(kind, numbers, run)
            except Exception as error:
                if not self._streams:
                    raise
                self._lacking[f"arrays of {4 * numbers} bytes"] = _first_line(error)
                return

    def stream(self, kind: str, numbers: int, run: Callable[[], Any]) -> None:
        """Time one pass of the `triad` or the `copy` over arrays of that many float32 numbers."""
        best_s = self._least_s(run, self._share_s / len(STREAM_NUMBERS[self._place]))
        moved = 4 * ARRAYS[kind] * numbers
        self._streams.append({"stream": kind, "array_bytes": 4 * numbers, "gb_s": moved / best_s / 1e9})

    def facts(self, how: str) -> dict[str, Any]:
        """Return the ceilings as JSON data.

        `sgemm_gflops` (and `bfloat16_gflops`, on a GPU `tf32_gflops` and `float16_gflops`): best product of any size.
        `triad_gb_s`, `copy_gb_s`: with arrays that no cache holds; `triad_best_gb_s`, `copy_best_gb_s`: with any,
        cached ones included. On a GPU `device_copy_gb_s` is `copy_gb_s`. `products`, `streams`: what each size gave.
        `lacking`, if anything is: what this device could not do, and why.
        """
        found: dict[str, Any] = {}
        for row in self._products:
            name = "sgemm_gflops" if row["precision"] == "float32" else f"{row['precision']}_gflops"
            found[name] = max(found.get(name, 0.0), row["gflops"])
        for row in self._streams:
            name = row["stream"]
            found[f"{name}_gb_s"] = row["gb_s"]  # the last one is the longest
            found[f"{name}_best_gb_s"] = max(found.get(f"{name}_best_gb_s", 0.0), row["gb_s"])
        if self.gpu and "copy_gb_s" in found:
            found["device_copy_gb_s"] = found["copy_gb_s"]
        if self._lacking:
            found["lacking"] = dict(self._lacking)
        return {**found, "products": self._products, "streams": self._streams, "how": how}

    def _least_s(self, run: Callable[[], Any], budget_s: float) -> float:
        """Return the least seconds of one run: what disturbs a run only ever makes it slower."""
        run()
        group = self._group(run)
        best_s, end_s, done = float("inf"), time.perf_counter() + budget_s, 0
        while done < AT_LEAST or time.perf_counter() < end_s:
            best_s, done = min(best_s, self._once_s(run, group)), done + 1
        return best_s

    def _group(self, run: Callable[[], Any]) -> int:
        """Return how many runs a GPU works on for `GROUP_S`: more than the first says, most of which is waiting."""
        group, taken_s = 1, self._once_s(run, 1)
        while self.gpu and taken_s < GROUP_S and group < MOST_AT_ONCE:
            group = min(MOST_AT_ONCE, max(2 * group, math.ceil(group * GROUP_S / max(taken_s, 1e-9))))
            taken_s = group * self._once_s(run, group)
        return group

    def _once_s(self, run: Callable[[], Any], group: int) -> float:
        self._wait()
        start_s = time.perf_counter()
        for _ in range(group):
            run()
        self._wait()
        return (time.perf_counter() - start_s) / group


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
