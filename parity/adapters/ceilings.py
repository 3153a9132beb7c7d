"""How a machine's ceilings are measured, the same way for every framework: best of many, over several sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
GROUP_S = 0.002  # a GPU is asked for this much work at a time, so that asking and waiting do not count


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

    def sizes(self, precision: str) -> Iterator[int]:
        """Give the sizes of the products, smallest first, as long as one run of the next fits into its share."""
        for size in PRODUCT_SIZES[self._place]:
            mine = [row for row in self._products if row["precision"] == precision]
            if mine and mine[-1]["best_s"] * (size / mine[-1]["size"]) ** 3 > self._share_s:
                return  # a precision without hardware of its own can be a hundred times slower
            yield size

    def lengths(self) -> tuple[int, ...]:
        """Give the lengths of the streams' arrays."""
        return STREAM_NUMBERS[self._place]

    def product(self, precision: str, size: int, run: Callable[[], Any]) -> None:
        """Time one product of two (size, size) matrices."""
        best_s = self._least_s(run, self._share_s / len(PRODUCT_SIZES[self._place]))
        self._products.append(
            {"precision": precision, "size": size, "best_s": best_s, "gflops": 2 * size**3 / best_s / 1e9}
        )

    def stream(self, kind: str, numbers: int, run: Callable[[], Any]) -> None:
        """Time one pass of the `triad` or the `copy` over arrays of that many float32 numbers."""
        best_s = self._least_s(run, self._share_s / len(self.lengths()))
        moved = 4 * ARRAYS[kind] * numbers
        self._streams.append({"stream": kind, "array_bytes": 4 * numbers, "gb_s": moved / best_s / 1e9})

    def facts(self, how: str) -> dict[str, Any]:
        """Return the ceilings as JSON data.

        `sgemm_gflops` (and `bfloat16_gflops`, on a GPU `tf32_gflops` and `float16_gflops`): best product of any size.
        `triad_gb_s`, `copy_gb_s`: with arrays that no cache holds; `triad_best_gb_s`, `copy_best_gb_s`: with any,
        cached ones included. On a GPU `device_copy_gb_s` is `copy_gb_s`. `products`, `streams`: what each size gave.
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
        return {**found, "products": self._products, "streams": self._streams, "how": how}

    def _least_s(self, run: Callable[[], Any], budget_s: float) -> float:
        """Return the least seconds of one run: what disturbs a run only ever makes it slower."""
        run()
        group = self._group(self._once_s(run, 1))
        best_s, end_s, done = float("inf"), time.perf_counter() + budget_s, 0
        while done < AT_LEAST or time.perf_counter() < end_s:
            best_s, done = min(best_s, self._once_s(run, group)), done + 1
        return best_s

    def _group(self, one_s: float) -> int:
        return max(1, int(GROUP_S / one_s)) if self.gpu else 1

    def _once_s(self, run: Callable[[], Any], group: int) -> float:
        self._wait()
        start_s = time.perf_counter()
        for _ in range(group):
            run()
        self._wait()
        return (time.perf_counter() - start_s) / group
