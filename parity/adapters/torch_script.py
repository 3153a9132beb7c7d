"""A TorchScript archive as a module whose operations can be seen: its graph, run node by node by torch's functions.

A compiled module runs where no torch function mode looks. Its graph names every operation, so that an interpreter in
Python does the same in the open, with the archive's own weights under their own names.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from parity.errors import UsageError


class Part(nn.Module):
    """A place in the archive's tree of modules: holds its weights, and runs calls under its name."""

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one call."""
        return function(*args)


class ScriptedGraph(nn.Module):
    """A TorchScript module, interpreted."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.__dict__["script"] = script
        _take_weights(self, script)
        self.training = bool(script.training) if hasattr(script, "training") else False

    def forward(self, *inputs: Any) -> Any:
        """Run the archive's graph."""
        graph, self.__dict__["owners"] = self.__dict__["script"].inlined_graph, self._owners()
        given = list(graph.inputs())
        known: dict[str, Any] = {given[0].debugName(): ("", self.__dict__["script"])}
        if len(inputs) > len(given) - 1:
            raise TypeError(f"forward takes {len(given) - 1} inputs, but {len(inputs)} were given")
        for value, one in zip(given[1:], inputs, strict=False):
            known[value.debugName()] = one
        for value in given[1 + len(inputs) :]:
            known[value.debugName()] = None
        found = self._run(graph, known)
        return found[0] if len(found) == 1 else tuple(found)

    def _run(self, block: Any, known: dict[str, Any]) -> list[Any]:
        for node in block.nodes():
            results = self._node(node, known)
            for value, result in zip(node.outputs(), results, strict=True):
                known[value.debugName()] = result
        return [known[value.debugName()] for value in block.outputs()]

    def _node(self, node: Any, known: dict[str, Any]) -> list[Any]:
        kind = node.kind()
        if kind == "prim::Constant":
            return [self._constant(node)]
        given = [known[value.debugName()] for value in node.inputs()]
        if kind.startswith("aten::"):
            return self._operation(node, given)
        special = _SPECIAL.get(kind)
        if special is not None:
            return special(node, given)
        if kind == "prim::GetAttr":
            return [self._attribute(given[0], node.s("name"))]
        if kind == "prim::If":
            first, second = node.blocks()
            return self._run(first if given[0] else second, known)
        if kind == "prim::Loop":
            return self._loop(node, given, known)
        raise UsageError(f"the TorchScript archive uses `{kind}`, which cannot be followed: name a builder instead")

    def _attribute(self, owner: Any, name: str) -> Any:
        path, script = owner
        if name == "training":
            return self.training
        full = f"{path}.{name}" if path else name
        found = getattr(script, name)
        if isinstance(found, torch.Tensor):
            return _of_path(self, full)
        if isinstance(found, list) and found and all(isinstance(one, torch.Tensor) for one in found):
            # A recurrent layer's list of its own weights.
            paths = {p.data_ptr(): n for n, p in script.named_parameters()}
            return [_of_path(self, ".".join(part for part in (path, paths[one.data_ptr()]) if part)) for one in found]
        return (full, found) if isinstance(found, torch.jit.ScriptModule) else found

    def _constant(self, node: Any) -> Any:
        value = next(iter(node.outputs()))
        found = value.toIValue()
        name = _frozen_name(value)
        return _of_path(self, name) if _is_weight(found) else found

    def _operation(self, node: Any, given: list[Any]) -> list[Any]:
        python = _PYTHON.get(node.kind().removeprefix("aten::"))
        if python is not None and not any(isinstance(value, torch.Tensor) for value in given):
            return [python(*given)][: len(list(node.outputs()))]
        if node.kind() in ("aten::__is__", "aten::__isnot__"):
            return [(given[0] is given[1]) == (node.kind() == "aten::__is__")]
        if node.kind() in ("aten::append", "aten::__getitem__") and isinstance(given[0], (list, tuple, dict)):
            return [python(*given)][: len(list(node.outputs()))] if python is not None else []
        operation = _overload(node)
        names = [argument.name for argument in operation._schema.arguments]
        given = [
            _DTYPES[value] if isinstance(value, int) and "ScalarType" in str(argument.type) else value
            for value, argument in zip(given, operation._schema.arguments, strict=False)
        ]
        keywords = [argument.kwarg_only for argument in operation._schema.arguments]
        args = [value for value, only in zip(given, keywords, strict=False) if not only]
        kwargs = {
            name: value for name, value, only in zip(names, given, keywords, strict=False) if only and value is not None
        }

        def call(*positional: Any) -> Any:
            return operation(*positional, **kwargs)

        place = self._place(given)
        result = call(*args) if place is None else place(call, *args)
        many = len(list(node.outputs()))
        return [result] if many == 1 else ([] if many == 0 else list(result))

    def _place(self, given: list[Any]) -> Any:
        """Return the part that owns the first weight among a call's arguments."""
        owners: Mapping[int, Any] = self.__dict__["owners"]
        for value in given:
            if isinstance(value, torch.Tensor) and id(value) in owners:
                return owners[id(value)]
        return None

    def _owners(self) -> Mapping[int, Any]:
        found: dict[int, Any] = {}
        for part in self.modules():
            if isinstance(part, Part):
                found |= {id(one): part for one in (*part._parameters.values(), *part._buffers.values())}
        return found

    def _loop(self, node: Any, given: list[Any], known: dict[str, Any]) -> list[Any]:
        limit, go, carried = given[0], given[1], given[2:]
        body = next(iter(node.blocks()))
        names = [value.debugName() for value in body.inputs()]
        count = 0
        while go and count < limit:
            known |= dict(zip(names, [count, *carried], strict=True))
            go, *carried = self._run(body, known)
            count += 1
        return list(carried)


