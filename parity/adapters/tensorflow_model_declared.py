"""What a Keras model says of each layer before it runs: the shapes of its first call, and with what it is called."""

from __future__ import annotations

from typing import Any

Shape = tuple[int, ...]
_BATCH = 2


def declared_shapes(layer: Any) -> tuple[Shape | None, Shape | None]:
    """Return the shapes of a layer's first input and output where its model fixes them, and None elsewhere."""
    return _shape(layer, "input"), _shape(layer, "output")


def declared_arguments(layer: Any) -> dict[str, Any] | None:
    """Return the keyword arguments that a layer's model calls it with; None for a layer that another calls."""
    nodes = getattr(layer, "_inbound_nodes", None) or []
    arguments = getattr(nodes[0], "arguments", None) if nodes else None
    return None if arguments is None else dict(arguments.kwargs)


def _shape(layer: Any, which: str) -> Shape | None:
    try:
        found = getattr(layer, which)
    except (AttributeError, ValueError):  # not called yet, or called several times
        return None
    first = found[0] if isinstance(found, list | tuple) and found else found
    shape = getattr(first, "shape", None)
    if shape is None or any(n is None for n in shape[1:]):
        return None
    return (_BATCH, *(int(n) for n in shape[1:]))
