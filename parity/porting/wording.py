"""What an unknown source says: what one side has and the other lacks, and how two tables of numbers differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parity.judge.traps.scene import Scene
from parity.model.layout import Array
from parity.model.trace import Op, Trace
from parity.pairing.families import family
from parity.porting import looped, sizes
from parity.porting.indexing import as_python
from parity.porting.sizes import SIDES
from parity.porting.verdict import layer_name, names

Sides = tuple[Op | None, Op | None]  # TensorFlow's, and torch's
_LONG = 8  # numbers of a list that are written out
_TABLE_AXES = 2
_ROWS = 3  # that a table may be shifted by
_SINGLE = 1e-6  # what two tables may be apart of which one was rounded


def configurations(scene: Scene) -> str:
    """Return both operations with their settings and what they read, as a reader compares them."""
    parts = []
    both = (scene.tensorflow, scene.tensorflow_trace), (scene.torch, scene.torch_trace)
    for label, (op, trace) in zip(("TensorFlow", "PyTorch"), both, strict=True):
        if op is not None:
            read = f" of {_read(op, trace)}" if len(set(op.inputs)) > 1 else ""
            parts.append(f"{label} {op.made_by or op.kind}{_settings(op)}{read}")
    return "; ".join(parts)


def _settings(op: Op) -> str:
    if op.kind == "slice" and "text" in op.config:
        return f" of x[{as_python(str(op.config['text']))}]"
    return f"({', '.join(f'{key}={_brief(value)}' for key, value in op.config.items() if key[0] != '_')})"


def _brief(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > _LONG:
        return f"[{', '.join(f'{one}' for one in value[:2])}, ..., {len(value)} in all]"
    return str(value)


def _read(op: Op, trace: Trace) -> str:
    """Return the names of what an operation reads."""
    makers = trace.producers()
    read = [f"`{layer_name(makers[tensor].name)}`" if tensor in makers else "the input" for tensor in op.inputs]
    return " and ".join(dict.fromkeys(read))


def before(ops: Sides, mains: Sides, traces: tuple[Trace, Trace], port: int = 1) -> str:
    """Return the fix where two operations are the same, and what stands before them is not.

    `port` is the side whose code is mended: 1 for torch's, 0 for TensorFlow's.
    """
    original, place = (SIDES[1 - port], _name(mains[port]))
    mine, theirs = ops[1 - port], ops[port]
    if mine is None and theirs is not None:
        if _reads_state(mains[port], theirs):
            read = f"the output of `{_name(theirs)}`, the first of what it returns"
            return f"give `{place}` {read}, as {original} does, and not the state of the cell, the second"
        left = f"leave out `{_name(theirs)}` ({theirs.made_by or theirs.kind}) before `{place}`"
        return f"{left}: {original} has nothing like it there"
    if mine is not None and theirs is None:
        return f"{_lacking(mine, traces[1 - port], original)} before `{place}`"
    reader = names(*(_name(main) for main in mains if main is not None))
    said = [
        f"{side}'s `{_name(op)}` reads {_read(op, trace)}"
        for side, op, trace in zip(SIDES, ops, traces, strict=True)
        if op is not None and len(set(op.inputs)) > 1
    ]
    said = said or [
        f"{side}'s `{_name(op)}` is {op.made_by or op.kind}{_settings(op)}"
        for side, op in zip(SIDES, ops, strict=True)
        if op is not None
    ]
    return f"give {reader} the same input on both sides" + (f": {', '.join(said)}" if said else "")


def elsewhere(
    ops: tuple[Op, Op],
    pairs: Sequence[tuple[int, int]],
    traces: tuple[Trace, Trace],
    partners: Mapping[int, int],
    port: int = 1,
) -> tuple[str, str] | None:
    """Return what is seen of two layers that are the same and read other tensors, and the line that mends the port.

    `pairs` are the tensors that they read, `partners` has torch's operation for that of TensorFlow's by their numbers.
    """
    known = partners if port else {theirs: mine for mine, theirs in partners.items()}
    there = {op.index: op for op in traces[port].ops}
    lines = list[tuple[str, str, str]]()
    for pair in pairs:
        makers = [trace.producers().get(tensor) for trace, tensor in zip(traces, pair, strict=True)]
        original, own = makers[1 - port], makers[port]
        partner = there.get(known.get(original.index, -1)) if original is not None else None
        if original is own is None or (partner is not None and partner is own):
            continue
        wanted = f"what {SIDES[1 - port]}'s `{_name(original)}` makes" if original is not None else "the input"
        line = f"`{_name(partner)}`, the partner of {SIDES[1 - port]}'s `{_name(original)}`" if partner else wanted
        read = [f"`{_name(one)}`" if one is not None else "the input" for one in makers]
        lines.append((read[0], read[1], f"{line}, in place of {read[port]}"))
    if not lines:
        return None
    first, second = (" and ".join(dict.fromkeys(line[side] for line in lines)) for side in (0, 1))
    reader = names(_name(ops[0]), _name(ops[1]))
    evidence = f"{reader} is the same, but reads {first} in TensorFlow and {second} in torch"
    return evidence, f"let `{_name(ops[port])}` read {', and '.join(line[2] for line in lines)}"


def _reads_state(reader: Op | None, cell: Op) -> bool:
    """Return whether an operation reads nothing of an LSTM's cell but the second of what that returns."""
    both = cell.kind == "lstm" and bool(cell.config.get("cell")) and len(cell.outputs) == 2
    return both and reader is not None and set(reader.inputs) & set(cell.outputs) == {cell.outputs[1]}


