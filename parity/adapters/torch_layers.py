"""Every node kind as a torch module that means exactly what Keras means, and the careless ports that do not.

A module is made from a node (`config` in Keras's words) and the shapes of its inputs in torch's order; `port` asks for
one of the mistakes that ports make, so that each can be planted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from parity.errors import UsageError
from parity.model.network import Node

Shape = tuple[int, ...]


def module(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    """Return the module of one node; `shapes` are its inputs' in torch's order, without the batch axis.

    Raises
        UsageError: a kind that has no torch form here.
    """
    make = _MAKERS.get(node.kind)
    if make is None:
        raise UsageError(f"the torch adapter cannot build node kind `{node.kind}` (node `{node.name}`)")
    made = make(node, shapes)
    if "mode" in node.port:
        made = _StuckMode(made, node.port["mode"] == "train")
    return made


class Function(nn.Module):
    """A module without weights around a function of its inputs; `training` is passed on when asked for."""

    def __init__(self, function: Callable[..., Tensor], knows_mode: bool = False) -> None:
        super().__init__()
        self.function, self.knows_mode = function, knows_mode

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs, training=self.training) if self.knows_mode else self.function(*inputs)


class _StuckMode(nn.Module):
    """A layer whose `.eval()` was forgotten, or whose `.train()` does nothing."""

    def __init__(self, core: nn.Module, mode: bool) -> None:
        super().__init__()
        self.core, self.mode = core, mode
        self.train(mode)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.core.train(self.mode)
        return self

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.core(*inputs)


def same_pads(
    sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Return `F.pad`'s list for TensorFlow's SAME: the larger half after. Source: tf.nn documentation, "SAME"."""
    pads: list[int] = []
    for size, k, s, d in zip(sizes, kernel, strides, dilation, strict=True):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads


