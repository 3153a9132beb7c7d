"""The pytest plugin for a porter's own repository: the `parity_check` fixture, the `parity` marker, and a few options.

Installing the package is enough. Nothing heavy is imported before a test asks for the fixture.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.porting.sides import Workers
    from parity.porting.verdict import Verdict

MARKER = "parity"
JSON_DIR, TIMEOUT = "--parity-json", "--parity-timeout"
PYTHONS = {"tensorflow_python": "--parity-tensorflow-python", "torch_python": "--parity-torch-python"}
# What the marker and the fixture may be told beside builders and inputs; the names are those of `parity.check`.
OPTIONS = frozenset(
    {
        "torch_layout", "weights", "by_hand", "train", "batch", "seed", "dump", "repro", "tensorflow_python",
        "torch_python", "tensorflow_weights", "torch_weights", "device", "threads", "timeout_s",
    }
)  # fmt: skip
OF_WORKERS = ("tensorflow_python", "torch_python", "device", "threads", "timeout_s")
WORKERS = pytest.StashKey["dict[tuple[Any, ...], Workers]"]()
VERDICTS = pytest.StashKey["list[tuple[str, Verdict]]"]()


class ParityFailure(AssertionError):
    """Two models that a test calls the same are not; the message is what `parity check` prints."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, in a group of their own."""
    group = parser.getgroup("parity-check", "TensorFlow and PyTorch ports (parity_check)")
    group.addoption(JSON_DIR, metavar="DIR", default=None, help="write each check's verdict there as JSON")
    group.addoption(
        TIMEOUT, metavar="SECONDS", type=_seconds, default=3600.0, help="limit of one request (default: %(default)s)"
    )
    for name, option in PYTHONS.items():
        framework = name.partition("_")[0]
        group.addoption(option, metavar="PATH", default=None, help=f"interpreter of the {framework} workers")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"{MARKER}(**options): defaults of parity_check in this test, such as weights='as-is' or train=True"
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the workers that checks have shared."""
    for workers in config.stash.get(WORKERS, {}).values():
        workers.close()


@pytest.fixture
def parity_check(request: pytest.FixtureRequest) -> Iterator[Callable[..., Verdict]]:
    """Check that two models are the same function: `parity_check(tf_builder, torch_builder, inputs=["224x224x3"])`.

    Returns the verdict. Raises `ParityFailure` (an AssertionError) with the sources, causes and fixes if the models
    differ or could not be compared; with `expect="different"` if they do not differ. Bad input raises
    `parity.errors.ParityError`.
    """
    run = Checks(request)
    yield run
    if not run.called:
        request.node.warn(pytest.PytestWarning("parity_check was asked for and never called"))


class Checks:
    """What the fixture gives: a callable that checks one pair, and keeps workers for the next."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.request, self.count, self.called = request, 0, False
        self.defaults = _marked(request.node)

    def __call__(
        self, tensorflow: str, torch: str, inputs: Any = (), *, expect: str = "same", **options: Any
    ) -> Verdict:
        """Check one pair; see the fixture."""
        __tracebackhide__ = True
        from parity.errors import ParityError, UsageError
        from parity.port import check
        from parity.porting.verdict import no_verdict

        self.called = True
        _known(options, "parity_check")
        if expect not in ("same", "different"):
            raise UsageError(f"expect (={expect!r}) must be 'same' or 'different'")
        self.count += 1
        settings = self._from_command_line() | self.defaults | options
        try:
            verdict = check(
                self._place(tensorflow), self._place(torch), inputs, workers=self._workers(settings), **settings
            )
        except ParityError as error:
            self._report(no_verdict(error))
            raise type(error)(str(error)) from None  # a line for the user, without the way through this package
        self._report(verdict)
        if verdict.exit == UsageError.exit_status or verdict.same != (expect == "same"):
            raise ParityFailure(_failure(tensorflow, torch, expect, verdict))
        return verdict

    def _from_command_line(self) -> dict[str, Any]:
        config = self.request.config
        found: dict[str, Any] = {"timeout_s": config.getoption(TIMEOUT)}
        return found | {name: config.getoption(option) for name, option in PYTHONS.items() if config.getoption(option)}

    def _place(self, builder: str) -> str:
        """Return a builder whose relative file is looked up beside the test first, then in the root folder."""
        path, colon, name = builder.partition(":")
        if Path(path).is_absolute() or not Path(path).suffix:
            return builder
        for folder in (self.request.path.parent, self.request.config.rootpath):
            if (folder / path).exists():
                return f"{folder / path}{colon}{name}"
        return builder

    def _workers(self, settings: dict[str, Any]) -> Workers:
        from parity.porting.options import CheckOptions, InputSpec
        from parity.porting.sides import Workers

        of_workers = {name: settings[name] for name in OF_WORKERS if name in settings}
        key = tuple(sorted(of_workers.items()))
        kept = self.request.config.stash.setdefault(WORKERS, {})
        if key not in kept or not kept[key].alive():
            if key in kept:
                kept[key].close()
            kept[key] = Workers(CheckOptions(inputs=(InputSpec((1,)),), **of_workers))
        return kept[key]

    def _report(self, verdict: Verdict) -> None:
        node = self.request.node
        suffix = "" if self.count == 1 else f"_{self.count}"
        first = verdict.sources[0] if verdict.sources else None
        for name, value in (
            ("verdict", verdict.verdict),
            ("comparisons", str(len(verdict.layers))),
            ("source", f"{first.tensorflow} / {first.torch}" if first else ""),
            ("cause", first.cause if first else ""),
            ("evidence", first.evidence if first else ""),
            ("why", verdict.why),
        ):
            node.user_properties.append((f"parity_{name}{suffix}", value))
        folder = self.request.config.getoption(JSON_DIR)
        if folder:
            from parity.porting.verdict import write_json

            stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", node.nodeid).strip("_")
            write_json(Path(folder) / f"{stem}{suffix}.json", verdict.to_dict())


def _marked(node: pytest.Item) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers(MARKER))):  # the nearest one wins
        if marker.args:
            raise pytest.UsageError(f"{node.nodeid}: the {MARKER} marker takes keywords only")
        _known(marker.kwargs, f"the {MARKER} marker")
        found |= marker.kwargs
    return found


def _known(options: Mapping[str, Any], what: str) -> None:
    from parity.errors import UsageError

    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise UsageError(f"{what} does not know {', '.join(unknown)}; it knows {', '.join(sorted(OPTIONS))}")


def _failure(tensorflow: str, torch: str, expect: str, verdict: Verdict) -> str:
    lines = [f"{tensorflow} and {torch} were expected to be {expect}.", verdict.message()]
    failing = [row for row in verdict.layers if not row.passed]
    if failing and not verdict.sources:
        lines += [row.forced.message() for row in failing[:5]]
    return "\n".join(lines)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if found <= 0.0:
        raise argparse.ArgumentTypeError(f"`{text}` must be a number of seconds above 0")
    return found
