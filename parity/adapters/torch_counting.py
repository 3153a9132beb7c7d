"""What torch counts of the built network, and what this machine gives to torch at best: its ceilings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from parity.adapters.base import WorkerSettings
from parity.adapters.ceilings import Ceilings, precisions
from parity.errors import UsageError
from parity.model.spec import ModelSpec

FLOP_NOTE = (
    "two operations per multiply-add of every convolution and matrix product; bias, ReLU, pooling, loss and optimizer"
    " are not counted"
)


TF32_SINCE = 8  # major compute capability: an older GPU computes in float32 where TF32 is allowed


class _Counted(Protocol):
    """What this ability takes from the adapter that it is mixed into."""

    torch: Any
    settings: WorkerSettings
    device: Any

    def _built(self) -> Any: ...

    def _described(self) -> ModelSpec: ...

    def _resident(self) -> tuple[Any, Any]: ...

    def synchronise(self) -> None: ...

    def _plain_logits(self, x: Any) -> Any: ...

    def _exact_products(self, tf32: bool) -> Any: ...

    def _add_products(self, found: Ceilings, precision: str) -> None: ...

    def _add_streams(self, found: Ceilings) -> None: ...


class TorchCounting:
    """Operations by torch's own counter, and measured ceilings."""

    def flop_count(self: _Counted, work: str) -> dict[str, Any]:
        """Count one step of `work` on the resident batch: {"flops", "counter", "note"}; weights stay as they are.

        The network's modules run one by one, whatever the lane does with them: a compiled step hides its operations.
        Source: torch.utils.flop_counter.FlopCounterMode.
        """
        from torch.utils.flop_counter import FlopCounterMode

        x, y = self._resident()
        network = self._built()
        with FlopCounterMode(display=False) as counter:
            if work == "train":
                logits = self._plain_logits(x)
                loss = self.torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
                self.torch.autograd.grad(loss, list(network.parameters()))
            elif work in ("evaluate", "latency"):
                with self.torch.no_grad():
                    self._plain_logits(x)
            else:
                raise UsageError(f"no work `{work}` whose operations could be counted")
        return {
            "flops": int(counter.get_total_flops()),
            "counter": "torch.utils.flop_counter.FlopCounterMode",
            "note": FLOP_NOTE,
        }

    def ceilings(self: _Counted, seconds: float = 6.0) -> dict[str, Any]:
        """Measure what this machine gives at best, within about `seconds`: see `Ceilings.facts` for the fields.

        Products are square, of random numbers; the streams are STREAM's triad (a = b + s*c) and copy.
        """
        gpu = self.settings.device == "gpu"
        asked = precisions(gpu, gpu and self.torch.cuda.get_device_capability()[0] >= TF32_SINCE)
        found = Ceilings(seconds, gpu, self.synchronise, parts=len(asked) + 2)
        self.torch.manual_seed(self.settings.seed)
        for precision in asked:
            self._add_products(found, precision)
        self._add_streams(found)
        return found.facts("triad: torch.add(b, c, alpha=s, out=a); copy: a.copy_(b); products: torch.mm(out=)")

    def _plain_logits(self: _Counted, x: Any) -> Any:
        modules = list(self._built().children())
        for module in modules[:-1] if self._described().layers[-1].kind == "sigmoid" else modules:
            x = module(x)
        return x.squeeze(-1)

    def _add_products(self: _Counted, found: Ceilings, precision: str) -> None:
        torch = self.torch
        dtype = torch.float32 if precision in ("float32", "tf32") else getattr(torch, precision)
        with self._exact_products(tf32=precision == "tf32"):
            for size in found.sizes(precision):
                a, b = (torch.rand(size, size, device=self.device).to(dtype) for _ in range(2))
                out = torch.empty_like(a)
                found.product(precision, size, partial(torch.mm, a, b, out=out))

    def _add_streams(self: _Counted, found: Ceilings) -> None:
        torch = self.torch

        def made(numbers: int) -> dict[str, Any]:
            b, c = (torch.rand(numbers, device=self.device) for _ in range(2))
            a = torch.empty_like(b)
            return {"triad": partial(torch.add, b, c, alpha=3.0, out=a), "copy": partial(a.copy_, b)}

        found.streams(made)

    @contextmanager
    def _exact_products(self: _Counted, tf32: bool) -> Iterator[None]:
        """Allow or forbid TF32 in matrix products, and put back what the lane had set."""
        flags = self.torch.backends.cuda.matmul
        before = flags.allow_tf32
        flags.allow_tf32 = tf32
        try:
            yield
        finally:
            flags.allow_tf32 = before
