"""Adapters: the only modules that import a framework; each is loaded inside a worker, never in the parent."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.errors import MissingFramework, UsageError

REGISTRY = {
    "tensorflow": "parity.adapters.tensorflow:TensorflowAdapter",
    "torch": "parity.adapters.torch:TorchAdapter",
    "onnxruntime": "parity.adapters.onnxruntime:OnnxruntimeAdapter",
    "keras-torch": "parity.adapters.kerastorch:KerasTorchAdapter",
}


def load(framework: str) -> type[Any]:
    """Import and return the adapter class of a framework.

    `framework` is a name of `REGISTRY`, or `path/file.py:Class` for one that lives elsewhere.

    Raises:
        UsageError: no such name, file or class.
        MissingFramework: the adapter's framework cannot be imported by this interpreter.
    """
    place, _, class_name = REGISTRY.get(framework, framework).rpartition(":")
    if not place:
        known = ", ".join(sorted(REGISTRY))
        raise UsageError(f"unknown framework {framework!r}: one of {known}, or path/file.py:Class")
    with framework_imports(framework):
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise UsageError(f"{place} has no adapter class {class_name!r}")
    return found


@contextmanager
def framework_imports(framework: str) -> Iterator[None]:
    """Turn an import that fails in the block into one line naming the interpreter and the package.

    Raises:
        MissingFramework: a package other than this one cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or framework).partition(".")[0]
        if package == __name__.partition(".")[0]:
            raise  # our own mistake, not a missing package
        raise MissingFramework(
            f"{sys.executable} cannot import {package}, which the {framework} adapter needs ({error}): "
            "install it there, or name an interpreter that has it"
        ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no adapter file {path}")
    spec = importlib.util.spec_from_file_location(f"parity_adapter_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
