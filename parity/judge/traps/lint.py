"""What differs by configuration alone, before anything runs: what two layers, or two optimizers, set otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from parity.judge.traps.activation import FUNCTIONS, trap_of
from parity.judge.traps.remedy import number
from parity.judge.traps.scene import same
from parity.model.trace import AFTER, SLOPES, Op

Config = Mapping[str, Any]
NORMS = ("layer_norm", "group_norm", "instance_norm", "rms_norm")
WINDOWS = ("conv", "depthwise_conv", "conv_transpose", "max_pool", "avg_pool")
RECURRENT = ("lstm", "gru", "rnn")
POOLS = ("max_pool", "avg_pool", "global_max_pool", "global_avg_pool")
# Layers of two kinds that may stand for each other by mistake; any others have no partner.
FAMILIES = (
    POOLS,
    RECURRENT,
    ("batch_norm", *NORMS),
    ("conv", "conv_transpose", "depthwise_conv"),
    ("activation", "softmax"),
)
FLOORED = ("norm-floor", "norm-max")  # the length is at least eps: two names of one formula
CLOSE = 1e-6  # of a setting that one side holds in float32


@dataclass(frozen=True)
class Difference:
    """One setting that two partners do not share: the trap, both values, what it will do, and both names."""

    trap: str
    what: str
    effect: str
    tensorflow: str
    torch: str


@dataclass(frozen=True)
class Rule:
    """A key to compare in operations of some kinds; `usual` stands where a side does not say."""

    kinds: tuple[str, ...]
    key: str
    trap: str
    effect: str
    usual: Any = None
    word: str = ""


RULES: tuple[Rule, ...] = (
    Rule(("batch_norm",), "eps", "batchnorm-eps", "outputs differ most where the running variance is small"),
    Rule(NORMS, "eps", "layernorm-eps", "outputs differ most where the variance is small"),
    Rule(("batch_norm",), "momentum", "batchnorm-momentum",
         "the moving statistics follow at another pace: evaluation after training differs", word="weight of the old"),
    Rule(("batch_norm",), "frozen", "batchnorm-frozen",
         "one side keeps its statistics in training and the other moves them", False),
    Rule(("batch_norm", "layer_norm", "group_norm"), "center", "bias-missing-or-doubled",
         "one side learns a shift that the other has not", True),
    Rule(("batch_norm", "layer_norm", "group_norm"), "scale", "weight-scale",
         "one side learns a scale that the other has not", True),
    Rule(("group_norm",), "groups", "groupnorm-groups", "other channels are normalised together"),
    Rule(("l2_normalize",), "eps", "l2-normalize-eps", "short vectors are divided by another floor"),
    Rule(WINDOWS, "strides", "stride-placement", "the window steps elsewhere: other shapes, or other pixels"),
    Rule(WINDOWS, "dilation", "dilation-or-groups", "the kernel reaches other pixels"),
    Rule(("conv", "conv_transpose"), "groups", "dilation-or-groups", "other channels are summed", 1),
    Rule(("conv",), "pad_mode", "padding-mode", "the border is filled with something else", "zeros"),
    Rule(("conv", "conv_transpose", "dense"), "bias", "bias-missing-or-doubled", "one side has no bias", True),
    Rule(("max_pool", "avg_pool"), "pool", "pool-padding", "the window has another size"),
    Rule(RECURRENT, "bidirectional", "unknown", "one side reads the sequence both ways", False),
    Rule(("lstm", "gru"), "recurrent_activation", "hard-sigmoid-slope", "gates open otherwise", "sigmoid"),
    Rule(RECURRENT, "activation", "activation-missing", "states are squashed otherwise", "tanh"),
    Rule(("gru",), "reset_after", "gru-reset-after", "the reset gate stands elsewhere: no torch layer computes that",
         True),
    Rule(("attention",), "heads", "attention-scale-or-heads", "scores are scaled and split otherwise"),
    Rule(("attention", "sdpa"), "causal", "attention-mask-polarity", "one side sees later steps"),
    Rule(("attention", "sdpa"), "scale", "attention-scale-or-heads", "scores are scaled otherwise"),
    Rule(("embedding",), "padding_index", "embedding-padding-index", "one row does not train in torch"),
    Rule(("dropout",), "rate", "dropout-active", "training drops another share"),
    Rule(("rescale",), "scale", "input-scale", "what follows sees other numbers", 1.0),
    Rule(("rescale",), "offset", "input-scale", "what follows sees other numbers", 0.0),
    Rule(("resize",), "method", "resize-coordinates", "pixels are interpolated otherwise"),
    Rule(("resize",), "align_corners", "resize-coordinates", "pixels have their centres elsewhere", False),
    Rule(("resize",), "antialias", "resize-coordinates", "shrinking averages on one side only", False),
    Rule(("depth_to_space", "space_to_depth"), "order", "pixel-shuffle-order", "channels go to other pixels"),
    Rule(("softmax",), "log", "activation-missing", "one side returns logarithms", False),
)  # fmt: skip
USUAL: Mapping[str, float] = {"alpha": 1.0, "beta": 1.0}  # where a side does not say
EITHER: tuple[tuple[tuple[str, ...], str], ...] = (
    (("leaky_relu",), "slope"), (("elu", "celu"), "alpha"), (("relu",), "max_value"), (("softplus",), "beta"),
    (("hard_sigmoid",), "slope"), (("soft_shrink", "hard_shrink"), "threshold"),
)  # fmt: skip


def compare(tensorflow: Op, torch: Op) -> list[Difference]:
    """Return what two partners set otherwise, by their configurations alone."""
    found: list[Difference] = []

    def differs(trap: str, what: str, effect: str) -> None:
        found.append(Difference(trap, what, effect, tensorflow.name, torch.name))

    mine, theirs = tensorflow.config, torch.config
    kinds = {tensorflow.kind, torch.kind}
    if not comparable(tensorflow, torch):
        return found
    if tensorflow.kind != torch.kind and not kinds <= {"conv", "depthwise_conv"}:
        differs("unknown", f"{tensorflow.kind} against {torch.kind}", "they are layers of different kinds")
        return found
    each = _by_channel(tensorflow) and _by_channel(torch)  # in whatever words
    whole = [op for op in (tensorflow, torch) if op.kind == "conv" and int(op.config.get("groups") or 1) == 1]
    if tensorflow.kind != torch.kind and whole:
        differs("dilation-or-groups", "a kernel for each channel on one side", "other channels are summed")
    for rule in RULES:
        if tensorflow.kind in rule.kinds and not (each and rule.key == "groups"):
            _by_rule(rule, mine, theirs, differs)
    _padding(tensorflow, torch, differs)
    if tensorflow.kind in FUNCTIONS:
        _function(mine, theirs, differs)
    _facts(tensorflow, torch, differs)
    return found


def comparable(tensorflow: Op, torch: Op) -> bool:
    """Whether anything is to be said of two partners: they are of one kind, or one may stand for the other by mistake.

    A layer that the other side writes out is left to a run.
    """
    kinds = {tensorflow.kind, torch.kind}
    return len(kinds) == 1 or any(kinds <= set(family) for family in FAMILIES)


def _by_channel(op: Op) -> bool:
    """Whether a convolution has a kernel of its own for each channel."""
    groups = int(op.config.get("groups") or 1)
    return op.kind == "depthwise_conv" or (op.kind == "conv" and groups > 1 and groups == op.config.get("filters"))


def _equal(first: Any, second: Any) -> bool:
    """Whether two settings are the same, one of them maybe rounded to float32."""
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= CLOSE * max(abs(first), abs(second))
    return same(first, second)


def _by_rule(rule: Rule, mine: Config, theirs: Config, differs: Callable[[str, str, str], None]) -> None:
    values = [config.get(rule.key, rule.usual) for config in (mine, theirs)]
    known = rule.usual is not None or (rule.key in mine and rule.key in theirs)
    if known and not _equal(*values):
        word = rule.key + (f" ({rule.word})" if rule.word else "")
        differs(rule.trap, f"{word} {number(values[0])} against {number(values[1])}", rule.effect)


def _padding(tensorflow: Op, torch: Op, differs: Callable[[str, str, str], None]) -> None:
    if tensorflow.kind not in WINDOWS:
        return
    key = "crops" if tensorflow.kind == "conv_transpose" else "pads"
    mine, theirs = tensorflow.config.get(key), torch.config.get(key)
    trap = {"conv_transpose": "conv-transpose-crop", "max_pool": "pool-padding", "avg_pool": "pool-padding"}.get(
        tensorflow.kind, "same-padding-stride"
    )
    if mine is not None and theirs is not None:
        if not same(mine, theirs):
            where = f"the same only where {'it is cut afterwards' if key == 'crops' else 'F.pad stands before it'}"
            effect = "windows stand elsewhere on the image" if _any(theirs) else f"{where}, which no setting shows"
            differs(trap, f"{key} {mine} against {theirs}", effect)
        return
    words = [op.config.get("padding") for op in (tensorflow, torch)]
    strided = any(int(s) > 1 for s in tensorflow.config.get("strides") or [1])
    if words[0] == "same" and words[1] != "same":
        bare = theirs is not None and not _any(theirs)
        even = None if key == "crops" else _even_pads(tensorflow.config)
        if bare and key == "crops" and strided:
            differs(trap, "SAME cuts its result, and torch's layer nothing",
                    "the same only where it is cut afterwards, which no setting shows")  # fmt: skip
        elif bare and even is not None and _any(even):
            differs(trap, "SAME against no padding in the layer",
                    "the same only where F.pad stands before it, which no setting shows")  # fmt: skip
        elif strided and not bare and all(low == high for low, high in theirs or ()):
            differs(trap, "SAME with a stride pads the end more than the start, by the size; torch pads evenly",
                    "windows may stand one pixel elsewhere: it depends on the size of the input")  # fmt: skip
        elif not strided and theirs is not None and even is not None and not same(even, theirs):
            differs(trap, f"SAME, which pads {even}, against {theirs}", "windows stand elsewhere on the image")
    elif words[0] == "valid" and words[1] == "same":
        differs(trap, f"{words[0]} against {words[1]}", "other shapes, or windows that stand elsewhere")


def _any(sizes: Sequence[Sequence[int]]) -> bool:
    return any(size for pair in sizes for size in pair)


def _even_pads(config: Config) -> list[list[int]] | None:
    """Return what SAME pads on every axis without a stride; with one, at most so much."""
    kernel = config.get("kernel") or config.get("pool")
    if kernel is None:
        return None
    reach = [(int(k) - 1) * int(d) for k, d in zip(kernel, config.get("dilation") or [1] * len(kernel), strict=True)]
    return [[size // 2, size - size // 2] for size in reach]


def _function(mine: Config, theirs: Config, differs: Callable[[str, str, str], None]) -> None:
    names = [str(config.get("function")) for config in (mine, theirs)]
    if names[0] != names[1]:
        differs(trap_of(*names), f"{names[0]} against {names[1]}", "another function of every number")
        return
    for functions, key in EITHER:
        values = [config.get(key, USUAL.get(key)) for config in (mine, theirs)]
        if names[0] in functions and not _equal(*values):
            trap = "relu6-missing" if key == "max_value" else trap_of(*names)
            differs(trap, f"{key} {number(values[0])} against {number(values[1])}", "another function of every number")


def _facts(tensorflow: Op, torch: Op, differs: Callable[[str, str, str], None]) -> None:
    """What no setting shows: the frameworks' layers mean something else by nature."""
    kind = tensorflow.kind
    if kind == "batch_norm" and not tensorflow.config.get("frozen"):
        differs("batchnorm-running-variance", "biased variance (N) against unbiased (N-1)",
                "training agrees, evaluation after training does not; most for small batches")  # fmt: skip
    if kind in ("lstm", "rnn") and tensorflow.config.get("bias", True) and torch.config.get("bias", True):
        differs("bias-missing-or-doubled", "one bias against two that are added",
                "both of torch's train: the effective step of the bias is doubled")  # fmt: skip
    if kind == "gru":
        differs(
            "gru-gate-order", "gates z, r, h against r, z, n", "weights copied without reordering compute otherwise"
        )
    slopes = [op.config.get(SLOPES) for op in (tensorflow, torch)]
    if kind == "prelu" and None not in slopes and slopes[0] != slopes[1]:
        shown = [f"{count} slope{'s' if count != 1 else ''}" for count in slopes]
        differs("prelu-sharing", " against ".join(shown), "negative numbers are scaled otherwise")
    configs = (tensorflow.config, torch.config)
    if kind == "avg_pool":
        counts = [bool(config.get("count_include_pad")) for config in configs]
        pads = configs[counts.index(True)].get("pads") if any(counts) else []  # who pads nothing has nothing to count
        if counts[0] != counts[1] and (pads is None or _any(pads)):
            differs("avgpool-count-pad", f"count_include_pad {counts[0]} against {counts[1]}",
                    "averages at the border are smaller")  # fmt: skip
    if kind == "resize" and all(one.get("method") == "bicubic" and not one.get("antialias") for one in configs):
        differs("resize-coordinates", "bicubic bends by -0.5 against -0.75", "pixels are interpolated otherwise")
    _axes(tensorflow, torch, differs)
    forms = [str(config.get("form")) for config in configs]
    if kind == "l2_normalize" and len({"norm" if form in FLOORED else form for form in forms}) > 1:
        differs("l2-normalize-eps", f"{forms[0]} against {forms[1]}", "short vectors are divided by another floor")
    mine, theirs = (config.get("initializer") for config in configs)
    drawn = [theirs, *torch.config.get("initializer_alternatives", ())]
    if any(config.get("bias") is False for config in configs):  # of which one alone is drawn, and told as missing
        mine, *drawn = (one and str(one).partition(", bias ")[0] for one in (mine, *drawn))
    if None not in (mine, theirs) and mine not in drawn:
        differs(
            "init-distribution", f"{mine} against {theirs}", "training from scratch starts from another distribution"
        )


