"""Where a line of Keras's code stands: the operation of its own that a place of torch's corresponds to."""

from __future__ import annotations

from parity.judge.traps.keras_words import is_layer, named, of_layers
from parity.judge.traps.scene import Scene
from parity.model.trace import Op, read_first


def partner(scene: Scene, theirs: Op) -> Op | None:
    """Return TensorFlow's operation that is compared with one of torch's."""
    return next((mine for mine, other in scene.pairs() if other.index == theirs.index), None)


def origin(scene: Scene, theirs: Op) -> Op | None:
    """Return TensorFlow's operation whose result one of torch's reads, maybe through others; None on a model input."""
    ops = {tensor: op for op in scene.torch_ops for tensor in op.outputs}
    tensor = read_first(theirs)
    while tensor in ops and tensor not in scene.fed:
        found = partner(scene, ops[tensor])
        if found is not None:
            return found
        tensor = read_first(ops[tensor])
    return scene.tensorflow_trace.producers().get(scene.counterpart(tensor))


def at(scene: Scene, theirs: Op) -> str | None:
    """Return where, in Keras's code, an operation belongs that only torch has: "after `dense`"."""
    before = origin(scene, theirs)
    readers = scene.tensorflow_trace.consumers()
    if before is not None and len(readers.get(before.outputs[0], ())) <= 1:
        return f"after {named(before)}"
    own = [op for op in scene.tensorflow_ops if before is None or before.outputs[0] in op.inputs]
    if before is None:
        fed = set(scene.fed_tensorflow)
        own = [op for op in own if fed & set(op.inputs)]
    if own:
        return f"before {named(own[0])}"
    return f"after {named(before)}" if before is not None else None


def put(scene: Scene, layer: str | None, text: str | None, where: str | None) -> str | None:
    """Return the line that puts something in at a place: a layer in a model of layers, else code of x."""
    if where is None or (layer is None and text is None):
        return None
    if layer is not None and (text is None or of_layers(scene)):
        return f"{layer} {where}"
    return f"x = {text} {where}"


def instead(scene: Scene, layer: str | None, text: str | None, mine: Op) -> str | None:
    """Return the line that writes something in the place of an operation: a layer for a layer, code of x for code."""
    if layer is not None and (is_layer(mine) or text is None or (of_layers(scene) and "/" in mine.name)):
        return f"{layer} in place of {named(mine)}"
    return None if text is None else f"x = {text} in place of {named(mine)}"
