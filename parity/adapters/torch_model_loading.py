"""Gets a user's torch model: from a builder, or from a file that holds a whole one."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import pickle
import random
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from parity.adapters.base import said, staying
from parity.errors import UsageError

MODEL_FILES = (".pth", ".pt", ".pt2", ".onnx", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def load(source: str, seed: int, notes: list[str]) -> Any:
    """Return the module that `source` names: `file.py:function`, `package.module:function`, or a model file."""
    with importable(str(Path.cwd())), contextlib.redirect_stdout(sys.stderr), staying():
        if Path(source).suffix in MODEL_FILES and ":" not in Path(source).name:
            made = _from_file(Path(source))
        else:
            made = _built(builder(source), source, seed)
    model = unwrapped(made, source, notes)
    _let_train(model)
    return model


def _let_train(model: nn.Module) -> None:
    """Put weights of the usual kind in the place of those that were made in inference mode, which nobody may change."""
    new: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None and not is_lazy(tensor) and tensor.is_inference():
                    made = new.setdefault(id(tensor), tensor.clone())
                    held[name] = nn.Parameter(made, tensor.requires_grad) if held is module._parameters else made


@contextlib.contextmanager
def importable(folder: str) -> Iterator[None]:
    """Let a folder's modules be imported; it stays, for a model may import only when it runs."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    yield


# Builders.


def builder(source: str) -> Callable[..., Any]:
    """Return the function that a source names.

    Raises:
        UsageError: the file, module or function is not there, or importing it raises.
    """
    place, colon, name = source.rpartition(":")
    if Path(source).suffix == ".safetensors":
        raise UsageError(
            f"{source} holds weights without a model: name a builder and give the file with --torch-weights"
        )
    if not colon or not place or not name:
        raise UsageError(
            f"`{source}` names no torch model: give path/file.py:function, package.module:function, or a file that ends"
            f" in {', '.join(MODEL_FILES)}"
        )
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module_of_name(place)
    found = getattr(module, name, None)
    if found is None:
        offered = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, offered, n=3) or offered[:5]
        hint = f"; there is {', '.join(f'`{one}`' for one in near)}" if near else ""
        raise UsageError(f"{place} has no function `{name}`{hint}")
    if isinstance(found, nn.Module):
        return lambda: found
    if not callable(found):
        raise UsageError(f"`{name}` in {place} is of type {type(found).__name__}, not a function that returns a model")
    return found  # type: ignore[no-any-return]


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}, which should hold the torch model's builder")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem if _is_free(path) else f"parity_builder_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickles and dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        raise UsageError(f"importing {path} raised {told(error, str(path))}") from error
    return module


def _is_free(path: Path) -> bool:
    """Whether a builder's file can keep its own name as a module, which it has where it is imported by others."""
    known = sys.modules.get(path.stem)
    if known is not None:
        return Path(getattr(known, "__file__", None) or "/").resolve() == path.resolve()
    try:
        found = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        return True
    return found is None or Path(found.origin or "/").resolve() == path.resolve()


def _module_of_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no Python module `{name}` to import the torch model's builder from") from error
        raise UsageError(f"importing {name} raised {told(error)}") from error
    except BaseException as error:
        raise UsageError(f"importing {name} raised {told(error)}") from error


def _built(function: Callable[..., Any], source: str, seed: int) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        wanted = str(inspect.signature(function))
        raise UsageError(
            f"the torch builder {source} needs arguments {wanted}: wrap it in a function that takes none"
        ) from error
    except ValueError:
        pass
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        return function()
    except BaseException as error:
        raise UsageError(f"the torch builder {source} raised {told(error, source.rpartition(':')[0])}") from error


def told(error: BaseException, near: str = "") -> str:
    """Return an exception as one line: its type, its message, and the place in the user's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if near and Path(f.filename).name == Path(near).name]
    foreign = [f for f in frames if "/parity/" not in f.filename and not f.filename.startswith("<")]
    place = next(iter([*reversed(own), *reversed(foreign)]), None)
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    where = f" ({place.filename}:{place.lineno})" if place is not None else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def first_line(error: BaseException) -> str:
    """Return an exception's message as one line of bounded length."""
    text = " ".join(said(error).split()) or "(no message)"
    return text if len(text) <= 400 else f"{text[:400]} ..."


# Model files.


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no torch model file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if path.suffix == ".pt2":
        return _exported(path)
    if path.suffix == ".onnx":
        from parity.adapters.torch_onnx import OnnxModule

        return OnnxModule.from_file(path)
    if _is_torchscript(path):
        from parity.adapters.torch_script import ScriptedGraph

        return ScriptedGraph(_script(path))
    try:
        # A whole module is code: the user named this very file as his model.
        return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise UsageError(
            f"{path} holds a whole pickled module whose class cannot be found ({first_line(error)}): run this where its"
            " code can be imported, or name a builder and give a state dict with --torch-weights"
        ) from error
    except Exception as error:
        raise UsageError(f"{path} is no torch file that can be read: {told(error)}") from error


