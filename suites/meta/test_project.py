"""README, CI, tox and the pins say the same thing, and say nothing that is true of one machine only."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parity.judge.verdict import PASSING
from parity.model.spec import example_cnn

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("parity", "suites", "fixtures", ".ci", ".github", "reports/example")
TEXT = frozenset({"", ".py", ".md", ".txt", ".toml", ".ini", ".yml", ".yaml", ".json", ".cfg", ".typed"})
# In pieces, so that this file does not find itself.
INDEX_HOSTS = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "index" + "-url",
    "find" + "-links",
)
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("root", "home", "tmp", "work", "Users", "mnt"))
MAIN_JOB = ".venv/bin/pytest suites/ --benchmark-autosave"


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _commands(script: str) -> list[list[str]]:
    """Return the commands of a shell text as words: lines joined, comments and blank lines left out, `&&` split."""
    joined = re.sub(r"(\\|&&)\s*\n\s*", lambda found: " " if found[1] == "\\" else " && ", script)
    lines = [shlex.split(line, comments=True) for part in joined.splitlines() for line in part.split(" && ")]
    return [words for words in lines if words]


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(parts) == 2 for parts in pinned), "only `name==version` lines are pins"
    return {parts[0]: parts[1] for parts in pinned}


def _project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        project: dict[str, object] = tomllib.load(stream)["project"]
    return project


def _direct() -> list[Requirement]:
    project = _project()
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    listed = [*project["dependencies"], *(entry for group in extras.values() for entry in group)]  # type: ignore[misc]
    return [found for found in map(Requirement, listed) if found.name != "parity"]


def _text_files() -> Iterator[Path]:
    """Return the project's text files, found without git: the tests also run from an unpacked archive."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT and path.name != ".git")
    yield ROOT / "reports" / "README.md"
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts:
                yield path


def _offences(text: str) -> list[str]:
    """Return the lines that name a package index or a path of one machine."""
    paths = "|".join(re.escape(path) for path in MACHINE_PATHS)
    hosts = "|".join(re.escape(host) for host in INDEX_HOSTS)
    return [line.strip() for line in text.splitlines() if re.search(rf"(?<![\w./}}])(?:{paths})|{hosts}", line)]


def test_readme_begins_with_the_two_commands() -> None:
    blocks = _blocks(_readme(), "sh")
    first, second = _commands(blocks[0]), _commands(blocks[1])
    assert first[0] == ["python3", "-m", "venv", ".venv"]
    assert first[-1] == shlex.split(MAIN_JOB)
    assert [words[:4] for words in second] == [[".venv/bin/pytest", "suites/meta", "-n", "auto"]]


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/parity.yml"])
def test_ci_runs_the_readmes_commands(name: str) -> None:
    script = (ROOT / name).read_text(encoding="utf-8")
    wanted = [words for block in _blocks(_readme(), "sh")[:2] for words in _commands(block)]
    lines = [line.strip() for line in script.splitlines()]
    places = [lines.index(shlex.join(words).replace("'", '"')) for words in wanted]
    assert places == sorted(places), "in README's order"


def test_a_command_that_ci_lacks_is_noticed() -> None:
    lines = [line.strip() for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
    changed = _readme().replace("-r constraints.txt", "-r other.txt")
    words = _commands(_blocks(changed, "sh")[0])
    assert [command for command in words if shlex.join(command) not in lines] == [words[2]]


def test_ci_is_strict_and_never_waits_for_input() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\nexec </dev/null\n" in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111 == 0o111
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True, timeout=60)


def test_nothing_names_a_package_index_or_a_path_of_one_machine() -> None:
    files = list(_text_files())
    assert {ROOT / "README.md", ROOT / "constraints.txt", ROOT / ".ci/run", Path(__file__).resolve()} <= set(files)
    found = {
        str(path.relative_to(ROOT)): lines for path in files if (lines := _offences(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        f"cd {MACHINE_PATHS[0]}project",
        f'folder = "{MACHINE_PATHS[2]}x"',
        f"pip install --extra-{INDEX_HOSTS[3]} somewhere torch",
        f"https://{INDEX_HOSTS[0]}/simple",
        f"see https://files.{INDEX_HOSTS[1]}/packages",
    ],
)
def test_an_index_or_a_machine_path_would_be_found(line: str) -> None:
    assert _offences(f"fine\n{line}\nfine") == [line]


@pytest.mark.parametrize("line", ["{env_dir}/tmp/x", "https://example.org/home/page", "suites/tmp/"])
def test_parts_of_other_paths_are_no_machine_paths(line: str) -> None:
    assert _offences(line) == []


def test_pins_satisfy_the_lower_bounds() -> None:
    pins = _pins()
    for wanted in _direct():
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{wanted.name} is not pinned in constraints.txt"
        assert wanted.specifier.contains(pins[name]), f"{name}=={pins[name]} does not satisfy {wanted}"
        assert any(clause.operator == ">=" for clause in wanted.specifier), f"{wanted} has no lower bound"


def test_pins_are_names_and_versions_direct_dependencies_first() -> None:
    pins = _pins()
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in pins)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins.values()), "no local versions such as +cu"
    direct = {canonicalize_name(wanted.name) for wanted in _direct()} | {"keras"}
    names = list(pins)
    assert names == sorted(direct) + sorted(set(names) - direct)


def test_pins_are_complete() -> None:
    """README installs the pins, and then the project without dependencies: one that is missing would stay so."""
    pins, pending, seen = _pins(), [Requirement("parity[dev]")], set()
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        for extra in wanted.extras or {""}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            pending += _needs(name, extra)
    missing = sorted({name for name, _ in seen} - set(pins) - {"parity"})
    assert missing == []
    assert len(seen) > 50  # the walk really followed the packages


