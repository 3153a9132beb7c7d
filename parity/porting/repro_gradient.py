"""A reproduction script that shows what training does: a gradient, or a statistic after the step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.errors import UsageError
from parity.judge.verdict import SEMANTIC, Finding
from parity.pairing.copying import WeightPlan
from parity.pairing.relations import Relation
from parity.porting.cuts import Step
from parity.porting.options import Array
from parity.porting.orders import Orders
from parity.porting.repro_script import Store, carried, moved_back
from parity.porting.training import fed_pairs

INPUT, WEIGHT, STATE = "input", "weight", "state"
_KINDS = {"input-gradient": INPUT, "parameter-gradient": WEIGHT, "state": STATE}


@dataclass(frozen=True)
class Target:
    """What both sides return in place of the layer's result: tensors by number, weights by reference."""

    finding: Finding
    of: str
    tensorflow: Any
    torch: Any
    to_tensorflow: Callable[[Array], Array]  # brings torch's array to TensorFlow's order
    relation: Relation | None = None  # of an input
    sizes: tuple[Array, ...] = ()  # of an input: TensorFlow's array and torch's
    torch_shape: tuple[int, ...] = ()  # of a weight

    def in_tensorflow(
        self, fed: Sequence[str], body: Sequence[str], called: Mapping[int, str], wanted: int, upstream: str
    ) -> str:
        """Return TensorFlow's half; `called` are the variables of all tensors, `wanted` is the layer's result."""
        lines, source = list(fed), called.get(self.tensorflow, "wanted")
        if self.of != INPUT:
            body, of_layer = self._own(body)
            reference = f'a["{self.tensorflow}"]'
            lines.append(f"wanted = {reference if of_layer else f'tf.Variable({reference})'}")
            source = "variable(wanted)" if of_layer else "wanted"
        if self.of == STATE:
            return "\n".join([*lines, *body, f"return {source}"])
        watched = [f"tape.watch({source})"] if self.of == INPUT else []
        total = f"total = tf.reduce_sum({called[wanted]} * {upstream})"
        inside = [f"    {line}" for text in (*watched, *body, total) for line in text.split("\n")]
        return "\n".join(
            [*lines, "with tf.GradientTape() as tape:", *inside, f"return gradient(tape, total, {source})"]
        )

    def _own(self, body: Sequence[str]) -> tuple[list[str], bool]:
        """Return the code with the weight under a name of its own, and whether a layer holds it as a variable."""
        reference = f'a["{self.tensorflow}"]'
        users = [text for text in body if reference in text]
        if not users or any(re.search(re.escape(reference) + r"[.\[]", text) for text in users):
            raise UsageError(f"no standalone form for the gradient of `{self.tensorflow}`: use --dump")
        return [text.replace(reference, "wanted") for text in body], "= call(" in users[0]

    def in_torch(
        self, fed: Sequence[str], body: Sequence[str], called: Mapping[int, str], wanted: int, upstream: str,
        expressions: Mapping[str, str],
    ) -> str:  # fmt: skip
        """Return torch's half; `expressions` are those of its weights, by reference."""
        lines, source = list(fed), called.get(self.torch, "wanted")
        if self.of == INPUT:
            lines.append(f"{source}.requires_grad_()")
        else:
            held = f"tensor({expressions.get(self.torch)})"
            if not any(held in text for text in body):
                raise UsageError(f"no standalone form for the gradient of `{self.torch}`: use --dump")
            body = [text.replace(held, "wanted") for text in body]
            lines.append(f"wanted = {held}" + (".requires_grad_()" if self.of == WEIGHT else ""))
        if self.of == STATE:
            return "\n".join([*lines, *body, "return wanted  # as the call left it"])
        return "\n".join([*lines, *body, f"return backward(({called[wanted]} * {upstream}).sum(), {source})"])

    def order_lines(self, cropped: Callable[[Array], Array], store: Store) -> list[str]:
        """Return the lines that bring torch's result `b` to TensorFlow's order."""
        if self.relation is not None:
            mine, theirs = (cropped(array).shape for array in self.sizes)
            return moved_back(theirs, self.relation, mine, store)
        numbers = np.arange(int(np.prod(self.torch_shape)), dtype=np.float64).reshape(self.torch_shape)
        way = carried(numbers, np.asarray(self.to_tensorflow(numbers)))
        if way is None:
            raise UsageError(f"`{self.torch}` is no transpose of `{self.tensorflow}`: use --dump")
        return [f"b = b{way}"] if way else []


def targeted(step: Step, findings: Sequence[Finding], plan: WeightPlan, orders: Orders) -> Target:
    """Return what the first failing one of a layer's gradients and statistics is of.

    Raises
        UsageError: none fails, or it is of something that has no name of its own on either side.
    """
    failing = next((finding for finding in findings if finding.verdict == SEMANTIC), None)
    if failing is None:
        raise UsageError("the layers agree one by one, gradients included: no script was written")
    of = _KINDS[failing.kind]
    if of == INPUT:
        number = [finding for finding in findings if finding.kind == failing.kind].index(failing)
        mine, theirs, relation = fed_pairs(step, orders)[number]
        sizes = (step.fed[mine], step.fed_torch[theirs])
        return Target(failing, of, mine, theirs, relation.to_tensorflow, relation, sizes)
    name = failing.tensor.removeprefix("gradient of ").removesuffix(" after the step")
    link = next(link for link in plan.links if link.tensorflow == name)
    shape = np.shape(link.to_torch(np.zeros(failing.shape)))
    return Target(failing, of, link.tensorflow, link.torch, link.to_tensorflow, torch_shape=tuple(shape))