def _axes(tensorflow: Op, torch: Op, differs: Callable[[str, str, str], None]) -> None:
    """Compare axes as far as both layouts allow it: how many there are, and whether samples are mixed."""
    mine, theirs = (op.config.get("axes") for op in (tensorflow, torch))
    if tensorflow.kind in ("layer_norm", "rms_norm") and mine and theirs and len(mine) != len(theirs):
        differs("norm-axes", f"normalised over {len(mine)} axes against {len(theirs)}",
                "the same only where axes are flattened before it, which no setting shows")  # fmt: skip
    mine, theirs = (op.config.get("axis") for op in (tensorflow, torch))
    if tensorflow.kind == "softmax" and AFTER in torch.config and (mine == 0) != (theirs == 0):
        differs("axis-mismatch", f"axis {mine} against {theirs}", "one side mixes the samples of a batch")


def with_padding(ops: Sequence[Op]) -> list[Op]:
    """Return layers in their order, what a layer of its own pads told of the window behind it instead."""
    found: list[Op] = []
    for op in ops:
        before = found[-1] if found and found[-1].kind == "zero_pad" else None
        added = before.config if before is not None else {}
        pads, own = added.get("pads") or [], op.config.get("pads") or []
        fits = op.kind in WINDOWS and op.kind != "conv_transpose" and 0 < len(pads) == len(own)
        mode = str(added.get("mode", "constant"))
        if fits and op.kind == "conv" and mode != "constant" and not _any(own):
            op = replace(op, config={**op.config, "pads": pads, "pad_mode": mode})
            found.pop()
        elif fits and mode == "constant":
            both = [[a + b for a, b in zip(one, other, strict=True)] for one, other in zip(pads, own, strict=True)]
            op = replace(op, config={**op.config, "pads": both})
            found.pop()
        found.append(replace(op, index=len(found)))
    return found


