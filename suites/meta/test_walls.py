"""The walls of the house: who may import whom, and no framework in the process that runs pytest."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "parity"

FRAMEWORKS: Mapping[str, frozenset[str]] = {
    "parity.adapters.tensorflow": frozenset({"tensorflow", "keras", "tf_keras", "tf2onnx"}),
    "parity.adapters.torch": frozenset({"torch", "torchvision", "triton", "onnx"}),
    "parity.adapters.onnxruntime": frozenset({"onnx", "onnxruntime"}),
    "parity.adapters.kerastorch": frozenset({"keras", "torch"}),
    "parity.adapters.onnx_graph": frozenset({"onnx"}),
}
ALL_FRAMEWORKS = frozenset().union(*FRAMEWORKS.values())
NEVER_IN_PARENT = ("torch", "torchvision", "triton", "tensorflow", "keras", "onnxruntime")

# One adapter may be many files: `torch_layers` belongs to `torch`, in the same room.
FAMILY = re.compile(r"^(parity\.adapters\.(?:tensorflow|torch|onnx_graph))_\w+")
_ADAPTER = (
    "parity.errors",
    "parity.model",
    "parity.pairing",
    "parity.adapters.base",
    "parity.adapters.ceilings",
    "parity.adapters.practice",
    "parity.adapters.onnx_graph",
    "parity.optimizers",
)

_PARENT_SIDE = ("parity.workers.client", "parity.workers.process", "parity.workers.wire")
_BELOW_WORK = ("parity.errors", "parity.model", "parity.data", "parity.stats", "parity.workers.client")

# Each room, and what it may import of this package beside itself. The longest name that fits decides.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "parity.errors": (),
    "parity.model": ("parity.errors",),
    "parity.judge": ("parity.errors", "parity.model"),
    "parity.pairing": ("parity.errors", "parity.model"),
    "parity.data": ("parity.errors",),
    "parity.stats": ("parity.errors",),
    "parity.adapters": ("parity.errors", "parity.model", "parity.pairing"),
    "parity.adapters.keras_layers": ("parity.errors", "parity.model"),
    "parity.adapters.keras_fit": ("parity.errors",),
    "parity.adapters.onnx_graph": ("parity.errors",),
    "parity.adapters.tensorflow": (*_ADAPTER, "parity.adapters.keras_layers", "parity.adapters.keras_fit"),
    "parity.adapters.torch": _ADAPTER,
    "parity.adapters.onnxruntime": ("parity.errors", "parity.model", "parity.pairing", "parity.adapters.base"),
    "parity.adapters.kerastorch": (
        "parity.errors",
        "parity.model",
        "parity.adapters.base",
        "parity.adapters.keras_layers",
        "parity.adapters.keras_fit",
    ),
    "parity.workers": ("parity.errors", "parity.model", *_PARENT_SIDE),
    "parity.workers.client": ("parity.errors", "parity.model", *_PARENT_SIDE),
    "parity.workers.process": ("parity.errors", "parity.model", *_PARENT_SIDE),
    "parity.workers.wire": ("parity.errors", "parity.model"),
    "parity.workers.worker": ("parity.errors", "parity.adapters", "parity.data", "parity.workers"),
    "parity.workers.jobs": ("parity.errors", "parity.data", "parity.workers.jobs_memory"),
    "parity.workers.jobs_memory": ("parity.errors",),
    "parity.trials": ("parity.judge", "parity.pairing", "parity.pair", "parity.optimizers", *_BELOW_WORK),
    # What lies between the four workers of a check and its answer.
    "parity.porting": ("parity.judge", "parity.pairing", "parity.errors", "parity.model", "parity.workers.client"),
    "parity.bench": _BELOW_WORK,
    "parity.study": _BELOW_WORK,
    "parity.report": ("parity.errors", "parity.stats"),
}
# Above the rooms: these may open any room, and one another, but not what runs in the child.
CHILD_SIDE = ("parity.adapters", "parity.workers.worker", "parity.workers.jobs", "parity.workers.jobs_memory")
MAY_KNOW_PYTEST = ("parity.plugin", "parity.cli", "parity.optimizers")
# The one page that tells the story must not depend on the faces that call it.
FACES = ("parity.cli", "parity.__main__", "parity.plugin")


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, is_package: bool = False) -> set[str]:
    """Return the dotted names that a module's source imports, wherever it does so; relative ones made absolute."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, module, is_package)
            found |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _name_of(node.func) in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return found


