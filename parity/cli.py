"""The `parity` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from parity.errors import ParityError, UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line, instead of argparse's many."""
        self.exit(UsageError.exit_status, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; what goes wrong is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ParityError as error:
        print(f"parity {options.command}: {error}", file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="parity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_render(commands)
    return parser


def _add_render(commands: Any) -> None:
    render = commands.add_parser(
        "render",
        help="write the report again from a saved record",
        description="Write comparison.md, its plots and comparison.json again from a saved record.",
    )
    render.add_argument("record", metavar="RECORD", type=Path, help="a comparison.json")
    render.add_argument(
        "--output", metavar="DIR", type=Path, help="folder to write to (default: the record's own folder)"
    )
    render.set_defaults(run=_render)


def _render(options: argparse.Namespace) -> int:
    from parity.report import read, write_report
    from parity.report.record import RECORD_NAME

    source: Path = options.record
    record = read(source)
    folder: Path = options.output or source.parent
    saved = folder / RECORD_NAME
    if options.output is None and saved.exists() and not saved.samefile(source):
        # Rendering an old record must not silently replace the record of the latest run.
        raise UsageError(f"{saved} is another record and would be replaced; name a folder with --output")
    try:
        report = write_report(record, folder)
    except OSError as error:
        raise UsageError(f"cannot write the report to {folder}: {error.strerror or error}") from error
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
