"""Names of a model's layers and weights, as its user knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from parity.adapters.tensorflow_model_tensors import Place, variable_of

_SKIPPED = frozenset(
    {
        "_self_setattr_tracking",
        "optimizer",
        "_optimizer",
        "loss",
        "_metrics",
        "_inbound_nodes",
        "_loaded",
        "_function",
        "_captures",
        "_given",
    }
)


def plain_variable(variable: Any) -> Any:
    """Return the `tf.Variable` behind a Keras variable, or the variable itself."""
    for inner in ("_value", "_variable"):  # Keras 3; Keras 2 under mixed precision
        held = getattr(variable, inner, None)
        if held is not None and hasattr(held, "handle"):
            return held
    return variable


def is_keras_layer(thing: Any) -> bool:
    """Tell whether this is a layer of Keras 3 or of Keras 2."""
    return any(
        kind.__name__ == "Layer" and kind.__module__.split(".")[0] in ("keras", "tf_keras")
        for kind in type(thing).__mro__
    )


def is_variable(thing: Any) -> bool:
    """Tell whether this is a variable of TensorFlow or of Keras."""
    return hasattr(thing, "assign") and hasattr(thing, "shape") and hasattr(thing, "trainable")


def sublayers(layer: Any) -> list[Any]:
    """Return the layers that a layer holds itself, in the order of definition."""
    found = list(layer.layers) if hasattr(layer, "layers") and isinstance(layer.layers, list | tuple) else []
    if hasattr(layer, "_flatten_layers"):
        found += list(layer._flatten_layers(include_self=False, recursive=False))
    graph = getattr(layer, "_functional", None)  # a Sequential's own machinery
    return list({id(one): one for one in found if one is not graph and is_keras_layer(one)}.values())


class Names:
    """The path of every layer and the name of every weight of one model; `refresh` finds what was built meanwhile."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.paths: dict[int, str] = {}
        self.weights: dict[str, Any] = {}  # name -> variable as its owner holds it
        self._names: dict[int, str] = {}  # id of a tf.Variable -> its name
        self._taken: set[str] = set()
        self._alive: list[Any] = []  # ids are only good while their objects live
        self.layers: list[Any] = []
        self.refresh()

    def refresh(self) -> None:
        """Walk the model and name every layer and weight that has no name yet."""
        self._walked: set[int] = set()
        self._visit(self.root, "")

    def path(self, layer: Any, parent: str) -> str:
        """Return a layer's path; one that the walk did not find is named after where it is first called."""
        if id(layer) not in self.paths:
            name = str(getattr(layer, "name", type(layer).__name__))
            self._visit(layer, f"{parent}/{name}" if parent else name)
        return self.paths[id(layer)]

    def of(self, variable: Any) -> str | None:
        """Return a weight's name, or what refers to a place of it; None for one that is no weight, such as a seed."""
        name = self._names.get(id(plain_variable(variable_of(variable))))
        return f"{name}@{variable.index}" if name is not None and isinstance(variable, Place) else name

    def by_handle(self) -> dict[int, Any]:
        """Return every variable of the model by the id of its handle."""
        return {
            plain.handle._id: plain
            for plain in (plain_variable(variable) for variable in [*self.weights.values(), *self.others])
            if hasattr(plain, "handle") and hasattr(plain.handle, "_id")
        }

    @property
    def others(self) -> list[Any]:
        """Return variables that are no weights, of whole numbers mostly."""
        return [thing for thing in self._alive if is_variable(thing)]

    def _visit(self, thing: Any, path: str) -> None:
        if is_keras_layer(thing):
            self._layer(thing, path)
        else:
            self._module(thing, path)

    def _layer(self, layer: Any, path: str) -> None:
        if id(layer) in self._walked:
            return
        self._walked.add(id(layer))
        if id(layer) not in self.paths:
            path = self._unique(path) if path else ""
            self.paths[id(layer)] = path
            self._alive.append(layer)
            self.layers.append(layer)
        path = self.paths[id(layer)]
        for name, variable in _own_variables(layer):
            self._weight(f"{path}/{name}" if path else name, variable)
        for inner in sublayers(layer):
            self._layer(inner, f"{path}/{inner.name}" if path else str(inner.name))
        for name, held in list(vars(layer).items()):
            if _is_module(held) and not is_keras_layer(held) and name not in _SKIPPED:
                self._module(held, f"{path}/{name}" if path else name)

    def _module(self, module: Any, path: str) -> None:
        if id(module) in self._walked:
            return
        self._walked.add(id(module))
        self.paths.setdefault(id(module), path)
        for name, held in _children(module):
            inner = f"{path}.{name}" if path else name
            if is_variable(held):
                self._weight(inner, held)
            elif is_keras_layer(held):
                self._layer(held, inner)
            elif _is_module(held) or isinstance(held, list | tuple | Mapping):
                self._module(held, inner)

    def _weight(self, name: str, variable: Any) -> None:
        plain = plain_variable(variable)
        if id(plain) in self._names or any(plain is other for other in self._alive):
            return
        if not hasattr(plain, "dtype") or not _is_float(plain.dtype):
            self._alive.append(plain)
            return
        name = self._unique(name)
        self.weights[name], self._names[id(plain)] = variable, name

    def _unique(self, name: str) -> str:
        found, number = name, 1
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._taken.add(found)
        return found


def _is_float(dtype: Any) -> bool:
    return "float" in str(getattr(dtype, "name", dtype))


def _is_module(thing: Any) -> bool:
    return hasattr(thing, "_trackable_children") and hasattr(thing, "__dict__") and not is_variable(thing)


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(module, Mapping):
        yield from ((str(key), item) for key, item in module.items())
    elif isinstance(module, list | tuple):
        yield from ((str(index), item) for index, item in enumerate(module))
    else:
        for name, held in list(vars(module).items()):
            if name not in _SKIPPED and not name.startswith(("_self_", "_tf_", "_checkpoint")):
                yield name, held


def _own_variables(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, variable) of what a layer holds itself; metrics, seeds and resolved numbers are left out."""
    if type(layer).__name__ == "Normalization":  # its numbers are configuration
        return
    attributes = {id(held): name for name, held in vars(layer).items() if is_variable(held)}
    seen: set[int] = set()
    lists = ("_trainable_variables", "_non_trainable_variables", "_trainable_weights", "_non_trainable_weights")
    for variable in (v for name in lists for v in getattr(layer, "__dict__", {}).get(name, None) or ()):
        if id(variable) not in seen:
            seen.add(id(variable))
            given = str(variable.name).split("/")[-1].split(":")[0]
            invented = given.lower().startswith("variable")
            yield (attributes.get(id(variable), given).lstrip("_") if invented else given), variable
    for name, held in list(vars(layer).items()):  # a tf.Variable that Keras 3 does not follow
        if is_variable(held) and id(held) not in seen and hasattr(plain_variable(held), "handle"):
            seen.add(id(held))
            yield name.lstrip("_"), held