def _is_torchscript(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") or "/code/" in name for name in archive.namelist())


def _script(path: Path) -> Any:
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise UsageError(f"{path} is no TorchScript archive that this torch can read: {first_line(error)}") from error


def _program(path: Path) -> Any:
    try:
        return torch.export.load(str(path))
    except Exception as error:
        raise UsageError(f"{path} is no exported program that this torch can read: {first_line(error)}") from error


def _exported(path: Path) -> Any:
    program = _program(path)
    try:
        return torch.export.unflatten(program)  # with the modules' own names
    except Exception:
        return program.module()


def unwrapped(made: Any, source: str, notes: list[str]) -> Any:
    """Return the module inside what a builder or file gave.

    Raises:
        UsageError: it is no module; the message says what it is.
    """
    if isinstance(made, type) and issubclass(made, nn.Module):
        raise UsageError(f"{source} gave the class {made.__name__} itself, not a model: return {made.__name__}(...)")
    if isinstance(made, Mapping):
        raise UsageError(
            f"{source} holds {'a state dict' if _is_state(made) else 'a dict'}, weights without a model: name a builder"
            " and give the file with --torch-weights"
        )
    if not isinstance(made, nn.Module):
        inner = (
            [i for i, one in enumerate(made) if isinstance(one, nn.Module)] if isinstance(made, (tuple, list)) else []
        )
        hint = f"; element {inner[0]} of it is one: return that" if inner else ""
        raise UsageError(f"{source} returned {_what(made)}, not a torch.nn.Module{hint}")
    if isinstance(made, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        notes.append(f"the model is wrapped in {type(made).__name__}: what is inside is compared")
        made = made.module
    compiled = getattr(made, "_orig_mod", None)
    return compiled if isinstance(compiled, nn.Module) else made


def _what(made: Any) -> str:
    module = type(made).__module__
    return "None" if made is None else f"a {type(made).__name__}" + (f" of {module}" if module != "builtins" else "")


def _is_state(made: Mapping[Any, Any]) -> bool:
    return any(isinstance(value, torch.Tensor) for value in made.values()) or any(key in made for key in _WRAPPERS)


# Weights.


def load_weights(model: Any, path: Path, notes: list[str]) -> None:
    """Load a state dict strictly.

    Raises:
        UsageError: no such file, no state dict in it, or names or shapes that do not fit.
    """
    state = _state_of(path, notes)
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            notes.append(f"the names in {path.name} start with `{prefix}`, which was left out")
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    own = model.state_dict()
    counters = {key for key in {*own, *state} if key.endswith("num_batches_tracked")}
    missing = [key for key in own if key not in state and key not in counters]
    unknown = [key for key in state if key not in own and key not in counters]
    shapes = [
        f"`{key}` has shape {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and key not in counters and not _lazy(own[key]) and own[key].shape != state[key].shape
    ]
    if missing or unknown or shapes:
        parts = [_listed("missing", missing), _listed("unknown", unknown), "; ".join(shapes[:5])]
        raise UsageError(f"the weights in {path} do not fit the torch model: {'; '.join(p for p in parts if p)}")
    model.load_state_dict(state, strict=False)


def _lazy(value: Any) -> bool:
    return isinstance(value, nn.parameter.UninitializedTensorMixin)


def _listed(word: str, names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{word} {', '.join(f'`{name}`' for name in names[:5])}{more}" if names else ""


def _state_of(path: Path, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(str(path)))
        except (SafetensorError, OSError) as error:
            raise UsageError(f"{path} is no safetensors file: {first_line(error)}") from error
    if path.suffix == ".pt2":
        return dict(_program(path).state_dict)
    if path.suffix not in (".pth", ".pt", ".bin", ".ckpt"):
        raise UsageError(f"torch cannot read weights from {path}: use .pth, .pt, .pt2 or .safetensors")
    if _is_torchscript(path):
        return dict(_script(path).state_dict())
    try:
        # weights_only: a state dict is data, and loading one must not run code that a stranger put into it.
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds more than weights (a whole pickled module?), which is not loaded as weights: save"
            " model.state_dict() instead"
        ) from error
    except Exception as error:
        raise UsageError(f"{path} is no torch file that can be read: {told(error)}") from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            notes.append(f"{path.name} holds a checkpoint: the weights under `{key}` were taken")
            found = found[key]
            break
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UsageError(f"{path} holds {_what(found)}, not a state dict: save model.state_dict()")
    return dict(found)
