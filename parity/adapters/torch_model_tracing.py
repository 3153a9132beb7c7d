"""Runs a torch model once and records every function call that its outputs come from."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from parity.adapters.torch_model_calls import Call, Par, Ref, leaves, mapped, named_outputs, tensors
from parity.adapters.torch_model_exact import plain_name, rewrite, widened
from parity.adapters.torch_model_fused import steps_of
from parity.adapters.torch_model_leaves import Packing, is_layered, keep_length, layered, leaf, packing_of
from parity.errors import UsageError
from parity.model.trace import BOTH_WAYS, READS

_INTO_PYTHON = frozenset({"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "is_nonzero"})
_NO_OPERATIONS = frozenset({"requires_grad_", "retain_grad", "detach_", "set_", "share_memory_", "__set__"})
# What these make depends on nothing but the shape of their argument: a constant.
_BY_SHAPE_ONLY = frozenset(
    {f"{how}_like" for how in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")}
    | {f"new_{how}" for how in ("zeros", "ones", "empty", "full", "tensor", "empty_strided")}
    | {"size", "sym_size", "numel", "dim"}
)
STATISTICS = ("running_mean", "running_var")
# What people call these in layers of their own, as Keras does, too.
_NAMES_OF_STATISTICS = (
    frozenset({"running_mean", "moving_mean"}),
    frozenset({"running_var", "running_variance", "moving_var", "moving_variance"}),
)
_CUT_FROM_GRADIENT = frozenset({"detach", "data"})


@dataclass
class Frame:
    """One run of one module's forward: where a call's name comes from."""

    path: str
    module: Any
    names: dict[str, int] = field(default_factory=dict)


@dataclass
class Recording:
    """Everything that one recorded run left."""

    calls: list[Call] = field(default_factory=list)
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    output_names: tuple[str, ...] = ()
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rates: Mapping[int, float] = field(default_factory=dict)
    training: bool = False
    faithful: bool = True  # whether running the calls again gives what the model gives
    cut_short: bool = False  # whether the model raised on its way
    changed: frozenset[str] = frozenset()  # the weights and buffers that one run of the model changes


class Recorder(TorchFunctionMode):
    """Sees every outermost torch function call between `__enter__` and `__exit__`."""

    def __init__(
        self, weights: Mapping[str, Tensor], twin: bool, expand: frozenset[str], training: bool = False
    ) -> None:
        super().__init__()
        self.parameters, self.twin, self.expand, self.training = weights, twin, expand, training
        self.names = {id(tensor): name for name, tensor in weights.items()}
        self.trained = {name for name, tensor in weights.items() if tensor.requires_grad}
        self.statistics = _beside_statistics(weights)
        self.found = Recording()
        self.stack: list[Frame] = [Frame("", None)]
        self.next_id = 0
        self.packing: Packing | None = None  # of what the recurrent module that runs now was given

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        function, args, kwargs = rewrite(func, args, kwargs or {}, self.twin, self.training)
        name = plain_name(function)
        if name == "multi_head_attention_forward" and "attention" in self.expand:
            return self._look_into(function, args, kwargs)
        steps = steps_of(name, kwargs)
        if steps is not None:
            with self:
                return steps(*args, **kwargs)
        if not kwargs and is_layered(name, args):
            with self:  # the cutting and joining of states is seen
                return layered(name, args, self.leaf_forward, self.packing, BOTH_WAYS in self.expand)
        return self.record(function, args, kwargs)

    def leaf_forward(self, function: Any, args: Any, kwargs: Mapping[str, Any], part: int | None = None) -> Any:
        """Record a whole module as one call; its own calls are not seen."""
        with torch._C.DisableTorchFunction():
            return self.record(function, args, dict(kwargs), part)

    def record(self, function: Any, args: Any, kwargs: dict[str, Any], part: int | None = None) -> Any:
        """Run one call and keep it, unless its result depends on neither an input nor a trained weight."""
        name = plain_name(function)
        if name in _NO_OPERATIONS:
            return function(*args, **kwargs)
        place = mutated(name, args, kwargs)
        taken_args, taken_kwargs = mapped(args, self._taken), mapped(kwargs, self._taken)
        given = list(leaves((taken_args, taken_kwargs)))
        depends = any(isinstance(one, Ref) for one in given) or self._trained(args, kwargs)
        result = widened(function(*args, **kwargs), self.twin)
        if not depends or name in _BY_SHAPE_ONLY:
            return result
        made = tensors(result)
        if any(torch._C._functorch.is_functorch_wrapped_tensor(one) for one in made):
            raise UsageError(
                f"the torch model calls `{name}` within torch.func.vmap or another transform there, where single"
                " operations cannot be followed: write it for a whole batch"
            )
        keep_length(name, args, made)
        if name in _INTO_PYTHON:
            self._note(f"`{self.stack[-1].path or 'forward'}` {READS} (`{name}`)")
        if place is not None:
            made = [list(leaves((args, kwargs)))[place]]
        elif not made or self._nothing_new(result, args, name):
            return result
        if place is None and not self._cuts(name, given) and all(self._is_rows(one, given) for one in made):
            return result
        call = Call(
            index=len(self.found.calls), function=function, name=name, args=taken_args, kwargs=taken_kwargs,
            outputs=tuple(self.identify(one) for one in made), path=self.stack[-1].path,
            module=self.stack[-1].module, made_by=self._made_by(function), frame=self.stack[-1],
            mutates=place, grad=torch.is_grad_enabled(),
        )  # fmt: skip
        if part is not None:
            call.config["layer"] = part
        self.found.calls.append(call)
        return result

    def identify(self, tensor: Tensor) -> int:
        """Give a tensor a new id, which it carries itself: nothing here keeps it alive."""
        number, self.next_id = self.next_id, self.next_id + 1
        tensor._parity_id = number
        self.found.shapes[number] = tuple(tensor.shape)
        self.found.dtypes[number] = str(tensor.dtype).removeprefix("torch.")
        return number

    def finish(self, result: Any) -> None:
        """Take a model's return value as the outputs."""
        named = named_outputs(result)
        if not named:
            raise UsageError(
                f"the torch model's forward returned {type(result).__name__} without a tensor in it: it must return one"
            )
        ids = []
        for _, tensor in named:
            if not hasattr(tensor, "_parity_id"):
                self._constant_output(tensor)
            ids.append(tensor._parity_id)
        self.found.outputs, self.found.output_names = tuple(ids), tuple(name for name, _ in named)

    def cut_short(self) -> None:
        """Take what nothing reads yet as the outputs of a model that raised on its way."""
        read = {tensor for call in self.found.calls for tensor in call.inputs}
        made = dict.fromkeys(tensor for call in self.found.calls for tensor in call.outputs)
        self.found.outputs = tuple(tensor for tensor in made if tensor not in read)
        self.found.output_names = tuple(f"output_{number}" for number in range(len(self.found.outputs)))
        self.found.cut_short = True

    def _constant_output(self, tensor: Tensor) -> None:
        taken = self._taken(tensor)
        number = self.identify(tensor)
        self.found.calls.append(
            Call(
                len(self.found.calls), identity, "identity", (taken,), {}, (number,), "", None,
                "a tensor that is no function of the inputs", self.stack[0],
            )
        )  # fmt: skip

    def _taken(self, value: Any) -> Any:
        """Return what stands for an argument; a constant is copied, for a later call may write into it."""
        if not isinstance(value, torch.Tensor):
            return value
        if hasattr(value, "_parity_id"):
            return Ref(value._parity_id, tuple(value.shape))
        if hasattr(value, "_parity_rows"):
            return Par(value._parity_rows, tuple(value.shape))
        name = self.names.get(id(value))
        if name is not None:
            return Par(name, tuple(value.shape)) if value.is_floating_point() else value
        return value.detach().clone()

    def _trained(self, args: Any, kwargs: Any) -> bool:
        for value in leaves((args, kwargs)):
            if hasattr(value, "_parity_rows"):
                return True
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            if isinstance(value, torch.nn.Parameter) and id(value) in self.names:
                return True
            if id(value) in self.statistics:
                return True
        return False

    def _nothing_new(self, result: Any, args: Any, name: str) -> bool:
        same = isinstance(result, torch.Tensor) and any(result is one for one in tensors(args))
        return same and name != "no_dropout"

    def _cuts(self, name: str, given: Sequence[Any]) -> bool:
        """Whether a call cuts a weight off from its gradient; a buffer has none, and its `.data` is the buffer."""
        held = [self.parameters.get(one.name) for one in given if isinstance(one, Par)]
        return name in _CUT_FROM_GRADIENT and (not held or any(isinstance(one, torch.nn.Parameter) for one in held))

    def _is_rows(self, made: Tensor, given: Sequence[Any]) -> bool:
        """Whether a result is nothing but some rows of a weight, or one of several that train: known as that then.

        Torch's own attention cuts what makes queries from what makes keys and values.
        """
        weights = [one for one in given if isinstance(one, Par)]
        if len(weights) != 1 or any(isinstance(one, Ref) for one in given) or "@" in weights[0].reference:
            return False
        whole = self.parameters.get(weights[0].name)
        if whole is None or not whole.dim() or made.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
            return False
        several = weights[0].name in self.trained and len(whole) > 1 < whole.dim()
        one = several and made.shape == whole.shape[1:]
        alike = one or (made.dim() == whole.dim() and made.shape[1:] == whole.shape[1:])
        if not alike or not made.is_contiguous() or not whole.is_contiguous():
            return False
        size = max(1, whole[0].numel())
        low = (made.storage_offset() - whole.storage_offset()) // size
        rows = f"@{low}" if one else "" if made.shape == whole.shape else f"@{low}:{low + made.shape[0]}"
        made._parity_rows = f"{weights[0].name}{rows}"
        return True

    def _made_by(self, function: Any) -> str:
        module = self.stack[-1].module
        if module is not None and not any(True for _ in module.children()):
            kind = type(module)
            return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else str(kind.__qualname__)
        return str(resolve_name(function) or plain_name(function))

    def _note(self, text: str) -> None:
        if text not in self.found.notes:
            self.found.notes.append(text)

    def _look_into(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one of torch's Python functions with its own calls seen."""
        with mock.patch.object(torch.nn.functional, "has_torch_function", return_value=False), self:
            return function(*args, **kwargs)

    @contextmanager
    def watching(self, model: Any, paths: Mapping[int, str]) -> Iterator[None]:
        """Follow which module runs, record the leaf modules as a whole, and leave the model as it was."""
        with ExitStack() as undo:
            undo.enter_context(mock.patch.object(torch.Tensor, "as_subclass", _as_subclass))
            for module in model.modules():
                path = paths[id(module)]
                taken = (
                    None if isinstance(module, torch.jit.ScriptModule) else leaf(module, self.expand, self.leaf_forward)
                )
                if isinstance(module, torch.nn.RNNBase):
                    taken = self._over_sequences(module)
                if taken is not None:
                    undo.enter_context(_replaced(module, taken))
                undo.callback(module.register_forward_pre_hook(self._entering(path), with_kwargs=True).remove)
                undo.callback(module.register_forward_hook(self._leaving, always_call=True).remove)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    undo.callback(parameter.requires_grad_, True)
                    parameter.requires_grad_(False)
            yield

    def _over_sequences(self, module: Any) -> Callable[..., Any]:
        """Return a recurrent module's own forward, while which it is known how its sequences were packed."""
        original = module.forward

        def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
            before, self.packing = self.packing, packing_of(x)
            try:
                return original(x, *args, **kwargs)
            finally:
                self.packing = before

        return forward

    def _entering(self, path: str) -> Callable[..., None]:
        def hook(module: Any, *_: Any) -> None:
            self.stack.append(Frame(path, module))

        return hook

    def _leaving(self, *_: Any) -> None:
        if len(self.stack) > 1:
            self.stack.pop()


def _beside_statistics(weights: Mapping[str, Tensor]) -> frozenset[int]:
    """Return the buffers of modules that keep a running mean and variance: weights, though nobody trains them.

    Other buffers are constants of the code, as are positions and masks.
    """
    owners = [
        {name.rpartition(".")[0] for name in weights if name.rpartition(".")[2] in known}
        for known in _NAMES_OF_STATISTICS
    ]
    inside = set.intersection(*owners)
    return frozenset(
        id(tensor)
        for name, tensor in weights.items()
        if name.rpartition(".")[0] in inside and not isinstance(tensor, torch.nn.Parameter)
    )


_own_as_subclass = Tensor.as_subclass


def _as_subclass(tensor: Tensor, kind: type[Tensor]) -> Tensor:
    """Return a tensor as one of another class, which is known as the same: of this alone no mode is told."""
    made = _own_as_subclass(tensor, kind)
    for name in ("_parity_id", "_parity_rows"):
        if hasattr(tensor, name):
            setattr(made, name, getattr(tensor, name))
    return made


def identity(x: Tensor) -> Tensor:
    """Return the tensor."""
    return x.view_as(x)


@contextmanager
def _replaced(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def mutated(name: str, args: Any, kwargs: Mapping[str, Any]) -> int | None:
    """Return which of the arguments' leaves a call writes into; None for a function in the strict sense."""
    everything = list(leaves((args, kwargs)))
    out = kwargs.get("out")
    if isinstance(out, torch.Tensor):
        return next(i for i, value in enumerate(everything) if value is out)
    writes = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
    writes = writes or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__", "__iter__"))
    writes = writes or kwargs.get("inplace") is True
    if not writes and len(args) > 1 and args[-1] is True:
        writes = _inplace_place(name) == len(args) - 1
    if not writes:
        return None
    return next((i for i, value in enumerate(everything) if isinstance(value, torch.Tensor)), None)


def _inplace_place(name: str) -> int | None:
    """Return where `inplace` stands among the arguments of one of torch's activation functions."""
    code = getattr(getattr(torch.nn.functional, name, None), "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    return names.index("inplace") if "inplace" in names else None


def failing_place(error: BaseException, paths: Mapping[int, str]) -> str:
    """Return the innermost module and the user's line at which a model's forward raised."""
    module, line = "", ""
    for frame, number in traceback.walk_tb(error.__traceback__):
        own = frame.f_locals.get("self")
        if isinstance(own, torch.nn.Module) and id(own) in paths:
            module = paths[id(own)] or "forward"
        file = frame.f_code.co_filename
        if "/torch/" not in file and "/parity/adapters/" not in file and not file.startswith("<"):
            line = f"{file}:{number}"
    return " ".join(part for part in (f"in `{module}`" if module else "", f"({line})" if line else "") if part)