def _lacking(op: Op, trace: Trace, side: str) -> str:
    """Return what the port has to do to have an operation of the original, too."""
    name, read = f"{side}'s `{_name(op)}`", _read(op, trace)
    if op.kind == "add" and len(set(op.inputs)) > 1:
        return f"add {read}, as {name} does (a residual connection),"
    verb = "normalise" if family(op) == "norm" else "do the same to"
    return f"{verb} {read}, as {name} ({op.made_by or op.kind}) does,"


def _name(op: Op | None) -> str:
    return layer_name(op.name) if op is not None else ""


def told(scene: Scene, port: int = 1) -> tuple[str, str] | None:
    """Return what is seen to differ, and the line that mends the port, where no remedy helps but the sides say it."""
    seen = _outputs(scene, port) or _mask(scene, port) or _tables(scene, port)
    return seen or looped.told(scene, port) or sizes.told(scene, port)


def _outputs(scene: Scene, port: int) -> tuple[str, str] | None:
    """Both models return the same tensors, in another order."""
    if scene.tensorflow is not None or scene.torch is not None:
        return None
    traces = scene.tensorflow_trace, scene.torch_trace
    shapes = [[trace.shapes.get(tensor, ())[1:] for tensor in trace.outputs] for trace in traces]
    sizes = [[tuple(sorted(shape)) for shape in some] for some in shapes]  # an image's channels may stand first
    if sizes[0] == sizes[1] or sorted(sizes[0]) != sorted(sizes[1]):
        return None
    said = [f"{', '.join(map(str, some))} in {side}" for some, side in zip(shapes, SIDES, strict=True)]
    evidence = f"the outputs stand in another order: of a sample {'; '.join(said)}"
    return evidence, f"return {SIDES[port]}'s outputs in the order of {SIDES[1 - port]}'s"


