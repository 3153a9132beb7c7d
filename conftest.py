"""Options of the suites, the one campaign that a run is, and the report at its end."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # importing NumPy and the rest here would slow `--collect-only` down
    from parity.campaign import Campaign, CampaignOptions

ROOT = Path(__file__).resolve().parent
META = ROOT / "suites" / "meta"
CAMPAIGN = pytest.StashKey["Campaign"]()
OPTIONS = pytest.StashKey["CampaignOptions"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what a run of the suites can be told."""
    group = parser.getgroup("parity", "TensorFlow and PyTorch parity suites")
    group.addoption(
        "--profile", choices=("smoke", "standard", "full"), default="standard", help="amount of work (%(default)s)"
    )
    group.addoption(
        "--data",
        metavar="DIR",
        help="folder with train|val|test / NORMAL|PNEUMONIA (default: $PARITY_DATA, else synthetic)",
    )
    group.addoption("--skip-unreadable", action="store_true", help="go on without unreadable images, and list them")
    group.addoption("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where float32 runs (%(default)s)")
    for name in ("tensorflow", "torch", "onnxruntime"):
        group.addoption(
            f"--{name}-python", metavar="PATH", help=f"interpreter of the {name} worker (default: this one)"
        )
    group.addoption("--image-size", type=_size, default=(150, 150), metavar="HxW", help="input size (150x150)")
    group.addoption("--channels", type=int, choices=(1, 3), default=1, help="1 grey, 3 RGB (%(default)s)")
    group.addoption("--epochs", type=_positive, help="training epochs (default: by profile)")
    group.addoption("--batch", type=_positive, default=32, help="images per step (%(default)s)")
    group.addoption("--seed", type=int, default=0, help="of weights, shuffling and probes (%(default)s)")
    group.addoption("--threads", type=_positive, help="threads of every worker (default: usable CPUs)")
    group.addoption("--referee", action="store_true", help="also run Keras on its torch backend as a referee")
    group.addoption("--blocks", type=_positive, help="blocks of fresh processes per benchmark (default: by profile)")
    group.addoption(
        "--lanes",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="time only these lanes, frameworks or kinds of lane",
    )
    group.addoption(
        "--resume", action="store_true", help="go on with an interrupted benchmark: its finished blocks are kept"
    )
    group.addoption("--baseline", metavar="RECORD", help="compare the benchmark with that of an earlier record")
    group.addoption("--study-seeds", type=_positive, metavar="N", help="seeds of the study (real: 10, shortened: 2)")
    group.addoption("--study-size", type=_size, metavar="HxW", help="image size of the study (64x64, 32x32)")
    group.addoption("--study-epochs", type=_at_least_two, metavar="N", help="epochs of the study (6, 2)")
    group.addoption(
        "--study-address",
        metavar="HOST:PORT",
        help="Dask scheduler whose workers train the study (default: this machine)",
    )
    group.addoption("--report-dir", metavar="DIR", help="where the report goes (default: reports/)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what cannot be meant before anything is collected."""
    if config.getoption("numprocesses", None) and not _only_meta(config):
        raise pytest.UsageError(
            "-n: the suites time this machine and fill one report; only suites/meta can be shared out"
        )
    data = _data_folder(config)
    if data is not None and not data.is_dir():
        raise pytest.UsageError(f"--data {data}: no such folder; give the one that holds train, val and test")
    if config.getoption("seed") < 0:
        raise pytest.UsageError("--seed must not be negative")
    baseline = config.getoption("baseline")
    if baseline is not None and not Path(baseline).is_file():  # nothing, as of a variable that is not set, is no record
        raise pytest.UsageError(f"--baseline {baseline or '(empty)'}: no such record")
    for name in ("tensorflow", "torch", "onnxruntime"):
        python = config.getoption(f"{name}_python")
        if python and not Path(python).exists():
            raise pytest.UsageError(f"--{name}-python {python}: no such interpreter")


def pytest_report_header(config: pytest.Config) -> str:
    """Say what this run is about to do."""
    data = _data_folder(config)
    return (
        f"parity: profile {config.getoption('profile')}, device {config.getoption('device')}, data "
        f"{data.name if data else 'synthetic (embedded)'}, report in {_report_dir(config).name}/"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Plan the benchmark: one test for each setting of each lane in each block, in the block's random order."""
    if "row" in metafunc.fixturenames:
        from parity.errors import ParityError
        from parity.timing import rows

        try:
            planned = rows(_options(metafunc.config))
        except ParityError as error:
            raise pytest.UsageError(str(error)) from None
        metafunc.parametrize("row", planned, ids=[row.name for row in planned])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of the tool itself, and keep those that fill no section of the report for when they are asked for.

    They are as long as the main job, and tell its user nothing about his machine; `pytest suites/meta`, `tox -e meta`
    and `--profile full` run them.
    """
    for item in items:
        if META in item.path.parents:
            item.add_marker("meta")
    profile = config.getoption("profile")
    if profile != "full" and not any(path == META or META in path.parents for path in _named(config)):
        _leave_out(config, items, lambda item: item.get_closest_marker("whole_run") is not None)
        if not re.search(r"\bmeta\b", config.option.markexpr):
            _leave_out(config, items, lambda item: META in item.path.parents and _section(item) is None)
    if profile == "smoke":
        _leave_out(config, items, lambda item: item.get_closest_marker("thorough") is not None)


def _leave_out(config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]) -> None:
    left_out = [item for item in items if unwanted(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Prepare the data before the first test, so that bad input ends the run with one clear line and status 2."""
    config = session.config
    if config.getoption("collectonly") or not any(_section(item) for item in session.items):
        return
    from parity.campaign import Campaign
    from parity.errors import ParityError

    try:
        _check_cluster(config, session.items)
        campaign = Campaign(_options(config))
        if any("campaign" in getattr(item, "fixturenames", ()) for item in session.items):
            campaign.prepare(_progress(config))
        if any("row" in getattr(item, "fixturenames", ()) for item in session.items):
            _announce(config, campaign)
    except ParityError as error:
        pytest.exit(str(error), returncode=error.exit_status)
    config.stash[CAMPAIGN] = campaign


def _check_cluster(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Ask at once whether the study's cluster is there: the rest of a run may take half an hour."""
    address = config.getoption("study_address")
    if address and any(_section(item) == "study" for item in items):
        from parity.study.engines import check_address

        check_address(address)


def _announce(config: pytest.Config, campaign: Campaign) -> None:
    """Say how long the benchmark will take, and what an interrupted one has left to it."""
    from parity.bench.plan import Progress
    from parity.timing import check_baseline, make_plan, take_over

    check_baseline(campaign)
    if campaign.options.resume:
        campaign.kept = take_over(campaign)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.getoption("benchmark_disable", False):
        return
    progress = Progress(make_plan(campaign))
    progress.note_kept(campaign.kept)
    reporter.write_line(f"parity benchmark: {progress.announcement()}")
    if campaign.kept is not None:
        reporter.write_line(f"parity benchmark: {campaign.kept.sentence}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell the record why a section is empty, and save what there is after every test that fills one."""
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    section, campaign = _section(item), item.config.stash.get(CAMPAIGN, None)
    if section is None or campaign is None:
        return
    if report.skipped:
        campaign.excuse(section, f"skipped: {_skip_reason(report)}", failed=False)
    elif report.failed:
        campaign.excuse(section, f"{item.name} failed: {_last_line(report)}", failed=True)
    if report.when == "call":
        campaign.checkpoint()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report of whatever ran."""
    campaign = session.config.stash.get(CAMPAIGN, None)
    if campaign is None:
        return
    campaign.close()
    if session.testscollected and not session.config.getoption("collectonly"):
        campaign.record["exit"] = int(exitstatus)
        campaign.finish()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say where the report is."""
    campaign = config.stash.get(CAMPAIGN, None)
    if campaign is not None:
        terminalreporter.write_line(f"parity report: {_report_dir(config) / 'comparison.md'}")


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Leave out what names this host or changes by the minute."""
    machine_info["node"] = ""
    machine_info.get("cpu", {}).pop("hz_actual_friendly", None)
    machine_info.get("cpu", {}).pop("hz_actual", None)


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Name a timing's parameters by its id: an object would be written as UNSERIALIZABLE, with its place in the run."""
    for row in output_json["benchmarks"]:
        plain = {name: value if isinstance(value, str | int | float) else row["param"]
                 for name, value in (row.get("params") or {}).items()}  # fmt: skip
        row["params"] = plain or row.get("params")


@pytest.fixture(scope="session")
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """The shared workers, data and record of this run."""
    found = request.config.stash.get(CAMPAIGN, None)
    if found is None:
        pytest.fail("this test fills no section of the report: mark it with `section`", pytrace=False)
    return found


@pytest.fixture(scope="session")
def run_record(request: pytest.FixtureRequest) -> Campaign:
    """The record of this run, for tests of the tool that add to it and need neither data nor the shared workers."""
    found = request.config.stash.get(CAMPAIGN, None)
    if found is None:
        pytest.fail("this test fills no section of the report: mark it with `section`", pytrace=False)
    return found


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """What writes a line about the progress of long work while a test runs; with `over=True` in place of the last."""
    return partial(_tell, request.config)


def _options(config: pytest.Config) -> CampaignOptions:
    """Return what the command line asked for."""
    from parity.campaign import CampaignOptions
    from parity.workers.client import usable_cpus

    option = config.getoption
    height, width = option("image_size")
    return CampaignOptions(
        profile=option("profile"),
        data=_data_folder(config),
        skip_unreadable=option("skip_unreadable"),
        device=option("device"),
        tensorflow_python=option("tensorflow_python"),
        torch_python=option("torch_python"),
        onnxruntime_python=option("onnxruntime_python"),
        height=height,
        width=width,
        channels=option("channels"),
        epochs=option("epochs"),
        batch=option("batch"),
        seed=option("seed"),
        threads=option("threads") or usable_cpus(),
        blocks=option("blocks"),
        lanes=option("lanes"),
        resume=option("resume"),
        baseline=Path(option("baseline")).absolute() if option("baseline") else None,
        study_seeds=option("study_seeds"),
        study_size=option("study_size"),
        study_epochs=option("study_epochs"),
        study_address=option("study_address"),
        report_dir=_report_dir(config),
        command=_command(config),
    )


def _named(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]


def _command(config: pytest.Config) -> str:
    """Return what to type to repeat the run; folders of this machine are shortened to their names."""
    words = [str(word) for word in config.invocation_params.args]
    shown = [re.sub(r"(^|=)((/|\.\./|~/).*/)(?=[^/]+/?$)", r"\1.../", word) for word in words]
    return shlex.join(["pytest", *shown])


def _data_folder(config: pytest.Config) -> Path | None:
    import os

    given = config.getoption("data") or os.environ.get("PARITY_DATA")
    return Path(given).expanduser().absolute() if given else None


def _report_dir(config: pytest.Config) -> Path:
    given = config.getoption("report_dir")
    if given:
        return Path(given).absolute()
    # The tests of the tool alone must not replace the report of a comparison by one that holds no comparison.
    folder = ROOT / "reports" / "meta" if _only_meta(config) else ROOT / "reports"
    shared_out = getattr(config, "workerinput", None)  # one of several pytest processes, each with a record of its own
    return folder / shared_out["workerid"] if shared_out else folder


def _only_meta(config: pytest.Config) -> bool:
    named = _named(config)
    return bool(named) and all(path == META or META in path.parents for path in named)


def _section(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("section")
    return str(marker.args[0]) if marker else None


def _progress(config: pytest.Config) -> Any:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty:
        return None
    return lambda done, total: _tell(config, f"preparing images: {done} / {total}", over=True)


def _tell(config: pytest.Config, line: str, *, over: bool = False) -> None:
    """Write a line for somebody who waits, past pytest's capturing of what tests print; `over` the last one or not."""
    reporter, capture = (config.pluginmanager.get_plugin(name) for name in ("terminalreporter", "capturemanager"))
    if reporter is None:
        return
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        if over and reporter.isatty:
            reporter.rewrite(line, erase=True)
        else:
            reporter.ensure_newline()
            reporter.write_line(line)


def _skip_reason(report: pytest.TestReport) -> str:
    return (
        str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "no reason given"
    )


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr).strip()
    return text.splitlines()[0] if text else "no message"


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(int(found[1]), int(found[2])) < 4:
        raise argparse.ArgumentTypeError(f"`{text}` is no image size: write HxW, such as 150x150, at least 4x4")
    return int(found[1]), int(found[2])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` must be a whole number of at least 1")
    return int(text)


def _at_least_two(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"`{text}` must be a whole number of at least 2")
    return int(text)