ALIASES: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("learning_rate", "lr"), "epsilon": ("epsilon", "eps"), "rho": ("rho", "alpha"),
    "beta_1": ("beta_1",), "beta_2": ("beta_2",), "momentum": ("momentum",), "weight_decay": ("weight_decay",),
    "nesterov": ("nesterov",), "amsgrad": ("amsgrad",), "clipnorm": ("clipnorm",), "clipvalue": ("clipvalue",),
    "global_clipnorm": ("global_clipnorm", "max_norm"), "centered": ("centered",), "use_ema": ("use_ema",),
    "initial_accumulator_value": ("initial_accumulator_value",), "l2": ("l2",), "dampening": ("dampening",),
}  # fmt: skip
EFFECTS: Mapping[str, tuple[str, str]] = {
    "learning_rate": ("optimizer-defaults", "every step has another length"),
    "beta_1": ("optimizer-defaults", "gradients are remembered for another time"),
    "beta_2": ("optimizer-defaults", "squared gradients are remembered for another time"),
    "rho": ("optimizer-defaults", "squared gradients are remembered for another time"),
    "momentum": ("optimizer-defaults", "gradients are remembered for another time"),
    "initial_accumulator_value": ("optimizer-defaults", "the first steps have another length"),
    "clipnorm": ("clip-norm-kind", "gradients are clipped otherwise"),
    "global_clipnorm": ("clip-norm-kind", "gradients are clipped otherwise"),
    "clipvalue": ("clip-norm-kind", "gradients are clipped otherwise"),
    "dampening": ("optimizer-defaults", "gradients enter the velocity by another share"),
    "nesterov": ("optimizer-defaults", "one side looks ahead of its velocity"),
    "amsgrad": ("optimizer-defaults", "one side never divides by less than it did before"),
    "centered": ("optimizer-defaults", "one side takes the mean off the squared gradients"),
    "use_ema": ("optimizer-defaults", "one side ends with averaged weights"),
}
OFF = ("clipnorm", "global_clipnorm", "clipvalue", "dampening", "nesterov", "amsgrad", "centered", "use_ema")
DECOUPLED = ("adamw", "muon", "adafactor")  # of torch.optim; others may be told so
ONE_FORMULA: Mapping[str, str] = {"adamw": "adam"}  # Keras's Adam with a decay is its AdamW


