"""Layers that train in one framework alone: a step of training makes two functions of one."""

from __future__ import annotations

from collections.abc import Sequence

from parity.judge.traps.keras_words import is_layer
from parity.judge.verdict import SEMANTIC, Finding
from parity.model.trace import Op, weight_names, weights_that_matter
from parity.pairing.copying import WeightLink, WeightPlan
from parity.pairing.match import OpPair
from parity.porting.causes import UNKNOWN
from parity.porting.options import TORCH_TO_TENSORFLOW
from parity.porting.sides import LABELS, TENSORFLOW, TORCH, Models
from parity.porting.training import NOTHING, Training
from parity.porting.verdict import Source, layer_name, message

FROZEN_NORM = "batchnorm-frozen"


class Frozen:
    """The weights of a pair that outputs depend on and that only one framework trains.

    `trained` is what trains in TensorFlow, and in torch.
    """

    def __init__(self, models: Models, plan: WeightPlan, trained: Sequence[Training]) -> None:
        self.models, self.plan = models, plan
        self._weights = {side: one.weights for side, one in zip((TENSORFLOW, TORCH), trained, strict=True)}
        used = {side: weights_that_matter(models[side]) for side in (TENSORFLOW, TORCH)}
        self._links = [
            link
            for link in plan.links
            if all(_names(link, side) <= used[side] for side in used)
            and self._trains(link, TENSORFLOW) != self._trains(link, TORCH)
        ]

    def findings(self) -> list[Finding]:
        """Return one finding for each weight that a step moves in one framework and not in the other."""
        return [
            Finding(
                link.tensorflow, "update", SEMANTIC,
                f"It trains in {LABELS[self._side(link)]} alone: a step moves it on one side only.",
                tuple(self.plan.tensorflow_shapes.get(link.tensorflow, ())),
            )
            for link in self._links
        ]  # fmt: skip

    def sources(self, told: Sequence[Source]) -> list[Source]:
        """Return one source for each pair of layers with weights that train on one side alone.

        A batch normalisation that was told to be frozen on one side has been told with all that it holds, and what cuts
        a gradient off with all that lies before it.
        """
        cut_is_told = any(NOTHING in source.evidence for source in told)
        links: dict[OpPair, list[WeightLink]] = {}
        for link in self._links:
            if not (cut_is_told and self._is_cut_off(link)):
                links.setdefault(link.pair, []).append(link)
        ops = tuple({op.index: op for op in self.models[side].ops} for side in (TENSORFLOW, TORCH))
        known = {source.tensorflow for source in told if source.cause == FROZEN_NORM}
        pairs = [(ops[0][pair.tensorflow], ops[1][pair.torch], own) for pair, own in links.items()]
        return [self._source(*pair) for pair in pairs if layer_name(pair[0].name) not in known]

    def _source(self, mine: Op, theirs: Op, links: Sequence[WeightLink]) -> Source:
        torch_names = ", ".join(f"`{name}`" for link in links for name in weight_names(link.torch))
        alone = LABELS[self._side(links[0])]
        evidence = f"trained in {alone} alone: {torch_names}; a step of training makes two functions of one"
        pair = layer_name(mine.name), layer_name(theirs.name)
        fix, mends = self._fix(pair, links[0], torch_names), TORCH
        if self.models.options.weights == TORCH_TO_TENSORFLOW:
            fix, mends = self._in_keras(mine, theirs, links), TENSORFLOW
        cause = FROZEN_NORM if mine.kind == theirs.kind == "batch_norm" else UNKNOWN
        told = message(*pair, "trains on one side alone", cause, evidence, fix)
        return Source(*pair, cause, evidence, fix, "update", told, mends=mends)

    def _fix(self, pair: tuple[str, str], link: WeightLink, torch_names: str) -> str:
        """Say what makes both train, or neither: a weight stands still by itself, or its gradient is cut off."""
        mine, theirs = pair
        in_torch, cut_off = self._side(link) == TORCH, self._is_cut_off(link)
        if in_torch and cut_off:
            return f"detach() behind `{theirs}`: in TensorFlow no gradient comes back to `{mine}` (tf.stop_gradient)"
        if cut_off:
            return f"take away what cuts the gradient of `{theirs}` off, such as detach() behind it"
        if in_torch:
            return f"requires_grad_(False) for {torch_names}, as `{mine}` has trainable=False"
        return f"requires_grad_(True) for {torch_names} (and no torch.no_grad() there)"

    def _in_keras(self, mine: Op, theirs: Op, links: Sequence[WeightLink]) -> str:
        """Say the same of Keras's code, where torch's model was ported."""
        name, in_torch, cut_off = layer_name(mine.name), self._side(links[0]) == TORCH, self._is_cut_off(links[0])
        if cut_off and in_torch:
            return f"take away what cuts the gradient of `{name}` off, such as tf.stop_gradient behind it"
        if cut_off:
            return f"tf.stop_gradient behind `{name}`: in torch no gradient comes back to `{layer_name(theirs.name)}`"
        whole = {n for ref in mine.weights.values() for n in weight_names(ref)}
        told = {n for link in links for n in weight_names(link.tensorflow)}
        if is_layer(mine) and (whole <= told or mine.kind == "batch_norm"):
            still = in_torch and mine.kind == "batch_norm" and not theirs.config.get("training")
            return f"trainable={in_torch} in `{name}`" + (
                ", and training=False in a call() of your own" if still else ""
            )
        return f"trainable={in_torch} for {', '.join(f'`{one}`' for one in sorted(told))}"

    def _trains(self, link: WeightLink, side: str) -> bool:
        return bool(_names(link, side) & self._weights[side])

    def _side(self, link: WeightLink) -> str:
        """Return the framework that trains a weight."""
        return TENSORFLOW if self._trains(link, TENSORFLOW) else TORCH

    def _is_cut_off(self, link: WeightLink) -> bool:
        """Return whether the weight that stands still is one that would train if its gradient came back."""
        still = TORCH if self._side(link) == TENSORFLOW else TENSORFLOW
        known = self.models[still].weights
        return any(known[name].trainable for name in _names(link, still) if name in known)


def _names(link: WeightLink, side: str) -> set[str]:
    return set(weight_names(link.tensorflow if side == TENSORFLOW else link.torch))
