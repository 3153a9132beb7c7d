"""Find a user's builder or model file and get the model out of it; whatever is wrong becomes one clear line."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.abc
import importlib.util
import inspect
import linecache
import os
import re
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.adapters.base import is_own, said, staying
from parity.adapters.tensorflow_model_names import is_keras_layer
from parity.errors import UsageError

FILES = (".keras", ".h5", ".hdf5", ".onnx")
OTHERS = {".pth": "torch", ".pt": "torch", ".pt2": "torch", ".safetensors": "weights"}


# What is said of a file that has no architecture in it.
ALONE = "weights without a model: name a builder and give the file with --tensorflow-weights"

LEGACY = "TF_USE_LEGACY_KERAS"  # what TensorFlow reads when `tf.keras` is first used
OF_KERAS_2 = r"\b(tf\.keras|tensorflow\.keras|tf_keras|tensorflow\.python\.keras)\b"
_NUMBERS = re.compile(r"\[\[[-+\d.,\sefain\[\]]*\]\]")  # a whole tensor within a message


def first_line(error: BaseException) -> str:
    """Return an exception's text in one line, without Keras's list of what a call was given."""
    plain = _NUMBERS.sub("[...]", said(error)).partition("Arguments received by ")[0]
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    text = " ".join(lines[:3]) if lines else "(no message)"
    return text if len(text) <= 400 else text[:396] + " ..."


def place_of(error: BaseException, file: str | None = None) -> str:
    """Return file:line of the user's own code where an exception came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(frame.filename) and (file is None or frame.filename == file)]
    own = own or [frame for frame in frames if is_own(frame.filename)]
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}:{error.lineno})"
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _keras_2(error: BaseException) -> str:
    """Return a hint where Keras 3 refused what code that speaks of `tf.keras` or `tf_keras` gave it."""
    files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    by_keras = isinstance(error, ImportError) or "keras.src." in said(error) or any("/keras/src/" in f for f in files)
    of_words = isinstance(error, (ImportError, AttributeError, TypeError, ValueError))  # not memory that ran short
    if not (by_keras and of_words) or os.environ.get(LEGACY, "").lower() in ("1", "true"):
        return ""
    own = [file for file in files if not re.search(r"/(keras|tf_keras|tensorflow)/", file)]
    said_so = any(re.search(OF_KERAS_2, "".join(linecache.getlines(file))) for file in own)
    return f"; {LEGACY}=1 makes tf.keras Keras 2 (tf_keras), if that is what this was written for" if said_so else ""


@contextlib.contextmanager
def to_stderr() -> Iterator[None]:
    """Send what somebody's code prints to stderr, and come back from wherever it goes."""
    with contextlib.redirect_stdout(sys.stderr), staying():
        yield


def importable(*folders: Path) -> None:
    """Let modules be found in these folders."""
    for folder in folders:
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def is_model_file(source: str) -> bool:
    """Tell whether a source names a model file or a SavedModel folder, not a builder."""
    path = Path(source)
    return path.suffix.lower() in FILES or (path.is_dir() and (path / "saved_model.pb").is_file())


