"""A recurrent layer against a cell in a loop of fewer whole steps, as where nobody reads the last output."""

from __future__ import annotations

from parity.judge.traps.scene import Scene
from parity.model.trace import Op, Trace, read_first
from parity.pairing.references import parts
from parity.porting.verdict import layer_name

_OF_TWO_STATES = ("lstm", "conv_lstm")
_SEQUENCE = 3  # axes of a sequence at least


def told(scene: Scene, port: int) -> tuple[str, str] | None:
    """Return what is seen of a layer and a loop of fewer whole steps, and the line that mends the port."""
    ops, traces = (scene.tensorflow, scene.torch), (scene.tensorflow_trace, scene.torch_trace)
    if ops[0] is None or ops[1] is None or ops[0].kind != ops[1].kind:
        return None
    both = ops[0], ops[1]
    cells = [bool(op.config.get("cell")) for op in both]
    if cells[0] == cells[1]:
        return None
    side = cells.index(True)
    cell, layer, segment = both[side], both[1 - side], (scene.tensorflow_ops, scene.torch_ops)[side]
    shape = traces[1 - side].shapes.get(read_first(layer), ())
    made = [op for op in segment if op.kind == cell.kind and dict(op.weights) == dict(cell.weights)]
    if len(shape) < _SEQUENCE or not 0 < len(made) < shape[1]:
        return None
    name, whole = layer_name(cell.name), f"`{layer_name(layer.name)}` makes {shape[1]} steps"
    if cell.kind in _OF_TWO_STATES and len(made) == shape[1] - 1 and _goes_on(cell, made[-1], traces[side]):
        evidence = f"{whole}; of the last one of `{name}` the state c is read, and the output h = o * tanh(c) is not"
        wanted = ("h", "c") if side == port else ("c", "h")
        return evidence, f"hand on {wanted[0]} of the last step of `{layer_name(both[port].name)}`, not {wanted[1]}"
    return f"{whole}, the loop of `{name}` {len(made)}", f"as many steps of `{name}` as of `{layer_name(layer.name)}`"


def _goes_on(cell: Op, last: Op, trace: Trace) -> bool:
    """Return whether something behind the last whole step reads the cell's weights once more."""
    held = _weights(cell)
    return any(op.index > last.index and held & _weights(op) for op in trace.ops)


def _weights(op: Op) -> set[str]:
    return {part.partition("@")[0] for reference in op.weights.values() for part in parts(reference)}