def _setting(config: Config, key: str) -> Any:
    if key in ("beta_1", "beta_2") and "betas" in config:
        return config["betas"][0 if key == "beta_1" else 1]
    return next((config[name] for name in ALIASES[key] if name in config), None)


def compare_optimizers(tensorflow: Config, torch: Config) -> list[Difference]:
    """Return what two optimizers do otherwise: settings (`name` and hyper-parameters), then what both mean by them."""
    names = (str(tensorflow.get("name", "")), str(torch.get("name", "")))
    found: list[Difference] = []

    def differs(trap: str, what: str, effect: str) -> None:
        found.append(Difference(trap, what, effect, *names))

    kind, other = (ONE_FORMULA.get(name.lower(), name.lower()) for name in names)
    if kind != other:
        differs("optimizer-defaults", f"{names[0]} against {names[1]}", "they are different optimizers")
    for key in ALIASES:
        mine, theirs = _setting(tensorflow, key), _setting(torch, key)
        if key in OFF and not mine and not theirs:  # switched off and unknown are one
            continue
        known = key in OFF or (mine is not None and theirs is not None)
        if key in EFFECTS and known and not _equal(mine, theirs):
            trap, effect = EFFECTS[key]
            differs(trap, f"{key} {number(mine)} against {number(theirs)}", effect)
    _epsilons(kind, tensorflow, torch, differs)
    _decays(tensorflow, torch, differs)
    return found