def _symmetric(kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    pads: list[int] = []
    for k, d in zip(kernel, dilation, strict=True):
        pads = [(k - 1) * d // 2, (k - 1) * d // 2, *pads]
    return pads


_CONVS = {1: (nn.Conv1d, F.conv1d), 2: (nn.Conv2d, F.conv2d), 3: (nn.Conv3d, F.conv3d)}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _Padded(nn.Module):
    """A convolution whose padding is computed from the size of its input, as SAME is; weights named as the core's."""

    def __init__(self, core: Any, pads: Callable[[Sequence[int]], list[int]] | None) -> None:
        super().__init__()
        self.weight, self.bias = core.weight, core.bias
        self.settings = (core.stride, 0, core.dilation, core.groups)
        self.pads, self.convolve = pads, _CONVS[core.weight.ndim - 2][1]

    def forward(self, x: Tensor) -> Tensor:
        if self.pads is not None:
            x = F.pad(x, self.pads(x.shape[2:]))
        return self.convolve(x, self.weight, self.bias, *self.settings)


def _tuple(node: Node, key: str, default: int | None = None) -> tuple[int, ...]:
    value = node.config.get(key, default)
    rank = int(node.config["rank"])
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(value or 1),) * rank


def _padding(node: Node, kernel: Shape, strides: Shape, dilation: Shape) -> Callable[[Sequence[int]], list[int]] | None:
    if node.config.get("padding", "valid") != "same":
        return None
    if node.port.get("padding") == "symmetric":
        return lambda _: _symmetric(kernel, dilation)
    return lambda sizes: same_pads(sizes, kernel, strides, dilation)


def _conv(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    kernel, strides, dilation = _tuple(node, "kernel"), _tuple(node, "strides", 1), _tuple(node, "dilation", 1)
    if "dilation" in node.port:  # dropped, with the padding chosen so that the shape is saved
        pads = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        core = _conv_core(node, shapes[0][0], kernel, strides, (1,) * len(kernel))
        extra = [p - (k - 1) for p, k in zip(pads, kernel, strict=True)]
        return _Padded(core, lambda _: _halves([-e for e in extra]))
    return _Padded(_conv_core(node, shapes[0][0], kernel, strides, dilation), _padding(node, kernel, strides, dilation))


def _halves(totals: Sequence[int]) -> list[int]:
    pads: list[int] = []
    for total in totals:
        half = int(total / 2)
        pads = [half, total - half, *pads]
    return pads


def _conv_core(node: Node, channels: int, kernel: Shape, strides: Shape, dilation: Shape) -> Any:
    kind, groups = _CONVS[len(kernel)][0], int(node.config.get("groups", 1))
    filters, bias = int(node.config["filters"]), bool(node.config.get("bias", True))
    return kind(channels, filters, kernel, stride=strides, dilation=dilation, groups=groups, bias=bias)


def _depthwise(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    kernel, strides, dilation = _tuple(node, "kernel"), _tuple(node, "strides", 1), _tuple(node, "dilation", 1)
    channels, multiplier = shapes[0][0], int(node.config.get("multiplier", 1))
    core = _CONVS[len(kernel)][0](
        channels, channels * multiplier, kernel, stride=strides, dilation=dilation, groups=channels,
        bias=bool(node.config.get("bias", True)),
    )  # fmt: skip
    return _Padded(core, _padding(node, kernel, strides, dilation))


class _Separable(nn.Module):
    def __init__(self, depthwise: nn.Module, pointwise: nn.Module) -> None:
        super().__init__()
        self.depthwise, self.pointwise = depthwise, pointwise

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def _separable(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    inner = Node(node.name, "depthwise_conv", node.inputs, {**node.config, "bias": False}, node.port)
    depthwise = _depthwise(inner, shapes)
    channels, rank = shapes[0][0] * int(node.config.get("multiplier", 1)), int(node.config["rank"])
    kind = _CONVS[rank][0]
    return _Separable(
        depthwise, kind(channels, int(node.config["filters"]), 1, bias=bool(node.config.get("bias", True)))
    )


class _ConvTranspose(nn.Module):
    """SAME keeps n*s: the full result, cropped at the end (and at the start where the kernel exceeds the stride)."""

    def __init__(self, core: Any, same: bool, symmetric: bool) -> None:
        super().__init__()
        self.weight, self.bias, self.core = core.weight, core.bias, [core]
        self.same, self.symmetric = same, symmetric

    def forward(self, x: Tensor) -> Tensor:
        core, rank = self.core[0], x.ndim - 2
        apply = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
        if self.symmetric:
            padding = [(k - s + 1) // 2 for k, s in zip(core.kernel_size, core.stride, strict=True)]
            extra = [2 * p - (k - s) for p, k, s in zip(padding, core.kernel_size, core.stride, strict=True)]
            return apply(x, self.weight, self.bias, core.stride, padding, extra)
        # The bias comes last: where the stride exceeds the kernel, TensorFlow's result has places that no product
        # reaches, and they hold the bias.
        y = self._sized(apply(x, self.weight, None, core.stride), x)
        return y if self.bias is None else y + self.bias.view(-1, *[1] * rank)

    def _sized(self, y: Tensor, x: Tensor) -> Tensor:
        core = self.core[0]
        for axis, (k, s) in enumerate(zip(core.kernel_size, core.stride, strict=True)):
            size, total = x.shape[axis + 2], max(k - s, 0)
            if not self.same:
                continue
            y = y.narrow(axis + 2, total // 2, size * s) if k >= s else F.pad(y, _pad_end(y, axis + 2, size * s))
        return y if self.same else _valid_transposed(y, x, core)


def _pad_end(y: Tensor, axis: int, size: int) -> list[int]:
    pads = [0, 0] * (y.ndim - axis - 1)
    return [*pads, 0, size - y.shape[axis]]


def _valid_transposed(y: Tensor, x: Tensor, core: Any) -> Tensor:
    # VALID gives n*s + max(k - s, 0) and torch (n-1)*s + k: they differ only where the stride exceeds the kernel.
    for axis, (k, s) in enumerate(zip(core.kernel_size, core.stride, strict=True)):
        if k < s:
            y = F.pad(y, _pad_end(y, axis + 2, x.shape[axis + 2] * s))
    return y


def _conv_transpose(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    kernel, strides = _tuple(node, "kernel"), _tuple(node, "strides", 1)
    core = _TRANSPOSED[len(kernel)](
        shapes[0][0], int(node.config["filters"]), kernel, stride=strides, bias=bool(node.config.get("bias", True))
    )
    same = node.config.get("padding", "valid") == "same"
    return _ConvTranspose(core, same, node.port.get("crop") == "symmetric")


def _pool_geometry(node: Node) -> tuple[Shape, Shape, Callable[[Sequence[int]], list[int]] | None]:
    pool = _tuple(node, "pool")
    strides = _tuple(node, "strides") if node.config.get("strides") else pool
    return pool, strides, _padding(node, pool, strides, (1,) * len(pool))


def _max_pool(node: Node, _: Sequence[Shape]) -> nn.Module:
    pool, strides, pads = _pool_geometry(node)
    apply = _MAX_POOLS[len(pool)]

    def forward(x: Tensor) -> Tensor:
        # -inf as TensorFlow has it; a window never lies in the padding alone.
        padded = x if pads is None else F.pad(x, pads(x.shape[2:]), value=-math.inf)
        return apply(padded, pool, strides)

    return Function(forward)


def _avg_pool(node: Node, _: Sequence[Shape]) -> nn.Module:
    pool, strides, pads = _pool_geometry(node)
    apply, count_padding = _AVG_POOLS[len(pool)], bool(node.port.get("count_include_pad"))

    def forward(x: Tensor) -> Tensor:
        if pads is None:
            return apply(x, pool, strides)
        around = pads(x.shape[2:])
        mean = apply(F.pad(x, around), pool, strides)
        if count_padding:
            return mean
        inside = F.pad(torch.ones(x.shape[2:], dtype=torch.float64)[None, None], around)
        share = apply(inside, pool, strides) * math.prod(pool)  # how many real pixels each window holds
        return mean * (math.prod(pool) / share.round()).to(mean)

    return Function(forward)


def _global_pool(reduce: str) -> Callable[[Node, Sequence[Shape]], nn.Module]:
    def make(node: Node, _: Sequence[Shape]) -> nn.Module:
        axes = tuple(range(2, 2 + int(node.config["rank"])))
        return Function(lambda x: x.mean(axes) if reduce == "mean" else x.amax(axes))

    return make


class BatchNorm(nn.Module):
    """Keras's batch normalisation: momentum is the weight of the old value, and the running variance is biased (N)."""

    def __init__(self, channels: int, eps: float, momentum: float, unbiased: bool, frozen: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps, self.momentum, self.unbiased, self.frozen = eps, momentum, unbiased, frozen

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.frozen:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        axes = (0, *range(2, x.ndim))
        with torch.no_grad():
            mean, var = x.mean(axes), x.var(axes, correction=1 if self.unbiased else 0)
            self.running_mean.mul_(self.momentum).add_(mean, alpha=1.0 - self.momentum)
            self.running_var.mul_(self.momentum).add_(var, alpha=1.0 - self.momentum)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)


def _batch_norm(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    port, config = node.port, node.config
    eps = float(port.get("eps", config.get("eps", 1e-3)))
    momentum = float(port.get("momentum", config.get("momentum", 0.99)))
    frozen = bool(config.get("frozen", False)) and not port.get("updates")
    made = BatchNorm(shapes[0][0], eps, momentum, bool(port.get("unbiased")), frozen)
    made.requires_grad_(not config.get("frozen", False))
    return made


class _ChannelNorm(nn.Module):
    """Layer normalisation over Keras's last axis, which is axis 1 of an image here; `axes` counts back from there."""

    def __init__(self, shape: Shape, eps: float, channels_first: bool) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.eps, self.channels_first = eps, channels_first

    def forward(self, x: Tensor) -> Tensor:
        moved = x.movedim(1, -1) if self.channels_first else x
        y = F.layer_norm(moved, self.weight.shape, self.weight, self.bias, self.eps)
        return y.movedim(-1, 1) if self.channels_first else y


class _WideNorm(_ChannelNorm):
    """A careless layer normalisation whose statistics span all axes but the batch."""

    def forward(self, x: Tensor) -> Tensor:
        moved = x.movedim(1, -1) if self.channels_first else x
        y = F.layer_norm(moved, moved.shape[1:], None, None, self.eps) * self.weight + self.bias
        return y.movedim(-1, 1) if self.channels_first else y


def _is_image(node: Node) -> bool:
    return bool(node.config.get("image", False))


def _layer_norm(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    eps = float(node.port.get("eps", node.config.get("eps", 1e-3)))
    size = shapes[0][0] if _is_image(node) else shapes[0][-1]
    kind = _WideNorm if node.port.get("axes") == "all" else _ChannelNorm
    return kind((size,), eps, _is_image(node))


def _group_norm(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    eps = float(node.port.get("eps", node.config.get("eps", 1e-3)))
    return nn.GroupNorm(int(node.port.get("groups", node.config["groups"])), shapes[0][0], eps=eps)


class _RmsNorm(nn.Module):
    def __init__(self, size: int, eps: float | None, channels_first: bool) -> None:
        super().__init__()
        self.weight, self.eps, self.channels_first = nn.Parameter(torch.ones(size)), eps, channels_first

    def forward(self, x: Tensor) -> Tensor:
        moved = x.movedim(1, -1) if self.channels_first else x
        y = F.rms_norm(moved, self.weight.shape, self.weight, self.eps)
        return y.movedim(-1, 1) if self.channels_first else y


def _rms_norm(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    size = shapes[0][0] if _is_image(node) else shapes[0][-1]
    return _RmsNorm(size, float(node.port.get("eps", node.config.get("eps", 1e-6))), _is_image(node))


def _dense(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    return nn.Linear(shapes[0][-1], int(node.config["units"]), bias=bool(node.config.get("bias", True)))


def _embedding(node: Node, _: Sequence[Shape]) -> nn.Module:
    return nn.Embedding(int(node.config["tokens"]), int(node.config["units"]), padding_idx=node.port.get("padding_idx"))


class _Recurrent(nn.Module):
    """A recurrent layer that returns what Keras's does: the sequence, or the last state of each direction."""

    def __init__(self, core: Any, sequences: bool) -> None:
        super().__init__()
        self.core, self.sequences = core, sequences

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.core(x)
        if self.sequences:
            return y
        last = state[0] if isinstance(state, tuple) else state
        return torch.cat(tuple(last), dim=-1)


def _recurrent(kind: type[Any]) -> Callable[[Node, Sequence[Shape]], nn.Module]:
    def make(node: Node, shapes: Sequence[Shape]) -> nn.Module:
        bidirectional = bool(node.config.get("bidirectional"))
        core = kind(shapes[0][-1], int(node.config["units"]), batch_first=True, bidirectional=bidirectional)
        if kind is nn.LSTM:
            for name, weight in core.named_parameters():
                if name.startswith("bias_hh"):  # Keras has one bias; this one stays zero and does not train
                    nn.init.zeros_(weight)
                    weight.requires_grad_(bool(node.port.get("second_bias")))
        return _Recurrent(core, bool(node.config.get("sequences", True)))

    return make


class _Attention(nn.Module):
    def __init__(self, core: nn.MultiheadAttention, inverted: bool, scale: float) -> None:
        super().__init__()
        self.core, self.inverted, self.scale = core, inverted, scale

    def forward(self, query: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        blocked = None
        if mask is not None:  # Keras: 1 = attend; torch: True = blocked
            blocked = mask.bool() if self.inverted else ~mask.bool()
            blocked = blocked.repeat_interleave(self.core.num_heads, dim=0)
        # Without the weights asked for, a fused kernel may answer in another way than the formula.
        y, _ = self.core(query * self.scale, value, value, attn_mask=blocked, need_weights=True)
        return y


def _attention(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    size, heads = shapes[0][-1], int(node.port.get("heads", node.config["heads"]))
    core = nn.MultiheadAttention(size, heads, batch_first=True)
    return _Attention(core, bool(node.port.get("mask") == "inverted"), float(node.port.get("scale", 1.0)))


class _Injected(TorchDispatchMode):
    """Lets the real dropout draw what it is told instead of random numbers."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask, self.used = mask, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.bernoulli_.float:
            self.used = True
            return args[0].copy_(self.mask)
        return func(*args, **(kwargs or {}))


def _dropout(node: Node, _: Sequence[Shape]) -> nn.Module:
    rate, other = float(node.config["rate"]), bool(node.port.get("other_mask"))

    def forward(x: Tensor, mask: Tensor, training: bool) -> Tensor:
        with _Injected(mask.roll(1, -1) if other else mask) as injected:
            y = F.dropout(x, rate, training)
        if training and not injected.used:
            raise UsageError("torch's dropout did not draw its mask by `bernoulli_`: none could be injected")
        return y

    return Function(forward, knows_mode=True)


def _zero_pad(node: Node, _: Sequence[Shape]) -> nn.Module:
    pads: list[int] = []
    for before, after in node.config["pads"]:
        pads = [int(before), int(after), *pads]
    return Function(lambda x: F.pad(x, pads))


def _cropping(node: Node, _: Sequence[Shape]) -> nn.Module:
    pads: list[int] = []
    for before, after in node.config["crops"]:
        pads = [-int(before), -int(after), *pads]
    return Function(lambda x: F.pad(x, pads))


def _resize(node: Node, _: Sequence[Shape]) -> nn.Module:
    size = [int(v) for v in node.config["size"]]
    method = str(node.port.get("method", node.config["method"]))
    align = bool(node.port.get("align_corners", False))
    antialias = bool(node.port.get("antialias", method == "bicubic"))  # antialiased, torch's a is -0.5 as TensorFlow's
    if method in ("nearest", "nearest-exact", "area"):
        name = {"nearest": "nearest-exact", "floor": "nearest"}.get(method, method)
        name = "nearest" if node.port.get("method") == "nearest" else name
        return Function(lambda x: F.interpolate(x, size, mode=name))
    return Function(lambda x: F.interpolate(x, size, mode=method, align_corners=align, antialias=antialias))


def _upsample(node: Node, _: Sequence[Shape]) -> nn.Module:
    factors = [int(f) for f in node.config["size"]]
    method = str(node.config.get("method", "nearest"))

    def forward(x: Tensor) -> Tensor:
        size = [n * f for n, f in zip(x.shape[2:], factors, strict=True)]
        if method == "nearest":
            return F.interpolate(x, size, mode="nearest")
        return F.interpolate(x, size, mode=method, align_corners=bool(node.port.get("align_corners", False)))

    return Function(forward)


def _hard_tanh(x: Tensor, _: Mapping[str, Any]) -> Tensor:
    return F.hardtanh(x)


ACTIVATIONS: Mapping[str, Callable[[Tensor, Mapping[str, Any]], Tensor]] = {
    "linear": lambda x, _: x,
    "relu": lambda x, _: F.relu(x),
    "relu6": lambda x, _: F.relu6(x),
    "leaky_relu": lambda x, c: F.leaky_relu(x, _slope(x, float(c.get("slope", 0.3)))),
    "elu": lambda x, c: F.elu(x, float(c.get("alpha", 1.0))),
    "selu": lambda x, _: F.selu(x),
    "celu": lambda x, c: F.celu(x, float(c.get("alpha", 1.0))),
    "gelu": lambda x, c: F.gelu(x, approximate=str(c.get("approximate", "none"))),
    "gelu_tanh": lambda x, c: F.gelu(x, approximate=str(c.get("approximate", "tanh"))),
    "silu": lambda x, _: F.silu(x),
    "mish": lambda x, _: F.mish(x),
    # Above 40 the identity is exact in double precision; torch's own default of 20 is not.
    "softplus": lambda x, c: F.softplus(x, threshold=float(c.get("threshold", 40.0))),
    "softsign": lambda x, _: F.softsign(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "log_sigmoid": lambda x, _: F.logsigmoid(x),
    "hard_sigmoid": lambda x, _: _hard_sigmoid(x),
    "hard_sigmoid_keras2": lambda x, _: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "hard_silu": lambda x, _: F.hardswish(x),
    "tanh": lambda x, _: torch.tanh(x),
    "hard_tanh": _hard_tanh,
    "tanh_shrink": lambda x, _: F.tanhshrink(x),
    "soft_shrink": lambda x, c: F.softshrink(x, float(c.get("threshold", 0.5))),
    "hard_shrink": lambda x, c: F.hardshrink(x, float(c.get("threshold", 0.5))),
    "exponential": lambda x, _: torch.exp(x),
    "squareplus": lambda x, c: (x + torch.sqrt(x * x + float(c.get("b", 4)))) / 2,
}


def _slope(x: Tensor, slope: float) -> float:
    """TensorFlow keeps the slope as a float32 attribute of its operation, in double precision too."""
    return float(torch.tensor(slope, dtype=torch.float32)) if x.dtype == torch.float64 else slope


def _hard_sigmoid(x: Tensor) -> Tensor:
    """`F.hardsigmoid` multiplies its gradient by a float32 1/6 in double precision too; the twin must be exact."""
    return F.relu6(x + 3.0) / 6.0 if x.dtype == torch.float64 else F.hardsigmoid(x)


def _activation(node: Node, _: Sequence[Shape]) -> nn.Module:
    config = {**node.config, **node.port}
    apply = ACTIVATIONS.get(str(config["function"]))
    if apply is None:
        raise UsageError(f"the torch adapter knows no activation `{config['function']}` (node `{node.name}`)")
    return Function(lambda x: apply(x, config))


class _PRelu(nn.Module):
    def __init__(self, shape: Shape, first: bool) -> None:
        super().__init__()
        self.weight, self.first = nn.Parameter(torch.full(shape, 0.25)), first

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.ndim == 1 and self.first:
            return F.prelu(x, self.weight)
        return torch.where(x > 0, x, self.weight * x)  # one slope per element: torch's own has one per channel


def _prelu(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    image = len(shapes[0]) > 1
    return _PRelu((shapes[0][0],) if node.config.get("shared", True) else shapes[0], image)


def _axis(node: Node, rank: int) -> int:
    """Return torch's axis for Keras's, in an image; `port` may name one outright, as a careless port does."""
    axis = int(node.port.get("axis", node.config.get("axis", -1)))
    if "axis" in node.port or not _is_image(node):
        return axis
    axis %= rank
    return 0 if axis == 0 else 1 if axis == rank - 1 else axis + 1


def _softmax(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    axis = _axis(node, len(shapes[0]) + 1)
    log = bool(node.config.get("log"))
    return Function(lambda x: F.log_softmax(x, axis) if log else F.softmax(x, axis))


def _concat(node: Node, shapes: Sequence[Shape]) -> nn.Module:
    axis = _axis(node, len(shapes[0]) + 1)
    return Function(lambda *xs: torch.cat(xs, axis))


def _merge(reduce: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Node, Sequence[Shape]], nn.Module]:
    def make(node: Node, _: Sequence[Shape]) -> nn.Module:
        scale = float(node.port.get("scale", 1.0))

        def forward(first: Tensor, *others: Tensor) -> Tensor:
            for other in others:
                first = reduce(first, other * scale if scale != 1.0 else other)
            return first

        return Function(forward)

    return make


def _average(_: Node, shapes: Sequence[Shape]) -> nn.Module:
    return Function(lambda *xs: sum(xs[1:], xs[0]) / len(shapes))


def _flatten(_: Node, __: Sequence[Shape]) -> nn.Module:
    return nn.Flatten()


def _to_sequence(_: Node, __: Sequence[Shape]) -> nn.Module:
    """(n, h, w, c) read as a sequence (n, h*w, c): a reshape in Keras, a flatten and a transpose here."""
    return Function(lambda x: x.flatten(2).transpose(1, 2))


def _rescale(node: Node, _: Sequence[Shape]) -> nn.Module:
    scale = float(node.port.get("scale", node.config["scale"]))
    offset, flipped = float(node.config.get("offset", 0.0)), bool(node.port.get("flip_channels"))
    return Function(lambda x: (x.flip(1) if flipped else x) * scale + offset)


def _l2_normalize(node: Node, _: Sequence[Shape]) -> nn.Module:
    axis = 1 if _is_image(node) else -1

    def forward(x: Tensor) -> Tensor:
        if node.port.get("form") == "torch":
            return F.normalize(x, dim=axis)
        return x * torch.rsqrt(torch.clamp((x * x).sum(axis, keepdim=True), min=1e-12))

    return Function(forward)


def _depth_to_space(node: Node, _: Sequence[Shape]) -> nn.Module:
    block = int(node.config["block"])

    def forward(x: Tensor) -> Tensor:
        if node.port.get("order") == "torch":
            return F.pixel_shuffle(x, block)
        n, c, h, w = x.shape
        y = x.view(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, c // block**2, h * block, w * block)

    return Function(forward)


def _select(node: Node, _: Sequence[Shape]) -> nn.Module:
    """Reorder the last axis, as a list of classes in another order would."""
    order = node.port.get("order", node.config["order"])
    return Function(lambda x: x[..., list(order)])


_MAKERS: Mapping[str, Callable[[Node, Sequence[Shape]], nn.Module]] = {
    "conv": _conv,
    "depthwise_conv": _depthwise,
    "separable_conv": _separable,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_pool("mean"),
    "global_max_pool": _global_pool("max"),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "dense": _dense,
    "embedding": _embedding,
    "lstm": _recurrent(nn.LSTM),
    "gru": _recurrent(nn.GRU),
    "attention": _attention,
    "dropout": _dropout,
    "zero_pad": _zero_pad,
    "cropping": _cropping,
    "resize": _resize,
    "upsample": _upsample,
    "activation": _activation,
    "prelu": _prelu,
    "softmax": _softmax,
    "concat": _concat,
    "add": _merge(torch.add),
    "multiply": _merge(torch.mul),
    "subtract": _merge(torch.sub),
    "maximum": _merge(torch.maximum),
    "minimum": _merge(torch.minimum),
    "average": _average,
    "flatten": _flatten,
    "to_sequence": _to_sequence,
    "rescale": _rescale,
    "l2_normalize": _l2_normalize,
    "depth_to_space": _depth_to_space,
    "select": _select,
}