# TorchScript's numbers of dtypes. Source: c10/core/ScalarType.h.
_DTYPES: Mapping[int, Any] = {
    0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.int64, 5: torch.float16, 6: torch.float32,
    7: torch.float64, 9: torch.complex64, 10: torch.complex128, 11: torch.bool, 15: torch.bfloat16,
}  # fmt: skip


def _overload(node: Any) -> Any:
    """Return the operator that a node names, such as `aten.conv2d.default`."""
    text = node.schema()
    name, _, _ = text.partition("(")
    base, _, overload = name.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, base), overload or "default")


def _of_path(root: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    module: Any = root.get_submodule(owner) if owner else root
    return getattr(module, name)


def _take_weights(root: nn.Module, script: Any) -> None:
    """Give the tree of modules the archive's parameters and buffers, under the same names."""
    taken: dict[int, nn.Parameter] = {}
    for path, parameter in script.named_parameters(remove_duplicate=False):
        key = parameter.data_ptr() if parameter.numel() else id(parameter)
        shared = taken.setdefault(key, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))
        _owner(root, path).register_parameter(path.rpartition(".")[2], shared)
    for path, buffer in script.named_buffers():
        _owner(root, path).register_buffer(path.rpartition(".")[2], buffer.detach().clone())
    for value in _constants(script.inlined_graph):
        found = value.toIValue()
        if _is_weight(found):
            name = _frozen_name(value)
            _owner(root, name).register_parameter(name.rpartition(".")[2], nn.Parameter(found.detach().clone()))


def _owner(root: nn.Module, path: str) -> nn.Module:
    module = root
    for name in path.split(".")[:-1]:
        if name not in module._modules:
            module.add_module(name, Part())
        module = module._modules[name]
    return module


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0


def _frozen_name(value: Any) -> str:
    """Return the name of a weight that freezing has made a constant of the graph."""
    return str(value.debugName()).removeprefix("self.")


def _constants(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        if node.kind() == "prim::Constant":
            yield next(iter(node.outputs()))
        for inner in node.blocks():
            yield from _constants(inner)


def _raise(node: Any, given: list[Any]) -> list[Any]:  # noqa: ARG001
    raise ValueError(str(given[0]) if given else "the archive raised an exception")


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


# What TorchScript does with lists, numbers and texts; its operators take no lists of any type from Python.
_PYTHON: Mapping[str, Callable[..., Any]] = {
    "len": len,
    "append": _append,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__not__": operator.not_,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "gt": operator.gt,
    "le": operator.le,
    "ge": operator.ge,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    "neg": operator.neg,
    "floor": math.floor,
    "ceil": math.ceil,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "format": lambda text, *values: text.format(*values),
    "warn": lambda *_: None,
    "list": list,
    "slice": lambda items, start=None, end=None, step=1: items[slice(start, end, step)],
}

_SPECIAL: Mapping[str, Callable[[Any, list[Any]], list[Any]]] = {
    "prim::RaiseException": _raise,
    "prim::ListConstruct": lambda _, given: [list(given)],
    "prim::TupleConstruct": lambda _, given: [tuple(given)],
    "prim::ListUnpack": lambda _, given: list(given[0]),
    "prim::TupleUnpack": lambda _, given: list(given[0]),
    "prim::TupleIndex": lambda _, given: [given[0][given[1]]],
    "prim::DictConstruct": lambda _, given: [dict(zip(given[::2], given[1::2], strict=True))],
    "prim::NumToTensor": lambda _, given: [torch.tensor(given[0])],
    "prim::unchecked_cast": lambda _, given: [given[0]],
    "prim::dtype": lambda _, given: [given[0].dtype],
    "prim::device": lambda _, given: [given[0].device],
    "prim::is_cuda": lambda _, given: [given[0].is_cuda],
    "prim::min": lambda _, given: [min(*given) if len(given) > 1 else min(given[0])],
    "prim::max": lambda _, given: [max(*given) if len(given) > 1 else max(given[0])],
    "prim::Uninitialized": lambda _, __: [None],
    "prim::data": lambda _, given: [given[0].data],
}
