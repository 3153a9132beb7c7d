"""What the recorder keeps of each function call, so that it can be described and run again on other numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from parity.errors import UsageError


@dataclass(frozen=True)
class Ref:
    """In a recorded argument: the tensor of this id."""

    tensor: int
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Par:
    """In a recorded argument: a weight by its reference (`name` or `name@lo:hi`)."""

    reference: str
    shape: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The weight's own name."""
        return self.reference.partition("@")[0]


@dataclass
class Call:
    """One recorded call; `mutates` is the place (among the arguments' leaves) of a tensor that it writes into."""

    index: int
    function: Callable[..., Any]
    name: str  # the function's plain name: `conv2d`, `add`
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[int, ...]
    path: str
    module: Any
    made_by: str
    frame: Any = None
    mutates: int | None = None
    grad: bool = True  # false inside the model's own `torch.no_grad()`
    kind: str = ""
    title: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    made: int | None = None  # the tensor that it reads as its kernel, made of weights
    hidden: bool = False  # it makes a layer's kernel out of weights: the layer holds these, and the trace leaves it out

    @property
    def inputs(self) -> tuple[int, ...]:
        """The ids of the tensors among the arguments, in order."""
        return tuple(leaf.tensor for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Ref))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the weights among the arguments."""
        found = (leaf.name for leaf in leaves((self.args, self.kwargs)) if isinstance(leaf, Par))
        return tuple(dict.fromkeys(found))


def leaves(thing: Any) -> Iterator[Any]:
    """Yield everything inside tuples, lists and dicts, in order."""
    if isinstance(thing, (tuple, list)):
        for item in thing:
            yield from leaves(item)
    elif isinstance(thing, Mapping):
        for item in thing.values():
            yield from leaves(item)
    else:
        yield thing


def tensors(thing: Any) -> list[Tensor]:
    """Return the tensors inside tuples, lists and dicts, in order."""
    return [leaf for leaf in leaves(thing) if isinstance(leaf, torch.Tensor)]


def mapped(thing: Any, change: Callable[[Any], Any]) -> Any:
    """Return the same structure with every leaf changed; named tuples stay what they are."""
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*(mapped(item, change) for item in thing))
    if isinstance(thing, torch.Size):
        return thing
    if isinstance(thing, (tuple, list)):
        made = [mapped(item, change) for item in thing]
        return tuple(made) if isinstance(thing, tuple) else made
    if isinstance(thing, Mapping):
        return {key: mapped(item, change) for key, item in thing.items()}
    return change(thing)


def named_outputs(result: Any, name: str = "output") -> list[tuple[str, Tensor]]:
    """Return the tensors of what a model returned, with names such as `output[0]` or `output['logits']`."""
    if isinstance(result, torch.Tensor):
        if result.layout != torch.strided:
            raise UsageError(f"the torch model returns a sparse tensor (`{name}`): return `.to_dense()` of it")
        return [(name, result)]
    if isinstance(result, Mapping):
        return [found for key, item in result.items() for found in named_outputs(item, f"{name}[{key!r}]")]
    if isinstance(result, (tuple, list)):
        return [found for i, item in enumerate(result) for found in named_outputs(item, f"{name}[{i}]")]
    if is_dataclass(result) and not isinstance(result, type):
        given = [(part.name, getattr(result, part.name)) for part in fields(result)]
        return [found for key, item in given for found in named_outputs(item, f"{name}[{key!r}]")]
    return []