@contextlib.contextmanager
def on_import(name: str, then: Callable[[], None]) -> Iterator[None]:
    """Call a function as soon as a module has been imported, wherever in somebody's code that is."""
    finder = _Awaited(name, then)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Awaited(importlib.abc.MetaPathFinder):
    """Lets the others find modules, and has something done behind the one that is waited for."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            run(module)
            self._then()

        spec.loader.exec_module = run_and_tell  # type: ignore[method-assign]  # this module's own loader
        return spec


def find_builder(source: str) -> tuple[Any, str | None]:
    """Return the function that a source names, and the file that it is in.

    Raises
        UsageError: it names nothing that can be called without arguments.
    """
    place, _, name = source.rpartition(":")
    suffix = Path(source).suffix.lower()
    if suffix == ".safetensors" and not place:
        raise UsageError(f"{source}: {ALONE}")
    if suffix in OTHERS and not place:
        raise UsageError(
            f"{source}: TensorFlow cannot read {suffix} files; give a builder, .keras, .h5, .onnx or a SavedModel"
        )
    if not place or not name:
        hint = f"; did you mean `{source}:build`?" if source.endswith(".py") else ""
        raise UsageError(
            f"`{source}` names no builder: write path/file.py:function, package.module:function, or a .keras, .h5,"
            f" .onnx or SavedModel{hint}"
        )
    importable(Path.cwd())
    file = str(Path(place).absolute()) if place.endswith(".py") else None
    module = _import_file(source, Path(place)) if file else _import_module(source, place)
    return _function(source, module, name), file or getattr(module, "__file__", None)


def _import_file(source: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{source}: there is no file {path}")
    path = path.absolute()
    importable(path.parent)
    name = path.stem if path.stem not in sys.modules else f"parity_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{source}: {path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with to_stderr():
            spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        what = f"{type(error).__name__}: {first_line(error)}{place_of(error, str(path))}{_keras_2(error)}"
        raise UsageError(f"{source}: importing the file raised {what}") from error
    return module


def _import_module(source: str, name: str) -> ModuleType:
    try:
        with to_stderr():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"{source}: there is no module `{error.name}`; it is looked for in the present folder and the worker's"
                " environment"
            ) from error
        raise UsageError(f"{source}: importing {name} needs `{error.name}`, which is not installed") from error
    except BaseException as error:
        raise UsageError(
            f"{source}: importing {name} raised {type(error).__name__}: {first_line(error)}{place_of(error)}"
            f"{_keras_2(error)}"
        ) from error


def _function(source: str, module: ModuleType, name: str) -> Any:
    function: Any = module
    for part in name.split("."):
        function = getattr(function, part, None)
    if function is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        own = [key for key in public if getattr(vars(module)[key], "__module__", None) == module.__name__] or public
        near = difflib.get_close_matches(name, own, n=3) or own[:5]
        hint = f"; it has {', '.join(f'`{key}`' for key in near)}" if near else "; it defines no function"
        raise UsageError(f"{source}: {source.rpartition(chr(58))[0]} has no `{name}`{hint}")
    if not callable(function):
        raise UsageError(
            f"{source}: `{name}` is of type {type(function).__name__}, not a function that returns a model"
        )
    needed = _needed(function)
    if needed:
        raise UsageError(
            f"{source}: `{name}` needs arguments ({', '.join(needed)}), but a builder is called without any: give them"
            " defaults, or wrap it in a function that takes none"
        )
    return function


def _needed(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    empty, variable = inspect.Parameter.empty, (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is empty and p.kind not in variable]


def call_builder(source: str, function: Any, file: str | None) -> Any:
    """Call a builder and return what it returned."""
    try:
        with to_stderr():
            return function()
    except BaseException as error:
        raise UsageError(
            f"{source}: the builder raised {type(error).__name__}: {first_line(error)}{place_of(error, file)}"
            f"{_keras_2(error)}"
        ) from error


def checked_model(source: str, model: Any, tf: Any) -> str:
    """Return the framework of a model.

    Raises
        UsageError: it is no model.
    """
    if inspect.isclass(model):
        raise UsageError(f"{source}: the builder returned the class {model.__name__}, not a model made of it: call it")
    if is_keras_layer(model):
        kinds = {kind.__module__.split(".")[0] for kind in type(model).__mro__ if kind.__name__ == "Layer"}
        return "tf_keras" if "tf_keras" in kinds else "keras"
    trackable = hasattr(model, "_trackable_children") and not hasattr(model, "assign")
    if (isinstance(model, tf.Module) or trackable) and entry_point(model) is not None:
        return "tf.Module"
    if isinstance(model, tf.Module):
        raise UsageError(f"{source}: {type(model).__name__} is a tf.Module without `__call__`, `call` or `predict`")
    what = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
    hint = ""
    if any(kind.__module__.startswith("torch.") for kind in type(model).__mro__):
        hint = "; that is a PyTorch model: the TensorFlow builder comes first"
    elif model is None:
        what, hint = "None", "; is there a `return`?"
    elif isinstance(model, tuple | list | dict):
        hint = "; return the model alone"
    raise UsageError(f"{source}: the builder returned {what}, not a keras.Model, a tf_keras.Model or a tf.Module{hint}")


def entry_point(model: Any) -> Any:
    """Return what runs a model that is no Keras layer."""
    for name in ("__call__", "call", "predict"):
        if name == "__call__" and callable(model):
            return model
        found = getattr(model, name, None)  # not of its class alone: any class can be called
        if callable(found):
            return found
    signatures = getattr(model, "signatures", None) or {}
    return signatures.get("serving_default") if hasattr(signatures, "get") else None


def read_model_file(source: str, keras: Any, tf: Any) -> tuple[Any, list[str]]:
    """Return the model of a file, and notes on how it was read."""
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{source}: there is no such file")
    importable(Path.cwd(), path.absolute().parent)
    with to_stderr():
        if path.is_dir():
            return _read_folder(source, tf)
        if source.endswith(".weights.h5"):
            raise UsageError(f"{source}: {ALONE}")
        if path.suffix.lower() == ".onnx":
            from parity.adapters.tensorflow_onnx import OnnxModel

            return OnnxModel.from_file(path), []
        try:
            return keras.models.load_model(source, compile=False, safe_mode=False), []
        except Exception as error:
            if "No model config found" in str(error):  # an .h5 file of weights, by Keras 2 or 3
                raise UsageError(f"{source}: {ALONE}") from error
            if path.suffix.lower() == ".keras":  # Keras says of a file that is no archive that there is none
                why = first_line(error) if zipfile.is_zipfile(path) else "it is no zip archive, as .keras files are"
                unknown = re.match(r"Could not locate (class|function) '[^']+'", why)
                if unknown:
                    why = f"{unknown[0]}, code of its author's own: name a builder and give the file with"
                    why += " --tensorflow-weights"
                raise UsageError(f"{source}: Keras cannot read it: {why}") from error
            return _read_legacy(source, error)


def _read_legacy(source: str, error: Exception) -> tuple[Any, list[str]]:
    try:
        legacy = importlib.import_module("tf_keras")
        return legacy.models.load_model(source, compile=False), [f"{source} was read by Keras 2 (tf_keras)"]
    except ImportError:
        raise UsageError(
            f"{source}: Keras 3 cannot read it ({first_line(error)}); `pip install tf_keras` reads files of Keras 2"
        ) from error
    except Exception as second:
        raise UsageError(
            f"{source}: neither Keras 3 ({first_line(error)}) nor Keras 2 ({first_line(second)}) can read it"
        ) from second


def _read_folder(source: str, tf: Any) -> tuple[Any, list[str]]:
    notes = []
    if (Path(source) / "keras_metadata.pb").is_file():
        try:
            return importlib.import_module("tf_keras").models.load_model(source, compile=False), []
        except Exception as error:
            notes.append(f"tf_keras could not read {source} ({first_line(error)}); its graph is looked at instead")
    try:
        loaded = tf.saved_model.load(source)
    except Exception as error:
        raise UsageError(f"{source}: no SavedModel that TensorFlow can read: {first_line(error)}") from error
    return loaded, notes


def looked_into(source: str, model: Any) -> tuple[Any, list[str]]:
    """Return a loaded SavedModel as one whose operations can be watched, and notes on it; any other model as it is."""
    if is_keras_layer(model) or not any(kind.__name__ == "_UserObject" for kind in type(model).__mro__):
        return model, []
    from parity.adapters.tensorflow_model_graphs import GraphModel

    note = f"{source} is a graph without layers: it is told by its operations, and holds its constants in float32"
    return GraphModel(model, source), [note]


def read_weights(model: Any, path: str, keras: Any, tf: Any) -> dict[str, Any] | None:
    """Load a weights file into a model, or return its arrays by name where it names them as a trace does."""
    if not (Path(path).exists() or Path(f"{path}.index").exists()):
        raise UsageError(f"{path}: there is no such weights file")
    if path.endswith(".safetensors"):
        from safetensors.numpy import load_file

        return dict(load_file(path))
    if path.endswith(".keras") and not zipfile.is_zipfile(path):
        raise UsageError(f"{path} cannot be read: it is no zip archive, as .keras files are")
    try:
        with to_stderr():
            if path.endswith(".keras"):
                _take_over(model, path, keras)
            elif Path(f"{path}.index").exists() and _is_double(model, tf):
                _restore_doubles(model, path, tf)
            else:
                _restore(model, path, tf)
    except Exception as error:
        raise UsageError(f"{path}: these weights do not fit the model: {first_line(error)}") from error
    return None


def _take_over(model: Any, path: str, keras: Any) -> None:
    """Give a model the weights of a saved one, which may be of a class that Keras was not told of."""
    try:
        saved = keras.models.load_model(path, compile=False)
    except (TypeError, ValueError):
        model.load_weights(path)
    else:
        model.set_weights(saved.get_weights())


def _is_double(model: Any, tf: Any) -> bool:
    return any(one.dtype == tf.float64 for one in getattr(model, "variables", ()))


def _restore(model: Any, path: str, tf: Any) -> None:
    """Load a checkpoint of TensorFlow's own kind as its framework does."""
    if is_keras_layer(model) and hasattr(model, "load_weights"):
        model.load_weights(path)
    else:
        tf.train.Checkpoint(model=model).restore(path).expect_partial()


def _singles(model: Any, path: str, tf: Any) -> set[str]:
    """Return the names of what a module would keep in float32: its own code may make some weights in that."""
    tf.train.Checkpoint(model=model).write(path)
    dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    return {name for name, dtype in dtypes.items() if dtype == tf.float32}


def _restore_doubles(model: Any, path: str, tf: Any) -> None:
    """Load a checkpoint into a twin: by way of a second one in float64, for nothing is converted as it is restored."""
    reader = tf.train.load_checkpoint(path)
    names = list(reader.get_variable_to_shape_map())
    held = [tf.constant(reader.get_tensor(name)) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        singles = set() if is_keras_layer(model) else _singles(model, str(Path(folder) / "own"), tf)
        floats = {name: tf.float32 if name in singles else tf.float64 for name in names}
        doubles = [
            tf.raw_ops.Cast(x=one, DstT=floats[name]) if one.dtype in (tf.float32, tf.float64) else one
            for name, one in zip(names, held, strict=True)
        ]
        second = str(Path(folder) / "doubles")
        tf.raw_ops.SaveV2(prefix=second, tensor_names=names, shape_and_slices=[""] * len(names), tensors=doubles)
        _restore(model, second, tf)
