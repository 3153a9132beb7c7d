"""Runs small torch programs twice, plainly in float32 and tracked, for the tests of the derived rounding bounds."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from parity.adapters.base import WorkerSettings
from parity.adapters.torch import TorchAdapter
from parity.adapters.torch_rounding import error_of, track, value_of
from parity.errors import UsageError

Build = Callable[[], tuple[Any, list[Any]]]


class RoundingAdapter(TorchAdapter):
    """Holds a table of programs by name; each is a module and its inputs."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.table = {**self._layers(), **self._activations(), **self._compound(), **self._losses()}

    def cases(self) -> list[str]:
        """Return the names of all programs."""
        return sorted(self.table)

    def compare(self, case: str, seed: int, operands: str = "float32", roundoff: float = 2.0**-24) -> dict[str, Any]:
        """Return, per tensor, the largest share of the bound, the bound and the scale; and the seconds it took tracked.

        `operands="bfloat16"` rounds parameters and inputs of the plain run first, as a kernel of low precision would.
        """
        torch = self.torch
        module, inputs, upstream = self._drawn(case, seed)
        plain = self._in_float32(module, inputs, upstream, operands)
        start_s = time.perf_counter()
        tracked = self._tracked(module, inputs, upstream, roundoff)
        seconds = time.perf_counter() - start_s
        rows = {}
        for name, low in plain.items():
            exact, bound = value_of(tracked[name]), error_of(tracked[name])
            error = (low.double() - exact).abs()
            share = torch.where(error == 0, 0.0, error / bound).max()
            rows[name] = [float(share), float(bound.max()), float(exact.abs().max())]
        return {"tensors": rows, "seconds": seconds}

    def optimise(self, name: str, seed: int, steps: int, operands: str = "float32") -> dict[str, Any]:
        """Return the largest share of the bound, and bound over scale, of a linear layer's weights after some steps."""
        torch = self.torch
        optim = torch.optim
        make: Mapping[str, Callable[[Any], Any]] = {
            "adam": lambda p: optim.Adam(p, lr=0.01, eps=1e-3, foreach=False),
            "adamw": lambda p: optim.AdamW(p, lr=0.01, eps=1e-3, foreach=False),
            "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=False),
            "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, eps=1e-2, momentum=0.5, foreach=False),
            "adagrad": lambda p: optim.Adagrad(p, lr=0.01, eps=1e-3, foreach=False),
        }
        torch.manual_seed(seed)
        weight, x, y = torch.randn(4, 3), torch.randn(8, 3), torch.randn(8, 4)

        def train(w: Any, a: Any, b: Any) -> Any:
            optimizer = make[name]([w])
            for _ in range(steps):
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(a @ w.T, b).backward()
                optimizer.step()
            return w

        start = weight.to(torch.bfloat16).float() if operands == "bfloat16" else weight
        plain = train(start.clone().requires_grad_(), x, y)
        exact = train(track(weight, requires_grad=True), track(x), track(y))
        error, bound = (plain.detach().double() - value_of(exact)).abs(), error_of(exact)
        return {"share": float((error / bound).max()), "bound": float(bound.max() / value_of(exact).abs().max())}

    def refuse(self, what: str) -> None:
        """Do something that has no bound."""
        torch = self.torch
        x = track(torch.full((3,), 0.5))
        if what == "erfinv":
            torch.special.erfinv(x)
        elif what == "write into plain":
            torch.zeros(3, dtype=torch.float64).copy_(torch.exp(x))
        elif what == "dropout":
            torch.nn.functional.dropout(x, 0.5, True)
        elif what == "untracked buffers":
            torch.nn.functional.batch_norm(track(torch.rand(4, 3)), torch.zeros(3), torch.ones(3), training=True)
        else:
            raise UsageError(f"nothing is called `{what}`")

    def decisions(self) -> dict[str, Any]:
        """Return gradients' errors where a sign or a maximum is open, closed, and equal but exact."""
        torch = self.torch
        x = track(
            torch.tensor([1e-9, 1.0, -1e-9, 0.0]), error=torch.tensor([1e-6, 1e-6, 1e-6, 0.0]), requires_grad=True
        )
        torch.relu(x).sum().backward()
        pooled = track(
            torch.tensor([[[1.0, 1.0 + 1e-7, 0.5, 2.0, 2.0, 0.0]]]), error=torch.tensor(1e-6), requires_grad=True
        )
        torch.nn.functional.max_pool1d(pooled, 3).sum().backward()
        exact = track(torch.tensor([[[1.0, 1.0]]]), requires_grad=True)
        torch.nn.functional.max_pool1d(exact, 2).sum().backward()
        chosen = torch.where(x.detach() > 0, x.detach() + 1.0, x.detach() - 1.0)
        return {
            "relu": error_of(x.grad).numpy(),
            "pool": error_of(pooled.grad).numpy().reshape(-1),
            "tie": error_of(exact.grad).numpy().reshape(-1),
            "where": error_of(chosen).numpy(),
        }

    def convolutions(self, device: str) -> dict[str, Any]:
        """Return the bounds of a convolution, and of its gradients, of which one filter's is exactly zero."""
        torch = self.torch
        torch.manual_seed(0)
        x = track(torch.randn(2, 1, 6, 6), requires_grad=True)
        weight = track(torch.randn(3, 1, 3, 3), requires_grad=True)
        upstream = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        upstream[:, 1] = 0.0
        self.bound_for(device)
        try:
            output = torch.conv2d(x, weight)
            gradients = torch.autograd.grad(output, (x, weight), track(upstream))
        finally:
            self.bound_for("cpu")
        return {name: error_of(t).numpy() for name, t in zip(("y", "dx", "dw"), (output, *gradients), strict=True)}

    def division(self) -> dict[str, Any]:
        """Return the errors of 1/x with an x that may be zero, and one that may not."""
        x = track(self.torch.tensor([1e-7, 1.0]), error=1e-6)
        return {"error": error_of(1.0 / x).numpy()}

    def norm_forms(self, seed: int) -> dict[str, float]:
        """Return what x*(inv*gamma) + (beta - mean*inv*gamma) and E[x^2] - E[x]^2 take of the bounds in float32."""
        torch = self.torch
        torch.manual_seed(seed)
        x = torch.randn(64, 5) * 0.3 + 1.0
        mean, variance, gain, shift = x.mean(0) + 0.01, x.var(0), torch.rand(5) + 0.5, torch.randn(5)
        inverse = torch.rsqrt(variance + 1e-3) * gain
        other = x * inverse + (shift - mean * inverse)
        tracked = torch.nn.functional.batch_norm(
            track(x), track(mean), track(variance), track(gain), track(shift), False, 0.0, 1e-3
        )
        average = x.mean(0)
        one_pass = (x * x).mean(0) - average * average
        spread = torch.var(track(x), 0, correction=0)
        return {
            "form": float(((other.double() - value_of(tracked)).abs() / error_of(tracked)).max()),
            "variance": float(((one_pass.double() - value_of(spread)).abs() / error_of(spread)).max()),
        }

    def sums(self, seed: int, terms: int) -> dict[str, list[float]]:
        """Return what float32 sums in random orders take of the bound of one order: output, carried errors, gradient.

        Each the largest share of all elements and orders; neighbouring terms nearly cancel.
        """
        torch = self.torch
        torch.manual_seed(seed)
        given = [torch.randn(400) for _ in range(terms)]
        for first, second in zip(given[::2], given[1::2], strict=False):
            second.copy_(-first * (1.0 + 1e-3 * torch.randn(400)))
        off = [torch.rand(400, dtype=torch.float64) * 1e-6 for _ in given]
        wide = [e + t.abs() * 2.0**-23 for e, t in zip(off, given, strict=True)]  # and rounded to float32
        x = track(torch.randn(400), requires_grad=True)
        sum(one * x for one in given).backward(track(torch.ones(400)))
        shares: dict[str, list[float]] = {"output": [], "carried": [], "gradient": []}
        rows = (
            ("output", sum(map(track, given[1:]), track(given[0])), given),
            ("carried", sum(map(track, given[1:], wide[1:]), track(given[0], wide[0])), None),
            ("gradient", x.grad, given),
        )
        for name, tracked, plain in rows:
            exact, bound = value_of(tracked), error_of(tracked)
            for _ in range(30):
                moved = [(t + e * (2 * torch.rand(400) - 1)).float() for t, e in zip(given, off, strict=True)]
                found = self._in_some_order(plain or moved)
                shares[name].append(float(((found.double() - exact).abs() / bound).max()))
        return shares

    def _in_some_order(self, terms: list[Any]) -> Any:
        """Return the sum by adding two of what is left until one is."""
        left = list(terms)
        while len(left) > 1:
            first, second = (left.pop(int(self.torch.randint(len(left), ()))) for _ in range(2))
            left.append(first + second)
        return left[0]

    def _drawn(self, case: str, seed: int) -> tuple[Any, list[Any], Any]:
        torch = self.torch
        torch.manual_seed(seed)
        module, inputs = self.table[case]()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.4)
            for name, buffer in module.named_buffers():
                if name.endswith("running_mean"):
                    buffer.copy_(torch.randn_like(buffer) * 0.5 + 1.5)
                elif name.endswith("running_var"):
                    buffer.copy_(torch.rand_like(buffer) * 0.3 + 0.05)
            output = copy.deepcopy(module)(*inputs)
        return module, inputs, torch.randn_like(output)

    def _in_float32(self, module: Any, inputs: list[Any], upstream: Any, operands: str) -> dict[str, Any]:
        torch, module = self.torch, copy.deepcopy(module)
        floats = [x.clone() if x.is_floating_point() else x for x in inputs]
        if operands == "bfloat16":
            floats = [x.to(torch.bfloat16).float() if x.is_floating_point() else x for x in floats]
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_(parameter.to(torch.bfloat16))
        floats = [x.requires_grad_() if x.is_floating_point() else x for x in floats]
        output = module(*floats)
        output.backward(upstream)
        return self._collect(output, floats, dict(module.named_parameters()), dict(module.named_buffers()))

    def _tracked(self, module: Any, inputs: list[Any], upstream: Any, roundoff: float) -> dict[str, Any]:
        double = copy.deepcopy(module).double()
        parameters = {k: track(p, roundoff=roundoff, requires_grad=True) for k, p in module.named_parameters()}
        buffers = {k: track(b, roundoff=roundoff) for k, b in module.named_buffers()}
        tracked = [track(x, roundoff=roundoff, requires_grad=True) for x in inputs]
        output = self.torch.func.functional_call(double, {**parameters, **buffers}, tuple(tracked))
        output.backward(track(upstream, roundoff=roundoff))
        return self._collect(output, tracked, parameters, buffers)

    def _collect(
        self, output: Any, inputs: list[Any], parameters: Mapping[str, Any], buffers: Mapping[str, Any]
    ) -> dict[str, Any]:
        found = {"output": output.detach()}
        found |= {f"d {name}": parameter.grad for name, parameter in parameters.items()}
        found |= {f"d input{i}": x.grad for i, x in enumerate(inputs) if x.is_floating_point()}
        return found | {name: buffer for name, buffer in buffers.items() if buffer.is_floating_point()}

    def _layers(self) -> dict[str, Build]:
        torch, nn = self.torch, self.torch.nn
        normal = torch.randn

        def eight(width: int, *shape: int) -> Any:
            return normal(*shape, width) + 3.0  # a mean three times the deviation

        def channels(*shape: int) -> Any:
            return normal(*shape) + 3.0

        return {
            "conv1d": lambda: (nn.Conv1d(3, 5, 3, padding=1), [normal(2, 3, 9)]),
            "conv2d": lambda: (nn.Conv2d(3, 5, 3), [normal(2, 3, 9, 8)]),
            "conv3d": lambda: (nn.Conv3d(2, 3, 2), [normal(2, 2, 5, 4, 3)]),
            "conv2d grouped": lambda: (
                nn.Conv2d(4, 6, 3, stride=2, dilation=2, groups=2, padding=1),
                [normal(2, 4, 9, 11)],
            ),
            "conv transpose": lambda: (
                nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
                [normal(2, 4, 5, 6)],
            ),
            "linear": lambda: (nn.Linear(17, 9), [normal(4, 3, 17)]),
            "bilinear form": lambda: (nn.Bilinear(4, 5, 3), [normal(6, 4), normal(6, 5)]),
            "embedding": lambda: (nn.Embedding(11, 4), [torch.randint(0, 11, (3, 6))]),
            "max pool 1d": lambda: (nn.Sequential(nn.Conv1d(3, 5, 3), nn.MaxPool1d(3, 2, 1)), [normal(2, 3, 10)]),
            "max pool 2d": lambda: (
                nn.Sequential(nn.Conv2d(3, 5, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
                [normal(2, 3, 10, 9)],
            ),
            "max pool 3d": lambda: (nn.Sequential(nn.Conv3d(2, 2, 1), nn.MaxPool3d(2)), [normal(2, 2, 4, 4, 4)]),
            "adaptive max pool": lambda: (
                nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveMaxPool2d((3, 2))),
                [normal(2, 3, 7, 5)],
            ),
            "average pool": lambda: (nn.AvgPool2d(3, 2, 1, count_include_pad=False), [normal(2, 3, 9, 9)]),
            "adaptive average pool": lambda: (nn.AdaptiveAvgPool2d((3, 2)), [normal(2, 3, 7, 5)]),
            "global average pool": lambda: (nn.AdaptiveAvgPool2d(1), [normal(2, 3, 7, 5)]),
            "batch norm evaluated": lambda: (nn.BatchNorm2d(5).eval(), [channels(4, 5, 6, 6)]),
            "batch norm trained": lambda: (nn.BatchNorm2d(5), [channels(4, 5, 6, 6)]),
            "batch norm 1d": lambda: (nn.BatchNorm1d(5), [normal(8, 5)]),
            "layer norm": lambda: (nn.LayerNorm(8), [eight(8, 4, 3)]),
            "layer norm over two": lambda: (nn.LayerNorm((3, 8)), [eight(8, 4, 3)]),
            "group norm": lambda: (nn.GroupNorm(2, 6), [channels(3, 6, 5, 4)]),
            "instance norm": lambda: (nn.InstanceNorm2d(4, affine=True), [channels(2, 4, 6, 6)]),
            "rms norm": lambda: (nn.RMSNorm(16, eps=1e-6), [normal(4, 16)]),
            "local response norm": lambda: (nn.LocalResponseNorm(3), [normal(2, 5, 4, 4)]),
            "upsample nearest": lambda: (nn.Upsample(scale_factor=2), [normal(2, 3, 5, 4)]),
            "upsample bilinear": lambda: (nn.Upsample(size=(11, 7), mode="bilinear"), [normal(2, 3, 5, 4)]),
            "upsample bicubic": lambda: (nn.Upsample(size=(9, 11), mode="bicubic"), [normal(2, 3, 5, 6)]),
            "reflection pad": lambda: (nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(3, 2, 3)), [normal(2, 3, 6, 6)]),
            "pixel shuffle": lambda: (nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2)), [normal(2, 2, 3, 3)]),
        }

    def _activations(self) -> dict[str, Build]:
        nn, normal = self.torch.nn, self.torch.randn
        made: dict[str, Callable[[], Any]] = {
            "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky relu": nn.LeakyReLU, "prelu": nn.PReLU, "elu": nn.ELU,
            "selu": nn.SELU, "celu": lambda: nn.CELU(1.3), "gelu": nn.GELU, "gelu tanh": lambda: nn.GELU("tanh"),
            "silu": nn.SiLU, "mish": nn.Mish, "softplus": nn.Softplus, "softsign": nn.Softsign,
            "hardswish": nn.Hardswish, "hardsigmoid": nn.Hardsigmoid, "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid,
            "tanh": nn.Tanh, "log sigmoid": nn.LogSigmoid, "tanhshrink": nn.Tanhshrink, "softshrink": nn.Softshrink,
            "hardshrink": nn.Hardshrink, "threshold": lambda: nn.Threshold(0.1, 0.2), "glu": nn.GLU,
            "softmax": lambda: nn.Softmax(-1), "log softmax": lambda: nn.LogSoftmax(-1),
        }  # fmt: skip

        def case(activation: Callable[[], Any]) -> Build:
            # A wide range of arguments, tails included.
            return lambda: (nn.Sequential(nn.Linear(12, 14), activation()), [normal(6, 12) * 2.5])

        return {name: case(activation) for name, activation in made.items()}

    def _compound(self) -> dict[str, Build]:
        torch, nn = self.torch, self.torch.nn
        functional, normal = nn.functional, torch.randn

        def attention(**how: Any) -> Build:
            module = Call(
                self, lambda m, x: m(x, x, x, **how)[0], lambda: nn.MultiheadAttention(8, 2, batch_first=True)
            )
            return lambda: (module(), [normal(2, 5, 8)])

        def on_linear(function: Callable[..., Any], *shape: int) -> Build:
            return lambda: (Call(self, lambda m, x: function(m(x)), lambda: nn.Linear(6, 6))(), [normal(*shape, 6)])

        def standardised(x: Any) -> Any:
            variance, mean = torch.var_mean(x, 1, keepdim=True, unbiased=False)
            return (x - mean) / torch.sqrt(variance + 1e-3) + x.var(0, False)

        def first(build: Callable[[], Any], *shape: int) -> Build:
            return lambda: (Call(self, lambda m, x: m(x)[0], build)(), [normal(*shape)])

        return {
            "lstm": first(lambda: nn.LSTM(6, 5, batch_first=True), 3, 4, 6),
            "gru": first(lambda: nn.GRU(6, 5, batch_first=True, bidirectional=True), 3, 4, 6),
            "rnn": first(lambda: nn.RNN(6, 5), 4, 3, 6),
            "attention": attention(),
            "attention without weights": attention(need_weights=False),
            "encoder layer": lambda: (
                nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
                [normal(2, 5, 8)],
            ),
            "causal attention": on_linear(
                lambda q: functional.scaled_dot_product_attention(q, 2.0 * q, q, is_causal=True), 2, 2, 5
            ),
            "normalise": on_linear(functional.normalize, 5),
            "deviation": on_linear(lambda x: x[:3].std(0), 5),
            "moments": on_linear(lambda x: sum(torch.var_mean(x, 0, correction=0)) + sum(torch.std_mean(x[:3], 0)), 5),
            "standardised": on_linear(standardised, 5),
            "clamp": on_linear(lambda x: x.clamp(-0.2, 0.5), 5),
            "largest": on_linear(lambda x: x.amax(1) + x.max(), 5),
            "indexing": on_linear(lambda x: torch.cat([x[1:], x[:, [0, 2, 2, 1, 1, 1]]]), 5),
            "powers": on_linear(lambda x: x**3 + (x.abs() + 0.1) ** 1.7 + torch.sqrt(x * x + 1.0), 5),
            "log sum exp": on_linear(lambda x: torch.logsumexp(x, -1), 5),
            "cumulative": on_linear(lambda x: x.cumsum(-1), 5),
            "branches": on_linear(lambda x: torch.where(x > 0, x.exp() - 1.0, 2.0 * x), 5),
            "two exponentials": on_linear(lambda x: torch.logaddexp(x, 0.5 * x) + torch.logaddexp2(x, x * x), 5),
            "randomised slope": lambda: (nn.Sequential(nn.Linear(6, 6), nn.RReLU()).eval(), [normal(5, 6)]),
            "remainders": on_linear(lambda x: torch.fmod(x, 0.7) + x % 0.31 + torch.remainder(x, 2.0), 5),
            "whole numbers": on_linear(lambda x: x * (torch.round(3 * x) + x.floor() + (2 * x).ceil() + x.trunc()), 5),
            "order": on_linear(
                lambda x: x.topk(2, 0)[0].sum(0) + x.sort(0)[0] + x.kthvalue(2, 0)[0] + x.median(0)[0], 5
            ),
            "running": on_linear(lambda x: x.cummax(1)[0] + (x.cumprod(1) + x.logcumsumexp(1)).detach(), 5),
            "angles": on_linear(lambda x: torch.atan2(x, x.flip(0)) + torch.hypot(x, x.flip(0)) + torch.sinc(x), 5),
            "distances": on_linear(lambda x: torch.cdist(x, x.flip(1) + 3.0), 5),
            "fourier": on_linear(lambda x: torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real, 5),
            "filtered": on_linear(lambda x: torch.fft.irfft(torch.fft.rfft(x) * 0.5, n=6), 5),
            "spectrum": on_linear(lambda x: torch.fft.rfft(x).abs(), 5),
        }

    def _losses(self) -> dict[str, Build]:
        torch, functional = self.torch, self.torch.nn.functional
        normal = torch.randn

        def case(function: Callable[..., Any], target: Callable[[], Any]) -> Build:
            build = Call(self, lambda m, x, t: function(m(x), t), lambda: torch.nn.Linear(6, 6))
            return lambda: (build(), [normal(5, 6), target()])

        def kl(z: Any, t: Any) -> Any:
            return functional.kl_div(functional.log_softmax(z, -1), functional.softmax(t, -1), reduction="batchmean")

        def unit() -> Any:
            return torch.rand(5, 6)

        def labels() -> Any:
            return torch.randint(0, 6, (5,))

        def same() -> Any:
            return normal(5, 6)

        return {
            "bce with logits": case(functional.binary_cross_entropy_with_logits, unit),
            "bce": case(lambda z, t: functional.binary_cross_entropy(torch.sigmoid(z), t), unit),
            "cross entropy": case(functional.cross_entropy, labels),
            "smoothed cross entropy": case(lambda z, t: functional.cross_entropy(z, t, label_smoothing=0.1), labels),
            "mse": case(functional.mse_loss, same),
            "l1": case(functional.l1_loss, same),
            "smooth l1": case(functional.smooth_l1_loss, same),
            "huber": case(functional.huber_loss, same),
            "kl": case(kl, same),
            "poisson": case(functional.poisson_nll_loss, unit),
            "cosine": case(lambda z, t: functional.cosine_similarity(z, t).mean(), same),
        }


def Call(adapter: RoundingAdapter, function: Callable[..., Any], build: Callable[[], Any]) -> Callable[[], Any]:  # noqa: N802
    """Return a builder of a module that wraps another one in a function of it and the inputs."""

    class Wrapped(adapter.torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = build()

        def forward(self, *inputs: Any) -> Any:
            return function(self.inner, *inputs)

    return Wrapped
