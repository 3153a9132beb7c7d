"""Which way along time recurrent layers go, told from how they are fed, and what is said of both directions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from parity.judge.verdict import SEMANTIC
from parity.model.trace import Op, Trace
from parity.pairing.directions import alike
from parity.pairing.skeleton import skeleton
from parity.porting.sides import TENSORFLOW, TORCH
from parity.porting.training import DOUBLED, step_sources

SEQUENCE = (2, 3, 4)


def _trace(ops: list[Op], last: tuple[int, ...]) -> Trace:
    shapes = {tensor: (2, 4) for op in ops for tensor in op.outputs} | {0: SEQUENCE}
    return Trace((0,), last, ("output",), tuple(ops), shapes, {}, {})


def _layers() -> Trace:
    """Return Keras's two layers of a bidirectional one."""
    ahead, back = (
        Op(i, f"both/{name}", "lstm", (0,), (i + 1,), {"go_backwards": bool(i)}, {"kernel": f"{name}/kernel"})
        for i, name in enumerate(("ahead", "back"))
    )
    return _trace([ahead, back, Op(2, "join", "concat", (1, 2), (3,), {"axis": 2})], (3,))


def _cells(first: list[int], second: list[int]) -> Trace:
    """Return two cells that are fed the steps of a sequence in these orders."""
    ops, tensor = list[Op](), 1
    for name, places in (("a", first), ("b", second)):
        state: tuple[int, ...] = ()
        for place in places:
            ops.append(Op(len(ops), "getitem", "slice", (0,), (tensor,), {"text": f":, {place}"}))
            config = {"cell": True, "units": 4}
            ops.append(Op(len(ops), name, "lstm", (tensor, *state), (tensor + 1,), config, {"weight_ih_l0": name}))
            state, tensor = (tensor + 1,), tensor + 2
    ops.append(Op(len(ops), "cat", "concat", (2 * len(first), tensor - 1), (tensor,), {"axis": 1}))
    return _trace(ops, (tensor,))


@pytest.mark.parametrize(
    ("orders", "wanted"), [(([0, 1, 2], [2, 1, 0]), ("a", "b")), (([-1, -2, -3], [0, 1, 2]), ("b", "a"))]
)
def test_a_cell_goes_the_way_in_which_it_is_fed(orders: tuple[list[int], list[int]], wanted: tuple[str, str]) -> None:
    layers, cells = _layers(), _cells(*orders)
    one, two = skeleton(layers), skeleton(cells)
    named = {
        (cast(Op, one.ops[i]).name, cast(Op, two.ops[j]).name): same for i, j, same in alike(one, two, (layers, cells))
    }
    ahead, back = wanted
    assert named == {
        ("both/ahead", ahead): True, ("both/ahead", back): False,
        ("both/back", ahead): False, ("both/back", back): True,
    }  # fmt: skip


def test_layers_that_all_go_one_way_are_not_told_apart_by_it() -> None:
    layers, cells = _layers(), _cells([0, 1, 2], [0, 1, 2])
    assert not list(alike(skeleton(layers), skeleton(cells), (layers, cells)))


def test_the_second_bias_of_each_direction_is_named_as_torch_names_it() -> None:
    pair = SimpleNamespace(tensorflow=0, torch=0)
    halves = ["both.bias_ih_l0+both.bias_hh_l0", "both.bias_ih_l0_reverse+both.bias_hh_l0_reverse"]
    links = [SimpleNamespace(tensorflow=str(i), torch=torch, pair=pair) for i, torch in enumerate(halves)]
    findings = [
        SimpleNamespace(tensor=str(i), verdict=SEMANTIC, note=DOUBLED, d64=0.5, message=lambda: "") for i in range(2)
    ]
    models = {side: SimpleNamespace(ops=[SimpleNamespace(index=0, name="both")]) for side in (TENSORFLOW, TORCH)}
    found = step_sources(cast(Any, findings), cast(Any, SimpleNamespace(links=links)), cast(Any, models))
    named = [source.fix.rpartition(": ")[2] for source in found]
    assert named == [f"both.bias_hh_l0{end}.requires_grad_(False)" for end in ("", "_reverse")]
