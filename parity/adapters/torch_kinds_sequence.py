"""Canonical dense, embedding, recurrent and attention layers, written as their formulas."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from parity.adapters.torch_kinds_norms import activate
from parity.errors import UsageError
from parity.model import constants

Config = Mapping[str, Any]
Weights = Mapping[str, Any]
Inputs = Sequence[Tensor]
Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]

MASK_FORMS = ("attend", "blocked", "additive")
INITIAL = "initial_"  # roles of states that a remedy lets a recurrent layer start from


def _dense(_: Config, weights: Weights, inputs: Inputs, __: bool) -> Tensor:
    return F.linear(inputs[0], weights["weight"], weights.get("bias"))


def _embedding(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    # The padding index changes the gradient alone: the row itself is read as it is.
    index, table = config.get("padding_index"), weights["weight"]
    ids = inputs[0] if inputs else torch.from_numpy(constants.unpacked(config[constants.IDS])).to(table.device)
    ids = ids if ids.dtype in (torch.int32, torch.int64) else ids.long()
    return F.embedding(ids, table, padding_idx=None if index is None else int(index))


def _direction(weights: Weights, backward: bool) -> dict[str, Tensor]:
    """Return one direction's weights without layer number and ending."""
    found: dict[str, Tensor] = {}
    for role, weight in weights.items():
        match = re.fullmatch(r"(\w+?)_l\d+(_reverse)?", role)
        name, reverse = (match[1], bool(match[2])) if match else (role, False)
        if reverse == backward:
            found[name] = weight
    return found