def faults(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what is wrong with a module's imports, one line each; empty where the walls stand."""
    found = imports(source, module, is_package)
    return sorted(
        [
            *(f"{module} imports {name}" for name in found if _inside(name, ["parity"]) and not _allowed(module, name)),
            *(
                f"{module} imports the framework {name}"
                for name in found
                if name.partition(".")[0] in ALL_FRAMEWORKS - FRAMEWORKS.get(family(module), frozenset())
                and not _lazily_in_optimizers(source, module, name)
            ),
            *(
                f"{module} imports {name}, and only the faces know pytest"
                for name in found
                if name.partition(".")[0] in ("pytest", "_pytest", "pytest_benchmark") and module not in MAY_KNOW_PYTEST
            ),
        ]
    )


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _inside(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def family(name: str) -> str:
    """Return a dotted name with the files of one framework's adapter taken together."""
    return FAMILY.sub(r"\1", name)


def _room(module: str) -> str | None:
    module = family(module)
    return max((room for room in ROOMS if _inside(module, [room])), key=len, default=None)


def _allowed(module: str, name: str) -> bool:
    room, name = _room(module), family(name)
    if room is None:
        return not _inside(name, CHILD_SIDE) and (module in FACES or not _inside(name, FACES))
    own = _inside(name, [room]) and _room(name) == room  # not a narrower room, such as one framework's adapter
    return own or (_inside(name, ROOMS[room]) and not _private_to_child(module, name))


def _private_to_child(module: str, name: str) -> bool:
    return _inside(name, ["parity.workers.worker"]) or (
        _inside(name, ["parity.workers.jobs"]) and module != "parity.workers.worker"
    )


def _lazily_in_optimizers(source: str, module: str, name: str) -> bool:
    """Whether a framework is imported by the one public face that may, inside a function or for type checkers only."""
    if module != "parity.optimizers":
        return False
    return name not in imports(ast.unparse(_RunsLate().visit(ast.parse(source))), module)


class _RunsLate(ast.NodeTransformer):
    """Removes what does not run when a module is imported: bodies of functions, and what is for type checkers only."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    def visit_If(self, node: ast.If) -> ast.AST:
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return ast.copy_location(ast.Pass(), node) if typing else self.generic_visit(node)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_module_keeps_the_walls(module: str) -> None:
    path = MODULES[module]
    assert faults(path.read_text(), module, path.name == "__init__.py") == []


def test_all_rooms_were_looked_at() -> None:
    present = {_room(module) for module in MODULES}
    assert set(ROOMS) <= present
    above = {module for module in MODULES if _room(module) is None}
    assert {"parity", "parity.pair", "parity.port", "parity.exchange", "parity.cli", "parity.plugin"} <= above
    # What stands above the rooms is a single file each; a new folder is a new room, and belongs into the table.
    assert {module for module in above if module.count(".") > 1 or MODULES[module].parent != PACKAGE} == set()


def test_no_suite_imports_a_framework() -> None:
    # The ports are somebody's models, and run inside workers only.
    suites = [path for path in (REPOSITORY / "suites").rglob("*.py") if path.parent.name != "ports"]
    paths = [*suites, *REPOSITORY.glob("*.py"), *(REPOSITORY / "fixtures").glob("*.py")]
    assert len(paths) > 5
    for path in paths:
        found = {name.partition(".")[0] for name in imports(path.read_text(), path.stem)}
        assert found.isdisjoint(NEVER_IN_PARENT), path.name


def loaded_after_importing(modules: list[str], looked_for: tuple[str, ...]) -> list[str]:
    """Return which modules of the packages `looked_for` a fresh interpreter holds after importing `modules`."""
    script = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        f"found = sorted(name for name in sys.modules if name.partition('.')[0] in {looked_for!r})\n"
        "print(json.dumps(found))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_importing_the_package_imports_no_framework() -> None:
    modules = [name for name in MODULES if not name.startswith("parity.adapters.")]
    assert loaded_after_importing(modules, NEVER_IN_PARENT) == []


def test_a_loaded_framework_would_be_seen() -> None:
    assert "safetensors.numpy" in loaded_after_importing(["parity.workers.wire"], ("safetensors", "torch"))


# The checker itself, given sources that break a wall.

BROKEN = [
    ("parity.errors", "import parity.model", "parity.errors imports parity.model"),
    ("parity.model.spec", "from parity.judge.bound import gamma", "parity.model.spec imports parity.judge.bound.gamma"),
    ("parity.judge.compare", "from parity import stats", "parity.judge.compare imports parity.stats"),
    ("parity.judge.compare", "from ..pairing import graph", "parity.judge.compare imports parity.pairing.graph"),
    ("parity.pairing.graph", "def f():\n    from parity.judge import bound", "imports parity.judge.bound"),
    ("parity.data.images", "from parity.model import spec", "parity.data.images imports parity.model.spec"),
    ("parity.stats", "from parity.report import read", "parity.stats imports parity.report.read"),
    ("parity.report.text", "from parity.judge.verdict import ROUNDING", "parity.report.text imports parity.judge"),
    ("parity.report.text", "from parity import __version__", "parity.report.text imports parity.__version__"),
    ("parity.adapters.torch", "from parity.adapters.tensorflow import OPSET", "imports parity.adapters.tensorflow"),
    ("parity.adapters.torch", "from . import onnxruntime", "imports parity.adapters.onnxruntime"),
    ("parity.adapters.base", "from parity.adapters import torch", "imports parity.adapters.torch"),
    ("parity.adapters.torch", "from parity.judge.compare import judge", "imports parity.judge.compare.judge"),
    ("parity.adapters.torch", "import tensorflow as tf", "imports the framework tensorflow"),
    ("parity.adapters.torch_layers", "import keras", "parity.adapters.torch_layers imports the framework keras"),
    ("parity.adapters.torch_layers", "from parity.adapters.tensorflow_network import X", "tensorflow_network.X"),
    ("parity.adapters.keras_layers", "import keras", "parity.adapters.keras_layers imports the framework keras"),
    ("parity.trials.zoo", "from parity.report import record", "parity.trials.zoo imports parity.report.record"),
    ("parity.adapters.base", "import torch", "parity.adapters.base imports the framework torch"),
    ("parity.pair", "def f():\n    import torch.nn", "parity.pair imports the framework torch.nn"),
    ("parity.pair", "from parity.adapters.torch import TorchAdapter", "imports parity.adapters.torch"),
    ("parity.pair", "from parity.cli import main", "parity.pair imports parity.cli.main"),
    ("parity.pair", "import pytest", "parity.pair imports pytest, and only the faces know pytest"),
    ("parity.bench.run", "from pytest_benchmark import fixture", "only the faces know pytest"),
    ("parity.bench.run", "from parity.pair import Pair", "parity.bench.run imports parity.pair.Pair"),
    ("parity.bench.run", "from parity.study import metrics", "parity.bench.run imports parity.study.metrics"),
    ("parity.study.training", "from parity.workers import wire", "parity.study.training imports parity.workers.wire"),
    ("parity.workers.client", "from parity.workers import worker", "imports parity.workers.worker"),
    ("parity.workers.client", "from parity.adapters import load", "parity.workers.client imports parity.adapters.load"),
    ("parity.workers.worker", "from parity.judge import bound", "parity.workers.worker imports parity.judge.bound"),
    ("parity.cli", "importlib.import_module('onnxruntime')", "parity.cli imports the framework onnxruntime"),
    ("parity.optimizers", "import torch", "parity.optimizers imports the framework torch"),
]


@pytest.mark.parametrize(("module", "source", "said"), BROKEN, ids=[f"{m}:{s[-30:]}" for m, s, _ in BROKEN])
def test_a_broken_wall_is_reported(module: str, source: str, said: str) -> None:
    found = faults(source, module)
    assert len(found) == 1
    assert said in found[0]


STANDING = [
    ("parity.judge.compare", "from parity.judge.bound import gamma\nfrom .verdict import Finding\nimport numpy"),
    (
        "parity.adapters.torch",
        "import torch\nfrom parity.adapters.base import Adapter\nfrom parity.pairing import graph",
    ),
    ("parity.adapters.torch_layers", "import torch\nfrom parity.adapters.torch_rounding import track"),
    ("parity.adapters.tensorflow_network", "from parity.adapters import keras_layers"),
    ("parity.workers.worker", "from parity.workers.jobs import JOBS\nfrom parity import adapters"),
    ("parity.workers.client", "from parity import errors\nfrom parity.workers import wire"),
    ("parity.exchange", "from parity.pair import Pair\nfrom parity.workers.client import Worker"),
    ("parity.plugin", "import pytest\nfrom parity.pair import Pair"),
    ("parity.optimizers", "def adam():\n    import torch\n    return torch"),
    ("parity.stats", "from parityland import judge  # another package whose name begins alike"),
]


@pytest.mark.parametrize(("module", "source"), STANDING, ids=[module for module, _ in STANDING])
def test_an_open_door_is_no_fault(module: str, source: str) -> None:
    assert faults(source, module) == []


def test_a_package_resolves_its_relative_imports() -> None:
    assert imports("from .judge import x\nfrom . import stats", "parity", is_package=True) == {
        "parity.judge.x",
        "parity.stats",
    }
    assert imports("from .. import stats", "parity.judge.bound") == {"parity.stats"}


def _parts_of(adapter: str) -> dict[str, dict[str, str]]:
    """Return what each part of a framework's adapter defines; an adapter inherits from all its parts."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((PACKAGE / "adapters").glob(f"{adapter}*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name.lower().startswith(adapter):
                methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
                found[node.name] = {m.name: ast.dump(m) for m in methods if not _is_open(m)}
    return found


def _is_open(method: ast.FunctionDef) -> bool:
    """Whether a method only says what another part defines."""
    last = method.body[-1]
    return isinstance(last, ast.Raise) or (isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant))


def _hidden(parts: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    owners: dict[str, dict[str, str]] = {}
    for part, methods in parts.items():
        for name, text in methods.items():
            if not (name.startswith("__") or text in owners.get(name, {}).values()):
                owners.setdefault(name, {})[part] = text
    return {name: sorted(some) for name, some in owners.items() if len(some) > 1}


@pytest.mark.parametrize("adapter", ["tensorflow", "torch"])
def test_no_part_of_an_adapter_hides_a_method_of_another(adapter: str) -> None:
    parts = _parts_of(adapter)
    assert len(parts) > 5
    assert _hidden(parts) == {}


def test_a_hidden_method_is_noticed() -> None:
    assert _hidden({"A": {"_traced": "one", "_own": "x"}, "B": {"_traced": "two"}}) == {"_traced": ["A", "B"]}
    assert _hidden({"A": {"_traced": "one", "__init__": "x"}, "B": {"_traced": "one", "__init__": "y"}}) == {}