def _epsilons(kind: str, mine: Config, theirs: Config, differs: Callable[[str, str, str], None]) -> None:
    values = (_setting(mine, "epsilon"), _setting(theirs, "epsilon"))
    shown = f"epsilon {number(values[0])} against {number(values[1])}"
    if kind in ("adam", "nadam", "adamax") and None not in values:
        differs("adam-epsilon", f"{shown}; torch adds it after the bias correction, Keras before",
                "the first steps differ most: Keras's acts as epsilon / sqrt(1 - beta_2^t)")  # fmt: skip
    elif kind == "rmsprop" and None not in values:
        differs("rmsprop-epsilon", f"{shown}; inside the root in Keras, outside in torch",
                "steps differ where squared gradients are small")  # fmt: skip
    elif None not in values and not _equal(*values):
        differs("optimizer-defaults", shown, "steps differ where squared gradients are small")
    if kind == "nadam":
        decay = theirs.get("momentum_decay", 4e-3)
        if not same(decay, 1.0):
            differs(
                "nadam-decay", f"0.96^t against 0.96^({number(decay)} t)", "momentum_decay=1.0 matches Keras's schedule"
            )
    if kind == "sgd" and float(_setting(mine, "momentum") or 0.0) > 0.0:
        differs("momentum-lr-change", "the learning rate is inside the velocity in Keras, outside in torch",
                "equal until the learning rate changes")  # fmt: skip


def _decays(mine: Config, theirs: Config, differs: Callable[[str, str, str], None]) -> None:
    """Compare weight decay, which is decoupled in all of Keras's optimizers and in some of torch's."""
    values = [float(_setting(config, "weight_decay") or 0.0) for config in (mine, theirs)]
    decoupled = theirs.get("decoupled_weight_decay") or str(theirs.get("name", "")).lower() in DECOUPLED
    if any(values) and not decoupled:
        shown = f"weight_decay {number(values[0])}, decoupled, against {number(values[1])} in the gradient"
        differs("weight-decay-coupling", shown, "weights shrink otherwise wherever gradients are scaled")
    elif not _equal(*values):
        differs("weight-decay-coupling", f"weight_decay {number(values[0])} against {number(values[1])}",
                "weights shrink at another pace")  # fmt: skip
    factor = _setting(mine, "l2")
    if factor and not same(2.0 * float(factor), values[1]):
        shown = f"L2({number(factor)}) pulls by {number(2.0 * float(factor))} * w, torch by {number(values[1])} * w"
        differs("l2-factor", shown, "weights are pulled to zero otherwise")