def _mask(scene: Scene, port: int) -> tuple[str, str] | None:
    """TensorFlow's layer reads a mask besides what torch's reads."""
    mine, theirs = scene.tensorflow, scene.torch
    if mine is None or theirs is None or len(mine.inputs) <= len(theirs.inputs):
        return None
    makers = scene.tensorflow_trace.producers()
    masks = [makers[tensor] for tensor in mine.inputs[1:] if tensor in makers and _is_mask(makers[tensor])]
    if not masks or any(_reads_mask(op) for op in scene.torch_ops):
        return None
    name = _name(theirs)
    evidence = f"`{_name(mine)}` of TensorFlow leaves out the steps that a mask hides; torch's reads them all"
    if port == 0:
        return evidence, f"no mask in `{_name(mine)}`, as with mask_zero=False: torch reads every step"
    if family(mine) == "recurrent":
        packed = "nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)"
        return evidence, f"{packed} before `{name}`, and h_n instead of the last step behind it"
    if family(mine) == "pool":
        return evidence, f"(x * mask).sum(1) / mask.sum(1) in place of `{name}`"
    return evidence, f"give `{name}` the mask of the padded steps"


def _is_mask(op: Op) -> bool:
    return op.kind in ("compare", "op:mask") or op.made_by.lower().rpartition(".")[2] in ("notequal", "not_equal")


def _reads_mask(op: Op) -> bool:
    return op.kind in ("compare", "pack") or "mask" in op.kind


def _tables(scene: Scene, port: int) -> tuple[str, str] | None:
    """Two tables of constants, as of positions, that hold other numbers."""
    ops = scene.tensorflow, scene.torch
    held = [
        _table(op, weights) if op is not None else None
        for op, weights in zip(ops, (scene.tensorflow_weights, scene.torch_weights), strict=True)
    ]
    first, second = held[1 - port], held[port]
    if first is None or second is None or first.shape != second.shape or first.ndim < _TABLE_AXES:
        return None
    where = np.unravel_index(int(np.abs(first - second).argmax()), first.shape)
    apart = abs(float(first[where] - second[where]))
    if apart <= _SINGLE:
        return None
    numbers = [f"{table[where]:.4g} in {side}" for table, side in zip(held, SIDES, strict=True) if table is not None]
    evidence = f"their tables differ by up to {apart:.2g}, at {[int(at) for at in where]}: {', '.join(numbers)}"
    place = f"in the table of `{_name(ops[port])}`"
    for how, made, fix in _relations(first, second):
        if np.allclose(made, second, 0.0, _SINGLE):
            return f"{evidence}; {SIDES[port]}'s {how}", f"{fix} {place}"
    return evidence, f"the numbers of {SIDES[1 - port]}'s `{_name(ops[1 - port])}` {place}"


def _table(op: Op, weights: Mapping[str, Array]) -> Array | None:
    if op.kind not in ("add", "multiply", "subtract"):
        return None
    if op.config.get("constant") is not None:
        table = np.asarray(op.config["constant"], np.float64).reshape(op.config.get("constant_shape", -1))
    elif "other" in weights and len(op.inputs) == 1:
        table = np.asarray(weights["other"], np.float64)
    else:
        return None
    return table.reshape([size for size in table.shape if size > 1])


def _relations(first: Array, second: Array) -> list[tuple[str, Array, str]]:
    """Return what ports do to a table: in words, as it is then, and how to undo it."""
    width = first.shape[-1]
    halves = np.concatenate([first[..., 0::2], first[..., 1::2]], -1)
    turns = np.stack([first[..., : width // 2], first[..., width - width // 2 :]], -1).reshape(*first.shape[:-1], -1)
    found = [
        ("has the opposite sign", -first, "the opposite sign"),
        ("has the even columns first and then the odd ones", halves, "even and odd columns in turns"),
        ("has the columns of both halves in turns", turns, "both halves one after the other, not in turns"),
        ("has both halves exchanged", np.roll(first, width // 2, -1), "the other half first"),
    ]
    for rows in range(1, min(_ROWS, len(first) - 1) + 1):
        word = "row" if rows == 1 else "rows"
        found.append(
            (
                f"starts {rows} {word} later",
                np.concatenate([first[rows:], second[-rows:]]),
                f"positions lower by {rows}",
            )
        )
        found.append(
            (
                f"starts {rows} {word} earlier",
                np.concatenate([second[:rows], first[:-rows]]),
                f"positions higher by {rows}",
            )
        )
    return found