def _needs(name: str, extra: str) -> list[Requirement]:
    try:
        listed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []  # not installed here, so it has no say; its own name has been noted
    found = [Requirement(line) for line in listed]
    return [wanted for wanted in found if wanted.marker is None or wanted.marker.evaluate({"extra": extra})]


def test_readmes_python_versions_are_those_of_the_package() -> None:
    assert _project()["requires-python"] == ">=3.11,<3.14"
    assert "Python 3.11 to 3.13" in _readme()


def _tox() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    assert parser.read(ROOT / "tox.ini", encoding="utf-8")
    return parser


def test_tox_has_the_three_environments() -> None:
    tox = _tox()
    assert {"testenv:cpu", "testenv:meta", "testenv:gpu"} <= set(tox.sections())
    assert tox["testenv"]["commands"].startswith("pytest suites/ --benchmark-autosave")
    assert tox["testenv:meta"]["commands"].startswith("pytest suites/meta")


def test_tox_gpu_looks_for_a_device_before_it_installs_anything() -> None:
    gpu = _tox()["testenv:gpu"]
    commands = gpu["commands"].strip().splitlines()
    assert gpu["deps"].strip() == ""
    assert commands[0] == "python -m parity.bench.devices --require"
    assert "pip install" not in gpu.get("commands_pre", "")
    given = " ".join(commands)
    for framework in ("tensorflow", "torch", "onnxruntime"):
        environment = f"{{env_dir}}{{/}}{framework}{{/}}bin{{/}}python"
        assert f"--{framework}-python {environment}" in given
        assert f"uv pip install --quiet --python {environment} -c constraints.txt" in given


WORKFLOW = ROOT / ".github" / "workflows" / "parity.yml"


def _yaml_outline(text: str) -> list[tuple[int, str, str]]:
    """Return (indent, key, value) of each mapping line of a plain block-style YAML text; anything else is refused."""
    rows, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        indent = len(line) - len(line.lstrip(" "))
        if not line.strip() or (block is not None and indent > block) or line.lstrip().startswith("#"):
            continue
        block = None
        found = re.fullmatch(r" *(- )?([\w-]+):(?: (.+))?", line)
        if found is None or "\t" in line or indent % 2:
            raise ValueError(f"line {number} is no `key: value` of a block mapping: {line!r}")
        if found[3] == "|":
            block = indent + (2 if found[1] else 0)
        elif found[3] and ": " in found[3] and found[3][0] not in "'\"":
            raise ValueError(f"line {number} has a second colon: {line!r}")
        rows.append((indent + (2 if found[1] else 0), found[2], found[3] or ""))
    return rows


def test_workflow_is_readable_and_careful() -> None:
    rows = _yaml_outline(WORKFLOW.read_text(encoding="utf-8"))
    top = [key for indent, key, _ in rows if indent == 0]
    assert top == ["name", "on", "permissions", "concurrency", "jobs"]
    start = next(place for place, row in enumerate(rows) if row[1] == "jobs")
    assert [key for indent, key, _ in rows[start:] if indent == 2] == ["cpu", "gpu"]
    assert [row[2] for row in rows if row[1] == "contents"] == ["read"]
    assert sum(row[1] == "timeout-minutes" for row in rows) == 2
    uses = [value for _, key, value in rows if key == "uses"]
    assert uses
    assert all(re.fullmatch(r"actions/[\w/-]+@v\d+", value) for value in uses)


def test_why_nothing_is_compared_gets_into_the_summary_too() -> None:
    """It is said on stderr, and a block of nothing would look like nothing to say."""
    (line,) = (line for line in WORKFLOW.read_text(encoding="utf-8").splitlines() if "parity.bench.regression" in line)
    assert line.endswith("2>&1 || true")


@pytest.mark.parametrize("line", ["\truns-on: x", "   name: x", "just words", "if: a: b"])
def test_a_broken_workflow_would_be_noticed(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        _yaml_outline(f"name: parity\n{line}\n")


def test_every_option_in_readme_exists_and_every_option_is_there() -> None:
    declared = set(re.findall(r'addoption\(\s*"(--[a-z-]+)"', (ROOT / "conftest.py").read_text(encoding="utf-8")))
    declared |= {f"--{name}-python" for name in ("tensorflow", "torch", "onnxruntime")}
    table = re.search(r"^## Options\n(.*?)^## ", _readme(), flags=re.MULTILINE | re.DOTALL)
    assert table is not None
    described = set(re.findall(r"--[a-z][a-z-]*", "".join(re.findall(r"^\|.*$", table[1], flags=re.MULTILINE))))
    assert described == declared


@pytest.mark.whole_run
def test_the_parts_assembled_in_readme_run(tmp_path: Path) -> None:
    """README's Python, word for word, in a folder where nothing of this project lies."""
    (snippet,) = (block for block in _blocks(_readme(), "python") if "from parity.pair" in block)
    assert len(snippet.splitlines()) <= 20
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = [line.split()[:2] for line in done.stdout.splitlines()]
    assert [name for name, _ in printed] == [layer.name for layer in example_cnn().layers]
    assert {verdict for _, verdict in printed} <= PASSING


def test_an_editable_install_is_a_path_that_type_checkers_follow() -> None:
    """What setuptools makes an import hook instead, mypy in a porter's own repository cannot find."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["package-dir"] == {"": "."}
    assert settings["package-data"] == {"parity": ["py.typed"]}
    assert (ROOT / "parity" / "py.typed").is_file()