def _biases(own: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
    both = own.get("biases")
    if both is not None:
        return (both, None) if both.ndim == 1 else (both[0], both[1])
    return own.get("bias_ih"), own.get("bias_hh")


def _lstm_step(config: Config, own: Mapping[str, Tensor]) -> Step:
    act, gate = _functions(config)
    first, second = _biases(own)

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        z = F.linear(x, own["weight_ih"], first) + F.linear(h, own["weight_hh"], second)
        i, f, g, o = z.chunk(4, -1)
        c = gate(f) * c + gate(i) * act(g)
        return gate(o) * act(c), c

    return step


def _gru_step(config: Config, own: Mapping[str, Tensor]) -> Step:
    act, gate = _functions(config)
    first, second = _biases(own)
    units = own["weight_hh"].shape[1]

    def after(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        xr, xz, xn = F.linear(x, own["weight_ih"], first).chunk(3, -1)
        hr, hz, hn = F.linear(h, own["weight_hh"], second).chunk(3, -1)
        r, z = gate(xr + hr), gate(xz + hz)
        return (z * h + (1 - z) * act(xn + r * hn),)

    def before(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        xr, xz, xn = F.linear(x, own["weight_ih"], first).chunk(3, -1)
        hr, hz = F.linear(h, own["weight_hh"][: 2 * units], None).chunk(2, -1)
        r, z = gate(xr + hr), gate(xz + hz)
        return (z * h + (1 - z) * act(xn + F.linear(r * h, own["weight_hh"][2 * units :])),)

    return after if config.get("reset_after", True) else before


def _rnn_step(config: Config, own: Mapping[str, Tensor]) -> Step:
    act, _ = _functions(config)
    first, second = _biases(own)

    def step(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (act(F.linear(x, own["weight_ih"], first) + F.linear(state[0], own["weight_hh"], second)),)

    return step


def _functions(config: Config) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    act, gate = str(config.get("activation") or "tanh"), str(config.get("recurrent_activation") or "sigmoid")
    return (lambda x: activate(act, x, {})), (lambda x: activate(gate, x, {}))


_STEPS: Mapping[str, tuple[Callable[..., Step], int]] = {
    "lstm": (_lstm_step, 2), "gru": (_gru_step, 1), "rnn": (_rnn_step, 1),
}  # fmt: skip


def _recurrent(kind: str) -> Callable[..., tuple[Tensor, ...]]:
    make, count = _STEPS[kind]

    def apply(config: Config, weights: Weights, inputs: Inputs, _: bool) -> tuple[Tensor, ...]:
        laid = [weights[role] for role in sorted(weights) if role.startswith(INITIAL)]
        inputs = (inputs[0], *laid) if laid else inputs
        if config.get("cell"):
            own = _direction(weights, False)
            return make(config, own)(inputs[0], _start(inputs[1:], inputs[0], own["weight_hh"].shape[1], count))
        native = _native(kind, config, weights, inputs)
        if native is not None:
            return native
        x = inputs[0] if config.get("batch_first", True) else inputs[0].transpose(0, 1)
        ways = [False, True] if config.get("bidirectional") else [False]
        sequences, states = [], []
        for number, backward in enumerate(ways):
            own = _direction(weights, backward)
            given = inputs[1 + number * count : 1 + (number + 1) * count]
            start = _start(given, x, own["weight_hh"].shape[1], count)
            reverse = backward != bool(config.get("go_backwards"))
            sequence, state = _unrolled(make(config, own), x.flip(1) if reverse else x, start)
            sequences.append(sequence.flip(1) if backward else sequence)
            states.append(state)
        whole = torch.cat(sequences, -1)
        last = torch.cat([state[0] for state in states], -1)
        if config.get("handed") == "states":
            whole = last[:, None].expand_as(whole)
        elif config.get("handed") == "outputs":
            states = [(state[0],) * len(state) for state in states]
        y = whole if config.get("batch_first", True) else whole.transpose(0, 1)
        ends = [part if len(ways) > 1 else part[None] for state in states for part in state]
        return (y if config.get("sequences", True) else last, *ends)

    return apply


def _native(kind: str, config: Config, weights: Weights, inputs: Inputs) -> tuple[Tensor, ...] | None:
    """Return what torch's own function gives where it means the same: much faster, and its rounding has a bound."""
    if config.get("handed"):
        return None
    usual = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True, "go_backwards": False}
    whole = config.get("sequences", True) and len(inputs) == 1 and kind in ("lstm", "gru")
    if not whole or any((config.get(key) or value) != value for key, value in usual.items() if key != "reset_after"):
        return None
    if not config.get("reset_after", True):
        return None
    x, flat = inputs[0], list[Tensor]()
    ways = [False, True] if config.get("bidirectional") else [False]
    for backward in ways:
        own = _direction(weights, backward)
        first, second = _biases(own)
        if first is None or own["weight_ih"].dtype != x.dtype:
            return None
        flat += [own["weight_ih"], own["weight_hh"], first, torch.zeros_like(first) if second is None else second]
    batch = x.shape[0 if config.get("batch_first", True) else 1]
    start = torch.zeros(len(ways), batch, flat[1].shape[1], dtype=x.dtype, device=x.device)
    how = (True, 1, 0.0, False, len(ways) == 2, bool(config.get("batch_first", True)))
    lstm = kind == "lstm"
    y, *ends = torch.lstm(x, (start, torch.zeros_like(start)), flat, *how) if lstm else torch.gru(x, start, flat, *how)
    return (y, *(end[way] for way in (0, 1) for end in ends)) if len(ways) == 2 else (y, *ends)


def _start(given: Inputs, x: Tensor, units: int, count: int) -> tuple[Tensor, ...]:
    if len(given) == count:  # torch's have an axis of directions, (1, n, units), where there is one; Keras's have none
        return tuple(s[0] if s.ndim == 3 else s for s in given)
    return (torch.zeros(x.shape[0], units, dtype=x.dtype, device=x.device),) * count


def _unrolled(step: Step, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    found = []
    for time in range(x.shape[1]):
        state = step(x[:, time], state)
        found.append(state[0])
    return torch.stack(found, 1), state


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-3, -2)


def _attention(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    # Query, key, value and then masks; or with a mask and three tensors, key and value are one.
    count = 3 if len(inputs) > 3 or not config.get("has_mask") else len(inputs) - 1
    given, masks = inputs[:count], inputs[count:]
    query = given[0]
    key = given[1] if len(given) > 1 else query
    value = given[2] if len(given) > 2 else key
    if not config.get("batch_first", True):
        query, key, value = (t.transpose(0, 1) for t in (query, key, value))
    heads = int(config["heads"])
    q, k, v = (
        _heads(F.linear(x, weights[f"{part}.weight"], weights.get(f"{part}.bias")), heads)
        for part, x in (("query", query), ("key", key), ("value", value))
    )
    scale = config.get("scale")
    scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
    y = _scaled(config, q, k, v, scale, masks, "blocked", weights.get("mask"))
    y = y.transpose(-3, -2).reshape(*y.shape[:-3], y.shape[-2], -1)
    y = F.linear(y, weights["out_proj.weight"], weights.get("out_proj.bias"))
    return y if config.get("batch_first", True) else y.transpose(0, 1)


def _scaled(
    config: Config, q: Tensor, k: Tensor, v: Tensor, scale: float, masks: Inputs, boolean: str, laid: Tensor | None
) -> Tensor:
    scores = (q * scale) @ k.transpose(-1, -2)
    for mask in masks if config.get("mask_form") != "none" else ():
        scores = scores + _additive(config, mask, scores, boolean)
    if laid is not None:  # by a remedy, beside those that the model's code has
        scores = scores + laid
    if config.get("causal") and not masks:  # beside a mask it is but a hint in torch
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, -torch.inf)
    shares = F.softmax(scores, -1)
    if not config.get("return_weights"):  # the fused function has zeros where every key is blocked, the plain one NaN
        shares = shares.masked_fill(torch.isneginf(scores).all(-1, keepdim=True), 0.0)
    return shares @ v


def _additive(config: Config, mask: Tensor, scores: Tensor, boolean: str) -> Tensor:
    """Return a mask as numbers to add, broadcast over the heads; `boolean` says what True means unless it is given."""
    form = str(config.get("mask_form") or (boolean if mask.dtype == torch.bool else "additive"))
    if form not in MASK_FORMS:
        raise UsageError(f"unknown form `{form}` of a mask: {', '.join(MASK_FORMS)}")
    shaped = _mask_shape(mask, scores, str(config.get("mask_kind") or ""))
    if form == "additive":
        return shaped.to(scores.dtype)
    blocked = shaped.bool() if form == "blocked" else ~shaped.bool()
    return torch.zeros(shaped.shape, dtype=scores.dtype, device=scores.device).masked_fill(blocked, -torch.inf)


def _mask_shape(mask: Tensor, scores: Tensor, kind: str) -> Tensor:
    """Bring a mask to the axes (n, heads, t, s): of keys (n, s), of pairs (t, s), per sample or per sample and head."""
    if scores.ndim != 4 or mask.ndim == 4:
        return mask
    n, heads, t, s = scores.shape
    keys = kind == "keys" or (mask.shape == (n, s) and mask.shape != (t, s))
    if mask.ndim == 2:
        return mask[:, None, None, :] if keys else mask
    if mask.shape[0] == n * heads and heads > 1:
        return mask.reshape(n, heads, *mask.shape[1:])
    return mask[:, None]


def _sdpa(config: Config, weights: Weights, inputs: Inputs, _: bool) -> Tensor:
    q, k, v = inputs[:3]
    scale = config.get("scale")
    scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
    masks = inputs[3:] if config.get("has_mask", len(inputs) > 3) else ()
    return _scaled(config, q, k, v, scale, masks, "attend", weights.get("mask"))


KINDS: Mapping[str, Callable[..., Any]] = {
    "dense": _dense,
    "embedding": _embedding,
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
    "rnn": _recurrent("rnn"),
    "attention": _attention,
    "sdpa": _sdpa,
}
