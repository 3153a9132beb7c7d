"""Functions with a gradient of their own (`torch.autograd.Function`), as a run in training sees them."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import _get_current_function_mode

from parity.adapters.torch_model_calls import Par, leaves
from parity.adapters.torch_model_tracing import Recorder

_Function: Any = torch.autograd.Function
_KNOWN = "_parity_sees_own_gradients"


def see_own_gradients() -> None:
    """Let recorders know of such functions: from now on, for a user may keep `Function.apply` under another name."""
    original = _Function.__dict__["apply"]
    if hasattr(getattr(original, "__func__", original), _KNOWN):  # a class method has not its function's attributes
        return

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        own, recorder = original.__get__(None, cls), _get_current_function_mode()
        if not isinstance(recorder, Recorder) or not recorder.training:
            return own(*args, **kwargs)

        def function(*args: Any, **kwargs: Any) -> Any:
            return own(*args, **kwargs)

        function.__name__ = function.__qualname__ = cls.__name__
        return _as_one(recorder, function, args, kwargs)

    setattr(apply, _KNOWN, True)
    _Function.apply = classmethod(apply)


def _as_one(recorder: Recorder, function: Any, args: Any, kwargs: Any) -> Any:
    """Record one call, which has its own gradient; what uses weights is seen by its calls, with the gradients of these.

    Torch runs such a function without gradients. That a weight's own one is another shows in the step of the whole.
    """
    calls = recorder.found.calls
    start = len(calls)
    result = function(*args, **kwargs)
    if any(isinstance(one, Par) for call in calls[start:] for one in leaves((call.args, call.kwargs))):
        for call in calls[start:]:
            call.grad = True
        return result
    del calls[start:]
    return recorder.leaf_forward(function, args, kwargs)
